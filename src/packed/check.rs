//! Whether a network can be computed with, and its steps laid out for the machine: what a file says is believed no sooner.

use std::collections::{BTreeMap, HashSet};

use super::PackedError;
use super::buffers::{Kind, Value};
use super::general::Checked;
use super::kernel::{
    Affine, FloatConv, FloatEnd, FloatGroup, FloatPanel, FloatReads, Gather, Kernel, PackedConv, PackedEnd,
    Quantize, Reads, even_parts,
};
use super::layout::{Run, weight_words};
use super::machine::{EIGHT, PANEL};
use super::spec::{AffineIds, Op, PackedThen, Plan, Spec, Step, TensorId, Then, ValueId, Window};
use super::tensor::Tensor;
use crate::text;

/// The most bits of a packed weight or activation.
pub(super) const MAX_BITS: u32 = 4;
pub(super) const MAX_SIDE: usize = 1 << 12;
const MAX_CHANNELS: usize = 1 << 16;
/// Sides of kernels and strides.
pub(super) const MAX_KERNEL: usize = 64;
const MAX_STEPS: usize = 1 << 12;
/// What a model and a session of one thread may take, in bytes, beside the file: 1 GiB.
pub(super) const MAX_BYTES: usize = 1 << 30;
/// Sums stay under it, so that twice a sum fits 32 bits.
pub(super) const MAX_SUM: usize = 1 << 29;

/// Checks all that is said of the network as a whole. Returns the means and the deviations that pictures are normalised by.
pub(super) fn check_plan(spec: &Spec) -> Result<[[f32; 3]; 2], PackedError> {
    let plan = &spec.plan;
    let general = |reason: String| PackedError::File(reason);
    if plan.steps.is_empty() || plan.steps.len() > MAX_STEPS {
        return Err(general(format!(
            "it has {} steps, expected 1 to {MAX_STEPS}",
            plan.steps.len()
        )));
    }
    if plan.input.iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
        return Err(general(format!(
            "it reads pictures of {:?}, expected sides from 1 to {MAX_SIDE}",
            plan.input
        )));
    }
    let mut places = plan.channels;
    places.sort_unstable();
    if places != [0, 1, 2] {
        return Err(general(format!(
            "it reads the channels {:?} of a picture, expected each of red, green and blue once, as 0, 1 and 2",
            plan.channels
        )));
    }
    let normalization = match spec.tensors.get(plan.normalization) {
        Some(Tensor::F32(numbers)) => <[f32; 6]>::try_from(&numbers[..]).ok(),
        _ => None,
    };
    let Some([means @ .., r, g, b]) = normalization else {
        return Err(general(
            "its normalisation is missing, expected three means and three deviations".into(),
        ));
    };
    if means.iter().any(|mean| !mean.is_finite()) || [r, g, b].iter().any(|&std| !std.is_normal()) {
        return Err(general(format!(
            "it normalises by means of {means:?} and deviations of {:?}, expected finite numbers and deviations that are not 0",
            [r, g, b]
        )));
    }
    // They are printed, and a terminal would do as they say.
    let steps = plan.steps.iter().map(|step| &step.name);
    for name in [&plan.network, &plan.precision]
        .into_iter()
        .chain(&plan.classes)
        .chain(steps)
    {
        if let Some(reason) = text::unfit(name) {
            let begin: String = name.chars().take(40).collect();
            return Err(general(format!("the name {begin:?} {reason}")));
        }
    }
    let mut classes = HashSet::new();
    if let Some(class) = plan.classes.iter().find(|class| !classes.insert(*class)) {
        return Err(general(format!("two of its classes are called `{class}`")));
    }
    let mut names = HashSet::new();
    if let Some(step) = plan.steps.iter().find(|step| !names.insert(&step.name)) {
        return Err(PackedError::step(&step.name, "another step has the same name"));
    }
    Ok([means, [r, g, b]])
}

/// The zeros around every value that is convolved.
pub(super) struct Frames(BTreeMap<ValueId, [usize; 2]>);

impl Frames {
    pub fn of(plan: &Plan) -> Result<Self, PackedError> {
        let mut frames = BTreeMap::new();
        for step in &plan.steps {
            if let Op::Float { window, .. } | Op::Packed { window, .. } = &step.op {
                // Before a step that is computed earlier takes its frame from it.
                check_window(window).map_err(|reason| PackedError::step(&step.name, reason))?;
                let frame = *frames.entry(step.input).or_insert(window.padding);
                if frame != window.padding {
                    return Err(PackedError::step(
                        &step.name,
                        format!(
                            "it pads its input by {:?}, and another step pads the same by {frame:?}",
                            window.padding
                        ),
                    ));
                }
            }
        }
        Ok(Self(frames))
    }

