//! Weights as multiples of steps that are learned, in the forms that hardware and runtimes ask for.

use std::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::range::Range;
use super::{Bits, composed};

/// How weights become multiples of steps that are learned with them:
/// `step * round(clamp(w / step, lowest, highest))`, LSQ (Esser et al., 2020, arXiv 1902.08153), with what deployment adds.
///
/// Codes are from `-2^(k-1)` to `2^(k-1) - 1`; at one bit a code is the sign. At 32 bits nothing is rounded.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::{Bits, LearnedSteps};
///
/// // A filter of large weights, and one of small ones: the columns of a matrix, as Burn has linear layers.
/// let weight = Tensor::<2>::from_data([[4.0, -0.04], [1.0, -0.01]], &Device::default());
/// let steps = LearnedSteps::new(Bits::new(8)?);
/// let small = |steps: LearnedSteps| -> f32 {
///     let rounded = steps.quantizer().forward(weight.clone());
///     rounded.slice([0..1, 1..2]).into_scalar()
/// };
/// // One step for all makes the small weights zero. With a step of its own, the filter keeps them.
/// assert_eq!(small(steps), 0.0);
/// assert!((small(steps.with_per_filter(true)) + 0.04).abs() < 0.003);
/// # Ok::<(), vwc_sdk::quant::BitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnedSteps {
    bits: Bits,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    per_filter: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    narrow: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    power_of_two: bool,
}

impl From<Bits> for LearnedSteps {
    fn from(bits: Bits) -> Self {
        Self::new(bits)
    }
}

/// The least step: its power of two and its parts are normal numbers yet.
pub(super) const SMALLEST: f32 = 1e-30;

impl LearnedSteps {
    /// One step for all weights of a tensor, with codes of so many bits.
    #[must_use]
    pub fn new(bits: Bits) -> Self {
        Self {
            bits,
            per_filter: false,
            narrow: false,
            power_of_two: false,
        }
    }

    /// Whether each filter has a step of its own, as ONNX Runtime and FINN take weights per channel. Default: not.
    #[must_use]
    pub fn with_per_filter(self, per_filter: bool) -> Self {
        Self { per_filter, ..self }
    }

    /// Whether the lowest code is left out, so that codes are as many below zero as above: from `-(2^(k-1) - 1)`; two bits are ternary
    /// then. Default: not.
    #[must_use]
    pub fn with_narrow(self, narrow: bool) -> Self {
        Self { narrow, ..self }
    }

    /// Whether a step is the power of two that is nearest to the one that is learned, on a scale of logarithms: hardware shifts then where
    /// it would multiply. Default: not.
    #[must_use]
    pub fn with_power_of_two(self, power_of_two: bool) -> Self {
        Self { power_of_two, ..self }
    }

    /// The same with codes of so many bits.
    #[must_use]
    pub fn with_bits(self, bits: Bits) -> Self {
        Self { bits, ..self }
    }

    /// Bits of the codes.
    #[must_use]
    pub fn bits(self) -> Bits {
        self.bits
    }

    /// Whether the lowest code is left out.
    #[cfg(feature = "train")]
    pub(crate) fn is_narrow(self) -> bool {
        self.narrow
    }

    /// Whether steps are powers of two.
    pub(crate) fn is_power_of_two(self) -> bool {
        self.power_of_two
    }

