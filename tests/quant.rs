//! The quantisers and layers compute what their formulas say, forward and backward, at every bit width and on every
//! device: checked against an independent computation in f64.
#![cfg(feature = "train")]

mod common;

use burn::module::Param;
use burn::tensor::{Device, Tensor};
use common::{assert_close, devices, noise, tensor, values};
use proptest::prelude::*;
use vwc_sdk::quant::{
    Activation, Bits, QuantConv2dConfig, QuantLinearConfig, WeightQuantizer, quantize, quantize_activation,
    quantize_weight,
};

/// f32 against f64, relative to the largest element.
const TOLERANCE: f64 = 2e-6;

const WIDTHS: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 32];

fn round_half_even(x: f64) -> f64 {
    let below = x.floor();
    match x - below {
        d if d < 0.5 => below,
        d if d > 0.5 => below + 1.0,
        _ if below % 2.0 == 0.0 => below,
        _ => below + 1.0,
    }
}

fn steps(bits: u8) -> f64 {
    2f64.powi(bits.into()) - 1.0
}

/// The quantised weights, and the gradient of `sum(upstream * quantised)`.
fn weight_reference(w: &[f64], bits: u8, upstream: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let e = w.iter().map(|w| w.abs()).sum::<f64>() / w.len() as f64;
    let th: Vec<f64> = w.iter().map(|w| w.tanh()).collect();
    let peak = th.iter().fold(0f64, |m, t| m.max(t.abs()));
    // PyTorch's maximum of a whole tensor: all that are as large share its gradient.
    let largest = th.iter().filter(|t| t.abs() == peak).count() as f64;
    let value = |t: f64| match bits {
        32 => e * t / peak,
        _ => {
            let n = steps(bits);
            e * (2.0 * round_half_even((t / (2.0 * peak) + 0.5) * n) / n - 1.0)
        }
    };
    // Rounding passes the gradient on and E takes none, so every width has the derivative of E * tanh(w) / peak.
    let to_peak: f64 = th
        .iter()
        .zip(upstream)
        .map(|(t, g)| -g * e * t / (peak * peak))
        .sum();
    let gradient = (0..w.len()).map(|i| {
        let mut g = upstream[i] * e / peak;
        if th[i].abs() == peak {
            g += to_peak * th[i].signum() / largest;
        }
        g * (1.0 - th[i] * th[i])
    });
    (th.iter().map(|&t| value(t)).collect(), gradient.collect())
}

/// Whether a weight is so near the middle of two steps that f32 and f64 may round it apart.
fn on_the_edge(w: &[f64], bits: u8) -> bool {
    let peak = w.iter().fold(0f64, |m, w| m.max(w.tanh().abs()));
    bits != 32
        && w.iter().any(|w| {
            let x = (w.tanh() / (2.0 * peak) + 0.5) * steps(bits);
            ((x - x.floor()) - 0.5).abs() < 1e-4
        })
}

fn gradient<const D: usize>(x: &Tensor<D>, y: Tensor<D>, upstream: &Tensor<D>) -> Vec<f64> {
    let grads = (y * upstream.clone()).sum().backward();
    values(&x.grad(&grads).expect("x takes a gradient"))
}

#[test]
fn weights_and_gradients_match_f64_at_every_width() {
    for (name, device) in devices() {
        let device = device.autodiff();
        for bits in WIDTHS {
            let mut checked = 0;
            for seed in 0..40 {
                let w: Vec<f64> = noise(seed, 24)
                    .iter()
                    .map(|&v| f64::from((0.8 * v) as f32))
                    .collect();
                if on_the_edge(&w, bits) {
                    continue;
                }
                let upstream: Vec<f64> = noise(seed + 1000, 24)
                    .iter()
                    .map(|&v| f64::from(v as f32))
                    .collect();
                let (expected, expected_gradient) = weight_reference(&w, bits, &upstream);
                let x = tensor(&w, [2, 3, 2, 2], &device).require_grad();
                let y = quantize_weight(x.clone(), Bits::new(bits).unwrap());
                let what = format!("{name}, {bits} bits, seed {seed}");
                assert_close(&values(&y), &expected, TOLERANCE, &what);
                let g = gradient(&x, y, &tensor(&upstream, [2, 3, 2, 2], &device));
                assert_close(
                    &g,
                    &expected_gradient,
                    TOLERANCE * 10.0,
                    &format!("{what}, gradient"),
                );
                checked += 1;
            }
            assert!(
                checked >= 20,
                "{bits} bits: only {checked} draws away from the edges"
            );
        }
    }
}

