use burn::optim::{AdamConfig, AdamState, AdaptiveMomentumState, LearningRate, Optimizer};
use burn::tensor::{Device, Tensor};

/// Adam (Kingma, Ba; ICLR 2015) with PyTorch's defaults: decays of 0.9 and 0.999, an epsilon of 1e-8.
///
/// The same as Burn's, whose state it keeps, in a single pass over each parameter on `flex`.
///
/// ```
/// use burn::optim::ModuleOptimizer;
/// use vwc_sdk::train::Adam;
///
/// let optimizer = ModuleOptimizer::from(Adam::new());
/// ```
#[derive(Clone)]
pub struct Adam {
    beta: [f32; 2],
    epsilon: f32,
    burns: burn::optim::Adam,
}

impl Adam {
    /// With the defaults.
    pub fn new() -> Self {
        let (beta, epsilon) = ([0.9, 0.999], 1e-8);
        let burns = AdamConfig::new()
            .with_beta_1(beta[0])
            .with_beta_2(beta[1])
            .with_epsilon(epsilon)
            .build();
        Self { beta, epsilon, burns }
    }
}

impl Default for Adam {
    fn default() -> Self {
        Self::new()
    }
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<AdamState<D>>,
    ) -> (Tensor<D>, Option<AdamState<D>>) {
        #[cfg(feature = "flex")]
        if crate::kernels::apply_to(&tensor)
            && let Some(state) = state
        {
            let AdaptiveMomentumState {
                time,
                moment_1,
                moment_2,
                ..
            } = state.momentum;
            let time = time + 1;
            let [left_1, left_2] = self.beta.map(|beta| 1.0 - f64::from(beta).powi(time as i32));
            let step = crate::kernels::AdamStep {
                beta: self.beta,
                rate: (lr * left_2.sqrt() / left_1) as f32,
                epsilon: self.epsilon * left_2.sqrt() as f32,
            };
            let (tensor, moment_1, moment_2) = crate::kernels::adam(step, tensor, grad, moment_1, moment_2);
            let momentum = AdaptiveMomentumState::new(time, moment_1, moment_2);
            return (tensor, Some(AdamState::new(momentum)));
        }
        self.burns.step(lr, tensor, grad, state)
    }

    fn to_device<const D: usize>(state: AdamState<D>, device: &Device) -> AdamState<D> {
        burn::optim::Adam::to_device(state, device)
    }
}
