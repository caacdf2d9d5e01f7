//! A sketch with the widths that parameters have: after pruning, or as a run saved them.
//!
//! Sizes of parameters are known, and everything else follows from them in the order of the nodes: groups of depthwise
//! convolutions, parts of splits, sizes of reshapes.

use std::ops::Range;

use crate::graph::{Constant, GraphError, Op, Sketch, shape};

use super::parameters::part_names;

/// The sketch with constants of the shapes that `shape_of` knows by their names.
pub(super) fn resized(
    sketch: &Sketch,
    shape_of: &dyn Fn(&str) -> Option<Vec<usize>>,
) -> Result<Sketch, GraphError> {
    let graph = sketch.graph();
    let mut shapes: Vec<Vec<usize>> = Vec::with_capacity(graph.nodes().len());
    let mut specs = Vec::with_capacity(graph.nodes().len());
    for (node, spec) in graph.nodes().iter().zip(graph.specs()) {
        let before: Vec<&[usize]> = node
            .inputs()
            .iter()
            .map(|&input| graph.node(input).shape())
            .collect();
        let inputs: Vec<&[usize]> = node
            .inputs()
            .iter()
            .map(|input| &*shapes[input.index()])
            .collect();
        let known: Vec<Option<Vec<usize>>> = part_names(node.op())
            .map(|(_, constant)| shape_of(constant.name()?))
            .collect();
        let mut known = known.into_iter();
        let spec = spec.with_op(|op| {
            let weighted = matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_));
            for constant in op.constants_mut() {
                if constant.values().is_empty() {
                    let size = known.next().flatten();
                    constant.resize(size.map(|size| as_constant(constant, size, weighted)));
                }
            }
            fit(op, &before, &inputs);
        });
        let refuse = |reason: String| GraphError::node(node.name(), format!("it {reason}"));
        shapes.push(shape(spec.op(), &inputs).map_err(refuse)?);
        specs.push(spec);
    }
    let outputs = graph.outputs().iter().map(|&output| graph.node(output).name());
    Ok(Sketch::new(specs, outputs)?.computed_of(graph.computed_of().clone()))
}

/// The shape of a constant whose parameter has this size: a vector is along the dimension that is longer than 1.
fn as_constant(constant: &Constant, size: Vec<usize>, weighted: bool) -> Vec<usize> {
    let shape = constant.shape();
    let long = shape.iter().position(|&size| size != 1);
    match (weighted, &*size, long) {
        (false, &[size], Some(axis)) if shape.len() > 1 => {
            let mut shape = shape.to_vec();
            shape[axis] = size;
            shape
        }
        (false, _, None) => shape.to_vec(),
        _ => size,
    }
}

/// Sets the numbers of an operation that follow from the sizes of what it reads.
fn fit(op: &mut Op, before: &[&[usize]], inputs: &[&[usize]]) {
    let (Some(&was), Some(&is)) = (before.first(), inputs.first()) else {
        return;
    };
    match op {
        Op::Conv(conv) if conv.groups > 1 => {
            let of_group = conv.weight.shape().get(1).copied().unwrap_or(1).max(1);
            if is[0].is_multiple_of(of_group) {
                conv.groups = is[0] / of_group;
            }
        }
        Op::ConvTranspose(conv) if conv.groups == was[0] => conv.groups = is[0],
        Op::Slice {
            axis,
            start,
            end,
            step,
        } => {
            let (was, is) = (was[*axis], is[*axis]);
            // Equal parts are equal parts of what is left.
            let part = *end - *start;
            if *step == 1
                && was.is_multiple_of(part)
                && start.is_multiple_of(part)
                && is.is_multiple_of(was / part)
            {
                (*start, *end) = (*start * is / was, *end * is / was);
            }
        }
        Op::Reshape { shape } => {
            if let Some(other) = reshaped(was, is, shape) {
                *shape = other;
            }
        }
        Op::Expand { shape } => {
            let lead = shape.len().saturating_sub(was.len());
            for (n, (was, is)) in was.iter().zip(is).enumerate() {
                if *was != 1 {
                    shape[lead + n] = *is;
                }
            }
        }
        _ => {}
    }
}

/// The shape that `was -> to` becomes for a value of the shape `is`.
///
/// Dimensions are taken together from the left, as few as have the same product on both sides. Where such a part of `was` changed, so
/// does the one dimension that it becomes. Of several, the first stays: channels are split into as many parts as before.
fn reshaped(was: &[usize], is: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let mut shape = Vec::with_capacity(to.len());
    for (from, into) in alike(was, to)? {
        let [all, now] = [was, is].map(|sizes| sizes[from.clone()].iter().product::<usize>());
        let mut part = to[into].to_vec();
        if now != all {
            let mut wide = (0..part.len()).filter(|&n| part[n] != 1);
            match (wide.next(), wide.next()) {
                (Some(only), None) => part[only] = now,
                (Some(_), Some(second)) if now.is_multiple_of(all / part[second]) => {
                    part[second] = now / (all / part[second]);
                }
                _ => return None,
            }
        }
        shape.extend(part);
    }
    Some(shape)
}

/// The dimensions of two shapes in parts that have one product, as short as can be.
fn alike(a: &[usize], b: &[usize]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let mut parts: Vec<(Range<usize>, Range<usize>)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let start = (i, j);
        let (mut left, mut right) = (a[i], b[j]);
        (i, j) = (i + 1, j + 1);
        while left != right {
            if left < right {
                left *= a.get(i)?;
                i += 1;
            } else {
                right *= b.get(j)?;
                j += 1;
            }
        }
        parts.push((start.0..i, start.1..j));
    }
    // Ones are left at the end of one of them.
    let ones = |sizes: &[usize]| sizes.iter().all(|&size| size == 1);
    if !ones(&a[i..]) || !ones(&b[j..]) {
        return None;
    }
    match parts.last_mut() {
        Some((left, right)) => (left.end, right.end) = (a.len(), b.len()),
        None => parts.push((0..a.len(), 0..b.len())),
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::reshaped;

    #[test]
    fn reshapes_follow_their_input() {
        let check = |was: &[usize], is: &[usize], to: &[usize], expected: Option<&[usize]>| {
            let found = reshaped(was, is, to);
            assert_eq!(found.as_deref(), expected, "{was:?} -> {to:?} for {is:?}");
        };
        check(&[8, 4, 4], &[6, 4, 4], &[128], Some(&[96]));
        check(&[8, 1, 1], &[6, 1, 1], &[8], Some(&[6]));
        check(&[8, 4, 4], &[6, 4, 4], &[2, 4, 4, 4], Some(&[2, 3, 4, 4]));
        check(&[2, 4, 4, 4], &[2, 3, 4, 4], &[8, 4, 4], Some(&[6, 4, 4]));
        check(&[8, 4, 4], &[7, 4, 4], &[2, 4, 4, 4], None);
        check(&[8], &[5], &[8, 1, 1], Some(&[5, 1, 1]));
        check(&[8, 4, 4], &[8, 4, 4], &[8, 16], Some(&[8, 16]));
        check(&[8, 4, 4], &[5, 4, 4], &[8, 16], Some(&[5, 16]));
    }
}
