//! DenseNet with bottlenecks: every layer reads all before it, norms come before convolutions, transitions halve the map.
//! Densely Connected Convolutional Networks (Huang et al., 2016, arXiv 1608.06993).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, AvgPool2d, AvgPool2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, around};

#[derive(Module, Debug)]
pub struct DenseNet {
    stem: ConvNorm,
    pool: MaxPool2d,
    blocks: Vec<Vec<DenseLayer>>,
    transitions: Vec<Transition>,
    norm: BatchNorm,
    average: AdaptiveAvgPool2d,
    head: Linear,
}

#[derive(Module, Debug)]
struct DenseLayer {
    bottleneck: NormConv,
    grow: NormConv,
}

#[derive(Module, Debug)]
struct Transition {
    conv: NormConv,
    pool: AvgPool2d,
}

/// Batch norm, ReLU and a convolution, in this order.
#[derive(Module, Debug)]
struct NormConv {
    norm: BatchNorm,
    conv: Conv2d,
}

#[derive(Config, Debug)]
pub struct DenseNetConfig {
    /// Channels that every layer adds. The published network has 32.
    #[config(default = 4)]
    pub growth: usize,
    /// Layers of each of the four blocks. DenseNet-121 has 6, 12, 24 and 16.
    #[config(default = "[2, 3, 4, 3]")]
    pub layers: [usize; 4],
    #[config(default = 10)]
    pub classes: usize,
}

impl DenseNetConfig {
    pub fn init(&self, device: &Device) -> DenseNet {
        let mut channels = 2 * self.growth;
        let stem = ConvNormConfig::new([3, channels], 7).with_stride(2).init(device);
        let (mut blocks, mut transitions) = (Vec::new(), Vec::new());
        for (n, &layers) in self.layers.iter().enumerate() {
            let mut block = Vec::new();
            for _ in 0..layers {
                block.push(DenseLayer {
                    bottleneck: NormConv::new([channels, 4 * self.growth], 1, device),
                    grow: NormConv::new([4 * self.growth, self.growth], 3, device),
                });
                channels += self.growth;
            }
            blocks.push(block);
            if n + 1 < self.layers.len() {
                transitions.push(Transition {
                    conv: NormConv::new([channels, channels / 2], 1, device),
                    pool: AvgPool2dConfig::new([2, 2]).init(),
                });
                channels /= 2;
            }
        }
        DenseNet {
            stem,
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(around(1))
                .init(),
            blocks,
            transitions,
            norm: BatchNormConfig::new(channels).init(device),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(channels, self.classes).init(device),
        }
    }
}

impl DenseNet {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.pool.forward(relu(self.stem.forward(x)));
        for (n, block) in self.blocks.iter().enumerate() {
            let mut parts = vec![x];
            for layer in block {
                parts.push(layer.forward(Tensor::cat(parts.clone(), 1)));
            }
            x = Tensor::cat(parts, 1);
            if let Some(transition) = self.transitions.get(n) {
                x = transition.pool.forward(transition.conv.forward(x));
            }
        }
        let x = self.average.forward(relu(self.norm.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }
}

impl DenseLayer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.grow.forward(self.bottleneck.forward(x))
    }
}

impl NormConv {
    fn new(channels: [usize; 2], side: usize, device: &Device) -> Self {
        Self {
            norm: BatchNormConfig::new(channels[0]).init(device),
            conv: Conv2dConfig::new(channels, [side, side])
                .with_padding(around(side / 2))
                .with_bias(false)
                .init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.conv.forward(relu(self.norm.forward(x)))
    }
}
