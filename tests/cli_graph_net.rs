//! Networks from ONNX files on the command line: wherever a network's name or folder is taken.
#![cfg(all(feature = "flex", feature = "onnx"))]

mod common;
#[path = "common/mobile.rs"]
mod mobile;
#[path = "common/place.rs"]
mod place;

use mobile::mobile;
use place::Place;
use serde_json::Value;
use vwc_sdk::graph::{Constant, Conv, Function, Graph, NodeSpec, OnnxExport, Op, Reduction};
use vwc_sdk::mapping::Padding;

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// A network of so many classes, as a file.
fn keep(place: &Place, name: &str, classes: usize) {
    let export = OnnxExport::new("mobile")
        .with_inputs(["input"])
        .with_outputs(["logits"]);
    std::fs::write(place.path(name), mobile(classes).to_onnx(&export).unwrap()).unwrap();
}

const DIGITS: &str = "--pictures 300";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A file that this program wrote says what its network reads, and every command takes that from it.
#[test]
fn a_written_file_says_what_its_network_reads() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    place.data(&format!(
        "train --network mobile.onnx {DIGITS} --normalization imagenet --wb 4 --ab 4 --total-epochs 1 --batch-size 32 --directory r"
    ));
    place.data("graph r/original --onnx again.onnx");
    let said = |line: &str| {
        let output = place.run(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        said
    };
    let input = |folder: &str| {
        let text = std::fs::read_to_string(place.path(folder).join("original/config.json")).unwrap();
        json(&text)["input"].clone()
    };
    let imported = said("import again.onnx --directory i");
    assert!(!imported.contains("Taken for granted"), "{imported}");
    assert!(input("r").to_string().contains("0.485"), "{}", input("r"));
    assert_eq!(input("i"), input("r"));
    let trained = said(&format!(
        "train --network again.onnx {DIGITS} --total-epochs 1 --batch-size 32 --directory t"
    ));
    assert!(!trained.contains("pictures are normalised by"), "{trained}");
    assert_eq!(input("t"), input("r"));
    for (from, to) in [("again.onnx", "file.vwcp"), ("r/original", "run.vwcp")] {
        let exported = said(&format!("export {from} {to}"));
        assert!(!exported.contains("pictures are normalised by"), "{exported}");
    }
    let of = |name: &str| std::fs::read(place.path(name)).unwrap();
    let normalization = |bytes: &[u8]| bytes.windows(4).any(|window| window == 0.485f32.to_le_bytes());
    assert!(normalization(&of("file.vwcp")) && normalization(&of("run.vwcp")));
    // A flag counts more, and is said to.
    let other = said("import again.onnx --normalization half --directory h");
    assert!(other.contains("--normalization is half"), "{other}");
    assert_ne!(input("h"), input("r"));
    // Pictures that are not of its classes are not counted by place.
    place.data("import mobile.onnx --classes a,b,c,d,e,f,g,h,i,j --directory n");
    place.data("graph n/original --onnx named.onnx");
    let error = place.refused(&format!("test --network named.onnx {DIGITS} --directory u"), 1);
    assert!(
        error.contains("its classes are a, b, c, d, e, f, g, h, i, j, and those of the pictures 0, 1, 2")
            && error.contains("matches them by name, or give it pictures of its own classes"),
        "{error}"
    );
    let file = of("again.onnx");
    let at = file.windows(5).position(|window| window == b"0.485").unwrap();
    let mut wrong = file;
    wrong[at..at + 5].copy_from_slice(b"wrong");
    std::fs::write(place.path("wrong.onnx"), wrong).unwrap();
    let error = place.refused("import wrong.onnx --directory w", 1);
    assert!(
        error.contains("wrong.onnx") && error.contains("`vwc-sdk.input` does not describe pictures"),
        "{error}"
    );
}

