//! Networks of inception modules.

use crate::mapping::ConvLayer;

/// GoogLeNet for 224x224 inputs (Szegedy et al., 2015): its fifty-seven convolutions, those of the two
/// auxiliary classifiers left out. The branches of a module follow one another.
#[must_use]
pub fn inception() -> Vec<ConvLayer> {
    // Name, map size, then channels: 1x1; 3x3 reduced, 3x3; 5x5 reduced, 5x5; after pooling. Table 1 of the
    // paper.
    const MODULES: [(&str, usize, [usize; 6]); 9] = [
        ("3a", 28, [64, 96, 128, 16, 32, 32]),
        ("3b", 28, [128, 128, 192, 32, 96, 64]),
        ("4a", 14, [192, 96, 208, 16, 48, 64]),
        ("4b", 14, [160, 112, 224, 24, 64, 64]),
        ("4c", 14, [128, 128, 256, 24, 64, 64]),
        ("4d", 14, [112, 144, 288, 32, 64, 64]),
        ("4e", 14, [256, 160, 320, 32, 128, 128]),
        ("5a", 7, [256, 160, 320, 32, 128, 128]),
        ("5b", 7, [384, 192, 384, 48, 128, 128]),
    ];

    let mut layers = vec![
        ConvLayer::square("conv1", 224, 7, 3, 64)
            .with_stride(2)
            .with_padding(3),
        ConvLayer::square("conv2.reduce", 56, 1, 64, 64),
        ConvLayer::square("conv2", 56, 3, 64, 192).with_padding(1),
    ];
    let mut from = 192;
    for (module, size, [one, reduce3, three, reduce5, five, pooled]) in MODULES {
        let mut conv = |part: &str, kernel: usize, from, to| {
            let name = format!("{module}.{part}");
            layers.push(ConvLayer::square(name, size, kernel, from, to).with_padding(kernel / 2));
        };
        conv("1x1", 1, from, one);
        conv("3x3.reduce", 1, from, reduce3);
        conv("3x3", 3, reduce3, three);
        conv("5x5.reduce", 1, from, reduce5);
        conv("5x5", 5, reduce5, five);
        conv("pool", 1, from, pooled);
        from = one + three + five + pooled;
    }
    layers
}
