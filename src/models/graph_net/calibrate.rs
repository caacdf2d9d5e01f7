//! First steps of activation quantisers, measured on pictures.

use burn::tensor::Tensor;

use super::GraphNet;
use crate::module::any::AnyTensor;

/// The most numbers of a value that are looked at.
const MOST_NUMBERS: usize = 1 << 16;

impl GraphNet {
    /// This network with steps of its activation quantisers that round what it computes of `batches` with the least mean squared
    /// error: normalised pictures, a few hundred in all. Weights are as they are; of each value numbers in equal distances are
    /// looked at, 65,536 at the most.
    ///
    /// Layers are calibrated on what they read in full precision.
    #[must_use]
    pub fn calibrated(mut self, batches: &[Tensor<4>]) -> Self {
        if self.quantizers.iter().all(Option::is_none) || batches.is_empty() {
            return self;
        }
        let quantizers = std::mem::take(&mut self.quantizers);
        self.quantizers = vec![None; quantizers.len()];
        let mut samples: Vec<Vec<f32>> = vec![Vec::new(); quantizers.len()];
        let share = MOST_NUMBERS.div_ceil(batches.len());
        let plain = burn::module::Module::valid(&self);
        for images in batches {
            let mut look = |n: usize, value: &AnyTensor| {
                if quantizers[n].is_some() {
                    samples[n].extend(evenly(&value.numbers(), share));
                }
            };
            plain.computed(images.clone().without_autodiff(), &mut look);
        }
        let calibrated = quantizers.into_iter().zip(samples);
        self.quantizers = calibrated
            .map(|(quantizer, sample)| quantizer.map(|quantizer| quantizer.calibrated(&sample)))
            .collect();
        self
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
