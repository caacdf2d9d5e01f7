//! The cycles that the published code of TetrisG-SDK counts (Dong, Huang, Luo, Wang; arXiv 2604.25377).
//!
//! Its rules, for one group of an `n` x `n` picture, a `k` x `k` kernel and stride 1:
//!
//! 1. The window is VW-SDK's, with as many channels as fit, by the published register.
//! 2. *Square-inclined*: as many outputs in a squarer window, the flattest of those that take fewer rows and no more windows.
//! 3. *Margins*: where windows do not cover the picture evenly, what is left at two of its sides has windows of its own, as high as what is left is
//!    and as long as the rows of VW-SDK's window allow.
//! 4. *Depth*: channels that are left over have a window with as many outputs as all columns hold. Where none fits, channels are left out, one at
//!    a time.
//!
//! The code does not ask whether the columns of a margin or of a squarer window fit the array, nor whether its rows hold the channels. Here that is
//! asked, and what does not fit is named.

use std::fmt;

use super::{Accounting, ConvLayer, MappingConfig, MappingError, problem::Problem};

/// What TetrisG-SDK's code says of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TetrisCount {
    /// Its cycles, of all groups.
    pub cycles: u64,
    /// Input channels of each group that it leaves out: another layer, with fewer channels, is what its cycles compute.
    pub dropped: u64,
    /// The windows of its count that do not fit the array. There is no such mapping where there are any.
    pub infeasible: Vec<TetrisWindow>,
}

/// A window with its channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TetrisWindow {
    /// Its sides, in input cells.
    pub sides: [u64; 2],
    /// Its input channels.
    pub channels: u64,
    /// Rows that it takes.
    pub rows: u64,
    /// Columns of weights that it takes.
    pub cols: u64,
}

impl fmt::Display for TetrisWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [one, other] = self.sides;
        write!(
            f,
            "a window of {one}x{other} with {} channels takes {} rows and {} columns",
            self.channels, self.rows, self.cols
        )
    }
}

/// The count of `layer`, or nothing of a layer that the code does not speak of: one whose picture or kernel is not square, with a stride or with
/// dilation, and one in which a side of a window comes out shorter than the kernel.
///
/// ```
/// use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, map_layer, tetris_count};
///
/// // Its 38 cycles are of 31 of 32 channels.
/// let layer = ConvLayer::square("conv", 18, 3, 32, 32);
/// let config = MappingConfig::new(PimArray::new(512, 512)?);
/// let count = tetris_count(&layer, &config)?.unwrap();
/// assert_eq!((count.cycles, count.dropped, count.infeasible.len()), (38, 1, 0));
/// assert_eq!(map_layer(&layer, Method::Best, &config)?.cycles, 42);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// Those of [`map_layer`](super::map_layer).
pub fn tetris_count(layer: &ConvLayer, config: &MappingConfig) -> Result<Option<TetrisCount>, MappingError> {
    let problem = Problem::new(layer, config)?;
    let [kernel, other] = layer.kernel;
    // Counted as published, a strided layer has stride 1.
    let strided = config.accounting == Accounting::ExactGeometry && layer.stride != [1, 1];
    let square = kernel == other && problem.across.out == problem.down.out;
    if !square || strided || layer.dilation != [1, 1] {
        return Ok(None);
    }
    let layer = Layer {
        outputs: problem.across.out,
        kernel: kernel as u64,
        in_channels: problem.in_channels,
        out_channels: problem.out_channels,
        rows: problem.rows,
        cols: problem.cols,
    };
    let count = layer.count();
    Ok(count.map(|count| TetrisCount {
        cycles: count.cycles.saturating_mul(problem.groups),
        ..count
    }))
}

/// One group.
struct Layer {
    /// Outputs of each side.
    outputs: u64,
    kernel: u64,
    in_channels: u64,
    out_channels: u64,
    rows: u64,
    cols: u64,
}

/// Outputs of a window, along both sides.
type Outputs = [u64; 2];

