//! ONNX files: the layers are those that PyTorch computes, and no file brings the import down.
#![cfg(feature = "onnx")]

#[path = "fuzz/onnx.rs"]
mod fuzz;

use std::fs;

use assert_cmd::{Command, cargo_bin};
use proptest::prelude::*;
use serde::Deserialize;
use vwc_sdk::{
    graph::presets,
    mapping::{Accounting, ConvLayer},
    onnx::{Import, OnnxError, import},
};

const FIXTURES: [&str; 3] = ["resnet18", "mobilenet_v2", "unequal"];

fn path(name: &str) -> String {
    format!("tests/fixtures/onnx/{name}")
}

fn bytes(fixture: &str) -> Vec<u8> {
    fs::read(path(&format!("{fixture}.onnx"))).unwrap()
}

fn read(fixture: &str) -> Import {
    import(fixture, &bytes(fixture)[..], None).unwrap()
}

/// A convolution as PyTorch describes it.
#[derive(Debug, PartialEq, Deserialize)]
struct Conv {
    in_channels: usize,
    out_channels: usize,
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    output: [usize; 2],
}

impl From<&ConvLayer> for Conv {
    fn from(layer: &ConvLayer) -> Self {
        Self {
            in_channels: layer.in_channels,
            out_channels: layer.out_channels,
            kernel: layer.kernel,
            stride: layer.stride,
            dilation: layer.dilation,
            groups: layer.groups,
            output: layer.output(Accounting::ExactGeometry),
        }
    }
}

#[test]
fn layers_are_those_that_pytorch_computes() {
    for fixture in FIXTURES {
        let said = fs::read_to_string(path(&format!("{fixture}.json"))).unwrap();
        let said: Vec<Conv> = serde_json::from_str(&said).unwrap();
        let found = read(fixture);
        let layers: Vec<Conv> = found.network.layers.iter().map(Conv::from).collect();
        assert_eq!(layers, said, "{fixture}");
        assert_eq!(found.network.name, fixture);
        assert_eq!(found.widths_unknown, None, "{fixture}");
        assert_eq!(found.left_out.len(), 1, "the head of {fixture}");
        assert_eq!(found.left_out[0].1, "Gemm", "{fixture}");
    }
}

#[test]
fn networks_equal_their_presets() {
    // In everything but names; the shortcuts may come earlier or later.
    let sorted = |layers: &[ConvLayer]| {
        let mut lines: Vec<_> = layers
            .iter()
            .map(|layer| ConvLayer {
                name: String::new(),
                ..layer.clone()
            })
            .map(|layer| serde_json::to_string(&layer).unwrap())
            .collect();
        lines.sort();
        lines
    };
    for (fixture, preset) in [("resnet18", "resnet18"), ("mobilenet_v2", "mobilenet-v2")] {
        let (found, preset) = (read(fixture).network, presets::network(preset).unwrap());
        assert_eq!(sorted(&found.layers), sorted(&preset.layers), "{fixture}");
    }
}

#[test]
fn padding_may_differ_from_side_to_side() {
    let layers = read("unequal").network.layers;
    let padding: Vec<[usize; 4]> = layers.iter().map(|layer| layer.padding.into()).collect();
    // The second was a layer of its own, which the exporter drew into the convolution.
    assert_eq!(padding[0], [0, 1, 1, 2]);
    assert_eq!((padding[1], layers[1].input), ([0, 3, 1, 2], [33, 33]));
    assert_eq!((padding[2], layers[2].dilation), ([2, 2, 1, 1], [2, 1]));
    assert_eq!(layers[0].name, "stem");
}

#[test]
fn layers_are_called_by_the_paths_of_their_weights() {
    let names = |fixture: &str| -> Vec<String> {
        let layers = read(fixture).network.layers;
        layers.into_iter().map(|layer| layer.name).collect()
    };
    // The exporter called this one `node_Conv_174` or the like.
    let resnet = names("resnet18");
    assert_eq!(
        resnet[..4],
        ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1"]
    );
    assert!(resnet.contains(&"layer4.0.downsample.0".to_owned()), "{resnet:?}");
    // The weights of this one are called `onnx::Conv_538`, its nodes `/features/features.1/conv/conv.0/conv.0.0/Conv`.
    let mobile = names("mobilenet_v2");
    assert_eq!(
        mobile[..3],
        ["features.0.0", "features.1.conv.0.0", "features.1.conv.1"]
    );
    assert_eq!(names("unequal"), ["stem", "wide", "dilated"]);
    assert_eq!(
        read("mobilenet_v2").left_out,
        [("classifier.1".to_owned(), "Gemm".to_owned())]
    );
}

#[test]
fn a_size_that_the_file_states_is_not_asked_for() {
    let error = import("resnet18", &bytes("resnet18")[..], Some([320, 320])).unwrap_err();
    assert!(matches!(error, OnnxError::FixedSize), "{error}");
}

