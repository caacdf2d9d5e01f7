//! Convolutions whose every channel has a kernel of its own, with their gradients: sums over the places of a kernel, for as many
//! channels at once as a vector has numbers.

use macerator::{Simd, Vector};
use rayon::prelude::*;

use super::pictures::{Frame, Pictures};
use super::shape::ConvShape;
use super::tile::{Splat, load, store};

/// A pass over framed pictures, channels last.
struct Pass {
    channels: usize,
    /// From one row of a framed picture to the next.
    pitch: usize,
    /// Output height and width.
    output: [usize; 2],
    stride: [usize; 2],
    /// For each place of the kernel how far behind its first place it is, in a framed picture.
    places: Vec<usize>,
}

impl Pass {
    fn new(shape: &ConvShape, frame: Frame) -> Self {
        let channels = shape.channels[0];
        let pitch = (frame.left + shape.input[1] + frame.right) * channels;
        let [down, across] = shape.kernel;
        let [by_row, by_column] = [shape.dilation[0] * pitch, shape.dilation[1] * channels];
        let places =
            (0..down).flat_map(|row| (0..across).map(move |column| row * by_row + column * by_column));
        Self {
            channels,
            pitch,
            output: shape.output(),
            stride: shape.stride,
            places: places.collect(),
        }
    }

    /// Where an output row begins to read, and where it lies in the output.
    fn row(&self, row: usize) -> (usize, usize) {
        (
            row * self.stride[0] * self.pitch,
            row * self.output[1] * self.channels,
        )
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }
}

/// `[channels, 1, kernel_height, kernel_width]` as a row of channels for each place of the kernel, in this order of places.
fn by_place(weight: &[f32], channels: usize, places: impl Iterator<Item = usize>) -> Vec<f32> {
    let all = weight.len() / channels;
    places
        .flat_map(|place| (0..channels).map(move |channel| weight[channel * all + place]))
        .collect()
}

/// `out = conv(x, weight) + bias`.
///
/// * `weight`: `[channels, 1, kernel_height, kernel_width]`
/// * `out`: `[batch, height_out, width_out, channels]`
pub(super) fn forward(
    shape: &ConvShape,
    x: Pictures<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let weights = by_place(weight, shape.channels[0], 0..shape.kernel[0] * shape.kernel[1]);
    convolve(shape, Frame::of_padding(shape.padding), x, &weights, bias, out);
}

fn convolve(
    shape: &ConvShape,
    frame: Frame,
    x: Pictures<'_>,
    weights: &[f32],
    bias: Option<&[f32]>,
    out: &mut [f32],
) {
    let pass = Pass::new(shape, frame);
    let start = bias.map_or_else(|| vec![0.0; pass.channels], <[f32]>::to_vec);
    let framed = frame.len(pass.channels, shape.input);
    out.par_chunks_exact_mut(pass.output_len())
        .enumerate()
        .for_each_init(
            || vec![0.0; framed],
            |scratch, (n, out)| {
                x.copy_framed(n, pass.channels, shape.input, frame, scratch);
                picture(&pass, scratch, weights, &start, out);
            },
        );
}

#[macerator::with_simd]
fn picture<S: Simd>(pass: &Pass, x: &[f32], weights: &[f32], start: &[f32], out: &mut [f32]) {
    let lanes = S::lanes32();
    for row in 0..pass.output[0] {
        let (from, to) = pass.row(row);
        let (x, out) = (&x[from..], &mut out[to..][..pass.output[1] * pass.channels]);
        for first in (0..pass.channels).step_by(lanes) {
            if pass.channels - first < lanes {
                some_channels(pass, first, x, weights, start, out);
                continue;
            }
            match pass.places.len() {
                9 => vectors::<S, 9>(pass, first, x, weights, start, out),
                25 => vectors::<S, 25>(pass, first, x, weights, start, out),
                _ => any_vectors::<S>(pass, first, x, weights, start, out),
            }
        }
    }
}