/// Trained in few bits from the weights of the file, pruned, tested, mapped, run on arrays, packed and written again, by commands
/// alone.
#[test]
fn a_file_goes_the_whole_way() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    let train = format!(
        "train --network mobile.onnx {DIGITS} --wb 4 --ab 4 --total-epochs 2 --batch-size 32 --format json"
    );
    let output = place.run(&train);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("training starts from the weights of mobile.onnx"),
        "{said}"
    );
    let trained = json(&String::from_utf8_lossy(&output.stdout));
    assert_eq!(trained["network"], "mobile");
    assert_eq!(trained["precision"], "W4A4");
    // The folder is called as the file, and is all that later commands need.
    let tested = json(&place.data("test --directory runs/mobile --format json"));
    assert_eq!(tested["networks"], trained["networks"]);
    let pruned = json(&place.data(
        "prune --directory runs/mobile --ratio 0.3 --total-epochs 1 --budget 100 --array 64x64 --format json",
    ));
    assert_eq!(pruned["networks"].as_array().unwrap().len(), 2);
    let run = "runs/mobile/ratio1";
    let graph = place.data(&format!("graph {run}"));
    assert!(
        graph.contains("block.depthwise") && graph.contains("W4"),
        "{graph}"
    );
    let layers = place.data(&format!("map {run} --array 64x64 --format csv"));
    assert!(layers.contains("block.project"), "{layers}");
    let arrays = json(&place.data(&format!(
        "evaluate {run} --array 64x64 --pictures 20 --adc-bits 0,3 --format json"
    )));
    assert_eq!(arrays[0]["accuracy"], arrays[1]["accuracy"]);
    // Cells that conduct less than fully, under pulses that are not all there, take less than a constant for all would have it.
    let costs = "--cost isaac-32,neurosim-22,zigzag-28";
    let evaluate = format!("evaluate {run} --array 64x64 --pictures 20 {costs}");
    let priced = json(&place.data(&format!("{evaluate} --format json")));
    let energy = |model: usize, what: &str| priced[1]["cell_energy"][model][what].as_f64();
    assert!(energy(0, "constant_pj") > Some(0.0) && energy(0, "data_pj") > Some(0.0));
    assert!(energy(1, "constant_pj").is_none() && energy(1, "data_pj") > energy(0, "data_pj"));
    assert!(energy(2, "constant_pj") > Some(0.0) && energy(2, "data_pj").is_none());
    assert!(priced[0].get("cell_energy").is_none(), "{priced}");
    let table = place.data(&evaluate);
    assert!(
        table.contains("data over constant") && table.contains("zigzag-28 does not say what a cell conducts"),
        "{table}"
    );
    let csv = place.data(&format!("{evaluate} --format csv"));
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .ends_with("zigzag-28 cell_pj,zigzag-28 data_cell_pj"),
        "{csv}"
    );
    let error = place.refused(&format!("evaluate {run} --array 64x64 --cost isaak"), 1);
    assert!(error.contains("no cost model `isaak`"), "{error}");
    place.data(&format!("export {run} small.vwcp --check 30"));
    place.data(&format!("export {run} small.safetensors"));
    // In floats with quantised weights, the network is a file that commands take again: its quantisers are codes.
    place.data(&format!("graph {run} --onnx small.onnx"));
    let again = place.data("graph small.onnx");
    assert!(again.contains("W4") && again.contains("u4: 0 to 15"), "{again}");
    let arrays_again = json(&place.data(
        "evaluate small.onnx --array 64x64 --pictures 20 --adc-bits 0,3 --format json --data synthetic",
    ));
    assert_eq!(arrays_again[0]["total"], arrays[0]["total"]);
    place.data("export small.onnx again.vwcp");
    place.data("simulate small.onnx --array 64x64");
    place.data("front mobile.onnx --array 64x64");
}

