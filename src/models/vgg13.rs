//! VGG-13, for CIFAR-10.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{
    FullPrecision, Network, NetworkConfig, Widths, check_classes, check_dropout, check_widths, exactly,
    first_size,
};
use crate::Error;
use crate::quant::{
    Activation, Bits, QuantConv2d, QuantConv2dConfig, QuantLinear, QuantLinearConfig, WeightQuantizer,
    norm_pool_act,
};

/// Side of the square pictures the network reads.
const INPUT: usize = 32;
const CONVS: usize = 10;

/// Configuration of a [`Vgg13`].
///
/// ```
/// use burn::tensor::Device;
/// use vwc_sdk::models::{NetworkConfig, Vgg13Config};
///
/// let widths = [8, 8, 16, 16, 32, 32, 64, 64, 64, 64];
/// let network = Vgg13Config::new().with_widths(widths).with_hidden([64, 64]).init(&Device::default());
/// assert_eq!(network.convs.len(), 10);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Vgg13Config {
    /// Output channels of the ten convolutions. Default: as published.
    #[config(default = "[64, 64, 128, 128, 256, 256, 512, 512, 512, 512]")]
    pub widths: [usize; 10],
    /// Features between the three linear layers. Default: 512 each.
    #[config(default = "[512, 512]")]
    pub hidden: [usize; 2],
    /// Bits of the weights of convolutions 2 to 10 and of the first two linear layers. Default: 2.
    #[config(default = "Bits::TWO")]
    pub weight_bits: Bits,
    /// Bits of the activations between them. Default: 2.
    #[config(default = "Bits::TWO")]
    pub activation_bits: Bits,
    /// Whether anything is quantised; without it the network has ReLUs and plain layers. Default: yes.
    #[config(default = true)]
    pub quantized: bool,
    /// What it is where nothing is quantised. Default: the twin.
    #[config(default = "FullPrecision::Twin")]
    pub full_precision: FullPrecision,
    /// Classes told apart. Default: the ten of CIFAR-10.
    #[config(default = 10)]
    pub classes: usize,
    /// Share of the features dropped in training after each hidden layer; as published in full precision, before the
    /// first and after it. Default: 0.5.
    #[config(default = 0.5)]
    pub dropout: f64,
}

/// VGG-13 for pictures of 3x32x32: ten 3x3 convolutions, an activation after each and a 2x2 max-pool after each pair, and
/// three linear layers (Simonyan, Zisserman; ICLR 2015, configuration B; in the form of VWC-SDK's scripts, without batch
/// norms).
///
/// The first convolution and the last linear layer stay in full precision and carry a bias; all others are quantised and
/// carry none. As published in full precision there is no bias at all.
#[derive(Module, Debug)]
pub struct Vgg13 {
    /// The ten convolutions.
    pub convs: Vec<QuantConv2d>,
    /// The two hidden linear layers.
    pub hidden: Vec<QuantLinear>,
    act: Activation,
    dropout: Dropout,
    /// The classifier.
    pub linear: Linear,
    #[module(skip)]
    config: Vgg13Config,
}

impl NetworkConfig for Vgg13Config {
    type Network = Vgg13;

    const NAME: &'static str = "VGG-13";

    fn init(&self, device: &Device) -> Vgg13 {
        let (quantizer, act, input_bits) = if self.quantized {
            (
                WeightQuantizer::dorefa(self.weight_bits),
                Activation::quantized(self.activation_bits),
                Some(self.activation_bits),
            )
        } else {
            (WeightQuantizer::Identity, Activation::relu(), None)
        };
        let published = self.published();
        let inputs = std::iter::once(3).chain(self.widths);
        let convs = inputs.zip(self.widths).enumerate().map(|(n, (inputs, outputs))| {
            let conv = QuantConv2dConfig::new([inputs, outputs], [3, 3]).with_padding([1, 1]);
            match n {
                0 => conv.with_bias(!published),
                _ => conv.with_quantizer(quantizer).with_input_bits(input_bits),
            }
            .init(device)
        });
        let [first, second] = self.hidden;
        let hidden = [(self.widths[CONVS - 1], first), (first, second)].map(|(inputs, outputs)| {
            QuantLinearConfig::new(inputs, outputs)
                .with_bias(false)
                .with_quantizer(quantizer)
                .init(device)
        });
        Vgg13 {
            convs: convs.collect(),
            hidden: hidden.into(),
            act,
            dropout: DropoutConfig::new(self.dropout).init(),
            linear: LinearConfig::new(second, self.classes)
                .with_bias(!published)
                .init(device),
            config: self.clone(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        check_widths(Self::NAME, &self.widths)?;
        check_widths(Self::NAME, &self.hidden)?;
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

    fn full_precision(&self) -> Option<FullPrecision> {
        (!self.quantized).then_some(self.full_precision)
    }

    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self {
        let [first, second] = self.hidden;
        let width = |n: usize| first_size(shape, &format!("convs.{n}.weight"), self.widths[n]);
        let outputs = |path: &str, otherwise| {
            let size = shape(path).and_then(|shape| shape.last().copied());
            size.unwrap_or(otherwise)
        };
        let mut fitted = (self.clone())
            .with_widths(std::array::from_fn(width))
            .with_hidden([
                outputs("hidden.0.weight", first),
                outputs("hidden.1.weight", second),
            ])
            .with_classes(outputs("linear.weight", self.classes));
        // The twin has a bias in its first convolution.
        if !self.quantized && shape("convs.0.bias").is_none() {
            fitted.full_precision = FullPrecision::Published;
        }
        fitted
    }
}

impl Widths for Vgg13Config {
    fn widths(&self) -> Vec<usize> {
        self.widths.to_vec()
    }

    fn resized(&self, widths: &[usize]) -> Result<Self, Error> {
        let config = self.clone().with_widths(exactly(Self::NAME, widths)?);
        config.validate()?;
        Ok(config)
    }
}

impl Vgg13Config {
    /// Whether it is the one that is published in full precision.
    fn published(&self) -> bool {
        !self.quantized && self.full_precision == FullPrecision::Published
    }
}

/// Whether a pool follows convolution `n`, counted from 0.
fn pooled(n: usize) -> bool {
    n % 2 == 1
}

impl Network for Vgg13 {
    type Config = Vgg13Config;

    fn config(&self) -> &Vgg13Config {
        &self.config
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut x = images;
        for (n, conv) in self.convs.iter().enumerate() {
            x = norm_pool_act(conv.forward(x), None, false, &self.act);
            if pooled(n) {
                // After the activation, where it counts which of several equal ones gets the gradient.
                x = norm_pool_act(x, None, true, &Activation::identity());
            }
        }
        let mut x = x.flatten::<2>(1, 3);
        if self.config.published() {
            x = self.hidden[0].forward(self.dropout.forward(x));
            x = self.dropout.forward(self.act.forward(x));
            x = self.hidden[1].forward(x);
        } else {
            for hidden in &self.hidden {
                x = self.dropout.forward(self.act.forward(hidden.forward(x)));
            }
        }
        self.linear.forward(x)
    }
}
