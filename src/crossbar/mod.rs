//! Runs a mapping on a simulated array, and so proves it.
//!
//! The array is programmed with the cells that [`Placement`] lists and is driven with one window after the
//! other. In [`run`] it is ideal and all numbers are integers: what comes out must equal [`convolve`], the
//! convolution written down directly, and what is counted must equal what the [`Mapping`] predicts. In
//! [`run_on`] the array is a [`Device`] with the faults of a real one.
//!
//! Both take the layer as its accounting counts it, see [`ConvLayer::counted`]: under
//! [`Accounting::AsPublished`](crate::mapping::Accounting::AsPublished) that is a smaller layer than the network runs.
//!
//! ```
//! use vwc_sdk::crossbar::{convolve, run};
//! use vwc_sdk::mapping::{ConvLayer, MappingConfig, Method, PimArray, map_layer};
//!
//! let layer = ConvLayer::square("conv", 6, 3, 2, 4).with_padding(1);
//! let config = MappingConfig::new(PimArray::new(32, 16)?);
//! let weights: Vec<i64> = (0..72).map(|n| n % 5 - 2).collect();
//! let input: Vec<i64> = (0..72).map(|n| n % 7).collect();
//!
//! let mapping = map_layer(&layer, Method::VwSdk, &config)?;
//! let run = run(&layer, &mapping, &config, &weights, &input)?;
//! assert_eq!(run.outputs, convolve(&layer, &weights, &input)?);
//! assert_eq!(run.counts.cycles, mapping.cycles);
//! # Ok::<(), vwc_sdk::crossbar::CrossbarError>(())
//! ```

use std::collections::HashMap;

use serde::Serialize;

use crate::mapping::{
    ColumnOutput, ConvLayer, Mapping, MappingConfig, Padding, PlacedArray, PlacedPiece, Placement, RowInput,
    Weight,
};

mod array;
mod convolve;
mod device;
mod error;
mod prove;
mod work;

pub use convolve::convolve;
pub use device::Device;
pub use error::CrossbarError;
pub(crate) use prove::{Proof, ProveError, prove};
pub use work::CellWork;

use array::IdealArray;
use device::{DeviceArray, Pulses};

/// What came out of the simulated array.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Run<T> {
    /// The layer's output, `[OC, OH, OW]`.
    pub outputs: Vec<T>,
    /// What it took.
    pub counts: Counts,
    /// What its cells were read with. Nothing in [`run`], whose cells hold any weight.
    pub work: CellWork,
}

/// What was counted while a mapping ran. Each is counted as it happens, not worked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Cycles: a window on an array.
    pub cycles: u64,
    /// Arrays programmed.
    pub arrays: u64,
    /// Weights written into arrays, each as many cells as its bits take.
    pub weights_written: u64,
    /// Weights that took part in a cycle, summed over all cycles.
    pub weights_driven: u64,
    /// Rows driven, summed over all cycles.
    pub rows_driven: u64,
    /// Columns of whole weights read, summed over all cycles.
    pub cols_read: u64,
    /// Conversions that left the range of the analogue-to-digital converter. Always 0 in [`run`].
    pub clipped: u64,
}

/// Runs `mapping` on an ideal array.
///
/// `weights` has the shape `[OC, IC / G, Kh, Kw]` and `input` the shape `[IC, H, W]`, of the layer as it is
/// counted.
///
/// # Errors
///
/// * [`CrossbarError::Length`]: a slice is not as long as its shape says.
/// * [`CrossbarError::TooLarge`]: a sum might not fit 64 bits.
/// * [`CrossbarError::SharedCells`]: the mapping is counted as published, and no array can be programmed so.
/// * [`CrossbarError::ArrayTooLarge`]: an array takes more cells than are simulated.
/// * [`CrossbarError::OutsideArray`] or [`CrossbarError::CellTaken`]: the mapping is wrong.
/// * [`CrossbarError::Mapping`]: the mapping is not one of this layer.
pub fn run(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    weights: &[i64],
    input: &[i64],
) -> Result<Run<i64>, CrossbarError> {
    refuse_shared_cells(config)?;
    layer.validate(config.accounting)?;
    let counted = layer.counted(config.accounting);
    convolve::check(&counted, weights, input)?;
    let scene = Scene {
        layer: &counted,
        input,
        output: layer.output(config.accounting),
    };
    scene.run(mapping, config, 0, |_, array| {
        IdealArray::program(array, config, |weight| weights[position_of(&counted, weight)])
    })
}

