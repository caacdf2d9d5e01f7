//! Operators that take values apart and put them side by side.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::{int, whole},
    values::{Data, Made, Size, Value},
};
use crate::graph::Op;
use crate::onnx::operators::attribute;

impl Maker<'_> {
    pub(super) fn concat(&mut self, node: &NodeProto) -> Made<()> {
        let named = attribute(node, "axis").ok_or("has no `axis`")?.i;
        if let Value::Sizes(_) = self.value(node, 0)? {
            return self.concat_sizes(node);
        }
        let values = (0..node.input.len()).map(|n| self.anywhere(node, n));
        let mut values = values.collect::<Made<Vec<Data>>>()?;
        for n in 1..values.len() {
            let [first, other] = self.alike(values[0].clone(), values[n].clone())?;
            if first.place != values[0].place {
                return Err("reads values whose batch is not at the same place".to_owned());
            }
            values[n] = other;
        }
        let axis = values[0].axis(named)?;
        let values: Vec<&Data> = values.iter().collect();
        self.last(node, Op::Concat { axis }, &values)
    }

    /// Parts of the sizes that are stated, or equal ones of which the last may be smaller.
    pub(super) fn split(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let axis = x.axis(int(node, "axis", 0))?;
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
        for (n, part) in self.cut(node, &x, axis, &parts)?.into_iter().enumerate() {
            self.give(node, n, part)?;
        }
        Ok(())
    }

    /// Parts of a value along an own dimension, of these sizes.
    pub(super) fn cut(
        &mut self,
        node: &NodeProto,
        x: &Data,
        axis: usize,
        sizes: &[usize],
    ) -> Made<Vec<Data>> {
        let (mut start, step) = (0, 1);
        let mut parts = Vec::new();
        for (n, size) in sizes.iter().enumerate() {
            let end = start + size;
            let slice = Op::Slice {
                axis,
                start,
                end,
                step,
            };
            parts.push(self.step(node, &n.to_string(), slice, &[x])?);
            start = end;
        }
        Ok(parts)
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
        let mut x = self.anywhere(node, 0)?;
        if axes.len() > x.rank() {
            return Err("names a dimension twice".to_owned());
        }
        for (n, &named) in axes.iter().enumerate() {
            // The whole batch, and nothing else of it.
            if x.file_axis(named)? == x.batch_axis()
                && (starts[n], steps[n]) == (0, 1)
                && ends[n] >= i64::from(i32::MAX)
            {
                continue;
            }
            let axis = x.axis(named)?;
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
    /// Places of a dimension. Where one place is named, not a list of one, the dimension is gone then.
    pub(super) fn gather_places(&mut self, node: &NodeProto, x: &Data) -> Made<()> {
        let named = int(node, "axis", 0);
        let axis = x.axis(named)?;
        let places = self.sizes(node, 1)?;
        let size = x.shape[axis];
        let place = |place: &Size| {
            let place = place.known()?;
            let place = if place < 0 {
                place.saturating_add(size as i64)
            } else {
                place
            };
            usize::try_from(place).ok().filter(|&place| place < size)
        };
        let found: Option<Vec<usize>> = places.sizes.iter().map(place).collect();
        let found = found.ok_or("takes a place that is not there")?;
        let (&start, &last) = found.first().zip(found.last()).ok_or("takes no place")?;
        if !found.iter().copied().eq(start..=last) {
            return Err("takes places in another order".to_owned());
        }
        let (end, step) = (last + 1, 1);
        let slice = Op::Slice {
            axis,
            start,
            end,
            step,
        };
        if places.row {
            return self.last(node, slice, &[x]);
        }
        let part = self.step(node, "part", slice, &[x])?;
        let mut parts = part.parts();
        parts.remove(part.file_axis(named)?);
        self.last_with(node, &part, &parts)
    }
}
