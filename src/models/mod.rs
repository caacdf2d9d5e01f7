//! The networks: quantised, with a full-precision twin each, of any channel widths.
//!
//! A [`Network`] is a Burn module that computes logits and carries the configuration that it was made of. Everything else works
//! from its forward pass: what it computes ([`Graph`]), its convolutions as `mapping` counts them, and the tensors that belong to
//! each of its channels, which [`prune`](crate::prune) cuts at once.

mod cnn8;
mod full_precision;
mod graph_net;
mod resnet20;
mod vgg13;

use std::fmt;

use burn::config::Config;
use burn::module::{Module, ModuleDisplay, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};

pub use cnn8::{Cnn8, Cnn8Config};
pub use full_precision::FullPrecision;
pub use graph_net::{GraphNet, GraphNetConfig, LayerPlan, LayerSensitivity, NotInFile, QuantPlan};
pub(crate) use resnet20::BLOCKS;
pub use resnet20::{BlockOrder, ResNet20, ResNet20Config, ResidualBlock, Shortcut};
pub use vgg13::{Vgg13, Vgg13Config};

use crate::Error;
use crate::data::PictureSpec;
use crate::graph::Graph;
use crate::module::Parameters;
use crate::quant::Bits;

/// A classifier of pictures: what is trained, pruned, mapped, simulated and packed.
///
/// The networks of this crate are such modules, and so is any other: what else is known of a network is read off its forward
/// pass and its parameters. [`Graph::of`] says what it computes, [`find_groups`](crate::prune::find_groups) which of its
/// channels go together.
///
/// ```
/// use burn::config::Config;
/// use burn::module::Module;
/// use burn::nn::conv::{Conv2d, Conv2dConfig};
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use vwc_sdk::models::{Network, NetworkConfig};
///
/// #[derive(Config, Debug, PartialEq)]
/// struct TinyConfig {
///     #[config(default = 10)]
///     classes: usize,
/// }
///
/// #[derive(Module, Debug)]
/// struct Tiny {
///     conv: Conv2d,
///     head: Linear,
///     #[module(skip)]
///     config: TinyConfig,
/// }
///
/// impl NetworkConfig for TinyConfig {
///     type Network = Tiny;
///     const NAME: &'static str = "Tiny";
///
///     fn init(&self, device: &Device) -> Tiny {
///         Tiny {
///             conv: Conv2dConfig::new([3, 8], [3, 3]).init(device),
///             head: LinearConfig::new(8, self.classes).init(device),
///             config: self.clone(),
///         }
///     }
///
///     fn classes(&self) -> usize {
///         self.classes
///     }
///
///     fn input(&self) -> [usize; 2] {
///         [32, 32]
///     }
/// }
///
/// impl Network for Tiny {
///     type Config = TinyConfig;
///
///     fn config(&self) -> &TinyConfig {
///         &self.config
///     }
///
///     fn forward(&self, images: Tensor<4>) -> Tensor<2> {
///         let features = relu(self.conv.forward(images));
///         self.head.forward(features.mean_dim(3).mean_dim(2).flatten(1, 3))
///     }
/// }
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let tiny = TinyConfig::new().init(&Device::default());
/// assert_eq!(tiny.num_trainable_params(), 8 * 27 + 8 + 8 * 10 + 10);
/// assert_eq!(tiny.graph()?.output(0).shape(), [10]);
/// # Ok(())
/// # }
/// ```
pub trait Network: Module + ModuleDisplay + fmt::Debug + fmt::Display + 'static {
    /// The configuration that it is made of.
    type Config: NetworkConfig<Network = Self>;

    /// The configuration that it was made of. Where it was pruned since, its widths are others: see
    /// [`structure`](Self::structure), which is also what a run is loaded with.
    fn config(&self) -> &Self::Config;

    /// Logits, `[batch, classes]`, of normalised pictures, `[batch, 3, height, width]`.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;

    /// Sets the numbers that follow from widths and are no parameters, after parameters have got other shapes: the groups of a
    /// depthwise convolution, as `self.depthwise.groups = self.depthwise.weight.dims()[0]`.
    fn refit(&mut self) {}

    /// The configuration with the widths that the parameters have now, as far as it says them.
    fn structure(&self) -> Self::Config {
        let shapes = Parameters::shapes(self);
        self.config().fitted(&|path| shapes.get(path).cloned())
    }

    /// What the network computes in evaluation, for everything that is made of a trained network.
    ///
    /// # Errors
    ///
    /// As [`Graph::of`]: of a network of this crate, weights that are not finite.
    fn graph(&self) -> Result<Graph, Error> {
        let [height, width] = self.config().input();
        Graph::of(self, [1, 3, height, width], |network: &Self, images| {
            network.forward(images)
        })
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

/// The configuration of a [`Network`]: saved beside the weights, it is all that is needed to read them again.
pub trait NetworkConfig: Config + Clone + fmt::Debug + PartialEq + Send + Sync + 'static {
    /// The network it describes.
    type Network: Network<Config = Self>;

    /// What runs of such networks are known by. Where there is one network of this configuration, its name, too.
    const NAME: &'static str;

    /// Initialises the network on `device` with random weights, and with all that is no parameter: a run keeps the configuration and
    /// the parameters alone, so that quantisers of weights belong here, too.
    fn init(&self, device: &Device) -> Self::Network;

    /// Classes told apart.
    fn classes(&self) -> usize;

    /// Height and width that pictures are resized to.
    fn input(&self) -> [usize; 2];

    /// A short name of the network for tables and files.
    fn name(&self) -> String {
        Self::NAME.into()
    }

    /// Whether there is such a network: widths, classes and shares in their ranges.
    ///
    /// # Errors
    ///
    /// What is out of its range.
    fn validate(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Bits of weights and of activations; none in full precision.
    fn bits(&self) -> Option<[Bits; 2]> {
        None
    }

    /// The same configuration as wide as the parameters whose shapes, as Burn lays them out, `shape` knows by their paths: what it says of widths and
    /// classes, and of parts that are there or not. A configuration without widths stays as it is; a pruned network's shapes are
    /// saved beside it.
    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self {
        let _ = shape;
        self.clone()
    }

    /// Which network in full precision it is, where it is one and there are two.
    fn full_precision(&self) -> Option<FullPrecision> {
        None
    }

    /// How many numbers the largest value has that the network computes of one picture, where that is known: what decides how many pictures
    /// memory holds at once. Default: unknown.
    fn largest_value(&self) -> Option<usize> {
        None
    }

    /// Whether batch norms are folded into weights before these are quantised: the weights that are computed with are no network's
    /// parameters beside its batch norms then. Default: not.
    fn folds_norms(&self) -> bool {
        false
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

/// The widths of a network of this crate as one list of numbers, in computing order.
pub trait Widths: NetworkConfig {
    /// The widths: output channels of convolutions.
    fn widths(&self) -> Vec<usize>;

    /// The same network with other widths.
    ///
    /// # Errors
    ///
    /// A wrong number of widths, or a width of zero.
    fn resized(&self, widths: &[usize]) -> Result<Self, Error>;
}

/// `widths` as so many numbers.
fn exactly<const N: usize>(network: &'static str, widths: &[usize]) -> Result<[usize; N], Error> {
    widths.try_into().map_err(|_| Error::Widths {
        network,
        expected: N,
        found: widths.to_vec(),
    })
}

/// The first size of the parameter at `path`: the outputs of a convolution, the inputs of a linear layer.
fn first_size(shape: &dyn Fn(&str) -> Option<Vec<usize>>, path: &str, otherwise: usize) -> usize {
    let size = shape(path).and_then(|shape| shape.first().copied());
    size.unwrap_or(otherwise)
}

/// The most channels of a layer: no network comes near, and a slip of the keyboard is told before memory runs out.
const MAX_WIDTH: usize = 8192;

/// Refuses a width of zero, or of more than any network has.
fn check_widths(network: &'static str, widths: &[usize]) -> Result<(), Error> {
    if let Some(width) = widths.iter().find(|&&width| width > MAX_WIDTH) {
        return Err(Error::Structure {
            network: network.into(),
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
fn check_classes(network: &str, classes: usize) -> Result<(), Error> {
    if !(1..=MAX_CLASSES).contains(&classes) {
        return Err(Error::Structure {
            network: network.into(),
            reason: format!("`classes` is {classes}, expected 1 to {MAX_CLASSES}"),
        });
    }
    Ok(())
}

/// Refuses a share that drops everything, or is none.
fn check_dropout(network: &'static str, dropout: f64) -> Result<(), Error> {
    if !(0.0..1.0).contains(&dropout) {
        return Err(Error::Structure {
            network: network.into(),
            reason: format!("`dropout` is {dropout}, expected a share from 0 to below 1"),
        });
    }
    Ok(())
}

/// Refuses an `input` that is not what the network of `config` reads.
pub(crate) fn check_input<C: NetworkConfig>(config: &C, input: &PictureSpec) -> Result<(), Error> {
    input
        .validate(config.input(), config.classes())
        .map_err(|reason| Error::Structure {
            network: config.name(),
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
