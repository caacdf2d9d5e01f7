//! What nodes with weights are called: the paths of their weights in PyTorch, as `layer1.0.conv1`.
//!
//! Exporters call a node after its operator (`node_Conv_174`, `Conv_3`) or after the modules around it
//! (`/layer1/layer1.0/conv1/Conv`). Neither is what the network's author wrote. The path is read off, in this order:
//!
//! * the name of the weight, where that is one of a parameter: `layer1.0.conv1.weight`;
//! * the module that the file says the node was exported of, in a note of the node or in its name.
//!
//! Exporters write equal constants once. A weight that another node owns, by the module it is of, names that node alone; so do the
//! constants of batch norms, which are equal more often than not. A name that no exporter made up is kept.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::printable;

/// The longest path, in bytes.
const MAX_PATH: usize = 500;

/// The most operators between a constant and the node that multiplies by it.
const MAX_BETWEEN: usize = 8;

/// What stands behind the path of a layer in the names of its parameters.
pub(super) const LEAVES: [&str; 4] = ["weight", "bias", "running_mean", "running_var"];

/// What nodes are called after.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// The path of each node that was named by one, under its name. The two differ where two nodes have one path.
    layers: HashMap<String, String>,
    /// The module that a node without weights was exported of, under its first output, where it reads a constant of the file that
    /// nodes of the module that owns it read, too.
    scopes: HashMap<String, String>,
}

impl Paths {
    /// The path of a node that was named by one.
    pub fn layer(&self, node: &str) -> Option<&str> {
        self.layers.get(node).map(String::as_str)
    }

    /// The module that a node without weights is of, which reads a constant.
    pub fn scope(&self, node: &NodeProto) -> Option<&str> {
        self.scopes.get(node.output.first()?).map(String::as_str)
    }
}

/// Names the nodes with weights by their paths. `scopes`: for each node the module that it was exported of, as far as notes say.
pub(super) fn name_by_path(graph: &mut GraphProto, scopes: &[Option<String>]) -> Paths {
    let found = found(graph, scopes);
    // Nodes that own a weight, as the module that they are of has its name.
    let owned: HashSet<&str> = (found.values())
        .filter(|found| {
            found
                .scope
                .as_deref()
                .is_some_and(|scope| is_call_of(scope, found.weight.as_deref()))
        })
        .filter_map(|found| found.weight.as_deref())
        .collect();
    let path = |found: &Found| {
        let weight = found.weight.as_deref();
        let Some(scope) = found.scope.as_deref() else {
            return weight.map(str::to_owned);
        };
        let owner = weight.filter(|weight| is_call_of(scope, Some(weight)));
        let other = weight.filter(|weight| !found.norm && !owned.contains(weight));
        Some(owner.or(other).unwrap_or(scope).to_owned())
    };
    let named: HashMap<usize, String> = (found.iter())
        .filter_map(|(&n, found)| Some((n, path(found)?)))
        .filter(|(_, path)| !path.is_empty() && path.len() <= MAX_PATH)
        .collect();
    let others = graph
        .node
        .iter()
        .enumerate()
        .filter(|(n, _)| !named.contains_key(n));
    let mut taken: HashSet<String> = others.map(|(_, node)| printable(&node.name)).collect();
    let mut last: HashMap<String, usize> = HashMap::new();
    let mut paths = Paths {
        layers: HashMap::new(),
        scopes: scopes_of_readers(graph, scopes),
    };
    for (n, node) in graph.node.iter_mut().enumerate() {
        let Some(path) = named.get(&n).map(|path| printable(path)) else {
            continue;
        };
        let mut name = path.clone();
        let number = last.entry(path.clone()).or_insert(1);
        while !taken.insert(name.clone()) {
            *number += 1;
            name = format!("{path}.{number}");
        }
        node.name.clone_from(&name);
        paths.layers.insert(name, path);
    }
    paths
}

