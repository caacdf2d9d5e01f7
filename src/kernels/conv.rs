//! The convolution and its two gradients, as sums over register tiles.
//!
//! No matrix of unfolded inputs is ever built: with the channels last, the inputs under one row of a kernel lie side
//! by side in the picture itself.

use std::ops::Range;

use macerator::Simd;
use rayon::prelude::*;

use super::buffer::Buffer;
use super::integer::{IntegerConv, OnGrid};
use super::norm::{self, Act};
use super::pictures::{Frame, Pictures};
use super::shape::{ConvShape, Product, even_parts};
use super::tile::{self, Positions, Reads, Sweep};

/// Rows of a matrix product that one task computes.
const PRODUCT_ROWS: usize = 48;
/// Inputs of a matrix product that one task sums up the weight gradient for.
const PRODUCT_INNER: usize = 96;

/// `out = conv(x, weight) + bias`: on integers where all numbers are codes of a `grid`, in each picture, or each block of a matrix
/// product's rows, whose activations are.
///
/// * `weight`: `[channels_out, channels_in, kernel_height, kernel_width]`
/// * `out`: `[batch, height_out, width_out, channels_out]`
pub fn forward(
    shape: &ConvShape,
    x: Pictures<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    grid: Option<OnGrid<'_>>,
    out: &mut [f32],
) {
    let product = shape.as_product();
    // With a row for each picture, most of the time goes into reading the weights once.
    let worth_it = product.is_none_or(|product| product.rows > shape.batch);
    let grid = grid.filter(|_| worth_it);
    let integers = grid.and_then(|grid| IntegerConv::new(shape, weight, bias, grid));
    let all = |done: &[bool]| !done.is_empty() && done.iter().all(|&done| done);
    match product {
        Some(product) => {
            let x = x.to_channels_last(shape.batch, shape.channels[0], shape.input);
            let done = integers.map_or_else(Vec::new, |conv| multiply_codes(product, &conv, &x, out));
            if !all(&done) {
                multiply(product, &x, &Panels::of_kernel(shape, weight, bias), &done, out);
            }
        }
        None => {
            let done = integers.map_or_else(Vec::new, |conv| pictures_of_codes(shape, &conv, x, out));
            if !all(&done) {
                Pass::forward(shape, weight, bias).run(x, &done, out);
            }
        }
    }
}

/// [`multiply`] of the blocks of rows that are made of codes: whether each was.
fn multiply_codes(product: Product, conv: &IntegerConv, x: &[f32], out: &mut [f32]) -> Vec<bool> {
    out.par_chunks_mut(PRODUCT_ROWS * product.columns)
        .zip(x.par_chunks(PRODUCT_ROWS * product.inner))
        .map_init(Vec::new, |codes, (out, x)| {
            let packed = conv.pack(x, codes);
            packed.then(|| conv.multiply(codes, out));
            packed
        })
        .collect()
}

/// [`forward`] of the pictures that are made of codes: whether each was.
fn pictures_of_codes(shape: &ConvShape, conv: &IntegerConv, x: Pictures<'_>, out: &mut [f32]) -> Vec<bool> {
    let frames = Frames::forward(shape);
    let [height, width] = shape.output();
    out.par_chunks_exact_mut(height * width * shape.channels[1])
        .enumerate()
        .map_init(
            Default::default,
            |(framed, codes): &mut (Vec<f32>, Vec<u8>), (n, out)| {
                let packed = conv.pack(frames.framed(x, n, framed), codes);
                packed.then(|| conv.picture(codes, out));
                packed
            },
        )
        .collect()
}

/// Whether a picture, or a block of rows, is among those that are computed already.
fn is_done(done: &[bool], part: usize) -> bool {
    done.get(part).is_some_and(|&done| done)
}

