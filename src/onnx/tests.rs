mod attention;
mod external;
mod made;
mod ties;

use super::{infer::infer_within, tensors::placeholder, *};
use tract_onnx::pb::{
    AttributeProto, OperatorSetIdProto, TensorProto, tensor_proto::DataType, tensor_shape_proto::dimension,
};

fn ints(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 7,
        ints: ints.to_vec(),
        ..AttributeProto::default()
    }
}

fn text(name: &str, text: &str) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 3,
        s: text.into(),
        ..AttributeProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
    NodeProto {
        op_type: operator.to_owned(),
        input: inputs.iter().map(|&input| input.to_owned()).collect(),
        output: vec![output.to_owned()],
        attribute,
        ..NodeProto::default()
    }
}

/// A tensor without its data.
fn tensor(name: &str, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: name.to_owned(),
        dims: dims.to_vec(),
        data_type: DataType::Float as i32,
        ..TensorProto::default()
    }
}

fn shape(name: &str, sizes: &[i64]) -> TensorProto {
    TensorProto {
        data_type: DataType::Int64 as i32,
        int64_data: sizes.to_vec(),
        ..tensor(name, &[sizes.len() as i64])
    }
}

/// A graph from `x` of this shape, 0 where it is open, to what its last node computes.
fn model(x: &[i64], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
    let mut input = placeholder("x".to_owned(), &tensor("x", x));
    shape_of(&mut input)
        .unwrap()
        .iter_mut()
        .filter(|dimension| size(dimension).is_none())
        .for_each(|dimension| dimension.value = Some(dimension::Value::DimParam("n".to_owned())));
    let output = node.last().map(|node| ValueInfoProto {
        name: node.output.first().cloned().unwrap_or_default(),
        ..ValueInfoProto::default()
    });
    ModelProto {
        opset_import: vec![OperatorSetIdProto {
            version: 17,
            ..OperatorSetIdProto::default()
        }],
        graph: Some(GraphProto {
            input: vec![input],
            output: output.into_iter().collect(),
            initializer,
            node,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn refused(model: ModelProto, input_size: Option<[usize; 2]>) -> String {
    from_model("x", model, input_size).unwrap_err().to_string()
}

#[test]
fn padding_may_be_left_to_onnx() {
    // The last of four outputs in steps of 2 begins at cell 6: a kernel of 3 needs 9 cells and one of 2 needs 8,
    // where there are 7.
    for (kernel, automatic, expected) in [
        (3, "SAME_UPPER", [1, 1, 1, 1]),
        (2, "SAME_UPPER", [0, 1, 0, 1]),
        (2, "SAME_LOWER", [1, 0, 1, 0]),
        (3, "VALID", [0; 4]),
        (3, "NOTSET", [0; 4]),
    ] {
        let attributes = vec![text("auto_pad", automatic), ints("strides", &[2, 2])];
        let model = model(
            &[1, 3, 7, 7],
            vec![tensor("w", &[8, 3, kernel, kernel])],
            vec![node("Conv", &["x", "w"], "y", attributes)],
        );
        let layer = &from_model("x", model, None).unwrap().network.layers[0];
        assert_eq!(layer.padding, expected.into(), "{automatic}");
        let same = automatic.starts_with("SAME");
        assert_eq!(
            layer.output(Accounting::ExactGeometry),
            if same { [4, 4] } else { [3, 3] }
        );
    }
}

#[test]
fn open_sizes_are_said_and_open_batches_are_one() {
    let open = || {
        model(
            &[0, 3, 0, 0],
            vec![tensor("w", &[8, 3, 3, 3])],
            vec![node("Conv", &["x", "w"], "y", vec![])],
        )
    };
    assert!(refused(open(), None).contains("input `x` open: give them with --input-size"));
    let layer = &from_model("x", open(), Some([20, 30])).unwrap().network.layers[0];
    assert_eq!(layer.input, [20, 30]);
}

#[test]
fn quantised_convolutions_are_mapped() {
    let scales = ["xs", "xz", "ws", "wz", "ys", "yz"];
    let mut initializer: Vec<_> = scales.map(|name| tensor(name, &[])).into();
    initializer.push(tensor("w", &[8, 3, 3, 3]));
    let inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"];
    let model = model(
        &[1, 3, 9, 9],
        initializer,
        vec![node("QLinearConv", &inputs, "y", vec![])],
    );
    let layer = &from_model("x", model, None).unwrap().network.layers[0];
    assert_eq!((layer.in_channels, layer.out_channels), (3, 8));
}

#[test]
fn a_convolution_that_inference_does_not_reach_is_named_with_what_stopped_it() {
    let past = |operator: &str| {
        let mut before = node(operator, &["x"], "r", vec![]);
        before.name = "riddle".to_owned();
        model(
            &[1, 3, 8, 8],
            vec![tensor("w", &[8, 3, 3, 3])],
            vec![
                before,
                node("Relu", &["r"], "s", vec![]),
                node("Conv", &["s", "w"], "y", vec![]),
            ],
        )
    };
    let said = refused(past("Riddle"), None);
    assert!(
        said.contains("convolution `y` works on could not be inferred past `riddle` (Riddle)"),
        "{said}"
    );
    // What the file states counts where inference stops.
    let mut stated = past("Riddle");
    let info = placeholder("s".to_owned(), &tensor("s", &[1, 3, 8, 8]));
    stated.graph.as_mut().unwrap().value_info.push(info);
    assert_eq!(
        from_model("x", stated, None).unwrap().network.layers[0].input,
        [8, 8]
    );
}

#[test]
fn convolutions_that_cannot_be_mapped_are_refused_by_name() {
    let line = model(
        &[1, 3, 8],
        vec![tensor("w", &[8, 3, 3])],
        vec![node("Conv", &["x", "w"], "y", vec![])],
    );
    assert!(refused(line, None).contains("`y` is a convolution over 1 axes"));

    let branch = within(node("Conv", &["x", "w"], "y", vec![]));
    let model = model(&[1, 3, 8, 8], vec![], vec![node("If", &["x"], "z", vec![branch])]);
    assert!(refused(model, None).contains("`y` is inside `z`"));
}

#[test]
fn hostile_numbers_are_refused_before_anything_is_allocated() {
    let convolution = |weight: &[i64], attributes| {
        let convolution = node("Conv", &["x", "w"], "y", attributes);
        model(&[1, 3, 8, 8], vec![tensor("w", weight)], vec![convolution])
    };
    for (model, says) in [
        (convolution(&[8, 3, -3, 3], vec![]), "are out of range"),
        (convolution(&[i64::MAX; 4], vec![]), "are out of range"),
        (convolution(&[1 << 31, 3, 1, 1], vec![]), "`y`"),
        (convolution(&[8, 0, 3, 3], vec![]), "`y`"),
        (
            convolution(&[8, 3, 3, 3], vec![ints("pads", &[-1; 4])]),
            "negative number -1 among its `pads`",
        ),
        (convolution(&[8, 3, 3, 3], vec![ints("strides", &[0; 2])]), "`y`"),
        (
            convolution(&[8, 3, 3, 3], vec![ints("dilations", &[i64::MAX; 2])]),
            "`y`",
        ),
    ] {
        let said = refused(model, None);
        assert!(said.contains(says), "{said}");
    }
    // A shape of 2^41 axes fills the memory of any machine.
    for (operator, inputs) in [("Reshape", &["x", "sizes"][..]), ("ConstantOfShape", &["sizes"])] {
        let nodes = vec![
            node("Flatten", &["list"], "flat", vec![]),
            node("Squeeze", &["flat", "axis"], "sizes", vec![]),
            node(operator, inputs, "many", vec![]),
            node("Conv", &["many", "w"], "y", vec![]),
        ];
        let mut list = tensor("list", &[1, 1 << 31, 1 << 10]);
        list.data_type = DataType::Int64 as i32;
        let weights = vec![list, shape("axis", &[0]), tensor("w", &[8, 3, 3, 3])];
        let said = refused(model(&[1, 3, 8, 8], weights, nodes), None);
        assert!(said.contains("past `many`"), "{said}");
    }
    // What an operator panics on is left unknown.
    let nodes = vec![
        node("Range", &["from", "to", "step"], "panics", vec![]),
        node("Conv", &["x", "w"], "y", vec![]),
    ];
    let mut weights: Vec<_> = [("from", 0), ("to", 1 << 45), ("step", 0)]
        .map(|(name, number)| shape(name, &[number]))
        .into();
    weights.iter_mut().for_each(|number| number.dims.clear());
    weights.push(tensor("w", &[8, 3, 3, 3]));
    let import = from_model("x", model(&[1, 3, 8, 8], weights, nodes), None).unwrap();
    assert_eq!(import.network.layers.len(), 1);
    // So do constants that a few bytes make.
    for (operator, sizes) in [
        ("ConstantOfShape", vec![1 << 40, 1 << 20]),
        ("ConstantLike", vec![]),
    ] {
        let fill = node(operator, &["sizes"], "filled", vec![ints("shape", &[1 << 60])]);
        let mut fills = vec![fill, node("Conv", &["x", "w"], "y", vec![])];
        if operator == "ConstantLike" {
            fills[0].input.clear();
        }
        let weights = vec![shape("sizes", &sizes), tensor("w", &[8, 3, 3, 3])];
        let import = from_model("x", model(&[1, 3, 8, 8], weights, fills), None).unwrap();
        assert_eq!(import.network.layers.len(), 1);
    }
}

#[test]
fn graphs_of_too_many_nodes_are_refused() {
    let nodes = vec![NodeProto::default(); MAX_PARTS];
    let said = refused(model(&[1, 3, 8, 8], vec![], nodes), None);
    assert!(said.contains("more than 50000 nodes"), "{said}");
}

#[test]
fn long_files_do_not_exhaust_the_stack() {
    let names: Vec<String> = (0..20_000).map(|n| format!("v{n}")).collect();
    let mut nodes = vec![node("Relu", &["x"], &names[0], vec![])];
    nodes.extend(
        names
            .windows(2)
            .map(|pair| node("Relu", &[&pair[0]], &pair[1], vec![])),
    );
    nodes.push(node("Conv", &[&names[names.len() - 1], "w"], "y", vec![]));
    let model = model(&[1, 3, 8, 8], vec![tensor("w", &[8, 3, 3, 3])], nodes);
    assert_eq!(from_model("x", model, None).unwrap().network.layers.len(), 1);
}

/// Numbers of the element types that tract lacks: complex ones, BFLOAT16, the five FLOAT8, UINT4, INT4, FLOAT4E2M1,
/// UINT2, INT2, and one that ONNX does not have.
const UNREADABLE_TYPES: [i32; 14] = [14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 99];

fn of_domain(domain: &str, mut node: NodeProto) -> NodeProto {
    node.domain = domain.to_owned();
    node
}

fn int(name: &str, int: i64) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 2,
        i: int,
        ..AttributeProto::default()
    }
}

fn held(name: &str, tensor: TensorProto) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        r#type: 4,
        t: Some(tensor),
        ..AttributeProto::default()
    }
}

