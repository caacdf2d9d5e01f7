//! MobileNet-V3, the small one: inverted residuals with squeeze and excite, hard swish and hard sigmoid.
//! Searching for MobileNetV3 (Howard et al., 2019, arXiv 1905.02244).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::{hard_sigmoid, hard_swish, relu};
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, SqueezeExcite, scaled};

/// Side of the kernel, hidden channels, channels, squeeze and excite, hard swish instead of ReLU, stride.
const BLOCKS: [(usize, usize, usize, bool, bool, usize); 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

#[derive(Module, Debug)]
pub struct MobileNetV3 {
    stem: ConvNorm,
    blocks: Vec<Block>,
    last: ConvNorm,
    average: AdaptiveAvgPool2d,
    hidden: Linear,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    excite: Option<SqueezeExcite>,
    project: ConvNorm,
    hard_swish: bool,
    residual: bool,
}

#[derive(Config, Debug)]
pub struct MobileNetV3Config {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.25)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl MobileNetV3Config {
    pub fn init(&self, device: &Device) -> MobileNetV3 {
        let mut inputs = scaled(16, self.width);
        let stem = ConvNormConfig::new([3, inputs], 3).with_stride(2).init(device);
        let mut blocks = Vec::new();
        for (side, hidden, outputs, excite, hard_swish, stride) in BLOCKS {
            let (hidden, outputs) = (scaled(hidden, self.width), scaled(outputs, self.width));
            let conv = |channels| ConvNormConfig::new(channels, 1);
            blocks.push(Block {
                expand: (hidden != inputs).then(|| conv([inputs, hidden]).init(device)),
                depthwise: ConvNormConfig::depthwise(hidden, side)
                    .with_stride(stride)
                    .init(device),
                excite: excite.then(|| SqueezeExcite::new(hidden, hidden.div_ceil(4).max(2), device)),
                project: conv([hidden, outputs]).init(device),
                hard_swish,
                residual: stride == 1 && inputs == outputs,
            });
            inputs = outputs;
        }
        let (last, hidden) = (6 * inputs, scaled(1024, self.width));
        MobileNetV3 {
            stem,
            blocks,
            last: ConvNormConfig::new([inputs, last], 1).init(device),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            hidden: LinearConfig::new(last, hidden).init(device),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(hidden, self.classes).init(device),
        }
    }
}

impl MobileNetV3 {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = hard_swish(self.stem.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.average.forward(hard_swish(self.last.forward(x)));
        let x = hard_swish(self.hidden.forward(x.flatten(1, 3)));
        self.head.forward(self.dropout.forward(x))
    }

    /// The convolutions that keep their channels as a number of groups.
    pub fn depthwise(&mut self) -> Vec<&mut Conv2d> {
        let blocks = self.blocks.iter_mut();
        blocks.map(|block| &mut block.depthwise.conv).collect()
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let activation = if self.hard_swish { hard_swish } else { relu };
        let mut y = x.clone();
        if let Some(expand) = &self.expand {
            y = activation(expand.forward(y));
        }
        y = activation(self.depthwise.forward(y));
        if let Some(excite) = &self.excite {
            y = excite.forward(y, relu, |x| hard_sigmoid(x, 1.0 / 6.0, 0.5));
        }
        y = self.project.forward(y);
        if self.residual { x + y } else { y }
    }
}
