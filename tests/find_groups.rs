//! Channel groups of modules that name none: found by following their forward pass, and pruned.
#![cfg(feature = "train")]

mod common;

use std::collections::BTreeSet;

use burn::module::{Module, Param};
use burn::nn::conv::{Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm,
    LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::tensor::activation::{relu, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use common::{assert_close, noise, tensor, values};
use vwc_sdk::mapping::ConvLayer;
use vwc_sdk::models::{
    BlockOrder, ChannelGroup, Cnn8, Cnn8Config, Network, NetworkConfig, Parameters, ResNet20Config,
    Vgg13Config, conv_layers,
};
use vwc_sdk::prune::{FoundGroups, Ranking, find_groups, prune};
use vwc_sdk::quant::{Bits, WeightQuantizer};

fn device() -> Device {
    Device::default()
}

fn conv(inputs: usize, outputs: usize, side: usize) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [side, side])
        .with_padding(PaddingConfig2d::Same)
        .init(&device())
}

fn grouped(inputs: usize, outputs: usize, groups: usize) -> Conv2d {
    Conv2dConfig::new([inputs, outputs], [3, 3])
        .with_padding(PaddingConfig2d::Same)
        .with_groups(groups)
        .init(&device())
}

fn norm(channels: usize) -> BatchNorm {
    BatchNormConfig::new(channels).init(&device())
}

fn linear(inputs: usize, outputs: usize) -> Linear {
    LinearConfig::new(inputs, outputs).init(&device())
}

/// Other numbers in every parameter, variances above zero.
fn filled<M: Module>(module: M) -> M {
    let mut parameters = Parameters::of(&module);
    let all: Vec<(String, TensorData)> = (parameters.iter())
        .map(|(path, data)| (path.to_owned(), data.clone()))
        .collect();
    for (n, (path, data)) in all.into_iter().enumerate() {
        let shape = data.shape().clone();
        let values = noise(50 + n as u64, shape.num_elements());
        let values: Vec<f32> = (values.iter())
            .map(|&v| if path.ends_with("running_var") { 1.5 + v } else { v } as f32)
            .collect();
        parameters.insert(path, TensorData::new(values, shape));
    }
    parameters.put_into(module).unwrap()
}

/// The module with zeros in all that belongs to channels which are pruned.
fn masked<M: Module>(module: &M, groups: &FoundGroups, widths: &[usize]) -> M {
    let parameters = Parameters::of(module);
    let mut zeroed = parameters.clone();
    for (group, &width) in groups.iter().zip(widths) {
        let scores = Ranking::L1.scores(group, &parameters).unwrap();
        let kept = vwc_sdk::prune::keep_largest(&scores, width);
        for slice in &group.slices {
            let mut data = zeroed.values(&slice.path).unwrap().to_vec();
            let shape = zeroed.get(&slice.path).unwrap().shape().to_vec();
            let inner: usize = shape[slice.dim + 1..].iter().product();
            for channel in (0..group.channels).filter(|channel| !kept.contains(channel)) {
                for index in slice.indices(channel) {
                    for block in data.chunks_mut(shape[slice.dim] * inner) {
                        block[index * inner..][..inner].fill(0.0);
                    }
                }
            }
            zeroed.insert(slice.path.clone(), TensorData::new(data, shape));
        }
    }
    zeroed.put_into(module.valid()).unwrap()
}

fn channels(groups: &FoundGroups) -> Vec<(&str, usize)> {
    groups
        .iter()
        .map(|group| (group.name.as_str(), group.channels))
        .collect()
}

