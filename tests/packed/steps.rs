//! Each general step alone, beside the graph; what is refused; and files of general steps, damaged.

use proptest::prelude::*;
use vwc_sdk::crossbar;
use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, ConvTranspose, Function, Graph, Linear, NodeSpec, Op, Pool, Reduction,
};
use vwc_sdk::mapping::{MappingConfig, Method, PimArray};
use vwc_sdk::packed::Model;
use vwc_sdk::simulate::SimulatedNetwork;

use super::any::compare_graph;
use super::*;
use crate::draw::{Numbers, network};

/// Numbers of a shape.
fn constant(shape: &[usize], seed: u64) -> Constant {
    let values: Vec<f32> = noise(seed, shape.iter().product())
        .iter()
        .map(|&x| x as f32)
        .collect();
    Constant::new(shape, values)
}

/// A picture of 4x6, and nodes that each read the one before.
fn chain(ops: Vec<Op>) -> Graph {
    let mut nodes = vec![NodeSpec::input("0", [3, 4, 6])];
    for (n, op) in ops.into_iter().enumerate() {
        nodes.push(NodeSpec::new((n + 1).to_string(), op, [n.to_string()]));
    }
    let last = (nodes.len() - 1).to_string();
    Graph::new(nodes, [last]).unwrap()
}

