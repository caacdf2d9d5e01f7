//! The general steps laid out for the machine, and computing rows of what they result in.

use std::ops::Range;

use super::conv::{Conv, IntegerConv, run_conv, run_integers};
use super::numbers::{
    Copied, Each, Paired, Pool, Split, copy, encode, map_numbers, pair, reduce, run_pool, softmax,
    spread_pool,
};
use crate::graph::Reduction;
use crate::packed::buffers::Value;
use crate::packed::machine::Machine;
use crate::packed::spec::ValueId;

/// A general step.
#[derive(Debug)]
pub(in crate::packed) enum Kernel {
    Picture,
    Constant(Vec<f32>),
    Conv(Conv),
    Integers(IntegerConv),
    Encode { unit: f32, low: i16, high: i16 },
    Map(Vec<Each>),
    Pool(Pool),
    Adaptive,
    Reduce { kind: Reduction, split: Split },
    Softmax { split: Split, log: bool },
    Binary(Paired),
    Copy(Copied),
}

impl Kernel {
    /// Bytes that are kept beside those of the file.
    pub fn laid_out(&self) -> usize {
        match self {
            Self::Constant(values) => 4 * values.len(),
            Self::Conv(conv) => 4 * (conv.weights.len() + conv.bias.as_ref().map_or(0, Vec::len)),
            Self::Integers(conv) => {
                2 * conv.weights.len() + 4 * (conv.units.len() + conv.bias.as_ref().map_or(0, Vec::len))
            }
            Self::Map(with) => with.iter().map(|each| 4 * each.len()).sum(),
            _ => 0,
        }
    }

    /// Numbers of the sums that a thread keeps while it computes rows.
    pub fn sums(&self) -> usize {
        match self {
            Self::Integers(conv) => conv.outputs,
            _ => 0,
        }
    }

    /// Products that a picture takes: of floats, and of integers.
    pub fn multiplications(&self) -> [usize; 2] {
        let positions = |[height, width, _]: [usize; 3]| height * width;
        match self {
            Self::Conv(conv) if conv.transposed => [positions(conv.input) * conv.weights.len(), 0],
            Self::Conv(conv) => [positions(conv.output) * conv.weights.len(), 0],
            Self::Integers(conv) => [0, positions(conv.output) * conv.weights.len()],
            _ => [0; 2],
        }
    }

    /// Products, or about as much work, for each position of the result; 0 of what threads do not share.
    pub fn work(&self) -> usize {
        match self {
            Self::Conv(conv) => conv.weights.len(),
            Self::Integers(conv) => conv.weights.len(),
            Self::Map(with) => with.iter().map(Each::len).sum(),
            Self::Pool(pool) => pool.window.kernel[0] * pool.window.kernel[1] * pool.channels,
            _ => 0,
        }
    }
}

/// What there is to read.
#[derive(Clone, Copy)]
pub(in crate::packed) struct Inputs<'a> {
    pub values: &'a [Value],
    pub floats: &'a [Vec<f32>],
    pub integers: &'a [Vec<i16>],
}

impl<'a> Inputs<'a> {
    /// The numbers of a value of floats.
    pub fn floats(self, id: ValueId) -> &'a [f32] {
        let value = self.values[id];
        &self.floats[value.buffer][..value.len()]
    }

    /// The numbers of a value of integers.
    fn integers(self, id: ValueId) -> &'a [i16] {
        let value = self.values[id];
        &self.integers[value.buffer][..value.len()]
    }
}

/// Where the rows go.
pub(in crate::packed) enum Output<'a> {
    Floats(&'a mut [f32]),
    Integers(&'a mut [i16]),
}

/// Computes `rows` of what a step results in. Of steps that have no [work](Kernel::work) these are all.
pub(in crate::packed) fn run(
    machine: Machine,
    kernel: &Kernel,
    input: ValueId,
    inputs: Inputs<'_>,
    rows: Range<usize>,
    out: Output<'_>,
    sums: &mut Vec<i32>,
) {
    let out = match (kernel, out) {
        (&Kernel::Encode { unit, low, high }, Output::Integers(out)) => {
            encode(machine, unit, [low, high], inputs.floats(input), out);
            return;
        }
        (_, Output::Floats(out)) => out,
        _ => unreachable!("the output is of the kind that the step ends with"),
    };
    match kernel {
        Kernel::Constant(values) => out.copy_from_slice(values),
        Kernel::Conv(conv) => run_conv(machine, conv, rows, inputs.floats(input), out),
        Kernel::Integers(conv) => run_integers(machine, conv, rows, inputs.integers(input), out, sums),
        Kernel::Map(with) => {
            let line = out.len() / rows.len();
            out.copy_from_slice(&inputs.floats(input)[rows.start * line..][..out.len()]);
            map_numbers(machine, with, inputs.values[input].channels, out);
        }
        Kernel::Pool(pool) => run_pool(machine, pool, rows, inputs.floats(input), out),
        Kernel::Adaptive => {
            let value = inputs.values[input];
            spread_pool(inputs.floats(input), value.size, value.channels, rows, out);
        }
        Kernel::Reduce { kind, split } => reduce(*kind, *split, inputs.floats(input), out),
        Kernel::Softmax { split, log } => softmax(*split, *log, inputs.floats(input), out),
        Kernel::Binary(paired) => pair(paired, [input, paired.other].map(|id| inputs.floats(id)), out),
        Kernel::Copy(copied) => copy(copied, |id| inputs.floats(id), out),
        Kernel::Picture | Kernel::Encode { .. } => unreachable!("computed elsewhere"),
    }
}
