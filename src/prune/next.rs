//! The widths that one round of the channel search leaves of a live network.

use crate::mapping::channels::{KeptWidth, network_rounds_from};
use crate::mapping::{MappingConfig, MappingError, Network, WidthLimits};

/// What one round of the channel search finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextWidths {
    /// The widths it leaves, one for each group of channels; none where nothing is left to prune.
    pub widths: Option<Vec<usize>>,
    /// The widths that it leaves against its rule, by the places of their groups.
    pub kept: Vec<KeptWidth>,
}

impl NextWidths {
    /// Of `network`, whose n-th free width is that of group `free[n]`. The groups have `widths` channels, and had
    /// `original` before anything was pruned.
    ///
    /// # Errors
    ///
    /// Those of [`network_rounds_from`].
    pub(crate) fn of(
        network: &Network,
        free: &[usize],
        widths: &[usize],
        original: &[usize],
        mapping: &MappingConfig,
        limits: &WidthLimits,
    ) -> Result<Self, MappingError> {
        if original.len() != widths.len() {
            return Err(MappingError::WidthCount {
                expected: widths.len(),
                found: original.len(),
            });
        }
        let original: Vec<usize> = free.iter().map(|&group| original[group]).collect();
        let mut rounds = network_rounds_from(network, &original, mapping, limits, 1)?;
        for kept in &mut rounds.kept {
            kept.width = free[kept.width];
        }
        let next = rounds.networks.pop().map(|next| next.widths()).transpose()?;
        let next = next.map(|next| {
            let mut widths = widths.to_vec();
            for (&group, width) in free.iter().zip(next) {
                widths[group] = width;
            }
            widths
        });
        Ok(Self {
            widths: next,
            kept: rounds.kept,
        })
    }
}