#[test]
fn a_file_is_tested_pruned_and_kept_as_it_is() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    let test = format!("test --network mobile.onnx {DIGITS} --directory kept --format json");
    let first = json(&place.data(&test));
    assert_eq!(first["precision"], "full precision");
    // The second time it is there already.
    assert_eq!(json(&place.data(&test)), first);
    place.data(&format!(
        "prune --network mobile.onnx {DIGITS} --directory kept --ratio 0.2 --total-epochs 1 --budget 100"
    ));
    // Another file is not what is kept there.
    keep(&place, "other.onnx", 10);
    std::fs::write(place.path("other.onnx"), {
        let graph = mobile(10);
        let relu = NodeSpec::new("last", Function::Relu, ["fc"]);
        let nodes = graph.nodes().iter().map(|node| {
            let inputs = node.inputs().iter().map(|&id| graph.node(id).name());
            NodeSpec::new(node.name(), node.op().clone(), inputs)
        });
        let graph = Graph::new(nodes.chain([relu]), ["last"]).unwrap();
        graph.to_onnx(&OnnxExport::new("other")).unwrap()
    })
    .unwrap();
    let error = place.refused(&format!("test --network other.onnx {DIGITS} --directory kept"), 1);
    assert!(error.contains("another network than other.onnx"), "{error}");

    place.data(
        "import mobile.onnx --directory imported --normalization imagenet --classes a,b,c,d,e,f,g,h,i,j",
    );
    let config = json(&std::fs::read_to_string(place.path("imported/original/config.json")).unwrap());
    assert_eq!(config["input"]["classes"][9], "j");
    // Out as PyTorch has it, and in again: a file of a network that is described by its run.
    place.data("export imported/original mobile.safetensors");
    place.data("import mobile.safetensors --directory again");
    let again = json(&std::fs::read_to_string(place.path("again/original/config.json")).unwrap());
    assert_eq!(
        [&again["structure"], &again["input"]],
        [&config["structure"], &config["input"]]
    );
    place.data(&format!(
        "quantize imported/original --directory few {DIGITS} --data synthetic --classes-by-place"
    ));
    place.data("export few/original few.safetensors");
    let error = place.refused("import few.safetensors --directory no", 1);
    assert!(
        error.contains("few.safetensors: its network is quantised"),
        "{error}"
    );
    let error = place.refused("import mobile.onnx --directory imported2 --wb 4", 1);
    assert!(
        error.contains("--wb") && error.contains("vwc-sdk quantize"),
        "{error}"
    );
}

#[test]
fn other_classes_replace_the_last_layer_and_it_is_said() {
    let place = vwc_sdk();
    keep(&place, "four.onnx", 4);
    let train = format!("train --network four.onnx {DIGITS} --total-epochs 1 --batch-size 32 --directory r");
    let output = place.run(&train);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("10 classes, and the network 4: its last layer, `fc`, is replaced"),
        "{said}"
    );
    let scratch = place.run(&format!("{train}2 --from-scratch"));
    let said = String::from_utf8_lossy(&scratch.stderr).into_owned();
    assert!(said.contains("training starts from random weights"), "{said}");
    // Where nothing is trained, classes have to be the network's own.
    for command in [
        "test --network four.onnx --directory t",
        "quantize four.onnx --directory q",
    ] {
        let error = place.refused(&format!("{command} {DIGITS}"), 1);
        assert!(
            error.contains("four.onnx: it tells 4 classes apart, and the pictures have 10"),
            "{error}"
        );
    }
}

