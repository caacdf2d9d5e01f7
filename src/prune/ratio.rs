//! Pruning by a ratio.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::Ranking;
use crate::Error;
use crate::models::Network;
use crate::module::{ChannelGroup, Parameters};

/// Where a [`Ratio`] is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// Every group of channels loses the same part
    Layer,
    /// The channels of lowest score go, wherever they are; a group's scores are divided by their mean first, since larger
    /// filters have larger norms
    Network,
}

/// Pruning by a ratio, where no array is to be filled.
///
/// ```
/// use burn::tensor::Device;
/// use vwc_sdk::models::{NetworkConfig, ResNet20Config};
/// use vwc_sdk::prune::{Ranking, Ratio};
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let network = ResNet20Config::new().with_widths([16, 32, 64]).init(&Device::default());
/// let widths = Ratio::new(0.4).with_multiple(8).widths(&network, Ranking::L1)?;
/// assert_eq!(widths, [16, 16, 16, 16, 24, 24, 24, 24, 40, 40, 40, 40]);
/// # Ok(())
/// # }
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct Ratio {
    /// The part of the channels that goes, from 0 to below 1.
    pub ratio: f64,
    /// Whether it is counted layer by layer or over the whole network. Default: layer by layer.
    #[config(default = "Scope::Layer")]
    pub scope: Scope,
    /// What the channels that stay are a multiple of, as far as there are as many: rounded up, so that never more goes
    /// than was asked for. Default: 1.
    #[config(default = 1)]
    pub multiple: usize,
    /// Channels that stay in every group that has as many. Default: 1.
    #[config(default = 1)]
    pub minimum: usize,
}

impl Ratio {
    /// The widths it leaves of `network`, one for each of its channel groups.
    ///
    /// # Errors
    ///
    /// A ratio outside its range, a multiple or minimum of 0, and those of [`Ranking::scores`], which the scope of the
    /// whole network asks for.
    pub fn widths<N: Network>(&self, network: &N, ranking: Ranking) -> Result<Vec<usize>, Error> {
        self.of_groups(&network.channel_groups(), &Parameters::of(network), ranking)
    }

    /// As [`widths`](Self::widths), of these groups of a module of these parameters.
    pub(super) fn of_groups(
        &self,
        groups: &[ChannelGroup],
        parameters: &Parameters,
        ranking: Ranking,
    ) -> Result<Vec<usize>, Error> {
        if !(0.0..1.0).contains(&self.ratio) {
            return Err(Error::Recipe(format!(
                "a pruning ratio of {}: expected a part from 0 to below 1",
                self.ratio
            )));
        }
        if self.multiple == 0 || self.minimum == 0 {
            return Err(Error::Recipe(
                "channels are rounded to a multiple of, and kept to a minimum of, 1 or more: expected no 0"
                    .into(),
            ));
        }
        let channels: Vec<usize> = groups.iter().map(|group| group.channels).collect();
        let least = |group: usize| self.minimum.min(channels[group]);
        let mut kept = match self.scope {
            Scope::Layer => (channels.iter())
                .map(|&channels| channels - part(channels, self.ratio))
                .collect(),
            Scope::Network => {
                let mut scores = Vec::new();
                for (index, group) in groups.iter().enumerate() {
                    let of_group = ranking.scores(group, parameters)?;
                    let mean = of_group.iter().sum::<f64>() / of_group.len() as f64;
                    // All-zero scores have no scale, and need none.
                    let scale = if mean > 0.0 { mean } else { 1.0 };
                    scores.extend(of_group.into_iter().map(|score| (score / scale, index)));
                }
                scores.sort_by(|a, b| a.0.total_cmp(&b.0));
                let mut going = part(scores.len(), self.ratio);
                let mut kept = channels.clone();
                for (_, group) in scores {
                    if going > 0 && kept[group] > least(group) {
                        kept[group] -= 1;
                        going -= 1;
                    }
                }
                kept
            }
        };
        for (group, kept) in kept.iter_mut().enumerate() {
            *kept = (*kept)
                .max(least(group))
                .next_multiple_of(self.multiple)
                .min(channels[group]);
        }
        Ok(kept)
    }
}

/// So much of `count`, rounded down: 29 of a hundred at 0.29, which is a little less in binary.
fn part(count: usize, ratio: f64) -> usize {
    (count as f64 * ratio + 1e-9).floor() as usize
}
