//! Loss and accuracy, read from the device once in a while: a GPU that has to answer after every step waits for the next.

use std::marker::PhantomData;

use burn::tensor::{ExecutionError, Int, Tensor, TensorReadError};
use burn::train::metric::ItemLazy;
use burn::train::metric::state::{FormatOptions, NumericMetricState};
use burn::train::metric::{
    Adaptor, Metric, MetricAttributes, MetricMetadata, MetricName, Numeric, NumericAttributes, NumericEntry,
    SerializedEntry,
};

/// Steps between two readings.
const EVERY: usize = 16;

/// What a step computed, all of it on the device.
pub(super) struct Answers {
    /// Mean cross-entropy, `[1]`.
    pub(super) loss: Tensor<1>,
    /// Logits, `[batch, classes]`.
    pub(super) logits: Tensor<2>,
    /// Classes, `[batch]`.
    pub(super) targets: Tensor<1, Int>,
}

impl ItemLazy for Answers {
    /// Leaves the graph, and has the device begin with what is waiting.
    fn sync(self) -> Result<Self, ExecutionError> {
        self.loss.device().flush()?;
        Ok(Self {
            loss: self.loss.without_autodiff(),
            logits: self.logits.without_autodiff(),
            targets: self.targets.without_autodiff(),
        })
    }
}

/// A sum on the device, `[1]`, and over how many it runs.
#[derive(Clone)]
pub(super) struct Sum {
    value: Tensor<1>,
    count: usize,
}

/// What [`loss`] is fed with.
#[derive(Clone)]
pub(super) struct LossInput(Sum);

/// What [`accuracy`] is fed with.
#[derive(Clone)]
pub(super) struct AccuracyInput(Sum);

impl Adaptor<LossInput> for Answers {
    fn adapt(&self) -> LossInput {
        LossInput(Sum {
            value: self.loss.clone(),
            count: 1,
        })
    }
}

impl Adaptor<AccuracyInput> for Answers {
    fn adapt(&self) -> AccuracyInput {
        let answers = self.logits.clone().argmax(1).flatten::<1>(0, 1);
        AccuracyInput(Sum {
            value: answers.equal(self.targets.clone()).int().sum().float(),
            count: self.targets.dims()[0],
        })
    }
}

impl From<LossInput> for Sum {
    fn from(input: LossInput) -> Self {
        input.0
    }
}

impl From<AccuracyInput> for Sum {
    fn from(input: AccuracyInput) -> Self {
        input.0
    }
}

/// The mean cross-entropy: every batch counts alike.
pub(super) fn loss() -> Deferred<LossInput> {
    Deferred::new("Loss", None, 1.0)
}

/// The share of right answers, in per cent.
pub(super) fn accuracy() -> Deferred<AccuracyInput> {
    Deferred::new("Accuracy", Some("%"), 100.0)
}

/// A mean that is read every [`EVERY`] steps and at the end of an epoch.
pub(super) struct Deferred<I> {
    name: MetricName,
    unit: Option<&'static str>,
    scale: f64,
    state: NumericMetricState,
    waiting: Vec<Sum>,
    input: PhantomData<fn(I)>,
}

impl<I> Clone for Deferred<I> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            state: self.state.clone(),
            waiting: self.waiting.clone(),
            ..*self
        }
    }
}

impl<I> Deferred<I> {
    fn new(name: &str, unit: Option<&'static str>, scale: f64) -> Self {
        Self {
            name: MetricName::new(name.into()),
            unit,
            scale,
            state: NumericMetricState::new(),
            waiting: Vec::new(),
            input: PhantomData,
        }
    }

    /// Reads all that is waiting at once, for each of the devices that it is on.
    fn read(&mut self) -> Result<(), TensorReadError> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else {
            return Ok(());
        };
        let device = first.value.device();
        let values = waiting.iter().map(|sum| sum.value.clone().to_device(&device));
        let values = Tensor::cat(values.collect(), 0).try_into_vec_as::<f32>()?;
        for (value, sum) in values.into_iter().zip(&waiting) {
            self.state
                .update(self.scale * f64::from(value) / sum.count as f64, sum.count);
        }
        Ok(())
    }

    fn format(&self) -> FormatOptions {
        let options = FormatOptions::new(self.name.clone()).precision(2);
        match self.unit {
            None => options,
            Some(unit) => options.unit(unit),
        }
    }
}

impl<I: Clone + Into<Sum> + 'static> Metric for Deferred<I> {
    type Input = I;

    fn name(&self) -> MetricName {
        self.name.clone()
    }

    fn attributes(&self) -> MetricAttributes {
        NumericAttributes {
            unit: self.unit.map(str::to_owned),
            higher_is_better: self.unit.is_some(),
        }
        .into()
    }

    fn update(&mut self, input: &I, metadata: &MetricMetadata) -> Result<SerializedEntry, TensorReadError> {
        self.waiting.push(input.clone().into());
        // The first at once, so that something is seen.
        if self.waiting.len() < EVERY && metadata.iteration != Some(1) {
            return Ok(SerializedEntry::not_available(self.unit));
        }
        self.read()?;
        Ok(self.state.compute_update(self.format()))
    }

    fn compute(&mut self) -> Result<SerializedEntry, TensorReadError> {
        self.read()?;
        Ok(self.state.compute_final(self.format()))
    }

    fn clear(&mut self) {
        self.state.reset();
        self.waiting.clear();
    }
}

impl<I: Clone + Into<Sum> + 'static> Numeric for Deferred<I> {
    fn value(&self) -> Option<NumericEntry> {
        Some(self.state.current_value()).filter(|entry| entry.current().is_finite())
    }

    fn running_value(&self) -> Option<NumericEntry> {
        Some(self.state.running_value()).filter(|entry| entry.current().is_finite())
    }

    fn final_value(&self) -> NumericEntry {
        self.state.final_value()
    }
}
