//! Which values of a graph are codes: integers times a unit. It is read off the numbers and operations alone, so it does not
//! matter which quantiser made them.
//!
//! Weights are codes where all of them, or all of each filter, are multiples of one number. A value of the network is codes where
//! it was clamped and rounded, in whatever order and scale; what only moves or scales codes keeps them.

use std::ops::RangeInclusive;
use std::sync::Arc;

#[cfg(feature = "train")]
use super::GraphError;
use super::ir::{Affine, Binary, Constant, Conv, ConvKernel, Function, Op, Reduction};
use super::{Graph, Node};

/// The most codes that a value may have: 16 bits.
const MAX_CODES: usize = 1 << 16;

/// The largest magnitude of a weight's code: 8 bits with odd codes alone, as DoReFa-Net has them.
const MAX_WEIGHT_CODE: u32 = 255;

/// How far a weight may be from a multiple of the unit, in parts of the largest weight: a few roundings of 32-bit floats.
const WEIGHT_TOLERANCE: f64 = 4.0 * f32::EPSILON as f64;

/// How far from one another the steps between values may be, in parts of the largest value.
const VALUE_TOLERANCE: f64 = 8.0 * f32::EPSILON as f64;

/// A value that is one of few, equally far from one another: integers from [`low`](Codes::low) up, and the float that each stands
/// for.
#[derive(Clone, Debug, PartialEq)]
pub struct Codes {
    low: i32,
    /// Rising. That of the smallest integer is the first.
    values: Arc<[f32]>,
}

impl Codes {
    /// Integers from `low` to `high` as they are.
    fn integers(low: f32, high: f32) -> Option<Self> {
        let span = f64::from(high) - f64::from(low);
        if !(0.0..MAX_CODES as f64).contains(&span) || low.abs().max(high.abs()) > MAX_CODES as f32 {
            return None;
        }
        let (low, high) = (low as i32, high as i32);
        Some(Self {
            low,
            values: (low..=high).map(|code| code as f32).collect(),
        })
    }

    /// The smallest integer.
    #[must_use]
    pub fn low(&self) -> i32 {
        self.low
    }

    /// The largest integer.
    #[must_use]
    pub fn high(&self) -> i32 {
        self.low + self.values.len() as i32 - 1
    }

    /// The floats that the integers stand for, from that of [`low`](Self::low) up.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Whether an integer is below zero.
    #[must_use]
    pub fn signed(&self) -> bool {
        self.low < 0
    }

    /// The bits that an integer takes: in two's complement where one is below zero, else without a sign.
    #[must_use]
    pub fn bits(&self) -> u32 {
        let width = |number: i32| i32::BITS - number.leading_zeros();
        if self.signed() {
            1 + width(self.high().max(0)).max(width(-(self.low + 1)))
        } else {
            width(self.high()).max(1)
        }
    }

    /// From the float of one integer to that of the next.
    #[must_use]
    pub fn unit(&self) -> f64 {
        match self.values.len() {
            1 => 0.0,
            count => (f64::from(self.values[count - 1]) - f64::from(self.values[0])) / (count - 1) as f64,
        }
    }

    /// What is added to an integer times the unit.
    #[must_use]
    pub fn offset(&self) -> f64 {
        f64::from(self.values[0]) - f64::from(self.low) * self.unit()
    }

    /// Whether each integer times the unit is its float, but for rounding.
    #[must_use]
    pub fn through_zero(&self) -> bool {
        self.offset().abs() <= VALUE_TOLERANCE * self.largest()
    }

    /// Its bits, with `u` in front of codes without a sign, `s` of those with one.
    pub(crate) fn kind(&self) -> String {
        let sign = if self.signed() { 's' } else { 'u' };
        format!("{sign}{}", self.bits())
    }

    fn largest(&self) -> f64 {
        f64::from(self.values[0].abs().max(self.values[self.values.len() - 1].abs()))
    }

