//! A Burn network that names no channel groups, pruned.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::{Device, Distribution, Tensor, activation::relu};
use vwc_sdk::prune::{Ranking, Ratio, find_groups};

#[derive(Module, Debug)]
struct Net {
    stem: Conv2d,
    inner: Conv2d,
    norm: BatchNorm,
    outer: Conv2d,
    side: Conv2d,
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |inputs, outputs| {
            let config = Conv2dConfig::new([inputs, outputs], [3, 3]);
            config.with_padding(PaddingConfig2d::Same).init(device)
        };
        Self {
            stem: conv(3, 16),
            inner: conv(16, 24),
            norm: BatchNormConfig::new(24).init(device),
            outer: conv(24, 16),
            side: conv(16, 8),
            head: LinearConfig::new(24 * 4 * 4, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let y = relu(self.norm.forward(self.inner.forward(x.clone())));
        let x = relu(self.outer.forward(y) + x);
        let x = Tensor::cat(vec![x.clone(), self.side.forward(x)], 1);
        self.head.forward(x.flatten(1, 3))
    }
}

fn main() -> Result<(), vwc_sdk::Error> {
    let device = Device::flex();
    device.seed(0);
    let net = Net::new(&device);
    let groups = find_groups(&net, [1, 3, 4, 4], Net::forward)?;
    print!("{groups}");
    // The largest three quarters of every group stay.
    let widths = groups.widths(&net, &Ratio::new(0.25), Ranking::L1)?;
    let small = groups.prune(&net, &widths, Ranking::L1, Net::forward)?;
    let x = Tensor::random([2, 3, 4, 4], Distribution::Default, &device);
    let [left, all] = [small.num_params(), net.num_params()];
    println!("{left} parameters of {all} give {:?}", small.forward(x).dims());
    Ok(())
}
