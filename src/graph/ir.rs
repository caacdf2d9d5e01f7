//! What a graph consists of: nodes, what each computes, and the numbers that they hold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::mapping::Padding;

/// A node's place in [`Graph::nodes`](super::Graph::nodes). What a node computes is named by it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) usize);

impl NodeId {
    /// The place, from 0 up.
    #[must_use]
    pub fn index(self) -> usize {
        self.0
    }
}

/// Numbers that a network holds: weights, or what is computed of weights alone.
///
/// Clones share the numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Constant {
    pub(super) name: Option<Arc<str>>,
    pub(super) shape: Vec<usize>,
    pub(super) values: Arc<[f32]>,
    pub(super) in_file: Option<InFile>,
}

/// How a file holds a parameter: a constant of a graph may have its numbers in another shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InFile {
    /// The sizes of its dimensions there.
    pub shape: Vec<usize>,
    /// Whether it is a matrix with rows and columns exchanged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub turned: bool,
    /// Its name there, where that is another: one constant of the file is several parameters here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl InFile {
    /// The same where the constant is resized: dimensions longer than 1 are those of the constant, in their order.
    #[cfg(feature = "train")]
    fn resize(&mut self, shape: &[usize]) {
        let ordered: Vec<usize> = if self.turned {
            shape.iter().rev().copied().collect()
        } else {
            shape.to_vec()
        };
        if ordered.len() == self.shape.len() {
            self.shape = ordered;
            return;
        }
        let long = self.shape.iter_mut().filter(|size| **size != 1);
        long.zip(ordered.into_iter().filter(|&size| size != 1))
            .for_each(|(size, other)| *size = other);
    }
}

/// A constant in a file. Numbers are written where there are some.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    shape: Vec<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    in_file: Option<InFile>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<f32>,
}

impl From<Written> for Constant {
    fn from(written: Written) -> Self {
        Self {
            name: written.name.map(Into::into),
            shape: written.shape,
            values: written.values.into(),
            in_file: written.in_file,
        }
    }
}

impl From<Constant> for Written {
    fn from(constant: Constant) -> Self {
        Self {
            name: constant.name.as_deref().map(str::to_owned),
            shape: constant.shape,
            in_file: constant.in_file,
            values: constant.values.to_vec(),
        }
    }
}

impl Constant {
    /// Numbers in rows of this shape, the last dimension side by side. [`Graph::new`](super::Graph::new) checks that they are as
    /// many as the shape holds, and finite.
    #[must_use]
    pub fn new(shape: impl Into<Vec<usize>>, values: impl Into<Arc<[f32]>>) -> Self {
        Self {
            name: None,
            shape: shape.into(),
            values: values.into(),
            in_file: None,
        }
    }

    /// A constant of this shape whose numbers are not there, for a [`Sketch`](super::Sketch).
    #[must_use]
    pub fn missing(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(shape, [])
    }

    /// One number for all.
    #[must_use]
    pub fn scalar(value: f32) -> Self {
        Self::new([], [value])
    }

    /// The same numbers, called by the path of the parameter that they are or were computed from.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same numbers, as a parameter that a file holds like this under their name.
    #[must_use]
    pub fn held_as(mut self, in_file: InFile) -> Self {
        self.in_file = Some(in_file);
        self
    }

    /// How the file that the network was read from holds it, where it is a parameter of that file.
    #[must_use]
    pub fn in_file(&self) -> Option<&InFile> {
        self.in_file.as_ref()
    }

    /// The path of the parameter that it is or was computed from, where there is one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The sizes of its dimensions.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its numbers, the last dimension side by side.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Its one number, where it holds one alone.
    #[must_use]
    pub fn as_scalar(&self) -> Option<f32> {
        match *self.values {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Gives a constant without numbers another shape, where one is given.
    #[cfg(feature = "train")]
    pub(crate) fn resize(&mut self, shape: Option<Vec<usize>>) {
        if let Some(shape) = shape {
            if let Some(in_file) = &mut self.in_file {
                in_file.resize(&shape);
            }
            self.shape = shape;
        }
    }

    /// The number of a channel, of one number for each or one for all.
    pub(crate) fn of_channel(&self, channel: usize) -> f32 {
        self.as_scalar().unwrap_or_else(|| self.values[channel])
    }
}

/// A node before it is checked: its name, what it computes, and the names of the nodes whose results it reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSpec {
    pub(super) name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) inputs: Vec<String>,
    pub(super) op: Op,
}

impl NodeSpec {
    /// A node of this name that reads what `inputs` compute, in this order.
    pub fn new<I: Into<String>>(
        name: impl Into<String>,
        op: impl Into<Op>,
        inputs: impl IntoIterator<Item = I>,
    ) -> Self {
        Self {
            name: name.into(),
            op: op.into(),
            inputs: inputs.into_iter().map(Into::into).collect(),
        }
    }

