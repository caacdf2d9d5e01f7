//! The `vwc-sdk` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(feature = "train")]
use vwc_sdk::cli::evaluate;
use vwc_sdk::cli::{compare, exit_code, front, map, simulate};

/// Map convolutional networks onto processing-in-memory arrays.
#[derive(Parser)]
#[command(name = "vwc-sdk", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Map(map::MapArgs),
    Compare(compare::CompareArgs),
    Sweep(compare::SweepArgs),
    Front(front::FrontArgs),
    Simulate(simulate::SimulateArgs),
    #[cfg(feature = "train")]
    Evaluate(evaluate::EvaluateArgs),
}

fn main() -> ExitCode {
    // Wrong usage ends inside `parse`, with code 2.
    match Cli::parse().command {
        Command::Map(args) => exit_code(map::run(&args)),
        Command::Compare(args) => exit_code(compare::compare(&args)),
        Command::Sweep(args) => exit_code(compare::run_sweep(&args)),
        Command::Front(args) => exit_code(front::run(&args)),
        Command::Simulate(args) => exit_code(simulate::run_all(&args)),
        #[cfg(feature = "train")]
        Command::Evaluate(args) => exit_code(evaluate::run(&args)),
    }
}
