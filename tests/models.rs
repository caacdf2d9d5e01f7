//! The networks: their shapes, their parameters, and that what they say of themselves is what they are.
#![cfg(feature = "train")]

mod common;

use burn::tensor::Device;
use common::{assert_close, devices, noise, tensor, values};
use proptest::prelude::*;
use vwc_sdk::Error;
use vwc_sdk::graph::presets;
use vwc_sdk::mapping::ConvLayer;
use vwc_sdk::models::{
    BlockOrder, Cnn8Config, Network, NetworkConfig, ResNet20, ResNet20Config, Vgg13Config, Widths,
};
use vwc_sdk::prune::groups_of;
use vwc_sdk::pytorch::TorchNames;
use vwc_sdk::quant::Bits;

/// The convolutions that published tables count: not those on shortcuts.
fn layers<N: Network>(network: &N) -> Vec<ConvLayer> {
    let groups = groups_of(network).unwrap().with_layers_left_out(["*.shortcut"]);
    groups.mapped(N::Config::NAME).0.layers
}

#[test]
fn cnn8_has_the_published_number_of_parameters() {
    let device = Device::default();
    assert_eq!(Cnn8Config::new().init(&device).num_trainable_params(), 522_794);
    let twin = Cnn8Config::new().with_quantized(false).init(&device);
    assert_eq!(twin.num_trainable_params(), 522_794);
    // The published tables of convolution weights, plus what surrounds them.
    let rcp2 = Cnn8Config::new()
        .with_widths([18, 18, 27, 60, 60, 60, 256])
        .init(&device);
    let convs = 1350 + 2916 + 4374 + 14580 + 32400 + 32400 + 384_000;
    let norms = 2 * (18 + 27 + 60 + 60 + 60);
    assert_eq!(rcp2.num_trainable_params(), convs + 18 + norms + 2570);
}

#[test]
fn the_live_network_lists_the_layers_of_the_preset() {
    let network = Cnn8Config::new().init(&Device::default());
    assert_eq!(layers(&network), presets::network("cnn8").unwrap().layers);
}

#[test]
fn every_width_and_bit_count_computes_logits() {
    for (name, device) in devices() {
        for bits in [1, 2, 4, 8, 32] {
            let bits = Bits::new(bits).unwrap();
            let network = Cnn8Config::new()
                .with_widths([3, 1, 5, 2, 7, 4, 6])
                .with_classes(4)
                .with_weight_bits(bits)
                .with_activation_bits(bits)
                .init(&device);
            let x = tensor(&noise(1, 2 * 3 * 40 * 40), [2, 3, 40, 40], &device);
            let logits = network.forward(x);
            assert_eq!(logits.dims(), [2, 4], "{name}");
            assert!(values(&logits).iter().all(|v| v.is_finite()), "{name} {bits}");
        }
    }
}

#[test]
fn a_picture_is_classified_alike_alone_and_in_a_batch() {
    let device = Device::default();
    let network = Cnn8Config::new().init(&device);
    let x = tensor(&noise(2, 3 * 3 * 40 * 40), [3, 3, 40, 40], &device);
    let together = values(&network.forward(x.clone()));
    for n in 0..3 {
        let alone = values(&network.forward(x.clone().narrow(0, n, 1)));
        assert_close(&alone, &together[n * 10..(n + 1) * 10], 1e-5, "logits");
    }
}

#[test]
fn the_twin_is_not_quantised() {
    let device = Device::default();
    device.seed(1);
    let twin = Cnn8Config::new().with_quantized(false).init(&device);
    for conv in &twin.convs {
        assert_eq!(values(&conv.quantized_weight()), values(&conv.weight.val()));
    }
    let quantised = Cnn8Config::new().init(&device);
    assert_eq!(
        values(&quantised.convs[0].quantized_weight()),
        values(&quantised.convs[0].weight.val()),
        "the first convolution stays in full precision"
    );
    for conv in &quantised.convs[1..] {
        let magnitudes: Vec<f64> = values(&conv.quantized_weight()).iter().map(|w| w.abs()).collect();
        assert_close(
            &magnitudes,
            &vec![magnitudes[0]; magnitudes.len()],
            1e-6,
            "one magnitude",
        );
    }
    assert_eq!(Cnn8Config::new().precision(), "W1A1");
    assert_eq!(
        Cnn8Config::new().with_quantized(false).precision(),
        "full precision"
    );
}

#[test]
fn widths_are_checked() {
    let config = Cnn8Config::new();
    for widths in [vec![], vec![1; 6], vec![1; 8], vec![1, 1, 1, 0, 1, 1, 1]] {
        let error = config.resized(&widths).unwrap_err();
        assert!(matches!(error, Error::Widths { expected: 7, .. }), "{error}");
    }
}