impl Layer {
    fn count(&self) -> Option<TetrisCount> {
        let (vw, vw_channels) = self.vw_sdk()?;
        let vw_cells = self.cells(vw);
        let vw_windows = self.windows(vw);
        let mut infeasible = Vec::new();

        let all = vw[0] * vw[1];
        let squarer = (1..=all.isqrt())
            .filter(|side| all % side == 0)
            .map(|side| [side, all / side])
            .find(|&window| self.windows(window) <= vw_windows && self.cells(window) < vw_cells);
        // Cells that a margin may take of a channel. Where the window is VW-SDK's they are those that its channels leave.
        let (window, channels, margin) = match squarer {
            Some(window) => (window, self.rows / self.cells(window), vw_cells),
            None => (vw, vw_channels, self.rows / vw_channels),
        };
        let tiles = self.in_channels / channels;
        let mut cycles = 0;
        if tiles > 0 {
            cycles = self.cover(window, channels, [margin, margin], &mut infeasible)? * tiles;
        }

        let left_over = self.in_channels % channels;
        let most = self.cols / self.out_channels;
        let mut rest = left_over;
        let mut deep = None;
        while rest > 0 && deep.is_none() {
            for side in (2..=most.isqrt() + 1).rev() {
                if !most.is_multiple_of(side) || most / side > self.outputs + self.kernel - 1 {
                    continue;
                }
                let window = [side, most / side];
                let mut found = Vec::new();
                let margins = [self.rows / vw_channels, vw_cells];
                let windows = self.cover(window, rest, margins, &mut found)?;
                if windows <= vw_windows && self.cells(window) * rest <= self.rows {
                    deep = Some(windows);
                    infeasible.extend(found);
                    break;
                }
            }
            if deep.is_none() {
                rest -= 1;
            }
        }
        Some(TetrisCount {
            cycles: cycles + deep.unwrap_or(0),
            dropped: left_over - rest,
            infeasible,
        })
    }

    /// The window and channels of VW-SDK's published register.
    fn vw_sdk(&self) -> Option<(Outputs, u64)> {
        let mut register = std::collections::VecDeque::<(u64, Outputs, u64)>::new();
        for h in 1..=self.outputs {
            for w in 1..=self.outputs {
                let (mut channels, outs) = (self.rows / self.cells([w, h]), self.cols / (w * h));
                if channels == 0 || outs == 0 {
                    break;
                }
                // A picture's three channels are all there are; of other layers the window is said to hold as many as fit.
                if self.in_channels == 3 {
                    channels = channels.min(3);
                }
                let arrays = self.in_channels.div_ceil(channels) * self.out_channels.div_ceil(outs);
                let cycles = self.windows([w, h]) * arrays;
                if w == 1 {
                    register.push_back((cycles, [w, h], channels));
                }
                if register.front().is_some_and(|head| head.0 > cycles) {
                    register.pop_front();
                    register.push_back((cycles, [w, h], channels));
                }
            }
        }
        register
            .pop_front()
            .map(|(_, window, channels)| (window, channels))
    }

    /// Windows that cover the picture, with margins of their own windows, which take so many cells of a channel. `None` where one would be
    /// shorter than the kernel.
    fn cover(
        &self,
        window: Outputs,
        channels: u64,
        margins: [u64; 2],
        infeasible: &mut Vec<TetrisWindow>,
    ) -> Option<u64> {
        self.check(window, channels, infeasible);
        let mut windows = (self.outputs / window[0]) * (self.outputs / window[1]);
        for (outputs, cells) in window.into_iter().zip(margins) {
            let left = self.outputs % outputs;
            if left == 0 {
                continue;
            }
            let long = (cells / self.side(left)).checked_sub(self.kernel - 1)?;
            if long == 0 {
                return None;
            }
            let strip = [left, long.min(self.outputs)];
            self.check(strip, channels, infeasible);
            windows += self.outputs.div_ceil(strip[1]);
        }
        Some(windows)
    }

    /// Names a window that does not fit.
    fn check(&self, window: Outputs, channels: u64, infeasible: &mut Vec<TetrisWindow>) {
        let rows = self.cells(window) * channels;
        let cols = window[0] * window[1] * self.out_channels;
        if rows > self.rows || cols > self.cols {
            infeasible.push(TetrisWindow {
                sides: window.map(|outputs| self.side(outputs)),
                channels,
                rows,
                cols,
            });
        }
    }

    fn side(&self, outputs: u64) -> u64 {
        outputs + self.kernel - 1
    }

    fn cells(&self, [one, other]: Outputs) -> u64 {
        self.side(one) * self.side(other)
    }

    fn windows(&self, [one, other]: Outputs) -> u64 {
        self.outputs.div_ceil(one) * self.outputs.div_ceil(other)
    }
}
