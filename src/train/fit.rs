//! Trains a network as a recipe says, on Burn's `Learner`, and leaves a run behind.

use std::fs;
use std::io::{IsTerminal, stderr, stdout};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use burn::data::dataset::Dataset;
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use burn::train::{
    ExecutionStrategy, Interrupter, Learner, MultiDeviceOptim, SupervisedTraining, TrainingStrategy,
};
use serde_json::{Value, json};

use super::average::{Average, Averaged};
use super::checkpoint::{
    EpochKeeper, EpochPoints, WholeFiles, any as any_checkpoint, kept, last_complete, part,
};
use super::classifier::Classifier;
use super::epoch::{EpochMetrics, best};
use super::metrics::{accuracy, loss};
use super::renderer::BarRenderer;
use super::run_dir::{Shapes, apply, check_made, exists, load_record, other_shapes};
use super::{Loss, Recipe, RunConfig, RunDir};
use crate::data::{PictureLoader, Resize, Splits};
use crate::mapping::MappingConfig;
use crate::models::{Network, NetworkConfig};
use crate::module::Parameters;
use crate::panics::one_line;
use crate::{DeviceName, Error};

/// Everything [`fit`] needs besides the network.
#[derive(Clone)]
#[non_exhaustive]
pub struct FitOptions<'a> {
    /// What the training is called in its output: `original`, `RCP1`.
    pub label: &'a str,
    /// The pictures.
    pub splits: &'a Splits,
    /// How to train.
    pub recipe: &'a Recipe,
    /// Where to leave the run.
    pub dir: RunDir,
    /// Go on from the last checkpoint in `dir`, if there is one.
    pub resume: bool,
    /// Stops the training when told to.
    pub interrupter: Interrupter,
    /// The devices to train on, without automatic differentiation: of several, each computes its share of every batch.
    /// The first keeps the network.
    pub devices: &'a [Device],
    /// How the network was pruned before, in words; none where it was not.
    pub pruning: Option<String>,
    /// The weights that it starts from, in words.
    pub start: Option<String>,
    /// The array, accounting and search that the network is trained for, if for any. The training does not depend on them:
    /// they are kept for whoever prunes or maps the network later.
    pub mapping: Option<MappingConfig>,
    /// What training makes small.
    pub loss: Loss,
}

impl<'a> FitOptions<'a> {
    /// From the start, called `training` in its output, with nobody to stop it.
    pub fn new(splits: &'a Splits, recipe: &'a Recipe, dir: RunDir, devices: &'a [Device]) -> Self {
        Self {
            label: "training",
            splits,
            recipe,
            dir,
            resume: false,
            interrupter: Interrupter::new(),
            devices,
            pruning: None,
            start: None,
            mapping: None,
            loss: Loss::default(),
        }
    }

