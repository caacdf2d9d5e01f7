//! What a network was trained with is kept by its run, and every command keeps to it: normalisation, classes, pictures, recipe,
//! array and search.
#![cfg(feature = "train")]

use std::fs;
use std::path::Path;

use serde_json::Value;

#[path = "common/place.rs"]
mod place;

use place::Place;
use vwc_sdk::data::{cifar10, folder};

const NARROW: &str = "--widths 4,5,6";

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// Standard output and standard error of a run that must succeed.
#[track_caller]
fn said(place: &Place, args: &str) -> (String, String) {
    let output = place.run(args);
    let talk = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{args}\n{talk}");
    (String::from_utf8(output.stdout).unwrap(), talk)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn config(place: &Place, run: &str) -> Value {
    json(&fs::read_to_string(place.path(run).join("config.json")).unwrap())
}

/// `per_batch` pictures of each of CIFAR-10's classes in each of its six files. A class has a colour of its own, so that a
/// network learns something in one epoch.
fn write_cifar10(dir: &Path, per_batch: u8) {
    let folder = dir.join("cifar-10-batches-bin");
    fs::create_dir_all(&folder).unwrap();
    for batch in 1..=6u8 {
        let mut bytes = Vec::new();
        for n in 0..per_batch {
            for class in 0..10u8 {
                bytes.push(class);
                for channel in 0..3u8 {
                    let colour = class.wrapping_mul(24 + 61 * channel);
                    let pixel = |at: u32| colour.wrapping_add((at as u8 ^ (n * 7 + batch)) & 31);
                    bytes.extend((0..1024).map(pixel));
                }
            }
        }
        let name = match batch {
            6 => "test_batch.bin".to_owned(),
            _ => format!("data_batch_{batch}.bin"),
        };
        fs::write(folder.join(name), bytes).unwrap();
    }
}

/// The pictures of CIFAR-10's files in `from`, as `train/CLASS/N.png` and `test/CLASS/N.png` in `to`.
fn as_folders(from: &Path, to: &Path) {
    let (train, test) = cifar10::load(from).unwrap();
    for (split, pictures) in [("train", train), ("test", test)] {
        for index in 0..pictures.len() {
            let class = &pictures.class_names()[usize::from(pictures.label(index))];
            let dir = to.join(split).join(class);
            fs::create_dir_all(&dir).unwrap();
            let picture = image::RgbImage::from_raw(32, 32, pictures.picture(index).to_vec()).unwrap();
            picture.save(dir.join(format!("{index:05}.png"))).unwrap();
        }
    }
}

#[test]
fn pictures_are_normalised_as_in_training_by_every_reader() {
    let place = vwc_sdk();
    write_cifar10(&place.path("c"), 4);
    as_folders(&place.path("c"), &place.path("png"));
    let train = format!(
        "train --network resnet20 --data-dir c --directory r {NARROW} --total_epochs 2 --batch_size 20 --augment none \
         --format json"
    );
    let trained = json(&place.data(&train));
    let right = |results: &Value| results["networks"][0]["test"].clone();
    let input = config(&place, "r/original")["input"].clone();
    assert_eq!(input["size"], json("[32, 32]"));
    assert_eq!(input["normalization"]["mean"][0], 0.4914);
    assert_eq!(input["classes"][9], "truck");

    // The same pictures from another source.
    let folders = json(&place.data("test --directory r --data folder --data-dir png --format json"));
    assert_eq!(right(&folders), right(&trained));
    let rows = json(&place.data("evaluate r/original --array 64x64 --pictures 1000 --format json"));
    assert_eq!(rows[0]["correct"], right(&trained)["correct"]);
    let rows = json(&place.data(
        "evaluate r/original --array 64x64 --pictures 1000 --format json --data folder --data-dir png",
    ));
    assert_eq!(rows[0]["correct"], right(&trained)["correct"]);

    // Out and back in: the same network, read in the same way.
    place.data("export r/original r.safetensors");
    let (_, talk) = said(&place, "import r.safetensors --directory back");
    assert!(!talk.contains("Taken for granted"), "{talk}");
    assert_eq!(config(&place, "back/original")["input"], input);
    let back = json(&place.data("test --directory back --data-dir c --format json"));
    assert_eq!(right(&back), right(&trained));
    for (file, check) in [("vwcp", "--check 1000 --data-dir c"), ("onnx", "")] {
        place.data(&format!("export r/original r.{file}"));
        let (_, talk) = said(&place, &format!("export back/original back.{file} {check}"));
        let [ours, theirs] =
            ["r", "back"].map(|name| fs::read(place.path(&format!("{name}.{file}"))).unwrap());
        assert!(ours == theirs, "{file}");
        if !check.is_empty() {
            let share = right(&trained)["correct"].as_f64().unwrap() / 0.4;
            assert!(talk.contains(&format!("{share:.2} % are right")), "{talk}");
        }
    }

    // A file of somebody else's says nothing: what is taken for granted is said, and can be given.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch/resnet20-checkpoint.pth");
    let import = format!("import {} --network resnet20 --wb 2 --ab 2", file.display());
    let (_, talk) = said(&place, &format!("{import} --directory granted"));
    for part in [
        "Taken for granted",
        "CIFAR-10's",
        "--normalization",
        "rgb",
        "airplane",
    ] {
        assert!(talk.contains(part), "{part} missing in {talk}");
    }
    let names = "a,b,c,d,e,f,g,h,i,j";
    let (_, talk) = said(
        &place,
        &format!("{import} --directory given --normalization imagenet --channels bgr --classes {names}"),
    );
    assert!(!talk.contains("Taken for granted"), "{talk}");
    let given = config(&place, "given/original")["input"].clone();
    assert_eq!(given["normalization"]["mean"][0], 0.485);
    assert_eq!(given["channels"], "bgr");
    assert_eq!(given["classes"][1], "b");
    for (flag, part) in [
        ("--normalization 0.5,0.5", "three means and three deviations"),
        ("--normalization 0.5,0.5,0.5/0,1,1", "deviations above 0"),
    ] {
        let error = place.refused(&format!("{import} --directory x {flag}"), 2);
        assert!(error.contains(part), "{error}");
    }
    let error = place.refused(&format!("{import} --directory x --classes a,b"), 1);
    assert!(error.contains("2 names of classes"), "{error}");
    assert!(!place.path("x").exists());

    // What the file says and a flag says otherwise is said.
    let (_, talk) = said(
        &place,
        &format!(
            "import r.safetensors --directory otherwise --channels bgr --normalization half --classes {names}"
        ),
    );
    for part in [
        "--channels is bgr, and was rgb",
        "--normalization is half",
        "--classes is a,b,c",
    ] {
        assert!(talk.contains(part), "{part} missing in {talk}");
    }
    // A round that reads pictures in another way is one of another network.
    fs::create_dir(place.path("otherwise/ratio1")).unwrap();
    for file in ["config.json", "manifest.json", "model.bpk", "metrics.csv"] {
        fs::copy(
            place.path("r/original").join(file),
            place.path("otherwise/ratio1").join(file),
        )
        .unwrap();
    }
    let error = place.refused("test --directory otherwise --data-dir c --classes-by-place", 1);
    assert!(error.contains("a round of another network"), "{error}");
    // Where its pictures are nobody has said.
    for command in [
        "test --directory granted",
        "evaluate granted/original --array 64x64",
    ] {
        let error = place.refused(command, 1);
        assert!(error.contains("--data and --data-dir"), "{error}");
    }

    // What an import of version 0.3 took for granted is not known.
    let path = place.path("granted/original/config.json");
    let mut old = config(&place, "granted/original");
    let fields = old.as_object_mut().unwrap();
    fields.remove("input");
    fields.insert("version".into(), "0.3.0".into());
    fs::write(&path, old.to_string()).unwrap();
    fs::remove_file(place.path("granted/original/manifest.json")).unwrap();
    let error = place.refused("export granted/original x.vwcp", 1);
    assert!(error.contains("import its file again"), "{error}");
}

#[test]
fn a_network_that_reads_blue_first_is_packed_so() {
    let place = vwc_sdk();
    write_cifar10(&place.path("c"), 2);
    place.data(&format!(
        "train --network resnet20 --data-dir c --directory r {NARROW} --total_epochs 1 --batch_size 20"
    ));
    place.data("export r/original r.safetensors");
    place.data("import r.safetensors --directory bgr --channels bgr");
    let (_, talk) = said(&place, "export bgr/original bgr.vwcp --check 1000 --data-dir c");
    assert!(
        talk.contains("the same class as the trained network on all of 20"),
        "{talk}"
    );
    place.data("export r/original rgb.vwcp");
    let [rgb, bgr] = ["rgb", "bgr"].map(|name| fs::read(place.path(&format!("{name}.vwcp"))).unwrap());
    // Older readers know nothing of the order of channels, and refuse a file of another layout.
    assert_eq!((rgb[8], bgr[8]), (1, 2));
    // A picture with red and blue exchanged is to the one what the picture is to the other.
    let picture = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([8 * x as u8, 8 * y as u8, 99]));
    let exchanged = image::RgbImage::from_fn(32, 32, |x, y| image::Rgb([99, 8 * y as u8, 8 * x as u8]));
    picture.save(place.path("picture.png")).unwrap();
    exchanged.save(place.path("exchanged.png")).unwrap();
    // The means of the channels belong to the colours: equal ones are needed to exchange colours.
    for (name, file) in [("rgb", "r"), ("bgr", "r")] {
        place.data(&format!(
            "import {file}.safetensors --directory half-{name} --channels {name} --normalization half"
        ));
        place.data(&format!("export half-{name}/original half-{name}.vwcp"));
    }
    let shares = |model: &str, picture: &str| {
        let results = json(&place.data(&format!("run {model} {picture} --format json")));
        results[0]["probabilities"].clone()
    };
    assert_eq!(
        shares("half-rgb.vwcp", "picture.png"),
        shares("half-bgr.vwcp", "exchanged.png")
    );
    assert_ne!(
        shares("half-rgb.vwcp", "picture.png"),
        shares("half-bgr.vwcp", "picture.png")
    );
}

