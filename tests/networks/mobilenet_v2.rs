//! MobileNet-V2: inverted residuals with depthwise convolutions and ReLU6.
//! MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018, arXiv 1801.04381).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::relu6;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, scaled};

/// Expansion, channels, blocks and stride of the first.
const STAGES: [(usize, usize, usize, usize); 7] = [
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
];

#[derive(Module, Debug)]
pub struct MobileNetV2 {
    stem: ConvNorm,
    blocks: Vec<InvertedResidual>,
    last: ConvNorm,
    average: AdaptiveAvgPool2d,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module, Debug)]
struct InvertedResidual {
    expand: Option<ConvNorm>,
    depthwise: ConvNorm,
    project: ConvNorm,
    residual: bool,
}

#[derive(Config, Debug)]
pub struct MobileNetV2Config {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.25)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl MobileNetV2Config {
    pub fn init(&self, device: &Device) -> MobileNetV2 {
        let mut inputs = scaled(32, self.width);
        let stem = ConvNormConfig::new([3, inputs], 3).with_stride(2).init(device);
        let mut blocks = Vec::new();
        for (expansion, channels, repeats, stride) in STAGES {
            let outputs = scaled(channels, self.width);
            for n in 0..repeats {
                let stride = if n == 0 { stride } else { 1 };
                blocks.push(InvertedResidual::new(
                    [inputs, expansion * inputs, outputs],
                    stride,
                    device,
                ));
                inputs = outputs;
            }
        }
        let last = scaled(1280, self.width);
        MobileNetV2 {
            stem,
            blocks,
            last: ConvNormConfig::new([inputs, last], 1).init(device),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(last, self.classes).init(device),
        }
    }
}

impl MobileNetV2 {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu6(self.stem.forward(x));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = self.average.forward(relu6(self.last.forward(x)));
        self.head.forward(self.dropout.forward(x.flatten(1, 3)))
    }

    /// The convolutions that keep their channels as a number of groups.
    pub fn depthwise(&mut self) -> Vec<&mut Conv2d> {
        let blocks = self.blocks.iter_mut();
        blocks.map(|block| &mut block.depthwise.conv).collect()
    }
}

impl InvertedResidual {
    fn new([inputs, hidden, outputs]: [usize; 3], stride: usize, device: &Device) -> Self {
        Self {
            expand: (hidden != inputs).then(|| ConvNormConfig::new([inputs, hidden], 1).init(device)),
            depthwise: ConvNormConfig::depthwise(hidden, 3)
                .with_stride(stride)
                .init(device),
            project: ConvNormConfig::new([hidden, outputs], 1).init(device),
            residual: stride == 1 && inputs == outputs,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = match &self.expand {
            Some(expand) => relu6(expand.forward(x.clone())),
            None => x.clone(),
        };
        let y = self.project.forward(relu6(self.depthwise.forward(y)));
        if self.residual { x + y } else { y }
    }
}
