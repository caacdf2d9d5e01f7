//! A quantiser of activations that learns its step.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};

use super::range::Range;
use super::steps::{SMALLEST, multiples, positive};
use super::{Bits, Observer, ObserverError, composed};

/// Configuration of a [`QuantInput`].
#[derive(Config, Debug)]
pub struct QuantInputConfig {
    /// Bits of the codes.
    pub bits: Bits,
    /// Whether codes may be below zero. Default: not, for what follows a ReLU.
    #[config(default = false)]
    pub signed: bool,
    /// Whether the lowest code is learned, too: for what is below zero, but not as far as above. It is a number for each size of code
    /// then, and `signed` does not count. Default: not.
    #[config(default = false)]
    pub offset: bool,
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
/// With an offset, codes are the `2^k` whole numbers from `round(offset / step)` up, which is zero at the most, so that zero is one of
/// them. The gradient of the offset is 1 outside the range and 0 within, times the same. LSQ+ (Bhalgat et al., 2020, arXiv 2004.09576),
/// equations 1 to 5, whose offset is not rounded: zeros that a convolution pads with would be no code then. A code may be below zero:
/// integers in two's complement take a bit more.
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
    /// What the lowest code stands for before it is rounded, `[1]`, where it is learned.
    pub offset: Option<Param<Tensor<1>>>,
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
        let range = match (self.offset, self.bits.levels()) {
            (true, Some(levels)) => Some(Range::from(-(levels.div_ceil(2) as f32), levels)),
            _ => range(self.bits, self.signed),
        };
        let [lowest, highest] = range.map_or([0.0, 1.0], |range| range.ends);
        let step = self.step.unwrap_or(USUAL_RANGE / f64::from(highest.max(1.0)));
        let number = |number: f64| Param::from_tensor(Tensor::full([1], number, device));
        QuantInput {
            step: number(step),
            offset: self.offset.then(|| number(step * f64::from(lowest))),
            bits: self.bits,
            signed: self.signed,
        }
    }
}

impl QuantInput {
    /// The multiple of the step that each element is rounded to. Any shape whose first dimension is the batch.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (Some(range), Some(levels)) = (range(self.bits, self.signed), self.bits.levels()) else {
            return x;
        };
        let of_picture = x.dims()[1..].iter().product::<usize>().max(1);
        let step = positive(self.step.val());
        match &self.offset {
            None => multiples(x, step, range, [1; D], of_picture, D == 4),
            Some(offset) => {
                let share = 1.0 / (of_picture as f32 * levels as f32).sqrt();
                composed::multiples_from(x, step, offset.val(), levels, share)
            }
        }
    }

    /// This with the step, and the offset where there is one, that `observer` measures on some of the numbers that it is to read, in
    /// batches. At 32 bits there is none.
    ///
    /// # Errors
    ///
    /// No numbers, nothing but zeros, and numbers that are not finite.
    pub fn calibrated(self, batches: &[Vec<f32>], observer: Observer) -> Result<Self, ObserverError> {
        let Some(range) = range(self.bits, self.signed) else {
            return Ok(self);
        };
        let range = match (&self.offset, self.bits.levels()) {
            (Some(_), Some(levels)) => observer.range(batches, levels)?,
            _ => range,
        };
        let step = observer.step(batches, range)?;
        Ok(Self {
            step: set(self.step, step),
            offset: self.offset.map(|offset| set(offset, step * range.ends[0])),
            ..self
        })
    }
}

/// A parameter of one number with another.
pub(super) fn set(parameter: Param<Tensor<1>>, number: f32) -> Param<Tensor<1>> {
    parameter.map(|old| {
        let gradients = old.is_require_grad();
        Tensor::full([1], number, &old.device()).set_require_grad(gradients)
    })
}

