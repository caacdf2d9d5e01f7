//! The front of cycles against channels.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::{mapping::pareto::ParetoPoint, text};

/// A network to compare the front with: its name, its channels and its cycles.
pub type Mark = (String, usize, u64);

/// The front of cycles against channels kept, as steps, and other networks to compare with, as crosses.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array).
pub fn front(path: &Path, title: &str, front: &[ParetoPoint], marks: &[Mark]) -> Result<(), PlotError> {
    if front.is_empty() {
        return Err(PlotError::new(path, "the front is empty"));
    }
    draw(path, (960, 640), &Front { title, front, marks })
}

struct Front<'a> {
    title: &'a str,
    front: &'a [ParetoPoint],
    marks: &'a [Mark],
}

impl Picture for Front<'_> {
    fn on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let &Self { title, front, marks } = self;
        let marked = marks.iter().map(|&(_, channels, cycles)| (channels, cycles));
        let (channels, cycles) = front
            .iter()
            .map(|point| (point.channels, point.cycles))
            .chain(marked)
            .fold((0, 0), |most, point| (most.0.max(point.0), most.1.max(point.1)));
        let (right, top) = (channels as f64 * 1.05 + 1.0, cycles as f64 * 1.08 + 1.0);
        let area = heading(area, &[title.to_owned()])?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(50)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .x_desc("channels kept")
            .y_desc("computing cycles")
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 17))
            .x_label_formatter(&|channels| format!("{channels:.0}"))
            .y_label_formatter(&|cycles| format!("{cycles:.0}"))
            .draw()?;
        // Between two points the cheaper network would have to keep more channels than it has: a step.
        let mut steps = Vec::new();
        for point in front.iter().rev() {
            if let Some(&(channels, _)) = steps.last() {
                steps.push((channels, point.cycles as f64));
            }
            steps.push((point.channels as f64, point.cycles as f64));
        }
        chart
            .draw_series(LineSeries::new(steps, Palette99::pick(0).stroke_width(2)))?
            .label("Pareto front")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], Palette99::pick(0).stroke_width(2)));
        for (m, (name, channels, cycles)) in marks.iter().enumerate() {
            let colour = Palette99::pick(m + 1).to_rgba();
            let style = colour.stroke_width(2);
            chart
                .draw_series([Cross::new((*channels as f64, *cycles as f64), 7, style)])?
                .label(text::line(name))
                .legend(move |(x, y)| Cross::new((x + 8, y), 6, style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font((FONT, 15))
            .draw()?;
        Ok(())
    }
}
