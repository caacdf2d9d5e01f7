//! Channel groups of modules that name none: found by following their forward pass, and pruned.
#![cfg(feature = "train")]

mod common;
#[path = "common/draw.rs"]
mod draw;
#[path = "find_groups/drawn.rs"]
mod drawn;
#[path = "common/masked.rs"]
mod masked;

use std::collections::BTreeSet;

use burn::module::{Lora, Module, Param};
use burn::nn::conv::{
    Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, Conv3d, Conv3dConfig, ConvTranspose1d, ConvTranspose1dConfig,
    ConvTranspose2d, ConvTranspose2dConfig, DeformConv2d, DeformConv2dConfig,
};
use burn::nn::pool::{AdaptiveAvgPool2dConfig, MaxPool2dConfig};
use burn::nn::{
    BatchNorm, BatchNormConfig, Embedding, EmbeddingConfig, GroupNorm, GroupNormConfig, LayerNorm,
    LayerNormConfig, Linear, LinearConfig, PaddingConfig2d,
};
use burn::tensor::activation::{relu, sigmoid, softmax};
use burn::tensor::module::conv2d;
use burn::tensor::ops::{ConvOptions, PadMode};
use burn::tensor::{Device, Int, Tensor, TensorData, s};
use common::{assert_close, noise, tensor, values};
use masked::masked;
use vwc_sdk::graph::presets;
use vwc_sdk::mapping::channels::network_rounds;
use vwc_sdk::mapping::{self, ConvLayer, MappingConfig, MappingError, PimArray, Tie, WidthLimits};
use vwc_sdk::models::{
    BlockOrder, Cnn8, Cnn8Config, FullPrecision, Network, NetworkConfig, ResNet20Config, Vgg13Config,
};
use vwc_sdk::module::{ChannelGroup, Parameters, conv_layers};
use vwc_sdk::prune::{FoundGroups, Ranking, Ratio, find_groups, groups_of, prune};
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
        .prune_into(
            &net,
            Separable::new(3, 2, 4),
            &widths,
            Ranking::L1,
            Separable::forward,
        )
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
        .prune_into(
            &net,
            Separable::new(3, 2, 5),
            &widths,
            Ranking::L1,
            Separable::forward,
        )
        .unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("pointwise.weight: it is [4, 6, 1, 1], and [5, 6, 1, 1]"),
        "{error}"
    );
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
struct Unfolding {
    stem: Conv2d,
    up: ConvTranspose2d,
    last: Conv2d,
}

impl Unfolding {
    fn new(stem: usize, multiple: usize) -> Self {
        Self {
            stem: conv(3, stem, 3),
            up: ConvTranspose2dConfig::new([stem, multiple * stem], [2, 2])
                .with_stride([2, 2])
                .with_groups(stem)
                .init(&device()),
            last: conv(multiple * stem, 2, 1),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.last
            .forward(relu(self.up.forward(relu(self.stem.forward(x)))))
    }
}

#[test]
fn transposed_depthwise_convolutions_go_with_what_they_read() {
    for multiple in [1, 3] {
        let net = filled(Unfolding::new(5, multiple));
        let groups = find_groups(&net, [1, 3, 4, 4], Unfolding::forward).unwrap();
        assert_eq!(channels(&groups), [("stem + up", 5)], "{groups}");
        let error = groups.prune(&net, &[3], Ranking::L1, Unfolding::forward);
        assert!(error.unwrap_err().to_string().contains("prune_into"));
        let small = groups
            .prune_into(
                &net,
                Unfolding::new(3, multiple),
                &[3],
                Ranking::L1,
                Unfolding::forward,
            )
            .unwrap();
        let x = tensor::<4>(&noise(9, 96), [2, 3, 4, 4], &device());
        let expected = masked(&net, &groups, &[3]).forward(x.clone());
        assert_close(
            &values(&small.forward(x)),
            &values(&expected),
            1e-5,
            "pruned beside masked",
        );
    }
}

#[derive(Module, Debug)]
struct Shuffled {
    stem: Conv2d,
    wide: Conv2d,
    norm: BatchNorm,
    last: Conv2d,
}

impl Shuffled {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.wide.forward(relu(self.stem.forward(x)));
        let [batch, channels, height, width] = x.dims();
        let x = x.reshape([batch, channels / 4, 2, 2, height, width]);
        let x = x.permute([0, 1, 4, 2, 5, 3]);
        let x = x.reshape([batch, channels / 4, 2 * height, 2 * width]);
        self.last.forward(relu(self.norm.forward(x)))
    }
}

#[test]
fn four_channels_that_a_pixel_shuffle_makes_one_go_together() {
    let net = Shuffled {
        stem: conv(3, 5, 3),
        wide: conv(5, 6 * 4, 3),
        norm: norm(6),
        last: conv(6, 2, 3),
    };
    let expected = [("stem", 5), ("wide", 6)];
    let small = pruned(net, [1, 3, 4, 4], Shuffled::forward, &expected, &[3, 4]);
    assert_eq!(small.wide.weight.dims(), [16, 3, 3, 3]);
    assert_eq!(small.last.weight.dims(), [2, 4, 3, 3]);

    // Nothing goes along them here, and what can do with a channel less tells.
    let forward = |net: &(Conv2d, Linear), x: Tensor<4>| {
        let x = relu(net.0.forward(x));
        let [batch, channels, height, width] = x.dims();
        let x = x.reshape([batch, channels / 4, 2, 2, height, width]);
        net.1
            .forward(x.permute([0, 1, 4, 2, 5, 3]).reshape([batch as i32, -1]))
    };
    let net = (conv(3, 5 * 4, 3), linear(5 * 4 * 16, 3));
    pruned(net, [1, 3, 4, 4], forward, &[("0", 5)], &[2]);
    // Channels that are shuffled with those of a group inside.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| {
        let x = net[0].forward(x);
        let [batch, channels, height, width] = x.dims();
        let x = x.reshape([batch, channels / 2, 2, height, width]).swap_dims(1, 2);
        let x = relu(net[1].forward(x.reshape([batch, channels, height, width])));
        net[2].forward(x)
    };
    let net = vec![conv(3, 8, 3), conv(8, 5, 3), conv(5, 2, 1)];
    pruned(net, [1, 3, 4, 4], forward, &[("0", 4), ("1", 5)], &[3, 4]);

    // With the channels of a picture in other places than those of a shuffle, a convolution goes along them.
    let forward = |net: &Vec<Conv2d>, x: Tensor<4>| net[1].forward(net[0].forward(x).swap_dims(1, 2));
    let groups = find_groups(&vec![conv(3, 4, 1), conv(4, 2, 3)], [1, 3, 4, 4], forward).unwrap();
    let text = groups.to_string();
    assert!(groups.is_empty(), "{text}");
    assert!(
        text.contains("4 channels, by a convolution or pool along them"),
        "{text}"
    );
}

#[derive(Module, Debug)]
struct Padded {
    stem: Conv2d,
    last: Conv2d,
    places: Param<Tensor<1>>,
}

impl Padded {
    /// Rows and columns that are put around, taken out by number, and compared with what is zero all over.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.stem.forward(x).pad([(1, 0), (0, 2)], PadMode::Constant(0.5));
        let x = x.clone().select(3, Tensor::from_data([4, 0, 2], &x.device()));
        let zeros = x.zeros_like().reshape([0, 0, -1]);
        let x = x.clone().max_pair(zeros.reshape(x.dims()));
        self.last.forward(x * self.places.val().reshape([1, 1, 1, -1]))
    }
}

