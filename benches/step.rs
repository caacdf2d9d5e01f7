//! One training step of CNN-8: forward, loss, backward, Adam.
//!
//! ```text
//! cargo bench --bench step
//! cargo bench --bench step -- 'W1A1/512'
//! ```
//!
//! Throughput is in pictures. `benches/peers/ratios.py` runs this in turn with the same step in PyTorch.

mod common;

use burn::tensor::Device;
use common::BareStep;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vwc_sdk::models::{Cnn8Config, NetworkConfig};
use vwc_sdk::quant::Bits;

fn step(c: &mut Criterion) {
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
                let mut step = BareStep::new(&config, batch as usize, &Device::default());
                bencher.iter(|| step.run());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
