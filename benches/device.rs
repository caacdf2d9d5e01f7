//! Training steps on a device, forward, loss, backward and Adam: pictures a second. Prints one line of JSON.
//!
//! ```text
//! cargo bench --features cuda --bench device -- --device cuda --network resnet20 --batch 512
//! ```
//!
//! The device is waited for once in sixteen steps, as often as a training reads its loss back. `benches/gpu.sh` runs it in
//! turn with the same steps in PyTorch.

mod common;

use std::time::Instant;

use clap::Parser;
use common::BareStep;
use vwc_sdk::DeviceName;
use vwc_sdk::cli::kind::NetworkKind;
use vwc_sdk::cli::networks::flag::own_network;
use vwc_sdk::cli::networks::{JobNetwork, NetworkArgs};
use vwc_sdk::models::{Cnn8Config, ResNet20Config, Vgg13Config};

/// Steps between two waits.
const STEPS: usize = 16;

#[derive(Parser)]
struct Args {
    /// As `--device` of the other commands
    #[arg(long, default_value_t)]
    device: DeviceName,
    #[arg(long, value_parser = own_network, default_value = "cnn8")]
    network: NetworkKind,
    #[command(flatten)]
    structure: NetworkArgs,
    #[arg(long, default_value_t = 512)]
    batch: usize,
    /// Measures at least so long, after two rounds to warm up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    match args.network {
        NetworkKind::Cnn8 => measure::<Cnn8Config>(&args),
        NetworkKind::ResNet20 => measure::<ResNet20Config>(&args),
        NetworkKind::Vgg13 => measure::<Vgg13Config>(&args),
        NetworkKind::Graph => unreachable!("none of this crate's networks is one"),
    }
}

fn measure<C: JobNetwork>(args: &Args) {
    let config = C::from_args(&args.structure, 10, false).unwrap_or_else(|error| panic!("{error}"));
    let device = args.device.init().unwrap_or_else(|error| panic!("{error}"));
    let mut step = BareStep::new(&config, args.batch, &device);
    let mut round = || {
        let started = Instant::now();
        (0..STEPS).for_each(|_| step.run());
        step.wait();
        started.elapsed().as_secs_f64() / STEPS as f64
    };
    // The first round compiles, and on GPUs tries kernels out.
    let first = round();
    round();
    let mut times = Vec::new();
    let started = Instant::now();
    while times.len() < 3 || started.elapsed().as_secs_f64() < args.seconds {
        times.push(round());
    }
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    println!(
        "{}",
        serde_json::json!({
            "device": args.device.to_string(),
            "name": args.device.describe(&device),
            "network": format!("{} {}", C::NAME, config.precision()),
            "batch": args.batch,
            "first_round_s": first * STEPS as f64,
            "ms": median * 1e3,
            "pictures_per_s": args.batch as f64 / median,
        })
    );
}