/// A graph of this node as an attribute.
fn within(node: NodeProto) -> AttributeProto {
    AttributeProto {
        name: "then_branch".to_owned(),
        g: Some(GraphProto {
            node: vec![node],
            ..GraphProto::default()
        }),
        ..AttributeProto::default()
    }
}

/// A scalar and its value.
fn scalar(name: &str) -> TensorProto {
    TensorProto {
        float_data: vec![1.0],
        ..tensor(name, &[])
    }
}

/// Names, input sizes and channels of the layers of a model.
fn layers(model: ModelProto) -> Vec<(String, [usize; 2], [usize; 2])> {
    let import = from_model("x", model, None).unwrap();
    let layers = import.network.layers.into_iter();
    layers
        .map(|layer| (layer.name, layer.input, [layer.in_channels, layer.out_channels]))
        .collect()
}

/// What a convolution sees behind `nodes`, which make `z` of `x`, 1x3x8x8. The constants are `s`, a scalar, and `m`,
/// 1x3x1x1.
fn behind(mut nodes: Vec<NodeProto>, kernel_channels: i64) -> Result<ConvLayer, String> {
    nodes.push(node("Conv", &["z", "w"], "last", vec![]));
    let weight = tensor("w", &[4, kernel_channels, 1, 1]);
    let model = model(
        &[1, 3, 8, 8],
        vec![scalar("s"), tensor("m", &[1, 3, 1, 1]), weight],
        nodes,
    );
    let import = from_model("x", model, None).map_err(|error| error.to_string())?;
    assert!(import.left_out.is_empty(), "nothing multiplies");
    Ok(import.network.layers.into_iter().next_back().unwrap())
}

