//! The proof of a mapping: a layer is run as it is mapped, on random integers, and compared with the convolution.

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use thiserror::Error;

use super::{Counts, CrossbarError, Device, convolve, run, run_on};
use crate::mapping::{ConvLayer, Mapping, MappingConfig};

/// The most weights, inputs or outputs of a layer that is run.
const MAX_NUMBERS: u64 = 1 << 28;

/// The most products of a layer that is run: some minutes on one core. The largest layer of VGG-16 takes 2^31.
const MAX_PRODUCTS: u64 = 1 << 36;

/// Why a layer is not proved.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProveError {
    /// A layer has too many numbers to run.
    #[error(
        "layer `{layer}` is too large to simulate: its weights, inputs and outputs must each be {MAX_NUMBERS} at \
         most, and the products of weights and inputs {MAX_PRODUCTS}"
    )]
    TooLarge {
        /// Its name.
        layer: String,
    },
    /// A layer could not be run.
    #[error("layer `{layer}`: {error}")]
    Crossbar {
        /// Its name.
        layer: String,
        /// Why.
        error: CrossbarError,
    },
    /// An ideal array computed something else, or in other cycles.
    #[error(
        "layer `{layer}`: an ideal array did not compute the convolution in the predicted cycles: this is a bug"
    )]
    Wrong {
        /// Its name.
        layer: String,
    },
}

/// What a layer's run was.
pub(crate) struct Proof {
    /// What the array did.
    pub counts: Counts,
    /// Root mean square of the errors over that of the exact outputs.
    pub error: f64,
}

/// Runs `layer` on random weights and inputs, those of the stream `stream` of the device's seed. On a device without faults every output
/// has to be exact and every cycle predicted.
///
/// # Errors
///
/// A [`ProveError`] that names the layer.
pub(crate) fn prove(
    layer: &ConvLayer,
    mapping: &Mapping,
    config: &MappingConfig,
    device: &Device,
    stream: u64,
) -> Result<Proof, ProveError> {
    let failed = |error| ProveError::Crossbar {
        layer: layer.name.clone(),
        error,
    };
    let counted = layer.counted(config.accounting);
    let [out_h, out_w] = layer.output(config.accounting);
    let sizes = [
        counted.params(),
        product([counted.in_channels, counted.input[0], counted.input[1]]),
        product([counted.out_channels, out_h, out_w]),
    ];
    // Each output is a sum over the weights of one output channel.
    let filter = sizes[0] / counted.out_channels as u64;
    let products = sizes[2].saturating_mul(filter);
    if sizes.iter().any(|&size| size > MAX_NUMBERS) || products > MAX_PRODUCTS {
        return Err(ProveError::TooLarge {
            layer: layer.name.clone(),
        });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(device.seed);
    rng.set_stream(stream);
    // Weights of more bits than a device has are as good a proof when they are smaller.
    let largest = |bits: u32| (1_i64 << bits.min(16)) - 1;
    let weight = largest(config.weight_bits);
    let weights: Vec<i64> = (0..counted.params())
        .map(|_| rng.random_range(-weight..=weight))
        .collect();
    let input: Vec<i64> = (0..sizes[1])
        .map(|_| rng.random_range(0..=largest(device.input_bits)))
        .collect();
    let exact = convolve(&counted, &weights, &input).map_err(failed)?;

    let ideal = Device {
        seed: device.seed,
        ..Device::ideal(device.input_bits)
    };
    if *device == ideal {
        let found = run(layer, mapping, config, &weights, &input).map_err(failed)?;
        if found.outputs != exact || found.counts.cycles != mapping.cycles {
            return Err(ProveError::Wrong {
                layer: layer.name.clone(),
            });
        }
        Ok(Proof {
            counts: found.counts,
            error: 0.0,
        })
    } else {
        let found = run_on(layer, mapping, config, &weights, &input, device).map_err(failed)?;
        let square = |value: f64| value * value;
        let off: f64 = (found.outputs.iter().zip(&exact))
            .map(|(found, &exact)| square(found - exact as f64))
            .sum();
        let whole: f64 = exact.iter().map(|&exact| square(exact as f64)).sum();
        Ok(Proof {
            counts: found.counts,
            // Where every exact output is 0, so is what an error could be measured by.
            error: if whole > 0.0 { (off / whole).sqrt() } else { 0.0 },
        })
    }
}

fn product(sizes: [usize; 3]) -> u64 {
    sizes
        .iter()
        .fold(1, |product, &size| product.saturating_mul(size as u64))
}
