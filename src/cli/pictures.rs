//! The pictures that flags ask for.

use std::path::{Path, PathBuf};

use burn::data::dataset::Dataset;
use clap::{Args, ValueEnum};

use super::choice::{choice, name};
use crate::Error;
use crate::data::{
    Augment, ClassMatch, DataKind, DataSource, Loaded, PictureDataset, PictureSpec, Pictures, Splits,
    cifar10, download, folder, svhn,
};
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

/// Flags for the place of a data set.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// What the pictures are [default: those that the network was trained on; for a new one svhn for CNN-8, cifar10 for the
    /// others]
    #[arg(long, value_parser = choice::<DataKind>(), help_heading = "Data")]
    pub data: Option<DataKind>,

    /// Folder of the data set [default: where it was for the training; for a new network datasets/svhn or datasets/cifar10,
    /// and the embedded digits where it is not there]
    #[arg(long, alias = "data_dir", value_name = "DIR", help_heading = "Data")]
    pub data_dir: Option<PathBuf>,

    /// Of pictures that lie in DIR/CLASS/ and not in DIR/train/CLASS/ and DIR/test/CLASS/: keep this share of each class
    /// back to test with
    #[arg(long, value_name = "SHARE", value_parser = super::options::inner_share, allow_negative_numbers = true, help_heading = "Data")]
    pub test_share: Option<f64>,

    /// Take the first class of the pictures for the first of the network, and so on, whatever they are called. Without it
    /// classes are matched by their names
    #[arg(long, help_heading = "Data")]
    pub classes_by_place: bool,
}

impl SourceArgs {
    fn asked_for(&self) -> bool {
        self.data.is_some() || self.data_dir.is_some() || self.test_share.is_some()
    }

    /// The data set that the flags ask for: else `kept`, that of a network which is there already, else `published` in its
    /// usual folder. It need not be there where it is to be `fetched`.
    fn source(
        &self,
        published: DataKind,
        kept: Option<&DataSource>,
        fetched: bool,
    ) -> Result<DataSource, Error> {
        let given = self.data.or(kept.map(DataSource::kind));
        // A folder makes no sense for digits that are drawn: then it is one of what the network was published on.
        let given = given
            .filter(|&kind| kind != DataKind::Synthetic || self.data.is_some() || self.data_dir.is_none());
        let kind = given.unwrap_or(published);
        let kept = kept.filter(|source| source.kind() == kind);
        let absolute = |dir: &Path| std::path::absolute(dir).map_err(Error::io(dir, "make absolute"));
        let dir = match (&self.data_dir, kept.and_then(DataSource::dir), kind.dir()) {
            (Some(dir), ..) => absolute(dir)?,
            (None, Some(dir), _) => dir.into(),
            (None, None, Some(dir)) => absolute(Path::new(dir))?,
            (None, None, None) if kind == DataKind::Synthetic => PathBuf::new(),
            (None, None, None) => {
                return Err(Error::Recipe(
                    "--data folder: give the folder of the pictures with --data-dir DIR".into(),
                ));
            }
        };
        let source = match kept {
            Some(kept) => kept.clone().with_dir(dir),
            None => DataSource::at(kind, dir),
        };
        let source = match (source, self.test_share) {
            // Others would be kept back, and some of them were trained on.
            (
                DataSource::Folder {
                    test_share: Some(trained),
                    ..
                },
                Some(share),
            ) if share != trained && self.data_dir.is_none() => {
                return Err(Error::Recipe(format!(
                    "--test-share {share}: the network was trained with {trained} of each class kept back, and would be \
                     tested with pictures that it was trained on: leave the flag out"
                )));
            }
            (DataSource::Folder { dir, test_share }, share) => DataSource::Folder {
                dir,
                test_share: share.or(test_share),
            },
            (source, None) => source,
            (source, Some(_)) => {
                return Err(Error::Recipe(format!(
                    "--test-share: {source} has test pictures of its own; the flag is for --data folder"
                )));
            }
        };
        if !fetched {
            self.found(&source, kept.is_some())?;
        }
        Ok(source)
    }

