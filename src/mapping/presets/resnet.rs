//! Residual networks (He, Zhang, Ren, Sun; 2016).

use super::Builder;
use crate::mapping::{ConvLayer, Network, Tie};

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

/// ResNet-20 by name, each stage tied to one width by its residual additions.
pub(super) fn stages(name: &str, widths: [usize; 3]) -> Network {
    let layers = resnet20(widths);
    // The stage a layer writes to; the first layer writes to stage 1, whose additions it takes part in.
    let stage = |layer: usize| layer.saturating_sub(1) / 6;
    let ties = (0..layers.len())
        .map(|layer| Tie {
            input: layer.checked_sub(1).map(stage),
            output: Some(stage(layer)),
        })
        .collect();
    Network::tied(name, layers, ties)
}

/// ResNet-18 for 224x224 inputs: the five convolutions of the VW-SDK table (arXiv 2112.11282), one
/// of each shape. They are rows of a table, not a chain.
#[must_use]
pub fn resnet18_table() -> Vec<ConvLayer> {
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

/// ResNet-18 for 224x224 inputs: its twenty convolutions in order, the three 1x1 shortcuts among them.
#[must_use]
pub fn resnet18() -> Vec<ConvLayer> {
    resnet18_tied().layers
}

/// ResNet-18 by name: the blocks of a stage add their results up, and so have one width; within a block it is free.
pub(super) fn resnet18_tied() -> Network {
    let mut network = Builder::default();
    let mut read = network.width();
    network.push(stem(), None, Some(read));
    let mut from = 64;
    for (stage, width) in [64, 128, 256, 512].into_iter().enumerate() {
        let output = 56 >> stage;
        for block in 1..=2 {
            let name = |part: &str| format!("stage{}.block{block}.{part}", stage + 1);
            let stride = if stage > 0 && block == 1 { 2 } else { 1 };
            let input = output * stride;
            let (inner, before) = (network.width(), read);
            let conv1 = ConvLayer::square(name("conv1"), input, 3, from, width);
            network.push(
                conv1.with_stride(stride).with_padding(1),
                Some(before),
                Some(inner),
            );
            if from != width {
                read = network.width();
            }
            let conv2 = ConvLayer::square(name("conv2"), output, 3, width, width);
            network.push(conv2.with_padding(1), Some(inner), Some(read));
            if from != width {
                let shortcut = ConvLayer::square(name("shortcut"), input, 1, from, width);
                network.push(shortcut.with_stride(stride), Some(before), Some(read));
            }
            from = width;
        }
    }
    network.named("resnet18")
}

/// ResNet-50 for 224x224 inputs: its fifty-three convolutions in order, the four 1x1 shortcuts among them. The
/// stride of a stage is on its 3x3 convolution, as in today's implementations.
#[must_use]
pub fn resnet50() -> Vec<ConvLayer> {
    resnet50_tied().layers
}

/// ResNet-50 by name: the blocks of a stage add their results up, and so have one width; within a block two are free.
pub(super) fn resnet50_tied() -> Network {
    let mut network = Builder::default();
    let mut read = network.width();
    network.push(stem(), None, Some(read));
    let mut from = 64;
    for (stage, (width, blocks)) in [(64, 3), (128, 4), (256, 6), (512, 3)].into_iter().enumerate() {
        let output = 56 >> stage;
        for block in 1..=blocks {
            let name = |part: &str| format!("stage{}.block{block}.{part}", stage + 1);
            let stride = if stage > 0 && block == 1 { 2 } else { 1 };
            let input = output * stride;
            let (first, second, before) = (network.width(), network.width(), read);
            let conv1 = ConvLayer::square(name("conv1"), input, 1, from, width);
            network.push(conv1, Some(before), Some(first));
            let conv2 = ConvLayer::square(name("conv2"), input, 3, width, width);
            network.push(
                conv2.with_stride(stride).with_padding(1),
                Some(first),
                Some(second),
            );
            if block == 1 {
                read = network.width();
            }
            let conv3 = ConvLayer::square(name("conv3"), output, 1, width, 4 * width);
            network.push(conv3, Some(second), Some(read));
            if block == 1 {
                let shortcut = ConvLayer::square(name("shortcut"), input, 1, from, 4 * width);
                network.push(shortcut.with_stride(stride), Some(before), Some(read));
            }
            from = 4 * width;
        }
    }
    network.named("resnet50")
}

/// The first layer of the large networks.
fn stem() -> ConvLayer {
    ConvLayer::square("conv1", 224, 7, 3, 64)
        .with_stride(2)
        .with_padding(3)
}
