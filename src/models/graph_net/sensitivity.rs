//! What a network loses when one of its layers is quantised, and nothing else is.

use burn::tensor::Tensor;
use burn::tensor::activation::log_softmax;

use super::{GraphNet, QuantPlan};
use crate::Error;
use crate::models::Network as _;
use crate::module::Parameters;
use crate::quant::{Bits, LearnedSteps, Observer};

/// What a network loses when this layer alone is quantised.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LayerSensitivity {
    /// The layer's name.
    pub layer: String,
    /// How many numbers its weight has.
    pub weights: u64,
    /// For each choice of bits, how far the network's probabilities are from those in full precision: their Kullback-Leibler
    /// divergence in nats, the mean over pictures (Cai et al., "ZeroQ", CVPR 2020, arXiv 2001.00281, equation 6).
    pub divergences: Vec<f64>,
}

impl GraphNet {
    /// What this network in full precision loses when one of the layers between the first and the last is quantised, for each such
    /// layer but those of `left_out` and for each of `choices`: bits of its weights, in the form of `steps`, and of what it reads. Steps are measured on
    /// the batches of `calibration`, and losses on those of `pictures`, whose classes need not be known. `done` is called with each
    /// layer's name.
    ///
    /// # Errors
    ///
    /// As [`quantized_by`](Self::quantized_by), and where the network computes NaN or infinity of one of the pictures.
    pub fn sensitivities(
        &self,
        steps: LearnedSteps,
        choices: &[[Bits; 2]],
        left_out: &[String],
        calibration: &[Tensor<4>],
        pictures: &[Tensor<4>],
        mut done: impl FnMut(&str),
    ) -> Result<Vec<LayerSensitivity>, Error> {
        let all = self
            .config
            .clone()
            .with_plan(QuantPlan::new(Bits::ONE, Bits::ONE))?;
        let whole: Vec<Tensor<2>> = pictures
            .iter()
            .map(|batch| self.log_probabilities(batch))
            .collect();
        let is_finite = |logits: &Tensor<2>| {
            let numbers = logits.clone().into_data().try_into_vec::<f32>();
            numbers.is_ok_and(|numbers| numbers.iter().all(|number| number.is_finite()))
        };
        if !whole.iter().all(is_finite) {
            return Err(self.config.refuse(
                "it computes NaN or infinity of one of these pictures, in full precision: give pictures that it computes numbers of".into(),
            ));
        }
        let shapes = Parameters::shapes(self);
        let layers = all.quantized_layers();
        let names: Vec<String> = layers.iter().map(|layer| layer.layer.clone()).collect();
        let measured = layers
            .into_iter()
            .filter(|layer| !left_out.contains(&layer.layer));
        let layers = measured.map(|layer| {
            let divergences = choices.iter().map(|&[weights, activations]| {
                if [weights, activations] == [Bits::FULL; 2] {
                    return Ok(0.0);
                }
                let none = QuantPlan::new(steps.with_bits(Bits::FULL), Bits::FULL);
                // The name of a layer may be the beginning of other ones, which stay as they are.
                let plan = names.iter().fold(none, |plan, name| {
                    let bits = [weights, activations]
                        .map(|bits| if *name == layer.layer { bits } else { Bits::FULL });
                    plan.with_layers(name.as_str(), bits[0], bits[1])
                });
                let rounded = self
                    .clone()
                    .quantized_by(plan)?
                    .calibrated(calibration, Observer::default())?;
                Ok(divergence(&whole, pictures, &rounded))
            });
            let divergences = divergences.collect::<Result<_, Error>>()?;
            done(&layer.layer);
            let path = self.layers[layer.node].weight_path().unwrap_or_default();
            let weights = shapes
                .get(&path)
                .map_or(0, |shape| shape.iter().product::<usize>());
            Ok(LayerSensitivity {
                layer: layer.layer,
                weights: weights as u64,
                divergences,
            })
        });
        layers.collect()
    }

    fn log_probabilities(&self, batch: &Tensor<4>) -> Tensor<2> {
        log_softmax(self.forward(batch.clone()), 1)
    }
}

/// The mean divergence of what `rounded` says of each picture from what is said in full precision.
fn divergence(whole: &[Tensor<2>], pictures: &[Tensor<4>], rounded: &GraphNet) -> f64 {
    let count: usize = pictures.iter().map(|batch| batch.dims()[0]).sum();
    let sums = whole.iter().zip(pictures).map(|(whole, batch)| {
        let away = whole.clone() - rounded.log_probabilities(batch);
        (whole.clone().exp() * away).sum().into_scalar::<f64>()
    });
    sums.sum::<f64>() / count as f64
}
