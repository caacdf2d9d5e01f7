//! Distillation: a network learns what another one makes of each picture, beside the picture's class.

use std::sync::{Mutex, PoisonError};

use burn::config::Config;
use burn::nn::loss::{KLDivLossConfig, Reduction};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};

use super::Loss;
use super::classifier::cross_entropy;
use crate::Error;
use crate::data::PictureBatch;
use crate::models::Network;

/// How a network learns from another one, its teacher, which is usually the same in more bits.
///
/// The loss in training is `(1 - share) * CE + share * T^2 * KL`: cross-entropy with the classes, and the divergence of the
/// network's probabilities from the teacher's, both of logits divided by the temperature `T` (Hinton, Vinyals, Dean, 2015, arXiv
/// 1503.02531, section 2). The teacher sees the pictures as the network does, varied as they are. On validation pictures the loss
/// is cross-entropy, and the teacher is not asked.
///
/// Few bits are reached in steps where each network is the teacher of the next in fewer (Yu et al., AAAI 2021, arXiv 1911.07346,
/// section 3.2): there the temperature is 1 and the share is 1.
///
/// ```no_run
/// use burn::tensor::Device;
/// use vwc_sdk::models::Cnn8Config;
/// use vwc_sdk::train::{DistillationConfig, RunDir};
///
/// let (teacher, _) = RunDir::new("runs/w8a8/original").load::<Cnn8Config>(&Device::default())?;
/// let loss = DistillationConfig::new("runs/w8a8/original".into()).init(teacher)?;
/// // let options = FitOptions::new(&splits, &recipe, dir, &devices).with_loss(loss);
/// # Ok::<(), vwc_sdk::Error>(())
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct DistillationConfig {
    /// What the teacher is called. A run goes on with the teacher of this name alone: name what tells it from others.
    pub teacher: String,
    /// What logits are divided by: the higher, the more the classes count that a picture is not of. Default: 4.
    #[config(default = 4.0)]
    pub temperature: f64,
    /// The teacher's part of the loss, from 0 to 1. Default: 0.9.
    #[config(default = 0.9)]
    pub share: f64,
}

