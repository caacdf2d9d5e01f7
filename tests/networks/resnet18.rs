//! ResNet-18: basic blocks, and 1x1 convolutions with batch norm where a shortcut changes the shape.
//! Deep Residual Learning for Image Recognition (He et al., 2015, arXiv 1512.03385).

use burn::config::Config;
use burn::module::Module;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, around, scaled};

#[derive(Module, Debug)]
pub struct ResNet18 {
    stem: ConvNorm,
    pool: MaxPool2d,
    blocks: Vec<BasicBlock>,
    average: AdaptiveAvgPool2d,
    head: Linear,
}

#[derive(Module, Debug)]
struct BasicBlock {
    first: ConvNorm,
    second: ConvNorm,
    shortcut: Option<ConvNorm>,
}

#[derive(Config, Debug)]
pub struct ResNet18Config {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.125)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl ResNet18Config {
    pub fn init(&self, device: &Device) -> ResNet18 {
        let mut inputs = scaled(64, self.width);
        let stem = ConvNormConfig::new([3, inputs], 7).with_stride(2).init(device);
        let mut blocks = Vec::new();
        for (channels, stride) in [(64, 1), (128, 2), (256, 2), (512, 2)] {
            let outputs = scaled(channels, self.width);
            for stride in [stride, 1] {
                blocks.push(BasicBlock::new([inputs, outputs], stride, device));
                inputs = outputs;
            }
        }
        ResNet18 {
            stem,
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(around(1))
                .init(),
            blocks,
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            head: LinearConfig::new(inputs, self.classes).init(device),
        }
    }
}

impl ResNet18 {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.pool.forward(relu(self.stem.forward(x)));
        for block in &self.blocks {
            x = block.forward(x);
        }
        self.head.forward(self.average.forward(x).flatten(1, 3))
    }
}

impl BasicBlock {
    fn new([inputs, outputs]: [usize; 2], stride: usize, device: &Device) -> Self {
        let conv = |inputs, side| ConvNormConfig::new([inputs, outputs], side);
        let changes = stride != 1 || inputs != outputs;
        Self {
            first: conv(inputs, 3).with_stride(stride).init(device),
            second: conv(outputs, 3).init(device),
            shortcut: changes.then(|| conv(inputs, 1).with_stride(stride).init(device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.second.forward(relu(self.first.forward(x.clone())));
        let x = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x),
            None => x,
        };
        relu(y + x)
    }
}