    pub fn get(&self, value: ValueId) -> [usize; 2] {
        self.0.get(&value).copied().unwrap_or_default()
    }
}

/// The steps that are laid out so far, and what they take.
pub(super) struct Build<'a> {
    pub spec: &'a Spec,
    pub frames: Frames,
    pub values: Vec<Value>,
    pub windows: usize,
    /// Bytes of the rows of sums that a thread keeps.
    pub sums: usize,
    /// Bytes of numbers that are not left where they lie in the file.
    pub laid_out: usize,
    /// See [`Model::planar`](super::Model); what the first step that reads the picture asks for.
    pub planar: Option<bool>,
}

impl<'a> Build<'a> {
    pub fn step(&mut self, n: usize, step: &Step) -> Result<(Kernel, Value), PackedError> {
        let refuse = |reason: String| PackedError::step(&step.name, reason);
        let input = self.value(step.input).map_err(refuse)?;
        let frame = self.frames.get(n + 1);
        let codes = |bits: u32| -> Result<Kind, String> {
            check_bits(bits)?;
            Ok(Kind::Codes { bits, frame })
        };
        let (kernel, size, channels, kind) = match &step.op {
            Op::Float {
                window,
                weight,
                bias,
                affine,
                pool,
                then,
            } => {
                let conv = self
                    .float(step.input, input, window, *weight, *bias, *affine, *pool, *then)
                    .map_err(refuse)?;
                let kind = match then {
                    Then::Codes { bits } => codes(*bits).map_err(refuse)?,
                    Then::Floats { .. } => Kind::Floats,
                };
                (Kernel::Float(conv), conv_size(window, input.size, *pool), 0, kind)
            }
            Op::Packed {
                window,
                outputs,
                weight_bits,
                weight,
                then,
            } => {
                let conv = self
                    .packed(input, window, *outputs, *weight_bits, *weight, then)
                    .map_err(refuse)?;
                let (pool, kind) = match then {
                    PackedThen::Codes { bits, pool, .. } => (*pool, codes(*bits).map_err(refuse)?),
                    PackedThen::Floats { .. } => (false, Kind::Floats),
                };
                (
                    Kernel::Packed(conv),
                    conv_size(window, input.size, pool),
                    *outputs,
                    kind,
                )
            }
            Op::Quantize { affine, bits } => {
                if input.kind != Kind::Floats || step.input == 0 {
                    return Err(refuse("it quantises what is no map of floats".into()));
                }
                let kind = codes(*bits).map_err(refuse)?;
                let quantize = Quantize {
                    channels: input.channels,
                    levels: ((1u32 << bits) - 1) as f32,
                    affine: self.affine(*affine, input.channels).map_err(refuse)?,
                };
                (Kernel::Quantize(quantize), Ok(input.size), input.channels, kind)
            }
            Op::Unpack => {
                let Kind::Codes { bits, .. } = input.kind else {
                    return Err(refuse("it unpacks what is no map of codes".into()));
                };
                let levels = (1u32 << bits) - 1;
                let floats = (0..=levels).map(|code| code as f32 / levels as f32).collect();
                (
                    Kernel::Unpack(floats),
                    Ok(input.size),
                    input.channels,
                    Kind::Floats,
                )
            }
            Op::Mean { affine, act } => {
                if input.kind != Kind::Floats || step.input == 0 {
                    return Err(refuse("it averages what is no map of floats".into()));
                }
                let affine = self.affine(*affine, input.channels).map_err(refuse)?;
                (
                    Kernel::Mean { affine, act: *act },
                    Ok([1, 1]),
                    input.channels,
                    Kind::Floats,
                )
            }
            _ => {
                let Checked {
                    kernel,
                    size,
                    channels,
                    kind,
                } = self.general(step).map_err(refuse)?;
                (Kernel::General(kernel), Ok(size), channels, kind)
            }
        };
        let channels = match &kernel {
            Kernel::Float(conv) => conv.outputs,
            _ => channels,
        };
        let value = Value {
            size: size.map_err(refuse)?,
            channels,
            kind,
            buffer: 0,
        };
        if let Kernel::Packed(PackedConv {
            end: PackedEnd::Floats { added: Some(id), .. },
            ..
        }) = &kernel
        {
            let added = self.value(*id).map_err(refuse)?;
            if added.kind != Kind::Floats
                || *id == 0
                || (added.size, added.channels) != (value.size, channels)
            {
                return Err(refuse(format!(
                    "value {id}, which it adds, is no map of floats of {:?} with {channels} channels",
                    value.size
                )));
            }
        }
        if !matches!(value.kind, Kind::Codes { .. }) && frame != [0, 0] {
            return Err(refuse(
                "a step pads its floats; only pictures and codes are padded".into(),
            ));
        }
        if value.len() > MAX_BYTES / 8 {
            return Err(refuse(format!(
                "it computes {:?} positions of {channels} channels, which is too much",
                value.size
            )));
        }
        self.sums = self.sums.max(4 * kernel.sums());
        self.laid_out += 4 * kernel.laid_out();
        check_memory(self.sums + self.laid_out).map_err(refuse)?;
        Ok((kernel, value))
    }

