//! A mapping is a list of pieces: rectangles of the output, and channels, each with a window of its own.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    MAX_PIECES, Mapping, MappingError, Method, Window,
    problem::{Block, Grid, Problem},
};

/// A rectangle of output positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rect {
    /// The first column.
    pub left: usize,
    /// The first row.
    pub top: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// Where a weight matrix that is larger than the array is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Cut {
    /// Between channels: an array holds whole input channels of the window and whole output channels.
    Channels,
    /// At the array's edge, wherever that falls.
    Elements,
}

/// A part of the layer that is computed with one window: `w` x `h` neighbouring outputs a cycle, for some
/// outputs and some channels. It costs
///
/// ```text
/// cycles = ceil(W / w) * ceil(H / h) * GC * AR * AC
/// ```
///
/// over its `W` x `H` outputs. AR and AC arrays, down and across, hold the weights of one group, and GC such
/// sets hold all groups; where a whole group fits an array, several lie on it along its diagonal, so that GC is
/// less than the groups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Piece {
    /// The output positions it computes.
    pub outputs: Rect,
    /// The groups it computes; `0..1` for an ordinary convolution.
    pub groups: Range<usize>,
    /// The input channels it adds up, counted within each group.
    pub in_channels: Range<usize>,
    /// The output channels it computes, counted within each group.
    pub out_channels: Range<usize>,
    /// Output positions computed in a cycle, across.
    pub w: usize,
    /// Output positions computed in a cycle, down.
    pub h: usize,
    /// Where its weights are cut into arrays.
    pub cut: Cut,
}

impl Piece {
    /// The whole layer with one window.
    pub(crate) fn whole(problem: &Problem, w: u64, h: u64, cut: Cut) -> Self {
        Self {
            outputs: Rect {
                left: 0,
                top: 0,
                width: problem.across.out as usize,
                height: problem.down.out as usize,
            },
            groups: 0..problem.groups as usize,
            in_channels: 0..problem.in_channels as usize,
            out_channels: 0..problem.out_channels as usize,
            w: w as usize,
            h: h as usize,
            cut,
        }
    }

    /// So many windows across and down, for these input channels, cut where that takes the fewest arrays, from this column and row on.
    pub(crate) fn windows(
        problem: &Problem,
        [w, h]: [u64; 2],
        [left, top]: [u64; 2],
        [columns, rows]: [u64; 2],
        in_channels: Range<u64>,
    ) -> Self {
        let block = Block {
            in_channels: in_channels.end - in_channels.start,
            ..problem.whole(w, h)
        };
        Self {
            outputs: Rect {
                left: left as usize,
                top: top as usize,
                width: (w * columns) as usize,
                height: (h * rows) as usize,
            },
            in_channels: in_channels.start as usize..in_channels.end as usize,
            ..Self::whole(problem, w, h, problem.best_cut(block))
        }
    }

    /// Windows that cover its outputs.
    #[must_use]
    pub fn n_windows(&self) -> u64 {
        (self.outputs.width.div_ceil(self.w.max(1)) as u64)
            .saturating_mul(self.outputs.height.div_ceil(self.h.max(1)) as u64)
    }

    /// Whether the two lie on the same arrays with the same weights, so that those are programmed once.
    pub(super) fn shares_arrays(&self, other: &Self) -> bool {
        (&self.groups, &self.in_channels, &self.out_channels)
            == (&other.groups, &other.in_channels, &other.out_channels)
            && (self.w, self.h, self.cut) == (other.w, other.h, other.cut)
    }

    fn block(&self) -> Block {
        Block {
            w: self.w as u64,
            h: self.h as u64,
            groups: self.groups.len() as u64,
            in_channels: self.in_channels.len() as u64,
            out_channels: self.out_channels.len() as u64,
        }
    }

    /// How it is cut into arrays.
    ///
    /// # Errors
    ///
    /// [`MappingError::Infeasible`] where it is cut by whole channels and not one fits.
    pub(crate) fn grid(&self, problem: &Problem) -> Result<Grid, MappingError> {
        problem
            .grid(self.block(), self.cut)
            .ok_or(MappingError::Infeasible {
                rows: problem.rows_per_channel(self.w as u64, self.h as u64),
                cols: (self.w * self.h) as u64,
                array: problem.array,
            })
    }
}

impl Problem {
    /// The mapping made of these pieces, with everything that follows from them.
    pub(crate) fn mapping(&self, method: Method, pieces: Vec<Piece>) -> Result<Mapping, MappingError> {
        if pieces.len() > MAX_PIECES {
            return Err(MappingError::SearchTooLarge {
                method,
                what: "pieces",
                limit: MAX_PIECES as u64,
            });
        }
        let grids = pieces
            .iter()
            .map(|piece| piece.grid(self))
            .collect::<Result<Vec<_>, _>>()?;
        let cost = |(piece, grid): &(&Piece, &Grid)| piece.n_windows().saturating_mul(grid.arrays());
        let Some((main, grid)) = pieces.iter().zip(&grids).max_by_key(cost) else {
            return Err(MappingError::PieceCount { pieces: 0 });
        };
        let mut mapping = Mapping {
            method,
            window: Window {
                width: self.across.extent(main.w as u64) as usize,
                height: self.down.extent(main.h as u64) as usize,
            },
            w: main.w,
            h: main.h,
            in_tile: grid.in_tile as usize,
            out_tile: grid.out_tile as usize,
            n_windows: 0,
            group_cycles: grid.group_cycles,
            row_cycles: grid.row_cycles,
            col_cycles: grid.col_cycles,
            cycles: 0,
            lower_bound: self.lower_bound,
            arrays: 0,
            cells_written: 0,
            weights_driven: 0,
            dac_conversions: 0,
            adc_conversions: 0,
            input_traffic: 0,
            fallback: None,
            pieces: Vec::new(),
        };
        for (n, (piece, grid)) in pieces.iter().zip(&grids).enumerate() {
            let block = piece.block();
            let windows = piece.n_windows();
            let rows = product([block.groups, block.in_channels, grid.rows_per_channel]);
            let cols = product([block.groups, block.out_channels, block.w, block.h]);
            let kernel = self.across.kernel * self.down.kernel;
            let weights = product([cols, kernel, block.in_channels]);
            if !pieces[..n].iter().any(|earlier| earlier.shares_arrays(piece)) {
                add(&mut mapping.arrays, [grid.arrays()]);
                add(&mut mapping.cells_written, [weights, self.slices]);
            }
            add(&mut mapping.n_windows, [windows]);
            add(&mut mapping.cycles, [windows, grid.arrays()]);
            add(&mut mapping.weights_driven, [windows, weights]);
            add(&mut mapping.dac_conversions, [windows, rows, grid.col_cycles]);
            add(
                &mut mapping.adc_conversions,
                [windows, cols, self.slices, grid.row_cycles],
            );
            add(&mut mapping.input_traffic, [windows, rows]);
        }
        mapping.pieces = pieces;
        Ok(mapping)
    }
}

fn product<const N: usize>(factors: [u64; N]) -> u64 {
    factors.into_iter().fold(1, u64::saturating_mul)
}

fn add<const N: usize>(sum: &mut u64, factors: [u64; N]) {
    *sum = sum.saturating_add(product(factors));
}
