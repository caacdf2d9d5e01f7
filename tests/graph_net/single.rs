//! A single number of a file, as the slope of a rectifier, is a parameter: trained, kept, and written as the file has it.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use tempfile::TempDir;
use vwc_sdk::data::PictureSpec;
use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, Function, Graph, InFile, NodeSpec, Op, Reduction, Sketch,
};
use vwc_sdk::models::{GraphNet, GraphNetConfig, Network, NetworkConfig};
use vwc_sdk::module::Parameters;
use vwc_sdk::pytorch::{TorchNames, Weights, save_safetensors};

use super::common::{noise, tensor, values};
use super::gradients::by_path;
use super::{device, images};

/// A number called `name` that the file holds in this shape.
fn number(name: &str, value: f32, shape: &[usize]) -> Constant {
    Constant::scalar(value).named(name).held_as(InFile {
        shape: shape.to_vec(),
        turned: false,
        name: None,
    })
}

fn factor(constant: Constant) -> Affine {
    Affine {
        factor: Some(constant),
        ..Affine::default()
    }
}

/// A convolution, a rectifier whose slope is a parameter, and means that are divided by a temperature and multiplied by a number that is
/// none.
fn graph() -> Graph {
    let numbers: Vec<f32> = noise(3, 270).into_iter().map(|x| x as f32).collect();
    let weight = Constant::new([10, 3, 3, 3], numbers).named("conv.weight");
    let weight = weight.held_as(InFile {
        shape: vec![10, 3, 3, 3],
        turned: false,
        name: None,
    });
    let below = Function::Clamp {
        min: f32::NEG_INFINITY,
        max: 0.0,
    };
    let mean = Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    };
    let cooled = Affine {
        divisor: Some(number("temperature", 1.5, &[1])),
        ..Affine::default()
    };
    let nodes = [
        NodeSpec::input("x", [3, 8, 8]),
        NodeSpec::new("conv", Conv::new(weight), ["x"]),
        NodeSpec::new("above", Function::Relu, ["conv"]),
        NodeSpec::new("below", below, ["conv"]),
        NodeSpec::new("slopes", factor(number("act.slope", 0.25, &[])), ["below"]),
        NodeSpec::new("sum", Binary::Add, ["above", "slopes"]),
        NodeSpec::new("mean", mean, ["sum"]),
        NodeSpec::new("flat", Op::Reshape { shape: vec![10] }, ["mean"]),
        NodeSpec::new("cooled", cooled, ["flat"]),
        NodeSpec::new("half", factor(Constant::scalar(0.5)), ["cooled"]),
    ];
    Graph::new(nodes, ["half"]).unwrap()
}

#[test]
fn a_single_number_of_a_file_is_a_parameter() {
    let network = GraphNet::of(&graph(), "single", &device()).unwrap();
    let parameters = Parameters::of(&network);
    let found: Vec<&str> = parameters.iter().map(|(path, _)| path).collect();
    assert_eq!(found, ["act.slope", "conv.weight", "temperature"]);
    let x = images(1, 4, [8, 8]);
    let logits = |network: &GraphNet| values(&network.forward(x.clone()));
    // It computes with the parameter, and not with the number that it began with.
    let mut other = parameters.clone();
    other.insert("temperature", TensorData::from([3.0f32]));
    let cooler = other.put_into(network.clone()).unwrap();
    for (warm, cool) in logits(&network).into_iter().zip(logits(&cooler)) {
        assert!((warm / 2.0 - cool).abs() <= 1e-6, "{warm} {cool}");
    }
    // The slope is trained, what is divided by is not. Its gradient is the sum of what is below zero.
    let autodiff = device().autodiff();
    let weights = tensor(&noise(2, 40), [4, 10], &device());
    let loss = |network: &GraphNet| (network.forward(x.clone()) * weights.clone()).sum();
    let trained = network.clone().fork(&autodiff).train();
    let logits_of_training = trained.forward(Tensor::from_inner(x.clone()));
    let loss_of_training = (logits_of_training * Tensor::from_inner(weights.clone())).sum();
    let gradients = by_path(loss_of_training.backward(), &trained);
    let mut paths: Vec<&str> = gradients.keys().map(String::as_str).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["act.slope", "conv.weight"]);
    let moved = |slope: f32| {
        let mut parameters = parameters.clone();
        parameters.insert("act.slope", TensorData::from([slope]));
        f64::from(loss(&parameters.put_into(network.clone()).unwrap()).into_scalar::<f32>())
    };
    let (difference, slope) = (moved(1.25) - moved(0.25), gradients["act.slope"].values[0]);
    assert!(
        (difference - f64::from(slope)).abs() < 1e-4,
        "{difference} {slope}"
    );
    // A graph of numbers again, with those of the parameters.
    let number = |network: &GraphNet| {
        let graph = network.graph().unwrap();
        let parts = graph.nodes().iter().flat_map(|node| match node.op() {
            Op::Affine(affine) => [affine.factor.as_ref(), affine.divisor.as_ref()],
            _ => [None, None],
        });
        let mut single: Vec<f32> = parts.flatten().filter_map(Constant::as_scalar).collect();
        single.sort_by(f32::total_cmp);
        single
    };
    assert_eq!(number(&network), [0.25, 0.5, 1.5]);
    assert_eq!(number(&cooler), [0.25, 0.5, 3.0]);
}

#[test]
fn single_numbers_are_kept_and_written_as_the_file_has_them() {
    let network = GraphNet::of(&graph(), "single", &device()).unwrap();
    let shapes: Vec<(String, Option<Vec<usize>>)> = (network.torch_names().into_iter())
        .map(|name| (name.torch, name.shape))
        .collect();
    let named = |name: &str, shape: &[usize]| (name.to_owned(), Some(shape.to_vec()));
    assert_eq!(
        shapes,
        [
            named("conv.weight", &[10, 3, 3, 3]),
            named("act.slope", &[]),
            named("temperature", &[1])
        ]
    );
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("single.safetensors");
    let input = PictureSpec::numbered([8, 8], 10);
    save_safetensors(&network, &input, &file, Weights::Latent).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let written = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(written.tensor("act.slope").unwrap().shape(), [0usize; 0]);
    assert_eq!(written.tensor("act.slope").unwrap().data(), 0.25f32.to_le_bytes());
    assert_eq!(written.tensor("temperature").unwrap().shape(), [1]);
    // The sketch has their places and no numbers; one of a version that knew no single parameters has the numbers.
    let sketch = Sketch::of(&graph());
    let text = serde_json::to_string(&sketch).unwrap();
    assert!(!text.contains("0.25") && text.contains("0.5"), "{text}");
    assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
    let before = text.replace(
        r#""name":"act.slope","shape":[]"#,
        r#""name":"act.slope","shape":[],"values":[0.25]"#,
    );
    assert_ne!(before, text);
    let before: Sketch = serde_json::from_str(&before).unwrap();
    let config = GraphNetConfig::new("single", before).unwrap();
    let old = Parameters::of(&config.init(&device()));
    let found: Vec<&str> = old.iter().map(|(path, _)| path).collect();
    assert_eq!(found, ["conv.weight", "temperature"]);
}
