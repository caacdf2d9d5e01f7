//! Pictures: a filled array, cycles by method, the front, and accuracy on an array. Written as SVG or PNG, by the name of the file.

use std::{fmt, path::Path};

use plotters::{
    backend::{BitMapBackend, SVGBackend},
    coord::Shift,
    prelude::*,
    style::{FontStyle, register_font},
};
use thiserror::Error;

use crate::{files, text};

mod accuracy;
mod array;
mod bars;
mod chip;
mod energy;
mod front;
mod graph;

pub use accuracy::{Curve, accuracy_curves};
pub use array::filled_array;
pub use bars::{CyclesPanel, MAX_PANELS, cycles_by_method};
pub use chip::chip;
pub use energy::{EnergyPanel, energy_by_component};
pub use front::{Mark, front};
pub use graph::graph;

/// The typeface of every picture, brought along.
const FONT: &str = "sans-serif";

/// Why a picture was not written.
#[derive(Error)]
#[error("could not draw {path}: {why}")]
pub struct PlotError {
    path: String,
    why: String,
}

impl PlotError {
    fn new(path: &Path, why: impl fmt::Display) -> Self {
        Self {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}

type Drawn<E> = Result<(), DrawingAreaErrorKind<E>>;

/// What is drawn, on either backend.
trait Picture {
    fn on<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B::ErrorType>;
}

/// Draws `picture` with so many pixels, and writes the file once it is whole.
fn draw(path: &Path, size: (u32, u32), picture: &impl Picture) -> Result<(), PlotError> {
    let fail = |why: &dyn fmt::Display| PlotError::new(path, why);
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| fail(&"its typeface could not be read"))?;
    let ending = path.extension().and_then(|ending| ending.to_str());
    let bytes = match ending.map(str::to_ascii_lowercase).as_deref() {
        Some("svg") => {
            let mut text = String::new();
            {
                let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
                picture.on(&area).map_err(|error| fail(&error))?;
                area.present().map_err(|error| fail(&error))?;
            }
            text.into_bytes()
        }
        Some("png") => {
            let mut pixels = vec![0; size.0 as usize * size.1 as usize * 3];
            {
                let area = BitMapBackend::with_buffer(&mut pixels, size).into_drawing_area();
                picture.on(&area).map_err(|error| fail(&error))?;
                area.present().map_err(|error| fail(&error))?;
            }
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, size.0, size.1);
            encoder.set_color(png::ColorType::Rgb);
            encoder.set_depth(png::BitDepth::Eight);
            encoder
                .write_header()
                .and_then(|mut image| image.write_image_data(&pixels))
                .map_err(|error| fail(&error))?;
            bytes
        }
        _ => return Err(fail(&"its name must end in .svg or .png")),
    };
    files::write(path, &bytes).map_err(|error| fail(&error))
}

/// Writes lines over the picture and returns what is left below. They may hold names from files.
fn heading<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    lines: &[String],
) -> Result<DrawingArea<B, Shift>, DrawingAreaErrorKind<B::ErrorType>> {
    const LINE: i32 = 24;

    area.fill(&WHITE)?;
    for (n, line) in lines.iter().enumerate() {
        let size = if n == 0 { 20 } else { 16 };
        let at = (16, 10 + LINE * n as i32);
        area.draw(&Text::new(text::line(line), at, (FONT, size).into_font()))?;
    }
    let (_, below) = area.split_vertically(14 + LINE * lines.len() as i32);
    Ok(below)
}
