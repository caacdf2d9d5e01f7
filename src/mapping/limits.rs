//! How far a channel search may narrow a network.

use serde::{Deserialize, Serialize};

use super::{MappingError, Network};
use crate::pattern::fits;

/// What a channel search has to leave of every free width of a network: the rounds of residual channel pruning, the front
/// and the rounds of a training all keep to it.
///
/// ```
/// use vwc_sdk::graph::presets::network;
/// use vwc_sdk::mapping::{Accounting, MappingConfig, PimArray, WidthLimits, channels::network_rounds};
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?).with_accounting(Accounting::AsPublished);
/// let limits = WidthLimits::default().with_multiple(4).with_hold("convs.5");
/// let rounds = network_rounds(&network("cnn8")?, &config, &limits, 10)?;
/// // `convs.5` reads the fifth width and makes the sixth.
/// assert_eq!(rounds.networks.last().unwrap().widths()?, [20, 20, 20, 60, 64, 64]);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct WidthLimits {
    /// Channels that stay of every width that has as many. Default: 1.
    pub minimum: usize,
    /// The part of its channels in the original network that stays of every width, from 0 to 1. Default: 0.
    pub share: f64,
    /// What a width that is narrowed is a multiple of, rounded up. Default: 1.
    pub multiple: usize,
    /// Layers whose widths stay as they are, those that they read and those that they make: names, or their beginnings up to
    /// a dot, with `*` for anything. Default: none.
    pub hold: Vec<String>,
}

impl Default for WidthLimits {
    fn default() -> Self {
        Self {
            minimum: 1,
            share: 0.0,
            multiple: 1,
            hold: Vec::new(),
        }
    }
}

impl WidthLimits {
    /// Keeps so many channels of every width that has as many.
    #[must_use]
    pub fn with_minimum(self, minimum: usize) -> Self {
        Self { minimum, ..self }
    }

    /// Keeps this part of every width.
    #[must_use]
    pub fn with_share(self, share: f64) -> Self {
        Self { share, ..self }
    }

    /// Narrows to multiples of this.
    #[must_use]
    pub fn with_multiple(self, multiple: usize) -> Self {
        Self { multiple, ..self }
    }

    /// Leaves the widths of the layers that fit this pattern, too.
    #[must_use]
    pub fn with_hold(mut self, pattern: impl Into<String>) -> Self {
        self.hold.push(pattern.into());
        self
    }

    /// What they come to for the free widths of `network`, which had `original` channels before anything was pruned.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of), and those of [`Network::widths`].
    pub(super) fn bounds(&self, network: &Network, original: &[usize]) -> Result<Bounds, MappingError> {
        let widths = network.widths()?;
        let mut names: Vec<Vec<&str>> = vec![Vec::new(); widths.len()];
        for (layer, tie) in network.layers.iter().zip(&network.ties) {
            for width in tie.input.into_iter().chain(tie.output) {
                names[width].push(&layer.name);
            }
        }
        self.of(widths, original, network.multiples(self.multiple), &names)
    }

    /// What they come to for `widths`, which had `original` channels before anything was pruned, have to be multiples of
    /// `multiple`, and are known by any of their `names`.
    ///
    /// # Errors
    ///
    /// [`MappingError::Limits`] for a minimum or multiple of 0, a share outside of 0 to 1, and a pattern that no name
    /// fits; [`MappingError::WidthCount`] where `original` has not one number for each width.
    pub(crate) fn of(
        &self,
        widths: Vec<usize>,
        original: &[usize],
        multiple: Vec<usize>,
        names: &[Vec<&str>],
    ) -> Result<Bounds, MappingError> {
        let refuse = |what: String| Err(MappingError::Limits { what });
        if self.minimum == 0 || self.multiple == 0 {
            return refuse("a minimum and a multiple are 1 or more, and one of them is 0".into());
        }
        if !(0.0..=1.0).contains(&self.share) {
            return refuse(format!("a share is a part from 0 to 1, and it is {}", self.share));
        }
        if original.len() != widths.len() {
            return Err(MappingError::WidthCount {
                expected: widths.len(),
                found: original.len(),
            });
        }
        // 0.28 of 25 is 7, and in binary a little more.
        let part = |width: usize| (width as f64 * self.share - 1e-9).ceil().max(0.0) as usize;
        let least = |&width: &usize| self.minimum.max(part(width));
        let mut bounds = Bounds {
            least: original.iter().map(least).collect(),
            multiple,
            widest: widths,
        };
        for pattern in &self.hold {
            let mut met = false;
            for (width, names) in names.iter().enumerate() {
                if names.iter().any(|name| fits(pattern, name)) {
                    met = true;
                    bounds.least[width] = bounds.widest[width];
                }
            }
            if !met {
                let known = names.iter().filter_map(|names| names.first());
                let known: Vec<String> = known.take(3).map(|name| format!("`{name}`")).collect();
                return refuse(format!(
                    "no layer with a free width is called `{pattern}`: they are called {}, ... (`*` stands for anything)",
                    known.join(", ")
                ));
            }
        }
        Ok(bounds)
    }
}

#[cfg(feature = "train")]
impl WidthLimits {
    /// What they keep, in words: nothing where they are the default.
    pub(crate) fn in_words(&self) -> String {
        let default = Self::default();
        let mut words = String::new();
        if self.multiple != default.multiple {
            words += &format!(", in multiples of {}", self.multiple);
        }
        if self.minimum != default.minimum {
            words += &format!(", at least {}", self.minimum);
        }
        if self.share != default.share {
            words += &format!(", at least {} of each width", self.share);
        }
        if !self.hold.is_empty() {
            words += &format!(", without {}", self.hold.join(", "));
        }
        words
    }
}

/// What is allowed for each free width.
#[derive(Debug)]
pub(crate) struct Bounds {
    least: Vec<usize>,
    multiple: Vec<usize>,
    widest: Vec<usize>,
}

impl Bounds {
    /// None but that a channel stays.
    pub fn none(widths: &[usize]) -> Self {
        Self {
            least: vec![1; widths.len()],
            multiple: vec![1; widths.len()],
            widest: widths.to_vec(),
        }
    }

    /// The narrowest allowed width that has `channels` at least.
    pub fn at_least(&self, width: usize, channels: usize) -> usize {
        let least = channels.max(self.least[width]);
        let rounded = least.checked_next_multiple_of(self.multiple[width]);
        rounded.map_or(self.widest[width], |rounded| rounded.min(self.widest[width]))
    }

    /// The widest allowed width that has `channels` at most, if there is one.
    pub fn at_most(&self, width: usize, channels: usize) -> Option<usize> {
        if channels >= self.widest[width] {
            return Some(self.widest[width]);
        }
        let rounded = channels - channels % self.multiple[width];
        (rounded >= self.at_least(width, 1)).then_some(rounded)
    }

    /// Keeps what the widths are narrowed to next within `widths`, to which they have been narrowed.
    pub fn narrow(&mut self, widths: &[usize]) {
        self.widest.copy_from_slice(widths);
    }
}
