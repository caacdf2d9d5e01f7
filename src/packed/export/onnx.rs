//! A packed network as ONNX, the quantisation written out in integers.
//!
//! Weights are signed bytes and activations unsigned ones; `ConvInteger` adds up the same integers as the packed
//! kernels, and comparisons with the thresholds make the same codes of them. Only where floats are added up, in the
//! first convolution and the classifier, does another runtime's order of summation show.

use crate::onnx_file::{Attribute, OnnxGraph, Side, Type, Value};
use crate::packed::buffers::Kind;
use crate::packed::layout::unpack_weights;
use crate::packed::spec::{Act, AffineIds, Op, PackedThen, Then, Window, is_rgb};
use crate::packed::tensor::Tensor;
use crate::packed::{Model, PackedError};

impl Model {
    /// The network as an ONNX file's bytes.
    ///
    /// Its input, `pictures`, is what [`Session::logits`](crate::packed::Session::logits) takes: bytes, `[pictures, height,
    /// width, 3]`; its output, `logits`, `[pictures, classes]`. The names of the classes are in the metadata.
    ///
    /// # Errors
    ///
    /// [`PackedError::Step`] where a step is one of the general ones: networks of fused layers alone are written.
    pub fn to_onnx(&self) -> Result<Vec<u8>, PackedError> {
        let mut graph = Graph::default();
        let plan = &self.spec.plan;
        let mut values = vec![graph.picture(self)];
        for (n, step) in plan.steps.iter().enumerate() {
            graph.step = format!("{n}.{}", step.name);
            let x = values[step.input].clone();
            let (input, output) = (self.values[step.input], self.values[n + 1]);
            let value = match &step.op {
                Op::Float {
                    window,
                    weight,
                    bias,
                    affine,
                    pool,
                    then,
                } => {
                    let [down, across] = window.kernel.map(|side| side as i64);
                    let shape = [output.channels as i64, input.channels as i64, down, across];
                    let mut inputs = vec![x, graph.floats(self.numbers(*weight), &shape)];
                    if let Some(bias) = bias {
                        inputs.push(graph.floats(self.numbers(*bias), &[output.channels as i64]));
                    }
                    let x = graph.convolution("Conv", &inputs, window);
                    let x = graph.affine(self, x, *affine);
                    let x = if *pool { graph.pool(x) } else { x };
                    match then {
                        Then::Codes { bits } => graph.quantize(x, *bits),
                        Then::Floats { act } => graph.act(x, *act),
                    }
                }
                Op::Packed {
                    window,
                    outputs,
                    weight_bits,
                    weight,
                    then,
                } => {
                    let Tensor::Words(words) = &self.spec.tensors[*weight] else {
                        unreachable!("checked when the model was made");
                    };
                    let [down, across] = window.kernel.map(|side| side as i64);
                    let shape = [*outputs as i64, input.channels as i64, down, across];
                    let codes = unpack_weights(window, input.channels, *outputs, *weight_bits, words);
                    let levels = (1i16 << weight_bits) - 1;
                    let signed: Vec<u8> = (codes.into_iter())
                        .map(|code| (2 * i16::from(code) - levels) as i8 as u8)
                        .collect();
                    let weight = graph.tensor(Type::I8, &shape, signed);
                    let sums = graph.convolution("ConvInteger", &[x, weight], window);
                    match *then {
                        PackedThen::Codes {
                            bits,
                            pool,
                            thresholds,
                        } => {
                            let codes = graph.count(self, sums, thresholds, bits, *outputs);
                            if pool { graph.pool(codes) } else { codes }
                        }
                        PackedThen::Floats {
                            unit,
                            added,
                            affine,
                            act,
                        } => {
                            let x = graph.cast(sums, Type::F32);
                            let unit = graph.floats(self.numbers(unit), &[]);
                            let mut x = graph.node("Mul", &[x, unit], &[]);
                            if let Some(added) = added {
                                x = graph.node("Add", &[x, values[added].clone()], &[]);
                            }
                            let x = graph.affine(self, x, affine);
                            graph.act(x, act)
                        }
                    }
                }
                Op::Quantize { affine, bits } => {
                    let x = graph.affine(self, x, *affine);
                    graph.quantize(x, *bits)
                }
                Op::Unpack => {
                    let Kind::Codes { bits, .. } = input.kind else {
                        unreachable!("checked when the model was made");
                    };
                    let x = graph.cast(x, Type::F32);
                    let levels = graph.floats(&[((1u32 << bits) - 1) as f32], &[]);
                    graph.node("Div", &[x, levels], &[])
                }
                Op::Mean { affine, act } => {
                    let x = graph.affine(self, x, *affine);
                    let x = graph.act(x, *act);
                    graph.node("GlobalAveragePool", &[x], &[])
                }
                _ => {
                    return Err(PackedError::step(
                        &step.name,
                        "ONNX files are written of fused layers of packed bits alone, and this is another step: save the packed file, or \
                         the integers; `vwc-sdk export RUN FILE.onnx --format qonnx` or `qdq` writes codes, `vwc-sdk graph RUN --onnx FILE` any network in floats",
                    ));
                }
            };
            values.push(value);
        }
        let last = values.pop().expect("a network has steps");
        Ok(graph.file(self, last))
    }

    fn numbers(&self, id: usize) -> &[f32] {
        match &self.spec.tensors[id] {
            Tensor::F32(numbers) => numbers,
            _ => unreachable!("checked when the model was made"),
        }
    }
}

#[derive(Default)]
struct Graph {
    file: OnnxGraph,
    /// The step that nodes are named after.
    step: String,
    names: usize,
}