#[test]
fn a_network_in_groups_is_another_one_and_is_trained_from_random_weights() {
    let place = vwc_sdk();
    let train =
        format!("train --network cnn8 --groups 2 {DIGITS} --total-epochs 1 --batch-size 32 --directory two");
    let output = place.run(&format!("{train} --wb 1 --ab 1"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("training starts from random weights"), "{said}");
    let cycles = |network: &str| {
        place.data(&format!(
            "map {network} --array 256x512 --method best --format csv"
        ))
    };
    assert_eq!(cycles("two/original"), cycles("cnn8 --groups 2"));
    assert!(place.run("test --directory two").status.success());
    let other_groups = "the network in two has its own";
    keep(&place, "four.onnx", 10);
    for (command, expected) in [
        ("test --directory two --groups 2", other_groups),
        ("prune --directory two --groups 4", other_groups),
        (
            "train --network cnn8 --groups 2 --input-size 9x9 --pictures 100",
            "--input-size are for networks from files",
        ),
        (
            "train --network four.onnx --groups 2 --pictures 100",
            "give --from-scratch",
        ),
        (
            "train --network four.onnx --from-scratch --groups 7 --pictures 100",
            "in 7 groups: expected",
        ),
        (
            "train --network vgg13 --groups 2 --pictures 100",
            "give it as an ONNX file",
        ),
        (
            "import four.onnx --groups 2 --directory i",
            "--groups: the file holds a network of its own",
        ),
    ] {
        let error = place.refused(command, 1);
        assert!(error.contains(expected), "{command}: {error}");
    }
    let file = format!(
        "train --network four.onnx --from-scratch --groups 2 {DIGITS} --total-epochs 1 --batch-size 32"
    );
    assert!(place.run(&format!("{file} --directory file")).status.success());
    // It goes on from its own weights in few bits.
    let few = format!(
        "train --network four.onnx --groups 2 --start-from file/original {DIGITS} --total-epochs 1 --batch-size 32"
    );
    place.data(&format!("{few} --wb 4 --ab 4 --directory few"));
}

#[test]
fn a_network_is_quantised_without_training() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    let train =
        format!("train --network mobile.onnx {DIGITS} --total-epochs 2 --batch-size 32 --directory floats");
    place.data(&train);
    let rows = json(&place.data(&format!(
        "quantize floats/original --directory w8 --format json {DIGITS}"
    )));
    let accuracy = |n: usize| rows[n]["accuracy"].as_f64().unwrap();
    assert_eq!(rows[0]["precision"], "full precision");
    assert_eq!(rows[1]["precision"], "W8A8");
    assert!((accuracy(0) - accuracy(1)).abs() < 8.0, "{rows}");
    // With pairs of QuantizeLinear and DequantizeLinear it is a file whose codes are found again.
    place.data("export w8/original w8.onnx --format qdq");
    let graph = place.data("graph w8.onnx");
    assert!(graph.contains("u8: 0 to 255"), "{graph}");
    let tested = |network: &str| {
        let test = format!("test {network} {DIGITS} --data synthetic --format json");
        json(&place.data(&test))["networks"][0]["test"].clone()
    };
    assert_eq!(
        tested("--network w8.onnx --directory from-w8"),
        tested("--directory w8")
    );
    let output = place.run(&format!(
        "quantize mobile.onnx --wb 2 --ab 2 --directory w2 {DIGITS}"
    ));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("vwc-sdk train --network mobile.onnx --wb 2 --ab 2"),
        "{said}"
    );
    place.data(&format!("test --directory w2 {DIGITS} --data synthetic"));
    let error = place.refused(
        &format!("quantize w8/original --directory w9 {DIGITS} --data synthetic"),
        1,
    );
    assert!(error.contains("it is quantised already, W8A8"), "{error}");
    let error = place.refused(&format!("quantize mobile.onnx --directory w2 {DIGITS}"), 1);
    assert!(error.contains("holds something already"), "{error}");
}

