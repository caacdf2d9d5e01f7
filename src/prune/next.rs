//! The widths that one round of the channel search leaves of a live network.

use crate::mapping::channels::KeptWidth;

/// What one round of the channel search finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextWidths {
    /// The widths it leaves, one for each group of channels; none where nothing is left to prune.
    pub widths: Option<Vec<usize>>,
    /// The widths that it leaves against its rule, by the places of their groups.
    pub kept: Vec<KeptWidth>,
}
