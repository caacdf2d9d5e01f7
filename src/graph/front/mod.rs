//! Graphs of Burn modules, from their recorded forward passes.

use burn::module::Module;

use self::translate::Translator;
use super::{Graph, GraphError};
use crate::Error;
use crate::module::{Trace, Values};

mod fold;
mod translate;

/// The pictures in a batch while a forward pass is recorded: more than one, so that what belongs to the batch shows, and two
/// numbers, so that what is computed of their number shows.
const BATCHES: [usize; 2] = [2, 3];

impl Graph {
    /// What `forward` computes with `module` in evaluation, of inputs of these shapes.
    ///
    /// The first dimension of each input and output is the batch; how many pictures `input` names in it makes no difference. What
    /// is computed of parameters alone, as quantised weights are, is computed now. Layers are called by the paths of their
    /// weights. The module may have several inputs and outputs: see [`Values`].
    ///
    /// Three forms are read as what they mean, and may differ from it by a rounding: `x + (q - x)`, a rounded `q` whose gradient passes
    /// straight through, as `q`; `x - x` as 0; and `x - relu(x - c)`, PACT's clip, as the smaller one of `x` and `c`.
    ///
    /// # Errors
    ///
    /// [`Error::Graph`] where the forward pass cannot be recorded, as it branches on what tensors hold; [`Error::Network`] where it
    /// does something that a graph has no node for, or mixes the pictures of a batch: the operation, the layer in front of it
    /// and what to do are named.
    ///
    /// ```
    /// use burn::module::Module;
    /// use burn::nn::conv::{Conv2d, Conv2dConfig};
    /// use burn::tensor::{Device, Tensor, activation::relu};
    /// use vwc_sdk::graph::Graph;
    ///
    /// #[derive(Module, Debug)]
    /// struct Net {
    ///     first: Conv2d,
    ///     second: Conv2d,
    /// }
    ///
    /// # fn main() -> Result<(), vwc_sdk::Error> {
    /// let device = Device::default();
    /// let net = Net {
    ///     first: Conv2dConfig::new([3, 8], [3, 3]).init(&device),
    ///     second: Conv2dConfig::new([8, 4], [1, 1]).init(&device),
    /// };
    /// let graph = Graph::of(&net, [1, 3, 16, 16], |net: &Net, x: Tensor<4>| {
    ///     net.second.forward(relu(net.first.forward(x)))
    /// })?;
    /// assert_eq!(graph.output(0).name(), "second");
    /// assert_eq!(graph.output(0).shape(), [4, 14, 14]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn of<M: Module, I: Values, O: Values>(
        module: &M,
        input: I::Shapes,
        forward: impl Fn(&M, I) -> O,
    ) -> Result<Self, Error> {
        let record = |batch| {
            let trace = Trace::record(module, I::with_batch(&input, batch), &forward)?;
            Translator::new(&trace, batch)?.graph()
        };
        let [first, second] = BATCHES.map(record);
        let (graph, other) = (first?, second?);
        let differs = graph
            .nodes()
            .iter()
            .zip(other.nodes())
            .find(|(node, other)| node != other);
        match differs {
            None if graph == other => Ok(graph),
            differs => {
                let near = differs
                    .map(|(node, _)| format!(", first at `{}`", node.name()))
                    .unwrap_or_default();
                Err(Error::Network(GraphError::Graph(format!(
                    "what it computes depends on how many pictures are in the batch{near}: expected the same for each picture"
                ))))
            }
        }
    }
}
