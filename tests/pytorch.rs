//! Weights come from PyTorch by name, or not at all, and go back so that PyTorch computes the same.
//! `benches/peers/state_dicts.py` made the files in `fixtures/pytorch`.
#![cfg(feature = "train")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use burn::tensor::{Device, TensorData};
use common::{assert_close, noise, tensor, values};
use proptest::prelude::*;
use tempfile::TempDir;
use vwc_sdk::data::PictureSpec;
use vwc_sdk::models::{
    BlockOrder, Cnn8Config, FullPrecision, Network, NetworkConfig, ResNet20Config, Vgg13Config, Widths,
};
use vwc_sdk::module::Parameters;
use vwc_sdk::prune::{Ranking, prune};
use vwc_sdk::pytorch::{StateDict, TorchNames, Weights, save_safetensors};
use vwc_sdk::quant::Bits;

fn fixture(name: &str) -> PathBuf {
    Path::new("tests/fixtures").join(name)
}

fn cnn8() -> Cnn8Config {
    Cnn8Config::new().with_widths([4, 5, 6, 7, 5, 6, 8])
}

fn resnet20() -> ResNet20Config {
    ResNet20Config::new().with_widths([3, 4, 5])
}

fn vgg13() -> Vgg13Config {
    Vgg13Config::new()
        .with_widths([3, 4, 4, 5, 5, 6, 6, 7, 7, 8])
        .with_hidden([6, 7])
}

fn load<C: NetworkConfig<Network: TorchNames>>(file: &str, config: &C) -> C::Network {
    let file = StateDict::read(&fixture(file)).unwrap();
    file.load_into(config.init(&Device::default())).unwrap()
}

fn same<N: Network>(a: &N, b: &N) {
    let (a, b) = (Parameters::of(a), Parameters::of(b));
    for ((path, a), (_, b)) in a.iter().zip(b.iter()) {
        assert_eq!(
            a.as_slice::<f32>().unwrap(),
            b.as_slice::<f32>().unwrap(),
            "{path}"
        );
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, vwc_sdk::Error>, parts: &[&str]) {
    let error = result.unwrap_err().to_string();
    for part in parts {
        assert!(error.contains(part), "{part} missing in: {error}");
    }
}

/// What a network of this structure reads, of classes without names.
fn digits<C: NetworkConfig>(config: &C) -> PictureSpec {
    PictureSpec::numbered(config.input(), config.classes())
}

#[test]
fn files_of_every_kind_hold_the_same_weights() {
    // Behind `bn_dict`, as the original's scripts save them, in today's format and in the old one.
    let network = load("parity/cnn8.safetensors", &cnn8());
    same(&load("pytorch/cnn8.pt", &cnn8()), &network);
    same(&load("pytorch/cnn8-legacy.pth", &cnn8()), &network);
    // A checkpoint with an optimiser's tensors beside it, behind two prefixes.
    let network = load("parity/resnet20.safetensors", &resnet20());
    same(&load("pytorch/resnet20-checkpoint.pth", &resnet20()), &network);
    same(&load("pytorch/resnet20-everything.pt", &resnet20()), &network);
    // With layers that are never used, and as a whole module.
    let network = load("parity/vgg13.safetensors", &vgg13());
    same(&load("pytorch/vgg13.pth", &vgg13()), &network);
    same(&load("pytorch/vgg13-module.pth", &vgg13()), &network);
}

#[test]
fn a_training_checkpoint_is_read_and_so_is_bfloat16() {
    // Beside the network: a counter of 64-bit integers, a loss that is NaN, the state of a generator, bool masks under the
    // names of the weights, and a scheduler's `collections.Counter`.
    holds_small_cnn8("cnn8-training.pt", 0.0);
    holds_small_cnn8("cnn8-bfloat16.pt", 2f32.powi(-8));
}

#[test]
fn what_lies_beside_a_network_is_passed_over() {
    // Sparse, complex, quantised, nested and 8-bit tensors, those without numbers, filled dictionaries of Python's library,
    // keys of any type, and objects. The network's own weights are views, one of them negated, one transposed.
    for file in ["cnn8-beside.pt", "cnn8-beside-late.pt", "cnn8-beside-legacy.pt"] {
        holds_small_cnn8(file, 0.0);
    }
    holds_small_cnn8("cnn8-big-endian.pt", 0.0);
    // Written without checksums.
    holds_small_cnn8("cnn8-unchecked.pt", 0.0);
}

/// Checks that a file holds the first channel of each layer of the fixtures' CNN-8, but for a relative error.
#[track_caller]
fn holds_small_cnn8(file: &str, precision: f32) {
    let small = Cnn8Config::new().with_widths([1; 7]);
    let full = load("parity/cnn8.safetensors", &cnn8());
    let full = Parameters::of(&full);
    let file = StateDict::read(&fixture(&format!("pytorch/{file}"))).unwrap();
    assert_eq!(file.fit(&Cnn8Config::new()).unwrap(), small);
    let network = file.load_into(small.init(&Device::default())).unwrap();
    for (path, found) in Parameters::of(&network).iter() {
        let found = found.as_slice::<f32>().unwrap();
        // Of the first channel, so the numbers that stand first.
        let expected = &full.values(path).unwrap()[..found.len()];
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(
                error <= precision * expected.abs(),
                "{path}: {found}, expected {expected}"
            );
        }
    }
}

