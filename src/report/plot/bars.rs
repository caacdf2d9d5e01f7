//! Cycles of each layer by method.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::mapping::Method;

/// Where the legend begins, and from one method to the next, in pixels.
const LEGEND_LEFT: i32 = 20;
const LEGEND_STEP: i32 = 115;

/// The cycles of each layer, a bar for each method, on a logarithmic scale. `cycles[m][l]` are those of method
/// `m` on layer `l`.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array).
pub fn cycles_by_method(
    path: &Path,
    title: &str,
    layers: &[String],
    methods: &[Method],
    cycles: &[Vec<u64>],
) -> Result<(), PlotError> {
    if layers.is_empty() || methods.is_empty() {
        return Err(PlotError::new(path, "there is nothing to draw"));
    }
    let legend = LEGEND_LEFT as usize + methods.len() * LEGEND_STEP as usize;
    let bars = 160 + layers.len() * (methods.len() * 12 + 14);
    let width = bars.max(legend).clamp(600, 6000) as u32;
    let picture = Bars {
        title,
        layers,
        methods,
        cycles,
    };
    draw(path, (width, 620), &picture)
}

struct Bars<'a> {
    title: &'a str,
    layers: &'a [String],
    methods: &'a [Method],
    cycles: &'a [Vec<u64>],
}

impl Picture for Bars<'_> {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let &Self {
            title,
            layers,
            methods,
            cycles,
        } = self;
        let most = cycles.iter().flatten().copied().max().unwrap_or(1).max(10) as f64;
        let area = heading(whole, &[title.to_owned(), String::new()])?;
        let longest = layers.iter().map(|name| name.len()).max().unwrap_or(0).min(40);
        // Each layer is one unit wide; a slot at its end stays free.
        let slot = 1.0 / (methods.len() + 1) as f64;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(20 + 8 * longest as u32)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..layers.len() as f64, (0.8..most * 1.3).log_scale())?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc("computing cycles")
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 17))
            .y_label_formatter(&|cycles| format!("{cycles:.0}"))
            .draw()?;
        for (m, (method, cycles)) in methods.iter().zip(cycles).enumerate() {
            let colour = Palette99::pick(m).to_rgba();
            chart.draw_series(cycles.iter().enumerate().map(|(l, &cycles)| {
                let left = l as f64 + slot * (m as f64 + 0.5);
                Rectangle::new([(left, 0.8), (left + slot * 0.9, cycles as f64)], colour.filled())
            }))?;
            // The legend stands in the empty line of the heading.
            let (x, y) = (LEGEND_LEFT + LEGEND_STEP * m as i32, 40);
            whole.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour.filled()))?;
            let name = (FONT, 14).into_font();
            whole.draw(&Text::new(method.to_string(), (x + 18, y), name))?;
        }
        // Names stand upright under their layer.
        let name = (FONT, 14).into_font().transform(FontTransform::Rotate90);
        for (l, layer) in layers.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(l as f64 + 0.5, 0.8));
            let style = TextStyle::from(name.clone()).color(&BLACK);
            let (left, top) = area.get_base_pixel();
            area.draw(&Text::new(layer.clone(), (x - left + 8, y - top + 6), style))?;
        }
        Ok(())
    }
}
