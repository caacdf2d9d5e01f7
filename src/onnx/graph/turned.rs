//! Matrices with rows and columns exchanged: a graph's linear layers have them the other way round than PyTorch's.

use std::sync::Arc;

use super::{
    maker::Maker,
    values::{Made, Tensor, Value},
};
use crate::graph::{Linear, NodeSpec, Op};

/// What is written behind the name of a weight that was turned round.
pub(super) const TURNED: &str = ".turned";

/// A matrix with the shape that it had, and its numbers before and after it was turned round.
pub(super) struct Turned {
    dims: Vec<usize>,
    from: Arc<[f32]>,
    to: Arc<[f32]>,
}

impl Maker<'_> {
    /// A matrix with rows and columns exchanged.
    pub(super) fn turn(&mut self, tensor: &Tensor) -> Made<Tensor> {
        let &[rows, columns] = &*tensor.dims else {
            return Err(format!(
                "reads a matrix of {} dimensions: expected 2",
                tensor.dims.len()
            ));
        };
        let two_shapes = || "reads one constant as matrices of two shapes".to_owned();
        let mut turned = Tensor {
            name: format!("{}{TURNED}", tensor.name),
            dims: vec![columns, rows],
            turned: true,
            values: None,
        };
        // Turned twice it is the constant itself.
        if let Some(stem) = tensor.name.strip_suffix(TURNED).filter(|_| tensor.turned) {
            return match self.named(stem)? {
                Value::Held(first) if first.dims == turned.dims => Ok(first),
                _ => Err(two_shapes()),
            };
        }
        if let Some(values) = &tensor.values {
            let known = self.turned.get(&tensor.name);
            // Integers may stand for several matrices of floats.
            let known = known.filter(|known| Arc::ptr_eq(&known.from, values));
            if known.is_some_and(|known| known.dims != tensor.dims) {
                return Err(two_shapes());
            }
            let to = known.map_or_else(
                || {
                    let columns_of = |n: usize| values.iter().skip(n).step_by(columns);
                    (0..columns).flat_map(columns_of).copied().collect()
                },
                |known| known.to.clone(),
            );
            // The numbers of the file are turned round once; others may be more than the file has.
            let more = (self.turned.get(&tensor.name)).is_some_and(|known| !Arc::ptr_eq(&known.from, values));
            if more {
                self.count(values.len())?;
            }
            let known = Turned {
                dims: tensor.dims.clone(),
                from: values.clone(),
                to: Arc::clone(&to),
            };
            self.turned.insert(tensor.name.clone(), known);
            turned.values = Some(to);
        }
        Ok(turned)
    }
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
