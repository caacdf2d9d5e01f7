//! Graphs of files: what nodes and constants are called, what quantised forms become, and what is refused.

use super::*;
use crate::graph::{Affine, Function, Graph, Op};

/// The graph of a model. `scopes`: the modules of its nodes.
fn graph_with(model: ModelProto, scopes: Vec<Option<String>>) -> Result<Graph, OnnxError> {
    let checked = prepare(Decoded { model, scopes }, None)?;
    checked.with_shapes(graph::graph)
}

fn graph_of(model: ModelProto) -> Result<Graph, OnnxError> {
    graph_with(model, Vec::new())
}

fn stopped(model: ModelProto) -> String {
    let error = graph_of(model).unwrap_err().to_string();
    assert!(!error.chars().any(char::is_control), "{error:?}");
    error
}

fn called(name: &str, mut node: NodeProto) -> NodeProto {
    name.clone_into(&mut node.name);
    node
}

/// Numbers of their own.
fn floats(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    TensorProto {
        float_data: (0..count).map(|n| 0.1 + n as f32).collect(),
        ..tensor(name, dims)
    }
}

fn number(name: &str, number: f32) -> TensorProto {
    TensorProto {
        float_data: vec![number],
        ..tensor(name, &[])
    }
}

/// Of which neither is a multiple of the other, nor both of a number that is not much smaller.
fn scales(name: &str, scales: [f32; 2]) -> TensorProto {
    TensorProto {
        float_data: scales.to_vec(),
        ..tensor(name, &[2])
    }
}

fn integers(name: &str, dims: &[i64], of: DataType, values: &[i32]) -> TensorProto {
    TensorProto {
        data_type: of as i32,
        int32_data: values.to_vec(),
        ..tensor(name, dims)
    }
}

/// The names of nodes behind the input, and of their constants.
fn names(graph: &Graph) -> Vec<(String, Vec<String>)> {
    let constants = |op: &Op| -> Vec<String> {
        let name = |constant: &crate::graph::Constant| constant.name().map(str::to_owned);
        op.constants().filter_map(name).collect()
    };
    let nodes = graph.nodes().iter().skip(1);
    nodes
        .map(|node| (node.name().to_owned(), constants(node.op())))
        .collect()
}

fn named(name: &str, constants: &[&str]) -> (String, Vec<String>) {
    (
        name.to_owned(),
        constants.iter().map(|&name| name.to_owned()).collect(),
    )
}

#[test]
fn what_was_folded_is_called_by_the_scope() {
    let nodes = vec![
        called(
            "/layer1/layer1.0/conv1/Conv",
            node("Conv", &["x", "onnx::Conv_497", "onnx::Conv_498"], "a", vec![]),
        ),
        called("/layer1/layer1.0/relu/Relu", node("Relu", &["a"], "b", vec![])),
        called("/Flatten", node("Flatten", &["b"], "f", vec![])),
        called(
            "/fc/Gemm",
            node(
                "Gemm",
                &["f", "fc.weight", "fc.bias"],
                "y",
                vec![int("transB", 1)],
            ),
        ),
    ];
    let constants = vec![
        floats("onnx::Conv_497", &[4, 3, 3, 3]),
        floats("onnx::Conv_498", &[4]),
        floats("fc.weight", &[5, 16]),
        floats("fc.bias", &[5]),
    ];
    let made = model(&[1, 3, 4, 4], constants, nodes);
    let graph = graph_of(made.clone()).unwrap();
    let expected = [
        named(
            "layer1.0.conv1",
            &["layer1.0.conv1.weight", "layer1.0.conv1.bias"],
        ),
        named("/layer1/layer1.0/relu/Relu", &[]),
        named("/Flatten", &[]),
        // Though it was turned round.
        named("fc", &["fc.weight", "fc.bias"]),
    ];
    assert_eq!(names(&graph), expected);
    let import = from_model("x", made, None).unwrap();
    assert_eq!(import.network, graph.mapped("x"));
    assert_eq!(import.left_out, [("fc".to_owned(), "Gemm".to_owned())]);
}

