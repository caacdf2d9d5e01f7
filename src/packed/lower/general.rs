//! Nodes that no fused layer computes, each by a step of its own: the operations of the network in its order.

use super::fused::{Layer, by_channel};
use super::places::{Places, layout, order, rows};
use super::{Lowering, Packed, transposed};
use crate::graph::{
    Affine, Binary, Constant, ConvTranspose, Function, Linear, Node, NodeId, Op, Pool, Reduction,
};
use crate::packed::PackedError;
use crate::packed::general::functions::named;
use crate::packed::spec::{CountPadding, Each, Geometry, Part, Strides, Then, ValueId, Window};
use crate::packed::tensor::Tensor;

impl<'a> Lowering<'a> {
    pub(super) fn general(&mut self, id: NodeId, node: &'a Node) -> Result<(), PackedError> {
        let name = node.name();
        let shape = node.shape();
        match node.op() {
            Op::Constant(constant) => {
                let value = self.constant(name, shape, constant);
                self.lies(id, Places::whole(value, shape));
            }
            Op::ConvTranspose(conv) => self.conv_transpose(id, node, conv),
            Op::Affine(affine) if !self.maps(node) => self.affine_of_any_shape(id, node, affine),
            Op::Affine(_) | Op::Function(_) => self.map(id),
            Op::MaxPool(pool) => self.pool(id, node, *pool, None),
            &Op::AvgPool { pool, count_padding } => {
                self.pool(id, node, pool, Some(CountPadding { count_padding }));
            }
            &Op::AdaptiveAvgPool { output } => {
                let x = self.laid_out(node.inputs()[0], name);
                self.push(name, x, Packed::Adaptive { output }, (output, shape[0]));
                self.computed(id);
            }
            Op::Reduce { kind, axes } => self.reduce(id, node, *kind, axes),
            &Op::Softmax { axis, log } => {
                let x = self.laid_out(node.inputs()[0], name);
                let split = split(shape, axis);
                self.push(name, x, Packed::Softmax { split, log }, self.sizes[x]);
                self.computed(id);
            }
            Op::Binary(op) => {
                let [a, b] = [0, 1].map(|n| self.floats(node.inputs()[n], name).expanded(shape));
                self.binary(name, *op, [a, b]);
                self.computed(id);
            }
            Op::Concat { axis } => self.concat(id, node, *axis),
            &Op::Slice {
                axis,
                start,
                end,
                step,
            } => {
                let x = self.floats(node.inputs()[0], name);
                self.lies(id, x.sliced(axis, start, end, step));
            }
            Op::Reshape { .. } => self.reshaped(id, node),
            Op::Permute { axes } => {
                let x = self.floats(node.inputs()[0], name);
                self.lies(id, x.permuted(axes));
            }
            Op::Expand { shape } => {
                let x = self.floats(node.inputs()[0], name);
                self.lies(id, x.expanded(shape));
            }
            Op::Pad { sides, value } => {
                let x = self.floats(node.inputs()[0], name);
                let x = self.unframed(&x);
                let (size, channels, steps) = layout(shape);
                let start = sides
                    .iter()
                    .zip(&steps)
                    .map(|([before, _], step)| before * step)
                    .sum();
                let part = Part {
                    input: x.value,
                    sizes: x.shape,
                    from: x.strides,
                    to: Strides { start, steps },
                };
                self.push_copy(name, (size, channels), Some(*value), vec![part]);
                self.computed(id);
            }
            Op::Upsample { factor } => self.upsample(id, node, *factor),
            Op::MatMul => {
                return Err(self.refuse_node(id, "packed inference does not multiply two values as matrices"));
            }
            Op::Input { .. } | Op::Conv(_) | Op::Linear(_) => unreachable!("computed elsewhere"),
            #[allow(unreachable_patterns)]
            _ => return Err(self.refuse_node(id, "packed inference does not know this operation")),
        }
        Ok(())
    }

    /// A constant as the layout of a shape has it.
    fn constant(&mut self, name: &str, shape: &[usize], constant: &Constant) -> ValueId {
        let (size, channels, steps) = layout(shape);
        let mut values = vec![0.0; constant.values().len()];
        let in_rows = rows(shape);
        for (n, &value) in constant.values().iter().enumerate() {
            let place = |(axis, step): (usize, &usize)| n / in_rows[axis] % shape[axis] * step;
            values[steps.iter().enumerate().map(place).sum::<usize>()] = value;
        }
        let values = self.store(Tensor::F32(values));
        let op = Packed::Constant {
            size,
            channels,
            values,
        };
        self.push(name, 0, op, (size, channels))
    }

