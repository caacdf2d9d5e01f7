//! Whether a general step can be computed, and laying it out: what a file says is believed no sooner.

use super::conv::{Conv, IntegerConv, Shape};
use super::functions::function;
use super::kernel::Kernel;
use super::numbers::{Copied, CopiedPart, Each, Paired, Pool, Split};
use crate::graph::{extent, places, pool_shape};
use crate::packed::buffers::{Kind, Value};
use crate::packed::check::{Build, MAX_BYTES, MAX_SIDE, MAX_SUM, check_channels};
use crate::packed::spec::{self, Geometry, Op, Part, Step, Strides, TensorId, ValueId};
use crate::packed::tensor::Tensor;

/// The most dimensions that numbers are taken as: those of a graph, each in two parts.
const MAX_DIMS: usize = 12;

/// The largest integer that is multiplied.
pub(in crate::packed) const MAX_INTEGER: i32 = 255;

/// A step that may be computed, and the size, channels and kind of what it results in.
pub(in crate::packed) struct Checked {
    pub kernel: Kernel,
    pub size: [usize; 2],
    pub channels: usize,
    pub kind: Kind,
}

impl Build<'_> {
    /// Checks a general step and lays it out.
    pub fn general(&self, step: &Step) -> Result<Checked, String> {
        let floats = |kernel, size, channels| {
            Ok(Checked {
                kernel,
                size,
                channels,
                kind: Kind::Floats,
            })
        };
        let input = || self.map(step.input);
        match &step.op {
            Op::Picture => {
                let picture = self.value(step.input)?;
                if step.input != 0 {
                    return Err("it reads something other than the picture".into());
                }
                floats(Kernel::Picture, picture.size, picture.channels)
            }
            Op::Constant {
                size,
                channels,
                values,
            } => {
                let values = self.floats(*values, count(*size, *channels)?)?.to_vec();
                floats(Kernel::Constant(values), *size, *channels)
            }
            Op::Conv {
                geometry,
                weight,
                bias,
            } => {
                let conv = self.conv(input()?, geometry, *weight, *bias)?;
                let [height, width, outputs] = conv.output;
                floats(Kernel::Conv(conv), [height, width], outputs)
            }
            Op::ConvTranspose {
                geometry,
                weight,
                bias,
                more,
            } => {
                let conv = self.conv_transpose(input()?, geometry, *weight, *bias, *more)?;
                let [height, width, outputs] = conv.output;
                floats(Kernel::Conv(conv), [height, width], outputs)
            }
            &Op::Encode { unit, low, high } => {
                let input = input()?;
                let unit = self.floats(unit, 1)?[0];
                if !unit.is_normal() || unit < 0.0 {
                    return Err(format!(
                        "it counts in units of {unit:e}, expected a number above 0"
                    ));
                }
                if low > high || low < -MAX_INTEGER || high > MAX_INTEGER {
                    return Err(format!(
                        "it makes integers from {low} to {high}, expected some from {} to {MAX_INTEGER}",
                        -MAX_INTEGER
                    ));
                }
                let [low, high] = [low, high].map(|end| end as i16);
                Ok(Checked {
                    kernel: Kernel::Encode { unit, low, high },
                    size: input.size,
                    channels: input.channels,
                    kind: Kind::Integers { low, high },
                })
            }
            Op::Integers { .. } => {
                let conv = self.integers(self.value(step.input)?, &step.op)?;
                let [height, width, outputs] = conv.output;
                floats(Kernel::Integers(conv), [height, width], outputs)
            }
            Op::Map { with } => {
                let input = input()?;
                let with = with.iter().map(|each| self.each(each, input.channels));
                floats(
                    Kernel::Map(with.collect::<Result<_, _>>()?),
                    input.size,
                    input.channels,
                )
            }
            Op::Pool { window, mean } => {
                let input = input()?;
                let shape = [input.channels, input.size[0], input.size[1]];
                let sides = [window.kernel, window.stride, window.padding, window.dilation];
                let ends = |side: &usize| *side > MAX_SIDE;
                if sides.as_flattened().iter().any(ends) || window.kernel.contains(&0) {
                    return Err(format!(
                        "its windows are {window:?}, expected sides from 1 to {MAX_SIDE}"
                    ));
                }
                if mean.is_some() && window.dilation != [1, 1] {
                    return Err("it takes means of windows with gaps".into());
                }
                let shape = pool_shape(window, &shape).map_err(|reason| format!("it {reason}"))?;
                let size = [shape[1], shape[2]];
                count(size, input.channels)?;
                let pool = Pool {
                    window: *window,
                    mean: mean.map(|mean| mean.count_padding),
                    input: input.size,
                    channels: input.channels,
                    across: size[1],
                };
                floats(Kernel::Pool(pool), size, input.channels)
            }
            Op::Adaptive { output } => {
                let input = input()?;
                count(*output, input.channels)?;
                floats(Kernel::Adaptive, *output, input.channels)
            }
            &Op::Reduce {
                kind,
                split,
                size,
                channels,
            } => {
                self.split(split, input()?)?;
                let [outer, _, inner] = split;
                if count(size, channels)? != outer * inner {
                    return Err(format!(
                        "it makes {size:?} positions of {channels} channels of {split:?}"
                    ));
                }
                floats(Kernel::Reduce { kind, split }, size, channels)
            }
            &Op::Softmax { split, log } => {
                let input = input()?;
                self.split(split, input)?;
                floats(Kernel::Softmax { split, log }, input.size, input.channels)
            }
            Op::Binary {
                with,
                other,
                size,
                channels,
                sizes,
                from,
            } => {
                let values = [input()?, self.map(*other)?];
                let numbers = count(*size, *channels)?;
                let [a, b] = [0, 1].map(|n| reach(sizes, &from[n], values[n].len()));
                let (a, b) = (a?, b?);
                if (a, b) != (numbers, numbers) {
                    return Err(format!("it computes {a} numbers, expected {numbers}"));
                }
                let paired = Paired {
                    op: *with,
                    other: *other,
                    dims: merged(sizes, &from[0].steps, &from[1].steps),
                    start: [from[0].start, from[1].start],
                };
                // What is merged is computed in the order of the result.
                floats(Kernel::Binary(paired), *size, *channels)
            }
            Op::Copy {
                size,
                channels,
                fill,
                parts,
            } => floats(
                Kernel::Copy(self.copied(count(*size, *channels)?, *fill, parts)?),
                *size,
                *channels,
            ),
            Op::Float { .. } | Op::Packed { .. } | Op::Quantize { .. } | Op::Unpack | Op::Mean { .. } => {
                unreachable!("a fused step")
            }
        }
    }

    /// A value of floats that is not the picture in its frame.
    fn map(&self, id: ValueId) -> Result<Value, String> {
        let value = self.value(id)?;
        if id == 0 || value.kind != Kind::Floats {
            return Err(format!("it reads value {id}, which is no map of floats"));
        }
        Ok(value)
    }

    fn each(&self, each: &spec::Each, channels: usize) -> Result<Each, String> {
        match each {
            spec::Each::With { op, numbers } => match *self.numbers(*numbers)? {
                [number] => Ok(Each::Number(*op, number)),
                ref all if all.len() == channels => Ok(Each::Channels(*op, all.to_vec())),
                ref all => Err(format!(
                    "tensor {numbers} has {} numbers, expected one, or {channels}",
                    all.len()
                )),
            },
            spec::Each::Function { name, numbers } => {
                let numbers = match numbers.map(|id| (id, self.spec.tensors.get(id))) {
                    None => &[][..],
                    Some((_, Some(Tensor::F32(numbers)))) => numbers,
                    Some((id, _)) => return Err(format!("tensor {id} is none of floats")),
                };
                let known = function(name, numbers).filter(|_| numbers.iter().all(|x| !x.is_nan()));
                known.map(Each::Function).ok_or_else(|| {
                    let begin: String = name.chars().take(40).collect();
                    format!("it computes {begin:?} with {numbers:?}, which is no function that is known")
                })
            }
        }
    }

    fn split(&self, split: Split, input: Value) -> Result<(), String> {
        let numbers = split.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        if numbers == Some(input.len()) {
            return Ok(());
        }
        Err(format!("it takes {} numbers as {split:?}", input.len()))
    }

    fn conv(
        &self,
        input: Value,
        geometry: &Geometry,
        weight: TensorId,
        bias: Option<TensorId>,
    ) -> Result<Conv, String> {
        let weight = self.numbers(weight)?;
        let (inputs, taps) = check_geometry(geometry, input)?;
        let outputs = outputs_of(weight.len(), inputs * taps, geometry.groups)?;
        let weights = side_by_side(weight, outputs, [inputs, taps], |output, from, tap| {
            (output * inputs + from) * taps + tap
        });
        Ok(Conv {
            geometry: *geometry,
            transposed: false,
            input: shape(input),
            output: conv_shape(geometry, input, outputs)?,
            weights,
            bias: self.bias(bias, outputs)?,
        })
    }

    fn conv_transpose(
        &self,
        input: Value,
        geometry: &Geometry,
        weight: TensorId,
        bias: Option<TensorId>,
        more: [usize; 2],
    ) -> Result<Conv, String> {
        let weight = self.numbers(weight)?;
        let (inputs, taps) = check_geometry(geometry, input)?;
        let of_group = weight.len() / (input.channels * taps);
        let outputs = of_group * geometry.groups;
        if of_group == 0 || weight.len() != of_group * input.channels * taps {
            return Err(format!(
                "its weights are {} floats, expected some for each input",
                weight.len()
            ));
        }
        check_channels(outputs)?;
        let size = |d: usize| {
            let whole = (input.size[d] - 1).checked_mul(geometry.stride[d])?;
            let whole = whole.checked_add(extent(geometry.kernel[d], geometry.dilation[d])?)?;
            let whole = whole.checked_add(more[d])?;
            whole.checked_sub(geometry.padding[2 * d] + geometry.padding[2 * d + 1])
        };
        let (Some(height), Some(width)) = (size(0), size(1)) else {
            return Err(format!("it spreads {:?} places to none", input.size));
        };
        count([height, width], outputs)?;
        let weights = side_by_side(weight, outputs, [inputs, taps], |output, from, tap| {
            let (group, n) = (output / of_group, output % of_group);
            ((group * inputs + from) * of_group + n) * taps + tap
        });
        Ok(Conv {
            geometry: *geometry,
            transposed: true,
            input: shape(input),
            output: [height, width, outputs],
            weights,
            bias: self.bias(bias, outputs)?,
        })
    }

    fn integers(&self, input: Value, op: &Op) -> Result<IntegerConv, String> {
        let (
            &Op::Integers {
                ref geometry,
                weight,
                low,
                step,
                units,
                bias,
            },
            Kind::Integers {
                low: least,
                high: most,
            },
        ) = (op, input.kind)
        else {
            return Err("it reads no integers".into());
        };
        let Some(Tensor::Bytes(bytes)) = self.spec.tensors.get(weight) else {
            return Err(format!("tensor {weight} is none of bytes"));
        };
        let (inputs, taps) = check_geometry(geometry, input)?;
        let outputs = outputs_of(bytes.len(), inputs * taps, geometry.groups)?;
        if !(-MAX_INTEGER..=MAX_INTEGER).contains(&low) || !(1..=2).contains(&step) {
            return Err(format!(
                "its weights are {low} and {step} times a byte, expected at least {} and 1 or 2 times",
                -MAX_INTEGER
            ));
        }
        let weight_of = |byte: u8| low + step * i32::from(byte);
        let largest_byte = bytes.iter().copied().max().unwrap_or(0);
        if weight_of(largest_byte) > MAX_INTEGER {
            return Err(format!(
                "its largest weight is {}, expected {MAX_INTEGER} at most",
                weight_of(largest_byte)
            ));
        }
        let largest_weight = low.abs().max(weight_of(largest_byte).abs()) as usize;
        let largest = least.unsigned_abs().max(most.unsigned_abs()) as usize;
        if inputs * taps * largest_weight * largest > MAX_SUM {
            return Err(format!(
                "it sums up more than 32 bits hold: {inputs} inputs of {taps} places"
            ));
        }
        let weights = if inputs == 1 {
            side_by_side(bytes, outputs, [inputs, taps], |output, _, tap| {
                output * taps + tap
            })
        } else {
            let filters = bytes.chunks_exact(inputs * taps);
            let turned = |filter: &[u8]| {
                let place = |at: usize| filter[at % inputs * taps + at / inputs];
                (0..filter.len()).map(place).collect::<Vec<u8>>()
            };
            filters.flat_map(turned).collect()
        };
        let units = match *self.numbers(units)? {
            [unit] => vec![unit; outputs],
            ref all if all.len() == outputs => all.to_vec(),
            ref all => return Err(format!("it has {} units, expected one, or {outputs}", all.len())),
        };
        Ok(IntegerConv {
            geometry: *geometry,
            input: shape(input),
            output: conv_shape(geometry, input, outputs)?,
            outputs,
            weights: weights.into_iter().map(|byte| weight_of(byte) as i16).collect(),
            units,
            bias: self.bias(bias, outputs)?,
        })
    }

    fn bias(&self, bias: Option<TensorId>, outputs: usize) -> Result<Option<Vec<f32>>, String> {
        bias.map(|bias| Ok(self.floats(bias, outputs)?.to_vec()))
            .transpose()
    }

    fn copied(&self, len: usize, fill: Option<TensorId>, parts: &[Part]) -> Result<Copied, String> {
        let fill = match fill.map(|id| (id, self.spec.tensors.get(id))) {
            None => None,
            Some((_, Some(Tensor::F32(numbers)))) if matches!(numbers[..], [number] if !number.is_nan()) => {
                Some(numbers[0])
            }
            Some((id, _)) => return Err(format!("tensor {id} is no number to fill places with")),
        };
        let mut filled = 0;
        let mut laid_out = Vec::with_capacity(parts.len());
        for Part {
            input,
            sizes,
            from,
            to,
        } in parts
        {
            filled += reach(sizes, from, self.map(*input)?.len())?;
            reach(sizes, to, len)?;
            if filled > len {
                return Err(format!("it fills more than its {len} places"));
            }
            laid_out.push(CopiedPart {
                input: *input,
                dims: merged(sizes, &from.steps, &to.steps),
                start: [from.start, to.start],
            });
        }
        if filled < len && fill.is_none() {
            return Err(format!(
                "it fills {filled} of {len} places, and nothing the others"
            ));
        }
        Ok(Copied {
            fill,
            parts: laid_out,
        })
    }
}

