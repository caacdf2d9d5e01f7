//! Published networks as a user of Burn writes them, small, and what this crate makes of them: groups of channels,
//! convolutions for the mapper, quantised weights, and ONNX files.
#![cfg(feature = "train")]

mod assorted;
mod codes;
#[path = "../common/mod.rs"]
mod common;
mod densenet;
mod efficientnet_b0;
mod googlenet;
mod layers;
mod mobilenet_v2;
mod mobilenet_v3;
mod resnet18;
mod shufflenet_v2;
mod squeezenet;
mod table;
mod unet;

use std::collections::{BTreeMap, BTreeSet};

use assorted::{Assorted, AssortedConfig, Pair, PairConfig};
use burn::data::dataloader::batcher::Batcher;
use burn::module::{Module, ModuleMapper, Param};
use burn::nn::conv::Conv2d;
use burn::tensor::{Device, Tensor, TensorData};
use common::onnx::{File, check_and_keep};
use common::{assert_close, noise, tensor, values};
use densenet::{DenseNet, DenseNetConfig};
use efficientnet_b0::{EfficientNetB0, EfficientNetB0Config};
use googlenet::{GoogLeNet, GoogLeNetConfig};
use mobilenet_v2::{MobileNetV2, MobileNetV2Config};
use mobilenet_v3::{MobileNetV3, MobileNetV3Config};
use resnet18::{ResNet18, ResNet18Config};
use shufflenet_v2::{ShuffleNetV2, ShuffleNetV2Config};
use squeezenet::{SqueezeNet, SqueezeNetConfig};
use unet::{UNet, UNetConfig};
use vwc_sdk::data::{PictureBatcher, PictureItem, PictureSpec};
use vwc_sdk::graph::{Graph, OnnxExport, Op};
use vwc_sdk::mapping::{Accounting, ConvLayer};
use vwc_sdk::models::{
    Cnn8, Cnn8Config, Network, NetworkConfig, ResNet20, ResNet20Config, Vgg13, Vgg13Config,
};
use vwc_sdk::module::{ChannelGroup, Parameters, conv_layers};
use vwc_sdk::packed::{Model, Session};
use vwc_sdk::prune::{FoundGroups, Ranking, find_groups, keep_largest};
use vwc_sdk::quant::{Bits, WeightQuantizer};

/// A network, and what is true of it today.
struct Case<M, const E: usize> {
    /// What it is called in the table of networks; empty for one of no paper.
    title: &'static str,
    make: fn(&Device) -> M,
    /// With weights of two bits, of a network whose layers quantise their own.
    quantised: Option<fn(&Device) -> M>,
    /// The convolutions behind the first that it leaves in floats.
    floats: &'static [&'static str],
    forward: fn(&M, Tensor<4>) -> Tensor<E>,
    /// The convolutions that keep their channels as a number of groups: `prune` leaves those to `prune_into`.
    depthwise: fn(&mut M) -> Vec<&mut Conv2d>,
    /// Shapes of an input and an output for one picture.
    input: [usize; 4],
    output: [usize; E],
    convs: usize,
    /// Widths that the mapper may change.
    free: usize,
    /// What multiplies by weights and is no 2-D convolution.
    left_out: &'static [&'static str],
    /// Channels of each group that is found.
    groups: &'static [usize],
    /// The weights whose outputs cannot lose a channel, and why. Those of the output of the network are not listed.
    fixed: &'static [(&'static str, &'static str)],
    /// A pattern for the weights of some convolutions.
    some: &'static str,
}

fn none<M>(_: &mut M) -> Vec<&mut Conv2d> {
    Vec::new()
}

/// Why channels stay that nothing but each other keeps.
const ALONE: &str = "being the only one of its group";

const PICTURE: [usize; 4] = [1, 3, 32, 32];

/// The tests of each network.
macro_rules! checked {
    ($($network:ident)*) => {
        mod checked {
            $(mod $network {
                #[test]
                fn numbers_of_the_right_shape() {
                    crate::numbers_of_the_right_shape(&crate::$network());
                }

                #[test]
                fn channels_found_and_pruned() {
                    crate::channels_found_and_pruned(&crate::$network());
                }

                #[test]
                fn convolutions_listed() {
                    crate::convolutions_listed(&crate::$network());
                }

                #[test]
                fn described_as_a_graph() {
                    crate::described_as_a_graph(&crate::$network());
                }

                #[test]
                fn weights_quantised() {
                    crate::weights_quantised(&crate::$network());
                }

                #[test]
                fn written_as_onnx() {
                    crate::written_as_onnx(&crate::$network(), stringify!($network));
                }

                #[test]
                fn packed_as_trained() {
                    crate::packed_as_trained(&crate::$network());
                }

                #[test]
                fn on_arrays() {
                    crate::codes::on_arrays(&crate::$network());
                }

                #[test]
                fn packed_in_codes() {
                    crate::codes::packed_in_codes(&crate::$network());
                }
            })*
        }

        /// The rows of the table, in its order.
        fn rows() -> Vec<table::Row> {
            [$(table::Row::of(&$network(), stringify!($network))),*].into_iter().flatten().collect()
        }
    };
}

