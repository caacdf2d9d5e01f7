//! Whether nodes make a graph. A [`Graph`] exists only where they do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::Graph;
use super::ir::{Constant, Function, Node, NodeId, NodeSpec, Op};
use super::shape::{numbers, shape};
use super::sketch::is_number;
use crate::text;

/// The most nodes of a graph.
const MAX_NODES: usize = 100_000;

/// Why nodes make no graph, or why a graph cannot be made of a network.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// One node.
    #[error("node `{}`: {reason}", text::line(node))]
    Node {
        /// Its name.
        node: String,
        /// What is wrong with it, and what was expected.
        reason: String,
    },
    /// The graph as a whole.
    #[error("{0}")]
    Graph(String),
}

impl GraphError {
    pub(crate) fn node(node: &str, reason: impl Into<String>) -> Self {
        Self::Node {
            node: node.into(),
            reason: reason.into(),
        }
    }
}

impl Graph {
    /// A graph of these nodes, in any order, that results in what the nodes named by `outputs` compute.
    ///
    /// # Errors
    ///
    /// [`GraphError`] where two nodes have one name, a node reads one that is not there, nodes read each other in a circle, shapes
    /// do not fit, numbers are not finite, or a node or an input is not used.
    pub fn new<O: Into<String>>(
        nodes: impl IntoIterator<Item = NodeSpec>,
        outputs: impl IntoIterator<Item = O>,
    ) -> Result<Self, GraphError> {
        Self::checked(nodes, outputs, constants)
    }

    /// As [`Graph::new`], without a look at the numbers of weights: what a [`Sketch`](super::Sketch) holds.
    pub(super) fn of_sketch(
        nodes: impl IntoIterator<Item = NodeSpec>,
        outputs: impl IntoIterator<Item = String>,
    ) -> Result<Self, GraphError> {
        Self::checked(nodes, outputs, single_numbers)
    }

    /// As [`Graph::new`], without a look at the numbers of constants, which may be missing. Shapes and ties are all that it is
    /// good for: it must not leave the crate.
    #[cfg(feature = "onnx")]
    pub(crate) fn of_shapes(
        nodes: impl IntoIterator<Item = NodeSpec>,
        outputs: impl IntoIterator<Item = String>,
    ) -> Result<Self, GraphError> {
        Self::checked(nodes, outputs, |_| Ok(()))
    }

