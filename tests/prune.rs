//! Pruning rewrites exactly what belongs to the smallest filters, and nothing else changes.
#![cfg(feature = "train")]

mod common;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use common::{assert_close, devices, noise, tensor, values};
use proptest::prelude::*;
use vwc_sdk::Error;
use vwc_sdk::models::{Cnn8, Cnn8Config, Network, NetworkConfig};
use vwc_sdk::prune::{Ranking, keep_largest, l1_norms, prune};

/// f32, sums of a few hundred terms in another order.
const TOLERANCE: f64 = 1e-5;

/// Fills every float tensor, running statistics included, with noise: positive for variances.
struct Scramble {
    path: Vec<String>,
    seed: u64,
}

impl ModuleMapper for Scramble {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        let variance = self.path.last().is_some_and(|name| name == "running_var");
        let seed = self.seed;
        param.map(|t| {
            let numbers = noise(seed, t.shape().num_elements());
            let numbers = numbers
                .iter()
                .map(|v| if variance { 0.5 + v.abs() } else { 0.5 * *v } as f32);
            Tensor::from_data(
                TensorData::new(numbers.collect::<Vec<_>>(), t.shape()),
                &t.device(),
            )
        })
    }
}

fn scrambled(config: &Cnn8Config, device: &Device, seed: u64) -> Cnn8 {
    config.init(device).map(&mut Scramble {
        path: vec![],
        seed: seed * 1000,
    })
}

#[derive(Default)]
struct Tensors {
    path: Vec<String>,
    found: HashMap<String, (Vec<usize>, Vec<f64>)>,
}

impl ModuleVisitor for Tensors {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        self.found
            .insert(self.path.join("."), (value.dims().to_vec(), values(&value)));
    }
}

fn tensors(network: &Cnn8) -> HashMap<String, (Vec<usize>, Vec<f64>)> {
    let mut tensors = Tensors::default();
    network.visit(&mut tensors);
    tensors.found
}

/// Zeroes what makes up the channels that are not kept: weights, bias, batch norm.
fn masked(mut network: Cnn8, kept: &[Vec<usize>]) -> Cnn8 {
    let mask = |kept: &[usize], count: usize| -> Vec<f64> {
        (0..count).map(|c| f64::from(kept.contains(&c))).collect()
    };
    for (n, kept) in kept.iter().enumerate() {
        let device = network.convs[n].weight.device();
        let [out, ..] = network.convs[n].weight.dims();
        let mask = tensor(&mask(kept, out), [out], &device);
        let conv = &mut network.convs[n];
        conv.weight = Param::from_tensor(conv.weight.val() * mask.clone().reshape([out, 1, 1, 1]));
        conv.bias = conv
            .bias
            .take()
            .map(|bias| Param::from_tensor(bias.val() * mask.clone()));
        if (1..=5).contains(&n) {
            let norm = &mut network.norms[n - 1];
            norm.gamma = Param::from_tensor(norm.gamma.val() * mask.clone());
            norm.beta = Param::from_tensor(norm.beta.val() * mask.clone());
        }
    }
    network
}

fn pictures(device: &Device) -> Tensor<4> {
    tensor(&noise(77, 4 * 3 * 40 * 40), [4, 3, 40, 40], device)
}

#[test]
fn shapes_are_those_of_the_smaller_network() {
    for (_, device) in devices() {
        let config = Cnn8Config::new();
        let widths = [18, 21, 27, 60, 60, 60, 256];
        let pruned = prune(&scrambled(&config, &device, 1), &config, &widths, Ranking::L1).unwrap();
        let fresh = tensors(&config.resized(&widths).unwrap().init(&device));
        let found = tensors(&pruned.network);
        assert_eq!(found.len(), fresh.len());
        for (path, (shape, _)) in &fresh {
            assert_eq!(&found[path].0, shape, "{path}");
        }
        assert_eq!(pruned.config.widths, widths);
        assert_eq!(
            pruned.network.conv_layers(),
            pruned.config.init(&device).conv_layers()
        );
    }
}

