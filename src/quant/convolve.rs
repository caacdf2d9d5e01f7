//! Burn's convolution layer on this crate's kernels.

use burn::module::Param;
use burn::nn::PaddingConfig2d;
use burn::nn::conv::Conv2d;
use burn::tensor::Tensor;
use burn::tensor::ops::ConvOptions;

use super::conv2d_with;

/// What `conv.forward(x)` computes, on this crate's kernels where the device is `flex`: several times faster there, in training and in
/// evaluation, with groups, depthwise, dilation, and with any padding. Sums are in another order, so that results differ in their last digits.
///
/// A module keeps its [`Conv2d`], with its parameters and [quantisers](super::WeightQuantizer::on), and calls this in its forward
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
/// As [`Conv2d::forward`], where the shapes do not fit.
pub fn convolve(conv: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let sides = match conv.padding {
        PaddingConfig2d::Valid => [(0, 0); 2],
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Same => [(0, height), (1, width)].map(|(axis, size)| same(conv, axis, size)),
    };
    let options = ConvOptions::new_with_padding(conv.stride, sides, conv.dilation, conv.groups);
    conv2d_with(x, conv.weight.val(), conv.bias.as_ref().map(Param::val), &options)
}

/// Padding before and behind along an axis with which there are `size / stride` places, rounded up, the odd one behind: as
/// [`PaddingConfig2d::Same`] has it.
fn same(conv: &Conv2d, axis: usize, size: usize) -> (usize, usize) {
    let (kernel, stride) = (conv.kernel_size[axis], conv.stride[axis]);
    let places = size.div_ceil(stride);
    let all = (places.saturating_sub(1) * stride + kernel).saturating_sub(size);
    (all / 2, all - all / 2)
}
