//! From the graph of a trained network to packed bits.
//!
//! What decides a code in training is a chain of float operations on an integer: the sum of products of codes, times the
//! layer's unit, batch norm, clamp, rounding. At packing time exactly these operations, which the graph has node by node, are
//! evaluated for the possible sums of each channel. The smallest sum that yields a code is its threshold, and the chain is not
//! needed any more.

use std::collections::{HashMap, HashSet};

mod functions;

use self::functions::{Vectors, apply, direction, dorefa, vectors};
use super::check::MAX_BITS;
use super::integer::IntegerWeights;
use super::layout::pack_weights;
use super::spec::{
    Act, AffineIds, Op as Packed, PackedThen, Plan, Spec, Step, TensorId, Then, ValueId, Window,
};
use super::tensor::{Tensor, Words};
use super::threshold::thresholds;
use super::{Model, PackedError};
use crate::data::{Normalization, PictureSpec};
use crate::graph::{
    Binary, Codes, Constant, Conv, Function, Graph, Linear, Node, NodeId, Op, Pool, Reduction, WeightCodes,
};
use crate::models::Network;

/// Packs `network` as it computes in evaluation. `input`: what it reads, as it was trained; of a run
/// [`RunConfig::input`](crate::train::RunConfig::input).
///
/// # Errors
///
/// Those of [`Model::of`].
pub fn freeze<N: Network>(network: &N, input: &PictureSpec) -> Result<Model, PackedError> {
    use crate::models::NetworkConfig as _;
    let refuse = |reason: String| PackedError::Network {
        network: N::Config::NAME.into(),
        reason,
    };
    let graph = network.graph();
    Model::of(
        &graph.map_err(|error| refuse(error.to_string()))?,
        N::Config::NAME,
        input,
    )
}

impl Model {
    /// Packs what a graph computes, called `name`. `input`: what its pictures are.
    ///
    /// Convolutions and linear layers that read DoReFa-Net's codes of 1 to 4 bits, with DoReFa-Net's weights of 1 to 4 bits, are
    /// packed: their products are sums of bits. Others are computed in full precision, where they pad nothing but pictures.
    /// Burn's batch norm divides where packed inference multiplies, and its convolutions sum floats where packed inference sums
    /// integers: on the edge between two codes such a module may decide otherwise.
    ///
    /// # Errors
    ///
    /// [`PackedError::Network`] where `input` does not fit the graph, where nothing in it is codes, and where the graph has an
    /// operation that packed inference has none for: the node is named.
    pub fn of(graph: &Graph, name: &str, input: &PictureSpec) -> Result<Self, PackedError> {
        Lowering::new(graph, name, input)?.model()
    }
}

/// What is known of a value that has a place among the packed ones.
#[derive(Clone)]
struct Value {
    id: ValueId,
    /// Codes from 0 to so many, each standing for itself divided by it; floats where there are none.
    levels: Option<u32>,
    /// Channels, height and width.
    shape: [usize; 3],
    /// Whether it is floats that the network sums up in another order.
    reordered: bool,
}

/// An operation on each number, and its node.
type Operation<'a> = (NodeId, &'a Op);

/// What follows a layer up to where somebody else reads it.
#[derive(Default)]
struct Chain<'a> {
    /// The operations on each number, and how many of them are in front of the pool.
    functions: Vec<Operation<'a>>,
    pool: Option<usize>,
    /// Another value that is added in front of everything else.
    added: Option<NodeId>,
    /// The nodes that follow. The last of them is what others read.
    nodes: Vec<NodeId>,
}

/// A convolution or a linear layer.
struct Layer<'a> {
    id: NodeId,
    node: &'a Node,
    x: Value,
    window: Window,
    /// `[outputs, inputs, kernel height, kernel width]`.
    weight: Vec<f32>,
    outputs: usize,
    bias: Option<&'a Constant>,
}

impl Chain<'_> {
    /// What others read: the last node that follows `start`.
    fn end(&self, start: NodeId) -> NodeId {
        self.nodes.last().copied().unwrap_or(start)
    }
}

