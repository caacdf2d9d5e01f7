//! Trained networks on simulated arrays: exact where the array is, and worse by what its faults are.
#![cfg(feature = "train")]

use assert_cmd::Command;
use burn::module::Param;
use burn::tensor::{Device, Distribution, Tensor};
use vwc_sdk::Error;
use vwc_sdk::crossbar;
use vwc_sdk::data::{DataSource, Splits, synthetic};
use vwc_sdk::mapping::{Accounting, MappingConfig, Method, PimArray};
use vwc_sdk::models::{Cnn8, Cnn8Config, Network, NetworkConfig};
use vwc_sdk::quant::Bits;
use vwc_sdk::simulate::SimulatedNetwork;
use vwc_sdk::train::{FitOptions, Recipe, RunDir, fit};

/// A narrow CNN-8 with pictures that light up its activations.
fn network(weight_bits: u8, activation_bits: u8) -> (Cnn8, Tensor<4>) {
    let device = Device::default();
    device.seed(7);
    let config = Cnn8Config::new()
        .with_widths([6, 7, 8, 9, 10, 10, 12])
        .with_weight_bits(Bits::new(weight_bits).unwrap())
        .with_activation_bits(Bits::new(activation_bits).unwrap());
    let images = Tensor::random([3, 3, 40, 40], Distribution::Uniform(-1.0, 1.0), &device);
    let mut network = config.init(&device);
    for norm in &mut network.norms {
        // Around the step of a one-bit activation, and so that some of every layer are on.
        norm.beta = Param::from_tensor(norm.beta.val() + 0.5);
    }
    (network, images)
}

fn config() -> MappingConfig {
    MappingConfig::new(PimArray::new(64, 96).unwrap())
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().try_to_vec::<f32>().unwrap()
}

/// Largest difference of the logits on an array from the network's own, as a share of the largest of those.
fn off(network: &Cnn8, images: &Tensor<4>, method: Method, device: &crossbar::Device) -> (f64, f64) {
    let mut simulated = SimulatedNetwork::new(
        &network.graph().unwrap(),
        &images.device(),
        method,
        &config(),
        device,
    )
    .unwrap();
    let found: Tensor<2> = simulated.forward(images.clone()).unwrap();
    let found = values(found);
    let own = values(network.forward(images.clone()));
    // What the pictures are must show in what is compared.
    assert!(own[..10] != own[10..20], "the network is blind");
    let scale = own.iter().fold(1e-9f32, |max, value| max.max(value.abs()));
    let apart = found
        .iter()
        .zip(&own)
        .map(|(a, b)| (a - b).abs())
        .fold(0f32, f32::max);
    (f64::from(apart / scale), simulated.clipped())
}

#[test]
fn an_ideal_array_computes_the_networks_own_logits() {
    for (weight_bits, activation_bits) in [(1, 1), (1, 2), (2, 2), (3, 4)] {
        let (network, images) = network(weight_bits, activation_bits);
        for method in [Method::Im2col, Method::VwSdk, Method::Best] {
            let ideal = crossbar::Device::ideal(1);
            let (apart, clipped) = off(&network, &images, method, &ideal);
            assert!(apart < 1e-5, "W{weight_bits}A{activation_bits} {method}: {apart}");
            assert_eq!(clipped, 0.0);
            // Bit by bit, with converters wide enough, is as exact.
            let wide = crossbar::Device {
                pulse_bits: 1,
                adc_bits: 16,
                ..ideal
            };
            let (apart, clipped) = off(&network, &images, method, &wide);
            assert!(
                apart < 1e-5,
                "W{weight_bits}A{activation_bits} {method} in pulses: {apart}"
            );
            assert_eq!(clipped, 0.0);
        }
    }
}

#[test]
fn faults_show() {
    let (network, images) = network(1, 2);
    let ideal = crossbar::Device::ideal(1);
    let (apart, clipped) = off(
        &network,
        &images,
        Method::VwSdk,
        &crossbar::Device {
            adc_bits: 2,
            ..ideal.clone()
        },
    );
    assert!(apart > 1e-3 && clipped > 0.0, "{apart} {clipped}");
    let varied = |seed| {
        let device = crossbar::Device {
            variation: 0.2,
            seed,
            ..ideal.clone()
        };
        off(&network, &images, Method::VwSdk, &device).0
    };
    assert!(varied(1) > 1e-3);
    assert_eq!(varied(1), varied(1));
    assert_ne!(varied(1), varied(2));
}

