//! Computing with a packed network, on one thread or several.

use std::ops::Range;

use super::Model;
use super::buffers::{Kind, Value};
use super::general::{self, Inputs, Output};
use super::kernel::{CodeRow, FloatConv, Gather, Kernel, PackedConv, PackedEnd};
use super::layout::gather;
use super::machine::Machine;
use super::rows::{
    FloatRows, MeanRows, Out, PackedRows, QuantizeRows, Scratch, Sums, run_end, run_float, run_mean,
    run_packed, run_quantize, run_sums,
};
use super::spec::ValueId;

/// A thread takes part in a step only where its share is so much work, in words that are counted or numbers that are
/// multiplied: below it, to hand it over takes longer.
const WORTH_IT: usize = 1 << 15;

/// A picture goes to rayon's threads only where the steps that they would share are so many times [`WORTH_IT`]: the way
/// there and back takes longer than a small network.
const WORTH_THE_WAY: usize = 16;

/// Computes with a [`Model`], in memory that it keeps: once it has seen as many pictures as it is given at a time, it
/// allocates nothing. With threads, rayon's queue takes a little memory now and then.
///
/// One thread, unless [`with_threads`](Self::with_threads) says otherwise. With threads, whole pictures go to each where
/// there are enough of them; otherwise the threads share the rows of each step, and the output channels of a row where
/// there are more threads than rows. The results are the same to the bit.
///
/// ```no_run
/// use vwc_sdk::packed::{Model, Session};
///
/// # fn main() -> Result<(), vwc_sdk::packed::PackedError> {
/// let model = Model::open("digits.vwcp".as_ref())?;
/// let [height, width] = model.input();
/// let mut session = Session::new(&model);
/// let logits = session.logits(&vec![128; height * width * 3]);
/// println!("{:?}", vwc_sdk::packed::probabilities(logits));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Session<'m> {
    model: &'m Model,
    machine: Machine,
    /// One for each thread.
    workspaces: Vec<Workspace>,
    logits: Vec<f32>,
    /// [`WORTH_IT`], but in tests.
    pub(super) worth_it: usize,
}

/// What computing one picture takes.
#[derive(Debug)]
struct Workspace {
    words: Vec<Vec<u64>>,
    floats: Vec<Vec<f32>>,
    integers: Vec<Vec<i16>>,
    windows: Vec<u64>,
    /// One for each thread that shares in the rows of a step.
    scratch: Vec<Scratch>,
}

