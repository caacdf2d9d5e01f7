//! Which values and weights of a graph are written as codes with a scale: as integers between `QuantizeLinear` and
//! `DequantizeLinear` (QDQ), or as floats that `Quant` and `BipolarQuant` round (QONNX).

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::graph::ir::{Affine, Constant, Function, Node, Op};
use crate::graph::{Codes, Graph, GraphError, NodeId, WeightCodes};
use crate::onnx_file::Type;

/// How codes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    /// As the operations that compute them.
    #[default]
    Floats,
    /// As integers, in pairs of operators.
    Pairs,
    /// As QONNX.
    Qonnx,
}

/// What holds codes in a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Held {
    /// Integers of a type.
    Integers(Type),
    /// The codes of `Quant`.
    Quant {
        bits: u32,
        signed: bool,
        /// Whether the lowest code is left out.
        narrow: bool,
    },
    /// -1 and 1.
    Signs,
}

/// A value that is rounded to codes.
pub(super) struct Rounded {
    /// What is rounded.
    pub from: NodeId,
    pub scale: f32,
    /// The integer that zero is.
    pub zero: i16,
    pub held: Held,
}

/// Weights that are codes.
pub(super) struct Weights {
    /// In the order of the weights.
    pub codes: Vec<i16>,
    /// One, or one for each filter.
    pub scales: Vec<f32>,
    /// The dimension that counts filters.
    pub filters: usize,
    pub held: Held,
    /// Whether these and what the layer reads have more than 4 bits each: a runtime may round a bias to multiples of the product of their scales.
    pub are_fine: bool,
}

/// What is written as codes.
#[derive(Default)]
pub(super) struct Quantised {
    pub form: Form,
    /// By the nodes whose values are the codes, scaled.
    pub values: HashMap<NodeId, Rounded>,
    /// By their layers.
    pub weights: HashMap<NodeId, Weights>,
    /// The nodes that the codes stand for.
    pub inside: HashSet<NodeId>,
}

impl Quantised {
    /// What of `graph` is written in this form.
    ///
    /// # Errors
    ///
    /// Codes and weights that the form does not hold; and a graph without any.
    pub fn of(graph: &Graph, form: Form) -> Result<Self, GraphError> {
        let mut found = Self {
            form,
            ..Self::default()
        };
        if form == Form::Floats {
            return Ok(found);
        }
        let (readers, codes) = (graph.readers(), graph.codes());
        let mut told = false;
        for (id, node) in graph.iter() {
            let quantiser = quantiser(graph, &readers, id).or_else(|| match form {
                Form::Pairs => {
                    let lowest = from_the_lowest(graph, &readers, id);
                    lowest.or_else(|| with_zero_point(graph, &readers, id))
                }
                _ => None,
            });
            if let Some(quantiser) = quantiser {
                found.put(graph, &readers, id, quantiser)?;
            }
            let input = node
                .inputs()
                .first()
                .and_then(|input| codes[input.index()].as_ref());
            let wide = input.is_some_and(|codes| codes.high() - codes.low() >= 1 << 4);
            if let Some((weights, are_told)) = weights(node, form, wide)?
                && (are_told || input.is_some())
            {
                found.weights.insert(id, weights);
                told |= are_told;
            }
        }
        for (id, _) in graph.iter() {
            // What is scaled elsewhere, or not at all.
            let plain = plain_quantiser(graph, &readers, id);
            let clamped = || clamped(graph, &codes, id).filter(|_| form == Form::Qonnx);
            if let Some(quantiser) = plain.or_else(clamped)
                && !found.inside.contains(&id)
                && !found.values.contains_key(&id)
            {
                found.put(graph, &readers, id, quantiser)?;
            }
        }
        if found.values.is_empty() && !told {
            return Err(GraphError::Graph(
                "nothing in the network is quantised: expected one of few bits, or a file in floats, as `vwc-sdk graph RUN --onnx FILE` writes it"
                    .into(),
            ));
        }
        Ok(found)
    }

