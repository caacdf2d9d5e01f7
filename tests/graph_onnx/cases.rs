//! Graphs of every node, with the settings in which runtimes differ.

use std::collections::HashSet;

use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, ConvTranspose, Function, Graph, Linear, NodeSpec, OnnxExport, Op, Pool,
    Reduction,
};
use vwc_sdk::mapping::Padding;

use crate::onnx::File;
use crate::plain;

/// How far 32-bit floats may be from 64-bit ones.
const TOLERANCE: f64 = 1e-5;

/// A graph and its inputs for [`PICTURES`] pictures.
pub struct Case {
    pub name: String,
    pub graph: Graph,
    pub inputs: Vec<Vec<f32>>,
}

/// How many pictures the inputs hold.
pub const PICTURES: usize = 2;

/// A reproducible stream of numbers from -1 to 1.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let numbers = (0..count).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    });
    numbers.collect()
}

fn constant(seed: u64, shape: &[usize]) -> Constant {
    Constant::new(shape, noise(seed, shape.iter().product()))
}

/// Numbers from 0.5 to 1.5.
fn positive(seed: u64, shape: &[usize]) -> Constant {
    let numbers = noise(seed, shape.iter().product());
    let numbers: Vec<f32> = numbers.iter().map(|x| 1.0 + x / 2.0).collect();
    Constant::new(shape, numbers)
}

impl Case {
    fn new(name: &str, nodes: impl IntoIterator<Item = NodeSpec>, outputs: &[&str]) -> Self {
        let graph =
            Graph::new(nodes, outputs.iter().copied()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let inputs = (graph.inputs().iter().enumerate())
            .map(|(n, &id)| {
                noise(
                    90 + n as u64,
                    PICTURES * graph.node(id).shape().iter().product::<usize>(),
                )
            })
            .collect();
        let name = name.to_owned();
        Self { name, graph, inputs }
    }

    /// A graph of one node on an input of this shape.
    fn one(name: &str, shape: &[usize], op: impl Into<Op>) -> Self {
        let nodes = [NodeSpec::input("x", shape), NodeSpec::new("y", op, ["x"])];
        Self::new(name, nodes, &["y"])
    }

    /// A graph of one node on two inputs of these shapes.
    fn two(name: &str, shapes: [&[usize]; 2], op: impl Into<Op>) -> Self {
        let [a, b] = shapes;
        let nodes = [
            NodeSpec::input("a", a),
            NodeSpec::input("b", b),
            NodeSpec::new("y", op, ["a", "b"]),
        ];
        Self::new(name, nodes, &["y"])
    }

    /// Its ONNX file, and what plain loops compute.
    pub fn file(&self) -> File {
        let bytes = self.graph.to_onnx(&OnnxExport::new(&self.name));
        let inputs = self.inputs.iter().zip(self.graph.inputs()).map(|(numbers, &id)| {
            let shape = [&[PICTURES], self.graph.node(id).shape()].concat();
            (shape, numbers.clone())
        });
        File {
            name: self.name.clone(),
            bytes: bytes.unwrap_or_else(|error| panic!("{}: {error}", self.name)),
            inputs: inputs.collect(),
            expected: plain::outputs(&self.graph, &self.inputs, PICTURES),
            tolerance: TOLERANCE,
        }
    }

    fn with_input(mut self, number: impl Fn(f32) -> f32) -> Self {
        self.inputs.iter_mut().flatten().for_each(|x| *x = number(*x));
        self
    }
}

pub fn cases() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(linear_and_affine());
    cases.extend(functions());
    cases.extend(pools());
    cases.extend(moved());
    cases.extend(networks());
    let names: HashSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len());
    cases
}

