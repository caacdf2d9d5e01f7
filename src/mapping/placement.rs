//! Where every weight of a mapping sits: for each piece its arrays, for each array its cells, and what enters
//! on its rows and leaves on its columns. Nothing is stored; all of it is worked out when asked for, so that a
//! mapping of billions of cells costs no more than one of ten.
//!
//! The weights of a piece, for one group, form a matrix. Its rows are the touched input cells of each input
//! channel, channel by channel and, within one, row by row; its columns are the `w * h` outputs of each output
//! channel, in the same order. A row and a column meet in a weight where the output reads that input cell, and
//! in an empty cell elsewhere. Arrays are rectangles of this matrix, `row_span` x `col_span` cells each; where
//! several groups share an array, their matrices lie along its diagonal.

use super::{
    ConvLayer, Mapping, MappingConfig, MappingError, Piece,
    check::check_pieces,
    problem::{Axis, Grid, Problem},
};

/// A mapping laid out on its arrays.
///
/// ```
/// use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, Placement, map_layer};
///
/// let layer = ConvLayer::square("conv4", 9, 3, 32, 64);
/// let config = MappingConfig::new(PimArray::new(256, 512)?);
/// let mapping = map_layer(&layer, Method::VwSdk, &config)?;
/// let placement = Placement::new(&layer, &mapping, &config)?;
/// let cells: usize = placement
///     .pieces()
///     .flat_map(|piece| piece.arrays())
///     .map(|array| array.cells().count())
///     .sum();
/// assert_eq!(cells as u64, mapping.cells_written);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
#[derive(Debug)]
pub struct Placement {
    pieces: Vec<PlacedPiece>,
}

impl Placement {
    /// Checks that `mapping` is one of this layer on this array, and lays nothing out.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn check(layer: &ConvLayer, mapping: &Mapping, config: &MappingConfig) -> Result<(), MappingError> {
        let problem = Problem::new(layer, config)?;
        check_pieces(layer, &problem, &mapping.pieces)?;
        let expected = Mapping {
            fallback: mapping.fallback,
            ..problem.mapping(mapping.method, mapping.pieces.clone())?
        };
        if expected == *mapping {
            Ok(())
        } else {
            Err(MappingError::NotThisMapping {
                layer: layer.name.clone(),
            })
        }
    }

    /// Lays out `mapping`, which may come from a file: its pieces are checked, and so are its numbers.
    ///
    /// # Errors
    ///
    /// [`MappingError::PieceCount`], [`MappingError::Piece`] or [`MappingError::NotThisMapping`] where the
    /// mapping is not one of this layer on this array; [`MappingError::Infeasible`]; those of
    /// [`map_layer`](super::map_layer).
    pub fn new(layer: &ConvLayer, mapping: &Mapping, config: &MappingConfig) -> Result<Self, MappingError> {
        Self::check(layer, mapping, config)?;
        let problem = Problem::new(layer, config)?;
        let pieces = mapping
            .pieces
            .iter()
            .map(|piece| PlacedPiece::new(&problem, piece))
            .collect::<Result<_, _>>()?;
        Ok(Self { pieces })
    }

    /// The pieces, in the mapping's order.
    pub fn pieces(&self) -> impl Iterator<Item = &PlacedPiece> {
        self.pieces.iter()
    }
}

/// One piece laid out on its arrays.
#[derive(Debug)]
pub struct PlacedPiece {
    piece: Piece,
    grid: Grid,
    across: PlacedAxis,
    down: PlacedAxis,
    /// Channels of one group of the layer.
    layer_channels: [usize; 2],
}

/// One axis of a window.
#[derive(Debug)]
struct PlacedAxis {
    axis: Axis,
    /// Touched input cells, counted from the window's first.
    offsets: Vec<u64>,
}

impl PlacedAxis {
    fn new(axis: Axis, outputs: usize) -> Self {
        Self {
            axis,
            offsets: axis.offsets(outputs as u64),
        }
    }

    /// Where among the touched cells output `output` reads with kernel element `k`.
    fn touched(&self, output: usize, k: usize) -> usize {
        let offset = output as u64 * self.axis.step + k as u64 * self.axis.dilation;
        // Every such cell is touched by definition, so it is always found.
        self.offsets.partition_point(|&cell| cell < offset)
    }
}

/// What enters on a row: one cell of the window in one input channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowInput {
    /// The input channel, counted over all groups.
    pub channel: usize,
    /// Cells to the right of the window's first.
    pub x: usize,
    /// Cells below the window's first.
    pub y: usize,
}

/// What leaves on a column: one output position of the window in one output channel, or a partial sum of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ColumnOutput {
    /// The output channel, counted over all groups.
    pub channel: usize,
    /// Outputs to the right of the window's first.
    pub x: usize,
    /// Outputs below the window's first.
    pub y: usize,
}

/// A weight of the layer, as an index into a tensor of the shape `[OC, IC / G, Kh, Kw]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weight {
    /// The output channel, counted over all groups.
    pub out_channel: usize,
    /// The input channel, counted within the group.
    pub in_channel: usize,
    /// Row of the kernel.
    pub ky: usize,
    /// Column of the kernel.
    pub kx: usize,
}

/// A programmed cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cell {
    /// Row of the array.
    pub row: usize,
    /// Effective column of the array: a whole weight wide.
    pub col: usize,
    /// The weight in it.
    pub weight: Weight,
}

impl PlacedPiece {
    fn new(problem: &Problem, piece: &Piece) -> Result<Self, MappingError> {
        Ok(Self {
            piece: piece.clone(),
            grid: piece.grid(problem)?,
            across: PlacedAxis::new(problem.across, piece.w),
            down: PlacedAxis::new(problem.down, piece.h),
            layer_channels: [problem.in_channels as usize, problem.out_channels as usize],
        })
    }