/// As [`forward`], then a pool and an activation while the picture's feature maps are at hand: they are not kept.
///
/// * `out`: `[batch, height_out / 2, width_out / 2, channels_out]`
/// * `codes`, as many: what [`OutputGradient::Pooled`] needs to know
pub fn forward_pool(
    shape: &ConvShape,
    x: Pictures<'_>,
    weight: &[f32],
    bias: Option<&[f32]>,
    act: Act,
    out: &mut [f32],
    codes: &mut [u8],
) {
    let pass = Pass::forward(shape, weight, bias);
    let pooled = out.len() / shape.batch;
    out.par_chunks_exact_mut(pooled)
        .zip(codes.par_chunks_exact_mut(pooled))
        .enumerate()
        .for_each_init(
            Default::default,
            |(framed, maps): &mut (Vec<f32>, Vec<f32>), (n, (out, codes))| {
                maps.resize(pass.output_len(), 0.0);
                picture(&pass, pass.frames.framed(x, n, framed), maps);
                norm::pool_codes(pass.output, shape.channels[1], act, maps, out, codes);
            },
        );
}

/// The gradient of a convolution's output.
#[derive(Clone, Copy)]
pub enum OutputGradient<'a> {
    /// As it is.
    Maps(Pictures<'a>),
    /// Behind a 2x2 pool and an activation, channels last, with the codes that [`forward_pool`] left.
    Pooled(&'a [f32], &'a [u8]),
}

impl<'a> OutputGradient<'a> {
    /// The whole batch where it lies channels last.
    fn in_place(&self, shape: &ConvShape) -> Option<&'a [f32]> {
        match self {
            Self::Maps(maps) => maps.as_channels_last(shape.batch, shape.channels[1], shape.output()),
            Self::Pooled(..) => None,
        }
    }

    /// Writes picture `n` channels last.
    fn write(&self, shape: &ConvShape, n: usize, to: &mut [f32]) {
        let (size, channels) = (shape.output(), shape.channels[1]);
        match self {
            Self::Maps(maps) => maps.copy_framed(n, channels, size, Frame::default(), to),
            Self::Pooled(dy, codes) => {
                let len = (size[0] / 2) * (size[1] / 2) * channels;
                norm::unpool(
                    size,
                    channels,
                    &dy[n * len..][..len],
                    &codes[n * len..][..len],
                    to,
                );
            }
        }
    }
}

/// Writes the gradient in front of pool and activation, `[batch, height_out, width_out, channels_out]`.
pub fn unpool(shape: &ConvShape, dy: &[f32], codes: &[u8], out: &mut [f32]) {
    out.par_chunks_exact_mut(out.len() / shape.batch)
        .enumerate()
        .for_each(|(n, out)| OutputGradient::Pooled(dy, codes).write(shape, n, out));
}

