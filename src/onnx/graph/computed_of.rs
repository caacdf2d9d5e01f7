//! Which parameters of a file constants are computed of. The reader computes with constants at once, so that a parameter that nothing but
//! constants reads is no constant of the graph, and one that a node reads, too, is trained while what was computed of it is not.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{NodeProto, TensorProto};

use super::{
    Prepared,
    values::{Value, decode, is_float},
    wanted,
};
use crate::graph::{ComputedOf, Constant, MAX_DIMS, NodeSpec, Op};
use crate::onnx::paths::is_parameter;

/// Operators that keep the numbers of what they read first.
const KEEP: [&str; 11] = [
    "BipolarQuant",
    "Cast",
    "CastLike",
    "Expand",
    "Flatten",
    "Identity",
    "Quant",
    "Reshape",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
];

/// Operators whose constants become weights or batch norms, which are trained.
const TRAINED: [&str; 5] = ["BatchNormalization", "Conv", "ConvTranspose", "Gemm", "MatMul"];

/// Operators whose constants of one number become part of what is computed.
const NUMBERS: [&str; 4] = ["Clip", "Max", "Min", "Pow"];

/// A constant of the file, or one that constants alone make.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    /// The parameter that it is, its numbers as they are.
    parameter: Option<&'a str>,
    single: bool,
    /// The node that makes it of others' numbers.
    maker: Option<&'a NodeProto>,
}

/// The parameters of which numbers of the graph of `specs` are computed.
pub(super) fn computed_of(model: &Prepared<'_>, specs: &[NodeSpec]) -> ComputedOf {
    let constants = || model.weights.iter().chain(&model.graph.initializer);
    let mut known: HashMap<&str, Known<'_>> = constants()
        .map(|tensor| (&*tensor.name, as_known(tensor)))
        .collect();
    let wanted = wanted(model.graph);
    let is_wanted = |node: &&NodeProto| node.output.iter().any(|name| wanted.contains(&**name));
    let mut read_whole = HashSet::new();
    let (mut read, mut read_as_weights) = (Vec::new(), Vec::new());
    for node in model.graph.node.iter().filter(is_wanted) {
        let inputs = || node.input.iter().filter(|name| !name.is_empty());
        let operator = &*node.op_type;
        if inputs().all(|name| known.contains_key(&**name)) {
            let made = result(node, &known);
            known.extend(node.output.iter().map(|name| (&**name, made)));
            continue;
        }
        // The scale of a quantisation is no parameter.
        if operator.contains("Quant") || operator.starts_with("QLinear") {
            continue;
        }
        for constant in inputs().filter_map(|name| known.get(&**name)) {
            match constant.parameter {
                Some(parameter) if !(constant.single && NUMBERS.contains(&operator)) => {
                    read_whole.insert(parameter);
                }
                _ => {
                    read.push(*constant);
                    if TRAINED.contains(&operator) {
                        read_as_weights.push(*constant);
                    }
                }
            }
        }
    }
    let computed = parameters_of(read, &known);
    let of_weights = parameters_of(read_as_weights, &known);
    let held = Held::of(specs);
    let mut found = ComputedOf::default();
    for tensor in constants() {
        let name = &*tensor.name;
        let (is_computed, is_held) = (computed.contains(name), held.all.contains(name));
        if is_computed && held.trained.contains(name) {
            found.trained.push(name.to_owned());
        }
        // One that is read as it is may be repeated, or be part of what is computed.
        if is_held || !(is_computed || read_whole.contains(name)) {
            continue;
        }
        match decode(name, tensor, false) {
            Ok(Value::Held(read)) if !of_weights.contains(name) && can_be_kept(&read.values, &read.dims) => {
                found.kept.push(read.constant(read.dims.clone()));
            }
            _ => found.lost.push(name.to_owned()),
        }
    }
    found
}

fn can_be_kept(values: &Option<std::sync::Arc<[f32]>>, dims: &[usize]) -> bool {
    let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
    dims.len() <= MAX_DIMS && values.as_deref().is_some_and(finite)
}

fn as_known(tensor: &TensorProto) -> Known<'_> {
    let numbers: i64 = tensor.dims.iter().product();
    let is_one = is_float(tensor.data_type)
        && usize::try_from(numbers).is_ok_and(|numbers| is_parameter(&tensor.name, numbers));
    Known {
        parameter: is_one.then_some(&*tensor.name),
        single: numbers == 1,
        maker: None,
    }
}

/// What a node makes of constants alone.
fn result<'a>(node: &'a NodeProto, known: &HashMap<&'a str, Known<'a>>) -> Known<'a> {
    match &*node.op_type {
        // Scales and integers are no parameters.
        "Shape" | "Size" | "Constant" | "QuantizeLinear" | "DequantizeLinear" => Known::default(),
        operator if KEEP.contains(&operator) => {
            let first = node.input.first().and_then(|name| known.get(&**name));
            first.copied().unwrap_or_default()
        }
        _ => Known {
            maker: Some(node),
            ..Known::default()
        },
    }
}

/// The parameters whose numbers are in these constants: each node is looked at once.
fn parameters_of<'a>(mut constants: Vec<Known<'a>>, known: &HashMap<&'a str, Known<'a>>) -> HashSet<&'a str> {
    let mut found = HashSet::new();
    let mut seen = HashSet::new();
    while let Some(constant) = constants.pop() {
        found.extend(constant.parameter);
        let Some(node) = constant
            .maker
            .filter(|node| seen.insert(std::ptr::from_ref(*node)))
        else {
            continue;
        };
        constants.extend(node.input.iter().filter_map(|name| known.get(&**name)));
    }
    found
}

/// The parameters of the file that constants of the graph are.
struct Held<'a> {
    all: HashSet<&'a str>,
    trained: HashSet<&'a str>,
}

impl<'a> Held<'a> {
    fn of(specs: &'a [NodeSpec]) -> Self {
        let (mut all, mut trained) = (HashSet::new(), HashSet::new());
        let name = |constant: &'a Constant| {
            let in_file = constant.in_file()?;
            in_file.name.as_deref().or(constant.name())
        };
        for spec in specs {
            let stays: Vec<&Constant> = match spec.op() {
                Op::Affine(affine) if affine.epsilon.is_none() => {
                    affine.minus.iter().chain(&affine.divisor).collect()
                }
                _ => Vec::new(),
            };
            for constant in spec.op().constants() {
                all.extend(name(constant));
                if !stays.contains(&constant) {
                    trained.extend(name(constant));
                }
            }
        }
        Self { all, trained }
    }
}
