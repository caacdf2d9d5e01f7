//! Which layers of a network of a graph are quantised, and how.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::GraphNetConfig;
use crate::Error;
use crate::pattern::fits;
use crate::quant::{ActivationQuantizer, Bits, LearnedSteps, WeightQuantizer, WeightScheme};

/// How a [`GraphNet`](super::GraphNet) is quantised: at first all layers but the first and the last.
///
/// What a layer reads is rounded in front of it, the same for all that read it rounded, with as many bits as the one that has most.
/// [`GraphNetConfig::quantized_layers`] and [`GraphNetConfig::quantized_joins`] are what a plan comes to, a line for each.
///
/// ```
/// use vwc_sdk::models::QuantPlan;
/// use vwc_sdk::quant::{ActivationQuantizer, Bits, LearnedSteps};
///
/// # fn main() -> Result<(), vwc_sdk::quant::BitsError> {
/// let (four, eight) = (Bits::new(4)?, Bits::new(8)?);
/// let weights = LearnedSteps::new(four).with_per_filter(true);
/// let plan = QuantPlan::new(weights, four).with_ends(eight).with_layers("layer1.*", eight, eight);
/// // What layers read by a learned clip, and what residual additions read, too.
/// let plan = plan.with_activations(ActivationQuantizer::Pact).with_joins(true);
/// # let _ = plan;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuantPlan {
    weights: LearnedSteps,
    activations: Bits,
    #[serde(default, skip_serializing_if = "is_default")]
    scheme: WeightScheme,
    #[serde(default, skip_serializing_if = "is_default")]
    quantizer: ActivationQuantizer,
    #[serde(default, skip_serializing_if = "is_default")]
    joins: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    fold_norms: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ends: Option<Bits>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layers>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// How that is rounded.
    pub quantizer: ActivationQuantizer,
    /// The place of its node.
    pub(super) node: usize,
    /// Whether it joins values, and has no weights.
    pub(super) join: bool,
}

/// A value that is rounded for what reads it.
pub(crate) struct RoundedValue {
    /// The place of its node.
    pub value: usize,
    /// The path of the quantiser.
    pub path: String,
    /// One that suits it.
    pub quantizer: ActivationQuantizer,
    pub bits: Bits,
    /// Whether it is certainly not below zero.
    pub not_below_zero: bool,
}

impl QuantPlan {
    /// Weights as multiples of such steps, and activations of so many bits. Weights of one bit are signs times the mean magnitude of
    /// each filter ([`WeightQuantizer::Xnor`]) unless the steps are powers of two.
    #[must_use]
    pub fn new(weights: impl Into<LearnedSteps>, activations: Bits) -> Self {
        Self {
            weights: weights.into(),
            activations,
            scheme: WeightScheme::default(),
            quantizer: ActivationQuantizer::default(),
            joins: false,
            fold_norms: false,
            ends: None,
            layers: Vec::new(),
        }
    }

    /// What the weights of layers become, of the bits that they have. Default: [`WeightScheme::Lsq`].
    #[must_use]
    pub fn with_weights(self, scheme: WeightScheme) -> Self {
        Self { scheme, ..self }
    }

    /// How what layers read is rounded. Default: [`ActivationQuantizer::Lsq`].
    #[must_use]
    pub fn with_activations(self, quantizer: ActivationQuantizer) -> Self {
        Self { quantizer, ..self }
    }

    /// Whether what additions and concatenations of two values and more read is rounded, too, each value for itself: as integer
    /// runtimes and adders of few bits have it. Default: not.
    #[must_use]
    pub fn with_joins(self, joins: bool) -> Self {
        Self { joins, ..self }
    }

    /// Bits of weights and activations.
    pub(super) fn bits(&self) -> [Bits; 2] {
        [self.weights.bits(), self.activations]
    }

    /// Whether the batch norm behind a convolution is folded into its weights before they are quantised: as runtimes compute that fold
    /// it themselves, with a step of the folded weights. Training computes such a layer twice, for the statistics of its batches. Default:
    /// not.
    #[must_use]
    pub fn with_folded_norms(self, fold_norms: bool) -> Self {
        Self { fold_norms, ..self }
    }

    /// Whether layers have other bits than [`bits`](Self::bits).
    pub(crate) fn has_own_bits(&self) -> bool {
        self.ends.is_some() || !self.layers.is_empty()
    }