#[test]
fn element_types_do_not_matter() {
    for element_type in UNREADABLE_TYPES {
        let typed = |name: &str, dims: &[i64]| TensorProto {
            data_type: element_type,
            raw_data: vec![0; 3],
            ..tensor(name, dims)
        };
        let info = |name: &str, dims: &[i64]| placeholder(name.to_owned(), &typed(name, dims));
        let nodes = vec![
            node("Cast", &["x"], "t", vec![int("to", element_type.into())]),
            node(
                "Constant",
                &[],
                "w1",
                vec![held("value", typed("", &[8, 3, 3, 3]))],
            ),
            node("Constant", &[], "b1", vec![held("value", typed("", &[8]))]),
            node("Conv", &["t", "w1", "b1"], "c", vec![]),
            node("Add", &["c", "one"], "a", vec![]),
            node("Conv", &["a", "w2"], "y", vec![]),
        ];
        let mut model = model(
            &[1, 3, 8, 8],
            vec![typed("w2", &[4, 8, 1, 1]), typed("one", &[1])],
            nodes,
        );
        let graph = model.graph.as_mut().unwrap();
        graph.input = vec![info("x", &[1, 3, 8, 8])];
        graph.output = vec![info("y", &[1, 4, 6, 6])];
        graph.value_info = vec![info("c", &[1, 8, 6, 6])];
        assert_eq!(
            layers(model),
            [("c".to_owned(), [8, 8], [3, 8]), ("y".to_owned(), [6, 6], [8, 4])],
            "{element_type}"
        );
    }
}

#[test]
fn quantisation_keeps_shapes() {
    for domain in ["", "com.microsoft"] {
        for element_type in [2, 3, 4, 5, 6].into_iter().chain(UNREADABLE_TYPES) {
            let codes = TensorProto {
                data_type: element_type,
                ..tensor("codes", &[8, 3, 3, 3])
            };
            let zero = TensorProto {
                data_type: element_type,
                int32_data: vec![0],
                ..tensor("zero", &[])
            };
            let blocks = || vec![int("axis", 1), int("block_size", 3)];
            let nodes = [
                node("QuantizeLinear", &["x", "s", "zero"], "q", vec![]),
                node("DequantizeLinear", &["q", "s", "zero"], "d", vec![]),
                node("DequantizeLinear", &["codes", "blocks"], "w", blocks()),
                node(
                    "QuantizeLinear",
                    &["d", "blocks"],
                    "e",
                    vec![int("output_dtype", 22)],
                ),
                node("DequantizeLinear", &["e", "blocks"], "f", blocks()),
                node(
                    "DequantizeLinear",
                    &["e", "s"],
                    "half",
                    vec![int("output_dtype", 10)],
                ),
            ];
            let mut nodes: Vec<_> = nodes.map(|node| of_domain(domain, node)).into();
            nodes.push(node("Conv", &["f", "w"], "y", vec![]));
            nodes.push(node("Cast", &["w"], "half w", vec![int("to", 10)]));
            nodes.push(node("Conv", &["half", "half w"], "half y", vec![]));
            nodes.push(node("Conv", &["half y", "half v"], "z", vec![]));
            let half = TensorProto {
                data_type: DataType::Float16 as i32,
                ..tensor("half v", &[8, 8, 3, 3])
            };
            let constants = vec![half, codes, zero, scalar("s"), tensor("blocks", &[8, 1, 3, 3])];
            let import = from_model("x", model(&[1, 3, 8, 8], constants, nodes), None).unwrap();
            assert!(import.left_out.is_empty());
            let inputs: Vec<_> = import.network.layers.iter().map(|layer| layer.input).collect();
            assert_eq!(inputs, [[8, 8], [8, 8], [6, 6]]);
        }
    }
}

