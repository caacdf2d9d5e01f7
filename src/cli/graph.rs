//! `vwc-sdk graph`: what a trained network computes, as text, as a picture, or as a layer list.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::networks::graph_of_run;
use super::options::plot_path;
use super::print;
use crate::Error;
use crate::formats::layer_list;
use crate::report::plot;
use crate::train::RunDir;

/// Show what a trained network computes: every operation from its input to its output, with shapes, and which values are
/// codes of few bits.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GraphArgs {
    /// Folder of a trained network, as runs/cifar10_resnet20/original
    pub run: PathBuf,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,

    /// Draw it from top to bottom, too: a file whose name ends in .svg or .png
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,

    /// Take the files of the run as they are, though they have changed since it wrote them: after an edit by hand
    #[arg(long)]
    pub accept_changes: bool,
}

/// What `graph` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A line for each operation
    #[default]
    Text,
    /// Its convolutions, and which widths may change and together, as a layer list in JSON that `map`, `front` and the
    /// other commands read
    Layers,
}

const EXAMPLES: &str = "\
A line names an operation, says what it computes, whose results it reads, and the shape of its own, without the batch.
`W2` are weights of 2 bits. `u2: 0 to 3` are values that were clamped and rounded to 2 bits without a sign, `s4` with one.

Examples:
  vwc-sdk graph runs/cifar10_resnet20/rcp1
  vwc-sdk graph runs/cifar10_resnet20/rcp1 --plot rcp1.svg
  vwc-sdk graph runs/cifar10_resnet20/rcp1 --format layers > rcp1.json
  vwc-sdk front runs/cifar10_resnet20/rcp1 --array 256x256";

/// Runs `vwc-sdk graph`.
///
/// # Errors
///
/// A folder without a network, and a picture that cannot be written.
pub fn run(args: &GraphArgs) -> Result<(), Error> {
    if args.accept_changes {
        super::accept_changes(&RunDir::new(&args.run))?;
    }
    let (graph, name, precision) = graph_of_run(&args.run)?;
    if let Some(path) = &args.plot {
        plot::graph(path, &format!("{name} {precision}"), &graph)?;
        say!("the picture is in {}", path.display());
    }
    let text = match args.format {
        GraphFormat::Text => graph.to_string(),
        GraphFormat::Layers => layer_list(&graph.mapped(name)),
    };
    print(&text).map_err(Error::io("standard output", "write"))
}
