//! The example `cifar10_resnet20`, and `vwc-sdk train`, `prune`, `test`, `import` and `export` for every network, as their
//! users run them.
#![cfg(feature = "train")]

use std::fs;
use std::path::Path;

#[path = "common/place.rs"]
mod place;

use place::Place;

/// Seconds of work: few pictures, one epoch, few channels.
const SMALL: &str = "--pictures 60 --batch_size 18";
const NARROW: &str = "--widths 5,6,7";

fn cifar10() -> Place {
    vwc_sdk().beginning_with("job --network resnet20")
}

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// The test accuracies of a table's summary, as they are printed.
fn test_accuracies(text: &str) -> Vec<String> {
    let summary = text.split("summary").nth(1).unwrap();
    let rows = summary.lines().filter(|line| {
        ["original", "RCP", "ratio"]
            .iter()
            .any(|name| line.trim_start().starts_with(name))
    });
    rows.map(|line| line.rsplit('|').next().unwrap().trim().to_owned())
        .collect()
}

#[test]
fn the_whole_job_trains_prunes_and_reports() {
    let place = cifar10();
    // An array so small that every stage has channels to spare.
    let text = place.data(&format!(
        "{SMALL} {NARROW} --array 32x16 --total_epochs 1 --prune_epochs 1 --budget 100"
    ));
    for part in [
        "ResNet-20 W2A2, synthetic digits",
        "blocks.8.conv1",
        "RCP1 on synthetic digits",
        "winner",
    ] {
        assert!(text.contains(part), "{part} missing in\n{text}");
    }
    // Saved, read again and tested again: the same to the last digit.
    let again = place.data(&format!("{SMALL} --array 32x16 --mode test"));
    assert_eq!(test_accuracies(&again), test_accuracies(&text));
    let config = fs::read_to_string(place.path("runs/cifar10_resnet20/rcp1/config.json")).unwrap();
    assert!(config.contains("\"network\": \"ResNet-20\""), "{config}");
    // Complete, it is read back.
    let resumed = place.data(&format!(
        "{SMALL} {NARROW} --array 32x16 --total_epochs 1 --prune_epochs 1 --budget 100 --resume"
    ));
    assert_eq!(resumed, text);
}

#[test]
fn the_originals_command_lines_run_as_they_stand() {
    let place = cifar10();
    let train = place.data(&format!(
        "--mode train --q 1 --ab 2 --wb 2 --total_epochs 1 --lr 0.001 {SMALL} {NARROW}"
    ));
    assert!(train.contains("original on synthetic digits"), "{train}");
    let prune = place.data(&format!(
        "--mode prune --q 1 --ab 2 --wb 2 --total_epochs 1 --lr 0.001 {SMALL} --array 32x16 --f 1 --budget 100"
    ));
    assert!(prune.contains("RCP1 on synthetic digits"), "{prune}");
    for flags in ["--widths 5,6,8", "--order pre-activation"] {
        let error = place.refused(&format!("--mode test {flags} {SMALL}"), 1);
        assert!(error.contains(flags.split(' ').next().unwrap()), "{error}");
    }
    // The pre-activation order, and the full-precision twin.
    for flags in ["--order pre-activation --ab 1 --wb 1", "--q 0"] {
        let text = place.data(&format!("--mode train {flags} --total_epochs 1 {SMALL} {NARROW}"));
        assert!(text.contains("ResNet-20"), "{text}");
    }
}

