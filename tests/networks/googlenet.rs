//! GoogLeNet with batch norm: inception modules of four branches, one of which pools. The heads for training are left out.
//! Going Deeper with Convolutions (Szegedy et al., 2014, arXiv 1409.4842).

use burn::config::Config;
use burn::module::Module;
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, around, scaled};

/// Outputs of the first branch, squeezed channels and outputs of the second and the third, and outputs of the one that pools.
const MODULES: [[usize; 6]; 9] = [
    [64, 96, 128, 16, 32, 32],
    [128, 128, 192, 32, 96, 64],
    [192, 96, 208, 16, 48, 64],
    [160, 112, 224, 24, 64, 64],
    [128, 128, 256, 24, 64, 64],
    [112, 144, 288, 32, 64, 64],
    [256, 160, 320, 32, 128, 128],
    [256, 160, 320, 32, 128, 128],
    [384, 192, 384, 48, 128, 128],
];

#[derive(Module, Debug)]
pub struct GoogLeNet {
    stem: ConvNorm,
    reduce: ConvNorm,
    wide: ConvNorm,
    pool: MaxPool2d,
    modules: Vec<Inception>,
    last_pool: MaxPool2d,
    average: AdaptiveAvgPool2d,
    dropout: Dropout,
    head: Linear,
}

#[derive(Module, Debug)]
struct Inception {
    single: ConvNorm,
    second: [ConvNorm; 2],
    third: [ConvNorm; 2],
    pool: MaxPool2d,
    pooled: ConvNorm,
}

#[derive(Config, Debug)]
pub struct GoogLeNetConfig {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.0625)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl GoogLeNetConfig {
    pub fn init(&self, device: &Device) -> GoogLeNet {
        let [narrow, mut channels] = [64, 192].map(|channels| scaled(channels, self.width));
        let stem = conv([3, narrow], 7).with_stride(2).init(device);
        let (reduce, wide) = (conv([narrow, narrow], 1), conv([narrow, channels], 3));
        let (reduce, wide) = (reduce.init(device), wide.init(device));
        let mut modules = Vec::new();
        for widths in MODULES {
            let widths = widths.map(|channels| scaled(channels, self.width));
            modules.push(Inception::new(channels, widths, device));
            channels = widths[0] + widths[2] + widths[4] + widths[5];
        }
        let pool = |side| {
            MaxPool2dConfig::new([side, side])
                .with_strides([2, 2])
                .with_ceil_mode(true)
        };
        GoogLeNet {
            stem,
            reduce,
            wide,
            pool: pool(3).init(),
            modules,
            last_pool: pool(2).init(),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
            dropout: DropoutConfig::new(0.2).init(),
            head: LinearConfig::new(channels, self.classes).init(device),
        }
    }
}

fn conv(channels: [usize; 2], side: usize) -> ConvNormConfig {
    ConvNormConfig::new(channels, side).with_epsilon(1e-3)
}

impl GoogLeNet {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(relu(self.stem.forward(x)));
        let x = relu(self.wide.forward(relu(self.reduce.forward(x))));
        let mut x = self.pool.forward(x);
        for (n, module) in self.modules.iter().enumerate() {
            x = match n {
                2 => self.pool.forward(x),
                7 => self.last_pool.forward(x),
                _ => x,
            };
            x = module.forward(x);
        }
        let x = self.average.forward(x).flatten(1, 3);
        self.head.forward(self.dropout.forward(x))
    }
}

impl Inception {
    fn new(inputs: usize, widths: [usize; 6], device: &Device) -> Self {
        let [single, second, second_out, third, third_out, pooled] = widths;
        let conv = |channels, side| conv(channels, side).init(device);
        Self {
            single: conv([inputs, single], 1),
            second: [conv([inputs, second], 1), conv([second, second_out], 3)],
            // The published kernel is 5x5, torchvision's is 3x3.
            third: [conv([inputs, third], 1), conv([third, third_out], 3)],
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([1, 1])
                .with_padding(around(1))
                .with_ceil_mode(true)
                .init(),
            pooled: conv([inputs, pooled], 1),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let both = |convs: &[ConvNorm; 2], x| relu(convs[1].forward(relu(convs[0].forward(x))));
        let branches = vec![
            relu(self.single.forward(x.clone())),
            both(&self.second, x.clone()),
            both(&self.third, x.clone()),
            relu(self.pooled.forward(self.pool.forward(x))),
        ];
        Tensor::cat(branches, 1)
    }
}