struct Lowering<'a> {
    graph: &'a Graph,
    name: String,
    input: &'a PictureSpec,
    readers: Vec<Vec<NodeId>>,
    codes: Vec<Option<Codes>>,
    /// For each node its weights as codes, where it has some.
    weights: Vec<Option<WeightCodes>>,
    /// Nodes that are part of a step.
    inside: HashSet<NodeId>,
    values: HashMap<NodeId, Value>,
    tensors: Vec<Tensor>,
    steps: Vec<Step>,
    /// Bits of weights, and of codes that are read, of layers that are packed.
    bits: Vec<[u32; 2]>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, name: &str, input: &'a PictureSpec) -> Result<Self, PackedError> {
        let lowering = Self {
            graph,
            name: name.into(),
            input,
            readers: graph.readers(),
            codes: graph.codes(),
            weights: graph.nodes().iter().map(Node::weight_codes).collect(),
            inside: HashSet::new(),
            values: HashMap::new(),
            tensors: Vec::new(),
            steps: Vec::new(),
            bits: Vec::new(),
        };
        let ([picture], [result]) = (graph.inputs(), graph.outputs()) else {
            return Err(lowering.refuse(format!(
                "it has {} inputs and {} outputs: expected one of each",
                graph.inputs().len(),
                graph.outputs().len()
            )));
        };
        let (shape, result) = (graph.node(*picture).shape(), graph.node(*result).shape());
        let &[3, height, width] = shape else {
            return Err(lowering.refuse(format!("it reads {shape:?}: expected pictures of 3 channels")));
        };
        if let Err(reason) = input.validate([height, width], result.iter().product()) {
            return Err(lowering.refuse(format!("what it reads does not fit: {reason}")));
        }
        Ok(lowering)
    }

    fn refuse(&self, reason: impl Into<String>) -> PackedError {
        PackedError::Network {
            network: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn refuse_node(&self, id: NodeId, what: &str) -> PackedError {
        let node = self.graph.node(id);
        let name = crate::text::line(node.name());
        self.refuse(format!("`{name}` ({}): {what}", self.graph.describe(id)))
    }

    fn model(mut self) -> Result<Model, PackedError> {
        let graph = self.graph;
        self.check_bits()?;
        let picture = graph.inputs()[0];
        let shape = self.picture_shape(picture)?;
        let input = Value {
            id: 0,
            levels: None,
            shape,
            reordered: false,
        };
        self.values.insert(picture, input);
        for (id, node) in graph.iter() {
            if self.inside.contains(&id) {
                continue;
            }
            match node.op() {
                Op::Input { .. } => {}
                Op::Conv(conv) => self.conv(id, node, conv)?,
                Op::Linear(linear) => self.linear(id, node, linear)?,
                Op::Reduce { kind, axes } => self.mean(id, node, *kind, axes)?,
                Op::Reshape { .. } => self.reshape(id, node)?,
                Op::Affine(_) | Op::Function(_) => self.quantize(id, node)?,
                _ => return Err(self.refuse_node(id, "packed inference does not compute this yet")),
            }
        }
        let result = self.values.get(&graph.outputs()[0]);
        if result.is_none_or(|result| result.id != self.steps.len()) {
            return Err(self.refuse("its output is not what it computes last"));
        }
        let Normalization { mean, std } = self.input.normalization;
        let normalization = store(&mut self.tensors, Tensor::F32([mean, std].concat()));
        let precision = precision(&self.bits);
        let plan = Plan {
            network: self.name.clone(),
            precision,
            classes: self.input.classes.clone(),
            input: [shape[1], shape[2]],
            channels: self.input.channels.places(),
            normalization,
            steps: self.steps,
        };
        Model::new(Spec {
            plan,
            tensors: self.tensors,
        })
    }

    /// Whether anything is codes, and nothing has too many.
    fn check_bits(&self) -> Result<(), PackedError> {
        let mut any = false;
        for (id, node) in self.graph.iter() {
            if let (Op::Function(Function::Round), Some(codes)) = (node.op(), &self.codes[id.index()])
                && codes.bits() > MAX_BITS
            {
                return Err(self.refuse_node(
                    id,
                    &format!(
                        "it makes codes of {} bits: expected 1 to {MAX_BITS}; train it so",
                        codes.bits()
                    ),
                ));
            }
            let weights = self.weights[id.index()].as_ref();
            if let (Some(weights), Some(_)) = (weights, node.inputs().first().and_then(|&x| self.levels(x))) {
                if weights.bits() > MAX_BITS {
                    return Err(self.refuse_node(
                        id,
                        &format!(
                            "its weights have {} bits: expected 1 to {MAX_BITS}; train it so",
                            weights.bits()
                        ),
                    ));
                }
                any = true;
            }
        }
        if any {
            return Ok(());
        }
        Err(self.refuse(format!(
            "it is full precision, or no layer has both weights and inputs of few bits: expected 1 to {MAX_BITS} bits for weights and \
             for activations; train it so"
        )))
    }

    fn picture_shape(&self, id: NodeId) -> Result<[usize; 3], PackedError> {
        match *self.graph.node(id).shape() {
            [channels] => Ok([channels, 1, 1]),
            [channels, height, width] => Ok([channels, height, width]),
            _ => Err(self.refuse_node(id, "expected a vector, or channels, height and width")),
        }
    }

    fn push(&mut self, name: &str, input: ValueId, op: Packed) -> ValueId {
        self.steps.push(Step {
            name: name.into(),
            input,
            op,
        });
        self.steps.len()
    }

    /// What `end` results in from now on: the last step.
    fn computed(&mut self, end: NodeId, levels: Option<u32>) -> Result<(), PackedError> {
        let value = Value {
            id: self.steps.len(),
            levels,
            shape: self.picture_shape(end)?,
            reordered: false,
        };
        self.values.insert(end, value);
        Ok(())
    }

    fn value(&self, reader: NodeId, id: NodeId) -> Result<Value, PackedError> {
        self.values
            .get(&id)
            .cloned()
            .ok_or_else(|| self.refuse_node(reader, "what it reads is not kept"))
    }

    /// What a value's only reader is, where it has one and is no output.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id.index()][..] {
            [reader] if !self.graph.outputs().contains(&id) => Some(reader),
            _ => None,
        }
    }

    /// What follows node `start` up to where several read it, or something that is no chain does.
    ///
    /// It ends where codes have been made.
    fn chain(&self, start: NodeId) -> Chain<'a> {
        let mut chain = Chain::default();
        let mut at = start;
        while let Some(next) = self.only_reader(at) {
            let node = self.graph.node(next);
            if chain.added.is_some() && !self.follows_sum(&chain, next) {
                break;
            }
            match node.op() {
                op @ (Op::Affine(_) | Op::Function(_)) if by_channel(node) => {
                    chain.functions.push((next, op))
                }
                Op::MaxPool(pool) if *pool == Pool::square(2) && chain.pool.is_none() => {
                    chain.pool = Some(chain.functions.len());
                }
                Op::Binary(Binary::Add) if at == start && chain.added.is_none() => {
                    let other = node.inputs().iter().find(|input| **input != at);
                    let floats = |other: &NodeId| {
                        let shape = self.graph.node(*other).shape();
                        let value = self.values.get(other);
                        shape == node.shape() && value.is_some_and(|value| value.levels.is_none())
                    };
                    let Some(&other) = other.filter(|other| floats(other)) else {
                        break;
                    };
                    chain.added = Some(other);
                }
                _ => break,
            }
            at = next;
            chain.nodes.push(at);
            // Beyond codes that a layer can read, nothing is part of what made them.
            if self.levels(at).is_some() && !self.goes_on(at) {
                break;
            }
        }
        chain
    }

    /// Whether `next` is computed with a sum that something was added to: a batch norm, then an activation. What makes codes of it is
    /// a step of its own.
    fn follows_sum(&self, chain: &Chain<'a>, next: NodeId) -> bool {
        let norms = matches!(chain.functions[..], [] | [(_, Op::Affine(_))]);
        match self.graph.node(next).op() {
            Op::Affine(_) => chain.functions.is_empty(),
            Op::Function(Function::Relu) => norms,
            Op::Function(Function::Clamp { .. }) => {
                let reader = self.only_reader(next).map(|reader| self.graph.node(reader).op());
                norms && !matches!(reader, Some(Op::Affine(_) | Op::Function(_)))
            }
            _ => false,
        }
    }

    /// Whether codes are only scaled or pooled after this.
    fn goes_on(&self, id: NodeId) -> bool {
        self.only_reader(id).is_some_and(|next| {
            let known = self.levels(next).is_some();
            known && matches!(self.graph.node(next).op(), Op::Affine(_) | Op::MaxPool(_))
        })
    }

    /// How many steps DoReFa-Net's quantiser cuts the unit interval into, of whose codes a value is some: those that occur may be
    /// fewer.
    fn levels(&self, id: NodeId) -> Option<u32> {
        let codes = self.codes[id.index()].as_ref()?;
        let (low, high) = (
            u32::try_from(codes.low()).ok()?,
            u32::try_from(codes.high()).ok()?,
        );
        let fits = |levels: &u32| {
            let expected = (low..=high).map(|code| code as f32 / *levels as f32);
            high <= *levels && expected.eq(codes.values().iter().copied())
        };
        // Zero alone is a code of any: the quantiser divides by its own steps.
        let divisor = match self.graph.node(id).op() {
            Op::Affine(affine) => affine.divisor.as_ref().and_then(Constant::as_scalar),
            _ => None,
        };
        let all = || (1..=MAX_BITS).map(|bits| (1u32 << bits) - 1).filter(fits);
        all()
            .find(|&levels| Some(levels as f32) == divisor)
            .or_else(|| all().next())
    }

    fn conv(&mut self, id: NodeId, node: &'a Node, conv: &'a Conv) -> Result<(), PackedError> {
        let x = self.value(id, node.inputs()[0])?;
        let padding = conv.padding;
        if conv.groups != 1
            || conv.dilation != [1; 2]
            || padding.top != padding.bottom
            || padding.left != padding.right
        {
            return Err(self.refuse_node(
                id,
                "packed inference has no groups, dilation and uneven padding yet",
            ));
        }
        let window = Window {
            kernel: [conv.weight.shape()[2], conv.weight.shape()[3]],
            stride: conv.stride,
            padding: [padding.top, padding.left],
        };
        self.layer(Layer {
            id,
            node,
            x,
            window,
            weight: conv.weight.values().to_vec(),
            outputs: conv.weight.shape()[0],
            bias: conv.bias.as_ref(),
        })
    }

    fn linear(&mut self, id: NodeId, node: &'a Node, linear: &'a Linear) -> Result<(), PackedError> {
        let x = self.value(id, node.inputs()[0])?;
        if node.shape().len() != 1 {
            return Err(self.refuse_node(id, "expected a vector for each picture"));
        }
        // A linear layer is a convolution of a single position, as large as what it reads.
        let window = Window {
            kernel: [x.shape[1], x.shape[2]],
            stride: [1, 1],
            padding: [0, 0],
        };
        let outputs = linear.weight.shape()[1];
        self.layer(Layer {
            id,
            node,
            x,
            window,
            weight: transposed(linear.weight.values(), outputs),
            outputs,
            bias: linear.bias.as_ref(),
        })
    }

    /// A layer and what follows it.
    fn layer(&mut self, layer: Layer<'a>) -> Result<(), PackedError> {
        let chain = self.chain(layer.id);
        self.inside.extend(&chain.nodes);
        let bits = self.weights[layer.id.index()].as_ref().and_then(dorefa_bits);
        match (bits, layer.x.levels) {
            (Some(bits), Some(levels)) => {
                let weights = IntegerWeights::new(&layer.weight, bits)
                    .map_err(|reason| self.refuse_node(layer.id, &format!("its weights {reason}")))?;
                self.bits.push([bits, levels.ilog2() + 1]);
                self.packed_layer(&layer, weights, levels, &chain)
            }
            _ => self.float_layer(layer, &chain),
        }
    }

    /// A layer in full precision.
    fn float_layer(&mut self, layer: Layer<'a>, chain: &Chain<'a>) -> Result<(), PackedError> {
        let Layer {
            id,
            node,
            x,
            window,
            weight,
            bias,
            ..
        } = layer;
        if x.id != 0 && window.padding != [0, 0] {
            return Err(self.refuse_node(
                id,
                "it is computed in full precision, as its weights or its inputs are not DoReFa-Net's codes of 1 to 4 bits, and packed \
                 inference pads pictures and codes alone",
            ));
        }
        let x = self.floats(node, x);
        if chain.added.is_some() {
            return Err(self.refuse_node(
                id,
                "packed inference adds nothing to a layer in full precision yet",
            ));
        }
        let (affine, rest) = Self::affine(&chain.functions, node.shape()[0]);
        // The largest of a pool is taken of what the batch norm gives, and may as well be taken behind what nowhere falls.
        let pool = match chain.pool {
            Some(place) if place + rest.len() < chain.functions.len() => {
                return Err(self.refuse_node(id, "packed inference pools behind a batch norm alone"));
            }
            pool => pool.is_some(),
        };
        let end = chain.end(id);
        let (then, levels) = match self.levels(end) {
            Some(levels) if dorefa(rest, levels) => {
                let bits = levels.ilog2() + 1;
                (Then::Codes { bits }, Some(levels))
            }
            _ => (Then::Floats { act: self.act(rest)? }, None),
        };
        let weight = store(&mut self.tensors, Tensor::F32(weight));
        let bias = bias.map(|bias| store(&mut self.tensors, Tensor::F32(bias.values().to_vec())));
        let affine = affine.map(|affine| self.store_affine(affine));
        let op = Packed::Float {
            window,
            weight,
            bias,
            affine,
            pool,
            then,
        };
        self.push(node.name(), x.id, op);
        self.computed(end, levels)
    }

    /// The floats of a value, which codes are unpacked to.
    fn floats(&mut self, node: &Node, x: Value) -> Value {
        if x.levels.is_none() {
            return x;
        }
        let id = self.push(&format!("{}.unpack", node.name()), x.id, Packed::Unpack);
        Value {
            id,
            levels: None,
            ..x
        }
    }

    /// A layer of codes.
    fn packed_layer(
        &mut self,
        layer: &Layer<'a>,
        mut weights: IntegerWeights,
        input_levels: u32,
        chain: &Chain<'a>,
    ) -> Result<(), PackedError> {
        let &Layer {
            id,
            node,
            window,
            outputs,
            bias,
            ..
        } = layer;
        let unit = weights.unit(input_levels);
        let weight_bits = weights.levels.ilog2() + 1;
        let end = chain.end(id);
        // What is made of a sum that something was added to is a step of its own.
        let levels = self.levels(end).filter(|_| chain.added.is_none());
        let then = match levels {
            Some(levels) => {
                let thresholds = self.thresholds(layer, chain, &mut weights, [input_levels, levels])?;
                PackedThen::Codes {
                    bits: levels.ilog2() + 1,
                    pool: chain.pool.is_some(),
                    thresholds: store(&mut self.tensors, Tensor::I32(thresholds)),
                }
            }
            None => {
                if chain.pool.is_some() {
                    return Err(self.refuse_node(id, "packed inference pools codes alone"));
                }
                let (mut affine, rest) = Self::affine(&chain.functions, node.shape()[0]);
                if let Some(bias) = bias {
                    let same = || [0.0, 1.0, 0.0].map(|number| vec![number; outputs]);
                    let [mean, ..] = affine.get_or_insert_with(same);
                    mean.iter_mut()
                        .zip(bias.values())
                        .for_each(|(mean, bias)| *mean -= bias);
                }
                let act = self.act(rest)?;
                PackedThen::Floats {
                    unit: store(&mut self.tensors, Tensor::F32(vec![unit])),
                    added: chain.added.map(|added| self.values[&added].id),
                    affine: affine.map(|affine| self.store_affine(affine)),
                    act,
                }
            }
        };
        let words = pack_weights(&window, layer.x.shape[0], outputs, weight_bits, &weights.codes);
        let op = Packed::Packed {
            window,
            outputs,
            weight_bits,
            weight: store(&mut self.tensors, Tensor::Words(Words::Owned(words))),
            then,
        };
        self.push(node.name(), layer.x.id, op);
        self.computed(end, levels)
    }

    /// For each code and output the smallest sum that yields it.
    fn thresholds(
        &self,
        layer: &Layer<'_>,
        chain: &Chain<'a>,
        weights: &mut IntegerWeights,
        [input_levels, levels]: [u32; 2],
    ) -> Result<Vec<i32>, PackedError> {
        let &Layer {
            id, outputs, bias, ..
        } = layer;
        let unit = weights.unit(input_levels);
        let filter = weights.codes.len() / outputs;
        let largest = (weights.levels * input_levels) as i32 * filter as i32;
        let mut all = vec![0; levels as usize * outputs];
        for (output, filter) in weights.codes.chunks_exact_mut(filter).enumerate() {
            // What lies in front of the pool decides which sum is the one that counts.
            let before = chain.pool.unwrap_or(chain.functions.len());
            let falls = |functions: &[Operation<'_>]| {
                let signs = functions.iter().map(|(id, op)| direction(op, output).ok_or(*id));
                signs
                    .collect::<Result<Vec<bool>, NodeId>>()
                    .map(|falls| falls.into_iter().fold(false, |all, one| all ^ one))
            };
            let bent = |id| {
                self.refuse_node(
                    id,
                    "packed inference takes functions that rise or fall, but not both",
                )
            };
            let turned = falls(&chain.functions).map_err(bent)?;
            if chain.pool.is_some() && falls(&chain.functions[..before]).map_err(bent)? != turned {
                return Err(self.refuse_node(
                    id,
                    "packed inference pools nothing that a factor below zero turns around later",
                ));
            }
            // Where codes fall with the sum, so do the weights with the other sign, after which the code rises with the sum in
            // every channel, and the largest sum of a pool is the one that counts.
            if turned {
                for code in filter {
                    *code = weights.levels as u8 - *code;
                }
            }
            let start = |sum: i32| {
                let sum = sum as f32 * unit;
                bias.map_or(sum, |bias| sum + bias.values()[output])
            };
            let code = |sum: i32| {
                let sum = if turned { -sum } else { sum };
                let float = chain
                    .functions
                    .iter()
                    .fold(start(sum), |x, (_, op)| apply(op, x, output));
                (float * levels as f32).round() as u32
            };
            for (level, threshold) in thresholds(levels, largest, code).enumerate() {
                all[level * outputs + output] = threshold;
            }
        }
        Ok(all)
    }

    fn mean(&mut self, id: NodeId, node: &Node, kind: Reduction, axes: &[usize]) -> Result<(), PackedError> {
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if kind != Reduction::Mean || sorted != [1, 2] || node.shape().len() != 3 {
            return Err(self.refuse_node(id, "packed inference takes the mean of each channel alone"));
        }
        let x = self.value(id, node.inputs()[0])?;
        let x = self.floats(node, x);
        let op = Packed::Mean {
            affine: None,
            act: Act::Identity,
        };
        self.push(node.name(), x.id, op);
        self.computed(id, None)?;
        // Rows first, as packed inference sums them up.
        if let Some(value) = self.values.get_mut(&id) {
            value.reordered = axes != [2, 1];
        }
        Ok(())
    }

    /// Feature maps in one row. A linear layer reads them as they lie.
    fn reshape(&mut self, id: NodeId, node: &Node) -> Result<(), PackedError> {
        let x = self.value(id, node.inputs()[0])?;
        let linear = self.readers[id.index()]
            .iter()
            .all(|reader| matches!(self.graph.node(*reader).op(), Op::Linear(_)));
        if node.shape().len() != 1 || !linear {
            return Err(self.refuse_node(id, "expected feature maps in one row, for a linear layer"));
        }
        self.values.insert(id, x);
        Ok(())
    }

    /// Floats that become codes.
    fn quantize(&mut self, id: NodeId, node: &'a Node) -> Result<(), PackedError> {
        let x = self.value(id, node.inputs()[0])?;
        if x.reordered {
            return Err(self.refuse_node(
                id,
                "it makes codes of a mean that is taken down the columns first: expected the mean along the last dimension first, as \
                 packed inference takes it",
            ));
        }
        if !by_channel(node) {
            return Err(self.refuse_node(id, "expected one number for each channel, or one for all"));
        }
        let mut chain = self.chain(id);
        chain.functions.insert(0, (id, node.op()));
        self.inside.extend(&chain.nodes);
        let end = chain.end(id);
        let (affine, rest) = Self::affine(&chain.functions, node.shape()[0]);
        let levels = self.levels(end).filter(|&levels| dorefa(rest, levels));
        let (Some(levels), None, None, None) = (levels, chain.pool, chain.added, x.levels) else {
            return Err(self.refuse_node(
                id,
                "expected floats that are clamped to 0 to 1 and rounded to 1 to 4 bits, or a layer in front of it",
            ));
        };
        let affine = affine.map(|affine| self.store_affine(affine));
        let bits = levels.ilog2() + 1;
        self.push(node.name(), x.id, Packed::Quantize { affine, bits });
        self.computed(end, Some(levels))
    }

    /// The batch norm that functions start with, as mean, scale and shift of each channel, and the rest.
    fn affine<'f>(functions: &'f [Operation<'a>], channels: usize) -> (Option<Vectors>, &'f [Operation<'a>]) {
        match functions.split_first() {
            Some(((_, Op::Affine(affine)), rest)) => (Some(vectors(affine, channels)), rest),
            _ => (None, functions),
        }
    }

    fn store_affine(&mut self, affine: [Vec<f32>; 3]) -> AffineIds {
        affine.map(|numbers| store(&mut self.tensors, Tensor::F32(numbers)))
    }

    /// The activation that functions are.
    fn act(&self, functions: &[Operation<'_>]) -> Result<Act, PackedError> {
        match functions {
            [] => Ok(Act::Identity),
            [(_, Op::Function(Function::Relu))] => Ok(Act::Relu),
            [(_, Op::Function(Function::Clamp { min, max }))] if (*min, *max) == (0.0, 1.0) => Ok(Act::Clamp),
            [(id, _), ..] => Err(self.refuse_node(
                *id,
                "packed inference computes ReLUs and clamps to 0 to 1 behind a layer alone",
            )),
        }
    }
}

/// Whether a node computes with one number for each channel, or one for all.
fn by_channel(node: &Node) -> bool {
    let Op::Affine(affine) = node.op() else {
        return true;
    };
    affine.parts().all(|part| {
        let inner = part.shape().get(1..).unwrap_or(&[]);
        part.as_scalar().is_some()
            || (part.shape()[0] == node.shape()[0] && inner.iter().all(|&size| size == 1))
    })
}

/// The bits of weights that are those of DoReFa-Net.
fn dorefa_bits(codes: &WeightCodes) -> Option<u32> {
    let dorefa = codes.units().len() == 1 && codes.odd() && codes.bits() <= MAX_BITS;
    dorefa.then(|| codes.bits())
}

/// `W1A2` of the bits of weights and codes, and a range where layers differ: `W1-2A2`.
fn precision(bits: &[[u32; 2]]) -> String {
    let range = |side: usize| {
        let all = || bits.iter().map(|bits| bits[side]);
        match (all().min().unwrap_or(0), all().max().unwrap_or(0)) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        }
    };
    format!("W{}A{}", range(0), range(1))
}

fn store(tensors: &mut Vec<Tensor>, tensor: Tensor) -> TensorId {
    tensors.push(tensor);
    tensors.len() - 1
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    let rows = matrix.len() / columns;
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}
