//! Pictures in folders, one folder a class: `train/cat/1.png`, `test/dog/2.jpg`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

use burn::data::dataset::transform::Mapper;
use indicatif::{ProgressBar, ProgressStyle};
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};
use rayon::prelude::*;

use super::error::{DataError, io_error};
use super::{PictureItem, Pictures, Resize};
use crate::picture::{self, ENDINGS, ReadError, Rgb};
use crate::text;

/// Labels are bytes.
const MAX_CLASSES: usize = 256;
/// No split takes more memory, in bytes: 16 GiB.
const MAX_SPLIT_BYTES: usize = 16 << 30;
/// Folders within each other. A link that leads round in a circle ends here at the latest.
const MAX_DEPTH: usize = 64;
/// The seed that decides which pictures of an undivided folder are kept back to test with. It is fixed, so that the test
/// pictures are the same for every training.
const TEST_SEED: u64 = 0;

/// A data set read from folders.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FolderSet {
    /// What lies in `train`. Its classes are called as their folders are, and so are those of `test`.
    pub train: Pictures,
    /// What lies in `test`.
    pub test: Pictures,
    /// Files that were not read, and why.
    pub passed_over: Vec<PassedOver>,
}

/// Files of a folder that were not read, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassedOver {
    /// The split's folder.
    pub split: PathBuf,
    /// Why they were passed over.
    pub reason: String,
    /// How many there are.
    pub count: usize,
    /// The first of them.
    pub first: PathBuf,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            split,
            reason,
            count,
            first,
        } = self;
        let files = if *count == 1 { "file" } else { "files" };
        let first = first.strip_prefix(split).unwrap_or(first);
        write!(
            f,
            "{}: {count} {files} passed over: {reason} (the first is {})",
            split.display(),
            first.display()
        )
    }
}

/// What was passed over, by reason: how many files, and the first.
type Passed = BTreeMap<String, (usize, PathBuf)>;

/// A file and the number of its class.
type Labelled = (PathBuf, u8);

/// Reads `dir/train/CLASS/**` and `dir/test/CLASS/**`: files that end in png, jpg, jpeg, jfif, webp, bmp, ppm or pgm, in
/// small letters or capitals, resized to `size`, height and width in pixels.
///
/// Classes are numbered as the names of their folders in `train` sort; `test` may lack some. Folders within a class are read
/// too, as torchvision's `ImageFolder` reads them, and links are followed. A picture is turned upright as its EXIF
/// orientation says, which `ImageFolder` does not do. Grey pictures become RGB, transparency is dropped. Hidden files, other
/// endings, links that lead nowhere and files outside of a class are passed over and counted in [`FolderSet::passed_over`].
/// The normalisation is the default one: [`Pictures::with_normalization`] gives another. A bar on standard error, where that
/// is a terminal, shows how far the decoding is.
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
    let mut beside = Passed::new();
    for (name, path) in entries(dir)? {
        if !["train", "test"].contains(&&*name) {
            pass_over(&mut beside, path, "beside `train` and `test`");
        }
    }
    for split in [&train, &test] {
        if !is_there(split)? {
            let name = split.file_name().unwrap_or_default().display();
            let instead = ["val", "valid", "validation"]
                .into_iter()
                .find(|name| dir.join(name).is_dir());
            let instead = instead.map_or(String::new(), |instead| {
                format!(", but `{instead}`, which is not read")
            });
            return refuse(dir, format!("holds no folder `{name}`{instead}"));
        }
    }
    // Both are listed before the first picture is decoded, so that what is missing shows at once.
    let mut passed = [Passed::new(), Passed::new()];
    let found = list(&train, &mut passed[0])?;
    let tested = list(&test, &mut passed[1])?;
    let classes: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    if let Some((unknown, _)) = tested.iter().find(|(name, _)| !classes.contains(name)) {
        return refuse(
            &test.join(unknown),
            format!("is a class that {} does not hold", train.display()),
        );
    }
    let files = [found, tested].map(|split| labelled(split, &classes));
    let passed_over = (passed.into_iter().zip([&*train, &*test]))
        .chain([(beside, dir)])
        .flat_map(|(passed, split)| passed_over(split, passed))
        .collect();
    Ok(FolderSet {
        train: decode_all(&train, &files[0], &classes, size)?,
        test: decode_all(&test, &files[1], &classes, size)?,
        passed_over,
    })
}

