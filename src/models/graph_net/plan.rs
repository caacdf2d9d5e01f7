//! Which layers of a network of a graph are quantised, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::GraphNetConfig;
use crate::Error;
use crate::pattern::fits;
use crate::quant::{Bits, LearnedSteps, WeightQuantizer};

/// How a [`GraphNet`](super::GraphNet) is quantised: at first all layers but the first and the last, with one step for the weights of
/// each layer.
///
/// What a layer reads is rounded in front of it, the same for all layers that read it, with as many bits as the one that has most.
///
/// ```
/// use vwc_sdk::quant::Bits;
/// use vwc_sdk::models::QuantPlan;
///
/// # fn main() -> Result<(), vwc_sdk::quant::BitsError> {
/// let bits = |bits| Bits::new(bits);
/// let plan = QuantPlan::new(bits(4)?, bits(4)?)
///     .with_ends(bits(8)?)
///     .with_per_filter(true)
///     .with_layers("layer1.*", bits(8)?, bits(8)?);
/// # let _ = plan;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantPlan {
    pub(super) weights: Bits,
    pub(super) activations: Bits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Bits>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    per_filter: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    narrow: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    power_of_two: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layers>,
}

/// Layers with bits of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    pattern: String,
    weights: Bits,
    activations: Bits,
}

/// How a layer is quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan {
    /// Its name.
    pub layer: String,
    /// Of its weights. [`WeightQuantizer::Identity`] leaves them in full precision.
    pub weights: WeightQuantizer,
    /// Bits of what it reads.
    pub activations: Bits,
    /// The place of its node.
    pub(super) node: usize,
}

impl QuantPlan {
    /// Weights and activations of so many bits.
    #[must_use]
    pub fn new(weights: Bits, activations: Bits) -> Self {
        Self {
            weights,
            activations,
            ends: None,
            per_filter: false,
            narrow: false,
            power_of_two: false,
            layers: Vec::new(),
        }
    }

    /// The first layer and the last with weights and activations of so many bits. Default: in full precision.
    #[must_use]
    pub fn with_ends(self, bits: Bits) -> Self {
        Self {
            ends: Some(bits),
            ..self
        }
    }

    /// As [`LearnedSteps::with_per_filter`].
    #[must_use]
    pub fn with_per_filter(self, per_filter: bool) -> Self {
        Self { per_filter, ..self }
    }

    /// As [`LearnedSteps::with_narrow`].
    #[must_use]
    pub fn with_narrow(self, narrow: bool) -> Self {
        Self { narrow, ..self }
    }

    /// As [`LearnedSteps::with_power_of_two`].
    #[must_use]
    pub fn with_power_of_two(self, power_of_two: bool) -> Self {
        Self { power_of_two, ..self }
    }

    /// The layers that fit `pattern` with bits of their own, 32 of which leave a side in full precision: the path of a layer, or its
    /// beginning up to a dot, in which `*` stands for anything. Of several that fit a layer the last counts.
    #[must_use]
    pub fn with_layers(mut self, pattern: impl Into<String>, weights: Bits, activations: Bits) -> Self {
        self.layers.push(Layers {
            pattern: pattern.into(),
            weights,
            activations,
        });
        self
    }

    /// Whether nothing but the two numbers of bits is said.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::new(self.weights, self.activations)
    }

    /// The layers of `names`, in their order, that are quantised.
    pub(super) fn of(&self, names: &[(usize, &str)]) -> Vec<LayerPlan> {
        let last = names.len().saturating_sub(1);
        let bits = |n: usize, name: &str| {
            let own = self
                .layers
                .iter()
                .rev()
                .find(|layers| fits(&layers.pattern, name));
            match own {
                Some(layers) => [layers.weights, layers.activations],
                None if n == 0 || n == last => [self.ends.unwrap_or(Bits::FULL); 2],
                None => [self.weights, self.activations],
            }
        };
        let layers = names.iter().enumerate().map(|(n, &(node, name))| {
            let [weights, activations] = bits(n, name);
            LayerPlan {
                layer: name.to_owned(),
                weights: self.quantizer(weights),
                activations,
                node,
            }
        });
        layers.filter(|layer| layer.is_quantised()).collect()
    }

    /// One step for a layer is what has been there from the start.
    fn quantizer(&self, bits: Bits) -> WeightQuantizer {
        let steps = LearnedSteps::new(bits)
            .with_per_filter(self.per_filter)
            .with_narrow(self.narrow)
            .with_power_of_two(self.power_of_two);
        match bits.get() {
            32 => WeightQuantizer::Identity,
            1 if !self.power_of_two => WeightQuantizer::xnor(),
            _ if steps == LearnedSteps::new(bits) => WeightQuantizer::lsq(bits),
            _ => steps.quantizer(),
        }
    }

    /// # Errors
    ///
    /// [`Error::Structure`] where a pattern fits none of these layers, or nothing is quantised.
    pub(super) fn check(&self, config: &GraphNetConfig, names: &[(usize, &str)]) -> Result<(), Error> {
        for Layers { pattern, .. } in &self.layers {
            if !names.iter().any(|(_, name)| fits(pattern, name)) {
                return Err(config.refuse(format!(
                    "no layer fits {pattern:?}: expected some of {}",
                    nearest(pattern, names).join(", ")
                )));
            }
        }
        if self.of(names).is_empty() {
            return Err(config.refuse(
                "there is nothing to quantise: it has no layer between the first and the last, which stay in full precision unless \
                 bits are given for them"
                    .into(),
            ));
        }
        Ok(())
    }

    /// What is said besides bits, for a table.
    pub(super) fn remarks(&self) -> Vec<String> {
        let said = |is: bool, text: &str| is.then(|| text.to_owned());
        let ends = self.ends.map(|bits| format!("ends W{bits}A{bits}"));
        let layers = match self.layers.len() {
            0 => None,
            _ => Some("some layers of their own bits".to_owned()),
        };
        [
            ends,
            said(self.per_filter, "a step per filter"),
            said(self.narrow, "without the lowest code"),
            said(self.power_of_two, "powers of two"),
            layers,
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// The most names that an error lists.
const MOST_NAMED: usize = 8;

/// The names that have most letters in common with a pattern, from the start.
fn nearest<'a>(pattern: &str, names: &[(usize, &'a str)]) -> Vec<&'a str> {
    let common = |name: &str| {
        pattern
            .chars()
            .zip(name.chars())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let mut names: Vec<&str> = names.iter().map(|&(_, name)| name).collect();
    names.sort_by_key(|name| std::cmp::Reverse(common(name)));
    names.truncate(MOST_NAMED);
    names
}

impl LayerPlan {
    fn is_quantised(&self) -> bool {
        self.weights != WeightQuantizer::Identity || self.activations != Bits::FULL
    }
}

/// The layer, its weights and what it reads.
impl fmt::Display for LayerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: weights {}, reads ", self.layer, self.weights)?;
        match self.activations.levels() {
            None => f.write_str("full precision"),
            Some(_) => write!(f, "{} bits", self.activations),
        }
    }
}
