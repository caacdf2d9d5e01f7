//! What several test files share.

#![allow(dead_code)]

pub mod onnx;

use burn::tensor::{Device, Tensor, TensorData};
use vwc_sdk::DeviceName;
use vwc_sdk::device::DeviceKind;

/// Set where there has to be a GPU, in software if need be.
const GPU_VARIABLE: &str = "VWC_SDK_TEST_GPU";

/// The first device of every kind in this build, by name. GPUs that are not there are passed over, but for one that is
/// asked for by name in the environment.
pub fn devices() -> Vec<(&'static str, Device)> {
    let wanted = std::env::var(GPU_VARIABLE).unwrap_or_default();
    let kinds = DeviceKind::local().filter(DeviceKind::compiled_in);
    kinds
        .filter_map(|kind| match DeviceName::from(kind.clone()).init() {
            Ok(device) => Some((kind.name(), device)),
            Err(error) if wanted.split(',').any(|name| name == kind.name()) => panic!("{error}"),
            Err(error) => {
                eprintln!("passed over: {error}");
                None
            }
        })
        .collect()
}

/// How far a device may be from numbers computed in 64 bits, relative to the largest: sums of 32 bits in any order, and on
/// NVIDIA's tensor cores factors of eleven bits.
pub fn tolerance(device: &str) -> f64 {
    match device {
        "cuda" => 1e-2,
        _ => 1e-4,
    }
}

/// `values` in the given shape on `device`.
pub fn tensor<const D: usize>(values: &[f64], shape: [usize; D], device: &Device) -> Tensor<D> {
    let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The elements, as f64.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    let data = tensor.to_data().convert::<f32>();
    data.as_slice::<f32>()
        .unwrap()
        .iter()
        .map(|&v| v.into())
        .collect()
}

/// A reproducible stream of numbers in [-1, 1), independent of the crate and of Burn.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// Asserts that `found` is `expected` within `tolerance` of the largest magnitude.
#[track_caller]
pub fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    let scale = expected.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    for (index, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= tolerance * scale,
            "{what}: element {index} is {f}, expected {e}"
        );
    }
}
