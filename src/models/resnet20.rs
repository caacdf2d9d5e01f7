//! ResNet-20, published on CIFAR-10, with its residual blocks in either order.

use burn::config::Config;
use burn::module::{Initializer, Module};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{FullPrecision, Network, NetworkConfig, Widths, check_classes, check_widths, first_size};
use crate::Error;
use crate::quant::{Activation, Bits, QuantConv2d, QuantConv2dConfig, WeightQuantizer, norm_pool_act};

/// Side of the square pictures the network reads.
const INPUT: usize = 32;
const STAGES: usize = 3;
/// Residual blocks of a stage.
pub(crate) const BLOCKS: usize = 3;

/// Where a residual block normalises and activates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BlockOrder {
    /// As in VWC-SDK: quantised, activation before each convolution and a batch norm after the addition; in full
    /// precision, the basic block of He et al. (CVPR 2016)
    Original,
    /// Batch norm, activation, convolution, twice, added to a shortcut that nothing rounds (He et al., ECCV 2016; at
    /// low bits as in Liu et al., "Bi-Real Net", ECCV 2018)
    PreActivation,
}

/// Configuration of a [`ResNet20`].
///
/// ```
/// use burn::tensor::Device;
/// use vwc_sdk::models::{Network, NetworkConfig, ResNet20Config};
///
/// let network = ResNet20Config::new().with_widths([16, 32, 64]).init(&Device::default());
/// assert_eq!(network.blocks.len(), 9);
/// assert_eq!(network.num_trainable_params(), 272_474);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct ResNet20Config {
    /// Channels of the three stages, those that the residual additions run over. Default: 64, 128, 256, as in VWC-SDK.
    #[config(default = "[64, 128, 256]")]
    pub widths: [usize; 3],
    /// Channels between the two convolutions of each of the nine blocks. Default: as many as the block's stage has.
    #[config(default = "None")]
    pub inner: Option<[usize; 9]>,
    /// Where a block normalises and activates. Default: as in VWC-SDK.
    #[config(default = "BlockOrder::Original")]
    pub order: BlockOrder,
    /// Bits of the weights of the eighteen convolutions in blocks. Default: 2.
    #[config(default = "Bits::TWO")]
    pub weight_bits: Bits,
    /// Bits of their inputs. Default: 2.
    #[config(default = "Bits::TWO")]
    pub activation_bits: Bits,
    /// Whether anything is quantised; without it the network has ReLUs and plain convolutions. Default: yes.
    #[config(default = true)]
    pub quantized: bool,
    /// What it is where nothing is quantised. Default: the twin.
    #[config(default = "FullPrecision::Twin")]
    pub full_precision: FullPrecision,
    /// Classes told apart. Default: the ten of CIFAR-10.
    #[config(default = 10)]
    pub classes: usize,
}

/// ResNet-20 for pictures of 3x32x32: a convolution, nine residual blocks in three stages, and a linear layer (He et al.,
/// CVPR 2016; quantised as in VWC-SDK: Rhe, Moon, Ko; JETCAS 2022).
///
/// The first convolution, the 1x1 convolutions on shortcuts where stride or width change, and the linear layer stay in
/// full precision. No convolution carries a bias.
#[derive(Module, Debug)]
pub struct ResNet20 {
    /// The first convolution.
    pub conv: QuantConv2d,
    /// Its batch norm; with pre-activation, and as published in full precision, there is none.
    pub norm: Option<BatchNorm>,
    /// The nine blocks.
    pub blocks: Vec<ResidualBlock>,
    /// With pre-activation, the batch norm after the last block.
    pub last_norm: Option<BatchNorm>,
    /// The classifier.
    pub linear: Linear,
    #[module(skip)]
    config: ResNet20Config,
}

/// A residual block of a [`ResNet20`].
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// The first convolution, which has the block's stride.
    pub conv0: QuantConv2d,
    /// The batch norm behind it; with pre-activation the one in front. As published in full precision nothing passes it:
    /// it is there because it is in files.
    pub norm0: BatchNorm,
    /// The second convolution.
    pub conv1: QuantConv2d,
    /// The batch norm behind it, in a quantised block after the addition; with pre-activation, and as published in full
    /// precision, the one in front.
    pub norm1: BatchNorm,
    /// What the input passes on its way around, where stride or width change.
    pub shortcut: Option<Shortcut>,
    act: Activation,
}

/// A 1x1 convolution in full precision and its batch norm, past a [`ResidualBlock`].
#[derive(Module, Debug)]
pub struct Shortcut {
    /// The convolution.
    pub conv: QuantConv2d,
    /// Its batch norm.
    pub norm: BatchNorm,
}

/// The ways a block is put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Quantized,
    Twin,
    Published,
    PreActivation,
}

