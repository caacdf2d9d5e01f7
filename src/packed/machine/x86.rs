use std::arch::x86_64::*;

use super::{EIGHT, Lanes, PANEL};

/// See [`Machine::Avx512`](super::Machine::Avx512).
pub(in crate::packed) struct Avx512;

/// See [`Machine::Avx2`](super::Machine::Avx2).
pub(in crate::packed) struct Avx2;

/// Eight numbers at a time for both: the processors that have both run two such instructions, or one twice as wide, at
/// a time, and 24 channels are three times eight.
macro_rules! eight {
    () => {
        type Eight = __m256;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn store(x: __m256, to: *mut f32) {
            // SAFETY: the caller's.
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn fused(x: f32, weights: __m256, sums: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_fmadd_ps(_mm256_set1_ps(x), weights, sums) }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn converted(from: *const i32) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) }
        }

        #[inline(always)]
        unsafe fn sum(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_add_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn difference(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_sub_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn product(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_mul_ps(a, b) }
        }

        #[inline(always)]
        unsafe fn quotient(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_div_ps(a, b) }
        }

        // Of equals, and where one is no number, these instructions give their second operand.

        #[inline(always)]
        unsafe fn larger(a: __m256, b: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_max_ps(b, a) }
        }

        #[inline(always)]
        unsafe fn relu(x: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(x, _mm256_setzero_ps()), x) }
        }

        #[inline(always)]
        unsafe fn clamp(x: __m256) -> __m256 {
            // SAFETY: the caller's.
            unsafe { _mm256_min_ps(_mm256_set1_ps(1.0), _mm256_max_ps(_mm256_setzero_ps(), x)) }
        }

        #[inline(always)]
        unsafe fn transposed(x: [__m256; EIGHT]) -> [__m256; EIGHT] {
            // SAFETY: the caller's.
            unsafe {
                // Twos, then fours within each half of a vector, then the halves.
                let mut twos = x;
                for n in 0..4 {
                    twos[2 * n] = _mm256_unpacklo_ps(x[2 * n], x[2 * n + 1]);
                    twos[2 * n + 1] = _mm256_unpackhi_ps(x[2 * n], x[2 * n + 1]);
                }
                let mut fours = twos;
                for n in [0, 4] {
                    fours[n] = _mm256_shuffle_ps::<0x44>(twos[n], twos[n + 2]);
                    fours[n + 1] = _mm256_shuffle_ps::<0xEE>(twos[n], twos[n + 2]);
                    fours[n + 2] = _mm256_shuffle_ps::<0x44>(twos[n + 1], twos[n + 3]);
                    fours[n + 3] = _mm256_shuffle_ps::<0xEE>(twos[n + 1], twos[n + 3]);
                }
                let mut eights = fours;
                for n in 0..4 {
                    eights[n] = _mm256_permute2f128_ps::<0x20>(fours[n], fours[n + 4]);
                    eights[n + 4] = _mm256_permute2f128_ps::<0x31>(fours[n], fours[n + 4]);
                }
                eights
            }
        }
    };
}

impl Lanes for Avx512 {
    /// Eight words each; of the upper half of the last, only what [`Lanes`] asks for.
    type Words = [__m512i; 2];
    type Counts = [__m512i; 2];

    const ROWS: usize = 8;
    const MOST: usize = usize::MAX;

    #[inline(always)]
    unsafe fn words<const FOURS: usize>(from: *const u64) -> [__m512i; 2] {
        // SAFETY: the caller's.
        unsafe {
            let mut words = [_mm512_setzero_si512(); 2];
            for (n, words) in words.iter_mut().enumerate().take(FOURS.div_ceil(2)) {
                let from = from.add(8 * n);
                *words = if FOURS == 2 * n + 1 {
                    _mm512_zextsi256_si512(_mm256_loadu_si256(from.cast()))
                } else {
                    _mm512_loadu_si512(from.cast())
                };
            }
            words
        }
    }

    #[inline(always)]
    unsafe fn no_counts() -> [__m512i; 2] {
        // SAFETY: the caller's.
        unsafe { [_mm512_setzero_si512(); 2] }
    }

