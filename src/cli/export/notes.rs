//! What an export says of layers that a file holds otherwise than their user may think.

use crate::cli::networks::graph_net::listed;
use crate::graph::{Graph, Node};
use crate::packed::Model;

/// Names the layers whose weights take a bit more in QONNX than they were trained with.
pub(super) fn odd_codes(graph: &Graph) {
    let odd = |node: &&Node| {
        let codes = node.weight_codes();
        codes.is_some_and(|codes| codes.odd() && codes.codes().iter().any(|code| code.abs() != 1))
    };
    let layers: Vec<&str> = graph.nodes().iter().filter(odd).map(Node::name).collect();
    if !layers.is_empty() {
        say!(
            "weights without a zero, as DoReFa-Net has them, take a bit more in QONNX than they have: {}",
            layers.join(", ")
        );
    }
}

/// Names the layers whose weights are codes and that read codes, and that a packed network computes in floats all the same.
pub(super) fn floats_of_codes(graph: &Graph, model: &Model) {
    let (codes, floats) = (graph.codes(), model.float_layers());
    let reads_codes = |node: &Node| {
        node.inputs()
            .first()
            .is_some_and(|input| codes[input.index()].is_some())
    };
    let layers: Vec<String> = graph
        .nodes()
        .iter()
        .filter(|node| floats.contains(&node.name()) && node.weight_codes().is_some() && reads_codes(node))
        .map(|node| node.name().to_owned())
        .collect();
    if !layers.is_empty() {
        say!(
            "packed in floats, though weights and what is read are codes: {}. Integers are for convolutions, and linear layers that read a list of numbers, \
             with codes that are multiples of one unit within 8 bits, and with a zero where they are padded",
            listed(&layers)
        );
    }
}
