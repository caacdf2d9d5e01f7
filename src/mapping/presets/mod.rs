//! The layers of published networks, with their real sizes, strides and paddings, and which of their widths
//! are tied. [`Accounting::AsPublished`](super::Accounting::AsPublished) turns them into the sizes the
//! published tables print.
//!
//! Only convolutions are listed: a classifier is no convolution, and neither is pooling.

use super::{ConvLayer, MappingError, Network, Tie};

mod densenet;
mod googlenet;
mod mobilenet;
mod plain;
mod resnet;

pub use densenet::densenet40;
pub use googlenet::inception;
pub use mobilenet::mobilenet_v2;
pub use plain::{alexnet, cnn8, vgg13, vgg16};
pub use resnet::{resnet18, resnet18_table, resnet20, resnet50};

/// A preset's name, and how to build it at its published width.
type Preset = (&'static str, fn() -> Network);

const PRESETS: [Preset; 11] = [
    ("cnn8", || Network::chain("cnn8", cnn8())),
    ("resnet20", || resnet::stages("resnet20", [64, 128, 256])),
    ("resnet18", || resnet::resnet18_tied()),
    ("resnet18-table", || {
        Network::fixed("resnet18-table", resnet18_table())
    }),
    ("resnet50", || resnet::resnet50_tied()),
    ("vgg13", || Network::chain("vgg13", vgg13())),
    ("vgg16", || Network::chain("vgg16", vgg16())),
    ("alexnet", || Network::chain("alexnet", alexnet())),
    ("mobilenet-v2", || mobilenet::tied()),
    ("densenet40", || Network::fixed("densenet40", densenet40())),
    ("inception", || Network::fixed("inception", inception())),
];

/// The widest first stage of a `resnet20-WIDTH`, so that its last stage keeps within the limits.
const MAX_RESNET20_WIDTH: usize = super::MAX_DIMENSION / 4;

/// The names [`network`] knows, without the widths of `resnet20`.
#[must_use]
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The network called `name`. `resnet20` has stages 64, 128 and 256 channels wide; `resnet20-16`, or any other
/// number, has that many in its first stage, and twice and four times as many in the others.
///
/// ```
/// use vwc_sdk::mapping::presets::network;
///
/// assert_eq!(network("cnn8")?.layers.len(), 7);
/// assert_eq!(network("resnet20-16")?.layers[18].out_channels, 64);
/// assert!(network("cnn9").unwrap_err().to_string().contains("did you mean `cnn8`?"));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// [`MappingError::UnknownNetwork`], with the nearest names.
pub fn network(name: &str) -> Result<Network, MappingError> {
    let width = name
        .strip_prefix("resnet20-")
        .and_then(|width| width.parse().ok())
        .filter(|width| (1..=MAX_RESNET20_WIDTH).contains(width));
    if let Some(width) = width {
        return Ok(resnet::stages(name, [width, 2 * width, 4 * width]));
    }
    PRESETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, build)| build())
        .ok_or_else(|| MappingError::UnknownNetwork {
            name: name.to_owned(),
            hint: hint(name),
        })
}

/// The layers of the network called `name`; see [`network`].
///
/// # Errors
///
/// As [`network`].
pub fn preset(name: &str) -> Result<Vec<ConvLayer>, MappingError> {
    network(name).map(|network| network.layers)
}

/// Names a few letters away from `name`, or all names where none is that near.
fn hint(name: &str) -> String {
    /// Edits beyond which a name is no longer taken for a slip of the keyboard.
    const NEAR: usize = 3;

    let lower = name.to_lowercase();
    let distances: Vec<_> = preset_names()
        .into_iter()
        .map(|known| (edit_distance(&lower, known), known))
        .collect();
    let nearest = distances.iter().map(|(distance, _)| *distance).min();
    match nearest.filter(|&distance| distance <= NEAR) {
        Some(nearest) => {
            let names: Vec<_> = distances
                .iter()
                .filter(|(distance, _)| *distance == nearest)
                .map(|(_, known)| format!("`{known}`"))
                .collect();
            format!("did you mean {}?", names.join(" or "))
        }
        None => format!("use one of {}", preset_names().join(", ")),
    }
}

/// Letters to insert, remove or replace to turn `from` into `to` (Levenshtein's distance), kept one
/// row of the table at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}

/// A network layer by layer, with the free widths between its layers.
#[derive(Default)]
struct Builder {
    layers: Vec<ConvLayer>,
    ties: Vec<Tie>,
    widths: usize,
}

impl Builder {
    /// A free width of its own.
    fn width(&mut self) -> usize {
        self.widths += 1;
        self.widths - 1
    }

    fn push(&mut self, layer: ConvLayer, input: Option<usize>, output: Option<usize>) {
        self.layers.push(layer);
        self.ties.push(Tie { input, output });
    }

    fn named(self, name: &str) -> Network {
        Network::tied(name, self.layers, self.ties)
    }
}
