//! The two innermost loops: a tile of sums that stays in registers.

use macerator::{Simd, Vector, vload_unaligned, vstore_unaligned};

/// The most vectors side by side in a tile.
pub(super) const MOST_ACROSS: usize = 2;

/// The most rows of a tile: each has a register for where it reads, too, and there are 16 of these.
pub(super) const MOST_ROWS: usize = 8;

/// First column, and vectors across, of the tiles over `padded` columns, which are whole vectors of `lanes`.
pub(super) fn panels(padded: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..padded)
        .step_by(MOST_ACROSS * lanes)
        .map(move |column| (column, MOST_ACROSS.min((padded - column) / lanes)))
}

/// The most rows of a tile that is `across` vectors wide: as many as leave registers for the operands.
#[inline(always)]
pub(super) fn max_rows<S: Simd>(across: usize) -> usize {
    let registers = if S::lanes32() == 16 || cfg!(target_arch = "aarch64") {
        32
    } else {
        16
    };
    ((registers - 4) / across).min(MOST_ROWS)
}

#[inline(always)]
pub(super) fn load<S: Simd>(from: &[f32], v: usize) -> Vector<S, f32> {
    let from = &from[v * S::lanes32()..][..S::lanes32()];
    // SAFETY: the slice is as long as a vector.
    unsafe { vload_unaligned(from.as_ptr()) }
}

#[inline(always)]
pub(super) fn store<S: Simd>(to: &mut [f32], v: usize, value: Vector<S, f32>) {
    let to = &mut to[v * S::lanes32()..][..S::lanes32()];
    // SAFETY: the slice is as long as a vector.
    unsafe { vstore_unaligned(to.as_mut_ptr(), value) }
}

/// Output positions, in rows of `columns`: a tile goes on in the next row where one ends.
#[derive(Clone, Copy)]
pub(super) struct Positions {
    pub columns: usize,
    /// In the input: from one row and column to the next.
    pub x_steps: [usize; 2],
    /// In the output: likewise.
    pub out_steps: [usize; 2],
}

impl Positions {
    /// Of the rows of a matrix product.
    pub fn of_rows(rows: usize, x_step: usize, out_step: usize) -> Self {
        Self {
            columns: rows,
            x_steps: [0, x_step],
            out_steps: [0, out_step],
        }
    }

    /// Where the positions from `first` on begin, in the input and in the output.
    #[inline(always)]
    pub fn from<const ROWS: usize>(self, first: usize) -> [[usize; 2]; ROWS] {
        let (mut row, mut column) = (first / self.columns, first % self.columns);
        std::array::from_fn(|_| {
            let at = [self.x_steps, self.out_steps].map(|[down, across]| row * down + column * across);
            column += 1;
            if column == self.columns {
                (row, column) = (row + 1, 0);
            }
            at
        })
    }
}

/// What of the input is read for an output position.
#[derive(Clone, Copy)]
pub(super) struct Reads {
    /// From one kernel row to the next.
    pub tap_step: usize,
    /// How many runs a kernel row is: one, or as many as it is long where its places do not lie side by side.
    pub runs: usize,
    /// From one of these runs to the next.
    pub run_step: usize,
    /// Numbers of a run, read in a row for one output position.
    pub run: usize,
}

impl Reads {
    /// Of kernels whose places lie side by side: `run` numbers of each row.
    pub fn side_by_side(tap_step: usize, run: usize) -> Self {
        Self {
            tap_step,
            runs: 1,
            run_step: 0,
            run,
        }
    }

    /// Where a run begins.
    #[inline(always)]
    pub fn start(self, tap: usize) -> usize {
        tap / self.runs * self.tap_step + tap % self.runs * self.run_step
    }
}