#[test]
fn resnet20_is_the_preset_and_counts_the_published_parameters() {
    let device = Device::default();
    for widths in [[64, 128, 256], [16, 32, 64], [5, 4, 6]] {
        let network = ResNet20Config::new().with_widths(widths).init(&device);
        // Of each stage the width that its additions run over, and those inside its three blocks.
        let all_widths = widths.map(|width| [width; 4]).concat();
        let preset = presets::network("resnet20").unwrap();
        let expected = preset.with_widths(&all_widths).unwrap().layers;
        assert_eq!(expected.len(), 19);
        assert_eq!(layers(&network), expected);
        // With those on the shortcuts, which the preset leaves out.
        let [a, b, c] = widths;
        let all = groups_of(&network).unwrap().mapped(ResNet20Config::NAME).0.layers;
        let shortcuts: Vec<_> = (all.into_iter())
            .filter(|layer| !expected.contains(layer))
            .collect();
        let shortcut = |block: usize, side, from, to| {
            ConvLayer::square(format!("blocks.{block}.shortcut.conv"), side, 1, from, to).with_stride(2)
        };
        assert_eq!(shortcuts, [shortcut(3, 32, a, b), shortcut(6, 16, b, c)]);
    }
    // Per layer, the published table of 64, 128 and 256 channels and of what RCP1 leaves of them.
    for (widths, stages) in [
        ([64, 128, 256], [36_864, 147_456, 589_824]),
        ([42, 112, 224], [15_876, 112_896, 451_584]),
    ] {
        let network = ResNet20Config::new().with_widths(widths).init(&device);
        let layers = layers(&network);
        assert_eq!(layers[0].params(), 27 * widths[0] as u64);
        for (stage, params) in stages.into_iter().enumerate() {
            for layer in &layers[2 + 6 * stage..7 + 6 * stage] {
                assert_eq!(layer.params(), params, "{}", layer.name);
            }
        }
        // All that is trained: convolutions, shortcuts, batch norms and the classifier.
        let [a, b, c] = widths;
        let convs: u64 = layers.iter().map(|layer| layer.params()).sum();
        let shortcuts = a * b + b * c + 2 * (b + c);
        let norms = 2 * (7 * a + 6 * b + 6 * c);
        assert_eq!(
            network.num_trainable_params(),
            convs as usize + shortcuts + norms + 10 * c + 10
        );
    }
    // The classic network, with projections on its shortcuts.
    let classic = ResNet20Config::new().with_widths([16, 32, 64]).init(&device);
    assert_eq!(classic.num_trainable_params(), 272_474);
}

#[test]
fn resnet20_has_a_width_inside_each_block() {
    let config = ResNet20Config::new().with_widths([4, 5, 6]);
    assert_eq!(config.widths(), [4, 4, 4, 4, 5, 5, 5, 5, 6, 6, 6, 6]);
    let narrow = config.resized(&[4, 1, 2, 3, 5, 4, 5, 6, 6, 7, 8, 9]).unwrap();
    assert_eq!(narrow.inner, Some([1, 2, 3, 4, 5, 6, 7, 8, 9]));
    assert_eq!(narrow.widths(), [4, 1, 2, 3, 5, 4, 5, 6, 6, 7, 8, 9]);
    // Three widths, or twelve that say the same, are one structure.
    assert_eq!(config.resized(&[4, 5, 6]).unwrap(), config);
    assert_eq!(config.resized(&config.widths()).unwrap(), config);
    let layers = layers(&narrow.init(&Device::default()));
    let shapes: Vec<_> = layers
        .iter()
        .map(|layer| (layer.in_channels, layer.out_channels))
        .collect();
    assert_eq!(shapes[..3], [(3, 4), (4, 1), (1, 4)]);
    assert_eq!(shapes[17..], [(6, 9), (9, 6)]);
    let error = config.resized(&[4, 5, 9_999_999]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("a width of 9999999: expected 1 to 8192"),
        "{error}"
    );
    for widths in [vec![], vec![4, 5], vec![1; 11], vec![0, 1, 1]] {
        assert!(
            matches!(
                config.resized(&widths),
                Err(Error::Widths { .. } | Error::Structure { .. })
            ),
            "{widths:?}"
        );
    }
}