/// The modules of nodes that compute with a constant of the file number by number, where nodes of the module that has its name do,
/// too: such a constant is one of each.
fn scopes_of_readers(graph: &GraphProto, scopes: &[Option<String>]) -> HashMap<String, String> {
    let held: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    let mut readers: HashMap<&str, Vec<(&NodeProto, String)>> = HashMap::new();
    let nodes = graph.node.iter().enumerate();
    for (n, node) in nodes.filter(|(_, node)| matches!(&*node.op_type, "Add" | "Sub" | "Mul" | "Div")) {
        let Some(scope) = scopes.get(n).cloned().flatten().or_else(|| scope(&node.name)) else {
            continue;
        };
        for name in node.input.iter().filter(|name| held.contains(&***name)) {
            readers.entry(name).or_default().push((node, scope.clone()));
        }
    }
    let mut found = HashMap::new();
    for (name, readers) in readers {
        let owner = name.rsplit_once('.').map(|(owner, _)| owner);
        if readers.iter().any(|(_, scope)| is_call_of(scope, owner)) {
            let outputs = readers
                .into_iter()
                .filter_map(|(node, scope)| Some((node.output.first()?.clone(), scope)));
            found.extend(outputs);
        }
    }
    found
}

/// What a node with weights may be called after.
struct Found {
    norm: bool,
    /// The path of the weight, without `.weight`.
    weight: Option<String>,
    /// The module that the node was exported of.
    scope: Option<String>,
}

/// By their places, the nodes with weights that exporters named.
fn found(graph: &GraphProto, scopes: &[Option<String>]) -> HashMap<usize, Found> {
    let producers: HashMap<&str, &NodeProto> = (graph.node.iter())
        .filter_map(|node| Some((&**node.output.first()?, node)))
        .collect();
    let held: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    let constant = |name: &str| constant(name, &producers, &held);
    let mut found = HashMap::new();
    for (n, node) in graph.node.iter().enumerate() {
        let Some(places) = weights(node).filter(|_| is_made_up(&node.name)) else {
            continue;
        };
        let from_behind = places.iter().rev();
        let mut names = from_behind.filter_map(|&place| constant(node.input.get(place)?));
        let Some(weight) = names.next() else { continue };
        let stem = weight.strip_suffix("_quantized").unwrap_or(&weight);
        let stem = stem.strip_suffix(".weight").filter(|stem| !stem.is_empty());
        let noted = scopes.get(n).cloned().flatten();
        let (weight, scope) = (stem.map(str::to_owned), noted.or_else(|| scope(&node.name)));
        let norm = matches!(&*node.op_type, "BatchNormalization" | "LayerNormalization");
        found.insert(n, Found { norm, weight, scope });
    }
    found
}

/// Which inputs of a node may be weights. `None` of one without weights.
fn weights(node: &NodeProto) -> Option<&'static [usize]> {
    Some(match &*node.op_type {
        "Conv" | "ConvTranspose" | "ConvInteger" | "FusedConv" | "Gemm" | "FusedGemm"
        | "BatchNormalization" | "LayerNormalization" => &[1],
        // From either side.
        "MatMul" | "MatMulInteger" => &[0, 1],
        "QLinearConv" | "QLinearMatMul" | "QGemm" => &[3],
        _ => return None,
    })
}

/// The name of the constant that a value is computed of, by operators that change its type or its order.
fn constant(name: &str, producers: &HashMap<&str, &NodeProto>, held: &HashSet<&str>) -> Option<String> {
    let mut name = name;
    for _ in 0..MAX_BETWEEN {
        if held.contains(name) {
            return Some(name.to_owned());
        }
        let producer = producers.get(name)?;
        match &*producer.op_type {
            "Constant" => return Some(name.to_owned()),
            "Identity" | "DequantizeLinear" | "QuantizeLinear" | "Quant" | "IntQuant" | "BipolarQuant"
            | "Cast" | "Transpose" => name = producer.input.first()?,
            _ => return None,
        }
    }
    None
}

/// Whether an exporter made a name for a node.
fn is_made_up(name: &str) -> bool {
    let of_operator = |name: &str| {
        name.rsplit_once('_').is_some_and(|(operator, number)| {
            operator.starts_with(|first: char| first.is_ascii_uppercase()) && is_number(number)
        })
    };
    name.is_empty()
        || name.starts_with('/')
        || name.starts_with("node_")
        || of_operator(name.strip_suffix("_quant").unwrap_or(name))
}

