//! Layers of packed bits with what follows them, and the few other things that one fast step computes. What does not fit is left to
//! the steps that compute one operation each.

use super::functions::{Vectors, apply, direction, dorefa, vectors};
use super::{Lowering, transposed};
use crate::graph::{
    Affine, Binary, Constant, Conv, Function, Linear, Node, NodeId, Op, Pool, Reduction, WeightCodes,
};
use crate::packed::PackedError;
use crate::packed::check::{MAX_BITS, MAX_KERNEL, MAX_SUM};
use crate::packed::integer::IntegerWeights;
use crate::packed::layout::pack_weights;
use crate::packed::spec::{
    Act, AffineIds, Geometry, Op as Packed, PackedThen, Part, Strides, Then, ValueId, Window,
};
use crate::packed::tensor::{Tensor, Words};
use crate::packed::threshold::thresholds;

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
pub(super) struct Layer<'a> {
    pub id: NodeId,
    pub node: &'a Node,
    /// The feature maps that it reads, and their channels, height and width.
    pub x: NodeId,
    pub shape: [usize; 3],
    pub geometry: Geometry,
    /// `[outputs, inputs of a group, kernel height, kernel width]`, of a linear layer in another order.
    pub weight: Vec<f32>,
    pub outputs: usize,
    pub bias: Option<&'a Constant>,
    /// Whether it is a linear layer.
    pub linear: bool,
}

impl Layer<'_> {
    /// Weights of a filter.
    pub fn filter(&self) -> usize {
        self.weight.len() / self.outputs
    }

    /// Height and width, and channels of the result.
    pub fn size(&self) -> ([usize; 2], usize) {
        match *self.node.shape() {
            [_, height, width] => ([height, width], self.outputs),
            _ => ([1, 1], self.outputs),
        }
    }

    /// The kernel of a fused layer, of even padding or none.
    fn window(&self, padding: [usize; 2]) -> Option<Window> {
        let Geometry {
            kernel,
            stride,
            dilation,
            groups,
            ..
        } = self.geometry;
        let small = kernel.iter().chain(&stride).all(|&side| side <= MAX_KERNEL);
        let fits =
            small && groups == 1 && dilation == [1, 1] && padding[0] < kernel[0] && padding[1] < kernel[1];
        fits.then_some(Window {
            kernel,
            stride,
            padding,
        })
    }

    /// The padding down and across, where it is the same on either side.
    fn even_padding(&self) -> Option<[usize; 2]> {
        let [top, bottom, left, right] = self.geometry.padding;
        (top == bottom && left == right).then_some([top, left])
    }
}

impl Chain<'_> {
    /// What others read: the last node that follows `start`.
    fn end(&self, start: NodeId) -> NodeId {
        self.nodes.last().copied().unwrap_or(start)
    }
}

impl<'a> Lowering<'a> {
    pub(super) fn conv(&mut self, id: NodeId, node: &'a Node, conv: &'a Conv) -> Result<(), PackedError> {
        let x = node.inputs()[0];
        let &[channels, height, width] = self.graph.node(x).shape() else {
            return Err(self.refuse_node(id, "it reads no feature maps"));
        };
        let padding = conv.padding;
        self.layer(Layer {
            id,
            node,
            x,
            shape: [channels, height, width],
            geometry: Geometry {
                kernel: [conv.weight.shape()[2], conv.weight.shape()[3]],
                stride: conv.stride,
                padding: [padding.top, padding.bottom, padding.left, padding.right],
                dilation: conv.dilation,
                groups: conv.groups,
            },
            weight: conv.weight.values().to_vec(),
            outputs: conv.weight.shape()[0],
            bias: conv.bias.as_ref(),
            linear: false,
        })
    }

