//! Networks from ONNX files: the shapes of their convolutions and which widths are free ([`import`]), or all that they compute
//! ([`import_graph`]).
//!
//! For the mapper weights are never looked at, so a file may name external data that is not there, and its constants may be of
//! any type. Shapes are inferred by [tract](https://docs.rs/tract-onnx), with a batch of 1. What an operator computes that
//! tract does not know is taken from the shapes that the file itself states, and inference goes on from there.
//!
//! Quantised networks are read in each form that they are exported in: `QuantizeLinear` and `DequantizeLinear` around
//! the convolutions, `QLinearConv` and `ConvInteger`, ONNX Runtime's own operators, and QONNX's `Quant`.
//!
//! No convolution is left out in silence: where one is in a form or layout that is not known, the file is refused.
//!
//! Every file is treated as hostile. What tract is given is checked before, and its panics are caught: what a node
//! computes is then unknown. The work of inference is counted, in steps and not in seconds, so that a file that is
//! refused as too large is refused on every machine. On an ordinary one, a file of a few megabytes takes less than
//! 8 seconds and 1 GiB; a larger file takes the memory of its bytes besides, twice.
//!
//! ```
//! use vwc_sdk::onnx::import;
//!
//! let file = std::fs::File::open("tests/fixtures/onnx/resnet18.onnx")?;
//! let import = import("resnet18", file, None)?;
//! assert_eq!(import.network.layers.len(), 20);
//! // One width for each stage, and one within each block.
//! assert_eq!(import.network.widths()?, [64, 64, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512]);
//! assert_eq!(import.left_out, [("fc".to_owned(), "Gemm".to_owned())]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod external;
mod fold;
mod graph;
mod infer;
mod left_out;
mod linear;
mod operators;
mod parts;
mod paths;
mod shapes;
mod tensors;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, Read},
    mem,
    path::Path,
};

use thiserror::Error;
use tract_onnx::{
    pb::{
        FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_shape_proto::Dimension, type_proto,
    },
    tract_hir::internal::Framework,
};

use crate::graph::{Graph, GraphError};
use crate::mapping::{Accounting, ConvLayer, MappingError, Network, Padding};
use external::read_external;
use graph::Prepared;
use infer::{MAX_WORK, infer};
use left_out::left_out;
use linear::linear_layer;
use operators::{attribute, is_convolution, is_standard, refuse_unreadable, subgraphs};
use parts::{MAX_WEIGHT, Whole, scopes, weight};
use paths::{Paths, name_by_path};
use shapes::{Shapes, size};
use tensors::{
    MAX_TENSOR_DIMENSION, dimension, leave_out_weights, make_dense, refuse_too_many_axes, without_data,
};

/// The largest file that is read, in bytes: the most that protobuf can hold.
const MAX_BYTES: u64 = 2 << 30;

/// The most nodes, constants and inputs of a graph together. Each takes a few bytes of a file and thousands of memory.
const MAX_PARTS: usize = 50_000;

/// What was read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// The convolutions in the order of the file, which is one in which they can run, with the widths between them that are
    /// free, as [`Graph::mapped`] finds them. Each has a name of its own: the path of its weights, as `layer1.0.conv1`, or
    /// else that of its node or, where that is missing or another node has it, too, that of its output.
    pub network: Network,
    /// Why it cannot be told which widths are free, where that is so; all are fixed then. The node is named.
    pub widths_unknown: Option<String>,
    /// Nodes that multiply by weights but are not mapped, such as those of linear layers: name and operator.
    pub left_out: Vec<(String, String)>,
}