#[test]
fn exactly_the_smallest_filters_went_with_all_that_is_theirs() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let network = scrambled(&config, &device, 2);
    let pruned = prune(&network, &config, &[4, 3, 5, 2, 6, 3, 6], Ranking::L1).unwrap();
    let (old, new) = (tensors(&network), tensors(&pruned.network));
    for (n, kept) in pruned.kept.iter().enumerate() {
        // Ranked independently: no filter that went is larger than one that stayed.
        let (shape, weight) = &old[&format!("convs.{n}.weight")];
        let size = weight.len() / shape[0];
        let norm = |f: usize| {
            weight[f * size..(f + 1) * size]
                .iter()
                .map(|w| w.abs())
                .sum::<f64>()
        };
        let smallest_kept = kept.iter().map(|&f| norm(f)).fold(f64::INFINITY, f64::min);
        for gone in (0..shape[0]).filter(|f| !kept.contains(f)) {
            assert!(norm(gone) <= smallest_kept, "conv{}: filter {gone} went", n + 1);
        }
        // The weights that stayed are the old ones, at the old places, of the old inputs.
        let (new_shape, new_weight) = &new[&format!("convs.{n}.weight")];
        let inputs: Vec<usize> = if n == 0 {
            (0..3).collect()
        } else {
            pruned.kept[n - 1].clone()
        };
        let plane = shape[2] * shape[3];
        let mut expected = Vec::new();
        for &o in kept {
            for &i in &inputs {
                let at = (o * shape[1] + i) * plane;
                expected.extend_from_slice(&weight[at..at + plane]);
            }
        }
        assert_eq!(new_shape, &[kept.len(), inputs.len(), shape[2], shape[3]]);
        assert_eq!(new_weight, &expected, "conv{}", n + 1);
        if (1..=5).contains(&n) {
            for vector in ["gamma", "beta", "running_mean", "running_var"] {
                let path = format!("norms.{}.{vector}", n - 1);
                let expected: Vec<f64> = kept.iter().map(|&c| old[&path].1[c]).collect();
                assert_eq!(new[&path].1, expected, "{path}");
            }
        }
    }
    let bias: Vec<f64> = pruned.kept[0].iter().map(|&c| old["convs.0.bias"].1[c]).collect();
    assert_eq!(new["convs.0.bias"].1, bias);
    let linear: Vec<f64> = pruned.kept[6]
        .iter()
        .flat_map(|&f| old["linear.weight"].1[f * 10..(f + 1) * 10].to_vec())
        .collect();
    assert_eq!(new["linear.weight"].1, linear);
    assert_eq!(new["linear.bias"].1, old["linear.bias"].1);
}

#[test]
fn nothing_is_rewritten_when_nothing_is_to_prune() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let network = scrambled(&config, &device, 3);
    let pruned = prune(&network, &config, &config.widths(), Ranking::L1).unwrap();
    assert_eq!(pruned.config, config);
    assert_eq!(tensors(&pruned.network), tensors(&network));
}

#[test]
fn a_pruned_network_still_trains() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let pruned = prune(
        &scrambled(&config, &device, 4),
        &config,
        &[4, 3, 5, 2, 6, 3, 6],
        Ranking::L1,
    )
    .unwrap();
    let network = pruned.network.train();
    let x = Tensor::from_inner(pictures(&device));
    let grads = network.forward(x).powi_scalar(2).sum().backward();
    for (n, conv) in network.convs.iter().enumerate() {
        assert!(
            conv.weight.val().grad(&grads).is_some(),
            "conv{} takes no gradient",
            n + 1
        );
    }
    assert_eq!(
        network.num_trainable_params(),
        pruned.config.init(&device).num_trainable_params()
    );
}

#[test]
fn impossible_widths_are_refused() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let network = config.init(&device);
    let error = prune(&network, &config, &[6, 5, 0, 4, 6, 5, 8], Ranking::L1).unwrap_err();
    assert!(
        matches!(&error, Error::PruneWidth { layer, wanted: 0, .. } if layer == "conv3"),
        "{error}"
    );
    assert!(error.to_string().contains("between 1 and 7"), "{error}");
    let error = prune(&network, &config, &[6, 5, 8, 4, 6, 5, 8], Ranking::L1).unwrap_err();
    assert!(
        matches!(
            error,
            Error::PruneWidth {
                wanted: 8,
                channels: 7,
                ..
            }
        ),
        "{error}"
    );
    let error = prune(&network, &config, &[6, 5], Ranking::L1).unwrap_err();
    assert!(matches!(error, Error::Widths { expected: 7, .. }), "{error}");
}

#[test]
fn ranking_keeps_the_largest_and_the_first_of_equals() {
    let weight = tensor(
        &[1.0, -1.0, 3.0, 0.0, -2.0, 0.0, 0.5, 0.5],
        [4, 2, 1, 1],
        &Device::default(),
    );
    let norms = l1_norms(weight);
    assert_eq!(norms, [2.0, 3.0, 2.0, 1.0]);
    assert_eq!(keep_largest(&norms, 2), [0, 1]);
    assert_eq!(keep_largest(&norms, 3), [0, 1, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// In full precision the network whose pruned filters are zeroed computes what the rewritten one computes.
    #[test]
    fn rewritten_equals_masked(
        seed in 0u64..1000,
        widths in prop::array::uniform7((1usize..8).prop_flat_map(|from| (Just(from), 1..=from))),
    ) {
        let device = Device::default();
        let config = Cnn8Config::new().with_widths(widths.map(|(from, _)| from)).with_quantized(false);
        let network = scrambled(&config, &device, seed);
        let pruned = prune(&network, &config, &widths.map(|(_, to)| to), Ranking::L1).unwrap();
        let x = pictures(&device);
        let expected = values(&masked(network, &pruned.kept).forward(x.clone()));
        assert_close(&values(&pruned.network.forward(x)), &expected, TOLERANCE, "logits");
    }
}
