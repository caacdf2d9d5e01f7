//! The moving average of a network's weights over the steps of its training.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{Device, Tensor};

use crate::models::Network;

/// The average, ready for evaluation. In step `t`, from 0, it keeps `min(decay, (1 + t) / (10 + t))` of itself, so that it is not
/// that of random weights for long, and takes the rest of the weights of that step; running statistics of batch norms and steps of
/// quantisers, too.
pub(super) struct Average<N> {
    decay: f64,
    device: Device,
    state: Mutex<State<N>>,
}

struct State<N> {
    network: N,
    steps: usize,
}

impl<N: Network> Average<N> {
    /// That of a training whose first step, after `steps` others, has the weights of `network`, which is on `device`.
    pub fn new(decay: f64, network: &N, steps: usize, device: &Device) -> Self {
        Self {
            decay,
            device: device.clone(),
            state: Mutex::new(State {
                network: network.valid(),
                steps,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<N>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The average as it is now.
    pub fn network(&self) -> N {
        self.state().network.clone()
    }
}

/// The average of some network: Burn's modules cannot hold that of the type of one of their parts.
pub(super) trait Averaged: fmt::Debug + Send + Sync {
    /// Whether weights are taken on this device: those on others are the same.
    fn is_on(&self, device: &Device) -> bool;

    /// Takes the weights of a step.
    fn take(&self, newest: Weights);

    /// Logits of pictures, by the average.
    fn forward(&self, images: Tensor<4>) -> Tensor<2>;
}

impl<N: Network> Averaged for Average<N> {
    fn is_on(&self, device: &Device) -> bool {
        device.clone().inner() == self.device
    }

    fn take(&self, mut newest: Weights) {
        let mut state = self.state();
        let steps = state.steps as f64;
        newest.kept = self.decay.min((1.0 + steps) / (10.0 + steps));
        state.network = state.network.clone().map(&mut newest);
        state.steps += 1;
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        self.network().forward(images)
    }
}

impl<N> fmt::Debug for Average<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Average")
            .field("decay", &self.decay)
            .finish_non_exhaustive()
    }
}

/// The weights of a step, each in one dimension, and how much the average keeps of its own.
#[derive(Default)]
pub(super) struct Weights {
    tensors: HashMap<ParamId, Tensor<1>>,
    kept: f64,
}

impl Weights {
    /// Those of `network`.
    pub fn of<N: Network>(network: &N) -> Self {
        let mut weights = Self::default();
        network.valid().visit(&mut weights);
        weights
    }
}

impl ModuleVisitor for Weights {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.tensors.insert(param.id, param.val().reshape([-1]));
    }
}

impl ModuleMapper for Weights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(newest) = self.tensors.remove(&param.id) else {
            debug_assert!(false, "the average is of another network");
            return param;
        };
        param.map(|average| {
            let newest = newest.to_device(&average.device()).reshape(average.dims());
            average.mul_scalar(self.kept) + newest.mul_scalar(1.0 - self.kept)
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::module::Module;

    use super::*;
    use crate::models::{Cnn8, Cnn8Config, NetworkConfig as _};
    use crate::module::Parameters;

    struct Doubled;

    impl ModuleMapper for Doubled {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|weights| weights.mul_scalar(2.0))
        }
    }

    #[test]
    fn the_average_keeps_less_of_itself_in_the_first_steps() {
        let device = Device::default();
        let first = Cnn8Config::new().with_widths([2, 2, 2, 2, 2, 2, 2]).init(&device);
        // Clones of a batch norm share its statistics.
        let second = first.valid().map(&mut Doubled);
        let is = |average: &Average<Cnn8>, factor: f32| {
            let [found, of] = [average.network(), first.clone()].map(|network| Parameters::of(&network));
            for ((path, found), (_, of)) in found.iter().zip(of.iter()) {
                let mut pairs = found.iter::<f32>().zip(of.iter::<f32>());
                assert!(
                    pairs.all(|(found, of)| (found - factor * of).abs() < 1e-5),
                    "{path}"
                );
            }
        };
        // A tenth of itself, then 2 / 11; late in a training the decay.
        let early = Average::new(0.9, &first, 0, &device);
        for expected in [0.1 + 0.9 * 2.0, (2.0 * 1.9 + 9.0 * 2.0) / 11.0] {
            early.take(Weights::of(&second));
            is(&early, expected);
        }
        let late = Average::new(0.9, &first, 1000, &device);
        late.take(Weights::of(&second));
        is(&late, 1.1);
    }
}
