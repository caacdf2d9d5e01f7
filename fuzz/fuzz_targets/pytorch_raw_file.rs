//! A file of `torch.save`, byte by byte, for libFuzzer.

#![no_main]

use vwc_sdk_fuzz::targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::train::pytorch_raw_file(bytes));
