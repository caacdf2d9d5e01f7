//! General steps that multiply by no weights: operations on every number, windows, sums along dimensions, and numbers at other places.

use std::ops::Range;

use super::functions::value;
use crate::graph::{self, Binary, Function, Reduction};
use crate::packed::machine::{Lanes, on_machine};
use crate::packed::spec::ValueId;

/// Floats at a time in an operation on every number: they stay in the cache from one to the next.
const CHUNK: usize = 1 << 11;

/// An operation on every number.
#[derive(Debug)]
pub(in crate::packed) enum Each {
    /// With one number.
    Number(Binary, f32),
    /// With one number for each channel.
    Channels(Binary, Vec<f32>),
    Function(Function),
}

impl Each {
    /// Numbers that it holds.
    pub fn len(&self) -> usize {
        match self {
            Self::Channels(_, numbers) => numbers.len(),
            _ => 1,
        }
    }
}

on_machine!(map_numbers = map_rows(with: &[Each], channels: usize, out: &mut [f32]));
on_machine!(encode = encode_numbers(unit: f32, ends: [i16; 2], x: &[f32], out: &mut [i16]));
on_machine!(run_pool = pool_rows(pool: &Pool, rows: Range<usize>, x: &[f32], out: &mut [f32]));

#[inline(always)]
fn map_rows<M: Lanes>(with: &[Each], channels: usize, out: &mut [f32]) {
    for out in out.chunks_mut((CHUNK / channels).max(1) * channels) {
        for each in with {
            match each {
                Each::Number(op, number) => {
                    for x in &mut *out {
                        *x = op.of(*x, *number);
                    }
                }
                Each::Channels(op, numbers) => {
                    for pixel in out.chunks_exact_mut(channels) {
                        for (x, &number) in pixel.iter_mut().zip(numbers) {
                            *x = op.of(*x, number);
                        }
                    }
                }
                Each::Function(function) => map_function(*function, out),
            }
        }
    }
}

/// A function of every number. Those of a few instructions are known where they are compiled, so that a vector is computed at once.
#[inline(always)]
fn map_function(function: Function, out: &mut [f32]) {
    match function {
        Function::Relu => map_all(out, |x| value(Function::Relu, x)),
        Function::Clamp { min, max } => map_all(out, |x| value(Function::Clamp { min, max }, x)),
        Function::LeakyRelu { slope } => map_all(out, |x| value(Function::LeakyRelu { slope }, x)),
        Function::HardSwish { alpha, beta } => {
            map_all(out, |x| value(Function::HardSwish { alpha, beta }, x));
        }
        Function::Round => map_all(out, |x| value(Function::Round, x)),
        other => map_all(out, |x| value(other, x)),
    }
}

#[inline(always)]
fn map_all(out: &mut [f32], function: impl Fn(f32) -> f32) {
    for x in out {
        *x = function(*x);
    }
}

/// Multiples of a unit as integers.
#[inline(always)]
fn encode_numbers<M: Lanes>(unit: f32, [low, high]: [i16; 2], x: &[f32], out: &mut [i16]) {
    let (low, high) = (f32::from(low), f32::from(high));
    for (out, x) in out.iter_mut().zip(x) {
        *out = (x / unit).round_ties_even().clamp(low, high) as i32 as i16;
    }
}

/// Windows, and the map that they are taken of.
#[derive(Debug)]
pub(in crate::packed) struct Pool {
    pub window: graph::Pool,
    /// Whether it is the mean, and whether places outside count as zeros.
    pub mean: Option<bool>,
    pub input: [usize; 2],
    pub channels: usize,
    /// Width of the result.
    pub across: usize,
}

/// The first element of a window that lies within the map along one side, and the one behind the last.
#[inline(always)]
fn within(window: &graph::Pool, side: usize, size: usize, at: usize) -> Range<usize> {
    let (kernel, gap) = (window.kernel[side], window.dilation[side]);
    let begin = at * window.stride[side];
    let before = window.padding[side];
    let first = before.saturating_sub(begin).div_ceil(gap).min(kernel);
    let end = (size + before).saturating_sub(begin).div_ceil(gap).min(kernel);
    first..end.max(first)
}

#[inline(always)]
fn pool_rows<M: Lanes>(pool: &Pool, rows: Range<usize>, x: &[f32], out: &mut [f32]) {
    let Pool {
        window,
        mean,
        input: [height, width],
        channels,
        across,
    } = *pool;
    // Of the window, how much lies within the padded map.
    let padded = |side: usize, size: usize, at: usize| {
        let left = (size + 2 * window.padding[side]).saturating_sub(at * window.stride[side]);
        left.min(window.kernel[side])
    };
    for (y, line) in rows.zip(out.chunks_exact_mut(across * channels)) {
        let down = within(&window, 0, height, y);
        for (column, out) in line.chunks_exact_mut(channels).enumerate() {
            let wide = within(&window, 1, width, column);
            out.fill(if mean.is_some() { 0.0 } else { f32::NEG_INFINITY });
            for row in down.clone() {
                let from_y = y * window.stride[0] + row * window.dilation[0] - window.padding[0];
                for tap in wide.clone() {
                    let from_x = column * window.stride[1] + tap * window.dilation[1] - window.padding[1];
                    let pixel = &x[(from_y * width + from_x) * channels..][..channels];
                    if mean.is_some() {
                        for (sum, &x) in out.iter_mut().zip(pixel) {
                            *sum += x;
                        }
                    } else {
                        for (largest, &x) in out.iter_mut().zip(pixel) {
                            *largest = if x > *largest { x } else { *largest };
                        }
                    }
                }
            }
            if let Some(count_padding) = mean {
                let count = if count_padding {
                    padded(0, height, y) * padded(1, width, column)
                } else {
                    down.len() * wide.len()
                };
                let count = count.max(1) as f32;
                for sum in out {
                    *sum /= count;
                }
            }
        }
    }
}

