//! A graph as an ONNX file, for other runtimes, viewers and compilers.

mod names;
mod operators;
mod quantised;

use std::collections::BTreeMap;

use crate::graph::ir::{Constant, Node, Op};
use crate::graph::{Graph, GraphError, NodeId};
use crate::onnx_file::{Attribute, OnnxGraph, Side, Type, Value};
use crate::text;
use names::Names;
use quantised::{Form, Quantised};

/// The most bytes of constants in a file. protobuf ends at 2 GiB; what is left is more than nodes and names can take.
const MAX_CONSTANTS: usize = (2 << 30) - (256 << 20);

/// The dimension of the batch.
const BATCH: &str = "batch";

/// Settings of an operator by their names.
type Attributes<'a> = &'a [(&'a str, Attribute<'a>)];

/// What an ONNX file says beside the graph: the names of the network, its inputs and outputs, and notes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxExport {
    network: String,
    inputs: Option<Vec<String>>,
    outputs: Option<Vec<String>>,
    metadata: BTreeMap<String, String>,
    form: Form,
}

impl OnnxExport {
    /// A network of this name. Its inputs and outputs are called as the nodes of the graph are.
    pub fn new(network: impl Into<String>) -> Self {
        Self {
            network: network.into(),
            inputs: None,
            outputs: None,
            metadata: BTreeMap::new(),
            form: Form::Floats,
        }
    }

    /// Writes what is quantised to 8 and 4 bits as integers, between `QuantizeLinear` and `DequantizeLinear` (QDQ), for runtimes and
    /// compilers that compute in integers: weights as integers with a scale, or one for each filter, and values as such a pair.
    /// Everything else is floats. With 4 bits the operator set is 21.
    ///
    /// Codes that begin below zero, but not half of them, have a zero point. Where weights or what they are multiplied with have 4 bits or fewer, a
    /// bias is added by an operator of its own: within the layer, ONNX Runtime would round it to multiples of the product of both scales.
    ///
    /// [`Graph::to_onnx`] then refuses values of other bits, weights that 8 bits do not hold, as DoReFa-Net's of 8 bits, whose integers
    /// are odd, and a network that is not quantised.
    #[must_use]
    pub fn with_pairs(mut self) -> Self {
        self.form = Form::Pairs;
        self
    }

    /// Writes what is quantised as QONNX has it, for FINN, hls4ml and Brevitas' tools: weights and values are floats that the operators
    /// `Quant` and `BipolarQuant` round, with a scale, or one for each filter, a zero point of 0, and all attributes. A lowest code below zero that is learned is taken off in front of
    /// `Quant` and added behind. Everything else is ONNX's own; numbers for each channel are a `BatchNormalization`, which those tools expect.
    ///
    /// Weights take as few bits as hold their codes: signs are `BipolarQuant`. DoReFa-Net's weights of two and more bits have no zero,
    /// and odd integers for codes: they take a bit more than they were trained with.
    ///
    /// [`Graph::to_onnx`] then refuses values whose codes are not all of so many bits, and a network that is not quantised.
    #[must_use]
    pub fn with_qonnx(mut self) -> Self {
        self.form = Form::Qonnx;
        self
    }

