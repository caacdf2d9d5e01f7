//! Operators along dimensions: one number of all, and padding.

use tract_onnx::pb::NodeProto;

use super::{
    data::of_parts,
    maker::Maker,
    operators::{int, text, whole},
    values::{Data, Made},
};
use crate::graph::{Binary, Function, Op, Reduction};
use crate::onnx::operators::attribute;

impl Maker<'_> {
    pub(super) fn reduce(&mut self, node: &NodeProto, kind: Reduction) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let reduced = self.reduced(node, &x, kind)?;
        self.give(node, 0, reduced)
    }

    /// The root of the sum of squares along dimensions.
    pub(super) fn norm_along(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let squares = self.step(node, "squares", Binary::Mul, &[&x, &x])?;
        let sum = self.reduced(node, &squares, Reduction::Sum)?;
        let root = self.step(node, "root", Function::Sqrt, &[&sum])?;
        self.give(node, 0, root)
    }

    /// One number of all along dimensions, under the name of the file's node.
    fn reduced(&mut self, node: &NodeProto, x: &Data, kind: Reduction) -> Made<Data> {
        let axes = self.list(node, "axes", 1)?.unwrap_or_default();
        if axes.is_empty() {
            if int(node, "noop_with_empty_axes", 0) != 0 {
                return Ok(x.clone());
            }
            return Err("works along the batch".to_owned());
        }
        let name = node.name.clone();
        let own = axes.iter().map(|&named| x.axis(named));
        let mut own = own.collect::<Made<Vec<usize>>>()?;
        own.sort_unstable();
        own.dedup();
        let op = Op::Reduce { kind, axes: own };
        if int(node, "keepdims", 1) != 0 {
            return self.push(name, op, &[x]);
        }
        let gone = axes.iter().map(|&named| x.file_axis(named));
        let gone = gone.collect::<Made<Vec<usize>>>()?;
        let parts = x.parts().into_iter().enumerate();
        let kept = parts.filter(|(n, _)| !gone.contains(n)).map(|(_, part)| part);
        let (shape, place) = of_parts(&kept.collect::<Vec<_>>());
        let reduced = self.step(node, "reduced", op, &[x])?;
        let data = self.push(name, Op::Reshape { shape }, &[&reduced])?;
        Ok(Data { place, ..data })
    }

    pub(super) fn pad(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        if !matches!(text(node, "mode", "constant"), "" | "constant") {
            return Err("pads with what is no constant".to_owned());
        }
        let pads = self.list(node, "pads", 1)?.ok_or("has no `pads`")?;
        let pads = whole(&pads)?;
        let value = if Self::has(node, 2) {
            self.number(node, 2)?
        } else {
            attribute(node, "value").map_or(0.0, |value| value.f)
        };
        let mut sides = vec![[0; 2]; x.shape.len()];
        let axes: Vec<i64> = if Self::has(node, 3) {
            self.sizes(node, 3)?.whole()?
        } else {
            (0..x.rank() as i64).collect()
        };
        if pads.len() != 2 * axes.len() {
            return Err(format!(
                "has {} numbers as its `pads`, where {} were expected",
                pads.len(),
                2 * axes.len()
            ));
        }
        for (n, &axis) in axes.iter().enumerate() {
            let ends = [pads[n], pads[n + axes.len()]];
            if ends != [0; 2] {
                sides[x.axis(axis)?] = ends;
            }
        }
        self.last(node, Op::Pad { sides, value }, &[&x])
    }
}
