//! The networks: their shapes, their parameters, and that what they say of themselves is what they are.
#![cfg(feature = "train")]

mod common;

use burn::tensor::Device;
use common::{assert_close, devices, noise, tensor, values};
use proptest::prelude::*;
use vwc_sdk::Error;
use vwc_sdk::mapping::presets;
use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
use vwc_sdk::quant::Bits;

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
    assert_eq!(network.conv_layers(), presets::cnn8());
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Channels chain, groups cover what they say, for any widths.
    #[test]
    fn groups_and_layers_agree(widths in prop::array::uniform7(1usize..9)) {
        let network = Cnn8Config::new().with_widths(widths).init(&Device::default());
        let layers = network.conv_layers();
        let groups = network.channel_groups();
        prop_assert_eq!(groups.len(), 7);
        for l in 0..7 {
            prop_assert_eq!(layers[l].out_channels, widths[l]);
            prop_assert_eq!(layers[l].in_channels, if l == 0 { 3 } else { widths[l - 1] });
            prop_assert_eq!(groups[l].channels, widths[l]);
        }
    }
}
