//! Rows of a step's output, computed by one thread: the sums, and what follows them while they are at hand.

use std::ops::Range;

use super::layout::WORD;
use super::machine::{Lanes, PANEL, on_machine};
use super::model::{Affine, FloatConv, FloatEnd, PackedConv, PackedEnd, Quantize};
use super::spec::Act;

/// What one thread works in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub sums: Vec<i32>,
    pub codes: Vec<i32>,
    pub floats: Vec<f32>,
}

/// Where the rows go, one after the other.
pub(super) enum Out<'a> {
    /// Framed: a row begins and ends with pixels that are left as they are.
    Codes(&'a mut [u64], CodeRow),
    Floats(&'a mut [f32]),
}

/// A row of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeRow {
    pub bits: usize,
    /// Words of a pixel.
    pub words: usize,
    /// Pixels of a row, those of the frame among them.
    pub width: usize,
    /// Pixels of the frame on either side.
    pub frame: usize,
}

impl CodeRow {
    /// Words of a plane.
    pub fn plane(self) -> usize {
        self.width * self.words
    }

    /// Words of the row.
    pub fn len(self) -> usize {
        self.bits * self.plane()
    }
}

/// Where a convolution reads, in elements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Bits of a code; 1 of floats.
    pub planes: usize,
    /// From one bit to the next.
    pub plane_step: usize,
    /// From one output position to the next.
    pub step: usize,
    /// From one kernel row to the next.
    pub tap_step: usize,
    /// From one output row to the next.
    pub row_step: usize,
    /// Rows of the kernel.
    pub taps: usize,
    /// Elements that are read in a row.
    pub run: usize,
}

impl Reads {
    /// All that `positions` positions of one output row read.
    fn reach(&self, positions: usize) -> usize {
        (self.taps - 1) * self.tap_step
            + (self.planes - 1) * self.plane_step
            + (positions - 1) * self.step
            + self.run
    }
}

pub(super) struct PackedRows<'a> {
    pub conv: &'a PackedConv,
    pub rows: Range<usize>,
    /// The codes, or what [`gather`](super::layout::gather) made of them.
    pub x: &'a [u64],
    /// Floats that are added, from the first row of `rows`.
    pub added: Option<&'a [f32]>,
    pub out: Out<'a>,
    pub scratch: &'a mut Scratch,
}

pub(super) struct FloatRows<'a> {
    pub conv: &'a FloatConv,
    pub rows: Range<usize>,
    pub x: &'a [f32],
    pub out: Out<'a>,
    pub scratch: &'a mut Scratch,
}

pub(super) struct QuantizeRows<'a> {
    pub quantize: &'a Quantize,
    /// From the first row.
    pub x: &'a [f32],
    pub out: (&'a mut [u64], CodeRow),
    pub scratch: &'a mut Scratch,
}

