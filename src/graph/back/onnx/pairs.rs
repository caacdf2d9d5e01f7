//! Which values and weights of a graph are written as integers with a scale, in `QuantizeLinear` and `DequantizeLinear`.

use std::collections::{HashMap, HashSet};

use crate::graph::ir::{Affine, Constant, Function, Node, Op};
use crate::graph::{Graph, GraphError, NodeId, WeightCodes};
use crate::onnx_file::Type;

/// A value that is rounded to codes.
pub(super) struct Pair {
    /// What is rounded.
    pub from: NodeId,
    pub scale: f32,
    pub of: Type,
}

/// Weights that are codes.
pub(super) struct Weights {
    /// In the order of the weights.
    pub codes: Vec<i16>,
    /// One, or one for each filter.
    pub scales: Vec<f32>,
    /// The dimension that counts filters.
    pub filters: usize,
    pub of: Type,
}

/// What is written as integers.
#[derive(Default)]
pub(super) struct Pairs {
    /// By the nodes that scale codes back.
    pub values: HashMap<NodeId, Pair>,
    /// By their layers.
    pub weights: HashMap<NodeId, Weights>,
    /// The nodes that pairs stand for.
    pub inside: HashSet<NodeId>,
}

impl Pairs {
    /// Those of `graph`.
    ///
    /// # Errors
    ///
    /// Codes of other bits than 8 and 4, or of another range than all that so many bits hold, and weights that no 8 bits hold; and a
    /// graph without any.
    pub fn of(graph: &Graph) -> Result<Self, GraphError> {
        let mut pairs = Self::default();
        let readers = graph.readers();
        for (id, node) in graph.iter() {
            if let Some((chain, from, scale, range)) = quantiser(graph, &readers, id) {
                let Some(of) = holds(range) else {
                    let [low, high] = range;
                    return Err(GraphError::node(
                        node.name(),
                        format!(
                            "its codes are from {low} to {high}: expected those of 8 or 4 bits, 0 to 255, -128 to 127, 0 to 15 or -8 to 7; \
                             write the file without pairs"
                        ),
                    ));
                };
                pairs.values.insert(id, Pair { from, scale, of });
                pairs.inside.extend(chain);
            }
            if let Some(weights) = weights(node)? {
                pairs.weights.insert(id, weights);
            }
        }
        if pairs.values.is_empty() && pairs.weights.is_empty() {
            return Err(GraphError::Graph(
                "nothing in it is quantised: expected a network of 8 or 4 bits, or write the file without pairs".into(),
            ));
        }
        Ok(pairs)
    }

    /// Whether 4 bits are used, which newer operator sets have.
    pub fn have_4_bits(&self) -> bool {
        let values = self.values.values().map(|pair| pair.of);
        let mut all = values.chain(self.weights.values().map(|weights| weights.of));
        all.any(|of| matches!(of, Type::U4 | Type::I4))
    }
}

/// The type that holds just these codes.
fn holds([low, high]: [f32; 2]) -> Option<Type> {
    match (low, high) {
        (0.0, 255.0) => Some(Type::U8),
        (-128.0, 127.0) => Some(Type::I8),
        (0.0, 15.0) => Some(Type::U4),
        (-8.0, 7.0) => Some(Type::I4),
        _ => None,
    }
}

/// The nodes of a quantiser that ends at a node, without that, from the value that is rounded on; that value, the unit, and the least
/// and the largest code.
///
/// Two forms are one: `round(clamp(x / s)) * s`, in either order, and `round(clamp(x, 0, 1) * n) / n`.
fn quantiser(
    graph: &Graph,
    readers: &[Vec<NodeId>],
    end: NodeId,
) -> Option<(Vec<NodeId>, NodeId, f32, [f32; 2])> {
    let before = |id: NodeId| match graph.node(id).inputs() {
        &[before] => Some(before),
        _ => None,
    };
    // What only the next node of the chain reads.
    let alone = |id: NodeId| readers[id.index()].len() == 1 && !graph.outputs().contains(&id);
    let third = before(end).filter(|&id| alone(id))?;
    let second = before(third).filter(|&id| alone(id))?;
    let first = before(second).filter(|&id| alone(id));
    let op = |id: NodeId| graph.node(id).op();
    let clamp = |id: NodeId| match *op(id) {
        Op::Function(Function::Clamp { min, max }) => Some([min, max]),
        _ => None,
    };
    let rounds = |id: NodeId| matches!(op(id), Op::Function(Function::Round));
    if let Some(scale) = only(op(end), |affine| &affine.factor) {
        let first = first?;
        let range = match (rounds(third), rounds(second)) {
            (true, false) => clamp(second)?,
            (false, true) => clamp(third)?,
            _ => return None,
        };
        let same = only(op(first), |affine| &affine.divisor) == Some(scale);
        let from = before(first)?;
        return (same && scale > 0.0).then(|| (vec![first, second, third], from, scale, range));
    }
    let levels = only(op(end), |affine| &affine.divisor)?;
    let same = rounds(third) && only(op(second), |affine| &affine.factor) == Some(levels);
    let first = first.filter(|&id| same && clamp(id) == Some([0.0, 1.0]))?;
    let from = before(first)?;
    Some((vec![first, second, third], from, 1.0 / levels, [0.0, levels]))
}

/// The number of an affine node that has this part alone.
fn only(op: &Op, part: impl Fn(&Affine) -> &Option<Constant>) -> Option<f32> {
    match op {
        Op::Affine(affine) if affine.parts().count() == 1 => part(affine).as_ref()?.as_scalar(),
        _ => None,
    }
}

/// The weights of a layer as integers, where they are.
fn weights(node: &Node) -> Result<Option<Weights>, GraphError> {
    let filters = match node.op() {
        Op::Conv(_) => 0,
        Op::ConvTranspose(_) | Op::Linear(_) => 1,
        _ => return Ok(None),
    };
    let Some(codes) = node.weight_codes() else {
        return Ok(None);
    };
    let (low, high) = codes.range().into_inner();
    let of = match (low, high) {
        (-8.., ..=7) => Type::I4,
        (-128.., ..=127) => Type::I8,
        _ => {
            return Err(GraphError::node(
                node.name(),
                format!(
                    "its weights are integers from {low} to {high}: expected some that 8 bits hold, -128 to 127; write the file without \
                     pairs"
                ),
            ));
        }
    };
    Ok(Some(written(&codes, filters, of)))
}

fn written(codes: &WeightCodes, filters: usize, of: Type) -> Weights {
    Weights {
        codes: codes.codes().to_vec(),
        scales: codes.units().to_vec(),
        filters,
        of,
    }
}

/// Integers as their type has them in a file: of 4 bits two to a byte, the first one in its lower half.
pub(super) fn bytes(codes: &[i16], of: Type) -> Vec<u8> {
    match of {
        Type::U4 | Type::I4 => codes
            .chunks(2)
            .map(|pair| {
                let half = |n: usize| pair.get(n).map_or(0, |&code| code as u8 & 0xf);
                half(0) | half(1) << 4
            })
            .collect(),
        _ => codes.iter().map(|&code| code as u8).collect(),
    }
}
