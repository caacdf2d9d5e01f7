//! Values of the network, and where the file has its batch among their dimensions. Attention moves it: to `[tokens, batch,
//! channels]`, or to `[batch * windows, tokens, channels]`, where it is in one dimension with another.
//!
//! A graph computes each picture by itself, without the batch. So a value here has the shape of one picture, its own dimensions, and a
//! [`Place`] that says how the file has them.

use super::size::{Made, Size};

/// Where the batch is among the dimensions of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Place {
    /// How many of the value's own dimensions are before it.
    pub before: usize,
    /// Whether the last of those before, and the first of those behind, are in one dimension with it.
    pub joined: [bool; 2],
}

impl Place {
    /// The first dimension, alone: as pictures have it.
    pub const FIRST: Self = Self {
        before: 0,
        joined: [false; 2],
    };
}

/// What a node of the graph computes for each picture.
#[derive(Clone, Debug)]
pub(super) struct Data {
    pub node: String,
    /// Without the batch.
    pub shape: Vec<usize>,
    pub place: Place,
}

/// A dimension of a value in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Part {
    /// One of the value's own, of this size.
    Own(usize),
    /// The batch, with the sizes of own dimensions before and behind it that are in one with it.
    Batch([Option<usize>; 2]),
}

impl Part {
    /// The batch alone.
    pub const BATCH: Self = Self::Batch([None; 2]);

    /// What the file says as its size.
    pub fn size(self) -> Size {
        match self {
            Self::Own(size) => Size::Whole(size as i64),
            Self::Batch(joined) => Size::Batch(times(joined) as i64),
        }
    }

    /// Its size with a batch of so many.
    pub fn with_batch(self, batch: usize) -> usize {
        match self {
            Self::Own(size) => size,
            Self::Batch(joined) => times(joined).saturating_mul(batch),
        }
    }
}

/// The product of the dimensions that are in one with the batch.
fn times(joined: [Option<usize>; 2]) -> usize {
    joined.into_iter().flatten().fold(1, usize::saturating_mul)
}

/// The own dimensions and the place of the batch of a value with these dimensions in the file.
pub(super) fn of_parts(parts: &[Part]) -> (Vec<usize>, Place) {
    let mut shape = Vec::new();
    let mut place = Place::FIRST;
    for part in parts {
        match *part {
            Part::Own(size) => shape.push(size),
            Part::Batch([before, behind]) => {
                shape.extend(before);
                place = Place {
                    before: shape.len(),
                    joined: [before.is_some(), behind.is_some()],
                };
                shape.extend(behind);
            }
        }
    }
    (shape, place)
}

impl Data {
    /// The dimensions in the file.
    pub fn parts(&self) -> Vec<Part> {
        let Place { before, joined } = self.place;
        let [first, last] = joined.map(usize::from);
        let (before, behind) = self.shape.split_at(before);
        let (alone, in_one) = before.split_at(before.len() - first);
        let (with, rest) = behind.split_at(last);
        let own = |sizes: &[usize]| sizes.iter().map(|&size| Part::Own(size)).collect::<Vec<_>>();
        let batch = Part::Batch([in_one.first().copied(), with.first().copied()]);
        [own(alone), vec![batch], own(rest)].concat()
    }

    /// How many dimensions the file has.
    pub fn rank(&self) -> usize {
        self.shape.len() + 1 - self.joined()
    }

    /// Which dimension of the file the batch is in.
    pub fn batch_axis(&self) -> usize {
        self.place.before - usize::from(self.place.joined[0])
    }

    fn joined(&self) -> usize {
        self.place.joined.map(usize::from).iter().sum()
    }

    /// A dimension of the file, counted from the last where it is negative.
    pub fn file_axis(&self, named: i64) -> Made<usize> {
        place(named, self.rank() as i64)
    }

    /// An own dimension, from its number in the file.
    pub fn axis(&self, named: i64) -> Made<usize> {
        let (axis, batch) = (self.file_axis(named)?, self.batch_axis());
        match axis {
            axis if axis < batch => Ok(axis),
            axis if axis > batch => Ok(axis - 1 + self.joined()),
            _ => Err("works along the batch".to_owned()),
        }
    }

    /// Whether the batch is before the last so many dimensions of the file.
    pub fn is_before(&self, last: usize) -> bool {
        self.batch_axis() + last < self.rank()
    }
}

/// A dimension, counted from the last where it is negative.
pub(super) fn place(named: i64, rank: i64) -> Made<usize> {
    let axis = if named < 0 {
        named.saturating_add(rank)
    } else {
        named
    };
    let axis = usize::try_from(axis).ok().filter(|&axis| (axis as i64) < rank);
    axis.ok_or_else(|| format!("names the dimension {named} of {rank}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(parts: &[Part]) -> Data {
        let (shape, place) = of_parts(parts);
        Data {
            node: "x".to_owned(),
            shape,
            place,
        }
    }

    #[test]
    fn dimensions_of_the_file_are_own_ones_or_the_batch() {
        let windows = [
            Part::Own(3),
            Part::Batch([None, Some(9)]),
            Part::Own(16),
            Part::Own(8),
        ];
        let x = data(&windows);
        assert_eq!(x.shape, [3, 9, 16, 8]);
        assert_eq!(x.parts(), windows);
        assert_eq!((x.rank(), x.batch_axis()), (4, 1));
        let axes: Vec<Option<usize>> = (0..5).map(|axis| x.axis(axis).ok()).collect();
        assert_eq!(axes, [Some(0), None, Some(2), Some(3), None]);
        assert_eq!(x.axis(-1), Ok(3));
        assert_eq!(x.axis(-3).unwrap_err(), "works along the batch");
        assert!(x.is_before(2) && !x.is_before(3));
    }

    #[test]
    fn the_batch_may_be_between_two_dimensions() {
        let rows = [Part::Batch([Some(17), Some(2)]), Part::Own(32)];
        let x = data(&rows);
        assert_eq!((x.shape.clone(), x.place.before), (vec![17, 2, 32], 1));
        assert_eq!(x.parts(), rows);
        assert_eq!(x.axis(1), Ok(2));
        assert_eq!(x.parts()[0].with_batch(3), 102);
        assert_eq!(x.parts()[0].size(), Size::Batch(34));
    }
}