#[test]
fn places_are_padded_and_chosen_and_zeros_are_of_any_width() {
    let net = Padded {
        stem: conv(3, 6, 3),
        last: conv(6, 2, 1),
        places: Param::from_tensor(Tensor::ones([3], &device())),
    };
    let small = pruned(net, [1, 3, 4, 4], Padded::forward, &[("stem", 6)], &[4]);
    assert_eq!(small.last.weight.dims(), [2, 4, 1, 1]);

    type Forward = fn(Tensor<4>) -> Tensor<4>;
    let of_channels: [(Forward, usize, &str); 5] = [
        (
            |x| x.pad([(2, 0), (0, 0), (0, 0)], PadMode::Constant(0.0)),
            7,
            "padding of channels",
        ),
        (
            |x| x.clone().select(1, Tensor::from_data([4, 1, 2], &x.device())),
            3,
            "a selection at fixed places",
        ),
        (|x| x.clone() * x.prod_dim(1), 5, "a product over channels"),
        (
            |x| x.clone() / x.prod().reshape([1, 1, 1, 1]),
            5,
            "a product over channels",
        ),
        (
            |x| x.clone() + Tensor::from_data([[[[1.0]], [[1.0]], [[1.0]], [[1.0]], [[1.0]]]], &x.device()),
            5,
            "an operand that is no parameter",
        ),
    ];
    for (middle, width, reason) in of_channels {
        let forward = move |net: &Vec<Conv2d>, x: Tensor<4>| net[1].forward(middle(net[0].forward(x)));
        let net = vec![conv(3, 5, 1), conv(width, 2, 1)];
        let groups = find_groups(&net, [1, 3, 4, 4], forward).unwrap();
        let fixed = groups
            .fixed()
            .iter()
            .any(|it| it.path == "0.weight" && it.dim == 0 && it.channels == 5 && it.reason == reason);
        assert!(fixed && groups.is_empty(), "{reason}:\n{groups}");
    }
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
        .prune_into(&net, GroupNormed::new(6), &[3], Ranking::L1, GroupNormed::forward)
        .unwrap();
    let x = tensor::<4>(&noise(9, 96), [2, 3, 4, 4], &device());
    // The norm is taken over the channels that are left, three of four in each group.
    let kept = vwc_sdk::prune::keep_largest(
        &Ranking::L1
            .scores(&groups.groups()[0], &Parameters::of(&net))
            .unwrap(),
        3,
    );
    let both: Vec<i64> = kept.iter().chain(&kept).map(|&n| n as i64).collect();
    let both: Vec<i64> = (both.iter().zip(0..))
        .map(|(n, at)| n + 4 * i64::from(at > 2))
        .collect();
    let both = Tensor::<1, Int>::from_data(both.as_slice(), &device());
    let y = net.stem.forward(x.clone()).select(1, both.clone());
    let mut norm = GroupNormConfig::new(2, 6).init(&device());
    let of = |vector: &Option<Param<Tensor<1>>>| {
        vector
            .as_ref()
            .map(|v| Param::from_tensor(v.val().select(0, both.clone())))
    };
    (norm.gamma, norm.beta) = (of(&net.norm.gamma), of(&net.norm.beta));
    let mut last = net.last.clone();
    last.weight = Param::from_tensor(net.last.weight.val().select(1, both.clone()));
    let expected = last.forward(relu(norm.forward(y)));
    assert_close(&values(&small.forward(x)), &values(&expected), 1e-5, "by hand");
}

#[test]
fn parts_repetitions_and_turned_channels_are_followed() {
    type Forward = fn(&Vec<Conv2d>, Tensor<4>) -> Tensor<4>;
    let halves: Forward = |net, x| {
        let halves = relu(net[0].forward(x)).chunk(2, 1);
        net[1].forward(halves[0].clone()) + net[2].forward(halves[1].clone())
    };
    let small = pruned(
        vec![conv(3, 8, 3), conv(4, 2, 1), conv(4, 2, 3)],
        [1, 3, 4, 4],
        halves,
        &[("0", 4)],
        &[3],
    );
    assert_eq!(small[2].weight.dims(), [2, 3, 3, 3]);
    let flipped: Forward = |net, x| net[1].forward(relu(net[0].forward(x)).flip([1]));
    let turned: Forward = |net, x| net[1].forward(relu(net[0].forward(x)).slice(s![.., ..;-1]));
    for forward in [flipped, turned] {
        pruned(
            vec![conv(3, 6, 3), conv(6, 2, 1)],
            [1, 3, 4, 4],
            forward,
            &[("0", 6)],
            &[3],
        );
    }
    let repeated: Forward = |net, x| net[1].forward(relu(net[0].forward(x)).repeat_dim(1, 2));
    let small = pruned(
        vec![conv(3, 5, 3), conv(10, 2, 1)],
        [1, 3, 4, 4],
        repeated,
        &[("0", 5)],
        &[3],
    );
    assert_eq!(small[1].weight.dims(), [2, 6, 1, 1]);
    // Every second one is at fixed places.
    let every_second: Forward = |net, x| net[1].forward(net[0].forward(x).slice(s![.., ..;2]));
    let groups = find_groups(&vec![conv(3, 6, 3), conv(3, 2, 1)], [1, 3, 4, 4], every_second).unwrap();
    assert!(groups.is_empty(), "{groups}");
    assert!(
        groups.to_string().starts_with("no channels can be pruned\n"),
        "{groups}"
    );
    // One channel has nothing to be pruned beside.
    let narrow: Forward = |net, x| net[1].forward(net[0].forward(x));
    let groups = find_groups(&vec![conv(3, 1, 3), conv(1, 2, 1)], [1, 3, 4, 4], narrow).unwrap();
    assert!(groups.is_empty(), "{groups}");
    assert!(
        groups
            .to_string()
            .contains("0.weight [0]: 1 channel, by being the only one"),
        "{groups}"
    );
}

#[test]
fn grouped_transposed_convolutions_lose_as_many_channels_in_each_group() {
    let net = Grouped {
        stem: conv(3, 6, 3),
        conv: conv(6, 8, 3),
        up: ConvTranspose2dConfig::new([8, 6], [2, 2])
            .with_stride([2, 2])
            .with_groups(2)
            .init(&device()),
        last: conv(6, 2, 1),
    };
    let expected = [("stem", 6), ("conv", 4), ("up", 3)];
    let small = pruned(net, [1, 3, 4, 4], Grouped::forward, &expected, &[5, 3, 2]);
    assert_eq!(small.up.weight.dims(), [6, 2, 2, 2]);
    assert_eq!(small.last.weight.dims(), [2, 4, 1, 1]);
}

#[derive(Module, Debug)]
struct Blurred {
    first: Conv2d,
    #[module(skip)]
    blur: Blur,
    last: Conv2d,
    aux: Conv2d,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Blur {
    /// Made for so many channels.
    Kept(usize),
    Uniform,
    Repeated,
}

impl Blurred {
    fn new(width: usize, blur: Blur) -> Self {
        Self {
            first: conv(3, width, 3),
            blur,
            last: conv(width, 2, 1),
            aux: conv(width, 4, 1),
        }
    }