checked! {
    cnn8 vgg13 resnet20
    resnet18 mobilenet_v2 mobilenet_v3 squeezenet densenet googlenet shufflenet_v2 efficientnet_b0
    unet unet_nearest assorted pair
}

fn cnn8_config() -> Cnn8Config {
    Cnn8Config::new()
        .with_widths([6, 8, 8, 10, 10, 12, 16])
        .with_weight_bits(Bits::TWO)
        .with_activation_bits(Bits::TWO)
}

fn cnn8() -> Case<Cnn8, 2> {
    Case {
        title: "CNN-8",
        make: |device| cnn8_config().with_quantized(false).init(device),
        quantised: Some(|device| cnn8_config().init(device)),
        floats: &[],
        forward: Cnn8::forward,
        depthwise: none,
        input: [1, 3, 40, 40],
        output: [1, 10],
        convs: 7,
        free: 6,
        left_out: &["linear"],
        groups: &[6, 8, 8, 10, 10, 12, 16],
        fixed: &[],
        some: "convs.3",
    }
}

fn vgg13_config() -> Vgg13Config {
    Vgg13Config::new()
        .with_widths([4, 4, 6, 6, 8, 8, 12, 12, 16, 16])
        .with_hidden([20, 20])
        .with_weight_bits(Bits::TWO)
        .with_activation_bits(Bits::TWO)
}

fn vgg13() -> Case<Vgg13, 2> {
    Case {
        title: "VGG-13",
        make: |device| vgg13_config().with_quantized(false).init(device),
        quantised: Some(|device| vgg13_config().init(device)),
        floats: &[],
        forward: Vgg13::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 10,
        free: 9,
        left_out: &["hidden.0", "hidden.1", "linear"],
        groups: &[4, 4, 6, 6, 8, 8, 12, 12, 16, 16, 20, 20],
        fixed: &[],
        some: "hidden",
    }
}

fn resnet20_config() -> ResNet20Config {
    ResNet20Config::new()
        .with_widths([6, 8, 12])
        .with_weight_bits(Bits::TWO)
        .with_activation_bits(Bits::TWO)
}

fn resnet20() -> Case<ResNet20, 2> {
    Case {
        title: "ResNet-20",
        make: |device| resnet20_config().with_quantized(false).init(device),
        quantised: Some(|device| resnet20_config().init(device)),
        floats: &["blocks.3.shortcut.conv", "blocks.6.shortcut.conv"],
        forward: ResNet20::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 21,
        free: 12,
        left_out: &["linear"],
        groups: &[6, 6, 6, 6, 8, 8, 8, 8, 12, 12, 12, 12],
        fixed: &[],
        some: "blocks.*.conv0",
    }
}

fn resnet18() -> Case<ResNet18, 2> {
    Case {
        title: "ResNet-18",
        make: |device| ResNet18Config::new().init(device),
        quantised: None,
        floats: &[],
        forward: ResNet18::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 20,
        free: 12,
        left_out: &["head"],
        groups: &[8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64],
        fixed: &[],
        some: "blocks.*.second",
    }
}

fn mobilenet_v2() -> Case<MobileNetV2, 2> {
    Case {
        title: "MobileNet-V2",
        make: |device| MobileNetV2Config::new().init(device),
        quantised: None,
        floats: &[],
        forward: MobileNetV2::forward,
        depthwise: MobileNetV2::depthwise,
        input: PICTURE,
        output: [1, 10],
        convs: 52,
        free: 24,
        left_out: &["head"],
        groups: &[
            8, 4, 24, 6, 36, 36, 8, 48, 48, 48, 16, 96, 96, 96, 96, 24, 144, 144, 144, 40, 240, 240, 240, 80,
            320,
        ],
        fixed: &[],
        some: "*.depthwise",
    }
}

