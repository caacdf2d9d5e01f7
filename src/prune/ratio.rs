//! Pruning by a ratio.

use burn::config::Config;
use serde::{Deserialize, Serialize};

use super::Ranking;
use crate::Error;
use crate::mapping::WidthLimits;
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
/// use vwc_sdk::mapping::WidthLimits;
/// use vwc_sdk::models::{NetworkConfig, ResNet20Config};
/// use vwc_sdk::prune::{Ranking, Ratio, groups_of};
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let network = ResNet20Config::new().with_widths([16, 32, 64]).init(&Device::default());
/// let ratio = Ratio::new(0.4).with_limits(WidthLimits::default().with_multiple(8));
/// let widths = groups_of(&network)?.widths(&network, &ratio, Ranking::L1)?;
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
    /// What stays of every group, whatever the ratio. A group is held by its name or by the path of one of
    /// its parameters, those of the layers that read or make it.
    /// Multiples are rounded up, so that never more goes than was asked for. Default: one channel of each.
    #[config(default = "WidthLimits::default()")]
    pub limits: WidthLimits,
}

impl Ratio {
    /// The widths it leaves of these groups of a module of these parameters, which had `original` channels before anything was
    /// pruned.
    pub(super) fn of_groups(
        &self,
        groups: &[ChannelGroup],
        original: &[usize],
        parameters: &Parameters,
        ranking: Ranking,
    ) -> Result<Vec<usize>, Error> {
        if !(0.0..1.0).contains(&self.ratio) {
            return Err(Error::Recipe(format!(
                "a pruning ratio of {}: expected a part from 0 to below 1",
                self.ratio
            )));
        }
        let channels = channels(groups);
        let names: Vec<Vec<&str>> = (groups.iter())
            .map(|group| {
                let paths = group.slices.iter().map(|slice| slice.path.as_str());
                std::iter::once(group.name.as_str()).chain(paths).collect()
            })
            .collect();
        let multiples = vec![self.limits.multiple; groups.len()];
        let bounds = self.limits.of(channels.clone(), original, multiples, &names)?;
        let least = |group: usize| bounds.at_least(group, 1);
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
            *kept = bounds.at_least(group, *kept);
        }
        Ok(kept)
    }
}

pub(super) fn channels(groups: &[ChannelGroup]) -> Vec<usize> {
    groups.iter().map(|group| group.channels).collect()
}

/// So much of `count`, rounded down: 29 of a hundred at 0.29, which is a little less in binary.
fn part(count: usize, ratio: f64) -> usize {
    (count as f64 * ratio + 1e-9).floor() as usize
}
