//! Networks made of graphs: they compute what their graphs do, are trained, quantised, pruned, kept and packed as any other.
#![cfg(feature = "flex")]

mod common;
#[path = "common/draw.rs"]
mod draw;
#[path = "graph_net/folded.rs"]
mod folded;
#[path = "common/gradients.rs"]
mod gradients;
#[path = "common/masked.rs"]
mod masked;
#[path = "common/mobile.rs"]
mod mobile;
#[path = "graph_net/single.rs"]
mod single;

use burn::data::dataloader::batcher::Batcher;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use common::{assert_close, noise, tensor, values};
use draw::{Numbers, network};
use gradients::by_path;
use masked::masked;
use mobile::{mobile, numbers};
use proptest::prelude::*;
use tempfile::TempDir;
use vwc_sdk::data::{Augment, PictureBatcher, PictureItem, PictureSpec, Pictures, Splits};
use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, Function, Graph, Linear, NodeSpec, OnnxExport, Op, Reduction, Sketch,
    WeightCodes,
};
use vwc_sdk::mapping::Padding;
use vwc_sdk::models::{GraphNet, GraphNetConfig, Network, NetworkConfig, QuantPlan};
use vwc_sdk::module::Parameters;
use vwc_sdk::packed::{Model, Session};
use vwc_sdk::prune::{Ranking, groups_of, prune};
use vwc_sdk::pytorch::{Weights, save_safetensors};
use vwc_sdk::quant::{ActivationQuantizer, Bits, LearnedSteps, Observer};
use vwc_sdk::train::{FitOptions, Recipe, RunDir, evaluate, fit, initial};

fn device() -> Device {
    Device::flex()
}

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

fn mobile_net() -> GraphNet {
    GraphNet::of(&mobile(10), "mobile", &device()).unwrap()
}

fn floats(seed: u64, count: usize) -> Vec<f32> {
    noise(seed, count).into_iter().map(|value| value as f32).collect()
}

/// A convolution of one place.
fn place([inputs, outputs]: [usize; 2], seed: u64) -> Conv {
    Conv::new(Constant::new(
        [outputs, inputs, 1, 1],
        floats(seed, inputs * outputs),
    ))
}

/// The mean of each channel.
fn mean() -> Op {
    Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    }
}

fn images(seed: u64, count: usize, [height, width]: [usize; 2]) -> Tensor<4> {
    let shape = [count, 3, height, width];
    tensor(&noise(seed, shape.iter().product()), shape, &device())
}

#[test]
fn parameters_are_called_as_in_the_file() {
    let network = mobile_net();
    let parameters = Parameters::of(&network);
    let found: Vec<&str> = parameters.iter().map(|(path, _)| path).collect();
    for path in [
        "stem.conv.weight",
        "stem.bn.running_var",
        "block.se.2.weight",
        "fc.weight",
        "fc.bias",
    ] {
        assert!(found.contains(&path), "{path} in {found:?}");
    }
    assert_eq!(found.len(), 7 + 4 * 5 + 2);
    // Variances are those of the file, not their roots.
    let root = numbers("stem.bn.running_var", &[8, 1, 1], 0.5, 1.5);
    let variances = parameters.values("stem.bn.running_var").unwrap();
    for (variance, root) in variances.iter().zip(root.values()) {
        assert!(
            (variance - (root * root - 1e-3)).abs() < 1e-5,
            "{variance} {root}"
        );
    }
    // Layers of the graph that is recorded of it have their names again.
    let graph = network.graph().unwrap();
    assert!(graph.find("block.depthwise").is_some(), "{graph}");
    // Running statistics are no weights.
    let trained = network.num_trainable_params();
    let all: usize = parameters
        .iter()
        .map(|(_, data)| data.shape().num_elements())
        .sum();
    assert_eq!(all - trained, 2 * (8 + 24 + 24 + 8 + 16));
}

#[test]
fn constants_without_names_and_shared_ones_are_called_by_their_nodes() {
    let weight = Constant::new([3, 3, 1, 1], vec![0.5; 9]);
    let shared = weight.clone().named("shared.weight");
    let relu = |name: &str, from: &str| NodeSpec::new(name, Function::Relu, [from]);
    let graph = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("a", Conv::new(shared.clone()), ["x"]),
            relu("r", "a"),
            NodeSpec::new("b", Conv::new(shared), ["r"]),
            NodeSpec::new("with a space", Conv::new(weight.clone()), ["b"]),
            NodeSpec::new(
                "/c/Conv",
                Conv::new(weight.named("no path at all")),
                ["with a space"],
            ),
            NodeSpec::new(
                "mean",
                Op::Reduce {
                    kind: Reduction::Mean,
                    axes: vec![1, 2],
                },
                ["/c/Conv"],
            ),
            NodeSpec::new("flat", Op::Reshape { shape: vec![3] }, ["mean"]),
        ],
        ["flat"],
    );
    let network = GraphNet::of(&graph.unwrap(), "names", &device()).unwrap();
    let parameters = Parameters::of(&network);
    let found: Vec<&str> = parameters.iter().map(|(path, _)| path).collect();
    assert_eq!(
        found,
        [
            "/c/Conv.weight",
            "b.weight",
            "shared.weight",
            "with_a_space.weight"
        ]
    );
}

#[test]
fn networks_compute_their_graphs() {
    let graph = mobile(10);
    let x = images(3, 2, [32, 32]);
    let expected: Tensor<2> = graph.on(&device()).forward(x.clone()).unwrap();
    let network = mobile_net();
    assert_close(
        &values(&network.forward(x.clone())),
        &values(&expected),
        1e-5,
        "mobile",
    );
    let again: Tensor<2> = network.graph().unwrap().on(&device()).forward(x).unwrap();
    assert_close(&values(&again), &values(&expected), 1e-5, "recorded");
    for seed in 0..100 {
        let (graph, size) = network_of(seed);
        let x = images(seed, 2, size);
        let expected: Tensor<2> = graph.on(&device()).forward(x.clone()).unwrap();
        let found = GraphNet::of(&graph, "drawn", &device()).unwrap().forward(x);
        assert_close(&values(&found), &values(&expected), 1e-4, &graph.to_string());
    }
}

