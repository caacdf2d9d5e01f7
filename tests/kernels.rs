//! The kernels of `flex` against the same operations composed of Burn's own, values and gradients.
#![cfg(feature = "flex")]

use burn::module::Param;
use burn::nn::conv::Conv2dConfig;
use burn::nn::{BatchNormConfig, DropoutConfig, PaddingConfig2d};
use burn::optim::Optimizer;
use burn::tensor::{Device, Distribution, Tensor, TensorData};
use proptest::prelude::*;
use vwc_sdk::quant::{
    Activation, Bits, QuantConv2dConfig, QuantInputConfig, WeightQuantizer, composed, composed_block,
    conv_norm_pool_act, conv2d, convolve, dropout, grouped_conv2d, norm_pool_act, quantize_weight,
};
use vwc_sdk::train::Adam;

fn device() -> Device {
    Device::flex().autodiff()
}

/// Numbers that are the same every time, between -1 and 1; every third is a half, so that there are equal ones.
fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|n| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            if n % 3 == 0 {
                0.5
            } else {
                (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
            }
        })
        .collect()
}

fn leaf<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let data = TensorData::new(numbers(shape.iter().product(), seed), shape);
    Tensor::from_data(data, &device()).require_grad()
}

/// Largest difference, as a share of the largest number.
fn apart<const D: usize>(found: &Tensor<D>, expected: &Tensor<D>) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let values = |tensor: &Tensor<D>| tensor.to_data().try_to_vec::<f32>().unwrap();
    let (found, expected) = (values(found), values(expected));
    let scale = expected.iter().fold(1e-6f32, |max, value| max.max(value.abs()));
    let difference = |(a, b): (&f32, &f32)| f64::from((a - b).abs());
    assert!(found.iter().all(|value| value.is_finite()));
    found.iter().zip(&expected).map(difference).fold(0.0, f64::max) / f64::from(scale)
}

/// Weighs every output differently, so that a gradient in a wrong place shows.
fn weighed_sum<const D: usize>(x: &Tensor<D>) -> Tensor<1> {
    let data = TensorData::new(numbers(x.shape().num_elements(), 99), x.shape());
    (x.clone() * Tensor::from_data(data, &device())).sum()
}

fn conv_agrees(
    x_shape: [usize; 4],
    outputs_and_kernel: [usize; 3],
    stride: [usize; 2],
    padding: [usize; 2],
    bias: bool,
    channels_last: bool,
) {
    grouped_conv_agrees(
        x_shape,
        outputs_and_kernel,
        1,
        stride,
        padding,
        bias,
        channels_last,
    );
}

