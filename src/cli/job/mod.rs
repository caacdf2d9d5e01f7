//! The main job: train a network, then prune it round by round to the channel counts an array wants.
//!
//! What is particular to a network is in [`networks`](super::networks), what is to a data set in [`pictures`](super::pictures).

use burn::tensor::Device;

use self::kept::width_choice;
use self::recipe::RecipeBase;
use super::networks::JobNetwork;

mod begin;
mod flags;
mod kept;
mod recipe;
mod rounds;
mod stages;
mod teacher;

pub use flags::{Format, JobArgs, JobFlags, Mode, RoundFlags, SchedulerKind};
pub(super) use kept::agrees;

use crate::data::{PictureSpec, Splits};
use crate::mapping::MappingConfig;
use crate::models::NetworkConfig;
use crate::train::published::Defaults;
use crate::train::{
    FitOptions, Interrupter, Loss, Recipe, Results, Round, RunDir, StopReason, WidthChoice, evaluate, fit,
};
use crate::train::{Project, round_name};
use crate::{DeviceName, Error};

/// A job: flags turned into a device, pictures and folders.
pub struct Job<C: NetworkConfig> {
    mode: Mode,
    args: JobFlags,
    rounds: RoundFlags,
    config: C,
    /// What the devices are called.
    name: DeviceName,
    /// Those to train on, the first of which does everything else.
    devices: Vec<Device>,
    splits: Splits,
    /// What its networks read.
    input: PictureSpec,
    defaults: Defaults,
    recipe: RecipeBase,
    loss: Loss,
    mapping: MappingConfig,
    project: Project,
    /// The rounds that are there and are to be loaded, by their numbers; none where the network is trained first.
    to_load: Vec<usize>,
    interrupter: Interrupter,
}

/// Does what `args` ask for with the network of `C`, and prints the tables.
///
/// # Errors
///
/// Those of the steps: [`Job::new`], [`Job::train`], [`Job::kept`], [`Job::prune`] and [`Job::report`].
pub fn run<C: JobNetwork>(args: JobArgs) -> Result<(), Error> {
    let job = Job::<C>::new(stages::through::<C>(args)?)?;
    let done = job.name.guard(|| job.run());
    done.map_err(|error| with_advice(error, job.mode))
}

/// A device that gives up in a training leaves something to go on from.
fn with_advice(error: Error, mode: Mode) -> Error {
    match error {
        Error::Device { device, reason } if mode != Mode::Test => Error::Device {
            device,
            reason: format!("{reason}; what was saved is whole, and `--resume` goes on from there"),
        },
        error => error,
    }
}

impl<C: JobNetwork> Job<C> {
    fn run(&self) -> Result<(), Error> {
        let job = self;
        let mode = self.mode;
        let networks = match mode {
            Mode::All | Mode::Train => vec![job.train()?],
            Mode::Prune | Mode::Test => job.kept()?,
        };
        if matches!(mode, Mode::Train | Mode::Test) {
            return job.report(&networks, None);
        }
        let pruned = job.prune(networks)?;
        job.report(&pruned.rounds, Some((pruned.winner, pruned.stopped)))
    }

    /// A network with its place on the array.
    fn round_of(
        &self,
        name: impl Into<String>,
        network: C::Network,
        valid_accuracy: f64,
    ) -> Result<Round<C::Network>, Error> {
        let left_out: Vec<String> = C::NOT_COUNTED.iter().map(ToString::to_string).collect();
        Round::new(name, network, valid_accuracy, &self.mapping, &left_out)
    }

    fn width_choice(&self) -> WidthChoice {
        width_choice(&self.project, self.mode, &self.rounds)
    }

    fn max_rounds(&self) -> usize {
        self.rounds
            .f
            .unwrap_or(if self.rounds.ratio.is_some() || self.rounds.cycles.is_some() {
                1
            } else {
                20
            })
    }