/// What a step computed of one picture.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Feature<'a> {
    /// The path of the layer that the step comes from.
    pub layer: &'a str,
    /// Height and width.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    numbers: Numbers<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Numbers<'a> {
    Codes(&'a [u64], CodeRow, [usize; 2]),
    Floats(&'a [f32]),
    Integers(&'a [i16], [i16; 2]),
}

impl Feature<'_> {
    /// Bits of its codes; `None` where it is floats.
    #[must_use]
    pub fn bits(&self) -> Option<u32> {
        match self.numbers {
            Numbers::Codes(_, row, _) => Some(row.bits as u32),
            Numbers::Floats(_) => None,
            Numbers::Integers(_, [low, high]) => {
                let width = |number: i16| u16::BITS - number.leading_zeros();
                let sign = u32::from(low < 0);
                Some((sign + width(high.max(0)).max(width(-(low.min(0) + i16::from(low < 0))))).max(1))
            }
        }
    }

    /// The number at a place: a code, from 0 to `2^bits - 1` or, of codes with a sign, from `-2^(bits - 1)` to `2^(bits - 1) - 1`, or a
    /// float.
    ///
    /// # Panics
    ///
    /// Where there is no such place.
    #[must_use]
    pub fn get(&self, [y, x]: [usize; 2], channel: usize) -> f32 {
        assert!(y < self.size[0] && x < self.size[1] && channel < self.channels);
        match self.numbers {
            Numbers::Floats(floats) => floats[(y * self.size[1] + x) * self.channels + channel],
            Numbers::Integers(integers, _) => {
                f32::from(integers[(y * self.size[1] + x) * self.channels + channel])
            }
            Numbers::Codes(words, row, frame) => {
                let line = &words[(frame[0] + y) * row.len()..][..row.len()];
                let at = (frame[1] + x) * row.words + channel / 64;
                let bit = |plane: usize| line[plane * row.plane() + at] >> (channel % 64) & 1;
                (0..row.bits).map(|plane| bit(plane) << plane).sum::<u64>() as f32
            }
        }
    }
}

/// The softmax of `logits`.
#[must_use]
pub fn probabilities(logits: &[f32]) -> Vec<f32> {
    let largest = logits
        .iter()
        .fold(f32::NEG_INFINITY, |largest, &x| largest.max(x));
    let powers: Vec<f32> = logits.iter().map(|x| (x - largest).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|x| x / sum).collect()
}

impl<'m> Session<'m> {
    /// On the fastest instructions that there are here, on the calling thread.
    #[must_use]
    pub fn new(model: &'m Model) -> Self {
        Self {
            model,
            machine: Machine::detect(),
            workspaces: vec![Workspace::new(model, 1)],
            logits: Vec::new(),
            worth_it: WORTH_IT,
        }
    }

    /// On other instructions.
    ///
    /// # Panics
    ///
    /// Where this machine has not got them.
    #[must_use]
    pub fn with_machine(mut self, machine: Machine) -> Self {
        assert!(machine.is_here(), "this machine has no {machine}");
        self.machine = machine;
        self
    }

    /// On so many of rayon's threads, at least one.
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        let threads = threads.max(1);
        self.workspaces = (0..threads)
            .map(|n| Workspace::new(self.model, if n == 0 { threads } else { 1 }))
            .collect();
        self
    }

    /// The instructions it computes with.
    #[must_use]
    pub fn machine(&self) -> Machine {
        self.machine
    }

    /// The logits of one or several pictures, one after the other: `[pictures, classes]`.
    ///
    /// `pictures`: bytes, `[pictures, height, width, 3]`, red first, of the height and width of [`Model::input`].
    ///
    /// # Panics
    ///
    /// Where the bytes are not whole pictures.
    pub fn logits(&mut self, pictures: &[u8]) -> &[f32] {
        let [height, width] = self.model.input();
        let (picture, classes) = (height * width * 3, self.model.classes().len());
        assert!(
            pictures.len().is_multiple_of(picture),
            "{} bytes are no pictures of {height}x{width}x3",
            pictures.len()
        );
        let count = pictures.len() / picture;
        self.logits.resize(count * classes, 0.0);
        let (model, machine, worth_it) = (self.model, self.machine, self.worth_it);
        let Self {
            workspaces, logits, ..
        } = self;
        if count >= workspaces.len() {
            let run = |workspace: &mut Workspace, picture: &[u8], logits: &mut [f32]| {
                workspace.run(model, machine, usize::MAX, picture, logits, None);
            };
            share_pictures(workspaces, pictures, logits, [picture, classes], &run);
        } else {
            let shared = (0..model.kernels.len()).map(|step| work(model, step));
            let shared: usize = shared.filter(|work| work / worth_it > 1).sum();
            let far = shared / worth_it >= WORTH_THE_WAY;
            let worth_it = if far { worth_it } else { usize::MAX };
            let pictures = pictures.chunks_exact(picture);
            let run = || {
                for (picture, logits) in pictures.zip(logits.chunks_exact_mut(classes)) {
                    workspaces[0].run(model, machine, worth_it, picture, logits, None);
                }
            };
            if far {
                // By one of rayon's threads: from another, the way to them and back would be taken at every step.
                rayon::join(run, || {});
            } else {
                run();
            }
        }
        &self.logits
    }

    /// As [`logits`](Self::logits), of one picture; `see` is shown what each step computes.
    ///
    /// # Panics
    ///
    /// Where the bytes are not one picture.
    pub fn observe(&mut self, picture: &[u8], see: &mut dyn FnMut(Feature<'_>)) -> &[f32] {
        let [height, width] = self.model.input();
        assert_eq!(
            picture.len(),
            height * width * 3,
            "one picture of {height}x{width}x3"
        );
        self.logits.resize(self.model.classes().len(), 0.0);
        let Self {
            model,
            machine,
            workspaces,
            logits,
            worth_it,
        } = self;
        workspaces[0].run(model, *machine, *worth_it, picture, logits, Some(see));
        &self.logits
    }
}

/// Gives each workspace its part of the pictures, and each part a thread. `lens`: bytes of a picture, numbers of its
/// logits.
fn share_pictures(
    workspaces: &mut [Workspace],
    pictures: &[u8],
    logits: &mut [f32],
    lens: [usize; 2],
    run: &(impl Fn(&mut Workspace, &[u8], &mut [f32]) + Sync),
) {
    let [picture, classes] = lens;
    if let [workspace] = workspaces {
        let pictures = pictures.chunks_exact(picture);
        for (picture, logits) in pictures.zip(logits.chunks_exact_mut(classes)) {
            run(workspace, picture, logits);
        }
        return;
    }
    let half = workspaces.len() / 2;
    let count = logits.len() / classes * half / workspaces.len();
    let (first, rest) = workspaces.split_at_mut(half);
    let (pictures, other_pictures) = pictures.split_at(count * picture);
    let (logits, other_logits) = logits.split_at_mut(count * classes);
    rayon::join(
        || share_pictures(first, pictures, logits, lens, run),
        || share_pictures(rest, other_pictures, other_logits, lens, run),
    );
}

/// Gives the threads, one for each scratch, their parts of `rows` and of the output, `row` elements of it for each. Where
/// there are more threads than rows, several have a row together.
fn share_rows<T: Send>(
    scratch: &mut [Scratch],
    rows: Range<usize>,
    out: &mut [T],
    row: usize,
    run: &(impl Fn(Range<usize>, &mut [T], &mut [Scratch]) + Sync),
) {
    if scratch.len() < 2 || rows.len() < 2 {
        return run(rows, out, scratch);
    }
    let half = scratch.len() / 2;
    let count = (rows.len() * half / scratch.len()).max(1);
    let middle = rows.start + count;
    let (first, rest) = scratch.split_at_mut(half);
    let (out, other_out) = out.split_at_mut(count * row);
    rayon::join(
        || share_rows(first, rows.start..middle, out, row, run),
        || share_rows(rest, middle..rows.end, other_out, row, run),
    );
}

/// Gives `threads` threads their parts of a row's panels of outputs.
fn share_outputs(threads: usize, sums: Sums<'_>, run: &(impl Fn(Sums<'_>) + Sync)) {
    if threads < 2 || sums.panels() < 2 {
        return run(sums);
    }
    let half = threads / 2;
    let count = (sums.panels() * half / threads).max(1);
    let [first, rest] = sums.split_at(count);
    rayon::join(
        || share_outputs(half, first, run),
        || share_outputs(threads - half, rest, run),
    );
}

