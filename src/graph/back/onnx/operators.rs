//! Which operators of ONNX compute what a node of a graph does.

use std::f32::consts::SQRT_2;

use super::quantised::{Form, Held, Rounded, Weights, bytes};
use super::{Attributes, Writer};
use crate::graph::NodeId;
use crate::graph::ir::{
    Affine, Binary, Constant, Conv, ConvTranspose, Function, Linear, Node, Op, Pool, Reduction,
};
use crate::onnx_file::{Attribute, Type};

impl Writer<'_> {
    /// Writes the operators of a node; the last one computes its value.
    pub(super) fn operators(&mut self, id: NodeId) {
        let graph = self.graph;
        let node = graph.node(id);
        let inputs: Vec<String> = node
            .inputs
            .iter()
            .map(|input| self.values[input.0].clone())
            .collect();
        let mut place = Place {
            id,
            node,
            value: self.values[id.0].clone(),
            writer: self,
        };
        if let Some(rounded) = place.writer.quantised.values.remove(&id) {
            return place.rounded(&rounded);
        }
        match &node.op {
            Op::Input { .. } => {}
            Op::Constant(constant) => place.constant_value(constant),
            Op::Conv(conv) => place.conv(conv, inputs),
            Op::ConvTranspose(conv) => place.conv_transpose(conv, inputs),
            Op::Linear(linear) => place.linear(linear, inputs),
            Op::Affine(affine) => place.affine(affine, inputs),
            Op::Function(function) => place.function(*function, inputs),
            Op::MaxPool(pool) => place.max_pool(pool, inputs),
            Op::AvgPool { pool, count_padding } => place.avg_pool(pool, *count_padding, inputs),
            Op::AdaptiveAvgPool { output } => place.adaptive_avg_pool(*output, inputs),
            Op::Reduce { kind, axes } => place.reduce(*kind, axes, inputs),
            Op::Binary(op) => place.last(binary(*op), inputs, &[]),
            Op::MatMul => place.last("MatMul", inputs, &[]),
            Op::Concat { axis } => place.concat(*axis, inputs),
            &Op::Slice {
                axis,
                start,
                end,
                step,
            } => {
                let mut inputs = inputs;
                for (part, number) in [
                    ("starts", start),
                    ("ends", end),
                    ("axes", axis + 1),
                    ("steps", step),
                ] {
                    inputs.push(place.ints(part, &[number as i64]));
                }
                place.last("Slice", inputs, &[]);
            }
            Op::Reshape { shape } => {
                // 0 is the size that is there: the batch.
                let shape = place.ints("shape", &behind(0, shape));
                place.last("Reshape", with(inputs, shape), &[]);
            }
            Op::Permute { axes } => {
                let axes: Vec<usize> = axes.iter().map(|axis| axis + 1).collect();
                place.last(
                    "Transpose",
                    inputs,
                    &[("perm", Attribute::Ints(&behind(0, &axes)))],
                );
            }
            Op::Expand { shape } => {
                // A dimension of 1 leaves the batch as it is.
                let shape = place.ints("shape", &behind(1, shape));
                place.last("Expand", with(inputs, shape), &[]);
            }
            Op::Pad { sides, value } => {
                let [before, behind] =
                    [0, 1].map(|end| sides.iter().map(|side| side[end]).collect::<Vec<_>>());
                let inputs = place.pads(inputs, &before, &behind, *value);
                place.last("Pad", inputs, &[]);
            }
            Op::Upsample { factor } => {
                let scales = [1.0, 1.0, factor[0] as f32, factor[1] as f32];
                let scales = place.floats("scales", &[4], &scales);
                let inputs = [inputs, vec![String::new(), scales]].concat();
                let attributes = [
                    ("mode", Attribute::Text("nearest")),
                    ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
                    ("nearest_mode", Attribute::Text("floor")),
                ];
                place.last("Resize", inputs, &attributes);
            }
            Op::Softmax { axis, log } => {
                let op = if *log { "LogSoftmax" } else { "Softmax" };
                place.last(op, inputs, &[("axis", Attribute::Int(*axis as i64 + 1))]);
            }
        }
    }
}