    fn put(
        &mut self,
        graph: &Graph,
        readers: &[Vec<NodeId>],
        id: NodeId,
        quantiser: Quantiser,
    ) -> Result<(), GraphError> {
        let Quantiser {
            chain,
            from,
            scale,
            range,
            signs,
        } = quantiser;
        let held = match self.form {
            Form::Qonnx if signs => Some((Held::Signs, 0)),
            Form::Qonnx => quant(range).map(|held| (held, 0)),
            _ => integers(range),
        };
        let Some((held, zero)) = held else {
            let [low, high] = range;
            let expected = match self.form {
                Form::Qonnx => "those of so many bits, with a sign or without",
                _ => "those of 8 or 4 bits, as many as 0 to 255 or 0 to 15 with zero among them",
            };
            let whose = layer_behind(graph, readers, id).map_or("its codes".to_owned(), |layer| {
                format!("the codes that `{layer}` reads")
            });
            let reason =
                format!("{whose} are from {low} to {high}: expected {expected}; write the file in floats");
            return Err(GraphError::node(graph.node(id).name(), reason));
        };
        let rounded = Rounded {
            from,
            scale,
            zero,
            held,
        };
        self.values.insert(id, rounded);
        self.inside.extend(chain);
        Ok(())
    }

    /// Whether 4 bits are used, which newer operator sets have.
    pub fn have_4_bits(&self) -> bool {
        let values = self.values.values().map(|value| value.held);
        let mut all = values.chain(self.weights.values().map(|weights| weights.held));
        all.any(|held| matches!(held, Held::Integers(Type::U4 | Type::I4)))
    }
}

/// The first layer that reads a value, behind whatever lies between.
fn layer_behind<'a>(graph: &'a Graph, readers: &[Vec<NodeId>], value: NodeId) -> Option<&'a str> {
    let mut reached = BTreeSet::from([value]);
    // Nodes are read by later ones alone.
    while let Some(id) = reached.pop_first() {
        let node = graph.node(id);
        if id != value && node.weight().is_some() {
            return Some(node.name());
        }
        reached.extend(&readers[id.index()]);
    }
    None
}

/// The integers that are just these codes, and which of them zero is.
fn integers([low, high]: [f32; 2]) -> Option<(Held, i16)> {
    let of = match (low, high) {
        (-128.0, 127.0) => Type::I8,
        (-8.0, 7.0) => Type::I4,
        _ if low > 0.0 || high < 0.0 => return None,
        _ => match high - low {
            255.0 => Type::U8,
            15.0 => Type::U4,
            _ => return None,
        },
    };
    let zero = match of {
        Type::I8 | Type::I4 => 0,
        _ => -low as i16,
    };
    Some((Held::Integers(of), zero))
}

/// The codes of `Quant` that are just these.
fn quant([low, high]: [f32; 2]) -> Option<Held> {
    let signed = low < 0.0;
    // The largest code is all ones.
    let bits = (high + 1.0).log2() + if signed { 1.0 } else { 0.0 };
    let narrow = signed && low == -high;
    let lowest = if !signed {
        0.0
    } else if narrow {
        -high
    } else {
        -high - 1.0
    };
    (bits.fract() == 0.0 && (1.0..=16.0).contains(&bits) && low == lowest).then_some(Held::Quant {
        bits: bits as u32,
        signed,
        narrow,
    })
}

/// What rounds a value to codes.
struct Quantiser {
    /// Its nodes but the last.
    chain: Vec<NodeId>,
    /// What is rounded.
    from: NodeId,
    scale: f32,
    /// The least and the largest code.
    range: [f32; 2],
    /// Whether there is no code between -1 and 1.
    signs: bool,
}

/// The one node that a node reads.
fn before(graph: &Graph, id: NodeId) -> Option<NodeId> {
    match graph.node(id).inputs() {
        &[before] => Some(before),
        _ => None,
    }
}

/// The same, where nothing else reads it.
fn alone_before(graph: &Graph, readers: &[Vec<NodeId>], id: NodeId) -> Option<NodeId> {
    let alone = |id: &NodeId| readers[id.index()].len() == 1 && !graph.outputs().contains(id);
    before(graph, id).filter(alone)
}

/// So many nodes in front of a node, the last first, of which each reads the next alone and is read by nothing else.
fn alone_in_a_row<const N: usize>(
    graph: &Graph,
    readers: &[Vec<NodeId>],
    end: NodeId,
) -> Option<[NodeId; N]> {
    let mut row = [end; N];
    let mut behind = end;
    for place in &mut row {
        *place = alone_before(graph, readers, behind)?;
        behind = *place;
    }
    Some(row)
}

