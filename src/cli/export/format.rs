//! What `vwc-sdk export` writes.

use std::path::Path;

use clap::ValueEnum;

use crate::graph::OnnxExport;

/// What a trained network is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// Bits and thresholds, which `vwc-sdk run` reads
    Packed,
    /// The same in integer operations of ONNX; `vwc-sdk graph --onnx` writes any network in floats
    Onnx,
    /// ONNX in floats with integers between QuantizeLinear and DequantizeLinear, of networks of 8 or 4 bits: normalised pictures
    /// go in
    Qdq,
    /// ONNX in floats that QONNX's Quant and BipolarQuant round, for FINN and hls4ml: normalised pictures go in
    Qonnx,
    /// The integers and scales of packed inference alone, as safetensors
    Integers,
    /// Floats under PyTorch's names, as safetensors
    Pytorch,
}

impl ExportFormat {
    /// What the name of a file says.
    pub(super) fn by_name(file: &Path) -> Option<Self> {
        let ending = file.extension().and_then(|ending| ending.to_str())?;
        match &*ending.to_ascii_lowercase() {
            "vwcp" => Some(Self::Packed),
            "onnx" => Some(Self::Onnx),
            "safetensors" => Some(Self::Pytorch),
            _ => None,
        }
    }

    /// Whether a file of this name may hold it: an ending of another format would mislead whoever reads it.
    pub(super) fn fits(self, file: &Path) -> bool {
        match Self::by_name(file) {
            None => true,
            Some(Self::Packed) => self == Self::Packed,
            Some(Self::Onnx) => matches!(self, Self::Onnx | Self::Qdq | Self::Qonnx),
            Some(_) => matches!(self, Self::Integers | Self::Pytorch),
        }
    }

    /// How ONNX in floats is made to say what is rounded, where that is what is written.
    pub(super) fn rounds(self) -> Option<fn(OnnxExport) -> OnnxExport> {
        match self {
            Self::Qdq => Some(OnnxExport::with_pairs),
            Self::Qonnx => Some(OnnxExport::with_qonnx),
            _ => None,
        }
    }
}