#[test]
fn weights_of_another_kind_are_named() {
    let small = Cnn8Config::new().with_widths([1; 7]);
    let file = StateDict::read(&fixture("pytorch/cnn8-sparse.pt")).unwrap();
    refused(
        file.load_into(small.init(&Device::default())),
        &["cnn8-sparse.pt", "fc.weight is a sparse tensor", "to_dense()"],
    );
    refused(
        StateDict::read(&fixture("pytorch/script.pt")),
        &[
            "script.pt",
            "this is TorchScript",
            "save the module's state_dict()",
        ],
    );
}

/// A safetensors file of the fixtures' CNN-8: `names` gives the names under which it holds each tensor.
fn renamed(path: &Path, names: impl Fn(&str) -> Vec<String>) -> StateDict {
    use safetensors::{SafeTensors, serialize_to_file};
    let bytes = fs::read(fixture("parity/cnn8.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = weights
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weights.")?, tensor)));
    let tensors =
        tensors.flat_map(|(name, tensor)| names(name).into_iter().map(move |name| (name, tensor.clone())));
    serialize_to_file(tensors, None, path).unwrap();
    StateDict::read(path).unwrap()
}

/// The fixtures' CNN-8, whose first weight is said to be of whole numbers.
fn with_whole_numbers(path: &Path) -> StateDict {
    let mut bytes = fs::read(fixture("parity/cnn8.safetensors")).unwrap();
    let entry = b"\"weights.layers.0.weight\":{\"dtype\":\"F32\"";
    let at = bytes.windows(entry.len()).position(|text| text == entry).unwrap() + entry.len();
    bytes[at - 4..at].copy_from_slice(b"I32\"");
    fs::write(path, bytes).unwrap();
    StateDict::read(path).unwrap()
}

#[test]
fn a_second_network_is_never_taken_for_the_first() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("two.safetensors");
    let load = |file: &StateDict| file.load_into(cnn8().init(&Device::default()));
    // The one that was meant lacks a tensor, and the other has them all.
    for left_out in ["", "fc.bias"] {
        let file = renamed(&path, |name| {
            let model = (name != left_out).then(|| format!("model.{name}"));
            model.into_iter().chain([format!("ema.{name}")]).collect()
        });
        refused(
            load(&file),
            &["two.safetensors", "more than once, under `ema` and `model`"],
        );
    }
    // One batch norm in two forms.
    let file = renamed(&path, |name| {
        let (layer, leaf) = name.rsplit_once('.').unwrap();
        match layer {
            "layers.4" => vec![name.into(), format!("{layer}.bn_dict.1.{leaf}")],
            _ => vec![name.into()],
        }
    });
    refused(
        load(&file),
        &[
            "two.safetensors",
            "it holds layers.4.bias within `bn_dict` and beside it",
        ],
    );
    // The bit widths of another network's norms are nothing to this one.
    let file = renamed(&path, |name| match name.strip_prefix("layers.4.") {
        Some(leaf) => vec![
            name.into(),
            format!("teacher.norm.bn_dict.1.{leaf}"),
            format!("teacher.norm.bn_dict.2.{leaf}"),
        ],
        None => vec![name.into()],
    });
    refused(load(&file), &["left over: teacher.norm"]);
    let file = renamed(&path, |name| {
        let mut names = vec![format!("model.{name}")];
        names.extend((1..3).map(|bits| format!("teacher.norm.bn_dict.{bits}.{name}")));
        names.truncate(if name.starts_with("layers.4.") { 3 } else { 1 });
        names
    });
    load(&file).unwrap();
}

#[test]
fn a_counter_among_the_weights_is_passed_over() {
    use safetensors::tensor::{Dtype, TensorView};
    use safetensors::{SafeTensors, serialize_to_file};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("counted.safetensors");
    let bytes = fs::read(fixture("parity/cnn8.safetensors")).unwrap();
    let weights = SafeTensors::deserialize(&bytes).unwrap();
    let epoch = TensorView::new(Dtype::I64, Vec::new(), &[3, 0, 0, 0, 0, 0, 0, 0]).unwrap();
    let tensors = weights
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weights.")?, tensor)));
    serialize_to_file(tensors.chain([("epoch", epoch)]), None, &path).unwrap();
    let file = StateDict::read(&path).unwrap();
    file.load_into(cnn8().init(&Device::default())).unwrap();
}

#[test]
fn errors_stay_short_and_say_why() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("many.safetensors");
    let file = renamed(&path, |name| match name {
        "fc.bias" => (0..100)
            .map(|n| format!("extra{n:02}"))
            .chain([name.into()])
            .collect(),
        _ => vec![name.into()],
    });
    let loaded = file.load_into(cnn8().init(&Device::default()));
    refused(loaded, &["left over: extra00, extra01, ", "extra19 and 80 more"]);
    // Where the widths are read off the weights, too.
    let fitted = with_whole_numbers(&path).fit(&Cnn8Config::new());
    refused(fitted, &["layers.0.weight is of type I32, expected floats"]);
}

