//! A group of channels: the slices of parameters that go when a channel goes, and the widths that a search may choose.

use crate::mapping::Tie;

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

impl ChannelGroup {
    /// A group of `channels` channels that nothing produces yet.
    pub fn new(name: impl Into<String>, channels: usize) -> Self {
        Self {
            name: name.into(),
            channels,
            ranked_by: Vec::new(),
            slices: Vec::new(),
        }
    }

    /// Adds the convolution at `path` as a producer: the filters of its weight.
    pub fn with_producer(mut self, path: &str) -> Self {
        self.ranked_by
            .push(ChannelSlice::new(format!("{path}.weight"), 0));
        self.with_slice(format!("{path}.weight"), 0)
    }

    /// Adds the convolution at `path` as a reader: the input channels of its weight.
    pub fn with_reader(self, path: &str) -> Self {
        self.with_slice(format!("{path}.weight"), 1)
    }

    /// Adds dimension `dim` of the parameter at `path`.
    pub fn with_slice(mut self, path: impl Into<String>, dim: usize) -> Self {
        self.slices.push(ChannelSlice::new(path, dim));
        self
    }

    /// Adds the four vectors of the batch norm at `path`: gamma, beta and the running statistics.
    pub fn with_batch_norm(self, path: &str) -> Self {
        ["gamma", "beta", "running_mean", "running_var"]
            .into_iter()
            .fold(self, |group, vector| {
                group.with_slice(format!("{path}.{vector}"), 0)
            })
    }

    fn holds(&self, path: &str, dim: usize) -> bool {
        self.slices
            .iter()
            .any(|slice| slice.dim == dim && slice.path.strip_suffix(".weight") == Some(path))
    }
}

/// The widths that a search over the convolutions at `paths` may choose: the groups that one of them reads, and for
/// each convolution the two that it stands between, counted among those.
pub(crate) fn ties(groups: &[ChannelGroup], paths: &[String]) -> (Vec<usize>, Vec<Tie>) {
    let free: Vec<usize> = (0..groups.len())
        .filter(|&group| paths.iter().any(|path| groups[group].holds(path, 1)))
        .collect();
    let tie = |path: &String| {
        let side = |dim| free.iter().position(|&group| groups[group].holds(path, dim));
        Tie {
            input: side(1),
            output: side(0),
        }
    };
    let ties = paths.iter().map(tie).collect();
    (free, ties)
}
