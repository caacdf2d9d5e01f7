//! The convolutions of a graph for the mapper, and which of their widths may change, and together.

use std::collections::{HashMap, HashSet};

use super::ir::{Constant, Conv, Op};
use super::shape::numbers;
use super::{Graph, Node, NodeId};
use crate::mapping::{ConvLayer, Network, Tie, depthwise};

/// A linear layer from so many inputs to so many outputs, that is computed at so many places, as a convolution.
pub(crate) fn as_convolution(name: &str, [inputs, outputs]: [usize; 2], places: usize) -> ConvLayer {
    ConvLayer {
        input: [1, places],
        ..ConvLayer::square(name, 1, 1, inputs, outputs)
    }
}

/// Channels of a value: those of one width, or those that stay.
#[derive(Clone, Copy, PartialEq)]
enum Channels {
    /// As many as this width has.
    Width(usize),
    /// One for all, repeated beside others.
    One,
    /// A number that does not change.
    Fixed,
}

/// Widths that are one another's.
#[derive(Default)]
struct Widths {
    /// For each width one that it is the same as, itself at last.
    same: Vec<usize>,
    fixed: Vec<bool>,
}

impl Widths {
    fn fresh(&mut self) -> Channels {
        self.same.push(self.same.len());
        self.fixed.push(false);
        Channels::Width(self.same.len() - 1)
    }

    fn root(&self, mut width: usize) -> usize {
        while self.same[width] != width {
            width = self.same[width];
        }
        width
    }

    fn fix(&mut self, channels: Channels) {
        if let Channels::Width(width) = channels {
            let root = self.root(width);
            self.fixed[root] = true;
        }
    }

    /// Both are the same from now on.
    fn join(&mut self, a: Channels, b: Channels) -> Channels {
        match (a, b) {
            (Channels::Width(a), Channels::Width(b)) => {
                let (a, b) = (self.root(a), self.root(b));
                let fixed = self.fixed[a] || self.fixed[b];
                // The first of them stands for both.
                let (first, second) = (a.min(b), a.max(b));
                self.same[second] = first;
                self.fixed[first] = fixed;
                Channels::Width(first)
            }
            (Channels::One, other) | (other, Channels::One) => other,
            (Channels::Fixed, other) | (other, Channels::Fixed) => {
                self.fix(other);
                Channels::Fixed
            }
        }
    }

    /// Makes every width name the one that stands for it, which is never behind it.
    fn flatten(&mut self) {
        for width in 0..self.same.len() {
            self.same[width] = self.same[self.same[width]];
        }
    }

    fn free(&self, channels: Channels) -> Option<usize> {
        match channels {
            Channels::Width(width) => Some(self.root(width)).filter(|&root| !self.fixed[root]),
            _ => None,
        }
    }
}

/// Along each dimension of a parameter the channels that it runs over.
type Along = Vec<Channels>;

/// The parameters that are met, by their paths, with their shapes. One that is used in several places is as wide in all of them.
#[derive(Default)]
struct Shared<'a> {
    met: HashMap<&'a str, (&'a [usize], Along)>,
}

impl<'a> Shared<'a> {
    fn join(&mut self, node: &'a Node, input: Channels, output: Channels, widths: &mut Widths) {
        let mut used: Vec<(&Constant, Along)> = Vec::new();
        let bias = |bias: &'a Option<Constant>| bias.iter().map(move |bias| (bias, vec![output]));
        match &node.op {
            Op::Conv(conv) => {
                // A group reads some of the channels alone.
                let read = if conv.groups == 1 { input } else { Channels::Fixed };
                used.push((&conv.weight, vec![output, read]));
                used.extend(bias(&conv.bias));
            }
            Op::ConvTranspose(conv) => {
                used.push((&conv.weight, vec![input, output]));
                used.extend(bias(&conv.bias));
            }
            Op::Linear(linear) => {
                used.push((&linear.weight, vec![input, output]));
                used.extend(bias(&linear.bias));
            }
            Op::Affine(affine) => used.extend(affine.parts().map(|part| (part, vec![output]))),
            Op::Constant(constant) => used.push((constant, vec![output])),
            _ => {}
        }
        for (constant, along) in used {
            let Some(name) = constant.name() else { continue };
            // One number for all belongs to no channel.
            if numbers(&constant.shape) == Some(1) {
                continue;
            }
            match self.met.get(name) {
                Some((shape, before)) if *shape == constant.shape && before.len() == along.len() => {
                    for (&before, &now) in before.iter().zip(&along) {
                        // Depthwise weights run over no channels of their own along the second dimension.
                        if (before, now) != (Channels::Fixed, Channels::Fixed) {
                            widths.join(before, now);
                        }
                    }
                }
                Some((_, before)) => before
                    .iter()
                    .chain(&along)
                    .for_each(|&channels| widths.fix(channels)),
                None => {
                    self.met.insert(name, (&constant.shape, along));
                }
            }
        }
    }
}