#[test]
fn masks_of_all_weights_are_not_a_second_network() {
    use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("masked.safetensors");
    let bytes = fs::read(fixture("parity/cnn8.safetensors")).unwrap();
    let weights = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ones = vec![1u8; 1 << 16];
    let mut tensors = Vec::new();
    for (name, tensor) in weights.iter() {
        let Some(name) = name.strip_prefix("weights.") else {
            continue;
        };
        let numbers = tensor.shape().iter().product();
        let mask = TensorView::new(Dtype::BOOL, tensor.shape().to_vec(), &ones[..numbers]).unwrap();
        tensors.push((format!("masks.{name}"), mask));
        tensors.push((format!("model.{name}"), tensor));
    }
    serialize_to_file(tensors, None, &path).unwrap();
    let file = StateDict::read(&path).unwrap();
    let network = file.load_into(cnn8().init(&Device::default())).unwrap();
    same(&network, &load("parity/cnn8.safetensors", &cnn8()));
}

#[test]
fn a_file_is_known_by_what_is_in_it() {
    let dir = TempDir::new().unwrap();
    let network = load("parity/cnn8.safetensors", &cnn8());
    for from in [
        "pytorch/cnn8.pt",
        "pytorch/cnn8-legacy.pth",
        "parity/cnn8.safetensors",
    ] {
        for ending in [
            ".pt",
            ".pth",
            ".pth.tar",
            ".th",
            ".ckpt",
            ".bin",
            ".safetensors",
            "",
        ] {
            let path = dir.path().join(format!("file{ending}"));
            fs::copy(fixture(from), &path).unwrap();
            let file = StateDict::read(&path).unwrap();
            same(
                &file.load_into(cnn8().init(&Device::default())).unwrap(),
                &network,
            );
        }
    }
    let path = dir.path().join("real.pth.tar");
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, reason) in [
        (&tar[..], "this is a tar archive: unpack it"),
        (&b"\x89HDF\r\n\x1a\n"[..], "no PyTorch or safetensors file"),
        (&b"PK\x05\x06"[..], "cut short or damaged"),
    ] {
        fs::write(&path, bytes).unwrap();
        refused(StateDict::read(&path), &["real.pth.tar", reason]);
    }
}

#[test]
fn widths_are_those_of_the_file() {
    let file = StateDict::read(&fixture("pytorch/cnn8.pt")).unwrap();
    assert_eq!(file.fit(&Cnn8Config::new()).unwrap(), cnn8());
    let file = StateDict::read(&fixture("pytorch/resnet20-checkpoint.pth")).unwrap();
    assert_eq!(file.fit(&ResNet20Config::new()).unwrap(), resnet20());
    let file = StateDict::read(&fixture("pytorch/vgg13.pth")).unwrap();
    assert_eq!(
        file.fit(&Vgg13Config::new()).unwrap(),
        vgg13(),
        "hidden layers too"
    );
    let file = StateDict::read(&fixture("pytorch/resnet20-checkpoint.pth")).unwrap();
    refused(
        file.fit(&cnn8()),
        &[
            "resnet20-checkpoint.pth",
            "no tensor layers.0.weight (convs.0.weight of CNN-8)",
        ],
    );
}

