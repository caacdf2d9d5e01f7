//! An array as it can be built: weights cut over cells of few bits, inputs sent a few bits at a time,
//! converters that clip, and cells that are not quite what they were programmed to be.
//!
//! A signed weight is a pair of cells, one for positive and one for negative values, whose currents are
//! subtracted before they are converted; the array's columns count pairs. A weight of several cells' bits
//! takes a pair for each `cell_bits` of its magnitude, the lowest first, each on a column of its own; the last
//! pair holds the bits that are left. Two weights never share a cell. An input is sent as pulses, `pulse_bits`
//! of its magnitude at a time, with its sign as their polarity. Each column is converted at each pulse; the
//! results are shifted to their place and added outside the array, exactly.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::{
    CrossbarError, Drive,
    array::{IdealArray, check_cells},
    work::{CellWork, RowLoads},
};
use crate::mapping::MappingConfig;

/// The most bits of a weight, a cell or an input: their products are computed in floating point, which is exact
/// that far.
const MAX_BITS: u32 = 16;

/// Settings of a simulated array. [`Device::ideal`] computes exactly; each setting takes one thing away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Device {
    /// Bits of an input's magnitude, 1 to 16.
    pub input_bits: u32,
    /// Bits of an input that one pulse carries, 1 to `input_bits`. At `input_bits` an input is one pulse.
    pub pulse_bits: u32,
    /// Bits of a converter, its sign among them, 2 to 32; or 0 for one that is exact. A converter of `n` bits
    /// rounds to whole steps, a step being the current of the smallest weight under the smallest input, and
    /// clips at `2^(n-1) - 1` of them on either side.
    pub adc_bits: u32,
    /// Standard deviation of a cell's conductance, as a part of what was programmed, 0 for none to
    /// [`MAX_VARIATION`](Self::MAX_VARIATION). It is drawn once per cell, from a normal distribution. A cell programmed
    /// to 0 conducts nothing.
    pub variation: f64,
    /// Part of the cells, of those in use and of those between them, that conduct nothing whatever they are
    /// programmed to, 0 to 1.
    pub stuck_off: f64,
    /// Part of the cells that always conduct fully, as if every bit they can hold were one, 0 to 1.
    pub stuck_on: f64,
    /// Which cells are stuck, and how they vary. The same seed gives the same array.
    pub seed: u64,
}

impl Device {
    /// The largest [`variation`](Self::variation). Real cells stay below 1; far beyond, no output has a meaning, and at
    /// the end no number.
    pub const MAX_VARIATION: f64 = 10.0;

    /// A device that computes exactly on inputs of this many bits.
    #[must_use]
    pub fn ideal(input_bits: u32) -> Self {
        Self {
            input_bits,
            pulse_bits: input_bits,
            adc_bits: 0,
            variation: 0.0,
            stuck_off: 0.0,
            stuck_on: 0.0,
            seed: 0,
        }
    }

    /// Checks every setting, and the bits of weights and cells.
    pub(super) fn validate(&self, config: &MappingConfig) -> Result<(), CrossbarError> {
        let (weight_bits, cell_bits) = (config.weight_bits, config.array.cell_bits);
        let bits = |bits: u32| f64::from(bits);
        let part = |part: f64| (0.0..=1.0).contains(&part);
        let checks = [
            (
                "input bits",
                bits(self.input_bits),
                (1..=MAX_BITS).contains(&self.input_bits),
                "1 to 16",
            ),
            (
                "pulse bits",
                bits(self.pulse_bits),
                (1..=self.input_bits).contains(&self.pulse_bits),
                "1 up to the input bits",
            ),
            (
                "ADC bits",
                bits(self.adc_bits),
                self.adc_bits == 0 || (2..=32).contains(&self.adc_bits),
                "0, or 2 to 32",
            ),
            (
                "variation",
                self.variation,
                (0.0..=Self::MAX_VARIATION).contains(&self.variation),
                "0 to 10",
            ),
            ("stuck-off part", self.stuck_off, part(self.stuck_off), "0 to 1"),
            (
                "stuck-on part",
                self.stuck_on,
                part(self.stuck_on) && self.stuck_off + self.stuck_on <= 1.0,
                "0 to 1 together with the stuck-off part",
            ),
            (
                "weight bits",
                bits(weight_bits),
                (1..=MAX_BITS).contains(&weight_bits),
                "1 to 16",
            ),
            (
                "cell bits",
                bits(cell_bits),
                (1..=MAX_BITS).contains(&cell_bits),
                "1 to 16",
            ),
        ];
        match checks.into_iter().find(|&(_, _, good, _)| !good) {
            None => Ok(()),
            Some((what, value, _, expected)) => Err(CrossbarError::Device {
                what,
                value,
                expected,
            }),
        }
    }
}

/// Refuses a number whose magnitude needs more than `bits` bits.
pub(super) fn check_range(what: &'static str, values: &[i64], bits: u32) -> Result<(), CrossbarError> {
    match values.iter().find(|value| value.unsigned_abs() >> bits != 0) {
        None => Ok(()),
        Some(&value) => Err(CrossbarError::Range { what, value, bits }),
    }
}

/// How an input is cut into pulses.
#[derive(Debug, Clone)]
pub(super) struct Pulses {
    bits: u32,
    count: u32,
}

impl Pulses {
    pub fn new(device: &Device) -> Self {
        Self {
            bits: device.pulse_bits,
            count: device.input_bits.div_ceil(device.pulse_bits),
        }
    }

