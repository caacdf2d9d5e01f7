//! What is measured in an epoch, and which epoch is the best.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was measured in one epoch. Accuracies in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochMetrics {
    /// The epoch, from 1.
    pub epoch: usize,
    /// Learning rate.
    pub learning_rate: f64,
    /// Mean loss over the epoch's training batches, as they came: cross-entropy, unless the training has another.
    pub train_loss: f64,
    /// Accuracy over the epoch's training batches, as they came.
    pub train_accuracy: f64,
    /// Mean loss on the validation pictures, after the epoch, without label smoothing or a teacher.
    pub valid_loss: f64,
    /// Accuracy on the validation pictures, after the epoch.
    pub valid_accuracy: f64,
    /// Wall-clock seconds, validation included.
    pub seconds: f64,
}

impl fmt::Display for EpochMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "train loss {:.4}, accuracy {:.2} %; valid loss {:.4}, accuracy {:.2} %; {:.1} s",
            self.train_loss, self.train_accuracy, self.valid_loss, self.valid_accuracy, self.seconds
        )
    }
}

/// The best epoch so far: highest validation accuracy, the earliest of equals.
pub(super) fn best(metrics: &[EpochMetrics]) -> Option<&EpochMetrics> {
    let measured = metrics.iter().filter(|row| row.valid_accuracy.is_finite());
    measured.reduce(|best, row| {
        if row.valid_accuracy > best.valid_accuracy {
            row
        } else {
            best
        }
    })
}
