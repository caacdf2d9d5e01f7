//! ONNX files of any bytes.

use std::collections::HashSet;

use vwc_sdk::{
    mapping::Accounting,
    onnx::{OnnxError, import, import_graph},
};

/// Reads a file of these bytes. The import does not panic, an error is a sentence, and the layers of what was read are
/// sound and have names of their own, and free widths that fit them. The same of the graph of the file.
///
/// # Panics
///
/// Where that is not so.
pub fn onnx(bytes: &[u8]) {
    for input_size in [None, Some([32, 48])] {
        match import("fuzzed", bytes, input_size) {
            Ok(import) => {
                let layers = &import.network.layers;
                assert!(!layers.is_empty(), "a network without convolutions was accepted");
                let mut names = HashSet::new();
                for layer in layers {
                    layer.validate(Accounting::ExactGeometry).unwrap();
                    assert!(names.insert(&layer.name), "two layers are called {}", layer.name);
                }
                if !import.network.ties.is_empty() {
                    import.network.widths().unwrap();
                }
                let said = import.widths_unknown.unwrap_or_default();
                assert!(!said.chars().any(char::is_control), "{said:?}");
            }
            Err(error) => assert_is_a_sentence(&error, bytes),
        }
        match import_graph(bytes, input_size) {
            Ok(graph) => drop(graph.mapped("fuzzed")),
            // The shapes that do not fit are written out.
            Err(error @ (OnnxError::NoGraph { .. } | OnnxError::Graph(_))) => {
                let said = error.to_string();
                assert!(!said.chars().any(char::is_control), "{said:?}");
            }
            Err(error) => assert_is_a_sentence(&error, bytes),
        }
    }
}

fn assert_is_a_sentence(error: &OnnxError, bytes: &[u8]) {
    let said = error.to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
    // Names stand in backticks, and an operator that is not known stands without. Either may hold anything.
    let quotes = bytes.contains(&b'`');
    if quotes
        || matches!(
            error,
            OnnxError::Unknown { .. } | OnnxError::UnknownOperator { .. }
        )
    {
        return;
    }
    // So may the value of an attribute, and a control character in it is written out.
    let said = match said.split_once("unknown `auto_pad`") {
        Some((before, _)) => before.to_owned(),
        None => said.replace("\\u{", "u"),
    };
    let words: String = said.split('`').step_by(2).collect();
    for syntax in ["Some(", "None", "Err(", "Error", "::", "{", "[", "\""] {
        assert!(!words.contains(syntax), "{said}");
    }
}