    pub(super) fn folds_norms(&self) -> bool {
        self.fold_norms
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
    /// beginning up to a dot, in which `*` stands for anything. The path of a layer counts before patterns that fit it, and of several patterns the
    /// last. Of joins, the bits of activations count.
    #[must_use]
    pub fn with_layers(mut self, pattern: impl Into<String>, weights: Bits, activations: Bits) -> Self {
        self.layers.push(Layers {
            pattern: pattern.into(),
            weights,
            activations,
        });
        self
    }

    /// What is said of a layer or a join: by its name, else by the last pattern that fits it.
    fn own(&self, name: &str) -> Option<&Layers> {
        let named = self.layers.iter().rev().find(|layers| layers.pattern == name);
        named.or_else(|| {
            self.layers
                .iter()
                .rev()
                .find(|layers| fits(&layers.pattern, name))
        })
    }

    /// Whether nothing but the two numbers of bits is said.
    pub(super) fn is_plain(&self) -> bool {
        *self == Self::new(self.weights.bits(), self.activations)
    }

    /// The layers of `names`, in their order, that are quantised. What of a quantiser suits a value is not yet told apart.
    pub(super) fn of(&self, names: &[(usize, &str)]) -> Vec<LayerPlan> {
        let last = names.len().saturating_sub(1);
        let bits = |n: usize, name: &str| match self.own(name) {
            Some(layers) => [layers.weights, layers.activations],
            None if n == 0 || n == last => [self.ends.unwrap_or(Bits::FULL); 2],
            None => self.bits(),
        };
        let layers = names.iter().enumerate().map(|(n, &(node, name))| {
            let [weights, activations] = bits(n, name);
            LayerPlan {
                layer: name.to_owned(),
                weights: self.scheme.quantizer(self.weights.with_bits(weights)),
                activations,
                quantizer: self.quantizer,
                node,
                join: false,
            }
        });
        layers.filter(|layer| layer.is_quantised()).collect()
    }

    /// The joins of `names`, in their order, that read rounded values.
    pub(super) fn of_joins(&self, names: &[(usize, &str)]) -> Vec<LayerPlan> {
        let joins = names
            .iter()
            .filter(|_| self.joins)
            .map(|&(node, name)| LayerPlan {
                layer: name.to_owned(),
                weights: WeightQuantizer::Identity,
                activations: self
                    .own(name)
                    .map_or(self.activations, |layers| layers.activations),
                quantizer: self.quantizer,
                node,
                join: true,
            });
        joins.filter(|join| join.is_quantised()).collect()
    }

    /// # Errors
    ///
    /// [`Error::Structure`] where a pattern fits none of these layers, nor a join where these are rounded, or nothing is quantised.
    pub(super) fn check(
        &self,
        config: &GraphNetConfig,
        names: &[(usize, &str)],
        joins: &[(usize, &str)],
    ) -> Result<(), Error> {
        for Layers { pattern, .. } in &self.layers {
            let fits = config.check_pattern(pattern, self.joins);
            fits.map_err(|reason| config.refuse(reason))?;
        }
        if self.of(names).is_empty() && self.of_joins(joins).is_empty() {
            return Err(config.refuse(
                "there is nothing to quantise: the first layer and the last stay in full precision unless bits are given for them (--ends), and \
                 no other layer has fewer than 32 bits"
                    .into(),
            ));
        }
        Ok(())
    }

    /// What the plan asks for that changes nothing of these layers and joins, of a network whose layers have these names, and why.
    pub(super) fn without_effect(&self, planned: &[LayerPlan], names: &[(usize, &str)]) -> Option<String> {
        if let Some(bits) = self.ends {
            let are_named = [names.first(), names.last()]
                .into_iter()
                .flatten()
                .all(|(_, name)| self.own(name).is_some());
            let why = match (bits == Bits::FULL, are_named) {
                (true, _) => "the first layer and the last are in full precision without it",
                (false, true) => "--layer-bits names both the first layer and the last",
                (false, false) => "",
            };
            if !why.is_empty() {
                return Some(format!("--ends {bits}: {why}: leave it out"));
            }
        }
        let weights = |fits: fn(&WeightQuantizer) -> bool| planned.iter().any(|layer| fits(&layer.weights));
        let flags: Vec<&str> = self.weights.flags().collect();
        if !flags.is_empty() && !weights(|weights| matches!(weights, WeightQuantizer::Steps(_))) {
            let why = if !weights(|weights| *weights != WeightQuantizer::Identity) {
                "weights stay in full precision: give --wb".into()
            } else if !weights(|weights| {
                !matches!(weights, WeightQuantizer::Identity | WeightQuantizer::Xnor)
            }) {
                "weights of one bit are signs times the mean magnitude of each filter, without a step: leave it out".into()
            } else {
                format!(
                    "--weights {} has no learned steps: leave one of them out",
                    self.scheme
                )
            };
            return Some(format!("{}: {why}", flags.join(", ")));
        }
        let of_one_bit = |layer: &LayerPlan| !matches!(layer.weights, WeightQuantizer::Steps(steps) if steps.bits() > Bits::ONE);
        if self.weights.is_narrow() && planned.iter().all(of_one_bit) {
            return Some(
                "--narrow: weights of one bit have no lowest code to leave out: leave it out".into(),
            );
        }
        let (is_used, bits) = match self.scheme {
            WeightScheme::Lsq => (true, ""),
            WeightScheme::Dorefa => (
                weights(|weights| *weights != WeightQuantizer::Identity),
                "less than 32",
            ),
            WeightScheme::Ternary => (weights(|weights| *weights == WeightQuantizer::ternary()), "two"),
            WeightScheme::AbsMean => (weights(|weights| *weights == WeightQuantizer::abs_mean()), "two"),
        };
        if !is_used {
            let scheme = self.scheme;
            return Some(format!(
                "--weights {scheme}: it is for weights of {bits} bits, and no layer has such: give them with --wb, --ends or \
                --layer-bits, or leave the flag out"
            ));
        }
        let rounded: Vec<&LayerPlan> = planned
            .iter()
            .filter(|layer| layer.activations.levels().is_some())
            .collect();
        let (flag, why) = if self.joins && !rounded.iter().any(|layer| layer.join) {
            (
                "--joins".to_owned(),
                "the network has no addition or concatenation of several values that are rounded",
            )
        } else if !is_default(&self.quantizer)
            && !rounded.iter().any(|layer| layer.quantizer == self.quantizer)
        {
            let why = match self.quantizer {
                ActivationQuantizer::LsqPlus => "no layer reads numbers that may be below zero",
                _ => "no layer reads numbers that are certainly not below zero",
            };
            (format!("--activations {}", self.quantizer), why)
        } else {
            return None;
        };
        Some(match rounded.is_empty() {
            true => format!("{flag}: what layers read stays in full precision: give --ab"),
            false => format!("{flag}: {why}: leave it out"),
        })
    }

    /// What is said besides bits, for a table.
    pub(super) fn remarks(&self) -> Vec<String> {
        let ends = self.ends.map(|bits| format!("ends W{bits}A{bits}"));
        let form = self.weights.form().map(str::to_owned);
        let scheme = (!is_default(&self.scheme)).then(|| format!("weights by {}", self.scheme.title()));
        let by = (!is_default(&self.quantizer)).then(|| format!("activations by {}", self.quantizer.title()));
        let joins = self.joins.then(|| "joins too".to_owned());
        let folded = self.fold_norms.then(|| "batch norms folded".to_owned());
        let layers = (!self.layers.is_empty()).then(|| "some layers of their own bits".to_owned());
        ends.into_iter()
            .chain(form)
            .chain(scheme)
            .chain(by)
            .chain(joins)
            .chain(folded)
            .chain(layers)
            .collect()
    }
}

impl LayerPlan {
    fn is_quantised(&self) -> bool {
        self.weights != WeightQuantizer::Identity || self.activations != Bits::FULL
    }
}

/// The layer, its weights and what it reads.
impl fmt::Display for LayerPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.layer)?;
        if !self.join {
            write!(f, "weights {}, ", self.weights)?;
        }
        match (self.activations.levels(), self.quantizer) {
            (None, _) => f.write_str("reads full precision"),
            (_, quantizer) => {
                let plural = if self.activations == Bits::ONE { "" } else { "s" };
                write!(f, "reads {} bit{plural}", self.activations)?;
                match quantizer {
                    ActivationQuantizer::Lsq => Ok(()),
                    other => write!(f, " by {}", other.title()),
                }
            }
        }
    }
}
