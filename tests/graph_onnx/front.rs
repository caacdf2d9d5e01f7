//! Graphs from ONNX files: what is read back computes the same, and its widths are tied as those of what was written.

use vwc_sdk::graph::{Affine, Binary, Constant, Conv, Function, Graph, Linear, NodeSpec, OnnxExport, Op};
use vwc_sdk::mapping::Padding;
use vwc_sdk::onnx::{import, import_graph, import_with_linear};

use crate::cases::{PICTURES, cases, noise};
use crate::plain;

fn file(graph: &Graph) -> Vec<u8> {
    graph.to_onnx(&OnnxExport::new("network")).unwrap()
}

#[test]
fn what_is_read_back_computes_the_same() {
    for case in cases() {
        let file = case.file();
        let graph =
            import_graph(&file.bytes[..], None).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let found = plain::outputs(&graph, &case.inputs, PICTURES);
        let found: Vec<Vec<f32>> = found
            .into_iter()
            .map(|output| output.into_iter().map(|x| x as f32).collect())
            .collect();
        file.assert_computed(&found, "the graph that was read");
    }
}

/// GELU is written as its formula, and read as itself.
#[test]
fn a_formula_is_read_as_gelu() {
    let read = import_graph(&file(&crate::graph("gelu"))[..], None).unwrap();
    let functions: Vec<_> = read
        .nodes()
        .iter()
        .skip(1)
        .map(|node| node.op().clone())
        .collect();
    assert_eq!(functions, [Function::Gelu.into()]);
}

#[test]
fn what_is_read_back_is_written_again_the_same() {
    for name in ["residual", "twice", "conv-four-sides", "affine-channels"] {
        let first = file(&crate::graph(name));
        let second = file(&import_graph(&first[..], None).unwrap());
        let third = file(&import_graph(&second[..], None).unwrap());
        assert!(second == third, "{name}");
    }
}

fn conv(outputs: usize, inputs: usize, size: usize, groups: usize) -> Conv {
    let shape = [outputs, inputs / groups, size, size];
    let side = size / 2;
    Conv {
        padding: Padding {
            top: side,
            bottom: side,
            left: side,
            right: side,
        },
        groups,
        ..Conv::new(Constant::new(shape, noise(7, shape.iter().product())))
    }
}

fn norm(channels: usize) -> Affine {
    let part = |seed| Some(Constant::new([channels, 1, 1], noise(seed, channels)));
    Affine {
        minus: part(1),
        factor: part(2),
        plus: part(3),
        ..Affine::default()
    }
}

fn head(inputs: usize, reads: &str) -> Vec<NodeSpec> {
    let linear = Linear {
        weight: Constant::new([inputs, 10], noise(9, inputs * 10)),
        bias: Some(Constant::new([10], noise(8, 10))),
    };
    vec![
        NodeSpec::new("pool", Op::AdaptiveAvgPool { output: [1, 1] }, [reads]),
        NodeSpec::new("flat", Op::Reshape { shape: vec![inputs] }, ["pool"]),
        NodeSpec::new("head", linear, ["flat"]),
    ]
}

fn residual() -> Graph {
    let mut nodes = vec![
        NodeSpec::input("x", [3, 16, 16]),
        NodeSpec::new("stem", conv(16, 3, 3, 1), ["x"]),
        NodeSpec::new("stem.norm", norm(16), ["stem"]),
        NodeSpec::new("stem.relu", Function::Relu, ["stem.norm"]),
        NodeSpec::new("conv1", conv(24, 16, 3, 1), ["stem.relu"]),
        NodeSpec::new("relu1", Function::Relu, ["conv1"]),
        NodeSpec::new("conv2", conv(16, 24, 3, 1), ["relu1"]),
        NodeSpec::new("norm2", norm(16), ["conv2"]),
        NodeSpec::new("sum", Binary::Add, ["norm2", "stem.relu"]),
        NodeSpec::new("last", conv(32, 16, 3, 1), ["sum"]),
    ];
    nodes.extend(head(32, "last"));
    Graph::new(nodes, ["head"]).unwrap()
}

/// An inverted residual with a depthwise layer and squeeze-and-excite.
fn mobile() -> Graph {
    let mut nodes = vec![
        NodeSpec::input("x", [3, 16, 16]),
        NodeSpec::new("stem", conv(16, 3, 3, 1), ["x"]),
        NodeSpec::new("expand", conv(48, 16, 1, 1), ["stem"]),
        NodeSpec::new("swish", Function::Silu, ["expand"]),
        NodeSpec::new("depthwise", conv(48, 48, 3, 48), ["swish"]),
        NodeSpec::new("squeeze", Op::AdaptiveAvgPool { output: [1, 1] }, ["depthwise"]),
        NodeSpec::new("down", conv(12, 48, 1, 1), ["squeeze"]),
        NodeSpec::new("up", conv(48, 12, 1, 1), ["down"]),
        NodeSpec::new(
            "gate",
            Function::HardSigmoid {
                alpha: 0.2,
                beta: 0.5,
            },
            ["up"],
        ),
        NodeSpec::new("excite", Binary::Mul, ["depthwise", "gate"]),
        NodeSpec::new("project", conv(16, 48, 1, 1), ["excite"]),
        NodeSpec::new("sum", Binary::Add, ["project", "stem"]),
        NodeSpec::new("last", conv(32, 16, 1, 1), ["sum"]),
    ];
    nodes.extend(head(32, "last"));
    Graph::new(nodes, ["head"]).unwrap()
}

