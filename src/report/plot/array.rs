//! Which weight sits in which cell.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::mapping::{Mapping, MappingConfig, Placement};

/// Most squares an array is drawn with on each axis; beyond that, one stands for several cells.
const MAX_SQUARES: usize = 512;

/// The most cells in use that an array is drawn with: some seconds' work.
const MAX_CELLS: usize = 1 << 28;

/// Draws the weights on the first array of a mapping's costliest piece. Each filled square is a cell with a
/// weight: its colour is its input channel, its shade the output of the window that its column computes, so
/// the shifted copies of a kernel differ in shade. `title` names the layer.
///
/// # Errors
///
/// [`PlotError`] where the file's name ends in neither `.svg` nor `.png`, where it cannot be written, or where the array
/// has more than 2^28 cells in use.
pub fn filled_array(
    path: &Path,
    title: &str,
    placement: &Placement,
    mapping: &Mapping,
    config: &MappingConfig,
) -> Result<(), PlotError> {
    let rows = config.array.rows;
    let cols = config.effective_cols();
    let main = placement
        .pieces()
        .max_by_key(|piece| piece.cycles())
        .and_then(|piece| piece.arrays().next().map(|array| (piece, array)));
    let Some((piece, array)) = main else {
        return Err(PlotError::new(path, "the mapping has no pieces"));
    };
    if array.rows().saturating_mul(array.cols()) > MAX_CELLS {
        let why = format!(
            "it would have more than {MAX_CELLS} cells, and so many at most are drawn: use a smaller array"
        );
        return Err(PlotError::new(path, why));
    }
    let shifts = (piece.piece().w * piece.piece().h) as f64;
    // A square stands for so many cells across and down, and shows the first that is filled.
    let [bin_rows, bin_cols] = [rows, cols].map(|cells| cells.div_ceil(MAX_SQUARES));
    let mut squares = std::collections::BTreeMap::new();
    let (inputs, outputs): (Vec<_>, Vec<_>) = (array.inputs().collect(), array.outputs().collect());
    for cell in array.cells() {
        let output = outputs[cell.col];
        let shift = (output.y * piece.piece().w + output.x) as f64 / shifts;
        squares
            .entry((cell.col / bin_cols, cell.row / bin_rows))
            .or_insert((inputs[cell.row].channel, shift));
    }
    let weights = if config.shares_cells() {
        "weights that share cells, as published"
    } else {
        "whole weights"
    };
    let lines = [
        format!("{title} on {rows} rows x {cols} columns of {weights}"),
        format!(
            "{}, window {}, {} outputs a cycle; array 1 of {}; {:.1} % of all bits at work over all cycles",
            mapping.method,
            mapping.window,
            piece.piece().w * piece.piece().h,
            mapping.arrays,
            100.0 * mapping.utilisation(config)
        ),
        "colour: input channel; shade: the output of the window that the column computes".to_owned(),
    ];
    // Neighbours above each other that look the same are drawn as one: there are three times fewer then.
    let mut runs: Vec<Run> = Vec::new();
    for ((col, row), (channel, shift)) in squares {
        match runs.last_mut() {
            Some(run) if (run.col, run.end, run.channel, run.shift) == (col, row, channel, shift) => {
                run.end += 1
            }
            _ => runs.push(Run {
                col,
                start: row,
                end: row + 1,
                channel,
                shift,
            }),
        }
    }
    let corner = |col: usize, row: usize| {
        (
            (col * bin_cols).min(cols) as f64,
            (row * bin_rows).min(rows) as f64,
        )
    };
    let squares = runs
        .iter()
        .map(|run| {
            let corners = [corner(run.col, run.start), corner(run.col + 1, run.end)];
            (corners, cell_colour(run.channel, run.shift))
        })
        .collect();
    let picture = FilledArray {
        lines,
        rows,
        cols,
        squares,
    };
    // Two pixels a square at least, besides the margins.
    let side = |cells: usize, bin: usize, least: usize| (160 + 2 * cells.div_ceil(bin)).max(least) as u32;
    draw(
        path,
        (side(cols, bin_cols, 1200), side(rows, bin_rows, 900)),
        &picture,
    )
}

/// Squares of one column, one above the other, of one look.
struct Run {
    col: usize,
    start: usize,
    end: usize,
    channel: usize,
    shift: f64,
}

struct FilledArray {
    lines: [String; 3],
    rows: usize,
    cols: usize,
    squares: Vec<([(f64, f64); 2], HSLColor)>,
}

impl Picture for FilledArray {
    fn on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let area = heading(area, &self.lines)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..self.cols as f64, self.rows as f64..0.0)?;
        chart
            .configure_mesh()
            .disable_mesh()
            .x_desc("column (output channel and output of the window)")
            .y_desc("row (input channel and input cell)")
            .x_label_formatter(&|col| format!("{col:.0}"))
            .y_label_formatter(&|row| format!("{row:.0}"))
            .label_style((FONT, 16))
            .axis_desc_style((FONT, 17))
            .draw()?;
        let square =
            |(corners, colour): &([(f64, f64); 2], HSLColor)| Rectangle::new(*corners, colour.filled());
        chart.draw_series(self.squares.iter().map(square))?;
        Ok(())
    }
}

/// Neighbouring channels far apart on the colour wheel; later outputs lighter.
fn cell_colour(channel: usize, shift: f64) -> HSLColor {
    /// The golden angle, as a part of the circle.
    const TURN: f64 = 0.381_966;
    HSLColor((channel as f64 * TURN).fract(), 0.65, 0.32 + 0.4 * shift)
}
