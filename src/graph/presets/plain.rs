//! Networks that are plain chains of convolutions and pools.

use super::super::sketch::Sketch;
use super::builder::{Builder, Kernel, Names, pool};

/// CNN-8 for 40x40 inputs (Rhe, Moon, Ko; JETCAS 2022) in full precision, as [`Cnn8`](crate::models::Cnn8) is: seven convolutions
/// and a linear layer.
pub(super) fn cnn8() -> Sketch {
    /// A convolution, whether a batch norm follows, and whether a pool does.
    type Stage = (usize, Kernel, bool, bool);

    let stages: [Stage; 7] = [
        (24, Kernel::of(5).bias(), false, true),
        (32, Kernel::same(3), true, false),
        (32, Kernel::same(3), true, true),
        (64, Kernel::of(3), true, false),
        (64, Kernel::same(3), true, false),
        (64, Kernel::of(3), true, false),
        (256, Kernel::of(5), false, false),
    ];
    let (mut network, mut x) = Builder::new(Names::Burn, 40);
    let mut norms = 0;
    for (n, (outputs, kernel, norm, pooled)) in stages.into_iter().enumerate() {
        x = network.conv(&format!("convs.{n}"), x, outputs, kernel);
        if norm {
            x = network.norm(&format!("norms.{norms}"), x);
            norms += 1;
        }
        if pooled {
            x = network.max_pool("max_pool", x, pool(2, 2));
        }
        x = network.relu("relu", x);
    }
    x = network.flatten("flatten", x);
    network.linear("linear", x, 10, true);
    network.finish()
}

/// VGG-13 for 224x224 inputs (Simonyan and Zisserman, 2015, configuration B), as torchvision's `vgg13`: ten convolutions, two for
/// each size of feature map, and three linear layers.
pub(super) fn vgg13() -> Sketch {
    vgg([2, 2, 2, 2, 2])
}

/// VGG-16 for 224x224 inputs (Simonyan and Zisserman, 2015, configuration D), as torchvision's `vgg16`: thirteen convolutions and
/// three linear layers.
pub(super) fn vgg16() -> Sketch {
    vgg([2, 2, 3, 3, 3])
}

/// Five blocks of so many 3x3 convolutions, with a pool behind each.
fn vgg(blocks: [usize; 5]) -> Sketch {
    const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

    let (mut network, mut x) = Builder::new(Names::Torch, 224);
    // The layers of torchvision's `features` are numbered.
    let mut names = (0..).map(|n| format!("features.{n}"));
    let mut name = || names.next().expect("numbers do not end");
    for (count, width) in blocks.into_iter().zip(WIDTHS) {
        for _ in 0..count {
            x = network.conv(&name(), x, width, Kernel::same(3).bias());
            x = network.relu(&name(), x);
        }
        x = network.max_pool(&name(), x, pool(2, 2));
    }
    x = network.mean_pool_to("avgpool", x, 7);
    x = network.flatten("flatten", x);
    for [linear, relu] in [[0, 1], [3, 4]] {
        x = network.linear(&format!("classifier.{linear}"), x, 4096, true);
        x = network.relu(&format!("classifier.{relu}"), x);
    }
    network.linear("classifier.6", x, 1000, true);
    network.finish()
}

/// AlexNet for 224x224 inputs in the form that runs on one device, without groups (Krizhevsky, 2014), as torchvision's `alexnet`:
/// five convolutions and three linear layers.
pub(super) fn alexnet() -> Sketch {
    /// The number of a convolution in `features`, its outputs, and whether a pool follows its ReLU.
    type Stage = (usize, usize, Kernel, bool);

    let stages: [Stage; 5] = [
        (0, 64, Kernel::of(11).stride(4).padding(2), true),
        (3, 192, Kernel::same(5), true),
        (6, 384, Kernel::same(3), false),
        (8, 256, Kernel::same(3), false),
        (10, 256, Kernel::same(3), true),
    ];
    let (mut network, mut x) = Builder::new(Names::Torch, 224);
    for (n, outputs, kernel, pooled) in stages {
        x = network.conv(&format!("features.{n}"), x, outputs, kernel.bias());
        x = network.relu(&format!("features.{}", n + 1), x);
        if pooled {
            x = network.max_pool(&format!("features.{}", n + 2), x, pool(3, 2));
        }
    }
    x = network.mean_pool_to("avgpool", x, 6);
    x = network.flatten("flatten", x);
    for [linear, relu] in [[1, 2], [4, 5]] {
        x = network.linear(&format!("classifier.{linear}"), x, 4096, true);
        x = network.relu(&format!("classifier.{relu}"), x);
    }
    network.linear("classifier.6", x, 1000, true);
    network.finish()
}
