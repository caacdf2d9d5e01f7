//! `vwc-sdk import` and `export`: weights from PyTorch and to PyTorch.

use std::path::PathBuf;

use clap::Args;

use super::networks::{JobNetwork, NetworkArgs, NetworkKind, with_network};
use super::train::original;
use crate::models::Network;
use crate::pytorch::{StateDict, Weights, save_safetensors};
use crate::train::RunDir;
use crate::{DeviceName, Error};

/// Read a network's weights from a PyTorch file, to prune, test or map it here.
///
/// Takes a state_dict of VWC-SDK's networks, quantised or not, pruned or not: widths are those of the file. Every tensor
/// has to be there, and none left over; the documentation of the module `pytorch` lists the names. Nothing in a pickle is
/// run.
#[derive(Args, Clone, Debug)]
#[command(after_help = IMPORT)]
pub struct ImportArgs {
    /// A file that torch.save wrote (.pt, .pth), or safetensors
    pub file: PathBuf,

    /// The network [default: what a file that `vwc-sdk export` wrote says]
    #[arg(long, value_enum)]
    pub network: Option<NetworkKind>,

    /// Structure that the file does not tell.
    #[command(flatten)]
    pub structure: NetworkArgs,

    /// Classes told apart
    #[arg(long, value_name = "N", default_value_t = 10, help_heading = "Network")]
    pub classes: usize,

    /// New folder to keep it in, as though it had been trained there
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
}

const IMPORT: &str = "\
Examples:
  vwc-sdk import resnet20.pth --network resnet20 --wb 2 --ab 2 --directory runs/mine
  vwc-sdk prune --directory runs/mine --total_epochs 20";

/// Write a trained network as safetensors that a PyTorch module of the same structure loads.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXPORT)]
pub struct ExportArgs {
    /// Folder of a trained network, as runs/cifar10_resnet20/original
    pub run: PathBuf,

    /// The file to write; its name ends in .safetensors
    pub file: PathBuf,

    /// Which weights
    #[arg(long, value_enum, default_value = "latent")]
    pub weights: Weights,
}

const EXPORT: &str = "\
Examples:
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.safetensors
  python3 -c 'from safetensors.torch import load_file; model.load_state_dict(load_file(\"rcp1.safetensors\"))'";

/// Runs `vwc-sdk import`.
///
/// # Errors
///
/// A file that does not hold the network, by the names of what is missing, left over or of another shape.
pub fn import(args: &ImportArgs) -> Result<(), Error> {
    // Rounds of another original would stand as though they were this one's.
    if std::fs::read_dir(&args.directory).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::Recipe(format!(
            "--directory {}: it holds something already; choose a new folder",
            args.directory.display()
        )));
    }
    let file = StateDict::read(&args.file)?;
    let network = args
        .network
        .or_else(|| file.network().and_then(NetworkKind::named));
    let network = network.ok_or_else(|| Error::StateDict {
        path: args.file.clone(),
        reason: "it does not say which network it holds: give --network cnn8, resnet20 or vgg13".into(),
    })?;
    with_network!(network, C => import_as::<C>(args, &file))
}

fn import_as<C: JobNetwork>(args: &ImportArgs, file: &StateDict) -> Result<(), Error> {
    let device = DeviceName::default().init()?;
    let config = match file.structure::<C>()? {
        Some(config) => config,
        None => {
            let config = C::from_args(&args.structure, args.classes, false)?;
            match args.structure.widths {
                Some(_) => config,
                None => file.fit_widths(&config)?,
            }
        }
    };
    let network = file.load_into(config.init(&device))?;
    let dir = original(&args.directory);
    let source = format!("imported from {}", args.file.display());
    RunDir::new(&dir).import(&network, &config, &source)?;
    eprintln!(
        "{} {}, widths {:?}, {} parameters: kept in {}",
        C::NAME,
        config.precision(),
        config.widths(),
        network.num_trainable_params(),
        dir.display()
    );
    Ok(())
}

/// Runs `vwc-sdk export`.
///
/// # Errors
///
/// A folder without a network, and a file that cannot be written.
pub fn export(args: &ExportArgs) -> Result<(), Error> {
    if args.file.extension().is_none_or(|ending| ending != "safetensors") {
        return Err(Error::StateDict {
            path: args.file.clone(),
            reason: "expected a name that ends in .safetensors".into(),
        });
    }
    with_network!(NetworkKind::of_run(&args.run)?, C => {
        let (network, run) = RunDir::new(&args.run).load::<C>(&DeviceName::default().init()?)?;
        save_safetensors(&network, &run.structure, &args.file, args.weights)
    })
}
