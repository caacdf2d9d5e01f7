//! One code path on every device: each computes what the CPU does, runs cross from one to another, several train
//! together, and what is not there is named.
#![cfg(feature = "train")]

mod common;
#[path = "common/place.rs"]
mod place;

use std::path::Path;

use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use common::{devices, values};
use place::Place;
use tempfile::TempDir;
use vwc_sdk::data::{PictureDataset, PictureLoader, Resize, Splits, synthetic};
use vwc_sdk::device::DeviceKind;
use vwc_sdk::models::{Cnn8Config, NetworkConfig, Vgg13Config};
use vwc_sdk::selfcheck::{CHECKS, check};
use vwc_sdk::train::{EpochMetrics, FitOptions, Recipe, RunDir, Schedule, fit, initial};
use vwc_sdk::{DeviceName, Error};

/// Devices draw their random numbers from one place in a process, so tests that make networks take turns.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

fn splits() -> Splits {
    let (train, test) = (synthetic::digits(120, 1), synthetic::digits(40, 2));
    Splits::carve("synthetic digits", train, test, 0.2, 0).unwrap()
}

/// Trains for two epochs and returns what was measured.
fn trained<C: NetworkConfig>(config: &C, devices: &[Device], dir: &Path) -> Result<Vec<EpochMetrics>, Error> {
    let network = initial(config, 3, &devices[0])?;
    let recipe = Recipe::new(2, Schedule::MultiStep(vec![2])).with_batch_size(32);
    let splits = splits();
    let options = FitOptions::new(&splits, &recipe, RunDir::new(dir), devices).with_label("test");
    fit(network, options)?;
    RunDir::new(dir).metrics()
}

#[track_caller]
fn same_curve(found: &[EpochMetrics], expected: &[EpochMetrics], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        for (what, found, expected) in [
            ("training loss", found.train_loss, expected.train_loss),
            ("validation loss", found.valid_loss, expected.valid_loss),
        ] {
            assert!(
                (found - expected).abs() <= tolerance * expected.abs(),
                "{what} {found}, expected {expected}"
            );
        }
    }
}

/// A network that neither normalises by batch nor drops anything: what several devices compute is what one does.
fn vgg13() -> Vgg13Config {
    Vgg13Config::new()
        .with_widths([4, 4, 6, 6, 8, 8, 8, 8, 8, 8])
        .with_hidden([16, 16])
        .with_quantized(false)
        .with_dropout(0.0)
}

