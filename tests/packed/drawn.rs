//! Networks drawn out of what fused layers compute, as graphs: a stem in full precision, packed layers with batch norms of either
//! sign, pools, residual additions, and a classifier.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use vwc_sdk::graph::{
    Affine, Binary, Constant, Conv, ConvKernel, Function, Graph, Linear, NodeSpec, Op, Pool, Reduction,
};
use vwc_sdk::packed::Model;

use super::*;

struct Draw {
    rng: ChaCha8Rng,
    nodes: Vec<NodeSpec>,
    /// The node on top, and its shape.
    top: String,
    shape: [usize; 3],
    /// The largest code of the node on top, where it is codes.
    levels: u32,
}

impl Draw {
    fn below(&mut self, count: usize) -> usize {
        self.rng.random_range(0..count)
    }

    fn number(&mut self) -> f32 {
        self.rng.random_range(-1.0f32..1.0)
    }

    fn push(&mut self, op: impl Into<Op>) -> String {
        let name = format!("n{}", self.nodes.len());
        self.nodes
            .push(NodeSpec::new(name.clone(), op, [self.top.clone()]));
        self.top.clone_from(&name);
        name
    }

    fn norm(&mut self) {
        let channels = self.shape[0];
        let mut vector = |low: f32, high: f32| {
            let values: Vec<f32> = (0..channels).map(|_| self.rng.random_range(low..high)).collect();
            Some(Constant::new([channels, 1, 1], values))
        };
        let norm = Affine {
            minus: vector(-0.3, 0.3),
            divisor: None,
            factor: vector(-2.0, 2.0),
            plus: vector(-0.2, 0.8),
            epsilon: None,
        };
        self.push(norm);
    }

    fn quantize(&mut self) {
        let bits = 1 + self.below(4);
        let levels = (1u32 << bits) - 1;
        self.push(Function::Clamp { min: 0.0, max: 1.0 });
        let scalar = |number: u32| Some(Constant::scalar(number as f32));
        if levels > 1 {
            let factor = scalar(levels);
            self.push(Affine {
                factor,
                ..Affine::default()
            });
        }
        self.push(Function::Round);
        if levels > 1 {
            let divisor = scalar(levels);
            self.push(Affine {
                divisor,
                ..Affine::default()
            });
        }
        self.levels = levels;
    }

    fn pool(&mut self) {
        if self.shape[1] >= 2 && self.shape[2] >= 2 {
            self.push(Op::MaxPool(Pool::square(2)));
            self.shape = [self.shape[0], self.shape[1] / 2, self.shape[2] / 2];
        }
    }

    /// A convolution of `kernel`, with codes for weights where the node on top is codes.
    fn conv(&mut self, outputs: usize, kernel: usize, stride: usize, padding: usize, packed: bool) {
        let inputs = self.shape[0];
        let count = outputs * inputs * kernel * kernel;
        let (weight, kind) = if packed {
            let levels = (1u32 << (1 + self.below(4))) - 1;
            let scale = self.rng.random_range(0.05f32..0.4);
            let mut codes: Vec<u32> = (0..count).map(|_| self.rng.random_range(0..=levels)).collect();
            codes[0] = levels;
            let value = |code: u32| match levels {
                1 => (code as f32 * 2.0 - 1.0) * scale,
                _ => (code as f32 / levels as f32 * 2.0 - 1.0) * scale,
            };
            let kind = ConvKernel::Codes {
                weight_levels: levels,
                input_levels: self.levels,
            };
            (codes.into_iter().map(value).collect::<Vec<f32>>(), kind)
        } else {
            (
                (0..count).map(|_| 0.5 * self.number()).collect(),
                ConvKernel::Crate,
            )
        };
        let bias: Option<Vec<f32>> =
            (!packed && self.below(2) == 0).then(|| (0..outputs).map(|_| 0.2 * self.number()).collect());
        let conv = Conv {
            bias: bias.map(|bias| Constant::new([outputs], bias)),
            stride: [stride; 2],
            padding: padding.into(),
            kernel: kind,
            ..Conv::new(Constant::new([outputs, inputs, kernel, kernel], weight))
        };
        self.push(conv);
        let size = |size: usize| (size + 2 * padding - kernel) / stride + 1;
        self.shape = [outputs, size(self.shape[1]), size(self.shape[2])];
    }

    /// What makes codes of the sums of a layer: batch norm, pool and quantiser, pooled where it may be.
    fn codes(&mut self) {
        let pool = self.below(4);
        if self.below(4) > 0 {
            self.norm();
        }
        if pool == 0 {
            self.pool();
        }
        self.quantize();
        if pool == 1 {
            self.pool();
        }
    }

