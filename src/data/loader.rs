//! Batches of pictures, put together by threads while the device computes.

use std::ops::Range;
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
use crate::panics::attempt;

/// Batches that wait while the device computes.
const PREFETCH: usize = 2;

/// Varies, resizes, normalises and batches pictures on a thread of its own, ahead of need.
///
/// Burn's own loader draws each epoch's order from one running generator, so a run resumed at epoch 30 would see
/// epoch 1's order again. Here the order, the variation of each picture, and the device's random numbers (dropout),
/// follow from the seed and the number of the epoch alone: a resumed run continues exactly as the unbroken one, on any
/// number of threads.
///
/// A [`slice`](DataLoader::slice) of it is a share of every batch: as many devices as there are slices train together on
/// the batches that one alone would train on.
#[derive(Debug)]
pub struct PictureLoader {
    dataset: PictureDataset,
    /// The share, in pictures of the data set.
    part: Range<usize>,
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
            batcher: PictureBatcher::new(dataset.normalization()).with_channels(dataset.channel_order()),
            part: 0..dataset.len(),
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

    /// The pictures, out of a batch of `batch`, that belong to the share: shares that lie side by side take all.
    fn share(&self, batch: Range<usize>) -> Range<usize> {
        let total = self.dataset.len().max(1);
        let place = |part: usize| batch.start + batch.len() * part / total;
        place(self.part.start)..place(self.part.end)
    }

    fn with(&self, part: Range<usize>, device: &Device) -> Self {
        Self {
            dataset: self.dataset.clone(),
            part,
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
        let batches = (0..dataset.len()).step_by(self.batch_size).map(|start| {
            let whole = start..(start + self.batch_size).min(dataset.len());
            (self.share(whole.clone()), whole.len())
        });
        // The last batch may be too small for a share of it.
        let batches: Vec<_> = batches.filter(|(share, _)| !share.is_empty()).collect();
        let total = batches.iter().map(|(share, _)| share.len()).sum();
        let (resize, batcher) = (self.resize.clone(), self.batcher.clone());
        let device = self.device.clone();
        let prepare = move |index: usize| {
            let item = augment.apply(dataset.get(index)?, &mut dice(seed, index));
            Ok(resize.map(&item))
        };
        let (sender, receiver) = mpsc::sync_channel(PREFETCH);
        thread::spawn(move || {
            for (share, whole) in batches {
                let part = share.len() as f64 / whole as f64;
                // On all cores: at the start of an epoch everything waits for the first batch.
                let items = share.into_par_iter().map(&prepare).collect::<Result<Vec<_>, _>>();
                let batch = items.and_then(|items| {
                    // A device that is gone says so by a panic.
                    let batch = attempt(|| PictureBatch {
                        share: part,
                        ..batcher.batch(items, &device)
                    });
                    batch.map_err(|gone| DatasetError::new(std::io::Error::other(gone)))
                });
                // The reader is gone where training was stopped.
                if sender.send(batch).is_err() {
                    break;
                }
            }
        });
        Box::new(Batches {
            batches: receiver,
            done: 0,
            total,
        })
    }

    fn num_items(&self) -> usize {
        self.part.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<PictureBatch>> {
        Arc::new(self.with(self.part.clone(), device))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<PictureBatch>> {
        let part = self.part.start + start..(self.part.start + end).min(self.part.end);
        Arc::new(self.with(part, &self.device))
    }
}

/// Random numbers for the picture at `index` of the epoch with `seed`, whose first stream draws the order.
fn dice(seed: u64, index: usize) -> ChaCha8Rng {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    dice.set_stream(1 + index as u64);
    dice
}

struct Batches {
    batches: mpsc::Receiver<Result<PictureBatch, DatasetError>>,
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
        Some(batch.inspect(|batch| self.done += batch.targets.dims()[0]))
    }
}

impl DataLoaderIterator<PictureBatch> for Batches {
    fn progress(&self) -> Progress {
        Progress::new(self.done, self.total, Some("items".into()))
    }
}
