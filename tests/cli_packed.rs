//! `vwc-sdk export` and `vwc-sdk run` from the outside: a trained network becomes a file, and the file classifies as the
//! network does.

#![cfg(all(feature = "flex", feature = "packed"))]

use std::path::Path;
use std::process::Output;

use assert_cmd::{Command, cargo_bin};
use burn::data::dataloader::batcher::Batcher;
use burn::data::dataset::{Dataset, transform::Mapper};
use burn::tensor::Device;
use vwc_sdk::data::{DataSource, PictureBatcher, PictureDataset, PictureItem, Resize, Splits, synthetic};
use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
use vwc_sdk::packed::{Model, Session};
use vwc_sdk::train::{FitOptions, Recipe, RunDir, fit};

fn command(args: &[&str], dir: &Path) -> Output {
    Command::new(cargo_bin!("vwc-sdk"))
        .args(args)
        .current_dir(dir)
        .output()
        .unwrap()
}

/// Trains a narrow CNN-8 for an epoch.
fn train(run: &Path, structure: &Cnn8Config) {
    let device = Device::flex().autodiff();
    device.seed(3);
    let pictures = |count, seed| synthetic::digits(count, seed);
    // What the commands draw again for a run of so many digits.
    let origin = DataSource::Synthetic { pictures: 160 };
    let splits = Splits::carve(origin.to_string(), pictures(160, 1), pictures(40, 2), 0.2, 0)
        .unwrap()
        .with_origin(origin);
    let recipe = Recipe::original(1).with_batch_size(24);
    let options =
        FitOptions::new(&splits, &recipe, RunDir::new(run), std::slice::from_ref(&device)).with_label("test");
    fit(structure.init(&device), options).unwrap();
}

/// What must fail with `code`, without a word on standard output: its error.
fn refused(args: &[&str], dir: &Path, code: i32) -> String {
    let output = command(args, dir);
    assert_eq!(output.status.code(), Some(code), "{args:?}");
    assert!(output.stdout.is_empty());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    errors[0].to_owned()
}

#[test]
fn an_exported_network_classifies_pictures_as_it_did_in_training() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("original");
    train(&run, &Cnn8Config::new().with_widths([6, 7, 8, 9, 10, 10, 12]));

    let output = command(
        &[
            "export",
            "original",
            "original.vwcp",
            "--check",
            "300",
            "--draw-seed",
            "2",
        ],
        dir.path(),
    );
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    assert!(
        talk.contains(
            "the same class as the trained network on all of 40 of 40 test pictures of synthetic digits ("
        ),
        "{talk}"
    );
    assert!(output.stdout.is_empty());
    let file = dir.path().join("original.vwcp");
    let f32_file = std::fs::metadata(run.join("model.bpk")).unwrap().len();
    assert!(std::fs::metadata(&file).unwrap().len() < f32_file);

    // The pictures, as files of their own size.
    let digits = PictureDataset::new(synthetic::digits(20, 5).into());
    let items: Vec<PictureItem> = (0..digits.len()).map(|n| digits.get(n).unwrap()).collect();
    let names: Vec<String> = (0..items.len()).map(|n| format!("{n}.png")).collect();
    for (item, name) in items.iter().zip(&names) {
        let [height, width] = item.size.map(|side| side as u32);
        let picture = image::RgbImage::from_raw(width, height, item.pixels.clone()).unwrap();
        picture.save(dir.path().join(name)).unwrap();
    }

    let device = Device::flex();
    let (network, config) = RunDir::new(&run).load::<Cnn8Config>(&device).unwrap();
    let resized = items
        .iter()
        .map(|item| Resize::new(Cnn8Config::new().input()).map(item))
        .collect();
    let images = PictureBatcher::new(config.input.normalization)
        .batch(resized, &device)
        .images;
    let logits = network.forward(images).into_data().try_into_vec::<f32>().unwrap();

    let mut args = vec!["run", "original.vwcp"];
    args.extend(names.iter().map(String::as_str));
    let table = command(&args, dir.path());
    assert!(table.status.success());
    let table = String::from_utf8(table.stdout).unwrap();
    args.extend(["--format", "json"]);
    let json = command(&args, dir.path());
    assert_eq!(String::from_utf8_lossy(&json.stderr).lines().count(), 1);
    let json: Vec<serde_json::Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.len(), items.len());
    for ((name, result), logits) in names.iter().zip(&json).zip(logits.chunks_exact(10)) {
        let class = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        assert_eq!(result["picture"], name.as_str());
        assert_eq!(result["class"], class.to_string().as_str());
        let powers: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
        for (n, power) in powers.iter().enumerate() {
            let share = result["probabilities"][n.to_string()].as_f64().unwrap();
            let expected = power / powers.iter().sum::<f64>();
            assert!(
                (share - expected).abs() < 1e-5,
                "{name}: {share}, expected {expected}"
            );
        }
        let line = table
            .lines()
            .find(|line| line.trim_start().starts_with(name.as_str()))
            .unwrap();
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert_eq!(cells[1], class.to_string());
    }
}