#[test]
fn the_file_tells_which_network_in_full_precision_it_holds() {
    fn check<C: NetworkConfig<Network: TorchNames>>(config: C, twin: &str, published: C) {
        for (name, expected) in [
            (twin.to_owned(), &config),
            (format!("{twin}-published"), &published),
        ] {
            let path = fixture(&format!("parity/{name}.safetensors"));
            let file = StateDict::read(&path).unwrap();
            let fitted = file.fit(&config).unwrap();
            assert_eq!(&fitted, expected, "{name}");
            file.load_into(fitted.init(&Device::default())).unwrap();
        }
        // The other one is refused by name.
        let path = fixture(&format!("parity/{twin}-published.safetensors"));
        let file = StateDict::read(&path).unwrap();
        refused(file.load_into(config.init(&Device::default())), &["missing: "]);
    }
    let resnet = resnet20().with_quantized(false);
    let published = resnet.clone().with_full_precision(FullPrecision::Published);
    check(resnet, "resnet20", published);
    let vgg = vgg13().with_quantized(false);
    let published = vgg.clone().with_full_precision(FullPrecision::Published);
    check(vgg, "vgg13", published);
    let both = ResNet20Config::new()
        .with_quantized(false)
        .with_full_precision(FullPrecision::Published)
        .with_order(BlockOrder::PreActivation);
    refused(both.validate(), &["ResNet-20", "pre-activation"]);
}

#[test]
fn what_does_not_fit_is_listed_by_name() {
    let device = Device::default();
    let file = StateDict::read(&fixture("pytorch/resnet20-checkpoint.pth")).unwrap();
    // Another structure: what it wants is missing, what the file has is left over.
    let pre = resnet20().with_order(BlockOrder::PreActivation);
    refused(
        file.load_into(pre.init(&device)),
        &[
            "missing: bn.weight, bn.bias, bn.running_mean, bn.running_var",
            "left over: bn1.bias, bn1.running_mean",
        ],
    );
    // Mixed-up widths.
    let wider = resnet20().with_widths([3, 4, 6]);
    refused(
        file.load_into(wider.init(&device)),
        &[
            "layer3.0.conv0.weight is 5x4x3x3, expected 6x4x3x3",
            "linear.weight is 10x5, expected 10x6",
        ],
    );
    // Another network altogether.
    refused(
        file.load_into(cnn8().init(&device)),
        &["missing: layers.0.weight"],
    );
}

#[test]
fn nothing_that_a_pickle_calls_is_run() {
    // By the function whose result is kept, or is dropped; and however the function's name is put.
    for name in [
        "runs-code",
        "runs-code-unseen",
        "runs-code-unseen-compressed",
        "runs-code-unseen-by-texts",
        "runs-code-torch",
    ] {
        let file = StateDict::read(&fixture(&format!("pytorch/{name}.pt"))).unwrap();
        // What the call would have returned is no tensor.
        let error = file.load_into(resnet20().init(&Device::default())).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("conv1.weight is 1, expected") && !error.contains("extra"),
            "{error}"
        );
    }
    assert!(!Path::new("hacked").exists());
}

#[test]
fn a_small_file_takes_little_memory_whatever_it_declares() {
    let path = fixture("pytorch/expanded.pt");
    assert!(fs::metadata(&path).unwrap().len() < 2000);
    let file = StateDict::read(&path).unwrap();
    // The shape is compared before a number is read.
    refused(
        file.load_into(cnn8().init(&Device::default())),
        &["layers.0.weight is 2147483648, expected 4x3x5x5"],
    );
}

/// A file of zeros under the names of CNN-8, each of the shape that `shape` makes of its own in a network of one channel.
fn safetensors_of_cnn8(shape: impl Fn(Vec<usize>) -> Vec<usize>) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let network = Cnn8Config::new().with_widths([1; 7]).init(&Device::default());
    let parameters = Parameters::of(&network);
    let zeros = vec![0; 1 << 20];
    let tensors = network.torch_names().into_iter().map(|name| {
        let own = parameters.get(&name.path).unwrap().shape().to_vec();
        let own = if name.torch == "fc.weight" {
            vec![own[1], own[0]]
        } else {
            own
        };
        let shape = shape(own);
        let numbers = &zeros[..4 * shape.iter().product::<usize>()];
        (name.torch, TensorView::new(Dtype::F32, shape, numbers).unwrap())
    });
    serialize(tensors.collect::<Vec<_>>(), None).unwrap()
}