fn network_of(seed: u64) -> (Graph, [usize; 2]) {
    network(seed, Numbers::Smooth)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pruned is masked, whatever the network is made of; and what is left is a network that its own configuration makes.
    #[test]
    fn pruned_networks_are_the_masked_ones(seed in any::<u64>(), part in 0.3f64..1.0) {
        let (graph, size) = network_of(seed);
        let network = GraphNet::of(&graph, "drawn", &device()).unwrap();
        let groups = groups_of(&network).unwrap_or_else(|error| panic!("{error}\n{graph}"));
        let full = groups.channels();
        let mut widths: Vec<usize> = full.iter().map(|&channels| ((channels as f64 * part) as usize).max(1)).collect();
        // Channels that are split and shuffled may have to stay.
        if prune(&network, &widths, Ranking::L1).is_err() {
            let splits = |node: &vwc_sdk::graph::Node| matches!(node.op(), Op::Permute { .. });
            prop_assert!(graph.nodes().iter().any(splits), "{graph}");
            for n in 0..full.len() {
                let mut fewer = full.clone();
                fewer[n] = widths[n];
                if prune(&network, &fewer, Ranking::L1).is_err() {
                    widths[n] = full[n];
                }
            }
        }
        let pruned = prune(&network, &widths, Ranking::L1);
        let small = pruned.unwrap_or_else(|error| panic!("{error}\n{widths:?}\n{groups}\n{graph}")).network;
        let x = images(seed, 2, size);
        let expected = values(&masked(&network, &groups, &widths).forward(x.clone()));
        assert_close(&values(&small.forward(x.clone())), &expected, 1e-4, &format!("{widths:?}\n{groups}\n{graph}"));
        let config = small.structure();
        let text = serde_json::to_string(&config).unwrap();
        let read: GraphNetConfig = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&read, &config);
        let made = Parameters::of(&small).put_into(read.init(&device())).unwrap();
        prop_assert_eq!(made.forward(x.clone()).into_data(), small.forward(x).into_data());
    }
}

/// A packed network gives a picture of 32x32 the logits of the network that it was made of.
fn packed_is_trained(packed: &Model, network: &GraphNet, what: &str) {
    let pixels: Vec<u8> = noise(9, 3 * 32 * 32)
        .iter()
        .map(|x| ((x + 1.0) * 127.0) as u8)
        .collect();
    let item = PictureItem {
        size: [32, 32],
        pixels: pixels.clone(),
        label: 0,
    };
    let normalization = PictureSpec::numbered([32, 32], 10).normalization;
    let batch = PictureBatcher::new(normalization).batch(vec![item], &device());
    let logits: Vec<f64> = Session::new(packed)
        .logits(&pixels)
        .iter()
        .map(|&x| f64::from(x))
        .collect();
    assert_close(&logits, &values(&network.forward(batch.images)), 1e-3, what);
}

#[test]
fn quantised_layers_read_codes_and_are_packed() {
    let x = images(5, 4, [32, 32]);
    for [weights, activations] in [[4, 4], [2, 3], [8, 8], [1, 2], [1, 1], [4, 1]] {
        let network = mobile_net().quantized(bits(weights), bits(activations)).unwrap();
        let network = network
            .calibrated(std::slice::from_ref(&x), Observer::default())
            .unwrap();
        let layers = network.quantized_layers();
        assert_eq!(layers.len(), 6, "{layers:?}");
        assert!(!layers.contains(&"stem.conv") && !layers.contains(&"fc"));
        let graph = network.graph().unwrap();
        let codes = graph.codes();
        for name in layers {
            let node = graph.node(graph.find(name).unwrap());
            let codes = codes[node.inputs()[0].index()].as_ref().expect("codes are read");
            assert!(
                codes.bits() <= activations.into(),
                "{name}: {} bits",
                codes.bits()
            );
            let Op::Conv(conv) = node.op() else {
                panic!("convolutions are quantised")
            };
            let found = conv.weight_codes().expect("weights are codes").bits();
            assert!(found <= weights.into(), "{name}: {found} bits");
        }
        let input = PictureSpec::numbered([32, 32], 10);
        let packed = Model::of(&graph, "mobile", &input).unwrap();
        // Bits of a sign alone are no multiples of one unit, and are computed in floats.
        let expected = if activations > 1 {
            'W'
        } else {
            packed.precision().chars().next().unwrap()
        };
        assert!(packed.precision().starts_with(expected), "{}", packed.precision());
        packed_is_trained(&packed, &network, &format!("W{weights}A{activations}"));
    }
}

#[test]
fn steps_that_cannot_be_measured_are_refused_and_the_layer_is_named() {
    let device = Device::default();
    let net = || {
        let plan = QuantPlan::new(bits(4), bits(4)).with_ends(bits(8));
        mobile_net().quantized_by(plan).unwrap()
    };
    let full = |number: f32| Tensor::<4>::full([2, 3, 32, 32], number, &device);
    // One number that is none, between those that are looked at.
    let mut one = vec![1.0; 2 * 3 * 32 * 32];
    one[1] = f64::NAN;
    let one = tensor(&one, [2, 3, 32, 32], &device);
    for (batches, says) in [
        (vec![], "at least one picture"),
        (
            vec![full(0.0)],
            "layer `stem.conv`: all that it reads of these pictures is zero",
        ),
        (
            vec![full(f32::NAN)],
            "layer `stem.conv`: it reads NaN or infinity",
        ),
        (vec![one; 16], "layer `stem.conv`: it reads NaN or infinity"),
    ] {
        let error = net()
            .calibrated(&batches, Observer::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(says), "{error}");
    }
    // More is cut off at few bits than where nothing may be.
    let x = images(5, 4, [32, 32]);
    let step = |observer| {
        let network = net().calibrated(std::slice::from_ref(&x), observer).unwrap();
        let parameters = Parameters::of(&network);
        let steps = parameters.iter().filter(|(path, _)| path.ends_with("input.step"));
        steps
            .map(|(_, data)| data.iter::<f32>().next().unwrap())
            .collect::<Vec<f32>>()
    };
    let (least, all) = (step(Observer::LeastError), step(Observer::MinMax));
    assert!(least.len() > 3 && least.len() == all.len(), "{least:?}");
    assert!(
        least.iter().zip(&all).all(|(least, all)| least <= all),
        "{least:?} {all:?}"
    );
}

