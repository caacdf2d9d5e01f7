//! Whether a smaller module does what the one did that was followed, each operation on the channels that are left.

use std::collections::BTreeSet;

use burn::tensor::Slice;
use burn_ir::{
    BaseOperationIr, IrVisitorMut, OperationIr, ScalarIr, SliceOpIr, TensorId, TensorIr, TensorStatus,
};

use super::labels::{Labels, operation_name};
use crate::trace::{Convolution, Trace};

/// What a smaller module does otherwise than `before`, if anything, when the channels of the labels `gone` are gone. Numbers that
/// it computes with may be others where they are `its_own`.
pub(super) fn difference(
    before: &Trace,
    labels: &Labels,
    gone: &BTreeSet<usize>,
    after: &Trace,
    its_own: bool,
) -> Option<String> {
    if before.operations.len() != after.operations.len() {
        return Some(format!(
            "it does {} operations where it did {}",
            after.operations.len(),
            before.operations.len()
        ));
    }
    let operations = before.operations.iter().zip(&after.operations);
    let mut differences = operations.filter_map(|(was, is)| {
        let [name, other] = [was, is].map(|operation| operation_name(&format!("{operation:?}")).to_owned());
        if name != other {
            return Some(format!("it does {other} where it did {name}"));
        }
        // Its number of groups goes with its channels.
        let depthwise = |operation| Convolution::of(operation).is_some_and(|conv| conv.depthwise());
        if !(depthwise(was) && depthwise(is)) {
            if plain(was, false) != plain(is, false) {
                return Some(format!("{name} is done in another way"));
            }
            if !its_own && plain(was, true) != plain(is, true) {
                return Some(format!(
                    "{name} computes with another number, which the module makes of its channels"
                ));
            }
        }
        starts_differ(was, is, labels, gone).or_else(|| shapes_differ(was, is, labels, gone))
    });
    differences.next()
}

/// An operation but for the tensors and places that it is done with, and `with_numbers` or without.
fn plain(operation: &OperationIr, with_numbers: bool) -> OperationIr {
    struct Plain(bool);
    impl IrVisitorMut for Plain {
        fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
            tensor.id = TensorId::new(0);
            tensor.shape = [0; 0].into();
            tensor.status = TensorStatus::ReadOnly;
        }

        fn visit_scalar_mut(&mut self, scalar: &mut ScalarIr) {
            if !self.0 {
                *scalar = ScalarIr::Bool(false);
            }
        }

        fn visit_range_mut(&mut self, range: &mut Slice) {
            *range = Slice::full();
        }
    }
    let mut operation = operation.clone();
    operation.visit_mut(&mut Plain(with_numbers));
    operation
}

/// How many of the first `count` labels along dimension `d` of a tensor are left; `count` where nothing can be cut there.
fn left(labels: &Labels, gone: &BTreeSet<usize>, id: TensorId, d: usize, count: usize) -> usize {
    match labels.of_id(id).get(d).and_then(Option::as_ref) {
        Some(along) => (along[..count].iter())
            .filter(|&&label| !gone.contains(&labels.root(label)))
            .count(),
        None => count,
    }
}

fn slice(operation: &OperationIr) -> Option<&SliceOpIr> {
    match operation {
        OperationIr::BaseFloat(BaseOperationIr::Slice(op))
        | OperationIr::BaseInt(BaseOperationIr::Slice(op))
        | OperationIr::BaseBool(BaseOperationIr::Slice(op)) => Some(op),
        _ => None,
    }
}

/// Slices that do not begin with the channels that they began with.
fn starts_differ(
    was: &OperationIr,
    is: &OperationIr,
    labels: &Labels,
    gone: &BTreeSet<usize>,
) -> Option<String> {
    let (was, is) = (slice(was)?, slice(is)?);
    let ranges = was.ranges.iter().zip(&is.ranges).enumerate();
    let mut differences = ranges.filter_map(|(d, (old, new))| {
        if old.step != new.step {
            return Some(format!(
                "a slice goes in steps of {} where it went in steps of {}",
                new.step, old.step
            ));
        }
        let [old, new] = [(old, was), (new, is)].map(|(slice, op)| slice.to_range(op.tensor.shape[d]).start);
        let expected = left(labels, gone, was.tensor.id, d, old);
        (new != expected).then(|| format!("a slice begins at {new} where {expected} is left of {old}"))
    });
    differences.next()
}

/// Results of other shapes than are left.
fn shapes_differ(
    was: &OperationIr,
    is: &OperationIr,
    labels: &Labels,
    gone: &BTreeSet<usize>,
) -> Option<String> {
    let mut outputs = was.outputs().zip(is.outputs());
    outputs.find_map(|(was, is)| {
        // What no parameter has reached may be merged with what one has: only its number of dimensions is known.
        if labels.of_id(was.id).iter().all(Option::is_none) {
            return None;
        }
        let sizes = was.shape.to_vec();
        let expected = sizes.iter().enumerate();
        let expected: Vec<usize> = expected
            .map(|(d, &size)| left(labels, gone, was.id, d, size))
            .collect();
        let found = is.shape.to_vec();
        (found != expected)
            .then(|| format!("an operation gives {found:?} where {expected:?} are left of {sizes:?}"))
    })
}
