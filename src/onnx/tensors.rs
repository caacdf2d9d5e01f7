//! Constants and their types. Only the small ones are kept, as they can say a shape; all others are weights.

use std::mem;

use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto,
    tensor_proto::{DataLocation, DataType},
    tensor_shape_proto::{Dimension, dimension},
    type_proto,
};

use super::{OnnxError, malformed, operators::is_standard};

/// Constants of so many elements can say a shape, and are kept. All others are weights.
const SMALL: usize = 64;

/// The largest dimension of a tensor.
pub(super) const MAX_TENSOR_DIMENSION: i64 = 1 << 31;

/// The most axes of a tensor. Networks use up to eight; the time of a step grows with their cube.
pub(super) const MAX_AXES: usize = 16;

/// The number of `UINT2` and of `INT2` among ONNX's types, which tract's version of ONNX ends before.
const TWO_BITS: [i32; 2] = [25, 26];

/// The type that tract is given for an element type: the same or, where tract lacks it, one of the same kind. Each type
/// has one, so that types that are equal stay equal.
pub(super) fn stand_in(element_type: i32) -> i32 {
    let [uint2, int2] = TWO_BITS;
    let stand_in = match DataType::try_from(element_type) {
        Ok(
            DataType::Bool
            | DataType::Double
            | DataType::Float16
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::String
            | DataType::Uint8
            | DataType::Uint16
            | DataType::Uint32
            | DataType::Uint64,
        ) => return element_type,
        Ok(DataType::Int4) => DataType::Int8,
        Ok(DataType::Uint4) => DataType::Uint8,
        Err(_) if element_type == int2 => DataType::Int8,
        Err(_) if element_type == uint2 => DataType::Uint8,
        _ => DataType::Float,
    };
    stand_in as i32
}

/// The tensor that a `Constant` holds.
pub(super) fn constant(node: &NodeProto) -> Option<&TensorProto> {
    let values = (node.attribute.iter()).filter(|_| node.op_type == "Constant" && is_standard(node));
    values
        .filter(|attribute| attribute.name == "value")
        .find_map(|attribute| attribute.t.as_ref())
}

/// Replaces sparse constants by dense ones without data: only their shapes are needed.
pub(super) fn make_dense(graph: &mut GraphProto) {
    fn dense(sparse: SparseTensorProto) -> TensorProto {
        let values = sparse.values.unwrap_or_default();
        TensorProto {
            name: values.name,
            dims: sparse.dims,
            data_type: values.data_type,
            ..TensorProto::default()
        }
    }
    let sparse = mem::take(&mut graph.sparse_initializer);
    graph.initializer.extend(sparse.into_iter().map(dense));
    for node in &mut graph.node {
        if node.op_type == "Constant" && is_standard(node) {
            for attribute in &mut node.attribute {
                if let Some(sparse) = attribute.sparse_tensor.take() {
                    *attribute = AttributeProto {
                        name: "value".to_owned(),
                        t: Some(dense(sparse)),
                        ..AttributeProto::default()
                    };
                }
            }
        }
    }
}

/// Turns all constants that are not small, or whose values are not known, into inputs of the same shape, and returns them.
pub(super) fn leave_out_weights(graph: &mut GraphProto) -> Result<Vec<TensorProto>, OnnxError> {
    let mut weights = Vec::new();
    for tensor in mem::take(&mut graph.initializer) {
        if is_weights(&tensor, &tensor.name)? {
            let name = tensor.name.clone();
            graph.input.push(placeholder(name, &tensor));
            weights.push(tensor);
        } else {
            graph.initializer.push(tensor);
        }
    }
    for node in mem::take(&mut graph.node) {
        match (constant(&node), node.output.first()) {
            (Some(tensor), Some(name)) if is_weights(tensor, name)? => {
                graph.input.push(placeholder(name.clone(), tensor));
                weights.push(TensorProto {
                    name: name.clone(),
                    ..tensor.clone()
                });
            }
            _ => graph.node.push(node),
        }
    }
    Ok(weights)
}

