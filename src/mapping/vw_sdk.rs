//! VW-SDK, variable-window SDK (Rhe, Moon, Ko; DATE 2022, arXiv 2112.11282): any rectangular window,
//! and only as many channels of it as fit on the array at once.
//!
//! A wider window computes more outputs a cycle but leaves room for fewer channels; the search weighs
//! the two. Windows are scanned by height, and by width within a height, both from one output up.
//!
//! The exact search looks at few of them. As a window grows, its channel tiles shrink, and AR and AC with
//! them only rise; so of all widths that cover the output with the same number of windows the smallest is at
//! least as good, and it comes first in the scan. An axis of `O` outputs has about `2 * sqrt(O)` such
//! widths, and a row of the scan ends where the weights of its windows alone ask for as many cycles as the best
//! so far. The published search depends on every window it meets, and meets them all.

use super::problem::Problem;
use super::{
    ConvLayer, Cut, Fallback, Lay, Mapping, MappingConfig, MappingError, Method, Piece, Search, im2col,
    work::count,
};

/// The window `config.search` settles on, or `None` where the array is too small for even one input
/// channel of the kernel. im2col is not considered; [`map_layer`](super::map_layer) does that.
///
/// # Errors
///
/// As [`map_layer`](super::map_layer).
pub fn best_window(layer: &ConvLayer, config: &MappingConfig) -> Result<Option<Mapping>, MappingError> {
    let problem = Problem::new(layer, config)?;
    search(&problem)
        .map(|window| window.mapping(&problem, Method::VwSdk))
        .transpose()
}

/// The method: the best window, or im2col where that needs no more cycles.
pub(crate) struct VwSdk;

impl Lay for VwSdk {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let fallback = match search(problem) {
            Some(window) if window.cycles < im2col::cycles(problem) => {
                return window.mapping(problem, Method::VwSdk);
            }
            Some(window) => Fallback::NotFaster {
                cycles: window.cycles,
            },
            None => Fallback::Infeasible {
                rows: problem.rows_per_channel(1, 1),
                array: problem.array,
            },
        };
        Ok(Mapping {
            fallback: Some(fallback),
            ..im2col::Im2col.map(problem)?
        })
    }
}

/// A window and what it costs.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    w: u64,
    h: u64,
    cycles: u64,
}

impl Candidate {
    /// `AR = ceil(IC / ICt)` and `AC = ceil(OC / OCt)`; `None` where not one channel fits.
    fn new(problem: &Problem, w: u64, h: u64) -> Option<Self> {
        count(1);
        let grid = problem.grid(problem.whole(w, h), Cut::Channels)?;
        let cycles = problem.windows(w, h).saturating_mul(grid.arrays());
        Some(Self { w, h, cycles })
    }

    fn mapping(self, problem: &Problem, method: Method) -> Result<Mapping, MappingError> {
        let piece = Piece::whole(problem, self.w, self.h, Cut::Channels);
        problem.mapping(method, vec![piece])
    }
}

fn search(problem: &Problem) -> Option<Candidate> {
    match problem.search {
        Search::Exact => exact(problem),
        Search::Published => published(problem),
    }
}

/// The fewest cycles; of a tie, the first in the scan.
fn exact(problem: &Problem) -> Option<Candidate> {
    let mut best: Option<Candidate> = None;
    for h in problem.down.sizes() {
        for w in problem.across.sizes() {
            // Nor can the rest of a row improve on the best once its windows' weights alone take as long.
            if best.is_some_and(|best| {
                problem.bound(problem.outputs(), w, h, problem.in_channels) >= best.cycles
            }) {
                break;
            }
            // The tiles only shrink as the window grows: the first window that is infeasible ends the row.
            let Some(window) = Candidate::new(problem, w, h) else {
                break;
            };
            if best.is_none_or(|best| window.cycles < best.cycles) {
                best = Some(window);
            }
        }
    }
    best
}

/// The published register: a queue that each scan row joins with its first window, and whose head any
/// cheaper window dethrones. The winner goes to the tail, so the new head is an older entry, and the
/// final head need not be the cheapest window seen. RCP2's widths exist only through this.
fn published(problem: &Problem) -> Option<Candidate> {
    let mut register = std::collections::VecDeque::<Candidate>::new();
    for h in 1..=problem.down.out {
        for window in (1..=problem.across.out).map_while(|w| Candidate::new(problem, w, h)) {
            if window.w == 1 {
                register.push_back(window);
            }
            if register.front().is_some_and(|head| window.cycles < head.cycles) {
                register.pop_front();
                register.push_back(window);
            }
        }
    }
    register.pop_front()
}
