//! From recorded operations to nodes, one by one.

use std::collections::{HashMap, HashSet};

use burn_ir::{
    ActivationOperationIr, BaseOperationIr, FloatOperationIr, InterpolateModeIr, ModuleOperationIr,
    NumericOperationIr, OperationIr, PadModeIr, ScalarIr, TensorId, TensorIr,
};

use super::fold::Constants;
use crate::Error;
use crate::graph::ir::{
    Affine, Binary, Constant, Conv, ConvKernel, ConvTranspose, Function, Linear, NodeSpec, Op, Pool,
    Reduction,
};
use crate::graph::shape::broadcast;
use crate::graph::{Graph, GraphError};
use crate::module::recorded::Ours;
use crate::module::{Trace, operation_name};

/// What is known of a recorded tensor that depends on the input.
#[derive(Clone, Copy)]
enum Value {
    /// What a node computes, by its place.
    Node(usize),
    /// Zeros, whatever the input is.
    Zeros,
}

/// A node that is made.
struct Draft {
    name: String,
    op: Op,
    /// The nodes that it reads, by their places.
    inputs: Vec<usize>,
    /// The shape that was recorded.
    shape: Vec<usize>,
}

pub(super) struct Translator<'a> {
    trace: &'a Trace,
    /// The pictures in the batch that was recorded.
    batch: usize,
    constants: Constants,
    nodes: Vec<Draft>,
    values: HashMap<TensorId, Value>,
    names: HashSet<String>,
    /// How often each tensor is read.
    reads: HashMap<TensorId, usize>,
    /// Of conditions, the tensor that is to be the smaller one, and the larger one.
    orders: HashMap<TensorId, [TensorId; 2]>,
    /// Of rows of all pictures, one behind the other, the shape that they have by pictures: Burn multiplies few rows for each picture so.
    merged: HashMap<TensorId, Vec<usize>>,
    /// Nodes that stay as they are: tensors of several names are what they compute.
    shared: HashSet<usize>,
    /// The path of the last weight that was read.
    near: Option<String>,
}

/// Why an operation cannot be translated.
type Refused = String;

impl<'a> Translator<'a> {
    pub fn new(trace: &'a Trace, batch: usize) -> Result<Self, Error> {
        let mut paths = HashSet::new();
        if let Some(twice) = trace
            .parameters
            .iter()
            .find(|parameter| !paths.insert(&parameter.path))
        {
            return Err(Error::Graph {
                reason: format!(
                    "two of its parameters are at `{}`: expected a module whose parameters have paths of their own",
                    twice.path
                ),
            });
        }
        let mut reads = HashMap::new();
        let operations = trace
            .operations
            .iter()
            .filter(|operation| !matches!(operation, OperationIr::Drop(_)));
        for input in operations.flat_map(OperationIr::inputs) {
            *reads.entry(input.id).or_insert(0) += 1;
        }
        for &output in &trace.outputs {
            *reads.entry(output).or_insert(0) += 1;
        }
        Ok(Self {
            trace,
            batch,
            constants: Constants::new(trace),
            nodes: Vec::new(),
            values: HashMap::new(),
            names: HashSet::new(),
            reads,
            orders: HashMap::new(),
            merged: HashMap::new(),
            shared: HashSet::new(),
            near: None,
        })
    }

    pub fn graph(mut self) -> Result<Graph, Error> {
        let trace = self.trace;
        for (n, &input) in trace.inputs.iter().enumerate() {
            let tensor = self.tensor(input)?;
            let shape = self.shape(&tensor).map_err(|reason| Error::Graph {
                reason: format!("its input {} {reason}", n + 1),
            })?;
            let name = if trace.inputs.len() == 1 {
                "input".into()
            } else {
                format!("input{}", n + 1)
            };
            let op = Op::Input { shape: shape.clone() };
            let node = self.inner(&name, op, &[], shape);
            self.values.insert(input, Value::Node(node));
        }
        for operation in &trace.operations {
            self.operation(operation).map_err(|reason| {
                let near = self
                    .near
                    .as_deref()
                    .map(|near| format!(", behind `{near}`"))
                    .unwrap_or_default();
                let name = operation_name(operation);
                GraphError::Graph(format!("its forward pass has {name}{near}: {reason}"))
            })?;
        }
        let mut outputs = Vec::new();
        for &output in &trace.outputs {
            let tensor = self.tensor(output)?;
            let node = self.node(&tensor).map_err(|reason| Error::Graph {
                reason: format!("its output {} {reason}", outputs.len() + 1),
            })?;
            outputs.push(node);
        }
        let live = self.live(&outputs);
        let name = |node: &usize| self.nodes[*node].name.as_str();
        let specs = live.iter().map(|node| {
            let node = &self.nodes[*node];
            NodeSpec::new(&node.name, node.op.clone(), node.inputs.iter().map(name))
        });
        let graph = Graph::new(specs, outputs.iter().map(name))?;
        // Nodes read those in front of them, so they stay in order.
        for (node, draft) in graph.nodes().iter().zip(live) {
            let recorded = &self.nodes[draft].shape;
            if recorded != node.shape() {
                return Err(Error::Network(GraphError::node(
                    node.name(),
                    format!(
                        "it results in {:?}, where {recorded:?} was recorded",
                        node.shape()
                    ),
                )));
            }
        }
        Ok(graph)
    }

    /// The nodes that an output depends on, and all inputs.
    fn live(&self, outputs: &[usize]) -> Vec<usize> {
        let mut wanted = vec![false; self.nodes.len()];
        outputs.iter().for_each(|&output| wanted[output] = true);
        for (n, node) in self.nodes.iter().enumerate().rev() {
            if wanted[n] {
                node.inputs.iter().for_each(|&input| wanted[input] = true);
            }
        }
        let is_live = |n: &usize| wanted[*n] || matches!(self.nodes[*n].op, Op::Input { .. });
        (0..self.nodes.len()).filter(is_live).collect()
    }

