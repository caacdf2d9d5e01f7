//! Convolutions of any geometry, of floats and of integers, position by position. Channels lie side by side.

use std::ops::Range;

use crate::packed::machine::{Lanes, on_machine};
use crate::packed::spec::Geometry;

/// Height, width and channels.
pub(super) type Shape = [usize; 3];

/// A convolution of floats, or a transposed one.
#[derive(Debug)]
pub(in crate::packed) struct Conv {
    pub geometry: Geometry,
    pub transposed: bool,
    pub input: Shape,
    pub output: Shape,
    /// `[kernel row, kernel column, input of the group, output]`.
    pub weights: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

/// A convolution of integers.
#[derive(Debug)]
pub(in crate::packed) struct IntegerConv {
    pub geometry: Geometry,
    pub input: Shape,
    pub output: Shape,
    pub outputs: usize,
    /// `[output, kernel row, kernel column, input of the group]`; of one input a group `[kernel row, kernel column, output]`.
    pub weights: Vec<i16>,
    /// Of each output.
    pub units: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

on_machine!(run_conv = conv_rows(conv: &Conv, rows: Range<usize>, x: &[f32], out: &mut [f32]));
on_machine!(run_integers = integer_rows(conv: &IntegerConv, rows: Range<usize>, x: &[i16], out: &mut [f32], sums: &mut Vec<i32>));

/// The place in the input, along one side, of a kernel element of an output place; `None` outside.
#[inline(always)]
fn place(
    geometry: &Geometry,
    side: usize,
    transposed: bool,
    size: usize,
    at: usize,
    tap: usize,
) -> Option<usize> {
    let (stride, before) = (geometry.stride[side], geometry.padding[2 * side]);
    let gap = tap * geometry.dilation[side];
    let place = if transposed {
        let from = (at + before).checked_sub(gap)?;
        if !from.is_multiple_of(stride) {
            return None;
        }
        from / stride
    } else {
        (at * stride + gap).checked_sub(before)?
    };
    (place < size).then_some(place)
}

/// Of every position and output the sum of products, from the bias on, kernel row by row, from left to right, channel by channel, each
/// with one rounding: the order of the fused step.
#[inline(always)]
fn conv_rows<M: Lanes>(conv: &Conv, rows: Range<usize>, x: &[f32], out: &mut [f32]) {
    let Conv {
        geometry,
        transposed,
        input: [height, width, channels],
        output: [_, across, outputs],
        ..
    } = *conv;
    let [down, wide] = geometry.kernel;
    let tap = channels / geometry.groups * outputs;
    for (y, line) in rows.zip(out.chunks_exact_mut(across * outputs)) {
        for (column, sums) in line.chunks_exact_mut(outputs).enumerate() {
            match &conv.bias {
                Some(bias) => sums.copy_from_slice(bias),
                None => sums.fill(0.0),
            }
            for row in 0..down {
                let Some(from_y) = place(&geometry, 0, transposed, height, y, row) else {
                    continue;
                };
                for kernel_column in 0..wide {
                    let Some(from_x) = place(&geometry, 1, transposed, width, column, kernel_column) else {
                        continue;
                    };
                    let pixel = &x[(from_y * width + from_x) * channels..][..channels];
                    let weights = &conv.weights[(row * wide + kernel_column) * tap..][..tap];
                    add_products(pixel, weights, geometry.groups, sums);
                }
            }
        }
    }
}

/// Adds the products of one pixel and one kernel element.
#[inline(always)]
fn add_products(pixel: &[f32], weights: &[f32], groups: usize, sums: &mut [f32]) {
    if pixel.len() == groups && sums.len() == groups {
        for ((sum, &x), &weight) in sums.iter_mut().zip(pixel).zip(weights) {
            *sum = x.mul_add(weight, *sum);
        }
        return;
    }
    let (inputs, outputs, all) = (pixel.len() / groups, sums.len() / groups, sums.len());
    for (group, (pixel, sums)) in pixel
        .chunks_exact(inputs)
        .zip(sums.chunks_exact_mut(outputs))
        .enumerate()
    {
        for (input, &x) in pixel.iter().enumerate() {
            let weights = &weights[input * all + group * outputs..][..outputs];
            for (sum, &weight) in sums.iter_mut().zip(weights) {
                *sum = x.mul_add(weight, *sum);
            }
        }
    }
}

/// `sum * unit + bias` of every position and output.
#[inline(always)]
fn integer_rows<M: Lanes>(
    conv: &IntegerConv,
    rows: Range<usize>,
    x: &[i16],
    out: &mut [f32],
    sums: &mut Vec<i32>,
) {
    let [_, across, outputs] = conv.output;
    sums.resize(outputs, 0);
    let sums = &mut sums[..outputs];
    for (y, line) in rows.zip(out.chunks_exact_mut(across * outputs)) {
        for (column, out) in line.chunks_exact_mut(outputs).enumerate() {
            sums.fill(0);
            if conv.input[2] == conv.geometry.groups {
                sum_apart(conv, [y, column], x, sums);
            } else {
                sum_together(conv, [y, column], x, sums);
            }
            for ((out, &sum), &unit) in out.iter_mut().zip(&*sums).zip(&conv.units) {
                *out = sum as f32 * unit;
            }
            if let Some(bias) = &conv.bias {
                for (out, &bias) in out.iter_mut().zip(bias) {
                    *out += bias;
                }
            }
        }
    }
}

/// The sums of one position where each group has one input.
#[inline(always)]
fn sum_apart(conv: &IntegerConv, [y, column]: [usize; 2], x: &[i16], sums: &mut [i32]) {
    let geometry = &conv.geometry;
    let [height, width, channels] = conv.input;
    let [down, wide] = geometry.kernel;
    let outputs = sums.len() / channels;
    for row in 0..down {
        let Some(from_y) = place(geometry, 0, false, height, y, row) else {
            continue;
        };
        for kernel_column in 0..wide {
            let Some(from_x) = place(geometry, 1, false, width, column, kernel_column) else {
                continue;
            };
            let pixel = &x[(from_y * width + from_x) * channels..][..channels];
            let weights = &conv.weights[(row * wide + kernel_column) * sums.len()..][..sums.len()];
            if outputs == 1 {
                for ((sum, &x), &weight) in sums.iter_mut().zip(pixel).zip(weights) {
                    *sum += i32::from(x) * i32::from(weight);
                }
                continue;
            }
            let groups = sums.chunks_exact_mut(outputs).zip(weights.chunks_exact(outputs));
            for ((sums, weights), &x) in groups.zip(pixel) {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum += i32::from(x) * i32::from(weight);
                }
            }
        }
    }
}

/// The sums of one position where groups have several inputs.
#[inline(always)]
fn sum_together(conv: &IntegerConv, [y, column]: [usize; 2], x: &[i16], sums: &mut [i32]) {
    let geometry = &conv.geometry;
    let [height, width, channels] = conv.input;
    let [down, wide] = geometry.kernel;
    let inputs = channels / geometry.groups;
    let filter = down * wide * inputs;
    let outputs = sums.len() / geometry.groups;
    // Pixels under a row of the kernel lie side by side where there is neither a gap nor a group between them.
    let [first, end] = columns(geometry, width, column);
    let runs = geometry.groups == 1 && geometry.dilation[1] == 1;
    for row in 0..down {
        let Some(from_y) = place(geometry, 0, false, height, y, row) else {
            continue;
        };
        let line = &x[from_y * width * channels..][..width * channels];
        for (group, sums) in sums.chunks_exact_mut(outputs).enumerate() {
            for (n, sum) in sums.iter_mut().enumerate() {
                let weights =
                    &conv.weights[(group * outputs + n) * filter + row * wide * inputs..][..wide * inputs];
                if runs && first < end {
                    let from = column * geometry.stride[1] + first - geometry.padding[2];
                    let len = (end - first) * inputs;
                    *sum += products(&line[from * inputs..][..len], &weights[first * inputs..][..len]);
                } else {
                    for kernel_column in first..end {
                        let from = column * geometry.stride[1] + kernel_column * geometry.dilation[1]
                            - geometry.padding[2];
                        let pixel = &line[from * channels + group * inputs..][..inputs];
                        *sum += products(pixel, &weights[kernel_column * inputs..][..inputs]);
                    }
                }
            }
        }
    }
}

/// The kernel columns that lie within the map at an output column: the first, and the one behind the last.
#[inline(always)]
fn columns(geometry: &Geometry, width: usize, column: usize) -> [usize; 2] {
    let within = |tap: &usize| place(geometry, 1, false, width, column, *tap).is_some();
    let wide = geometry.kernel[1];
    let first = (0..wide).find(within).unwrap_or(wide);
    let end = (first..wide).rev().find(within).map_or(first, |last| last + 1);
    [first, end]
}

/// The sum of products.
#[inline(always)]
fn products(x: &[i16], weights: &[i16]) -> i32 {
    let mut sum = 0;
    for (&x, &weight) in x.iter().zip(weights) {
        sum += i32::from(x) * i32::from(weight);
    }
    sum
}
