//! The `vwc-sdk` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(feature = "packed")]
use vwc_sdk::cli::run;
#[cfg(feature = "remote")]
use vwc_sdk::cli::serve;
#[cfg(feature = "train")]
use vwc_sdk::cli::{bits, devices, evaluate, export, graph, import, quantize, train};
use vwc_sdk::cli::{chip, compare, exit_code, front, map, simulate, sweep};

/// Train low-bit convolutional networks, map them onto processing-in-memory arrays, and prune them to fit.
#[derive(Parser)]
#[command(name = "vwc-sdk", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[cfg(feature = "train")]
    Job(train::JobCommand),
    #[cfg(feature = "train")]
    Train(train::TrainArgs),
    #[cfg(feature = "train")]
    Prune(train::PruneArgs),
    #[cfg(feature = "train")]
    Test(train::TestArgs),
    #[cfg(feature = "train")]
    Quantize(quantize::QuantizeArgs),
    #[cfg(feature = "train")]
    Bits(bits::BitsArgs),
    #[cfg(feature = "train")]
    Import(import::ImportArgs),
    #[cfg(feature = "train")]
    Export(export::ExportArgs),
    #[cfg(feature = "train")]
    Graph(graph::GraphArgs),
    #[cfg(feature = "packed")]
    Run(run::RunArgs),
    Map(map::MapArgs),
    Compare(compare::CompareArgs),
    Sweep(sweep::SweepArgs),
    Front(front::FrontArgs),
    Chip(chip::ChipArgs),
    Simulate(simulate::SimulateArgs),
    #[cfg(feature = "train")]
    Evaluate(evaluate::EvaluateArgs),
    #[cfg(feature = "train")]
    Devices(devices::DevicesArgs),
    #[cfg(feature = "remote")]
    Serve(serve::ServeArgs),
    /// Lend this machine's device to other machines: in builds with `--features remote`
    #[cfg(not(feature = "remote"))]
    Serve {
        #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
        _rest: Vec<std::ffi::OsString>,
    },
}

fn main() -> ExitCode {
    // Wrong usage ends inside `parse`, with code 2.
    match Cli::parse().command {
        Command::Map(args) => exit_code(map::run(&args)),
        Command::Chip(args) => exit_code(chip::run(&args)),
        Command::Compare(args) => exit_code(compare::compare(&args)),
        Command::Sweep(args) => exit_code(sweep::run(&args)),
        Command::Front(args) => exit_code(front::run(&args)),
        Command::Simulate(args) => exit_code(simulate::run_all(&args)),
        #[cfg(feature = "train")]
        Command::Evaluate(args) => exit_code(evaluate::run(&args)),
        #[cfg(feature = "train")]
        Command::Devices(args) => exit_code(devices::run(&args)),
        #[cfg(feature = "remote")]
        Command::Serve(args) => exit_code(serve::run(&args)),
        #[cfg(not(feature = "remote"))]
        Command::Serve { .. } => exit_code(Err("serve is not compiled in: build with `--features remote`")),
        #[cfg(feature = "train")]
        Command::Job(args) => exit_code(train::job(args)),
        #[cfg(feature = "train")]
        Command::Train(args) => exit_code(train::train(args)),
        #[cfg(feature = "train")]
        Command::Prune(args) => exit_code(train::prune(args)),
        #[cfg(feature = "train")]
        Command::Test(args) => exit_code(train::test(args)),
        #[cfg(feature = "train")]
        Command::Quantize(args) => exit_code(quantize::run(&args)),
        #[cfg(feature = "train")]
        Command::Bits(args) => exit_code(bits::run(&args)),
        #[cfg(feature = "train")]
        Command::Import(args) => exit_code(import::import(&args)),
        #[cfg(feature = "train")]
        Command::Export(args) => exit_code(export::run(&args)),
        #[cfg(feature = "train")]
        Command::Graph(args) => exit_code(graph::run(&args)),
        #[cfg(feature = "packed")]
        Command::Run(args) => exit_code(run::run(&args)),
    }
}
