//! From a trained network to packed bits.
//!
//! What decides a code in training is a chain of float operations on an integer: the sum of products of codes, times
//! the layer's unit, batch norm, clamp, rounding. The integers are few enough to ask, for each channel and code, from
//! which sum on the chain gives it; the answer is the channel's threshold, and the chain is not needed any more. The
//! operations here are those of `kernels::integer` and `kernels::norm`, in their order.

use burn::nn::BatchNorm;

use super::check::MAX_BITS;
use super::layout::pack_weights;
use super::spec::{Act, AffineIds, Op, PackedThen, Plan, Spec, Step, TensorId, Then, ValueId, Window};
use super::tensor::{Tensor, Words};
use super::threshold::thresholds;
use super::{Model, PackedError, integer::IntegerWeights};
use crate::data::{Normalization, PictureSpec};
use crate::models::{BlockOrder, Cnn8Config, Network, NetworkConfig, ResNet20Config, Vgg13Config};
use crate::module::Parameters;
use crate::quant::QuantConv2d;

/// A network that can be packed.
pub trait Freeze: NetworkConfig {
    /// Packs `network`, which is one of this configuration, as it computes in evaluation. `input`: what it reads, as it was
    /// trained; of a run [`RunConfig::input`](crate::train::RunConfig::input).
    ///
    /// # Errors
    ///
    /// [`PackedError::Network`] where `input` does not fit the network, and where it is not quantised, has more than 4 bits on either side, or holds numbers that
    /// are not finite or too small.
    fn freeze(&self, network: &Self::Network, input: &PictureSpec) -> Result<Model, PackedError>;
}

impl Freeze for Cnn8Config {
    fn freeze(&self, network: &Self::Network, input: &PictureSpec) -> Result<Model, PackedError> {
        let mut builder = Builder::new(self, network)?;
        let last = network.convs.len() - 1;
        let mut x = 0;
        for (n, conv) in network.convs.iter().enumerate() {
            let path = format!("convs.{n}");
            let pool = n == 0 || n == 2;
            x = if n == 0 {
                let then = Then::Codes {
                    bits: builder.activation_bits,
                };
                builder.float(&path, x, conv, None, pool, then)?
            } else if n < last {
                builder.codes(&path, x, conv, Some(&network.norms[n - 1]), pool)?
            } else {
                builder.floats(&path, x, conv, None, None, Act::Clamp)?
            };
        }
        builder.linear("linear", x)?;
        builder.finish(self, self.classes, input)
    }
}

impl Freeze for ResNet20Config {
    fn freeze(&self, network: &Self::Network, input: &PictureSpec) -> Result<Model, PackedError> {
        let mut builder = Builder::new(self, network)?;
        let floats = Then::Floats { act: Act::Identity };
        let mut x = builder.float("conv", 0, &network.conv, network.norm.as_ref(), false, floats)?;
        for (n, block) in network.blocks.iter().enumerate() {
            let path = |part: &str| format!("blocks.{n}.{part}");
            let around = match &block.shortcut {
                None => x,
                Some(shortcut) => {
                    let path = path("shortcut.conv");
                    builder.float(&path, x, &shortcut.conv, Some(&shortcut.norm), false, floats)?
                }
            };
            // Which norm stands in front of each convolution's input, and which behind the sum.
            let (first, between, after) = match self.order {
                BlockOrder::Original => (None, &block.norm0, Some(&block.norm1)),
                BlockOrder::PreActivation => (Some(&block.norm0), &block.norm1, None),
            };
            let y = builder.quantize(&path("act"), x, first);
            let y = builder.codes(&path("conv0"), y, &block.conv0, Some(between), false)?;
            x = builder.floats(
                &path("conv1"),
                y,
                &block.conv1,
                Some(around),
                after,
                Act::Identity,
            )?;
        }
        let (affine, act) = match &network.last_norm {
            None => (None, Act::Identity),
            Some(norm) => (Some(affine(norm).store(&mut builder.tensors)), Act::Relu),
        };
        let x = builder.push("mean", x, Op::Mean { affine, act });
        builder.linear("linear", x)?;
        builder.finish(self, self.classes, input)
    }
}