/// Where operators of a node are written.
struct Place<'a, 'w, 'g> {
    id: NodeId,
    node: &'a Node,
    /// The name of what it computes.
    value: String,
    writer: &'w mut Writer<'g>,
}

impl Place<'_, '_, '_> {
    /// An operator in front of the last. The name of what it computes is returned.
    fn step(&mut self, op: &str, inputs: Vec<String>, attributes: Attributes<'_>) -> String {
        let wanted = format!("{}.{}", self.node.name, op.to_lowercase());
        let name = self.writer.names.new_name(&wanted);
        self.writer.operator(op, &inputs, &name, attributes);
        name
    }

    /// The operator that computes the node's value.
    fn last(&mut self, op: &str, inputs: Vec<String>, attributes: Attributes<'_>) {
        let file = &mut self.writer.file;
        file.node(op, &self.node.name, &inputs, &self.value, attributes);
    }

    fn constant(&mut self, constant: &Constant, part: &str) -> String {
        self.writer.constant(constant, &self.node.name, part)
    }

    fn ints(&mut self, part: &str, numbers: &[i64]) -> String {
        self.writer.ints(&format!("{}.{part}", self.node.name), numbers)
    }

    fn floats(&mut self, part: &str, shape: &[usize], numbers: &[f32]) -> String {
        let name = self.writer.names.new_name(&format!("{}.{part}", self.node.name));
        self.writer.floats(&name, shape, numbers);
        name
    }

    fn number(&mut self, part: &str, number: f32) -> String {
        self.floats(part, &[], &[number])
    }

    /// The shape of what the node reads.
    fn input_shape(&self) -> &[usize] {
        &self.writer.graph.node(self.node.inputs[0]).shape
    }

    fn constant_value(&mut self, constant: &Constant) {
        let shape = [&[1], constant.shape()].concat();
        let value = self.value.clone();
        self.writer.floats(&value, &shape, constant.values());
    }

    /// A value that is rounded to codes and scaled back.
    fn rounded(&mut self, rounded: &Rounded) {
        let from = self.writer.values[rounded.from.index()].clone();
        let scale = self.number("scale", rounded.scale);
        let Held::Integers(of) = rounded.held else {
            let value = self.value.clone();
            let name = self.node.name.clone();
            return self.quant(&name, [from, scale], rounded.held, &value);
        };
        let zero = self.integers("zero", &[], &[rounded.zero], of);
        let read = [scale, zero];
        let codes = self.step("QuantizeLinear", [vec![from], read.to_vec()].concat(), &[]);
        self.last("DequantizeLinear", [vec![codes], read.to_vec()].concat(), &[]);
    }

    /// Floats that are rounded as QONNX has it.
    fn quant(&mut self, name: &str, [from, scale]: [String; 2], held: Held, to: &str) {
        let Held::Quant { bits, signed, narrow } = held else {
            return self
                .writer
                .file
                .node("BipolarQuant", name, &[from, scale], to, &[]);
        };
        let zero = self.number("zero", 0.0);
        let bits = self.number("bits", bits as f32);
        let attributes = [
            ("signed", Attribute::Int(signed.into())),
            ("narrow", Attribute::Int(narrow.into())),
            ("rounding_mode", Attribute::Text("ROUND")),
        ];
        let inputs = [from, scale, zero, bits];
        self.writer.file.node("Quant", name, &inputs, to, &attributes);
    }

    /// Weights that are codes, scaled.
    fn scaled(&mut self, weights: &Weights, weight: &Constant) -> String {
        let shape = weight.shape();
        let Held::Integers(of) = weights.held else {
            let scale = match weights.scales.len() {
                1 => self.number("weight.scale", weights.scales[0]),
                count => {
                    let mut shape = vec![1; shape.len()];
                    shape[weights.filters] = count;
                    self.floats("weight.scale", &shape, &weights.scales)
                }
            };
            let from = self.constant(weight, "weight");
            let to = self
                .writer
                .names
                .new_name(&format!("{}.weight.quant", self.node.name));
            let name = self.writer.operators.new_name(&to);
            self.quant(&name, [from, scale], weights.held, &to);
            return to;
        };
        let codes = self.integers("weight.codes", shape, &weights.codes, of);
        let (shape, attributes): (&[usize], &[(&str, Attribute<'_>)]) = match weights.scales.len() {
            1 => (&[], &[]),
            count => (&[count], &[("axis", Attribute::Int(weights.filters as i64))]),
        };
        let scale = self.floats("weight.scale", shape, &weights.scales);
        self.step("DequantizeLinear", vec![codes, scale], attributes)
    }

    fn integers(&mut self, part: &str, shape: &[usize], codes: &[i16], of: Type) -> String {
        let name = self.writer.names.new_name(&format!("{}.{part}", self.node.name));
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        self.writer.file.tensor(&name, of, &shape, &bytes(codes, of));
        name
    }

    /// The operator of a layer with weights, and what is added to its sums.
    ///
    /// Where weights and what they are multiplied with come from `DequantizeLinear`, ONNX Runtime rounds a bias within the operator to multiples of the
    /// product of both scales. Of few bits these are far apart: the bias is added by an operator of its own.
    fn weighted(
        &mut self,
        op: &str,
        mut inputs: Vec<String>,
        weight: &Constant,
        bias: Option<&Constant>,
        attributes: Attributes<'_>,
    ) {
        let weights = self.writer.quantised.weights.remove(&self.id);
        let is_coarse = weights
            .as_ref()
            .is_some_and(|weights| matches!(weights.held, Held::Integers(_)) && !weights.are_fine);
        inputs.push(match weights {
            Some(weights) => self.scaled(&weights, weight),
            None => self.constant(weight, "weight"),
        });
        let Some(bias) = bias else {
            return self.last(op, inputs, attributes);
        };
        if op == "MatMul" {
            let product = self.step(op, inputs, attributes);
            let bias = self.constant(bias, "bias");
            return self.last("Add", vec![product, bias], &[]);
        }
        if !is_coarse {
            inputs.push(self.constant(bias, "bias"));
            return self.last(op, inputs, attributes);
        }
        // The layer keeps its name.
        let sums = self.writer.names.new_name(&format!("{}.sums", self.node.name));
        let file = &mut self.writer.file;
        file.node(op, &self.node.name, &inputs, &sums, attributes);
        let mut beside = bias.clone();
        if !matches!(self.node.op, Op::Linear(_)) {
            // In front of rows and columns.
            beside.shape.resize(self.node.shape.len(), 1);
        }
        let bias = self.constant(&beside, "bias");
        let name = self.writer.operators.new_name(&format!("{}.add", self.node.name));
        self.writer
            .file
            .node("Add", &name, &[sums, bias], &self.value, &[]);
    }

    fn conv(&mut self, conv: &Conv, inputs: Vec<String>) {
        let padding = conv.padding;
        let pads = [padding.top, padding.left, padding.bottom, padding.right];
        self.weighted(
            "Conv",
            inputs,
            &conv.weight,
            conv.bias.as_ref(),
            &[
                ("kernel_shape", Attribute::Ints(&whole(&conv.weight.shape[2..]))),
                ("strides", Attribute::Ints(&whole(&conv.stride))),
                ("pads", Attribute::Ints(&whole(&pads))),
                ("dilations", Attribute::Ints(&whole(&conv.dilation))),
                ("group", Attribute::Int(conv.groups as i64)),
            ],
        );
    }

    fn conv_transpose(&mut self, conv: &ConvTranspose, inputs: Vec<String>) {
        let pads = [conv.padding, conv.padding].concat();
        self.weighted(
            "ConvTranspose",
            inputs,
            &conv.weight,
            conv.bias.as_ref(),
            &[
                ("kernel_shape", Attribute::Ints(&whole(&conv.weight.shape[2..]))),
                ("strides", Attribute::Ints(&whole(&conv.stride))),
                ("pads", Attribute::Ints(&whole(&pads))),
                ("output_padding", Attribute::Ints(&whole(&conv.output_padding))),
                ("dilations", Attribute::Ints(&whole(&conv.dilation))),
                ("group", Attribute::Int(conv.groups as i64)),
            ],
        );
    }

    /// `Gemm` of rows, which is what other exporters write; `MatMul` of more dimensions.
    fn linear(&mut self, linear: &Linear, inputs: Vec<String>) {
        let has_bias = linear.bias.is_some() && self.node.shape.len() == 1;
        let op = if has_bias { "Gemm" } else { "MatMul" };
        self.weighted(op, inputs, &linear.weight, linear.bias.as_ref(), &[]);
    }

    fn affine(&mut self, affine: &Affine, inputs: Vec<String>) {
        // hls4ml takes a number for each channel from this operator alone, and FINN makes thresholds of it.
        if self.writer.quantised.form == Form::Qonnx
            && is_by_channel(affine, &self.node.shape)
            && let Some(norm) = BatchNorm::of(affine, self.node.shape[0])
        {
            return self.batch_norm(affine, norm, inputs);
        }
        let mut x = inputs;
        let mut steps = affine.steps().peekable();
        while let Some((constant, op)) = steps.next() {
            let part = match op {
                Binary::Sub => "minus",
                Binary::Div => "divisor",
                Binary::Mul => "factor",
                _ => "plus",
            };
            let constant = self.constant(constant, part);
            let inputs = with(x, constant);
            x = if steps.peek().is_some() {
                vec![self.step(binary(op), inputs, &[])]
            } else {
                self.last(binary(op), inputs, &[]);
                Vec::new()
            };
        }
    }

    fn batch_norm(&mut self, affine: &Affine, norm: BatchNorm, mut inputs: Vec<String>) {
        let parts = [&affine.factor, &affine.plus, &affine.minus, &affine.divisor];
        let names = ["factor", "plus", "minus", "variance"];
        for ((numbers, name), part) in norm.numbers.into_iter().zip(names).zip(parts) {
            let mut constant = Constant::new([numbers.len()], numbers);
            if let Some(name) = part.as_ref().and_then(Constant::name) {
                constant = constant.named(name);
            }
            inputs.push(self.constant(&constant, name));
        }
        let epsilon = [("epsilon", Attribute::Float(norm.epsilon))];
        self.last("BatchNormalization", inputs, &epsilon);
    }

    fn function(&mut self, function: Function, inputs: Vec<String>) {
        let x = inputs[0].clone();
        let op = match function {
            Function::Relu => "Relu",
            Function::Sigmoid => "Sigmoid",
            Function::Tanh => "Tanh",
            Function::Erf => "Erf",
            // Half to even.
            Function::Round => "Round",
            Function::Floor => "Floor",
            Function::Sign => "Sign",
            Function::Abs => "Abs",
            Function::Neg => "Neg",
            Function::Exp => "Exp",
            Function::Sqrt => "Sqrt",
            Function::Recip => "Reciprocal",
            Function::LeakyRelu { slope } => {
                return self.last("LeakyRelu", inputs, &[("alpha", Attribute::Float(slope))]);
            }
            Function::Clamp { min, max } => return self.clamp(inputs, min, max),
            Function::HardSigmoid { alpha, beta } => {
                return self.last("HardSigmoid", inputs, &hard(alpha, beta));
            }
            Function::HardSwish { alpha, beta } => {
                let gate = self.step("HardSigmoid", inputs, &hard(alpha, beta));
                return self.last("Mul", vec![x, gate], &[]);
            }
            Function::Silu => {
                let gate = self.step("Sigmoid", inputs, &[]);
                return self.last("Mul", vec![x, gate], &[]);
            }
            // x / 2 * (1 + erf(x / sqrt(2))).
            Function::Gelu => {
                let root = self.number("root", SQRT_2);
                let scaled = self.step("Div", vec![x.clone(), root], &[]);
                let erf = self.step("Erf", vec![scaled], &[]);
                let one = self.number("one", 1.0);
                let twice = self.step("Add", vec![erf, one], &[]);
                let half = self.number("half", 0.5);
                let x = self.step("Mul", vec![x, half], &[]);
                return self.last("Mul", vec![x, twice], &[]);
            }
        };
        self.last(op, inputs, &[]);
    }

    /// An infinite end is left out.
    fn clamp(&mut self, mut inputs: Vec<String>, min: f32, max: f32) {
        if !min.is_finite() && !max.is_finite() {
            return self.last("Identity", inputs, &[]);
        }
        for (end, number) in [("min", min), ("max", max)] {
            inputs.push(if number.is_finite() {
                self.number(end, number)
            } else {
                String::new()
            });
        }
        if inputs.last().is_some_and(String::is_empty) {
            inputs.pop();
        }
        self.last("Clip", inputs, &[]);
    }

    /// The padding is written out up to the end of the last window. Where it is as wide as the kernel, which runtimes refuse,
    /// the places are there as numbers, below all others.
    fn max_pool(&mut self, pool: &Pool, mut inputs: Vec<String>) {
        let mut ends = self.pool_ends(pool);
        let mut starts = pool.padding;
        if (0..2).any(|axis| starts[axis].max(ends[axis]) >= pool.kernel[axis]) {
            let [before, behind] = [starts, ends].map(|[down, across]| [0, down, across]);
            let padded = self.pads(inputs, &before, &behind, f32::NEG_INFINITY);
            inputs = vec![self.step("Pad", padded, &[])];
            (starts, ends) = ([0; 2], [0; 2]);
        }
        self.last(
            "MaxPool",
            inputs,
            &[
                ("kernel_shape", Attribute::Ints(&whole(&pool.kernel))),
                ("strides", Attribute::Ints(&whole(&pool.stride))),
                ("pads", Attribute::Ints(&whole(&[starts, ends].concat()))),
                ("dilations", Attribute::Ints(&whole(&pool.dilation))),
            ],
        );
    }

    /// Zeros that count are not those behind the padding, which a window that is rounded up may reach.
    fn avg_pool(&mut self, pool: &Pool, count_padding: bool, mut inputs: Vec<String>) {
        let mut ends = self.pool_ends(pool);
        let mut starts = pool.padding;
        let mut counted = count_padding;
        if count_padding && (0..2).any(|axis| ends[axis] > starts[axis]) {
            if starts != [0; 2] {
                let sides = [0, starts[0], starts[1]];
                let padded = self.pads(inputs, &sides, &sides, 0.0);
                inputs = vec![self.step("Pad", padded, &[])];
                ends = [0, 1].map(|axis| ends[axis].saturating_sub(starts[axis]));
                starts = [0; 2];
            }
            counted = false;
        }
        self.average(inputs, pool.kernel, pool.stride, [starts, ends], counted);
    }

    fn average(
        &mut self,
        inputs: Vec<String>,
        kernel: [usize; 2],
        stride: [usize; 2],
        pads: [[usize; 2]; 2],
        counted: bool,
    ) {
        self.last(
            "AveragePool",
            inputs,
            &[
                ("kernel_shape", Attribute::Ints(&whole(&kernel))),
                ("strides", Attribute::Ints(&whole(&stride))),
                ("pads", Attribute::Ints(&whole(&pads.concat()))),
                ("count_include_pad", Attribute::Int(counted.into())),
            ],
        );
    }

    /// Places behind the feature map, down and across, with which windows that are rounded down are those of the pool.
    fn pool_ends(&self, pool: &Pool) -> [usize; 2] {
        if !pool.ceil {
            return pool.padding;
        }
        [0, 1].map(|axis| {
            let (size, windows) = (self.input_shape()[axis + 1], self.node.shape[axis + 1]);
            let reach = (windows - 1) * pool.stride[axis] + pool.dilation[axis] * (pool.kernel[axis] - 1) + 1;
            reach.saturating_sub(size + pool.padding[axis])
        })
    }

    /// One window, equal windows side by side, or a matrix of weights for each direction.
    fn adaptive_avg_pool(&mut self, output: [usize; 2], inputs: Vec<String>) {
        let size = [self.input_shape()[1], self.input_shape()[2]];
        if output == [1, 1] {
            return self.last("GlobalAveragePool", inputs, &[]);
        }
        if (0..2).all(|axis| size[axis].is_multiple_of(output[axis])) {
            let kernel = [size[0] / output[0], size[1] / output[1]];
            return self.average(inputs, kernel, kernel, [[0; 2]; 2], false);
        }
        let across = transposed(&means(size[1], output[1]), size[1]);
        let across = self.floats("across", &[size[1], output[1]], &across);
        let rows = self.step("MatMul", with(inputs, across), &[]);
        let down = self.floats("down", &[output[0], size[0]], &means(size[0], output[0]));
        self.last("MatMul", vec![down, rows], &[]);
    }

    /// The axes are a constant in the sum and settings in the others, in this operator set.
    fn reduce(&mut self, kind: Reduction, axes: &[usize], inputs: Vec<String>) {
        let mut axes: Vec<i64> = axes.iter().map(|&axis| axis as i64 + 1).collect();
        axes.sort_unstable();
        axes.dedup();
        let op = match kind {
            Reduction::Mean => "ReduceMean",
            Reduction::Max => "ReduceMax",
            Reduction::Sum => {
                let axes = self.ints("axes", &axes);
                return self.last("ReduceSum", with(inputs, axes), &[]);
            }
        };
        // The operator set that has 4 bits takes them as an input.
        if self.writer.has_4_bits {
            let axes = self.ints("axes", &axes);
            return self.last(op, with(inputs, axes), &[]);
        }
        self.last(op, inputs, &[("axes", Attribute::Ints(&axes))]);
    }

    /// What is the same for every picture is repeated beside what is not.
    fn concat(&mut self, axis: usize, mut inputs: Vec<String>) {
        let fixed = |place: &Self, id: NodeId| place.writer.fixed[id.0];
        if !self.node.inputs.iter().all(|&id| fixed(self, id)) {
            for (&id, input) in self.node.inputs.iter().zip(&mut inputs) {
                if fixed(self, id) {
                    let all = self.writer.names.new_name(&format!("{input}.all"));
                    self.writer.repeat(input, &all, self.node.shape.len());
                    *input = all;
                }
            }
        }
        self.last("Concat", inputs, &[("axis", Attribute::Int(axis as i64 + 1))]);
    }

    /// The inputs of an operator that pads all dimensions but the batch.
    fn pads(&mut self, inputs: Vec<String>, before: &[usize], after: &[usize], value: f32) -> Vec<String> {
        let pads = self.ints("pads", &[behind(0, before), behind(0, after)].concat());
        let value = self.number("value", value);
        [inputs, vec![pads, value]].concat()
    }
}

fn binary(op: Binary) -> &'static str {
    match op {
        Binary::Add => "Add",
        Binary::Sub => "Sub",
        Binary::Mul => "Mul",
        Binary::Div => "Div",
        Binary::Max => "Max",
        Binary::Min => "Min",
    }
}