/// Rows of a packed convolution, by one thread, or one row by all that have a scratch.
fn packed(
    machine: Machine,
    conv: &PackedConv,
    rows: Range<usize>,
    x: &[u64],
    added: Option<&[f32]>,
    out: Out<'_>,
    scratch: &mut [Scratch],
) {
    let threads = scratch.len();
    let scratch = &mut scratch[0];
    if threads == 1 || rows.len() != 1 {
        let job = PackedRows {
            conv,
            rows,
            x,
            added,
            out,
            scratch,
        };
        return run_packed(machine, job);
    }
    scratch.sums.resize(conv.sums(), 0);
    let sums = &mut scratch.sums[..];
    share_outputs(threads, Sums::new(sums, conv.panels()), &|sums| {
        run_sums(machine, conv, rows.start, x, sums);
    });
    run_end(machine, conv, sums, added, out);
}

/// Rows of a convolution in full precision, by one thread.
fn float(
    machine: Machine,
    conv: &FloatConv,
    rows: Range<usize>,
    x: &[f32],
    out: Out<'_>,
    scratch: &mut Scratch,
) {
    let job = FloatRows {
        conv,
        rows,
        x,
        out,
        scratch,
    };
    run_float(machine, job);
}

impl Workspace {
    fn new(model: &Model, threads: usize) -> Self {
        let buffers = &model.buffers;
        Self {
            words: buffers.words.iter().map(|&len| vec![0; len]).collect(),
            floats: buffers.floats.iter().map(|&len| vec![0.0; len]).collect(),
            integers: buffers.integers.iter().map(|&len| vec![0; len]).collect(),
            windows: vec![0; buffers.windows],
            scratch: (0..threads).map(|_| Scratch::default()).collect(),
        }
    }

