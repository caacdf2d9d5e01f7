//! Computing a graph on a device, operation by operation: the reference for everything that is made of a graph.

use burn::tensor::ops::{
    AvgPoolOptions, ConvOptions, ConvTransposeOptions, InterpolateMode, InterpolateOptions, MaxPoolOptions,
};
use burn::tensor::{Device, Slice, Tensor, activation, module};

use super::ir::{Affine, Binary, Constant, Conv, ConvKernel, ConvTranspose, Function, Op, Reduction};
use super::{Graph, GraphError, Node, NodeId};
use crate::Error;
use crate::module::Values;
use crate::module::any::{self, AnyTensor};
use crate::quant::{Grids, conv2d_of_codes};

/// A graph on a device: its constants are there.
///
/// It computes what the module does that the graph was recorded of. Where the operations are the same, as on the device that the
/// module is on, so are the results, to the bit, but for three forms that are read as what they mean: see
/// [`Graph::of`].
///
/// ```
/// use burn::nn::conv::Conv2dConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
/// use vwc_sdk::graph::Graph;
///
/// # fn main() -> Result<(), vwc_sdk::Error> {
/// let device = Device::default();
/// let conv = Conv2dConfig::new([3, 8], [3, 3]).init(&device);
/// let graph = Graph::of(&conv, [1, 3, 8, 8], |conv, x: Tensor<4>| conv.forward(x))?;
/// let x = Tensor::<4>::random([5, 3, 8, 8], Distribution::Default, &device);
/// let y: Tensor<4> = graph.on(&device).forward(x.clone())?;
/// assert_eq!(y.into_data(), conv.forward(x).into_data());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Executor {
    graph: Graph,
    device: Device,
    /// For each node its constants, in the order in which it uses them.
    constants: Vec<Vec<AnyTensor>>,
    /// For each node, how often its result is read, outputs included.
    reads: Vec<usize>,
}

impl Graph {
    /// The graph with its constants on `device`, to compute with.
    #[must_use]
    pub fn on(&self, device: &Device) -> Executor {
        let constants = self.nodes.iter().map(|node| constants_of(node, device)).collect();
        Executor {
            graph: self.clone(),
            device: device.clone(),
            constants,
            reads: self.reads(),
        }
    }
}

impl Executor {
    /// The graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the network results in for these inputs, with a batch as the first dimension of each.
    ///
    /// # Errors
    ///
    /// [`Error::Network`] where inputs or outputs are not as many as the graph has, or of other shapes.
    pub fn forward<I: Values, O: Values>(&self, input: I) -> Result<O, Error> {
        self.forward_with(input, |_, _, _| Ok(None))
    }

