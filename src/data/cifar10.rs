//! CIFAR-10: 32x32 RGB pictures of ten kinds of things, from its official binary files.
//!
//! Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", technical report, University of Toronto, 2009;
//! <https://www.cs.toronto.edu/~kriz/cifar.html>.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::archive::{self, Member};
use super::download;
use super::error::{DataError, io_error};
use super::{Augment, Normalization, Pictures};
use crate::files::may_be_file;

/// What the labels 0 to 9 stand for.
pub const CLASSES: [&str; 10] = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
];

/// Means and standard deviations of the channels, as published ResNets use them.
pub const NORMALIZATION: Normalization = Normalization::CIFAR10;

/// How its training pictures are usually varied: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016,
/// section 4.2.
pub const AUGMENT: Augment = Augment { flip: true, pad: 4 };

/// Where the official archive can be downloaded.
pub const URL: &str = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz";

/// The MD5 checksum of the archive, in hexadecimal.
pub const MD5: &str = "c32a1d4ab5d03f1284b67883e8d87530";

const ARCHIVE: &str = "cifar-10-binary.tar.gz";
const FOLDER: &str = "cifar-10-batches-bin";
const TRAIN: [&str; 5] = [
    "data_batch_1.bin",
    "data_batch_2.bin",
    "data_batch_3.bin",
    "data_batch_4.bin",
    "data_batch_5.bin",
];
const TEST: &str = "test_batch.bin";

/// Rows and columns of a picture.
const SIDE: usize = 32;
/// Pixels of one channel of a picture.
const PLANE: usize = SIDE * SIDE;
/// Bytes of a label and its picture.
const RECORD: usize = 1 + 3 * PLANE;
/// No official file is longer: 10,000 pictures.
const MAX_FILE: u64 = 10_000 * RECORD as u64;

/// Whether the six files, or the archive that holds them, lie in `dir` or in its folder `cifar-10-batches-bin`, or may: where
/// permission to look is missing, [`load`] says so. Their contents are not looked at.
pub fn present(dir: &Path) -> bool {
    folder(dir).is_some() || may_be_file(&dir.join(ARCHIVE))
}

/// The folder with all six files.
fn folder(dir: &Path) -> Option<PathBuf> {
    [dir.join(FOLDER), dir.to_path_buf()]
        .into_iter()
        .find(|folder| files().all(|name| may_be_file(&folder.join(name))))
}

fn files() -> impl Iterator<Item = &'static str> {
    TRAIN.into_iter().chain([TEST])
}

/// The files of the Python version of CIFAR-10, which torchvision downloads, if they lie in `dir`.
fn python_version(dir: &Path) -> Option<PathBuf> {
    let places = ["cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"];
    places
        .into_iter()
        .map(|name| dir.join(name))
        .find(|path| path.exists())
}

/// Downloads the archive to `dir` and unpacks it there, unless its files are there already.
///
/// An unfinished download is continued; with `progress`, a bar on standard error shows how far it is.
///
/// # Errors
///
/// Those of [`download::fetch`] and of unpacking, as [`load`] has them.
pub fn fetch(dir: &Path, progress: bool) -> Result<(), DataError> {
    if folder(dir).is_some() {
        return Ok(());
    }
    download::fetch(URL, &dir.join(ARCHIVE), MD5, progress)?;
    unpack(dir)
}

fn unpack(dir: &Path) -> Result<(), DataError> {
    let members: Vec<Member> = files()
        .map(|name| Member {
            path: format!("{FOLDER}/{name}"),
            limit: MAX_FILE,
        })
        .collect();
    archive::unpack(&dir.join(ARCHIVE), &members, &dir.join(FOLDER))
}

