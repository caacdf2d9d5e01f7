//! The pictures that flags ask for.

use std::path::{Path, PathBuf};

use burn::data::dataset::Dataset;
use clap::{Args, ValueEnum};

use crate::Error;
use crate::data::{Augment, PictureDataset, Pictures, Splits, cifar10, download, folder, svhn, synthetic};
use crate::train::RunConfig;

/// A kind of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DataSet {
    /// SVHN's train_32x32.mat and test_32x32.mat
    Svhn,
    /// CIFAR-10's binary files, or its archive
    Cifar10,
    /// Pictures of one's own, in train/CLASS/ and test/CLASS/, as .png or .jpg
    Folder,
}

impl DataSet {
    /// Where it is looked for, and downloaded to, unless a flag says otherwise.
    fn dir(self) -> Option<&'static str> {
        match self {
            Self::Svhn => Some("datasets/svhn"),
            Self::Cifar10 => Some("datasets/cifar10"),
            Self::Folder => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Svhn => "SVHN",
            Self::Cifar10 => "CIFAR-10",
            Self::Folder => "pictures",
        }
    }

    /// The data set, and its folder, that a run calls `source`.
    fn named(source: &str) -> Option<(Self, &str)> {
        [Self::Svhn, Self::Cifar10, Self::Folder]
            .into_iter()
            .find_map(|set| Some((set, source.strip_prefix(set.name())?.strip_prefix(" in ")?)))
    }

    /// What its pictures in `dir` are called in every output.
    fn source(self, dir: &Path) -> String {
        format!("{} in {}", self.name(), dir.display())
    }

    fn present(self, dir: &Path) -> bool {
        match self {
            Self::Svhn => [svhn::Split::Train, svhn::Split::Test]
                .iter()
                .any(|split| split.path(dir).exists()),
            Self::Cifar10 => cifar10::present(dir),
            Self::Folder => true,
        }
    }
}

/// How training pictures are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Augmentation {
    /// Not at all
    None,
    /// Cropped at random out of a margin of four pixels
    Crop,
    /// Flipped left to right at random, then cropped so
    FlipCrop,
}

/// Flags for data.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// What the pictures are [default: svhn for CNN-8, cifar10 for the others]
    #[arg(long, value_enum, help_heading = "Data")]
    pub data: Option<DataSet>,

    /// Folder of the data set [default: datasets/svhn or datasets/cifar10, and the embedded digits where it is not there]
    #[arg(long, alias = "data_dir", value_name = "DIR", help_heading = "Data")]
    pub data_dir: Option<PathBuf>,

    /// Download the data set into its folder first (SVHN 0.25 GB, with --extra 1.6 GB; CIFAR-10 0.17 GB)
    #[arg(long, help_heading = "Data")]
    pub download: bool,

    /// Train on SVHN's extra split too (531,131 digits more)
    #[arg(long, help_heading = "Data")]
    pub extra: bool,

    /// Use the embedded digits even where the data set is there
    #[arg(long, conflicts_with_all = ["data", "data_dir", "download", "extra"], help_heading = "Data")]
    pub synthetic: bool,

    /// How many embedded digits to draw for training; a quarter as many for testing [default: 8000; of a network that is
    /// there already, as many as it was trained with]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=1_000_000), help_heading = "Data")]
    pub pictures: Option<u32>,

    /// Share of the training pictures that is kept back to choose the best epoch on [default: 0.1; of a network that is
    /// there already, what it was trained with]
    #[arg(long, value_name = "SHARE", value_parser = super::job::share, allow_negative_numbers = true, help_heading = "Data")]
    pub valid: Option<f64>,

    /// How training pictures are varied [default: flip-crop for CIFAR-10, none for the others]
    #[arg(long, value_enum, help_heading = "Data")]
    pub augment: Option<Augmentation>,
}

type Loaded = ((Pictures, Pictures), Vec<String>);

/// Embedded digits to train on.
const PICTURES: u32 = 8000;
/// Share of the training pictures to choose the best epoch on.
const VALID: f64 = 0.1;

/// What the embedded digits are called in every output.
pub const SYNTHETIC: &str = "synthetic digits";

/// Seeds of the embedded digits: the same pictures whatever the seed of the training.
const SYNTHETIC_SEEDS: [u64; 2] = [1, 2];

impl DataArgs {
    /// The pictures that the network of `run` was trained on, where no flag says otherwise.
    pub fn as_trained<C>(mut self, run: &RunConfig<C>) -> Self {
        if run.is_imported() {
            return self;
        }
        if !(self.asked_for() || self.synthetic) {
            if run.data == SYNTHETIC {
                self.synthetic = true;
            } else if let Some((set, dir)) = DataSet::named(&run.data) {
                (self.data, self.data_dir) = (Some(set), Some(dir.into()));
            }
        }
        self.valid = self.valid.or(Some(run.valid_share));
        if run.data == SYNTHETIC {
            let [train, valid, _] = run.pictures;
            self.pictures = self.pictures.or(u32::try_from(train + valid).ok());
        }
        self
    }