/// Leaves name, type and shape.
pub(super) fn without_data(tensor: &mut TensorProto) {
    *tensor = TensorProto {
        name: mem::take(&mut tensor.name),
        dims: mem::take(&mut tensor.dims),
        data_type: tensor.data_type,
        ..TensorProto::default()
    };
}

/// Refuses a tensor or an input of more axes than any network's has.
pub(super) fn refuse_too_many_axes(name: &str, axes: usize) -> Result<(), OnnxError> {
    if axes > MAX_AXES {
        return Err(malformed(format!(
            "its tensor `{name}` has {axes} axes, where at most {MAX_AXES} are read"
        )));
    }
    Ok(())
}

fn is_weights(tensor: &TensorProto, name: &str) -> Result<bool, OnnxError> {
    refuse_too_many_axes(name, tensor.dims.len())?;
    let elements = tensor.dims.iter().try_fold(1, |product: usize, &dim| {
        let dim = usize::try_from(dim)
            .ok()
            .filter(|_| dim <= MAX_TENSOR_DIMENSION)?;
        product.checked_mul(dim)
    });
    let Some(elements) = elements else {
        let dims: Vec<String> = tensor.dims.iter().map(ToString::to_string).collect();
        let dims = dims.join("x");
        return Err(malformed(format!(
            "the dimensions {dims} of its tensor `{name}` are out of range"
        )));
    };
    let Some((bytes, listed)) = values(tensor).filter(|_| elements <= SMALL) else {
        return Ok(true);
    };
    let raw = tensor.raw_data.len();
    if raw > 0 {
        let expected = elements * bytes;
        return if raw == expected {
            Ok(false)
        } else {
            Err(malformed(format!(
                "its tensor `{name}` holds {raw} bytes, where its dimensions and type take {expected}"
            )))
        };
    }
    let elsewhere = tensor.data_location == Some(DataLocation::External as i32);
    Ok(elsewhere || listed != Some(elements))
}

/// The bytes of an element, and how many elements are listed one by one, for a type that tract can read; it does not
/// read all lists.
fn values(tensor: &TensorProto) -> Option<(usize, Option<usize>)> {
    let integers = Some(tensor.int32_data.len());
    Some(match DataType::try_from(tensor.data_type).ok()? {
        DataType::Bool | DataType::Int8 | DataType::Uint8 => (1, integers),
        DataType::Float16 | DataType::Int16 | DataType::Uint16 => (2, integers),
        DataType::Int32 => (4, integers),
        DataType::Uint32 => (4, None),
        DataType::Uint64 => (8, None),
        DataType::Float => (4, Some(tensor.float_data.len())),
        DataType::Int64 => (8, Some(tensor.int64_data.len())),
        DataType::Double => (8, Some(tensor.double_data.len())),
        _ => return None,
    })
}

/// The bytes that the numbers of a tensor take in a row. `None` where that is not known or too much.
pub(super) fn bytes(tensor: &TensorProto) -> Option<usize> {
    let numbers = tensor
        .dims
        .iter()
        .try_fold(1usize, |all, &dim| all.checked_mul(usize::try_from(dim).ok()?))?;
    let [uint2, int2] = TWO_BITS;
    let bits = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Int4 | DataType::Uint4) => 4,
        Ok(DataType::Bfloat16) => 16,
        Err(_) if [uint2, int2].contains(&tensor.data_type) => 2,
        _ => 8 * values(tensor)?.0,
    };
    Some(numbers.checked_mul(bits)?.div_ceil(8))
}

pub(super) fn dimension(size: Option<usize>) -> Dimension {
    Dimension {
        value: size.map(|size| dimension::Value::DimValue(size as i64)),
        ..Dimension::default()
    }
}

pub(super) fn placeholder(name: String, tensor: &TensorProto) -> ValueInfoProto {
    let sizes = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok());
    let dim = sizes.map(dimension).collect();
    let tensor = type_proto::Tensor {
        elem_type: tensor.data_type,
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name,
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}