    /// A tensor as its first use has it.
    fn tensor(&self, id: TensorId) -> Result<TensorIr, Error> {
        let all = self
            .trace
            .operations
            .iter()
            .flat_map(|operation| operation.inputs().chain(operation.outputs()));
        all.into_iter()
            .find(|tensor| tensor.id == id)
            .cloned()
            .ok_or_else(|| Error::Graph {
                reason: "an input of it is not used: expected one that its result depends on".into(),
            })
    }

    /// The shape of a tensor without the batch.
    fn shape(&self, tensor: &TensorIr) -> Result<Vec<usize>, Refused> {
        match tensor.shape.to_vec().split_first() {
            Some((&batch, shape)) if batch == self.batch => Ok(shape.to_vec()),
            _ => Err(format!(
                "has the shape {:?} with {} pictures: expected the batch as the first dimension, and no picture mixed with \
                 another",
                tensor.shape.to_vec(),
                self.batch
            )),
        }
    }

    fn unique(&mut self, name: &str) -> String {
        let mut unique = name.to_owned();
        let mut n = 1;
        while !self.names.insert(unique.clone()) {
            n += 1;
            unique = format!("{name}.{n}");
        }
        unique
    }

    /// Adds a node that computes the tensor `out`.
    fn push(
        &mut self,
        name: &str,
        op: impl Into<Op>,
        inputs: &[usize],
        out: &TensorIr,
    ) -> Result<(), Refused> {
        let shape = self.shape(out)?;
        let node = self.inner(name, op, inputs, shape);
        self.values.insert(out.id, Value::Node(node));
        Ok(())
    }

    /// Adds a node whose result was not recorded.
    fn inner(&mut self, name: &str, op: impl Into<Op>, inputs: &[usize], shape: Vec<usize>) -> usize {
        let name = self.unique(name);
        self.nodes.push(Draft {
            name,
            op: op.into(),
            inputs: inputs.to_vec(),
            shape,
        });
        self.nodes.len() - 1
    }

    /// The node that computes a tensor. One is added for constants.
    fn node(&mut self, tensor: &TensorIr) -> Result<usize, Refused> {
        let by_pictures = self.merged.get(&tensor.id);
        if by_pictures.is_some_and(|shape| *shape != tensor.shape.to_vec()) {
            return Err(self.shape(tensor).err().unwrap_or_else(mixes));
        }
        match self.values.get(&tensor.id) {
            Some(&Value::Node(node)) => return Ok(node),
            Some(Value::Zeros) => {
                let shape = self.shape(tensor)?;
                let count = shape.iter().product();
                let zeros = Constant::new(shape.clone(), vec![0.0; count]);
                return Ok(self.inner("zeros", zeros, &[], shape));
            }
            None => {}
        }
        if !self.constants.is(tensor) {
            return Err("it reads something that was not recorded".into());
        }
        let dims = tensor.shape.num_dims().saturating_sub(1).max(1);
        let constant = self.constant(tensor, Some(dims))?;
        let name = constant.name().unwrap_or("constant").to_owned();
        let shape = constant.shape.clone();
        Ok(self.inner(&name, constant, &[], shape))
    }

    /// The node that defines a value, where nothing else reads it.
    fn alone(&self, tensor: &TensorIr) -> Option<usize> {
        match self.values.get(&tensor.id)? {
            &Value::Node(node) if self.reads.get(&tensor.id) == Some(&1) && !self.shared.contains(&node) => {
                Some(node)
            }
            _ => None,
        }
    }

    fn op(&self, node: usize) -> &Op {
        &self.nodes[node].op
    }

    /// Whether a node's result was rounded, and scaled, moved or cut since.
    fn rounds(&self, node: usize) -> bool {
        match self.op(node) {
            Op::Function(Function::Round | Function::Floor | Function::Sign) => true,
            Op::Affine(_) | Op::Function(Function::Clamp { .. }) => self.rounds(self.nodes[node].inputs[0]),
            _ => false,
        }
    }

    fn weight(&mut self, tensor: &TensorIr) -> Result<Constant, Refused> {
        if !self.constants.is(tensor) {
            return Err(
                "its weights depend on the input: expected weights that are computed of parameters alone"
                    .into(),
            );
        }
        self.numbers(tensor)
    }

    fn optional(&mut self, tensor: Option<&TensorIr>) -> Result<Option<Constant>, Refused> {
        tensor.map(|tensor| self.weight(tensor)).transpose()
    }

    /// The numbers of a constant, in its own shape.
    fn numbers(&mut self, tensor: &TensorIr) -> Result<Constant, Refused> {
        let data = self.constants.read(tensor)?;
        if !data.dtype().is_float() || data.dtype().size() != 4 {
            return Err(format!(
                "it computes with {:?}: expected 32-bit floats",
                data.dtype()
            ));
        }
        let shape = data.shape().to_vec();
        let values = data.try_into_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        let constant = Constant::new(shape, values);
        Ok(match self.trace.parameter(tensor.id) {
            Some(n) => constant.named(&self.trace.parameters[n].path),
            None => constant,
        })
    }