/// The gradient of the input from that of the output, `dy`.
///
/// `out`: `[batch, height_in, width_in, channels_in]`.
pub fn backward_input(shape: &ConvShape, dy: Pictures<'_>, weight: &[f32], out: &mut [f32]) {
    let [inputs, outputs] = shape.channels;
    let size = shape.output();
    if let Some(product) = shape.as_product() {
        let dy = dy.to_channels_last(shape.batch, outputs, size);
        let transposed = Product {
            inner: product.columns,
            columns: product.inner,
            ..product
        };
        return multiply(
            transposed,
            &dy,
            &Panels::of_transposed_kernel(shape, weight),
            &[],
            out,
        );
    }
    // Input positions that differ by a stride see the same weights. For each of the `stride` kinds, per direction, the
    // gradient is a convolution of `dy`, of stride 1, with the weights it sees.
    let kinds = [0, 1].map(|d| {
        (0..shape.stride[d].min(shape.input[d]))
            .map(|first| Kind::new(shape, d, first))
            .collect::<Vec<_>>()
    });
    let before = [0, 1].map(|d| kinds[d].iter().map(|kind| -kind.offset).max().unwrap_or(0).max(0));
    let after = [0, 1].map(|d| {
        let reach = kinds[d].iter().filter_map(Kind::reach).max().unwrap_or(0);
        (reach - size[d] as isize).max(0)
    });
    let mut parts = Vec::new();
    for down in &kinds[0] {
        for across in &kinds[1] {
            if down.taps.is_empty() || across.taps.is_empty() {
                continue;
            }
            parts.push(Part {
                weights: Panels::of_flipped_kernel(shape, weight, &down.taps, &across.taps),
                taps: [down.taps.len(), across.taps.len()],
                dilation: [down.between, across.between],
                origin: [before[0] + down.offset, before[1] + across.offset].map(|at| at as usize),
                stride: [1, 1],
                out_count: [down.count, across.count],
                out_origin: [down.first, across.first],
                out_stride: shape.stride,
            });
        }
    }
    if parts.len() < shape.stride[0] * shape.stride[1] {
        out.fill(0.0);
    }
    let frame = Frame {
        top: before[0] as usize,
        bottom: after[0] as usize,
        left: before[1] as usize,
        right: after[1] as usize,
    };
    let pass = Pass {
        frames: Frames {
            batch: shape.batch,
            channels: outputs,
            input: size,
            frame,
        },
        channels: inputs,
        output: shape.input,
        parts,
    };
    pass.run(dy, &[], out);
}

/// The gradient of the weights, `[channels_out, channels_in, kernel_height, kernel_width]`.
///
/// The order of summation depends on the shape alone, so the result does not depend on the number of threads.
pub fn backward_weight(shape: &ConvShape, x: Pictures<'_>, dy: OutputGradient<'_>, out: &mut [f32]) {
    let [inputs, outputs] = shape.channels;
    let [kernel_h, kernel_w] = shape.kernel;
    let [height, width] = shape.output();
    let padded = outputs.next_multiple_of(lanes());
    let len = kernel_h * kernel_w * inputs * padded;

    let sums: Vec<Buffer> = if let (Some(product), OutputGradient::Maps(dy)) = (shape.as_product(), dy) {
        let x = x.to_channels_last(shape.batch, inputs, shape.input);
        let dy = dy.to_channels_last(shape.batch, outputs, shape.output());
        // A long inner dimension is work enough for all threads, without blocks of rows to be added up.
        let parts: Vec<_> = even_parts(product.inner, PRODUCT_INNER).collect();
        let blocks = if parts.len() >= 8 {
            even_parts(product.rows, product.rows).collect()
        } else {
            blocks(product.rows, 1, len)
        };
        blocks
            .into_par_iter()
            .map(|rows| {
                let mut sums = Buffer::zeros(len);
                let x = &x[rows.start * product.inner..rows.end * product.inner];
                let dy = &dy[rows.start * outputs..rows.end * outputs];
                let mut rest = &mut sums[..];
                let tasks: Vec<_> = parts
                    .iter()
                    .map(|part| {
                        let (sums, others) = std::mem::take(&mut rest).split_at_mut(part.len() * padded);
                        rest = others;
                        (part.clone(), sums)
                    })
                    .collect();
                tasks
                    .into_par_iter()
                    .for_each(|(part, sums)| product_gradient(product, x, dy, part, padded, sums));
                sums
            })
            .collect()
    } else {
        blocks(shape.batch, height * width, len)
            .into_par_iter()
            .map(|pictures| {
                let mut sums = Buffer::zeros(len);
                block_gradient(shape, x, dy, pictures, padded, &mut sums);
                sums
            })
            .collect()
    };

    let sums = total(sums);
    let kernel = kernel_h * kernel_w;
    // As many filters at a time as lie in one cache line of the sums.
    const TOGETHER: usize = 16;
    let filter = inputs * kernel;
    out.par_chunks_mut(TOGETHER * filter)
        .enumerate()
        .for_each(|(group, filters)| {
            for i in 0..inputs {
                for k in 0..kernel {
                    let sums = &sums[(k * inputs + i) * padded + group * TOGETHER..];
                    for (filter, sum) in filters.chunks_exact_mut(filter).zip(sums) {
                        filter[i * kernel + k] = *sum;
                    }
                }
            }
        });
}

