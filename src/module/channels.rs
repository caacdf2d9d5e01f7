//! A group of channels: the slices of parameters that go when a channel goes.

/// All that goes when a channel goes: the tensor slices that share one set of channel indices.
///
/// Paths are those of the module's parameters, `norms.0.gamma` for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelGroup {
    /// What the group is called in tables and error messages, usually its producing convolution.
    pub name: String,
    /// The channels it has now.
    pub channels: usize,
    /// The weights whose filters are ranked, along the dimension of their outputs: the producing convolutions. In a
    /// residual stage there are several, whose outputs are added.
    pub ranked_by: Vec<ChannelSlice>,
    /// Every slice that is cut, the producers included.
    pub slices: Vec<ChannelSlice>,
}

/// One dimension of one parameter that runs over the channels of a [`ChannelGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelSlice {
    /// The parameter's path in its module.
    pub path: String,
    /// The dimension that runs over the channels.
    pub dim: usize,
    /// Which of its indices belong to each channel, ascending; none where each channel has the index of its own number.
    pub positions: Option<Vec<Vec<usize>>>,
}

impl ChannelSlice {
    /// Dimension `dim` of the parameter at `path`, of which each channel has the index of its own number.
    pub fn new(path: impl Into<String>, dim: usize) -> Self {
        Self {
            path: path.into(),
            dim,
            positions: None,
        }
    }

    /// Dimension `dim` of the parameter at `path`, of which channel `n` has the indices `positions[n]`: many where a map is
    /// flattened for a linear layer, others than its own where channels are concatenated.
    pub fn at(path: impl Into<String>, dim: usize, positions: Vec<Vec<usize>>) -> Self {
        let own = positions.iter().enumerate().all(|(n, of)| of.as_slice() == [n]);
        Self {
            positions: (!own).then_some(positions),
            ..Self::new(path, dim)
        }
    }

    /// The indices of channel `channel`.
    pub fn indices(&self, channel: usize) -> Vec<usize> {
        match &self.positions {
            Some(positions) => positions[channel].clone(),
            None => vec![channel],
        }
    }
}