#[test]
fn weights_that_share_the_largest_magnitude_share_its_gradient() {
    let several = |large: f64, count: usize, at: &[usize]| {
        let mut w: Vec<f64> = noise(6, count)
            .iter()
            .map(|v| f64::from((0.4 * v) as f32))
            .collect();
        at.iter().for_each(|&at| w[at] = large);
        w
    };
    let f32s = |w: &[f64]| w.iter().map(|&w| f64::from(w as f32)).collect::<Vec<_>>();
    let cases = [
        ("all equal", vec![0.25; 4]),
        ("all equal and negative", vec![-0.25; 4]),
        ("two of four", f32s(&[0.5, -0.2, 0.1, 0.5])),
        ("of opposite signs", f32s(&[-0.5, 0.2, 0.5, 0.1])),
        ("large", f32s(&[2.0, -2.0, 0.1, 1.0])),
        // Further apart than what one thread takes at a time.
        ("far apart", several(0.75, 50_000, &[3, 20_000, 20_001, 49_999])),
    ];
    for (name, device) in devices() {
        let device = device.autodiff();
        for (case, w) in &cases {
            let upstream = f32s(&noise(12, w.len()));
            let (_, expected) = weight_reference(w, 32, &upstream);
            let turned = |v: &[f64]| v.iter().rev().copied().collect::<Vec<_>>();
            for composed in [false, true] {
                let gradient_of = |w: &[f64], upstream: &[f64]| {
                    let x = tensor::<1>(w, [w.len()], &device).require_grad();
                    let y = if composed {
                        vwc_sdk::quant::composed::quantize_weight(x.clone(), Bits::FULL)
                    } else {
                        quantize_weight(x.clone(), Bits::FULL)
                    };
                    gradient(&x, y, &tensor(upstream, [w.len()], &device))
                };
                let what = format!("{name}, {case}, composed {composed}");
                let found = gradient_of(w, &upstream);
                assert_close(&found, &expected, TOLERANCE * 10.0, &what);
                // Whatever order they come in.
                let found = turned(&gradient_of(&turned(w), &turned(&upstream)));
                assert_close(&found, &expected, TOLERANCE * 10.0, &format!("{what}, turned"));
            }
        }
        // Equal weights with equal gradients would all be scaled alike, which changes nothing.
        let x = tensor::<1>(&[0.25; 4], [4], &device).require_grad();
        let y = quantize_weight(x.clone(), Bits::ONE);
        let g = gradient(&x, y, &tensor(&[1.0; 4], [4], &device));
        assert!(g.iter().all(|g| g.abs() < 1e-6), "{name}: {g:?}");
        // All zero: PyTorch divides by zero there, and this does not.
        let x = tensor::<1>(&[0.0; 4], [4], &device).require_grad();
        let y = quantize_weight(x.clone(), Bits::TWO);
        assert_eq!(values(&y), [0.0; 4], "{name}");
        let g = gradient(&x, y, &tensor(&noise(1, 4), [4], &device));
        assert_eq!(g, [0.0; 4], "{name}");
    }
}

