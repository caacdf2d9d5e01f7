//! Networks drawn out of the node list, as graphs: what the tests of packed inference and of pruning share.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, ConvKernel, ConvTranspose, Function, Graph, Linear, NodeSpec, Op, Pool,
    Reduction,
};
use vwc_sdk::mapping::Padding;

/// What a network is drawn for.
#[derive(Clone, Copy, PartialEq)]
pub enum Numbers {
    /// Values are rounded to codes wherever that is exact.
    Codes,
    /// No value is rounded, no function has a step: a small difference stays small.
    Smooth,
}

/// A node, its shape, and whether it is codes: those of DoReFa-Net by their largest, others as 0.
#[derive(Clone)]
struct Value {
    name: String,
    shape: [usize; 3],
    codes: Option<u32>,
}

struct Draw {
    rng: ChaCha8Rng,
    numbers: Numbers,
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
            epsilon: divides.then_some(1e-5),
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

    /// Codes of 1 to 8 bits, with a sign or without; or what is cut alike and not rounded.
    fn codes(&mut self, x: &Value) -> Value {
        if self.rounded && self.numbers == Numbers::Codes {
            return x.clone();
        }
        let x = if self.below(2) == 0 {
            self.norm(x)
        } else {
            x.clone()
        };
        if self.numbers == Numbers::Smooth {
            let cut = [Function::Relu, Function::Clamp { min: 0.0, max: 1.0 }][self.below(2)];
            return self.push(cut, &[&x], x.shape);
        }
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

    /// The two halves of the channels go different ways, as `chunk` parts them.
    fn halves(&mut self, x: &Value) -> Value {
        let [channels, height, width] = x.shape;
        if !channels.is_multiple_of(2) {
            return self.shuffle(x);
        }
        let half = channels / 2;
        let [past, through] = [0, half].map(|start| {
            let op = Op::Slice {
                axis: 0,
                start,
                end: start + half,
                step: 1,
            };
            let y = self.push(op, &[x], [half, height, width]);
            Value { codes: x.codes, ..y }
        });
        let through = self.conv(&through, half, false);
        let through = self.codes(&through);
        let y = self.push(Op::Concat { axis: 0 }, &[&past, &through], x.shape);
        self.shuffle(&y)
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
            Function::Erf,
            Function::Abs,
            Function::Neg,
            Function::Floor,
            Function::Sign,
        ];
        let steps = if self.numbers == Numbers::Smooth { 2 } else { 0 };
        let function = functions[self.below(functions.len() - steps)];
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

    /// A linear layer over a row of numbers.
    fn linear(&mut self, x: &Value, outputs: usize) -> Value {
        let [inputs, ..] = x.shape;
        let weight: Vec<f32> = (0..inputs * outputs).map(|_| self.between(-0.5, 0.5)).collect();
        let bias: Vec<f32> = (0..outputs).map(|_| self.between(-0.3, 0.3)).collect();
        let linear = Linear {
            weight: Constant::new([inputs, outputs], weight),
            bias: Some(Constant::new([outputs], bias)),
        };
        self.push(linear, &[x], [outputs, 1, 1])
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
        match self.below(14) {
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
            12 => self.halves(&x),
            _ if size < 8 => self.transposed(&x),
            _ => self.conv(&x, outputs, true),
        }
    }
}

/// The graph, and the size of its pictures.
pub fn network(seed: u64, numbers: Numbers) -> (Graph, [usize; 2]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size = [rng.random_range(4..11), rng.random_range(4..11)];
    let mut draw = Draw {
        rng,
        numbers,
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
    let flat = draw.push(Op::Reshape { shape }, &[&x], [inputs, 1, 1]);
    let mut last = flat;
    if draw.below(3) == 0 {
        let hidden = 1 + draw.below(8);
        last = draw.linear(&last, hidden);
        last = draw.push(Function::Relu, &[&last], last.shape);
    }
    last = draw.linear(&last, 4);
    if draw.below(4) == 0 {
        let log = draw.below(2) == 0;
        last = draw.push(Op::Softmax { axis: 0, log }, &[&last], last.shape);
    }
    (Graph::new(draw.nodes, [last.name]).unwrap(), size)
}
