use burn::data::dataloader::DataLoader;
use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::data::{PictureBatcher, PictureDataset, PictureLoader, Resize};
use crate::models::{Network, NetworkConfig};

/// Pictures per forward pass; the result does not depend on it.
const BATCH: usize = 256;

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
}

/// Classifies every picture of `dataset` on `device`, where `network` has to be, without automatic differentiation.
///
/// # Errors
///
/// A picture that cannot be read.
pub fn evaluate<C: NetworkConfig>(
    network: &C::Network,
    dataset: &PictureDataset,
    device: &Device,
) -> Result<Evaluation, Error> {
    let loader = PictureLoader::new(
        dataset.clone(),
        Resize::new(C::INPUT),
        PictureBatcher::svhn(),
        BATCH,
        device,
    );
    let mut evaluation = Evaluation {
        correct: 0,
        total: loader.num_items(),
    };
    for batch in loader.iter() {
        let batch = batch.map_err(|error| Error::Recipe(format!("a picture cannot be read: {error}")))?;
        let answers = network.forward(batch.images).argmax(1).flatten::<1>(0, 1);
        let correct = answers.equal(batch.targets).int().sum().into_scalar::<i64>();
        evaluation.correct += correct as usize;
    }
    Ok(evaluation)
}
