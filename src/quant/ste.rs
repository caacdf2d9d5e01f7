use burn::tensor::Tensor;

use super::{Bits, composed};

/// `value` on the way forward, the gradient of `x` on the way back.
///
/// `x - x` is an exact zero, so the value is not disturbed by a rounding error as it would be in
/// `x + (value - x)`: a 1-bit activation is exactly 0 or 1.
pub(super) fn straight_through<const D: usize>(x: Tensor<D>, value: Tensor<D>) -> Tensor<D> {
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

/// Quantises weights: `E * (2 * quantize(t) - 1)` with `t = tanh(W) / (2 * max|tanh W|) + 1/2` and `E = mean|W|`.
///
/// One bit gives `{-E, +E}`; 32 bits give `E * tanh(W) / max|tanh W|`, unrounded. The gradient goes through the
/// rounding as 1, through `tanh` and its maximum as they are, and not through `E`.
/// DoReFa-Net (Zhou et al., 2016), equation 9, with the scale `E` of its equation 7 at every bit width.
///
/// Weights that share the largest magnitude share the gradient of the maximum evenly, as with PyTorch's `torch.max` over
/// a whole tensor, which DoReFa-Net is usually written with. So the gradient does not depend on the order of the weights,
/// and weights that are all the same and receive the same gradient receive zero.
///
/// Weights that are all zero give zeros and a gradient of zero: a tensor whose largest magnitude is under 1e-15 is treated
/// as zero. Any shape.
pub fn quantize_weight<const D: usize>(weight: Tensor<D>, bits: Bits) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if crate::kernels::apply_to(&weight) {
        return crate::kernels::quantize_weight(weight, bits.levels(), composed::SMALLEST_PEAK as f32);
    }
    composed::quantize_weight(weight, bits)
}

/// Quantises activations: `quantize(clamp(x, 0, 1))`; at 32 bits a ReLU.
///
/// The gradient is 1 inside the unit interval, its ends included, and 0 outside.
/// DoReFa-Net (Zhou et al., 2016), equation 11 and section 2.5. Any shape.
pub fn quantize_activation<const D: usize>(x: Tensor<D>, bits: Bits) -> Tensor<D> {
    composed::quantize_activation(x, bits)
}