#[test]
fn wrong_files_and_networks_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    let run = path.join("run");
    let structure = Cnn8Config::new().with_widths([2, 2, 2, 2, 2, 2, 2]);
    train(&run, &structure.clone().with_classes(10));
    let names = "a,b,c,d,e,f,g,h,i,k";
    assert!(
        command(
            &[
                "export",
                "run",
                "letters.bin",
                "--format",
                "packed",
                "--classes",
                names
            ],
            path
        )
        .status
        .success()
    );
    let model = Model::open(&path.join("letters.bin")).unwrap();
    assert_eq!(model.classes().join(","), names);
    let white = image::RgbImage::from_pixel(7, 90, image::Rgb([255; 3]));
    white.save(path.join("white.png")).unwrap();
    let pixels = model.read_picture(&path.join("white.png")).unwrap();
    assert_eq!(Session::new(&model).logits(&pixels).len(), 10);

    let error = refused(&["export", "run", "x.vwcp", "--classes", "cat,dog"], path, 1);
    assert!(
        error.contains("2 names of classes") && error.contains("tells 10 apart"),
        "{error}"
    );
    let twice = "a,b,c,d,e,f,g,h,i,a";
    let error = refused(&["export", "run", "x.vwcp", "--classes", twice], path, 1);
    assert!(
        error.contains("--classes") && error.contains("two classes called \"a\""),
        "{error}"
    );
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo")
            .arg(path.join("pipe.vwcp"))
            .status();
        assert!(made.unwrap().success());
        let error = refused(&["run", "pipe.vwcp", "white.png"], path, 1);
        assert!(error.contains("pipe.vwcp"), "{error}");
    }
    let error = refused(&["run", "run", "white.png"], path, 1);
    assert!(
        error.contains("run:") && error.contains("`vwc-sdk export` wrote"),
        "{error}"
    );
    for (file, flag, fits) in [
        ("x.safetensors", &["--check", "5"][..], "packed, onnx or integers"),
        ("x.onnx", &["--weights", "latent"], "pytorch"),
    ] {
        let error = refused(&[&["export", "run", file], flag].concat(), path, 1);
        assert!(error.contains(flag[0]) && error.contains(fits), "{error}");
        assert!(!path.join(file).exists());
    }
    // A folder is not replaced, and nothing half written stays.
    std::fs::create_dir(path.join("full.vwcp")).unwrap();
    let error = refused(&["export", "run", "full.vwcp"], path, 1);
    assert!(
        error.contains("full.vwcp: cannot write: a folder is there"),
        "{error}"
    );
    let error = refused(&["export", "run", "nowhere/x.safetensors"], path, 1);
    assert!(
        error.contains("nowhere/x.safetensors: cannot write") && !error.contains("writing-"),
        "{error}"
    );
    let error = refused(&["export", "nowhere", "x.vwcp"], path, 1);
    assert!(error.contains("nowhere"), "{error}");
    refused(&["run", "letters.bin"], path, 2);
    let error = refused(&["run", "nothing.vwcp", "white.png"], path, 1);
    assert!(error.contains("nothing.vwcp: cannot open"), "{error}");
    let error = refused(&["run", "white.png", "white.png"], path, 1);
    assert!(
        error.contains("white.png") && error.contains("no packed network"),
        "{error}"
    );
    let error = refused(&["run", "letters.bin", "letters.bin"], path, 1);
    assert!(
        error.contains("letters.bin") && error.contains("expected a png, jpg"),
        "{error}"
    );
    let error = refused(&["run", "letters.bin", "."], path, 1);
    assert!(error.contains("pgm (it is a folder)"), "{error}");
    let mut bytes = std::fs::read(path.join("letters.bin")).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(path.join("half.vwcp"), bytes).unwrap();
    let error = refused(&["run", "half.vwcp", "white.png"], path, 1);
    assert!(
        error.contains("half.vwcp") && error.contains("bytes long"),
        "{error}"
    );

    // Another network's name, and one that is not quantised.
    let config = std::fs::read_to_string(run.join("config.json")).unwrap();
    std::fs::write(run.join("config.json"), config.replace("CNN-8", "CNN-9")).unwrap();
    let error = refused(&["export", "run", "x.vwcp"], path, 1);
    assert!(error.contains("CNN-9") && error.contains("CNN-8"), "{error}");
    std::fs::write(
        run.join("config.json"),
        config.replace("\"quantized\": true", "\"quantized\": false"),
    )
    .unwrap();
    let error = refused(&["export", "run", "x.vwcp"], path, 1);
    assert!(
        error.contains("config.json") && error.contains("--accept-changes"),
        "{error}"
    );
    let error = refused(&["export", "run", "x.vwcp", "--accept-changes"], path, 1);
    assert!(
        error.contains("full precision") && error.contains("1 to 4 bits"),
        "{error}"
    );
}

