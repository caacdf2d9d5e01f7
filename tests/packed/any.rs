//! Networks drawn out of everything that packed inference computes, beside a plain reference of their convolutions.

use std::collections::HashMap;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use vwc_sdk::graph::{
    Affine, Binary, Codes, Constant, Conv, ConvKernel, ConvTranspose, Function, Graph, Linear, NodeId,
    NodeSpec, Op, Pool, Reduction,
};
use vwc_sdk::mapping::Padding;
use vwc_sdk::packed::{Feature, Model};

use super::*;

/// A node, its shape, and whether it is codes: those of DoReFa-Net by their largest, others as 0.
#[derive(Clone)]
struct Value {
    name: String,
    shape: [usize; 3],
    codes: Option<u32>,
}

struct Draw {
    rng: ChaCha8Rng,
    nodes: Vec<NodeSpec>,
    /// Whether sums were taken in an order that is not promised: nothing is rounded to codes behind them.
    rounded: bool,
}

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        self.rng.random_range(low..high)
    }

    fn push(&mut self, op: impl Into<Op>, inputs: &[&Value], shape: [usize; 3]) -> Value {
        let name = format!("n{}", self.nodes.len());
        let read: Vec<String> = inputs.iter().map(|input| input.name.clone()).collect();
        self.nodes.push(NodeSpec::new(name.clone(), op, read));
        Value {
            name,
            shape,
            codes: None,
        }
    }

    fn norm(&mut self, x: &Value) -> Value {
        let channels = x.shape[0];
        let divides = self.below(2) == 0;
        let mut vector = |low: f32, high: f32| {
            let values: Vec<f32> = (0..channels).map(|_| self.rng.random_range(low..high)).collect();
            Some(Constant::new([channels, 1, 1], values))
        };
        let norm = Affine {
            minus: vector(-0.3, 0.3),
            divisor: if divides { vector(0.3, 2.0) } else { None },
            factor: vector(-2.0, 2.0),
            plus: vector(-0.2, 0.8),
        };
        self.push(norm, &[x], x.shape)
    }

    fn number(&mut self, x: &Value, op: Binary, number: f32) -> Value {
        let number = Some(Constant::scalar(number));
        let affine = match op {
            Binary::Div => Affine {
                divisor: number,
                ..Affine::default()
            },
            _ => Affine {
                factor: number,
                ..Affine::default()
            },
        };
        self.push(affine, &[x], x.shape)
    }

    /// Codes of 1 to 8 bits, with a sign or without.
    fn codes(&mut self, x: &Value) -> Value {
        if self.rounded {
            return x.clone();
        }
        let x = if self.below(2) == 0 {
            self.norm(x)
        } else {
            x.clone()
        };
        let bits = 1 + self.below(8);
        if self.below(3) == 0 {
            let half = (1 << bits) as f32 / 2.0;
            let unit = self.between(0.02, 0.3);
            let x = self.number(&x, Binary::Div, unit);
            let clamp = Function::Clamp {
                min: -half,
                max: (half - 1.0).max(1.0),
            };
            let x = self.push(clamp, &[&x], x.shape);
            let x = self.push(Function::Round, &[&x], x.shape);
            let x = self.number(&x, Binary::Mul, unit);
            return Value { codes: Some(0), ..x };
        }
        let levels = (1u32 << bits) - 1;
        let mut x = self.push(Function::Clamp { min: 0.0, max: 1.0 }, &[&x], x.shape);
        if levels > 1 {
            x = self.number(&x, Binary::Mul, levels as f32);
        }
        x = self.push(Function::Round, &[&x], x.shape);
        if levels > 1 {
            x = self.number(&x, Binary::Div, levels as f32);
        }
        Value {
            codes: Some(levels),
            ..x
        }
    }

    /// Weights of `outputs` filters: DoReFa-Net's, multiples of one unit or of one for each filter, or floats.
    fn weights(&mut self, outputs: usize, filter: usize, codes: Option<u32>) -> (Vec<f32>, ConvKernel) {
        let kind = if codes.is_some() { self.below(4) } else { 3 };
        let bits = 1 + self.below(8);
        let levels = (1u32 << bits) - 1;
        let count = outputs * filter;
        match (kind, codes) {
            (0, Some(input_levels)) if input_levels > 0 => {
                let scale = self.between(0.05, 0.4);
                let mut codes: Vec<u32> = (0..count).map(|_| self.rng.random_range(0..=levels)).collect();
                codes[0] = levels;
                let value = |code: u32| match levels {
                    1 => (code as f32 * 2.0 - 1.0) * scale,
                    _ => (code as f32 / levels as f32 * 2.0 - 1.0) * scale,
                };
                let kernel = ConvKernel::Codes {
                    weight_levels: levels,
                    input_levels,
                };
                (codes.into_iter().map(value).collect(), kernel)
            }
            (0..=2, _) => {
                let half = 1 << (bits - 1);
                let mut units: Vec<f32> = vec![self.between(0.002, 0.1)];
                if kind == 2 {
                    units.extend((1..outputs).map(|_| self.rng.random_range(0.002f32..0.1)));
                }
                let value = |n: usize, code: i32| code as f32 * units[n / filter % units.len()];
                let values = (0..count).map(|n| value(n, self.rng.random_range(-half..half.max(2))));
                (values.collect(), ConvKernel::Burn)
            }
            _ => {
                let kernel = if self.below(2) == 0 {
                    ConvKernel::Crate
                } else {
                    ConvKernel::Burn
                };
                ((0..count).map(|_| self.between(-0.5, 0.5)).collect(), kernel)
            }
        }
    }

    fn bias(&mut self, outputs: usize) -> Option<Constant> {
        let bias = (0..outputs)
            .map(|_| self.between(-0.2, 0.2))
            .collect::<Vec<f32>>();
        (self.below(3) == 0).then(|| Constant::new([outputs], bias))
    }

    /// A convolution. Without `free` it keeps the size of the maps.
    fn conv(&mut self, x: &Value, outputs: usize, free: bool) -> Value {
        let [inputs, height, width] = x.shape;
        let groups = match self.below(4) {
            0 if outputs.is_multiple_of(inputs) => inputs,
            1 if inputs.is_multiple_of(2) && outputs.is_multiple_of(2) => 2,
            _ => 1,
        };
        let (mut kernel, mut stride, mut dilation) = ([1 + 2 * self.below(2); 2], [1; 2], [1; 2]);
        let mut padding = Padding::from(kernel[0] / 2);
        if free {
            kernel = [1 + self.below(3), 1 + self.below(3)];
            stride = [1 + self.below(2), 1 + self.below(2)];
            dilation = if self.below(3) == 0 {
                [1 + self.below(2), 2]
            } else {
                [1; 2]
            };
            let mut side = || self.rng.random_range(0..3);
            padding = Padding {
                top: side(),
                bottom: side(),
                left: side(),
                right: side(),
            };
            if self.below(2) == 0 {
                padding = Padding::from(self.below(2));
            }
        }
        let extent = [0, 1].map(|d| dilation[d] * (kernel[d] - 1) + 1);
        let padded = [
            height + padding.top + padding.bottom,
            width + padding.left + padding.right,
        ];
        if padded[0] < extent[0] || padded[1] < extent[1] {
            return self.conv(x, outputs, false);
        }
        let filter = inputs / groups * kernel[0] * kernel[1];
        let (weight, kind) = self.weights(outputs, filter, x.codes);
        let conv = Conv {
            bias: self.bias(outputs),
            stride,
            padding,
            dilation,
            groups,
            kernel: kind,
            ..Conv::new(Constant::new(
                [outputs, inputs / groups, kernel[0], kernel[1]],
                weight,
            ))
        };
        let size = [0, 1].map(|d| (padded[d] - extent[d]) / stride[d] + 1);
        self.push(conv, &[x], [outputs, size[0], size[1]])
    }

    fn pool(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape;
        let mean = self.below(2) == 0;
        let kernel = [1 + self.below(3.min(height)), 1 + self.below(3.min(width))];
        let dilation = if mean || self.below(3) > 0 { [1; 2] } else { [2, 1] };
        let extent = [0, 1].map(|d| dilation[d] * (kernel[d] - 1) + 1);
        let padding = extent.map(|extent| self.below(extent / 2 + 1));
        let pool = Pool {
            kernel,
            stride: [1 + self.below(2), 1 + self.below(2)],
            padding,
            dilation,
            ceil: self.below(2) == 0,
        };
        let fits = (0..2).all(|d| [height, width][d] + 2 * padding[d] >= extent[d]);
        if !fits {
            return x.clone();
        }
        let op = if mean {
            Op::AvgPool {
                pool,
                count_padding: self.below(2) == 0,
            }
        } else {
            Op::MaxPool(pool)
        };
        let spec = [
            NodeSpec::input("x", [channels, height, width]),
            NodeSpec::new("pool", op.clone(), ["x"]),
        ];
        let shape = Graph::new(spec, ["pool"]).unwrap().output(0).shape().to_vec();
        let y = self.push(op, &[x], [channels, shape[1], shape[2]]);
        Value {
            codes: x.codes.filter(|_| !mean),
            ..y
        }
    }

    fn slice(&mut self, x: &Value) -> Value {
        let axis = self.below(3);
        let size = x.shape[axis];
        let start = self.below(size);
        let step = 1 + self.below(2);
        let mut shape = x.shape;
        shape[axis] = (size - start).div_ceil(step);
        let op = Op::Slice {
            axis,
            start,
            end: size,
            step,
        };
        let y = self.push(op, &[x], shape);
        Value { codes: x.codes, ..y }
    }

    fn shuffle(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape;
        let groups = (2..=channels)
            .find(|groups| channels.is_multiple_of(*groups))
            .unwrap_or(1);
        let inner = channels / groups;
        let shape = vec![groups, inner, height, width];
        let y = self.push(Op::Reshape { shape }, &[x], x.shape);
        let y = self.push(
            Op::Permute {
                axes: vec![1, 0, 2, 3],
            },
            &[&y],
            x.shape,
        );
        let y = self.push(
            Op::Reshape {
                shape: x.shape.to_vec(),
            },
            &[&y],
            x.shape,
        );
        Value { codes: x.codes, ..y }
    }

    /// Squeeze and excite: a gate for each channel.
    fn gates(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape;
        // Longer rows may be summed up in parts.
        self.rounded |= height > 7 || width > 7;
        let kind = [Reduction::Mean, Reduction::Sum, Reduction::Max][self.below(3)];
        let axes = if self.below(2) == 0 {
            vec![2, 1]
        } else {
            vec![1, 2]
        };
        let mean = self.push(Op::Reduce { kind, axes }, &[x], [channels, 1, 1]);
        let inner = 1 + self.below(4);
        let hidden = self.conv(&mean, inner, false);
        let hidden = self.push(Function::Relu, &[&hidden], hidden.shape);
        let gate = self.conv(&hidden, channels, false);
        let sharp = Function::HardSigmoid {
            alpha: 0.2,
            beta: 0.5,
        };
        let function = [Function::Sigmoid, sharp][self.below(2)];
        let gate = self.push(function, &[&gate], gate.shape);
        self.push(Binary::Mul, &[x, &gate], x.shape)
    }

    fn function(&mut self, x: &Value) -> Value {
        let functions = [
            Function::Relu,
            Function::LeakyRelu { slope: 0.1 },
            Function::Clamp { min: 0.0, max: 6.0 },
            Function::Clamp {
                min: f32::NEG_INFINITY,
                max: 0.7,
            },
            Function::Sigmoid,
            Function::HardSwish {
                alpha: 1.0 / 6.0,
                beta: 0.5,
            },
            Function::Silu,
            Function::Tanh,
            Function::Gelu,
            Function::Floor,
            Function::Sign,
            Function::Abs,
            Function::Neg,
        ];
        let function = functions[self.below(functions.len())];
        self.push(function, &[x], x.shape)
    }

    fn transposed(&mut self, x: &Value) -> Value {
        self.rounded = true;
        let [inputs, height, width] = x.shape;
        let groups = if inputs.is_multiple_of(2) && self.below(2) == 0 {
            2
        } else {
            1
        };
        let outputs = 1 + self.below(3);
        let (kernel, stride) = (1 + self.below(3), 1 + self.below(2));
        let count = inputs * outputs * kernel * kernel;
        let weight: Vec<f32> = (0..count).map(|_| self.between(-0.5, 0.5)).collect();
        let conv = ConvTranspose {
            weight: Constant::new([inputs, outputs, kernel, kernel], weight),
            bias: self.bias(outputs * groups),
            stride: [stride; 2],
            padding: [self.below(kernel.div_ceil(2)); 2],
            output_padding: [self.below(stride); 2],
            dilation: [1; 2],
            groups,
        };
        let size = |size: usize| (size - 1) * stride + kernel + conv.output_padding[0] - 2 * conv.padding[0];
        let (height, width) = (size(height), size(width));
        if height == 0 || width == 0 {
            return x.clone();
        }
        self.push(Op::ConvTranspose(conv), &[x], [outputs * groups, height, width])
    }

    fn pad(&mut self, x: &Value) -> Value {
        let mut side = || [self.rng.random_range(0..2), self.rng.random_range(0..2)];
        let sides = vec![[0, 0], side(), side()];
        let mut shape = x.shape;
        for (size, [a, b]) in shape.iter_mut().zip(&sides) {
            *size += a + b;
        }
        let y = self.push(Op::Pad { sides, value: 0.0 }, &[x], shape);
        Value { codes: x.codes, ..y }
    }

    /// One more thing that networks have.
    fn block(&mut self, x: Value) -> Value {
        let outputs = 1 + self.below(10);
        let size = x.shape[1].max(x.shape[2]);
        match self.below(13) {
            0..=2 => {
                let y = self.conv(&x, outputs, true);
                self.codes(&y)
            }
            3 => self.pool(&x),
            4 => {
                let [a, b] = [0, 1].map(|_| {
                    let y = self.conv(&x, outputs, false);
                    if self.below(2) == 0 { self.codes(&y) } else { y }
                });
                let y = self.push(
                    Op::Concat { axis: 0 },
                    &[&a, &x, &b],
                    [2 * outputs + x.shape[0], x.shape[1], x.shape[2]],
                );
                self.codes(&y)
            }
            5 => self.slice(&x),
            6 => self.shuffle(&x),
            7 => {
                let y = self.gates(&x);
                self.codes(&y)
            }
            8 => {
                let y = self.conv(&x, x.shape[0], false);
                let y = if self.below(2) == 0 { self.codes(&y) } else { y };
                let op = [Binary::Add, Binary::Sub, Binary::Max][self.below(3)];
                let y = self.push(op, &[&y, &x], x.shape);
                if self.below(2) == 0 { self.codes(&y) } else { y }
            }
            9 if size < 8 => {
                let factor = [1 + self.below(2), 2];
                let [channels, height, width] = x.shape;
                let y = self.push(
                    Op::Upsample { factor },
                    &[&x],
                    [channels, height * factor[0], width * factor[1]],
                );
                Value { codes: x.codes, ..y }
            }
            9 => {
                let output = [1 + self.below(x.shape[1]), 1 + self.below(x.shape[2])];
                let y = self.push(
                    Op::AdaptiveAvgPool { output },
                    &[&x],
                    [x.shape[0], output[0], output[1]],
                );
                self.codes(&y)
            }
            10 => self.pad(&x),
            11 => {
                let y = self.function(&x);
                self.codes(&y)
            }
            _ if size < 8 => self.transposed(&x),
            _ => self.conv(&x, outputs, true),
        }
    }
}