fn mobilenet_v3() -> Case<MobileNetV3, 2> {
    Case {
        title: "MobileNet-V3",
        make: |device| MobileNetV3Config::new().init(device),
        quantised: None,
        floats: &[],
        forward: MobileNetV3::forward,
        depthwise: MobileNetV3::depthwise,
        input: PICTURE,
        output: [1, 10],
        convs: 52,
        free: 25,
        left_out: &["hidden", "head"],
        groups: &[
            4, 2, 4, 18, 6, 22, 24, 6, 10, 60, 15, 60, 15, 30, 8, 12, 36, 9, 72, 18, 24, 144, 36, 144, 36,
            144, 256,
        ],
        fixed: &[],
        some: "*.excite",
    }
}

fn squeezenet() -> Case<SqueezeNet, 2> {
    Case {
        title: "SqueezeNet",
        make: |device| SqueezeNetConfig::new().init(device),
        quantised: None,
        floats: &[],
        forward: SqueezeNet::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 26,
        free: 9,
        left_out: &[],
        groups: &[
            12, 4, 8, 8, 4, 8, 8, 4, 16, 16, 4, 16, 16, 6, 24, 24, 6, 24, 24, 8, 32, 32, 8, 32, 32,
        ],
        fixed: &[],
        some: "fires.*.wide",
    }
}

fn densenet() -> Case<DenseNet, 2> {
    Case {
        title: "DenseNet",
        make: |device| DenseNetConfig::new().init(device),
        quantised: None,
        floats: &[],
        forward: DenseNet::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 28,
        free: 12,
        left_out: &["head"],
        groups: &[
            8, 16, 4, 16, 4, 8, 16, 4, 16, 4, 16, 4, 10, 16, 4, 16, 4, 16, 4, 16, 4, 13, 16, 4, 16, 4, 16, 4,
        ],
        fixed: &[],
        some: "*.grow",
    }
}

fn googlenet() -> Case<GoogLeNet, 2> {
    Case {
        title: "GoogLeNet",
        make: |device| GoogLeNetConfig::new().init(device),
        quantised: None,
        floats: &[],
        forward: GoogLeNet::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 57,
        free: 21,
        left_out: &["head"],
        groups: &[
            4, 4, 12, 4, 6, 8, 4, 4, 4, 8, 8, 12, 4, 6, 4, 12, 6, 14, 4, 4, 4, 10, 8, 14, 4, 4, 4, 8, 8, 16,
            4, 4, 4, 8, 10, 18, 4, 4, 4, 16, 10, 20, 4, 8, 8, 16, 10, 20, 4, 8, 8, 24, 12, 24, 4, 8, 8,
        ],
        fixed: &[],
        some: "modules.*.pooled",
    }
}

fn shufflenet_v2() -> Case<ShuffleNetV2, 2> {
    Case {
        title: "ShuffleNet-V2",
        make: |device| ShuffleNetV2Config::new().init(device),
        quantised: None,
        floats: &[],
        forward: ShuffleNetV2::forward,
        depthwise: ShuffleNetV2::depthwise,
        input: PICTURE,
        output: [1, 10],
        convs: 56,
        free: 17,
        left_out: &["head"],
        groups: &[
            4, 8, 8, 8, 8, 16, 16, 16, 16, 16, 16, 16, 16, 4, 32, 32, 32, 32, 142,
        ],
        // Every shuffle and the halves after it tie channels together, in these stages until one is left.
        fixed: &[
            ("blocks.0.side.pointwise.conv", ALONE),
            ("blocks.0.second.conv", ALONE),
            ("blocks.1.second.conv", ALONE),
            ("blocks.2.second.conv", ALONE),
            ("blocks.3.second.conv", ALONE),
            ("blocks.4.side.depthwise.conv", ALONE),
            ("blocks.4.side.pointwise.conv", ALONE),
            ("blocks.4.second.conv", ALONE),
            ("blocks.5.second.conv", ALONE),
            ("blocks.6.second.conv", ALONE),
            ("blocks.7.second.conv", ALONE),
            ("blocks.8.second.conv", ALONE),
            ("blocks.9.second.conv", ALONE),
            ("blocks.10.second.conv", ALONE),
            ("blocks.11.second.conv", ALONE),
            ("blocks.12.side.depthwise.conv", ALONE),
        ],
        some: "blocks.*.side",
    }
}

fn efficientnet_b0() -> Case<EfficientNetB0, 2> {
    Case {
        title: "EfficientNet-B0",
        make: |device| EfficientNetB0Config::new().init(device),
        quantised: None,
        floats: &[],
        forward: EfficientNetB0::forward,
        depthwise: EfficientNetB0::depthwise,
        input: PICTURE,
        output: [1, 10],
        convs: 81,
        free: 39,
        left_out: &["head"],
        groups: &[
            8, 2, 4, 24, 2, 6, 36, 2, 36, 2, 10, 60, 3, 60, 3, 20, 120, 5, 120, 5, 120, 5, 28, 168, 7, 168,
            7, 168, 7, 48, 288, 12, 288, 12, 288, 12, 288, 12, 80, 320,
        ],
        fixed: &[],
        some: "blocks.*.project",
    }
}

