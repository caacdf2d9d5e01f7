//! Gradients of a convolution whose batch norm is folded into quantised weights, beside an independent computation in 64 bits: central
//! differences of the layer's formulas, in which what a weight was rounded by stays as it is. That is the straight-through rule.

use burn::module::Module;
use burn::tensor::TensorData;
use vwc_sdk::graph::{Affine, Constant, Conv, Graph, NodeSpec, Op, Reduction};
use vwc_sdk::mapping::Padding;
use vwc_sdk::models::{GraphNet, Network, QuantPlan};
use vwc_sdk::module::Parameters;
use vwc_sdk::quant::{Bits, LearnedSteps};

use super::common::{assert_close, devices, noise, tensor, tolerance, values};
use super::gradients::by_path;

const PICTURES: usize = 3;
const INPUTS: usize = 3;
const OUTPUTS: usize = 3;
const SIDE: usize = 5;
const EPSILON: f64 = 1e-3;
/// Weights of a filter of 3x3.
const OWN: usize = INPUTS * 9;

/// What the layer learns.
#[derive(Clone)]
struct Learned {
    weight: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
    step: Vec<f64>,
}

/// What it is given, and what of it does not move with what it learns.
struct Given {
    pictures: Vec<f64>,
    running_mean: Vec<f64>,
    running_variance: Vec<f64>,
    ends: [f64; 2],
    /// What each weight was rounded by, in steps.
    rounded_by: Vec<f64>,
}

impl Given {
    /// The convolution with `weight`, padded by one: pictures, filters, places.
    fn convolve(&self, weight: &[f64]) -> Vec<f64> {
        let mut y = vec![0.0; PICTURES * OUTPUTS * SIDE * SIDE];
        for (at, sum) in y.iter_mut().enumerate() {
            let (column, row) = (at % SIDE, at / SIDE % SIDE);
            let (filter, picture) = (at / (SIDE * SIDE) % OUTPUTS, at / (SIDE * SIDE * OUTPUTS));
            for tap in 0..OWN {
                let (channel, down, right) = (tap / 9, row + tap % 9 / 3, column + tap % 3);
                if (1..=SIDE).contains(&down) && (1..=SIDE).contains(&right) {
                    let pixel = ((picture * INPUTS + channel) * SIDE + down - 1) * SIDE + right - 1;
                    *sum += weight[filter * OWN + tap] * self.pictures[pixel];
                }
            }
        }
        y
    }

    /// Each weight times the running deviation, in steps.
    fn in_steps(&self, learned: &Learned) -> Vec<f64> {
        let steps = learned.weight.iter().enumerate().map(|(at, weight)| {
            let filter = at / OWN;
            let factor = learned.gamma[filter] / (self.running_variance[filter] + EPSILON).sqrt();
            weight * factor / learned.step[filter % learned.step.len()]
        });
        steps.collect()
    }

    /// The means of the maps that the layer makes in training, and those of the pictures' statistics: mean and variance of each filter.
    fn means(&self, learned: &Learned) -> (Vec<f64>, Vec<[f64; 2]>) {
        let [lowest, highest] = self.ends;
        let codes = self.in_steps(learned);
        let rounded: Vec<f64> = codes
            .iter()
            .zip(&self.rounded_by)
            .enumerate()
            .map(|(at, (code, by))| {
                (code.clamp(lowest, highest) + by) * learned.step[at / OWN % learned.step.len()]
            })
            .collect();
        let (maps, plain) = (self.convolve(&rounded), self.convolve(&learned.weight));
        let of_filter = |y: &[f64], filter: usize| -> Vec<f64> {
            let places = y.chunks(SIDE * SIDE).skip(filter).step_by(OUTPUTS);
            places.flatten().copied().collect()
        };
        let statistics: Vec<[f64; 2]> = (0..OUTPUTS)
            .map(|filter| {
                let y = of_filter(&plain, filter);
                let mean = y.iter().sum::<f64>() / y.len() as f64;
                let squares = y.iter().map(|y| (y - mean).powi(2)).sum::<f64>();
                [mean, squares / y.len() as f64]
            })
            .collect();
        let means = maps.chunks(SIDE * SIDE).enumerate().map(|(at, map)| {
            let filter = at % OUTPUTS;
            let [mean, variance] = statistics[filter];
            let root = (variance + EPSILON).sqrt();
            let corrected = (self.running_variance[filter] + EPSILON).sqrt() / root;
            let map = map.iter().sum::<f64>() / map.len() as f64;
            map * corrected + learned.beta[filter] - learned.gamma[filter] * mean / root
        });
        (means.collect(), statistics)
    }
}

/// The numbers as 32 bits hold them.
fn held(numbers: Vec<f64>) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x as f32)).collect()
}

fn graph(learned: &Learned, given: &Given) -> Graph {
    let constant = |name: &str, shape: &[usize], values: &[f64]| {
        Constant::new(shape, values.iter().map(|&x| x as f32).collect::<Vec<_>>()).named(name)
    };
    let part = |name: &str, values: &[f64]| Some(constant(name, &[OUTPUTS, 1, 1], values));
    let conv = Conv {
        padding: Padding::from(1),
        ..Conv::new(constant("conv.weight", &[OUTPUTS, INPUTS, 3, 3], &learned.weight))
    };
    let deviations: Vec<f64> = given
        .running_variance
        .iter()
        .map(|variance| (variance + EPSILON).sqrt())
        .collect();
    let norm = Affine {
        minus: part("norm.running_mean", &given.running_mean),
        divisor: part("norm.running_var", &deviations),
        factor: part("norm.weight", &learned.gamma),
        plus: part("norm.bias", &learned.beta),
        epsilon: Some(EPSILON as f32),
    };
    let mean = Op::Reduce {
        kind: Reduction::Mean,
        axes: vec![1, 2],
    };
    let nodes = [
        NodeSpec::input("x", [INPUTS, SIDE, SIDE]),
        NodeSpec::new("conv", conv, ["x"]),
        NodeSpec::new("norm", norm, ["conv"]),
        NodeSpec::new("mean", mean, ["norm"]),
        NodeSpec::new("flat", Op::Reshape { shape: vec![OUTPUTS] }, ["mean"]),
    ];
    Graph::new(nodes, ["flat"]).unwrap()
}

