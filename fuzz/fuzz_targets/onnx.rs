//! An ONNX file, for libFuzzer.

#![no_main]

use vwc_sdk_fuzz::targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::onnx::onnx(bytes));
