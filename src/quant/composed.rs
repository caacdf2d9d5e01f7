//! The operations of this module out of Burn's own: what every device but `flex` computes, and what its kernels are
//! tested against.

use burn::nn::BatchNorm;
use burn::tensor::{
    Tensor,
    activation::relu,
    module,
    ops::{ConvOptions, MaxPoolOptions},
};

use super::{Activation, Bits};
use crate::quant::activation::Kind;
use crate::quant::ste::{quantize, straight_through};

/// The smallest `max|tanh W|` that a weight tensor is scaled by. Below it the tensor counts as all zero: dividing by
/// it, or by its square in the backward pass, stays finite in f32.
pub(super) const SMALLEST_PEAK: f64 = 1e-15;

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

/// As [`conv2d`](super::conv2d).
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<4> {
    module::conv2d(x, weight, bias, ConvOptions::new(stride, padding, [1, 1], 1))
}

/// As [`norm_pool_act`](super::norm_pool_act).
pub fn norm_pool_act(x: Tensor<4>, norm: Option<&BatchNorm>, pool: bool, act: &Activation) -> Tensor<4> {
    let x = match norm {
        Some(norm) => norm.forward(x),
        None => x,
    };
    let x = if pool {
        module::max_pool2d(x, MaxPoolOptions::new([2, 2]))
    } else {
        x
    };
    activate(x, act)
}

/// As [`Activation::forward`].
pub fn activate<const D: usize>(x: Tensor<D>, act: &Activation) -> Tensor<D> {
    match act.kind {
        Kind::Identity => x,
        Kind::Relu => relu(x),
        Kind::Clamp => x.clamp(0.0, 1.0),
        Kind::Quantized(bits) => quantize_activation(x, bits),
    }
}
