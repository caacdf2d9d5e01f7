/// All that goes when a channel goes: the tensor slices that share one set of channel indices.
///
/// Paths are those of the module's parameters, `norms.0.gamma` for instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelGroup {
    /// What the group is called in tables and error messages, usually its producing convolution.
    pub name: String,
    /// The channels it has now.
    pub channels: usize,
    /// The weights whose filters (dimension 0) are ranked: the producing convolutions.
    pub ranked_by: Vec<String>,
    /// Every slice that is cut, the producers included.
    pub slices: Vec<ChannelSlice>,
}

/// One dimension of one parameter that runs over the channels of a [`ChannelGroup`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelSlice {
    /// The parameter's path in its module.
    pub path: String,
    /// The dimension that runs over the channels.
    pub dim: usize,
}

impl ChannelGroup {
    /// A group of `channels` channels produced by the convolution whose weight is at `producer`.
    pub fn new(name: impl Into<String>, channels: usize, producer: impl Into<String>) -> Self {
        let producer = producer.into();
        Self {
            name: name.into(),
            channels,
            ranked_by: vec![producer.clone()],
            slices: vec![ChannelSlice {
                path: producer,
                dim: 0,
            }],
        }
    }

    /// Adds dimension `dim` of the parameter at `path`.
    pub fn with_slice(mut self, path: impl Into<String>, dim: usize) -> Self {
        self.slices.push(ChannelSlice {
            path: path.into(),
            dim,
        });
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
}
