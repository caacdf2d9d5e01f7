//! How a convolution is laid out on a processing-in-memory array, and how many cycles that takes.
//!
//! A PIM array multiplies one input vector with all its weights in a cycle, but a convolution has more
//! weights than the array has cells, and more positions than fit in one cycle. A *mapping* decides which
//! patch of the input, the *parallel window*, enters at once, and how many channels of it: that fixes
//! how often the array is used. Everything here is integer arithmetic on shapes: no tensors, no files,
//! and the same answer on every machine.
//!
//! * [`PimArray`] and [`ConvLayer`] are the two inputs, [`MappingConfig`] holds what else there is to choose.
//! * [`map_layer`] answers for one layer, with any [`Method`], as a [`Mapping`]: a list of [`Piece`]s, and
//!   what they cost.
//! * [`Placement`] says where every weight of a mapping sits; [`crossbar`](crate::crossbar) runs it.
//! * [`channels`] finds the widths at which VW-SDK leaves no tile half empty, [`pareto`] all widths worth
//!   having.
//! * [`Plan`] maps a whole network, [`sweep`] many of them onto many arrays.
//! * [`presets`] holds the published networks.
//!
//! With `w` x `h` output positions computed in a cycle, the *computing cycles* of a layer are
//!
//! ```text
//! cycles = N_PW * AR * AC        N_PW = ceil(OW / w) * ceil(OH / h)
//! ```
//!
//! where AR and AC, the array row and column cycles, say into how many arrays the weights are cut down
//! and across. The methods differ in the windows they allow and in how AR and AC follow from them.
//!
//! # Geometry the papers leave out
//!
//! A window's inputs take one row each for every input channel, T rows in all. The papers count the window's
//! area, which is what a kernel without gaps reads. Here the *touched* cells are counted, those that some
//! weight needs: an axis with kernel K, stride s and dilation d, reads for `n` outputs
//!
//! ```text
//! T(n) = n * K - max(0, n - d / g) * max(0, K - s / g)        g = gcd(s, d)
//! ```
//!
//! cells, and `T = T(w) * T(h)`. That is the window's extent wherever `d = 1` and `s <= K`; with dilation, or
//! with a stride beyond the kernel, it leaves out the cells in the gaps.
//!
//! With groups, a group's weights form a matrix of their own. Where a whole one fits the array,
//! `Gt = min(G, rows / (T * IC / G), C' / (w * h * OC / G))` of them lie along its diagonal, and the layer
//! takes `GC = ceil(G / Gt)` arrays. Where it does not, each group is cut into its own AR x AC arrays and
//! `GC = G`. In both cases `cycles = N_PW * GC * AR * AC`.
//!
//! ```
//! use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, map_layer};
//!
//! let layer = ConvLayer::square("conv4", 9, 3, 32, 64);
//! let config = MappingConfig::new(PimArray::new(256, 512)?);
//! let mapping = map_layer(&layer, Method::VwSdk, &config)?;
//! assert_eq!(mapping.window.to_string(), "9x3");
//! assert_eq!((mapping.in_tile, mapping.out_tile), (9, 64));
//! assert_eq!(mapping.cycles, 28);
//! # Ok::<(), vwc_sdk::mapping::MappingError>(())
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

/// Writes `Display` and `FromStr` for an enum from one list of names, the same that serde and the
/// command line use.
macro_rules! names {
    ($type:ident, $what:literal, { $($name:literal => $variant:ident),+ $(,)? }) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $name),+ })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::mapping::MappingError;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                match name {
                    $($name => Ok(Self::$variant),)+
                    _ => Err($crate::mapping::MappingError::UnknownName {
                        what: $what,
                        name: name.to_owned(),
                        expected: [$($name),+].join(", "),
                    }),
                }
            }
        }
    };
}
use names;

mod array;
mod best;
mod channel_tiles;
pub mod channels;
mod elements;
mod error;
mod im2col;
mod layer;
mod network;
mod padding;
pub mod pareto;
mod piece;
mod placement;
mod plan;
pub mod presets;
mod problem;
mod sdk;
mod strips;
pub mod vw_sdk;
mod vwc_sdk;

pub use array::PimArray;
pub use error::MappingError;
pub use layer::{Accounting, ConvLayer};
pub use network::{Network, Tie};
pub use padding::Padding;
pub use piece::{Cut, Piece, Rect};
pub use placement::{Cell, ColumnOutput, PlacedArray, PlacedPiece, Placement, RowInput, Weight};
pub use plan::{Plan, SweepPoint, Totals, Widths, sweep};
use problem::Problem;

/// The largest size accepted anywhere: rows and columns of an array, and every dimension of a layer.
/// Far beyond any real network, and small enough that no intermediate product leaves 64 bits.
pub const MAX_DIMENSION: usize = 1 << 18;

/// The widest weight and the widest cell accepted, in bits.
pub const MAX_BITS: u32 = 64;

/// The most pieces a mapping may have.
pub const MAX_PIECES: usize = 1 << 12;

