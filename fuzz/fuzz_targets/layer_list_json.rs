//! A layer list in JSON, for libFuzzer.

#![no_main]

use vwc_sdk_fuzz::targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::layer_list_json(bytes));
