//! Pruning rewrites exactly what belongs to the smallest filters, and nothing else changes.
#![cfg(feature = "train")]

mod common;

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use common::{assert_close, devices, noise, tensor, values};
use proptest::prelude::*;
use vwc_sdk::Error;
use vwc_sdk::graph::presets;
use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, WidthLimits};
use vwc_sdk::models::{
    BlockOrder, Cnn8, Cnn8Config, Network, NetworkConfig, ResNet20, ResNet20Config, Vgg13Config, Widths,
};
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::{Ranking, Ratio, Scope, groups_of, keep_largest, prune};
use vwc_sdk::train::Round;

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

fn scrambled<C: NetworkConfig>(config: &C, device: &Device, seed: u64) -> C::Network {
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

/// Zeroes what makes up the channels that are not kept: every slice of their groups but variances.
fn masked<N: Network>(network: N, kept: &[Vec<usize>]) -> N {
    let mut parameters = Parameters::of(&network);
    let groups = groups_of(&network).unwrap();
    assert_eq!(groups.len(), kept.len());
    for (group, kept) in groups.iter().zip(kept) {
        for slice in group
            .slices
            .iter()
            .filter(|slice| !slice.path.ends_with("running_var"))
        {
            let shape = parameters.get(&slice.path).unwrap().shape().to_vec();
            let inner: usize = shape[slice.dim + 1..].iter().product();
            let mut zeroed = parameters.values(&slice.path).unwrap().to_vec();
            for (index, value) in zeroed.iter_mut().enumerate() {
                let place = index / inner % shape[slice.dim];
                if !kept
                    .iter()
                    .any(|&channel| slice.indices(channel).contains(&place))
                {
                    *value = 0.0;
                }
            }
            parameters.insert(slice.path.clone(), TensorData::new(zeroed, shape));
        }
    }
    parameters.put_into(network).unwrap()
}

fn pictures(device: &Device) -> Tensor<4> {
    tensor(&noise(77, 4 * 3 * 40 * 40), [4, 3, 40, 40], device)
}

#[test]
fn shapes_are_those_of_the_smaller_network() {
    for (_, device) in devices() {
        let config = Cnn8Config::new();
        let widths = [18, 21, 27, 60, 60, 60, 256];
        let pruned = prune(&scrambled(&config, &device, 1), &widths, Ranking::L1).unwrap();
        let fresh = tensors(&config.resized(&widths).unwrap().init(&device));
        let found = tensors(&pruned.network);
        assert_eq!(found.len(), fresh.len());
        for (path, (shape, _)) in &fresh {
            assert_eq!(&found[path].0, shape, "{path}");
        }
        // What the network was made of stays, and its structure is that of its parameters.
        assert_eq!(*pruned.network.config(), config);
        let structure = pruned.network.structure();
        assert_eq!(structure, config.resized(&widths).unwrap());
        let layers = |network: &Cnn8| groups_of(network).unwrap().mapped("CNN-8");
        assert_eq!(layers(&pruned.network), layers(&structure.init(&device)));
    }
}

#[test]
fn exactly_the_smallest_filters_went_with_all_that_is_theirs() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let network = scrambled(&config, &device, 2);
    let pruned = prune(&network, &[4, 3, 5, 2, 6, 3, 6], Ranking::L1).unwrap();
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
    let pruned = prune(&network, &config.widths(), Ranking::L1).unwrap();
    assert_eq!(pruned.network.structure(), config);
    assert_eq!(tensors(&pruned.network), tensors(&network));
}

#[test]
fn a_pruned_network_still_trains() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let pruned = prune(
        &scrambled(&config, &device, 4),
        &[4, 3, 5, 2, 6, 3, 6],
        Ranking::L1,
    )
    .unwrap();
    let structure = pruned.network.structure();
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
        structure.init(&device).num_trainable_params()
    );
}

const RANKINGS: [Ranking; 5] = [
    Ranking::L1,
    Ranking::L2,
    Ranking::BatchNormScale,
    Ranking::GeometricMedian,
    Ranking::Random(7),
];

/// In full precision the network whose pruned channels are zeroed computes what the rewritten one computes.
fn rewriting_equals_masking<C: NetworkConfig>(
    config: &C,
    widths: &[usize],
    ranking: Ranking,
    seed: u64,
    smaller: &C,
) {
    let device = Device::default();
    let network = scrambled(config, &device, seed);
    let pruned = prune(&network, widths, ranking).unwrap();
    let groups = groups_of(&network).unwrap();
    assert_eq!(groups.len(), widths.len());
    for ((group, kept), &width) in groups.iter().zip(&pruned.kept).zip(widths) {
        assert_eq!(kept.len(), width, "{}", group.name);
        assert!(kept.is_sorted() && kept.iter().all(|&channel| channel < group.channels));
    }
    assert_eq!(pruned.network.structure(), *smaller);
    let [height, width] = smaller.input();
    let x = tensor(&noise(77, 2 * 3 * height * width), [2, 3, height, width], &device);
    let expected = values(&masked(network, &pruned.kept).forward(x.clone()));
    assert_close(&values(&pruned.network.forward(x)), &expected, 1e-4, C::NAME);
}