    /// Names for the inputs, in the order of [`Graph::inputs`].
    #[must_use]
    pub fn with_inputs<I: Into<String>>(mut self, names: impl IntoIterator<Item = I>) -> Self {
        self.inputs = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Names for the outputs, in the order of [`Graph::outputs`].
    #[must_use]
    pub fn with_outputs<O: Into<String>>(mut self, names: impl IntoIterator<Item = O>) -> Self {
        self.outputs = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// A note in the file's metadata, as the names of the classes. A second one under the same key takes the place of the first.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }
}

impl Graph {
    /// The network as an ONNX file's bytes, in 32-bit floats.
    ///
    /// Every input and output has the open dimension `batch` in front of its shape. Nodes and what they compute have the names of
    /// the graph's nodes, and constants those of the parameters: `stage1.0.conv1`, `stage1.0.conv1.weight`. A node that takes
    /// several operators names those in front of the last after itself and the operator: `norm.sub`.
    ///
    /// **Quantised networks** stay so: weights are the values that the network computes with, values are clamped (`Clip`), scaled
    /// and rounded half to even (`Round`), in the graph's order. Another runtime computes the same codes wherever its sums round
    /// alike; a sum that lies on the edge between two codes may fall on either side. The integer form of a network that can be
    /// packed, [`Model::to_onnx`](crate::packed::Model::to_onnx), has no such edges.
    ///
    /// The operator set is 17, which ONNX Runtime reads since version 1.12, but with [pairs](OnnxExport::with_pairs) of 4 bits. No operator is of another domain than ONNX's own, but those of [QONNX](OnnxExport::with_qonnx).
    /// GELU is written as its formula with `Erf`. Pools that round up have the padding of their last windows written out: set 17
    /// does not say which windows `ceil_mode` counts. An adaptive mean with windows of several sizes is two products with
    /// matrices of weights.
    ///
    /// ```
    /// use vwc_sdk::graph::{Constant, Conv, Function, Graph, NodeSpec, OnnxExport};
    ///
    /// let weight = Constant::new([4, 3, 3, 3], vec![0.5; 108]);
    /// let graph = Graph::new(
    ///     [
    ///         NodeSpec::input("picture", [3, 8, 8]),
    ///         NodeSpec::new("conv", Conv::new(weight), ["picture"]),
    ///         NodeSpec::new("relu", Function::Relu, ["conv"]),
    ///     ],
    ///     ["relu"],
    /// )?;
    /// let export = OnnxExport::new("mine").with_outputs(["features"]);
    /// # let folder = tempfile::tempdir()?;
    /// # let path = folder.path().join("mine.onnx");
    /// std::fs::write(&path, graph.to_onnx(&export)?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`GraphError`] where names are not as many as inputs or outputs, or do not differ, where the numbers of the network
    /// are too many for a file, and where it cannot be written [with pairs](OnnxExport::with_pairs) or [as QONNX](OnnxExport::with_qonnx)
    /// that was asked for.
    pub fn to_onnx(&self, export: &OnnxExport) -> Result<Vec<u8>, GraphError> {
        fits_file(self, MAX_CONSTANTS)?;
        let inputs = public_names(self, &self.inputs, export.inputs.as_deref(), "input")?;
        let outputs = public_names(self, &self.outputs, export.outputs.as_deref(), "output")?;
        let quantised = Quantised::of(self, export.form)?;
        let mut writer = Writer::new(self, &inputs, outputs, quantised)?;
        for (id, node) in self.iter() {
            if writer.quantised.inside.contains(&id) {
                continue;
            }
            writer.operators(id);
            if !matches!(node.op, Op::Input { .. }) && !writer.outputs.contains(&writer.values[id.0]) {
                let batch = if writer.fixed[id.0] {
                    Side::Fixed(1)
                } else {
                    Side::Open(BATCH)
                };
                writer.file.describe(value(node, &writer.values[id.0], batch));
            }
        }
        for n in 0..self.outputs.len() {
            writer.output(n);
        }
        let public = |(&id, name): (&NodeId, &String)| value(self.node(id), name, Side::Open(BATCH));
        let metadata = (export.metadata.iter()).map(|(key, value)| (key.as_str(), value.as_str()));
        Ok(writer.file.into_file(
            writer.has_4_bits,
            &export.network,
            self.inputs.iter().zip(&inputs).map(public),
            self.outputs.iter().zip(&writer.outputs).map(public),
            metadata,
        ))
    }
}

/// Name and shape of what a node computes.
fn value(node: &Node, name: &str, batch: Side<'_>) -> Value {
    let sides = node.shape.iter().map(|&size| Side::Fixed(size));
    Value::new(name, Type::F32, std::iter::once(batch).chain(sides))
}

/// Whether a file holds the constants of a graph in `most` bytes. The node is named whose constants are too much.
fn fits_file(graph: &Graph, most: usize) -> Result<(), GraphError> {
    let mut bytes = 0usize;
    for node in &graph.nodes {
        let numbers: usize = node.op.constants().map(|constant| constant.values.len()).sum();
        bytes = bytes.saturating_add(numbers.saturating_mul(size_of::<f32>()));
        if bytes > most {
            let reason = format!(
                "with its constants those of the network take more than {most} bytes, and an ONNX file ends at 2 GiB: expected \
                 a smaller network, or parts of it as graphs of their own"
            );
            return Err(GraphError::node(&node.name, reason));
        }
    }
    Ok(())
}

/// The names of inputs or outputs: those that are given, or else those of the nodes.
fn public_names(
    graph: &Graph,
    ids: &[NodeId],
    given: Option<&[String]>,
    what: &str,
) -> Result<Vec<String>, GraphError> {
    let Some(given) = given else {
        return Ok(ids.iter().map(|&id| graph.node(id).name.clone()).collect());
    };
    if given.len() != ids.len() {
        return Err(GraphError::Graph(format!(
            "{} names of {what}s: expected {}, one for each {what} of the network",
            given.len(),
            ids.len()
        )));
    }
    for (name, &id) in given.iter().zip(ids) {
        let unfit = if name.is_empty() {
            Some("is empty".to_owned())
        } else {
            text::unfit(name)
        };
        if let Some(unfit) = unfit {
            let reason = format!("the name of this {what} {unfit}: expected another one");
            return Err(GraphError::node(&graph.node(id).name, reason));
        }
    }
    Ok(given.to_vec())
}

/// A file that is being written.
struct Writer<'a> {
    graph: &'a Graph,
    file: OnnxGraph,
    /// Of values and constants.
    names: Names,
    /// Of operators: each node of the graph gives its last one its own.
    operators: Names,
    /// For each node the name of what it computes.
    values: Vec<String>,
    /// For each node, whether no input changes what it computes. Such a value is there once, as a batch of 1.
    fixed: Vec<bool>,
    outputs: Vec<String>,
    /// The value that holds the size of the batch, where it is needed.
    batch: Option<String>,
    /// What is left to be written as codes.
    quantised: Quantised,
    has_4_bits: bool,
}

impl<'a> Writer<'a> {
    fn new(
        graph: &'a Graph,
        inputs: &[String],
        mut outputs: Vec<String>,
        quantised: Quantised,
    ) -> Result<Self, GraphError> {
        let mut names = Names::default();
        let mut values = vec![String::new(); graph.nodes.len()];
        for (&id, name) in graph.inputs.iter().zip(inputs) {
            if !names.take(name) {
                let reason = format!(
                    "two inputs are called `{}`: expected names that differ",
                    text::line(name)
                );
                return Err(GraphError::Graph(reason));
            }
            values[id.0].clone_from(name);
        }
        let mut fixed: Vec<bool> = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            let is_input = matches!(node.op, Op::Input { .. });
            fixed.push(!is_input && node.inputs.iter().all(|input| fixed[input.0]));
        }
        for (&id, name) in graph.outputs.iter().zip(&mut outputs) {
            let node = graph.node(id);
            // What goes in and comes out again has two names.
            if matches!(node.op, Op::Input { .. }) && *name == node.name {
                *name = format!("{name}.output");
            }
            if !names.take(name) {
                let reason = format!(
                    "the output `{}` has the name of another output or of an input: expected names that differ",
                    text::line(name)
                );
                return Err(GraphError::Graph(reason));
            }
            if values[id.0].is_empty() && !fixed[id.0] {
                values[id.0].clone_from(name);
            }
        }
        for (node, value) in graph.nodes.iter().zip(&mut values) {
            if value.is_empty() {
                *value = names.new_name(&node.name);
            }
        }
        let mut operators = Names::default();
        for node in &graph.nodes {
            operators.take(&node.name);
        }
        Ok(Self {
            graph,
            file: OnnxGraph::default(),
            names,
            operators,
            values,
            fixed,
            outputs,
            batch: None,
            has_4_bits: quantised.have_4_bits(),
            quantised,
        })
    }

