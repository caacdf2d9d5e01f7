//! Attention in files: where the batch is, products of two values, and what is computed of constants.

use std::time::{Duration, Instant};

use super::*;
use crate::graph::{Graph, Op};

fn graph_of(model: ModelProto) -> Result<Graph, OnnxError> {
    let scopes = Vec::new();
    prepare(Decoded { model, scopes }, None)?.with_shapes(graph::graph)
}

fn stopped(model: ModelProto) -> String {
    graph_of(model).unwrap_err().to_string()
}

/// The operations of a graph behind its input, with the shapes of their results.
fn steps(model: ModelProto) -> Vec<(String, Vec<usize>)> {
    let graph = graph_of(model).unwrap();
    let known = |op: &Op| match op {
        Op::MatMul => "product",
        Op::Reshape { .. } => "reshape",
        Op::Permute { .. } => "permute",
        Op::Slice { .. } => "slice",
        Op::Pad { .. } => "pad",
        Op::Affine(_) => "affine",
        Op::Softmax { .. } => "softmax",
        other => panic!("{other:?}"),
    };
    let nodes = graph.nodes()[1..].iter();
    nodes
        .map(|node| (known(node.op()).to_owned(), node.shape().to_vec()))
        .collect()
}

fn step(name: &str, shape: &[usize]) -> (String, Vec<usize>) {
    (name.to_owned(), shape.to_vec())
}

fn reshape(x: &str, sizes: &str, to: &str) -> NodeProto {
    node("Reshape", &[x, sizes], to, vec![])
}

fn transpose(x: &str, order: &[i64], to: &str) -> NodeProto {
    node("Transpose", &[x], to, vec![ints("perm", order)])
}

#[test]
fn windows_may_be_in_one_dimension_with_the_batch() {
    // For any batch, and for one or two pictures.
    for (batch, windows) in [(0, -1), (1, 4), (2, 8)] {
        let sizes = vec![
            shape("map", &[windows / 4, 2, 3, 2, 3, 5]),
            shape("windows", &[windows, 9, 5]),
            shape("again", &[windows / 4, 2, 2, 3, 3, 5]),
            shape("whole", &[if windows < 0 { -1 } else { windows / 4 }, 6, 6, 5]),
        ];
        let mut sizes = sizes;
        if windows < 0 {
            sizes[0] = shape("map", &[-1, 2, 3, 2, 3, 5]);
            sizes[2] = shape("again", &[-1, 2, 2, 3, 3, 5]);
        }
        let nodes = vec![
            reshape("x", "map", "a"),
            transpose("a", &[0, 1, 3, 2, 4, 5], "b"),
            reshape("b", "windows", "c"),
            transpose("c", &[0, 2, 1], "d"),
            node("MatMul", &["c", "d"], "e", vec![]),
            node("MatMul", &["e", "c"], "f", vec![]),
            reshape("f", "again", "g"),
            transpose("g", &[0, 1, 3, 2, 4, 5], "h"),
            reshape("h", "whole", "y"),
        ];
        let wanted = [
            step("reshape", &[2, 3, 2, 3, 5]),
            step("permute", &[2, 2, 3, 3, 5]),
            step("reshape", &[4, 9, 5]),
            step("permute", &[4, 5, 9]),
            step("product", &[4, 9, 9]),
            step("product", &[4, 9, 5]),
            step("reshape", &[2, 2, 3, 3, 5]),
            step("permute", &[2, 3, 2, 3, 5]),
            step("reshape", &[6, 6, 5]),
        ];
        assert_eq!(steps(model(&[batch, 6, 6, 5], sizes, nodes)), wanted, "{batch}");
    }
}

#[test]
fn heads_may_be_in_one_dimension_with_a_batch_in_the_middle() {
    // `[tokens, batch * heads, width]`, with sizes that are computed of the batch.
    let constants = vec![
        shape("first", &[0]),
        shape("two", &[2]),
        shape("seven", &[7]),
        shape("three", &[3]),
        shape("six", &[6]),
    ];
    let nodes = vec![
        node("Shape", &["x"], "s", vec![]),
        node("Gather", &["s", "first"], "n", vec![]),
        transpose("x", &[1, 0, 2], "t"),
        node("Mul", &["n", "two"], "heads", vec![]),
        node(
            "Concat",
            &["seven", "heads", "three"],
            "sizes",
            vec![int("axis", 0)],
        ),
        reshape("t", "sizes", "q"),
        transpose("q", &[1, 0, 2], "u"),
        transpose("u", &[0, 2, 1], "k"),
        node("MatMul", &["u", "k"], "p", vec![]),
        node("MatMul", &["p", "u"], "v", vec![]),
        transpose("v", &[1, 0, 2], "w"),
        // Back in rows of all tokens of all pictures.
        node("Mul", &["n", "seven"], "rows", vec![]),
        node("Concat", &["rows", "six"], "flat", vec![int("axis", 0)]),
        reshape("w", "flat", "z"),
        node("Concat", &["seven", "n", "six"], "back", vec![int("axis", 0)]),
        reshape("z", "back", "b"),
        transpose("b", &[1, 0, 2], "y"),
    ];
    let found = steps(model(&[0, 7, 6], constants, nodes));
    assert_eq!(found.last(), Some(&step("permute", &[7, 6])));
    let products: Vec<_> = found.iter().filter(|(name, _)| name == "product").collect();
    assert_eq!(
        products,
        [&step("product", &[2, 7, 7]), &step("product", &[2, 7, 3])]
    );
}

