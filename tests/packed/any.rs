//! Networks drawn out of everything that packed inference computes, beside a plain reference of their convolutions.

use std::collections::HashMap;

use proptest::prelude::*;
use vwc_sdk::graph::{Codes, Conv, ConvKernel, Graph, NodeId, Op};
use vwc_sdk::packed::{Feature, Model};

use super::*;
use crate::draw::{Numbers, network};

/// Codes that packed inference multiplies as integers.
fn integers(codes: &Codes) -> bool {
    codes.bits() <= 8 && codes.low() >= -255 && codes.unit() > 0.0 && codes.through_zero()
}

/// A convolution as the documentation describes it: of codes the integer sum, times the unit, plus the bias; of floats from the bias on,
/// kernel row by row, each product and sum rounded once.
pub fn convolved(conv: &Conv, codes: Option<&Codes>, x: &Tensor<4>) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let numbers = x.to_data().try_into_vec::<f32>().unwrap();
    let &[outputs, inputs, down, across] = conv.weight.shape() else {
        unreachable!()
    };
    let weights = conv.weight_codes().zip(codes.filter(|codes| integers(codes)));
    let padding = conv.padding;
    let size = [
        (height + padding.top + padding.bottom - conv.dilation[0] * (down - 1) - 1) / conv.stride[0] + 1,
        (width + padding.left + padding.right - conv.dilation[1] * (across - 1) - 1) / conv.stride[1] + 1,
    ];
    let mut out = Vec::new();
    for output in 0..outputs {
        let group = output / (outputs / conv.groups);
        let bias = conv.bias.as_ref().map(|bias| bias.values()[output]);
        for y in 0..size[0] {
            for column in 0..size[1] {
                let (mut float, mut integer) = (bias.unwrap_or(0.0), 0i64);
                for row in 0..down {
                    for tap in 0..across {
                        for input in 0..inputs {
                            let from_y =
                                (y * conv.stride[0] + row * conv.dilation[0]).checked_sub(padding.top);
                            let from_x =
                                (column * conv.stride[1] + tap * conv.dilation[1]).checked_sub(padding.left);
                            let (Some(from_y), Some(from_x)) = (from_y, from_x) else {
                                continue;
                            };
                            if from_y >= height || from_x >= width {
                                continue;
                            }
                            assert!(group * inputs + input < channels);
                            let x = numbers[((group * inputs + input) * height + from_y) * width + from_x];
                            let at = ((output * inputs + input) * down + row) * across + tap;
                            float = x.mul_add(conv.weight.values()[at], float);
                            if let Some((weights, codes)) = &weights {
                                let code = (f64::from(x) / codes.unit()).round() as i64;
                                integer += code * i64::from(weights.codes()[at]);
                            }
                        }
                    }
                }
                out.push(match &weights {
                    None => float,
                    Some((weights, codes)) => {
                        let unit = weights.units()[output % weights.units().len()];
                        let unit = match conv.kernel {
                            ConvKernel::Codes { input_levels, .. } => unit / input_levels as f32,
                            _ => (f64::from(unit) * codes.unit()) as f32,
                        };
                        integer as f32 * unit + bias.unwrap_or(0.0)
                    }
                });
            }
        }
    }
    Tensor::from_data(TensorData::new(out, [1, outputs, size[0], size[1]]), &x.device())
}

/// What a step computed, channel by channel.
fn numbers(feature: &Feature<'_>) -> Vec<f32> {
    let [height, width] = feature.size;
    let places =
        (0..feature.channels).flat_map(|c| (0..height).flat_map(move |y| (0..width).map(move |x| (c, y, x))));
    places.map(|(c, y, x)| feature.get([y, x], c)).collect()
}