/// Why a file could not be imported.
#[derive(Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// Reading failed.
    #[error("it could not be read: {0}")]
    Read(io::Error),
    /// The file is longer than protobuf allows.
    #[error(
        "it is longer than the {MAX_BYTES} bytes that an ONNX file may have: export its weights as external data"
    )]
    TooLarge,
    /// The graph is larger than that of any network.
    #[error(
        "its graph has more than {MAX_PARTS} nodes, constants and inputs, or more attributes and sizes than \
         so many need: export the network in parts"
    )]
    TooManyParts,
    /// The shapes of the graph are larger than those of any network.
    #[error(
        "its shapes take more than {MAX_WORK} units of work to infer, where a network of a thousand layers takes \
         less than {}: simplify the graph, or export the network in parts", MAX_WORK / 10
    )]
    TooMuchWork,
    /// The file is not ONNX, or contradicts itself.
    #[error(
        "it cannot be read as ONNX ({0}): run ONNX's checker on it, and export it again, with another opset version \
         if it is sound"
    )]
    Malformed(String),
    /// The size of an input has to be said.
    #[error(
        "the file leaves the height and width of its input `{input}` open: give them with --input-size \
         HEIGHTxWIDTH"
    )]
    OpenSize {
        /// The input.
        input: String,
    },
    /// The size of an input was said in vain.
    #[error("--input-size was given, but the file leaves no height and width open: leave the flag out")]
    FixedSize,
    /// A convolution over one or three axes.
    #[error(
        "`{node}` is a convolution over {axes} axes, and only those over two can be mapped: export the network \
         without it"
    )]
    Axes {
        /// The convolution.
        node: String,
        /// How many there are.
        axes: usize,
    },
    /// A convolution in a part that runs an unknown number of times.
    #[error(
        "the convolution `{node}` is inside `{outer}`, and how often that runs is not known: export the network \
         with it unrolled or inlined"
    )]
    Nested {
        /// The convolution.
        node: String,
        /// The node or function that holds it.
        outer: String,
    },
    /// A convolution in a layout of ONNX Runtime's own.
    #[error(
        "`{node}` ({operator}) is a convolution in a layout that ONNX Runtime's optimisation chose for one machine: \
         give the file from before it was optimised"
    )]
    Optimised {
        /// The convolution.
        node: String,
        /// Its operator and the domain of that.
        operator: String,
    },
    /// An operator that may be a convolution.
    #[error(
        "the operator of `{node}` ({operator}) is not known, and its name says that it may be a convolution, which \
         would be missing from the result: export the network with `Conv` of ONNX itself in its place"
    )]
    UnknownOperator {
        /// The node.
        node: String,
        /// Its operator and the domain of that.
        operator: String,
    },
    /// Inference did not reach a convolution.
    #[error(
        "the shapes that the convolution `{node}` works on could not be inferred past {past}: export the network \
         with fixed sizes and without that, or write the missing shapes into the file's value_info, as ONNX's \
         shape inference does"
    )]
    Unknown {
        /// The convolution.
        node: String,
        /// What inference could not pass.
        past: String,
    },
    /// A convolution that cannot be mapped.
    #[error(transparent)]
    Layer(#[from] MappingError),
    /// The numbers of a constant are in another file, which is missing or does not hold them.
    #[error("it has the constant `{tensor}`, {reason}")]
    External {
        /// The constant.
        tensor: String,
        /// Why, and what to do.
        reason: String,
    },
    /// What the network computes is no [`Graph`].
    #[error("`{node}` ({operator}) {reason}")]
    NoGraph {
        /// The node that has no place in a graph, or an input or output of the network.
        node: String,
        /// Its operator and the domain of that.
        operator: String,
        /// Why.
        reason: String,
    },
    /// The nodes make no [`Graph`].
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// There is nothing to map.
    #[error("it has no convolutions: there is nothing to map")]
    Empty,
}

/// Imports the network in `file` and calls it `name`. `input_size`, height and width, is that of the inputs whose
/// size the file leaves open.
///
/// # Errors
///
/// An [`OnnxError`] that names the node.
pub fn import(name: &str, file: impl Read, input_size: Option<[usize; 2]>) -> Result<Import, OnnxError> {
    from_prepared(name, prepare(read(file)?, input_size)?, false)
}

