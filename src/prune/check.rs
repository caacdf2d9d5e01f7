//! Whether a smaller module does what the one did that was followed, each operation on the channels that are left.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use burn::tensor::Slice;
use burn_ir::{
    BaseOperationIr, IrVisitorMut, ModuleOperationIr, NumericOperationIr, OperationIr, ScalarIr, SliceOpIr,
    TensorId, TensorIr, TensorStatus,
};

use super::labels::Labels;
use crate::module::{Convolution, Trace, operation_name};

/// What a smaller module does otherwise than `before`, if anything, on the channels that are left. Numbers that it computes
/// with may be others where they are `its_own`.
pub(super) fn difference(before: &Trace, left: Left<'_>, after: &Trace, its_own: bool) -> Option<String> {
    if before.operations.len() != after.operations.len() {
        return Some(format!(
            "it does {} operations where it did {}",
            after.operations.len(),
            before.operations.len()
        ));
    }
    let (mut old, mut new) = (Numbers::of(before), Numbers::of(after));
    let read: HashSet<TensorId> = (before.operations.iter())
        .flat_map(OperationIr::inputs)
        .map(|tensor| tensor.id)
        .collect();
    // The layer that is nearest, to name it.
    let mut near = "the input";
    for (was, is) in before.operations.iter().zip(&after.operations) {
        // A parameter that nothing reads may have any shape.
        if matches!(was, OperationIr::Init(_)) && was.outputs().all(|made| !read.contains(&made.id)) {
            continue;
        }
        if let Some(n) = was.inputs().find_map(|input| before.number(input.id)) {
            near = &before.parameters[n].path;
        }
        let difference = done_otherwise([was, is], [&mut old, &mut new], its_own)
            .or_else(|| starts_differ(was, is, left))
            .or_else(|| counts_differ(was, is, left))
            .or_else(|| shapes_differ(was, is, left));
        if let Some(difference) = difference {
            return Some(format!("{difference}, at `{near}` or after it"));
        }
    }
    if !its_own && old.constants(before) != new.constants(after) {
        return Some("a tensor that it makes of its channels has other numbers".to_owned());
    }
    None
}

/// Operations of another kind, on other tensors or with other settings; and, where they are not `its_own`, with other numbers.
fn done_otherwise(
    [was, is]: [&OperationIr; 2],
    [old, new]: [&mut Numbers; 2],
    its_own: bool,
) -> Option<String> {
    if let (Some(was), Some(is)) = (Convolution::of(was), Convolution::of(is)) {
        let expected = if was.depthwise() {
            is.x.shape[1]
        } else {
            was.groups
        };
        if is.groups != expected {
            return Some(format!(
                "a convolution has {} groups where it is to have {expected}",
                is.groups
            ));
        }
    }
    let [mut was_plain, mut is_plain] = [old.plain(was), new.plain(is)];
    let same_numbers = was_plain == is_plain;
    for operation in [&mut was_plain, &mut is_plain] {
        operation.visit_mut(&mut WithoutScalars);
    }
    if was_plain != is_plain {
        let [was, is] = [was, is].map(operation_name);
        return Some(if was == is {
            format!("{is} is done in another way")
        } else {
            format!("it does {is} where it did {was}")
        });
    }
    if !its_own && !same_numbers {
        return Some(format!(
            "{} computes with another number, which the module makes of its channels",
            operation_name(is)
        ));
    }
    None
}

/// A number for each tensor, in the order in which they are met: what reads the same tensors has the same numbers.
struct Numbers(HashMap<TensorId, u64>);

impl Numbers {
    fn of(trace: &Trace) -> Self {
        let parameters = trace.parameters.iter().zip(0..);
        Self(parameters.map(|(parameter, n)| (parameter.id, n)).collect())
    }

    /// The tensors that were made of numbers and are read.
    fn constants<'a>(&self, trace: &'a Trace) -> BTreeMap<u64, &'a [u8]> {
        let constants = trace.constants();
        constants
            .filter_map(|(id, bytes)| Some((*self.0.get(&id)?, bytes)))
            .collect()
    }

    /// An operation with these numbers for its tensors, whatever their shapes, wherever it slices, in however many groups, and
    /// however often it repeats what is alone.
    fn plain(&mut self, operation: &OperationIr) -> OperationIr {
        use BaseOperationIr::RepeatDim;
        use ModuleOperationIr as M;
        let mut operation = operation.clone();
        match &mut operation {
            OperationIr::Module(M::Conv1d(op)) => op.options.groups = 0,
            OperationIr::Module(M::Conv2d(op)) => op.options.groups = 0,
            OperationIr::Module(M::Conv3d(op)) => op.options.groups = 0,
            OperationIr::Module(M::ConvTranspose1d(op)) => op.options.groups = 0,
            OperationIr::Module(M::ConvTranspose2d(op)) => op.options.groups = 0,
            OperationIr::Module(M::ConvTranspose3d(op)) => op.options.groups = 0,
            OperationIr::BaseFloat(RepeatDim(op))
            | OperationIr::BaseInt(RepeatDim(op))
            | OperationIr::BaseBool(RepeatDim(op))
                if op.tensor.shape[op.dim] == 1 =>
            {
                op.times = 0;
            }
            _ => {}
        }
        operation.visit_mut(self);
        operation
    }
}

