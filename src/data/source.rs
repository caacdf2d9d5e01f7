//! Where pictures come from: a data set and its folder, written into a run so that every reader finds them again.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::folder::{self, FolderSet, PassedOver};
use super::{DataError, Normalization, Pictures, cifar10, numbers, svhn, synthetic};
use crate::files::{may_be_file, may_be_folder};

/// A kind of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DataKind {
    /// SVHN's train_32x32.mat and test_32x32.mat
    Svhn,
    /// CIFAR-10's binary files, or its archive
    Cifar10,
    /// Pictures of one's own, in train/CLASS/ and test/CLASS/, as .png, .jpg, .webp or .bmp
    Folder,
    /// Digits that the program draws itself
    Synthetic,
}

impl DataKind {
    /// Folder that it is looked for in, and downloaded to, unless another one is given.
    pub fn dir(self) -> Option<&'static str> {
        match self {
            Self::Svhn => Some("datasets/svhn"),
            Self::Cifar10 => Some("datasets/cifar10"),
            Self::Folder | Self::Synthetic => None,
        }
    }

    /// What it is called in outputs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Svhn => "SVHN",
            Self::Cifar10 => "CIFAR-10",
            Self::Folder => "pictures",
            Self::Synthetic => SYNTHETIC,
        }
    }

    /// What the bytes of its pictures become, unless somebody says otherwise.
    pub fn normalization(self) -> Normalization {
        match self {
            Self::Cifar10 => cifar10::NORMALIZATION,
            Self::Svhn | Self::Folder | Self::Synthetic => Normalization::default(),
        }
    }

    /// What its classes are called; `None` for pictures of one's own.
    pub fn class_names(self) -> Option<Vec<String>> {
        match self {
            Self::Svhn | Self::Synthetic => Some(svhn::class_names()),
            Self::Cifar10 => Some(cifar10::CLASSES.map(str::to_owned).to_vec()),
            Self::Folder => None,
        }
    }
}

/// What the embedded digits are called in every output.
const SYNTHETIC: &str = "synthetic digits";

/// How many of them are drawn to train on where nobody says.
const DIGITS: usize = 8000;

/// Seeds of the embedded digits, to train on and to test with: the same pictures whatever the seed of the training.
const SYNTHETIC_SEEDS: [u64; 2] = [1, 2];

/// The most digits that are drawn to train on: 3 GiB. The configuration of a run names their number.
const MAX_SYNTHETIC: usize = 1 << 20;

/// A data set in its place.
///
/// Shown, it is what outputs call it: `SVHN in /data/svhn`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DataSource {
    /// SVHN's files.
    Svhn {
        /// Their folder.
        dir: PathBuf,
        /// Whether the extra split is trained on, too.
        #[serde(default)]
        extra: bool,
    },
    /// CIFAR-10's binary files.
    Cifar10 {
        /// Their folder.
        dir: PathBuf,
    },
    /// Pictures in folders.
    Folder {
        /// The folder of `train` and `test`, or of the classes.
        dir: PathBuf,
        /// The share of each class that is kept back to test with, where the folder is not divided into `train` and `test`.
        #[serde(default)]
        test_share: Option<f64>,
    },
    /// Digits that the program draws itself.
    Synthetic {
        /// Digits to train on. A quarter as many are drawn to test with.
        pictures: usize,
    },
}

/// What was read from a [`DataSource`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded {
    /// Pictures to train on.
    pub train: Pictures,
    /// Pictures to test with.
    pub test: Pictures,
    /// Files that were not read, and why.
    pub passed_over: Vec<PassedOver>,
}

impl DataSource {
    /// Its kind.
    pub fn kind(&self) -> DataKind {
        match self {
            Self::Svhn { .. } => DataKind::Svhn,
            Self::Cifar10 { .. } => DataKind::Cifar10,
            Self::Folder { .. } => DataKind::Folder,
            Self::Synthetic { .. } => DataKind::Synthetic,
        }
    }

