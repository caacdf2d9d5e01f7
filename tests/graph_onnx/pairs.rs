//! Quantised networks written with pairs of `QuantizeLinear` and `DequantizeLinear`, and as QONNX.

use vwc_sdk::graph::{
    Affine, Codes, Constant, Conv, Function, Graph, Linear, NodeSpec, OnnxExport, Op, Reduction,
};
use vwc_sdk::onnx::import_graph;

use crate::cases::noise;
use crate::onnx::{File, check};
use crate::plain;

fn affine(divisor: Option<f32>, factor: Option<f32>) -> Affine {
    Affine {
        divisor: divisor.map(Constant::scalar),
        factor: factor.map(Constant::scalar),
        ..Affine::default()
    }
}

/// A quantiser by a step, with its clamp in front of the rounding or behind it.
fn by_step(nodes: &mut Vec<NodeSpec>, reads: &str, step: f32, range: [f32; 2], clamp_first: bool) -> String {
    let [min, max] = range;
    let mut middle = [Function::Clamp { min, max }, Function::Round];
    if !clamp_first {
        middle.reverse();
    }
    let name = |n: usize| format!("{reads}.codes{n}");
    nodes.push(NodeSpec::new(
        name(0),
        affine(Some(step), None),
        [reads.to_owned()],
    ));
    for (n, function) in middle.into_iter().enumerate() {
        nodes.push(NodeSpec::new(name(n + 1), function, [name(n)]));
    }
    nodes.push(NodeSpec::new(name(3), affine(None, Some(step)), [name(2)]));
    name(3)
}

fn integers(seed: u64, shape: &[usize], range: [f32; 2], units: &[f32]) -> Constant {
    let [low, high] = range;
    let count: usize = shape.iter().product();
    let filter = count / shape[0];
    let values = noise(seed, count).into_iter().enumerate().map(|(n, x)| {
        let code = (low + (high - low) * (x + 1.0) / 2.0).round();
        code * units[n / filter % units.len()]
    });
    Constant::new(shape, values.collect::<Vec<f32>>())
}

/// A layer in full precision, a convolution and a linear layer of codes.
fn network(bits: u32, signed: bool) -> Graph {
    let (most, half) = ((1u32 << bits) as f32 - 1.0, (1u32 << (bits - 1)) as f32);
    let range = if signed { [-half, half - 1.0] } else { [0.0, most] };
    let mut nodes = vec![NodeSpec::input("x", [3, 6, 6])];
    let stem = Constant::new([4, 3, 3, 3], noise(1, 108));
    nodes.push(NodeSpec::new("stem", Conv::new(stem), ["x"]));
    let reads = if signed { "stem" } else { "relu" };
    if !signed {
        nodes.push(NodeSpec::new("relu", Function::Relu, ["stem"]));
    }
    let codes = by_step(&mut nodes, reads, 8.0 / most, range, true);
    let weights = [-half, half - 1.0];
    let units = [0.01f32, 0.02, 0.03, 0.04, 0.05].map(|unit| unit / half * 8.0);
    let body = Conv {
        bias: Some(Constant::new([5], noise(3, 5))),
        ..Conv::new(integers(2, &[5, 4, 3, 3], weights, &units))
    };
    nodes.push(NodeSpec::new("body", body, [codes]));
    let codes = by_step(&mut nodes, "body", 4.0 / half, [-half, half - 1.0], false);
    nodes.push(NodeSpec::new(
        "mean",
        Op::Reduce {
            kind: Reduction::Mean,
            axes: vec![1, 2],
        },
        [codes],
    ));
    nodes.push(NodeSpec::new("flat", Op::Reshape { shape: vec![5] }, ["mean"]));
    let fc = Linear {
        weight: integers(4, &[5, 7], weights, &[0.25 / half]),
        bias: None,
    };
    nodes.push(NodeSpec::new("fc", fc, ["flat"]));
    Graph::new(nodes, ["fc"]).unwrap()
}

fn kinds(graph: &Graph) -> Vec<(i32, i32, u32)> {
    let codes = graph.codes().into_iter().flatten();
    codes
        .map(|codes: Codes| (codes.low(), codes.high(), codes.bits()))
        .collect()
}

