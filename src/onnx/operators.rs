//! What a node does: which operators are convolutions, which multiply by weights, and what standard operator has the
//! shapes of another domain's.

use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::{OnnxError, called, printable};

/// The operators that ONNX Runtime adds to ONNX.
pub(super) const ONNX_RUNTIME: &str = "com.microsoft";

/// The domains of QONNX, under the names that its exporters have given them.
pub(super) const QONNX: [&str; 3] = [
    "qonnx.custom_op.general",
    "onnx.brevitas",
    "finn.custom_op.general",
];

/// Operators other than convolutions that multiply by weights.
const MULTIPLIERS: [&str; 10] = [
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "GRU",
    "Gemm",
    "LSTM",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "RNN",
];

/// An operator for inference alone. Its output has the shape of its first input and the type of its second.
pub(super) const ALIKE: &str = "vwc.Alike";

pub(super) fn is_standard(node: &NodeProto) -> bool {
    matches!(&*node.domain, "" | "ai.onnx")
}

/// Whether a node is a convolution whose layout is known: channels before height and width, in input and weight.
pub(super) fn is_convolution(node: &NodeProto) -> bool {
    match &*node.op_type {
        "Conv" | "ConvInteger" => is_standard(node),
        "QLinearConv" => is_standard(node) || (node.domain == ONNX_RUNTIME && !channels_last(node)),
        "FusedConv" => node.domain == ONNX_RUNTIME,
        _ => false,
    }
}

fn channels_last(node: &NodeProto) -> bool {
    attribute(node, "channels_last").is_some_and(|attribute| attribute.i != 0)
}

pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name == name)
}

/// Refuses a node whose name says that it is a convolution, but whose layout is not known. Left out, it would be missing
/// from every total.
pub(super) fn refuse_unreadable(node: &NodeProto) -> Result<(), OnnxError> {
    // Operators that convert between types or layouts are none.
    let name = node
        .op_type
        .to_lowercase()
        .replace("convert", "")
        .replace("conversion", "");
    let left_out = is_standard(node) && MULTIPLIERS.contains(&&*node.op_type);
    if !name.contains("conv") || is_convolution(node) || left_out {
        return Ok(());
    }
    let (name, operator) = (called(node), described(node));
    let of_runtime = ["com.microsoft", "com.ms.internal"]
        .iter()
        .any(|domain| node.domain.starts_with(domain));
    Err(if of_runtime {
        OnnxError::Optimised { node: name, operator }
    } else {
        OnnxError::UnknownOperator { node: name, operator }
    })
}

/// An operator, with its domain unless that is ONNX's own.
pub(super) fn described(node: &NodeProto) -> String {
    if is_standard(node) {
        printable(&node.op_type)
    } else {
        printable(&format!("{} of the domain {}", node.op_type, node.domain))
    }
}

/// Whether a node multiplies if it takes a matrix of constants. What the operators of unknown domains do is not known:
/// all are taken to multiply.
pub(super) fn multiplies(node: &NodeProto) -> bool {
    if is_standard(node) {
        MULTIPLIERS.contains(&&*node.op_type)
    } else {
        plain(node).is_none_or(|plain| MULTIPLIERS.contains(&plain.operator))
    }
}

/// The graphs that a node holds in its attributes.
pub(super) fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute
        .iter()
        .flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// A node as an operator of ONNX's own, or [`ALIKE`], with the same shapes.
pub(super) struct Plain<'a> {
    pub operator: &'a str,
    /// Its inputs. A place that is left empty is an empty name.
    pub inputs: Vec<String>,
    /// The attributes of the node that the operator does not have, or that do not change its shapes.
    pub without: &'static [&'static str],
}

