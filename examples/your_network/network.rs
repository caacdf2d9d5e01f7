//! A small MobileNet of plain Burn layers, in full precision or quantised.

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor};
use vwc_sdk::models::{Network, NetworkConfig};
use vwc_sdk::quant::{Activation, Bits, WeightQuantizer};

#[derive(Config, Debug, PartialEq)]
pub struct MobileConfig {
    /// Bits of weights and activations. Default: full precision.
    bits: Option<Bits>,
}

#[derive(Module, Debug)]
pub struct Mobile {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Block>,
    head: Linear,
    #[module(skip)]
    config: MobileConfig,
}

/// Convolutions of 1x1, depthwise, and 1x1, with squeeze-and-excite before the last; the input is added to what is as large.
#[derive(Module, Debug)]
pub struct Block {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
    squeeze: Vec<Linear>,
    act: Activation,
}

impl NetworkConfig for MobileConfig {
    type Network = Mobile;
    const NAME: &'static str = "Mobile";

    fn init(&self, device: &Device) -> Mobile {
        let conv = |channels, size: usize, stride, groups| {
            let same = PaddingConfig2d::Explicit(size / 2, size / 2, size / 2, size / 2);
            let conv = Conv2dConfig::new(channels, [size; 2]).with_padding(same);
            conv.with_stride([stride; 2])
                .with_groups(groups)
                .with_bias(false)
                .init(device)
        };
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        let block = |inputs, outputs, stride| {
            let wide = 3 * inputs;
            let depthwise = conv([wide, wide], 3, stride, wide);
            let [expand, project] = [[inputs, wide], [wide, outputs]].map(|channels| conv(channels, 1, 1, 1));
            Block {
                convs: vec![expand, depthwise, project],
                norms: [wide, wide, outputs].map(norm).into(),
                squeeze: vec![linear(wide, wide / 4), linear(wide / 4, wide)],
                act: self.bits.map_or(Activation::relu(), Activation::quantized),
            }
        };
        let net = Mobile {
            stem: conv([3, 16], 3, 2, 1),
            norm: norm(16),
            blocks: vec![block(16, 16, 1), block(16, 32, 2), block(32, 32, 1)],
            head: linear(32, 10),
            config: self.clone(),
        };
        let Some(bits) = self.bits else { return net };
        let plan = WeightQuantizer::new(bits).on(&net).only("*.convs");
        plan.and_then(|plan| plan.apply(net))
            .expect("the blocks have convolutions")
    }

    fn classes(&self) -> usize {
        10
    }

    fn input(&self) -> [usize; 2] {
        [32, 32]
    }

    fn bits(&self) -> Option<[Bits; 2]> {
        self.bits.map(|bits| [bits; 2])
    }
}

impl Network for Mobile {
    type Config = MobileConfig;

    fn config(&self) -> &MobileConfig {
        &self.config
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.norm.forward(self.stem.forward(images));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        self.head.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3))
    }

    /// A depthwise convolution keeps its channels as its groups, too.
    fn refit(&mut self) {
        for conv in self.blocks.iter_mut().map(|block| &mut block.convs[1]) {
            conv.groups = conv.weight.dims()[0];
        }
    }
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let layer = |n: usize, x| self.norms[n].forward(self.convs[n].forward(self.act.forward(x)));
        let y = self.act.forward(layer(1, layer(0, x.clone())));
        let means = y.clone().mean_dim(3).mean_dim(2).flatten::<2>(1, 3);
        let factors = sigmoid(self.squeeze[1].forward(relu(self.squeeze[0].forward(means))));
        let y = layer(2, y * factors.unsqueeze_dims(&[2, 3]));
        if x.dims() == y.dims() { x + y } else { y }
    }
}