    pub(super) fn linear(
        &mut self,
        id: NodeId,
        node: &'a Node,
        linear: &'a Linear,
    ) -> Result<(), PackedError> {
        let x = node.inputs()[0];
        let known = self.known(x);
        // A linear layer is a convolution of a single position, as large as what it reads.
        let (x, maps) = match known.maps {
            Some(maps) if known.floats.is_none() => (maps, self.graph.node(maps).shape()),
            _ => (x, self.graph.node(x).shape()),
        };
        let (x, shape) = match *maps {
            [channels, height, width] if node.shape().len() == 1 && height.max(width) <= MAX_KERNEL => {
                (x, [channels, height, width])
            }
            _ if node.shape().len() == 1 => (
                node.inputs()[0],
                [self.graph.node(node.inputs()[0]).shape()[0], 1, 1],
            ),
            _ => return self.linear_rows(id, node, linear),
        };
        let outputs = linear.weight.shape()[1];
        self.layer(Layer {
            id,
            node,
            x,
            shape,
            geometry: Geometry {
                kernel: [shape[1], shape[2]],
                stride: [1, 1],
                padding: [0; 4],
                dilation: [1, 1],
                groups: 1,
            },
            weight: transposed(linear.weight.values(), outputs),
            outputs,
            bias: linear.bias.as_ref(),
            linear: true,
        })
    }

    /// A layer and, where one step can compute it, what follows it.
    fn layer(&mut self, layer: Layer<'a>) -> Result<(), PackedError> {
        let chain = self.chain(layer.id);
        if let Some((window, weights, levels)) = self.bits(&layer) {
            self.bits.push([weights.levels.ilog2() + 1, levels.ilog2() + 1]);
            if !self.packed_layer(&layer, window, weights.clone(), levels, &chain) {
                self.packed_layer(&layer, window, weights, levels, &Chain::default());
            }
            return Ok(());
        }
        if self.integer_layer(&layer) {
            return Ok(());
        }
        if layer.window([0, 0]).is_none() {
            self.any_conv(&layer);
        } else if !self.float_layer(&layer, &chain) {
            self.float_layer(&layer, &Chain::default());
        }
        Ok(())
    }

