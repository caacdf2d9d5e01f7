//! How a convolution is laid out on a processing-in-memory array, and how many cycles that takes.
//!
//! A PIM array multiplies one input vector with all its weights in a cycle, but a convolution has more
//! weights than the array has cells, and more positions than fit in one cycle. A *mapping* decides which
//! patch of the input, the *parallel window*, enters at once, and how many channels of it: that fixes
//! how often the array is used. Everything here is integer arithmetic on shapes: no tensors, no files,
//! and the same answer on every machine.
//!
//! * [`PimArray`] and [`ConvLayer`] are the two inputs, [`MappingConfig`] holds what else there is to choose.
//! * [`map_layer`] answers for one layer with im2col, SDK or VW-SDK, as a [`Mapping`].
//! * [`channels`] finds the widths at which VW-SDK leaves no tile half empty.
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
pub mod channels;
mod error;
mod im2col;
mod layer;
pub mod presets;
mod problem;
mod sdk;
pub mod vw_sdk;

pub use array::PimArray;
pub use error::MappingError;
pub use layer::{Accounting, ConvLayer};
use problem::Problem;

/// The largest size accepted anywhere: rows and columns of an array, and every dimension of a layer.
/// Far beyond any real network, and small enough that no intermediate product leaves 64 bits.
pub const MAX_DIMENSION: usize = 1 << 18;

/// The widest weight and the widest cell accepted, in bits.
pub const MAX_BITS: u32 = 64;

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
}

names!(Method, "method", {
    "im2col" => Im2col,
    "sdk" => Sdk,
    "vw-sdk" => VwSdk,
});

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

/// One layer laid out on one array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Mapping {
    /// The method in use: [`Method::Im2col`] where VW-SDK was asked for and fell back to it.
    pub method: Method,
    /// The parallel window PW, `((w - 1) * stride + Kw)` x `((h - 1) * stride + Kh)` input cells.
    pub window: Window,
    /// Output positions computed in a cycle, across.
    pub w: usize,
    /// Output positions computed in a cycle, down.
    pub h: usize,
    /// ICt: whole input channels on the array at once, `min(IC, rows / (PWw * PWh))`. im2col and SDK
    /// cut inside a channel as well, so there it may be 0.
    pub in_tile: usize,
    /// OCt: whole output channels on the array at once, `min(OC, C' / (w * h))`. It may be 0 under SDK,
    /// which also cuts inside a channel.
    pub out_tile: usize,
    /// N_PW: windows that cover the output, `ceil(OW / w) * ceil(OH / h)`.
    pub n_windows: u64,
    /// AR: arrays the weights are cut into down the rows.
    pub row_cycles: u64,
    /// AC: arrays the weights are cut into across the columns.
    pub col_cycles: u64,
    /// Computing cycles, `N_PW * AR * AC`.
    pub cycles: u64,
    /// Cycles no mapping can go below; see [`lower_bound`].
    pub lower_bound: u64,
}

/// Lays `layer` out with `method`.
///
/// # Errors
///
/// A [`MappingError`] that names what is out of range: a size of the layer or of the array, a bit width,
/// a kernel larger than its input, or a weight wider than a row of the array.
pub fn map_layer(layer: &ConvLayer, method: Method, config: &MappingConfig) -> Result<Mapping, MappingError> {
    let problem = Problem::new(layer, config)?;
    Ok(match method {
        Method::Im2col => im2col::map(&problem),
        Method::Sdk => sdk::map(&problem),
        Method::VwSdk => vw_sdk::map(&problem, config.search),
    })
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
/// doing useful work in every cycle.
///
/// # Errors
///
/// As [`map_layer`].
pub fn lower_bound(layer: &ConvLayer, config: &MappingConfig) -> Result<u64, MappingError> {
    Problem::new(layer, config).map(|problem| problem.lower_bound)
}