/// As [`import`], with linear layers among the convolutions, as [`Graph::mapped_with_linear`] has them: `Gemm` and `MatMul` by a matrix
/// of constants, and their quantised forms.
///
/// ```
/// use vwc_sdk::onnx::import_with_linear;
///
/// let file = std::fs::File::open("tests/fixtures/onnx/resnet18.onnx")?;
/// let import = import_with_linear("resnet18", file, None)?;
/// assert_eq!((import.network.layers.len(), &*import.network.layers[20].name), (21, "fc"));
/// assert_eq!(import.left_out, []);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An [`OnnxError`] that names the node.
pub fn import_with_linear(
    name: &str,
    file: impl Read,
    input_size: Option<[usize; 2]>,
) -> Result<Import, OnnxError> {
    from_prepared(name, prepare(read(file)?, input_size)?, true)
}

/// Imports what the network in `file` computes, with its weights: a graph that can be mapped, written, packed or run.
/// `input_size` is as [`import`] takes it. The batch may be open or of any size.
///
/// Read are ONNX's own operators for convolutions, linear layers, batch norm in evaluation, pools, means, sums and maxima along
/// dimensions, functions of single numbers, additions and products, and for what moves numbers: `Concat`, `Split`, `Slice`,
/// `Reshape`, `Transpose`, `Pad`, `Expand`, `Resize` by whole factors; products of two values, as attention has them, in `MatMul`, `Einsum` and `Attention`. Weights stand in the file, as floats of 16 bits or more.
/// Nodes have their names, and constants are called as the file calls them. Inputs that no output is computed of are left out.
///
/// ```
/// use vwc_sdk::graph::{Constant, Conv, Function, Graph, NodeSpec, OnnxExport};
/// use vwc_sdk::onnx::import_graph;
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
/// let file = graph.to_onnx(&OnnxExport::new("mine"))?;
/// let read = import_graph(&file[..], None)?;
/// assert_eq!(read.output(0).shape(), [4, 6, 6]);
/// assert_eq!(read.nodes()[1].weight().unwrap().name(), Some("conv.weight"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// An [`OnnxError`] that names the node: [`OnnxError::NoGraph`] for an operator or a use of one that graphs do not have, for
/// anything along the batch, and for weights in another file, which [`import_graph_from`] reads.
pub fn import_graph(file: impl Read, input_size: Option<[usize; 2]>) -> Result<Graph, OnnxError> {
    let checked = prepare(read(file)?, input_size)?;
    checked.with_shapes(graph::graph)
}

/// As [`import_graph`], from the file at `path`, whose constants may be in other files beside it: those of exporters that write
/// weights as external data.
///
/// Only files in the folder of `path` and below are read, of 2 GiB of constants at most.
///
/// # Errors
///
/// As [`import_graph`], [`OnnxError::Read`] where there is no such file, and [`OnnxError::External`] where a file beside it is
/// missing, elsewhere, or does not hold what the model says.
pub fn import_graph_from(path: impl AsRef<Path>, input_size: Option<[usize; 2]>) -> Result<Graph, OnnxError> {
    let (graph, _) = import_file(path.as_ref(), input_size)?;
    Ok(graph)
}

/// As [`import_graph_from`], with the file's metadata.
pub(crate) fn import_file(
    path: &Path,
    input_size: Option<[usize; 2]>,
) -> Result<(Graph, BTreeMap<String, String>), OnnxError> {
    let mut decoded = read(File::open(path).map_err(OnnxError::Read)?)?;
    let entries = mem::take(&mut decoded.model.metadata_props);
    let metadata = entries.into_iter().map(|entry| (entry.key, entry.value));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    read_external(&mut decoded.model, folder.unwrap_or(Path::new(".")))?;
    let checked = prepare(decoded, input_size)?;
    Ok((checked.with_shapes(graph::graph)?, metadata.collect()))
}

/// Whether a node is a `Constant` of ONNX's own.
fn is_standard_constant(node: &NodeProto) -> bool {
    node.op_type == "Constant" && is_standard(node)
}

/// A file that was decoded.
struct Decoded {
    model: ModelProto,
    /// For each node of its graph the module that it was exported of.
    scopes: Vec<Option<String>>,
}

