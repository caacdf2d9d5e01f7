//! The function between two layers.

use burn::module::Module;
use burn::tensor::{Tensor, activation::relu};
use serde::{Deserialize, Serialize};

use super::{Bits, quantize_activation};

/// What an [`Activation`] computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Identity,
    Relu,
    Relu6,
    Clamp,
    Quantized(Bits),
}

/// The function between two layers: ReLU, ReLU6, a clamp to the unit interval, or a k-bit quantiser of it. Any shape.
#[derive(Module, Debug)]
pub struct Activation {
    #[module(skip)]
    kind: Kind,
}

impl Activation {
    /// Nothing.
    pub fn identity() -> Self {
        Self { kind: Kind::Identity }
    }

    /// `max(x, 0)`.
    pub fn relu() -> Self {
        Self { kind: Kind::Relu }
    }

    /// `clamp(x, 0, 6)`.
    pub fn relu6() -> Self {
        Self { kind: Kind::Relu6 }
    }

    /// `clamp(x, 0, 1)`, not rounded: what a full-precision layer reads after quantised ones.
    pub fn clamp() -> Self {
        Self { kind: Kind::Clamp }
    }

    /// [`quantize_activation`](super::quantize_activation) at `bits` bits; a ReLU at 32.
    pub fn quantized(bits: Bits) -> Self {
        Self {
            kind: Kind::Quantized(bits),
        }
    }

    /// Applies the function to every element.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.kind {
            Kind::Identity => x,
            Kind::Relu => relu(x),
            Kind::Relu6 => x.clamp(0.0, 6.0),
            Kind::Clamp => x.clamp(0.0, 1.0),
            Kind::Quantized(bits) => quantize_activation(x, bits),
        }
    }
}

#[cfg(feature = "flex")]
impl From<&Activation> for crate::kernels::Act {
    fn from(act: &Activation) -> Self {
        match act.kind {
            Kind::Identity => Self::Identity,
            Kind::Relu => Self::Relu,
            Kind::Relu6 => Self::Relu6,
            Kind::Clamp => Self::Clamp,
            Kind::Quantized(bits) => bits.levels().map_or(Self::Relu, Self::Quantize),
        }
    }
}
