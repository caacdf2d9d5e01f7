//! A graph of an ONNX model: what its nodes compute, in the nodes of [`Graph`], with the file's weights.
//!
//! Two things are made of a model. [`graph`] is the whole network, for everything that runs on graphs. [`ties`] is the
//! list of layers with their free widths, by the rules of [`Graph::mapped`]: it needs shapes alone, so that weights are
//! not decoded, and may be missing.
//!
//! Every value that an input changes has the batch among its dimensions, and graphs leave it out: `data.rs` says where it is. A node
//! that works along the batch has no place in a graph, nor has an operator that is not in the list of `operators.rs`. Every shape is
//! compared with the one that was inferred: a difference would be an operator that was read wrongly. What is computed of constants
//! alone is a constant (`folded.rs`).
//!
//! Memory: the numbers of a graph are those of the file, and each weight is turned round at most once. Numbers that are
//! computed of others are counted ([`MAX_MADE`]).

mod affine;
mod along;
mod computed_of;
mod constants;
mod data;
mod einsum;
mod fixed;
mod folded;
mod gelu;
mod grid;
mod in_place;
mod index;
mod indexed;
mod integer_layers;
mod integers;
mod layer_constants;
mod maker;
mod moved;
mod norms;
mod operators;
mod parameters;
mod placed;
mod products;
mod qonnx;
mod quantised;
mod repeated;
mod sequences;
mod shaped;
mod size;
mod sizes;
mod turned;
mod values;
mod weighted;
mod windows;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto};

use super::{
    OnnxError, called,
    operators::{described, is_standard},
    paths::Paths,
    printable,
    shapes::{Shapes, tensor_type},
};
use crate::graph::{Graph, NodeSpec};
use crate::mapping::{ConvLayer, Network};
use gelu::Gelus;
use maker::Maker;
use values::is_float;

/// The most outputs of a network.
const MAX_OUTPUTS: usize = 1000;

/// The most numbers that are computed of the file's.
const MAX_MADE: usize = 1 << 24;

/// A model that was checked, and whose shapes were inferred.
pub(super) struct Prepared<'a> {
    pub model: &'a ModelProto,
    pub graph: &'a GraphProto,
    pub shapes: &'a Shapes<'a>,
    /// The constants that are not in the graph any more.
    pub weights: &'a [TensorProto],
    /// The paths of layers by the names of their nodes.
    pub paths: &'a Paths,
    /// Whether an input leaves the size of the batch open.
    pub open_batch: bool,
}

/// The graph of a model, with its weights.
pub(super) fn graph(model: &Prepared<'_>) -> Result<Graph, OnnxError> {
    let (specs, outputs) = nodes(model, false)?;
    let computed_of = computed_of::computed_of(model, &specs);
    Ok(Graph::new(specs, outputs)?.with_computed_of(computed_of))
}

/// The layers with the widths between them that are free, or why that cannot be told.
/// `linear`: whether linear layers are among them.
pub(super) fn ties(
    model: &Prepared<'_>,
    name: &str,
    layers: &[ConvLayer],
    linear: bool,
) -> Result<Network, OnnxError> {
    let (specs, outputs) = nodes(model, true)?;
    let graph = Graph::of_shapes(specs, outputs)?;
    let network = if linear {
        graph.mapped_with_linear(name)
    } else {
        graph.mapped(name)
    };
    // Linear layers behind shapes that were not inferred are in the graph alone.
    let mut rest = network.layers.iter();
    let in_order = layers.iter().all(|layer| rest.any(|other| other == layer));
    if network.layers == layers || (linear && in_order) {
        if !network.ties.is_empty() {
            // One matrix may read channels of different widths, in as many places together.
            network.widths()?;
        }
        return Ok(network);
    }
    let read: HashSet<&str> = network.layers.iter().map(|layer| &*layer.name).collect();
    let other = layers.iter().zip(&network.layers).find(|(a, b)| a != b);
    let missing = layers.iter().find(|layer| !read.contains(&*layer.name));
    let node = missing.or(other.map(|(layer, _)| layer));
    Err(OnnxError::NoGraph {
        node: node.map_or_else(String::new, |layer| layer.name.clone()),
        operator: "Conv".to_owned(),
        reason:
            "has another place in the network's graph than in the file, or computes nothing that is an output"
                .to_owned(),
    })
}