    /// Its name.
    #[cfg(feature = "onnx")]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it computes.
    #[cfg(any(feature = "onnx", feature = "train"))]
    pub(crate) fn op(&self) -> &Op {
        &self.op
    }

    /// The names of the nodes whose results it reads.
    #[cfg(feature = "onnx")]
    pub(crate) fn inputs(&self) -> &[String] {
        &self.inputs
    }

    /// The same node with a change to what it computes.
    #[cfg(feature = "train")]
    pub(crate) fn with_op(mut self, change: impl FnOnce(&mut Op)) -> Self {
        change(&mut self.op);
        self
    }

    /// A network's input of this shape, without the batch: `[channels, height, width]` for pictures.
    pub fn input(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self::new(name, Op::Input { shape: shape.into() }, [""; 0])
    }
}

/// A node of a [`Graph`](super::Graph).
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub(super) name: String,
    pub(super) op: Op,
    pub(super) inputs: Vec<NodeId>,
    pub(super) shape: Vec<usize>,
}

impl Node {
    /// Its name, which no other node of the graph has: of a layer with weights the path of the layer, as `stage1.0.conv1`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it computes.
    #[must_use]
    pub fn op(&self) -> &Op {
        &self.op
    }

    /// The weights that it multiplies by, of a convolution or a linear layer.
    #[must_use]
    pub fn weight(&self) -> Option<&Constant> {
        match &self.op {
            Op::Conv(conv) => Some(&conv.weight),
            Op::ConvTranspose(conv) => Some(&conv.weight),
            Op::Linear(linear) => Some(&linear.weight),
            _ => None,
        }
    }

    /// The nodes whose results it reads.
    #[must_use]
    pub fn inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The shape of its result, without the batch: `[channels, height, width]` for feature maps.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }
}

/// What a node computes of one picture's values. Shapes are without the batch, and dimension 0 is the channels.
///
/// All numbers are 32-bit floats, and every operation rounds its result to one. Several operations in one node are computed
/// one after the other, in the order that is written here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Op {
    /// What the network is given.
    Input {
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Numbers that no input changes, the same for every picture.
    Constant(Constant),
    /// A 2-D convolution.
    Conv(Conv),
    /// A transposed 2-D convolution.
    ConvTranspose(ConvTranspose),
    /// A product with a matrix of weights, over the last dimension.
    Linear(Linear),
    /// An operation with constants on every number.
    Affine(Affine),
    /// A function of every number.
    Function(Function),
    /// The largest number of each window; places outside the feature map do not count.
    MaxPool(Pool),
    /// The mean of each window.
    AvgPool {
        /// The windows.
        pool: Pool,
        /// Whether places outside the feature map count as zeros; otherwise they do not count.
        count_padding: bool,
    },
    /// The means of windows that share a feature map among `output` places as evenly as can be.
    AdaptiveAvgPool {
        /// Height and width of the result.
        output: [usize; 2],
    },
    /// One number of all along these dimensions, which become 1 long.
    Reduce {
        /// Which number.
        kind: Reduction,
        /// The dimensions, in the order in which they are reduced.
        axes: Vec<usize>,
    },
    /// Two values, number by number. Dimensions of size 1 are repeated.
    Binary(Binary),
    /// The matrix product of two values, over the last dimension of the first and the last but one of the second. Both have as many
    /// dimensions. Those in front of the matrices are equal, or of size 1, which is repeated.
    MatMul,
    /// Values side by side along a dimension.
    Concat {
        /// The dimension.
        axis: usize,
    },
    /// Part of a dimension. A split is several of them.
    Slice {
        /// The dimension.
        axis: usize,
        /// The first place.
        start: usize,
        /// The place behind the last.
        end: usize,
        /// From one place to the next.
        step: usize,
    },
    /// The same numbers in rows of another shape.
    Reshape {
        /// The shape.
        shape: Vec<usize>,
    },
    /// Dimensions in another order.
    Permute {
        /// For each dimension of the result, that of the input.
        axes: Vec<usize>,
    },
    /// A value repeated along dimensions of size 1.
    Expand {
        /// The shape of the result.
        shape: Vec<usize>,
    },
    /// More places around a value.
    Pad {
        /// For each dimension, places before and behind.
        sides: Vec<[usize; 2]>,
        /// What they hold.
        #[serde(with = "below")]
        value: f32,
    },
    /// Feature maps whose every place is repeated.
    Upsample {
        /// How often, down and across.
        factor: [usize; 2],
    },
    /// `exp(x) / sum(exp(x))` along a dimension.
    Softmax {
        /// The dimension.
        axis: usize,
        /// Whether the logarithm of it is the result.
        log: bool,
    },
}

