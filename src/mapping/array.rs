//! The processing-in-memory array: a crossbar of cells that multiplies a vector on its rows with
//! the weights in its cells and adds up along its columns, all in one cycle.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{MAX_BITS, MAX_DIMENSION, MappingError};

/// A crossbar of `rows` x `cols` cells, each holding `cell_bits` bits of a weight.
///
/// Written `rows`x`cols`, as in `256x512`; that is also how it is read and shown.
///
/// ```
/// use vwc_sdk::mapping::PimArray;
///
/// let array: PimArray = "512x256".parse()?;
/// assert_eq!((array.rows, array.cols, array.cell_bits), (512, 256, 1));
/// assert_eq!(array.effective_cols(2), 128);
/// assert_eq!(array.to_string(), "512x256");
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PimArray {
    /// Rows: input elements that enter in one cycle. 1 to [`MAX_DIMENSION`].
    pub rows: usize,
    /// Columns of cells. 1 to [`MAX_DIMENSION`].
    pub cols: usize,
    /// Bits of a weight that one cell holds. 1 to [`MAX_BITS`].
    pub cell_bits: u32,
}

impl PimArray {
    /// An array of one-bit cells.
    ///
    /// # Errors
    ///
    /// [`MappingError::ArraySize`] where an axis is zero or above [`MAX_DIMENSION`].
    pub fn new(rows: usize, cols: usize) -> Result<Self, MappingError> {
        let array = Self {
            rows,
            cols,
            cell_bits: 1,
        };
        array.validate()?;
        Ok(array)
    }

    /// The same array with `bits` bits in each cell. A width out of range is refused when a layer
    /// is mapped.
    #[must_use]
    pub fn with_cell_bits(mut self, bits: u32) -> Self {
        self.cell_bits = bits;
        self
    }

    /// Effective columns C': how many weights of `weight_bits` bits fit side by side in one row. A weight
    /// takes `ceil(weight_bits / cell_bits)` cells of its own, so this is `cols` divided by that, rounded
    /// down. Zero where not even one weight fits, or where `weight_bits` or `cell_bits` is zero.
    ///
    /// ```
    /// use vwc_sdk::mapping::PimArray;
    ///
    /// let array = PimArray::new(256, 256)?.with_cell_bits(2);
    /// assert_eq!([1, 2, 3, 4].map(|bits| array.effective_cols(bits)), [256, 256, 128, 128]);
    /// assert_eq!([1, 2, 3, 4].map(|bits| array.published_cols(bits)), [512, 256, 170, 128]);
    /// # Ok::<(), vwc_sdk::mapping::MappingError>(())
    /// ```
    #[must_use]
    pub fn effective_cols(&self, weight_bits: u32) -> usize {
        if weight_bits == 0 || self.cell_bits == 0 {
            return 0;
        }
        self.cols / weight_bits.div_ceil(self.cell_bits) as usize
    }

    /// Effective columns by the published formula (Rhe, Moon and Ko, JETCAS 2022, and its scripts):
    /// `cols * cell_bits / weight_bits`, rounded down. Where `weight_bits` is no multiple of `cell_bits`, it
    /// can be more than [`effective_cols`](Self::effective_cols), because it lets weights share cells. An
    /// array cannot be programmed so: two weights in one cell cannot be read apart. Zero where `weight_bits`
    /// is zero.
    #[must_use]
    pub fn published_cols(&self, weight_bits: u32) -> usize {
        self.cols
            .saturating_mul(self.cell_bits as usize)
            .checked_div(weight_bits as usize)
            .unwrap_or(0)
    }

    /// Checks every field against its range. The fields are public, so this is asked again whenever
    /// a layer is mapped.
    pub(crate) fn validate(&self) -> Result<(), MappingError> {
        let fits = 1..=MAX_DIMENSION;
        if !fits.contains(&self.rows) || !fits.contains(&self.cols) {
            return Err(MappingError::ArraySize {
                rows: self.rows,
                cols: self.cols,
            });
        }
        check_bits("cell", self.cell_bits)
    }
}

/// Refuses a bit width outside 1 to [`MAX_BITS`].
pub(crate) fn check_bits(what: &'static str, bits: u32) -> Result<(), MappingError> {
    if (1..=MAX_BITS).contains(&bits) {
        Ok(())
    } else {
        Err(MappingError::Bits { what, bits })
    }
}

impl FromStr for PimArray {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unreadable = || MappingError::ArrayText {
            text: text.to_owned(),
        };
        let (rows, cols) = text.split_once(['x', 'X']).ok_or_else(unreadable)?;
        let read = |number: &str| number.trim().parse().map_err(|_| unreadable());
        Self::new(read(rows)?, read(cols)?)
    }
}

impl fmt::Display for PimArray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}