#[test]
fn few_bits_may_be_clipped_from_more() {
    // Brevitas writes 4 bits as codes of 8 that are clipped to -8 to 7.
    let code = |name: &str, code: i32| TensorProto {
        data_type: DataType::Int8 as i32,
        int32_data: vec![code],
        ..tensor(name, &[])
    };
    let codes = TensorProto {
        data_type: DataType::Int8 as i32,
        ..tensor("codes", &[8, 3, 3, 3])
    };
    let nodes = vec![
        node("QuantizeLinear", &["x", "s", "zero"], "q", vec![]),
        node("Clip", &["q", "low", "high"], "c", vec![]),
        node("DequantizeLinear", &["c", "s", "zero"], "d", vec![]),
        node("Clip", &["codes", "low", "high"], "clipped", vec![]),
        node("DequantizeLinear", &["clipped", "s", "zero"], "w", vec![]),
        node("Conv", &["d", "w"], "y", vec![]),
    ];
    let constants = vec![
        codes,
        code("zero", 0),
        code("low", -8),
        code("high", 7),
        scalar("s"),
    ];
    assert_eq!(
        layers(model(&[1, 3, 8, 8], constants, nodes)),
        [("y".to_owned(), [8, 8], [3, 8])]
    );
}

#[test]
fn what_fills_a_padding_does_not_matter() {
    for mode in ["wrap", "reflect", "constant", "edge", "unheard-of"] {
        let pad = |inputs: &[&str]| {
            let pads = shape("pads", &[0, 0, 1, 2, 0, 0, 3, 4]);
            vec![
                node("Constant", &[], "pads", vec![held("value", pads)]),
                node("Pad", inputs, "z", vec![text("mode", mode)]),
            ]
        };
        for inputs in [&["x", "pads"][..], &["x", "pads", "s"], &["x", "pads", "m", ""]] {
            assert_eq!(behind(pad(inputs), 3).unwrap().input, [12, 14], "{mode}");
        }
    }
}

#[test]
fn fused_convolutions_are_convolutions() {
    let fused = |inputs: &[&str], output: &str| {
        let attributes = vec![
            text("activation", "Relu"),
            ints("pads", &[1; 4]),
            ints("strides", &[2, 2]),
        ];
        of_domain("com.microsoft", node("FusedConv", inputs, output, attributes))
    };
    let nodes = vec![
        fused(&["x", "w", "b"], "first"),
        fused(&["first", "v", "", "first"], "second"),
        node("Conv", &["second", "v"], "third", vec![]),
    ];
    let constants = vec![
        tensor("w", &[8, 3, 3, 3]),
        tensor("b", &[8]),
        tensor("v", &[8, 8, 3, 3]),
    ];
    let import = from_model("x", model(&[1, 3, 16, 16], constants, nodes), None).unwrap();
    assert!(import.left_out.is_empty());
    let inputs: Vec<_> = import.network.layers.iter().map(|layer| layer.input).collect();
    assert_eq!(inputs, [[16, 16], [8, 8], [4, 4]]);
}