    /// A constant beside values that have a batch: the same for every picture. `dims`, without the batch, where it may have fewer.
    fn constant(&mut self, tensor: &TensorIr, dims: Option<usize>) -> Result<Constant, Refused> {
        let mut constant = self.numbers(tensor)?;
        if constant.values.len() == 1 {
            return Ok(Constant {
                shape: vec![1; dims.unwrap_or(1)],
                ..constant
            });
        }
        let Some((&batch, shape)) = constant.shape.split_first() else {
            return Err("it computes with a number of no dimension".into());
        };
        let shape = shape.to_vec();
        let picture = constant.values.len() / batch;
        if !constant
            .values
            .chunks(picture)
            .all(|other| other == &constant.values[..picture])
            || ![1, self.batch].contains(&batch)
        {
            return Err(format!(
                "it computes with other numbers for each picture, {:?}: expected the same for all",
                constant.shape
            ));
        }
        if batch > 1 {
            constant.values = constant.values[..picture].into();
        }
        constant.shape = shape;
        Ok(constant)
    }

    /// The path of the layer whose weight a tensor is, or `otherwise`.
    fn layer(&mut self, weight: &TensorIr, otherwise: &str) -> String {
        let Some(n) = self.trace.parameter(weight.id) else {
            return otherwise.to_owned();
        };
        let path = &self.trace.parameters[n].path;
        let layer = path.rsplit_once('.').map_or(path.as_str(), |(layer, _)| layer);
        self.near = Some(layer.to_owned());
        if layer.is_empty() {
            otherwise.to_owned()
        } else {
            layer.to_owned()
        }
    }

    fn operation(&mut self, operation: &OperationIr) -> Result<(), Refused> {
        if matches!(operation, OperationIr::Drop(_) | OperationIr::Init(_)) {
            return Ok(());
        }
        if matches!(
            operation,
            OperationIr::Float(_, FloatOperationIr::Random(_))
                | OperationIr::NumericInt(_, NumericOperationIr::IntRandom(_))
        ) {
            return Err(
                "random numbers: expected the same result for the same input; leave them out in evaluation"
                    .into(),
            );
        }
        if operation.inputs().all(|input| self.constants.is(input)) {
            return self
                .constants
                .compute(operation)
                .map_err(|reason| format!("it cannot be computed: {reason}"));
        }
        if let OperationIr::NumericFloat(_, op) = operation {
            use NumericOperationIr as N;
            // What is done with them decides whether there is a node for it.
            if let Some((smaller, larger, out)) = match op {
                N::Lower(op) | N::LowerEqual(op) => Some((&op.lhs, &op.rhs, &op.out)),
                N::Greater(op) | N::GreaterEqual(op) => Some((&op.rhs, &op.lhs, &op.out)),
                _ => None,
            } {
                self.orders.insert(out.id, [smaller.id, larger.id]);
                return Ok(());
            }
        }
        match operation {
            OperationIr::Module(op) => self.module(op),
            OperationIr::Activation(op) => self.activation(op),
            OperationIr::NumericFloat(..) if operation.outputs().any(|out| !out.dtype.is_float()) => {
                Err(not_floats())
            }
            OperationIr::NumericFloat(_, op) => self.numeric(op),
            OperationIr::Float(_, op) => self.float(op),
            OperationIr::BaseFloat(op) => self.base(op),
            OperationIr::BaseBool(_)
            | OperationIr::Bool(_)
            | OperationIr::BaseInt(_)
            | OperationIr::NumericInt(..)
            | OperationIr::Int(_) => Err(not_floats()),
            _ => Err(unsupported()),
        }
    }

    fn module(&mut self, op: &ModuleOperationIr) -> Result<(), Refused> {
        use ModuleOperationIr as M;
        match op {
            M::Conv2d(op) => {
                let x = self.node(&op.x)?;
                let weight = self.weight(&op.weight)?;
                let [(top, bottom), (left, right)] = op.options.padding;
                let kernel = match self.trace.ours.get(&op.out.id) {
                    None | Some(Ours::Norm) => ConvKernel::Burn,
                    Some(Ours::Conv) => ConvKernel::Crate,
                    Some(&Ours::Codes { weight, input }) => ConvKernel::Codes {
                        weight_levels: weight,
                        input_levels: input,
                    },
                };
                let conv = Conv {
                    weight,
                    bias: self.optional(op.bias.as_ref())?,
                    stride: op.options.stride,
                    padding: [top, bottom, left, right].into(),
                    dilation: op.options.dilation,
                    groups: op.options.groups,
                    kernel,
                };
                let name = self.layer(&op.weight, "conv");
                self.push(&name, conv, &[x], &op.out)
            }
            M::ConvTranspose2d(op) => {
                let x = self.node(&op.x)?;
                let conv = ConvTranspose {
                    weight: self.weight(&op.weight)?,
                    bias: self.optional(op.bias.as_ref())?,
                    stride: op.options.stride,
                    padding: op.options.padding,
                    output_padding: op.options.padding_out,
                    dilation: op.options.dilation,
                    groups: op.options.groups,
                };
                let name = self.layer(&op.weight, "conv_transpose");
                self.push(&name, conv, &[x], &op.out)
            }
            M::Linear(op) => {
                let x = self.node(&op.x)?;
                let linear = Linear {
                    weight: self.weight(&op.weight)?,
                    bias: self.optional(op.bias.as_ref())?,
                };
                let name = self.layer(&op.weight, "linear");
                self.push(&name, linear, &[x], &op.out)
            }
            M::BatchNorm(op) => {
                let x = self.node(&op.x)?;
                let dims = op.x.shape.num_dims() - 1;
                let mut vector = |tensor: &TensorIr| Ok::<_, Refused>(by_channel(self.weight(tensor)?, dims));
                let [gamma, beta] = [vector(&op.gamma)?, vector(&op.beta)?];
                let [mean, variance] = [vector(&op.mean)?, vector(&op.variance)?];
                let ours = self.trace.ours.get(&op.out.id) == Some(&Ours::Norm);
                let affine = norm([gamma, beta, mean, variance], op.epsilon.elem::<f64>(), ours);
                let name = self.layer(&op.gamma, "norm");
                self.push(&name, affine, &[x], &op.out)
            }
            M::MaxPool2d(op) => {
                let x = self.node(&op.x)?;
                let pool = Pool {
                    kernel: op.kernel_size,
                    stride: op.stride,
                    padding: op.padding,
                    dilation: op.dilation,
                    ceil: op.ceil_mode,
                };
                self.push("max_pool", Op::MaxPool(pool), &[x], &op.out)
            }
            M::AvgPool2d(op) => {
                let x = self.node(&op.x)?;
                let pool = Pool {
                    kernel: op.kernel_size,
                    stride: op.stride,
                    padding: op.padding,
                    dilation: [1; 2],
                    ceil: op.ceil_mode,
                };
                let count_padding = op.count_include_pad;
                self.push("avg_pool", Op::AvgPool { pool, count_padding }, &[x], &op.out)
            }
            M::AdaptiveAvgPool2d(op) => {
                let x = self.node(&op.x)?;
                let output = op.output_size;
                self.push("avg_pool", Op::AdaptiveAvgPool { output }, &[x], &op.out)
            }
            M::Interpolate(op) => {
                let x = self.node(&op.x)?;
                let from = [op.x.shape[2], op.x.shape[3]];
                let whole = (0..2).all(|axis| op.output_size[axis] % from[axis] == 0);
                if !matches!(op.options.mode, InterpolateModeIr::Nearest) || !whole {
                    return Err(format!(
                        "it makes {:?} of {from:?} places by {:?}: expected each place repeated a whole number of times",
                        op.output_size, op.options.mode
                    ));
                }
                let factor = [0, 1].map(|axis| op.output_size[axis] / from[axis]);
                self.push("upsample", Op::Upsample { factor }, &[x], &op.out)
            }
            M::Conv1d(_) => Err("a convolution over 1 axis: expected one over 2".into()),
            M::Conv3d(_) | M::ConvTranspose3d(_) => {
                Err("a convolution over 3 axes: expected one over 2".into())
            }
            _ => Err(unsupported()),
        }
    }

