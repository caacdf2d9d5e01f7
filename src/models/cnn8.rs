//! CNN-8, published on SVHN.

use burn::config::Config;
use burn::module::Module;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};

use super::{Network, NetworkConfig, TorchName, check_classes, check_dropout, check_widths, torch};
use crate::Error;
use crate::mapping::ConvLayer;
use crate::module::ChannelGroup;
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
}

impl NetworkConfig for Cnn8Config {
    type Network = Cnn8;

    const NAME: &'static str = "CNN-8";
    const INPUT: [usize; 2] = [INPUT, INPUT];

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
        }
    }

    fn widths(&self) -> Vec<usize> {
        self.widths.to_vec()
    }

    fn resized(&self, widths: &[usize]) -> Result<Self, Error> {
        let widths: [usize; 7] = widths.try_into().map_err(|_| Error::Widths {
            network: Self::NAME,
            expected: STAGES.len(),
            found: widths.to_vec(),
        })?;
        let config = Self {
            widths,
            ..self.clone()
        };
        config.validate()?;
        Ok(config)
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

    fn fitted(&self, shape: &dyn Fn(&str) -> Option<Vec<usize>>) -> Self {
        let classes = shape("linear.bias").and_then(|shape| shape.first().copied());
        self.clone().with_classes(classes.unwrap_or(self.classes))
    }
}

impl Network for Cnn8 {
    type Config = Cnn8Config;

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

    fn conv_layers(&self) -> Vec<ConvLayer> {
        let mut side = INPUT;
        (STAGES.iter().zip(&self.convs).enumerate())
            .map(|(n, (stage, conv))| {
                let [out_channels, in_channels, kernel_h, kernel_w] = conv.weight.dims();
                let input = side;
                side = side + 2 * stage.padding - stage.kernel + 1;
                if stage.pool {
                    side /= 2;
                }
                ConvLayer {
                    name: format!("conv{}", n + 1),
                    input: [input, input],
                    kernel: [kernel_h, kernel_w],
                    stride: conv.stride,
                    padding: conv.padding.into(),
                    dilation: [1, 1],
                    groups: 1,
                    in_channels,
                    out_channels,
                }
            })
            .collect()
    }

    fn convolutions(&self) -> Vec<(String, &QuantConv2d)> {
        (self.convs.iter().enumerate())
            .map(|(n, conv)| (format!("convs.{n}"), conv))
            .collect()
    }

    fn channel_groups(&self) -> Vec<ChannelGroup> {
        let mut norm = 0;
        (STAGES.iter().zip(&self.convs).enumerate())
            .map(|(n, (stage, conv))| {
                let mut group = ChannelGroup::new(format!("conv{}", n + 1), conv.weight.dims()[0])
                    .with_producer(&format!("convs.{n}"));
                if conv.bias.is_some() {
                    group = group.with_slice(format!("convs.{n}.bias"), 0);
                }
                if stage.norm {
                    group = group.with_batch_norm(&format!("norms.{norm}"));
                    norm += 1;
                }
                // The last convolution leaves one output position, so a channel is one input feature of the classifier.
                if n + 1 < STAGES.len() {
                    group.with_reader(&format!("convs.{}", n + 1))
                } else {
                    group.with_slice("linear.weight", 0)
                }
            })
            .collect()
    }

    fn torch_names(&self) -> Vec<TorchName> {
        // Places in the original's `nn.Sequential`, in which pools, activations and the dropout count too.
        const CONVS: [usize; 7] = [0, 3, 6, 10, 13, 16, 20];
        let mut names = Vec::new();
        for (n, (stage, place)) in STAGES.iter().zip(CONVS).enumerate() {
            let conv = format!("convs.{n}");
            names.extend(torch::convolution(
                &conv,
                &format!("layers.{place}"),
                self.convs[n].bias.is_some(),
            ));
            if stage.norm {
                names.extend(torch::batch_norm(
                    &format!("norms.{}", n - 1),
                    &format!("layers.{}", place + 1),
                ));
            }
        }
        names.extend(torch::linear("linear", "fc", true));
        names
    }
}
