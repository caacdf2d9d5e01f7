//! Where the numbers of a graph's value lie among those of a packed one. What only moves numbers is computed here, at packing time, as
//! far as it can be: a slice, a permutation and many a reshape are other steps through the same memory.

use crate::packed::spec::{Strides, ValueId};

/// The numbers of a value of floats, by the dimensions of a graph's value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    pub value: ValueId,
    pub shape: Vec<usize>,
    pub strides: Strides,
}

/// How a value of a shape is kept: size and channels, and the steps of its dimensions. Of feature maps the channels lie side by side;
/// other values lie in rows.
pub(super) fn layout(shape: &[usize]) -> ([usize; 2], usize, Vec<usize>) {
    match *shape {
        [channels, height, width] => ([height, width], channels, vec![1, width * channels, channels]),
        [channels] => ([1, 1], channels, vec![1]),
        [ref outer @ .., across, channels] => ([outer.iter().product(), across], channels, rows(shape)),
        [] => ([1, 1], 1, Vec::new()),
    }
}

/// The steps of dimensions in rows, the last side by side.
pub(super) fn rows(shape: &[usize]) -> Vec<usize> {
    let mut steps = vec![1; shape.len()];
    for n in (1..shape.len()).rev() {
        steps[n - 1] = steps[n] * shape[n];
    }
    steps
}

/// The dimensions of a shape in the order in which its layout has them, the one side by side last.
pub(super) fn order(shape: &[usize]) -> Vec<usize> {
    if shape.len() == 3 {
        vec![1, 2, 0]
    } else {
        (0..shape.len()).collect()
    }
}

/// The steps of the same numbers as another shape, where there are some.
pub(super) fn reshaped(shape: &[usize], steps: &[usize], to: &[usize]) -> Option<Vec<usize>> {
    let old: Vec<(usize, usize)> = (shape.iter().copied().zip(steps.iter().copied()))
        .filter(|(size, _)| *size > 1)
        .collect();
    let mut found = vec![0; to.len()];
    let (mut from, mut at) = (0, 0);
    while at < to.len() && from < old.len() {
        // As few dimensions of each that hold as many numbers.
        let (mut numbers, mut old_numbers) = (to[at], old[from].0);
        let (mut end, mut old_end) = (at + 1, from + 1);
        while numbers != old_numbers {
            if numbers < old_numbers {
                numbers *= to.get(end)?;
                end += 1;
            } else {
                old_numbers *= old.get(old_end)?.0;
                old_end += 1;
            }
        }
        let whole = old[from..old_end].array_windows().all(|[a, b]| a.1 == b.0 * b.1);
        if !whole {
            return None;
        }
        let mut step = old[old_end - 1].1;
        for n in (at..end).rev() {
            found[n] = step;
            step *= to[n];
        }
        (at, from) = (end, old_end);
    }
    Some(found)
}

impl Places {
    /// Of a value that is kept as its shape's layout has it.
    pub fn whole(value: ValueId, shape: &[usize]) -> Self {
        let (_, _, steps) = layout(shape);
        Self {
            value,
            shape: shape.to_vec(),
            strides: Strides { start: 0, steps },
        }
    }

    /// Whether the places are those of the layout of its shape.
    pub fn is_laid_out(&self) -> bool {
        let (_, _, steps) = layout(&self.shape);
        let found = self.strides.steps.iter().zip(&steps).zip(&self.shape);
        self.strides.start == 0 && found.into_iter().all(|((a, b), &size)| size == 1 || a == b)
    }

    /// The same numbers as another shape, where they need not be moved.
    pub fn reshaped(&self, to: &[usize]) -> Option<Self> {
        Some(Self {
            value: self.value,
            shape: to.to_vec(),
            strides: Strides {
                start: self.strides.start,
                steps: reshaped(&self.shape, &self.strides.steps, to)?,
            },
        })
    }

    pub fn sliced(mut self, axis: usize, start: usize, end: usize, step: usize) -> Self {
        self.strides.start += start * self.strides.steps[axis];
        self.strides.steps[axis] *= step;
        self.shape[axis] = (end - start).div_ceil(step);
        self
    }

    pub fn permuted(mut self, axes: &[usize]) -> Self {
        let steps = axes.iter().map(|&axis| self.strides.steps[axis]).collect();
        self.shape = axes.iter().map(|&axis| self.shape[axis]).collect();
        self.strides.steps = steps;
        self
    }

    /// Dimensions of size 1 repeated.
    pub fn expanded(mut self, shape: &[usize]) -> Self {
        for ((size, step), &to) in self.shape.iter_mut().zip(&mut self.strides.steps).zip(shape) {
            if *size != to {
                (*size, *step) = (to, 0);
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshapes_that_move_nothing_are_found() {
        // Channels that lie side by side are split and joined without moving anything; maps in one row are not.
        let (_, _, steps) = layout(&[6, 4, 5]);
        assert_eq!(
            reshaped(&[6, 4, 5], &steps, &[2, 3, 4, 5]),
            Some(vec![3, 1, 30, 6])
        );
        assert_eq!(
            reshaped(&[2, 3, 4, 5], &[3, 1, 30, 6], &[6, 4, 5]),
            Some(steps.clone())
        );
        assert_eq!(reshaped(&[6, 4, 5], &steps, &[6, 20]), Some(vec![1, 6]));
        assert_eq!(reshaped(&[6, 4, 5], &steps, &[120]), None);
        assert_eq!(reshaped(&[6, 1, 1], &[1, 6, 6], &[6]), Some(vec![1]));
        assert_eq!(reshaped(&[6], &[1], &[1, 6, 1]), Some(vec![6, 1, 0]));
        assert_eq!(reshaped(&[3, 2, 4, 5], &[1, 3, 30, 6], &[6, 4, 5]), None);
        assert_eq!(rows(&[2, 3, 4]), [12, 4, 1]);
    }

    #[test]
    fn views_name_the_places_of_their_numbers() {
        let whole = Places::whole(1, &[6, 4, 5]);
        assert!(whole.is_laid_out());
        let slice = whole.clone().sliced(0, 1, 6, 2);
        assert_eq!((&slice.shape[..], slice.strides.start), (&[3, 4, 5][..], 1));
        assert_eq!(slice.strides.steps, [2, 30, 6]);
        let turned = slice.permuted(&[2, 0, 1]);
        assert_eq!(
            (turned.shape, turned.strides.steps),
            (vec![5, 3, 4], vec![6, 2, 30])
        );
        let one = Places::whole(2, &[6, 1, 1]).expanded(&[6, 4, 5]);
        assert_eq!(one.strides.steps, [1, 0, 0]);
        assert!(!one.is_laid_out());
    }
}