#[test]
fn folded_layers_have_the_gradients_of_their_formulas() {
    for (name, device) in devices() {
        for (width, per_filter) in [(2, false), (3, true), (8, false)] {
            let half = f64::from(1 << (width - 1));
            let mut given = Given {
                pictures: held(noise(31, PICTURES * INPUTS * SIDE * SIDE)),
                running_mean: held(noise(32, OUTPUTS)),
                running_variance: held(noise(33, OUTPUTS).iter().map(|x| 1.0 + 0.7 * x).collect()),
                ends: [-half, half - 1.0],
                rounded_by: vec![0.0; OUTPUTS * OWN],
            };
            let mut learned = Learned {
                weight: held(noise(34, OUTPUTS * OWN)),
                gamma: held(noise(35, OUTPUTS).iter().map(|x| 1.0 + 0.5 * x).collect()),
                beta: held(noise(36, OUTPUTS)),
                step: Vec::new(),
            };
            let bits = Bits::new(width).unwrap();
            let steps = LearnedSteps::new(bits).with_per_filter(per_filter);
            let plan = QuantPlan::new(steps, Bits::FULL)
                .with_layers("conv", bits, Bits::FULL)
                .with_folded_norms(true);
            let network = GraphNet::of(&graph(&learned, &given), "layer", &device).unwrap();
            let network = network.quantized_by(plan).unwrap();
            let step = "conv.weight.quantizer.step";
            let mut parameters = Parameters::of(&network);
            // Off the start, where the largest weight lies on the end of the codes.
            let away = |step: &f32| 1.03 * step;
            let steps: Vec<f32> = parameters.values(step).unwrap().iter().map(away).collect();
            learned.step = steps.iter().map(|&step| f64::from(step)).collect();
            let count = steps.len();
            parameters.insert(step, TensorData::new(steps, [count]));
            let network = parameters.put_into(network).unwrap().train();
            let what = format!("{width} bits on {name}");
            assert_eq!(learned.step.len(), if per_filter { OUTPUTS } else { 1 }, "{what}");
            let [lowest, highest] = given.ends;
            let codes = given.in_steps(&learned);
            given.rounded_by = codes
                .iter()
                .map(|code| code.clamp(lowest, highest))
                .map(|code| code.round_ties_even() - code)
                .collect();
            let outside = codes.iter().filter(|&&code| code < lowest || code > highest);
            assert!(width > 2 || outside.count() > 0, "{what}: nothing is cut off");

            let pictures = tensor(&given.pictures, [PICTURES, INPUTS, SIDE, SIDE], &device);
            let y = network.forward(pictures.autodiff());
            let (expected, statistics) = given.means(&learned);
            assert_close(&values(&y), &expected, tolerance(name), &what);
            let upstream = held(noise(37, PICTURES * OUTPUTS));
            let weighted = y * tensor(&upstream, [PICTURES, OUTPUTS], &device).autodiff();
            let gradients = by_path(weighted.sum().backward(), &network);

            let loss = |learned: &Learned| -> f64 {
                let (means, _) = given.means(learned);
                means.iter().zip(&upstream).map(|(y, g)| y * g).sum()
            };
            type Part = fn(&mut Learned) -> &mut Vec<f64>;
            let parts: [(&str, Part); 4] = [
                ("conv.weight", |learned| &mut learned.weight),
                ("norm.weight", |learned| &mut learned.gamma),
                ("norm.bias", |learned| &mut learned.beta),
                (step, |learned| &mut learned.step),
            ];
            for (path, part) in parts {
                const FAR: f64 = 1e-6;
                // Gradients of a step count less: LSQ, section 2.2.
                let share = match path == step {
                    true => 1.0 / ((OUTPUTS * OWN / learned.step.len()) as f64 * highest).sqrt(),
                    false => 1.0,
                };
                let count = part(&mut learned.clone()).len();
                let expected: Vec<f64> = (0..count)
                    .map(|at| {
                        let moved = |by: f64| {
                            let mut moved = learned.clone();
                            part(&mut moved)[at] += by;
                            loss(&moved)
                        };
                        share * (moved(FAR) - moved(-FAR)) / (2.0 * FAR)
                    })
                    .collect();
                let found: Vec<f64> = gradients[path].values.iter().map(|&x| x.into()).collect();
                assert_close(
                    &found,
                    &expected,
                    20.0 * tolerance(name),
                    &format!("{path}, {what}"),
                );
            }

            // Running statistics follow those of the pictures.
            let after = Parameters::of(&network);
            for (part, path, before) in [
                (0, "norm.running_mean", &given.running_mean),
                (1, "norm.running_var", &given.running_variance),
            ] {
                let expected: Vec<f64> = before
                    .iter()
                    .zip(&statistics)
                    .map(|(before, seen)| 0.9 * before + 0.1 * seen[part])
                    .collect();
                let found: Vec<f64> = after
                    .values(path)
                    .unwrap()
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect();
                assert_close(&found, &expected, tolerance(name), &format!("{path}, {what}"));
            }
        }
    }
}
