//! Packed networks compute what the networks they are made of compute.

#![cfg(all(feature = "flex", feature = "packed"))]

#[path = "packed/any.rs"]
mod any;
mod common;
#[path = "common/draw.rs"]
mod draw;
#[path = "packed/drawn.rs"]
mod drawn;
#[path = "packed/steps.rs"]
mod steps;

use burn::tensor::{Device, Tensor, TensorData};
use common::noise;
use vwc_sdk::data::{Normalization, PictureBatcher, PictureItem, PictureSpec};
use vwc_sdk::graph::Op;
use vwc_sdk::models::{BlockOrder, Cnn8Config, Network, NetworkConfig, ResNet20Config, Vgg13Config};
use vwc_sdk::module::Parameters;
use vwc_sdk::packed::{Machine, Session, freeze};
use vwc_sdk::quant::Bits;

/// The largest difference of two logits, as a part of the largest: the last layers add up floats in another order.
const TOLERANCE: f32 = 1e-4;

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

/// `network` with random batch norms, every third scale below zero and every seventh zero, around which activations
/// take all their values.
fn with_random_norms<M: burn::module::Module>(network: M, seed: u64) -> M {
    let mut parameters = Parameters::of(&network);
    let paths: Vec<String> = parameters.iter().map(|(path, _)| path.to_owned()).collect();
    for (n, path) in paths.iter().enumerate() {
        let values = parameters.values(path).unwrap().to_vec();
        let noise = noise(seed + n as u64, values.len());
        let value = |n: usize, x: f64| match path.rsplit('.').next().unwrap() {
            "gamma" if n % 7 == 6 => Some(0.0),
            "gamma" if n % 3 == 2 => Some(-0.3 - 0.2 * x),
            "gamma" => Some(0.4 + 0.3 * x),
            "beta" => Some(0.5 + 0.5 * x),
            "running_mean" => Some(0.1 * x),
            "running_var" => Some(0.05 + 0.04 * x),
            _ => None,
        };
        let values: Vec<f32> = (values.iter().zip(noise).enumerate())
            .map(|(n, (&old, x))| value(n, x).map_or(old, |new| new as f32))
            .collect();
        let shape = parameters.get(path).unwrap().shape().clone();
        parameters.insert(path.clone(), TensorData::new(values, shape));
    }
    parameters.put_into(network).unwrap()
}

fn pictures(count: usize, [height, width]: [usize; 2], seed: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let noise = noise(seed + n as u64, height * width * 3);
            noise.iter().map(|x| ((x + 1.0) * 127.9) as u8).collect()
        })
        .collect()
}