/// `train/CLASS/N.png` and `test/CLASS/N.png` of pictures in one colour a class.
fn paint(dir: &Path, classes: &[(&str, [u8; 3])]) {
    for (split, count) in [("train", 12), ("test", 5)] {
        for (class, colour) in classes {
            let folder = dir.join(split).join(class);
            fs::create_dir_all(&folder).unwrap();
            for n in 0..count {
                let [r, g, b] = colour.map(|byte| byte.saturating_add(n * 3));
                image::RgbImage::from_pixel(32, 32, image::Rgb([r, g, b]))
                    .save(folder.join(format!("{n}.png")))
                    .unwrap();
            }
        }
    }
}

const RED: [u8; 3] = [200, 30, 20];
const BLUE: [u8; 3] = [10, 40, 190];

#[test]
fn classes_are_matched_by_name() {
    let place = vwc_sdk();
    paint(&place.path("pets"), &[("cat", RED), ("dog", BLUE)]);
    // The same pictures under names that sort the other way.
    paint(&place.path("renamed"), &[("kitten", RED), ("adog", BLUE)]);
    let trained = json(&place.data(
        "train --network resnet20 --q 0 --widths 4,6,8 --data folder --data-dir pets --directory p --total_epochs 12 \
         --batch_size 6 --format json",
    ));
    let right = |results: &Value| results["networks"][0]["test"]["correct"].as_u64().unwrap();
    assert_eq!(right(&trained), 10, "red and blue are easily told apart");

    for command in [
        "test --directory p --data-dir renamed",
        "evaluate p/original --array 64x64 --data-dir renamed",
    ] {
        let error = place.refused(command, 1);
        for part in ["`cat`, `dog`", "`adog`, `kitten`", "--classes-by-place"] {
            assert!(error.contains(part), "{part} missing in {error}");
        }
    }
    // For those who know better: the first of one for the first of the other, here the wrong way round.
    let (text, talk) = said(
        &place,
        "test --directory p --data-dir renamed --classes-by-place --format json",
    );
    assert_eq!(right(&json(&text)), 0);
    assert!(talk.contains("adog as cat, kitten as dog"), "{talk}");
    // Some of the classes are enough to test with.
    paint(&place.path("dogs"), &[("dog", BLUE)]);
    let (text, talk) = said(&place, "test --directory p --data-dir dogs --format json");
    assert_eq!(right(&json(&text)), 5);
    assert!(talk.contains("lack 1 of them: cat"), "{talk}");
    // An order of its own: the names are those of the network's outputs.
    place.data("export p/original p.safetensors");
    place.data("import p.safetensors --directory turned --classes dog,cat");
    let turned = json(&place.data("test --directory turned --data folder --data-dir pets --format json"));
    assert_eq!(right(&turned), 0, "its outputs are called by the wrong names");
}