on_machine!(run_packed = packed_rows(job: PackedRows<'_>));
on_machine!(run_float = float_rows(job: FloatRows<'_>));
on_machine!(run_quantize = quantize_rows(job: QuantizeRows<'_>));

/// `len` in as few parts of at most `most` as it takes, all about equally long.
pub(super) fn even_parts(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = len.div_ceil(most);
    (0..parts).map(move |part| part * len / parts..(part + 1) * len / parts)
}

#[inline(always)]
fn packed_rows<M: Lanes>(job: PackedRows<'_>) {
    let PackedRows {
        conv,
        rows,
        x,
        added,
        mut out,
        scratch,
    } = job;
    let [_, width] = conv.output;
    let padded = conv.padded;
    let (lines, line) = (conv.lines(), conv.lines() * width * padded);
    scratch.sums.resize(lines * line, 0);
    scratch.codes.resize(padded, 0);
    let Scratch { sums, codes, .. } = scratch;
    for (n, row) in rows.enumerate() {
        for (down, sums) in sums.chunks_exact_mut(line).enumerate() {
            let x = &x[(row * lines + down) * conv.reads.row_step..];
            sum_row::<M>(conv, x, lines * width, sums);
        }
        match (&conv.end, &mut out) {
            (PackedEnd::Codes { thresholds, .. }, Out::Codes(to, row)) => {
                let to = &mut to[n * row.len()..][..row.len()];
                for position in 0..width {
                    if lines == 1 {
                        let sums = &sums[position * padded..][..padded];
                        count_thresholds(sums, thresholds, codes);
                    } else {
                        let (top, low) = sums.split_at_mut(line);
                        let top = &mut top[2 * position * padded..][..2 * padded];
                        let low = &low[2 * position * padded..][..2 * padded];
                        let (a, b) = top.split_at_mut(padded);
                        let (c, d) = low.split_at(padded);
                        for (((a, &b), &c), &d) in a.iter_mut().zip(&*b).zip(c).zip(d) {
                            *a = (*a).max(b).max(c.max(d));
                        }
                        count_thresholds(a, thresholds, codes);
                    }
                    store_codes::<M>(codes, *row, position, to);
                }
            }
            (
                PackedEnd::Floats {
                    unit, affine, act, ..
                },
                Out::Floats(to),
            ) => {
                let outputs = conv.outputs;
                let to = &mut to[n * width * outputs..][..width * outputs];
                for (position, to) in to.chunks_exact_mut(outputs).enumerate() {
                    let sums = &sums[position * padded..][..outputs];
                    for (to, &sum) in to.iter_mut().zip(sums) {
                        *to = sum as f32 * unit;
                    }
                    if let Some(added) = added {
                        let added = &added[(n * width + position) * outputs..][..outputs];
                        for (to, added) in to.iter_mut().zip(added) {
                            *to += added;
                        }
                    }
                    finish(to, affine.as_ref(), *act);
                }
            }
            _ => unreachable!("the output is of the kind that the step ends with"),
        }
    }
}

/// `2 * P - L * A` for every position and output, where `P` is the sum of products of codes, `A` that of the activation
/// codes alone, and `L` the largest weight code: the sum of products with the signed weights.
#[inline(always)]
fn sum_row<M: Lanes>(conv: &PackedConv, x: &[u64], positions: usize, sums: &mut [i32]) {
    let reads = &conv.reads;
    let padded = conv.padded;
    assert!(x.len() >= reads.reach(positions) && sums.len() == positions * padded);
    let weights: &[u64] = &conv.weights;
    let panel = conv.weight_planes * reads.taps * reads.run * PANEL;
    assert!(weights.len() == padded / PANEL * panel);
    for (position, sums) in sums.chunks_exact_mut(padded).enumerate() {
        let x = &x[position * reads.step..];
        let mut total = 0;
        for plane in 0..reads.planes {
            let mut ones = 0;
            for tap in 0..reads.taps {
                let run = &x[plane * reads.plane_step + tap * reads.tap_step..][..reads.run];
                ones += run.iter().map(|word| word.count_ones()).sum::<u32>();
            }
            total += (ones << plane) as i32;
        }
        sums.fill(-(conv.weight_levels * total));
    }
    for (n, weights) in weights.chunks_exact(panel).enumerate() {
        for part in even_parts(positions, M::ROWS) {
            let x = &x[part.start * reads.step..];
            let sums = &mut sums[part.start * padded + n * PANEL..];
            let planes = conv.weight_planes;
            // SAFETY: as was asserted, `x` reaches as far as the positions of the part read, and the weights are those
            // of one panel; `sums` has a row of `padded` for each position from the first on, and a panel of `PANEL`
            // ends within it. The instructions of `M` are here: `on_machine` has seen to it.
            unsafe {
                let (x, weights, sums) = (x.as_ptr(), weights.as_ptr(), sums.as_mut_ptr());
                match part.len() {
                    1 => tile::<M, 1>(x, reads, weights, planes, sums, padded),
                    2 => tile::<M, 2>(x, reads, weights, planes, sums, padded),
                    3 => tile::<M, 3>(x, reads, weights, planes, sums, padded),
                    4 => tile::<M, 4>(x, reads, weights, planes, sums, padded),
                    5 => tile::<M, 5>(x, reads, weights, planes, sums, padded),
                    6 => tile::<M, 6>(x, reads, weights, planes, sums, padded),
                    7 => tile::<M, 7>(x, reads, weights, planes, sums, padded),
                    8 => tile::<M, 8>(x, reads, weights, planes, sums, padded),
                    rows => unreachable!("a tile of {rows} rows"),
                }
            }
        }
    }
}

/// Adds twice the sums of products of codes of `ROWS` positions and one panel.
///
/// # Safety
///
/// `x` is good for reads of all that `ROWS` positions read, `weights` for the panel's, `sums` for writes of `PANEL`
/// numbers at every `sums_step` of `ROWS`; the instructions of `M` are here.
#[inline(always)]
unsafe fn tile<M: Lanes, const ROWS: usize>(
    x: *const u64,
    reads: &Reads,
    weights: *const u64,
    weight_planes: usize,
    sums: *mut i32,
    sums_step: usize,
) {
    let &Reads {
        planes,
        plane_step,
        step,
        tap_step,
        taps,
        run,
        ..
    } = reads;
    for weight_plane in 0..weight_planes {
        for plane in 0..planes {
            // SAFETY: of everything here, as the caller has promised.
            unsafe {
                let shift = (plane + weight_plane + 1) as u32;
                let mut counts = [M::no_counts(); ROWS];
                let mut counted = 0;
                let mut weights = weights.add(weight_plane * taps * run * PANEL);
                for tap in 0..taps {
                    let x = x.add(plane * plane_step + tap * tap_step);
                    for k in 0..run {
                        if M::MOST < usize::MAX && counted == M::MOST {
                            add::<M, ROWS>(counts, shift, sums, sums_step);
                            counts = [M::no_counts(); ROWS];
                            counted = 0;
                        }
                        let words = M::words(weights);
                        for (row, counts) in counts.iter_mut().enumerate() {
                            *counts = M::count(*counts, *x.add(row * step + k), words);
                        }
                        weights = weights.add(PANEL);
                        counted += 1;
                    }
                }
                add::<M, ROWS>(counts, shift, sums, sums_step);
            }
        }
    }
}

/// Adds the counts of `ROWS` positions, times `2^shift`.
///
/// A function and no closure: closures are not compiled for the instructions of the function around them, and counts
/// whose address they take do not stay in registers.
///
/// # Safety
///
/// As [`tile`].
#[inline(always)]
unsafe fn add<M: Lanes, const ROWS: usize>(
    counts: [M::Counts; ROWS],
    shift: u32,
    sums: *mut i32,
    sums_step: usize,
) {
    for (row, counts) in counts.into_iter().enumerate() {
        // SAFETY: as the caller has promised.
        unsafe { M::add(counts, shift, sums.add(row * sums_step)) };
    }
}

/// For each output, how many of its thresholds, `[threshold, output]`, the sum reaches.
#[inline(always)]
fn count_thresholds(sums: &[i32], thresholds: &[i32], codes: &mut [i32]) {
    codes.fill(0);
    for thresholds in thresholds.chunks_exact(codes.len()) {
        for ((code, &sum), &threshold) in codes.iter_mut().zip(sums).zip(thresholds) {
            *code += i32::from(sum >= threshold);
        }
    }
}

/// Writes the bits of one pixel's codes, a multiple of [`PANEL`].
#[inline(always)]
fn store_codes<M: Lanes>(codes: &[i32], row: CodeRow, position: usize, to: &mut [u64]) {
    for plane in 0..row.bits {
        let to = &mut to[plane * row.plane() + (row.frame + position) * row.words..][..row.words];
        for (to, codes) in to.iter_mut().zip(codes.chunks(WORD)) {
            *to = 0;
            for (n, codes) in codes.chunks_exact(PANEL).enumerate() {
                // SAFETY: sixteen codes; the instructions are here.
                let bits = unsafe { M::bits(codes.as_ptr(), plane as u32) };
                *to |= u64::from(bits) << (n * PANEL);
            }
        }
    }
}

/// Affine and activation, in place.
#[inline(always)]
pub(super) fn finish(x: &mut [f32], affine: Option<&Affine>, act: Act) {
    if let Some(affine) = affine {
        affine.apply(x);
    }
    match act {
        Act::Identity => {}
        Act::Relu => {
            for x in x {
                *x = if *x <= 0.0 { 0.0 } else { *x };
            }
        }
        Act::Clamp => {
            for x in x {
                *x = x.clamp(0.0, 1.0);
            }
        }
    }
}

/// `round(clamp(x, 0, 1) * levels)`, half to even.
#[inline(always)]
fn code(x: f32, levels: f32) -> i32 {
    // To add 2^23 rounds a number under it, half to even, and leaves it in the lowest bits: two instructions where a
    // conversion that minds what is no number takes six.
    const ROUND: f32 = (1u32 << 23) as f32;
    let rounded = x.clamp(0.0, 1.0) * levels + ROUND;
    (rounded.to_bits() & 0xF) as i32
}

#[inline(always)]
fn quantize_rows<M: Lanes>(job: QuantizeRows<'_>) {
    let QuantizeRows {
        quantize,
        x,
        out: (to, row),
        scratch,
    } = job;
    let channels = quantize.channels;
    scratch.codes.resize(channels.next_multiple_of(PANEL), 0);
    scratch.codes[channels..].fill(0);
    scratch.floats.resize(channels, 0.0);
    let Scratch { codes, floats, .. } = scratch;
    let width = row.width - 2 * row.frame;
    for (x, to) in x
        .chunks_exact(width * channels)
        .zip(to.chunks_exact_mut(row.len()))
    {
        for (position, x) in x.chunks_exact(channels).enumerate() {
            floats.copy_from_slice(x);
            finish(floats, quantize.affine.as_ref(), Act::Identity);
            for (to, &x) in codes.iter_mut().zip(&*floats) {
                *to = code(x, quantize.levels);
            }
            store_codes::<M>(codes, row, position, to);
        }
    }
}

#[inline(always)]
fn float_rows<M: Lanes>(job: FloatRows<'_>) {
    let FloatRows {
        conv,
        rows,
        x,
        mut out,
        scratch,
    } = job;
    let [_, width] = conv.output;
    let (outputs, padded) = (conv.outputs, conv.padded);
    let (lines, line) = (conv.lines(), conv.lines() * width * padded);
    scratch.floats.resize(lines * line, 0.0);
    scratch.codes.resize(outputs.next_multiple_of(PANEL), 0);
    scratch.codes[outputs..].fill(0);
    let Scratch { floats, codes, .. } = scratch;
    for (n, row) in rows.enumerate() {
        for (down, sums) in floats.chunks_exact_mut(line).enumerate() {
            let x = &x[(row * lines + down) * conv.reads.row_step..];
            float_sum_row::<M>(conv, x, lines * width, sums);
        }
        if let Some(affine) = &conv.affine {
            for sums in floats.chunks_exact_mut(padded) {
                affine.apply(&mut sums[..outputs]);
            }
        }
        for position in 0..width {
            let x: &[f32] = if lines == 1 {
                &floats[position * padded..][..outputs]
            } else {
                let (top, low) = floats.split_at_mut(line);
                let (a, b) = top[2 * position * padded..][..2 * padded].split_at_mut(padded);
                let (c, d) = low[2 * position * padded..][..2 * padded].split_at(padded);
                for (((a, &b), &c), &d) in a.iter_mut().zip(&*b).zip(c).zip(d) {
                    *a = larger(larger(*a, b), larger(c, d));
                }
                &a[..outputs]
            };
            match (&conv.end, &mut out) {
                (FloatEnd::Codes { levels }, Out::Codes(to, row)) => {
                    for (to, &x) in codes.iter_mut().zip(x) {
                        *to = code(x, *levels);
                    }
                    store_codes::<M>(codes, *row, position, &mut to[n * row.len()..][..row.len()]);
                }
                (FloatEnd::Floats { act }, Out::Floats(to)) => {
                    let to = &mut to[(n * width + position) * outputs..][..outputs];
                    to.copy_from_slice(x);
                    finish(to, None, *act);
                }
                _ => unreachable!("the output is of the kind that the step ends with"),
            }
        }
    }
}

/// The larger, `a` of equals.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// Of every position and output the sum of products, kernel row by row, from left to right, channel by channel, each
/// with one rounding: the order that the training-time network sums in.
#[inline(always)]
fn float_sum_row<M: Lanes>(conv: &FloatConv, x: &[f32], positions: usize, sums: &mut [f32]) {
    let reads = &conv.reads;
    assert!(x.len() >= reads.reach(positions) && sums.len() == positions * conv.padded);
    for panel in &conv.panels {
        let columns = 8 * panel.across;
        assert!(
            panel.first + columns <= conv.padded
                && panel.start.len() == columns
                && panel.weights.len() == reads.taps * reads.run * columns
        );
        for part in even_parts(positions, [8, 6, 4][panel.across - 1]) {
            let x = &x[part.start * reads.step..];
            let sums = &mut sums[part.start * conv.padded + panel.first..];
            macro_rules! tiles {
                ($($rows:literal $across:literal),*) => {
                    match (part.len(), panel.across) {
                        $(($rows, $across) => float_tile::<M, $rows, $across>(
                            x.as_ptr(), reads, panel.start.as_ptr(), panel.weights.as_ptr(), sums.as_mut_ptr(), conv.padded,
                        ),)*
                        (rows, across) => unreachable!("a tile of {rows} rows and {across} vectors"),
                    }
                };
            }
            // SAFETY: as in `sum_row`: all lengths were asserted, and the instructions are here.
            unsafe {
                tiles!(1 1, 2 1, 3 1, 4 1, 5 1, 6 1, 7 1, 8 1, 1 2, 2 2, 3 2, 4 2, 5 2, 6 2, 1 3, 2 3, 3 3, 4 3);
            }
        }
    }
}

/// The sums of `ROWS` positions and `ACROSS` times eight outputs.
///
/// # Safety
///
/// As [`tile`], with `8 * ACROSS` numbers of `start`, of each weight and of each row of sums.
#[inline(always)]
unsafe fn float_tile<M: Lanes, const ROWS: usize, const ACROSS: usize>(
    x: *const f32,
    reads: &Reads,
    start: *const f32,
    mut weights: *const f32,
    sums: *mut f32,
    sums_step: usize,
) {
    // SAFETY: of everything here, as the caller has promised.
    unsafe {
        let start: [M::Eight; ACROSS] = std::array::from_fn(|n| M::load(start.add(8 * n)));
        let mut totals = [start; ROWS];
        for tap in 0..reads.taps {
            let x = x.add(tap * reads.tap_step);
            for k in 0..reads.run {
                let eights: [M::Eight; ACROSS] = std::array::from_fn(|n| M::load(weights.add(8 * n)));
                for (row, totals) in totals.iter_mut().enumerate() {
                    let x = *x.add(row * reads.step + k);
                    for (total, &eight) in totals.iter_mut().zip(&eights) {
                        *total = M::fused(x, eight, *total);
                    }
                }
                weights = weights.add(8 * ACROSS);
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (n, &total) in totals.iter().enumerate() {
                M::store(total, sums.add(row * sums_step + 8 * n));
            }
        }
    }
}