    /// A depthwise convolution whose kernel is no parameter; a head that only training has; a gate that is spread out.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let gate = sigmoid(x.clone().mean_dim(1));
        let x = relu(self.first.forward(x));
        let (device, [batch, channels, height, width]) = (x.device(), x.dims());
        let row = Tensor::<4>::from_data([[[[1.0, 2.0, 1.0]]]], &device);
        let kernel = match self.blur {
            Blur::Kept(channels) => Tensor::from_data(
                TensorData::new(vec![0.5f32; 3 * channels], [channels, 1, 1, 3]),
                &device,
            ),
            Blur::Uniform => Tensor::ones([channels, 1, 1, 3], &device) / 3.0,
            Blur::Repeated => row.repeat_dim(0, channels),
        };
        let options = ConvOptions::new([1, 1], [0, 1], [1, 1], channels);
        let x = conv2d(x, kernel, None, options);
        self.last
            .forward(x * gate.expand([batch, channels, height, width]))
    }
}

#[test]
fn kernels_that_are_no_parameters_and_what_is_repeated_are_followed() {
    for blur in [Blur::Uniform, Blur::Repeated] {
        let expected = [("first", 6)];
        for width in [4, 1] {
            let small = pruned(
                Blurred::new(6, blur),
                [1, 3, 4, 4],
                Blurred::forward,
                &expected,
                &[width],
            );
            assert_eq!(small.last.weight.dims(), [2, width, 1, 1]);
        }
    }
    let net = Blurred::new(6, Blur::Kept(6));
    let groups = find_groups(&net, [1, 3, 4, 4], Blurred::forward).unwrap();
    let text = groups.to_string();
    assert!(groups.is_empty(), "{text}");
    assert!(
        text.contains("first.weight [0]: 6 channels, by a kernel that is no parameter"),
        "{text}"
    );
    assert!(
        text.contains("aux.weight [0]: 4 channels, by a `forward` that does not reach them"),
        "{text}"
    );
}

#[test]
fn a_smaller_module_has_to_do_the_same() {
    // One channel is left of a depthwise convolution.
    let net = filled(Separable::new(5, 2, 6));
    let groups = find_groups(&net, [1, 3, 8, 8], Separable::forward).unwrap();
    let small = groups
        .prune_into(
            &net,
            Separable::new(1, 2, 6),
            &[1, 6],
            Ranking::L1,
            Separable::forward,
        )
        .unwrap();
    let x = tensor::<4>(&noise(9, 3 * 64), [1, 3, 8, 8], &device());
    let expected = masked(&net, &groups, &[1, 6]).forward(x.clone());
    assert_close(
        &values(&small.forward(x)),
        &values(&expected),
        1e-5,
        "one channel",
    );
    // Its kernel is wider apart.
    let mut other = Separable::new(3, 2, 6);
    other.depthwise = Conv2dConfig::new([3, 6], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(2, 2, 2, 2))
        .with_dilation([2, 2])
        .with_groups(3)
        .init(&device());
    let error = groups
        .prune_into(&net, other, &[3, 6], Ranking::L1, Separable::forward)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("Conv2d is done in another way, at `depthwise.weight`"),
        "{error}"
    );

    // Tensors of numbers that are made of the channels, and constants that are counted.
    type Forward = fn(&Vec<Conv2d>, Tensor<4>) -> Tensor<4>;
    let divided: Forward = |net, x| {
        let x = net[0].forward(x);
        let root = Tensor::<1>::from_data([x.dims()[1] as f32], &x.device()).sqrt();
        net[1].forward(x / root.reshape([1, 1, 1, 1]))
    };
    let counted: Forward = |net, x| {
        let x = net[0].forward(x);
        let ones = Tensor::<4>::ones([1, x.dims()[1], 1, 1], &x.device());
        net[1].forward(x / ones.sum_dim(1))
    };
    for (forward, message) in [
        (divided, "a tensor that it makes of its channels"),
        (counted, "constants of [1, 4, 1, 1] are added up"),
    ] {
        let net = vec![conv(3, 6, 1), conv(6, 2, 1)];
        let groups = find_groups(&net, [1, 3, 4, 4], forward).unwrap();
        let error = groups.prune(&net, &[4], Ranking::L1, forward).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}

#[derive(Module, Debug)]
struct TwoShuffles {
    stem: Conv2d,
    norm: GroupNorm,
    wide: [Conv2d; 2],
    last: Conv2d,
}

impl TwoShuffles {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.norm.forward(self.stem.forward(x));
        let [x, y] = [0, 1].map(|n| {
            let x = self.wide[n].forward(x.clone());
            let [batch, channels, height, width] = x.dims();
            let x = x.reshape([batch, channels / 4, 2, 2, height, width]);
            let x = x.permute([0, 1, 4, 2, 5, 3]);
            x.reshape([batch, channels / 4, 2 * height, 2 * width])
        });
        self.last.forward(relu(x + y))
    }
}

#[test]
fn reshapes_that_share_channels_are_read_alike() {
    let net = TwoShuffles {
        stem: conv(3, 8, 3),
        norm: GroupNormConfig::new(2, 8).init(&device()),
        wide: [conv(8, 5 * 4, 3), conv(8, 5 * 4, 3)],
        last: conv(5, 2, 1),
    };
    let expected = [("stem", 4), ("wide.0 + wide.1", 5)];
    let small = pruned(net, [1, 3, 4, 4], TwoShuffles::forward, &expected, &[4, 3]);
    assert_eq!(small.wide[1].weight.dims(), [12, 8, 3, 3]);
    // Channels in the middle.
    let forward = |net: &Vec<Linear>, x: Tensor<3>| {
        let x = net[0].forward(x);
        let [batch, length, width] = x.dims();
        let parts = x.reshape([batch, length, 2, width / 6, 3]);
        net[1].forward(parts.sum_dim(4).sum_dim(2).reshape([batch, length, width / 6]))
    };
    let net = vec![linear(3, 24), linear(4, 2)];
    let small = pruned(net, [1, 5, 3], forward, &[("0", 4)], &[3]);
    assert_eq!(small[0].weight.dims(), [3, 18]);
}

#[derive(Module, Debug)]
struct Products {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
    third: Param<Tensor<2>>,
}

impl Products {
    /// Weights as `[outputs, inputs]`, on either side.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(x.matmul(self.first.val().transpose()));
        let x = relu(self.second.val().matmul(x.transpose()));
        self.third.val().matmul(x).transpose()
    }
}

#[test]
fn weights_on_either_side_of_a_product_make_its_channels() {
    let weight = |shape| Param::from_tensor(Tensor::<2>::ones(shape, &device()));
    let net = Products {
        first: weight([6, 3]),
        second: weight([5, 6]),
        third: weight([2, 5]),
    };
    let expected = [("first", 6), ("second", 5)];
    let small = pruned(net, [1, 3], Products::forward, &expected, &[4, 2]);
    assert_eq!(small.second.val().dims(), [2, 4]);
}

#[derive(Module, Debug)]
struct Attending {
    words: Linear,
    query: Linear,
    key: Linear,
    head: Linear,
}

