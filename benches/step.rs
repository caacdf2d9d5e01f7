//! One training step of CNN-8: forward, loss, backward, Adam.
//!
//! ```text
//! cargo bench --bench step
//! cargo bench --bench step -- 'W1A1/512'
//! ```
//!
//! Throughput is in pictures. `benches/peers/ratios.py` runs this in turn with the same step in PyTorch.

use std::hint::black_box;

use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
use vwc_sdk::quant::Bits;
use vwc_sdk::train::Adam;

fn step(c: &mut Criterion) {
    let device = Device::default().autodiff();
    device.seed(0);
    let mut group = c.benchmark_group("step");
    group.sample_size(10);
    for (weight_bits, activation_bits) in [(1, 1), (1, 4)] {
        let bits = |bits| Bits::new(bits).expect("a bit width");
        let config = Cnn8Config::new()
            .with_weight_bits(bits(weight_bits))
            .with_activation_bits(bits(activation_bits));
        for batch in [64, 128, 512] {
            group.throughput(Throughput::Elements(batch));
            let id = BenchmarkId::new(config.precision(), batch);
            group.bench_function(id, |bencher| {
                let [height, width] = Cnn8Config::INPUT;
                let images = Tensor::<4>::random(
                    [batch as usize, 3, height, width],
                    Distribution::Uniform(-1.0, 1.0),
                    &device,
                );
                let labels: Vec<i64> = (0..batch as i64).map(|n| n % 10).collect();
                let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
                let loss = CrossEntropyLossConfig::new().init(&device);
                let mut optimizer = ModuleOptimizer::from(Adam::new());
                let mut network = Some(config.init(&device));
                bencher.iter(|| {
                    let now = network.take().expect("put back after every step");
                    let loss = loss.forward(now.forward(images.clone()), labels.clone());
                    let grads = GradientsParams::from_grads(black_box(loss).backward(), &now);
                    network = Some(optimizer.step(0.001, now, grads));
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