    /// Computes one picture. Threads share in a step where each has work of `worth_it`.
    fn run(
        &mut self,
        model: &Model,
        machine: Machine,
        worth_it: usize,
        picture: &[u8],
        logits: &mut [f32],
        mut see: Option<&mut dyn FnMut(Feature<'_>)>,
    ) {
        self.read_picture(model, picture);
        for (n, (step, kernel)) in model.spec.plan.steps.iter().zip(&model.kernels).enumerate() {
            let (input, value) = (model.values[step.input], model.values[n + 1]);
            let threads = (work(model, n) / worth_it).clamp(1, self.scratch.len());
            match kernel {
                Kernel::General(kernel) => self.general(model, machine, threads, kernel, step.input, value),
                kernel => self.step(model, machine, threads, kernel, input, value),
            }
            if let Some(see) = &mut see {
                see(feature(
                    &step.name,
                    value,
                    &self.words,
                    &self.floats,
                    &self.integers,
                ));
            }
        }
        let last = model.values[model.values.len() - 1];
        logits.copy_from_slice(&self.floats[last.buffer][..last.channels]);
    }

    /// Writes the normalised picture within its frame.
    fn read_picture(&mut self, model: &Model, picture: &[u8]) {
        let ([_, width], [top, left]) = (model.input(), model.picture_frame);
        let plane = width + 2 * left;
        let to = &mut self.floats[model.values[0].buffer][top * 3 * plane..];
        for (bytes, to) in picture
            .chunks_exact(width * 3)
            .zip(to.chunks_exact_mut(3 * plane))
        {
            let [channel_step, step] = if model.planar { [plane, 1] } else { [1, 3] };
            for (channel, &place) in model.spec.plan.channels.iter().enumerate() {
                let values = &model.bytes[place];
                let to = to[channel * channel_step + left * step..]
                    .iter_mut()
                    .step_by(step);
                for (to, &byte) in to.zip(bytes[place..].iter().step_by(3)) {
                    *to = values[usize::from(byte)];
                }
            }
        }
    }

    /// A general step.
    fn general(
        &mut self,
        model: &Model,
        machine: Machine,
        threads: usize,
        kernel: &general::Kernel,
        input: ValueId,
        value: Value,
    ) {
        let scratch = &mut self.scratch[..threads];
        let (rows, line) = (0..value.size[0], value.size[1] * value.channels);
        // The output's buffer is no other value's while this step runs.
        if let Kind::Integers { .. } = value.kind {
            let mut buffer = std::mem::take(&mut self.integers[value.buffer]);
            let inputs = Inputs {
                values: &model.values,
                floats: &self.floats,
                integers: &self.integers,
            };
            let out = Output::Integers(&mut buffer[..value.len()]);
            general::run(machine, kernel, input, inputs, rows, out, &mut scratch[0].sums);
            self.integers[value.buffer] = buffer;
            return;
        }
        let mut buffer = std::mem::take(&mut self.floats[value.buffer]);
        let out = &mut buffer[..value.len()];
        if let general::Kernel::Picture = kernel {
            picture(model, &self.floats[model.values[0].buffer], out);
        } else {
            let inputs = Inputs {
                values: &model.values,
                floats: &self.floats,
                integers: &self.integers,
            };
            share_rows(scratch, rows, out, line, &|rows, out, scratch| {
                let out = Output::Floats(out);
                general::run(machine, kernel, input, inputs, rows, out, &mut scratch[0].sums);
            });
        }
        self.floats[value.buffer] = buffer;
    }

    fn step(
        &mut self,
        model: &Model,
        machine: Machine,
        threads: usize,
        kernel: &Kernel,
        input: Value,
        value: Value,
    ) {
        let Self {
            words,
            floats,
            windows,
            scratch,
            ..
        } = self;
        let scratch = &mut scratch[..threads];
        match (value.kind, value.code_row()) {
            (Kind::Codes { frame, .. }, Some(row)) => {
                // The output's buffer is no other value's while this step runs.
                let mut buffer = std::mem::take(&mut words[value.buffer]);
                if frame != [0, 0] {
                    buffer[..(value.size[0] + 2 * frame[0]) * row.len()].fill(0);
                }
                let out = &mut buffer[frame[0] * row.len()..][..value.size[0] * row.len()];
                let rows = 0..value.size[0];
                match kernel {
                    Kernel::Packed(conv) => {
                        let x = gathered(conv, &words[input.buffer], windows, scratch);
                        share_rows(scratch, rows, out, row.len(), &|rows, out, scratch| {
                            packed(machine, conv, rows, x, None, Out::Codes(out, row), scratch);
                        });
                    }
                    Kernel::Float(conv) => {
                        let x = &floats[input.buffer][..];
                        share_rows(scratch, rows, out, row.len(), &|rows, out, scratch| {
                            float(machine, conv, rows, x, Out::Codes(out, row), &mut scratch[0]);
                        });
                    }
                    Kernel::Quantize(quantize) => {
                        let line = input.size[1] * input.channels;
                        let x = &floats[input.buffer][..];
                        share_rows(scratch, rows, out, row.len(), &|rows, out, _| {
                            let x = &x[rows.start * line..rows.end * line];
                            run_quantize(
                                machine,
                                QuantizeRows {
                                    quantize,
                                    x,
                                    out: (out, row),
                                },
                            );
                        });
                    }
                    Kernel::Unpack(_) | Kernel::Mean { .. } | Kernel::General(_) => {
                        unreachable!("these are floats, or computed elsewhere")
                    }
                }
                words[value.buffer] = buffer;
            }
            _ => {
                let mut buffer = std::mem::take(&mut floats[value.buffer]);
                let line = value.size[1] * value.channels;
                let out = &mut buffer[..value.size[0] * line];
                let rows = 0..value.size[0];
                match kernel {
                    Kernel::Packed(conv) => {
                        let x = gathered(conv, &words[input.buffer], windows, scratch);
                        let added = match conv.end {
                            PackedEnd::Floats { added: Some(id), .. } => {
                                Some(&floats[model.values[id].buffer][..])
                            }
                            _ => None,
                        };
                        share_rows(scratch, rows, out, line, &|rows, out, scratch| {
                            let added = added.map(|added| &added[rows.start * line..rows.end * line]);
                            packed(machine, conv, rows, x, added, Out::Floats(out), scratch);
                        });
                    }
                    Kernel::Float(conv) => {
                        let x = &floats[input.buffer][..];
                        share_rows(scratch, rows, out, line, &|rows, out, scratch| {
                            float(machine, conv, rows, x, Out::Floats(out), &mut scratch[0]);
                        });
                    }
                    Kernel::Unpack(codes) => {
                        let feature = feature("", input, words, floats, &[]);
                        unpack(feature, codes, out);
                    }
                    Kernel::Mean { affine, act } => {
                        run_mean(
                            machine,
                            MeanRows {
                                x: &floats[input.buffer],
                                size: input.size,
                                affine: affine.as_ref(),
                                act: *act,
                                out,
                            },
                        );
                    }
                    Kernel::Quantize(_) | Kernel::General(_) => {
                        unreachable!("codes are no floats, and general steps are computed elsewhere")
                    }
                }
                floats[value.buffer] = buffer;
            }
        }
    }
}

/// The picture without its frame, as pixels.
fn picture(model: &Model, framed: &[f32], out: &mut [f32]) {
    let ([_, width], [top, left]) = (model.input(), model.picture_frame);
    let plane = width + 2 * left;
    let [channel_step, step] = if model.planar { [plane, 1] } else { [1, 3] };
    let rows = framed[top * 3 * plane..].chunks_exact(3 * plane);
    for (from, out) in rows.zip(out.chunks_exact_mut(width * 3)) {
        for (x, pixel) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            *pixel = [0, 1, 2].map(|channel| from[channel * channel_step + (left + x) * step]);
        }
    }
}

