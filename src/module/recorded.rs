//! Operations of this crate as they stand in its own recordings: under their names, with what decides their roundings.
//!
//! On a device, a convolution, a batch norm or a quantiser of this crate is a kernel of its own, or is put together of Burn's
//! operations. A recording that showed the latter would not say which numbers the network computes.

// Only `flex` has kernels of this crate.
#![cfg_attr(not(feature = "flex"), allow(dead_code))]

use std::cell::Cell;

use burn::backend::Capture;
use burn::backend::tensor::FloatTensor;
use burn::nn::BatchNorm;
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;
use burn_ir::{
    BatchNormOpIr, Conv2dOpIr, Conv2dOptionsIr, CustomOpIr, ModuleOperationIr, OperationIr, ScalarIr,
    TensorIr,
};
use burn_router::RouterClient;

thread_local! {
    static RECORDS: Cell<bool> = const { Cell::new(false) };
}

/// What `forward` returns. What it computes on the recording device is recorded under these names.
pub(super) fn under_names<T>(forward: impl FnOnce() -> T) -> T {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            RECORDS.set(self.0);
        }
    }
    let _before = Before(RECORDS.replace(true));
    forward()
}

/// [`quant::conv2d`](crate::quant::conv2d), with codes where their largest numbers are given.
const CONV2D: &str = "vwc_sdk::conv2d";
/// A batch norm in evaluation, as [`quant::norm_pool_act`](crate::quant::norm_pool_act) computes it.
const BATCH_NORM: &str = "vwc_sdk::batch_norm";
/// [`quant::quantize_weight`](crate::quant::quantize_weight).
pub(crate) const QUANTIZE_WEIGHT: &str = "vwc_sdk::quantize_weight";

/// How an operation of this crate that is recorded as one of Burn's is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ours {
    /// A convolution by `quant::conv2d`.
    Conv,
    /// A convolution of codes, by the largest of weights and inputs.
    Codes { weight: u32, input: u32 },
    /// A batch norm that multiplies by `1 / sqrt(variance + epsilon) * gamma`.
    Norm,
}

/// A convolution, where a recording wants it: the same arguments as that of `quant`.
pub(crate) fn conv2d(
    x: &Tensor<4>,
    weight: &Tensor<4>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<2>,
    levels: Option<[u32; 2]>,
) -> Option<Tensor<4>> {
    let mut inputs = vec![on_recorder(x)?, on_recorder(weight)?];
    if let Some(bias) = bias {
        inputs.push(on_recorder(bias)?);
    }
    let size = |axis: usize| {
        let (before, behind) = options.padding[axis];
        let span = options.dilation[axis] * (weight.dims()[2 + axis] - 1) + 1;
        let steps = (before + x.dims()[2 + axis] + behind).checked_sub(span)?;
        Some(steps / options.stride[axis] + 1)
    };
    let shape = vec![x.dims()[0], weight.dims()[0], size(0)?, size(1)?];
    let [weight_levels, input_levels] = levels.unwrap_or_default();
    let [down, across] = options.stride;
    let [(top, bottom), (left, right)] = options.padding;
    let [apart_down, apart_across] = options.dilation;
    let numbers = [
        down,
        across,
        top,
        bottom,
        left,
        right,
        apart_down,
        apart_across,
        weight_levels as usize,
        input_levels as usize,
        options.groups,
    ];
    let scalars = numbers.map(|number| ScalarIr::UInt(number as u64)).to_vec();
    record(CONV2D, inputs, shape, scalars)
}

/// A batch norm in evaluation, where a recording wants it.
pub(crate) fn batch_norm(x: &Tensor<4>, norm: &BatchNorm) -> Option<Tensor<4>> {
    let x = on_recorder(x)?;
    let device = norm.gamma.val().device();
    let [mean, variance] =
        [&norm.running_mean, &norm.running_var].map(|state| state.value().to_device(&device));
    let vectors = [norm.gamma.val(), norm.beta.val(), mean, variance];
    let shape = burn::backend::TensorMetadata::shape(&x).to_vec();
    let mut inputs = vec![x];
    for vector in &vectors {
        inputs.push(on_recorder(vector)?);
    }
    record(BATCH_NORM, inputs, shape, vec![ScalarIr::Float(norm.epsilon)])
}

/// Quantised weights, where a recording wants them: `levels` as the kernel takes them, 0 for none.
#[cfg(feature = "flex")]
pub(crate) fn quantize_weight<const D: usize>(weight: &Tensor<D>, levels: Option<u32>) -> Option<Tensor<D>> {
    let inputs = vec![on_recorder(weight)?];
    let levels = ScalarIr::UInt(levels.unwrap_or(0).into());
    record(QUANTIZE_WEIGHT, inputs, weight.dims().to_vec(), vec![levels])
}

type Recorded = FloatTensor<Capture>;

/// A tensor on the device that records, while this crate records.
fn on_recorder<const D: usize>(x: &Tensor<D>) -> Option<Recorded> {
    if !RECORDS.get() {
        return None;
    }
    x.clone().try_into_primitive::<Capture>().ok()
}

fn record<const D: usize>(
    name: &'static str,
    inputs: Vec<Recorded>,
    shape: Vec<usize>,
    scalars: Vec<ScalarIr>,
) -> Option<Tensor<D>> {
    let (client, dtype) = (
        inputs[0].client.clone(),
        burn::backend::TensorMetadata::dtype(&inputs[0]),
    );
    let inputs: Vec<TensorIr> = inputs.into_iter().map(Recorded::into_ir).collect();
    let out = TensorIr::uninit(client.create_empty_handle(), shape.into(), dtype);
    let operation = CustomOpIr::with_scalars(name, &inputs, &[out], scalars);
    let out = client.register(OperationIr::Custom(operation)).pop()?;
    Some(Tensor::from_primitive::<Capture>(out))
}

/// One of these operations as Burn's, and how it is computed. Quantised weights stay as they are.
pub(super) fn as_burn(operation: OperationIr) -> (OperationIr, Option<Ours>) {
    let OperationIr::Custom(custom) = &operation else {
        return (operation, None);
    };
    let number = |n: usize| custom.scalars[n].elem::<u64>() as usize;
    let module = match custom.id.as_str() {
        CONV2D => {
            let ours = match [number(8) as u32, number(9) as u32] {
                [0, 0] => Ours::Conv,
                [weight, input] => Ours::Codes { weight, input },
            };
            let op = Conv2dOpIr {
                x: custom.inputs[0].clone(),
                weight: custom.inputs[1].clone(),
                bias: custom.inputs.get(2).cloned(),
                options: Conv2dOptionsIr {
                    stride: [number(0), number(1)],
                    padding: [(number(2), number(3)), (number(4), number(5))],
                    dilation: [number(6), number(7)],
                    groups: number(10),
                },
                out: custom.outputs[0].clone(),
            };
            (ModuleOperationIr::Conv2d(op), ours)
        }
        BATCH_NORM => {
            let [x, gamma, beta, mean, variance] = [0, 1, 2, 3, 4].map(|n| custom.inputs[n].clone());
            let op = BatchNormOpIr {
                x,
                gamma,
                beta,
                mean,
                variance,
                epsilon: custom.scalars[0],
                out: custom.outputs[0].clone(),
            };
            (ModuleOperationIr::BatchNorm(op), Ours::Norm)
        }
        _ => return (operation, None),
    };
    (OperationIr::Module(module.0), Some(module.1))
}