fn concatenation() -> Graph {
    let mut nodes = vec![
        NodeSpec::input("x", [3, 16, 16]),
        NodeSpec::new("stem", conv(16, 3, 3, 1), ["x"]),
        NodeSpec::new("inner", conv(12, 16, 3, 1), ["stem"]),
        NodeSpec::new("left", conv(8, 12, 3, 1), ["inner"]),
        NodeSpec::new("both", Op::Concat { axis: 0 }, ["left", "stem"]),
        NodeSpec::new("last", conv(32, 24, 3, 1), ["both"]),
    ];
    nodes.extend(head(32, "last"));
    Graph::new(nodes, ["head"]).unwrap()
}

#[test]
fn widths_are_tied_as_those_of_the_graph() {
    for (graph, widths) in [
        (residual(), vec![16, 24]),
        (mobile(), vec![16, 48, 12]),
        (concatenation(), vec![12]),
    ] {
        let import = import("network", &file(&graph)[..], None).unwrap();
        assert_eq!(import.widths_unknown, None);
        assert_eq!(import.network, graph.mapped("network"));
        assert_eq!(import.network.widths().unwrap(), widths);
    }
    for case in cases() {
        let import = import(&case.name, &file(&case.graph)[..], None);
        if let Ok(import) = import {
            assert_eq!(import.network, case.graph.mapped(&case.name), "{}", case.name);
        }
    }
}

/// The width in front of a linear layer stays where its channels are several numbers each.
/// Channels of a product of two values are rows of matrices, columns, or how many matrices there are: none of them may go.
#[test]
fn channels_that_a_product_reads_stay() {
    let between = |op: Op, reads: &[&str]| {
        let nodes = [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("stem", conv(8, 3, 1, 1), ["x"]),
            NodeSpec::new("inner", conv(8, 8, 1, 1), ["stem"]),
            NodeSpec::new("both", op, reads.to_vec()),
            NodeSpec::new("head", conv(5, 8, 1, 1), ["both"]),
        ];
        Graph::new(nodes, ["head"]).unwrap().mapped("x")
    };
    assert_eq!(
        between(Binary::Add.into(), &["stem", "inner"]).widths().unwrap(),
        [8]
    );
    assert!(between(Op::MatMul, &["stem", "inner"]).ties.is_empty());
}

#[test]
fn linear_layers_are_convolutions_where_asked() {
    let graph = residual();
    let import = import_with_linear("network", &file(&graph)[..], None).unwrap();
    assert_eq!(import.network, graph.mapped_with_linear("network"));
    assert_eq!((import.left_out, import.network.layers.len()), (vec![], 5));
    // The last convolution's width is read by the head.
    assert_eq!(import.network.widths().unwrap(), [16, 24, 32]);
    let flat = |side: usize| {
        let linear = Linear {
            weight: Constant::new([16 * side * side, 10], noise(9, 160 * side * side)),
            bias: None,
        };
        let nodes = [
            NodeSpec::input("x", [3, side, side]),
            NodeSpec::new("conv", conv(16, 3, 3, 1), ["x"]),
            NodeSpec::new(
                "flat",
                Op::Reshape {
                    shape: vec![16 * side * side],
                },
                ["conv"],
            ),
            NodeSpec::new("head", linear, ["flat"]),
        ];
        Graph::new(nodes, ["head"]).unwrap()
    };
    for (side, widths) in [(1, vec![16]), (2, vec![])] {
        let network = flat(side).mapped_with_linear("network");
        assert_eq!(network.layers[1].in_channels, 16 * side * side);
        let ties = network.ties.iter().filter(|tie| tie.output.is_some()).count();
        assert_eq!(ties, widths.len());
    }
}

/// The file of a network with an operator in it that graphs do not have: one of as many letters takes the place of `Tanh`.
fn strange() -> Vec<u8> {
    let nodes = [
        NodeSpec::input("x", [3, 16, 16]),
        NodeSpec::new("stem", conv(16, 3, 3, 1), ["x"]),
        NodeSpec::new("bent", Function::Tanh, ["stem"]),
        NodeSpec::new("last", conv(16, 16, 3, 1), ["bent"]),
    ];
    let mut file = file(&Graph::new(nodes, ["last"]).unwrap());
    let at = file.windows(4).position(|letters| letters == b"Tanh").unwrap();
    file[at..at + 4].copy_from_slice(b"Atan");
    file
}

#[test]
fn the_command_prints_a_front_and_names_what_it_cannot_read() {
    use assert_cmd::{Command, cargo_bin};

    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, file: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, file).unwrap();
        path.display().to_string()
    };
    let run = |args: &[&str]| {
        let output = Command::new(cargo_bin!("vwc-sdk")).args(args).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let path = write("residual.onnx", &file(&residual()));
    let (code, out, err) = run(&["front", &path, "--array", "64x64"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.lines().count() > 4, "{out}");
    let (code, out, err) = run(&["map", &path, "--array", "64x64", "--channels", "rcp"]);
    assert_eq!((code, out.contains("conv2")), (Some(0), true), "{err}");

    let path = write("strange.onnx", &strange());
    let reason = "its widths cannot be told: `bent` (Atan) is an operator that graphs do not have";
    for args in [
        &["front"][..],
        &["map", "--channels", "rcp"],
        &["map", "--method", "vwc-sdk"],
    ] {
        let (code, out, err) = run(&[args, &[&*path, "--array", "64x64"]].concat());
        assert_eq!((code, &*out), (Some(1), ""), "{err}");
        assert!(err.starts_with("error: ") && err.contains(reason), "{err}");
    }
    let (code, out, err) = run(&["map", &path, "--array", "64x64"]);
    assert_eq!((code, out.contains("last")), (Some(0), true), "{err}");
}