impl Op {
    /// The constants that it computes with, to change them.
    pub(crate) fn constants_mut(&mut self) -> impl Iterator<Item = &mut Constant> {
        let all = match self {
            Self::Constant(constant) => [Some(constant), None, None, None],
            Self::Conv(conv) => [Some(&mut conv.weight), conv.bias.as_mut(), None, None],
            Self::ConvTranspose(conv) => [Some(&mut conv.weight), conv.bias.as_mut(), None, None],
            Self::Linear(linear) => [Some(&mut linear.weight), linear.bias.as_mut(), None, None],
            Self::Affine(affine) => [
                affine.minus.as_mut(),
                affine.divisor.as_mut(),
                affine.factor.as_mut(),
                affine.plus.as_mut(),
            ],
            _ => [None, None, None, None],
        };
        all.into_iter().flatten()
    }

    /// The constants that it computes with.
    pub(crate) fn constants(&self) -> impl Iterator<Item = &Constant> {
        let (weighted, affine) = match self {
            Self::Constant(constant) => ([Some(constant), None], None),
            Self::Conv(conv) => ([Some(&conv.weight), conv.bias.as_ref()], None),
            Self::ConvTranspose(conv) => ([Some(&conv.weight), conv.bias.as_ref()], None),
            Self::Linear(linear) => ([Some(&linear.weight), linear.bias.as_ref()], None),
            Self::Affine(affine) => ([None; 2], Some(affine)),
            _ => ([None; 2], None),
        };
        let parts = affine.into_iter().flat_map(Affine::parts);
        weighted.into_iter().flatten().chain(parts)
    }
}

/// A 2-D convolution of `[channels, height, width]`, zero-padded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// `[output channels, input channels of a group, kernel height, kernel width]`.
    pub weight: Constant,
    /// `[output channels]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Constant>,
    /// Down and across.
    pub stride: [usize; 2],
    /// Zeros on the four sides.
    pub padding: Padding,
    /// From one kernel element to the next, down and across.
    pub dilation: [usize; 2],
    /// Groups that the channels are split into.
    pub groups: usize,
    /// Whose kernels compute it in training.
    pub kernel: ConvKernel,
}

impl Conv {
    /// A convolution of stride 1, without bias, padding and groups.
    #[must_use]
    pub fn new(weight: Constant) -> Self {
        Self {
            weight,
            bias: None,
            stride: [1; 2],
            padding: Padding::default(),
            dilation: [1; 2],
            groups: 1,
            kernel: ConvKernel::Burn,
        }
    }
}

/// In which order a convolution sums its products, as the module that the graph was recorded of does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ConvKernel {
    /// As Burn's operation.
    #[default]
    Burn,
    /// As [`quant::conv2d`](crate::quant::conv2d).
    Crate,
    /// As integers where weights and inputs are codes, as [`QuantConv2d`](crate::quant::QuantConv2d) does on `flex`.
    Codes {
        /// The largest code of a weight.
        weight_levels: u32,
        /// The largest code of an input.
        input_levels: u32,
    },
}

/// A transposed 2-D convolution of `[channels, height, width]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConvTranspose {
    /// `[input channels, output channels of a group, kernel height, kernel width]`.
    pub weight: Constant,
    /// `[output channels]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Constant>,
    /// Down and across.
    pub stride: [usize; 2],
    /// Rows and columns cut off the result, on either side.
    pub padding: [usize; 2],
    /// Rows and columns added to the result, below and to the right.
    pub output_padding: [usize; 2],
    /// From one kernel element to the next, down and across.
    pub dilation: [usize; 2],
    /// Groups that the channels are split into.
    pub groups: usize,
}

/// `x * weight + bias`, over the last dimension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linear {
    /// `[inputs, outputs]`.
    pub weight: Constant,
    /// `[outputs]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias: Option<Constant>,
}

/// `((x - minus) / divisor) * factor + plus`, computed in this order; parts that are not there are left out.
///
/// Each part has as many dimensions as `x`, of the same size or of size 1, or holds one number for all. Batch norm in evaluation
/// is such a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// What is taken off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minus: Option<Constant>,
    /// What the difference is divided by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divisor: Option<Constant>,
    /// What the quotient is multiplied by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<Constant>,
    /// What is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plus: Option<Constant>,
    /// The epsilon of a batch norm, where that is known. The four parts are then its running mean, the root of its running variance
    /// plus epsilon, its scale and its shift, with a number for each channel: what a training goes on from. Parts and results are
    /// the same without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epsilon: Option<f32>,
}

impl Affine {
    /// The parts that are there, in the order in which they are computed.
    pub fn parts(&self) -> impl Iterator<Item = &Constant> {
        self.steps().map(|(part, _)| part)
    }