/// Packs a random network and compares the codes that every packed convolution reads, the logits and the class.
fn compare<C: NetworkConfig>(config: &C, seed: u64) {
    let device = Device::flex();
    device.seed(seed);
    let network = with_random_norms(config.init(&device), seed);
    let normalization = Normalization {
        mean: [0.49, 0.48, 0.44],
        std: [0.2, 0.21, 0.19],
    };
    let input = PictureSpec::numbered(config.input(), config.classes()).with_normalization(normalization);
    let model = freeze(&network, &input).unwrap();
    let graph = network.graph().unwrap();
    let paths: Vec<String> = (graph.nodes().iter())
        .filter(|node| matches!(node.op(), Op::Conv(_)) && !node.name().contains("shortcut"))
        .map(|node| node.name().to_owned())
        .collect();
    let what = format!("{} {}", C::NAME, config.precision());
    for pixels in pictures(2, config.input(), seed) {
        let item = PictureItem {
            size: config.input(),
            pixels: pixels.clone(),
            label: 0,
        };
        use burn::data::dataloader::batcher::Batcher;
        let images = PictureBatcher::new(normalization)
            .batch(vec![item], &device)
            .images;
        // What each convolution reads in training.
        let mut inputs: Vec<Tensor<4>> = Vec::new();
        let executor = graph.on(&device);
        let logits: Tensor<2> = executor
            .forward_with(images.clone(), |id, _, x| {
                let place = paths.iter().position(|path| path == graph.node(id).name());
                if place.is_some() {
                    inputs.push(x.clone());
                }
                Ok(None)
            })
            .unwrap();
        let forward = network.forward(images).into_data().try_into_vec::<f32>().unwrap();
        assert_eq!(logits.into_data().try_into_vec::<f32>().unwrap(), forward);
        for machine in Machine::available() {
            let mut session = Session::new(&model).with_machine(machine);
            // The value that each step reads is the one that the step before it wrote.
            let mut before: Option<(u32, Vec<f32>)> = None;
            let mut compared = 0;
            let mut different = [0usize; 2];
            let mut seen = [false; 16];
            let found = session
                .observe(&pixels, &mut |feature| {
                    let Some(place) = paths.iter().position(|path| path == feature.layer) else {
                        // Hidden linear layers, activations: they are read by the next.
                        before = codes(&feature);
                        return;
                    };
                    if let Some((bits, codes)) = before.take() {
                        let levels = ((1u32 << bits) - 1) as f32;
                        let expected: Vec<f32> = inputs[place].to_data().try_into_vec::<f32>().unwrap();
                        assert_eq!(expected.len(), codes.len(), "{what} {}", feature.layer);
                        for (code, expected) in codes.iter().zip(&expected) {
                            assert!(
                                code / levels == *expected,
                                "{what} on {machine}, input of {}: code {code}, expected {expected}",
                                feature.layer
                            );
                            seen[*code as usize] = true;
                            different[usize::from(*code > 0.0)] += 1;
                        }
                        compared += 1;
                    }
                    before = codes(&feature);
                })
                .to_vec();
            assert_eq!(compared, paths.len() - 1, "{what}: every packed convolution");
            assert!(
                different.iter().all(|&n| n > 100),
                "{what}: codes vary: {different:?}"
            );
            let largest = forward.iter().fold(0f32, |m, x| m.max(x.abs()));
            for (found, expected) in found.iter().zip(&forward) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * largest,
                    "{what} on {machine}: logit {found}, expected {expected}"
                );
            }
            let class = |logits: &[f32]| {
                (0..logits.len())
                    .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
                    .unwrap()
            };
            assert_eq!(class(&found), class(&forward), "{what}");
        }
    }
}

/// What Python says, or nothing where there is no ONNX Runtime for it.
fn onnx_runtime(args: &[&std::path::Path]) -> Option<String> {
    let mut script = common::onnx::onnx_runtime_script("packed_onnx.py")?;
    let output = script.args(args).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(String::from_utf8(output.stdout).unwrap())
}

fn compare_with_onnx_runtime<C: NetworkConfig>(config: &C, seed: u64) {
    const PICTURES: usize = 20;
    let device = Device::flex();
    device.seed(seed);
    let network = with_random_norms(config.init(&device), seed);
    let input = PictureSpec::numbered(config.input(), config.classes());
    let model = freeze(&network, &input).unwrap();
    let pictures = pictures(PICTURES, config.input(), seed).concat();
    let ours = Session::new(&model).logits(&pictures).to_vec();
    let dir = tempfile::tempdir().unwrap();
    let [onnx, bytes] = ["network.onnx", "pictures.bin"].map(|name| dir.path().join(name));
    std::fs::write(&onnx, model.to_onnx().unwrap()).unwrap();
    std::fs::write(&bytes, &pictures).unwrap();
    let Some(found) = onnx_runtime(&[&onnx, &bytes]) else {
        return;
    };
    let theirs: Vec<f32> = found
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    assert_eq!(theirs.len(), ours.len());
    let largest = ours.iter().fold(0f32, |m, x| m.max(x.abs()));
    let what = format!("{} {}", C::NAME, config.precision());
    for (n, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(
            (ours - theirs).abs() <= TOLERANCE * largest,
            "{what}, logit {n}: {ours}, in ONNX Runtime {theirs}"
        );
    }
}

#[test]
fn onnx_runtime_gives_the_same_logits() {
    for [weight_bits, activation_bits] in [[1, 1], [2, 3]] {
        let [weight, activation] = [bits(weight_bits), bits(activation_bits)];
        let cnn8 = Cnn8Config::new()
            .with_weight_bits(weight)
            .with_activation_bits(activation);
        compare_with_onnx_runtime(&cnn8, 500);
        for order in [BlockOrder::Original, BlockOrder::PreActivation] {
            let resnet20 = ResNet20Config::new()
                .with_widths([16, 20, 32])
                .with_order(order)
                .with_weight_bits(weight)
                .with_activation_bits(activation);
            compare_with_onnx_runtime(&resnet20, 501);
        }
        let vgg13 = Vgg13Config::new()
            .with_widths([8, 8, 16, 20, 32, 32, 64, 48, 65, 64])
            .with_hidden([60, 70])
            .with_weight_bits(weight)
            .with_activation_bits(activation);
        compare_with_onnx_runtime(&vgg13, 502);
    }
}

