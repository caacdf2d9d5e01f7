//! The networks that can be trained, by name, and the flags for their structure.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use clap::Args;

pub mod flag;
pub mod graph_net;
pub mod layer_bits;
pub mod plan;
pub mod steps;

use self::plan::PlanArgs;
use super::choice::choice;
use super::opened::Opened;
use super::options::input_size;
use crate::data::Splits;
use crate::models::{
    BlockOrder, Cnn8Config, FullPrecision, NetworkConfig, QuantPlan, ResNet20Config, Vgg13Config, Widths,
};
use crate::module::Parameters;
use crate::pytorch::TorchNames;
use crate::quant::Bits;
use crate::train::published::Published;
use crate::train::{RunDir, initial};
use crate::{DeviceName, Error};

/// Flags for a network's structure.
#[derive(Args, Clone, Debug, Default)]
pub struct NetworkArgs {
    /// 1 quantises the network; 0 trains it in full precision, with ReLUs and plain convolutions [default: 1; of a
    /// network that is there already, what it was trained with]
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(0..=1), help_heading = "Network")]
    pub q: Option<u8>,

    /// With --q 0, which ResNet-20 or VGG-13 it is; for CNN-8 both are one [default: twin; of a network that is there
    /// already, what it is]
    #[arg(long, value_parser = choice::<FullPrecision>(), help_heading = "Network")]
    pub full_precision: Option<FullPrecision>,

    /// Activation bits: 1 to 8, or 32 [default: 1 for CNN-8, 2 for ResNet-20 and VGG-13, 32 for others]
    #[arg(long, value_name = "BITS", help_heading = "Network")]
    pub ab: Option<Bits>,

    /// Weight bits: 1 to 8, or 32 [default: 1 for CNN-8, 2 for ResNet-20 and VGG-13, 32 for others]
    #[arg(long, value_name = "BITS", help_heading = "Network")]
    pub wb: Option<Bits>,

    /// Output channels: seven numbers for CNN-8, ten for VGG-13, and for ResNet-20 those of its three stages
    /// [default: as published; on the embedded digits narrower for ResNet-20 and VGG-13]
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', help_heading = "Network")]
    pub widths: Option<Vec<usize>>,

    /// Where a block of ResNet-20 normalises and activates [default: original]
    #[arg(long, value_parser = choice::<BlockOrder>(), help_heading = "Network")]
    pub order: Option<BlockOrder>,

    /// How layers are quantised.
    #[command(flatten)]
    pub plan: PlanArgs,

    /// Start from random weights, not from those of the network's file
    #[arg(long, help_heading = "Network")]
    pub from_scratch: bool,

    /// Train another network: every convolution has so many groups, but those whose channels cannot be divided by them. Its weights are random: with an
    /// ONNX file it asks for --from-scratch. cnn8 and resnet20 are the published networks in full precision then, unless --wb and --ab say bits
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..), help_heading = "Network")]
    pub groups: Option<u32>,

    /// Height and width of its pictures, where the network's file leaves them open
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = input_size, help_heading = "Network")]
    pub input_size: Option<[usize; 2]>,

    /// The network, where it is none of this crate's.
    #[arg(skip)]
    pub opened: Option<Arc<Opened>>,
}

/// A network that the main job can train.
pub trait JobNetwork: Published + NetworkConfig<Network: TorchNames> {
    /// The structure that the flags ask for, told apart into `classes` classes; `embedded` where it is to be trained on
    /// the embedded digits.
    ///
    /// # Errors
    ///
    /// Widths that no such network has, and flags that it does not know.
    fn from_args(args: &NetworkArgs, classes: usize, embedded: bool) -> Result<Self, Error>;

    /// Height and width of the pictures that the network which the flags ask for reads.
    ///
    /// # Errors
    ///
    /// As [`from_args`](Self::from_args).
    fn input_size(args: &NetworkArgs) -> Result<[usize; 2], Error> {
        Ok(Self::from_args(args, 10, false)?.input())
    }

    /// The folder that its runs are kept in where no flag says one.
    fn directory(args: &NetworkArgs) -> PathBuf {
        let _ = args;
        Self::DIRECTORY.into()
    }

    /// The network that training starts from, and its weights in words: those of the run in `from`, else of the file that the flags
    /// name, else random ones.
    ///
    /// # Errors
    ///
    /// Those of [`initial`].
    fn start(
        &self,
        args: &NetworkArgs,
        from: Option<&Path>,
        seed: u64,
        splits: &Splits,
        device: &Device,
    ) -> Result<(Self::Network, String), Error> {
        let _ = (args, splits);
        started_from::<Self>(from, initial(self, seed, device)?, RANDOM.into())
    }

    /// The same network with other widths, of one that is described by its widths.
    ///
    /// # Errors
    ///
    /// Widths that no such network has, and a network that has other numbers.
    fn with_widths(&self, widths: &[usize]) -> Result<Self, Error>;

    /// Its widths in words.
    fn widths_in_words(&self) -> String;

    /// What stands in the way of a PyTorch model that loads the network's parameters by their names, a line each.
    fn strange_to_pytorch(network: &Self::Network) -> Vec<String> {
        let _ = network;
        Vec::new()
    }

    /// The order of its residual blocks, if it has any.
    fn order(&self) -> Option<BlockOrder> {
        None
    }