/// How a layer's weights are laid out on the array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// One kernel-sized patch a cycle, every filter unrolled into one column.
    Im2col,
    /// Square windows and shifted copies of the filters, on im2col's grid of arrays (Zhang et al.,
    /// TCAD 2021).
    Sdk,
    /// Rectangular windows with as many channels as fit, and im2col where that needs no more cycles
    /// (Rhe, Moon, Ko; DATE 2022).
    #[default]
    VwSdk,
    /// VW-SDK's windows on channels that were searched to fill them (Rhe, Moon, Ko; JETCAS 2022).
    VwcSdk,
    /// Any window with all channels, the weights cut at the array's edges.
    Elements,
    /// Rows of the output in strips and strips in pieces, each with its own window.
    Strips,
    /// Input channels in tiles, each with its own window.
    ChannelTiles,
    /// The fewest cycles of all; of a tie, the fewest cells written.
    Best,
}

names!(Method, "method", {
    "im2col" => Im2col,
    "sdk" => Sdk,
    "vw-sdk" => VwSdk,
    "vwc-sdk" => VwcSdk,
    "elements" => Elements,
    "strips" => Strips,
    "channel-tiles" => ChannelTiles,
    "best" => Best,
});

/// What each method does: lay a checked layer out on a checked array.
trait Lay {
    /// # Errors
    ///
    /// [`MappingError::SearchTooLarge`] where the method's search would not end in good time.
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError>;
}

impl Method {
    /// Every method, from the oldest on.
    pub const ALL: [Self; 8] = [
        Self::Im2col,
        Self::Sdk,
        Self::VwSdk,
        Self::VwcSdk,
        Self::Elements,
        Self::Strips,
        Self::ChannelTiles,
        Self::Best,
    ];

    fn lay(self) -> &'static dyn Lay {
        match self {
            Self::Im2col => &im2col::Im2col,
            Self::Sdk => &sdk::Sdk,
            Self::VwSdk => &vw_sdk::VwSdk,
            Self::VwcSdk => &vwc_sdk::VwcSdk,
            Self::Elements => &elements::Elements,
            Self::Strips => &strips::Strips,
            Self::ChannelTiles => &channel_tiles::ChannelTiles,
            Self::Best => &best::Best,
        }
    }
}

/// How VW-SDK picks a window from those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Search {
    /// The window with the fewest cycles; of a tie, the lowest, then the narrowest.
    #[default]
    Exact,
    /// The register kept by the published search (JETCAS 2022), which can settle on a window above
    /// the minimum. Only this one reproduces the published RCP2 network.
    Published,
}

names!(Search, "search", {
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
    /// Bits of one weight, 1 to [`MAX_BITS`].
    pub weight_bits: u32,
    /// How output positions are counted.
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

    /// Sets the bits of one weight. A width out of range is refused when a layer is mapped.
    #[must_use]
    pub fn with_weight_bits(mut self, bits: u32) -> Self {
        self.weight_bits = bits;
        self
    }

    /// Sets how output positions are counted.
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
}

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
    /// it together. Methods that cut inside a channel may have 0 here.
    pub in_tile: usize,
    /// OCt: whole output channels on the array at once, `min(OC, C' / (w * h))`, those of all groups that lie
    /// on it together. Methods that cut inside a channel may have 0 here.
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
    /// Cycles no mapping can go below; see [`lower_bound`].
    pub lower_bound: u64,
    /// Arrays programmed, `GC * AR * AC`. Pieces with the same channels and the same window share theirs.
    #[serde(default)]
    pub arrays: u64,
    /// Cells written once to program all arrays: `w * h` copies of each weight, and of a weight as many cells
    /// as its bits take.
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
    /// few for a whole weight count as idle, and so does every cell between the shifted copies.
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

    /// Cycles over the lower bound: 1 where nothing can be gained, at least 1 elsewhere.
    #[must_use]
    pub fn gap(&self) -> f64 {
        self.cycles as f64 / self.lower_bound as f64
    }
}

/// Lays `layer` out with `method`.
///
/// # Errors
///
/// A [`MappingError`] that names what is out of range: a size of the layer or of the array, a bit width,
/// a kernel larger than its input, a weight wider than a row of the array, or a layer too large for the
/// method's search.
pub fn map_layer(layer: &ConvLayer, method: Method, config: &MappingConfig) -> Result<Mapping, MappingError> {
    method.lay().map(&Problem::new(layer, config)?)
}

/// Lays every layer out with `method`, in order.
///
/// # Errors
///
/// That of the first layer [`map_layer`] refuses.
pub fn map_network(
    layers: &[ConvLayer],
    method: Method,
    config: &MappingConfig,
) -> Result<Vec<Mapping>, MappingError> {
    let exact = config.with_search(Search::Exact);
    layers
        .iter()
        .enumerate()
        // The published scan is part of the channel search, in which the first layer takes no part.
        .map(|(n, layer)| map_layer(layer, method, if n == 0 { &exact } else { config }))
        .collect()
}

/// Cycles that no mapping of `layer` can go below: `ceil(Kw*Kh*IC*OC*OW*OH / (rows * C'))`, every cell
/// doing useful work in every cycle. With groups, IC is that of one group.
///
/// # Errors
///
/// As [`map_layer`].
pub fn lower_bound(layer: &ConvLayer, config: &MappingConfig) -> Result<u64, MappingError> {
    Problem::new(layer, config).map(|problem| problem.lower_bound)
}
