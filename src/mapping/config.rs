//! What there is to choose besides the layer and the method, and how many weights fit a row by it.

use serde::{Deserialize, Serialize};

use super::{Accounting, PimArray};

/// How VW-SDK picks a window from those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Search {
    /// The window with the fewest cycles; of a tie, the lowest, then the narrowest.
    #[default]
    Exact,
    /// The register kept by the published search (JETCAS 2022), which can settle on a window above
    /// the minimum. Only this one reproduces the published RCP2 network.
    Published,
}

super::names!(Search, "search", {
    "exact" => Exact,
    "published" => Published,
});

/// Everything besides the layer and the method that decides a mapping.
///
/// ```
/// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, Search};
///
/// let config = MappingConfig::new("512x256".parse()?)
///     .with_weight_bits(2)
///     .with_accounting(Accounting::AsPublished);
/// assert_eq!(config.array, PimArray::new(512, 256)?);
/// assert_eq!(config.search, Search::Exact);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MappingConfig {
    /// The array that computes.
    pub array: PimArray,
    /// Bits of one weight, 1 to [`MAX_BITS`](super::MAX_BITS).
    pub weight_bits: u32,
    /// How output positions and columns are counted.
    pub accounting: Accounting,
    /// How VW-SDK picks a window.
    pub search: Search,
}

impl MappingConfig {
    /// 1-bit weights, exact geometry and the exact search on `array`.
    #[must_use]
    pub fn new(array: PimArray) -> Self {
        Self {
            array,
            weight_bits: 1,
            accounting: Accounting::default(),
            search: Search::default(),
        }
    }

    /// Columns of cells that one weight takes, `ceil(weight_bits / cell_bits)`: a slice of its bits on each.
    pub(crate) fn slices(&self) -> u32 {
        self.weight_bits.div_ceil(self.array.cell_bits)
    }

    /// Sets the bits of one weight. A width out of range is refused when a layer is mapped.
    #[must_use]
    pub fn with_weight_bits(mut self, bits: u32) -> Self {
        self.weight_bits = bits;
        self
    }

    /// Sets how output positions and columns are counted.
    #[must_use]
    pub fn with_accounting(mut self, accounting: Accounting) -> Self {
        self.accounting = accounting;
        self
    }

    /// Sets how VW-SDK picks a window.
    #[must_use]
    pub fn with_search(mut self, search: Search) -> Self {
        self.search = search;
        self
    }

    /// Effective columns C', in weights: [`PimArray::effective_cols`] with exact geometry,
    /// [`PimArray::published_cols`] as published.
    #[must_use]
    pub fn effective_cols(&self) -> usize {
        match self.accounting {
            Accounting::ExactGeometry => self.array.effective_cols(self.weight_bits),
            Accounting::AsPublished => self.array.published_cols(self.weight_bits),
        }
    }

    /// Whether the published formula is in use and counts more columns than there are for whole weights.
    /// Weights would have to share cells, so such a mapping is a count: no array can be programmed with it.
    ///
    /// ```
    /// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray};
    ///
    /// let array = PimArray::new(256, 256)?.with_cell_bits(2);
    /// let exact = MappingConfig::new(array).with_weight_bits(3);
    /// let published = exact.with_accounting(Accounting::AsPublished);
    /// assert_eq!((exact.effective_cols(), exact.shares_cells()), (128, false));
    /// assert_eq!((published.effective_cols(), published.shares_cells()), (170, true));
    /// # Ok::<(), vwc_sdk::mapping::MappingError>(())
    /// ```
    #[must_use]
    pub fn shares_cells(&self) -> bool {
        self.effective_cols() > self.array.effective_cols(self.weight_bits)
    }
}
