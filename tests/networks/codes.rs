//! The networks in codes: weights of two bits, and in front of every convolution but the first a quantiser of two bits. So they
//! are put on simulated arrays and packed.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use vwc_sdk::crossbar;
use vwc_sdk::graph::{Affine, Constant, Function, Graph, Node, NodeSpec, Op};
use vwc_sdk::mapping::{MappingConfig, Method, PimArray};
use vwc_sdk::packed::{Model, Session};
use vwc_sdk::simulate::SimulatedNetwork;

use super::Case;
use super::common::{assert_close, values};

/// The largest code of an input.
const LEVELS: f32 = 3.0;

/// No number is nearer to the edge between two codes than this, in codes. Sums of floats in another order differ by less, so each
/// code is the same on an array and packed.
const MARGIN: f64 = 2e-5;

/// How far outputs may be apart, as a part of the largest.
const TOLERANCE: f64 = 1e-4;

/// The node of codes that a convolution is to read.
fn codes_of(conv: &str) -> String {
    format!("{conv}.reads.codes")
}

/// The nodes that make codes of what `reads` results in, for a convolution.
fn quantiser(conv: &str, reads: &str, scale: f32) -> [NodeSpec; 5] {
    let name = |part: &str| format!("{conv}.reads.{part}");
    let number = |value: f32| Some(Constant::scalar(value));
    let times = |factor, divisor| Affine {
        factor,
        divisor,
        ..Affine::default()
    };
    let cut = Function::Clamp { min: 0.0, max: 1.0 };
    [
        NodeSpec::new(name("scaled"), times(None, number(scale)), [reads]),
        NodeSpec::new(name("cut"), cut, [name("scaled")]),
        NodeSpec::new(name("levels"), times(number(LEVELS), None), [name("cut")]),
        NodeSpec::new(name("rounded"), Function::Round, [name("levels")]),
        NodeSpec::new(codes_of(conv), times(None, number(LEVELS)), [name("rounded")]),
    ]
}

/// What the numbers of two pictures are divided by: the part of the largest at which most of their codes differ, so that the network
/// sees them, with no number near an edge. Where none is above zero they are divided by a number below it.
fn scale(name: &str, numbers: &[f64]) -> f32 {
    let largest = numbers.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(x));
    let smallest = numbers.iter().fold(f64::INFINITY, |least, &x| least.min(x));
    let most = if largest > 0.0 { largest } else { smallest };
    let codes = |scale: f32| {
        let levels = f64::from(LEVELS);
        let parts = numbers.iter().map(move |x| x / f64::from(scale) * levels);
        parts.map(move |x| x.clamp(0.0, levels))
    };
    let far = |scale: &f32| codes(*scale).all(|x| (x.fract() - 0.5).abs() > MARGIN);
    let different = |scale: &f32| {
        let codes: Vec<f64> = codes(*scale).map(f64::round).collect();
        let (one, other) = codes.split_at(codes.len() / 2);
        one.iter().zip(other).filter(|(a, b)| a != b).count()
    };
    let scales = (0..100).map(|n| (most * 0.96f64.powi(n)) as f32);
    let best = scales.filter(far).max_by_key(different);
    best.unwrap_or_else(|| panic!("{name} reads numbers near edges at every scale"))
}

/// The convolutions, in the order in which they are computed.
fn convolutions(graph: &Graph) -> impl Iterator<Item = &Node> {
    let nodes = graph.nodes().iter();
    nodes.filter(|node| matches!(node.op(), Op::Conv(_)))
}

/// Those that are computed with codes: all but the first, and those that the network leaves in floats.
fn of_codes<'a, M, const E: usize>(case: &Case<M, E>, graph: &'a Graph) -> Vec<&'a Node> {
    let behind = convolutions(graph).skip(1);
    behind
        .filter(|node| !case.floats.contains(&node.name()))
        .collect()
}

/// Asserts that two pictures give other outputs: what they are shows in what is compared.
fn assert_sees(outputs: &[f64]) {
    let (one, other) = outputs.split_at(outputs.len() / 2);
    assert!(one != other, "the network is blind");
}

