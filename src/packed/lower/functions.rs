//! The operations on single numbers that follow a layer: batch norm, activations, and quantisers, in the roundings of training.

use crate::graph::{Affine, Constant, Function, NodeId, Op};

/// Mean, scale and shift of every channel.
pub(super) type Vectors = [Vec<f32>; 3];

/// A batch norm as mean, scale and shift. Burn's divides, where its scale multiplies here: results differ by a rounding.
pub(super) fn vectors(affine: &Affine, channels: usize) -> Vectors {
    let number = |part: &Option<Constant>, channel: usize, otherwise: f32| {
        part.as_ref().map_or(otherwise, |part| part.of_channel(channel))
    };
    let all = |of: &dyn Fn(usize) -> f32| (0..channels).map(of).collect();
    let scale = |channel| match affine.divisor {
        None => number(&affine.factor, channel, 1.0),
        Some(_) => {
            let divisor = f64::from(number(&affine.divisor, channel, 1.0));
            (f64::from(number(&affine.factor, channel, 1.0)) / divisor) as f32
        }
    };
    [
        all(&|channel| number(&affine.minus, channel, 0.0)),
        all(&scale),
        all(&|channel| number(&affine.plus, channel, 0.0)),
    ]
}

/// Whether functions are DoReFa-Net's quantiser to so many steps: `round(clamp(x, 0, 1) * levels) / levels`.
pub(super) fn dorefa(functions: &[(NodeId, &Op)], levels: u32) -> bool {
    let ops: Vec<&Op> = functions.iter().map(|(_, op)| *op).collect();
    let number = |op: &Op, divides: bool| match op {
        Op::Affine(affine) if affine.parts().count() == 1 => {
            let part = if divides { &affine.divisor } else { &affine.factor };
            part.as_ref().and_then(Constant::as_scalar) == Some(levels as f32)
        }
        _ => false,
    };
    let clamps =
        |op: &Op| matches!(op, Op::Function(Function::Clamp { min, max }) if (*min, *max) == (0.0, 1.0));
    let rounds = |op: &Op| matches!(op, Op::Function(Function::Round));
    match ops[..] {
        [clamp, round] => levels == 1 && clamps(clamp) && rounds(round),
        [clamp, factor, round, divisor] => {
            clamps(clamp) && number(factor, false) && rounds(round) && number(divisor, true)
        }
        _ => false,
    }
}

/// A function on a number of a channel, in the roundings of training.
pub(super) fn apply(op: &Op, x: f32, channel: usize) -> f32 {
    match op {
        Op::Affine(affine) => {
            let steps = affine.steps();
            steps.fold(x, |x, (part, op)| op.of(x, part.of_channel(channel)))
        }
        Op::Function(function) => function.of(x).unwrap_or(f32::NAN),
        _ => f32::NAN,
    }
}

