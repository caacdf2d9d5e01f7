//! Networks of torchvision at full size: each file of a folder is read, and written again for ONNX Runtime to compare.
//!
//! `benches/peers/torchvision_onnx.py` makes the files and compares. A network that cannot be read is named with the node.

#[path = "../common/torchvision.rs"]
mod fixtures;

use std::path::PathBuf;

use crate::onnx::{self, File};
use vwc_sdk::graph::{Graph, OnnxExport, Op};
use vwc_sdk::onnx::{import, import_graph_from, import_with_linear};

/// The folder with the files.
const FOLDER: &str = "VWC_SDK_TORCHVISION";

/// Networks that are quantised anew for each input.
const REFUSED: [&str; 1] = ["dynamic"];

/// How far a logit may be from ONNX Runtime's, of the largest one.
const TOLERANCE: f64 = 1e-4;

/// The graph of each fixture, written as an ONNX file again, computes in other runtimes what ONNX Runtime computed with the file.
#[test]
fn graphs_of_fixtures_compute_the_same() {
    let files: Vec<File> = (fixtures::names().iter())
        .map(|name| {
            let fixture = fixtures::read(name);
            let names = strange_names(&fixture.graph);
            assert!(names.is_empty(), "{name}: {names:?}");
            File {
                name: fixture.name,
                bytes: fixture.graph.to_onnx(&OnnxExport::new("again")).unwrap(),
                inputs: vec![(vec![1, 3, fixture.side, fixture.side], fixture.picture)],
                expected: vec![fixture.logits.into_iter().map(f64::from).collect()],
                tolerance: TOLERANCE,
            }
        })
        .collect();
    assert!(files.len() == 28, "{} fixtures", files.len());
    onnx::check(&files);
}

#[test]
fn files_of_torchvision_are_read_and_written_again() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        eprintln!("SKIPPED: {FOLDER} names no folder with files of torchvision_onnx.py");
        return;
    };
    let mut paths: Vec<PathBuf> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "onnx"))
        .collect();
    paths.sort();
    let mut wrong = Vec::new();
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let refused = REFUSED.iter().any(|network| name.contains(network));
        match import_graph_from(&path, None) {
            Ok(graph) => {
                let names = strange_names(&graph);
                println!(
                    "{name}: {} nodes, {} convolutions",
                    graph.nodes().len(),
                    graph.mapped("x").layers.len()
                );
                if !names.is_empty() {
                    wrong.push(format!("{name}: names {names:?}"));
                }
                let layers = import("x", std::fs::File::open(&path).unwrap(), None).unwrap();
                if layers.network != graph.mapped("x") {
                    wrong.push(format!(
                        "{name}: its layers or ties are not those of its graph: {:?}",
                        layers.widths_unknown
                    ));
                }
                let linear = import_with_linear("x", std::fs::File::open(&path).unwrap(), None).unwrap();
                if linear.network != graph.mapped_with_linear("x") {
                    wrong.push(format!(
                        "{name}: its linear layers or ties are not those of its graph: {:?}",
                        linear.widths_unknown
                    ));
                }
                let again = graph.to_onnx(&OnnxExport::new("again")).unwrap();
                std::fs::write(path.with_extension("again"), again).unwrap();
                if refused {
                    wrong.push(format!("{name} was read"));
                }
            }
            Err(error) if refused => println!("{name}: {error}"),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Nodes and constants of layers that are not called by a path.
fn strange_names(graph: &Graph) -> Vec<String> {
    let layers = graph.nodes().iter().filter(|node| match node.op() {
        Op::Conv(_) | Op::Linear(_) => true,
        Op::Affine(affine) => affine.epsilon.is_some(),
        _ => false,
    });
    let mut strange = Vec::new();
    for node in layers {
        let made_up = |name: &str| {
            name.starts_with('/')
                || name.starts_with("node_")
                || name.contains("::")
                || name.starts_with("val_")
        };
        let constants: Vec<_> = match node.op() {
            Op::Conv(conv) => [Some(&conv.weight), conv.bias.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
            Op::Linear(linear) => [Some(&linear.weight), linear.bias.as_ref()]
                .into_iter()
                .flatten()
                .collect(),
            Op::Affine(affine) => affine.parts().collect(),
            _ => Vec::new(),
        };
        let own = format!("{}.", node.name());
        strange.extend(
            (constants.iter())
                .filter_map(|constant| constant.name())
                .filter(|name| !name.starts_with(&own))
                .map(str::to_owned),
        );
        strange.extend(Some(node.name()).filter(|name| made_up(name)).map(str::to_owned));
    }
    strange.truncate(8);
    strange
}