/// Feature maps whose first columns are zero, and kernels whose corners are small: what steps are measured on is from all over them.
#[test]
fn steps_are_measured_on_all_of_a_value() {
    let device = Device::default();
    let (maps, pictures) = (256, 256);
    let ones = |shape: [usize; 4]| Constant::new(shape, vec![1.0; shape.iter().product()]);
    let mut kernels = floats(3, 256 * maps * 9);
    kernels.iter_mut().step_by(9).for_each(|corner| *corner *= 1e-3);
    let graph = Graph::new(
        [
            NodeSpec::input("x", [3, 8, 8]),
            NodeSpec::new("stem", Conv::new(ones([maps, 3, 1, 1])), ["x"]),
            NodeSpec::new("relu", Function::Relu, ["stem"]),
            NodeSpec::new(
                "wide",
                Conv {
                    padding: Padding::from(1),
                    ..Conv::new(Constant::new([256, maps, 3, 3], kernels.clone()))
                },
                ["relu"],
            ),
            NodeSpec::new("mean", mean(), ["wide"]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![256] }, ["mean"]),
            NodeSpec::new(
                "head",
                Linear {
                    weight: Constant::new([256, 10], floats(4, 2560)),
                    bias: None,
                },
                ["flat"],
            ),
        ],
        ["head"],
    )
    .unwrap();
    let plan = QuantPlan::new(bits(8), bits(8));
    let network = GraphNet::of(&graph, "edges", &device).unwrap();
    let network = network.quantized_by(plan).unwrap();
    let x: Vec<f64> = (0..pictures * 3 * 64)
        .map(|n| if n % 8 == 0 { 0.0 } else { 1.0 + (n % 7) as f64 })
        .collect();
    let x = tensor(&x, [pictures, 3, 8, 8], &device);
    let network = network.calibrated(&[x], Observer::LeastError).unwrap();
    let parameters = Parameters::of(&network);
    let step = |path: &str| {
        let ends = |name: &&str| name.starts_with(path) && name.ends_with(".step");
        let name = parameters.iter().map(|(name, _)| name).find(ends).unwrap();
        parameters.values(name).unwrap()[0]
    };
    // The largest of three channels, and of weights between -1 and 1: nothing is cut off at 8 bits.
    let largest = 21.0;
    assert!(
        step("wide.input") > 0.5 * largest / 255.0,
        "{}",
        step("wide.input")
    );
    assert!(step("wide.weight") > 0.9 / 128.0, "{}", step("wide.weight"));
}

/// Whatever quantises activations: what is said of it, codes for layers and additions, learned numbers that move, and the same network
/// packed, and read again.
#[test]
fn activations_are_quantised_as_the_plan_says() {
    let x = images(5, 4, [32, 32]);
    for (quantizer, said, signed, learned) in [
        (ActivationQuantizer::Lsq, "", "", &["step"][..]),
        (ActivationQuantizer::LsqPlus, "", " by LSQ+", &["step", "offset"]),
        (ActivationQuantizer::Pact, " by PACT", "", &["clip", "step"]),
        (ActivationQuantizer::Dorefa, " by DoReFa", "", &["step"]),
    ] {
        let plan = QuantPlan::new(bits(4), bits(4))
            .with_activations(quantizer)
            .with_joins(true)
            .with_layers("block.sum", Bits::FULL, bits(6));
        let network = mobile_net().quantized_by(plan).unwrap();
        let network = network
            .calibrated(std::slice::from_ref(&x), Observer::default())
            .unwrap();
        let config = network.config();
        let lines: Vec<String> = config
            .quantized_layers()
            .into_iter()
            .chain(config.quantized_joins())
            .map(|line| line.to_string())
            .collect();
        // What is behind a ReLU, and a sum that may be below zero.
        let depthwise = format!("block.depthwise: weights 4-bit LSQ, reads 4 bits{said}");
        assert!(lines.contains(&depthwise), "{quantizer}: {lines:?}");
        let last = format!("last.conv: weights 4-bit LSQ, reads 4 bits{signed}");
        assert!(lines.contains(&last), "{quantizer}: {lines:?}");
        let joins = &lines[lines.len() - 2..];
        assert!(joins[0].starts_with("block.sum: reads 6 bits"), "{joins:?}");
        // It shares a value with the sum.
        assert!(joins[1].starts_with("both: reads 6 bits"), "{joins:?}");
        let text = serde_json::to_string(config).unwrap();
        assert_eq!(&serde_json::from_str::<GraphNetConfig>(&text).unwrap(), config);

        let graph = network.graph().unwrap();
        let codes = graph.codes();
        let joins = |op: &Op| matches!(op, Op::Binary(Binary::Add) | Op::Concat { .. });
        let named = |name: &str| ["block.depthwise", "block.project", "last.conv"].contains(&name);
        let readers = graph
            .nodes()
            .iter()
            .filter(|node| joins(node.op()) || named(node.name()));
        assert_eq!(readers.clone().count(), 5, "{graph}");
        let is_sum = |op: &Op| matches!(op, Op::Binary(Binary::Add));
        let sum = graph.nodes().iter().find(|node| is_sum(node.op()));
        let of_sum = sum.unwrap().inputs();
        let mut few = 0;
        for node in readers {
            let name = node.name();
            for input in node.inputs() {
                // What the sum reads has its bits, and what the concatenation alone reads those of the plan.
                let most = if of_sum.contains(input) { 63 } else { 15 };
                few += usize::from(matches!(node.op(), Op::Concat { .. }) && most == 15);
                let codes = codes[input.index()].as_ref();
                let codes = codes.unwrap_or_else(|| panic!("{quantizer}: {name}: {graph}"));
                assert!(codes.high() - codes.low() <= most, "{name}: {codes:?}");
                assert!(
                    codes.low() <= 0 && codes.high() >= 0 && codes.through_zero(),
                    "{name}: {codes:?}"
                );
            }
        }
        assert!(few > 0, "{graph}");
        let input = PictureSpec::numbered([32, 32], 10);
        packed_is_trained(&Model::of(&graph, "mobile", &input).unwrap(), &network, "packed");

        let parameters = Parameters::of(&network);
        let paths: Vec<&str> = parameters.iter().map(|(path, _)| path).collect();
        for name in learned {
            assert!(
                paths.iter().any(|path| path.ends_with(&format!(".input.{name}"))),
                "{paths:?}"
            );
        }
        let again = parameters.clone().put_into(config.init(&device())).unwrap();
        assert_eq!(
            again.forward(x.clone()).into_data(),
            network.forward(x.clone()).into_data()
        );

        let trained = network.train();
        let logits = trained.forward(images(6, 4, [32, 32]).autodiff());
        let gradients = by_path(logits.powi_scalar(2).sum().backward(), &trained);
        for path in paths.iter().filter(|path| path.contains(".input")) {
            assert!(gradients.contains_key(*path), "{path} has no gradient");
        }
    }
    // Of eight bits and below zero a code takes nine as an integer.
    let plan = QuantPlan::new(bits(8), bits(8)).with_activations(ActivationQuantizer::LsqPlus);
    let network = mobile_net().quantized_by(plan).unwrap();
    let network = network
        .calibrated(std::slice::from_ref(&x), Observer::MinMax)
        .unwrap();
    let input = PictureSpec::numbered([32, 32], 10);
    let packed = Model::of(&network.graph().unwrap(), "mobile", &input).unwrap();
    packed_is_trained(&packed, &network, "LSQ+ of 8 bits");
    let unknown = QuantPlan::new(bits(4), bits(4)).with_layers("block.sum", bits(4), bits(4));
    let error = mobile_net().quantized_by(unknown).unwrap_err().to_string();
    assert!(error.contains("no layer fits \"block.sum\""), "{error}");
}

