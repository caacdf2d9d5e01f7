//! What is kept of each epoch: a row of metrics, and the checkpoints of the last two epochs and the best.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use std::{fs, io};

use burn::lr_scheduler::LrSchedulerRecord;
use burn::optim::OptimizerRecord;
use burn::store::ModuleRecord;
use burn::train::Interrupter;
use burn::train::checkpoint::{
    Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction, CheckpointingStrategy,
};
use burn::train::logger::MetricLogger;
use burn::train::metric::store::{Aggregate, EpochSummary, EventStoreClient, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, MetricId, NumericEntry};

use super::epoch::{EpochMetrics, best};
use super::manifest::CHECKPOINT;
use super::run_dir::exists;
use super::{Recipe, RunDir, manifest};
use crate::Error;
use crate::panics::attempt;

/// The files of every checkpoint.
const PARTS: [&str; 3] = ["model", "optim", "scheduler"];

/// The file of a checkpoint that holds the moving average of the weights, where there is one.
const AVERAGE: &str = "average";

/// The file of a checkpoint that holds what is kept of an epoch.
pub(super) fn kept(recipe: &Recipe) -> &'static str {
    match recipe.ema {
        Some(_) => AVERAGE,
        None => "model",
    }
}

/// The name of a part in the folder of its run.
pub(super) fn part(part: &str, epoch: usize) -> String {
    format!("{CHECKPOINT}/{part}-{epoch}.bpk")
}

/// The last epoch of which all parts are there, are as they were written, and can be read. Burn panics on a part that cannot, so
/// each is tried.
///
/// # Errors
///
/// [`Error::Io`] where permission to read one is missing: it may be whole.
pub(super) fn last_complete(dir: &RunDir, recipe: &Recipe, epochs: usize) -> Result<Option<usize>, Error> {
    for epoch in (1..=epochs).rev() {
        let names = PARTS.map(|name| part(name, epoch));
        let average = recipe.ema.map(|_| part(AVERAGE, epoch));
        let mut there = true;
        for name in names.iter().chain(&average) {
            there &= exists(&dir.path().join(name))?;
        }
        if !there {
            continue;
        }
        let whole = match names.iter().chain(&average).try_for_each(|name| dir.check(name)) {
            Err(error) if error.is_denied() => return Err(error),
            whole => whole,
        };
        let [model, optim, scheduler] = names.map(|name| dir.path().join(name));
        let average = average.map(|name| dir.path().join(name));
        let readable = whole.map_err(|error| error.to_string()).and_then(|()| {
            attempt(|| {
                [model]
                    .into_iter()
                    .chain(average)
                    .all(|path| ModuleRecord::load(path).is_ok())
                    && OptimizerRecord::load(optim).is_ok()
                    && LrSchedulerRecord::load(scheduler).is_ok()
            })
            .ok()
            .filter(|&readable| readable)
            .map(drop)
            .ok_or_else(|| "it cannot be read".to_owned())
        });
        if let Err(reason) = &readable {
            say!(
                "{}: the checkpoint of epoch {epoch} is damaged ({reason}): looking for an earlier one",
                dir.path().display()
            );
        }
        if readable.is_ok() {
            return Ok(Some(epoch));
        }
    }
    Ok(None)
}

/// Whether there is any part of a checkpoint, or may be: in a folder that may not be looked into.
pub(super) fn any(dir: &RunDir) -> bool {
    let entries = match fs::read_dir(dir.checkpoint()) {
        Err(error) => return error.kind() == io::ErrorKind::PermissionDenied,
        Ok(entries) => entries.flatten(),
    };
    entries
        .map(|entry| entry.file_name())
        .any(|name| name.to_string_lossy().ends_with(".bpk"))
}

/// Burn's file checkpointer, except that a file appears whole or not at all.
pub(super) struct WholeFiles {
    pub(super) dir: RunDir,
    pub(super) part: &'static str,
}

impl<R: Checkpoint> Checkpointer<R> for WholeFiles {
    fn save(&self, epoch: usize, record: R) -> Result<(), CheckpointerError> {
        manifest::replace(self.dir.path(), &part(self.part, epoch), |path| {
            record.save(path.into()).map_err(io::Error::other)
        })
        .map_err(CheckpointerError::IOError)
    }

    fn delete(&self, epoch: usize) -> Result<(), CheckpointerError> {
        let name = part(self.part, epoch);
        manifest::forget(self.dir.path(), &name).map_err(CheckpointerError::IOError)?;
        match fs::remove_file(self.dir.path().join(name)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(CheckpointerError::IOError(error))
            }
            _ => Ok(()),
        }
    }

    fn restore(&self, epoch: usize) -> Result<R, CheckpointerError> {
        R::load(self.dir.path().join(part(self.part, epoch)))
    }
}

