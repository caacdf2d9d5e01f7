//! The lines that `vwc-sdk evaluate` prints: the network itself, and each setting of the array.

use serde::Serialize;

use super::cells::CellEnergy;
use crate::train::Evaluation;

/// One line of the result.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Of the converters; `null` for the network itself.
    pub adc_bits: Option<u32>,
    pub variation: Option<f64>,
    #[serde(flatten)]
    pub evaluation: Evaluation,
    /// In per cent.
    pub accuracy: f64,
    /// Of 95 % confidence, in per cent.
    pub interval: [f64; 2],
    /// Part of the conversions that were clipped.
    pub clipped: f64,
    /// What cells take, by each of the models asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cell_energy: Vec<CellEnergy>,
}

/// Of the table.
pub const HEADER: [&str; 7] = [
    "ADC bits",
    "variation",
    "right",
    "of",
    "accuracy %",
    "95 % interval",
    "clipped %",
];

impl Row {
    /// Converter bits and variation, as a table has them.
    pub fn setting(&self) -> [String; 2] {
        let bits = match self.adc_bits {
            None => "no array".to_owned(),
            Some(0) => "exact".to_owned(),
            Some(bits) => bits.to_string(),
        };
        let variation = self.variation.map(|variation| variation.to_string());
        [bits, variation.unwrap_or_default()]
    }
}

/// As a line of the table.
pub fn cells(row: &Row) -> Vec<String> {
    let [bits, variation] = row.setting();
    vec![
        bits,
        variation,
        row.evaluation.correct.to_string(),
        row.evaluation.total.to_string(),
        format!("{:.2}", row.accuracy),
        format!("{:.1} to {:.1}", row.interval[0], row.interval[1]),
        format!("{:.2}", 100.0 * row.clipped),
    ]
}
