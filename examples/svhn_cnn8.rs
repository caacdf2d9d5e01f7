//! CNN-8 on SVHN: trained with 1-bit weights and activations, mapped onto a 256x512 array, pruned to the channel
//! counts the array wants, fine-tuned.
//!
//! ```text
//! cargo run --release --example svhn_cnn8
//! cargo run --release --example svhn_cnn8 -- --help
//! ```

use std::process::ExitCode;

use clap::Parser;
use vwc_sdk::cli::exit_code;
use vwc_sdk::cli::job::{JobArgs, run};
use vwc_sdk::models::Cnn8Config;

/// Train CNN-8 on SVHN's street-number digits, then prune it to the channel counts that a PIM array computes in the
/// fewest cycles.
///
/// Without flags the whole job runs: on SVHN where its files are in datasets/svhn (--download fetches them), else on
/// digits that the program draws itself, in a minute or two on two cores.
#[derive(Parser)]
#[command(after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    job: JobArgs,
}

const EXAMPLES: &str = "\
Examples:
  The published job, on all of SVHN:
    cargo run --release --example svhn_cnn8 -- --download

  Its two halves, and a test of what they left in runs/svhn_cnn8:
    ... -- --mode train --q 1 --ab 1 --wb 1 --total_epochs 100 --lr 0.001
    ... -- --mode prune --q 1 --ab 1 --wb 1 --total_epochs 40 --lr 0.001
    ... -- --mode test

  1-bit weights with 2-bit activations, another array, results for another program:
    ... -- --ab 2 --array 512x512 --format json";

fn main() -> ExitCode {
    // Wrong usage ends inside `parse`, with code 2.
    exit_code(run::<Cnn8Config>(Cli::parse().job))
}
