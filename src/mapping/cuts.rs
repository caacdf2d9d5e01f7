//! Cuts from side to side: the output is cut in two, either way, and each part again as long as that helps. What is left whole is a window of its
//! size.
//!
//! With `a(w, h)` the arrays that a window of `w` x `h` outputs fills (element-granular, see `elements.rs`), one dynamic programme finds the
//! optimum for every rectangle, from the smallest to the output itself:
//!
//! ```text
//! F(w, h) = min of a(w, h),  F(v, h) + F(w - v, h) over v,  F(w, v) + F(w, h - v) over v
//! ```
//!
//! Of a rectangle that is cut across, one part is not cut across itself. There are few sizes for which that is the best, and only these are tried; the
//! same goes for cuts down.

use std::collections::BTreeMap;

use super::{
    Cut, Piece,
    problem::{Block, Problem},
    work::count,
};

/// The cheapest way to cut the output for so many input channels.
pub(super) struct Cuts {
    width: usize,
    height: usize,
    /// `F(w, h)`, a row of all widths for each height, from 1.
    cycles: Vec<u64>,
    /// The same, a column of all heights for each width: memory is read in its order.
    columns: Vec<u64>,
    /// For each height, the widths that no cut across makes cheaper: of a strip that is cut across, such parts are all there is.
    across: Vec<Vec<u32>>,
    /// For each width, the heights that no cut down makes cheaper.
    down: Vec<Vec<u32>>,
    sums: u64,
}

impl Cuts {
    /// `None` where that would take more than so many sums.
    pub fn new(problem: &Problem, channels: u64, most: u64) -> Option<Self> {
        let (width, height) = (problem.across.out, problem.down.out);
        let mut cuts = Self {
            width: width as usize,
            height: height as usize,
            cycles: Vec::with_capacity((width * height) as usize),
            columns: vec![0; (width * height) as usize],
            across: vec![Vec::new(); height as usize],
            down: vec![Vec::new(); width as usize],
            sums: 0,
        };
        // Then a rectangle costs what its mirror image does.
        let is_square = problem.across == problem.down;
        for h in 1..=height {
            for w in 1..=width {
                let (cycles, parts) = if is_square && w < h {
                    let parts = [(&cuts.down[h as usize - 1], w), (&cuts.across[w as usize - 1], h)];
                    (cuts.of(h, w), parts.map(|(parts, size)| is_among(parts, size)))
                } else {
                    let [across, down] = cuts.cut(w, h);
                    if cuts.sums > most {
                        return None;
                    }
                    let window = window(problem, [w, h], channels, across.min(down));
                    let parts = [window.min(down) < across, window.min(across) < down];
                    (window.min(across).min(down), parts)
                };
                let [across, down] = parts;
                if across {
                    cuts.across[h as usize - 1].push(w as u32);
                }
                if down {
                    cuts.down[w as usize - 1].push(h as u32);
                }
                cuts.cycles.push(cycles);
                cuts.columns[(w as usize - 1) * cuts.height + h as usize - 1] = cycles;
            }
        }
        Some(cuts)
    }

    /// The fewest cycles of a rectangle that is cut across, and of one that is cut down; all smaller ones are known.
    fn cut(&mut self, w: u64, h: u64) -> [u64; 2] {
        let (across, down) = (&self.across[h as usize - 1], &self.down[w as usize - 1]);
        let steps = 1 + across.len() as u64 + down.len() as u64;
        count(steps);
        self.sums += steps;
        let row = &self.cycles[(h as usize - 1) * self.width..];
        let column = &self.columns[(w as usize - 1) * self.height..];
        [
            cheapest(row, across, w as usize),
            cheapest(column, down, h as usize),
        ]
    }

    fn of(&self, w: u64, h: u64) -> u64 {
        self.cycles[(h as usize - 1) * self.width + w as usize - 1]
    }

