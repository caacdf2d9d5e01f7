//! Another network: the same, with convolutions in groups.

use super::GraphNetConfig;
use crate::Error;
use crate::graph::{Op, Sketch};
use crate::mapping::{MappingError, divides, in_groups};

impl GraphNetConfig {
    /// Another network, of which [`Network::with_groups`](crate::mapping::Network::with_groups) counts the cycles: every ordinary convolution whose
    /// channels can be divided so has `groups` groups, and a part of the weights. It is called `cnn8 in 2 groups`, and has to be trained.
    ///
    /// ```
    /// use vwc_sdk::graph::presets;
    /// use vwc_sdk::models::GraphNetConfig;
    ///
    /// let cnn8 = GraphNetConfig::new("cnn8", presets::sketch("cnn8")?)?;
    /// let other = cnn8.with_groups(2)?;
    /// // Three channels of a picture cannot be divided by two: the first convolution stays as it is.
    /// let groups = other.sketch().mapped("cnn8").layers.iter().map(|layer| layer.groups).collect::<Vec<_>>();
    /// assert_eq!(groups, [1, 2, 2, 2, 2, 2, 2]);
    /// # Ok::<(), vwc_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Mapping`] where no convolution has the channels for so many groups.
    pub fn with_groups(&self, groups: usize) -> Result<Self, Error> {
        let graph = self.sketch.graph();
        let mut grouped = false;
        let specs = graph.specs().map(|spec| {
            spec.with_op(|op| {
                let Op::Conv(conv) = op else { return };
                let &[outputs, inputs, ..] = conv.weight.shape() else {
                    return;
                };
                if !divides(groups, conv.groups, [inputs, outputs]) {
                    return;
                }
                grouped = true;
                conv.groups = groups;
                let mut shape = conv.weight.shape().to_vec();
                shape[1] = inputs / groups;
                conv.weight.resize(Some(shape));
            })
        });
        let specs: Vec<_> = specs.collect();
        if !grouped {
            let (network, groups) = (self.name.clone(), groups);
            return Err(MappingError::NoGroups { network, groups }.into());
        }
        let outputs = graph.outputs().iter().map(|&output| graph.node(output).name());
        let sketch = Sketch::new(specs, outputs)?.computed_of(graph.computed_of().clone());
        Ok(Self {
            name: in_groups(&self.name, groups),
            sketch,
            plan: self.plan.clone(),
        })
    }
}