/// A vector of channels of an output row, with `PLACES` weights in registers.
#[inline(always)]
fn vectors<S: Simd, const PLACES: usize>(
    pass: &Pass,
    first: usize,
    x: &[f32],
    weights: &[f32],
    start: &[f32],
    out: &mut [f32],
) {
    let step = pass.stride[1] * pass.channels;
    let places: &[usize; PLACES] = pass.places[..].try_into().expect("counted");
    let weights: [Vector<S, f32>; PLACES] =
        std::array::from_fn(|place| load(&weights[place * pass.channels + first..], 0));
    let start = load::<S>(&start[first..], 0);
    for column in 0..pass.output[1] {
        let x = &x[column * step + first..];
        let mut sum = start;
        for (&place, &weight) in places.iter().zip(&weights) {
            sum = load::<S>(&x[place..], 0).mul_add(weight, sum);
        }
        store(&mut out[column * pass.channels + first..], 0, sum);
    }
}

/// As [`vectors`], of any kernel.
#[inline(always)]
fn any_vectors<S: Simd>(
    pass: &Pass,
    first: usize,
    x: &[f32],
    weights: &[f32],
    start: &[f32],
    out: &mut [f32],
) {
    let step = pass.stride[1] * pass.channels;
    let start = load::<S>(&start[first..], 0);
    for column in 0..pass.output[1] {
        let x = &x[column * step + first..];
        let mut sum = start;
        for (n, &place) in pass.places.iter().enumerate() {
            let weight = load::<S>(&weights[n * pass.channels + first..], 0);
            sum = load::<S>(&x[place..], 0).mul_add(weight, sum);
        }
        store(&mut out[column * pass.channels + first..], 0, sum);
    }
}

/// The channels from `first` on, fewer than a vector has.
#[inline(always)]
fn some_channels(pass: &Pass, first: usize, x: &[f32], weights: &[f32], start: &[f32], out: &mut [f32]) {
    let step = pass.stride[1] * pass.channels;
    for column in 0..pass.output[1] {
        for channel in first..pass.channels {
            let mut sum = start[channel];
            for (n, &place) in pass.places.iter().enumerate() {
                let weight = weights[n * pass.channels + channel];
                sum = x[column * step + channel + place].mul_add(weight, sum);
            }
            out[column * pass.channels + channel] = sum;
        }
    }
}

/// The gradient of the input from that of the output, `dy`.
///
/// `out`: `[batch, height_in, width_in, channels]`.
pub(super) fn backward_input(shape: &ConvShape, dy: Pictures<'_>, weight: &[f32], out: &mut [f32]) {
    let channels = shape.channels[0];
    let places = shape.kernel[0] * shape.kernel[1];
    let inside = (0..2).all(|d| shape.padding[d].0.max(shape.padding[d].1) < shape.span(d));
    if shape.stride == [1, 1] && inside {
        // The same with the kernel turned round.
        let weights = by_place(weight, channels, (0..places).rev());
        let padding = [0, 1].map(|d| {
            let (before, behind) = shape.padding[d];
            (shape.span(d) - 1 - before, shape.span(d) - 1 - behind)
        });
        let turned = ConvShape {
            input: shape.output(),
            padding,
            ..*shape
        };
        return convolve(&turned, Frame::of_padding(padding), dy, &weights, None, out);
    }
    let frame = Frame::of_padding(shape.padding);
    let pass = Pass::new(shape, frame);
    let weights = by_place(weight, channels, 0..places);
    let len = channels * shape.input[0] * shape.input[1];
    out.par_chunks_exact_mut(len).enumerate().for_each_init(
        || {
            (
                vec![0.0; pass.output_len()],
                vec![0.0; frame.len(channels, shape.input)],
            )
        },
        |(dy_last, framed), (n, out)| {
            dy.copy_framed(n, channels, pass.output, Frame::default(), dy_last);
            framed.fill(0.0);
            spread(&pass, dy_last, &weights, framed);
            let width = shape.input[1] * channels;
            for (row, out) in out.chunks_exact_mut(width).enumerate() {
                let from = (frame.top + row) * pass.pitch + frame.left * channels;
                out.copy_from_slice(&framed[from..][..width]);
            }
        },
    );
}