/// Whatever quantises activations, files have operators for it, and nothing is rounded by the operations that compute it.
#[test]
fn each_value_of_a_plan_is_a_quantiser_in_a_file() {
    let x = images(5, 4, [32, 32]);
    for quantizer in [
        ActivationQuantizer::Lsq,
        ActivationQuantizer::LsqPlus,
        ActivationQuantizer::Pact,
        ActivationQuantizer::Dorefa,
    ] {
        let plan = QuantPlan::new(bits(4), bits(4)).with_activations(quantizer);
        let network = mobile_net().quantized_by(plan).unwrap();
        let network = network
            .calibrated(std::slice::from_ref(&x), Observer::default())
            .unwrap();
        let graph = network.graph().unwrap();
        let has = |export: OnnxExport, operator: &str| {
            let file = graph.to_onnx(&export).unwrap();
            file.windows(operator.len()).any(|at| at == operator.as_bytes())
        };
        let floats = || OnnxExport::new("mobile");
        assert!(has(floats(), "Round"));
        for (export, operator) in [
            (floats().with_pairs(), "QuantizeLinear"),
            (floats().with_qonnx(), "Quant"),
        ] {
            assert!(has(export.clone(), operator), "{quantizer}");
            // Codes from a lowest one are rounded in front of a `Quant`, which has no zero point there.
            let rounds = operator == "Quant" && quantizer == ActivationQuantizer::LsqPlus;
            assert_eq!(has(export, "Round"), rounds, "{quantizer} {operator}: {graph}");
        }
    }
}

