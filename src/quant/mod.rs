//! Quantisation-aware training: quantisers with straight-through gradients and the layers that use them.
//!
//! A layer keeps its *latent* weights in full precision, for the optimiser to move in small steps, and computes with
//! their quantised image. The forward pass sees exactly the values that low-bit hardware will see; the backward pass
//! lets the gradient through the rounding as though it were not there (the straight-through estimator). The form is
//! DoReFa-Net's (Zhou et al., 2016, arXiv 1606.06160), which VWC-SDK (Rhe, Moon, Ko; JETCAS 2022) trains with.
//!
//! | piece | what it is |
//! |---|---|
//! | [`Bits`] | a bit width: 1 to 8, or 32 for "not rounded" |
//! | [`quantize`], [`quantize_weight`], [`quantize_activation`] | the operations, on any tensor and any `Device` |
//! | [`QuantConv2d`], [`QuantLinear`] | layers whose weights are quantised on the way to use |
//! | [`convolve`], [`Conv2d`], [`conv2d_with`] | Burn's convolution layer, a layer made of it, and convolutions of any stride, padding, dilation and groups, on this crate's kernels |
//! | [`norm_pool_act`] | batch norm, pool and activation in one pass |
//! | [`composed`], [`composed_block`] | the same operations out of Burn's own, for reference |
//! | [`WeightQuantizer`] | how weights are quantised: DoReFa, XNOR, ternary or a learned step, in these layers or [on any module](WeightQuantizer::on) |
//! | [`LearnedSteps`] | learned steps of weights: for each filter, without the lowest code, as powers of two |
//! | [`Activation`] | what stands between two layers: ReLU, a clamp, or a quantiser |
//! | [`Pact`] | an activation that learns where it clips |
//! | [`QuantInput`] | activations as multiples of a step that is learned, and of a lowest code where it is, too |
//! | [`WeightScheme`], [`ActivationQuantizer`] | which of these a network of a graph has, by a [plan](crate::models::QuantPlan) |
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//! use vwc_sdk::quant::{Activation, Bits, QuantConv2dConfig, WeightQuantizer};
//!
//! # fn main() -> Result<(), vwc_sdk::quant::BitsError> {
//! let device = Device::default().autodiff();
//! let conv = QuantConv2dConfig::new([3, 8], [3, 3])
//!     .with_quantizer(WeightQuantizer::dorefa(Bits::new(1)?))
//!     .init(&device);
//! let act = Activation::quantized(Bits::new(2)?);
//!
//! let x = Tensor::<4>::random([1, 3, 8, 8], Distribution::Uniform(0.0, 1.0), &device);
//! let y = act.forward(conv.forward(x));
//! assert_eq!(y.dims(), [1, 8, 6, 6]);
//! # Ok(())
//! # }
//! ```

mod activation;
mod bits;
mod block;
mod budget;
pub mod composed;
pub mod composed_block;
mod conv;
mod convolve;
mod grids;
mod input;
mod linear;
mod observer;
mod pact;
mod quantize;
mod quantizer;
mod range;
mod reparameterize;
mod schemes;
mod steps;

pub use activation::Activation;
pub use bits::{Bits, BitsError};
pub use block::{conv_norm_pool_act, dropout, norm_pool_act};
pub use budget::{Choice, choices_within};
pub use composed::quantize;
pub(crate) use composed::straight_through;
pub use conv::{QuantConv2d, QuantConv2dConfig, conv2d, conv2d_with, grouped_conv2d};
pub use convolve::{Conv2d, convolve};
pub(crate) use grids::{Grids, conv2d_of_codes};
pub(crate) use input::best_step;
pub use input::{QuantInput, QuantInputConfig};
pub use linear::{QuantLinear, QuantLinearConfig};
pub use observer::{Observer, ObserverError};
pub use pact::{Pact, PactConfig};
pub use quantize::{quantize_activation, quantize_weight};
pub use quantizer::WeightQuantizer;
pub(crate) use reparameterize::STEP;
pub use reparameterize::{FakeQuantized, QuantizeWeights};
pub use schemes::{ActivationQuantizer, ActivationQuantizerError, WeightScheme, WeightSchemeError};
pub use steps::LearnedSteps;