/// Finds the groups, expects these, prunes to these widths and compares with the masked module.
fn pruned<M: Module, const D: usize, const E: usize>(
    module: M,
    shape: [usize; D],
    forward: impl Fn(&M, Tensor<D>) -> Tensor<E> + Copy,
    expected: &[(&str, usize)],
    widths: &[usize],
) -> M {
    let module = filled(module);
    let groups = find_groups(&module, shape, forward).unwrap();
    assert_eq!(channels(&groups), expected, "{groups}");
    let small = groups.prune(&module, widths, Ranking::L1, forward).unwrap();
    let mut batch = shape;
    batch[0] = 3;
    let x = tensor::<D>(&noise(9, batch.iter().product()), batch, &device());
    let found = values(&forward(&small, x.clone()));
    let expected = values(&forward(&masked(&module, &groups, widths), x));
    assert_close(&found, &expected, 1e-5, "pruned beside masked");
    small
}

#[derive(Module, Debug)]
struct Residual {
    stem: Conv2d,
    inner: Conv2d,
    norm: BatchNorm,
    outer: Conv2d,
    down: Conv2d,
    head: Linear,
}

impl Residual {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.stem.forward(x);
        let y = relu(self.norm.forward(self.inner.forward(x.clone())));
        let x = relu(self.outer.forward(y) + x);
        let x = relu(self.down.forward(x)).mean_dim(2).mean_dim(3);
        self.head.forward(x.flatten(1, 3))
    }
}

#[test]
fn additions_tie_channels_together() {
    let net = Residual {
        stem: conv(3, 6, 3),
        inner: conv(6, 5, 3),
        norm: norm(5),
        outer: conv(5, 6, 3),
        down: conv(6, 7, 1),
        head: linear(7, 4),
    };
    let expected = [("stem + outer", 6), ("inner", 5), ("down", 7)];
    let small = pruned(net, [1, 3, 8, 8], Residual::forward, &expected, &[4, 2, 3]);
    assert_eq!(small.outer.weight.dims(), [4, 2, 3, 3]);
    assert_eq!(small.norm.gamma.dims(), [2]);
    assert_eq!(small.head.weight.dims(), [3, 4]);
}

#[derive(Module, Debug)]
struct Dense {
    stem: Conv2d,
    layers: Vec<Conv2d>,
    norm: BatchNorm,
    last: Conv2d,
}

impl Dense {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut x = self.stem.forward(x);
        for layer in &self.layers {
            x = Tensor::cat(vec![x.clone(), relu(layer.forward(x))], 1);
        }
        self.last.forward(relu(self.norm.forward(x)))
    }
}

#[test]
fn concatenations_keep_channels_apart() {
    let net = Dense {
        stem: conv(3, 4, 3),
        layers: vec![conv(4, 3, 3), conv(7, 2, 3)],
        norm: norm(9),
        last: conv(9, 2, 1),
    };
    let expected = [("stem", 4), ("layers.0", 3), ("layers.1", 2)];
    let small = pruned(net, [1, 3, 6, 6], Dense::forward, &expected, &[3, 1, 2]);
    assert_eq!(small.layers[1].weight.dims(), [2, 4, 3, 3]);
    assert_eq!(small.last.weight.dims(), [2, 6, 1, 1]);
}

#[derive(Module, Debug)]
struct Inception {
    stem: Conv2d,
    narrow: Conv2d,
    squeeze: Conv2d,
    wide: Conv2d,
    pooled: Conv2d,
    head: Linear,
}

impl Inception {
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem.forward(x));
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([1, 1])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
            .init();
        let branches = vec![
            self.narrow.forward(x.clone()),
            self.wide.forward(relu(self.squeeze.forward(x.clone()))),
            self.pooled.forward(pool.forward(x)),
        ];
        let x = relu(Tensor::cat(branches, 1));
        let x = AdaptiveAvgPool2dConfig::new([2, 2]).init().forward(x);
        self.head.forward(x.flatten(1, 3))
    }
}

#[test]
fn branches_are_followed_and_maps_flattened() {
    let net = Inception {
        stem: conv(3, 5, 3),
        narrow: conv(5, 3, 1),
        squeeze: conv(5, 4, 1),
        wide: conv(4, 4, 3),
        pooled: conv(5, 2, 1),
        head: linear(9 * 4, 3),
    };
    let expected = [
        ("stem", 5),
        ("narrow", 3),
        ("squeeze", 4),
        ("wide", 4),
        ("pooled", 2),
    ];
    let small = pruned(net, [1, 3, 8, 8], Inception::forward, &expected, &[3, 2, 3, 1, 2]);
    assert_eq!(small.head.weight.dims(), [5 * 4, 3]);
}

