//! What a node of a network computes: with this crate's kernels where there are some, else as a graph does.
//!
//! The kernels leave feature maps with the channels last in memory. Operations on every number keep that order here: to put numbers
//! into another one costs as much as the operation.

use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use crate::graph::{self, ConvKernel, Op};
use crate::module::any::{self, AnyTensor};
use crate::quant::{Activation, norm_pool_act};

/// What `op` makes of `inputs`, for a batch of so many, with these constants.
pub(super) fn compute(op: &Op, constants: &[AnyTensor], inputs: Vec<AnyTensor>, batch: usize) -> AnyTensor {
    match op {
        Op::Conv(conv) => {
            let x = inputs[0].clone().into_tensor();
            graph::convolution(conv, ConvKernel::Crate, x, constants).into()
        }
        Op::Binary(_) | Op::Affine(_) | Op::Function(_) if inputs.iter().any(are_channels_last) => {
            let last = |values: &[AnyTensor]| -> Vec<AnyTensor> {
                values
                    .iter()
                    .map(|value| value.clone().permute(&[0, 2, 3, 1]))
                    .collect()
            };
            let result = graph::compute(op, &last(constants), last(&inputs), batch);
            result.permute(&[0, 3, 1, 2])
        }
        op => graph::compute(op, constants, inputs, batch),
    }
}

/// What a batch norm makes of its input.
pub(super) fn norm(x: AnyTensor, norm: &BatchNorm) -> AnyTensor {
    struct Forward<'a>(&'a BatchNorm);
    impl any::Function for Forward<'_> {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            self.0.forward(x)
        }
    }
    match x.shape().len() {
        4 => norm_pool_act(x.into_tensor(), Some(norm), false, &Activation::identity()).into(),
        _ => x.map(Forward(norm)),
    }
}

/// Whether a value is feature maps that lie with the channels last in memory.
#[cfg(feature = "flex")]
fn are_channels_last(value: &AnyTensor) -> bool {
    value
        .clone()
        .try_tensor::<4>()
        .is_some_and(|x| crate::kernels::are_channels_last(&x))
}

#[cfg(not(feature = "flex"))]
fn are_channels_last(_: &AnyTensor) -> bool {
    false
}
