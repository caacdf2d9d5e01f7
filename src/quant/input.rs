//! A quantiser of activations that learns its step.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::range::Range;
use super::steps::{multiples, positive};
use super::{Bits, Observer, ObserverError};

/// Configuration of a [`QuantInput`].
#[derive(Config, Debug)]
pub struct QuantInputConfig {
    /// Bits of the codes.
    pub bits: Bits,
    /// Whether codes may be below zero. Default: not, for what follows a ReLU.
    #[config(default = false)]
    pub signed: bool,
    /// The step that training starts from. Default: the one with which the largest code stands for 3, as values behind a batch norm
    /// rarely exceed it; [`QuantInput::calibrated`] measures a better one.
    pub step: Option<f64>,
}

/// Activations as multiples of a step that is learned: `step * round(clamp(x / step, lowest, highest))`, with codes from 0 to
/// `2^k - 1`, or from `-2^(k-1)` to `2^(k-1) - 1` where they are signed; at one bit with a sign, `step` times the sign. At 32 bits
/// nothing is rounded.
///
/// The gradient of an activation is 1 within the range and 0 outside; that of the step is `round(v) - v` within, with
/// `v = x / step`, and the range's end outside, times `1 / sqrt(numbers of a picture * highest)`. LSQ (Esser et al., 2020,
/// arXiv 1902.08153), equations 1 to 3 and section 2.2. The same for weights is [`WeightQuantizer::Lsq`](super::WeightQuantizer::Lsq).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::{Bits, QuantInputConfig};
///
/// let quantizer = QuantInputConfig::new(Bits::TWO).with_step(Some(0.5)).init(&Device::default());
/// let y = quantizer.forward(Tensor::<1>::from_data([-1.0, 0.4, 0.9, 9.0], &Device::default()));
/// assert_eq!(y.to_data().as_slice::<f32>().unwrap(), [0.0, 0.5, 1.0, 1.5]);
/// ```
#[derive(Module, Debug)]
pub struct QuantInput {
    /// The step, `[1]`. Its magnitude counts.
    pub step: Param<Tensor<1>>,
    /// Bits of the codes.
    #[module(skip)]
    pub bits: Bits,
    /// Whether codes may be below zero.
    #[module(skip)]
    pub signed: bool,
}

/// What the largest code stands for where nothing else is known.
const USUAL_RANGE: f64 = 3.0;

/// How many steps calibration tries.
const CANDIDATES: usize = 100;

impl QuantInputConfig {
    /// Initialises the quantiser on `device`.
    pub fn init(&self, device: &Device) -> QuantInput {
        let highest = range(self.bits, self.signed).map_or(1.0, |range| range.ends[1]);
        let step = self.step.unwrap_or(USUAL_RANGE / f64::from(highest));
        QuantInput {
            step: Param::from_tensor(Tensor::full([1], step, device)),
            bits: self.bits,
            signed: self.signed,
        }
    }
}

impl QuantInput {
    /// The multiple of the step that each element is rounded to. Any shape whose first dimension is the batch.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match range(self.bits, self.signed) {
            None => x,
            Some(range) => {
                let of_picture = x.dims()[1..].iter().product::<usize>().max(1);
                multiples(x, positive(self.step.val()), range, [1; D], of_picture)
            }
        }
    }

    /// This with the step that `observer` measures on some of the numbers that it is to read, in batches. At 32 bits there is none.
    ///
    /// # Errors
    ///
    /// No numbers, nothing but zeros, and numbers that are not finite.
    pub fn calibrated(self, batches: &[Vec<f32>], observer: Observer) -> Result<Self, ObserverError> {
        let Some(range) = range(self.bits, self.signed) else {
            return Ok(self);
        };
        let step = observer.step(batches, range)?;
        Ok(Self {
            step: self.step.map(|old| {
                let gradients = old.is_require_grad();
                Tensor::full([1], step, &old.device()).set_require_grad(gradients)
            }),
            ..self
        })
    }
}

