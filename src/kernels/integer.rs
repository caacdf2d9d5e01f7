//! The forward pass on integers, for a convolution whose weights and activations are both quantised.
//!
//! A k-bit activation is `code / (2^k - 1)` and an m-bit weight `E * code / (2^m - 1)`, so a sum of their products is a
//! sum of products of small integers, times one number. The integers are exact in any order of summation, and fit a
//! byte: machines that multiply four bytes and add them to a sum in one instruction do the work of four fused
//! multiply-adds with it, at the rate of one.
//!
//! Activations are unsigned bytes, weights signed ones. What this brings to a training step is in `docs/cpu-speed.md`.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use macerator::Simd;
use rayon::prelude::*;

use super::buffer::Buffer;
use super::shape::{ConvShape, even_parts};
use super::tile::{self, MOST_ACROSS, Reads, with_size};

/// Bytes that are multiplied and added up at once.
const GROUP: usize = 4;

/// Steps of the unit interval that weights and activations are rounded to.
#[derive(Clone, Copy, Debug)]
pub struct Levels {
    /// Of the weights: codes from `-weight` to `weight`.
    pub weight: u32,
    /// Of the activations: codes from 0 to `input`.
    pub input: u32,
}

impl Levels {
    /// Whether sums of `terms` products of codes, and what `machine` computes on the way, fit their types.
    fn fit(self, machine: Machine, terms: usize) -> bool {
        let product = u64::from(self.weight) * u64::from(self.input);
        self.weight <= i8::MAX as u32
            && self.input <= u8::MAX as u32
            && product.saturating_mul(terms as u64) <= i32::MAX as u64
            && (machine != Machine::Avx2 || 2 * product <= i16::MAX as u64)
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
        match self {
            Self::Vnni512 => 12,
            Self::Vnni256 => 12 / across,
            Self::Avx2 => 10 / across,
        }
    }
}

/// The weights of one convolution as codes, in the order that the tiles read them: panels of [`MOST_ACROSS`] vectors
/// of columns, the last perhaps narrower; in each, per kernel row, the columns of four neighbouring inputs after those
/// of another.
pub struct IntegerConv {
    machine: Machine,
    shape: ConvShape,
    weights: Buffer,
    levels: Levels,
    /// What a one of the sums is worth.
    unit: f32,
}

impl IntegerConv {
    /// Of the quantised weights `[channels_out, channels_in, kernel_height, kernel_width]`, whole multiples of `unit`.
    ///
    /// `None` where this machine has no instructions for it, or the numbers do not fit them.
    pub fn new(shape: &ConvShape, weight: &[f32], unit: f32, levels: Levels) -> Option<Self> {
        Self::on(Machine::detect()?, shape, weight, unit, levels)
    }

    fn on(machine: Machine, shape: &ConvShape, weight: &[f32], unit: f32, levels: Levels) -> Option<Self> {
        let [inputs, columns] = shape.channels;
        let [taps, across_taps] = shape.kernel;
        let run = across_taps * inputs;
        if unit.is_nan() || unit < f32::MIN_POSITIVE || !levels.fit(machine, taps * run) {
            return None;
        }
        let padded = columns.next_multiple_of(machine.lanes());
        let row = run.div_ceil(GROUP) * GROUP;
        let mut weights = Buffer::unwritten(taps * row * padded / GROUP);
        let widest = MOST_ACROSS * machine.lanes();
        let filter = inputs * taps * across_taps;
        bytemuck::cast_slice_mut::<f32, i8>(&mut weights)
            .par_chunks_mut(taps * row * widest)
            .zip(weight.par_chunks(widest * filter))
            .for_each(|(panel, filters)| {
                panel.fill(0);
                let width = panel.len() / (taps * row);
                for (column, filter) in filters.chunks_exact(filter).enumerate() {
                    for (i, kernel) in filter.chunks_exact(taps * across_taps).enumerate() {
                        for (tap, kernel) in kernel.chunks_exact(across_taps).enumerate() {
                            for (across, value) in kernel.iter().enumerate() {
                                let k = across * inputs + i;
                                let at = (tap * row + k / GROUP * GROUP) * width;
                                panel[at + column * GROUP + k % GROUP] = nearest(value / unit);
                            }
                        }
                    }
                }
            });
        Some(Self {
            machine,
            shape: *shape,
            weights,
            levels,
            unit: unit / levels.input as f32,
        })
    }