    /// Its folder, if it has one.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Self::Svhn { dir, .. } | Self::Cifar10 { dir } | Self::Folder { dir, .. } => Some(dir),
            Self::Synthetic { .. } => None,
        }
    }

    /// The same data set in another folder.
    #[must_use]
    pub fn with_dir(mut self, to: PathBuf) -> Self {
        match &mut self {
            Self::Svhn { dir, .. } | Self::Cifar10 { dir } | Self::Folder { dir, .. } => *dir = to,
            Self::Synthetic { .. } => {}
        }
        self
    }

    /// The data set of this kind in the folder `dir`, with nothing else said: no extra split, divided folders, and as many
    /// digits as are usual.
    pub fn at(kind: DataKind, dir: PathBuf) -> Self {
        match kind {
            DataKind::Svhn => Self::Svhn { dir, extra: false },
            DataKind::Cifar10 => Self::Cifar10 { dir },
            DataKind::Folder => Self::Folder {
                dir,
                test_share: None,
            },
            DataKind::Synthetic => Self::Synthetic { pictures: DIGITS },
        }
    }

    /// What a run of version 0.3 or earlier calls `source`, in words. A relative folder is looked for from here.
    pub(crate) fn from_words(source: &str, pictures: usize) -> Option<Self> {
        if source == SYNTHETIC {
            return Some(Self::Synthetic { pictures });
        }
        let kinds = [DataKind::Svhn, DataKind::Cifar10, DataKind::Folder];
        kinds.into_iter().find_map(|kind| {
            let dir = source.strip_prefix(kind.name())?.strip_prefix(" in ")?;
            let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.into());
            Some(Self::at(kind, dir))
        })
    }

    /// Whether files of that kind are in its folder, or may be: where permission to look is missing, [`load`](Self::load) says so.
    /// Their contents are not looked at.
    pub fn is_present(&self) -> bool {
        match self {
            Self::Svhn { dir, .. } => [svhn::Split::Train, svhn::Split::Test]
                .iter()
                .any(|split| may_be_file(&split.path(dir))),
            Self::Cifar10 { dir } => cifar10::present(dir),
            Self::Folder { dir, .. } => may_be_folder(dir),
            Self::Synthetic { .. } => true,
        }
    }

    /// Reads or draws the pictures. Those in folders are resized to `size`, height and width in pixels.
    ///
    /// # Errors
    ///
    /// Those of the data set's `load`, and [`DataError::Pictures`] for more than 1,048,576 digits.
    pub fn load(&self, size: [usize; 2]) -> Result<Loaded, DataError> {
        let whole = |(train, test)| Loaded {
            train,
            test,
            passed_over: Vec::new(),
        };
        Ok(match self {
            Self::Svhn { dir, extra } => {
                let load = |split: svhn::Split| svhn::load(&split.path(dir));
                let mut train = load(svhn::Split::Train)?;
                if *extra {
                    train.append(load(svhn::Split::Extra)?)?;
                }
                whole((train, load(svhn::Split::Test)?))
            }
            Self::Cifar10 { dir } => whole(cifar10::load(dir)?),
            Self::Folder { dir, test_share } => {
                let FolderSet {
                    train,
                    test,
                    passed_over,
                } = match test_share {
                    None => folder::load(dir, size)?,
                    Some(share) => folder::load_undivided(dir, size, *share)?,
                };
                Loaded {
                    train,
                    test,
                    passed_over,
                }
            }
            Self::Synthetic { pictures } if *pictures > MAX_SYNTHETIC => {
                return Err(DataError::Pictures {
                    reason: format!("{pictures} digits, expected at most {MAX_SYNTHETIC}"),
                });
            }
            Self::Synthetic { pictures } => {
                let [train, test] = SYNTHETIC_SEEDS;
                whole((
                    synthetic::digits(*pictures, train),
                    synthetic::digits(*pictures / 4, test),
                ))
            }
        })
    }

    /// The pictures to test with alone, and what was passed over.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load).
    pub fn load_test(&self, size: [usize; 2]) -> Result<(Pictures, Vec<PassedOver>), DataError> {
        match self {
            Self::Svhn { dir, .. } => Ok((svhn::load(&svhn::Split::Test.path(dir))?, Vec::new())),
            _ => {
                let loaded = self.load(size)?;
                Ok((loaded.test, loaded.passed_over))
            }
        }
    }
}

impl fmt::Display for DataSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().name())?;
        self.dir()
            .map_or(Ok(()), |dir| write!(f, " in {}", dir.display()))
    }
}

/// The names that classes have which nobody named: those of `kind` where it has as many, else numbers.
pub(crate) fn published_classes(kind: DataKind, outputs: usize) -> Vec<String> {
    let names = kind.class_names().filter(|names| names.len() == outputs);
    names.unwrap_or_else(|| numbers(outputs))
}
