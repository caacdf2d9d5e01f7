//! A folder of pictures, for libFuzzer.

#![no_main]

use vwc_sdk_fuzz::targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::train::picture(bytes));