    /// The window of a layer, its weights and the levels of what it reads, where bit planes cover it.
    fn bits(&self, layer: &Layer<'a>) -> Option<(Window, IntegerWeights, u32)> {
        let window = layer.window(layer.even_padding()?)?;
        let bits = self.weights[layer.id.index()].as_ref().and_then(dorefa_bits)?;
        let levels = self.levels(layer.x)?;
        let weights = IntegerWeights::new(&layer.weight, bits).ok()?;
        let largest = (weights.levels * levels) as usize;
        (layer.filter() * largest <= MAX_SUM).then_some((window, weights, levels))
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
                        shape == node.shape() && value.is_some_and(|value| value.planes.is_empty())
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

    /// A layer in full precision. Returns whether one step computes it with the chain.
    fn float_layer(&mut self, layer: &Layer<'a>, chain: &Chain<'a>) -> bool {
        let channels = layer.node.shape()[0];
        let Some((affine, rest)) = self.affine(&chain.functions, channels) else {
            return false;
        };
        // The largest of a pool is taken of what the batch norm gives, and may as well be taken behind what nowhere falls.
        let pool_fits = chain
            .pool
            .is_none_or(|place| place + rest.len() >= chain.functions.len());
        if chain.added.is_some() || !pool_fits {
            return false;
        }
        let pool = chain.pool.is_some();
        let end = chain.end(layer.id);
        let levels = self.levels(end).filter(|&levels| dorefa(rest, levels));
        let then = match (levels, act(rest)) {
            (Some(levels), _) => Then::Codes {
                bits: levels.ilog2() + 1,
            },
            (None, Some(act)) => Then::Floats { act },
            (None, None) => return false,
        };
        let (window, x) = self.padded(layer);
        let weight = self.store(Tensor::F32(layer.weight.clone()));
        let bias = layer
            .bias
            .map(|bias| self.store(Tensor::F32(bias.values().to_vec())));
        let affine = affine.map(|affine| self.store_affine(affine));
        let op = Packed::Float {
            window,
            weight,
            bias,
            affine,
            pool,
            then,
        };
        self.push_layer(layer, chain, x, op, levels.is_some());
        true
    }

    /// What a layer in full precision reads: the picture within zeros, or floats that zeros are put around.
    fn padded(&mut self, layer: &Layer<'a>) -> (Window, ValueId) {
        let name = layer.node.name();
        if layer.x == self.graph.inputs()[0]
            && let Some(window) = layer.even_padding().and_then(|padding| layer.window(padding))
            && *self.frames.entry(0).or_insert(window.padding) == window.padding
        {
            return (window, 0);
        }
        let window = layer.window([0, 0]).expect("a small kernel of one group");
        let x = self.laid_out(layer.x, name);
        let [top, bottom, left, right] = layer.geometry.padding;
        if layer.geometry.padding == [0; 4] {
            return (window, x);
        }
        let [channels, height, width] = layer.shape;
        let across = width + left + right;
        let part = Part {
            input: x,
            sizes: vec![height, width * channels],
            from: Strides {
                start: 0,
                steps: vec![width * channels, 1],
            },
            to: Strides {
                start: (top * across + left) * channels,
                steps: vec![across * channels, 1],
            },
        };
        let size = ([height + top + bottom, across], channels);
        (
            window,
            self.push_copy(&format!("{name}.padded"), size, Some(0.0), vec![part]),
        )
    }

    fn push_layer(&mut self, layer: &Layer<'a>, chain: &Chain<'a>, x: ValueId, op: Packed, codes: bool) {
        let (mut size, channels) = layer.size();
        if chain.pool.is_some() {
            size = size.map(|side| side / 2);
        }
        self.push(layer.node.name(), x, op, (size, channels));
        self.inside.extend(&chain.nodes);
        let end = chain.end(layer.id);
        if codes {
            self.computed_codes(end);
        } else {
            self.computed(end);
        }
    }

    /// A layer of bit planes. Returns whether one step computes it with the chain.
    fn packed_layer(
        &mut self,
        layer: &Layer<'a>,
        window: Window,
        mut weights: IntegerWeights,
        input_levels: u32,
        chain: &Chain<'a>,
    ) -> bool {
        let &Layer {
            node, outputs, bias, ..
        } = layer;
        let unit = weights.unit(input_levels);
        let weight_bits = weights.levels.ilog2() + 1;
        let end = chain.end(layer.id);
        // What is made of a sum that something was added to is a step of its own.
        let levels = self.levels(end).filter(|_| chain.added.is_none());
        let then = match levels {
            Some(levels) => {
                let Some(thresholds) = thresholds_of(layer, chain, &mut weights, [input_levels, levels])
                else {
                    return false;
                };
                PackedThen::Codes {
                    bits: levels.ilog2() + 1,
                    pool: chain.pool.is_some(),
                    thresholds: self.store(Tensor::I32(thresholds)),
                }
            }
            None => {
                let found = self.affine(&chain.functions, node.shape()[0]);
                let Some((mut affine, rest)) = found.filter(|_| chain.pool.is_none()) else {
                    return false;
                };
                let Some(act) = act(rest) else {
                    return false;
                };
                if let Some(bias) = bias {
                    // A bias is taken off with the mean, which is the same alone.
                    if affine.is_some() && self.rounds() {
                        return false;
                    }
                    let same = || [0.0, 1.0, 0.0].map(|number| vec![number; outputs]);
                    let [mean, ..] = affine.get_or_insert_with(same);
                    mean.iter_mut()
                        .zip(bias.values())
                        .for_each(|(mean, bias)| *mean -= bias);
                }
                let added = chain.added.map(|added| self.laid_out(added, node.name()));
                PackedThen::Floats {
                    unit: self.store(Tensor::F32(vec![unit])),
                    added,
                    affine: affine.map(|affine| self.store_affine(affine)),
                    act,
                }
            }
        };
        let x = self.planes(layer.x, node.name(), window.padding, input_levels);
        let words = pack_weights(&window, layer.shape[0], outputs, weight_bits, &weights.codes);
        let op = Packed::Packed {
            window,
            outputs,
            weight_bits,
            weight: self.store(Tensor::Words(Words::Owned(words))),
            then,
        };
        self.push_layer(layer, chain, x, op, levels.is_some());
        true
    }

    /// The mean of each channel, rows first. Returns whether it is one.
    pub(super) fn mean(&mut self, id: NodeId, node: &Node, kind: Reduction, axes: &[usize]) -> bool {
        if kind != Reduction::Mean || axes != [2, 1] || node.shape().len() != 3 {
            return false;
        }
        let x = self.laid_out(node.inputs()[0], node.name());
        let op = Packed::Mean {
            affine: None,
            act: Act::Identity,
        };
        self.push(node.name(), x, op, ([1, 1], node.shape()[0]));
        self.computed(id);
        true
    }

    /// Floats that become codes. Returns whether they do in one step.
    pub(super) fn quantize(&mut self, id: NodeId, node: &'a Node) -> bool {
        let read = node.inputs()[0];
        if !by_channel(node) || ![1, 3].contains(&node.shape().len()) || !self.known(read).planes.is_empty() {
            return false;
        }
        let mut chain = self.chain(id);
        chain.functions.insert(0, (id, node.op()));
        let end = chain.end(id);
        let Some((affine, rest)) = self.affine(&chain.functions, node.shape()[0]) else {
            return false;
        };
        let levels = self.levels(end).filter(|&levels| dorefa(rest, levels));
        let (Some(levels), None, None) = (levels, chain.pool, chain.added) else {
            return false;
        };
        let x = self.laid_out(read, node.name());
        let affine = affine.map(|affine| self.store_affine(affine));
        let bits = levels.ilog2() + 1;
        self.push(node.name(), x, Packed::Quantize { affine, bits }, self.sizes[x]);
        self.inside.extend(&chain.nodes);
        self.computed_codes(end);
        true
    }

    /// The batch norm that functions start with, as mean, scale and shift of each channel, and the rest. `None` where it divides and
    /// something is rounded later: the factor of a fused step would decide otherwise now and then.
    fn affine<'f>(
        &self,
        functions: &'f [Operation<'a>],
        channels: usize,
    ) -> Option<(Option<Vectors>, &'f [Operation<'a>])> {
        match functions.split_first() {
            Some(((_, Op::Affine(affine)), _)) if divides(affine) && self.rounds() => None,
            Some(((_, Op::Affine(affine)), rest)) => Some((Some(vectors(affine, channels)), rest)),
            _ => Some((None, functions)),
        }
    }

    fn store_affine(&mut self, affine: Vectors) -> AffineIds {
        affine.map(|numbers| self.store(Tensor::F32(numbers)))
    }
}