#[test]
fn convolutions_in_a_form_that_is_not_known_are_refused() {
    let optimised = "is a convolution in a layout that ONNX Runtime's optimisation chose";
    let unknown = "is not known, and its name says that it may be a convolution";
    for (domain, operator, attributes, says) in [
        ("com.microsoft.nchwc", "Conv", vec![], optimised),
        ("com.microsoft", "NhwcFusedConv", vec![], optimised),
        (
            "com.microsoft",
            "QLinearConv",
            vec![int("channels_last", 1)],
            optimised,
        ),
        ("com.microsoft", "ConvTransposeWithDynamicPads", vec![], optimised),
        ("com.ms.internal.nhwc", "Conv", vec![], optimised),
        ("qonnx.custom_op.channels_last", "Conv", vec![], unknown),
        ("example", "MyConv2d", vec![], unknown),
        ("example", "deformable_convolution", vec![], unknown),
        ("", "FusedConv", vec![], unknown),
    ] {
        let strange = of_domain(domain, node(operator, &["x", "w"], "z", attributes));
        let known = node("Conv", &["x", "w"], "y", vec![]);
        let weight = || vec![tensor("w", &[8, 3, 3, 3])];
        let said = refused(
            model(&[1, 3, 8, 8], weight(), vec![strange.clone(), known.clone()]),
            None,
        );
        assert!(
            said.contains(says) && said.contains(operator) && said.contains(domain),
            "{said}"
        );

        // Nor are they inside a function or a node.
        let branch = node("If", &["x"], "z", vec![within(strange.clone())]);
        let said = refused(model(&[1, 3, 8, 8], weight(), vec![branch, known.clone()]), None);
        assert!(said.contains(says), "{said}");
        let mut with_function = model(&[1, 3, 8, 8], weight(), vec![known]);
        with_function.functions.push(FunctionProto {
            node: vec![strange],
            ..FunctionProto::default()
        });
        assert!(refused(with_function, None).contains(says));
    }
    // Layout conversions, and calls of functions without a convolution, are none.
    let nodes = vec![
        of_domain("example", node("ConvertLayout", &["x"], "a", vec![])),
        of_domain("example", node("ConvFree", &["x"], "b", vec![])),
        node("Conv", &["x", "w"], "y", vec![]),
    ];
    let mut model = model(&[1, 3, 8, 8], vec![tensor("w", &[8, 3, 3, 3])], nodes);
    model.functions.push(FunctionProto {
        name: Some("ConvFree".to_owned()),
        domain: Some("example".to_owned()),
        ..FunctionProto::default()
    });
    assert_eq!(layers(model).len(), 1);
}

#[test]
fn qonnx_quantisers_keep_shapes_and_are_no_layers() {
    for domain in [
        "qonnx.custom_op.general",
        "onnx.brevitas",
        "finn.custom_op.general",
    ] {
        for operator in [
            "Quant",
            "IntQuant",
            "BipolarQuant",
            "Trunc",
            "FloatQuant",
            "MultiThreshold",
        ] {
            let quant = of_domain(domain, node(operator, &["x", "m", "s", "s"], "z", vec![]));
            assert_eq!(
                behind(vec![quant], 3).unwrap().input,
                [8, 8],
                "{operator} of {domain}"
            );
        }
    }
    // Weights behind one are weights.
    let nodes = vec![
        of_domain("onnx.brevitas", node("Quant", &["v", "s", "s", "s"], "q", vec![])),
        node("Conv", &["x", "w"], "y", vec![]),
        node("MatMul", &["y", "q"], "z", vec![]),
    ];
    let constants = vec![tensor("w", &[8, 3, 1, 1]), tensor("v", &[8, 8]), scalar("s")];
    let import = from_model("x", model(&[1, 3, 8, 8], constants, nodes), None).unwrap();
    assert_eq!(import.left_out, [("z".to_owned(), "MatMul".to_owned())]);
}

#[test]
fn operators_of_onnx_runtime_have_the_shapes_of_onnxs_own() {
    let runtime = |operator: &str, inputs: &[&str], attributes| {
        vec![of_domain(
            "com.microsoft",
            node(operator, inputs, "z", attributes),
        )]
    };
    let pool = || {
        vec![
            ints("kernel_shape", &[2, 2]),
            ints("strides", &[2, 2]),
            int("channels_last", 0),
        ]
    };
    let (x, quantised) = (
        ["x", "s", "s", "s", "s"],
        ["x", "s", "s", "m", "s", "s", "s", "s"],
    );
    for (nodes, channels, input) in [
        (runtime("QLinearAdd", &quantised, vec![]), 3, [8, 8]),
        (runtime("QLinearMul", &quantised, vec![]), 3, [8, 8]),
        (runtime("QLinearLeakyRelu", &x, vec![]), 3, [8, 8]),
        (runtime("QLinearSigmoid", &x, vec![]), 3, [8, 8]),
        (runtime("QLinearSoftmax", &x, vec![]), 3, [8, 8]),
        (runtime("QuickGelu", &["x"], vec![]), 3, [8, 8]),
        (runtime("QLinearAveragePool", &x, pool()), 3, [4, 4]),
        (runtime("QLinearGlobalAveragePool", &x, vec![]), 3, [1, 1]),
        (
            runtime(
                "QLinearConcat",
                &["s", "s", "x", "s", "s", "x", "s", "s"],
                vec![int("axis", 1)],
            ),
            6,
            [8, 8],
        ),
    ] {
        let operator = nodes[0].op_type.clone();
        assert_eq!(behind(nodes, channels).unwrap().input, input, "{operator}");
    }
    for operator in ["QLinearAveragePool", "QLinearGlobalAveragePool"] {
        let said = behind(runtime(operator, &x, vec![int("channels_last", 1)]), 3).unwrap_err();
        let expected = format!("past `z` ({operator} of the domain com.microsoft)");
        assert!(said.contains(&expected), "{said}");
    }

    let convolution = ["x", "s", "s", "w", "s", "s", "s", "s"];
    let nodes = vec![
        of_domain(
            "com.microsoft",
            node("QLinearConv", &convolution, "y", vec![int("channels_last", 0)]),
        ),
        node("Flatten", &["y"], "f", vec![]),
        of_domain(
            "com.microsoft",
            node("QGemm", &["f", "s", "s", "v", "s", "s"], "z", vec![]),
        ),
    ];
    let constants = vec![tensor("w", &[8, 3, 8, 8]), tensor("v", &[8, 10]), scalar("s")];
    let import = from_model("x", model(&[1, 3, 8, 8], constants, nodes), None).unwrap();
    assert_eq!(import.network.layers.len(), 1);
    assert_eq!(import.left_out, [("z".to_owned(), "QGemm".to_owned())]);
}