impl Freeze for Vgg13Config {
    fn freeze(&self, network: &Self::Network, input: &PictureSpec) -> Result<Model, PackedError> {
        let mut builder = Builder::new(self, network)?;
        let mut x = 0;
        for (n, conv) in network.convs.iter().enumerate() {
            let path = format!("convs.{n}");
            // After every second activation. To take the largest before it gives the same: neither sums nor codes fall
            // where the other rises.
            let pool = n % 2 == 1;
            x = if n == 0 {
                let then = Then::Codes {
                    bits: builder.activation_bits,
                };
                builder.float(&path, x, conv, None, pool, then)?
            } else {
                builder.codes(&path, x, conv, None, pool)?
            };
        }
        for n in 0..network.hidden.len() {
            x = builder.hidden(&format!("hidden.{n}"), x)?;
        }
        let x = builder.push("unpack", x, Op::Unpack);
        builder.linear("linear", x)?;
        builder.finish(self, self.classes, input)
    }
}

/// `(x - mean) * scale + shift` for every channel.
struct Affine {
    mean: Vec<f32>,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Affine {
    fn apply(&self, x: f32, channel: usize) -> f32 {
        (x - self.mean[channel]) * self.scale[channel] + self.shift[channel]
    }

    fn store(self, tensors: &mut Vec<Tensor>) -> AffineIds {
        [self.mean, self.scale, self.shift].map(|numbers| store(tensors, Tensor::F32(numbers)))
    }
}

/// The code that the network makes of a sum, by the operations it is trained with: of a channel of a batch norm, where
/// there is one.
fn decide(sum: i32, unit: f32, affine: Option<(&Affine, usize)>, levels: u32) -> u32 {
    let x = sum as f32 * unit;
    let x = affine.map_or(x, |(affine, channel)| affine.apply(x, channel));
    (x.clamp(0.0, 1.0) * levels as f32).round_ties_even() as u32
}

fn store(tensors: &mut Vec<Tensor>, tensor: Tensor) -> TensorId {
    tensors.push(tensor);
    tensors.len() - 1
}

/// What batch norm does with its running statistics.
fn affine(norm: &BatchNorm) -> Affine {
    let vector = |tensor: burn::tensor::Tensor<1>| {
        let data = tensor.into_data().convert::<f32>();
        data.try_into_vec::<f32>().expect("just converted")
    };
    let variance = vector(norm.running_var.value());
    let scale = vector(norm.gamma.val())
        .into_iter()
        .zip(variance)
        .map(|(gamma, variance)| {
            let inverse = (f64::from(variance) + norm.epsilon).sqrt().recip() as f32;
            inverse * gamma
        });
    Affine {
        scale: scale.collect(),
        mean: vector(norm.running_mean.value()),
        shift: vector(norm.beta.val()),
    }
}

struct Builder {
    network: &'static str,
    parameters: Parameters,
    quantized: Vec<(String, Vec<f32>)>,
    weight_bits: u32,
    activation_bits: u32,
    tensors: Vec<Tensor>,
    steps: Vec<Step>,
}

impl Builder {
    fn new<C: NetworkConfig>(config: &C, network: &C::Network) -> Result<Self, PackedError> {
        let refuse = |reason: String| PackedError::Network {
            network: C::NAME.into(),
            reason,
        };
        let bits = config.bits().map(|bits| bits.map(|bits| u32::from(bits.get())));
        let packs = |bits: &[u32; 2]| bits.iter().all(|bits| (1..=MAX_BITS).contains(bits));
        let [weight_bits, activation_bits] = bits.filter(packs).ok_or_else(|| {
            refuse(format!(
                "it is {}: expected 1 to {MAX_BITS} bits for weights and for activations; train it so",
                config.precision()
            ))
        })?;
        let parameters = Parameters::of(network);
        if let Some(path) = parameters.not_finite() {
            return Err(refuse(format!(
                "`{path}` holds something other than finite numbers: train it again"
            )));
        }
        let mut weights = Vec::new();
        for (path, data) in network.quantized_weights() {
            let values = data.try_into_vec::<f32>().map_err(|error| {
                refuse(format!(
                    "the quantised weights `{path}` are no 32-bit floats: {error:?}"
                ))
            })?;
            weights.push((path, values));
        }
        Ok(Self {
            network: C::NAME,
            parameters,
            quantized: weights,
            weight_bits,
            activation_bits,
            tensors: Vec::new(),
            steps: Vec::new(),
        })
    }

