//! From the graph of a trained network to packed bits.
//!
//! What decides a code in training is a chain of float operations on an integer: the sum of products of codes, times the
//! layer's unit, batch norm, clamp, rounding. At packing time exactly these operations, which the graph has node by node, are
//! evaluated for the possible sums of each channel. The smallest sum that yields a code is its threshold, and the chain is not
//! needed any more. That is a [fused](fused) layer. What no fused layer covers is [computed node by node](general), in the operations
//! and in the order of the network.
//!
//! ```text
//! fused       layers of packed bits with what follows them, and what else one fast step computes
//! general     every other node, by the general steps
//! integers    layers of codes that bit planes do not cover
//! places      where the numbers of a value lie
//! functions   batch norms, activations and quantisers on one number
//! ```

use std::collections::{HashMap, HashSet};

mod functions;
mod fused;
mod general;
mod integers;
mod places;

use self::places::{Places, layout};
use super::check::MAX_BITS;
use super::spec::{Op as Packed, Part, Plan, Spec, Step, Strides, TensorId, ValueId};
use super::tensor::Tensor;
use super::{Model, PackedError};
use crate::data::{Normalization, PictureSpec};
use crate::graph::{Codes, Constant, Function, Graph, Node, NodeId, Op, WeightCodes};
use crate::models::Network;

/// Packs `network` as it computes in evaluation. `input`: what it reads, as it was trained; of a run
/// [`RunConfig::input`](crate::train::RunConfig::input).
///
/// # Errors
///
/// Those of [`Model::of`], and [`PackedError::Network`] where no layer has both weights and inputs of few bits.
pub fn freeze<N: Network>(network: &N, input: &PictureSpec) -> Result<Model, PackedError> {
    use crate::models::NetworkConfig as _;
    let refuse = |reason: String| PackedError::Network {
        network: network.config().name(),
        reason,
    };
    let graph = network.graph().map_err(|error| refuse(error.to_string()))?;
    let lowering = Lowering::new(&graph, &network.config().name(), input)?;
    if !lowering.has_layer_of_codes() {
        return Err(refuse(format!(
            "it is full precision, or no layer has both weights and inputs of few bits: expected 1 to 8 bits for weights and for \
             activations, of which 1 to {MAX_BITS} bits are computed fastest; train it so"
        )));
    }
    lowering.model()
}

impl Model {
    /// Packs what a graph computes, called `name`. `input`: what its pictures are, and a class for each number of its output.
    ///
    /// Convolutions and linear layers that read DoReFa-Net's codes of 1 to 4 bits, with DoReFa-Net's weights of 1 to 4 bits, are
    /// sums of bits. Other layers of codes, of up to 8 bits and with a sign, with groups and gaps, are sums of integers, and what is no
    /// code is computed in full precision. `docs/packed.md` says what is equal to the bit.
    ///
    /// # Errors
    ///
    /// [`PackedError::Network`] where `input` does not fit the graph, where the graph does not read one picture of 3 channels or has
    /// several outputs, and where it has an operation that packed inference does not know or a layer that reads codes of more than 8
    /// bits: the node is named.
    /// [`PackedError::Step`] where a step is too large to compute.
    pub fn of(graph: &Graph, name: &str, input: &PictureSpec) -> Result<Self, PackedError> {
        Lowering::new(graph, name, input)?.model()
    }
}

