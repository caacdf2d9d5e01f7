//! The main job: train a network, then prune it round by round to the channel counts an array wants.
//!
//! An example of ours is a `main` that says which network; flags, folders and tables are here, what is particular to a
//! network in [`networks`](super::networks), what is to a data set in [`pictures`](super::pictures).

use std::fmt;
use std::path::{Path, PathBuf};

use burn::data::dataset::Dataset;
use burn::tensor::Device;
use clap::{Args, Parser, ValueEnum};
use serde::Serialize;

use super::choice::choice;
use super::map::note_shared_cells;
use super::networks::{JobNetwork, NetworkArgs};
use super::options::{LimitArgs, at_least_one, part, positive, up_to_max_rounds, zero_or_more};
use super::pictures::DataArgs;
use super::{said, signals};
use crate::data::{DataSource, PictureSpec, Splits};
use crate::mapping::channels::network_rounds;
use crate::mapping::{Accounting, MappingConfig, Method, PimArray, Search, map_network};
use crate::models::{Network, NetworkConfig, precision};
use crate::module::Parameters;
use crate::prune::{Ranking, Ratio, Scope};
use crate::quant::Bits;
use crate::report::{LayerRow, NetworkRow, layer_rows, layer_table, network_table};
use crate::train::project::{self, MAX_ROUNDS, ORIGINAL, Project, ROUNDS};
use crate::train::published::Defaults;
use crate::train::{
    Evaluation, FitOptions, Interrupter, OptimizerKind, Recipe, Round, Rounds, RoundsConfig, RunDir,
    Schedule, StopReason, WidthChoice, another_run, evaluate, fit, initial, rounds,
};
use crate::{DeviceName, Error};

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Train the original, then prune it
    All,
    /// Train the original network and keep it in --directory
    Train,
    /// Prune the network kept in --directory, round by round
    Prune,
    /// Test what is kept in --directory
    Test,
}

/// When the learning rate falls to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchedulerKind {
    /// At milestones, as published: 50, 75 and 90 % of the epochs for CNN-8, in fine-tuning 25, 50 and 75 %; 37.5, 62.5 and
    /// 87.5 % for the others
    #[value(name = "multi-step", alias = "Multi_StepLR")]
    MultiStep,
    /// Every --step-size epochs
    #[value(name = "step", alias = "StepLR")]
    Step,
}

/// How results are written on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables to read
    Table,
    /// One JSON object
    Json,
}

/// The flags of an example: what to do, and those of the main job.
#[derive(Args, Clone, Debug)]
pub struct JobArgs {
    /// What to do
    #[arg(long, value_enum, default_value = "all")]
    pub mode: Mode,

    /// How.
    #[command(flatten)]
    pub flags: JobFlags,

    /// How it is pruned.
    #[command(flatten)]
    pub rounds: RoundFlags,
}

/// The flags of the main job. Names with underscores work too.
#[derive(Args, Clone, Debug)]
pub struct JobFlags {
    /// The network.
    #[command(flatten)]
    pub network: NetworkArgs,

    /// Epochs of training, or, where only pruning is asked for, of fine-tuning a round [default: as published, 100 and 40
    /// for CNN-8, 200 and 80 for ResNet-20, 400 and 80 for VGG-13; on the embedded digits 12 and 5, or 8 and 4]
    #[arg(long, alias = "total_epochs", value_name = "N", value_parser = at_least_one, help_heading = "Recipe")]
    pub total_epochs: Option<usize>,

    /// Learning rate at the start [default: 0.001; in pruning, as it was trained]
    #[arg(long, value_parser = positive, allow_negative_numbers = true, help_heading = "Recipe")]
    pub lr: Option<f64>,

    /// Pictures per step [default: 512, 128 for VGG-13; on the embedded digits 32; in pruning, as it was trained]
    #[arg(long, alias = "batch_size", value_name = "N", value_parser = at_least_one, help_heading = "Recipe")]
    pub batch_size: Option<usize>,

    /// What moves the weights [default: adam; in pruning, as it was trained]
    #[arg(long, value_parser = choice::<OptimizerKind>(), ignore_case = true, help_heading = "Recipe")]
    pub optim: Option<OptimizerKind>,

