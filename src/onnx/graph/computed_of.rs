//! Which parameters of a file constants are computed of. The reader computes with constants at once, so that a parameter that nothing but
//! constants reads is no constant of the graph, and one that a node reads, too, is trained while what was computed of it is not.

use std::collections::{BTreeSet, HashMap, HashSet};

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

/// A constant: the parameters whose numbers are in it, and whether it is the only one of them as it is.
#[derive(Clone, Default)]
struct Known<'a> {
    parameters: BTreeSet<&'a str>,
    whole: bool,
    single: bool,
}

/// The parameters of which numbers of the graph of `specs` are computed.
pub(super) fn computed_of(model: &Prepared<'_>, specs: &[NodeSpec]) -> ComputedOf {
    let constants = || model.weights.iter().chain(&model.graph.initializer);
    let mut known: HashMap<&str, Known<'_>> = constants()
        .map(|tensor| (&*tensor.name, as_known(tensor)))
        .collect();
    let wanted = wanted(model.graph);
    let is_wanted = |node: &&NodeProto| node.output.iter().any(|name| wanted.contains(&**name));
    let mut computed = BTreeSet::new();
    let mut read_whole = BTreeSet::new();
    let mut of_weights = BTreeSet::new();
    for node in model.graph.node.iter().filter(is_wanted) {
        let inputs = || node.input.iter().filter(|name| !name.is_empty());
        let operator = &*node.op_type;
        if inputs().all(|name| known.contains_key(&**name)) {
            let made = result(node, &known);
            known.extend(node.output.iter().map(|name| (&**name, made.clone())));
            continue;
        }
        // The scale of a quantisation is no parameter.
        if operator.contains("Quant") || operator.starts_with("QLinear") {
            continue;
        }
        for read in inputs().filter_map(|name| known.get(&**name)) {
            let parameters = read.parameters.iter().copied();
            if read.whole && !(read.single && NUMBERS.contains(&operator)) {
                read_whole.extend(parameters);
                continue;
            }
            computed.extend(parameters.clone());
            if TRAINED.contains(&operator) {
                of_weights.extend(parameters);
            }
        }
    }
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
    if !is_one {
        return Known::default();
    }
    Known {
        parameters: BTreeSet::from([&*tensor.name]),
        whole: true,
        single: numbers == 1,
    }
}

/// What a node makes of constants alone.
fn result<'a>(node: &NodeProto, known: &HashMap<&'a str, Known<'a>>) -> Known<'a> {
    let read = |name: &String| known.get(&**name).cloned().unwrap_or_default();
    match &*node.op_type {
        // Scales and integers are no parameters.
        "Shape" | "Size" | "Constant" | "QuantizeLinear" | "DequantizeLinear" => Known::default(),
        operator if KEEP.contains(&operator) => node.input.first().map(read).unwrap_or_default(),
        _ => Known {
            parameters: node.input.iter().flat_map(|name| read(name).parameters).collect(),
            whole: false,
            single: false,
        },
    }
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
