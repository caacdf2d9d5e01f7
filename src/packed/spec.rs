//! What a packed network consists of: the steps, in the order they are computed in, and the numbers they need. This is
//! what a file holds; [`Model`](super::Model) checks it and lays it out for the machine.

use serde::{Deserialize, Serialize};

use super::tensor::Tensor;

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
