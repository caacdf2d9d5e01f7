//! The two networks in full precision that a quantised one is compared with.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which of two networks stands for a quantised one in full precision.
///
/// CNN-8 of VWC-SDK's scripts is its own twin; their ResNet-20 and VGG-13 are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FullPrecision {
    /// The quantised network without its quantisers: all that is compared is precision
    Twin,
    /// As VWC-SDK's scripts write it down: ResNet-20 with one batch norm a block, between its convolutions, and none
    /// behind the first; VGG-13 without biases, and with no activation behind its second linear layer
    Published,
}

impl fmt::Display for FullPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Twin => "twin",
            Self::Published => "published",
        })
    }
}
