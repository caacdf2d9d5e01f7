//! The windows that may be of use, by their sizes.

use super::{least::MAX_STEPS, problem::Problem, work::count};

/// Windows by their sizes: how many outputs each has, and the rows that a channel takes of it.
pub(super) struct Shapes {
    /// Outputs and rows of a channel, the fewest for so many outputs; from the fewest rows up.
    pub windows: Vec<(u64, u64)>,
    /// The fewest rows of a channel among the windows that are not listed, as they are too large to be of use.
    pub rows_of_larger: Option<u64>,
}

impl Shapes {
    /// Those that are of use for `out_channels` output channels or more. `None` where there are too many.
    pub fn new(problem: &Problem, out_channels: u64) -> Option<Self> {
        let mut fewest = Fewest::new(problem, out_channels);
        let mut rows_of_larger = None::<u64>;
        let mut windows = Vec::new();
        'heights: for h in 1..=problem.down.out {
            for w in 1..=problem.across.out {
                count(1);
                let (per_channel, window) = (problem.rows_per_channel(w, h), w * h);
                // No larger window takes less than this.
                if fewest.is_beyond(per_channel, window) {
                    let before = rows_of_larger.unwrap_or(u64::MAX);
                    rows_of_larger = Some(before.min(per_channel));
                    if w == 1 {
                        break 'heights;
                    }
                    break;
                }
                windows.push((window, per_channel));
                if windows.len() as u64 > MAX_STEPS {
                    return None;
                }
            }
        }
        windows.sort_unstable();
        windows.dedup_by_key(|(window, _)| *window);
        windows.sort_unstable_by_key(|&(window, rows)| (rows, window));
        Some(Self {
            windows,
            rows_of_larger,
        })
    }

    /// Calls `f` with the outputs and the rows of each window that is of use for so many output channels, from the fewest rows up. The fewest rows
    /// of those that are left out, if any are; `None` where `f` gives up.
    pub fn each(
        &self,
        problem: &Problem,
        out_channels: u64,
        mut f: impl FnMut(u64, u64) -> Option<()>,
    ) -> Option<Option<u64>> {
        let mut fewest = Fewest::new(problem, out_channels);
        for &(window, rows) in &self.windows {
            count(1);
            if fewest.is_beyond(rows, window) {
                return Some(Some(rows.min(self.rows_of_larger.unwrap_or(rows))));
            }
            f(window, rows)?;
        }
        Some(self.rows_of_larger)
    }
}

/// Rows of a channel times columns for each output, of the window that has the fewest.
struct Fewest {
    cols: u64,
    out_channels: u64,
    taken: f64,
}

impl Fewest {
    fn new(problem: &Problem, out_channels: u64) -> Self {
        Self {
            cols: problem.cols,
            out_channels,
            taken: f64::INFINITY,
        }
    }

    /// Whether no window of so many rows or more takes as little as the best so far, with one window more.
    fn is_beyond(&mut self, rows: u64, window: u64) -> bool {
        let columns = (window * self.out_channels).div_ceil(self.cols) * self.cols;
        self.taken = self.taken.min(rows as f64 * columns as f64 / window as f64);
        (rows * self.out_channels) as f64 > 2.0 * self.taken
    }
}