/// Runs `mapping` on a `device`. Its weights have the `weight_bits` of the `config`, and are cut over cells of
/// its `cell_bits`; the last cell of a weight may hold fewer.
///
/// # Errors
///
/// As [`run`], and:
///
/// * [`CrossbarError::Device`]: a setting of the device is out of range, or weights or cells have more than 16
///   bits.
/// * [`CrossbarError::Range`]: a weight or an input needs more bits than it has.
pub fn run_on(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    weights: &[i64],
    input: &[i64],
    device: &Device,
) -> Result<Run<f64>, CrossbarError> {
    refuse_shared_cells(config)?;
    layer.validate(config.accounting)?;
    let counted = layer.counted(config.accounting);
    convolve::check(&counted, weights, input)?;
    let program = programmer(&counted, config, weights, device)?;
    device::check_range("input", input, device.input_bits)?;
    let scene = Scene {
        layer: &counted,
        input,
        output: layer.output(config.accounting),
    };
    scene.run(mapping, config, 0.0, program)
}

/// A layer programmed into its arrays, to be driven with any number of inputs: what [`run_on`] does once.
///
/// It keeps every cell of every array at hand; [`run_on`] needs one array at a time.
pub struct Programmed {
    layer: ConvLayer,
    output: [usize; 2],
    input_bits: u32,
    largest_weight: u64,
    placement: Placement,
    /// For each piece its arrays.
    arrays: Vec<Vec<Wired<DeviceArray>>>,
}

impl Programmed {
    /// Programs `weights`, `[OC, IC / G, Kh, Kw]`, of a layer as it is counted.
    ///
    /// # Errors
    ///
    /// Those of [`run_on`] that concern the weights.
    pub fn new(
        layer: &ConvLayer,
        mapping: &Mapping,
        config: &MappingConfig,
        weights: &[i64],
        device: &Device,
    ) -> Result<Self, CrossbarError> {
        refuse_shared_cells(config)?;
        layer.validate(config.accounting)?;
        let counted = layer.counted(config.accounting);
        convolve::check_length("weights", weights, u128::from(counted.params()))?;
        let placement = Placement::new(&counted, mapping, config)?;
        let program = programmer(&counted, config, weights, device)?;
        let mut arrays = Vec::new();
        for (placed, (first, _)) in placement.pieces().zip(numbers(&placement)) {
            let wired = placed
                .arrays()
                .enumerate()
                .map(|(index, array)| Ok(Wired::new(&array, program(first + index as u64, &array)?)))
                .collect::<Result<Vec<_>, CrossbarError>>()?;
            arrays.push(wired);
        }
        Ok(Self {
            output: layer.output(config.accounting),
            layer: counted.clone(),
            input_bits: device.input_bits,
            largest_weight: convolve::largest(weights),
            placement,
            arrays,
        })
    }

    /// The layer, as it is counted.
    #[must_use]
    pub fn layer(&self) -> &ConvLayer {
        &self.layer
    }

    /// Drives the arrays with `input`, `[IC, H, W]`. Arrays and weights written are not counted again.
    ///
    /// # Errors
    ///
    /// Those of [`run_on`] that concern the input.
    pub fn run(&self, input: &[i64]) -> Result<Run<f64>, CrossbarError> {
        convolve::check_input(&self.layer, self.largest_weight, input)?;
        device::check_range("input", input, self.input_bits)?;
        let scene = Scene {
            layer: &self.layer,
            input,
            output: self.output,
        };
        let mut run = scene.empty(0.0);
        for (placed, arrays) in self.placement.pieces().zip(&self.arrays) {
            for array in arrays {
                scene.drive(placed, array, &mut run);
            }
        }
        Ok(run)
    }
}

/// Refuses a count of columns in which weights share cells.
fn refuse_shared_cells(config: &MappingConfig) -> Result<(), CrossbarError> {
    if config.shares_cells() {
        return Err(CrossbarError::SharedCells { config: *config });
    }
    Ok(())
}

/// How the arrays of a layer are programmed on a `device`.
fn programmer<'a>(
    layer: &'a ConvLayer,
    config: &'a MappingConfig,
    weights: &'a [i64],
    device: &'a Device,
) -> Result<impl Fn(u64, &PlacedArray<'_>) -> Result<DeviceArray, CrossbarError> + 'a, CrossbarError> {
    device.validate(config)?;
    device::check_range("weight", weights, config.weight_bits)?;
    let pulses = Pulses::new(device);
    Ok(move |index, array: &PlacedArray<'_>| {
        let value = |weight| weights[position_of(layer, weight)];
        let ideal = IdealArray::program(array, config, value)?;
        DeviceArray::new(ideal, config, device, pulses.clone(), index)
    })
}

/// For each piece the number of its first array, and whether it is an earlier piece's array too.
fn numbers(placement: &Placement) -> Vec<(u64, bool)> {
    let mut known = HashMap::new();
    let mut next = 0;
    placement
        .pieces()
        .map(|placed| {
            let piece = placed.piece();
            // Pieces with the same weights in the same places share their arrays.
            let weights = (
                (&piece.groups, &piece.in_channels, &piece.out_channels),
                (piece.w, piece.h, piece.cut),
            );
            if let Some(&first) = known.get(&weights) {
                return (first, true);
            }
            let first = next;
            next += placed.arrays().count() as u64;
            known.insert(weights, first);
            (first, false)
        })
        .collect()
}

