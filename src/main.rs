//! The `vwc-sdk` command.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use vwc_sdk::cli::{exit_code, map};

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
}

fn main() -> ExitCode {
    // Wrong usage ends inside `parse`, with code 2.
    exit_code(match Cli::parse().command {
        Command::Map(args) => map::run(&args),
    })
}
