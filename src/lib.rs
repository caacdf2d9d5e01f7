#![doc = include_str!("../docs/front-page.md")]
#![cfg_attr(not(feature = "train"), allow(rustdoc::broken_intra_doc_links))]
#![deny(missing_docs)]

#[macro_use]
mod talk;

pub mod chip;
/// Flags, files and tables of the programs: for `main`s of this package, and no part of what versions promise.
#[doc(hidden)]
pub mod cli;
pub mod cost;
pub mod crossbar;
mod error;
mod files;
pub mod formats;
pub mod graph;
pub mod guide;
pub mod mapping;
#[cfg(feature = "onnx")]
pub mod onnx;
mod onnx_file;
#[cfg(feature = "packed")]
pub mod packed;
#[cfg(any(feature = "train", feature = "onnx"))]
mod panics;
mod pattern;
#[cfg(any(feature = "train", feature = "packed"))]
mod picture;
pub mod report;
mod text;

#[cfg(feature = "train")]
pub mod data;
#[cfg(feature = "train")]
pub mod device;
#[cfg(feature = "flex")]
mod kernels;
#[cfg(feature = "train")]
pub mod models;
#[cfg(feature = "train")]
pub mod module;
#[cfg(feature = "train")]
pub mod prune;
#[cfg(feature = "train")]
pub mod pytorch;
#[cfg(feature = "train")]
pub mod quant;
#[cfg(feature = "train")]
pub mod selfcheck;
#[cfg(feature = "train")]
pub mod simulate;
#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "train")]
pub use device::DeviceName;
pub use error::Error;