/// Batch norms that are folded into quantised weights: without rounding nothing changes, in evaluation and in training; with it
/// weights are codes and biases, and the network is packed, pruned, kept and trained.
#[test]
fn batch_norms_are_folded_into_quantised_weights() {
    let x = images(5, 4, [32, 32]);
    let plan = |weights: LearnedSteps| {
        QuantPlan::new(weights, Bits::FULL)
            .with_ends(bits(8))
            .with_folded_norms(true)
    };
    // Steps of 8 bits per filter are nearly no rounding.
    let fine = LearnedSteps::new(bits(8)).with_per_filter(true);
    let of_both = |plan: QuantPlan| {
        let network = mobile_net().quantized_by(plan).unwrap();
        let network = network
            .calibrated(std::slice::from_ref(&x), Observer::MinMax)
            .unwrap();
        let evaluated = values(&network.forward(x.clone()));
        let trained = network.train();
        let logits = values(&trained.forward(x.clone().autodiff()));
        let parameters = Parameters::of(&trained);
        let running = parameters.values("block.bn2.running_var").unwrap().to_vec();
        [evaluated, logits, running.into_iter().map(f64::from).collect()]
    };
    let folded = of_both(plan(fine).with_folded_norms(true));
    let apart = of_both(plan(fine).with_folded_norms(false));
    for ((folded, apart), what) in
        folded
            .iter()
            .zip(&apart)
            .zip(["evaluation", "training", "running variance"])
    {
        let largest = apart.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        let away = folded
            .iter()
            .zip(apart)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(away < 0.05 * largest, "{what}: {away} of {largest}");
    }

    let network = mobile_net()
        .quantized_by(plan(LearnedSteps::new(bits(4))).with_activations(ActivationQuantizer::Pact))
        .unwrap()
        .calibrated(std::slice::from_ref(&x), Observer::default())
        .unwrap();
    assert!(
        network.config().precision().ends_with("batch norms folded"),
        "{}",
        network.config().precision()
    );
    let graph = network.graph().unwrap();
    let affine =
        |node: &&vwc_sdk::graph::Node| matches!(node.op(), Op::Affine(affine) if affine.epsilon.is_some());
    assert_eq!(graph.nodes().iter().filter(affine).count(), 0, "{graph}");
    for name in ["stem.conv", "block.depthwise", "block.project"] {
        let Op::Conv(conv) = graph.node(graph.find(name).unwrap()).op() else {
            panic!("{name}")
        };
        assert!(
            conv.bias.is_some() && conv.weight_codes().is_some_and(|codes| codes.units().len() == 1),
            "{graph}"
        );
    }
    let input = PictureSpec::numbered([32, 32], 10);
    packed_is_trained(&Model::of(&graph, "mobile", &input).unwrap(), &network, "packed");
    let path = TempDir::new().unwrap();
    let path = path.path().join("mobile.safetensors");
    let error = save_safetensors(&network, &input, &path, Weights::Quantized)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("batch norms are folded") && !path.exists(),
        "{error}"
    );

    let groups = groups_of(&network).unwrap();
    let widths: Vec<usize> = groups.channels().iter().map(|width| width * 3 / 4).collect();
    let small = prune(&network, &widths, Ranking::L1).unwrap().network;
    let expected = values(&masked(&network, &groups, &widths).forward(x.clone()));
    assert_close(&values(&small.forward(x.clone())), &expected, 1e-4, "pruned");
    let again = Parameters::of(&small)
        .put_into(small.structure().init(&device()))
        .unwrap();
    assert_eq!(
        again.forward(x.clone()).into_data(),
        small.forward(x.clone()).into_data()
    );

    let trained = network.train();
    let logits = trained.forward(images(6, 4, [32, 32]).autodiff());
    let gradients = by_path(logits.powi_scalar(2).sum().backward(), &trained);
    for path in [
        "block.depthwise.weight",
        "block.bn2.weight",
        "block.bn2.bias",
        "block.depthwise.weight.quantizer.step",
    ] {
        let gradient = gradients
            .get(path)
            .unwrap_or_else(|| panic!("{path} has no gradient"));
        assert!(
            gradient.values.iter().any(|&x| x != 0.0 && x.is_finite()),
            "{path}"
        );
    }
    let none = QuantPlan::new(Bits::FULL, bits(4)).with_folded_norms(true);
    let error = mobile_net().quantized_by(none).unwrap_err().to_string();
    assert!(error.contains("no batch norm can be folded"), "{error}");
}

/// The first layer and the last at 8 bits, steps per filter, and layers of their own bits, in a network that is packed, kept and pruned.
#[test]
fn a_plan_says_how_each_layer_is_quantised() {
    let plan = || {
        let weights = LearnedSteps::new(bits(4)).with_per_filter(true).with_narrow(true);
        QuantPlan::new(weights, bits(4))
            .with_ends(bits(8))
            .with_layers("block.se", bits(32), bits(32))
            .with_layers("block.se.2", bits(2), bits(6))
    };
    let x = images(5, 4, [32, 32]);
    let network = mobile_net().quantized_by(plan()).unwrap();
    let network = network
        .calibrated(std::slice::from_ref(&x), Observer::default())
        .unwrap();
    let config = network.config();
    let lines: Vec<String> = config
        .quantized_layers()
        .iter()
        .map(ToString::to_string)
        .collect();
    let said = |bits: u8, reads: u8| {
        format!("weights {bits}-bit LSQ per filter without the lowest code, reads {reads} bits")
    };
    assert_eq!(lines[0], format!("stem.conv: {}", said(8, 8)));
    assert!(
        lines.contains(&format!("block.depthwise: {}", said(4, 4))),
        "{lines:?}"
    );
    assert!(
        lines.contains(&format!("block.se.2: {}", said(2, 6))),
        "{lines:?}"
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("block.se.0")),
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), &format!("fc: {}", said(8, 8)));
    assert_eq!(
        config.precision(),
        "W4A4, ends W8A8, per filter, without the lowest code, some layers of their own bits"
    );
    let text = serde_json::to_string(config).unwrap();
    assert_eq!(&serde_json::from_str::<GraphNetConfig>(&text).unwrap(), config);
    // A plan of bits alone is written as before.
    let plain = mobile_net().quantized(bits(4), bits(3)).unwrap();
    let text = serde_json::to_string(plain.config()).unwrap();
    assert!(
        text.contains("\"weight_bits\":4,\"activation_bits\":3") && !text.contains("plan"),
        "{text}"
    );
    assert_eq!(
        &serde_json::from_str::<GraphNetConfig>(&text).unwrap(),
        plain.config()
    );

    let graph = network.graph().unwrap();
    let weight_codes = |name: &str| match graph.node(graph.find(name).unwrap()).op() {
        Op::Conv(conv) => conv
            .weight_codes()
            .unwrap_or_else(|| panic!("{name}: weights are codes")),
        Op::Linear(linear) => {
            WeightCodes::of(&linear.weight, 1).unwrap_or_else(|| panic!("{name}: weights are codes"))
        }
        op => panic!("{name}: {op:?}"),
    };
    for (name, filters, highest) in [
        ("stem.conv", 8, 127),
        ("block.depthwise", 24, 7),
        ("block.se.2", 24, 1),
        ("fc", 10, 127),
    ] {
        let codes = weight_codes(name);
        assert_eq!(codes.units().len(), filters, "{name}");
        assert!(
            *codes.range().start() >= -highest && *codes.range().end() <= highest,
            "{name}: {:?}",
            codes.range()
        );
    }
    let input = PictureSpec::numbered([32, 32], 10);
    let packed = Model::of(&graph, "mobile", &input).unwrap();
    packed_is_trained(&packed, &network, "packed");

    // Filters take their steps along when they go.
    let groups = groups_of(&network).unwrap();
    let widths: Vec<usize> = groups.channels().iter().map(|width| width * 3 / 4).collect();
    let small = prune(&network, &widths, Ranking::L1).unwrap().network;
    let steps = Parameters::of(&small);
    assert_eq!(
        steps
            .get("stem.conv.weight.quantizer.step")
            .unwrap()
            .shape()
            .to_vec(),
        [6]
    );
    assert_eq!(small.config().plan(), config.plan());
    let logits = values(&small.forward(x));
    assert!(logits.iter().all(|x| x.is_finite()));

    let error = |plan: QuantPlan| mobile_net().quantized_by(plan).unwrap_err().to_string();
    let unknown = error(plan().with_layers("block.depthwize", bits(8), bits(8)));
    assert!(
        unknown.contains("no layer fits \"block.depthwize\": expected some of block.depthwise, block."),
        "{unknown}"
    );
    let nothing = error(QuantPlan::new(Bits::FULL, Bits::FULL));
    assert!(nothing.contains("nothing to quantise"), "{nothing}");
    assert!(
        mobile_net()
            .quantized_by(QuantPlan::new(Bits::FULL, Bits::FULL).with_ends(bits(8)))
            .is_ok()
    );
}

