//! Graphs as ONNX files: whether other runtimes compute the same with them, and what is in them.
//!
//! The reference is a plain loop over single numbers. Burn, where it is in the build, tract, with the feature `onnx`, and ONNX
//! Runtime, where this machine has it, are held against it.

mod cases;
#[cfg(feature = "onnx")]
mod front;
#[path = "../common/onnx.rs"]
mod onnx;
#[cfg(feature = "onnx")]
mod pairs;
mod plain;
#[cfg(feature = "onnx")]
mod quantised;
#[cfg(feature = "onnx")]
mod torchvision;

use cases::{Case, cases};
use onnx::File;
use vwc_sdk::graph::{Graph, OnnxExport};

/// Holds the reference itself against the graph on `flex`, where all inputs, and all outputs, have as many dimensions.
#[cfg(feature = "flex")]
#[test]
fn burn_computes_the_same() {
    use burn::tensor::{Device, Tensor, TensorData};

    use cases::PICTURES;

    fn run<const I: usize, const O: usize>(case: &Case) -> Vec<Vec<f32>> {
        let device = Device::flex();
        let inputs = case.inputs.iter().zip(case.graph.inputs()).map(|(numbers, &id)| {
            let shape = [&[PICTURES], case.graph.node(id).shape()].concat();
            Tensor::<I>::from_data(TensorData::new(numbers.clone(), shape), &device)
        });
        let outputs: Vec<Tensor<O>> = case
            .graph
            .on(&device)
            .forward(inputs.collect::<Vec<_>>())
            .unwrap();
        let numbers = outputs
            .into_iter()
            .map(|output| output.into_data().try_to_vec::<f32>().unwrap());
        numbers.collect()
    }
    macro_rules! dispatch {
        ($case:expr, $dims:expr, $($input:literal)*) => {
            match $dims.0 {
                $($input => dispatch!(@ $case, $dims, $input, 2 3 4 5 6),)*
                dims => panic!("{dims} dimensions"),
            }
        };
        (@ $case:expr, $dims:expr, $input:literal, $($output:literal)*) => {
            match $dims.1 {
                $($output => run::<$input, $output>($case),)*
                dims => panic!("{dims} dimensions"),
            }
        };
    }
    for case in cases() {
        let dims = |ids: &[vwc_sdk::graph::NodeId]| {
            let mut dims: Vec<usize> = ids
                .iter()
                .map(|&id| 1 + case.graph.node(id).shape().len())
                .collect();
            dims.dedup();
            dims
        };
        if let ([input], [output]) = (&dims(case.graph.inputs())[..], &dims(case.graph.outputs())[..]) {
            let found = dispatch!(&case, (*input, *output), 2 3 4 5 6);
            case.file().assert_computed(&found, "Burn");
        }
    }
}

#[test]
fn other_runtimes_compute_the_same() {
    let files: Vec<File> = cases().iter().map(Case::file).collect();
    onnx::check(&files);
}

/// Those of networks on Burn, from the tests that run with it.
#[cfg(feature = "onnx")]
#[test]
fn tract_computes_the_same_with_kept_files() {
    let Some(folder) = onnx::kept() else {
        eprintln!("SKIPPED: VWC_SDK_ONNX_FILES names no folder with files of networks on Burn");
        return;
    };
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|ending| ending == "onnx"));
    let files: Vec<File> = paths.map(|path| File::read(&path)).collect();
    assert!(files.len() >= 20, "{} files", files.len());
    onnx::check(&files);
}

#[cfg(feature = "onnx")]
mod read {
    //! What a reader of the file finds in it.

    use std::collections::HashSet;

    use super::{Case, cases, graph};
    use tract_onnx::pb::{ModelProto, tensor_shape_proto::dimension, type_proto};
    use tract_onnx::prelude::Framework;
    use vwc_sdk::graph::{Graph, OnnxExport};

    fn model(graph: &Graph, export: &OnnxExport) -> ModelProto {
        let bytes = graph.to_onnx(export).unwrap();
        tract_onnx::onnx().proto_model_for_read(&mut &bytes[..]).unwrap()
    }

