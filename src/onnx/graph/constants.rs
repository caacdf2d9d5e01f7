//! What constants alone compute, and integers that say shapes: files that were not simplified are full of it.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::int,
    values::{MAX_SIZES, Made, Size, Sizes, Tensor, Value},
};
use crate::graph::{Binary, Function};
use crate::onnx::operators::attribute;

impl Maker<'_> {
    /// Two constants number by number, dimensions of size 1 repeated.
    pub(super) fn binary_constants(
        &mut self,
        node: &NodeProto,
        op: Binary,
        a: &Tensor,
        b: &Tensor,
    ) -> Made<()> {
        let dims = beside(&a.dims, &b.dims)?;
        let numbers = self.made_constant(&dims)?;
        let values = a.values.as_ref().zip(b.values.as_ref()).map(|(x, y)| {
            let (at_x, at_y) = (places(&a.dims, &dims), places(&b.dims, &dims));
            (0..numbers).map(|n| op.of(x[at_x(n)], y[at_y(n)])).collect()
        });
        self.give(node, 0, Value::Held(self.computed(node, dims, values)))
    }

    /// A constant repeated along dimensions of size 1.
    pub(super) fn expand_constant(&mut self, node: &NodeProto, tensor: &Tensor) -> Made<()> {
        let wanted = super::operators::whole(&self.sizes(node, 1)?.whole()?)?;
        let dims = beside(&tensor.dims, &wanted)?;
        let numbers = self.made_constant(&dims)?;
        let values = tensor.values.as_ref().map(|values| {
            let at = places(&tensor.dims, &dims);
            (0..numbers).map(|n| values[at(n)]).collect()
        });
        self.give(node, 0, Value::Held(self.computed(node, dims, values)))
    }

    /// A function of every number of a constant. `None` of one that is approximated.
    pub(super) fn function_of_constant(
        &mut self,
        node: &NodeProto,
        function: Function,
        tensor: &Tensor,
    ) -> Made<()> {
        let of = |x: f32| match function {
            Function::Sqrt => Some(x.sqrt()),
            Function::Recip => Some(1.0 / x),
            function => function.of(x),
        };
        self.made_constant(&tensor.dims)?;
        let values = match &tensor.values {
            Some(values) => {
                let values: Option<Arc<[f32]>> = values.iter().map(|&x| of(x)).collect();
                Some(
                    values
                        .ok_or("computes with constants alone: export the network with constants folded")?,
                )
            }
            None => None,
        };
        self.give(
            node,
            0,
            Value::Held(self.computed(node, tensor.dims.clone(), values)),
        )
    }

    /// Integers of one number everywhere, or floats.
    pub(super) fn constant_of_shape(&mut self, node: &NodeProto) -> Made<()> {
        let dims = super::operators::whole(&self.sizes(node, 0)?.whole()?)?;
        let held = attribute(node, "value").and_then(|value| value.t.as_ref());
        let value = match held {
            Some(tensor) => super::values::decode("value", tensor, false)?,
            None => Value::Held(Tensor {
                name: String::new(),
                dims: vec![1],
                values: Some(vec![0.0].into()),
                turned: false,
            }),
        };
        let numbers = self.made_constant(&dims)?;
        let value = match value {
            Value::Held(Tensor {
                values: Some(values), ..
            }) if values.len() == 1 => {
                let values = vec![values[0]; numbers];
                Value::Held(self.computed(node, dims, Some(values.into())))
            }
            Value::Sizes(Sizes { sizes, .. })
                if sizes.len() == 1 && dims.len() == 1 && numbers <= MAX_SIZES =>
            {
                Value::Sizes(Sizes::row(vec![sizes[0]; numbers]))
            }
            _ => return Err("fills a shape with what is no float".to_owned()),
        };
        self.give(node, 0, value)
    }

    /// Integers that say shapes, number by number. What is computed of the batch is not known.
    pub(super) fn binary_sizes(&mut self, node: &NodeProto, op: Binary, a: &Sizes, b: &Sizes) -> Made<()> {
        let count = a.sizes.len().max(b.sizes.len());
        if [a, b].iter().any(|list| ![1, count].contains(&list.sizes.len())) {
            return Err("computes with lists of unequal lengths".to_owned());
        }
        let at = |list: &Sizes, n: usize| list.sizes[if list.sizes.len() == 1 { 0 } else { n }];
        let of = |n: usize| {
            let (a, b) = (at(a, n), at(b, n));
            let (a, b) = match (a, b, op) {
                (Size::Whole(a), Size::Whole(b), _) => (a, b),
                (Size::Batch, Size::Whole(1), Binary::Mul | Binary::Div)
                | (Size::Whole(1), Size::Batch, Binary::Mul) => {
                    return Ok(Size::Batch);
                }
                _ => return Err("computes with the size of the batch".to_owned()),
            };
            let whole = match op {
                Binary::Add => a.checked_add(b),
                Binary::Sub => a.checked_sub(b),
                Binary::Mul => a.checked_mul(b),
                Binary::Div => a.checked_div(b),
                Binary::Max => Some(a.max(b)),
                Binary::Min => Some(a.min(b)),
            };
            whole
                .map(Size::Whole)
                .ok_or_else(|| "computes a size that is too large, or divides by zero".to_owned())
        };
        let sizes = (0..count).map(of).collect::<Made<Vec<Size>>>()?;
        self.give(
            node,
            0,
            Value::Sizes(Sizes {
                row: a.row || b.row,
                sizes,
            }),
        )
    }

    /// A list of integers as one number, or the other way round.
    pub(super) fn reshape_sizes(&mut self, node: &NodeProto, sizes: Vec<Size>, wanted: &[Size]) -> Made<()> {
        let count = sizes.len() as i64;
        let row = match wanted {
            [] if count == 1 => false,
            [Size::Whole(size)] if [-1, count].contains(size) => true,
            _ => return Err("makes a matrix of integers".to_owned()),
        };
        self.give(node, 0, Value::Sizes(Sizes { row, sizes }))
    }

    /// Integers as often as a list of one size says.
    pub(super) fn expand_sizes(&mut self, node: &NodeProto, sizes: Vec<Size>) -> Made<()> {
        let sizes = match (&self.sizes(node, 1)?.whole()?[..], &sizes[..]) {
            ([1], _) => sizes,
            (&[count], &[size]) if (1..=MAX_SIZES as i64).contains(&count) => vec![size; count as usize],
            _ => return Err("makes a matrix or a long list of integers".to_owned()),
        };
        self.give(node, 0, Value::Sizes(Sizes::row(sizes)))
    }

    /// The shape of a constant.
    pub(super) fn shape_of_constant(&mut self, node: &NodeProto, dims: &[usize]) -> Made<()> {
        let sizes: Vec<Size> = dims.iter().map(|&size| Size::Whole(size as i64)).collect();
        let part = super::sizes::part(&sizes, int(node, "start", 0), int(node, "end", i64::MAX)).to_vec();
        self.give(node, 0, Value::Sizes(Sizes::row(part)))
    }

    /// To the type of another value.
    pub(super) fn cast_like(&mut self, node: &NodeProto) -> Made<()> {
        let (value, like) = (self.value(node, 0)?, self.value(node, 1)?);
        let float = |value: &Value| matches!(value, Value::Data(_) | Value::Held(_));
        if float(&value) != float(&like) {
            return Err("changes the type of its numbers".to_owned());
        }
        self.give(node, 0, value)
    }

    /// Counts the numbers of a constant that is not in the file.
    fn made_constant(&mut self, dims: &[usize]) -> Made<usize> {
        let numbers = dims.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let numbers = numbers
            .filter(|&numbers| numbers > 0)
            .ok_or("makes a constant of nothing, or of too much")?;
        self.count(numbers)?;
        Ok(numbers)
    }

    fn computed(&self, node: &NodeProto, dims: Vec<usize>, values: Option<Arc<[f32]>>) -> Tensor {
        Tensor {
            name: node.output.first().cloned().unwrap_or_default(),
            dims,
            values,
            turned: false,
        }
    }
}

