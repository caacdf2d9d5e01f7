//! The innermost steps, once per instruction set: counting the bits of ANDed words, picking one bit out of many
//! numbers, and eight fused multiply-adds.
//!
//! Weights of [`PANEL`] outputs lie side by side, so that a word of activations meets them all at once and no sum ever
//! goes across a vector.

#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;

/// Outputs whose weights lie side by side.
pub(super) const PANEL: usize = 16;

/// Numbers of a [`Lanes::Eight`].
pub(super) const EIGHT: usize = 8;

/// The most positions of a tile of any machine.
pub(super) const MOST_ROWS: usize = 8;

/// Instructions that packed networks are computed with. All give the same results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Machine {
    /// AVX-512 with VPOPCNTDQ, which counts the bits of eight words in one instruction.
    Avx512,
    /// AVX2 and FMA: bits are counted four at a time, by table.
    Avx2,
    /// NEON, whose `cnt` counts the bits of sixteen bytes.
    Neon,
    /// Plain Rust, for any machine: what the others are tested against.
    Portable,
}

impl Machine {
    /// The fastest that there is here.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self::Portable)
    }

    /// All that there are here, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable]
            .into_iter()
            .filter(|machine| machine.is_here())
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn is_here(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("popcnt");
        match self {
            Self::Avx512 => {
                avx2 && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vpopcntdq")
            }
            Self::Avx2 => avx2,
            Self::Neon => false,
            Self::Portable => true,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn is_here(self) -> bool {
        // NEON is part of every 64-bit ARM.
        self == Self::Portable || (self == Self::Neon && cfg!(target_arch = "aarch64"))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "AVX-512",
            Self::Avx2 => "AVX2",
            Self::Neon => "NEON",
            Self::Portable => "portable",
        })
    }
}

/// What a [`Machine`] does.
///
/// # Safety
///
/// Of every function: the machine has the instructions, and pointers lead to as many elements as each says.
pub(super) trait Lanes {
    /// The weights of one panel for one word of inputs.
    type Words: Copy;
    /// A count for each output of a panel.
    type Counts: Copy;
    /// Eight numbers.
    type Eight: Copy;

    /// The most positions of a tile: as many as leave registers for the operands.
    const ROWS: usize;
    /// So many words can be counted before [`Lanes::add`] has to empty the counts.
    const MOST: usize;

    /// [`PANEL`] words, of which the first `FOURS` times four are used; and likewise below.
    unsafe fn words<const FOURS: usize>(from: *const u64) -> Self::Words;
    unsafe fn no_counts() -> Self::Counts;
    /// Adds, for each output, the number of bits that `x` and the output's weights have in common.
    unsafe fn count<const FOURS: usize>(counts: Self::Counts, x: u64, words: Self::Words) -> Self::Counts;
    /// Twice the counts. Where [`Lanes::MOST`] is no limit.
    unsafe fn doubled<const FOURS: usize>(counts: Self::Counts) -> Self::Counts;
    /// Adds the counts, times `2^shift`, to the sums of the panel's outputs.
    unsafe fn add<const FOURS: usize>(counts: Self::Counts, shift: u32, sums: *mut i32);
    /// Bit `plane` of each of sixteen codes, the first in the lowest place.
    unsafe fn bits(codes: *const i32, plane: u32) -> u16;

