use std::arch::aarch64::*;

use super::{EIGHT, Lanes, PANEL, Portable};

/// Vectors of two words in a panel.
const PAIRS: usize = PANEL / 2;

/// See [`Machine::Neon`](super::Machine::Neon). Part of every 64-bit ARM, so that its instructions are in plain Rust's
/// reach too: where the compiler makes vectors by itself, [`Portable`]'s code serves.
pub(in crate::packed) struct Neon;

impl Lanes for Neon {
    type Words = [uint64x2_t; PAIRS];
    /// Of every byte of the words.
    type Counts = [uint8x16_t; PAIRS];
    type Eight = [f32; 8];

    const ROWS: usize = 2;
    /// A byte counts to 255, eight bits at a time.
    const MOST: usize = 31;

    #[inline(always)]
    unsafe fn words<const FOURS: usize>(from: *const u64) -> Self::Words {
        // SAFETY: the caller's.
        std::array::from_fn(|n| unsafe { vld1q_u64(from.add(2 * n)) })
    }

    #[inline(always)]
    unsafe fn no_counts() -> Self::Counts {
        // SAFETY: NEON is here.
        unsafe { [vdupq_n_u8(0); PAIRS] }
    }

    #[inline(always)]
    unsafe fn count<const FOURS: usize>(
        mut counts: Self::Counts,
        x: u64,
        words: Self::Words,
    ) -> Self::Counts {
        // SAFETY: NEON is here.
        unsafe {
            let x = vdupq_n_u64(x);
            for (counts, words) in counts.iter_mut().zip(words).take(2 * FOURS) {
                let common = vreinterpretq_u8_u64(vandq_u64(x, words));
                *counts = vaddq_u8(*counts, vcntq_u8(common));
            }
            counts
        }
    }

    #[inline(always)]
    unsafe fn doubled<const FOURS: usize>(_: Self::Counts) -> Self::Counts {
        unreachable!("bytes are emptied from one worth to the next")
    }

    #[inline(always)]
    unsafe fn add<const FOURS: usize>(counts: Self::Counts, shift: u32, sums: *mut i32) {
        for (n, counts) in counts.into_iter().enumerate().take(2 * FOURS) {
            // SAFETY: the caller's.
            unsafe {
                let totals = vpaddlq_u32(vpaddlq_u16(vpaddlq_u8(counts)));
                *sums.add(2 * n) += (vgetq_lane_u64::<0>(totals) << shift) as i32;
                *sums.add(2 * n + 1) += (vgetq_lane_u64::<1>(totals) << shift) as i32;
            }
        }
    }

    #[inline(always)]
    unsafe fn bits(codes: *const i32, plane: u32) -> u16 {
        // SAFETY: the caller's.
        unsafe { Portable::bits(codes, plane) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::load(from) }
    }

    #[inline(always)]
    unsafe fn store(x: [f32; 8], to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { Portable::store(x, to) }
    }

    #[inline(always)]
    unsafe fn fused(x: f32, weights: [f32; 8], sums: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::fused(x, weights, sums) }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::splat(x) }
    }

    #[inline(always)]
    unsafe fn converted(from: *const i32) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::converted(from) }
    }

    #[inline(always)]
    unsafe fn sum(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::sum(a, b) }
    }

    #[inline(always)]
    unsafe fn difference(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::difference(a, b) }
    }

    #[inline(always)]
    unsafe fn product(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::product(a, b) }
    }

    #[inline(always)]
    unsafe fn quotient(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::quotient(a, b) }
    }

    #[inline(always)]
    unsafe fn larger(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::larger(a, b) }
    }

    #[inline(always)]
    unsafe fn relu(x: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::relu(x) }
    }

    #[inline(always)]
    unsafe fn clamp(x: [f32; 8]) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { Portable::clamp(x) }
    }

    #[inline(always)]
    unsafe fn transposed(x: [[f32; 8]; EIGHT]) -> [[f32; 8]; EIGHT] {
        // SAFETY: the caller's.
        unsafe { Portable::transposed(x) }
    }
}