fn shape(value: Value) -> Shape {
    [value.size[0], value.size[1], value.channels]
}

/// How many numbers a map holds.
fn count(size: [usize; 2], channels: usize) -> Result<usize, String> {
    let numbers = size[0]
        .checked_mul(size[1])
        .and_then(|all| all.checked_mul(channels));
    numbers
        .filter(|numbers| (1..=MAX_BYTES / 8).contains(numbers))
        .ok_or_else(|| {
            format!("it computes {size:?} positions of {channels} channels, expected some, and not so many")
        })
}

/// Inputs of a group, and elements of a kernel.
fn check_geometry(geometry: &Geometry, input: Value) -> Result<(usize, usize), String> {
    let Geometry {
        kernel,
        stride,
        padding,
        dilation,
        groups,
    } = geometry;
    let steps = [kernel, stride, dilation].into_iter().flatten();
    let fits = steps.clone().all(|&side| (1..=MAX_SIDE).contains(&side))
        && padding.iter().all(|&side| side <= MAX_SIDE)
        && *groups > 0
        && input.channels.is_multiple_of(*groups);
    if fits {
        Ok((input.channels / groups, kernel[0] * kernel[1]))
    } else {
        Err(format!(
            "{geometry:?} over {} channels: expected sides from 1 to {MAX_SIDE}, and groups that divide the channels",
            input.channels
        ))
    }
}