    /// Sums that were compared.
    pub fn sums(&self) -> u64 {
        self.sums
    }

    /// Cycles of all windows.
    pub fn cycles(&self) -> u64 {
        self.cycles.last().copied().unwrap_or(u64::MAX)
    }

    /// The strips for these input channels, as many as the cover is of, or several times as many.
    pub fn pieces(&self, problem: &Problem, in_channels: std::ops::Range<u64>) -> Vec<Piece> {
        let (width, height) = (problem.across.out, problem.down.out);
        let mut rectangles = vec![([width, height], [0, 0], [1, 1])];
        let mut pieces = Vec::new();
        // Equal parts lie beside each other: a rectangle stands for so many of them, across and down.
        while let Some(([w, h], [left, top], [columns, rows])) = rectangles.pop() {
            let cut = self.parts(w, h);
            let Some((across, parts)) = cut else {
                pieces.push(Piece::windows(
                    problem,
                    [w, h],
                    [left, top],
                    [columns, rows],
                    in_channels.clone(),
                ));
                continue;
            };
            let (mut left, mut top) = (left, top);
            let mut next = Vec::new();
            for (part, times) in parts {
                if across {
                    next.push(([part, h], [left, top], [columns * times, rows]));
                    left += part * columns * times;
                } else {
                    next.push(([w, part], [left, top], [columns, rows * times]));
                    top += part * rows * times;
                }
            }
            rectangles.extend(next.into_iter().rev());
        }
        pieces
    }

    /// How a rectangle is cut, unless it is one window: whether across, and the sizes of the parts with how many there are of each, the
    /// largest first.
    fn parts(&self, w: u64, h: u64) -> Option<(bool, Vec<(u64, u64)>)> {
        let (across, down) = (&self.across[h as usize - 1], &self.down[w as usize - 1]);
        // A part that no cut of either way makes cheaper is a window.
        let (is_across, parts, size) = match (is_among(across, w), is_among(down, h)) {
            (true, true) => return None,
            (false, _) => (true, across, w),
            (true, false) => (false, down, h),
        };
        let of = |size: u64| {
            if is_across {
                self.of(size, h)
            } else {
                self.of(w, size)
            }
        };
        let mut counts = BTreeMap::new();
        let mut left = size;
        while left > 0 {
            count(1);
            // What is left is such a part itself, or one lies at its edge.
            let smaller = &parts[..parts.partition_point(|part| u64::from(*part) <= left)];
            let fits = |part: u64| part == left || of(part).saturating_add(of(left - part)) == of(left);
            let part = smaller
                .iter()
                .rev()
                .map(|part| u64::from(*part))
                .find(|&part| fits(part));
            let part = part.unwrap_or(left);
            *counts.entry(part).or_insert(0) += 1;
            left -= part;
        }
        Some((is_across, counts.into_iter().rev().collect()))
    }
}

/// Cycles of one window, unless they are certainly not fewer than `most`.
fn window(problem: &Problem, [w, h]: [u64; 2], channels: u64, most: u64) -> u64 {
    if problem.bound(w * h, w, h, channels) >= most {
        return u64::MAX;
    }
    let block = Block {
        in_channels: channels,
        ..problem.whole(w, h)
    };
    let grid = problem.grid(block, Cut::Elements);
    grid.map_or(u64::MAX, |grid| grid.arrays())
}

/// Whether a size is among rising ones.
fn is_among(parts: &[u32], size: u64) -> bool {
    parts.binary_search(&(size as u32)).is_ok()
}

/// The fewest cycles of `size` in two parts, of which one is among `parts`. `cycles`: of each size, from 1.
fn cheapest(cycles: &[u64], parts: &[u32], size: usize) -> u64 {
    let known = &cycles[..size - 1];
    let sums = parts
        .iter()
        .map(|&part| known[part as usize - 1].saturating_add(known[size - 1 - part as usize]));
    sums.min().unwrap_or(u64::MAX)
}