    /// The piece itself.
    #[must_use]
    pub fn piece(&self) -> &Piece {
        &self.piece
    }

    /// Cycles it takes.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.piece.n_windows().saturating_mul(self.grid.arrays())
    }

    /// Its windows, as the first output position `[x, y]` of each. The last of a row or column may reach
    /// beyond the piece's outputs; what they compute there belongs to no one.
    pub fn windows(&self) -> impl Iterator<Item = [usize; 2]> {
        let (outputs, w, h) = (self.piece.outputs, self.piece.w, self.piece.h);
        (0..outputs.height).step_by(h).flat_map(move |y| {
            (0..outputs.width)
                .step_by(w)
                .map(move |x| [outputs.left + x, outputs.top + y])
        })
    }

    /// Its arrays, which take their turns at every window: by groups, then down, then across.
    pub fn arrays(&self) -> impl Iterator<Item = PlacedArray<'_>> {
        let grid = self.grid;
        (0..grid.group_cycles).flat_map(move |group| {
            (0..grid.row_cycles).flat_map(move |down| {
                (0..grid.col_cycles).map(move |across| PlacedArray {
                    piece: self,
                    group: group as usize,
                    down: down as usize,
                    across: across as usize,
                })
            })
        })
    }

    /// Rows and columns of one group's weight matrix.
    fn matrix(&self) -> [usize; 2] {
        [
            self.piece.in_channels.len() * self.grid.rows_per_channel as usize,
            self.piece.out_channels.len() * self.piece.w * self.piece.h,
        ]
    }
}

/// One array, programmed.
#[derive(Debug, Clone, Copy)]
pub struct PlacedArray<'a> {
    piece: &'a PlacedPiece,
    /// Which tile of groups.
    group: usize,
    down: usize,
    across: usize,
}

impl<'a> PlacedArray<'a> {
    /// The groups on it.
    fn groups(&self) -> std::ops::Range<usize> {
        let all = &self.piece.piece.groups;
        let tile = self.piece.grid.group_tile as usize;
        let start = all.start + self.group * tile;
        start..(start + tile).min(all.end)
    }

    /// The rows and the columns of each group's matrix that lie on it.
    fn spans(&self) -> [std::ops::Range<usize>; 2] {
        let [rows, cols] = self.piece.matrix();
        let span = |index: usize, span: u64, end: usize| {
            let start = index * span as usize;
            start..(start + span as usize).min(end)
        };
        [
            span(self.down, self.piece.grid.row_span, rows),
            span(self.across, self.piece.grid.col_span, cols),
        ]
    }

    /// Rows in use.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.groups().len() * self.spans()[0].len()
    }

    /// Effective columns in use.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.groups().len() * self.spans()[1].len()
    }

    /// What enters on the rows in use, in order.
    pub fn inputs(&self) -> impl Iterator<Item = RowInput> + 'a {
        let placed = self.piece;
        let channels = placed.layer_channels[0];
        let [rows, _] = self.spans();
        self.groups().flat_map(move |group| {
            rows.clone().map(move |row| {
                let per_channel = placed.grid.rows_per_channel as usize;
                let width = placed.across.offsets.len();
                let (channel, cell) = (row / per_channel, row % per_channel);
                RowInput {
                    channel: group * channels + placed.piece.in_channels.start + channel,
                    x: placed.across.offsets[cell % width] as usize,
                    y: placed.down.offsets[cell / width] as usize,
                }
            })
        })
    }

    /// What leaves on the columns in use, in order.
    pub fn outputs(&self) -> impl Iterator<Item = ColumnOutput> + 'a {
        let placed = self.piece;
        let channels = placed.layer_channels[1];
        let [_, cols] = self.spans();
        self.groups().flat_map(move |group| {
            cols.clone().map(move |col| {
                let (w, h) = (placed.piece.w, placed.piece.h);
                let (channel, position) = (col / (w * h), col % (w * h));
                ColumnOutput {
                    channel: group * channels + placed.piece.out_channels.start + channel,
                    x: position % w,
                    y: position / w,
                }
            })
        })
    }

    /// The cells that hold weights, column by column.
    pub fn cells(&self) -> impl Iterator<Item = Cell> + 'a {
        let placed = self.piece;
        let [rows, cols] = self.spans();
        let per_channel = placed.grid.rows_per_channel as usize;
        // Only the channels of which some row lies on this array.
        let channels = rows.start / per_channel..rows.end.div_ceil(per_channel);
        let kernel = [
            placed.down.axis.kernel as usize,
            placed.across.axis.kernel as usize,
        ];
        let per_array = cols.len();
        self.outputs().enumerate().flat_map(move |(col, output)| {
            // The group's place on the diagonal.
            let place = col / per_array;
            let rows = rows.clone();
            channels
                .clone()
                .flat_map(move |channel| (0..kernel[0]).map(move |ky| (channel, ky)))
                .flat_map(move |(channel, ky)| (0..kernel[1]).map(move |kx| (channel, ky, kx)))
                .filter_map(move |(channel, ky, kx)| {
                    let (y, x) = (
                        placed.down.touched(output.y, ky),
                        placed.across.touched(output.x, kx),
                    );
                    let row = channel * per_channel + y * placed.across.offsets.len() + x;
                    rows.contains(&row).then(|| Cell {
                        row: place * rows.len() + row - rows.start,
                        col,
                        weight: Weight {
                            out_channel: output.channel,
                            in_channel: placed.piece.in_channels.start + channel,
                            ky,
                            kx,
                        },
                    })
                })
        })
    }
}
