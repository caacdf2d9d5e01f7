//! The forward pass on integers, for a convolution whose weights and activations are both quantised.
//!
//! An activation is a code times one number, and a weight a code times its filter's, so a sum of their products is a sum of products of
//! small integers, times one number. The integers are exact in any order of summation, and fit a byte: machines that multiply
//! four bytes and add them to a sum in one instruction do the work of four fused multiply-adds with it, at the rate of one.
//!
//! Weights are signed bytes. Activations are unsigned ones, counted from the lowest code: what that adds to every sum of a filter is
//! taken off where the sum begins. What this brings to a training step is in `docs/cpu-speed.md`.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

use macerator::Simd;
use rayon::prelude::*;

use super::buffer::Buffer;
use super::shape::{ConvShape, even_parts};
use super::tile::{self, MOST_ACROSS, MOST_ROWS, Positions, Reads, with_size};

/// Bytes that are multiplied and added up at once.
const GROUP: usize = 4;

/// The codes of activations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grid {
    /// What a number is multiplied by to be its code.
    pub per_one: f32,
    /// What a code stands for, where that is a number of 32 bits: else the inverse of `per_one`.
    pub step: Option<f32>,
    /// The least code, zero or below, and the largest.
    pub ends: [i32; 2],
}

impl Grid {
    /// What a product of codes is worth, where a weight's is worth `unit`: one rounding, as packed networks have it.
    fn worth(self, unit: f32) -> f32 {
        match self.step {
            Some(step) => unit * step,
            None => unit / self.per_one,
        }
    }
}

/// What weights are multiples of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Units {
    /// Of this number, or of one for each filter.
    Known(Vec<f32>),
    /// The largest magnitude of all, or that of each filter, is the largest code.
    Largest { per_filter: bool },
}

/// What the numbers of a convolution were rounded to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grids {
    pub input: Grid,
    pub units: Units,
    /// The least code of weights and the largest.
    pub weight: [i32; 2],
}

impl Grids {
    /// Of DoReFa-Net: activations in so many steps of the unit interval, weights in so many on either side of zero.
    pub fn of_unit_interval(input: u32, weight: u32) -> Self {
        let [highest, weight] = [input, weight].map(|levels| levels as i32);
        Self {
            input: Grid {
                per_one: input as f32,
                step: None,
                ends: [0, highest],
            },
            units: Units::Largest { per_filter: false },
            weight: [-weight, weight],
        }
    }

    /// The unit of each of so many filters.
    pub(super) fn units_of(&self, weight: &[f32], filters: usize) -> Vec<f32> {
        let largest = |weight: &[f32]| {
            let peak = weight.iter().fold(0f32, |peak, value| peak.max(value.abs()));
            peak / self.weight[1] as f32
        };
        match &self.units {
            Units::Known(units) => (0..filters).map(|filter| units[filter % units.len()]).collect(),
            Units::Largest { per_filter: false } => vec![largest(weight); filters],
            Units::Largest { per_filter: true } => {
                weight.chunks(weight.len() / filters).map(largest).collect()
            }
        }
    }

    /// Whether sums of `terms` products of codes, and what `machine` computes on the way, fit their types.
    fn fit(&self, machine: Machine, terms: usize) -> bool {
        let [lowest, highest] = self.input.ends.map(i64::from);
        let (byte, weight) = (highest - lowest, self.weight.map(i64::from));
        let product = weight[1].max(-weight[0]) * byte;
        let terms = i64::try_from(terms).unwrap_or(i64::MAX);
        (-128..=0).contains(&lowest)
            && (0..=255).contains(&byte)
            && weight[0] >= i8::MIN.into()
            && weight[1] <= i8::MAX.into()
            // What the lowest code adds is no more than a byte of it would.
            && product.saturating_mul(2).saturating_mul(terms) <= i32::MAX.into()
            && (machine != Machine::Avx2 || 2 * product <= i16::MAX.into())
    }
}

/// [`Grids`] of a convolution whose filters are known.
#[derive(Clone, Copy, Debug)]
pub struct OnGrid<'a> {
    pub grids: &'a Grids,
    /// Of each filter.
    pub units: &'a [f32],
}

