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
};

mod array;
mod convolve;
mod device;
mod error;

pub use convolve::convolve;
pub use device::Device;
pub use error::CrossbarError;

use array::IdealArray;
use device::{DeviceArray, Pulses};

/// What came out of the simulated array.
#[derive(Debug, Clone, PartialEq)]
pub struct Run<T> {
    /// The layer's output, `[OC, OH, OW]`.
    pub outputs: Vec<T>,
    /// What it took.
    pub counts: Counts,
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
/// * [`CrossbarError::OutsideArray`] or [`CrossbarError::CellTaken`]: the mapping is wrong.
/// * [`CrossbarError::Mapping`]: the mapping is not one of this layer.
pub fn run(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    weights: &[i64],
    input: &[i64],
) -> Result<Run<i64>, CrossbarError> {
    let scene = Scene::new(layer, config, weights, input)?;
    let cols = config.array.effective_cols(config.weight_bits);
    scene.run(mapping, config, 0, |_, array| {
        IdealArray::program(array, config.array.rows, cols, |weight| {
            weights[scene.weight(weight)]
        })
    })
}

/// Runs `mapping` on a `device`. Its weights take `weight_bits` of the `config`, cut over cells of
/// `cell_bits`.
///
/// # Errors
///
/// As [`run`], and:
///
/// * [`CrossbarError::Device`]: a setting of the device is out of range, or the weights' bits cannot be cut
///   into whole cells.
/// * [`CrossbarError::Range`]: a weight or an input needs more bits than it has.
pub fn run_on(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    weights: &[i64],
    input: &[i64],
    device: &Device,
) -> Result<Run<f64>, CrossbarError> {
    let scene = Scene::new(layer, config, weights, input)?;
    device.validate(config)?;
    device::check_range("weight", weights, config.weight_bits)?;
    device::check_range("input", input, device.input_bits)?;
    let pulses = Pulses::new(device);
    let cols = config.array.effective_cols(config.weight_bits);
    scene.run(mapping, config, 0.0, |index, array| {
        let ideal = IdealArray::program(array, config.array.rows, cols, |weight| {
            weights[scene.weight(weight)]
        })?;
        Ok(DeviceArray::new(ideal, config, device, pulses.clone(), index))
    })
}

/// A programmed array that can be driven.
trait Drive<T> {
    /// Weights on it.
    fn weights(&self) -> u64;

    /// Puts `inputs` on the rows and adds what leaves on the columns to `sums`. Says how many conversions were
    /// clipped.
    fn drive(&self, inputs: &[i64], sums: &mut Vec<T>) -> u64;
}

/// A layer with its numbers.
struct Scene<'a> {
    layer: ConvLayer,
    input: &'a [i64],
    output: [usize; 2],
}

impl<'a> Scene<'a> {
    fn new(
        layer: &ConvLayer,
        config: &MappingConfig,
        weights: &[i64],
        input: &'a [i64],
    ) -> Result<Self, CrossbarError> {
        layer.validate(config.accounting)?;
        let counted = layer.counted(config.accounting);
        convolve::check(&counted, weights, input)?;
        Ok(Self {
            output: layer.output(config.accounting),
            layer: counted,
            input,
        })
    }

    /// Where a weight lies in its tensor.
    fn weight(&self, weight: crate::mapping::Weight) -> usize {
        let [kernel_h, kernel_w] = self.layer.kernel;
        let channel = weight.out_channel * self.layer.group_in_channels() + weight.in_channel;
        (channel * kernel_h + weight.ky) * kernel_w + weight.kx
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
        let placement = Placement::new(&self.layer, mapping, config)?;
        let mut outputs = vec![zero; self.layer.out_channels * self.output[0] * self.output[1]];
        let mut counts = Counts::default();
        let mut programmed = HashMap::new();
        let mut sums = Vec::new();
        for placed in placement.pieces() {
            let piece = placed.piece();
            // Pieces with the same weights in the same places share their arrays.
            let weights = (
                (&piece.groups, &piece.in_channels, &piece.out_channels),
                (piece.w, piece.h, piece.cut),
            );
            let shared = programmed.contains_key(&weights);
            let first = *programmed.entry(weights).or_insert(counts.arrays);
            for (index, array) in placed.arrays().enumerate() {
                let programmed = program(first + index as u64, &array)?;
                let (rows, cols): (Vec<_>, Vec<_>) = (array.inputs().collect(), array.outputs().collect());
                if !shared {
                    counts.arrays += 1;
                    counts.weights_written += programmed.weights();
                }
                for window in placed.windows() {
                    let inputs: Vec<i64> = rows.iter().map(|&row| self.read(window, row)).collect();
                    sums.clear();
                    counts.clipped += programmed.drive(&inputs, &mut sums);
                    counts.cycles += 1;
                    counts.weights_driven += programmed.weights();
                    counts.rows_driven += rows.len() as u64;
                    counts.cols_read += cols.len() as u64;
                    for (&col, &sum) in cols.iter().zip(&sums) {
                        if let Some(index) = self.position(placed, window, col) {
                            outputs[index] += sum;
                        }
                    }
                }
            }
        }
        Ok(Run { outputs, counts })
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
