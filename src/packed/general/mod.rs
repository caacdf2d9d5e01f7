//! The general steps: what a network computes beside the fused layers of packed bits, one operation each. They make any graph of the
//! operations in [`graph`](crate::graph) computable; the fused steps stay the fast way for what they cover.
//!
//! ```text
//! functions   functions of one number, by name
//! kernel      the steps, laid out for the machine
//! check       whether a step can be computed, and laying it out
//! conv        convolutions of floats and of integers
//! numbers     everything else
//! ```

mod check;
mod conv;
pub(super) mod functions;
mod kernel;
mod numbers;

pub(super) use check::Checked;
#[cfg(feature = "train")]
pub(super) use check::MAX_INTEGER;
pub(super) use kernel::{Inputs, Kernel, Output, run};