#[test]
fn pruning_goes_on_as_the_network_was_trained() {
    let place = vwc_sdk();
    write_cifar10(&place.path("c"), 2);
    fs::create_dir(place.path("elsewhere")).unwrap();
    place.data(&format!(
        "train --network resnet20 --data-dir c --directory r {NARROW} --total_epochs 1 --batch_size 20 --lr 0.002 --optim sgd \
         --seed 3 --valid 0.2 --array 32x16 --search published"
    ));
    // From another folder, with no flag but those of pruning.
    let elsewhere = |args: &str| {
        let output = place
            .command(args)
            .current_dir(place.path("elsewhere"))
            .output()
            .unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{args}\n{talk}");
        (String::from_utf8(output.stdout).unwrap(), talk)
    };
    let (text, _) = elsewhere("prune --directory ../r --total_epochs 1 --f 1 --budget 100 --format json");
    let pruned = json(&text);
    let [original, round] = ["r/original", "r/rcp1"].map(|run| config(&place, run));
    assert_eq!(original["augment"]["flip"], true);
    for kept in [
        "augment",
        "source",
        "checksums",
        "mapping",
        "input",
        "valid_share",
        "split_seed",
    ] {
        assert_eq!(original[kept], round[kept], "{kept}");
    }
    for kept in ["learning_rate", "optimizer", "seed", "batch_size"] {
        assert_eq!(original["recipe"][kept], round["recipe"][kept], "{kept}");
    }
    assert_eq!(original["mapping"]["search"], "published");
    assert!(Path::new(original["source"]["dir"].as_str().unwrap()).is_absolute());
    let cycles = |results: &Value| -> Vec<u64> {
        let networks = results["networks"].as_array().unwrap();
        networks.iter().map(|n| n["cycles"].as_u64().unwrap()).collect()
    };
    // A test counts cycles as the rounds did.
    let (text, _) = elsewhere("test --directory ../r --format json");
    assert_eq!(cycles(&json(&text)), cycles(&pruned));
    // Another array is another count, and that is said.
    let (text, talk) = elsewhere("test --directory ../r --array 64x64 --format json");
    assert_ne!(cycles(&json(&text)), cycles(&pruned));
    assert!(talk.contains("--array is 64x64, and was 32x16"), "{talk}");
    // So is every other flag that changes what the run had.
    let (_, talk) = elsewhere(
        "prune --directory ../r --total_epochs 1 --f 1 --budget 100 --augment none --lr 0.1 --optim adam --scheduler step \
         --seed 4 --search exact --batch-size 25",
    );
    for part in [
        "--augment is none, and was flip and crop",
        "--lr is 0.1, and was 0.002",
        "--optim is adam, and was sgd",
        "--scheduler is step, every 40 epochs, and was multi-step",
        "--seed is 4, and was 3",
        "--search is exact, and was published",
        "--batch-size is 25, and was 20",
    ] {
        assert!(talk.contains(part), "{part} missing in {talk}");
    }

    // Pictures that are somewhere else are looked for where the flag says, and known by their contents.
    fs::rename(place.path("c"), place.path("moved")).unwrap();
    let error = place.refused("prune --directory r --total_epochs 1 --f 1 --budget 100", 1);
    assert!(
        error.contains("not there any more") && error.contains("--data-dir"),
        "{error}"
    );
    for command in ["test --directory r", "evaluate r/original --array 32x32"] {
        let error = place.refused(command, 1);
        assert!(error.contains("--data-dir"), "{error}");
    }
    let prune = "prune --directory r --total_epochs 1 --f 1 --budget 100 --data-dir moved";
    place.data(prune);
    let batch = place.path("moved/cifar-10-batches-bin/data_batch_3.bin");
    let mut bytes = fs::read(&batch).unwrap();
    bytes[77] ^= 1;
    fs::write(&batch, bytes).unwrap();
    let error = place.refused(prune, 1);
    assert!(error.contains("accuracies cannot be compared"), "{error}");
}

