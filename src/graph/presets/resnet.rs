//! Residual networks (He, Zhang, Ren, Sun; 2016).

use super::super::ir::Pool;
use super::super::sketch::Sketch;
use super::builder::{Builder, Kernel, Names, Value, pool};

/// ResNet-20 for 32x32 inputs in full precision, as the twin of [`ResNet20`](crate::models::ResNet20) is, with stages of these
/// widths (64, 128 and 256 in the JETCAS 2022 paper): nineteen 3x3 convolutions, two 1x1 shortcuts where the size of the feature
/// maps changes, and a linear layer.
pub(super) fn resnet20(widths: [usize; 3]) -> Sketch {
    const BLOCKS: usize = 3;

    let (mut network, x) = Builder::new(Names::Burn, 32);
    let mut x = network.conv("conv", x, widths[0], Kernel::same(3));
    x = network.norm("norm", x);
    x = network.relu("relu", x);
    for block in 0..widths.len() * BLOCKS {
        let width = widths[block / BLOCKS];
        let stride = if block > 0 && block % BLOCKS == 0 { 2 } else { 1 };
        let name = |part: &str| format!("blocks.{block}.{part}");
        let mut around = x;
        if stride > 1 {
            around = network.conv(&name("shortcut.conv"), x, width, Kernel::of(1).stride(stride));
            around = network.norm(&name("shortcut.norm"), around);
        }
        x = network.conv(&name("conv0"), x, width, Kernel::same(3).stride(stride));
        x = network.norm(&name("norm0"), x);
        x = network.relu(&name("relu"), x);
        x = network.conv(&name("conv1"), x, width, Kernel::same(3));
        x = network.norm(&name("norm1"), x);
        x = network.add(&name("add"), x, around);
        x = network.relu(&name("relu"), x);
    }
    x = network.mean_pool_to("avg_pool", x, 1);
    x = network.flatten("flatten", x);
    network.linear("linear", x, 10, true);
    network.finish()
}

/// ResNet-18 for 224x224 inputs, as torchvision's `resnet18`: twenty convolutions, the three 1x1 shortcuts among them, and a
/// linear layer.
pub(super) fn resnet18() -> Sketch {
    stages([2, 2, 2, 2], |network, name, x, width, stride| {
        let x = network.conv(&name("conv1"), x, width, Kernel::same(3).stride(stride));
        let x = network.norm(&name("bn1"), x);
        let x = network.relu(&name("relu"), x);
        let x = network.conv(&name("conv2"), x, width, Kernel::same(3));
        network.norm(&name("bn2"), x)
    })
}

/// ResNet-50 for 224x224 inputs, as torchvision's `resnet50`: fifty-three convolutions, the four 1x1 shortcuts among them, and a
/// linear layer. The stride of a stage is on its 3x3 convolution.
pub(super) fn resnet50() -> Sketch {
    stages([3, 4, 6, 3], |network, name, x, width, stride| {
        let x = network.conv(&name("conv1"), x, width, Kernel::of(1));
        let x = network.norm(&name("bn1"), x);
        let x = network.relu(&name("relu"), x);
        let x = network.conv(&name("conv2"), x, width, Kernel::same(3).stride(stride));
        let x = network.norm(&name("bn2"), x);
        let x = network.relu(&name("relu"), x);
        let x = network.conv(&name("conv3"), x, 4 * width, Kernel::of(1));
        network.norm(&name("bn3"), x)
    })
}

/// Four stages of so many blocks, with a ReLU behind each addition. `block` writes down what is added to a block's input: from the
/// names of its parts, what it reads, the width of its stage and its stride.
fn stages(
    blocks: [usize; 4],
    block: impl Fn(&mut Builder, &dyn Fn(&str) -> String, Value, usize, usize) -> Value,
) -> Sketch {
    let (mut network, x) = Builder::new(Names::Torch, 224);
    let mut x = network.conv("conv1", x, 64, Kernel::same(7).stride(2));
    x = network.norm("bn1", x);
    x = network.relu("relu", x);
    let windows = Pool {
        padding: [1; 2],
        ..pool(3, 2)
    };
    x = network.max_pool("maxpool", x, windows);
    for (stage, (blocks, width)) in blocks.into_iter().zip([64, 128, 256, 512]).enumerate() {
        for index in 0..blocks {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            let name = |part: &str| format!("layer{}.{index}.{part}", stage + 1);
            let inner = block(&mut network, &name, x, width, stride);
            let mut around = x;
            let outputs = network.channels(inner);
            if stride > 1 || outputs != network.channels(x) {
                around = network.conv(&name("downsample.0"), x, outputs, Kernel::of(1).stride(stride));
                around = network.norm(&name("downsample.1"), around);
            }
            x = network.add(&name("add"), inner, around);
            x = network.relu(&name("relu"), x);
        }
    }
    x = network.mean_pool_to("avgpool", x, 1);
    x = network.flatten("flatten", x);
    network.linear("fc", x, 1000, true);
    network.finish()
}