#[test]
fn equal_constants_that_were_written_once_belong_to_each_layer() {
    let norm = |scope: &str, reads: &str, output: &str| {
        let inputs = [reads, "bn1.weight", "bn1.bias", "bn1.bias", "bn1.weight"];
        called(
            &format!("/{scope}/BatchNormalization"),
            node("BatchNormalization", &inputs, output, vec![]),
        )
    };
    let constants = vec![floats("bn1.weight", &[3]), floats("bn1.bias", &[3])];
    let nodes = vec![norm("bn1", "x", "a"), norm("layer1/layer1.0/bn2", "a", "y")];
    let graph = graph_of(model(&[1, 3, 4, 4], constants.clone(), nodes)).unwrap();
    let parts = |path: &str| {
        let parts = ["running_mean", "running_var", "weight", "bias"].map(|leaf| format!("{path}.{leaf}"));
        (path.to_owned(), parts.to_vec())
    };
    assert_eq!(names(&graph), [parts("bn1"), parts("layer1.0.bn2")]);
    // By the notes of the other exporter.
    let plain = |name: &str, reads: &str, output: &str| called(name, norm("x", reads, output));
    let nodes = vec![
        plain("node_BatchNormalization_3", "x", "a"),
        plain("node_BatchNormalization_7", "a", "y"),
    ];
    let scopes = ["bn1", "layer1.0.bn2"].map(|scope| Some(scope.to_owned()));
    let graph = graph_with(model(&[1, 3, 4, 4], constants, nodes), scopes.to_vec()).unwrap();
    assert_eq!(names(&graph), [parts("bn1"), parts("layer1.0.bn2")]);
}

#[test]
fn a_layer_that_is_called_twice_keeps_its_weights() {
    let conv = |scope: &str, reads: &str, output: &str| {
        called(
            &format!("/{scope}/Conv"),
            node("Conv", &[reads, "shared.weight", "shared.bias"], output, vec![]),
        )
    };
    let constants = vec![
        floats("shared.weight", &[3, 3, 1, 1]),
        floats("shared.bias", &[3]),
    ];
    let nodes = vec![conv("shared", "x", "a"), conv("shared_1", "a", "y")];
    let graph = graph_of(model(&[1, 3, 4, 4], constants, nodes)).unwrap();
    let parts = &["shared.weight", "shared.bias"];
    assert_eq!(names(&graph), [named("shared", parts), named("shared.2", parts)]);
}

#[test]
fn two_layers_of_one_module_share_nothing() {
    let conv = |n: usize, reads: &str, output: &str| {
        let weight = format!("onnx::Conv_{n}");
        called(
            &format!("/block/Conv_{n}"),
            node("Conv", &[reads, &weight], output, vec![]),
        )
    };
    let constants = vec![
        floats("onnx::Conv_1", &[3, 3, 1, 1]),
        floats("onnx::Conv_2", &[3, 3, 1, 1]),
    ];
    let nodes = vec![conv(1, "x", "a"), conv(2, "a", "y")];
    let graph = graph_of(model(&[1, 3, 4, 4], constants, nodes)).unwrap();
    let expected = [
        named("block", &["block.weight"]),
        named("block.2", &["block.2.weight"]),
    ];
    assert_eq!(names(&graph), expected);
}

#[test]
fn names_that_nobody_made_up_are_kept() {
    let constants = vec![floats("conv1.weight", &[3, 3, 1, 1]), floats("w", &[3, 3, 1, 1])];
    let nodes = vec![
        called("mine", node("Conv", &["x", "conv1.weight"], "a", vec![])),
        called("Conv_3", node("Conv", &["a", "conv1.weight"], "b", vec![])),
        called("Conv_4", node("Conv", &["b", "w"], "y", vec![])),
    ];
    let graph = graph_of(model(&[1, 3, 4, 4], constants, nodes)).unwrap();
    let expected = [
        named("mine", &["conv1.weight"]),
        named("conv1", &["conv1.weight"]),
        named("Conv_4", &["w"]),
    ];
    assert_eq!(names(&graph), expected);
}