    fn activation(&mut self, op: &ActivationOperationIr) -> Result<(), Refused> {
        use ActivationOperationIr as A;
        match op {
            A::Relu(op) => self.function("relu", Function::Relu, &op.input, &op.out),
            A::LeakyRelu(op) => {
                let slope = number(op.rhs);
                self.function("leaky_relu", Function::LeakyRelu { slope }, &op.lhs, &op.out)
            }
            A::Sigmoid(op) => self.function("sigmoid", Function::Sigmoid, &op.input, &op.out),
            A::Gelu(op) => self.function("gelu", Function::Gelu, &op.input, &op.out),
            A::HardSigmoid(op) => {
                let (alpha, beta) = (number(op.alpha), number(op.beta));
                self.function(
                    "hard_sigmoid",
                    Function::HardSigmoid { alpha, beta },
                    &op.tensor,
                    &op.out,
                )
            }
            A::PRelu(op) => {
                let x = self.node(&op.lhs)?;
                let slopes = self.weight(&op.rhs)?;
                let name = self.layer(&op.rhs, "prelu");
                if let Some(slope) = slopes.as_scalar() {
                    return self.push(&name, Function::LeakyRelu { slope }, &[x], &op.out);
                }
                // What is above zero, and what is below, times its channel's slope.
                let shape = self.shape(&op.out)?;
                let slopes = by_channel(slopes, shape.len());
                let below = Function::Clamp {
                    min: f32::NEG_INFINITY,
                    max: 0.0,
                };
                let above = self.inner("above", Function::Relu, &[x], shape.clone());
                let below = self.inner("below", below, &[x], shape.clone());
                let factor = Some(slopes);
                let scaled = Affine {
                    factor,
                    ..Affine::default()
                };
                let scaled = self.inner("slopes", scaled, &[below], shape);
                self.push(&name, Binary::Add, &[above, scaled], &op.out)
            }
            A::Softmax(op) => self.softmax(&op.input, op.axis, false, &op.out),
            A::LogSoftmax(op) => self.softmax(&op.input, op.axis, true, &op.out),
            _ => Err(unsupported()),
        }
    }

    fn softmax(&mut self, x: &TensorIr, axis: usize, log: bool, out: &TensorIr) -> Result<(), Refused> {
        let x = self.node(x)?;
        let axis = inner_axis(axis)?;
        self.push("softmax", Op::Softmax { axis, log }, &[x], out)
    }

    fn function(
        &mut self,
        name: &str,
        function: Function,
        x: &TensorIr,
        out: &TensorIr,
    ) -> Result<(), Refused> {
        let x = self.node(x)?;
        self.push(name, function, &[x], out)
    }

