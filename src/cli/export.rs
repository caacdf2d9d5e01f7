//! `vwc-sdk export`: a trained network as one file, for this crate's packed inference, PyTorch or ONNX Runtime.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::networks::{NetworkKind, with_network};
use super::pictures::DataSet;
use crate::data::cifar10;
use crate::models::NetworkConfig;
use crate::packed::{Freeze, Labels, PackedError, write_file};
use crate::pytorch::{Weights, save_safetensors};
use crate::train::{RunConfig, RunDir};
use crate::{DeviceName, Error};

/// Write a trained network as one file: packed bits, ONNX, or safetensors that a PyTorch module of the same structure
/// loads.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXPORT)]
pub struct ExportArgs {
    /// Folder of a trained network, as runs/cifar10_resnet20/original
    pub run: PathBuf,

    /// The file to write; unless --format says what, its name ends in .vwcp, .onnx or .safetensors (PyTorch's weights)
    pub file: PathBuf,

    /// What to write [default: by the name of the file]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,

    /// Which weights PyTorch is given
    #[arg(long, value_enum, default_value = "latent")]
    pub weights: Weights,

    /// Names of the classes, in their order, with commas between them, for a packed network and ONNX [default: those of
    /// CIFAR-10 where the network was trained on it, otherwise numbers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub classes: Vec<String>,
}

/// What a trained network is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Bits and thresholds, which `vwc-sdk run` reads
    Packed,
    /// The same in integer operations of ONNX
    Onnx,
    /// The same integers and scales alone, as safetensors
    Integers,
    /// Floats under PyTorch's names, as safetensors
    Pytorch,
}

const EXPORT: &str = "\
Examples:
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.vwcp
  vwc-sdk run rcp1.vwcp frog.jpg
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.onnx
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.safetensors
  python3 -c 'from safetensors.torch import load_file; model.load_state_dict(load_file(\"rcp1.safetensors\"))'";

/// Why `export` failed after its arguments were accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The trained network.
    #[error(transparent)]
    Run(#[from] Error),
    /// Packing it, or writing the file.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// A name that does not say what to write.
    #[error("{}: expected a name that ends in .vwcp, .onnx or .safetensors, or --format", .0.display())]
    Name(PathBuf),
}

/// Runs `vwc-sdk export`.
///
/// # Errors
///
/// A folder without a network, one that cannot be packed, and a file that cannot be written.
pub fn run(args: &ExportArgs) -> Result<(), ExportError> {
    let format = match args.format {
        Some(format) => format,
        None => by_name(&args.file)?,
    };
    with_network!(NetworkKind::of_run(&args.run)?, C => {
        let (network, run) = RunDir::new(&args.run).load::<C>(&DeviceName::default().init()?)?;
        if format == ExportFormat::Pytorch {
            return Ok(save_safetensors(&network, &run.structure, &args.file, args.weights)?);
        }
        let model = run.structure.freeze(&network, &labels(args, &run))?;
        let bytes = match format {
            ExportFormat::Packed => model.to_bytes(),
            ExportFormat::Onnx => model.to_onnx(),
            ExportFormat::Integers | ExportFormat::Pytorch => model.to_safetensors(),
        };
        write_file(&args.file, &bytes)?;
        let (kib, f32s) = (bytes.len() as f64 / 1024.0, model.float_size() as f64 / 1024.0);
        eprintln!(
            "{} {} in {}: {kib:.1} KiB; its weights as floats take {f32s:.1}",
            C::NAME,
            model.precision(),
            args.file.display()
        );
        Ok(())
    })
}

fn by_name(file: &Path) -> Result<ExportFormat, ExportError> {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("vwcp") => Ok(ExportFormat::Packed),
        Some("onnx") => Ok(ExportFormat::Onnx),
        Some("safetensors") => Ok(ExportFormat::Pytorch),
        _ => Err(ExportError::Name(file.into())),
    }
}

fn labels<C: NetworkConfig>(args: &ExportArgs, run: &RunConfig<C>) -> Labels {
    let on_cifar10 = run.data.starts_with(DataSet::Cifar10.name());
    let classes = if args.classes.is_empty() && on_cifar10 {
        cifar10::CLASSES.map(str::to_owned).to_vec()
    } else {
        args.classes.clone()
    };
    Labels {
        classes,
        normalization: run.normalization,
    }
}
