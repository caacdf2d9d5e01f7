//! A packed network's integers and scales as safetensors, for whoever builds kernels or hardware of their own.

use std::collections::HashMap;

use ::safetensors::{Dtype, serialize, tensor::TensorView};

use crate::files;
use crate::packed::Model;
use crate::packed::layout::unpack_weights;
use crate::packed::spec::{AffineIds, Each, Op, PackedThen};
use crate::packed::tensor::Tensor;

/// A tensor before it is written.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Model {
    /// The numbers of every layer, as a safetensors file's bytes.
    ///
    /// | tensor | what it is |
    /// |---|---|
    /// | `LAYER.weight` | of a packed layer: signed bytes, `[outputs, inputs, kernel height, kernel width]`, odd numbers from `1 - 2^bits` to `2^bits - 1`, where filters of a batch norm with a negative scale are turned around |
    /// | `LAYER.thresholds` | `[2^bits - 1, outputs]`: the output's code is the number of thresholds that its sum of products of weights and input codes reaches |
    /// | `LAYER.unit` | where the output is floats: what a one of the sum is worth |
    /// | `LAYER.weight`, `LAYER.bias` | of a layer in full precision: floats |
    /// | `LAYER.mean`, `LAYER.scale`, `LAYER.shift` | of a batch norm that is computed on floats: `(x - mean) * scale + shift` |
    /// | `LAYER.weight`, `LAYER.bias`, `LAYER.unit` | of a general layer: floats in one row in the layout of the packed file, or 16-bit integers, a filter in each row, and what a one of their sums is worth |
    /// | `LAYER.numbers.N`, `LAYER.values` | what operation `N` of a chain on every number computes with, and what is constant |
    /// | `normalization` | three means and three deviations of the picture's channels |
    ///
    /// The metadata hold network, precision, the order in which the picture's channels enter (`rgb` or `bgr`) and, as JSON, the
    /// names of the classes and the steps.
    #[must_use]
    pub fn to_safetensors(&self) -> Vec<u8> {
        let mut entries = Vec::new();
        let plan = &self.spec.plan;
        entries.push(self.entry("normalization", plan.normalization, vec![6]));
        for (n, step) in plan.steps.iter().enumerate() {
            let (input, output) = (self.values[step.input], self.values[n + 1]);
            let name = |part: &str| format!("{}.{part}", step.name);
            let mut affine = |ids: &Option<AffineIds>, channels: usize| {
                for (id, part) in ids.iter().flatten().zip(["mean", "scale", "shift"]) {
                    entries.push(self.entry(&name(part), *id, vec![channels]));
                }
            };
            match &step.op {
                Op::Float {
                    window,
                    weight,
                    bias,
                    affine: ids,
                    ..
                } => {
                    affine(ids, output.channels);
                    let [down, across] = window.kernel;
                    let shape = vec![output.channels, input.channels, down, across];
                    entries.push(self.entry(&name("weight"), *weight, shape));
                    if let Some(bias) = bias {
                        entries.push(self.entry(&name("bias"), *bias, vec![output.channels]));
                    }
                }
                Op::Packed {
                    window,
                    outputs,
                    weight_bits,
                    weight,
                    then,
                } => {
                    if let PackedThen::Floats { affine: ids, .. } = then {
                        affine(ids, *outputs);
                    }
                    let Tensor::Words(words) = &self.spec.tensors[*weight] else {
                        unreachable!("checked when the model was made");
                    };
                    let codes = unpack_weights(window, input.channels, *outputs, *weight_bits, words);
                    let levels = (1i16 << weight_bits) - 1;
                    let signed = codes
                        .into_iter()
                        .map(|code| (2 * i16::from(code) - levels) as i8 as u8);
                    let [down, across] = window.kernel;
                    entries.push(Entry {
                        name: name("weight"),
                        dtype: Dtype::I8,
                        shape: vec![*outputs, input.channels, down, across],
                        bytes: signed.collect(),
                    });
                    entries.push(match *then {
                        PackedThen::Codes { bits, thresholds, .. } => {
                            let shape = vec![(1 << bits) - 1, *outputs];
                            self.entry(&name("thresholds"), thresholds, shape)
                        }
                        PackedThen::Floats { unit, .. } => self.entry(&name("unit"), unit, vec![1]),
                    });
                }
                Op::Quantize { affine: ids, .. } | Op::Mean { affine: ids, .. } => {
                    affine(ids, input.channels);
                }
                Op::Conv { weight, bias, .. } | Op::ConvTranspose { weight, bias, .. } => {
                    entries.push(self.flat_entry(&name("weight"), *weight));
                    entries.extend(bias.map(|bias| self.flat_entry(&name("bias"), bias)));
                }
                Op::Integers {
                    weight,
                    low,
                    step,
                    units,
                    bias,
                    ..
                } => {
                    let Tensor::Bytes(bytes) = &self.spec.tensors[*weight] else {
                        unreachable!("checked when the model was made");
                    };
                    let integers = bytes.iter().map(|&byte| (low + step * i32::from(byte)) as i16);
                    entries.push(Entry {
                        name: name("weight"),
                        dtype: Dtype::I16,
                        shape: vec![output.channels, bytes.len() / output.channels],
                        bytes: integers.flat_map(i16::to_le_bytes).collect(),
                    });
                    entries.push(self.flat_entry(&name("unit"), *units));
                    entries.extend(bias.map(|bias| self.flat_entry(&name("bias"), bias)));
                }
                Op::Encode { unit, .. } => entries.push(self.flat_entry(&name("unit"), *unit)),
                Op::Constant { values, .. } => entries.push(self.flat_entry(&name("values"), *values)),
                Op::Map { with } => {
                    for (n, each) in with.iter().enumerate() {
                        if let Each::With { numbers, .. } = each {
                            entries.push(self.flat_entry(&name(&format!("numbers.{n}")), *numbers));
                        }
                    }
                }
                Op::Unpack
                | Op::Picture
                | Op::Pool { .. }
                | Op::Adaptive { .. }
                | Op::Reduce { .. }
                | Op::Softmax { .. }
                | Op::Binary { .. }
                | Op::Copy { .. } => {}
            }
        }
        let classes = serde_json::to_string(&plan.classes).expect("plain data");
        let steps = serde_json::to_string(&plan.steps).expect("plain data");
        let metadata = HashMap::from([
            ("network".to_owned(), plan.network.clone()),
            ("precision".to_owned(), plan.precision.clone()),
            (
                "channels".to_owned(),
                plan.channels.map(|place| ["r", "g", "b"][place]).concat(),
            ),
            ("classes".to_owned(), classes),
            ("steps".to_owned(), steps),
        ]);
        let views = entries.iter().map(|entry| {
            let view = TensorView::new(entry.dtype, entry.shape.clone(), &entry.bytes);
            (
                &entry.name,
                view.expect("shapes were checked when the model was made"),
            )
        });
        let bytes = serialize(views, Some(metadata)).expect("names and lengths are plain data");
        files::with_sorted_header(bytes)
    }

    /// A tensor in one row.
    fn flat_entry(&self, name: &str, id: usize) -> Entry {
        let len = match &self.spec.tensors[id] {
            Tensor::F32(x) => x.len(),
            Tensor::I32(x) => x.len(),
            Tensor::Bytes(x) => x.len(),
            Tensor::Words(x) => x.len(),
        };
        self.entry(name, id, vec![len])
    }

    fn entry(&self, name: &str, id: usize, shape: Vec<usize>) -> Entry {
        let (dtype, bytes) = match &self.spec.tensors[id] {
            Tensor::F32(x) => (Dtype::F32, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Tensor::I32(x) => (Dtype::I32, x.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Tensor::Bytes(x) => (Dtype::U8, x.clone()),
            Tensor::Words(_) => unreachable!("checked when the model was made"),
        };
        Entry {
            name: name.into(),
            dtype,
            shape,
            bytes,
        }
    }
}
