//! What a mapping takes by a model: counts times constants.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{CostError, CostModel};
use crate::mapping::{ConvLayer, Mapping, MappingConfig, Totals};

/// A part of a chip that energy, time and area go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Component {
    /// A conversion of a column's sum.
    Adc,
    /// A conversion of a row's input.
    Dac,
    /// A cell that takes part in a read.
    Cell,
    /// A read of an array: what its rows, columns and drivers take whatever they hold.
    Array,
    /// To shift a converted sum, and to add it to others.
    ShiftAdd,
    /// A bit of an input that is fetched.
    InputBuffer,
    /// A bit of an output that is kept.
    OutputBuffer,
    /// A cell that is written; its time is that of a row.
    Write,
    /// An array that is written.
    ArrayWrite,
}

impl Component {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Adc,
        Self::Dac,
        Self::Cell,
        Self::Array,
        Self::ShiftAdd,
        Self::InputBuffer,
        Self::OutputBuffer,
        Self::Write,
        Self::ArrayWrite,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Adc => "adc",
            Self::Dac => "dac",
            Self::Cell => "cell",
            Self::Array => "array",
            Self::ShiftAdd => "shift-add",
            Self::InputBuffer => "input-buffer",
            Self::OutputBuffer => "output-buffer",
            Self::Write => "write",
            Self::ArrayWrite => "array-write",
        }
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What costs depend on besides the mapping and the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CostConfig {
    /// Bits of an activation.
    pub activation_bits: u32,
    /// Bits of an activation that enter in one pulse.
    pub pulse_bits: u32,
    /// Bits of the converters; none: as many as lose nothing.
    pub adc_bits: Option<u32>,
    /// Columns that share a converter; none: as the model has it, or one each.
    pub columns_per_adc: Option<usize>,
    /// Clock in MHz, of which a read takes whole periods; none: a read takes as long as it does.
    #[serde(default)]
    pub clock: Option<u32>,
}

impl CostConfig {
    /// For activations of so many bits, a bit a pulse, converters that lose nothing, shared as the model has it.
    #[must_use]
    pub fn new(activation_bits: u32) -> Self {
        Self {
            activation_bits,
            pulse_bits: 1,
            adc_bits: None,
            columns_per_adc: None,
            clock: None,
        }
    }

    /// Sets the bits of a pulse.
    #[must_use]
    pub fn with_pulse_bits(mut self, bits: u32) -> Self {
        self.pulse_bits = bits;
        self
    }

    /// Sets the bits of the converters.
    #[must_use]
    pub fn with_adc_bits(mut self, bits: Option<u32>) -> Self {
        self.adc_bits = bits;
        self
    }

    /// Sets how many columns share a converter.
    #[must_use]
    pub fn with_columns_per_adc(mut self, columns: Option<usize>) -> Self {
        self.columns_per_adc = columns;
        self
    }

    /// Sets the clock, in MHz.
    #[must_use]
    pub fn with_clock(mut self, clock: Option<u32>) -> Self {
        self.clock = clock;
        self
    }

    /// A time in ns in whole periods of the clock, if there is one.
    fn clocked(&self, time: f64) -> f64 {
        let Some(clock) = self.clock else {
            return time;
        };
        let period = 1e3 / f64::from(clock.max(1));
        // What is a whole number of periods but for rounding is one.
        (time / period - 1e-9).ceil().max(1.0) * period
    }

    /// Pulses of an activation, `ceil(activation_bits / pulse_bits)`.
    #[must_use]
    pub fn pulses(&self) -> u64 {
        u64::from(self.activation_bits.div_ceil(self.pulse_bits.max(1)))
    }

    /// Bits of the converters of such arrays: those that were set, or as many as tell all sums of a column apart,
    /// `ceil(log2(R (2^p - 1) (2^c - 1) + 1))` of R rows, p bits of a pulse and c of a cell.
    #[must_use]
    pub fn converter_bits(&self, mapping: &MappingConfig) -> u32 {
        self.adc_bits.unwrap_or_else(|| {
            let most = |bits: u32| (1u128 << bits.min(64)) - 1;
            let array = mapping.array;
            let largest = array.rows as u128 * most(self.pulse_bits) * most(array.cell_bits);
            u128::BITS - largest.leading_zeros()
        })
    }
}

/// How often each thing happens for one picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Counts {
    /// Conversions of columns' sums.
    pub adc_conversions: u64,
    /// Conversions of rows' inputs.
    pub dac_conversions: u64,
    /// Cells at work, summed over all reads.
    pub cells: u64,
    /// Reads of an array, one after another.
    pub reads: u64,
    /// Reads where all arrays of a layer work at once.
    pub parallel_reads: u64,
    /// Bits of inputs fetched.
    pub input_bits: u64,
    /// Bits of outputs kept.
    pub output_bits: u64,
    /// Cells written, once.
    pub cells_written: u64,
    /// Arrays written, once.
    pub arrays: u64,
}

impl Counts {
    /// Of a layer that is mapped so.
    ///
    /// An array is read once for each cycle and pulse. Arrays of a layer that work at once take as many reads as there are windows.
    #[must_use]
    pub fn of(layer: &ConvLayer, mapping: &Mapping, config: &MappingConfig, cost: &CostConfig) -> Self {
        Self {
            adc_conversions: mapping.adc_conversions,
            dac_conversions: mapping.dac_conversions,
            cells: mapping.weights_driven,
            reads: mapping.cycles,
            parallel_reads: mapping.parallel_cycles(),
            input_bits: mapping.input_traffic,
            output_bits: layer.outputs(config.accounting),
            cells_written: mapping.cells_written,
            arrays: mapping.arrays,
        }
        .with(config, cost)
    }

