//! One layer on one array, reduced to the numbers the mapping formulas read.
//!
//! Everything is checked once, in [`Problem::new`]; after that the methods are written as plain arithmetic.
//! The bounds: sizes are at most 2^18, so the cells a window touches on an axis, which lie inside the padded
//! input, are fewer than 2^20, and `T * IC` and `w * h * OC` stay under 2^58. Products of those, which only
//! candidates that lose can make large, stop at the largest number instead.

use super::{ConvLayer, MappingConfig, MappingError, PimArray, Search, array::check_bits};

/// One axis of a layer, as counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Axis {
    /// Output positions.
    pub out: u64,
    pub kernel: u64,
    /// Input cells between neighbouring outputs.
    pub step: u64,
    pub dilation: u64,
    /// Dilation and step without their common divisor, worked out once: searches ask millions of times.
    reduced: (u64, u64),
}

/// The greatest number that divides both.
pub(super) fn common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

impl Axis {
    /// The axis of so many outputs and a kernel of that size.
    pub fn new(out: usize, kernel: usize, step: usize, dilation: usize) -> Self {
        let common = common_divisor(step, dilation);
        Self {
            out: out as u64,
            kernel: kernel as u64,
            step: step as u64,
            dilation: dilation as u64,
            reduced: ((dilation / common) as u64, (step / common) as u64),
        }
    }

    /// Input cells from the first to the last that `outputs` neighbouring outputs read, gaps included:
    /// `(outputs - 1) * step + dilation * (K - 1) + 1`.
    pub fn extent(&self, outputs: u64) -> u64 {
        (outputs - 1) * self.step + self.dilation * (self.kernel - 1) + 1
    }

    /// Input cells that `outputs` neighbouring outputs really read: the distinct values of
    /// `i * step + k * dilation` over `i < outputs` and `k < K`.
    ///
    /// Two of these pairs meet where `(i, k)` and `(i - d, k + s)` are both in range, with `d` and `s` the
    /// dilation and the step divided by what they have in common. So every pair counts but those that have
    /// such a neighbour, `(outputs - d) * (K - s)` of them. Without gaps, at dilation 1 and a step of K at
    /// most, this is the extent.
    pub fn touched(&self, outputs: u64) -> u64 {
        let (d, s) = self.reduced;
        outputs * self.kernel - outputs.saturating_sub(d) * self.kernel.saturating_sub(s)
    }

    /// The touched cells themselves, counted from the first, in order.
    pub fn offsets(&self, outputs: u64) -> Vec<u64> {
        let (d, s) = self.reduced;
        let mut offsets: Vec<u64> = (0..outputs)
            .flat_map(|i| {
                let first = if i < d { 0 } else { self.kernel.saturating_sub(s) };
                (first..self.kernel).map(move |k| i * self.step + k * self.dilation)
            })
            .collect();
        offsets.sort_unstable();
        offsets
    }

    /// The window sizes worth trying: of all that need the same number of windows, the smallest. The others
    /// leave room for fewer channels and save nothing. There are about `2 * sqrt(out)`.
    pub fn sizes(self) -> impl Iterator<Item = u64> + Clone {
        std::iter::successors(Some(1), move |&size| {
            let windows = self.out.div_ceil(size);
            (windows > 1).then(|| self.out.div_ceil(windows - 1))
        })
    }
}

/// A checked layer on a checked array. Axes are named, so that no method has to remember an order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Problem {
    pub across: Axis,
    pub down: Axis,
    pub groups: u64,
    /// Input channels of one group.
    pub in_channels: u64,
    /// Output channels of one group.
    pub out_channels: u64,
    pub rows: u64,
    /// Effective columns C'.
    pub cols: u64,
    /// Columns of cells that one weight takes.
    pub slices: u64,
    /// See [`super::lower_bound`].
    pub lower_bound: u64,
    pub search: Search,
    pub array: PimArray,
}

impl Problem {
    pub fn new(layer: &ConvLayer, config: &MappingConfig) -> Result<Self, MappingError> {
        config.array.validate()?;
        check_bits("weight", config.weight_bits)?;
        layer.validate(config.accounting)?;
        let rows = config.array.rows as u64;
        let cols = config.effective_cols() as u64;
        if cols == 0 {
            return Err(MappingError::NoColumns {
                array: config.array,
                weight_bits: config.weight_bits,
            });
        }
        let counted = layer.counted(config.accounting);
        let out = layer.output(config.accounting);
        let [down, across] = [0, 1].map(|axis| {
            Axis::new(
                out[axis],
                counted.kernel[axis],
                counted.stride[axis],
                counted.dilation[axis],
            )
        });
        Ok(Self {
            across,
            down,
            groups: layer.groups as u64,
            in_channels: layer.group_in_channels() as u64,
            out_channels: layer.group_out_channels() as u64,
            rows,
            cols,
            slices: u64::from(config.slices()),
            lower_bound: layer.macs(config.accounting)?.div_ceil(rows * cols),
            search: config.search,
            array: config.array,
        })
    }

