//! Forward and backward of single quantised convolutions, activation and weight quantiser included: every shape of
//! ResNet-20 at widths 16 and 64 with 2-bit weights and activations, and of CNN-8 with 1-bit ones.
//!
//! ```text
//! cargo bench --bench layers
//! cargo bench --bench layers -- 'resnet20-16'
//! ```
//!
//! `benches/peers/ratios.py` runs these in turn with the same layers in PyTorch. `composed` is the same layer out of
//! Burn's own operations.

use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vwc_sdk::quant::{
    Activation, Bits, QuantConv2dConfig, WeightQuantizer, composed, composed_block, norm_pool_act,
};

const BATCH: usize = 128;

struct Layer {
    side: usize,
    channels: [usize; 2],
    kernel: usize,
    stride: usize,
    padding: usize,
}

const fn layer(
    side: usize,
    inputs: usize,
    outputs: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
) -> Layer {
    Layer {
        side,
        channels: [inputs, outputs],
        kernel,
        stride,
        padding,
    }
}

fn resnet20(width: usize) -> Vec<Layer> {
    vec![
        layer(32, width, width, 3, 1, 1),
        layer(32, width, 2 * width, 3, 2, 1),
        layer(16, 2 * width, 2 * width, 3, 1, 1),
        layer(16, 2 * width, 4 * width, 3, 2, 1),
        layer(8, 4 * width, 4 * width, 3, 1, 1),
    ]
}

fn cnn8() -> Vec<Layer> {
    vec![
        layer(18, 24, 32, 3, 1, 1),
        layer(18, 32, 32, 3, 1, 1),
        layer(9, 32, 64, 3, 1, 0),
        layer(7, 64, 64, 3, 1, 1),
        layer(7, 64, 64, 3, 1, 0),
        layer(5, 64, 256, 5, 1, 0),
    ]
}

fn layers(c: &mut Criterion) {
    let device = Device::default().autodiff();
    for (network, layers, bits) in [
        ("resnet20-16", resnet20(16), 2),
        ("resnet20-64", resnet20(64), 2),
        ("cnn8", cnn8(), 1),
    ] {
        let mut group = c.benchmark_group(network);
        group.sample_size(10);
        group.throughput(Throughput::Elements(BATCH as u64));
        let bits = Bits::new(bits).expect("a bit width");
        let act = Activation::quantized(bits);
        for layer in layers {
            let [inputs, outputs] = layer.channels;
            let conv = QuantConv2dConfig::new([inputs, outputs], [layer.kernel; 2])
                .with_stride([layer.stride; 2])
                .with_padding([layer.padding; 2])
                .with_quantizer(WeightQuantizer::dorefa(bits))
                .with_input_bits(Some(bits))
                .init(&device);
            let shape = [BATCH, inputs, layer.side, layer.side];
            let x = Tensor::<4>::random(shape, Distribution::Uniform(0.0, 1.0), &device).require_grad();
            let name = format!(
                "{inputs}to{outputs}-{}x{}-side{}-stride{}-padding{}",
                layer.kernel, layer.kernel, layer.side, layer.stride, layer.padding
            );
            group.bench_function(BenchmarkId::new("kernels", &name), |bencher| {
                bencher.iter(|| {
                    conv.forward(norm_pool_act(x.clone(), None, false, &act))
                        .backward()
                });
            });
            group.bench_function(BenchmarkId::new("composed", &name), |bencher| {
                bencher.iter(|| {
                    let weight = composed::quantize_weight(conv.weight.val(), bits);
                    let x = composed_block::norm_pool_act(x.clone(), None, false, &act);
                    composed_block::conv2d(x, weight, None, conv.stride, conv.padding).backward()
                });
            });
        }
        group.finish();
    }
}

criterion_group!(benches, layers);
criterion_main!(benches);