/// The nodes that compute the outputs, and the names of those that do.
fn nodes(model: &Prepared<'_>, sketch: bool) -> Result<(Vec<NodeSpec>, Vec<String>), OnnxError> {
    let graph = model.graph;
    let whole = |reason: &str| OnnxError::NoGraph {
        node: printable(&graph.name),
        operator: "the graph".to_owned(),
        reason: printable(reason),
    };
    if graph.output.is_empty() || graph.output.len() > MAX_OUTPUTS {
        return Err(whole(&format!(
            "has {} outputs, where 1 to {MAX_OUTPUTS} were expected",
            graph.output.len()
        )));
    }
    let held: HashMap<&str, &TensorProto> = (model.weights.iter())
        .map(|tensor| (&*tensor.name, tensor))
        .collect();
    let mut maker = Maker::new(model, held, sketch);
    for input in &graph.input {
        // Old files list constants among them.
        if maker.is_constant(&input.name) {
            continue;
        }
        let stated = tensor_type(input).filter(|tensor| is_float(tensor.elem_type));
        let sizes = stated.and_then(|_| {
            model.shapes.find(&input.name, |sizes| {
                sizes.iter().copied().collect::<Option<Vec<_>>>()
            })
        });
        // What reads another input is refused.
        let Some(sizes) = sizes else { continue };
        maker
            .input(&input.name, &sizes)
            .map_err(|reason| OnnxError::NoGraph {
                node: printable(&input.name),
                operator: "an input".to_owned(),
                reason: printable(&reason),
            })?;
    }
    maker.gelus = Gelus::of(graph, &mut |name, number| maker.is_number(name, number));
    let wanted = wanted(graph);
    for node in graph
        .node
        .iter()
        .filter(|node| node.output.iter().any(|name| wanted.contains(&**name)))
    {
        maker.node(node).map_err(|reason| stopped(node, reason))?;
    }
    let mut outputs = Vec::new();
    for output in &graph.output {
        let node = maker
            .output(&output.name, &outputs)
            .map_err(|reason| OnnxError::NoGraph {
                node: printable(&output.name),
                operator: "an output".to_owned(),
                reason: printable(&reason),
            })?;
        outputs.push(node);
    }
    let specs = maker.read(&outputs).map_err(|reason| whole(&reason))?;
    Ok((specs, outputs))
}

fn stopped(node: &NodeProto, reason: String) -> OnnxError {
    OnnxError::NoGraph {
        node: called(node),
        operator: described(node),
        reason: printable(&reason),
    }
}

/// The values that are outputs, or that such a one is computed of.
fn wanted(graph: &GraphProto) -> HashSet<&str> {
    let mut wanted: HashSet<&str> = graph.output.iter().map(|output| &*output.name).collect();
    for node in graph.node.iter().rev() {
        if node
            .output
            .iter()
            .any(|name| !name.is_empty() && wanted.contains(&**name))
        {
            wanted.extend(node.input.iter().map(|name| &**name));
        }
    }
    wanted.remove("");
    wanted
}

/// The operator set of ONNX's own operators.
fn opset(model: &ModelProto) -> i64 {
    let own = model
        .opset_import
        .iter()
        .filter(|set| matches!(&*set.domain, "" | "ai.onnx"));
    own.map(|set| set.version).max().unwrap_or(1)
}

/// What a node is that a graph has no place for.
fn unknown(node: &NodeProto) -> String {
    if is_standard(node) {
        "is an operator that graphs do not have: write it in those that docs/mapping.md lists, and export the network again".to_owned()
    } else {
        "is an operator of a domain that graphs do not have: export the network in the operators of ONNX"
            .to_owned()
    }
}
