//! The pictures of a split as a Burn `Dataset`, and a data set divided into its splits.

use std::fmt;
use std::sync::Arc;

use burn::data::dataset::{Dataset, DatasetError};
use rand::{SeedableRng, rngs::ChaCha8Rng, seq::SliceRandom};

use super::{
    Augment, ChannelOrder, DataError, DataSource, Normalization, PictureItem, PictureSpec, Pictures,
};
use crate::Error;

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

    /// The order in which their channels enter a network.
    pub fn channel_order(&self) -> ChannelOrder {
        self.pictures.channel_order()
    }

    /// What the classes are called, in the order of their numbers.
    pub fn class_names(&self) -> &[String] {
        self.pictures.class_names()
    }

    /// What a network of pictures like these reads, of this height and width.
    pub fn spec(&self, size: [usize; 2]) -> PictureSpec {
        self.pictures.spec(size)
    }

    /// How many pictures each class has; as long as there are classes.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes()];
        for &index in self.indices.iter() {
            counts[usize::from(self.pictures.label(index))] += 1;
        }
        counts
    }

    /// `count` of the pictures, or all where there are no more: drawn with `seed`, from each class its share, in the order
    /// that they have here.
    ///
    /// The share of a class is its part of all pictures, rounded down or up so that the shares add up to `count`.
    #[must_use]
    pub fn sample(&self, count: usize, seed: u64) -> Self {
        let total = self.len();
        if count >= total {
            return self.clone();
        }
        let sizes = self.class_counts();
        let share = |size: usize| size as u128 * count as u128 / total as u128;
        let mut shares: Vec<usize> = sizes.iter().map(|&size| share(size) as usize).collect();
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        let rest = |class: usize| sizes[class] as u128 * count as u128 % total as u128;
        order.sort_by_key(|&class| (std::cmp::Reverse(rest(class)), class));
        for class in order.into_iter().take(count - shares.iter().sum::<usize>()) {
            shares[class] += 1;
        }
        // Each class takes the first of a shuffled whole.
        let mut places: Vec<usize> = (0..total).collect();
        places.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        places.retain(|&place| {
            let left = &mut shares[usize::from(self.pictures.label(self.indices[place]))];
            *left > 0 && {
                *left -= 1;
                true
            }
        });
        places.sort_unstable();
        Self {
            indices: places.iter().map(|&place| self.indices[place]).collect(),
            ..self.clone()
        }
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
    /// Where they can be read from again; `None` for pictures that a program put together by itself.
    pub origin: Option<DataSource>,
    /// Checksums of the pictures to train on, validation included, and to test with.
    pub checksums: [u32; 2],
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
        if train.class_names() != test.class_names() {
            return Err(DataError::Pictures {
                reason: format!(
                    "{source}: the classes to train on are {:?}, those to test with {:?}",
                    train.class_names(),
                    test.class_names()
                ),
            }
            .into());
        }
        let checksums = [train.checksum(), test.checksum()];
        let shuffled = PictureDataset::new(Arc::new(train)).shuffled(seed);
        Ok(Self {
            source,
            checksums,
            origin: None,
            valid: shuffled.slice(0, valid),
            train: shuffled.slice(valid, count),
            test: PictureDataset::new(Arc::new(test)),
            valid_share: share,
            seed,
            augment: Augment::none(),
        })
    }

    /// How many there are to train on, to choose by and to test with.
    pub fn counts(&self) -> [usize; 3] {
        [&self.train, &self.valid, &self.test].map(Dataset::len)
    }

    /// The same pictures, those to train on varied from epoch to epoch.
    pub fn with_augment(mut self, augment: Augment) -> Self {
        self.augment = augment;
        self
    }

    /// The same pictures, which can be read again from `origin`.
    pub fn with_origin(mut self, origin: DataSource) -> Self {
        self.origin = Some(origin);
        self
    }
}
