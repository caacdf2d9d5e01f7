//! Bilinear resizing of bytes, to the bit as Pillow does it.

/// Bits behind the point of a filter weight, as in Pillow: with them a sum of weighted bytes fits 32 bits.
const POINT: u32 = 22;

/// Resizes a picture, `[height, width, 3]`, from one height and width to another. No side is 0.
pub(crate) fn resize(pixels: &[u8], from: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    if from == to {
        return pixels.to_vec();
    }
    let across = across(pixels, from[1], to[1]);
    down(&across, to[1], from[0], to[0])
}

/// Half of what a byte counts, for the rounding.
const HALF: u32 = 1 << (POINT - 1);

fn byte(sum: u32) -> u8 {
    (sum >> POINT).min(255) as u8
}

/// Resizes rows of `from` pixels to `to`.
fn across(bytes: &[u8], from: usize, to: usize) -> Vec<u8> {
    let filter = Filter::new(from, to);
    let mut resized = vec![0; bytes.len() / from * to];
    for (row, resized) in bytes.chunks_exact(from * 3).zip(resized.chunks_exact_mut(to * 3)) {
        for ((first, weights), resized) in filter.taps().zip(resized.chunks_exact_mut(3)) {
            let mut sums = [HALF; 3];
            for (pixel, weight) in row[first * 3..].chunks_exact(3).zip(weights) {
                for (sum, &byte) in sums.iter_mut().zip(pixel) {
                    *sum += u32::from(byte) * weight;
                }
            }
            resized.copy_from_slice(&sums.map(byte));
        }
    }
    resized
}

/// Resizes columns of `from` rows, each `width` pixels, to `to`.
fn down(bytes: &[u8], width: usize, from: usize, to: usize) -> Vec<u8> {
    let filter = Filter::new(from, to);
    let row = width * 3;
    let mut resized = vec![0; row * to];
    let mut sums = vec![0u32; row];
    for ((first, weights), resized) in filter.taps().zip(resized.chunks_exact_mut(row)) {
        sums.fill(HALF);
        for (bytes, weight) in bytes[first * row..].chunks_exact(row).zip(weights) {
            for (sum, &byte) in sums.iter_mut().zip(bytes) {
                *sum += u32::from(byte) * weight;
            }
        }
        for (resized, &sum) in resized.iter_mut().zip(&sums) {
            *resized = byte(sum);
        }
    }
    resized
}

/// For every output along an axis, the first input it looks at, and the weights of it and its successors.
struct Filter {
    firsts: Vec<usize>,
    weights: Vec<u32>,
    /// Weights of an output, the last of which may be zero.
    taps: usize,
}

impl Filter {
    fn new(from: usize, to: usize) -> Self {
        let step = from as f64 / to as f64;
        let reach = step.max(1.0);
        let inputs = |index: usize| {
            let centre = (index as f64 + 0.5) * step;
            let first = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            (centre, first..end)
        };
        let taps = (0..to).map(|index| inputs(index).1.len()).max().unwrap_or(0);
        let mut filter = Self {
            firsts: Vec::with_capacity(to),
            weights: Vec::with_capacity(to * taps),
            taps,
        };
        for (centre, inputs) in (0..to).map(inputs) {
            let weight = |entry: usize| (1.0 - ((entry as f64 - centre + 0.5) / reach).abs()).max(0.0);
            let sum: f64 = inputs.clone().map(weight).sum();
            let fixed = |entry| (weight(entry) / sum * f64::from(1 << POINT) + 0.5) as u32;
            filter.firsts.push(inputs.start);
            filter.weights.extend(inputs.map(fixed));
            filter.weights.resize(filter.firsts.len() * taps, 0);
        }
        filter
    }

    fn taps(&self) -> impl Iterator<Item = (usize, &[u32])> {
        self.firsts
            .iter()
            .copied()
            .zip(self.weights.chunks_exact(self.taps))
    }
}