    fn layer(&mut self) {
        let kernel = 1 + self.below(3.min(self.shape[1]).min(self.shape[2]));
        let (outputs, stride) = (1 + self.below(20), 1 + self.below(2));
        // Padding is less than the kernel.
        let padding = self.below(kernel.min(2));
        self.conv(outputs, kernel, stride, padding, true);
    }

    /// Blocks whose sums are added to a stream of floats.
    fn residual(&mut self) {
        self.layer();
        for _ in 0..1 + self.below(2) {
            let (stream, shape) = (self.top.clone(), self.shape);
            if self.below(2) == 0 {
                self.norm();
            }
            self.quantize();
            let inner = 1 + self.below(8);
            self.conv(inner, 3, 1, 1, true);
            self.norm();
            self.quantize();
            self.conv(shape[0], 1, 1, 0, true);
            let name = format!("n{}", self.nodes.len());
            let sides = if self.below(2) == 0 {
                [self.top.clone(), stream]
            } else {
                [stream, self.top.clone()]
            };
            self.nodes.push(NodeSpec::new(name.clone(), Binary::Add, sides));
            self.top = name;
            match self.below(3) {
                0 => self.norm(),
                1 => {
                    self.norm();
                    self.push(Function::Relu);
                }
                _ => {}
            }
        }
        self.quantize();
    }
}

/// The graph, and the size of its pictures.
fn network(seed: u64) -> (Graph, [usize; 2]) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let size = [rng.random_range(5..13), rng.random_range(5..13)];
    let mut draw = Draw {
        rng,
        nodes: vec![NodeSpec::input("picture", [3, size[0], size[1]])],
        top: "picture".into(),
        shape: [3, size[0], size[1]],
        levels: 0,
    };
    let outputs = 1 + draw.below(12);
    draw.conv(outputs, 3, 1, 1, false);
    draw.codes();
    for _ in 0..1 + draw.below(3) {
        if draw.below(3) == 0 {
            draw.residual();
        } else {
            draw.layer();
            draw.codes();
        }
    }
    match draw.below(3) {
        // Sums that are floats, in front of the classifier.
        0 => {
            draw.layer();
            draw.push(Function::Clamp { min: 0.0, max: 1.0 });
        }
        1 => {
            draw.push(Op::Reduce {
                kind: Reduction::Mean,
                axes: vec![2, 1],
            });
            draw.shape = [draw.shape[0], 1, 1];
        }
        _ => {}
    }
    let inputs = draw.shape.iter().product();
    draw.push(Op::Reshape { shape: vec![inputs] });
    let weight: Vec<f32> = (0..inputs * 4).map(|_| draw.number()).collect();
    let last = draw.push(Linear {
        weight: Constant::new([inputs, 4], weight),
        bias: Some(Constant::new([4], [0.1, -0.2, 0.3, 0.0])),
    });
    (Graph::new(draw.nodes, [last]).unwrap(), size)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Packed, a network reads the codes in every layer that the graph does, and gives its logits.
    #[test]
    fn packed_as_described(seed: u64) {
        let (graph, size) = network(seed);
        let device = Device::flex();
        let input = PictureSpec::numbered(size, 4);
        let model = Model::of(&graph, "drawn", &input).unwrap_or_else(|error| panic!("{error}\n{graph}"));
        let executor = graph.on(&device);
        for pixels in pictures(2, size, seed % 1000) {
            let item = PictureItem { size, pixels: pixels.clone(), label: 0 };
            use burn::data::dataloader::batcher::Batcher;
            let images = PictureBatcher::new(input.normalization).batch(vec![item], &device).images;
            let mut read = Vec::new();
            let logits: Tensor<2> = executor
                .forward_with(images, |id, _, x| {
                    read.push((graph.node(id).name().to_owned(), x.to_data().try_into_vec::<f32>().unwrap()));
                    Ok(None)
                })
                .unwrap();
            let logits = logits.into_data().try_into_vec::<f32>().unwrap();
            for machine in Machine::available() {
                let mut session = Session::new(&model).with_machine(machine);
                let mut before: Option<(u32, Vec<f32>)> = None;
                let mut compared = 0;
                let found = session
                    .observe(&pixels, &mut |feature| {
                        if let Some((_, floats)) = read.iter().find(|(name, _)| name == feature.layer)
                            && let Some((bits, codes)) = before.take()
                        {
                            let levels = ((1u32 << bits) - 1) as f32;
                            let expected: Vec<f32> = floats.iter().map(|x| (x * levels).round()).collect();
                            assert_eq!(codes, expected, "{} {graph}", feature.layer);
                            compared += 1;
                        }
                        before = codes(&feature);
                    })
                    .to_vec();
                prop_assert!(compared > 0);
                for (found, expected) in found.iter().zip(&logits) {
                    prop_assert!((found - expected).abs() <= 2e-4 * expected.abs().max(1.0), "{found} {expected} {graph}");
                }
            }
        }
    }
}
