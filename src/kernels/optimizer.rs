//! A step of Adam in one pass over a parameter.

use rayon::prelude::*;

/// Numbers that one task takes at a time.
const CHUNK: usize = 1 << 14;

/// What a step of Adam is given besides the tensors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamStep {
    /// Decay of the mean of the gradient and of its square.
    pub beta: [f32; 2],
    /// Learning rate, corrected for the bias of both means.
    pub rate: f32,
    /// Added to the root of the mean square.
    pub epsilon: f32,
}

/// Parameter, mean and mean square, before or after a step.
pub(super) type Moments<T> = [T; 3];

/// Writes what the step makes of `before` to `after`.
pub(super) fn adam(step: AdamStep, before: Moments<&[f32]>, grad: &[f32], after: Moments<&mut [f32]>) {
    let [weight, mean, square] = before.map(|numbers| numbers.par_chunks(CHUNK));
    let [to_weight, to_mean, to_square] = after.map(|numbers| numbers.par_chunks_mut(CHUNK));
    (
        to_weight,
        to_mean,
        to_square,
        weight,
        mean,
        square,
        grad.par_chunks(CHUNK),
    )
        .into_par_iter()
        .for_each(|(to_weight, to_mean, to_square, weight, mean, square, grad)| {
            adam_chunk(
                step,
                [weight, mean, square],
                grad,
                [to_weight, to_mean, to_square],
            );
        });
}

#[macerator::with_simd]
fn adam_chunk<'a, S: macerator::Simd>(
    step: AdamStep,
    before: Moments<&'a [f32]>,
    grad: &[f32],
    after: Moments<&'a mut [f32]>,
) {
    let ([weight, mean, square], [to_weight, to_mean, to_square]) = (before, after);
    let [beta_1, beta_2] = step.beta;
    let before = weight.iter().zip(mean).zip(square).zip(grad);
    let after = to_weight.iter_mut().zip(to_mean).zip(to_square);
    for (((to_weight, to_mean), to_square), (((weight, mean), square), grad)) in after.zip(before) {
        *to_mean = mean * beta_1 + grad * (1.0 - beta_1);
        *to_square = square * beta_2 + grad * grad * (1.0 - beta_2);
        *to_weight = weight - *to_mean / (to_square.sqrt() + step.epsilon) * step.rate;
    }
}
