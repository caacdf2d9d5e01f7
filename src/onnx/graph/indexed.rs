//! `torch.as_strided`, as exporters write it: numbers are gathered from a row of all, by their places for each picture. Read are
//! those that keep the numbers of each picture in their order.

use tract_onnx::pb::NodeProto;

use super::{
    data::Part,
    fixed::Fixed,
    index::Index,
    maker::Maker,
    operators::int,
    shaped::with_ones,
    values::{Data, MAX_SIZES, Made, Size, Sizes, Value},
};
use crate::graph::Binary;

/// The most places of a picture.
const MAX_PLACES: usize = 1 << 20;

impl Maker<'_> {
    /// Integers in steps, from a number to another: those of the pictures, or the same for all.
    pub(super) fn range(&mut self, node: &NodeProto) -> Made<()> {
        let mut ends = Vec::new();
        for n in 0..3 {
            let [size] = self.sizes(node, n)?.sizes[..] else {
                return Err("counts from or to several numbers".to_owned());
            };
            ends.push(size);
        }
        if ends == [Size::Whole(0), Size::Batch(1), Size::Whole(1)] {
            return self.give(node, 0, Value::Index(Index::pictures()));
        }
        let [from, to, step] = Sizes::row(ends).whole()?[..] else {
            return Err("has no three numbers".to_owned());
        };
        let count = to.checked_sub(from).and_then(|all| {
            let rest = all.checked_rem(step)?;
            all.checked_div(step)?.checked_add((rest != 0).into())
        });
        let count = count.and_then(|count| usize::try_from(count).ok());
        let count = count.filter(|count| (1..=MAX_PLACES).contains(count));
        let count = count.ok_or("counts to nothing, or too far")?;
        self.count(count)?;
        let numbers = (0..count as i64).map(|n| from + n * step);
        let value = if count <= MAX_SIZES {
            Value::Sizes(Sizes::row(numbers.map(Size::Whole).collect()))
        } else {
            let fixed = Fixed::integers(&[count], &numbers.collect::<Vec<_>>());
            Value::Fixed(fixed.ok_or("counts too far")?)
        };
        self.give(node, 0, value)
    }

    /// Places times a number, or with others beside them. `other`: which input those are.
    pub(super) fn with_index(
        &mut self,
        node: &NodeProto,
        op: Binary,
        index: &Index,
        other: usize,
    ) -> Made<()> {
        let (dims, numbers) = match self.value(node, other)? {
            Value::Sizes(sizes) => {
                let dims = if sizes.row {
                    vec![sizes.sizes.len()]
                } else {
                    Vec::new()
                };
                (dims, sizes.whole()?)
            }
            Value::Fixed(fixed) => {
                let numbers = fixed.whole().ok_or("computes with what are no integers")?;
                (fixed.dims.clone(), numbers.to_vec())
            }
            _ => return Err("computes with places of pictures".to_owned()),
        };
        let found = match (op, &numbers[..]) {
            (Binary::Mul, &[by]) if dims.iter().all(|&size| size == 1) && dims.len() <= index.dims.len() => {
                index.times(by).ok_or("computes a place that is too large")?
            }
            (Binary::Add, numbers) => index.plus(&dims, numbers, MAX_PLACES)?,
            _ => return Err("computes with places of pictures".to_owned()),
        };
        self.count(found.places.len())?;
        self.give(node, 0, Value::Index(found))
    }

    pub(super) fn unsqueeze_index(&mut self, node: &NodeProto, index: &Index, axes: &[i64]) -> Made<()> {
        let marked: Vec<(usize, bool)> = index
            .dims
            .iter()
            .enumerate()
            .map(|(n, &size)| (size, n == index.batch))
            .collect();
        let marked = with_ones(&marked, (1, false), axes)?;
        let batch = marked.iter().position(|&(_, batch)| batch);
        let index = Index {
            dims: marked.iter().map(|&(size, _)| size).collect(),
            batch: batch.ok_or("loses the pictures")?,
            ..index.clone()
        };
        self.give(node, 0, Value::Index(index))
    }

    /// Numbers of a value by their places in a row of all.
    pub(super) fn gather_of_all(&mut self, node: &NodeProto, x: &Data) -> Made<()> {
        let row =
            matches!(x.parts()[..], [Part::Batch([None, _])]) && x.file_axis(int(node, "axis", 0))? == 0;
        let own: usize = x.shape.iter().product();
        let refuse = "takes numbers out of a row of all in another order";
        let whole = |places: &[i64], all: usize| row && places.iter().copied().eq(0..all as i64);
        match self.value(node, 1)? {
            Value::Index(index) => {
                if index.step != own as i64 || !whole(&index.places, own) {
                    return Err(refuse.to_owned());
                }
                let mut parts: Vec<Part> = index.dims.iter().copied().map(Part::Own).collect();
                parts[index.batch] = Part::BATCH;
                self.last_with(node, x, &parts)
            }
            // The batch is a number in the file.
            Value::Fixed(fixed) => {
                let places = fixed.whole().unwrap_or_default();
                let all = own.checked_mul(self.batch.unwrap_or(1)).ok_or(refuse)?;
                if !whole(places, all) {
                    return Err(refuse.to_owned());
                }
                let wanted: Vec<Size> = fixed.dims.iter().map(|&size| Size::Whole(size as i64)).collect();
                self.last_of_sizes(node, x, &wanted, true)
            }
            _ => Err(refuse.to_owned()),
        }
    }
}