    /// Says what to do where a data set is not where it is looked for.
    fn found(&self, source: &DataSource, kept: bool) -> Result<(), Error> {
        let Some(dir) = source.dir().filter(|_| !source.is_present()) else {
            return Ok(());
        };
        if kept && self.data_dir.is_none() {
            return Err(Error::Recipe(format!(
                "the network was trained on {source}, and {} is not there any more: give the place where it is now with \
                 --data-dir DIR",
                source.kind().name()
            )));
        }
        let others = [DataKind::Svhn, DataKind::Cifar10].into_iter();
        let other = others
            .filter(|&kind| kind != source.kind())
            .find(|&kind| DataSource::at(kind, dir.into()).is_present());
        if let (None, Some(kind)) = (self.data, other) {
            return Err(Error::Recipe(format!(
                "--data-dir {}: it holds no {}, but {}: add --data {} to take that",
                dir.display(),
                source.kind().name(),
                kind.name(),
                name(kind)
            )));
        }
        if self.data.is_none() && folder::has_pictures(dir) {
            return Err(Error::Recipe(format!(
                "--data-dir {}: it holds no {}, but folders of pictures: add --data folder to take those",
                dir.display(),
                source.kind().name()
            )));
        }
        Ok(())
    }

    /// `pictures` as the network of `spec` reads them.
    fn read_by(&self, spec: &PictureSpec, pictures: Pictures) -> Result<Pictures, Error> {
        let by = if self.classes_by_place {
            ClassMatch::Place
        } else {
            ClassMatch::Name
        };
        Ok(pictures.read_by(spec, by)?)
    }

    /// The `test` pictures of `source` as the network of `run` reads them. What is said of their classes holds for those to train
    /// on, too, which have the same.
    fn test_of<C>(&self, run: &RunConfig<C>, source: &DataSource, test: Pictures) -> Result<Pictures, Error> {
        let found = test.class_names().to_vec();
        let test = self.read_by(&run.input, test)?;
        self.say_classes(&run.input, &found);
        test_is_as_it_was(run, source, &test)?;
        Ok(test)
    }

