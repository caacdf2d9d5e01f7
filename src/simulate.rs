//! A trained network on simulated arrays: its quantised convolutions run through the [`crossbar`](crate::crossbar),
//! window by window, and everything else as it is trained.
//!
//! A quantised weight is `E * code / (2^m - 1)` and a quantised activation `code / (2^k - 1)`: the codes are the integers
//! that the array holds and is driven with, and what leaves it is scaled back. With a [`Device`] that has no faults the
//! logits are the network's own, to rounding. Convolutions in full precision, as the first one of the published networks,
//! and the classifier are computed beside the array.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::Error;
use crate::crossbar::{Device, Programmed};
use crate::mapping::{Accounting, ConvLayer, MappingConfig, Method, map_layer};
use crate::models::Network;
use crate::quant::{QuantConv2d, WeightQuantizer};

/// A network whose quantised convolutions are programmed into arrays.
pub struct SimulatedNetwork<'a, N> {
    network: &'a N,
    layers: Vec<Option<OnArray>>,
    clipped: u64,
    conversions: u64,
}

/// One convolution on its arrays.
struct OnArray {
    programmed: Programmed,
    /// Steps of the unit interval that its input is rounded to.
    input_levels: f32,
    /// What a one of the array's sums is worth.
    unit: f64,
    /// Conversions of a column in one cycle: one for each slice of the weights and each pulse.
    conversions: u64,
    output: [usize; 3],
}

impl<'a, N: Network> SimulatedNetwork<'a, N> {
    /// Maps the quantised convolutions of `network` onto the array of `config` with `method` and programs them.
    ///
    /// The bits of the weights are the network's; those of the inputs in `device` are set for each layer, and so are
    /// pulses wider than them.
    ///
    /// # Errors
    ///
    /// An accounting that does not count the network as it runs, a layer that cannot be mapped, a device whose settings
    /// are out of range, and a network that has no quantised convolution.
    pub fn new(
        network: &'a N,
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
        let layers = network
            .conv_layers()
            .iter()
            .zip(network.convolutions())
            .enumerate()
            .map(|(index, (layer, (_, conv)))| {
                // Faults differ from layer to layer, as arrays do.
                let device = Device {
                    seed: device.seed.wrapping_add(index as u64),
                    ..device.clone()
                };
                OnArray::new(layer, conv, method, config, device)
            })
            .collect::<Result<Vec<_>, _>>()?;
        if layers.iter().all(Option::is_none) {
            return Err(Error::Simulation(
                "no convolution of the network has weights of 1 to 8 bits and an input rounded to 1 to 8: there is \
                 nothing to put on an array"
                    .into(),
            ));
        }
        Ok(Self {
            network,
            layers,
            clipped: 0,
            conversions: 0,
        })
    }

    /// Logits, `[batch, classes]`, of normalised pictures, `[batch, 3, height, width]`.
    ///
    /// # Errors
    ///
    /// An input that the array cannot be driven with.
    pub fn forward(&mut self, images: Tensor<4>) -> Result<Tensor<2>, Error> {
        let Self {
            network,
            layers,
            clipped,
            conversions,
        } = self;
        network.forward_with(images, |index, conv, x| match &layers[index] {
            None => Ok(conv.forward(x)),
            Some(layer) => layer.convolve(x, clipped, conversions),
        })
    }

    /// The part of all conversions so far that left the range of their converter.
    pub fn clipped(&self) -> f64 {
        self.clipped as f64 / self.conversions.max(1) as f64
    }
}

impl OnArray {
    /// `None` for a convolution that stays in full precision.
    fn new(
        layer: &ConvLayer,
        conv: &QuantConv2d,
        method: Method,
        config: &MappingConfig,
        device: Device,
    ) -> Result<Option<Self>, Error> {
        let (WeightQuantizer::Dorefa(weight_bits), Some(input_bits)) = (conv.quantizer, conv.input_bits)
        else {
            return Ok(None);
        };
        let (Some(weight_levels), Some(input_levels)) = (weight_bits.levels(), input_bits.levels()) else {
            return Ok(None);
        };
        let config = config.with_weight_bits(weight_bits.get().into());
        let mapping = map_layer(layer, method, &config)?;
        let input_bits = u32::from(input_bits.get());
        let device = Device {
            input_bits,
            pulse_bits: device.pulse_bits.min(input_bits),
            ..device
        };
        let weights = numbers(conv.quantized_weight());
        let scale = weights.iter().fold(0f32, |max, weight| max.max(weight.abs()));
        // Weights that are all zero have no scale, and their codes do not matter.
        let unit = if scale > 0.0 {
            scale / weight_levels as f32
        } else {
            1.0
        };
        let codes: Vec<i64> = weights
            .iter()
            .map(|weight| (weight / unit).round() as i64)
            .collect();
        let programmed =
            Programmed::new(layer, &mapping, &config, &codes, &device).map_err(|source| Error::Crossbar {
                layer: layer.name.clone(),
                source,
            })?;
        let [height, width] = layer.output(config.accounting);
        Ok(Some(Self {
            programmed,
            input_levels: input_levels as f32,
            unit: f64::from(unit) / f64::from(input_levels),
            conversions: u64::from(config.slices()) * u64::from(input_bits.div_ceil(device.pulse_bits)),
            output: [layer.out_channels, height, width],
        }))
    }

    fn convolve(&self, x: Tensor<4>, clipped: &mut u64, conversions: &mut u64) -> Result<Tensor<4>, Error> {
        let (device, [batch, ..]) = (x.device(), x.dims());
        let x = numbers(x);
        let runs = x
            .par_chunks(x.len() / batch)
            .map(|picture| {
                let codes: Vec<i64> = picture
                    .iter()
                    .map(|x| (x * self.input_levels).round() as i64)
                    .collect();
                self.programmed.run(&codes)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| Error::Crossbar {
                layer: self.programmed.layer().name.clone(),
                source,
            })?;
        let mut y = Vec::with_capacity(batch * self.output.iter().product::<usize>());
        for run in runs {
            y.extend(run.outputs.iter().map(|sum| (sum * self.unit) as f32));
            *clipped += run.counts.clipped;
            *conversions += run.counts.cols_read * self.conversions;
        }
        let [channels, height, width] = self.output;
        Ok(Tensor::from_data(
            TensorData::new(y, [batch, channels, height, width]),
            &device,
        ))
    }
}

/// The elements in the order of the shape.
fn numbers(tensor: Tensor<4>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("they are 32-bit floats by now")
}
