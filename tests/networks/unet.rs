//! U-Net with batch norm: an encoder and a decoder that reads the encoder's maps beside its own. Its output is a map.
//! U-Net: Convolutional Networks for Biomedical Image Segmentation (Ronneberger et al., 2015, arXiv 1505.04597).

use burn::config::Config;
use burn::module::Module;
use burn::nn::conv::{Conv2d, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::interpolate::{Interpolate2d, Interpolate2dConfig, InterpolateMode};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor};

use crate::layers::{ConvNorm, ConvNormConfig, conv, scaled};

#[derive(Module, Debug)]
pub struct UNet {
    encoder: Vec<DoubleConv>,
    pool: MaxPool2d,
    bottom: DoubleConv,
    decoder: Vec<Up>,
    head: Conv2d,
}

#[derive(Module, Debug)]
struct DoubleConv {
    first: ConvNorm,
    second: ConvNorm,
}

#[derive(Module, Debug)]
struct Up {
    transposed: Option<ConvTranspose2d>,
    nearest: Interpolate2d,
    conv: DoubleConv,
}

#[derive(Config, Debug)]
pub struct UNetConfig {
    /// Channels as a fraction of the published network's.
    #[config(default = 0.0625)]
    pub width: f64,
    /// Maps are doubled by repeating what is there, not by transposed convolutions.
    #[config(default = false)]
    pub nearest: bool,
    #[config(default = 10)]
    pub classes: usize,
}

impl UNetConfig {
    pub fn init(&self, device: &Device) -> UNet {
        let widths = [64, 128, 256, 512].map(|channels| scaled(channels, self.width));
        let mut inputs = 3;
        let mut encoder = Vec::new();
        for width in widths {
            encoder.push(DoubleConv::new([inputs, width], device));
            inputs = width;
        }
        let bottom = scaled(1024, self.width);
        let mut below = bottom;
        let mut decoder = Vec::new();
        for width in widths.into_iter().rev() {
            let up = ConvTranspose2dConfig::new([below, width], [2, 2]).with_stride([2, 2]);
            decoder.push(Up {
                transposed: (!self.nearest).then(|| up.init(device)),
                nearest: Interpolate2dConfig::new()
                    .with_scale_factor(Some([2.0, 2.0]))
                    .with_mode(InterpolateMode::Nearest)
                    .init(),
                conv: DoubleConv::new([width + if self.nearest { below } else { width }, width], device),
            });
            below = width;
        }
        UNet {
            encoder,
            pool: MaxPool2dConfig::new([2, 2]).init(),
            bottom: DoubleConv::new([inputs, bottom], device),
            decoder,
            head: conv([below, self.classes], 1, device),
        }
    }
}

impl UNet {
    pub fn forward(&self, mut x: Tensor<4>) -> Tensor<4> {
        let mut skips = Vec::new();
        for level in &self.encoder {
            let y = level.forward(x);
            x = self.pool.forward(y.clone());
            skips.push(y);
        }
        x = self.bottom.forward(x);
        for (up, skip) in self.decoder.iter().zip(skips.into_iter().rev()) {
            x = up.forward(x, skip);
        }
        self.head.forward(x)
    }
}

impl Up {
    fn forward(&self, x: Tensor<4>, skip: Tensor<4>) -> Tensor<4> {
        let x = match &self.transposed {
            Some(transposed) => transposed.forward(x),
            None => self.nearest.forward(x),
        };
        self.conv.forward(Tensor::cat(vec![skip, x], 1))
    }
}

impl DoubleConv {
    fn new([inputs, outputs]: [usize; 2], device: &Device) -> Self {
        Self {
            first: ConvNormConfig::new([inputs, outputs], 3).init(device),
            second: ConvNormConfig::new([outputs, outputs], 3).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        relu(self.second.forward(relu(self.first.forward(x))))
    }
}