    /// What `function` makes of codes, where that is codes, too: it may scale and move them, turn their order around, and make
    /// the outer ones equal.
    fn map(&self, function: impl Fn(f32) -> f32) -> Option<Self> {
        let mut values: Vec<f32> = self.values.iter().map(|&value| function(value)).collect();
        let mut low = self.low;
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        if values.first() > values.last() {
            values.reverse();
            low = -self.high();
        }
        if !values.is_sorted() {
            return None;
        }
        // The codes at the ends that became equal are the one next to those that differ.
        let (first, last) = (values[0], values[values.len() - 1]);
        let start = values.iter().rposition(|&value| value == first).unwrap_or(0);
        let end = values
            .iter()
            .position(|&value| value == last)
            .unwrap_or(0)
            .max(start);
        let mut codes = Self {
            low: low + start as i32,
            values: values[start..=end].into(),
        };
        if !codes.even() {
            return None;
        }
        // Codes that were moved by whole units count from where zero is now.
        let moved = codes.offset() / codes.unit();
        if codes.values.len() > 1 && !codes.through_zero() && moved.abs() < MAX_CODES as f64 {
            let whole = moved.round();
            if (moved - whole).abs() * codes.unit() <= VALUE_TOLERANCE * codes.largest() {
                codes.low += whole as i32;
            }
        }
        Some(codes)
    }

    /// Whether the steps are equal.
    fn even(&self) -> bool {
        let (unit, tolerance) = (self.unit(), VALUE_TOLERANCE * self.largest());
        let first = f64::from(self.values[0]);
        let expected = (0..self.values.len()).map(|n| first + n as f64 * unit);
        (self.values.len() == 1 || unit > 0.0)
            && expected
                .zip(self.values.iter())
                .all(|(expected, &value)| (f64::from(value) - expected).abs() <= tolerance)
    }

    /// Codes that have the integers of both, where an integer of both stands for one float.
    fn union(&self, other: &Self) -> Option<Self> {
        let (first, second) = if self.low <= other.low {
            (self, other)
        } else {
            (other, self)
        };
        let shift = (second.low - first.low) as usize;
        if shift > first.values.len() {
            return None;
        }
        let shared = first.values.len().min(shift + second.values.len()) - shift;
        let same = first.values[shift..shift + shared] == second.values[..shared];
        let rest = &second.values[shared..];
        let union = Self {
            low: first.low,
            values: first.values.iter().chain(rest).copied().collect(),
        };
        (same && union.values.len() <= MAX_CODES && union.values.is_sorted() && union.even()).then_some(union)
    }
}

/// Weights that are integers times a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightCodes {
    codes: Vec<i16>,
    units: Vec<f32>,
    /// The bits that they were trained with, where that is known.
    trained: Option<u32>,
}

impl Conv {
    /// The weights as integers times a unit, where they are: those that they were trained as, where the layer says so.
    #[must_use]
    pub fn weight_codes(&self) -> Option<WeightCodes> {
        let ConvKernel::Codes { weight_levels, .. } = self.kernel else {
            return WeightCodes::of(&self.weight, 0);
        };
        let values = self.weight.values.iter().copied();
        let unit = grid_of(values.clone(), weight_levels..=weight_levels)?;
        Some(WeightCodes {
            codes: values.map(|value| whole(value, unit)).collect(),
            units: vec![unit],
            trained: Some(weight_levels.ilog2() + 1),
        })
    }
}

impl Node {
    /// The weights of a layer as integers times a unit, where they are.
    pub(crate) fn weight_codes(&self) -> Option<WeightCodes> {
        match &self.op {
            Op::Conv(conv) => conv.weight_codes(),
            Op::ConvTranspose(conv) => WeightCodes::of(&conv.weight, 1),
            Op::Linear(linear) => WeightCodes::of(&linear.weight, 1),
            _ => None,
        }
    }
}

