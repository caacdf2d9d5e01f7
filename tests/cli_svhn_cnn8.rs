//! The example `svhn_cnn8` as its users run it: the whole job, its halves, the original's command lines, bad input,
//! Ctrl-C.
#![cfg(feature = "train")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

#[path = "common/place.rs"]
mod place;

use place::{Place, wait_for};

fn svhn() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into()).beginning_with("job --network cnn8")
}

/// Seconds of work: few pictures, one epoch.
const SMALL: &str = "--pictures 80 --batch_size 24";

#[test]
fn the_whole_job_trains_prunes_and_reports() {
    let place = svhn();
    let text = place.data(&format!(
        "{SMALL} --total_epochs 1 --prune_epochs 1 --budget 100 --search published"
    ));
    for part in [
        "original on synthetic digits",
        "RCP1 on synthetic digits",
        "RCP2 on synthetic digits",
    ] {
        assert!(text.contains(part), "{part} missing in\n{text}");
    }
    for line in [
        "winner: RCP2; nothing is left to prune",
        "256x512",
        "522794",
        "1.38x",
    ] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }
    for round in ["original", "rcp1", "rcp2"] {
        for file in ["config.json", "metrics.csv", "model.bpk", "run.log"] {
            assert!(
                place.path("runs/svhn_cnn8").join(round).join(file).is_file(),
                "{round}/{file}"
            );
        }
    }
    for file in ["metrics.csv", "run.log", "config.json"] {
        let text = fs::read_to_string(place.path("runs/svhn_cnn8/rcp1").join(file)).unwrap();
        assert!(
            text.contains("synthetic"),
            "{file} does not say synthetic: {text}"
        );
    }
    let json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(place.path("runs/svhn_cnn8/results.json")).unwrap())
            .unwrap();
    assert_eq!(json["data"], "synthetic digits");
    assert_eq!(json["networks"][2]["cycles_after_first"], 173);

    // What was kept is what is tested, to the last digit.
    let tested = |flags: &str| -> serde_json::Value {
        let text = place.data(&format!(
            "{SMALL} --mode test --search published --format json {flags}"
        ));
        serde_json::from_str(&text).unwrap()
    };
    assert!(tested("")["networks"] == json["networks"]);
    assert_eq!(
        tested("--round 1")["networks"][0]["test"],
        json["networks"][1]["test"]
    );
    let kept = fs::read_to_string(place.path("runs/svhn_cnn8/results.json")).unwrap();
    assert!(
        kept.contains("winner"),
        "a test leaves the results of the job alone"
    );
}

#[test]
fn the_originals_command_lines_run_as_they_stand() {
    let place = svhn();
    let common = "--q 1 --ab 1 --wb 1 --lr 0.001 --optim Adam --scheduler Multi_StepLR --directory out";
    let train = place.data(&format!("--mode train --total_epochs 1 {common} {SMALL}"));
    assert!(
        train.contains("original on synthetic digits") && !train.contains("RCP1"),
        "{train}"
    );
    let prune = place.data(&format!(
        "--mode prune --total_epochs 1 --round 1 --f 1 --budget 100 {common} {SMALL}"
    ));
    assert!(prune.contains("RCP1 on synthetic digits"), "{prune}");
    let test = place.data(&format!("--mode test --directory out {SMALL}"));
    assert!(test.contains("RCP1"), "{test}");
    place.data(&format!(
        "--mode train --total-epochs 1 --optim SGD --scheduler StepLR --step_size 1 --directory sgd {SMALL}"
    ));
    let config = fs::read_to_string(place.path("sgd/original/config.json")).unwrap();
    assert!(
        config.contains("sgd") && config.contains("\"step\": 1"),
        "{config}"
    );
}