    /// As [`forward`](Self::forward), with `convolve` in front of every convolution: given the node, what it computes and what
    /// it reads, it returns what the convolution results in, its bias added, or `None` to have it computed as it is.
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward), and those of `convolve`.
    pub fn forward_with<I: Values, O: Values>(
        &self,
        input: I,
        mut convolve: impl FnMut(NodeId, &Conv, &Tensor<4>) -> Result<Option<Tensor<4>>, Error>,
    ) -> Result<O, Error> {
        let refuse = |reason: String| Error::Network(GraphError::Graph(reason));
        let mut given = Vec::new();
        input.into_any(&mut given);
        if given.len() != self.graph.inputs.len() {
            return Err(refuse(format!(
                "{} inputs: expected {}, as many as the network has",
                given.len(),
                self.graph.inputs.len()
            )));
        }
        let mut values: Vec<Option<AnyTensor>> = vec![None; self.graph.nodes.len()];
        let mut left = self.reads.clone();
        let mut batch = None;
        for (tensor, &id) in given.into_iter().zip(&self.graph.inputs) {
            let (node, shape) = (self.graph.node(id), tensor.shape());
            if tensor.dtype() != burn::tensor::DType::F32 {
                let reason = format!("an input of {:?}: expected 32-bit floats", tensor.dtype());
                return Err(Error::Network(GraphError::node(node.name(), reason)));
            }
            if shape.first() == Some(&0) {
                let reason = "an empty batch: expected one input at least";
                return Err(Error::Network(GraphError::node(node.name(), reason)));
            }
            let same_batch = shape
                .first()
                .is_some_and(|&first| *batch.get_or_insert(first) == first);
            if shape.get(1..) != Some(node.shape()) || !same_batch {
                return Err(Error::Network(GraphError::node(
                    node.name(),
                    format!(
                        "an input of {shape:?}: expected a batch, the same for all inputs, of {:?}",
                        node.shape()
                    ),
                )));
            }
            values[id.0] = Some(tensor.to_device(&self.device));
        }
        for (id, node) in self.graph.iter() {
            if matches!(node.op, Op::Input { .. }) {
                continue;
            }
            let mut inputs: Vec<AnyTensor> = Vec::with_capacity(node.inputs.len());
            for input in &node.inputs {
                left[input.0] -= 1;
                let value = &mut values[input.0];
                let value = if left[input.0] == 0 {
                    value.take()
                } else {
                    value.clone()
                };
                inputs.push(value.expect("it was computed, and is kept until it was read"));
            }
            let result = match &node.op {
                Op::Conv(conv) => {
                    let x: Tensor<4> = inputs.remove(0).into_tensor();
                    match convolve(id, conv, &x)? {
                        Some(y) => self.checked(node, y, batch.unwrap_or(1))?.into(),
                        None => convolution(conv, conv.kernel, x, &self.constants[id.0], None).into(),
                    }
                }
                op => compute(op, &self.constants[id.0], inputs, batch.unwrap_or(1)),
            };
            values[id.0] = Some(result);
        }
        let mut results: Vec<AnyTensor> = Vec::with_capacity(self.graph.outputs.len());
        for output in &self.graph.outputs {
            results.push(values[output.0].take().expect("outputs are kept"));
        }
        let count = results.len();
        let mut results = results.into_iter();
        let found = O::from_any(&mut results).filter(|_| results.len() == 0);
        found.ok_or_else(|| {
            let shapes: Vec<&[usize]> = self.graph.outputs.iter().map(|&output| self.graph.node(output).shape()).collect();
            refuse(format!("{count} outputs of {shapes:?} beside the batch: expected a result of as many tensors and dimensions"))
        })
    }

    fn checked(&self, node: &Node, y: Tensor<4>, batch: usize) -> Result<Tensor<4>, Error> {
        if y.dims()[1..] != *node.shape() || y.dims()[0] != batch {
            let reason = format!(
                "what was computed in its place has the shape {:?}: expected {batch} of {:?}",
                y.dims(),
                node.shape()
            );
            return Err(Error::Network(GraphError::node(node.name(), reason)));
        }
        Ok(y)
    }
}

