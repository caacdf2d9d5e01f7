//! The networks compute what an independent implementation computes: logits with running and with batch statistics, and
//! the gradient of every parameter, beside PyTorch's, before and after pruning. Everything on `flex`; at few bits, on a GPU,
//! logits to the tolerance of an activation that falls the other way, and no gradients; on `ndarray`, those of ResNet-20.
//! `benches/peers/golden.py` made the numbers in `fixtures/parity`.
#![cfg(feature = "train")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor};
use common::{assert_close, devices, noise, tensor, values};
use safetensors::SafeTensors;
use vwc_sdk::models::{
    BlockOrder, Cnn8Config, FullPrecision, Network, NetworkConfig, ResNet20Config, Vgg13Config,
};
use vwc_sdk::prune::{Ranking, prune};
use vwc_sdk::pytorch::{StateDict, TorchLayout, TorchNames};
use vwc_sdk::quant::Bits;

/// f32 against f64, relative to the largest element.
const TOLERANCE: f64 = 1e-4;

/// The same where roots and quotients are a driver's, as good as it likes: of the activations of few bits that lie near an
/// edge, some fall the other way, and each moves these small networks' logits by a few hundredths. A quantiser left out
/// moves them by more than their size.
const ACROSS_EDGES: f64 = 0.1;

/// Bits of weights and activations; none for the full-precision twin.
const PRECISIONS: [Option<(u8, u8)>; 6] = [
    Some((1, 1)),
    Some((1, 2)),
    Some((2, 2)),
    Some((2, 4)),
    Some((32, 32)),
    None,
];

#[test]
fn cnn8() {
    check("cnn8", &[3, 4, 6, 5, 4, 6, 7], &PRECISIONS, |bits| {
        let (quantized, weight_bits, activation_bits) = split(bits);
        Cnn8Config::new()
            .with_widths([4, 5, 6, 7, 5, 6, 8])
            .with_quantized(quantized)
            .with_weight_bits(weight_bits)
            .with_activation_bits(activation_bits)
            .with_dropout(0.0)
    });
}

#[test]
fn vgg13() {
    check("vgg13", &VGG13, &PRECISIONS, vgg);
}

#[test]
fn vgg13_as_published_in_full_precision() {
    check("vgg13-published", &VGG13, &[None], |bits| {
        vgg(bits).with_full_precision(FullPrecision::Published)
    });
}

#[test]
fn resnet20() {
    check("resnet20", &RESNET20, &PRECISIONS, |bits| {
        resnet(bits, BlockOrder::Original)
    });
}

#[test]
fn resnet20_as_published_in_full_precision() {
    check("resnet20-published", &RESNET20, &[None], |bits| {
        resnet(bits, BlockOrder::Original).with_full_precision(FullPrecision::Published)
    });
}

#[test]
fn resnet20_with_pre_activation() {
    check("resnet20-pre", &RESNET20, &PRECISIONS, |bits| {
        resnet(bits, BlockOrder::PreActivation)
    });
}

/// Widths after pruning: of the convolutions, and those of the hidden layers as they were.
const VGG13: [usize; 12] = [2, 4, 3, 5, 4, 4, 6, 5, 7, 6, 6, 7];

