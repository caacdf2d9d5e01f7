//! The summary table: what pruning cost and brought, a line per network.

use serde::Serialize;

use super::table;

/// One line of the summary table.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NetworkRow {
    /// `original`, `RCP1`, ...
    pub name: String,
    /// Trainable parameters.
    pub params: usize,
    /// Computing cycles of all convolutions.
    pub cycles: u64,
    /// Computing cycles without the first convolution, as the published tables count.
    pub cycles_after_first: u64,
    /// Of the first network's `cycles_after_first` over this one's.
    pub speed_up: f64,
    /// Best validation accuracy, per cent.
    pub valid_accuracy: f64,
    /// Accuracy on the test split, per cent.
    pub test_accuracy: f64,
}

/// Networks, their cost and their accuracies as a table for a terminal.
#[must_use]
pub fn network_table(rows: &[NetworkRow]) -> String {
    let cells = rows.iter().map(|row| {
        vec![
            row.name.clone(),
            row.params.to_string(),
            row.cycles.to_string(),
            row.cycles_after_first.to_string(),
            format!("{:.2}x", row.speed_up),
            format!("{:.2}", row.valid_accuracy),
            format!("{:.2}", row.test_accuracy),
        ]
    });
    table(&HEADER, cells, None)
}

const HEADER: [&str; 7] = [
    "network",
    "params",
    "cycles",
    "cycles w/o first",
    "speed-up",
    "valid %",
    "test %",
];