#[derive(Module, Debug)]
struct Separable {
    stem: Conv2d,
    depthwise: Conv2d,
    norm: BatchNorm,
    pointwise: Conv2d,
    head: Linear,
}

impl Separable {
    fn new(stem: usize, multiplier: usize, pointwise: usize) -> Self {
        Self {
            stem: conv(3, stem, 3),
            depthwise: grouped(stem, multiplier * stem, stem),
            norm: norm(multiplier * stem),
            pointwise: conv(multiplier * stem, pointwise, 1),
            head: linear(pointwise, 4),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.norm.forward(self.depthwise.forward(self.stem.forward(x)));
        let x = relu(self.pointwise.forward(relu(x)));
        self.head.forward(x.mean_dim(2).mean_dim(3).flatten(1, 3))
    }
}

#[test]
fn depthwise_convolutions_go_with_what_they_read() {
    let net = filled(Separable::new(5, 2, 6));
    let groups = find_groups(&net, [1, 3, 8, 8], Separable::forward).unwrap();
    assert_eq!(
        channels(&groups),
        [("stem + depthwise", 5), ("pointwise", 6)],
        "{groups}"
    );
    let widths = [3, 4];
    // Its number of groups is not among its parameters.
    let error = groups
        .prune(&net, &widths, Ranking::L1, Separable::forward)
        .unwrap_err();
    assert!(error.to_string().contains("prune_into"), "{error}");
    let small = groups
        .prune_into(&net, Separable::new(3, 2, 4), &widths, Ranking::L1)
        .unwrap();
    let x = tensor::<4>(&noise(9, 2 * 3 * 64), [2, 3, 8, 8], &device());
    let expected = masked(&net, &groups, &widths).forward(x.clone());
    assert_close(
        &values(&small.forward(x)),
        &values(&expected),
        1e-5,
        "pruned beside masked",
    );
    let error = groups
        .prune_into(&net, Separable::new(3, 2, 5), &widths, Ranking::L1)
        .unwrap_err();
    assert!(error.to_string().contains("pointwise.weight"), "{error}");
}

#[derive(Module, Debug)]
struct Grouped {
    stem: Conv2d,
    conv: Conv2d,
    up: ConvTranspose2d,
    last: Conv2d,
}

impl Grouped {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = relu(self.conv.forward(relu(self.stem.forward(x))));
        self.last.forward(sigmoid(self.up.forward(x)))
    }
}

#[test]
fn groups_stay_as_wide_as_each_other() {
    let net = Grouped {
        stem: conv(3, 6, 3),
        conv: grouped(6, 8, 2),
        up: ConvTranspose2dConfig::new([8, 5], [2, 2])
            .with_stride([2, 2])
            .init(&device()),
        last: conv(5, 2, 1),
    };
    let expected = [("stem", 3), ("conv", 4), ("up", 5)];
    let small = pruned(net, [1, 3, 6, 6], Grouped::forward, &expected, &[2, 3, 4]);
    assert_eq!(small.stem.weight.dims(), [4, 3, 3, 3]);
    assert_eq!(small.conv.weight.dims(), [6, 2, 3, 3]);
    assert_eq!(small.up.weight.dims(), [6, 4, 2, 2]);
}

#[derive(Module, Debug)]
struct Shared {
    stem: Conv2d,
    again: Conv2d,
    gate: Conv2d,
    scale: Param<Tensor<1>>,
    last: Conv1d,
}

