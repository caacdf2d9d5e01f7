//! Integers that say shapes: what exporters compute of the shape of a value, mostly to keep the batch.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    operators::int,
    values::{MAX_SIZES, Made, Size, Sizes, Tensor, Value},
};

impl Maker<'_> {
    /// A `Constant` that is a list or a number in an attribute. One that is a tensor is looked at where it is read.
    pub(super) fn constant_list(&mut self, node: &NodeProto) -> Made<()> {
        let [attribute] = &node.attribute[..] else {
            return Err("has several values".to_owned());
        };
        let name = node.output.first().cloned().unwrap_or_default();
        let floats = |dims: Vec<usize>, values: &[f32]| {
            let values = Some(values.into());
            Value::Held(Tensor {
                name: name.clone(),
                dims,
                values,
                turned: false,
                parameter: None,
            })
        };
        let value = match &*attribute.name {
            "value" => return Ok(()),
            "value_float" => floats(Vec::new(), &[attribute.f]),
            "value_floats" => floats(vec![attribute.floats.len()], &attribute.floats),
            "value_int" => Value::Sizes(Sizes {
                row: false,
                sizes: vec![Size::Whole(attribute.i)],
            }),
            "value_ints" if attribute.ints.len() <= MAX_SIZES => {
                let sizes = attribute.ints.iter().map(|&size| Size::Whole(size));
                Value::Sizes(Sizes::row(sizes.collect()))
            }
            "value_ints" => return Err("holds a long list of integers".to_owned()),
            _ => return Err("holds no numbers".to_owned()),
        };
        self.give(node, 0, value)
    }

    /// The shape of a value, with the batch where it is.
    pub(super) fn shape(&mut self, node: &NodeProto) -> Made<()> {
        let x = match self.value(node, 0)? {
            Value::Data(x) => x,
            Value::Held(tensor) => return self.shape_of_constant(node, &tensor.dims),
            Value::Integers(integers) => return self.shape_of_constant(node, &integers.dims),
            Value::Fixed(fixed) => return self.shape_of_constant(node, &fixed.dims),
            Value::Sizes(sizes) => {
                let dims = if sizes.row {
                    vec![sizes.sizes.len()]
                } else {
                    Vec::new()
                };
                return self.shape_of_constant(node, &dims);
            }
            Value::Index(_) | Value::Sequence(_) => {
                return Err("reads the shape of places or of a sequence".to_owned());
            }
        };
        let sizes: Vec<Size> = x.parts().iter().map(|part| part.size()).collect();
        let (start, end) = (int(node, "start", 0), int(node, "end", i64::MAX));
        let part = part(&sizes, start, end);
        self.give(node, 0, Value::Sizes(Sizes::row(part.to_vec())))
    }

    pub(super) fn gather(&mut self, node: &NodeProto) -> Made<()> {
        let of = match self.value(node, 0)? {
            Value::Sizes(of) => of,
            Value::Data(x) => {
                return match self.value(node, 1)? {
                    Value::Index(_) | Value::Fixed(_) => self.gather_of_all(node, &x),
                    _ => self.gather_places(node, &x),
                };
            }
            _ => return Err("takes numbers out of a constant one by one".to_owned()),
        };
        let places = self.sizes(node, 1)?;
        let sizes = places.whole()?.into_iter().map(|place| {
            let place = if place < 0 {
                place.saturating_add(of.sizes.len() as i64)
            } else {
                place
            };
            usize::try_from(place)
                .ok()
                .and_then(|place| of.sizes.get(place).copied())
        });
        let sizes = sizes
            .collect::<Option<Vec<_>>>()
            .filter(|_| of.row)
            .ok_or("takes an integer that is not there")?;
        self.give(
            node,
            0,
            Value::Sizes(Sizes {
                row: places.row,
                sizes,
            }),
        )
    }

    pub(super) fn concat_sizes(&mut self, node: &NodeProto) -> Made<()> {
        let mut all = Vec::new();
        for n in 0..node.input.len() {
            let Sizes { row: true, sizes } = self.sizes(node, n)? else {
                return Err("puts a number beside lists".to_owned());
            };
            all.extend(sizes);
            // No shape is so long.
            if all.len() > MAX_SIZES {
                return Err("makes a long list of integers".to_owned());
            }
        }
        self.give(node, 0, Value::Sizes(Sizes::row(all)))
    }

    /// `lists`: start, end, dimension and step, the first of each.
    pub(super) fn slice_sizes(
        &mut self,
        node: &NodeProto,
        sizes: &Sizes,
        lists: &[Option<i64>; 4],
    ) -> Made<()> {
        let &[Some(start), Some(end), Some(0 | -1), Some(1)] = lists else {
            return Err("takes integers in another order".to_owned());
        };
        let part = part(&sizes.sizes, start, end).to_vec();
        self.give(node, 0, Value::Sizes(Sizes::row(part)))
    }
}

/// The sizes from `start` to `end`, each counted from the last where it is negative.
pub(super) fn part(sizes: &[Size], start: i64, end: i64) -> &[Size] {
    let count = sizes.len() as i64;
    let place = |at: i64| (if at < 0 { at.saturating_add(count) } else { at }).clamp(0, count) as usize;
    let (start, end) = (place(start), place(end));
    sizes.get(start..end).unwrap_or_default()
}