#[test]
fn vgg13_counts_its_parameters() {
    let network = Vgg13Config::new().init(&Device::default());
    let widths = [3, 64, 64, 128, 128, 256, 256, 512, 512, 512, 512];
    let convs: usize = widths.windows(2).map(|pair| 9 * pair[0] * pair[1]).sum();
    let linear = 2 * 512 * 512 + 512 * 10 + 10;
    assert_eq!(network.num_trainable_params(), convs + 64 + linear);
    let layers = layers(&network);
    let names: Vec<_> = layers.iter().map(|layer| layer.name.clone()).collect();
    assert_eq!(names, (0..10).map(|n| format!("convs.{n}")).collect::<Vec<_>>());
    let sides: Vec<_> = layers.iter().map(|layer| layer.input[0]).collect();
    assert_eq!(sides, [32, 32, 16, 16, 8, 8, 4, 4, 2, 2]);
}

#[test]
fn every_network_computes_logits_at_every_precision() {
    for (name, device) in devices() {
        let x = tensor(&noise(1, 2 * 3 * 32 * 32), [2, 3, 32, 32], &device);
        for bits in [1, 2, 4, 8, 32] {
            let bits = Bits::new(bits).unwrap();
            for order in [BlockOrder::Original, BlockOrder::PreActivation] {
                for quantized in [true, false] {
                    let network = ResNet20Config::new()
                        .with_widths([3, 4, 5])
                        .with_order(order)
                        .with_quantized(quantized)
                        .with_classes(7)
                        .with_weight_bits(bits)
                        .with_activation_bits(bits)
                        .init(&device);
                    let logits = network.forward(x.clone());
                    assert_eq!(logits.dims(), [2, 7], "{name}");
                    assert!(values(&logits).iter().all(|v| v.is_finite()), "{name} {bits}");
                }
            }
            let network = Vgg13Config::new()
                .with_widths([2, 3, 4, 5, 4, 3, 4, 5, 6, 7])
                .with_hidden([5, 6])
                .with_weight_bits(bits)
                .with_activation_bits(bits)
                .init(&device);
            assert_eq!(network.forward(x.clone()).dims(), [2, 10], "{name}");
        }
    }
}

#[test]
fn resnet20_starts_as_published() {
    let device = Device::default();
    device.seed(3);
    let network = ResNet20Config::new().init(&device);
    // Kaiming normal, fan-out: a variance of 2 / (kernel area * output channels).
    let ResNet20 { conv, blocks, .. } = &network;
    let in_blocks = blocks.iter().flat_map(|block| [&block.conv0, &block.conv1]);
    let convolutions: Vec<_> = std::iter::once(conv).chain(in_blocks).collect();
    assert_eq!(convolutions.len(), 19);
    for (n, conv) in convolutions.into_iter().enumerate() {
        let [outputs, _, height, width] = conv.weight.dims();
        let weights = values(&conv.weight.val());
        let variance = weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
        let expected = 2.0 / (outputs * height * width) as f64;
        assert!(
            (variance / expected - 1.0).abs() < 0.1,
            "convolution {n}: {variance}, expected {expected}"
        );
    }
}

#[test]
fn every_parameter_has_a_name_in_pytorch() {
    fn check<C: NetworkConfig<Network: TorchNames>>(config: C) {
        let network = config.init(&Device::default());
        let mut ours: Vec<_> = network.torch_names().into_iter().map(|name| name.path).collect();
        let mut theirs: Vec<_> = network.torch_names().into_iter().map(|name| name.torch).collect();
        let parameters = vwc_sdk::module::Parameters::of(&network);
        ours.sort();
        assert_eq!(ours, parameters.iter().map(|(path, _)| path).collect::<Vec<_>>());
        theirs.sort();
        theirs.dedup();
        assert_eq!(theirs.len(), ours.len(), "names of their own");
    }
    check(Cnn8Config::new());
    check(Vgg13Config::new());
    check(ResNet20Config::new());
    check(ResNet20Config::new().with_order(BlockOrder::PreActivation));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Channels chain, groups cover what they say, for any widths. A channel that is alone has to stay, so it is in no group.
    #[test]
    fn groups_and_layers_agree(widths in prop::array::uniform7(1usize..9)) {
        let network = Cnn8Config::new().with_widths(widths).init(&Device::default());
        let layers = layers(&network);
        prop_assert_eq!(layers.len(), 7);
        for l in 0..7 {
            prop_assert_eq!(layers[l].out_channels, widths[l]);
            prop_assert_eq!(layers[l].in_channels, if l == 0 { 3 } else { widths[l - 1] });
        }
        let groups = groups_of(&network).unwrap();
        let found: Vec<_> = groups.iter().map(|group| (group.name.clone(), group.channels)).collect();
        let expected: Vec<_> = (widths.into_iter().enumerate())
            .filter(|&(_, width)| width > 1)
            .map(|(l, width)| (format!("convs.{l}"), width))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