    /// Writes what is left to do for an output: where it is an input, or the same for every picture.
    fn output(&mut self, n: usize) {
        let id = self.graph.outputs[n];
        let (from, to) = (self.values[id.0].clone(), self.outputs[n].clone());
        if from == to {
            return;
        }
        if self.fixed[id.0] {
            self.repeat(&from, &to, self.graph.node(id).shape.len());
        } else {
            self.operator("Identity", &[from], &to, &[]);
        }
    }

    /// Repeats a value that is the same for every picture as often as there are pictures.
    fn repeat(&mut self, from: &str, to: &str, dims: usize) {
        let batch = match &self.batch {
            Some(batch) => batch.clone(),
            None => {
                let batch = self.names.new_name(BATCH);
                let input = self.values[self.graph.inputs[0].0].clone();
                let first = [("start", Attribute::Int(0)), ("end", Attribute::Int(1))];
                self.operator("Shape", &[input], &batch, &first);
                self.batch.insert(batch).clone()
            }
        };
        let ones = self.ints(&format!("{to}.ones"), &vec![1; dims]);
        let shape = self.names.new_name(&format!("{to}.shape"));
        self.operator("Concat", &[batch, ones], &shape, &[("axis", Attribute::Int(0))]);
        self.operator("Expand", &[from.to_owned(), shape], to, &[]);
    }

    /// An operator that is not the last one of a node, called as what it computes.
    fn operator(&mut self, op: &str, inputs: &[String], value: &str, attributes: Attributes<'_>) {
        let name = self.operators.new_name(value);
        self.file.node(op, &name, inputs, value, attributes);
    }

    /// Integers as a constant.
    fn ints(&mut self, wanted: &str, numbers: &[i64]) -> String {
        let name = self.names.new_name(wanted);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.file
            .tensor(&name, Type::I64, &[numbers.len() as i64], &bytes);
        name
    }

    /// Numbers of the network, under the name of the parameter that they are or were computed from.
    fn constant(&mut self, constant: &Constant, node: &str, part: &str) -> String {
        let own = format!("{node}.{part}");
        let (name, new) = self.names.constant(constant.name().unwrap_or(&own), constant);
        if new {
            self.floats(&name, &constant.shape, &constant.values);
        }
        name
    }

    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        let shape: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.tensor(name, Type::F32, &shape, &bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::fits_file;
    use crate::graph::{Constant, Conv, Graph, NodeSpec};

    #[test]
    fn too_many_numbers_name_the_node() {
        let conv = || Conv::new(Constant::new([1, 1, 5, 5], vec![1.0; 25]));
        let nodes = [
            NodeSpec::input("x", [1, 9, 9]),
            NodeSpec::new("first", conv(), ["x"]),
            NodeSpec::new("second", conv(), ["first"]),
        ];
        let graph = Graph::new(nodes, ["second"]).unwrap();
        assert!(fits_file(&graph, 200).is_ok());
        let error = fits_file(&graph, 199).unwrap_err().to_string();
        assert!(
            error.contains("`second`") && error.contains("199 bytes"),
            "{error}"
        );
    }
}
