//! VW-SDK, variable-window SDK (Rhe, Moon, Ko; DATE 2022, arXiv 2112.11282): any rectangular window,
//! and only as many channels of it as fit on the array at once.
//!
//! A wider window computes more outputs a cycle but leaves room for fewer channels; the search weighs
//! the two. Windows are scanned by height, and by width within a height, both from one output up.

use super::problem::Problem;
use super::{ConvLayer, Mapping, MappingConfig, MappingError, Method, Search, im2col};

/// The window `config.search` settles on, or `None` where the array is too small for even one input
/// channel of the kernel. im2col is not considered; [`map_layer`](super::map_layer) does that.
///
/// # Errors
///
/// As [`map_layer`](super::map_layer).
pub fn best_window(layer: &ConvLayer, config: &MappingConfig) -> Result<Option<Mapping>, MappingError> {
    Ok(search(&Problem::new(layer, config)?, config.search))
}

/// The best window, or im2col where that needs no more cycles.
pub(crate) fn map(problem: &Problem, how: Search) -> Mapping {
    let plain = im2col::map(problem);
    search(problem, how)
        .filter(|window| window.cycles < plain.cycles)
        .unwrap_or(plain)
}

fn search(problem: &Problem, how: Search) -> Option<Mapping> {
    match how {
        Search::Exact => exact(windows(problem)),
        Search::Published => published(windows(problem)),
    }
}

/// Every feasible window in scan order.
fn windows(problem: &Problem) -> impl Iterator<Item = Mapping> {
    (1..=problem.out_h).flat_map(move |h| {
        // Both tiles only shrink as the window widens: the first that is infeasible ends the row.
        (1..=problem.out_w).map_while(move |w| tiled(problem, w, h))
    })
}

/// The mapping with this window, `AR = ceil(IC / ICt)` and `AC = ceil(OC / OCt)`; `None` where not
/// one channel fits.
fn tiled(problem: &Problem, w: u64, h: u64) -> Option<Mapping> {
    let in_tile = problem.in_tile(w, h);
    let out_tile = problem.out_tile(w, h);
    (in_tile > 0 && out_tile > 0).then(|| {
        problem.mapping(
            Method::VwSdk,
            w,
            h,
            problem.in_channels.div_ceil(in_tile),
            problem.out_channels.div_ceil(out_tile),
        )
    })
}

/// The fewest cycles; the first of a tie.
fn exact(windows: impl Iterator<Item = Mapping>) -> Option<Mapping> {
    // `min_by_key` keeps the first of equal elements.
    windows.min_by_key(|window| window.cycles)
}

/// The published register: a queue that each scan row joins with its first window, and whose head any
/// cheaper window dethrones. The winner goes to the tail, so the new head is an older entry, and the
/// final head need not be the cheapest window seen. RCP2's widths exist only through this.
fn published(windows: impl Iterator<Item = Mapping>) -> Option<Mapping> {
    let mut register = std::collections::VecDeque::new();
    for window in windows {
        if window.w == 1 {
            register.push_back(window);
        }
        if register.front().is_some_and(|head| window.cycles < head.cycles) {
            register.pop_front();
            register.push_back(window);
        }
    }
    register.pop_front()
}
