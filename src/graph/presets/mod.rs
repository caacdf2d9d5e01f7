//! Published networks by name, each as a [`Sketch`]: whole networks, from the picture to the classes, with the numbers of no weight.
//!
//! They can be mapped, printed, and made into networks that are trained from scratch. A network that torchvision has is as
//! torchvision has it, and its parameters are called as torchvision calls them; CNN-8 and ResNet-20 are as in
//! [`models`](crate::models), in full precision. Layers for the mapper and the widths that are free between them are read off the
//! sketch; [`Accounting::AsPublished`](crate::mapping::Accounting::AsPublished) turns them into the sizes that the published tables
//! print.
//!
//! ```
//! use vwc_sdk::graph::presets;
//!
//! for name in presets::names() {
//!     println!("{name}: {} nodes", presets::sketch(name)?.nodes().len());
//! }
//! assert_eq!(presets::network("resnet18")?.layers[1].name, "layer1.0.conv1");
//! # Ok::<(), vwc_sdk::mapping::MappingError>(())
//! ```

mod builder;
mod densenet;
mod googlenet;
mod hint;
mod mobilenet;
mod plain;
mod resnet;

use super::Sketch;
use crate::mapping::{MAX_DIMENSION, MappingError, Network};

/// A network's name, how to build it at its published width, and which of its layers are mapped.
type Preset = (&'static str, fn() -> Sketch, Listed);

const PRESETS: [Preset; 11] = [
    ("cnn8", plain::cnn8, Listed::All),
    ("resnet20", || resnet::resnet20([64, 128, 256]), RESNET20),
    ("resnet18", resnet::resnet18, Listed::All),
    ("resnet18-table", resnet::resnet18, RESNET18_TABLE),
    ("resnet50", resnet::resnet50, Listed::All),
    ("vgg13", plain::vgg13, Listed::All),
    ("vgg16", plain::vgg16, Listed::All),
    ("alexnet", plain::alexnet, Listed::All),
    ("mobilenet-v2", mobilenet::mobilenet_v2, Listed::All),
    ("densenet40", densenet::densenet40, Listed::All),
    ("inception", googlenet::inception, Listed::All),
];

/// Which convolutions of a network are mapped: published tables do not have all of them.
#[derive(Clone, Copy)]
enum Listed {
    /// All.
    All,
    /// All whose name does not hold this.
    Without(&'static str),
    /// These alone. They are rows of a table, and no widths between them are free.
    Rows(&'static [&'static str]),
}

/// The tables of the JETCAS 2022 paper have no shortcuts.
const RESNET20: Listed = Listed::Without(".shortcut.");

/// The table of the VW-SDK paper (arXiv 2112.11282) has one convolution of each shape, and no shortcuts.
const RESNET18_TABLE: Listed = Listed::Rows(&[
    "conv1",
    "layer1.0.conv1",
    "layer2.0.conv2",
    "layer3.0.conv2",
    "layer4.0.conv2",
]);

impl Listed {
    fn of(self, network: Network) -> Network {
        let Network { name, layers, ties } = network;
        match self {
            Self::All => Network::tied(name, layers, ties),
            Self::Without(part) => {
                let all = layers.into_iter().zip(ties);
                let (layers, ties) = all.filter(|(layer, _)| !layer.name.contains(part)).unzip();
                Network::tied(name, layers, ties)
            }
            Self::Rows(rows) => {
                let rows = layers.into_iter().filter(|layer| rows.contains(&&*layer.name));
                Network::fixed(name, rows.collect())
            }
        }
    }
}

/// The widest first stage of a `resnet20-WIDTH`, so that its last stage keeps within the limits of the mapper.
const MAX_RESNET20_WIDTH: usize = MAX_DIMENSION / 4;

/// The names that [`sketch`] and [`network`] know, without the widths of `resnet20`.
#[must_use]
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, ..)| *name).collect()
}

/// The network called `name`. `resnet20` has stages 64, 128 and 256 channels wide; `resnet20-16`, or any other
/// number, has that many in its first stage, and twice and four times as many in the others. `resnet18-table` is `resnet18`.
///
/// ```
/// use vwc_sdk::graph::presets::sketch;
///
/// let vgg16 = sketch("vgg16")?;
/// let last = vgg16.nodes().last().unwrap();
/// assert_eq!((last.name(), last.shape()), ("classifier.6", &[1000][..]));
/// assert!(sketch("cnn9").unwrap_err().to_string().contains("did you mean `cnn8`?"));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// [`MappingError::UnknownNetwork`], with the nearest names.
pub fn sketch(name: &str) -> Result<Sketch, MappingError> {
    find(name).map(|(sketch, _)| sketch)
}

/// The convolutions of the network called `name` for the mapper, and which of their widths may change, and together.
///
/// They are those of its [`sketch`], with two exceptions, in which a published table lists fewer: `resnet20` of any width is without
/// its two 1x1 shortcuts, and `resnet18-table` is one convolution of each shape of `resnet18`, with no free widths.
///
/// ```
/// use vwc_sdk::graph::presets::network;
///
/// assert_eq!(network("cnn8")?.layers.len(), 7);
/// assert_eq!(network("resnet20-16")?.layers[18].out_channels, 64);
/// assert_eq!(network("resnet18-table")?.layers.len(), 5);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// As [`sketch`].
pub fn network(name: &str) -> Result<Network, MappingError> {
    find(name).map(|(sketch, listed)| listed.of(sketch.mapped(name)))
}

fn find(name: &str) -> Result<(Sketch, Listed), MappingError> {
    let width = name
        .strip_prefix("resnet20-")
        .and_then(|width| width.parse().ok())
        .filter(|width| (1..=MAX_RESNET20_WIDTH).contains(width));
    if let Some(width) = width {
        return Ok((resnet::resnet20([width, 2 * width, 4 * width]), RESNET20));
    }
    PRESETS
        .iter()
        .find(|(known, ..)| *known == name)
        .map(|(_, build, listed)| (build(), *listed))
        .ok_or_else(|| MappingError::UnknownNetwork {
            name: name.to_owned(),
            hint: hint::nearest(name, &names()),
        })
}