    pub(super) fn value(&self, id: ValueId) -> Result<Value, String> {
        self.values
            .get(id)
            .copied()
            .ok_or_else(|| format!("it reads value {id}, which is not computed before it"))
    }

    pub(super) fn numbers(&self, id: TensorId) -> Result<&'a [f32], String> {
        match self.spec.tensors.get(id) {
            Some(Tensor::F32(x)) if x.iter().all(|x| x.is_finite()) => Ok(x),
            Some(Tensor::F32(_)) => Err(format!("tensor {id} holds something other than finite numbers")),
            _ => Err(format!("tensor {id} is none of floats")),
        }
    }

    pub(super) fn floats(&self, id: TensorId, len: usize) -> Result<&'a [f32], String> {
        let numbers = self.numbers(id)?;
        if numbers.len() == len {
            Ok(numbers)
        } else {
            Err(format!(
                "tensor {id} has {} numbers, expected {len}",
                numbers.len()
            ))
        }
    }

    fn affine(&self, ids: Option<AffineIds>, channels: usize) -> Result<Option<Affine>, String> {
        let Some([mean, scale, shift]) = ids else {
            return Ok(None);
        };
        Ok(Some(Affine {
            mean: self.floats(mean, channels)?.to_vec(),
            scale: self.floats(scale, channels)?.to_vec(),
            shift: self.floats(shift, channels)?.to_vec(),
        }))
    }

    #[allow(clippy::too_many_arguments)]
    fn float(
        &mut self,
        id: ValueId,
        input: Value,
        window: &Window,
        weight: TensorId,
        bias: Option<TensorId>,
        affine: Option<AffineIds>,
        pool: bool,
        then: Then,
    ) -> Result<FloatConv, String> {
        if input.kind != Kind::Floats {
            return Err("it reads codes, expected floats".into());
        }
        if id > 0 && window.padding != [0, 0] {
            return Err("it pads its input, which only the first step can".into());
        }
        let output = conv_size(window, input.size, pool)?;
        let [down, across] = window.kernel;
        let filter = input.channels * down * across;
        let weight = self.numbers(weight)?;
        if weight.is_empty() || !weight.len().is_multiple_of(filter) {
            return Err(format!(
                "its weights are {} floats, expected filters of {filter}",
                weight.len()
            ));
        }
        let outputs = weight.len() / filter;
        check_channels(outputs)?;
        let width = input.size[1] + 2 * window.padding[1];
        let pitch = width * input.channels;
        // To turn positions into channels again takes about as long as eight products.
        let spared = (outputs.next_multiple_of(EIGHT) - outputs) * filter;
        let worth_it = window.stride[1] == 1 && spared > EIGHT * outputs;
        let planar = id == 0 && *self.planar.get_or_insert(worth_it);
        let bias = bias.map(|bias| self.floats(bias, outputs)).transpose()?;
        let [column_step, columns, channel_step, channels] = if planar {
            [1, across, width, input.channels]
        } else {
            // All that is under a row of the kernel lies side by side, as if it was one pixel's.
            [0, 1, 1, across * input.channels]
        };
        let reads = FloatReads {
            step: window.stride[1] * if planar { 1 } else { input.channels },
            tap_step: pitch,
            row_step: window.stride[0] * pitch,
            taps: down,
            column_step,
            columns,
            channel_step,
            channels,
        };
        let groups = if planar && worth_it {
            float_groups(window, input.channels, weight, bias)
        } else {
            Vec::new()
        };
        let room = groups.last().map_or(0, |group: &FloatGroup| group.first + EIGHT);
        Ok(FloatConv {
            reads,
            output,
            outputs,
            padded: outputs.next_multiple_of(EIGHT).max(room),
            panels: float_panels(window, input.channels, weight, bias),
            groups,
            affine: self.affine(affine, outputs)?,
            pool,
            end: match then {
                Then::Codes { bits } => FloatEnd::Codes {
                    levels: ((1u32 << check_bits(bits)?) - 1) as f32,
                },
                Then::Floats { act } => FloatEnd::Floats { act },
            },
        })
    }

    fn packed(
        &mut self,
        input: Value,
        window: &Window,
        outputs: usize,
        weight_bits: u32,
        weight: TensorId,
        then: &PackedThen,
    ) -> Result<PackedConv, String> {
        let (Kind::Codes { bits, frame }, Some(row)) = (input.kind, input.code_row()) else {
            return Err("it reads floats, expected codes".into());
        };
        check_channels(outputs)?;
        check_bits(weight_bits)?;
        let pool = matches!(then, PackedThen::Codes { pool: true, .. });
        let output = conv_size(window, input.size, pool)?;
        let conv_width = conv_size(window, input.size, false)?[1];
        let [down, across] = window.kernel;
        let largest = ((1usize << bits) - 1) * ((1usize << weight_bits) - 1);
        if down * across * input.channels * largest > MAX_SUM {
            return Err(format!(
                "it sums up more than 32 bits hold: kernels of {down}x{across}x{}",
                input.channels
            ));
        }
        let expected = weight_words(window, input.channels, outputs, weight_bits);
        let weights = match self.spec.tensors.get(weight) {
            Some(Tensor::Words(words)) if words.len() == expected => words.clone(),
            Some(Tensor::Words(words)) => {
                return Err(format!(
                    "its weights are {} words, expected {expected}",
                    words.len()
                ));
            }
            _ => return Err(format!("tensor {weight} is none of packed weights")),
        };
        let run = Run::new(input.channels, across);
        let planes = bits as usize;
        let rows = input.size[0] + 2 * frame[0];
        let (reads, gather) = if run.in_place() {
            let reads = Reads {
                planes,
                plane_step: row.plane(),
                step: window.stride[1] * row.words,
                tap_step: row.len(),
                row_step: window.stride[0] * row.len(),
                taps: down,
                run: run.words,
            };
            (reads, None)
        } else {
            let plane = conv_width * run.words;
            let gather = Gather {
                channels: input.channels,
                across,
                stride: window.stride[1],
                run,
                rows,
                row: planes * plane,
            };
            let reads = Reads {
                planes,
                plane_step: plane,
                step: run.words,
                tap_step: gather.row,
                row_step: window.stride[0] * gather.row,
                taps: down,
                run: run.words,
            };
            self.windows = self.windows.max(rows * gather.row);
            (reads, Some(gather))
        };
        let padded = outputs.next_multiple_of(PANEL);
        let end = match *then {
            PackedThen::Codes {
                bits,
                pool,
                thresholds,
            } => {
                let levels = (1 << check_bits(bits)?) - 1;
                let given = match self.spec.tensors.get(thresholds) {
                    Some(Tensor::I32(given)) if given.len() == levels * outputs => given,
                    _ => {
                        return Err(format!(
                            "tensor {thresholds} is none of {levels} thresholds for each of {outputs} outputs"
                        ));
                    }
                };
                let mut thresholds = vec![i32::MAX; levels * padded];
                for (to, from) in thresholds
                    .chunks_exact_mut(padded)
                    .zip(given.chunks_exact(outputs))
                {
                    to[..outputs].copy_from_slice(from);
                }
                PackedEnd::Codes { pool, thresholds }
            }
            PackedThen::Floats {
                unit,
                added,
                affine,
                act,
            } => PackedEnd::Floats {
                unit: self.floats(unit, 1)?[0],
                added,
                affine: self.affine(affine, outputs)?,
                act,
            },
        };
        Ok(PackedConv {
            reads,
            gather,
            code_row_len: row.len(),
            output,
            outputs,
            padded,
            weights,
            weight_planes: weight_bits as usize,
            weight_levels: (1 << weight_bits) - 1,
            end,
        })
    }
}

