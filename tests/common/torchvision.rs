//! Networks of torchvision without their weights, and the weights that `benches/peers/torchvision_onnx.py` computed outputs with.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vwc_sdk::graph::Graph;
use vwc_sdk::onnx::import_graph_from;

const FIXTURES: &str = "tests/fixtures/torchvision";

/// What is beside a file.
#[derive(Deserialize)]
struct About {
    /// How PyTorch exported it.
    exporter: String,
    /// Height and width of the picture.
    side: usize,
    /// What ONNX Runtime computes for it.
    logits: Vec<f32>,
    /// Names and shapes of the constants that are not in the file, in the order in which they are in the file beside it.
    constants: Vec<(String, Vec<usize>)>,
}

/// A network with a picture and what is computed of it.
pub struct Fixture {
    pub name: String,
    pub graph: Graph,
    /// `[1, 3, side, side]`.
    pub picture: Vec<f32>,
    pub side: usize,
    pub logits: Vec<f32>,
    /// Names and shapes of the large constants.
    pub constants: Vec<(String, Vec<usize>)>,
}

/// The names of all fixtures.
pub fn names() -> Vec<String> {
    let paths = fs::read_dir(FIXTURES).unwrap().map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    let mut names: Vec<String> = paths
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// What PyTorch computes of some of the networks: of each parameter the norm of its gradient, and its product with numbers.
pub fn gradients() -> BTreeMap<String, BTreeMap<String, [f64; 2]>> {
    let path = PathBuf::from(FIXTURES).join("gradients.json");
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Writes the weights of a fixture beside a copy of it, and reads the two.
pub fn read(name: &str) -> Fixture {
    let path = |ending: &str| PathBuf::from(FIXTURES).join(format!("{name}.{ending}"));
    let about: About = serde_json::from_slice(&fs::read(path("json")).unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("model.onnx");
    fs::copy(path("onnx"), &copy).unwrap();
    write_weights(&about.constants, &folder.path().join("weights"));
    let graph = import_graph_from(&copy, None).unwrap_or_else(|error| panic!("{name}: {error}"));
    Fixture {
        name: format!("{name} ({})", about.exporter),
        graph,
        picture: filled("picture", &[1, 3, about.side, about.side]),
        side: about.side,
        logits: about.logits,
        constants: about.constants,
    }
}

fn write_weights(constants: &[(String, Vec<usize>)], path: &Path) {
    let mut bytes = Vec::new();
    for (name, shape) in constants {
        bytes.extend(filled(name, shape).into_iter().flat_map(f32::to_le_bytes));
    }
    fs::write(path, bytes).unwrap();
}

/// The numbers of a constant, by its name and shape alone: those of the generator splitmix64, which starts from the FNV-1a hash of
/// the name.
pub fn filled(name: &str, shape: &[usize]) -> Vec<f32> {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    let count: usize = shape.iter().product();
    let noise = (1..=count as u64).map(|n| {
        let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    });
    let positive = ["running_var", "weight", "layer_scale"]
        .iter()
        .any(|end| name.ends_with(end));
    let matrix = shape.len() > 1 && shape.iter().max().is_some_and(|&most| most < count);
    let scale = (3.0 / shape[1..].iter().product::<usize>() as f64).sqrt();
    let number = |x: f64| match (name, matrix) {
        (name, _) if name.starts_with("picture") => x,
        (_, true) => x * scale,
        _ if positive => 1.0 + 0.5 * x,
        _ => 0.2 * x,
    };
    noise.map(|x| number(x) as f32).collect()
}
