//! ResNet-20 on CIFAR-10: trained with 2-bit weights and activations, mapped onto a 512x256 array, pruned to the channel
//! counts the array wants, fine-tuned.
//!
//! ```text
//! cargo run --release --example cifar10_resnet20
//! cargo run --release --example cifar10_resnet20 -- --help
//! ```

use std::process::ExitCode;

use clap::Parser;
use vwc_sdk::cli::exit_code;
use vwc_sdk::cli::job::{JobArgs, run};
use vwc_sdk::models::ResNet20Config;

/// Train ResNet-20 on CIFAR-10, then prune it to the channel counts that a PIM array computes in the fewest cycles.
///
/// Without flags the whole job runs: on CIFAR-10 where its files are in datasets/cifar10 (--download fetches them), else
/// on digits that the program draws itself, at widths of 16, 32 and 64, in a few minutes on two cores.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    job: JobArgs,
}

const EXAMPLES: &str = "\
Examples:
  The published job, on CIFAR-10:
    cargo run --release --example cifar10_resnet20 -- --download

  Its two halves, and a test of what they left in runs/cifar10_resnet20:
    ... -- --mode train --q 1 --ab 2 --wb 2 --total_epochs 200 --lr 0.001
    ... -- --mode prune --q 1 --ab 2 --wb 2 --total_epochs 80 --lr 0.001
    ... -- --mode test

  The classic widths, blocks with pre-activation, 1-bit weights and activations:
    ... -- --widths 16,32,64 --order pre-activation --ab 1 --wb 1

  A third of the channels fewer, in multiples of eight, by the scale of their batch norms:
    ... -- --mode prune --ratio 0.33 --multiple 8 --ranking bn-scale";

fn main() -> ExitCode {
    // Wrong usage ends inside `parse`, with code 2.
    exit_code(run::<ResNet20Config>(Cli::parse().job))
}