    /// When the learning rate falls to a tenth [default: multi-step; in pruning, as it was trained]
    #[arg(long, value_enum, ignore_case = true, help_heading = "Recipe")]
    pub scheduler: Option<SchedulerKind>,

    /// Epochs between two falls with --scheduler step [default: 40; in pruning, as it was trained]
    #[arg(
        long,
        alias = "step_size",
        value_name = "N",
        value_parser = at_least_one,
        help_heading = "Recipe"
    )]
    pub step_size: Option<usize>,

    /// Seed of initial weights, order of pictures and dropout; of a new network also of the validation split [default: 0; of
    /// a network that is there already, what it was trained with]
    #[arg(long, help_heading = "Recipe")]
    pub seed: Option<u64>,

    /// The pictures.
    #[command(flatten)]
    pub data: DataArgs,

    /// PIM array that channels are searched for, rows x columns [default: as published, 256x512 for CNN-8, 512x256 for the
    /// others; of a network that is there already, what it was trained or pruned for]
    #[arg(long, help_heading = "Mapping")]
    pub array: Option<PimArray>,

    /// Bits that a cell of the array holds; a weight of more bits takes several columns [default: 1; of a network that is
    /// there already, as with --array]
    #[arg(
        long,
        alias = "cell_bits",
        value_name = "BITS",
        value_parser = clap::value_parser!(u32).range(1..=32),
        help_heading = "Mapping"
    )]
    pub cell_bits: Option<u32>,

    /// Window search: `exact` takes the true optimum, `published` repeats the original's scan, which misses some [default:
    /// exact; of a network that is there already, as with --array]
    #[arg(long, value_parser = choice::<Search>(), help_heading = "Mapping")]
    pub search: Option<Search>,

    /// Feature map sizes: as the published tables count them, without padding, or as the network computes them
    /// [default: as-published; exact-geometry for VGG-13, for which there is no table; of a network that is there already,
    /// as with --array]
    #[arg(long, value_parser = choice::<Accounting>(), help_heading = "Mapping")]
    pub accounting: Option<Accounting>,

    /// Folder that networks, metrics and logs are kept in. A run that is there already is moved aside, not overwritten
    /// [default: runs/svhn_cnn8, runs/cifar10_resnet20 or runs/cifar10_vgg13]
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub directory: Option<PathBuf>,

    /// Go on where an earlier run of the same flags was stopped
    #[arg(long, help_heading = "Output")]
    pub resume: bool,

    /// Take files of the folder as they are, though they have changed since they were written: after an edit by hand
    #[arg(long, help_heading = "Output")]
    pub accept_changes: bool,

    /// How the results are written
    #[arg(long, value_enum, default_value = "table", help_heading = "Output")]
    pub format: Format,

    /// Device to compute on: flex or ndarray (the CPU), wgpu, vulkan, metal or cuda (a GPU, cuda:1 the second),
    /// remote:HOST:PORT (see `vwc-sdk serve`), or auto, the best that is found. `vwc-sdk devices` lists them
    #[arg(long, value_name = "DEVICE", default_value_t, help_heading = "Device")]
    pub device: DeviceName,

    /// Train on so many devices of that kind at once: each takes its share of every batch, normalises it by itself, and
    /// their gradients are added up
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), help_heading = "Device")]
    pub devices: u32,
}

/// The flags of pruning, round by round.
#[derive(Args, Clone, Debug)]
pub struct RoundFlags {
    /// Epochs of fine-tuning a round where training and pruning are asked for at once [default: as above]
    #[arg(long, alias = "prune_epochs", value_name = "N", value_parser = at_least_one, help_heading = "Rounds")]
    pub prune_epochs: Option<usize>,

    /// In pruning, the first round to run, from the network of the round before it [default: 1]; in testing, the round to
    /// test, 0 for the original [default: all there are]
    #[arg(long, value_name = "N", value_parser = up_to_max_rounds, help_heading = "Rounds")]
    pub round: Option<usize>,

    /// Rounds to run at the most [default: 20; 1 with --ratio]
    #[arg(long, value_name = "N", value_parser = up_to_max_rounds, help_heading = "Rounds")]
    pub f: Option<usize>,

