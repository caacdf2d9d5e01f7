//! Writes a network down node by node. The sizes that a layer reads follow from what is before it, so that a network's file holds
//! its own numbers alone.

use super::super::ir::{Affine, Binary, Constant, Conv, Function, Linear, NodeSpec, Op, Pool};
use super::super::shape::shape;
use super::super::sketch::Sketch;

/// What a node computes, for the nodes that read it.
#[derive(Clone, Copy)]
pub(super) struct Value(usize);

/// What the scale and the shift of a batch norm are called.
#[derive(Clone, Copy)]
pub(super) enum Names {
    /// `weight` and `bias`, as in PyTorch.
    Torch,
    /// `gamma` and `beta`, as in Burn.
    Burn,
}

/// The square kernel of a convolution, and how it moves.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    size: usize,
    stride: usize,
    padding: usize,
    groups: usize,
    bias: bool,
}

impl Kernel {
    /// Stride 1, no padding, no groups and no bias.
    pub(super) fn of(size: usize) -> Self {
        Self {
            size,
            stride: 1,
            padding: 0,
            groups: 1,
            bias: false,
        }
    }

    /// With as much padding as keeps the size of the feature map at stride 1.
    pub(super) fn same(size: usize) -> Self {
        Self::of(size).padding(size / 2)
    }

    pub(super) fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub(super) fn padding(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    pub(super) fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    pub(super) fn bias(self) -> Self {
        Self { bias: true, ..self }
    }
}

/// Windows of a pool that are `stride` apart.
pub(super) fn pool(size: usize, stride: usize) -> Pool {
    Pool {
        stride: [stride; 2],
        ..Pool::square(size)
    }
}

/// A network so far.
pub(super) struct Builder {
    nodes: Vec<NodeSpec>,
    names: Vec<String>,
    shapes: Vec<Vec<usize>>,
    norm_names: Names,
    epsilon: f32,
}

impl Builder {
    /// A network that reads pictures of `side` x `side` in three colours, and its input. The epsilon of its batch norms is 1e-5.
    pub(super) fn new(norm_names: Names, side: usize) -> (Self, Value) {
        let mut network = Self {
            nodes: Vec::new(),
            names: Vec::new(),
            shapes: Vec::new(),
            norm_names,
            epsilon: 1e-5,
        };
        let shape = vec![3, side, side];
        let input = network.push("input", Op::Input { shape }, &[]);
        (network, input)
    }

    pub(super) fn with_epsilon(self, epsilon: f32) -> Self {
        Self { epsilon, ..self }
    }

    /// The channels of a feature map, or the size of a vector.
    pub(super) fn channels(&self, x: Value) -> usize {
        self.shapes[x.0][0]
    }

    /// A convolution.
    pub(super) fn conv(&mut self, name: &str, x: Value, outputs: usize, kernel: Kernel) -> Value {
        let inputs = self.channels(x) / kernel.groups;
        let conv = Conv {
            bias: kernel.bias.then(|| parameter(name, "bias", [outputs])),
            stride: [kernel.stride; 2],
            padding: kernel.padding.into(),
            groups: kernel.groups,
            ..Conv::new(parameter(
                name,
                "weight",
                [outputs, inputs, kernel.size, kernel.size],
            ))
        };
        self.push(name, conv, &[x])
    }

    /// A batch norm.
    pub(super) fn norm(&mut self, name: &str, x: Value) -> Value {
        let [scale, shift] = match self.norm_names {
            Names::Torch => ["weight", "bias"],
            Names::Burn => ["gamma", "beta"],
        };
        let channels = self.channels(x);
        let part = |what| Some(parameter(name, what, [channels, 1, 1]));
        let norm = Affine {
            minus: part("running_mean"),
            divisor: part("running_var"),
            factor: part(scale),
            plus: part(shift),
            epsilon: Some(self.epsilon),
        };
        self.push(name, norm, &[x])
    }

    pub(super) fn relu(&mut self, name: &str, x: Value) -> Value {
        self.push(name, Function::Relu, &[x])
    }

    pub(super) fn relu6(&mut self, name: &str, x: Value) -> Value {
        self.push(name, Function::Clamp { min: 0.0, max: 6.0 }, &[x])
    }

    pub(super) fn max_pool(&mut self, name: &str, x: Value, pool: Pool) -> Value {
        self.push(name, Op::MaxPool(pool), &[x])
    }

    pub(super) fn avg_pool(&mut self, name: &str, x: Value, pool: Pool) -> Value {
        let count_padding = true;
        self.push(name, Op::AvgPool { pool, count_padding }, &[x])
    }

    /// The means of `side` x `side` windows that share the feature map; with a `side` of 1, of all of it.
    pub(super) fn mean_pool_to(&mut self, name: &str, x: Value, side: usize) -> Value {
        self.push(name, Op::AdaptiveAvgPool { output: [side; 2] }, &[x])
    }

    pub(super) fn add(&mut self, name: &str, a: Value, b: Value) -> Value {
        self.push(name, Binary::Add, &[a, b])
    }

    /// The channels of one value behind those of another.
    pub(super) fn concat(&mut self, name: &str, values: &[Value]) -> Value {
        self.push(name, Op::Concat { axis: 0 }, values)
    }

    pub(super) fn flatten(&mut self, name: &str, x: Value) -> Value {
        let shape = vec![self.shapes[x.0].iter().product()];
        self.push(name, Op::Reshape { shape }, &[x])
    }

    /// A linear layer, with a bias where `bias` says so.
    pub(super) fn linear(&mut self, name: &str, x: Value, outputs: usize, bias: bool) -> Value {
        let linear = Linear {
            weight: parameter(name, "weight", [self.channels(x), outputs]),
            bias: bias.then(|| parameter(name, "bias", [outputs])),
        };
        self.push(name, linear, &[x])
    }

    /// The network, which results in what its last node computes.
    pub(super) fn finish(mut self) -> Sketch {
        let output = self.names.pop().expect("a network has nodes");
        Sketch::new(self.nodes, [output]).expect("a network of this crate is sound")
    }

    /// A node. Where others have its name already, `.2`, `.3` and so on are added: a module without parameters may stand in several
    /// places.
    fn push(&mut self, name: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        let op = op.into();
        let mut unique = name.to_owned();
        let mut times = 1;
        while self.names.contains(&unique) {
            times += 1;
            unique = format!("{name}.{times}");
        }
        let reads: Vec<&[usize]> = inputs.iter().map(|input| &*self.shapes[input.0]).collect();
        let shape = shape(&op, &reads).expect("the sizes of a network of this crate fit");
        let names = inputs.iter().map(|input| self.names[input.0].clone());
        self.nodes.push(NodeSpec::new(unique.clone(), op, names));
        self.names.push(unique);
        self.shapes.push(shape);
        Value(self.nodes.len() - 1)
    }
}

fn parameter<const D: usize>(layer: &str, what: &str, shape: [usize; D]) -> Constant {
    Constant::missing(shape).named(&format!("{layer}.{what}"))
}
