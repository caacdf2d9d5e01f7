//! Channel tiles with their own windows: the input channels are cut into tiles, and each tile is mapped with
//! the window that suits its size.
//!
//! VW-SDK gives every tile the same window, also the last, which may hold a few residual channels only. A
//! small tile has room for a larger window. With `t(c)` the cycles of the best element-granular window for `c`
//! channels, a dynamic programme finds the optimum:
//!
//! ```text
//! F(IC) = min over c of t(c) + F(IC - c)
//! ```
//!
//! One tile with all channels is one of the choices, so this never needs more cycles than element-granular
//! tiling. The tiles' partial sums are added up outside the array, as those of AR arrays are.

use super::{
    Lay, Mapping, MappingError, Method, Piece, elements,
    problem::Problem,
    strips::{MAX_SUMS, Partition, too_many_sums},
    work::count,
};

/// Steps of the search beyond which the layer is refused.
const MAX_STEPS: u64 = 1 << 28;

/// The method.
pub(crate) struct ChannelTiles;

/// A tile size worth using, with its window.
#[derive(Clone, Copy)]
struct Tile {
    channels: u64,
    w: u64,
    h: u64,
    cycles: u64,
}

impl Lay for ChannelTiles {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let tiles = tiles(problem)?;
        let mut sums = Partition::new(problem.in_channels);
        for tile in &tiles {
            count(1);
            sums.offer(tile.channels, tile.cycles);
            if sums.sums() > MAX_SUMS {
                return Err(too_many_sums(Method::ChannelTiles));
            }
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        for (channels, times) in sums.parts(problem.in_channels) {
            // The cheapest that is large enough: tiles rise in cost with their size.
            let Some(tile) = tiles
                .iter()
                .inspect(|_| count(1))
                .find(|tile| tile.channels >= channels)
            else {
                continue;
            };
            // Equal tiles are one piece, cut wherever the array's edge falls, which takes no more arrays. With
            // groups that share arrays it could, so there each stays by itself.
            let (size, times) = if problem.groups == 1 {
                (channels * times, 1)
            } else {
                (channels, times)
            };
            let mut block = problem.whole(tile.w, tile.h);
            block.in_channels = size;
            let cut = problem.best_cut(block);
            for _ in 0..times {
                pieces.push(Piece {
                    in_channels: start as usize..(start + size) as usize,
                    ..Piece::whole(problem, tile.w, tile.h, cut)
                });
                start += size;
            }
        }
        problem.mapping(Method::ChannelTiles, pieces)
    }
}

/// The tile sizes worth using, smallest first: each is cheaper than every larger one.
fn tiles(problem: &Problem) -> Result<Vec<Tile>, MappingError> {
    // What all channels cost as one tile; no tile has to cost more.
    let single = elements::best(problem).2;
    // For each number of channels the cycles of the cheapest tile, and the window of that tile, of a tie the first. The
    // cycles lie by themselves: most tiles are compared and lose, and so little memory stays in the cache.
    count(problem.in_channels);
    let mut cheapest = vec![u64::MAX; problem.in_channels as usize + 1];
    let mut windows = vec![[0; 2]; cheapest.len()];
    let mut steps = 0;
    for h in problem.down.sizes() {
        for w in problem.across.sizes() {
            count(1);
            // The bound only rises with the window, so the rest of the row is too dear as well.
            if problem.bound(problem.outputs(), w, h, 1) > single {
                break;
            }
            for (channels, cycles) in sizes(problem, w, h).take_while(|&(_, cycles)| cycles <= single) {
                steps += 1;
                if steps > MAX_STEPS {
                    return Err(MappingError::SearchTooLarge {
                        method: Method::ChannelTiles,
                        what: "windows and tiles to try",
                        limit: MAX_STEPS,
                    });
                }
                if cycles < cheapest[channels as usize] {
                    cheapest[channels as usize] = cycles;
                    windows[channels as usize] = [w, h];
                }
            }
        }
    }
    // From the largest down: a tile that is not cheaper than all larger ones is of no use.
    let mut least = u64::MAX;
    let mut found = Vec::new();
    for (channels, (&cycles, &[w, h])) in cheapest.iter().zip(&windows).enumerate().rev() {
        if cycles < least {
            least = cycles;
            found.push(Tile {
                channels: channels as u64,
                w,
                h,
                cycles,
            });
        }
    }
    found.reverse();
    Ok(found)
}

