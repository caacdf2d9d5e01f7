//! Element-granular tiling: any rectangular window, with all channels, and the weight matrix cut at the
//! array's edges wherever they fall, as im2col does with its own.
//!
//! ```text
//! AR = ceil(T * IC / rows)     AC = ceil(w * h * OC / C')
//! ```
//!
//! where T is the number of input cells a window touches. VW-SDK leaves the rows free that are too few for
//! one more channel; here the next channel begins on them. So this never needs more cycles than VW-SDK or
//! im2col. It does need arrays whose column sums are added up outside, which im2col needs too.

use super::{Cut, Lay, Mapping, MappingError, Method, Piece, im2col, problem::Problem, work::count};

/// The method: the window with the fewest cycles; of a tie, the lowest, then the narrowest.
pub(crate) struct Elements;

impl Lay for Elements {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let (w, h, _) = best(problem);
        problem.mapping(Method::Elements, vec![Piece::whole(problem, w, h, Cut::Elements)])
    }
}

/// The best window as `(w, h, cycles)`.
pub(crate) fn best(problem: &Problem) -> (u64, u64, u64) {
    let mut best = (1, 1, im2col::cycles(problem));
    for h in problem.down.sizes() {
        for w in problem.across.sizes() {
            count(1);
            // The bound only rises with the window, so the rest of the row has no better one either.
            if problem.bound(problem.outputs(), w, h, problem.in_channels) >= best.2 {
                break;
            }
            let Some(grid) = problem.grid(problem.whole(w, h), Cut::Elements) else {
                break;
            };
            let cycles = problem.windows(w, h).saturating_mul(grid.arrays());
            if cycles < best.2 {
                best = (w, h, cycles);
            }
        }
    }
    best
}
