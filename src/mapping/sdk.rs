//! SDK, shift and duplicate kernel (Zhang et al., TCAD 2021): copies of the filters, shifted by one
//! output position each, use the cells im2col leaves empty.
//!
//! The window is square in outputs (d x d) and carries all input channels. The AR x AC grid stays the
//! one im2col needs: duplication only fills what that grid leaves free.

use super::{Mapping, Method, im2col, problem::Problem};

/// The square window with the fewest cycles among those that fit im2col's grid of arrays; a tie goes
/// to the larger window.
pub(crate) fn map(problem: &Problem) -> Mapping {
    let grid = im2col::map(problem);
    let (row_cycles, col_cycles) = (grid.row_cycles, grid.col_cycles);
    let fits = |d: &u64| {
        let (width, height) = problem.window(*d, *d);
        width * height * problem.in_channels <= problem.rows * row_cycles
            && d * d * problem.out_channels <= problem.cols * col_cycles
    };
    // A window reaching past the input would compute outputs that do not exist.
    let largest = problem.out_w.min(problem.out_h);
    (1..=largest)
        .take_while(fits)
        .map(|d| problem.mapping(Method::Sdk, d, d, row_cycles, col_cycles))
        .reduce(|best, next| if next.cycles <= best.cycles { next } else { best })
        // d = 1 is im2col's own matrix, which fits its grid; the list is never empty.
        .unwrap_or(grid)
}
