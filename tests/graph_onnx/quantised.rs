//! Quantised networks from ONNX files: they compute what ONNX Runtime does, and their codes are found again.
//!
//! The files and outputs are of `benches/peers/quantised_onnx.py`. Between two integers a sum may fall on either side, as ONNX
//! Runtime sums integers where the file says so and floats are summed here: such an output may be a step off.

use serde::Deserialize;
use vwc_sdk::graph::{Graph, NodeId, Op};
use vwc_sdk::onnx::{import, import_graph};

use crate::plain;

const PICTURES: usize = 2;

#[derive(Deserialize)]
struct About {
    input: Vec<f32>,
    output: Vec<f64>,
}

fn read(name: &str) -> (Graph, About) {
    let path = |ending: &str| format!("tests/fixtures/quantised/{name}.{ending}");
    let graph = import_graph(&std::fs::read(path("onnx")).unwrap()[..], None);
    let about = serde_json::from_slice(&std::fs::read(path("json")).unwrap()).unwrap();
    (graph.unwrap_or_else(|error| panic!("{name}: {error}")), about)
}

/// For each convolution its name, the kind of its inputs' codes, and the bits of its weights.
fn kinds(graph: &Graph) -> Vec<(String, String, u32)> {
    let codes = graph.codes();
    let convolutions = graph.iter().filter(|(_, node)| matches!(node.op(), Op::Conv(_)));
    let kind = |id: NodeId| {
        codes[id.index()].as_ref().map_or_else(String::new, |codes| {
            format!("{}{}", if codes.signed() { 's' } else { 'u' }, codes.bits())
        })
    };
    convolutions
        .map(|(id, node)| {
            let (_, conv) = graph.conv_layer(id).unwrap();
            let bits = conv.weight_codes().map_or(0, |codes| codes.bits());
            (node.name().to_owned(), kind(node.inputs()[0]), bits)
        })
        .collect()
}

#[test]
fn what_onnx_runtime_quantised_computes_the_same() {
    let mut wrong = Vec::new();
    // Last the step of an output, as a part of the largest one: how far it may be off.
    for (name, inputs, weights, step) in [
        ("qdq-u8s8-channels", ["s8", "u8", "u8"], 8, 1e-5),
        ("qdq-s8s8", ["s8", "u8", "u8"], 8, 1e-5),
        ("qdq-u8u8", ["s8", "u8", "u8"], 8, 1e-5),
        ("qdq-u8s4", ["s8", "u8", "u8"], 4, 1e-5),
        ("qdq-u16s8", ["s17", "u16", "u16"], 8, 1e-5),
        ("qoperator-u8s8-channels", ["s8", "u8", "u8"], 8, 1.0 / 100.0),
        ("qoperator-u8u8", ["s8", "u8", "u8"], 8, 1.0 / 100.0),
        ("qonnx", ["s8", "u3", ""], 4, 1e-5),
    ] {
        let (graph, about) = read(name);
        let found = plain::outputs(&graph, &[about.input], PICTURES);
        let largest = about.output.iter().fold(0f64, |most, x| most.max(x.abs()));
        assert_eq!(found[0].len(), about.output.len());
        for (n, (found, expected)) in found[0].iter().zip(&about.output).enumerate() {
            if (found - expected).abs() > step * largest {
                wrong.push(format!("{name}: {n} is {found}, expected {expected}"));
            }
        }
        let kinds = kinds(&graph);
        let names: Vec<&str> = kinds.iter().map(|(name, ..)| &**name).collect();
        let expected = if name == "qonnx" {
            &["conv1", "conv2"][..]
        } else {
            &["stem", "inner", "side"]
        };
        assert_eq!(names, expected, "{name}");
        let read: Vec<&str> = kinds.iter().map(|(_, inputs, _)| &**inputs).collect();
        if read != inputs[..expected.len()] || kinds[0].2 != weights {
            wrong.push(format!("{name}: {kinds:?}"));
        }
        // The layers for the mapper are those of the graph, with the same widths.
        let file = std::fs::read(format!("tests/fixtures/quantised/{name}.onnx")).unwrap();
        let import = import("x", &file[..], None).unwrap();
        assert_eq!(import.widths_unknown, None, "{name}");
        assert_eq!(import.network, graph.mapped("x"), "{name}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_network_that_is_quantised_for_each_input_is_refused_by_name() {
    let file = std::fs::read("tests/fixtures/quantised/dynamic.onnx").unwrap();
    let error = import_graph(&file[..], None).unwrap_err().to_string();
    assert!(
        error.contains("DynamicQuantizeLinear") && error.contains("statically"),
        "{error}"
    );
}