    /// How it is quantised, where there are plans for it.
    fn plan(&self) -> Option<&QuantPlan> {
        None
    }
}

/// The weights of a network that nothing was put into.
const RANDOM: &str = "random weights";

/// `network`, with the weights of the run in `from`, if there is one, else as it is, with `weights`.
///
/// # Errors
///
/// A run that cannot be read, or that is of a network with other parameters.
fn started_from<C: JobNetwork>(
    from: Option<&Path>,
    network: C::Network,
    weights: String,
) -> Result<(C::Network, String), Error> {
    let Some(dir) = from else {
        return Ok((network, weights));
    };
    let refuse = |reason: String| Error::Recipe(format!("--start-from {}: {reason}", dir.display()));
    let run = RunDir::new(dir).load::<C>(&DeviceName::default().init()?);
    let (other, run) = run.map_err(|error| refuse(error.to_string()))?;
    let parameters = Parameters::of(&other);
    let checksum = parameters.checksum();
    let network = parameters.put_into(network).map_err(|error| {
        let widths = run.structure.widths_in_words();
        refuse(format!("its network is another ({widths}): {error}"))
    })?;
    let weights = format!(
        "the weights of a network ({}; CRC-32 {:08x})",
        run.structure.precision(),
        checksum
    );
    say!("training starts from {weights}, in {}", dir.display());
    Ok((network, weights))
}

/// What is the same for networks that are described by their widths.
macro_rules! described_by_widths {
    () => {
        fn with_widths(&self, widths: &[usize]) -> Result<Self, Error> {
            self.resized(widths)
        }

        fn widths_in_words(&self) -> String {
            format!("widths {:?}", self.widths())
        }
    };
}

/// The network in full precision that is asked for, with `--q 0` alone.
fn full_precision(args: &NetworkArgs) -> Result<FullPrecision, Error> {
    if args.q == Some(0) && (args.wb.is_some() || args.ab.is_some()) {
        return Err(Error::Recipe(
            "--q 0: a network in full precision has no bits: leave out --wb and --ab, or --q 0".into(),
        ));
    }
    match args.full_precision {
        Some(_) if args.q != Some(0) => Err(Error::Recipe(
            "--full-precision: the network is quantised: add --q 0, or leave the flag out".into(),
        )),
        asked => Ok(asked.unwrap_or(FullPrecision::Twin)),
    }
}

/// Refuses `--order` for a network without residual blocks.
fn no_order<C: NetworkConfig>(args: &NetworkArgs) -> Result<(), Error> {
    match args.order {
        None => Ok(()),
        Some(_) => Err(Error::Recipe(format!(
            "--order: {} has no residual blocks: leave the flag out",
            C::NAME
        ))),
    }
}

/// `config`, with the widths asked for if any are, if there is such a network.
fn resized<C: Widths>(config: C, args: &NetworkArgs) -> Result<C, Error> {
    if let Some(flag) = args.plan.given() {
        return Err(Error::Recipe(format!(
            "{flag}: it is for networks from files and presets: leave it out"
        )));
    }
    match &args.widths {
        None => config.validate().map(|()| config),
        Some(widths) => config
            .resized(widths)
            .map_err(|error| Error::Recipe(format!("--widths: {error}"))),
    }
}

impl JobNetwork for Cnn8Config {
    described_by_widths!();

    fn from_args(args: &NetworkArgs, classes: usize, _embedded: bool) -> Result<Self, Error> {
        no_order::<Self>(args)?;
        full_precision(args)?;
        let config = Self::new()
            .with_quantized(args.q != Some(0))
            .with_weight_bits(args.wb.unwrap_or(Bits::ONE))
            .with_activation_bits(args.ab.unwrap_or(Bits::ONE))
            .with_classes(classes);
        resized(config, args)
    }
}

impl JobNetwork for ResNet20Config {
    described_by_widths!();

    fn from_args(args: &NetworkArgs, classes: usize, embedded: bool) -> Result<Self, Error> {
        let config = Self::new()
            .with_quantized(args.q != Some(0))
            .with_weight_bits(args.wb.unwrap_or(Bits::TWO))
            .with_activation_bits(args.ab.unwrap_or(Bits::TWO))
            .with_full_precision(full_precision(args)?)
            .with_order(args.order.unwrap_or(BlockOrder::Original))
            .with_classes(classes);
        let config = if embedded {
            config.with_widths([16, 32, 64])
        } else {
            config
        };
        resized(config, args)
    }

    fn order(&self) -> Option<BlockOrder> {
        Some(self.order)
    }
}

impl JobNetwork for Vgg13Config {
    described_by_widths!();

    fn from_args(args: &NetworkArgs, classes: usize, embedded: bool) -> Result<Self, Error> {
        no_order::<Self>(args)?;
        let config = Self::new()
            .with_quantized(args.q != Some(0))
            .with_weight_bits(args.wb.unwrap_or(Bits::TWO))
            .with_activation_bits(args.ab.unwrap_or(Bits::TWO))
            .with_full_precision(full_precision(args)?)
            .with_classes(classes);
        let config = if embedded {
            config
                .with_widths([16, 16, 32, 32, 64, 64, 64, 64, 64, 64])
                .with_hidden([64, 64])
        } else {
            config
        };
        resized(config, args)
    }
}
