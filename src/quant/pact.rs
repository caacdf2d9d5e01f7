//! PACT: an activation that learns where it clips.

use burn::config::Config;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, activation::relu};

use super::composed::straight_through;
use super::input::set;
use super::range::Range;
use super::{Bits, Observer, ObserverError};

/// Configuration of a [`Pact`].
#[derive(Config, Debug)]
pub struct PactConfig {
    /// Bits of the activations.
    pub bits: Bits,
    /// Where the clip starts. Default: 2, for what follows a batch norm; PACT's authors start at 10 and pull it down by
    /// weight decay.
    #[config(default = 2.0)]
    pub clip: f64,
}

/// The least clip.
const SMALLEST_CLIP: f32 = 1e-6;

/// An activation whose clip is learned: `min(max(x, 0), clip)`, rounded to `2^k` equally spaced values. At 32 bits nothing
/// is rounded.
///
/// The gradient is 1 between 0 and the clip and 0 outside; that of the clip is the sum of those of all inputs above it.
/// PACT (Choi et al., 2018, arXiv 1805.06085), equations 1 to 3. A clip that training has brought to 0 or below counts as 1e-6, and
/// no gradient brings it back: train with a smaller rate for it.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::{Bits, PactConfig};
///
/// let act = PactConfig::new(Bits::TWO).with_clip(3.0).init(&Device::default());
/// let y = act.forward(Tensor::<1>::from_data([-1.0, 0.4, 1.6, 9.0], &Device::default()));
/// assert_eq!(y.to_data().as_slice::<f32>().unwrap(), [0.0, 0.0, 2.0, 3.0]);
/// ```
#[derive(Module, Debug)]
pub struct Pact {
    /// The clip, `[1]`.
    pub clip: Param<Tensor<1>>,
    /// Bits of the activations.
    #[module(skip)]
    pub bits: Bits,
}

impl PactConfig {
    /// Initialises the activation on `device`.
    pub fn init(&self, device: &Device) -> Pact {
        Pact {
            clip: Param::from_tensor(Tensor::full([1], self.clip, device)),
            bits: self.bits,
        }
    }
}

impl Pact {
    /// This with the clip that `observer` measures on some of the numbers that it is to read, in batches. At 32 bits it stays.
    ///
    /// # Errors
    ///
    /// No numbers, none above zero or above the least clip, and numbers that are not finite.
    pub fn calibrated(self, batches: &[Vec<f32>], observer: Observer) -> Result<Self, ObserverError> {
        let Some(levels) = self.bits.levels() else {
            return Ok(self);
        };
        let step = observer.step(batches, Range::unsigned(levels))?;
        if step * (levels as f32) < SMALLEST_CLIP {
            return Err(ObserverError::Zeros);
        }
        Ok(Self {
            clip: set(self.clip, step * levels as f32),
            ..self
        })
    }

    /// The clip, `[1]`: above 0, or there is nothing to divide by.
    pub(super) fn reach(&self) -> Tensor<1> {
        self.clip.val().clamp_min(SMALLEST_CLIP)
    }

    /// Applies the function to every element. Any shape.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let clip = self.reach().reshape([1; D]);
        let x = relu(x);
        // Twice, so that what is above the clip hands its gradient on to it.
        let clipped = x.clone() - relu(x - clip.clone());
        let Some(levels) = self.bits.levels() else {
            return clipped;
        };
        let unit = clip.detach() / levels as f32;
        let value = (clipped.clone().detach() / unit.clone()).round() * unit;
        straight_through(clipped, value)
    }
}