/// Adds what each output's gradient gives to the inputs that it was computed of.
#[macerator::with_simd]
fn spread<S: Simd>(pass: &Pass, dy: &[f32], weights: &[f32], framed: &mut [f32]) {
    let step = pass.stride[1] * pass.channels;
    for row in 0..pass.output[0] {
        let (to, from) = pass.row(row);
        for column in 0..pass.output[1] {
            let dy = &dy[from + column * pass.channels..][..pass.channels];
            for (&place, weights) in pass.places.iter().zip(weights.chunks_exact(pass.channels)) {
                let framed = &mut framed[to + column * step + place..][..pass.channels];
                for ((sum, &dy), &weight) in framed.iter_mut().zip(dy).zip(weights) {
                    *sum = dy.mul_add(weight, *sum);
                }
            }
        }
    }
}

/// The gradient of the weights, `[channels, 1, kernel_height, kernel_width]`. The order of summation depends on the shape alone.
pub(super) fn backward_weight(shape: &ConvShape, x: Pictures<'_>, dy: Pictures<'_>, out: &mut [f32]) {
    let frame = Frame::of_padding(shape.padding);
    let pass = Pass::new(shape, frame);
    let (channels, places) = (pass.channels, pass.places.len());
    let sums: Vec<Vec<f32>> = (0..shape.batch)
        .into_par_iter()
        .map_init(
            || {
                (
                    vec![0.0; frame.len(channels, shape.input)],
                    vec![0.0; pass.output_len()],
                )
            },
            |(framed, dy_last), n| {
                x.copy_framed(n, channels, shape.input, frame, framed);
                dy.copy_framed(n, channels, pass.output, Frame::default(), dy_last);
                let mut sums = vec![0.0; places * channels];
                products(&pass, framed, dy_last, &mut sums);
                sums
            },
        )
        .collect();
    for channel in 0..channels {
        for place in 0..places {
            out[channel * places + place] = sums.iter().map(|sums| sums[place * channels + channel]).sum();
        }
    }
}

/// The sums of products of inputs and output gradients of a picture, `[places, channels]`.
#[macerator::with_simd]
fn products<S: Simd>(pass: &Pass, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    let lanes = S::lanes32();
    for row in 0..pass.output[0] {
        let (from, to) = pass.row(row);
        let (x, dy) = (&x[from..], &dy[to..]);
        for first in (0..pass.channels).step_by(lanes) {
            if pass.channels - first < lanes {
                some_products(pass, first..pass.channels, x, dy, sums);
                continue;
            }
            match pass.places.len() {
                9 => vector_products::<S, 9>(pass, first, x, dy, sums),
                25 => vector_products::<S, 25>(pass, first, x, dy, sums),
                _ => some_products(pass, first..first + lanes, x, dy, sums),
            }
        }
    }
}

#[inline(always)]
fn vector_products<S: Simd, const PLACES: usize>(
    pass: &Pass,
    first: usize,
    x: &[f32],
    dy: &[f32],
    sums: &mut [f32],
) {
    let step = pass.stride[1] * pass.channels;
    let places: &[usize; PLACES] = pass.places[..].try_into().expect("counted");
    let mut found: [Vector<S, f32>; PLACES] = [0f32.splat_as::<S>(); PLACES];
    for column in 0..pass.output[1] {
        let x = &x[column * step + first..];
        let dy = load::<S>(&dy[column * pass.channels + first..], 0);
        for (&place, sum) in places.iter().zip(&mut found) {
            *sum = load::<S>(&x[place..], 0).mul_add(dy, *sum);
        }
    }
    for (place, &sum) in found.iter().enumerate() {
        let sums = &mut sums[place * pass.channels + first..];
        let before = load::<S>(sums, 0);
        store(sums, 0, before + sum);
    }
}

/// As [`vector_products`], of any channels and any kernel.
#[inline(always)]
fn some_products(pass: &Pass, channels: std::ops::Range<usize>, x: &[f32], dy: &[f32], sums: &mut [f32]) {
    let step = pass.stride[1] * pass.channels;
    for column in 0..pass.output[1] {
        for (n, &place) in pass.places.iter().enumerate() {
            for channel in channels.clone() {
                let sum = &mut sums[n * pass.channels + channel];
                let dy = dy[column * pass.channels + channel];
                *sum = x[column * step + channel + place].mul_add(dy, *sum);
            }
        }
    }
}
