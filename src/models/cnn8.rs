//! CNN-8, published on SVHN.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{
    Network, NetworkConfig, Widths, check_classes, check_dropout, check_widths, exactly, first_size,
};
use crate::Error;
use crate::quant::{
    Activation, Bits, QuantConv2d, QuantConv2dConfig, WeightQuantizer, conv_norm_pool_act, dropout,
};

/// Side of the square pictures the network reads.
const INPUT: usize = 40;

/// What distinguishes one of the seven convolutions, widths aside.
struct Stage {
    kernel: usize,
    padding: usize,
    /// A batch norm follows.
    norm: bool,
    /// A 2x2 max-pool follows, before the activation.
    pool: bool,
}

const fn stage(kernel: usize, padding: usize, norm: bool, pool: bool) -> Stage {
    Stage {
        kernel,
        padding,
        norm,
        pool,
    }
}

const STAGES: [Stage; 7] = [
    stage(5, 0, false, true),
    stage(3, 1, true, false),
    stage(3, 1, true, true),
    stage(3, 0, true, false),
    stage(3, 1, true, false),
    stage(3, 0, true, false),
    stage(5, 0, false, false),
];

/// Configuration of a [`Cnn8`].
///
/// ```
/// use burn::tensor::Device;
/// use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
///
/// let network = Cnn8Config::new().init(&Device::default());
/// assert_eq!(network.num_trainable_params(), 522_794);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Cnn8Config {
    /// Output channels of the seven convolutions. Default: as published.
    #[config(default = "[24, 32, 32, 64, 64, 64, 256]")]
    pub widths: [usize; 7],
    /// Bits of the weights of convolutions 2 to 7. Default: 1.
    #[config(default = "Bits::ONE")]
    pub weight_bits: Bits,
    /// Bits of the activations between them. Default: 1.
    #[config(default = "Bits::ONE")]
    pub activation_bits: Bits,
    /// Whether anything is quantised; without it the network is the full-precision twin, with ReLUs and plain
    /// convolutions. Default: yes.
    #[config(default = true)]
    pub quantized: bool,
    /// Classes told apart. Default: the ten digits.
    #[config(default = 10)]
    pub classes: usize,
    /// Share of the last features dropped in training. Default: 0.5.
    #[config(default = 0.5)]
    pub dropout: f64,
}

/// CNN-8: seven convolutions and a linear layer for pictures of 3x40x40 (VWC-SDK: Rhe, Moon, Ko; JETCAS 2022).
///
/// The first convolution and the linear layer stay in full precision; convolutions 2 to 7 are quantised and carry no
/// bias.
#[derive(Module, Debug)]
pub struct Cnn8 {
    /// The seven convolutions.
    pub convs: Vec<QuantConv2d>,
    /// The batch norms of convolutions 2 to 6.
    pub norms: Vec<BatchNorm>,
    act: Activation,
    last_act: Activation,
    dropout: Dropout,
    /// The classifier.
    pub linear: Linear,
    #[module(skip)]
    config: Cnn8Config,
}

impl NetworkConfig for Cnn8Config {
    type Network = Cnn8;

    const NAME: &'static str = "CNN-8";

    fn init(&self, device: &Device) -> Cnn8 {
        let (quantizer, act, last_act) = if self.quantized {
            (
                WeightQuantizer::dorefa(self.weight_bits),
                Activation::quantized(self.activation_bits),
                Activation::clamp(),
            )
        } else {
            (WeightQuantizer::Identity, Activation::relu(), Activation::relu())
        };
        let mut inputs = 3;
        let convs = STAGES
            .iter()
            .zip(self.widths)
            .enumerate()
            .map(|(n, (stage, outputs))| {
                let first = n == 0;
                let conv = QuantConv2dConfig::new([inputs, outputs], [stage.kernel; 2])
                    .with_padding([stage.padding; 2])
                    .with_bias(first)
                    .with_quantizer(if first {
                        WeightQuantizer::Identity
                    } else {
                        quantizer
                    })
                    .with_input_bits((self.quantized && !first).then_some(self.activation_bits))
                    .init(device);
                inputs = outputs;
                conv
            });
        Cnn8 {
            convs: convs.collect(),
            norms: (STAGES.iter().zip(self.widths))
                .filter(|(stage, _)| stage.norm)
                .map(|(_, width)| BatchNormConfig::new(width).init(device))
                .collect(),
            act,
            last_act,
            dropout: DropoutConfig::new(self.dropout).init(),
            linear: LinearConfig::new(self.widths[6], self.classes).init(device),
            config: self.clone(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        check_widths(Self::NAME, &self.widths)?;
        check_classes(Self::NAME, self.classes)?;
        check_dropout(Self::NAME, self.dropout)
    }

    fn bits(&self) -> Option<[Bits; 2]> {
        self.quantized.then_some([self.weight_bits, self.activation_bits])
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn input(&self) -> [usize; 2] {
        [INPUT; 2]
    }

    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self {
        let width = |n: usize| first_size(shape, &format!("convs.{n}.weight"), self.widths[n]);
        self.clone()
            .with_widths(std::array::from_fn(width))
            .with_classes(first_size(shape, "linear.bias", self.classes))
    }
}

impl Widths for Cnn8Config {
    fn widths(&self) -> Vec<usize> {
        self.widths.to_vec()
    }

    fn resized(&self, widths: &[usize]) -> Result<Self, Error> {
        let config = self.clone().with_widths(exactly(Self::NAME, widths)?);
        config.validate()?;
        Ok(config)
    }
}

impl Network for Cnn8 {
    type Config = Cnn8Config;

    fn config(&self) -> &Cnn8Config {
        &self.config
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let last = STAGES.len() - 1;
        let mut norms = self.norms.iter();
        let mut x = images;
        for (n, (stage, conv)) in STAGES.iter().zip(&self.convs).enumerate() {
            if n == last {
                x = dropout(x, &self.dropout);
            }
            let norm = (stage.norm).then(|| norms.next().expect("a norm per stage that has one"));
            let act = if n == last { &self.last_act } else { &self.act };
            x = conv_norm_pool_act(x, conv, norm, stage.pool, act);
        }
        self.linear.forward(x.flatten(1, 3))
    }
}