/// The sums of several blocks in one, added up in their order.
fn total(sums: Vec<Buffer>) -> Buffer {
    const TOGETHER: usize = 1 << 11;
    let mut sums = sums.into_iter();
    let mut total = sums.next().expect("a batch has pictures");
    let rest: Vec<Buffer> = sums.collect();
    if !rest.is_empty() {
        total.par_chunks_mut(TOGETHER).enumerate().for_each(|(n, total)| {
            for sums in &rest {
                for (total, sum) in total.iter_mut().zip(&sums[n * TOGETHER..]) {
                    *total += sum;
                }
            }
        });
    }
    total
}

/// The sum over all positions of each channel of `dy`: the gradient of a bias.
pub fn backward_bias(shape: &ConvShape, dy: Pictures<'_>, out: &mut [f32]) {
    let outputs = shape.channels[1];
    let dy = dy.to_channels_last(shape.batch, outputs, shape.output());
    let sums: Vec<Vec<f32>> = blocks(dy.len() / outputs, 1, outputs)
        .into_par_iter()
        .map(|rows| {
            let mut sums = vec![0.0; outputs];
            for row in dy[rows.start * outputs..rows.end * outputs].chunks_exact(outputs) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
            sums
        })
        .collect();
    for (o, bias) in out.iter_mut().enumerate() {
        *bias = sums.iter().map(|sums| sums[o]).sum();
    }
}

/// As [`backward_bias`] behind a pool and an activation.
pub fn backward_bias_pooled(channels: usize, dy: &[f32], codes: &[u8], out: &mut [f32]) {
    let sums: Vec<Vec<f32>> = blocks(dy.len() / channels, 1, channels)
        .into_par_iter()
        .map(|rows| {
            let mut sums = vec![0.0; channels];
            let range = rows.start * channels..rows.end * channels;
            for (dy, codes) in dy[range.clone()]
                .chunks_exact(channels)
                .zip(codes[range].chunks_exact(channels))
            {
                for ((sum, dy), &code) in sums.iter_mut().zip(dy).zip(codes) {
                    *sum += if norm::passes(code) { *dy } else { 0.0 };
                }
            }
            sums
        })
        .collect();
    for (o, bias) in out.iter_mut().enumerate() {
        *bias = sums.iter().map(|sums| sums[o]).sum();
    }
}

/// Splits `len` items, `positions` sums each, into blocks whose partial results, of `result` numbers each, are added up
/// afterwards.
fn blocks(len: usize, positions: usize, result: usize) -> Vec<Range<usize>> {
    /// Sums in a block for each of its results: fewer, and to add up the blocks costs more than a few per cent.
    const WORTH_IT: usize = 512;
    // As many as keep a large machine busy, as few as keep the results within 32 MiB, and a number that two or four
    // threads share evenly.
    let most = ((8 << 20) / result)
        .min(len * positions / WORTH_IT)
        .clamp(4, 32)
        .min(len);
    let most = if most < 4 { most } else { most / 4 * 4 };
    even_parts(len, len.div_ceil(most)).collect()
}

/// The input positions `first`, `first + stride`, ... of one direction.
struct Kind {
    first: usize,
    count: usize,
    /// The kernel positions they are seen through, in the order of the output positions.
    taps: Vec<usize>,
    /// The output position that sees the first of them through the first of `taps`.
    offset: isize,
    /// How far apart the output positions are that see it through neighbouring `taps`.
    between: usize,
}

