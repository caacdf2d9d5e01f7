//! The quantisers out of Burn's own operations: what every device but `flex` computes, and what its kernels are tested
//! against. [`composed_block`](super::composed_block) has the layers.

use burn::tensor::{Tensor, activation::relu};

use super::Bits;
use super::range::Range;

/// `value` on the way forward, the gradient of `x` on the way back.
///
/// `x - x` is an exact zero, so the value is not disturbed by a rounding error as it would be in
/// `x + (value - x)`: a 1-bit activation is exactly 0 or 1.
pub(crate) fn straight_through<const D: usize>(x: Tensor<D>, value: Tensor<D>) -> Tensor<D> {
    value.detach() + (x.clone() - x.detach())
}

/// Rounds the unit interval to `2^k` equally spaced values: `round(x * (2^k - 1)) / (2^k - 1)`, half to even.
///
/// The gradient is 1 everywhere (straight-through). At 32 bits `x` is returned as it is.
/// DoReFa-Net (Zhou et al., 2016), equation 5. Any shape.
pub fn quantize<const D: usize>(x: Tensor<D>, bits: Bits) -> Tensor<D> {
    let Some(levels) = bits.levels() else {
        return x;
    };
    let value = match levels {
        1 => x.clone().detach().round(),
        levels => (x.clone().detach() * levels as f32).round() / levels as f32,
    };
    straight_through(x, value)
}

/// The smallest `max|tanh W|` that a weight tensor is scaled by. Below it the tensor counts as all zero: dividing by
/// it, or by its square in the backward pass, stays finite in f32.
pub(crate) const SMALLEST_PEAK: f64 = 1e-15;

/// As [`quantize_weight`](super::quantize_weight).
pub fn quantize_weight<const D: usize>(weight: Tensor<D>, bits: Bits) -> Tensor<D> {
    let scale = weight.clone().detach().abs().mean();
    let tanh = weight.tanh();
    let peak = largest(tanh.clone().abs()).clamp_min(SMALLEST_PEAK);
    let unit = tanh / peak.reshape([1; D]);
    let signed = match bits.levels() {
        None => unit,
        Some(_) => quantize(unit * 0.5 + 0.5, bits) * 2.0 - 1.0,
    };
    signed * scale.reshape([1; D])
}

/// The largest of `x`, `[1]`, with a gradient that is shared evenly by all that are as large. Burn's own goes to one of them
/// alone.
fn largest<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let value = x.clone().detach().max();
    if !x.is_autodiff() {
        return value;
    }
    let shares = x.clone().detach().equal(value.clone().reshape([1; D])).float();
    let count = shares.clone().sum();
    straight_through((x * shares).sum() / count, value)
}

/// As [`quantize_activation`](super::quantize_activation).
pub fn quantize_activation<const D: usize>(x: Tensor<D>, bits: Bits) -> Tensor<D> {
    match bits.levels() {
        None => relu(x),
        Some(_) => quantize(x.clamp(0.0, 1.0), bits),
    }
}

/// `step * round(clamp(x / step, lowest, highest))`, half to even; with codes from -1 to 1 `step` times the sign. `step`: `[1]`, above
/// zero. Any shape.
///
/// The gradient of `x` is 1 within the range and 0 outside; that of `step` is `round(v) - v` within, with `v = x / step`, and the
/// range's end outside, summed up and times `share`. LSQ (Esser et al., 2020, arXiv 1902.08153), equations 1 to 3.
pub fn multiples<const D: usize>(
    x: Tensor<D>,
    step: Tensor<1>,
    [lowest, highest]: [f32; 2],
    share: f32,
) -> Tensor<D> {
    let codes = Range {
        ends: [lowest, highest],
        signs: [lowest, highest] == [-1.0, 1.0],
    };
    multiples_of(x, step.reshape([1; D]), codes, share)
}