#[test]
fn networks_are_pruned_by_ratio() {
    let place = vwc_sdk();
    place.data(&format!(
        "train --network resnet20 --directory r --total_epochs 1 {SMALL} {NARROW}"
    ));
    let text = place.data(&format!(
        "prune --directory r --ratio 0.5 --multiple 2 --minimum 4 --ranking bn-scale --total_epochs 1 --budget 100 {SMALL}"
    ));
    assert!(
        text.contains("ratio1 on synthetic digits") && !text.contains("RCP"),
        "{text}"
    );
    let config = fs::read_to_string(place.path("r/ratio1/config.json")).unwrap();
    let widths: String = config.split_whitespace().collect();
    assert!(widths.contains("\"widths\":[4,4,4]"), "{config}");
    let again = place.data(&format!("test --directory r {SMALL}"));
    assert_eq!(test_accuracies(&again), test_accuracies(&text));
    // What a round was pruned by is part of it.
    let error = place.refused(
        &format!(
            "prune --directory r --ratio 0.5 --multiple 2 --minimum 4 --ranking l2 --total_epochs 1 --budget 100 {SMALL} --resume"
        ),
        1,
    );
    assert!(
        error.contains("its pruning is 0.5 of the layer") && error.contains("by l2"),
        "{error}"
    );
    // A ranking that some layers give no grounds for is told before anything is trained.
    let error = place.refused(&format!("train --network cnn8 --step-size 0 {SMALL}"), 2);
    assert!(error.contains("--step-size"), "{error}");
    let error = vwc_sdk()
        .beginning_with("job --network cnn8")
        .refused(&format!("--ratio 0.4 --ranking bn-scale {SMALL}"), 1);
    assert!(error.contains("convs.0") && error.contains("bn-scale"), "{error}");
    for (flag, expected) in [
        ("--ratio 1", "a part from 0 to below 1"),
        ("--ratio -1", "a part from 0 to below 1"),
        ("--budget -1", "a number from 0 up"),
        ("--valid 2", "a share between 0 and 1"),
        ("--valid -1", "a share between 0 and 1"),
    ] {
        let error = place.refused(&format!("prune --directory r {flag} {SMALL}"), 2);
        let name = &flag[..flag.find(' ').unwrap()];
        assert!(error.contains(name) && error.contains(expected), "{error}");
    }
    place.refused(&format!("prune --directory r --multiple 0 {SMALL}"), 2);
    for by in ["", "--ratio 0.5"] {
        let error = place.refused(&format!("prune --directory r {by} --hold stage9 {SMALL}"), 1);
        assert!(
            error.contains("no layer with a free width is called `stage9`"),
            "{error}"
        );
    }
    place.refused(&format!("prune --directory r --ranking l7 {SMALL}"), 2);
}

#[test]
fn every_network_trains_and_travels() {
    let place = vwc_sdk();
    for (network, widths) in [
        ("cnn8", "4,5,6,7,5,6,8"),
        ("resnet20", "3,4,5"),
        ("vgg13", "4,4,5,5,6,6,7,7,8,8"),
    ] {
        let text = place.data(&format!(
            "train --network {network} --directory {network} --widths {widths} --total_epochs 1 {SMALL}"
        ));
        // Out to PyTorch's names and back, with no other information: the same answers.
        place.data(&format!("export {network}/original {network}.safetensors"));
        place.data(&format!(
            "import {network}.safetensors --directory back-{network}"
        ));
        let back = place.data(&format!("test --directory back-{network} {SMALL}"));
        assert_eq!(test_accuracies(&back), test_accuracies(&text), "{network}");
        // On a simulated array too.
        let simulated = place.data(&format!(
            "evaluate {network}/original --array 64x64 --pictures 15 --format csv"
        ));
        let rows: Vec<&str> = simulated
            .lines()
            .skip(1)
            .map(|line| line.rsplit(',').nth(2).unwrap())
            .collect();
        assert_eq!(rows[0], rows[1], "an ideal array changes nothing: {simulated}");
    }
}