#[test]
fn only_an_operators_own_domain_says_what_it_does() {
    let said = behind(vec![of_domain("example", node("Relu", &["x"], "z", vec![]))], 3).unwrap_err();
    assert!(said.contains("past `z` (Relu of the domain example)"), "{said}");
    // Nor has the name of an operator for inference alone a meaning in a file.
    let said = behind(vec![node(operators::ALIKE, &["x"], "z", vec![])], 3).unwrap_err();
    assert!(said.contains("past `z`"), "{said}");
}

#[test]
fn inference_goes_on_behind_an_unreadable_node_from_what_the_file_states() {
    for unreadable in [
        node("MaxPool", &["x"], "u", vec![]),
        node("Riddle", &["x"], "u", vec![]),
        node("Flatten", &[], "u", vec![]),
        node("If", &["x"], "u", vec![within(node("Relu", &["x"], "y", vec![]))]),
        node("Pad", &["x", "missing"], "u", vec![]),
        node(
            "Resize",
            &["x", "", "up"],
            "u",
            vec![text("coordinate_transformation_mode", "tf_crop_and_resize")],
        ),
    ] {
        let nodes = vec![
            unreadable.clone(),
            node("Relu", &["u"], "r", vec![]),
            node("Conv", &["r", "w"], "c", vec![]),
            node("Conv", &["c", "w"], "y", vec![]),
        ];
        let up = TensorProto {
            float_data: vec![1.0, 1.0, 2.0, 2.0],
            ..tensor("up", &[4])
        };
        let mut model = model(&[1, 3, 8, 8], vec![tensor("w", &[3, 3, 3, 3]), up], nodes);
        let said = refused(model.clone(), None);
        assert!(said.contains("past `u` ("), "{said}");
        let info = placeholder("u".to_owned(), &tensor("", &[1, 3, 16, 12]));
        model.graph.as_mut().unwrap().value_info.push(info);
        assert_eq!(
            layers(model),
            [
                ("c".to_owned(), [16, 12], [3, 3]),
                ("y".to_owned(), [14, 10], [3, 3])
            ]
        );
    }
}

#[test]
fn values_that_quantisation_changes_are_not_taken_as_they_are() {
    // Codes of 1, 1, 4 and 4 at a scale of 0.5 enlarge twice, not four times.
    let codes = TensorProto {
        data_type: DataType::Uint8 as i32,
        int32_data: vec![2, 2, 4, 4],
        ..tensor("codes", &[4])
    };
    for quantiser in [
        node("DequantizeLinear", &["codes", "s"], "up", vec![]),
        of_domain(
            "onnx.brevitas",
            node("Quant", &["codes", "s", "s", "s"], "up", vec![]),
        ),
    ] {
        let nodes = vec![
            node("Constant", &[], "codes", vec![held("value", codes.clone())]),
            quantiser,
            node("Resize", &["x", "", "up"], "z", vec![]),
        ];
        let said = behind(nodes, 3).unwrap_err();
        assert!(said.contains("past `up`") || said.contains("past `z`"), "{said}");
    }
}

#[test]
fn a_resize_needs_no_region_of_interest() {
    for version in [11, 12, 13, 18, 22] {
        let up = TensorProto {
            float_data: vec![1.0, 1.0, 2.0, 3.0],
            ..tensor("up", &[4])
        };
        let nodes = vec![
            node("Resize", &["x", "", "up"], "z", vec![]),
            node("Conv", &["z", "w"], "y", vec![]),
        ];
        let mut model = model(&[1, 3, 8, 8], vec![tensor("w", &[8, 3, 3, 3]), up], nodes);
        model.opset_import[0].version = version;
        assert_eq!(
            layers(model),
            [("y".to_owned(), [16, 24], [3, 8])],
            "opset {version}"
        );
    }
}

#[test]
fn sparse_constants_have_their_dense_shape() {
    let sparse = |name: &str, dims: &[i64]| tract_onnx::pb::SparseTensorProto {
        values: Some(tensor(name, &[1])),
        dims: dims.to_vec(),
        ..Default::default()
    };
    let value = AttributeProto {
        name: "sparse_value".to_owned(),
        sparse_tensor: Some(sparse("", &[10, 8])),
        ..AttributeProto::default()
    };
    let nodes = vec![
        node("Conv", &["x", "w"], "y", vec![]),
        node("Constant", &[], "v", vec![value]),
        node("MatMul", &["y", "v"], "z", vec![]),
    ];
    let mut model = model(&[1, 3, 8, 8], vec![], nodes);
    model
        .graph
        .as_mut()
        .unwrap()
        .sparse_initializer
        .push(sparse("w", &[8, 3, 3, 3]));
    let import = from_model("x", model, None).unwrap();
    assert_eq!(import.network.layers[0].out_channels, 8);
    assert_eq!(import.left_out, [("z".to_owned(), "MatMul".to_owned())]);
}