#[test]
fn what_mixes_pictures_is_refused_by_name() {
    let along =
        |nodes: Vec<NodeProto>, constants: Vec<TensorProto>| stopped(model(&[0, 4, 4], constants, nodes));
    let turned = || transpose("x", &[1, 2, 0], "t");
    for (error, node) in [
        // Products, sums and softmax along the batch.
        (
            along(vec![turned(), node("MatMul", &["t", "t"], "y", vec![])], vec![]),
            "`y` (MatMul)",
        ),
        (
            along(
                vec![turned(), node("Softmax", &["t"], "y", vec![int("axis", -1)])],
                vec![],
            ),
            "`y` (Softmax)",
        ),
        (
            along(
                vec![
                    turned(),
                    node("ReduceMean", &["t"], "y", vec![ints("axes", &[2])]),
                ],
                vec![],
            ),
            "`y` (ReduceMean)",
        ),
        // Two values with the batch at two places.
        (
            along(vec![turned(), node("Add", &["t", "x"], "y", vec![])], vec![]),
            "`y` (Add)",
        ),
        // Half a picture in each of the batch.
        (
            along(vec![reshape("x", "half", "y")], vec![shape("half", &[-1, 3])]),
            "`y` (Reshape)",
        ),
        (
            along(
                vec![node(
                    "Einsum",
                    &["x", "x"],
                    "y",
                    vec![text("equation", "bij,bik->jk")],
                )],
                vec![],
            ),
            "`y` (Einsum)",
        ),
        (
            along(
                vec![node(
                    "Einsum",
                    &["x", "x"],
                    "y",
                    vec![text("equation", "b...,b...->b...")],
                )],
                vec![],
            ),
            "`y` (Einsum)",
        ),
    ] {
        assert!(error.starts_with(node), "{error}");
    }
}

#[test]
fn an_einsum_is_a_product_of_matrices() {
    let einsum = |equation: &str| {
        let nodes = vec![node("Einsum", &["x", "x"], "y", vec![text("equation", equation)])];
        steps(model(&[0, 2, 3, 5], vec![], nodes)).pop().unwrap().1
    };
    assert_eq!(einsum("bhid,bhjd->bhij"), [2, 3, 3]);
    assert_eq!(einsum("bhid, bhie -> bhde"), [2, 5, 5]);
    assert_eq!(einsum("bhid,bgid->bhg"), [2, 2]);
}

#[test]
fn a_sequence_of_parts_is_several_slices() {
    let nodes = vec![
        node("SplitToSequence", &["x", "two"], "s", vec![int("axis", 1)]),
        node("SequenceAt", &["s", "last"], "y", vec![]),
    ];
    let scalar = |name: &str, number: i64| TensorProto {
        dims: vec![],
        ..shape(name, &[number])
    };
    let of = |last| {
        model(
            &[0, 5, 3],
            vec![scalar("two", 2), scalar("last", last)],
            nodes.clone(),
        )
    };
    assert_eq!(steps(of(2)), [step("slice", &[1, 3])]);
    assert_eq!(steps(of(-3)), [step("slice", &[2, 3])]);
    assert!(stopped(of(3)).contains("a part that is not there"));
}

#[test]
fn an_end_that_was_computed_is_the_end() {
    // As the dynamo exporter writes `x[:, :, 1:]` where nothing is simplified: the largest integer of 64 bits is cast and reshaped.
    let nodes = vec![
        node("Cast", &["last"], "cast", vec![int("to", 7)]),
        reshape("cast", "row", "to"),
        node("Slice", &["x", "from", "to", "axis"], "y", vec![]),
    ];
    let constants = vec![
        shape("last", &[i64::MAX]),
        shape("row", &[-1]),
        shape("from", &[1]),
        shape("axis", &[2]),
    ];
    let graph = graph_of(model(&[0, 4, 4], constants, nodes)).unwrap();
    assert_eq!(graph.output(0).shape(), [4, 3]);
}

#[test]
fn constants_are_padded_with_zeros_alone() {
    let padded = |mode: &str, value: &[&str]| {
        let nodes = vec![
            node(
                "Pad",
                &[&["held", "sides"], value].concat(),
                "wide",
                vec![text("mode", mode)],
            ),
            node("Add", &["x", "wide"], "y", vec![]),
        ];
        let held = TensorProto {
            float_data: vec![1.0, 2.0],
            ..tensor("held", &[2])
        };
        let one = TensorProto {
            float_data: vec![1.0],
            ..tensor("one", &[])
        };
        graph_of(model(&[0, 4], vec![held, one, shape("sides", &[1, 1])], nodes))
    };
    assert!(padded("constant", &[]).is_ok());
    for (mode, value) in [
        ("reflect", &[][..]),
        ("edge", &[]),
        ("wrap", &[]),
        ("constant", &["one"]),
    ] {
        assert!(padded(mode, value).is_err(), "{mode} {value:?}");
    }
}

