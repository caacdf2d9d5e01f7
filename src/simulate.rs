//! A trained network on simulated arrays: its convolutions of codes run through the [`crossbar`](crate::crossbar), window by
//! window, and everything else as it is trained.
//!
//! A quantised weight is an integer times a unit, and so is a quantised activation: the integers are what the array holds and
//! is driven with, and what leaves it is scaled back. With a [`Device`] that has no faults the results are the network's own,
//! to rounding. Convolutions in full precision, as the first one of the published networks, those whose inputs may be below
//! zero, and the classifier are computed beside the array.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::Error;
use crate::crossbar::{CellWork, Device, Programmed};
use crate::graph::{Codes, Conv, Executor, Graph, WeightCodes};
use crate::mapping::{Accounting, ConvLayer, MappingConfig, Method, map_layer};
use crate::module::Values;

/// The most bits of a weight or an input on an array.
const MAX_BITS: u32 = 8;

/// A network whose convolutions of codes are programmed into arrays.
pub struct SimulatedNetwork {
    executor: Executor,
    /// For each node what is on an array.
    layers: Vec<Option<OnArray>>,
    seen: Seen,
}

/// What happened on the arrays so far.
#[derive(Default)]
struct Seen {
    clipped: u64,
    conversions: u64,
    cells: u64,
    work: CellWork,
}

/// One convolution on its arrays.
struct OnArray {
    programmed: Programmed,
    /// The float that a one of the inputs stands for.
    input_unit: f64,
    /// What a one of the array's sums is worth, for each output channel.
    units: Vec<f64>,
    bias: Option<Vec<f32>>,
    /// Conversions of a column, and cells of a weight, in one cycle: one for each slice of the weights and each pulse.
    conversions: u64,
    output: [usize; 3],
}

impl SimulatedNetwork {
    /// Maps the convolutions of `graph` whose weights and inputs are codes onto the array of `config` with `method`, and programs
    /// them. Everything else is computed on `compute`.
    ///
    /// Bits of weights and inputs are those of the codes; pulses wider than the inputs are as wide as these.
    ///
    /// # Errors
    ///
    /// An accounting that does not count the network as it runs, a layer that cannot be mapped, a device whose settings
    /// are out of range, a layer that reads codes of more than 8 bits, and a network that has no convolution of codes.
    pub fn new(
        graph: &Graph,
        compute: &burn::tensor::Device,
        method: Method,
        config: &MappingConfig,
        device: &Device,
    ) -> Result<Self, Error> {
        if config.accounting != Accounting::ExactGeometry {
            return Err(Error::Simulation(format!(
                "a network runs with its padding, so it is simulated with `{}` accounting, not `{}`",
                Accounting::ExactGeometry,
                config.accounting
            )));
        }
        let codes = graph.codes();
        graph.check_bits(&codes)?;
        let mut layers = Vec::with_capacity(graph.nodes().len());
        // Faults differ from layer to layer, as arrays do. Number 0 is the first layer, which is in full precision as a rule.
        let mut number = 1;
        for (id, node) in graph.iter() {
            let Some((layer, conv)) = graph.conv_layer(id) else {
                layers.push(None);
                continue;
            };
            let device = Device {
                seed: device.seed.wrapping_add(number),
                ..device.clone()
            };
            let input = codes[node.inputs()[0].index()].as_ref();
            let on_array = OnArray::new(&layer, conv, input, method, config, device)?;
            number += u64::from(on_array.is_some());
            layers.push(on_array);
        }
        if layers.iter().all(Option::is_none) {
            return Err(Error::Simulation(format!(
                "no convolution of the network has weights of 1 to {MAX_BITS} bits and an input rounded to 1 to {MAX_BITS}, to \
                 multiples of one number none of which is below zero: there is nothing to put on an array"
            )));
        }
        Ok(Self {
            executor: graph.on(compute),
            layers,
            seen: Seen::default(),
        })
    }

    /// What the network results in for a batch of inputs: logits, `[batch, classes]`, of normalised pictures,
    /// `[batch, 3, height, width]`, for a classifier.
    ///
    /// # Errors
    ///
    /// An input that the array cannot be driven with.
    pub fn forward<I: Values, O: Values>(&mut self, images: I) -> Result<O, Error> {
        let Self {
            executor,
            layers,
            seen,
        } = self;
        executor.forward_with(images, |id, _, x| match &layers[id.index()] {
            None => Ok(None),
            Some(layer) => layer.convolve(x.clone(), seen).map(Some),
        })
    }

