//! im2col: one kernel-sized patch a cycle, each filter unrolled into one column.
//!
//! The weight matrix is `Kw*Kh*IC` rows by `OC` columns and is cut at the array's edges wherever
//! they fall, inside a channel too, so it fits every array.

use super::{Mapping, Method, problem::Problem};

/// `AR = ceil(Kw*Kh*IC / rows)`, `AC = ceil(OC / C')`, one window for every output position.
pub(crate) fn map(problem: &Problem) -> Mapping {
    let column = problem.kernel_w * problem.kernel_h * problem.in_channels;
    problem.mapping(
        Method::Im2col,
        1,
        1,
        column.div_ceil(problem.rows),
        problem.out_channels.div_ceil(problem.cols),
    )
}
