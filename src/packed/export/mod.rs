//! A packed network in the formats of others: `Model::to_onnx`, and `Model::to_safetensors` for its integers and scales alone.

mod onnx;
mod safetensors;
