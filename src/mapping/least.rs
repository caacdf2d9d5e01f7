//! Cycles that no mapping by windows can be below.
//!
//! A window over `w` x `h` outputs of all output channels and `c` input channels takes `a(w, h, c)` arrays, `ceil(T c / rows) ceil(w h OC / C')`
//! without groups, so that each of its outputs takes `a / (w h)` cycles at least. Whatever windows cover the output, for `c` channels together
//! they take
//!
//! ```text
//! L(c) = ceil(OW * OH * min over w, h of a(w, h, c) / (w h))
//! ```
//!
//! cycles or more, and for all channels, in whatever tiles, the least sum `L(c1) + L(c2) + ...` over the tiles that make up `IC`. A mapping of one
//! window that cuts between whole channels takes no fewer arrays than one that cuts anywhere.

use super::{
    ConvLayer, Cut, MappingConfig, MappingError,
    problem::{Block, Problem},
    strips::{MAX_SUMS, Partition},
    work::count,
};

/// Windows and numbers of arrays or channels to try, beyond which a layer is not looked into.
pub(super) const MAX_STEPS: u64 = 1 << 24;

/// Cycles that no mapping by windows of this layer takes fewer than, in whatever tiles of input channels and pieces of the output. It is above
/// [`lower_bound`](super::lower_bound), which counts weights alone: it knows that the copies of a kernel leave cells between them empty.
/// Of a layer for which that would take too long, it is [`lower_bound`](super::lower_bound).
///
/// ```
/// use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, lower_bound, map_layer, window_bound};
///
/// // No mapping by windows takes fewer cycles than this one.
/// let layer = ConvLayer::square("conv", 18, 3, 32, 32);
/// let config = MappingConfig::new(PimArray::new(512, 512)?);
/// let cycles = map_layer(&layer, Method::TiledStrips, &config)?.cycles;
/// assert_eq!((lower_bound(&layer, &config)?, window_bound(&layer, &config)?, cycles), (9, 42, 42));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// Those of [`map_layer`](super::map_layer).
pub fn window_bound(layer: &ConvLayer, config: &MappingConfig) -> Result<u64, MappingError> {
    let problem = Problem::new(layer, config)?;
    let tiles = least(&problem).and_then(|least| tiles(&least));
    let bound = tiles.map_or(0, |tiles| tiles.cost(problem.in_channels));
    Ok(bound.max(problem.lower_bound))
}

/// The cheapest way to make up each number of channels of tiles with these cycles, which rise with the channels. `None` where that would take
/// too long.
pub(super) fn tiles(least: &[u64]) -> Option<Partition> {
    let all = least.len() - 1;
    let mut partition = Partition::new(all as u64);
    for channels in 1..=all {
        // The most channels for the same cycles.
        if channels == all || least[channels] < least[channels + 1] {
            partition.offer(channels as u64, least[channels]);
        }
        if partition.sums() > MAX_SUMS {
            return None;
        }
    }
    Some(partition)
}

/// `L(c)` for each number of channels, rising. `None` where it would take too long.
pub(super) fn least(problem: &Problem) -> Option<Vec<u64>> {
    let all = problem.in_channels as usize;
    let mut least = vec![u64::MAX; all + 1];
    least[0] = 0;
    if problem.groups == 1 {
        offer_windows(problem, &mut least)?;
    } else {
        let steps = problem.outputs().checked_mul(problem.in_channels)?;
        if steps > MAX_STEPS {
            return None;
        }
        offer_windows_of_groups(problem, &mut least);
    }
    // Fewer channels take no more cycles, and more take no fewer.
    for channels in (1..all).rev() {
        least[channels] = least[channels].min(least[channels + 1]);
    }
    Some(least)
}

