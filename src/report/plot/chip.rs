//! A chip: when each layer works, and which arrays it has.

use std::path::Path;

use plotters::{coord::Shift, prelude::*, style::Palette};

use super::{Drawn, FONT, Picture, PlotError, draw, heading};
use crate::chip::{ChipPlan, Goal};
use crate::text;

/// Height of a layer's bar, and width of the picture, in pixels.
const ROW: i32 = 18;
const WIDTH: u32 = 1000;
/// Where bars begin.
const LEFT: i32 = 210;
/// The most layers that are drawn, and the highest picture in pixels.
const MAX_LAYERS: usize = 400;
const MAX_HEIGHT: i32 = 20_000;

/// Each layer's steps as a bar, one after the other for one picture and beside each other for a stream, and below the arrays of the chip as
/// squares in the colours of their layers. `title` stands above.
///
/// # Errors
///
/// As [`filled_array`](super::filled_array), and of a plan of more than 400 layers, or of so many parts that it would be higher than 20,000 pixels.
pub fn chip(path: &Path, title: &str, plan: &ChipPlan) -> Result<(), PlotError> {
    let layers = plan.layers().count();
    if layers > MAX_LAYERS {
        let why = format!("it would have {layers} layers, and {MAX_LAYERS} at most are drawn");
        return Err(PlotError::new(path, why));
    }
    let picture = Chip { title, plan };
    let height = 90 + ROW * picture.rows() + picture.floor_height() * plan.parts.len() as i32;
    if height > MAX_HEIGHT {
        let why = format!(
            "it would be {height} pixels high, for {} parts, and {MAX_HEIGHT} at most are drawn: give more arrays",
            plan.parts.len()
        );
        return Err(PlotError::new(path, why));
    }
    draw(path, (WIDTH, height as u32), &picture)
}

struct Chip<'a> {
    title: &'a str,
    plan: &'a ChipPlan,
}

impl Chip<'_> {
    /// Bars: one for each layer, and one for each time that arrays are written.
    fn rows(&self) -> i32 {
        let written = self.plan.parts.iter().filter(|part| part.write_steps > 0);
        (self.plan.layers().count() + written.count()) as i32
    }

    /// Arrays in a row of the floor plan, and the side of one in pixels.
    fn grid(&self) -> (i32, i32) {
        let across = (self.plan.arrays as f64).sqrt().ceil().max(1.0) as i32 * 2;
        let side = ((WIDTH as i32 - 2 * 16) / across).clamp(2, 24);
        ((WIDTH as i32 - 2 * 16) / side, side)
    }

    fn floor_height(&self) -> i32 {
        let (across, side) = self.grid();
        (self.plan.arrays as i32 + across - 1) / across * side + 34
    }
}

/// A colour that its neighbours have not.
fn colour(n: usize) -> RGBColor {
    let (red, green, blue) = Palette99::pick(n).rgb();
    RGBColor(red, green, blue)
}

impl Picture for Chip<'_> {
    fn on<B: DrawingBackend>(&self, whole: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType> {
        let stream = self.plan.goal == Goal::Throughput && self.plan.parts.len() == 1;
        let all = if stream {
            self.plan.interval()
        } else {
            self.plan.latency()
        };
        let what = if stream {
            format!("{all} steps from one picture to the next")
        } else {
            format!("{all} steps for a picture")
        };
        let area = heading(whole, &[self.title.to_owned(), what])?;
        let scale = f64::from(WIDTH as i32 - LEFT - 80) / all.max(1) as f64;
        let (mut y, mut start, mut n) = (6, 0u64, 0usize);
        let label = |text: String, at: (i32, i32)| Text::new(text, at, (FONT, 13).into_font());
        let bar = |from: u64, steps: u64, y: i32, style: ShapeStyle| {
            let left = LEFT + (from as f64 * scale) as i32;
            let right = left
                .max(LEFT + ((from + steps) as f64 * scale) as i32)
                .max(left + 1);
            (
                Rectangle::new([(left, y + 2), (right, y + ROW - 3)], style),
                right,
            )
        };
        for part in &self.plan.parts {
            if part.write_steps > 0 {
                let (shape, right) = bar(start, part.write_steps, y, RGBColor(190, 190, 190).filled());
                area.draw(&shape)?;
                area.draw(&label("arrays written".into(), (16, y + 3)))?;
                area.draw(&label(part.write_steps.to_string(), (right + 4, y + 3)))?;
                start += part.write_steps;
                y += ROW;
            }
            for layer in &part.layers {
                let from = if stream { 0 } else { start };
                let (shape, right) = bar(from, layer.steps, y, colour(n).filled());
                area.draw(&shape)?;
                let name: String = text::line(&layer.name).chars().take(26).collect();
                area.draw(&label(name, (16, y + 3)))?;
                area.draw(&label(layer.steps.to_string(), (right + 4, y + 3)))?;
                start += layer.steps;
                y += ROW;
                n += 1;
            }
        }
        let (across, side) = self.grid();
        let mut n = 0;
        for (number, part) in self.plan.parts.iter().enumerate() {
            let title = match self.plan.parts.len() {
                1 => format!("{} arrays", self.plan.arrays),
                _ => format!("{} arrays, part {}", self.plan.arrays, number + 1),
            };
            area.draw(&label(title, (16, y + 10)))?;
            let top = y + 28;
            let mut arrays = Vec::new();
            for layer in &part.layers {
                arrays.extend(std::iter::repeat_n(colour(n), layer.arrays() as usize));
                n += 1;
            }
            for place in 0..self.plan.arrays as i32 {
                let (left, above) = (16 + place % across * side, top + place / across * side);
                let square = [(left, above), (left + side - 1, above + side - 1)];
                match arrays.get(place as usize) {
                    Some(colour) => area.draw(&Rectangle::new(square, colour.filled()))?,
                    None => area.draw(&Rectangle::new(square, RGBColor(235, 235, 235).filled()))?,
                }
            }
            y += self.floor_height();
        }
        Ok(())
    }
}
