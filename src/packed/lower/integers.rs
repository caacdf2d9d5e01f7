//! Layers of codes that bit planes do not cover: of more bits, with a sign, of other weights, with groups and gaps. Their products are
//! summed as integers.

use super::Lowering;
use super::fused::Layer;
use crate::graph::{Codes, ConvKernel, NodeId, Op, WeightCodes};
use crate::packed::check::MAX_SUM;
use crate::packed::general::MAX_INTEGER;
use crate::packed::spec::{Op as Packed, ValueId};
use crate::packed::tensor::Tensor;

impl<'a> Lowering<'a> {
    /// Adds a layer whose weights and inputs are integers. Returns whether they are.
    pub(super) fn integer_layer(&mut self, layer: &Layer<'a>) -> bool {
        let (Some(codes), Some(weights)) = (self.integers(layer.x), &self.weights[layer.id.index()]) else {
            return false;
        };
        let Some((bytes, low, step)) = bytes(layer, weights) else {
            return false;
        };
        let largest = weights.codes().iter().map(|code| code.unsigned_abs()).max();
        let most = codes.low().unsigned_abs().max(codes.high().unsigned_abs());
        if layer.filter() * usize::from(largest.unwrap_or(0)) * most as usize > MAX_SUM {
            return false;
        }
        let units = units(layer, weights, codes);
        let bits = [weights.bits(), codes.bits()];
        self.bits.push(bits);
        let x = self.encoded(layer.x, layer.node.name());
        let weight = self.store(Tensor::Bytes(bytes));
        let units = self.store(Tensor::F32(units));
        let bias = layer
            .bias
            .map(|bias| self.store(Tensor::F32(bias.values().to_vec())));
        let op = Packed::Integers {
            geometry: layer.geometry,
            weight,
            low,
            step,
            units,
            bias,
        };
        self.push(layer.node.name(), x, op, layer.size());
        self.computed(layer.id);
        true
    }

    /// The codes of a node that integers can stand for: within 8 bits, each a multiple of one unit.
    pub(super) fn integers(&self, id: NodeId) -> Option<&Codes> {
        let codes = self.codes[id.index()].as_ref()?;
        let (low, high, unit) = (codes.low(), codes.high(), codes.unit() as f32);
        let small = codes.bits() <= 8 && low >= -MAX_INTEGER && high <= MAX_INTEGER;
        let back = |(code, value): (i32, &f32)| (value / unit).round_ties_even() == code as f32;
        let given_back = small && unit.is_normal() && (low..=high).zip(codes.values()).all(back);
        (given_back && codes.through_zero()).then_some(codes)
    }

    /// A node as integers.
    fn encoded(&mut self, id: NodeId, reader: &str) -> ValueId {
        if let Some(integers) = self.known(id).integers {
            return integers;
        }
        let floats = self.laid_out(id, reader);
        let codes = self.integers(id).expect("they are integers");
        let (low, high, unit) = (codes.low(), codes.high(), codes.unit() as f32);
        let unit = self.store(Tensor::F32(vec![unit]));
        let name = format!("{}.integers", self.graph.node(id).name());
        let integers = self.push(
            &name,
            floats,
            Packed::Encode { unit, low, high },
            self.sizes[floats],
        );
        self.known(id).integers = Some(integers);
        integers
    }
}

/// Weights as bytes, and the smallest of them and the step from one byte to the next.
fn bytes(layer: &Layer<'_>, weights: &WeightCodes) -> Option<(Vec<u8>, i32, i32)> {
    let (low, high) = weights.range().into_inner();
    let (low, high) = (i32::from(low), i32::from(high));
    let step = if weights.odd() { 2 } else { 1 };
    if (high - low) / step > MAX_INTEGER || low < -MAX_INTEGER || high > MAX_INTEGER {
        return None;
    }
    let byte = |code: &i16| ((i32::from(*code) - low) / step) as u8;
    let bytes: Vec<u8> = weights.codes().iter().map(byte).collect();
    // Of a linear layer the outputs are the last dimension.
    let bytes = if layer.linear {
        super::transposed(&bytes, layer.outputs)
    } else {
        bytes
    };
    Some((bytes, low, step))
}

/// What a one of the sums is worth, rounded as the training-time kernels do: a quotient where activations are steps of the unit interval, and a
/// product where they have a step of their own.
fn units(layer: &Layer<'_>, weights: &WeightCodes, codes: &Codes) -> Vec<f32> {
    let kernel = match layer.node.op() {
        Op::Conv(conv) => conv.kernel,
        _ => ConvKernel::Burn,
    };
    let levels = match kernel {
        ConvKernel::Codes { input_levels, .. } => Some(f64::from(input_levels)),
        _ => None,
    };
    let unit = |&unit: &f32| match levels {
        Some(levels) if (codes.unit() * levels - 1.0).abs() < 1e-5 => unit / levels as f32,
        _ => (f64::from(unit) * codes.unit()) as f32,
    };
    weights.units().iter().map(unit).collect()
}