    /// The running variance of a batch norm with this divisor.
    pub(crate) fn variance(divisor: f32, epsilon: f32) -> f32 {
        (f64::from(divisor).powi(2) - f64::from(epsilon)).max(0.0) as f32
    }

    /// The parts that are there with what is done with them, in the order in which that is done.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (&Constant, Binary)> {
        let steps = [
            (&self.minus, Binary::Sub),
            (&self.divisor, Binary::Div),
            (&self.factor, Binary::Mul),
            (&self.plus, Binary::Add),
        ];
        steps
            .into_iter()
            .filter_map(|(part, op)| Some((part.as_ref()?, op)))
    }
}

/// Numbers that may be infinite, which JSON does not have: nothing stands for them.
macro_rules! infinite {
    ($name:ident, $end:expr) => {
        mod $name {
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            pub fn serialize<S: Serializer>(value: &f32, serializer: S) -> Result<S::Ok, S::Error> {
                value.is_finite().then_some(*value).serialize(serializer)
            }

            pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<f32, D::Error> {
                Ok(Option::deserialize(deserializer)?.unwrap_or($end))
            }
        }
    };
}
infinite!(below, f32::NEG_INFINITY);
infinite!(above, f32::INFINITY);

/// A function of every number.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Function {
    /// `max(x, 0)`.
    Relu,
    /// `x` above zero, `slope * x` below.
    LeakyRelu {
        /// The slope below zero.
        slope: f32,
    },
    /// The nearest number from `min` to `max`. ReLU6 is from 0 to 6. Either end may be infinite.
    Clamp {
        /// The least result.
        #[serde(with = "below")]
        min: f32,
        /// The largest result.
        #[serde(with = "above")]
        max: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `clamp(alpha * x + beta, 0, 1)`.
    HardSigmoid {
        /// The slope.
        alpha: f32,
        /// The value at zero.
        beta: f32,
    },
    /// `x * hard-sigmoid(x)`.
    HardSwish {
        /// The slope of the hard sigmoid.
        alpha: f32,
        /// The value of the hard sigmoid at zero.
        beta: f32,
    },
    /// `x * sigmoid(x)`.
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// `x * P(X <= x)`, `X` normally distributed.
    Gelu,
    /// The error function, `2 / sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`.
    Erf,
    /// The nearest whole number, of two the even one.
    Round,
    /// The largest whole number that is not above `x`.
    Floor,
    /// -1, 0 or 1.
    Sign,
    /// The magnitude.
    Abs,
    /// `-x`.
    Neg,
    /// `e^x`.
    Exp,
    /// The square root.
    Sqrt,
    /// `1 / x`.
    Recip,
}

impl Function {
    /// What it makes of a number, of a function that every device rounds alike. `None` of one that is approximated.
    #[inline(always)]
    pub(crate) fn of(self, x: f32) -> Option<f32> {
        Some(match self {
            Self::Relu => x.max(0.0),
            Self::LeakyRelu { .. } if x > 0.0 => x,
            Self::LeakyRelu { slope } => slope * x,
            Self::Clamp { min, max } => x.clamp(min, max),
            Self::Round => x.round_ties_even(),
            Self::Floor => x.floor(),
            Self::Sign if x == 0.0 => 0.0,
            Self::Sign => x.signum(),
            Self::Abs => x.abs(),
            Self::Neg => -x,
            _ => return None,
        })
    }
}

/// Windows of a pool over `[channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Height and width.
    pub kernel: [usize; 2],
    /// Down and across.
    pub stride: [usize; 2],
    /// Places outside the feature map on either side, above and below, left and right.
    pub padding: [usize; 2],
    /// From one place of a window to the next; 1 for means.
    pub dilation: [usize; 2],
    /// Whether windows that end outside the padded feature map count, too.
    pub ceil: bool,
}

impl Pool {
    /// Square windows side by side, without padding.
    #[must_use]
    pub fn square(size: usize) -> Self {
        Self {
            kernel: [size; 2],
            stride: [size; 2],
            padding: [0; 2],
            dilation: [1; 2],
            ceil: false,
        }
    }
}

/// One number of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reduction {
    /// The mean.
    Mean,
    /// The sum.
    Sum,
    /// The largest.
    Max,
}

/// An operation on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a * b`.
    Mul,
    /// `a / b`.
    Div,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
}

impl Binary {
    /// What it makes of two numbers.
    #[inline(always)]
    pub(crate) fn of(self, a: f32, b: f32) -> f32 {
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max => a.max(b),
            Self::Min => a.min(b),
        }
    }
}

macro_rules! into_op {
    ($($kind:ident)*) => {
        $(impl From<$kind> for Op {
            fn from(op: $kind) -> Self {
                Self::$kind(op)
            }
        })*
    };
}
into_op!(Constant Conv ConvTranspose Linear Affine Function Binary);