impl Form {
    /// Whether a block's batch norms have the widths that its convolutions read, not those that they write.
    fn norms_first(self) -> bool {
        matches!(self, Self::Published | Self::PreActivation)
    }
}

impl NetworkConfig for ResNet20Config {
    type Network = ResNet20;

    const NAME: &'static str = "ResNet-20";

    fn init(&self, device: &Device) -> ResNet20 {
        let form = self.form();
        let norms_first = form.norms_first();
        let norm = |width| BatchNormConfig::new(width).init(device);
        let inner = self.inner_widths();
        let mut inputs = self.widths[0];
        let blocks = (0..STAGES * BLOCKS).map(|index| {
            let (outputs, inner) = (self.widths[index / BLOCKS], inner[index]);
            let stride = stride(index);
            let shortcut = (stride > 1 || inputs != outputs).then(|| Shortcut {
                conv: conv([inputs, outputs], 1, stride).init(device),
                norm: norm(outputs),
            });
            let block = ResidualBlock {
                conv0: self.quantised(conv([inputs, inner], 3, stride)).init(device),
                norm0: norm(if norms_first { inputs } else { inner }),
                conv1: self.quantised(conv([inner, outputs], 3, 1)).init(device),
                norm1: norm(if norms_first { inner } else { outputs }),
                shortcut,
                act: if self.quantized {
                    Activation::quantized(self.activation_bits)
                } else {
                    Activation::relu()
                },
            };
            inputs = outputs;
            block
        });
        ResNet20 {
            conv: conv([3, self.widths[0]], 3, 1).init(device),
            norm: (!norms_first).then(|| norm(self.widths[0])),
            blocks: blocks.collect(),
            last_norm: (form == Form::PreActivation).then(|| norm(self.widths[2])),
            linear: LinearConfig::new(self.widths[2], self.classes).init(device),
            config: self.clone(),
        }
    }

    fn validate(&self) -> Result<(), Error> {
        check_widths(Self::NAME, &self.widths())?;
        check_classes(Self::NAME, self.classes)?;
        let full = !self.quantized && self.full_precision == FullPrecision::Published;
        if full && self.order == BlockOrder::PreActivation {
            return Err(Error::Structure {
                network: Self::NAME.into(),
                reason: "as published in full precision its blocks have an order of their own, and pre-activation \
                         is another: choose one of the two"
                    .into(),
            });
        }
        Ok(())
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
        let width = |block: usize, conv: &str, otherwise| {
            first_size(shape, &format!("blocks.{block}.{conv}.weight"), otherwise)
        };
        let inner = self.inner_widths();
        let stages = std::array::from_fn(|stage| width(stage * BLOCKS, "conv1", self.widths[stage]));
        let inner = std::array::from_fn(|block| width(block, "conv0", inner[block]));
        let mut fitted = (self.clone())
            .with_all_widths(stages, inner)
            .with_classes(first_size(shape, "linear.bias", self.classes));
        // The twin has a batch norm behind its first convolution; of one of which something is missing, that is told later.
        let vectors = ["gamma", "beta", "running_mean", "running_var"];
        let normalized = vectors
            .iter()
            .any(|vector| shape(&format!("norm.{vector}")).is_some());
        if !self.quantized && self.order == BlockOrder::Original && !normalized {
            fitted.full_precision = FullPrecision::Published;
        }
        fitted
    }
}

impl Widths for ResNet20Config {
    /// Of each stage first the width that the additions run over, then the inner ones of its blocks.
    fn widths(&self) -> Vec<usize> {
        let inner = self.inner_widths();
        (0..STAGES)
            .flat_map(|stage| {
                let blocks = inner[stage * BLOCKS..][..BLOCKS].iter().copied();
                std::iter::once(self.widths[stage]).chain(blocks)
            })
            .collect()
    }

    /// Of three widths, the blocks are as wide inside as their stage.
    fn resized(&self, widths: &[usize]) -> Result<Self, Error> {
        let all: Vec<usize> = match widths.len() {
            STAGES => widths.iter().flat_map(|&width| [width; 1 + BLOCKS]).collect(),
            _ => widths.to_vec(),
        };
        if all.len() != STAGES * (1 + BLOCKS) {
            return Err(Error::Structure {
                network: Self::NAME.into(),
                reason: format!(
                    "{} widths, {widths:?}: expected {STAGES}, of its stages, or {}, of each stage and then of its blocks",
                    widths.len(),
                    STAGES * (1 + BLOCKS)
                ),
            });
        }
        let stages = [0, 1, 2].map(|stage| all[stage * (1 + BLOCKS)]);
        let inner = std::array::from_fn(|block| all[block + block / BLOCKS + 1]);
        let config = self.clone().with_all_widths(stages, inner);
        config.validate()?;
        Ok(config)
    }
}