#[test]
fn paths_are_printable_differ_and_are_short() {
    let long = format!("{}.weight", "l".repeat(600));
    let constants = vec![
        floats("a\u{1b}.weight", &[3, 3, 1, 1]),
        floats(&long, &[3, 3, 1, 1]),
    ];
    let nodes = vec![
        called("Conv_1", node("Conv", &["x", "a\u{1b}.weight"], "a", vec![])),
        called("a\u{1b}.2", node("Conv", &["a", "a\u{1b}.weight"], "b", vec![])),
        called("Conv_2", node("Conv", &["b", "a\u{1b}.weight"], "c", vec![])),
        called("Conv_3", node("Conv", &["c", &long], "y", vec![])),
    ];
    let layers = from_model("x", model(&[1, 3, 4, 4], constants, nodes), None)
        .unwrap()
        .network
        .layers;
    let names: Vec<&str> = layers.iter().map(|layer| &*layer.name).collect();
    assert_eq!(names, ["a\\u{1b}", "a\\u{1b}.2", "a\\u{1b}.3", "Conv_3"]);
}

#[test]
fn the_notes_of_nodes_are_read_off_the_bytes() {
    let field = |number: u8, bytes: &[u8]| {
        let length = [bytes.len() as u8 | 0x80, (bytes.len() >> 7) as u8];
        [&[number << 3 | 2], &length[..], bytes].concat()
    };
    let note = |key: &[u8], value: &[u8]| field(9, &[field(1, key), field(2, value)].concat());
    let key = b"pkg.torch.onnx.name_scopes";
    let first = field(1, &note(key, b"['', 'layer1', 'layer1.0', 'conv2d_3']"));
    let second = field(1, &note(b"other", b"['a', 'b']"));
    let third = field(1, &note(key, b"['', 'view']"));
    let file = field(7, &[first, second, third].concat());
    let scopes = scopes(&file);
    assert_eq!(scopes, [Some("layer1.0".to_owned()), None, None]);
    for end in 0..file.len() {
        super::scopes(&file[..end]);
    }
}

/// A convolution of quantised values: its input and weight are dequantised, with zero points of these types.
fn pair(activations: (DataType, i32), weights: (DataType, &[i32])) -> ModelProto {
    let (of, zero) = activations;
    let (weight_of, values) = weights;
    let constants = vec![
        number("s", 0.25),
        integers("z", &[], of, &[zero]),
        integers("conv.weight_quantized", &[2, 1, 1, 2], weight_of, values),
        scales("ws", [0.1, 0.37]),
        integers("bias_quantized", &[2], DataType::Int32, &[4, 8]),
        floats("bs", &[2]),
    ];
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "z"], "q", vec![]),
        node("DequantizeLinear", &["q", "s", "z"], "d", vec![]),
        node(
            "DequantizeLinear",
            &["conv.weight_quantized", "ws"],
            "w",
            vec![int("axis", 0)],
        ),
        node(
            "DequantizeLinear",
            &["bias_quantized", "bs"],
            "b",
            vec![int("axis", 0)],
        ),
        called("Conv_0", node("Conv", &["d", "w", "b"], "y", vec![])),
    ];
    let mut made = model(&[1, 1, 4, 4], constants, nodes);
    made.opset_import[0].version = 21;
    made
}

#[test]
fn pairs_become_codes_of_their_bits() {
    for (of, zero, kind, ends) in [
        (DataType::Uint8, 0, "u8", [0, 255]),
        (DataType::Uint8, 128, "s8", [-128, 127]),
        (DataType::Int8, 0, "s8", [-128, 127]),
        (DataType::Int8, -128, "u8", [0, 255]),
        (DataType::Int4, 0, "s4", [-8, 7]),
        (DataType::Uint4, 0, "u4", [0, 15]),
        (DataType::Int16, 0, "s16", [-32768, 32767]),
    ] {
        // Less than a byte: two in one number.
        let graph = graph_of(pair((of, zero), (DataType::Int8, &[-3, 1, 7, -8]))).unwrap();
        let conv = graph.find("conv").unwrap();
        let codes = &graph.codes()[graph.node(conv).inputs()[0].index()];
        let codes = codes.as_ref().unwrap();
        assert_eq!(
            (codes.kind(), [codes.low(), codes.high()]),
            (kind.to_owned(), ends),
            "{of:?} {zero}"
        );
        assert!((codes.unit() - 0.25).abs() < 1e-9 && codes.through_zero());
        let (_, layer) = graph.conv_layer(conv).unwrap();
        assert_eq!(layer.weight.name(), Some("conv.weight"));
        assert_eq!(
            layer.weight.values(),
            [-3.0f32 * 0.1, 0.1, 7.0 * 0.37, -8.0 * 0.37]
        );
        let weights = layer.weight_codes().unwrap();
        assert_eq!((weights.codes(), weights.units().len()), (&[-3, 1, 7, -8][..], 2));
        assert_eq!(layer.bias.as_ref().unwrap().values(), [4.0 * 0.1f32, 8.0 * 1.1]);
    }
}