#[test]
fn a_network_is_made_only_where_its_numbers_are_there() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("wide.safetensors");
    // Convolutions of 8192 filters, none of which has a number: a network of 5 GB.
    let wide = |mut shape: Vec<usize>| {
        if shape.len() == 4 {
            shape[..2].copy_from_slice(&[8192, 0]);
        }
        shape
    };
    fs::write(&path, safetensors_of_cnn8(wide)).unwrap();
    let file = StateDict::read(&path).unwrap();
    let config = file.fit(&Cnn8Config::new()).unwrap();
    assert_eq!(config.widths, [8192; 7]);
    refused(
        file.load_into(config.init(&Device::default())),
        &["layers.3.weight is 8192x0x3x3, expected 8192x8192x3x3"],
    );
}

#[test]
fn names_of_tensors_are_shown_and_not_obeyed() {
    use safetensors::tensor::{Dtype, TensorView, serialize};
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("names.safetensors");
    let number = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    fs::write(&path, serialize([("fc.bias\u{1b}[2J", number)], None).unwrap()).unwrap();
    let file = StateDict::read(&path).unwrap();
    refused(
        file.load_into(cnn8().init(&Device::default())),
        &["left over: fc.bias\\u{1b}[2J"],
    );
}

#[test]
fn batch_norms_of_two_bit_widths_are_refused() {
    let file = StateDict::read(&fixture("pytorch/cnn8-two-norms.pt")).unwrap();
    assert_eq!(file.norm_bits().into_iter().collect::<Vec<_>>(), ["1", "4"]);
    refused(
        file.load_into(cnn8().init(&Device::default())),
        &["cnn8-two-norms.pt", "several bit widths (1, 4)"],
    );
}

#[test]
fn bad_files_are_named() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    refused(StateDict::read(&path("absent.pt")), &["absent.pt", "open"]);
    for name in ["empty.pt", "empty.pth", "empty.safetensors", "text.txt"] {
        fs::write(path(name), "").unwrap();
        refused(StateDict::read(&path(name)), &[name]);
    }
    for (from, name) in [
        ("pytorch/cnn8.pt", "cut.pt"),
        ("parity/cnn8.safetensors", "cut.safetensors"),
    ] {
        let bytes = fs::read(fixture(from)).unwrap();
        fs::write(path(name), &bytes[..bytes.len() / 2]).unwrap();
        refused(StateDict::read(&path(name)), &[name]);
    }
    let bytes = fs::read(fixture("pytorch/cnn8.pt")).unwrap();
    fs::write(path("almost.pt"), &bytes[..bytes.len() - 1]).unwrap();
    refused(
        StateDict::read(&path("almost.pt")),
        &["almost.pt", "cut short or damaged"],
    );
}

#[test]
fn numbers_that_cannot_be_are_named() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("odd.safetensors");
    for (vector, number, torch, reason) in [
        ("norms.2.beta", f32::NAN, "layers.11.bias", "NaN"),
        (
            "norms.2.running_var",
            -0.5,
            "layers.11.running_var",
            "a variance below 0",
        ),
    ] {
        let network = cnn8().init(&Device::default());
        let mut parameters = Parameters::of(&network);
        let mut numbers = parameters.values(vector).unwrap().to_vec();
        numbers[3] = number;
        parameters.insert(vector, TensorData::new(numbers, [7]));
        let network = parameters.put_into(network).unwrap();
        save_safetensors(&network, &digits(&cnn8()), &path, Weights::Latent).unwrap();
        let file = StateDict::read(&path).unwrap();
        refused(
            file.load_into(cnn8().init(&Device::default())),
            &["odd.safetensors", torch, reason],
        );
    }
    // Whole numbers are no weights.
    let file = with_whole_numbers(&path);
    refused(
        file.load_into(cnn8().init(&Device::default())),
        &["odd.safetensors", "is of type I32, expected floats"],
    );
}