/// That what was read back of a file has the codes and weights of the graph that it was written of, and computes the same.
fn same_codes(graph: &Graph, read: &Graph, inputs: &[Vec<f32>], expected: &[Vec<f64>]) {
    for kind in kinds(graph) {
        assert!(kinds(read).contains(&kind), "{kind:?}\n{read}");
    }
    for name in ["body", "fc"] {
        let weight = |graph: &Graph| graph.node(graph.find(name).unwrap()).weight().unwrap().clone();
        let (found, expected) = (weight(read), weight(graph));
        assert_eq!(found.shape(), expected.shape());
        // A unit is the largest weight divided by its integer.
        for (found, expected) in found.values().iter().zip(expected.values()) {
            assert!((found - expected).abs() < 1e-6, "{name}: {found} {expected}");
        }
    }
    same_outputs(read, inputs, expected);
}

fn same_outputs(read: &Graph, inputs: &[Vec<f32>], expected: &[Vec<f64>]) {
    let found = plain::outputs(read, inputs, 2);
    for (found, expected) in found[0].iter().zip(&expected[0]) {
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }
}

#[test]
fn pairs_are_read_back_as_the_codes_that_they_are_of() {
    for (bits, signed) in [(8, false), (8, true), (4, false), (4, true)] {
        let graph = network(bits, signed);
        let bytes = graph.to_onnx(&OnnxExport::new("pairs").with_pairs()).unwrap();
        let inputs = [noise(7, 2 * 3 * 36)];
        let expected = plain::outputs(&graph, &inputs, 2);
        if bits == 8 {
            // tract has no integers of 4 bits.
            check(&[File {
                name: format!("pairs of {bits} bits, {signed}"),
                bytes: bytes.clone(),
                inputs: vec![(vec![2, 3, 6, 6], inputs[0].clone())],
                expected: expected.clone(),
                // ONNX Runtime computes in integers, where a sum on an edge may fall on the other side: a sixteenth of a step of a mean.
                tolerance: 5e-3,
            }]);
        }
        let read = import_graph(&bytes[..], None).unwrap();
        same_codes(&graph, &read, &inputs, &expected);
    }
}

/// The operator set that a file is of.
fn operator_set(graph: &Graph) -> i64 {
    let bytes = graph.to_onnx(&OnnxExport::new("set").with_pairs()).unwrap();
    // The domain of ONNX's own operators is an empty string, and the version follows.
    let field = [0x42, 4, 0x0a, 0, 0x10];
    let at = bytes.windows(field.len()).rposition(|found| found == field);
    at.map_or(0, |at| i64::from(bytes[at + field.len()]))
}

#[test]
fn few_codes_of_weights_ask_for_small_integers_beside_small_ones_alone() {
    let layer = |range: [f32; 2]| {
        let mut nodes = vec![NodeSpec::input("x", [3, 6, 6])];
        let codes = by_step(&mut nodes, "x", 0.1, range, true);
        let weight = integers(5, &[4, 3, 3, 3], [-2.0, 1.0], &[0.1]);
        nodes.push(NodeSpec::new("conv", Conv::new(weight), [codes]));
        Graph::new(nodes, ["conv"]).unwrap()
    };
    assert_eq!(operator_set(&layer([0.0, 255.0])), 17);
    assert_eq!(operator_set(&layer([0.0, 15.0])), 21);
    // A layer in full precision in front, whose filters have one weight each, is none of codes.
    let mut nodes = vec![NodeSpec::input("x", [3, 6, 6])];
    let scales = Conv {
        groups: 3,
        ..Conv::new(Constant::new([3, 1, 1, 1], [4.37, 4.46, 4.44]))
    };
    nodes.push(NodeSpec::new("scales", scales, ["x"]));
    let codes = by_step(&mut nodes, "scales", 0.1, [0.0, 255.0], true);
    let weight = integers(5, &[4, 3, 3, 3], [-128.0, 127.0], &[0.1]);
    nodes.push(NodeSpec::new("conv", Conv::new(weight), [codes]));
    assert_eq!(operator_set(&Graph::new(nodes, ["conv"]).unwrap()), 17);
}

