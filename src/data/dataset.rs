use std::fmt;
use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};

use super::{Augment, Normalization, Pictures};
use crate::Error;

/// One picture and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PictureItem {
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// Bytes, height x width x 3, RGB.
    pub pixels: Vec<u8>,
    /// Class, from 0.
    pub label: u8,
}

/// Some of the pictures of a split, in a fixed order, as a Burn `Dataset`. The pixels are shared, not copied.
#[derive(Clone, Debug)]
pub struct PictureDataset {
    pictures: Arc<Pictures>,
    indices: Arc<[usize]>,
}

impl PictureDataset {
    /// All pictures, in their own order.
    pub fn new(pictures: Arc<Pictures>) -> Self {
        Self {
            indices: (0..pictures.len()).collect(),
            pictures,
        }
    }

    /// How many classes there are.
    pub fn classes(&self) -> usize {
        self.pictures.classes()
    }

    /// The same pictures in an order drawn with `seed`.
    pub fn shuffled(&self, seed: u64) -> Self {
        let mut indices = self.indices.to_vec();
        indices.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        Self {
            indices: indices.into(),
            ..self.clone()
        }
    }

    /// The pictures from `start` up to `end`.
    pub fn slice(&self, start: usize, end: usize) -> Self {
        Self {
            indices: self.indices[start..end].into(),
            ..self.clone()
        }
    }

    /// What their bytes become for a network.
    pub fn normalization(&self) -> Normalization {
        self.pictures.normalization()
    }
}

impl Dataset<PictureItem> for PictureDataset {
    fn get(&self, index: usize) -> Result<PictureItem, DatasetError> {
        let index = self.indices[index];
        Ok(PictureItem {
            size: [self.pictures.height(), self.pictures.width()],
            pixels: self.pictures.picture(index).to_vec(),
            label: self.pictures.label(index),
        })
    }

    fn len(&self) -> usize {
        self.indices.len()
    }
}

/// What a network is trained on, chosen by, and tested with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Splits {
    /// Where the pictures come from, for every output of a run: `synthetic digits`, or the data set's folder.
    pub source: String,
    /// What the weights are fitted to.
    pub train: PictureDataset,
    /// What the best epoch is chosen on: carved from the training pictures.
    pub valid: PictureDataset,
    /// What is looked at once, at the end.
    pub test: PictureDataset,
    /// The share of the training pictures that validation was given.
    pub valid_share: f64,
    /// The seed it was drawn with.
    pub seed: u64,
    /// How the training pictures are varied from epoch to epoch; the others never are.
    pub augment: Augment,
    /// Names of the classes, in their order; none where they are numbers.
    pub classes: Vec<String>,
}

impl fmt::Display for Splits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} training, {} validation, {} test pictures, split by seed {})",
            self.source,
            self.train.len(),
            self.valid.len(),
            self.test.len(),
            self.seed
        )
    }
}

impl Splits {
    /// Carves `share` of the training pictures off for validation, drawn with `seed`.
    ///
    /// # Errors
    ///
    /// An empty split, or a share that leaves the training or the validation split without pictures.
    pub fn carve(
        source: impl Into<String>,
        train: Pictures,
        test: Pictures,
        share: f64,
        seed: u64,
    ) -> Result<Self, Error> {
        let source = source.into();
        let count = train.len();
        let valid = (count as f64 * share).round() as usize;
        if !(0.0..1.0).contains(&share) || valid == 0 || valid >= count || test.is_empty() {
            return Err(Error::Recipe(format!(
                "{source}: a validation share of {share} of {count} training pictures and {} test pictures leaves \
                 a split empty: choose a share between 0 and 1 that keeps at least one picture on either side",
                test.len()
            )));
        }
        let shuffled = PictureDataset::new(Arc::new(train)).shuffled(seed);
        Ok(Self {
            source,
            valid: shuffled.slice(0, valid),
            train: shuffled.slice(valid, count),
            test: PictureDataset::new(Arc::new(test)),
            valid_share: share,
            seed,
            augment: Augment::none(),
            classes: Vec::new(),
        })
    }

    /// The same pictures, those to train on varied from epoch to epoch.
    pub fn with_augment(mut self, augment: Augment) -> Self {
        self.augment = augment;
        self
    }

    /// The same pictures, of classes that have names.
    pub fn with_classes(mut self, classes: Vec<String>) -> Self {
        self.classes = classes;
        self
    }
}