    #[inline(always)]
    unsafe fn count<const FOURS: usize>(
        mut counts: [__m512i; 2],
        x: u64,
        words: [__m512i; 2],
    ) -> [__m512i; 2] {
        // SAFETY: the caller's.
        unsafe {
            for (n, (counts, words)) in counts.iter_mut().zip(words).enumerate().take(FOURS.div_ceil(2)) {
                *counts = if FOURS == 2 * n + 1 {
                    let x = _mm256_set1_epi64x(x as i64);
                    let common = _mm256_popcnt_epi64(_mm256_and_si256(x, _mm512_castsi512_si256(words)));
                    _mm512_zextsi256_si512(_mm256_add_epi64(_mm512_castsi512_si256(*counts), common))
                } else {
                    let common = _mm512_and_si512(_mm512_set1_epi64(x as i64), words);
                    _mm512_add_epi64(*counts, _mm512_popcnt_epi64(common))
                };
            }
            counts
        }
    }

    #[inline(always)]
    unsafe fn doubled<const FOURS: usize>(counts: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the caller's.
        unsafe {
            [
                _mm512_add_epi64(counts[0], counts[0]),
                _mm512_add_epi64(counts[1], counts[1]),
            ]
        }
    }

    #[inline(always)]
    unsafe fn add<const FOURS: usize>(counts: [__m512i; 2], shift: u32, sums: *mut i32) {
        // SAFETY: the caller's.
        unsafe {
            for (n, counts) in counts.into_iter().enumerate().take(FOURS.div_ceil(2)) {
                let to = sums.add(8 * n).cast::<__m256i>();
                let counts = _mm256_sll_epi32(_mm512_cvtepi64_epi32(counts), _mm_cvtsi32_si128(shift as i32));
                _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), counts));
            }
        }
    }

    #[inline(always)]
    unsafe fn bits(codes: *const i32, plane: u32) -> u16 {
        // SAFETY: the caller's.
        unsafe { _mm512_test_epi32_mask(_mm512_loadu_si512(codes.cast()), _mm512_set1_epi32(1 << plane)) }
    }

    eight!();
}

impl Lanes for Avx2 {
    type Words = [__m256i; 4];
    /// Of every byte of the words.
    type Counts = [__m256i; 4];

    const ROWS: usize = 2;
    /// A byte counts to 255, eight bits at a time.
    const MOST: usize = 31;

    #[inline(always)]
    unsafe fn words<const FOURS: usize>(from: *const u64) -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe { [0, 4, 8, 12].map(|n| _mm256_loadu_si256(from.add(n).cast())) }
    }

    #[inline(always)]
    unsafe fn no_counts() -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe { [_mm256_setzero_si256(); 4] }
    }

    #[inline(always)]
    unsafe fn count<const FOURS: usize>(
        mut counts: [__m256i; 4],
        x: u64,
        words: [__m256i; 4],
    ) -> [__m256i; 4] {
        // SAFETY: the caller's.
        unsafe {
            let x = _mm256_set1_epi64x(x as i64);
            // How many bits each number of four bits has.
            let table =
                _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
            let low = _mm256_set1_epi8(0x0F);
            for (counts, words) in counts.iter_mut().zip(words).take(FOURS) {
                let common = _mm256_and_si256(x, words);
                let upper = _mm256_and_si256(_mm256_srli_epi32::<4>(common), low);
                let lower = _mm256_and_si256(common, low);
                let ones = _mm256_add_epi8(
                    _mm256_shuffle_epi8(table, lower),
                    _mm256_shuffle_epi8(table, upper),
                );
                *counts = _mm256_add_epi8(*counts, ones);
            }
            counts
        }
    }

    #[inline(always)]
    unsafe fn doubled<const FOURS: usize>(_: [__m256i; 4]) -> [__m256i; 4] {
        unreachable!("bytes are emptied from one worth to the next")
    }

    #[inline(always)]
    unsafe fn add<const FOURS: usize>(counts: [__m256i; 4], shift: u32, sums: *mut i32) {
        let mut totals = [0u64; PANEL];
        // SAFETY: the caller's; `totals` has room for four vectors.
        unsafe {
            for (n, counts) in counts.into_iter().enumerate().take(FOURS) {
                let eights = _mm256_sad_epu8(counts, _mm256_setzero_si256());
                _mm256_storeu_si256(totals.as_mut_ptr().add(4 * n).cast(), eights);
            }
            for (n, total) in totals.into_iter().enumerate().take(4 * FOURS) {
                *sums.add(n) += (total << shift) as i32;
            }
        }
    }

    #[inline(always)]
    unsafe fn bits(codes: *const i32, plane: u32) -> u16 {
        // SAFETY: the caller's.
        unsafe {
            let to_sign = _mm_cvtsi32_si128(31 - plane as i32);
            let eight = |n: usize| {
                let codes = _mm256_loadu_si256(codes.add(n).cast());
                _mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sll_epi32(codes, to_sign))) as u16
            };
            eight(0) | eight(8) << 8
        }
    }

    eight!();
}
