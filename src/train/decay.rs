//! Weight decay of weights alone.

use burn::optim::{LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

/// An optimiser in whose steps what has two dimensions and more shrinks: weights of convolutions and linear layers. Steps and clips
/// of quantisers, batch norms and biases have one, and a step that decays rounds more coarsely in the end for no gain.
#[derive(Clone)]
pub(super) struct DecayOfWeights<O> {
    decay: f64,
    /// Whether the gradient has it, as SGD's does, or the weight apart from the gradient, as AdamW's.
    in_gradient: bool,
    optimizer: O,
}

impl<O> DecayOfWeights<O> {
    /// Each weight loses `decay` times the learning rate of itself.
    pub fn apart(decay: f64, optimizer: O) -> Self {
        Self {
            decay,
            in_gradient: false,
            optimizer,
        }
    }

    /// Each weight's gradient gains `decay` times the weight.
    pub fn in_gradient(decay: f64, optimizer: O) -> Self {
        Self {
            in_gradient: true,
            ..Self::apart(decay, optimizer)
        }
    }
}

impl<O: Optimizer> Optimizer for DecayOfWeights<O> {
    type State<const D: usize> = O::State<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<O::State<D>>,
    ) -> (Tensor<D>, Option<O::State<D>>) {
        let (tensor, grad) = match (D > 1, self.in_gradient) {
            (false, _) => (tensor, grad),
            (true, true) => {
                let decay = tensor.clone().mul_scalar(self.decay);
                (tensor, grad + decay)
            }
            (true, false) => (tensor.mul_scalar(1.0 - lr * self.decay), grad),
        };
        self.optimizer.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: O::State<D>, device: &Device) -> O::State<D> {
        O::to_device(state, device)
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::optim::decay::WeightDecayConfig;
    use burn::optim::momentum::MomentumConfig;
    use burn::optim::{AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig};
    use burn::tensor::Device;

    use super::*;
    use crate::train::{OptimizerKind, Recipe};

    /// What five steps make of `linear`, weight and bias.
    fn trained(linear: &Linear, mut optimizer: ModuleOptimizer) -> [Vec<f32>; 2] {
        let mut linear = linear.clone();
        let device = Device::default().autodiff();
        for step in 0..5 {
            let input = Tensor::<2>::from_data([[0.5, -1.0, 2.0], [1.5, 0.25, -0.5]], &device);
            // Linear, so that no gradient depends on what has shrunk.
            let factors =
                Tensor::<2>::from_data([[1.0, -2.0], [0.5, 0.25]], &device).mul_scalar(f64::from(step) - 1.5);
            let loss = linear.forward(input).mul(factors).sum();
            let gradients = GradientsParams::from_grads(loss.backward(), &linear);
            linear = optimizer.step(0.05, linear, gradients);
        }
        let bias = linear.bias.as_ref().expect("it has one").val();
        [linear.weight.val().into_data(), bias.into_data()].map(|data| data.try_to_vec().expect("floats"))
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(
            found.len() == expected.len() && found.iter().zip(expected).all(close),
            "{found:?} instead of {expected:?}"
        );
    }

    #[test]
    fn weights_decay_as_burns_do_and_biases_do_not() {
        let linear = LinearConfig::new(3, 2).init(&Device::default().autodiff());
        let recipe = |kind, decay| {
            Recipe::original(1)
                .with_optimizer(kind)
                .with_weight_decay(decay)
                .optimizer()
        };
        let adam_w = AdamWConfig::new()
            .with_beta_2(0.999)
            .with_epsilon(1e-8)
            .with_weight_decay(0.3);
        let adam = AdamConfig::new().with_beta_2(0.999).with_epsilon(1e-8);
        let sgd = SgdConfig::new()
            .with_momentum(Some(MomentumConfig::new().with_momentum(0.9).with_dampening(0.0)));
        let decaying = sgd.clone().with_weight_decay(Some(WeightDecayConfig::new(0.3)));
        for (kind, burns, without) in [
            (OptimizerKind::Adam, adam_w.init(), adam.init()),
            (OptimizerKind::Sgd, decaying.init(), sgd.init()),
        ] {
            let [weight, bias] = trained(&linear, recipe(kind, Some(0.3)));
            assert_close(&weight, &trained(&linear, burns)[0]);
            assert_close(&bias, &trained(&linear, without)[1]);
        }
    }
}