/// Steps per filter, the ends in 8 bits, and bits from a file: kept, exported for runtimes, packed, and the same again.
#[test]
fn layers_are_quantised_as_flags_say() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    std::fs::write(
        place.path("bits.csv"),
        "layer,weights,activations\nblock.se.*,8,8\n",
    )
    .unwrap();
    let flags = "--wb 4 --ab 4 --per-channel --narrow --ends 8 --layer-bits bits.csv";
    let output = place.run(&format!(
        "quantize mobile.onnx {flags} --directory own --format json {DIGITS}"
    ));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    place.data(&format!(
        "quantize mobile.onnx --observer percentile:99.5 --directory cut {DIGITS}"
    ));
    let cut = std::fs::read_to_string(place.path("cut/original/config.json")).unwrap();
    assert!(
        cut.contains("quantised from mobile.onnx, steps by percentile:99.5"),
        "{cut}"
    );
    let error = place.refused(
        &format!("quantize mobile.onnx --observer percentile:0 --directory no {DIGITS}"),
        2,
    );
    assert!(error.contains("--observer"), "{error}");
    let how = "LSQ per filter without the lowest code, reads";
    for line in [
        format!("stem.conv: weights 8-bit {how} 8 bits"),
        format!("block.depthwise: weights 4-bit {how} 4 bits"),
        format!("block.se.0: weights 8-bit {how} 8 bits"),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    let rows = json(&String::from_utf8(output.stdout).unwrap());
    let precision = rows[1]["precision"].as_str().unwrap();
    assert!(
        precision.starts_with("W4A4, ends W8A8, per filter"),
        "{precision}"
    );
    let correct = rows[1]["test"]["correct"].clone();
    for format in ["qdq", "qonnx"] {
        place.data(&format!("export own/original {format}.onnx --format {format}"));
        let test = format!("test --network {format}.onnx {DIGITS} --directory {format} --format json");
        let tested = json(&place.data(&test))["networks"][0]["test"]["correct"].clone();
        assert_eq!(tested, correct, "{format}");
    }
    // The run knows its pictures, and how they were divided.
    place.data("export own/original own.vwcp --check 100");
    let tested = json(&place.data("test --directory own --format json"));
    assert_eq!(tested["networks"][0]["test"]["correct"], correct);
    place.data("simulate own/original --array 64x64");
    // It goes on as it is, and with other flags not at all.
    let prune = "prune --directory own --ratio 0.2 --total-epochs 1 --budget 100";
    place.data(&format!(
        "{prune} --per-channel --narrow --ends 8 --layer-bits bits.csv"
    ));
    let error = place.refused(&format!("{prune} --per-channel"), 1);
    assert!(
        error.contains("leave out the flags for how layers are quantised"),
        "{error}"
    );

    let refused = |flags: &str| {
        place.refused(
            &format!("quantize mobile.onnx {flags} --directory no {DIGITS}"),
            1,
        )
    };
    std::fs::write(place.path("wrong.csv"), "block.depthwize,8,8\n").unwrap();
    let error = refused("--layer-bits wrong.csv");
    assert!(
        error.contains(
            "wrong.csv: line 1: no layer fits \"block.depthwize\": expected some of block.depthwise"
        ),
        "{error}"
    );
    let error = refused("--wb 4 --ab 4 --weights abs-mean");
    assert!(
        error.contains("--weights abs-mean: it is for weights of two bits"),
        "{error}"
    );
    std::fs::write(place.path("wrong.csv"), "block.depthwise,8\n").unwrap();
    let error = refused("--layer-bits wrong.csv");
    assert!(
        error.contains("wrong.csv: line 1: expected a layer, bits"),
        "{error}"
    );
    let error = refused("--layer-bits nowhere.csv");
    assert!(error.contains("nowhere.csv"), "{error}");
    // A flag that says what is so anyway is one of another network, too.
    for flag in [
        "--per-channel",
        "--weights lsq",
        "--activations lsq",
        "--observer least-error",
    ] {
        let error = place.refused(
            &format!("train --network cnn8 --data synthetic {flag} --directory no"),
            1,
        );
        let name = flag.split(' ').next().unwrap();
        assert!(
            error.contains(&format!("{name}: it is for networks from files and presets")),
            "{error}"
        );
    }
    assert!(!place.path("no").exists());
}

/// A network with a filter that is not trained, and whose weights are multiples of a sixteenth.
fn blurred() -> Graph {
    let noise = |seed: u64, count: usize| -> Vec<f32> {
        let mut state = seed;
        let next = |_| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 40) as f32 / 16_777_216.0 - 0.5
        };
        (0..count).map(next).collect()
    };
    let conv = |name: &str, inputs: usize, outputs: usize| {
        let weight = Constant::new(
            [outputs, inputs, 3, 3],
            noise(inputs as u64 + 7, 9 * inputs * outputs),
        );
        Conv {
            padding: Padding::from([1, 1]),
            ..Conv::new(weight.named(&format!("{name}.weight")))
        }
    };
    let filter = [1.0, 2.0, 1.0, 2.0, 4.0, 2.0, 1.0, 2.0, 1.0].map(|x: f32| x / 16.0);
    let blur = Conv {
        groups: 4,
        stride: [2, 2],
        padding: Padding::from([1, 1]),
        ..Conv::new(Constant::new([4, 1, 3, 3], filter.repeat(4)).named("blur.weight"))
    };
    let mean = Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    };
    let nodes = [
        NodeSpec::input("input", [3, 16, 16]),
        NodeSpec::new("stem", conv("stem", 3, 4), ["input"]),
        NodeSpec::new("relu", Function::Relu, ["stem"]),
        NodeSpec::new("blur", blur, ["relu"]),
        NodeSpec::new("c", conv("c", 4, 6), ["blur"]),
        NodeSpec::new("relu2", Function::Relu, ["c"]),
        NodeSpec::new("head", conv("head", 6, 10), ["relu2"]),
        NodeSpec::new("mean", mean, ["head"]),
        NodeSpec::new("logits", Op::Reshape { shape: vec![10] }, ["mean"]),
    ];
    Graph::new(nodes, ["logits"]).unwrap()
}

