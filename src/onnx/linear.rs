//! Linear layers as convolutions of 1x1: what they are on an array.

use tract_onnx::pb::NodeProto;

use super::{
    called,
    operators::{ONNX_RUNTIME, attribute, is_standard},
    shapes::Shapes,
};
use crate::graph::as_convolution;
use crate::mapping::ConvLayer;

/// A node that multiplies by a matrix as a convolution of 1x1 over the rows of its input. `None` of another, and where its shapes
/// are not known. `batch`: how many pictures the shapes are of.
pub(super) fn linear_layer(node: &NodeProto, shapes: &Shapes, batch: usize) -> Option<ConvLayer> {
    let place = match &*node.op_type {
        "Gemm" | "MatMul" | "MatMulInteger" if is_standard(node) => 1,
        "QLinearMatMul" if is_standard(node) => 3,
        "FusedGemm" if node.domain == ONNX_RUNTIME => 1,
        "QGemm" if node.domain == ONNX_RUNTIME => 3,
        _ => return None,
    };
    let turned = |name: &str| attribute(node, name).is_some_and(|turned| turned.i != 0);
    let known = |place: usize| {
        let name = node.input.get(place)?;
        shapes.find(name, |sizes| sizes.iter().copied().collect::<Option<Vec<_>>>())
    };
    let (weight, x) = (known(place)?, known(0)?);
    let &[rows, columns] = &weight[..] else {
        return None;
    };
    let [inputs, outputs] = if turned("transB") {
        [columns, rows]
    } else {
        [rows, columns]
    };
    let [places @ .., last] = &x[..] else {
        return None;
    };
    if turned("transA") || *last != inputs {
        return None;
    }
    let places = places
        .iter()
        .try_fold(1usize, |all, &size| all.checked_mul(size))?;
    // The batch is one of the dimensions, or in one of them.
    let places = places
        .checked_div(batch)
        .filter(|&each| each > 0 && each * batch == places)?;
    Some(as_convolution(&called(node), [inputs, outputs], places))
}
