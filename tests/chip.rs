//! Plans of a chip against published numbers and against brute force.

use proptest::prelude::*;
use vwc_sdk::chip::{ChipError, Goal, LayerChoices, Rule, Windows, plan};
use vwc_sdk::graph::presets;
use vwc_sdk::mapping::{Accounting, ConvLayer, MappingConfig, PimArray, Search};

fn published() -> MappingConfig {
    MappingConfig::new(PimArray::new(512, 512).unwrap())
        .with_accounting(Accounting::AsPublished)
        .with_search(Search::Published)
}

fn choices(layers: &[ConvLayer], windows: Windows) -> Vec<LayerChoices> {
    let of = |layer| LayerChoices::of(layer, windows, &published()).unwrap();
    layers.iter().map(of).collect()
}

fn preset(name: &str) -> Vec<ConvLayer> {
    presets::network(name).unwrap().layers
}

/// Steps of the slowest layer on 512x512, 1-bit weights.
#[test]
fn streams_take_the_published_steps() {
    let all = [
        Windows::Im2col,
        Windows::VwSdkFixed,
        Windows::VwSdk,
        Windows::Elements,
    ];
    for (name, arrays, steps) in [
        ("vgg13", 64, [Some(12100), Some(3025), Some(2916), Some(2916)]),
        ("vgg13", 128, [Some(2738), Some(729), Some(729), Some(691)]),
        ("vgg13", 256, [Some(1072), Some(338), Some(338), Some(296)]),
        ("vgg13", 512, [Some(505), Some(160), Some(160), Some(144)]),
        (
            "resnet18-table",
            32,
            [Some(1249), Some(243), Some(239), Some(189)],
        ),
        ("resnet18-table", 64, [Some(402), Some(81), Some(81), Some(76)]),
        ("resnet18-table", 128, [Some(171), Some(36), Some(36), Some(34)]),
        ("resnet18-table", 256, [Some(82), Some(18), Some(18), Some(16)]),
    ] {
        let layers = preset(name);
        for (windows, steps) in all.into_iter().zip(steps) {
            let plan = plan(&choices(&layers, windows), arrays, Goal::Throughput, 0, None).unwrap();
            let interval = (plan.parts.len() == 1).then(|| plan.interval());
            assert_eq!(interval, steps, "{name} {arrays} {windows:?}");
            assert!(plan.used() <= arrays);
        }
    }
}

/// Steps of one picture.
#[test]
fn single_pictures_take_the_published_steps() {
    let all = [Windows::Im2col, Windows::VwSdk, Windows::Elements];
    for (name, arrays, steps) in [
        ("vgg13", 128, [14202, 5285, 4821]),
        ("resnet18-table", 64, [1208, 315, 284]),
    ] {
        let layers = preset(name);
        for (windows, steps) in all.into_iter().zip(steps) {
            let plan = plan(&choices(&layers, windows), arrays, Goal::Latency, 0, None).unwrap();
            assert_eq!(plan.latency(), steps, "{name} {arrays} {windows:?}");
            assert!(plan.used() <= arrays);
        }
    }
}

/// ResNet-20 of 16 channels, its strided layers counted on their whole input: the windows of VW-SDK need 35 arrays.
#[test]
fn narrow_networks_take_the_published_steps() {
    let mut layers = vec![ConvLayer::square("conv", 32, 3, 3, 16)];
    let mut before = 16;
    for (width, size) in [(16, 32), (32, 16), (64, 8)] {
        for n in 0..6 {
            let size = if before < width { 2 * size } else { size };
            layers.push(ConvLayer::square(format!("{width}.{n}"), size, 3, before, width));
            before = width;
        }
    }
    let all = [
        Windows::Im2col,
        Windows::VwSdkFixed,
        Windows::VwSdk,
        Windows::Elements,
    ];
    for (arrays, steps) in [
        (32, [Some(450), None, Some(49), Some(49)]),
        (64, [Some(180), Some(17), Some(15), Some(15)]),
        (128, [Some(75), Some(8), Some(7), Some(7)]),
    ] {
        for (windows, steps) in all.into_iter().zip(steps) {
            let plan = plan(&choices(&layers, windows), arrays, Goal::Throughput, 0, None).unwrap();
            let interval = (plan.parts.len() == 1).then(|| plan.interval());
            assert_eq!(interval, steps, "{arrays} {windows:?}");
        }
    }
    let fixed = choices(&layers, Windows::VwSdkFixed);
    assert_eq!(fixed.iter().map(LayerChoices::least_arrays).sum::<u64>(), 35);
}