impl Attending {
    fn new(width: usize) -> Self {
        Self {
            words: linear(3, 8),
            query: linear(8, width),
            key: linear(8, width),
            head: linear(8, 2),
        }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = relu(self.words.forward(x));
        let (query, key) = (self.query.forward(x.clone()), self.key.forward(x.clone()));
        let root = (query.dims()[2] as f64).sqrt();
        let scores = softmax(query.matmul(key.swap_dims(1, 2)) / root, 2);
        self.head.forward(scores.matmul(x))
    }
}

#[test]
fn numbers_that_a_module_makes_of_its_channels_are_its_own() {
    let net = filled(Attending::new(6));
    let groups = find_groups(&net, [1, 4, 3], Attending::forward).unwrap();
    assert_eq!(channels(&groups), [("words", 8), ("query + key", 6)], "{groups}");
    let error = groups.prune(&net, &[8, 4], Ranking::L1, Attending::forward);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("DivScalar computes with another number") && error.contains("prune_into"),
        "{error}"
    );
    groups
        .prune(&net, &[5, 6], Ranking::L1, Attending::forward)
        .unwrap();
    let small = groups
        .prune_into(&net, Attending::new(4), &[8, 4], Ranking::L1, Attending::forward)
        .unwrap();
    // As the larger one, but for the root of four where it was that of six.
    let masked = masked(&net, &groups, &[8, 4]);
    let x = tensor::<3>(&noise(9, 2 * 4 * 3), [2, 4, 3], &device());
    let hidden = relu(masked.words.forward(x.clone()));
    let (query, key) = (
        masked.query.forward(hidden.clone()),
        masked.key.forward(hidden.clone()),
    );
    let scores = softmax(query.matmul(key.swap_dims(1, 2)) / 2.0, 2);
    let expected = masked.head.forward(scores.matmul(hidden));
    assert_close(
        &values(&small.forward(x)),
        &values(&expected),
        1e-5,
        "with its own root",
    );

    // Other operations, and slices that begin elsewhere.
    type Forward = fn(&Vec<Conv2d>, Tensor<4>) -> Tensor<4>;
    let chooses: Forward = |net, x| {
        let x = net[0].forward(x);
        let wide = x.dims()[1] >= 6;
        net[1].forward(if wide { relu(x) } else { sigmoid(x) })
    };
    let slices: Forward = |net, x| {
        let x = relu(net[0].forward(x));
        let third = x.dims()[1] / 3;
        net[1].forward(x.narrow(1, 2, third))
    };
    let reads: Forward = |net, x| {
        let (x, y) = (net[0].forward(x.clone()), net[0].forward(sigmoid(x)));
        let wide = x.dims()[1] >= 6;
        let [x, y] = [relu(x), relu(y)];
        net[1].forward(if wide { x - y } else { y - x })
    };
    for (forward, width, message) in [
        (chooses, 6, "it does Sigmoid where it did Relu"),
        (reads, 6, "Sub is done in another way"),
        (slices, 2, "a slice begins at 2 where 1 is left of 2"),
    ] {
        let net = vec![conv(3, 6, 1), conv(width, 2, 1)];
        let groups = find_groups(&net, [1, 3, 4, 4], forward).unwrap();
        let channels = groups.groups()[0].channels;
        let error = groups.prune(&net, &[channels - 1], Ranking::L1, forward);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    // Another module's groups, and weights that are no numbers.
    let ratio = Ratio::new(0.5);
    let error = groups
        .widths(&Attending::new(5), &ratio, Ranking::L1)
        .unwrap_err();
    assert!(error.to_string().contains("find those of this module"), "{error}");
    let error = groups.widths(&conv(3, 4, 1), &ratio, Ranking::L1).unwrap_err();
    assert!(error.to_string().contains("find those of this module"), "{error}");
    let mut broken = net.clone();
    broken.words.weight = broken.words.weight.map(|weight| weight * f32::NAN);
    let error = groups.prune(&broken, &[5, 6], Ranking::L1, Attending::forward);
    assert!(error.unwrap_err().to_string().contains("no number"));
}