/// What is codes already is not rounded, and can be left as it is.
#[test]
fn a_layer_of_codes_is_left_as_it_is() {
    let place = vwc_sdk();
    let file = blurred().to_onnx(&OnnxExport::new("blur")).unwrap();
    std::fs::write(place.path("blur.onnx"), file).unwrap();
    let error = place.refused(&format!("quantize blur.onnx {DIGITS} --directory q"), 1);
    assert!(
        error.contains("of `blur`") && error.contains("`blur,32,32`"),
        "{error}"
    );
    let output = place.run(&format!(
        "bits blur.onnx {DIGITS} --sample 50 --mean-bits 4 -o bits.csv"
    ));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.contains("codes already: `blur`"),
        "{said}"
    );
    let bits = std::fs::read_to_string(place.path("bits.csv")).unwrap();
    assert!(bits.ends_with("blur,32,32\n"), "{bits}");
    place.data(&format!(
        "quantize blur.onnx {DIGITS} --layer-bits bits.csv --directory q"
    ));
    // Weights that stay as they are may be codes.
    place.data(&format!(
        "quantize blur.onnx {DIGITS} --wb 32 --ab 8 --directory a"
    ));
    for (command, says) in [
        (
            "test --directory a --observer min-max",
            "--observer min-max: steps are measured before training",
        ),
        (
            "prune --directory f --wb 4 --ab 4 --ratio 0.3",
            "this network is full precision, asked for is W4A4",
        ),
        ("test --directory f --wb 2", "asked for is W2A32"),
        (
            "test --directory f --q 0 --wb 2",
            "--q 0: a network in full precision has no bits",
        ),
        (
            "test --directory f --from-scratch",
            "--from-scratch: it is for training",
        ),
        (
            "prune --directory f --input-size 9x9",
            "--input-size: it is for training",
        ),
    ] {
        if !place.path("f").exists() {
            place.data(&format!(
                "train --network blur.onnx {DIGITS} --total-epochs 1 --batch-size 32 --directory f"
            ));
        }
        let error = place.refused(command, 1);
        assert!(error.contains(says), "{command}: {error}");
    }
    std::fs::write(place.path("weights.csv"), "blur,32,32\n").unwrap();
    let refused = |flags: &str, says: &str| {
        let error = place.refused(&format!("quantize blur.onnx {DIGITS} {flags} --directory n"), 1);
        assert!(error.contains(says), "{flags}: {error}");
    };
    refused(
        "--wb 4 --ab 4 --ends 32",
        "--ends 32: the first layer and the last are in full precision without it",
    );
    refused(
        "--wb 8 --ab 32 --calibration 9 --layer-bits weights.csv",
        "--calibration 9: what layers read",
    );
    refused(
        "--wb 1 --ab 2 --power-of-two --narrow",
        "--narrow: weights of one bit",
    );
    std::fs::write(place.path("head.csv"), "blur,32,32\nc,4,32\nhead,8,8\n").unwrap();
    let unit = "--activations dorefa --layer-bits head.csv";
    refused(
        &format!("{unit} --observer min-max"),
        "--observer min-max: what layers read is rounded within the unit interval",
    );
    refused(
        &format!("{unit} --calibration 9"),
        "--calibration 9: what layers read is rounded within the unit interval",
    );
    // A layer that reads codes already, too, is left as it is.
    std::fs::write(place.path("part.csv"), "blur,32,32\nc,4,4\n").unwrap();
    place.data(&format!(
        "quantize blur.onnx {DIGITS} --ends 8 --layer-bits part.csv --directory part"
    ));
    place.data("graph part/original --onnx part.onnx");
    let error = place.refused(
        &format!("bits part.onnx {DIGITS} --sample 50 --mean-bits 4 -o no.csv"),
        1,
    );
    assert!(
        error.contains("weights are codes already") && error.contains("`c`"),
        "{error}"
    );
    std::fs::write(place.path("a-file"), "").unwrap();
    let error = place.refused(&format!("quantize blur.onnx {DIGITS} --directory a-file/x"), 1);
    assert!(error.contains("a-file/x"), "{error}");
}

