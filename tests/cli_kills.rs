//! Training, pruning, import and export that are killed, or refused by a full disk, at any step of writing a file: the next run ends
//! as an undisturbed one does, and nothing that was whole is lost.
//!
//! `VWC_SDK_KILLS=all cargo test --release --test cli_kills` tries every point; without it some dozens are tried.
#![cfg(all(feature = "train", unix))]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Output;

use burn::tensor::{Device, TensorData};
use serde_json::Value;
use vwc_sdk::models::ResNet20Config;
use vwc_sdk::module::Parameters;
use vwc_sdk::train::RunDir;

#[path = "common/place.rs"]
mod place;

use place::{Place, copy};

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// Points to try out of `1..=count`: all, or about `some`, the first and the last among them.
fn points(count: usize, some: usize) -> Vec<usize> {
    let all = std::env::var("VWC_SDK_KILLS").is_ok_and(|which| which == "all");
    let step = if all { 1 } else { count.div_ceil(some) };
    (1..=count).step_by(step).chain([count]).collect()
}

fn at(place: &Place, variable: &str, point: usize, args: &str) -> Output {
    place
        .command(args)
        .env(variable, point.to_string())
        .output()
        .unwrap()
}

/// How many points a run passes.
fn count(run: impl Fn(usize) -> Output) -> usize {
    // Doubled until a run is not killed, then halved.
    let killed = |point| run(point).status.signal().is_some();
    let mut high = 1;
    while killed(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        if killed(middle) {
            low = middle
        } else {
            high = middle
        }
    }
    low
}

/// Everything in a folder, by path: names, and contents without what is measured by the clock.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if !["run.log", "metrics.csv", "manifest.json", ".lock"]
                .iter()
                .any(|end| name.ends_with(end))
            {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// The network of a run, tensor for tensor.
fn tensors(run: &Path) -> Vec<(String, Vec<f32>)> {
    let (network, _) = RunDir::new(run)
        .load::<ResNet20Config>(&Device::default())
        .unwrap();
    let parameters = Parameters::of(&network);
    let values = |data: &TensorData| data.clone().try_into_vec::<f32>().unwrap();
    parameters
        .iter()
        .map(|(path, data)| (path.to_string(), values(data)))
        .collect()
}

fn results(place: &Place) -> Value {
    serde_json::from_str(&fs::read_to_string(place.path("r/results.json")).unwrap()).unwrap()
}

const TRAIN: &str =
    "train --network resnet20 --widths 3,4,5 --pictures 40 --batch_size 18 --total_epochs 2 --directory r";
const PRUNE: &str = "prune --directory r --ratio 0.3 --f 1 --budget 100 --total_epochs 1";

/// Kills `args`, or has the disk be full, at each of some points, each time from what `prepare` makes, and expects that `args` with
/// `again` behind it then ends as the undisturbed run did.
fn disturb(args: &str, again: &str, some: usize, prepare: impl Fn(&Place)) {
    let whole = vwc_sdk();
    prepare(&whole);
    whole.data(args);
    let (expected, files) = (results(&whole), contents(&whole.path("r")));
    let count = count(|point| {
        let place = vwc_sdk();
        prepare(&place);
        at(&place, "VWC_SDK_KILL_AT", point, args)
    });
    assert!(count > 20, "{count} points");
    for (variable, points) in [
        ("VWC_SDK_KILL_AT", points(count, some)),
        ("VWC_SDK_FAIL_AT", points(count, some / 4)),
    ] {
        for point in points {
            let place = vwc_sdk();
            prepare(&place);
            let disturbed = at(&place, variable, point, args);
            let talk = String::from_utf8_lossy(&disturbed.stderr).into_owned();
            if variable == "VWC_SDK_FAIL_AT" {
                assert_eq!(disturbed.status.code(), Some(1), "{point}: {talk}");
                assert!(!talk.contains("panicked"), "{point}: {talk}");
            }
            let output = place.run(&format!("{args} {again}"));
            let talk = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{variable}={point}: {talk}");
            assert_eq!(results(&place), expected, "{variable}={point}");
            let found = contents(&place.path("r"));
            let names = |files: &[(String, Vec<u8>)]| -> Vec<String> {
                let names = files.iter().map(|(name, _)| name.clone());
                names.filter(|name| !name.contains(".vwc-sdk-writing-")).collect()
            };
            assert_eq!(names(&found), names(&files), "{variable}={point}");
            for name in names(&files) {
                if let Some(run) = name.strip_suffix("/model.bpk") {
                    let [ours, theirs] = [&place, &whole].map(|place| tensors(&place.path("r").join(run)));
                    assert!(ours == theirs, "{variable}={point}: {name} differs");
                }
            }
        }
    }
}

#[test]
fn a_training_that_is_killed_anywhere_is_resumed() {
    disturb(TRAIN, "--resume", 16, |_| {});
}

#[test]
fn a_pruning_that_is_killed_anywhere_is_resumed() {
    let trained = vwc_sdk();
    trained.data(TRAIN);
    disturb(PRUNE, "--resume", 12, |place| {
        copy(&trained.path("r"), &place.path("r"))
    });
}

#[test]
fn exports_and_imports_are_whole_or_not_there() {
    let place = vwc_sdk();
    place.data(TRAIN);
    for file in ["r.vwcp", "r.onnx", "r.safetensors"] {
        let args = format!("export r/original {file}");
        place.data(&args);
        let whole = fs::read(place.path(file)).unwrap();
        // The same network, the same bytes.
        place.data(&args);
        assert!(fs::read(place.path(file)).unwrap() == whole, "{file}");
        for before in [None, Some(b"what was there".as_slice())] {
            let count = count(|point| at(&place, "VWC_SDK_KILL_AT", point, &args));
            for (variable, point) in
                (1..=count).flat_map(|point| [("VWC_SDK_KILL_AT", point), ("VWC_SDK_FAIL_AT", point)])
            {
                match before {
                    None => drop(fs::remove_file(place.path(file))),
                    Some(bytes) => fs::write(place.path(file), bytes).unwrap(),
                }
                at(&place, variable, point, &args);
                let now = fs::read(place.path(file)).ok();
                assert!(
                    now.as_deref() == before || now.as_ref() == Some(&whole),
                    "{file}, {variable}={point}"
                );
            }
        }
    }
    // An import that was cut off does not stand in the way of the next.
    let import = "import r.safetensors --directory back";
    place.data("export r/original r.safetensors");
    let count = count(|point| {
        let _ = fs::remove_dir_all(place.path("back"));
        at(&place, "VWC_SDK_KILL_AT", point, import)
    });
    for (variable, point) in
        (1..=count).flat_map(|point| [("VWC_SDK_KILL_AT", point), ("VWC_SDK_FAIL_AT", point)])
    {
        let _ = fs::remove_dir_all(place.path("back"));
        at(&place, variable, point, import);
        let there = place.path("back").exists();
        let again = place.run(import);
        assert_eq!(again.status.success(), !there, "{variable}={point}");
        place.data("export back/original back.onnx");
    }
    assert_eq!(
        fs::read(place.path("back.onnx")).unwrap(),
        fs::read(place.path("r.onnx")).unwrap()
    );
}