fn read(file: impl Read) -> Result<Decoded, OnnxError> {
    let mut file = file.take(MAX_BYTES + 1);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(OnnxError::Read)?;
    if file.limit() == 0 {
        return Err(OnnxError::TooLarge);
    }
    // protobuf's own error names a field and a wire type, which does not help whoever exported the file.
    let no_model = || malformed("its bytes are no model, or not all of one");
    if weight(&bytes).ok_or_else(no_model)? > MAX_WEIGHT {
        return Err(OnnxError::TooManyParts);
    }
    let scopes = scopes(&bytes);
    let model = tract_onnx::onnx().proto_model_for_read(&mut Whole(bytes));
    let model = model.map_err(|_| no_model())?;
    Ok(Decoded { model, scopes })
}

/// The nodes that multiply and are not mapped.
type LeftOut = Vec<(String, String)>;

/// A model that was checked.
struct Checked {
    model: ModelProto,
    /// The constants that were taken out of it.
    weights: Vec<TensorProto>,
    left_out: LeftOut,
    paths: Paths,
    /// Whether an input leaves the size of the batch open.
    open_batch: bool,
}

impl Checked {
    /// Infers the shapes, and makes something of the model with them.
    fn with_shapes<T>(
        &self,
        make: impl FnOnce(&Prepared<'_>) -> Result<T, OnnxError>,
    ) -> Result<T, OnnxError> {
        let graph = self.model.graph.as_ref().ok_or(OnnxError::Empty)?;
        let shapes = Shapes::new(graph, infer(&self.model, graph)?);
        make(&Prepared {
            model: &self.model,
            graph,
            shapes: &shapes,
            weights: &self.weights,
            paths: &self.paths,
            open_batch: self.open_batch,
        })
    }
}

fn prepare(decoded: Decoded, input_size: Option<[usize; 2]>) -> Result<Checked, OnnxError> {
    let Decoded { mut model, scopes } = decoded;
    let functions = mem::take(&mut model.functions);
    let Some(graph) = &mut model.graph else {
        return Err(malformed("it holds no graph"));
    };
    if graph.node.len() + graph.initializer.len() + graph.sparse_initializer.len() + graph.input.len()
        > MAX_PARTS
    {
        return Err(OnnxError::TooManyParts);
    }
    refuse_hidden_convolutions(graph, &functions)?;
    make_dense(graph);
    refuse_values_computed_twice(graph)?;
    let paths = name_by_path(graph, &scopes);
    make_names_unique(&mut graph.node);
    let left_out = left_out(graph);
    let open_batch = leaves_batch_open(graph);
    say_sizes(graph, input_size)?;
    let weights = leave_out_weights(graph)?;
    Ok(Checked {
        model,
        weights,
        left_out,
        paths,
        open_batch,
    })
}

#[cfg(test)]
fn from_model(name: &str, model: ModelProto, input_size: Option<[usize; 2]>) -> Result<Import, OnnxError> {
    let scopes = Vec::new();
    from_prepared(name, prepare(Decoded { model, scopes }, input_size)?, false)
}

fn from_prepared(name: &str, mut checked: Checked, linear: bool) -> Result<Import, OnnxError> {
    // Shapes are all that is needed.
    checked.weights.iter_mut().for_each(without_data);
    let multiply: HashSet<&str> = checked.left_out.iter().map(|(name, _)| &**name).collect();
    let (network, widths_unknown) = checked.with_shapes(|prepared| {
        let mut layers = Vec::new();
        let batch = batch_size(prepared);
        for node in &prepared.graph.node {
            if is_convolution(node) {
                layers.push(convolution(node, prepared.shapes)?);
            } else if linear && multiply.contains(&*node.name) {
                layers.extend(linear_layer(node, prepared.shapes, batch));
            }
        }
        if layers.is_empty() {
            return Err(OnnxError::Empty);
        }
        Ok(match graph::ties(prepared, name, &layers, linear) {
            Ok(network) => (network, None),
            Err(error) => (Network::fixed(name, layers), Some(error.to_string())),
        })
    })?;
    let counted: HashSet<String> = network.layers.iter().map(|layer| layer.name.clone()).collect();
    let mut left_out = checked.left_out;
    left_out.retain(|(name, _)| !counted.contains(name));
    Ok(Import {
        network,
        widths_unknown,
        left_out,
    })
}

/// How many pictures the inferred shapes are of: the first size of the first input that is no constant.
fn batch_size(prepared: &Prepared<'_>) -> usize {
    let held: HashSet<&str> = (prepared.weights.iter()).map(|tensor| &*tensor.name).collect();
    let mut inputs = prepared
        .graph
        .input
        .iter()
        .filter(|input| !held.contains(&*input.name));
    let first = |input: &ValueInfoProto| prepared.shapes.find(&input.name, |sizes| *sizes.first()?);
    inputs.find_map(first).unwrap_or(1)
}

fn malformed(what: impl AsRef<str>) -> OnnxError {
    OnnxError::Malformed(printable(what.as_ref()))
}

/// A text of the file with its control characters escaped: a terminal would obey them.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() {
            printable.extend(character.escape_default());
        } else {
            printable.push(character);
        }
    }
    printable
}