/// Codes from a lowest one that is below zero, but not as far as the largest is above.
#[test]
fn codes_from_a_lowest_one_have_a_zero_point() {
    for (levels, lowest) in [(255.0, -23.0), (15.0, -3.0), (15.0, 0.0), (255.0, -254.0)] {
        let mut nodes = vec![NodeSpec::input("x", [3, 6, 6])];
        let number = |number: f32| Some(Constant::scalar(number));
        let clamp = Function::Clamp {
            min: 0.0,
            max: levels,
        };
        let step = 8.0 / levels;
        let ops: [Op; 6] = [
            affine(Some(step), None).into(),
            Function::Round.into(),
            Affine {
                minus: number(lowest),
                ..Affine::default()
            }
            .into(),
            clamp.into(),
            Affine {
                plus: number(lowest),
                ..Affine::default()
            }
            .into(),
            affine(None, Some(step)).into(),
        ];
        let mut reads = "x".to_owned();
        for (n, op) in ops.into_iter().enumerate() {
            nodes.push(NodeSpec::new(format!("codes{n}"), op, [reads]));
            reads = format!("codes{n}");
        }
        let weight = integers(5, &[4, 3, 3, 3], [-8.0, 7.0], &[0.1]);
        nodes.push(NodeSpec::new("conv", Conv::new(weight), [reads]));
        let graph = Graph::new(nodes, ["conv"]).unwrap();
        let last = graph.codes()[graph.find("codes5").unwrap().index()]
            .clone()
            .unwrap();
        assert_eq!(
            (last.low(), last.high()),
            (lowest as i32, (lowest + levels) as i32)
        );
        // Between two codes, too: the nearest even one is that of ONNX.
        let x: Vec<f32> = noise(7, 2 * 3 * 36);
        let x: Vec<f32> = x.into_iter().map(|x| (x * 20.0).round() * 0.5 * step).collect();
        let inputs = [x];
        let expected = plain::outputs(&graph, &inputs, 2);
        let export = || OnnxExport::new("lowest");
        for (export, operators) in [
            (export().with_pairs(), ["QuantizeLinear", "DequantizeLinear"]),
            (export().with_qonnx(), ["Quant", "Round"]),
        ] {
            let bytes = graph.to_onnx(&export).unwrap();
            let has = |name: &str| bytes.windows(name.len()).any(|found| found == name.as_bytes());
            assert!(operators.into_iter().all(has), "{operators:?}");
            // Nothing is left to be taken off in floats.
            assert_eq!(has("Sub"), operators[0] == "Quant");
            let read = import_graph(&bytes[..], None).unwrap();
            same_outputs(&read, &inputs, &expected);
            if operators[0] == "Quant" {
                continue;
            }
            // A file that is written of what was read has the zero point, too.
            let bytes = read.to_onnx(&OnnxExport::new("lowest").with_pairs()).unwrap();
            assert!(!bytes.windows(3).any(|found| found == b"Sub"));
            same_outputs(&import_graph(&bytes[..], None).unwrap(), &inputs, &expected);
        }
    }
}

/// ONNX Runtime rounds a bias within a convolution to multiples of the product of both scales.
#[test]
fn a_bias_beside_few_bits_is_added_by_an_operator_of_its_own() {
    let operators = |bits: u32, weights: f32| {
        let most = ((1u32 << bits) - 1) as f32;
        let mut nodes = vec![NodeSpec::input("x", [3, 6, 6])];
        let codes = by_step(&mut nodes, "x", 0.1, [0.0, most], true);
        let body = Conv {
            bias: Some(Constant::new([4], noise(3, 4))),
            ..Conv::new(integers(5, &[4, 3, 3, 3], [-weights, weights - 1.0], &[0.1]))
        };
        nodes.push(NodeSpec::new("body", body, [codes]));
        nodes.push(NodeSpec::new(
            "mean",
            Op::Reduce {
                kind: Reduction::Mean,
                axes: vec![1, 2],
            },
            ["body"],
        ));
        nodes.push(NodeSpec::new("flat", Op::Reshape { shape: vec![4] }, ["mean"]));
        let codes = by_step(&mut nodes, "flat", 0.1, [0.0, most], true);
        let fc = Linear {
            weight: integers(4, &[4, 7], [-weights, weights - 1.0], &[0.25]),
            bias: Some(Constant::new([7], noise(6, 7))),
        };
        nodes.push(NodeSpec::new("fc", fc, [codes]));
        let graph = Graph::new(nodes, ["fc"]).unwrap();
        let bytes = graph.to_onnx(&OnnxExport::new("bias").with_pairs()).unwrap();
        let inputs = [noise(7, 2 * 3 * 36)];
        same_outputs(
            &import_graph(&bytes[..], None).unwrap(),
            &inputs,
            &plain::outputs(&graph, &inputs, 2),
        );
        let named = |name: &str| bytes.windows(name.len()).any(|found| found == name.as_bytes());
        [named("body.add"), named("fc.add")]
    };
    assert_eq!(operators(8, 128.0), [false; 2]);
    assert_eq!(operators(4, 8.0), [true; 2]);
    assert_eq!(operators(4, 128.0), [true; 2]);
    assert_eq!(operators(8, 2.0), [true; 2]);
}