/// The tiles worth trying with a window of `w` x `h` outputs, as channels and cycles, the cheapest first.
///
/// Where several groups fit an array, so many channels that one more would let one group less lie on it. Elsewhere
/// so many that they fill their arrays, but for those that two smaller tiles replace at the same cost, see [`Full`].
fn sizes(problem: &Problem, w: u64, h: u64) -> impl Iterator<Item = (u64, u64)> {
    let Problem { rows, groups, .. } = *problem;
    let all = problem.in_channels;
    let windows = problem.windows(w, h);
    let per_channel = problem.rows_per_channel(w, h);
    let cols = w * h * problem.out_channels;

    // Channels of one group, or of several together, whose rows fit an array.
    let fit = rows / per_channel;
    let most = (problem.cols / cols).min(groups).min(fit);
    let together = std::iter::successors(Some(most), move |&together| {
        count(1);
        let channels = fit.checked_div(together)?;
        (channels < all).then(|| fit / (channels + 1))
    })
    .take_while(|&together| together > 1)
    .map(move |together| {
        let channels = (fit / together).min(all);
        (channels, windows.saturating_mul(groups.div_ceil(together)))
    });

    let arrays = (all * per_channel).div_ceil(rows);
    let each = windows
        .saturating_mul(groups)
        .saturating_mul(cols.div_ceil(problem.cols));
    let apart = Full::new(rows, per_channel)
        .take_while(move |&(count, _)| count <= arrays)
        .map(move |(count, channels)| (channels.min(all), each.saturating_mul(count)))
        .filter(|&(channels, _)| channels > 0);
    together.chain(apart)
}

/// The numbers of arrays, one below the other, that leave fewer rows over than every smaller number does, and the channels
/// that each holds.
///
/// `k` arrays hold `floor(k * rows / T)` channels of T rows each and leave `(k * rows) mod T` rows over. Where some
/// `j < k` leaves no more rows over than `k`, tiles of `j` and of `k - j` arrays together hold as many channels as
/// one of `k` and cost the same, so that of `k` is of no use.
///
/// The numbers follow from Euclid's algorithm: the next one is the last plus the number, among those before, that
/// lacks the fewest rows for one more channel.
struct Full {
    /// The next number of arrays; none after the last.
    next: Option<Stack>,
    /// The number of arrays that lacks the fewest rows for one more channel. Its channels count that one, and what is left
    /// over are the rows that it lacks.
    lacking: Stack,
}

/// Arrays one below the other.
#[derive(Clone, Copy)]
struct Stack {
    arrays: u64,
    channels: u64,
    left: u64,
}

impl Full {
    fn new(rows: u64, per_channel: u64) -> Self {
        Self {
            next: Some(Stack {
                arrays: 1,
                channels: rows / per_channel,
                left: rows % per_channel,
            }),
            lacking: Stack {
                arrays: 0,
                channels: 1,
                left: per_channel,
            },
        }
    }
}

impl Iterator for Full {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let now = self.next?;
        count(1);
        // Nothing leaves fewer rows over than none.
        self.next = (now.left > 0).then(|| {
            let lacking = &mut self.lacking;
            // As often as it lacks fewer rows with those arrays more. Where many numbers follow each other, that is not
            // once, which saves the division.
            if lacking.left > now.left {
                let times = (lacking.left - 1) / now.left;
                lacking.arrays += times * now.arrays;
                lacking.channels += times * now.channels;
                lacking.left -= times * now.left;
            }
            Stack {
                arrays: now.arrays + lacking.arrays,
                channels: now.channels + lacking.channels,
                left: now.left - lacking.left,
            }
        });
        Some((now.arrays, now.channels))
    }
}

#[cfg(test)]
mod tests {
    use super::Full;

    #[test]
    fn numbers_of_arrays_that_leave_fewer_rows_over_than_all_before() {
        for rows in 1..40 {
            for per_channel in 1..60 {
                let mut least = u64::MAX;
                let expected: Vec<(u64, u64)> = (1..=per_channel)
                    .filter(|count| {
                        let left = count * rows % per_channel;
                        let fewer = left < least;
                        least = least.min(left);
                        fewer
                    })
                    .map(|count| (count, count * rows / per_channel))
                    .collect();
                let found: Vec<(u64, u64)> = Full::new(rows, per_channel).collect();
                assert_eq!(found, expected, "{rows} rows, {per_channel} a channel");
            }
        }
    }
}
