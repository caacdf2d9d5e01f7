//! `vwc-sdk map`: how many cycles a network takes on an array.

use std::io;

use clap::{Args, ValueEnum};
use serde::Serialize;
use thiserror::Error;

use crate::{
    mapping::{
        Accounting, ConvLayer, Mapping, MappingConfig, MappingError, Method, PimArray, Search, map_network,
        presets::preset,
    },
    report::{LayerRow, layer_csv, layer_rows, layer_table},
};

/// Count the cycles a network's convolutions take on a processing-in-memory array.
///
/// For each layer the table shows its channels (IC, OC) and weights (params), the method used, the
/// parallel window that enters the array in one cycle (PW, width x height), the channels on the array at
/// once (ICt, OCt), the computing cycles, and the cycles no mapping can go below (bound).
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct MapArgs {
    /// Network to map: cnn8, resnet20, resnet18 or vgg13.
    #[arg(value_parser = known_network)]
    pub network: String,

    /// Size of the array in cells, ROWSxCOLS: inputs enter on the rows, outputs leave on the columns.
    #[arg(long, value_name = "ROWSxCOLS")]
    pub array: PimArray,

    /// Bits of a weight that one cell holds.
    #[arg(long, value_name = "BITS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=MAX_BITS))]
    pub cell_bits: u32,

    /// Bits of one weight; a weight wider than a cell takes several columns.
    #[arg(long, value_name = "BITS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=MAX_BITS))]
    pub weight_bits: u32,

    /// How the weights are laid out on the array.
    #[arg(long, value_enum, default_value_t)]
    pub method: Method,

    /// How a layer's outputs are counted: as the network runs, or as the published tables do.
    #[arg(long, value_enum, default_value_t)]
    pub accounting: Accounting,

    /// How vw-sdk picks a window; the other methods have nothing to search.
    #[arg(long, value_enum, default_value_t)]
    pub search: Search,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const MAX_BITS: i64 = crate::mapping::MAX_BITS as i64;

const EXAMPLES: &str = "\
Examples:
  The cycles of CNN-8 with 1-bit weights:
    vwc-sdk map cnn8 --array 256x512

  The published table of ResNet-20 with 2-bit weights:
    vwc-sdk map resnet20 --array 512x256 --weight-bits 2 --accounting as-published

  What im2col would need, for another program to read:
    vwc-sdk map vgg13 --array 512x512 --method im2col --format json";

/// How the result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table to read, with totals.
    #[default]
    Table,
    /// One JSON object: the settings, the layers, the totals.
    Json,
    /// A header and one record a layer, without totals.
    Csv,
}

/// Why `map` failed after its arguments were accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum MapError {
    /// The network does not fit the array.
    #[error(transparent)]
    Mapping(#[from] MappingError),
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
/// output cannot be written.
pub fn run(args: &MapArgs) -> Result<(), MapError> {
    let layers = preset(&args.network)?;
    let config = MappingConfig::new(args.array.with_cell_bits(args.cell_bits))
        .with_weight_bits(args.weight_bits)
        .with_accounting(args.accounting)
        .with_search(args.search);
    let mappings = map_network(&layers, args.method, &config)?;
    let text = match args.format {
        Format::Table => layer_table(&layers, &mappings) + "\n",
        Format::Json => json(args, config, &layers, &mappings)? + "\n",
        Format::Csv => layer_csv(&layers, &mappings),
    };
    Ok(super::print(&text)?)
}

/// The JSON form of the result.
#[derive(Serialize)]
struct Document<'a> {
    network: &'a str,
    method: Method,
    #[serde(flatten)]
    config: MappingConfig,
    total: Total,
    layers: Vec<LayerRow>,
}

#[derive(Serialize)]
struct Total {
    params: u64,
    cycles: u64,
    lower_bound: u64,
}

fn json(
    args: &MapArgs,
    config: MappingConfig,
    layers: &[ConvLayer],
    mappings: &[Mapping],
) -> io::Result<String> {
    let document = Document {
        network: &args.network,
        method: args.method,
        config,
        total: Total {
            params: layers.iter().map(ConvLayer::params).sum(),
            cycles: mappings.iter().map(|m| m.cycles).sum(),
            lower_bound: mappings.iter().map(|m| m.lower_bound).sum(),
        },
        layers: layer_rows(layers, mappings),
    };
    Ok(serde_json::to_string_pretty(&document)?)
}

/// Refuses an unknown network while the arguments are parsed, so that it counts as wrong usage.
fn known_network(name: &str) -> Result<String, MappingError> {
    preset(name).map(|_| name.to_owned())
}