/// Whether an exporter made a name for a constant.
pub(super) fn is_made_up_constant(name: &str) -> bool {
    let numbered = |start: &str| {
        name.strip_prefix(start)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    name.contains("::")
        // A tensor that `forward` makes.
        || name.contains("lifted_tensor")
        || name.starts_with('/')
        || is_number(name)
        || numbered("val_")
        || numbered("Constant_")
        // Of a batch norm that was folded into a layer.
        || name.ends_with(".weight_bias")
        || is_of_operator(name)
}

/// Whether a constant of so many numbers is a parameter by its name. One number is a literal under most names: that of a parameter is a
/// path, as `layer1.0.act.weight`.
pub(super) fn is_parameter(name: &str, numbers: usize) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|c| !c.is_whitespace() && !c.is_control() && !"/:".contains(c))
    };
    let is_path = || name.split('.').all(is_part) && !is_constant(name);
    !is_made_up_constant(name) && (numbers != 1 || is_path())
}

/// Whether a name is that of a literal: `Const__7`, `const_fold_opt__12`.
fn is_constant(name: &str) -> bool {
    let rest = name.to_ascii_lowercase();
    let rest = rest
        .strip_prefix("const")
        .map(|rest| rest.strip_prefix("ant").unwrap_or(rest));
    let rest = rest.map(|rest| rest.strip_prefix("_fold_opt").unwrap_or(rest));
    rest.is_some_and(|rest| rest.bytes().all(|byte| byte == b'_' || byte.is_ascii_digit()))
}

/// What torch.export calls the results of its operators, which are constants where it folded them.
const OPERATORS: [&str; 27] = [
    "add",
    "arange",
    "cat",
    "clone",
    "div",
    "exp",
    "expand",
    "full",
    "index",
    "masked_fill",
    "matmul",
    "mean",
    "mm",
    "mul",
    "permute",
    "pow",
    "reshape",
    "scalar_tensor",
    "select",
    "slice",
    "sqrt",
    "squeeze",
    "sub",
    "t",
    "transpose",
    "unsqueeze",
    "view",
];

fn is_of_operator(name: &str) -> bool {
    let stem = match name.rsplit_once('_') {
        Some((stem, number)) if is_number(number) => stem,
        _ => name,
    };
    OPERATORS.contains(&stem)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The module in a name like `/features/features.1/conv/conv.0/Conv`: each part is the name of a module, of one in a list with that
/// of the list in front.
fn scope(name: &str) -> Option<String> {
    let (modules, _) = name.strip_prefix('/')?.rsplit_once('/')?;
    let mut path: Vec<&str> = Vec::new();
    for module in modules.split('/') {
        let inside = |outer: &&str| {
            module
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('.'))
        };
        if path.last().is_some_and(inside) {
            path.pop();
        }
        path.push(module);
    }
    Some(path.join("."))
}

/// Whether a scope is a call of the module of this path: a second call has a number behind it.
pub(super) fn is_call_of(scope: &str, path: Option<&str>) -> bool {
    let rest = path.and_then(|path| scope.strip_prefix(path));
    rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('_').is_some_and(is_number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scoped_names_are_paths() {
        for (name, path) in [
            ("/layer1/layer1.0/conv1/Conv", Some("layer1.0.conv1")),
            (
                "/features/features.1/conv/conv.0/conv.0.0/Conv",
                Some("features.1.conv.0.0"),
            ),
            ("/conv1/Conv_quant", Some("conv1")),
            ("/Conv", None),
            ("Conv_3", None),
        ] {
            assert_eq!(scope(name).as_deref(), path, "{name}");
        }
    }

    #[test]
    fn names_that_exporters_make_up_are_known() {
        for name in [
            "",
            "/conv1/Conv",
            "node_Conv_174",
            "node_linear",
            "Conv_3",
            "Conv_3_quant",
        ] {
            assert!(is_made_up(name), "{name}");
        }
        for name in ["conv1", "conv_1", "layer1.0.conv1", "Conv", "model/conv1/Conv2D"] {
            assert!(!is_made_up(name), "{name}");
        }
        for name in [
            "onnx::Conv_497",
            "497",
            "val_12",
            "/layer/Constant_output_0",
            "conv1.weight_bias",
            "t",
            "mul_6",
        ] {
            assert!(is_made_up_constant(name), "{name}");
        }
        for name in ["conv1.weight", "w", "value", "weight_2"] {
            assert!(!is_made_up_constant(name), "{name}");
        }
        for name in ["act.slope", "acts.a-b.weight", "constant_gain", "consts.gain"] {
            assert!(is_parameter(name, 1), "{name}");
        }
        for name in [
            "Const__7",
            "const_fold_opt__12",
            "Constant_3",
            "net/mul/y:0",
            "lifted_tensor_0",
        ] {
            assert!(!is_parameter(name, 1), "{name}");
        }
    }
}