#[test]
fn what_cannot_be_done_with_a_file_is_said() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    for (flags, said) in [
        ("", "which pictures?"),
        (
            "--pictures 100 --widths 1,2",
            "--widths: it is for the networks of this crate",
        ),
        (
            "--pictures 100 --order original",
            "--order: it is for the networks of this crate",
        ),
        ("--pictures 100 --q 1", "--q 1: say how many bits"),
        (
            "--pictures 100 --q 0 --wb 4",
            "--q 0: a network in full precision has no bits",
        ),
        ("--data folder --data-dir nowhere", "nowhere"),
    ] {
        let error = place.refused(
            &format!("train --network mobile.onnx {flags} --total-epochs 1"),
            1,
        );
        assert!(error.contains(said), "{flags}: {error}");
    }
    let error = place.refused("train --network missing.onnx --pictures 100", 1);
    assert!(error.contains("missing.onnx"), "{error}");
    std::fs::write(place.path("broken.onnx"), b"no model").unwrap();
    for command in [
        "train --pictures 100 --network",
        "graph",
        "export",
        "evaluate --array 64x64",
        "quantize --directory q --pictures 100",
    ] {
        let end = if command == "export" { " x.vwcp" } else { "" };
        let error = place.refused(&format!("{command} broken.onnx{end}"), 1);
        assert!(
            error.contains("broken.onnx: it cannot be read as ONNX"),
            "{command}: {error}"
        );
    }
    let two = Graph::new(
        [
            NodeSpec::input("x", [3, 8, 8]),
            NodeSpec::input("y", [3, 8, 8]),
            NodeSpec::new("sum", vwc_sdk::graph::Binary::Add, ["x", "y"]),
        ],
        ["sum"],
    );
    std::fs::write(
        place.path("two.onnx"),
        two.unwrap().to_onnx(&OnnxExport::new("two")).unwrap(),
    )
    .unwrap();
    let error = place.refused("train --network two.onnx --pictures 100", 1);
    assert!(error.contains("two.onnx: it has inputs: 2"), "{error}");
    let error = place.refused("train --network resnet19 --pictures 100", 2);
    assert!(error.contains("did you mean `resnet18`"), "{error}");
    let error = place.refused("train --network cnn8 --from-scratch --pictures 100", 1);
    assert!(error.contains("--from-scratch"), "{error}");
}

/// A published network is trained from its sketch.
#[test]
fn a_network_is_trained_by_its_name() {
    let place = vwc_sdk();
    let output =
        place.run("train --network densenet40 --pictures 40 --total-epochs 1 --batch-size 8 --directory r");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("random weights"), "{said}");
    let graph = place.data("graph mobilenet-v2");
    assert!(
        graph.contains("features.1.conv.0.0") && !graph.contains("W1"),
        "{graph}"
    );
}