impl ResNet20Config {
    fn form(&self) -> Form {
        match (self.order, self.quantized) {
            (BlockOrder::PreActivation, _) => Form::PreActivation,
            (BlockOrder::Original, true) => Form::Quantized,
            (BlockOrder::Original, false) => match self.full_precision {
                FullPrecision::Twin => Form::Twin,
                FullPrecision::Published => Form::Published,
            },
        }
    }

    /// With blocks of these widths inside stages of these.
    fn with_all_widths(self, widths: [usize; STAGES], inner: [usize; STAGES * BLOCKS]) -> Self {
        let as_wide = |(block, &inner): (usize, &usize)| inner == widths[block / BLOCKS];
        Self {
            widths,
            inner: (!inner.iter().enumerate().all(as_wide)).then_some(inner),
            ..self
        }
    }

    fn inner_widths(&self) -> [usize; 9] {
        self.inner
            .unwrap_or_else(|| std::array::from_fn(|block| self.widths[block / BLOCKS]))
    }

    /// A convolution inside a block.
    fn quantised(&self, conv: QuantConv2dConfig) -> QuantConv2dConfig {
        if !self.quantized {
            return conv;
        }
        conv.with_quantizer(WeightQuantizer::dorefa(self.weight_bits))
            .with_input_bits(Some(self.activation_bits))
    }
}

/// The first block of stages 2 and 3 halves the feature maps.
fn stride(block: usize) -> usize {
    if block > 0 && block.is_multiple_of(BLOCKS) {
        2
    } else {
        1
    }
}

/// A square convolution that keeps the size of the feature maps but for its stride, initialised as published.
fn conv(channels: [usize; 2], kernel: usize, stride: usize) -> QuantConv2dConfig {
    QuantConv2dConfig::new(channels, [kernel; 2])
        .with_stride([stride; 2])
        .with_padding([kernel / 2; 2])
        .with_initializer(Initializer::KaimingNormal {
            gain: 2f64.sqrt(),
            fan_out_only: true,
        })
}

/// A batch norm and nothing behind it.
fn normalise(x: Tensor<4>, norm: &BatchNorm) -> Tensor<4> {
    norm_pool_act(x, Some(norm), false, &Activation::identity())
}

impl ResidualBlock {
    fn forward(&self, x: Tensor<4>, form: Form) -> Tensor<4> {
        let around = match &self.shortcut {
            None => x.clone(),
            Some(shortcut) => normalise(shortcut.conv.forward(x.clone()), &shortcut.norm),
        };
        let norm_act = |x, norm| norm_pool_act(x, Some(norm), false, &self.act);
        let act = |x| norm_pool_act(x, None, false, &self.act);
        match form {
            Form::Quantized => {
                let y = norm_act(self.conv0.forward(act(x)), &self.norm0);
                normalise(self.conv1.forward(y) + around, &self.norm1)
            }
            Form::Twin => {
                let y = norm_act(self.conv0.forward(x), &self.norm0);
                act(normalise(self.conv1.forward(y), &self.norm1) + around)
            }
            Form::Published => {
                let y = norm_act(self.conv0.forward(x), &self.norm1);
                act(self.conv1.forward(y) + around)
            }
            Form::PreActivation => {
                let y = self.conv0.forward(norm_act(x, &self.norm0));
                self.conv1.forward(norm_act(y, &self.norm1)) + around
            }
        }
    }
}

impl Network for ResNet20 {
    type Config = ResNet20Config;

    fn config(&self) -> &ResNet20Config {
        &self.config
    }

    /// As published in full precision nothing passes the first batch norm of a block, so pruning does not know whose channels it
    /// has: those that its block reads.
    fn refit(&mut self) {
        if self.config.form() == Form::Published {
            for block in &mut self.blocks {
                let inputs = block.conv0.weight.dims()[1];
                if block.norm0.gamma.dims() != [inputs] {
                    block.norm0 = BatchNormConfig::new(inputs).init(&block.conv0.weight.device());
                }
            }
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let form = self.config.form();
        let first_act = match form {
            Form::Twin => Activation::relu(),
            Form::Quantized | Form::Published | Form::PreActivation => Activation::identity(),
        };
        let mut x = self.conv.forward(images);
        if let Some(norm) = &self.norm {
            x = norm_pool_act(x, Some(norm), false, &first_act);
        }
        for block in &self.blocks {
            x = block.forward(x, form);
        }
        if let Some(norm) = &self.last_norm {
            x = norm_pool_act(x, Some(norm), false, &Activation::relu());
        }
        let features = x.mean_dim(3).mean_dim(2).flatten(1, 3);
        self.linear.forward(features)
    }
}