/// The means of windows that share a map of `size` among the places of `out`.
pub(super) fn spread_pool(x: &[f32], size: [usize; 2], channels: usize, rows: Range<usize>, out: &mut [f32]) {
    let [height, width] = size;
    let count = rows.len();
    let across = out.len() / count / channels;
    let share =
        |at: usize, places: usize, size: usize| at * size / places..((at + 1) * size).div_ceil(places);
    for (y, line) in out.chunks_exact_mut(across * channels).enumerate() {
        let down = share(y, count, height);
        for (column, out) in line.chunks_exact_mut(channels).enumerate() {
            let wide = share(column, across, width);
            out.fill(0.0);
            for row in down.clone() {
                for at in wide.clone() {
                    for (sum, &x) in out
                        .iter_mut()
                        .zip(&x[(row * width + at) * channels..][..channels])
                    {
                        *sum += x;
                    }
                }
            }
            let count = (down.len() * wide.len()) as f32;
            for sum in out {
                *sum /= count;
            }
        }
    }
}

/// Numbers as three dimensions, of which the middle one is reduced.
pub(super) type Split = [usize; 3];

pub(super) fn reduce(kind: Reduction, [_, len, inner]: Split, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(len * inner).zip(out.chunks_exact_mut(inner)) {
        out.copy_from_slice(&x[..inner]);
        for x in x.chunks_exact(inner).skip(1) {
            match kind {
                Reduction::Mean | Reduction::Sum => combine(Binary::Add, x, out),
                Reduction::Max => combine(Binary::Max, x, out),
            }
        }
        if kind == Reduction::Mean {
            for sum in out {
                *sum /= len as f32;
            }
        }
    }
}

fn combine(op: Binary, x: &[f32], out: &mut [f32]) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = op.of(*out, x);
    }
}

pub(super) fn softmax([_, len, inner]: Split, log: bool, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks_exact(len * inner).zip(out.chunks_exact_mut(len * inner)) {
        for at in 0..inner {
            let along = || x[at..].iter().step_by(inner);
            let largest = along().fold(f32::NEG_INFINITY, |largest, &x| largest.max(x));
            let sum: f32 = along().map(|x| (x - largest).exp()).sum();
            for (out, x) in out[at..].iter_mut().step_by(inner).zip(along()) {
                let x = x - largest;
                *out = if log { x - sum.ln() } else { x.exp() / sum };
            }
        }
    }
}

/// Two values, number by number.
#[derive(Debug)]
pub(in crate::packed) struct Paired {
    pub op: Binary,
    pub other: ValueId,
    /// Sizes and, of both values, the steps of each dimension of the result.
    pub dims: Vec<[usize; 3]>,
    pub start: [usize; 2],
}

pub(super) fn pair(paired: &Paired, [a, b]: [&[f32]; 2], out: &mut [f32]) {
    pair_along(
        paired.op,
        &paired.dims,
        [&a[paired.start[0]..], &b[paired.start[1]..]],
        out,
    );
}

fn pair_along(op: Binary, dims: &[[usize; 3]], [a, b]: [&[f32]; 2], out: &mut [f32]) {
    match dims {
        [] => out[0] = op.of(a[0], b[0]),
        &[[_, 1, 1]] => {
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = op.of(a, b);
            }
        }
        &[[_, 1, 0]] => {
            for (out, &a) in out.iter_mut().zip(a) {
                *out = op.of(a, b[0]);
            }
        }
        &[[_, a_step, b_step]] => {
            for (n, out) in out.iter_mut().enumerate() {
                *out = op.of(a[n * a_step], b[n * b_step]);
            }
        }
        &[[size, a_step, b_step], ref rest @ ..] => {
            let inner = out.len() / size;
            for (n, out) in out.chunks_exact_mut(inner).enumerate() {
                pair_along(op, rest, [&a[n * a_step..], &b[n * b_step..]], out);
            }
        }
    }
}

/// Numbers of several values at other places.
#[derive(Debug)]
pub(in crate::packed) struct Copied {
    pub fill: Option<f32>,
    pub parts: Vec<CopiedPart>,
}

#[derive(Debug)]
pub(in crate::packed) struct CopiedPart {
    pub input: ValueId,
    /// Sizes, and the steps of each dimension in the input and in the result.
    pub dims: Vec<[usize; 3]>,
    /// In the input and in the result.
    pub start: [usize; 2],
}

pub(super) fn copy<'a>(copied: &Copied, floats: impl Fn(ValueId) -> &'a [f32], out: &mut [f32]) {
    if let Some(fill) = copied.fill {
        out.fill(fill);
    }
    for part in &copied.parts {
        let [from, to] = part.start;
        copy_along(&part.dims, &floats(part.input)[from..], &mut out[to..]);
    }
}

fn copy_along(dims: &[[usize; 3]], x: &[f32], out: &mut [f32]) {
    match dims {
        [] => out[0] = x[0],
        &[[size, 1, 1]] => out[..size].copy_from_slice(&x[..size]),
        &[[size, from, to]] => {
            for n in 0..size {
                out[n * to] = x[n * from];
            }
        }
        &[[size, from, to], ref rest @ ..] => {
            for n in 0..size {
                copy_along(rest, &x[n * from..], &mut out[n * to..]);
            }
        }
    }
}
