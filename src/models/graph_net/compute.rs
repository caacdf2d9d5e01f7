//! What a node of a network computes: with this crate's kernels where there are some, else as a graph does.
//!
//! The kernels leave feature maps with the channels last in memory. Operations on every number keep that order here: to put numbers
//! into another one costs as much as the operation.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use super::GraphNetConfig;
use super::fold::as_norm;
use crate::graph::{self, Binary, ConvKernel, Function, Node, NodeId, Op};
use crate::module::any::{self, AnyTensor};
use crate::quant::{Activation, Grids, norm_pool_act};

/// What `op` makes of `inputs`, for a batch of so many, with these constants. `grids`: what the numbers of a convolution were rounded to.
pub(super) fn compute(
    op: &Op,
    constants: &[AnyTensor],
    inputs: Vec<AnyTensor>,
    grids: Option<Grids>,
    batch: usize,
) -> AnyTensor {
    match op {
        Op::Conv(conv) => {
            let x = inputs[0].clone().into_tensor();
            graph::convolution(conv, ConvKernel::Crate, x, constants, grids).into()
        }
        Op::Binary(_) | Op::Affine(_) | Op::Function(_) if inputs.iter().any(are_channels_last) => {
            let last = |values: &[AnyTensor]| -> Vec<AnyTensor> {
                values
                    .iter()
                    .map(|value| value.clone().permute(&[0, 2, 3, 1]))
                    .collect()
            };
            let result = graph::compute(op, &last(constants), last(&inputs), batch);
            result.permute(&[0, 3, 1, 2])
        }
        op => graph::compute(op, constants, inputs, batch),
    }
}

/// A value until all that read it have done so.
#[derive(Clone)]
pub(super) struct Kept {
    value: AnyTensor,
    /// Whether its dimensions are in the order in which its numbers lie in memory, channels last.
    last: bool,
}

impl Kept {
    /// Where several nodes read a value, its gradient is a sum, which takes several times as long of numbers that do not lie in the order
    /// of their dimensions.
    pub fn new(value: AnyTensor, shared: bool) -> Self {
        match shared && are_channels_last(&value) {
            true => Self {
                value: value.permute(&[0, 2, 3, 1]),
                last: true,
            },
            false => Self { value, last: false },
        }
    }

    pub fn read(&self) -> AnyTensor {
        match self.last {
            true => self.value.clone().permute(&[0, 3, 1, 2]),
            false => self.value.clone(),
        }
    }
}

/// What a batch norm, and the function behind it, make of its input.
pub(super) fn norm(x: AnyTensor, norm: &BatchNorm, act: &Activation) -> AnyTensor {
    struct Forward<'a>(&'a BatchNorm);
    impl any::Function for Forward<'_> {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            self.0.forward(x)
        }
    }
    match x.shape().len() {
        4 => norm_pool_act(x.into_tensor(), Some(norm), false, act).into(),
        _ => activated(x.map(Forward(norm)), act),
    }
}

fn activated(x: AnyTensor, act: &Activation) -> AnyTensor {
    struct Forward<'a>(&'a Activation);
    impl any::Function for Forward<'_> {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            self.0.forward(x)
        }
    }
    x.map(Forward(act))
}

/// The sum of two values and the function behind it.
pub(super) fn sum(a: AnyTensor, b: AnyTensor, act: &Activation) -> AnyTensor {
    #[cfg(feature = "flex")]
    if are_channels_last(&a) || are_channels_last(&b) {
        return crate::kernels::sum_act(a.into_tensor(), b.into_tensor(), act.into()).into();
    }
    activated(a.zip(b, Binary::Add), act)
}

/// How a node is computed, beside its operation.
#[derive(Clone, Debug)]
pub(super) enum Way {
    Alone,
    /// A batch norm, with the function behind it in one pass.
    Norm(Activation),
    /// A sum of two values of its shape, with the function behind it in one pass.
    Sum(Activation),
    /// A batch norm, with the convolution at this place, whose weights are quantised behind the folding.
    Folded(usize),
    /// By its batch norm: the node hands on what it reads.
    ByNorm,
}

/// The way of each node. `reads`: how often each result is read.
pub(super) fn ways(config: &GraphNetConfig, reads: &[usize]) -> Vec<Way> {
    let nodes = config.sketch().nodes();
    let shape = |n: &NodeId| nodes[n.index()].shape();
    let alone = |node: &Node| match (as_norm(node), node.op()) {
        (Some(_), _) => Way::Norm(Activation::identity()),
        (_, Op::Binary(Binary::Add)) if node.inputs().iter().all(|value| shape(value) == node.shape()) => {
            Way::Sum(Activation::identity())
        }
        _ => Way::Alone,
    };
    let mut ways: Vec<Way> = nodes.iter().map(alone).collect();
    for (conv, norm) in config.folds() {
        ways[conv] = Way::ByNorm;
        ways[norm] = Way::Folded(conv);
    }
    for (n, node) in nodes.iter().enumerate() {
        let act = match *node.op() {
            Op::Function(Function::Relu) => Activation::relu(),
            Op::Function(Function::Clamp { min: 0.0, max: 6.0 }) => Activation::relu6(),
            _ => continue,
        };
        let before = node.inputs()[0].index();
        if let (1, Way::Norm(behind) | Way::Sum(behind)) = (reads[before], &mut ways[before]) {
            *behind = act;
            ways[n] = Way::ByNorm;
        }
    }
    ways
}

/// Whether a value is feature maps that lie with the channels last in memory.
#[cfg(feature = "flex")]
fn are_channels_last(value: &AnyTensor) -> bool {
    value
        .clone()
        .try_tensor::<4>()
        .is_some_and(|x| crate::kernels::are_channels_last(&x))
}

#[cfg(not(feature = "flex"))]
fn are_channels_last(_: &AnyTensor) -> bool {
    false
}