/// Rounding and clamping to whole numbers, in either order, that end at a node.
fn plain_quantiser(graph: &Graph, readers: &[Vec<NodeId>], end: NodeId) -> Option<Quantiser> {
    let first = alone_before(graph, readers, end)?;
    let range = match (graph.node(first).op(), graph.node(end).op()) {
        (&Op::Function(Function::Clamp { min, max }), Op::Function(Function::Round))
        | (Op::Function(Function::Round), &Op::Function(Function::Clamp { min, max })) => [min, max],
        _ => return None,
    };
    let from = before(graph, first)?;
    range
        .iter()
        .all(|end| end.is_finite() && end.fract() == 0.0)
        .then(|| Quantiser {
            chain: vec![first],
            from,
            scale: 1.0,
            range,
            signs: false,
        })
}

/// A clamp of whole numbers: what is rounded in front of a lowest code that is taken off. QONNX has no such codes, but those of a clamp.
fn clamped(graph: &Graph, codes: &[Option<Codes>], end: NodeId) -> Option<Quantiser> {
    let Op::Function(Function::Clamp { min: 0.0, max }) = *graph.node(end).op() else {
        return None;
    };
    let from = before(graph, end)?;
    let moved = only(graph.node(from).op(), |affine| &affine.minus)?;
    let rounded = before(graph, from)?;
    let rounds = matches!(graph.node(rounded).op(), Op::Function(Function::Round));
    (rounds && moved.fract() == 0.0 && codes[end.index()].is_some()).then(|| Quantiser {
        chain: Vec::new(),
        from,
        scale: 1.0,
        range: [0.0, max],
        signs: false,
    })
}

/// Codes from a lowest one, `(clamp(round(x / s) - lowest, 0, n) + lowest) * s`, that end at a node.
fn from_the_lowest(graph: &Graph, readers: &[Vec<NodeId>], end: NodeId) -> Option<Quantiser> {
    let op = |id: NodeId| graph.node(id).op();
    let scale = only(op(end), |affine| &affine.factor)?;
    let chain = alone_in_a_row(graph, readers, end)?;
    let [added, clamped, taken_off, rounded, divided] = chain;
    let from = before(graph, divided)?;
    let lowest = only(op(added), |affine| &affine.plus)?;
    let Op::Function(Function::Clamp { min: 0.0, max }) = *op(clamped) else {
        return None;
    };
    let fits = only(op(taken_off), |affine| &affine.minus) == Some(lowest)
        && matches!(op(rounded), Op::Function(Function::Round))
        && only(op(divided), |affine| &affine.divisor) == Some(scale)
        && lowest.fract() == 0.0
        && scale > 0.0;
    fits.then(|| Quantiser {
        chain: chain.to_vec(),
        from,
        scale,
        range: [lowest, lowest + max],
        signs: false,
    })
}

/// The same as a file with pairs is read, `(round(clamp(x / s)) + zero - zero) * s`, that ends at a node.
fn with_zero_point(graph: &Graph, readers: &[Vec<NodeId>], end: NodeId) -> Option<Quantiser> {
    let op = |id: NodeId| graph.node(id).op();
    let Op::Affine(scaled) = op(end) else {
        return None;
    };
    let number = |part: &Option<Constant>| part.as_ref()?.as_scalar();
    let [zero, scale] = [number(&scaled.minus)?, number(&scaled.factor)?];
    let chain = alone_in_a_row(graph, readers, end)?;
    let [moved, rounded, clamped, divided] = chain;
    let from = before(graph, divided)?;
    let Op::Function(Function::Clamp { min, max }) = *op(clamped) else {
        return None;
    };
    let fits = scaled.parts().count() == 2
        && only(op(moved), |affine| &affine.plus) == Some(zero)
        && matches!(op(rounded), Op::Function(Function::Round))
        && only(op(divided), |affine| &affine.divisor) == Some(scale)
        && min.fract() == 0.0
        && max.fract() == 0.0
        && scale > 0.0;
    fits.then(|| Quantiser {
        chain: chain.to_vec(),
        from,
        scale,
        range: [min, max],
        signs: false,
    })
}

