//! What cells are read with, from which follows the energy that they take.

use serde::Serialize;

use super::device::Pulses;

/// What the cells of arrays were read with: two sums over all reads and all pairs of cells that hold weights.
///
/// A cell of conductance `G` under a voltage `V` takes `V^2 G t`. The voltage is a pulse as a part of the largest one, and of a pair one cell has
/// what was programmed and the other one nothing, so that the energy of all reads is
///
/// ```text
/// t V^2 (2 G_off inputs + (G_on - G_off) levels)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct CellWork {
    /// The squares of the pulses, each as a part of the largest pulse.
    pub inputs: f64,
    /// The same, times what the pair was programmed to as a part of a cell that conducts fully.
    pub levels: f64,
}

impl std::ops::AddAssign for CellWork {
    fn add_assign(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.levels += other.levels;
    }
}

/// The pairs of cells on each row of an array, and the sum of what they were programmed to, as parts of a cell that conducts fully.
#[derive(Debug)]
pub(super) struct RowLoads(Vec<[f64; 2]>);

impl RowLoads {
    /// Of so many rows, whose `weights` are digits of so many bits.
    pub fn new(rows: usize, cell_bits: u32, weights: impl Iterator<Item = (usize, f64)>) -> Self {
        let full = ((1_u64 << cell_bits) - 1) as f64;
        let mut loads = vec![[0.0; 2]; rows];
        for (row, digit) in weights {
            loads[row][0] += 1.0;
            loads[row][1] += digit.abs() / full;
        }
        Self(loads)
    }

    /// What the cells are read with where these are the inputs of the rows.
    pub fn work(&self, inputs: &[i64], pulses: &Pulses) -> CellWork {
        let mut work = CellWork::default();
        for (&[pairs, levels], &input) in self.0.iter().zip(inputs).filter(|(_, input)| **input != 0) {
            let squares = pulses.squares(input);
            work += CellWork {
                inputs: squares * pairs,
                levels: squares * levels,
            };
        }
        work
    }
}
