//! What a whole epoch of the main job, with data loading, metrics, validation and checkpoints, costs beyond its bare
//! training steps. The two run in turn; a figure is the median of its rounds.
//!
//! ```text
//! cargo bench --bench epoch
//! ```

mod common;

use std::time::Instant;

use burn::data::dataset::Dataset;
use burn::tensor::Device;
use common::BareStep;
use vwc_sdk::data::{Splits, synthetic};
use vwc_sdk::models::{Cnn8Config, NetworkConfig};
use vwc_sdk::train::{FitOptions, Recipe, RunDir, fit};

/// Training and validation pictures: as many as the SVHN subset of the recorded runs.
const PICTURES: usize = 4434;
const ROUNDS: usize = 5;

fn main() {
    let pictures = synthetic::digits(PICTURES, 0);
    let test = synthetic::digits(10, 1);
    let splits = Splits::carve("synthetic digits", pictures, test, 0.1, 0).expect("two splits");
    let config = Cnn8Config::new();
    let count = splits.train.len() as f64;
    println!("batch | bare steps of an epoch, s | the epoch, s | ratio");
    for batch in [32, 64, 128, 512] {
        let mut step = BareStep::new(&config, batch, &Device::default());
        step.run();
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let steps = 2048 / batch;
            let started = Instant::now();
            (0..steps).for_each(|_| step.run());
            bare.push(started.elapsed().as_secs_f64() * count / (steps * batch) as f64);
            whole.extend(epochs(&splits, &config, batch));
        }
        let (bare, whole) = (median(bare), median(whole));
        println!("{batch} | {bare:.2} | {whole:.2} | {:.3}", whole / bare);
    }
}

/// Seconds of the epochs of a short training.
fn epochs(splits: &Splits, config: &Cnn8Config, batch: usize) -> Vec<f64> {
    let device = Device::default();
    let dir = tempfile::tempdir().expect("a folder");
    let recipe = Recipe::original(2).with_batch_size(batch);
    let options = FitOptions::new(
        splits,
        &recipe,
        RunDir::new(dir.path().join("run")),
        std::slice::from_ref(&device),
    )
    .with_label("bench");
    let run = options.dir.clone();
    fit(config.init(&device), options).expect("a training");
    let metrics = run.metrics().expect("a table");
    metrics.iter().map(|row| row.seconds).collect()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}
