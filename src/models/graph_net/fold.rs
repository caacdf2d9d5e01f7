//! Batch norms folded into the convolutions in front of them: what is quantised are the weights that hardware holds.

use burn::module::{Param, Reparameterization as _};
use burn::nn::BatchNorm;
use burn::tensor::Tensor;

use crate::graph::{self, Affine, Conv, ConvKernel, Node, Op};
use crate::quant::{FakeQuantized, Grids};

/// What a factor of each filter does to the weights, and what is added to each channel.
struct Folded {
    factor: Tensor<1>,
    shift: Tensor<1>,
}

impl Folded {
    /// Of these statistics, `root` being the root of the variance.
    fn new(norm: &BatchNorm, mean: Tensor<1>, root: Tensor<1>) -> Self {
        let factor = norm.gamma.val() / root;
        let shift = norm.beta.val() - factor.clone() * mean;
        Self { factor, shift }
    }
}

fn root(norm: &BatchNorm, variance: Tensor<1>) -> Tensor<1> {
    (variance + norm.epsilon).sqrt()
}

/// What a convolution and the batch norm behind it make of `x`, as one convolution whose weights are quantised after they were
/// multiplied by scale and deviation.
///
/// In evaluation statistics are the running ones. In training weights are multiplied by the running deviation all the same, so that what is
/// quantised does not jump from batch to batch; the result is corrected to the statistics of the batch, which are those of the
/// convolution with latent weights, computed beside it: Krishnamoorthi, 2018, arXiv 1806.08342, section 3.2.2 (before statistics
/// are frozen). Running statistics follow the batches as in [`BatchNorm::forward`].
pub(super) fn conv_norm(
    conv: &Conv,
    weight: &Param<Tensor<4>>,
    bias: Option<Tensor<1>>,
    norm: &BatchNorm,
    x: Tensor<4>,
    grids: Option<Grids>,
) -> Tensor<4> {
    let latent = weight.base();
    let [outputs, ..] = latent.dims();
    let along = |numbers: Tensor<1>| numbers.reshape([1, outputs, 1, 1]);
    let without_bias = Conv {
        bias: None,
        ..conv.clone()
    };
    let convolve = |weight: Tensor<4>, shift: Option<Tensor<1>>, grids: Option<Grids>| {
        let constants: Vec<_> = [Some(weight.into()), shift.map(Into::into)]
            .into_iter()
            .flatten()
            .collect();
        graph::convolution(&without_bias, ConvKernel::Crate, x.clone(), &constants, grids)
    };
    let device = x.device();
    let trains = device.is_autodiff() && norm.training.is_enabled();
    let state = |state: &burn::module::RunningState<Tensor<1>>| match trains {
        true => state.value_sync().to_device(&device),
        false => state.value().to_device(&device),
    };
    let (mean, variance) = (state(&norm.running_mean), state(&norm.running_var));
    let running = root(norm, variance.clone());
    // The convolution's own bias moves the mean alone.
    let own = |mean: Tensor<1>| match &bias {
        Some(bias) => mean - bias.clone(),
        None => mean,
    };
    let fixed = Folded::new(norm, own(mean.clone()), running.clone());
    let folded = latent.clone() * fixed.factor.reshape([outputs, 1, 1, 1]);
    let rounded = match weight.reparameterization::<FakeQuantized>() {
        Some(quantizer) => quantizer.apply(folded),
        None => folded,
    };
    if !trains {
        return convolve(rounded, Some(fixed.shift), grids);
    }
    let plain = convolve(latent, None, None);
    let means = |maps: Tensor<4>| maps.mean_dim(0).mean_dim(2).mean_dim(3);
    let batch_mean = means(plain.clone());
    let batch_variance = means((plain - batch_mean.clone()).powi_scalar(2)).reshape([outputs]);
    let batch_mean = batch_mean.reshape([outputs]);
    let seen = match &bias {
        Some(bias) => batch_mean.clone() + bias.clone(),
        None => batch_mean.clone(),
    };
    for (state, before, now) in [
        (&norm.running_mean, mean, seen),
        (&norm.running_var, variance, batch_variance.clone()),
    ] {
        state.update((before * (1.0 - norm.momentum) + now * norm.momentum).detach());
    }
    let batch_root = root(norm, batch_variance);
    let of_batch = Folded::new(norm, batch_mean, batch_root.clone());
    convolve(rounded, None, grids) * along(running / batch_root) + along(of_batch.shift)
}

/// The epsilon and the channels of a node that is trained as a batch norm.
pub(super) fn as_norm(node: &Node) -> Option<(f32, usize)> {
    let Op::Affine(Affine {
        epsilon: Some(epsilon),
        minus: Some(minus),
        divisor: Some(divisor),
        factor: Some(factor),
        plus: Some(plus),
    }) = node.op()
    else {
        return None;
    };
    let channels: usize = factor.shape().iter().product();
    let each = [minus, divisor, factor, plus]
        .iter()
        .all(|part| part.as_scalar().is_none());
    (each && node.shape().first() == Some(&channels)).then_some((*epsilon, channels))
}

/// What each filter's weights are multiplied by in evaluation.
pub(super) fn factors(norm: &BatchNorm) -> Vec<f32> {
    let root = root(norm, norm.running_var.value());
    let factors = (norm.gamma.val() / root).into_data();
    factors.iter::<f32>().collect()
}
