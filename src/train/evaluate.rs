//! How many pictures a network gets right.

use burn::data::dataloader::DataLoader;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::data::{PictureDataset, PictureLoader, Resize};
use crate::models::{Network, NetworkConfig as _};

/// The most pictures of a forward pass. Accuracies do not depend on it; steps by ranges of a batch do.
const BATCH: usize = 256;

/// The most numbers of a value in a forward pass: 256 MiB of them.
const NUMBERS: usize = 1 << 26;

/// Pictures per forward pass, where the largest value of one has so many numbers.
fn batch(largest: Option<usize>) -> usize {
    let fit = largest.map_or(BATCH, |largest| NUMBERS / largest.max(1));
    fit.clamp(1, BATCH)
}

/// How many pictures a network got right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Right answers.
    pub correct: usize,
    /// Pictures.
    pub total: usize,
}

impl Evaluation {
    /// In per cent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.correct as f64 / self.total as f64
    }

    /// The range, in per cent, in which the accuracy on all pictures of the kind lies with a confidence of 95 %: Wilson's
    /// interval for a share, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    ///
    /// ```
    /// use vwc_sdk::train::Evaluation;
    ///
    /// let [low, high] = Evaluation { correct: 180, total: 200 }.interval();
    /// assert!((low - 85.1).abs() < 0.05 && (high - 93.4).abs() < 0.05);
    /// ```
    pub fn interval(&self) -> [f64; 2] {
        /// Standard deviations of the normal distribution that hold 95 %.
        const Z: f64 = 1.959_963_984_540_054;
        let (n, share) = (self.total as f64, self.correct as f64 / self.total as f64);
        let centre = share + Z * Z / (2.0 * n);
        let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        [centre - reach, centre + reach].map(|end| (100.0 * end / (1.0 + Z * Z / n)).clamp(0.0, 100.0))
    }
}

/// Classifies every picture of `dataset` on `device`, where `network` has to be, without automatic differentiation.
///
/// # Errors
///
/// A picture that cannot be read, no pictures, pictures of another number of classes, and logits that are no numbers.
pub fn evaluate<N: Network>(
    network: &N,
    dataset: &PictureDataset,
    device: &Device,
) -> Result<Evaluation, Error> {
    let (input, batch) = (network.config().input(), batch(network.config().largest_value()));
    in_batches(
        dataset,
        input,
        device,
        batch,
        |images| Ok(network.forward(images)),
    )
}

/// All pictures of `dataset` as a network that reads this height and width is given them, in batches on `device`.
///
/// # Errors
///
/// A picture that cannot be read.
pub fn images(dataset: &PictureDataset, input: [usize; 2], device: &Device) -> Result<Vec<Tensor<4>>, Error> {
    images_in(dataset, input, None, device)
}

/// As [`images`], of a network whose largest value of a picture has so many numbers.
pub(crate) fn images_in(
    dataset: &PictureDataset,
    input: [usize; 2],
    largest: Option<usize>,
    device: &Device,
) -> Result<Vec<Tensor<4>>, Error> {
    let loader = PictureLoader::new(dataset.clone(), Resize::new(input), batch(largest), device);
    let images = loader.iter().map(|batch| match batch {
        Ok(batch) => Ok(batch.images),
        Err(error) => Err(Error::Recipe(format!("a picture cannot be read: {error}"))),
    });
    images.collect()
}

/// As [`evaluate`], of any way to compute the logits of pictures of this height and width.
///
/// # Errors
///
/// As [`evaluate`], and those of `forward`.
pub fn evaluate_with(
    dataset: &PictureDataset,
    input: [usize; 2],
    device: &Device,
    forward: impl FnMut(Tensor<4>) -> Result<Tensor<2>, Error>,
) -> Result<Evaluation, Error> {
    in_batches(dataset, input, device, BATCH, forward)
}

fn in_batches(
    dataset: &PictureDataset,
    input: [usize; 2],
    device: &Device,
    batch: usize,
    mut forward: impl FnMut(Tensor<4>) -> Result<Tensor<2>, Error>,
) -> Result<Evaluation, Error> {
    let loader = PictureLoader::new(dataset.clone(), Resize::new(input), batch, device);
    let mut evaluation = Evaluation {
        correct: 0,
        total: loader.num_items(),
    };
    if evaluation.total == 0 {
        return Err(Error::Recipe("there are no pictures to evaluate with".into()));
    }
    for batch in loader.iter() {
        let batch = batch.map_err(|error| Error::Recipe(format!("a picture cannot be read: {error}")))?;
        let logits = forward(batch.images)?;
        if logits.dims()[1] != dataset.classes() {
            return Err(Error::Recipe(format!(
                "the network tells {} classes apart, and the pictures have {}: give it pictures of its own classes",
                logits.dims()[1],
                dataset.classes()
            )));
        }
        if !logits.to_data().iter::<f32>().all(f32::is_finite) {
            return Err(Error::Recipe(
                "the network computes NaN or infinity for a picture: see whether its weights, and the pictures as they are normalised, are numbers \
                 of a usual size; where training made it so, train it anew with a smaller learning rate"
                    .into(),
            ));
        }
        let answers = logits.argmax(1).flatten::<1>(0, 1);
        let correct = answers.equal(batch.targets).int().sum().into_scalar::<i64>();
        evaluation.correct += correct as usize;
    }
    Ok(evaluation)
}