#[test]
fn what_is_quantised_twice_or_has_nothing_to_quantise_is_refused() {
    let network = mobile_net().quantized(bits(4), bits(4)).unwrap();
    let error = network.quantized(bits(2), bits(2)).unwrap_err().to_string();
    assert!(error.contains("mobile: it is quantised already, W4A4"), "{error}");
    let linear = Linear {
        weight: Constant::new([48, 2], vec![0.1; 96]),
        bias: None,
    };
    let graph = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![48] }, ["x"]),
            NodeSpec::new("fc", linear, ["flat"]),
        ],
        ["fc"],
    )
    .unwrap();
    let network = GraphNet::of(&graph, "flat", &device()).unwrap();
    let error = network.quantized(bits(2), bits(2)).unwrap_err().to_string();
    assert!(error.contains("nothing to quantise"), "{error}");
}

/// A PReLU between convolutions, and a residual addition behind it.
fn prelu() -> Graph {
    let slopes = Affine {
        factor: Some(Constant::new([3, 1, 1], vec![0.1, 0.2, 0.3]).named("slopes")),
        ..Affine::default()
    };
    let below = Function::Clamp {
        min: f32::NEG_INFINITY,
        max: 0.0,
    };
    let mean = Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    };
    Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("first", place([3, 3], 1), ["x"]),
            NodeSpec::new("above", Function::Relu, ["first"]),
            NodeSpec::new("below", below, ["first"]),
            NodeSpec::new("scaled", slopes, ["below"]),
            NodeSpec::new("prelu", Binary::Add, ["above", "scaled"]),
            NodeSpec::new("second", place([3, 3], 2), ["prelu"]),
            NodeSpec::new("sum", Binary::Add, ["second", "prelu"]),
            NodeSpec::new("last", place([3, 3], 3), ["sum"]),
            NodeSpec::new("mean", mean, ["last"]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![3] }, ["mean"]),
        ],
        ["flat"],
    )
    .unwrap()
}

#[test]
fn a_prelu_is_no_join() {
    let network = GraphNet::of(&prelu(), "prelu", &device()).unwrap();
    let plan = QuantPlan::new(bits(4), bits(4)).with_joins(true);
    let network = network.quantized_by(plan).unwrap();
    let joins = network.config().quantized_joins();
    let names: Vec<&str> = joins.iter().map(|join| join.layer.as_str()).collect();
    assert_eq!(names, ["sum"]);
    // Joins alone can be rounded, too.
    let alone = QuantPlan::new(Bits::FULL, Bits::FULL)
        .with_joins(true)
        .with_layers("sum", Bits::FULL, bits(4));
    let network = GraphNet::of(&prelu(), "prelu", &device()).unwrap();
    let network = network.quantized_by(alone).unwrap();
    assert_eq!(network.config().quantized_joins().len(), 1);
    assert!(network.config().quantized_layers().is_empty());
}

/// The name of a layer may be the beginning of another one's.
#[test]
fn the_name_of_a_layer_counts_before_patterns() {
    let network = |third: &str| {
        let mean = Op::Reduce {
            kind: Reduction::Mean,
            axes: vec![1, 2],
        };
        let graph = Graph::new(
            [
                NodeSpec::input("x", [3, 4, 4]),
                NodeSpec::new("first", place([3, 3], 1), ["x"]),
                NodeSpec::new("c", place([3, 3], 2), ["first"]),
                NodeSpec::new(third, place([3, 3], 3), ["c"]),
                NodeSpec::new("last", place([3, 3], 4), [third]),
                NodeSpec::new("mean", mean, ["last"]),
                NodeSpec::new("flat", Op::Reshape { shape: vec![3] }, ["mean"]),
            ],
            ["flat"],
        );
        GraphNet::of(&graph.unwrap(), "c", &device()).unwrap()
    };
    let (network, renamed) = (network("c.pre"), network("z"));
    let bits_of = |plan: QuantPlan| {
        let config = network.config().clone().with_plan(plan).unwrap();
        let layers = config.quantized_layers().into_iter();
        layers.map(|layer| layer.activations.get()).collect::<Vec<u8>>()
    };
    let four = QuantPlan::new(bits(4), bits(4));
    let named = four
        .clone()
        .with_layers("c.pre", bits(2), bits(2))
        .with_layers("c", bits(8), bits(8));
    assert_eq!(bits_of(named), [8, 2]);
    assert_eq!(bits_of(four.with_layers("c", bits(8), bits(8))), [8, 8]);
    // Each alone: what a layer loses does not depend on what another one is called.
    let images = [images(9, 4, [4, 4])];
    let alone = |network: &GraphNet| -> Vec<Vec<f64>> {
        let choices = [[bits(2), bits(2)]];
        let seen = network.sensitivities(
            LearnedSteps::new(Bits::FULL),
            &choices,
            &[],
            &images,
            &images,
            |_| (),
        );
        seen.unwrap().into_iter().map(|layer| layer.divergences).collect()
    };
    assert_eq!(alone(&network), alone(&renamed));
}

