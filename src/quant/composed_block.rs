//! A convolution and what follows it out of Burn's own operations: what every device but `flex` computes, and what its
//! kernels are tested against.

use burn::nn::BatchNorm;
use burn::tensor::{
    Tensor, module,
    ops::{ConvOptions, MaxPoolOptions},
};

use super::Activation;

/// As [`conv2d`](super::conv2d).
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<4> {
    grouped_conv2d(x, weight, bias, stride, padding, 1)
}

/// As [`grouped_conv2d`](super::grouped_conv2d).
pub fn grouped_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
) -> Tensor<4> {
    conv2d_with(
        x,
        weight,
        bias,
        &ConvOptions::new(stride, padding, [1, 1], groups),
    )
}

/// As [`conv2d_with`](super::conv2d_with).
pub fn conv2d_with(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: &ConvOptions<2>,
) -> Tensor<4> {
    module::conv2d(x, weight, bias, options.clone())
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
    act.forward(x)
}