impl WeightCodes {
    /// The integers that `weight` is multiples of, as few as there can be, where `filters` is the dimension that counts filters:
    /// with one unit for all if that is possible, else with one for each filter; and with one for each filter, too, where these are powers
    /// of two apart and integers take fewer bits so. `None` where a unit would have to be smaller
    /// than a 255th of the largest weight.
    ///
    /// A unit is the largest weight divided by its integer.
    #[must_use]
    pub fn of(weight: &Constant, filters: usize) -> Option<Self> {
        // Those of a sketch have no numbers.
        if weight.values.is_empty() {
            return None;
        }
        let of_all = grid(weight.values.iter().copied()).map(|unit| Self {
            codes: weight.values.iter().map(|&value| whole(value, unit)).collect(),
            units: vec![unit],
            trained: None,
        });
        let Some(of_all) = of_all else {
            return Self::of_filters(weight, filters, MAX_WEIGHT_CODE);
        };
        let (low, high) = of_all.range().into_inner();
        let largest = low.unsigned_abs().max(high.unsigned_abs());
        if largest <= 1 {
            return Some(of_all);
        }
        // Of steps that are powers of two apart, one unit is that of all, with larger integers.
        let are_shifts = |found: &Self| {
            let mut shifts = found
                .units
                .iter()
                .map(|unit| f64::from(unit / of_all.units[0]).log2());
            shifts.all(|shift| (shift - shift.round()).abs() < 1e-5)
        };
        // In two's complement, so that the lowest code may be a power of two.
        let of_fewer_bits = Self::of_filters(weight, filters, 1 << (largest - 1).ilog2());
        let of_fewer_bits = of_fewer_bits.filter(|found| found.bits() < of_all.bits() && are_shifts(found));
        Some(of_fewer_bits.unwrap_or(of_all))
    }

    /// With a unit for each filter, and integers up to `most`.
    fn of_filters(weight: &Constant, filters: usize, most: u32) -> Option<Self> {
        let count = *weight.shape.get(filters)?;
        let inner: usize = weight.shape[filters + 1..].iter().product();
        if count * inner == 0 || weight.shape.iter().product::<usize>() != weight.values.len() {
            return None;
        }
        let filter_of = |n: usize| n / inner % count;
        let mut units = Vec::with_capacity(count);
        for filter in 0..count {
            let values = (weight.values.iter().enumerate()).filter(|(n, _)| filter_of(*n) == filter);
            units.push(grid_of(values.map(|(_, &value)| value), 1..=most)?);
        }
        let mut codes = vec![0; weight.values.len()];
        for (n, (code, &value)) in codes.iter_mut().zip(weight.values.iter()).enumerate() {
            *code = whole(value, units[filter_of(n)]);
        }
        Some(Self {
            codes,
            units,
            trained: None,
        })
    }

    /// Whether weights would hardly have them by chance: one weight, or weights that are all the same, are multiples of something in every network.
    pub(crate) fn are_told(&self) -> bool {
        (self.units.len() == 1 || self.codes.len() > self.units.len())
            && self.codes.iter().any(|code| *code != self.codes[0])
    }

    /// The integers, in the order of the weights.
    #[must_use]
    pub fn codes(&self) -> &[i16] {
        &self.codes
    }

    /// The unit of all, or that of each filter.
    #[must_use]
    pub fn units(&self) -> &[f32] {
        &self.units
    }

    /// The smallest and the largest integer.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<i16> {
        let low = self.codes.iter().copied().min().unwrap_or(0);
        low..=self.codes.iter().copied().max().unwrap_or(0)
    }

    /// Whether all integers are odd, as DoReFa-Net's are: those of k bits are the odd ones from `-(2^k - 1)` to `2^k - 1`.
    #[must_use]
    pub fn odd(&self) -> bool {
        self.codes.iter().all(|code| code % 2 != 0)
    }

    /// The bits that an integer takes: those that it was trained with, where they are known; else of odd ones as many as count
    /// them, and of others those of two's complement.
    #[must_use]
    pub fn bits(&self) -> u32 {
        if let Some(trained) = self.trained {
            return trained;
        }
        let (low, high) = self.range().into_inner();
        let width = |number: i16| u16::BITS - number.unsigned_abs().leading_zeros();
        if self.odd() {
            return width(low.unsigned_abs().max(high.unsigned_abs()) as i16).max(1);
        }
        1 + width(high.max(0)).max(width((low + 1).min(0)))
    }
}

