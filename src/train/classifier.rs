use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::train::{InferenceStep, TrainOutput, TrainStep};

use super::metrics::Answers;
use crate::data::PictureBatch;
use crate::models::Network;

/// Any [`Network`] as Burn's `Learner` wants it: with a loss, cross-entropy, and a step for either mode.
#[derive(Module, Debug)]
pub(super) struct Classifier<N: Network> {
    pub(super) network: N,
}

impl<N: Network> Classifier<N> {
    fn classify(&self, batch: PictureBatch) -> Answers {
        let output: Tensor<2> = self.network.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.targets.clone());
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