#[test]
fn rounding_and_zero_points_are_in_the_order_of_onnx() {
    let ops = |zero: i32| -> Vec<Op> {
        let graph = graph_of(pair((DataType::Uint8, zero), (DataType::Int8, &[-3, 1, 7, -8]))).unwrap();
        graph.nodes()[1..graph.nodes().len() - 1]
            .iter()
            .map(|node| node.op().clone())
            .collect()
    };
    let clamp = |min: f32, max: f32| -> Op { Function::Clamp { min, max }.into() };
    let parts = |op: &Op| match op {
        Op::Affine(affine) => {
            let Affine {
                minus,
                divisor,
                factor,
                plus,
                ..
            } = affine;
            [minus, divisor, factor, plus]
                .map(|part| part.as_ref().and_then(crate::graph::Constant::as_scalar))
        }
        _ => panic!("{op:?}"),
    };
    let ops_without = ops(0);
    assert_eq!(ops_without[1..3], [clamp(0.0, 255.0), Function::Round.into()]);
    assert_eq!(parts(&ops_without[0]), [None, Some(0.25), None, None]);
    assert_eq!(parts(&ops_without[3]), [None, None, Some(0.25), None]);
    let ops_with = ops(3);
    assert_eq!(ops_with[1..3], [clamp(-3.0, 252.0), Function::Round.into()]);
    assert_eq!(parts(&ops_with[3]), [None, None, None, Some(3.0)]);
    assert_eq!(parts(&ops_with[4]), [Some(3.0), None, Some(0.25), None]);
}

#[test]
fn a_convolution_of_integers_is_one_of_floats() {
    let constants = vec![
        integers("xz", &[], DataType::Uint8, &[2]),
        integers("conv.weight", &[2, 1, 1, 2], DataType::Uint8, &[1, 2, 3, 4]),
        integers("wz", &[2], DataType::Uint8, &[1, 4]),
        number("s", 1.0),
    ];
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "xz"], "q", vec![]),
        called(
            "Conv_0",
            node("ConvInteger", &["q", "conv.weight", "xz", "wz"], "c", vec![]),
        ),
        node("Cast", &["c"], "y", vec![int("to", 1)]),
    ];
    let graph = graph_of(model(&[1, 1, 4, 4], constants, nodes)).unwrap();
    let conv = graph.conv_layer(graph.find("conv").unwrap()).unwrap().1;
    assert_eq!(conv.weight.values(), [0.0, 1.0, -1.0, 0.0]);
}

#[test]
fn quantisation_that_is_wrong_is_refused() {
    let with = |change: &dyn Fn(&mut GraphProto)| {
        let mut model = pair((DataType::Uint8, 0), (DataType::Int8, &[-3, 1, 7, -8]));
        change(model.graph.as_mut().unwrap());
        stopped(model)
    };
    let set = |name: &'static str, tensor: TensorProto| {
        move |graph: &mut GraphProto| {
            let held = graph
                .initializer
                .iter_mut()
                .find(|held| held.name == name)
                .unwrap();
            *held = TensorProto {
                name: name.to_owned(),
                ..tensor.clone()
            };
        }
    };
    for (error, says) in [
        (
            with(&set("s", number("", 0.0))),
            "scale of 0: expected numbers above zero",
        ),
        (with(&set("s", number("", f32::NAN))), "scale of NaN"),
        (
            with(&set("ws", floats("", &[3]))),
            "has scales of [3] for [2, 1, 1, 2]",
        ),
        (
            with(&set("z", integers("", &[2], DataType::Uint8, &[1, 2]))),
            "several zero points",
        ),
        (
            with(&set("s", floats("", &[2]))),
            "has scales of [2] beside [1, 4, 4]",
        ),
        (
            with(&set("conv.weight_quantized", floats("", &[2, 1, 1, 2]))),
            "no constant integers",
        ),
        (
            with(&|graph| graph.node[0].op_type = "DynamicQuantizeLinear".to_owned()),
            "quantise the network statically",
        ),
    ] {
        assert!(error.contains(says), "{says}: {error}");
    }
}

