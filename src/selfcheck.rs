//! A few computations that are run on a device and on the CPU, and compared: what `vwc-sdk devices --check` shows before a
//! device is trusted with a training. They use networks, quantisers and pruning, so they stand above all of these.

use burn::module::Module;
use burn::optim::{GradientsParams, SgdConfig};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::Serialize;

use crate::Error;
use crate::device::{DeviceKind, DeviceName};
use crate::models::{Cnn8Config, Network, NetworkConfig, ResNet20Config, Vgg13Config};
use crate::module::Parameters;
use crate::prune::{Ranking, prune};
use crate::quant::{Activation, Bits, QuantConv2dConfig, WeightQuantizer};

/// One thing that a device computes and that is set beside what the CPU computes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Check {
    /// A heading for it.
    pub name: &'static str,
    run: fn(&Device) -> Result<Vec<f64>, Error>,
}

/// How far a device is from the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Verdict {
    /// The largest difference, relative to the largest number.
    pub error: f64,
    /// What the device is allowed.
    pub tolerance: f64,
}

impl Verdict {
    /// Whether the device computes what the CPU does.
    pub fn is_good(self) -> bool {
        self.error <= self.tolerance
    }
}

/// From a quantised convolution, which says in a moment whether a device works at all, to the pruning of a network.
pub const CHECKS: [Check; 5] = [
    Check {
        name: "convolution",
        run: convolution,
    },
    Check {
        name: "CNN-8",
        run: |device| {
            let config = Cnn8Config::new()
                .with_widths([4, 5, 6, 7, 5, 6, 8])
                .with_dropout(0.0);
            let config = config
                .with_weight_bits(Bits::FULL)
                .with_activation_bits(Bits::FULL);
            training_step(&config, device)
        },
    },
    Check {
        name: "ResNet-20",
        run: |device| {
            let config = ResNet20Config::new().with_widths([4, 6, 8]);
            let config = config
                .with_weight_bits(Bits::FULL)
                .with_activation_bits(Bits::FULL);
            training_step(&config, device)
        },
    },
    Check {
        name: "VGG-13",
        run: |device| {
            let widths = [4, 4, 5, 5, 6, 6, 7, 7, 8, 8];
            let config = Vgg13Config::new()
                .with_widths(widths)
                .with_hidden([8, 8])
                .with_dropout(0.0);
            let config = config
                .with_weight_bits(Bits::FULL)
                .with_activation_bits(Bits::FULL);
            training_step(&config, device)
        },
    },
    Check {
        name: "pruning",
        run: pruning,
    },
];

/// Tries `check` on the device called `name` and on the CPU.
///
/// # Errors
///
/// Those of [`DeviceName::init`], and [`Error::Device`] where the device gives up.
pub fn check(check: &Check, name: &DeviceName) -> Result<Verdict, Error> {
    let device = name.init()?;
    let found = name.guard(|| (check.run)(&device))?;
    let expected = (check.run)(&DeviceName::default().init()?)?;
    let largest = expected
        .iter()
        .fold(f64::MIN_POSITIVE, |most, value| most.max(value.abs()));
    let far = |(found, expected): (&f64, &f64)| {
        // What is no number is as far as can be.
        let far = (found - expected).abs() / largest;
        if far.is_nan() { f64::INFINITY } else { far }
    };
    Ok(Verdict {
        error: found.iter().zip(&expected).map(far).fold(0.0, f64::max),
        tolerance: tolerance(name.kind()),
    })
}

/// The most that sums in another order differ, and on GPUs products that are added before they are rounded. NVIDIA's
/// tensor cores round the factors of a product to eleven bits.
fn tolerance(kind: &DeviceKind) -> f64 {
    match kind {
        DeviceKind::Cuda => 1e-2,
        _ => 1e-4,
    }
}

/// `count` numbers between -1 and 1, the same everywhere.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    use rand::{RngExt, SeedableRng};
    let mut dice = rand::rngs::ChaCha8Rng::seed_from_u64(seed);
    (0..count).map(|_| dice.random_range(-1.0..1.0)).collect()
}

fn tensor<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::from_data(
        TensorData::new(numbers(seed, shape.iter().product()), shape),
        device,
    )
}

/// `module` with weights that do not depend on the device.
fn filled<M: Module>(module: M) -> Result<M, Error> {
    let mut parameters = Parameters::of(&module);
    let paths: Vec<(String, Vec<usize>)> = (parameters.iter())
        .map(|(path, data)| (path.to_owned(), data.shape().to_vec()))
        .collect();
    for (seed, (path, shape)) in paths.into_iter().enumerate() {
        let mut values = numbers(seed as u64, shape.iter().product());
        // Variances and scales stand around 1.
        if path.ends_with("running_var") || path.ends_with("gamma") {
            values.iter_mut().for_each(|value| *value = 1.0 + *value / 2.0);
        }
        parameters.insert(path, TensorData::new(values, shape));
    }
    parameters.put_into(module)
}

/// A quantised convolution of rounded activations, forward, and the gradients of its weights and input.
fn convolution(device: &Device) -> Result<Vec<f64>, Error> {
    let device = &device.clone().autodiff();
    let conv = QuantConv2dConfig::new([3, 5], [3, 3])
        .with_padding([1, 1])
        .with_quantizer(WeightQuantizer::dorefa(Bits::TWO))
        .with_input_bits(Some(Bits::TWO))
        .init(device);
    let conv = filled(conv)?;
    let x = tensor(100, [2, 3, 8, 8], device).require_grad();
    let y = conv.forward(Activation::quantized(Bits::TWO).forward(x.clone()));
    let gradients = (y.clone() * tensor(101, [2, 5, 8, 8], device)).sum().backward();
    let mut values = floats(y);
    for gradient in [x.grad(&gradients), conv.weight.val().grad(&gradients)] {
        values.extend(gradient.map(floats).unwrap_or_default());
    }
    Ok(values)
}

/// Logits with batch statistics, a step of gradient descent, and logits again: Adam takes the same step for every gradient
/// that is not quite zero, whatever its sign. Weights and activations of 32 bits: rounding to few
/// would make much of little, and `convolution` has it.
fn training_step<C: NetworkConfig>(config: &C, device: &Device) -> Result<Vec<f64>, Error> {
    let device = &device.clone().autodiff();
    let network = filled(config.init(device))?;
    let [height, width] = config.input();
    let x = tensor(100, [4, 3, height, width], device);
    let logits = network.forward(x.clone());
    let targets = Tensor::<1, Int>::from_data(TensorData::new(vec![0i64, 1, 2, 3], [4]), device);
    let loss = burn::nn::loss::CrossEntropyLossConfig::new().init(device);
    let gradients = loss.forward(logits.clone(), targets).backward();
    let gradients = GradientsParams::from_grads(gradients, &network);
    let network = SgdConfig::new().init().step(1e-2, network, gradients);
    let mut values = floats(logits);
    values.extend(floats(network.valid().forward(x.inner())));
    Ok(values)
}

/// Logits of a network of which some channels went.
fn pruning(device: &Device) -> Result<Vec<f64>, Error> {
    let config = ResNet20Config::new().with_widths([4, 6, 8]).with_quantized(false);
    let network = filled(config.init(device))?;
    let pruned = prune(&network, &[3, 2, 3, 4, 4, 5, 3, 6, 5, 7, 6, 8], Ranking::L1)?;
    Ok(floats(pruned.network.forward(tensor(
        100,
        [2, 3, 32, 32],
        device,
    ))))
}

fn floats<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}
