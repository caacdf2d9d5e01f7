//! Matrices with rows and columns exchanged: a graph's linear layers have them the other way round than PyTorch's.

use std::sync::Arc;

use crate::graph::{Linear, NodeSpec, Op};

/// What is written behind the name of a weight that was turned round.
pub(super) const TURNED: &str = ".turned";

/// A matrix with the shape that it had, and its numbers before and after it was turned round.
pub(super) struct Turned {
    pub dims: Vec<usize>,
    pub from: Arc<[f32]>,
    pub to: Arc<[f32]>,
}

/// A linear layer whose weight was turned round, which nobody reads as it is, with the name of the parameter itself.
pub(super) fn plainly_named(spec: NodeSpec) -> NodeSpec {
    let Op::Linear(linear) = spec.op() else {
        return spec;
    };
    let Some(stem) = linear.weight.name().and_then(|name| name.strip_suffix(TURNED)) else {
        return spec;
    };
    let weight = linear.weight.clone().named(stem);
    let linear = Linear {
        weight,
        bias: linear.bias.clone(),
    };
    NodeSpec::new(spec.name(), linear, spec.inputs())
}
