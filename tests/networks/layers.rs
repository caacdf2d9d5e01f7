//! Layers that several of the networks share, as a user of Burn would write them.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor};

/// `channels` of the published network at a width: even, and at least 4.
pub fn scaled(channels: usize, width: f64) -> usize {
    let half = (channels as f64 * width / 2.0).round() as usize;
    (2 * half).max(4)
}

/// The same padding on all four sides.
pub fn around(size: usize) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(size, size, size, size)
}

/// A square convolution of stride 1 that keeps the size of the map, with a bias.
pub fn conv(channels: [usize; 2], side: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(channels, [side, side])
        .with_padding(around(side / 2))
        .init(device)
}

/// A convolution without bias and its batch norm.
#[derive(Module, Debug)]
pub struct ConvNorm {
    pub conv: Conv2d,
    pub norm: BatchNorm,
}

#[derive(Config, Debug)]
pub struct ConvNormConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// The side of the kernel. The padding is half of it.
    pub side: usize,
    #[config(default = 1)]
    pub stride: usize,
    #[config(default = 1)]
    pub groups: usize,
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl ConvNormConfig {
    /// A depthwise convolution.
    pub fn depthwise(channels: usize, side: usize) -> Self {
        Self::new([channels, channels], side).with_groups(channels)
    }

    pub fn init(&self, device: &Device) -> ConvNorm {
        ConvNorm {
            conv: Conv2dConfig::new(self.channels, [self.side, self.side])
                .with_stride([self.stride, self.stride])
                .with_padding(around(self.side / 2))
                .with_groups(self.groups)
                .with_bias(false)
                .init(device),
            norm: BatchNormConfig::new(self.channels[1])
                .with_epsilon(self.epsilon)
                .init(device),
        }
    }
}

impl ConvNorm {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.norm.forward(self.conv.forward(x))
    }
}

/// A function that works element by element.
pub type Activation = fn(Tensor<4>) -> Tensor<4>;

/// Squeeze and excite: gates for channels, computed from their means.
#[derive(Module, Debug)]
pub struct SqueezeExcite {
    average: AdaptiveAvgPool2d,
    reduce: Conv2d,
    expand: Conv2d,
}

impl SqueezeExcite {
    pub fn new(channels: usize, squeezed: usize, device: &Device) -> Self {
        Self {
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            reduce: conv([channels, squeezed], 1, device),
            expand: conv([squeezed, channels], 1, device),
        }
    }

    pub fn forward(&self, x: Tensor<4>, activation: Activation, gate: Activation) -> Tensor<4> {
        let y = activation(self.reduce.forward(self.average.forward(x.clone())));
        x * gate(self.expand.forward(y))
    }
}
