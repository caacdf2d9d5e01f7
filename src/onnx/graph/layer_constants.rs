//! Constants as layers take them: under the names of their parameters, and matrices with rows and columns exchanged.

use std::sync::Arc;

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    turned::{TURNED, Turned},
    values::{Made, Tensor, Value},
};

impl Maker<'_> {
    /// A constant of a layer under the name of its parameter, `leaf` of those in [`LEAVES`].
    pub(super) fn part(&mut self, node: &NodeProto, tensor: Tensor, leaf: &str) -> Tensor {
        let Some(path) = self.paths.layer(&node.name).map(str::to_owned) else {
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

    /// A constant that a node computes with number by number, under the name of its own parameter: of equal ones the exporter wrote one.
    pub(super) fn own(&mut self, node: &NodeProto, tensor: &Tensor) -> Tensor {
        let name = self.paths.scope(node).and_then(|scope| {
            let vector = tensor.dims.iter().filter(|&&size| size != 1).count() <= 1;
            tensor.parameter.as_ref().filter(|_| vector)?;
            self.parameter_of(scope, &tensor.name)
        });
        Tensor {
            name: name.unwrap_or_else(|| tensor.name.clone()),
            ..tensor.clone()
        }
    }

    /// A matrix with rows and columns exchanged.
    pub(super) fn turn(&mut self, tensor: &Tensor) -> Made<Tensor> {
        let &[rows, columns] = &*tensor.dims else {
            return Err(format!(
                "reads a matrix of {} dimensions: expected 2",
                tensor.dims.len()
            ));
        };
        let two_shapes = || "reads one constant as matrices of two shapes".to_owned();
        let mut turned = Tensor {
            name: format!("{}{TURNED}", tensor.name),
            dims: vec![columns, rows],
            turned: true,
            values: None,
            parameter: tensor.parameter.clone(),
        };
        // Turned twice it is the constant itself.
        if let Some(stem) = tensor.name.strip_suffix(TURNED).filter(|_| tensor.turned) {
            return match self.named(stem)? {
                Value::Held(first) if first.dims == turned.dims => Ok(first),
                _ => Err(two_shapes()),
            };
        }
        if let Some(values) = &tensor.values {
            let known = self.turned.get(&tensor.name);
            // Integers may stand for several matrices of floats.
            let known = known.filter(|known| Arc::ptr_eq(&known.from, values));
            if known.is_some_and(|known| known.dims != tensor.dims) {
                return Err(two_shapes());
            }
            let to = known.map_or_else(
                || {
                    let columns_of = |n: usize| values.iter().skip(n).step_by(columns);
                    (0..columns).flat_map(columns_of).copied().collect()
                },
                |known| known.to.clone(),
            );
            // The numbers of the file are turned round once; others may be more than the file has.
            let more = (self.turned.get(&tensor.name)).is_some_and(|known| !Arc::ptr_eq(&known.from, values));
            if more {
                self.count(values.len())?;
            }
            let known = Turned {
                dims: tensor.dims.clone(),
                from: values.clone(),
                to: Arc::clone(&to),
            };
            self.turned.insert(tensor.name.clone(), known);
            turned.values = Some(to);
        }
        Ok(turned)
    }
}
