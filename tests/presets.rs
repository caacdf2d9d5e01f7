//! The networks that are known by name: whole networks, with the sizes and the parameters that were published.

use vwc_sdk::graph::{Op, Sketch, presets};
use vwc_sdk::mapping::{self, ConvLayer};

#[test]
fn old_and_new() {
    for name in presets::names() {
        let (old, new) = (
            mapping::presets::network(name).unwrap(),
            presets::network(name).unwrap(),
        );
        assert_eq!(old.name, new.name);
        let nameless = |layers: &[ConvLayer]| {
            layers
                .iter()
                .map(|l| ConvLayer {
                    name: String::new(),
                    ..l.clone()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(nameless(&old.layers), nameless(&new.layers), "{name}");
        println!(
            "{name}: ties same: {}; {:?} -> {:?}",
            old.ties == new.ties,
            old.widths().ok(),
            new.widths().ok()
        );
        println!("{:?}", new.layers.iter().map(|l| &*l.name).collect::<Vec<_>>());
        println!("{} params", parameters(&presets::sketch(name).unwrap()));
    }
}

/// Trainable parameters: running statistics are none.
fn parameters(sketch: &Sketch) -> usize {
    let of = |op: &Op| {
        let parts = match op {
            Op::Conv(conv) => [Some(&conv.weight), conv.bias.as_ref()],
            Op::Linear(linear) => [Some(&linear.weight), linear.bias.as_ref()],
            Op::Affine(norm) => [norm.factor.as_ref(), norm.plus.as_ref()],
            _ => [None, None],
        };
        parts
            .into_iter()
            .flatten()
            .map(|part| part.shape().iter().product::<usize>())
            .sum::<usize>()
    };
    sketch.nodes().iter().map(|node| of(node.op())).sum()
}
