//! Rows of a step's output, computed by one thread: the sums, and what follows them while they are at hand.

use std::marker::PhantomData;
use std::ops::Range;

use super::kernel::{
    Affine, CodeRow, FloatConv, FloatEnd, FloatReads, PackedConv, PackedEnd, Quantize, Reads, even_parts,
};
use super::layout::WORD;
use super::machine::{EIGHT, Lanes, MOST_ROWS, PANEL, on_machine};
use super::spec::Act;

/// What one thread works in.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    pub sums: Vec<i32>,
    pub floats: Vec<f32>,
}

/// Where the rows go, one after the other.
pub(super) enum Out<'a> {
    /// Framed: a row begins and ends with pixels that are left as they are.
    Codes(&'a mut [u64], CodeRow),
    Floats(&'a mut [f32]),
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

/// The sums of one output row, `[line, position, padded output]`, of which these panels are computed: several threads
/// share a row by splitting them.
pub(super) struct Sums<'a> {
    all: *mut i32,
    len: usize,
    panels: Range<usize>,
    buffer: PhantomData<&'a mut [i32]>,
}

// SAFETY: it is a mutable borrow of its panels' sums, which no other has: `split_at` sees to it.
unsafe impl Send for Sums<'_> {}

impl<'a> Sums<'a> {
    pub fn new(sums: &'a mut [i32], panels: usize) -> Self {
        Self {
            all: sums.as_mut_ptr(),
            len: sums.len(),
            panels: 0..panels,
            buffer: PhantomData,
        }
    }

    pub fn panels(&self) -> usize {
        self.panels.len()
    }

    /// The first `count` panels, and the others.
    pub fn split_at(self, count: usize) -> [Self; 2] {
        let Range { start, end } = self.panels;
        let middle = (start + count).min(end);
        [start..middle, middle..end].map(|panels| Self { panels, ..self })
    }
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
}

/// The mean over all positions of each channel, row by row.
pub(super) struct MeanRows<'a> {
    pub x: &'a [f32],
    /// Height and width.
    pub size: [usize; 2],
    pub affine: Option<&'a Affine>,
    pub act: Act,
    /// One number for each channel.
    pub out: &'a mut [f32],
}