/// One of QONNX's operators on the input, and its constants.
fn qonnx(operator: &str, zero: f32, bits: f32, settings: Vec<AttributeProto>) -> ModelProto {
    let constants = vec![number("s", 0.5), number("z", zero), number("b", bits)];
    let inputs = if operator == "BipolarQuant" {
        &["x", "s"][..]
    } else {
        &["x", "s", "z", "b"]
    };
    let quant = of_domain("qonnx.custom_op.general", node(operator, inputs, "y", settings));
    model(&[1, 1, 4, 4], constants, vec![quant])
}

#[test]
fn quantisers_of_qonnx_become_codes() {
    for (operator, zero, bits, settings, kind, ends) in [
        ("Quant", 0.0, 4.0, vec![], "s4", [-8, 7]),
        ("Quant", 0.0, 4.0, vec![int("narrow", 1)], "s4", [-7, 7]),
        ("Quant", 0.0, 3.0, vec![int("signed", 0)], "u3", [0, 7]),
        ("IntQuant", 0.0, 1.0, vec![int("signed", 0)], "u1", [0, 1]),
        (
            "Quant",
            0.0,
            2.0,
            vec![text("rounding_mode", "FLOOR")],
            "s2",
            [-2, 1],
        ),
    ] {
        let graph = graph_of(qonnx(operator, zero, bits, settings)).unwrap();
        let codes = graph.codes().pop().unwrap().unwrap();
        assert_eq!(
            (codes.kind(), [codes.low(), codes.high()]),
            (kind.to_owned(), ends),
            "{operator} {bits}"
        );
        assert!((codes.unit() - 0.5).abs() < 1e-9);
    }
    let graph = graph_of(qonnx("BipolarQuant", 0.0, 0.0, vec![])).unwrap();
    assert_eq!(graph.codes().pop().unwrap().unwrap().values(), [-0.5, 0.5]);
    for (model, says) in [
        (qonnx("Quant", 0.0, 2.5, vec![]), "rounds to 2.5 bits"),
        (
            qonnx("Quant", 0.0, 1.0, vec![int("narrow", 1)]),
            "one number alone",
        ),
        (
            qonnx("Quant", 0.0, 4.0, vec![text("rounding_mode", "UP")]),
            "rounds by `UP`: expected ROUND or FLOOR",
        ),
        (
            qonnx("Trunc", 0.0, 4.0, vec![]),
            "is an operator of a domain that graphs do not have",
        ),
    ] {
        let error = stopped(model);
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn single_numbers_are_parameters_where_their_names_are_paths() {
    let mut made = model(
        &[1, 3, 4, 4],
        vec![
            number("act.slope", 0.25),
            floats("prelu.weight", &[1]),
            floats("prelu2.weight", &[3, 1, 1]),
            number("logit_scale", 2.0),
            number("bound", 1.0),
            number("val_3", 0.5),
            number("lifted_tensor_0", 0.5),
            number("Const__7", 0.5),
            number("net/mul/y:0", 0.5),
            number("onnx::Mul_12", 0.5),
        ],
        vec![
            node("Mul", &["x", "act.slope"], "a", vec![]),
            node("PRelu", &["a", "prelu.weight"], "b", vec![]),
            node("PRelu", &["b", "prelu2.weight"], "c", vec![]),
            node("Exp", &["logit_scale"], "scale", vec![]),
            node("Mul", &["c", "scale"], "d", vec![]),
            node("Min", &["d", "bound"], "e", vec![]),
            node("Mul", &["e", "val_3"], "f", vec![]),
            node("Mul", &["f", "lifted_tensor_0"], "g", vec![]),
            node("Mul", &["g", "Const__7"], "h", vec![]),
            node("Mul", &["h", "net/mul/y:0"], "i", vec![]),
            node("Mul", &["i", "onnx::Mul_12"], "y", vec![]),
        ],
    );
    let of = |graph: &Graph| -> Vec<(String, Vec<usize>)> {
        let constants = graph.nodes().iter().flat_map(|node| node.op().constants());
        let in_file = |constant: &crate::graph::Constant| {
            let in_file = constant.in_file()?;
            Some((constant.name()?.to_owned(), in_file.shape.clone()))
        };
        constants.filter_map(in_file).collect()
    };
    let graph = graph_of(made.clone()).unwrap();
    let parameter = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    assert_eq!(
        of(&graph),
        [
            parameter("act.slope", &[]),
            parameter("prelu.weight", &[1]),
            parameter("prelu2.weight", &[3, 1, 1])
        ]
    );
    let kept = graph.computed_of().kept.iter();
    let kept: Vec<_> = kept
        .map(|kept| (kept.name().unwrap(), kept.as_scalar()))
        .collect();
    assert_eq!(kept, [("logit_scale", Some(2.0)), ("bound", Some(1.0))]);
    // A sketch has the numbers that are no parameters.
    let sketch = crate::graph::Sketch::of(&graph);
    let numbers = sketch.nodes().iter().flat_map(|node| node.op().constants());
    assert_eq!(
        numbers.filter(|constant| !constant.values().is_empty()).count(),
        6,
        "{sketch}"
    );
    // Numbers of the file that nothing reads are no matter of the network.
    let unread = number("unread", 1.0);
    made.graph.as_mut().unwrap().initializer.push(unread);
    assert_eq!(graph_of(made).unwrap(), graph);
}

/// A network of five classes, with the constants and nodes that make `y` of `b`, five numbers for each picture.
#[cfg(feature = "flex")]
fn five(constants: Vec<TensorProto>, nodes: Vec<NodeProto>) -> Graph {
    let constants = [vec![floats("conv.weight", &[5, 3, 4, 4])], constants].concat();
    let first = vec![
        node("Conv", &["x", "conv.weight"], "a", vec![]),
        node("Flatten", &["a"], "b", vec![]),
    ];
    graph_of(model(&[1, 3, 4, 4], constants, [first, nodes].concat())).unwrap()
}

/// What constants are computed of is a parameter of the network, which it does not compute with.
#[cfg(feature = "flex")]
#[test]
fn what_constants_are_computed_of_is_kept() {
    use crate::models::{GraphNet, Network as _, NetworkConfig as _};
    use crate::module::Parameters;
    use crate::pytorch::TorchNames as _;

    let device = burn::tensor::Device::flex();
    let graph = five(
        vec![
            number("logit_scale", 2.0),
            floats("gate", &[1, 5]),
            number("temperature", 1.5),
        ],
        vec![
            node("Exp", &["logit_scale"], "scale", vec![]),
            node("Mul", &["b", "scale"], "c", vec![]),
            node("Sigmoid", &["gate"], "gates", vec![]),
            node("Mul", &["c", "gates"], "d", vec![]),
            node("Div", &["d", "temperature"], "y", vec![]),
        ],
    );
    let network = GraphNet::of(&graph, "kept", &device).unwrap();
    let shapes = network
        .torch_names()
        .into_iter()
        .map(|name| (name.torch, name.shape));
    let shapes: HashMap<String, Option<Vec<usize>>> = shapes.collect();
    assert_eq!(shapes["logit_scale"], Some(vec![]));
    assert_eq!(shapes["gate"], Some(vec![1, 5]));
    let gate = [0.1, 1.1, 2.1, 3.1, 4.1];
    let parameters = Parameters::of(&network);
    assert_eq!(parameters.values("logit_scale").unwrap(), [2.0]);
    assert_eq!(parameters.values("gate").unwrap(), gate);
    // Random weights, with what is not trained, and what that was computed of, as the file has them.
    let config = network.structure();
    let drawn = network.with_weights_of(config.init(&device)).unwrap();
    let drawn = Parameters::of(&drawn);
    let differs = drawn.values("conv.weight").unwrap() != parameters.values("conv.weight").unwrap();
    assert!(differs);
    for path in ["logit_scale", "gate", "gates", "temperature"] {
        assert_eq!(
            drawn.values(path).unwrap(),
            parameters.values(path).unwrap(),
            "{path}"
        );
    }
    // A structure whose numbers do not fit is refused.
    let text = serde_json::to_string(&config).unwrap();
    assert!(serde_json::from_str::<crate::models::GraphNetConfig>(&text).is_ok());
    for (from, to) in [
        (r#""name":"gate","shape":[1,5]"#, r#""name":"gate","shape":[1,6]"#),
        (
            r#""name":"gate","shape":[1,5]"#,
            r#""name":"gate","shape":[1,5],"values":[1.0,2.0]"#,
        ),
        (
            r#""name":"gate","shape":[1,5],"in_file":{"shape":[1,5]"#,
            r#""name":"gate","shape":[1,5],"in_file":{"shape":[7]"#,
        ),
        (r#""in_file":{"shape":[]}"#, r#""in_file":{"shape":[0]}"#),
        (
            r#""name":"gate","shape":[1,5],"in_file":{"shape":[1,5]"#,
            r#""name":"gate","shape":[0],"in_file":{"shape":[0]"#,
        ),
    ] {
        let other = text.replacen(from, to, 1);
        assert_ne!(other, text, "{from}");
        let config: Result<crate::models::GraphNetConfig, _> = serde_json::from_str(&other);
        assert!(config.is_err() || config.unwrap().validate().is_err(), "{to}");
    }
}

/// A parameter that is trained, and of which a constant is computed, too, is named: in PyTorch the constant would change with it.
#[cfg(feature = "flex")]
#[test]
fn parameters_that_are_trained_without_what_is_computed_of_them_are_named() {
    use crate::models::GraphNet;

    let device = burn::tensor::Device::flex();
    let of = |graph: &Graph| {
        let network = GraphNet::of(graph, "mixed", &device).unwrap();
        network.not_in_file().unwrap()
    };
    let mixed = of(&five(
        vec![number("alpha", 0.25), number("val_1", 1.0)],
        vec![
            node("Mul", &["b", "alpha"], "c", vec![]),
            node("Sub", &["val_1", "alpha"], "rest", vec![]),
            node("Mul", &["c", "rest"], "y", vec![]),
        ],
    ));
    assert_eq!(mixed.trained_alone, ["alpha"]);
    let of_weight = of(&five(
        vec![],
        vec![
            node("Abs", &["conv.weight"], "size", vec![]),
            node("ReduceMean", &["size"], "mean_size", vec![int("keepdims", 0)]),
            node("Mul", &["b", "mean_size"], "y", vec![]),
        ],
    ));
    assert_eq!(of_weight.trained_alone, ["conv.weight"]);
    // Not where it is not trained, or read in another shape.
    let frozen = of(&five(
        vec![number("alpha", 0.25), number("shift", 1.0)],
        vec![
            node("Div", &["b", "alpha"], "c", vec![]),
            node("Exp", &["alpha"], "scale", vec![]),
            node("Mul", &["c", "scale"], "d", vec![]),
            node("Identity", &["shift"], "other", vec![]),
            node("Add", &["d", "other"], "y", vec![]),
        ],
    ));
    assert!(
        frozen.trained_alone.is_empty() && frozen.lost.is_empty(),
        "{frozen:?}"
    );
    // Weights that are computed are trained, and what they were computed of is no parameter any more.
    let graph = graph_of(model(
        &[1, 3, 4, 4],
        vec![floats("w", &[5, 3, 4, 4]), number("hi", f32::INFINITY)],
        vec![
            node("Neg", &["w"], "other", vec![]),
            node("Conv", &["x", "other"], "a", vec![]),
            node("Min", &["a", "hi"], "b", vec![]),
            node("Flatten", &["b"], "y", vec![]),
        ],
    ));
    let lost = of(&graph.unwrap());
    assert_eq!(lost.lost, ["w", "hi"]);
    assert!(
        lost.trained_alone.is_empty() && !lost.unnamed.is_empty(),
        "{lost:?}"
    );
}

/// A vector that two modules read was written once for both. One that another module alone reads is still its own.
#[test]
fn a_vector_is_called_by_the_module_that_reads_it_where_its_owner_does() {
    let scale =
        |name: &str, source: &str, x: &str, y: &str| called(name, node("Mul", &[x, source], y, vec![]));
    let read = |nodes: Vec<NodeProto>| {
        let graph = graph_of(model(&[1, 3, 4, 4], vec![floats("a.w", &[3, 1, 1])], nodes)).unwrap();
        let constants = graph.nodes().iter().flat_map(|node| node.op().constants());
        let named = constants.map(|constant| {
            let in_file = constant.in_file().unwrap();
            assert_eq!(in_file.shape, [3, 1, 1]);
            (constant.name().unwrap().to_owned(), in_file.name.clone())
        });
        named.collect::<Vec<_>>()
    };
    let own = ("a.w".to_owned(), None);
    let copy = |name: &str| (name.to_owned(), Some("a.w".to_owned()));
    let first = || scale("/a/Mul", "a.w", "x", "h");
    assert_eq!(
        read(vec![first(), scale("/b/Mul", "a.w", "h", "y")]),
        [own.clone(), copy("b.w")]
    );
    assert_eq!(
        read(vec![first(), scale("/a_out/Mul", "a.w", "h", "y")]),
        [own.clone(), copy("a_out.w")]
    );
    assert_eq!(
        read(vec![first(), scale("/a_1/Mul", "a.w", "h", "y")]),
        [own.clone(), own.clone()]
    );
    assert_eq!(
        read(vec![scale("/b/Mul", "a.w", "x", "y")]),
        std::slice::from_ref(&own)
    );
    // Under the name that PyTorch gives it.
    let other = node("Identity", &["a.w"], "c.w", vec![]);
    assert_eq!(
        read(vec![other, first(), scale("/c/Mul", "c.w", "h", "y")]),
        [own, copy("c.w")]
    );
}

#[test]
fn what_makes_no_graph_is_named() {
    let weights = || vec![floats("conv.weight", &[4, 3, 3, 3])];
    let conv = || called("Conv_0", node("Conv", &["x", "conv.weight"], "y", vec![]));
    let with = |weight: TensorProto| {
        stopped(model(
            &[1, 3, 4, 4],
            vec![TensorProto {
                name: "conv.weight".to_owned(),
                ..weight
            }],
            vec![conv()],
        ))
    };
    // Two inputs of unequal batches, as detectors have them.
    let mut two = model(&[1, 3, 4, 4], weights(), vec![conv()]);
    let graph = two.graph.as_mut().unwrap();
    let mut other = placeholder("boxes".to_owned(), &tensor("boxes", &[7, 4]));
    other.name = "boxes".to_owned();
    graph.input.push(other);
    // An input that nothing reads, and nodes in a circle.
    let mut unread = model(&[1, 3, 4, 4], weights(), vec![conv()]);
    let mut other = placeholder("mask".to_owned(), &tensor("mask", &[1, 4]));
    other.name = "mask".to_owned();
    unread.graph.as_mut().unwrap().input.push(other);
    let circle = vec![
        called("first", node("Add", &["x", "b"], "a", vec![])),
        node("Relu", &["a"], "b", vec![]),
        node("Conv", &["b", "conv.weight"], "y", vec![]),
    ];
    let inner = within(node("Relu", &["x"], "r", vec![]));
    let branch = node("If", &["x"], "y", vec![inner]);
    let mut not_there = floats("", &[4, 3, 3, 3]);
    not_there.float_data.clear();
    not_there.data_location = Some(1);
    let mut infinite = floats("", &[4, 3, 3, 3]);
    infinite.float_data[5] = f32::NAN;
    let mut short = floats("", &[4, 3, 3, 3]);
    short.float_data.pop();
    let mut strings = tensor("", &[4, 3, 3, 3]);
    strings.data_type = DataType::String as i32;
    for (error, part, says) in [
        (stopped(two), "`boxes`", "another batch"),
        (stopped(unread), "`mask`", "is not used"),
        (
            stopped(model(&[1, 3, 4, 4], weights(), circle)),
            "`first` (Add)",
            "reads `b`, which this node or one behind it computes",
        ),
        (
            stopped(model(&[1, 3, 4, 4], vec![], vec![branch])),
            "`y` (If)",
            "export the network without it",
        ),
        (
            with(not_there),
            "`conv` (Conv)",
            "in another file: read it by its path",
        ),
        (with(infinite), "`conv`", "expected finite numbers"),
        (
            with(short),
            "`conv.weight`",
            "as many numbers as its dimensions say",
        ),
        (with(strings), "`conv.weight`", "no floats of 16 bits or more"),
    ] {
        assert!(error.contains(part) && error.contains(says), "{error}");
    }
}
