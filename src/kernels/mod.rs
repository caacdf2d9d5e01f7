//! The work of a training step on the CPU, as kernels of our own: convolutions, the weight quantiser, and batch norm,
//! pool and activation in one.
//!
//! Feature maps lie channels last in memory from one kernel to the next, whatever order their shape says; a tensor in
//! another layout is read as it lies. Every result is the same on any number of threads.
//!
//! ```text
//! buffer     memory that is used again
//! tile       two register tiles, in the machine's own vectors
//! conv       convolution and its gradients, over tiles
//! depthwise  convolutions whose every channel has a kernel of its own
//! grouped    convolutions in groups of channels
//! integer    the forward pass of quantised convolutions, on bytes
//! norm       batch norm, 2x2 max-pool and activation
//! sum        a sum and activation
//! dropout    dropout
//! weight     the weight quantiser
//! multiples  rounding to multiples of a learned step
//! optimizer  a step of Adam
//! extension  all of them as operations of Burn's `flex` backend
//! ```

// `with_simd` compiles a function once per instruction set, told apart by a type parameter that plain loops, which the
// compiler turns into vectors by itself, have no use for.
#![allow(clippy::extra_unused_type_parameters)]

mod buffer;
mod conv;
mod depthwise;
mod dropout;
mod extension;
mod grouped;
mod integer;
mod multiples;
mod norm;
mod optimizer;
mod pictures;
mod shape;
mod sum;
mod tile;
mod weight;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Dispatch, DispatchTensorKind, Flex};
use burn::nn::BatchNorm;
use burn::tensor::{DType, Distribution, Int, Tensor};

use dropout::DropoutMask;
pub(crate) use extension::ConvSteps;
use extension::{ConstantOps, KernelOps, PoolAct, QuantSteps, WeightLevels};
pub(crate) use integer::{Grid, Grids, Units};
pub(crate) use multiples::Multiples;
pub(crate) use norm::Act;
pub(crate) use optimizer::AdamStep;

/// Whether a tensor is one that the kernels compute on: 32-bit floats on the `flex` device.
pub(crate) fn apply_to<const D: usize>(x: &Tensor<D>) -> bool {
    if x.dtype() != DType::F32 {
        return false;
    }
    match x.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(_) => true,
        DispatchTensorKind::Autodiff(kind) => matches!(*kind, DispatchTensorKind::Flex(_)),
        #[allow(unreachable_patterns)]
        _ => false,
    }
}

/// Whether the channels of feature maps lie last in memory, as the kernels leave them, and not where their shape says.
pub(crate) fn are_channels_last(x: &Tensor<4>) -> bool {
    if !apply_to(x) {
        return false;
    }
    let x = match x.clone().into_dispatch().kind {
        DispatchTensorKind::Flex(x) => x.float(),
        DispatchTensorKind::Autodiff(kind) => match *kind {
            DispatchTensorKind::Flex(x) => x.autodiff_inner(),
            #[allow(unreachable_patterns)]
            _ => return false,
        },
        #[allow(unreachable_patterns)]
        _ => return false,
    };
    !x.layout().is_contiguous() && extension::is_channels_last(&x)
}

/// A convolution: on integers where `grids` say what the numbers were rounded to, and they were.
pub(crate) fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    steps: ConvSteps,
    grids: Option<Grids>,
) -> Tensor<4> {
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        None => Dispatch::kernel_conv2d(x, weight, steps, grids),
        Some(bias) => Dispatch::kernel_conv2d_bias(x, weight, bias.into_dispatch(), steps, grids),
    })
}

/// A convolution with latent weights that are quantised first, to the codes of `grids`, on activations that were.
pub(crate) fn quant_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    stride: [usize; 2],
    padding: [usize; 2],
    grids: Grids,
    smallest: f32,
) -> Tensor<4> {
    let levels = Some(grids.weight[1].unsigned_abs());
    let steps = QuantSteps {
        steps: ConvSteps::whole(stride, padding),
        weight: WeightLevels { levels, smallest },
        grids,
    };
    Tensor::from_dispatch(Dispatch::kernel_quant_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        steps,
    ))
}

/// A convolution with bias, a 2x2 max-pool and an activation.
pub(crate) fn conv2d_pool(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: [usize; 2],
    padding: [usize; 2],
    act: Act,
) -> Tensor<4> {
    let steps = ConvSteps::whole(stride, padding);
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_conv2d_pool(x, weight, bias, steps, act))
}