#[test]
fn what_is_rounded_already_is_not_rounded_once_more() {
    let unit = Affine {
        factor: Some(Constant::scalar(0.25).named("step")),
        ..Affine::default()
    };
    let graph = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("first", place([3, 4], 1), ["x"]),
            NodeSpec::new("cut", Function::Clamp { min: 0.0, max: 15.0 }, ["first"]),
            NodeSpec::new("whole", Function::Round, ["cut"]),
            NodeSpec::new("unit", unit, ["whole"]),
            NodeSpec::new("second", place([4, 4], 2), ["unit"]),
            NodeSpec::new("third", place([4, 2], 3), ["second"]),
            NodeSpec::new("mean", mean(), ["third"]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![2] }, ["mean"]),
        ],
        ["flat"],
    )
    .unwrap();
    let network = || GraphNet::of(&graph, "rounds", &device()).unwrap();
    let error = network().quantized(bits(4), bits(4)).unwrap_err().to_string();
    assert!(
        error.contains("`second` reads what `whole` has rounded already"),
        "{error}"
    );
    network().quantized(bits(4), Bits::FULL).unwrap();
}

#[test]
fn values_that_no_picture_changes_are_computed() {
    let fixed =
        |channels: usize, seed| Op::Constant(Constant::new([channels, 4, 4], floats(seed, channels * 16)));
    let nothing: [&str; 0] = [];
    let graph = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("beside", fixed(2, 7), nothing),
            NodeSpec::new("on top", fixed(5, 8), nothing),
            NodeSpec::new("first", place([3, 3], 1), ["x"]),
            NodeSpec::new("both", Op::Concat { axis: 0 }, ["first", "beside"]),
            NodeSpec::new("sum", Op::Binary(Binary::Add), ["both", "on top"]),
            NodeSpec::new("act", Function::Relu, ["sum"]),
            NodeSpec::new("second", place([5, 5], 2), ["act"]),
            NodeSpec::new("twice", Op::Binary(Binary::Add), ["second", "second"]),
            NodeSpec::new("third", place([5, 2], 3), ["twice"]),
            NodeSpec::new("mean", mean(), ["third"]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![2] }, ["mean"]),
        ],
        ["flat"],
    )
    .unwrap();
    let network = GraphNet::of(&graph, "fixed", &device()).unwrap();
    let pictures = images(5, 3, [4, 4]);
    let expected: Tensor<2> = graph.on(&device()).forward(pictures.clone()).unwrap();
    assert_close(
        &values(&network.forward(pictures.clone())),
        &values(&expected),
        1e-5,
        "logits",
    );
    let network = network.quantized(bits(8), bits(8)).unwrap();
    assert!(
        values(&network.forward(pictures))
            .iter()
            .all(|value| value.is_finite())
    );
}

#[test]
fn what_is_no_classifier_of_pictures_is_refused() {
    let refused = |nodes: Vec<NodeSpec>, outputs: &[&str]| {
        let graph = Graph::new(nodes, outputs.to_vec()).unwrap();
        GraphNet::of(&graph, "odd", &device()).unwrap_err().to_string()
    };
    let relu = |name: &str, from: &str| NodeSpec::new(name, Function::Relu, [from]);
    let two = refused(
        vec![
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::input("y", [3, 4, 4]),
            NodeSpec::new("z", Binary::Add, ["x", "y"]),
        ],
        &["z"],
    );
    assert!(two.contains("odd: it has inputs: 2, outputs: 1"), "{two}");
    let grey = refused(vec![NodeSpec::input("x", [1, 4, 4]), relu("y", "x")], &["y"]);
    assert!(grey.contains("expected pictures of 3 channels"), "{grey}");
    let maps = refused(vec![NodeSpec::input("x", [3, 4, 4]), relu("y", "x")], &["y"]);
    assert!(maps.contains("expected a number for each class"), "{maps}");
    // And a configuration that somebody changed.
    let text = serde_json::to_string(mobile_net().config()).unwrap();
    let twice = text.replace("block.bn1.weight", "block.bn2.weight");
    let config: GraphNetConfig = serde_json::from_str(&twice).unwrap();
    let error = config.validate().unwrap_err().to_string();
    assert!(error.contains("`block.bn2.weight`"), "{error}");
}

