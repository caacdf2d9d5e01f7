//! Cycles that windows for some input channels cannot be below.
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
    Cut, MappingError, Method,
    problem::{Block, Problem},
    shapes::Shapes,
    strips::{MAX_SUMS, Partition},
    work::count,
};

/// Windows and numbers of arrays or channels to try, beyond which a layer is not looked into.
pub(super) const MAX_STEPS: u64 = 1 << 24;

/// The error for a search of `method` that would try more.
pub(super) fn too_many_steps(method: Method) -> MappingError {
    MappingError::SearchTooLarge {
        method,
        what: "windows and tiles to try",
        limit: MAX_STEPS,
    }
}

/// Such steps, counted.
#[derive(Default)]
pub(super) struct Steps(u64);

impl Steps {
    /// So many more. `None` where that is beyond [`MAX_STEPS`].
    pub fn take(&mut self, steps: u64) -> Option<()> {
        self.0 += steps;
        if self.0 > MAX_STEPS {
            return None;
        }
        count(steps);
        Some(())
    }
}

/// The cheapest way to make up each number of channels of tiles with these cycles, which rise with the channels. `None` where that would take
/// too long.
pub(super) fn tiles(least: &[u64]) -> Option<Partition> {
    tiles_of_use(least, |_, _| true)
}

/// The same for all channels, and the sums that were compared.
pub(super) fn of_tiles(least: &[u64]) -> Option<(u64, u64)> {
    let all = least.len() as u64 - 1;
    let equal = ends(least).map(|(channels, cycles)| all.div_ceil(channels).saturating_mul(cycles));
    let equal = equal.min().unwrap_or(0);
    let rest = by_the_best(least);
    // Of those that tiles of fewer cycles than equal ones may have.
    let of_use = |channels, cycles: u64| cycles.saturating_add(rest(all - channels)) < equal;
    let partition = tiles_of_use(least, of_use)?;
    Some((partition.cost(all).min(equal), partition.sums() + all))
}

fn tiles_of_use(least: &[u64], of_use: impl Fn(u64, u64) -> bool) -> Option<Partition> {
    let mut partition = Partition::new(least.len() as u64 - 1);
    for (channels, cycles) in ends(least).filter(|&(channels, cycles)| of_use(channels, cycles)) {
        partition.offer(channels, cycles);
        if partition.sums() > MAX_SUMS {
            return None;
        }
    }
    Some(partition)
}

/// The most channels for the same cycles, and these.
fn ends(least: &[u64]) -> impl Iterator<Item = (u64, u64)> {
    let next = least[1..].iter().skip(1).map(Some).chain([None]);
    let tiles = (1..).zip(&least[1..]).zip(next);
    tiles.filter_map(|((channels, cycles), next)| (Some(cycles) != next).then_some((channels, *cycles)))
}

/// What so many channels take at least where tiles take these cycles: as many as if all took as few for each of their channels as the best.
fn by_the_best(least: &[u64]) -> impl Fn(u64) -> u64 + use<> {
    let fewer = |best: (u64, u64), next: (u64, u64)| {
        if is_less([next.1, next.0], [best.1, best.0]) {
            next
        } else {
            best
        }
    };
    let (channels, cycles) = ends(least).reduce(fewer).unwrap_or((1, 0));
    move |all| {
        let cycles = (u128::from(all) * u128::from(cycles)).div_ceil(u128::from(channels));
        u64::try_from(cycles).unwrap_or(u64::MAX)
    }
}

/// `L(c)` for each number of channels, rising.
pub(super) struct Least {
    pub cycles: Vec<u64>,
    /// Numbers of arrays that were tried.
    pub steps: u64,
}

/// `None` where it would take too long.
pub(super) fn least(problem: &Problem) -> Option<Least> {
    if problem.groups == 1 {
        least_by(problem, &Shapes::new(problem, problem.out_channels)?)
    } else {
        let steps = problem.outputs().checked_mul(problem.in_channels)?;
        (steps <= MAX_STEPS).then(|| Least {
            cycles: least_of_groups(problem),
            steps,
        })
    }
}

/// The same without groups, with the windows that are of use.
pub(super) fn least_by(problem: &Problem, shapes: &Shapes) -> Option<Least> {
    let across = |window: u64, across: u64| Some([across, window]);
    offer_windows(problem, shapes, across, |cycles, of| cycles.div_ceil(of))
}

/// Fewer channels take no more cycles, and more take no fewer.
pub(super) fn rising(mut least: Vec<u64>) -> Vec<u64> {
    for channels in (1..least.len() - 1).rev() {
        least[channels] = least[channels].min(least[channels + 1]);
    }
    least
}

/// So many channels take these cycles at least, and more take no fewer.
pub(super) fn raise(least: &mut [u64], channels: u64, cycles: u64) {
    let more = least[channels as usize..].iter_mut();
    more.take_while(|least| **least < cycles)
        .for_each(|least| *least = cycles);
}

/// Whether the first fraction is less than the second.
pub(super) fn is_less(a: [u64; 2], b: [u64; 2]) -> bool {
    u128::from(a[0]) * u128::from(b[1]) < u128::from(b[0]) * u128::from(a[1])
}

/// What each window takes, at the most channels that each number of arrays holds: `across` says how many arrays across each output takes, as a
/// fraction, of a window of so many outputs and the arrays that it fills, and `rounded` how cycles are counted. Windows that are too large to be of
/// use are covered by a bound of their own: with `T` rows a channel or more, a window takes `ceil(T c / rows) OC / C'` cycles for each output at
/// least. `None` where that takes too long.
pub(super) fn offer_windows(
    problem: &Problem,
    shapes: &Shapes,
    mut across: impl FnMut(u64, u64) -> Option<[u64; 2]>,
    rounded: impl Fn(u128, u128) -> u128,
) -> Option<Least> {
    let Problem {
        rows,
        cols,
        out_channels,
        ..
    } = *problem;
    let all = problem.in_channels;
    let outputs = u128::from(problem.outputs());
    let mut cycles = vec![u64::MAX; all as usize + 1];
    let mut steps = Steps(shapes.windows.len() as u64);
    // Rows of arrays up to what all channels take, at `taken / of` arrays across for each output.
    let mut offer = |per_channel: u64, [taken, of]: [u64; 2]| {
        let most = (per_channel * all).div_ceil(rows);
        steps.take(most)?;
        for arrays in 1..=most {
            let channels = (arrays * rows / per_channel).min(all);
            let taken = u128::from(arrays) * u128::from(taken);
            let least = &mut cycles[channels as usize];
            *least =
                (*least).min(u64::try_from(rounded(outputs * taken, u128::from(of))).unwrap_or(u64::MAX));
        }
        Some(())
    };
    // Of windows of more rows, only those that fill fewer arrays across for each output are of use.
    let mut fewest = [1, 0];
    let larger = shapes.each(problem, out_channels, |window, per_channel| {
        let across = across(window, (window * out_channels).div_ceil(cols))?;
        if !is_less(across, fewest) {
            return Some(());
        }
        fewest = across;
        offer(per_channel, across)
    })?;
    if let Some(per_channel) = larger {
        offer(per_channel, [out_channels, cols])?;
    }
    cycles[0] = 0;
    Some(Least {
        cycles: rising(cycles),
        steps: steps.0,
    })
}

/// The same with groups, of which an array holds several where they fit.
fn least_of_groups(problem: &Problem) -> Vec<u64> {
    let outputs = problem.outputs();
    let mut least = vec![u64::MAX; problem.in_channels as usize + 1];
    least[0] = 0;
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
    rising(least)
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
