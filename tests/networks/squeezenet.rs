//! SqueezeNet 1.0: fire modules, max pools that round up, and a 1x1 convolution as the classifier.
//! SqueezeNet: AlexNet-level accuracy with 50x fewer parameters (Iandola et al., 2016, arXiv 1602.07360).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2d, AdaptiveAvgPool2dConfig, MaxPool2d, MaxPool2dConfig};
use burn::nn::{Dropout, DropoutConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{conv, scaled};

/// Squeezed channels, and how many each of the two expansions has.
const FIRES: [(usize, usize); 8] = [
    (16, 64),
    (16, 64),
    (32, 128),
    (32, 128),
    (48, 192),
    (48, 192),
    (64, 256),
    (64, 256),
];

/// The fire modules that follow a pool.
const AFTER_POOL: [usize; 3] = [0, 3, 7];

#[derive(Module, Debug)]
pub struct SqueezeNet {
    stem: Conv2d,
    pool: MaxPool2d,
    fires: Vec<Fire>,
    dropout: Dropout,
    head: Conv2d,
    average: AdaptiveAvgPool2d,
}

#[derive(Module, Debug)]
struct Fire {
    squeeze: Conv2d,
    narrow: Conv2d,
    wide: Conv2d,
}

#[derive(Config, Debug)]
pub struct SqueezeNetConfig {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.125)]
    pub width: f64,
    #[config(default = 10)]
    pub classes: usize,
}

impl SqueezeNetConfig {
    pub fn init(&self, device: &Device) -> SqueezeNet {
        let mut inputs = scaled(96, self.width);
        let stem = Conv2dConfig::new([3, inputs], [7, 7]).with_stride([2, 2]);
        let stem = stem.init(device);
        let mut fires = Vec::new();
        for (squeezed, expanded) in FIRES {
            let (squeezed, expanded) = (scaled(squeezed, self.width), scaled(expanded, self.width));
            fires.push(Fire {
                squeeze: conv([inputs, squeezed], 1, device),
                narrow: conv([squeezed, expanded], 1, device),
                wide: conv([squeezed, expanded], 3, device),
            });
            inputs = 2 * expanded;
        }
        SqueezeNet {
            stem,
            pool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_ceil_mode(true)
                .init(),
            fires,
            dropout: DropoutConfig::new(0.5).init(),
            head: conv([inputs, self.classes], 1, device),
            average: AdaptiveAvgPool2dConfig::new([1, 1]).init(),
        }
    }
}

impl SqueezeNet {
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.stem.forward(x));
        for (n, fire) in self.fires.iter().enumerate() {
            if AFTER_POOL.contains(&n) {
                x = self.pool.forward(x);
            }
            x = fire.forward(x);
        }
        let x = relu(self.head.forward(self.dropout.forward(x)));
        self.average.forward(x).flatten(1, 3)
    }
}

impl Fire {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.squeeze.forward(x));
        let narrow = relu(self.narrow.forward(x.clone()));
        let wide = relu(self.wide.forward(x));
        Tensor::cat(vec![narrow, wide], 1)
    }
}
