//! `vwc-sdk compare` and `vwc-sdk sweep`: many methods, networks and arrays beside each other.

use std::path::PathBuf;

use clap::Args;

use super::{
    map::MapError,
    network::NetworkArg,
    options::{Format, InputArgs, MappingArgs, plot_path},
};
use crate::{
    mapping::{Method, Network, PimArray, Plan, Widths, presets, sweep},
    report::{compare_table, plot::cycles_by_method, sweep_csv, sweep_rows, sweep_table},
};

/// Set methods beside each other: the cycles of networks on arrays, a column for each method.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// Networks, or ONNX files or layer lists, as `map` takes them; all presets if none is given.
    #[arg(value_name = "NETWORK|FILE")]
    pub networks: Vec<NetworkArg>,

    /// What the networks' files leave open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Sizes of the arrays in cells, with commas between them.
    #[arg(long, value_name = "ROWSxCOLS", value_delimiter = ',', required = true)]
    pub array: Vec<PimArray>,

    /// Methods, with commas between them [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    pub method: Vec<Method>,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What to print. JSON and CSV hold everything that `sweep` prints.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw the cycles of each layer by method, of the first network on the first array: a file whose name ends
    /// in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,
}

const COMPARE_EXAMPLES: &str = "\
Example:
  All methods on VGG-13, and a picture of its layers:
    vwc-sdk compare vgg13 --array 128x128,256x256,512x512 --plot vgg13.svg";

/// Map networks with methods onto arrays of many sizes, in parallel: a line for each, with all costs.
#[derive(Debug, Clone, Args)]
#[command(after_help = SWEEP_EXAMPLES)]
pub struct SweepArgs {
    /// Networks, or ONNX files or layer lists, as `map` takes them; all presets if none is given.
    #[arg(value_name = "NETWORK|FILE")]
    pub networks: Vec<NetworkArg>,

    /// What the networks' files leave open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Rows of the arrays, with commas between them.
    #[arg(long, value_name = "ROWS", value_delimiter = ',', required = true)]
    pub rows: Vec<usize>,

    /// Columns of the arrays; each number of rows is taken with each number of columns.
    #[arg(long, value_name = "COLS", value_delimiter = ',', required = true)]
    pub cols: Vec<usize>,

    /// Methods, with commas between them.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "vw-sdk")]
    pub method: Vec<Method>,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const SWEEP_EXAMPLES: &str = "\
Example:
  Every preset on sixteen arrays, for a spreadsheet:
    vwc-sdk sweep --rows 64,128,256,512 --cols 64,128,256,512 --method vw-sdk,best --format csv";

fn or_presets(networks: &[NetworkArg], input: InputArgs) -> Result<Vec<Network>, MapError> {
    if networks.is_empty() {
        let all = presets::preset_names().into_iter().map(presets::network);
        Ok(all.collect::<Result<_, _>>()?)
    } else {
        Ok(networks
            .iter()
            .map(|network| network.load(input))
            .collect::<Result<_, _>>()?)
    }
}

/// Prints the comparison.
///
/// # Errors
///
/// [`MapError`]; what cannot be mapped is no error but an empty place in the table, with the reason below.
pub fn compare(args: &CompareArgs) -> Result<(), MapError> {
    let networks = or_presets(&args.networks, args.input)?;
    let methods = if args.method.is_empty() {
        Method::ALL.to_vec()
    } else {
        args.method.clone()
    };
    if let (Some(path), Some(network), Some(&array)) = (&args.plot, networks.first(), args.array.first()) {
        let config = args.mapping.config(array);
        let mut drawn = Vec::new();
        let mut cycles = Vec::new();
        for &method in &methods {
            // A network whose widths are not free has no bars under VWC-SDK.
            if let Ok(plan) = Plan::new(network, method, &config, Widths::of(method)) {
                drawn.push(method);
                cycles.push(plan.mappings.iter().map(|mapping| mapping.cycles).collect());
            }
        }
        let layers: Vec<_> = network.layers.iter().map(|layer| layer.name.clone()).collect();
        let title = format!("{} on {array}: computing cycles of each layer", network.name);
        cycles_by_method(path, &title, &layers, &drawn, &cycles)?;
    }
    let arrays: Vec<_> = args
        .array
        .iter()
        .map(|&array| args.mapping.config(array))
        .collect();
    let points = sweep(
        &networks,
        &methods,
        &arrays.iter().map(|config| config.array).collect::<Vec<_>>(),
        &arrays[0],
    );
    let text = match args.format {
        Format::Json => json(&points) + "\n",
        Format::Csv => sweep_csv(&points),
        Format::Table | Format::Markdown => compare_table(&points, args.format.look()) + "\n",
    };
    Ok(super::print(&text)?)
}

/// Prints the sweep.
///
/// # Errors
///
/// [`MapError::Mapping`] where a number of rows or columns is out of range, [`MapError::Output`].
pub fn run_sweep(args: &SweepArgs) -> Result<(), MapError> {
    let networks = or_presets(&args.networks, args.input)?;
    let sizes = args
        .rows
        .iter()
        .flat_map(|&rows| args.cols.iter().map(move |&cols| PimArray::new(rows, cols)));
    let arrays = sizes
        .map(|array| array.map(|array| array.with_cell_bits(args.mapping.cell_bits)))
        .collect::<Result<Vec<_>, _>>()?;
    let points = sweep(
        &networks,
        &args.method,
        &arrays,
        // Both lists hold something, so there is an array.
        &args.mapping.config(arrays[0]),
    );
    let text = match args.format {
        Format::Json => json(&points) + "\n",
        Format::Csv => sweep_csv(&points),
        Format::Table | Format::Markdown => sweep_table(&points, args.format.look()) + "\n",
    };
    Ok(super::print(&text)?)
}

fn json(points: &[crate::mapping::SweepPoint]) -> String {
    serde_json::to_string_pretty(&sweep_rows(points)).expect("maps have text keys, and no number is infinite")
}