/// What a node is called: its name, which may be missing, or its first output's, which may not.
fn called(node: &NodeProto) -> String {
    let name = Some(&node.name).filter(|name| !name.is_empty());
    name.or(node.output.first())
        .map_or_else(String::new, |name| printable(name))
}

/// Gives every node a name of its own. ONNX does not check that they differ.
fn make_names_unique(nodes: &mut [NodeProto]) {
    for node in &mut *nodes {
        node.name = printable(&node.name);
    }
    let given: HashSet<String> = nodes.iter().map(|node| node.name.clone()).collect();
    let mut used = HashSet::new();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    for node in nodes {
        if !node.name.is_empty() && used.insert(node.name.clone()) {
            continue;
        }
        let is_free = |name: &String| !name.is_empty() && !given.contains(name) && !used.contains(name);
        let output = node
            .output
            .first()
            .map(|output| printable(output))
            .filter(is_free);
        let name = output.unwrap_or_else(|| {
            let stem = called(node);
            let number = numbers.entry(stem.clone()).or_insert(1);
            loop {
                *number += 1;
                let name = format!("{stem}_{number}");
                if is_free(&name) {
                    break name;
                }
            }
        });
        used.insert(name.clone());
        node.name = name;
    }
}

/// Refuses convolutions in an unknown layout, and those inside functions and nodes that hold graphs.
fn refuse_hidden_convolutions(graph: &GraphProto, functions: &[FunctionProto]) -> Result<(), OnnxError> {
    fn refuse_within(
        nodes: &[NodeProto],
        outer: &str,
        is_call: &dyn Fn(&NodeProto) -> bool,
    ) -> Result<(), OnnxError> {
        for node in nodes {
            if is_convolution(node) {
                return Err(OnnxError::Nested {
                    node: called(node),
                    outer: printable(outer),
                });
            }
            refuse_in(node, outer, is_call)?;
        }
        Ok(())
    }
    fn refuse_in(
        node: &NodeProto,
        outer: &str,
        is_call: &dyn Fn(&NodeProto) -> bool,
    ) -> Result<(), OnnxError> {
        if !is_call(node) {
            refuse_unreadable(node)?;
        }
        subgraphs(node).try_for_each(|graph| refuse_within(&graph.node, outer, is_call))
    }

    let declared: HashSet<(&str, &str)> = functions
        .iter()
        .map(|function| (function.domain(), function.name()))
        .collect();
    // A function may be called anything: its nodes say what it does.
    let is_call = |node: &NodeProto| declared.contains(&(&*node.domain, &*node.op_type));
    for function in functions {
        refuse_within(&function.node, function.name(), &is_call)?;
    }
    let mut nodes = graph.node.iter();
    nodes.try_for_each(|node| refuse_in(node, &called(node), &is_call))
}