fn unet() -> Case<UNet, 4> {
    Case {
        title: "U-Net (transposed)",
        make: |device| UNetConfig::new().init(device),
        quantised: None,
        floats: &[],
        forward: UNet::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10, 32, 32],
        convs: 19,
        free: 10,
        left_out: &[
            "decoder.0.transposed",
            "decoder.1.transposed",
            "decoder.2.transposed",
            "decoder.3.transposed",
        ],
        groups: &[
            4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 32, 32, 32, 16, 16, 16, 8, 8, 8, 4, 4, 4,
        ],
        fixed: &[],
        some: "decoder.*.conv",
    }
}

fn unet_nearest() -> Case<UNet, 4> {
    Case {
        title: "U-Net (nearest)",
        make: |device| UNetConfig::new().with_nearest(true).init(device),
        quantised: None,
        floats: &[],
        forward: UNet::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10, 32, 32],
        convs: 19,
        free: 10,
        left_out: &[],
        groups: &[4, 4, 8, 8, 16, 16, 32, 32, 64, 64, 32, 32, 16, 16, 8, 8, 4, 4],
        fixed: &[],
        some: "encoder.2",
    }
}

fn assorted() -> Case<Assorted, 2> {
    Case {
        title: "",
        make: |device| AssortedConfig::new().init(device),
        quantised: None,
        floats: &[],
        forward: Assorted::forward,
        depthwise: none,
        input: PICTURE,
        output: [1, 10],
        convs: 6,
        free: 3,
        left_out: &["squeeze", "excite", "head"],
        groups: &[8, 4, 6, 12, 8, 4],
        fixed: &[],
        some: "grouped",
    }
}

fn pair() -> Case<Pair, 2> {
    Case {
        title: "",
        make: |device| PairConfig::new().init(device),
        quantised: None,
        floats: &[],
        // Both pictures come as one.
        forward: |net, x| net.forward(x.clone().narrow(1, 0, 3), x.narrow(1, 3, 3)),
        depthwise: none,
        input: [1, 6, 16, 16],
        output: [1, 10],
        convs: 5,
        free: 1,
        left_out: &["head"],
        groups: &[6, 8, 6],
        fixed: &[],
        some: "shared",
    }
}

#[test]
fn the_table_says_what_is_tested() {
    table::is_in_the_docs(&rows());
}

impl<M: Module, const E: usize> Case<M, E> {
    /// The network with weights that keep the size of what goes through it, and batch norms that have seen a batch.
    fn network(&self) -> M {
        let device = Device::default().autodiff();
        let module = (self.make)(&device);
        let mut parameters = Parameters::of(&module);
        let all: Vec<(String, Vec<usize>)> = (parameters.iter())
            .map(|(path, data)| (path.to_owned(), data.shape().to_vec()))
            .collect();
        for (n, (path, shape)) in all.into_iter().enumerate() {
            let (middle, range) = match (&shape[..], path.rsplit('.').next()) {
                // Filled with zeros, they hold a tenth of what the batch has.
                (_, Some("running_mean" | "running_var")) => (0.0, 0.0),
                (_, Some("gamma" | "scale")) => (1.0, 0.5),
                ([_], _) => (0.2, 0.2),
                ([inputs, _], _) => (0.0, (6.0 / *inputs as f64).sqrt()),
                ([_, rest @ ..], _) => (0.0, (6.0 / rest.iter().product::<usize>() as f64).sqrt()),
                ([], _) => unreachable!("{path} has a dimension"),
            };
            let count = shape.iter().product();
            let values = noise(1 + n as u64, count).into_iter();
            let values: Vec<f32> = values.map(|v| (middle + range * v) as f32).collect();
            parameters.insert(path, TensorData::new(values, shape));
        }
        let module = parameters.put_into(module).unwrap();
        (self.forward)(&module, self.batch(16, 5, &device));
        // Burn brings statistics up to date on the way to evaluation.
        let mut parameters = Parameters::of(&module.valid());
        let statistics: Vec<(String, TensorData)> = (parameters.iter())
            .filter(|(path, _)| path.contains(".running_"))
            .map(|(path, data)| (path.to_owned(), data.clone()))
            .collect();
        for (path, data) in statistics {
            let least = if path.ends_with("var") { 1e-4 } else { f32::MIN };
            let tenths = data.as_slice::<f32>().unwrap();
            let whole: Vec<f32> = tenths.iter().map(|v| (10.0 * v).max(least)).collect();
            parameters.insert(path, TensorData::new(whole, data.shape().clone()));
        }
        parameters.put_into((self.make)(&Device::default())).unwrap()
    }

