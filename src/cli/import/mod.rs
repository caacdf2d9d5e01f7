//! `vwc-sdk import`: weights from PyTorch, and networks from ONNX files.

use std::path::PathBuf;

use clap::Args;

use crate::cli::choice::choice;
use crate::cli::job::agrees;
use crate::cli::kind::{NetworkKind, with_own_network};
use crate::cli::networks::flag::own_network;
use crate::cli::networks::{JobNetwork, NetworkArgs};
use crate::cli::opened::is_onnx;
use crate::cli::said;
use crate::data::{ChannelOrder, DataKind, Normalization, PictureSpec, published_classes};
use crate::models::{Network, NetworkConfig as _, Widths};
use crate::pytorch::StateDict;
use crate::train::ORIGINAL;
use crate::train::RunDir;
use crate::{DeviceName, Error, files};

mod described;

/// Read a network's weights from a PyTorch file, or a network from an ONNX file, to prune, test or map it here.
///
/// An ONNX file is a network of its own: a classifier of pictures, with its weights. Of PyTorch, a state_dict is taken of the
/// networks of VWC-SDK's scripts, quantised or in full precision (--q 0), pruned or not: widths and classes are those of the
/// file, and in full precision its tensors tell the twin from what is published. Every tensor has to be there, and none left
/// over; the documentation of the module `pytorch` lists the names. Nothing in a pickle is run.
#[derive(Args, Clone, Debug)]
#[command(after_help = IMPORT)]
pub struct ImportArgs {
    /// A file that torch.save wrote (.pt, .pth, .pth.tar, .th, .ckpt, .bin), or safetensors: what it is, its contents say; or ONNX, whose
    /// name ends in .onnx
    pub file: PathBuf,

    /// The network: cnn8, resnet20 or vgg13 [default: what a file that `vwc-sdk export` wrote says; an ONNX file is one itself]
    #[arg(long, value_name = "NETWORK", value_parser = own_network)]
    pub network: Option<NetworkKind>,

    /// Structure that the file does not tell.
    #[command(flatten)]
    pub structure: NetworkArgs,

    /// What the bytes of its pictures became in training: half (-1 to 1), cifar10, imagenet, or three means and three
    /// deviations, R,G,B/R,G,B [default: what a file of `vwc-sdk export` says, else that of the data set which the network
    /// was published on]
    #[arg(long, value_name = "NORMALIZATION", help_heading = "Pictures")]
    pub normalization: Option<Normalization>,

    /// The order of their channels [default: what a file of `vwc-sdk export` says, else rgb]
    #[arg(long, value_parser = choice::<ChannelOrder>(), value_name = "ORDER", help_heading = "Pictures")]
    pub channels: Option<ChannelOrder>,

    /// Names of its classes, in the order of its outputs, with commas between them [default: what a file of `vwc-sdk export`
    /// says, else those of the data set which the network was published on, or numbers]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Pictures")]
    pub classes: Vec<String>,

    /// New folder to keep it in, as though it had been trained there
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
}

const IMPORT: &str = "\
Examples:
  vwc-sdk import resnet20.pth --network resnet20 --wb 2 --ab 2 --directory runs/mine
  vwc-sdk prune --directory runs/mine --total_epochs 20
  vwc-sdk import resnet18.onnx --normalization imagenet --directory runs/resnet18";

/// Runs `vwc-sdk import`.
///
/// # Errors
///
/// A file that does not hold the network, by the names of what is missing, left over or of another shape.
pub fn import(args: &ImportArgs) -> Result<(), Error> {
    // Rounds of another original would stand as though they were this one's.
    crate::cli::new_folder(&args.directory)?;
    if is_onnx(&args.file) {
        return described::from_onnx(args);
    }
    if args.structure.from_scratch || args.structure.input_size.is_some() || args.structure.groups.is_some() {
        return Err(Error::Recipe(
            "--from-scratch, --input-size and --groups are for networks from ONNX files: leave them out"
                .into(),
        ));
    }
    let file = StateDict::read(&args.file)?;
    let found = file.network().and_then(NetworkKind::named);
    if let (Some(asked), Some(found)) = (args.network, found)
        && asked != found
    {
        return Err(Error::StateDict {
            path: args.file.clone(),
            reason: format!(
                "it holds {}: leave out --network",
                file.network().unwrap_or_default()
            ),
        });
    }
    let network = args.network.or(found).ok_or_else(|| Error::StateDict {
        path: args.file.clone(),
        reason: "it does not say which network it holds: give --network cnn8, resnet20 or vgg13".into(),
    })?;
    with_own_network!(network, C => import_as::<C>(args, &file), described::from_pytorch(args, &file))
}