/// As [`multiples`], with steps for some of the dimensions.
pub(super) fn multiples_of<const D: usize>(
    x: Tensor<D>,
    step: Tensor<D>,
    codes: Range,
    share: f32,
) -> Tensor<D> {
    // The step itself, with a gradient that is so much smaller.
    let step = if step.is_autodiff() {
        straight_through(step.clone() * share, step)
    } else {
        step
    };
    let unit = x / step.clone();
    let whole = if codes.signs {
        sign(unit)
    } else {
        let [lowest, highest] = codes.ends;
        let unit = unit.clamp(lowest, highest);
        let rounded = unit.clone().round();
        straight_through(unit, rounded)
    };
    whole * step
}

/// `step` times the nearest of the whole numbers from `round(offset / step)`, at most zero, to `levels` above it. `step` and `offset`:
/// `[1]`, the former above zero. Any shape.
///
/// The gradients of `x` and `step` are those of [`multiples`], that of `offset` is 1 outside the range and 0 within, and both sums are
/// times `share`. LSQ+ (Bhalgat et al., 2020, arXiv 2004.09576), equations 1 to 5, with an offset of whole steps.
pub fn multiples_from<const D: usize>(
    x: Tensor<D>,
    step: Tensor<1>,
    offset: Tensor<1>,
    levels: u32,
    share: f32,
) -> Tensor<D> {
    let shared = |number: Tensor<1>| match number.is_autodiff() {
        true => straight_through(number.clone() * share, number),
        false => number,
    };
    let (step, offset) = (shared(step), shared(offset));
    let lowest = offset / step.clone();
    let whole = lowest.clone().detach().round().clamp(-f64::from(levels), 0.0);
    let lowest = straight_through(lowest, whole).reshape([1; D]);
    let step = step.reshape([1; D]);
    let quotient = x / step.clone();
    let unit = (quotient.clone() - lowest.clone()).clamp(0.0, f64::from(levels));
    // Rounded before the lowest code is taken off, as ONNX has it with a zero point.
    let codes = quotient.detach().round() - lowest.clone().detach();
    let codes = codes.clamp(0.0, f64::from(levels));
    (straight_through(unit, codes) + lowest) * step
}

/// The means along all dimensions but `filters`, which become 1 long.
pub(super) fn mean_of_filters<const D: usize>(mut x: Tensor<D>, filters: usize) -> Tensor<D> {
    for axis in (0..D).filter(|&axis| axis != filters) {
        x = x.mean_dim(axis);
    }
    x
}

/// The part of the mean magnitude from which on a ternary weight is not zero.
const TERNARY_THRESHOLD: f32 = 0.7;

/// As [`WeightQuantizer::Ternary`](super::WeightQuantizer::Ternary).
pub fn ternary<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    let latent = weight.clone().detach();
    let magnitude = latent.clone().abs();
    let threshold = (magnitude.clone().mean() * TERNARY_THRESHOLD).clamp_min(SMALLEST_PEAK);
    // 1 from the threshold on, without a comparison: see `sign`.
    let kept = (magnitude.clone() / threshold.reshape([1; D]))
        .floor()
        .clamp(0.0, 1.0);
    let count = kept.clone().sum().clamp_min(1.0);
    let scale = (magnitude * kept.clone()).sum() / count;
    straight_through(weight, sign(latent) * kept * scale.reshape([1; D]))
}

/// As [`WeightQuantizer::AbsMean`](super::WeightQuantizer::AbsMean).
pub fn abs_mean<const D: usize>(weight: Tensor<D>) -> Tensor<D> {
    let latent = weight.clone().detach();
    let scale = latent
        .clone()
        .abs()
        .mean()
        .clamp_min(SMALLEST_PEAK)
        .reshape([1; D]);
    let codes = (latent / scale.clone()).clamp(-1.0, 1.0).round();
    straight_through(weight, codes * scale)
}

/// -1 or 1, with the gradient of a clamp.
pub(super) fn sign<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    // Without a comparison, which graphs have no node for: 0 and 1 of what is below zero and what is not.
    let value = x.clone().detach().floor().clamp(-1.0, 0.0) * 2.0 + 1.0;
    straight_through(x.clamp(-1.0, 1.0), value)
}
