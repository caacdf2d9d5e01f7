//! A network as Burn's `Learner` takes it: with a loss, and a step for either mode.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::metrics::Answers;
use crate::data::PictureBatch;
use crate::models::Network;

type Losses = dyn Fn(Tensor<2>, &PictureBatch) -> Tensor<1> + Send + Sync;

/// What training makes small: a function of logits, `[batch, classes]`, and of the pictures that they are of and their classes,
/// which results in one number, `[1]`, the mean over the batch.
///
/// ```
/// use burn::nn::loss::CrossEntropyLossConfig;
/// use burn::tensor::Tensor;
/// use vwc_sdk::data::PictureBatch;
/// use vwc_sdk::train::Loss;
///
/// let smoothed = Loss::new("cross-entropy, smoothed by 0.1", |logits: Tensor<2>, batch: &PictureBatch| {
///     let loss = CrossEntropyLossConfig::new().with_smoothing(Some(0.1));
///     loss.init(&logits.device()).forward(logits, batch.targets.clone())
/// });
/// assert_eq!(smoothed.name(), "cross-entropy, smoothed by 0.1");
/// ```
#[derive(Clone)]
pub struct Loss {
    name: String,
    of: Arc<Losses>,
}

impl Loss {
    /// The loss that `of` computes. `name` is kept with the run, and a run goes on with the loss of this name alone: name what it
    /// depends on.
    pub fn new(
        name: impl Into<String>,
        of: impl Fn(Tensor<2>, &PictureBatch) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            of: Arc::new(of),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Loss {
    /// Cross-entropy.
    fn default() -> Self {
        Self::new(CROSS_ENTROPY, |logits: Tensor<2>, batch: &PictureBatch| {
            let loss = CrossEntropyLossConfig::new().init(&logits.device());
            loss.forward(logits, batch.targets.clone())
        })
    }
}

impl fmt::Debug for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Loss").field(&self.name).finish()
    }
}

/// The loss of every run that does not name one.
pub(super) const CROSS_ENTROPY: &str = "cross-entropy";

/// Any [`Network`] with a loss.
#[derive(Module, Debug)]
pub(super) struct Classifier<N: Network> {
    pub(super) network: N,
    #[module(skip)]
    pub(super) loss: Loss,
}

impl<N: Network> Classifier<N> {
    fn classify(&self, batch: PictureBatch) -> Answers {
        let output: Tensor<2> = self.network.forward(batch.images.clone());
        let loss = (self.loss.of)(output.clone(), &batch);
        Answers {
            loss,
            logits: output,
            targets: batch.targets,
        }
    }
}

impl<N: Network> TrainStep for Classifier<N> {
    type Input = PictureBatch;
    type Output = Answers;

    fn step(&self, batch: PictureBatch) -> TrainOutput<Answers> {
        let share = batch.share;
        let output = self.classify(batch);
        // Gradients of several devices are added up, and the loss is a mean: together they make that of the whole batch.
        let loss = match share {
            1.0 => output.loss.clone(),
            _ => output.loss.clone().mul_scalar(share),
        };
        TrainOutput::new(self, loss.backward(), output)
    }
}

impl<N: Network> InferenceStep for Classifier<N> {
    type Input = PictureBatch;
    type Output = Answers;

    fn step(&self, batch: PictureBatch) -> Answers {
        self.classify(batch)
    }
}
