//! Forward and backward of MobileNet-V2: depthwise layers, inverted residual blocks, and a training step of the whole network, in
//! W4A4 by learned steps and in floats; and a step of ResNet-20 of plain Burn layers, quantised by a plan for its graph.
//!
//! ```text
//! cargo bench --bench mobilenet
//! cargo bench --bench mobilenet -- 'depthwise'
//! ```
//!
//! `benches/peers/ratios.py mobilenet` runs these in turn with the same work in PyTorch. `burn` is the same layer by Burn's own
//! convolution.

use std::hint::black_box;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, PaddingConfig2d};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::activation::relu;
use burn::tensor::{Device, Distribution, Int, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vwc_sdk::graph::{Graph, Sketch, presets};
use vwc_sdk::models::{GraphNetConfig, Network, NetworkConfig};
use vwc_sdk::quant::{
    Activation, Bits, QuantInput, QuantInputConfig, WeightQuantizer, convolve, norm_pool_act,
};
use vwc_sdk::train::Adam;

const BATCH: usize = 64;

/// A convolution, what it reads in 4 bits or as it is, and its batch norm.
#[derive(Module, Debug)]
struct Part {
    input: QuantInput,
    conv: Conv2d,
    norm: BatchNorm,
}

impl Part {
    fn new(
        bits: u8,
        signed: bool,
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
        device: &Device,
    ) -> Self {
        let bits = Bits::new(bits).expect("a bit width");
        let side = kernel / 2;
        let conv = Conv2dConfig::new(channels, [kernel; 2])
            .with_stride([stride; 2])
            .with_padding(PaddingConfig2d::Explicit(side, side, side, side))
            .with_groups(groups)
            .with_bias(false)
            .init(device);
        Self {
            input: QuantInputConfig::new(bits).with_signed(signed).init(device),
            conv: conv.apply_reparameterization(WeightQuantizer::lsq(bits)),
            norm: BatchNormConfig::new(channels[1]).init(device),
        }
    }

    fn convolved(&self, x: Tensor<4>) -> Tensor<4> {
        convolve(&self.conv, self.input.forward(x))
    }

    fn forward(&self, x: Tensor<4>, relu6: bool) -> Tensor<4> {
        let act = if relu6 {
            Activation::relu6()
        } else {
            Activation::identity()
        };
        norm_pool_act(self.convolved(x), Some(&self.norm), false, &act)
    }
}

/// The sum of all numbers, in the order that our kernels leave them in.
fn total(maps: Tensor<4>) -> Tensor<1> {
    maps.permute([0, 2, 3, 1]).sum()
}

fn pictures(channels: usize, side: usize, device: &Device) -> Tensor<4> {
    let shape = [BATCH, channels, side, side];
    Tensor::random(shape, Distribution::Uniform(0.0, 3.0), device).require_grad()
}

fn depthwise(c: &mut Criterion) {
    let device = Device::default().autodiff();
    let mut group = c.benchmark_group("depthwise");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for bits in [4, 32] {
        for (side, stride) in [(32, 1), (32, 2), (14, 1)] {
            let part = Part::new(bits, false, [96, 96], 3, stride, 96, &device);
            let x = pictures(96, side, &device);
            let name = format!("W{bits}A{bits}-96-side{side}-stride{stride}");
            group.bench_function(BenchmarkId::new("kernels", &name), |bencher| {
                bencher.iter(|| total(part.convolved(x.clone())).backward());
            });
            group.bench_function(BenchmarkId::new("burn", &name), |bencher| {
                bencher.iter(|| part.conv.forward(part.input.forward(x.clone())).sum().backward());
            });
        }
    }
    group.finish();
}

fn block(c: &mut Criterion) {
    let device = Device::default().autodiff();
    let mut group = c.benchmark_group("block");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    for bits in [4, 32] {
        for (channels, side) in [(24, 32), (64, 14), (160, 7)] {
            let wide = 6 * channels;
            let parts = [
                Part::new(bits, true, [channels, wide], 1, 1, 1, &device),
                Part::new(bits, false, [wide, wide], 3, 1, wide, &device),
                Part::new(bits, false, [wide, channels], 1, 1, 1, &device),
            ];
            let x = pictures(channels, side, &device);
            let name = format!("W{bits}A{bits}-{channels}-side{side}");
            group.bench_function(BenchmarkId::new("kernels", &name), |bencher| {
                bencher.iter(|| {
                    let [expand, filter, project] = &parts;
                    let wide = filter.forward(expand.forward(x.clone(), true), true);
                    total(project.forward(wide, false) + x.clone()).backward()
                });
            });
        }
    }
    group.finish();
}

/// Two convolutions, and one beside them where channels and places become others.
#[derive(Module, Debug)]
struct Residual {
    convs: Vec<Conv2d>,
    norms: Vec<BatchNorm>,
}

/// ResNet-20 of 16, 32 and 64 channels.
#[derive(Module, Debug)]
struct ResNet20 {
    stem: Conv2d,
    norm: BatchNorm,
    blocks: Vec<Residual>,
    head: Linear,
}

impl ResNet20 {
    fn new(device: &Device) -> Self {
        let norm = |channels| BatchNormConfig::new(channels).init(device);
        let conv = |channels, kernel: usize, stride: usize| {
            let side = kernel / 2;
            Conv2dConfig::new(channels, [kernel; 2])
                .with_stride([stride; 2])
                .with_padding(PaddingConfig2d::Explicit(side, side, side, side))
                .with_bias(false)
                .init(device)
        };
        let mut blocks = Vec::new();
        let mut inputs = 16;
        for outputs in [16, 16, 16, 32, 32, 32, 64, 64, 64] {
            let stride = outputs / inputs;
            let mut block = Residual {
                convs: vec![conv([inputs, outputs], 3, stride), conv([outputs, outputs], 3, 1)],
                norms: vec![norm(outputs), norm(outputs)],
            };
            if stride > 1 {
                block.convs.push(conv([inputs, outputs], 1, stride));
                block.norms.push(norm(outputs));
            }
            blocks.push(block);
            inputs = outputs;
        }
        Self {
            stem: conv([3, 16], 3, 1),
            norm: norm(16),
            blocks,
            head: LinearConfig::new(64, 10).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = relu(self.norm.forward(self.stem.forward(x)));
        for Residual { convs, norms } in &self.blocks {
            let layer = |n: usize, x| norms[n].forward(convs[n].forward(x));
            let y = layer(1, relu(layer(0, x.clone())));
            let beside = if convs.len() > 2 { layer(2, x) } else { x };
            x = relu(y + beside);
        }
        self.head.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3))
    }
}

