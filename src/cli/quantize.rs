//! `vwc-sdk quantize`: a trained network in few bits without training, and what that costs.

use std::path::PathBuf;

use burn::data::dataset::Dataset as _;
use burn::tensor::Device;
use clap::Args;
use serde::Serialize;

use super::job::Format;
use super::networks::graph_net::{CALIBRATION, quantized};
use super::networks::plan::{PlanArgs, unmeasured};
use super::opened::is_onnx;
use super::options::at_least_one;
use super::unquantized::{Source, UnquantizedArgs, already_codes};
use crate::models::{GraphNet, Network as _, NetworkConfig as _};
use crate::quant::{Bits, WeightQuantizer};
use crate::report::table;
use crate::train::{Evaluation, ORIGINAL, RunDir, evaluate};
use crate::{Error, files, text};

/// Quantise a trained network without training it, and say what its accuracy was before and is after.
///
/// Weights and activations of every layer but the first and the last (`--ends`) become multiples of a step: one for the weights of each layer,
/// one for what each layer reads. Steps of activations are measured on some of the training pictures. At 8 bits such steps lose little; at
/// 4 bits and less, and with levels that rescale weights (`--weights dorefa`), training has to follow, which `vwc-sdk train --network FILE --wb BITS --ab BITS` does.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct QuantizeArgs {
    /// The network and its pictures.
    #[command(flatten)]
    pub source: UnquantizedArgs,

    /// Weight bits: 1 to 8, or 32
    #[arg(long, value_name = "BITS", default_value = "8")]
    pub wb: Bits,

    /// Activation bits: 1 to 8, or 32
    #[arg(long, value_name = "BITS", default_value = "8")]
    pub ab: Bits,

    /// How layers are quantised.
    #[command(flatten)]
    pub plan: PlanArgs,

    /// Training pictures that steps of activations are measured on, from each class its share [default: 256]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub calibration: Option<usize>,

    /// New folder to keep the quantised network in, as though it had been trained there
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,

    /// What to print
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk quantize resnet18.onnx --wb 8 --ab 8 --data cifar10 --normalization imagenet --directory runs/w8a8
  vwc-sdk quantize runs/resnet18/original --wb 4 --ab 4 --directory runs/w4a4
  vwc-sdk test --directory runs/w8a8";

/// Accuracies before and after, in per cent.
#[derive(Serialize)]
struct Row {
    precision: String,
    test: Evaluation,
    accuracy: f64,
    interval: [f64; 2],
}

impl Row {
    fn of(network: &GraphNet, test: Evaluation) -> Self {
        Self {
            precision: network.config().precision(),
            accuracy: test.accuracy(),
            interval: test.interval(),
            test,
        }
    }
}

/// Runs `vwc-sdk quantize`.
///
/// # Errors
///
/// A network or pictures that cannot be read or do not fit, a network that is quantised already, and a folder that is not new.
pub fn run(args: &QuantizeArgs) -> Result<(), Error> {
    if [args.wb, args.ab] == [Bits::FULL; 2] && args.plan.ends.is_none() && args.plan.layer_bits.is_none() {
        return Err(Error::Recipe(
            "--wb 32 --ab 32: nothing is quantised: give 1 to 8 bits for weights, for activations, or for both".into(),
        ));
    }
    super::new_folder(&args.directory)?;
    let name = args.source.device.found()?;
    let device = name.init()?;
    name.guard(|| quantize(args, &device))
}

fn quantize(args: &QuantizeArgs, device: &Device) -> Result<(), Error> {
    let Source {
        network,
        splits,
        coded,
    } = args.source.open(device)?;
    say!("{splits}");
    let config = network.config().clone();
    let config = args.plan.applied_to(config, [args.wb, args.ab])?;
    let rounded = config.quantized_layers().into_iter();
    let rounded =
        rounded.filter(|layer| layer.weights != WeightQuantizer::Identity && coded.contains(&layer.layer));
    let rounded: Vec<String> = rounded.map(|layer| layer.layer).collect();
    if !rounded.is_empty() {
        return Err(already_codes(&args.source.network, &rounded));
    }
    let plan = config.plan().expect("it was applied").clone();
    if let Some(count) = args.calibration.filter(|_| !config.measures_steps()) {
        return Err(unmeasured(&format!("--calibration {count}"), &config));
    }
    let count = args.calibration.unwrap_or(CALIBRATION);
    let pictures = splits.train.sample(count, args.source.seed);
    if args.calibration.is_some() && pictures.len() < count {
        say!(
            "--calibration {count}: there are {} training pictures, and all of them are taken",
            pictures.len()
        );
    }
    let small = quantized(network.clone(), plan, args.plan.observer(), &pictures, device)?;
    let row = |network| evaluate(network, &splits.test, device).map(|test| Row::of(network, test));
    let (before, after) = (row(&network)?, row(&small)?);
    let from = format!(
        "quantised from {}{}",
        args.source.network.display(),
        args.plan.observed()
    );
    // Whole or not at all.
    files::replace_folder(&args.directory, |folder| {
        RunDir::new(folder.join(ORIGINAL))
            .import_with(&small, &splits, &from)
            .map(drop)
    })?;
    let lost = before.accuracy - after.accuracy;
    let printed = match args.format {
        Format::Json => text::json(&[&before, &after]) + "\n",
        Format::Table => {
            let rows = [&before, &after].map(|row| {
                let [low, high] = row.interval;
                vec![
                    row.precision.clone(),
                    format!("{:.2}", row.accuracy),
                    format!("{low:.2} to {high:.2}"),
                ]
            });
            table(&["precision", "test accuracy, %", "95 % interval"], rows, None) + "\n"
        }
    };
    super::print(&printed).map_err(Error::io("standard output", "write"))?;
    say!("kept in {}", args.directory.join(ORIGINAL).display());
    if args.wb.get().min(args.ab.get()) <= 4 || lost > 1.0 {
        let path = args.source.network.display();
        let from = if is_onnx(&args.source.network) {
            format!("the file: vwc-sdk train --network {path}")
        } else {
            format!(
                "a file of the run: vwc-sdk graph {path} --onnx FILE.onnx, and vwc-sdk train --network FILE.onnx"
            )
        };
        let changed = if lost < 0.0 { "more" } else { "less" };
        say!(
            "{:.2} points {changed} than before, without training. Training starts from {from} --wb {} --ab {}{}, with the same flags for pictures",
            lost.abs(),
            args.wb,
            args.ab,
            args.plan.written()
        );
    }
    Ok(())
}