/// What an operation makes of `inputs`, for a batch of so many, with the constants that it is [computed with](computed_with), in the
/// shapes of layers or [beside] values.
pub(crate) fn compute(
    op: &Op,
    constants: &[AnyTensor],
    mut inputs: Vec<AnyTensor>,
    batch: usize,
) -> AnyTensor {
    if let Op::Constant(_) = op {
        let mut shape = constants[0].shape();
        shape[0] = batch;
        return constants[0].clone().expand(&shape);
    }
    if let Op::Concat { axis } = op {
        return AnyTensor::cat(inputs, axis + 1);
    }
    if let Op::Binary(op) = op {
        let b = inputs.pop().expect("it reads two values");
        let a = inputs.pop().expect("it reads two values");
        return a.zip(b, *op);
    }
    if let Op::MatMul = op {
        let b = inputs.pop().expect("it reads two values");
        let a = inputs.pop().expect("it reads two values");
        return a.zip(b, Product);
    }
    let x = inputs.pop().expect("it reads a value");
    match op {
        Op::Conv(conv) => convolution(conv, conv.kernel, x.into_tensor(), constants, None).into(),
        Op::ConvTranspose(conv) => conv_transpose(conv, x.into_tensor(), constants).into(),
        Op::Linear(_) => linear_layer(x, constants),
        Op::Affine(affine) => affine_parts(affine, x, constants),
        Op::Function(function) => x.map(*function),
        Op::MaxPool(pool) => {
            let options = MaxPoolOptions::new(pool.kernel)
                .with_stride(pool.stride)
                .with_padding(pool.padding)
                .with_dilation(pool.dilation)
                .with_ceil_mode(pool.ceil);
            module::max_pool2d(x.into_tensor(), options).into()
        }
        Op::AvgPool { pool, count_padding } => {
            let options = AvgPoolOptions::new(pool.kernel)
                .with_stride(pool.stride)
                .with_padding(pool.padding)
                .with_count_include_pad(*count_padding)
                .with_ceil_mode(pool.ceil);
            module::avg_pool2d(x.into_tensor(), options).into()
        }
        Op::AdaptiveAvgPool { output } => module::adaptive_avg_pool2d(x.into_tensor(), *output).into(),
        Op::Reduce { kind, axes } => axes.iter().fold(x, |x, axis| reduce(*kind, x, axis + 1)),
        &Op::Slice {
            axis,
            start,
            end,
            step,
        } => {
            let slice = Slice::new(start as isize, Some(end as isize), step as isize);
            x.slice(axis + 1, slice)
        }
        Op::Reshape { shape } => x.reshape(&[&[batch], &shape[..]].concat()),
        Op::Permute { axes } => {
            let axes: Vec<usize> = std::iter::once(0)
                .chain(axes.iter().map(|axis| axis + 1))
                .collect();
            x.permute(&axes)
        }
        Op::Expand { shape } => x.expand(&[&[batch], &shape[..]].concat()),
        Op::Pad { sides, value } => {
            let sides: Vec<(usize, usize)> = std::iter::once((0, 0))
                .chain(sides.iter().map(|&[a, b]| (a, b)))
                .collect();
            x.pad(&sides, *value)
        }
        Op::Upsample { factor } => {
            let x: Tensor<4> = x.into_tensor();
            let [_, _, height, width] = x.dims();
            let options = InterpolateOptions::new(InterpolateMode::Nearest)
                .with_output_size([height * factor[0], width * factor[1]]);
            module::interpolate(x, options).into()
        }
        &Op::Softmax { axis, log } => softmax(x, axis + 1, log),
        Op::Input { .. } | Op::Constant(_) | Op::Binary(_) | Op::MatMul | Op::Concat { .. } => {
            unreachable!("computed before")
        }
    }
}

/// The constants of a node on a device, with the dimension of the batch where they are computed with beside values.
fn constants_of(node: &Node, device: &Device) -> Vec<AnyTensor> {
    let tensors = |shape: &dyn Fn(&Constant) -> Vec<usize>| {
        let constants = computed_with(&node.op);
        let tensor =
            |constant: &Constant| AnyTensor::from_data(constant.values.to_vec(), shape(constant), device);
        constants.map(tensor).collect()
    };
    match node.weight() {
        Some(_) => tensors(&|constant| constant.shape.clone()),
        None => tensors(&|constant| beside(&constant.shape, node.shape.len())),
    }
}

/// The constants of an operation that [`compute`] is given: those of an affine node that are one number are in the operation.
pub(crate) fn computed_with(op: &Op) -> impl Iterator<Item = &Constant> {
    let affine = matches!(op, Op::Affine(_));
    op.constants()
        .filter(move |constant| !affine || constant.as_scalar().is_none())
}

/// The shape of a constant beside values of so many dimensions and a batch.
pub(crate) fn beside(shape: &[usize], dims: usize) -> Vec<usize> {
    let ones = vec![1; 1 + dims.saturating_sub(shape.len())];
    [&ones, shape].concat()
}

fn bias(constants: &[AnyTensor]) -> Option<Tensor<1>> {
    constants.get(1).map(|bias| bias.clone().into_tensor())
}

/// A convolution by these kernels, where they have it; by Burn's otherwise. `grids`: what its numbers were rounded to, where that is known.
pub(crate) fn convolution(
    conv: &Conv,
    kernel: ConvKernel,
    x: Tensor<4>,
    constants: &[AnyTensor],
    grids: Option<Grids>,
) -> Tensor<4> {
    let weight: Tensor<4> = constants[0].clone().into_tensor();
    let padding = conv.padding;
    let sides = [(padding.top, padding.bottom), (padding.left, padding.right)];
    let options = ConvOptions::new_with_padding(conv.stride, sides, conv.dilation, conv.groups);
    let grids = match kernel {
        #[cfg(feature = "flex")]
        ConvKernel::Codes {
            weight_levels,
            input_levels,
        } => Some(Grids::of_unit_interval(input_levels, weight_levels)),
        _ => grids,
    };
    match kernel {
        ConvKernel::Burn => module::conv2d(x, weight, bias(constants), options),
        ConvKernel::Crate | ConvKernel::Codes { .. } => {
            conv2d_of_codes(x, weight, bias(constants), &options, grids)
        }
    }
}

