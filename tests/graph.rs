//! Graphs of this crate's networks, and of what a graph cannot be made of.
#![cfg(feature = "flex")]

mod common;

use burn::module::{Devices, Module, ModuleMapper, ModuleVisitor};
use burn::nn::conv::{Conv2d, Conv2dConfig, Conv3dConfig};
use burn::nn::{BatchNormConfig, LinearConfig, LstmConfig};
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use common::onnx::{File, check_and_keep};
use common::{noise, values};
use vwc_sdk::graph::{Constant, Conv, Function, Graph, Node, NodeSpec, OnnxExport, Op, WeightCodes};
use vwc_sdk::models::{
    BlockOrder, Cnn8, Cnn8Config, Network, NetworkConfig, ResNet20, ResNet20Config, Vgg13, Vgg13Config,
    Widths,
};
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::groups_of;
use vwc_sdk::quant::{Bits, PactConfig, WeightQuantizer};

/// A network whose batch norms have seen something.
fn network<C: NetworkConfig>(config: &C) -> C::Network {
    let device = Device::flex();
    let network = config.init(&device);
    let mut parameters = Parameters::of(&network);
    let paths: Vec<String> = parameters.iter().map(|(path, _)| path.to_owned()).collect();
    for (n, path) in paths.iter().enumerate() {
        let shape = parameters.get(path).unwrap().shape().clone();
        let count = shape.num_elements();
        let random = noise(n as u64 + 1, count);
        let values: Vec<f32> = match path.rsplit('.').next().unwrap() {
            "gamma" => random.iter().map(|x| (0.9 + 0.4 * x) as f32).collect(),
            "beta" | "running_mean" => random.iter().map(|x| 0.3 * *x as f32).collect(),
            "running_var" => random.iter().map(|x| (1.0 + 0.6 * x) as f32).collect(),
            _ => continue,
        };
        parameters.insert(path, TensorData::new(values, shape));
    }
    parameters.put_into(network).unwrap()
}

/// The weights that a network computes with, of every convolution and linear layer that quantises its own, by the paths of the
/// layers.
trait QuantizedWeights: Network {
    fn quantized_weights(&self) -> Vec<(String, Vec<f64>)>;
}

impl QuantizedWeights for Cnn8 {
    fn quantized_weights(&self) -> Vec<(String, Vec<f64>)> {
        (self.convs.iter().enumerate())
            .map(|(n, conv)| (format!("convs.{n}"), values(&conv.quantized_weight())))
            .collect()
    }
}

impl QuantizedWeights for ResNet20 {
    fn quantized_weights(&self) -> Vec<(String, Vec<f64>)> {
        let blocks = self.blocks.iter().enumerate().flat_map(|(n, block)| {
            let shortcut = block
                .shortcut
                .as_ref()
                .map(|shortcut| ("shortcut.conv", &shortcut.conv));
            ([("conv0", &block.conv0), ("conv1", &block.conv1)].into_iter())
                .chain(shortcut)
                .map(move |(part, conv)| (format!("blocks.{n}.{part}"), conv))
        });
        std::iter::once(("conv".to_owned(), &self.conv))
            .chain(blocks)
            .map(|(path, conv)| (path, values(&conv.quantized_weight())))
            .collect()
    }
}

impl QuantizedWeights for Vgg13 {
    fn quantized_weights(&self) -> Vec<(String, Vec<f64>)> {
        let convs = (self.convs.iter().enumerate())
            .map(|(n, conv)| (format!("convs.{n}"), values(&conv.quantized_weight())));
        let hidden = (self.hidden.iter().enumerate())
            .map(|(n, layer)| (format!("hidden.{n}"), values(&layer.quantized_weight())));
        convs.chain(hidden).collect()
    }
}