    /// Prune this part of the channels in a round, instead of to the widths that fill the array
    #[arg(
        long,
        value_name = "PART",
        value_parser = part,
        allow_negative_numbers = true,
        help_heading = "Rounds"
    )]
    pub ratio: Option<f64>,

    /// With --ratio, whether every layer loses that part or the network as a whole
    #[arg(
        long,
        value_parser = choice::<Scope>(),
        default_value = "layer",
        requires = "ratio",
        help_heading = "Rounds"
    )]
    pub scope: Scope,

    /// What each width keeps, whatever chooses it.
    #[command(flatten, next_help_heading = "Rounds")]
    pub limits: LimitArgs,

    /// Which channels stay: l1, l2, bn-scale, geometric-median, random, or random:SEED
    #[arg(long, value_name = "RANKING", default_value = "l1", help_heading = "Rounds")]
    pub ranking: Ranking,

    /// Points of validation accuracy that a pruned network may lose to the original
    #[arg(
        long,
        value_name = "POINTS",
        default_value_t = 1.0,
        value_parser = zero_or_more,
        allow_negative_numbers = true,
        help_heading = "Rounds"
    )]
    pub budget: f64,
}

impl Default for RoundFlags {
    /// What stands there where no flag is given.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            rounds: RoundFlags,
        }
        Alone::parse_from([""]).rounds
    }
}

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
    let job = Job::<C>::new(args)?;
    let done = job.name.guard(|| job.run());
    done.map_err(|error| with_advice(error, job.mode))
}

/// What chooses the widths of the rounds. What is there is tested, whatever chose its widths.
fn width_choice(project: &Project, mode: Mode, rounds: &RoundFlags) -> WidthChoice {
    let [array, ratio] = ROUNDS.map(|kind| project.holds(kind));
    let ratio = rounds
        .ratio
        .or((mode == Mode::Test && ratio && !array).then_some(0.0));
    let limits = rounds.limits.limits();
    match ratio {
        Some(ratio) => WidthChoice::Ratio(Ratio::new(ratio).with_scope(rounds.scope).with_limits(limits)),
        None => WidthChoice::Array(limits),
    }
}

/// The rounds to load, by their numbers: for pruning every one before the first to run, for testing the original and what
/// `--round` asks for, or all that are there.
fn rounds_to_load(project: &Project, mode: Mode, rounds: &RoundFlags) -> Vec<usize> {
    let choice = width_choice(project, mode, rounds);
    let folder = |round: usize| project.round(&choice, round);
    match (mode, rounds.round) {
        (Mode::Prune, round) => (0..round.unwrap_or(1).max(1)).collect(),
        (_, None) => {
            // A round without a network in front of one that has one is damage, and is met when it is loaded. Behind all
            // that have one it is a round that was cut off.
            let there = |round: &usize| folder(*round).path().is_dir();
            let last = (1..=MAX_ROUNDS).rev().find(|&round| folder(round).is_complete());
            let last = last.unwrap_or(0);
            let others = match choice {
                WidthChoice::Array(_) => (ROUNDS[1], "add --ratio 0 to test those"),
                _ => (ROUNDS[0], "leave out --ratio to test those"),
            };
            if project.holds(others.0) {
                say!(
                    "{} also holds {}1 and perhaps more rounds of that kind, which are left out: {}",
                    project.path().display(),
                    others.0,
                    others.1
                );
            }
            for round in (last + 1..=MAX_ROUNDS).take_while(there) {
                say!("{} is not complete: left out", folder(round).path().display());
            }
            (0..=last).collect()
        }
        (_, Some(0)) => vec![0],
        (_, Some(round)) => vec![0, round],
    }
}

/// The array, accounting and search that the flags ask for, else those of `kept`, else the published ones.
fn mapping<C: JobNetwork>(
    args: &JobFlags,
    kept: Option<MappingConfig>,
    config: &C,
) -> Result<MappingConfig, Error> {
    let [rows, cols] = C::ARRAY;
    // Cells are a flag of their own: an array is shown and compared without their bits.
    let kept_array = kept.map(|mapping| mapping.array.with_cell_bits(1));
    let array = said("--array", args.array, kept_array, PimArray::new(rows, cols)?);
    let cell_bits = said(
        "--cell-bits",
        args.cell_bits,
        kept.map(|mapping| mapping.array.cell_bits),
        1,
    );
    let accounting = said(
        "--accounting",
        args.accounting,
        kept.map(|mapping| mapping.accounting),
        C::ACCOUNTING,
    );
    let search = said(
        "--search",
        args.search,
        kept.map(|mapping| mapping.search),
        Search::Exact,
    );
    let weight_bits = config.bits().map_or(Bits::FULL, |[weight, _]| weight);
    Ok(MappingConfig::new(array.with_cell_bits(cell_bits))
        .with_weight_bits(weight_bits.get().into())
        .with_accounting(accounting)
        .with_search(search))
}