    fn checked<O: Into<String>>(
        nodes: impl IntoIterator<Item = NodeSpec>,
        outputs: impl IntoIterator<Item = O>,
        constants: impl Fn(&Op) -> Result<(), String>,
    ) -> Result<Self, GraphError> {
        let specs: Vec<NodeSpec> = nodes.into_iter().collect();
        if specs.len() > MAX_NODES {
            return Err(GraphError::Graph(format!(
                "{} nodes: expected {MAX_NODES} at most",
                specs.len()
            )));
        }
        let mut places = HashMap::new();
        for (n, spec) in specs.iter().enumerate() {
            if let Some(unfit) = text::unfit(&spec.name) {
                return Err(GraphError::node(&spec.name, format!("its name {unfit}")));
            }
            if spec.name.is_empty() {
                return Err(GraphError::node("", "it has no name: expected one"));
            }
            if places.insert(spec.name.as_str(), n).is_some() {
                return Err(GraphError::node(
                    &spec.name,
                    "another node has this name: expected names that differ",
                ));
            }
        }
        let reads: Vec<Vec<usize>> = specs
            .iter()
            .map(|spec| {
                let place = |input: &String| {
                    places.get(input.as_str()).copied().ok_or_else(|| {
                        let reason = format!("it reads `{}`, which is not there", text::line(input));
                        GraphError::node(&spec.name, reason)
                    })
                };
                spec.inputs.iter().map(place).collect()
            })
            .collect::<Result<_, _>>()?;
        let results: Vec<usize> = outputs
            .into_iter()
            .map(|output| {
                let output = output.into();
                places.get(output.as_str()).copied().ok_or_else(|| {
                    GraphError::Graph(format!("the output `{}` is not there", text::line(&output)))
                })
            })
            .collect::<Result<_, _>>()?;
        let order = sorted(&specs, &reads)?;
        used(&specs, &reads, &results)?;

        let mut ids = vec![NodeId(0); specs.len()];
        for (id, &n) in order.iter().enumerate() {
            ids[n] = NodeId(id);
        }
        let mut specs: Vec<Option<NodeSpec>> = specs.into_iter().map(Some).collect();
        let mut nodes: Vec<Node> = Vec::with_capacity(specs.len());
        for &n in &order {
            let spec = specs[n].take().expect("each place stands once in the order");
            let inputs: Vec<NodeId> = reads[n].iter().map(|&read| ids[read]).collect();
            let refuse = |reason: String| GraphError::node(&spec.name, format!("it {reason}"));
            constants(&spec.op).map_err(refuse)?;
            numbers_of(&spec.op).map_err(refuse)?;
            let shapes: Vec<&[usize]> = inputs
                .iter()
                .map(|input| nodes[input.0].shape.as_slice())
                .collect();
            let shape = shape(&spec.op, &shapes).map_err(refuse)?;
            nodes.push(Node {
                name: spec.name,
                op: spec.op,
                inputs,
                shape,
            });
        }
        let is_input = |node: &Node| matches!(node.op, Op::Input { .. });
        let inputs: Vec<NodeId> = (0..nodes.len())
            .filter(|&n| is_input(&nodes[n]))
            .map(NodeId)
            .collect();
        if inputs.is_empty() {
            return Err(GraphError::Graph("it has no input: expected one at least".into()));
        }
        let outputs = results.into_iter().map(|n| ids[n]).collect();
        Ok(Self {
            nodes,
            inputs,
            outputs,
            computed_of: Default::default(),
        })
    }
}

/// The places of the nodes, each behind those that it reads, and otherwise as they were.
fn sorted(specs: &[NodeSpec], reads: &[Vec<usize>]) -> Result<Vec<usize>, GraphError> {
    let mut readers = vec![Vec::new(); specs.len()];
    let mut missing: Vec<usize> = reads.iter().map(Vec::len).collect();
    for (n, reads) in reads.iter().enumerate() {
        for &read in reads {
            readers[read].push(n);
        }
    }
    let mut ready: BinaryHeap<_> = (0..specs.len())
        .filter(|&n| missing[n] == 0)
        .map(Reverse)
        .collect();
    let mut order = Vec::with_capacity(specs.len());
    while let Some(Reverse(n)) = ready.pop() {
        order.push(n);
        for &reader in &readers[n] {
            missing[reader] -= 1;
            if missing[reader] == 0 {
                ready.push(Reverse(reader));
            }
        }
    }
    if order.len() < specs.len() {
        return Err(GraphError::Graph(format!(
            "nodes read each other in a circle: {}",
            circle(specs, reads, &missing)
        )));
    }
    Ok(order)
}

/// The names along a circle. Each node that is `missing` something reads one that is, too.
fn circle(specs: &[NodeSpec], reads: &[Vec<usize>], missing: &[usize]) -> String {
    let mut at = (missing.iter().position(|&missing| missing > 0)).expect("a circle has nodes");
    let mut seen = Vec::new();
    while !seen.contains(&at) {
        seen.push(at);
        at = *(reads[at].iter().find(|&&read| missing[read] > 0)).expect("it waits for a node");
    }
    let start = seen.iter().position(|&n| n == at).unwrap_or(0);
    let names = seen[start..]
        .iter()
        .rev()
        .map(|&n| format!("`{}`", text::line(&specs[n].name)));
    let names: Vec<String> = names.collect();
    let shown = names.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > 6 {
        format!("{shown}, and {} more", names.len() - 6)
    } else {
        shown
    }
}