/// What rounds a value and scales the codes back, and ends at a node.
///
/// Forms of one are `round(clamp(x / s)) * s`, with the clamp in front of the rounding, behind it, or in front of the division;
/// `round(clamp(x, 0, 1) * n) / n`; and of signs `(clamp(floor(x / s), -1, 0) * 2 + 1) * s`, or, as a file with `BipolarQuant` is read,
/// `(floor(clamp(x, -1, 0)) * 2 + 1) * s`.
fn quantiser(graph: &Graph, readers: &[Vec<NodeId>], end: NodeId) -> Option<Quantiser> {
    let third = alone_before(graph, readers, end)?;
    let second = alone_before(graph, readers, third)?;
    let first = alone_before(graph, readers, second);
    let op = |id: NodeId| graph.node(id).op();
    let clamp = |id: NodeId| match *op(id) {
        Op::Function(Function::Clamp { min, max }) => Some([min, max]),
        _ => None,
    };
    let rounds = |id: NodeId| matches!(op(id), Op::Function(Function::Round));
    if let Some(scale) = only(op(end), |affine| &affine.factor) {
        let first = first?;
        let divides = |id: NodeId| only(op(id), |affine| &affine.divisor) == Some(scale);
        let floors = |id: NodeId| matches!(op(id), Op::Function(Function::Floor));
        let below = |id: NodeId| clamp(id) == Some([-1.0, 0.0]);
        if makes_signs(op(third)) && (floors(first) && below(second) || below(first) && floors(second)) {
            let mut chain = vec![first, second, third];
            if floors(first) {
                chain.insert(0, alone_before(graph, readers, first).filter(|&id| divides(id))?);
            }
            let from = before(graph, chain[0])?;
            return (scale > 0.0).then(|| Quantiser {
                chain,
                from,
                scale,
                range: [-1.0, 1.0],
                signs: true,
            });
        }
        let (divided, range) = match (rounds(third), rounds(second)) {
            (true, false) => match clamp(second) {
                Some(range) => (first, range),
                None => (second, whole(clamp(first)?, scale)?),
            },
            (false, true) => (first, clamp(third)?),
            _ => return None,
        };
        let from = before(graph, first)?;
        return (divides(divided) && scale > 0.0).then(|| Quantiser {
            chain: vec![first, second, third],
            from,
            scale,
            range,
            signs: false,
        });
    }
    let levels = only(op(end), |affine| &affine.divisor)?;
    let same = rounds(third) && only(op(second), |affine| &affine.factor) == Some(levels);
    let first = first.filter(|&id| same && clamp(id) == Some([0.0, 1.0]))?;
    let from = before(graph, first)?;
    Some(Quantiser {
        chain: vec![first, second, third],
        from,
        scale: 1.0 / levels,
        range: [0.0, levels],
        signs: false,
    })
}

/// Ends of a clamp as codes, where they are whole numbers of steps but for rounding.
fn whole(range: [f32; 2], scale: f32) -> Option<[f32; 2]> {
    let codes = range.map(|end| (end / scale).round());
    let near = |(end, code): (&f32, &f32)| (end / scale - code).abs() <= 8.0 * f32::EPSILON * code.abs();
    let are_codes = codes.iter().all(|code| code.is_finite()) && range.iter().zip(&codes).all(near);
    are_codes.then_some(codes)
}

/// Whether an affine node makes -1 and 1 of -1 and 0.
fn makes_signs(op: &Op) -> bool {
    let Op::Affine(affine) = op else {
        return false;
    };
    let is = |part: &Option<Constant>, number| part.as_ref().and_then(Constant::as_scalar) == Some(number);
    affine.parts().count() == 2 && is(&affine.factor, 2.0) && is(&affine.plus, 1.0)
}

/// The number of an affine node that has this part alone.
fn only(op: &Op, part: impl Fn(&Affine) -> &Option<Constant>) -> Option<f32> {
    match op {
        Op::Affine(affine) if affine.parts().count() == 1 => part(affine).as_ref()?.as_scalar(),
        _ => None,
    }
}

/// The weights of a layer as codes, where they are, and whether that can be no chance. What the layer reads is `wide` where it has more than 4 bits: a
/// runtime for 8 bits need not know smaller integers then.
fn weights(node: &Node, form: Form, wide: bool) -> Result<Option<(Weights, bool)>, GraphError> {
    let filters = match node.op() {
        Op::Conv(_) => 0,
        Op::ConvTranspose(_) | Op::Linear(_) => 1,
        _ => return Ok(None),
    };
    let Some(codes) = node.weight_codes() else {
        return Ok(None);
    };
    let (low, high) = codes.range().into_inner();
    let held = match form {
        Form::Qonnx => quant_of_weights(&codes),
        _ => match (low, high) {
            (-8.., ..=7) if !wide => Held::Integers(Type::I4),
            (-128.., ..=127) => Held::Integers(Type::I8),
            _ => {
                let reason = format!(
                    "its weights are integers from {low} to {high}: expected some that 8 bits hold, -128 to 127; write the file in floats"
                );
                return Err(GraphError::node(node.name(), reason));
            }
        },
    };
    let are_told = codes.are_told();
    let weights = Weights {
        are_fine: wide && codes.bits() > 4,
        codes: codes.codes().to_vec(),
        scales: codes.units().to_vec(),
        filters,
        held,
    };
    Ok(Some((weights, are_told)))
}