    /// The network with weights of two bits.
    fn in_two_bits(&self) -> M {
        let module = self.network();
        match self.quantised {
            None => WeightQuantizer::new(Bits::TWO).on(&module).apply(module).unwrap(),
            Some(make) => {
                // Quantised to their mean magnitude, weights of several layers would let what goes through them fade.
                let mut parameters = Parameters::of(&module);
                let weights: Vec<(String, TensorData)> = (parameters.iter())
                    .filter(|(_, data)| data.shape().num_dims() > 1)
                    .map(|(path, data)| (path.to_owned(), data.clone()))
                    .collect();
                for (path, data) in weights {
                    let larger: Vec<f32> = data.as_slice::<f32>().unwrap().iter().map(|v| 1.6 * v).collect();
                    parameters.insert(path, TensorData::new(larger, data.shape().clone()));
                }
                parameters.put_into(make(&Device::default())).unwrap()
            }
        }
    }

    fn batch(&self, pictures: usize, seed: u64, device: &Device) -> Tensor<4> {
        let mut shape = self.input;
        shape[0] = pictures;
        tensor(&noise(seed, shape.iter().product()), shape, device)
    }

    /// Random pictures as bytes, and as the network reads them. `None` where it reads no pictures of three channels.
    fn pictures(&self, count: usize, device: &Device) -> Option<(PictureSpec, Vec<u8>, Tensor<4>)> {
        let [_, channels, height, width] = self.input;
        if channels != 3 {
            return None;
        }
        let input = PictureSpec::numbered([height, width], self.output.iter().product());
        // Every second one is bright, with little contrast: no network takes it for the one before.
        let numbers = noise(13, count * height * width * 3);
        let bright = |n: usize| n / (height * width * 3) % 2 == 1;
        let pixels: Vec<u8> = (numbers.iter().enumerate())
            .map(|(n, x)| if bright(n) { 0.6 + 0.3 * x } else { *x })
            .map(|x| ((x + 1.0) * 127.9) as u8)
            .collect();
        let items = pixels.chunks_exact(height * width * 3).map(|pixels| PictureItem {
            size: [height, width],
            pixels: pixels.to_vec(),
            label: 0,
        });
        let batcher = PictureBatcher::new(input.normalization);
        let images = batcher.batch(items.collect(), device).images;
        Some((input, pixels, images))
    }

    fn outputs(&self, module: &M) -> Vec<f64> {
        let y = (self.forward)(module, self.batch(2, 9, &Device::default()));
        let mut shape = self.output;
        shape[0] = 2;
        assert_eq!(y.dims(), shape);
        let outputs = values(&y);
        assert!(outputs.iter().all(|v| v.is_finite()), "{outputs:?}");
        outputs
    }
}

fn numbers_of_the_right_shape<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = case.network();
    let outputs = case.outputs(&module);
    // Another picture gives other numbers, and none is of another size.
    let (one, other) = outputs.split_at(outputs.len() / 2);
    let apart = one.iter().zip(other).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f64::max) > 1e-2, "{outputs:?}");
    assert!(outputs.iter().all(|v| v.abs() < 100.0), "{outputs:?}");
    for (path, data) in Parameters::of(&module).iter() {
        let values = data.as_slice::<f32>().unwrap();
        let initial = if path.ends_with("running_var") { 1.0 } else { 0.0 };
        if path.contains(".running_") {
            assert!(values.iter().all(|&v| v != initial && v.is_finite()), "{path}");
        }
    }
}