/// Outputs of the packed network and of the graph.
fn outputs(graph: &Graph) -> [Vec<f32>; 2] {
    let device = Device::flex();
    let shape = graph.output(0).shape().to_vec();
    let input = PictureSpec::numbered([4, 6], shape.iter().product());
    let model = Model::of(graph, "steps", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let model = Model::from_bytes(&model.to_bytes()).unwrap();
    let pixels = &pictures(1, [4, 6], 3)[0];
    let images = batch(pixels, [4, 6], input.normalization, &device);
    let executor = graph.on(&device);
    let expected = match shape.len() {
        1 => executor.forward::<_, Tensor<2>>(images).unwrap().into_data(),
        2 => executor.forward::<_, Tensor<3>>(images).unwrap().into_data(),
        3 => executor.forward::<_, Tensor<4>>(images).unwrap().into_data(),
        _ => executor.forward::<_, Tensor<5>>(images).unwrap().into_data(),
    };
    let found = Session::new(&model).logits(pixels).to_vec();
    [found, expected.try_into_vec::<f32>().unwrap()]
}

fn affine(minus: Constant, divisor: Constant) -> Op {
    Op::Affine(Affine {
        minus: Some(minus),
        divisor: Some(divisor),
        factor: Some(Constant::scalar(0.7)),
        plus: Some(Constant::scalar(0.1)),
        epsilon: None,
    })
}

fn positive(constant: Constant) -> Constant {
    let values: Vec<f32> = constant.values().iter().map(|x| x.abs() + 0.5).collect();
    Constant::new(constant.shape(), values)
}

/// What moves numbers, computes with each alone, or sums windows up in order, is equal to the bit.
#[test]
fn steps_are_equal_to_the_bit() {
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let permute = |axes: &[usize]| Op::Permute { axes: axes.to_vec() };
    let slice = |axis, start, end, step| Op::Slice {
        axis,
        start,
        end,
        step,
    };
    let pool = |kernel, stride, padding, ceil| Pool {
        kernel,
        stride,
        padding,
        dilation: [1, 1],
        ceil,
    };
    let function = |function: Function| vec![Op::Function(function)];
    let mut all = vec![
        vec![reshape(&[72])],
        vec![reshape(&[6, 12]), permute(&[1, 0])],
        vec![reshape(&[3, 2, 2, 6]), permute(&[3, 1, 0, 2]), reshape(&[12, 6])],
        vec![permute(&[2, 0, 1]), slice(0, 1, 6, 2), reshape(&[9, 4])],
        vec![slice(1, 1, 4, 2), slice(2, 0, 5, 3)],
        vec![
            Op::Reduce {
                kind: Reduction::Max,
                axes: vec![0, 2],
            },
            Op::Expand { shape: vec![5, 4, 6] },
        ],
        vec![
            Op::Pad {
                sides: vec![[1, 0], [0, 2], [3, 1]],
                value: -0.3,
            },
            Op::Upsample { factor: [2, 3] },
        ],
        vec![affine(constant(&[3, 1, 1], 1), positive(constant(&[3, 1, 1], 2)))],
        vec![affine(constant(&[1, 4, 6], 1), positive(constant(&[3, 1, 6], 2)))],
        vec![
            reshape(&[6, 12]),
            affine(constant(&[6, 1], 1), positive(constant(&[1, 12], 2))),
        ],
        vec![
            reshape(&[3, 2, 2, 6]),
            affine(Constant::scalar(0.2), positive(constant(&[3, 1, 2, 1], 2))),
        ],
        vec![Op::MaxPool(pool([3, 2], [2, 1], [1, 1], true))],
        vec![Op::MaxPool(Pool {
            dilation: [2, 3],
            ..pool([2, 2], [1, 2], [1, 0], false)
        })],
        vec![Op::AdaptiveAvgPool { output: [3, 4] }],
        vec![Op::AdaptiveAvgPool { output: [5, 7] }],
        vec![Op::Reduce {
            kind: Reduction::Sum,
            axes: vec![0, 1],
        }],
        function(Function::LeakyRelu { slope: 0.2 }),
        function(Function::Clamp {
            min: -0.2,
            max: f32::INFINITY,
        }),
        function(Function::HardSigmoid {
            alpha: 0.3,
            beta: 0.4,
        }),
        function(Function::HardSwish {
            alpha: 0.3,
            beta: 0.4,
        }),
        vec![Op::Function(Function::Abs), Op::Function(Function::Sqrt)],
        function(Function::Recip),
        vec![
            Op::Function(Function::Neg),
            Op::Function(Function::Floor),
            Op::Function(Function::Sign),
        ],
    ];
    for count_padding in [false, true] {
        for ceil in [false, true] {
            all.push(vec![Op::AvgPool {
                pool: pool([3, 3], [2, 2], [1, 1], ceil),
                count_padding,
            }]);
        }
    }
    for ops in all {
        let graph = chain(ops);
        let [found, expected] = outputs(&graph);
        assert_eq!(found, expected, "{graph}");
    }
}

#[test]
fn steps_are_equal_to_rounding() {
    let transposed = |groups: usize, dilation: [usize; 2]| {
        Op::ConvTranspose(ConvTranspose {
            weight: constant(&[3, 2, 3, 2], 5),
            bias: Some(constant(&[2 * groups], 6)),
            stride: [2, 3],
            padding: [1, 0],
            output_padding: [1, 2],
            dilation,
            groups,
        })
    };
    let mean = |axes: &[usize]| Op::Reduce {
        kind: Reduction::Mean,
        axes: axes.to_vec(),
    };
    let linear = |inputs: usize| {
        Op::Linear(Linear {
            weight: constant(&[inputs, 5], 7),
            bias: Some(constant(&[5], 8)),
        })
    };
    let reshape = |shape: &[usize]| Op::Reshape {
        shape: shape.to_vec(),
    };
    let function = |function: Function| vec![Op::Function(function)];
    let conv = |groups: usize, dilation: [usize; 2], kernel: usize| {
        Op::Conv(Conv {
            groups,
            dilation,
            padding: [1, 2, 0, 1].into(),
            bias: Some(constant(&[6], 3)),
            ..Conv::new(constant(&[6, 3 / groups, kernel, 2], 4))
        })
    };
    let mut all = vec![
        vec![transposed(1, [1, 1])],
        vec![transposed(3, [2, 1])],
        vec![mean(&[0])],
        vec![mean(&[2, 1]), reshape(&[3])],
        vec![mean(&[1, 2]), reshape(&[3]), linear(3)],
        vec![linear(6)],
        vec![reshape(&[12, 6]), linear(6)],
        vec![reshape(&[72]), linear(72)],
        vec![conv(1, [1, 1], 3)],
        vec![conv(1, [2, 2], 2)],
        vec![conv(3, [1, 1], 3), Op::Function(Function::Silu), linear(6)],
        function(Function::Sigmoid),
        function(Function::Silu),
        function(Function::Tanh),
        function(Function::Gelu),
        function(Function::Exp),
    ];
    for axis in 0..3 {
        for log in [false, true] {
            all.push(vec![Op::Softmax { axis, log }]);
        }
    }
    for ops in all {
        let graph = chain(ops);
        let [found, expected] = outputs(&graph);
        let largest = expected.iter().fold(1f32, |most, x| most.max(x.abs()));
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert!(
                (found - expected).abs() <= 1e-5 * largest,
                "{found}, expected {expected}\n{graph}"
            );
        }
    }
}

