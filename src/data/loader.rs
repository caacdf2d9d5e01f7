use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use burn::data::dataloader::batcher::Batcher;
use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::transform::Mapper;
use burn::data::dataset::{Dataset, DatasetError};
use burn::tensor::Device;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use rayon::prelude::*;

use super::{Augment, PictureBatch, PictureBatcher, PictureDataset, Resize};

/// Batches that wait while the device computes.
const PREFETCH: usize = 2;

/// Varies, resizes, normalises and batches pictures on a thread of its own, ahead of need.
///
/// Burn's own loader draws each epoch's order from one running generator, so a run resumed at epoch 30 would see
/// epoch 1's order again. Here the order, the variation of each picture, and the device's random numbers (dropout),
/// follow from the seed and the number of the epoch alone: a resumed run continues exactly as the unbroken one, on any
/// number of threads.
#[derive(Debug)]
pub struct PictureLoader {
    dataset: PictureDataset,
    resize: Resize,
    batcher: PictureBatcher,
    batch_size: usize,
    device: Device,
    shuffle: Option<Shuffle>,
}

#[derive(Debug)]
struct Shuffle {
    seed: u64,
    epoch: AtomicUsize,
    augment: Augment,
}

impl PictureLoader {
    /// Batches of `batch_size` in the data set's order and with its normalisation; the last one holds what is left.
    ///
    /// # Panics
    ///
    /// Where `batch_size` is 0.
    pub fn new(dataset: PictureDataset, resize: Resize, batch_size: usize, device: &Device) -> Self {
        assert!(batch_size > 0, "a batch holds at least one picture");
        Self {
            batcher: PictureBatcher::new(dataset.normalization()),
            dataset,
            resize,
            batch_size,
            device: device.clone(),
            shuffle: None,
        }
    }

    /// Shuffles every epoch anew, as `seed` and the number of the epoch say. The first to come is `epoch`.
    pub fn with_shuffle(mut self, seed: u64, epoch: usize) -> Self {
        self.shuffle = Some(Shuffle {
            seed,
            epoch: AtomicUsize::new(epoch),
            augment: Augment::none(),
        });
        self
    }

    /// Varies every picture anew in every epoch.
    ///
    /// # Panics
    ///
    /// Without [`with_shuffle`](Self::with_shuffle), whose seed and epoch the variation follows.
    pub fn with_augment(mut self, augment: Augment) -> Self {
        let shuffle = self.shuffle.as_mut();
        shuffle
            .expect("pictures are varied where they are shuffled")
            .augment = augment;
        self
    }

    fn with(&self, dataset: PictureDataset, device: &Device) -> Self {
        Self {
            dataset,
            resize: self.resize.clone(),
            batcher: self.batcher.clone(),
            batch_size: self.batch_size,
            device: device.clone(),
            shuffle: self.shuffle.as_ref().map(|shuffle| Shuffle {
                seed: shuffle.seed,
                epoch: AtomicUsize::new(shuffle.epoch.load(Ordering::Relaxed)),
                augment: shuffle.augment,
            }),
        }
    }
}

impl DataLoader<PictureBatch> for PictureLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<PictureBatch> + 'a> {
        let (dataset, seed, augment) = match &self.shuffle {
            None => (self.dataset.clone(), 0, Augment::none()),
            Some(shuffle) => {
                let epoch = shuffle.epoch.fetch_add(1, Ordering::Relaxed) as u64;
                let seed = shuffle
                    .seed
                    .wrapping_add(epoch.wrapping_mul(0x9E37_79B9_7F4A_7C15));
                self.device.seed(seed);
                (self.dataset.shuffled(seed), seed, shuffle.augment)
            }
        };
        let total = dataset.len();
        let (resize, batcher) = (self.resize.clone(), self.batcher.clone());
        let (batch_size, device) = (self.batch_size, self.device.clone());
        let prepare = move |index: usize| {
            let item = augment.apply(dataset.get(index)?, &mut dice(seed, index));
            Ok(resize.map(&item))
        };
        let (sender, batches) = mpsc::sync_channel(PREFETCH);
        thread::spawn(move || {
            for start in (0..total).step_by(batch_size) {
                let end = (start + batch_size).min(total);
                // On all cores: at the start of an epoch everything waits for the first batch.
                let items = (start..end)
                    .into_par_iter()
                    .map(&prepare)
                    .collect::<Result<Vec<_>, _>>();
                let batch = items.map(|items| (items.len(), batcher.batch(items, &device)));
                // The reader is gone where training was stopped.
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        Box::new(Batches {
            batches,
            done: 0,
            total,
        })
    }

    fn num_items(&self) -> usize {
        self.dataset.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<PictureBatch>> {
        Arc::new(self.with(self.dataset.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<PictureBatch>> {
        Arc::new(self.with(self.dataset.slice(start, end), &self.device))
    }
}

/// Random numbers for the picture at `index` of the epoch with `seed`, whose first stream draws the order.
fn dice(seed: u64, index: usize) -> ChaCha8Rng {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    dice.set_stream(1 + index as u64);
    dice
}

struct Batches {
    batches: mpsc::Receiver<Result<(usize, PictureBatch), DatasetError>>,
    done: usize,
    total: usize,
}

impl Iterator for Batches {
    type Item = Result<PictureBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = match self.batches.recv() {
            Ok(batch) => batch,
            Err(_) if self.done == self.total => return None,
            Err(gone) => {
                self.done = self.total;
                return Some(Err(DatasetError::new(gone)));
            }
        };
        Some(batch.map(|(count, batch)| {
            self.done += count;
            batch
        }))
    }
}

impl DataLoaderIterator<PictureBatch> for Batches {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("items".into()))
    }
}