fn step(c: &mut Criterion) {
    let device = Device::default().autodiff();
    let mut group = c.benchmark_group("step");
    group.sample_size(10);
    group.throughput(Throughput::Elements(BATCH as u64));
    let sketch = presets::sketch("mobilenet-v2").expect("it is there");
    let mobilenet = GraphNetConfig::new("mobilenet-v2", sketch).expect("a classifier");
    let plain = ResNet20::new(&Device::default());
    let graph = Graph::of(&plain, [1, 3, 32, 32], ResNet20::forward).expect("it is recorded");
    let resnet = GraphNetConfig::new("resnet20", Sketch::of(&graph)).expect("a classifier");
    let labels: Vec<i64> = (0..BATCH as i64).map(|n| n % 10).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
    let loss = CrossEntropyLossConfig::new().init(&device);
    let works = [(&mobilenet, "side32"), (&resnet, "resnet20")];
    for ((config, name), bits) in works
        .into_iter()
        .flat_map(|work| [4, 32].map(|bits| (work, bits)))
    {
        let width = Bits::new(bits).expect("a bit width");
        device.seed(0);
        let network = config.init(&device);
        let network = match bits {
            32 => network,
            _ => network.quantized(width, width).expect("in full precision"),
        };
        let shape = [BATCH, 3, 32, 32];
        let images = Tensor::<4>::random(shape, Distribution::Uniform(-1.0, 1.0), &device);
        let mut optimizer = ModuleOptimizer::from(Adam::new());
        let mut network = Some(network);
        group.bench_function(
            BenchmarkId::new("kernels", format!("W{bits}A{bits}-{name}")),
            |bencher| {
                bencher.iter(|| {
                    let net = network.take().expect("put back after every step");
                    let loss = loss.forward(net.forward(images.clone()), labels.clone());
                    let grads = GradientsParams::from_grads(black_box(loss).backward(), &net);
                    network = Some(optimizer.step(0.001, net, grads));
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, depthwise, block, step);
criterion_main!(benches);
