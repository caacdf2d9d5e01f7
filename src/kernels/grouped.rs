//! Convolutions whose channels are split into groups, with their gradients: one convolution after the other, and channels with a
//! kernel each at once.

use super::buffer::Buffer;
use super::conv::{self, OutputGradient};
use super::depthwise;
use super::pictures::Pictures;
use super::shape::ConvShape;

/// How a convolution of `groups` groups is computed.
enum Way {
    /// As one.
    Whole,
    /// Every channel for itself.
    Depthwise,
    /// Group by group, each of this shape.
    Apart(ConvShape),
}

fn way(shape: &ConvShape, groups: usize) -> Way {
    match groups {
        1 => Way::Whole,
        _ if shape.channels == [groups; 2] => Way::Depthwise,
        _ => Way::Apart(ConvShape {
            channels: shape.channels.map(|channels| channels / groups),
            ..*shape
        }),
    }
}

/// The channels of group `n`, `channels` in each.
fn of_group(maps: Pictures<'_>, n: usize, channels: usize) -> Pictures<'_> {
    Pictures {
        data: &maps.data[n * channels * maps.strides[1]..],
        strides: maps.strides,
    }
}

/// Writes the channels of group `n`, `channels` of `all` for each place, to their places.
fn put(from: &[f32], n: usize, [channels, all]: [usize; 2], to: &mut [f32]) {
    for (from, to) in from.chunks_exact(channels).zip(to.chunks_exact_mut(all)) {
        to[n * channels..][..channels].copy_from_slice(from);
    }
}

/// `out = conv(x, weight) + bias`, as [`conv::forward`].
///
/// * `weight`: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
pub fn forward(
    shape: &ConvShape,
    groups: usize,
    x: Pictures<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    match way(shape, groups) {
        Way::Whole => conv::forward(shape, x, weight, bias, out),
        Way::Depthwise => depthwise::forward(shape, x, weight, bias, out),
        Way::Apart(group) => {
            let [inputs, outputs] = group.channels;
            let mut part = Buffer::unwritten(out.len() / groups);
            for (n, weight) in weight.chunks_exact(weight.len() / groups).enumerate() {
                let bias = bias.map(|bias| &bias[n * outputs..][..outputs]);
                conv::forward(&group, of_group(x, n, inputs), weight, bias, &mut part);
                put(&part, n, [outputs, shape.channels[1]], out);
            }
        }
    }
}

/// The gradient of the input, as [`conv::backward_input`].
pub fn backward_input(shape: &ConvShape, groups: usize, dy: Pictures<'_>, weight: &[f32], out: &mut [f32]) {
    match way(shape, groups) {
        Way::Whole => conv::backward_input(shape, dy, weight, out),
        Way::Depthwise => depthwise::backward_input(shape, dy, weight, out),
        Way::Apart(group) => {
            let [inputs, outputs] = group.channels;
            let mut part = Buffer::unwritten(out.len() / groups);
            for (n, weight) in weight.chunks_exact(weight.len() / groups).enumerate() {
                conv::backward_input(&group, of_group(dy, n, outputs), weight, &mut part);
                put(&part, n, [inputs, shape.channels[0]], out);
            }
        }
    }
}

/// The gradient of the weights, as [`conv::backward_weight`].
pub fn backward_weight(
    shape: &ConvShape,
    groups: usize,
    x: Pictures<'_>,
    dy: OutputGradient<'_>,
    out: &mut [f32],
) {
    match (way(shape, groups), dy) {
        (Way::Depthwise, OutputGradient::Maps(dy)) => depthwise::backward_weight(shape, x, dy, out),
        (Way::Apart(group), OutputGradient::Maps(dy)) => {
            let [inputs, outputs] = group.channels;
            for (n, out) in out.chunks_exact_mut(out.len() / groups).enumerate() {
                let dy = OutputGradient::Maps(of_group(dy, n, outputs));
                conv::backward_weight(&group, of_group(x, n, inputs), dy, out);
            }
        }
        (Way::Whole, dy) => conv::backward_weight(shape, x, dy, out),
        (_, OutputGradient::Pooled(..)) => unreachable!("a pool follows whole convolutions alone"),
    }
}
