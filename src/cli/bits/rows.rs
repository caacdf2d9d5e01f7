//! What `vwc-sdk bits` prints and writes: a line for each layer.

use std::path::Path;

use serde::Serialize;

use super::BitsArgs;
use crate::cli::networks::layer_bits;
use crate::quant::Bits;
use crate::report::table;
use crate::{Error, files};

/// A layer, and the bits that it gets.
#[derive(Serialize)]
pub struct Row {
    pub layer: String,
    pub weights: u64,
    /// For each choice of bits.
    pub costs: Vec<u64>,
    pub divergences: Vec<f64>,
    /// Bits of its weights and of what it reads.
    pub chosen: [u8; 2],
    #[serde(skip)]
    pub place: usize,
}

/// The file for `--layer-bits`.
pub fn write(path: &Path, rows: &[Row], kept: &[String]) -> Result<(), Error> {
    let rows = rows.iter().map(|row| (row.layer.as_str(), row.chosen));
    let full = [Bits::FULL.get(); 2];
    let csv = layer_bits::written(rows.chain(kept.iter().map(|layer| (layer.as_str(), full))));
    files::write(path, &csv).map_err(Error::io(path, "write"))
}

pub fn tabled(args: &BitsArgs, rows: &[Row], choices: &[[Bits; 2]]) -> String {
    let cost = if args.array.is_some() {
        "cycles"
    } else {
        "weight bits"
    };
    let names: Vec<String> = choices
        .iter()
        .map(|[weights, activations]| format!("W{weights}A{activations}"))
        .collect();
    let mut head = vec!["layer", "weights"];
    head.extend(names.iter().map(String::as_str));
    head.extend(["chosen", cost]);
    // A loss of rounding errors alone has no sign.
    let number = |x: f64| format!("{:.5}", if x.abs() < 5e-6 { 0.0 } else { x });
    let lines = rows.iter().map(|row| {
        let mut cells = vec![row.layer.clone(), row.weights.to_string()];
        cells.extend(row.divergences.iter().map(|&x| number(x)));
        cells.extend([names[row.place].clone(), row.costs[row.place].to_string()]);
        cells
    });
    let sum = |of: &dyn Fn(&Row) -> f64| rows.iter().map(of).sum::<f64>();
    let weights: u64 = rows.iter().map(|row| row.weights).sum();
    let mut total = vec!["total".to_owned(), weights.to_string()];
    total.extend((0..choices.len()).map(|place| number(sum(&|row| row.divergences[place]))));
    let costs: u64 = rows.iter().map(|row| row.costs[row.place]).sum();
    total.extend([number(sum(&|row| row.divergences[row.place])), costs.to_string()]);
    table(&head, lines, Some(total))
}
