//! The readers that need Burn: weights of PyTorch, data sets, pictures and the folders of runs.
//!
//! What is read is written into a folder of its own first, which goes with the target's end.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use burn::tensor::Device;
use tempfile::TempDir;
use vwc_sdk::Error;
use vwc_sdk::data::{PictureSpec, Pictures, cifar10, folder, svhn};
use vwc_sdk::models::{Cnn8Config, NetworkConfig, ResNet20Config, Vgg13Config};
use vwc_sdk::pytorch::{StateDict, TorchNames};
use vwc_sdk::train::RunDir;

use super::{printed, refused};

/// What stands between a pickle and its numbers.
const NUMBERS: &[u8] = b"\0NUMBERS\0";

/// A file of `torch.save`. The bytes are its pickle, [`NUMBERS`], and the storage `0`, on which all of its tensors lie.
pub fn pytorch_file(bytes: &[u8]) {
    let (pickle, numbers) = divided(bytes, NUMBERS);
    state_dict(&zip(&[
        ("archive/data.pkl", pickle),
        ("archive/byteorder", b"little"),
        ("archive/data/0", numbers),
        ("archive/version", b"3\n"),
    ]));
}

/// The same file as it lies on the disk, and those of older formats.
pub fn pytorch_raw_file(bytes: &[u8]) {
    state_dict(bytes);
}

/// A safetensors file. The bytes are its header, a zero, and its numbers; the length before them is made to fit.
pub fn safetensors_file(bytes: &[u8]) {
    let (header, numbers) = divided(bytes, b"\0");
    let length = (header.len() as u64).to_le_bytes();
    state_dict(&[&length[..], header, numbers].concat());
}

/// The six files of CIFAR-10. Each line of the bytes is one of them: a comma is a byte, and any other character a picture,
/// whose label it is.
pub fn cifar_files(bytes: &[u8]) {
    /// Pictures of a file.
    const MOST: usize = 8;

    let dir = folder_of_its_own();
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let names = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    for (name, line) in names.chain(["test_batch.bin".into()]).zip(&mut lines) {
        let mut file = Vec::new();
        for &byte in line.iter().take(MOST) {
            file.push(byte.wrapping_sub(b'0'));
            if byte != b',' {
                file.extend([byte; 3 * 32 * 32]);
            }
        }
        fs::write(dir.path().join(name), file).unwrap();
    }
    read_cifar(dir.path());
}

/// The archive of CIFAR-10. The bytes are that of its tar; the checksums of its headers are made to fit.
pub fn cifar_archive(bytes: &[u8]) {
    const BLOCK: usize = 512;
    const SIZE: std::ops::Range<usize> = 124..136;
    const SUM: std::ops::Range<usize> = 148..156;

    let mut tar = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        let digits = header[SIZE].iter().take_while(|byte| byte.is_ascii_digit());
        let size = digits.fold(0_usize, |size, &digit| {
            size.saturating_mul(8).saturating_add(usize::from(digit - b'0'))
        });
        header[SUM].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        // An empty block ends the archive, and has no checksum.
        if sum == 8 * u32::from(b' ') {
            header[SUM].fill(0);
            break;
        }
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        at = at
            .saturating_add(BLOCK)
            .saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    let dir = folder_of_its_own();
    fs::write(dir.path().join("cifar-10-binary.tar.gz"), gzip(&tar)).unwrap();
    read_cifar(dir.path());
}

fn read_cifar(dir: &Path) {
    match cifar10::load(dir) {
        Ok((train, test)) => {
            sound(&train);
            sound(&test);
        }
        Err(why) => sentence(&why),
    }
}