    /// The convolutions that are on arrays, by the names of their nodes, in the order in which they are computed.
    pub fn on_arrays(&self) -> impl Iterator<Item = &str> {
        let layers = self.layers.iter().flatten();
        layers.map(|layer| layer.programmed.layer().name.as_str())
    }

    /// The part of all conversions so far that left the range of their converter.
    pub fn clipped(&self) -> f64 {
        self.seen.clipped as f64 / self.seen.conversions.max(1) as f64
    }

    /// The cells at work so far, summed over all reads; a pair of cells counts once.
    pub fn cells(&self) -> u64 {
        self.seen.cells
    }

    /// What these were read with.
    pub fn cell_work(&self) -> CellWork {
        self.seen.work
    }
}

impl OnArray {
    /// `None` for a convolution that stays in full precision.
    fn new(
        layer: &ConvLayer,
        conv: &Conv,
        input: Option<&Codes>,
        method: Method,
        config: &MappingConfig,
        device: Device,
    ) -> Result<Option<Self>, Error> {
        let (Some(input), Some(weights)) = (input, conv.weight_codes()) else {
            return Ok(None);
        };
        let input_bits = input.bits();
        let weight_bits = magnitude_bits(&weights);
        // An array is driven with what is not below zero, and padding is nothing.
        if input.signed() || !input.through_zero() || input_bits > MAX_BITS || weight_bits > MAX_BITS {
            return Ok(None);
        }
        let config = config.with_weight_bits(weight_bits);
        let mapping = map_layer(layer, method, &config)?;
        let device = Device {
            input_bits,
            pulse_bits: device.pulse_bits.min(input_bits),
            ..device
        };
        let codes: Vec<i64> = weights.codes().iter().map(|&code| code.into()).collect();
        let programmed =
            Programmed::new(layer, &mapping, &config, &codes, &device).map_err(|source| Error::Crossbar {
                layer: layer.name.clone(),
                source,
            })?;
        let [height, width] = layer.output(config.accounting);
        let units = match *weights.units() {
            [unit] => vec![unit; layer.out_channels],
            ref units => units.to_vec(),
        };
        Ok(Some(Self {
            programmed,
            input_unit: input.unit(),
            units: units
                .into_iter()
                .map(|unit| f64::from(unit) * input.unit())
                .collect(),
            bias: conv.bias.as_ref().map(|bias| bias.values().to_vec()),
            conversions: u64::from(config.slices()) * u64::from(input_bits.div_ceil(device.pulse_bits)),
            output: [layer.out_channels, height, width],
        }))
    }

    fn convolve(&self, x: Tensor<4>, seen: &mut Seen) -> Result<Tensor<4>, Error> {
        let (device, [batch, ..]) = (x.device(), x.dims());
        let x = numbers(x);
        if x.iter().any(|x| !x.is_finite()) {
            return Err(Error::Simulation(format!(
                "layer `{}` reads something other than finite numbers: an array cannot be driven with it",
                self.programmed.layer().name
            )));
        }
        let runs = x
            .par_chunks(x.len() / batch)
            .map(|picture| {
                let codes = picture
                    .iter()
                    .map(|&x| (f64::from(x) / self.input_unit).round() as i64);
                self.programmed.run(&codes.collect::<Vec<i64>>())
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| Error::Crossbar {
                layer: self.programmed.layer().name.clone(),
                source,
            })?;
        let mut y = Vec::with_capacity(batch * self.output.iter().product::<usize>());
        for run in runs {
            let channel = self.output[1] * self.output[2];
            for (n, sum) in run.outputs.iter().enumerate() {
                let bias = self.bias.as_ref().map_or(0.0, |bias| bias[n / channel]);
                y.push((sum * self.units[n / channel]) as f32 + bias);
            }
            seen.clipped += run.counts.clipped;
            seen.conversions += run.counts.cols_read * self.conversions;
            seen.cells += run.counts.weights_driven * self.conversions;
            seen.work += run.work;
        }
        let [channels, height, width] = self.output;
        Ok(Tensor::from_data(
            TensorData::new(y, [batch, channels, height, width]),
            &device,
        ))
    }
}

/// The bits that the largest magnitude of a code takes: an array holds a weight's magnitude and its sign.
fn magnitude_bits(weights: &WeightCodes) -> u32 {
    let largest = weights.range().into_inner();
    let largest = largest.0.unsigned_abs().max(largest.1.unsigned_abs());
    let bits = (u16::BITS - largest.leading_zeros()).max(1);
    if weights.odd() {
        bits.max(weights.bits())
    } else {
        bits
    }
}

/// The elements in the order of the shape.
fn numbers(tensor: Tensor<4>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("they are 32-bit floats by now")
}