/// Signs, or as few bits as hold the codes, without the lowest code where none is.
fn quant_of_weights(codes: &WeightCodes) -> Held {
    if codes.codes().iter().all(|code| code.abs() == 1) {
        return Held::Signs;
    }
    let (low, high) = codes.range().into_inner();
    let (low, high) = (i32::from(low), i32::from(high));
    let bits = (2..=16).find(|bits| low >= -(1 << (bits - 1)) && high < 1 << (bits - 1));
    let bits = bits.expect("codes have 16 bits at most");
    Held::Quant {
        bits,
        signed: true,
        narrow: low > -(1 << (bits - 1)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NodeSpec;

    fn by(part: fn(&mut Affine) -> &mut Option<Constant>, number: f32) -> Op {
        let mut affine = Affine::default();
        *part(&mut affine) = Some(Constant::scalar(number));
        affine.into()
    }

    fn over(number: f32) -> Op {
        by(|affine| &mut affine.divisor, number)
    }

    fn times(number: f32) -> Op {
        by(|affine| &mut affine.factor, number)
    }

    fn clamp(min: f32, max: f32) -> Op {
        Function::Clamp { min, max }.into()
    }

    /// The scale of what a chain of operations rounds to, and how it is held.
    fn held(ops: Vec<Op>, form: Form) -> Result<(f32, Held), GraphError> {
        let last = format!("n{}", ops.len());
        let mut nodes = vec![NodeSpec::input("n0", [4])];
        for (n, op) in ops.into_iter().enumerate() {
            nodes.push(NodeSpec::new(
                format!("n{}", n + 1),
                op,
                [format!("n{n}").as_str()],
            ));
        }
        let graph = Graph::new(nodes, [last.as_str()]).unwrap();
        let found = Quantised::of(&graph, form)?;
        let rounded = &found.values[&graph.find(&last).unwrap()];
        assert_eq!(rounded.from, graph.find("n0").unwrap());
        Ok((rounded.scale, rounded.held))
    }

    #[test]
    fn a_clamp_may_stand_before_the_division() {
        let step = 0.3;
        let round = || Op::from(Function::Round);
        for ops in [
            vec![over(step), clamp(0.0, 15.0), round(), times(step)],
            vec![over(step), round(), clamp(0.0, 15.0), times(step)],
            // PACT's clip is 15 steps.
            vec![clamp(0.0, 15.0 * step), over(step), round(), times(step)],
        ] {
            let (scale, found) = held(ops, Form::Pairs).unwrap();
            assert!(
                scale == step && matches!(found, Held::Integers(Type::U4)),
                "{found:?}"
            );
        }
        let between = vec![clamp(0.0, 14.5 * step), over(step), round(), times(step)];
        assert!(held(between, Form::Pairs).is_err());
    }

    #[test]
    fn signs_are_bipolar() {
        let signs = Op::from(Affine {
            factor: Some(Constant::scalar(2.0)),
            plus: Some(Constant::scalar(1.0)),
            ..Affine::default()
        });
        let (floor, below) = (Op::from(Function::Floor), clamp(-1.0, 0.0));
        let ops = || vec![over(0.5), floor.clone(), below.clone(), signs.clone(), times(0.5)];
        // As a file is read.
        let read = vec![below.clone(), floor.clone(), signs.clone(), times(0.5)];
        for ops in [ops(), read] {
            let (scale, found) = held(ops, Form::Qonnx).unwrap();
            assert!(scale == 0.5 && matches!(found, Held::Signs), "{found:?}");
        }
        let error = held(ops(), Form::Pairs).map(|_| ()).unwrap_err().to_string();
        assert!(
            error.contains("from -1 to 1: expected those of 8 or 4 bits"),
            "{error}"
        );
    }
}
