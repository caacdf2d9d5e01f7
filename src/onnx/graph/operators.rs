//! Which operators of ONNX a graph is made of, and their settings.

use tract_onnx::pb::NodeProto;

use super::{
    maker::Maker,
    unknown,
    values::{Data, Made, Value},
};
use crate::graph::{Binary, Function, Op, Reduction};
use crate::onnx::operators::{ONNX_RUNTIME, QONNX, attribute, subgraphs};
use crate::onnx::paths::is_made_up_constant;

impl Maker<'_> {
    /// Makes what a node of the file computes.
    pub(super) fn node(&mut self, node: &NodeProto) -> Made<()> {
        if subgraphs(node).next().is_some() {
            return Err(
                "runs a part of the network that only its input decides on: export the network without it"
                    .to_owned(),
            );
        }
        let first = node.output.first().map_or("", |name| &**name);
        if self.gelus.between.contains(first) {
            return Ok(());
        }
        if let Some(x) = self.gelus.results.get(first).cloned() {
            return match self.named(&x)? {
                Value::Data(x) => self.last(node, Function::Gelu, &[&x]),
                _ => Err("computes with constants alone".to_owned()),
            };
        }
        match &*node.domain {
            "" | "ai.onnx" => self.standard_or_folded(node),
            ONNX_RUNTIME => self.of_runtime(node),
            domain if QONNX.contains(&domain) => self.qonnx(node),
            _ => Err(unknown(node)),
        }
    }

    /// An operator that ONNX Runtime adds.
    fn of_runtime(&mut self, node: &NodeProto) -> Made<()> {
        if int(node, "channels_last", 0) != 0 {
            return Err("has its channels behind height and width".to_owned());
        }
        match &*node.op_type {
            "QuantizeLinear" => self.quantize_linear(node),
            "DequantizeLinear" => self.dequantize_linear(node),
            "QLinearConv" => self.qlinear_conv(node),
            "QGemm" => self.qgemm(node),
            "QLinearAdd" => self.qlinear_binary(node, Binary::Add),
            "QLinearMul" => self.qlinear_binary(node, Binary::Mul),
            "QLinearConcat" => self.qlinear_concat(node),
            "QLinearGlobalAveragePool" => self.qlinear(node, Op::AdaptiveAvgPool { output: [1; 2] }),
            "QLinearAveragePool" => self.qlinear_avg_pool(node),
            "QLinearSoftmax" => self.qlinear_softmax(node),
            "QLinearSigmoid" => self.qlinear(node, Function::Sigmoid),
            "QLinearLeakyRelu" => {
                let slope = float(node, "alpha", 0.01);
                self.qlinear(node, Function::LeakyRelu { slope })
            }
            "Gelu" => {
                let x = self.anywhere(node, 0)?;
                self.last(node, Function::Gelu, &[&x])
            }
            _ => Err(unknown(node)),
        }
    }

    /// An operator of ONNX's own.
    pub(super) fn standard(&mut self, node: &NodeProto) -> Made<()> {
        match &*node.op_type {
            "Constant" => self.constant_list(node),
            "Identity" => self.identity(node),
            "Dropout" => self.dropout(node),
            "Cast" => self.cast(node),
            "CastLike" => self.cast_like(node),
            "ConstantOfShape" => self.constant_of_shape(node),
            "Conv" => self.conv(node),
            "ConvTranspose" => self.conv_transpose(node),
            "Gemm" => self.gemm(node),
            "MatMul" => self.mat_mul(node),
            "BatchNormalization" => self.batch_norm(node),
            "LayerNormalization" => self.layer_norm(node),
            "QuantizeLinear" => self.quantize_linear(node),
            "DequantizeLinear" => self.dequantize_linear(node),
            "QLinearConv" => self.qlinear_conv(node),
            "QLinearMatMul" => self.qlinear_mat_mul(node),
            "ConvInteger" => self.conv_integer(node),
            "MatMulInteger" => self.mat_mul_integer(node),
            "DynamicQuantizeLinear" => {
                Err("chooses its scale for each input: quantise the network statically".to_owned())
            }
            "Pow" => self.pow(node),
            "Add" => self.binary(node, Binary::Add),
            "Sub" => self.binary(node, Binary::Sub),
            "Mul" => self.binary(node, Binary::Mul),
            "Div" => self.binary(node, Binary::Div),
            "Max" => self.binary(node, Binary::Max),
            "Min" => self.binary(node, Binary::Min),
            "PRelu" => self.prelu(node),
            "Clip" => self.clip(node),
            "Gelu" if text(node, "approximate", "none") != "none" => Err(unknown(node)),
            "MaxPool" => self.max_pool(node),
            "AveragePool" => self.avg_pool(node),
            "GlobalAveragePool" => self.global_mean(node),
            "GlobalMaxPool" => self.global_max(node),
            "ReduceMean" => self.reduce(node, Reduction::Mean),
            "ReduceSum" => self.reduce(node, Reduction::Sum),
            "ReduceMax" => self.reduce(node, Reduction::Max),
            "ReduceL2" => self.norm_along(node),
            "Concat" => self.concat(node),
            "Split" => self.split(node),
            "Slice" => self.slice(node),
            "Flatten" => self.flatten(node),
            "Reshape" => self.reshape(node),
            "Squeeze" => self.squeeze(node),
            "Unsqueeze" => self.unsqueeze(node),
            "Transpose" => self.transpose(node),
            "Expand" => self.expand(node),
            "Pad" => self.pad(node),
            "Resize" | "Upsample" => self.resize(node),
            "Softmax" => self.softmax(node, false),
            "LogSoftmax" => self.softmax(node, true),
            "Shape" => self.shape(node),
            "Gather" => self.gather(node),
            "Range" => self.range(node),
            "Mod" if int(node, "fmod", 0) != 0 => {
                Err("takes the rest with the sign of the dividend".to_owned())
            }
            "Mod" | "Equal" => {
                let [a, b] = [self.sizes(node, 0)?, self.sizes(node, 1)?];
                self.binary_sizes(node, &a, &b)
            }
            "Where" => self.chosen_sizes(node),
            "SplitToSequence" => self.split_to_sequence(node),
            "SequenceAt" => self.sequence_at(node),
            "Einsum" => self.einsum(node),
            "Attention" => self.attention(node),
            _ => {
                let function = function(node).ok_or_else(|| unknown(node))?;
                if let Value::Held(tensor) = self.value(node, 0)? {
                    return self.function_of_constant(node, function, &tensor);
                }
                let x = self.anywhere(node, 0)?;
                self.last(node, function, &[&x])
            }
        }
    }

    /// A value under another name. PyTorch writes equal parameters once, and makes the others of it by this operator: a vector is each
    /// layer's own.
    fn identity(&mut self, node: &NodeProto) -> Made<()> {
        let mut value = self.value(node, 0)?;
        if let Value::Held(tensor) = &mut value
            && tensor.parameter.is_some()
            && tensor.dims.iter().filter(|&&size| size != 1).count() <= 1
            && let Some(name) = node.output.first()
            && name.contains('.')
            && !is_made_up_constant(name)
        {
            tensor.name.clone_from(name);
        }
        self.give(node, 0, value)
    }

    /// A value under another name.
    pub(super) fn same(&mut self, node: &NodeProto) -> Made<()> {
        let value = self.value(node, 0)?;
        self.give(node, 0, value)
    }

    /// In evaluation nothing is dropped.
    fn dropout(&mut self, node: &NodeProto) -> Made<()> {
        if Self::has(node, 2) || self.trains(node) {
            return Err("may drop values in evaluation".to_owned());
        }
        self.same(node)
    }

    /// Whether a node of an operator set before 7 is said to train, as it is where nothing is said.
    pub(super) fn trains(&self, node: &NodeProto) -> bool {
        self.opset < 7 && int(node, "is_test", 0) == 0
    }

    /// From floats to floats, and of sizes.
    fn cast(&mut self, node: &NodeProto) -> Made<()> {
        let to = i32::try_from(int(node, "to", 0)).unwrap_or(0);
        let value = self.value(node, 0)?;
        let fits = match value {
            Value::Sizes(_) => matches!(to, 6 | 7),
            // Integers of the network are floats here.
            Value::Data(_) | Value::Held(_) => to == 1,
            _ => false,
        };
        if !fits {
            return Err("changes the type of its numbers".to_owned());
        }
        if let (Value::Sizes(sizes), 6) = (&value, to) {
            let mut numbers = sizes.sizes.iter().filter_map(|size| size.known());
            if numbers.any(|number| i32::try_from(number).is_err()) {
                return Err("takes integers that 32 bits do not hold for some of 32 bits".to_owned());
            }
        }
        self.give(node, 0, value)
    }

    fn clip(&mut self, node: &NodeProto) -> Made<()> {
        let mut ends = [f32::NEG_INFINITY, f32::INFINITY];
        for (n, (end, name)) in ends.iter_mut().zip(["min", "max"]).enumerate() {
            if Self::has(node, n + 1) {
                *end = self.number(node, n + 1)?;
            } else {
                *end = float(node, name, *end);
            }
        }
        let [min, max] = ends;
        if min == f32::NEG_INFINITY && max == f32::INFINITY {
            return self.same(node);
        }
        let x = self.anywhere(node, 0)?;
        self.last(node, Function::Clamp { min, max }, &[&x])
    }

    fn softmax(&mut self, node: &NodeProto, log: bool) -> Made<()> {
        let x = self.anywhere(node, 0)?;
        let axis = softmax_axis(node, &x, self.opset)?;
        self.last(node, Op::Softmax { axis, log }, &[&x])
    }

    /// Between integers. The node says which operator set's softmax it is.
    fn qlinear_softmax(&mut self, node: &NodeProto) -> Made<()> {
        let x = self.read_codes_anywhere(node, [0, 1, 2])?;
        let axis = softmax_axis(node, &x, int(node, "opset", 13))?;
        let result = self.push(node.name.clone(), Op::Softmax { axis, log: false }, &[&x])?;
        self.write_codes(node, &result, [3, 4])
    }

    /// A list or a number in an attribute, or else as an input.
    pub(super) fn list(&mut self, node: &NodeProto, name: &str, n: usize) -> Made<Option<Vec<i64>>> {
        let attribute = attribute(node, name).map(|attribute| attribute.ints.clone());
        Ok(match attribute {
            Some(list) => Some(list),
            None if Self::has(node, n) => Some(self.sizes(node, n)?.whole()?),
            None => None,
        })
    }
}

