//! How a network is trained, as flags say it: schedules, decay, smoothing, teachers, and weights to start from.
#![cfg(feature = "train")]

use std::fs;

use serde_json::Value;

#[path = "common/place.rs"]
mod place;

use place::Place;

/// Seconds of work.
const SMALL: &str = "--pictures 60 --batch_size 18 --widths 5,6,7";

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// Standard error of a command that succeeds.
fn said(place: &Place, args: &str) -> String {
    let output = place.run(args);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

fn config(place: &Place, run: &str) -> Value {
    serde_json::from_slice(&fs::read(place.path(run).join("config.json")).unwrap()).unwrap()
}

/// The column of rates in a run's metrics.
fn rates(place: &Place, run: &str) -> Vec<f64> {
    let text = fs::read_to_string(place.path(run).join("metrics.csv")).unwrap();
    let rows = text.lines().skip(1);
    rows.map(|row| row.split(',').nth(1).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_recipe_is_kept_and_compared() {
    let place = vwc_sdk();
    let train = format!(
        "train --network resnet20 {SMALL} --directory r --lr 0.01 --scheduler cosine --warm-up 1 --weight-decay 0.1 \
         --label-smoothing 0.2 --ema 0.5"
    );
    place.data(&format!("{train} --total-epochs 3"));
    let kept = config(&place, "r/original");
    for (field, value) in [
        ("weight_decay", 0.1),
        ("label_smoothing", 0.2),
        ("warm_up", 1.0),
        ("ema", 0.5),
    ] {
        assert_eq!(kept["recipe"][field].as_f64(), Some(value), "{field}");
    }
    // Half the rate, then half a cosine over what is left: cos(0) and cos(pi / 2).
    let expected = [0.005, 0.01, 0.005];
    let found = rates(&place, "r/original");
    assert!(
        found.len() == 3 && found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9),
        "{found:?}"
    );
    // Another recipe is another run.
    for (flags, what) in [
        (
            "--total-epochs 3 --label-smoothing 0.1",
            "label smoothing is 0.2, asked for is 0.1",
        ),
        (
            "--total-epochs 3 --weight-decay 0",
            "weight decay is 0.1, asked for is 0.0",
        ),
        ("--total-epochs 3 --ema 0", "ema is 0.5, asked for is nothing"),
        (
            "--total-epochs 3 --warm-up 0",
            "warm up is 1, asked for is nothing",
        ),
        ("--total-epochs 3 --scheduler step", "schedule is"),
    ] {
        let other: Vec<&str> = flags.split(' ').skip(2).collect();
        let mut own: Vec<&str> = train.split(' ').collect();
        let place_of_flag = own.iter().position(|flag| *flag == other[0]).unwrap();
        own[place_of_flag + 1] = other[1];
        let error = place.refused(&format!("{} --total-epochs 3 --resume", own.join(" ")), 1);
        assert!(error.contains(what), "{flags}: {error}");
    }
    // Fine-tuning takes it over, but for the warm-up, and says what changes.
    let talk = said(
        &place,
        "prune --directory r --total_epochs 2 --f 1 --budget 100 --array 32x16 --label-smoothing 0",
    );
    assert!(talk.contains("--label-smoothing is 0, and was 0.2"), "{talk}");
    let round = config(&place, "r/rcp1");
    assert_eq!(round["recipe"]["schedule"], "cosine");
    assert_eq!(round["recipe"]["weight_decay"], 0.1);
    assert!(round["recipe"]["warm_up"].is_null() && round["recipe"]["label_smoothing"].is_null());
}

/// Each stage is a run that starts from the one before it, and what was stopped goes on.
#[test]
fn bits_become_fewer_from_stage_to_stage() {
    let place = vwc_sdk();
    let train = format!("train --network resnet20 {SMALL} --total-epochs 1 --directory r --wb 2 --ab 2");
    let talk = said(&place, &format!("{train} --progressive 32,4"));
    for part in ["32 bits first, in r-32bit", "4 bits first, in r-4bit"] {
        assert!(talk.contains(part), "{part} missing in {talk}");
    }
    let parts = ["r-32bit", "r-4bit", "r"].map(|run| config(&place, &format!("{run}/original")));
    for (part, bits) in parts.iter().zip([None, Some(4), Some(2)]) {
        let quantized = part["structure"]["quantized"].as_bool();
        assert_eq!(quantized, Some(bits.is_some()), "{part}");
        if let Some(bits) = bits {
            assert_eq!(part["structure"]["weight_bits"].as_u64(), Some(bits), "{part}");
        }
    }
    let starts = parts.map(|part| part["start"].as_str().unwrap_or_default().to_owned());
    assert_eq!(starts[0], "random weights");
    assert!(
        starts[1].starts_with("the weights of a network (full precision, twin; CRC-32"),
        "{starts:?}"
    );
    assert!(
        starts[2].starts_with("the weights of a network (W4A4; CRC-32"),
        "{starts:?}"
    );
    let kept = fs::read(place.path("r/original").join("model.bpk")).unwrap();
    said(&place, &format!("{train} --progressive 32,4 --resume"));
    assert_eq!(
        fs::read(place.path("r/original").join("model.bpk")).unwrap(),
        kept
    );
    for (flags, says) in [
        ("--progressive 4,8", "expected fewer bits from stage to stage"),
        ("--progressive 8,2", "expected fewer bits from stage to stage"),
        ("--progressive 8 --mode prune", "it is for training"),
    ] {
        let job = train.replacen("train", "job", 1);
        let error = place.refused(&format!("{job} {flags}"), 1);
        assert!(error.contains(says), "{flags}: {error}");
    }
    place.refused(&format!("{train} --progressive 9"), 2);
}

#[test]
fn few_bits_are_reached_in_steps_with_a_teacher() {
    let place = vwc_sdk();
    let train = format!("train --network resnet20 {SMALL} --total-epochs 1");
    place.data(&format!("{train} --q 0 --directory full"));
    let step =
        format!("{train} --wb 4 --ab 4 --directory four --start-from full/original --teacher full/original");
    let talk = said(&place, &step);
    for part in [
        "the teacher is ResNet-20 (full precision, twin; CRC-32 ",
        "training starts from the weights of a network (full precision, twin; CRC-32 ",
    ] {
        assert!(talk.contains(part), "{part} missing in {talk}");
    }
    let kept = config(&place, "four/original");
    let loss = kept["loss"].as_str().unwrap();
    assert!(
        loss.starts_with("cross-entropy, and by 0.9 what ResNet-20 (full precision, twin; CRC-32 ")
            && loss.ends_with(") says at temperature 4"),
        "{loss}"
    );
    // Without the teacher, from random weights, and at another temperature it is another run.
    for (flags, what) in [
        (
            "--start-from full/original",
            "its loss is cross-entropy, and by 0.9",
        ),
        ("--teacher full/original", "its start is the weights of a network"),
        (
            "--start-from full/original --teacher full/original --temperature 2",
            "says at temperature 2",
        ),
    ] {
        let error = place.refused(
            &format!("{train} --wb 4 --ab 4 --directory four --resume {flags}"),
            1,
        );
        assert!(error.contains(what), "{flags}: {error}");
    }
    // The same is read back, and fine-tuning without the teacher is said.
    place.data(&format!("{step} --resume"));
    let talk = said(
        &place,
        "prune --directory four --total_epochs 1 --f 1 --budget 100 --array 32x16",
    );
    assert!(
        talk.contains("the loss is cross-entropy, and was cross-entropy, and by 0.9 what ResNet-20 ("),
        "{talk}"
    );
}

#[test]
fn recipes_that_make_no_sense_are_refused() {
    let place = vwc_sdk();
    let train = format!("train --network resnet20 {SMALL} --total-epochs 2");
    place.data(&format!("{train} --directory r"));
    place.data("train --network cnn8 --pictures 60 --batch_size 18 --total-epochs 1 --normalization imagenet --directory c");
    for (flags, code, what) in [
        ("--label-smoothing 1", 2, "--label-smoothing"),
        ("--ema 1", 2, "--ema"),
        ("--weight-decay -1", 2, "--weight-decay"),
        ("--temperature 2", 2, "required arguments were not provided"),
        ("--teacher-share 2 --teacher r/original", 2, "--teacher-share"),
        (
            "--warm-up 2",
            1,
            "a warm-up of 2 epochs (--warm-up) leaves none of",
        ),
        ("--scheduler cosine --warm-up 2", 1, "a warm-up of 2 epochs"),
        ("--teacher r", 1, "--teacher r: "),
        ("--teacher missing", 1, "--teacher missing: "),
        ("--start-from missing", 1, "--start-from missing: "),
        (
            "--teacher c/original",
            1,
            "--teacher c/original: it reads other pictures",
        ),
        ("--teacher r/original --label-smoothing 0.1", 1, "leave out one"),
        ("--start-from c/original", 1, "--start-from c/original: "),
        (
            "--start-from r/original --widths 5,6,8",
            1,
            "--start-from r/original: its network is another (widths [5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7])",
        ),
    ] {
        let own = match flags.contains("--widths") {
            true => train.replace("--widths 5,6,7 ", ""),
            false => train.clone(),
        };
        let error = place.refused(&format!("{own} --directory new {flags}"), code);
        assert!(error.contains(what), "{flags}: {error}");
        assert!(!place.path("new/original/config.json").exists(), "{flags}");
    }
    // A run that is there stays where it is, and training may start from it.
    place.refused(&format!("{train} --directory r --start-from missing"), 1);
    assert!(place.path("r/original/model.bpk").exists());
    place.data(&format!("{train} --directory r --start-from r/original"));
    let error = place.refused("prune --directory r --start-from r/original", 1);
    assert!(
        error.contains("--start-from r/original: it is for training"),
        "{error}"
    );
}
