//! Networks of depthwise convolutions.

use super::Builder;
use crate::mapping::{ConvLayer, Network};

/// MobileNet-V2 at width 1 for 224x224 inputs (Sandler et al., 2018): its fifty-two convolutions. Each block
/// widens the channels, filters each of them on its own, and narrows them again.
#[must_use]
pub fn mobilenet_v2() -> Vec<ConvLayer> {
    tied().layers
}

/// MobileNet-V2 by name. The blocks of a stage add their results up, and so have one width; within a block, a depthwise
/// convolution ties what it reads to what it makes.
pub(super) fn tied() -> Network {
    // Expansion, output channels, blocks, stride of the first block; Table 2 of the paper.
    const STAGES: [[usize; 4]; 7] = [
        [1, 16, 1, 1],
        [6, 24, 2, 2],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ];

    let mut network = Builder::default();
    let (mut size, mut from) = (112, 32);
    let mut read = network.width();
    let stem = ConvLayer::square("conv1", 224, 3, 3, from);
    network.push(stem.with_stride(2).with_padding(1), None, Some(read));
    let mut block = 0;
    for [expansion, to, blocks, first_stride] in STAGES {
        for index in 0..blocks {
            block += 1;
            let name = |part: &str| format!("block{block}.{part}");
            let stride = if index == 0 { first_stride } else { 1 };
            let wide = from * expansion;
            let mut inner = read;
            if expansion > 1 {
                inner = network.width();
                let expand = ConvLayer::square(name("expand"), size, 1, from, wide);
                network.push(expand, Some(read), Some(inner));
            }
            let depthwise = ConvLayer::square(name("depthwise"), size, 3, wide, wide)
                .with_stride(stride)
                .with_padding(1)
                .with_groups(wide);
            network.push(depthwise, Some(inner), Some(inner));
            size /= stride;
            if index == 0 {
                read = network.width();
            }
            let project = ConvLayer::square(name("project"), size, 1, wide, to);
            network.push(project, Some(inner), Some(read));
            from = to;
        }
    }
    let last = ConvLayer::square("conv_last", size, 1, from, 1280);
    network.push(last, Some(read), None);
    network.named("mobilenet-v2")
}