/// The part of a recipe that is the same for training and fine-tuning.
struct RecipeBase {
    learning_rate: f64,
    optimizer: OptimizerKind,
    /// Epochs between two falls of the learning rate; `None` for milestones.
    step: Option<usize>,
    seed: u64,
}

impl RecipeBase {
    /// By the flags, and where they say nothing as the network was trained, or as published.
    fn new(args: &JobFlags, kept: Option<&Recipe>) -> Self {
        let kept_step = kept.map(|recipe| match recipe.schedule {
            Schedule::Step(every) => Step(Some(every)),
            _ => Step(None),
        });
        let given = match (args.scheduler, args.step_size) {
            (Some(SchedulerKind::MultiStep), _) => Some(Step(None)),
            (Some(SchedulerKind::Step), every) => Some(Step(Some(every.unwrap_or(40)))),
            // The flag alone changes the steps of a schedule in steps.
            (None, Some(every)) if matches!(kept_step, Some(Step(Some(_)))) => Some(Step(Some(every))),
            (None, _) => None,
        };
        let step = said("--scheduler", given, kept_step, Step(None)).0;
        if step.is_none() && args.step_size.is_some() {
            say!("--step-size has no effect: the learning rate falls at milestones (--scheduler step)");
        }
        Self {
            learning_rate: said("--lr", args.lr, kept.map(|recipe| recipe.learning_rate), 0.001),
            optimizer: said(
                "--optim",
                args.optim,
                kept.map(|recipe| recipe.optimizer),
                OptimizerKind::Adam,
            ),
            step,
            seed: said("--seed", args.seed, kept.map(|recipe| recipe.seed), 0),
        }
    }
}

