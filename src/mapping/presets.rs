//! The layers of the networks in the published tables, with their real sizes, strides and paddings.
//! [`Accounting::AsPublished`](super::Accounting::AsPublished) turns them into the sizes the tables
//! print.

use super::{ConvLayer, MappingError};

/// A preset's name, and how to build it at its published width.
type Preset = (&'static str, fn() -> Vec<ConvLayer>);

const PRESETS: [Preset; 4] = [
    ("cnn8", cnn8),
    ("resnet20", || resnet20([64, 128, 256])),
    ("resnet18", resnet18),
    ("vgg13", vgg13),
];

/// The names [`preset`] knows.
#[must_use]
pub fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

/// The layers of the network called `name`; `resnet20` has widths 64, 128 and 256.
///
/// ```
/// use vwc_sdk::mapping::presets::preset;
///
/// assert_eq!(preset("cnn8")?.len(), 7);
/// assert!(preset("cnn9").unwrap_err().to_string().contains("did you mean `cnn8`?"));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// [`MappingError::UnknownNetwork`], with the nearest names.
pub fn preset(name: &str) -> Result<Vec<ConvLayer>, MappingError> {
    PRESETS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, build)| build())
        .ok_or_else(|| MappingError::UnknownNetwork {
            name: name.to_owned(),
            hint: hint(name),
        })
}

/// CNN-8 for 40x40 inputs (Rhe, Moon, Ko; JETCAS 2022): its seven convolutions. The eighth layer is
/// the classifier. Pooling halves the map after layers 1 and 3.
#[must_use]
pub fn cnn8() -> Vec<ConvLayer> {
    vec![
        ConvLayer::square("conv1", 40, 5, 3, 24),
        ConvLayer::square("conv2", 18, 3, 24, 32).with_padding(1),
        ConvLayer::square("conv3", 18, 3, 32, 32).with_padding(1),
        ConvLayer::square("conv4", 9, 3, 32, 64),
        ConvLayer::square("conv5", 7, 3, 64, 64).with_padding(1),
        ConvLayer::square("conv6", 7, 3, 64, 64),
        ConvLayer::square("conv7", 5, 5, 64, 256),
    ]
}

/// ResNet-20 for 32x32 inputs with these stage widths (64, 128, 256 in the JETCAS 2022 paper): its
/// nineteen 3x3 convolutions in order. Stages 2 and 3 open with stride 2. The two 1x1 shortcut
/// convolutions are not part of the published tables and are left out.
#[must_use]
pub fn resnet20(widths: [usize; 3]) -> Vec<ConvLayer> {
    const CONVS_PER_STAGE: usize = 6;

    let conv = |name: String, input, from, to| ConvLayer::square(name, input, 3, from, to).with_padding(1);
    let mut layers = vec![conv("conv1".to_owned(), 32, 3, widths[0])];
    for (stage, &width) in widths.iter().enumerate() {
        let output = 32 >> stage;
        for index in 1..=CONVS_PER_STAGE {
            let name = format!("stage{}.conv{index}", stage + 1);
            layers.push(if stage > 0 && index == 1 {
                conv(name, 2 * output, widths[stage - 1], width).with_stride(2)
            } else {
                conv(name, output, width, width)
            });
        }
    }
    layers
}

/// ResNet-18 for 224x224 inputs: the five convolutions of the VW-SDK table (arXiv 2112.11282), one
/// of each shape. They are rows of a table, not a chain.
#[must_use]
pub fn resnet18() -> Vec<ConvLayer> {
    vec![
        ConvLayer::square("conv1", 224, 7, 3, 64)
            .with_stride(2)
            .with_padding(3),
        ConvLayer::square("conv2", 56, 3, 64, 64).with_padding(1),
        ConvLayer::square("conv3", 28, 3, 128, 128).with_padding(1),
        ConvLayer::square("conv4", 14, 3, 256, 256).with_padding(1),
        ConvLayer::square("conv5", 7, 3, 512, 512).with_padding(1),
    ]
}

/// VGG-13 for 224x224 inputs: its ten convolutions, two for each size of feature map.
#[must_use]
pub fn vgg13() -> Vec<ConvLayer> {
    [
        (224, 3, 64),
        (224, 64, 64),
        (112, 64, 128),
        (112, 128, 128),
        (56, 128, 256),
        (56, 256, 256),
        (28, 256, 512),
        (28, 512, 512),
        (14, 512, 512),
        (14, 512, 512),
    ]
    .into_iter()
    .enumerate()
    .map(|(index, (input, from, to))| {
        ConvLayer::square(format!("conv{}", index + 1), input, 3, from, to).with_padding(1)
    })
    .collect()
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
