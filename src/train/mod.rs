//! Training, testing, and the prune-and-fine-tune rounds.
//!
//! [`fit`] trains a network on Burn's `Learner` as a [`Recipe`] says and leaves a [`RunDir`] behind: configuration,
//! metrics per epoch, checkpoints to resume from, the best network and a log. The best epoch is chosen on pictures
//! carved from the training split. [`evaluate`] is the one look at the test split. [`rounds`] alternates channel
//! search, pruning and fine-tuning until nothing is left to prune or accuracy falls.

mod adam;
mod average;
mod checkpoint;
mod classifier;
mod decay;
mod distillation;
mod epoch;
mod evaluate;
mod fit;
mod manifest;
mod metrics;
mod project;
pub(crate) use project::{MAX_ROUNDS, ORIGINAL, ROUNDS, round_name};
pub(crate) mod published;
mod recipe;
mod renderer;
mod results;
mod rounds;
mod run_dir;
#[cfg(unix)]
mod signals;

pub use adam::Adam;
pub use classifier::Loss;
pub use distillation::DistillationConfig;
pub use epoch::EpochMetrics;
pub(crate) use evaluate::images_in;
pub use evaluate::{Evaluation, evaluate, evaluate_with, images};
pub(crate) use fit::another_run;
pub use fit::{Fit, FitOptions, fit, initial};
pub use project::Project;
pub use recipe::{OptimizerKind, Recipe, Schedule};
pub use results::{NetworkResult, Results};
pub use rounds::{Round, Rounds, RoundsConfig, StopReason, WidthChoice, rounds};
pub use run_dir::{RunConfig, RunDir, run_network};

pub use burn::train::Interrupter;
