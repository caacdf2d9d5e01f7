//! Convolutions whose channels are split into groups, with their gradients: one convolution after the other, and channels with a
//! kernel each at once.

use super::buffer::Buffer;
use super::conv::{self, OutputGradient};
use super::depthwise;
use super::integer::OnGrid;
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

/// `out = conv(x, weight) + bias`, as [`conv::forward`]. Channels with a kernel each are computed on floats: what their time goes into is
/// reading and writing.
///
/// * `weight`: `[channels_out, channels_in / groups, kernel_height, kernel_width]`
pub fn forward(
    shape: &ConvShape,
    groups: usize,
    x: Pictures<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    grid: Option<OnGrid<'_>>,
    out: &mut [f32],
) {
    match way(shape, groups) {
        Way::Whole => conv::forward(shape, x, weight, bias, grid, out),
        Way::Depthwise => depthwise::forward(shape, x, weight, bias, out),
        Way::Apart(group) => {
            let [inputs, outputs] = group.channels;
            let mut part = Buffer::unwritten(out.len() / groups);
            for (n, weight) in weight.chunks_exact(weight.len() / groups).enumerate() {
                let filters = n * outputs..(n + 1) * outputs;
                let grid = grid.map(|grid| grid.of(filters.clone()));
                let bias = bias.map(|bias| &bias[filters]);
                conv::forward(&group, of_group(x, n, inputs), weight, bias, grid, &mut part);
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

#[cfg(test)]
mod tests {
    use super::super::integer::{Grid, Grids, Units};
    use super::super::pictures::channels_last;
    use super::*;

    /// Numbers from -1 to 1, the same every time.
    fn noise(count: usize) -> impl Iterator<Item = f64> {
        (0..count).map(|n| (n as f64 * 1.7).sin())
    }

    /// Codes are summed up exactly; a picture with another number among them is computed on floats.
    #[test]
    fn pictures_of_codes_are_computed_on_integers() {
        for (groups, kernel, dilation) in [(1, 1, 1), (1, 3, 1), (2, 3, 2), (4, 1, 1)] {
            let shape = ConvShape {
                batch: 3,
                input: [9, 8],
                channels: [12, 20],
                kernel: [kernel; 2],
                stride: [1, 1],
                padding: [(kernel / 2, kernel / 2); 2],
                dilation: [dilation; 2],
            };
            let what = format!("{groups} groups of {kernel}x{kernel}, dilation {dilation}");
            let [inputs, outputs] = shape.channels.map(|channels| channels / groups);
            let units: Vec<f32> = (0..20).map(|filter| 0.01 + filter as f32 / 128.0).collect();
            let bias: Vec<f32> = noise(20).map(|x| x as f32).collect();
            let codes = |count, [least, most]: [f64; 2]| -> Vec<f64> {
                let middle = (least + most) / 2.0;
                noise(count)
                    .map(|x| (middle + x * (most - least) / 2.0).round())
                    .collect()
            };
            let of_filter = inputs * kernel * kernel;
            let weight = codes(20 * of_filter, [-8.0, 7.0]);
            let x = codes(3 * 72 * 12, [-3.0, 12.0]);
            let step = 0.3f32;
            let grids = Grids {
                input: Grid {
                    per_one: 1.0 / step,
                    step: Some(step),
                    ends: [-3, 12],
                },
                units: Units::Known(units.clone()),
                weight: [-8, 7],
            };
            let floats: Vec<f32> = weight
                .iter()
                .enumerate()
                .map(|(at, code)| *code as f32 * units[at / of_filter])
                .collect();
            let mut maps: Vec<f32> = x.iter().map(|code| *code as f32 * step).collect();
            // Of the second picture, one number that is no code.
            maps[72 * 12 + 500] += 0.1;
            let pictures = Pictures {
                data: &maps,
                strides: channels_last(12, shape.input),
            };
            let grid = OnGrid {
                grids: &grids,
                units: &units,
            };
            let [height, width] = shape.output();
            let mut out = vec![f32::NAN; 3 * height * width * 20];
            forward(
                &shape,
                groups,
                pictures,
                &floats,
                Some(&bias),
                Some(grid),
                &mut out,
            );

            let mut exact = [0, 0];
            for (at, &found) in out.iter().enumerate() {
                let (filter, column, row) = (at % 20, at / 20 % width, at / 20 / width % height);
                let picture = at / 20 / width / height;
                let (mut sum, mut of_codes) = (f64::from(bias[filter]), 0.0);
                for tap in 0..of_filter {
                    let (input, place) = (tap / (kernel * kernel), tap % (kernel * kernel));
                    let down = row + place / kernel * dilation;
                    let right = column + place % kernel * dilation;
                    let (Some(down), Some(right)) =
                        (down.checked_sub(kernel / 2), right.checked_sub(kernel / 2))
                    else {
                        continue;
                    };
                    if down < 9 && right < 8 {
                        let from =
                            ((picture * 9 + down) * 8 + right) * 12 + filter / outputs * inputs + input;
                        sum += f64::from(maps[from]) * f64::from(floats[filter * of_filter + tap]);
                        of_codes += x[from] * weight[filter * of_filter + tap];
                    }
                }
                assert!((f64::from(found) - sum).abs() < 1e-4, "{what}: {found} {sum}");
                let expected = of_codes as f32 * (units[filter] * step) + bias[filter];
                exact[usize::from(picture == 1)] += usize::from(found == expected);
            }
            let of_picture = height * width * 20;
            #[cfg(target_arch = "x86_64")]
            if is_x86_feature_detected!("avx2") {
                // Of a product, blocks of rows are looked at, so that the second picture has exact sums, too.
                assert_eq!(exact[0], 2 * of_picture, "{what}");
            }
            assert!(exact[1] < of_picture, "{what}");
        }
    }
}
