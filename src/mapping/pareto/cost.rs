//! VW-SDK's cycles of one layer as a function of its channels.

use std::collections::BTreeSet;

use crate::mapping::{ConvLayer, MappingConfig, MappingError, depthwise, problem::Problem};

/// VW-SDK's cycles of one layer for any number of channels up to the layer's own, with the exact search.
pub(super) enum Cost {
    /// A layer without groups.
    Plain(Plain),
    /// A layer with a group for each channel, as wide in as out.
    Depthwise(Depthwise),
}

impl Cost {
    /// The cycles of `layer`, which is depthwise or has no groups.
    pub fn new(layer: &ConvLayer, config: &MappingConfig) -> Result<Self, MappingError> {
        let problem = Problem::new(layer, config)?;
        Ok(if depthwise(layer) {
            Self::Depthwise(Depthwise::new(&problem))
        } else {
            Self::Plain(Plain::new(&problem))
        })
    }

    /// The cycles with so many input and output channels. A depthwise layer has as many of both.
    pub fn cycles(&self, in_channels: usize, out_channels: usize) -> u64 {
        match self {
            Self::Plain(plain) => plain.cycles(in_channels as u64, out_channels as u64),
            Self::Depthwise(depthwise) => depthwise.cycles(out_channels as u64),
        }
    }

    /// Adds the input widths below `width` at which the cycles may step.
    pub fn input_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        match self {
            Self::Plain(plain) => plain.input_steps(width, steps),
            Self::Depthwise(depthwise) => depthwise.steps(width, steps),
        }
    }

    /// Adds the output widths below `width` at which the cycles may step.
    pub fn output_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        match self {
            Self::Plain(plain) => plain.output_steps(width, steps),
            Self::Depthwise(depthwise) => depthwise.steps(width, steps),
        }
    }
}

/// A layer without groups:
///
/// ```text
/// min over windows of N * ceil(IC / a) * ceil(OC / b)        a = rows / T,  b = C' / (w * h)
/// ```
///
/// and im2col. It steps at the multiples of `a` and of `b`, for the few windows that are ever the best.
pub(super) struct Plain {
    /// The windows that are the best for some channels.
    windows: Vec<Reach>,
    /// Output positions, for im2col.
    outputs: u64,
    kernel: u64,
    rows: u64,
    cols: u64,
}

/// A window: how often it is used, and how many channels of it fit the array.
#[derive(Clone, Copy)]
struct Reach {
    windows: u64,
    in_channels: u64,
    out_channels: u64,
}

impl Plain {
    fn new(problem: &Problem) -> Self {
        let mut windows: Vec<Reach> = Vec::new();
        for h in problem.down.sizes() {
            for w in problem.across.sizes() {
                let reach = Reach {
                    windows: problem.windows(w, h),
                    // Beyond the layer's own channels it makes no difference.
                    in_channels: (problem.rows / problem.rows_per_channel(w, h)).min(problem.in_channels),
                    out_channels: (problem.cols / (w * h)).min(problem.out_channels),
                };
                if reach.in_channels == 0 || reach.out_channels == 0 {
                    break;
                }
                let covers = |a: &Reach, b: &Reach| {
                    a.windows <= b.windows
                        && a.in_channels >= b.in_channels
                        && a.out_channels >= b.out_channels
                };
                keep_best(&mut windows, reach, covers);
            }
        }
        Self {
            windows,
            outputs: problem.outputs(),
            kernel: problem.rows_per_channel(1, 1),
            rows: problem.rows,
            cols: problem.cols,
        }
    }

    fn cycles(&self, in_channels: u64, out_channels: u64) -> u64 {
        let arrays = (self.kernel * in_channels).div_ceil(self.rows) * out_channels.div_ceil(self.cols);
        let window = |reach: &Reach| {
            let arrays = in_channels.div_ceil(reach.in_channels) * out_channels.div_ceil(reach.out_channels);
            reach.windows.saturating_mul(arrays)
        };
        let windows = self.windows.iter().map(window).min();
        windows
            .unwrap_or(u64::MAX)
            .min(self.outputs.saturating_mul(arrays))
    }

    fn input_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        multiples(self.windows.iter().map(|reach| reach.in_channels), width, steps);
        let rows = self.rows as usize;
        let kernel = self.kernel as usize;
        if kernel >= rows {
            // A channel more takes an array more.
            steps.extend(1..width);
        } else {
            let arrays = (width * kernel).div_ceil(rows);
            let most = (1..=arrays).map(|arrays| arrays * rows / kernel);
            steps.extend(most.filter(|step| (1..width).contains(step)));
        }
    }

    fn output_steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        let reaches = self.windows.iter().map(|reach| reach.out_channels);
        multiples(reaches.chain([self.cols]), width, steps);
    }
}

/// A depthwise layer of G channels, of which `a` lie on an array together:
///
/// ```text
/// min over windows of N * ceil(G / a)        a = min(rows / T, C' / (w * h))
/// ```
///
/// It steps at the multiples of `a`. Where a kernel has more elements than the array has rows, no window fits, and im2col
/// takes the same cycles for each channel.
pub(super) struct Depthwise {
    /// For each window that is the best for some channels, how often it is used, and `a`.
    windows: Vec<[u64; 2]>,
    /// im2col's cycles of one channel.
    channel: u64,
}

impl Depthwise {
    fn new(problem: &Problem) -> Self {
        let mut windows: Vec<[u64; 2]> = Vec::new();
        for h in problem.down.sizes() {
            for w in problem.across.sizes() {
                let together = (problem.rows / problem.rows_per_channel(w, h)).min(problem.cols / (w * h));
                if together == 0 {
                    break;
                }
                let window = [problem.windows(w, h), together.min(problem.groups)];
                let covers = |a: &[u64; 2], b: &[u64; 2]| a[0] <= b[0] && a[1] >= b[1];
                keep_best(&mut windows, window, covers);
            }
        }
        let arrays = problem.rows_per_channel(1, 1).div_ceil(problem.rows);
        Self {
            windows,
            channel: problem.outputs().saturating_mul(arrays),
        }
    }

    fn cycles(&self, channels: u64) -> u64 {
        let window = |&[windows, together]: &[u64; 2]| windows.saturating_mul(channels.div_ceil(together));
        // A window of one output is im2col's, so im2col is left only where none fits.
        let windows = self.windows.iter().map(window).min();
        windows.unwrap_or_else(|| self.channel.saturating_mul(channels))
    }

    fn steps(&self, width: usize, steps: &mut BTreeSet<usize>) {
        if self.windows.is_empty() {
            steps.extend(1..width);
        }
        multiples(self.windows.iter().map(|&[_, together]| together), width, steps);
    }
}

/// Adds `new` unless one that is there covers it, and drops those that it covers.
fn keep_best<T>(all: &mut Vec<T>, new: T, covers: impl Fn(&T, &T) -> bool) {
    if !all.iter().any(|other| covers(other, &new)) {
        all.retain(|other| !covers(&new, other));
        all.push(new);
    }
}

/// The multiples below `width` of each of these numbers. Many windows hold the same number of channels.
fn multiples(numbers: impl Iterator<Item = u64>, width: usize, steps: &mut BTreeSet<usize>) {
    let different: BTreeSet<usize> = numbers.map(|number| number as usize).collect();
    for number in different {
        steps.extend((number..width).step_by(number));
    }
}