/// The largest number that all of `values` are multiples of, by 255 at most. 1 of zeros alone.
fn grid(values: impl Iterator<Item = f32> + Clone) -> Option<f32> {
    grid_of(values, 1..=MAX_WEIGHT_CODE)
}

/// As [`grid`], where the largest of `values` is one of these integers.
fn grid_of(values: impl Iterator<Item = f32> + Clone, mut codes: RangeInclusive<u32>) -> Option<f32> {
    let largest = values
        .clone()
        .fold(0f32, |largest, value| largest.max(value.abs()));
    if largest == 0.0 {
        return Some(1.0);
    }
    let fits = |parts: u32| {
        let unit = f64::from(largest) / f64::from(parts);
        let tolerance = WEIGHT_TOLERANCE * f64::from(largest);
        let near = |value: f32| {
            let value = f64::from(value);
            ((value / unit).round() * unit - value).abs() <= tolerance
        };
        values.clone().all(near).then_some(largest / parts as f32)
    };
    codes.find_map(fits).filter(|unit| *unit >= f32::MIN_POSITIVE)
}

fn whole(value: f32, unit: f32) -> i16 {
    (f64::from(value) / f64::from(unit)).round() as i16
}

/// The most bits of codes that layers read where a network runs on codes: packed, and on arrays.
#[cfg(feature = "train")]
const MAX_BITS: u32 = 8;

/// What is known of a value.
#[derive(Clone)]
struct Known {
    low: f32,
    high: f32,
    /// Whether it is whole numbers, however many.
    whole: bool,
    codes: Option<Codes>,
}

impl Known {
    fn between(low: f32, high: f32) -> Self {
        Self {
            low,
            high,
            whole: false,
            codes: None,
        }
    }

    /// Whole numbers, which are codes where there are few.
    fn whole(low: f32, high: f32) -> Self {
        Self {
            whole: true,
            codes: Codes::integers(low, high),
            ..Self::between(low, high)
        }
    }
}

const ANYTHING: Known = Known {
    low: f32::NEG_INFINITY,
    high: f32::INFINITY,
    whole: false,
    codes: None,
};

impl Graph {
    /// For each node the codes that its result is, where it is codes.
    #[must_use]
    pub fn codes(&self) -> Vec<Option<Codes>> {
        let mut known: Vec<Known> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let inputs: Vec<&Known> = node.inputs.iter().map(|input| &known[input.0]).collect();
            let before = node
                .inputs
                .first()
                .map_or(&[][..], |input| &self.nodes[input.0].shape);
            let next = of(node, &inputs, before);
            known.push(next);
        }
        known.into_iter().map(|known| known.codes).collect()
    }

    /// Refuses a layer that reads finer codes than any that networks run on: it would be computed in full precision, and a
    /// network that its user takes for quantised would be none.
    #[cfg(feature = "train")]
    pub(crate) fn check_bits(&self, codes: &[Option<Codes>]) -> Result<(), GraphError> {
        for (id, node) in self.iter() {
            if !matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Linear(_)) {
                continue;
            }
            let count = codes[node.inputs[0].0]
                .as_ref()
                .map_or(0, |codes| codes.values.len());
            if count > 1 << MAX_BITS {
                let bits = (count - 1).ilog2() + 1;
                return Err(GraphError::node(
                    &node.name,
                    format!(
                        "{} of codes of {bits} bits: expected an input that was rounded to 1 to {MAX_BITS} bits, or was not rounded",
                        self.describe(id)
                    ),
                ));
            }
        }
        Ok(())
    }
}