#[test]
fn a_trained_network_is_shown_drawn_and_listed_for_the_mapper() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("original");
    train(&run, &Cnn8Config::new().with_widths([6, 7, 8, 9, 10, 10, 12]));
    let output = command(&["graph", "original", "--plot", "graph.svg"], dir.path());
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["node", "operation", "reads", "result", "codes"]
    );
    let conv = lines.iter().find(|line| line.starts_with("convs.1 ")).unwrap();
    assert!(conv.contains("conv 3x3, 6 -> 7") && conv.contains("W1"), "{conv}");
    assert!(
        text.contains("u1: 0 to 1, unit 1") && text.contains("linear*"),
        "{text}"
    );
    let svg = std::fs::read_to_string(dir.path().join("graph.svg")).unwrap();
    assert!(
        svg.starts_with("<svg") && svg.contains("convs.1") && svg.len() < 200_000,
        "{}",
        svg.len()
    );

    let output = command(&["graph", "original", "--onnx", "graph.onnx"], dir.path());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("graph.onnx"), "{said}");
    let onnx = std::fs::read(dir.path().join("graph.onnx")).unwrap();
    let has = |text: &str| onnx.windows(text.len()).any(|part| part == text.as_bytes());
    for text in ["convs.1.weight", "Round", "logits", "W1A1", "vwc-sdk.input"] {
        assert!(has(text), "{text}");
    }

    let list = command(&["graph", "original", "--format", "layers"], dir.path());
    assert!(list.status.success());
    std::fs::write(dir.path().join("list.json"), &list.stdout).unwrap();
    let front = command(&["front", "list.json", "--array", "64x64"], dir.path());
    assert!(
        front.status.success(),
        "{}",
        String::from_utf8_lossy(&front.stderr)
    );

    // The folder itself is a network for the mapper, too.
    let [of_list, of_run] = ["list.json", "original"].map(|network| {
        let mapped = command(
            &["map", network, "--array", "64x64", "--format", "csv"],
            dir.path(),
        );
        assert!(
            mapped.status.success(),
            "{}",
            String::from_utf8_lossy(&mapped.stderr)
        );
        mapped.stdout
    });
    assert_eq!(of_list, of_run);
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    let empty = refused(&["map", "empty", "--array", "64x64"], dir.path(), 1);
    assert!(empty.contains("config.json is missing"), "{empty}");

    let missing = refused(&["graph", "nowhere"], dir.path(), 1);
    assert!(
        missing.contains("nowhere") && missing.contains("train"),
        "{missing}"
    );
    refused(&["graph", "original", "--plot", "graph.pdf"], dir.path(), 2);
    let name = refused(&["graph", "original", "--onnx", "graph.pb"], dir.path(), 2);
    assert!(name.contains("must end in .onnx"), "{name}");
}
