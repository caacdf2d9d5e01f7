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

use super::{Cut, Lay, Mapping, MappingError, Method, Piece, elements, problem::Problem, strips::Partition};

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
            sums.offer(tile.channels, tile.cycles);
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        for (channels, times) in sums.parts(problem.in_channels) {
            // The cheapest that is large enough: tiles rise in cost with their size.
            let Some(tile) = tiles.iter().find(|tile| tile.channels >= channels) else {
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
    let mut found: Vec<Tile> = Vec::new();
    let mut steps = 0;
    for h in problem.down.sizes() {
        for w in problem.across.sizes() {
            // The bound only rises with the window, so the rest of the row is too dear as well.
            if problem.bound(problem.outputs(), w, h, 1) > single {
                break;
            }
            let windows = problem.windows(w, h);
            for channels in sizes(problem, w, h) {
                steps += 1;
                if steps > MAX_STEPS {
                    return Err(MappingError::SearchTooLarge {
                        method: Method::ChannelTiles,
                        what: "windows and tiles to try",
                        limit: MAX_STEPS,
                    });
                }
                let mut block = problem.whole(w, h);
                block.in_channels = channels;
                let Some(grid) = problem.grid(block, Cut::Elements) else {
                    break;
                };
                let cycles = windows.saturating_mul(grid.arrays());
                if cycles > single {
                    break;
                }
                found.push(Tile {
                    channels,
                    w,
                    h,
                    cycles,
                });
            }
        }
    }
    // Largest first, then cheapest: what is not cheaper than all larger ones before it is of no use.
    found.sort_by_key(|tile| (std::cmp::Reverse(tile.channels), tile.cycles));
    let mut cheapest = u64::MAX;
    found.retain(|tile| {
        let better = tile.cycles < cheapest;
        cheapest = cheapest.min(tile.cycles);
        better
    });
    found.reverse();
    Ok(found)
}

/// The numbers of channels that fill their arrays with a window of `w` x `h` outputs: one more would take one
/// more array, or let one group less lie on it.
fn sizes(problem: &Problem, w: u64, h: u64) -> impl Iterator<Item = u64> {
    let (per_channel, rows, all) = (problem.rows_per_channel(w, h), problem.rows, problem.in_channels);
    let several = problem.groups > 1;
    let fill = move |channels: u64| {
        let used = channels * per_channel;
        let full = if several && used <= rows {
            rows / (rows / used * per_channel)
        } else {
            used.div_ceil(rows).saturating_mul(rows) / per_channel
        };
        full.min(all)
    };
    std::iter::successors(Some(fill(1)), move |&channels| {
        (channels < all).then(|| fill(channels + 1))
    })
}