fn check<C: NetworkConfig<Network: QuantizedWeights>>(config: &C) {
    let device = Device::flex();
    let network = network(config).valid();
    let [height, width] = config.input();
    let graph = Graph::of(&network, [1, 3, height, width], |network: &C::Network, x| {
        network.forward(x)
    })
    .unwrap();
    let x = Tensor::<4>::random([3, 3, height, width], Distribution::Normal(0.0, 1.0), &device);
    let expected = values(&network.forward(x.clone()));
    let found: Tensor<2> = graph.on(&device).forward(x).unwrap();
    assert_eq!(values(&found), expected, "{graph}");
    // The weights are those that the network computes with, to the bit.
    let weights = network.quantized_weights();
    // The classifier is the one layer that never quantises.
    let layers = graph.nodes().iter().filter_map(Node::weight).count();
    assert_eq!(layers, weights.len() + 1, "{graph}");
    for (path, weight) in weights {
        let node = graph.node(graph.find(&path).unwrap_or_else(|| panic!("{path}: {graph}")));
        let constant = node.weight().unwrap_or_else(|| panic!("{path}: {:?}", node.op()));
        assert_eq!(constant.name(), Some(format!("{path}.weight").as_str()));
        let found: Vec<f64> = constant.values().iter().map(|&value| value.into()).collect();
        assert_eq!(found, weight, "{path}");
        // The first convolution and those of shortcuts stay in full precision.
        if let Some([bits, _]) = config.bits()
            && path != "convs.0"
            && path != "conv"
            && !path.contains("shortcut")
        {
            let codes = WeightCodes::of(constant, 0).unwrap_or_else(|| panic!("{path}"));
            assert!(
                codes.bits() <= bits.get().into() && codes.odd(),
                "{path} {}",
                codes.bits()
            );
        }
    }
}

fn bits(weight: u8, activation: u8) -> [Bits; 2] {
    [weight, activation].map(|bits| Bits::new(bits).unwrap())
}

#[test]
fn cnn8_is_described_to_the_bit() {
    for (weight, activation) in [(1, 1), (2, 2), (3, 4)] {
        let [weight, activation] = bits(weight, activation);
        let config = Cnn8Config::new().with_widths([8, 6, 7, 9, 10, 5, 12]);
        check(&config.with_weight_bits(weight).with_activation_bits(activation));
    }
    check(
        &Cnn8Config::new()
            .with_widths([8, 6, 7, 9, 10, 5, 12])
            .with_quantized(false),
    );
}

#[test]
fn resnet20_is_described_to_the_bit() {
    for order in [BlockOrder::Original, BlockOrder::PreActivation] {
        let [weight, activation] = bits(2, 2);
        let config = ResNet20Config::new().with_widths([4, 6, 8]).with_order(order);
        check(&config.with_weight_bits(weight).with_activation_bits(activation));
    }
    check(&ResNet20Config::new().with_widths([4, 6, 8]).with_quantized(false));
}

#[test]
fn vgg13_is_described_to_the_bit() {
    let [weight, activation] = bits(1, 2);
    let config = Vgg13Config::new();
    let config = config.resized(&vec![8; config.widths().len()]).unwrap();
    check(&config.with_weight_bits(weight).with_activation_bits(activation));
}

/// A network's ONNX file. Where a sum that is rounded otherwise falls on the other side of the edge between two codes, outputs
/// differ by more than the tolerance: with these pictures none does.
fn onnx_file<C: NetworkConfig>(name: &str, config: &C) -> File {
    let network = network(config).valid();
    let graph = network.graph().unwrap();
    let [height, width] = config.input();
    let shape = [2, 3, height, width];
    let x: Vec<f32> = noise(7, shape.iter().product())
        .iter()
        .map(|x| *x as f32)
        .collect();
    let pictures = Tensor::<4>::from_data(TensorData::new(x.clone(), shape), &Device::flex());
    let export = OnnxExport::new(C::NAME).with_outputs(["logits"]);
    File {
        name: format!("{name}-{}", config.precision()),
        bytes: graph.to_onnx(&export).unwrap(),
        inputs: vec![(shape.to_vec(), x)],
        expected: vec![values(&network.forward(pictures))],
        tolerance: 1e-4,
    }
}