/// What is known of a node's result.
#[derive(Clone, Default)]
struct Value {
    /// Where its floats lie, where there are some.
    floats: Option<Places>,
    /// It as codes in bit planes, one for each padding that they are read with.
    planes: Vec<ValueId>,
    /// It as integers.
    integers: Option<ValueId>,
    /// The feature maps that it is in one row.
    maps: Option<NodeId>,
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
    /// The padding that values are read with by fused layers.
    frames: HashMap<ValueId, [usize; 2]>,
    tensors: Vec<Tensor>,
    steps: Vec<Step>,
    names: HashSet<String>,
    /// Of each packed value size and channels.
    sizes: Vec<([usize; 2], usize)>,
    /// Bits of weights, and of codes that are read, of layers of codes.
    bits: Vec<[u32; 2]>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, name: &str, input: &'a PictureSpec) -> Result<Self, PackedError> {
        let mut lowering = Self {
            graph,
            name: name.into(),
            input,
            readers: graph.readers(),
            codes: graph.codes(),
            weights: graph.nodes().iter().map(Node::weight_codes).collect(),
            inside: HashSet::new(),
            values: HashMap::new(),
            frames: HashMap::new(),
            tensors: Vec::new(),
            steps: Vec::new(),
            names: HashSet::new(),
            sizes: Vec::new(),
            bits: Vec::new(),
        };
        let ([picture], [result]) = (graph.inputs(), graph.outputs()) else {
            return Err(lowering.refuse(format!(
                "it has inputs: {}, outputs: {}; expected one of each",
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
        if let Err(error) = graph.check_bits(&lowering.codes) {
            return Err(lowering.refuse(error.to_string()));
        }
        lowering.sizes.push(([height, width], 3));
        let value = Value {
            floats: Some(Places::whole(0, shape)),
            ..Value::default()
        };
        lowering.values.insert(*picture, value);
        Ok(lowering)
    }

    fn refuse(&self, reason: impl Into<String>) -> PackedError {
        PackedError::Network {
            network: self.name.clone(),
            reason: reason.into(),
        }
    }

    fn refuse_node(&self, id: NodeId, what: &str) -> PackedError {
        let name = self.graph.node(id).name();
        self.refuse(format!("`{name}` ({}): {what}", self.graph.describe(id)))
    }

    fn model(mut self) -> Result<Model, PackedError> {
        let graph = self.graph;
        for (id, node) in graph.iter() {
            if self.inside.contains(&id) {
                continue;
            }
            match node.op() {
                Op::Input { .. } => {}
                Op::Conv(conv) => self.conv(id, node, conv)?,
                Op::Linear(linear) => self.linear(id, node, linear)?,
                Op::Reduce { kind, axes } if self.mean(id, node, *kind, axes) => {}
                Op::Affine(_) | Op::Function(_) if self.quantize(id, node) => {}
                _ => self.general(id, node)?,
            }
        }
        self.finish(graph.outputs()[0]);
        let Normalization { mean, std } = self.input.normalization;
        let normalization = self.store(Tensor::F32([mean, std].concat()));
        let plan = Plan {
            network: self.name.clone(),
            precision: precision(&self.bits),
            classes: self.input.classes.clone(),
            input: self.sizes[0].0,
            channels: self.input.channels.places(),
            normalization,
            steps: self.steps,
        };
        Model::new(Spec {
            plan,
            tensors: self.tensors,
        })
    }

    /// Sees to it that the last step computes the output, in one row.
    fn finish(&mut self, output: NodeId) {
        let node = self.graph.node(output);
        let len = node.shape().iter().product();
        let places = self.floats(output, node.name());
        let flat = self.reshape(output, places, &[len]);
        let last = flat.value == self.steps.len() && flat.is_laid_out();
        if flat.value == 0 || !last || self.sizes[flat.value] != ([1, 1], len) {
            self.copied(&format!("{}.output", node.name()), &flat);
        }
    }

    /// Whether a layer reads codes and has codes for weights.
    fn has_layer_of_codes(&self) -> bool {
        self.graph.iter().any(|(id, node)| {
            let codes = |id: &NodeId| self.levels(*id).is_some() || self.integers(*id).is_some();
            self.weights[id.index()].is_some() && node.inputs().first().is_some_and(codes)
        })
    }

    /// A step, and what it results in. A name that is taken is numbered.
    fn push(&mut self, name: &str, input: ValueId, op: Packed, size: ([usize; 2], usize)) -> ValueId {
        let mut unlike = name.to_owned();
        let mut number = 1;
        while !self.names.insert(unlike.clone()) {
            number += 1;
            unlike = format!("{name}.{number}");
        }
        self.steps.push(Step {
            name: unlike,
            input,
            op,
        });
        self.sizes.push(size);
        self.steps.len()
    }

    fn store(&mut self, tensor: Tensor) -> TensorId {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    /// `end` is what the last step results in, as floats.
    fn computed(&mut self, end: NodeId) {
        let places = Places::whole(self.steps.len(), self.graph.node(end).shape());
        self.lies(end, places);
    }

    fn lies(&mut self, id: NodeId, places: Places) {
        let value = Value {
            floats: Some(places),
            ..Value::default()
        };
        self.values.insert(id, value);
    }

    /// `end` is what the last step results in, as codes in bit planes.
    fn computed_codes(&mut self, end: NodeId) {
        let value = Value {
            planes: vec![self.steps.len()],
            ..Value::default()
        };
        self.values.insert(end, value);
    }

    fn known(&mut self, id: NodeId) -> &mut Value {
        self.values
            .get_mut(&id)
            .expect("nodes are in an order in which each is computed behind those that it reads")
    }

    /// Where the floats of a node lie, which codes are unpacked to. `reader` names that step.
    fn floats(&mut self, id: NodeId, reader: &str) -> Places {
        let shape = self.graph.node(id).shape();
        let Value {
            floats, planes, maps, ..
        } = self.known(id).clone();
        if let Some(places) = floats {
            return places;
        }
        let places = match (maps, planes.first()) {
            (Some(maps), _) => {
                let places = self.floats(maps, reader);
                self.reshape(id, places, shape)
            }
            (None, Some(&planes)) => {
                let size = self.sizes[planes];
                let value = self.push(&format!("{reader}.unpack"), planes, Packed::Unpack, size);
                Places::whole(value, shape)
            }
            (None, None) => unreachable!("a value is floats or codes"),
        };
        self.known(id).floats = Some(places.clone());
        places
    }

    /// A node's floats as the layout of its shape has them: the packed value.
    fn laid_out(&mut self, id: NodeId, reader: &str) -> ValueId {
        let places = self.floats(id, reader);
        let (size, channels, _) = layout(&places.shape);
        let value = if places.value == 0 && places.is_laid_out() {
            let name = format!("{}.floats", self.graph.node(id).name());
            self.push(&name, 0, Packed::Picture, (size, channels))
        } else if places.is_laid_out() && self.sizes[places.value] == (size, channels) {
            return places.value;
        } else {
            self.copied(&format!("{}.moved", self.graph.node(id).name()), &places)
        };
        self.known(id).floats = Some(Places::whole(value, self.graph.node(id).shape()));
        value
    }

    /// The picture without its frame, in the place of the picture.
    fn unframed(&mut self, places: &Places) -> Places {
        if places.value != 0 {
            return places.clone();
        }
        let picture = self.graph.inputs()[0];
        let value = self.laid_out(picture, "");
        Places {
            value,
            ..places.clone()
        }
    }

    /// Numbers as the layout of their shape has them.
    fn copied(&mut self, name: &str, places: &Places) -> ValueId {
        let (.., steps) = layout(&places.shape);
        self.moved(name, places, &steps)
    }

    /// Numbers with other steps between them, of a value of the layout of their shape.
    fn moved(&mut self, name: &str, places: &Places, steps: &[usize]) -> ValueId {
        let places = self.unframed(places);
        let (size, channels, _) = layout(&places.shape);
        let part = Part {
            input: places.value,
            sizes: places.shape.clone(),
            from: places.strides.clone(),
            to: Strides {
                start: 0,
                steps: steps.to_vec(),
            },
        };
        self.push_copy(name, (size, channels), None, vec![part])
    }

    fn push_copy(
        &mut self,
        name: &str,
        size: ([usize; 2], usize),
        fill: Option<f32>,
        mut parts: Vec<Part>,
    ) -> ValueId {
        // What lies side by side in the result is moved together.
        for part in &mut parts {
            let mut order: Vec<usize> = (0..part.sizes.len()).collect();
            order.sort_by_key(|&axis| std::cmp::Reverse(part.to.steps[axis]));
            let sorted = |numbers: &[usize]| order.iter().map(|&axis| numbers[axis]).collect();
            (part.sizes, part.from.steps, part.to.steps) = (
                sorted(&part.sizes),
                sorted(&part.from.steps),
                sorted(&part.to.steps),
            );
        }
        let fill = fill.map(|fill| self.store(Tensor::F32(vec![fill])));
        let op = Packed::Copy {
            size: size.0,
            channels: size.1,
            fill,
            parts: parts.clone(),
        };
        self.push(name, parts[0].input, op, size)
    }

    /// The same numbers as another shape. They are moved where steps through the memory cannot tell.
    fn reshape(&mut self, id: NodeId, places: Places, shape: &[usize]) -> Places {
        if let Some(places) = places.reshaped(shape) {
            return places;
        }
        let name = format!("{}.moved", self.graph.node(id).name());
        let places = self.unframed(&places);
        // To where the layout of the new shape has them, where that can be told in the old one; else in rows.
        let (size, channels, steps) = layout(shape);
        let to = places::reshaped(shape, &steps, &places.shape);
        let (size, places_steps) = match &to {
            Some(to) => ((size, channels), to.clone()),
            None => (
                ([1, 1], places.shape.iter().product()),
                places::rows(&places.shape),
            ),
        };
        let part = Part {
            input: places.value,
            sizes: places.shape.clone(),
            from: places.strides.clone(),
            to: Strides {
                start: 0,
                steps: places_steps,
            },
        };
        let value = self.push_copy(&name, size, None, vec![part]);
        match to {
            Some(_) => Places::whole(value, shape),
            None => Places {
                value,
                shape: shape.to_vec(),
                strides: Strides {
                    start: 0,
                    steps: places::rows(shape),
                },
            },
        }
    }

    /// A node's codes in bit planes, to be read with this padding.
    fn planes(&mut self, id: NodeId, reader: &str, padding: [usize; 2], levels: u32) -> ValueId {
        for planes in self.known(id).planes.clone() {
            if *self.frames.entry(planes).or_insert(padding) == padding {
                return planes;
            }
        }
        let floats = self.laid_out(id, reader);
        let op = Packed::Quantize {
            affine: None,
            bits: levels.ilog2() + 1,
        };
        let name = format!("{}.codes", self.graph.node(id).name());
        let planes = self.push(&name, floats, op, self.sizes[floats]);
        self.frames.insert(planes, padding);
        self.known(id).planes.push(planes);
        planes
    }

    /// What a value's only reader is, where it has one and is no output.
    fn only_reader(&self, id: NodeId) -> Option<NodeId> {
        match self.readers[id.index()][..] {
            [reader] if !self.graph.outputs().contains(&id) => Some(reader),
            _ => None,
        }
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

    /// Whether anything in the network is rounded: then every float in front of it counts.
    fn rounds(&self) -> bool {
        let rounds = |node: &Node| {
            matches!(
                node.op(),
                Op::Function(Function::Round | Function::Floor | Function::Sign)
            )
        };
        self.graph.nodes().iter().any(rounds)
    }
}

/// `W1A2` of the bits of weights and codes, and a range where layers differ: `W1-2A2`.
fn precision(bits: &[[u32; 2]]) -> String {
    if bits.is_empty() {
        return "full precision".into();
    }
    let range = |side: usize| {
        let all = || bits.iter().map(|bits| bits[side]);
        match (all().min().unwrap_or(0), all().max().unwrap_or(0)) {
            (low, high) if low == high => low.to_string(),
            (low, high) => format!("{low}-{high}"),
        }
    };
    format!("W{}A{}", range(0), range(1))
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    let rows = matrix.len() / columns;
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}