#[test]
fn what_pairs_do_not_hold_is_refused_by_name() {
    let refused = |graph: &Graph| {
        graph
            .to_onnx(&OnnxExport::new("no").with_pairs())
            .unwrap_err()
            .to_string()
    };
    let mut nodes = vec![NodeSpec::input("x", [3, 4, 4])];
    nodes.push(NodeSpec::new("relu", Function::Relu, ["x"]));
    let floats = Graph::new(nodes.clone(), ["relu"]).unwrap();
    assert!(
        refused(&floats).contains("nothing in the network is quantised"),
        "{}",
        refused(&floats)
    );
    // A filter of one weight is a multiple of it whatever it is.
    let weight = Constant::new([3, 1, 1, 1], [0.3, -0.7, 0.123]);
    let scales = Conv {
        groups: 3,
        ..Conv::new(weight)
    };
    let specs = [
        NodeSpec::input("x", [3, 4, 4]),
        NodeSpec::new("scales", scales, ["x"]),
    ];
    let scaled = Graph::new(specs, ["scales"]).unwrap();
    assert!(
        refused(&scaled).contains("nothing in the network is quantised"),
        "{}",
        refused(&scaled)
    );
    assert!(!scaled.to_string().contains(", W"), "{scaled}");
    let end = by_step(&mut nodes, "relu", 0.1, [0.0, 7.0], true);
    let three_bits = Graph::new(nodes, [end]).unwrap();
    let error = refused(&three_bits);
    assert!(
        error.contains("`relu.codes3`") && error.contains("from 0 to 7"),
        "{error}"
    );
    // DoReFa-Net's weights of 8 bits are odd multiples, up to 255.
    let weight = Constant::new(
        [4, 3, 1, 1],
        [
            -255.0, -1.0, 1.0, 253.0, 3.0, 5.0, 7.0, 9.0, 11.0, 255.0, -3.0, -5.0,
        ]
        .map(|x| x * 0.01),
    );
    let conv = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 4]),
            NodeSpec::new("conv", Conv::new(weight), ["x"]),
        ],
        ["conv"],
    );
    let error = refused(&conv.unwrap());
    assert!(
        error.contains("`conv`") && error.contains("-255 to 255"),
        "{error}"
    );
}

#[test]
fn qonnx_is_read_back_as_the_codes_that_it_is_of() {
    for (bits, signed) in [
        (8, false),
        (8, true),
        (5, true),
        (4, false),
        (3, true),
        (2, false),
        (2, true),
    ] {
        let graph = network(bits, signed);
        let bytes = graph.to_onnx(&OnnxExport::new("qonnx").with_qonnx()).unwrap();
        let inputs = [noise(7, 2 * 3 * 36)];
        let expected = plain::outputs(&graph, &inputs, 2);
        let read = import_graph(&bytes[..], None).unwrap();
        same_codes(&graph, &read, &inputs, &expected);
    }
}