#[test]
fn residual_networks_are_rewritten_as_a_whole() {
    for (seed, ranking) in RANKINGS.into_iter().enumerate() {
        for order in [BlockOrder::Original, BlockOrder::PreActivation] {
            let config = ResNet20Config::new()
                .with_widths([4, 5, 6])
                .with_order(order)
                .with_quantized(false);
            // Inside block 4 there are five channels, and four that stage 2 adds up; inside block 7 six, of five.
            let widths = [3, 2, 4, 1, 5, 4, 3, 2, 6, 5, 1, 4];
            let smaller = config.resized(&[3, 2, 4, 1, 4, 5, 3, 2, 5, 6, 1, 4]).unwrap();
            rewriting_equals_masking(&config, &widths, ranking, seed as u64, &smaller);
        }
    }
}

#[test]
fn plain_networks_are_rewritten_by_any_ranking() {
    let vgg = Vgg13Config::new()
        .with_widths([4, 5, 6, 5, 4, 5, 6, 7, 6, 5])
        .with_hidden([6, 5])
        .with_quantized(false);
    for (seed, ranking) in RANKINGS.into_iter().enumerate() {
        if ranking != Ranking::BatchNormScale {
            let convolutions = [3, 5, 2, 4, 4, 1, 5, 6, 6, 3];
            for hidden in [[6, 5], [4, 3]] {
                let widths: Vec<usize> = convolutions.into_iter().chain(hidden).collect();
                let smaller = vgg.resized(&convolutions).unwrap().with_hidden(hidden);
                rewriting_equals_masking(&vgg, &widths, ranking, seed as u64, &smaller);
            }
        }
    }
}

#[test]
fn a_stage_ranks_its_channels_by_all_that_is_added() {
    let device = Device::default();
    let config = ResNet20Config::new().with_widths([3, 4, 5]);
    let network = scrambled(&config, &device, 5);
    let parameters = Parameters::of(&network);
    let groups = groups_of(&network).unwrap();
    let groups = groups.groups();
    let names: Vec<_> = groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(
        names[..6],
        [
            "conv + blocks.0.conv1 + blocks.1.conv1 + blocks.2.conv1",
            "blocks.0.conv0",
            "blocks.1.conv0",
            "blocks.2.conv0",
            "blocks.3.conv0",
            "blocks.3.conv1 + blocks.3.shortcut.conv + blocks.4.conv1 + blocks.5.conv1",
        ]
    );
    // The stage's width is that of the first convolution or the shortcut, and of the second of each block.
    let producers = |group: usize| -> Vec<&str> {
        let ranked_by = groups[group].ranked_by.iter();
        ranked_by.map(|slice| slice.path.as_str()).collect()
    };
    assert_eq!(
        producers(0),
        [
            "conv.weight",
            "blocks.0.conv1.weight",
            "blocks.1.conv1.weight",
            "blocks.2.conv1.weight"
        ]
    );
    assert_eq!(
        producers(5),
        [
            "blocks.3.conv1.weight",
            "blocks.3.shortcut.conv.weight",
            "blocks.4.conv1.weight",
            "blocks.5.conv1.weight"
        ]
    );
    let scores = Ranking::L1.scores(&groups[5], &parameters).unwrap();
    for (channel, score) in scores.into_iter().enumerate() {
        let of = |path: &&str| {
            let weights = parameters.values(path).unwrap();
            let size = weights.len() / 4;
            weights[channel * size..][..size]
                .iter()
                .map(|w| f64::from(w.abs()))
                .sum::<f64>()
        };
        let expected: f64 = producers(5).iter().map(of).sum();
        assert!(
            (score - expected).abs() < 1e-6 * expected,
            "{score}, expected {expected}"
        );
    }
}