impl OnGrid<'_> {
    /// Of these filters.
    pub fn of(self, filters: Range<usize>) -> Self {
        let units = &self.units[filters];
        Self { units, ..self }
    }
}

/// The instructions that a convolution on integers is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// AVX-512 VNNI.
    Vnni512,
    /// AVX-VNNI.
    Vnni256,
    /// AVX2, whose sums of two products saturate at 16 bits.
    Avx2,
}

impl Machine {
    /// The fastest that there is here; `None` where floats are faster.
    fn detect() -> Option<Self> {
        Self::available().next()
    }

    /// All that there are here, the fastest first.
    fn available() -> impl Iterator<Item = Self> {
        [Self::Vnni512, Self::Vnni256, Self::Avx2]
            .into_iter()
            .filter(|machine| machine.is_here())
    }

    #[cfg(target_arch = "x86_64")]
    fn is_here(self) -> bool {
        match self {
            Self::Vnni512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni"),
            Self::Vnni256 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni"),
            Self::Avx2 => is_x86_feature_detected!("avx2"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn is_here(self) -> bool {
        false
    }

    /// Sums in a vector.
    fn lanes(self) -> usize {
        match self {
            Self::Vnni512 => 16,
            Self::Vnni256 | Self::Avx2 => 8,
        }
    }

    /// The most rows of a tile that is `across` vectors wide: as many as leave registers for the operands.
    fn max_rows(self, across: usize) -> usize {
        let sums = match self {
            Self::Vnni512 => 24,
            Self::Vnni256 => 12,
            Self::Avx2 => 10,
        };
        (sums / across).min(MOST_ROWS)
    }
}

/// The weights of one convolution as codes, in the order that the tiles read them: panels of [`MOST_ACROSS`] vectors
/// of columns, the last perhaps narrower; in each, per run of the kernel, the columns of four neighbouring inputs after those
/// of another.
pub struct IntegerConv {
    machine: Machine,
    shape: ConvShape,
    input: Grid,
    weights: Buffer,
    /// Of each column, what its sum begins with.
    begins: Vec<i32>,
    /// Of each column, what a one of its sums is worth, and what is added then.
    unit: Vec<f32>,
    bias: Vec<f32>,
}

impl IntegerConv {
    /// Of the quantised weights `[channels_out, channels_in, kernel_height, kernel_width]`, and what is added to the sums.
    ///
    /// `None` where this machine has no instructions for it, the numbers do not fit them, or a weight is none of the codes.
    pub fn new(shape: &ConvShape, weight: &[f32], bias: Option<&[f32]>, grid: OnGrid<'_>) -> Option<Self> {
        Self::on(Machine::detect()?, shape, weight, bias, grid)
    }

    fn on(
        machine: Machine,
        shape: &ConvShape,
        weight: &[f32],
        bias: Option<&[f32]>,
        OnGrid { grids, units }: OnGrid<'_>,
    ) -> Option<Self> {
        let [inputs, columns] = shape.channels;
        let [down, across] = shape.kernel;
        let filter = inputs * down * across;
        let mut factors = units.iter().chain([&grids.input.per_one]);
        if !factors.all(|factor| factor.is_normal() && *factor > 0.0) || !grids.fit(machine, filter) {
            return None;
        }
        let padded = columns.next_multiple_of(machine.lanes());
        let run = run(shape);
        // The bytes of a run, as the weights of each column have them.
        let row = run.next_multiple_of(GROUP);
        let runs = filter / run;
        // The run and the place in it of each place of the kernel.
        let places: Vec<(usize, usize)> = (0..down * across)
            .map(|place| (place * inputs / run, place * inputs % run))
            .collect();
        let mut weights = Buffer::unwritten(runs * row * padded / GROUP);
        let mut begins = vec![0; padded];
        let widest = MOST_ACROSS * machine.lanes();
        let [least, most] = grids.weight.map(|code| code as f32);
        // Quantisers round numbers as large as the largest code.
        let near = 2.0 * NEAR * most;
        let lowest = grids.input.ends[0];
        let whole = bytemuck::cast_slice_mut::<f32, i8>(&mut weights)
            .par_chunks_mut(runs * row * widest)
            .zip(begins.par_chunks_mut(widest))
            .zip(weight.par_chunks(widest * filter))
            .zip(units.par_chunks(widest))
            .map(|(((panel, begins), filters), units)| {
                panel.fill(0);
                let width = begins.len();
                let mut whole = true;
                for (column, (filter, unit)) in filters.chunks_exact(filter).zip(units).enumerate() {
                    let (mut sum, per_one) = (0, 1.0 / unit);
                    for (i, kernel) in filter.chunks_exact(down * across).enumerate() {
                        for (&(tap, first), value) in places.iter().zip(kernel) {
                            let scaled = value * per_one;
                            let code = scaled.round_ties_even();
                            whole &= (scaled - code).abs() <= near && least <= code && code <= most;
                            let k = first + i;
                            panel[(tap * row + k / GROUP * GROUP) * width + column * GROUP + k % GROUP] =
                                code as i8;
                            sum += code as i32;
                        }
                    }
                    begins[column] = lowest * sum;
                }
                whole
            })
            .reduce(|| true, |one, other| one && other);
        let of_columns = |numbers: &mut dyn Iterator<Item = f32>| {
            let mut of_columns = vec![0.0; padded];
            of_columns
                .iter_mut()
                .zip(numbers)
                .for_each(|(to, number)| *to = number);
            of_columns
        };
        let unit = of_columns(&mut units.iter().map(|unit| grids.input.worth(*unit)));
        let bias = of_columns(&mut bias.unwrap_or_default().iter().copied());
        whole.then_some(Self {
            machine,
            shape: *shape,
            input: grids.input,
            weights,
            begins,
            unit,
            bias,
        })
    }

    /// The codes of framed activations, in `codes`; `false` where one of them is none of the values that the
    /// activations are rounded to.
    pub fn pack(&self, x: &[f32], codes: &mut Vec<u8>) -> bool {
        // The last group of a row may reach past the picture, to where its weights are zero.
        codes.resize(x.len() + GROUP - 1, 0);
        pack(x, self.input, codes)
    }

    /// Convolves one picture of codes, `[height_framed, width_framed, channels_in]`.
    ///
    /// `out`: `[height_out, width_out, channels_out]`.
    pub fn picture(&self, codes: &[u8], out: &mut [f32]) {
        let (left, right) = self.shape.padding[1];
        let pitch = (left + self.shape.input[1] + right) * self.shape.channels[0];
        self.sums(codes, self.shape.output(), pitch, out);
    }

    /// Multiplies rows of codes, `[rows, channels_in]`, with the weights of kernels of one place.
    ///
    /// `out`: `[rows, channels_out]`.
    pub fn multiply(&self, codes: &[u8], out: &mut [f32]) {
        let rows = out.len() / self.shape.channels[1];
        self.sums(codes, [1, rows], 0, out);
    }

    fn sums(&self, codes: &[u8], size: [usize; 2], pitch: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Machine::is_here` has found the instructions before there was an `IntegerConv` of that machine.
        unsafe {
            match self.machine {
                Machine::Vnni512 => sums_vnni512(self, codes, size, pitch, out),
                Machine::Vnni256 => sums_vnni256(self, codes, size, pitch, out),
                Machine::Avx2 => sums_avx2(self, codes, size, pitch, out),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!(
            "{:?} is not here: {}, {size:?}, {pitch}, {}",
            self.machine,
            codes.len(),
            out.len()
        );
    }

    /// The columns of each panel.
    fn panels(&self) -> impl Iterator<Item = Panel<'_>> {
        let lanes = self.machine.lanes();
        let weights = bytemuck::cast_slice::<f32, i8>(&self.weights);
        let inner = weights.len() / self.begins.len();
        tile::panels(self.begins.len(), lanes).map(move |(column, across)| {
            let columns = column..column + across * lanes;
            Panel {
                column,
                across,
                weights: &weights[column * inner..][..across * lanes * inner],
                begins: &self.begins[columns.clone()],
                unit: &self.unit[columns.clone()],
                bias: &self.bias[columns],
            }
        })
    }
}

/// Columns of an [`IntegerConv`] that are computed at once.
#[derive(Clone, Copy)]
struct Panel<'a> {
    column: usize,
    across: usize,
    weights: &'a [i8],
    begins: &'a [i32],
    unit: &'a [f32],
    bias: &'a [f32],
}

/// Inputs that lie side by side under a kernel: under one of its rows, or one of its places where these are dilated.
fn run(shape: &ConvShape) -> usize {
    match shape.dilation[1] {
        1 => shape.kernel[1] * shape.channels[0],
        _ => shape.channels[0],
    }
}

/// How far a number is from a code, relative to it, that is one but for rounding: the errors of a product, an inverse and another product.
const NEAR: f32 = f32::EPSILON * 2.0;

/// Writes the codes of `x`, counted from the lowest; whether all were some.
#[macerator::with_simd]
fn pack<S: Simd>(x: &[f32], grid: Grid, codes: &mut [u8]) -> bool {
    // To add 1.5 * 2^23 rounds a number whose magnitude is under 2^22, half to even, and leaves it in the lowest bits.
    const ROUND: f32 = (3u32 << 22) as f32;
    let [lowest, highest] = grid.ends.map(|code| code as f32);
    let first = grid.ends[0] as u8;
    let mut off = 0;
    for (code, &x) in codes.iter_mut().zip(x) {
        let scaled = x * grid.per_one;
        let shifted = scaled + ROUND;
        let whole = shifted - ROUND;
        let on = ((scaled - whole).abs() <= whole.abs() * NEAR) & (whole >= lowest) & (whole <= highest);
        off |= u32::from(!on);
        *code = (shifted.to_bits() as u8).wrapping_sub(first);
    }
    off == 0
}

/// Four bytes times four bytes, in vectors.
///
/// # Safety
///
/// Of every function: the machine has the instructions.
#[cfg(target_arch = "x86_64")]
trait Dot4 {
    type Sums: Copy;
    const LANES: usize;

    /// What the sums of these columns begin with.
    unsafe fn begin(from: &[i32]) -> Self::Sums;

    /// Adds, in each lane, the four products of the bytes of `x` and those of the lane's weights.
    unsafe fn dot4(sums: Self::Sums, x: u32, weights: &[i8]) -> Self::Sums;

    /// Stores the sums, times the columns' units, plus their biases.
    unsafe fn store(sums: Self::Sums, unit: &[f32], bias: &[f32], to: &mut [f32]);
}

/// The loop of one picture, for a type that implements [`Dot4`], in a function that has its instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! machine {
    ($machine:ident, $sums:ty, $lanes:literal, $features:literal, $run:ident,
     load: $load:expr, splat: $splat:ident, dot: |$acc:ident, $x:ident, $w:ident| $dot:expr,
     store: |$value:ident, $unit:ident, $bias:ident, $to:ident| $store:expr) => {
        struct $machine;

        impl Dot4 for $machine {
            type Sums = $sums;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn begin(from: &[i32]) -> $sums {
                assert!(from.len() == $lanes);
                // SAFETY: it is as long as a vector.
                unsafe { $load(from.as_ptr().cast()) }
            }

            #[inline(always)]
            unsafe fn dot4($acc: $sums, x: u32, weights: &[i8]) -> $sums {
                assert!(weights.len() == GROUP * $lanes);
                // SAFETY: the weights are as long as a vector.
                unsafe {
                    let $w = $load(weights.as_ptr().cast());
                    let $x = $splat(x as i32);
                    $dot
                }
            }

            #[inline(always)]
            unsafe fn store($value: $sums, unit: &[f32], bias: &[f32], to: &mut [f32]) {
                assert!(to.len() == $lanes && unit.len() == $lanes && bias.len() == $lanes);
                let ($unit, $bias, $to) = (unit.as_ptr(), bias.as_ptr(), to.as_mut_ptr());
                // SAFETY: all of them are as long as a vector.
                unsafe { $store }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $run(conv: &IntegerConv, codes: &[u8], size: [usize; 2], pitch: usize, out: &mut [f32]) {
            // SAFETY: the caller has seen to it that the instructions are there.
            unsafe { sums::<$machine>(conv, codes, size, pitch, out) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
macro_rules! store256 {
    ($sums:ident, $unit:ident, $bias:ident, $to:ident) => {{
        let scaled = _mm256_mul_ps(_mm256_cvtepi32_ps($sums), _mm256_loadu_ps($unit));
        _mm256_storeu_ps($to, _mm256_add_ps(scaled, _mm256_loadu_ps($bias)))
    }};
}

#[cfg(target_arch = "x86_64")]
machine!(Vnni512, __m512i, 16, "avx512f,avx512vnni", sums_vnni512,
load: _mm512_loadu_si512, splat: _mm512_set1_epi32,
dot: |acc, x, w| _mm512_dpbusd_epi32(acc, x, w),
store: |sums, unit, bias, to| {
    let scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_loadu_ps(unit));
    _mm512_storeu_ps(to, _mm512_add_ps(scaled, _mm512_loadu_ps(bias)))
});
#[cfg(target_arch = "x86_64")]
machine!(Vnni256, __m256i, 8, "avx2,avxvnni", sums_vnni256,
    load: _mm256_loadu_si256, splat: _mm256_set1_epi32,
    dot: |acc, x, w| _mm256_dpbusd_avx_epi32(acc, x, w),
    store: |sums, unit, bias, to| store256!(sums, unit, bias, to));
#[cfg(target_arch = "x86_64")]
machine!(Avx2, __m256i, 8, "avx2", sums_avx2,
    load: _mm256_loadu_si256, splat: _mm256_set1_epi32,
    dot: |acc, x, w| {
        let pairs = _mm256_maddubs_epi16(x, w);
        _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    },
    store: |sums, unit, bias, to| store256!(sums, unit, bias, to));

/// Sums of `size` positions, whose inputs lie in rows of `pitch` codes.
///
/// # Safety
///
/// The machine has the instructions of `M`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn sums<M: Dot4>(
    conv: &IntegerConv,
    codes: &[u8],
    [height, width]: [usize; 2],
    pitch: usize,
    out: &mut [f32],
) {
    let shape = &conv.shape;
    let [inputs, outputs] = shape.channels;
    let run = run(shape);
    let reads = Reads {
        tap_step: shape.dilation[0] * pitch,
        runs: shape.kernel[1] * inputs / run,
        run_step: shape.dilation[1] * inputs,
        run,
    };
    let positions = Positions {
        columns: width,
        x_steps: [shape.stride[0] * pitch, shape.stride[1] * inputs],
        out_steps: [width * outputs, outputs],
    };
    for panel in conv.panels() {
        let columns = (panel.across * M::LANES).min(outputs - panel.column);
        for tile in even_parts(height * width, conv.machine.max_rows(panel.across)) {
            let (positions, out) = ((positions, tile.start), (&mut out[panel.column..], columns));
            // SAFETY: as this function's.
            unsafe {
                with_size!(
                    tile.len(),
                    panel.across,
                    dot::<M>(codes, positions, reads, panel, out)
                );
            }
        }
    }
}

/// As [`tile`](super::tile)'s `dot`, on codes.
///
/// # Safety
///
/// The machine has the instructions of `M`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn dot<M: Dot4, const ROWS: usize, const ACROSS: usize>(
    codes: &[u8],
    (positions, first): (Positions, usize),
    reads: Reads,
    panel: Panel<'_>,
    (out, columns): (&mut [f32], usize),
) {
    let starts: [[usize; 2]; ROWS] = positions.from(first);
    let furthest = starts.iter().map(|[x, _]| *x).max().unwrap_or(0);
    let bytes = GROUP * M::LANES;
    let groups = reads.run.div_ceil(GROUP);
    // SAFETY: of every call, as this function's.
    let begins: [M::Sums; ACROSS] =
        std::array::from_fn(|across| unsafe { M::begin(&panel.begins[across * M::LANES..][..M::LANES]) });
    let mut sums = [begins; ROWS];
    for (tap, weights) in panel.weights.chunks_exact(groups * ACROSS * bytes).enumerate() {
        let codes = &codes[reads.start(tap)..][..furthest + groups * GROUP];
        // SAFETY: of every row, as the slice reaches to the end of the furthest.
        let rows: [*const u8; ROWS] =
            std::array::from_fn(|row| unsafe { codes.as_ptr().add(starts[row][0]) });
        for (group, weights) in weights.chunks_exact(ACROSS * bytes).enumerate() {
            for (row, sums) in rows.iter().zip(&mut sums) {
                // SAFETY: as `group < groups`, the four bytes are within the slice above.
                let x = unsafe { row.add(group * GROUP).cast::<u32>().read_unaligned() };
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(bytes)) {
                    *sum = unsafe { M::dot4(*sum, x, weights) };
                }
            }
        }
    }
    // The widest vectors have 16 lanes.
    let mut whole = [0f32; MOST_ACROSS * 16];
    for ([_, at], sums) in starts.iter().zip(&sums) {
        let out = &mut out[*at..][..columns];
        // SAFETY: of both calls, as this function's.
        if columns == ACROSS * M::LANES {
            unsafe { store_sums::<M, ACROSS>(sums, panel, out) };
        } else {
            unsafe { store_sums::<M, ACROSS>(sums, panel, &mut whole) };
            out.copy_from_slice(&whole[..columns]);
        }
    }
}

/// Stores the sums of one position as numbers.
///
/// # Safety
///
/// The machine has the instructions of `M`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn store_sums<M: Dot4, const ACROSS: usize>(
    sums: &[M::Sums; ACROSS],
    panel: Panel<'_>,
    to: &mut [f32],
) {
    for (across, (&sum, to)) in sums.iter().zip(to.chunks_exact_mut(M::LANES)).enumerate() {
        let lanes = across * M::LANES..(across + 1) * M::LANES;
        // SAFETY: as this function's.
        unsafe { M::store(sum, &panel.unit[lanes.clone()], &panel.bias[lanes], to) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers under `below`, the same every time.
    fn numbers(len: usize, below: u64, seed: u64) -> Vec<u64> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            })
            .collect()
    }

    /// Codes from the least to the largest.
    fn codes(len: usize, [least, most]: [i32; 2], seed: u64) -> Vec<i64> {
        let numbers = numbers(len, (most - least + 1) as u64, seed).into_iter();
        numbers.map(|code| code as i64 + i64::from(least)).collect()
    }

    #[test]
    fn every_machine_computes_the_sums_of_plain_integers() {
        let mut tried = 0;
        for (n, (inputs, outputs, side, kernel, stride, padding, dilation)) in [
            (1, 1, 1, 1, 1, 0, 1),
            (3, 5, 7, 3, 1, 1, 1),
            (24, 32, 18, 3, 1, 1, 1),
            (27, 60, 9, 3, 1, 0, 1),
            (17, 33, 8, 3, 2, 1, 1),
            (64, 64, 7, 5, 3, 2, 1),
            (5, 100, 6, 2, 1, 0, 1),
            (5, 18, 9, 3, 1, 2, 2),
            (8, 7, 11, 3, 2, 1, 3),
        ]
        .into_iter()
        .enumerate()
        {
            let shape = ConvShape {
                batch: 1,
                input: [side, side + 1],
                channels: [inputs, outputs],
                kernel: [kernel, kernel],
                stride: [stride, stride],
                padding: [(padding, padding); 2],
                dilation: [dilation; 2],
            };
            for (weight, ends) in [
                ([-1, 1], [0, 1]),
                ([-1, 1], [0, 15]),
                ([-3, 3], [-1, 1]),
                ([-8, 7], [-8, 7]),
                ([-7, 7], [0, 255]),
                ([-63, 63], [0, 255]),
                ([-64, 63], [-128, 127]),
                ([-128, 127], [0, 255]),
                ([-128, 127], [-3, 252]),
            ] {
                let seed = n as u64;
                let units: Vec<f32> = (0..outputs).map(|filter| 0.37 + filter as f32 / 64.0).collect();
                let bias: Vec<f32> = (0..outputs).map(|filter| filter as f32 - 1.25).collect();
                let weights = codes(inputs * outputs * kernel * kernel, weight, seed);
                let (height, width) = (side + 2 * padding, side + 1 + 2 * padding);
                let x = codes(height * width * inputs, ends, seed + 100);
                let floats: Vec<f32> = weights
                    .iter()
                    .enumerate()
                    .map(|(at, &code)| code as f32 * units[at / (inputs * kernel * kernel)])
                    .collect();
                let step = 0.21f32;
                let framed: Vec<f32> = x.iter().map(|&code| code as f32 * step).collect();
                let input = Grid {
                    per_one: 1.0 / step,
                    step: (n % 2 == 0).then_some(step),
                    ends,
                };
                let grids = Grids {
                    input,
                    units: Units::Known(units.clone()),
                    weight,
                };
                let [out_h, out_w] = shape.output();
                for machine in Machine::available() {
                    let grid = OnGrid {
                        grids: &grids,
                        units: &units,
                    };
                    let Some(conv) = IntegerConv::on(machine, &shape, &floats, Some(&bias), grid) else {
                        let product = -weight[0] * (ends[1] - ends[0]);
                        assert!(machine == Machine::Avx2 && 2 * product > i16::MAX.into());
                        continue;
                    };
                    let mut bytes = Vec::new();
                    assert!(conv.pack(&framed, &mut bytes));
                    let mut out = vec![f32::NAN; out_h * out_w * outputs];
                    conv.picture(&bytes, &mut out);
                    for (at, found) in out.iter().enumerate() {
                        let (row, column, o) = (at / outputs / out_w, at / outputs % out_w, at % outputs);
                        let mut sum = 0;
                        for i in 0..inputs {
                            for (y, z) in (0..kernel).flat_map(|y| (0..kernel).map(move |z| (y, z))) {
                                let from =
                                    (row * stride + y * dilation) * width + column * stride + z * dilation;
                                sum += weights[((o * inputs + i) * kernel + y) * kernel + z]
                                    * x[from * inputs + i];
                            }
                        }
                        let worth = match input.step {
                            Some(step) => units[o] * step,
                            None => units[o] / input.per_one,
                        };
                        let expected = sum as f32 * worth + bias[o];
                        assert_eq!(*found, expected, "{machine:?} {shape:?} {grids:?}");
                    }
                    tried += 1;
                }
            }
        }
        assert!(tried > 0 || Machine::detect().is_none());
    }

    #[test]
    fn rows_are_multiplied_as_pictures_of_one_place_are_convolved() {
        let (rows, inputs, outputs) = (29, 13, 37);
        let shape = ConvShape {
            batch: 1,
            input: [1, rows],
            channels: [inputs, outputs],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [(0, 0); 2],
            dilation: [1, 1],
        };
        let floats = |codes: Vec<i64>| -> Vec<f32> { codes.iter().map(|&code| code as f32).collect() };
        let weights = floats(codes(inputs * outputs, [-8, 7], 1));
        let x = floats(codes(rows * inputs, [-2, 13], 2));
        let input = Grid {
            per_one: 1.0,
            step: None,
            ends: [-2, 13],
        };
        let grids = Grids {
            input,
            units: Units::Known(vec![1.0]),
            weight: [-8, 7],
        };
        let units = grids.units_of(&weights, outputs);
        for machine in Machine::available() {
            let grid = OnGrid {
                grids: &grids,
                units: &units,
            };
            let conv = IntegerConv::on(machine, &shape, &weights, None, grid).unwrap();
            let mut bytes = Vec::new();
            assert!(conv.pack(&x, &mut bytes));
            let mut found = [vec![f32::NAN; rows * outputs], vec![f32::NAN; rows * outputs]];
            conv.multiply(&bytes, &mut found[0]);
            conv.picture(&bytes, &mut found[1]);
            assert_eq!(found[0], found[1], "{machine:?}");
            let expected: f32 = (0..inputs)
                .map(|i| x[5 * inputs + i] * weights[3 * inputs + i])
                .sum();
            assert_eq!(found[0][5 * outputs + 3], expected, "{machine:?}");
        }
    }

    #[test]
    fn what_is_off_the_grid_is_noticed() {
        let pack = |x: &[f32], grid: Grid| pack(x, grid, &mut vec![0; x.len()]);
        for levels in 1..=255i32 {
            for lowest in [0, -1, -levels / 2, -levels.min(128)] {
                let ends = [lowest, lowest + levels];
                let unit = 1.0 / levels as f32;
                for per_one in [levels as f32, 1.0 / unit] {
                    let grid = Grid {
                        per_one,
                        step: None,
                        ends,
                    };
                    let on: Vec<f32> = (ends[0]..=ends[1]).map(|code| code as f32 * unit).collect();
                    let mut bytes = vec![0; on.len()];
                    assert!(super::pack(&on, grid, &mut bytes), "{grid:?}");
                    assert!(bytes.iter().enumerate().all(|(n, &byte)| n == usize::from(byte)));
                    let off = [
                        (ends[0] - 1) as f32 * unit,
                        (ends[1] + 1) as f32 * unit,
                        0.3 * unit,
                        1e-20,
                        -1e-20,
                    ];
                    for x in off
                        .into_iter()
                        .chain([f32::NAN, f32::INFINITY, f32::MAX, f32::MIN])
                    {
                        assert!(!pack(&[0.0, x], grid), "{x} on {grid:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn weights_off_the_grid_are_refused() {
        let shape = ConvShape {
            batch: 1,
            input: [1, 1],
            channels: [2, 2],
            kernel: [1, 1],
            stride: [1, 1],
            padding: [(0, 0); 2],
            dilation: [1, 1],
        };
        let made = |weight: [f32; 4], units: Units| {
            let input = Grid {
                per_one: 4.0,
                step: None,
                ends: [0, 3],
            };
            let grids = Grids {
                input,
                units,
                weight: [-2, 1],
            };
            let units = grids.units_of(&weight, 2);
            IntegerConv::new(
                &shape,
                &weight,
                None,
                OnGrid {
                    grids: &grids,
                    units: &units,
                },
            )
            .is_some()
        };
        let here = Machine::detect().is_some();
        let units = || Units::Known(vec![0.5, 0.25]);
        assert_eq!(made([0.5, -1.0, 0.25, 0.0], units()), here);
        assert!(!made([0.5, -1.5, 0.25, 0.0], units()), "below the lowest code");
        assert!(!made([0.5, -1.0, 0.3, 0.0], units()), "between two codes");
        assert!(!made([f32::NAN, -1.0, 0.25, 0.0], units()));
        assert!(!made([0.0; 4], Units::Known(vec![0.0])));
        let per_filter = Units::Largest { per_filter: true };
        assert_eq!(made([0.5, -0.5, 0.3, 0.3], per_filter.clone()), here);
        assert!(!made([0.5, -0.5, 0.0, 0.0], per_filter));
        assert!(!made([0.5, -0.5, 0.3, 0.3], Units::Largest { per_filter: false }));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let fit = |machine, weight, ends, terms| {
            let input = Grid {
                per_one: 1.0,
                step: None,
                ends,
            };
            Grids {
                input,
                units: Units::Known(vec![1.0]),
                weight,
            }
            .fit(machine, terms)
        };
        assert!(fit(Machine::Vnni512, [-127, 127], [0, 255], 1000));
        assert!(fit(Machine::Vnni512, [-128, 127], [-128, 127], 1000));
        assert!(!fit(Machine::Vnni512, [-255, 255], [0, 1], 1000));
        assert!(!fit(Machine::Vnni512, [-127, 127], [0, 256], 1000));
        assert!(!fit(Machine::Vnni512, [-127, 127], [-200, 0], 1000));
        assert!(!fit(Machine::Vnni512, [-127, 127], [0, 255], 100_000));
        assert!(!fit(Machine::Avx2, [-127, 127], [0, 255], 1));
        assert!(fit(Machine::Avx2, [-63, 63], [0, 255], 1));
    }
}
