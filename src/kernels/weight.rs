//! The weight quantiser and its gradient, each in two passes over the weights.

use rayon::prelude::*;

/// Weights that one task takes at a time.
const CHUNK: usize = 1 << 14;

/// What a weight tensor is scaled by: `E = mean|W|` and `max|tanh W|`, the latter at least `smallest`.
#[derive(Clone, Copy, Debug)]
pub struct WeightScale {
    /// `mean|W|`.
    pub mean: f32,
    /// `max|tanh W|`.
    pub peak: f32,
    /// Whether the largest magnitude was under the smallest that is divided by.
    pub flat: bool,
}

impl WeightScale {
    /// Of `weight`.
    pub fn of(weight: &[f32], smallest: f32) -> Self {
        let (sum, max) = weight
            .par_chunks(CHUNK)
            .map(|chunk| {
                chunk.iter().fold((0.0, 0.0f32), |(sum, max), w| {
                    (sum + f64::from(w.abs()), max.max(w.abs()))
                })
            })
            .collect::<Vec<_>>()
            .into_iter()
            .fold((0.0, 0.0f32), |(sum, max), (s, m)| (sum + s, max.max(m)));
        // tanh rises, so its largest magnitude is that of the largest weight.
        let peak = max.tanh();
        Self {
            mean: (sum / weight.len() as f64) as f32,
            peak: peak.max(smallest),
            flat: peak < smallest,
        }
    }
}

/// `E * (2 * round(t * levels) / levels - 1)`, `t = tanh(W) / (2 * max|tanh W|) + 1/2`; not rounded without `levels`.
pub fn quantize_weight(weight: &[f32], scale: WeightScale, levels: Option<u32>, out: &mut [f32]) {
    out.par_chunks_mut(CHUNK)
        .zip(weight.par_chunks(CHUNK))
        .for_each(|(out, weight)| {
            match levels {
                // Which half of the interval a weight falls into shows without its tanh: the two have the same sign,
                // and are equal where they are so small that the sum rounds to 1/2.
                Some(1) => {
                    for (out, w) in out.iter_mut().zip(weight) {
                        let upper = w / scale.peak * 0.5 + 0.5 > 0.5;
                        *out = if upper { scale.mean } else { -scale.mean };
                    }
                }
                _ => {
                    tanh(weight, out);
                    round_chunk(scale, levels, out);
                }
            }
        });
}

/// Of every `tanh W` in `out`, the quantised weight.
#[macerator::with_simd]
fn round_chunk<S: macerator::Simd>(scale: WeightScale, levels: Option<u32>, out: &mut [f32]) {
    let WeightScale { mean, peak, .. } = scale;
    match levels {
        None => {
            for out in out {
                *out = *out / peak * mean;
            }
        }
        Some(levels) => {
            let levels = levels as f32;
            for out in out {
                let code = ((*out / peak * 0.5 + 0.5) * levels).round_ties_even();
                *out = (code / levels * 2.0 - 1.0) * mean;
            }
        }
    }
}

/// The gradient of the weights from that of the quantised ones.
///
/// It passes the rounding as it is, and goes through `tanh` and through its maximum, but not through `E`. Weights that share
/// the largest magnitude share the maximum's gradient evenly, as PyTorch's `max` over a whole tensor has it.
pub fn quantize_weight_backward(weight: &[f32], scale: WeightScale, grad: &[f32], out: &mut [f32]) {
    let WeightScale { mean, peak, flat } = scale;
    // Per chunk: the sum of gradient times tanh, the largest magnitude of tanh, and where it is.
    let sums: Vec<(f64, f32, Vec<usize>)> = out
        .par_chunks_mut(CHUNK)
        .zip(weight.par_chunks(CHUNK).zip(grad.par_chunks(CHUNK)))
        .map(|(out, (weight, grad))| {
            tanh(weight, out);
            let (mut sum, mut largest, mut at) = (0.0, -1.0, Vec::new());
            for (n, (out, grad)) in out.iter_mut().zip(grad).enumerate() {
                let t = *out;
                sum += f64::from(grad * t);
                if t.abs() >= largest {
                    if t.abs() > largest {
                        largest = t.abs();
                        at.clear();
                    }
                    at.push(n);
                }
                *out = grad * mean / peak * (1.0 - t * t);
            }
            (sum, largest, at)
        })
        .collect();
    if flat {
        return;
    }
    let sum: f64 = sums.iter().map(|(sum, ..)| sum).sum();
    let largest = sums
        .iter()
        .fold(-1.0f32, |max, (_, largest, _)| max.max(*largest));
    let at: Vec<usize> = (sums.iter().enumerate())
        .filter(|(_, (_, of_chunk, _))| *of_chunk == largest)
        .flat_map(|(chunk, (.., at))| at.iter().map(move |at| chunk * CHUNK + at))
        .collect();
    let through_peak = -(sum * f64::from(mean) / f64::from(peak) / f64::from(peak)) as f32;
    let share = through_peak / at.len() as f32;
    for at in at {
        out[at] += share * weight[at].signum() * (1.0 - largest * largest);
    }
}

/// `tanh` of every number.
fn tanh(x: &[f32], out: &mut [f32]) {
    let largest = x.iter().fold(0f32, |max, x| max.max(x.abs()));
    if largest <= 1.5 {
        tanh_small(x, out);
    } else {
        for (out, x) in out.iter_mut().zip(x) {
            *out = x.tanh();
        }
    }
}

/// Lambert's continued fraction for `tanh`, seven terms deep: for `|x| <= 1.5` it is right to 1e-8, below what an `f32`
/// resolves, and it is made of operations that come in vectors.
#[macerator::with_simd]
fn tanh_small<S: macerator::Simd>(x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        let s = x * x;
        let above = x * (135_135.0 + s * (17_325.0 + s * (378.0 + s)));
        let below = 135_135.0 + s * (62_370.0 + s * (3_150.0 + s * 28.0));
        *out = above / below;
    }
}