    fn numeric(&mut self, op: &NumericOperationIr) -> Result<(), Refused> {
        use NumericOperationIr as N;
        match op {
            N::Add(op) => match self.by_pictures(&op.lhs, &op.out) {
                Some([lhs, out]) if self.constants.is(&op.rhs) => self.add(&lhs, &op.rhs, &out),
                _ => self.add(&op.lhs, &op.rhs, &op.out),
            },
            N::Sub(op) => self.sub(&op.lhs, &op.rhs, &op.out),
            N::Mul(op) => self.mul(&op.lhs, &op.rhs, &op.out),
            N::Div(op) => match self.beside(&op.lhs, &op.rhs)? {
                Some(divisor) => self.part(Part::Divisor, divisor, &op.lhs, &op.out),
                None => self.binary("divide", Binary::Div, &op.lhs, &op.rhs, &op.out),
            },
            N::AddScalar(op) => self.scalar(Part::Plus, op.rhs, &op.lhs, &op.out),
            N::SubScalar(op) => self.scalar(Part::Minus, op.rhs, &op.lhs, &op.out),
            N::MulScalar(op) => self.scalar(Part::Factor, op.rhs, &op.lhs, &op.out),
            N::DivScalar(op) => self.scalar(Part::Divisor, op.rhs, &op.lhs, &op.out),
            N::Abs(op) => self.function("magnitude", Function::Abs, &op.input, &op.out),
            N::Neg(op) => self.function("negative", Function::Neg, &op.input, &op.out),
            N::Sign(op) => self.function("sign", Function::Sign, &op.input, &op.out),
            N::Clamp(op) => {
                let (min, max) = (number(op.min), number(op.max));
                self.function("clamp", Function::Clamp { min, max }, &op.tensor, &op.out)
            }
            N::ClampMin(op) => {
                let (min, max) = (number(op.rhs), f32::INFINITY);
                self.function("clamp", Function::Clamp { min, max }, &op.lhs, &op.out)
            }
            N::ClampMax(op) => {
                let (min, max) = (f32::NEG_INFINITY, number(op.rhs));
                self.function("clamp", Function::Clamp { min, max }, &op.lhs, &op.out)
            }
            N::MeanDim(op) => self.reduce(Reduction::Mean, &[op.axis], &op.input, &op.out),
            N::SumDim(op) => self.reduce(Reduction::Sum, &[op.axis], &op.input, &op.out),
            N::SumDims(op) => self.reduce(Reduction::Sum, &op.axes, &op.input, &op.out),
            N::MaxDim(op) => self.reduce(Reduction::Max, &[op.axis], &op.input, &op.out),
            N::PowiScalar(op) if number(op.rhs) == 2.0 => {
                self.binary("square", Binary::Mul, &op.lhs, &op.lhs, &op.out)
            }
            N::Pad(op) => {
                let x = self.node(&op.input)?;
                let PadModeIr::Constant(value) = op.mode else {
                    return Err("it repeats or mirrors the rim: expected one number around".into());
                };
                let mut sides: Vec<[usize; 2]> = op
                    .padding
                    .iter()
                    .map(|&(before, behind)| [before, behind])
                    .collect();
                if sides.remove(0) != [0, 0] {
                    return Err(mixes());
                }
                let pad = Op::Pad {
                    sides,
                    value: number(value),
                };
                self.push("pad", pad, &[x], &op.out)
            }
            N::Mean(_) | N::Sum(_) | N::Max(_) | N::Min(_) | N::MaxAbs(_) | N::Prod(_) => Err(mixes()),
            _ => Err(unsupported()),
        }
    }

    fn float(&mut self, op: &FloatOperationIr) -> Result<(), Refused> {
        use FloatOperationIr as F;
        match op {
            F::Round(op) => self.function("round", Function::Round, &op.input, &op.out),
            F::Floor(op) => self.function("floor", Function::Floor, &op.input, &op.out),
            F::Exp(op) => self.function("exp", Function::Exp, &op.input, &op.out),
            F::Sqrt(op) => self.function("sqrt", Function::Sqrt, &op.input, &op.out),
            F::Recip(op) => self.function("recip", Function::Recip, &op.input, &op.out),
            F::Tanh(op) => self.function("tanh", Function::Tanh, &op.input, &op.out),
            F::Erf(op) => self.function("erf", Function::Erf, &op.input, &op.out),
            F::Matmul(op) if !self.constants.is(&op.rhs) => {
                let inputs = [self.node(&op.lhs)?, self.node(&op.rhs)?];
                self.push("matmul", Op::MatMul, &inputs, &op.out)
            }
            F::Matmul(op) => {
                let rows = self.by_pictures(&op.lhs, &op.out);
                let [lhs, out] = rows.as_ref().map_or([&op.lhs, &op.out], |[lhs, out]| [lhs, out]);
                let x = self.node(lhs)?;
                let mut weight = self.weight(&op.rhs)?;
                let dims = weight.shape.len();
                if dims > 2 && weight.shape[..dims - 2].iter().any(|&size| size != 1) {
                    return Err(format!(
                        "a product with matrices of {:?}: expected one matrix",
                        weight.shape
                    ));
                }
                weight.shape = weight.shape[dims.saturating_sub(2)..].to_vec();
                let name = self.layer(&op.rhs, "linear");
                self.push(&name, Linear { weight, bias: None }, &[x], out)
            }
            _ => Err(unsupported()),
        }
    }