/// The graph, and the size of its pictures.
pub fn network(seed: u64) -> (Graph, [usize; 2]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size = [rng.random_range(4..11), rng.random_range(4..11)];
    let mut draw = Draw {
        rng,
        nodes: vec![NodeSpec::input("picture", [3, size[0], size[1]])],
        rounded: false,
    };
    let mut x = Value {
        name: "picture".into(),
        shape: [3, size[0], size[1]],
        codes: None,
    };
    if draw.below(4) > 0 {
        let outputs = 1 + draw.below(12);
        x = draw.conv(&x, outputs, true);
        x = draw.codes(&x);
    }
    for _ in 0..2 + draw.below(5) {
        x = draw.block(x);
    }
    if draw.below(2) == 0 {
        let axes = vec![2, 1];
        let kind = Reduction::Mean;
        x = draw.push(Op::Reduce { kind, axes }, &[&x], [x.shape[0], 1, 1]);
    }
    let inputs: usize = x.shape.iter().product();
    let shape = vec![inputs];
    let flat = draw.push(Op::Reshape { shape }, &[&x], x.shape);
    let weight: Vec<f32> = (0..inputs * 4).map(|_| draw.between(-0.5, 0.5)).collect();
    let linear = Linear {
        weight: Constant::new([inputs, 4], weight),
        bias: Some(Constant::new([4], [0.1, -0.2, 0.3, 0.0])),
    };
    let mut last = draw.push(linear, &[&flat], [4, 1, 1]);
    if draw.below(4) == 0 {
        let log = draw.below(2) == 0;
        last = draw.push(Op::Softmax { axis: 0, log }, &[&last], [4, 1, 1]);
    }
    (Graph::new(draw.nodes, [last.name]).unwrap(), size)
}