/// The step with which codes from `lowest` to `highest` stand for the numbers of `sample` with the least mean squared error, of a
/// hundred steps up to the one with which nothing is cut off. None where all of them are zero.
pub(crate) fn best_step(sample: &[f32], codes: Range) -> Option<f32> {
    let [lowest, highest] = codes.ends;
    let reaches = sample.iter().map(|&x| codes.reach(x));
    let largest = reaches.filter(|x| x.is_finite()).fold(0f32, f32::max);
    if largest < SMALLEST {
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
pub(super) fn range(bits: Bits, signed: bool) -> Option<Range> {
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
    fn an_offset_moves_the_codes_and_has_the_gradient_of_lsq_plus() {
        let device = Device::default().autodiff();
        let quantizer = QuantInputConfig::new(Bits::new(3).unwrap())
            .with_offset(true)
            .with_step(Some(0.5))
            .init(&device);
        let quantizer = QuantInput {
            offset: quantizer.offset.map(|offset| set(offset, -0.9)),
            ..quantizer
        };
        // Codes from round(-0.9 / 0.5) = -2 to 5.
        let x = Tensor::<2>::from_data([[-9.0f32, -0.6, 0.24, 2.4, 9.0]], &device).require_grad();
        let y = quantizer.forward(x.clone());
        assert_eq!(values(y.clone()), [-1.0, -0.5, 0.0, 2.5, 2.5]);
        let factors = Tensor::<2>::from_data([[1.0f32, 2.0, 3.0, 4.0, 6.0]], &device);
        let gradients = (y * factors).sum().backward();
        assert_eq!(values(x.grad(&gradients).unwrap()), [0.0, 2.0, 3.0, 4.0, 0.0]);
        let share = 1.0 / (5.0 * 7.0f32).sqrt();
        // Within 2 (-1 + 1.2) + 3 (0 - 0.48) + 4 (5 - 4.8); outside no code below and seven above, and what the offset was rounded by.
        let rounding = -2.0 + 0.9 / 0.5;
        let expected = (0.4 - 1.44 + 0.8 + 6.0 * 7.0 + (1.0 + 6.0) * rounding) * share;
        let offset = quantizer.offset.as_ref().unwrap();
        let of_step = values(quantizer.step.val().grad(&gradients).unwrap())[0];
        let of_offset = values(offset.val().grad(&gradients).unwrap())[0];
        assert!((of_offset - 7.0 * share).abs() < 1e-5, "{of_offset}");
        assert!((of_step - expected).abs() < 1e-4, "{of_step} {expected}");
    }

    #[test]
    fn an_offset_is_measured() {
        let device = Device::default();
        let quantizer = QuantInputConfig::new(Bits::new(4).unwrap())
            .with_offset(true)
            .init(&device);
        // Codes from -3 to 12 of a step of 0.11.
        let sample: Vec<f32> = (0..1000).map(|n| ((n * 7 % 16) as f32 - 3.0) * 0.11).collect();
        for observer in [
            Observer::LeastError,
            Observer::MinMax,
            Observer::Percentile(100.0),
        ] {
            let found = quantizer
                .clone()
                .calibrated(std::slice::from_ref(&sample), observer)
                .unwrap();
            let x = Tensor::<1>::from_data(&sample[..], &device);
            let apart = (found.forward(x.clone()) - x).abs().max().into_scalar::<f32>();
            assert!(apart < 1e-5, "{observer}: {apart}");
            let plain = QuantInputConfig::new(Bits::new(4).unwrap())
                .with_signed(true)
                .init(&device);
            let plain = plain.calibrated(std::slice::from_ref(&sample), observer).unwrap();
            let x = Tensor::<1>::from_data(&sample[..], &device);
            assert!((plain.forward(x.clone()) - x).abs().max().into_scalar::<f32>() > 0.01);
        }
        // Nothing above zero, and nothing below.
        for (sample, low) in [(vec![-1.5f32, -0.1], -15.0), (vec![0.1f32, 1.5], 0.0)] {
            let found = quantizer.clone().calibrated(&[sample], Observer::MinMax).unwrap();
            let [step, offset] = [&found.step, found.offset.as_ref().unwrap()].map(|of| values(of.val())[0]);
            assert!(
                (step - 0.1).abs() < 1e-6 && (offset / step - low).abs() < 1e-4,
                "{step} {offset}"
            );
        }
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
