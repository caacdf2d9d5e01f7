//! The ideal array: exact integers, any weight in any cell.

use super::{CrossbarError, Drive};
use crate::mapping::{PlacedArray, Weight};

/// A programmed array. Only the cells that hold weights are kept.
#[derive(Debug)]
pub(super) struct IdealArray {
    /// For each column in use its cells, as row and weight.
    pub columns: Vec<Vec<(usize, i64)>>,
    /// Rows in use.
    pub rows: usize,
}

impl IdealArray {
    /// Writes the cells of `array`, with the values that `value` gives their weights.
    ///
    /// # Errors
    ///
    /// [`CrossbarError::OutsideArray`] where a cell does not exist, [`CrossbarError::CellTaken`] where two
    /// weights are put in one.
    pub fn program(
        array: &PlacedArray<'_>,
        rows: usize,
        cols: usize,
        value: impl Fn(Weight) -> i64,
    ) -> Result<Self, CrossbarError> {
        let mut columns = vec![Vec::new(); array.cols()];
        for cell in array.cells() {
            if cell.row >= rows.min(array.rows()) || cell.col >= cols.min(array.cols()) {
                return Err(CrossbarError::OutsideArray {
                    row: cell.row,
                    col: cell.col,
                });
            }
            columns[cell.col].push((cell.row, value(cell.weight)));
        }
        for (col, cells) in columns.iter_mut().enumerate() {
            cells.sort_unstable();
            if let Some(pair) = cells.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(CrossbarError::CellTaken { row: pair[0].0, col });
            }
        }
        Ok(Self {
            columns,
            rows: array.rows(),
        })
    }
}

impl Drive<i64> for IdealArray {
    fn weights(&self) -> u64 {
        self.columns.iter().map(|cells| cells.len() as u64).sum()
    }

    fn drive(&self, inputs: &[i64], sums: &mut Vec<i64>) -> u64 {
        for cells in &self.columns {
            sums.push(cells.iter().map(|&(row, weight)| weight * inputs[row]).sum());
        }
        0
    }
}
