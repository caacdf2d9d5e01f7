//! All windows of a layer with the arrays that they take: what a chip of many arrays chooses from.

use serde::{Deserialize, Serialize};

use super::{ConvLayer, Cut, Mapping, MappingConfig, MappingError, problem::Problem};

/// A window of a layer, with the arrays that its weights fill and the windows that cover the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WindowChoice {
    /// Outputs of a window, across.
    pub w: usize,
    /// Outputs of a window, down.
    pub h: usize,
    /// Arrays, `GC * AR * AC`.
    pub arrays: u64,
    /// N_PW: windows that cover the output.
    pub windows: u64,
}

impl WindowChoice {
    /// That of a mapping of one window.
    pub(crate) fn of(mapping: &Mapping) -> Self {
        Self {
            w: mapping.w,
            h: mapping.h,
            arrays: mapping.arrays,
            windows: mapping.n_windows,
        }
    }
}

/// The windows of a layer that are worth a look, of all that need as many windows the smallest. `cut`: where weights are cut into arrays; with
/// [`Cut::Channels`] a window has whole channels, and one output alone is laid out as im2col does.
///
/// # Errors
///
/// Those of [`map_layer`](super::map_layer).
pub fn windows_of(
    layer: &ConvLayer,
    cut: Cut,
    config: &MappingConfig,
) -> Result<Vec<WindowChoice>, MappingError> {
    let problem = Problem::new(layer, config)?;
    let mut found = Vec::new();
    for h in problem.down.sizes() {
        for w in problem.across.sizes() {
            let cut = if (w, h) == (1, 1) { Cut::Elements } else { cut };
            let Some(grid) = problem.grid(problem.whole(w, h), cut) else {
                continue;
            };
            found.push(WindowChoice {
                w: w as usize,
                h: h as usize,
                arrays: grid.arrays(),
                windows: problem.windows(w, h),
            });
        }
    }
    Ok(found)
}