#[test]
fn what_cannot_be_simulated_says_why() {
    let (network, _) = network(1, 1);
    let refused =
        |network: &Cnn8, config: &MappingConfig, device: &crossbar::Device| match SimulatedNetwork::new(
            &network.graph().unwrap(),
            &Device::default(),
            Method::VwSdk,
            config,
            device,
        ) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("it was accepted"),
        };
    let ideal = crossbar::Device::ideal(1);
    let published = config().with_accounting(Accounting::AsPublished);
    assert!(refused(&network, &published, &ideal).contains("exact-geometry"));
    let twin = Cnn8Config::new().with_quantized(false).init(&Device::default());
    assert!(refused(&twin, &config(), &ideal).contains("nothing to put on an array"));
    let narrow = crossbar::Device {
        adc_bits: 1,
        ..ideal.clone()
    };
    let message = refused(&network, &config(), &narrow);
    assert!(
        message.contains("convs.1") && message.contains("ADC bits"),
        "{message}"
    );
    let small = MappingConfig::new(PimArray::new(64, 1).unwrap().with_cell_bits(1));
    let (two_bits, _) = self::network(2, 2);
    let result = SimulatedNetwork::new(
        &two_bits.graph().unwrap(),
        &Device::default(),
        Method::VwSdk,
        &small,
        &ideal,
    );
    assert!(matches!(result.err(), Some(Error::Mapping(_))));
}

#[test]
fn the_command_evaluates_what_a_training_left() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("original");
    let device = Device::default();
    device.seed(0);
    let pictures = |count, seed| synthetic::digits(count, seed);
    // What the commands draw again for a run of so many digits.
    let origin = DataSource::Synthetic { pictures: 160 };
    let splits = Splits::carve(origin.to_string(), pictures(160, 1), pictures(40, 2), 0.2, 0)
        .unwrap()
        .with_origin(origin);
    let structure = Cnn8Config::new().with_widths([6, 7, 8, 9, 10, 10, 12]);
    let recipe = Recipe::original(1).with_batch_size(24);
    let options = FitOptions::new(&splits, &recipe, RunDir::new(&run), std::slice::from_ref(&device))
        .with_label("test");
    fit(structure.init(&device), options).unwrap();

    let command = |args: &[&str]| {
        let mut command = Command::cargo_bin("vwc-sdk").unwrap();
        command.arg("evaluate").arg(&run).args(args);
        command
    };
    let plot = dir.path().join("curve.svg");
    let output = command(&[
        "--array",
        "64x96",
        "--pictures",
        "30",
        "--adc-bits",
        "0,16,2",
        "--format",
        "json",
    ])
    .arg("--plot")
    .arg(&plot)
    .assert()
    .success();
    let rows: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert!(rows[0]["adc_bits"].is_null());
    for exact in &rows[1..3] {
        assert_eq!(exact["correct"], rows[0]["correct"], "{exact}");
        assert_eq!(exact["total"], 30);
    }
    assert!(rows[3]["clipped"].as_f64().unwrap() > 0.0);
    let drawn = std::fs::read_to_string(&plot).unwrap();
    assert!(drawn.contains("ADC bits") && drawn.contains("without an array"));

    let table = command(&["--array", "64x96", "--pictures", "10"])
        .assert()
        .success();
    let table = String::from_utf8(table.get_output().stdout.clone()).unwrap();
    assert!(table.contains("no array") && table.contains("exact"), "{table}");

    command(&["--array", "0x96"]).assert().code(2);
    command(&["--array", "64x96", "--adc-bits", "1"]).assert().code(2);
    let missing = Command::cargo_bin("vwc-sdk")
        .unwrap()
        .args(["evaluate", "nowhere", "--array", "64x96"])
        .assert()
        .code(1);
    assert!(String::from_utf8_lossy(&missing.get_output().stderr).contains("nowhere"));
}
