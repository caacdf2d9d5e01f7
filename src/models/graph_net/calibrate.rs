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
    /// pictures, a few hundred in all. Weights are as they are; of each value 65,536 numbers at the most are looked at, from all over it, and for ranges the
    /// least and the largest of each batch.
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

/// As many numbers as are looked at.
pub(super) fn some_of(numbers: &[f32]) -> Vec<f32> {
    evenly(numbers, MOST_NUMBERS).collect()
}

/// All numbers, or one of each of so many stretches of equal length. Its place in a stretch moves by the golden section from one to the next: in equal
/// distances it would be the same column of every feature map, and the same place of every kernel.
fn evenly(numbers: &[f32], most: usize) -> impl Iterator<Item = f32> {
    /// Of 2^32, rounded.
    const GOLDEN_SECTION: u32 = 0x9e37_79b9;
    let (length, count) = (numbers.len(), most.min(numbers.len()));
    (0..count).map(move |n| {
        let [start, end] = [n, n + 1].map(|n| (n as u128 * length as u128 / count as u128) as usize);
        let part = u64::from((n as u32).wrapping_mul(GOLDEN_SECTION));
        let within = ((end - start) as u128 * u128::from(part)) >> u32::BITS;
        numbers[start + within as usize]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_from_all_over_a_value() {
        for [maps, height, width] in [
            [256 * 16, 32, 32],
            [256 * 64, 32, 32],
            [256 * 32, 16, 16],
            [64 * 64, 56, 56],
            [256 * 512, 7, 7],
            [512 * 512, 3, 3],
            [512 * 256, 3, 3],
            [300 * 3, 31, 33],
            [8, 224, 224],
        ] {
            let numbers: Vec<f32> = (0..maps * height * width).map(|n| n as f32).collect();
            let places: Vec<usize> = some_of(&numbers).into_iter().map(|n| n as usize).collect();
            assert_eq!(places.len(), MOST_NUMBERS.min(numbers.len()));
            let counts = |of: fn(usize, usize, usize) -> usize, count: usize| {
                let mut counts = vec![0; count];
                places
                    .iter()
                    .for_each(|&place| counts[of(place, height, width)] += 1);
                counts
            };
            for counts in [
                counts(|place, _, width| place % width, width),
                counts(|place, height, width| place / width % height, height),
                counts(|place, height, width| place / width / height % 4, 4),
            ] {
                let expected = places.len() / counts.len();
                assert!(
                    counts
                        .iter()
                        .all(|&count| (expected * 4 / 5..=expected * 6 / 5).contains(&count)),
                    "{maps}x{height}x{width}: {counts:?}"
                );
            }
        }
        let few = [1.0, 2.0, 3.0];
        assert_eq!(some_of(&few), few);
        assert!(some_of(&[]).is_empty());
    }
}
