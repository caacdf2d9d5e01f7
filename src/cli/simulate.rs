//! `vwc-sdk simulate`: runs a network's mappings on a simulated array, on random integers.

use std::io;

use clap::Args;
use rayon::prelude::*;
use serde::Serialize;
use thiserror::Error;

use super::choice::choice;
use super::{
    network::{NetworkArg, NetworkError},
    options::{Format, InputArgs, MappingArgs, adc_bits, share, zero_or_more},
};
use crate::{
    crossbar::{Counts, CrossbarError, Device, Proof, ProveError, prove},
    mapping::{ConvLayer, Mapping, MappingConfig, MappingError, Method, PimArray, Plan, Widths},
    report::{csv_text, styled_table},
    text,
};

/// Run each layer on a simulated array, on random weights and inputs, and compare with the convolution.
///
/// Without a fault the array is ideal: every output has to be exact and every cycle predicted, and the command
/// fails where one is not. With --adc-bits, --pulse-bits, --variation, --stuck-off or --stuck-on the weights
/// are cut over the cells' bits, each over cells of its own, and the table shows how far the outputs are off: the error is the root mean
/// square over that of the exact outputs, in per cent.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// Network, ONNX file, layer list, or folder of a trained network, as `map` takes it.
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

    /// How the weights are laid out on the array.
    #[arg(long, value_parser = choice::<Method>(), default_value_t)]
    pub method: Method,

    /// Bits of an input, 1 to 16.
    #[arg(long, value_name = "BITS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub input_bits: u32,

    /// Bits of an input that one pulse carries [default: all].
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=16), help_heading = "Faults")]
    pub pulse_bits: Option<u32>,

    /// Bits of the analogue-to-digital converters, the sign among them; 0 for exact ones.
    #[arg(long, value_name = "BITS", default_value_t = 0, value_parser = adc_bits, allow_negative_numbers = true, help_heading = "Faults")]
    pub adc_bits: u32,

    /// Standard deviation of a cell's conductance, as a part of what was programmed, 0 to 10.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = variation, allow_negative_numbers = true, help_heading = "Faults")]
    pub variation: f64,

    /// Part of the cells that conduct nothing.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true, help_heading = "Faults")]
    pub stuck_off: f64,

    /// Part of the cells that conduct fully.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true, help_heading = "Faults")]
    pub stuck_on: f64,

    /// Seed of the numbers and of the faults.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const EXAMPLES: &str = "\
Examples:
  Prove every mapping of CNN-8:
    vwc-sdk simulate cnn8 --array 256x512 --method best

  What converters of six bits do to it:
    vwc-sdk simulate cnn8 --array 256x512 --input-bits 2 --pulse-bits 1 --adc-bits 6";

/// A standard deviation that a device can have.
fn variation(text: &str) -> Result<f64, String> {
    let most = Device::MAX_VARIATION;
    (zero_or_more(text).ok().filter(|&variation| variation <= most))
        .ok_or_else(|| format!("expected a number from 0 to {most}"))
}

/// Why `simulate` failed after its arguments were accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SimulateError {
    /// The network's file could not be read, or holds none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The network does not fit the array.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// The mapping is counted in a way that no array can be programmed with.
    #[error(transparent)]
    Array(#[from] CrossbarError),
    /// A layer could not be run, or not as it has to be.
    #[error(transparent)]
    Layer(#[from] ProveError),
    /// The result could not be written.
    #[error("could not write the result: {0}")]
    Output(#[from] io::Error),
}

/// One layer's run.
#[derive(Debug, Serialize)]
struct Row {
    layer: String,
    method: Method,
    predicted_cycles: u64,
    #[serde(flatten)]
    counts: Counts,
    /// Root mean square of the errors over that of the exact outputs.
    error: f64,
}

/// Runs every layer and prints what came out.
///
/// # Errors
///
/// A [`SimulateError`] that names the layer.
pub fn run_all(args: &SimulateArgs) -> Result<(), SimulateError> {
    let config = args.mapping.config(args.array);
    if config.shares_cells() {
        return Err(CrossbarError::SharedCells { config }.into());
    }
    let plan = Plan::new(
        &args.network.load(args.input)?,
        args.method,
        &config,
        Widths::of(args.method),
    )?;
    let layers: Vec<_> = plan.network.layers.iter().zip(&plan.mappings).collect();
    let rows = layers
        .into_par_iter()
        .enumerate()
        .map(|(n, (layer, mapping))| simulate(args, &config, layer, mapping, n as u64))
        .collect::<Result<Vec<_>, _>>()?;
    let cells = || {
        rows.iter().map(|row| {
            let counts = &row.counts;
            let numbers = [row.predicted_cycles, counts.cycles, counts.arrays, counts.clipped];
            let mut cells = vec![row.layer.clone(), row.method.to_string()];
            cells.extend(numbers.map(|number| number.to_string()));
            cells.push(format!("{:.2}", 100.0 * row.error));
            cells
        })
    };
    let text = match args.format {
        Format::Json => text::json(&rows) + "\n",
        Format::Csv => csv_text(&HEADER, cells()),
        Format::Table | Format::Markdown | Format::Latex => {
            styled_table(&HEADER, cells(), None, args.format.look()) + "\n"
        }
    };
    Ok(super::print(&text)?)
}

const HEADER: [&str; 7] = [
    "layer",
    "method",
    "predicted",
    "counted",
    "arrays",
    "clipped",
    "error %",
];

fn simulate(
    args: &SimulateArgs,
    config: &MappingConfig,
    layer: &ConvLayer,
    mapping: &Mapping,
    stream: u64,
) -> Result<Row, SimulateError> {
    let device = Device {
        pulse_bits: args.pulse_bits.unwrap_or(args.input_bits),
        adc_bits: args.adc_bits,
        variation: args.variation,
        stuck_off: args.stuck_off,
        stuck_on: args.stuck_on,
        seed: args.seed,
        ..Device::ideal(args.input_bits)
    };
    let Proof { counts, error } = prove(layer, mapping, config, &device, stream)?;
    Ok(Row {
        layer: layer.name.clone(),
        method: mapping.method,
        predicted_cycles: mapping.cycles,
        counts,
        error,
    })
}