/// Reads the pictures to train on (the five batches, 50,000) and to test with (10,000), normalised by
/// [`NORMALIZATION`].
///
/// `dir` holds the folder `cifar-10-batches-bin`, or is it. Where `dir` holds the archive only, that is unpacked first.
///
/// # Errors
///
/// When a file is missing or cannot be read ([`DataError::Io`]), ends within a picture, is empty, or has fewer pictures
/// than another of the five batches or, in the official set, of the six files ([`DataError::Truncated`]), is longer than
/// an official one or of the Python version ([`DataError::WrongFormat`]), or has a label over 9 ([`DataError::Label`]); when the archive is
/// damaged, lacks a file, or has an entry that is no plain file inside of its folder ([`DataError::Damaged`], [`DataError::Archive`]).
pub fn load(dir: &Path) -> Result<(Pictures, Pictures), DataError> {
    if folder(dir).is_none() && dir.join(ARCHIVE).is_file() {
        unpack(dir)?;
    }
    if folder(dir).is_none()
        && let Some(path) = python_version(dir)
    {
        return Err(DataError::WrongFormat {
            path,
            expected: "the binary version of CIFAR-10 (the folder cifar-10-batches-bin, or cifar-10-binary.tar.gz)",
            found: "it is the Python version, whose batches are pickles".into(),
        });
    }
    // Without all six files, the first that is missing is named.
    let folder = folder(dir).unwrap_or_else(|| {
        let inside = dir.join(FOLDER);
        if inside.is_dir() { inside } else { dir.into() }
    });
    let mut lengths = Vec::with_capacity(TRAIN.len() + 1);
    let train = read(TRAIN.map(|name| folder.join(name)), &mut lengths)?;
    let test = read([folder.join(TEST)], &mut lengths)?;
    same_length(&lengths)?;
    Ok((train, test))
}

/// Refuses a file that ends between two pictures and too early: in the official set all six have 10,000, and in a smaller
/// one of that layout the five batches have as many as each other.
fn same_length(files: &[(PathBuf, usize)]) -> Result<(), DataError> {
    let longest =
        |files: &[(PathBuf, usize)]| files.iter().map(|(_, bytes)| *bytes).max().unwrap_or_default();
    let alike = if longest(files) as u64 == MAX_FILE {
        files
    } else {
        &files[..TRAIN.len()]
    };
    let longest = longest(alike);
    match alike.iter().find(|(_, bytes)| *bytes < longest) {
        None => Ok(()),
        Some((path, bytes)) => Err(DataError::Truncated {
            path: path.clone(),
            expected: format!(
                "{longest} for {} pictures, as another file of the set has",
                longest / RECORD
            ),
            found: *bytes as u64,
        }),
    }
}

/// The pictures of some files, one after the other; how many bytes each has is added to `lengths`.
fn read(
    paths: impl IntoIterator<Item = PathBuf>,
    lengths: &mut Vec<(PathBuf, usize)>,
) -> Result<Pictures, DataError> {
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for path in paths {
        let bytes = records(&path)?;
        for (index, record) in bytes.chunks_exact(RECORD).enumerate() {
            if usize::from(record[0]) >= CLASSES.len() {
                return Err(DataError::Label {
                    path,
                    index,
                    value: record[0].into(),
                    expected: "a whole number from 0 to 9",
                });
            }
            labels.push(record[0]);
            let channel = |c: usize| &record[1 + c * PLANE..][..PLANE];
            for ((&red, &green), &blue) in channel(0).iter().zip(channel(1)).zip(channel(2)) {
                pixels.extend([red, green, blue]);
            }
        }
        lengths.push((path, bytes.len()));
    }
    let pictures = Pictures::new(SIDE, SIDE, CLASSES.len(), pixels, labels)?;
    pictures
        .with_normalization(NORMALIZATION)
        .with_class_names(CLASSES)
}

/// The bytes of a file: whole records, at least one.
fn records(path: &Path) -> Result<Vec<u8>, DataError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(io_error(path, "read"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(DataError::WrongFormat {
            path: path.into(),
            expected: "a CIFAR-10 batch",
            found: format!("it holds more than the {MAX_FILE} bytes of 10,000 pictures"),
        });
    }
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let pictures = bytes.len().div_ceil(RECORD).max(1);
        return Err(DataError::Truncated {
            path: path.into(),
            expected: format!("{}, {RECORD} for each of {pictures}", pictures * RECORD),
            found: bytes.len() as u64,
        });
    }
    Ok(bytes)
}
