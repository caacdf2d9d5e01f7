//! `vwc-sdk bits`: how many bits each layer gets under a budget.

use std::path::{Path, PathBuf};
use std::time::Duration;

use burn::tensor::Device;
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::job::Format;
use super::networks::graph_net::CALIBRATION;
use super::networks::layer_bits;
use super::networks::steps::StepArgs;
use super::options::{at_least_one, positive};
use super::unquantized::{Source, UnquantizedArgs};
use crate::mapping::{MappingConfig, Method, PimArray, map_layer};
use crate::models::{GraphNet, LayerSensitivity, Network as _, NetworkConfig as _};
use crate::quant::{Bits, Choice, choices_within};
use crate::report::table;
use crate::train::images_in;
use crate::{Error, files, text};

/// Choose how many bits each layer gets, so that a network of a given size or of so many cycles loses least.
///
/// Each layer between the first and the last is quantised alone, in each number of bits, without training. What the network says of
/// pictures is compared with what it says in full precision: the Kullback-Leibler divergence, whose sum over the layers is made as
/// small as the budget allows, exactly. The result is a file for `--layer-bits` of `vwc-sdk train` and `quantize`. Classes of
/// pictures play no part, and test pictures are not looked at.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("budget").required(true).args(["mean_bits", "cycles"]))]
pub struct BitsArgs {
    /// The network and its pictures.
    #[command(flatten)]
    pub source: UnquantizedArgs,

    /// Budget: so many bits a weight, the mean over all weights of these layers
    #[arg(long, value_name = "BITS", value_parser = positive)]
    pub mean_bits: Option<f64>,

    /// Budget: so many cycles of these layers on --array, where linear layers and transposed convolutions count none
    #[arg(long, value_name = "N", requires = "array", value_parser = clap::value_parser!(u64).range(1..))]
    pub cycles: Option<u64>,

    /// With --cycles, size of the array in cells
    #[arg(long, value_name = "ROWSxCOLS", requires = "cycles")]
    pub array: Option<PimArray>,

    /// With --cycles, bits of a weight that one cell holds; a weight wider than a cell takes several columns
    #[arg(long, value_name = "BITS", default_value_t = 1, requires = "cycles", value_parser = clap::value_parser!(u32).range(1..=32))]
    pub cell_bits: u32,

    /// Bits that a layer's weights may have
    #[arg(long, value_name = "BITS,...", value_delimiter = ',', default_value = "2,4,8")]
    pub choices: Vec<Bits>,

    /// Bits of what layers read [default: as many as their weights]
    #[arg(long, value_name = "BITS")]
    pub ab: Option<Bits>,

    #[command(flatten)]
    pub steps: StepArgs,

    /// Training pictures that are looked at, from each class its share: losses are measured on them, and steps on 256 that are drawn by themselves
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = at_least_one)]
    pub sample: usize,

    /// File to write the bits to, for --layer-bits. A file that is there is replaced
    #[arg(long, short, value_name = "FILE.csv", value_parser = super::options::csv_path)]
    pub output: PathBuf,

    /// What to print
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk bits resnet18.onnx --mean-bits 4 --data cifar10 --normalization imagenet -o bits.csv
  vwc-sdk train --network resnet18.onnx --wb 4 --ab 4 --layer-bits bits.csv --data cifar10 --normalization imagenet
  vwc-sdk bits runs/resnet18/original --cycles 20000 --array 256x256 --choices 2,3,4,6,8 --ab 8 -o bits.csv";

/// A layer, and the bits that it gets.
#[derive(Serialize)]
struct Row {
    layer: String,
    weights: u64,
    /// For each choice of bits.
    costs: Vec<u64>,
    divergences: Vec<f64>,
    /// Bits of its weights and of what it reads.
    chosen: [u8; 2],
    #[serde(skip)]
    place: usize,
}

/// Runs `vwc-sdk bits`.
///
/// # Errors
///
/// A network or pictures that cannot be read or do not fit, a network that is quantised already, and a budget that no choice keeps.
pub fn run(args: &BitsArgs) -> Result<(), Error> {
    let name = args.source.device.found()?;
    let device = name.init()?;
    name.guard(|| choose(args, &device))
}

fn choose(args: &BitsArgs, device: &Device) -> Result<(), Error> {
    let mut choices: Vec<[Bits; 2]> = (args.choices.iter())
        .map(|&weights| [weights, args.ab.unwrap_or(weights)])
        .collect();
    choices.sort();
    choices.dedup();
    let Source { network, splits } = args.source.open(device)?;
    say!("{splits}");
    let seen = sensitivities(args, &network, &splits.train, &choices, device)?;
    let costs = costs(args, &network, &seen, &choices)?;
    let budget = match args.mean_bits {
        Some(mean) => {
            let weights: u64 = seen.iter().map(|layer| layer.weights).sum();
            (mean * weights as f64 + 1e-6) as u64
        }
        None => args.cycles.unwrap_or_default(),
    };
    let items: Vec<Vec<Choice>> = seen
        .iter()
        .zip(&costs)
        .map(|(layer, costs)| {
            let own = costs.iter().zip(&layer.divergences);
            own.map(|(&cost, &loss)| Choice { cost, loss }).collect()
        })
        .collect();
    let chosen = choices_within(&items, budget).ok_or_else(|| too_small(args, &costs, budget))?;
    let rows: Vec<Row> = (seen.into_iter().zip(costs).zip(chosen))
        .map(|((layer, costs), place)| Row {
            layer: layer.layer,
            weights: layer.weights,
            costs,
            divergences: layer.divergences,
            chosen: choices[place].map(Bits::get),
            place,
        })
        .collect();
    write(&args.output, &rows)?;
    let printed = match args.format {
        Format::Json => text::json(&rows) + "\n",
        Format::Table => tabled(args, &rows, &choices) + "\n",
    };
    super::print(&printed).map_err(Error::io("standard output", "write"))?;
    say!(
        "kept in {}: give it to `vwc-sdk quantize` or `train` with --layer-bits {0}{1}",
        args.output.display(),
        args.steps.written(),
    );
    Ok(())
}