/// A schedule in words.
#[derive(PartialEq)]
struct Step(Option<usize>);

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("multi-step"),
            Some(every) => write!(f, "step, every {every} epochs"),
        }
    }
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

    /// Reads or draws the pictures, and has Ctrl-C stop the training after the step at hand. Whatever can be known to
    /// fail later fails here, before anything is trained or moved.
    ///
    /// # Errors
    ///
    /// A device that is not compiled in, data that cannot be read, flags that do not fit the pictures or the network.
    pub fn new(args: JobArgs) -> Result<Self, Error> {
        let JobArgs {
            mode,
            flags: args,
            rounds,
        } = args;
        let name = args.device.found()?;
        let devices = name.init_many(args.devices as usize)?;
        #[cfg(feature = "remote")]
        name.watch(move |error| super::fail(with_advice(error, mode)));
        if name != args.device {
            say!("device {}: {name} ({})", args.device, name.describe(&devices[0]));
        }
        let project = Project::new(args.directory.clone().unwrap_or_else(|| C::DIRECTORY.into()));
        if args.accept_changes {
            for dir in project.runs() {
                super::accept_changes(&dir)?;
            }
        }
        let kept = match mode {
            Mode::All | Mode::Train => None,
            Mode::Prune | Mode::Test => Some(project.original().config::<C>()?),
        };
        // A split is drawn once: later seeds are those of the training alone.
        let trained = kept.as_ref().filter(|run| !run.is_imported());
        let split_seed = trained.map(|run| run.split_seed).or(args.seed).unwrap_or(0);
        let splits = args.data.splits(C::DATA, C::INPUT, kept.as_ref(), split_seed)?;
        say!(
            "{}: {} training, {} validation, {} test pictures",
            splits.source,
            splits.train.len(),
            splits.valid.len(),
            splits.test.len()
        );
        let embedded = matches!(splits.origin, Some(DataSource::Synthetic { .. }));
        let mut defaults = if embedded { C::EMBEDDED } else { C::PUBLISHED };
        if mode != Mode::Test {
            defaults.batch_size = said(
                "--batch-size",
                args.batch_size,
                trained.map(|run| run.recipe.batch_size),
                defaults.batch_size,
            );
        }
        let recipe = RecipeBase::new(&args, trained.map(|run| &run.recipe));
        let config = match &kept {
            None => C::from_args(&args.network, splits.train.classes(), embedded)?,
            Some(run) => {
                agrees(&run.structure, &args.network, project.path())?;
                if mode == Mode::Test && (run.is_imported() || !run.is_trained_on(&splits)) {
                    let origin = if run.is_imported() { "" } else { "trained on " };
                    say!("{origin}{}, tested on {}", run.data(), splits.source);
                }
                run.structure.clone()
            }
        };
        let (mut to_load, mut kept_mapping) = (Vec::new(), None);
        if let Some(run) = &kept {
            to_load = rounds_to_load(&project, mode, &rounds);
            let choice = width_choice(&project, mode, &rounds);
            let last = project.round(&choice, to_load.last().copied().unwrap_or(0));
            kept_mapping = last.config::<C>()?.mapping.or(run.mapping);
        }
        let mapping = mapping::<C>(&args, kept_mapping, &config)?;
        note_shared_cells([mapping]);
        let job = Self {
            mode,
            config,
            name,
            devices,
            input: splits.train.spec(C::INPUT),
            splits,
            defaults,
            recipe,
            mapping,
            project,
            to_load,
            interrupter: signals::interrupter(),
            args,
            rounds,
        };
        let batch_size = job.training().batch_size;
        if job.devices.len() > batch_size {
            return Err(Error::Recipe(format!(
                "--devices {}: a batch of {batch_size} pictures leaves some without any",
                job.devices.len()
            )));
        }
        if matches!(mode, Mode::All | Mode::Train) {
            job.training().validate(job.splits.train.len())?;
        }
        if matches!(mode, Mode::All | Mode::Prune) {
            job.fine_tuning().validate(job.splits.train.len())?;
        }
        job.name.guard(|| {
            let network = job.config.init(job.device());
            map_network(&network.conv_layers(), Method::VwSdk, &job.mapping)?;
            match mode {
                Mode::All | Mode::Prune => job.can_prune(&network),
                Mode::Train | Mode::Test => Ok(()),
            }
        })?;
        Ok(job)
    }

    /// Tries the ranking, and the search or the ratio, before anything is trained for them.
    fn can_prune(&self, network: &C::Network) -> Result<(), Error> {
        let parameters = Parameters::of(network);
        for group in network.channel_groups() {
            self.rounds.ranking.scores(&group, &parameters)?;
        }
        match self.width_choice() {
            WidthChoice::Array(limits) => {
                network_rounds(&network.mapped().0, &self.mapping, &limits, self.max_rounds()).map(drop)?
            }
            WidthChoice::Ratio(ratio) => ratio.widths(network, self.rounds.ranking).map(drop)?,
        }
        Ok(())
    }

    fn width_choice(&self) -> WidthChoice {
        width_choice(&self.project, self.mode, &self.rounds)
    }

    fn max_rounds(&self) -> usize {
        self.rounds
            .f
            .unwrap_or(if self.rounds.ratio.is_some() { 1 } else { 20 })
    }

    /// Trains the original network.
    ///
    /// # Errors
    ///
    /// Those of [`fit`].
    pub fn train(&self) -> Result<Round<C>, Error> {
        let (config, recipe) = (&self.config, self.training());
        let _lock = self.project.lock()?;
        self.retire(0)?;
        let network = initial(config, recipe.seed, self.device())?;
        let label = self.label(0);
        let fit = fit(network, config, self.options(&label, &recipe, 0))?;
        let accuracy = fit.best.valid_accuracy;
        Round::new(self.name(0), config.clone(), fit.network, accuracy, &self.mapping)
    }

    /// Reads what earlier runs left: for `--mode prune` every network before the first round to run, for `--mode
    /// test` the original and what `--round` asks for.
    ///
    /// # Errors
    ///
    /// [`Error::NoModel`] where nothing was trained, [`Error::Checkpoint`] where it is another network, another
    /// precision, or, for pruning, was trained on other pictures.
    pub fn kept(&self) -> Result<Vec<Round<C>>, Error> {
        self.to_load.iter().map(|&round| self.load(round)).collect()
    }

    fn load(&self, round: usize) -> Result<Round<C>, Error> {
        let dir = self.dir(round);
        let (network, run) = dir.load::<C>(self.device())?;
        let refuse = |reason| {
            Err(Error::Checkpoint {
                path: dir.path().join("config.json"),
                reason,
            })
        };
        let (flags, found) = (&self.args.network, run.structure.bits());
        let quantized = flags.q.map_or(found.is_some(), |q| q == 1);
        let [weight, activation] = found.unwrap_or([Bits::ONE; 2]);
        let asked = quantized.then(|| [flags.wb.unwrap_or(weight), flags.ab.unwrap_or(activation)]);
        if found != asked {
            return refuse(format!(
                "this network is {}, asked for is {}: leave out the flags --q, --wb and --ab, or give those it was \
                 trained with",
                precision(found),
                precision(asked)
            ));
        }
        if self.mode == Mode::Prune && !run.is_imported() && !run.is_trained_on(&self.splits) {
            let (found, asked) = (run.data(), self.splits.to_string());
            let others = if found == asked {
                " with other contents"
            } else {
                ""
            };
            return refuse(format!(
                "this network was trained on {found}, asked for is {asked}{others}: give the data it was trained on, or \
                 accuracies cannot be compared"
            ));
        }
        if run.input != self.input {
            return refuse(format!(
                "this network reads pictures in another way than {ORIGINAL} ({} and {}, classes {} and {}): it is a round of \
                 another network",
                run.input.normalization,
                self.input.normalization,
                run.input.classes.join(", "),
                self.input.classes.join(", ")
            ));
        }
        if let Some(mapping) = run.mapping.filter(|mapping| *mapping != self.mapping) {
            say!(
                "{} was trained for {}; it is counted on {}",
                self.name(round),
                in_words(&mapping),
                in_words(&self.mapping)
            );
        }
        let accuracy = if run.is_imported() {
            evaluate::<C>(&network, &self.splits.valid, self.device())?.accuracy()
        } else {
            dir.best()?.valid_accuracy
        };
        Round::new(self.name(round), run.structure, network, accuracy, &self.mapping)
    }

    /// Runs rounds from the last of `networks`, of which the first is the original that the budget counts from. The
    /// result holds them all.
    ///
    /// # Errors
    ///
    /// Those of [`rounds`].
    ///
    /// # Panics
    ///
    /// Where `networks` is empty.
    pub fn prune(&self, mut networks: Vec<Round<C>>) -> Result<Rounds<C>, Error> {
        let recipe = self.fine_tuning();
        let config = RoundsConfig::new(self.mapping, networks[0].valid_accuracy)
            .with_max_rounds(self.max_rounds())
            .with_budget(self.rounds.budget)
            .with_widths(self.width_choice())
            .with_ranking(self.rounds.ranking)
            .with_original_widths(networks[0].config.widths());
        let start = networks.pop().expect("at least the original");
        let before = networks.len();
        self.can_prune(&start.network)?;
        let _lock = self.project.lock()?;
        self.retire(before + 1)?;
        self.can_resume(before + 1)?;
        let mut widths = start.config.widths();
        let label_of_start = self.label(before);
        let pruned = rounds(start, before, &config, |round, config, network| {
            let label = self.label(round);
            say!("{label}: widths {:?}", config.widths());
            self.say_kept(&label, &network, &mut widths);
            let fit = fit(network, config, self.options(&label, &recipe, round))?;
            Ok((fit.network, fit.best.valid_accuracy))
        })?;
        if pruned.rounds.len() == 1 && pruned.stopped == StopReason::FixedPoint {
            // No round was run, so none has said it.
            let start = &pruned.rounds[0];
            self.say_kept(&label_of_start, &start.network, &mut start.config.widths());
        }
        super::map::say_kept(&pruned.kept);
        networks.extend(pruned.rounds);
        Ok(Rounds::new(networks, pruned.stopped, pruned.kept, &config))
    }

    /// Refuses to go on with rounds that were pruned in another way, whether or not one of them is to be run again.
    fn can_resume(&self, first: usize) -> Result<(), Error> {
        let rounds = (first..=self.max_rounds() + first).map(|round| self.dir(round));
        for dir in rounds.filter(|dir| self.args.resume && dir.path().join("config.json").is_file()) {
            let saved = dir.config::<C>()?.pruning.unwrap_or_else(|| "none".into());
            let asked = self.pruning();
            if saved != asked {
                return Err(another_run(&dir, "pruning", &saved, &asked));
            }
        }
        Ok(())
    }

    /// Says which groups a round by ratio left as they were, `widths` being those before it.
    fn say_kept(&self, label: &str, network: &C::Network, widths: &mut Vec<usize>) {
        let groups = network.channel_groups();
        let after: Vec<usize> = groups.iter().map(|group| group.channels).collect();
        if let WidthChoice::Ratio(ratio) = self.width_choice() {
            let kept: Vec<String> = (groups.iter().zip(&*widths))
                .filter(|(group, before)| group.channels == **before)
                .map(|(group, before)| format!("{} ({before} channels)", group.name))
                .collect();
            if !kept.is_empty() {
                say!(
                    "{label}: a ratio of {}, rounded up{}, leaves as they were: {}",
                    ratio.ratio,
                    ratio.limits.in_words(),
                    kept.join(", ")
                );
            }
        }
        *widths = after;
    }

    /// Looks at the test split, once per network, and prints the tables; what was trained or pruned leaves them in
    /// `results.json` too. `ended` says how pruning ended, if it ran.
    ///
    /// # Errors
    ///
    /// Standard output or `results.json` cannot be written.
    pub fn report(&self, networks: &[Round<C>], ended: Option<(usize, StopReason)>) -> Result<(), Error> {
        let tests = networks
            .iter()
            .map(|round| evaluate::<C>(&round.network, &self.splits.test, self.device()))
            .collect::<Result<Vec<_>, _>>()?;
        let results = self.results(networks, &tests, ended);
        let json = serde_json::to_string_pretty(&results).expect("results are plain data") + "\n";
        let text = match self.args.format {
            Format::Json => json.clone(),
            Format::Table => tables(&results, networks),
        };
        // The file first: standard output may be full or gone.
        if self.mode != Mode::Test {
            self.project.write_results(&json)?;
        }
        super::print(&text).map_err(Error::io("standard output", "write"))
    }

    fn results(
        &self,
        networks: &[Round<C>],
        tests: &[Evaluation],
        ended: Option<(usize, StopReason)>,
    ) -> Results {
        let first = &networks[0];
        Results {
            network: C::NAME,
            precision: first.config.precision(),
            data: self.splits.source.clone(),
            pictures: [&self.splits.train, &self.splits.valid, &self.splits.test].map(Dataset::len),
            seed: self.recipe.seed,
            mapping: self.mapping,
            winner: ended.map(|(winner, _)| networks[winner].name.clone()),
            stopped: ended.map(|(_, reason)| reason),
            pruning: ended.map(|_| self.pruning()),
            networks: networks
                .iter()
                .zip(tests)
                .map(|(round, test)| NetworkResult {
                    summary: NetworkRow {
                        name: round.name.clone(),
                        params: round.network.num_trainable_params(),
                        cycles: round.cycles(),
                        cycles_after_first: round.cycles_after_first(),
                        speed_up: first.cycles_after_first() as f64 / round.cycles_after_first() as f64,
                        valid_accuracy: round.valid_accuracy,
                        test_accuracy: test.accuracy(),
                    },
                    test: *test,
                    layers: layer_rows(&round.layers, &round.mappings),
                })
                .collect(),
        }
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
        self.recipe(self.defaults.training(epochs.unwrap_or(self.defaults.epochs)))
    }

    fn fine_tuning(&self) -> Recipe {
        let epochs = match self.mode {
            Mode::Prune => self.args.total_epochs.or(self.rounds.prune_epochs),
            _ => self.rounds.prune_epochs,
        };
        self.recipe(
            self.defaults
                .fine_tuning(epochs.unwrap_or(self.defaults.prune_epochs)),
        )
    }

    fn recipe(&self, recipe: Recipe) -> Recipe {
        let base = &self.recipe;
        let schedule = base.step.map_or(recipe.schedule, Schedule::Step);
        Recipe::new(recipe.epochs, schedule)
            .with_batch_size(self.defaults.batch_size)
            .with_learning_rate(base.learning_rate)
            .with_optimizer(base.optimizer)
            .with_seed(base.seed)
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
    }

    /// What chose the widths and channels of a round, in words.
    fn pruning(&self) -> String {
        let Self { rounds, mapping, .. } = self;
        match self.width_choice() {
            WidthChoice::Array(limits) => {
                format!("to {} by {}{}", mapping.array, rounds.ranking, limits.in_words())
            }
            WidthChoice::Ratio(ratio) => format!(
                "{} of the {}, in multiples of {}, at least {}, by {}{}",
                ratio.ratio,
                match ratio.scope {
                    Scope::Layer => "layer",
                    Scope::Network => "network",
                },
                ratio.limits.multiple,
                ratio.limits.minimum,
                rounds.ranking,
                // The two that are said already are left out.
                (ratio.limits.clone().with_multiple(1).with_minimum(1)).in_words()
            ),
        }
    }

    /// What a round is called in its output: where its pictures come from stands in every line.
    fn label(&self, round: usize) -> String {
        format!("{} on {}", self.name(round), self.splits.source)
    }

    /// What a round is called.
    fn name(&self, round: usize) -> String {
        project::round_name(&self.width_choice(), round)
    }

    fn dir(&self, round: usize) -> RunDir {
        self.project.round(&self.width_choice(), round)
    }
}