/// A file of SVHN, as it is and with its arrays compressed.
pub fn mat_file(bytes: &[u8]) {
    /// Header, and tag of an element.
    const HEADER: usize = 128;
    const TAG: usize = 8;

    let dir = folder_of_its_own();
    let path = dir.path().join("train_32x32.mat");
    let read = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match svhn::load(&path) {
            Ok(pictures) => sound(&pictures),
            Err(why) => sentence(&why),
        }
    };
    read(bytes);
    let (header, mut rest) = bytes.split_at(HEADER.min(bytes.len()));
    let mut compressed = header.to_vec();
    while let Some(&[.., a, b, c, d]) = rest.first_chunk::<TAG>() {
        let length = TAG.saturating_add(u32::from_le_bytes([a, b, c, d]) as usize);
        let (element, others) = rest.split_at(length.min(rest.len()));
        let element = zlib(element);
        compressed.extend(15_u32.to_le_bytes());
        compressed.extend((element.len() as u32).to_le_bytes());
        compressed.extend(element);
        rest = others;
    }
    read(&compressed);
}

/// A folder with one picture to train on and one to test with, both of these bytes. The checksums in a PNG are made to fit.
pub fn picture(bytes: &[u8]) {
    const SIDE: usize = 8;

    let bytes = with_png_checksums(bytes);
    let dir = folder_of_its_own();
    for split in ["train", "test"] {
        let class = dir.path().join(split).join("class");
        fs::create_dir_all(&class).unwrap();
        fs::write(class.join("1.png"), &bytes).unwrap();
    }
    match folder::load(dir.path(), [SIDE; 2]) {
        Ok(set) => {
            sound(&set.train);
            sound(&set.test);
            assert_eq!(set.train.pixels(), set.test.pixels());
        }
        Err(why) => sentence(&why),
    }
}

/// The folder of a run, beside whose weights the bytes lie: `config.json`, a zero, and `metrics.csv`.
pub fn run_folder(bytes: &[u8]) {
    let (config, metrics) = divided(bytes, b"\0");
    run_of(config, metrics, &MODEL);
}

/// The weights of a run.
pub fn saved_network(bytes: &[u8]) {
    run_of(&CONFIG, b"", bytes);
}

/// The smallest CNN-8.
fn tiny() -> Cnn8Config {
    Cnn8Config::new().with_widths([1; 7])
}

/// The files `config.json` and `model.bpk` of a [`tiny`] network.
static TINY: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let dir = folder_of_its_own();
    let input = PictureSpec::numbered(Cnn8Config::new().input(), tiny().classes());
    let network = tiny().init(&Device::flex());
    let run = RunDir::new(dir.path());
    run.import(&network, &input, "a file").unwrap();
    ["config.json", "model.bpk"].map(|name| fs::read(run.path().join(name)).unwrap())
});
static CONFIG: LazyLock<&[u8]> = LazyLock::new(|| &TINY[0]);
static MODEL: LazyLock<&[u8]> = LazyLock::new(|| &TINY[1]);