    /// Rows that one input channel of a window of `w` x `h` outputs takes: its touched cells, T.
    pub fn rows_per_channel(&self, w: u64, h: u64) -> u64 {
        self.across.touched(w) * self.down.touched(h)
    }

    /// The whole layer, `w` x `h` outputs at a time.
    pub fn whole(&self, w: u64, h: u64) -> Block {
        Block {
            w,
            h,
            groups: self.groups,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
        }
    }

    /// Windows that cover the output.
    pub fn windows(&self, w: u64, h: u64) -> u64 {
        self.across.out.div_ceil(w) * self.down.out.div_ceil(h)
    }

    /// How many arrays the weights of `block` fill, and how they are cut. `None` under [`Cut::Channels`]
    /// where not one channel fits.
    ///
    /// [`Cut::Channels`]: super::Cut::Channels
    pub fn grid(&self, block: Block, cut: super::Cut) -> Option<Grid> {
        let per_in = self.rows_per_channel(block.w, block.h);
        let per_out = block.w * block.h;
        let (matrix_rows, matrix_cols) = (per_in * block.in_channels, per_out * block.out_channels);
        // Whole groups, side by side along the diagonal of one array.
        let together = (self.rows / matrix_rows)
            .min(self.cols / matrix_cols)
            .min(block.groups);
        let grid = Grid {
            rows_per_channel: per_in,
            group_tile: together.max(1),
            group_cycles: block.groups.div_ceil(together.max(1)),
            row_cycles: 1,
            col_cycles: 1,
            row_span: matrix_rows,
            col_span: matrix_cols,
            in_tile: together.max(1) * block.in_channels.min(self.rows / per_in),
            out_tile: together.max(1) * block.out_channels.min(self.cols / per_out),
        };
        if together > 0 {
            return Some(grid);
        }
        let (row_span, col_span) = match cut {
            super::Cut::Channels => (grid.in_tile * per_in, grid.out_tile * per_out),
            super::Cut::Elements => (self.rows.min(matrix_rows), self.cols.min(matrix_cols)),
        };
        (row_span > 0 && col_span > 0).then(|| Grid {
            row_cycles: matrix_rows.div_ceil(row_span),
            col_cycles: matrix_cols.div_ceil(col_span),
            row_span,
            col_span,
            ..grid
        })
    }

    /// Cycles below which `outputs` positions and `channels` input channels cannot be computed with this
    /// window or a larger one, however it is cut: the columns alone fill `ceil(G * OC * outputs / C')`
    /// arrays, and the rows ask for each `ceil(T * channels / rows)` times.
    pub fn bound(&self, outputs: u64, w: u64, h: u64, channels: u64) -> u64 {
        let columns = self.groups * self.out_channels * outputs;
        let rows = self.rows_per_channel(w, h) * channels;
        columns
            .div_ceil(self.cols)
            .saturating_mul(rows.div_ceil(self.rows))
    }

    /// Output positions, `OW * OH`.
    pub fn outputs(&self) -> u64 {
        self.across.out * self.down.out
    }

    /// Whether `block` needs no more arrays when it is cut between whole channels than when it is cut
    /// anywhere; then it is.
    pub fn best_cut(&self, block: Block) -> super::Cut {
        let arrays = |cut| self.grid(block, cut).map(|grid| grid.arrays());
        if arrays(super::Cut::Channels) == arrays(super::Cut::Elements) {
            super::Cut::Channels
        } else {
            super::Cut::Elements
        }
    }
}

/// The weights that lie on arrays together: so many channels of so many groups, shifted and duplicated for
/// `w` x `h` outputs. Channels are those of one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub w: u64,
    pub h: u64,
    pub groups: u64,
    pub in_channels: u64,
    pub out_channels: u64,
}

/// How a block's weight matrix is cut into arrays.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    /// T, see [`Problem::rows_per_channel`].
    pub rows_per_channel: u64,
    /// Gt: groups that lie on one array together.
    pub group_tile: u64,
    /// GC: arrays, one after the other, that the groups take.
    pub group_cycles: u64,
    /// AR.
    pub row_cycles: u64,
    /// AC.
    pub col_cycles: u64,
    /// Rows of one group's matrix that one array takes.
    pub row_span: u64,
    /// Columns of one group's matrix that one array takes.
    pub col_span: u64,
    /// Whole input channels on an array at once.
    pub in_tile: u64,
    /// Whole output channels on an array at once.
    pub out_tile: u64,
}

impl Grid {
    /// Arrays, which is also the cycles one window takes.
    pub fn arrays(&self) -> u64 {
        self.group_cycles
            .saturating_mul(self.row_cycles)
            .saturating_mul(self.col_cycles)
    }
}
