//! The steps of a network laid out for the machine: what each reads, its weights in the order that they are read in, and what
//! follows its sums. [`check`](super::check) makes them, [`rows`](super::rows) computes them.

use std::ops::Range;

use super::general;
use super::layout::Run;
use super::machine::PANEL;
use super::spec::{Act, ValueId};
use super::tensor::Words;

/// A step, laid out for the machine.
#[derive(Debug)]
pub(super) enum Kernel {
    Float(FloatConv),
    Packed(PackedConv),
    Quantize(Quantize),
    /// The floats that the codes stand for.
    Unpack(Vec<f32>),
    Mean {
        affine: Option<Affine>,
        act: Act,
    },
    General(general::Kernel),
}

#[derive(Debug)]
pub(super) struct FloatConv {
    pub reads: FloatReads,
    /// Height and width, after a pool.
    pub output: [usize; 2],
    pub outputs: usize,
    /// Numbers of a position's sums: room for the panels and groups.
    pub padded: usize,
    pub panels: Vec<FloatPanel>,
    /// All outputs a second time, for positions sixteen at a time, where that takes less than whole eights of outputs;
    /// else none.
    pub groups: Vec<FloatGroup>,
    pub affine: Option<Affine>,
    pub pool: bool,
    pub end: FloatEnd,
}

/// Up to three times eight outputs.
#[derive(Debug)]
pub(super) struct FloatPanel {
    pub first: usize,
    pub across: usize,
    pub start: Vec<f32>,
    pub weights: Vec<f32>,
}

/// Up to six outputs, of which nothing is padded.
#[derive(Debug)]
pub(super) struct FloatGroup {
    pub first: usize,
    /// One number for each output.
    pub start: Vec<f32>,
    pub weights: Vec<f32>,
}

#[derive(Debug)]
pub(super) enum FloatEnd {
    Codes { levels: f32 },
    Floats { act: Act },
}

#[derive(Debug)]
pub(super) struct PackedConv {
    pub reads: Reads,
    /// Where runs have to be put together: from a row of codes.
    pub gather: Option<Gather>,
    /// Words of a row of its input's codes.
    pub code_row_len: usize,
    /// Height and width, after a pool.
    pub output: [usize; 2],
    pub outputs: usize,
    /// `outputs`, in whole panels.
    pub padded: usize,
    pub weights: Words,
    pub weight_planes: usize,
    pub weight_levels: i32,
    pub end: PackedEnd,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Gather {
    pub channels: usize,
    pub across: usize,
    pub stride: usize,
    pub run: Run,
    /// Rows of codes, those of the frame among them.
    pub rows: usize,
    /// Words of a row of runs.
    pub row: usize,
}

#[derive(Debug)]
pub(super) enum PackedEnd {
    Codes {
        pool: bool,
        /// `[level, padded]`; no sum reaches those of outputs that are not there.
        thresholds: Vec<i32>,
    },
    Floats {
        unit: f32,
        added: Option<ValueId>,
        affine: Option<Affine>,
        act: Act,
    },
}

#[derive(Debug)]
pub(super) struct Quantize {
    pub channels: usize,
    pub levels: f32,
    pub affine: Option<Affine>,
}

/// `(x - mean) * scale + shift` for every channel.
#[derive(Clone, Debug)]
pub(super) struct Affine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

impl FloatConv {
    /// Rows of sums for each row of the output.
    pub fn lines(&self) -> usize {
        if self.pool { 2 } else { 1 }
    }
}

impl PackedConv {
    /// Rows of sums for each row of the output.
    pub fn lines(&self) -> usize {
        match self.end {
            PackedEnd::Codes { pool: true, .. } => 2,
            _ => 1,
        }
    }

    /// Panels of outputs.
    pub fn panels(&self) -> usize {
        self.padded / PANEL
    }