fn vgg(bits: Option<(u8, u8)>) -> Vgg13Config {
    let (quantized, weight_bits, activation_bits) = split(bits);
    Vgg13Config::new()
        .with_widths([3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
        .with_hidden([6, 7])
        .with_quantized(quantized)
        .with_weight_bits(weight_bits)
        .with_activation_bits(activation_bits)
        .with_dropout(0.0)
}

/// Widths after pruning: of each stage that of its additions, and those inside its blocks. What is inside the first block of a
/// later stage comes before what that stage adds up.
const RESNET20: [usize; 12] = [2, 2, 1, 3, 3, 3, 4, 2, 5, 4, 3, 4];

fn resnet(bits: Option<(u8, u8)>, order: BlockOrder) -> ResNet20Config {
    let (quantized, weight_bits, activation_bits) = split(bits);
    ResNet20Config::new()
        .with_widths([3, 4, 5])
        .with_order(order)
        .with_quantized(quantized)
        .with_weight_bits(weight_bits)
        .with_activation_bits(activation_bits)
}

fn split(bits: Option<(u8, u8)>) -> (bool, Bits, Bits) {
    let (weight, activation) = bits.unwrap_or((1, 1));
    (
        bits.is_some(),
        Bits::new(weight).unwrap(),
        Bits::new(activation).unwrap(),
    )
}

/// Compares a network at each of `precisions`, whole and pruned, with the fixture of this name.
fn check<C: NetworkConfig<Network: TorchNames>>(
    name: &str,
    pruned: &[usize],
    precisions: &[Option<(u8, u8)>],
    config: impl Fn(Option<(u8, u8)>) -> C,
) {
    let path = Path::new("tests/fixtures/parity")
        .join(name)
        .with_extension("safetensors");
    let weights = StateDict::read(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let fixture = SafeTensors::deserialize(&bytes).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let seeds = header.metadata().clone().unwrap();

    for (device_name, device) in devices() {
        for &bits in precisions {
            let label = bits.map_or("full".into(), |(weight, activation)| {
                format!("w{weight}a{activation}")
            });
            let config = config(bits);
            let whole = weights.load_into(config.init(&device)).unwrap();
            let small = prune(&whole, pruned, Ranking::L1).unwrap().network;
            for (case, network) in [(label.clone(), whole), (label + "-pruned", small)] {
                let golden = |what: &str| floats(&fixture, &format!("{case}/{what}"));
                let what = |part: &str| format!("{name} {case} on {device_name}, {part}");
                let [height, width] = network.config().input();
                let seed = seeds[&case].parse().unwrap();
                let x = tensor(
                    &noise(seed, 2 * 3 * height * width),
                    [2, 3, height, width],
                    &device,
                );

                let few_bits = bits.is_some_and(|(weight, _)| weight < 32);
                let on_cpu = device_name == "flex" || device_name == "ndarray";
                let tolerance = if few_bits && !on_cpu {
                    ACROSS_EDGES
                } else {
                    TOLERANCE
                };

                let logits = values(&network.forward(x.clone()));
                assert_close(&logits, &golden("eval"), tolerance, &what("logits"));

                let (logits, gradients) = trained(&network, x);
                assert_close(&logits, &golden("train"), tolerance, &what("logits in training"));
                // Many sums of few bits are equal, and a pool gives the gradient to the first of them. `flex` adds integers;
                // floats, added up elsewhere, differ in their last bits, and so does the one that counts as largest.
                let pools = C::NAME != ResNet20Config::NAME;
                let exact = device_name == "flex" || device_name == "ndarray" && !pools;
                if few_bits && !exact {
                    continue;
                }
                for name in network.torch_names() {
                    let Some((shape, mut gradient)) = gradients.get(&name.path).cloned() else {
                        // Running statistics, and a batch norm that nothing passes.
                        let none = fixture.tensor(&format!("{case}/grad/{}", name.torch)).is_err();
                        assert!(none, "{} has no gradient", name.path);
                        continue;
                    };
                    if name.layout == TorchLayout::Transposed {
                        let [rows, columns] = shape[..] else {
                            panic!("a matrix")
                        };
                        let turned = |i: usize| gradient[i % rows * columns + i / rows];
                        gradient = (0..gradient.len()).map(turned).collect();
                    }
                    let expected = golden(&format!("grad/{}", name.torch));
                    // All but zero in exact arithmetic: nothing that a relative error could be taken of.
                    if expected.iter().all(|v| v.abs() < 1e-12) {
                        assert!(gradient.iter().all(|v| v.abs() < 1e-3), "{}", what(&name.torch));
                        continue;
                    }
                    assert_close(&gradient, &expected, TOLERANCE, &what(&name.torch));
                }
            }
        }
    }
}

/// Logits with batch statistics, and the gradients of their weighted sum by path, with their shapes.
#[allow(clippy::type_complexity)]
fn trained<N: Network>(network: &N, x: Tensor<4>) -> (Vec<f64>, BTreeMap<String, (Vec<usize>, Vec<f64>)>) {
    let network = network.clone().train();
    let logits = network.forward(Tensor::from_inner(x.clone()));
    let device: Device = x.device();
    let upstream = tensor(&noise(901, logits.shape().num_elements()), logits.dims(), &device);
    let gradients = (logits.clone() * Tensor::from_inner(upstream)).sum().backward();
    let mut collect = Collect {
        path: Vec::new(),
        gradients: &gradients,
        found: BTreeMap::new(),
    };
    network.visit(&mut collect);
    (values(&logits.inner()), collect.found)
}

struct Collect<'a> {
    path: Vec<String>,
    gradients: &'a Gradients,
    found: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

impl ModuleVisitor for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad(self.gradients) {
            let entry = (gradient.dims().to_vec(), values(&gradient));
            self.found.insert(self.path.join("."), entry);
        }
    }
}

fn floats(fixture: &SafeTensors, name: &str) -> Vec<f64> {
    let bytes = fixture
        .tensor(name)
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .data();
    let float = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap()).into();
    bytes.chunks_exact(4).map(float).collect()
}
