//! ShuffleNet-V2: half of the channels goes past each block, and the two halves are shuffled after it.
//! ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design (Ma et al., 2018, arXiv 1807.11164).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::Conv2d;
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, around, scaled};

/// Channels and blocks of each stage.
const STAGES: [(usize, usize); 3] = [(116, 4), (232, 8), (464, 4)];

#[derive(Module, Debug)]
pub struct ShuffleNetV2 {
    stem: ConvNorm,
    pool: MaxPool2d,
    blocks: Vec<Block>,
    last: ConvNorm,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    /// The other branch of a block that halves the map.
    side: Option<Side>,
    first: ConvNorm,
    depthwise: ConvNorm,
    second: ConvNorm,
}

#[derive(Module, Debug)]
struct Side {
    depthwise: ConvNorm,
    pointwise: ConvNorm,
}

#[derive(Config, Debug)]
pub struct ShuffleNetV2Config {
    /// Channels as a fraction of the published network's. By default the stages have 16, 32 and 64.
    #[config(default = 0.1379)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl ShuffleNetV2Config {
    pub fn init(&self, device: &Device) -> ShuffleNetV2 {
        let mut inputs = scaled(24, self.width);
        let stem = ConvNormConfig::new([3, inputs], 3).with_stride(2).init(device);
        let mut blocks = Vec::new();
        for (channels, repeats) in STAGES {
            let channels = scaled(channels, self.width);
            for n in 0..repeats {
                blocks.push(Block::new(inputs, channels / 2, n == 0, device));
                inputs = channels;
            }
        }
        let last = scaled(1024, self.width);
        ShuffleNetV2 {
            stem,
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(around(1))
                .init(),
            blocks,
            last: ConvNormConfig::new([inputs, last], 1).init(device),
            head: LinearConfig::new(last, self.classes).init(device),
        }
    }
}

impl ShuffleNetV2 {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.pool.forward(relu(self.stem.forward(x)));
        for block in &self.blocks {
            x = block.forward(x);
        }
        let x = relu(self.last.forward(x)).mean_dim(2).mean_dim(3);
        self.head.forward(x.flatten(1, 3))
    }

    /// The convolutions that keep their channels as a number of groups.
    pub fn depthwise(&mut self) -> Vec<&mut Conv2d> {
        let mut convs = Vec::new();
        for block in &mut self.blocks {
            if let Some(side) = &mut block.side {
                convs.push(&mut side.depthwise.conv);
            }
            convs.push(&mut block.depthwise.conv);
        }
        convs
    }
}

impl Block {
    fn new(inputs: usize, half: usize, halves: bool, device: &Device) -> Self {
        let pointwise = |inputs| ConvNormConfig::new([inputs, half], 1).init(device);
        let stride = if halves { 2 } else { 1 };
        let depthwise = |channels| {
            let config = ConvNormConfig::depthwise(channels, 3).with_stride(stride);
            config.init(device)
        };
        Self {
            side: halves.then(|| Side {
                depthwise: depthwise(inputs),
                pointwise: pointwise(inputs),
            }),
            first: pointwise(if halves { inputs } else { half }),
            depthwise: depthwise(half),
            second: pointwise(half),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (past, through) = match &self.side {
            Some(side) => {
                let past = side.depthwise.forward(x.clone());
                (relu(side.pointwise.forward(past)), x)
            }
            None => {
                let half = x.dims()[1] / 2;
                (x.clone().narrow(1, 0, half), x.narrow(1, half, half))
            }
        };
        let through = relu(self.first.forward(through));
        let through = relu(self.second.forward(self.depthwise.forward(through)));
        shuffle(Tensor::cat(vec![past, through], 1))
    }
}

/// The channels of the two halves in turn.
fn shuffle(x: Tensor<4>) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch, 2, channels / 2, height, width]);
    x.swap_dims(1, 2).reshape([batch, channels, height, width])
}