#[test]
fn every_layer_has_a_name_of_its_own() {
    let convolution = |name: &str, input: &str, output: &str| NodeProto {
        name: name.to_owned(),
        ..node("Conv", &[input, "w"], output, vec![])
    };
    let nodes = vec![
        convolution("a", "x", "1"),
        convolution("a", "1", "2"),
        convolution("a", "2", "a_2"),
        convolution("b", "a_2", "4"),
        convolution("", "4", "b"),
        convolution("b_2", "b", "6"),
        convolution("b", "6", "a"),
    ];
    let names: Vec<_> = layers(model(&[1, 3, 8, 8], vec![tensor("w", &[3, 3, 1, 1])], nodes))
        .into_iter()
        .map(|(name, ..)| name)
        .collect();
    assert_eq!(names, ["a", "2", "a_2", "b", "b_3", "b_2", "b_4"]);
}

#[test]
fn errors_are_sentences() {
    let weight = |dims: &[i64]| tensor("w", dims);
    let with = |weight: TensorProto, attributes: Vec<AttributeProto>| {
        model(
            &[1, 3, 8, 8],
            vec![weight],
            vec![node("Conv", &["x", "w"], "y", attributes)],
        )
    };
    let fine = || weight(&[8, 3, 3, 3]);
    let mut twice = with(fine(), vec![]);
    let graph = twice.graph.as_mut().unwrap();
    graph.node.push(node("Relu", &["x"], "y", vec![]));
    let without = |inputs: &[&str]| {
        model(
            &[1, 3, 8, 8],
            vec![fine()],
            vec![node("Conv", inputs, "y", vec![])],
        )
    };
    let mut short = shape("short", &[1, 2]);
    short.int64_data.clear();
    short.raw_data = vec![0; 7];
    let mut untyped = with(fine(), vec![]);
    untyped.graph.as_mut().unwrap().input[0].r#type = None;
    for (model, says) in [
        (twice, "more than one node or input gives its value `y`"),
        (
            with(short, vec![]),
            "its tensor `short` holds 7 bytes, where its dimensions and type take 16",
        ),
        (
            with(weight(&[8, -3]), vec![]),
            "the dimensions 8x-3 of its tensor `w` are out of range",
        ),
        (
            with(weight(&[8, 3]), vec![]),
            "`y` has a weight of 2 axes, where four were expected",
        ),
        (
            with(weight(&[8, 4, 3, 3]), vec![]),
            "`y` has an input of 3 channels, but a weight for 4",
        ),
        (
            with(fine(), vec![ints("pads", &[1; 3])]),
            "`y` has 3 numbers as its `pads`, where 4 were expected",
        ),
        (
            with(fine(), vec![ints("strides", &[2])]),
            "`y` has 1 numbers as its `strides`, where 2",
        ),
        (
            with(fine(), vec![ints("kernel_shape", &[5, 5])]),
            "`y` has a weight of 3x3, but 5x5 as its",
        ),
        (
            with(fine(), vec![text("auto_pad", "SAME")]),
            "`y` has the unknown `auto_pad` SAME",
        ),
        (with(fine(), vec![int("group", -1)]), "`y` has -1 groups"),
        (without(&["x"]), "`y` has no weight"),
        (without(&["", "w"]), "`y` has no input"),
        (
            without(&["q", "w"]),
            "past `q`, which nothing in the file computes",
        ),
        (untyped, "past the input `x`"),
    ] {
        let said = refused(model, None);
        assert!(said.contains(says), "{said}");
        for syntax in ["Some(", "None", "Err(", "::", "{", "[", "\"", "\\"] {
            assert!(!said.contains(syntax), "{said}");
        }
    }
}

/// Blocks `v = Conv(u) + u`; with `wide`, the sum of the first has a branch that is a pixel wider than the other.
fn residual_blocks(blocks: usize, wide: bool) -> ModelProto {
    let mut nodes = Vec::new();
    let mut from = "x".to_owned();
    for block in 0..blocks {
        let (branch, sum) = (format!("c{block}"), format!("v{block}"));
        let pads = ints("pads", &[1, 1, 1, 1 + i64::from(wide)]);
        nodes.push(node("Conv", &[&from, "w"], &branch, vec![pads]));
        nodes.push(node("Add", &[&branch, &from], &sum, vec![]));
        from = sum;
    }
    model(&[1, 3, 8, 8], vec![tensor("w", &[3, 3, 3, 3])], nodes)
}

#[test]
fn sums_of_unequal_sizes_are_unknown_and_do_not_grow() {
    let said = refused(residual_blocks(1000, true), None);
    assert!(
        said.contains("`c1` works on could not be inferred past `v0` (Add)"),
        "{said}"
    );
    // What the file states counts.
    let mut stated = residual_blocks(2, true);
    let info = placeholder("v0".to_owned(), &tensor("v0", &[1, 3, 8, 9]));
    stated.graph.as_mut().unwrap().value_info.push(info);
    assert_eq!(layers(stated)[1].1, [8, 9]);
}

