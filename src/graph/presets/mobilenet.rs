//! Networks of depthwise convolutions.

use super::super::sketch::Sketch;
use super::builder::{Builder, Kernel, Names, Value};

/// MobileNet-V2 at width 1 for 224x224 inputs (Sandler et al., 2018), as torchvision's `mobilenet_v2`: fifty-two convolutions and a
/// linear layer. Each block widens the channels, filters each of them on its own, and narrows them again.
pub(super) fn mobilenet_v2() -> Sketch {
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

    let (mut network, x) = Builder::new(Names::Torch, 224);
    let mut x = conv_norm_relu6(&mut network, "features.0", x, 32, Kernel::same(3).stride(2));
    let mut layer = 0;
    for [expansion, outputs, blocks, first_stride] in STAGES {
        for index in 0..blocks {
            layer += 1;
            let stride = if index == 0 { first_stride } else { 1 };
            x = block(
                &mut network,
                &format!("features.{layer}"),
                x,
                expansion,
                outputs,
                stride,
            );
        }
    }
    x = conv_norm_relu6(&mut network, "features.18", x, 1280, Kernel::of(1));
    x = network.mean_pool_to("avgpool", x, 1);
    x = network.flatten("flatten", x);
    network.linear("classifier.1", x, 1000, true);
    network.finish()
}

/// An inverted residual block.
fn block(
    network: &mut Builder,
    name: &str,
    input: Value,
    expansion: usize,
    outputs: usize,
    stride: usize,
) -> Value {
    let wide = network.channels(input) * expansion;
    let mut parts = (0..).map(|n| format!("{name}.conv.{n}"));
    let mut part = || parts.next().expect("numbers do not end");
    let mut x = input;
    if expansion > 1 {
        x = conv_norm_relu6(network, &part(), x, wide, Kernel::of(1));
    }
    let depthwise = Kernel::same(3).stride(stride).groups(wide);
    x = conv_norm_relu6(network, &part(), x, wide, depthwise);
    x = network.conv(&part(), x, outputs, Kernel::of(1));
    x = network.norm(&part(), x);
    if stride == 1 && network.channels(input) == outputs {
        x = network.add(&format!("{name}.add"), input, x);
    }
    x
}

fn conv_norm_relu6(network: &mut Builder, name: &str, x: Value, outputs: usize, kernel: Kernel) -> Value {
    let x = network.conv(&format!("{name}.0"), x, outputs, kernel);
    let x = network.norm(&format!("{name}.1"), x);
    network.relu6(&format!("{name}.2"), x)
}
