//! Quantisers that fit any module: what they compute and their gradients, beside their papers' formulas in plain numbers,
//! and the life of a module that was quantised without knowing it.
#![cfg(feature = "train")]

mod common;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2dConfig};
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, SgdConfig};
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor};
use common::{assert_close, devices, noise, tensor, tolerance, values};
use vwc_sdk::quant::{
    Bits, FakeQuantized, LearnedSteps, PactConfig, QuantConv2d, QuantConv2dConfig, QuantInputConfig,
    QuantLinearConfig, WeightQuantizer,
};

fn bits(bits: u8) -> Bits {
    Bits::new(bits).unwrap()
}

/// Somebody's network.
#[derive(Module, Debug)]
struct Net {
    stem: Conv2d,
    blocks: Vec<Block>,
    head: Linear,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    skip: Option<Conv2d>,
}

impl Net {
    fn new(device: &Device) -> Self {
        device.seed(7);
        let conv = |channels, side| Conv2dConfig::new(channels, [side, side]).init(device);
        Self {
            stem: conv([3, 4], 3),
            blocks: vec![
                Block {
                    conv: conv([4, 4], 3),
                    skip: None,
                },
                Block {
                    conv: conv([4, 5], 3),
                    skip: Some(conv([4, 5], 1)),
                },
            ],
            head: LinearConfig::new(5, 2).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.stem.forward(x);
        for block in &self.blocks {
            x = block.conv.forward(x);
        }
        self.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    }
}

fn input(device: &Device) -> Tensor<4> {
    tensor(&noise(3, 2 * 3 * 9 * 9), [2, 3, 9, 9], device)
}

/// The gradient of a weighted sum of `f(x)`, and the weights.
fn gradient(x: &Tensor<4>, f: impl Fn(Tensor<4>) -> Tensor<4>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let x = x.clone().require_grad();
    let y = f(x.clone());
    let upstream = noise(11, y.shape().num_elements());
    let weighted = y.clone() * tensor(&upstream, y.dims(), &x.device());
    let gradients = weighted.sum().backward();
    (values(&y), values(&x.grad(&gradients).unwrap()), upstream)
}

const SHAPE: [usize; 4] = [3, 2, 2, 2];

fn weights() -> Vec<f64> {
    let mut weights: Vec<f64> = noise(5, 24).iter().map(|w| 1.6 * w).collect();
    (weights[3], weights[7], weights[9], weights[12]) = (0.0, 1.0, -1.0, 1.5);
    weights.iter().map(|&w| f64::from(w as f32)).collect()
}

fn sign(w: f64) -> f64 {
    if w >= 0.0 { 1.0 } else { -1.0 }
}

#[test]
fn xnor_is_the_sign_times_each_filters_mean() {
    let w = weights();
    for (name, device) in devices() {
        let device = device.autodiff();
        let (y, found, upstream) =
            gradient(&tensor(&w, SHAPE, &device), |w| WeightQuantizer::Xnor.forward(w));
        let (mut expected, mut slope) = (Vec::new(), Vec::new());
        for (w, g) in w.chunks(8).zip(upstream.chunks(8)) {
            let mean = w.iter().map(|w| w.abs()).sum::<f64>() / 8.0;
            expected.extend(w.iter().map(|&w| sign(w) * mean));
            let through_mean: f64 = w.iter().zip(g).map(|(&w, g)| g * sign(w)).sum::<f64>() / 8.0;
            slope.extend(w.iter().zip(g).map(|(&w, g)| {
                let through_sign = if w.abs() <= 1.0 { g * mean } else { 0.0 };
                through_sign + if w == 0.0 { 0.0 } else { through_mean * sign(w) }
            }));
        }
        assert_close(&y, &expected, tolerance(name), name);
        assert_close(&found, &slope, tolerance(name), name);
        // A matrix's filters are its columns, as Burn's linear layers have them.
        let matrix = tensor::<2>(&w, [8, 3], &device);
        let y = values(&WeightQuantizer::Xnor.forward(matrix));
        let column: f64 = (0..8).map(|row| w[3 * row + 1].abs()).sum::<f64>() / 8.0;
        assert_close(
            &[y[1].abs(), y[4].abs()],
            &[column, column],
            tolerance(name),
            name,
        );
    }
}

#[test]
fn a_learned_step_has_the_gradients_of_its_paper() {
    let w = weights();
    for (name, device) in devices() {
        let device = device.autodiff();
        for width in [1, 2, 3, 8] {
            let [lowest, highest] = match width {
                1 => [-1.0, 1.0],
                width => [-f64::from(1 << (width - 1)), f64::from((1 << (width - 1)) - 1)],
            };
            let quantizer = WeightQuantizer::lsq(bits(width));
            let param = Param::from_tensor(tensor::<4>(&w, SHAPE, &device));
            let param = param.apply_reparameterization(quantizer);
            let state = param.reparameterization::<FakeQuantized>().unwrap();
            let step = state.step.as_ref().unwrap();
            let first = 2.0 * w.iter().map(|w| w.abs()).sum::<f64>() / 24.0 / highest.max(1.0).sqrt();
            let what = format!("{width} bits on {name}");
            assert_close(&values(&step.val()), &[first], tolerance(name), &what);

            let s = values(&step.val())[0];
            let y = param.val();
            let upstream = noise(11, 24);
            let gradients = (y.clone() * tensor(&upstream, SHAPE, &device)).sum().backward();
            let (mut expected, mut slope, mut of_step) = (Vec::new(), Vec::new(), 0.0);
            for (&w, &g) in w.iter().zip(&upstream) {
                let v = w / s;
                // `round` of Burn goes half to even; no value here lies on an edge.
                let whole = if width == 1 {
                    sign(v)
                } else {
                    v.clamp(lowest, highest).round()
                };
                expected.push(whole * s);
                let inside = (lowest..=highest).contains(&v);
                slope.push(if inside { g } else { 0.0 });
                of_step += g * if inside { whole - v } else { whole };
            }
            of_step /= (24.0 * highest.max(1.0)).sqrt();
            assert_close(&values(&y), &expected, tolerance(name), &what);
            let of_weight = values(&param.base().grad(&gradients).unwrap());
            assert_close(&of_weight, &slope, tolerance(name), &what);
            let found = values(&step.val().grad(&gradients).unwrap());
            assert_close(&found, &[of_step], 20.0 * tolerance(name), &what);
        }
        let full = WeightQuantizer::lsq(Bits::FULL).forward(tensor::<4>(&w, SHAPE, &device));
        assert_eq!(values(&full), w, "{name}");
    }
}

/// A step for each filter, codes without the lowest, and powers of two, beside the formulas in plain numbers.
#[test]
fn learned_steps_have_the_gradients_of_their_forms() {
    let w = weights();
    for (name, device) in devices() {
        let device = device.autodiff();
        for (width, per_filter, narrow, power_of_two) in [
            (4, true, false, false),
            (8, true, true, false),
            (2, false, true, false),
            (2, true, true, true),
            (3, false, false, true),
            (1, true, false, false),
        ] {
            let quantizer = LearnedSteps::new(bits(width))
                .with_per_filter(per_filter)
                .with_narrow(narrow)
                .with_power_of_two(power_of_two)
                .quantizer();
            let what = format!("{quantizer} on {name}");
            let param = Param::from_tensor(tensor::<4>(&w, SHAPE, &device));
            let param = param.apply_reparameterization(quantizer);
            let state = param.reparameterization::<FakeQuantized>().unwrap();
            let step = state.step.as_ref().unwrap();
            let steps = values(&step.val());
            let own = if per_filter { 8 } else { 24 };
            assert_eq!(steps.len(), 24 / own, "{what}");
            let half = f64::from(1 << (width - 1));
            let [lowest, highest] = match width {
                1 => [-1.0, 1.0],
                _ if narrow => [1.0 - half, half - 1.0],
                _ => [-half, half - 1.0],
            };
            let y = param.val();
            let upstream = noise(11, 24);
            let gradients = (y.clone() * tensor(&upstream, SHAPE, &device)).sum().backward();
            let (mut expected, mut slope, mut of_steps) = (Vec::new(), Vec::new(), Vec::new());
            for ((w, g), &step) in w.chunks(own).zip(upstream.chunks(own)).zip(&steps) {
                let mean = w.iter().map(|w| w.abs()).sum::<f64>() / own as f64;
                assert_close(
                    &[step],
                    &[2.0 * mean / highest.max(1.0).sqrt()],
                    tolerance(name),
                    &what,
                );
                let step = if power_of_two {
                    step.log2().round().exp2()
                } else {
                    step
                };
                let mut of_step = 0.0;
                for (&w, &g) in w.iter().zip(g) {
                    let v = w / step;
                    let whole = match width {
                        1 => sign(v),
                        _ => v.clamp(lowest, highest).round_ties_even(),
                    };
                    let inside = (lowest..=highest).contains(&v);
                    expected.push(whole * step);
                    slope.push(if inside { g } else { 0.0 });
                    of_step += g * if inside { whole - v } else { whole };
                }
                of_steps.push(of_step / (own as f64 * highest.max(1.0)).sqrt());
            }
            let found = values(&y);
            assert_close(&found, &expected, tolerance(name), &what);
            if power_of_two && !per_filter {
                let unit = found
                    .iter()
                    .map(|x| x.abs())
                    .filter(|x| *x > 0.0)
                    .fold(f64::MAX, f64::min);
                assert_eq!(unit.log2().fract(), 0.0, "{what}: {unit}");
            }
            let of_weight = values(&param.base().grad(&gradients).unwrap());
            assert_close(&of_weight, &slope, tolerance(name), &what);
            let found = values(&step.val().grad(&gradients).unwrap());
            assert_close(&found, &of_steps, 20.0 * tolerance(name), &what);
        }
        let full = LearnedSteps::new(Bits::FULL)
            .with_per_filter(true)
            .with_narrow(true);
        assert_eq!(
            values(&full.quantizer().forward(tensor::<4>(&w, SHAPE, &device))),
            w,
            "{name}"
        );
    }
}

#[test]
fn ternary_weights_are_those_of_their_paper() {
    let w = weights();
    let threshold = 0.7 * w.iter().map(|w| w.abs()).sum::<f64>() / 24.0;
    let kept: Vec<f64> = w.iter().map(|w| w.abs()).filter(|w| *w >= threshold).collect();
    let scale = kept.iter().sum::<f64>() / kept.len() as f64;
    assert!(kept.len() > 5 && kept.len() < 20);
    for (name, device) in devices() {
        let device = device.autodiff();
        let (y, found, upstream) = gradient(&tensor(&w, SHAPE, &device), |w| {
            WeightQuantizer::ternary().forward(w)
        });
        let expected: Vec<f64> = w
            .iter()
            .map(|w| {
                if w.abs() >= threshold {
                    w.signum() * scale
                } else {
                    0.0
                }
            })
            .collect();
        assert_close(&y, &expected, tolerance(name), name);
        assert_close(&found, &upstream, tolerance(name), name);
    }
}

#[test]
fn weights_by_their_mean_are_those_of_their_paper() {
    let w = weights();
    let scale = w.iter().map(|w| w.abs()).sum::<f64>() / 24.0;
    for (name, device) in devices() {
        let device = device.autodiff();
        let (y, found, upstream) = gradient(&tensor(&w, SHAPE, &device), |w| {
            WeightQuantizer::abs_mean().forward(w)
        });
        let expected: Vec<f64> = w
            .iter()
            .map(|w| (w / scale).clamp(-1.0, 1.0).round() * scale)
            .collect();
        assert!(
            expected.contains(&0.0) && expected.contains(&scale),
            "{expected:?}"
        );
        assert_close(&y, &expected, tolerance(name), name);
        assert_close(&found, &upstream, tolerance(name), name);
    }
}

/// A step of zero would not move: a filter of zeros starts as the others do.
#[test]
fn a_filter_of_zeros_may_grow() {
    let mut w = weights();
    w[..8].fill(0.0);
    for (name, device) in devices() {
        let quantizer = LearnedSteps::new(bits(4)).with_per_filter(true).quantizer();
        let param = Param::from_tensor(tensor::<4>(&w, SHAPE, &device));
        let param = param.apply_reparameterization(quantizer);
        let step = values(
            &param
                .reparameterization::<FakeQuantized>()
                .unwrap()
                .step
                .as_ref()
                .unwrap()
                .val(),
        );
        let mean = w.iter().map(|w| w.abs()).sum::<f64>() / 24.0;
        assert_close(&step[..1], &[2.0 * mean / 7f64.sqrt()], tolerance(name), name);
        assert!(values(&param.val())[..8].iter().all(|w| *w == 0.0));
    }
}

/// Zero, constant, tiny and huge weights give numbers, and so do their gradients.
#[test]
fn odd_weights_stay_finite() {
    let steps = |bits_of: u8| LearnedSteps::new(bits(bits_of)).with_per_filter(true);
    let quantizers = [
        WeightQuantizer::new(bits(4)),
        WeightQuantizer::xnor(),
        WeightQuantizer::lsq(bits(4)),
        WeightQuantizer::ternary(),
        WeightQuantizer::abs_mean(),
        steps(8).with_narrow(true).quantizer(),
        steps(2).with_narrow(true).with_power_of_two(true).quantizer(),
        steps(1).quantizer(),
    ];
    for (name, device) in devices() {
        let device = device.autodiff();
        for weight in [0.0, 0.3, -0.3, 1e-35, 1e-30, 1e-12, 1e12, -1e30, -3e35] {
            for quantizer in quantizers {
                let param = Param::from_tensor(tensor::<4>(&[weight; 24], SHAPE, &device));
                let param = param.apply_reparameterization(quantizer);
                let y = param.val();
                let gradients = (y.clone() * tensor(&noise(11, 24), SHAPE, &device))
                    .sum()
                    .backward();
                let what = format!("{quantizer} of {weight} on {name}");
                assert!(
                    values(&y).iter().all(|y| y.is_finite()),
                    "{what}: {:?}",
                    values(&y)
                );
                let of_weight = values(&param.base().grad(&gradients).unwrap());
                assert!(of_weight.iter().all(|g| g.is_finite()), "{what}: {of_weight:?}");
            }
        }
    }
}

#[test]
fn a_learned_clip_takes_the_gradient_of_all_above_it() {
    let x = [-1.0, 0.0, 0.3, 1.1, 2.5, 3.0];
    for (name, device) in devices() {
        let device = device.autodiff();
        for width in [1, 2, 32] {
            let act = PactConfig::new(bits(width)).with_clip(2.0).init(&device);
            let input = tensor::<1>(&x, [6], &device).require_grad();
            let y = act.forward(input.clone());
            let unit = 2.0 / f64::from(bits(width).levels().unwrap_or(1));
            let expected = x.map(|x: f64| match width {
                32 => x.clamp(0.0, 2.0),
                _ => (x.clamp(0.0, 2.0) / unit).round() * unit,
            });
            let what = format!("{width} bits on {name}");
            assert_close(&values(&y), &expected, tolerance(name), &what);
            let upstream = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
            let gradients = (y * tensor::<1>(&upstream, [6], &device)).sum().backward();
            let of_input = values(&input.grad(&gradients).unwrap());
            assert_close(&of_input, &[0.0, 0.0, 4.0, 8.0, 0.0, 0.0], tolerance(name), &what);
            let of_clip = values(&act.clip.val().grad(&gradients).unwrap());
            assert_close(&of_clip, &[48.0], tolerance(name), &what);
        }
    }
}

/// Steps of activations, with codes from zero, with a sign, and from a lowest code that is learned, too, beside the formulas in plain
/// numbers.
#[test]
fn learned_steps_of_activations_have_the_gradients_of_their_papers() {
    const NUMBERS: usize = 60;
    let x: Vec<f64> = noise(21, 2 * NUMBERS)
        .iter()
        .map(|x| f64::from((2.0 * x + 0.3) as f32))
        .collect();
    for (name, device) in devices() {
        let device = device.autodiff();
        for width in [1, 2, 3, 8] {
            for (signed, offset) in [(false, None), (true, None), (false, Some(-0.37f32))] {
                let levels = f64::from(bits(width).levels().unwrap());
                let step = f64::from((1.9 / levels) as f32);
                let mut quantizer = QuantInputConfig::new(bits(width))
                    .with_signed(signed)
                    .with_offset(offset.is_some())
                    .with_step(Some(step))
                    .init(&device);
                if let Some(offset) = offset {
                    let number = tensor::<1>(&[offset.into()], [1], &device);
                    quantizer.offset = Some(Param::from_tensor(number.require_grad()));
                }
                let what = format!("{width} bits, signed {signed}, offset {offset:?}, on {name}");
                let input = tensor::<2>(&x, [2, NUMBERS], &device).require_grad();
                let y = quantizer.forward(input.clone());
                let upstream = noise(22, x.len());
                let weighted = y.clone() * tensor::<2>(&upstream, [2, NUMBERS], &device);
                let gradients = weighted.sum().backward();

                let signs = signed && width == 1;
                let least = f64::from(offset.unwrap_or(0.0)) / step;
                let [lowest, highest] = match (signed, offset) {
                    (_, Some(_)) => [least.round(), least.round() + levels],
                    (true, None) if signs => [-1.0, 1.0],
                    (true, None) => [-(levels + 1.0) / 2.0, (levels - 1.0) / 2.0],
                    (false, None) => [0.0, levels],
                };
                // An offset that is rounded takes the step along by what it was rounded by.
                let rounded_by = if offset.is_some() {
                    least.round() - least
                } else {
                    0.0
                };
                let (mut expected, mut slope) = (Vec::new(), Vec::new());
                let (mut of_step, mut of_offset) = (0.0, 0.0);
                for (&x, &g) in x.iter().zip(&upstream) {
                    let v = x / step;
                    let code = match signs {
                        true => sign(v),
                        false => v.clamp(lowest, highest).round(),
                    };
                    let inside = (lowest..=highest).contains(&v);
                    expected.push(code * step);
                    slope.push(if inside { g } else { 0.0 });
                    of_step += g * match (inside, offset) {
                        (true, _) => code - v,
                        (false, None) => code,
                        (false, Some(_)) => code - lowest + rounded_by,
                    };
                    of_offset += if inside { 0.0 } else { g };
                }
                let codes = if offset.is_some() { levels } else { highest };
                let share = 1.0 / (NUMBERS as f64 * codes.max(1.0)).sqrt();
                assert!(slope.contains(&0.0), "{what}: nothing is cut off");
                assert_close(&values(&y), &expected, tolerance(name), &what);
                let of_input = values(&input.grad(&gradients).unwrap());
                assert_close(&of_input, &slope, tolerance(name), &what);
                let found = values(&quantizer.step.val().grad(&gradients).unwrap());
                assert_close(&found, &[share * of_step], 20.0 * tolerance(name), &what);
                if let Some(offset) = &quantizer.offset {
                    let found = values(&offset.val().grad(&gradients).unwrap());
                    assert_close(&found, &[share * of_offset], 20.0 * tolerance(name), &what);
                }
            }
        }
    }
}

#[test]
fn a_module_is_quantised_as_our_own_layers_are() {
    for (name, device) in devices() {
        let ours = QuantConv2dConfig::new([3, 4], [3, 3])
            .with_bias(true)
            .with_quantizer(WeightQuantizer::new(Bits::TWO))
            .init(&device);
        let mut theirs = Conv2dConfig::new([3, 4], [3, 3]).init(&device);
        (theirs.weight, theirs.bias) = (ours.weight.clone(), ours.bias.clone());
        let theirs = theirs.apply_reparameterization(WeightQuantizer::new(Bits::TWO));
        let x = input(&device);
        let (found, expected) = (theirs.forward(x.clone()), ours.forward(x));
        assert_close(&values(&found), &values(&expected), 1e-6, name);
    }
}

#[test]
fn weights_are_chosen_by_path() {
    let net = Net::new(&Device::default());
    let plan = WeightQuantizer::new(Bits::ONE).on(&net);
    let paths = |plan: &vwc_sdk::quant::QuantizeWeights| plan.paths().map(str::to_owned).collect::<Vec<_>>();
    let all = [
        "stem.weight",
        "blocks.0.conv.weight",
        "blocks.1.conv.weight",
        "blocks.1.skip.weight",
        "head.weight",
    ];
    assert_eq!(paths(&plan), all);
    assert_eq!(paths(&plan.clone().inner()), all[1..4]);
    assert_eq!(paths(&plan.clone().inner_convs()), all[1..3]);
    assert_eq!(paths(&plan.clone().only("blocks").unwrap()), all[1..4]);
    assert_eq!(paths(&plan.clone().only("*.conv").unwrap()), all[1..3]);
    assert_eq!(
        paths(&plan.clone().except("*skip*").unwrap().except("head").unwrap()),
        all[..3]
    );
    for pattern in ["block", "stem.weights", "x*", ""] {
        let error = plan.clone().only(pattern).unwrap_err().to_string();
        assert!(
            error.contains("no weight fits it") && error.contains("stem.weight"),
            "{pattern}: {error}"
        );
    }
    // Bits of its own for each layer, and what was not chosen is untouched.
    let plan = plan
        .inner()
        .with("blocks.1", WeightQuantizer::lsq(bits(3)))
        .unwrap();
    let quantized = net.clone().apply_reparameterization(plan.clone());
    let of = |param: &Param<Tensor<4>>| {
        param
            .reparameterization::<FakeQuantized>()
            .map(|state| state.quantizer)
    };
    assert_eq!(of(&quantized.stem.weight), None);
    assert_eq!(
        of(&quantized.blocks[0].conv.weight),
        Some(WeightQuantizer::new(Bits::ONE))
    );
    assert_eq!(
        of(&quantized.blocks[1].conv.weight),
        Some(WeightQuantizer::lsq(bits(3)))
    );
    assert_eq!(quantized.num_params(), net.num_params() + 2);
    assert!(
        plan.to_string()
            .contains("blocks.1.skip.weight 5x4x1x1 3-bit LSQ\n"),
        "{plan}"
    );
}

#[derive(Module, Debug)]
struct Mixed {
    ours: QuantConv2d,
    theirs: Conv2d,
    other: Conv2d,
}

impl Mixed {
    fn new(device: &Device) -> Self {
        let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(device);
        Self {
            ours: QuantConv2dConfig::new([3, 4], [3, 3])
                .with_quantizer(WeightQuantizer::new(Bits::ONE))
                .init(device),
            theirs: conv([4, 5]),
            other: conv([5, 6]),
        }
    }
}

#[test]
fn what_is_quantised_already_is_left_to_what_quantises_it() {
    let device = Device::default();
    let net = Mixed::new(&device);
    let plan = WeightQuantizer::new(Bits::TWO).on(&net);
    assert_eq!(
        plan.paths().collect::<Vec<_>>(),
        ["theirs.weight", "other.weight"]
    );
    assert!(
        plan.to_string()
            .contains("ours.weight 4x3x3x3 left to its QuantConv2d\n"),
        "{plan}"
    );
    let error = plan.clone().only("ours").unwrap_err().to_string();
    assert!(
        error.contains("ours.weight is left to its QuantConv2d"),
        "{error}"
    );
    let net = plan.clone().only("theirs").unwrap().apply(net).unwrap();

    // A second plan takes what is left, and says what is not. The first and last are the module's, whatever is left of it.
    let second = WeightQuantizer::lsq(Bits::TWO).on(&net);
    assert_eq!(second.paths().collect::<Vec<_>>(), ["other.weight"]);
    assert_eq!(second.clone().inner().paths().count(), 0);
    let fresh = WeightQuantizer::xnor().on(&Mixed::new(&device)).inner();
    assert_eq!(fresh.paths().collect::<Vec<_>>(), ["theirs.weight"]);
    let fresh = WeightQuantizer::xnor().on(&Mixed::new(&device)).inner_convs();
    assert_eq!(fresh.paths().collect::<Vec<_>>(), ["theirs.weight"]);
    let error = plan.clone().apply(net.clone()).unwrap_err().to_string();
    assert!(
        error.contains("theirs.weight: it is left to the reparameterization"),
        "{error}"
    );
    let net = second.apply(net).unwrap();
    let none = WeightQuantizer::xnor().on(&net);
    assert_eq!(none.paths().count(), 0);
    let error = none.apply(net).unwrap_err().to_string();
    assert!(
        error.contains("no weight is left") && error.contains("other.weight is left to the reparam"),
        "{error}"
    );

    // Nothing chosen, and another module.
    let net = Mixed::new(&device);
    let error = plan.clone().except("*").unwrap().apply(net.clone()).unwrap_err();
    assert!(error.to_string().contains("no weight is left"), "{error}");
    let nothing = plan.clone().with("*", WeightQuantizer::Identity).unwrap();
    let error = nothing.apply(net.clone()).unwrap_err();
    assert!(error.to_string().contains("no weight is left"), "{error}");
    let error = plan.clone().apply(net.theirs.clone()).unwrap_err().to_string();
    assert!(
        error.contains("theirs.weight: the module has no such weight"),
        "{error}"
    );
    let mut wider = net.clone();
    wider.other = Conv2dConfig::new([5, 7], [3, 3]).init(&device);
    let error = plan.apply(wider).unwrap_err().to_string();
    assert!(error.contains("other.weight: it is [7, 5, 3, 3]"), "{error}");

    // Given to all weights at once, it takes the place of a layer's own quantiser, and nothing is quantised twice.
    for input_bits in [None, Some(Bits::TWO)] {
        let x = vwc_sdk::quant::quantize_activation(input(&device), Bits::TWO);
        let mut net = net.clone();
        net.ours.input_bits = input_bits;
        let expected = WeightQuantizer::lsq(Bits::TWO).forward(net.ours.weight.val());
        let net = net.apply_reparameterization(WeightQuantizer::lsq(Bits::TWO));
        assert_eq!(values(&net.ours.quantized_weight()), values(&expected));
        let mut plain = net.ours.clone();
        plain.quantizer = WeightQuantizer::Identity;
        assert_close(
            &values(&net.ours.forward(x.clone())),
            &values(&plain.forward(x)),
            1e-6,
            "once",
        );
    }
}

#[test]
fn layers_of_ours_learn_the_step_of_lsq() {
    let device = Device::default().autodiff();
    let quantizer = WeightQuantizer::lsq(Bits::TWO);
    let conv = QuantConv2dConfig::new([3, 4], [3, 3]).with_quantizer(quantizer);
    let conv = conv.init(&device);
    let linear = QuantLinearConfig::new(3, 4)
        .with_quantizer(quantizer)
        .init(&device);
    assert_eq!(conv.num_params(), 4 * 27 + 1);
    assert_eq!(linear.num_params(), 3 * 4 + 4 + 1);
    let step = |conv: &QuantConv2d| {
        let state = conv.weight.reparameterization::<FakeQuantized>().unwrap();
        values(&state.step.as_ref().unwrap().val())[0]
    };
    let mut optimizer = SgdConfig::new().init();
    let gradients = conv.forward(input(&device)).powi_scalar(2).sum().backward();
    let moved = optimizer.step(0.01, conv.clone(), GradientsParams::from_grads(gradients, &conv));
    assert_ne!(step(&moved), step(&conv));
    // And what is left in the end is quantised, once.
    let quantized = values(&moved.quantized_weight());
    let plain = moved.valid().materialize();
    assert_eq!(values(&plain.weight.val()), quantized);
    assert_eq!(values(&plain.quantized_weight()), quantized);
}

#[derive(Module, Debug)]
struct Embedded {
    stem: Conv2d,
    body: Conv2d,
    last: Conv2d,
    head: Linear,
    places: Param<Tensor<3>>,
}

#[test]
fn ends_are_those_of_what_is_there_to_be_quantised() {
    let device = Device::default();
    let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
    let net = Embedded {
        stem: conv([3, 4]),
        body: conv([4, 4]),
        last: conv([4, 4]),
        head: LinearConfig::new(4, 2).init(&device),
        places: Param::from_tensor(Tensor::ones([1, 4, 4], &device)),
    };
    let plan = WeightQuantizer::xnor().on(&net);
    let paths = |plan: &vwc_sdk::quant::QuantizeWeights| plan.paths().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(paths(&plan.clone().inner_convs()), ["body.weight"]);
    let weights = plan.except("places").unwrap().inner();
    assert_eq!(paths(&weights), ["body.weight", "last.weight"]);
}

#[test]
fn a_plan_scales_the_filters_of_transposed_convolutions_too() {
    let device = Device::default();
    let conv = ConvTranspose2dConfig::new([2, 3], [2, 2]).init(&device);
    let latent = values(&conv.weight.val());
    let conv = WeightQuantizer::xnor().on(&conv).apply(conv).unwrap();
    let found = values(&conv.weight.val());
    for output in 0..3 {
        let of = |n: usize| n / 4 % 3 == output;
        let magnitudes = (0..24).filter(|&n| of(n)).map(|n| latent[n].abs());
        let mean = magnitudes.sum::<f64>() / 8.0;
        for n in (0..24).filter(|&n| of(n)) {
            assert!((found[n].abs() - mean).abs() < 1e-6, "{output}: {found:?}");
        }
    }
}

#[test]
fn a_quantised_module_lives_as_any_other() {
    for (name, device) in devices() {
        let training = device.clone().autodiff();
        let net = Net::new(&training);
        let plan = WeightQuantizer::lsq(Bits::TWO).on(&net).inner();
        let net = net.apply_reparameterization(plan.clone());
        let latent = |net: &Net| values(&net.blocks[0].conv.weight.base());
        let step = |net: &Net| {
            let state = net.blocks[0].conv.weight.reparameterization::<FakeQuantized>();
            values(&state.unwrap().step.as_ref().unwrap().val())[0]
        };

        // An optimiser moves latent weights and steps.
        let mut optimizer = SgdConfig::new().init();
        let gradients = net.forward(input(&training)).powi_scalar(2).sum().backward();
        let moved = optimizer.step(0.05, net.clone(), GradientsParams::from_grads(gradients, &net));
        assert_ne!(latent(&moved), latent(&net), "{name}");
        assert_ne!(step(&moved), step(&net), "{name}");

        // In evaluation, back in training, on another branch of the graph: the same numbers.
        let expected = values(&moved.forward(input(&training)));
        let valid = moved.valid();
        assert_close(&values(&valid.forward(input(&device))), &expected, 1e-6, name);
        assert_close(
            &values(&valid.train().forward(input(&training))),
            &expected,
            1e-6,
            name,
        );
        let forked = moved.clone().fork(&training);
        assert_close(&values(&forked.forward(input(&training))), &expected, 1e-6, name);

        // Saved and loaded into a network that was quantised alike.
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("net.bpk");
        moved.clone().into_record().save(&path).unwrap();
        let other = Net::new(&device).apply_reparameterization(plan);
        let loaded = other.load_record(ModuleRecord::load(&path).unwrap());
        assert_close(&values(&loaded.forward(input(&device))), &expected, 1e-6, name);
        assert_eq!(step(&loaded), step(&moved), "{name}");

        // Plain weights of four values a layer, and nothing to learn beside them.
        let plain = moved.valid().materialize();
        assert_close(&values(&plain.forward(input(&device))), &expected, 1e-6, name);
        assert_eq!(plain.num_params(), Net::new(&device).num_params());
        let mut found = values(&plain.blocks[0].conv.weight.val());
        found.sort_by(f64::total_cmp);
        found.dedup();
        assert!(found.len() <= 4, "{found:?}");
    }
}

#[test]
fn a_clip_that_was_learned_away_computes_numbers_still() {
    for (_, device) in devices() {
        for clip in [0.0, -1.0] {
            let act = PactConfig::new(Bits::TWO).with_clip(clip).init(&device);
            let y = act.forward(Tensor::<1>::from_data([-1.0, 0.4, 9.0], &device));
            assert!(values(&y).iter().all(|y| (0.0..1e-5).contains(y)), "{clip}");
        }
    }
}