/// Values that broadcast against each other, constants, and a value that is read again after others.
#[test]
fn values_are_read_several_times() {
    let nodes = vec![
        NodeSpec::input("picture", [3, 4, 6]),
        NodeSpec::new("constant", constant(&[3, 4, 1], 1), [""; 0]),
        NodeSpec::new(
            "row",
            Op::Slice {
                axis: 1,
                start: 2,
                end: 3,
                step: 1,
            },
            ["picture"],
        ),
        NodeSpec::new("difference", Binary::Sub, ["picture", "constant"]),
        NodeSpec::new("largest", Binary::Max, ["row", "difference"]),
        NodeSpec::new("least", Binary::Min, ["largest", "picture"]),
        NodeSpec::new("quotient", Binary::Div, ["least", "constant"]),
        NodeSpec::new("square", Binary::Mul, ["quotient", "quotient"]),
        NodeSpec::new(
            "all",
            Op::Concat { axis: 2 },
            ["square", "constant", "difference"],
        ),
    ];
    for output in ["all", "square", "picture"] {
        let mut kept = nodes.clone();
        if output == "picture" {
            kept.truncate(1);
        } else if output == "square" {
            kept.truncate(8);
        }
        let graph = Graph::new(kept, [output]).unwrap();
        let [found, expected] = outputs(&graph);
        assert_eq!(found, expected, "{graph}");
    }
}

/// A value that two convolutions of codes pad differently, and the picture likewise.
#[test]
fn padding_may_differ_between_readers() {
    let codes: Vec<f32> = noise(9, 36)
        .iter()
        .map(|x| if *x > 0.0 { 0.3 } else { -0.3 })
        .collect();
    let conv = |padding: usize| Conv {
        padding: padding.into(),
        stride: [1, 1],
        ..Conv::new(Constant::new([2, 2, 3, 3], codes.clone()))
    };
    let stem = |padding: usize| Conv {
        padding: padding.into(),
        ..Conv::new(constant(&[2, 3, 3, 3], 4))
    };
    let crop = |axis: usize, size: usize| Op::Slice {
        axis,
        start: 1,
        end: size - 1,
        step: 1,
    };
    let nodes = vec![
        NodeSpec::input("picture", [3, 8, 8]),
        NodeSpec::new("stem", stem(1), ["picture"]),
        NodeSpec::new("other", stem(2), ["picture"]),
        NodeSpec::new("rows", crop(1, 10), ["other"]),
        NodeSpec::new("columns", crop(2, 10), ["rows"]),
        NodeSpec::new("sum", Binary::Add, ["stem", "columns"]),
        NodeSpec::new("clamp", Function::Clamp { min: 0.0, max: 1.0 }, ["sum"]),
        NodeSpec::new("code", Function::Round, ["clamp"]),
        NodeSpec::new("wide", conv(1), ["code"]),
        NodeSpec::new("narrow", conv(0), ["code"]),
        NodeSpec::new("cut", crop(1, 8), ["wide"]),
        NodeSpec::new("cut both", crop(2, 8), ["cut"]),
        NodeSpec::new("added", Binary::Add, ["cut both", "narrow"]),
        NodeSpec::new(
            "mean",
            Op::Reduce {
                kind: Reduction::Mean,
                axes: vec![2, 1],
            },
            ["added"],
        ),
        NodeSpec::new("flat", Op::Reshape { shape: vec![2] }, ["mean"]),
    ];
    let graph = Graph::new(nodes, ["flat"]).unwrap();
    assert!(compare_graph(&graph, [8, 8], 2, 5) > 0);
}