/// For the `ROWS` output positions from `first` on, the sums of all the products of inputs and weights, for `ACROSS` vectors of
/// output channels.
///
/// `start` is what the sums start from; `weights` holds `ACROSS` vectors for each of `taps * run` inputs. Of `out`, as
/// many `columns` of each position are written as it says.
#[inline(always)]
fn dot<S: Simd, const ROWS: usize, const ACROSS: usize>(
    x: &[f32],
    (positions, first): (Positions, usize),
    reads: Reads,
    (start, weights): (&[f32], &[f32]),
    (out, columns): (&mut [f32], usize),
) {
    let starts: [[usize; 2]; ROWS] = positions.from(first);
    let furthest = starts.iter().map(|[x, _]| *x).max().unwrap_or(0);
    let start: [Vector<S, f32>; ACROSS] = std::array::from_fn(|v| load(start, v));
    let mut sums = [start; ROWS];
    for (tap, weights) in weights
        .chunks_exact(reads.run * ACROSS * S::lanes32())
        .enumerate()
    {
        // All that this row of the kernel reads, or this place of it.
        let x = &x[reads.start(tap)..][..furthest + reads.run];
        // SAFETY: of every row, as the slice reaches to the end of the furthest.
        let rows: [*const f32; ROWS] = std::array::from_fn(|row| unsafe { x.as_ptr().add(starts[row][0]) });
        for (k, weights) in weights.chunks_exact(ACROSS * S::lanes32()).enumerate() {
            let weights: [Vector<S, f32>; ACROSS] = std::array::from_fn(|v| load(weights, v));
            for (row, sums) in rows.iter().zip(&mut sums) {
                // SAFETY: as the weights were cut to `run` rows, `k < run`.
                let x = unsafe { *row.add(k) }.splat_as::<S>();
                for (sum, &weight) in sums.iter_mut().zip(&weights) {
                    *sum = x.mul_add(weight, *sum);
                }
            }
        }
    }
    if columns == ACROSS * S::lanes32() {
        for ([_, at], sums) in starts.iter().zip(&sums) {
            let out = &mut out[*at..][..ACROSS * S::lanes32()];
            for (v, &sum) in sums.iter().enumerate() {
                store(out, v, sum);
            }
        }
    } else {
        // The widest vectors have 16 lanes.
        let mut whole = [0f32; MOST_ACROSS * 16];
        for ([_, at], sums) in starts.iter().zip(&sums) {
            for (v, &sum) in sums.iter().enumerate() {
                store(&mut whole, v, sum);
            }
            out[*at..][..columns].copy_from_slice(&whole[..columns]);
        }
    }
}

/// Where [`outer`] reads: `pictures` pictures of `rows` rows of `columns` positions.
#[derive(Clone, Copy)]
pub(super) struct Sweep {
    pub pictures: usize,
    pub rows: usize,
    pub columns: usize,
    /// In the input: from one picture, row and column to the next.
    pub x_steps: [usize; 3],
    /// In the output's gradient: likewise.
    pub dy_steps: [usize; 3],
}

impl Sweep {
    /// Where the last position lies.
    fn last(self, steps: [usize; 3]) -> usize {
        let counts = [self.pictures, self.rows, self.columns];
        (counts.iter().zip(steps))
            .map(|(count, step)| count.saturating_sub(1) * step)
            .sum()
    }
}