fn grouped_conv_agrees(
    x_shape: [usize; 4],
    [outputs, kernel_h, kernel_w]: [usize; 3],
    groups: usize,
    stride: [usize; 2],
    padding: [usize; 2],
    bias: bool,
    channels_last: bool,
) {
    let leaves = || {
        let weight = leaf([outputs, x_shape[1] / groups, kernel_h, kernel_w], 2);
        (leaf(x_shape, 1), weight, bias.then(|| leaf([outputs], 3)))
    };
    let run = |kernels: bool| {
        let (x, weight, bias) = leaves();
        // Another layout in memory of the same feature maps.
        let maps = match channels_last {
            true => x
                .clone()
                .permute([0, 2, 3, 1])
                .mul_scalar(1.0)
                .permute([0, 3, 1, 2]),
            false => x.clone(),
        };
        let args = (maps, weight.clone(), bias.clone());
        let output = if kernels {
            grouped_conv2d(args.0, args.1, args.2, stride, padding, groups)
        } else {
            composed_block::grouped_conv2d(args.0, args.1, args.2, stride, padding, groups)
        };
        let grads = weighed_sum(&output).backward();
        let bias = bias.map(|bias| bias.grad(&grads).unwrap());
        (
            output.inner(),
            x.grad(&grads).unwrap(),
            weight.grad(&grads).unwrap(),
            bias,
        )
    };
    let (found, expected) = (run(true), run(false));
    let limit = 1e-5;
    let what = format!(
        "{x_shape:?} {outputs} in {groups} groups, {kernel_h}x{kernel_w} stride {stride:?} padding {padding:?}"
    );
    assert!(apart(&found.0, &expected.0) < limit, "output of {what}");
    assert!(
        apart(&found.1, &expected.1) < limit,
        "gradient of the input of {what}"
    );
    assert!(
        apart(&found.2, &expected.2) < limit,
        "gradient of the weight of {what}"
    );
    if bias {
        assert!(
            apart(&found.3.unwrap(), &expected.3.unwrap()) < limit,
            "gradient of the bias of {what}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn convolutions_agree(
        (batch, inputs, outputs) in (1usize..4, 1usize..40, 1usize..70),
        (height, width) in (1usize..12, 1usize..30),
        (kernel_h, kernel_w) in (1usize..6, 1usize..6),
        stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform2(0usize..3),
        bias: bool,
        channels_last: bool,
    ) {
        prop_assume!(height + 2 * padding[0] >= kernel_h && width + 2 * padding[1] >= kernel_w);
        conv_agrees(
            [batch, inputs, height, width],
            [outputs, kernel_h, kernel_w],
            stride,
            padding,
            bias,
            channels_last,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn convolutions_in_groups_agree(
        batch in 1usize..4,
        groups in 1usize..40,
        (inputs, outputs) in prop_oneof![2 => Just((1usize, 1usize)), 1 => (1usize..4, 1usize..4)],
        (height, width) in (1usize..12, 1usize..20),
        (kernel_h, kernel_w) in prop_oneof![Just((3usize, 3usize)), Just((5, 5)), (1usize..6, 1usize..6)],
        stride in prop::array::uniform2(1usize..4),
        padding in prop::array::uniform2(0usize..4),
        bias: bool,
        channels_last: bool,
    ) {
        prop_assume!(height + 2 * padding[0] >= kernel_h && width + 2 * padding[1] >= kernel_w);
        grouped_conv_agrees(
            [batch, groups * inputs, height, width],
            [groups * outputs, kernel_h, kernel_w],
            groups,
            stride,
            padding,
            bias,
            channels_last,
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn layers_of_burn_agree(
        groups in 1usize..6,
        (inputs, outputs) in (1usize..4, 1usize..4),
        (height, width) in (3usize..10, 3usize..10),
        kernel in prop::array::uniform2(1usize..4),
        stride in prop::array::uniform2(1usize..3),
        dilation in 1usize..3,
        padding in prop_oneof![
            Just(PaddingConfig2d::Same),
            Just(PaddingConfig2d::Valid),
            (0usize..3, 0usize..3, 0usize..3, 0usize..3).prop_map(|(a, b, c, d)| PaddingConfig2d::Explicit(a, b, c, d)),
        ],
        bias: bool,
    ) {
        let reach = |axis: usize| (kernel[axis] - 1) * dilation + 1;
        prop_assume!(height >= reach(0) && width >= reach(1));
        let conv = Conv2dConfig::new([groups * inputs, groups * outputs], kernel)
            .with_stride(stride)
            .with_dilation([dilation; 2])
            .with_groups(groups)
            .with_padding(padding)
            .with_bias(bias)
            .init(&device());
        let run = |kernels: bool| {
            let x = leaf([2, groups * inputs, height, width], 5);
            let y = if kernels { convolve(&conv, x.clone()) } else { conv.forward(x.clone()) };
            let grads = weighed_sum(&y).backward();
            (y.inner(), x.grad(&grads).unwrap(), conv.weight.val().grad(&grads).unwrap())
        };
        let (found, expected) = (run(true), run(false));
        prop_assert!(apart(&found.0, &expected.0) < 1e-5);
        prop_assert!(apart(&found.1, &expected.1) < 1e-5);
        prop_assert!(apart(&found.2, &expected.2) < 1e-5);
        let layer = vwc_sdk::quant::Conv2d::from(conv);
        let y = layer.forward(leaf([2, groups * inputs, height, width], 5));
        prop_assert_eq!(y.inner().into_data(), found.0.into_data());
    }
}

#[test]
fn convolutions_of_our_networks_agree() {
    for (inputs, side, outputs, kernel, stride, padding) in [
        (3, 40, 24, 5, 1, 0),
        (24, 18, 32, 3, 1, 1),
        (27, 9, 60, 3, 1, 0),
        (64, 7, 64, 3, 1, 1),
        (64, 5, 256, 5, 1, 0),
        (64, 8, 128, 3, 2, 1),
        (64, 8, 128, 1, 2, 0),
        (32, 6, 48, 1, 1, 0),
    ] {
        conv_agrees(
            [9, inputs, side, side],
            [outputs, kernel, kernel],
            [stride; 2],
            [padding; 2],
            outputs == 24,
            true,
        );
    }
}

#[test]
fn many_pictures_and_few_agree_over_threads() {
    // The blocks that gradients are summed in have to cover a batch that they do not divide.
    for batch in [1, 2, 31, 33, 67] {
        conv_agrees([batch, 5, 6, 6], [7, 3, 3], [1, 1], [1, 1], true, false);
        conv_agrees([batch, 5, 6, 6], [7, 6, 6], [1, 1], [0, 0], true, false);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let run = || {
        let (x, weight) = (leaf([13, 5, 9, 9], 1), leaf([40, 5, 3, 3], 2));
        let norm = BatchNormConfig::new(40).init(&device());
        let y = conv2d(x.clone(), weight.clone(), None, [1, 1], [1, 1]);
        let y = norm_pool_act(
            y,
            Some(&norm),
            true,
            &Activation::quantized(Bits::new(2).unwrap()),
        );
        let grads = weighed_sum(&y).backward();
        let bits = |tensor: Tensor<4>| tensor.into_data().try_to_vec::<f32>().unwrap();
        [
            bits(y.inner()),
            bits(x.grad(&grads).unwrap()),
            bits(weight.grad(&grads).unwrap()),
        ]
    };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(run)
    };
    let one = on(1);
    for threads in [2, 3, 8] {
        assert_eq!(on(threads), one, "{threads} threads");
    }
}

fn acts() -> Vec<Activation> {
    let mut acts = vec![
        Activation::identity(),
        Activation::relu(),
        Activation::relu6(),
        Activation::clamp(),
    ];
    acts.extend((1..=8).map(|bits| Activation::quantized(Bits::new(bits).unwrap())));
    acts.push(Activation::quantized(Bits::FULL));
    acts
}

#[test]
fn norm_pool_and_activation_agree() {
    for act in acts() {
        for (pool, normed, [height, width]) in [
            (false, false, [5, 7]),
            (true, false, [6, 7]),
            (false, true, [5, 7]),
            (true, true, [7, 4]),
            (true, true, [2, 3]),
        ] {
            let run = |kernels: bool| {
                // Multiples of 1/8: the sums are exact, so that ties are ties on either path.
                let x = (leaf([5, 21, height, width], 4).inner() * 24.0).round() / 8.0;
                let x = Tensor::from_data(x.into_data(), &device()).require_grad();
                let mut norm = BatchNormConfig::new(21).init(&device());
                // Some channels fall.
                norm.gamma = Param::from_tensor(leaf([21], 5).require_grad());
                norm.beta = Param::from_tensor(leaf([21], 6).require_grad());
                let used = normed.then_some(&norm);
                let y = if kernels {
                    norm_pool_act(x.clone(), used, pool, &act)
                } else {
                    composed_block::norm_pool_act(x.clone(), used, pool, &act)
                };
                let grads = weighed_sum(&y).backward();
                let affine =
                    normed.then(|| [&norm.gamma, &norm.beta].map(|param| param.val().grad(&grads).unwrap()));
                let running = [&norm.running_mean, &norm.running_var].map(|state| state.value_sync().inner());
                (y.inner(), x.grad(&grads).unwrap(), affine, running)
            };
            let (found, expected) = (run(true), run(false));
            let what = format!("{act:?}, pool {pool}, norm {normed}, {height}x{width}");
            assert!(apart(&found.0, &expected.0) < 1e-5, "output of {what}");
            assert!(
                apart(&found.1, &expected.1) < 1e-5,
                "gradient of the input of {what}"
            );
            for (found, expected) in found.3.iter().zip(&expected.3) {
                assert!(apart(found, expected) < 1e-5, "running statistics of {what}");
            }
            if let (Some(found), Some(expected)) = (found.2, expected.2) {
                for (found, expected) in found.iter().zip(&expected) {
                    assert!(
                        apart(found, expected) < 1e-5,
                        "gradient of gamma or beta of {what}"
                    );
                }
            }
        }
    }
}

#[test]
fn convolution_and_pool_in_one_agree() {
    for act in acts() {
        for (side, kernel, padding, outputs) in [(12, 5, 0, 24), (7, 3, 1, 9), (6, 3, 0, 40), (5, 1, 0, 7)] {
            let run = |kernels: bool| {
                let x = leaf([5, 3, side, side], 1);
                let mut conv = QuantConv2dConfig::new([3, outputs], [kernel; 2])
                    .with_padding([padding; 2])
                    .with_bias(true)
                    .init(&device());
                conv.weight = Param::from_tensor(leaf([outputs, 3, kernel, kernel], 2));
                conv.bias = Some(Param::from_tensor(leaf([outputs], 3)));
                let y = if kernels {
                    conv_norm_pool_act(x.clone(), &conv, None, true, &act)
                } else {
                    let bias = conv.bias.as_ref().map(Param::val);
                    let y = composed_block::conv2d(x.clone(), conv.weight.val(), bias, [1; 2], [padding; 2]);
                    composed_block::norm_pool_act(y, None, true, &act)
                };
                let grads = weighed_sum(&y).backward();
                let bias = conv.bias.as_ref().unwrap().val().grad(&grads).unwrap();
                let weight = conv.weight.val().grad(&grads).unwrap();
                (y.inner(), x.grad(&grads).unwrap(), weight, bias)
            };
            let (found, expected) = (run(true), run(false));
            let what = format!("{act:?} {side} {kernel} {padding} {outputs}");
            assert!(apart(&found.0, &expected.0) < 1e-5, "output of {what}");
            assert!(
                apart(&found.1, &expected.1) < 1e-5,
                "gradient of the input of {what}"
            );
            assert!(
                apart(&found.2, &expected.2) < 1e-5,
                "gradient of the weight of {what}"
            );
            assert!(
                apart(&found.3, &expected.3) < 1e-5,
                "gradient of the bias of {what}"
            );
        }
    }
}

/// A quantised convolution that knows the bits of its input, beside the same out of Burn's operations.
///
/// `shape`: pictures, input channels, output channels, side, kernel. Of every picture whose number `off_grid` names, one
/// value is none that the bits allow.
fn quantised_conv_agrees(
    shape: [usize; 5],
    stride: usize,
    padding: usize,
    [weight_bits, input_bits]: [u8; 2],
    off_grid: impl Fn(usize) -> bool,
) {
    let [batch, inputs, outputs, side, kernel] = shape;
    let [weight_bits, input_bits] = [weight_bits, input_bits].map(|bits| Bits::new(bits).unwrap());
    let levels = input_bits.levels().unwrap() as f32;
    let picture = inputs * side * side;
    let mut pixels: Vec<f32> = numbers(batch * picture, 1)
        .iter()
        .map(|value| (value.abs() * levels).round() / levels)
        .collect();
    for n in (0..batch).filter(|&n| off_grid(n)) {
        pixels[n * picture + picture / 2] = 0.25 / levels;
    }
    let mut conv = QuantConv2dConfig::new([inputs, outputs], [kernel; 2])
        .with_stride([stride; 2])
        .with_padding([padding; 2])
        .with_quantizer(WeightQuantizer::dorefa(weight_bits))
        .with_input_bits(Some(input_bits))
        .init(&device());
    conv.weight = Param::from_tensor(leaf([outputs, inputs, kernel, kernel], 2));
    let run = |kernels: bool| {
        let x = TensorData::new(pixels.clone(), [batch, inputs, side, side]);
        let x = Tensor::<4>::from_data(x, &device()).require_grad();
        let y = if kernels {
            conv.forward(x.clone())
        } else {
            let weight = composed::quantize_weight(conv.weight.val(), weight_bits);
            composed_block::conv2d(x.clone(), weight, None, [stride; 2], [padding; 2])
        };
        let grads = weighed_sum(&y).backward();
        let weight = conv.weight.val().grad(&grads).unwrap();
        (y.inner(), x.grad(&grads).unwrap(), weight)
    };
    let (found, expected) = (run(true), run(false));
    let what = format!("{shape:?} stride {stride} padding {padding} W{weight_bits}A{input_bits}");
    assert!(apart(&found.0, &expected.0) < 1e-5, "output of {what}");
    assert!(
        apart(&found.1, &expected.1) < 1e-5,
        "gradient of the input of {what}"
    );
    assert!(
        apart(&found.2, &expected.2) < 1e-5,
        "gradient of the weight of {what}"
    );
}

#[test]
fn quantised_convolutions_agree_at_every_width() {
    for weight_bits in 1..=8 {
        for input_bits in 1..=8 {
            let bits = [weight_bits, input_bits];
            quantised_conv_agrees([3, 24, 32, 9, 3], 1, 1, bits, |_| false);
            quantised_conv_agrees([3, 5, 21, 8, 3], 2, 1, bits, |n| n == 1);
        }
    }
    quantised_conv_agrees([2, 64, 256, 5, 5], 1, 0, [1, 4], |_| false);
    quantised_conv_agrees([2, 64, 64, 7, 3], 1, 0, [2, 2], |_| true);
}

#[test]
fn a_quantised_convolution_takes_any_input() {
    let conv = QuantConv2dConfig::new([2, 3], [3, 3])
        .with_padding([1, 1])
        .with_quantizer(WeightQuantizer::dorefa(Bits::ONE))
        .with_input_bits(Some(Bits::ONE))
        .init(&Device::flex());
    let full = |value| Tensor::<4>::full([1, 2, 4, 4], value, &Device::flex());
    for value in [f32::NAN, f32::INFINITY] {
        let y = conv.forward(full(value)).into_data().try_to_vec::<f32>().unwrap();
        assert!(y.iter().all(|y| !y.is_finite()), "{value}: {y:?}");
    }
    let expected = composed_block::conv2d(full(-1e9), conv.quantized_weight(), None, [1; 2], [1; 2]);
    assert!(apart(&conv.forward(full(-1e9)), &expected) < 1e-5);
    assert_eq!(conv.forward(full(0.0)).abs().max().into_scalar::<f32>(), 0.0);
}

#[test]
#[should_panic(expected = "a 2x2 pool does not fit feature maps of 1x1")]
fn a_pool_that_does_not_fit_is_refused() {
    let conv = QuantConv2dConfig::new([3, 4], [3, 3])
        .with_bias(true)
        .init(&device());
    conv_norm_pool_act(leaf([1, 3, 3, 3], 1), &conv, None, true, &Activation::relu());
}

#[test]
fn trained_norms_agree_in_evaluation() {
    let device = Device::flex();
    let mut norm = BatchNormConfig::new(21).init(&device);
    norm.gamma = Param::from_tensor(leaf([21], 5).inner());
    norm.beta = Param::from_tensor(leaf([21], 6).inner());
    norm.running_mean.update(leaf([21], 7).inner());
    norm.running_var.update(leaf([21], 8).inner().abs() + 0.1);
    for act in [Activation::identity(), Activation::relu()] {
        for pool in [false, true] {
            let x = leaf([3, 21, 5, 7], 4).inner();
            let found = norm_pool_act(x.clone(), Some(&norm), pool, &act);
            assert!(apart(&found, &composed_block::norm_pool_act(x, Some(&norm), pool, &act)) < 1e-5);
        }
    }
}

#[test]
fn what_is_no_number_stays_none() {
    for act in acts() {
        for pool in [false, true] {
            let x = Tensor::<4>::full([1, 3, 2, 2], f32::NAN, &Device::flex());
            let y = norm_pool_act(x, None, pool, &act)
                .into_data()
                .try_to_vec::<f32>()
                .unwrap();
            assert!(y.iter().all(|value| value.is_nan()), "{act:?}");
        }
    }
}

#[test]
fn dropout_keeps_the_share_and_its_gradient_the_places() {
    device().seed(5);
    let x = (leaf([8, 16, 9, 9], 1).inner() * 0.0 + 1.0).into_data();
    let x = Tensor::<4>::from_data(x, &device()).require_grad();
    let module = DropoutConfig::new(0.3).init();
    let y = dropout(x.clone(), &module);
    let grads = y.clone().sum().backward();
    let values = |tensor: Tensor<4>| tensor.into_data().try_to_vec::<f32>().unwrap();
    let y = values(y.inner());
    assert_eq!(values(x.grad(&grads).unwrap()), y);
    let kept = y.iter().filter(|&&value| value > 0.0).count() as f64 / y.len() as f64;
    assert!((kept - 0.7).abs() < 0.02, "{kept}");
    assert!(
        y.iter()
            .all(|&value| value == 0.0 || (value - 1.0 / 0.7).abs() < 1e-6)
    );

    let again = || values(dropout(x.clone(), &module).inner());
    device().seed(5);
    assert_eq!(again(), y, "the same seed");
    assert_ne!(again(), y, "the next mask");
    let off = dropout(x.clone().inner(), &module);
    assert!(values(off).iter().all(|&value| value == 1.0));
}

#[test]
fn adam_agrees_with_burns() {
    let burns = burn::optim::AdamConfig::new().with_epsilon(1e-8).build();
    let (mut expected, mut found) = (leaf([7, 5, 3, 3], 1).inner(), leaf([7, 5, 3, 3], 1).inner());
    let (mut state, mut burns_state) = (None, None);
    for step in 0..20 {
        let grad = leaf([7, 5, 3, 3], step).inner() * 0.1;
        (expected, burns_state) = burns.step(0.01, expected, grad.clone(), burns_state);
        (found, state) = Adam::new().step(0.01, found, grad, state);
        assert!(apart(&found, &expected) < 1e-5, "step {step}");
    }
}

#[test]
fn weights_agree_at_every_width_and_magnitude() {
    for bits in [1, 2, 3, 4, 5, 6, 7, 8, 32] {
        let bits = Bits::new(bits).unwrap();
        for scale in [0.0, 1e-30, 1e-3, 0.3, 1.0, 8.0] {
            // More than one chunk, and not a whole number of them.
            let run = |quantize: &dyn Fn(Tensor<4>) -> Tensor<4>| {
                let weight = leaf([33, 61, 3, 3], 7).inner() * scale;
                let weight = Tensor::from_data(weight.into_data(), &device()).require_grad();
                let y = quantize(weight.clone());
                let grads = weighed_sum(&y).backward();
                (y.inner(), weight.grad(&grads).unwrap())
            };
            let found = run(&|weight| quantize_weight(weight, bits));
            let expected = run(&|weight| composed::quantize_weight(weight, bits));
            // Where `tanh` differs in its last bit, a weight on the edge between two steps may fall on either.
            let values = |tensor: &Tensor<4>| tensor.to_data().try_to_vec::<f32>().unwrap();
            let largest = values(&expected.0).into_iter().fold(1e-30, f32::max);
            let step = bits.levels().map_or(0.0, |levels| 2.0 * largest / levels as f32);
            let mut on_the_edge = 0;
            for (found, expected) in values(&found.0).iter().zip(values(&expected.0)) {
                let apart = (found - expected).abs();
                assert!(apart <= step + largest * 1e-5, "{bits} bits, scale {scale}");
                on_the_edge += usize::from(apart > largest * 1e-5);
            }
            assert!(
                on_the_edge <= 3,
                "{bits} bits, scale {scale}: {on_the_edge} weights a step apart"
            );
            assert!(
                apart(&found.1, &expected.1) < 1e-5,
                "gradient, {bits} bits, scale {scale}"
            );
        }
    }
}

#[test]
fn the_same_parameter_may_be_used_twice() {
    let weight = leaf([6, 6, 3, 3], 2);
    let x = Tensor::<4>::random([2, 6, 5, 5], Distribution::Default, &device());
    let once = conv2d(x.clone(), weight.clone(), None, [1, 1], [1, 1]);
    let twice = conv2d(once, weight.clone(), None, [1, 1], [1, 1]);
    let grads = weighed_sum(&twice).backward();
    let found = weight.grad(&grads).unwrap();

    let reference = Tensor::from_data(weight.to_data(), &device()).require_grad();
    let once = composed_block::conv2d(x, reference.clone(), None, [1, 1], [1, 1]);
    let twice = composed_block::conv2d(once, reference.clone(), None, [1, 1], [1, 1]);
    let grads = weighed_sum(&twice).backward();
    assert!(apart(&found, &reference.grad(&grads).unwrap()) < 1e-5);
}

/// What is no number has no code, nor a sign.
#[test]
fn multiples_of_what_is_no_number_are_none() {
    for (bits, signed) in [(1, true), (1, false), (4, true), (8, false)] {
        let bits = Bits::new(bits).unwrap();
        let quantizer = QuantInputConfig::new(bits)
            .with_signed(signed)
            .with_step(Some(0.5));
        let x = Tensor::<4>::full([1, 3, 5, 7], f32::NAN, &Device::flex());
        let y = quantizer.init(&device()).forward(x);
        assert!(
            y.into_data().iter::<f32>().all(f32::is_nan),
            "{bits} bits, signed: {signed}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    #[test]
    fn multiples_of_a_learned_step_agree(
        shape in prop::array::uniform4(1usize..9),
        bits in 1u8..=8,
        signed: bool,
        step in 0.01f64..0.7,
        channels_last: bool,
    ) {
        let bits = Bits::new(bits).unwrap();
        let highest = ((1u32 << bits.get()) - 1) as f32;
        let range = match (signed, highest == 1.0) {
            (false, _) => [0.0, highest],
            (true, true) => [-1.0, 1.0],
            (true, false) => [-(highest + 1.0) / 2.0, (highest - 1.0) / 2.0],
        };
        let of_picture = shape[1..].iter().product::<usize>() as f32;
        let share = 1.0 / (of_picture * range[1].max(1.0)).sqrt();
        let run = |kernels: bool| {
            let x = leaf(shape, 7);
            // Some numbers are outside the range, and some are between two codes.
            let maps = match channels_last {
                true => x.clone().permute([0, 2, 3, 1]).mul_scalar(2.0).permute([0, 3, 1, 2]),
                false => x.clone().mul_scalar(2.0),
            };
            let quantizer = QuantInputConfig::new(bits).with_signed(signed).with_step(Some(step));
            let quantizer = quantizer.init(&device());
            let y = if kernels {
                quantizer.forward(maps)
            } else {
                composed::multiples(maps, quantizer.step.val(), range, share)
            };
            let grads = weighed_sum(&y).backward();
            (y.inner(), x.grad(&grads).unwrap(), quantizer.step.val().grad(&grads).unwrap())
        };
        let (found, expected) = (run(true), run(false));
        prop_assert_eq!(found.0.into_data(), expected.0.into_data());
        prop_assert!(apart(&found.1, &expected.1) < 1e-5);
        let (found, expected) = (found.2.into_scalar::<f32>(), expected.2.into_scalar::<f32>());
        prop_assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{found} {expected}");
    }
}
