//! The model: a network of vwc-sdk as a field beside layers of our own.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use vwc_sdk::Error;
use vwc_sdk::models::{Cnn8, Cnn8Config, Network, NetworkConfig};
use vwc_sdk::prune::{Ranking, prune};
use vwc_sdk::quant::{Activation, Bits, QuantConv2d, QuantConv2dConfig, WeightQuantizer};

/// Configuration of a [`Meter`].
#[derive(Config, Debug)]
pub struct MeterConfig {
    /// The reader.
    pub reader: Cnn8Config,
    /// Bits of the weights that tell dark from light.
    #[config(default = "Bits::TWO")]
    pub bits: Bits,
}

/// Reads a digit, and says whether the picture is dark.
#[derive(Module, Debug)]
pub struct Meter {
    /// vwc-sdk's network.
    pub reader: Cnn8,
    /// One of its layers, in a network of ours.
    pub conv: QuantConv2d,
    act: Activation,
    /// A layer of Burn's.
    pub linear: Linear,
}

impl MeterConfig {
    /// Initialises the model on `device`.
    pub fn init(&self, device: &Device) -> Meter {
        let conv = QuantConv2dConfig::new([3, 8], [5, 5])
            .with_stride([2, 2])
            .with_quantizer(WeightQuantizer::new(self.bits));
        Meter {
            reader: self.reader.init(device),
            conv: conv.init(device),
            act: Activation::relu(),
            linear: LinearConfig::new(8, 2).init(device),
        }
    }
}

impl Meter {
    /// Logits of the ten digits, `[batch, 10]`, and of light and dark, `[batch, 2]`, of pictures `[batch, 3, 40, 40]`.
    pub fn forward(&self, images: Tensor<4>) -> [Tensor<2>; 2] {
        let digits = self.reader.forward(images.clone());
        let features = self.act.forward(self.conv.forward(images));
        let shade = self
            .linear
            .forward(features.mean_dim(2).mean_dim(3).flatten(1, 3));
        [digits, shade]
    }

    /// The model with a reader of `widths` channels, the strongest of those there are, and its configuration.
    pub fn with_pruned_reader(
        self,
        config: &MeterConfig,
        widths: &[usize],
    ) -> Result<(Self, MeterConfig), Error> {
        let pruned = prune(&self.reader, widths, Ranking::L1)?;
        let config = MeterConfig {
            reader: pruned.network.structure(),
            ..config.clone()
        };
        Ok((
            Self {
                reader: pruned.network,
                ..self
            },
            config,
        ))
    }
}
