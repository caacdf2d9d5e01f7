//! Rounding to multiples of a step that is learned, and the gradients of both, in one pass over the numbers.

use macerator::Simd;
use rayon::prelude::*;

/// Numbers that one task takes at a time.
const CHUNK: usize = 1 << 14;

/// Which multiples there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Multiples {
    /// The least and the largest. From -1 to 1 there is no zero: a code is a sign.
    pub range: [f32; 2],
    /// What the gradient of the step is multiplied by.
    pub share: f32,
    /// Whether the numbers are feature maps, which lie channels last from here on.
    pub maps: bool,
}

impl Multiples {
    fn are_signs(self) -> bool {
        self.range == [-1.0, 1.0]
    }
}

/// `step * round(clamp(x / step, lowest, highest))`, half to even.
pub(super) fn forward(codes: Multiples, step: f32, x: &[f32], out: &mut [f32]) {
    let chunks = out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    chunks.for_each(|(out, x)| forward_chunk(codes, step, x, out));
}

#[macerator::with_simd]
fn forward_chunk<S: Simd>(codes: Multiples, step: f32, x: &[f32], out: &mut [f32]) {
    let [lowest, highest] = codes.range;
    if codes.are_signs() {
        for (out, x) in out.iter_mut().zip(x) {
            *out = sign(x / step) * step;
        }
    } else {
        for (out, x) in out.iter_mut().zip(x) {
            // A zero of a number below it has no sign.
            let code = (x / step).clamp(lowest, highest).round_ties_even() + 0.0;
            *out = code * step;
        }
    }
}

/// NaN stays NaN.
#[inline(always)]
fn sign(unit: f32) -> f32 {
    let sign = if unit < 0.0 { -1.0 } else { 1.0 };
    if unit.is_nan() { unit } else { sign }
}

/// Writes the gradient of `x` and returns that of the step. The order of summation depends on the number of numbers alone.
pub(super) fn backward(codes: Multiples, step: f32, x: &[f32], dy: &[f32], dx: &mut [f32]) -> f32 {
    let chunks = dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK));
    let sums: Vec<f64> = chunks
        .zip(dy.par_chunks(CHUNK))
        .map(|((dx, x), dy)| backward_chunk(codes, step, x, dy, dx))
        .collect();
    (sums.into_iter().sum::<f64>() * f64::from(codes.share)) as f32
}

/// Numbers that are summed up side by side.
const LANES: usize = 16;

#[macerator::with_simd]
fn backward_chunk<S: Simd>(codes: Multiples, step: f32, x: &[f32], dy: &[f32], dx: &mut [f32]) -> f64 {
    let [lowest, highest] = codes.range;
    let signs = codes.are_signs();
    let of = |x: f32, dy: f32| {
        let unit = x / step;
        let cut = unit.clamp(lowest, highest);
        let whole = if signs { sign(unit) } else { cut.round_ties_even() };
        // Within the range the quotient has a gradient, too.
        let within = (unit >= lowest) & (unit <= highest);
        let (dx, slope) = if within { (dy, whole - unit) } else { (0.0, whole) };
        (dx, slope * dy)
    };
    let mut sums = [0f32; LANES];
    let rows = dx.chunks_exact_mut(LANES);
    let whole_rows = x.len() / LANES * LANES;
    for ((dx, x), dy) in rows.zip(x.chunks_exact(LANES)).zip(dy.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let (gradient, slope) = of(x[lane], dy[lane]);
            dx[lane] = gradient;
            sums[lane] += slope;
        }
    }
    let mut sum: f64 = sums.iter().copied().map(f64::from).sum();
    for n in whole_rows..x.len() {
        let (gradient, slope) = of(x[n], dy[n]);
        dx[n] = gradient;
        sum += f64::from(slope);
    }
    sum
}