    /// Makes another loss small than cross-entropy.
    #[must_use]
    pub fn with_loss(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// Calls the training `label` in its output.
    #[must_use]
    pub fn with_label(self, label: &'a str) -> Self {
        Self { label, ..self }
    }

    /// Goes on from the last checkpoint, if there is one and `resume` is set.
    #[must_use]
    pub fn with_resume(self, resume: bool) -> Self {
        Self { resume, ..self }
    }

    /// Stops when `interrupter` is told to.
    #[must_use]
    pub fn with_interrupter(self, interrupter: Interrupter) -> Self {
        Self { interrupter, ..self }
    }

    /// Notes how the network was pruned before, in words.
    #[must_use]
    pub fn with_pruning(self, pruning: Option<String>) -> Self {
        Self { pruning, ..self }
    }

    /// Notes the weights that training starts from, in words: it is resumed with the same alone.
    #[must_use]
    pub fn with_start(self, start: Option<String>) -> Self {
        Self { start, ..self }
    }

    /// Notes the array, accounting and search that the network is trained for.
    #[must_use]
    pub fn with_mapping(self, mapping: Option<MappingConfig>) -> Self {
        Self { mapping, ..self }
    }
}

/// A finished training.
#[derive(Debug)]
#[non_exhaustive]
pub struct Fit<N> {
    /// The network of the best epoch, ready for evaluation.
    pub network: N,
    /// The best epoch.
    pub best: EpochMetrics,
}

/// The network that `config` describes, on `device`, with random weights that follow from `seed` alone: the CPU draws them
/// for every device.
///
/// # Errors
///
/// Where this build has no CPU and the first device that it has cannot be used.
pub fn initial<C: NetworkConfig>(config: &C, seed: u64, device: &Device) -> Result<C::Network, Error> {
    let cpu = DeviceName::default().init()?;
    cpu.seed(seed);
    // Burn draws a weight when it is first looked at: so they are looked at here.
    Parameters::of(&config.init(&cpu)).put_into(config.init(device))
}

/// Trains `network` and returns it as it was after its best validation epoch.
///
/// The same seed gives the same result, and so does a run that was stopped and resumed. A run that is complete
/// already is read back where `resume` is set.
///
/// # Errors
///
/// A recipe that does not fit the pictures, a folder that cannot be written, a checkpoint of another network or
/// recipe, and [`Error::Interrupted`].
pub fn fit<N: Network>(network: N, options: FitOptions<'_>) -> Result<Fit<N>, Error> {
    let FitOptions {
        label,
        splits,
        recipe,
        dir,
        resume,
        interrupter,
        devices,
        pruning,
        start,
        mapping,
        loss: objective,
    } = options;
    let device = devices
        .first()
        .ok_or_else(|| Error::Recipe("no device to train on".into()))?;
    recipe.validate(splits.train.len())?;
    if burn::module::Module::num_params(&network) == 0 {
        return Err(Error::Recipe(format!(
            "{}: it has no parameters, so that there is nothing to train",
            network.structure().name()
        )));
    }
    let objective = match recipe.label_smoothing {
        None => objective,
        Some(smoothing) if objective.is_cross_entropy() => Loss::smoothed(smoothing),
        Some(_) => {
            return Err(Error::Recipe(format!(
                "the loss {:?} knows no label smoothing: expected cross-entropy, or a recipe without",
                objective.name()
            )));
        }
    };
    let structure = network.structure();
    let input = splits.train.spec(structure.input());
    check_memory(recipe, structure.largest_value())?;
    input
        .validate(structure.input(), structure.classes())
        .map_err(|reason| Error::Recipe(format!("the pictures do not fit the network: {reason}")))?;
    let run = RunConfig {
        network: N::Config::NAME.into(),
        shapes: other_shapes(&network, &structure, device),
        structure,
        loss: objective.name().into(),
        input,
        recipe: recipe.clone(),
        data: splits.source.clone(),
        source: splits.origin.clone(),
        checksums: Some(splits.checksums),
        mapping,
        pictures: splits.counts(),
        valid_share: splits.valid_share,
        split_seed: splits.seed,
        augment: splits.augment,
        pruning,
        start,
        version: env!("CARGO_PKG_VERSION").into(),
    };
    check_made(&network, &run, device)?;
    let mut metrics = Vec::new();
    let mut last = None;
    if resume && exists(&dir.path().join("config.json"))? {
        check_same_run(&dir, &run, splits)?;
        dir.adopt()?;
        metrics = dir.metrics()?;
        if dir.is_complete() {
            let (network, _) = dir.load::<N::Config>(device)?;
            let best = dir.best()?;
            return Ok(Fit { network, best });
        }
        if metrics.is_empty() && any_checkpoint(&dir) {
            return Err(Error::Checkpoint {
                path: dir.path().join("metrics.csv"),
                reason: "it is missing or empty, and there are checkpoints of a training: restore it, or train without \
                         `--resume`, which moves them aside"
                    .into(),
            });
        }
        let checkpoints = dir.checkpoint();
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints, "create the folder"))?;
        last = last_complete(&dir, recipe, metrics.len().min(recipe.epochs))?;
        if last.is_none() && !metrics.is_empty() {
            say!(
                "{label}: no checkpoint of the {} epochs so far is whole: from the start",
                metrics.len()
            );
        }
        metrics.truncate(last.unwrap_or(0));
        // Before anything is trained that would end in vain.
        if let Some(best) = best(&metrics) {
            let name = part(kept(recipe), best.epoch);
            dir.check(&name).map_err(|error| match error {
                error if error.is_denied() => error,
                _ => Error::Checkpoint {
                    path: dir.path().join(name),
                    reason: "the network of the best epoch so far is missing or damaged: restore it, or train without `--resume`"
                        .into(),
                },
            })?;
        }
    } else {
        if resume {
            say!(
                "{label}: it was not begun in {}: from the start",
                dir.path().display()
            );
        }
        if let Some(moved) = dir.create()? {
            say!(
                "{label}: {} held a run already: it is now {}",
                dir.path().display(),
                moved.display()
            );
        }
    }
    if metrics.len() != last.unwrap_or(0) {
        return Err(no_metrics(&dir));
    }
    dir.save_config(&run)?;

    let first = last.unwrap_or(0) + 1;
    if first <= recipe.epochs {
        let dashboard = stdout().is_terminal() && stderr().is_terminal();
        let metrics_so_far = Arc::new(Mutex::new(metrics));
        let failure = Arc::new(Mutex::new(None));
        let steps = splits.train.len().div_ceil(recipe.batch_size);
        let mut classifier = Classifier::new(network, &objective);
        if let Some(epoch) = last {
            // Burn applies the checkpoint without a way to refuse, so whether it fits is tried first.
            let path = dir.path().join(part("model", epoch));
            classifier = apply(classifier, load_record(&path)?, &path)?;
        }
        let mut kept_average = None;
        if let Some(decay) = recipe.ema {
            let mut average = classifier.clone();
            if let Some(epoch) = last {
                let path = dir.path().join(part(kept(recipe), epoch));
                average = apply(average, load_record(&path)?, &path)?;
            }
            let done = steps * last.unwrap_or(0);
            let average = Average::new(decay, &average.network, done, device);
            kept_average = Some(Arc::new(average));
        }
        classifier.average = kept_average.clone().map(|average| average as Arc<dyn Averaged>);
        let average = kept_average.map(|average| {
            let loss = objective.clone();
            let record = move || Classifier::new(average.network(), &loss).into_record();
            Box::new(record) as Box<dyn Fn() -> ModuleRecord + Send>
        });
        let keeper = EpochKeeper {
            dir: dir.clone(),
            recipe: recipe.clone(),
            label: label.into(),
            data: splits.source.clone(),
            print: !dashboard,
            started: Instant::now(),
            metrics: metrics_so_far.clone(),
            failure: failure.clone(),
            interrupter: interrupter.clone(),
            saved: (1..first)
                .filter(|&epoch| dir.path().join(part("model", epoch)).is_file())
                .collect(),
            average,
        };
        let loader = |dataset: &crate::data::PictureDataset| {
            PictureLoader::new(
                dataset.clone(),
                Resize::new(run.structure.input()),
                recipe.batch_size,
                device,
            )
        };
        let train = loader(&splits.train)
            .with_shuffle(recipe.seed, first)
            .with_augment(splits.augment);
        let file = |part| WholeFiles {
            dir: dir.clone(),
            part,
        };
        let mut training =
            SupervisedTraining::new(dir.path(), Arc::new(train), Arc::new(loader(&splits.valid)))
                .metrics((accuracy(), loss()))
                .with_metric_logger(EpochPoints::default())
                .with_custom_checkpointers(file("model"), file("optim"), file("scheduler"))
                .with_checkpointing_strategy(keeper)
                .with_application_logger(None)
                .with_interrupter(interrupter.clone())
                .with_training_strategy(TrainingStrategy::Default(strategy(devices)))
                .num_epochs(recipe.epochs)
                .label(label);
        if !dashboard {
            training = training.renderer(Box::new(BarRenderer::new()));
        }
        #[cfg(unix)]
        if dashboard {
            super::signals::outlive_terminal();
        }
        if let Some(epoch) = last {
            training = training.checkpoint(epoch);
        }
        let learner = Learner::new(classifier.train(), recipe.optimizer(), recipe.scheduler(steps)?);
        #[cfg(unix)]
        let _signals = dashboard.then(super::signals::KeepSignals::start);
        let result = training.launch(learner);
        drop(result.renderer);
        if !dir.path().is_dir() {
            return Err(Error::Checkpoint {
                path: dir.path().into(),
                reason:
                    "the folder was removed while its network was trained, so nothing is saved: train again"
                        .into(),
            });
        }
        if let Some(error) = result.error {
            return Err(Error::Training {
                dir: dir.path().into(),
                reason: one_line(&error.to_string()),
            });
        }
        if let Some(error) = failure.lock().expect("no holder panics").take() {
            return Err(error);
        }
        metrics = metrics_so_far.lock().expect("no holder panics").clone();
        if metrics.len() < recipe.epochs {
            return Err(Error::Interrupted {
                dir: dir.path().into(),
                epoch: metrics.len(),
            });
        }
    }

    let best = *best(&metrics).ok_or_else(|| no_metrics(&dir))?;
    let name = part(kept(recipe), best.epoch);
    dir.check(&name)?;
    let path = dir.path().join(name);
    let classifier = Classifier::new(run.made(device).map_err(Error::Recipe)?, &objective);
    let network = apply(classifier, load_record(&path)?, &path)?.network;
    dir.save_model(network.clone().into_record())?;
    // What somebody removed or changed in the meantime is known now, and not when the run is read.
    dir.config::<N::Config>()?;
    dir.best()?;
    Ok(Fit { network, best })
}

