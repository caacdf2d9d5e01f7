//! What a convolutional network computes in evaluation, described once: nodes, the numbers they hold, and who reads what.
//!
//! A [`Graph`] is made from a Burn module by [`Graph::of`](Graph::of) or of nodes by [`Graph::new`], and everything that is done
//! with a network that is trained reads it: the mapper, packed inference, simulated arrays, a picture, an ONNX file.
//! [`Graph::new`] checks it, so a graph is sound: every shape fits, nothing is computed in a circle, nothing is computed in vain.
//!
//! ```
//! use vwc_sdk::graph::{Constant, Conv, Function, Graph, NodeSpec};
//!
//! let weight = Constant::new([4, 3, 3, 3], vec![0.5; 108]);
//! let graph = Graph::new(
//!     [
//!         NodeSpec::input("picture", [3, 8, 8]),
//!         NodeSpec::new("conv", Conv::new(weight), ["picture"]),
//!         NodeSpec::new("relu", Function::Relu, ["conv"]),
//!     ],
//!     ["relu"],
//! )?;
//! assert_eq!(graph.output(0).shape(), [4, 6, 6]);
//! # Ok::<(), vwc_sdk::graph::GraphError>(())
//! ```
//!
//! ```text
//! ir       nodes, what they compute, and their numbers
//! check    whether nodes make a graph, and the shape of every result
//! sketch   a graph without its numbers
//! codes    which values are integers times a unit
//! text     a graph as lines of text
//! mapped   its convolutions for the mapper
//! presets  published networks as sketches
//! front    graphs from recorded forward passes
//! back     a graph in the formats of others: ONNX
//! run      computing a graph on a device
//! ```

mod back;
mod check;
mod codes;
mod computed_of;
#[cfg(feature = "train")]
mod front;
mod ir;
mod mapped;
pub mod presets;
#[cfg(feature = "train")]
mod run;
mod shape;
mod sketch;
mod text;

#[cfg(feature = "onnx")]
pub(crate) use mapped::as_convolution;
#[cfg(any(feature = "onnx", feature = "train"))]
pub(crate) use shape::{MAX_DIMS, shape};
#[cfg(any(feature = "packed", feature = "onnx"))]
pub(crate) use shape::{extent, places, pool_shape};
pub(crate) use text::by;

pub use back::OnnxExport;
pub use check::GraphError;
pub use codes::{Codes, WeightCodes};
pub use computed_of::ComputedOf;
pub use ir::{
    Affine, Binary, Constant, Conv, ConvKernel, ConvTranspose, Function, InFile, Linear, Node, NodeId,
    NodeSpec, Op, Pool, Reduction,
};
#[cfg(feature = "train")]
pub use run::Executor;
#[cfg(feature = "train")]
pub(crate) use run::{beside, compute, computed_with, convolution};
pub use sketch::Sketch;

/// What a network computes in evaluation. It is checked, and cannot be changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// Each behind those that it reads.
    nodes: Vec<Node>,
    inputs: Vec<NodeId>,
    outputs: Vec<NodeId>,
    computed_of: ComputedOf,
}

impl Graph {
    /// The nodes, each behind those that it reads.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The parameters of the file that the graph was read from of which constants are computed; none of another graph.
    #[must_use]
    pub fn computed_of(&self) -> &ComputedOf {
        &self.computed_of
    }

    #[cfg(feature = "onnx")]
    pub(crate) fn with_computed_of(mut self, parameters: ComputedOf) -> Self {
        self.computed_of = parameters;
        self
    }

    /// The nodes with their ids, each behind those that it reads.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (NodeId, &Node)> + ExactSizeIterator {
        self.nodes.iter().enumerate().map(|(n, node)| (NodeId(n), node))
    }

    /// The node with this id.
    ///
    /// # Panics
    ///
    /// Where the id is of another graph that is larger.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The node of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.nodes.iter().position(|node| node.name == name).map(NodeId)
    }

    /// What the network is given, in order.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// What the network results in, in order.
    #[must_use]
    pub fn outputs(&self) -> &[NodeId] {
        &self.outputs
    }

    /// The node that computes output `n`.
    ///
    /// # Panics
    ///
    /// Where there are no more than `n` outputs.
    #[must_use]
    pub fn output(&self, n: usize) -> &Node {
        self.node(self.outputs[n])
    }

    /// For each node how often its result is read, outputs included.
    #[cfg(feature = "train")]
    pub(crate) fn reads(&self) -> Vec<usize> {
        let mut reads: Vec<usize> = self.readers().iter().map(Vec::len).collect();
        for output in &self.outputs {
            reads[output.0] += 1;
        }
        reads
    }

    /// The nodes as they are given to [`Graph::new`].
    pub(crate) fn specs(&self) -> impl Iterator<Item = NodeSpec> {
        self.nodes.iter().map(|node| NodeSpec {
            name: node.name.clone(),
            inputs: node
                .inputs
                .iter()
                .map(|&input| self.node(input).name.clone())
                .collect(),
            op: node.op.clone(),
        })
    }

    /// For each node, those that read it, each as often as it does.
    #[must_use]
    pub fn readers(&self) -> Vec<Vec<NodeId>> {
        let mut readers = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.iter() {
            for input in &node.inputs {
                readers[input.0].push(id);
            }
        }
        readers
    }
}
