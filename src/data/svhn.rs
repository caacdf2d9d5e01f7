//! Street View House Numbers, the cropped digits: 32x32 RGB pictures of ten classes.
//!
//! Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", NIPS workshop 2011;
//! <http://ufldl.stanford.edu/housenumbers/>. For non-commercial use only.

use std::path::{Path, PathBuf};

use super::error::DataError;
use super::mat::{self, Array, Values};
use super::pictures::Pictures;
use super::spec;
use crate::files::may_be_file;

/// Rows and columns of a picture.
const SIDE: usize = 32;
/// Pixels of one channel of a picture.
const PLANE: usize = SIDE * SIDE;
/// Bytes of a picture: three channels.
const SIZE: usize = 3 * PLANE;
/// The digits 0 to 9.
const CLASSES: usize = 10;

/// One of the three files the data set comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Split {
    /// 73,257 digits to train on.
    Train,
    /// 26,032 digits to test on.
    Test,
    /// 531,131 further, easier digits to train on.
    Extra,
}

impl Split {
    /// All three.
    pub const ALL: [Split; 3] = [Split::Train, Split::Test, Split::Extra];

    /// The official name of the file.
    pub fn file_name(self) -> &'static str {
        match self {
            Split::Train => "train_32x32.mat",
            Split::Test => "test_32x32.mat",
            Split::Extra => "extra_32x32.mat",
        }
    }

    /// Where the file can be downloaded.
    pub fn url(self) -> &'static str {
        match self {
            Split::Train => "http://ufldl.stanford.edu/housenumbers/train_32x32.mat",
            Split::Test => "http://ufldl.stanford.edu/housenumbers/test_32x32.mat",
            Split::Extra => "http://ufldl.stanford.edu/housenumbers/extra_32x32.mat",
        }
    }

    /// The MD5 checksum of the file, in hexadecimal.
    pub fn md5(self) -> &'static str {
        match self {
            Split::Train => "e26dedcc434d2e4c54c9b2d4a06d8373",
            Split::Test => "eb5a983be6a315427106f1b164d9cef3",
            Split::Extra => "a93ce644f1a588dc4d68dda5feec44a7",
        }
    }

    /// The place of the file in the directory `dir`.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.file_name())
    }
}

/// What the classes are called: the digits, 0 first.
pub fn class_names() -> Vec<String> {
    spec::numbers(CLASSES)
}

/// Whether the training and the test file lie in `dir`, or may: where permission to look is missing, [`load`] says so. Their
/// contents are not looked at.
pub fn present(dir: &Path) -> bool {
    [Split::Train, Split::Test]
        .iter()
        .all(|split| may_be_file(&split.path(dir)))
}

/// Reads a file of cropped digits: `X`, uint8, 32x32x3xN, and `y`, N labels from 1 to 10, where 10 stands for the
/// digit 0.
///
/// In the result, class 0 is the digit 0.
///
/// # Errors
///
/// When the file cannot be read ([`DataError::Io`]), is no MATLAB 5 file ([`DataError::WrongFormat`],
/// [`DataError::Hdf5`]), ends early ([`DataError::Truncated`]), contradicts itself ([`DataError::Damaged`]), has an
/// array of more than 2 GiB ([`DataError::TooLarge`]) or lacks one ([`DataError::MissingArray`]); when the arrays are
/// of another kind or size ([`DataError::ArrayKind`], [`DataError::Dimensions`], [`DataError::LengthMismatch`]), a label
/// is out of range ([`DataError::Label`]), or there is no picture ([`DataError::Empty`]). A label 0 is out of range too:
/// it means that the file counts its classes in some other way.
pub fn load(path: &Path) -> Result<Pictures, DataError> {
    let [x, y] = mat::read(path, ["X", "y"])?;
    let mut pixels = pixel_bytes(path, x)?;
    let labels = class_numbers(path, &y)?;
    if pixels.len() != labels.len() * SIZE {
        return Err(DataError::LengthMismatch {
            path: path.to_path_buf(),
            pictures: pixels.len() / SIZE,
            labels: labels.len(),
        });
    }
    if labels.is_empty() {
        return Err(DataError::Empty {
            path: path.to_path_buf(),
        });
    }
    transpose(&mut pixels);
    Pictures::new(SIDE, SIDE, CLASSES, pixels, labels)
}

/// The bytes of `X`, still in the order of the file.
fn pixel_bytes(path: &Path, x: Array) -> Result<Vec<u8>, DataError> {
    // MATLAB drops trailing dimensions of 1, so a single picture comes as 32x32x3.
    if x.dims.get(..3) != Some(&[SIDE, SIDE, 3]) || x.dims.len() > 4 {
        return Err(DataError::Dimensions {
            path: path.to_path_buf(),
            name: "X".into(),
            expected: "32x32x3xN",
            found: x.dims,
        });
    }
    match x.values {
        Values::Bytes(bytes) => Ok(bytes),
        Values::Numbers(_) => Err(DataError::ArrayKind {
            path: path.to_path_buf(),
            name: "X".into(),
            expected: "unsigned bytes",
            found: "an array of wider numbers",
        }),
    }
}

/// The labels of `y` with 10 turned into 0.
fn class_numbers(path: &Path, y: &Array) -> Result<Vec<u8>, DataError> {
    if !matches!(y.dims[..], [_, 1] | [1, _]) {
        return Err(DataError::Dimensions {
            path: path.to_path_buf(),
            name: "y".into(),
            expected: "Nx1",
            found: y.dims.clone(),
        });
    }
    let class = |(index, value): (usize, f64)| match value {
        10.0 => Ok(0),
        1.0..10.0 if value.fract() == 0.0 => Ok(value as u8),
        _ => Err(DataError::Label {
            path: path.to_path_buf(),
            index,
            value,
            expected: "a whole number from 1 to 10, where 10 is the digit 0",
        }),
    };
    match &y.values {
        Values::Bytes(v) => v.iter().map(|&b| f64::from(b)).enumerate().map(class).collect(),
        Values::Numbers(v) => v.iter().copied().enumerate().map(class).collect(),
    }
}

/// Turns every picture from column-major (row fastest, then column, then channel) into row-major with the channels
/// together.
///
/// The pictures are the slowest dimension in both orders, so each is turned by itself, where it lies: three kilobytes
/// that stay in the first-level cache, and no second copy of the data set.
fn transpose(pixels: &mut [u8]) {
    let mut columns = [0; SIZE];
    for picture in pixels.chunks_exact_mut(SIZE) {
        columns.copy_from_slice(picture);
        for (row, line) in picture.chunks_exact_mut(3 * SIDE).enumerate() {
            for (column, rgb) in line.chunks_exact_mut(3).enumerate() {
                let at = column * SIDE + row;
                rgb[0] = columns[at];
                rgb[1] = columns[at + PLANE];
                rgb[2] = columns[at + 2 * PLANE];
            }
        }
    }
}