impl Graph {
    /// The 2-D convolutions for the mapper, in the order in which they are computed, one for each time that they are, with the
    /// widths between them that may change.
    ///
    /// Widths that meet in an addition or a product are one width; so are input and output of a depthwise convolution, and
    /// those of a layer that is used twice. A width stays where it is that of an input or an output of the network, where its
    /// channels are put side by side with others, taken apart, reordered or reduced, and where no convolution reads it.
    ///
    /// ```
    /// use vwc_sdk::graph::{Binary, Constant, Conv, Graph, NodeSpec};
    ///
    /// let conv = |outputs: usize, inputs: usize| {
    ///     Conv::new(Constant::new([outputs, inputs, 1, 1], vec![0.5; outputs * inputs]))
    /// };
    /// let graph = Graph::new(
    ///     [
    ///         NodeSpec::input("x", [3, 8, 8]),
    ///         NodeSpec::new("stem", conv(16, 3), ["x"]),
    ///         NodeSpec::new("inner", conv(4, 16), ["stem"]),
    ///         NodeSpec::new("outer", conv(16, 4), ["inner"]),
    ///         NodeSpec::new("sum", Binary::Add, ["stem", "outer"]),
    ///         NodeSpec::new("head", conv(10, 16), ["sum"]),
    ///     ],
    ///     ["head"],
    /// )?;
    /// let network = graph.mapped("residual");
    /// assert_eq!(network.widths()?, [16, 4]);
    /// assert_eq!(network.with_widths(&[12, 4])?.layers[2].out_channels, 12);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mapped(&self, name: impl Into<String>) -> Network {
        self.mapped_of(name.into(), false)
    }

    /// As [`mapped`](Self::mapped), with the linear layers among the convolutions: on an array each is a convolution of 1x1, over one
    /// place or, where its input has several dimensions, over all rows of the last.
    ///
    /// The width in front of a linear layer stays where each of its channels is several numbers of the layer's input, as that of a
    /// feature map which was flattened.
    ///
    /// ```
    /// use vwc_sdk::graph::{Constant, Graph, Linear, NodeSpec};
    ///
    /// let linear = |inputs: usize, outputs: usize| Linear {
    ///     weight: Constant::new([inputs, outputs], vec![0.5; inputs * outputs]),
    ///     bias: None,
    /// };
    /// let nodes = [
    ///     NodeSpec::input("x", [20]),
    ///     NodeSpec::new("hidden", linear(20, 50), ["x"]),
    ///     NodeSpec::new("head", linear(50, 10), ["hidden"]),
    /// ];
    /// let network = Graph::new(nodes, ["head"])?.mapped_with_linear("perceptron");
    /// assert_eq!(network.layers[1].in_channels, 50);
    /// assert_eq!(network.widths()?, [50]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn mapped_with_linear(&self, name: impl Into<String>) -> Network {
        self.mapped_of(name.into(), true)
    }

    fn mapped_of(&self, name: String, with_linear: bool) -> Network {
        // How many channels each width has.
        let mut sizes: HashMap<usize, usize> = HashMap::new();
        let mut widths = Widths::default();
        let mut channels: Vec<Channels> = Vec::with_capacity(self.nodes.len());
        let mut layers = Vec::new();
        let linear = self.read_by_linear();
        let mut shared = Shared::default();
        for (id, node) in self.iter() {
            let inputs: Vec<Channels> = node.inputs.iter().map(|input| channels[input.0]).collect();
            let layer = self.conv_layer(id).map(|(layer, _)| layer);
            let input = inputs.first().copied().unwrap_or(Channels::Fixed);
            let output = if self.keeps_channels(node, linear[id.0]) {
                inputs.iter().for_each(|&input| widths.fix(input));
                Channels::Fixed
            } else {
                self.channels(node, layer.as_ref(), &inputs, &mut widths)
            };
            shared.join(node, input, output, &mut widths);
            channels.push(output);
            if let Channels::Width(width) = output {
                sizes.entry(width).or_insert(node.shape[0]);
            }
            layers.extend(layer.map(|layer| (layer, input, output)));
            if let Some(layer) = self.linear_layer(id).filter(|_| with_linear) {
                let size = match input {
                    Channels::Width(width) => sizes.get(&widths.root(width)),
                    _ => None,
                };
                let row = node.shape.len() == 1;
                if row && size == Some(&layer.in_channels) {
                    layers.push((layer, input, output));
                } else {
                    widths.fix(input);
                    layers.push((layer, Channels::Fixed, if row { output } else { Channels::Fixed }));
                }
            }
        }
        for output in &self.outputs {
            widths.fix(channels[output.0]);
        }
        widths.flatten();
        // Those that a convolution makes and a convolution reads, in the order in which they are met.
        let read: HashSet<usize> = layers
            .iter()
            .filter_map(|&(_, input, _)| widths.free(input))
            .collect();
        let made: HashSet<usize> = layers
            .iter()
            .filter_map(|&(.., output)| widths.free(output))
            .collect();
        let mut free: HashMap<usize, usize> = HashMap::new();
        let mut place = |channels: Channels| {
            let width = widths
                .free(channels)
                .filter(|width| read.contains(width) && made.contains(width))?;
            let next = free.len();
            Some(*free.entry(width).or_insert(next))
        };
        let ties = layers.iter().map(|&(_, input, output)| Tie {
            input: place(input),
            output: place(output),
        });
        let ties: Vec<Tie> = ties.collect();
        let layers = layers.into_iter().map(|(layer, ..)| layer).collect();
        let ties = if ties.iter().all(|tie| tie.input.is_none() && tie.output.is_none()) {
            Vec::new()
        } else {
            ties
        };
        Network::tied(name, layers, ties)
    }

    /// For each node whether linear layers alone read its result, behind functions of single numbers or at once.
    fn read_by_linear(&self) -> Vec<bool> {
        let readers = self.readers();
        let mut linear = vec![false; self.nodes.len()];
        for (id, _) in self.iter().rev() {
            let reads = |reader: &NodeId| match &self.node(*reader).op {
                Op::Linear(_) => true,
                Op::Affine(_) | Op::Function(_) => linear[reader.0],
                _ => false,
            };
            linear[id.0] = !self.outputs.contains(&id) && readers[id.0].iter().all(reads);
        }
        linear
    }

    /// A 2-D convolution for the mapper, and what it computes with. `None` of another node.
    #[must_use]
    pub fn conv_layer(&self, id: NodeId) -> Option<(ConvLayer, &Conv)> {
        let node = self.node(id);
        let Op::Conv(conv) = &node.op else {
            return None;
        };
        let input = self.node(node.inputs[0]).shape();
        let layer = ConvLayer {
            name: node.name.clone(),
            input: [input[1], input[2]],
            kernel: [conv.weight.shape[2], conv.weight.shape[3]],
            stride: conv.stride,
            padding: conv.padding,
            dilation: conv.dilation,
            groups: conv.groups,
            in_channels: input[0],
            out_channels: conv.weight.shape[0],
        };
        Some((layer, conv))
    }

    /// A linear layer as a convolution of 1x1. `None` of another node.
    fn linear_layer(&self, id: NodeId) -> Option<ConvLayer> {
        let node = self.node(id);
        let Op::Linear(linear) = &node.op else {
            return None;
        };
        let (_, places) = self.node(node.inputs[0]).shape().split_last()?;
        let &[inputs, outputs] = linear.weight.shape() else {
            return None;
        };
        Some(as_convolution(
            &node.name,
            [inputs, outputs],
            places.iter().product(),
        ))
    }

    /// Whether none of the channels that a node reads can go: it puts them beside others, takes them apart, orders or reduces
    /// them. `linear`: whether linear layers alone read its result.
    fn keeps_channels(&self, node: &Node, linear: bool) -> bool {
        match &node.op {
            Op::ConvTranspose(conv) => conv.groups > 1,
            // Channels may be rows, columns, what is summed over, or the number of matrices.
            Op::MatMul => true,
            Op::Concat { axis } | Op::Slice { axis, .. } | Op::Softmax { axis, .. } => *axis == 0,
            // A mean over channels is another one when one of them is gone; so is a sum or a maximum.
            Op::Reduce { axes, .. } => axes.contains(&0),
            Op::Permute { axes } => axes[0] != 0,
            Op::Pad { sides, .. } => sides[0] != [0, 0],
            Op::Reshape { shape } => {
                // Channels stay in front, or in one row with all that belongs to each of them, whose weights in a linear layer
                // go with it.
                let before = self.node(node.inputs[0]).shape()[0];
                before != shape[0] && !(shape.len() == 1 && linear)
            }
            _ => false,
        }
    }

    /// The channels of a node's result.
    fn channels(
        &self,
        node: &Node,
        layer: Option<&ConvLayer>,
        inputs: &[Channels],
        widths: &mut Widths,
    ) -> Channels {
        let first = inputs.first().copied().unwrap_or(Channels::Fixed);
        match &node.op {
            Op::Input { .. } => Channels::Fixed,
            Op::Constant(constant) if constant.shape[0] == 1 => Channels::One,
            // What is made for these channels goes with them.
            Op::Constant(_) => widths.fresh(),
            Op::Conv(_) if layer.is_some_and(depthwise) => first,
            Op::Conv(_) | Op::ConvTranspose(_) => widths.fresh(),
            // Along the last dimension: that is the channels of a vector alone.
            Op::Linear(_) if node.shape.len() == 1 => widths.fresh(),
            Op::Binary(_) => {
                let of = |n: usize| match self.node(node.inputs[n]).shape()[0] {
                    1 if node.shape[0] > 1 => Channels::One,
                    _ => inputs[n],
                };
                widths.join(of(0), of(1))
            }
            Op::Concat { .. } => inputs[1..]
                .iter()
                .fold(first, |all, &input| widths.join(all, input)),
            Op::Expand { shape } if self.node(node.inputs[0]).shape()[0] != shape[0] => Channels::Fixed,
            _ => first,
        }
    }
}