impl DistillationConfig {
    /// The loss of a network that learns from `teacher`, which tells the same classes apart and reads the same pictures.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] for a temperature that is not above zero, and a share that is not from 0 to 1.
    pub fn init<N: Network>(&self, teacher: N) -> Result<Loss, Error> {
        let Self {
            temperature, share, ..
        } = *self;
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::Recipe(format!(
                "a temperature of {temperature} is no number above 0 (--temperature)"
            )));
        }
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::Recipe(format!(
                "a teacher's share of {share} is no part from 0 to 1 (--teacher-share)"
            )));
        }
        // One for each device that is trained on, made when its first batch is there.
        let teachers: Mutex<Vec<(Device, N)>> = Mutex::new(Vec::new());
        let teacher = Mutex::new(teacher);
        let learn = move |logits: Tensor<2>, batch: &PictureBatch| {
            let images = batch.images.clone().inner();
            let taught = {
                let device = images.device();
                let mut teachers = teachers.lock().unwrap_or_else(PoisonError::into_inner);
                let place = teachers.iter().position(|(of, _)| *of == device);
                let place = place.unwrap_or_else(|| {
                    // Clones of a batch norm share its statistics, which would move with them.
                    let own = teacher.lock().unwrap_or_else(PoisonError::into_inner).valid();
                    teachers.push((device.clone(), own.to_device(&device)));
                    teachers.len() - 1
                });
                teachers[place].1.forward(images)
            };
            let soften = |logits: Tensor<2>| log_softmax(logits.div_scalar(temperature), 1);
            let divergence = KLDivLossConfig::new().with_log_target(true).init().forward(
                soften(logits.clone()),
                Tensor::from_inner(soften(taught)),
                Reduction::BatchMean,
            );
            let classes = cross_entropy(logits, batch, None).mul_scalar(1.0 - share);
            classes + divergence.mul_scalar(share * temperature * temperature)
        };
        Ok(Loss::in_training(self.in_words(), learn))
    }

    /// What a run keeps of it.
    fn in_words(&self) -> String {
        format!(
            "cross-entropy, and by {} what {} says at temperature {}",
            self.share, self.teacher, self.temperature
        )
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;
    use burn::tensor::Distribution;

    use super::*;
    use crate::models::{Cnn8Config, NetworkConfig as _};

    /// Logarithms of the probabilities of logits that are divided by `temperature`, in 64 bits.
    fn log_probabilities(logits: &[f64], temperature: f64) -> Vec<f64> {
        let softened: Vec<f64> = logits.iter().map(|logit| logit / temperature).collect();
        let total = softened.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        softened.iter().map(|logit| logit - total).collect()
    }

    #[test]
    fn the_loss_is_that_of_the_paper_and_no_loss_where_the_teacher_is_met() {
        let device = Device::default();
        device.seed(1);
        let teacher = Cnn8Config::new().with_quantized(false).init(&device);
        let train = device.clone().autodiff();
        let images = Tensor::<4>::random([3, 3, 40, 40], Distribution::Default, &train);
        let taught: Vec<f64> = (teacher
            .valid()
            .forward(images.clone().inner())
            .into_data()
            .iter::<f64>())
        .collect();
        let batch = PictureBatch {
            images,
            targets: Tensor::from_data([3, 0, 9], &train),
            share: 1.0,
        };
        let logits = Tensor::<2>::random([3, 10], Distribution::Normal(0.0, 2.0), &train);
        let own: Vec<f64> = logits.to_data().iter::<f64>().collect();
        for (temperature, share) in [(4.0, 0.9), (1.0, 1.0), (0.5, 0.0), (2.0, 0.5)] {
            let config = DistillationConfig::new("it".into())
                .with_temperature(temperature)
                .with_share(share);
            let loss = config.init(teacher.clone()).unwrap();
            let found: f64 = loss.training(logits.clone(), &batch).into_scalar();
            let rows = own.chunks(10).zip(taught.chunks(10)).zip([3, 0, 9]);
            let expected: f64 = rows
                .map(|((own, taught), class)| {
                    let entropy = -log_probabilities(own, 1.0)[class];
                    let [own, taught] = [own, taught].map(|logits| log_probabilities(logits, temperature));
                    let divergence: f64 = own.iter().zip(&taught).map(|(q, p)| p.exp() * (p - q)).sum();
                    ((1.0 - share) * entropy + share * temperature * temperature * divergence) / 3.0
                })
                .sum();
            assert!(
                (found - expected).abs() < 1e-4 * expected.abs().max(1.0),
                "{found} instead of {expected}"
            );
            if share == 1.0 {
                let met = Tensor::from_inner(teacher.valid().forward(batch.images.clone().inner()));
                let found: f64 = loss.training(met, &batch).into_scalar();
                assert!(found.abs() < 1e-5, "{found}");
            }
            // On validation pictures it is cross-entropy.
            let found: f64 = loss.validation(logits.clone(), &batch).into_scalar();
            let entropy: f64 = (own.chunks(10).zip([3, 0, 9]))
                .map(|(own, class)| -log_probabilities(own, 1.0)[class] / 3.0)
                .sum();
            assert!(
                (found - entropy).abs() < 1e-4 * entropy,
                "{found} instead of {entropy}"
            );
        }
    }

    #[test]
    fn temperatures_and_shares_that_make_no_sense_are_refused() {
        let teacher = Cnn8Config::new().init(&Device::default());
        let config = DistillationConfig::new("it".into());
        for temperature in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = config
                .clone()
                .with_temperature(temperature)
                .init(teacher.clone())
                .unwrap_err();
            assert!(error.to_string().contains("--temperature"), "{error}");
        }
        for share in [-0.1, 1.1, f64::NAN] {
            let error = config
                .clone()
                .with_share(share)
                .init(teacher.clone())
                .unwrap_err();
            assert!(error.to_string().contains("--teacher-share"), "{error}");
        }
    }
}
