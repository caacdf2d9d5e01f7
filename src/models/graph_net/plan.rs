//! Which layers of a network of a graph are quantised, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::GraphNetConfig;
use crate::Error;
use crate::pattern::fits;
use crate::quant::{Bits, LearnedSteps, WeightQuantizer};

/// How a [`GraphNet`](super::GraphNet) is quantised: at first all layers but the first and the last.
///
/// What a layer reads is rounded in front of it, the same for all layers that read it, with as many bits as the one that has most.
///
/// ```
/// use vwc_sdk::models::QuantPlan;
/// use vwc_sdk::quant::{Bits, LearnedSteps};
///
/// # fn main() -> Result<(), vwc_sdk::quant::BitsError> {
/// let (four, eight) = (Bits::new(4)?, Bits::new(8)?);
/// let weights = LearnedSteps::new(four).with_per_filter(true);
/// let plan = QuantPlan::new(weights, four).with_ends(eight).with_layers("layer1.*", eight, eight);
/// # let _ = plan;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantPlan {
    weights: LearnedSteps,
    activations: Bits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Bits>,
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
    /// Bits of what it reads. Of layers that read one value, all have those of the one that has most.
    pub activations: Bits,
    /// The place of its node.
    pub(super) node: usize,
}

impl QuantPlan {
    /// Weights as multiples of such steps, and activations of so many bits. Weights of one bit are signs times the mean magnitude of
    /// each filter ([`WeightQuantizer::Xnor`]) unless the steps are powers of two.
    #[must_use]
    pub fn new(weights: impl Into<LearnedSteps>, activations: Bits) -> Self {
        Self {
            weights: weights.into(),
            activations,
            ends: None,
            layers: Vec::new(),
        }
    }

    /// Bits of weights and activations.
    pub(super) fn bits(&self) -> [Bits; 2] {
        [self.weights.bits(), self.activations]
    }

    /// The first layer and the last with weights and activations of so many bits. Default: in full precision.
    #[must_use]
    pub fn with_ends(self, bits: Bits) -> Self {
        Self {
            ends: Some(bits),
            ..self
        }
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
        *self == Self::new(self.weights.bits(), self.activations)
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
                None => self.bits(),
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
        let steps = self.weights.with_bits(bits);
        match bits.get() {
            32 => WeightQuantizer::Identity,
            1 if !steps.is_power_of_two() => WeightQuantizer::xnor(),
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
                "there is nothing to quantise: the first layer and the last stay in full precision unless bits are given for them, and no \
                 other layer has fewer than 32 bits"
                    .into(),
            ));
        }
        Ok(())
    }

    /// What is said besides bits, for a table.
    pub(super) fn remarks(&self) -> Vec<String> {
        let ends = self.ends.map(|bits| format!("ends W{bits}A{bits}"));
        let form = self.weights.form().map(str::to_owned);
        let layers = (!self.layers.is_empty()).then(|| "some layers of their own bits".to_owned());
        ends.into_iter().chain(form).chain(layers).collect()
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