    /// In words, what it is besides LSQ.
    pub(crate) fn form(self) -> impl Iterator<Item = &'static str> {
        self.forms().map(|(text, _)| text)
    }

    /// The flags of `vwc-sdk` that ask for what it is besides LSQ.
    pub(crate) fn flags(self) -> impl Iterator<Item = &'static str> {
        self.forms().map(|(_, flag)| flag)
    }

    fn forms(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let said = [
            (self.per_filter, "per filter", "--per-channel"),
            (self.narrow, "without the lowest code", "--narrow"),
            (self.power_of_two, "by powers of two", "--power-of-two"),
        ];
        let said = said.into_iter().filter(|(is, ..)| *is);
        said.map(|(_, text, flag)| (text, flag))
    }

    /// The quantiser of weights that it is.
    #[must_use]
    pub fn quantizer(self) -> super::WeightQuantizer {
        super::WeightQuantizer::Steps(self)
    }

    /// The codes; none where nothing is rounded.
    pub(crate) fn codes(self) -> Option<Range> {
        self.bits
            .levels()
            .map(|levels| Range::signed(levels, self.narrow))
    }

    /// What training starts from: `2 * mean|w| / sqrt(highest)`, of all weights or of those of each filter, which are along the
    /// dimension `filters`.
    pub(super) fn first<const D: usize>(self, weight: &Tensor<D>, filters: usize) -> Option<Tensor<1>> {
        let highest = self.codes()?.ends[1];
        let magnitudes = weight.clone().detach().abs();
        let mean = magnitudes.clone().mean().reshape([1]);
        let means = if self.per_filter {
            // A filter of zeros starts as the others do: a step of zero would not move.
            let count = weight.dims()[filters];
            let means = composed::mean_of_filters(magnitudes, filters).reshape([count]);
            let zeros = means.clone().equal_elem(0.0).float();
            means + zeros * mean
        } else {
            mean
        };
        Some((means * (2.0 / highest.max(1.0).sqrt())).detach())
    }

    /// Weights rounded to multiples of `step`, `[1]` or one for each filter.
    pub(super) fn round<const D: usize>(
        self,
        weight: Tensor<D>,
        step: Tensor<1>,
        filters: usize,
    ) -> Tensor<D> {
        let Some(codes) = self.codes() else {
            return weight;
        };
        let mut shape = [1; D];
        let mut count = weight.shape().num_elements();
        if self.per_filter {
            shape[filters] = weight.dims()[filters];
            count /= shape[filters];
        }
        multiples(weight, self.used(step), codes, shape, count, false)
    }

    /// The step that is computed with, of one that is learned.
    pub(super) fn used(self, step: Tensor<1>) -> Tensor<1> {
        let step = positive(step);
        match self.power_of_two {
            true => power_of_two(step),
            false => step,
        }
    }
}

/// A step above zero.
pub(super) fn positive(step: Tensor<1>) -> Tensor<1> {
    step.abs().clamp_min(SMALLEST)
}

/// The nearest power of two on a scale of logarithms, with a gradient of one.
fn power_of_two(step: Tensor<1>) -> Tensor<1> {
    let exponent = (step.clone().detach().log() / std::f32::consts::LN_2).round();
    // The largest that a float holds.
    let near = (exponent.clamp_max(127.0) * std::f32::consts::LN_2).exp();
    // The leading half of its digits: `exp` may be off in the last ones (Dekker, 1971). Divided by 2^13 first, or the product is infinite.
    let part = near / 8192.0;
    let wide = part.clone() * 4097.0;
    let power = (wide.clone() - (wide - part)) * 8192.0;
    composed::straight_through(step, power)
}

/// `x` as multiples of `step`, above zero and of this shape among its dimensions, whose gradient is divided by the root of `count` numbers
/// that share it. `maps`: whether they are feature maps.
pub(super) fn multiples<const D: usize>(
    x: Tensor<D>,
    step: Tensor<1>,
    codes: Range,
    shape: [usize; D],
    count: usize,
    maps: bool,
) -> Tensor<D> {
    let share = 1.0 / (count as f32 * codes.ends[1].max(1.0)).sqrt();
    // The kernel knows codes from -1 to 1 as signs alone.
    #[cfg(feature = "flex")]
    if shape == [1; D] && codes.signs == (codes.ends == [-1.0, 1.0]) && crate::kernels::apply_to(&x) {
        let range = codes.ends;
        return crate::kernels::multiples(x, step, crate::kernels::Multiples { range, share, maps });
    }
    composed::multiples_of(x, step.reshape(shape), codes, share)
}

impl fmt::Display for LearnedSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-bit LSQ", self.bits)?;
        self.form().try_for_each(|text| write!(f, " {text}"))
    }
}