#[test]
fn weights_come_from_pytorch() {
    let place = vwc_sdk();
    let fixture = |name: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures")
            .join(name)
    };
    let file = fixture("pytorch/resnet20-checkpoint.pth");
    let file = file.display();
    place.data(&format!(
        "import {file} --network resnet20 --wb 2 --ab 2 --directory mine"
    ));
    // Nothing says what its classes are, so those of its published data set are taken: digits are none of them.
    let error = place.refused(&format!("test --directory mine {SMALL}"), 1);
    assert!(
        error.contains("`airplane`, `automobile`") && error.contains("`0`, `1`"),
        "{error}"
    );
    let text = place.data(&format!("test --directory mine --classes-by-place {SMALL}"));
    assert!(text.contains("ResNet-20 W2A2"), "{text}");
    // It can be pruned, though nothing was trained here.
    let text = place.data(&format!(
        "prune --directory mine --classes-by-place --ratio 0.3 --total_epochs 1 --budget 100 {SMALL}"
    ));
    assert!(text.contains("ratio1"), "{text}");

    // In full precision as published: found out by its tensors, trained on, pruned, and back under PyTorch's names.
    for network in ["resnet20", "vgg13"] {
        let published = fixture(&format!("pytorch/{network}-published.pth"));
        let published = published.display();
        place.data(&format!(
            "import {published} --network {network} --q 0 --directory p-{network}"
        ));
        let text = place.data(&format!(
            "prune --directory p-{network} --classes-by-place --ratio 0.3 --total_epochs 1 --budget 100 {SMALL}"
        ));
        assert!(
            text.contains("full precision") && text.contains("ratio1"),
            "{text}"
        );
        place.data(&format!("export p-{network}/ratio1 {network}.safetensors"));
        place.data(&format!(
            "import {network}.safetensors --directory back-{network}"
        ));
        let error = place.refused(
            &format!("import {published} --network {network} --q 0 --full-precision twin --directory x"),
            1,
        );
        assert!(
            error.contains("its tensors are those of full precision, published: leave out --full-precision"),
            "{error}"
        );
    }

    let error = place.refused(&format!("import {file} --network resnet20 --directory mine"), 1);
    assert!(
        error.contains("--directory mine") && error.contains("new folder"),
        "{error}"
    );
    let error = place.refused(&format!("import {file} --directory x"), 1);
    assert!(
        error.contains("resnet20-checkpoint.pth") && error.contains("--network"),
        "{error}"
    );
    // Nothing in a file tells whether its weights are to be quantised, unless its shapes do.
    let error = place.refused(&format!("import {file} --network resnet20 --directory x"), 1);
    assert!(error.contains("give --wb and --ab, or --q 0"), "{error}");
    let published = fixture("pytorch/resnet20-published.pth");
    let error = place.refused(
        &format!(
            "import {} --network resnet20 --wb 2 --ab 2 --directory x",
            published.display()
        ),
        1,
    );
    assert!(error.contains("full precision, published: give --q 0"), "{error}");
    for half in ["--wb 2", "--ab 2", "--q 1"] {
        let error = place.refused(
            &format!("import {file} --network resnet20 {half} --directory x"),
            1,
        );
        assert!(error.contains("give --wb and --ab"), "{half}: {error}");
    }
    let error = place.refused(
        &format!("import {file} --network resnet20 --q 0 --wb 2 --directory x"),
        1,
    );
    assert!(
        error.contains("--q 0: a network in full precision has no bits"),
        "{error}"
    );
    let error = place.refused("import resnet20.safetensors --network vgg13 --directory x", 1);
    assert!(
        error.contains("it holds ResNet-20: leave out --network"),
        "{error}"
    );
    let error = place.refused(
        &format!("import {file} --network vgg13 --wb 2 --ab 2 --directory x"),
        1,
    );
    assert!(error.contains("no tensor conv2.weight"), "{error}");
    let error = place.refused(
        &format!("import {file} --network resnet20 --wb 2 --ab 2 --widths 3,4,6 --directory x"),
        1,
    );
    assert!(
        error.contains("layer3.0.conv0.weight is 5x4x3x3, expected 6x4x3x3"),
        "{error}"
    );
    // Nothing that a pickle calls is run.
    let code = fixture("pytorch/runs-code.pt");
    let error = place.refused(
        &format!(
            "import {} --network cnn8 --wb 1 --ab 1 --directory x",
            code.display()
        ),
        1,
    );
    assert!(error.contains("no tensor layers.0.weight"), "{error}");
    assert!(!place.path("x").exists() && !place.path("hacked").exists());
}

#[test]
fn bad_input_is_named() {
    let place = vwc_sdk();
    for (args, parts) in [
        ("test", &["--directory", "--network"][..]),
        (
            "test --directory nowhere",
            &["nowhere/original", "no trained network"],
        ),
        (
            "prune --network resnet20",
            &["runs/cifar10_resnet20/original", "no trained network"],
        ),
        (
            "train --network cnn8 --order pre-activation",
            &["--order", "CNN-8"],
        ),
        (
            "train --network vgg13 --full-precision published",
            &["--full-precision", "--q 0"],
        ),
        (
            "train --network resnet20 --q 0 --full-precision published --order pre-activation",
            &["ResNet-20", "pre-activation"],
        ),
        (
            "train --network resnet20 --widths 3,4",
            &["--widths: ResNet-20: 2 widths, [3, 4]"],
        ),
        ("train --network resnet20 --extra --data cifar10", &["--extra"]),
        ("train --network vgg13 --data folder", &["--data-dir"]),
        (
            "train --network vgg13 --data folder --data-dir absent",
            &["absent"],
        ),
        ("train --network resnet20 --data-dir absent", &["absent"]),
        ("export nowhere x.safetensors", &["nowhere"]),
        ("export nowhere x.onnx.txt", &["x.onnx.txt", ".safetensors"]),
    ] {
        let error = place.refused(args, 1);
        for part in parts {
            assert!(error.contains(part), "{part} missing in: {error}");
        }
    }
    for args in [
        "train",
        "train --network resnet21",
        "import",
        "train --network vgg13 --widths x",
    ] {
        place.refused(args, 2);
    }
    assert!(
        fs::read_dir(place.dir()).unwrap().next().is_none(),
        "nothing was written"
    );

    // A batch cut short is named with what was expected.
    let batches = place.path("c/cifar-10-batches-bin");
    fs::create_dir_all(&batches).unwrap();
    for n in 1..=5 {
        fs::write(batches.join(format!("data_batch_{n}.bin")), vec![1; 3073 * 4]).unwrap();
    }
    fs::write(batches.join("test_batch.bin"), vec![1; 3073 * 4 - 1]).unwrap();
    let error = place.refused("train --network resnet20 --data-dir c", 1);
    assert!(
        error.contains("test_batch.bin") && error.contains("12291"),
        "{error}"
    );
}