fn channels_found_and_pruned<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = case.network();
    let groups = find_groups(&module, case.input, case.forward).unwrap();
    let found: Vec<usize> = groups.iter().map(|group| group.channels).collect();
    assert_eq!(found, case.groups, "{groups}");
    let layers = conv_layers(&module, case.input, case.forward).unwrap().layers;

    // Every channel that a convolution makes is in a group, or fixed.
    let mut fixed = Vec::new();
    for layer in &layers {
        let path = format!("{}.weight", layer.name);
        let mut channels = BTreeSet::new();
        for group in &groups {
            for slice in (group.slices.iter()).filter(|slice| slice.path == path && slice.dim == 0) {
                channels.extend((0..group.channels).flat_map(|channel| slice.indices(channel)));
            }
        }
        let of_layer = (groups.fixed().iter()).filter(|it| it.path == path && it.dim == 0);
        let count: usize = of_layer.clone().map(|it| it.channels).sum();
        assert_eq!(channels.len() + count, layer.out_channels, "{path}:\n{groups}");
        let of_layer = of_layer.filter(|it| it.reason != "the output");
        fixed.extend(of_layer.map(|it| (it.path.trim_end_matches(".weight"), it.reason)));
    }
    assert_eq!(fixed, case.fixed, "{groups}");

    // One channel less in one group, for each of them, and then in all at once.
    let depthwise: BTreeSet<String> = (layers.iter())
        .filter(|layer| layer.groups > 1 && layer.groups == layer.in_channels)
        .map(|layer| format!("{}.weight", layer.name))
        .collect();
    let unpruned = case.outputs(&module);
    let keeps_number =
        |group: &ChannelGroup| group.slices.iter().any(|slice| depthwise.contains(&slice.path));
    for fewer in (0..groups.len())
        .map(|n| n..n + 1)
        .chain(std::iter::once(0..groups.len()))
    {
        let widths = found.iter().enumerate();
        let widths: Vec<usize> = widths
            .map(|(n, width)| width - usize::from(fewer.contains(&n)))
            .collect();
        let pruned = groups.prune(&module, &widths, Ranking::L1, case.forward);
        let pruned = if groups.groups()[fewer.clone()].iter().any(keeps_number) {
            let error = pruned.unwrap_err().to_string();
            assert!(error.contains("prune_into"), "{error}");
            let smaller = smaller(case, &groups, &widths);
            groups.prune_into(&module, smaller, &widths, Ranking::L1, case.forward)
        } else {
            pruned
        };
        let expected = case.outputs(&masked(case, &module, &groups, &widths));
        let outputs = case.outputs(&pruned.unwrap());
        assert_close(
            &outputs,
            &expected,
            1e-4,
            &format!("groups {fewer:?}, pruned beside masked"),
        );
        // One that no ReLU lets through is not missed.
        assert!(fewer.len() == 1 || outputs != unpruned, "groups {fewer:?}");
    }
}

fn convolutions_listed<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = (case.make)(&Device::default());
    let found = conv_layers(&module, case.input, case.forward).unwrap();
    let names: Vec<&str> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
    assert_eq!(names.len(), case.convs, "{names:?}");
    let left_out: Vec<&str> = found.left_out.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(left_out, case.left_out);
    let parameters = Parameters::of(&module);
    for layer in &found.layers {
        let weight = parameters.get(&format!("{}.weight", layer.name)).unwrap();
        let [height, width] = layer.kernel;
        let expected = [
            layer.out_channels,
            layer.in_channels / layer.groups,
            height,
            width,
        ];
        assert_eq!(weight.shape().to_vec(), expected, "{}", layer.name);
    }
    // Every weight of a convolution is met.
    let weights = parameters.iter().filter(|(_, data)| data.shape().num_dims() == 4);
    let weights: BTreeSet<&str> = weights
        .map(|(path, _)| path.trim_end_matches(".weight"))
        .collect();
    let met: BTreeSet<&str> = names.into_iter().chain(left_out).collect();
    assert!(weights.is_subset(&met), "{weights:?} {met:?}");
}

