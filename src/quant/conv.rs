//! A 2-D convolution, and the layer whose weights are quantised on the way to it.

use burn::config::Config;
use burn::module::{Initializer, Module, Param};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Device, Tensor};

#[cfg(feature = "flex")]
use super::FakeQuantized;
#[cfg(feature = "flex")]
use super::composed::SMALLEST_PEAK;
use super::{Bits, WeightQuantizer, composed_block};
#[cfg(feature = "flex")]
use crate::kernels::Grids;
#[cfg(feature = "flex")]
use crate::module::recorded;

/// Configuration of a [`QuantConv2d`].
#[derive(Config, Debug)]
pub struct QuantConv2dConfig {
    /// Input and output channels.
    pub channels: [usize; 2],
    /// Kernel height and width.
    pub kernel_size: [usize; 2],
    /// Stride down and across. Default: 1, 1.
    #[config(default = "[1, 1]")]
    pub stride: [usize; 2],
    /// Zero padding at top and bottom, and at left and right. Default: none.
    #[config(default = "[0, 0]")]
    pub padding: [usize; 2],
    /// Whether a bias is added. Default: no, as in the published quantised networks.
    #[config(default = false)]
    pub bias: bool,
    /// What turns the latent weights into those computed with. Default: they are used as they are.
    #[config(default = "WeightQuantizer::Identity")]
    pub quantizer: WeightQuantizer,
    /// Bits that the input was rounded to by [`quantize_activation`](super::quantize_activation), where it was. On
    /// `flex` a convolution without bias whose weights are quantised too then computes its forward pass on integers;
    /// input of other values is computed on floats, as everywhere else. Default: unknown.
    pub input_bits: Option<Bits>,
    /// Initialiser of weights and bias. Default: uniform within `1/sqrt(fan-in)`, as Burn's own `Conv2d`.
    #[config(default = "Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }")]
    pub initializer: Initializer,
}

/// A 2-D convolution whose weights are quantised on the way to use.
///
/// Its `weight` stays the latent one under Burn's `materialize()`: [`quantized_weight`](Self::quantized_weight) gives what is
/// computed with. The exception is [`WeightQuantizer::Lsq`], whose step is learned: it is a reparameterization of the weight,
/// and the layer's own `quantizer` is [`Identity`](WeightQuantizer::Identity).
#[derive(Module, Debug)]
pub struct QuantConv2d {
    /// Latent weights, `[channels_out, channels_in, kernel_height, kernel_width]`.
    pub weight: Param<Tensor<4>>,
    /// Bias, `[channels_out]`, never quantised.
    pub bias: Option<Param<Tensor<1>>>,
    /// Stride down and across.
    pub stride: [usize; 2],
    /// Zero padding at top and bottom, and at left and right.
    pub padding: [usize; 2],
    /// What turns the latent weights into those computed with.
    #[module(skip)]
    pub quantizer: WeightQuantizer,
    /// Bits that the input was rounded to, where it was and where it is known.
    #[module(skip)]
    pub input_bits: Option<Bits>,
}

impl QuantConv2dConfig {
    /// Initialises the layer on `device`.
    pub fn init(&self, device: &Device) -> QuantConv2d {
        let [inputs, outputs] = self.channels;
        let [kernel_h, kernel_w] = self.kernel_size;
        let fan_in = Some(inputs * kernel_h * kernel_w);
        let fan_out = Some(outputs * kernel_h * kernel_w);
        let init = &self.initializer;
        let layer = QuantConv2d {
            weight: init.init_with([outputs, inputs, kernel_h, kernel_w], fan_in, fan_out, device),
            bias: self
                .bias
                .then(|| init.init_with([outputs], fan_in, fan_out, device)),
            stride: self.stride,
            padding: self.padding,
            quantizer: self.quantizer.kept_by_layer(),
            input_bits: self.input_bits,
        };
        self.quantizer.beside_weight(layer)
    }
}