#[test]
fn activations_and_gradients_match_f64_at_every_width() {
    // Ends, middles of steps, and both sides outside.
    let x: Vec<f64> = [-1e9, -3.0, -1e-6, 0.0, 0.25, 0.5, 0.75, 1.0, 1.000001, 7.0]
        .into_iter()
        .chain(noise(7, 90).into_iter().map(|v| 1.5 * v))
        .map(|v| f64::from(v as f32))
        .collect();
    for (name, device) in devices() {
        let device = device.autodiff();
        for bits in WIDTHS {
            let what = format!("{name}, {bits} bits");
            let expected: Vec<f64> = match bits {
                32 => x.iter().map(|x| x.max(0.0)).collect(),
                _ => {
                    let n = steps(bits);
                    x.iter()
                        .map(|x| round_half_even((x.clamp(0.0, 1.0) as f32 * n as f32).into()) / n)
                        .collect()
                }
            };
            let input = tensor(&x, [100], &device).require_grad();
            let y = quantize_activation(input.clone(), Bits::new(bits).unwrap());
            assert_close(&values(&y), &expected, if bits == 32 { 0.0 } else { 1e-7 }, &what);
            let upstream = noise(8, 100);
            let g = gradient(&input, y, &tensor(&upstream, [100], &device));
            for ((x, g), upstream) in x.iter().zip(g).zip(upstream) {
                let inside = match bits {
                    32 if *x == 0.0 => continue, // ReLU has no derivative there
                    32 => *x > 0.0,
                    _ => (0.0..=1.0).contains(x),
                };
                let expected = if inside { f64::from(upstream as f32) } else { 0.0 };
                assert_eq!(g, expected, "{what}: gradient at {x}");
            }
        }
    }
}

#[test]
fn one_bit_activations_are_exactly_zero_and_one() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let x = tensor(&noise(3, 1000), [1000], &device).require_grad();
        let y = quantize_activation(x, Bits::ONE);
        assert!(values(&y).iter().all(|v| *v == 0.0 || *v == 1.0), "{name}");
    }
}

#[test]
fn rounding_is_straight_through_and_leaves_full_precision_alone() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let x = tensor(&[0.1, 0.5, 0.9, 2.0], [4], &device).require_grad();
        let y = quantize(x.clone(), Bits::new(2).unwrap());
        assert_close(&values(&y), &[0.0, 2.0 / 3.0, 1.0, 2.0], 1e-7, name);
        assert_eq!(
            gradient(&x, y, &tensor(&[1.0; 4], [4], &device)),
            [1.0; 4],
            "{name}"
        );
        assert_eq!(values(&quantize(x.clone(), Bits::FULL)), values(&x), "{name}");
    }
}

#[test]
fn zero_and_constant_weights_stay_finite() {
    for (name, device) in devices() {
        let device = device.autodiff();
        for bits in WIDTHS {
            for constant in [0.0, -0.0, 1e-30, 1e-20, 1e-12, 0.3, -0.3, 50.0] {
                let x = tensor(&[constant; 12], [3, 2, 2], &device).require_grad();
                let y = quantize_weight(x.clone(), Bits::new(bits).unwrap());
                let g = gradient(&x, y.clone(), &tensor(&noise(1, 12), [3, 2, 2], &device));
                let finite = values(&y).iter().chain(&g).all(|v| v.is_finite());
                assert!(
                    finite,
                    "{name}, {bits} bits, all {constant}: {:?} {g:?}",
                    values(&y)
                );
            }
        }
    }
}

#[test]
fn one_bit_convolution_counts_bits() {
    // design formula: E * (2 * popcount(a & w) - popcount(a)), which also makes zero padding exact.
    for (name, device) in devices() {
        let conv = one_bit_conv(&device);
        let a: Vec<f64> = noise(5, 2 * 3 * 5 * 5)
            .iter()
            .map(|v| f64::from(*v > 0.0))
            .collect();
        let w = values(&conv.weight.val());
        let e = w.iter().map(|w| w.abs()).sum::<f64>() / w.len() as f64;
        let peak = w.iter().fold(0f64, |m, w| m.max(w.tanh().abs()));
        let bit = |o: usize, c: usize, y: usize, x: usize| {
            let t = w[((o * 3 + c) * 3 + y) * 3 + x].tanh() / (2.0 * peak) + 0.5;
            round_half_even(t) == 1.0
        };
        let mut expected = Vec::new();
        for n in 0..2 {
            for o in 0..4 {
                for oy in 0..5 {
                    for ox in 0..5 {
                        let (mut both, mut ones) = (0, 0);
                        for c in 0..3 {
                            for ky in 0..3 {
                                for kx in 0..3 {
                                    let (y, x) = (oy + ky, ox + kx);
                                    if !(1..=5).contains(&y) || !(1..=5).contains(&x) {
                                        continue;
                                    }
                                    let on = a[((n * 3 + c) * 5 + y - 1) * 5 + x - 1] == 1.0;
                                    ones += i32::from(on);
                                    both += i32::from(on && bit(o, c, ky, kx));
                                }
                            }
                        }
                        expected.push(e * f64::from(2 * both - ones));
                    }
                }
            }
        }
        let y = conv.forward(tensor(&a, [2, 3, 5, 5], &device));
        assert_eq!(y.dims(), [2, 4, 5, 5]);
        assert_close(&values(&y), &expected, TOLERANCE * 10.0, name);
    }
}

