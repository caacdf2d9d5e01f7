//! SDK, shift and duplicate kernel (Zhang et al., TCAD 2021): copies of the filters, shifted by one
//! output position each, use the cells im2col leaves empty.
//!
//! The window is square in outputs (d x d) and carries all input channels. The grid of arrays stays the
//! one im2col needs: duplication only fills what that grid leaves free. With groups, it stays so in each of
//! its three counts, GC, AR and AC.

use super::{Cut, Lay, Mapping, MappingError, Method, Piece, problem::Problem, work::count};

/// The method: the square window with the fewest cycles among those that fit im2col's grid of arrays; a tie
/// goes to the larger window.
pub(crate) struct Sdk;

impl Lay for Sdk {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        let grid = |d| problem.grid(problem.whole(d, d), Cut::Elements);
        let plain = grid(1);
        let fits = |d: &u64| {
            count(1);
            grid(*d).zip(plain).is_some_and(|(grid, plain)| {
                grid.group_cycles <= plain.group_cycles
                    && grid.row_cycles <= plain.row_cycles
                    && grid.col_cycles <= plain.col_cycles
            })
        };
        // A window reaching past the input would compute outputs that do not exist.
        let largest = problem.across.out.min(problem.down.out);
        let best = (1..=largest)
            .take_while(fits)
            // The grid is the same, so the fewest windows are the fewest cycles.
            .min_by_key(|&d| (problem.windows(d, d), std::cmp::Reverse(d)))
            // d = 1 is im2col's own matrix, which fits its grid; the list is never empty.
            .unwrap_or(1);
        problem.mapping(
            Method::Sdk,
            vec![Piece::whole(problem, best, best, Cut::Elements)],
        )
    }
}