fn hard(alpha: f32, beta: f32) -> [(&'static str, Attribute<'static>); 2] {
    [
        ("alpha", Attribute::Float(alpha)),
        ("beta", Attribute::Float(beta)),
    ]
}

fn with(mut inputs: Vec<String>, another: String) -> Vec<String> {
    inputs.push(another);
    inputs
}

/// Sizes as ONNX's integers.
fn whole(sizes: &[usize]) -> Vec<i64> {
    sizes.iter().map(|&size| size as i64).collect()
}

/// Sizes behind that of the batch.
fn behind(batch: i64, sizes: &[usize]) -> Vec<i64> {
    let sizes = sizes.iter().map(|&size| size as i64);
    std::iter::once(batch).chain(sizes).collect()
}

/// For each place of the output a row with the weights of all places of the input: the mean of those that it shares.
fn means(inputs: usize, outputs: usize) -> Vec<f32> {
    let mut rows = vec![0.0; inputs * outputs];
    for (n, row) in rows.chunks_exact_mut(inputs).enumerate() {
        let window = n * inputs / outputs..((n + 1) * inputs).div_ceil(outputs);
        let share = 1.0 / window.len() as f32;
        row[window].fill(share);
    }
    rows
}

/// Rows of `width` numbers as columns.
fn transposed(rows: &[f32], width: usize) -> Vec<f32> {
    let columns = (0..width).flat_map(|n| rows.iter().skip(n).step_by(width));
    columns.copied().collect()
}

