//! Places of numbers of all pictures, which a `Gather` reads: `picture * step + place`, as `torch.as_strided` is exported.

use super::repeated::{beside, places};
use super::size::Made;

/// For each picture, places in a row of the numbers of all pictures.
#[derive(Clone)]
pub(super) struct Index {
    /// The sizes of the dimensions in the file; that of the batch is 1.
    pub dims: Vec<usize>,
    /// Which dimension is the batch.
    pub batch: usize,
    /// From one picture's place to that of the next.
    pub step: i64,
    /// The places in the first picture.
    pub places: Vec<i64>,
}

impl Index {
    /// The numbers of the pictures.
    pub fn pictures() -> Self {
        Self {
            dims: vec![1],
            batch: 0,
            step: 1,
            places: vec![0],
        }
    }

    pub fn times(&self, by: i64) -> Option<Self> {
        let places = self.places.iter().map(|place| place.checked_mul(by));
        Some(Self {
            step: self.step.checked_mul(by)?,
            places: places.collect::<Option<_>>()?,
            ..self.clone()
        })
    }

    /// These places with others beside them, the same for every picture. `most`: how many there may be.
    pub fn plus(&self, dims: &[usize], more: &[i64], most: usize) -> Made<Self> {
        let sizes = beside(&self.dims, dims)?;
        let batch = self.batch + sizes.len() - self.dims.len();
        let count = sizes.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let count = count.filter(|&count| count <= most && sizes[batch] == 1);
        let count = count.ok_or("computes too many places of numbers, or other ones for each picture")?;
        let (own, other) = (places(&self.dims, &sizes), places(dims, &sizes));
        let sums = (0..count).map(|n| self.places[own(n)].checked_add(more[other(n)]));
        let sums: Option<Vec<i64>> = sums.collect();
        Ok(Self {
            dims: sizes,
            batch,
            step: self.step,
            places: sums.ok_or("computes a place that is too large")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Index;

    #[test]
    fn places_are_those_of_each_picture() {
        let mut index = Index::pictures().times(6).unwrap();
        index.dims = vec![1, 1, 1];
        let index = index.plus(&[1, 2, 1], &[0, 3], 100).unwrap();
        let index = index.plus(&[3], &[0, 1, 2], 100).unwrap();
        assert_eq!(
            (index.dims.clone(), index.batch, index.step),
            (vec![1, 2, 3], 0, 6)
        );
        assert_eq!(index.places, [0, 1, 2, 3, 4, 5]);
        assert!(index.plus(&[2, 1, 1], &[0, 1], 100).is_err());
        assert!(index.plus(&[9, 1, 1, 1], &[0; 9], 50).is_err());
        assert!(index.times(i64::MAX).is_none());
    }
}
