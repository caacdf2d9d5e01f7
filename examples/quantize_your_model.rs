//! A Burn network that knows nothing of this crate, trained with 2-bit weights on digits, and with activations of few bits, too.

use burn::data::{dataloader::batcher::Batcher, dataset::Dataset};
use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Tensor, activation::relu};
use vwc_sdk::data::{Normalization, PictureBatcher, PictureDataset, synthetic};
use vwc_sdk::graph::Graph;
use vwc_sdk::models::{GraphNet, Network, QuantPlan};
use vwc_sdk::quant::{Bits, Observer, WeightQuantizer};

#[derive(Module, Debug)]
struct Net {
    convs: Vec<Conv2d>,
    head: Linear,
}

impl Net {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.convs.iter().fold(x, |x, conv| relu(conv.forward(x)));
        self.head.forward(x.flatten(1, 3))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::flex().autodiff();
    device.seed(0);
    let conv = |channels| {
        let config = Conv2dConfig::new(channels, [3, 3]);
        config.with_stride([2, 2]).init(&device)
    };
    let net = Net {
        convs: vec![conv([3, 16]), conv([16, 32]), conv([32, 64])],
        head: LinearConfig::new(64 * 3 * 3, 10).init(&device),
    };
    let graph = Graph::of(&net, [1, 3, 32, 32], Net::forward)?;
    // All but the first and the last, one with a step that is learned.
    let learned = WeightQuantizer::lsq(Bits::TWO);
    let quantized = WeightQuantizer::new(Bits::TWO).on(&net).inner();
    let quantized = quantized.with("convs.2", learned)?;
    print!("{quantized}");
    let mut net = quantized.apply(net)?;
    let digits = PictureDataset::new(synthetic::digits(256, 0).into());
    let items = digits.iter().map(|item| item.expect("it is in memory")).collect();
    let batch = PictureBatcher::new(Normalization::default()).batch(items, &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut adam = AdamConfig::new().init();
    for _ in 0..60 {
        let value = loss.forward(net.forward(batch.images.clone()), batch.targets.clone());
        let gradients = GradientsParams::from_grads(value.backward(), &net);
        net = adam.step(0.003, net, gradients);
    }
    let value = loss.forward(net.forward(batch.images.clone()), batch.targets.clone());
    println!("loss {:.3}", value.into_scalar::<f32>());
    let weight = net.valid().materialize().convs[1].weight.val();
    let mut values = weight.into_data().try_into_vec::<f32>().expect("floats");
    values.sort_by(f32::total_cmp);
    values.dedup();
    println!("the weights of convs.1 are {values:.3?}");

    // What layers read is rounded in the network that its graph makes: no line of the module changes.
    let plan = QuantPlan::new(Bits::TWO, Bits::new(4)?).with_ends(Bits::new(8)?);
    let net = GraphNet::of(&graph, "net", &device)?.quantized_by(plan)?;
    for layer in net.config().quantized_layers() {
        println!("{layer}");
    }
    let mut net = net.calibrated(std::slice::from_ref(&batch.images), Observer::default())?;
    for _ in 0..60 {
        let value = loss.forward(net.forward(batch.images.clone()), batch.targets.clone());
        let gradients = GradientsParams::from_grads(value.backward(), &net);
        net = adam.step(0.003, net, gradients);
    }
    let value = loss.forward(net.forward(batch.images), batch.targets);
    println!("loss {:.3}", value.into_scalar::<f32>());
    Ok(())
}