/// Codes that packed inference multiplies as integers.
fn integers(codes: &Codes) -> bool {
    codes.bits() <= 8 && codes.low() >= -255 && codes.unit() > 0.0 && codes.through_zero()
}

/// A convolution as the documentation describes it: of codes the integer sum, times the unit, plus the bias; of floats from the bias on,
/// kernel row by row, each product and sum rounded once.
pub fn convolved(conv: &Conv, codes: Option<&Codes>, x: &Tensor<4>) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let numbers = x.to_data().try_into_vec::<f32>().unwrap();
    let &[outputs, inputs, down, across] = conv.weight.shape() else {
        unreachable!()
    };
    let weights = conv.weight_codes().zip(codes.filter(|codes| integers(codes)));
    let padding = conv.padding;
    let size = [
        (height + padding.top + padding.bottom - conv.dilation[0] * (down - 1) - 1) / conv.stride[0] + 1,
        (width + padding.left + padding.right - conv.dilation[1] * (across - 1) - 1) / conv.stride[1] + 1,
    ];
    let mut out = Vec::new();
    for output in 0..outputs {
        let group = output / (outputs / conv.groups);
        let bias = conv.bias.as_ref().map(|bias| bias.values()[output]);
        for y in 0..size[0] {
            for column in 0..size[1] {
                let (mut float, mut integer) = (bias.unwrap_or(0.0), 0i64);
                for row in 0..down {
                    for tap in 0..across {
                        for input in 0..inputs {
                            let from_y =
                                (y * conv.stride[0] + row * conv.dilation[0]).checked_sub(padding.top);
                            let from_x =
                                (column * conv.stride[1] + tap * conv.dilation[1]).checked_sub(padding.left);
                            let (Some(from_y), Some(from_x)) = (from_y, from_x) else {
                                continue;
                            };
                            if from_y >= height || from_x >= width {
                                continue;
                            }
                            assert!(group * inputs + input < channels);
                            let x = numbers[((group * inputs + input) * height + from_y) * width + from_x];
                            let at = ((output * inputs + input) * down + row) * across + tap;
                            float = x.mul_add(conv.weight.values()[at], float);
                            if let Some((weights, codes)) = &weights {
                                let code = (f64::from(x) / codes.unit()).round() as i64;
                                integer += code * i64::from(weights.codes()[at]);
                            }
                        }
                    }
                }
                out.push(match &weights {
                    None => float,
                    Some((weights, codes)) => {
                        let unit = weights.units()[output % weights.units().len()];
                        let unit = match conv.kernel {
                            ConvKernel::Codes { input_levels, .. } => unit / input_levels as f32,
                            _ => (f64::from(unit) * codes.unit()) as f32,
                        };
                        integer as f32 * unit + bias.unwrap_or(0.0)
                    }
                });
            }
        }
    }
    Tensor::from_data(TensorData::new(out, [1, outputs, size[0], size[1]]), &x.device())
}