impl Shared {
    /// A layer that is used twice, halves that gate each other, and a map that becomes a sequence.
    fn forward(&self, x: Tensor<4>) -> Tensor<3> {
        let x = relu(self.stem.forward(x));
        let x = self.again.forward(relu(self.again.forward(x)));
        let [batch, _, height, width] = x.dims();
        let halves = self
            .gate
            .forward(x * self.scale.val().reshape([1, -1, 1, 1]))
            .chunk(2, 1);
        let gated = halves[0].clone() * sigmoid(halves[1].clone());
        let channels = gated.dims()[1];
        self.last
            .forward(gated.reshape([batch, channels, height * width]))
    }
}

#[test]
fn shared_layers_gates_and_sequences_are_followed() {
    let net = Shared {
        stem: conv(2, 5, 3),
        again: conv(5, 5, 3),
        gate: conv(5, 8, 1),
        scale: Param::from_tensor(Tensor::ones([5], &device())),
        last: Conv1dConfig::new(4, 3, 3).init(&device()),
    };
    let expected = [("stem + again", 5), ("gate", 4)];
    let small = pruned(net, [1, 2, 4, 4], Shared::forward, &expected, &[3, 2]);
    assert_eq!(small.again.weight.dims(), [3, 3, 3, 3]);
    assert_eq!(small.gate.weight.dims(), [4, 3, 1, 1]);
    assert_eq!(small.last.weight.dims(), [3, 2, 3]);
}

#[derive(Module, Debug)]
struct Transformed {
    words: Embedding,
    norm: LayerNorm,
    up: Linear,
    down: Linear,
    head: Linear,
}

impl Transformed {
    fn forward(&self, x: Tensor<2>) -> Tensor<3> {
        let x = self.words.forward(x.int());
        let y = self
            .down
            .forward(relu(self.up.forward(self.norm.forward(x.clone()))));
        self.head.forward(x + y)
    }
}

#[test]
fn linear_layers_embeddings_and_layer_norms_are_followed() {
    let net = filled(Transformed {
        words: EmbeddingConfig::new(11, 6).init(&device()),
        norm: LayerNormConfig::new(6).init(&device()),
        up: linear(6, 9),
        down: linear(9, 6),
        head: linear(6, 2),
    });
    let groups = find_groups(&net, [1, 5], Transformed::forward).unwrap();
    assert_eq!(channels(&groups), [("words + down", 6), ("up", 9)], "{groups}");
    let text = groups.to_string();
    assert!(
        text.contains("words.weight [0]: 11 channels, by the entries of an embedding"),
        "{text}"
    );
    assert!(
        text.contains("head.weight [1]: 2 channels, by the output"),
        "{text}"
    );
    // A norm over channels is taken over those that are left, so that it is no longer the masked module's.
    let small = groups
        .prune(&net, &[6, 4], Ranking::L1, Transformed::forward)
        .unwrap();
    let x = Tensor::<1, Int>::arange(0..10, &device()).float().reshape([2, 5]);
    let expected = masked(&net, &groups, &[6, 4]).forward(x.clone());
    assert_close(
        &values(&small.forward(x.clone())),
        &values(&expected),
        1e-5,
        "pruned beside masked",
    );
    let small = groups
        .prune(&net, &[4, 9], Ranking::L2, Transformed::forward)
        .unwrap();
    assert_eq!(small.norm.gamma.dims(), [4]);
    assert!(values(&small.forward(x)).iter().all(|v| v.is_finite()));
}

#[derive(Module, Debug)]
struct GroupNormed {
    stem: Conv2d,
    norm: GroupNorm,
    last: Conv2d,
}