#[test]
fn what_cannot_be_packed_is_named() {
    let input = PictureSpec::numbered([4, 6], 72);
    let refused =
        |graph: &Graph, input: &PictureSpec| Model::of(graph, "odd", input).unwrap_err().to_string();
    let grey = Graph::new(
        [
            NodeSpec::input("x", [1, 4, 6]),
            NodeSpec::new("y", Function::Relu, ["x"]),
        ],
        ["y"],
    );
    let error = refused(&grey.unwrap(), &input);
    assert!(error.contains("pictures of 3 channels"), "{error}");
    let two = Graph::new(
        [
            NodeSpec::input("x", [3, 4, 6]),
            NodeSpec::new("y", Function::Relu, ["x"]),
            NodeSpec::new("z", Function::Neg, ["x"]),
        ],
        ["y", "z"],
    );
    let error = refused(&two.unwrap(), &input);
    assert!(error.contains("inputs: 1, outputs: 2"), "{error}");
    // Attention multiplies two values.
    let nodes = [
        NodeSpec::input("x", [3, 4, 6]),
        NodeSpec::new("turned", Op::Permute { axes: vec![0, 2, 1] }, ["x"]),
        NodeSpec::new("scores", Op::MatMul, ["x", "turned"]),
    ];
    let error = refused(
        &Graph::new(nodes, ["scores"]).unwrap(),
        &PictureSpec::numbered([4, 6], 48),
    );
    assert!(
        error.contains("`scores`") && error.contains("two values as matrices"),
        "{error}"
    );
    let graph = chain(vec![Op::Function(Function::Relu)]);
    let error = refused(&graph, &PictureSpec::numbered([4, 6], 10));
    assert!(
        error.contains("10 names of classes, and the network tells 72 apart"),
        "{error}"
    );
    // A network without codes is packed, and says so. ONNX files are written of fused layers alone.
    let model = Model::of(&graph, "relu", &input).unwrap();
    assert_eq!(model.precision(), "full precision");
    let error = model.to_onnx().unwrap_err().to_string();
    assert!(
        error.contains("step `0.floats`") && error.contains("ONNX"),
        "{error}"
    );
    // Too much to compute.
    let huge = chain(vec![
        Op::Upsample { factor: [4000, 4000] },
        Op::Reduce {
            kind: Reduction::Max,
            axes: vec![0, 1, 2],
        },
    ]);
    let error = refused(&huge, &PictureSpec::numbered([4, 6], 1));
    assert!(
        error.contains("step `1`") && error.contains("not so many"),
        "{error}"
    );
}