    /// The codes of framed activations, in `codes`; `false` where one of them is none of the values that the
    /// activations are rounded to.
    pub fn pack(&self, x: &[f32], codes: &mut Vec<u8>) -> bool {
        // The last group of a row may reach past the picture, to where its weights are zero.
        codes.resize(x.len() + GROUP - 1, 0);
        pack(x, self.levels.input as f32, codes)
    }

    /// Convolves one picture of codes, `[height_framed, width_framed, channels_in]`.
    ///
    /// `out`: `[height_out, width_out, channels_out]`.
    pub fn picture(&self, codes: &[u8], out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Machine::is_here` has found the instructions before there was an `IntegerConv` of that machine.
        unsafe {
            match self.machine {
                Machine::Vnni512 => picture_vnni512(self, codes, out),
                Machine::Vnni256 => picture_vnni256(self, codes, out),
                Machine::Avx2 => picture_avx2(self, codes, out),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("{:?} is not here: {}, {}", self.machine, codes.len(), out.len());
    }

    /// Inputs under one row of the kernel.
    fn run(&self) -> usize {
        self.shape.kernel[1] * self.shape.channels[0]
    }

    /// First column, vectors across and weights of each panel.
    fn panels(&self) -> impl Iterator<Item = (usize, usize, &[i8])> {
        let lanes = self.machine.lanes();
        let padded = self.shape.channels[1].next_multiple_of(lanes);
        let inner = self.shape.kernel[0] * self.run().next_multiple_of(GROUP);
        let weights = bytemuck::cast_slice::<f32, i8>(&self.weights);
        tile::panels(padded, lanes).map(move |(column, across)| {
            (
                column,
                across,
                &weights[column * inner..][..across * lanes * inner],
            )
        })
    }
}

/// The nearest integer of a number that is one but for an error of rounding.
fn nearest(x: f32) -> i8 {
    (x + 0.5f32.copysign(x)) as i8
}

/// Writes the codes of `x`, multiples of `1 / levels` from 0 to 1; whether all were.
#[macerator::with_simd]
fn pack<S: Simd>(x: &[f32], levels: f32, codes: &mut [u8]) -> bool {
    // To add 2^23 rounds a number under it, half to even, and leaves it in the lowest bits.
    const ROUND: f32 = (1u32 << 23) as f32;
    // Twice the error of a division and a multiplication.
    const NEAR: f32 = f32::EPSILON * 2.0;
    let mut off = 0;
    for (code, &x) in codes.iter_mut().zip(x) {
        let scaled = x * levels;
        let shifted = scaled + ROUND;
        let whole = shifted - ROUND;
        let on = ((scaled - whole).abs() <= whole * NEAR) & (whole <= levels);
        off |= u32::from(!on);
        *code = shifted.to_bits() as u8;
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

    unsafe fn zero() -> Self::Sums;

    /// Adds, in each lane, the four products of the bytes of `x` and those of the lane's weights.
    unsafe fn dot4(sums: Self::Sums, x: u32, weights: &[i8]) -> Self::Sums;

    /// Stores the sums, times `unit`.
    unsafe fn store(sums: Self::Sums, unit: f32, to: &mut [f32]);
}

/// The loop of one picture, for a type that implements [`Dot4`], in a function that has its instructions.
#[cfg(target_arch = "x86_64")]
macro_rules! machine {
    ($machine:ident, $sums:ty, $lanes:literal, $features:literal, $picture:ident,
     zero: $zero:expr, load: $load:expr, splat: $splat:ident, dot: |$acc:ident, $x:ident, $w:ident| $dot:expr,
     store: |$value:ident, $unit:ident, $to:ident| $store:expr) => {
        struct $machine;

        impl Dot4 for $machine {
            type Sums = $sums;
            const LANES: usize = $lanes;

            #[inline(always)]
            unsafe fn zero() -> $sums {
                unsafe { $zero }
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
            unsafe fn store($value: $sums, $unit: f32, to: &mut [f32]) {
                assert!(to.len() == $lanes);
                let $to = to.as_mut_ptr();
                // SAFETY: `to` is as long as a vector.
                unsafe { $store }
            }
        }

        #[target_feature(enable = $features)]
        unsafe fn $picture(conv: &IntegerConv, codes: &[u8], out: &mut [f32]) {
            // SAFETY: the caller has seen to it that the instructions are there.
            unsafe { picture::<$machine>(conv, codes, out) }
        }
    };
}

#[cfg(target_arch = "x86_64")]
machine!(Vnni512, __m512i, 16, "avx512f,avx512vnni", picture_vnni512,
    zero: _mm512_setzero_si512(), load: _mm512_loadu_si512, splat: _mm512_set1_epi32,
    dot: |acc, x, w| _mm512_dpbusd_epi32(acc, x, w),
    store: |sums, unit, to| _mm512_storeu_ps(to, _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unit))));
#[cfg(target_arch = "x86_64")]
machine!(Vnni256, __m256i, 8, "avx2,avxvnni", picture_vnni256,
    zero: _mm256_setzero_si256(), load: _mm256_loadu_si256, splat: _mm256_set1_epi32,
    dot: |acc, x, w| _mm256_dpbusd_avx_epi32(acc, x, w),
    store: |sums, unit, to| _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(unit))));
#[cfg(target_arch = "x86_64")]
machine!(Avx2, __m256i, 8, "avx2", picture_avx2,
    zero: _mm256_setzero_si256(), load: _mm256_loadu_si256, splat: _mm256_set1_epi32,
    dot: |acc, x, w| {
        let pairs = _mm256_maddubs_epi16(x, w);
        _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    },
    store: |sums, unit, to| _mm256_storeu_ps(to, _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_set1_ps(unit))));

/// # Safety
///
/// The machine has the instructions of `M`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn picture<M: Dot4>(conv: &IntegerConv, codes: &[u8], out: &mut [f32]) {
    let shape = &conv.shape;
    let [inputs, outputs] = shape.channels;
    let [height, width] = shape.output();
    let (left, right) = shape.padding[1];
    let pitch = (left + shape.input[1] + right) * inputs;
    let reads = Reads::side_by_side(shape.stride[1] * inputs, pitch, conv.run());
    for (column, across, weights) in conv.panels() {
        let columns = (across * M::LANES).min(outputs - column);
        for row in 0..height {
            let codes = &codes[row * shape.stride[0] * pitch..];
            let out = &mut out[row * width * outputs + column..];
            for positions in even_parts(width, conv.machine.max_rows(across)) {
                let codes = &codes[positions.start * reads.step..];
                let out = (&mut out[positions.start * outputs..], outputs, columns);
                // SAFETY: as this function's.
                unsafe {
                    with_size!(
                        positions.len(),
                        across,
                        dot::<M>(codes, reads, weights, conv.unit, out)
                    );
                }
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
    reads: Reads,
    weights: &[i8],
    unit: f32,
    (out, out_step, columns): (&mut [f32], usize, usize),
) {
    let bytes = GROUP * M::LANES;
    let groups = reads.run.div_ceil(GROUP);
    // SAFETY: of every call, as this function's.
    let mut sums = [[unsafe { M::zero() }; ACROSS]; ROWS];
    for (tap, weights) in weights.chunks_exact(groups * ACROSS * bytes).enumerate() {
        let codes = &codes[tap * reads.tap_step..][..(ROWS - 1) * reads.step + groups * GROUP];
        for (group, weights) in weights.chunks_exact(ACROSS * bytes).enumerate() {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `row < ROWS` and `group < groups`: the four bytes are within the slice above.
                let x = unsafe {
                    let from = codes.as_ptr().add(row * reads.step + group * GROUP);
                    from.cast::<u32>().read_unaligned()
                };
                for (sum, weights) in sums.iter_mut().zip(weights.chunks_exact(bytes)) {
                    *sum = unsafe { M::dot4(*sum, x, weights) };
                }
            }
        }
    }
    // The widest vectors have 16 lanes.
    let mut whole = [0f32; MOST_ACROSS * 16];
    for (row, sums) in sums.iter().enumerate() {
        let out = &mut out[row * out_step..][..columns];
        if columns == ACROSS * M::LANES {
            for (&sum, out) in sums.iter().zip(out.chunks_exact_mut(M::LANES)) {
                unsafe { M::store(sum, unit, out) };
            }
        } else {
            for (&sum, whole) in sums.iter().zip(whole.chunks_exact_mut(M::LANES)) {
                unsafe { M::store(sum, unit, whole) };
            }
            out.copy_from_slice(&whole[..columns]);
        }
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

    #[test]
    fn every_machine_computes_the_sums_of_plain_integers() {
        let mut tried = 0;
        for (n, (inputs, outputs, side, kernel, stride, padding)) in [
            (1, 1, 1, 1, 1, 0),
            (3, 5, 7, 3, 1, 1),
            (24, 32, 18, 3, 1, 1),
            (27, 60, 9, 3, 1, 0),
            (17, 33, 8, 3, 2, 1),
            (64, 64, 7, 5, 3, 2),
            (5, 100, 6, 2, 1, 0),
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
                dilation: [1, 1],
            };
            for (weight, input) in [(1, 1), (1, 15), (3, 3), (7, 255), (63, 255), (127, 255)] {
                let levels = Levels { weight, input };
                let odd = |q: u64| 2 * q as i64 - i64::from(weight);
                let seed = n as u64;
                let weights: Vec<i64> =
                    numbers(inputs * outputs * kernel * kernel, u64::from(weight) + 1, seed)
                        .into_iter()
                        .map(odd)
                        .collect();
                let (height, width) = (side + 2 * padding, side + 1 + 2 * padding);
                let x = numbers(height * width * inputs, u64::from(input) + 1, seed + 100);
                let unit = 0.37f32;
                let floats: Vec<f32> = weights.iter().map(|&code| code as f32 * unit).collect();
                let framed: Vec<f32> = x.iter().map(|&code| code as f32 / input as f32).collect();
                let [out_h, out_w] = shape.output();
                for machine in Machine::available() {
                    let Some(conv) = IntegerConv::on(machine, &shape, &floats, unit, levels) else {
                        assert!(machine == Machine::Avx2 && 2 * weight * input > i16::MAX as u32);
                        continue;
                    };
                    let mut codes = Vec::new();
                    assert!(conv.pack(&framed, &mut codes));
                    let mut out = vec![f32::NAN; out_h * out_w * outputs];
                    conv.picture(&codes, &mut out);
                    for (at, found) in out.iter().enumerate() {
                        let (row, column, o) = (at / outputs / out_w, at / outputs % out_w, at % outputs);
                        let mut sum = 0;
                        for i in 0..inputs {
                            for (y, z) in (0..kernel).flat_map(|y| (0..kernel).map(move |z| (y, z))) {
                                let from = (row * stride + y) * width + column * stride + z;
                                sum += weights[((o * inputs + i) * kernel + y) * kernel + z]
                                    * x[from * inputs + i] as i64;
                            }
                        }
                        assert_eq!(
                            *found,
                            sum as f32 * (unit / input as f32),
                            "{machine:?} {shape:?} {levels:?}"
                        );
                    }
                    tried += 1;
                }
            }
        }
        assert!(tried > 0 || Machine::detect().is_none());
    }

    #[test]
    fn what_is_off_the_grid_is_noticed() {
        let pack = |x: &[f32], levels: f32| pack(x, levels, &mut vec![0; x.len()]);
        for levels in 1..=255u32 {
            let grid: Vec<f32> = (0..=levels).map(|code| code as f32 / levels as f32).collect();
            let mut codes = vec![0; grid.len()];
            assert!(super::pack(&grid, levels as f32, &mut codes));
            assert!(codes.iter().enumerate().all(|(n, &code)| n == usize::from(code)));
            let off = [
                -1.0 / levels as f32,
                1.0 + 1.0 / levels as f32,
                0.3 / levels as f32,
                1e-20,
                -1e-20,
            ];
            for x in off.into_iter().chain([f32::NAN, f32::INFINITY, f32::MAX]) {
                assert!(!pack(&[0.0, x], levels as f32), "{x} at {levels} levels");
            }
        }
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let fit = |machine, weight, input, terms| Levels { weight, input }.fit(machine, terms);
        assert!(fit(Machine::Vnni512, 127, 255, 1000));
        assert!(!fit(Machine::Vnni512, 255, 1, 1000));
        assert!(!fit(Machine::Vnni512, 127, 255, 100_000));
        assert!(!fit(Machine::Avx2, 127, 255, 1));
        assert!(fit(Machine::Avx2, 63, 255, 1));
    }
}