fn convolutions() -> Vec<Case> {
    let padding = Padding {
        top: 2,
        bottom: 0,
        left: 1,
        right: 3,
    };
    let four_sides = Conv {
        bias: Some(constant(2, &[4])),
        stride: [2, 1],
        padding,
        ..Conv::new(constant(1, &[4, 3, 3, 2]))
    };
    let dilated = Conv {
        dilation: [2, 3],
        padding: Padding {
            top: 1,
            bottom: 1,
            left: 2,
            right: 2,
        },
        ..Conv::new(constant(3, &[4, 3, 3, 2]))
    };
    let grouped = Conv {
        bias: Some(constant(5, &[6])),
        groups: 2,
        ..Conv::new(constant(4, &[6, 2, 3, 3]))
    };
    let depthwise = Conv {
        groups: 4,
        stride: [1, 2],
        ..Conv::new(constant(6, &[8, 1, 3, 3]))
    };
    let transposed = ConvTranspose {
        weight: constant(7, &[4, 3, 3, 2]),
        bias: None,
        stride: [2, 3],
        padding: [1, 0],
        output_padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let awkward = ConvTranspose {
        bias: Some(constant(9, &[6])),
        weight: constant(8, &[4, 3, 3, 2]),
        output_padding: [1, 2],
        groups: 2,
        ..transposed.clone()
    };
    let dilated_transposed = ConvTranspose {
        dilation: [3, 2],
        padding: [2, 1],
        ..transposed.clone()
    };
    vec![
        Case::one("conv", &[3, 7, 6], Conv::new(constant(1, &[4, 3, 3, 3]))),
        Case::one("conv-four-sides", &[3, 7, 6], four_sides),
        Case::one("conv-dilated", &[3, 7, 6], dilated),
        Case::one("conv-grouped", &[4, 5, 6], grouped),
        Case::one("conv-depthwise", &[4, 5, 6], depthwise),
        Case::one("transposed", &[4, 3, 4], transposed),
        Case::one("transposed-grouped", &[4, 3, 4], awkward),
        Case::one("transposed-dilated", &[4, 3, 4], dilated_transposed),
    ]
}

fn linear_and_affine() -> Vec<Case> {
    let linear = |bias| Linear {
        weight: constant(1, &[5, 3]),
        bias,
    };
    let bias = || Some(constant(2, &[3]));
    let norm = Affine {
        minus: Some(constant(3, &[3, 1, 1])),
        divisor: Some(positive(4, &[3, 1, 1])),
        factor: Some(constant(5, &[3, 1, 1])),
        plus: Some(constant(6, &[3, 1, 1])),
        epsilon: None,
    };
    let scalars = Affine {
        factor: Some(Constant::scalar(3.0)),
        plus: Some(Constant::new([1, 1, 1], [0.25])),
        ..Affine::default()
    };
    let places = Affine {
        minus: Some(constant(7, &[1, 4, 5])),
        divisor: Some(Constant::scalar(-0.7)),
        ..Affine::default()
    };
    let features = Affine {
        factor: Some(constant(8, &[6])),
        ..Affine::default()
    };
    vec![
        Case::one("linear", &[5], linear(None)),
        Case::one("linear-bias", &[5], linear(bias())),
        Case::one("linear-rows", &[2, 4, 5], linear(None)),
        Case::one("linear-rows-bias", &[4, 5], linear(bias())),
        Case::one("affine-channels", &[3, 4, 5], norm),
        Case::one("affine-scalars", &[3, 4, 5], scalars),
        Case::one("affine-places", &[3, 4, 5], places),
        Case::one("affine-features", &[6], features),
    ]
}

fn functions() -> Vec<Case> {
    let clamp = |min, max| Function::Clamp { min, max };
    let infinite = f32::INFINITY;
    let functions = [
        ("relu", Function::Relu),
        ("leaky", Function::LeakyRelu { slope: 0.1 }),
        ("leaky-negative", Function::LeakyRelu { slope: -0.3 }),
        ("clamp", clamp(-0.5, 1.25)),
        ("clamp-below", clamp(-0.5, infinite)),
        ("clamp-above", clamp(-infinite, 0.5)),
        ("clamp-nowhere", clamp(-infinite, infinite)),
        ("sigmoid", Function::Sigmoid),
        (
            "hard-sigmoid",
            Function::HardSigmoid {
                alpha: 0.3,
                beta: 0.4,
            },
        ),
        (
            "hard-swish",
            Function::HardSwish {
                alpha: 1.0 / 6.0,
                beta: 0.5,
            },
        ),
        ("silu", Function::Silu),
        ("tanh", Function::Tanh),
        ("gelu", Function::Gelu),
        ("erf", Function::Erf),
        ("floor", Function::Floor),
        ("abs", Function::Abs),
        ("neg", Function::Neg),
        ("exp", Function::Exp),
    ];
    let mut cases: Vec<Case> = (functions.into_iter())
        .map(|(name, function)| Case::one(name, &[2, 3, 5], function).with_input(|x| 4.0 * x))
        .collect();
    // Halves, with which ties are many, and zeros.
    let halves = |x: f32| (x * 8.0).floor() / 2.0;
    cases.push(Case::one("round", &[4, 30], Function::Round).with_input(halves));
    cases.push(Case::one("sign", &[4, 30], Function::Sign).with_input(halves));
    cases.push(Case::one("sqrt", &[7], Function::Sqrt).with_input(f32::abs));
    cases.push(Case::one("recip", &[7], Function::Recip).with_input(|x| x + x.signum()));
    let binary = [
        ("add", Binary::Add),
        ("sub", Binary::Sub),
        ("mul", Binary::Mul),
        ("max", Binary::Max),
        ("min", Binary::Min),
    ];
    let [whole, channels, map]: [&[usize]; 3] = [&[3, 4, 5], &[3, 1, 1], &[1, 4, 5]];
    for (name, op) in binary {
        cases.push(Case::two(name, [whole, whole], op));
        cases.push(Case::two(&format!("{name}-channels"), [whole, channels], op));
        cases.push(Case::two(&format!("{name}-from-channels"), [channels, whole], op));
        cases.push(Case::two(&format!("{name}-both"), [channels, map], op));
    }
    let away = |x: f32| x + x.signum();
    cases.push(Case::two("div", [whole, channels], Binary::Div).with_input(away));
    cases.push(Case::two("div-from-channels", [channels, whole], Binary::Div).with_input(away));
    cases
}

fn pools() -> Vec<Case> {
    let pool = |kernel, stride, padding, ceil| Pool {
        kernel,
        stride,
        padding,
        dilation: [1; 2],
        ceil,
    };
    let dilated = |kernel, padding, ceil| Pool {
        dilation: [3, 2],
        ..pool(kernel, [2, 1], padding, ceil)
    };
    let size = [2, 8, 7];
    let max = [
        ("max-pool", Pool::square(2)),
        ("max-pool-padded", pool([3, 2], [2, 2], [1, 1], false)),
        ("max-pool-ceil", pool([3, 2], [2, 3], [1, 0], true)),
        ("max-pool-ceil-far", pool([2, 2], [3, 3], [0, 0], true)),
        // The last window would begin in the padding, and does not count.
        ("max-pool-ceil-outside", pool([2, 2], [3, 4], [1, 1], true)),
        ("max-pool-dilated", dilated([3, 2], [1, 0], false)),
        ("max-pool-dilated-ceil", dilated([2, 3], [1, 1], true)),
        // As many places outside as the kernel has.
        ("max-pool-dilated-wide", dilated([2, 3], [2, 2], true)),
    ];
    let mut cases: Vec<Case> = (max.into_iter())
        .map(|(name, pool)| Case::one(name, &size, Op::MaxPool(pool)).with_input(|x| x - 3.0))
        .collect();
    for count_padding in [false, true] {
        let averages = [
            ("mean", Pool::square(2)),
            ("mean-padded", pool([3, 2], [2, 2], [1, 1], false)),
            ("mean-ceil", pool([3, 2], [2, 3], [0, 0], true)),
            ("mean-padded-ceil", pool([3, 4], [2, 3], [1, 2], true)),
            ("mean-far", pool([3, 3], [4, 4], [1, 1], true)),
            ("mean-outside", pool([2, 2], [3, 4], [1, 1], true)),
        ];
        for (name, pool) in averages {
            let name = format!("{name}-{count_padding}");
            cases.push(Case::one(&name, &size, Op::AvgPool { pool, count_padding }));
        }
    }
    let adaptive = [
        ("one", [1, 1]),
        ("equal", [4, 7]),
        ("unequal", [3, 5]),
        ("row", [1, 3]),
        ("repeated", [11, 7]),
    ];
    for (name, output) in adaptive {
        let op = Op::AdaptiveAvgPool { output };
        cases.push(Case::one(&format!("adaptive-{name}"), &size, op));
    }
    for (name, kind) in [
        ("mean", Reduction::Mean),
        ("sum", Reduction::Sum),
        ("max", Reduction::Max),
    ] {
        for axes in [vec![0], vec![2, 1], vec![1, 1], vec![0, 1, 2]] {
            let name = format!("reduce-{name}-{axes:?}").replace(", ", "-");
            cases.push(Case::one(&name, &[3, 4, 5], Op::Reduce { kind, axes }));
        }
    }
    cases
}

fn moved() -> Vec<Case> {
    let slice = |axis, start, end, step| Op::Slice {
        axis,
        start,
        end,
        step,
    };
    let pad = |value| Op::Pad {
        sides: vec![[0, 1], [2, 0], [1, 3]],
        value,
    };
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let permute = |axes: &[usize]| Op::Permute { axes: axes.to_vec() };
    let shuffle = [
        NodeSpec::input("x", [6, 2, 3]),
        NodeSpec::new("split", reshape(&[2, 3, 2, 3]), ["x"]),
        NodeSpec::new("swap", permute(&[1, 0, 2, 3]), ["split"]),
        NodeSpec::new("join", reshape(&[6, 2, 3]), ["swap"]),
    ];
    let concat = [
        NodeSpec::input("a", [2, 3, 4]),
        NodeSpec::input("b", [1, 3, 4]),
        NodeSpec::new("y", Op::Concat { axis: 0 }, ["a", "b", "a"]),
    ];
    let mut cases = vec![
        Case::one("slice", &[7, 4], slice(0, 2, 5, 1)),
        Case::one("slice-step", &[2, 9, 4], slice(1, 1, 8, 3)),
        Case::one("slice-last", &[2, 9, 4], slice(2, 0, 4, 2)),
        Case::one("flatten", &[2, 3, 4], reshape(&[24])),
        Case::one("reshape-deep", &[24], reshape(&[2, 3, 1, 2, 2])),
        Case::one("permute", &[2, 3, 4], permute(&[2, 0, 1])),
        Case::new("shuffle", shuffle, &["join"]),
        Case::one("expand", &[3, 1, 1], Op::Expand { shape: vec![3, 4, 5] }),
        Case::one("pad", &[2, 3, 4], pad(0.5)),
        Case::one("pad-zeros", &[2, 3, 4], pad(0.0)),
        Case::one("upsample", &[2, 3, 4], Op::Upsample { factor: [2, 3] }),
        Case::new("concat", concat, &["y"]),
        Case::two("concat-last", [&[2, 3, 4], &[2, 3, 1]], Op::Concat { axis: 2 }),
    ];
    let products: [(&str, [&[usize]; 2]); 4] = [
        ("matmul", [&[3, 4], &[4, 5]]),
        ("matmul-heads", [&[2, 3, 4], &[2, 4, 5]]),
        ("matmul-one-matrix", [&[3, 2, 4], &[1, 4, 3]]),
        ("matmul-deep", [&[2, 1, 3, 4], &[1, 3, 4, 2]]),
    ];
    cases.extend(products.map(|(name, shapes)| Case::two(name, shapes, Op::MatMul)));
    for axis in 0..3 {
        for log in [false, true] {
            let name = format!("softmax-{axis}-{log}");
            cases.push(Case::one(&name, &[3, 4, 5], Op::Softmax { axis, log }).with_input(|x| 5.0 * x));
        }
    }
    cases
}

/// A quantised convolution as DoReFa-Net has them: 2-bit weights, batch norm, clamp, and activations of 2 bits.
fn quantised(name: &str, seed: u64, shape: [usize; 4], reads: &str) -> Vec<NodeSpec> {
    let weight: Vec<f32> = (noise(seed, shape.iter().product()).iter())
        .map(|x| ((x + 1.0) * 1.5).round() / 1.5 - 1.0)
        .collect();
    let conv = Conv {
        padding: Padding {
            top: 1,
            bottom: 1,
            left: 1,
            right: 1,
        },
        ..Conv::new(Constant::new(shape, weight).named(&format!("{name}.weight")))
    };
    let channels = [shape[0], 1, 1];
    let norm = Affine {
        minus: Some(constant(seed + 1, &channels).named(&format!("{name}.norm.running_mean"))),
        divisor: Some(positive(seed + 2, &channels).named(&format!("{name}.norm.gamma"))),
        factor: Some(positive(seed + 3, &channels).named(&format!("{name}.norm.gamma"))),
        plus: Some(positive(seed + 4, &channels).named(&format!("{name}.norm.beta"))),
        epsilon: None,
    };
    let thirds = |factor, divisor| Affine {
        factor,
        divisor,
        ..Affine::default()
    };
    let part = |part: &str| format!("{name}.{part}");
    let three = || Some(Constant::scalar(3.0));
    vec![
        NodeSpec::new(name, conv, [reads]),
        NodeSpec::new(part("norm"), norm, [name]),
        NodeSpec::new(
            part("clamp"),
            Function::Clamp { min: 0.0, max: 1.0 },
            [part("norm")],
        ),
        NodeSpec::new(part("scaled"), thirds(three(), None), [part("clamp")]),
        NodeSpec::new(part("round"), Function::Round, [part("scaled")]),
        NodeSpec::new(part("codes"), thirds(None, three()), [part("round")]),
    ]
}

fn networks() -> Vec<Case> {
    let mut residual = vec![NodeSpec::input("picture", [3, 6, 6])];
    residual.extend(quantised("stem", 11, [4, 3, 3, 3], "picture"));
    residual.extend(quantised("block.conv1", 21, [4, 4, 3, 3], "stem.codes"));
    residual.extend(quantised("block.conv2", 31, [4, 4, 3, 3], "block.conv1.codes"));
    let head = Linear {
        weight: constant(41, &[4, 5]),
        bias: Some(constant(42, &[5])),
    };
    residual.extend([
        NodeSpec::new("block.add", Binary::Add, ["block.conv2.codes", "stem.codes"]),
        NodeSpec::new("pool", Op::AdaptiveAvgPool { output: [1, 1] }, ["block.add"]),
        NodeSpec::new("flat", Op::Reshape { shape: vec![4] }, ["pool"]),
        NodeSpec::new("head", head, ["flat"]),
        NodeSpec::new("classes", Op::Softmax { axis: 0, log: false }, ["head"]),
    ]);
    // One layer twice, whose weights are in the file once.
    let shared = Conv::new(constant(51, &[2, 2, 1, 1]).named("shared.weight"));
    let twice = [
        NodeSpec::input("x", [2, 3, 3]),
        NodeSpec::new("shared", shared.clone(), ["x"]),
        NodeSpec::new("shared.2", shared, ["shared"]),
    ];
    // Constants, beside what depends on the input, and as an output of their own.
    let table = || constant(61, &[2, 3, 3]);
    let constants = [
        NodeSpec::input("x", [2, 3, 3]),
        NodeSpec::new("table", table(), [""; 0]),
        NodeSpec::new("turned", Op::Permute { axes: vec![0, 2, 1] }, ["table"]),
        NodeSpec::new("sum", Binary::Add, ["turned", "x"]),
        NodeSpec::new("both", Op::Concat { axis: 0 }, ["x", "turned"]),
        NodeSpec::new("fixed", Op::Concat { axis: 0 }, ["table", "turned"]),
    ];
    // Names that the file needs for other values.
    let names = [
        NodeSpec::input("conv.weight", [2, 3, 3]),
        NodeSpec::input("batch", [2, 3, 3]),
        NodeSpec::new("conv", Conv::new(constant(71, &[2, 2, 1, 1])), ["conv.weight"]),
        NodeSpec::new("gate", Function::Silu, ["conv"]),
        NodeSpec::new("gate.sigmoid", Function::Relu, ["gate"]),
        NodeSpec::new("table", table(), [""; 0]),
        NodeSpec::new("all", Op::Concat { axis: 1 }, ["table", "batch", "gate.sigmoid"]),
    ];
    vec![
        Case::new("residual", residual, &["classes", "block.add", "stem.round"]),
        Case::new("twice", twice, &["shared.2"]),
        Case::new("constants", constants, &["sum", "both", "fixed", "table", "x"]),
        Case::new("names", names, &["all", "conv"]),
    ]
}