on_machine!(run_packed = packed_rows(job: PackedRows<'_>));
on_machine!(run_sums = packed_sums(conv: &PackedConv, row: usize, x: &[u64], sums: Sums<'_>));
on_machine!(run_end = packed_end(conv: &PackedConv, sums: &mut [i32], added: Option<&[f32]>, out: Out<'_>));
on_machine!(run_float = float_rows(job: FloatRows<'_>));
on_machine!(run_quantize = quantize_rows(job: QuantizeRows<'_>));
on_machine!(run_mean = mean_rows(job: MeanRows<'_>));

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
    scratch.sums.resize(conv.sums(), 0);
    let sums = &mut scratch.sums[..];
    for (n, row) in rows.enumerate() {
        let floats = conv.output[1] * conv.outputs;
        packed_sums::<M>(conv, row, x, Sums::new(sums, conv.panels()));
        let added = added.map(|added| &added[n * floats..][..floats]);
        let out = match &mut out {
            Out::Codes(to, row) => Out::Codes(&mut to[n * row.len()..][..row.len()], *row),
            Out::Floats(to) => Out::Floats(&mut to[n * floats..][..floats]),
        };
        packed_end::<M>(conv, sums, added, out);
    }
}

/// The sums of one output row.
#[inline(always)]
fn packed_sums<M: Lanes>(conv: &PackedConv, row: usize, x: &[u64], mut sums: Sums<'_>) {
    for down in 0..conv.lines() {
        let x = &x[(row * conv.lines() + down) * conv.reads.row_step..];
        sum_line::<M>(conv, x, down, &mut sums);
    }
}

/// What follows the sums of one output row; `added` and `out` are that row's. A pool leaves its own in the sums.
#[inline(always)]
fn packed_end<M: Lanes>(conv: &PackedConv, sums: &mut [i32], added: Option<&[f32]>, out: Out<'_>) {
    let [_, width] = conv.output;
    let (lines, outputs, padded) = (conv.lines(), conv.outputs, conv.padded);
    match (&conv.end, out) {
        (PackedEnd::Codes { thresholds, .. }, Out::Codes(to, row)) => {
            let levels = thresholds.len() / padded;
            if lines == 2 {
                pool(sums, width, padded);
            }
            for first in (0..padded).step_by(PANEL) {
                for position in 0..width {
                    let sums = &sums[lines * position * padded + first..][..PANEL];
                    let mut codes = [0; PANEL];
                    for level in 0..levels {
                        let thresholds = &thresholds[level * padded + first..][..PANEL];
                        for ((code, &sum), &threshold) in codes.iter_mut().zip(sums).zip(thresholds) {
                            *code += i32::from(sum >= threshold);
                        }
                    }
                    store_codes::<M>(&codes, first, first, row, position, to);
                }
            }
        }
        (
            PackedEnd::Floats {
                unit, affine, act, ..
            },
            Out::Floats(to),
        ) => {
            for (_, first) in parts(outputs) {
                let affine = affine_part::<M>(affine.as_ref(), first);
                // SAFETY: the instructions are here.
                let unit = unsafe { M::splat(*unit) };
                for position in 0..width {
                    let sums = &sums[position * padded + first..][..PANEL];
                    // SAFETY: sixteen sums; the instructions are here.
                    let mut x = unsafe {
                        let (a, b) = (M::converted(sums.as_ptr()), M::converted(sums.as_ptr().add(8)));
                        [M::product(a, unit), M::product(b, unit)]
                    };
                    let pixel = position * outputs..(position + 1) * outputs;
                    if let Some(added) = added {
                        let [a, b] = part::<M>(&added[pixel.clone()], first);
                        // SAFETY: the instructions are here.
                        x = unsafe { [M::sum(x[0], a), M::sum(x[1], b)] };
                    }
                    let x = finish::<M>(x, affine, *act);
                    store_part::<M>(x, &mut to[pixel], first);
                }
            }
        }
        _ => unreachable!("the output is of the kind that the step ends with"),
    }
}

/// Of two rows of sums, the largest of each 2x2 square; it takes the place of the square's first.
#[inline(always)]
fn pool(sums: &mut [i32], width: usize, padded: usize) {
    let (top, low) = sums.split_at_mut(2 * width * padded);
    let squares = top.chunks_exact_mut(2 * padded).zip(low.chunks_exact(2 * padded));
    for (top, low) in squares {
        let (a, b) = top.split_at_mut(padded);
        let (c, d) = low.split_at(padded);
        for (((a, &b), &c), &d) in a.iter_mut().zip(&*b).zip(c).zip(d) {
            *a = (*a).max(b).max(c.max(d));
        }
    }
}

/// [`PANEL`] channels of one pixel.
type Part<M> = [<M as Lanes>::Eight; 2];

/// Where the parts of [`PANEL`] channels begin, for each the place that it is due at and the one that it is read from:
/// the last part begins early where it would end late, so that all but a pixel of fewer channels is read in whole
/// parts.
#[inline(always)]
fn parts(channels: usize) -> impl Iterator<Item = (usize, usize)> {
    let last = channels.saturating_sub(PANEL);
    (0..channels).step_by(PANEL).map(move |due| (due, due.min(last)))
}

/// A part of a pixel's channels, from `first` on. What is missing is zero.
#[inline(always)]
fn part<M: Lanes>(x: &[f32], first: usize) -> Part<M> {
    let x = &x[first..];
    // SAFETY: sixteen numbers, here or there; the instructions are here.
    unsafe {
        if x.len() >= PANEL {
            [M::load(x.as_ptr()), M::load(x.as_ptr().add(8))]
        } else {
            let x = few(x);
            [M::load(x.as_ptr()), M::load(x.as_ptr().add(8))]
        }
    }
}

/// Out of the way of pixels that have more.
#[cold]
#[inline(never)]
fn few(x: &[f32]) -> [f32; PANEL] {
    let mut padded = [0.0; PANEL];
    padded[..x.len()].copy_from_slice(x);
    padded
}

/// The opposite of [`part`].
#[inline(always)]
fn store_part<M: Lanes>([a, b]: Part<M>, to: &mut [f32], first: usize) {
    let to = &mut to[first..];
    let mut padded = [0.0; PANEL];
    let whole = to.len() >= PANEL;
    let place = if whole {
        to.as_mut_ptr()
    } else {
        padded.as_mut_ptr()
    };
    // SAFETY: room for sixteen numbers, here or there; the instructions are here.
    unsafe {
        M::store(a, place);
        M::store(b, place.add(8));
    }
    if !whole {
        let here = to.len();
        to.copy_from_slice(&padded[..here]);
    }
}

/// For every position of one line, and every output of the panels of `sums`: `2 * P - L * A`, where `P` is the sum of products of
/// codes, `A` that of the activation
/// codes alone, and `L` the largest weight code: the sum of products with the signed weights.
#[inline(always)]
fn sum_line<M: Lanes>(conv: &PackedConv, x: &[u64], line: usize, sums: &mut Sums<'_>) {
    let reads = &conv.reads;
    let padded = conv.padded;
    let positions = conv.lines() * conv.output[1];
    assert!(x.len() >= reads.reach(positions) && line < conv.lines());
    assert!(sums.len == conv.sums() && sums.panels.end <= conv.panels());
    let weights: &[u64] = &conv.weights;
    let panel = conv.weight_planes * reads.taps * reads.run * PANEL;
    assert!(weights.len() == conv.panels() * panel);
    for part in even_parts(positions, M::ROWS) {
        let x = &x[part.start * reads.step..];
        let mut ones = [0; MOST_ROWS];
        macro_rules! ones {
            ($($rows:literal)*) => {
                match part.len() {
                    $($rows => sums_of_codes::<$rows>(x.as_ptr(), reads, &mut ones),)*
                    rows => unreachable!("a tile of {rows} rows"),
                }
            };
        }
        // SAFETY: as was asserted, `x` reaches as far as the positions of the part read.
        unsafe { ones!(1 2 3 4 5 6 7 8) }
        let starts = ones.map(|ones| -conv.weight_levels * ones);
        for n in sums.panels.clone() {
            let (x, weights) = (x.as_ptr(), weights[n * panel..].as_ptr());
            let place = (line * positions + part.start) * padded + n * PANEL;
            // SAFETY: as was asserted, the place is among the sums.
            let sums = unsafe { sums.all.add(place) };
            let fours = (conv.outputs - n * PANEL).div_ceil(4).min(PANEL / 4);
            macro_rules! tiles {
                ($($rows:literal)*) => {
                    match (part.len(), fours) {
                        $(
                            ($rows, 1) => tile::<M, $rows, 1>(x, reads, weights, conv.weight_planes, &starts, sums, padded),
                            ($rows, 2) => tile::<M, $rows, 2>(x, reads, weights, conv.weight_planes, &starts, sums, padded),
                            ($rows, 3) => tile::<M, $rows, 3>(x, reads, weights, conv.weight_planes, &starts, sums, padded),
                            ($rows, 4) => tile::<M, $rows, 4>(x, reads, weights, conv.weight_planes, &starts, sums, padded),
                        )*
                        (rows, fours) => unreachable!("a tile of {rows} rows and {fours} times four outputs"),
                    }
                };
            }
            // SAFETY: as was asserted, `x` reaches as far as the positions of the part read, and the weights are those
            // of one panel; `sums` has a row of `padded` for each position from the first on, a panel of `PANEL` ends
            // within it, and no other thread writes to that panel. The instructions of `M` are here: `on_machine` has seen to it.
            unsafe { tiles!(1 2 3 4 5 6 7 8) }
        }
    }
}

/// `A`, of `ROWS` positions.
///
/// # Safety
///
/// `x` is good for reads of all that `ROWS` positions read.
#[inline(always)]
unsafe fn sums_of_codes<const ROWS: usize>(x: *const u64, reads: &Reads, sums: &mut [i32; MOST_ROWS]) {
    for plane in 0..reads.planes {
        let mut ones = [0; ROWS];
        for tap in 0..reads.taps {
            for k in 0..reads.run {
                let at = plane * reads.plane_step + tap * reads.tap_step + k;
                for (row, ones) in ones.iter_mut().enumerate() {
                    // SAFETY: the caller's.
                    *ones += unsafe { (*x.add(row * reads.step + at)).count_ones() };
                }
            }
        }
        for (sum, ones) in sums.iter_mut().zip(ones) {
            *sum += (ones << plane) as i32;
        }
    }
}

/// The sums of `ROWS` positions and the first `FOURS` times four outputs of one panel: `starts`, and twice the products
/// of codes.
///
/// Products of bits that are worth the same are counted together, the most valuable first, and what was counted is
/// doubled from one worth to the next.
///
/// # Safety
///
/// `x` is good for reads of all that `ROWS` positions read, `weights` for the panel's, `sums` for writes of `PANEL`
/// numbers at every `sums_step` of `ROWS`; the instructions of `M` are here.
#[inline(always)]
unsafe fn tile<M: Lanes, const ROWS: usize, const FOURS: usize>(
    x: *const u64,
    reads: &Reads,
    weights: *const u64,
    weight_planes: usize,
    starts: &[i32; MOST_ROWS],
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
    // SAFETY: of everything here, as the caller has promised.
    unsafe {
        for (row, &start) in starts.iter().enumerate().take(ROWS) {
            sums.add(row * sums_step)
                .cast::<[i32; PANEL]>()
                .write_unaligned([start; PANEL]);
        }
        let mut counts = [M::no_counts(); ROWS];
        let mut counted = 0;
        for worth in (0..planes + weight_planes - 1).rev() {
            if M::MOST == usize::MAX {
                for counts in &mut counts {
                    *counts = M::doubled::<FOURS>(*counts);
                }
            }
            for plane in worth.saturating_sub(weight_planes - 1)..planes.min(worth + 1) {
                let mut weights = weights.add((worth - plane) * taps * run * PANEL);
                for tap in 0..taps {
                    let x = x.add(plane * plane_step + tap * tap_step);
                    for k in 0..run {
                        if M::MOST < usize::MAX && counted == M::MOST {
                            add::<M, ROWS, FOURS>(counts, worth, sums, sums_step);
                            counts = [M::no_counts(); ROWS];
                            counted = 0;
                        }
                        let words = M::words::<FOURS>(weights);
                        for (row, counts) in counts.iter_mut().enumerate() {
                            *counts = M::count::<FOURS>(*counts, *x.add(row * step + k), words);
                        }
                        weights = weights.add(PANEL);
                        counted += 1;
                    }
                }
            }
            if M::MOST < usize::MAX {
                add::<M, ROWS, FOURS>(counts, worth, sums, sums_step);
                counts = [M::no_counts(); ROWS];
                counted = 0;
            }
        }
        if M::MOST == usize::MAX {
            add::<M, ROWS, FOURS>(counts, 0, sums, sums_step);
        }
    }
}

/// Adds twice the counts of `ROWS` positions, times `2^worth`.
///
/// A function and no closure: closures are not compiled for the instructions of the function around them, and counts
/// whose address they take do not stay in registers.
///
/// # Safety
///
/// As [`tile`].
#[inline(always)]
unsafe fn add<M: Lanes, const ROWS: usize, const FOURS: usize>(
    counts: [M::Counts; ROWS],
    worth: usize,
    sums: *mut i32,
    sums_step: usize,
) {
    for (row, counts) in counts.into_iter().enumerate() {
        // SAFETY: as the caller has promised.
        unsafe { M::add::<FOURS>(counts, worth as u32 + 1, sums.add(row * sums_step)) };
    }
}

/// Writes the bits of a part of one pixel's codes, as [`parts`] gives it.
#[inline(always)]
fn store_codes<M: Lanes>(
    codes: &[i32; PANEL],
    due: usize,
    first: usize,
    row: CodeRow,
    position: usize,
    to: &mut [u64],
) {
    for plane in 0..row.bits {
        let to = &mut to[plane * row.plane() + (row.frame + position) * row.words + due / WORD];
        // SAFETY: sixteen codes; the instructions are here.
        let bits = u64::from(unsafe { M::bits(codes.as_ptr(), plane as u32) }) >> (due - first);
        if due.is_multiple_of(WORD) {
            *to = bits;
        } else {
            *to |= bits << (due % WORD);
        }
    }
}

/// Mean, scale and shift of the channels of a part.
#[inline(always)]
fn affine_part<M: Lanes>(affine: Option<&Affine>, first: usize) -> Option<[Part<M>; 3]> {
    affine
        .map(|Affine { mean, scale, shift }| [mean, scale, shift].map(|channels| part::<M>(channels, first)))
}

/// Affine and activation of a part.
#[inline(always)]
fn finish<M: Lanes>([mut a, mut b]: Part<M>, affine: Option<[Part<M>; 3]>, act: Act) -> Part<M> {
    // SAFETY: of everything here: the instructions are here.
    unsafe {
        if let Some([mean, scale, shift]) = affine {
            a = M::sum(M::product(M::difference(a, mean[0]), scale[0]), shift[0]);
            b = M::sum(M::product(M::difference(b, mean[1]), scale[1]), shift[1]);
        }
        match act {
            Act::Identity => [a, b],
            Act::Relu => [M::relu(a), M::relu(b)],
            Act::Clamp => [M::clamp(a), M::clamp(b)],
        }
    }
}

/// `round(clamp(x, 0, 1) * levels)`, half to even.
#[inline(always)]
fn codes<M: Lanes>([a, b]: Part<M>, levels: f32) -> [i32; PANEL] {
    // To add 2^23 rounds a number under it, half to even, and leaves it in the lowest bits: two instructions where a
    // conversion that minds what is no number takes six.
    const ROUND: f32 = (1u32 << 23) as f32;
    let mut rounded = [0.0f32; PANEL];
    // SAFETY: room for sixteen numbers; the instructions are here.
    unsafe {
        let (levels, round) = (M::splat(levels), M::splat(ROUND));
        M::store(
            M::sum(M::product(M::clamp(a), levels), round),
            rounded.as_mut_ptr(),
        );
        M::store(
            M::sum(M::product(M::clamp(b), levels), round),
            rounded.as_mut_ptr().add(8),
        );
    }
    rounded.map(|x| (x.to_bits() & 0xF) as i32)
}

#[inline(always)]
fn quantize_rows<M: Lanes>(job: QuantizeRows<'_>) {
    let QuantizeRows {
        quantize,
        x,
        out: (to, row),
    } = job;
    let channels = quantize.channels;
    let width = row.width - 2 * row.frame;
    for (x, to) in x
        .chunks_exact(width * channels)
        .zip(to.chunks_exact_mut(row.len()))
    {
        for (due, first) in parts(channels) {
            let affine = affine_part::<M>(quantize.affine.as_ref(), first);
            for (position, x) in x.chunks_exact(channels).enumerate() {
                let x = finish::<M>(part::<M>(x, first), affine, Act::Identity);
                let codes = codes::<M>(x, quantize.levels);
                store_codes::<M>(&codes, due, first, row, position, to);
            }
        }
    }
}

#[inline(always)]
fn mean_rows<M: Lanes>(job: MeanRows<'_>) {
    let MeanRows {
        x,
        size: [height, width],
        affine,
        act,
        out,
    } = job;
    let channels = out.len();
    for (_, first) in parts(channels) {
        let affine = affine_part::<M>(affine, first);
        // SAFETY: of everything here: the instructions are here.
        unsafe {
            let [mut a, mut b] = [M::splat(0.0); 2];
            for row in x[..height * width * channels].chunks_exact(width * channels) {
                let [mut c, mut d] = [M::splat(0.0); 2];
                for x in row.chunks_exact(channels) {
                    let x = finish::<M>(part::<M>(x, first), affine, act);
                    (c, d) = (M::sum(c, x[0]), M::sum(d, x[1]));
                }
                let width = M::splat(width as f32);
                (a, b) = (M::sum(a, M::quotient(c, width)), M::sum(b, M::quotient(d, width)));
            }
            let height = M::splat(height as f32);
            store_part::<M>([M::quotient(a, height), M::quotient(b, height)], out, first);
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
    let sums = &mut scratch.floats[..];
    for (n, row) in rows.enumerate() {
        for (down, sums) in sums.chunks_exact_mut(line).enumerate() {
            let x = &x[(row * lines + down) * conv.reads.row_step..];
            float_sum_row::<M>(conv, x, lines * width, sums);
        }
        for (due, first) in parts(outputs) {
            let affine = affine_part::<M>(conv.affine.as_ref(), first);
            for position in 0..width {
                let at = lines * position * padded;
                let mut x = float_part::<M>(&sums[at..][..outputs], affine, first);
                if lines == 2 {
                    let b = float_part::<M>(&sums[at + padded..][..outputs], affine, first);
                    let c = float_part::<M>(&sums[line + at..][..outputs], affine, first);
                    let d = float_part::<M>(&sums[line + at + padded..][..outputs], affine, first);
                    // SAFETY: the instructions are here.
                    unsafe {
                        for n in 0..2 {
                            x[n] = M::larger(M::larger(x[n], b[n]), M::larger(c[n], d[n]));
                        }
                    }
                }
                match (&conv.end, &mut out) {
                    (FloatEnd::Codes { levels }, Out::Codes(to, row)) => {
                        let codes = codes::<M>(x, *levels);
                        let to = &mut to[n * row.len()..][..row.len()];
                        store_codes::<M>(&codes, due, first, *row, position, to);
                    }
                    (FloatEnd::Floats { act }, Out::Floats(to)) => {
                        let x = finish::<M>(x, None, *act);
                        store_part::<M>(x, &mut to[(n * width + position) * outputs..][..outputs], first);
                    }
                    _ => unreachable!("the output is of the kind that the step ends with"),
                }
            }
        }
    }
}

/// A part of one position's sums, after the affine.
#[inline(always)]
fn float_part<M: Lanes>(sums: &[f32], affine: Option<[Part<M>; 3]>, first: usize) -> Part<M> {
    finish::<M>(part::<M>(sums, first), affine, Act::Identity)
}

/// Of every position and output the sum of products, kernel row by row, from left to right, channel by channel, each
/// with one rounding: the order that the training-time network sums in.
#[inline(always)]
fn float_sum_row<M: Lanes>(conv: &FloatConv, x: &[f32], positions: usize, sums: &mut [f32]) {
    let (reads, padded) = (&conv.reads, conv.padded);
    assert!(x.len() >= reads.reach(positions) && sums.len() == positions * padded);
    let in_groups = if conv.groups.is_empty() {
        0
    } else {
        positions - positions % (2 * EIGHT)
    };
    for group in &conv.groups {
        let outputs = group.start.len();
        assert!(
            reads.step == 1
                && group.first + EIGHT <= padded
                && group.weights.len() == reads.filter() * outputs
        );
        let (start, weights) = (group.start.as_ptr(), group.weights.as_ptr());
        for first in (0..in_groups).step_by(2 * EIGHT) {
            let x = x[first..].as_ptr();
            let sums = sums[first * padded + group.first..].as_mut_ptr();
            // SAFETY: as in `sum_line`: all lengths were asserted, and the instructions are here.
            unsafe {
                match outputs {
                    1 => group_tile::<M, 1>(x, reads, start, weights, sums, padded),
                    2 => group_tile::<M, 2>(x, reads, start, weights, sums, padded),
                    3 => group_tile::<M, 3>(x, reads, start, weights, sums, padded),
                    4 => group_tile::<M, 4>(x, reads, start, weights, sums, padded),
                    5 => group_tile::<M, 5>(x, reads, start, weights, sums, padded),
                    6 => group_tile::<M, 6>(x, reads, start, weights, sums, padded),
                    outputs => unreachable!("a group of {outputs} outputs"),
                }
            }
        }
    }
    for panel in &conv.panels {
        let columns = EIGHT * panel.across;
        assert!(
            panel.first + columns <= padded
                && panel.start.len() == columns
                && panel.weights.len() == reads.filter() * columns
        );
        for part in even_parts(positions - in_groups, [8, 6, 4][panel.across - 1]) {
            let first = in_groups + part.start;
            let x = &x[first * reads.step..];
            let sums = &mut sums[first * padded + panel.first..];
            macro_rules! tiles {
                ($($rows:literal $across:literal),*) => {
                    match (part.len(), panel.across) {
                        $(($rows, $across) => float_tile::<M, $rows, $across>(
                            x.as_ptr(), reads, panel.start.as_ptr(), panel.weights.as_ptr(), sums.as_mut_ptr(), padded,
                        ),)*
                        (rows, across) => unreachable!("a tile of {rows} rows and {across} vectors"),
                    }
                };
            }
            // SAFETY: as in `sum_line`: all lengths were asserted, and the instructions are here.
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
    reads: &FloatReads,
    start: *const f32,
    mut weights: *const f32,
    sums: *mut f32,
    sums_step: usize,
) {
    // SAFETY: of everything here, as the caller has promised.
    unsafe {
        let start: [M::Eight; ACROSS] = std::array::from_fn(|n| M::load(start.add(EIGHT * n)));
        let mut totals = [start; ROWS];
        for tap in 0..reads.taps {
            for column in 0..reads.columns {
                let x = x.add(tap * reads.tap_step + column * reads.column_step);
                for channel in 0..reads.channels {
                    let x = x.add(channel * reads.channel_step);
                    let eights: [M::Eight; ACROSS] = std::array::from_fn(|n| M::load(weights.add(EIGHT * n)));
                    for (row, totals) in totals.iter_mut().enumerate() {
                        let x = *x.add(row * reads.step);
                        for (total, &eight) in totals.iter_mut().zip(&eights) {
                            *total = M::fused(x, eight, *total);
                        }
                    }
                    weights = weights.add(EIGHT * ACROSS);
                }
            }
        }
        for (row, totals) in totals.iter().enumerate() {
            for (n, &total) in totals.iter().enumerate() {
                M::store(total, sums.add(row * sums_step + EIGHT * n));
            }
        }
    }
}

/// The sums of sixteen positions that lie side by side and of `OUTPUTS` outputs, each product once for eight positions.
///
/// # Safety
///
/// As [`tile`], with `OUTPUTS` numbers of `start` and of each weight, and eight of each row of sums: those behind the
/// outputs are overwritten.
#[inline(always)]
unsafe fn group_tile<M: Lanes, const OUTPUTS: usize>(
    x: *const f32,
    reads: &FloatReads,
    start: *const f32,
    mut weights: *const f32,
    sums: *mut f32,
    sums_step: usize,
) {
    // SAFETY: of everything here, as the caller has promised.
    unsafe {
        let mut totals = [[M::splat(0.0); 2]; OUTPUTS];
        for (n, totals) in totals.iter_mut().enumerate() {
            *totals = [M::splat(*start.add(n)); 2];
        }
        for tap in 0..reads.taps {
            for column in 0..reads.columns {
                let x = x.add(tap * reads.tap_step + column * reads.column_step);
                for channel in 0..reads.channels {
                    let x = x.add(channel * reads.channel_step);
                    let (a, b) = (M::load(x), M::load(x.add(EIGHT)));
                    for (n, totals) in totals.iter_mut().enumerate() {
                        let weight = *weights.add(n);
                        *totals = [M::fused(weight, a, totals[0]), M::fused(weight, b, totals[1])];
                    }
                    weights = weights.add(OUTPUTS);
                }
            }
        }
        for half in 0..2 {
            let mut eights = [M::splat(0.0); EIGHT];
            for (eight, totals) in eights.iter_mut().zip(&totals) {
                *eight = totals[half];
            }
            for (n, eight) in M::transposed(eights).into_iter().enumerate() {
                M::store(eight, sums.add((EIGHT * half + n) * sums_step));
            }
        }
    }
}
