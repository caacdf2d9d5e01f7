//! How a network is trained: epochs, schedule, optimiser.

use std::f64::consts::PI;
use std::fmt;

use burn::config::Config;
use burn::lr_scheduler::LrSchedulerConfig;
use burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler;
use burn::lr_scheduler::sequential::SequentialLrSchedulerConfig;
use burn::optim::{ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig};
use serde::{Deserialize, Serialize};

use super::Adam;
use super::decay::DecayOfWeights;
use crate::Error;

/// What moves the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// Adam with its usual constants (betas 0.9 and 0.999, epsilon 1e-8), no weight decay unless the recipe says one
    Adam,
    /// Stochastic gradient descent, momentum 0.9, weight decay 5e-4 unless the recipe says another
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

/// How the learning rate falls. Epochs count from 1, and an epoch has one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Schedule {
    /// To a tenth after each of these epochs.
    MultiStep(Vec<usize>),
    /// To a tenth after every so many epochs.
    Step(usize),
    /// Along half a cosine, from the first epoch after the warm-up at the whole rate to zero behind the last one: SGDR (Loshchilov,
    /// Hutter, ICLR 2017, arXiv 1608.03983), equation 5, without restarts.
    Cosine,
}

/// How a network is trained.
#[derive(Config, Debug, PartialEq)]
pub struct Recipe {
    /// Passes over the training pictures.
    pub epochs: usize,
    /// How the learning rate falls.
    pub schedule: Schedule,
    /// Epochs in which the learning rate rises to its start, by the same amount in each: that of epoch `e` of `w` is `e / (w + 1)` of
    /// it. Default: none.
    pub warm_up: Option<usize>,
    /// By how much of itself a weight shrinks in a step, times the learning rate: weights of convolutions and linear layers, and all
    /// else of two dimensions and more, so that steps and clips of quantisers, batch norms and biases are left alone. With Adam apart
    /// from the gradient, as AdamW (Loshchilov, Hutter, ICLR 2019, arXiv 1711.05101), with SGD as a part of it. Default: what the
    /// optimiser does, which with SGD is 5e-4 of every parameter.
    pub weight_decay: Option<f64>,
    /// The part of a picture's class that is spread over all classes, from 0 to below 1 (Szegedy et al., CVPR 2016, arXiv 1512.00567,
    /// section 7). Losses on validation pictures are without it. Default: none.
    pub label_smoothing: Option<f64>,
    /// How much of itself the moving average of the weights keeps in a step, from 0 to below 1, such as 0.999; less in the first steps.
    /// Where there is one, it is what validation pictures judge, and what is kept of an epoch (Polyak, Juditsky, 1992). Default: none.
    pub ema: Option<f64>,
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
        } else if self.warm_up.is_some_and(|warm_up| warm_up >= self.first_fall()) {
            let falls = match self.first_fall() {
                first if first < self.epochs => format!(", which falls behind epoch {first}"),
                _ => String::new(),
            };
            format!(
                "a warm-up of {} epochs (--warm-up) leaves none of {} epochs at the whole learning rate{falls}: choose a shorter one, more \
                 epochs, or --scheduler cosine",
                self.warm_up.unwrap_or_default(),
                self.epochs
            )
        } else if !self
            .weight_decay
            .is_none_or(|decay| decay >= 0.0 && decay.is_finite())
        {
            format!(
                "a weight decay of {} is no number from 0 up",
                self.weight_decay.unwrap_or_default()
            )
        } else if !self
            .label_smoothing
            .is_none_or(|share| (0.0..1.0).contains(&share))
        {
            format!(
                "a label smoothing of {} is no part from 0 to below 1",
                self.label_smoothing.unwrap_or_default()
            )
        } else if !self.ema.is_none_or(|decay| (0.0..1.0).contains(&decay)) {
            format!(
                "a moving average that keeps {} of itself is none: expected a part from 0 to below 1 (--ema)",
                self.ema.unwrap_or_default()
            )
        } else {
            return Ok(());
        };
        Err(Error::Recipe(problem))
    }

    /// The epochs after which the rate falls to a tenth.
    fn milestones(&self) -> Vec<usize> {
        match &self.schedule {
            Schedule::MultiStep(milestones) => milestones.clone(),
            Schedule::Step(0) => vec![0],
            Schedule::Step(every) => (*every..self.epochs).step_by(*every).collect(),
            Schedule::Cosine => Vec::new(),
        }
    }

    /// How many epochs there are before the rate falls to a tenth, if it does.
    fn first_fall(&self) -> usize {
        let first = self.milestones().first().copied();
        first.unwrap_or(self.epochs).min(self.epochs)
    }

    /// The learning rate of `epoch`, counted from 1.
    pub fn learning_rate_at(&self, epoch: usize) -> f64 {
        let warm_up = self.warm_up.unwrap_or(0);
        if epoch <= warm_up {
            return self.learning_rate * epoch as f64 / (warm_up + 1) as f64;
        }
        match self.schedule {
            Schedule::Cosine => {
                let done = (epoch - warm_up - 1) as f64 / (self.epochs - warm_up) as f64;
                self.learning_rate * (1.0 + (PI * done).cos()) / 2.0
            }
            _ => {
                let falls = self.milestones().iter().filter(|&&m| m < epoch).count();
                self.learning_rate * 0.1f64.powi(falls as i32)
            }
        }
    }

    /// Burn's scheduler of the same rates: it counts steps where the recipe counts epochs.
    pub(super) fn scheduler(&self, steps_per_epoch: usize) -> Result<ModuleLrScheduler, Error> {
        let rates: Vec<f64> = (1..=self.epochs)
            .map(|epoch| self.learning_rate_at(epoch))
            .collect();
        let of_one_rate: Vec<&[f64]> = rates.chunk_by(|a, b| a == b).collect();
        let steps = of_one_rate.iter().scan(0, |steps, epochs| {
            *steps += epochs.len() * steps_per_epoch;
            Some(*steps)
        });
        let steps = steps.take(of_one_rate.len() - 1).collect();
        let rates = of_one_rate
            .iter()
            .map(|rates| LrSchedulerConfig::Constant(rates[0]));
        SequentialLrSchedulerConfig::new(rates.collect(), steps)
            .init()
            .map_err(Error::Recipe)
    }

    pub(super) fn optimizer(&self) -> ModuleOptimizer {
        let sgd = SgdConfig::new()
            .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)));
        match (self.optimizer, self.weight_decay) {
            (OptimizerKind::Adam, None) => Adam::new().into(),
            (OptimizerKind::Adam, Some(decay)) => DecayOfWeights::apart(decay, Adam::new()).into(),
            (OptimizerKind::Sgd, None) => sgd.with_weight_decay(Some(WeightDecayConfig::new(5e-4))).init(),
            (OptimizerKind::Sgd, Some(decay)) => DecayOfWeights::in_gradient(decay, sgd.build()).into(),
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
            Schedule::MultiStep(vec![7]),
            Schedule::Cosine,
        ];
        for (schedule, warm_up) in schedules
            .into_iter()
            .flat_map(|of| [(of.clone(), None), (of, Some(1))])
        {
            let recipe = Recipe::new(7, schedule).with_warm_up(warm_up);
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