    /// Trains the original network.
    ///
    /// # Errors
    ///
    /// Those of [`fit`].
    pub fn train(&self) -> Result<Round<C::Network>, Error> {
        let (config, recipe) = (&self.config, self.training());
        let _lock = self.project.lock()?;
        // Before what an earlier run left is moved: training may start from it.
        let from = self.args.start_from.as_deref();
        let (network, start) =
            config.start(&self.args.network, from, recipe.seed, &self.splits, self.device())?;
        self.retire(0)?;
        let label = self.label(0);
        let fit = fit(network, self.options(&label, &recipe, 0).with_start(Some(start)))?;
        let accuracy = fit.best.valid_accuracy;
        self.round_of(self.name(0), fit.network, accuracy)
    }

    /// Looks at the test split, once per network, and prints the tables; what was trained or pruned leaves them in
    /// `results.json` too. `ended` says how pruning ended, if it ran.
    ///
    /// # Errors
    ///
    /// Standard output or `results.json` cannot be written.
    pub fn report(
        &self,
        networks: &[Round<C::Network>],
        ended: Option<(usize, StopReason)>,
    ) -> Result<(), Error> {
        let tests = networks
            .iter()
            .map(|round| evaluate(&round.network, &self.splits.test, self.device()))
            .collect::<Result<Vec<_>, _>>()?;
        let results = Results::of(networks, &tests, &self.splits, self.recipe.seed, self.mapping);
        let results = match ended {
            Some((winner, stopped)) => results.with_pruning(winner, stopped, self.pruning()),
            None => results,
        };
        let json = results.to_json();
        let text = match self.args.format {
            Format::Json => json.clone(),
            Format::Table => results.tables(networks),
        };
        // The file first: standard output may be full or gone.
        if self.mode != Mode::Test {
            self.project.write_results(&json)?;
        }
        super::print(&text).map_err(Error::io("standard output", "write"))
    }

    /// Moves what an earlier run left aside, from round `first` on, unless it is to be gone on with.
    fn retire(&self, first: usize) -> Result<(), Error> {
        if self.args.resume {
            return Ok(());
        }
        if let Some(earlier) = self.project.retire(first)? {
            say!("what an earlier run left is now in {}", earlier.display());
        }
        Ok(())
    }

    fn training(&self) -> Recipe {
        let epochs = self.args.total_epochs;
        self.recipe
            .of(self.defaults.training(epochs.unwrap_or(self.defaults.epochs)))
            .with_warm_up(self.warm_up())
    }

    fn fine_tuning(&self) -> Recipe {
        let (epochs, warm_up) = match self.mode {
            Mode::Prune => (
                self.args.total_epochs.or(self.rounds.prune_epochs),
                self.warm_up(),
            ),
            _ => (self.rounds.prune_epochs, None),
        };
        let epochs = epochs.unwrap_or(self.defaults.prune_epochs);
        self.recipe
            .of(self.defaults.fine_tuning(epochs))
            .with_warm_up(warm_up)
    }

    fn warm_up(&self) -> Option<usize> {
        self.args.warm_up.filter(|&epochs| epochs > 0)
    }

    /// The device that does everything but train.
    fn device(&self) -> &Device {
        &self.devices[0]
    }

    fn options<'a>(&'a self, label: &'a str, recipe: &'a Recipe, round: usize) -> FitOptions<'a> {
        FitOptions::new(&self.splits, recipe, self.dir(round), &self.devices)
            .with_label(label)
            .with_resume(self.args.resume)
            .with_interrupter(self.interrupter.clone())
            .with_pruning((round > 0).then(|| self.pruning()))
            .with_mapping(Some(self.mapping))
            .with_loss(self.loss.clone())
    }

    /// What chose the widths and channels of a round, in words.
    fn pruning(&self) -> String {
        self.width_choice().in_words(&self.mapping, self.rounds.ranking)
    }

    /// What a round is called in its output: where its pictures come from stands in every line.
    fn label(&self, round: usize) -> String {
        format!("{} on {}", self.name(round), self.splits.source)
    }

    /// What a round is called.
    fn name(&self, round: usize) -> String {
        round_name(&self.width_choice(), round)
    }

    fn dir(&self, round: usize) -> RunDir {
        self.project.round(&self.width_choice(), round)
    }
}
