//! Nodes that multiply by weights and are not mapped.

use std::collections::HashMap;

use tract_onnx::pb::GraphProto;

use super::{called, operators::multiplies, printable, tensors::constant};

/// The nodes other than convolutions that take a matrix of constants and multiply by it: name and operator.
pub(super) fn left_out(graph: &GraphProto) -> Vec<(String, String)> {
    // Which values are constant, and whether there is a matrix in them.
    let mut constants: HashMap<&str, bool> = (graph.initializer.iter())
        .map(|tensor| (&*tensor.name, tensor.dims.len() > 1))
        .collect();
    let mut found = Vec::new();
    for node in &graph.node {
        let inputs = || node.input.iter().filter(|name| !name.is_empty());
        let from: Option<Vec<bool>> = inputs().map(|name| constants.get(&**name).copied()).collect();
        // What is computed of constants alone is computed once, before any picture.
        let of_picture = from.is_none() && inputs().any(|name| constants.get(&**name) == Some(&true));
        if multiplies(node) && of_picture {
            found.push((called(node), printable(&node.op_type)));
        }
        let matrix = match from {
            Some(from) if !from.is_empty() => from.contains(&true),
            Some(_) if node.op_type == "Constant" => {
                constant(node).is_some_and(|tensor| tensor.dims.len() > 1)
            }
            _ => continue,
        };
        constants.extend(node.output.iter().map(|name| (&**name, matrix)));
    }
    found
}