/// A programmed array that can be driven.
trait Drive<T> {
    /// Weights on it.
    fn weights(&self) -> u64;

    /// What the cells are read with where these inputs are on the rows.
    fn work(&self, inputs: &[i64]) -> CellWork;

    /// Puts `inputs` on the rows and adds what leaves on the columns to `sums`. Says how many conversions were
    /// clipped.
    fn drive(&self, inputs: &[i64], sums: &mut Vec<T>) -> u64;
}

/// A programmed array, with what its rows read and its columns compute.
struct Wired<A> {
    array: A,
    rows: Vec<RowInput>,
    cols: Vec<ColumnOutput>,
}

impl<A> Wired<A> {
    fn new(placed: &PlacedArray<'_>, array: A) -> Self {
        Self {
            array,
            rows: placed.inputs().collect(),
            cols: placed.outputs().collect(),
        }
    }
}

/// Where a weight lies in its tensor.
fn position_of(layer: &ConvLayer, weight: Weight) -> usize {
    let [kernel_h, kernel_w] = layer.kernel;
    let channel = weight.out_channel * layer.group_in_channels() + weight.in_channel;
    (channel * kernel_h + weight.ky) * kernel_w + weight.kx
}

/// A layer, as it is counted, with an input.
struct Scene<'a> {
    layer: &'a ConvLayer,
    input: &'a [i64],
    output: [usize; 2],
}

impl Scene<'_> {
    fn empty<T: Copy>(&self, zero: T) -> Run<T> {
        Run {
            outputs: vec![zero; self.layer.out_channels * self.output[0] * self.output[1]],
            counts: Counts::default(),
            work: CellWork::default(),
        }
    }

    /// Programs every array of `mapping` with `program` and drives it with every window.
    fn run<T, A>(
        &self,
        mapping: &Mapping,
        config: &MappingConfig,
        zero: T,
        program: impl Fn(u64, &PlacedArray<'_>) -> Result<A, CrossbarError>,
    ) -> Result<Run<T>, CrossbarError>
    where
        T: Copy + std::ops::AddAssign,
        A: Drive<T>,
    {
        // The mapping is of the layer as given, which the accounting then counts; counted twice is the same.
        let placement = Placement::new(self.layer, mapping, config)?;
        let mut run = self.empty(zero);
        for (placed, (first, shared)) in placement.pieces().zip(numbers(&placement)) {
            for (index, array) in placed.arrays().enumerate() {
                let wired = Wired::new(&array, program(first + index as u64, &array)?);
                if !shared {
                    run.counts.arrays += 1;
                    run.counts.weights_written += wired.array.weights();
                }
                self.drive(placed, &wired, &mut run);
            }
        }
        Ok(run)
    }

    /// Drives one array with every window of its piece.
    fn drive<T, A>(&self, placed: &PlacedPiece, wired: &Wired<A>, run: &mut Run<T>)
    where
        T: Copy + std::ops::AddAssign,
        A: Drive<T>,
    {
        let Wired { array, rows, cols } = wired;
        let (weights, mut sums) = (array.weights(), Vec::new());
        let Run {
            outputs,
            counts,
            work,
        } = run;
        for window in placed.windows() {
            let inputs: Vec<i64> = rows.iter().map(|&row| self.read(window, row)).collect();
            sums.clear();
            counts.clipped += array.drive(&inputs, &mut sums);
            *work += array.work(&inputs);
            counts.cycles += 1;
            counts.weights_driven += weights;
            counts.rows_driven += rows.len() as u64;
            counts.cols_read += cols.len() as u64;
            for (&col, &sum) in cols.iter().zip(&sums) {
                if let Some(index) = self.position(placed, window, col) {
                    outputs[index] += sum;
                }
            }
        }
    }

    /// The input that a row reads while the window stands at this output position: 0 in the padding, and
    /// beyond it, where a window hangs over the edge.
    fn read(&self, window: [usize; 2], row: RowInput) -> i64 {
        let [height, width] = self.layer.input;
        let Padding { top, left, .. } = self.layer.padding;
        let [step_y, step_x] = self.layer.stride;
        let x = (window[0] * step_x + row.x).checked_sub(left);
        let y = (window[1] * step_y + row.y).checked_sub(top);
        match (x, y) {
            (Some(x), Some(y)) if x < width && y < height => {
                self.input[(row.channel * height + y) * width + x]
            }
            _ => 0,
        }
    }

    /// Where in the output a column's sum belongs; nowhere if the window hangs over the piece's edge there.
    fn position(&self, placed: &PlacedPiece, window: [usize; 2], col: ColumnOutput) -> Option<usize> {
        let outputs = placed.piece().outputs;
        let (x, y) = (window[0] + col.x, window[1] + col.y);
        let inside = x < outputs.left + outputs.width && y < outputs.top + outputs.height;
        inside.then(|| (col.channel * self.output[0] + y) * self.output[1] + x)
    }
}