/// What is known of a node's result. `before` is the shape of the first value that it reads.
fn of(node: &Node, inputs: &[&Known], before: &[usize]) -> Known {
    let between = Known::between;
    match &node.op {
        Op::Constant(constant) => bounds(constant),
        Op::Affine(affine) => of_affine(affine, inputs[0]),
        &Op::Function(function) => of_function(function, inputs[0]),
        Op::MaxPool(_)
        | Op::Slice { .. }
        | Op::Reshape { .. }
        | Op::Permute { .. }
        | Op::Expand { .. }
        | Op::Upsample { .. }
        | Op::Reduce {
            kind: Reduction::Max, ..
        } => inputs[0].clone(),
        Op::AvgPool { pool, count_padding } => {
            let zero = if *count_padding { 0.0 } else { inputs[0].low };
            let known = between(inputs[0].low.min(zero), inputs[0].high.max(zero));
            mean(&known, pool.kernel[0] * pool.kernel[1])
        }
        // Of as many as there are, at the most.
        Op::AdaptiveAvgPool { .. } => mean(inputs[0], before[1..].iter().product()),
        Op::Reduce {
            kind: Reduction::Mean,
            axes,
        } => mean(inputs[0], axes.iter().map(|&axis| before[axis]).product()),
        Op::Binary(op) => {
            let (low, high) = corners(inputs[0], inputs[1], *op);
            between(low, high)
        }
        Op::Concat { .. } => {
            let mut all = inputs[0].clone();
            for input in &inputs[1..] {
                let codes = all.codes.take().zip(input.codes.as_ref());
                all = between(all.low.min(input.low), all.high.max(input.high));
                all.codes = codes.and_then(|(a, b)| a.union(b));
            }
            all
        }
        &Op::Pad { value, .. } => {
            let mut padded = between(inputs[0].low.min(value), inputs[0].high.max(value));
            padded.codes = inputs[0]
                .codes
                .clone()
                .filter(|codes| codes.values.contains(&value));
            padded
        }
        Op::Softmax { log: false, .. } => between(0.0, 1.0),
        _ => ANYTHING,
    }
}

/// The mean of so many numbers: between their ends, but for the roundings of the sum.
fn mean(x: &Known, count: usize) -> Known {
    let rounding = count as f32 * f32::EPSILON * x.low.abs().max(x.high.abs());
    Known::between(x.low - rounding, x.high + rounding)
}

fn bounds(constant: &Constant) -> Known {
    let values = || constant.values.iter().copied();
    Known::between(
        values().fold(f32::INFINITY, f32::min),
        values().fold(f32::NEG_INFINITY, f32::max),
    )
}

/// The ends of what `op` makes of two intervals. Everything where it is not known.
fn corners(a: &Known, b: &Known, op: Binary) -> (f32, f32) {
    let everything = (f32::NEG_INFINITY, f32::INFINITY);
    // A quotient neither rises nor falls where the divisor goes through zero.
    if op == Binary::Div && b.low <= 0.0 && b.high >= 0.0 {
        return everything;
    }
    let all = [(a.low, b.low), (a.low, b.high), (a.high, b.low), (a.high, b.high)];
    let all = all.map(|(a, b)| op.of(a, b));
    if all.iter().any(|end| end.is_nan()) {
        return everything;
    }
    let end = |fold: fn(f32, f32) -> f32| all[1..].iter().copied().fold(all[0], fold);
    (end(f32::min), end(f32::max))
}

fn of_affine(affine: &Affine, x: &Known) -> Known {
    let mut known = Known::between(x.low, x.high);
    for (part, op) in affine.steps() {
        (known.low, known.high) = corners(&known, &bounds(part), op);
    }
    let scalars: Option<Vec<(f32, Binary)>> = (affine.steps())
        .map(|(part, op)| Some((part.as_scalar()?, op)))
        .collect();
    // Whole numbers that are moved by whole ones.
    let moves = |&(part, op): &(f32, Binary)| matches!(op, Binary::Sub | Binary::Add) && part.fract() == 0.0;
    known.whole = x.whole && scalars.as_ref().is_some_and(|scalars| scalars.iter().all(moves));
    known.codes =
        x.codes.as_ref().zip(scalars).and_then(|(codes, scalars)| {
            codes.map(|x| scalars.iter().fold(x, |x, &(part, op)| op.of(x, part)))
        });
    known
}

