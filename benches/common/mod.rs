//! A bare training step: forward, loss, backward, Adam, on pictures that are there already.

#![allow(dead_code)]

use std::hint::black_box;

use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Distribution, Int, Tensor};
use vwc_sdk::models::{Network, NetworkConfig};
use vwc_sdk::train::Adam;

pub struct BareStep<C: NetworkConfig> {
    device: Device,
    images: Tensor<4>,
    labels: Tensor<1, Int>,
    loss: CrossEntropyLoss,
    optimizer: ModuleOptimizer,
    network: Option<C::Network>,
}

impl<C: NetworkConfig> BareStep<C> {
    pub fn new(config: &C, batch: usize, device: &Device) -> Self {
        let device = device.clone().autodiff();
        device.seed(0);
        let [height, width] = config.input();
        let uniform = Distribution::Uniform(-1.0, 1.0);
        let labels: Vec<i64> = (0..batch as i64).map(|n| n % 10).collect();
        Self {
            images: Tensor::random([batch, 3, height, width], uniform, &device),
            labels: Tensor::from_data(labels.as_slice(), &device),
            loss: CrossEntropyLossConfig::new().init(&device),
            optimizer: ModuleOptimizer::from(Adam::new()),
            network: Some(config.init(&device)),
            device,
        }
    }

    pub fn run(&mut self) {
        let network = self.network.take().expect("put back after every step");
        let output = network.forward(self.images.clone());
        let loss = self.loss.forward(output, self.labels.clone());
        let grads = GradientsParams::from_grads(black_box(loss).backward(), &network);
        self.network = Some(self.optimizer.step(0.001, network, grads));
    }

    /// Waits until the device has done all that it was given.
    pub fn wait(&self) {
        self.device.sync().expect("the device answers");
    }
}
