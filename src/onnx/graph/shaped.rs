//! Operators that give the same numbers other dimensions, or the same dimensions another order.

use tract_onnx::pb::NodeProto;

use super::{
    data::{Part, of_parts, place},
    maker::Maker,
    operators::{int, whole},
    placed::{Pictures, reshaped},
    values::{Data, Made, Size, Sizes, Tensor, Value},
};
use crate::graph::Op;
use crate::onnx::operators::attribute;

impl Maker<'_> {
    /// The node of the graph that computes the first output of one of the file: the same numbers with these dimensions.
    pub(super) fn last_with(&mut self, node: &NodeProto, x: &Data, parts: &[Part]) -> Made<()> {
        let (shape, place) = of_parts(parts);
        let data = self.push(node.name.clone(), Op::Reshape { shape }, &[x])?;
        self.give(node, 0, Data { place, ..data })
    }

    /// A value with the dimensions that a list of sizes says. `zero`: whether 0 is a size, not one that stays.
    pub(super) fn last_of_sizes(
        &mut self,
        node: &NodeProto,
        x: &Data,
        wanted: &[Size],
        zero: bool,
    ) -> Made<()> {
        let (count, open) = (self.batch.unwrap_or(1), self.open);
        let parts = reshaped(x, wanted, zero, Pictures { count, open })?;
        self.last_with(node, x, &parts)
    }

    /// Dimensions in two: those in front of one, and the others.
    pub(super) fn flatten(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let named = int(node, "axis", 1);
        let rank = x.rank();
        let from = if named == rank as i64 {
            rank
        } else {
            x.file_axis(named)?
        };
        let parts = x.parts();
        let all = |parts: &[Part]| {
            let mut sizes = parts.iter().map(|part| part.size());
            sizes.try_fold(Size::Whole(1), |all, size| Size::of("Mul", all, size))
        };
        let wanted = [all(&parts[..from])?, all(&parts[from..])?];
        self.last_of_sizes(node, &x, &wanted, true)
    }

    pub(super) fn reshape(&mut self, node: &NodeProto) -> Made<()> {
        let wanted = match attribute(node, "shape") {
            Some(shape) => shape.ints.iter().map(|&size| Size::Whole(size)).collect(),
            None => self.sizes(node, 1)?.sizes,
        };
        let zero = int(node, "allowzero", 0) != 0;
        match self.value(node, 0)? {
            Value::Data(x) => self.last_of_sizes(node, &x, &wanted, zero),
            Value::Held(tensor) => {
                let sizes = Sizes::row(wanted).whole()?;
                let dims = filled(&sizes, &tensor.dims, zero)?;
                self.give(node, 0, Value::Held(Tensor { dims, ..tensor }))
            }
            Value::Sizes(sizes) => self.reshape_sizes(node, sizes.sizes, &wanted),
            _ => Err("reshapes integers".to_owned()),
        }
    }

    pub(super) fn squeeze(&mut self, node: &NodeProto) -> Made<()> {
        let named = self.list(node, "axes", 1)?;
        match self.value(node, 0)? {
            Value::Sizes(Sizes { sizes, .. }) if sizes.len() == 1 => {
                self.give(node, 0, Value::Sizes(Sizes { row: false, sizes }))
            }
            Value::Data(x) => {
                let axes = named.ok_or("works along the batch where that is 1")?;
                let gone = axes.iter().map(|&axis| {
                    let own = x.axis(axis)?;
                    if x.shape[own] != 1 {
                        return Err(NOT_ONE.to_owned());
                    }
                    x.file_axis(axis)
                });
                let gone = gone.collect::<Made<Vec<usize>>>()?;
                let parts = x.parts().into_iter().enumerate();
                let kept = parts.filter(|(n, _)| !gone.contains(n)).map(|(_, part)| part);
                self.last_with(node, &x, &kept.collect::<Vec<_>>())
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
            _ => Err("squeezes several integers".to_owned()),
        }
    }

    pub(super) fn unsqueeze(&mut self, node: &NodeProto) -> Made<()> {
        let axes = self.list(node, "axes", 1)?.ok_or("has no `axes`")?;
        match self.value(node, 0)? {
            Value::Sizes(Sizes { row: false, sizes }) if axes.len() == 1 => {
                self.give(node, 0, Value::Sizes(Sizes::row(sizes)))
            }
            Value::Data(x) => {
                let parts = with_ones(&x.parts(), Part::Own(1), &axes)?;
                self.last_with(node, &x, &parts)
            }
            Value::Held(tensor) => {
                let dims = with_ones(&tensor.dims, 1, &axes)?;
                self.give(node, 0, Value::Held(Tensor { dims, ..tensor }))
            }
            Value::Index(index) => self.unsqueeze_index(node, &index, &axes),
            _ => Err("makes a matrix of integers".to_owned()),
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
        let x = self.anywhere(node, 0)?;
        let order = match perm {
            Some(perm) => whole(&perm)?,
            None => (0..x.rank()).rev().collect(),
        };
        let ordered = self.ordered(node, &x, &order)?;
        self.give(node, 0, ordered)
    }

    /// The dimensions of the file in another order, under the name of its node.
    pub(super) fn ordered(&mut self, node: &NodeProto, x: &Data, order: &[usize]) -> Made<Data> {
        let (axes, place) = permuted(x, order)?;
        let data = self.push(node.name.clone(), Op::Permute { axes }, &[x])?;
        Ok(Data { place, ..data })
    }

    pub(super) fn expand(&mut self, node: &NodeProto) -> Made<()> {
        if let Value::Sizes(sizes) = self.value(node, 0)? {
            return self.expand_sizes(node, sizes.sizes);
        }
        // Repeated for each picture, a constant is a value of the network.
        if let Value::Held(tensor) = self.value(node, 0)?
            && self
                .sizes(node, 1)?
                .sizes
                .iter()
                .all(|size| size.known().is_some())
        {
            return self.expand_constant(node, &tensor);
        }
        let x = self.anywhere(node, 0)?;
        let wanted = self.sizes(node, 1)?.sizes;
        let mut parts = x.parts();
        let behind = parts.len().checked_sub(wanted.len());
        let behind = behind.ok_or("puts dimensions in front of the batch")?;
        let batch = self.batch.unwrap_or(1);
        for (part, wanted) in parts[behind..].iter_mut().zip(wanted) {
            let stays = wanted == Size::Whole(1)
                || wanted == part.size()
                || wanted.known() == i64::try_from(part.with_batch(batch)).ok();
            match (*part, wanted) {
                _ if stays => {}
                (Part::Own(1), Size::Whole(size)) => *part = Part::Own(whole(&[size])?[0]),
                (Part::Own(size), Size::Whole(wanted)) => {
                    return Err(format!("repeats {size} places to {wanted}"));
                }
                _ => return Err("works along the batch".to_owned()),
            }
        }
        let (shape, _) = of_parts(&parts);
        if shape == x.shape {
            return self.give(node, 0, x);
        }
        self.last(node, Op::Expand { shape }, &[&x])
    }
}

const NOT_ONE: &str = "takes away a dimension that is not 1";

/// The order of own dimensions that an order of those in the file is, and where the batch is then.
pub(super) fn permuted(x: &Data, order: &[usize]) -> Made<(Vec<usize>, super::data::Place)> {
    let mut sorted = order.to_vec();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) {
        return Err(format!(
            "orders dimensions as {order:?}: expected each of {} once",
            x.rank()
        ));
    }
    let parts = x.parts();
    // The numbers of the own dimensions that each of the file has.
    let mut own = Vec::new();
    let mut next = 0;
    for part in &parts {
        let count = match part {
            Part::Own(_) => 1,
            Part::Batch(joined) => joined.iter().flatten().count(),
        };
        own.push(next..next + count);
        next += count;
    }
    let axes = order.iter().flat_map(|&axis| own[axis].clone()).collect();
    let parts: Vec<Part> = order.iter().map(|&axis| parts[axis]).collect();
    Ok((axes, of_parts(&parts).1))
}

/// Dimensions with others of size 1, `one`, at these places among all.
pub(super) fn with_ones<T: Copy>(dims: &[T], one: T, axes: &[i64]) -> Made<Vec<T>> {
    let rank = (dims.len() + axes.len()) as i64;
    let axes = axes.iter().map(|&named| place(named, rank));
    let mut axes = axes.collect::<Made<Vec<_>>>()?;
    axes.sort_unstable();
    let mut dims = dims.to_vec();
    for axis in axes {
        if axis > dims.len() {
            return Err("names a dimension twice".to_owned());
        }
        dims.insert(axis, one);
    }
    Ok(dims)
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

/// The dimensions without these, which are 1.
fn without(dims: &[usize], axes: &[usize]) -> Made<Vec<usize>> {
    if axes.iter().any(|&axis| dims[axis] != 1) {
        return Err(NOT_ONE.to_owned());
    }
    let kept = dims.iter().enumerate().filter(|(n, _)| !axes.contains(n));
    Ok(kept.map(|(_, &size)| size).collect())
}