/// Outputs of so many weights, in filters of `filter`.
fn outputs_of(weights: usize, filter: usize, groups: usize) -> Result<usize, String> {
    let outputs = weights / filter;
    if !weights.is_multiple_of(filter) || !outputs.is_multiple_of(groups) {
        return Err(format!(
            "its weights are {weights} numbers, expected filters of {filter} for {groups} groups"
        ));
    }
    check_channels(outputs)?;
    Ok(outputs)
}

fn conv_shape(geometry: &Geometry, input: Value, outputs: usize) -> Result<Shape, String> {
    let size = |d: usize| {
        let padded = input.size[d] + geometry.padding[2 * d] + geometry.padding[2 * d + 1];
        let extent = extent(geometry.kernel[d], geometry.dilation[d]);
        places(Some(padded), extent, geometry.stride[d])
    };
    let (Some(height), Some(width)) = (size(0), size(1)) else {
        return Err(format!(
            "a kernel of {:?} does not fit an input of {:?}",
            geometry.kernel, input.size
        ));
    };
    count([height, width], outputs)?;
    Ok([height, width, outputs])
}

/// `[kernel element, input, output]` of weights that lie at `place(output, input, kernel element)`.
fn side_by_side<T: Copy>(
    weights: &[T],
    outputs: usize,
    [inputs, taps]: [usize; 2],
    place: impl Fn(usize, usize, usize) -> usize,
) -> Vec<T> {
    let mut all = Vec::with_capacity(weights.len());
    for tap in 0..taps {
        for input in 0..inputs {
            all.extend((0..outputs).map(|output| weights[place(output, input, tap)]));
        }
    }
    all
}

