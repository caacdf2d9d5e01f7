//! `vwc-sdk bits`: how many bits each layer gets under a budget.

use std::path::PathBuf;
use std::time::Duration;

use burn::tensor::Device;
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressStyle};

use super::job::Format;
use super::networks::graph_net::{CALIBRATION, listed};
use super::networks::steps::StepArgs;
use super::options::{at_least_one, positive};
use super::unquantized::{Source, UnquantizedArgs, already_codes};
use crate::mapping::{MappingConfig, Method, PimArray, map_layer};
use crate::models::{GraphNet, LayerSensitivity, Network as _, NetworkConfig as _, QuantPlan};
use crate::quant::{Bits, Choice, choices_within};
use crate::train::images_in;
use crate::{Error, text};

mod rows;

use rows::Row;

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
    #[arg(
        long,
        value_name = "ROWSxCOLS",
        requires = "cycles",
        conflicts_with = "mean_bits"
    )]
    pub array: Option<PimArray>,

    /// With --cycles, bits of a weight that one cell holds; a weight wider than a cell takes several columns
    #[arg(long, value_name = "BITS", default_value_t = 1, requires = "cycles", conflicts_with = "mean_bits", value_parser = clap::value_parser!(u32).range(1..=32))]
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
    let Source {
        network,
        splits,
        coded,
    } = args.source.open(device)?;
    say!("{splits}");
    without_effect(args, &network, &choices)?;
    let layers = between_ends(args, &network)?;
    let (coded, free): (Vec<String>, Vec<String>) =
        layers.into_iter().partition(|layer| coded.contains(layer));
    if free.is_empty() {
        return Err(already_codes(&args.source.network, &coded));
    }
    if !coded.is_empty() {
        say!(
            "left as they are, since their weights are codes already: {}",
            listed(&coded)
        );
    }
    let seen = sensitivities(args, &network, &splits.train, &choices, &coded, device)?;
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
    rows::write(&args.output, &rows, &coded)?;
    let printed = match args.format {
        Format::Json => text::json(&rows) + "\n",
        Format::Table => rows::tabled(args, &rows, &choices) + "\n",
    };
    super::print(&printed).map_err(Error::io("standard output", "write"))?;
    say!(
        "kept in {}: give it to `vwc-sdk quantize` or `train` with --layer-bits {0}{1}",
        args.output.display(),
        args.steps.written(),
    );
    Ok(())
}

/// Refuses flags for steps that change nothing in any of the choices.
fn without_effect(args: &BitsArgs, network: &GraphNet, choices: &[[Bits; 2]]) -> Result<(), Error> {
    let few = choices.iter().filter(|[weights, _]| *weights != Bits::FULL);
    let reasons = few.filter_map(|&[weights, activations]| {
        let plan = QuantPlan::new(args.steps.steps(weights), activations);
        // A network without such a layer is refused elsewhere.
        let config = network.config().clone().with_plan(plan).ok()?;
        Some(config.without_effect())
    });
    // Of some choice there is none.
    match reasons.collect::<Option<Vec<String>>>().unwrap_or_default().pop() {
        Some(reason) => Err(Error::Recipe(reason)),
        None => Ok(()),
    }
}

/// The names of the layers between the first and the last.
fn between_ends(args: &BitsArgs, network: &GraphNet) -> Result<Vec<String>, Error> {
    let planned = network.config().clone().with_bits(Bits::ONE, Bits::ONE);
    let planned = planned.map_err(|_| {
        Error::Recipe(format!(
            "{}: it has no layer between the first and the last whose bits could be chosen",
            args.source.network.display()
        ))
    })?;
    let layers = planned.quantized_layers().into_iter().map(|layer| layer.layer);
    let layers: Vec<String> = layers.collect();
    match layers.iter().find(|layer| layer.contains('*')) {
        Some(layer) => Err(Error::Recipe(format!(
            "{layer}: a layer of this name cannot stand in a file of bits: name it without `*`"
        ))),
        None => Ok(layers),
    }
}

/// What each layer loses alone.
fn sensitivities(
    args: &BitsArgs,
    network: &GraphNet,
    train: &crate::data::PictureDataset,
    choices: &[[Bits; 2]],
    left_out: &[String],
    device: &Device,
) -> Result<Vec<LayerSensitivity>, Error> {
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
    let seen = network.sensitivities(steps, choices, left_out, &calibration, &pictures, |layer| {
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