/// What memory cannot hold is refused before it is asked for.
#[test]
fn sizes_that_fit_no_memory_are_refused() {
    let padded = |side: usize| {
        let mut conv = Conv::new(Constant::new([10, 3, 1, 1], vec![0.1; 30]));
        conv.padding = Padding::from(side);
        let mean = Op::Reduce {
            kind: Reduction::Mean,
            axes: vec![1, 2],
        };
        let nodes = [
            NodeSpec::input("x", [3, 32, 32]),
            NodeSpec::new("conv", conv, ["x"]),
            NodeSpec::new("mean", mean, ["conv"]),
            NodeSpec::new("flat", Op::Reshape { shape: vec![10] }, ["mean"]),
        ];
        GraphNet::of(&Graph::new(nodes, ["flat"]).unwrap(), "wide", &device())
    };
    let error = padded(4000).unwrap_err().to_string();
    assert!(
        error.contains("wide: it computes 645130240 ") && error.contains("fit no memory"),
        "{error}"
    );
    let network = padded(2000).unwrap();
    assert_eq!(network.config().largest_value(), Some(10 * 4032 * 4032));
    let dir = TempDir::new().unwrap();
    let (splits, recipe) = (stripes(), Recipe::original(1).with_batch_size(100));
    let run = RunDir::new(dir.path().join("wide"));
    let error = fit(network, FitOptions::new(&splits, &recipe, run, &[device()]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("give --batch-size 13 or less"), "{error}");
}

/// Stripes: each class has a direction and a distance of its own.
fn stripes() -> Splits {
    let pictures = |count: usize, seed: u64| {
        let noise = noise(seed, count * 32 * 32 * 3);
        let labels: Vec<u8> = (0..count).map(|n| (n % 10) as u8).collect();
        let pixel = |n: usize| {
            let (picture, place) = (n / (32 * 32 * 3), n / 3 % (32 * 32));
            let (class, shift) = (picture % 10, picture as f64);
            let (angle, length) = ((class % 5) as f64 * 0.628, [4.0, 9.0][class / 5]);
            let along = (place % 32) as f64 * angle.cos() + (place / 32) as f64 * angle.sin();
            let wave = (along * std::f64::consts::TAU / length + shift).sin();
            (128.0 + 70.0 * wave + 40.0 * noise[n]) as u8
        };
        Pictures::new(32, 32, 10, (0..noise.len()).map(pixel).collect(), labels).unwrap()
    };
    let splits = Splits::carve("stripes", pictures(1000, 1), pictures(200, 2), 0.1, 0);
    splits.unwrap().with_augment(Augment::none())
}

/// Trained from the weights of the graph, kept, read with no other information, pruned, quantised and trained on.
#[test]
fn a_graph_is_trained_kept_pruned_and_quantised() {
    let dir = TempDir::new().unwrap();
    let splits = stripes();
    let devices = [device()];
    let recipe = |epochs| {
        Recipe::with_milestones_at(epochs, [0.5, 0.75, 0.9])
            .with_batch_size(32)
            .with_learning_rate(0.01)
    };
    let run = |name: &str| RunDir::new(dir.path().join(name));
    let trained = fit(
        mobile_net(),
        FitOptions::new(&splits, &recipe(3), run("original"), &devices),
    )
    .unwrap();
    assert!(
        trained.best.valid_accuracy > 80.0,
        "{}",
        trained.best.valid_accuracy
    );
    let x = images(5, 2, [32, 32]);
    let (read, saved) = run("original").load::<GraphNetConfig>(&device()).unwrap();
    assert_eq!(
        read.forward(x.clone()).into_data(),
        trained.network.forward(x.clone()).into_data()
    );
    assert_eq!(saved.network, "graph");
    assert_eq!(saved.structure.name(), "mobile");

    let groups = groups_of(&read).unwrap();
    let widths: Vec<usize> = groups.channels().iter().map(|width| width * 3 / 4).collect();
    let small = prune(&read, &widths, Ranking::L1).unwrap().network;
    let small = small
        .quantized(bits(4), bits(4))
        .unwrap()
        .calibrated(std::slice::from_ref(&x), Observer::default())
        .unwrap();
    let tuned = fit(
        small,
        FitOptions::new(&splits, &recipe(2), run("small"), &devices),
    )
    .unwrap();
    let (read, saved) = run("small").load::<GraphNetConfig>(&device()).unwrap();
    assert_eq!(
        read.forward(x.clone()).into_data(),
        tuned.network.forward(x).into_data()
    );
    assert_eq!(saved.structure.precision(), "W4A4");
    assert!(saved.shapes.is_empty());
    let accuracy = evaluate(&read, &splits.test, &device()).unwrap().accuracy();
    assert!(accuracy > 80.0, "{accuracy}");
}

/// A sketch is enough to start from random weights, which follow from the seed.
#[test]
fn a_sketch_is_trained_from_scratch() {
    let config = GraphNetConfig::new("mobile", Sketch::of(&mobile(10))).unwrap();
    let x = images(5, 2, [32, 32]);
    let logits = |seed| {
        initial(&config, seed, &device())
            .unwrap()
            .forward(x.clone())
            .into_data()
    };
    assert_eq!(logits(1), logits(1));
    assert_ne!(logits(1), logits(2));
    assert!(logits(1).iter::<f32>().all(f32::is_finite));
}

/// Gradients in training are differences of the loss, in every parameter that is trained; others have none.
#[test]
fn gradients_are_differences() {
    let network = mobile_net();
    let plain = Parameters::of(&network);
    let autodiff = device().autodiff();
    let x = images(5, 8, [32, 32]);
    let weights = tensor(&noise(11, 80), [8, 10], &device());
    let loss = |network: &GraphNet| {
        let x = Tensor::from_inner(x.clone());
        (network.forward(x) * Tensor::from_inner(weights.clone())).sum()
    };
    let trained = network.clone().fork(&autodiff).train();
    let found = by_path(loss(&trained).backward(), &trained);
    let mut checked = 0;
    for (path, data) in plain.iter() {
        let Some(gradient) = found.get(path) else {
            assert!(
                path.ends_with("running_mean") || path.ends_with("running_var"),
                "{path}"
            );
            continue;
        };
        assert_eq!(gradient.shape, data.shape().to_vec(), "{path}");
        let gradient = &gradient.values;
        // Along the gradient, where the difference is largest.
        let norm = gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        if norm < 1e-4 {
            continue;
        }
        let moved = |by: f64| {
            let values = plain.values(path).unwrap().iter().zip(gradient);
            let values: Vec<f32> = values
                .map(|(x, g)| x + (by * f64::from(*g) / norm) as f32)
                .collect();
            let mut parameters = plain.clone();
            parameters.insert(path, TensorData::new(values, data.shape().clone()));
            let network = parameters
                .put_into(network.clone())
                .unwrap()
                .fork(&autodiff)
                .train();
            f64::from(loss(&network).into_scalar::<f32>())
        };
        let step = 2e-3;
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        assert!(
            (difference - norm).abs() < 0.03 * norm + 0.01,
            "{path}: {difference} where the gradient is {norm}"
        );
        checked += 1;
    }
    assert!(checked > 15, "{checked}");
}