/// Reads `dir/CLASS/**`, where nobody has divided the pictures, and keeps `share` of each class back to test with, at least
/// one picture of a class that has two. Which ones, depends on nothing but the names and the number of the files.
///
/// # Errors
///
/// As [`load`]; [`DataError::Folder`] where `dir` holds folders `train` or `test`, or where nothing would be left to train
/// on or to test with.
///
/// # Panics
///
/// Where a side of `size` is 0.
pub fn load_undivided(dir: &Path, size: [usize; 2], share: f64) -> Result<FolderSet, DataError> {
    if let Some(split) = ["train", "test"]
        .into_iter()
        .find(|split| dir.join(split).is_dir())
    {
        return refuse(
            dir,
            format!("holds a folder `{split}`, so its pictures are divided already: leave out --test-share"),
        );
    }
    let mut passed = Passed::new();
    let found = list(dir, &mut passed)?;
    let classes: Vec<String> = found.iter().map(|(name, _)| name.clone()).collect();
    let mut dice = ChaCha8Rng::seed_from_u64(TEST_SEED);
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (name, mut files) in found {
        files.shuffle(&mut dice);
        let most = files.len() - 1;
        let kept_back = ((files.len() as f64 * share).round() as usize).clamp(most.min(1), most);
        let mut for_test = files.split_off(files.len() - kept_back);
        files.sort();
        for_test.sort();
        train.push((name.clone(), files));
        test.push((name, for_test));
    }
    let [train, test] = [train, test].map(|split| labelled(split, &classes));
    if test.is_empty() {
        return refuse(dir, "holds one picture a class, so none is left to test with");
    }
    Ok(FolderSet {
        train: decode_all(dir, &train, &classes, size)?,
        test: decode_all(dir, &test, &classes, size)?,
        passed_over: passed_over(dir, passed).collect(),
    })
}

/// Whether `dir` looks like a folder of pictures, divided or not: something in it is a folder that holds pictures, or folders
/// of pictures.
pub(crate) fn has_pictures(dir: &Path) -> bool {
    let folders = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let holds_picture = |dir: &Path| {
        let mut entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| ending(&entry.path()).is_some_and(|ending| ENDINGS.contains(&&*ending)))
    };
    let within = folders(dir);
    within.iter().any(|dir| holds_picture(dir))
        || within
            .iter()
            .flat_map(|dir| folders(dir))
            .any(|dir| holds_picture(&dir))
}

/// What the name of a file ends in, in small letters.
fn ending(path: &Path) -> Option<String> {
    Some(path.extension()?.to_string_lossy().to_lowercase())
}

fn refuse<T>(path: &Path, reason: impl Into<String>) -> Result<T, DataError> {
    Err(DataError::Folder {
        path: path.into(),
        reason: reason.into(),
    })
}

fn passed_over(split: &Path, passed: Passed) -> impl Iterator<Item = PassedOver> {
    passed
        .into_iter()
        .map(move |(reason, (count, first))| PassedOver {
            split: split.into(),
            reason,
            count,
            first,
        })
}

fn pass_over(passed: &mut Passed, path: PathBuf, reason: impl Into<String>) {
    passed.entry(reason.into()).or_insert((0, path)).0 += 1;
}

/// The files of each class, with the numbers of their classes.
fn labelled(split: Vec<(String, Vec<PathBuf>)>, classes: &[String]) -> Vec<Labelled> {
    let label = |name: &String| classes.iter().position(|class| class == name);
    split
        .into_iter()
        .flat_map(|(name, files)| {
            let label = label(&name).expect("a class of train") as u8;
            files.into_iter().map(move |path| (path, label))
        })
        .collect()
}