fn feature<'a>(
    layer: &'a str,
    value: Value,
    words: &'a [Vec<u64>],
    floats: &'a [Vec<f32>],
    integers: &'a [Vec<i16>],
) -> Feature<'a> {
    let numbers = match (value.kind, value.code_row()) {
        (Kind::Integers { low, high }, _) => Numbers::Integers(&integers[value.buffer], [low, high]),
        (Kind::Codes { frame, .. }, Some(row)) => Numbers::Codes(&words[value.buffer], row, frame),
        _ => Numbers::Floats(&floats[value.buffer]),
    };
    Feature {
        layer,
        size: value.size,
        channels: value.channels,
        numbers,
    }
}

/// The floats that codes stand for.
fn unpack(codes: Feature<'_>, floats: &[f32], out: &mut [f32]) {
    let [height, width] = codes.size;
    let places = (0..height).flat_map(|y| (0..width).map(move |x| [y, x]));
    for (place, out) in places.zip(out.chunks_exact_mut(codes.channels)) {
        for (channel, out) in out.iter_mut().enumerate() {
            *out = floats[codes.get(place, channel) as usize];
        }
    }
}

/// What a packed convolution reads: the codes, or their runs put together.
fn gathered<'a>(
    conv: &PackedConv,
    codes: &'a [u64],
    windows: &'a mut [u64],
    scratch: &mut [Scratch],
) -> &'a [u64] {
    let Some(Gather {
        channels,
        across,
        stride,
        run,
        rows,
        row,
    }) = conv.gather
    else {
        return codes;
    };
    let planes = conv.reads.planes;
    let windows = &mut windows[..rows * row];
    let line = conv.code_row_len;
    share_rows(scratch, 0..rows, windows, row, &|rows, windows, _| {
        let codes = &codes[rows.start * line..rows.end * line];
        for (codes, windows) in codes.chunks_exact(line).zip(windows.chunks_exact_mut(row)) {
            let planes = codes
                .chunks_exact(line / planes)
                .zip(windows.chunks_exact_mut(row / planes));
            for (plane, windows) in planes {
                gather(plane, channels, across, stride, run, windows);
            }
        }
    });
    windows
}

/// Work of a step, as [`WORTH_IT`] counts it.
fn work(model: &Model, step: usize) -> usize {
    let [height, width] = model.values[step + 1].size;
    let of_position = match &model.kernels[step] {
        Kernel::Float(conv) => conv.reads.filter() * conv.padded / 8 * conv.lines() * conv.lines(),
        Kernel::Packed(conv) => {
            let words = conv.reads.planes * conv.weight_planes * conv.reads.taps * conv.reads.run;
            words * conv.padded / 8 * conv.lines() * conv.lines()
        }
        Kernel::Quantize(quantize) => quantize.channels / 8,
        Kernel::Unpack(_) | Kernel::Mean { .. } => 0,
        Kernel::General(kernel) => kernel.work() / 8,
    };
    of_position * height * width
}
