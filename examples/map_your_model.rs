//! The convolutions of a Burn network on a PIM array.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Tensor, activation::relu};
use vwc_sdk::mapping::{MappingConfig, Method, PimArray, map_network};
use vwc_sdk::module::conv_layers;
use vwc_sdk::report::layer_table;

#[derive(Module, Debug)]
struct Net {
    convs: Vec<Conv2d>,
    pool: MaxPool2d,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |inputs, outputs| {
            let config = Conv2dConfig::new([inputs, outputs], [3, 3]);
            config.with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            convs: vec![conv(3, 32), conv(32, 64), conv(64, 128)],
            pool: MaxPool2dConfig::new([2, 2]).init(),
            head: LinearConfig::new(128 * 4 * 4, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let block = |x, conv: &Conv2d| self.pool.forward(relu(conv.forward(x)));
        let x = self.convs.iter().fold(x, block);
        self.head.forward(x.flatten(1, 3))
    }
}

fn main() -> Result<(), vwc_sdk::Error> {
    let net = Net::new(&Device::flex());
    // Sizes, strides and padding are read off the forward pass.
    let found = conv_layers(&net, [1, 3, 32, 32], Net::forward)?;
    let config = MappingConfig::new(PimArray::new(256, 256)?);
    for method in [Method::Im2col, Method::VwSdk] {
        let mappings = map_network(&found.layers, method, &config)?;
        println!("{}\n", layer_table(&found.layers, &mappings));
    }
    for (name, what) in &found.left_out {
        println!("not mapped: {name}, a {what}");
    }
    Ok(())
}