/// The graph computes what the module does, to the bit, of a batch of another size, and has its convolutions.
fn described_as_a_graph<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = case.network().valid();
    let graph = Graph::of(&module, case.input, case.forward).unwrap();
    let device = Device::default();
    let x = case.batch(3, 11, &device);
    let expected = values(&(case.forward)(&module, x.clone()));
    let outputs: Tensor<E> = graph.on(&device).forward(x).unwrap();
    assert_eq!(values(&outputs), expected, "{graph}");

    let found = conv_layers(&module, case.input, case.forward).unwrap();
    let convs = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op(), Op::Conv(_)));
    let paths = |name: &str| {
        name.split('.')
            .filter(|part| part.parse::<usize>().is_err())
            .count()
    };
    for (node, layer) in convs.clone().zip(&found.layers) {
        assert!(
            node.name().starts_with(&layer.name) && paths(node.name()) > 0,
            "{} {}",
            node.name(),
            layer.name
        );
    }
    assert_eq!(convs.count(), found.layers.len());

    // For the mapper they are the same, and each free width is that of a group of channels: the layers that make it are those
    // whose filters go when one of its channels goes.
    let mapped = graph.mapped("network");
    for (layer, traced) in mapped.layers.iter().zip(&found.layers) {
        let traced = ConvLayer {
            name: layer.name.clone(),
            ..traced.clone()
        };
        assert_eq!(*layer, traced);
    }
    let groups = find_groups(&module, case.input, case.forward).unwrap();
    let makers: Vec<BTreeSet<&str>> = (groups.iter())
        .map(|group| {
            group
                .ranked_by
                .iter()
                .map(|slice| slice.path.trim_end_matches(".weight"))
                .collect()
        })
        .collect();
    // A layer that is computed again is called by another name.
    let known: BTreeSet<&str> = found.layers.iter().map(|layer| layer.name.as_str()).collect();
    let widths = if mapped.ties.is_empty() {
        Vec::new()
    } else {
        mapped.widths().unwrap()
    };
    for width in 0..widths.len() {
        let mut made = BTreeSet::new();
        for (layer, tie) in mapped.layers.iter().zip(&mapped.ties) {
            let depthwise = layer.groups > 1 && layer.groups == layer.in_channels;
            if tie.output == Some(width) && !depthwise {
                let again = layer
                    .name
                    .rsplit_once('.')
                    .map_or(layer.name.as_str(), |(name, _)| name);
                made.insert(if known.contains(layer.name.as_str()) {
                    layer.name.as_str()
                } else {
                    again
                });
            }
        }
        let full = |name: &&&str| {
            let layer = mapped.layers.iter().find(|layer| layer.name == **name);
            layer.is_some_and(|layer| layer.groups == 1 || layer.groups < layer.in_channels)
        };
        let fits = |makers: &BTreeSet<&str>| makers.iter().filter(full).eq(made.iter());
        assert!(makers.iter().any(fits), "{made:?}\n{groups}");
    }
    assert_eq!(widths.len(), case.free, "{graph}");
    // Narrower, it is a network that can be mapped.
    if !widths.is_empty() {
        let narrow: Vec<usize> = widths.iter().map(|width| width - width % 2).collect();
        let narrow = mapped.with_widths(&narrow).unwrap();
        narrow
            .layers
            .iter()
            .for_each(|layer| layer.validate(Accounting::ExactGeometry).unwrap());
    }
}

/// Other runtimes compute the same with the graph's ONNX file, of any number of pictures.
fn written_as_onnx<M: Module, const E: usize>(case: &Case<M, E>, name: &str) {
    let module = case.network().valid();
    let graph = Graph::of(&module, case.input, case.forward).unwrap();
    let x = case.batch(3, 11, &Device::default());
    let expected = values(&(case.forward)(&module, x.clone()));
    let file = File {
        name: name.into(),
        bytes: graph.to_onnx(&OnnxExport::new(name)).unwrap(),
        inputs: vec![(x.dims().to_vec(), x.into_data().try_to_vec().unwrap())],
        expected: vec![expected],
        tolerance: 1e-4,
    };
    check_and_keep(&[file]);
}

fn weights_quantised<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = case.network();
    let before = conv_layers(&module, case.input, case.forward).unwrap();
    let outputs = case.outputs(&module);
    if case.quantised.is_some() {
        // Its layers quantise their weights, and no other quantiser is put in front of them.
        let error = WeightQuantizer::new(Bits::TWO)
            .on(&module)
            .only(case.some)
            .unwrap_err();
        assert!(error.to_string().contains("is left to its Quant"), "{error}");
        let quantised = case.in_two_bits();
        assert_ne!(case.outputs(&quantised), outputs);
        assert_eq!(conv_layers(&quantised, case.input, case.forward).unwrap(), before);
        return;
    }
    let four = WeightQuantizer::lsq(Bits::new(4).unwrap());
    let plan = WeightQuantizer::new(Bits::TWO).on(&module);
    let plan = plan.with(case.some, four).unwrap();
    let chosen: BTreeSet<String> = plan.paths().map(str::to_owned).collect();
    let some: BTreeSet<String> = (plan.clone().only(case.some).unwrap().paths())
        .map(str::to_owned)
        .collect();
    for layer in &before.layers {
        assert!(
            chosen.contains(&format!("{}.weight", layer.name)),
            "{}",
            layer.name
        );
    }
    let groups = find_groups(&module, case.input, case.forward).unwrap();
    let quantized = plan.apply(module).unwrap();
    let found = case.outputs(&quantized);
    assert_ne!(found, outputs);
    assert_eq!(conv_layers(&quantized, case.input, case.forward).unwrap(), before);
    let of_quantized = find_groups(&quantized, case.input, case.forward).unwrap();
    assert_eq!(of_quantized.to_string(), groups.to_string());

    // As many values as the bits have, and what was computed with them.
    let materialized = quantized.materialize();
    let parameters = Parameters::of(&materialized);
    for path in &chosen {
        let values = parameters.values(path).unwrap();
        let different: BTreeSet<u32> = values.iter().map(|v| v.to_bits()).collect();
        let most = if some.contains(path) { 16 } else { 4 };
        assert!(different.len() <= most, "{path}: {}", different.len());
    }
    assert_close(&case.outputs(&materialized), &found, 1e-5, "materialised");
}

