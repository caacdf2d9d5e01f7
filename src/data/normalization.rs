use serde::{Deserialize, Serialize};

/// What the bytes of a data set's pictures become for a network: `(byte / 255 - mean) / std`, per channel.
///
/// By default mean and standard deviation are 0.5, which spreads the bytes over -1 to 1: SVHN's pictures are
/// normalised so.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Means of the red, green and blue channels, in units of full brightness.
    pub mean: [f32; 3],
    /// Their standard deviations, in the same units.
    pub std: [f32; 3],
}

impl Default for Normalization {
    fn default() -> Self {
        Self {
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }
}