/// What to infer a node's shapes as, or `None` where that is not known.
pub(super) fn plain(node: &NodeProto) -> Option<Plain<'_>> {
    // A file can have a node with graphs compute anything.
    if subgraphs(node).next().is_some() {
        return None;
    }
    let inputs = |places: &[usize]| -> Vec<String> {
        let input = |&place| node.input.get(place).cloned().unwrap_or_default();
        places.iter().map(input).collect()
    };
    let as_operator = |operator, places: &[usize], without| {
        Some(Plain {
            operator,
            inputs: inputs(places),
            without,
        })
    };
    let operator = &*node.op_type;
    // Blocks and types do not change the shape. tract knows neither blocks nor all types.
    if matches!(&*node.domain, "" | "ai.onnx" | ONNX_RUNTIME) {
        match operator {
            // The type is that of the zero point.
            "QuantizeLinear" => return as_operator(ALIKE, &[0, 2], &[]),
            // The type is that of the scale, unless the node states another.
            "DequantizeLinear" if attribute(node, "output_dtype").is_some() => {
                return as_operator(ALIKE, &[0], &[]);
            }
            "DequantizeLinear" => return as_operator(ALIKE, &[0, 1], &[]),
            _ => {}
        }
    }
    match &*node.domain {
        "" | "ai.onnx" => match operator {
            // A bias does not change the shape.
            "Conv" => as_operator("Conv", &[0, 1], &[]),
            // What is filled in does not change the shape.
            "Pad" => {
                let mut inputs = inputs(&[0, 1, 2, 3]);
                inputs[2].clear();
                Some(Plain {
                    operator,
                    inputs,
                    without: &["mode"],
                })
            }
            "Resize" => {
                let mode = attribute(node, "coordinate_transformation_mode");
                // The size depends on the region of interest then, which tract does not look at.
                if mode.is_some_and(|mode| mode.s == b"tf_crop_and_resize") {
                    return None;
                }
                // tract counts on a region of interest in opset 11. Which one it is does not matter.
                let mut inputs = node.input.clone();
                if let [of, region, ..] = &mut inputs[..]
                    && region.is_empty()
                {
                    region.clone_from(of);
                }
                Some(Plain {
                    operator,
                    inputs,
                    without: &[],
                })
            }
            // Not operators of ONNX. tract's `ConstantLike` fills a tensor of any size as soon as it is seen.
            "ConstantLike" | ALIKE => None,
            // tract counts the axes of further outputs, and up to 2^64 of them.
            "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization" => {
                (node.output.len() == 1).then_some(Plain {
                    operator: ALIKE,
                    inputs: inputs(&[0, 0]),
                    without: &[],
                })
            }
            // No operator of ONNX's own. tract counts the axes of a scalar up to 2^64.
            "MatMulNBits" => None,
            // tract takes an axis that lies before the first for one near 2^64.
            "OneHot" if attribute(node, "axis").is_some_and(|axis| axis.i < -1) => None,
            // How many there are is not known.
            "NonMaxSuppression" | "NonZero" => None,
            _ => Some(Plain {
                operator,
                inputs: node.input.clone(),
                without: &[],
            }),
        },
        ONNX_RUNTIME => match operator {
            "FusedConv" => as_operator("Conv", &[0, 1], &["activation", "activation_params"]),
            "FusedGemm" => as_operator(
                "Gemm",
                &[0, 1],
                &[
                    "activation",
                    "activation_alpha",
                    "activation_beta",
                    "activation_gamma",
                ],
            ),
            "QGemm" => as_operator("Gemm", &[0, 3], &[]),
            "QLinearLeakyRelu" | "QLinearSigmoid" | "QLinearSoftmax" | "BiasGelu" | "FastGelu" | "Gelu"
            | "QuickGelu" => as_operator(ALIKE, &[0, 0], &[]),
            "QLinearAdd" => as_operator("Add", &[0, 3], &[]),
            "QLinearMul" => as_operator("Mul", &[0, 3], &[]),
            "QLinearWhere" => as_operator("Where", &[0, 1, 4], &[]),
            // The output's scale and zero point, then every input with its own.
            "QLinearConcat" => Some(Plain {
                operator: "Concat",
                inputs: node.input.iter().skip(2).step_by(3).cloned().collect(),
                without: &[],
            }),
            _ if channels_last(node) => None,
            "QLinearConv" => Some(Plain {
                operator,
                inputs: node.input.clone(),
                without: &["channels_last"],
            }),
            "QLinearAveragePool" => as_operator("AveragePool", &[0], &["channels_last"]),
            "QLinearGlobalAveragePool" => as_operator("GlobalAveragePool", &[0], &["channels_last"]),
            _ => None,
        },
        domain if QONNX.contains(&domain) => match operator {
            "Quant" | "IntQuant" | "BipolarQuant" | "FloatQuant" | "Trunc" | "MultiThreshold" => {
                as_operator(ALIKE, &[0, 0], &[])
            }
            _ => None,
        },
        _ => None,
    }
}
