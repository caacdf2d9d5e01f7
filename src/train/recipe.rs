//! How a network is trained: epochs, schedule, optimiser.

use std::fmt;

use burn::config::Config;
use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::optim::{ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig};
use serde::{Deserialize, Serialize};

use super::Adam;
use crate::Error;

/// What moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Adam with its usual constants (betas 0.9 and 0.999, epsilon 1e-8), no weight decay
    Adam,
    /// Stochastic gradient descent, momentum 0.9, weight decay 5e-4
    Sgd,
}

impl fmt::Display for OptimizerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Adam => "adam",
            Self::Sgd => "sgd",
        })
    }
}

/// When the learning rate falls to a tenth. Epochs count from 1 and the rate falls after the epoch named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Schedule {
    /// After each of these epochs.
    MultiStep(Vec<usize>),
    /// After every so many epochs.
    Step(usize),
}

/// How a network is trained.
#[derive(Config, Debug, PartialEq)]
pub struct Recipe {
    /// Passes over the training pictures.
    pub epochs: usize,
    /// When the learning rate falls to a tenth.
    pub schedule: Schedule,
    /// Pictures per step. Default: 512, as published.
    #[config(default = 512)]
    pub batch_size: usize,
    /// Learning rate at the start. Default: 0.001.
    #[config(default = 0.001)]
    pub learning_rate: f64,
    /// What moves the weights. Default: Adam.
    #[config(default = "OptimizerKind::Adam")]
    pub optimizer: OptimizerKind,
    /// Seed of initial weights, order of pictures and dropout. Default: 0.
    #[config(default = 0)]
    pub seed: u64,
}

impl Recipe {
    /// The published recipe of CNN-8, its milestones at 50, 75 and 90 per cent of `epochs`: 100 epochs give
    /// [50, 75, 90].
    pub fn original(epochs: usize) -> Self {
        Self::with_milestones_at(epochs, [0.5, 0.75, 0.9])
    }

    /// The published recipe of CNN-8's fine-tuning, milestones at 25, 50 and 75 per cent of `epochs`: 40 epochs give
    /// [10, 20, 30].
    pub fn fine_tuning(epochs: usize) -> Self {
        Self::with_milestones_at(epochs, [0.25, 0.5, 0.75])
    }

    /// A recipe of `epochs` epochs whose rate falls after these parts of them.
    pub fn with_milestones_at(epochs: usize, shares: [f64; 3]) -> Self {
        let mut milestones: Vec<usize> = shares
            .iter()
            .map(|share| (share * epochs as f64).round() as usize)
            .filter(|&epoch| epoch > 0)
            .collect();
        milestones.dedup();
        Self::new(epochs, Schedule::MultiStep(milestones))
    }

    /// # Errors
    ///
    /// No epochs, a batch larger than the `pictures` there are, or a learning rate or schedule that makes no sense.
    pub fn validate(&self, pictures: usize) -> Result<(), Error> {
        let problem = if self.epochs == 0 {
            "0 epochs train nothing: choose at least 1".into()
        } else if self.batch_size == 0 || self.batch_size > pictures {
            format!(
                "a batch of {} does not fit {pictures} training pictures: choose 1 to {pictures} (--batch-size)",
                self.batch_size
            )
        } else if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            format!("a learning rate of {} is no positive number", self.learning_rate)
        } else if self.milestones().windows(2).any(|pair| pair[0] >= pair[1])
            || self.milestones().first() == Some(&0)
        {
            format!(
                "the schedule {:?} has to name epochs from 1 on in rising order",
                self.schedule
            )
        } else {
            return Ok(());
        };
        Err(Error::Recipe(problem))
    }

    /// The epochs after which the rate falls.
    fn milestones(&self) -> Vec<usize> {
        match &self.schedule {
            Schedule::MultiStep(milestones) => milestones.clone(),
            Schedule::Step(0) => vec![0],
            Schedule::Step(every) => (*every..self.epochs).step_by(*every).collect(),
        }
    }

    /// The learning rate of `epoch`, counted from 1.
    pub fn learning_rate_at(&self, epoch: usize) -> f64 {
        let falls = self.milestones().iter().filter(|&&m| m < epoch).count();
        self.learning_rate * 0.1f64.powi(falls as i32)
    }

    /// Burn's scheduler of the same rates: it counts steps where the recipe counts epochs.
    pub(super) fn scheduler(&self, steps_per_epoch: usize) -> Result<ModuleLrScheduler, Error> {
        let milestones = self.milestones();
        let rates = (0..=milestones.len())
            .map(|falls| LrSchedulerConfig::Constant(self.learning_rate * 0.1f64.powi(falls as i32)))
            .collect();
        let steps = milestones.iter().map(|epoch| epoch * steps_per_epoch).collect();
        SequentialLrSchedulerConfig::new(rates, steps)
            .init()
            .map_err(Error::Recipe)
    }

    pub(super) fn optimizer(&self) -> ModuleOptimizer {
        match self.optimizer {
            OptimizerKind::Adam => ModuleOptimizer::from(Adam::new()),
            OptimizerKind::Sgd => SgdConfig::new()
                .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)))
                .with_weight_decay(Some(WeightDecayConfig::new(5e-4)))
                .init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn burns_scheduler_follows_the_recipe() {
        let steps = 3;
        let schedules = [
            Schedule::MultiStep(vec![2, 5]),
            Schedule::Step(2),
            Schedule::MultiStep(vec![]),
        ];
        for schedule in schedules {
            let recipe = Recipe::new(7, schedule);
            let mut scheduler = recipe.scheduler(steps).unwrap();
            for epoch in 1..=7 {
                for _ in 0..steps {
                    let rate = scheduler.step().base();
                    assert_eq!(rate, recipe.learning_rate_at(epoch), "epoch {epoch} of {recipe}");
                }
            }
        }
    }
}
