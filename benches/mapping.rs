//! The mapping searches: how long they take, and how much trying every window would.
//!
//! `cargo bench --no-default-features --bench mapping`

use criterion::{Criterion, criterion_group, criterion_main};
use vwc_sdk::graph::presets::{names, network};
use vwc_sdk::mapping::{
    ConvLayer, MappingConfig, Method, Network, PimArray, WidthLimits, map_layer, pareto::pareto_front, sweep,
};

/// The cycles of VW-SDK by trying every window, as the published search does.
fn brute_force(layer: &ConvLayer, config: &MappingConfig) -> u64 {
    let [oh, ow] = layer.output(config.accounting);
    let [sh, sw] = layer.stride;
    let [kh, kw] = layer.kernel;
    let (rows, cols) = (config.array.rows, config.array.effective_cols(config.weight_bits));
    let (ic, oc) = (layer.in_channels, layer.out_channels);
    let mut best = ow * oh * (kh * kw * ic).div_ceil(rows) * oc.div_ceil(cols);
    for h in 1..=oh {
        for w in 1..=ow {
            let patch = ((w - 1) * sw + kw) * ((h - 1) * sh + kh);
            let (in_tile, out_tile) = (ic.min(rows / patch), oc.min(cols / (w * h)));
            if in_tile > 0 && out_tile > 0 {
                let cycles = ow.div_ceil(w) * oh.div_ceil(h) * ic.div_ceil(in_tile) * oc.div_ceil(out_tile);
                best = best.min(cycles);
            }
        }
    }
    best as u64
}

fn all() -> Vec<Network> {
    names()
        .into_iter()
        .map(|name| network(name).expect("a preset"))
        .collect()
}

/// A hundred array shapes, 32 to 1024 a side.
fn arrays() -> Vec<PimArray> {
    let sides = [32, 64, 96, 128, 192, 256, 384, 512, 768, 1024];
    sides
        .iter()
        .flat_map(|&rows| {
            sides
                .iter()
                .map(move |&cols| PimArray::new(rows, cols).expect("in range"))
        })
        .collect()
}

fn searches(criterion: &mut Criterion) {
    let config = MappingConfig::new(PimArray::new(512, 512).expect("in range"));
    let layers = network("vgg13").expect("a preset").layers;
    let exact = || -> u64 {
        let cycles = |layer| map_layer(layer, Method::VwSdk, &config).expect("fits").cycles;
        layers.iter().map(cycles).sum()
    };
    let forced = || -> u64 { layers.iter().map(|layer| brute_force(layer, &config)).sum() };
    assert_eq!(exact(), forced());
    criterion.bench_function("vgg13/vw-sdk", |bencher| bencher.iter(exact));
    criterion.bench_function("vgg13/brute force", |bencher| bencher.iter(forced));
    for method in [
        Method::Elements,
        Method::Strips,
        Method::ChannelTiles,
        Method::Best,
    ] {
        criterion.bench_function(&format!("vgg13/{method}"), |bencher| {
            bencher.iter(|| -> u64 {
                let cycles = |layer| map_layer(layer, method, &config).expect("fits").cycles;
                layers.iter().map(cycles).sum()
            });
        });
    }
}

fn sweeps(criterion: &mut Criterion) {
    let (networks, arrays) = (all(), arrays());
    let config = MappingConfig::new(arrays[0]);
    let mut group = criterion.benchmark_group("all presets, 100 arrays");
    group.sample_size(10);
    for method in [Method::VwSdk, Method::Best] {
        group.bench_function(method.to_string(), |bencher| {
            bencher.iter(|| sweep(&networks, &[method], &arrays, &config));
        });
    }
}

fn fronts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("front");
    group.sample_size(10);
    for (name, array) in [
        ("cnn8", "256x512"),
        ("resnet20", "512x256"),
        ("vgg16", "512x512"),
        ("resnet18", "512x512"),
        ("mobilenet-v2", "512x512"),
    ] {
        let config = MappingConfig::new(array.parse().expect("a size"));
        let network = network(name).expect("a preset");
        group.bench_function(name, |bencher| {
            bencher.iter(|| pareto_front(&network, &config, &WidthLimits::default()).expect("a front"));
        });
    }
}

criterion_group!(benches, searches, sweeps, fronts);
criterion_main!(benches);
