//! Values whose batch has to be at one place: in front, or where that of another value is.

use super::{
    data::{Part, Place, of_parts},
    maker::Maker,
    values::{Data, Made, Tensor},
};
use crate::graph::Op;

impl Maker<'_> {
    /// A value whose first dimension is the batch alone.
    pub(super) fn plain(&mut self, data: Data) -> Made<Data> {
        let data = if data.place == Place::FIRST {
            data
        } else {
            self.in_front(&data)?
        };
        if data.place != Place::FIRST {
            return Err("reads a value whose first dimension is not the batch alone".to_owned());
        }
        Ok(data)
    }

    /// A value whose first dimension is the batch, or has it. In a file for one picture alone any dimension may be taken for it.
    pub(super) fn in_front(&mut self, data: &Data) -> Made<Data> {
        if data.batch_axis() == 0 {
            return Ok(data.clone());
        }
        if self.open || self.batch != Some(1) {
            return Err("works along the batch".to_owned());
        }
        let mut parts: Vec<Part> = data
            .parts()
            .into_iter()
            .map(|part| Part::Own(part.with_batch(1)))
            .collect();
        if let Part::Own(size) = parts[0] {
            parts[0] = Part::Batch([None, Some(size).filter(|&size| size > 1)]);
        }
        self.with_parts(data, &parts)
    }

    /// The same numbers with other dimensions in the file.
    pub(super) fn with_parts(&mut self, data: &Data, parts: &[Part]) -> Made<Data> {
        let (shape, place) = of_parts(parts);
        if shape == data.shape {
            return Ok(Data {
                place,
                ..data.clone()
            });
        }
        let name = self.fresh(&format!("{}.reshaped", data.node));
        let reshaped = self.push(name, Op::Reshape { shape }, &[data])?;
        Ok(Data { place, ..reshaped })
    }

    /// Two values whose batch is at the same place.
    pub(super) fn alike(&mut self, a: Data, b: Data) -> Made<[Data; 2]> {
        if a.place == b.place && a.rank() == b.rank() {
            return Ok([a, b]);
        }
        if a.rank() == b.rank() && !self.open && self.batch == Some(1) {
            let [a, b] = [self.in_front(&a)?, self.in_front(&b)?];
            if a.place == b.place {
                return Ok([a, b]);
            }
        }
        Err("reads two values whose batch is not at the same place".to_owned())
    }

    /// A constant that is the same for every picture of the batch, if one is given for each, with a batch of 1.
    pub(super) fn for_every_picture(&self, tensor: &Tensor) -> Made<Tensor> {
        let refuse = "reads a constant where a value of the network was expected";
        let (first, rest) = tensor.dims.split_first().ok_or(refuse)?;
        if *first == 1 {
            return Ok(tensor.clone());
        }
        if Some(*first) != self.batch {
            return Err(refuse.to_owned());
        }
        let each: usize = rest.iter().product();
        let values = tensor.values.as_ref().map(|values| {
            let mut pictures = values.chunks(each);
            let first = pictures.next()?;
            pictures.all(|picture| picture == first).then(|| first.into())
        });
        Ok(Tensor {
            dims: [&[1], rest].concat(),
            values: values.map(|values| values.ok_or(refuse)).transpose()?,
            ..tensor.clone()
        })
    }
}
