//! Densely connected networks (Huang, Liu, van der Maaten, Weinberger; 2017).

use crate::mapping::ConvLayer;

/// DenseNet-40 with growth rate 12 for 32x32 inputs: the first convolution, three blocks of twelve, each of
/// which takes everything before it in its block, and the two 1x1 transitions between them.
#[must_use]
pub fn densenet40() -> Vec<ConvLayer> {
    const GROWTH: usize = 12;
    const LAYERS: usize = 12;

    let mut channels = 16;
    let mut layers = vec![ConvLayer::square("conv1", 32, 3, 3, channels).with_padding(1)];
    for block in 0..3 {
        let size = 32 >> block;
        for layer in 1..=LAYERS {
            let name = format!("block{}.conv{layer}", block + 1);
            layers.push(ConvLayer::square(name, size, 3, channels, GROWTH).with_padding(1));
            channels += GROWTH;
        }
        if block < 2 {
            let name = format!("transition{}", block + 1);
            layers.push(ConvLayer::square(name, size, 1, channels, channels));
        }
    }
    layers
}