#[test]
fn other_runtimes_compute_the_same_with_onnx_files() {
    let cnn8 = Cnn8Config::new().with_widths([8, 6, 7, 9, 10, 5, 12]);
    let resnet20 = ResNet20Config::new().with_widths([4, 6, 8]);
    let activated = resnet20.clone().with_order(BlockOrder::PreActivation);
    let vgg13 = Vgg13Config::new();
    let vgg13 = vgg13.resized(&vec![8; vgg13.widths().len()]).unwrap();
    let mut files = Vec::new();
    for (weight, activation) in [(1, 1), (2, 2)] {
        let [weight, activation] = bits(weight, activation);
        macro_rules! quantised {
            ($($network:ident)*) => {
                $(let config = $network.clone().with_weight_bits(weight).with_activation_bits(activation);
                files.push(onnx_file(stringify!($network), &config));)*
            };
        }
        quantised!(cnn8 resnet20 activated vgg13);
    }
    files.push(onnx_file("cnn8", &cnn8.with_quantized(false)));
    files.push(onnx_file("resnet20", &resnet20.with_quantized(false)));
    files.push(onnx_file("vgg13", &vgg13.with_quantized(false)));
    check_and_keep(&files);
}

#[derive(Module, Debug)]
struct Two {
    first: Conv2d,
    second: Conv2d,
}

fn two() -> Two {
    let device = Device::flex();
    Two {
        first: Conv2dConfig::new([3, 4], [3, 3]).init(&device),
        second: Conv2dConfig::new([4, 5], [3, 3]).init(&device),
    }
}

#[test]
fn quantisers_of_any_kind_become_codes() {
    let device = Device::flex();
    let pact = PactConfig::new(Bits::new(3).unwrap())
        .with_clip(1.7)
        .init(&device);
    let module = (two(), pact);
    let forward = |(two, pact): &(Two, _), x: Tensor<4>| {
        let x: Tensor<4> = two.first.forward(x);
        let x: Tensor<4> = vwc_sdk::quant::Pact::forward(pact, x);
        two.second.forward(x)
    };
    let graph = Graph::of(&module, [1, 3, 8, 8], forward).unwrap();
    let codes: Vec<_> = graph.codes().into_iter().flatten().collect();
    let codes = codes.last().unwrap_or_else(|| panic!("{graph}"));
    assert_eq!((codes.low(), codes.high()), (0, 7), "{graph}");
    assert!((codes.unit() - 1.7 / 7.0).abs() < 1e-6);

    // As many write a straight-through estimator.
    let forward = |two: &Two, x: Tensor<4>| {
        let x = two.first.forward(x);
        let q = (x.clone().clamp(-1.0, 0.75) * 4.0).round() / 4.0;
        let x = x.clone() + (q - x).detach();
        two.second.forward(x)
    };
    let module = two();
    let graph = Graph::of(&module, [1, 3, 8, 8], forward).unwrap();
    let codes = graph.codes().into_iter().flatten().last().unwrap();
    assert_eq!(
        (codes.low(), codes.high(), codes.bits(), codes.signed()),
        (-4, 3, 3, true),
        "{graph}"
    );

    // What is rounded is read twice, and scaled in one of the two places.
    let forward = |two: &Two, x: Tensor<4>| {
        let x = two.first.forward(x);
        let q = x.clone().clamp(0.0, 3.0).round() / 2.0;
        let straight = (x.clone() + (q.clone() - x)) + 1.0;
        two.second.forward(straight) + q.mean_dim(1).narrow(2, 0, 4).narrow(3, 0, 4)
    };
    let graph = Graph::of(&module, [1, 3, 8, 8], forward).unwrap();
    let x = Tensor::<4>::random([2, 3, 8, 8], Distribution::Default, &device);
    let expected = values(&forward(&module, x.clone()));
    let found: Tensor<4> = graph.on(&device).forward(x).unwrap();
    for (found, expected) in values(&found).into_iter().zip(expected) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected} {graph}");
    }

    // Weights by the step of LSQ, one for all, of any module.
    let plain = two();
    let plan = WeightQuantizer::lsq(Bits::new(4).unwrap()).on(&plain);
    let quantized = plan.apply(plain).unwrap();
    let forward = |two: &Two, x: Tensor<4>| two.second.forward(two.first.forward(x));
    let graph = Graph::of(&quantized, [1, 3, 8, 8], forward).unwrap();
    for node in graph.nodes() {
        if let Op::Conv(conv) = node.op() {
            let codes = WeightCodes::of(&conv.weight, 0).expect("quantised");
            assert!(
                (2..=4).contains(&codes.bits()) && codes.units().len() == 1,
                "{}",
                codes.bits()
            );
        }
    }
}

