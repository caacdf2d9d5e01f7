//! A network that can be computed with: what is said of it, its steps, its values and its buffers.

use super::PackedError;
use super::buffers::{Buffers, Kind, Value, share_buffers};
use super::check::{Build, Frames, check_memory, check_plan, conv_size};
use super::kernel::Kernel;
use super::spec::{Op, Spec, Step};
use super::tensor::Tensor;

/// A trained network, packed: read from a file, or made by `freeze`. A [`Session`](super::Session) computes with it.
#[derive(Debug)]
pub struct Model {
    pub(super) spec: Spec,
    pub(super) kernels: Vec<Kernel>,
    /// The picture, then what each step computes.
    pub(super) values: Vec<Value>,
    /// Sizes of the buffers that the values share, in words, floats and integers.
    pub(super) buffers: Buffers,
    /// Pixels of zeros around the picture.
    pub(super) picture_frame: [usize; 2],
    /// Whether a row of the picture is kept as three planes, one for each channel, and not as pixels.
    pub(super) planar: bool,
    /// What every byte of every channel becomes.
    pub(super) bytes: Box<[[f32; 256]; 3]>,
}

impl Model {
    /// The network's name.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.spec.plan.network
    }

    /// Bits of weights and activations, as `W1A2`.
    #[must_use]
    pub fn precision(&self) -> &str {
        &self.spec.plan.precision
    }

    /// The names of the classes, in the order of the logits.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.spec.plan.classes
    }

    /// Height and width of the pictures it reads.
    #[must_use]
    pub fn input(&self) -> [usize; 2] {
        self.spec.plan.input
    }

    /// Bytes of all its numbers.
    #[must_use]
    pub fn size(&self) -> usize {
        (self.spec.tensors.iter())
            .map(|tensor| match tensor {
                Tensor::F32(x) => 4 * x.len(),
                Tensor::I32(x) => 4 * x.len(),
                Tensor::Bytes(x) => x.len(),
                Tensor::Words(x) => 8 * x.len(),
            })
            .sum()
    }

    /// Bytes of its weights and biases as 32-bit floats.
    #[must_use]
    pub fn float_size(&self) -> usize {
        let weights = |step: &Step, input: &Value| match &step.op {
            Op::Float { weight, bias, .. }
            | Op::Conv { weight, bias, .. }
            | Op::ConvTranspose { weight, bias, .. }
            | Op::Integers { weight, bias, .. } => {
                let ids = std::iter::once(weight).chain(bias);
                ids.map(|&id| match &self.spec.tensors[id] {
                    Tensor::F32(numbers) => numbers.len(),
                    Tensor::Bytes(numbers) => numbers.len(),
                    _ => 0,
                })
                .sum()
            }
            Op::Packed { window, outputs, .. } => {
                window.kernel[0] * window.kernel[1] * input.channels * outputs
            }
            _ => 0,
        };
        let steps = self.spec.plan.steps.iter();
        4 * steps
            .map(|step| weights(step, &self.values[step.input]))
            .sum::<usize>()
    }

    /// The names of the convolutions and linear layers that it computes in floats, in computing order.
    #[must_use]
    pub fn float_layers(&self) -> Vec<&str> {
        let steps = self.spec.plan.steps.iter();
        let floats = |op: &Op| matches!(op, Op::Float { .. } | Op::Conv { .. } | Op::ConvTranspose { .. });
        steps
            .filter(|step| floats(&step.op))
            .map(|step| step.name.as_str())
            .collect()
    }

    /// Products of weights and inputs that one picture takes: those in full precision, and those of codes.
    #[must_use]
    pub fn multiplications(&self) -> [usize; 2] {
        let mut products = [0; 2];
        for (n, (step, value)) in self.spec.plan.steps.iter().zip(&self.values[1..]).enumerate() {
            if let Kernel::General(kernel) = &self.kernels[n] {
                let [floats, integers] = kernel.multiplications();
                products = [products[0] + floats, products[1] + integers];
            }
            if let Op::Float { window, .. } | Op::Packed { window, .. } = &step.op {
                let input = self.values[step.input];
                let [height, width] =
                    conv_size(window, input.size, false).expect("checked when it was laid out");
                let filter = window.kernel[0] * window.kernel[1] * input.channels;
                let packed = matches!(step.op, Op::Packed { .. });
                products[usize::from(packed)] += height * width * filter * value.channels;
            }
        }
        products
    }

    /// Checks a network and lays it out for the machine.
    pub(super) fn new(spec: Spec) -> Result<Self, PackedError> {
        let [means, stds] = check_plan(&spec)?;
        let plan = &spec.plan;
        let general = |reason: String| PackedError::File(reason);
        let frames = Frames::of(plan)?;
        let mut build = Build {
            spec: &spec,
            frames,
            values: vec![Value {
                size: plan.input,
                channels: 3,
                kind: Kind::Floats,
                buffer: 0,
            }],
            windows: 0,
            sums: 0,
            laid_out: 0,
            planar: None,
        };
        let mut kernels = Vec::with_capacity(plan.steps.len());
        for (n, step) in plan.steps.iter().enumerate() {
            let (kernel, value) = build.step(n, step)?;
            kernels.push(kernel);
            build.values.push(value);
        }
        let (mut values, windows) = (build.values, build.windows);
        let beside = build.sums + build.laid_out;
        let picture_frame = build.frames.get(0);
        let planar = build.planar.unwrap_or_default();
        let last = values[values.len() - 1];
        if last.kind != Kind::Floats || last.size != [1, 1] || last.channels != plan.classes.len() {
            return Err(general(format!(
                "its last step computes {} numbers for {:?} positions, expected one for each of {} classes",
                last.channels,
                last.size,
                plan.classes.len()
            )));
        }
        let mut buffers = share_buffers(plan, &mut values, picture_frame);
        buffers.windows = windows;
        let words = buffers.words.iter().sum::<usize>() + buffers.windows;
        let integers = 2 * buffers.integers.iter().sum::<usize>();
        check_memory(8 * words + 4 * buffers.floats.iter().sum::<usize>() + integers + beside)
            .map_err(general)?;
        let mut bytes = Box::new([[0.0; 256]; 3]);
        for ((values, mean), std) in bytes.iter_mut().zip(means).zip(stds) {
            for (byte, value) in values.iter_mut().enumerate() {
                *value = (byte as f32 / 255.0 - mean) / std;
            }
        }
        Ok(Self {
            kernels,
            values,
            buffers,
            picture_frame,
            planar,
            bytes,
            spec,
        })
    }
}