fn unfit(path: PathBuf, reason: impl Into<String>) -> DataError {
    DataError::Name {
        path,
        reason: reason.into(),
    }
}

/// Whether something is at `path`, and not only a link to nothing.
fn is_there(path: &Path) -> Result<bool, DataError> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(io_error(path, "read")(error)),
        Err(_) => Ok(false),
    }
}

/// What `path` holds, sorted by name.
fn entries(path: &Path) -> Result<Vec<(String, PathBuf)>, DataError> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(io_error(path, "read"))? {
        let entry = entry.map_err(io_error(path, "read"))?;
        let name = match entry.file_name().into_string() {
            Ok(name) => name,
            Err(name) => return Err(unfit(path.join(name), "is no Unicode")),
        };
        if let Some(reason) = text::unfit(&name) {
            return Err(unfit(path.join(name), reason));
        }
        entries.push((name, entry.path()));
    }
    entries.sort();
    Ok(entries)
}

/// The classes of a split, in the order of their names, and the files of each.
fn list(split: &Path, passed: &mut Passed) -> Result<Vec<(String, Vec<PathBuf>)>, DataError> {
    let entries = entries(split)?;
    let folders = entries
        .iter()
        .filter(|(name, path)| !name.starts_with('.') && path.is_dir());
    let count = folders.count();
    if count > MAX_CLASSES {
        return refuse(
            split,
            format!("holds {count} classes, expected at most {MAX_CLASSES}"),
        );
    }
    let mut classes = Vec::with_capacity(count);
    for (name, path) in entries {
        if name.starts_with('.') {
            pass_over(passed, path, "hidden");
        } else if !is_there(&path)? {
            pass_over(passed, path, "a link to nothing");
        } else if path.is_dir() {
            let mut files = Vec::new();
            let before: usize = passed.values().map(|(count, _)| count).sum();
            walk(&path, &mut Vec::new(), &mut files, passed)?;
            if files.is_empty() {
                let after: usize = passed.values().map(|(count, _)| count).sum();
                let others = match after - before {
                    0 => String::new(),
                    others => format!(", and {others} files that are not read"),
                };
                return refuse(&path, format!("holds no pictures{others}"));
            }
            classes.push((name, files));
        } else {
            pass_over(passed, path, "in the folder of no class");
        }
    }
    if classes.is_empty() {
        return refuse(split, "holds no folders of classes");
    }
    Ok(classes)
}

/// Adds the pictures of a folder, and then those of the folders in it, to `files`. `within`: the folders that it lies in, by
/// their true names, so that a link which leads back is noticed.
fn walk(
    folder: &Path,
    within: &mut Vec<PathBuf>,
    files: &mut Vec<PathBuf>,
    passed: &mut Passed,
) -> Result<(), DataError> {
    let real = fs::canonicalize(folder).map_err(io_error(folder, "read"))?;
    if within.contains(&real) || within.len() >= MAX_DEPTH {
        pass_over(passed, folder.into(), "a link back to a folder that it lies in");
        return Ok(());
    }
    within.push(real);
    let mut folders = Vec::new();
    for (name, path) in entries(folder)? {
        if name.starts_with('.') {
            pass_over(passed, path, "hidden");
        } else if path.is_dir() {
            folders.push(path);
        } else if !is_there(&path)? {
            pass_over(passed, path, "a link to nothing");
        } else if !path.is_file() {
            pass_over(passed, path, "neither a file nor a folder");
        } else {
            match ending(&path).as_deref() {
                Some(ending) if ENDINGS.contains(&ending) => files.push(path),
                Some(ending) => pass_over(passed, path, format!(".{ending} is not read")),
                None => pass_over(passed, path, "a name without an ending"),
            }
        }
    }
    for path in folders {
        walk(&path, within, files, passed)?;
    }
    within.pop();
    Ok(())
}

fn decode_all(
    split: &Path,
    files: &[Labelled],
    classes: &[String],
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
    Pictures::new(height, width, classes.len(), pixels, labels)?.with_class_names(classes)
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