    fn say_classes(&self, spec: &PictureSpec, found: &[String]) {
        if found == spec.classes {
            return;
        }
        if self.classes_by_place {
            let pairs = found.iter().zip(&spec.classes);
            let pairs: Vec<_> = pairs
                .map(|(found, class)| format!("{found} as {class}"))
                .collect();
            say!("classes are matched by their places: {}", pairs.join(", "));
            return;
        }
        let missing = spec.classes.iter().filter(|class| !found.contains(class));
        let missing: Vec<&str> = missing.map(String::as_str).collect();
        let order =
            "the classes of the pictures stand in another order than the network's: they are matched by name";
        match missing.len() {
            0 => say!("{order}"),
            count => say!(
                "the network tells {} classes apart, and the pictures lack {count} of them: {}",
                spec.classes.len(),
                missing.join(", ")
            ),
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
    #[arg(long, value_name = "SHARE", value_parser = super::options::inner_share, allow_negative_numbers = true, help_heading = "Data")]
    pub valid: Option<f64>,

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
    fn source<C>(&self, published: DataKind, kept: Option<&RunConfig<C>>) -> Result<DataSource, Error> {
        let known = kept.and_then(|run| run.source.as_ref());
        let flags = SourceArgs {
            data: if self.synthetic {
                Some(DataKind::Synthetic)
            } else if (self.download || self.extra)
                && known.is_none_or(|known| known.kind() == DataKind::Synthetic)
            {
                self.source.data.or(Some(published))
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
        published: DataKind,
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
        let trained = kept.filter(|run| !run.is_imported());
        let usual = match source.kind() {
            DataKind::Cifar10 => cifar10::AUGMENT,
            _ => Augment::none(),
        };
        let augment = super::said(
            "--augment",
            self.augment.map(Augment::from),
            trained.map(|run| run.augment),
            usual,
        );
        let valid = super::said("--valid", self.valid, trained.map(|run| run.valid_share), VALID);
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

/// Says that the test pictures of a run have changed, if they have. Where they were drawn from a folder that is not divided, some
/// of those drawn now may have been trained on, which is refused.
fn test_is_as_it_was<C>(run: &RunConfig<C>, source: &DataSource, test: &Pictures) -> Result<(), Error> {
    let changed = run.source.as_ref() == Some(source)
        && run.checksums.is_some_and(|[_, before]| before != test.checksum());
    match source {
        _ if !changed => Ok(()),
        DataSource::Folder {
            test_share: Some(_), ..
        } => Err(Error::Recipe(format!(
            "{source}: its files have changed since the network was trained, so other pictures would be kept back to test \
             with, some of which it was trained on: restore the folder, or divide it into train/ and test/"
        ))),
        _ => {
            say!("the test pictures of {source} have changed since the network was trained");
            Ok(())
        }
    }
}

/// Nobody said where the pictures are, and where they usually are they are not.
fn not_found(source: &DataSource) -> Error {
    Error::Recipe(format!(
        "the network was not trained here, so its pictures are not known, and there is no {source}: say what they are and where \
         with --data and --data-dir"
    ))
}

/// Flags for test pictures of a trained network.
#[derive(Args, Clone, Debug, Default)]
pub struct TestPictureArgs {
    /// Where.
    #[command(flatten)]
    pub source: SourceArgs,

    /// Seed that the test pictures are drawn with, from each class its share
    #[arg(long, value_name = "SEED", default_value_t = 0, help_heading = "Data")]
    pub draw_seed: u64,
}

/// Classes that are listed with how many pictures each has. Of more classes only the range is.
const MOST_LISTED: usize = 20;

/// Test pictures of a trained network, and where they come from.
pub struct TestPictures {
    /// The data set in words.
    pub source: String,
    /// Those that were drawn, as the network reads them.
    pub drawn: PictureDataset,
    /// How many there are to draw from.
    pub total: usize,
}

impl TestPictures {
    /// How many they are, and how many of each class: `200 of 2000 test pictures of synthetic digits, drawn with seed 0 (20 of
    /// each of 10 classes)`.
    pub fn describe(&self, seed: u64) -> String {
        let Self { source, drawn, total } = self;
        let counts = drawn.class_counts();
        let [least, most] = [counts.iter().min(), counts.iter().max()].map(|n| n.copied().unwrap_or(0));
        let of_classes = if least == most {
            format!("{least} of each of {} classes", counts.len())
        } else if counts.len() <= MOST_LISTED {
            let each = drawn.class_names().iter().zip(&counts);
            let each: Vec<_> = each.map(|(class, count)| format!("{class}: {count}")).collect();
            each.join(", ")
        } else {
            format!("{least} to {most} of each of {} classes", counts.len())
        };
        let drawn_with = if drawn.len() < *total {
            format!(", drawn with seed {seed}")
        } else {
            String::new()
        };
        format!(
            "{} of {total} test pictures of {source}{drawn_with} ({of_classes})",
            drawn.len()
        )
    }
}

impl TestPictureArgs {
    /// `wanted` of the test pictures that the flags ask for, else of those that the network of `run` was trained with, else,
    /// for a network that was not trained here, of those that it was `published` on; all where there are no more. They are
    /// read as the network was trained.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, and classes that are not the network's.
    pub fn draw<C>(
        &self,
        published: DataKind,
        run: &RunConfig<C>,
        wanted: usize,
    ) -> Result<TestPictures, Error> {
        let source = self.source.source(published, run.source.as_ref(), false)?;
        if run.source.is_none() && !self.source.asked_for() && !source.is_present() {
            return Err(not_found(&source));
        }
        let (pictures, passed_over) = source.load_test(run.input.size)?;
        passed_over.iter().for_each(|files| say!("{files}"));
        let pictures = self.source.test_of(run, &source, pictures)?;
        let all = PictureDataset::new(pictures.into());
        Ok(TestPictures {
            source: source.to_string(),
            total: all.len(),
            drawn: all.sample(wanted, self.draw_seed),
        })
    }
}