/// Whether a node of this shape computes with numbers for each channel, and with nothing finer.
fn is_by_channel(affine: &Affine, shape: &[usize]) -> bool {
    let Some(channels) = shape.first() else {
        return false;
    };
    let by_channel = |part: &Constant| {
        part.shape().len() == shape.len() && part.shape()[0] == *channels && part.values().len() == *channels
    };
    let mut parts = affine.parts();
    affine.parts().any(by_channel) && parts.all(|part| part.as_scalar().is_some() || by_channel(part))
}

/// What a `BatchNormalization` computes with.
struct BatchNorm {
    /// Scale, shift, mean and variance of each channel.
    numbers: [Vec<f32>; 4],
    epsilon: f32,
}

impl BatchNorm {
    /// The same as a node that [is by channel](is_by_channel). None where its numbers do not say the same.
    fn of(affine: &Affine, channels: usize) -> Option<Self> {
        let numbers = |part: &Option<Constant>, without: f32| -> Vec<f32> {
            let part = part.as_ref();
            let number = |channel| part.map_or(without, |part| part.of_channel(channel));
            (0..channels).map(number).collect()
        };
        let (scale, divisor) = (numbers(&affine.factor, 1.0), numbers(&affine.divisor, 1.0));
        let (shift, mean) = (numbers(&affine.plus, 0.0), numbers(&affine.minus, 0.0));
        if let Some(epsilon) = affine.epsilon {
            let variance: Vec<f32> = (divisor.iter())
                .map(|&divisor| Affine::variance(divisor, epsilon))
                .collect();
            let is_root = |(&root, &variance): (&f32, &f32)| {
                let found = (f64::from(variance) + f64::from(epsilon)).sqrt();
                (found - f64::from(root)).abs() <= 1e-6 * f64::from(root)
            };
            if divisor.iter().zip(&variance).all(is_root) {
                let numbers = [scale, shift, mean, variance];
                return Some(Self { numbers, epsilon });
            }
        }
        // A divisor that is the root of no variance is part of the scale.
        let whole: Vec<f32> = scale
            .iter()
            .zip(&divisor)
            .map(|(scale, divisor)| scale / divisor)
            .collect();
        let holds = |(whole, &scale): (&f32, &f32)| whole.is_normal() || scale == 0.0;
        whole.iter().zip(&scale).all(holds).then(|| Self {
            numbers: [whole, shift, mean, vec![1.0; channels]],
            epsilon: 0.0,
        })
    }
}
