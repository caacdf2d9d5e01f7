//! The networks: quantised, with a full-precision twin each, of any channel widths.
//!
//! A network says four things of itself, and everything else works from them: it computes logits, it lists its
//! convolutions as `mapping` counts them, it names the tensors that belong to each of its channels, so that
//! [`prune`](crate::prune) can cut them all at once, and it says what PyTorch calls its parameters, so that
//! [`pytorch`](crate::pytorch) can read and write them.

mod cnn8;
mod full_precision;
mod resnet20;
mod torch;
mod vgg13;

use std::fmt;

use burn::config::Config;
use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};

pub use cnn8::{Cnn8, Cnn8Config};
pub use full_precision::FullPrecision;
pub use resnet20::{BlockOrder, ResNet20, ResNet20Config, ResidualBlock, Shortcut};
pub use torch::{TorchLayout, TorchName};
pub use vgg13::{Vgg13, Vgg13Config};

use crate::Error;
use crate::data::PictureSpec;
use crate::graph::Graph;
use crate::mapping::{self, ConvLayer};
use crate::module::{ChannelGroup, ties};
use crate::quant::{Bits, QuantConv2d};

/// A classifier of pictures whose convolutions can be mapped and pruned.
pub trait Network: Module + ModuleDisplay + fmt::Debug + fmt::Display + 'static {
    /// The configuration that describes its structure.
    type Config: NetworkConfig<Network = Self>;

    /// Logits, `[batch, classes]`, of normalised pictures, `[batch, 3, height, width]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// The convolutions that are mapped onto arrays, in the order they are computed in, with the shapes that the
    /// weights have now.
    fn conv_layers(&self) -> Vec<ConvLayer>;

    /// The layers behind [`conv_layers`](Self::conv_layers), in the same order, each with its path in the module.
    fn convolutions(&self) -> Vec<(String, &QuantConv2d)>;

    /// One group per width of [`NetworkConfig::widths`]: all the tensor slices that belong to the same channels.
    fn channel_groups(&self) -> Vec<ChannelGroup>;

    /// The weights that are computed with, by the paths of the latent ones, of every layer that quantises its own.
    fn quantized_weights(&self) -> Vec<(String, TensorData)> {
        (self.convolutions().into_iter())
            .map(|(path, conv)| (format!("{path}.weight"), conv.quantized_weight().into_data()))
            .collect()
    }

    /// What the network computes in evaluation, for everything that is made of a trained network.
    ///
    /// # Errors
    ///
    /// As [`Graph::of`]: of a network of this crate, weights that are not finite.
    fn graph(&self) -> Result<Graph, Error> {
        let [height, width] = Self::Config::INPUT;
        Graph::of(self, [1, 3, height, width], |network: &Self, images| {
            network.forward(images)
        })
    }

    /// What every parameter, running statistics included, is called in the PyTorch networks of VWC-SDK.
    fn torch_names(&self) -> Vec<TorchName>;

    /// The network as the channel search wants it: its convolutions, and which widths may change, and together. With
    /// it, for each of those widths, its place among [`channel_groups`](Self::channel_groups): the width of a group
    /// that no mapped convolution reads is given.
    fn mapped(&self) -> (mapping::Network, Vec<usize>) {
        let paths: Vec<String> = self.convolutions().into_iter().map(|(path, _)| path).collect();
        let (free, ties) = ties(&self.channel_groups(), &paths);
        let network = mapping::Network::tied(Self::Config::NAME, self.conv_layers(), ties);
        (network, free)
    }

    /// The number of weights an optimiser moves: running statistics of batch norms are not among them.
    fn num_trainable_params(&self) -> usize {
        struct Count(usize);
        impl ModuleVisitor for Count {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                if param.is_require_grad() {
                    self.0 += param.shape().num_elements();
                }
            }
        }
        // Which parameters take gradients shows only on a device that computes them.
        let mut count = Count(0);
        self.clone().train().visit(&mut count);
        count.0
    }
}

