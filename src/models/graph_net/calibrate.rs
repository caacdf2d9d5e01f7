//! First steps of activation quantisers, measured on pictures.

use burn::tensor::Tensor;

use super::GraphNet;
use crate::Error;
use crate::module::any::AnyTensor;
use crate::quant::{Observer, ObserverError};

/// The most numbers of a value that are looked at.
const MOST_NUMBERS: usize = 1 << 16;

impl GraphNet {
    /// This network with steps of its activation quantisers that `observer` measures on what it computes of `batches`: normalised
    /// pictures, a few hundred in all. Weights are as they are; of each value numbers in equal distances are looked at, 65,536 at the
    /// most, and for ranges the least and the largest of each batch.
    ///
    /// Layers are calibrated on what they read in full precision.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`] where there are no pictures, and where a layer reads nothing but zeros, or NaN or infinity: it is named.
    pub fn calibrated(mut self, batches: &[Tensor<4>], observer: Observer) -> Result<Self, Error> {
        if self.quantizers.iter().all(Option::is_none) {
            return Ok(self);
        }
        let quantizers = std::mem::take(&mut self.quantizers);
        self.quantizers = vec![None; quantizers.len()];
        let mut samples: Vec<Vec<Vec<f32>>> = vec![Vec::new(); quantizers.len()];
        let share = MOST_NUMBERS.div_ceil(batches.len().max(1));
        let plain = burn::module::Module::valid(&self);
        for images in batches {
            let mut look = |n: usize, value: &AnyTensor| {
                if quantizers[n].is_some() {
                    let numbers = value.numbers();
                    let mut sample: Vec<f32> = evenly(&numbers, share).collect();
                    // One of those that are not looked at is as bad.
                    sample.extend(numbers.iter().copied().find(|number| !number.is_finite()));
                    if observer != Observer::LeastError {
                        sample.extend(numbers.iter().copied().reduce(f32::min));
                        sample.extend(numbers.iter().copied().reduce(f32::max));
                    }
                    samples[n].push(sample);
                }
            };
            plain.computed(images.clone().without_autodiff(), &mut look);
        }
        let calibrated = quantizers.into_iter().zip(samples).enumerate();
        let calibrated = calibrated.map(|(n, (quantizer, sample))| {
            let measured = quantizer.map(|quantizer| quantizer.calibrated(&sample, observer));
            measured.transpose().map_err(|error| self.refuse_value(n, error))
        });
        self.quantizers = calibrated.collect::<Result<_, _>>()?;
        Ok(self)
    }

    /// The error of a value that cannot be rounded, by the first layer that reads it.
    fn refuse_value(&self, value: usize, error: ObserverError) -> Error {
        let name = self.config.reader_of(value).unwrap_or_default();
        self.config.refuse(format!("layer `{name}`: {error}"))
    }
}

/// Numbers in equal distances, as many as are looked at.
pub(super) fn some_of(numbers: &[f32]) -> Vec<f32> {
    evenly(numbers, MOST_NUMBERS).collect()
}

fn evenly(numbers: &[f32], most: usize) -> impl Iterator<Item = f32> {
    let step = numbers.len().div_ceil(most).max(1);
    numbers.iter().step_by(step).copied()
}
