//! Dropout whose mask is a function of a seed and a position, so that no mask is kept and any thread can draw its part.

use rayon::prelude::*;

/// Numbers that one task takes at a time.
const CHUNK: usize = 1 << 14;

/// Which numbers are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DropoutMask {
    pub seed: u64,
    /// The share that is kept; those are divided by it.
    pub keep: f64,
}

impl DropoutMask {
    /// Masks `x`, or a gradient in the same places.
    pub(super) fn apply(self, x: &[f32], out: &mut [f32]) {
        let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
        chunks
            .enumerate()
            .for_each(|(n, (out, x))| mask_chunk(self, n * CHUNK, x, out));
    }
}

#[macerator::with_simd]
fn mask_chunk<S: macerator::Simd>(mask: DropoutMask, first: usize, x: &[f32], out: &mut [f32]) {
    let limit = (mask.keep * 2f64.powi(32)) as u64;
    let scale = (1.0 / mask.keep) as f32;
    for (n, (out, &x)) in out.iter_mut().zip(x).enumerate() {
        *out = if random(mask.seed, (first + n) as u64) >> 32 < limit {
            x * scale
        } else {
            0.0
        };
    }
}

/// The `n`-th number of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[inline(always)]
fn random(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
