use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::Tensor;
use burn::train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep};

use crate::data::PictureBatch;
use crate::models::Network;

/// Any [`Network`] as Burn's `Learner` wants it: with a loss, cross-entropy, and a step for either mode.
#[derive(Module, Debug)]
pub(super) struct Classifier<N: Network> {
    pub(super) network: N,
}

impl<N: Network> Classifier<N> {
    fn classify(&self, batch: PictureBatch) -> ClassificationOutput {
        let output: Tensor<2> = self.network.forward(batch.images);
        let loss = CrossEntropyLossConfig::new()
            .init(&output.device())
            .forward(output.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, output, batch.targets)
    }
}

impl<N: Network> TrainStep for Classifier<N> {
    type Input = PictureBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: PictureBatch) -> TrainOutput<ClassificationOutput> {
        let output = self.classify(batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

impl<N: Network> InferenceStep for Classifier<N> {
    type Input = PictureBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: PictureBatch) -> ClassificationOutput {
        self.classify(batch)
    }
}
