//! How the bytes of a picture become numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What the bytes of a picture become for a network: `(byte / 255 - mean) / std`, per channel.
///
/// By default mean and standard deviation are 0.5, which spreads the bytes over -1 to 1: SVHN's pictures are
/// normalised so.
///
/// As text it is a name, `half`, `cifar10` or `imagenet`, or three means and three deviations:
///
/// ```
/// use vwc_sdk::data::Normalization;
///
/// let normalization: Normalization = "0.5,0.4,0.3/0.25,0.2,0.2".parse()?;
/// assert_eq!((normalization.mean, normalization.std), ([0.5, 0.4, 0.3], [0.25, 0.2, 0.2]));
/// assert_eq!("half".parse(), Ok(Normalization::default()));
/// assert_eq!(normalization.to_string(), "0.5,0.4,0.3/0.25,0.2,0.2");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Means of the red, green and blue channels, in units of full brightness.
    pub mean: [f32; 3],
    /// Their standard deviations, in the same units.
    pub std: [f32; 3],
}

impl Normalization {
    /// Means and deviations of ImageNet, by which torchvision's pretrained networks normalise.
    pub const IMAGENET: Self = Self {
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
    };

    /// Those of CIFAR-10, as published ResNets use them.
    pub(super) const CIFAR10: Self = Self {
        mean: [0.4914, 0.4822, 0.4465],
        std: [0.2023, 0.1994, 0.2010],
    };

    /// Those that have a name.
    fn named() -> [(&'static str, Self); 3] {
        [
            ("half", Self::default()),
            ("cifar10", Self::CIFAR10),
            ("imagenet", Self::IMAGENET),
        ]
    }

    /// Refuses what no picture can be normalised by.
    pub(crate) fn validate(&self) -> Result<(), String> {
        let finite = self.mean.iter().chain(&self.std).all(|number| number.is_finite());
        if finite && self.std.iter().all(|&std| std > 0.0 && std.is_normal()) {
            return Ok(());
        }
        Err(format!(
            "a normalisation by means of {:?} and deviations of {:?}: expected finite means, and deviations above 0",
            self.mean, self.std
        ))
    }
}

impl Default for Normalization {
    fn default() -> Self {
        Self {
            mean: [0.5; 3],
            std: [0.5; 3],
        }
    }
}

impl fmt::Display for Normalization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = Self::named().into_iter().find(|(_, named)| named == self) {
            return f.write_str(name);
        }
        let ([a, b, c], [d, e, g]) = (self.mean, self.std);
        write!(f, "{a},{b},{c}/{d},{e},{g}")
    }
}

impl FromStr for Normalization {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((_, named)) = Self::named().into_iter().find(|(name, _)| *name == text) {
            return Ok(named);
        }
        let three = |text: &str| -> Option<[f32; 3]> {
            let numbers = text.split(',').map(|number| number.trim().parse().ok());
            numbers.collect::<Option<Vec<f32>>>()?.try_into().ok()
        };
        let parts = text.split_once('/');
        let (mean, std) = parts
            .and_then(|(mean, std)| Some((three(mean)?, three(std)?)))
            .ok_or(
                "expected half, cifar10, imagenet, or three means and three deviations: \
                 0.485,0.456,0.406/0.229,0.224,0.225",
            )?;
        let normalization = Self { mean, std };
        normalization.validate()?;
        Ok(normalization)
    }
}