    fn base(&mut self, op: &BaseOperationIr) -> Result<(), Refused> {
        use BaseOperationIr as B;
        match op {
            B::Reshape(op) if self.merged.contains_key(&op.input.id) => {
                let rows = self.by_pictures(&op.input, &op.out);
                match rows {
                    Some([input, _]) if input.shape == op.out.shape => {
                        self.merged.remove(&op.out.id);
                        self.same(&input, &op.out)
                    }
                    _ => Err(mixes()),
                }
            }
            B::Reshape(op) if self.merges(&op.input, &op.out) => {
                self.same(&op.input, &op.out)?;
                self.merged.insert(op.out.id, op.input.shape.to_vec());
                Ok(())
            }
            B::Reshape(op) => {
                let shape = self.shape(&op.out)?;
                if shape == self.shape(&op.input)? {
                    return self.same(&op.input, &op.out);
                }
                let x = self.node(&op.input)?;
                self.push("reshape", Op::Reshape { shape }, &[x], &op.out)
            }
            B::SwapDims(op) => {
                let mut axes: Vec<usize> = (0..op.input.shape.num_dims()).collect();
                axes.swap(op.dim1, op.dim2);
                self.permute(&axes, &op.input, &op.out)
            }
            B::Permute(op) => self.permute(&op.axes, &op.input, &op.out),
            B::Expand(op) => {
                if op.input.shape == op.out.shape {
                    return self.same(&op.input, &op.out);
                }
                let x = self.node(&op.input)?;
                let shape = self.shape(&op.out)?;
                self.push("expand", Op::Expand { shape }, &[x], &op.out)
            }
            B::Slice(op) => {
                let x = self.node(&op.tensor)?;
                let sizes = op.tensor.shape.to_vec();
                let mut parts = Vec::new();
                for (axis, range) in op.ranges.iter().enumerate() {
                    let end = range.end.unwrap_or(sizes[axis] as isize);
                    let (Ok(start), Ok(end), true) =
                        (usize::try_from(range.start), usize::try_from(end), range.step > 0)
                    else {
                        return Err("it counts backwards: expected places in rising order".into());
                    };
                    let whole = (start, end, range.step) == (0, sizes[axis], 1);
                    match (axis, whole) {
                        (_, true) => {}
                        (0, false) => return Err(mixes()),
                        (axis, false) => parts.push([axis - 1, start, end, range.step as usize]),
                    }
                }
                self.slices(&parts, x, &op.tensor, &op.out)
            }
            B::Select(op) => self.select(&op.tensor, op.dim, &op.indices, &op.out),
            B::Cat(op) => {
                let axis = inner_axis(op.dim)?;
                let inputs = op
                    .tensors
                    .iter()
                    .map(|tensor| self.node(tensor))
                    .collect::<Result<Vec<_>, _>>()?;
                self.push("concat", Op::Concat { axis }, &inputs, &op.out)
            }
            B::RepeatDim(op) => {
                let x = self.node(&op.tensor)?;
                let axis = inner_axis(op.dim)?;
                let shape = self.shape(&op.out)?;
                if op.tensor.shape[op.dim] == 1 {
                    return self.push("expand", Op::Expand { shape }, &[x], &op.out);
                }
                self.push("concat", Op::Concat { axis }, &vec![x; op.times], &op.out)
            }
            B::MaskWhere(op) => {
                let chosen = [op.tensor.id, op.value.id];
                let choice = match self.orders.get(&op.mask.id) {
                    Some(&[smaller, larger]) if chosen == [smaller, larger] => Binary::Max,
                    Some(&[smaller, larger]) if chosen == [larger, smaller] => Binary::Min,
                    _ => return Err(not_floats()),
                };
                self.binary("choose", choice, &op.tensor, &op.value, &op.out)
            }
            B::MaskFill(_) => Err(not_floats()),
            B::Cast(op) if op.input.dtype == op.out.dtype => self.same(&op.input, &op.out),
            B::Cast(op) => Err(format!(
                "it computes with {:?}: expected 32-bit floats",
                op.out.dtype
            )),
            _ => Err(unsupported()),
        }
    }

    /// Whether a reshape puts rows of all pictures one behind the other.
    fn merges(&self, x: &TensorIr, out: &TensorIr) -> bool {
        let (shape, out) = (x.shape.to_vec(), out.shape.to_vec());
        match (&shape[..], &out[..]) {
            ([batch, rows @ .., last], [all, columns]) if !rows.is_empty() => {
                let count = batch * rows.iter().product::<usize>();
                *batch == self.batch && *all == count && *all != self.batch && columns == last
            }
            _ => false,
        }
    }

    /// Rows of all pictures, and what is made of each row, with the shapes that they have by pictures. None of another tensor.
    fn by_pictures(&mut self, x: &TensorIr, out: &TensorIr) -> Option<[TensorIr; 2]> {
        let shape = self.merged.get(&x.id)?.clone();
        let mut made = shape.clone();
        *made.last_mut()? = *out.shape.to_vec().last()?;
        self.merged.insert(out.id, made.clone());
        let with = |tensor: &TensorIr, shape: Vec<usize>| TensorIr {
            shape: shape.into(),
            ..tensor.clone()
        };
        Some([with(x, shape), with(out, made)])
    }

    /// `out` is the tensor `x` under another name.
    fn same(&mut self, x: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        let value = match self.values.get(&x.id) {
            Some(&value) => value,
            None => Value::Node(self.node(x)?),
        };
        self.values.insert(out.id, value);
        // Who reads the new name reads what the old one named.
        let reads = self.reads.get(&out.id).copied().unwrap_or(0);
        let before = self.reads.get(&x.id).copied().unwrap_or(1);
        self.reads.insert(out.id, reads + before - 1);
        Ok(())
    }

    fn permute(&mut self, axes: &[usize], x: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        if axes.first() != Some(&0) {
            return Err(mixes());
        }
        if axes.is_sorted() {
            return self.same(x, out);
        }
        let x = self.node(x)?;
        let axes = axes[1..].iter().map(|axis| axis - 1).collect();
        self.push("permute", Op::Permute { axes }, &[x], out)
    }

    /// Parts of one dimension after another: the dimension, its first place, that behind the last, and the step.
    fn slices(
        &mut self,
        parts: &[[usize; 4]],
        x: usize,
        from: &TensorIr,
        out: &TensorIr,
    ) -> Result<(), Refused> {
        let Some((&last, parts)) = parts.split_last() else {
            return self.same(from, out);
        };
        let x = parts.iter().fold(x, |x, &part| self.slice(part, x));
        let node = self.slice(last, x);
        self.nodes[node].shape = self.shape(out)?;
        self.values.insert(out.id, Value::Node(node));
        Ok(())
    }

    /// Part of a dimension of what node `x` computes.
    fn slice(&mut self, [axis, start, end, step]: [usize; 4], x: usize) -> usize {
        let mut shape = self.nodes[x].shape.clone();
        shape[axis] = (end - start).div_ceil(step);
        let slice = Op::Slice {
            axis,
            start,
            end,
            step,
        };
        self.inner("slice", slice, &[x], shape)
    }

