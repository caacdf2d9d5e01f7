//! What a job needs before anything is trained: devices, pictures, structure, array. Whatever can be known to fail later fails
//! here.

use burn::data::dataset::Dataset;

use super::Job;
use super::flags::{JobArgs, Mode};
use super::kept::{agrees, mapping, rounds_to_load, trains_nothing, width_choice};
use super::recipe::RecipeBase;
#[cfg(feature = "remote")]
use super::with_advice;
use crate::Error;
#[cfg(feature = "remote")]
use crate::cli::fail;
use crate::cli::networks::JobNetwork;
use crate::cli::notes::note_shared_cells;
use crate::cli::{accept_changes, said, signals};
use crate::data::DataSource;
use crate::models::QuantPlan;
use crate::train::{Loss, Project};

impl<C: JobNetwork> Job<C> {
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
        name.watch(move |error| fail(with_advice(error, mode)));
        if name != args.device {
            say!("device {}: {name} ({})", args.device, name.describe(&devices[0]));
        }
        let project = Project::new(
            args.directory
                .clone()
                .unwrap_or_else(|| C::directory(&args.network)),
        );
        if matches!(mode, Mode::Prune | Mode::Test) {
            trains_nothing(&args, project.path())?;
        }
        if let (Mode::Prune | Mode::Test, Some(opened)) = (mode, &args.network.opened) {
            opened.keep(&args.data, &project)?;
        }
        if args.accept_changes {
            for dir in project.runs() {
                accept_changes(&dir)?;
            }
        }
        let kept = match mode {
            Mode::All | Mode::Train => None,
            Mode::Prune | Mode::Test => Some(project.original().config::<C>()?),
        };
        // A split is drawn once: later seeds are those of the training alone.
        let trained = kept.as_ref().filter(|run| !run.is_imported());
        let divided = kept.as_ref().filter(|run| run.knows_pictures());
        let split_seed = divided.map(|run| run.split_seed).or(args.seed).unwrap_or(0);
        let size = match &kept {
            Some(run) => run.structure.input(),
            None => C::input_size(&args.network)?,
        };
        let data = match (&kept, &args.network.opened) {
            (None, Some(opened)) => opened.read_by(&args.data),
            _ => args.data.clone(),
        };
        let splits = data.splits(C::DATA, size, kept.as_ref(), split_seed)?;
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
        let recipe = RecipeBase::new(&args, trained.map(|run| &run.recipe), defaults.batch_size);
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
        if config.plan().is_some_and(QuantPlan::has_own_bits) {
            say!(
                "layers have bits of their own, and cycles are counted as if weights of all had {}",
                mapping.weight_bits
            );
        }
        let input = splits.train.spec(size);
        let loss = match mode {
            Mode::Test => Loss::default(),
            _ => args.teacher.loss(&input, &devices[0])?,
        };
        if let Some(run) = trained.filter(|run| mode == Mode::Prune && run.loss != loss.name()) {
            say!(
                "the loss is {}, and was {} where the network comes from",
                loss.name(),
                run.loss
            );
        }
        let job = Self {
            mode,
            config,
            name,
            devices,
            input,
            splits,
            defaults,
            recipe,
            loss,
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
        if job.args.teacher.teacher.is_some() && job.training().label_smoothing.is_some() {
            return Err(Error::Recipe(
                "--teacher: it says how likely each class is, and --label-smoothing would say otherwise: leave out one, or give \
                 --label-smoothing 0"
                    .into(),
            ));
        }
        if matches!(mode, Mode::All | Mode::Train) {
            job.training().validate(job.splits.train.len())?;
        }
        if matches!(mode, Mode::All | Mode::Prune) {
            job.fine_tuning().validate(job.splits.train.len())?;
        }
        job.name.guard(|| {
            let start = job.round_of("", job.config.init(job.device()), 0.0)?;
            match mode {
                Mode::All | Mode::Prune => job.can_prune(&start),
                Mode::Train | Mode::Test => Ok(()),
            }
        })?;
        Ok(job)
    }
}
