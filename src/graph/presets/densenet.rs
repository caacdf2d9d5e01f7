//! Densely connected networks (Huang, Liu, van der Maaten, Weinberger; 2017).

use super::super::sketch::Sketch;
use super::builder::{Builder, Kernel, Names, pool};

/// DenseNet-40 with growth rate 12 for 32x32 inputs: a first convolution, three blocks of twelve, each of which reads all that was
/// made before it in its block, two 1x1 transitions between them, and a linear layer. A batch norm and a ReLU come before each
/// convolution but the first. Parts are called as in torchvision's larger networks of this kind.
pub(super) fn densenet40() -> Sketch {
    const GROWTH: usize = 12;
    const BLOCKS: usize = 3;
    const LAYERS: usize = 12;

    let (mut network, x) = Builder::new(Names::Torch, 32);
    let mut x = network.conv("features.conv0", x, 16, Kernel::same(3));
    for block in 1..=BLOCKS {
        for layer in 1..=LAYERS {
            let name = |part: &str| format!("features.denseblock{block}.denselayer{layer}.{part}");
            let before = x;
            x = network.norm(&name("norm1"), x);
            x = network.relu(&name("relu1"), x);
            x = network.conv(&name("conv1"), x, GROWTH, Kernel::same(3));
            x = network.concat(&name("concat"), &[before, x]);
        }
        if block < BLOCKS {
            let name = |part: &str| format!("features.transition{block}.{part}");
            x = network.norm(&name("norm"), x);
            x = network.relu(&name("relu"), x);
            let channels = network.channels(x);
            x = network.conv(&name("conv"), x, channels, Kernel::of(1));
            x = network.avg_pool(&name("pool"), x, pool(2, 2));
        }
    }
    x = network.norm("features.norm_final", x);
    x = network.relu("features.relu_final", x);
    x = network.mean_pool_to("avgpool", x, 1);
    x = network.flatten("flatten", x);
    network.linear("classifier", x, 10, true);
    network.finish()
}
