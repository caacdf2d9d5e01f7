//! What a method answers: one layer laid out on one array.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MappingConfig, Method, Piece, PimArray};

/// A parallel window PW: the input patch that enters the array in one cycle. Shown as `10x4`, width
/// first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// Width in input cells.
    pub width: usize,
    /// Height in input cells.
    pub height: usize,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}x{}", self.width, self.height))
    }
}

/// Why VW-SDK laid a layer out with im2col.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Fallback {
    /// Not one input channel of the smallest window fits the array.
    Infeasible {
        /// Rows that one input channel of the kernel takes.
        rows: u64,
        /// The array.
        array: PimArray,
    },
    /// The best window is no faster.
    NotFaster {
        /// Cycles of the best window.
        cycles: u64,
    },
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Infeasible { rows, array } => write!(
                f,
                "window method infeasible: one input channel of the kernel takes {rows} rows and array {array} \
                 has {}",
                array.rows
            ),
            Self::NotFaster { cycles } => write!(f, "no window is faster: the best takes {cycles} cycles"),
        }
    }
}

/// One layer laid out on one array.
///
/// The list of pieces says everything; the other fields are read off it. Where a mapping has several pieces,
/// the window and the numbers that belong to it are those of the piece that takes the most cycles, and the
/// totals are sums over all pieces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Mapping {
    /// The method in use: [`Method::Im2col`] where VW-SDK was asked for and fell back to it, and the one that
    /// was found best under [`Method::Best`].
    pub method: Method,
    /// The parallel window PW, `((w - 1) * stride + Kw)` x `((h - 1) * stride + Kh)` input cells, the kernel
    /// with its gaps.
    pub window: Window,
    /// Output positions computed in a cycle, across.
    pub w: usize,
    /// Output positions computed in a cycle, down.
    pub h: usize,
    /// ICt: whole input channels on the array at once, `min(IC, rows / T)`, those of all groups that lie on
    /// it together. 0 where not one whole channel fits and it is cut over several arrays.
    pub in_tile: usize,
    /// OCt: whole output channels on the array at once, `min(OC, C' / (w * h))`, those of all groups that lie
    /// on it together. 0 where not one whole channel fits and it is cut over several arrays.
    pub out_tile: usize,
    /// N_PW: windows that cover the output, `ceil(OW / w) * ceil(OH / h)`; of all pieces.
    pub n_windows: u64,
    /// GC: arrays that the groups take one after the other; 1 without groups.
    #[serde(default = "one")]
    pub group_cycles: u64,
    /// AR: arrays the weights are cut into down the rows.
    pub row_cycles: u64,
    /// AC: arrays the weights are cut into across the columns.
    pub col_cycles: u64,
    /// Computing cycles, `N_PW * GC * AR * AC`, summed over all pieces.
    pub cycles: u64,
    /// Cycles no mapping can go below; see [`lower_bound`](super::lower_bound).
    pub lower_bound: u64,
    /// Arrays programmed, `GC * AR * AC`. Pieces with the same channels and the same window share theirs.
    #[serde(default)]
    pub arrays: u64,
    /// Cells written once to program all arrays: `w * h` copies of each weight, and for a weight
    /// `ceil(weight_bits / cell_bits)` cells.
    #[serde(default)]
    pub cells_written: u64,
    /// Copies of weights that take part in a cycle, summed over all cycles.
    #[serde(default)]
    pub weights_driven: u64,
    /// Digital-to-analogue conversions: rows that carry an input, summed over all cycles.
    #[serde(default)]
    pub dac_conversions: u64,
    /// Analogue-to-digital conversions: columns of cells that carry weights, summed over all cycles.
    #[serde(default)]
    pub adc_conversions: u64,
    /// Input elements fetched: each window once, kept while the arrays that share its rows take their turns;
    /// neighbouring windows share nothing.
    #[serde(default)]
    pub input_traffic: u64,
    /// Why im2col is in use where VW-SDK was asked for.
    #[serde(default)]
    pub fallback: Option<Fallback>,
    /// The pieces, which cover every output and every channel once.
    #[serde(default)]
    pub pieces: Vec<Piece>,
}

fn one() -> u64 {
    1
}

impl Mapping {
    /// The part of the array's bits that hold weights at work, averaged over all cycles, 0 to 1. Columns too
    /// few for a whole weight count as idle, and so do the bits that a weight leaves over in its last cell and
    /// every cell between the shifted copies.
    #[must_use]
    pub fn utilisation(&self, config: &MappingConfig) -> f64 {
        let bits = self.weights_driven as f64 * f64::from(config.weight_bits);
        let PimArray {
            rows,
            cols,
            cell_bits,
        } = config.array;
        bits / (self.cycles as f64 * rows as f64 * cols as f64 * f64::from(cell_bits))
    }

    /// Cycles where all arrays of the layer work at once: windows, of the arrays that have the most.
    #[must_use]
    pub fn parallel_cycles(&self) -> u64 {
        let of_arrays = |piece: &Piece| {
            let same = self.pieces.iter().filter(|other| other.shares_arrays(piece));
            same.map(Piece::n_windows).fold(0, u64::saturating_add)
        };
        self.pieces.iter().map(of_arrays).max().unwrap_or(self.n_windows)
    }

    /// Cycles over a bound, such as [`window_bound`](super::window_bound): 1 where nothing can be gained, at least 1 elsewhere.
    #[must_use]
    pub fn gap(&self, bound: u64) -> f64 {
        self.cycles as f64 / bound.max(1) as f64
    }
}