/// The packed network beside the graph: the codes that convolutions read, and the output.
pub fn compare_graph(graph: &Graph, size: [usize; 2], classes: usize, seed: u64) -> usize {
    let device = Device::flex();
    let input = PictureSpec::numbered(size, classes);
    let model = Model::of(graph, "drawn", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let bytes = model.to_bytes();
    let again = Model::from_bytes(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    assert!(!model.to_safetensors().is_empty());
    let executor = graph.on(&device);
    let codes = graph.codes();
    let mut compared = 0;
    for pixels in pictures(2, size, seed) {
        let images = batch(&pixels, size, input.normalization, &device);
        let mut read: Vec<(NodeId, Vec<f32>)> = Vec::new();
        let logits: Tensor<2> = executor
            .forward_with(images, |id, conv, x| {
                let from = graph.node(id).inputs()[0];
                read.push((from, x.to_data().try_into_vec::<f32>().unwrap()));
                Ok(Some(convolved(conv, codes[from.index()].as_ref(), x)))
            })
            .unwrap();
        let logits = logits.into_data().try_into_vec::<f32>().unwrap();
        for machine in Machine::available() {
            let mut session = Session::new(&again).with_machine(machine);
            let mut seen: HashMap<String, (bool, Vec<f32>)> = HashMap::new();
            let found = session
                .observe(&pixels, &mut |feature| {
                    seen.insert(
                        feature.layer.into(),
                        (feature.bits().is_some(), numbers(&feature)),
                    );
                })
                .to_vec();
            for (id, floats) in &read {
                let name = graph.node(*id).name();
                let Some(codes) = codes[id.index()].as_ref().filter(|codes| integers(codes)) else {
                    continue;
                };
                // Codes are those of a step of their own, or of the fused layer that they end.
                let made = ["integers", "codes"].map(|what| seen.get(&format!("{name}.{what}")));
                let mut layer = *id;
                let fused = loop {
                    if let Some(step) = seen.get(graph.node(layer).name()) {
                        break Some(step);
                    }
                    let node = graph.node(layer);
                    if !matches!(node.op(), Op::Affine(_) | Op::Function(_) | Op::MaxPool(_)) {
                        break None;
                    }
                    layer = node.inputs()[0];
                };
                let [integers, planes] = made;
                let Some((true, found)) = integers.or(planes).or(fused) else {
                    continue;
                };
                let expected: Vec<f32> = floats
                    .iter()
                    .map(|x| (f64::from(*x) / codes.unit()).round() as f32)
                    .collect();
                if found.len() == expected.len() {
                    assert_eq!(*found, expected, "{machine}: {name}\n{graph}");
                    compared += 1;
                }
            }
            let largest = logits.iter().fold(1f32, |most, x| most.max(x.abs()));
            assert_eq!(found.len(), logits.len());
            for (found, expected) in found.iter().zip(&logits) {
                assert!(
                    (found - expected).abs() <= TOLERANCE * largest,
                    "{machine}: {found}, expected {expected}\n{graph}"
                );
            }
        }
    }
    compared
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Packed, and read back from a file, a network of any operations reads the codes in every convolution that the graph does, and gives
    /// its output.
    #[test]
    fn any_graph_is_computed(seed: u64) {
        let (graph, size) = network(seed, Numbers::Codes);
        compare_graph(&graph, size, 4, seed % 1000);
    }
}

/// Among the networks are all steps, and codes are compared in most of them.
#[test]
fn every_step_is_drawn() {
    let networks = std::env::var("PACKED_NETWORKS").map_or(100, |count| count.parse().unwrap());
    let mut compared = 0;
    let mut plans = String::new();
    for seed in 0..networks {
        let (graph, size) = network(seed, Numbers::Codes);
        compared += compare_graph(&graph, size, 4, seed);
        let model = Model::of(&graph, "drawn", &PictureSpec::numbered(size, 4)).unwrap();
        plans += &String::from_utf8_lossy(&model.to_bytes());
    }
    assert!(compared > 2 * networks as usize, "{compared}");
    for op in [
        "float",
        "packed",
        "quantize",
        "unpack",
        "mean",
        "picture",
        "conv",
        "conv-transpose",
        "encode",
        "integers",
        "map",
        "pool",
        "adaptive",
        "reduce",
        "softmax",
        "binary",
        "copy",
    ] {
        assert!(plans.contains(&format!("\"op\":\"{op}\"")), "{op}");
    }
}