/// Bits and codes in the order channel, row, column.
fn codes(feature: &vwc_sdk::packed::Feature<'_>) -> Option<(u32, Vec<f32>)> {
    let bits = feature.bits()?;
    let [height, width] = feature.size;
    let mut codes = Vec::new();
    for channel in 0..feature.channels {
        for y in 0..height {
            for x in 0..width {
                codes.push(feature.get([y, x], channel));
            }
        }
    }
    Some((bits, codes))
}

#[test]
fn cnn8_of_every_precision_computes_the_codes_of_training() {
    for weight_bits in 1..=4 {
        for activation_bits in 1..=4 {
            let config = Cnn8Config::new()
                .with_weight_bits(bits(weight_bits))
                .with_activation_bits(bits(activation_bits));
            compare(&config, u64::from(10 * weight_bits + activation_bits));
        }
    }
}

#[test]
fn pruned_cnn8_computes_the_codes_of_training() {
    for (n, widths) in [
        [18, 21, 27, 60, 60, 60, 256],
        [5, 70, 1, 33, 64, 65, 130],
        [24, 17, 96, 128, 3, 64, 7],
    ]
    .into_iter()
    .enumerate()
    {
        for [weight_bits, activation_bits] in [[1, 1], [2, 3]] {
            let config = Cnn8Config::new()
                .with_widths(widths)
                .with_weight_bits(bits(weight_bits))
                .with_activation_bits(bits(activation_bits))
                .with_classes(3);
            compare(&config, 100 + n as u64);
        }
    }
}

#[test]
fn resnet20_computes_the_codes_of_training() {
    for (n, order) in [BlockOrder::Original, BlockOrder::PreActivation]
        .into_iter()
        .enumerate()
    {
        for [weight_bits, activation_bits] in [[1, 1], [1, 2], [2, 2], [3, 4]] {
            let config = ResNet20Config::new()
                .with_widths([16, 42, 64])
                .with_inner(Some([16, 12, 7, 42, 40, 33, 64, 30, 65]))
                .with_order(order)
                .with_weight_bits(bits(weight_bits))
                .with_activation_bits(bits(activation_bits));
            compare(&config, 200 + n as u64);
        }
    }
    compare(&ResNet20Config::new().with_weight_bits(bits(1)), 300);
}

#[test]
fn vgg13_computes_the_codes_of_training() {
    for [weight_bits, activation_bits] in [[1, 1], [1, 2], [2, 2], [4, 3]] {
        let config = Vgg13Config::new()
            .with_widths([8, 8, 16, 20, 32, 32, 64, 48, 65, 64])
            .with_hidden([60, 70])
            .with_weight_bits(bits(weight_bits))
            .with_activation_bits(bits(activation_bits));
        compare(&config, 400);
    }
}
/// A network of Burn's layers, quantised by a plan: nothing in it is one of this crate's own.
#[derive(burn::module::Module, Debug)]
struct Plain {
    stem: burn::nn::conv::Conv2d,
    norms: Vec<burn::nn::BatchNorm>,
    convs: Vec<burn::nn::conv::Conv2d>,
    head: burn::nn::Linear,
}

impl Plain {
    fn new(device: &Device) -> Self {
        use burn::nn::conv::Conv2dConfig;
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).with_bias(false).init(device);
        let norm = |channels| burn::nn::BatchNormConfig::new(channels).init(device);
        Self {
            stem: conv([3, 12]),
            norms: vec![norm(12), norm(10), norm(10)],
            convs: vec![Conv2dConfig::new([12, 10], [3, 3]).init(device), conv([10, 10])],
            head: burn::nn::LinearConfig::new(10 * 3 * 3, 5).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let codes = |x: Tensor<4>| vwc_sdk::quant::quantize_activation(x, Bits::TWO);
        let x = codes(self.norms[0].forward(self.stem.forward(x)));
        let x = self.norms[1].forward(self.convs[0].forward(x));
        let pool = burn::tensor::ops::MaxPoolOptions::new([2, 2]);
        let x = codes(burn::tensor::module::max_pool2d(x, pool));
        let x = self.norms[2].forward(self.convs[1].forward(x)).clamp(0.0, 1.0);
        self.head.forward(x.flatten(1, 3))
    }
}

