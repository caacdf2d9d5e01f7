//! What a plan for a network calls quantisers: one for the weights of all layers, one for what they read.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{LearnedSteps, WeightQuantizer};

/// How what layers read becomes codes: what [`WeightQuantizer`](super::WeightQuantizer) is for weights.
///
/// A network of a graph takes one for all of its values: [`QuantPlan`](crate::models::QuantPlan).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ActivationQuantizer {
    /// Multiples of a step that is learned, with a sign where numbers may be below zero: [`QuantInput`](super::QuantInput).
    #[default]
    Lsq,
    /// As [`Lsq`](Self::Lsq); where numbers may be below zero, the lowest code is learned, too:
    /// [`QuantInputConfig::offset`](super::QuantInputConfig::offset).
    LsqPlus,
    /// A clip that is learned, of numbers that are not below zero: [`Pact`](super::Pact). Where they may be, [`Lsq`](Self::Lsq).
    Pact,
    /// The unit interval, of numbers that are not below zero: [`quantize_activation`](super::quantize_activation). Where they may be,
    /// [`Lsq`](Self::Lsq).
    Dorefa,
}

impl ActivationQuantizer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lsq, Self::LsqPlus, Self::Pact, Self::Dorefa];

    /// Its name, as [`FromStr`] reads it.
    fn name(self) -> &'static str {
        match self {
            Self::Lsq => "lsq",
            Self::LsqPlus => "lsq-plus",
            Self::Pact => "pact",
            Self::Dorefa => "dorefa",
        }
    }

    /// What it is for a value: one without a learned sign is for what cannot be below zero, and an offset for what can.
    pub(crate) fn of_value(self, not_below_zero: bool) -> Self {
        match (self, not_below_zero) {
            (Self::LsqPlus, true) | (Self::Pact | Self::Dorefa, false) => Self::Lsq,
            _ => self,
        }
    }

    /// As its authors call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Lsq => "LSQ",
            Self::LsqPlus => "LSQ+",
            Self::Pact => "PACT",
            Self::Dorefa => "DoReFa",
        }
    }
}

impl fmt::Display for ActivationQuantizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of an [`ActivationQuantizer`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected lsq, lsq-plus, pact or dorefa")]
pub struct ActivationQuantizerError;

impl FromStr for ActivationQuantizer {
    type Err = ActivationQuantizerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.name() == text).ok_or(ActivationQuantizerError)
    }
}

/// How the weights of layers become codes of the bits that a plan gives them: the [`WeightQuantizer`] of a layer follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WeightScheme {
    /// Multiples of steps that are learned, [`LearnedSteps`]; at one bit [`WeightQuantizer::Xnor`] unless steps are powers of two.
    #[default]
    Lsq,
    /// [`WeightQuantizer::Dorefa`]. What is said of steps does not count.
    Dorefa,
    /// [`WeightQuantizer::Ternary`] where a layer has two bits; layers of other bits as [`Lsq`](Self::Lsq).
    Ternary,
    /// [`WeightQuantizer::AbsMean`] where a layer has two bits; layers of other bits as [`Lsq`](Self::Lsq).
    AbsMean,
}

impl WeightScheme {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lsq, Self::Dorefa, Self::Ternary, Self::AbsMean];

    /// Its name, as [`FromStr`] reads it.
    fn name(self) -> &'static str {
        match self {
            Self::Lsq => "lsq",
            Self::Dorefa => "dorefa",
            Self::Ternary => "ternary",
            Self::AbsMean => "abs-mean",
        }
    }

    /// As its authors call it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Lsq => "LSQ",
            Self::Dorefa => "DoReFa",
            Self::Ternary => "TWN",
            Self::AbsMean => "BitNet",
        }
    }

    /// The quantiser of a layer whose weights would be multiples of these steps.
    pub(crate) fn quantizer(self, steps: LearnedSteps) -> WeightQuantizer {
        let bits = steps.bits();
        match (self, bits.get()) {
            (_, 32) => WeightQuantizer::Identity,
            (Self::Dorefa, _) => WeightQuantizer::dorefa(bits),
            (Self::Ternary, 2) => WeightQuantizer::ternary(),
            (Self::AbsMean, 2) => WeightQuantizer::abs_mean(),
            (_, 1) if !steps.is_power_of_two() => WeightQuantizer::xnor(),
            // One step for a layer is what has been there from the start.
            _ if steps == LearnedSteps::new(bits) => WeightQuantizer::lsq(bits),
            _ => steps.quantizer(),
        }
    }
}

impl fmt::Display for WeightScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is none of a [`WeightScheme`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected lsq, dorefa, ternary or abs-mean")]
pub struct WeightSchemeError;

impl FromStr for WeightScheme {
    type Err = WeightSchemeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.into_iter();
        all.find(|one| one.name() == text).ok_or(WeightSchemeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for one in ActivationQuantizer::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
            assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
        }
        for one in WeightScheme::ALL {
            assert_eq!(one.to_string().parse(), Ok(one));
            assert_eq!(serde_json::to_string(&one).unwrap(), format!("\"{one}\""));
        }
        let unknown = "relu".parse::<ActivationQuantizer>().unwrap_err().to_string();
        assert!(
            ActivationQuantizer::ALL
                .iter()
                .all(|one| unknown.contains(one.name()))
        );
        let unknown = "twn".parse::<WeightScheme>().unwrap_err().to_string();
        assert!(WeightScheme::ALL.iter().all(|one| unknown.contains(one.name())));
    }
}
