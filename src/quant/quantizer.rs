//! How latent weights become those computed with.

use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Bits, LearnedSteps, composed, quantize_weight};

/// How latent weights become those computed with: in a [`QuantConv2d`](super::QuantConv2d) or
/// [`QuantLinear`](super::QuantLinear), and, [`on`](Self::on) any module, through Burn's
/// [`apply_reparameterization`](burn::module::Module::apply_reparameterization).
///
/// ```
/// use burn::module::Module;
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::{Bits, WeightQuantizer};
///
/// let device = Device::default().autodiff();
/// let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let conv = conv.apply_reparameterization(WeightQuantizer::new(Bits::TWO));
/// let output = conv.forward(Tensor::<4>::ones([1, 3, 8, 8], &device));
/// // What training moves is still in full precision, and what an array is given is not.
/// let (latent, quantised) = (conv.weight.base(), conv.clone().materialize().weight.val());
/// # let _ = (output, latent, quantised);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WeightQuantizer {
    /// The weights are used as they are.
    #[default]
    Identity,
    /// [`quantize_weight`] at the given width. 32 bits scale and squash the weights but do not round them.
    Dorefa(Bits),
    /// One bit: the sign, times the mean magnitude of each filter's weights. Zero counts as positive. Filters are along the
    /// last dimension of a matrix, and along the first of anything else; of transposed convolutions, which
    /// [`on`](Self::on) knows, along the second.
    ///
    /// The gradient goes through the sign as 1 where the weight is between -1 and 1, its ends included, and as 0
    /// elsewhere, and through the mean as it is. XNOR-Net (Rastegari et al., 2016, arXiv 1603.05279), sections 3.1 and
    /// 3.2, whose equation for the gradient keeps of the mean's each weight's own part alone.
    Xnor,
    /// Multiples of a step that is learned with the weights: `step * round(clamp(w / step, -2^(k-1), 2^(k-1) - 1))`; at
    /// one bit `step` times the sign. 32 bits leave the weights as they are.
    ///
    /// The gradient of a weight is 1 within the range and 0 outside; that of the step is `round(v) - v` within, with
    /// `v = w / step`, and the range's end outside, times `1 / sqrt(weights * (2^(k-1) - 1))`. It starts from
    /// `2 * mean|W| / sqrt(2^(k-1) - 1)`. LSQ (Esser et al., 2020, arXiv 1902.08153), equations 1 to 3 and section 2.2; of
    /// one bit, where 1 stands for `2^(k-1) - 1`, it does not speak.
    ///
    /// The step is kept beside the weight by Burn's reparameterization, in any module and in layers of ours.
    Lsq(Bits),
    /// As [`WeightQuantizer::Lsq`], with a step for each filter, codes as many below zero as above, or powers of two:
    /// [`LearnedSteps`] says which.
    Steps(LearnedSteps),
    /// Three values for all weights: `scale * sign(w)` where `|w|` is at least `0.7 * mean|w|`, and zero elsewhere, with the mean
    /// magnitude of the former as the scale. The gradient passes as it is. TWN (Li et al., 2016, arXiv 1605.04711), equations 3 to 6.
    Ternary,
    /// Three values for all weights: `scale * round(clamp(w / scale, -1, 1))`, with `mean|w|` as the scale. The gradient passes as it is.
    /// BitNet b1.58 (Ma et al., 2024, arXiv 2402.17764), equations 1 to 3.
    AbsMean,
}

impl WeightQuantizer {
    /// [`WeightQuantizer::Dorefa`] at `bits` bits, what the networks of this crate are trained with.
    pub fn new(bits: Bits) -> Self {
        Self::Dorefa(bits)
    }

    /// [`WeightQuantizer::Dorefa`] at `bits` bits.
    pub fn dorefa(bits: Bits) -> Self {
        Self::Dorefa(bits)
    }

    /// [`WeightQuantizer::Xnor`].
    pub fn xnor() -> Self {
        Self::Xnor
    }

    /// [`WeightQuantizer::Lsq`] at `bits` bits.
    pub fn lsq(bits: Bits) -> Self {
        Self::Lsq(bits)
    }

    /// [`WeightQuantizer::Ternary`].
    pub fn ternary() -> Self {
        Self::Ternary
    }

    /// [`WeightQuantizer::AbsMean`].
    pub fn abs_mean() -> Self {
        Self::AbsMean
    }

    /// The weights to compute with. Any shape, the same in and out; filters are along the last dimension of a matrix,
    /// as Burn's `Linear` has them, and along the first of anything else.
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<D> {
        let step = self.first_step(&weight, filters(D));
        self.with_step(weight, step, filters(D))
    }

    /// What a layer of ours keeps of it; that of a learned step stands beside the weight.
    pub(super) fn kept_by_layer(self) -> Self {
        match self {
            Self::Lsq(_) | Self::Steps(_) => Self::Identity,
            other => other,
        }
    }

    /// The steps that are learned; none of a quantiser without.
    pub(crate) fn steps(self) -> Option<LearnedSteps> {
        match self {
            Self::Lsq(bits) => Some(LearnedSteps::new(bits)),
            Self::Steps(steps) => Some(steps),
            _ => None,
        }
    }

    /// What learned steps start from: `[1]`, or one for each filter along this dimension.
    pub(super) fn first_step<const D: usize>(&self, weight: &Tensor<D>, filters: usize) -> Option<Tensor<1>> {
        self.steps()?.first(weight, filters)
    }

    /// As [`forward`](Self::forward), with what was learned, and with filters along this dimension.
    pub(super) fn with_step<const D: usize>(
        &self,
        weight: Tensor<D>,
        step: Option<Tensor<1>>,
        filters: usize,
    ) -> Tensor<D> {
        match (self, self.steps(), step) {
            (Self::Dorefa(bits), ..) => quantize_weight(weight, *bits),
            (Self::Xnor, ..) => {
                let scale = composed::mean_of_filters(weight.clone().abs(), filters);
                composed::sign(weight) * scale
            }
            (Self::Ternary, ..) => composed::ternary(weight),
            (Self::AbsMean, ..) => composed::abs_mean(weight),
            (_, Some(steps), Some(step)) => steps.round(weight, step, filters),
            _ => weight,
        }
    }
}

/// The dimension of a weight that runs over filters: of a matrix as Burn's `Linear` has it the last, of anything else the first.
pub(super) fn filters(dimensions: usize) -> usize {
    usize::from(dimensions == 2)
}

impl fmt::Display for WeightQuantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => write!(f, "as it is"),
            Self::Dorefa(bits) => write!(f, "{bits}-bit DoReFa"),
            Self::Xnor => write!(f, "XNOR"),
            Self::Lsq(bits) => write!(f, "{bits}-bit LSQ"),
            Self::Steps(steps) => steps.fmt(f),
            Self::Ternary => write!(f, "ternary"),
            Self::AbsMean => write!(f, "ternary by the mean"),
        }
    }
}