/// An array, with how layers are counted on it.
fn in_words(mapping: &MappingConfig) -> String {
    format!(
        "{} with cells of {} bits, accounting {}, search {}",
        mapping.array, mapping.array.cell_bits, mapping.accounting, mapping.search
    )
}

/// Refuses flags for a structure that a network which is there already, in `place`, has not.
pub(super) fn agrees<C: JobNetwork>(config: &C, args: &NetworkArgs, place: &Path) -> Result<(), Error> {
    let widths = args
        .widths
        .as_ref()
        .map(|widths| config.resized(widths))
        .transpose()?;
    let flag = if widths.is_some_and(|resized| resized != *config) {
        "--widths"
    } else if args.order.is_some_and(|order| config.order() != Some(order)) {
        "--order"
    } else if args
        .full_precision
        .is_some_and(|full| config.full_precision() != Some(full))
    {
        "--full-precision"
    } else {
        return Ok(());
    };
    Err(Error::Recipe(format!(
        "{flag}: the network in {} is another ({}, widths {:?}): leave the flag out, or name one like that",
        place.display(),
        config.precision(),
        config.widths()
    )))
}

/// What a job found out, as it is written to `results.json`.
#[derive(Serialize)]
struct Results {
    network: &'static str,
    precision: String,
    data: String,
    pictures: [usize; 3],
    seed: u64,
    mapping: MappingConfig,
    winner: Option<String>,
    stopped: Option<StopReason>,
    pruning: Option<String>,
    networks: Vec<NetworkResult>,
}

#[derive(Serialize)]
struct NetworkResult {
    #[serde(flatten)]
    summary: NetworkRow,
    test: Evaluation,
    layers: Vec<LayerRow>,
}

fn tables<C: NetworkConfig>(results: &Results, networks: &[Round<C>]) -> String {
    let [train, valid, test] = results.pictures;
    let title = format!(
        "{} {}, {} ({train} training, {valid} validation, {test} test pictures), seed {}, array {}",
        results.network, results.precision, results.data, results.seed, results.mapping.array
    );
    let mut text = format!("{title}\n");
    for round in networks {
        let layers = layer_table(&round.layers, &round.mappings);
        text += &format!("\n{} on {}\n{layers}\n", round.name, results.data);
    }
    let rows: Vec<_> = results
        .networks
        .iter()
        .map(|network| network.summary.clone())
        .collect();
    text += &format!("\nsummary on {}\n{}\n", results.data, network_table(&rows));
    if let (Some(winner), Some(stopped)) = (&results.winner, results.stopped) {
        text += &format!("\nwinner: {winner}; {stopped}\n");
    }
    text
}
