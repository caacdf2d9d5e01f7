//! The prune-and-fine-tune rounds.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::Error;
use crate::mapping::channels::KeptWidth;
use crate::mapping::{ConvLayer, Mapping, MappingConfig, Method, WidthLimits, map_network};
use crate::models::{Network, NetworkConfig as _};
use crate::module::Parameters;
use crate::pattern::fits;
use crate::prune::{FoundGroups, Ranking, Ratio, Scope, groups_of};

/// How the prune-and-fine-tune rounds are run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RoundsConfig {
    /// The array, accounting and search that widths are chosen for.
    pub mapping: MappingConfig,
    /// Rounds at the most.
    pub max_rounds: usize,
    /// Validation accuracy of the original network, per cent.
    pub original_accuracy: f64,
    /// How many points of it a pruned network may lose.
    pub budget: f64,
    /// What chooses the widths of a round.
    pub widths: WidthChoice,
    /// Which channels stay.
    pub ranking: Ranking,
    /// The widths of the original network, by the names of its groups of channels ([`FoundGroups::by_name`]), of which limits
    /// keep a share; none where the rounds start from the original.
    pub original_widths: Option<BTreeMap<String, usize>>,
    /// Patterns for convolutions that are not mapped: by their paths.
    pub left_out: Vec<String>,
}

/// What chooses the widths of a round.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WidthChoice {
    /// The channel search for the array: residual channel pruning (RCP), as VWC-SDK does it, within limits.
    Array(WidthLimits),
    /// A ratio, whatever the array.
    Ratio(Ratio),
    /// A point of the exact front of channels against cycles: the most channels that the array computes in so many cycles.
    Front {
        /// Cycles of all convolutions that are mapped.
        cycles: u64,
        /// What each width keeps.
        limits: WidthLimits,
    },
}

impl WidthChoice {
    /// What the network of round `number`, from 1, is called.
    pub fn name(&self, number: usize) -> String {
        match self {
            Self::Array(_) => format!("RCP{number}"),
            Self::Ratio(_) => format!("ratio{number}"),
            Self::Front { .. } => format!("front{number}"),
        }
    }

    /// How a round is pruned by `ranking` for the array of `mapping`, in words.
    pub fn in_words(&self, mapping: &MappingConfig, ranking: Ranking) -> String {
        match self {
            Self::Array(limits) => format!("to {} by {ranking}{}", mapping.array, limits.in_words()),
            Self::Front { cycles, limits } => {
                let limits = limits.in_words();
                format!("to {cycles} cycles on {} by {ranking}{limits}", mapping.array)
            }
            Self::Ratio(ratio) => format!(
                "{} of the {}, in multiples of {}, at least {}, by {ranking}{}",
                ratio.ratio,
                match ratio.scope {
                    Scope::Layer => "layer",
                    Scope::Network => "network",
                },
                ratio.limits.multiple,
                ratio.limits.minimum,
                // The two that are said already are left out.
                (ratio.limits.clone().with_multiple(1).with_minimum(1)).in_words()
            ),
        }
    }
}

/// A network, pruned or not, with its place on the array.
#[derive(Debug)]
#[non_exhaustive]
pub struct Round<N> {
    /// `original`, `RCP1`, `RCP2`, ..., or `ratio1`, ...
    pub name: String,
    /// The network, fine-tuned.
    pub network: N,
    /// Its groups of channels.
    pub groups: FoundGroups,
    /// Its convolutions.
    pub layers: Vec<ConvLayer>,
    /// How each is laid out.
    pub mappings: Vec<Mapping>,
    /// Best validation accuracy, per cent.
    pub valid_accuracy: f64,
}

