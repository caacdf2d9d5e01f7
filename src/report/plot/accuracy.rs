//! Accuracy against a setting of the array.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::text;

/// A name and its points: a setting, and the accuracy in per cent.
pub type Curve = (String, Vec<(f64, f64)>);

/// Accuracies in per cent against a setting, a curve for each name, and the accuracy without an array as a line.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array); and where no curve has a point.
pub fn accuracy_curves(
    path: &Path,
    title: &str,
    x_label: &str,
    without: f64,
    curves: &[Curve],
) -> Result<(), PlotError> {
    if curves.iter().all(|(_, points)| points.is_empty()) {
        return Err(PlotError::new(path, "there is no array to draw"));
    }
    draw(
        path,
        (960, 640),
        &Curves {
            title,
            x_label,
            without,
            curves,
        },
    )
}

struct Curves<'a> {
    title: &'a str,
    x_label: &'a str,
    without: f64,
    curves: &'a [Curve],
}

impl Picture for Curves<'_> {
    fn on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let xs = || {
            self.curves
                .iter()
                .flat_map(|(_, points)| points.iter().map(|point| point.0))
        };
        let (left, right) = xs().fold((f64::MAX, f64::MIN), |(left, right), x| {
            (left.min(x), right.max(x))
        });
        // A single point still needs an axis.
        let margin = if right > left { (right - left) * 0.05 } else { 0.5 };
        let area = heading(area, &[self.title.to_owned()])?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(50)
            .y_label_area_size(64)
            .build_cartesian_2d(left - margin..right + margin, 0.0..100.0)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc(text::line(self.x_label))
            .y_desc("test accuracy, per cent")
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 17))
            .draw()?;
        let line = [(left - margin, self.without), (right + margin, self.without)];
        chart
            .draw_series(LineSeries::new(line, BLACK.mix(0.6)))?
            .label("without an array")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], BLACK.mix(0.6)));
        for (n, (name, points)) in self.curves.iter().enumerate() {
            let colour = Palette99::pick(n).to_rgba();
            let mut points = points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, colour.filled())))?;
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(text::line(name))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerRight)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 15))
            .draw()?;
        Ok(())
    }
}