    fn refuse(&self, reason: impl ToString) -> PackedError {
        PackedError::Network {
            network: self.network.into(),
            reason: reason.to_string(),
        }
    }

    fn finish<C: NetworkConfig>(
        mut self,
        config: &C,
        classes: usize,
        input: &PictureSpec,
    ) -> Result<Model, PackedError> {
        if let Err(reason) = input.validate(C::INPUT, classes) {
            return Err(self.refuse(format!("what it reads does not fit: {reason}")));
        }
        let Normalization { mean, std } = input.normalization;
        let normalization = store(&mut self.tensors, Tensor::F32([mean, std].concat()));
        Model::new(Spec {
            plan: Plan {
                network: self.network.into(),
                precision: config.precision(),
                classes: input.classes.clone(),
                input: C::INPUT,
                channels: input.channels.places(),
                normalization,
                steps: self.steps,
            },
            tensors: self.tensors,
        })
    }

    fn push(&mut self, name: &str, input: ValueId, op: Op) -> ValueId {
        self.steps.push(Step {
            name: name.into(),
            input,
            op,
        });
        self.steps.len()
    }

    fn parameter(&self, path: &str) -> Result<Vec<f32>, PackedError> {
        let values = self.parameters.values(path);
        values.map(<[f32]>::to_vec).map_err(|error| self.refuse(error))
    }

    fn float(
        &mut self,
        path: &str,
        input: ValueId,
        conv: &QuantConv2d,
        norm: Option<&BatchNorm>,
        pool: bool,
        then: Then,
    ) -> Result<ValueId, PackedError> {
        let weight = Tensor::F32(self.parameter(&format!("{path}.weight"))?);
        let weight = store(&mut self.tensors, weight);
        let bias = match &conv.bias {
            None => None,
            Some(_) => {
                let bias = Tensor::F32(self.parameter(&format!("{path}.bias"))?);
                Some(store(&mut self.tensors, bias))
            }
        };
        let affine = norm.map(|norm| affine(norm).store(&mut self.tensors));
        let op = Op::Float {
            window: window(conv),
            weight,
            bias,
            affine,
            pool,
            then,
        };
        Ok(self.push(path, input, op))
    }

    /// The classifier.
    fn linear(&mut self, path: &str, input: ValueId) -> Result<ValueId, PackedError> {
        let bias = self.parameter(&format!("{path}.bias"))?;
        let weight = transposed(&self.parameter(&format!("{path}.weight"))?, bias.len());
        let weight = store(&mut self.tensors, Tensor::F32(weight));
        let bias = Some(store(&mut self.tensors, Tensor::F32(bias)));
        let op = Op::Float {
            window: POINT,
            weight,
            bias,
            affine: None,
            pool: false,
            then: Then::Floats { act: Act::Identity },
        };
        Ok(self.push(path, input, op))
    }

    fn quantize(&mut self, path: &str, input: ValueId, norm: Option<&BatchNorm>) -> ValueId {
        let affine = norm.map(|norm| affine(norm).store(&mut self.tensors));
        let bits = self.activation_bits;
        self.push(path, input, Op::Quantize { affine, bits })
    }

    /// The weights of a layer as integers.
    fn integers(&self, path: &str) -> Result<IntegerWeights, PackedError> {
        let path = format!("{path}.weight");
        let (_, values) = (self.quantized.iter())
            .find(|(name, _)| *name == path)
            .ok_or_else(|| self.refuse(format!("`{path}` is not quantised")))?;
        IntegerWeights::new(values, self.weight_bits)
            .map_err(|reason| self.refuse(format!("the weights `{path}` {reason}")))
    }

    /// A convolution whose output is codes.
    fn codes(
        &mut self,
        path: &str,
        input: ValueId,
        conv: &QuantConv2d,
        norm: Option<&BatchNorm>,
        pool: bool,
    ) -> Result<ValueId, PackedError> {
        let weights = self.integers(path)?;
        let affine = norm.map(affine);
        let [outputs, inputs, ..] = conv.weight.dims();
        Ok(self.packed(
            path,
            input,
            window(conv),
            [inputs, outputs],
            weights,
            affine,
            pool,
        ))
    }

