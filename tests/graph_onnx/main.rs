//! Graphs as ONNX files: whether other runtimes compute the same with them, and what is in them.
//!
//! The reference is a plain loop over single numbers. Burn, where it is in the build, tract, with the feature `onnx`, and ONNX
//! Runtime, where this machine has it, are held against it.

mod cases;
#[path = "../common/onnx.rs"]
mod onnx;
mod plain;

use cases::{Case, PICTURES, cases};
use onnx::{File, runtimes};
use vwc_sdk::graph::{Graph, OnnxExport};

/// How far a runtime's 32-bit floats may be from 64-bit ones, of the largest number of an output.
const TOLERANCE: f64 = 1e-5;

fn assert_same(case: &Case, found: &[Vec<f32>], runtime: &str) {
    let expected = plain::outputs(&case.graph, &case.inputs, PICTURES);
    assert_eq!(found.len(), expected.len(), "{}: outputs in {runtime}", case.name);
    for (n, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(
            found.len(),
            expected.len(),
            "{}: output {n} in {runtime}",
            case.name
        );
        let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
        for (at, (&found, expected)) in found.iter().zip(expected).enumerate() {
            let apart = (f64::from(found) - expected).abs();
            assert!(
                apart <= TOLERANCE * largest || f64::from(found) == *expected,
                "{}: number {at} of output {n} is {found} in {runtime}, expected {expected}",
                case.name
            );
        }
    }
}

/// Holds the reference itself against the graph on `flex`, where all inputs, and all outputs, have as many dimensions.
#[cfg(feature = "flex")]
#[test]
fn burn_computes_the_same() {
    use burn::tensor::{Device, Tensor, TensorData};

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
            .map(|output| output.into_data().to_vec::<f32>().unwrap());
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
            assert_same(&case, &found, "Burn");
        }
    }
}

#[test]
fn other_runtimes_compute_the_same() {
    let cases = cases();
    let files: Vec<File> = cases.iter().map(Case::file).collect();
    for (runtime, found) in runtimes(&files) {
        assert_eq!(found.len(), cases.len());
        for (case, found) in cases.iter().zip(&found) {
            assert_same(case, found, runtime);
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