#[test]
fn several_inputs_and_outputs() {
    let module = two();
    let forward = |two: &Two, (a, b): (Tensor<4>, Tensor<4>)| {
        let x = two.first.forward(a);
        let y = two.second.forward(b);
        (x.clone(), vec![y, x.mul_scalar(2.0)])
    };
    let graph = Graph::of(&module, ([1, 3, 6, 6], [1, 4, 5, 5]), forward).unwrap();
    assert_eq!((graph.inputs().len(), graph.outputs().len()), (2, 3), "{graph}");
    let device = Device::flex();
    let a = Tensor::<4>::random([2, 3, 6, 6], Distribution::Default, &device);
    let b = Tensor::<4>::random([2, 4, 5, 5], Distribution::Default, &device);
    let executor = graph.on(&device);
    let (x, rest): (Tensor<4>, Vec<Tensor<4>>) = executor.forward((a.clone(), b.clone())).unwrap();
    let (expected, others) = forward(&module, (a.clone(), b.clone()));
    assert_eq!(values(&x), values(&expected));
    assert_eq!(rest.len(), 2);
    for (found, expected) in rest.into_iter().zip(others) {
        assert_eq!(values(&found), values(&expected));
    }
    let error = executor
        .forward::<_, Tensor<4>>((a.clone(), b))
        .unwrap_err()
        .to_string();
    assert!(error.contains("3 outputs"), "{error}");
    let error = executor.forward::<_, Tensor<4>>(a).unwrap_err().to_string();
    assert!(error.contains("1 inputs: expected 2"), "{error}");
}

#[test]
fn a_convolution_may_be_replaced() {
    let module = two();
    let graph = Graph::of(&module, [1, 3, 8, 8], |two: &Two, x: Tensor<4>| {
        two.second.forward(two.first.forward(x))
    })
    .unwrap();
    let x = Tensor::<4>::random([2, 3, 8, 8], Distribution::Default, &Device::flex());
    let executor = graph.on(&Device::flex());
    let mut seen = Vec::new();
    let y: Tensor<4> = executor
        .forward_with(x.clone(), |id, conv, x| {
            let name = graph.node(id).name();
            seen.push((name.to_owned(), conv.weight.shape().to_vec()));
            Ok((name == "second").then(|| Tensor::ones([x.dims()[0], 5, 4, 4], &x.device())))
        })
        .unwrap();
    assert_eq!(
        seen,
        [
            ("first".to_owned(), vec![4, 3, 3, 3]),
            ("second".to_owned(), vec![5, 4, 3, 3])
        ]
    );
    assert!(values(&y).iter().all(|&value| value == 1.0));
    let wrong = executor.forward_with::<_, Tensor<4>>(x, |_, _, x| Ok(Some(x.clone())));
    let error = wrong.unwrap_err().to_string();
    assert!(
        error.contains("`first`") && error.contains("[4, 6, 6]"),
        "{error}"
    );
}

/// The error of a forward pass.
fn refused<M: Module>(module: &M, forward: impl Fn(&M, Tensor<4>) -> Tensor<4>) -> String {
    let error = Graph::of(module, [1, 3, 8, 8], forward).unwrap_err().to_string();
    assert!(!error.contains('\n') && error.len() < 500, "{error}");
    error
}

