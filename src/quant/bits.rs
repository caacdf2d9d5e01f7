//! Bit widths of weights and activations.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A bit width that weights or activations can be trained at: 1 to 8, or 32 for full precision.
///
/// ```
/// use vwc_sdk::quant::Bits;
///
/// assert_eq!(Bits::new(2)?.levels(), Some(3));
/// assert_eq!(Bits::FULL.levels(), None);
/// assert!(Bits::new(9).is_err());
/// # Ok::<(), vwc_sdk::quant::BitsError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Bits(u8);

/// A bit width that is none of 1 to 8 or 32.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a bit width: expected 1, 2, 3, 4, 5, 6, 7 or 8, or 32 for full precision")]
pub struct BitsError(String);

impl Bits {
    /// One bit: weights of two values, activations of zero and one.
    pub const ONE: Self = Self(1);
    /// Two bits.
    pub const TWO: Self = Self(2);
    /// 32 bits: nothing is rounded.
    pub const FULL: Self = Self(32);

    /// The width of `bits` bits.
    ///
    /// # Errors
    ///
    /// Any number but 1 to 8 and 32.
    pub fn new(bits: u8) -> Result<Self, BitsError> {
        match bits {
            1..=8 | 32 => Ok(Self(bits)),
            other => Err(BitsError(other.to_string())),
        }
    }

    /// The number of bits.
    pub fn get(self) -> u8 {
        self.0
    }

    /// How many steps the unit interval is cut into, `2^k - 1`; `None` at full precision.
    pub fn levels(self) -> Option<u32> {
        (self.0 <= 8).then(|| (1 << self.0) - 1)
    }
}

impl TryFrom<u8> for Bits {
    type Error = BitsError;

    fn try_from(bits: u8) -> Result<Self, BitsError> {
        Self::new(bits)
    }
}

impl From<Bits> for u8 {
    fn from(bits: Bits) -> u8 {
        bits.0
    }
}

impl FromStr for Bits {
    type Err = BitsError;

    fn from_str(text: &str) -> Result<Self, BitsError> {
        text.parse::<u8>()
            .ok()
            .and_then(|bits| Self::new(bits).ok())
            .ok_or_else(|| BitsError(format!("'{text}'")))
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