fn refuse_values_computed_twice(graph: &GraphProto) -> Result<(), OnnxError> {
    let inputs = graph.input.iter().map(|input| &input.name);
    let mut there: HashSet<&String> = inputs
        .chain(graph.initializer.iter().map(|tensor| &tensor.name))
        .collect();
    let mut outputs = graph
        .node
        .iter()
        .flat_map(|node| &node.output)
        .filter(|name| !name.is_empty());
    match outputs.find(|name| !there.insert(name)) {
        Some(name) => Err(malformed(format!(
            "more than one node or input gives its value `{name}`"
        ))),
        None => Ok(()),
    }
}

/// The sizes of a value; `None` where it is no tensor, or of any rank.
fn shape_of(info: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_mut()?.value.as_mut()?;
    tensor.shape.as_mut().map(|shape| &mut shape.dim)
}

/// Whether the first size of an input is no number.
fn leaves_batch_open(graph: &mut GraphProto) -> bool {
    let mut inputs = graph.input.iter_mut();
    inputs
        .any(|input| shape_of(input).is_some_and(|dims| dims.first().is_some_and(|dim| size(dim).is_none())))
}

/// Gives open sizes of the inputs a value: the batch is 1, height and width are `input_size`. Others stay open.
fn say_sizes(graph: &mut GraphProto, input_size: Option<[usize; 2]>) -> Result<(), OnnxError> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    // Old files list their constants among the inputs, too.
    graph.input.retain(|input| !constants.contains(&*input.name));
    let mut used = false;
    for input in &mut graph.input {
        let name = input.name.clone();
        let Some(dims) = shape_of(input) else { continue };
        refuse_too_many_axes(&name, dims.len())?;
        let mut sizes: Vec<Option<usize>> = dims.iter().map(size).collect();
        if let [batch, rest @ ..] = &mut sizes[..] {
            batch.get_or_insert(1);
            // Channels come first in ONNX itself, and last in what some exporters put before a transposition.
            let picture = match rest {
                [None, None, Some(_)] => Some([1, 2]),
                [_, None, _] | [_, _, None] => Some([2, 3]),
                _ => None,
            };
            for (axis, index) in picture.into_iter().flatten().enumerate() {
                if sizes[index].is_none() {
                    used = true;
                    let [height, width] = input_size.ok_or_else(|| OnnxError::OpenSize {
                        input: printable(&name),
                    })?;
                    sizes[index] = Some([height, width][axis]);
                }
            }
        }
        let out_of_range = |&size: &usize| size as i64 > MAX_TENSOR_DIMENSION;
        if let Some(size) = sizes.iter().copied().flatten().find(out_of_range) {
            return Err(malformed(format!(
                "the size {size} of its input `{name}` is out of range"
            )));
        }
        *dims = sizes.into_iter().map(dimension).collect();
    }
    if input_size.is_some() && !used {
        return Err(OnnxError::FixedSize);
    }
    Ok(())
}