#[test]
fn what_is_no_graph_is_named() {
    let module = two();
    let has = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    };
    let branches = refused(&module, |two, x| {
        if x.clone().sum().into_scalar::<f32>() > 0.0 {
            two.first.forward(x)
        } else {
            x
        }
    });
    has(branches, &["decides nothing by what they hold"]);
    let random = refused(&module, |two, x| {
        let x = two.first.forward(x);
        x.clone() + x.random_like(Distribution::Default)
    });
    has(random, &["Random", "behind `first`", "random numbers"]);
    let cumulative = refused(&module, |two, x| {
        two.second.forward(two.first.forward(x).cumsum(2))
    });
    has(cumulative, &["CumSum", "behind `first`", "expected"]);
    let mixes = refused(&module, |two, x| {
        let x = two.first.forward(x);
        x.clone() - x.mean_dim(0)
    });
    has(mixes, &["MeanDim", "pictures of a batch"]);
    let conditions = refused(&module, |two, x| {
        let x = two.first.forward(x);
        x.clone().mask_fill(x.lower_elem(0.5), 0.0)
    });
    has(conditions, &["LowerElem", "conditions"]);
    let unused = refused(&module, |two, x| {
        two.second
            .forward(Tensor::ones([x.dims()[0], 4, 6, 6], &x.device()))
    });
    has(unused, &["input", "not used"]);

    let device = Device::flex();
    let deep = Conv3dConfig::new([1, 2], [2, 2, 2]).init(&device);
    let three = refused(&deep, |conv, x| {
        let [batch, ..] = x.dims();
        conv.forward(x.reshape([batch, 1, 3, 8, 8]))
            .reshape([batch, 2 * 2, 7, 7])
    });
    has(three, &["3 axes", "expected one over 2"]);

    let nan = two();
    let mut parameters = Parameters::of(&nan);
    let weight = TensorData::new(vec![f32::NAN; 108], [4, 3, 3, 3]);
    parameters.insert("first.weight", weight);
    let nan = parameters.put_into(nan).unwrap();
    has(
        refused(&nan, |two, x| two.first.forward(x)),
        &["`first`", "NaN", "first.weight"],
    );

    let lstm = LstmConfig::new(8, 4, false).init(&device);
    let recurrent = Graph::of(&lstm, [1, 3, 8], |lstm, x: Tensor<3>| lstm.forward(x, None).0);
    let recurrent = recurrent.unwrap_err().to_string();
    has(recurrent, &["expected"]);

    // The same layer twice is two nodes.
    let twice = vec![Conv2dConfig::new([3, 3], [1, 1]).init(&device)];
    let graph = Graph::of(&twice, [1, 3, 8, 8], |convs: &Vec<Conv2d>, x: Tensor<4>| {
        convs[0].forward(convs[0].forward(x))
    })
    .unwrap();
    assert!(
        graph.find("0").is_some() && graph.find("0.2").is_some(),
        "{graph}"
    );
}

/// Layers that a module written by hand names alike.
#[derive(Clone, Debug)]
struct Alike([Conv2d; 2]);

impl Module for Alike {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.0.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self(self.0.fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        Self(self.0.to_device(device))
    }

    fn train(self) -> Self {
        Self(self.0.train())
    }

    fn valid(&self) -> Self {
        Self(self.0.valid())
    }