/// The step with which codes from `lowest` to `highest` stand for the numbers of `sample` with the least mean squared error, of a
/// hundred steps up to the one with which nothing is cut off. None where all of them are zero.
pub(crate) fn best_step(sample: &[f32], codes: Range) -> Option<f32> {
    let [lowest, highest] = codes.ends;
    let reaches = sample.iter().map(|&x| codes.reach(x));
    let largest = reaches.filter(|x| x.is_finite()).fold(0f32, f32::max);
    if largest < f32::MIN_POSITIVE {
        return None;
    }
    let rounded = |x: f32, step: f32| match x / step {
        unit if codes.signs && unit >= 0.0 => step,
        _ if codes.signs => -step,
        unit => unit.clamp(lowest, highest).round_ties_even() * step,
    };
    let error = |step: f32| -> f64 {
        let squares = sample.iter().map(|&x| f64::from(x - rounded(x, step)).powi(2));
        squares.sum()
    };
    let steps = (1..=CANDIDATES).map(|n| largest * n as f32 / CANDIDATES as f32);
    let errors: Vec<(f32, f64)> = steps.map(|step| (step, error(step))).collect();
    let best = errors.into_iter().min_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map(|(step, _)| step)
}

/// The codes; none where nothing is rounded.
fn range(bits: Bits, signed: bool) -> Option<Range> {
    let levels = bits.levels()?;
    Some(if signed {
        Range::signed(levels, false)
    } else {
        Range::unsigned(levels)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    fn quantizer(bits: u8, signed: bool, step: f64, device: &Device) -> QuantInput {
        QuantInputConfig::new(Bits::new(bits).unwrap())
            .with_signed(signed)
            .with_step(Some(step))
            .init(device)
    }

    #[test]
    fn codes_are_those_of_the_bits() {
        let device = Device::default();
        let x = || Tensor::<2>::from_data([[-9.0f32, -0.6, 0.24, 0.26, 0.9, 9.0]], &device);
        let of = |bits, signed| values(quantizer(bits, signed, 0.5, &device).forward(x()));
        assert_eq!(of(2, false), [0.0, 0.0, 0.0, 0.5, 1.0, 1.5]);
        assert_eq!(of(3, true), [-2.0, -0.5, 0.0, 0.5, 1.0, 1.5]);
        assert_eq!(of(1, false), [0.0, 0.0, 0.0, 0.5, 0.5, 0.5]);
        assert_eq!(of(1, true), [-0.5, -0.5, 0.5, 0.5, 0.5, 0.5]);
        assert_eq!(of(32, true), values(x()));
    }

    #[test]
    fn gradients_are_those_of_lsq() {
        let device = Device::default().autodiff();
        let quantizer = quantizer(3, true, 0.5, &device);
        let x = Tensor::<2>::from_data([[-9.0f32, -0.6, 0.24, 0.9, 9.0]], &device).require_grad();
        let gradients = quantizer.forward(x.clone()).sum().backward();
        let of_x = values(x.grad(&gradients).unwrap());
        assert_eq!(of_x, [0.0, 1.0, 1.0, 1.0, 0.0]);
        let of_step = values(quantizer.step.val().grad(&gradients).unwrap())[0];
        // -4 + (-1 + 1.2) + (0 - 0.48) + (2 - 1.8) + 3, by 1 / sqrt(5 * 3).
        let expected = (-4.0 + 0.2 - 0.48 + 0.2 + 3.0) / 15f32.sqrt();
        assert!((of_step - expected).abs() < 1e-5, "{of_step} {expected}");
    }

    #[test]
    fn calibration_finds_the_step_of_what_is_codes_already() {
        let device = Device::default();
        let found = |bits, signed, sample: Vec<f32>| {
            let quantizer = quantizer(bits, signed, 1.0, &device);
            let calibrated = quantizer.calibrated(&[sample], Observer::LeastError);
            calibrated.map(|quantizer| values(quantizer.step.val())[0])
        };
        let sample: Vec<f32> = (0..1000).map(|n| (n * 7 % 16) as f32 * 0.11).collect();
        let signed: Vec<f32> = sample.iter().map(|x| x - 0.88).collect();
        for step in [found(4, false, sample), found(4, true, signed)] {
            assert!((step.unwrap() - 0.11).abs() < 1e-6, "{step:?}");
        }
        // A few large numbers are cut off at few bits.
        let mut rare = vec![0.0; 10_000];
        (0..10_000).for_each(|n| rare[n] = (n % 100) as f32 / 100.0);
        rare[5] = 30.0;
        let step = found(2, false, rare).unwrap();
        assert!(step < 3.0, "{step}");
        assert_eq!(found(2, false, vec![0.0; 9]), Err(ObserverError::Zeros));
        assert_eq!(found(32, false, vec![0.0; 9]), Ok(1.0));
    }
}
