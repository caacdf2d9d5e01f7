//! What a network computes, without its weights: enough to map it, and to make a network that is trained from scratch.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ir::{Constant, Op};
use super::{ComputedOf, Graph, GraphError, Node, NodeSpec};
use crate::mapping::Network;

/// A [`Graph`] without the numbers of its weights. Written as JSON it is a list of nodes, a few kilobytes for most networks.
///
/// Constants keep their names and shapes. A single number that something is added to or multiplied by is part of what the network
/// computes, and stays, unless it is a parameter of the file that the network was read from ([`Constant::in_file`]).
///
/// ```
/// use vwc_sdk::graph::{Constant, Conv, Function, NodeSpec, Sketch};
///
/// let weight = Constant::missing([4, 3, 3, 3]).named("conv.weight");
/// let sketch = Sketch::new(
///     [
///         NodeSpec::input("picture", [3, 8, 8]),
///         NodeSpec::new("conv", Conv::new(weight), ["picture"]),
///         NodeSpec::new("relu", Function::Relu, ["conv"]),
///     ],
///     ["relu"],
/// )?;
/// assert_eq!(sketch.mapped("mine").layers[0].out_channels, 4);
/// let text = serde_json::to_string(&sketch).unwrap();
/// assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
/// # Ok::<(), vwc_sdk::graph::GraphError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Sketch {
    /// Its weights have no numbers, so that it must not be computed with.
    graph: Graph,
}

/// A sketch in a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    nodes: Vec<NodeSpec>,
    outputs: Vec<String>,
    #[serde(default, skip_serializing_if = "ComputedOf::is_empty")]
    computed_of: ComputedOf,
}

impl TryFrom<Written> for Sketch {
    type Error = GraphError;

    fn try_from(written: Written) -> Result<Self, GraphError> {
        let Written {
            mut nodes,
            outputs,
            computed_of,
        } = written;
        // A file of a version before 0.13 has the numbers of single parameters, and no others.
        let constants = nodes.iter_mut().flat_map(|spec| spec.op.constants_mut());
        for number in constants.filter(|constant| !constant.values.is_empty()) {
            number.in_file = None;
        }
        Ok(Self::new(nodes, outputs)?.computed_of(computed_of))
    }
}

impl From<Sketch> for Written {
    fn from(Sketch { graph }: Sketch) -> Self {
        Self {
            nodes: graph.specs().collect(),
            outputs: graph
                .outputs
                .iter()
                .map(|&id| graph.node(id).name.clone())
                .collect(),
            computed_of: graph.computed_of,
        }
    }
}

impl Sketch {
    /// A sketch of these nodes, in any order, that results in what the nodes named by `outputs` compute. Numbers that their
    /// weights have are dropped.
    ///
    /// # Errors
    ///
    /// As [`Graph::new`], but for what it says of numbers; and where a single number of an [`Affine`](super::Affine) is missing or not finite.
    pub fn new<O: Into<String>>(
        nodes: impl IntoIterator<Item = NodeSpec>,
        outputs: impl IntoIterator<Item = O>,
    ) -> Result<Self, GraphError> {
        let outputs = outputs.into_iter().map(Into::into);
        Ok(Self::of(&Graph::of_sketch(nodes, outputs)?))
    }

    /// That of a graph.
    #[must_use]
    pub fn of(graph: &Graph) -> Self {
        let mut graph = graph.clone();
        for node in &mut graph.nodes {
            drop_numbers(&mut node.op);
        }
        // What is computed of one number is one that the sketch has, as a rule.
        let many = |constant: &&mut Constant| constant.as_scalar().is_none();
        for constant in graph.computed_of.kept.iter_mut().filter(many) {
            constant.values = [].into();
        }
        Self { graph }
    }

    /// The same with these as [`Graph::computed_of`].
    pub(crate) fn computed_of(mut self, parameters: ComputedOf) -> Self {
        self.graph.computed_of = parameters;
        self
    }

    /// The nodes, each behind those that it reads.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        self.graph.nodes()
    }

    /// Its convolutions for the mapper, called `name`, and which of their widths may change, and together: as [`Graph::mapped`].
    #[must_use]
    pub fn mapped(&self, name: &str) -> Network {
        self.graph.mapped(name)
    }

    /// The same with other names for the constants that have no numbers, as `names` gives them for the name and the operation of each
    /// node, in the order in which the operation computes with them. One that gets another name is a copy of the file's parameter.
    #[cfg(feature = "train")]
    pub(crate) fn with_constants(mut self, mut names: impl FnMut(&str, &Op) -> Vec<String>) -> Self {
        for node in &mut self.graph.nodes {
            let mut names = names(&node.name, &node.op).into_iter();
            for constant in node.op.constants_mut() {
                if constant.values.is_empty() {
                    let name = names.next();
                    // Several nodes read one constant: this one reads a copy.
                    if name.as_deref() != constant.name()
                        && let Some(in_file) = &mut constant.in_file
                    {
                        let before = constant.name.as_deref().map(str::to_owned);
                        in_file.name = in_file.name.take().or(before);
                    }
                    constant.name = name.map(Into::into);
                }
            }
        }
        self
    }

    /// The graph, whose weights have no numbers.
    #[cfg(feature = "train")]
    pub(crate) fn graph(&self) -> &Graph {
        &self.graph
    }
}

impl fmt::Display for Sketch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.graph.fmt(f)
    }
}

fn drop_numbers(op: &mut Op) {
    let number = match op {
        Op::Affine(affine) => affine.epsilon.is_none(),
        _ => false,
    };
    for constant in op.constants_mut() {
        if !(number && is_number(constant)) {
            constant.values = [].into();
        }
    }
}

/// Whether a part of an affine node is one number for all that belongs to what is computed, and is no parameter of a file.
pub(super) fn is_number(part: &Constant) -> bool {
    part.shape.is_empty() && part.in_file.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Affine, Conv};

    /// A learned slope that two layers of different widths share belongs to no channel, whether it is there or not.
    #[test]
    fn one_number_that_is_missing_is_read_as_one_that_is_there() {
        let conv = |outputs: usize, inputs: usize| {
            Conv::new(Constant::new(
                [outputs, inputs, 1, 1],
                vec![0.5; outputs * inputs],
            ))
        };
        let scale = || Affine {
            factor: Some(Constant::new([1], [0.5]).named("slope")),
            ..Affine::default()
        };
        let graph = Graph::new(
            [
                NodeSpec::input("x", [3, 4, 4]),
                NodeSpec::new("first", conv(8, 3), ["x"]),
                NodeSpec::new("scaled", scale(), ["first"]),
                NodeSpec::new("second", conv(6, 8), ["scaled"]),
                NodeSpec::new("scaled again", scale(), ["second"]),
                NodeSpec::new("last", conv(2, 6), ["scaled again"]),
            ],
            ["last"],
        )
        .unwrap();
        assert_eq!(graph.mapped("net").widths().unwrap(), [8, 6]);
        let sketch = Sketch::of(&graph);
        assert_eq!(sketch.mapped("net"), graph.mapped("net"));
        let text = serde_json::to_string(&sketch).unwrap();
        assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
    }
}