impl GroupNormed {
    fn new(channels: usize) -> Self {
        Self {
            stem: conv(3, channels, 3),
            norm: GroupNormConfig::new(2, channels).init(&device()),
            last: conv(channels, 2, 1),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last.forward(relu(self.norm.forward(self.stem.forward(x))))
    }
}

#[test]
fn group_norms_lose_as_many_channels_in_each_group() {
    let net = filled(GroupNormed::new(8));
    let groups = find_groups(&net, [1, 3, 4, 4], GroupNormed::forward).unwrap();
    assert_eq!(channels(&groups), [("stem", 4)], "{groups}");
    let small = groups
        .prune_into(&net, GroupNormed::new(6), &[3], Ranking::L1)
        .unwrap();
    let x = tensor::<4>(&noise(9, 96), [2, 3, 4, 4], &device());
    assert!(values(&small.forward(x)).iter().all(|v| v.is_finite()));
}

#[test]
fn what_cannot_be_followed_is_named() {
    let one = |outputs| conv(3, outputs, 1);
    // At a fixed place.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| net[1].forward(net[0].forward(x).slice([0..1, 0..3]));
    let groups = find_groups(&vec![one(5), one(2)], [1, 3, 4, 4], forward).unwrap();
    assert!(groups.is_empty());
    assert!(
        groups
            .to_string()
            .contains("5 channels, by a slice at a fixed place"),
        "{groups}"
    );
    // A softmax over channels.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| net[1].forward(softmax(net[0].forward(x), 1));
    let groups = find_groups(&vec![conv(3, 5, 1), conv(5, 2, 1)], [1, 3, 4, 4], forward).unwrap();
    assert!(
        groups
            .to_string()
            .contains("5 channels, by a softmax over channels"),
        "{groups}"
    );
    // An operation that mixes channels as it likes.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| net[1].forward(net[0].forward(x).sort(1));
    let error = find_groups(&vec![conv(3, 5, 1), conv(5, 2, 1)], [1, 3, 4, 4], forward).unwrap_err();
    assert!(
        error.to_string().contains("the operation Sort is not understood"),
        "{error}"
    );
    // A forward pass that panics.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| net[7].forward(x);
    let error = find_groups(&vec![one(5)], [1, 3, 4, 4], forward).unwrap_err();
    assert!(error.to_string().contains("cannot be recorded"), "{error}");
    // A reshape to a number that was written down.
    let forward =
        |net: &(Conv2d, Linear), x: Tensor<4>| net.1.forward(net.0.forward(x).reshape([-1, 5 * 16]));
    let net = (conv(3, 5, 1), linear(5 * 16, 2));
    let groups = find_groups(&net, [1, 3, 4, 4], forward).unwrap();
    assert_eq!(channels(&groups), [("0", 5)]);
    let error = groups.prune(&net, &[4], Ranking::L1, forward).unwrap_err();
    assert!(error.to_string().contains("prune_into"), "{error}");
    for (widths, part) in [
        (vec![0], "between 1 and 5"),
        (vec![6], "between 1 and 5"),
        (vec![], "1 widths"),
    ] {
        let error = groups.prune(&net, &widths, Ranking::L1, forward).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}

/// The slices of a group, whatever their order.
fn slices(group: &ChannelGroup) -> BTreeSet<(String, usize, Vec<Vec<usize>>)> {
    let of = group.slices.iter().map(|slice| {
        let indices = (0..group.channels)
            .map(|channel| slice.indices(channel))
            .collect();
        (slice.path.clone(), slice.dim, indices)
    });
    of.collect()
}

/// The groups that a network declares are found, and others only in linear layers, whose widths no array chooses.
fn declared_are_found<C: NetworkConfig>(config: &C, others: &[&str]) {
    let network = filled(config.init(&device()));
    let [height, width] = C::INPUT;
    let forward = |network: &C::Network, x: Tensor<4>| network.forward(x);
    let found = find_groups(&network, [1, 3, height, width], forward).unwrap();
    let declared = network.channel_groups();
    for group in &declared {
        let same = found.iter().find(|found| slices(found) == slices(group));
        let same = same.unwrap_or_else(|| panic!("{}: {} is not found in\n{found}", C::NAME, group.name));
        let of = |group: &ChannelGroup| {
            group
                .ranked_by
                .iter()
                .map(|s| s.path.clone())
                .collect::<BTreeSet<_>>()
        };
        assert_eq!(of(same), of(group), "{}", C::NAME);
    }
    let rest = found
        .iter()
        .filter(|found| declared.iter().all(|group| slices(found) != slices(group)));
    assert_eq!(
        rest.map(|group| group.name.as_str()).collect::<Vec<_>>(),
        others,
        "{found}"
    );

    // And pruned alike.
    let widths: Vec<usize> = config.widths().iter().map(|width| width - 1).collect();
    let expected = prune(&network, config, &widths, Ranking::L1).unwrap().network;
    let found_widths: Vec<usize> = (found.iter())
        .map(
            |found| match declared.iter().position(|group| slices(found) == slices(group)) {
                Some(group) => widths[group],
                None => found.channels,
            },
        )
        .collect();
    let small = found
        .prune(&network, &found_widths, Ranking::L1, forward)
        .unwrap();
    let (small, expected) = (Parameters::of(&small), Parameters::of(&expected));
    for ((path, found), (_, expected)) in small.iter().zip(expected.iter()) {
        assert_eq!(found, expected, "{}: {path}", C::NAME);
    }
}

#[test]
fn our_own_networks_have_the_groups_that_they_declare() {
    for quantized in [true, false] {
        let cnn8 = Cnn8Config::new().with_widths([4, 5, 6, 7, 5, 6, 8]);
        declared_are_found(&cnn8.with_quantized(quantized), &[]);
        for order in [BlockOrder::Original, BlockOrder::PreActivation] {
            let resnet20 = ResNet20Config::new().with_widths([3, 4, 5]).with_order(order);
            declared_are_found(&resnet20.with_quantized(quantized), &[]);
        }
        let vgg13 = Vgg13Config::new()
            .with_widths([3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
            .with_hidden([6, 7]);
        declared_are_found(&vgg13.with_quantized(quantized), &["hidden.0", "hidden.1"]);
    }
}

#[test]
fn convolutions_are_found_for_the_mapper() {
    let net = Cnn8Config::new().init(&device());
    let found = conv_layers(&net, [1, 3, 40, 40], |net: &Cnn8, x: Tensor<4>| net.forward(x)).unwrap();
    for ((found, expected), n) in found.iter().zip(net.conv_layers()).zip(0..) {
        assert_eq!(found.name, format!("convs.{n}"));
        let named = ConvLayer {
            name: expected.name.clone(),
            ..found.clone()
        };
        assert_eq!(named, expected);
    }
    assert_eq!(found.len(), 7);
}

#[test]
fn quantised_weights_are_followed_to_the_latent_ones() {
    let net = filled(Separable::new(4, 1, 6));
    for quantizer in [
        WeightQuantizer::new(Bits::ONE),
        WeightQuantizer::xnor(),
        WeightQuantizer::lsq(Bits::TWO),
    ] {
        let net = net.clone().apply_reparameterization(quantizer);
        let groups = find_groups(&net, [1, 3, 8, 8], Separable::forward).unwrap();
        let expected = [("stem + depthwise", 4), ("pointwise", 6)];
        assert_eq!(channels(&groups), expected, "{quantizer}: {groups}");
        let small = groups
            .prune(&net, &[4, 3], Ranking::L1, Separable::forward)
            .unwrap();
        assert_eq!(small.pointwise.weight.base().dims(), [3, 4, 1, 1]);
        assert_eq!(small.head.weight.val().dims(), [3, 4]);
    }
}

#[test]
fn groups_are_of_the_module_that_they_were_found_in() {
    let device = Device::default();
    let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
    let of = |width| vec![conv([3, width]), conv([width, 4])];
    let forward = |convs: &Vec<Conv2d>, x: Tensor<4>| convs.iter().fold(x, |x, conv| conv.forward(x));
    let groups = find_groups(&of(6), [1, 3, 8, 8], forward).unwrap();
    for width in [5, 7] {
        let error = groups.prune(&of(width), &[4], Ranking::L1, forward).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("0.bias") && error.contains("find those of this module"),
            "{error}"
        );
    }
}
