//! The fuzz targets on the stable toolchain: each reads its corpus and some thousand mutations of it, the same in every
//! run.
//!
//! `cargo test` checks arithmetic for overflow in a build for debugging. `fuzz/campaign.sh` runs a million inputs a
//! target, with these checks, in an optimised build.

use std::{panic, time::Instant};

#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/targets.rs"]
mod targets;

use targets::TARGETS;

/// Mutations of each target.
const MUTATIONS: u64 = 5000;

/// Feeds a target the mutations of these seeds. Where one fails, its seed and its bytes are named.
fn feed(name: &str, seeds: std::ops::Range<u64>) {
    let (_, target) = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("a target");
    let corpus = mutate::corpus(name);
    for seed in seeds {
        let input = mutate::input(&corpus, seed);
        let result = panic::catch_unwind(|| target(&input));
        assert!(
            result.is_ok(),
            "{name}, seed {seed}: put these bytes into fuzz/corpus/{name}: {:?}",
            String::from_utf8_lossy(&input)
        );
    }
}

#[test]
fn every_file_of_the_corpus_is_read_or_refused() {
    for (name, target) in TARGETS {
        mutate::corpus(name).iter().for_each(|bytes| target(bytes));
    }
}

#[test]
fn mutated_layer_lists_in_json() {
    feed("layer_list_json", 0..MUTATIONS);
}

#[test]
fn mutated_layer_lists_in_csv() {
    feed("layer_list_csv", 0..MUTATIONS);
}

#[test]
fn mutated_saved_plans() {
    feed("saved_plan", 0..MUTATIONS);
}

#[cfg(feature = "packed")]
#[test]
fn mutated_packed_files() {
    feed("packed_file", 0..MUTATIONS);
}

/// For `fuzz/campaign.sh`: the target, the first seed and the number of seeds come from the environment.
#[test]
#[ignore = "part of fuzz/campaign.sh"]
fn campaign() {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let number = |name: &str| variable(name).parse::<u64>().expect("a number");
    let (target, first) = (variable("FUZZ_TARGET"), number("FUZZ_FIRST"));
    let start = Instant::now();
    feed(&target, first..first + number("FUZZ_COUNT"));
    println!("campaign seconds {:.3}", start.elapsed().as_secs_f64());
}

/// For `fuzz/campaign.sh`: the names of the targets of this build.
#[test]
#[ignore = "part of fuzz/campaign.sh"]
fn list() {
    for (name, _) in TARGETS {
        println!("target {name}");
    }
}