    fn materialize(self) -> Self {
        Self(self.0.materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        for layer in &self.0 {
            visitor.enter_module("layer", "Alike");
            layer.visit(visitor);
            visitor.exit_module("layer", "Alike");
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self(self.0.map(|layer| {
            mapper.enter_module("layer", "Alike");
            let layer = layer.map(mapper);
            mapper.exit_module("layer", "Alike");
            layer
        }))
    }
}

#[test]
fn two_layers_of_one_path_are_named() {
    let two = two();
    let alike = Alike([two.first, two.second]);
    let said = "layer.weight: two parameters of the module have this path";
    let graph = Graph::of(&alike, [1, 3, 8, 8], |alike: &Alike, x: Tensor<4>| {
        alike.0[1].forward(alike.0[0].forward(x))
    });
    let error = graph.unwrap_err().to_string();
    assert!(error.contains(said), "{error}");
    let mut parameters = Parameters::of(&alike);
    // That of the first layer fits the first.
    parameters.insert("layer.weight", TensorData::zeros::<f32, _>([4, 3, 3, 3]));
    parameters.insert("layer.bias", TensorData::zeros::<f32, _>([4]));
    let error = parameters.put_into(alike).unwrap_err().to_string();
    assert!(error.contains(said), "{error}");
}

#[test]
fn unsound_nodes_are_named() {
    let weight = || Constant::new([4, 3, 3, 3], vec![0.5; 108]);
    let refused =
        |nodes: Vec<NodeSpec>, outputs: &[&str]| Graph::new(nodes, outputs.to_vec()).unwrap_err().to_string();
    let input = || NodeSpec::input("x", [3, 8, 8]);
    let relu = |name: &str, from: &str| NodeSpec::new(name, Function::Relu, [from]);
    let circle = refused(
        vec![input(), relu("a", "c"), relu("b", "a"), relu("c", "b")],
        &["c"],
    );
    assert_eq!(circle, "nodes read each other in a circle: `b`, `c`, `a`");
    let cases = [
        (
            vec![input(), relu("a", "y")],
            vec!["a"],
            "node `a`: it reads `y`, which is not there",
        ),
        (
            vec![input(), relu("a", "x"), relu("a", "x")],
            vec!["a"],
            "node `a`: another node has this name",
        ),
        (
            vec![input(), NodeSpec::input("z", [1]), relu("a", "x")],
            vec!["a"],
            "node `z`: the network's input is not used",
        ),
        (
            vec![input(), relu("a", "x"), relu("b", "x")],
            vec!["a"],
            "node `b`: what it computes is not used",
        ),
        (
            vec![input(), relu("a", "x")],
            vec!["b"],
            "the output `b` is not there",
        ),
        (vec![input(), relu("a", "x")], vec![], "it has no output"),
        (
            vec![input(), relu("a", "x")],
            vec!["a", "a"],
            "node `a`: it is an output twice",
        ),
        (
            vec![
                NodeSpec::input("x", [5, 8, 8]),
                NodeSpec::new("conv", Conv::new(weight()), ["x"]),
            ],
            vec!["conv"],
            "node `conv`: it reads 5 channels: expected 3",
        ),
        (
            vec![
                NodeSpec::input("x", [3, 2, 8]),
                NodeSpec::new("conv", Conv::new(weight()), ["x"]),
            ],
            vec!["conv"],
            "node `conv`: it moves a kernel of 3x3",
        ),
        (
            vec![
                input(),
                NodeSpec::new(
                    "conv",
                    Conv::new(Constant::new([4, 3, 3, 3], vec![0.5; 7])),
                    ["x"],
                ),
            ],
            vec!["conv"],
            "node `conv`: it holds 7 numbers",
        ),
    ];
    for (nodes, outputs, expected) in cases {
        let found = refused(nodes, &outputs);
        assert!(found.starts_with(expected), "{found}");
    }
    let norm = BatchNormConfig::new(3).init(&Device::flex());
    let head = LinearConfig::new(3, 2).init(&Device::flex());
    let forward = |(norm, head): &(burn::nn::BatchNorm, burn::nn::Linear), x: Tensor<4>| {
        head.forward(norm.forward(x).mean_dim(3).mean_dim(2).flatten::<2>(1, 3))
    };
    let graph = Graph::of(&(norm, head), [1, 3, 4, 4], forward).unwrap();
    let expected = "\
node     operation                                        reads    result  codes
input    input                                                     3x4x4
0        (x - running_mean) / running_var * gamma + beta  input    3x4x4
mean     mean along 2, 1                                  0        3x1x1
reshape  reshape to 3                                     mean     3
1*       linear, 3 -> 2, bias                             reshape  2
";
    assert_eq!(graph.to_string(), expected);
}

/// Burn multiplies few rows for each picture as the rows of all pictures, one behind the other.
#[test]
fn linear_layers_of_few_rows_are_recorded() {
    let device = Device::flex();
    for rows in [3, 5, 16, 32] {
        let linear = |inputs, outputs, bias| LinearConfig::new(inputs, outputs).with_bias(bias).init(&device);
        let module = [linear(64, 48, true), linear(48, 96, false), linear(96, 10, true)];
        let forward = |layers: &[burn::nn::Linear; 3], x: Tensor<4>| {
            let tokens = layers[0].forward(x.flatten::<3>(2, 3));
            let tokens = layers[1]
                .forward(burn::tensor::activation::relu(tokens.clone()))
                .tanh();
            layers[2].forward(tokens).mean_dim(1).flatten::<2>(1, 2)
        };
        let graph = Graph::of(&module, [1, rows, 8, 8], forward).unwrap();
        let linear = graph
            .iter()
            .filter(|(_, node)| matches!(node.op(), Op::Linear(_)));
        let shapes: Vec<&[usize]> = linear.map(|(_, node)| node.shape()).collect();
        assert_eq!(shapes, [&[rows, 48][..], &[rows, 96], &[rows, 10]], "{graph}");
        let x = Tensor::<4>::random([4, rows, 8, 8], Distribution::Normal(0.0, 1.0), &device);
        let found: Tensor<2> = graph.on(&device).forward(x.clone()).unwrap();
        let expected = values(&forward(&module, x));
        let near = |(found, expected): (&f64, &f64)| (found - expected).abs() < 1e-5;
        assert!(values(&found).iter().zip(&expected).all(near), "{graph}");
    }
    // Pictures that are mixed are refused, as before.
    let forward = |linear: &burn::nn::Linear, x: Tensor<4>| {
        let rows = linear.forward(x.flatten::<2>(0, 2));
        burn::tensor::activation::softmax(rows, 0).reshape([-1, 24, 8])
    };
    let linear = LinearConfig::new(8, 8).init(&device);
    let error = Graph::of(&linear, [1, 3, 8, 8], forward).unwrap_err().to_string();
    assert!(error.contains("no picture mixed with another"), "{error}");
}

/// The layers and free widths read off the graph are those of the groups of channels, which are found in another way.
#[test]
fn ties_are_read_off_the_graph() {
    fn same<C: NetworkConfig>(config: &C, layers: usize, widths: usize) {
        let network = config.init(&Device::flex());
        let [height, width] = config.input();
        let graph = Graph::of(&network, [1, 3, height, width], |network: &C::Network, x| {
            network.forward(x)
        })
        .unwrap();
        let (of_groups, free) = groups_of(&network).unwrap().mapped(C::NAME);
        let found = graph.mapped(C::NAME);
        assert_eq!(found.name, of_groups.name);
        assert_eq!(found.layers, of_groups.layers);
        assert_eq!(found.layers.len(), layers, "{graph}");
        assert_eq!(found.ties.len(), of_groups.ties.len());
        // The same widths, whatever their numbers: one for one.
        let mut pairs = std::collections::BTreeSet::new();
        for (found, group) in found.ties.iter().zip(&of_groups.ties) {
            for (found, group) in [(found.input, group.input), (found.output, group.output)] {
                assert_eq!(found.is_some(), group.is_some(), "{graph}");
                pairs.extend(found.zip(group));
            }
        }
        let of = |side: fn(&(usize, usize)) -> usize| -> std::collections::BTreeSet<usize> {
            pairs.iter().map(side).collect()
        };
        assert_eq!(pairs.len(), widths, "{pairs:?} {graph}");
        assert_eq!(of(|pair| pair.0).len(), widths, "{pairs:?} {graph}");
        assert_eq!(of(|pair| pair.1).len(), widths, "{pairs:?} {graph}");
        assert_eq!(free.len(), widths, "{graph}");
    }
    for quantized in [true, false] {
        same(&Cnn8Config::new().with_quantized(quantized), 7, 6);
        // The nineteen, and those of two shortcuts; three stages, and nine blocks.
        for order in [BlockOrder::Original, BlockOrder::PreActivation] {
            let resnet20 = ResNet20Config::new().with_quantized(quantized);
            same(&resnet20.with_order(order), 21, 12);
        }
        same(&Vgg13Config::new().with_quantized(quantized), 10, 9);
    }
}

/// What two layers share is as wide in both: their widths are one.
#[test]
fn shared_parameters_tie_widths() {
    let device = Device::flex();
    let conv = |channels: [usize; 2]| Conv2dConfig::new(channels, [1, 1]).with_bias(false).init(&device);
    let convs = vec![conv([3, 8]), conv([3, 8]), conv([8, 5]), conv([8, 5])];
    let input = [1, 3, 6, 6];
    let norm = BatchNormConfig::new(8).init(&device);
    let both = |convs: &[Conv2d], x: Tensor<4>, middle: &dyn Fn(Tensor<4>) -> Tensor<4>| {
        let [a, b] = [0, 1].map(|n| middle(convs[n].forward(x.clone())));
        convs[2].forward(a) + convs[3].forward(b)
    };
    let module = (convs.clone(), norm);
    let graph = Graph::of(
        &module,
        input,
        |(convs, norm): &(Vec<Conv2d>, burn::nn::BatchNorm), x| both(convs, x, &|x| norm.forward(x)),
    )
    .unwrap();
    assert_eq!(graph.mapped("norm").widths().unwrap(), [8], "{graph}");
    let apart = Graph::of(&convs, input, |convs: &Vec<Conv2d>, x| both(convs, x, &|x| x)).unwrap();
    assert_eq!(apart.mapped("apart").widths().unwrap(), [8, 8]);
    // The other way around in another place: neither may change.
    let turned = Graph::of(&convs, input, |convs: &Vec<Conv2d>, x: Tensor<4>| {
        let x = convs[2].forward(convs[0].forward(x));
        let options = burn::tensor::ops::ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
        burn::tensor::module::conv2d(x, convs[2].weight.val().swap_dims(0, 1), None, options)
    })
    .unwrap();
    assert!(turned.mapped("turned").ties.is_empty(), "{turned}");
}

#[test]
fn what_depends_on_the_batch_is_refused() {
    let module = two();
    let share = refused(&module, |two, x| {
        let batch = x.dims()[0] as f32;
        two.first.forward(x / batch)
    });
    assert!(share.contains("how many pictures"), "{share}");
    let branch = refused(&module, |two, x| {
        if x.dims()[0] == 2 {
            two.first.forward(x)
        } else {
            two.first.forward(x.mul_scalar(2.0))
        }
    });
    assert!(branch.contains("how many pictures"), "{branch}");

    let graph = Graph::of(&module, [1, 3, 8, 8], |two: &Two, x: Tensor<4>| {
        two.first.forward(x)
    })
    .unwrap();
    let executor = graph.on(&Device::flex());
    let half = Tensor::<4>::zeros([1, 3, 8, 8], &Device::flex()).cast(burn::tensor::DType::F16);
    let error = executor.forward::<_, Tensor<4>>(half).unwrap_err().to_string();
    assert!(
        error.contains("`input`") && error.contains("32-bit floats"),
        "{error}"
    );
}

/// A learned number, on either side of what is computed with it.
#[test]
fn a_learned_number_is_a_constant() {
    let device = Device::flex();
    let module = (two(), burn::module::Param::<Tensor<1>>::from_data([1.7], &device));
    let forward = |(two, gain): &(Two, burn::module::Param<Tensor<1>>), x: Tensor<4>| {
        let gain = gain.val().reshape([1, 1, 1, 1]);
        gain.clone() / (two.first.forward(x * gain) + 20.0)
    };
    let graph = Graph::of(&module, [1, 3, 8, 8], forward).unwrap();
    let x = Tensor::<4>::random([2, 3, 8, 8], Distribution::Default, &device);
    let found: Tensor<4> = graph.on(&device).forward(x.clone()).unwrap();
    assert_eq!(values(&found), values(&forward(&module, x)), "{graph}");
}

/// The mean of numbers up to 0.9 may be a rounding above it.
#[test]
fn the_bounds_of_a_mean_leave_room_for_rounding() {
    let unit = 0.9f32 / 2.5;
    let node = |name: &str, op: Op, input: &str| NodeSpec::new(name, op, [input]);
    let divisor = Some(Constant::scalar(unit));
    let divided = vwc_sdk::graph::Affine {
        divisor,
        ..Default::default()
    };
    let graph = Graph::new(
        [
            NodeSpec::input("x", [2, 6, 6]),
            node("clamp", Function::Clamp { min: 0.0, max: 0.9 }.into(), "x"),
            node(
                "mean",
                Op::Reduce {
                    kind: vwc_sdk::graph::Reduction::Mean,
                    axes: vec![1, 2],
                },
                "clamp",
            ),
            node("divided", divided.into(), "mean"),
            node("round", Function::Round.into(), "divided"),
        ],
        ["round"],
    )
    .unwrap();
    let device = Device::flex();
    let found: Tensor<4> = graph
        .on(&device)
        .forward(Tensor::<4>::full([1, 2, 6, 6], 0.9, &device))
        .unwrap();
    let largest = values(&found).into_iter().fold(0.0, f64::max);
    let codes = graph.codes().pop().unwrap().unwrap();
    assert!(largest <= f64::from(codes.high()), "{largest} {codes}");
}
