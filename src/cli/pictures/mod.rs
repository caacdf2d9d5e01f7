//! The pictures that flags ask for.

use std::path::{Path, PathBuf};

use clap::Args;

use super::choice::{choice, name};
use crate::Error;
use crate::data::{ClassMatch, DataKind, DataSource, PictureSpec, Pictures, folder};
use crate::train::RunConfig;

mod test;
mod training;

pub use test::{TestPictureArgs, TestPictures};
pub use training::{Augmentation, DataArgs};

/// Flags for the place of a data set.
#[derive(Args, Clone, Debug, Default)]
pub struct SourceArgs {
    /// What the pictures are [default: those that the network was trained on; for a new one svhn for CNN-8, cifar10 for
    /// ResNet-20 and VGG-13; for others it has to be said]
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
        published: Option<DataKind>,
        kept: Option<&DataSource>,
        fetched: bool,
    ) -> Result<DataSource, Error> {
        let given = self.data.or(kept.map(DataSource::kind));
        // A folder makes no sense for digits that are drawn: then it is one of what the network was published on.
        let given = given
            .filter(|&kind| kind != DataKind::Synthetic || self.data.is_some() || self.data_dir.is_none());
        let kind = given.or(published).ok_or_else(|| {
            Error::Recipe(
                "which pictures? Say what they are with --data, and where with --data-dir: --data folder --data-dir DIR for those \
                 of one's own"
                    .into(),
            )
        })?;
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

    /// What test pictures of this size are, where the flags say any: their normalisation and their classes.
    pub(super) fn test_spec(&self, size: [usize; 2]) -> Result<Option<PictureSpec>, Error> {
        if !self.asked_for() {
            return Ok(None);
        }
        let (pictures, _) = self.source(None, None, false)?.load_test(size)?;
        Ok(Some(pictures.spec(size)))
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