impl QuantConv2d {
    /// Convolves with the quantised weights.
    ///
    /// # Shapes
    ///
    /// - input: `[batch, channels_in, height_in, width_in]`
    /// - output: `[batch, channels_out, height_out, width_out]`
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        #[cfg(feature = "flex")]
        let levels = self.levels();
        #[cfg(feature = "flex")]
        if let Some([weight, of_input]) = levels
            && crate::kernels::apply_to(&input)
        {
            let (stride, padding) = (self.stride, self.padding);
            return crate::kernels::quant_conv2d(
                input,
                self.weight.val(),
                stride,
                padding,
                Grids::of_unit_interval(of_input, weight),
                SMALLEST_PEAK as f32,
            );
        }
        let weight = self.quantized_weight();
        #[cfg(feature = "flex")]
        if let Some(levels) = levels
            && let Some(recorded) = recorded::conv2d(
                &input,
                &weight,
                None,
                &ConvOptions::new(self.stride, self.padding, [1, 1], 1),
                Some(levels),
            )
        {
            return recorded;
        }
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(input, weight, bias, self.stride, self.padding)
    }

    /// The largest codes of weights and inputs, where `flex` computes with integers.
    #[cfg(feature = "flex")]
    fn levels(&self) -> Option<[u32; 2]> {
        match (self.quantizer, self.input_bits, &self.bias) {
            (WeightQuantizer::Dorefa(weight), Some(input), None)
                if self.weight.reparameterization::<FakeQuantized>().is_none() =>
            {
                Some([weight.levels()?, input.levels()?])
            }
            _ => None,
        }
    }

    /// The weights that are computed with, `[channels_out, channels_in, kernel_height, kernel_width]`.
    pub fn quantized_weight(&self) -> Tensor<4> {
        self.quantizer.of(&self.weight)
    }
}

/// A 2-D convolution, zero-padded, without dilation or groups: [`grouped_conv2d`] of one group.
///
/// On `flex`, kernels of this crate compute it; elsewhere, Burn's own.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height_in, width_in]`
/// - `weight`: `[channels_out, channels_in, kernel_height, kernel_width]`
/// - `bias`: `[channels_out]`
/// - output: `[batch, channels_out, height_out, width_out]`
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
) -> Tensor<4> {
    grouped_conv2d(x, weight, bias, stride, padding, 1)
}

/// A 2-D convolution, zero-padded, without dilation, whose channels are in `groups`: [`conv2d_with`] of such options. With as many
/// groups as channels it is a depthwise one.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height_in, width_in]`
/// - `weight`: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
/// - `bias`: `[channels_out]`
/// - output: `[batch, channels_out, height_out, width_out]`
///
/// # Panics
///
/// As [`conv2d_with`].
pub fn grouped_conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
) -> Tensor<4> {
    conv2d_with(
        x,
        weight,
        bias,
        &ConvOptions::new(stride, padding, [1, 1], groups),
    )
}

/// What Burn's `module::conv2d` computes: a 2-D convolution of any stride, padding on each of four sides, dilation and groups.
///
/// On `flex`, kernels of this crate compute it; elsewhere, Burn's own.
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height_in, width_in]`
/// - `weight`: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
/// - `bias`: `[channels_out]`
/// - output: `[batch, channels_out, height_out, width_out]`
///
/// # Panics
///
/// Where the groups do not divide both numbers of channels, `weight` has other channels than that, or the kernel is larger than the
/// padded input.
pub fn conv2d_with(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: &ConvOptions<2>,
) -> Tensor<4> {
    let groups = options.groups;
    let ([_, inputs, ..], [outputs, of_group, ..]) = (x.dims(), weight.dims());
    assert!(
        of_group * groups == inputs && outputs % groups.max(1) == 0,
        "{groups} groups of {of_group} inputs do not fit {inputs} input and {outputs} output channels"
    );
    #[cfg(feature = "flex")]
    if crate::kernels::apply_to(&x) {
        return crate::kernels::conv2d(x, weight, bias, options.into(), None);
    }
    #[cfg(feature = "flex")]
    if let Some(recorded) = recorded::conv2d(&x, &weight, bias.as_ref(), options, None) {
        return recorded;
    }
    composed_block::conv2d_with(x, weight, bias, options)
}
