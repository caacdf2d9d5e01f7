//! What a packed network consists of: the steps, in the order they are computed in, and the numbers they need. This is
//! what a file holds; [`Model`](super::Model) checks it and lays it out for the machine.

use serde::{Deserialize, Serialize};

use super::tensor::Tensor;
use crate::graph::{Binary, Pool, Reduction};

/// A place in [`Spec::tensors`].
pub(crate) type TensorId = usize;

/// A place among the values: 0 is the picture, `n` what step `n - 1` computes.
pub(crate) type ValueId = usize;

/// A network, its numbers and what is needed to use it.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) plan: Plan,
    pub(crate) tensors: Vec<Tensor>,
}

/// All of a [`Spec`] but its numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) network: String,
    pub(crate) precision: String,
    pub(crate) classes: Vec<String>,
    /// Height and width of the picture.
    pub(crate) input: [usize; 2],
    /// For each channel that the network reads, the place of its colour among red, green and blue.
    #[serde(default = "rgb", skip_serializing_if = "is_rgb")]
    pub(crate) channels: [usize; 3],
    /// Three means, then three standard deviations.
    pub(crate) normalization: TensorId,
    pub(crate) steps: Vec<Step>,
}

/// Red first.
fn rgb() -> [usize; 3] {
    [0, 1, 2]
}

pub(crate) fn is_rgb(channels: &[usize; 3]) -> bool {
    *channels == rgb()
}

/// One step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The path of the layer in the network that was trained.
    pub(crate) name: String,
    pub(crate) input: ValueId,
    #[serde(flatten)]
    pub(crate) op: Op,
}

/// Down and across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
}

/// Mean, scale and shift of every channel: `(x - mean) * scale + shift`.
pub(crate) type AffineIds = [TensorId; 3];

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Op {
    /// A convolution in full precision; a linear layer is one of a single position.
    Float {
        window: Window,
        /// `[outputs, inputs, kernel height, kernel width]`.
        weight: TensorId,
        /// What the sums start from.
        bias: Option<TensorId>,
        affine: Option<AffineIds>,
        /// Whether the largest of each 2x2 square is taken.
        pool: bool,
        then: Then,
    },
    /// A convolution of codes with packed weights.
    Packed {
        window: Window,
        outputs: usize,
        weight_bits: u32,
        weight: TensorId,
        then: PackedThen,
    },
    /// Floats become codes.
    Quantize { affine: Option<AffineIds>, bits: u32 },
    /// Codes become the floats they stand for: `code / (2^bits - 1)`.
    Unpack,
    /// The mean of each channel.
    Mean { affine: Option<AffineIds>, act: Act },

    // The general steps. They compute what the steps before do not, one operation of a network each.
    /// The floats of the picture, for steps that read no frame.
    Picture,
    /// Floats that are the same for every picture.
    Constant {
        size: [usize; 2],
        channels: usize,
        values: TensorId,
    },
    /// A convolution of floats, of any geometry.
    Conv {
        geometry: Geometry,
        /// `[outputs, inputs of a group, kernel height, kernel width]`.
        weight: TensorId,
        /// What the sums start from.
        bias: Option<TensorId>,
    },
    /// A transposed convolution of floats.
    ConvTranspose {
        /// Its padding is what is cut off the result.
        geometry: Geometry,
        /// `[inputs, outputs of a group, kernel height, kernel width]`.
        weight: TensorId,
        bias: Option<TensorId>,
        /// Rows and columns added to the result, below and to the right.
        more: [usize; 2],
    },
    /// Floats that are multiples of a unit become integers.
    Encode {
        /// The unit.
        unit: TensorId,
        low: i32,
        high: i32,
    },
    /// A convolution of integers: `sum * unit + bias`, as floats.
    Integers {
        geometry: Geometry,
        /// Bytes, as the weights of `Conv`. A weight is `low + step * byte`.
        weight: TensorId,
        low: i32,
        step: i32,
        /// What a one of the sum is worth, for all or for each output.
        units: TensorId,
        bias: Option<TensorId>,
    },
    /// Operations on every number, one after the other.
    Map { with: Vec<Each> },
    /// The largest number or the mean of each window.
    Pool {
        window: Pool,
        /// Whether it is the mean, and whether places outside count as zeros.
        mean: Option<CountPadding>,
    },
    /// The means of windows that share a map among so many places.
    Adaptive { output: [usize; 2] },
    /// One number of all along the middle one of three dimensions that the numbers are taken as.
    Reduce {
        kind: Reduction,
        split: [usize; 3],
        size: [usize; 2],
        channels: usize,
    },
    /// The softmax along the middle one of three dimensions that the numbers are taken as.
    Softmax { split: [usize; 3], log: bool },
    /// Two values, number by number.
    Binary {
        with: Binary,
        other: ValueId,
        size: [usize; 2],
        channels: usize,
        /// The dimensions of the result, the last side by side.
        sizes: Vec<usize>,
        /// Where the numbers of both values lie.
        from: [Strides; 2],
    },
    /// Numbers of one or several values at other places.
    Copy {
        size: [usize; 2],
        channels: usize,
        /// What the places hold that no part fills.
        fill: Option<TensorId>,
        parts: Vec<Part>,
    },
}

impl Op {
    /// The values that a step reads beside its input.
    pub(crate) fn others(&self) -> Vec<ValueId> {
        match self {
            Self::Packed {
                then: PackedThen::Floats { added, .. },
                ..
            } => added.iter().copied().collect(),
            Self::Binary { other, .. } => vec![*other],
            Self::Copy { parts, .. } => parts.iter().map(|part| part.input).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether only readers of the general steps know it.
    pub(crate) fn is_general(&self) -> bool {
        !matches!(
            self,
            Self::Float { .. }
                | Self::Packed { .. }
                | Self::Quantize { .. }
                | Self::Unpack
                | Self::Mean { .. }
        )
    }
}

/// How a kernel moves over a map. Pairs are down and across.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Geometry {
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    /// Above, below, left and right.
    pub(crate) padding: [usize; 4],
    pub(crate) dilation: [usize; 2],
    pub(crate) groups: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CountPadding {
    pub(crate) count_padding: bool,
}

/// An operation on every number.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Each {
    /// With one number for all, or one for each channel.
    With { op: Binary, numbers: TensorId },
    /// A function, by [its name](super::general::functions), and the numbers that belong to it.
    Function { name: String, numbers: Option<TensorId> },
}

/// Where the numbers of a value lie: that of the first place, and from one place to the next along each dimension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Strides {
    pub(crate) start: usize,
    pub(crate) steps: Vec<usize>,
}

/// Numbers of one value, and where they go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) input: ValueId,
    pub(crate) sizes: Vec<usize>,
    pub(crate) from: Strides,
    pub(crate) to: Strides,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Then {
    Codes { bits: u32 },
    Floats { act: Act },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PackedThen {
    /// The code is the number of thresholds that the sum reaches.
    Codes {
        bits: u32,
        pool: bool,
        /// `[2^bits - 1, outputs]`.
        thresholds: TensorId,
    },
    /// `act(affine(sum * unit + added))`.
    Floats {
        unit: TensorId,
        added: Option<ValueId>,
        affine: Option<AffineIds>,
        act: Act,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Act {
    Identity,
    Relu,
    Clamp,
}