fn run_of(config: &[u8], metrics: &[u8], model: &[u8]) {
    let dir = folder_of_its_own();
    let files = [
        ("config.json", config),
        ("metrics.csv", metrics),
        ("model.bpk", model),
    ];
    for (name, bytes) in files {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let run = RunDir::new(dir.path());
    run.accept_changes().unwrap();
    read_run::<Cnn8Config>(&run);
    read_run::<ResNet20Config>(&run);
    read_run::<Vgg13Config>(&run);
    match run.metrics() {
        Ok(_) => drop(run.best().map_err(|why| sentence(&why))),
        Err(why) => sentence(&why),
    }
}

fn read_run<C: NetworkConfig>(run: &RunDir) {
    let config = match run.config::<C>() {
        Ok(config) => config,
        Err(why) => return sentence(&why),
    };
    assert_eq!(config.network, C::NAME);
    config
        .input
        .validate(config.structure.input(), config.structure.classes())
        .unwrap();
    match run.load::<C>(&Device::flex()) {
        Ok((_, loaded)) => assert_eq!(loaded, config),
        Err(why) => sentence(&why),
    }
}

/// A file of weights is read into every network that it may hold, or is refused.
fn state_dict(bytes: &[u8]) {
    let dir = folder_of_its_own();
    let path = dir.path().join("weights");
    fs::write(&path, bytes).unwrap();
    let file = match StateDict::read(&path) {
        Ok(file) => file,
        Err(why) => return sentence(&why),
    };
    if let Err(why) = file.input() {
        sentence(&why);
    }
    weights(&file, Cnn8Config::new());
    weights(&file, ResNet20Config::new());
    weights(&file, Vgg13Config::new());
}

fn weights<C: NetworkConfig<Network: TorchNames>>(file: &StateDict, config: C) {
    let load = |config: C| -> Result<(), Error> { file.load_into(config.init(&Device::flex())).map(drop) };
    let read = || -> Result<(), Error> {
        if let Some(config) = file.structure()? {
            load(config)?;
        }
        load(file.fit(&config)?)
    };
    if let Err(why) = read() {
        sentence(&why);
    }
}

fn sound(pictures: &Pictures) {
    assert!(!pictures.is_empty());
    assert!(
        pictures
            .labels()
            .iter()
            .all(|&label| usize::from(label) < pictures.classes())
    );
}

/// A refusal is one line of text.
fn sentence(why: &impl Display) {
    let why = why.to_string();
    refused(&why);
    printed(&why);
    assert!(!why.contains('\n'), "several lines: {why:?}");
}

fn folder_of_its_own() -> TempDir {
    TempDir::new().expect("a folder for temporary files")
}

/// What stands before the first `separator`, and behind it.
fn divided<'a>(bytes: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let at = bytes
        .windows(separator.len())
        .position(|window| window == separator);
    match at {
        Some(at) => (&bytes[..at], &bytes[at + separator.len()..]),
        None => (bytes, &[]),
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use flate2::{Compression, read::GzEncoder};
    let mut compressed = Vec::new();
    std::io::copy(&mut GzEncoder::new(bytes, Compression::fast()), &mut compressed).unwrap();
    compressed
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use flate2::{Compression, read::ZlibEncoder};
    let mut compressed = Vec::new();
    std::io::copy(&mut ZlibEncoder::new(bytes, Compression::fast()), &mut compressed).unwrap();
    compressed
}

/// A PNG with the checksum of every chunk as it should be; other files as they are.
fn with_png_checksums(bytes: &[u8]) -> Vec<u8> {
    let mut png = bytes.to_vec();
    let mut at = 8;
    while png.starts_with(b"\x89PNG")
        && let Some(&[a, b, c, d]) = png.get(at..).and_then(|rest| rest.first_chunk())
        && let end = (u32::from_be_bytes([a, b, c, d]) as usize).saturating_add(at + 8)
        && let Some(named) = png.get(at + 4..end)
        && png.len() - end >= 4
    {
        let sum = crc32fast::hash(named);
        png[end..end + 4].copy_from_slice(&sum.to_be_bytes());
        at = end + 4;
    }
    png
}

/// An archive of these files as they are, in the order that `torch.save` has.
fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, bytes) in files {
        let at = archive.len() as u32;
        let length = (bytes.len() as u32).to_le_bytes();
        // Version, flags, method, time and date.
        let mut entry = vec![20, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        entry.extend(crc32fast::hash(bytes).to_le_bytes());
        entry.extend([length, length].concat());
        entry.extend((name.len() as u16).to_le_bytes());
        entry.extend([0, 0]);
        archive.extend([b"PK\x03\x04", &entry[..], name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\x14\0", &entry[..]].concat());
        // Comment, disk and attributes.
        directory.extend([0; 10]);
        directory.extend([&at.to_le_bytes(), name.as_bytes()].concat());
    }
    let count = (files.len() as u16).to_le_bytes();
    let [length, at] = [directory.len(), archive.len()].map(|number| (number as u32).to_le_bytes());
    archive.extend(directory);
    archive.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count, &length, &at, &[0, 0]].concat());
    archive
}