/// Several devices add their gradients up on the first.
/// The most numbers of a value in a training step: 8 GiB of them.
const MAX_NUMBERS: usize = 1 << 31;

/// Refuses a batch for which memory cannot hold one value of the network: the allocation would end the process.
fn check_memory(recipe: &Recipe, largest: Option<usize>) -> Result<(), Error> {
    let Some(largest) = largest.filter(|largest| largest.saturating_mul(recipe.batch_size) > MAX_NUMBERS)
    else {
        return Ok(());
    };
    Err(Error::Recipe(format!(
        "a batch of {} pictures is too large: the network computes {largest} numbers at once of one, and {MAX_NUMBERS} fit at the most: \
         give --batch-size {} or less",
        recipe.batch_size,
        MAX_NUMBERS / largest
    )))
}

fn strategy(devices: &[Device]) -> ExecutionStrategy {
    let mut devices: Vec<Device> = devices.iter().map(|device| device.clone().autodiff()).collect();
    match devices.len() {
        1 => ExecutionStrategy::single(devices.remove(0)),
        _ => ExecutionStrategy::multi(devices, MultiDeviceOptim::OptimMainDevice),
    }
}

fn no_metrics(dir: &RunDir) -> Error {
    Error::Checkpoint {
        path: dir.path().join("metrics.csv"),
        reason: "it does not hold a row for every epoch of the checkpoint: train again".into(),
    }
}