/// Rules of other tools use as many arrays as they find, and are never better.
#[test]
fn rules_are_no_better_than_the_plan() {
    for (rule, arrays) in Rule::ALL
        .into_iter()
        .flat_map(|rule| [64, 128, 512].map(|arrays| (rule, arrays)))
    {
        let layers = choices(&preset("vgg13"), rule.windows());
        let best = plan(&layers, arrays, Goal::Throughput, 0, None).unwrap();
        match rule.plan(&layers, arrays) {
            Ok(by_rule) => {
                assert!(by_rule.used() <= arrays, "{rule}");
                assert!(by_rule.interval() >= best.interval(), "{rule}");
            }
            Err(ChipError::Rule { needs, .. }) => assert!(needs > arrays, "{rule}"),
            Err(error) => panic!("{rule}: {error}"),
        }
    }
    let layers = choices(&preset("vgg13"), Windows::Im2col);
    let pimcomp = Rule::Pimcomp.plan(&layers, 128).unwrap();
    assert_eq!((pimcomp.interval(), pimcomp.used()), (3025, 113));
}

/// The copies that DNN+NeuroSim V1.3 gives to the networks that come with it.
#[test]
fn neurosims_speed_up_goes_by_the_sizes_of_inputs() {
    let layer =
        |size, kernel, from, to| ConvLayer::square("conv", size, kernel, from, to).with_padding(kernel / 2);
    let vgg8 = [
        layer(32, 3, 3, 128),
        layer(32, 3, 128, 128),
        layer(16, 3, 128, 256),
        layer(16, 3, 256, 256),
        layer(8, 3, 256, 512),
        layer(8, 3, 512, 512),
    ];
    // The smallest input goes into the first four times only; what is smaller than the bound has one copy.
    let resnet18 = [
        layer(224, 7, 3, 64),
        layer(56, 3, 64, 64),
        layer(56, 1, 64, 128),
        layer(28, 3, 128, 128),
        layer(14, 3, 256, 256),
        layer(7, 3, 512, 512),
    ];
    for (layers, expected) in [(vgg8, [16, 16, 4, 4, 1, 1]), (resnet18, [64, 4, 4, 1, 1, 1])] {
        let plan = Rule::SpeedUp
            .plan(&choices(&layers, Windows::Im2col), 4096)
            .unwrap();
        let copies: Vec<u64> = plan.parts[0].layers.iter().map(|layer| layer.copies).collect();
        assert_eq!(copies, expected);
    }
}

/// A layer with these windows, as arrays and steps.
fn layer(windows: &[(u64, u64)], outputs: u64) -> LayerChoices {
    let windows = windows
        .iter()
        .map(|(arrays, steps)| serde_json::json!({"w": 1, "h": 1, "arrays": arrays, "windows": steps}));
    let windows: Vec<_> = windows.collect();
    serde_json::from_value(serde_json::json!({"name": "layer", "choices": windows, "outputs": outputs}))
        .unwrap()
}