#[test]
fn the_full_precision_twin_runs_too() {
    let place = svhn();
    let text = place.data(&format!("--q 0 --mode train --total_epochs 1 {SMALL}"));
    assert!(text.contains("CNN-8 full precision"), "{text}");
    let error = place.refused(&format!("--mode prune --q 1 --total_epochs 1 {SMALL}"), 1);
    assert!(
        error.contains("this network is full precision, asked for is W1A1"),
        "{error}"
    );
    // What a network is need not be said again.
    let text = place.data(&format!("--mode test {SMALL}"));
    assert!(text.contains("CNN-8 full precision"), "{text}");
}

#[test]
fn help_explains_every_flag() {
    let text = svhn().data("--help");
    for flag in [
        "--mode",
        "--q",
        "--ab",
        "--wb",
        "--total-epochs",
        "--prune-epochs",
        "--lr",
        "--batch-size",
        "--optim",
        "--scheduler",
        "--step-size",
        "--directory",
        "--round",
        "--f ",
        "--seed",
        "--data-dir",
        "--download",
        "--extra",
        "--synthetic",
        "--search",
        "--cell-bits",
        "--array",
        "--accounting",
        "--device",
        "--resume",
        "--budget",
        "--format",
        "--valid",
        "--widths",
        "--data ",
        "--augment",
        "--ratio",
        "--scope",
        "--multiple",
        "--minimum",
        "--ranking",
    ] {
        let flag = format!("\n      {flag}");
        assert!(text.contains(&flag), "{flag} missing in\n{text}");
    }
    assert!(text.matches("[default: ").count() >= 16, "{text}");
}

#[test]
fn wrong_usage_is_exit_code_two() {
    let place = svhn();
    for bits in ["0", "9", "33", "x"] {
        for flag in ["--ab", "--wb"] {
            let error = place.refused(&format!("{flag} {bits}"), 2);
            assert!(error.contains("1, 2, 3, 4, 5, 6, 7 or 8, or 32"), "{error}");
        }
    }
    for flag in [
        "--lr 0",
        "--lr nan",
        "--lr -1",
        "--total-epochs 0",
        "--prune_epochs 0",
        "--batch_size 0",
    ] {
        let error = place.refused(flag, 2);
        assert!(error.contains(&flag.replace('_', "-")[..4]), "{error}");
        assert!(error.contains("expected a"), "{error}");
    }
    for args in [
        "--mode fly",
        "--q 2",
        "--array 256",
        "--device abacus",
        "--pictures 3",
        "--optim Lion",
    ] {
        place.refused(args, 2);
    }
    assert!(
        fs::read_dir(place.dir()).unwrap().next().is_none(),
        "nothing was written"
    );
}

#[test]
fn bad_input_is_exit_code_one_and_says_what_to_do() {
    let place = svhn();
    let error = place.refused(&format!("--mode prune {SMALL}"), 1);
    assert!(
        error.contains("runs/svhn_cnn8/original") && error.contains("train one"),
        "{error}"
    );
    let error = place.refused(&format!("--mode test {SMALL}"), 1);
    assert!(error.contains("no trained network"), "{error}");
    let error = place.refused("--pictures 80 --batch_size 73", 1);
    assert!(
        error.contains("a batch of 73 does not fit 72 training pictures"),
        "{error}"
    );
    fs::write(place.path("file"), "x").unwrap();
    let error = place.refused(&format!("{SMALL} --directory file"), 1);
    assert!(error.contains("file") && error.contains("cannot"), "{error}");
    #[cfg(not(feature = "wgpu"))]
    {
        let error = place.refused("--device wgpu", 1);
        assert!(error.contains("--features wgpu"), "{error}");
    }
    #[cfg(not(feature = "ndarray"))]
    {
        let error = place.refused("--device ndarray", 1);
        assert!(error.contains("--features ndarray"), "{error}");
    }
}

