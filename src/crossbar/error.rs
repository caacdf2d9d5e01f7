//! What can go wrong when a mapping is run.

use thiserror::Error;

use crate::mapping::{MappingConfig, MappingError};

/// Everything [`crossbar`](crate::crossbar) can refuse.
#[derive(Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum CrossbarError {
    /// The layer, the array or the mapping is out of range.
    #[error(transparent)]
    Mapping(#[from] MappingError),

    /// A slice is not as long as its shape says.
    #[error("{found} numbers were given as {what} where the layer has {expected}: check the shape")]
    Length {
        /// `weights` or `input`.
        what: &'static str,
        /// How many the layer has.
        expected: u128,
        /// How many were given.
        found: usize,
    },

    /// A sum of products might leave 64 bits.
    #[error("a sum of weights times inputs may not fit 64 bits: use smaller numbers")]
    TooLarge,

    /// The mapping is counted by a formula in which weights share cells.
    #[error(
        "a row of array {} has room for {} {}-bit weights in {}-bit cells, and accounting as-published counts {}, \
         which share cells: no array can be programmed so; use exact-geometry, or cell bits that divide the weight \
         bits",
        config.array, config.array.effective_cols(config.weight_bits), config.weight_bits, config.array.cell_bits,
        config.effective_cols()
    )]
    SharedCells {
        /// The array and the settings.
        config: MappingConfig,
    },

    /// An array has too many cells in use to be simulated.
    #[error(
        "an array has more than {limit} cells in use, and so many at most are simulated: use a smaller array"
    )]
    ArrayTooLarge {
        /// How many there may be.
        limit: usize,
    },

    /// A mapping puts a weight where the array has no cell.
    #[error("the mapping puts a weight at row {row}, column {col}, outside the array: this is a bug")]
    OutsideArray {
        /// The row.
        row: usize,
        /// The column of cells.
        col: usize,
    },

    /// A mapping puts two weights into one cell.
    #[error("the mapping puts two weights at row {row}, column {col}: this is a bug")]
    CellTaken {
        /// The row.
        row: usize,
        /// The column.
        col: usize,
    },

    /// A setting of the device is out of range.
    #[error("{what} is {value}: it must be {expected}")]
    Device {
        /// Which setting.
        what: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },

    /// A number is larger than its bits can say.
    #[error("{what} {value} does not fit {bits} bits besides its sign: scale it, or allow more bits")]
    Range {
        /// `weight` or `input`.
        what: &'static str,
        /// The number.
        value: i64,
        /// Bits it may have.
        bits: u32,
    },
}