/// A layer of finer codes than networks run on is named, packed and on arrays; one of 8 bits is computed, and so is one of
/// numbers that are no codes.
#[test]
fn codes_of_more_than_8_bits_are_refused() {
    let scaled = |factor: Option<f32>, divisor: Option<f32>| {
        Op::Affine(Affine {
            factor: factor.map(Constant::scalar),
            divisor: divisor.map(Constant::scalar),
            ..Affine::default()
        })
    };
    let weight = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        Constant::new(
            shape,
            (0..count).map(|n| [1.0, -1.0, 0.0][n % 3]).collect::<Vec<f32>>(),
        )
    };
    let input = PictureSpec::numbered([4, 6], 5 * 4 * 6);
    let config = MappingConfig::new(PimArray::new(64, 64).unwrap());
    let array = crossbar::Device::ideal(2);
    let made = |levels: f32, rounds: bool| {
        let clamp = Op::Function(Function::Clamp { min: 0.0, max: 1.0 });
        let round = rounds.then_some([
            scaled(Some(levels), None),
            Op::Function(Function::Round),
            scaled(None, Some(levels)),
        ]);
        let conv = Op::Conv(Conv::new(weight(&[5, 3, 1, 1])));
        let graph = chain(
            [clamp]
                .into_iter()
                .chain(round.into_iter().flatten())
                .chain([conv])
                .collect(),
        );
        let packed = Model::of(&graph, "fine", &input).map_err(|error| error.to_string());
        let device = Device::flex();
        let on_arrays = SimulatedNetwork::new(&graph, &device, Method::Im2col, &config, &array);
        (packed, on_arrays.map(|_| ()).map_err(|error| error.to_string()))
    };
    for (levels, bits) in [(256.0, "9 bits"), (511.0, "9 bits"), (65535.0, "16 bits")] {
        let (packed, on_arrays) = made(levels, true);
        for error in [packed.unwrap_err(), on_arrays.unwrap_err()] {
            assert!(
                error.contains("`5`")
                    && error.contains(bits)
                    && error.contains("expected")
                    && error.contains("1 to 8 bits"),
                "{error}"
            );
        }
    }
    let (packed, on_arrays) = made(255.0, true);
    assert_eq!(packed.unwrap().precision(), "W2A8");
    on_arrays.unwrap();
    assert_eq!(made(511.0, false).0.unwrap().precision(), "full precision");
}

/// Numbers in place of others in a plan.
const HOSTILE: [&str; 10] = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "63",
    "4097",
    "65536",
    "4294967296",
    "18446744073709551615",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Files of general steps with numbers replaced are refused, or compute something.
    #[test]
    fn no_damaged_file_makes_a_reader_panic(seed in 0u64..60, changes in prop::collection::vec((any::<u32>(), any::<u32>()), 1..4)) {
        let (graph, size) = network(seed, Numbers::Codes);
        let bytes = Model::of(&graph, "drawn", &PictureSpec::numbered(size, 4)).unwrap().to_bytes();
        let plan_len = u64::from_le_bytes(bytes[24..32].try_into().unwrap()) as usize;
        let begin = (32 + plan_len).next_multiple_of(64);
        let mut plan = String::from_utf8(bytes[32..][..plan_len].to_vec()).unwrap();
        for (place, what) in changes {
            let digits: Vec<usize> = plan.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| at).collect();
            let at = digits[place as usize % digits.len()];
            let end = at + plan[at..].find(|c: char| !c.is_ascii_digit()).unwrap();
            plan.replace_range(at..end, HOSTILE[what as usize % HOSTILE.len()]);
        }
        let mut damaged = bytes[..32].to_vec();
        damaged[24..32].copy_from_slice(&(plan.len() as u64).to_le_bytes());
        damaged.extend(plan.as_bytes());
        damaged.resize((32 + plan.len()).next_multiple_of(64), 0);
        damaged.extend(&bytes[begin..]);
        let length = damaged.len() as u64;
        damaged[16..24].copy_from_slice(&length.to_le_bytes());
        let sum = crc32fast::hash(&damaged[16..]);
        damaged[12..16].copy_from_slice(&sum.to_le_bytes());
        if let Ok(model) = Model::from_bytes(&damaged) {
            let [height, width] = model.input();
            if height * width <= 1 << 12 && model.multiplications().iter().sum::<usize>() <= 1 << 22 {
                Session::new(&model).with_threads(2).logits(&vec![200; height * width * 3]);
            }
        }
    }
}