    unsafe fn load(from: *const f32) -> Self::Eight;
    unsafe fn store(x: Self::Eight, to: *mut f32);
    /// `x * weights + sums`, rounded once.
    unsafe fn fused(x: f32, weights: Self::Eight, sums: Self::Eight) -> Self::Eight;
    unsafe fn splat(x: f32) -> Self::Eight;
    /// Eight integers as floats.
    unsafe fn converted(from: *const i32) -> Self::Eight;
    unsafe fn sum(a: Self::Eight, b: Self::Eight) -> Self::Eight;
    unsafe fn difference(a: Self::Eight, b: Self::Eight) -> Self::Eight;
    unsafe fn product(a: Self::Eight, b: Self::Eight) -> Self::Eight;
    unsafe fn quotient(a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// The larger, `a` of equals and where one is no number.
    unsafe fn larger(a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// 0 for what is 0 or less.
    unsafe fn relu(x: Self::Eight) -> Self::Eight;
    /// To 0 and 1.
    unsafe fn clamp(x: Self::Eight) -> Self::Eight;
    /// The first of each, the second of each, and so on.
    unsafe fn transposed(x: [Self::Eight; EIGHT]) -> [Self::Eight; EIGHT];
}

/// See [`Machine::Portable`].
pub(super) struct Portable;

impl Lanes for Portable {
    type Words = [u64; PANEL];
    type Counts = [u32; PANEL];
    type Eight = [f32; 8];

    const ROWS: usize = 2;
    const MOST: usize = usize::MAX;

    #[inline(always)]
    unsafe fn words<const FOURS: usize>(from: *const u64) -> [u64; PANEL] {
        // SAFETY: the caller's.
        unsafe { from.cast::<[u64; PANEL]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn no_counts() -> [u32; PANEL] {
        [0; PANEL]
    }

    #[inline(always)]
    unsafe fn count<const FOURS: usize>(
        mut counts: [u32; PANEL],
        x: u64,
        words: [u64; PANEL],
    ) -> [u32; PANEL] {
        for (count, word) in counts.iter_mut().zip(words).take(4 * FOURS) {
            *count += (x & word).count_ones();
        }
        counts
    }

    #[inline(always)]
    unsafe fn doubled<const FOURS: usize>(counts: [u32; PANEL]) -> [u32; PANEL] {
        counts.map(|count| 2 * count)
    }

    #[inline(always)]
    unsafe fn add<const FOURS: usize>(counts: [u32; PANEL], shift: u32, sums: *mut i32) {
        for (n, count) in counts.into_iter().enumerate().take(4 * FOURS) {
            // SAFETY: the caller's.
            unsafe { *sums.add(n) += (count << shift) as i32 };
        }
    }

    #[inline(always)]
    unsafe fn bits(codes: *const i32, plane: u32) -> u16 {
        (0..16).fold(0, |bits, n| {
            // SAFETY: the caller's.
            let code = unsafe { *codes.add(n) };
            bits | ((code >> plane & 1) as u16) << n
        })
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: the caller's.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(x: [f32; 8], to: *mut f32) {
        // SAFETY: the caller's.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn fused(x: f32, weights: [f32; 8], mut sums: [f32; 8]) -> [f32; 8] {
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum = x.mul_add(weight, *sum);
        }
        sums
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    unsafe fn converted(from: *const i32) -> [f32; 8] {
        // SAFETY: the caller's.
        let from = unsafe { from.cast::<[i32; 8]>().read_unaligned() };
        from.map(|x| x as f32)
    }

    #[inline(always)]
    unsafe fn sum(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|n| a[n] + b[n])
    }

    #[inline(always)]
    unsafe fn difference(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|n| a[n] - b[n])
    }

    #[inline(always)]
    unsafe fn product(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|n| a[n] * b[n])
    }

    #[inline(always)]
    unsafe fn quotient(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|n| a[n] / b[n])
    }

    #[inline(always)]
    unsafe fn larger(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|n| if b[n] > a[n] { b[n] } else { a[n] })
    }

    #[inline(always)]
    unsafe fn relu(x: [f32; 8]) -> [f32; 8] {
        x.map(|x| if x <= 0.0 { 0.0 } else { x })
    }

    #[inline(always)]
    unsafe fn clamp(x: [f32; 8]) -> [f32; 8] {
        x.map(|x| x.clamp(0.0, 1.0))
    }

    #[inline(always)]
    unsafe fn transposed(x: [[f32; 8]; EIGHT]) -> [[f32; 8]; EIGHT] {
        std::array::from_fn(|n| std::array::from_fn(|m| x[m][n]))
    }
}

/// Defines `$name(machine, ...)`, which calls `$inner::<M>(...)` of the machine's own [`Lanes`] in a function that has
/// its instructions.
macro_rules! on_machine {
    ($(#[$doc:meta])* $name:ident = $inner:ident($($arg:ident: $type:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(super) fn $name(machine: $crate::packed::Machine, $($arg: $type),*) {
            use $crate::packed::{Machine, machine};
            assert!(machine.is_here(), "this machine has no {machine}");
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512vpopcntdq,avx2,fma,popcnt")]
            fn avx512($($arg: $type),*) {
                $inner::<machine::Avx512>($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,popcnt")]
            fn avx2($($arg: $type),*) {
                $inner::<machine::Avx2>($($arg),*)
            }
            match machine {
                // SAFETY: the instructions are here, as was just asserted.
                #[cfg(target_arch = "x86_64")]
                Machine::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: likewise.
                #[cfg(target_arch = "x86_64")]
                Machine::Avx2 => unsafe { avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                Machine::Neon => $inner::<machine::Neon>($($arg),*),
                _ => $inner::<machine::Portable>($($arg),*),
            }
        }
    };
}
pub(super) use on_machine;

#[cfg(target_arch = "aarch64")]
pub(super) use neon::Neon;
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};