impl Kind {
    fn new(shape: &ConvShape, direction: usize, first: usize) -> Self {
        let [stride, dilation, kernel, input] =
            [shape.stride, shape.dilation, shape.kernel, shape.input].map(|of| of[direction]);
        // The input position less that of the kernel's place is where an output position begins to read.
        let begins = |tap: usize| (first + shape.padding[direction].0) as isize - (tap * dilation) as isize;
        let taps = (0..kernel)
            .rev()
            .filter(|&tap| begins(tap) % stride as isize == 0);
        let taps: Vec<usize> = taps.collect();
        let steps = match taps[..] {
            [first, second, ..] => (first - second) * dilation,
            _ => stride,
        };
        Self {
            first,
            count: (input - first).div_ceil(stride),
            offset: taps.first().map_or(0, |&tap| begins(tap) / stride as isize),
            between: steps / stride,
            taps,
        }
    }

    /// One past the last output position that any of them reads, where any is read.
    fn reach(&self) -> Option<isize> {
        let apart = self.taps.len().checked_sub(1)? * self.between;
        Some(self.offset + (apart + self.count) as isize)
    }
}

/// Weights as the tiles read them: panels as many vectors wide as a tile is, the last perhaps narrower; in each a row
/// per input, with zeros where columns are missing.
struct Panels {
    columns: usize,
    inner: usize,
    /// What the sums start from.
    start: Vec<f32>,
    weights: Buffer,
}

/// One of [`Panels`].
struct Panel<'a> {
    column: usize,
    columns: usize,
    across: usize,
    /// What the sums start from, and the weights.
    tiles: (&'a [f32], &'a [f32]),
}

impl Panels {
    /// `fill` writes the weights of the given columns to every row.
    fn new(
        inner: usize,
        columns: usize,
        start: Option<&[f32]>,
        fill: impl Fn(Range<usize>, &mut Rows<'_>) + Sync,
    ) -> Self {
        let widest = tile::MOST_ACROSS * lanes();
        let padded = columns.next_multiple_of(lanes());
        let mut weights = Buffer::zeros(inner * padded);
        weights
            .par_chunks_mut(inner * widest)
            .enumerate()
            .for_each(|(panel, weights)| {
                let range = panel * widest..((panel + 1) * widest).min(columns);
                let (width, len) = (weights.len() / inner, range.len());
                fill(range, &mut Rows { weights, width, len });
            });
        let mut sums = vec![0.0; padded];
        if let Some(start) = start {
            sums[..columns].copy_from_slice(start);
        }
        Self {
            columns,
            inner,
            start: sums,
            weights,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Panel<'_>> {
        tile::panels(self.start.len(), lanes()).map(|(column, across)| {
            let width = across * lanes();
            let weights = &self.weights[column * self.inner..][..width * self.inner];
            Panel {
                column,
                columns: width.min(self.columns - column),
                across,
                tiles: (&self.start[column..][..width], weights),
            }
        })
    }

    /// Inputs in the order kernel row, kernel column, channel; a column per output channel.
    fn of_kernel(shape: &ConvShape, weight: &[f32], bias: Option<&[f32]>) -> Self {
        let [inputs, outputs] = shape.channels;
        let kernel = shape.kernel[0] * shape.kernel[1];
        Self::new(kernel * inputs, outputs, bias, |columns, rows| {
            // In the order that the weights lie in, so that what is fetched with one is there for the next.
            for i in 0..inputs {
                for tap in 0..kernel {
                    for (o, to) in columns.clone().zip(rows.at(tap * inputs + i)) {
                        *to = weight[(o * inputs + i) * kernel + tap];
                    }
                }
            }
        })
    }

    /// A row per output channel; columns in the order kernel row, kernel column, channel.
    fn of_transposed_kernel(shape: &ConvShape, weight: &[f32]) -> Self {
        let [inputs, outputs] = shape.channels;
        let kernel = shape.kernel[0] * shape.kernel[1];
        Self::new(outputs, kernel * inputs, None, |columns, rows| {
            for o in 0..outputs {
                for (k, to) in columns.clone().zip(rows.at(o)) {
                    *to = weight[(o * inputs + k % inputs) * kernel + k / inputs];
                }
            }
        })
    }

    /// Inputs in the order given row, given column, output channel; a column per input channel.
    fn of_flipped_kernel(shape: &ConvShape, weight: &[f32], rows: &[usize], columns: &[usize]) -> Self {
        let [inputs, outputs] = shape.channels;
        let [kernel_h, kernel_w] = shape.kernel;
        Self::new(
            rows.len() * columns.len() * outputs,
            inputs,
            None,
            |range, panel| {
                for o in 0..outputs {
                    for (tap, at) in (rows
                        .iter()
                        .flat_map(|r| columns.iter().map(move |c| r * kernel_w + c)))
                    .enumerate()
                    {
                        for (i, to) in range.clone().zip(panel.at(tap * outputs + o)) {
                            *to = weight[(o * inputs + i) * kernel_h * kernel_w + at];
                        }
                    }
                }
            },
        )
    }
}

/// The rows of one panel, as far as there are columns.
struct Rows<'a> {
    weights: &'a mut [f32],
    width: usize,
    len: usize,
}

impl Rows<'_> {
    fn at(&mut self, k: usize) -> &mut [f32] {
        &mut self.weights[k * self.width..][..self.len]
    }
}