#[test]
fn a_ratio_that_changes_nothing_says_so() {
    let place = vwc_sdk();
    place.data("train --network resnet20 --directory r --widths 6,8,10 --total_epochs 1 --pictures 60 --batch_size 18");
    let (_, talk) = said(
        &place,
        "prune --directory r --ratio 0.1 --total_epochs 1 --budget 100",
    );
    assert!(
        talk.contains("leaves as they were: ") && talk.contains("(6 channels)"),
        "{talk}"
    );
}

#[test]
fn the_published_search_is_remembered() {
    let place = vwc_sdk().beginning_with("job --network cnn8");
    let flags = "--pictures 80 --batch_size 24";
    place.data(&format!(
        "{flags} --total_epochs 1 --prune_epochs 1 --budget 100 --f 1 --search published"
    ));
    let results = json(&place.data("--mode test --format json"));
    assert_eq!(results["networks"][1]["cycles_after_first"], 189);
}

#[test]
fn test_pictures_are_drawn_from_every_class() {
    let place = vwc_sdk();
    paint(
        &place.path("pets"),
        &[("cat", RED), ("dog", BLUE), ("emu", [90; 3])],
    );
    place.data(
        "train --network resnet20 --widths 3,4,5 --data folder --data-dir pets --directory p --total_epochs 1 --batch_size 6",
    );
    let (text, talk) = said(
        &place,
        "evaluate p/original --array 64x64 --pictures 6 --draw-seed 4 --format json",
    );
    assert!(
        talk.contains("6 of 15 test pictures of pictures in ")
            && talk.contains("drawn with seed 4 (2 of each of 3 classes)"),
        "{talk}"
    );
    let rows = json(&text);
    let interval = |row: &Value| [0, 1].map(|end| row["interval"][end].as_f64().unwrap());
    let [low, high] = interval(&rows[0]);
    let accuracy = rows[0]["accuracy"].as_f64().unwrap();
    assert!(
        low <= accuracy + 1e-9 && accuracy <= high + 1e-9 && high - low > 30.0,
        "{rows}"
    );
    let (_, talk) = said(&place, "export p/original p.vwcp --check 9");
    assert!(
        talk.contains("9 of 15 test pictures") && talk.contains("drawn with seed 0 (3 of each of 3 classes)"),
        "{talk}"
    );
    assert!(talk.contains("95 % interval"), "{talk}");
    // Classes of which there are not equally many are counted one by one.
    let (_, talk) = said(&place, "export p/original p.vwcp --check 7");
    let listed = ["cat: ", "dog: ", "emu: "].map(|class| {
        let (_, rest) = talk.split_once(class).unwrap();
        rest[..1].parse::<usize>().unwrap()
    });
    assert_eq!(listed.iter().sum::<usize>(), 7, "{talk}");
    // Where pictures are not compared, none are chosen.
    for flags in ["--data-dir pets", "--draw-seed 3", "--classes-by-place"] {
        place.refused(&format!("export p/original p.vwcp {flags}"), 2);
    }
}