/// Packed, the network with quantised weights gives what it does as a module: every output, of maps number by number.
fn packed_as_trained<M: Module, const E: usize>(case: &Case<M, E>) {
    let module = case.in_two_bits();
    let graph = Graph::of(&module, case.input, case.forward).unwrap();
    let Some((input, pixels, images)) = case.pictures(2, &Device::default()) else {
        return refused_by_its_channels(&graph);
    };
    let packed = Model::of(&graph, "network", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
    let packed = Model::from_bytes(&packed.to_bytes()).unwrap();
    let found = Session::new(&packed).logits(&pixels).to_vec();
    let found: Vec<f64> = found.into_iter().map(f64::from).collect();
    let expected = values(&(case.forward)(&module, images));
    assert_close(&found, &expected, 1e-4, "packed");
}

/// A network that reads anything but pictures of three channels is not packed.
fn refused_by_its_channels(graph: &Graph) {
    let input = PictureSpec::numbered([16, 16], 10);
    let error = Model::of(graph, "network", &input).unwrap_err().to_string();
    assert!(error.contains("expected pictures of 3 channels"), "{error}");
}

/// The indices along dimensions of parameters that belong to channels which go.
fn gone(
    module: &Parameters,
    groups: &FoundGroups,
    widths: &[usize],
) -> BTreeMap<(String, usize), BTreeSet<usize>> {
    let mut gone: BTreeMap<(String, usize), BTreeSet<usize>> = BTreeMap::new();
    for (group, &width) in groups.iter().zip(widths) {
        let kept = keep_largest(&Ranking::L1.scores(group, module).unwrap(), width);
        for channel in (0..group.channels).filter(|channel| !kept.contains(channel)) {
            for slice in &group.slices {
                let gone = gone.entry((slice.path.clone(), slice.dim)).or_default();
                gone.extend(slice.indices(channel));
            }
        }
    }
    gone
}

/// The module with zeros in all that belongs to channels which go.
fn masked<M: Module, const E: usize>(
    case: &Case<M, E>,
    module: &M,
    groups: &FoundGroups,
    widths: &[usize],
) -> M {
    let mut parameters = Parameters::of(module);
    for ((path, dim), gone) in gone(&parameters, groups, widths) {
        let shape = parameters.get(&path).unwrap().shape().to_vec();
        let mut values = parameters.values(&path).unwrap().to_vec();
        let inner: usize = shape[dim + 1..].iter().product();
        for block in values.chunks_mut(shape[dim] * inner) {
            for index in &gone {
                block[index * inner..][..inner].fill(0.0);
            }
        }
        parameters.insert(path, TensorData::new(values, shape));
    }
    parameters.put_into((case.make)(&Device::default())).unwrap()
}

/// A module made for these widths.
fn smaller<M: Module, const E: usize>(case: &Case<M, E>, groups: &FoundGroups, widths: &[usize]) -> M {
    struct Shrink {
        path: Vec<String>,
        fewer: BTreeMap<String, Vec<(usize, usize)>>,
    }

    impl ModuleMapper for Shrink {
        fn enter_module(&mut self, name: &str, _container: &str) {
            self.path.push(name.into());
        }

        fn exit_module(&mut self, _name: &str, _container: &str) {
            self.path.pop();
        }

        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let Some(fewer) = self.fewer.get(&self.path.join(".")) else {
                return param;
            };
            param.map(|old| {
                let mut shape = old.dims();
                fewer.iter().for_each(|&(dim, count)| shape[dim] -= count);
                Tensor::zeros(shape, &old.device())
            })
        }
    }

    let module = (case.make)(&Device::default());
    let mut fewer: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
    for ((path, dim), gone) in gone(&Parameters::of(&module), groups, widths) {
        fewer.entry(path).or_default().push((dim, gone.len()));
    }
    let path = Vec::new();
    let mut module = module.map(&mut Shrink { path, fewer });
    for conv in (case.depthwise)(&mut module) {
        conv.groups = conv.weight.dims()[0];
    }
    module
}
