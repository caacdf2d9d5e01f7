//! im2col: one kernel-sized patch a cycle, each filter unrolled into one column.
//!
//! The weight matrix is `Kw*Kh*IC` rows by `OC` columns and is cut at the array's edges wherever
//! they fall, inside a channel too, so it fits every array: `AR = ceil(Kw*Kh*IC / rows)`,
//! `AC = ceil(OC / C')`, one window for every output position.

use super::{Cut, Lay, Mapping, MappingError, Method, Piece, problem::Problem};

/// The method.
pub(crate) struct Im2col;

impl Lay for Im2col {
    fn map(&self, problem: &Problem) -> Result<Mapping, MappingError> {
        problem.mapping(Method::Im2col, vec![Piece::whole(problem, 1, 1, Cut::Elements)])
    }
}

/// Cycles of im2col.
pub(crate) fn cycles(problem: &Problem) -> u64 {
    let arrays = problem.grid(problem.whole(1, 1), Cut::Elements);
    arrays.map_or(u64::MAX, |grid| {
        problem.windows(1, 1).saturating_mul(grid.arrays())
    })
}
