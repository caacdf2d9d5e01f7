//! Networks drawn out of the node list, as Burn modules: pruned, each gives what it gives with zeros for the channels that went.
//!
//! What the documentation of `find_groups` excepts is not drawn: no mean, sum, product, maximum or softmax runs over channels
//! that can be pruned. Nothing is rounded, so that a sum in another order stays a small difference.
//!
//! Some modules split channels into parts of which other operations tie all together, and keep how many parts there are, or how
//! large each is. They cannot lose a channel there, `prune` refuses it, and such groups stay as wide as they are; the others of
//! the network are pruned.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use vwc_sdk::graph::{Binary, Constant, Function, Graph, NodeId, Op, Reduction};

use burn::tensor::ops::{
    AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions,
};
use burn::tensor::{Slice, activation, module as ops};

use super::*;
use crate::draw::{Numbers, network};

/// A module that does what a drawn graph describes, on parameters of its own.
#[derive(Module, Debug)]
struct Drawn {
    /// One for each node.
    nodes: Vec<Layer>,
    #[module(skip)]
    graph: Graph,
    /// Whether a reshape that splits channels fixes how many parts there are, or how large each is.
    #[module(skip)]
    parts_fixed: bool,
}

/// The parameters of a node, those that it has.
#[derive(Module, Debug)]
struct Layer {
    kernel: Option<Param<Tensor<4>>>,
    matrix: Option<Param<Tensor<2>>>,
    bias: Option<Param<Tensor<1>>>,
    minus: Option<Param<Tensor<4>>>,
    divisor: Option<Param<Tensor<4>>>,
    factor: Option<Param<Tensor<4>>>,
    plus: Option<Param<Tensor<4>>>,
}

impl Layer {
    fn of(op: &Op) -> Self {
        fn param<const D: usize>(constant: Option<&Constant>) -> Option<Param<Tensor<D>>> {
            let constant = constant?;
            // Constants beside maps have no batch.
            let mut shape = vec![1; D - constant.shape().len()];
            shape.extend(constant.shape());
            let data = TensorData::new(constant.values().to_vec(), shape);
            Some(Param::from_tensor(Tensor::from_data(data, &device())))
        }
        let mut layer = Self {
            kernel: None,
            matrix: None,
            bias: None,
            minus: None,
            divisor: None,
            factor: None,
            plus: None,
        };
        match op {
            Op::Conv(conv) => {
                layer.kernel = param(Some(&conv.weight));
                layer.bias = param(conv.bias.as_ref());
            }
            Op::ConvTranspose(conv) => {
                layer.kernel = param(Some(&conv.weight));
                layer.bias = param(conv.bias.as_ref());
            }
            Op::Linear(linear) => {
                layer.matrix = param(Some(&linear.weight));
                layer.bias = param(linear.bias.as_ref());
            }
            Op::Affine(affine) => {
                layer.minus = param(affine.minus.as_ref());
                layer.divisor = param(affine.divisor.as_ref());
                layer.factor = param(affine.factor.as_ref());
                layer.plus = param(affine.plus.as_ref());
            }
            _ => {}
        }
        layer
    }

    fn kernel(&self) -> Tensor<4> {
        self.kernel.as_ref().unwrap().val()
    }

    fn bias(&self) -> Option<Tensor<1>> {
        self.bias.as_ref().map(Param::val)
    }
}

/// What a node computes, with the batch.
#[derive(Clone)]
enum Value {
    Rows(Tensor<2>),
    Maps(Tensor<4>),
    /// Maps whose channels are split.
    Parts(Tensor<5>),
}

impl Value {
    fn rows(self) -> Tensor<2> {
        let Self::Rows(x) = self else {
            panic!("rows are expected")
        };
        x
    }

    fn maps(self) -> Tensor<4> {
        let Self::Maps(x) = self else {
            panic!("maps are expected")
        };
        x
    }

    fn parts(self) -> Tensor<5> {
        let Self::Parts(x) = self else {
            panic!("parts are expected")
        };
        x
    }
}

fn function<const D: usize>(function: Function, x: Tensor<D>) -> Tensor<D> {
    match function {
        Function::Relu => relu(x),
        Function::LeakyRelu { slope } => activation::leaky_relu(x, slope.into()),
        Function::Clamp { min, max } if min.is_infinite() => x.clamp_max(max),
        Function::Clamp { min, max } => x.clamp(min, max),
        Function::Sigmoid => sigmoid(x),
        Function::HardSigmoid { alpha, beta } => activation::hard_sigmoid(x, alpha.into(), beta.into()),
        Function::HardSwish { alpha, beta } => {
            x.clone() * activation::hard_sigmoid(x, alpha.into(), beta.into())
        }
        Function::Silu => activation::silu(x),
        Function::Tanh => x.tanh(),
        Function::Gelu => activation::gelu(x),
        Function::Erf => x.erf(),
        Function::Abs => x.abs(),
        Function::Neg => x.neg(),
        other => unreachable!("{other:?} is not drawn"),
    }
}