#[test]
fn rankings_are_what_they_are_called() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([3, 3, 2, 2, 2, 2, 2]);
    let network = config.init(&device);
    let mut parameters = Parameters::of(&network);
    let groups = groups_of(&network).unwrap();
    let groups = groups.groups();
    // Three filters of 3x5x5, all but two of their weights zero.
    let mut filters = vec![0.0f32; 3 * 75];
    for (filter, weights) in [[3.0, 4.0], [-6.0, 0.0], [3.0, 3.0]].into_iter().enumerate() {
        filters[filter * 75..][..2].copy_from_slice(&weights);
    }
    parameters.insert("convs.0.weight", TensorData::new(filters, [3, 3, 5, 5]));
    parameters.insert("norms.0.gamma", TensorData::new(vec![0.5f32, -2.0, 1.0], [3]));
    let scores = |ranking: Ranking, group: usize| ranking.scores(&groups[group], &parameters).unwrap();
    assert_eq!(scores(Ranking::L1, 0), [7.0, 6.0, 6.0]);
    assert_close(&scores(Ranking::L2, 0), &[5.0, 6.0, 18f64.sqrt()], 1e-6, "L2");
    let (ab, ac, bc) = (97f64.sqrt(), 1.0, 90f64.sqrt());
    let expected = [ab + ac, ab + bc, ac + bc];
    assert_close(&scores(Ranking::GeometricMedian, 0), &expected, 1e-6, "distances");
    assert_eq!(scores(Ranking::BatchNormScale, 1), [0.5, 2.0, 1.0]);
    assert_eq!(scores(Ranking::Random(1), 1), scores(Ranking::Random(1), 1));
    assert_ne!(scores(Ranking::Random(1), 1), scores(Ranking::Random(2), 1));
    assert_ne!(scores(Ranking::Random(1), 0), scores(Ranking::Random(1), 1));
    let error = Ranking::BatchNormScale
        .scores(&groups[0], &parameters)
        .unwrap_err();
    assert!(
        error.to_string().contains("convs.0") && error.to_string().contains("bn-scale"),
        "{error}"
    );
    for ranking in RANKINGS {
        assert_eq!(ranking.to_string().parse(), Ok(ranking));
    }
    assert_eq!("random".parse(), Ok(Ranking::Random(0)));
    assert!("l3".parse::<Ranking>().is_err() && "random:x".parse::<Ranking>().is_err());
}

fn limits() -> WidthLimits {
    WidthLimits::default()
}

#[test]
fn ratios_keep_multiples_and_minima() {
    let device = Device::default();
    let network = scrambled(&Cnn8Config::new(), &device, 6);
    let groups = groups_of(&network).unwrap();
    let widths = |ratio: Ratio| groups.widths(&network, &ratio, Ranking::L1).unwrap();
    let of_original = |ratio: Ratio, original: [usize; 7]| {
        let names = groups.iter().map(|group| group.name.clone());
        let groups = groups.clone().with_original_widths(names.zip(original).collect());
        groups.widths(&network, &ratio, Ranking::L1).unwrap()
    };
    assert_eq!(widths(Ratio::new(0.0)), [24, 32, 32, 64, 64, 64, 256]);
    assert_eq!(widths(Ratio::new(0.25)), [18, 24, 24, 48, 48, 48, 192]);
    assert_eq!(
        widths(Ratio::new(0.3).with_limits(limits().with_multiple(8))),
        [24, 24, 24, 48, 48, 48, 184]
    );
    assert_eq!(
        widths(Ratio::new(0.9).with_limits(limits().with_minimum(10))),
        [10, 10, 10, 10, 10, 10, 26]
    );
    // Not more than there are, whatever multiple or minimum.
    assert_eq!(
        widths(Ratio::new(0.5).with_limits(limits().with_multiple(100))),
        [24, 32, 32, 64, 64, 64, 200]
    );
    assert_eq!(
        widths(Ratio::new(0.5).with_limits(limits().with_minimum(1000))),
        [24, 32, 32, 64, 64, 64, 256]
    );

    // By the name of a layer, whose inputs stay too, and by the path of a weight.
    let held = limits().with_share(0.75).with_hold("convs.1");
    let held = held.with_hold("convs.4.weight");
    assert_eq!(
        widths(Ratio::new(0.5).with_limits(held)),
        [24, 32, 24, 64, 64, 48, 192]
    );
    // 0.28 of 100 is 28, however it is in binary.
    let share = Ratio::new(0.9).with_limits(limits().with_share(0.28));
    assert_eq!(
        of_original(share, [24, 25, 25, 50, 50, 50, 100]),
        [7, 7, 7, 14, 14, 14, 28]
    );
    // The share of a network that was pruned before is one of the original's widths.
    let pruned = Ratio::new(0.5).with_limits(limits().with_share(0.5));
    assert_eq!(
        of_original(pruned, [48, 64, 32, 64, 64, 64, 256]),
        [24, 32, 16, 32, 32, 32, 128]
    );

    let global = Ratio::new(0.5).with_scope(Scope::Network);
    let found = widths(global.clone());
    assert_eq!(found.iter().sum::<usize>(), 536 - 268);
    assert_ne!(found, widths(Ratio::new(0.5)));
    // What goes is what scores lowest beside its group's mean: no channel that stays is below one that goes.
    let parameters = Parameters::of(&network);
    let mut gone: f64 = 0.0;
    let mut stays = f64::INFINITY;
    for (group, &width) in groups.iter().zip(&found) {
        let mut scores = Ranking::L1.scores(group, &parameters).unwrap();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        scores.sort_by(f64::total_cmp);
        let (low, high) = scores.split_at(scores.len() - width);
        gone = low.last().map_or(gone, |score| gone.max(score / mean));
        stays = stays.min(high[0] / mean);
    }
    assert!(gone <= stays, "{gone} went, {stays} stayed");
    for bad in [
        Ratio::new(1.0),
        Ratio::new(-0.1),
        Ratio::new(f64::NAN),
        Ratio::new(0.1).with_limits(limits().with_multiple(0)),
        Ratio::new(0.1).with_limits(limits().with_minimum(0)),
        Ratio::new(0.1).with_limits(limits().with_hold("conv77")),
    ] {
        assert!(groups.widths(&network, &bad, Ranking::L1).is_err(), "{bad}");
    }
}