    /// Places of a dimension in a fixed order, as slices side by side.
    fn select(
        &mut self,
        tensor: &TensorIr,
        dim: usize,
        indices: &TensorIr,
        out: &TensorIr,
    ) -> Result<(), Refused> {
        if !self.constants.is(indices) {
            return Err("it selects places that depend on the input: expected fixed ones".into());
        }
        let x = self.node(tensor)?;
        let axis = inner_axis(dim)?;
        let places: Vec<usize> = self
            .constants
            .read(indices)?
            .iter::<i64>()
            .map(|place| place as usize)
            .collect();
        let mut parts: Vec<[usize; 4]> = Vec::new();
        for &place in &places {
            match parts.last_mut() {
                // The second place of a part decides its step.
                Some([_, start, end, step]) if *end == *start + 1 && place > *start => {
                    *step = place - *start;
                    *end = place + 1;
                }
                Some([_, start, end, step]) if *end > *start + 1 && place == *end - 1 + *step => {
                    *end = place + 1
                }
                _ => parts.push([axis, place, place + 1, 1]),
            }
        }
        if let [part] = parts[..] {
            return self.slices(&[part], x, tensor, out);
        }
        let sides: Vec<usize> = parts.into_iter().map(|part| self.slice(part, x)).collect();
        self.push("concat", Op::Concat { axis }, &sides, out)
    }

    fn reduce(
        &mut self,
        kind: Reduction,
        axes: &[usize],
        x: &TensorIr,
        out: &TensorIr,
    ) -> Result<(), Refused> {
        let axes = axes
            .iter()
            .map(|&axis| inner_axis(axis))
            .collect::<Result<Vec<_>, _>>()?;
        // Means along one dimension after another are one node.
        if let Some(node) = self.alone(x)
            && let Op::Reduce {
                kind: before,
                axes: done,
            } = &mut self.nodes[node].op
            && *before == kind
        {
            done.extend(axes);
            let shape = self.shape(out)?;
            self.nodes[node].shape = shape;
            self.values.insert(out.id, Value::Node(node));
            return Ok(());
        }
        let name = match kind {
            Reduction::Mean => "mean",
            Reduction::Sum => "sum",
            Reduction::Max => "largest",
        };
        let x = self.node(x)?;
        self.push(name, Op::Reduce { kind, axes }, &[x], out)
    }

    /// The constant of two operands, where it is repeated over the value, whose shape `value` stays.
    fn beside(&mut self, value: &TensorIr, other: &TensorIr) -> Result<Option<Constant>, Refused> {
        if !self.constants.is(other) || self.constants.is(value) {
            return Ok(None);
        }
        let shape = self.shape(value)?;
        let mut constant = self.constant(other, Some(shape.len()))?;
        // Beside rows of all pictures it has fewer dimensions.
        let missing = shape.len().saturating_sub(constant.shape.len());
        constant.shape.splice(..0, std::iter::repeat_n(1, missing));
        let fits =
            constant.values.len() == 1 || broadcast(&shape, &constant.shape).is_ok_and(|both| both == shape);
        Ok(fits.then_some(constant))
    }

    fn scalar(&mut self, part: Part, by: ScalarIr, x: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        self.part(part, Constant::scalar(number(by)), x, out)
    }

    /// An operation with a constant. It becomes part of the node in front where that computes nothing after it yet.
    fn part(&mut self, part: Part, constant: Constant, x: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        let node = self.node(x)?;
        // Burn adds the bias of a linear layer in an operation of its own.
        let outputs = self.nodes[node].shape.last().copied();
        if self.alone(x).is_some()
            && part == Part::Plus
            && constant.shape.last().copied() == outputs
            && Some(constant.values.len()) == outputs
            && let Op::Linear(linear) = &mut self.nodes[node].op
            && linear.bias.is_none()
        {
            let shape = vec![constant.values.len()];
            linear.bias = Some(Constant { shape, ..constant });
            self.values.insert(out.id, Value::Node(node));
            return Ok(());
        }
        if self.alone(x).is_some()
            && let Op::Affine(affine) = &mut self.nodes[node].op
            && part.comes_last(affine)
        {
            *part.of(affine) = Some(constant);
            self.values.insert(out.id, Value::Node(node));
            return Ok(());
        }
        let mut affine = Affine::default();
        let name = constant.name().map_or_else(|| "affine".to_owned(), str::to_owned);
        *part.of(&mut affine) = Some(constant);
        self.push(&name, affine, &[node], out)
    }

    fn binary(
        &mut self,
        name: &str,
        op: Binary,
        a: &TensorIr,
        b: &TensorIr,
        out: &TensorIr,
    ) -> Result<(), Refused> {
        let inputs = [self.node(a)?, self.node(b)?];
        self.push(name, op, &inputs, out)
    }

    fn add(&mut self, a: &TensorIr, b: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        for (a, b) in [(a, b), (b, a)] {
            if let Some(Value::Zeros) = self.values.get(&b.id)
                && (a.shape == out.shape)
            {
                return self.same(a, out);
            }
            // `x + (q - x)`, as quantisers are written whose gradient passes straight through, is `q` but for rounding.
            if let (Some(&Value::Node(x)), Some(sub)) = (self.values.get(&a.id), self.alone(b))
                && matches!(self.op(sub), Op::Binary(Binary::Sub))
                && let [node, less] = self.nodes[sub].inputs[..]
                && less == x
                && self.nodes[node].shape == self.shape(out)?
                && self.rounds(node)
            {
                self.shared.insert(node);
                self.values.insert(out.id, Value::Node(node));
                return Ok(());
            }
            if let Some(constant) = self.beside(a, b)? {
                return self.part(Part::Plus, constant, a, out);
            }
        }
        self.binary("add", Binary::Add, a, b, out)
    }