#[test]
fn adapted_weights_are_ranked_and_not_their_adapters() {
    let plain = filled(vec![linear(3, 6), linear(6, 4), linear(4, 2)]);
    let forward = |net: &Vec<Linear>, x: Tensor<2>| net.iter().fold(x, |x, layer| layer.forward(x));
    let expected = find_groups(&plain, [1, 3], forward).unwrap();
    let net = plain.clone().apply_lora(Lora::new(2, 4.0));
    let groups = find_groups(&net, [1, 3], forward).unwrap();
    assert_eq!(channels(&groups), channels(&expected), "{groups}");
    let scores =
        |groups: &FoundGroups, parameters| Ranking::L1.scores(&groups.groups()[0], &parameters).unwrap();
    assert_eq!(
        scores(&groups, Parameters::of(&net)),
        scores(&expected, Parameters::of(&plain))
    );
    let small = groups.prune(&net, &[4, 3], Ranking::L1, forward).unwrap();
    let smaller = expected.prune(&plain, &[4, 3], Ranking::L1, forward).unwrap();
    // An adapter adds nothing before it is trained.
    let x = tensor::<2>(&noise(9, 6), [2, 3], &device());
    assert_close(
        &values(&forward(&small, x.clone())),
        &values(&forward(&smaller, x)),
        1e-5,
        "adapted",
    );
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
    // An input that the module does not take, or none at all: one line, without Burn's banner.
    let forward = |net: &Conv2d, x: Tensor<4>| net.forward(x);
    let error = find_groups(&one(5), [1, 4, 4, 4], forward)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("cannot be recorded") && !error.contains("==="),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
    let error = conv_layers(&one(5), [1, 3, 0, 4], forward)
        .unwrap_err()
        .to_string();
    assert!(error.contains("[1, 3, 0, 4] holds nothing"), "{error}");
    // A reshape to a number that was written down.
    let forward =
        |net: &(Conv2d, Linear), x: Tensor<4>| net.1.forward(net.0.forward(x).reshape([-1, 5 * 16]));
    let net = (conv(3, 5, 1), linear(5 * 16, 2));
    let groups = find_groups(&net, [1, 3, 4, 4], forward).unwrap();
    assert_eq!(channels(&groups), [("0", 5)]);
    let error = groups.prune(&net, &[4], Ranking::L1, forward).unwrap_err();
    assert!(error.to_string().contains("prune_into"), "{error}");
    assert_eq!(
        error.to_string().matches("cannot be followed").count(),
        1,
        "{error}"
    );
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

/// A group as it is written down here: its name, which is that of its producers, its channels, and the dimension of every
/// parameter that runs over them. `/*` is the four vectors of a batch norm.
type Golden = (&'static str, usize, &'static str);

/// CNN-8, in either precision.
const CNN8: &[Golden] = &[
    ("convs.0", 4, "convs.0.weight/0 convs.0.bias/0 convs.1.weight/1"),
    ("convs.1", 5, "convs.1.weight/0 norms.0/* convs.2.weight/1"),
    ("convs.2", 6, "convs.2.weight/0 norms.1/* convs.3.weight/1"),
    ("convs.3", 7, "convs.3.weight/0 norms.2/* convs.4.weight/1"),
    ("convs.4", 5, "convs.4.weight/0 norms.3/* convs.5.weight/1"),
    ("convs.5", 6, "convs.5.weight/0 norms.4/* convs.6.weight/1"),
    ("convs.6", 8, "convs.6.weight/0 linear.weight/0"),
];

/// ResNet-20, and its twin in full precision.
const RESNET20: &[Golden] = &[
    (
        "conv + blocks.0.conv1 + blocks.1.conv1 + blocks.2.conv1",
        3,
        "conv.weight/0 norm/* blocks.0.conv1.weight/0 blocks.0.norm1/* blocks.1.conv1.weight/0 \
         blocks.1.norm1/* blocks.2.conv1.weight/0 blocks.2.norm1/* blocks.0.conv0.weight/1 \
         blocks.1.conv0.weight/1 blocks.2.conv0.weight/1 blocks.3.conv0.weight/1 \
         blocks.3.shortcut.conv.weight/1",
    ),
    (
        "blocks.0.conv0",
        3,
        "blocks.0.conv0.weight/0 blocks.0.norm0/* blocks.0.conv1.weight/1",
    ),
    (
        "blocks.1.conv0",
        3,
        "blocks.1.conv0.weight/0 blocks.1.norm0/* blocks.1.conv1.weight/1",
    ),
    (
        "blocks.2.conv0",
        3,
        "blocks.2.conv0.weight/0 blocks.2.norm0/* blocks.2.conv1.weight/1",
    ),
    (
        "blocks.3.conv0",
        4,
        "blocks.3.conv0.weight/0 blocks.3.norm0/* blocks.3.conv1.weight/1",
    ),
    (
        "blocks.3.conv1 + blocks.3.shortcut.conv + blocks.4.conv1 + blocks.5.conv1",
        4,
        "blocks.3.conv1.weight/0 blocks.3.norm1/* blocks.3.shortcut.conv.weight/0 \
         blocks.3.shortcut.norm/* blocks.4.conv1.weight/0 blocks.4.norm1/* blocks.5.conv1.weight/0 \
         blocks.5.norm1/* blocks.4.conv0.weight/1 blocks.5.conv0.weight/1 blocks.6.conv0.weight/1 \
         blocks.6.shortcut.conv.weight/1",
    ),
    (
        "blocks.4.conv0",
        4,
        "blocks.4.conv0.weight/0 blocks.4.norm0/* blocks.4.conv1.weight/1",
    ),
    (
        "blocks.5.conv0",
        4,
        "blocks.5.conv0.weight/0 blocks.5.norm0/* blocks.5.conv1.weight/1",
    ),
    (
        "blocks.6.conv0",
        5,
        "blocks.6.conv0.weight/0 blocks.6.norm0/* blocks.6.conv1.weight/1",
    ),
    (
        "blocks.6.conv1 + blocks.6.shortcut.conv + blocks.7.conv1 + blocks.8.conv1",
        5,
        "blocks.6.conv1.weight/0 blocks.6.norm1/* blocks.6.shortcut.conv.weight/0 \
         blocks.6.shortcut.norm/* blocks.7.conv1.weight/0 blocks.7.norm1/* blocks.8.conv1.weight/0 \
         blocks.8.norm1/* blocks.7.conv0.weight/1 blocks.8.conv0.weight/1 linear.weight/0",
    ),
    (
        "blocks.7.conv0",
        5,
        "blocks.7.conv0.weight/0 blocks.7.norm0/* blocks.7.conv1.weight/1",
    ),
    (
        "blocks.8.conv0",
        5,
        "blocks.8.conv0.weight/0 blocks.8.norm0/* blocks.8.conv1.weight/1",
    ),
];

/// ResNet-20 as published in full precision: no batch norm behind the first convolution, and one in a block, which has another
/// that nothing passes and that is in no group.
const RESNET20_PUBLISHED: &[Golden] = &[
    (
        "conv + blocks.0.conv1 + blocks.1.conv1 + blocks.2.conv1",
        3,
        "conv.weight/0 blocks.0.conv1.weight/0 blocks.1.conv1.weight/0 blocks.2.conv1.weight/0 \
         blocks.0.conv0.weight/1 blocks.1.conv0.weight/1 \
         blocks.2.conv0.weight/1 blocks.3.conv0.weight/1 \
         blocks.3.shortcut.conv.weight/1",
    ),
    (
        "blocks.0.conv0",
        3,
        "blocks.0.conv0.weight/0 blocks.0.norm1/* blocks.0.conv1.weight/1",
    ),
    (
        "blocks.1.conv0",
        3,
        "blocks.1.conv0.weight/0 blocks.1.norm1/* blocks.1.conv1.weight/1",
    ),
    (
        "blocks.2.conv0",
        3,
        "blocks.2.conv0.weight/0 blocks.2.norm1/* blocks.2.conv1.weight/1",
    ),
    (
        "blocks.3.conv0",
        4,
        "blocks.3.conv0.weight/0 blocks.3.norm1/* blocks.3.conv1.weight/1",
    ),
    (
        "blocks.3.conv1 + blocks.3.shortcut.conv + blocks.4.conv1 + blocks.5.conv1",
        4,
        "blocks.3.conv1.weight/0 blocks.3.shortcut.conv.weight/0 blocks.3.shortcut.norm/* \
         blocks.4.conv1.weight/0 blocks.5.conv1.weight/0 blocks.4.conv0.weight/1 \
         blocks.5.conv0.weight/1 blocks.6.conv0.weight/1 \
         blocks.6.shortcut.conv.weight/1",
    ),
    (
        "blocks.4.conv0",
        4,
        "blocks.4.conv0.weight/0 blocks.4.norm1/* blocks.4.conv1.weight/1",
    ),
    (
        "blocks.5.conv0",
        4,
        "blocks.5.conv0.weight/0 blocks.5.norm1/* blocks.5.conv1.weight/1",
    ),
    (
        "blocks.6.conv0",
        5,
        "blocks.6.conv0.weight/0 blocks.6.norm1/* blocks.6.conv1.weight/1",
    ),
    (
        "blocks.6.conv1 + blocks.6.shortcut.conv + blocks.7.conv1 + blocks.8.conv1",
        5,
        "blocks.6.conv1.weight/0 blocks.6.shortcut.conv.weight/0 blocks.6.shortcut.norm/* \
         blocks.7.conv1.weight/0 blocks.8.conv1.weight/0 blocks.7.conv0.weight/1 \
         blocks.8.conv0.weight/1 linear.weight/0",
    ),
    (
        "blocks.7.conv0",
        5,
        "blocks.7.conv0.weight/0 blocks.7.norm1/* blocks.7.conv1.weight/1",
    ),
    (
        "blocks.8.conv0",
        5,
        "blocks.8.conv0.weight/0 blocks.8.norm1/* blocks.8.conv1.weight/1",
    ),
];

/// ResNet-20 with the batch norms before the convolutions.
const RESNET20_PRE_ACTIVATION: &[Golden] = &[
    (
        "conv + blocks.0.conv1 + blocks.1.conv1 + blocks.2.conv1",
        3,
        "conv.weight/0 blocks.0.conv1.weight/0 blocks.1.conv1.weight/0 blocks.2.conv1.weight/0 \
         blocks.0.conv0.weight/1 blocks.0.norm0/* blocks.1.conv0.weight/1 blocks.1.norm0/* \
         blocks.2.conv0.weight/1 blocks.2.norm0/* blocks.3.conv0.weight/1 blocks.3.norm0/* \
         blocks.3.shortcut.conv.weight/1",
    ),
    (
        "blocks.0.conv0",
        3,
        "blocks.0.conv0.weight/0 blocks.0.norm1/* blocks.0.conv1.weight/1",
    ),
    (
        "blocks.1.conv0",
        3,
        "blocks.1.conv0.weight/0 blocks.1.norm1/* blocks.1.conv1.weight/1",
    ),
    (
        "blocks.2.conv0",
        3,
        "blocks.2.conv0.weight/0 blocks.2.norm1/* blocks.2.conv1.weight/1",
    ),
    (
        "blocks.3.conv0",
        4,
        "blocks.3.conv0.weight/0 blocks.3.norm1/* blocks.3.conv1.weight/1",
    ),
    (
        "blocks.3.conv1 + blocks.3.shortcut.conv + blocks.4.conv1 + blocks.5.conv1",
        4,
        "blocks.3.conv1.weight/0 blocks.3.shortcut.conv.weight/0 blocks.3.shortcut.norm/* \
         blocks.4.conv1.weight/0 blocks.5.conv1.weight/0 blocks.4.conv0.weight/1 blocks.4.norm0/* \
         blocks.5.conv0.weight/1 blocks.5.norm0/* blocks.6.conv0.weight/1 blocks.6.norm0/* \
         blocks.6.shortcut.conv.weight/1",
    ),
    (
        "blocks.4.conv0",
        4,
        "blocks.4.conv0.weight/0 blocks.4.norm1/* blocks.4.conv1.weight/1",
    ),
    (
        "blocks.5.conv0",
        4,
        "blocks.5.conv0.weight/0 blocks.5.norm1/* blocks.5.conv1.weight/1",
    ),
    (
        "blocks.6.conv0",
        5,
        "blocks.6.conv0.weight/0 blocks.6.norm1/* blocks.6.conv1.weight/1",
    ),
    (
        "blocks.6.conv1 + blocks.6.shortcut.conv + blocks.7.conv1 + blocks.8.conv1",
        5,
        "blocks.6.conv1.weight/0 blocks.6.shortcut.conv.weight/0 blocks.6.shortcut.norm/* \
         blocks.7.conv1.weight/0 blocks.8.conv1.weight/0 blocks.7.conv0.weight/1 blocks.7.norm0/* \
         blocks.8.conv0.weight/1 blocks.8.norm0/* last_norm/* linear.weight/0",
    ),
    (
        "blocks.7.conv0",
        5,
        "blocks.7.conv0.weight/0 blocks.7.norm1/* blocks.7.conv1.weight/1",
    ),
    (
        "blocks.8.conv0",
        5,
        "blocks.8.conv0.weight/0 blocks.8.norm1/* blocks.8.conv1.weight/1",
    ),
];

/// VGG-13, in either precision. The widths of linear layers no array chooses.
const VGG13: &[Golden] = &[
    ("convs.0", 3, "convs.0.weight/0 convs.0.bias/0 convs.1.weight/1"),
    ("convs.1", 4, "convs.1.weight/0 convs.2.weight/1"),
    ("convs.2", 4, "convs.2.weight/0 convs.3.weight/1"),
    ("convs.3", 5, "convs.3.weight/0 convs.4.weight/1"),
    ("convs.4", 5, "convs.4.weight/0 convs.5.weight/1"),
    ("convs.5", 6, "convs.5.weight/0 convs.6.weight/1"),
    ("convs.6", 6, "convs.6.weight/0 convs.7.weight/1"),
    ("convs.7", 7, "convs.7.weight/0 convs.8.weight/1"),
    ("convs.8", 7, "convs.8.weight/0 convs.9.weight/1"),
    ("convs.9", 8, "convs.9.weight/0 hidden.0.weight/0"),
    ("hidden.0", 6, "hidden.0.weight/1 hidden.1.weight/0"),
    ("hidden.1", 7, "hidden.1.weight/1 linear.weight/0"),
];

/// VGG-13 as published in full precision, without a bias.
const VGG13_PUBLISHED: &[Golden] = &[
    ("convs.0", 3, "convs.0.weight/0 convs.1.weight/1"),
    ("convs.1", 4, "convs.1.weight/0 convs.2.weight/1"),
    ("convs.2", 4, "convs.2.weight/0 convs.3.weight/1"),
    ("convs.3", 5, "convs.3.weight/0 convs.4.weight/1"),
    ("convs.4", 5, "convs.4.weight/0 convs.5.weight/1"),
    ("convs.5", 6, "convs.5.weight/0 convs.6.weight/1"),
    ("convs.6", 6, "convs.6.weight/0 convs.7.weight/1"),
    ("convs.7", 7, "convs.7.weight/0 convs.8.weight/1"),
    ("convs.8", 7, "convs.8.weight/0 convs.9.weight/1"),
    ("convs.9", 8, "convs.9.weight/0 hidden.0.weight/0"),
    ("hidden.0", 6, "hidden.0.weight/1 hidden.1.weight/0"),
    ("hidden.1", 7, "hidden.1.weight/1 linear.weight/0"),
];

/// The slices of a golden group, each channel at the index of its own number.
fn golden_slices(&(_, channels, slices): &Golden) -> BTreeSet<(String, usize, Vec<Vec<usize>>)> {
    let own: Vec<Vec<usize>> = (0..channels).map(|channel| vec![channel]).collect();
    let of = |slice: &str| match slice.split_once('/').unwrap() {
        (norm, "*") => ["gamma", "beta", "running_mean", "running_var"]
            .map(|vector| (format!("{norm}.{vector}"), 0, own.clone()))
            .to_vec(),
        (path, dim) => vec![(path.to_owned(), dim.parse().unwrap(), own.clone())],
    };
    slices.split_whitespace().flat_map(of).collect()
}

fn shapes<M: Module>(module: &M) -> Vec<(String, Vec<usize>)> {
    let parameters = Parameters::of(module);
    let shapes = parameters
        .iter()
        .map(|(path, data)| (path.to_owned(), data.shape().to_vec()));
    shapes.collect()
}

/// A network has these groups, in this order, and no others.
fn has_groups<C: NetworkConfig>(config: &C, golden: &[Golden]) {
    let network = filled(config.init(&device()));
    let what = format!("{} {}", C::NAME, config.precision());
    let [height, width] = config.input();
    let forward = |network: &C::Network, x: Tensor<4>| network.forward(x);
    let found = find_groups(&network, [1, 3, height, width], forward).unwrap();
    let names: Vec<_> = found.iter().map(|group| group.name.as_str()).collect();
    let expected: Vec<_> = golden.iter().map(|(name, ..)| *name).collect();
    assert_eq!(names, expected, "{what}");
    for (group, golden) in found.iter().zip(golden) {
        let (name, channels, _) = golden;
        assert_eq!(group.channels, *channels, "{what}: {name}");
        assert_eq!(slices(group), golden_slices(golden), "{what}: {name}");
        assert_eq!(
            group.slices.len(),
            slices(group).len(),
            "{what}: {name}: none twice"
        );
        // The outputs of the layers that the name lists, and of no others.
        let ranked_by: BTreeSet<_> = (group.ranked_by.iter())
            .map(|slice| (slice.path.clone(), slice.dim))
            .collect();
        let producers = name.split(" + ").map(|producer| {
            let linear = producer.starts_with("hidden");
            (format!("{producer}.weight"), usize::from(linear))
        });
        assert_eq!(ranked_by, producers.collect(), "{what}: {name}");
    }
    let of_network = groups_of(&network).unwrap();
    assert_eq!(of_network.groups(), found.groups(), "{what}");

    // And pruned alike.
    let widths: Vec<usize> = golden.iter().map(|(_, channels, _)| channels - 1).collect();
    let pruned = prune(&network, &widths, Ranking::L1).unwrap();
    let (small, kept) =
        (found.prune_with(&network, &widths, Ranking::L1, forward, C::Network::refit)).unwrap();
    assert_eq!(kept, pruned.kept, "{what}");
    let (found, expected) = (Parameters::of(&small), Parameters::of(&pruned.network));
    for ((path, found), (_, expected)) in found.iter().zip(expected.iter()) {
        assert_eq!(found, expected, "{what}: {path}");
    }
    // The structure says all of it: a network made of it has the same shapes.
    let structure = pruned.network.structure();
    assert_eq!(
        shapes(&pruned.network),
        shapes(&structure.init(&device())),
        "{what}"
    );
}

#[test]
fn our_own_networks_have_these_groups() {
    for quantized in [true, false] {
        let cnn8 = Cnn8Config::new().with_widths([4, 5, 6, 7, 5, 6, 8]);
        has_groups(&cnn8.with_quantized(quantized), CNN8);
        let resnet20 = (ResNet20Config::new())
            .with_widths([3, 4, 5])
            .with_quantized(quantized);
        has_groups(&resnet20, RESNET20);
        has_groups(
            &resnet20.with_order(BlockOrder::PreActivation),
            RESNET20_PRE_ACTIVATION,
        );
        let vgg13 = Vgg13Config::new()
            .with_widths([3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
            .with_hidden([6, 7]);
        has_groups(&vgg13.with_quantized(quantized), VGG13);
    }
}

#[test]
fn those_of_the_networks_published_in_full_precision_are_these() {
    let published = FullPrecision::Published;
    let resnet20 = ResNet20Config::new().with_widths([3, 4, 5]).with_quantized(false);
    has_groups(&resnet20.with_full_precision(published), RESNET20_PUBLISHED);
    let vgg13 = Vgg13Config::new()
        .with_widths([3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
        .with_hidden([6, 7])
        .with_quantized(false);
    has_groups(&vgg13.with_full_precision(published), VGG13_PUBLISHED);
}

/// The free widths that one round of the search leaves of these layers.
fn searched(
    layers: Vec<ConvLayer>,
    ties: Vec<Tie>,
    mapping: &MappingConfig,
) -> Result<Vec<usize>, MappingError> {
    let network = mapping::Network::tied("written down", layers, ties);
    let mut rounds = network_rounds(&network, mapping, &WidthLimits::default(), 1)?;
    rounds.networks.pop().unwrap_or(network).widths()
}

/// One round of the channel search finds for a network of ours what it finds for its layers and ties as they are written down
/// here: `tied` gives for each layer the groups that it reads and writes.
fn filled_alike<C: NetworkConfig>(
    config: &C,
    layers: &[ConvLayer],
    tied: impl Fn(usize) -> (Option<usize>, Option<usize>),
    by_ratio: &[usize],
) {
    let network = config.init(&device());
    let found = groups_of(&network).unwrap().with_layers_left_out(["*.shortcut"]);
    let ties: Vec<Tie> = (0..layers.len())
        .map(|layer| {
            let (input, output) = tied(layer);
            Tie { input, output }
        })
        .collect();
    let mut changed = false;
    for array in [[256, 512], [512, 256]] {
        let mapping = MappingConfig::new(PimArray::new(array[0], array[1]).unwrap()).with_weight_bits(2);
        let limits = WidthLimits::default();
        let Ok(expected) = searched(layers.to_vec(), ties.clone(), &mapping) else {
            assert!(found.next_widths(&mapping, &limits).is_err(), "{}", C::NAME);
            continue;
        };
        let widths = found.next_widths(&mapping, &limits).unwrap().widths;
        changed |= widths.is_some();
        let widths = widths.unwrap_or_else(|| found.channels());
        // The groups that no convolution reads stay as they are.
        let (read, rest) = widths.split_at(expected.len());
        assert_eq!(read, expected, "{} {array:?}", C::NAME);
        assert_eq!(rest, &found.channels()[expected.len()..], "{}", C::NAME);
    }
    assert!(changed, "{}", C::NAME);
    let ratio = Ratio::new(0.3).with_limits(WidthLimits::default().with_multiple(2));
    let widths = found.widths(&network, &ratio, Ranking::L1).unwrap();
    assert_eq!(widths, by_ratio, "{}", C::NAME);
}

#[test]
fn widths_that_fill_an_array_are_found_for_any_module() {
    // A chain, whose last width a linear layer reads.
    let chain = |layers: usize| move |n: usize| (n.checked_sub(1), (n + 1 < layers).then_some(n));
    let kept = [18, 24, 24, 46, 46, 46, 180];
    let cnn8 = presets::network("cnn8").unwrap().layers;
    filled_alike(&Cnn8Config::new(), &cnn8, chain(7), &kept);

    const STAGES: [usize; 3] = [0, 5, 9];
    const INNER: [usize; 9] = [1, 2, 3, 4, 6, 7, 8, 10, 11];
    let residual = |layer: usize| {
        let Some(place) = layer.checked_sub(1) else {
            return (None, Some(STAGES[0]));
        };
        let block = place / 2;
        let inner = Some(INNER[block]);
        if place % 2 == 0 {
            (Some(STAGES[block.saturating_sub(1) / 3]), inner)
        } else {
            (inner, Some(STAGES[block / 3]))
        }
    };
    let widths = [20, 40, 70];
    let resnet20 = ResNet20Config::new().with_widths(widths);
    let preset = presets::network("resnet20").unwrap();
    let layers = preset
        .with_widths(&widths.map(|width| [width; 4]).concat())
        .unwrap()
        .layers;
    let kept = [14, 14, 14, 14, 28, 28, 28, 28, 50, 50, 50, 50];
    filled_alike(&resnet20, &layers, residual, &kept);

    let widths = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
    let inputs = std::iter::once(3).chain(widths);
    let layers: Vec<ConvLayer> = (inputs.zip(widths).enumerate())
        .map(|(n, (from, to))| {
            ConvLayer::square(format!("conv{n}"), 32 >> (n / 2), 3, from, to).with_padding(1)
        })
        .collect();
    let kept = [8, 14, 22, 28, 36, 42, 50, 56, 64, 70, 360, 360];
    filled_alike(&Vgg13Config::new().with_widths(widths), &layers, chain(10), &kept);

    // Concatenated channels are no single group's, grouped convolutions are not searched, and one group is left to choose.
    let mapping = MappingConfig::new(PimArray::new(64, 64).unwrap());
    let net = Dense {
        stem: conv(3, 43, 3),
        layers: vec![conv(43, 20, 3), conv(63, 9, 3)],
        norm: norm(72),
        last: conv(72, 2, 1),
    };
    let groups = find_groups(&net, [1, 3, 8, 8], Dense::forward).unwrap();
    let widths = groups
        .next_widths(&mapping, &WidthLimits::default())
        .unwrap()
        .widths
        .unwrap();
    assert!(widths[0] < 43 && widths[1..] == [20, 9], "{widths:?}");
    groups.prune(&net, &widths, Ranking::L1, Dense::forward).unwrap();
    for multiple in [1, 2] {
        let net = Separable::new(5, multiple, 6);
        let groups = find_groups(&net, [1, 3, 8, 8], Separable::forward).unwrap();
        let next = groups.next_widths(&mapping, &WidthLimits::default()).unwrap();
        assert_eq!(next.widths, None);
    }
}

#[test]
fn convolutions_are_found_for_the_mapper() {
    let net = Cnn8Config::new().init(&device());
    let found = conv_layers(&net, [1, 3, 40, 40], |net: &Cnn8, x: Tensor<4>| net.forward(x)).unwrap();
    assert_eq!(found.layers, presets::network("cnn8").unwrap().layers);
    assert_eq!(found.left_out, [("linear".to_owned(), "linear layer".to_owned())]);
}

/// One of each kind of layer that multiplies by weights.
#[derive(Module, Debug)]
struct EveryKind {
    conv: Conv2d,
    offsets: Conv2d,
    deformed: DeformConv2d,
    up: ConvTranspose2d,
    line: Conv1d,
    volume: Conv3d,
    long: ConvTranspose1d,
    head: Linear,
    matrix: Param<Tensor<2>>,
}

impl EveryKind {
    fn new(device: &Device) -> Self {
        let conv = |channels, side| Conv2dConfig::new(channels, [side, side]).init(device);
        Self {
            conv: conv([3, 4], 3),
            offsets: conv([4, 2], 1),
            deformed: DeformConv2dConfig::new([4, 4], [1, 1]).init(device),
            up: ConvTranspose2dConfig::new([4, 2], [2, 2]).init(device),
            line: Conv1dConfig::new(2, 3, 3).init(device),
            volume: Conv3dConfig::new([1, 1], [1, 1, 1]).init(device),
            long: ConvTranspose1dConfig::new([3, 3], 2).init(device),
            head: LinearConfig::new(3, 2).init(device),
            matrix: Param::from_tensor(Tensor::ones([2, 2], device)),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<3> {
        let x = self.conv.forward(x);
        let x = self.deformed.forward(x.clone(), self.offsets.forward(x), None);
        let x = self.line.forward(self.up.forward(x).flatten(2, 3));
        let x = self.volume.forward(x.reshape([1, 1, 1, 3, 23]));
        let x = self.long.forward(x.reshape([1, 3, 23]));
        let x = self.head.forward(x.swap_dims(1, 2));
        // A weight that is computed from a weight is one too, and a product of two feature maps has none.
        let x = x.matmul(self.matrix.val().transpose().unsqueeze());
        x.clone().matmul(x.swap_dims(1, 2))
    }
}

#[test]
fn what_the_mapper_does_not_take_is_listed() {
    let net = EveryKind::new(&Device::default());
    let expected = [
        ("deformed", "deformable convolution"),
        ("up", "transposed convolution"),
        ("line", "convolution over 1 axis"),
        ("volume", "convolution over 3 axes"),
        ("long", "transposed convolution"),
        ("head", "linear layer"),
        ("matrix", "linear layer"),
    ];
    // Quantised weights too are known by the latent ones.
    let quantized = net
        .clone()
        .apply_reparameterization(WeightQuantizer::new(Bits::TWO));
    for net in [net, quantized] {
        let found = conv_layers(&net, [1, 3, 6, 6], EveryKind::forward).unwrap();
        let names = found.layers.iter().map(|layer| layer.name.as_str());
        assert_eq!(names.collect::<Vec<_>>(), ["conv", "offsets"]);
        let left_out = found.left_out.iter();
        let left_out = left_out.map(|(name, what)| (name.as_str(), what.as_str()));
        assert_eq!(left_out.collect::<Vec<_>>(), expected);
    }
}

#[test]
fn quantised_weights_are_followed_to_the_latent_ones() {
    let plain = filled(Separable::new(4, 1, 6));
    for quantizer in [
        WeightQuantizer::new(Bits::ONE),
        WeightQuantizer::xnor(),
        WeightQuantizer::lsq(Bits::TWO),
    ] {
        let net = plain.clone().apply_reparameterization(quantizer);
        let groups = find_groups(&net, [1, 3, 8, 8], Separable::forward).unwrap();
        let expected = [("stem + depthwise", 4), ("pointwise", 6)];
        assert_eq!(channels(&groups), expected, "{quantizer}: {groups}");
        let small = groups
            .prune(&net, &[4, 3], Ranking::L1, Separable::forward)
            .unwrap();
        // The latent weights are those that the module in full precision keeps, and are quantised anew.
        let groups = find_groups(&plain, [1, 3, 8, 8], Separable::forward).unwrap();
        let expected = groups
            .prune(&plain, &[4, 3], Ranking::L1, Separable::forward)
            .unwrap();
        for (path, data) in Parameters::of(&expected).iter() {
            let found = match path {
                "stem.weight" => small.stem.weight.base().into_data(),
                "depthwise.weight" => small.depthwise.weight.base().into_data(),
                "pointwise.weight" => small.pointwise.weight.base().into_data(),
                "head.weight" => small.head.weight.base().into_data(),
                _ => continue,
            };
            assert_eq!(found, *data, "{quantizer}: {path}");
        }
        let mut quantized = values(&small.pointwise.weight.val());
        quantized.sort_by(f64::total_cmp);
        quantized.dedup();
        assert!(quantized.len() <= 6, "{quantizer}: {quantized:?}");
        let x = tensor::<4>(&noise(9, 3 * 64), [1, 3, 8, 8], &device());
        assert!(values(&small.forward(x)).iter().all(|v| v.is_finite()));
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
            error.contains("0.weight") && error.contains("find those of this module"),
            "{error}"
        );
    }
}

/// A batch norm holds the statistics of the last step back until somebody asks for them by `valid`. Pruning does.
#[test]
fn the_statistics_of_the_last_step_are_pruned_too() {
    use burn::nn::{BatchNorm, BatchNormConfig};
    let device = Device::default().autodiff();
    let conv = |channels| Conv2dConfig::new(channels, [3, 3]).init(&device);
    let net = (conv([3, 4]), BatchNormConfig::new(4).init(&device), conv([4, 2]));
    let forward = |(first, norm, last): &(Conv2d, BatchNorm, Conv2d), x: Tensor<4>| {
        last.forward(norm.forward(first.forward(x)))
    };
    let groups = find_groups(&net, [1, 3, 8, 8], forward).unwrap();
    let x = Tensor::<4>::random([4, 3, 8, 8], burn::tensor::Distribution::Default, &device);
    forward(&net, x);
    let small = groups.prune(&net, &[4], Ranking::L1, forward).unwrap();
    let mean = |norm: &BatchNorm| {
        norm.running_mean
            .value()
            .into_data()
            .try_into_vec::<f32>()
            .unwrap()
    };
    let (_, trained, _) = net.clone().valid();
    assert!(mean(&trained).iter().all(|&mean| mean != 0.0));
    assert_eq!(mean(&small.valid().1), mean(&trained));
    let parameters = Parameters::of(&net);
    assert_eq!(parameters.values("1.running_mean").unwrap(), mean(&trained));
}
