//! Networks of inception modules.

use super::super::ir::Pool;
use super::super::sketch::Sketch;
use super::builder::{Builder, Kernel, Names, Value, pool};

/// GoogLeNet for 224x224 inputs (Szegedy et al., 2015), without its two auxiliary classifiers: fifty-seven convolutions and a linear
/// layer.
///
/// As torchvision's `googlenet`, which has batch norms, but for one thing: the third branch of a module has 5x5 kernels, as in the
/// paper, where torchvision has 3x3 by mistake.
pub(super) fn inception() -> Sketch {
    // Channels: 1x1; 3x3 reduced, 3x3; 5x5 reduced, 5x5; after pooling. Table 1 of the paper.
    const THIRD: [(&str, [usize; 6]); 2] = [
        ("inception3a", [64, 96, 128, 16, 32, 32]),
        ("inception3b", [128, 128, 192, 32, 96, 64]),
    ];
    const FOURTH: [(&str, [usize; 6]); 5] = [
        ("inception4a", [192, 96, 208, 16, 48, 64]),
        ("inception4b", [160, 112, 224, 24, 64, 64]),
        ("inception4c", [128, 128, 256, 24, 64, 64]),
        ("inception4d", [112, 144, 288, 32, 64, 64]),
        ("inception4e", [256, 160, 320, 32, 128, 128]),
    ];
    const FIFTH: [(&str, [usize; 6]); 2] = [
        ("inception5a", [256, 160, 320, 32, 128, 128]),
        ("inception5b", [384, 192, 384, 48, 128, 128]),
    ];

    let (network, x) = Builder::new(Names::Torch, 224);
    let mut network = network.with_epsilon(1e-3);
    let halve = |size| Pool {
        ceil: true,
        ..pool(size, 2)
    };
    let mut x = conv_norm_relu(&mut network, "conv1", x, 64, Kernel::same(7).stride(2));
    x = network.max_pool("maxpool1", x, halve(3));
    x = conv_norm_relu(&mut network, "conv2", x, 64, Kernel::of(1));
    x = conv_norm_relu(&mut network, "conv3", x, 192, Kernel::same(3));
    x = network.max_pool("maxpool2", x, halve(3));
    for (name, channels) in THIRD {
        x = module(&mut network, name, x, channels);
    }
    x = network.max_pool("maxpool3", x, halve(3));
    for (name, channels) in FOURTH {
        x = module(&mut network, name, x, channels);
    }
    x = network.max_pool("maxpool4", x, halve(2));
    for (name, channels) in FIFTH {
        x = module(&mut network, name, x, channels);
    }
    x = network.mean_pool_to("avgpool", x, 1);
    x = network.flatten("flatten", x);
    network.linear("fc", x, 1000, true);
    network.finish()
}

/// Four branches, whose channels are put side by side.
fn module(
    network: &mut Builder,
    name: &str,
    x: Value,
    [one, reduce3, three, reduce5, five, pooled]: [usize; 6],
) -> Value {
    let part = |part: &str| format!("{name}.{part}");
    let branch1 = conv_norm_relu(network, &part("branch1"), x, one, Kernel::of(1));
    let mut branch2 = conv_norm_relu(network, &part("branch2.0"), x, reduce3, Kernel::of(1));
    branch2 = conv_norm_relu(network, &part("branch2.1"), branch2, three, Kernel::same(3));
    let mut branch3 = conv_norm_relu(network, &part("branch3.0"), x, reduce5, Kernel::of(1));
    branch3 = conv_norm_relu(network, &part("branch3.1"), branch3, five, Kernel::same(5));
    let windows = Pool {
        padding: [1; 2],
        ceil: true,
        ..pool(3, 1)
    };
    let mut branch4 = network.max_pool(&part("branch4.0"), x, windows);
    branch4 = conv_norm_relu(network, &part("branch4.1"), branch4, pooled, Kernel::of(1));
    network.concat(&part("concat"), &[branch1, branch2, branch3, branch4])
}

fn conv_norm_relu(network: &mut Builder, name: &str, x: Value, outputs: usize, kernel: Kernel) -> Value {
    let x = network.conv(&format!("{name}.conv"), x, outputs, kernel);
    let x = network.norm(&format!("{name}.bn"), x);
    network.relu(&format!("{name}.relu"), x)
}
