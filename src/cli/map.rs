//! `vwc-sdk map`: how many cycles a network takes on an array.

use std::{io, path::PathBuf};

use clap::{Args, ValueEnum};
use thiserror::Error;

use super::choice::choice;
use super::costs::{CostArgs, printed};
use super::notes::{note_shared_cells, say_kept};
use super::{
    network::{NetworkArg, NetworkError},
    options::{Format, InputArgs, LimitArgs, MappingArgs, WhatIfArgs, plot_path},
};
use crate::{
    cost::CostError,
    files,
    formats::{MAX_PLAN_BYTES, PlanError, plan_from_json},
    mapping::{MappingError, Method, PimArray, Placement, Plan, WidthLimits, Widths, channels::KeptWidth},
    report::plot::{MAX_PANELS, PlotError, filled_array},
};

/// Count the cycles a network's convolutions take on a processing-in-memory array.
///
/// For each layer the table shows its channels (IC, OC) and weights (params), the method used, the parallel
/// window that enters the array in one cycle (PW, width x height), the whole channels on the array at once (ICt,
/// OCt; <1 where a channel is cut over several arrays), the computing cycles, the cycles no mapping can go below (bound) and their ratio (gap), the arrays
/// programmed and the cells written for it, and the part of the array's bits that hold weights at work (used).
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct MapArgs {
    /// Network to map: cnn8, resnet20 (or resnet20-16, or another width of its first stage), resnet18,
    /// resnet18-table, resnet50, vgg13, vgg16, alexnet, mobilenet-v2, densenet40, inception; or a file whose name
    /// ends in .onnx (in builds with the feature `onnx`), or in .json or .csv for a layer list; or the folder of a trained
    /// network.
    #[arg(value_name = "NETWORK|FILE", required_unless_present = "load")]
    pub network: Option<NetworkArg>,

    /// What the network's file leaves open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Another network than this one.
    #[command(flatten)]
    pub what_if: WhatIfArgs,

    /// Count linear layers, too, as convolutions of 1x1: of ONNX files and trained networks.
    #[arg(long)]
    pub linear: bool,

    /// Size of the array in cells, ROWSxCOLS: inputs enter on the rows, outputs leave on the columns.
    #[arg(long, value_name = "ROWSxCOLS", required_unless_present = "load")]
    pub array: Option<PimArray>,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// How the weights are laid out on the array.
    #[arg(long, value_parser = choice::<Method>(), default_value_t)]
    pub method: Method,

    /// How the widths of the network are chosen first [default: rcp for vwc-sdk, keep for the others].
    #[arg(long, value_enum, hide_default_value = true)]
    pub channels: Option<Channels>,

    /// With --channels pareto: keep the most channels in so many cycles.
    #[arg(long, value_name = "CYCLES", conflicts_with = "budget_channels")]
    pub budget_cycles: Option<u64>,

    /// With --channels pareto: take the fewest cycles and keep so many channels.
    #[arg(long, value_name = "CHANNELS")]
    pub budget_channels: Option<usize>,

    /// What each width keeps, with --channels rcp and pareto.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Show a mapping that --format json saved instead of making one.
    #[arg(long, value_name = "FILE",
          conflicts_with_all = ["network", "input_size", "groups", "linear", "array", "channels", "method", "hold", "minimum", "minimum_share", "multiple"])]
    pub load: Option<PathBuf>,

    /// What it costs.
    #[command(flatten)]
    pub costs: CostArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw the filled array of one layer: a file whose name ends in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,

    /// The layer to draw [default: the first].
    #[arg(long, value_name = "NAME", requires = "plot")]
    pub layer: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  The cycles of CNN-8 with 1-bit weights:
    vwc-sdk map cnn8 --array 256x512

  The published table of ResNet-20 with 2-bit weights:
    vwc-sdk map resnet20 --array 512x256 --weight-bits 2 --accounting as-published

  What im2col would need, for another program to read:
    vwc-sdk map vgg13 --array 512x512 --method im2col --format json

  A network exported from PyTorch, whose picture size is open:
    vwc-sdk map model.onnx --input-size 224x224 --array 512x512

  The widest CNN-8 that takes 250 cycles at most, and a picture of its fourth layer:
    vwc-sdk map cnn8 --array 256x512 --channels pareto --budget-cycles 250 \\
      --layer convs.3 --plot fourth.png";

/// How the widths of a network are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Channels {
    /// As they are.
    Keep,
    /// Rounds of residual channel pruning, until nothing is left to prune.
    Rcp,
    /// The best trade of channels against cycles that keeps to a budget.
    Pareto,
}

