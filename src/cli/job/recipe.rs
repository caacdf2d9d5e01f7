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
    /// Epochs between two falls of the learning rate; `None` for milestones.
    step: Option<usize>,
    pub seed: u64,
}

impl RecipeBase {
    /// By the flags, and where they say nothing as the network was trained, or as published.
    pub fn new(args: &JobFlags, kept: Option<&Recipe>, batch_size: usize) -> Self {
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
            batch_size,
            seed: said("--seed", args.seed, kept.map(|recipe| recipe.seed), 0),
        }
    }

    /// A recipe of the epochs and milestones of `recipe`.
    pub fn of(&self, recipe: Recipe) -> Recipe {
        let schedule = self.step.map_or(recipe.schedule, Schedule::Step);
        Recipe::new(recipe.epochs, schedule)
            .with_batch_size(self.batch_size)
            .with_learning_rate(self.learning_rate)
            .with_optimizer(self.optimizer)
            .with_seed(self.seed)
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
