use burn::data::dataset::transform::Mapper;

use super::PictureItem;

/// Bits behind the point of a filter weight, as in Pillow: with them a sum of weighted bytes fits 32 bits.
const POINT: u32 = 22;

/// Bilinear resizing of bytes, to the bit as Pillow does it, and torchvision on Pillow's pictures.
///
/// A triangle filter over half-pixel centres, as wide as the step where the picture shrinks, cut off at the edges;
/// across first, then down, each pass rounded to a byte. Own code because resizing crates round in other places: off
/// by a grey level here and there, and differently on different processors.
#[derive(Clone, Debug)]
pub struct Resize {
    size: [usize; 2],
}

impl Resize {
    /// To `size`, height and width in pixels.
    ///
    /// # Panics
    ///
    /// Where either is 0.
    pub fn new(size: [usize; 2]) -> Self {
        assert!(!size.contains(&0), "a picture has at least one pixel");
        Self { size }
    }
}

impl Mapper<PictureItem, PictureItem> for Resize {
    fn map(&self, item: &PictureItem) -> PictureItem {
        if item.size == self.size {
            return item.clone();
        }
        let [from_h, from_w] = item.size;
        let [to_h, to_w] = self.size;
        // A row is `width` pixels of 3 bytes; a column is `height` rows of all their bytes.
        let across = resample(&item.pixels, from_w, to_w, 3);
        let pixels = resample(&across, from_h, to_h, to_w * 3);
        PictureItem {
            size: self.size,
            pixels,
            label: item.label,
        }
    }
}

/// Resizes the axis of `from` entries, each `inner` bytes, to `to` entries, for every repetition of the axis.
fn resample(bytes: &[u8], from: usize, to: usize, inner: usize) -> Vec<u8> {
    let taps: Vec<_> = (0..to).map(|index| taps(index, from, to)).collect();
    let mut resized = Vec::with_capacity(bytes.len() / from * to);
    let mut sums = vec![0u32; inner];
    for axis in bytes.chunks_exact(from * inner) {
        for (first, weights) in &taps {
            sums.fill(1 << (POINT - 1));
            for (entry, &weight) in axis[first * inner..].chunks_exact(inner).zip(weights) {
                for (sum, &byte) in sums.iter_mut().zip(entry) {
                    *sum += u32::from(byte) * weight;
                }
            }
            resized.extend(sums.iter().map(|sum| (sum >> POINT).min(255) as u8));
        }
    }
    resized
}

/// The first entry that output `index` looks at, and the weights of it and its successors.
fn taps(index: usize, from: usize, to: usize) -> (usize, Vec<u32>) {
    let step = from as f64 / to as f64;
    let reach = step.max(1.0);
    let centre = (index as f64 + 0.5) * step;
    let first = (centre - reach + 0.5).max(0.0) as usize;
    let end = ((centre + reach + 0.5) as usize).min(from);
    let weights: Vec<f64> = (first..end)
        .map(|entry| (1.0 - ((entry as f64 - centre + 0.5) / reach).abs()).max(0.0))
        .collect();
    let sum: f64 = weights.iter().sum();
    let fixed = |weight: f64| (weight / sum * f64::from(1 << POINT) + 0.5) as u32;
    (first, weights.into_iter().map(fixed).collect())
}
