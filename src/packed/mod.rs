//! Trained low-bit networks as the small, fast things that they were trained to be: weights and activations in single
//! bits, sums by AND and bit count, without Burn.
//!
//! A [`Model`] is read from one [file](Model::open), or made of a trained network by `freeze` in a build with `train`. A
//! [`Session`] computes with it. What is exact and what is not, and how it works, is in `docs/packed.md`; the file's
//! layout in `docs/packed-format.md`.
//!
//! ```text
//! machine    the innermost steps, once per instruction set
//! layout     how activations and weights lie in memory as bits
//! spec       what a network consists of
//! kernel     its steps, laid out for the machine
//! buffers    the values between them, and the memory they share
//! check      whether a network can be computed with, and its steps laid out
//! model      a network checked and laid out
//! general    steps for everything that those do not compute, one operation each
//! rows       rows of a step's output: sums, and what follows them
//! session    computing with it
//! file       one file
//! export     the same network as ONNX for other runtimes, and its integers and scales alone as safetensors
//! threshold  sums to codes, as the network decides on floats
//! lower      from the graph of a trained network
//! compare    a packed network beside the trained one
//! ```

mod buffers;
mod check;
#[cfg(feature = "train")]
mod compare;
mod error;
mod export;
mod file;
mod general;
#[cfg(feature = "train")]
mod integer;
mod kernel;
mod layout;
#[cfg(feature = "train")]
mod lower;
mod machine;
mod model;
mod picture;
mod rows;
mod session;
mod spec;
mod tensor;
#[cfg(feature = "train")]
mod threshold;

#[cfg(feature = "train")]
pub use compare::{Comparison, compare};
pub use error::PackedError;
#[cfg(feature = "train")]
pub use lower::freeze;
pub use machine::Machine;
pub use model::Model;
pub use session::{Feature, Session, probabilities};

#[cfg(test)]
mod tests;
