//! The peak that the machine itself sets: float and byte multiply-adds a second, of operands that are in registers.
//!
//! ```text
//! cargo bench --bench peak
//! ```

fn main() {
    #[cfg(target_arch = "x86_64")]
    x86::main();
    #[cfg(not(target_arch = "x86_64"))]
    println!("measured on x86-64 only");
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;
    use std::time::Instant;

    /// Iterations of a measurement, and measurements, of which the fastest counts.
    const TURNS: u64 = 20_000_000;
    const ROUNDS: usize = 5;

    /// A loop of independent multiply-adds, more than the instruction's latency asks for.
    macro_rules! peak {
        ($name:ident, $features:literal, $sums:literal, $zero:expr, |$sum:ident, $x:ident| $next:expr, $set:expr) => {
            #[target_feature(enable = $features)]
            fn $name() {
                let mut sums = [$zero; $sums];
                for _ in 0..TURNS {
                    let $x = black_box($set);
                    for $sum in sums.iter_mut() {
                        *$sum = $next;
                    }
                }
                black_box(sums);
            }
        };
    }
    peak!(
        fma_512,
        "avx512f",
        24,
        _mm512_setzero_ps(),
        |sum, x| _mm512_fmadd_ps(*sum, x, x),
        _mm512_set1_ps(0.5)
    );
    peak!(
        fma_256,
        "avx2,fma",
        12,
        _mm256_setzero_ps(),
        |sum, x| _mm256_fmadd_ps(*sum, x, x),
        _mm256_set1_ps(0.5)
    );
    peak!(
        bytes_512,
        "avx512f,avx512vnni",
        24,
        _mm512_setzero_si512(),
        |sum, x| _mm512_dpbusd_epi32(*sum, x, x),
        _mm512_set1_epi8(1)
    );

    pub fn main() {
        let avx512 = is_x86_feature_detected!("avx512f");
        let fma = is_x86_feature_detected!("fma") && is_x86_feature_detected!("avx2");
        let vnni = avx512 && is_x86_feature_detected!("avx512vnni");
        println!("threads | instruction | G multiply-adds/s");
        for threads in [1, 2] {
            // SAFETY: called only where the instructions are there.
            if avx512 {
                report(threads, "f32 FMA, AVX-512", 24 * 16, || unsafe { fma_512() });
            }
            if fma {
                report(threads, "f32 FMA, AVX2", 12 * 8, || unsafe { fma_256() });
            }
            if vnni {
                report(threads, "bytes, AVX-512 VNNI", 24 * 64, || unsafe { bytes_512() });
            }
        }
    }

    fn report(threads: u64, name: &str, products: u64, run: impl Fn() + Copy + Send) {
        let seconds = (0..ROUNDS).map(|_| {
            let started = Instant::now();
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(run);
                }
            });
            started.elapsed().as_secs_f64()
        });
        let fastest = seconds.fold(f64::MAX, f64::min);
        let rate = (TURNS * products * threads) as f64 / fastest / 1e9;
        println!("{threads} | {name} | {rate:.0}");
    }
}
