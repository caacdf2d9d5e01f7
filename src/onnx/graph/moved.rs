//! Operators that move numbers and compute none.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{axis, int, whole},
    values::{Data, Made, Size, Sizes, Tensor, Value},
};
use crate::graph::Op;
use crate::onnx::operators::attribute;

impl Maker<'_> {
    pub(super) fn concat(&mut self, node: &NodeProto) -> Made<()> {
        let named = attribute(node, "axis").ok_or("has no `axis`")?.i;
        if let Value::Sizes(_) = self.value(node, 0)? {
            return self.concat_sizes(node);
        }
        let values = (0..node.input.len()).map(|n| self.data(node, n));
        let values = values.collect::<Made<Vec<Data>>>()?;
        let axis = axis(named, values[0].shape.len())?;
        let values: Vec<&Data> = values.iter().collect();
        self.last(node, Op::Concat { axis }, &values)
    }

    /// Parts of the sizes that are stated, or equal ones of which the last may be smaller.
    pub(super) fn split(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let axis = axis(int(node, "axis", 0), x.shape.len())?;
        let size = x.shape[axis];
        let parts = match self.list(node, "split", 1)? {
            Some(parts) => whole(&parts)?,
            None => {
                let part = size.div_ceil(node.output.len().max(1));
                let part = |n: usize| part.min(size.saturating_sub(n * part));
                (0..node.output.len()).map(part).collect()
            }
        };
        if parts.len() != node.output.len()
            || parts.iter().try_fold(0usize, |all, &part| all.checked_add(part)) != Some(size)
        {
            return Err(format!(
                "splits {size} places into parts of other sizes: expected one for each result"
            ));
        }
        let mut start = 0;
        for (n, part) in parts.into_iter().enumerate() {
            let end = start + part;
            let step = 1;
            let part = self.step(
                node,
                &n.to_string(),
                Op::Slice {
                    axis,
                    start,
                    end,
                    step,
                },
                &[&x],
            )?;
            self.give(node, n, part)?;
            start = end;
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, node: &NodeProto) -> Made<()> {
        let value = self.value(node, 0)?;
        let starts = self.list(node, "starts", 1)?.ok_or("has no `starts`")?;
        let ends = self.list(node, "ends", 2)?.ok_or("has no `ends`")?;
        let axes = self
            .list(node, "axes", 3)?
            .unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self
            .list(node, "steps", 4)?
            .unwrap_or_else(|| vec![1; starts.len()]);
        if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
            return Err("has lists of unequal lengths".to_owned());
        }
        if let Value::Sizes(sizes) = value {
            return self.slice_sizes(
                node,
                &sizes,
                &[&starts, &ends, &axes, &steps].map(|list| list.first().copied()),
            );
        }
        let mut x = self.data(node, 0)?;
        if axes.len() > x.shape.len() + 1 {
            return Err("names a dimension twice".to_owned());
        }
        for (n, &named) in axes.iter().enumerate() {
            let all = x.shape.len() as i64 + 1;
            if named == 0 || named == -all {
                // The whole batch, and nothing else of it.
                if (starts[n], steps[n]) == (0, 1) && ends[n] >= i64::from(i32::MAX) {
                    continue;
                }
            }
            let axis = axis(named, x.shape.len())?;
            let size = x.shape[axis];
            let place = |at: i64| {
                let at = if at < 0 {
                    at.saturating_add(size as i64)
                } else {
                    at
                };
                at.clamp(0, size as i64) as usize
            };
            let (start, end) = (place(starts[n]), place(ends[n]));
            let step = usize::try_from(steps[n]).map_err(|_| "goes backwards")?;
            if (start, end, step) != (0, size, 1) {
                x = self.step(
                    node,
                    "part",
                    Op::Slice {
                        axis,
                        start,
                        end,
                        step,
                    },
                    &[&x],
                )?;
            }
        }
        self.give(node, 0, x)
    }

    /// Dimensions behind the batch in one.
    pub(super) fn flatten(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.data(node, 0)?;
        let from = int(node, "axis", 1);
        if from != 1 && from.saturating_add(x.shape.len() as i64 + 1) != 1 {
            return Err("works along the batch".to_owned());
        }
        let shape = vec![x.shape.iter().product()];
        self.last(node, Op::Reshape { shape }, &[&x])
    }

    pub(super) fn reshape(&mut self, node: &NodeProto) -> Made<()> {
        let wanted = match attribute(node, "shape") {
            Some(shape) => shape.ints.iter().map(|&size| Size::Whole(size)).collect(),
            None => self.sizes(node, 1)?.sizes,
        };
        let zero = int(node, "allowzero", 0) != 0;
        match self.value(node, 0)? {
            Value::Data(x) => {
                let shape = self.behind_batch(&x, &wanted, zero)?;
                self.last(node, Op::Reshape { shape }, &[&x])
            }
            Value::Held(tensor) => {
                let sizes = Sizes::row(wanted).whole()?;
                let dims = filled(&sizes, &tensor.dims, zero)?;
                self.give(node, 0, Value::Held(Tensor { dims, ..tensor }))
            }
            Value::Sizes(sizes) => self.reshape_sizes(node, sizes.sizes, &wanted),
            Value::Integers(_) => Err("reshapes integers".to_owned()),
        }
    }

    /// The shape without the batch that a list of sizes says, whose first is the batch.
    fn behind_batch(&self, x: &Data, wanted: &[Size], zero: bool) -> Made<Vec<usize>> {
        let Some((first, rest)) = wanted.split_first() else {
            return Err("leaves no batch".to_owned());
        };
        let kept = match *first {
            Size::Batch => true,
            Size::Whole(0) => !zero,
            // What is left over is the batch, where the others take each picture whole; `filled` looks at that.
            Size::Whole(-1) => true,
            Size::Whole(size) => usize::try_from(size).ok() == self.batch,
        };
        let rest = Sizes::row(rest.to_vec()).whole()?;
        if !kept || (*first == Size::Whole(-1) && rest.contains(&-1)) {
            return Err("does not keep the batch".to_owned());
        }
        filled(&rest, &x.shape, zero).map_err(|reason| format!("{reason} for each picture"))
    }

    pub(super) fn squeeze(&mut self, node: &NodeProto) -> Made<()> {
        let named = self.list(node, "axes", 1)?;
        match self.value(node, 0)? {
            Value::Sizes(Sizes { sizes, .. }) if sizes.len() == 1 => {
                self.give(node, 0, Value::Sizes(Sizes { row: false, sizes }))
            }
            Value::Sizes(_) | Value::Integers(_) => Err("squeezes several integers".to_owned()),
            Value::Data(x) => {
                let axes = named.ok_or("works along the batch where that is 1")?;
                let axes = axes
                    .into_iter()
                    .map(|named| axis(named, x.shape.len()))
                    .collect::<Made<Vec<_>>>()?;
                let shape = without(&x.shape, &axes)?;
                self.last(node, Op::Reshape { shape }, &[&x])
            }
            Value::Held(tensor) => {
                let rank = tensor.dims.len() as i64;
                let axes: Vec<usize> = match named {
                    Some(axes) => axes
                        .into_iter()
                        .map(|named| place(named, rank))
                        .collect::<Made<_>>()?,
                    None => (0..tensor.dims.len()).filter(|&n| tensor.dims[n] == 1).collect(),
                };
                let dims = without(&tensor.dims, &axes)?;
                self.give(node, 0, Value::Held(Tensor { dims, ..tensor }))
            }
        }
    }

    pub(super) fn unsqueeze(&mut self, node: &NodeProto) -> Made<()> {
        let axes = self.list(node, "axes", 1)?.ok_or("has no `axes`")?;
        let with = |dims: &[usize]| -> Made<Vec<usize>> {
            let rank = (dims.len() + axes.len()) as i64;
            let mut axes = axes
                .iter()
                .map(|&named| place(named, rank))
                .collect::<Made<Vec<_>>>()?;
            axes.sort_unstable();
            let mut dims = dims.to_vec();
            for axis in axes {
                if axis > dims.len() {
                    return Err("names a dimension twice".to_owned());
                }
                dims.insert(axis, 1);
            }
            Ok(dims)
        };
        match self.value(node, 0)? {
            Value::Sizes(Sizes { row: false, sizes }) => self.give(node, 0, Value::Sizes(Sizes::row(sizes))),
            Value::Sizes(_) | Value::Integers(_) => Err("makes a matrix of integers".to_owned()),
            Value::Data(x) => {
                // The batch is larger than any dimension, so that one before it shows.
                let dims = with(&[&[usize::MAX], &*x.shape].concat())?;
                let [usize::MAX, shape @ ..] = &*dims else {
                    return Err("works along the batch".to_owned());
                };
                self.last(
                    node,
                    Op::Reshape {
                        shape: shape.to_vec(),
                    },
                    &[&x],
                )
            }
            Value::Held(tensor) => {
                let dims = with(&tensor.dims)?;
                self.give(node, 0, Value::Held(Tensor { dims, ..tensor }))
            }
        }
    }

    pub(super) fn transpose(&mut self, node: &NodeProto) -> Made<()> {
        let perm = attribute(node, "perm").map(|perm| perm.ints.clone());
        if let Value::Held(tensor) = self.value(node, 0)?
            && tensor.dims.len() == 2
        {
            return match perm.as_deref() {
                None | Some([1, 0]) => {
                    let turned = self.turn(&tensor)?;
                    self.give(node, 0, Value::Held(turned))
                }
                _ => self.same(node),
            };
        }
        let x = self.data(node, 0)?;
        let axes = whole(&perm.ok_or("works along the batch")?)?;
        let [0, axes @ ..] = &*axes else {
            return Err("works along the batch".to_owned());
        };
        let axes = axes
            .iter()
            .map(|axis| axis.checked_sub(1))
            .collect::<Option<Vec<_>>>();
        let axes = axes.ok_or("names a dimension twice")?;
        self.last(node, Op::Permute { axes }, &[&x])
    }

    pub(super) fn expand(&mut self, node: &NodeProto) -> Made<()> {
        if let Value::Sizes(sizes) = self.value(node, 0)? {
            return self.expand_sizes(node, sizes.sizes);
        }
        // Repeated for each picture, a constant is a value of the network.
        if let Value::Held(tensor) = self.value(node, 0)?
            && !self.sizes(node, 1)?.sizes.contains(&Size::Batch)
        {
            return self.expand_constant(node, &tensor);
        }
        let x = self.data(node, 0)?;
        let wanted = self.sizes(node, 1)?.sizes;
        let all = x.shape.len() + 1;
        let (batch, rest) = match wanted.split_first() {
            Some((first, rest)) if wanted.len() == all => (*first, rest),
            _ if wanted.len() < all => (Size::Batch, &wanted[..]),
            _ => return Err("puts dimensions in front of the batch".to_owned()),
        };
        let kept = match batch {
            Size::Batch | Size::Whole(1) => true,
            Size::Whole(size) => usize::try_from(size).ok() == self.batch,
        };
        if !kept {
            return Err("works along the batch".to_owned());
        }
        let rest = whole(&Sizes::row(rest.to_vec()).whole()?)?;
        let mut shape = x.shape.clone();
        let behind = shape.len() - rest.len();
        for (size, wanted) in shape[behind..].iter_mut().zip(rest) {
            // A dimension that is asked to be 1 stays.
            *size = if wanted == 1 { *size } else { wanted };
        }
        if shape == x.shape {
            return self.give(node, 0, x);
        }
        self.last(node, Op::Expand { shape }, &[&x])
    }
}