#[test]
fn what_is_not_onnx_is_refused() {
    for (bytes, says) in [
        (&b""[..], "it holds no graph"),
        (b"name,input\nconv,8\n", "it cannot be read as ONNX"),
        (&[0xff; 4096], "its bytes are no model, or not all of one"),
    ] {
        let error = import("x", bytes, None).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert_is_a_sentence(&error);
    }
}

/// Names, which stand in backticks, may be anything; the words around them hold nothing of Rust's syntax.
fn assert_is_a_sentence(error: &str) {
    let words: String = error.split('`').step_by(2).collect();
    for syntax in ["Some(", "None", "Err(", "Error", "::", "{", "[", "\"", "\n"] {
        assert!(!words.contains(syntax), "{error}");
    }
}

#[test]
fn a_file_may_end_anywhere() {
    for fixture in FIXTURES {
        let bytes = bytes(fixture);
        // Cut at every byte, the larger file at some.
        for end in (0..bytes.len()).step_by(bytes.len().div_ceil(4096)) {
            fuzz::onnx(&bytes[..end]);
        }
    }
}

/// The files that fuzzing starts from, and small quantised networks.
fn corpus() -> Vec<Vec<u8>> {
    let folders = ["fuzz/corpus/onnx", "tests/fixtures/quantised"];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    paths
        .filter(|path| path.extension().is_none_or(|ending| ending != "json"))
        .map(|path| fs::read(path).unwrap())
        .collect()
}

#[test]
fn the_corpus_is_read_or_refused() {
    let corpus = corpus();
    assert!(!corpus.is_empty());
    for bytes in corpus {
        fuzz::onnx(&bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn no_flipped_byte_brings_the_import_down(
        file in prop::sample::select(FIXTURES.map(bytes).into_iter().chain(corpus()).collect::<Vec<_>>()),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = file;
        for (index, byte) in flips {
            *index.get_mut(&mut bytes[..]) = byte;
        }
        fuzz::onnx(&bytes);
    }
}

fn vwc_sdk(args: &str) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin!("vwc-sdk"))
        .args(args.split_whitespace())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_maps_a_file_as_it_maps_the_preset() {
    let total = |network: &str| -> (serde_json::Value, String) {
        let (code, out, err) = vwc_sdk(&format!("map {network} --array 512x512 --format json"));
        assert_eq!(code, Some(0), "{err}");
        (
            serde_json::from_str::<serde_json::Value>(&out).unwrap()["total"].clone(),
            err,
        )
    };
    let (from_file, said) = total(&path("resnet18.onnx"));
    assert_eq!(said, "not mapped: fc (Gemm)\n");
    assert_eq!(from_file, total("resnet18").0);
}

#[test]
fn the_command_counts_linear_layers_where_asked() {
    let rows = |args: &str| -> Vec<serde_json::Value> {
        let (code, out, err) = vwc_sdk(&format!("map {args} --array 512x512 --format json"));
        assert_eq!((code, &*err), (Some(0), ""), "{args}");
        let json: serde_json::Value = serde_json::from_str(&out).unwrap();
        json["layers"].as_array().unwrap().clone()
    };
    let with = rows(&format!("{} --linear", path("resnet18.onnx")));
    assert_eq!((with.len(), &with[20]["name"]), (21, &"fc".into()));
    // 512 inputs fill the rows of an array, and 1000 outputs take the columns of two.
    assert_eq!(with[20]["cycles"], 2);
    let quantised = rows("tests/fixtures/quantised/qoperator-u8u8.onnx --linear");
    assert_eq!((quantised.len(), &quantised[3]["name"]), (4, &"head".into()));
    let (code, _, err) = vwc_sdk("map cnn8 --linear --array 64x64");
    assert!(
        code == Some(1) && err.contains("cnn8 lists its layers itself"),
        "{err}"
    );
}

#[test]
fn files_that_cannot_be_mapped_end_with_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty.onnx");
    fs::write(&empty, "").unwrap();
    let fixture = path("resnet18.onnx");
    for (args, says) in [
        ("nowhere.onnx".to_owned(), "nowhere.onnx: it could not be read"),
        (
            directory.path().join(".onnx").display().to_string(),
            "unknown network",
        ),
        (
            empty.display().to_string(),
            "empty.onnx: it cannot be read as ONNX",
        ),
        (format!("{fixture} --input-size 320x320"), "leave the flag out"),
        (
            "cnn8 --input-size 320x320".to_owned(),
            "cnn8 states its own sizes",
        ),
        (format!("{fixture} --input-size 320"), "such as 224x224"),
    ] {
        let (code, out, err) = vwc_sdk(&format!("map {args} --array 64x64"));
        let usage = says == "unknown network" || says == "such as 224x224";
        assert_eq!(
            (code, &*out),
            (Some(if usage { 2 } else { 1 }), ""),
            "{args}: {err}"
        );
        assert!(err.starts_with("error: ") && err.contains(says), "{err}");
    }
}
