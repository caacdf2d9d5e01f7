//! What is seen of a training where there is no terminal for Burn's dashboard: a progress bar on stderr.

use burn::train::LearnerSummary;
use burn::train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn::train::metric::MetricDefinition;
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};
use indicatif::{ProgressBar, ProgressStyle};

/// Progress within an epoch, on stderr and only where that is a terminal. The line an epoch ends with comes from
/// what is kept of it, not from here.
pub(super) struct BarRenderer {
    bar: ProgressBar,
    epoch: usize,
    epochs: usize,
}

impl BarRenderer {
    pub(super) fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            epoch: 0,
            epochs: 0,
        }
    }
}

impl TrainingProgressLogger for BarRenderer {
    fn start(&mut self, epochs: usize, first: usize, _items: Option<usize>, _label: Option<&str>) {
        self.epochs = epochs;
        self.epoch = first;
    }

    fn start_split(&mut self, split: &str, items: usize) {
        let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} pictures, {eta} left")
            .expect("a template that is right once is right always");
        self.bar = ProgressBar::new(items as u64).with_style(style);
        self.bar
            .set_message(format!("epoch {}/{} {split}", self.epoch.max(1), self.epochs));
    }

    fn update_split(&mut self, items: usize) {
        self.bar.set_position(items as u64);
    }

    fn end_split(&mut self) {
        self.bar.finish_and_clear();
    }

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }

    fn log_event_training(&mut self, _event: String) {}
}

impl MetricsRendererTraining for BarRenderer {
    fn update_train(&mut self, _state: MetricState) {}

    fn update_valid(&mut self, _state: MetricState) {}

    // The default prints the summary on stdout, which is for data.
    fn on_train_end(&mut self, _summary: Option<LearnerSummary>) -> Result<(), Box<dyn core::error::Error>> {
        Ok(())
    }
}

// A training renders no evaluation, but Burn asks for both in one trait.
impl EvaluationProgressLogger for BarRenderer {
    fn start_global_progress(&mut self, _tests: usize) {}

    fn start_test(&mut self, _name: &str, _items: usize) {}

    fn update_test_progress(&mut self, _items: usize) {}

    fn end_test(&mut self) {}

    fn end_global_progress(&mut self) {}

    fn log_event_evaluation(&mut self, _event: String) {}
}

impl MetricsRendererEvaluation for BarRenderer {
    fn update_test(&mut self, _name: EvaluationName, _state: MetricState) {}
}

impl MetricsRenderer for BarRenderer {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, _definition: MetricDefinition) {}
}
