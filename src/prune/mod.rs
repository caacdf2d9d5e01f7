//! Structured pruning: whole channels go, and the network that is left is an ordinary, smaller one.
//!
//! A [channel group](crate::module::ChannelGroup) is all tensor slices that share one set of channel indices. The groups of a
//! network are [found](find_groups) by following its forward pass. [`prune`] ranks a group's channels by a [`Ranking`], keeps the first, and cuts every slice of the
//! group with the same indices: the producing convolutions and their bias, the batch norms with their running
//! statistics, and the inputs of whatever reads the channels. One mechanism serves every network, residual ones
//! included: all that a stage's additions tie together is one group.
//!
//! The widths come from the search that fills an array ([`channels`](crate::mapping::channels), by way of
//! [`rounds`](crate::train::rounds)), from a [`Ratio`], or from the caller.
//!
//! ```
//! use burn::tensor::Device;
//! use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
//! use vwc_sdk::prune::{Ranking, prune};
//!
//! # fn main() -> Result<(), vwc_sdk::Error> {
//! let network = Cnn8Config::new().init(&Device::default());
//! let pruned = prune(&network, &[18, 21, 27, 60, 60, 60, 256], Ranking::L1)?;
//! assert_eq!(pruned.network.structure().widths, [18, 21, 27, 60, 60, 60, 256]);
//! assert_eq!(pruned.kept[0].len(), 18);
//! assert_eq!(pruned.network.convs[1].weight.dims(), [21, 18, 3, 3]);
//! # Ok(())
//! # }
//! ```

mod check;
mod found;
mod labels;
mod next;
mod rank;
mod ratio;
mod rewrite;

pub use found::{FixedChannels, FoundGroups, find_groups, find_groups_with};
pub use next::NextWidths;
pub use rank::{Ranking, keep_largest};
use ratio::channels;
pub use ratio::{Ratio, Scope};
pub use rewrite::{Pruned, groups_of, prune};
