//! The codes of a convolution's weights and inputs, as the kernels that compute with integers want to know them.

use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

#[cfg(feature = "flex")]
pub(crate) use crate::kernels::Grids;

/// No other device has such kernels.
#[cfg(not(feature = "flex"))]
pub(crate) type Grids = std::convert::Infallible;

/// As [`conv2d_with`](super::conv2d_with), of an input and weights whose codes are known: on `flex` with integers, so that sums are exact.
pub(crate) fn conv2d_of_codes(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: &ConvOptions<2>,
    grids: Option<Grids>,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if grids.is_some() && crate::kernels::apply_to(&x) {
        return crate::kernels::conv2d(x, weight, bias, options.into(), grids);
    }
    let _ = grids;
    super::conv2d_with(x, weight, bias, options)
}

#[cfg(feature = "flex")]
mod known {
    use burn::module::Param;
    use burn::tensor::Tensor;

    use super::super::{Activation, FakeQuantized, Pact, QuantInput, WeightQuantizer, steps};
    use super::Grids;
    use crate::kernels::{Act, Grid, Units};

    impl QuantInput {
        /// The codes that it rounds to.
        pub(crate) fn grid(&self) -> Option<Grid> {
            let levels = self.bits.levels()? as i32;
            let step = number(steps::positive(self.step.val()));
            let ends = match &self.offset {
                Some(offset) => {
                    let lowest = (number(offset.val()) / step).round_ties_even() as i32;
                    let lowest = lowest.clamp(-levels, 0);
                    [lowest, lowest + levels]
                }
                None => super::super::input::range(self.bits, self.signed)?
                    .ends
                    .map(|end| end as i32),
            };
            Some(Grid {
                per_one: 1.0 / step,
                step: Some(step),
                ends,
            })
        }
    }

    impl Pact {
        /// The codes that it rounds to.
        pub(crate) fn grid(&self) -> Option<Grid> {
            let (levels, reach) = (self.bits.levels()?, number(self.reach()));
            Some(unsigned(levels, reach, Some(reach / levels as f32)))
        }
    }

    impl Activation {
        /// The codes that it rounds to.
        pub(crate) fn grid(&self) -> Option<Grid> {
            match Act::from(self) {
                Act::Quantize(levels) => Some(unsigned(levels, 1.0, None)),
                _ => None,
            }
        }
    }

    impl FakeQuantized {
        /// What the kernels know of a layer whose weights it makes, and which reads these codes.
        pub(crate) fn grids(&self, input: Grid) -> Option<Grids> {
            let (units, weight) = match (self.quantizer, self.quantizer.steps()) {
                (WeightQuantizer::Dorefa(bits), _) => {
                    let levels = i32::try_from(bits.levels()?).ok()?;
                    (Units::Largest { per_filter: false }, [-levels, levels])
                }
                (WeightQuantizer::Xnor, _) => (Units::Largest { per_filter: true }, [-1, 1]),
                (WeightQuantizer::Ternary | WeightQuantizer::AbsMean, _) => {
                    (Units::Largest { per_filter: false }, [-1, 1])
                }
                (_, Some(steps)) => {
                    let step = steps.used(self.step.as_ref().map(Param::val)?);
                    let units = step.into_data().iter::<f32>().collect();
                    (Units::Known(units), steps.codes()?.ends.map(|end| end as i32))
                }
                _ => return None,
            };
            Some(Grids { input, units, weight })
        }
    }

    /// Codes from zero to the one that stands for `reach`.
    fn unsigned(levels: u32, reach: f32, step: Option<f32>) -> Grid {
        Grid {
            per_one: levels as f32 / reach,
            step,
            ends: [0, levels as i32],
        }
    }

    fn number(of: Tensor<1>) -> f32 {
        of.into_scalar()
    }
}