/// The least sum of divergences of rows whose costs add up to at most `budget`, of all ways to choose.
fn least(rows: &[Value], budget: u64) -> f64 {
    let numbers = |row: &Value, field: &str| -> Vec<f64> {
        let all = row[field].as_array().unwrap();
        all.iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let mut sums = vec![(0.0, 0.0)];
    for row in rows {
        let own: Vec<(f64, f64)> = numbers(row, "costs")
            .into_iter()
            .zip(numbers(row, "divergences"))
            .collect();
        sums = (sums.iter())
            .flat_map(|(cost, loss)| own.iter().map(move |(c, l)| (cost + c, loss + l)))
            .filter(|(cost, _)| *cost <= budget as f64)
            .collect();
    }
    sums.into_iter()
        .map(|(_, loss)| loss)
        .fold(f64::INFINITY, f64::min)
}

#[test]
fn bits_are_chosen_under_a_budget() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    place.data(&format!(
        "train --network mobile.onnx {DIGITS} --total-epochs 2 --batch-size 32 --directory floats"
    ));
    let choose = "bits floats/original --sample 100 --format json -o bits.csv";
    let choices = [2_u64, 4, 8];
    let chosen_in = |rows: &[Value]| -> (u64, f64) {
        let own = rows.iter().map(|row| {
            let bits = row["chosen"][0].as_u64().unwrap();
            assert_eq!(row["chosen"][1], bits, "activations have as many");
            let place = choices.iter().position(|&choice| choice == bits).unwrap();
            (
                row["costs"][place].as_u64().unwrap(),
                row["divergences"][place].as_f64().unwrap(),
            )
        });
        own.fold((0, 0.0), |(cost, loss), own| (cost + own.0, loss + own.1))
    };
    let rows_of = |flags: &str| {
        json(&place.data(&format!("{choose} {flags}")))
            .as_array()
            .unwrap()
            .clone()
    };
    let sized = rows_of("--mean-bits 4");
    let weights: u64 = sized.iter().map(|row| row["weights"].as_u64().unwrap()).sum();
    let (cost, loss) = chosen_in(&sized);
    assert!(cost <= 4 * weights, "{cost} of {weights} weights");
    assert!((loss - least(&sized, 4 * weights)).abs() < 1e-9);
    // More bits say more of what is said in full precision.
    let total = |place: usize| -> f64 {
        sized
            .iter()
            .map(|row| row["divergences"][place].as_f64().unwrap())
            .sum()
    };
    assert!(total(0) > total(1) && total(1) > total(2) && total(2) >= 0.0);
    // The file is what the other commands take, and names every layer.
    let file = std::fs::read_to_string(place.path("bits.csv")).unwrap();
    assert_eq!(file.lines().count(), 1 + sized.len(), "{file}");
    place.data(&format!(
        "quantize floats/original {DIGITS} --wb 8 --ab 8 --layer-bits bits.csv --directory few"
    ));
    let config = std::fs::read_to_string(place.path("few/original/config.json")).unwrap();
    let config = json(&config);
    let planned = config["structure"]["plan"]["layers"].as_array().unwrap();
    let pairs = |rows: &[Value], name: &str, bits: &dyn Fn(&Value) -> u64| -> Vec<(String, u64)> {
        rows.iter()
            .map(|row| (row[name].as_str().unwrap().to_owned(), bits(row)))
            .collect()
    };
    assert_eq!(
        pairs(planned, "pattern", &|row| row["weights"].as_u64().unwrap()),
        pairs(&sized, "layer", &|row| row["chosen"][0].as_u64().unwrap())
    );
    // Cycles are those of the mapper.
    let most: u64 = rows_of("--cycles 1000000 --array 16x16")
        .iter()
        .map(|row| row["costs"][2].as_u64().unwrap())
        .sum();
    let (cost, _) = chosen_in(&rows_of(&format!("--cycles {} --array 16x16", most / 2)));
    assert!(cost <= most / 2);

    for (flags, code, says) in [
        ("", 2, "--mean-bits"),
        ("--cycles 100", 2, "--array"),
        ("--mean-bits 1", 1, "no layer has fewer than 2 bits"),
        (
            "--cycles 1 --array 16x16",
            1,
            "with the fewest bits these layers take",
        ),
        ("--mean-bits 4 --choices 9", 2, "not a bit width"),
        ("--mean-bits 4 --array 16x16", 2, "cannot be used with"),
        (
            "--mean-bits 4 --choices 1 --narrow",
            1,
            "--narrow: weights of one bit",
        ),
    ] {
        let output = place.run(&format!("{choose} {flags}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{flags}: {said}");
        assert!(said.contains(says), "{flags}: {said}");
    }
    // What is quantised is not quantised again.
    let error = place.refused(
        &format!("bits few/original {DIGITS} --data synthetic --classes-by-place --mean-bits 4 -o again.csv"),
        1,
    );
    assert!(error.contains("quantised already"), "{error}");
    assert!(!place.path("again.csv").exists());
}

#[test]
fn a_file_is_trained_in_steps_with_a_teacher() {
    let place = vwc_sdk();
    keep(&place, "mobile.onnx", 10);
    let train = format!("train --network mobile.onnx {DIGITS} --batch-size 32 --total-epochs 1");
    place.data(&format!("{train} --directory floats"));
    let eight = "--start-from floats/original --teacher floats/original --teacher-share 1 --temperature 1";
    place.data(&format!("{train} --wb 8 --ab 8 --directory eight {eight}"));
    let four = "--start-from eight/original --teacher eight/original";
    let output = place.run(&format!("{train} --wb 4 --ab 4 --directory four {four}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    for part in [
        "the teacher is mobile (W8A8; CRC-32 ",
        "training starts from the weights of a network (W8A8; CRC-32 ",
    ] {
        assert!(said.contains(part), "{part} missing in {said}");
    }
    assert!(!said.contains("the weights of mobile.onnx"), "{said}");
}