/// Pictures with zeros around them.
struct Frames {
    batch: usize,
    channels: usize,
    input: [usize; 2],
    frame: Frame,
}

impl Frames {
    fn forward(shape: &ConvShape) -> Self {
        Self {
            batch: shape.batch,
            channels: shape.channels[0],
            input: shape.input,
            frame: Frame::of_padding(shape.padding),
        }
    }

    /// Picture `n` of `x`, where it lies or framed in `scratch`.
    fn framed<'a>(&self, x: Pictures<'a>, n: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
        let len = self.frame.len(self.channels, self.input);
        if self.frame == Frame::default()
            && let Some(x) = x.as_channels_last(self.batch, self.channels, self.input)
        {
            return &x[n * len..][..len];
        }
        scratch.resize(len, 0.0);
        x.copy_framed(n, self.channels, self.input, self.frame, scratch);
        scratch
    }

    /// Numbers in a row of a framed picture.
    fn pitch(&self) -> usize {
        (self.frame.left + self.input[1] + self.frame.right) * self.channels
    }
}

/// A convolution of framed pictures: one part, or several that write different positions of the same output.
struct Pass {
    frames: Frames,
    /// Of the output.
    channels: usize,
    output: [usize; 2],
    parts: Vec<Part>,
}

struct Part {
    weights: Panels,
    taps: [usize; 2],
    /// From one of them to the next in the framed input.
    dilation: [usize; 2],
    /// Where in the framed input the first output position reads.
    origin: [usize; 2],
    /// From one output position to the next in the framed input.
    stride: [usize; 2],
    out_count: [usize; 2],
    out_origin: [usize; 2],
    out_stride: [usize; 2],
}

impl Pass {
    fn forward(shape: &ConvShape, weight: &[f32], bias: Option<&[f32]>) -> Self {
        Self {
            frames: Frames::forward(shape),
            channels: shape.channels[1],
            output: shape.output(),
            parts: vec![Part {
                weights: Panels::of_kernel(shape, weight, bias),
                taps: shape.kernel,
                dilation: shape.dilation,
                origin: [0, 0],
                stride: shape.stride,
                out_count: shape.output(),
                out_origin: [0, 0],
                out_stride: [1, 1],
            }],
        }
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels
    }

    /// Of the pictures that are not `done`.
    fn run(&self, x: Pictures<'_>, done: &[bool], out: &mut [f32]) {
        out.par_chunks_exact_mut(self.output_len())
            .enumerate()
            .filter(|(n, _)| !is_done(done, *n))
            .for_each_init(Vec::new, |framed, (n, out)| {
                picture(self, self.frames.framed(x, n, framed), out);
            });
    }
}