impl<N: Network> Round<N> {
    /// Maps `network` and calls it `name`; of its convolutions all but those that the patterns of `left_out` fit.
    ///
    /// # Errors
    ///
    /// Those of [`groups_of`] and [`map_network`], and a pattern that fits no convolution.
    pub fn new(
        name: impl Into<String>,
        network: N,
        valid_accuracy: f64,
        mapping: &MappingConfig,
        left_out: &[String],
    ) -> Result<Self, Error> {
        let groups = groups_of(&network)?;
        let called = network.config().name();
        let all = groups.mapped(&called).0.layers;
        let unknown = |pattern: &&String| !all.iter().any(|layer| fits(pattern, &layer.name));
        if let Some(pattern) = left_out.iter().find(unknown) {
            let names: Vec<&str> = all.iter().map(|layer| layer.name.as_str()).collect();
            return Err(Error::Recipe(format!(
                "{pattern}: no convolution of {called} is called so: leave out some of {}",
                names.join(", ")
            )));
        }
        let groups = groups.with_layers_left_out(left_out);
        let layers = groups.mapped(&called).0.layers;
        Ok(Self {
            name: name.into(),
            mappings: map_network(&layers, Method::VwSdk, mapping)?,
            layers,
            groups,
            network,
            valid_accuracy,
        })
    }

    /// Computing cycles of all convolutions.
    pub fn cycles(&self) -> u64 {
        self.mappings.iter().map(|mapping| mapping.cycles).sum()
    }

    /// Computing cycles of the convolutions that pruning can touch on both sides: all but the first, as the published
    /// tables count.
    pub fn cycles_after_first(&self) -> u64 {
        self.mappings.iter().skip(1).map(|mapping| mapping.cycles).sum()
    }
}

/// Why no further round was run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum StopReason {
    /// There is nothing left to prune: every channel tile is full, or no channel is to spare.
    FixedPoint,
    /// The last round lost more accuracy than the budget allows.
    OverBudget,
    /// As many rounds as were asked for.
    MaxRounds,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FixedPoint => "nothing is left to prune",
            Self::OverBudget => "the last round lost more accuracy than the budget allows",
            Self::MaxRounds => "as many rounds as were asked for",
        })
    }
}

/// All rounds of a network.
#[derive(Debug)]
#[non_exhaustive]
pub struct Rounds<N> {
    /// The network that was started from first, then every round that was run.
    pub rounds: Vec<Round<N>>,
    /// Index of the winner: the last round inside the budget, or 0, the network that was started from.
    pub winner: usize,
    /// Why it ended.
    pub stopped: StopReason,
    /// The widths that the last channel search left against its rule.
    pub kept: Vec<KeptWidth>,
}

impl<N> Rounds<N> {
    /// `rounds` and the winner among them.
    pub(crate) fn new(
        rounds: Vec<Round<N>>,
        stopped: StopReason,
        kept: Vec<KeptWidth>,
        config: &RoundsConfig,
    ) -> Self {
        let least = config.least_accuracy();
        let inside = |round: &Round<N>| round.valid_accuracy >= least;
        Self {
            winner: rounds.iter().rposition(inside).unwrap_or(0),
            rounds,
            stopped,
            kept,
        }
    }
}

impl RoundsConfig {
    /// Up to 20 rounds to the widths that the array of `mapping` wants, by L1, as long as no more than a point of
    /// `original_accuracy`, in per cent, is lost.
    pub fn new(mapping: MappingConfig, original_accuracy: f64) -> Self {
        Self {
            mapping,
            max_rounds: 20,
            original_accuracy,
            budget: 1.0,
            widths: WidthChoice::Array(WidthLimits::default()),
            ranking: Ranking::L1,
            original_widths: None,
            left_out: Vec::new(),
        }
    }

