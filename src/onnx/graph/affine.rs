//! Two values number by number, one of which may be a constant.

use tract_onnx::pb::NodeProto;

use super::{
    data::Part,
    maker::Maker,
    values::{Data, Made, Tensor, Value},
};
use crate::graph::{Affine, Binary, Function};
use crate::onnx::operators::attribute;

impl Maker<'_> {
    pub(super) fn binary(&mut self, node: &NodeProto, op: Binary) -> Made<()> {
        if node.input.len() != 2 {
            return Err(format!("reads {} values: expected 2", node.input.len()));
        }
        // Before operator set 7 a constant stood beside any dimension.
        if attribute(node, "axis").is_some() || attribute(node, "broadcast").is_some() {
            return Err("says in an old way how it repeats its values".to_owned());
        }
        match (self.value(node, 0)?, self.value(node, 1)?) {
            (Value::Data(x), Value::Held(constant)) => self.with_constant(node, op, &x, &constant, false),
            (Value::Held(constant), Value::Data(x)) => self.with_constant(node, op, &x, &constant, true),
            (Value::Held(a), Value::Held(b)) => self.binary_constants(node, op, &a, &b),
            (Value::Sizes(a), Value::Sizes(b)) => self.binary_sizes(node, &a, &b),
            (Value::Index(index), _) => self.with_index(node, op, &index, 1),
            (_, Value::Index(index)) => self.with_index(node, op, &index, 0),
            _ => {
                let (a, b) = (self.anywhere(node, 0)?, self.anywhere(node, 1)?);
                let [a, b] = self.side_by_side(a, b)?;
                self.last(node, op, &[&a, &b])
            }
        }
    }

    /// Two values that are computed with number by number. Dimensions are counted from the last: the batch of one must not meet another
    /// dimension of the other.
    pub(super) fn side_by_side(&mut self, a: Data, b: Data) -> Made<[Data; 2]> {
        let [a, b] = self.alike(a, b)?;
        if !in_one_with_batch(&a).eq(in_one_with_batch(&b)) {
            return Err("works along the batch".to_owned());
        }
        Ok([a, b])
    }

    /// A power that is a product, a root or a quotient.
    pub(super) fn pow(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let exponent = self.number(node, 1)?;
        if exponent == 2.0 {
            return self.last(node, Binary::Mul, &[&x, &x]);
        }
        let function = if exponent == 0.5 {
            Function::Sqrt
        } else if exponent == -1.0 {
            Function::Recip
        } else {
            return Err(format!("takes powers of {exponent}: expected 2, 0.5 or -1"));
        };
        self.last(node, function, &[&x])
    }

    /// What is above zero, and what is below it times a slope, which is a parameter.
    pub(super) fn prelu(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let slope = self.held(node, 1)?;
        let slope = self.own(node, &slope);
        let shape = beside(&slope, &x)?;
        let below = Function::Clamp {
            min: f32::NEG_INFINITY,
            max: 0.0,
        };
        let above = self.step(node, "above", Function::Relu, &[&x])?;
        let below = self.step(node, "below", below, &[&x])?;
        let factor = Some(slope.constant(single_or(&slope, shape)));
        let slopes = Affine {
            factor,
            ..Affine::default()
        };
        let scaled = self.step(node, "slopes", slopes, &[&below])?;
        self.last(node, Binary::Add, &[&above, &scaled])
    }

    /// `first`: whether the constant comes first.
    fn with_constant(
        &mut self,
        node: &NodeProto,
        op: Binary,
        x: &Data,
        constant: &Tensor,
        first: bool,
    ) -> Made<()> {
        let shape = beside(constant, x)?;
        let fits = x
            .shape
            .iter()
            .zip(&shape)
            .all(|(&size, &part)| part == size || part == 1);
        let turns = matches!(op, Binary::Add | Binary::Mul);
        let one = only(constant);
        if fits && (turns || !first) {
            let constant = self.own(node, constant);
            let part = Some(constant.constant(single_or(&constant, shape.clone())));
            let none = Affine::default();
            let affine = match op {
                Binary::Add => Some(Affine { plus: part, ..none }),
                Binary::Sub => Some(Affine { minus: part, ..none }),
                Binary::Mul => Some(Affine { factor: part, ..none }),
                Binary::Div => Some(Affine {
                    divisor: part,
                    ..none
                }),
                _ => None,
            };
            if let Some(affine) = affine {
                return self.last(node, affine, &[x]);
            }
        }
        let clamp = match (op, one) {
            (Binary::Max, Some(min)) => Some([min, f32::INFINITY]),
            (Binary::Min, Some(max)) => Some([f32::NEG_INFINITY, max]),
            _ => None,
        };
        if let Some([min, max]) = clamp.filter(|_| fits) {
            return self.last(node, Function::Clamp { min, max }, &[x]);
        }
        let constant = self.constant(&constant.name, constant.constant(shape))?;
        let reads = if first { [&constant, x] } else { [x, &constant] };
        let result = self.push(node.name.clone(), op.into(), &reads)?;
        let place = x.place;
        self.give(node, 0, Data { place, ..result })
    }
}

/// The number of a constant that has one alone.
fn only(constant: &Tensor) -> Option<f32> {
    match constant.values.as_deref() {
        Some(&[number]) => Some(number),
        _ => None,
    }
}

/// The shape of a constant of an affine node: none of one number, which is for all.
fn single_or(constant: &Tensor, shape: Vec<usize>) -> Vec<usize> {
    if only(constant).is_some() {
        Vec::new()
    } else {
        shape
    }
}

/// The sizes of the dimensions that are in one with the batch.
fn in_one_with_batch(x: &Data) -> impl Iterator<Item = usize> {
    let joined = x.parts().into_iter().filter_map(|part| match part {
        Part::Batch(joined) => Some(joined),
        Part::Own(_) => None,
    });
    joined.flatten().flatten()
}

/// The shape of a constant beside a value: without the batch, and with as many dimensions.
pub(super) fn beside(constant: &Tensor, x: &Data) -> Made<Vec<usize>> {
    let refuse = || {
        format!(
            "reads a constant of {:?} beside {:?} for each picture: expected the same for all",
            constant.dims, x.shape
        )
    };
    let parts = x.parts();
    let ahead = parts.len().checked_sub(constant.dims.len()).ok_or_else(refuse)?;
    let mut shape = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let size = n.checked_sub(ahead).map_or(1, |n| constant.dims[n]);
        match part {
            Part::Own(_) => shape.push(size),
            Part::Batch(_) if size != 1 => return Err(refuse()),
            Part::Batch(joined) => shape.extend(joined.iter().flatten().map(|_| 1)),
        }
    }
    Ok(shape)
}