#[test]
fn padding_may_be_computed_in_a_matrix() {
    // As the script exporter writes `F.pad(x, (1, 2, 0, 3))`.
    let nodes = vec![
        node("Concat", &["pads", "zeros"], "all", vec![int("axis", 0)]),
        reshape("all", "pairs", "matrix"),
        node(
            "Slice",
            &["matrix", "from", "to", "rows", "back"],
            "turned",
            vec![],
        ),
        transpose("turned", &[1, 0], "columns"),
        reshape("columns", "row", "flat"),
        node("Pad", &["x", "flat"], "y", vec![]),
    ];
    let constants = vec![
        shape("pads", &[1, 2, 0, 3]),
        shape("zeros", &[0, 0]),
        shape("pairs", &[-1, 2]),
        shape("from", &[-1]),
        shape("to", &[i64::MIN + 1]),
        shape("rows", &[0]),
        shape("back", &[-1]),
        shape("row", &[-1]),
    ];
    let graph = graph_of(model(&[0, 4, 4], constants, nodes)).unwrap();
    let Op::Pad { sides, .. } = graph.nodes()[1].op() else {
        panic!("{:?}", graph.nodes()[1].op());
    };
    assert_eq!(sides[..], [[0, 3], [1, 2]]);
}

#[test]
fn floats_of_eight_bits_of_exponent_are_read() {
    let half = TensorProto {
        data_type: DataType::Bfloat16 as i32,
        raw_data: [1.5f32, -2.0]
            .iter()
            .flat_map(|x| x.to_bits().to_le_bytes()[2..].to_vec())
            .collect(),
        ..tensor("half", &[2])
    };
    let nodes = vec![
        node("Cast", &["half"], "whole", vec![int("to", 1)]),
        node("Mul", &["x", "whole"], "y", vec![]),
    ];
    let graph = graph_of(model(&[0, 3, 2], vec![half], nodes)).unwrap();
    let Op::Affine(affine) = graph.nodes()[1].op() else {
        panic!("{:?}", graph.nodes()[1].op());
    };
    assert_eq!(affine.factor.as_ref().unwrap().values(), [1.5, -2.0]);
}

#[test]
fn constants_of_constants_take_little() {
    let start = Instant::now();
    let one = || TensorProto {
        float_data: vec![1.0],
        ..tensor("one", &[1])
    };
    let add = |constant: &str| node("Add", &["x", constant], "y", vec![]);
    // Terabytes of ones, a long count, and a large constant that is read very often.
    let wide = vec![node("Expand", &["one", "wide"], "all", vec![]), add("all")];
    let error = stopped(model(
        &[0, 3],
        vec![one(), shape("wide", &[1 << 20, 1 << 20])],
        wide,
    ));
    assert!(error.starts_with("`all` (Expand)"), "{error}");

    let scalar = |name: &str, number: i64| TensorProto {
        dims: vec![],
        ..shape(name, &[number])
    };
    let long = vec![
        node("Range", &["from", "to", "step"], "all", vec![]),
        node("Gather", &["x", "all"], "y", vec![int("axis", 1)]),
    ];
    for (from, to, step) in [(0, i64::MAX, 1), (i64::MIN, i64::MAX, 1), (0, 5, 0), (5, 0, 1)] {
        let constants = vec![scalar("from", from), scalar("to", to), scalar("step", step)];
        let error = stopped(model(&[0, 3], constants, long.clone()));
        assert!(error.starts_with("`all` (Range)"), "{error}");
    }

    let mut often = vec![node("Expand", &["one", "large"], "c0", vec![])];
    for n in 0..4000 {
        often.push(node("ReduceMax", &[&format!("c{}", 0)], &format!("m{n}"), vec![]));
    }
    let names: Vec<String> = (0..4000).map(|n| format!("m{n}")).collect();
    let reads: Vec<&str> = names.iter().map(|name| &**name).collect();
    often.push(node("Concat", &reads, "all", vec![int("axis", 0)]));
    often.push(add("all"));
    let error = stopped(model(&[0, 3], vec![one(), shape("large", &[1 << 20])], often));
    assert!(error.contains("too many others"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn a_constant_may_come_first_beside_a_moved_batch() {
    let one = TensorProto {
        float_data: vec![1.0; 4],
        ..tensor("one", &[4])
    };
    let nodes = vec![
        transpose("x", &[1, 0, 2], "t"),
        node("Sub", &["one", "t"], "d", vec![]),
        transpose("d", &[1, 0, 2], "y"),
    ];
    let graph = graph_of(model(&[0, 3, 4], vec![one], nodes)).unwrap();
    let shapes: Vec<&[usize]> = graph.nodes().iter().map(|node| node.shape()).collect();
    assert_eq!(shapes, [&[3, 4][..], &[3, 4], &[1, 4], &[3, 4], &[3, 4]]);
}
