//! What can go wrong between a file or a server and a set of pictures.
//!
//! Every message names the file or the address, says what was expected there, and ends with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why pictures could not be had.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system refused to open, read, write or rename a file.
    #[error("cannot {action} {}: {source}. Check that the path is right and that you may use it", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb: "open", "read", "write", "rename".
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },

    /// The file is not in the format its reader was asked for.
    #[error("{} is not {expected}: {found}. Check that it is the right file, or download it again", .path.display())]
    WrongFormat {
        /// The file.
        path: PathBuf,
        /// The format that was expected, with its article.
        expected: &'static str,
        /// What was found instead.
        found: String,
    },

    /// The file is a MATLAB 7.3 file, which is HDF5 inside.
    #[error(
        "{} is a MATLAB 7.3 (HDF5) file, and only MATLAB 5 files are read. Save it again in MATLAB with `-v7`, or download the original",
        .path.display()
    )]
    Hdf5 {
        /// The file.
        path: PathBuf,
    },

    /// The file stops before its contents do, as after a broken download.
    #[error("{} ends early: it holds {found} bytes, expected {expected}. Download it again", .path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How much there should have been, in words.
        expected: String,
        /// How many bytes the file has.
        found: u64,
    },

    /// The file is long enough, but what it says contradicts itself.
    #[error("{} is damaged: {reason}. Download it again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The contradiction.
        reason: String,
    },

    /// An array would take more memory than the reader is willing to give it.
    #[error(
        "{}: array `{name}` needs {bytes} bytes, expected at most {limit}. Check that it is the right file, or split it",
        .path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The array.
        name: String,
        /// Its size in memory, in bytes.
        bytes: u64,
        /// The largest size allowed, in bytes.
        limit: u64,
    },

    /// An array that should be in the file is not.
    #[error("{} holds no array `{name}`, expected one. Check that it is the right file, or download it again", .path.display())]
    MissingArray {
        /// The file.
        path: PathBuf,
        /// The array's name.
        name: String,
    },

    /// An array is there, with values of a kind that cannot be used.
    #[error("{}: array `{name}` is {found}, expected {expected}. Check that it is the right file, or download it again", .path.display())]
    ArrayKind {
        /// The file.
        path: PathBuf,
        /// The array's name.
        name: String,
        /// The kind of values expected.
        expected: &'static str,
        /// The kind of values found.
        found: &'static str,
    },

    /// An array has other dimensions than it should.
    #[error(
        "{}: array `{name}` is {}, expected {expected}. Check that it is the right file, or download it again",
        .path.display(),
        dimensions(.found)
    )]
    Dimensions {
        /// The file.
        path: PathBuf,
        /// The array's name.
        name: String,
        /// The dimensions expected, as in "32x32x3xN".
        expected: &'static str,
        /// The dimensions found.
        found: Vec<usize>,
    },

    /// The file holds no picture at all.
    #[error("{} holds no pictures, expected at least one. Check that it is the right file, or download it again", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },

    /// There are more pictures than labels, or fewer.
    #[error("{} holds {pictures} pictures and {labels} labels, expected as many of each. Download it again", .path.display())]
    LengthMismatch {
        /// The file.
        path: PathBuf,
        /// How many pictures.
        pictures: usize,
        /// How many labels.
        labels: usize,
    },

    /// A label stands for no class.
    #[error("{}: label {index} (counted from 0) is {value}, expected {expected}. Check that it is the right file, or download it again", .path.display())]
    Label {
        /// The file.
        path: PathBuf,
        /// Which picture's label, counted from 0.
        index: usize,
        /// The label.
        value: f64,
        /// The labels allowed, in words.
        expected: &'static str,
    },

    /// An archive has an entry that must not be unpacked.
    #[error(
        "{} is not to be trusted: of its entry `{entry}`, {reason}; expected plain files inside the archive's folder. Download it again from its official address",
        .path.display()
    )]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The entry, by its path in the archive.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },

    /// A picture cannot be decoded.
    #[error("{} is no picture that can be read: {reason}. Replace the file or remove it", .path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// The decoder's reason.
        reason: String,
    },

    /// The folders of pictures are not laid out as they should be.
    #[error(
        "{} {reason}. Lay the pictures out as train/CLASS/*.png and test/CLASS/*.png (or {}); where they are not divided, \
         as CLASS/*.png, keep a share of each class back to test with (`--test-share 0.2`)",
        .path.display(),
        crate::picture::ENDINGS[1..].join(", ")
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The classes of the pictures are not those of the network.
    #[error(
        "the network tells apart {}; the pictures are of {}. Expected {expected}: rename the classes, give other \
         pictures, or match classes by their places (`--classes-by-place`)",
        list(.network),
        list(.pictures)
    )]
    Classes {
        /// Classes of the network, in the order of its outputs.
        network: Vec<String>,
        /// Classes of the pictures, in the order of their numbers.
        pictures: Vec<String>,
        /// What was expected, in words.
        expected: &'static str,
    },

    /// A file or folder whose name cannot stand in a table.
    #[error("{} has a name that {reason}: rename it", .path.display())]
    Name {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with its name.
        reason: String,
    },

    /// Pictures were put together from parts that do not fit; no file is involved.
    #[error("the pictures do not fit together: {reason}. Check the sizes passed in")]
    Pictures {
        /// What does not fit.
        reason: String,
    },

    /// The connection failed or broke off.
    #[error(
        "cannot fetch {url}: {reason}. Check the network and run this again: the download goes on where it stopped"
    )]
    Network {
        /// The address.
        url: String,
        /// What the connection reported.
        reason: String,
    },

    /// The environment variable `SSL_CERT_FILE` names no file of certificates.
    #[error("SSL_CERT_FILE={}: {reason}; expected a PEM file of the certificates to trust. Correct the variable, or unset it to trust Mozilla's list", .path.display())]
    Certificates {
        /// What the variable says.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The server answered, but not with the file.
    #[error(
        "cannot fetch {url}: the server answered with status {status}, expected 200 or 206. Try again later, or get the file elsewhere and save it as {}",
        .path.display()
    )]
    HttpStatus {
        /// The address.
        url: String,
        /// The HTTP status code.
        status: u16,
        /// Where the file belongs.
        path: PathBuf,
    },

    /// What arrived is not the file that was promised.
    #[error(
        "{url} has the MD5 checksum {found}, expected {expected}, so it was not saved as {}. Run this again to download it from the start",
        .path.display()
    )]
    Checksum {
        /// The address.
        url: String,
        /// Where the file would have gone.
        path: PathBuf,
        /// The checksum promised, in hexadecimal.
        expected: String,
        /// The checksum of what arrived, in hexadecimal.
        found: String,
    },

    /// Another process is downloading the same file.
    #[error("{} is being downloaded by another process. Wait for it to end, then run this again", .path.display())]
    Busy {
        /// The unfinished file.
        path: PathBuf,
    },
}

/// Turns the operating system's answer into a [`DataError::Io`] about `path`.
pub(super) fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> DataError {
    let path = path.to_path_buf();
    move |source| DataError::Io { path, action, source }
}

/// Names of classes in a sentence; of very many the first.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 30;
    let shown = names.iter().take(SHOWN).map(|name| format!("`{name}`"));
    let shown = shown.collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// `[32, 32, 3, 10]` as "32x32x3x10".
fn dimensions(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
