//! Energy of each method by component, a panel for each network, array and model.

use std::path::Path;

use plotters::{coord::Shift, prelude::*};

use super::{Drawn, FONT, Picture, PlotError, bars::check_panels, draw, heading};
use crate::cost::Component;
use crate::report::energy;
use crate::text;

/// Size of a panel, in pixels.
const HEIGHT: u32 = 460;
const WIDTH: u32 = 900;

/// From one component of the legend to the next, in pixels.
const LEGEND_STEP: i32 = 125;

/// What methods take of one network on one array by one model.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyPanel {
    /// What stands above it.
    pub title: String,
    /// Names of the methods.
    pub methods: Vec<String>,
    /// The components, and of each the energy of each method, in pJ.
    pub components: Vec<(Component, Vec<f64>)>,
}

/// A bar for each method, the energies of its components on top of each other: panels below each other, in which a component has the same colour.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array), and where there are no panels, more than [`MAX_PANELS`](super::MAX_PANELS), or one without methods or without energy.
pub fn energy_by_component(path: &Path, panels: &[EnergyPanel]) -> Result<(), PlotError> {
    if panels.is_empty() || panels.iter().any(|panel| panel.most() <= 0.0) {
        return Err(PlotError::new(path, "there is nothing to draw"));
    }
    check_panels(path, panels.len())?;
    draw(path, (WIDTH, HEIGHT * panels.len() as u32), &Panels(panels))
}

impl EnergyPanel {
    /// In pJ, all components of `method`.
    fn total(&self, method: usize) -> f64 {
        self.components.iter().map(|(_, energies)| energies[method]).sum()
    }

    /// In pJ, of the method that takes the most.
    fn most(&self) -> f64 {
        let totals = (0..self.methods.len()).map(|method| self.total(method));
        totals.fold(0.0, f64::max)
    }
}

struct Panels<'a>(&'a [EnergyPanel]);

impl Picture for Panels<'_> {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        whole.fill(&WHITE)?;
        let mut rest = whole.clone();
        for panel in self.0 {
            let (area, below) = rest.split_vertically(HEIGHT);
            panel.on(&area)?;
            rest = below;
        }
        Ok(())
    }
}

impl Picture for EnergyPanel {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let area = heading(whole, &[self.title.clone(), String::new()])?;
        let most = self.most();
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(28)
            .y_label_area_size(100)
            .build_cartesian_2d(0.0..self.methods.len() as f64, 0.0..most * 1.08)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc("energy for one picture")
            .label_style((FONT, 15))
            .axis_desc_style((FONT, 17))
            .y_label_formatter(&|picojoules| energy(*picojoules))
            .draw()?;
        let mut below = vec![0.0; self.methods.len()];
        for (n, (component, energies)) in self.components.iter().enumerate() {
            // A component keeps its colour, whatever else a model speaks of.
            let place = Component::ALL.iter().position(|known| known == component);
            let colour = Palette99::pick(place.unwrap_or(n)).to_rgba();
            let bars = energies
                .iter()
                .zip(&mut below)
                .enumerate()
                .map(|(m, (energy, below))| {
                    let (left, bottom) = (m as f64, *below);
                    *below += energy;
                    Rectangle::new([(left + 0.15, bottom), (left + 0.85, *below)], colour.filled())
                });
            chart.draw_series(bars.collect::<Vec<_>>())?;
            // The legend stands in the empty line of the heading.
            let (x, y) = (20 + LEGEND_STEP * n as i32, 40);
            whole.draw(&Rectangle::new([(x, y), (x + 12, y + 12)], colour.filled()))?;
            let name = (FONT, 14).into_font();
            whole.draw(&Text::new(component.to_string(), (x + 18, y), name))?;
        }
        // Each method stands below its bar, and its sum above it.
        let (left, top) = area.get_base_pixel();
        let middle = |at: (i32, i32), text: &str, lower: i32| {
            let (x, y) = (at.0 - left - 4 * text.len() as i32, at.1 - top + lower);
            Text::new(text.to_owned(), (x, y), (FONT, 14).into_font())
        };
        for (m, method) in self.methods.iter().enumerate() {
            let centre = m as f64 + 0.5;
            let [foot, head] = [0.0, self.total(m)].map(|energy| chart.backend_coord(&(centre, energy)));
            area.draw(&middle(foot, &text::line(method), 8))?;
            area.draw(&middle(head, &energy(self.total(m)), -18))?;
        }
        Ok(())
    }
}