fn divides(affine: &Affine) -> bool {
    affine.divisor.is_some()
}

/// For each code and output the smallest sum that yields it. `None` where what follows the sums rises and falls, or where no function
/// is evaluated alike on every device.
fn thresholds_of(
    layer: &Layer<'_>,
    chain: &Chain<'_>,
    weights: &mut IntegerWeights,
    [input_levels, levels]: [u32; 2],
) -> Option<Vec<i32>> {
    let &Layer { outputs, bias, .. } = layer;
    let unit = weights.unit(input_levels);
    let filter = weights.codes.len() / outputs;
    let largest = (weights.levels * input_levels) as i32 * filter as i32;
    let mut all = vec![0; levels as usize * outputs];
    for (output, filter) in weights.codes.chunks_exact_mut(filter).enumerate() {
        // What lies in front of the pool decides which sum is the one that counts.
        let before = chain.pool.unwrap_or(chain.functions.len());
        let falls = |functions: &[Operation<'_>]| {
            let signs = functions.iter().map(|(_, op)| direction(op, output));
            signs
                .collect::<Option<Vec<bool>>>()
                .map(|falls| falls.into_iter().fold(false, |all, one| all ^ one))
        };
        let turned = falls(&chain.functions)?;
        if chain.pool.is_some() && falls(&chain.functions[..before])? != turned {
            return None;
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
    Some(all)
}

/// The activation that functions are, of those that fused steps know.
fn act(functions: &[Operation<'_>]) -> Option<Act> {
    match functions {
        [] => Some(Act::Identity),
        [(_, Op::Function(Function::Relu))] => Some(Act::Relu),
        [(_, Op::Function(Function::Clamp { min, max }))] if (*min, *max) == (0.0, 1.0) => Some(Act::Clamp),
        _ => None,
    }
}

/// Whether a node computes with one number for each channel, or one for all.
pub(super) fn by_channel(node: &Node) -> bool {
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
