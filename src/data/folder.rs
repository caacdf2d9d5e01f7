//! Pictures in folders, one folder a class: `train/cat/1.png`, `test/dog/2.jpg`.

use std::fs;
use std::path::{Path, PathBuf};

use burn::data::dataset::transform::Mapper;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;

use super::error::{DataError, io_error};
use super::{PictureItem, Pictures, Resize};
use crate::picture::{self, ReadError, Rgb};
use crate::text;

/// Endings of the files read, in lower case; capitals are taken too.
const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];
/// Labels are bytes.
const MAX_CLASSES: usize = 256;
/// No split takes more memory, in bytes: 16 GiB.
const MAX_SPLIT_BYTES: usize = 16 << 30;

/// A data set read from folders.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FolderSet {
    /// Names of the classes, in order: the folders of `train`.
    pub classes: Vec<String>,
    /// What lies in `train`.
    pub train: Pictures,
    /// What lies in `test`.
    pub test: Pictures,
}

/// A file and the number of its class.
type Labelled = (PathBuf, u8);

/// Reads `dir/train/CLASS/*` and `dir/test/CLASS/*`: png, jpg and jpeg, resized to `size`, height and width in pixels.
///
/// Classes are numbered as the names of their folders in `train` sort; `test` may lack some. Grey pictures become RGB,
/// transparency is dropped. Hidden files and other endings are passed over. The normalisation is the default one:
/// [`Pictures::with_normalization`] gives another. A bar on standard error, where that is a terminal, shows how far the
/// decoding is.
///
/// # Errors
///
/// [`DataError::Folder`] where a split or a class has no pictures, `test` has a class that `train` has not, or there
/// are too many classes or pictures; [`DataError::Decode`] where a picture cannot be decoded, is wider or higher than
/// 16,384 pixels, or takes more than 512 MiB; [`DataError::Io`].
///
/// # Panics
///
/// Where a side of `size` is 0.
pub fn load(dir: &Path, size: [usize; 2]) -> Result<FolderSet, DataError> {
    let [train, test] = ["train", "test"].map(|split| dir.join(split));
    let classes = folders(&train)?;
    if classes.len() > MAX_CLASSES {
        return refuse(
            &train,
            format!("holds {} classes, expected at most {MAX_CLASSES}", classes.len()),
        );
    }
    let tested = folders(&test)?;
    if let Some(unknown) = tested.iter().find(|name| !classes.contains(name)) {
        return refuse(
            &test.join(unknown),
            format!("is a class that {} does not hold", train.display()),
        );
    }
    // Both are listed before the first picture is decoded, so that what is missing shows at once.
    let [train_files, test_files] = [(&train, &classes), (&test, &tested)].map(|(split, names)| {
        let mut files: Vec<Labelled> = Vec::new();
        for name in names {
            let label = classes.binary_search(name).expect("a class of train") as u8;
            files.extend(pictures(&split.join(name))?.into_iter().map(|path| (path, label)));
        }
        Ok(files)
    });
    Ok(FolderSet {
        train: decode_all(&train, &train_files?, classes.len(), size)?,
        test: decode_all(&test, &test_files?, classes.len(), size)?,
        classes,
    })
}

fn refuse<T>(path: &Path, reason: impl Into<String>) -> Result<T, DataError> {
    Err(DataError::Folder {
        path: path.into(),
        reason: reason.into(),
    })
}

/// What `path` holds and `keep` takes, but nothing hidden, sorted.
fn names(path: &Path, keep: impl Fn(&Path) -> bool) -> Result<Vec<String>, DataError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error(path, "read"))? {
        let entry = entry.map_err(io_error(path, "read"))?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => return refuse(&path.join(name), "has a name that is no Unicode"),
        };
        if let Some(reason) = text::unfit(&name) {
            return refuse(&path.join(name), format!("has a name that {reason}: rename it"));
        }
        if !name.starts_with('.') && keep(&entry.path()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The class folders of a split.
fn folders(split: &Path) -> Result<Vec<String>, DataError> {
    let names = names(split, Path::is_dir)?;
    if names.is_empty() {
        return refuse(split, "holds no folders of classes");
    }
    Ok(names)
}

/// The picture files of a class.
fn pictures(class: &Path) -> Result<Vec<PathBuf>, DataError> {
    let names = names(class, |path| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(ending))) && path.is_file()
    })?;
    if names.is_empty() {
        return refuse(class, "holds no pictures");
    }
    Ok(names.into_iter().map(|name| class.join(name)).collect())
}

fn decode_all(
    split: &Path,
    files: &[Labelled],
    classes: usize,
    [height, width]: [usize; 2],
) -> Result<Pictures, DataError> {
    let bytes = [height, width, 3]
        .iter()
        .try_fold(files.len(), |n, &side| n.checked_mul(side))
        .filter(|&bytes| bytes <= MAX_SPLIT_BYTES);
    let Some(bytes) = bytes else {
        return refuse(
            split,
            format!(
                "holds {} pictures, which at {height}x{width} take more than {MAX_SPLIT_BYTES} bytes of memory",
                files.len()
            ),
        );
    };
    let bar = ProgressBar::new(files.len() as u64)
        .with_style(
            ProgressStyle::with_template("{msg} [{wide_bar}] {pos}/{len} pictures, {eta} left")
                .expect("the template is well formed")
                .progress_chars("=> "),
        )
        .with_message(split.display().to_string());
    let resize = Resize::new([height, width]);
    let mut pixels = vec![0; bytes];
    let decoded = pixels
        .par_chunks_exact_mut(height * width * 3)
        .zip(files)
        .try_for_each(|(to, (path, label))| {
            to.copy_from_slice(&resize.map(&decode(path, *label)?).pixels);
            bar.inc(1);
            Ok(())
        });
    bar.finish_and_clear();
    decoded?;
    let labels = files.iter().map(|&(_, label)| label).collect();
    Pictures::new(height, width, classes, pixels, labels)
}

fn decode(path: &Path, label: u8) -> Result<PictureItem, DataError> {
    let Rgb { size, pixels } = picture::read(path).map_err(|error| match error {
        ReadError::Io(action, error) => io_error(path, action)(error),
        ReadError::Decode(reason) => DataError::Decode {
            path: path.into(),
            reason,
        },
    })?;
    Ok(PictureItem { size, pixels, label })
}