impl Drawn {
    fn new(graph: Graph, parts_fixed: bool) -> Self {
        Self {
            nodes: graph.nodes().iter().map(|node| Layer::of(node.op())).collect(),
            graph,
            parts_fixed,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut values: Vec<Value> = Vec::new();
        for (id, _) in self.graph.iter() {
            let value = self.compute(id, &x, &values);
            values.push(value);
        }
        values[self.graph.outputs()[0].index()].clone().rows()
    }

    fn compute(&self, id: NodeId, picture: &Tensor<4>, values: &[Value]) -> Value {
        let node = self.graph.node(id);
        let layer = &self.nodes[id.index()];
        let before = node
            .inputs()
            .first()
            .map_or(&[][..], |&input| self.graph.node(input).shape());
        let read = |n: usize| values[node.inputs()[n].index()].clone();
        // Depthwise convolutions have as many groups as they read channels.
        let groups = |groups: usize, x: &Tensor<4>| {
            if groups == before[0] { x.dims()[1] } else { groups }
        };
        let y = match node.op() {
            Op::Input { .. } => picture.clone(),
            Op::Conv(conv) => {
                let x = read(0).maps();
                let padding = conv.padding;
                let pairs = [(padding.top, padding.bottom), (padding.left, padding.right)];
                let groups = groups(conv.groups, &x);
                let options = ConvOptions::new_with_padding(conv.stride, pairs, conv.dilation, groups);
                ops::conv2d(x, layer.kernel(), layer.bias(), options)
            }
            Op::ConvTranspose(conv) => {
                let x = read(0).maps();
                let options = ConvTransposeOptions::new(
                    conv.stride,
                    conv.padding,
                    conv.output_padding,
                    conv.dilation,
                    groups(conv.groups, &x),
                );
                ops::conv_transpose2d(x, layer.kernel(), layer.bias(), options)
            }
            Op::Linear(_) => {
                let weight = layer.matrix.as_ref().unwrap().val();
                return Value::Rows(ops::linear(read(0).rows(), weight, layer.bias()));
            }
            Op::Affine(_) => {
                let mut x = read(0).maps();
                let val = |part: &Option<Param<Tensor<4>>>| part.as_ref().map(Param::val);
                if let Some(minus) = val(&layer.minus) {
                    x = x - minus;
                }
                if let Some(divisor) = val(&layer.divisor) {
                    x = x / divisor;
                }
                if let Some(factor) = val(&layer.factor) {
                    x = x * factor;
                }
                match val(&layer.plus) {
                    Some(plus) => x + plus,
                    None => x,
                }
            }
            &Op::Function(of) => match read(0) {
                Value::Rows(x) => return Value::Rows(function(of, x)),
                x => function(of, x.maps()),
            },
            Op::MaxPool(pool) => {
                let options = MaxPoolOptions::new(pool.kernel)
                    .with_stride(pool.stride)
                    .with_padding(pool.padding)
                    .with_dilation(pool.dilation)
                    .with_ceil_mode(pool.ceil);
                ops::max_pool2d(read(0).maps(), options)
            }
            Op::AvgPool { pool, count_padding } => {
                let options = AvgPoolOptions::new(pool.kernel)
                    .with_stride(pool.stride)
                    .with_padding(pool.padding)
                    .with_count_include_pad(*count_padding)
                    .with_ceil_mode(pool.ceil);
                ops::avg_pool2d(read(0).maps(), options)
            }
            Op::AdaptiveAvgPool { output } => ops::adaptive_avg_pool2d(read(0).maps(), *output),
            Op::Reduce { kind, axes } => axes.iter().fold(read(0).maps(), |x, axis| match kind {
                Reduction::Mean => x.mean_dim(axis + 1),
                Reduction::Sum => x.sum_dim(axis + 1),
                _ => x.max_dim(axis + 1),
            }),
            Op::Binary(op) => {
                let (a, b) = (read(0).maps(), read(1).maps());
                match op {
                    Binary::Add => a + b,
                    Binary::Sub => a - b,
                    Binary::Mul => a * b,
                    Binary::Max => a.max_pair(b),
                    other => unreachable!("{other:?} is not drawn"),
                }
            }
            Op::Concat { axis } => {
                let all = (0..node.inputs().len()).map(|n| read(n).maps());
                Tensor::cat(all.collect(), axis + 1)
            }
            &Op::Slice {
                axis,
                start,
                end,
                step,
            } => {
                let x = read(0).maps();
                let (was, is) = (before[axis], x.dims()[axis + 1]);
                let part = end - start;
                // Equal parts are equal parts of what is left, as `chunk` makes them.
                let equal = step == 1 && was.is_multiple_of(part) && start.is_multiple_of(part);
                let [start, end] = [start, end].map(|at| if equal { at * is / was } else { at });
                let slice = Slice::new(start as isize, Some(end as isize), step as isize);
                x.slice_dim(axis + 1, slice)
            }
            Op::Reshape { shape } => match read(0) {
                Value::Parts(x) => {
                    let [batch, a, b, height, width] = x.dims();
                    x.reshape([batch, a * b, height, width])
                }
                x => {
                    let x = x.maps();
                    let [batch, channels, height, width] = x.dims();
                    let &[parts, of_part, ..] = &shape[..] else {
                        return Value::Rows(x.flatten(1, 3));
                    };
                    // A module that has a number of its channels in it, as that of parts of one channel, is not pruned.
                    let [parts, of_part] = if self.parts_fixed && of_part > 1 {
                        [parts, channels / parts]
                    } else {
                        [channels / of_part, of_part]
                    };
                    return Value::Parts(x.reshape([batch, parts, of_part, height, width]));
                }
            },
            Op::Permute { axes } => {
                assert_eq!(axes[..], [1, 0, 2, 3]);
                return Value::Parts(read(0).parts().swap_dims(1, 2));
            }
            Op::Pad { sides, value } => {
                assert_eq!(sides[0], [0, 0]);
                let [_, [top, bottom], [left, right]] = sides[..] else {
                    unreachable!("maps have three dimensions")
                };
                let sides = [(top, bottom), (left, right)];
                read(0).maps().pad(sides, PadMode::Constant(*value))
            }
            Op::Upsample { factor } => {
                let x = read(0).maps();
                let [_, _, height, width] = x.dims();
                let options = InterpolateOptions::new(InterpolateMode::Nearest)
                    .with_output_size([height * factor[0], width * factor[1]]);
                ops::interpolate(x, options)
            }
            &Op::Softmax { log, .. } => {
                let x = read(0).rows();
                return Value::Rows(if log {
                    activation::log_softmax(x, 1)
                } else {
                    softmax(x, 1)
                });
            }
            other => unreachable!("{other:?} is not drawn"),
        };
        Value::Maps(y)
    }
}

/// How many networks are drawn.
const NETWORKS: u32 = 2000;

#[test]
fn drawn_networks_pruned_are_the_masked_ones() {
    let [with_groups, several, fewer, changed, refused] = [(); 5].map(|()| Cell::new(0));
    let count = |counter: &Cell<u32>, is: bool| counter.set(counter.get() + u32::from(is));
    let config = ProptestConfig {
        cases: NETWORKS,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let run = TestRunner::new(config).run(&any::<(u64, bool)>(), |(seed, parts_fixed)| {
        let (graph, [height, width]) = network(seed, Numbers::Smooth);
        let module = Drawn::new(graph, parts_fixed);
        let graph = &module.graph;
        let groups = find_groups(&module, [1, 3, height, width], Drawn::forward)
            .unwrap_or_else(|error| panic!("{error}\n{graph}"));
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |group: &ChannelGroup| rng.random_range(1..=group.channels);
        let mut widths: Vec<usize> = groups.iter().map(&mut draw).collect();
        let prune = |widths: &[usize]| groups.prune(&module, widths, Ranking::L1, Drawn::forward);
        let splits = graph
            .nodes()
            .iter()
            .any(|node| matches!(node.op(), Op::Permute { .. }));
        if splits && prune(&widths).is_err() {
            let full = groups.channels();
            for n in 0..full.len() {
                let mut fewer = full.clone();
                fewer[n] -= 1;
                if prune(&fewer).is_err() {
                    widths[n] = full[n];
                    count(&refused, true);
                }
            }
        }
        let small = prune(&widths).unwrap_or_else(|error| panic!("{error}\n{widths:?}\n{groups}\n{graph}"));
        let shape = [2, 3, height, width];
        let x = tensor(&noise(seed, shape.iter().product()), shape, &device());
        let found = values(&small.forward(x.clone()));
        let masked = masked(&module, &groups, &widths);
        let expected = values(&masked.forward(x.clone()));
        assert_close(&found, &expected, 1e-4, &format!("{widths:?}\n{groups}\n{graph}"));
        count(&with_groups, !groups.is_empty());
        count(&several, groups.len() > 1);
        count(&fewer, widths != groups.channels());
        count(&changed, expected != values(&module.forward(x)));
        Ok(())
    });
    run.unwrap();
    // Most networks have channels to prune, and lose some.
    let [with_groups, several, fewer, changed, refused] =
        [with_groups, several, fewer, changed, refused].map(Cell::into_inner);
    assert!(refused < NETWORKS / 10, "{refused} of {NETWORKS}");
    assert!(with_groups > NETWORKS * 3 / 4, "{with_groups} of {NETWORKS}");
    assert!(several > NETWORKS / 2, "{several} of {NETWORKS}");
    assert!(fewer > NETWORKS * 2 / 3, "{fewer} of {NETWORKS}");
    assert!(changed > NETWORKS * 2 / 3, "{changed} of {NETWORKS}");
}

/// The module computes what the graph that it was drawn as does.
#[test]
fn drawn_modules_compute_their_graphs() {
    for seed in 0..50 {
        let (graph, [height, width]) = network(seed, Numbers::Smooth);
        let shape = [2, 3, height, width];
        let x = tensor(&noise(seed, shape.iter().product()), shape, &device());
        let expected: Tensor<2> = graph.on(&device()).forward(x.clone()).unwrap();
        let found = Drawn::new(graph.clone(), seed % 2 == 0).forward(x);
        assert_close(&values(&found), &values(&expected), 1e-5, &graph.to_string());
    }
}
