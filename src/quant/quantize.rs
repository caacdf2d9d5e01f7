//! The DoReFa quantisers of weights and activations: by kernels of this crate on `flex`, elsewhere as
//! [`composed`](super::composed) has them.

use burn::tensor::Tensor;

use super::{Bits, composed};

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
    #[cfg(feature = "flex")]
    if let Some(recorded) = crate::module::recorded::quantize_weight(&weight, bits.levels()) {
        return recorded;
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