/// Quantised weights.
pub(crate) fn quantize_weight<const D: usize>(
    weight: Tensor<D>,
    levels: Option<u32>,
    smallest: f32,
) -> Tensor<D> {
    let levels = WeightLevels { levels, smallest };
    Tensor::from_dispatch(Dispatch::kernel_quantize_weight(weight.into_dispatch(), levels))
}

/// As [`quantize_weight`], of the tensor of the `flex` device itself.
pub(crate) fn quantized(weight: FloatTensor<Flex>, levels: Option<u32>, smallest: f32) -> FloatTensor<Flex> {
    Flex::kernel_quantize_weight(weight, WeightLevels { levels, smallest })
}

/// Multiples of `step`, `[1]`, which is above zero.
pub(crate) fn multiples<const D: usize>(x: Tensor<D>, step: Tensor<1>, codes: Multiples) -> Tensor<D> {
    let (x, step) = (x.into_dispatch(), step.into_dispatch());
    Tensor::from_dispatch(Dispatch::kernel_multiples(x, step, codes))
}

/// The activation of `a + b`, which have the same shape.
pub(crate) fn sum_act(a: Tensor<4>, b: Tensor<4>, act: Act) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::kernel_sum_act(
        a.into_dispatch(),
        b.into_dispatch(),
        act,
    ))
}

/// A 2x2 max-pool where wanted, then an activation.
pub(crate) fn pool_act(x: Tensor<4>, pool: bool, act: Act) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::kernel_pool_act(
        x.into_dispatch(),
        PoolAct { pool, act },
    ))
}

/// A batch norm in training, which moves its running statistics, a 2x2 max-pool where wanted, then an activation.
pub(crate) fn norm_pool_act(x: Tensor<4>, norm: &BatchNorm, pool: bool, act: Act) -> Tensor<4> {
    let (output, mean, variance) = Dispatch::kernel_norm_pool_act(
        x.into_dispatch(),
        norm.gamma.val().into_dispatch(),
        norm.beta.val().into_dispatch(),
        norm.epsilon,
        PoolAct { pool, act },
    );
    for (state, now) in [(&norm.running_mean, mean), (&norm.running_var, variance)] {
        let now = Tensor::<1>::from_dispatch(now).detach();
        let before = state.value_sync().to_device(&now.device());
        state.update((before * (1.0 - norm.momentum) + now * norm.momentum).detach());
    }
    Tensor::from_dispatch(output)
}

/// A batch norm with its running statistics, without a gradient, a 2x2 max-pool where wanted, then an activation.
pub(crate) fn fixed_norm_pool_act(x: Tensor<4>, norm: &BatchNorm, pool: bool, act: Act) -> Tensor<4> {
    let vectors = [
        norm.gamma.val(),
        norm.beta.val(),
        norm.running_mean.value(),
        norm.running_var.value(),
    ];
    let [gamma, beta, mean, variance] = vectors.map(Tensor::into_dispatch);
    let pool_act = PoolAct { pool, act };
    let x = x.into_dispatch();
    Tensor::from_dispatch(Dispatch::kernel_fixed_norm_pool_act(
        x,
        gamma,
        beta,
        mean,
        variance,
        norm.epsilon,
        pool_act,
    ))
}

/// Dropout that keeps a share of `keep`. The device's random numbers decide which.
pub(crate) fn dropout(x: Tensor<4>, keep: f64) -> Tensor<4> {
    let bits = Tensor::<1, Int>::random([4], Distribution::Uniform(0.0, 65536.0), &x.device());
    let seed = bits
        .into_data()
        .iter::<u64>()
        .fold(0, |seed, bits| (seed << 16) | (bits & 0xFFFF));
    Tensor::from_dispatch(Dispatch::kernel_dropout(
        x.into_dispatch(),
        DropoutMask { seed, keep },
    ))
}

/// A parameter, the mean of its gradient and that of its square, after a step of Adam.
pub(crate) fn adam<const D: usize>(
    step: AdamStep,
    parameter: Tensor<D>,
    grad: Tensor<D>,
    mean: Tensor<D>,
    square: Tensor<D>,
) -> (Tensor<D>, Tensor<D>, Tensor<D>) {
    let [parameter, grad, mean, square] = [parameter, grad, mean, square].map(Tensor::into_dispatch);
    let (parameter, mean, square) = Dispatch::kernel_adam(parameter, grad, mean, square, step);
    (
        Tensor::from_dispatch(parameter),
        Tensor::from_dispatch(mean),
        Tensor::from_dispatch(square),
    )
}
