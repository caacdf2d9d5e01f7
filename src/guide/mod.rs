//! A guide for each job, from the first line to what may go wrong. Every example runs as it stands.
//!
//! 1. [Quantise](quantise): train with few bits, a network of ours or your own.
//! 2. [Map](map): find the fewest cycles on an array, and prove them.
//! 3. [Prune](prune): cut channels, to fit the array or by a ratio, and keep the accuracy.
//! 4. [Run](run): what was trained, as bits, without Burn.
//! 5. [Embed](embed): all of it within a project of your own.

#[cfg(feature = "train")]
#[doc = include_str!("quantise.md")]
pub mod quantise {}

#[doc = include_str!("map.md")]
pub mod map {}

#[cfg(feature = "train")]
#[doc = include_str!("prune.md")]
pub mod prune {}

#[cfg(feature = "train")]
#[doc = include_str!("run.md")]
pub mod run {}

#[cfg(feature = "train")]
#[doc = include_str!("embed.md")]
pub mod embed {}
