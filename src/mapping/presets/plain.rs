//! Networks that are plain chains of convolutions and pooling.

use crate::mapping::ConvLayer;

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

/// VGG-13 for 224x224 inputs (Simonyan and Zisserman, 2015, configuration B): its ten convolutions, two for
/// each size of feature map.
#[must_use]
pub fn vgg13() -> Vec<ConvLayer> {
    vgg([2, 2, 2, 2, 2])
}

/// VGG-16 for 224x224 inputs (Simonyan and Zisserman, 2015, configuration D): its thirteen convolutions.
#[must_use]
pub fn vgg16() -> Vec<ConvLayer> {
    vgg([2, 2, 3, 3, 3])
}

/// Five blocks of so many 3x3 convolutions, with pooling in between.
fn vgg(blocks: [usize; 5]) -> Vec<ConvLayer> {
    const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

    let mut layers: Vec<ConvLayer> = Vec::new();
    for (block, (&count, width)) in blocks.iter().zip(WIDTHS).enumerate() {
        for _ in 0..count {
            let from = layers.last().map_or(3, |layer| layer.out_channels);
            let name = format!("conv{}", layers.len() + 1);
            layers.push(ConvLayer::square(name, 224 >> block, 3, from, width).with_padding(1));
        }
    }
    layers
}

/// AlexNet for 224x224 inputs, in the form that runs on one device (Krizhevsky, 2014): its five convolutions,
/// without groups.
#[must_use]
pub fn alexnet() -> Vec<ConvLayer> {
    vec![
        ConvLayer::square("conv1", 224, 11, 3, 64)
            .with_stride(4)
            .with_padding(2),
        ConvLayer::square("conv2", 27, 5, 64, 192).with_padding(2),
        ConvLayer::square("conv3", 13, 3, 192, 384).with_padding(1),
        ConvLayer::square("conv4", 13, 3, 384, 256).with_padding(1),
        ConvLayer::square("conv5", 13, 3, 256, 256).with_padding(1),
    ]
}
