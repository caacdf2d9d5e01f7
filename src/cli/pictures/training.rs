//! The pictures to train on that flags ask for, divided into splits.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{SourceArgs, not_found};
use crate::Error;
use crate::cli::{options, said};
use crate::data::{Augment, DataKind, DataSource, Loaded, Normalization, Splits, cifar10, download, svhn};
use crate::train::RunConfig;

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

impl From<Augmentation> for Augment {
    fn from(augmentation: Augmentation) -> Self {
        match augmentation {
            Augmentation::None => Self::none(),
            Augmentation::Crop => Self { flip: false, pad: 4 },
            Augmentation::FlipCrop => Self { flip: true, pad: 4 },
        }
    }
}

/// Flags for data to train on.
#[derive(Args, Clone, Debug)]
pub struct DataArgs {
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,

    /// Download the data set into its folder first (SVHN 0.25 GB, with --extra 1.6 GB; CIFAR-10 0.17 GB)
    #[arg(long, help_heading = "Data")]
    pub download: bool,

    /// Train on SVHN's extra split too (531,131 digits more)
    #[arg(long, help_heading = "Data")]
    pub extra: bool,

    /// Use the embedded digits even where the data set is there
    #[arg(long, conflicts_with_all = ["data", "data_dir", "download", "extra", "test_share"], help_heading = "Data")]
    pub synthetic: bool,

    /// How many embedded digits to draw for training; a quarter as many for testing [default: 8000; of a network that is
    /// there already, as many as it was trained with]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=1_000_000), help_heading = "Data")]
    pub pictures: Option<u32>,

    /// Share of the training pictures that is kept back to choose the best epoch on [default: 0.1; of a network that is
    /// there already, what it was trained with]
    #[arg(long, value_name = "SHARE", value_parser = options::inner_share, allow_negative_numbers = true, help_heading = "Data")]
    pub valid: Option<f64>,

    /// What the bytes of the pictures become: half (-1 to 1), cifar10, imagenet, or three means and three deviations,
    /// R,G,B/R,G,B [default: as the data set has it; of a network that is there already, as it was trained]
    #[arg(long, value_name = "NORMALIZATION", help_heading = "Data")]
    pub normalization: Option<Normalization>,

    /// How training pictures are varied [default: flip-crop for CIFAR-10, none for the others; of a network that is there
    /// already, as it was trained]
    #[arg(long, value_enum, help_heading = "Data")]
    pub augment: Option<Augmentation>,
}

/// Share of the training pictures to choose the best epoch on.
const VALID: f64 = 0.1;

impl DataArgs {
    /// The data set that the flags ask for, that of the network of `kept` where there is one and they do not say, else
    /// `published`, or the embedded digits where that is not there.
    fn source<C>(
        &self,
        published: Option<DataKind>,
        kept: Option<&RunConfig<C>>,
    ) -> Result<DataSource, Error> {
        let known = kept.and_then(|run| run.source.as_ref());
        // Of a network that was published on nothing, a number of digits to draw says what the pictures are.
        let drawn =
            self.pictures.is_some() && known.is_none() && published.is_none() && !self.source.asked_for();
        let flags = SourceArgs {
            data: if self.synthetic || drawn {
                Some(DataKind::Synthetic)
            } else if (self.download || self.extra)
                && known.is_none_or(|known| known.kind() == DataKind::Synthetic)
            {
                self.source.data.or(published)
            } else {
                self.source.data
            },
            ..self.source.clone()
        };
        let mut source = flags.source(published, known, self.download)?;
        let asked_for = flags.asked_for() || self.download || self.extra;
        if known.is_none() && !asked_for && !source.is_present() {
            // What a network of somebody else's was trained on is not these digits, unless a flag of theirs is given.
            if kept.is_some() && self.pictures.is_none() {
                return Err(not_found(&source));
            }
            source = DataSource::at(DataKind::Synthetic, PathBuf::new());
        }
        match &mut source {
            DataSource::Svhn { extra, .. } => *extra |= self.extra,
            _ if self.extra => return Err(Error::Recipe("--extra: only SVHN has an extra split".into())),
            _ => {}
        }
        match (&mut source, self.pictures) {
            (DataSource::Synthetic { pictures }, Some(count)) => *pictures = count as usize,
            (source, Some(_)) => {
                return Err(Error::Recipe(format!(
                    "--pictures: it is for the embedded digits, and these are {source}: leave it out, or add --synthetic"
                )));
            }
            (_, None) => {}
        }
        Ok(source)
    }

    /// Reads or draws the pictures for a network that was published on `published` and reads pictures of `size`, height
    /// and width; validation is carved off with `seed`. Those of a network that is there already, in `kept`, are read as it
    /// was trained.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, flags that do not fit it, and classes that are not the network's.
    pub fn splits<C>(
        &self,
        published: Option<DataKind>,
        size: [usize; 2],
        kept: Option<&RunConfig<C>>,
        seed: u64,
    ) -> Result<Splits, Error> {
        let source = self.source(published, kept)?;
        if self.download {
            fetch(&source)?;
        }
        let Loaded {
            mut train,
            mut test,
            passed_over,
        } = source.load(size)?;
        passed_over.iter().for_each(|files| say!("{files}"));
        match (kept, self.normalization) {
            (None, Some(normalization)) => {
                train = train.with_normalization(normalization);
                test = test.with_normalization(normalization);
            }
            (Some(run), Some(asked)) if asked != run.input.normalization => {
                return Err(Error::Recipe(format!(
                    "--normalization: the network that is there already reads pictures normalised by {}: leave the flag out",
                    run.input.normalization
                )));
            }
            _ => {}
        }
        match kept {
            Some(run) => {
                train = self.source.read_by(&run.input, train)?;
                test = self.source.test_of(run, &source, test)?;
            }
            None if self.source.classes_by_place => {
                return Err(Error::Recipe(
                    "--classes-by-place: it is for a network that is there already: leave it out".into(),
                ));
            }
            None => {}
        }
        let divided = kept.filter(|run| run.knows_pictures());
        let usual = match source.kind() {
            DataKind::Cifar10 => cifar10::AUGMENT,
            _ => Augment::none(),
        };
        let augment = said(
            "--augment",
            self.augment.map(Augment::from),
            divided.map(|run| run.augment),
            usual,
        );
        let valid = said("--valid", self.valid, divided.map(|run| run.valid_share), VALID);
        let splits = Splits::carve(source.to_string(), train, test, valid, seed)?;
        Ok(splits.with_augment(augment).with_origin(source))
    }
}

fn fetch(source: &DataSource) -> Result<(), Error> {
    match source {
        DataSource::Svhn { dir, extra } => {
            let wanted = if *extra { 3 } else { 2 };
            for split in &svhn::Split::ALL[..wanted] {
                download::fetch(split.url(), &split.path(dir), split.md5(), true)?;
            }
        }
        DataSource::Cifar10 { dir } => cifar10::fetch(dir, true)?,
        _ => {
            return Err(Error::Recipe(
                "--download: only SVHN and CIFAR-10 are fetched, not pictures of one's own".into(),
            ));
        }
    }
    Ok(())
}