fn conv_transpose(conv: &ConvTranspose, x: Tensor<4>, constants: &[AnyTensor]) -> Tensor<4> {
    let options = ConvTransposeOptions::new(
        conv.stride,
        conv.padding,
        conv.output_padding,
        conv.dilation,
        conv.groups,
    );
    module::conv_transpose2d(x, constants[0].clone().into_tensor(), bias(constants), options)
}

fn linear_layer(x: AnyTensor, constants: &[AnyTensor]) -> AnyTensor {
    struct Product<'a>(&'a [AnyTensor]);
    impl any::Function for Product<'_> {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            module::linear(x, self.0[0].clone().into_tensor(), bias(self.0))
        }
    }
    x.map(Product(constants))
}

/// The parts of an affine node, one after the other.
fn affine_parts(affine: &Affine, x: AnyTensor, constants: &[AnyTensor]) -> AnyTensor {
    let mut constants = constants.iter();
    affine.steps().fold(x, |x, (part, op)| match part.as_scalar() {
        Some(number) => x.map(WithNumber(op, number)),
        None => {
            let constant = constants
                .next()
                .expect("one for each part that is not one number");
            x.zip(constant.clone(), op)
        }
    })
}

/// An operation with one number.
struct WithNumber(Binary, f32);

impl any::Function for WithNumber {
    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.0 {
            Binary::Add => x.add_scalar(self.1),
            Binary::Sub => x.sub_scalar(self.1),
            Binary::Mul => x.mul_scalar(self.1),
            Binary::Div => x.div_scalar(self.1),
            Binary::Max => x.clamp_min(self.1),
            Binary::Min => x.clamp_max(self.1),
        }
    }
}

impl any::Function2 for Binary {
    fn apply<const D: usize>(&self, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Add => x + y,
            Self::Sub => x - y,
            Self::Mul => x * y,
            Self::Div => x / y,
            Self::Max => x.max_pair(y),
            Self::Min => x.min_pair(y),
        }
    }
}

/// The product of two values as matrices.
struct Product;

impl any::Function2 for Product {
    fn apply<const D: usize>(&self, x: Tensor<D>, y: Tensor<D>) -> Tensor<D> {
        x.matmul(y)
    }
}

impl any::Function for Function {
    fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let hard_sigmoid = |x, alpha: f32, beta: f32| activation::hard_sigmoid(x, alpha.into(), beta.into());
        match *self {
            Self::Relu => activation::relu(x),
            Self::LeakyRelu { slope } => activation::leaky_relu(x, slope.into()),
            Self::Clamp { min, max } => match (min.is_finite(), max.is_finite()) {
                (true, true) => x.clamp(min, max),
                (true, false) => x.clamp_min(min),
                (false, true) => x.clamp_max(max),
                (false, false) => x,
            },
            Self::Sigmoid => activation::sigmoid(x),
            Self::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
            Self::HardSwish { alpha, beta } => x.clone() * hard_sigmoid(x, alpha, beta),
            Self::Silu => activation::silu(x),
            Self::Tanh => x.tanh(),
            Self::Gelu => activation::gelu(x),
            Self::Erf => x.erf(),
            Self::Round => x.round(),
            Self::Floor => x.floor(),
            Self::Sign => x.sign(),
            Self::Abs => x.abs(),
            Self::Neg => x.neg(),
            Self::Exp => x.exp(),
            Self::Sqrt => x.sqrt(),
            Self::Recip => x.recip(),
        }
    }
}

fn reduce(kind: Reduction, x: AnyTensor, axis: usize) -> AnyTensor {
    struct Along(Reduction, usize);
    impl any::Function for Along {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            match self.0 {
                Reduction::Mean => x.mean_dim(self.1),
                Reduction::Sum => x.sum_dim(self.1),
                Reduction::Max => x.max_dim(self.1),
            }
        }
    }
    x.map(Along(kind, axis))
}

fn softmax(x: AnyTensor, axis: usize, log: bool) -> AnyTensor {
    struct Softmax(usize, bool);
    impl any::Function for Softmax {
        fn apply<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
            if self.1 {
                activation::log_softmax(x, self.0)
            } else {
                activation::softmax(x, self.0)
            }
        }
    }
    x.map(Softmax(axis, log))
}