    /// Sums behind one row of the output.
    pub fn sums(&self) -> usize {
        self.lines().pow(2) * self.output[1] * self.padded
    }
}

impl Affine {
    fn len(affine: Option<&Self>) -> usize {
        affine.map_or(0, |affine| 3 * affine.mean.len())
    }
}

impl Kernel {
    /// Numbers of the sums that a thread keeps while it computes rows.
    pub fn sums(&self) -> usize {
        match self {
            Self::Float(conv) => conv.lines().pow(2) * conv.output[1] * conv.padded,
            Self::Packed(conv) => conv.sums(),
            Self::General(kernel) => kernel.sums(),
            _ => 0,
        }
    }

    /// Numbers of four bytes that are kept beside those of the file.
    pub fn laid_out(&self) -> usize {
        match self {
            Self::Float(conv) => {
                let panels = conv
                    .panels
                    .iter()
                    .map(|panel| panel.start.len() + panel.weights.len());
                let groups = conv
                    .groups
                    .iter()
                    .map(|group| group.start.len() + group.weights.len());
                panels.chain(groups).sum::<usize>() + Affine::len(conv.affine.as_ref())
            }
            Self::Packed(conv) => match &conv.end {
                PackedEnd::Codes { thresholds, .. } => thresholds.len(),
                PackedEnd::Floats { affine, .. } => Affine::len(affine.as_ref()),
            },
            Self::Quantize(Quantize { affine, .. }) | Self::Mean { affine, .. } => {
                Affine::len(affine.as_ref())
            }
            Self::Unpack(floats) => floats.len(),
            Self::General(kernel) => kernel.laid_out().div_ceil(4),
        }
    }
}

/// A row of codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CodeRow {
    pub bits: usize,
    /// Words of a pixel.
    pub words: usize,
    /// Pixels of a row, those of the frame among them.
    pub width: usize,
    /// Pixels of the frame on either side.
    pub frame: usize,
}

impl CodeRow {
    /// Words of a plane.
    pub fn plane(self) -> usize {
        self.width * self.words
    }

    /// Words of the row.
    pub fn len(self) -> usize {
        self.bits * self.plane()
    }
}

/// Where a convolution of codes reads, in words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reads {
    /// Bits of a code.
    pub planes: usize,
    /// From one bit to the next.
    pub plane_step: usize,
    /// From one output position to the next.
    pub step: usize,
    /// From one kernel row to the next.
    pub tap_step: usize,
    /// From one output row to the next.
    pub row_step: usize,
    /// Rows of the kernel.
    pub taps: usize,
    /// Words that are read in a row.
    pub run: usize,
}

/// Where a convolution in full precision reads, in floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct FloatReads {
    /// From one output position to the next.
    pub step: usize,
    /// From one kernel row to the next.
    pub tap_step: usize,
    /// From one output row to the next.
    pub row_step: usize,
    /// Rows of the kernel.
    pub taps: usize,
    /// From one kernel column to the next.
    pub column_step: usize,
    pub columns: usize,
    /// From one channel to the next.
    pub channel_step: usize,
    pub channels: usize,
}

impl FloatReads {
    /// Weights of one output.
    pub fn filter(&self) -> usize {
        self.taps * self.columns * self.channels
    }

    /// All that `positions` positions of one output row read.
    pub fn reach(&self, positions: usize) -> usize {
        (self.taps - 1) * self.tap_step
            + (self.columns - 1) * self.column_step
            + (self.channels - 1) * self.channel_step
            + (positions - 1) * self.step
            + 1
    }
}

impl Reads {
    /// All that `positions` positions of one output row read.
    pub fn reach(&self, positions: usize) -> usize {
        (self.taps - 1) * self.tap_step
            + (self.planes - 1) * self.plane_step
            + (positions - 1) * self.step
            + self.run
    }
}

/// `len` in as few parts of at most `most` as it takes, all about equally long.
pub(super) fn even_parts(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    let parts = len.div_ceil(most);
    (0..parts).map(move |part| part * len / parts..(part + 1) * len / parts)
}