/// The dimension of a softmax. Before operator set 13 all dimensions from `axis` on are one.
fn softmax_axis(node: &NodeProto, x: &Data, opset: i64) -> Made<usize> {
    let old = opset < 13;
    let named = int(node, "axis", if old { 1 } else { -1 });
    let axis = x.axis(named)?;
    let behind = x.batch_axis() > x.file_axis(named)?;
    if old && (behind || x.shape[axis + 1..].iter().any(|&size| size > 1)) {
        return Err("takes several dimensions together".to_owned());
    }
    Ok(axis)
}

/// A function of every number.
fn function(node: &NodeProto) -> Option<Function> {
    Some(match &*node.op_type {
        "Relu" => Function::Relu,
        "LeakyRelu" => Function::LeakyRelu {
            slope: float(node, "alpha", 0.01),
        },
        "Sigmoid" => Function::Sigmoid,
        "HardSigmoid" => Function::HardSigmoid {
            alpha: float(node, "alpha", 0.2),
            beta: float(node, "beta", 0.5),
        },
        "HardSwish" => Function::HardSwish {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        "Tanh" => Function::Tanh,
        "Gelu" => Function::Gelu,
        "Erf" => Function::Erf,
        "Round" => Function::Round,
        "Floor" => Function::Floor,
        "Sign" => Function::Sign,
        "Abs" => Function::Abs,
        "Neg" => Function::Neg,
        "Exp" => Function::Exp,
        "Sqrt" => Function::Sqrt,
        "Reciprocal" => Function::Recip,
        _ => return None,
    })
}

pub(super) fn int(node: &NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |attribute| attribute.i)
}