/// How many numbers `sizes` have, which all lie within `len`.
fn reach(sizes: &[usize], strides: &Strides, len: usize) -> Result<usize, String> {
    let Strides { start, steps } = strides;
    let refuse =
        || format!("it takes {sizes:?} numbers from {start} on in steps of {steps:?}, and there are {len}");
    if sizes.len() != steps.len() || sizes.len() > MAX_DIMS {
        return Err(refuse());
    }
    let (mut numbers, mut last) = (1usize, *start);
    for (&size, &step) in sizes.iter().zip(steps) {
        let reach = size.checked_sub(1).and_then(|reach| reach.checked_mul(step));
        numbers = numbers.checked_mul(size).ok_or_else(refuse)?;
        last = reach
            .and_then(|reach| last.checked_add(reach))
            .ok_or_else(refuse)?;
    }
    if last >= len || numbers > MAX_BYTES / 8 {
        return Err(refuse());
    }
    Ok(numbers)
}

/// Dimensions with the steps of two values, those that lie side by side in both as one.
fn merged(sizes: &[usize], a: &[usize], b: &[usize]) -> Vec<[usize; 3]> {
    let mut dims: Vec<[usize; 3]> = Vec::with_capacity(sizes.len());
    for ((&size, &a), &b) in sizes.iter().zip(a).zip(b).filter(|((size, _), _)| **size > 1) {
        match dims.last_mut() {
            Some([before, a_before, b_before]) if *a_before == size * a && *b_before == size * b => {
                (*before, *a_before, *b_before) = (*before * size, a, b);
            }
            _ => dims.push([size, a, b]),
        }
    }
    dims
}