/// The structure of a [`Network`]: saved beside the weights, it is all that is needed to read them again.
pub trait NetworkConfig: Config + Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The network it describes.
    type Network: Network<Config = Self>;

    /// A short name for tables and files.
    const NAME: &'static str;

    /// Height and width that pictures are resized to.
    const INPUT: [usize; 2];

    /// Initialises the network on `device` with random weights.
    fn init(&self, device: &Device) -> Self::Network;

    /// The widths that pruning can change, one for each of [`Network::channel_groups`]: output channels, in computing
    /// order.
    fn widths(&self) -> Vec<usize>;

    /// The same structure with other widths.
    ///
    /// # Errors
    ///
    /// A wrong number of widths, or a width of zero.
    fn resized(&self, widths: &[usize]) -> Result<Self, Error>;

    /// Whether there is such a network: widths, classes and shares in their ranges.
    ///
    /// # Errors
    ///
    /// What is out of its range.
    fn validate(&self) -> Result<(), Error>;

    /// Bits of weights and of activations; none in full precision.
    fn bits(&self) -> Option<[Bits; 2]>;

    /// Classes told apart.
    fn classes(&self) -> usize;

    /// The same structure with all that is no width of its channels, classes for instance, as wide as the parameters
    /// whose shapes `shape` knows by their paths, in PyTorch's layout.
    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self;

    /// Which network in full precision it is, where it is one and there are two.
    fn full_precision(&self) -> Option<FullPrecision> {
        None
    }

    /// What is quantised to how many bits, as [`precision`] puts it, and which network in full precision it is, where
    /// there are two.
    fn precision(&self) -> String {
        let precision = precision(self.bits());
        match self.full_precision() {
            None => precision,
            Some(full) => format!("{precision}, {full}"),
        }
    }
}

/// The most channels of a layer: no network comes near, and a slip of the keyboard is told before memory runs out.
const MAX_WIDTH: usize = 8192;

/// Refuses a width of zero, or of more than any network has.
fn check_widths(network: &'static str, widths: &[usize]) -> Result<(), Error> {
    if let Some(width) = widths.iter().find(|&&width| width > MAX_WIDTH) {
        return Err(Error::Structure {
            network,
            reason: format!("a width of {width}: expected 1 to {MAX_WIDTH} channels a layer"),
        });
    }
    if widths.contains(&0) {
        return Err(Error::Widths {
            network,
            expected: widths.len(),
            found: widths.to_vec(),
        });
    }
    Ok(())
}

/// The most classes.
const MAX_CLASSES: usize = 65_536;

/// Refuses a network that tells nothing apart, or more than any network does.
fn check_classes(network: &'static str, classes: usize) -> Result<(), Error> {
    if !(1..=MAX_CLASSES).contains(&classes) {
        return Err(Error::Structure {
            network,
            reason: format!("`classes` is {classes}, expected 1 to {MAX_CLASSES}"),
        });
    }
    Ok(())
}

/// Refuses a share that drops everything, or is none.
fn check_dropout(network: &'static str, dropout: f64) -> Result<(), Error> {
    if !(0.0..1.0).contains(&dropout) {
        return Err(Error::Structure {
            network,
            reason: format!("`dropout` is {dropout}, expected a share from 0 to below 1"),
        });
    }
    Ok(())
}

/// Refuses an `input` that is not what the network of `config` reads.
pub(crate) fn check_input<C: NetworkConfig>(config: &C, input: &PictureSpec) -> Result<(), Error> {
    input
        .validate(C::INPUT, config.classes())
        .map_err(|reason| Error::Structure {
            network: C::NAME,
            reason,
        })
}

/// Bits of weights and activations for tables and error messages: `W1A1`, or `full precision`.
pub fn precision(bits: Option<[Bits; 2]>) -> String {
    match bits {
        Some([weight, activation]) => format!("W{weight}A{activation}"),
        None => "full precision".into(),
    }
}
