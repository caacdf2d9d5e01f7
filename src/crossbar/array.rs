//! The ideal array: exact integers, any weight in any cell.

use super::{CellWork, CrossbarError, Drive};
use crate::mapping::{MappingConfig, PlacedArray, Weight};

/// The most cells of an array in use that are simulated, pairs counted once: half a gigabyte of conductances.
const MAX_CELLS: usize = 1 << 26;

/// A programmed array. Only the cells that hold weights are kept.
#[derive(Debug)]
pub(super) struct IdealArray {
    /// For each column of weights in use its weights, as row and value.
    pub columns: Vec<Vec<(usize, i64)>>,
    /// Rows in use.
    pub rows: usize,
}

impl IdealArray {
    /// Writes the cells of `array`, with the values that `value` gives their weights, into the columns of cells
    /// that the array of `config` has. The bits of a weight must be from 1 up, and so must those of a cell.
    ///
    /// # Errors
    ///
    /// [`CrossbarError::ArrayTooLarge`] where there are more weights than are simulated,
    /// [`CrossbarError::OutsideArray`] where a cell does not exist, [`CrossbarError::CellTaken`] where two weights are
    /// put in one.
    pub fn program(
        array: &PlacedArray<'_>,
        config: &MappingConfig,
        value: impl Fn(Weight) -> i64,
    ) -> Result<Self, CrossbarError> {
        // The columns are counted here in cells, not in weights: a formula for whole weights is what this
        // proves. A weight starts at a cell of its own, and its last bit lies in this one after it.
        let last = ((config.weight_bits - 1) / config.array.cell_bits) as usize;
        let mut columns = vec![Vec::new(); array.cols()];
        for (count, cell) in array.cells().enumerate() {
            check_cells(count + 1)?;
            let cells = cell.col * (last + 1)..=cell.col * (last + 1) + last;
            if cell.row >= config.array.rows.min(array.rows())
                || *cells.end() >= config.array.cols
                || cell.col >= array.cols()
            {
                return Err(CrossbarError::OutsideArray {
                    row: cell.row,
                    col: *cells.end(),
                });
            }
            // Weights of different columns never meet in a cell: their ranges of cells do not overlap.
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

    fn work(&self, _: &[i64]) -> CellWork {
        CellWork::default()
    }

    fn drive(&self, inputs: &[i64], sums: &mut Vec<i64>) -> u64 {
        for cells in &self.columns {
            sums.push(cells.iter().map(|&(row, weight)| weight * inputs[row]).sum());
        }
        0
    }
}

/// Refuses an array with so many cells in use that memory might not hold them.
pub(super) fn check_cells(cells: usize) -> Result<(), CrossbarError> {
    if cells <= MAX_CELLS {
        Ok(())
    } else {
        Err(CrossbarError::ArrayTooLarge { limit: MAX_CELLS })
    }
}

#[cfg(test)]
mod tests {
    use super::{CrossbarError, IdealArray};
    use crate::mapping::{Accounting, ConvLayer, MappingConfig, Method, PimArray, Placement, map_layer};

    /// Programs the first array of a layer of `outputs` weights in a row, mapped as published.
    fn program(outputs: usize, weight_bits: u32, cell_bits: u32) -> Result<IdealArray, CrossbarError> {
        let layer = ConvLayer::square("conv", 1, 1, 1, outputs);
        let array = PimArray::new(4, 256)?.with_cell_bits(cell_bits);
        let config = MappingConfig::new(array)
            .with_weight_bits(weight_bits)
            .with_accounting(Accounting::AsPublished);
        let mapping = map_layer(&layer, Method::Im2col, &config)?;
        let placement = Placement::new(&layer, &mapping, &config)?;
        let piece = placement.pieces().next().expect("a mapping has a piece");
        let array = piece.arrays().next().expect("a piece has an array");
        IdealArray::program(&array, &config, |_| 1)
    }

    #[test]
    fn columns_of_cells_are_counted_and_no_formula_is_believed() {
        // The published formula puts all of these on one array.
        for (weight_bits, cell_bits, fit, published) in [(1, 2, 256, 512), (3, 2, 128, 170), (5, 4, 128, 204)]
        {
            assert!(program(fit, weight_bits, cell_bits).is_ok());
            for outputs in [fit + 1, published] {
                let error = program(outputs, weight_bits, cell_bits).unwrap_err();
                assert!(
                    matches!(error, CrossbarError::OutsideArray { row: 0, col } if col >= 256),
                    "{error}"
                );
            }
        }
    }
}