impl Graph {
    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}.{}", self.step, self.names)
    }

    /// From bytes, channels last, to normalised floats, channels first.
    fn picture(&mut self, model: &Model) -> String {
        self.step = "picture".into();
        let x = self.node(
            "Transpose",
            &["pictures".into()],
            &[("perm", Attribute::Ints(&[0, 3, 1, 2]))],
        );
        let x = self.cast(x, Type::F32);
        let whole = self.floats(&[255.0], &[]);
        let x = self.node("Div", &[x, whole], &[]);
        let normalization = model.numbers(model.spec.plan.normalization).to_vec();
        let mean = self.floats(&normalization[..3], &[1, 3, 1, 1]);
        let std = self.floats(&normalization[3..], &[1, 3, 1, 1]);
        let x = self.node("Sub", &[x, mean], &[]);
        let x = self.node("Div", &[x, std], &[]);
        let places = model.spec.plan.channels;
        if is_rgb(&places) {
            return x;
        }
        let places = places.iter().flat_map(|&place| (place as i64).to_le_bytes());
        let places = self.tensor(Type::I64, &[3], places.collect());
        self.node("Gather", &[x, places], &[("axis", Attribute::Int(1))])
    }

    fn tensor(&mut self, of: Type, shape: &[i64], bytes: Vec<u8>) -> String {
        let name = self.name();
        self.file.tensor(&name, of, shape, &bytes);
        name
    }

    fn floats(&mut self, numbers: &[f32], shape: &[i64]) -> String {
        self.tensor(
            Type::F32,
            shape,
            numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
        )
    }

    fn node(&mut self, op: &str, inputs: &[String], attributes: &[(&str, Attribute<'_>)]) -> String {
        let name = self.name();
        self.file.node(op, &name, inputs, &name, attributes);
        name
    }

    fn convolution(&mut self, op: &str, inputs: &[String], window: &Window) -> String {
        let [kernel, stride, padding] =
            [window.kernel, window.stride, window.padding].map(|sides| sides.map(|side| side as i64));
        let [down, across] = padding;
        let attributes = [
            ("kernel_shape", Attribute::Ints(&kernel)),
            ("strides", Attribute::Ints(&stride)),
            ("pads", Attribute::Ints(&[down, across, down, across])),
        ];
        self.node(op, inputs, &attributes)
    }

    fn cast(&mut self, x: String, to: Type) -> String {
        self.node("Cast", &[x], &[("to", Attribute::Int(to as i64))])
    }

    fn affine(&mut self, model: &Model, x: String, ids: Option<AffineIds>) -> String {
        let Some(ids) = ids else { return x };
        let mut x = x;
        for (op, id) in ["Sub", "Mul", "Add"].into_iter().zip(ids) {
            let numbers = model.numbers(id);
            let numbers = self.floats(numbers, &[1, numbers.len() as i64, 1, 1]);
            x = self.node(op, &[x, numbers], &[]);
        }
        x
    }

    fn act(&mut self, x: String, act: Act) -> String {
        match act {
            Act::Identity => x,
            Act::Relu => self.node("Relu", &[x], &[]),
            Act::Clamp => {
                let [low, high] = [0.0, 1.0].map(|end| self.floats(&[end], &[]));
                self.node("Clip", &[x, low, high], &[])
            }
        }
    }

    fn pool(&mut self, x: String) -> String {
        let two = || Attribute::Ints(&[2, 2]);
        self.node("MaxPool", &[x], &[("kernel_shape", two()), ("strides", two())])
    }

    /// Floats become codes, rounded half to even.
    fn quantize(&mut self, x: String, bits: u32) -> String {
        let x = self.act(x, Act::Clamp);
        let levels = self.floats(&[((1u32 << bits) - 1) as f32], &[]);
        let x = self.node("Mul", &[x, levels], &[]);
        let x = self.node("Round", &[x], &[]);
        self.cast(x, Type::U8)
    }

    /// Of each sum the number of thresholds that it reaches.
    fn count(&mut self, model: &Model, sums: String, thresholds: usize, bits: u32, outputs: usize) -> String {
        let Tensor::I32(thresholds) = &model.spec.tensors[thresholds] else {
            unreachable!("checked when the model was made");
        };
        debug_assert_eq!(thresholds.len(), ((1 << bits) - 1) * outputs);
        let mut count = None;
        for level in thresholds.chunks_exact(outputs) {
            let bytes = level.iter().flat_map(|x| x.to_le_bytes()).collect();
            let level = self.tensor(Type::I32, &[1, outputs as i64, 1, 1], bytes);
            let reached = self.node("GreaterOrEqual", &[sums.clone(), level], &[]);
            let one = self.cast(reached, Type::I32);
            count = Some(match count {
                None => one,
                Some(count) => self.node("Add", &[count, one], &[]),
            });
        }
        let count = count.expect("a code has a bit");
        self.cast(count, Type::U8)
    }

    fn file(mut self, model: &Model, last: String) -> Vec<u8> {
        let plan = &model.spec.plan;
        self.file.node("Flatten", "logits", &[last], "logits", &[]);
        let [height, width] = plan.input;
        let pictures = Side::Open("pictures");
        let sides = [height, width, 3].map(Side::Fixed);
        let input = Value::new("pictures", Type::U8, [&[pictures][..], &sides].concat());
        let classes = Side::Fixed(plan.classes.len());
        let output = Value::new("logits", Type::F32, [pictures, classes]);
        let names = serde_json::to_string(&plan.classes).expect("plain data");
        let metadata = [("classes", names.as_str()), ("precision", &plan.precision)];
        self.file
            .into_file(false, &plan.network, [input], [output], metadata)
    }
}