#[test]
fn pictures_of_ones_own_are_trained_on() {
    let place = vwc_sdk();
    for (split, count) in [("train", 10), ("test", 3)] {
        for (class, shade) in [("cat", 40), ("dog", 200), ("emu", 120)] {
            let dir = place.path(&format!("mine/{split}/{class}"));
            fs::create_dir_all(&dir).unwrap();
            for n in 0..count {
                let ending = if n % 2 == 0 { "png" } else { "jpg" };
                let picture = image::RgbImage::from_pixel(40, 30, image::Rgb([shade, n * 20, 90]));
                picture.save(dir.join(format!("{n}.{ending}"))).unwrap();
            }
        }
    }
    // A name that a terminal would act on is refused, and not acted on in the error either.
    let odd = place.path("mine/train/c\u{1b}[31mat");
    fs::create_dir(&odd).unwrap();
    let error = place.refused("train --network vgg13 --data folder --data-dir mine", 1);
    assert!(
        error.contains("rename it") && error.contains("c\\u{1b}[31mat"),
        "{error}"
    );
    fs::remove_dir(&odd).unwrap();
    // Pruning is not for `train`.
    place.refused(
        "train --network vgg13 --data folder --data-dir mine --ratio 0.5",
        2,
    );
    let train = "train --network vgg13 --widths 4,4,4,4,4,4,4,4,4,4 --data folder --data-dir mine --directory v \
                 --batch_size 9 --total_epochs 1";
    let text = place.data(train);
    assert!(
        text.contains(&format!(
            "pictures in {} (27 training, 3 validation, 9 test pictures)",
            place.path("mine").display()
        )),
        "{text}"
    );
    let config = fs::read_to_string(place.path("v/original/config.json")).unwrap();
    assert!(config.contains("\"classes\": 3"), "{config}");
    // The names of its folders go along.
    place.data("export v/original v.vwcp");
    let classes = place.data("run v.vwcp mine/test/dog/0.png --format json");
    assert!(
        ["cat", "dog", "emu"]
            .iter()
            .all(|class| classes.contains(&format!("\"{class}\":"))),
        "{classes}"
    );
    // Its data are those it was trained on; others have other classes.
    let again = place.data("test --directory v");
    assert_eq!(test_accuracies(&again), test_accuracies(&text));
    let error = place.refused("test --directory v --synthetic", 1);
    assert!(
        error.contains("`cat`, `dog`, `emu`") && error.contains("`9`"),
        "{error}"
    );
    fs::write(place.path("mine/test/dog/1.jpg"), "not a picture").unwrap();
    let error = place.refused(train, 1);
    assert!(error.contains("mine/test/dog/1.jpg"), "{error}");
}

#[test]
fn cifar10_files_are_trained_on() {
    let place = cifar10();
    let batches = place.path("c/cifar-10-batches-bin");
    fs::create_dir_all(&batches).unwrap();
    for n in 0..6 {
        let name = if n == 5 {
            "test_batch.bin".into()
        } else {
            format!("data_batch_{}.bin", n + 1)
        };
        let pictures = (0..8u8).flat_map(|label| {
            let pixels = move |i: usize| (i as u8).wrapping_mul(label + n);
            std::iter::once(label).chain((0..3072).map(pixels))
        });
        fs::write(batches.join(name), pictures.collect::<Vec<u8>>()).unwrap();
    }
    let text = place.data(&format!(
        "--mode train --data-dir c --batch_size 12 --total_epochs 2 {NARROW}"
    ));
    assert!(
        text.contains(&format!(
            "CIFAR-10 in {} (36 training, 4 validation, 8 test pictures)",
            place.path("c").display()
        )),
        "{text}"
    );
    let config = fs::read_to_string(place.path("runs/cifar10_resnet20/original/config.json")).unwrap();
    assert!(
        config.contains("\"flip\": true") && config.contains("\"pad\": 4"),
        "{config}"
    );
    // Without augmentation it is another run.
    let error = place.refused(
        &format!(
            "--mode train --data-dir c --batch_size 12 --total_epochs 2 {NARROW} --augment none --resume"
        ),
        1,
    );
    assert!(error.contains("flip and crop"), "{error}");
}
