//! Networks of torchvision from ONNX files compute on a device what ONNX Runtime computes with the files.
//!
//! Both exporters of PyTorch are among them, and batch norms that were folded into convolutions and that were not. The files and the
//! outputs are of `benches/peers/torchvision_onnx.py`.
#![cfg(all(feature = "flex", feature = "onnx"))]

#[path = "common/torchvision.rs"]
mod torchvision;

use burn::tensor::{Device, Tensor, TensorData};

use torchvision::{Fixture, names, read};

/// How far a logit may be from ONNX Runtime's, of the largest one: both sum in floats of 32 bits, in other orders.
const TOLERANCE: f32 = 1e-4;

#[test]
fn networks_compute_what_onnx_runtime_does() {
    let names = names();
    assert!(names.len() >= 15, "{} fixtures", names.len());
    let device = Device::flex();
    for name in names {
        let Fixture {
            name,
            graph,
            picture,
            side,
            logits,
        } = read(&name);
        let picture = Tensor::<4>::from_data(TensorData::new(picture, [1, 3, side, side]), &device);
        let found: Tensor<2> = graph
            .on(&device)
            .forward(picture)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let found = found.into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(found.len(), logits.len(), "{name}");
        let largest = logits.iter().fold(0f32, |most, x| most.max(x.abs()));
        for (n, (found, expected)) in found.iter().zip(&logits).enumerate() {
            assert!(
                (found - expected).abs() <= TOLERANCE * largest,
                "{name}: logit {n} is {found}, expected {expected}"
            );
        }
    }
}
