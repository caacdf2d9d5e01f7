//! Ties between the widths of ONNX files: what is shared, what is refused, and that hostile files take little.

use std::time::{Duration, Instant};

use super::*;

/// Pads each side by one.
fn conv(reads: &[&str], output: &str) -> NodeProto {
    node("Conv", reads, output, vec![ints("pads", &[1; 4])])
}

fn weights() -> Vec<TensorProto> {
    vec![
        tensor("w1", &[8, 3, 3, 3]),
        tensor("w2", &[8, 8, 3, 3]),
        tensor("w3", &[4, 8, 3, 3]),
        tensor("b", &[8]),
        tensor("b2", &[8]),
    ]
}

/// Three convolutions, `between` the second and the third: that reads `z`.
fn three(biases: [&str; 2], constants: Vec<TensorProto>, between: Vec<NodeProto>) -> ModelProto {
    let mut nodes = vec![
        conv(&["x", "w1", biases[0]], "a"),
        conv(&["a", "w2", biases[1]], "c"),
    ];
    nodes.extend(between);
    nodes.push(conv(&["z", "w3"], "y"));
    model(&[1, 3, 8, 8], [weights(), constants].concat(), nodes)
}

fn relu() -> Vec<NodeProto> {
    vec![node("Relu", &["c"], "z", vec![])]
}

fn widths(model: ModelProto) -> Vec<usize> {
    let import = from_model("x", model, None).unwrap();
    assert_eq!(import.widths_unknown, None);
    import.network.widths().unwrap()
}

fn unknown(model: ModelProto) -> String {
    let import = from_model("x", model, None).unwrap();
    assert!(import.network.ties.is_empty());
    import.widths_unknown.unwrap()
}

#[test]
fn a_constant_that_is_shared_ties_the_widths_that_read_it() {
    assert_eq!(widths(three(["b", "b2"], vec![], relu())), [8, 8]);
    assert_eq!(widths(three(["b", "b"], vec![], relu())), [8]);
    // Under another name.
    let mut aliased = three(["b", "b3"], vec![], relu());
    let nodes = &mut aliased.graph.as_mut().unwrap().node;
    nodes.insert(0, node("Identity", &["b"], "b3", vec![]));
    assert_eq!(widths(aliased), [8]);
    // Written as nodes.
    for (biases, expected) in [(["b", "b2"], vec![8, 8]), (["b", "b"], vec![8])] {
        let mut model = three(biases, vec![], relu());
        let graph = model.graph.as_mut().unwrap();
        for tensor in mem::take(&mut graph.initializer).into_iter().rev() {
            let name = tensor.name.clone();
            graph
                .node
                .insert(0, node("Constant", &[], &name, vec![held("value", tensor)]));
        }
        assert_eq!(widths(model), expected);
    }
}

#[test]
fn a_constant_without_its_number_is_one_for_all_channels() {
    let scale = vec![node("Mul", &["c", "s"], "z", vec![])];
    assert_eq!(widths(three(["b", "b2"], vec![tensor("s", &[])], scale)), [8, 8]);
}

#[test]
fn a_resize_needs_no_region_of_interest_to_tie() {
    let empty = held("value", tensor("", &[0]));
    let scales = TensorProto {
        float_data: vec![1.0, 1.0, 2.0, 2.0],
        ..tensor("", &[4])
    };
    let between = vec![
        node("Constant", &[], "roi", vec![empty]),
        node("Constant", &[], "scales", vec![held("value", scales)]),
        node("Resize", &["c", "roi", "scales"], "z", vec![]),
    ];
    assert_eq!(widths(three(["b", "b2"], vec![], between)), [8, 8]);
}

/// A convolution between others, its channels in a row, and two matrices behind it.
fn matrices(second: NodeProto) -> ModelProto {
    let nodes = vec![
        conv(&["x", "w1"], "a"),
        conv(&["a", "w2"], "c"),
        node("GlobalAveragePool", &["c"], "p", vec![]),
        node("Flatten", &["p"], "f", vec![]),
        node("MatMul", &["f", "m"], "g", vec![]),
        second,
    ];
    let constants = vec![tensor("m", &[8, 5]), tensor("n", &[8, 5])];
    model(&[1, 3, 8, 8], [weights(), constants].concat(), nodes)
}

#[test]
fn a_matrix_that_is_read_both_ways_is_refused() {
    let turned = |weight: &str| node("Gemm", &["g", weight], "y", vec![int("transB", 1)]);
    assert_eq!(widths(matrices(turned("n"))), [8]);
    let reason = unknown(matrices(turned("m")));
    assert!(
        reason.contains("the constant `m` turned round and as it is"),
        "{reason}"
    );
}