/// Adds the sums, over all positions of a sweep, of the products of `ROWS` neighbouring inputs and `ACROSS` vectors of
/// output gradients to the `ROWS` rows of `out`, which lie `out_step` apart.
#[inline(always)]
fn outer<S: Simd, const ROWS: usize, const ACROSS: usize>(
    x: &[f32],
    dy: &[f32],
    sweep: Sweep,
    out: &mut [f32],
    out_step: usize,
) {
    let mut sums = [[0f32.splat_as::<S>(); ACROSS]; ROWS];
    let [x, dy] = [
        (x, sweep.x_steps, ROWS),
        (dy, sweep.dy_steps, ACROSS * S::lanes32()),
    ]
    .map(|(numbers, steps, read)| &numbers[..sweep.last(steps) + read]);
    for picture in 0..sweep.pictures {
        for row in 0..sweep.rows {
            let mut at_x = picture * sweep.x_steps[0] + row * sweep.x_steps[1];
            let mut at_dy = picture * sweep.dy_steps[0] + row * sweep.dy_steps[1];
            for _ in 0..sweep.columns {
                // SAFETY: of both, what is read from the last position of the sweep on is within the slices.
                let [x, dy] = unsafe { [x.as_ptr().add(at_x), dy.as_ptr().add(at_dy)] };
                let dy: [Vector<S, f32>; ACROSS] =
                    std::array::from_fn(|v| unsafe { vload_unaligned(dy.add(v * S::lanes32())) });
                for (row, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: as above.
                    let x = unsafe { *x.add(row) }.splat_as::<S>();
                    for (sum, &dy) in sums.iter_mut().zip(&dy) {
                        *sum = x.mul_add(dy, *sum);
                    }
                }
                at_x += sweep.x_steps[2];
                at_dy += sweep.dy_steps[2];
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let out = &mut out[row * out_step..][..ACROSS * S::lanes32()];
        for (v, &sum) in sums.iter().enumerate() {
            let before = load::<S>(out, v);
            store(out, v, before + sum);
        }
    }
}

/// Calls `$tile::<S, ROWS, ACROSS>` with the numbers that are known only at run time.
macro_rules! with_size {
    ($rows:expr, $across:expr, $tile:ident::<$s:ident>($($arg:expr),*)) => {
        match ($rows, $across) {
            (1, 1) => $tile::<$s, 1, 1>($($arg),*),
            (2, 1) => $tile::<$s, 2, 1>($($arg),*),
            (3, 1) => $tile::<$s, 3, 1>($($arg),*),
            (4, 1) => $tile::<$s, 4, 1>($($arg),*),
            (5, 1) => $tile::<$s, 5, 1>($($arg),*),
            (6, 1) => $tile::<$s, 6, 1>($($arg),*),
            (7, 1) => $tile::<$s, 7, 1>($($arg),*),
            (8, 1) => $tile::<$s, 8, 1>($($arg),*),
            (1, 2) => $tile::<$s, 1, 2>($($arg),*),
            (2, 2) => $tile::<$s, 2, 2>($($arg),*),
            (3, 2) => $tile::<$s, 3, 2>($($arg),*),
            (4, 2) => $tile::<$s, 4, 2>($($arg),*),
            (5, 2) => $tile::<$s, 5, 2>($($arg),*),
            (6, 2) => $tile::<$s, 6, 2>($($arg),*),
            (7, 2) => $tile::<$s, 7, 2>($($arg),*),
            (8, 2) => $tile::<$s, 8, 2>($($arg),*),
            (rows, across) => unreachable!("a tile of {rows} rows and {across} vectors"),
        }
    };
}
pub(super) use with_size;

/// [`dot`] for `rows` positions, 1 to [`max_rows`], and `across` vectors of channels, 1 or 2.
#[inline(always)]
pub(super) fn dot_rows<S: Simd>(
    [rows, across]: [usize; 2],
    x: &[f32],
    positions: (Positions, usize),
    reads: Reads,
    weights: (&[f32], &[f32]),
    out: (&mut [f32], usize),
) {
    with_size!(rows, across, dot::<S>(x, positions, reads, weights, out));
}

/// [`outer`] for `rows` inputs, 1 to [`max_rows`], and `across` vectors of output gradients, 1 or 2.
#[inline(always)]
pub(super) fn outer_rows<S: Simd>(
    [rows, across]: [usize; 2],
    x: &[f32],
    dy: &[f32],
    sweep: Sweep,
    out: &mut [f32],
    out_step: usize,
) {
    with_size!(rows, across, outer::<S>(x, dy, sweep, out, out_step));
}

pub(super) trait Splat {
    fn splat_as<S: Simd>(self) -> Vector<S, f32>;
}

impl Splat for f32 {
    #[inline(always)]
    fn splat_as<S: Simd>(self) -> Vector<S, f32> {
        macerator::Scalar::splat(self)
    }
}
