//! Shapes by name: those that were inferred, and those that the file states.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{
    GraphProto, NodeProto, ValueInfoProto,
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use super::{
    called,
    operators::described,
    tensors::{MAX_AXES, MAX_TENSOR_DIMENSION},
};

/// A shape, as far as it is known.
pub(super) type Sizes = Vec<Option<usize>>;

pub(super) fn size(dimension: &Dimension) -> Option<usize> {
    match dimension.value {
        Some(dimension::Value::DimValue(size)) if size > 0 => usize::try_from(size).ok(),
        _ => None,
    }
}

/// The type of a value; `None` where it is no tensor.
pub(super) fn tensor_type(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
    Some(tensor)
}

/// The shapes that the file states for what its nodes compute.
pub(super) fn stated(graph: &GraphProto) -> HashMap<&str, Sizes> {
    let infos = graph.value_info.iter().chain(&graph.output);
    let stated = infos.filter_map(|info| {
        let dims = &tensor_type(info)?.shape.as_ref()?.dim;
        if dims.len() > MAX_AXES {
            return None;
        }
        let in_range = |&size: &usize| size as i64 <= MAX_TENSOR_DIMENSION;
        let sizes = dims.iter().map(|dim| size(dim).filter(in_range));
        Some((&*info.name, sizes.collect()))
    });
    stated.collect()
}

/// Shapes by name, and who computes what.
pub(super) struct Shapes<'a> {
    inferred: HashMap<String, Sizes>,
    stated: HashMap<&'a str, Sizes>,
    inputs: HashSet<&'a str>,
    producers: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Shapes<'a> {
    pub fn new(graph: &'a GraphProto, inferred: HashMap<String, Sizes>) -> Self {
        let producers = graph.node.iter().flat_map(|node| {
            let names = node.output.iter().filter(|name| !name.is_empty());
            names.map(move |name| (&**name, node))
        });
        Self {
            inferred,
            stated: stated(graph),
            inputs: graph.input.iter().map(|input| &*input.name).collect(),
            producers: producers.collect(),
        }
    }

    /// The shape that `wanted` accepts, as inferred or else as stated.
    pub fn find<T>(&self, name: &str, wanted: impl Fn(&Sizes) -> Option<T>) -> Option<T> {
        let inferred = self.inferred.get(name).and_then(&wanted);
        inferred.or_else(|| self.stated.get(name).and_then(&wanted))
    }

    fn is_known(&self, name: &str) -> bool {
        self.find(name, |sizes| sizes.iter().all(Option::is_some).then_some(()))
            .is_some()
    }

    /// What inference could not pass on its way to `name`: nodes with known inputs and unknown outputs, inputs, and
    /// values that are missing.
    pub fn stopped_before(&self, name: &str) -> String {
        let mut past = Vec::new();
        let mut seen = HashSet::from([name]);
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some(&node) = self.producers.get(name) else {
                past.push(if self.inputs.contains(name) {
                    format!("the input `{name}`")
                } else {
                    format!("`{name}`, which nothing in the file computes")
                });
                continue;
            };
            let inputs = node.input.iter().map(|input| &**input);
            let unknown: Vec<&str> = inputs
                .filter(|input| !input.is_empty() && !self.is_known(input))
                .collect();
            if unknown.is_empty() {
                past.push(format!("`{}` ({})", called(node), described(node)));
            }
            open.extend(unknown.into_iter().filter(|input| seen.insert(input)));
        }
        if past.is_empty() {
            past.push("nodes that wait for each other".to_owned());
        }
        // The first few are enough to go on.
        past.truncate(3);
        past.join(", ")
    }
}