#[test]
fn broken_data_files_are_named() {
    let place = svhn();
    let error = place.refused("--data-dir nowhere", 1);
    assert!(
        error.contains("nowhere") && error.contains("train_32x32.mat"),
        "{error}"
    );
    fs::create_dir(place.path("svhn")).unwrap();
    for content in [&b""[..], b"not a matrix", &[0u8; 200]] {
        fs::write(place.path("svhn/train_32x32.mat"), content).unwrap();
        let error = place.refused("--data-dir svhn", 1);
        assert!(error.contains("train_32x32.mat"), "{error}");
    }
}

#[test]
fn a_checkpoint_of_other_bits_is_refused_and_kept() {
    let place = svhn();
    place.data(&format!("--mode train --total_epochs 1 {SMALL}"));
    let model = place.path("runs/svhn_cnn8/original/model.bpk");
    let before = fs::read(&model).unwrap();
    let error = place.refused(
        &format!("--mode train --total_epochs 1 --wb 2 --resume {SMALL}"),
        1,
    );
    assert!(error.contains("W1A1") && error.contains("W2A1"), "{error}");
    let error = place.refused(&format!("--mode prune --ab 4 {SMALL}"), 1);
    assert!(error.contains("W1A4"), "{error}");
    assert_eq!(fs::read(&model).unwrap(), before);

    // A second training does not overwrite the first, nor leave its rounds standing as if they were its own.
    place.data(&format!(
        "--mode prune --total_epochs 1 --f 1 --budget 100 {SMALL}"
    ));
    place.data(&format!("--mode train --total_epochs 1 --seed 1 {SMALL}"));
    let earlier = place.path("runs/svhn_cnn8/earlier-1");
    assert_eq!(fs::read(earlier.join("original/model.bpk")).unwrap(), before);
    assert!(earlier.join("rcp1/model.bpk").is_file() && earlier.join("results.json").is_file());
    assert!(!place.path("runs/svhn_cnn8/rcp1").exists());
}