/// Sizes of which 0 is the one that is there, unless `zero`, and -1 what is left.
fn filled(wanted: &[i64], from: &[usize], zero: bool) -> Made<Vec<usize>> {
    let refuse = || format!("makes {wanted:?} of {from:?}");
    let mut open = None;
    let mut shape = Vec::new();
    for (n, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(n);
                1
            }
            0 if !zero => *from.get(n).ok_or_else(refuse)?,
            size => usize::try_from(size)
                .ok()
                .filter(|&size| size > 0)
                .ok_or_else(refuse)?,
        });
    }
    let count = |shape: &[usize]| shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
    let (found, all) = (count(&shape).ok_or_else(refuse)?, count(from).ok_or_else(refuse)?);
    if let Some(n) = open {
        shape[n] = all / found;
    }
    if count(&shape) == Some(all) {
        Ok(shape)
    } else {
        Err(refuse())
    }
}

/// A dimension, counted from the last where it is negative.
fn place(named: i64, rank: i64) -> Made<usize> {
    let axis = if named < 0 {
        named.saturating_add(rank)
    } else {
        named
    };
    let axis = usize::try_from(axis).ok().filter(|&axis| (axis as i64) < rank);
    axis.ok_or_else(|| format!("names the dimension {named} of {rank}"))
}

/// The dimensions without these, which are 1.
fn without(dims: &[usize], axes: &[usize]) -> Made<Vec<usize>> {
    if axes.iter().any(|&axis| dims[axis] != 1) {
        return Err("takes away a dimension that is not 1".to_owned());
    }
    let kept = dims.iter().enumerate().filter(|(n, _)| !axes.contains(n));
    Ok(kept.map(|(_, &size)| size).collect())
}
