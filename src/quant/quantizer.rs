use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::{Bits, quantize_weight};

/// How a layer turns its latent weights into the ones it computes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WeightQuantizer {
    /// The weights are used as they are.
    #[default]
    Identity,
    /// [`quantize_weight`] at the given width. 32 bits scale and squash the weights but do not round them.
    Dorefa(Bits),
}

impl WeightQuantizer {
    /// [`WeightQuantizer::Dorefa`] at `bits` bits.
    pub fn dorefa(bits: Bits) -> Self {
        Self::Dorefa(bits)
    }

    /// The weights to compute with. Any shape, the same in and out.
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Identity => weight,
            Self::Dorefa(bits) => quantize_weight(weight, *bits),
        }
    }
}
