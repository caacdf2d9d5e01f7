//! Structured pruning: whole channels go, and the network that is left is an ordinary, smaller one.
//!
//! A network names its [channel groups](crate::models::ChannelGroup): all tensor slices that share one set of
//! channel indices. [`prune`] ranks a group's filters by L1 norm, keeps the largest, and cuts every slice of the
//! group with the same indices: the producing convolution and its bias, the batch norm with its running statistics,
//! and the inputs of whatever consumes the channels. One mechanism serves every network.
//!
//! ```
//! use burn::tensor::Device;
//! use vwc_sdk::models::{Cnn8Config, Network, NetworkConfig};
//! use vwc_sdk::prune::prune;
//!
//! # fn main() -> Result<(), vwc_sdk::Error> {
//! let config = Cnn8Config::new();
//! let network = config.init(&Device::default());
//! let pruned = prune(&network, &config, &[18, 21, 27, 60, 60, 60, 256])?;
//! assert_eq!(pruned.config.widths, [18, 21, 27, 60, 60, 60, 256]);
//! assert_eq!(pruned.kept[0].len(), 18);
//! assert_eq!(pruned.network.conv_layers()[1].in_channels, 18);
//! # Ok(())
//! # }
//! ```

mod rank;
mod rewrite;

pub use rank::{keep_largest, l1_norms};
pub use rewrite::{Pruned, prune};