    /// A convolution of floats, of any geometry.
    pub(super) fn any_conv(&mut self, layer: &Layer<'a>) {
        let name = layer.node.name();
        let x = self.laid_out(layer.x, name);
        let weight = self.store(Tensor::F32(layer.weight.clone()));
        let bias = self.bias(layer.bias);
        let op = Packed::Conv {
            geometry: layer.geometry,
            weight,
            bias,
        };
        self.push(name, x, op, layer.size());
        self.computed(layer.id);
    }

    fn bias(&mut self, bias: Option<&Constant>) -> Option<usize> {
        bias.map(|bias| self.store(Tensor::F32(bias.values().to_vec())))
    }

    fn conv_transpose(&mut self, id: NodeId, node: &Node, conv: &ConvTranspose) {
        let x = self.laid_out(node.inputs()[0], node.name());
        let weight = self.store(Tensor::F32(conv.weight.values().to_vec()));
        let bias = self.bias(conv.bias.as_ref());
        let [down, across] = conv.padding;
        let op = Packed::ConvTranspose {
            geometry: Geometry {
                kernel: [conv.weight.shape()[2], conv.weight.shape()[3]],
                stride: conv.stride,
                padding: [down, down, across, across],
                dilation: conv.dilation,
                groups: conv.groups,
            },
            weight,
            bias,
            more: conv.output_padding,
        };
        let (size, channels, _) = layout(node.shape());
        self.push(node.name(), x, op, (size, channels));
        self.computed(id);
    }

    /// A linear layer over the last of several dimensions: a convolution of single positions, of rows.
    pub(super) fn linear_rows(
        &mut self,
        id: NodeId,
        node: &'a Node,
        linear: &'a Linear,
    ) -> Result<(), PackedError> {
        let name = node.name();
        let places = self.floats(node.inputs()[0], name);
        let shape = places.shape.clone();
        let [inputs, outputs] = [0, 1].map(|n| linear.weight.shape()[n]);
        let positions = shape.iter().product::<usize>() / inputs;
        let places = self.unframed(&places);
        let part = Part {
            input: places.value,
            sizes: shape.clone(),
            from: places.strides,
            to: Strides {
                start: 0,
                steps: rows(&shape),
            },
        };
        let size = [1, positions];
        let x = self.push_copy(&format!("{name}.rows"), (size, inputs), None, vec![part]);
        let weight = self.store(Tensor::F32(transposed(linear.weight.values(), outputs)));
        let bias = self.bias(linear.bias.as_ref());
        let op = Packed::Float {
            window: Window {
                kernel: [1, 1],
                stride: [1, 1],
                padding: [0, 0],
            },
            weight,
            bias,
            affine: None,
            pool: false,
            then: Then::Floats {
                act: crate::packed::spec::Act::Identity,
            },
        };
        let value = self.push(name, x, op, (size, outputs));
        let places = Places {
            value,
            shape: node.shape().to_vec(),
            strides: Strides {
                start: 0,
                steps: rows(node.shape()),
            },
        };
        self.lies(id, places);
        Ok(())
    }

    /// Whether a node is an operation on every number with at most one number for each channel of the layout.
    fn maps(&self, node: &Node) -> bool {
        match node.op() {
            Op::Function(_) => true,
            Op::Affine(affine) => {
                let channels = [1, 3].contains(&node.shape().len());
                by_channel(node) && (channels || affine.parts().all(|part| part.as_scalar().is_some()))
            }
            _ => false,
        }
    }

    /// Operations on every number from node `id` on, as far as nothing else reads what is between them.
    fn map(&mut self, id: NodeId) {
        let name = self.graph.node(id).name();
        let x = self.laid_out(self.graph.node(id).inputs()[0], name);
        let mut with = Vec::new();
        let mut at = id;
        loop {
            match self.graph.node(at).op() {
                Op::Affine(affine) => {
                    for (part, op) in affine.steps() {
                        let numbers = self.store(Tensor::F32(part.values().to_vec()));
                        with.push(Each::With { op, numbers });
                    }
                }
                Op::Function(function) => with.push(self.function(*function)),
                _ => unreachable!("nodes that map"),
            }
            match self.only_reader(at) {
                Some(next) if self.maps(self.graph.node(next)) => at = next,
                _ => break,
            }
            self.inside.insert(at);
        }
        self.push(name, x, Packed::Map { with }, self.sizes[x]);
        self.computed(at);
    }

    fn function(&mut self, function: Function) -> Each {
        let (name, numbers) = named(function);
        Each::Function {
            name: name.into(),
            numbers: (!numbers.is_empty()).then(|| self.store(Tensor::F32(numbers))),
        }
    }