#[test]
fn a_pruned_network_comes_back_with_no_other_information() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("pruned.safetensors");
    let device = Device::default();
    let config = resnet20();
    let network = load("parity/resnet20.safetensors", &config);
    let pruned = prune(&network, &[2, 1, 3, 2, 2, 4, 1, 4, 3, 5, 4, 5], Ranking::L1).unwrap();
    let structure = pruned.network.structure();
    assert_eq!(structure.widths(), [2, 1, 3, 2, 4, 2, 1, 4, 5, 3, 4, 5]);
    save_safetensors(&pruned.network, &digits(&structure), &path, Weights::Latent).unwrap();

    let file = StateDict::read(&path).unwrap();
    assert_eq!(file.network(), Some("ResNet-20"));
    let config: ResNet20Config = file.structure().unwrap().unwrap();
    assert_eq!(config, structure);
    assert_eq!(file.structure::<Cnn8Config>().unwrap(), None);
    let back = file.load_into(config.init(&device)).unwrap();
    same(&back, &pruned.network);
    let x = tensor(&noise(4, 2 * 3 * 32 * 32), [2, 3, 32, 32], &device);
    assert_eq!(
        values(&back.forward(x.clone())),
        values(&pruned.network.forward(x))
    );
    // Without that metadata its shapes tell.
    assert_eq!(file.fit(&resnet20()).unwrap(), structure);
}

#[test]
fn quantised_weights_compute_the_same_in_plain_layers() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("quantised.safetensors");
    let device = Device::default();
    let config = vgg13().with_weight_bits(Bits::ONE);
    let network = load("parity/vgg13.safetensors", &config);
    save_safetensors(&network, &digits(&config), &path, Weights::Quantized).unwrap();
    let plain = config.clone().with_quantized(false);
    let back = StateDict::read(&path)
        .unwrap()
        .load_into(plain.init(&device))
        .unwrap();
    for (n, (ours, theirs)) in network.convs.iter().zip(&back.convs).enumerate() {
        assert_eq!(
            values(&ours.quantized_weight()),
            values(&theirs.weight.val()),
            "convolution {n}"
        );
    }
    for (ours, theirs) in network.hidden.iter().zip(&back.hidden) {
        assert_eq!(values(&ours.quantized_weight()), values(&theirs.weight.val()));
    }
}

/// Where Python and PyTorch are there, they are asked. `benches/peers` says how to install them.
#[test]
fn pytorch_computes_the_same_logits_from_our_files() {
    let probe = Command::new("python3")
        .args(["-c", "import torch, safetensors"])
        .output();
    if !probe.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 with torch and safetensors is not here");
        return;
    }
    let dir = TempDir::new().unwrap();
    let device = Device::default();
    let x = tensor(&noise(4, 2 * 3 * 32 * 32), [2, 3, 32, 32], &device);
    let script = "
import sys, torch, numpy as np
sys.path.insert(0, 'benches/peers')
from safetensors.torch import load_file
from golden import noise
from networks import ResNet20
net = ResNet20([3, 4, 5], 2, 2)
if sys.argv[2] == 'Quantized':  # the weights are what is computed with: plain layers
    for module in net.modules():
        if hasattr(module, 'weight') and hasattr(module, 'bits'):
            module.bits = None
net.load_state_dict(load_file(sys.argv[1]))
x = torch.from_numpy(noise(4, 2 * 3 * 32 * 32).astype(np.float32)).reshape(2, 3, 32, 32)
print(*net.eval()(x).flatten().tolist())
";
    let network = load("parity/resnet20.safetensors", &resnet20());
    let expected = values(&network.forward(x));
    for weights in [Weights::Latent, Weights::Quantized] {
        let name = format!("{weights:?}");
        let path = dir.path().join(format!("{name}.safetensors"));
        save_safetensors(&network, &digits(&resnet20()), &path, weights).unwrap();
        let output = Command::new("python3")
            .args(["-c", script])
            .args([path.as_os_str(), name.as_ref()])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let logits: Vec<f64> = String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        assert_close(&logits, &expected, 1e-4, &name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever befalls a file, it is read or refused: no panic, and no weights that are not numbers.
    #[test]
    fn damaged_files_are_read_or_refused(at in 0usize..40_000, byte in any::<u8>(), pickle in any::<bool>()) {
        let (from, name) = if pickle { ("pytorch/cnn8.pt", "x.pt") } else { ("parity/vgg13.safetensors", "x.safetensors") };
        let mut bytes = fs::read(fixture(from)).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        if let Ok(file) = StateDict::read(&path) {
            let _ = file.load_into(cnn8().init(&Device::default()));
        }
    }
}
