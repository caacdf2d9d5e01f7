//! Where the values that the steps compute are kept: their sizes, and buffers that are shared by values which do not live at
//! the same time.

use super::kernel::CodeRow;
use super::layout::WORD;
use super::spec::Plan;

/// Sizes of the buffers, in words, floats and integers.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffers {
    pub words: Vec<usize>,
    pub floats: Vec<usize>,
    pub integers: Vec<usize>,
    /// Words of runs that are put together.
    pub windows: usize,
}

/// What a step computes, and where it is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub size: [usize; 2],
    pub channels: usize,
    pub kind: Kind,
    /// Among the buffers of its kind.
    pub buffer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Floats,
    /// Bits of a code, and the pixels of zeros around the map.
    Codes {
        bits: u32,
        frame: [usize; 2],
    },
    /// Integers from one to another.
    Integers {
        low: i16,
        high: i16,
    },
}

impl Value {
    pub fn code_row(&self) -> Option<CodeRow> {
        match self.kind {
            Kind::Floats | Kind::Integers { .. } => None,
            Kind::Codes { bits, frame } => Some(CodeRow {
                bits: bits as usize,
                words: self.channels.div_ceil(WORD),
                width: self.size[1] + 2 * frame[1],
                frame: frame[1],
            }),
        }
    }

    /// Elements of its buffer.
    pub fn len(&self) -> usize {
        match (self.kind, self.code_row()) {
            (Kind::Codes { frame, .. }, Some(row)) => (self.size[0] + 2 * frame[0]) * row.len(),
            _ => self.size[0] * self.size[1] * self.channels,
        }
    }
}

/// Gives each value a buffer, that of one which no later step reads where there is one.
pub(super) fn share_buffers(plan: &Plan, values: &mut [Value], picture_frame: [usize; 2]) -> Buffers {
    let mut last_use = vec![0; values.len()];
    for (n, step) in plan.steps.iter().enumerate() {
        last_use[step.input] = n;
        for other in step.op.others() {
            last_use[other] = n;
        }
    }
    // The logits are read after the last step.
    last_use[values.len() - 1] = plan.steps.len();
    let mut buffers = Buffers::default();
    // For each kind, until which step each buffer is taken.
    let (mut words_until, mut floats_until, mut integers_until) = (Vec::new(), Vec::new(), Vec::new());
    for (id, value) in values.iter_mut().enumerate() {
        let mut len = value.len();
        if id == 0 {
            len = (value.size[0] + 2 * picture_frame[0]) * (value.size[1] + 2 * picture_frame[1]) * 3;
        }
        let (until, lens): (&mut Vec<usize>, &mut Vec<usize>) = match value.kind {
            Kind::Floats => (&mut floats_until, &mut buffers.floats),
            Kind::Codes { .. } => (&mut words_until, &mut buffers.words),
            Kind::Integers { .. } => (&mut integers_until, &mut buffers.integers),
        };
        // Value `id` is written by step `id - 1`; the picture keeps its buffer, whose frame is written once.
        let free = (0..until.len()).find(|&buffer| id > 0 && until[buffer] + 1 < id);
        let taken = if id == 0 {
            usize::MAX - 1
        } else {
            last_use[id].max(id)
        };
        value.buffer = match free {
            Some(buffer) => {
                until[buffer] = taken;
                lens[buffer] = lens[buffer].max(len);
                buffer
            }
            None => {
                until.push(taken);
                lens.push(len);
                lens.len() - 1
            }
        };
    }
    buffers
}