/// The first number or word in which two configurations differ, by the name it has there, which is `name` otherwise.
fn difference(name: &str, saved: &Value, asked: &Value) -> Option<(String, String, String)> {
    match (saved, asked) {
        (Value::Object(saved), Value::Object(asked)) => saved
            .iter()
            .find_map(|(name, saved)| difference(name, saved, asked.get(name).unwrap_or(&Value::Null))),
        (Value::Array(saved), Value::Array(asked)) if saved.len() == asked.len() => {
            (saved.iter().zip(asked)).find_map(|(saved, asked)| difference(name, saved, asked))
        }
        _ => {
            let shown = |value: &Value| match value {
                Value::Null => "nothing".to_owned(),
                value => value.to_string(),
            };
            (saved != asked).then(|| (name.replace('_', " "), shown(saved), shown(asked)))
        }
    }
}

/// The first parameter that pruning left with another shape, and the two shapes.
fn shape_difference(saved: &Shapes, asked: &Shapes) -> Option<(String, String, String)> {
    let shown = |shapes: &Shapes, path: &String| match shapes.get(path) {
        Some(shape) => format!("{shape:?}"),
        None => "as its configuration has it".into(),
    };
    let path = (saved.keys().chain(asked.keys())).find(|path| saved.get(*path) != asked.get(*path))?;
    Some((format!("shape of {path}"), shown(saved, path), shown(asked, path)))
}

/// Refuses to resume another run than the one that was started.
fn check_same_run<C: NetworkConfig>(dir: &RunDir, run: &RunConfig<C>, splits: &Splits) -> Result<(), Error> {
    let saved = dir.config::<C>()?;
    let pruning = |run: &RunConfig<C>| run.pruning.clone().unwrap_or_else(|| "none".into());
    // A run of before the start was kept may be gone on with.
    let said_in_both = |start: &Option<String>| {
        let both = saved.start.is_some() && run.start.is_some();
        start.clone().filter(|_| both).unwrap_or_default()
    };
    let other_data = !saved.is_trained_on(splits);
    let data = || match (saved.data(), run.data()) {
        (saved, asked) if saved != asked => (saved, asked),
        (saved, asked) => (saved, format!("{asked} with other contents")),
    };
    let in_words = [
        (
            "precision",
            saved.structure.precision(),
            run.structure.precision(),
        ),
        ("loss", saved.loss.clone(), run.loss.clone()),
        ("pruning", pruning(&saved), pruning(run)),
        ("start", said_in_both(&saved.start), said_in_both(&run.start)),
        ("augmentation", saved.augment.to_string(), run.augment.to_string()),
        (
            "normalisation",
            saved.input.normalization.to_string(),
            run.input.normalization.to_string(),
        ),
    ];
    let in_words = in_words.into_iter().find(|(_, saved, asked)| saved != asked);
    let in_words = in_words
        .map(|(what, saved, asked)| (what.to_owned(), saved, asked))
        .or_else(|| shape_difference(&saved.shapes, &run.shapes))
        .or_else(|| {
            let (saved, asked) = other_data.then(data)?;
            Some(("data".to_owned(), saved, asked))
        });
    // A run of before the array was kept may be gone on with for any.
    let mapping = saved.mapping.and(run.mapping);
    let part = |run: &RunConfig<C>, mapping| json!([run.structure, run.recipe, run.input, mapping]);
    let differs = in_words.or_else(|| {
        difference(
            "structure",
            &part(&saved, saved.mapping.and(mapping)),
            &part(run, mapping),
        )
    });
    match differs {
        None => Ok(()),
        Some((what, saved, asked)) => Err(another_run(dir, &what, &saved, &asked)),
    }
}

/// What is resumed is another run, as its `what` tells: `saved`, where `asked` is asked for.
pub(crate) fn another_run(dir: &RunDir, what: &str, saved: &str, asked: &str) -> Error {
    Error::Checkpoint {
        path: dir.path().join("config.json"),
        reason: format!(
            "the checkpoint is of another run: its {what} is {saved}, asked for is {asked}; resume with the flags it was \
             started with, or train without `--resume`"
        ),
    }
}
