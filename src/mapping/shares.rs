//! Cycles that no mapping by windows can be below, in whatever tiles.
//!
//! A window over `w` x `h` outputs of `o` output channels and `c` input channels takes `ceil(T c / rows) ceil(w h o / C')` arrays. Across, each output of
//! each channel has a part of an array that is no less than
//!
//! ```text
//! r(w, h) = min over o of ceil(w h o / C') / (w h o)
//! ```
//!
//! so that for `c` input channels all outputs of all channels take
//!
//! ```text
//! L(c) = OW * OH * OC * min over w, h of ceil(T c / rows) r(w, h)
//! ```
//!
//! cycles or more, whatever windows and tiles of output channels cover them. Each output of each channel adds up tiles of the input channels, so that
//! no mapping takes fewer than the least sum `L(c1) + L(c2) + ...` over tiles that make up `IC`. Some of the output channels take their share of it.

use std::ops::RangeInclusive;

use super::{
    ConvLayer, MappingConfig, MappingError,
    least::{Steps, is_less, least, of_tiles, offer_windows, rising},
    problem::Problem,
    shapes::Shapes,
};

/// Cycles that no mapping by windows of this layer takes fewer than, in whatever tiles of channels and pieces of the output. It is above
/// [`lower_bound`](super::lower_bound), which counts weights alone: it knows that the copies of a kernel leave cells between them empty.
/// Of a layer for which that would take too long, it is [`lower_bound`](super::lower_bound).
///
/// ```
/// use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, lower_bound, map_layer, window_bound};
///
/// // No mapping by windows takes fewer cycles than this one.
/// let layer = ConvLayer::square("conv", 18, 3, 32, 32);
/// let config = MappingConfig::new(PimArray::new(512, 512)?);
/// let cycles = map_layer(&layer, Method::OutputTiles, &config)?.cycles;
/// assert_eq!((lower_bound(&layer, &config)?, window_bound(&layer, &config)?, cycles), (9, 42, 42));
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// Those of [`map_layer`](super::map_layer).
pub fn window_bound(layer: &ConvLayer, config: &MappingConfig) -> Result<u64, MappingError> {
    let problem = Problem::new(layer, config)?;
    let bound = if problem.groups == 1 {
        Shares::new(&problem).map(|shares| shares.of(problem.out_channels))
    } else {
        least(&problem).and_then(|least| of_tiles(&least.cycles).map(|(cycles, _)| cycles))
    };
    Ok(bound.unwrap_or(0).max(problem.lower_bound))
}

/// Parts of a cycle that shares are counted in.
const PARTS: u64 = 1 << 16;

/// What some of the output channels take at least, as their part of what all of them take, in whatever tiles of input and output channels and pieces
/// of the output.
pub(super) struct Shares {
    /// Parts of a cycle that all of them take.
    all: u64,
    out_channels: u64,
}

impl Shares {
    /// Without groups. `None` where it would take too long.
    pub fn new(problem: &Problem) -> Option<Self> {
        let Problem {
            cols, out_channels, ..
        } = *problem;
        let mut steps = Steps::default();
        // `r(w, h) OC` of a window, as a fraction. Numbers of channels to the array repeat after as many arrays as the window has outputs.
        let fewest = |window: u64, across: u64| {
            let most = across.min(window);
            steps.take(most)?;
            let of = |arrays: u64| {
                [
                    arrays * out_channels,
                    window * (arrays * cols / window).min(out_channels),
                ]
            };
            let all = (1..=most).map(of).filter(|[_, held]| *held > 0);
            // And all channels, which may fill more.
            let all = all.chain([[across, window]]);
            all.reduce(|fewest, next| if is_less(next, fewest) { next } else { fewest })
        };
        let shapes = Shapes::new(problem, out_channels)?;
        let parts = |cycles: u128, of: u128| cycles * u128::from(PARTS) / of;
        let (all, _) = of_tiles(&offer_windows(problem, &shapes, fewest, parts)?.cycles)?;
        (all < u64::MAX).then_some(Self { all, out_channels })
    }

    /// Cycles of so many output channels.
    pub fn of(&self, out_channels: u64) -> u64 {
        let parts = u128::from(self.all) * u128::from(out_channels) / u128::from(self.out_channels);
        u64::try_from(parts.div_ceil(u128::from(PARTS))).unwrap_or(u64::MAX)
    }
}

/// Cycles that each number of output channels, from 0 up, does not go below, whatever tiles its input channels are in: each tile is counted as if it
/// filled its arrays as well as the best does. Below what [`least`] and [`of_tiles`] come to, and sooner found. Without groups; `None` where it
/// would take too long.
pub(super) fn least_of_outputs(problem: &Problem, shapes: &Shapes) -> Option<Vec<u64>> {
    let Problem {
        rows,
        cols,
        in_channels,
        out_channels,
        ..
    } = *problem;
    let mut steps = Steps::default();
    // Parts of arrays, one behind the other, that all input channels of a window take. They repeat after as many arrays as a channel has rows.
    let mut behind = |per_channel: u64| {
        let most = (per_channel * in_channels).div_ceil(rows).min(per_channel);
        steps.take(most)?;
        let of = |arrays: u64| match (arrays * rows / per_channel).min(in_channels) {
            0 => u64::MAX,
            channels => PARTS * arrays * in_channels / channels,
        };
        (1..=most).map(of).min()
    };
    let fill = |filled: &mut [u64], of: RangeInclusive<u64>, behind: u64| {
        behind.checked_mul(out_channels)?;
        for channels in of {
            let filled = &mut filled[channels as usize];
            *filled = (*filled).min(behind * channels / cols);
        }
        Some(())
    };
    let mut least = vec![u64::MAX; out_channels as usize + 1];
    // Where a window is of no use: as if it filled its columns.
    let mut filled = vec![u64::MAX; out_channels as usize + 1];
    let (mut of_use, mut tried) = (out_channels, Steps::default());
    let (_, one) = *shapes.windows.first()?;
    for &(window, per_channel) in &shapes.windows {
        let behind = behind(per_channel)?;
        // Of more channels, a window over one output takes half as much at the most.
        let useful = if per_channel > 4 * one {
            2 * one * cols / per_channel
        } else {
            out_channels
        };
        let last = useful.min(of_use);
        fill(&mut filled, last + 1..=of_use, behind)?;
        of_use = last;
        // The most channels that so many arrays across hold.
        let most = (window * of_use).div_ceil(cols);
        tried.take(most)?;
        for arrays in 1..=most {
            let channels = (arrays * cols / window).min(out_channels);
            let least = &mut least[channels as usize];
            *least = (*least).min(behind.checked_mul(arrays)? / window);
        }
    }
    if let Some(per_channel) = shapes.rows_of_larger {
        fill(&mut filled, 0..=out_channels, behind(per_channel)?)?;
    }
    let mut least = rising(least);
    for (least, filled) in least.iter_mut().zip(filled) {
        *least = filled.min(*least);
    }
    least[0] = 0;
    let outputs = u128::from(problem.outputs());
    let cycles = |parts: u64| (u128::from(parts) * outputs).div_ceil(u128::from(PARTS));
    Some(
        least
            .into_iter()
            .map(|parts| u64::try_from(cycles(parts)).unwrap_or(u64::MAX))
            .collect(),
    )
}