/// What a step computed, channel by channel.
fn numbers(feature: &Feature<'_>) -> Vec<f32> {
    let [height, width] = feature.size;
    let places =
        (0..feature.channels).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
    places.map(|(c, y, x)| feature.get([y, x], c)).collect()
}

/// The packed network beside the graph: the codes that convolutions read, and the output.
pub fn compare_graph(graph: &Graph, size: [usize; 2], classes: usize, seed: u64) -> usize {
    let device = Device::flex();
    let input = PictureSpec::numbered(size, classes);
    let model = Model::of(graph, "drawn", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let bytes = model.to_bytes();
    let again = Model::from_bytes(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    assert!(!model.to_safetensors().is_empty());
    let executor = graph.on(&device);
    let codes = graph.codes();
    let mut compared = 0;
    for pixels in pictures(2, size, seed) {
        let images = batch(&pixels, size, input.normalization, &device);
        let mut read: Vec<(NodeId, Vec<f32>)> = Vec::new();
        let logits: Tensor<2> = executor
            .forward_with(images, |id, conv, x| {
                let from = graph.node(id).inputs()[0];
                read.push((from, x.to_data().try_into_vec::<f32>().unwrap()));
                Ok(Some(convolved(conv, codes[from.index()].as_ref(), x)))
            })
            .unwrap();
        let logits = logits.into_data().try_into_vec::<f32>().unwrap();
        for machine in Machine::available() {
            let mut session = Session::new(&again).with_machine(machine);
            let mut seen: HashMap<String, (bool, Vec<f32>)> = HashMap::new();
            let found = session
                .observe(&pixels, &mut |feature| {
                    seen.insert(
                        feature.layer.into(),
                        (feature.bits().is_some(), numbers(&feature)),
                    );
                })
                .to_vec();
            for (id, floats) in &read {
                let name = graph.node(*id).name();
                let Some(codes) = codes[id.index()].as_ref().filter(|codes| integers(codes)) else {
                    continue;
                };
                // Codes are those of a step of their own, or of the fused layer that they end.
                let made = ["integers", "codes"].map(|what| seen.get(&format!("{name}.{what}")));
                let mut layer = *id;
                let fused = loop {
                    if let Some(step) = seen.get(graph.node(layer).name()) {
                        break Some(step);
                    }
                    let node = graph.node(layer);
                    if !matches!(node.op(), Op::Affine(_) | Op::Function(_) | Op::MaxPool(_)) {
                        break None;
                    }
                    layer = node.inputs()[0];
                };
                let [integers, planes] = made;
                let Some((true, found)) = integers.or(planes).or(fused) else {
                    continue;
                };
                let expected: Vec<f32> = floats
                    .iter()
                    .map(|x| (f64::from(*x) / codes.unit()).round() as f32)
                    .collect();
                if found.len() == expected.len() {
                    assert_eq!(*found, expected, "{machine}: {name}\n{graph}");
                    compared += 1;
                }
            }
            let largest = logits.iter().fold(1f32, |most, x| most.max(x.abs()));
            assert_eq!(found.len(), logits.len());
            for (found, expected) in found.iter().zip(&logits) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * largest,
                    "{machine}: {found}, expected {expected}\n{graph}"
                );
            }
        }
    }
    compared
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Packed, and read back from a file, a network of any operations reads the codes in every convolution that the graph does, and gives
    /// its output.
    #[test]
    fn any_graph_is_computed(seed: u64) {
        let (graph, size) = network(seed);
        compare_graph(&graph, size, 4, seed % 1000);
    }
}

/// Among the networks are all steps, and codes are compared in most of them.
#[test]
fn every_step_is_drawn() {
    let networks = std::env::var("PACKED_NETWORKS").map_or(100, |count| count.parse().unwrap());
    let mut compared = 0;
    let mut plans = String::new();
    for seed in 0..networks {
        let (graph, size) = network(seed);
        compared += compare_graph(&graph, size, 4, seed);
        let model = Model::of(&graph, "drawn", &PictureSpec::numbered(size, 4)).unwrap();
        plans += &String::from_utf8_lossy(&model.to_bytes());
    }
    assert!(compared > 2 * networks as usize, "{compared}");
    for op in [
        "float",
        "packed",
        "quantize",
        "unpack",
        "mean",
        "picture",
        "conv",
        "conv-transpose",
        "encode",
        "integers",
        "map",
        "pool",
        "adaptive",
        "reduce",
        "softmax",
        "binary",
        "copy",
    ] {
        assert!(plans.contains(&format!("\"op\":\"{op}\"")), "{op}");
    }
}