fn one_bit_conv(device: &Device) -> vwc_sdk::quant::QuantConv2d {
    let mut conv = QuantConv2dConfig::new([3, 4], [3, 3])
        .with_padding([1, 1])
        .with_quantizer(WeightQuantizer::dorefa(Bits::ONE))
        .init(device);
    conv.weight = Param::from_tensor(tensor(&noise(4, 108), [4, 3, 3, 3], device));
    conv
}

#[test]
fn layers_use_the_quantised_weights_and_train_the_latent_ones() {
    for (name, device) in devices() {
        let device = device.autodiff();
        let linear = QuantLinearConfig::new(6, 4)
            .with_quantizer(WeightQuantizer::dorefa(Bits::new(2).unwrap()))
            .init(&device);
        let x = tensor(&noise(9, 12), [2, 6], &device);
        let y = linear.forward(x.clone());
        let by_hand =
            x.matmul(linear.quantized_weight()) + linear.bias.as_ref().unwrap().val().unsqueeze::<2>();
        assert_close(&values(&y), &values(&by_hand), TOLERANCE, name);
        let distinct: std::collections::BTreeSet<i64> = values(&linear.quantized_weight())
            .iter()
            .map(|v| (v * 1e6).round() as i64)
            .collect();
        assert!(distinct.len() <= 4, "2 bits hold 4 values, found {distinct:?}");
        let grads = y.sum().backward();
        let g = values(
            &linear
                .weight
                .val()
                .grad(&grads)
                .expect("latent weights take the gradient"),
        );
        assert!(g.iter().any(|g| *g != 0.0), "{name}");
    }
}

#[test]
fn activation_module_is_the_function() {
    let device = Device::default();
    let x = tensor(&[-1.0, 0.2, 0.8, 3.0], [4], &device);
    assert_close(
        &values(&Activation::relu().forward(x.clone())),
        &[0.0, 0.2, 0.8, 3.0],
        1e-7,
        "relu",
    );
    assert_close(
        &values(&Activation::clamp().forward(x.clone())),
        &[0.0, 0.2, 0.8, 1.0],
        1e-7,
        "clamp",
    );
    let one = Activation::quantized(Bits::ONE).forward(x);
    assert_eq!(values(&one), [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn only_existing_bit_widths_are_accepted() {
    for bits in 0..=255 {
        assert_eq!(Bits::new(bits).is_ok(), WIDTHS.contains(&bits), "{bits}");
    }
    for text in ["0", "9", "33", "256", "-1", "", "one"] {
        let message = text.parse::<Bits>().unwrap_err().to_string();
        assert!(
            message.contains("expected 1, 2, 3, 4, 5, 6, 7 or 8, or 32"),
            "{message}"
        );
    }
    assert!(serde_json::from_str::<Bits>("9").is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Quantised weights lie on the grid, keep their order, and never exceed E.
    #[test]
    fn quantised_weights_keep_order_and_range(seed in 0u64..10_000, bits in 1u8..=8, scale in 1e-3f64..3.0) {
        let device = Device::default();
        let w: Vec<f64> = noise(seed, 30).iter().map(|v| v * scale).collect();
        let q = values(&quantize_weight(tensor(&w, [30], &device), Bits::new(bits).unwrap()));
        let e = w.iter().map(|w| w.abs()).sum::<f64>() / 30.0;
        let mut order: Vec<usize> = (0..30).collect();
        order.sort_by(|&a, &b| w[a].total_cmp(&w[b]));
        for pair in order.windows(2) {
            prop_assert!(q[pair[0]] <= q[pair[1]]);
        }
        for q in q {
            let level = (q / e + 1.0) / 2.0 * steps(bits);
            prop_assert!((level - level.round()).abs() < 1e-3 && q.abs() <= e * 1.0001, "{q} at {e}");
        }
    }
}