    #[test]
    fn nodes_and_constants_have_the_names_of_the_graph() {
        let residual = graph("residual");
        let export = OnnxExport::new("mine")
            .with_outputs(["classes", "sum", "codes"])
            .with_metadata("precision", "W1A1")
            .with_metadata("precision", "W2A2");
        let model = model(&residual, &export);
        assert_eq!(model.opset_import[0].version, 17);
        let notes: Vec<_> = model
            .metadata_props
            .iter()
            .map(|note| (&*note.key, &*note.value))
            .collect();
        assert_eq!(notes, [("precision", "W2A2")]);
        let file = model.graph.unwrap();
        assert_eq!(file.name, "mine");
        let names: HashSet<&str> = file.node.iter().map(|node| &*node.name).collect();
        for node in residual.nodes().iter().skip(1) {
            assert!(names.contains(node.name()), "{}", node.name());
        }
        assert_eq!(names.len(), file.node.len());
        let constants: HashSet<&str> = file.initializer.iter().map(|tensor| &*tensor.name).collect();
        for name in [
            "block.conv1.weight",
            "block.conv1.norm.beta",
            "head.weight",
            "head.bias",
        ] {
            assert!(constants.contains(name), "{name}: {constants:?}");
        }
        let conv = file.node.iter().find(|node| node.name == "block.conv1").unwrap();
        assert_eq!(
            (&*conv.op_type, &conv.input[..], &conv.output[..]),
            (
                "Conv",
                &["stem.codes".to_owned(), "block.conv1.weight".to_owned()][..],
                &["block.conv1".to_owned()][..]
            )
        );
        // The norm's two parts that were computed of one parameter have two names.
        assert!(constants.contains("stem.norm.gamma") && constants.contains("stem.norm.gamma.2"));
        let rounded: Vec<&str> = (file.node.iter())
            .filter(|node| ["Clip", "Round"].contains(&&*node.op_type))
            .map(|node| &*node.name)
            .collect();
        let expected = ["stem", "block.conv1", "block.conv2"]
            .map(|name| [format!("{name}.clamp"), format!("{name}.round")]);
        assert_eq!(rounded, expected.concat());
        for (value, (name, shape)) in file.input.iter().chain(&file.output).zip([
            ("picture", &[3, 6, 6][..]),
            ("classes", &[5]),
            ("sum", &[4, 6, 6]),
            ("codes", &[4, 6, 6]),
        ]) {
            assert_eq!(value.name, name);
            let Some(type_proto::Value::TensorType(tensor)) = &value.r#type.as_ref().unwrap().value else {
                panic!("{name}")
            };
            let sides = &tensor.shape.as_ref().unwrap().dim;
            assert_eq!(sides[0].value, Some(dimension::Value::DimParam("batch".into())));
            let sizes: Vec<_> = sides[1..]
                .iter()
                .map(|side| side.value.clone().unwrap())
                .collect();
            let expected: Vec<_> = shape
                .iter()
                .map(|&size| dimension::Value::DimValue(size))
                .collect();
            assert_eq!(sizes, expected, "{name}");
        }
    }

    #[test]
    fn no_name_is_there_twice_and_shared_weights_once() {
        for Case { name, graph, .. } in cases() {
            let file = model(&graph, &OnnxExport::new("network")).graph.unwrap();
            let values = file.input.iter().map(|value| &value.name);
            let values = values.chain(file.initializer.iter().map(|tensor| &tensor.name));
            let values: Vec<_> = values
                .chain(file.node.iter().flat_map(|node| &node.output))
                .collect();
            let nodes: Vec<_> = file.node.iter().map(|node| &node.name).collect();
            for names in [values, nodes] {
                assert_eq!(
                    names.iter().collect::<HashSet<_>>().len(),
                    names.len(),
                    "{name}: {names:?}"
                );
            }
        }
        let file = model(&graph("twice"), &OnnxExport::new("twice")).graph.unwrap();
        let constants: Vec<_> = file.initializer.iter().map(|tensor| &*tensor.name).collect();
        assert_eq!(constants, ["shared.weight"]);
    }

    /// The mapper reads the same layers from the file as from the graph.
    #[test]
    fn convolutions_are_read_back() {
        for name in [
            "residual",
            "conv-four-sides",
            "conv-dilated",
            "conv-grouped",
            "conv-depthwise",
        ] {
            let graph = graph(name);
            let bytes = graph.to_onnx(&OnnxExport::new(name)).unwrap();
            let import = vwc_sdk::onnx::import(name, &bytes[..], None).unwrap();
            assert_eq!(import.network.layers, graph.mapped(name).layers, "{name}");
        }
    }
}

/// The graph of a case by its name.
fn graph(name: &str) -> Graph {
    let case = cases().into_iter().find(|case| case.name == name);
    case.unwrap_or_else(|| panic!("{name}")).graph
}

fn refused(graph: &Graph, export: &OnnxExport) -> String {
    graph.to_onnx(export).unwrap_err().to_string()
}

#[test]
fn names_that_do_not_fit_are_refused() {
    let export = OnnxExport::new("network");
    let has = |error: String, words: &[&str]| {
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(!error.contains('\n'), "{error}");
    };
    let constants = graph("constants");
    let short = export.clone().with_outputs(["one"]);
    has(refused(&constants, &short), &["1 names of outputs", "expected 5"]);
    let many = export.clone().with_inputs(["a", "b"]);
    has(refused(&constants, &many), &["2 names of inputs", "expected 1"]);
    let empty = export.clone().with_inputs([""]);
    has(refused(&constants, &empty), &["`x`", "is empty"]);
    let control = export.clone().with_outputs(["a", "b", "c", "d", "e\u{1b}"]);
    has(refused(&constants, &control), &["`x`", "control"]);
    let same = export.clone().with_outputs(["a", "b", "a", "d", "e"]);
    has(refused(&constants, &same), &["`a`", "differ"]);
    let as_input = export
        .clone()
        .with_outputs(["a", "b", "c", "d", "x"])
        .with_inputs(["d"]);
    has(refused(&constants, &as_input), &["`d`", "differ"]);
    let add = graph("add");
    has(refused(&add, &export.with_inputs(["a", "a"])), &["`a`", "differ"]);
}