pub(super) fn float(node: &NodeProto, name: &str, default: f32) -> f32 {
    attribute(node, name).map_or(default, |attribute| attribute.f)
}

pub(super) fn text<'n>(node: &'n NodeProto, name: &str, default: &'n str) -> &'n str {
    attribute(node, name).map_or(default, |attribute| {
        std::str::from_utf8(&attribute.s).unwrap_or_default()
    })
}

/// A pair of sizes in an attribute.
pub(super) fn pair(node: &NodeProto, name: &str, default: [usize; 2]) -> Made<[usize; 2]> {
    let Some(attribute) = attribute(node, name) else {
        return Ok(default);
    };
    match whole(&attribute.ints)?[..] {
        [down, across] => Ok([down, across]),
        ref found => Err(format!(
            "has {} numbers as its `{name}`, where 2 were expected",
            found.len()
        )),
    }
}

/// Padding in an attribute: top, left, bottom, right.
pub(super) fn pads(node: &NodeProto) -> Made<[usize; 4]> {
    let Some(attribute) = attribute(node, "pads") else {
        return Ok([0; 4]);
    };
    let pads = whole(&attribute.ints)?;
    <[usize; 4]>::try_from(pads)
        .map_err(|pads| format!("has {} numbers as its `pads`, where 4 were expected", pads.len()))
}

/// Integers that are no less than zero.
pub(super) fn whole(ints: &[i64]) -> Made<Vec<usize>> {
    let sizes = ints.iter().map(|&size| usize::try_from(size).ok());
    let sizes = sizes.collect::<Option<_>>();
    sizes.ok_or_else(|| "has negative numbers where sizes were expected".to_owned())
}