/// Lowers `least` to what each window takes, at the most channels that each number of arrays holds. Windows that are too large to be of use are
/// covered by a bound of their own: with `T` rows a channel or more, a window takes `ceil(T c / rows) OC / C'` cycles for each output at least.
/// `None` where that takes too long.
fn offer_windows(problem: &Problem, least: &mut [u64]) -> Option<()> {
    let Problem {
        rows,
        cols,
        out_channels,
        ..
    } = *problem;
    let all = problem.in_channels;
    let outputs = u128::from(problem.outputs());
    // Rows of arrays up to `most`, at `taken / of` arrays across for each output.
    let mut offer = |per_channel: u64, most: u64, [taken, of]: [u64; 2]| {
        for arrays in 1..=most {
            count(1);
            let channels = (arrays * rows / per_channel).min(all);
            let cycles = (outputs * u128::from(arrays * taken)).div_ceil(u128::from(of));
            let least = &mut least[channels as usize];
            *least = (*least).min(u64::try_from(cycles).unwrap_or(u64::MAX));
        }
    };
    // Rows of a channel times columns for each output, of the window that has the fewest.
    let mut fewest = f64::INFINITY;
    let mut rows_of_larger = None::<u64>;
    let mut steps = 0;
    'heights: for h in 1..=problem.down.out {
        for w in 1..=problem.across.out {
            count(1);
            let (per_channel, window) = (problem.rows_per_channel(w, h), w * h);
            let arrays_across = (window * out_channels).div_ceil(cols);
            let taken = per_channel as f64 * (arrays_across * cols) as f64 / window as f64;
            fewest = fewest.min(taken);
            // No larger window takes less than this.
            if (per_channel * out_channels) as f64 > 2.0 * fewest {
                let before = rows_of_larger.unwrap_or(u64::MAX);
                rows_of_larger = Some(before.min(per_channel));
                if w == 1 {
                    break 'heights;
                }
                break;
            }
            let most = (per_channel * all).div_ceil(rows);
            steps += most;
            if steps > MAX_STEPS {
                return None;
            }
            offer(per_channel, most, [arrays_across, window]);
        }
    }
    if let Some(per_channel) = rows_of_larger {
        let most = (per_channel * all).div_ceil(rows);
        if steps + most > MAX_STEPS {
            return None;
        }
        offer(per_channel, most, [out_channels, cols]);
    }
    least[0] = 0;
    Some(())
}

/// The same with groups, of which an array holds several where they fit.
fn offer_windows_of_groups(problem: &Problem, least: &mut [u64]) {
    let outputs = problem.outputs();
    for h in 1..=problem.down.out {
        for w in 1..=problem.across.out {
            for (channels, least) in (1..).zip(&mut least[1..]) {
                count(1);
                let block = Block {
                    in_channels: channels,
                    ..problem.whole(w, h)
                };
                let Some(grid) = problem.grid(block, Cut::Elements) else {
                    continue;
                };
                let cycles = outputs.saturating_mul(grid.arrays()).div_ceil(w * h);
                *least = cycles.min(*least);
            }
        }
    }
}

/// Cycles that strips for so many channels do not go below: closer than `L(c)`, as windows are whole outputs wide and high. Every row of outputs
/// is cut into widths of windows, of which one `w` wide takes `a(w, h) / h` cycles in each of its rows at least, for the best `h`; and so is
/// every column into heights. 0 where that would take too long.
pub(super) fn least_of_strips(problem: &Problem, channels: u64) -> u64 {
    let (width, height) = (problem.across.out, problem.down.out);
    let rows = least_of_lines(problem, channels, [width, height], |w, h| [w, h]);
    let columns = least_of_lines(problem, channels, [height, width], |h, w| [w, h]);
    rows.max(columns)
}

/// Parts of a cycle that lines are counted in.
const PARTS: u64 = 1 << 20;

/// Cycles of so many lines of such a length, whose parts are windows of a length along the line and of another one across it.
fn least_of_lines(
    problem: &Problem,
    channels: u64,
    [length, lines]: [u64; 2],
    window: impl Fn(u64, u64) -> [u64; 2],
) -> u64 {
    let mut lengths = Partition::new(length);
    for along in 1..=length {
        // Parts of a cycle for each of its lines, rounded down, of the window that takes the fewest.
        let mut best = u64::MAX;
        for across in 1..=lines {
            count(1);
            let [w, h] = window(along, across);
            // No window over more lines takes less: its columns fill so many arrays, of which its rows ask for so many each.
            let row_cycles = (problem.rows_per_channel(w, h) * channels).div_ceil(problem.rows);
            let columns = problem.groups * problem.out_channels * along;
            let least =
                u128::from(columns) * u128::from(row_cycles) * u128::from(PARTS) / u128::from(problem.cols);
            if least >= u128::from(best) {
                break;
            }
            let block = Block {
                in_channels: channels,
                ..problem.whole(w, h)
            };
            if let Some(grid) = problem.grid(block, Cut::Elements) {
                best = best.min(grid.arrays().saturating_mul(PARTS) / across);
            }
        }
        lengths.offer(along, best);
        if lengths.sums() > MAX_STEPS {
            return 0;
        }
    }
    let cycles = (u128::from(lengths.cost(length)) * u128::from(lines)).div_ceil(u128::from(PARTS));
    u64::try_from(cycles).unwrap_or(u64::MAX)
}