#[test]
fn widths_that_one_matrix_ties_have_to_be_equal() {
    let twice = vec![ints("pads", &[1; 4]), ints("strides", &[2, 2])];
    let row = |reads: &str, output: &str| node("Flatten", &[reads], output, vec![]);
    let nodes = vec![
        conv(&["x", "w1"], "a"),
        node("Conv", &["a", "w"], "c", twice),
        row("a", "d"),
        row("c", "e"),
        node("MatMul", &["d", "m"], "f", vec![]),
        node("MatMul", &["e", "m"], "g", vec![]),
        conv(&["c", "v"], "y"),
    ];
    let constants = vec![
        tensor("w", &[32, 8, 3, 3]),
        tensor("v", &[4, 32, 3, 3]),
        tensor("m", &[512, 5]),
    ];
    let mut model = model(&[1, 3, 8, 8], [weights(), constants].concat(), nodes);
    let outputs = &mut model.graph.as_mut().unwrap().output;
    outputs.extend(["f", "g"].map(|name| ValueInfoProto {
        name: name.to_owned(),
        ..ValueInfoProto::default()
    }));
    let reason = unknown(model);
    assert!(
        reason.contains("channels wide where others tied to it are not"),
        "{reason}"
    );
}

#[test]
fn what_old_operator_sets_say_otherwise_is_refused() {
    let old = |between: NodeProto| {
        let mut model = three(["b", "b2"], vec![], vec![between]);
        model.opset_import[0].version = 6;
        unknown(model)
    };
    let attributes = vec![int("axis", 1), int("broadcast", 1)];
    let reason = old(node("Add", &["c", "b"], "z", attributes));
    assert!(reason.contains("says in an old way"), "{reason}");
    let reason = old(node("Dropout", &["c"], "z", vec![]));
    assert!(reason.contains("may drop values"), "{reason}");
}

/// Whether a model is read in the time that files of its size may take.
fn quick(model: ModelProto) -> Import {
    let start = Instant::now();
    let import = from_model("x", model, None).unwrap();
    assert!(start.elapsed() < Duration::from_secs(8));
    import
}

#[test]
fn hostile_files_take_little() {
    // A node with a long name that many read.
    let mut long = three(["b", "b2"], vec![], relu());
    let nodes = &mut long.graph.as_mut().unwrap().node;
    nodes[1].name = "c".repeat(1 << 20);
    let last = nodes.pop().unwrap();
    for n in 0..1000 {
        nodes.push(node("Relu", &["c"], &format!("r{n}"), vec![]));
    }
    let reads: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
    let reads: Vec<&str> = reads.iter().map(|name| &**name).collect();
    nodes.push(node("Concat", &reads, "all", vec![int("axis", 2)]));
    nodes.push(last);
    let graph = long.graph.as_mut().unwrap();
    graph.output.push(ValueInfoProto {
        name: "all".to_owned(),
        ..ValueInfoProto::default()
    });
    let reason = quick(long).widths_unknown.unwrap();
    assert!(reason.contains("letters of names"), "{}", reason.len());

    // A slice that takes a part of a part, and so on.
    let slice = |count: usize| {
        let list = |name: &str, number: i64| ints(name, &vec![number; count]);
        node(
            "Slice",
            &["c"],
            "z",
            vec![list("starts", 0), list("ends", 8), list("axes", 2)],
        )
    };
    let mut parts = three(["b", "b2"], vec![], vec![slice(100_000)]);
    parts.opset_import[0].version = 9;
    parts.graph.as_mut().unwrap().value_info = vec![placeholder("z".to_owned(), &tensor("z", &[1, 8, 8, 8]))];
    let reason = quick(parts).widths_unknown.unwrap();
    assert!(reason.contains("names a dimension twice"), "{reason}");

    // A constant beside values of other dimensions in turns.
    let mut turns = vec![node("Reshape", &["c", "row"], "d0", vec![])];
    for n in 0..4000 {
        let name = |kind: char, n: usize| format!("{kind}{n}");
        turns.push(node("Sub", &["one", &name('d', n)], &name('d', n + 1), vec![]));
        let wide = if n == 0 { "c".to_owned() } else { name('e', n) };
        turns.push(node("Sub", &["one", &wide], &name('e', n + 1), vec![]));
    }
    turns.push(node("Reshape", &["d4000", "map"], "d", vec![]));
    turns.push(node("Add", &["d", "e4000"], "z", vec![]));
    let one = TensorProto {
        float_data: vec![1.0],
        ..tensor("one", &[1])
    };
    let constants = vec![one, shape("row", &[1, 8, 64]), shape("map", &[1, 8, 8, 8])];
    quick(three(["b", "b2"], constants, turns));
}