#[test]
fn work_grows_with_the_graph_and_is_limited() {
    let left = |work: u64, model: &ModelProto| {
        infer_within(work, model, model.graph.as_ref().unwrap()).map(|(_, left)| left)
    };
    let work = |blocks: usize, wide: bool| MAX_WORK - left(MAX_WORK, &residual_blocks(blocks, wide)).unwrap();
    for wide in [false, true] {
        let (short, long) = (work(50, wide), work(500, wide));
        assert!(long < 11 * short, "{short} and {long}");
    }
    // A network of a thousand layers is far below the limit, as its message says.
    assert!(work(1000, false) < MAX_WORK / 10);
    let said = left(10_000, &residual_blocks(50, false)).unwrap_err().to_string();
    assert!(said.contains("more than 300000000 units of work"), "{said}");
    // A sum of many tensors is compared axis by axis.
    let names: Vec<String> = (0..5000).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let mut weights: Vec<_> = (2..)
        .zip(&names)
        .map(|(n, name)| tensor(name, &[1, n, 8, 8]))
        .collect();
    weights.push(tensor("w", &[3, 3, 3, 3]));
    let nodes = vec![
        node("Sum", &names, "s", vec![]),
        node("Conv", &["s", "w"], "y", vec![]),
    ];
    let said = refused(model(&[1, 3, 8, 8], weights, nodes), None);
    assert!(said.contains("units of work to infer"), "{said}");
}

#[test]
fn what_a_few_numbers_make_large_is_left_unknown() {
    let number = |name: &str, number: i64| TensorProto {
        dims: vec![],
        ..shape(name, &[number])
    };
    let one = || TensorProto {
        float_data: vec![1.0],
        ..tensor("one", &[1])
    };
    let pads = || ints("pads", &[1 << 40, 1 << 40, 1 << 40, 1 << 40]);
    for nodes in [
        // A convolution of constants takes 2^32 multiplications.
        vec![
            node("Expand", &["one", "image"], "e", vec![]),
            node(
                "Conv",
                &["e", "e"],
                "c",
                vec![ints("pads", &[128, 128, 127, 127])],
            ),
        ],
        vec![node(
            "MaxPool",
            &["small"],
            "p",
            vec![ints("kernel_shape", &[1 << 40; 2]), pads()],
        )],
        vec![node("Range", &["high", "number", "down"], "r", vec![])],
        // Axes far away, and axes counted from the end of a scalar.
        vec![node(
            "OneHot",
            &["number", "number", "values"],
            "h",
            vec![int("axis", -5)],
        )],
        vec![node("GatherND", &["x", "number"], "g", vec![])],
        vec![node("DFT", &["number"], "d", vec![])],
        vec![node("LayerNormalization", &["number", "one"], "l", vec![])],
        vec![node("Unsqueeze", &["x", "far"], "u", vec![])],
        vec![node("ReduceSum", &["x", "far"], "u", vec![])],
        vec![node("Pad", &["x", "values", "", "far"], "p", vec![])],
        vec![node("Softmax", &["x"], "s", vec![int("axis", 1 << 40)])],
    ] {
        let operator = nodes.last().unwrap().op_type.clone();
        let mut nodes = nodes;
        nodes.push(node("Conv", &["x", "w"], "y", vec![]));
        let weights = vec![
            one(),
            number("number", 2),
            number("high", 1 << 40),
            number("down", -1),
            shape("values", &[0, 1]),
            shape("far", &[1 << 34]),
            shape("image", &[1, 1, 256, 256]),
            TensorProto {
                float_data: vec![1.0],
                ..tensor("small", &[1, 1, 1, 1])
            },
            tensor("w", &[3, 3, 3, 3]),
        ];
        let import = from_model("x", model(&[1, 3, 8, 8], weights, nodes), None);
        assert!(import.is_ok(), "{operator}");
    }
}

#[test]
fn tensors_have_at_most_16_axes() {
    let many = |axes: usize| {
        let nodes = vec![
            node("Relu", &["r"], "s", vec![]),
            node("Conv", &["x", "w"], "y", vec![]),
        ];
        let weights = vec![tensor("r", &vec![1; axes]), tensor("w", &[3, 3, 3, 3])];
        model(&[1, 3, 8, 8], weights, nodes)
    };
    assert!(from_model("x", many(16), None).is_ok());
    let said = refused(many(17), None);
    assert!(
        said.contains("its tensor `r` has 17 axes, where at most 16 are read"),
        "{said}"
    );
}

#[test]
fn control_characters_in_names_are_escaped() {
    let mut named = node("Conv", &["x", "w"], "y", vec![]);
    named.name = "a\u{1b}[2J\n".to_owned();
    let fine = model(
        &[1, 3, 8, 8],
        vec![tensor("w", &[3, 3, 3, 3])],
        vec![named.clone()],
    );
    assert_eq!(layers(fine)[0].0, "a\\u{1b}[2J\\n");
    let said = refused(
        model(&[1, 3, 8, 8], vec![tensor("w", &[3, 3])], vec![named]),
        None,
    );
    assert!(said.contains("`a\\u{1b}[2J\\n` has a weight of 2 axes"), "{said}");
}
