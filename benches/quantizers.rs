//! Accuracy of CNN-8 on SVHN by the quantisers of its weights and activations, trained by the recorded recipe: weights through
//! Burn's reparameterizations, as on any module, activations by DoReFa or PACT. The epoch that is best on pictures carved
//! from training is tested.
//!
//! ```text
//! SVHN_DIR=datasets/svhn cargo bench --bench quantizers
//! ```
//!
//! Hours on two cores. `EPOCHS` (60) and `SEEDS` (`0,1,2`) make it shorter, `FIRST` (0) leaves out the first rows.

use std::path::PathBuf;
use std::sync::Arc;

use burn::data::dataloader::DataLoader;
use burn::module::{Module, Param};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use vwc_sdk::data::{PictureLoader, Resize, Splits, svhn};
use vwc_sdk::quant::{
    Activation, Bits, Pact, PactConfig, QuantConv2dConfig, WeightQuantizer, conv2d, dropout, norm_pool_act,
};
use vwc_sdk::train::{Adam, Recipe, evaluate_with};

const BATCH: usize = 64;
const INPUT: [usize; 2] = [40, 40];
/// Outputs, kernel, padding, whether a batch norm follows, whether a pool does: `models::Cnn8Config`.
const STAGES: [(usize, usize, usize, bool, bool); 7] = [
    (24, 5, 0, false, true),
    (32, 3, 1, true, false),
    (32, 3, 1, true, true),
    (64, 3, 0, true, false),
    (64, 3, 1, true, false),
    (64, 3, 0, true, false),
    (256, 5, 0, false, false),
];

#[derive(Module, Debug)]
enum Act {
    Fixed(Activation),
    Learned(Pact),
}

