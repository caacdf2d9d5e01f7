//! The targets of `tests/fuzz.rs`, for libFuzzer.

#[path = "../tests/fuzz/targets.rs"]
pub mod targets;
