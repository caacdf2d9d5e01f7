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
use std::ops::Range;

use super::{
    ConvLayer, Cut, Lay, Mapping, MappingConfig, MappingError, Method, Piece, Rect, problem::Problem,
    vw_sdk::VwSdk,
};

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
    let count = Layer::of(&problem).and_then(|layer| layer.count());
    Ok(count.map(|count| TetrisCount {
        cycles: count.cycles.saturating_mul(problem.groups),
        ..count
    }))
}

/// The method: its rules at equal work. A strip that does not fit the array is refused, and windows hang over the edge there; channels that are left
/// out have VW-SDK's window. A layer that its code does not speak of, and one where that takes no fewer cycles, is mapped as by VW-SDK.
pub(crate) struct Tetris;

impl Lay for Tetris {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let others = VwSdk.map(problem)?;
        let Some(pieces) = Layer::of(problem).and_then(|layer| layer.pieces(problem)) else {
            return Ok(others);
        };
        match problem.mapping(Method::Tetris, pieces) {
            Ok(mapping) if mapping.cycles < others.cycles => Ok(mapping),
            _ => Ok(others),
        }
    }
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

/// A window with those of its margins.
#[derive(Debug, Clone, Copy)]
struct Cover {
    window: Outputs,
    /// Where windows leave outputs over at the end of the first side, and of the second, the window for these.
    margins: [Option<Outputs>; 2],
}

/// Tiles of so many channels each, that are covered alike.
#[derive(Debug, Clone, Copy)]
struct Tiles {
    times: u64,
    channels: u64,
    cover: Cover,
}

impl Layer {
    /// `None` of a layer that the code does not speak of.
    fn of(problem: &Problem) -> Option<Self> {
        let Problem { across, down, .. } = *problem;
        (across == down && across.step == 1 && across.dilation == 1).then_some(Self {
            outputs: across.out,
            kernel: across.kernel,
            in_channels: problem.in_channels,
            out_channels: problem.out_channels,
            rows: problem.rows,
            cols: problem.cols,
        })
    }

    /// A mapping by these rules.
    fn pieces(&self, problem: &Problem) -> Option<Vec<Piece>> {
        let (mut tiles, dropped) = self.tiles()?;
        if dropped > 0 {
            let (window, _) = self.vw_sdk()?;
            let cover = Cover {
                window,
                margins: [None; 2],
            };
            tiles.push(Tiles {
                times: 1,
                channels: dropped,
                cover,
            });
        }
        let mut pieces = Vec::new();
        let mut start = 0;
        for Tiles {
            times,
            channels,
            cover,
        } in tiles
        {
            let Cover { window, margins } = cover;
            let fits = |window: &Outputs| self.holds(&self.named(*window, channels));
            let [right, below] = margins.map(|margin| margin.filter(fits));
            let left_over = |margin: Option<Outputs>| margin.map_or(0, |[left, _]| left);
            let (width, height) = (self.outputs - left_over(right), self.outputs - left_over(below));
            let all = start..start + times * channels;
            let piece = |[left, top, width, height]: [u64; 4], [w, h]: Outputs, of: Range<u64>| Piece {
                outputs: Rect {
                    left: left as usize,
                    top: top as usize,
                    width: width as usize,
                    height: height as usize,
                },
                in_channels: of.start as usize..of.end as usize,
                ..Piece::whole(problem, w, h, Cut::Channels)
            };
            pieces.push(piece([0, 0, width, height], window, all.clone()));
            // A strip may hold more channels than a tile has, and is not asked to.
            for first in all.clone().step_by(channels as usize) {
                let of = || first..first + channels;
                if let Some([wide, long]) = right {
                    pieces.push(piece([width, 0, wide, self.outputs], [wide, long], of()));
                }
                if let Some([high, long]) = below {
                    pieces.push(piece([0, height, width, high], [long.min(width), high], of()));
                }
            }
            start = all.end;
        }
        Some(pieces)
    }

    fn count(&self) -> Option<TetrisCount> {
        let (tiles, dropped) = self.tiles()?;
        let cycles = tiles
            .iter()
            .map(|tiles| tiles.times * self.windows_of(tiles.cover))
            .sum();
        let mut infeasible = Vec::new();
        for Tiles { channels, cover, .. } in tiles {
            let windows = std::iter::once(cover.window).chain(cover.margins.into_iter().flatten());
            let named = windows.map(|window| self.named(window, channels));
            infeasible.extend(named.filter(|window| !self.holds(window)));
        }
        Some(TetrisCount {
            cycles,
            dropped,
            infeasible,
        })
    }

    /// The tiles of channels with their windows, and how many channels are left out.
    fn tiles(&self) -> Option<(Vec<Tiles>, u64)> {
        let (vw, vw_channels) = self.vw_sdk()?;
        let vw_cells = self.cells(vw);
        let vw_windows = self.windows(vw);

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
        let mut tiles = Vec::new();
        let times = self.in_channels / channels;
        if times > 0 {
            let cover = self.cover(window, [margin, margin])?;
            tiles.push(Tiles {
                times,
                channels,
                cover,
            });
        }

        let left_over = self.in_channels % channels;
        let most = self.cols / self.out_channels;
        let mut rest = left_over;
        'rest: while rest > 0 {
            for side in (2..=most.isqrt() + 1).rev() {
                if !most.is_multiple_of(side) || most / side > self.outputs + self.kernel - 1 {
                    continue;
                }
                let window = [side, most / side];
                let cover = self.cover(window, [self.rows / vw_channels, vw_cells])?;
                if self.windows_of(cover) <= vw_windows && self.cells(window) * rest <= self.rows {
                    tiles.push(Tiles {
                        times: 1,
                        channels: rest,
                        cover,
                    });
                    break 'rest;
                }
            }
            rest -= 1;
        }
        Some((tiles, left_over - rest))
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

    /// A window with its margins, which take so many cells of a channel. `None` where one would be shorter than the kernel.
    fn cover(&self, window: Outputs, cells: [u64; 2]) -> Option<Cover> {
        let mut margins = [None; 2];
        for ((outputs, cells), margin) in window.into_iter().zip(cells).zip(&mut margins) {
            let left = self.outputs % outputs;
            if left == 0 {
                continue;
            }
            let long = (cells / self.side(left)).checked_sub(self.kernel - 1)?;
            if long == 0 {
                return None;
            }
            *margin = Some([left, long.min(self.outputs)]);
        }
        Some(Cover { window, margins })
    }

    /// Windows of a cover.
    fn windows_of(&self, Cover { window, margins }: Cover) -> u64 {
        let whole = (self.outputs / window[0]) * (self.outputs / window[1]);
        let strips = margins
            .into_iter()
            .flatten()
            .map(|[_, long]| self.outputs.div_ceil(long));
        whole + strips.sum::<u64>()
    }

    fn named(&self, window: Outputs, channels: u64) -> TetrisWindow {
        TetrisWindow {
            sides: window.map(|outputs| self.side(outputs)),
            channels,
            rows: self.cells(window) * channels,
            cols: window[0] * window[1] * self.out_channels,
        }
    }

    /// Whether a window fits the array.
    fn holds(&self, window: &TetrisWindow) -> bool {
        window.rows <= self.rows && window.cols <= self.cols
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