    /// An operation with constants that are not one number for each channel.
    fn affine_of_any_shape(&mut self, id: NodeId, node: &Node, affine: &Affine) {
        let (name, shape) = (node.name(), node.shape());
        let mut x = self.floats(node.inputs()[0], name);
        for (part, op) in affine.steps() {
            // A part of fewer dimensions holds one number.
            let mut full = vec![1; shape.len() - part.shape().len()];
            full.extend(part.shape());
            let constant = self.constant(&format!("{name}.constant"), &full, part);
            let constant = Places::whole(constant, &full).expanded(shape);
            let value = self.binary(name, op, [x, constant]);
            x = Places::whole(value, shape);
        }
        self.lies(id, x);
    }

    /// Two values of one shape, number by number.
    fn binary(&mut self, name: &str, op: Binary, values: [Places; 2]) -> ValueId {
        let [a, b] = values.map(|places| self.unframed(&places));
        let (size, channels, _) = layout(&a.shape);
        let order = order(&a.shape);
        let from = [&a, &b].map(|places| Strides {
            start: places.strides.start,
            steps: order.iter().map(|&axis| places.strides.steps[axis]).collect(),
        });
        let packed = Packed::Binary {
            with: op,
            other: b.value,
            size,
            channels,
            sizes: order.iter().map(|&axis| a.shape[axis]).collect(),
            from,
        };
        self.push(name, a.value, packed, (size, channels))
    }

    fn pool(&mut self, id: NodeId, node: &Node, window: Pool, mean: Option<CountPadding>) {
        let x = self.laid_out(node.inputs()[0], node.name());
        let (size, channels, _) = layout(node.shape());
        self.push(node.name(), x, Packed::Pool { window, mean }, (size, channels));
        self.computed(id);
    }

    fn reduce(&mut self, id: NodeId, node: &Node, kind: Reduction, axes: &[usize]) {
        let name = node.name();
        let mut x = self.laid_out(node.inputs()[0], name);
        let mut shape = self.graph.node(node.inputs()[0]).shape().to_vec();
        for &axis in axes {
            let split = split(&shape, axis);
            shape[axis] = 1;
            let (size, channels, _) = layout(&shape);
            let op = Packed::Reduce {
                kind,
                split,
                size,
                channels,
            };
            x = self.push(name, x, op, (size, channels));
        }
        self.computed(id);
    }

    fn concat(&mut self, id: NodeId, node: &Node, axis: usize) {
        let (size, channels, steps) = layout(node.shape());
        let mut start = 0;
        let mut parts = Vec::with_capacity(node.inputs().len());
        for &input in node.inputs() {
            let x = self.floats(input, node.name());
            let x = self.unframed(&x);
            let along = x.shape[axis];
            parts.push(Part {
                input: x.value,
                sizes: x.shape,
                from: x.strides,
                to: Strides {
                    start: start * steps[axis],
                    steps: steps.clone(),
                },
            });
            start += along;
        }
        self.push_copy(node.name(), (size, channels), None, parts);
        self.computed(id);
    }

    fn reshaped(&mut self, id: NodeId, node: &Node) {
        let read = node.inputs()[0];
        // Maps in one row are moved where something reads them as such; a linear layer reads the maps.
        let maps = self.graph.node(read).shape().len() == 3;
        if node.shape().len() == 1 && maps {
            let value = super::Value {
                maps: Some(read),
                ..super::Value::default()
            };
            self.values.insert(id, value);
            return;
        }
        let x = self.floats(read, node.name());
        let x = self.reshape(id, x, node.shape());
        self.lies(id, x);
    }

    fn upsample(&mut self, id: NodeId, node: &Node, [down, across]: [usize; 2]) {
        let x = self.floats(node.inputs()[0], node.name());
        let x = self.unframed(&x);
        let (size, channels, steps) = layout(node.shape());
        let ([c, h, w], [to_c, to_h, to_w]) = (
            [x.shape[0], x.shape[1], x.shape[2]],
            [steps[0], steps[1], steps[2]],
        );
        let from = &x.strides.steps;
        let part = Part {
            input: x.value,
            sizes: vec![h, down, w, across, c],
            from: Strides {
                start: x.strides.start,
                steps: vec![from[1], 0, from[2], 0, from[0]],
            },
            to: Strides {
                start: 0,
                steps: vec![down * to_h, to_h, across * to_w, to_w, to_c],
            },
        };
        self.push_copy(node.name(), (size, channels), None, vec![part]);
        self.computed(id);
    }
}

/// The numbers of a shape's layout as three dimensions, of which the middle one is `axis`.
fn split(shape: &[usize], axis: usize) -> [usize; 3] {
    let order = order(shape);
    let at = order.iter().position(|&other| other == axis).unwrap_or(0);
    let product = |axes: &[usize]| axes.iter().map(|&axis| shape[axis]).product();
    [product(&order[..at]), shape[axis], product(&order[at + 1..])]
}