    /// A linear layer whose output is codes.
    fn hidden(&mut self, path: &str, input: ValueId) -> Result<ValueId, PackedError> {
        let mut weights = self.integers(path)?;
        let shape = self
            .parameters
            .get(&format!("{path}.weight"))
            .map_err(|error| self.refuse(error))?;
        let [inputs, outputs] = shape.shape().dims();
        weights.codes = transposed(&weights.codes, outputs);
        Ok(self.packed(path, input, POINT, [inputs, outputs], weights, None, false))
    }

    #[allow(clippy::too_many_arguments)]
    fn packed(
        &mut self,
        path: &str,
        input: ValueId,
        window: Window,
        [inputs, outputs]: [usize; 2],
        mut weights: IntegerWeights,
        affine: Option<Affine>,
        pool: bool,
    ) -> ValueId {
        let bits = self.activation_bits;
        let levels = (1u32 << bits) - 1;
        let unit = weights.unit(levels);
        let filter = weights.codes.len() / outputs;
        let largest = (weights.levels * levels) as i32 * filter as i32;
        let mut all = vec![0; levels as usize * outputs];
        for (output, filter) in weights.codes.chunks_exact_mut(filter).enumerate() {
            // A scale below zero turns sums around. So do the weights with the other sign, after which the code rises
            // with the sum in every channel, and the largest sum of a pool is the one that counts.
            let turned = affine.as_ref().is_some_and(|affine| affine.scale[output] < 0.0);
            if turned {
                for code in filter {
                    *code = weights.levels as u8 - *code;
                }
            }
            let affine = affine.as_ref().map(|affine| (affine, output));
            let code = |sum: i32| decide(if turned { -sum } else { sum }, unit, affine, levels);
            for (level, threshold) in thresholds(levels, largest, code).enumerate() {
                all[level * outputs + output] = threshold;
            }
        }
        let thresholds = store(&mut self.tensors, Tensor::I32(all));
        let then = PackedThen::Codes {
            bits,
            pool,
            thresholds,
        };
        self.push_packed(path, input, window, [inputs, outputs], &weights, then)
    }

    /// A convolution whose output is floats.
    fn floats(
        &mut self,
        path: &str,
        input: ValueId,
        conv: &QuantConv2d,
        added: Option<ValueId>,
        norm: Option<&BatchNorm>,
        act: Act,
    ) -> Result<ValueId, PackedError> {
        let weights = self.integers(path)?;
        let unit = weights.unit((1 << self.activation_bits) - 1);
        let then = PackedThen::Floats {
            unit: store(&mut self.tensors, Tensor::F32(vec![unit])),
            added,
            affine: norm.map(|norm| affine(norm).store(&mut self.tensors)),
            act,
        };
        let [outputs, inputs, ..] = conv.weight.dims();
        Ok(self.push_packed(path, input, window(conv), [inputs, outputs], &weights, then))
    }