/// What each layer loses alone.
fn sensitivities(
    args: &BitsArgs,
    network: &GraphNet,
    train: &crate::data::PictureDataset,
    choices: &[[Bits; 2]],
    device: &Device,
) -> Result<Vec<LayerSensitivity>, Error> {
    let layers = network
        .config()
        .clone()
        .with_bits(Bits::ONE, Bits::ONE)?
        .quantized_layers();
    if let Some(layer) = layers.iter().find(|layer| layer.layer.contains('*')) {
        return Err(Error::Recipe(format!(
            "{}: a layer of this name cannot stand in a file of bits: name it without `*`",
            layer.layer
        )));
    }
    let (size, largest) = (network.config().input(), network.config().largest_value());
    let of_steps = train.sample(CALIBRATION, args.source.seed.wrapping_add(1));
    let calibration = images_in(&of_steps, size, largest, device)?;
    let pictures = images_in(
        &train.sample(args.sample, args.source.seed),
        size,
        largest,
        device,
    )?;
    let steps = args.steps.steps(Bits::FULL);
    let style =
        ProgressStyle::with_template("{spinner} layers {pos}, {elapsed}: {msg}").expect("a valid template");
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    let seen = network.sensitivities(steps, choices, &calibration, &pictures, |layer| {
        bar.set_message(layer.to_owned());
        bar.inc(1);
    });
    bar.finish_and_clear();
    let seen = seen?;
    let broken =
        |layer: &&LayerSensitivity| layer.divergences.iter().any(|divergence| !divergence.is_finite());
    if let Some(layer) = seen.iter().find(broken) {
        return Err(Error::Recipe(format!(
            "{}: quantised alone, it makes the network compute NaN or infinity: see whether the network computes numbers for these pictures",
            layer.layer
        )));
    }
    Ok(seen)
}

/// What each layer costs in each choice of bits, in what the budget is counted in.
fn costs(
    args: &BitsArgs,
    network: &GraphNet,
    seen: &[LayerSensitivity],
    choices: &[[Bits; 2]],
) -> Result<Vec<Vec<u64>>, Error> {
    let bits = choices.iter().map(|[weights, _]| u32::from(weights.get()));
    let Some(array) = args.array else {
        let sizes = seen
            .iter()
            .map(|layer| bits.clone().map(|bits| layer.weights * u64::from(bits)).collect());
        return Ok(sizes.collect());
    };
    let config = MappingConfig::new(array.with_cell_bits(args.cell_bits));
    let layers = network.config().sketch().mapped("").layers;
    let cycles = seen.iter().map(|of| {
        let Some(layer) = layers.iter().find(|layer| layer.name == of.layer) else {
            return Ok(vec![0; choices.len()]);
        };
        let each = bits.clone().map(|bits| {
            let mapping = map_layer(layer, Method::VwSdk, &config.with_weight_bits(bits))?;
            Ok(mapping.cycles)
        });
        each.collect()
    });
    cycles.collect()
}

fn too_small(args: &BitsArgs, costs: &[Vec<u64>], budget: u64) -> Error {
    let least: u64 = costs.iter().filter_map(|costs| costs.iter().min()).sum();
    Error::Recipe(match args.mean_bits {
        Some(mean) => format!(
            "--mean-bits {mean}: no layer has fewer than {} bits: choose a larger budget, or fewer bits with --choices",
            args.choices.iter().min().map_or(0, |bits| bits.get())
        ),
        None => format!(
            "--cycles {budget}: with the fewest bits these layers take {least}: choose at least so many, or fewer bits with --choices"
        ),
    })
}

/// The file for `--layer-bits`.
fn write(path: &Path, rows: &[Row]) -> Result<(), Error> {
    let csv = layer_bits::written(rows.iter().map(|row| (row.layer.as_str(), row.chosen)));
    files::write(path, &csv).map_err(Error::io(path, "write"))
}

fn tabled(args: &BitsArgs, rows: &[Row], choices: &[[Bits; 2]]) -> String {
    let cost = if args.array.is_some() {
        "cycles"
    } else {
        "weight bits"
    };
    let names: Vec<String> = choices
        .iter()
        .map(|[weights, activations]| format!("W{weights}A{activations}"))
        .collect();
    let mut head = vec!["layer", "weights"];
    head.extend(names.iter().map(String::as_str));
    head.extend(["chosen", cost]);
    // A loss of rounding errors alone has no sign.
    let number = |x: f64| format!("{:.5}", if x.abs() < 5e-6 { 0.0 } else { x });
    let lines = rows.iter().map(|row| {
        let mut cells = vec![row.layer.clone(), row.weights.to_string()];
        cells.extend(row.divergences.iter().map(|&x| number(x)));
        cells.extend([names[row.place].clone(), row.costs[row.place].to_string()]);
        cells
    });
    let sum = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let weights: u64 = rows.iter().map(|row| row.weights).sum();
    let mut total = vec!["total".to_owned(), weights.to_string()];
    total.extend((0..choices.len()).map(|place| number(sum(&|row| row.divergences[place]))));
    let costs: u64 = rows.iter().map(|row| row.costs[row.place]).sum();
    total.extend([number(sum(&|row| row.divergences[row.place])), costs.to_string()]);
    table(&head, lines, Some(total))
}