fn convolution(node: &NodeProto, shapes: &Shapes) -> Result<ConvLayer, OnnxError> {
    let name = called(node);
    let wrong = |what: String| malformed(format!("its convolution `{name}` has {what}"));
    let value = |index: usize, what: &str| {
        let value = node.input.get(index).filter(|value| !value.is_empty());
        value.ok_or_else(|| wrong(format!("no {what}")))
    };
    let unknown = |value: &str| OnnxError::Unknown {
        node: name.clone(),
        past: printable(&shapes.stopped_before(value)),
    };
    let input = value(0, "input")?;
    let weight = value(if node.op_type == "QLinearConv" { 3 } else { 1 }, "weight")?;
    let kernel = shapes
        .find(weight, |sizes| sizes.iter().copied().collect::<Option<Vec<_>>>())
        .ok_or_else(|| unknown(weight))?;
    let &[out_channels, group_channels, kernel_h, kernel_w] = &kernel[..] else {
        return Err(match kernel.len() {
            axes @ 3.. => OnnxError::Axes {
                node: name,
                axes: axes - 2,
            },
            axes => wrong(format!("a weight of {axes} axes, where four were expected")),
        });
    };
    let [height, width] = shapes
        .find(input, |sizes| match sizes[..] {
            [_, _, Some(height), Some(width)] => Some([height, width]),
            _ => None,
        })
        .ok_or_else(|| unknown(input))?;

    let sizes = |wanted: &str| -> Result<Option<Vec<usize>>, OnnxError> {
        let Some(attribute) = attribute(node, wanted) else {
            return Ok(None);
        };
        let size = |&size: &i64| {
            usize::try_from(size)
                .map_err(|_| wrong(format!("the negative number {size} among its `{wanted}`")))
        };
        attribute
            .ints
            .iter()
            .map(size)
            .collect::<Result<_, _>>()
            .map(Some)
    };
    let lengths = |wanted: &str, found: usize, expected: usize| {
        wrong(format!(
            "{found} numbers as its `{wanted}`, where {expected} were expected"
        ))
    };
    let pair = |wanted: &str| match sizes(wanted)?.as_deref() {
        None => Ok(None),
        Some(&[down, across]) => Ok(Some([down, across])),
        Some(found) => Err(lengths(wanted, found.len(), 2)),
    };
    if let Some([down, across]) = pair("kernel_shape")?.filter(|&stated| stated != [kernel_h, kernel_w]) {
        return Err(wrong(format!(
            "a weight of {kernel_h}x{kernel_w}, but {down}x{across} as its `kernel_shape`"
        )));
    }
    let groups = attribute(node, "group").map_or(1, |group| group.i);
    let groups = usize::try_from(groups).map_err(|_| wrong(format!("{groups} groups")))?;
    let mut layer = ConvLayer {
        in_channels: group_channels.saturating_mul(groups),
        input: [height, width],
        kernel: [kernel_h, kernel_w],
        stride: pair("strides")?.unwrap_or([1; 2]),
        padding: Padding::default(),
        dilation: pair("dilations")?.unwrap_or([1; 2]),
        groups,
        out_channels,
        name: name.clone(),
    };
    let automatic = attribute(node, "auto_pad").map_or(&b""[..], |automatic| &automatic.s);
    layer.padding = match (automatic, sizes("pads")?.as_deref()) {
        (b"" | b"NOTSET", None) | (b"VALID", _) => Padding::default(),
        (b"" | b"NOTSET", Some(&[top, left, bottom, right])) => [top, bottom, left, right].into(),
        (b"SAME_UPPER", _) => same(&layer, |total| total / 2),
        (b"SAME_LOWER", _) => same(&layer, |total| total.div_ceil(2)),
        (b"" | b"NOTSET", Some(found)) => return Err(lengths("pads", found.len(), 4)),
        _ => {
            let automatic = String::from_utf8_lossy(automatic);
            return Err(wrong(format!("the unknown `auto_pad` {automatic}")));
        }
    };
    layer.validate(Accounting::ExactGeometry)?;
    let channels = shapes.find(input, |sizes| sizes.get(1).copied().flatten());
    if let Some(channels) = channels.filter(|&channels| channels != layer.in_channels) {
        return Err(wrong(format!(
            "an input of {channels} channels, but a weight for {}",
            layer.in_channels
        )));
    }
    Ok(layer)
}

/// The padding with which a layer has `ceil(input / stride)` outputs on each axis; `before` says how much of it comes
/// first.
fn same(layer: &ConvLayer, before: impl Fn(usize) -> usize) -> Padding {
    let extent = layer.kernel_extent();
    let [vertical, horizontal] = [0, 1].map(|axis| {
        // A stride of zero is refused later; here it must only not divide.
        let stride = layer.stride[axis].max(1);
        let steps = layer.input[axis].div_ceil(stride).saturating_sub(1);
        let reach = steps.saturating_mul(stride).saturating_add(extent[axis]);
        let total = reach.saturating_sub(layer.input[axis]);
        [before(total), total - before(total)]
    });
    [vertical[0], vertical[1], horizontal[0], horizontal[1]].into()
}