impl IrVisitorMut for Numbers {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        let next = self.0.len() as u64;
        tensor.id = TensorId::new(*self.0.entry(tensor.id).or_insert(next));
        tensor.shape = [0; 0].into();
        tensor.status = TensorStatus::ReadOnly;
    }

    fn visit_range_mut(&mut self, range: &mut Slice) {
        *range = Slice::full();
    }
}

struct WithoutScalars;

impl IrVisitorMut for WithoutScalars {
    fn visit_scalar_mut(&mut self, scalar: &mut ScalarIr) {
        *scalar = ScalarIr::Bool(false);
    }
}

/// The channels that are left: all but those of the labels that are `gone`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub labels: &'a Labels,
    pub gone: &'a BTreeSet<usize>,
}

impl Left<'_> {
    /// How many of the first `count` along dimension `d` of a tensor; all where nothing can be cut there.
    fn of(self, id: TensorId, d: usize, count: usize) -> usize {
        match self.labels.of_id(id).get(d).and_then(Option::as_ref) {
            Some(along) => (along[..count].iter())
                .filter(|&&label| !self.gone.contains(&self.labels.root(label)))
                .count(),
            None => count,
        }
    }

    /// Whether nothing can be cut along any dimension of a tensor.
    fn is_unknown(self, id: TensorId) -> bool {
        self.labels.of_id(id).iter().all(Option::is_none)
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
fn starts_differ(was: &OperationIr, is: &OperationIr, left: Left<'_>) -> Option<String> {
    let (was, is) = (slice(was)?, slice(is)?);
    let mut ranges = was.ranges.iter().zip(&is.ranges).enumerate();
    ranges.find_map(|(d, (old, new))| {
        if old.step != new.step {
            return Some(format!(
                "a slice goes in steps of {} where it went in steps of {}",
                new.step, old.step
            ));
        }
        let [old, new] = [(old, was), (new, is)].map(|(slice, op)| slice.to_range(op.tensor.shape[d]).start);
        let expected = left.of(was.tensor.id, d, old);
        (new != expected).then(|| format!("a slice begins at {new} where {expected} is left of {old}"))
    })
}

/// Sums of constants that are repeated as often as is asked for, and are so another number of times.
fn counts_differ(was: &OperationIr, is: &OperationIr, left: Left<'_>) -> Option<String> {
    use NumericOperationIr as N;
    let (OperationIr::NumericFloat(_, N::Sum(_) | N::SumDim(_) | N::SumDims(_))
    | OperationIr::NumericInt(_, N::Sum(_) | N::SumDim(_) | N::SumDims(_))) = was
    else {
        return None;
    };
    let mut inputs = was.inputs().zip(is.inputs());
    let (old, new) = inputs.find(|(old, new)| {
        let mut dims = 0..old.shape.num_dims();
        left.is_unknown(old.id) && old.shape != new.shape && dims.any(|d| left.labels.any_size(old.id, d))
    })?;
    let [old, new] = [old, new].map(|tensor| tensor.shape.to_vec());
    Some(format!(
        "constants of {new:?} are added up where they were {old:?}"
    ))
}

/// Results of other shapes than are left.
fn shapes_differ(was: &OperationIr, is: &OperationIr, left: Left<'_>) -> Option<String> {
    let of_nobody = was.inputs().all(|input| left.is_unknown(input.id));
    let mut outputs = was.outputs().zip(is.outputs());
    outputs.find_map(|(was, is)| {
        // What no parameter has reached may be merged with what one has: only its number of dimensions is known.
        if left.is_unknown(was.id) && !of_nobody {
            return None;
        }
        let (sizes, found) = (was.shape.to_vec(), is.shape.to_vec());
        let expected: Vec<usize> = (sizes.iter().enumerate())
            .map(|(d, &size)| match found.get(d) {
                Some(&found) if left.labels.any_size(was.id, d) => found,
                _ => left.of(was.id, d, size),
            })
            .collect();
        (found != expected)
            .then(|| format!("an operation gives {found:?} where {expected:?} are left of {sizes:?}"))
    })
}
