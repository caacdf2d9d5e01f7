//! `vwc-sdk export`: a trained network as one small file.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;

use crate::data::cifar10;
use crate::models::{Cnn8Config, NetworkConfig, ResNet20Config, Vgg13Config};
use crate::packed::{Freeze, Labels, Model, PackedError, write_file};
use crate::train::RunDir;
use crate::{DeviceName, Error};

/// Write a trained network as one file that runs without Burn.
///
/// Weights become 1- to 4-bit integers, batch norms and activations thresholds. `vwc-sdk run` classifies pictures with
/// the file.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Folder of a trained network: what the examples leave in runs/svhn_cnn8/original, rcp1, ...
    #[arg(value_name = "RUN")]
    pub run: PathBuf,

    /// The file to write [default: the name of the folder, with .vwcp, .onnx or .safetensors behind].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// What to write.
    #[arg(long, value_enum, default_value_t)]
    pub format: ExportFormat,

    /// Names of the classes, in their order, with commas between them [default: those of CIFAR-10 where the network was
    /// trained on it, otherwise numbers].
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub classes: Vec<String>,
}

/// What a trained network is written as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// The file that `vwc-sdk run` reads.
    #[default]
    Packed,
    /// ONNX, the quantisation written out in integers: for ONNX Runtime and others.
    Onnx,
    /// The integer weights, thresholds and scales alone.
    Safetensors,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk export runs/svhn_cnn8/rcp1
  vwc-sdk export runs/pets -o pets.vwcp --classes cat,dog
  vwc-sdk export runs/pets --format onnx";

/// Why `export` failed after its arguments were accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The trained network.
    #[error(transparent)]
    Run(#[from] Error),
    /// Packing it, or the file.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// A network that this build does not know.
    #[error("{}: the network is `{name}`, expected {CNN8}, {RESNET20} or {VGG13}", path.display())]
    Unknown {
        /// The run's configuration.
        path: PathBuf,
        /// What it says.
        name: String,
    },
}

const CNN8: &str = Cnn8Config::NAME;
const RESNET20: &str = ResNet20Config::NAME;
const VGG13: &str = Vgg13Config::NAME;

/// Packs the network and writes the file.
///
/// # Errors
///
/// An [`ExportError`] that says what cannot be read, packed or written.
pub fn run(args: &ExportArgs) -> Result<(), ExportError> {
    let name = network_name(&args.run)?;
    let model = match name.as_str() {
        CNN8 => pack::<Cnn8Config>(args),
        RESNET20 => pack::<ResNet20Config>(args),
        VGG13 => pack::<Vgg13Config>(args),
        _ => Err(ExportError::Unknown {
            path: args.run.join("config.json"),
            name,
        }),
    }?;
    let output = match &args.output {
        Some(output) => output.clone(),
        None => {
            let name = args.run.canonicalize().map_err(Error::io(&args.run, "open"))?;
            let mut name = name.file_name().unwrap_or("network".as_ref()).to_owned();
            name.push(match args.format {
                ExportFormat::Packed => ".vwcp",
                ExportFormat::Onnx => ".onnx",
                ExportFormat::Safetensors => ".safetensors",
            });
            name.into()
        }
    };
    match args.format {
        ExportFormat::Packed => model.save(&output),
        ExportFormat::Onnx => write_file(&output, &model.to_onnx()),
        ExportFormat::Safetensors => write_file(&output, &model.to_safetensors()),
    }?;
    let length = std::fs::metadata(&output)
        .map_err(Error::io(&output, "read"))?
        .len();
    eprintln!(
        "{} {} in {}: {:.1} KiB",
        model.network(),
        model.precision(),
        output.display(),
        length as f64 / 1024.0,
    );
    Ok(())
}

fn pack<C: Freeze>(args: &ExportArgs) -> Result<Model, ExportError> {
    let device = DeviceName::available()
        .next()
        .expect("a build with networks has a device")
        .init()?;
    let (network, run) = RunDir::new(&args.run).load::<C>(&device)?;
    let classes = if args.classes.is_empty() && run.data.contains("CIFAR-10") {
        cifar10::CLASSES.map(str::to_owned).to_vec()
    } else {
        args.classes.clone()
    };
    let labels = Labels {
        classes,
        normalization: run.normalization,
    };
    Ok(run.structure.freeze(&network, &labels)?)
}

/// Which network a run trained.
fn network_name(run: &Path) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Name {
        network: String,
    }
    let path = run.join("config.json");
    if !path.is_file() {
        return Err(Error::NoModel {
            dir: run.into(),
            reason: "config.json is missing".into(),
        });
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
    let name: Name = serde_json::from_str(&text).map_err(|error| Error::Checkpoint {
        path,
        reason: format!("this is no configuration of a run: {error}"),
    })?;
    Ok(name.network)
}
