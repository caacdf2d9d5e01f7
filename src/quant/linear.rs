//! A linear layer whose weights are quantised on the way to use.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::{Device, Tensor, module::linear};

use super::WeightQuantizer;

/// Configuration of a [`QuantLinear`].
#[derive(Config, Debug)]
pub struct QuantLinearConfig {
    /// Input features.
    pub d_input: usize,
    /// Output features.
    pub d_output: usize,
    /// Whether a bias is added. Default: yes.
    #[config(default = true)]
    pub bias: bool,
    /// What turns the latent weights into those computed with. Default: they are used as they are.
    #[config(default = "WeightQuantizer::Identity")]
    pub quantizer: WeightQuantizer,
    /// Initialiser of weights and bias. Default: uniform within `1/sqrt(d_input)`, as Burn's own `Linear`.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }")]
    pub initializer: Initializer,
}

/// A linear layer whose weights are quantised on the way to use.
#[derive(Module, Debug)]
pub struct QuantLinear {
    /// Latent weights, `[d_input, d_output]`.
    pub weight: Param<Tensor<2>>,
    /// Bias, `[d_output]`, never quantised.
    pub bias: Option<Param<Tensor<1>>>,
    /// What turns the latent weights into those computed with.
    #[module(skip)]
    pub quantizer: WeightQuantizer,
}

impl QuantLinearConfig {
    /// Initialises the layer on `device`.
    pub fn init(&self, device: &Device) -> QuantLinear {
        let (fan_in, fan_out) = (Some(self.d_input), Some(self.d_output));
        let init = &self.initializer;
        let layer = QuantLinear {
            weight: init.init_with([self.d_input, self.d_output], fan_in, fan_out, device),
            bias: self
                .bias
                .then(|| init.init_with([self.d_output], fan_in, fan_out, device)),
            quantizer: self.quantizer.kept_by_layer(),
        };
        self.quantizer.beside_weight(layer)
    }
}

impl QuantLinear {
    /// Multiplies with the quantised weights.
    ///
    /// # Shapes
    ///
    /// - input: `[..., d_input]`
    /// - output: `[..., d_output]`
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        linear(input, self.quantized_weight(), self.bias.as_ref().map(Param::val))
    }

    /// The weights that are computed with, `[d_input, d_output]`.
    pub fn quantized_weight(&self) -> Tensor<2> {
        self.quantizer.of(&self.weight)
    }
}
