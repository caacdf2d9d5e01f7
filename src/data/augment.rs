use std::fmt;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::PictureItem;

/// How training pictures are varied, anew in every epoch: a random horizontal flip, then a random crop of the
/// picture's own size out of the picture with a black margin.
///
/// As torchvision's `RandomHorizontalFlip()` and `RandomCrop(size, padding)` do it, in this order. Bytes are varied,
/// before they are resized and normalised, so the margin is black and not the mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Whether every other picture, on average, is flipped left to right.
    pub flip: bool,
    /// Width of the margin on each side, in pixels; every position of the crop is equally likely.
    pub pad: usize,
}

impl Augment {
    /// Pictures as they are.
    pub fn none() -> Self {
        Self::default()
    }

    /// Varies a picture as `dice` fall.
    pub fn apply(&self, item: PictureItem, dice: &mut impl Rng) -> PictureItem {
        let flip = self.flip && dice.random_bool(0.5);
        let [top, left] = [(); 2].map(|()| dice.random_range(0..=2 * self.pad));
        if !flip && [top, left] == [self.pad; 2] {
            return item;
        }
        let [height, width] = item.size;
        let mut pixels = vec![0; item.pixels.len()];
        let inside = |at: usize, length: usize| at.checked_sub(self.pad).filter(|&at| at < length);
        for (row, to) in pixels.chunks_exact_mut(3 * width).enumerate() {
            let Some(row) = inside(row + top, height) else {
                continue;
            };
            let from = &item.pixels[row * 3 * width..][..3 * width];
            for (column, to) in to.chunks_exact_mut(3).enumerate() {
                if let Some(column) = inside(column + left, width) {
                    let column = if flip { width - 1 - column } else { column };
                    to.copy_from_slice(&from[3 * column..][..3]);
                }
            }
        }
        PictureItem { pixels, ..item }
    }
}

impl fmt::Display for Augment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.flip, self.pad) {
            (false, 0) => f.write_str("none"),
            (true, 0) => f.write_str("flip"),
            (false, pad) => write!(f, "crop from a margin of {pad}"),
            (true, pad) => write!(f, "flip and crop from a margin of {pad}"),
        }
    }
}
