//! What can be read off any Burn module, ours or not: its parameters by their paths, its recorded forward pass, its
//! convolutions, and the slices of parameters that belong to one channel.
//!
//! Nothing here knows a network of ours. [`models`](crate::models), [`prune`](crate::prune) and [`quant`](crate::quant) stand
//! on it.

pub(crate) mod any;
mod channels;
mod conv_layers;
mod parameters;
pub(crate) mod recorded;
mod trace;
mod values;

pub use channels::{ChannelGroup, ChannelSlice};
pub(crate) use conv_layers::traced_layers;
pub use conv_layers::{ModuleLayers, conv_layers};
pub use parameters::Parameters;
pub(crate) use trace::{Convolution, REPARAMETERIZATION, Trace, operation_name};
pub use values::Values;
