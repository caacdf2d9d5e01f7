//! EfficientNet-B0: inverted residuals with squeeze and excite and SiLU. Stochastic depth, for training alone, is left out.
//! EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan and Le, 2019, arXiv 1905.11946).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::{sigmoid, silu};
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, SqueezeExcite, scaled};

/// Expansion, side of the kernel, channels, blocks and stride of the first.
const STAGES: [(usize, usize, usize, usize, usize); 7] = [
    (1, 3, 16, 1, 1),
    (6, 3, 24, 2, 2),
    (6, 5, 40, 2, 2),
    (6, 3, 80, 3, 2),
    (6, 5, 112, 3, 1),
    (6, 5, 192, 4, 2),
    (6, 3, 320, 1, 1),
];

#[derive(Module, Debug)]
pub struct EfficientNetB0 {
    stem: ConvNorm,
    blocks: Vec<MbConv>,
    last: ConvNorm,
    average: AdaptiveAvgPool2d,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module, Debug)]
struct MbConv {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    excite: SqueezeExcite,
    project: ConvNorm,
    residual: bool,
}

#[derive(Config, Debug)]
pub struct EfficientNetB0Config {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.25)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl EfficientNetB0Config {
    pub fn init(&self, device: &Device) -> EfficientNetB0 {
        let mut inputs = scaled(32, self.width);
        let stem = ConvNormConfig::new([3, inputs], 3).with_stride(2).init(device);
        let mut blocks = Vec::new();
        for (expansion, side, channels, repeats, stride) in STAGES {
            let outputs = scaled(channels, self.width);
            for n in 0..repeats {
                let (stride, hidden) = (if n == 0 { stride } else { 1 }, expansion * inputs);
                let conv = |channels| ConvNormConfig::new(channels, 1);
                blocks.push(MbConv {
                    expand: (expansion != 1).then(|| conv([inputs, hidden]).init(device)),
                    depthwise: ConvNormConfig::depthwise(hidden, side)
                        .with_stride(stride)
                        .init(device),
                    excite: SqueezeExcite::new(hidden, inputs.div_ceil(4).max(2), device),
                    project: conv([hidden, outputs]).init(device),
                    residual: stride == 1 && inputs == outputs,
                });
                inputs = outputs;
            }
        }
        let last = 4 * inputs;
        EfficientNetB0 {
            stem,
            blocks,
            last: ConvNormConfig::new([inputs, last], 1).init(device),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(last, self.classes).init(device),
        }
    }
}

impl EfficientNetB0 {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = silu(self.stem.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.average.forward(silu(self.last.forward(x)));
        self.head.forward(self.dropout.forward(x.flatten(1, 3)))
    }

    /// The convolutions that keep their channels as a number of groups.
    pub fn depthwise(&mut self) -> Vec<&mut Conv2d> {
        let blocks = self.blocks.iter_mut();
        blocks.map(|block| &mut block.depthwise.conv).collect()
    }
}

impl MbConv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = match &self.expand {
            Some(expand) => silu(expand.forward(x.clone())),
            None => x.clone(),
        };
        let y = silu(self.depthwise.forward(y));
        let y = self.project.forward(self.excite.forward(y, silu, sigmoid));
        if self.residual { x + y } else { y }
    }
}