/// Whether a function falls where its argument rises, in a channel; `None` where it does both, or is not evaluated here.
pub(super) fn direction(op: &Op, channel: usize) -> Option<bool> {
    let below = |part: &Option<Constant>| part.as_ref().is_some_and(|part| part.of_channel(channel) < 0.0);
    match op {
        Op::Affine(affine) => Some(below(&affine.divisor) ^ below(&affine.factor)),
        Op::Function(
            Function::Relu | Function::Clamp { .. } | Function::Round | Function::Floor | Function::Sign,
        ) => Some(false),
        Op::Function(Function::LeakyRelu { slope }) if *slope >= 0.0 => Some(false),
        Op::Function(Function::Neg) => Some(true),
        _ => None,
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::nn::BatchNormConfig;
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::graph::{Graph, Node};
    use crate::module::Parameters;
    use crate::packed::threshold::thresholds;
    use crate::quant::{Activation, Bits, norm_pool_act};

    /// Numbers in [-1, 1), the same every time.
    fn noise(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Batch norms that put a sum on the very edge between two codes, a few floats to either side of it: there the
    /// roundings of the float operations decide, and exact arithmetic decides otherwise now and then.
    #[test]
    fn thresholds_between_two_floats_are_those_of_the_network() {
        const CHANNELS: usize = 400;
        let device = Device::flex();
        let mut decided_by_rounding = 0;
        for bits in 1..=4u8 {
            let levels = (1u32 << bits) - 1;
            let largest = 90 * levels as i32;
            let unit = 0.037_f32 / levels as f32;
            let sums: Vec<i32> = (-largest..=largest).collect();
            let random = noise(6 * CHANNELS, bits.into());
            let mut norm = BatchNormConfig::new(CHANNELS).init(&device);
            let mut values: [Vec<f32>; 4] = Default::default();
            for (channel, random) in random.chunks_exact(6).enumerate() {
                let gamma = if channel % 31 == 30 { 0.0 } else { 1.5 * random[0] };
                let (mean, variance) = (0.3 * random[1], 0.6 + 0.5 * random[2]);
                let scale =
                    ((f64::from(variance as f32) + norm.epsilon).sqrt().recip() as f32) * gamma as f32;
                let on_edge = (random[3] * 0.8 * f64::from(largest)) as i32;
                let edge = ((random[4] + 1.0) * 0.5 * f64::from(levels)).floor() + 0.5;
                let edge = (edge / f64::from(levels)) as f32;
                let beta = edge - (on_edge as f32 * unit - mean as f32) * scale;
                let nudged = f32::from_bits((beta.to_bits() as i32 + channel as i32 % 7 - 3) as u32);
                for (values, value) in
                    values
                        .iter_mut()
                        .zip([gamma as f32, nudged, mean as f32, variance as f32])
                {
                    values.push(value);
                }
            }
            let mut parameters = Parameters::of(&norm);
            let paths = ["gamma", "beta", "running_mean", "running_var"];
            for (path, values) in paths.into_iter().zip(values) {
                parameters.insert(path, TensorData::new(values, [CHANNELS]));
            }
            norm = parameters.put_into(norm).unwrap();

            let row: Vec<f32> = sums.iter().map(|&sum| sum as f32 * unit).collect();
            let x = TensorData::new(row.repeat(CHANNELS), [1, CHANNELS, 1, sums.len()]);
            let act = Activation::quantized(Bits::new(bits).unwrap());
            let trained = norm_pool_act(Tensor::<4>::from_data(x, &device), Some(&norm), false, &act);
            let trained = trained.into_data().try_into_vec::<f32>().unwrap();

            let shape = [1, CHANNELS, 1, 1];
            let graph = Graph::of(&norm, shape, |norm, x| norm_pool_act(x, Some(norm), false, &act)).unwrap();
            let functions: Vec<&Op> = graph.nodes()[1..].iter().map(Node::op).collect();
            let Op::Affine(affine) = functions[0] else {
                panic!("{graph}");
            };
            let number = |part: &Option<Constant>, channel: usize| part.as_ref().unwrap().values()[channel];
            for (channel, trained) in trained.chunks_exact(sums.len()).enumerate() {
                let sign = if number(&affine.factor, channel) < 0.0 {
                    -1
                } else {
                    1
                };
                let code = |sum: i32| {
                    let x = (sign * sum) as f32 * unit;
                    let x = functions.iter().fold(x, |x, op| apply(op, x, channel));
                    (x * levels as f32).round() as u32
                };
                let thresholds: Vec<i32> = thresholds(levels, largest, code).collect();
                let mut rounding_decides = false;
                for (&sum, &expected) in sums.iter().zip(trained) {
                    let code = thresholds
                        .iter()
                        .filter(|&&threshold| sign * sum >= threshold)
                        .count();
                    assert!(
                        code as f32 / levels as f32 == expected,
                        "{bits} bits, channel {channel}, sum {sum}: code {code}, expected {expected}"
                    );
                    let [x, mean, scale, shift] = [
                        unit,
                        number(&affine.minus, channel),
                        number(&affine.factor, channel),
                        number(&affine.plus, channel),
                    ]
                    .map(f64::from);
                    let exact = (f64::from(sum) * x - mean) * scale + shift;
                    let exact = (exact.clamp(0.0, 1.0) * f64::from(levels)).round_ties_even();
                    rounding_decides |= exact != code as f64;
                }
                decided_by_rounding += u32::from(rounding_decides);
            }
        }
        assert!(
            decided_by_rounding > 50,
            "only {decided_by_rounding} channels were decided by rounding"
        );
    }
}