#[test]
fn numbers_for_each_channel_are_batch_norms_in_qonnx() {
    let by_channel = |values: [f32; 2]| Some(Constant::new([2, 1, 1], values));
    let norm = Affine {
        minus: by_channel([0.25, -1.5]),
        divisor: by_channel([2.0, 0.5]),
        factor: by_channel([-1.25, 3.0]),
        plus: by_channel([0.125, 0.75]),
        epsilon: Some(1e-5),
    };
    let shift = Affine {
        plus: by_channel([0.5, -0.5]),
        ..Affine::default()
    };
    // The root of no variance.
    let halves = Affine {
        divisor: by_channel([-2.0, 0.25]),
        ..Affine::default()
    };
    let strange = Affine {
        divisor: by_channel([-4.0, 1e-3]),
        factor: by_channel([2.0, 1e-3]),
        epsilon: Some(1e-2),
        ..Affine::default()
    };
    let one_number = Affine {
        factor: Some(Constant::scalar(1.5)),
        ..Affine::default()
    };
    let by_place = Affine {
        plus: Some(Constant::new(
            [1, 3, 3],
            (0..9).map(|n| n as f32).collect::<Vec<_>>(),
        )),
        ..Affine::default()
    };
    let graph = Graph::new(
        [
            NodeSpec::input("x", [1, 3, 3]),
            NodeSpec::new("clamp", Function::Clamp { min: 0.0, max: 3.0 }, ["x"]),
            NodeSpec::new("round", Function::Round, ["clamp"]),
            NodeSpec::new(
                "conv",
                Conv::new(Constant::new([2, 1, 1, 1], [1.0, -0.5])),
                ["round"],
            ),
            NodeSpec::new("norm", norm, ["conv"]),
            NodeSpec::new("shift", shift, ["norm"]),
            NodeSpec::new("halves", halves, ["shift"]),
            NodeSpec::new("strange", strange, ["halves"]),
            NodeSpec::new("one", one_number, ["strange"]),
            NodeSpec::new("place", by_place, ["one"]),
        ],
        ["place"],
    )
    .unwrap();
    let inputs = [noise(3, 2 * 9)];
    let expected = plain::outputs(&graph, &inputs, 2);
    for (export, norms) in [
        (OnnxExport::new("norms").with_qonnx(), 4),
        (OnnxExport::new("norms"), 0),
    ] {
        let bytes = graph.to_onnx(&export).unwrap();
        assert_eq!(times(&bytes, "BatchNormalization"), norms);
        let read = import_graph(&bytes[..], None).unwrap();
        same_outputs(&read, &inputs, &expected);
    }
}

/// The names of the operators of another domain in a file, which stand in it as they are.
fn times(bytes: &[u8], word: &str) -> usize {
    let found = bytes
        .windows(word.len())
        .filter(|window| *window == word.as_bytes());
    found.count()
}

#[test]
fn signs_and_odd_weights_are_written_in_the_fewest_bits() {
    let one_bit = |weight: [f32; 4]| {
        Graph::new(
            [
                NodeSpec::input("x", [1, 4, 4]),
                NodeSpec::new("clamp", Function::Clamp { min: 0.0, max: 1.0 }, ["x"]),
                NodeSpec::new("round", Function::Round, ["clamp"]),
                NodeSpec::new("conv", Conv::new(Constant::new([4, 1, 1, 1], weight)), ["round"]),
            ],
            ["conv"],
        )
        .unwrap()
    };
    let export = OnnxExport::new("few").with_qonnx();
    let bytes = one_bit([0.5, -0.5, -0.5, 0.5]).to_onnx(&export).unwrap();
    assert_eq!(times(&bytes, "BipolarQuant"), 1);
    let read = import_graph(&bytes[..], None).unwrap();
    assert_eq!(kinds(&read), [(0, 1, 1), (0, 1, 1)]);
    assert_eq!(
        read.node(read.find("conv").unwrap()).weight().unwrap().values(),
        [0.5, -0.5, -0.5, 0.5]
    );
    // DoReFa-Net's weights of 2 bits: -3, -1, 1 and 3, which take 3 bits.
    let bytes = one_bit([0.75, -0.25, 0.25, -0.75]).to_onnx(&export).unwrap();
    assert_eq!(times(&bytes, "BipolarQuant"), 0);
    let read = import_graph(&bytes[..], None).unwrap();
    assert_eq!(
        read.node(read.find("conv").unwrap()).weight().unwrap().values(),
        [0.75, -0.25, 0.25, -0.75]
    );
}

#[test]
fn what_qonnx_does_not_hold_is_refused_by_name() {
    let mut nodes = vec![NodeSpec::input("x", [3, 4, 4])];
    let end = by_step(&mut nodes, "x", 0.1, [0.0, 5.0], true);
    let error = Graph::new(nodes, [end])
        .unwrap()
        .to_onnx(&OnnxExport::new("no").with_qonnx())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`x.codes3`") && error.contains("from 0 to 5"),
        "{error}"
    );
}
