//! `vwc-sdk front`: every best trade of cycles against channels.

use std::path::PathBuf;

use clap::Args;

use super::{
    map::MapError,
    network::NetworkArg,
    notes::{note_shared_cells, say_kept},
    options::{Format, InputArgs, LimitArgs, MappingArgs, plot_path},
};
use crate::{
    mapping::{
        Method, Network, PimArray, Search,
        channels::network_rounds,
        map_network,
        pareto::{front_keeps, pareto_front},
    },
    report::{
        front_csv, front_table,
        plot::{Mark, front},
    },
    text,
};

/// List every best trade of cycles against channels: the widths of a network for which no others keep as many
/// channels in fewer cycles.
///
/// Channels kept are the output channels of all layers whose width is free. Cycles are those of vw-sdk with the
/// exact search. A network with too many free channels is refused: --multiple and --hold leave fewer.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct FrontArgs {
    /// Network, ONNX file, layer list, or folder of a trained network, as `map` takes it. Some of its widths
    /// have to be free: those known by name have such widths, but for resnet18-table and densenet40.
    #[arg(value_name = "NETWORK|FILE")]
    pub network: NetworkArg,

    /// What the network's file leaves open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Size of the array in cells.
    #[arg(long, value_name = "ROWSxCOLS")]
    pub array: PimArray,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What each width keeps.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw the front, with the original and the published rounds: a file whose name ends in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Example:
  The front of CNN-8, and where the published networks lie beside it:
    vwc-sdk front cnn8 --array 256x512 --accounting as-published --plot front.svg

  The front of ResNet-50, with widths in multiples of 8:
    vwc-sdk front resnet50 --array 512x512 --multiple 8";

/// Prints the front.
///
/// # Errors
///
/// [`MapError::Mapping`] where the network does not say which widths are free; the others as they say.
pub fn run(args: &FrontArgs) -> Result<(), MapError> {
    let config = args.mapping.config(args.array).with_search(Search::Exact);
    let network = &args.network.load_free(args.input)?;
    note_shared_cells([config]);
    let limits = args.limits.limits();
    say_kept(&front_keeps(network, &limits)?);
    let points = pareto_front(network, &config, &limits)?;
    if let Some(path) = &args.plot {
        let mut marks = vec![mark("original", network, &config)?];
        let published = config.with_search(Search::Published);
        let rounds = network_rounds(network, &published, &limits, usize::MAX)?;
        say_kept(&rounds.kept);
        for (n, round) in rounds.networks.iter().enumerate() {
            marks.push(mark(&format!("RCP{} (published search)", n + 1), round, &config)?);
        }
        let title = format!("{} on {}: cycles against channels kept", network.name, args.array);
        front(path, &title, &points, &marks)?;
    }
    let text = match args.format {
        Format::Json => text::json(&points) + "\n",
        Format::Csv => front_csv(&points),
        Format::Table | Format::Markdown | Format::Latex => front_table(&points, args.format.look()) + "\n",
    };
    Ok(super::print(&text)?)
}

/// A network as a point beside the front.
fn mark(name: &str, network: &Network, config: &crate::mapping::MappingConfig) -> Result<Mark, MapError> {
    let mappings = map_network(&network.layers, Method::VwSdk, config)?;
    let outputs = network.layers.iter().zip(&network.ties);
    let channels = outputs
        .filter(|(_, tie)| tie.output.is_some())
        .map(|(layer, _)| layer.out_channels)
        .sum();
    let cycles = mappings
        .iter()
        .map(|mapping| mapping.cycles)
        .fold(0, u64::saturating_add);
    Ok((name.to_owned(), channels, cycles))
}