/// CNN-8 with plain weights.
#[derive(Module, Debug)]
struct Net {
    weights: Vec<Param<Tensor<4>>>,
    /// Of the first convolution.
    bias: Option<Param<Tensor<1>>>,
    norms: Vec<BatchNorm>,
    acts: Vec<Act>,
    dropout: Dropout,
    linear: Linear,
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Row {
    weights: WeightQuantizer,
    activations: Activations,
}

#[derive(Clone, Copy)]
enum Activations {
    Relu,
    Dorefa(Bits),
    Pact(Bits),
}

impl Net {
    fn new(activations: Activations, device: &Device) -> Self {
        let mut inputs = 3;
        let convs = STAGES.map(|(outputs, kernel, _, norm, _)| {
            let conv = QuantConv2dConfig::new([inputs, outputs], [kernel; 2])
                .with_bias(inputs == 3)
                .init(device);
            inputs = outputs;
            (conv, norm.then(|| BatchNormConfig::new(outputs).init(device)))
        });
        let last = STAGES.len() - 1;
        let act = |n| match activations {
            Activations::Relu => Act::Fixed(Activation::relu()),
            _ if n == last => Act::Fixed(Activation::clamp()),
            Activations::Dorefa(bits) => Act::Fixed(Activation::quantized(bits)),
            Activations::Pact(bits) => Act::Learned(PactConfig::new(bits).init(device)),
        };
        let (convs, norms): (Vec<_>, Vec<_>) = convs.into_iter().unzip();
        let (weights, biases): (Vec<_>, Vec<_>) =
            convs.into_iter().map(|conv| (conv.weight, conv.bias)).unzip();
        Self {
            weights,
            bias: biases.into_iter().flatten().next(),
            norms: norms.into_iter().flatten().collect(),
            acts: (0..=last).map(act).collect(),
            dropout: DropoutConfig::new(0.5).init(),
            linear: LinearConfig::new(inputs, 10).init(device),
        }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let mut norms = self.norms.iter();
        let mut x = images;
        let layers = self.weights.iter().zip(&self.acts).zip(STAGES);
        for (n, ((weight, act), (.., padding, norm, pool))) in layers.enumerate() {
            if n + 1 == STAGES.len() {
                x = dropout(x, &self.dropout);
            }
            let norm = if norm { norms.next() } else { None };
            let bias = self.bias.as_ref().filter(|_| n == 0).map(Param::val);
            let y = conv2d(x, weight.val(), bias, [1, 1], [padding; 2]);
            x = match act {
                Act::Fixed(act) => norm_pool_act(y, norm, pool, act),
                Act::Learned(act) => act.forward(norm_pool_act(y, norm, pool, &Activation::identity())),
            };
        }
        self.linear.forward(x.flatten(1, 3))
    }
}

/// Validation and test accuracy of the best epoch, in per cent.
fn accuracies(row: Row, splits: &Splits, epochs: usize, seed: u64) -> [f64; 2] {
    let cpu = Device::flex();
    let device = cpu.clone().autodiff();
    device.seed(seed);
    let net = Net::new(row.activations, &device);
    // All but the first convolution and the classifier.
    let quantized = row.weights.on(&net).inner();
    let mut net = match row.weights {
        WeightQuantizer::Identity => net,
        _ => quantized.apply(net).expect("it was planned for this network"),
    };
    let recipe = Recipe::original(epochs);
    let train =
        PictureLoader::new(splits.train.clone(), Resize::new(INPUT), BATCH, &device).with_shuffle(seed, 1);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let mut adam = ModuleOptimizer::from(Adam::new());
    let test = |net: &Net, pictures| {
        let net = net.valid();
        let tested = evaluate_with(pictures, INPUT, &cpu, |images| Ok(net.forward(images)));
        tested.expect("pictures in memory").accuracy()
    };
    let mut best = [f64::NEG_INFINITY; 2];
    for epoch in 1..=epochs {
        for batch in train.iter() {
            let batch = batch.expect("pictures in memory");
            let value = loss.forward(net.forward(batch.images), batch.targets);
            let gradients = GradientsParams::from_grads(value.backward(), &net);
            net = adam.step(recipe.learning_rate_at(epoch), net, gradients);
        }
        let valid = test(&net, &splits.valid);
        // Tested there and then: batch norms of a copy that is kept would go on moving. It chooses nothing.
        if valid > best[0] {
            best = [valid, test(&net, &splits.test)];
        }
    }
    best
}

fn main() {
    let Some(dir) = std::env::var_os("SVHN_DIR").map(PathBuf::from) else {
        println!("SVHN_DIR=FOLDER names the folder of train_32x32.mat and test_32x32.mat");
        return;
    };
    let flag = |name: &str, otherwise: &str| std::env::var(name).unwrap_or_else(|_| otherwise.to_owned());
    let epochs: usize = flag("EPOCHS", "60").parse().expect("EPOCHS is a number");
    let seeds = flag("SEEDS", "0,1,2");
    let seeds: Vec<u64> = seeds
        .split(',')
        .map(|seed| seed.parse().expect("SEEDS are numbers"))
        .collect();
    let [train, test] = [svhn::Split::Train, svhn::Split::Test]
        .map(|split| Arc::new(svhn::load(&split.path(&dir)).expect("SVHN's files")));
    use Activations::{Dorefa, Pact, Relu};
    use WeightQuantizer as W;
    let (one, two) = (Bits::ONE, Bits::TWO);
    let rows = [
        ("none", "ReLU", W::Identity, Relu),
        ("1-bit DoReFa", "1-bit DoReFa", W::dorefa(one), Dorefa(one)),
        ("XNOR", "1-bit DoReFa", W::xnor(), Dorefa(one)),
        ("1-bit LSQ", "1-bit DoReFa", W::lsq(one), Dorefa(one)),
        ("2-bit DoReFa", "2-bit DoReFa", W::dorefa(two), Dorefa(two)),
        ("2-bit LSQ", "2-bit DoReFa", W::lsq(two), Dorefa(two)),
        ("2-bit DoReFa", "2-bit PACT", W::dorefa(two), Pact(two)),
        ("2-bit LSQ", "2-bit PACT", W::lsq(two), Pact(two)),
    ];
    println!("| weights | activations | test, % | best validation, % |\n|---|---|---|---|");
    let first: usize = flag("FIRST", "0").parse().expect("FIRST is a number");
    for (weights, activations, quantizer, act) in rows.into_iter().skip(first) {
        let row = Row {
            weights: quantizer,
            activations: act,
        };
        let found: Vec<[f64; 2]> = (seeds.iter())
            .map(|&seed| {
                let splits =
                    Splits::carve("SVHN", (*train).clone(), (*test).clone(), 0.1, seed).expect("two splits");
                accuracies(row, &splits, epochs, seed)
            })
            .collect();
        let cell = |which: usize| {
            let each: Vec<String> = found.iter().map(|of| format!("{:.2}", of[which])).collect();
            let mean = found.iter().map(|of| of[which]).sum::<f64>() / found.len() as f64;
            format!("{mean:.2} ({})", each.join(", "))
        };
        println!("| {weights} | {activations} | {} | {} |", cell(1), cell(0));
    }
}