#[macerator::with_simd]
fn picture<S: Simd>(pass: &Pass, x: &[f32], out: &mut [f32]) {
    let (inputs, outputs, pitch) = (pass.frames.channels, pass.channels, pass.frames.pitch());
    for part in &pass.parts {
        let tap_step = part.dilation[0] * pitch;
        let reads = match part.dilation[1] {
            1 => Reads::side_by_side(tap_step, part.taps[1] * inputs),
            dilation => Reads {
                tap_step,
                runs: part.taps[1],
                run_step: dilation * inputs,
                run: inputs,
            },
        };
        let row = pass.output[1] * outputs;
        let positions = Positions {
            columns: part.out_count[1],
            x_steps: [part.stride[0] * pitch, part.stride[1] * inputs],
            out_steps: [part.out_stride[0] * row, part.out_stride[1] * outputs],
        };
        let x = &x[part.origin[0] * pitch + part.origin[1] * inputs..];
        let out = &mut out[part.out_origin[0] * row + part.out_origin[1] * outputs..];
        for panel in part.weights.iter() {
            let count = part.out_count[0] * part.out_count[1];
            for tile in even_parts(count, tile::max_rows::<S>(panel.across)) {
                tile::dot_rows::<S>(
                    [tile.len(), panel.across],
                    x,
                    (positions, tile.start),
                    reads,
                    panel.tiles,
                    (&mut out[panel.column..], panel.columns),
                );
            }
        }
    }
}

/// `out = x * weights`, row by row, of the blocks that are not `done`.
fn multiply(product: Product, x: &[f32], weights: &Panels, done: &[bool], out: &mut [f32]) {
    out.par_chunks_mut(PRODUCT_ROWS * product.columns)
        .zip(x.par_chunks(PRODUCT_ROWS * product.inner))
        .enumerate()
        .filter(|(n, _)| !is_done(done, *n))
        .for_each(|(_, (out, x))| multiply_rows(product, x, weights, out));
}

#[macerator::with_simd]
fn multiply_rows<S: Simd>(product: Product, x: &[f32], weights: &Panels, out: &mut [f32]) {
    let reads = Reads::side_by_side(0, product.inner);
    let count = x.len() / product.inner;
    let positions = Positions::of_rows(count, product.inner, product.columns);
    for panel in weights.iter() {
        for rows in even_parts(count, tile::max_rows::<S>(panel.across)) {
            tile::dot_rows::<S>(
                [rows.len(), panel.across],
                x,
                (positions, rows.start),
                reads,
                panel.tiles,
                (&mut out[panel.column..], panel.columns),
            );
        }
    }
}

/// Adds the weight gradient of a matrix product's rows, for the inputs `part`, to `sums`, `[part, padded]`.
#[macerator::with_simd]
fn product_gradient<S: Simd>(
    product: Product,
    x: &[f32],
    dy: &[f32],
    part: Range<usize>,
    padded: usize,
    sums: &mut [f32],
) {
    let mut scratch = Vec::new();
    // Few enough rows that they stay in the cache while all tiles pass over them.
    for (x, dy) in x.chunks(32 * product.inner).zip(dy.chunks(32 * product.columns)) {
        let dy = widened(dy, product.columns, padded, &mut scratch);
        let sweep = Sweep {
            pictures: 1,
            rows: 1,
            columns: x.len() / product.inner,
            x_steps: [0, 0, product.inner],
            dy_steps: [0, 0, padded],
        };
        gradient_tiles::<S>(&x[part.start..], part.len(), dy, padded, sweep, sums);
    }
}