    /// The sum of the squares of an input's pulses, each as a part of the largest pulse.
    pub fn squares(&self, input: i64) -> f64 {
        let full = ((1_u64 << self.bits) - 1) as f64;
        let parts = (0..self.count).map(|pulse| digit(input, self.bits, pulse) / full);
        parts.map(|part| part * part).sum()
    }
}

/// The digit of `value` at place `place`, in digits of `bits` bits, with the sign of `value`.
fn digit(value: i64, bits: u32, place: u32) -> f64 {
    let digit = value.unsigned_abs() >> (bits * place) & ((1 << bits) - 1);
    digit as f64 * value.signum() as f64
}

/// A programmed array with its faults.
#[derive(Debug)]
pub(super) struct DeviceArray {
    ideal: IdealArray,
    /// Conductance of each pair of cells, in steps: `[slice][column][row]`.
    slices: Vec<Vec<Vec<f64>>>,
    cell_bits: u32,
    pulses: Pulses,
    /// The largest result of the converter, if it has one.
    limit: Option<f64>,
    loads: RowLoads,
}

impl DeviceArray {
    /// Programs the cells of `ideal` on array number `index` of the device.
    ///
    /// # Errors
    ///
    /// [`CrossbarError::ArrayTooLarge`] where it takes more cells than are simulated.
    pub fn new(
        ideal: IdealArray,
        config: &MappingConfig,
        device: &Device,
        pulses: Pulses,
        index: u64,
    ) -> Result<Self, CrossbarError> {
        let slices = config.slices() as usize;
        let cols = ideal.columns.len().saturating_mul(slices);
        check_cells(ideal.rows.saturating_mul(cols))?;
        let cell_bits = config.array.cell_bits;
        let mut cells = Cells {
            rng: ChaCha8Rng::seed_from_u64(device.seed),
            device,
            full: ((1_u64 << cell_bits) - 1) as f64,
        };
        cells.rng.set_stream(index);
        let slices = (0..config.slices())
            .map(|slice| {
                let column = |cells: &mut Cells<'_>, column: &Vec<(usize, i64)>| {
                    let mut digits = vec![0.0; ideal.rows];
                    for &(row, weight) in column {
                        digits[row] = digit(weight, cell_bits, slice);
                    }
                    digits.into_iter().map(|digit| cells.pair(digit)).collect()
                };
                ideal
                    .columns
                    .iter()
                    .map(|cells_of| column(&mut cells, cells_of))
                    .collect()
            })
            .collect();
        let weights = ideal.columns.iter().flatten();
        let digits = weights.flat_map(|&(row, weight)| {
            (0..config.slices()).map(move |slice| (row, digit(weight, cell_bits, slice)))
        });
        let loads = RowLoads::new(ideal.rows, cell_bits, digits);
        Ok(Self {
            loads,
            slices,
            cell_bits,
            pulses,
            limit: (device.adc_bits > 0).then(|| ((1_u64 << (device.adc_bits - 1)) - 1) as f64),
            ideal,
        })
    }

    /// What the converter makes of a current, and whether it clipped.
    fn convert(&self, current: f64) -> (f64, bool) {
        match self.limit {
            None => (current, false),
            Some(limit) => {
                let steps = current.round();
                (steps.clamp(-limit, limit), steps.abs() > limit)
            }
        }
    }
}

/// The cells of one array, as they are made.
struct Cells<'a> {
    rng: ChaCha8Rng,
    device: &'a Device,
    /// Conductance of a cell that conducts fully, in steps.
    full: f64,
}

impl Cells<'_> {
    /// What a pair of cells, programmed to the signed `digit`, conducts.
    fn pair(&mut self, digit: f64) -> f64 {
        self.cell(digit.max(0.0)) - self.cell((-digit).max(0.0))
    }

    fn cell(&mut self, digit: f64) -> f64 {
        let Device {
            variation,
            stuck_off,
            stuck_on,
            ..
        } = *self.device;
        if stuck_off + stuck_on > 0.0 {
            let fate: f64 = self.rng.random();
            if fate < stuck_off {
                return 0.0;
            }
            if fate < stuck_off + stuck_on {
                return self.full;
            }
        }
        if variation > 0.0 && digit > 0.0 {
            let deviation: f64 = self.rng.sample(StandardNormal);
            // A conductance is never negative.
            return (digit * (1.0 + variation * deviation)).max(0.0);
        }
        digit
    }
}

impl Drive<f64> for DeviceArray {
    fn weights(&self) -> u64 {
        self.ideal.weights()
    }

    fn work(&self, inputs: &[i64]) -> CellWork {
        self.loads.work(inputs, &self.pulses)
    }

    fn drive(&self, inputs: &[i64], sums: &mut Vec<f64>) -> u64 {
        let mut clipped = 0;
        sums.resize(self.ideal.columns.len(), 0.0);
        for pulse in 0..self.pulses.count {
            let pulses: Vec<f64> = inputs
                .iter()
                .map(|&input| digit(input, self.pulses.bits, pulse))
                .collect();
            for (slice, columns) in self.slices.iter().enumerate() {
                let place = self.pulses.bits * pulse + self.cell_bits * slice as u32;
                for (sum, column) in sums.iter_mut().zip(columns) {
                    let current = column.iter().zip(&pulses).map(|(cell, pulse)| cell * pulse).sum();
                    let (steps, over) = self.convert(current);
                    *sum += steps * (1_u64 << place) as f64;
                    clipped += u64::from(over);
                }
            }
        }
        clipped
    }
}