pub(super) fn check_memory(bytes: usize) -> Result<(), String> {
    if bytes <= MAX_BYTES {
        Ok(())
    } else {
        Err(format!(
            "it takes {bytes} bytes of memory to compute, expected at most {MAX_BYTES}"
        ))
    }
}

fn check_bits(bits: u32) -> Result<u32, String> {
    if (1..=MAX_BITS).contains(&bits) {
        Ok(bits)
    } else {
        Err(format!("{bits} bits, expected 1 to {MAX_BITS}"))
    }
}

pub(super) fn check_channels(channels: usize) -> Result<(), String> {
    if (1..=MAX_CHANNELS).contains(&channels) {
        Ok(())
    } else {
        Err(format!("{channels} outputs, expected 1 to {MAX_CHANNELS}"))
    }
}

fn check_window(window: &Window) -> Result<(), String> {
    let sides = 1..=MAX_KERNEL;
    let fits = |d: usize| {
        sides.contains(&window.kernel[d])
            && sides.contains(&window.stride[d])
            && window.padding[d] < window.kernel[d]
    };
    if fits(0) && fits(1) {
        Ok(())
    } else {
        Err(format!(
            "a kernel of {:?}, strides of {:?} and padding of {:?}: expected kernels and strides from 1 to {MAX_KERNEL}, padding under the kernel",
            window.kernel, window.stride, window.padding
        ))
    }
}