/// Every node serves an output, and no node is an output twice.
fn used(specs: &[NodeSpec], reads: &[Vec<usize>], outputs: &[usize]) -> Result<(), GraphError> {
    if outputs.is_empty() {
        return Err(GraphError::Graph(
            "it has no output: expected one at least".into(),
        ));
    }
    let mut used = vec![false; specs.len()];
    for &output in outputs {
        if std::mem::replace(&mut used[output], true) {
            return Err(GraphError::node(
                &specs[output].name,
                "it is an output twice: expected each once",
            ));
        }
    }
    let mut open = outputs.to_vec();
    while let Some(n) = open.pop() {
        for &read in &reads[n] {
            if !std::mem::replace(&mut used[read], true) {
                open.push(read);
            }
        }
    }
    match used.iter().position(|used| !used) {
        None => Ok(()),
        Some(n) => {
            let what = match specs[n].op {
                Op::Input { .. } => "the network's input",
                _ => "what it computes",
            };
            Err(GraphError::node(
                &specs[n].name,
                format!("{what} is not used: expected a part of an output"),
            ))
        }
    }
}

/// Constants of as many numbers as their shapes hold, all finite.
fn constants(op: &Op) -> Result<(), String> {
    let check = |what: &str, constant: &Constant| {
        let name = constant
            .name()
            .map(|name| format!(" `{}`", text::line(name)))
            .unwrap_or_default();
        if numbers(&constant.shape) != Some(constant.values.len()) {
            return Err(format!(
                "holds {} numbers as {what}{name} for a shape of {:?}: expected as many as the shape holds",
                constant.values.len(),
                constant.shape
            ));
        }
        match constant.values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(format!(
                "holds {value} in its {what}{name}: expected finite numbers"
            )),
            None => Ok(()),
        }
    };
    let weighted = |weight: &Constant, bias: Option<&Constant>| {
        check("weights", weight)?;
        bias.map_or(Ok(()), |bias| check("bias", bias))
    };
    match op {
        Op::Constant(constant) => check("constant", constant),
        Op::Conv(conv) => weighted(&conv.weight, conv.bias.as_ref()),
        Op::ConvTranspose(conv) => weighted(&conv.weight, conv.bias.as_ref()),
        Op::Linear(linear) => weighted(&linear.weight, linear.bias.as_ref()),
        Op::Affine(affine) => {
            affine.parts().try_for_each(|part| check("constants", part))?;
            let zero = affine
                .divisor
                .as_ref()
                .is_some_and(|divisor| divisor.values.contains(&0.0));
            if zero {
                Err("divides by zero: expected other divisors".into())
            } else {
                Ok(())
            }
        }
        _ => Ok(()),
    }
}

/// Numbers that a sketch has, too: those of affine nodes that are one for all.
fn single_numbers(op: &Op) -> Result<(), String> {
    match op {
        Op::Affine(affine) if affine.epsilon.is_none() => {
            let numbers = || affine.parts().filter(|part| is_number(part));
            let finite = numbers().all(|part| part.as_scalar().is_some_and(f32::is_finite));
            let zero = affine
                .divisor
                .iter()
                .any(|part| is_number(part) && part.as_scalar() == Some(0.0));
            match (finite, zero) {
                (false, _) => {
                    Err("computes with a number that is missing or not finite: expected a finite one".into())
                }
                (_, true) => Err("divides by zero: expected another divisor".into()),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Numbers of operations that are not constants of the network.
fn numbers_of(op: &Op) -> Result<(), String> {
    match *op {
        // Not a number is in no order.
        Op::Function(Function::Clamp { min, max })
            if !(min <= max && min < f32::INFINITY && max > f32::NEG_INFINITY) =>
        {
            Err(format!(
                "clamps to {min} to {max}: expected the smaller one first, and numbers in between"
            ))
        }
        Op::Function(Function::LeakyRelu { slope }) if !slope.is_finite() => {
            Err(format!("has a slope of {slope}: expected a finite number"))
        }
        Op::Function(Function::HardSigmoid { alpha, beta } | Function::HardSwish { alpha, beta })
            if !(alpha.is_finite() && beta.is_finite()) =>
        {
            Err(format!(
                "has a slope of {alpha} and {beta} at zero: expected finite numbers"
            ))
        }
        Op::Pad { value, .. } if value.is_nan() => Err("pads with what is no number".into()),
        _ => Ok(()),
    }
}
