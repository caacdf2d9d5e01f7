//! The recipe that the flags ask for.

use std::fmt;

use super::{JobFlags, SchedulerKind};
use crate::cli::said;
use crate::train::{OptimizerKind, Recipe, Schedule};

/// The part of a recipe that is the same for training and fine-tuning.
pub(super) struct RecipeBase {
    learning_rate: f64,
    optimizer: OptimizerKind,
    batch_size: usize,
    /// How the learning rate falls; `None` at milestones.
    schedule: Option<Schedule>,
    weight_decay: Option<f64>,
    label_smoothing: Option<f64>,
    ema: Option<f64>,
    pub seed: u64,
}

impl RecipeBase {
    /// By the flags, and where they say nothing as the network was trained, or as published.
    pub fn new(args: &JobFlags, kept: Option<&Recipe>, batch_size: usize) -> Self {
        let kept_schedule = kept.map(|recipe| match &recipe.schedule {
            Schedule::MultiStep(_) => Fall(None),
            schedule => Fall(Some(schedule.clone())),
        });
        let every = |epochs| Some(Fall(Some(Schedule::Step(epochs))));
        let given = match (args.scheduler, args.step_size) {
            (Some(SchedulerKind::MultiStep), _) => Some(Fall(None)),
            (Some(SchedulerKind::Cosine), _) => Some(Fall(Some(Schedule::Cosine))),
            (Some(SchedulerKind::Step), epochs) => every(epochs.unwrap_or(40)),
            // The flag alone changes the steps of a schedule in steps.
            (None, Some(epochs)) if matches!(kept_schedule, Some(Fall(Some(Schedule::Step(_))))) => {
                every(epochs)
            }
            (None, _) => None,
        };
        let Fall(schedule) = said("--scheduler", given, kept_schedule, Fall(None));
        if !matches!(schedule, Some(Schedule::Step(_))) && args.step_size.is_some() {
            say!(
                "--step-size has no effect: the learning rate falls {} (--scheduler step)",
                match schedule {
                    None => "at milestones",
                    Some(_) => "along a cosine",
                }
            );
        }
        let part = |flag, given: Option<f64>, kept: Option<Option<f64>>| {
            said(flag, given.map(|x| Part(Some(x))), kept.map(Part), Part(None)).0
        };
        Self {
            learning_rate: said("--lr", args.lr, kept.map(|recipe| recipe.learning_rate), 0.001),
            optimizer: said(
                "--optim",
                args.optim,
                kept.map(|recipe| recipe.optimizer),
                OptimizerKind::Adam,
            ),
            schedule,
            weight_decay: part(
                "--weight-decay",
                args.weight_decay,
                kept.map(|recipe| recipe.weight_decay),
            ),
            label_smoothing: part(
                "--label-smoothing",
                args.label_smoothing,
                kept.map(|recipe| recipe.label_smoothing),
            )
            .filter(|&part| part > 0.0),
            ema: part("--ema", args.ema, kept.map(|recipe| recipe.ema)).filter(|&part| part > 0.0),
            batch_size,
            seed: said("--seed", args.seed, kept.map(|recipe| recipe.seed), 0),
        }
    }

    /// A recipe of the epochs and milestones of `recipe`.
    pub fn of(&self, recipe: Recipe) -> Recipe {
        let schedule = self.schedule.clone().unwrap_or(recipe.schedule);
        Recipe::new(recipe.epochs, schedule)
            .with_batch_size(self.batch_size)
            .with_learning_rate(self.learning_rate)
            .with_optimizer(self.optimizer)
            .with_weight_decay(self.weight_decay)
            .with_label_smoothing(self.label_smoothing)
            .with_ema(self.ema)
            .with_seed(self.seed)
    }
}

/// A schedule in words.
#[derive(PartialEq)]
struct Fall(Option<Schedule>);

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Schedule::Step(every)) => write!(f, "step, every {every} epochs"),
            Some(Schedule::Cosine) => f.write_str("cosine"),
            None | Some(Schedule::MultiStep(_)) => f.write_str("multi-step"),
        }
    }
}

/// A number that may not be there.
#[derive(PartialEq)]
struct Part(Option<f64>);

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(part) => part.fmt(f),
            None => f.write_str("none"),
        }
    }
}