    fn push_packed(
        &mut self,
        path: &str,
        input: ValueId,
        window: Window,
        [inputs, outputs]: [usize; 2],
        weights: &IntegerWeights,
        then: PackedThen,
    ) -> ValueId {
        let words = pack_weights(&window, inputs, outputs, self.weight_bits, &weights.codes);
        let op = Op::Packed {
            window,
            outputs,
            weight_bits: self.weight_bits,
            weight: store(&mut self.tensors, Tensor::Words(Words::Owned(words))),
            then,
        };
        self.push(path, input, op)
    }
}

/// A linear layer as a convolution.
const POINT: Window = Window {
    kernel: [1, 1],
    stride: [1, 1],
    padding: [0, 0],
};

fn window(conv: &QuantConv2d) -> Window {
    let [_, _, height, width] = conv.weight.dims();
    Window {
        kernel: [height, width],
        stride: conv.stride,
        padding: conv.padding,
    }
}

/// `[rows, columns]` as `[columns, rows]`.
fn transposed<T: Copy>(matrix: &[T], columns: usize) -> Vec<T> {
    let rows = matrix.len() / columns;
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| matrix[row * columns + column]))
        .collect()
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::nn::BatchNormConfig;
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;
    use crate::quant::{Activation, Bits, norm_pool_act};

    /// Numbers in [-1, 1), the same every time.
    fn noise(len: usize, seed: u64) -> Vec<f64> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as f64 / (1u64 << 30) as f64 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// Batch norms that put a sum on the very edge between two codes, a few floats to either side of it: there the
    /// roundings of the float operations decide, and exact arithmetic decides otherwise now and then.
    #[test]
    fn thresholds_between_two_floats_are_those_of_the_network() {
        const CHANNELS: usize = 400;
        let device = Device::flex();
        let mut decided_by_rounding = 0;
        for bits in 1..=4u8 {
            let levels = (1u32 << bits) - 1;
            let largest = 90 * levels as i32;
            let unit = 0.037_f32 / levels as f32;
            let sums: Vec<i32> = (-largest..=largest).collect();
            let random = noise(6 * CHANNELS, bits.into());
            let mut norm = BatchNormConfig::new(CHANNELS).init(&device);
            let mut values: [Vec<f32>; 4] = Default::default();
            for (channel, random) in random.chunks_exact(6).enumerate() {
                let gamma = if channel % 31 == 30 { 0.0 } else { 1.5 * random[0] };
                let (mean, variance) = (0.3 * random[1], 0.6 + 0.5 * random[2]);
                let scale =
                    ((f64::from(variance as f32) + norm.epsilon).sqrt().recip() as f32) * gamma as f32;
                let on_edge = (random[3] * 0.8 * f64::from(largest)) as i32;
                let edge = ((random[4] + 1.0) * 0.5 * f64::from(levels)).floor() + 0.5;
                let edge = (edge / f64::from(levels)) as f32;
                let beta = edge - (on_edge as f32 * unit - mean as f32) * scale;
                let nudged = f32::from_bits((beta.to_bits() as i32 + channel as i32 % 7 - 3) as u32);
                for (values, value) in
                    values
                        .iter_mut()
                        .zip([gamma as f32, nudged, mean as f32, variance as f32])
                {
                    values.push(value);
                }
            }
            let mut parameters = Parameters::of(&norm);
            let paths = ["gamma", "beta", "running_mean", "running_var"];
            for (path, values) in paths.into_iter().zip(values) {
                parameters.insert(path, TensorData::new(values, [CHANNELS]));
            }
            norm = parameters.put_into(norm).unwrap();

            let row: Vec<f32> = sums.iter().map(|&sum| sum as f32 * unit).collect();
            let x = TensorData::new(row.repeat(CHANNELS), [1, CHANNELS, 1, sums.len()]);
            let act = Activation::quantized(Bits::new(bits).unwrap());
            let trained = norm_pool_act(Tensor::<4>::from_data(x, &device), Some(&norm), false, &act);
            let trained = trained.into_data().try_into_vec::<f32>().unwrap();

            let affine = affine(&norm);
            for (channel, trained) in trained.chunks_exact(sums.len()).enumerate() {
                let sign = if affine.scale[channel] < 0.0 { -1 } else { 1 };
                let code = |sum: i32| decide(sign * sum, unit, Some((&affine, channel)), levels);
                let thresholds: Vec<i32> = thresholds(levels, largest, code).collect();
                let mut rounding_decides = false;
                for (&sum, &expected) in sums.iter().zip(trained) {
                    let code = thresholds
                        .iter()
                        .filter(|&&threshold| sign * sum >= threshold)
                        .count();
                    assert!(
                        code as f32 / levels as f32 == expected,
                        "{bits} bits, channel {channel}, sum {sum}: code {code}, expected {expected}"
                    );
                    let [x, mean, scale, shift] = [
                        unit,
                        affine.mean[channel],
                        affine.scale[channel],
                        affine.shift[channel],
                    ]
                    .map(f64::from);
                    let exact = (f64::from(sum) * x - mean) * scale + shift;
                    let exact = (exact.clamp(0.0, 1.0) * f64::from(levels)).round_ties_even();
                    rounding_decides |= exact != code as f64;
                }
                decided_by_rounding += u32::from(rounding_decides);
            }
        }
        assert!(
            decided_by_rounding > 50,
            "only {decided_by_rounding} channels were decided by rounding"
        );
    }
}
