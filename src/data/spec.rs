//! What a network reads, and what its outputs stand for: one property of a run, which training and import write and
//! every reader keeps to.

use std::collections::HashSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Normalization;
use crate::text;

/// The order in which the channels of a picture enter a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ChannelOrder {
    /// Red first, as in PyTorch, Pillow and this crate.
    #[default]
    Rgb,
    /// Blue first, as in OpenCV and Caffe.
    Bgr,
}

impl fmt::Display for ChannelOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rgb => "rgb",
            Self::Bgr => "bgr",
        })
    }
}

impl ChannelOrder {
    /// For each channel of the network, the place of its colour among red, green and blue.
    pub(crate) fn places(self) -> [usize; 3] {
        match self {
            Self::Rgb => [0, 1, 2],
            Self::Bgr => [2, 1, 0],
        }
    }
}

/// What a network reads and what it tells apart: the size of its pictures, what their bytes become, the order of their
/// channels, and the names of its classes.
///
/// A network is only as good as these are kept to: the same picture, normalised in another way, is another input.
///
/// ```
/// use vwc_sdk::data::{ChannelOrder, Normalization, PictureSpec};
///
/// let spec = PictureSpec::new([32, 32], ["cat", "dog"])
///     .with_normalization(Normalization::IMAGENET)
///     .with_channels(ChannelOrder::Bgr);
/// assert_eq!(spec.classes, ["cat", "dog"]);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PictureSpec {
    /// Height and width that pictures are resized to, in pixels.
    pub size: [usize; 2],
    /// What their bytes become.
    pub normalization: Normalization,
    /// The order in which their channels enter.
    #[serde(default)]
    pub channels: ChannelOrder,
    /// Names of the classes, in the order of the network's outputs; numbers from 0 on where they have none.
    pub classes: Vec<String>,
}

impl PictureSpec {
    /// Red first, normalised to -1 to 1.
    pub fn new(size: [usize; 2], classes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            size,
            normalization: Normalization::default(),
            channels: ChannelOrder::default(),
            classes: classes.into_iter().map(Into::into).collect(),
        }
    }

    /// As [`new`](Self::new), of so many classes that are called by their numbers, from 0 on.
    pub fn numbered(size: [usize; 2], classes: usize) -> Self {
        Self::new(size, numbers(classes))
    }

    /// Sets what the bytes become.
    #[must_use]
    pub fn with_normalization(self, normalization: Normalization) -> Self {
        Self {
            normalization,
            ..self
        }
    }

    /// Sets the order of the channels.
    #[must_use]
    pub fn with_channels(self, channels: ChannelOrder) -> Self {
        Self { channels, ..self }
    }

    /// Checks it against a network that reads pictures of `size` and has `outputs` outputs.
    ///
    /// # Errors
    ///
    /// What does not fit, and what was expected.
    pub fn validate(&self, size: [usize; 2], outputs: usize) -> Result<(), String> {
        let [height, width] = size;
        if self.size != size {
            let [h, w] = self.size;
            return Err(format!(
                "pictures of {h}x{w}, and the network reads {height}x{width}"
            ));
        }
        self.normalization.validate()?;
        if self.classes.len() != outputs {
            return Err(format!(
                "{} names of classes, and the network tells {outputs} apart",
                self.classes.len()
            ));
        }
        check_names(&self.classes)
    }
}

/// The names of classes that have none.
pub(crate) fn numbers(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

/// Refuses names of classes that stand twice, are empty, or cannot stand in a table.
pub(crate) fn check_names(names: &[String]) -> Result<(), String> {
    let mut seen = HashSet::new();
    for name in names {
        if name.is_empty() {
            return Err("a class without a name: give every class one".into());
        }
        if let Some(reason) = text::unfit(name) {
            return Err(format!("the name of a class, {name:?}, {reason}"));
        }
        if !seen.insert(name) {
            return Err(format!(
                "two classes called {name:?}: give every class a name of its own"
            ));
        }
    }
    Ok(())
}
