//! A network as Burn's `Learner` takes it: with a loss, and a step for either mode.

use std::fmt;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::average::{Averaged, Weights};
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
    /// Whether it is that of [`Loss::default`], whatever others are called.
    usual: bool,
    training: Arc<Losses>,
    validation: Arc<Losses>,
}

impl Loss {
    /// The loss that `of` computes. `name` is kept with the run, and a run goes on with the loss of this name alone: name what it
    /// depends on.
    pub fn new(
        name: impl Into<String>,
        of: impl Fn(Tensor<2>, &PictureBatch) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        let of: Arc<Losses> = Arc::new(of);
        Self {
            name: name.into(),
            usual: false,
            training: of.clone(),
            validation: of,
        }
    }

    /// The loss that `of` computes in training, and cross-entropy on validation pictures.
    pub(super) fn in_training(
        name: String,
        of: impl Fn(Tensor<2>, &PictureBatch) -> Tensor<1> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name,
            usual: false,
            training: Arc::new(of),
            ..Self::default()
        }
    }

    /// Cross-entropy with the part `smoothing` of each class spread over all. The recipe says how much, and the name need not.
    pub(super) fn smoothed(smoothing: f64) -> Self {
        let smoothing = Some(smoothing as f32);
        Self::in_training(CROSS_ENTROPY.into(), move |logits, batch| {
            cross_entropy(logits, batch, smoothing)
        })
    }

    /// That of logits of training pictures.
    pub(super) fn training(&self, logits: Tensor<2>, batch: &PictureBatch) -> Tensor<1> {
        (self.training)(logits, batch)
    }

    /// That of logits of validation pictures.
    pub(super) fn validation(&self, logits: Tensor<2>, batch: &PictureBatch) -> Tensor<1> {
        (self.validation)(logits, batch)
    }

    /// Whether it is [`default`](Self::default).
    pub(super) fn is_cross_entropy(&self) -> bool {
        self.usual
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Default for Loss {
    /// Cross-entropy.
    fn default() -> Self {
        Self {
            usual: true,
            ..Self::new(CROSS_ENTROPY, |logits, batch| cross_entropy(logits, batch, None))
        }
    }
}

pub(super) fn cross_entropy(logits: Tensor<2>, batch: &PictureBatch, smoothing: Option<f32>) -> Tensor<1> {
    let loss = CrossEntropyLossConfig::new().with_smoothing(smoothing);
    loss.init(&logits.device()).forward(logits, batch.targets.clone())
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
    /// What is validated and kept instead of the network, where the recipe says so.
    #[module(skip)]
    pub(super) average: Option<Arc<dyn Averaged>>,
}

impl<N: Network> Classifier<N> {
    /// `network` with this loss, without an average.
    pub(super) fn new(network: N, loss: &Loss) -> Self {
        Self {
            network,
            loss: loss.clone(),
            average: None,
        }
    }

    fn classify(
        &self,
        forward: impl Fn(Tensor<4>) -> Tensor<2>,
        batch: PictureBatch,
        loss: impl Fn(&Loss, Tensor<2>, &PictureBatch) -> Tensor<1>,
    ) -> Answers {
        let output: Tensor<2> = forward(batch.images.clone());
        let loss = loss(&self.loss, output.clone(), &batch);
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
        if let Some(average) = &self.average
            && average.is_on(&batch.images.device())
        {
            average.take(Weights::of(&self.network));
        }
        let output = self.classify(|images| self.network.forward(images), batch, Loss::training);
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
        match &self.average {
            Some(average) => self.classify(|images| average.forward(images), batch, Loss::validation),
            None => self.classify(|images| self.network.forward(images), batch, Loss::validation),
        }
    }
}