/// Adds the weight gradient of `pictures` to `sums`, `[kernel_height, kernel_width, channels_in, padded]`.
#[macerator::with_simd]
fn block_gradient<'a, S: Simd>(
    shape: &ConvShape,
    x: Pictures<'a>,
    dy: OutputGradient<'a>,
    pictures: Range<usize>,
    padded: usize,
    sums: &mut [f32],
) {
    let [inputs, outputs] = shape.channels;
    let [kernel_h, kernel_w] = shape.kernel;
    let [height, width] = shape.output();
    let frame = Frame::of_padding(shape.padding);
    let (framed, gradient) = (frame.len(inputs, shape.input), height * width * outputs);
    let pitch = (frame.left + shape.input[1] + frame.right) * inputs;
    let x_in_place = (frame == Frame::default())
        .then(|| x.as_channels_last(shape.batch, inputs, shape.input))
        .flatten();
    let dy_in_place = dy.in_place(shape);

    // So many pictures at once that a tile has a while to sum up before it is stored.
    let together = 200usize.div_ceil(height * width);
    let (mut x_scratch, mut dy_scratch, mut dy_wide) = (Vec::new(), Vec::new(), Vec::new());
    for first in pictures.clone().step_by(together) {
        let count = together.min(pictures.end - first);
        let x = match x_in_place {
            Some(x) => &x[first * framed..][..count * framed],
            None => {
                x_scratch.resize(count * framed, 0.0);
                for (n, to) in x_scratch.chunks_exact_mut(framed).enumerate() {
                    x.copy_framed(first + n, inputs, shape.input, frame, to);
                }
                &x_scratch[..]
            }
        };
        let dy = match dy_in_place {
            Some(dy) => &dy[first * gradient..][..count * gradient],
            None => {
                dy_scratch.resize(count * gradient, 0.0);
                for (n, to) in dy_scratch.chunks_exact_mut(gradient).enumerate() {
                    dy.write(shape, first + n, to);
                }
                &dy_scratch[..]
            }
        };
        let dy = widened(dy, outputs, padded, &mut dy_wide);
        let sweep = Sweep {
            pictures: count,
            rows: height,
            columns: width,
            x_steps: [framed, shape.stride[0] * pitch, shape.stride[1] * inputs],
            dy_steps: [height * width * padded, width * padded, padded],
        };
        // A row of the kernel at once where its places lie side by side.
        let (runs, run) = match shape.dilation[1] {
            1 => (1, kernel_w * inputs),
            _ => (kernel_w, inputs),
        };
        for (n, sums) in sums
            .chunks_exact_mut(run * padded)
            .enumerate()
            .take(kernel_h * runs)
        {
            let [down, across] = [n / runs * shape.dilation[0], n % runs * shape.dilation[1]];
            let x = &x[down * pitch + across * inputs..];
            gradient_tiles::<S>(x, run, dy, padded, sweep, sums);
        }
    }
}

/// Adds the products of `run` neighbouring inputs and all output gradients to `sums`, `[run, padded]`.
#[inline(always)]
fn gradient_tiles<S: Simd>(x: &[f32], run: usize, dy: &[f32], padded: usize, sweep: Sweep, sums: &mut [f32]) {
    for (column, across) in tile::panels(padded, lanes()) {
        for rows in even_parts(run, tile::max_rows::<S>(across)) {
            tile::outer_rows::<S>(
                [rows.len(), across],
                &x[rows.start..],
                &dy[column..],
                sweep,
                &mut sums[rows.start * padded + column..],
                padded,
            );
        }
    }
}

/// Rows of `columns` numbers as rows of `padded`: the tiles read whole vectors.
fn widened<'a>(rows: &'a [f32], columns: usize, padded: usize, scratch: &'a mut Vec<f32>) -> &'a [f32] {
    if columns == padded {
        return rows;
    }
    scratch.resize(rows.len() / columns * padded, 0.0);
    for (from, to) in rows.chunks_exact(columns).zip(scratch.chunks_exact_mut(padded)) {
        to[..columns].copy_from_slice(from);
    }
    scratch
}

/// Numbers in a vector of this machine.
#[macerator::with_simd]
fn lanes<S: Simd>() -> usize {
    S::lanes32()
}
