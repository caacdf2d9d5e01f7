//! Exact strips: the output is cut into strips from side to side, and each strip into pieces, and every piece has a window of its own size, so
//! that no window hangs over the edge of the output.
//!
//! With `a(w, h)` the arrays that a window of `w` x `h` outputs fills (element-granular, see `elements.rs`), two dynamic programmes of the
//! same form find the best stack of strips:
//!
//! ```text
//! S(h, W) = min over w of a(w, h) + S(h, W - w)        the cheapest strip h outputs high
//! F(H)    = min over h of S(h, OW) + F(H - h)          the cheapest stack
//! ```
//!
//! Where fewer cycles are possible, pieces are cut again and either way, which takes longer to search: `cuts.rs`. Covering with one window is one of
//! the choices, so this never needs more cycles than element-granular tiling. Windows of one shape share their arrays; each further shape has
//! to be programmed.

use super::{
    Cut, Lay, Mapping, MappingError, Method, Piece, covers,
    problem::{Block, Problem},
    work::count,
};

/// Output positions beyond which the layer is refused: the programme's time grows with them.
const MAX_OUTPUTS: u64 = 1 << 22;

/// Sums that a search may compare, about a second's worth. Beyond, the layer is refused.
pub(crate) const MAX_SUMS: u64 = 1 << 30;

/// The error for a search of `method` that compared too many sums.
pub(crate) fn too_many_sums(method: Method) -> MappingError {
    MappingError::SearchTooLarge {
        method,
        what: "sums of parts to compare",
        limit: MAX_SUMS,
    }
}

/// The method. A tie goes to the smaller windows, which fill fewer cells.
pub(crate) struct Strips;

impl Lay for Strips {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let cover = covers::cover(problem, problem.in_channels, Method::Strips)?;
        let pieces = cover.pieces(problem, 0..problem.in_channels)?;
        problem.mapping(Method::Strips, pieces)
    }
}

/// The cheapest stack of strips that covers the output with so many input channels.
pub(super) struct Stack {
    heights: Partition,
    channels: u64,
    method: Method,
    sums: u64,
}

impl Stack {
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`], for `method`.
    pub fn new(problem: &Problem, channels: u64, method: Method) -> Result<Self, MappingError> {
        let (width, height) = (problem.across.out, problem.down.out);
        if width.saturating_mul(height) > MAX_OUTPUTS {
            return Err(MappingError::SearchTooLarge {
                method,
                what: "output positions",
                limit: MAX_OUTPUTS,
            });
        }
        let mut heights = Partition::new(height);
        let mut sums = 0;
        for h in 1..=height {
            count(1);
            // A strip that no width can make cheap enough is not looked into.
            if problem.bound(width * h, 1, h, channels) < heights.cost(h) {
                let widths = strip(problem, h, channels, method)?;
                heights.offer(h, widths.cost(width));
                sums += widths.sums();
            }
            if heights.sums() + sums > MAX_SUMS {
                return Err(too_many_sums(method));
            }
        }
        Ok(Self {
            sums: heights.sums() + sums,
            heights,
            channels,
            method,
        })
    }

    /// Sums that were compared.
    pub fn sums(&self) -> u64 {
        self.sums
    }

    /// Cycles of all windows.
    pub fn cycles(&self, problem: &Problem) -> u64 {
        self.heights.cost(problem.down.out)
    }

    /// The strips for these input channels, as many as the cover is of, or several times as many.
    pub fn pieces(
        &self,
        problem: &Problem,
        in_channels: std::ops::Range<u64>,
    ) -> Result<Vec<Piece>, MappingError> {
        let (width, height) = (problem.across.out, problem.down.out);
        let mut pieces = Vec::new();
        let mut top = 0;
        for (h, times) in self.heights.parts(height) {
            let mut left = 0;
            for (w, columns) in strip(problem, h, self.channels, self.method)?.parts(width) {
                pieces.push(Piece::windows(
                    problem,
                    [w, h],
                    [left, top],
                    [columns, times],
                    in_channels.clone(),
                ));
                left += w * columns;
            }
            top += h * times;
        }
        Ok(pieces)
    }
}

/// The cheapest way to cut a strip `h` outputs high into windows.
fn strip(problem: &Problem, h: u64, channels: u64, method: Method) -> Result<Partition, MappingError> {
    let width = problem.across.out;
    let mut widths = Partition::new(width);
    for w in 1..=width {
        count(1);
        let block = Block {
            in_channels: channels,
            ..problem.whole(w, h)
        };
        if problem.bound(w * h, w, h, channels) < widths.cost(w)
            && let Some(grid) = problem.grid(block, Cut::Elements)
        {
            widths.offer(w, grid.arrays());
        }
        if widths.sums() > MAX_SUMS {
            return Err(too_many_sums(method));
        }
    }
    Ok(widths)
}

/// The cheapest ways to cover 0, 1, ... with parts that each have a size and a cost. Parts are offered from
/// the smallest up; larger ones cost no less.
pub(crate) struct Partition {
    /// For each size its cost and the part that was added last.
    best: Vec<(u64, u64)>,
    /// Sums that were compared.
    sums: u64,
}

impl Partition {
    /// Nothing offered yet, for sizes up to `total`.
    pub fn new(total: u64) -> Self {
        count(total);
        let mut best = vec![(u64::MAX, 0); total as usize + 1];
        best[0].0 = 0;
        Self { best, sums: 0 }
    }

    /// Sums compared so far: what the search has taken.
    pub fn sums(&self) -> u64 {
        self.sums
    }

    /// The cheapest way to cover `size` so far; `u64::MAX` where there is none.
    pub fn cost(&self, size: u64) -> u64 {
        self.best[size as usize].0
    }

    /// Allows `part`, any number of times.
    pub fn offer(&mut self, part: u64, cost: u64) {
        // What smaller parts cover for as much, they also cover within every sum.
        if cost >= self.cost(part) {
            return;
        }
        self.sums += self.best.len() as u64;
        count(self.best.len() as u64);
        let length = part as usize;
        for (total, last) in &mut self.best[1..length] {
            if cost < *total {
                (*total, *last) = (cost, part);
            }
        }
        for size in length..self.best.len() {
            let total = self.best[size - length].0.saturating_add(cost);
            if total < self.best[size].0 {
                self.best[size] = (total, part);
            }
        }
    }

    /// The parts of the cheapest way to cover `total` and how often each is used, the largest first. They add
    /// up to `total`: a part that would reach beyond is cut to what is left.
    pub fn parts(&self, total: u64) -> Vec<(u64, u64)> {
        let mut counts = std::collections::BTreeMap::new();
        let mut left = total;
        while left > 0 {
            count(1);
            // At least 1, so that it ends; and something was offered wherever it is asked.
            let part = self.best[left as usize].1.clamp(1, left);
            *counts.entry(part).or_insert(0) += 1;
            left -= part;
        }
        counts.into_iter().rev().collect()
    }
}
