//! A small network of every kind of layer, as a graph in the names of PyTorch.

use vwc_sdk::graph::{Affine, Binary, Constant, Conv, Function, Graph, Linear, NodeSpec, Op, Reduction};
use vwc_sdk::mapping::Padding;

use super::common::noise;

/// Numbers that follow from the name.
pub fn numbers(name: &str, shape: &[usize], low: f64, high: f64) -> Constant {
    let seed = name
        .bytes()
        .fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
    let values: Vec<f32> = noise(seed, shape.iter().product())
        .iter()
        .map(|x| (low + (high - low) * (x + 1.0) / 2.0) as f32)
        .collect();
    Constant::new(shape, values).named(name)
}

/// A network in the names of PyTorch: a stem, a block of a depthwise convolution, a squeeze-and-excite and a residual addition, a
/// convolution that the channels of two are put together for, and a classifier.
struct Builder {
    nodes: Vec<NodeSpec>,
}

impl Builder {
    fn push(&mut self, name: &str, op: impl Into<Op>, reads: &[&str]) -> String {
        self.nodes.push(NodeSpec::new(name, op, reads.iter().copied()));
        name.into()
    }

    fn conv(&mut self, name: &str, x: &str, shape: [usize; 4], stride: usize, groups: usize) -> String {
        let spread = 1.5 / ((shape[1] * shape[2] * shape[3]) as f64).sqrt();
        let conv = Conv {
            stride: [stride; 2],
            padding: Padding::from(shape[2] / 2),
            groups,
            ..Conv::new(numbers(&format!("{name}.weight"), &shape, -spread, spread))
        };
        self.push(name, conv, &[x])
    }

    fn norm(&mut self, name: &str, x: &str, channels: usize) -> String {
        let part =
            |part: &str, low, high| Some(numbers(&format!("{name}.{part}"), &[channels, 1, 1], low, high));
        let norm = Affine {
            minus: part("running_mean", -0.2, 0.2),
            divisor: part("running_var", 0.5, 1.5),
            factor: part("weight", 0.6, 1.4),
            plus: part("bias", -0.3, 0.5),
            epsilon: Some(1e-3),
        };
        self.push(name, norm, &[x])
    }

    fn relu(&mut self, x: &str) -> String {
        self.push(&format!("{x}.relu"), Function::Relu, &[x])
    }
}

/// It reads pictures of 32x32 and tells so many classes apart.
pub fn mobile(classes: usize) -> Graph {
    let mut net = Builder {
        nodes: vec![NodeSpec::input("input", [3, 32, 32])],
    };
    let x = net.conv("stem.conv", "input", [8, 3, 3, 3], 2, 1);
    let x = net.norm("stem.bn", &x, 8);
    let stem = net.relu(&x);
    let x = net.conv("block.expand", &stem, [24, 8, 1, 1], 1, 1);
    let x = net.norm("block.bn1", &x, 24);
    let x = net.relu(&x);
    let x = net.conv("block.depthwise", &x, [24, 1, 3, 3], 1, 24);
    let x = net.norm("block.bn2", &x, 24);
    let wide = net.relu(&x);
    let mean = Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    };
    let x = net.push("block.squeeze", mean.clone(), &[&wide]);
    let x = net.conv("block.se.0", &x, [6, 24, 1, 1], 1, 1);
    let x = net.relu(&x);
    let x = net.conv("block.se.2", &x, [24, 6, 1, 1], 1, 1);
    let gate = net.push("block.gate", Function::Sigmoid, &[&x]);
    let x = net.push("block.scaled", Binary::Mul, &[&wide, &gate]);
    let x = net.conv("block.project", &x, [8, 24, 1, 1], 1, 1);
    let x = net.norm("block.bn3", &x, 8);
    let sum = net.push("block.sum", Binary::Add, &[&stem, &x]);
    let x = net.push("both", Op::Concat { axis: 0 }, &[&sum, &stem]);
    let x = net.conv("last.conv", &x, [16, 16, 3, 3], 2, 1);
    let x = net.norm("last.bn", &x, 16);
    let x = net.relu(&x);
    let x = net.push("pool", mean, &[&x]);
    let x = net.push("flat", Op::Reshape { shape: vec![16] }, &[&x]);
    let fc = Linear {
        weight: numbers("fc.weight", &[16, classes], -0.4, 0.4),
        bias: Some(numbers("fc.bias", &[classes], -0.1, 0.1)),
    };
    net.push("fc", fc, &[&x]);
    Graph::new(net.nodes, ["fc"]).unwrap()
}
