//! Networks of torchvision from ONNX files compute on a device what ONNX Runtime computes with the files.
//!
//! Both exporters of PyTorch are among them, and batch norms that were folded into convolutions and that were not. The files and the
//! outputs are of `benches/peers/torchvision_onnx.py`.
#![cfg(all(feature = "flex", feature = "onnx"))]

#[path = "common/gradients.rs"]
mod gradients;
#[path = "common/torchvision.rs"]
mod torchvision;

use std::collections::BTreeMap;
use std::fs;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use vwc_sdk::data::PictureSpec;
use vwc_sdk::models::{GraphNet, GraphNetConfig, Network, NetworkConfig};
use vwc_sdk::module::Parameters;
use vwc_sdk::pytorch::{StateDict, Weights, save_safetensors};

use gradients::{Gradient, by_path};
use torchvision::{Fixture, filled, names, read};

/// How far a logit may be from ONNX Runtime's, of the largest one: both sum in floats of 32 bits, in other orders.
const TOLERANCE: f32 = 1e-4;

/// How far a gradient may be from PyTorch's, of its norm.
const GRADIENT_TOLERANCE: f64 = 1e-3;

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
            ..
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

/// Made into networks that train, they have PyTorch's gradients, batch norms in training among them.
#[test]
fn networks_have_the_gradients_of_pytorch() {
    let device = Device::flex();
    let all = torchvision::gradients();
    assert!(all.len() >= 3, "{:?}", all.keys());
    for (name, expected) in all {
        let Fixture { graph, side, .. } = read(&name);
        let network = GraphNet::of(&graph, &name, &device).unwrap_or_else(|error| panic!("{name}: {error}"));
        let network = network.fork(&device.clone().autodiff()).train();
        let input = |name: &str, shape: &[usize]| TensorData::new(filled(name, shape), shape.to_vec());
        let picture = Tensor::<4>::from_data(input("picture", &[2, 3, side, side]), &device);
        let weights = Tensor::<2>::from_data(input("picture of logits", &[2, 10]), &device);
        let loss = (network.forward(Tensor::from_inner(picture)) * Tensor::from_inner(weights)).sum();
        let found: BTreeMap<String, [f64; 2]> = by_path(loss.backward(), &network)
            .into_iter()
            .map(|(path, gradient)| (path.clone(), norm_and_product(&path, &gradient)))
            .collect();
        let largest = expected.values().fold(0f64, |most, [norm, _]| most.max(*norm));
        // Some exporters write a bias of zeros in front of each batch norm, which takes it off again.
        for (path, [norm, _]) in found.iter().filter(|(path, _)| !expected.contains_key(*path)) {
            assert!(
                path.ends_with(".bias") && *norm < 1e-3 * largest,
                "{name}, {path}: {norm}"
            );
        }
        for (path, [norm, product]) in &expected {
            let found = found[path];
            for (found, expected) in found.iter().zip([norm, product]) {
                assert!(
                    (found - expected).abs() <= GRADIENT_TOLERANCE * norm.max(1e-3 * largest),
                    "{name}, {path}: {found}, expected {expected}, the norm is {norm}"
                );
            }
        }
    }
}

/// Parameters are written under the names of the file, in the shapes that they have there, and read again.
#[test]
fn parameters_go_back_as_the_file_has_them() {
    let device = Device::flex();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let (mut seen, mut odd) = (0, 0);
    for name in names() {
        let Fixture {
            name,
            graph,
            constants,
            ..
        } = read(&name);
        let network = GraphNet::of(&graph, &name, &device).unwrap_or_else(|error| panic!("{name}: {error}"));
        let input = PictureSpec::new(
            network.config().input(),
            (0..network.config().classes()).map(|n| n.to_string()),
        );
        save_safetensors(&network, &input, &path, Weights::Latent).unwrap();
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let written: BTreeMap<String, Vec<usize>> = (file.tensors().into_iter())
            .map(|(path, view)| (path, view.shape().to_vec()))
            .collect();
        for (path, shape) in &constants {
            let Some(written) = written.get(path) else {
                continue;
            };
            assert_eq!(written, shape, "{name}, {path}");
            let numbers = file.tensor(path).unwrap().data().chunks_exact(4);
            let numbers = numbers.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
            // A variance went through a root.
            let near =
                |(a, b): (f32, f32)| a == b || (path.ends_with("running_var") && (a - b).abs() <= 1e-5 * b);
            assert!(numbers.zip(filled(path, shape)).all(near), "{name}, {path}");
            seen += 1;
            odd += usize::from(shape.len() > 1 && shape.iter().filter(|&&size| size > 1).count() == 1);
        }
        // What the exporter made of parameters is known.
        let found = network
            .not_in_file()
            .unwrap_or_else(|| panic!("{name}: no parameter has a name"));
        let (computed, biases) = (&found.computed, &found.unnamed);
        let named = |part: &str| name.starts_with(part);
        if !["vit", "maxvit"].into_iter().any(named) {
            assert_eq!(!computed.is_empty(), named("swin"), "{name}: {computed:?}");
        }
        if named("mobilenet_v2") || named("vgg11 ") || named("squeezenet1_1") {
            let folded = named("mobilenet_v2");
            assert_eq!(!biases.is_empty(), folded, "{name}: {biases:?}");
            assert!(biases.iter().all(|path| path.ends_with(".bias")), "{biases:?}");
        }
        let again = StateDict::read(&path).unwrap();
        let config = again.structure::<GraphNetConfig>().unwrap().unwrap();
        let fresh = again.fit(&config).unwrap().init(&device);
        let again = Parameters::of(&again.load_into(fresh).unwrap());
        let kept = Parameters::of(&network);
        assert!(again.iter().eq(kept.iter()), "{name}");
    }
    assert!(
        seen > 1000 && odd >= 4,
        "{seen} parameters, {odd} of them vectors of several dimensions"
    );
}

/// The norm of a gradient, and its product with numbers of the parameter's path.
fn norm_and_product(path: &str, gradient: &Gradient) -> [f64; 2] {
    let Gradient { shape, values } = gradient;
    // PyTorch has the outputs of a matrix first.
    let (shape, place): (Vec<usize>, Box<dyn Fn(usize) -> usize>) = match shape[..] {
        [inputs, outputs] => (
            vec![outputs, inputs],
            Box::new(move |n| n % outputs * inputs + n / outputs),
        ),
        _ => (shape.clone(), Box::new(|n| n)),
    };
    let numbers = filled(&format!("picture of {path}"), &shape);
    let products = values
        .iter()
        .enumerate()
        .map(|(n, x)| f64::from(*x) * f64::from(numbers[place(n)]));
    let squares = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
    [squares.sqrt(), products.sum()]
}