#[test]
fn every_device_computes_what_the_cpu_does() {
    let _turn = TURN.lock();
    for (kind, _) in devices() {
        let name: DeviceName = kind.parse().unwrap();
        for what in &CHECKS {
            let verdict = check(what, &name).unwrap();
            assert!(verdict.is_good(), "{kind}, {}: {verdict:?}", what.name);
            eprintln!("{kind}, {}: {:.1e}", what.name, verdict.error);
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for name in [
        "auto",
        "flex",
        "ndarray",
        "wgpu",
        "vulkan:2",
        "metal",
        "cuda:1",
        "remote:gpu:7470",
        "remote:[::1]:7470/3",
    ] {
        let device: DeviceName = name.parse().unwrap();
        assert_eq!(device.to_string(), name);
    }
    let second: DeviceName = "cuda:1".parse().unwrap();
    assert_eq!((second.kind(), second.index()), (&DeviceKind::Cuda, 1));
    assert_eq!("cuda:0".parse::<DeviceName>().unwrap().to_string(), "cuda");
    for (name, part) in [
        (
            "gpu",
            "expected auto, flex, ndarray, wgpu, vulkan, metal, cuda or remote:HOST:PORT",
        ),
        ("", "expected auto"),
        ("cuda:x", "cuda:INDEX"),
        ("cuda:-1", "cuda:INDEX"),
        ("auto:1", "auto alone"),
        ("remote", "remote:HOST:PORT"),
        ("remote:gpu", "remote:HOST:PORT"),
        ("remote:gpu:0", "remote:HOST:PORT"),
        ("remote:gpu:7470/x", "INDEX"),
    ] {
        let error = name.parse::<DeviceName>().unwrap_err().to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn shares_of_a_batch_put_together_are_the_batch() {
    let device = Device::default();
    let dataset = PictureDataset::new(std::sync::Arc::new(synthetic::digits(50, 1)));
    let loader = || PictureLoader::new(dataset.clone(), Resize::new([8, 8]), 7, &device).with_shuffle(5, 1);
    let whole: Vec<_> = loader().iter().map(Result::unwrap).collect();
    for cuts in [vec![0, 25, 50], vec![0, 16, 32, 50], vec![0, 5, 50]] {
        let shares: Vec<Vec<_>> = cuts
            .windows(2)
            .map(|cut| {
                let share = loader().slice(cut[0], cut[1]);
                assert_eq!(share.num_items(), cut[1] - cut[0]);
                share.iter().map(Result::unwrap).collect()
            })
            .collect();
        for (n, batch) in whole.iter().enumerate() {
            // The last batch holds one picture, and one share alone has it.
            let parts: Vec<_> = shares.iter().filter_map(|share| share.get(n)).collect();
            let targets: Vec<i64> = parts
                .iter()
                .flat_map(|part| part.targets.to_data().iter::<i64>().collect::<Vec<_>>())
                .collect();
            assert_eq!(
                targets,
                batch.targets.to_data().iter::<i64>().collect::<Vec<_>>(),
                "{cuts:?}, batch {n}"
            );
            let images: Vec<f64> = parts.iter().flat_map(|part| values(&part.images)).collect();
            assert_eq!(images, values(&batch.images));
            let sum: f64 = parts.iter().map(|part| part.share).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{cuts:?}, batch {n}: {sum}");
        }
    }
}

#[test]
fn several_devices_train_as_one_does() {
    let _turn = TURN.lock();
    let dir = TempDir::new().unwrap();
    let one = DeviceName::default().init_many(1).unwrap();
    let expected = trained(&vgg13(), &one, &dir.path().join("one")).unwrap();
    for count in [2, 3] {
        let several = DeviceName::default().init_many(count).unwrap();
        let found = trained(&vgg13(), &several, &dir.path().join(format!("{count}"))).unwrap();
        same_curve(&found, &expected, 1e-4);
    }
    // Batch norms see a share of each batch, and the statistics that they keep are the mean of all.
    let cnn8 = Cnn8Config::new()
        .with_widths([4, 4, 4, 6, 6, 6, 12])
        .with_quantized(false)
        .with_dropout(0.0);
    let expected = trained(&cnn8, &one, &dir.path().join("cnn8")).unwrap();
    let two = DeviceName::default().init_many(2).unwrap();
    let found = trained(&cnn8, &two, &dir.path().join("cnn8-2")).unwrap();
    same_curve(&found, &expected, 0.1);
}

#[test]
fn every_device_trains_step_for_step_as_the_cpu() {
    let _turn = TURN.lock();
    let dir = TempDir::new().unwrap();
    let cpu = DeviceName::default().init_many(1).unwrap();
    let cnn8 = Cnn8Config::new()
        .with_widths([4, 4, 4, 6, 6, 6, 12])
        .with_quantized(false)
        .with_dropout(0.0);
    let expected = trained(&cnn8, &cpu, &dir.path().join("cpu")).unwrap();
    for (name, device) in devices() {
        let found = trained(&cnn8, &[device], &dir.path().join(name)).unwrap();
        same_curve(&found, &expected, 1e-3);
    }
}

#[test]
fn runs_cross_devices() {
    let place = vwc_sdk();
    let names: Vec<&str> = devices().into_iter().map(|(name, _)| name).collect();
    let name = |n: usize| names[n % names.len()];
    let flags = "--pictures 60 --batch_size 18 --total_epochs 1";
    // Trained on one, pruned on another, tested on a third, and the same there as on the second.
    place.data(&format!(
        "train --network resnet20 --widths 3,4,5 --directory r --device {} {flags}",
        name(0)
    ));
    let pruned = place.data(&format!(
        "prune --directory r --ratio 0.3 --budget 100 --device {} {flags}",
        name(1)
    ));
    let tested = place.data(&format!(
        "test --directory r --ratio 0.3 --device {} {flags}",
        name(2)
    ));
    let last = |text: &str| {
        let row = text
            .lines()
            .rev()
            .find(|line| line.trim_start().starts_with("ratio1"));
        row.unwrap().rsplit('|').next().unwrap().trim().to_owned()
    };
    assert_eq!(last(&pruned), last(&tested));
}

#[test]
fn devices_are_listed_and_tried() {
    let place = vwc_sdk();
    let name = DeviceName::default().to_string();
    let text = place.data(&format!("devices {name}"));
    let row = text
        .lines()
        .find(|line| line.trim_start().starts_with(&name))
        .unwrap();
    assert!(row.contains("yes") && row.contains("ok 0e0"), "{text}");
    let json = place.data(&format!("devices {name} --check --format json"));
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let checks = rows[0]["checks"].as_array().unwrap();
    assert_eq!(checks.len(), CHECKS.len());
    assert!(checks.iter().all(|tried| tried["error"] == 0.0), "{json}");
    // A GPU says what it is reached by: `.ci/run` sees to it that there is Vulkan.
    if cfg!(target_os = "linux") && std::env::var("VWC_SDK_TEST_GPU").is_ok_and(|gpu| gpu == "wgpu") {
        let text = place.data("devices wgpu");
        assert!(text.contains("by Vulkan"), "{text}");
    }
    // All kinds are in the list, compiled in or not.
    let all = place.run("devices --format markdown");
    let all = String::from_utf8(all.stdout).unwrap();
    for kind in DeviceKind::local() {
        let row = all
            .lines()
            .find(|line| line.starts_with(&format!("| {}", kind.name())));
        let row = row.unwrap_or_else(|| panic!("{} is missing: {all}", kind.name()));
        assert_eq!(row.contains("--features"), !kind.compiled_in(), "{row}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let place = vwc_sdk();
    let train = "train --network cnn8 --total_epochs 1 --pictures 60";
    place.refused(&format!("{train} --device gpu"), 2);
    place.refused(&format!("{train} --device cuda:x"), 2);
    place.refused(&format!("{train} --devices 0"), 2);
    let cpu = DeviceName::default();
    let error = place.refused(&format!("{train} --device {cpu}:1"), 1);
    assert!(
        error.contains(&format!("{cpu}:1")) && error.contains("index 0"),
        "{error}"
    );
    let error = place.refused(&format!("{train} --batch_size 2 --devices 3"), 1);
    assert!(
        error.contains("--devices 3") && error.contains("batch of 2"),
        "{error}"
    );
    for kind in DeviceKind::local().filter(|kind| !kind.compiled_in()) {
        let name = kind.name();
        let error = place.refused(&format!("{train} --device {name}"), 1);
        assert!(error.contains(&format!("--features {name}")), "{error}");
    }
    if cfg!(not(feature = "remote")) {
        let error = place.refused(&format!("{train} --device remote:127.0.0.1:7470"), 1);
        assert!(error.contains("--features remote"), "{error}");
        let error = place.refused("serve --device flex --bind 127.0.0.1:0", 1);
        assert!(error.contains("--features remote"), "{error}");
    }
    // The best there is, said aloud.
    let output = place.run(&format!("{train} --device auto --directory auto"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("device auto: "), "{stderr}");
}