/// Height and width of a convolution's output, after a pool. The window has been [checked](check_window).
pub(super) fn conv_size(window: &Window, input: [usize; 2], pool: bool) -> Result<[usize; 2], String> {
    let mut size = [0; 2];
    for d in 0..2 {
        let (kernel, stride, padding) = (window.kernel[d], window.stride[d], window.padding[d]);
        let padded = input[d] + 2 * padding;
        if padded < kernel {
            return Err(format!(
                "a kernel of {:?} does not fit an input of {input:?}",
                window.kernel
            ));
        }
        size[d] = (padded - kernel) / stride + 1;
        if pool {
            size[d] /= 2;
        }
        if size[d] == 0 {
            return Err("a 2x2 pool does not fit its output".into());
        }
    }
    Ok(size)
}

/// Eight outputs side by side.
fn float_panels(window: &Window, inputs: usize, weight: &[f32], bias: Option<&[f32]>) -> Vec<FloatPanel> {
    let outputs = weight.len() / (inputs * window.kernel[0] * window.kernel[1]);
    even_parts(outputs.div_ceil(EIGHT), 3)
        .map(|eights| {
            let columns = EIGHT * eights.len();
            let first = EIGHT * eights.start;
            let (start, weights) = side_by_side(window, inputs, weight, bias, first, columns);
            FloatPanel {
                first,
                across: eights.len(),
                start,
                weights,
            }
        })
        .collect()
}

fn float_groups(window: &Window, inputs: usize, weight: &[f32], bias: Option<&[f32]>) -> Vec<FloatGroup> {
    let outputs = weight.len() / (inputs * window.kernel[0] * window.kernel[1]);
    even_parts(outputs, 6)
        .map(|group| {
            let (start, weights) = side_by_side(window, inputs, weight, bias, group.start, group.len());
            FloatGroup {
                first: group.start,
                start,
                weights,
            }
        })
        .collect()
}

/// Bias and weights of `columns` outputs from `first` on, zero where there is none. Weights of one input lie side by
/// side, the inputs in the order kernel row, kernel column, channel.
fn side_by_side(
    window: &Window,
    inputs: usize,
    weight: &[f32],
    bias: Option<&[f32]>,
    first: usize,
    columns: usize,
) -> (Vec<f32>, Vec<f32>) {
    let taps = window.kernel[0] * window.kernel[1];
    let outputs = weight.len() / (inputs * taps);
    let here = columns.min(outputs - first);
    let mut start = vec![0.0; columns];
    if let Some(bias) = bias {
        start[..here].copy_from_slice(&bias[first..][..here]);
    }
    let mut weights = vec![0.0; taps * inputs * columns];
    for column in 0..here {
        let filter = &weight[(first + column) * inputs * taps..][..inputs * taps];
        for (input, filter) in filter.chunks_exact(taps).enumerate() {
            for (tap, &weight) in filter.iter().enumerate() {
                weights[(tap * inputs + input) * columns + column] = weight;
            }
        }
    }
    (start, weights)
}
