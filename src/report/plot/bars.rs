//! Cycles of each layer by method, a panel for each network and array.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::{mapping::Method, text};

/// Where the legend begins, and from one method to the next, in pixels.
const LEGEND_LEFT: i32 = 20;
const LEGEND_STEP: i32 = 115;

/// Height of a panel, in pixels.
const HEIGHT: u32 = 620;

/// The most panels of one picture.
pub const MAX_PANELS: usize = 12;

/// Refuses a picture of too many panels.
pub(super) fn check_panels(path: &Path, count: usize) -> Result<(), PlotError> {
    if count > MAX_PANELS {
        let why = format!("it would have {count} panels, and {MAX_PANELS} at most are drawn");
        return Err(PlotError::new(path, why));
    }
    Ok(())
}

/// A network on an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CyclesPanel {
    /// What stands above it.
    pub title: String,
    /// Names of the layers.
    pub layers: Vec<String>,
    /// The methods.
    pub methods: Vec<Method>,
    /// Cycles, for each method those of each layer.
    pub cycles: Vec<Vec<u64>>,
}

impl CyclesPanel {
    /// In pixels.
    fn width(&self) -> u32 {
        let legend = LEGEND_LEFT as usize + self.methods.len() * LEGEND_STEP as usize;
        let bars = 160 + self.layers.len() * (self.methods.len() * 12 + 14);
        bars.max(legend).clamp(600, 6000) as u32
    }
}

/// The cycles of each layer, a bar for each method, on a logarithmic scale: panels below each other, in which a
/// method has the same colour.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array), and where there are no panels, more than [`MAX_PANELS`], or one
/// without layers or methods.
pub fn cycles_by_method(path: &Path, panels: &[CyclesPanel]) -> Result<(), PlotError> {
    let empty = |panel: &CyclesPanel| panel.layers.is_empty() || panel.methods.is_empty();
    if panels.is_empty() || panels.iter().any(empty) {
        return Err(PlotError::new(path, "there is nothing to draw"));
    }
    check_panels(path, panels.len())?;
    let width = panels.iter().map(CyclesPanel::width).max().unwrap_or(0);
    draw(path, (width, HEIGHT * panels.len() as u32), &Panels(panels))
}

struct Panels<'a>(&'a [CyclesPanel]);

impl Picture for Panels<'_> {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        whole.fill(&WHITE)?;
        let mut colours: Vec<Method> = Vec::new();
        for &method in self.0.iter().flat_map(|panel| &panel.methods) {
            if !colours.contains(&method) {
                colours.push(method);
            }
        }
        let mut rest = whole.clone();
        for panel in self.0 {
            let (row, below) = rest.split_vertically(HEIGHT);
            let (area, _) = row.split_horizontally(panel.width());
            Bars {
                panel,
                colours: &colours,
            }
            .on(&area)?;
            rest = below;
        }
        Ok(())
    }
}

/// One panel.
struct Bars<'a> {
    panel: &'a CyclesPanel,
    /// Methods in the order of their colours.
    colours: &'a [Method],
}

impl Picture for Bars<'_> {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let CyclesPanel {
            title,
            layers,
            methods,
            cycles,
        } = self.panel;
        let most = cycles.iter().flatten().copied().max().unwrap_or(1).max(10) as f64;
        let area = heading(whole, &[title.clone(), String::new()])?;
        // Names may come from files.
        let layers: Vec<String> = layers.iter().map(|name| text::line(name)).collect();
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
            let colour = self.colours.iter().position(|other| other == method);
            let colour = Palette99::pick(colour.unwrap_or(m)).to_rgba();
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
            area.draw(&Text::new(layer.as_str(), (x - left + 8, y - top + 6), style))?;
        }
        Ok(())
    }
}