/// Asked by the learner at the end of each epoch what to save: notes the epoch's metrics on the way.
pub(super) struct EpochKeeper {
    pub(super) dir: RunDir,
    pub(super) recipe: Recipe,
    pub(super) label: String,
    /// Where the pictures come from.
    pub(super) data: String,
    /// Whether lines are printed, as they are where no dashboard stands.
    pub(super) print: bool,
    pub(super) started: Instant,
    pub(super) metrics: Arc<Mutex<Vec<EpochMetrics>>>,
    pub(super) failure: Arc<Mutex<Option<Error>>>,
    pub(super) interrupter: Interrupter,
    /// Epochs whose checkpoints are there.
    pub(super) saved: Vec<usize>,
    /// The moving average of the weights, where there is one.
    pub(super) average: Option<Box<dyn Fn() -> ModuleRecord + Send>>,
}

impl EpochKeeper {
    /// Stops the training for `error`.
    fn fail(&self, error: Error) {
        self.failure
            .lock()
            .expect("no holder panics")
            .get_or_insert(error);
        self.interrupter.stop(Some("an epoch cannot be kept"));
    }
}

impl CheckpointingStrategy for EpochKeeper {
    fn checkpointing(&mut self, epoch: usize, store: &EventStoreClient) -> Vec<CheckpointingAction> {
        let mean = |name, split| {
            store
                .find_metric(name, epoch, Aggregate::Mean, &split)
                .unwrap_or(f64::NAN)
        };
        let row = EpochMetrics {
            epoch,
            learning_rate: self.recipe.learning_rate_at(epoch),
            train_loss: mean("Loss", Split::Train),
            train_accuracy: mean("Accuracy", Split::Train),
            valid_loss: mean("Loss", Split::Valid),
            valid_accuracy: mean("Accuracy", Split::Valid),
            seconds: self.started.elapsed().as_secs_f64(),
        };
        self.started = Instant::now();
        let measured = [
            ("the training loss", row.train_loss),
            ("the validation loss", row.valid_loss),
            ("the validation accuracy", row.valid_accuracy),
        ];
        if let Some((what, _)) = measured.into_iter().find(|(_, value)| !value.is_finite()) {
            self.fail(Error::Diverged {
                dir: self.dir.path().into(),
                epoch,
                what,
                learning_rate: self.recipe.learning_rate,
            });
            return Vec::new();
        }

        let mut metrics = self.metrics.lock().expect("no holder panics");
        let best_before = best(&metrics).map_or(epoch, |row| row.epoch);
        metrics.push(row);
        let best_now = best(&metrics).expect("at least this epoch").epoch;
        let line = format!(
            "{}: epoch {epoch}/{}: {}{}",
            self.label,
            self.recipe.epochs,
            metrics[metrics.len() - 1],
            if best_now == epoch { ", best so far" } else { "" },
        );
        self.dir.log(&line);
        if self.print {
            say!("{line}");
        }
        if let Err(error) = self.dir.save_metrics(&metrics, &self.data) {
            self.fail(error);
        }

        let average = WholeFiles {
            dir: self.dir.clone(),
            part: AVERAGE,
        };
        if let Some(record) = &self.average
            && let Err(error) = average.save(epoch, record())
        {
            self.fail(Error::Checkpoint {
                path: self.dir.path().join(part(AVERAGE, epoch)),
                reason: format!("it cannot be written: {error}"),
            });
        }

        // The parts of a checkpoint are written by a thread each, so what an epoch supersedes goes only once the next
        // epoch is being saved: at every moment the last checkpoint that is whole, and its best, are there.
        let (keep, delete): (Vec<usize>, Vec<usize>) = (self.saved.iter().copied())
            .partition(|&old| old + 1 >= epoch || old == best_now || old == best_before);
        if self.average.is_some() {
            // What cannot be removed is left, and is in nobody's way.
            delete
                .iter()
                .for_each(|&old| drop(Checkpointer::<ModuleRecord>::delete(&average, old)));
        }
        self.saved = keep;
        self.saved.push(epoch);
        let delete = delete.into_iter().map(CheckpointingAction::Delete);
        std::iter::once(CheckpointingAction::Save).chain(delete).collect()
    }
}

/// Remembers the points of the current epoch, for the learner's event store to average.
#[derive(Default)]
pub(super) struct EpochPoints {
    names: HashMap<MetricId, String>,
    points: HashMap<(String, Split), (usize, Vec<NumericEntry>)>,
}

impl MetricLogger for EpochPoints {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        for numeric in update.entries_numeric {
            let name = self.names[&numeric.entry.metric_id].clone();
            let (of, points) = self.points.entry((name, split.clone())).or_default();
            if *of != epoch {
                *of = epoch;
                points.clear();
            }
            points.extend(NumericEntry::deserialize(
                &numeric.entry.serialized_entry.serialized,
            ));
        }
    }

    fn read_numeric(&mut self, name: &str, epoch: usize, split: &Split) -> Result<Vec<NumericEntry>, String> {
        let points = self.points.get(&(name.to_owned(), split.clone()));
        Ok(match points {
            Some((of, points)) if *of == epoch => points.clone(),
            _ => Vec::new(),
        })
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}