    fn asked_for(&self) -> bool {
        self.data.is_some() || self.data_dir.is_some() || self.download || self.extra
    }

    /// Reads or draws the pictures for a network that was published on `published` and reads pictures of `input` height
    /// and width; validation is carved off with `seed`. Says whether they are the embedded digits.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, and flags that do not fit it.
    pub fn splits(&self, published: DataSet, input: [usize; 2], seed: u64) -> Result<(Splits, bool), Error> {
        let set = self.data.unwrap_or(published);
        let dir = match (&self.data_dir, set.dir()) {
            (Some(dir), _) => dir.clone(),
            (None, Some(dir)) => dir.into(),
            (None, None) => {
                return Err(Error::Recipe(
                    "--data folder: give the folder of the pictures with --data-dir DIR".into(),
                ));
            }
        };
        if self.extra && set != DataSet::Svhn {
            return Err(Error::Recipe("--extra: only SVHN has an extra split".into()));
        }
        if self.download {
            self.fetch(set, &dir)?;
        }
        let embedded = self.synthetic || !(self.asked_for() || set.present(&dir));
        let (source, (train, test), classes) = if embedded {
            let draw = |count: u32, seed: u64| synthetic::digits(count as usize, seed);
            let [train_seed, test_seed] = SYNTHETIC_SEEDS;
            let count = self.pictures.unwrap_or(PICTURES);
            let (train, test) = (draw(count, train_seed), draw(count / 4, test_seed));
            (SYNTHETIC.into(), (train, test), Vec::new())
        } else {
            let (pictures, classes) = self.load(set, &dir, input)?;
            (set.source(&dir), pictures, classes)
        };
        let augment = match self.augment {
            None if !embedded && set == DataSet::Cifar10 => cifar10::AUGMENT,
            None | Some(Augmentation::None) => Augment::none(),
            Some(Augmentation::Crop) => Augment { flip: false, pad: 4 },
            Some(Augmentation::FlipCrop) => Augment { flip: true, pad: 4 },
        };
        let splits = Splits::carve(source, train, test, self.valid.unwrap_or(VALID), seed)?;
        Ok((splits.with_augment(augment).with_classes(classes), embedded))
    }

    fn fetch(&self, set: DataSet, dir: &Path) -> Result<(), Error> {
        match set {
            DataSet::Svhn => {
                let wanted = if self.extra { 3 } else { 2 };
                for split in &svhn::Split::ALL[..wanted] {
                    download::fetch(split.url(), &split.path(dir), split.md5(), true)?;
                }
            }
            DataSet::Cifar10 => cifar10::fetch(dir, true)?,
            DataSet::Folder => {
                return Err(Error::Recipe(
                    "--download: only SVHN and CIFAR-10 are fetched, not pictures of one's own".into(),
                ));
            }
        }
        Ok(())
    }

    /// Pictures to train on and to test with, and the names of their classes where they have some.
    fn load(&self, set: DataSet, dir: &Path, input: [usize; 2]) -> Result<Loaded, Error> {
        Ok(match set {
            DataSet::Svhn => {
                let load = |split: svhn::Split| svhn::load(&split.path(dir));
                let mut train = load(svhn::Split::Train)?;
                if self.extra {
                    train.append(load(svhn::Split::Extra)?)?;
                }
                ((train, load(svhn::Split::Test)?), Vec::new())
            }
            DataSet::Cifar10 => (cifar10::load(dir)?, cifar10::CLASSES.map(str::to_owned).to_vec()),
            DataSet::Folder => {
                let set = folder::load(dir, input)?;
                ((set.train, set.test), set.classes)
            }
        })
    }
}

/// The first `wanted` test pictures of the kind that a network was trained on, which its run calls `trained_on`, and where
/// they come from. They are looked for in `dir`, or where they were for the training. A network that was not trained here
/// gets those it was `published` on.
///
/// # Errors
///
/// Data that cannot be read.
pub fn test_pictures(
    trained_on: &str,
    published: DataSet,
    dir: Option<&Path>,
    input: [usize; 2],
    wanted: usize,
) -> Result<(String, PictureDataset), Error> {
    let (source, pictures) = if trained_on == SYNTHETIC && dir.is_none() {
        (
            SYNTHETIC.to_owned(),
            synthetic::digits(wanted, SYNTHETIC_SEEDS[1]),
        )
    } else {
        let otherwise = (published, published.dir().unwrap_or_default());
        let (set, place) = DataSet::named(trained_on).unwrap_or(otherwise);
        let dir = dir.unwrap_or(Path::new(place));
        let pictures = match set {
            DataSet::Svhn => svhn::load(&svhn::Split::Test.path(dir))?,
            DataSet::Cifar10 => cifar10::load(dir)?.1,
            DataSet::Folder => folder::load(dir, input)?.test,
        };
        (set.source(dir), pictures)
    };
    let all = PictureDataset::new(pictures.into());
    let end = wanted.min(all.len());
    Ok((source, all.slice(0, end)))
}