/// The fewest steps of layers on `arrays` arrays, by trying every window with every number of copies. `sum`: of all layers, else of the slowest.
fn by_force(layers: &[LayerChoices], arrays: u64, sum: bool, bandwidth: Option<u64>) -> Option<u64> {
    let Some((first, rest)) = layers.split_first() else {
        return Some(0);
    };
    let floor = bandwidth.map_or(0, |bandwidth| first.outputs.div_ceil(bandwidth));
    let mut best = None;
    for choice in &first.choices {
        for copies in 1..=arrays / choice.arrays {
            let steps = choice.windows.div_ceil(copies).max(floor);
            let Some(others) = by_force(rest, arrays - choice.arrays * copies, sum, bandwidth) else {
                continue;
            };
            let all = if sum { steps + others } else { steps.max(others) };
            best = Some(best.map_or(all, |best: u64| best.min(all)));
        }
    }
    best
}

/// The fewest steps where the network may be cut into parts.
fn in_parts(layers: &[LayerChoices], arrays: u64, write: u64, bandwidth: Option<u64>) -> Option<u64> {
    if layers.is_empty() {
        return Some(0);
    }
    let cut = |end: usize| {
        let first = by_force(&layers[..end], arrays, true, bandwidth)?;
        Some(first + write + in_parts(&layers[end..], arrays, write, bandwidth)?)
    };
    (1..=layers.len()).filter_map(cut).min()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn plans_are_those_of_trying_everything(
        layers in prop::collection::vec((prop::collection::vec((1..5_u64, 1..12_u64), 1..4), 1..20_u64), 1..4),
        arrays in 1..11_u64,
        write in 0..6_u64,
        bandwidth in prop::option::of(1..6_u64),
    ) {
        let layers: Vec<LayerChoices> = layers.iter().map(|(windows, outputs)| {
            // Each takes fewer steps than every one of fewer arrays.
            let mut windows = windows.clone();
            windows.sort_unstable();
            let mut least = u64::MAX;
            windows.retain(|&(_, steps)| {
                let fewer = steps < least;
                least = least.min(steps);
                fewer
            });
            layer(&windows, *outputs)
        }).collect();
        let fits = layers.iter().map(LayerChoices::least_arrays).sum::<u64>() <= arrays;
        for goal in [Goal::Throughput, Goal::Latency] {
            let found = plan(&layers, arrays, goal, write, bandwidth);
            let Ok(found) = found else {
                prop_assert!(layers.iter().any(|layer| layer.least_arrays() > arrays));
                continue;
            };
            prop_assert_eq!(found.parts.len() == 1 && found.parts[0].write_steps == 0, fits || (write == 0 && found.parts.len() == 1));
            prop_assert!(found.used() <= arrays);
            let expected = match (fits, goal) {
                (true, Goal::Throughput) => by_force(&layers, arrays, false, bandwidth),
                (true, _) => by_force(&layers, arrays, true, bandwidth),
                (false, _) => in_parts(&layers, arrays, write, bandwidth),
            };
            let steps = if fits && goal == Goal::Throughput { found.interval() } else { found.latency() };
            prop_assert_eq!(Some(steps), expected);
        }
    }
}

#[test]
fn budgets_that_cannot_be_are_refused() {
    let layers = choices(&preset("vgg13"), Windows::Elements);
    assert_eq!(
        plan(&layers, 0, Goal::Throughput, 0, None),
        Err(ChipError::NoArrays)
    );
    assert!(matches!(
        plan(&layers, 1, Goal::Latency, 0, None),
        Err(ChipError::Layer { .. })
    ));
    assert!(matches!(
        plan(&layers, 1 << 40, Goal::Latency, 0, None),
        Err(ChipError::TooMany { .. })
    ));
    for windows in [&[][..], &[(0, 4)], &[(2, 0)]] {
        let found = plan(&[layer(windows, 1)], 4, Goal::Latency, 0, None);
        assert!(matches!(found, Err(ChipError::NoWindows { .. })), "{windows:?}");
    }
    assert_eq!(plan(&[], 4, Goal::Throughput, 0, None), Err(ChipError::NoLayers));
}