    /// Leaves the convolutions whose paths these patterns fit out of what is mapped: `*.shortcut`, or the beginning of a path up
    /// to a dot.
    #[must_use]
    pub fn with_layers_left_out<P: Into<String>>(self, patterns: impl IntoIterator<Item = P>) -> Self {
        Self {
            left_out: patterns.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// Keeps shares of these widths, those of the original network.
    #[must_use]
    pub fn with_original_widths(self, widths: BTreeMap<String, usize>) -> Self {
        Self {
            original_widths: Some(widths),
            ..self
        }
    }

    /// Runs no more rounds than this.
    #[must_use]
    pub fn with_max_rounds(self, max_rounds: usize) -> Self {
        Self { max_rounds, ..self }
    }

    /// Lets a pruned network lose so many points.
    #[must_use]
    pub fn with_budget(self, budget: f64) -> Self {
        Self { budget, ..self }
    }

    /// Chooses the widths otherwise.
    #[must_use]
    pub fn with_widths(self, widths: WidthChoice) -> Self {
        Self { widths, ..self }
    }

    /// Ranks channels otherwise.
    #[must_use]
    pub fn with_ranking(self, ranking: Ranking) -> Self {
        Self { ranking, ..self }
    }

    fn least_accuracy(&self) -> f64 {
        self.original_accuracy - self.budget
    }
}

/// Prunes `start`, the network of round `before` (0: the original), round by round: channel search on the live
/// network's convolutions, rewriting, fine-tuning.
///
/// `fine_tune` trains the pruned network of a round and returns it with its validation accuracy in per cent; it is
/// given the round's number, from 1, and the network.
///
/// VWC-SDK (Rhe, Moon, Ko; JETCAS 2022), the loop around its channel search. The published loop watches test
/// accuracy; here the validation pictures decide.
///
/// # Errors
///
/// Those of the search, of [`FoundGroups::prune_with`] and of `fine_tune`; a budget or an accuracy that is no number, and a network
/// from `fine_tune` that is not the one that it was given.
pub fn rounds<N: Network>(
    start: Round<N>,
    before: usize,
    config: &RoundsConfig,
    mut fine_tune: impl FnMut(usize, N) -> Result<(N, f64), Error>,
) -> Result<Rounds<N>, Error> {
    let least = config.least_accuracy();
    if !(config.budget >= 0.0 && least.is_finite() && start.valid_accuracy.is_finite()) {
        return Err(Error::Recipe(format!(
            "rounds from an accuracy of {} that may lose {} points of {}: expected numbers, and a budget from 0 up",
            start.valid_accuracy, config.budget, config.original_accuracy
        )));
    }
    let original = config
        .original_widths
        .clone()
        .unwrap_or_else(|| start.groups.by_name());
    let mut rounds = vec![start];
    let mut kept = Vec::new();
    let stopped = loop {
        let done = rounds.len() - 1;
        let current = &rounds[done];
        if current.valid_accuracy < least {
            break StopReason::OverBudget;
        }
        let groups = current.groups.clone().with_original_widths(original.clone());
        let widths = match &config.widths {
            WidthChoice::Array(limits) => {
                let next = groups.next_widths(&config.mapping, limits)?;
                kept = next.kept;
                next.widths
            }
            WidthChoice::Ratio(ratio) => Some(groups.widths(&current.network, ratio, config.ranking)?)
                .filter(|widths| *widths != groups.channels()),
            WidthChoice::Front { cycles, limits } => {
                let widths = groups.widths_within(*cycles, &config.mapping, limits)?;
                Some(widths).filter(|widths| *widths != groups.channels())
            }
        };
        let Some(widths) = widths else {
            break StopReason::FixedPoint;
        };
        if done == config.max_rounds {
            break StopReason::MaxRounds;
        }
        let number = before + done + 1;
        let whole = &current.network;
        let (pruned, _) = groups.prune_with(whole, &widths, config.ranking, N::forward, N::refit)?;
        let shapes = Parameters::shapes(&pruned);
        let (network, valid_accuracy) = fine_tune(number, pruned)?;
        let name = config.widths.name(number);
        if !valid_accuracy.is_finite() {
            return Err(Error::Recipe(format!(
                "{name}: an accuracy of {valid_accuracy} after fine-tuning is no number"
            )));
        }
        let same = Parameters::shapes(&network) == shapes;
        let round = Round::new(name, network, valid_accuracy, &config.mapping, &config.left_out)?;
        if !same {
            return Err(Error::Recipe(format!(
                "{}: fine-tuning returned a network of widths {:?}, expected the one that it was given, of {widths:?}",
                round.name,
                round.groups.channels()
            )));
        }
        rounds.push(round);
    };
    Ok(Rounds::new(rounds, stopped, kept, config))
}
