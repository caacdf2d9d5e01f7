//! The sum of two values, then an activation, in one pass, and its gradient.

use macerator::Simd;
use rayon::prelude::*;

use super::norm::{Act, Function, with_function};

/// Numbers that one task takes at a time.
const CHUNK: usize = 1 << 14;

/// Writes `act(a + b)` and, where `passes` has a place for each number, whether a gradient passes the activation there.
pub(super) fn forward(act: Act, a: &[f32], b: &[f32], out: &mut [f32], passes: Option<&mut [u8]>) {
    let chunks = out
        .par_chunks_mut(CHUNK)
        .zip(a.par_chunks(CHUNK))
        .zip(b.par_chunks(CHUNK));
    match passes {
        None => chunks.for_each(|((out, a), b)| sum(act, a, b, out)),
        Some(passes) => chunks
            .zip(passes.par_chunks_mut(CHUNK))
            .for_each(|(((out, a), b), passes)| {
                sum(act, a, b, out);
                passing(act, a, b, passes);
            }),
    }
}

#[macerator::with_simd]
fn sum<S: Simd>(act: Act, a: &[f32], b: &[f32], out: &mut [f32]) {
    with_function!(act, sum_with(a, b, out));
}

#[inline(always)]
fn sum_with(a: &[f32], b: &[f32], out: &mut [f32], act: impl Function) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = act.value(a + b);
    }
}

#[macerator::with_simd]
fn passing<S: Simd>(act: Act, a: &[f32], b: &[f32], passes: &mut [u8]) {
    with_function!(act, passing_with(a, b, passes));
}

#[inline(always)]
fn passing_with(a: &[f32], b: &[f32], passes: &mut [u8], act: impl Function) {
    for ((passes, a), b) in passes.iter_mut().zip(a).zip(b) {
        *passes = u8::from(act.passes(a + b));
    }
}

/// The gradient of either value from that of the output, `dy`.
pub(super) fn backward(passes: &[u8], dy: &[f32], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK)
        .zip(dy.par_chunks(CHUNK))
        .zip(passes.par_chunks(CHUNK))
        .for_each(|((dx, dy), passes)| passed(passes, dy, dx));
}

#[macerator::with_simd]
fn passed<S: Simd>(passes: &[u8], dy: &[f32], dx: &mut [f32]) {
    for ((dx, dy), passes) in dx.iter_mut().zip(dy).zip(passes) {
        *dx = if *passes == 0 { 0.0 } else { *dy };
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution, Tensor};

    use crate::quant::Activation;

    #[test]
    fn sums_and_their_gradients_are_those_of_single_operations() {
        let device = Device::flex();
        device.seed(7);
        let device = device.autodiff();
        let shape = [3, 20, 9, 11];
        let random = || Tensor::<4>::random(shape, Distribution::Uniform(-5.0, 5.0), &device).require_grad();
        // As kernels leave feature maps.
        let last = |x: &Tensor<4>| {
            let inner = x.clone().permute([0, 2, 3, 1]) * 1.0;
            inner.permute([0, 3, 1, 2])
        };
        let acts = [
            Activation::identity(),
            Activation::relu(),
            Activation::relu6(),
            Activation::clamp(),
        ];
        for act in acts {
            let (a, b) = (random(), random());
            // Half of the numbers meet the ends of the activations.
            let a = Tensor::cat(vec![a.clone().narrow(0, 0, 1), a.narrow(0, 1, 2).round()], 0)
                .detach()
                .require_grad();
            let b = Tensor::cat(vec![b.clone().narrow(0, 0, 1), b.narrow(0, 1, 2).round()], 0)
                .detach()
                .require_grad();
            let weights = random().detach();
            let found = crate::kernels::sum_act(last(&a), last(&b), (&act).into());
            let expected = act.forward(a.clone() + b.clone());
            assert_eq!(found.to_data(), expected.to_data(), "{act:?}");
            let gradients = |y: Tensor<4>| {
                let grads = (y * weights.clone()).sum().backward();
                [&a, &b].map(|x| x.grad(&grads).unwrap().into_data())
            };
            assert_eq!(gradients(found), gradients(expected), "{act:?}");
            let inner = |x: &Tensor<4>| x.clone().inner();
            let found = crate::kernels::sum_act(inner(&a), last(&b).inner(), (&act).into());
            assert_eq!(
                found.into_data(),
                act.forward(inner(&a) + inner(&b)).into_data(),
                "{act:?}"
            );
            // What is no number stays none.
            let none = inner(&a) * f32::NAN;
            let found: Vec<f32> = crate::kernels::sum_act(none, inner(&b), (&act).into())
                .into_data()
                .iter()
                .collect();
            assert!(found.iter().all(|value| value.is_nan()), "{act:?}");
        }
    }
}