#[test]
fn folders_of_pictures_say_how_they_are_laid_out() {
    let place = vwc_sdk();
    paint(&place.path("pets"), &[("cat", RED), ("dog", BLUE)]);
    let train = "train --network resnet20 --widths 3,4,5 --total_epochs 1 --batch_size 6";
    // Pictures, and no word about what they are.
    let error = place.refused(&format!("{train} --data-dir pets"), 1);
    assert!(
        error.contains("it holds no CIFAR-10, but folders of pictures: add --data folder"),
        "{error}"
    );
    // Not divided into what to train on and what to test with.
    fs::rename(place.path("pets/train"), place.path("whole")).unwrap();
    for dir in ["pets", "whole"] {
        let error = place.refused(&format!("{train} --data folder --data-dir {dir}"), 1);
        for part in [
            "`train`",
            "train/CLASS/*.png and test/CLASS/*.png",
            "--test-share",
        ] {
            assert!(error.contains(part), "{part} missing in {error}");
        }
    }
    let text = place.data(&format!(
        "{train} --data folder --data-dir whole --test-share 0.25 --directory w"
    ));
    // Of two times twelve pictures: six to test with, two to validate.
    assert!(
        text.contains("(16 training, 2 validation, 6 test pictures)"),
        "{text}"
    );
    // The same ones, whoever asks.
    let set = |seed: &str| {
        let text = place.data(&format!("test --directory w --format json {seed}"));
        json(&text)["networks"][0]["test"].clone()
    };
    assert_eq!(set(""), set("--seed 9"));
    let share = folder::load_undivided(&place.path("whole"), [32, 32], 0.25).unwrap();
    assert_eq!(share.test.class_counts(), [3, 3]);
    let error = place.refused(
        &format!("{train} --data cifar10 --data-dir c --test-share 0.25"),
        1,
    );
    assert!(error.contains("--test-share"), "{error}");

    // What is passed over is said.
    fs::write(place.path("whole/cat/old.tif"), "x").unwrap();
    fs::write(place.path("whole/notes.txt"), "x").unwrap();
    let (_, talk) = said(&place, "test --directory w --data-dir whole");
    assert!(
        talk.contains("1 file passed over: .tif is not read (the first is cat/old.tif)")
            && talk.contains("1 file passed over: in the folder of no class (the first is notes.txt)"),
        "{talk}"
    );

    // Another share, or other files, would test with what was trained on.
    let error = place.refused("test --directory w --test-share 0.5", 1);
    assert!(error.contains("trained with 0.25"), "{error}");
    fs::copy(place.path("whole/cat/1.png"), place.path("whole/cat/another.png")).unwrap();
    for command in ["test --directory w", "evaluate w/original --array 64x64"] {
        let error = place.refused(command, 1);
        assert!(error.contains("its files have changed"), "{error}");
    }
    // Folders beside the two that are read are not, and that is said.
    paint(&place.path("three"), &[("cat", RED), ("dog", BLUE)]);
    fs::create_dir_all(place.path("three/val/cat")).unwrap();
    let (_, talk) = said(
        &place,
        &format!("{train} --data folder --data-dir three --directory t"),
    );
    assert!(
        talk.contains("beside `train` and `test` (the first is val)"),
        "{talk}"
    );

    // The other version of CIFAR-10.
    fs::create_dir_all(place.path("py/cifar-10-batches-py")).unwrap();
    let error = place.refused(&format!("{train} --data-dir py"), 1);
    assert!(
        error.contains("cifar-10-batches-py") && error.contains("Python version"),
        "{error}"
    );
    // Digits are drawn, not read.
    let error = place.refused(
        &format!("{train} --data folder --data-dir whole --test-share 0.25 --pictures 80"),
        1,
    );
    assert!(error.contains("--pictures"), "{error}");
}