    /// Of a network, whose layers follow each other.
    #[must_use]
    pub fn of_totals(totals: &Totals, config: &MappingConfig, cost: &CostConfig) -> Self {
        Self {
            adc_conversions: totals.adc_conversions,
            dac_conversions: totals.dac_conversions,
            cells: totals.weights_driven,
            reads: totals.cycles,
            parallel_reads: totals.parallel_cycles,
            input_bits: totals.input_traffic,
            output_bits: totals.outputs,
            cells_written: totals.cells_written,
            arrays: totals.arrays,
        }
        .with(config, cost)
    }

    /// With pulses, the cells of a weight, and the bits of an activation.
    fn with(self, config: &MappingConfig, cost: &CostConfig) -> Self {
        let each_pulse = |count: u64| count.saturating_mul(cost.pulses());
        let bits = |count: u64| count.saturating_mul(cost.activation_bits.into());
        Self {
            adc_conversions: each_pulse(self.adc_conversions),
            dac_conversions: each_pulse(self.dac_conversions),
            cells: each_pulse(self.cells.saturating_mul(config.slices().into())),
            reads: each_pulse(self.reads),
            parallel_reads: each_pulse(self.parallel_reads),
            input_bits: bits(self.input_bits),
            output_bits: bits(self.output_bits),
            ..self
        }
    }
}

/// Energy, time and area of a mapping by one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Cost {
    /// In pJ, of each component that the model speaks of, for one picture; writing apart.
    #[serde(rename = "energy_pj")]
    pub energy: BTreeMap<Component, f64>,
    /// In pJ, to write all arrays once.
    #[serde(rename = "write_energy_pj")]
    pub write_energy: f64,
    /// In ns for one picture, arrays one after another; none where the model has no times.
    #[serde(rename = "latency_ns")]
    pub latency: Option<f64>,
    /// The same with all arrays of a layer at once.
    #[serde(rename = "parallel_latency_ns")]
    pub parallel_latency: Option<f64>,
    /// In ns, to write all arrays once.
    #[serde(rename = "write_time_ns")]
    pub write_time: Option<f64>,
    /// In um2, of each component that the model has an area for, with all arrays there.
    #[serde(rename = "area_um2")]
    pub area: BTreeMap<Component, f64>,
}

impl Cost {
    /// Of `counts` on arrays of `config`, by `model`.
    ///
    /// ```text
    /// t = reads * max(t_array, columns_per_adc * t_adc)        the maximum in whole periods of a clock, if there is one
    /// ```
    ///
    /// # Errors
    ///
    /// [`CostError::Bits`] where the model has no converters of so many bits.
    pub fn of(
        counts: &Counts,
        config: &MappingConfig,
        cost: &CostConfig,
        model: &CostModel,
    ) -> Result<Self, CostError> {
        let array = config.array;
        let adc = model.adc(cost.converter_bits(config), array.rows)?;
        let columns_per_adc = cost
            .columns_per_adc
            .or(model.columns_per_adc())
            .unwrap_or(1)
            .max(1);
        let columns_per_adc = columns_per_adc.min(array.cols);
        let times = [
            (Component::Dac, counts.dac_conversions),
            (Component::Cell, counts.cells),
            (Component::Array, counts.reads),
            (Component::ShiftAdd, counts.adc_conversions),
            (Component::InputBuffer, counts.input_bits),
            (Component::OutputBuffer, counts.output_bits),
        ];
        let of_adc = adc.map(|adc| (Component::Adc, counts.adc_conversions as f64 * adc.energy));
        let others = times.into_iter().filter_map(|(component, count)| {
            let energy = model.action(component).energy?;
            Some((component, count as f64 * energy))
        });
        let [write, array_write] = [Component::Write, Component::ArrayWrite].map(|part| model.action(part));
        let arrays = counts.arrays as f64;
        let rows = arrays * array.rows as f64;
        let conversion_time = adc
            .and_then(|adc| adc.time)
            .map(|time| time * columns_per_adc as f64);
        let read_time = [model.action(Component::Array).time, conversion_time]
            .into_iter()
            .flatten()
            .reduce(f64::max)
            .map(|time| cost.clocked(time));
        let write_times = [
            write.time.map(|time| time * rows),
            array_write.time.map(|time| time * arrays),
        ];
        let places = [
            (Component::Dac, array.rows),
            (Component::Cell, array.rows * array.cols),
            (Component::Array, 1),
            (Component::ShiftAdd, array.cols.div_ceil(columns_per_adc)),
        ];
        let converters = array.cols.div_ceil(columns_per_adc) as f64;
        let adc_area = adc
            .and_then(|adc| adc.area)
            .map(|area| (Component::Adc, arrays * converters * area));
        let areas = places.into_iter().filter_map(|(component, count)| {
            let area = model.action(component).area?;
            Some((component, arrays * count as f64 * area))
        });
        Ok(Self {
            energy: of_adc.into_iter().chain(others).collect(),
            write_energy: counts.cells_written as f64 * write.energy.unwrap_or(0.0)
                + arrays * array_write.energy.unwrap_or(0.0),
            latency: read_time.map(|time| time * counts.reads as f64),
            parallel_latency: read_time.map(|time| time * counts.parallel_reads as f64),
            write_time: write_times.into_iter().flatten().reduce(|one, other| one + other),
            area: adc_area.into_iter().chain(areas).collect(),
        })
    }

    /// In pJ, of all components.
    #[must_use]
    pub fn total_energy(&self) -> f64 {
        self.energy.values().sum()
    }

    /// In um2, of all components.
    #[must_use]
    pub fn total_area(&self) -> f64 {
        self.area.values().sum()
    }

    /// Energy times latency, in pJ ns.
    #[must_use]
    pub fn energy_delay(&self) -> Option<f64> {
        self.latency.map(|latency| latency * self.total_energy())
    }
}
