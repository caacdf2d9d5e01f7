//! A convolution and what follows it, in one pass over the feature maps where the device has kernels of this crate.

use burn::nn::{BatchNorm, Dropout};
use burn::tensor::Tensor;

use super::{Activation, QuantConv2d, composed_block};
#[cfg(feature = "flex")]
use crate::module::recorded;

/// What follows a convolution: a batch norm, a 2x2 max-pool where `pool` says so, and an activation.
///
/// The same as the three modules one after the other, in one pass over the feature maps on `flex`. The batch norm's
/// running statistics move in training, as [`BatchNorm::forward`] moves them. Where several of a 2x2 square are
/// largest, the first, row by row, gets the gradient.
///
/// # Shapes
///
/// - `x`: `[batch, channels, height, width]`
/// - output: the same, or with `pool` half the height and width, rounded down
///
/// # Panics
///
/// Where feature maps of a single row or column are to be pooled.
pub fn norm_pool_act(x: Tensor<4>, norm: Option<&BatchNorm>, pool: bool, act: &Activation) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    assert!(
        !pool || (height >= 2 && width >= 2),
        "a 2x2 pool does not fit feature maps of {height}x{width}"
    );
    #[cfg(feature = "flex")]
    if crate::kernels::apply_to(&x) {
        match norm {
            None => return crate::kernels::pool_act(x, pool, act.into()),
            Some(norm) if x.device().is_autodiff() && norm.training.is_enabled() => {
                return crate::kernels::norm_pool_act(x, norm, pool, act.into());
            }
            Some(norm) if !x.device().is_autodiff() => {
                return crate::kernels::fixed_norm_pool_act(x, norm, pool, act.into());
            }
            // Batch norm with fixed statistics, but in a graph.
            Some(_) => {}
        }
    }
    #[cfg(feature = "flex")]
    if let Some(recorded) = norm.and_then(|norm| recorded::batch_norm(&x, norm)) {
        return composed_block::norm_pool_act(recorded, None, pool, act);
    }
    composed_block::norm_pool_act(x, norm, pool, act)
}

/// A convolution and what follows it: `norm_pool_act(conv.forward(x), norm, pool, act)`.
///
/// On `flex` the feature maps between a convolution with bias and a pool are never kept, nor is their gradient.
///
/// # Panics
///
/// As [`norm_pool_act`].
pub fn conv_norm_pool_act(
    x: Tensor<4>,
    conv: &QuantConv2d,
    norm: Option<&BatchNorm>,
    pool: bool,
    act: &Activation,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let (true, None, Some(bias)) = (pool, norm, &conv.bias)
        && crate::kernels::apply_to(&x)
        && (0..2).all(|d| {
            let padded = x.dims()[2 + d] + 2 * conv.padding[d];
            padded >= conv.weight.dims()[2 + d] + conv.stride[d]
        })
    {
        let weight = conv.quantized_weight();
        return crate::kernels::conv2d_pool(x, weight, bias.val(), conv.stride, conv.padding, act.into());
    }
    norm_pool_act(conv.forward(x), norm, pool, act)
}

/// Dropout of feature maps, of any shape `[batch, channels, height, width]`: what [`Dropout::forward`] does, with a mask
/// of its own on `flex`, where drawing one number at a time takes longer than a convolution.
pub fn dropout(x: Tensor<4>, dropout: &Dropout) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if crate::kernels::apply_to(&x)
        && x.device().is_autodiff()
        && dropout.training.is_enabled()
        && dropout.prob > 0.0
    {
        return crate::kernels::dropout(x, 1.0 - dropout.prob);
    }
    dropout.forward(x)
}