    fn sub(&mut self, a: &TensorIr, b: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        let same = match (self.values.get(&a.id), self.values.get(&b.id)) {
            (Some(Value::Node(a)), Some(Value::Node(b))) => a == b,
            _ => false,
        };
        if same {
            self.values.insert(out.id, Value::Zeros);
            return Ok(());
        }
        if let Some(constant) = self.beside(a, b)? {
            return self.part(Part::Minus, constant, a, out);
        }
        if let Some(constant) = self.beside(b, a)? {
            // `c - x` is `-x + c`, to the bit.
            let x = self.node(b)?;
            let shape = self.shape(b)?;
            let negative = self.inner("negative", Function::Neg, &[x], shape);
            let plus = Some(constant);
            return self.push(
                "affine",
                Affine {
                    plus,
                    ..Affine::default()
                },
                &[negative],
                out,
            );
        }
        // `x - relu(x - c)`, as PACT is written, is the smaller one of `x` and `c` but for rounding.
        if let (Some(&Value::Node(x)), Some(relu)) = (self.values.get(&a.id), self.alone(b))
            && matches!(self.op(relu), Op::Function(Function::Relu))
            && let [less] = self.nodes[relu].inputs[..]
            && self.nodes[less].inputs == [x]
            && let Op::Affine(affine) = self.op(less)
            && let (Some(minus), 1) = (&affine.minus, affine.parts().count())
            && let Some(max) = minus.as_scalar()
        {
            // What a quantiser of whole steps begins with has both its ends.
            let min = match self.op(x) {
                Op::Function(Function::Relu) if max >= 0.0 => 0.0,
                _ => f32::NEG_INFINITY,
            };
            return self.push("clamp", Function::Clamp { min, max }, &[x], out);
        }
        self.binary("subtract", Binary::Sub, a, b, out)
    }

    fn mul(&mut self, a: &TensorIr, b: &TensorIr, out: &TensorIr) -> Result<(), Refused> {
        for (a, b) in [(a, b), (b, a)] {
            if let Some(constant) = self.beside(a, b)? {
                return self.part(Part::Factor, constant, a, out);
            }
            // A value times a gate of itself.
            if let (Some(&Value::Node(x)), Some(gate)) = (self.values.get(&a.id), self.alone(b))
                && self.nodes[gate].inputs == [x]
            {
                match *self.op(gate) {
                    Op::Function(Function::Sigmoid) => return self.push("silu", Function::Silu, &[x], out),
                    Op::Function(Function::HardSigmoid { alpha, beta }) => {
                        return self.push("hard_swish", Function::HardSwish { alpha, beta }, &[x], out);
                    }
                    _ => {}
                }
            }
        }
        self.binary("multiply", Binary::Mul, a, b, out)
    }
}

/// A part of [`Affine`], in the order in which they are computed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Minus,
    Divisor,
    Factor,
    Plus,
}

impl Part {
    fn of(self, affine: &mut Affine) -> &mut Option<Constant> {
        match self {
            Self::Minus => &mut affine.minus,
            Self::Divisor => &mut affine.divisor,
            Self::Factor => &mut affine.factor,
            Self::Plus => &mut affine.plus,
        }
    }

    /// Whether neither it nor anything behind it is there.
    fn comes_last(self, affine: &Affine) -> bool {
        let parts = [&affine.minus, &affine.divisor, &affine.factor, &affine.plus];
        parts[self as usize..].iter().all(|part| part.is_none())
    }
}

/// A vector with a number for each channel of values of so many dimensions.
fn by_channel(mut vector: Constant, dims: usize) -> Constant {
    vector.shape = vec![1; dims];
    vector.shape[0] = vector.values.len();
    vector
}

/// Batch norm in evaluation, of gamma, beta, mean and variance, in the roundings of Burn's operation or of ours.
fn norm([gamma, beta, mean, variance]: [Constant; 4], epsilon: f64, ours: bool) -> Affine {
    let map = |constant: &Constant, values: Vec<f32>| Constant {
        values: values.into(),
        ..constant.clone()
    };
    let variances = variance.values.iter();
    if ours {
        let scales = gamma.values.iter().zip(variances).map(|(gamma, &variance)| {
            let inverse = (f64::from(variance) + epsilon).sqrt().recip() as f32;
            inverse * gamma
        });
        return Affine {
            minus: Some(mean),
            divisor: None,
            factor: Some(map(&gamma, scales.collect())),
            plus: Some(beta),
            epsilon: None,
        };
    }
    let divisor = variances.map(|variance| (variance + epsilon as f32).sqrt());
    Affine {
        minus: Some(mean),
        divisor: Some(map(&variance, divisor.collect())),
        factor: Some(gamma),
        plus: Some(beta),
        epsilon: Some(epsilon as f32),
    }
}

fn number(scalar: ScalarIr) -> f32 {
    scalar.elem::<f32>()
}

/// A dimension without the batch in front.
fn inner_axis(axis: usize) -> Result<usize, Refused> {
    axis.checked_sub(1).ok_or_else(mixes)
}

fn mixes() -> Refused {
    "it mixes the pictures of a batch: expected each to be computed by itself".into()
}

fn not_floats() -> Refused {
    "it computes whole numbers or conditions of the input, as ELU, softplus and Mish do: expected floats alone".into()
}

fn unsupported() -> Refused {
    "a graph has no node for it: expected convolutions, linear layers, norms in evaluation, activations, pools, and operations \
     that move or combine values; compute it outside of `forward`"
        .into()
}
