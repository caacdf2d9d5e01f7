//! What constants alone compute, and integers that say shapes: files that were not simplified are full of it.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::int,
    repeated::{beside, places},
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
        let made = match (&*tensor.dims, &*dims) {
            // For each picture of the batch: it is the parameter still.
            ([1, picture @ ..], [_, other @ ..]) if picture == other => Tensor {
                dims,
                values,
                ..tensor.clone()
            },
            _ => self.computed(node, dims, values),
        };
        self.give(node, 0, Value::Held(made))
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
                parameter: None,
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

    /// Integers that say shapes, number by number.
    pub(super) fn binary_sizes(&mut self, node: &NodeProto, a: &Sizes, b: &Sizes) -> Made<()> {
        let of = |n: usize| Size::of(&node.op_type, nth(a, n), nth(b, n));
        let sizes = (0..length(&[a, b])?).map(of).collect::<Made<Vec<Size>>>()?;
        let row = a.row || b.row;
        self.give(node, 0, Value::Sizes(Sizes { row, sizes }))
    }

    /// Integers of one list or of another, as a third says.
    pub(super) fn chosen_sizes(&mut self, node: &NodeProto) -> Made<()> {
        let [which, a, b] = [self.sizes(node, 0)?, self.sizes(node, 1)?, self.sizes(node, 2)?];
        let which_are = which.whole()?;
        let of = |n: usize| {
            let chosen = which_are[if which_are.len() == 1 { 0 } else { n }] != 0;
            nth(if chosen { &a } else { &b }, n)
        };
        let sizes = (0..length(&[&which, &a, &b])?).map(of).collect();
        let row = which.row || a.row || b.row;
        self.give(node, 0, Value::Sizes(Sizes { row, sizes }))
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
        if let Value::Sizes(sizes) = &value
            && float(&like)
        {
            let floats: Vec<f32> = sizes.whole()?.into_iter().map(|size| size as f32).collect();
            let dims = if sizes.row { vec![floats.len()] } else { Vec::new() };
            return self.give(
                node,
                0,
                Value::Held(self.computed(node, dims, Some(floats.into()))),
            );
        }
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

    pub(super) fn computed(&self, node: &NodeProto, dims: Vec<usize>, values: Option<Arc<[f32]>>) -> Tensor {
        Tensor {
            name: node.output.first().cloned().unwrap_or_default(),
            dims,
            values,
            turned: false,
            parameter: None,
        }
    }
}

/// How many numbers lists beside each other make: those of one number are repeated.
fn length(lists: &[&Sizes]) -> Made<usize> {
    let lengths = lists.iter().map(|list| list.sizes.len());
    let count = if lengths.clone().any(|length| length == 0) {
        0
    } else {
        lengths.clone().max().unwrap_or(0)
    };
    if lengths.into_iter().any(|length| ![1, count].contains(&length)) {
        return Err("computes with lists of unequal lengths".to_owned());
    }
    Ok(count)
}

/// A number of a list, or its one number.
fn nth(list: &Sizes, n: usize) -> Size {
    list.sizes[if list.sizes.len() == 1 { 0 } else { n }]
}