#[test]
fn one_round_on_the_live_resnet20_gives_the_published_table() {
    let device = Device::default();
    let config = ResNet20Config::new();
    let mapping = MappingConfig::new(PimArray::new(512, 256).unwrap())
        .with_weight_bits(2)
        .with_accounting(Accounting::AsPublished);
    let network = config.init(&device);
    let next = |network: &ResNet20| {
        let groups = groups_of(network).unwrap().with_layers_left_out(["*.shortcut"]);
        groups.next_widths(&mapping, &limits()).unwrap().widths
    };
    let widths = next(&network).unwrap();
    assert_eq!(widths, [42, 42, 42, 42, 112, 112, 112, 112, 224, 224, 224, 224]);
    let pruned = prune(&network, &widths, Ranking::L1).unwrap();
    let structure = pruned.network.structure();
    assert_eq!((structure.widths, structure.inner), ([42, 112, 224], None));
    assert_eq!(next(&pruned.network), None, "nothing is left to prune");

    // Cycles of a convolution inside each stage, and its parameters, before and after.
    let rows = |network: ResNet20, widths: [usize; 3]| {
        let round = Round::new("", network, 0.0, &mapping, &["*.shortcut".to_owned()]).unwrap();
        // Of each stage the width that its additions run over, and those inside its three blocks.
        let all_widths = widths.map(|width| [width; 4]).concat();
        let preset = presets::network("resnet20").unwrap();
        assert_eq!(round.layers.len(), 19);
        assert_eq!(round.layers, preset.with_widths(&all_widths).unwrap().layers);
        [2, 8, 14].map(|layer| (round.mappings[layer].cycles, round.layers[layer].params()))
    };
    assert_eq!(
        rows(network, [64, 128, 256]),
        [(900, 36_864), (588, 147_456), (360, 589_824)]
    );
    let expected = [(450, 15_876), (392, 112_896), (288, 451_584)];
    assert_eq!(rows(pruned.network, [42, 112, 224]), expected);
}

#[test]
fn impossible_widths_are_refused() {
    let device = Device::default();
    let config = Cnn8Config::new().with_widths([6, 5, 7, 4, 6, 5, 8]);
    let network = config.init(&device);
    let error = prune(&network, &[6, 5, 0, 4, 6, 5, 8], Ranking::L1).unwrap_err();
    assert!(
        matches!(&error, Error::PruneWidth { layer, wanted: 0, .. } if layer == "convs.2"),
        "{error}"
    );
    assert!(error.to_string().contains("between 1 and 7"), "{error}");
    let error = prune(&network, &[6, 5, 8, 4, 6, 5, 8], Ranking::L1).unwrap_err();
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
    let error = prune(&network, &[6, 5], Ranking::L1).unwrap_err();
    assert!(matches!(error, Error::Widths { expected: 7, .. }), "{error}");
}

#[test]
fn of_equals_the_first_stay() {
    let scores = [2.0, 3.0, 2.0, 1.0];
    assert_eq!(keep_largest(&scores, 2), [0, 1]);
    assert_eq!(keep_largest(&scores, 3), [0, 1, 2]);
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
        // A channel that is alone has to stay, so it is in no group.
        let of_groups: Vec<usize> = widths.into_iter().filter(|(from, _)| *from > 1).map(|(_, to)| to).collect();
        let pruned = prune(&network, &of_groups, Ranking::L1).unwrap();
        prop_assert_eq!(pruned.network.structure().widths, widths.map(|(_, to)| to));
        let x = pictures(&device);
        let expected = values(&masked(network, &pruned.kept).forward(x.clone()));
        assert_close(&values(&pruned.network.forward(x)), &expected, TOLERANCE, "logits");
    }
}
