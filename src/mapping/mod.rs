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
//! * [`graph::presets`](crate::graph::presets) holds the published networks, and [`Graph::mapped`](crate::graph::Graph::mapped)
//!   makes a [`Network`] of any other.
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

use std::collections::{HashMap, hash_map::Entry};

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
mod check;
mod config;
mod covers;
mod cuts;
mod elements;
mod error;
mod im2col;
mod layer;
mod least;
mod limits;
mod method;
mod network;
mod outcome;
mod output_tiles;
mod padding;
pub mod pareto;
mod piece;
mod placement;
mod plan;
mod problem;
mod sdk;
mod shapes;
mod shares;
mod strips;
mod tetris;
mod tiled_strips;
pub mod vw_sdk;
mod vwc_sdk;
mod windows;
mod work;

pub use array::PimArray;
pub use config::{MappingConfig, Search};
pub use error::MappingError;
pub use layer::{Accounting, ConvLayer};
pub use limits::WidthLimits;
use method::Lay;
pub use method::Method;
pub(crate) use network::depthwise;
pub use network::{Network, Tie};
#[cfg(feature = "train")]
pub(crate) use network::{divides, in_groups};
pub use outcome::{Fallback, Mapping, Window};
pub use padding::Padding;
pub use piece::{Cut, Piece, Rect};
pub use placement::{Cell, ColumnOutput, PlacedArray, PlacedPiece, Placement, RowInput, Weight};
pub use plan::{Plan, SweepPoint, Totals, Widths, sweep};
use problem::Problem;
pub use shares::window_bound;
pub use tetris::{TetrisCount, TetrisWindow, tetris_count};
pub use windows::{WindowChoice, windows_of};

/// The largest size accepted anywhere: rows and columns of an array, and every dimension of a layer.
/// Far beyond any real network, and small enough that no intermediate product leaves 64 bits.
pub const MAX_DIMENSION: usize = 1 << 18;

/// The widest weight and the widest cell accepted, in bits.
pub const MAX_BITS: u32 = 64;

/// The most pieces a mapping may have.
pub const MAX_PIECES: usize = 1 << 12;

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

/// Lays every layer out with `method`, in order. Layers that differ in their names alone are searched once.
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
    let mut known: HashMap<(ConvLayer, Search), Mapping> = HashMap::new();
    let mut mappings = Vec::with_capacity(layers.len());
    for (n, layer) in layers.iter().enumerate() {
        // The published scan is part of the channel search, in which the first layer takes no part.
        let config = if n == 0 { &exact } else { config };
        let shape = ConvLayer {
            name: String::new(),
            ..layer.clone()
        };
        let mapping = match known.entry((shape, config.search)) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(map_layer(layer, method, config)?).clone(),
        };
        mappings.push(mapping);
    }
    Ok(mappings)
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