/// Why `map` failed after its arguments were accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The network's file could not be read, or holds none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The network does not fit the array.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// There is no such cost model, or its file is none.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// A saved mapping could not be read.
    #[error("could not read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// A saved mapping is not one.
    #[error("{path}: {error}")]
    Plan {
        /// The file.
        path: String,
        /// Why.
        error: PlanError,
    },
    /// No budget was given, or one that nothing uses.
    #[error("--channels pareto and --budget-cycles or --budget-channels go together: give both or neither")]
    Budget,
    /// Limits were given, and no width is searched.
    #[error(
        "--hold, --minimum, --minimum-share and --multiple limit a search of widths: add --channels rcp, or --channels pareto \
         with a budget"
    )]
    NoSearch,
    /// There is no such layer.
    #[error("there is no layer `{layer}`: use one of {names}")]
    Layer {
        /// The layer asked for.
        layer: String,
        /// The layers there are.
        names: String,
    },
    /// A picture of too many panels.
    #[error(
        "a picture has a panel for each network and array, {MAX_PANELS} at most (of energy for each model, too), and here are {panels}: give \
         fewer of them"
    )]
    Panels {
        /// How many there would be.
        panels: usize,
    },
    /// Networks that a table could not tell apart.
    #[error(
        "two networks are called `{name}`: leave one out, or rename its file (of a JSON list, its \"name\")"
    )]
    SameName {
        /// Their name.
        name: String,
    },
    /// The picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The result could not be written.
    #[error("could not write the result: {0}")]
    Output(#[from] io::Error),
}

/// Maps the network and prints the result, and nothing else, on standard output. A reader that stops
/// early is not an error.
///
/// # Errors
///
/// [`MapError::Mapping`] where the array cannot hold a single weight, [`MapError::Output`] where standard
/// output cannot be written; the others as they say.
pub fn run(args: &MapArgs) -> Result<(), MapError> {
    let models = args.costs.models()?;
    let (plan, kept) = plan(args)?;
    note_shared_cells([plan.config]);
    say_kept(&kept);
    if let Some(path) = &args.plot {
        let layers = &plan.network.layers;
        let index = match &args.layer {
            None => 0,
            Some(name) => layers
                .iter()
                .position(|layer| layer.name == *name)
                .ok_or_else(|| {
                    let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
                    MapError::Layer {
                        layer: name.clone(),
                        names: names.join(", "),
                    }
                })?,
        };
        // There is a layer: a network without one is refused before.
        if let Some((layer, mapping)) = layers.get(index).zip(plan.mappings.get(index)) {
            let placement = Placement::new(layer, mapping, &plan.config)?;
            let title = format!("{}, {}", plan.network.name, layer.name);
            filled_array(path, &title, &placement, mapping, &plan.config)?;
        }
    }
    let text = printed(&plan, args.format, &args.costs.config(), &models);
    Ok(super::print(&text)?)
}

fn plan(args: &MapArgs) -> Result<(Plan, Vec<KeptWidth>), MapError> {
    if let Some(path) = &args.load {
        let name = || path.display().to_string();
        let bytes = files::read_up_to(path, MAX_PLAN_BYTES as u64).and_then(|bytes| {
            let text = bytes.map(String::from_utf8).transpose();
            text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8 text"))
        });
        let text = bytes.map_err(|error| MapError::Read { path: name(), error })?;
        let plan = text
            .ok_or(PlanError::TooLong)
            .and_then(|text| plan_from_json(&text));
        let plan = plan.map_err(|error| MapError::Plan { path: name(), error })?;
        return Ok((plan, Vec::new()));
    }
    let widths = match (args.channels, args.budget_cycles, args.budget_channels) {
        (Some(Channels::Pareto), Some(cycles), None) => Widths::Cycles(cycles),
        (Some(Channels::Pareto), None, Some(channels)) => Widths::Channels(channels),
        (Some(Channels::Keep), None, None) => Widths::Keep,
        (Some(Channels::Rcp), None, None) => Widths::Rcp,
        (None, None, None) => Widths::of(args.method),
        _ => return Err(MapError::Budget),
    };
    let limits = args.limits.limits();
    if widths == Widths::Keep && limits != WidthLimits::default() {
        return Err(MapError::NoSearch);
    }
    // Without --load both are required.
    let (Some(network), Some(array)) = (&args.network, args.array) else {
        return Err(MapError::Budget);
    };
    let config = args.mapping.config(array);
    let network = if widths == Widths::Keep {
        network.load_layers(args.input, args.linear)?
    } else {
        network.load_free_layers(args.input, args.linear)?
    };
    let network = args.what_if.network(network)?;
    Ok(Plan::within(&network, args.method, &config, widths, &limits)?)
}