/// The network in codes, its scales those of what these images become. What reads codes already has no other quantiser.
fn in_codes<M: Module, const E: usize>(case: &Case<M, E>, images: &Tensor<4>) -> Graph {
    let graph = Graph::of(&case.in_two_bits(), case.input, case.forward).unwrap();
    let first = convolutions(&graph).next().unwrap().name().to_owned();
    let codes = graph.codes();

    let mut scales = BTreeMap::new();
    let _: Tensor<E> = graph
        .on(&images.device())
        .forward_with(images.clone(), |id, conv, x| {
            let node = graph.node(id);
            let name = node.name();
            let reads_codes = codes[node.inputs()[0].index()].is_some();
            if name == first || reads_codes || case.floats.contains(&name) {
                return Ok(None);
            }
            let scale = scale(name, &values(x));
            scales.insert(name, scale);
            // What the convolution makes of the codes is what the rest of the network reads.
            let shape = x.dims()[1..].to_vec();
            let mut nodes = vec![NodeSpec::input("x", shape)];
            nodes.extend(quantiser(name, "x", scale));
            nodes.push(NodeSpec::new(name, conv.clone(), [codes_of(name)]));
            let alone = Graph::new(nodes, [name]).unwrap();
            alone.on(&x.device()).forward(x.clone()).map(Some)
        })
        .unwrap();

    let mut nodes = Vec::new();
    for node in graph.nodes() {
        let mut reads: Vec<String> = (node.inputs().iter())
            .map(|&input| graph.node(input).name().to_owned())
            .collect();
        if let Some(&scale) = scales.get(node.name()) {
            nodes.extend(quantiser(node.name(), &reads[0], scale));
            reads = vec![codes_of(node.name())];
        }
        nodes.push(NodeSpec::new(node.name(), node.op().clone(), reads));
    }
    let outputs: Vec<&str> = (graph.outputs().iter())
        .map(|&output| graph.node(output).name())
        .collect();
    let graph = Graph::new(nodes, outputs).unwrap();
    assert_eq!(convolutions(&graph).count(), case.convs);
    graph
}

/// Pictures, or where the network reads something else numbers.
fn images<M: Module, const E: usize>(case: &Case<M, E>, device: &Device) -> Tensor<4> {
    let pictures = case.pictures(2, device);
    pictures.map_or_else(|| case.batch(2, 21, device), |(_, _, images)| images)
}

/// With its convolutions of codes on arrays, the network computes what its graph does; with converters of two bits it does not.
pub fn on_arrays<M: Module, const E: usize>(case: &Case<M, E>) {
    let device = Device::default();
    let images = images(case, &device);
    let graph = in_codes(case, &images);
    let expected: Tensor<E> = graph.on(&device).forward(images.clone()).unwrap();
    let expected = values(&expected);
    assert_sees(&expected);

    let config = MappingConfig::new(PimArray::new(128, 128).unwrap());
    let ideal = crossbar::Device::ideal(2);
    let on = |array: &crossbar::Device| {
        SimulatedNetwork::new(&graph, &device, Method::VwSdk, &config, array).unwrap()
    };
    let mut simulated = on(&ideal);
    let found: Vec<&str> = simulated.on_arrays().collect();
    let names: Vec<&str> = of_codes(case, &graph).into_iter().map(Node::name).collect();
    assert_eq!(found, names);
    assert_eq!(found.len(), case.convs - 1 - case.floats.len());
    // Beside the arrays are what is no convolution, and the convolutions in floats.
    let weighted = graph.nodes().iter().filter(|node| node.weight().is_some());
    let others = weighted.filter(|node| !matches!(node.op(), Op::Conv(_)));
    assert_eq!(others.map(Node::name).collect::<Vec<_>>(), case.left_out);

    let found: Tensor<E> = simulated.forward(images.clone()).unwrap();
    assert_close(&values(&found), &expected, TOLERANCE, "on ideal arrays");
    assert_eq!(simulated.clipped(), 0.0);

    let mut coarse = on(&crossbar::Device { adc_bits: 2, ..ideal });
    let found: Tensor<E> = coarse.forward(images).unwrap();
    let largest = expected.iter().fold(0f64, |most, x| most.max(x.abs()));
    let apart = values(&found).into_iter().zip(&expected);
    let apart = apart.fold(0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(apart > 100.0 * TOLERANCE * largest, "{apart} of {largest}");
    assert!(coarse.clipped() > 0.0);
}

/// Packed, the network gives what its graph does, and multiplies integers in every convolution of codes.
pub fn packed_in_codes<M: Module, const E: usize>(case: &Case<M, E>) {
    let device = Device::default();
    let graph = in_codes(case, &images(case, &device));
    let Some((input, pixels, images)) = case.pictures(2, &device) else {
        return super::refused_by_its_channels(&graph);
    };
    let packed = Model::of(&graph, "network", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let expected: Tensor<E> = graph.on(&device).forward(images).unwrap();
    let expected = values(&expected);
    assert_sees(&expected);
    let logits = Session::new(&packed).logits(&pixels).to_vec();
    let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
    assert_close(&logits, &expected, TOLERANCE, "packed");

    let products = |node: &Node| {
        let positions: usize = node.shape()[1..].iter().product();
        positions * node.weight().unwrap().values().len()
    };
    // Linear layers are computed with codes where the network quantises them, which are the hidden ones.
    let hidden = graph.nodes().iter().filter(|node| {
        case.quantised.is_some() && matches!(node.op(), Op::Linear(_)) && node.name().starts_with("hidden")
    });
    let integers: usize = of_codes(case, &graph)
        .into_iter()
        .chain(hidden)
        .map(products)
        .sum();
    assert_eq!(packed.multiplications()[1], integers);
}
