//! The grids that values are quantised to: integers and the floats that they stand for.

use super::{
    integers::{Integers, bits},
    values::{Made, Tensor},
};

/// The smallest and the largest integer of a type that values are rounded to.
pub(super) fn ends(kind: i32) -> Made<[i32; 2]> {
    match bits(kind) {
        Some((bits @ ..=16, false)) => Ok([0, (1 << bits) - 1]),
        Some((bits @ ..=16, true)) => Ok([-(1 << (bits - 1)), (1 << (bits - 1)) - 1]),
        _ => Err("rounds to what are no integers of 2 to 16 bits".to_owned()),
    }
}

/// The steps of a quantisation: a scale and a zero point for all, for each channel, or for each block of one dimension.
#[derive(Clone)]
pub(super) struct Grid {
    pub scale: Tensor,
    pub zero: Option<Integers>,
    /// The dimension along which they are counted, the batch among them.
    pub axis: i64,
    pub block: usize,
}

impl Grid {
    /// The zero point of all.
    pub fn zero(&self) -> Made<f32> {
        let Some(zeros) = self.zero.as_ref().and_then(|zero| zero.values.as_ref()) else {
            return Ok(0.0);
        };
        match zeros.split_first() {
            Some((first, rest)) if rest.iter().all(|zero| zero == first) => Ok(*first as f32),
            _ => Err("has several zero points for what is no constant".to_owned()),
        }
    }

    /// For each number of a constant of this shape the place of its scale.
    fn places(&self, dims: &[usize]) -> Made<Box<dyn Fn(usize) -> usize>> {
        let steps = self.scale.len();
        if let Some(zero) = &self.zero
            && zero.dims.iter().product::<usize>() != steps
        {
            return Err(format!(
                "has zero points of {:?} for scales of {:?}",
                zero.dims, self.scale.dims
            ));
        }
        if steps == 1 {
            return Ok(Box::new(|_| 0));
        }
        let rank = dims.len() as i64;
        let axis = if self.axis < 0 {
            self.axis.saturating_add(rank)
        } else {
            self.axis
        };
        // A row has one dimension alone, whichever is named.
        let axis = if rank == 1 { 0 } else { axis };
        let axis = usize::try_from(axis).ok().filter(|&axis| axis < dims.len());
        let refuse = || format!("has scales of {:?} for {dims:?}", self.scale.dims);
        let axis = axis.ok_or_else(refuse)?;
        let (size, inner) = (dims[axis], dims[axis + 1..].iter().product::<usize>());
        if self.block == 0 {
            return if self.scale.dims == [size] {
                Ok(Box::new(move |n| n / inner % size))
            } else {
                Err(refuse())
            };
        }
        let blocks = size.div_ceil(self.block);
        let mut wanted = dims.to_vec();
        wanted[axis] = blocks;
        if self.scale.dims != wanted {
            return Err(refuse());
        }
        let block = self.block;
        Ok(Box::new(move |n| {
            (n / inner / size * blocks + n / inner % size / block) * inner + n % inner
        }))
    }

    /// The floats that integers stand for.
    pub fn floats(&self, of: &Integers, name: String) -> Made<Tensor> {
        let place = self.places(&of.dims)?;
        let values = (of.values.as_ref())
            .zip(self.scale.values.as_ref())
            .map(|(values, scales)| {
                let zeros = self.zero.as_ref().and_then(|zero| zero.values.as_ref());
                let float = |(n, &value): (usize, &i32)| {
                    let zero = zeros.map_or(0, |zeros| zeros[place(n)]);
                    // As a product of two floats: ONNX subtracts as integers.
                    value.wrapping_sub(zero) as f32 * scales[place(n)]
                };
                values.iter().enumerate().map(float).collect()
            });
        Ok(Tensor {
            name,
            dims: of.dims.clone(),
            values,
            turned: false,
            parameter: None,
        })
    }

    /// The integers of a type that floats are rounded to.
    pub fn rounded(&self, of: &Tensor, kind: i32) -> Made<Integers> {
        let [low, high] = ends(kind)?;
        let place = self.places(&of.dims)?;
        let values = (of.values.as_ref())
            .zip(self.scale.values.as_ref())
            .map(|(values, scales)| {
                let zeros = self.zero.as_ref().and_then(|zero| zero.values.as_ref());
                let code = |(n, &value): (usize, &f32)| {
                    let zero = zeros.map_or(0, |zeros| zeros[place(n)]);
                    let code = f64::from((value / scales[place(n)]).round_ties_even()) + f64::from(zero);
                    code.clamp(low.into(), high.into()) as i32
                };
                values.iter().enumerate().map(code).collect()
            });
        Ok(Integers {
            name: of.name.clone(),
            dims: of.dims.clone(),
            kind,
            values,
        })
    }
}

#[cfg(test)]
mod tests {
    use tract_onnx::pb::tensor_proto::DataType;

    use super::*;

    fn grid(scales: &[f32], dims: &[usize], zeros: Option<&[i32]>, axis: i64, block: usize) -> Grid {
        Grid {
            scale: Tensor {
                name: "s".to_owned(),
                dims: dims.to_vec(),
                values: Some(scales.into()),
                turned: false,
                parameter: None,
            },
            zero: zeros.map(|zeros| Integers {
                name: "z".to_owned(),
                dims: dims.to_vec(),
                kind: DataType::Int8 as i32,
                values: Some(zeros.into()),
            }),
            axis,
            block,
        }
    }

    #[test]
    fn scales_are_for_all_for_channels_and_for_blocks() {
        let of = Integers {
            name: "w".to_owned(),
            dims: vec![2, 3],
            kind: DataType::Int8 as i32,
            values: Some([1, 2, 3, 4, 5, 6].as_slice().into()),
        };
        let floats = |grid: &Grid| {
            grid.floats(&of, "w".to_owned())
                .map(|found| found.values.unwrap().to_vec())
        };
        assert_eq!(
            floats(&grid(&[0.5], &[], Some(&[1]), 1, 0)).unwrap(),
            [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
        );
        assert_eq!(
            floats(&grid(&[1.0, 2.0], &[2], None, 0, 0)).unwrap(),
            [1.0, 2.0, 3.0, 8.0, 10.0, 12.0]
        );
        let each = grid(&[1.0, 2.0, 3.0], &[3], Some(&[0, 0, 3]), -1, 0);
        assert_eq!(floats(&each).unwrap(), [1.0, 4.0, 0.0, 4.0, 10.0, 9.0]);
        let blocks = grid(&[1.0, 2.0, 3.0, 4.0], &[2, 2], None, 1, 2);
        assert_eq!(floats(&blocks).unwrap(), [1.0, 2.0, 6.0, 12.0, 15.0, 24.0]);
        assert!(floats(&grid(&[1.0, 2.0], &[2], None, 1, 0)).is_err());
        assert!(floats(&grid(&[1.0, 2.0], &[2], None, 7, 0)).is_err());
        assert!(floats(&grid(&[1.0, 2.0], &[2, 1], None, 1, 2)).is_err());
    }

    #[test]
    fn floats_are_rounded_half_to_even_and_cut_off() {
        let of = Tensor {
            name: "w".to_owned(),
            dims: vec![4],
            values: Some([0.25, 0.75, 100.0, -100.0].as_slice().into()),
            turned: false,
            parameter: None,
        };
        let found = grid(&[0.5], &[], Some(&[3]), 0, 0)
            .rounded(&of, DataType::Int8 as i32)
            .unwrap();
        assert_eq!(found.values.unwrap()[..], [3, 5, 127, -128]);
    }
}
