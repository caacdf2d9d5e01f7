//! What the constants of layers are called: as in PyTorch, behind the path of their layer (`layer1.0.conv1.weight`).
//!
//! Exporters write equal constants once, under the name of one layer. Vectors, as the zeros that many batch norms begin with, are
//! each layer's own here. A matrix that several layers read is one on purpose, and stays one: widths are tied by it.

use std::collections::HashMap;

use tract_onnx::pb::NodeProto;

use super::{maker::Maker, turned::TURNED, values::Tensor};
use crate::onnx::paths::{LEAVES, is_made_up_constant};

/// The names that were given to constants.
#[derive(Default)]
pub(super) struct Parameters {
    /// For each name that was given, which constant of the file has it.
    given: HashMap<String, String>,
    /// For each matrix of the file its name.
    matrices: HashMap<String, String>,
}

impl Maker<'_> {
    /// A constant of a layer under the name of its parameter, `leaf` of those in [`LEAVES`].
    pub(super) fn part(&mut self, node: &NodeProto, tensor: Tensor, leaf: &str) -> Tensor {
        let Some(path) = self.paths.get(&node.name).cloned() else {
            return tensor;
        };
        let source = tensor.name.strip_suffix(TURNED).filter(|_| tensor.turned);
        let source = source.unwrap_or(&tensor.name).to_owned();
        let matrix = tensor.dims.len() > 1;
        let mut name = self.parameter([&path, &node.name], &source, leaf, matrix);
        if tensor.turned {
            name += TURNED;
        }
        Tensor { name, ..tensor }
    }

    /// `stems`: the path of the layer, and a name that no other layer has.
    fn parameter(&mut self, stems: [&str; 2], source: &str, leaf: &str, matrix: bool) -> String {
        let made_up = is_made_up_constant(source);
        let kept = if matrix {
            !made_up
        } else {
            // A parameter of the layer that is no usual one keeps its name, too.
            let own = source
                .strip_prefix(stems[0])
                .and_then(|rest| rest.strip_prefix('.'));
            own.is_some_and(|own| own == leaf || !LEAVES.contains(&own))
        };
        if kept {
            return source.to_owned();
        }
        if let Some(name) = self.parameters.matrices.get(source).filter(|_| matrix) {
            return name.clone();
        }
        let mut name = format!("{}.{leaf}", stems[0]);
        let mut number = 0;
        loop {
            let other = self
                .parameters
                .given
                .get(&name)
                .is_some_and(|given| given != source);
            if !other && !self.is_constant(&name) {
                break;
            }
            number += 1;
            name = format!("{}.{leaf}", stems[1]);
            if number > 1 {
                name = format!("{name}.{number}");
            }
        }
        self.parameters.given.insert(name.clone(), source.to_owned());
        if matrix {
            self.parameters.matrices.insert(source.to_owned(), name.clone());
        }
        name
    }
}