#[test]
fn a_flag_that_cannot_work_moves_nothing() {
    let place = svhn();
    place.data(&format!("--mode train --total_epochs 1 {SMALL}"));
    let names = || -> Vec<String> {
        let entries = fs::read_dir(place.path("runs/svhn_cnn8")).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    let before = names();
    for flags in ["--valid 0.9", "--array 1x1 --wb 8", "--hold conv99"] {
        place.refused(&format!("{SMALL} {flags}"), 1);
        assert_eq!(names(), before, "{flags}");
    }
    for flags in [
        "--budget=-1",
        "--budget nan",
        "--valid 1",
        "--valid nan",
        "--lr nan",
        "--lr 0",
        "--total_epochs 0",
        "--prune_epochs 0",
        "--scheduler step --step_size 0",
    ] {
        place.refused(&format!("{SMALL} {flags}"), 2);
        assert_eq!(names(), before, "{flags}");
    }
}

#[test]
fn pruning_goes_on_from_a_round_and_reports_them_all() {
    let place = svhn();
    let flags = format!("--total_epochs 1 --budget 100 --search published {SMALL}");
    place.data(&format!("--mode train {flags}"));
    place.data(&format!("--mode prune --f 1 {flags}"));
    // As many pictures and as large a batch as it was trained with.
    let text = place.data("--mode prune --round 2 --total_epochs 1 --budget 100 --search published");
    for line in ["original", "RCP1", "RCP2", "1.38x", "winner: RCP2"] {
        assert!(text.contains(line), "{line} missing in\n{text}");
    }
    // Other pictures are other accuracies. Another seed of the training is not: the split stays, and the seed is said.
    let error = place.refused(&format!("--mode prune --valid 0.2 {flags}"), 1);
    assert!(
        error.contains("72 training, 8 validation") && error.contains("64 training, 16 validation"),
        "{error}"
    );
    let output = place.run(&format!("--mode prune --seed 5 --f 1 {flags}"));
    let talk = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{talk}");
    assert!(talk.contains("--seed is 5, and was 0"), "{talk}");
    fs::write(place.path("runs/svhn_cnn8/original/metrics.csv"), "epoch\n").unwrap();
    let error = place.refused(&format!("--mode prune {flags}"), 1);
    assert!(error.contains("metrics.csv"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_stops_the_training() {
    let place = svhn();
    let error = place.refused(
        &format!("--q 0 --mode train --total_epochs 3 --lr 1e30 {SMALL}"),
        1,
    );
    assert!(
        error.contains("smaller learning rate than 1e30 (--lr)"),
        "{error}"
    );
    // Nor where the training's own losses are numbers still.
    let error = place.refused(&format!("--mode train --total_epochs 1 --lr 1e30 {SMALL}"), 1);
    assert!(error.contains("(--lr)"), "{error}");
}

#[test]
fn a_folder_takes_one_training_at_a_time() {
    let place = svhn();
    let flags = format!("--mode train --total_epochs 1 {SMALL}");
    place.data(&flags);
    let kept = fs::read(place.path("runs/svhn_cnn8/original/model.bpk")).unwrap();
    let lock = fs::File::open(place.path("runs/svhn_cnn8/.lock")).unwrap();
    lock.lock().unwrap();
    for mode in ["train", "prune"] {
        let error = place.refused(&format!("--mode {mode} --total_epochs 1 {SMALL}"), 1);
        assert!(
            error.contains("--directory runs/svhn_cnn8") && error.contains("another training is at work"),
            "{error}"
        );
    }
    assert_eq!(
        fs::read(place.path("runs/svhn_cnn8/original/model.bpk")).unwrap(),
        kept
    );
    place.data("--mode test");
    drop(lock);
    place.data(&flags);
}

/// Where Burn's dashboard has the terminal in raw mode.
#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_works_in_a_terminal() {
    use std::io::Write;

    let place = svhn();
    let job = format!(
        "{} job --network cnn8 --mode train --total_epochs 500 {SMALL}",
        env!("CARGO_BIN_EXE_vwc-sdk")
    );
    let mut command = Command::new("script");
    place::hear_signals(&mut command);
    let mut child = command
        // `exec`: some shells die of the signal themselves, and then the exit code is theirs.
        .args(["-qec", &format!("stty cols 120 rows 40; exec {job}"), "/dev/null"])
        .env("SHELL", "/bin/sh")
        .current_dir(place.dir())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("util-linux's `script` gives the test a terminal");
    wait_for(&place.path("runs/svhn_cnn8/original/metrics.csv"));
    std::thread::sleep(Duration::from_millis(500));
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"\x03").unwrap();
    keys.flush().unwrap();
    for _ in 0..3000 {
        if let Some(status) = child.try_wait().unwrap() {
            assert_eq!(status.code(), Some(1));
            let metrics = fs::read_to_string(place.path("runs/svhn_cnn8/original/metrics.csv")).unwrap();
            assert!(metrics.lines().count() < 500);
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("Ctrl-C did not stop the training");
}

#[test]
#[cfg(unix)]
fn ctrl_c_leaves_a_whole_checkpoint_and_resume_goes_on() {
    let place = svhn();
    let args = format!("--mode train --total_epochs 6 {SMALL}");
    let child = place
        .command(&args)
        .stderr(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let metrics = place.path("runs/svhn_cnn8/original/metrics.csv");
    wait_for(&metrics);
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("--resume") && !stderr.contains("panicked"),
        "{stderr}"
    );

    place.data(&format!("{args} --resume"));
    let broken = losses(&metrics);
    let whole = svhn();
    whole.data(&args);
    assert_eq!(broken, losses(&whole.path("runs/svhn_cnn8/original/metrics.csv")));
}

/// All columns but the wall-clock time, which comes before the last.
#[cfg(unix)]
fn losses(metrics: &Path) -> Vec<String> {
    let text = fs::read_to_string(metrics).unwrap();
    text.lines()
        .map(|line| line.rsplitn(3, ',').last().unwrap().to_owned())
        .collect()
}
