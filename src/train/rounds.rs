use std::fmt;

use serde::Serialize;

use crate::Error;
use crate::mapping::channels::KeptWidth;
use crate::mapping::{ConvLayer, Mapping, MappingConfig, Method, WidthLimits, map_network};
use crate::models::{Network, NetworkConfig};
use crate::prune::{NextWidths, Ranking, Ratio, channels, prune};

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
    /// The widths of the original network, one for each of its groups of channels, of which limits keep a share; none where
    /// the rounds start from the original.
    pub original_widths: Option<Vec<usize>>,
}

/// What chooses the widths of a round.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WidthChoice {
    /// The channel search for the array: residual channel pruning (RCP), as VWC-SDK does it, within limits.
    Array(WidthLimits),
    /// A ratio, whatever the array.
    Ratio(Ratio),
}

impl WidthChoice {
    /// What the network of round `number`, from 1, is called.
    pub fn name(&self, number: usize) -> String {
        match self {
            Self::Array(_) => format!("RCP{number}"),
            Self::Ratio(_) => format!("ratio{number}"),
        }
    }
}

/// A network, pruned or not, with its place on the array.
#[derive(Debug)]
#[non_exhaustive]
pub struct Round<C: NetworkConfig> {
    /// `original`, `RCP1`, `RCP2`, ..., or `ratio1`, ...
    pub name: String,
    /// Its structure.
    pub config: C,
    /// Its weights, fine-tuned.
    pub network: C::Network,
    /// Its convolutions.
    pub layers: Vec<ConvLayer>,
    /// How each is laid out.
    pub mappings: Vec<Mapping>,
    /// Best validation accuracy, per cent.
    pub valid_accuracy: f64,
}

impl<C: NetworkConfig> Round<C> {
    /// Maps `network` and calls it `name`.
    ///
    /// # Errors
    ///
    /// Those of [`map_network`].
    pub fn new(
        name: impl Into<String>,
        config: C,
        network: C::Network,
        valid_accuracy: f64,
        mapping: &MappingConfig,
    ) -> Result<Self, Error> {
        let layers = network.conv_layers();
        Ok(Self {
            name: name.into(),
            mappings: map_network(&layers, Method::VwSdk, mapping)?,
            layers,
            config,
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
pub struct Rounds<C: NetworkConfig> {
    /// The network that was started from first, then every round that was run.
    pub rounds: Vec<Round<C>>,
    /// Index of the winner: the last round inside the budget, or 0, the network that was started from.
    pub winner: usize,
    /// Why it ended.
    pub stopped: StopReason,
    /// The widths that the last channel search left against its rule.
    pub kept: Vec<KeptWidth>,
}

impl<C: NetworkConfig> Rounds<C> {
    /// `rounds` and the winner among them.
    pub(crate) fn new(
        rounds: Vec<Round<C>>,
        stopped: StopReason,
        kept: Vec<KeptWidth>,
        config: &RoundsConfig,
    ) -> Self {
        let least = config.least_accuracy();
        let inside = |round: &Round<C>| round.valid_accuracy >= least;
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
        }
    }

    /// Keeps shares of these widths, those of the original network.
    #[must_use]
    pub fn with_original_widths(self, widths: Vec<usize>) -> Self {
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
/// given the round's number, from 1, the structure and the network.
///
/// VWC-SDK (Rhe, Moon, Ko; JETCAS 2022), the loop around its channel search. The published loop watches test
/// accuracy; here the validation pictures decide.
///
/// # Errors
///
/// Those of the search, of [`prune`] and of `fine_tune`.
pub fn rounds<C: NetworkConfig>(
    start: Round<C>,
    before: usize,
    config: &RoundsConfig,
    mut fine_tune: impl FnMut(usize, &C, C::Network) -> Result<(C::Network, f64), Error>,
) -> Result<Rounds<C>, Error> {
    let least = config.least_accuracy();
    let original = config
        .original_widths
        .clone()
        .unwrap_or_else(|| start.config.widths());
    let mut rounds = vec![start];
    let mut kept = Vec::new();
    let stopped = loop {
        let done = rounds.len() - 1;
        let current = &rounds[done];
        if current.valid_accuracy < least {
            break StopReason::OverBudget;
        }
        let widths = match &config.widths {
            WidthChoice::Array(limits) => {
                let next = next_widths_from(&current.network, &original, &config.mapping, limits)?;
                kept = next.kept;
                next.widths
            }
            WidthChoice::Ratio(ratio) => {
                Some(ratio.widths_from(&current.network, &original, config.ranking)?)
                    .filter(|widths| *widths != current.config.widths())
            }
        };
        let Some(widths) = widths else {
            break StopReason::FixedPoint;
        };
        if done == config.max_rounds {
            break StopReason::MaxRounds;
        }
        let number = before + done + 1;
        let pruned = prune(&current.network, &current.config, &widths, config.ranking)?;
        let (network, valid_accuracy) = fine_tune(number, &pruned.config, pruned.network)?;
        rounds.push(Round::new(
            config.widths.name(number),
            pruned.config,
            network,
            valid_accuracy,
            &config.mapping,
        )?);
    };
    Ok(Rounds::new(rounds, stopped, kept, config))
}

/// The widths that one round of the channel search leaves of a live network, one for each of its channel groups. Widths that no
/// mapped convolution reads stay as they are. The shares of `limits` are those of the network as it is.
///
/// # Errors
///
/// Those of [`network_rounds`](crate::mapping::channels::network_rounds).
pub fn next_widths<N: Network>(
    network: &N,
    mapping: &MappingConfig,
    limits: &WidthLimits,
) -> Result<NextWidths, Error> {
    next_widths_from(network, &channels(&network.channel_groups()), mapping, limits)
}

/// As [`next_widths`], of a network that had `original` channels before it was pruned.
fn next_widths_from<N: Network>(
    network: &N,
    original: &[usize],
    mapping: &MappingConfig,
    limits: &WidthLimits,
) -> Result<NextWidths, Error> {
    let (mapped, free) = network.mapped();
    let widths = channels(&network.channel_groups());
    Ok(NextWidths::of(
        &mapped, &free, &widths, original, mapping, limits,
    )?)
}