fn of_function(function: Function, x: &Known) -> Known {
    let between = Known::between;
    let of = |x: f32| function.of(x).unwrap_or(f32::NAN);
    // What becomes of codes, where it is codes, too.
    let codes = || x.codes.as_ref().and_then(|codes| codes.map(of));
    // Of functions that nowhere fall the ends are those of the interval.
    let (low, high) = (of(x.low), of(x.high));
    let rising = |whole: bool| match &x.codes {
        None if whole => Known::whole(low, high),
        _ => Known {
            codes: codes(),
            ..between(low, high)
        },
    };
    match function {
        Function::Relu => rising(x.whole),
        Function::Clamp { min, max } => {
            let whole = |end: f32| end.is_infinite() || end.fract() == 0.0;
            rising(x.whole && whole(min) && whole(max))
        }
        Function::LeakyRelu { slope } if slope >= 0.0 => rising(false),
        Function::Round | Function::Floor | Function::Sign => Known::whole(low, high),
        Function::Neg => Known {
            low: high,
            high: low,
            whole: x.whole,
            codes: codes(),
        },
        Function::Abs => {
            let least = if x.low <= 0.0 && x.high >= 0.0 {
                0.0
            } else {
                low.min(high)
            };
            Known {
                codes: codes(),
                ..between(least, low.max(high))
            }
        }
        Function::Sigmoid | Function::HardSigmoid { .. } => between(0.0, 1.0),
        Function::Tanh => between(-1.0, 1.0),
        Function::Exp | Function::Sqrt => between(0.0, f32::INFINITY),
        _ => ANYTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::NodeSpec;

    fn last_codes(nodes: Vec<NodeSpec>) -> Option<Codes> {
        let name = nodes[nodes.len() - 1].name.clone();
        let graph = Graph::new(nodes, [name]).unwrap();
        graph.codes().pop().unwrap()
    }

    fn chain(ops: Vec<Op>) -> Vec<NodeSpec> {
        let mut nodes = vec![NodeSpec::input("0", [2, 4, 4])];
        for (n, op) in ops.into_iter().enumerate() {
            nodes.push(NodeSpec::new((n + 1).to_string(), op, [n.to_string()]));
        }
        nodes
    }

    fn by(factor: f32) -> Op {
        let factor = Some(Constant::scalar(factor));
        Affine {
            factor,
            ..Affine::default()
        }
        .into()
    }

    fn over(divisor: f32) -> Op {
        let divisor = Some(Constant::scalar(divisor));
        Affine {
            divisor,
            ..Affine::default()
        }
        .into()
    }

    fn clamp(min: f32, max: f32) -> Op {
        Function::Clamp { min, max }.into()
    }

    fn round() -> Op {
        Function::Round.into()
    }

    #[test]
    fn what_is_clamped_and_rounded_is_codes() {
        let dorefa = last_codes(chain(vec![clamp(0.0, 1.0), by(3.0), round(), over(3.0)])).unwrap();
        assert_eq!((dorefa.low(), dorefa.high(), dorefa.bits()), (0, 3, 2));
        assert_eq!(dorefa.values(), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
        assert!(dorefa.through_zero() && !dorefa.signed());

        let one_bit = last_codes(chain(vec![clamp(0.0, 1.0), round()])).unwrap();
        assert_eq!((one_bit.bits(), one_bit.values()), (1, &[0.0, 1.0][..]));

        // LSQ with a learned step, signed, and rounded in front of the clamp.
        for ops in [
            vec![over(0.37), clamp(-8.0, 7.0), round(), by(0.37)],
            vec![over(0.37), round(), clamp(-8.0, 7.0), by(0.37)],
        ] {
            let lsq = last_codes(chain(ops)).unwrap();
            assert_eq!(
                (lsq.low(), lsq.high(), lsq.bits(), lsq.signed()),
                (-8, 7, 4, true)
            );
            assert!((lsq.unit() - f64::from(0.37f32)).abs() < 1e-6);
        }
    }

    #[test]
    fn codes_stay_codes_where_they_are_moved_and_cut() {
        let signed = || vec![clamp(-2.0, 1.0), round()];
        let relu = last_codes(chain([signed(), vec![Function::Relu.into()]].concat())).unwrap();
        assert_eq!((relu.low(), relu.high()), (0, 1));
        let neg = last_codes(chain([signed(), vec![Function::Neg.into()]].concat())).unwrap();
        assert_eq!(
            (neg.low(), neg.high(), neg.values()),
            (-1, 2, &[-1.0, 0.0, 1.0, 2.0][..])
        );
        let plus = Some(Constant::scalar(2.0));
        let up = Affine {
            plus,
            ..Affine::default()
        };
        let moved = last_codes(chain([signed(), vec![up.into()]].concat())).unwrap();
        assert_eq!((moved.low(), moved.high()), (0, 3));
        let pool = Op::MaxPool(super::super::Pool::square(2));
        assert!(last_codes(chain([signed(), vec![pool]].concat())).is_some());
        // A function that bends them, a scale for each channel, and what was never bounded.
        assert!(last_codes(chain([signed(), vec![Function::Sigmoid.into()]].concat())).is_none());
        let factor = Some(Constant::new([2, 1, 1], [1.0, 2.0]));
        let each = Affine {
            factor,
            ..Affine::default()
        };
        assert!(last_codes(chain([signed(), vec![each.into()]].concat())).is_none());
        assert!(last_codes(chain(vec![round()])).is_none());
    }

    #[test]
    fn filters_have_units_where_that_takes_fewer_bits() {
        // Of steps that are powers of two, one unit is that of all, with larger integers.
        let codes = [-8.0, 7.0, 3.0, -8.0, 7.0, 3.0];
        let weight = |steps: [f32; 2]| {
            let values = codes.iter().enumerate().map(|(n, code)| code * steps[n / 3]);
            Constant::new([2, 3], values.collect::<Vec<f32>>())
        };
        let found = WeightCodes::of(&weight([0.25, 2.0]), 0).unwrap();
        assert_eq!((found.units(), found.range()), (&[0.25, 2.0][..], -8..=7));
        // A power of two apart, the lowest code is one of the integers of as many bits.
        let found = WeightCodes::of(&weight([0.25, 0.5]), 0).unwrap();
        assert_eq!((found.units(), found.range()), (&[0.25, 0.5][..], -8..=7));
        let found = WeightCodes::of(&weight([0.25, 0.25]), 0).unwrap();
        assert_eq!((found.units(), found.range()), (&[0.25][..], -8..=7));
    }

    #[test]
    fn weights_on_a_grid_are_integers_and_a_unit() {
        for bits in 1..=8u32 {
            let levels = (1u32 << bits) - 1;
            let values: Vec<f32> = (0..=levels)
                .map(|code| (code as f32 / levels as f32 * 2.0 - 1.0) * 0.123)
                .collect();
            let weight = Constant::new([values.len(), 1], values.clone());
            let found = WeightCodes::of(&weight, 0).unwrap();
            assert!(found.odd());
            assert_eq!(
                (found.bits(), found.units()),
                (bits, &[0.123 / levels as f32][..])
            );
            assert_eq!(found.range(), -(levels as i16)..=levels as i16);
        }
        // One scale a filter, in two's complement.
        let values: Vec<f32> = [0.5f32, 0.011]
            .iter()
            .flat_map(|unit| [-4, 3, 1, 2].map(|code| code as f32 * unit))
            .collect();
        let found = WeightCodes::of(&Constant::new([2, 4], values.clone()), 0).unwrap();
        assert_eq!(found.codes(), [-4, 3, 1, 2, -4, 3, 1, 2]);
        assert_eq!((found.bits(), found.units()), (3, &[0.5, 0.011][..]));
        let columns: Vec<f32> = (0..4).flat_map(|n| [values[n], values[n + 4]]).collect();
        let found = WeightCodes::of(&Constant::new([4, 2], columns), 1).unwrap();
        assert_eq!(
            (found.codes(), found.units().len()),
            (&[-4, -4, 3, 3, 1, 1, 2, 2][..], 2)
        );

        let floats: Vec<f32> = (0..64).map(|n| (n as f32 * 0.7).sin()).collect();
        assert!(WeightCodes::of(&Constant::new([4, 16], floats), 0).is_none());
        assert_eq!(
            WeightCodes::of(&Constant::new([2, 1], [0.0, 0.0]), 0)
                .unwrap()
                .codes(),
            [0, 0]
        );
    }
}