/// The shape of two constants number by number.
pub(super) fn beside(a: &[usize], b: &[usize]) -> Made<Vec<usize>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[usize], n: usize| (n + dims.len()).checked_sub(rank).map_or(1, |n| dims[n]);
    let sizes = (0..rank).map(|n| match (at(a, n), at(b, n)) {
        (size, 1) | (1, size) => Some(size),
        (a, b) => (a == b).then_some(a),
    });
    let sizes = sizes.collect::<Option<_>>();
    sizes.ok_or_else(|| format!("computes with constants of {a:?} and {b:?}"))
}

/// For each number of a shape its place in a constant that is repeated to it.
pub(super) fn places(from: &[usize], to: &[usize]) -> impl Fn(usize) -> usize + use<> {
    let ahead = to.len() - from.len();
    let mut steps = Vec::new();
    let mut apart = 1;
    for (n, &size) in to.iter().enumerate().rev() {
        let own = n.checked_sub(ahead).map_or(1, |n| from[n]);
        steps.push((size, if own == 1 { 0 } else { apart }));
        apart *= own;
    }
    move |n| {
        let mut rest = n;
        let mut place = 0;
        for &(size, apart) in &steps {
            place += rest % size * apart;
            rest /= size;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_repeated_along_dimensions_of_size_one() {
        assert_eq!(beside(&[3, 1], &[2]).unwrap(), [3, 2]);
        assert_eq!(beside(&[], &[4]).unwrap(), [4]);
        assert!(beside(&[3], &[2]).is_err());
        let at = places(&[3, 1], &[2, 3, 2]);
        let found: Vec<usize> = (0..12).map(at).collect();
        assert_eq!(found, [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2]);
    }
}