#[test]
fn a_module_of_plain_layers_is_packed() {
    use vwc_sdk::graph::Graph;
    use vwc_sdk::packed::Model;
    use vwc_sdk::quant::WeightQuantizer;
    let device = Device::flex();
    device.seed(5);
    let module = with_random_norms(Plain::new(&device), 5);
    let plan = WeightQuantizer::dorefa(Bits::TWO)
        .on(&module)
        .only("convs")
        .unwrap();
    let module = plan.apply(module).unwrap();
    let graph = Graph::of(&module, [1, 3, 14, 14], Plain::forward).unwrap();
    let input = PictureSpec::numbered([14, 14], 5);
    let model = Model::of(&graph, "plain", &input).unwrap();
    assert_eq!(model.precision(), "W2A2");
    let mut session = Session::new(&model);
    use burn::data::dataloader::batcher::Batcher;
    for pixels in pictures(20, [14, 14], 7) {
        let item = PictureItem {
            size: [14, 14],
            pixels: pixels.clone(),
            label: 0,
        };
        let images = PictureBatcher::new(input.normalization)
            .batch(vec![item], &device)
            .images;
        let expected = module.forward(images).into_data().try_into_vec::<f32>().unwrap();
        for (found, expected) in session.logits(&pixels).iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }
    // Functions between layers, codes of 8 bits, and a mean down the columns first.
    let sigmoid = Graph::of(&module, [1, 3, 14, 14], |module: &Plain, x| {
        let x = burn::tensor::activation::sigmoid(module.norms[0].forward(module.stem.forward(x)));
        let x = vwc_sdk::quant::quantize_activation(x, Bits::TWO);
        let x = module.convs[1].forward(module.convs[0].forward(x));
        module
            .head
            .forward(x.narrow(2, 0, 3).narrow(3, 0, 3).flatten::<2>(1, 3))
    });
    let columns = Graph::of(&module, [1, 3, 14, 14], |module: &Plain, x| {
        let codes = |x: Tensor<4>| vwc_sdk::quant::quantize_activation(x, Bits::TWO);
        let x = module.convs[0].forward(codes(module.stem.forward(x)));
        let x = codes(codes(x).mean_dim(2).mean_dim(3));
        module
            .head
            .forward(x.repeat_dim(2, 3).repeat_dim(3, 3).flatten::<2>(1, 3))
    });
    let wide = Graph::of(&module, [1, 3, 14, 14], |module: &Plain, x| {
        let x = vwc_sdk::quant::quantize_activation(module.stem.forward(x), Bits::new(8).unwrap());
        let x = module.convs[1].forward(module.convs[0].forward(x));
        module
            .head
            .forward(x.narrow(2, 0, 3).narrow(3, 0, 3).flatten::<2>(1, 3))
    });
    for (graph, precision) in [(sigmoid, "W2A2"), (columns, "W2A2"), (wide, "W2A8")] {
        let graph = graph.unwrap();
        let model = Model::of(&graph, "plain", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
        assert_eq!(model.precision(), precision);
        for pixels in pictures(5, [14, 14], 7) {
            let images = batch(&pixels, [14, 14], input.normalization, &device);
            let expected: Tensor<2> = graph.on(&device).forward(images).unwrap();
            let expected = expected.into_data().try_into_vec::<f32>().unwrap();
            for (found, expected) in Session::new(&model).logits(&pixels).iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4, "{found} {expected} {graph}");
            }
        }
    }
}

/// A picture as a network reads it.
fn batch(pixels: &[u8], size: [usize; 2], normalization: Normalization, device: &Device) -> Tensor<4> {
    use burn::data::dataloader::batcher::Batcher;
    let item = PictureItem {
        size,
        pixels: pixels.to_vec(),
        label: 0,
    };
    PictureBatcher::new(normalization)
        .batch(vec![item], device)
        .images
}
