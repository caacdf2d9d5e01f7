//! Burn's convolution layer on this crate's kernels.

use burn::module::{Module, Param};
use burn::nn::{self, PaddingConfig2d};
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use super::conv2d_with;

/// What `conv.forward(x)` computes, on this crate's kernels where the device is `flex`: several times faster there, in training and in
/// evaluation, with groups, depthwise, dilation, and with any padding. Sums are in another order, so that results differ in their last digits.
///
/// A module keeps its [`Conv2d`](nn::conv::Conv2d), with its parameters and [quantisers](super::WeightQuantizer::on), and calls this in its forward
/// pass. On other devices, Burn's own operation computes it.
///
/// ```
/// use burn::nn::{PaddingConfig2d, conv::Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::convolve;
///
/// let device = Device::default();
/// let depthwise = Conv2dConfig::new([8, 8], [3, 3]).with_groups(8).with_padding(PaddingConfig2d::Same).init(&device);
/// let x = Tensor::<4>::ones([1, 8, 6, 6], &device);
/// let apart = (convolve(&depthwise, x.clone()) - depthwise.forward(x)).abs().max().into_scalar::<f32>();
/// assert!(apart < 1e-5);
/// ```
///
/// # Shapes
///
/// - `x`: `[batch, channels_in, height_in, width_in]`
/// - output: `[batch, channels_out, height_out, width_out]`
///
/// # Panics
///
/// As [`Conv2d::forward`](nn::conv::Conv2d::forward), where the shapes do not fit.
pub fn convolve(conv: &nn::conv::Conv2d, x: Tensor<4>) -> Tensor<4> {
    let places = Places {
        kernel: conv.kernel_size,
        stride: conv.stride,
        dilation: conv.dilation,
        groups: conv.groups,
        padding: &conv.padding,
    };
    places.convolve(&conv.weight, conv.bias.as_ref(), x)
}

/// Burn's convolution layer as a layer of its own that computes as [`convolve`] does: made of Burn's, with its parameters and
/// [quantisers](super::WeightQuantizer::on) under the same paths.
///
/// The type of a module's field is fixed where the module is declared, so that no pass over a module can put this layer in the place of Burn's: its field has this
/// type, and `init` ends in `.into()`. A module that stays as it is calls [`convolve`], or is computed by its graph
/// ([`GraphNet`](crate::models::GraphNet)), which uses these kernels for every convolution.
///
/// ```
/// use burn::nn::{PaddingConfig2d, conv::Conv2dConfig};
/// use burn::tensor::{Device, Tensor};
/// use vwc_sdk::quant::{Conv2d, convolve};
///
/// let device = Device::default();
/// let burns = Conv2dConfig::new([8, 8], [3, 3]).with_groups(8).with_padding(PaddingConfig2d::Same).init(&device);
/// let layer = Conv2d::from(burns.clone());
/// let x = Tensor::<4>::ones([1, 8, 6, 6], &device);
/// assert_eq!(layer.forward(x.clone()).into_data(), convolve(&burns, x).into_data());
/// ```
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[channels_out, channels_in / groups, kernel_height, kernel_width]`
    pub weight: Param<Tensor<4>>,
    /// `[channels_out]`
    pub bias: Option<Param<Tensor<1>>>,
    /// From one output to the next: down and across.
    pub stride: [usize; 2],
    /// Height and width of the kernel.
    pub kernel_size: [usize; 2],
    /// From one place of the kernel to the next.
    pub dilation: [usize; 2],
    /// Groups of channels.
    pub groups: usize,
    /// Zeros around the input.
    #[module(skip)]
    pub padding: PaddingConfig2d,
}

impl From<nn::conv::Conv2d> for Conv2d {
    fn from(conv: nn::conv::Conv2d) -> Self {
        Self {
            weight: conv.weight,
            bias: conv.bias,
            stride: conv.stride,
            kernel_size: conv.kernel_size,
            dilation: conv.dilation,
            groups: conv.groups,
            padding: conv.padding,
        }
    }
}

impl Conv2d {
    /// As [`convolve`].
    ///
    /// # Shapes
    ///
    /// - `x`: `[batch, channels_in, height_in, width_in]`
    /// - output: `[batch, channels_out, height_out, width_out]`
    ///
    /// # Panics
    ///
    /// As [`convolve`].
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let places = Places {
            kernel: self.kernel_size,
            stride: self.stride,
            dilation: self.dilation,
            groups: self.groups,
            padding: &self.padding,
        };
        places.convolve(&self.weight, self.bias.as_ref(), x)
    }
}

/// Where a convolution reads.
struct Places<'a> {
    kernel: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
    padding: &'a PaddingConfig2d,
}

impl Places<'_> {
    fn convolve(
        &self,
        weight: &Param<Tensor<4>>,
        bias: Option<&Param<Tensor<1>>>,
        x: Tensor<4>,
    ) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let sides = match *self.padding {
            PaddingConfig2d::Valid => [(0, 0); 2],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
            PaddingConfig2d::Same => [(0, height), (1, width)].map(|(axis, size)| self.same(axis, size)),
        };
        let options = ConvOptions::new_with_padding(self.stride, sides, self.dilation, self.groups);
        conv2d_with(x, weight.val(), bias.map(Param::val), &options)
    }

    /// Padding before and behind along an axis with which there are `size / stride` places, rounded up, the odd one behind: as
    /// [`PaddingConfig2d::Same`] has it.
    fn same(&self, axis: usize, size: usize) -> (usize, usize) {
        let (kernel, stride) = (self.kernel[axis], self.stride[axis]);
        let places = size.div_ceil(stride);
        let all = (places.saturating_sub(1) * stride + kernel).saturating_sub(size);
        (all / 2, all - all / 2)
    }
}