fn import_as<C: JobNetwork + Widths>(args: &ImportArgs, file: &StateDict) -> Result<(), Error> {
    let device = DeviceName::default().init()?;
    let refuse = |reason: String| {
        Err(Error::StateDict {
            path: args.file.clone(),
            reason,
        })
    };
    if file.is_quantized() {
        return refuse(
            "it holds the weights that are computed with, which would be quantised once more: export it with \
             `--weights latent` to go on with it here"
                .into(),
        );
    }
    let asked = &args.structure;
    let config = match file.structure::<C>()? {
        Some(config) => {
            agrees(&config, asked, &args.file)?;
            let bits = config.bits();
            let wrong = asked.q.is_some_and(|q| (q == 1) != bits.is_some())
                || bits.is_some_and(|[w, a]| asked.wb.unwrap_or(w) != w || asked.ab.unwrap_or(a) != a);
            if wrong {
                return refuse(format!(
                    "it holds a network of {}: leave out --q, --wb and --ab",
                    config.precision()
                ));
            }
            config
        }
        None => {
            // Tensors are called alike and have the same shapes whether they are to be quantised or not.
            if asked.q != Some(0) && (asked.wb.is_none() || asked.ab.is_none()) {
                return refuse(
                    "it does not say how many bits its network computes with: give --wb and --ab, or --q 0 where it \
                     computes in full precision"
                        .into(),
                );
            }
            // Classes, and whatever else no flag says, are those of the file.
            let config = C::from_args(asked, 10, false)?;
            let fitted = file.fit(&config)?;
            if asked.q.is_none() && file.load_into(fitted.init(&device)).is_err() {
                let plain = NetworkArgs {
                    q: Some(0),
                    wb: None,
                    ab: None,
                    ..asked.clone()
                };
                let plain = file.fit(&C::from_args(&plain, 10, false)?)?;
                if file.load_into(plain.init(&device)).is_ok() {
                    return refuse(format!(
                        "its tensors are those of {}: give --q 0",
                        plain.precision()
                    ));
                }
            }
            if asked.full_precision.is_some() && fitted.full_precision() != config.full_precision() {
                return refuse(format!(
                    "its tensors are those of {}: leave out --full-precision",
                    fitted.precision()
                ));
            }
            match asked.widths {
                Some(_) => fitted.resized(&config.widths())?,
                None => fitted,
            }
        }
    };
    let weight_bits = config.bits().map(|[weight, _]| weight.to_string());
    if let (Some(found), Some(asked)) = (file.norm_bits().first(), weight_bits)
        && *found != asked
    {
        return refuse(format!(
            "its batch norms are those of {found}-bit weights, asked for are {asked} bits: give --wb {found}"
        ));
    }
    let network = file.load_into(config.init(&device))?;
    let input = input(args, file.input()?, &config)?;
    keep(args, &network, &input)
}

fn keep<N: Network<Config: JobNetwork>>(
    args: &ImportArgs,
    network: &N,
    input: &PictureSpec,
) -> Result<(), Error> {
    let (config, dir) = (network.structure(), args.directory.join(ORIGINAL));
    let source = format!("imported from {}", args.file.display());
    // Whole or not at all: half a folder would stand in the way of the next try.
    files::replace_folder(&args.directory, |folder| {
        RunDir::new(folder.join(ORIGINAL))
            .import(network, input, &source)
            .map(drop)
    })?;
    say!(
        "{} {}, {}, {} parameters: kept in {}",
        config.name(),
        config.precision(),
        config.widths_in_words(),
        network.num_trainable_params(),
        dir.display()
    );
    Ok(())
}

/// What the network reads: by the flags, else as the file says, else as its published data set has it. What nobody said is said
/// on standard error.
fn input<C: JobNetwork>(
    args: &ImportArgs,
    found: Option<PictureSpec>,
    config: &C,
) -> Result<PictureSpec, Error> {
    let data = C::DATA.unwrap_or(DataKind::Synthetic);
    let usual = PictureSpec::new(config.input(), published_classes(data, config.classes()))
        .with_normalization(data.normalization());
    let mut input = found.clone().unwrap_or(usual);
    if found.is_none() {
        let mut assumed = Vec::new();
        if args.normalization.is_none() {
            assumed.push(format!(
                "pictures normalised as {}'s ({}; --normalization)",
                data.name(),
                input.normalization
            ));
        }
        if args.channels.is_none() {
            assumed.push("their channels in the order rgb (--channels)".into());
        }
        if args.classes.is_empty() {
            assumed.push(format!("classes called {} (--classes)", input.classes.join(", ")));
        }
        if !assumed.is_empty() {
            say!(
                "the file does not say what its network reads. Taken for granted: {}",
                assumed.join("; ")
            );
        }
    }
    let kept = found.as_ref();
    input.normalization = said(
        "--normalization",
        args.normalization,
        kept.map(|input| input.normalization),
        input.normalization,
    );
    input.channels = said(
        "--channels",
        args.channels,
        kept.map(|input| input.channels),
        input.channels,
    );
    let names = |classes: &[String]| (!classes.is_empty()).then(|| classes.join(","));
    said(
        "--classes",
        names(&args.classes),
        kept.and_then(|input| names(&input.classes)),
        String::new(),
    );
    if !args.classes.is_empty() {
        input.classes.clone_from(&args.classes);
    }
    input
        .validate(config.input(), config.classes())
        .map_err(|reason| Error::StateDict {
            path: args.file.clone(),
            reason: format!(
                "the network and what it reads do not fit: {reason} (see --classes and --normalization)"
            ),
        })?;
    Ok(input)
}
