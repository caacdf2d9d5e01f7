//! What the published networks here do not use: two networks of no paper, one of which reads two pictures.
//! Gated linear units are of Dauphin et al., 2016 (arXiv 1612.08083), layer scales of Touvron et al., 2021 (arXiv 2103.17239).

use burn::config::Config;
use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AvgPool2d, AvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PRelu, PReluConfig, PaddingConfig2d};
use burn::tensor::activation::{leaky_relu, sigmoid, softmax, tanh};
use burn::tensor::{Device, Tensor};

use crate::layers::{around, conv};

#[derive(Module, Debug)]
pub struct Assorted {
    stem: Conv2d,
    dilated: Conv2d,
    grouped: Conv2d,
    norm: BatchNorm,
    counting: AvgPool2d,
    counted_out: AvgPool2d,
    gated: Conv2d,
    row: Conv2d,
    column: Conv2d,
    scale: Param<Tensor<1>>,
    slopes: PRelu,
    squeeze: Linear,
    excite: Linear,
    spread: MaxPool2d,
    head: Linear,
}

#[derive(Config, Debug)]
pub struct AssortedConfig {
    /// Channels of the first layer, a multiple of 4.
    #[config(default = 8)]
    pub width: usize,
    #[config(default = 10)]
    pub classes: usize,
}

impl AssortedConfig {
    pub fn init(&self, device: &Device) -> Assorted {
        let (width, wide) = (self.width, self.width / 2 * 3);
        let average = AvgPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(around(1));
        Assorted {
            // A row at the bottom and a column on the right.
            stem: Conv2dConfig::new([3, width], [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(0, 0, 1, 1))
                .init(device),
            dilated: Conv2dConfig::new([width, width], [3, 3])
                .with_dilation([2, 2])
                .with_padding(around(2))
                .init(device),
            grouped: Conv2dConfig::new([width, wide], [3, 3])
                .with_groups(2)
                .with_padding(around(1))
                .init(device),
            norm: BatchNormConfig::new(wide).init(device),
            counting: average.init(),
            counted_out: average.with_count_include_pad(false).init(),
            gated: conv([2 * wide, 2 * wide], 1, device),
            row: Conv2dConfig::new([wide, width], [1, 3])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            column: Conv2dConfig::new([width, wide], [3, 1])
                .with_padding(PaddingConfig2d::Same)
                .init(device),
            scale: Param::from_tensor(Tensor::ones([wide], device)),
            slopes: PReluConfig::new().with_num_parameters(wide).init(device),
            squeeze: LinearConfig::new(wide, width / 2).init(device),
            excite: LinearConfig::new(width / 2, wide).init(device),
            spread: MaxPool2dConfig::new([3, 2])
                .with_strides([2, 1])
                .with_dilation([1, 2])
                .init(),
            head: LinearConfig::new(2 * wide, self.classes).init(device),
        }
    }
}

impl Assorted {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = leaky_relu(self.stem.forward(x), 0.1);
        let x = self.dilated.forward(x).clamp(-1.5, 1.5);
        let x = leaky_relu(self.norm.forward(self.grouped.forward(x)), 0.2);
        let x = Tensor::cat(
            vec![self.counting.forward(x.clone()), self.counted_out.forward(x)],
            1,
        );
        let halves = self.gated.forward(x).chunk(2, 1);
        let x = halves[0].clone() * sigmoid(halves[1].clone());
        let y = self.column.forward(tanh(self.row.forward(x.clone())));
        let x = self
            .slopes
            .forward(x + y * self.scale.val().reshape([1, -1, 1, 1]));
        let means: Tensor<2> = x.clone().mean_dim(2).mean_dim(3).flatten(1, 3);
        let gates = sigmoid(self.excite.forward(leaky_relu(self.squeeze.forward(means), 0.1)));
        let x = self.spread.forward(x * gates.unsqueeze_dims(&[2, 3]));
        let (mean, most) = (x.clone().mean_dim(2).mean_dim(3), x.max_dim(2).max_dim(3));
        let x = Tensor::cat(vec![mean.flatten(1, 3), most.flatten(1, 3)], 1);
        softmax(self.head.forward(x), 1)
    }
}

/// Two pictures, each by layers of its own and both by one that they share.
#[derive(Module, Debug)]
pub struct Pair {
    left: Conv2d,
    right: Conv2d,
    shared: Conv2d,
    joined: Conv2d,
    head: Linear,
}

#[derive(Config, Debug)]
pub struct PairConfig {
    /// Channels of the first layers.
    #[config(default = 6)]
    pub width: usize,
    #[config(default = 10)]
    pub classes: usize,
}

impl PairConfig {
    pub fn init(&self, device: &Device) -> Pair {
        let width = self.width;
        Pair {
            left: conv([3, width], 3, device),
            right: conv([3, width], 5, device),
            shared: conv([width, width + 2], 3, device),
            joined: conv([3 * (width + 2), width], 1, device),
            head: LinearConfig::new(width, self.classes).init(device),
        }
    }
}

impl Pair {
    pub fn forward(&self, a: Tensor<4>, b: Tensor<4>) -> Tensor<2> {
        let a = self.shared.forward(leaky_relu(self.left.forward(a), 0.1));
        let b = self.shared.forward(leaky_relu(self.right.forward(b), 0.1));
        let product = a.clone() * b.clone();
        let distance = (a.clone() - b.clone()).abs();
        let x = Tensor::cat(vec![product, distance, a.max_pair(b)], 1);
        let x = leaky_relu(self.joined.forward(x), 0.1);
        self.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    }
}
