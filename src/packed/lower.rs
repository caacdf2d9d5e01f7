//! From the graph of a trained network to packed bits.
//!
//! What decides a code in training is a chain of float operations on an integer: the sum of products of codes, times the
//! layer's unit, batch norm, clamp, rounding. At packing time exactly these operations, which the graph has node by node, are
//! evaluated for the possible sums of each channel. The smallest sum that yields a code is its threshold, and the chain is not
//! needed any more.

use std::collections::HashMap;

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
    Affine, Binary, Codes, Constant, Conv, Function, Graph, Linear, Node, NodeId, Op, Pool, Reduction,
    WeightCodes,
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
    /// Convolutions and linear layers that read codes without a sign of 1 to 4 bits, with weights of 1 to 4 bits, are packed:
    /// their products are sums of bits. Others are computed in full precision.
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
}

/// What follows a layer up to where somebody else reads it.
#[derive(Default)]
struct Chain<'a> {
    /// The operations on each number, and how many of them are in front of the pool.
    functions: Vec<(NodeId, &'a Op)>,
    pool: Option<usize>,
    /// Another value that is added in front of everything else.
    added: Option<NodeId>,
    end: Option<NodeId>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    name: String,
    input: &'a PictureSpec,
    readers: Vec<Vec<NodeId>>,
    codes: Vec<Option<Codes>>,
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
        };
        self.values.insert(picture, input);
        let mut inside = vec![false; graph.nodes().len()];
        for (id, node) in graph.iter() {
            if inside[id.index()] || matches!(node.op(), Op::Input { .. }) {
                continue;
            }
            let done = match node.op() {
                Op::Conv(conv) => self.conv(id, node, conv)?,
                Op::Linear(linear) => self.linear(id, node, linear)?,
                Op::Reduce { kind, axes } => self.mean(id, node, *kind, axes)?,
                Op::Reshape { .. } => self.reshape(id, node)?,
                Op::Affine(_) | Op::Function(_) => self.quantize(id, node)?,
                _ => return Err(self.refuse_node(id, "packed inference does not compute this yet")),
            };
            for id in done {
                inside[id.index()] = true;
            }
        }
        let result = &self.values[&graph.outputs()[0]];
        if result.id != self.steps.len() {
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
            let weights = match node.op() {
                Op::Conv(conv) => conv.weight_codes(),
                Op::Linear(linear) => WeightCodes::of(&linear.weight, 1),
                _ => None,
            };
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
        let mut chain = Chain {
            end: Some(start),
            ..Chain::default()
        };
        let mut at = start;
        while let Some(next) = self.only_reader(at) {
            let node = self.graph.node(next);
            match node.op() {
                op @ (Op::Affine(_) | Op::Function(_)) => chain.functions.push((next, op)),
                Op::MaxPool(pool) if *pool == Pool::square(2) && chain.pool.is_none() => {
                    chain.pool = Some(chain.functions.len());
                }
                Op::Binary(Binary::Add) if at == start && chain.added.is_none() => {
                    let other = node.inputs().iter().find(|input| **input != at);
                    let known = other.filter(|other| self.values.contains_key(other));
                    let Some(&other) = known else { break };
                    chain.added = Some(other);
                }
                _ => break,
            }
            at = next;
            chain.end = Some(at);
            // Beyond codes that a layer can read, nothing is part of what made them.
            if self.levels(at).is_some() && !self.goes_on(at) {
                break;
            }
        }
        chain
    }

    /// Whether codes are only scaled or pooled after this.
    fn goes_on(&self, id: NodeId) -> bool {
        self.only_reader(id).is_some_and(|next| {
            let known = self.levels(next).is_some();
            known && matches!(self.graph.node(next).op(), Op::Affine(_) | Op::MaxPool(_))
        })
    }

    /// How many steps above zero the codes of a value go, where they are those of DoReFa-Net: from 0 to 1.
    fn levels(&self, id: NodeId) -> Option<u32> {
        let codes = self.codes[id.index()].as_ref()?;
        let levels = u32::try_from(codes.high()).ok()?;
        let full = (1..=MAX_BITS).any(|bits| levels == (1 << bits) - 1);
        let value = |code: usize| code as f32 / levels as f32;
        let unit = codes
            .values()
            .iter()
            .enumerate()
            .all(|(code, &float)| float == value(code));
        (codes.low() == 0 && full && unit).then_some(levels)
    }

    fn conv(&mut self, id: NodeId, node: &Node, conv: &Conv) -> Result<Vec<NodeId>, PackedError> {
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
        let bits = weight_bits(conv.weight_codes());
        let weight = conv.weight.values().to_vec();
        self.layer(
            id,
            node,
            x,
            window,
            conv.weight.shape()[0],
            weight,
            conv.bias.as_ref(),
            bits,
        )
    }

    fn linear(&mut self, id: NodeId, node: &Node, linear: &Linear) -> Result<Vec<NodeId>, PackedError> {
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
        let weight = transposed(linear.weight.values(), outputs);
        let bits = weight_bits(WeightCodes::of(&linear.weight, 1));
        self.layer(id, node, x, window, outputs, weight, linear.bias.as_ref(), bits)
    }

    #[allow(clippy::too_many_arguments)]
    fn layer(
        &mut self,
        id: NodeId,
        node: &Node,
        x: Value,
        window: Window,
        outputs: usize,
        weight: Vec<f32>,
        bias: Option<&Constant>,
        bits: Option<u32>,
    ) -> Result<Vec<NodeId>, PackedError> {
        let chain = self.chain(id);
        let end = chain.end.unwrap_or(id);
        let mut done: Vec<NodeId> = Vec::new();
        let mut at = id;
        while at != end {
            at = self.only_reader(at).expect("a chain has one reader each");
            done.push(at);
        }
        match (bits, x.levels, bias) {
            (Some(bits), Some(levels), None) if bits <= MAX_BITS => {
                let integers = IntegerWeights::new(&weight, bits)
                    .map_err(|reason| self.refuse_node(id, &format!("its weights {reason}")))?;
                self.bits.push([bits, levels.ilog2() + 1]);
                self.packed_layer(id, node, x, window, outputs, integers, &chain, end)?;
            }
            _ => self.float_layer(id, node, x, window, weight, bias, &chain, end)?,
        }
        Ok(done)
    }

    /// A layer in full precision.
    #[allow(clippy::too_many_arguments)]
    fn float_layer(
        &mut self,
        id: NodeId,
        node: &Node,
        x: Value,
        window: Window,
        weight: Vec<f32>,
        bias: Option<&Constant>,
        chain: &Chain<'a>,
        end: NodeId,
    ) -> Result<(), PackedError> {
        let x = self.floats(node, x);
        if chain.added.is_some() {
            return Err(self.refuse_node(
                id,
                "packed inference adds nothing to a layer in full precision yet",
            ));
        }
        let (affine, rest) = self.affine(&chain.functions, node.shape()[0])?;
        // The largest of a pool is taken of what the batch norm gives, and may as well be taken behind what nowhere falls.
        let pool = match chain.pool {
            Some(place) if place + rest.len() < chain.functions.len() => {
                return Err(self.refuse_node(id, "packed inference pools behind a batch norm alone"));
            }
            pool => pool.is_some(),
        };
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
    #[allow(clippy::too_many_arguments)]
    fn packed_layer(
        &mut self,
        id: NodeId,
        node: &Node,
        x: Value,
        window: Window,
        outputs: usize,
        mut weights: IntegerWeights,
        chain: &Chain<'a>,
        end: NodeId,
    ) -> Result<(), PackedError> {
        let input_levels = x.levels.expect("it reads codes");
        let unit = weights.unit(input_levels);
        let weight_bits = weights.levels.ilog2() + 1;
        let levels = self.levels(end);
        let then = match levels {
            Some(levels) if chain.added.is_none() => {
                let thresholds =
                    self.thresholds(id, chain, &mut weights, unit, outputs, [input_levels, levels])?;
                PackedThen::Codes {
                    bits: levels.ilog2() + 1,
                    pool: chain.pool.is_some(),
                    thresholds: store(&mut self.tensors, Tensor::I32(thresholds)),
                }
            }
            _ => {
                if chain.pool.is_some() {
                    return Err(self.refuse_node(id, "packed inference pools codes alone"));
                }
                let (affine, rest) = self.affine(&chain.functions, node.shape()[0])?;
                let (act, levels) = (self.act(rest), levels);
                if levels.is_some() {
                    return Err(self.refuse_node(
                        id,
                        "packed inference makes no codes of a sum that something is added to yet",
                    ));
                }
                PackedThen::Floats {
                    unit: store(&mut self.tensors, Tensor::F32(vec![unit])),
                    added: chain.added.map(|added| self.values[&added].id),
                    affine: affine.map(|affine| self.store_affine(affine)),
                    act: act?,
                }
            }
        };
        let inputs = x.shape[0];
        let words = pack_weights(&window, inputs, outputs, weight_bits, &weights.codes);
        let op = Packed::Packed {
            window,
            outputs,
            weight_bits,
            weight: store(&mut self.tensors, Tensor::Words(Words::Owned(words))),
            then,
        };
        self.push(node.name(), x.id, op);
        self.computed(end, levels)
    }

    /// For each code and output the smallest sum that yields it.
    fn thresholds(
        &self,
        id: NodeId,
        chain: &Chain<'a>,
        weights: &mut IntegerWeights,
        unit: f32,
        outputs: usize,
        [input_levels, levels]: [u32; 2],
    ) -> Result<Vec<i32>, PackedError> {
        let filter = weights.codes.len() / outputs;
        let largest = (weights.levels * input_levels) as i32 * filter as i32;
        let mut all = vec![0; levels as usize * outputs];
        for (output, filter) in weights.codes.chunks_exact_mut(filter).enumerate() {
            // What lies in front of the pool decides which sum is the one that counts.
            let before = chain.pool.unwrap_or(chain.functions.len());
            let falls = |functions: &[(NodeId, &Op)]| {
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
            let code = |sum: i32| {
                let sum = if turned { -sum } else { sum };
                let float = chain
                    .functions
                    .iter()
                    .fold(sum as f32 * unit, |x, (_, op)| apply(op, x, output));
                (float * levels as f32).round() as u32
            };
            for (level, threshold) in thresholds(levels, largest, code).enumerate() {
                all[level * outputs + output] = threshold;
            }
        }
        Ok(all)
    }

    fn mean(
        &mut self,
        id: NodeId,
        node: &Node,
        kind: Reduction,
        axes: &[usize],
    ) -> Result<Vec<NodeId>, PackedError> {
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
        Ok(Vec::new())
    }

    /// Feature maps in one row. A linear layer reads them as they lie.
    fn reshape(&mut self, id: NodeId, node: &Node) -> Result<Vec<NodeId>, PackedError> {
        let x = self.value(id, node.inputs()[0])?;
        let linear = self.readers[id.index()]
            .iter()
            .all(|reader| matches!(self.graph.node(*reader).op(), Op::Linear(_)));
        if node.shape().len() != 1 || !linear {
            return Err(self.refuse_node(id, "expected feature maps in one row, for a linear layer"));
        }
        self.values.insert(id, x);
        Ok(Vec::new())
    }

    /// Floats that become codes.
    fn quantize(&mut self, id: NodeId, node: &Node) -> Result<Vec<NodeId>, PackedError> {
        let from = node.inputs()[0];
        let x = self.value(id, from)?;
        let mut chain = self.chain(id);
        chain.functions.insert(0, (id, node.op()));
        let end = chain.end.unwrap_or(id);
        let (affine, rest) = self.affine(&chain.functions, node.shape()[0])?;
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
        self.computed(end, Some(levels))?;
        let mut done = Vec::new();
        let mut at = id;
        while at != end {
            at = self.only_reader(at).expect("a chain has one reader each");
            done.push(at);
        }
        Ok(done)
    }

    /// The batch norm that functions start with, as mean, scale and shift of each channel, and the rest.
    #[allow(clippy::type_complexity)]
    fn affine<'f>(
        &self,
        functions: &'f [(NodeId, &'a Op)],
        channels: usize,
    ) -> Result<(Option<[Vec<f32>; 3]>, &'f [(NodeId, &'a Op)]), PackedError> {
        let Some(((id, Op::Affine(affine)), rest)) = functions.split_first() else {
            return Ok((None, functions));
        };
        // A factor that belongs to a quantiser.
        if affine.parts().all(|part| part.as_scalar().is_some()) && channels != 1 {
            return Ok((None, functions));
        }
        if affine.divisor.is_some() {
            return Ok((Some(divided(affine, channels)), rest));
        }
        let vector = |part: &Option<Constant>, otherwise: f32| match part {
            None => Some(vec![otherwise; channels]),
            Some(part) if part.values().len() == channels => Some(part.values().to_vec()),
            Some(part) => part.as_scalar().map(|number| vec![number; channels]),
        };
        let parts = [(&affine.minus, 0.0), (&affine.factor, 1.0), (&affine.plus, 0.0)];
        let parts = parts.map(|(part, otherwise)| vector(part, otherwise));
        let [Some(mean), Some(scale), Some(shift)] = parts else {
            return Err(self.refuse_node(*id, "expected one number for each channel"));
        };
        Ok((Some([mean, scale, shift]), rest))
    }

    fn store_affine(&mut self, affine: [Vec<f32>; 3]) -> AffineIds {
        affine.map(|numbers| store(&mut self.tensors, Tensor::F32(numbers)))
    }

    /// The activation that functions are.
    fn act(&self, functions: &[(NodeId, &Op)]) -> Result<Act, PackedError> {
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

/// The bits of weights that are those of DoReFa-Net.
fn weight_bits(codes: Option<WeightCodes>) -> Option<u32> {
    let codes = codes.filter(|codes| codes.units().len() == 1 && codes.odd())?;
    Some(codes.bits()).filter(|bits| *bits <= MAX_BITS)
}

/// Burn's batch norm as mean, scale and shift. The division is a factor, so results differ by a rounding.
fn divided(affine: &Affine, channels: usize) -> [Vec<f32>; 3] {
    let number = |part: &Option<Constant>, channel: usize, otherwise: f32| match part {
        None => otherwise,
        Some(part) => part.as_scalar().unwrap_or_else(|| part.values()[channel]),
    };
    let all = |of: &dyn Fn(usize) -> f32| (0..channels).map(of).collect();
    [
        all(&|channel| number(&affine.minus, channel, 0.0)),
        all(&|channel| {
            let divisor = f64::from(number(&affine.divisor, channel, 1.0));
            (f64::from(number(&affine.factor, channel, 1.0)) / divisor) as f32
        }),
        all(&|channel| number(&affine.plus, channel, 0.0)),
    ]
}

/// Whether functions are DoReFa-Net's quantiser to so many steps: `round(clamp(x, 0, 1) * levels) / levels`.
fn dorefa(functions: &[(NodeId, &Op)], levels: u32) -> bool {
    let ops: Vec<&Op> = functions.iter().map(|(_, op)| *op).collect();
    let number = |op: &Op, divides: bool| match op {
        Op::Affine(affine) if affine.parts().count() == 1 => {
            let part = if divides { &affine.divisor } else { &affine.factor };
            part.as_ref().and_then(Constant::as_scalar) == Some(levels as f32)
        }
        _ => false,
    };
    let clamps =
        |op: &Op| matches!(op, Op::Function(Function::Clamp { min, max }) if (*min, *max) == (0.0, 1.0));
    let rounds = |op: &Op| matches!(op, Op::Function(Function::Round));
    match ops[..] {
        [clamp, round] => levels == 1 && clamps(clamp) && rounds(round),
        [clamp, factor, round, divisor] => {
            clamps(clamp) && number(factor, false) && rounds(round) && number(divisor, true)
        }
        _ => false,
    }
}

/// A function on a number of a channel, in the roundings of training.
fn apply(op: &Op, x: f32, channel: usize) -> f32 {
    let of = |part: &Constant| part.as_scalar().unwrap_or_else(|| part.values()[channel]);
    match op {
        Op::Affine(affine) => {
            let x = affine.minus.as_ref().map_or(x, |part| x - of(part));
            let x = affine.divisor.as_ref().map_or(x, |part| x / of(part));
            let x = affine.factor.as_ref().map_or(x, |part| x * of(part));
            affine.plus.as_ref().map_or(x, |part| x + of(part))
        }
        Op::Function(function) => match *function {
            Function::Relu => x.max(0.0),
            Function::Clamp { min, max } => x.clamp(min, max),
            Function::LeakyRelu { slope } => {
                if x > 0.0 {
                    x
                } else {
                    slope * x
                }
            }
            Function::Round => x.round_ties_even(),
            Function::Floor => x.floor(),
            Function::Neg => -x,
            Function::Sign if x == 0.0 => 0.0,
            Function::Sign => x.signum(),
            _ => f32::NAN,
        },
        _ => f32::NAN,
    }
}

/// Whether a function falls where its argument rises, in a channel; `None` where it does both, or is not evaluated here.
fn direction(op: &Op, channel: usize) -> Option<bool> {
    let below = |part: &Option<Constant>| {
        part.as_ref()
            .is_some_and(|part| part.as_scalar().unwrap_or_else(|| part.values()[channel]) < 0.0)
    };
    match op {
        Op::Affine(affine) => {
            let fits = |part: &Constant| part.as_scalar().is_some() || part.values().len() > channel;
            affine
                .parts()
                .all(fits)
                .then(|| below(&affine.divisor) ^ below(&affine.factor))
        }
        Op::Function(
            Function::Relu | Function::Clamp { .. } | Function::Round | Function::Floor | Function::Sign,
        ) => Some(false),
        Op::Function(Function::LeakyRelu { slope }) if *slope >= 0.0 => Some(false),
        Op::Function(Function::Neg) => Some(true),
        _ => None,
    }
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

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::nn::BatchNormConfig;
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::module::Parameters;
    use crate::quant::{Activation, Bits, norm_pool_act};

    /// Numbers in [-1, 1), the same every time.
    fn noise(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Batch norms that put a sum on the very edge between two codes, a few floats to either side of it: there the
    /// roundings of the float operations decide, and exact arithmetic decides otherwise now and then.
    #[test]
    fn thresholds_between_two_floats_are_those_of_the_network() {
        const CHANNELS: usize = 400;
        let device = Device::flex();
        let mut decided_by_rounding = 0;
        for bits in 1..=4u8 {
            let levels = (1u32 << bits) - 1;
            let largest = 90 * levels as i32;
            let unit = 0.037_f32 / levels as f32;
            let sums: Vec<i32> = (-largest..=largest).collect();
            let random = noise(6 * CHANNELS, bits.into());
            let mut norm = BatchNormConfig::new(CHANNELS).init(&device);
            let mut values: [Vec<f32>; 4] = Default::default();
            for (channel, random) in random.chunks_exact(6).enumerate() {
                let gamma = if channel % 31 == 30 { 0.0 } else { 1.5 * random[0] };
                let (mean, variance) = (0.3 * random[1], 0.6 + 0.5 * random[2]);
                let scale =
                    ((f64::from(variance as f32) + norm.epsilon).sqrt().recip() as f32) * gamma as f32;
                let on_edge = (random[3] * 0.8 * f64::from(largest)) as i32;
                let edge = ((random[4] + 1.0) * 0.5 * f64::from(levels)).floor() + 0.5;
                let edge = (edge / f64::from(levels)) as f32;
                let beta = edge - (on_edge as f32 * unit - mean as f32) * scale;
                let nudged = f32::from_bits((beta.to_bits() as i32 + channel as i32 % 7 - 3) as u32);
                for (values, value) in
                    values
                        .iter_mut()
                        .zip([gamma as f32, nudged, mean as f32, variance as f32])
                {
                    values.push(value);
                }
            }
            let mut parameters = Parameters::of(&norm);
            let paths = ["gamma", "beta", "running_mean", "running_var"];
            for (path, values) in paths.into_iter().zip(values) {
                parameters.insert(path, TensorData::new(values, [CHANNELS]));
            }
            norm = parameters.put_into(norm).unwrap();

            let row: Vec<f32> = sums.iter().map(|&sum| sum as f32 * unit).collect();
            let x = TensorData::new(row.repeat(CHANNELS), [1, CHANNELS, 1, sums.len()]);
            let act = Activation::quantized(Bits::new(bits).unwrap());
            let trained = norm_pool_act(Tensor::<4>::from_data(x, &device), Some(&norm), false, &act);
            let trained = trained.into_data().try_into_vec::<f32>().unwrap();

            let shape = [1, CHANNELS, 1, 1];
            let graph = Graph::of(&norm, shape, |norm, x| norm_pool_act(x, Some(norm), false, &act)).unwrap();
            let functions: Vec<&Op> = graph.nodes()[1..].iter().map(Node::op).collect();
            let Op::Affine(affine) = functions[0] else {
                panic!("{graph}");
            };
            let number = |part: &Option<Constant>, channel: usize| part.as_ref().unwrap().values()[channel];
            for (channel, trained) in trained.chunks_exact(sums.len()).enumerate() {
                let sign = if number(&affine.factor, channel) < 0.0 {
                    -1
                } else {
                    1
                };
                let code = |sum: i32| {
                    let x = (sign * sum) as f32 * unit;
                    let x = functions.iter().fold(x, |x, op| apply(op, x, channel));
                    (x * levels as f32).round() as u32
                };
                let thresholds: Vec<i32> = thresholds(levels, largest, code).collect();
                let mut rounding_decides = false;
                for (&sum, &expected) in sums.iter().zip(trained) {
                    let code = thresholds
                        .iter()
                        .filter(|&&threshold| sign * sum >= threshold)
                        .count();
                    assert!(
                        code as f32 / levels as f32 == expected,
                        "{bits} bits, channel {channel}, sum {sum}: code {code}, expected {expected}"
                    );
                    let [x, mean, scale, shift] = [
                        unit,
                        number(&affine.minus, channel),
                        number(&affine.factor, channel),
                        number(&affine.plus, channel),
                    ]
                    .map(f64::from);
                    let exact = (f64::from(sum) * x - mean) * scale + shift;
                    let exact = (exact.clamp(0.0, 1.0) * f64::from(levels)).round_ties_even();
                    rounding_decides |= exact != code as f64;
                }
                decided_by_rounding += u32::from(rounding_decides);
            }
        }
        assert!(
            decided_by_rounding > 50,
            "only {decided_by_rounding} channels were decided by rounding"
        );
    }
}
