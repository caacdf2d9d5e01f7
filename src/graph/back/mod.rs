//! What a graph is written as for others.

mod onnx;

pub use onnx::OnnxExport;
