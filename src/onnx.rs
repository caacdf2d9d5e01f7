//! Networks from ONNX files: the shapes of their convolutions, and nothing else.
//!
//! Weights are never looked at, so a file may name external data that is not there. Shapes are inferred by
//! [tract](https://docs.rs/tract-onnx), with a batch of 1; where it does not get through, the shapes that the file
//! itself states are taken.
//!
//! Every file is treated as hostile. What tract is given is checked before, its constant folding is kept to small
//! tensors, and its panics are caught: what a node computes is then unknown.
//!
//! ```
//! use vwc_sdk::onnx::import;
//!
//! let file = std::fs::File::open("tests/fixtures/onnx/resnet18.onnx")?;
//! let import = import("resnet18", file, None)?;
//! assert_eq!(import.network.layers.len(), 20);
//! assert_eq!(import.left_out, [("node_linear".to_owned(), "Gemm".to_owned())]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    io::{self, Read},
    mem,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

use thiserror::Error;
use tract_onnx::{
    pb::{
        GraphProto, ModelProto, NodeProto, TensorProto, TensorShapeProto, TypeProto, ValueInfoProto,
        tensor_proto::DataLocation,
        tensor_shape_proto::{Dimension, dimension},
        type_proto,
    },
    tract_hir::{internal::*, ops::unimpl::UnimplementedOp},
};

use crate::mapping::{Accounting, ConvLayer, MappingError, Network, Padding};

/// The largest file that is read, in bytes: the most that protobuf can hold.
const MAX_BYTES: u64 = 2 << 30;

/// The most nodes, constants and inputs of a graph together. Each takes a few bytes of a file and a thousand of memory.
const MAX_PARTS: usize = 100_000;

/// Constants of so many elements can say a shape, and are kept. All others are weights.
const SMALL: usize = 64;

/// The most elements of a constant that is worked out while shapes are inferred.
const MAX_FOLDED: usize = 1 << 16;

/// The longest list that is looked into: one of sizes makes a shape with as many axes.
const MAX_LIST: usize = 1 << 22;

/// The largest dimension of a tensor.
const MAX_TENSOR_DIMENSION: i64 = 1 << 31;

/// What was read from a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// The convolutions in the order of the file, which is one in which they can run. No width is free, as the
    /// file does not say which may change.
    pub network: Network,
    /// Nodes that multiply by weights but are not mapped, such as those of linear layers: name and operator.
    pub left_out: Vec<(String, String)>,
}

/// Why a file could not be imported.
#[derive(Debug, Error)]
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
    #[error("its graph has more than {MAX_PARTS} nodes, constants and inputs: export the network in parts")]
    TooManyParts,
    /// The file is not ONNX, contradicts itself, or holds a node that tract cannot read.
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
    /// Inference did not reach a convolution.
    #[error(
        "the shapes that the convolution `{node}` works on could not be inferred past {past}: export the network \
         with fixed sizes and without that, or run ONNX's shape inference on the file"
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
    let mut file = file.take(MAX_BYTES + 1);
    let model = tract_onnx::onnx().proto_model_for_read(&mut file);
    if file.limit() == 0 {
        return Err(OnnxError::TooLarge);
    }
    let model = model.map_err(|error| match error.downcast() {
        Ok(error) => OnnxError::Read(error),
        Err(error) => OnnxError::Malformed(error.root_cause().to_string()),
    })?;
    from_model(name, model, input_size)
}

fn from_model(
    name: &str,
    mut model: ModelProto,
    input_size: Option<[usize; 2]>,
) -> Result<Import, OnnxError> {
    for function in &mem::take(&mut model.functions) {
        refuse_convolutions(&function.node, function.name())?;
    }
    let Some(graph) = &mut model.graph else {
        return Err(malformed("it holds no graph"));
    };
    if graph.node.len() + graph.initializer.len() + graph.input.len() > MAX_PARTS {
        return Err(OnnxError::TooManyParts);
    }
    // So that tract's errors name every node, too.
    for node in &mut graph.node {
        node.name = called(node);
    }
    let left_out = left_out(graph);
    let opaque = close_subgraphs(graph)?;
    say_sizes(graph, input_size)?;
    leave_out_weights(graph)?;

    let inferred = quietly(|| infer(&model, &opaque))
        .unwrap_or_else(|| Err(malformed("shape inference failed on its graph")))?;
    let graph = model.graph.as_ref().ok_or(OnnxError::Empty)?;
    let shapes = Shapes::new(graph, inferred);
    let convolutions = graph.node.iter().filter(|node| is_convolution(node));
    let layers = convolutions
        .map(|node| convolution(node, &shapes))
        .collect::<Result<Vec<_>, _>>()?;
    if layers.is_empty() {
        return Err(OnnxError::Empty);
    }
    Ok(Import {
        network: Network::fixed(name, layers),
        left_out,
    })
}

fn malformed(what: impl Into<String>) -> OnnxError {
    OnnxError::Malformed(what.into())
}

/// What a node is called: its name, which may be missing, or its first output's, which may not.
fn called(node: &NodeProto) -> String {
    let name = Some(&node.name).filter(|name| !name.is_empty());
    name.or(node.output.first()).cloned().unwrap_or_default()
}

fn is_standard(node: &NodeProto) -> bool {
    matches!(&*node.domain, "" | "ai.onnx")
}

fn is_convolution(node: &NodeProto) -> bool {
    is_standard(node) && matches!(&*node.op_type, "Conv" | "ConvInteger" | "QLinearConv")
}

/// Standard operators other than convolutions that multiply by weights.
const MULTIPLIERS: [&str; 10] = [
    "ConvTranspose",
    "DeformConv",
    "Einsum",
    "GRU",
    "Gemm",
    "LSTM",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "RNN",
];

/// The nodes that multiply by weights but are no convolutions. What other operators than the standard ones do is not
/// known; those that take a matrix of constants are taken to multiply by it.
fn left_out(graph: &GraphProto) -> Vec<(String, String)> {
    // Which values are constant, and whether there is a matrix in them.
    let mut constants: HashMap<&str, bool> = (graph.initializer.iter())
        .map(|tensor| (&*tensor.name, tensor.dims.len() > 1))
        .collect();
    let mut found = Vec::new();
    for node in &graph.node {
        let inputs = || node.input.iter().filter(|name| !name.is_empty());
        let multiplies = MULTIPLIERS.contains(&&*node.op_type) || !is_standard(node);
        if multiplies && inputs().any(|name| constants.get(&**name) == Some(&true)) {
            found.push((called(node), node.op_type.clone()));
        }
        let from: Option<Vec<bool>> = inputs().map(|name| constants.get(&**name).copied()).collect();
        let matrix = match from {
            Some(from) if !from.is_empty() => from.contains(&true),
            Some(_) if node.op_type == "Constant" => {
                constant(node).is_some_and(|tensor| tensor.dims.len() > 1)
            }
            _ => continue,
        };
        constants.extend(node.output.iter().map(|name| (&**name, matrix)));
    }
    found
}

/// The tensor that a `Constant` holds.
fn constant(node: &NodeProto) -> Option<&TensorProto> {
    let values = node.attribute.iter().filter(|_| node.op_type == "Constant");
    values
        .filter(|attribute| attribute.name == "value")
        .find_map(|attribute| attribute.t.as_ref())
}

fn refuse_convolutions(nodes: &[NodeProto], outer: &str) -> Result<(), OnnxError> {
    for node in nodes {
        if is_convolution(node) {
            return Err(OnnxError::Nested {
                node: called(node),
                outer: outer.to_owned(),
            });
        }
        for graph in subgraphs(node) {
            refuse_convolutions(&graph.node, outer)?;
        }
    }
    Ok(())
}

fn subgraphs(node: &NodeProto) -> impl Iterator<Item = &GraphProto> {
    node.attribute
        .iter()
        .flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs))
}

/// Empties the nodes that hold graphs, and returns their operators: inference is to stop there, as a file can have them
/// compute anything.
fn close_subgraphs(graph: &mut GraphProto) -> Result<HashSet<String>, OnnxError> {
    let mut opaque = HashSet::new();
    for node in &mut graph.node {
        if subgraphs(node).next().is_some() {
            for graph in subgraphs(node) {
                refuse_convolutions(&graph.node, &called(node))?;
            }
            node.attribute.clear();
            opaque.insert(node.op_type.clone());
        }
    }
    Ok(opaque)
}

/// The sizes of a value, each where it is known; `None` where it is no tensor, or of any rank.
fn stated(info: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    let type_proto::Value::TensorType(tensor) = info.r#type.as_mut()?.value.as_mut()?;
    tensor.shape.as_mut().map(|shape| &mut shape.dim)
}

fn size(dimension: &Dimension) -> Option<usize> {
    match dimension.value {
        Some(dimension::Value::DimValue(size)) if size > 0 => usize::try_from(size).ok(),
        _ => None,
    }
}

fn dimension(size: Option<usize>) -> Dimension {
    Dimension {
        value: size.map(|size| dimension::Value::DimValue(size as i64)),
        ..Dimension::default()
    }
}

/// Gives open sizes of the inputs a value: the batch is 1, height and width are `input_size`. Others stay open.
fn say_sizes(graph: &mut GraphProto, input_size: Option<[usize; 2]>) -> Result<(), OnnxError> {
    let constants: HashSet<&str> = graph.initializer.iter().map(|tensor| &*tensor.name).collect();
    // Old files list their constants among the inputs, too.
    graph.input.retain(|input| !constants.contains(&*input.name));
    let mut used = false;
    for input in &mut graph.input {
        let name = input.name.clone();
        let Some(dims) = stated(input) else { continue };
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
                    let [height, width] =
                        input_size.ok_or_else(|| OnnxError::OpenSize { input: name.clone() })?;
                    sizes[index] = Some([height, width][axis]);
                }
            }
        }
        if sizes
            .iter()
            .flatten()
            .any(|&size| size as i64 > MAX_TENSOR_DIMENSION)
        {
            return Err(malformed(format!(
                "a dimension of its input `{name}` is out of range"
            )));
        }
        *dims = sizes.into_iter().map(dimension).collect();
    }
    if input_size.is_some() && !used {
        return Err(OnnxError::FixedSize);
    }
    Ok(())
}

/// Turns all constants that are not small, or that are not in the file, into inputs of the same shape.
fn leave_out_weights(graph: &mut GraphProto) -> Result<(), OnnxError> {
    for tensor in mem::take(&mut graph.initializer) {
        if is_weights(&tensor)? {
            let name = tensor.name.clone();
            graph.input.push(placeholder(name, &tensor));
        } else {
            graph.initializer.push(tensor);
        }
    }
    for node in mem::take(&mut graph.node) {
        match (constant(&node), node.output.first()) {
            (Some(tensor), Some(name)) if is_weights(tensor)? => {
                graph.input.push(placeholder(name.clone(), tensor));
            }
            _ => graph.node.push(node),
        }
    }
    Ok(())
}

fn is_weights(tensor: &TensorProto) -> Result<bool, OnnxError> {
    let elements = tensor
        .dims
        .iter()
        .try_fold(1, |product: usize, &dim| {
            let dim = usize::try_from(dim)
                .ok()
                .filter(|_| dim <= MAX_TENSOR_DIMENSION)?;
            product.checked_mul(dim)
        })
        .ok_or_else(|| {
            malformed(format!(
                "the dimensions {:?} of its tensor `{}` are out of range",
                tensor.dims, tensor.name
            ))
        })?;
    let lists = [
        tensor.float_data.len(),
        tensor.int32_data.len(),
        tensor.int64_data.len(),
        tensor.double_data.len(),
        tensor.uint64_data.len(),
    ];
    let elsewhere = tensor.data_location == Some(DataLocation::External as i32);
    let held = !tensor.raw_data.is_empty() || (!elsewhere && lists.contains(&elements));
    Ok(elements > SMALL || !held)
}

fn placeholder(name: String, tensor: &TensorProto) -> ValueInfoProto {
    let sizes = tensor.dims.iter().map(|&dim| usize::try_from(dim).ok());
    let dim = sizes.map(dimension).collect();
    let tensor = type_proto::Tensor {
        elem_type: tensor.data_type,
        shape: Some(TensorShapeProto { dim }),
    };
    ValueInfoProto {
        name,
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

/// A shape, as far as it is known.
type Sizes = Vec<Option<usize>>;

/// The shape of every value whose rank is known, by tract.
fn infer(model: &ModelProto, opaque: &HashSet<String>) -> Result<HashMap<String, Sizes>, OnnxError> {
    let mut onnx = tract_onnx::onnx()
        .with_ignore_output_shapes(true)
        .with_ignore_value_info(true);
    for operator in opaque {
        onnx.op_register.0.remove(&**operator);
    }
    // Not an operator of ONNX, and one that fills a tensor of any size as soon as it is seen.
    onnx.op_register.0.remove("ConstantLike");
    let parsed = onnx.parse(model, None).map_err(|error| {
        // The outermost message names the node, the innermost what is wrong with it.
        let (node, cause) = (error.to_string(), error.root_cause().to_string());
        malformed(if node == cause {
            node
        } else {
            format!("{node}: {cause}")
        })
    })?;
    let mut inference = parsed.model;
    for node in inference.nodes_mut() {
        if !node.inputs.is_empty() {
            let stand_in = UnimplementedOp::new(0, "", "").into();
            node.op = Box::new(Folding(mem::replace(&mut node.op, stand_in)));
        }
    }
    // An error is that of one node; what is known of the others counts.
    let _ = inference.analyse(true);
    let shapes = parsed.outlets_by_name.into_iter().filter_map(|(name, outlet)| {
        let shape = &inference.outlet_fact(outlet).ok()?.shape;
        let sizes = shape.dims().map(|dim| dim.concretize()?.to_usize().ok());
        (!shape.is_open()).then(|| (name, sizes.collect()))
    });
    Ok(shapes.collect())
}

/// An operator that is worked out on constants only where what comes out is small, and whose panics are errors.
#[derive(Debug, Clone)]
struct Folding(Box<dyn InferenceOp>);

impl PartialEq for Folding {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Folding {}

impl Op for Folding {
    fn name(&self) -> StaticName {
        self.0.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Folding {
    not_out_of_plan!();
}

const PANICKED: &str = "the operator panicked";

type Facts = (TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>);

impl InferenceOp for Folding {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        let is_long = |fact: &&InferenceFact| {
            let sizes = fact.shape.as_concrete_finite().ok().flatten();
            sizes.is_some_and(|sizes| matches!(sizes[..], [length] if length > MAX_LIST))
        };
        if inputs.iter().any(is_long) {
            bail!("a list is longer than {MAX_LIST}");
        }
        let facts = self.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
        let small = facts.1.iter().all(|fact| {
            let sizes = fact.shape.as_concrete_finite().ok().flatten();
            let product = |sizes: TVec<usize>| {
                sizes
                    .iter()
                    .try_fold(1, |product: usize, &n| product.checked_mul(n))
            };
            sizes
                .and_then(product)
                .is_some_and(|elements| elements <= MAX_FOLDED)
        });
        if small {
            quietly(|| self.0.infer(inputs, outputs, observed)).unwrap_or_else(|| bail!(PANICKED))
        } else {
            Ok(facts)
        }
    }

    fn observe_outlets(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Vec<OutletId>> {
        self.0.observe_outlets(model, node)
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        quietly(|| self.0.infer_facts(inputs, outputs, observed)).unwrap_or_else(|| bail!(PANICKED))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.0.nboutputs()
    }

    as_op!();
}

/// What `run` returns, or `None` where it panics, without a word on standard error.
///
/// The hook is put before the one there is once, and passes on every panic but those in here.
fn quietly<T>(run: impl FnOnce() -> T) -> Option<T> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(run)).ok();
    QUIET.set(before);
    result
}

/// Shapes by name, and who computes what.
struct Shapes<'a> {
    inferred: HashMap<String, Sizes>,
    stated: HashMap<&'a str, Sizes>,
    producers: HashMap<&'a str, &'a NodeProto>,
}

impl<'a> Shapes<'a> {
    fn new(graph: &'a GraphProto, inferred: HashMap<String, Sizes>) -> Self {
        let infos = graph.value_info.iter().chain(&graph.output);
        let stated = infos.filter_map(|info| {
            let type_proto::Value::TensorType(tensor) = info.r#type.as_ref()?.value.as_ref()?;
            let dims = &tensor.shape.as_ref()?.dim;
            Some((&*info.name, dims.iter().map(size).collect()))
        });
        let producers = graph.node.iter().flat_map(|node| {
            let names = node.output.iter().filter(|name| !name.is_empty());
            names.map(move |name| (&**name, node))
        });
        Self {
            inferred,
            stated: stated.collect(),
            producers: producers.collect(),
        }
    }

    /// The shape that `wanted` accepts, as inferred or else as stated.
    fn find<T>(&self, name: &str, wanted: impl Fn(&Sizes) -> Option<T>) -> Option<T> {
        let inferred = self.inferred.get(name).and_then(&wanted);
        inferred.or_else(|| self.stated.get(name).and_then(&wanted))
    }

    fn is_known(&self, name: &str) -> bool {
        self.find(name, |sizes| sizes.iter().all(Option::is_some).then_some(()))
            .is_some()
    }

    /// What inference could not pass on its way to `name`: nodes with known inputs and unknown outputs, and inputs.
    fn stopped_before(&self, name: &str) -> String {
        let mut past = Vec::new();
        let mut seen = HashSet::from([name]);
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            let Some(&node) = self.producers.get(name) else {
                past.push(format!("the input `{name}`"));
                continue;
            };
            let inputs = node.input.iter().map(|input| &**input);
            let unknown: Vec<&str> = inputs
                .filter(|input| !input.is_empty() && !self.is_known(input))
                .collect();
            if unknown.is_empty() {
                past.push(format!("`{}` ({})", called(node), node.op_type));
            }
            open.extend(unknown.into_iter().filter(|input| seen.insert(input)));
        }
        if past.is_empty() {
            past.push("nodes that wait for each other".to_owned());
        }
        // The first few are enough to go on.
        past.truncate(3);
        past.join(", ")
    }
}

fn convolution(node: &NodeProto, shapes: &Shapes) -> Result<ConvLayer, OnnxError> {
    let name = called(node);
    let wrong = |what: &str| malformed(format!("{what} of the convolution `{name}` is not one"));
    let value = |index: usize| node.input.get(index).map_or("", |input| input);
    let unknown = |value: &str| OnnxError::Unknown {
        node: name.clone(),
        past: shapes.stopped_before(value),
    };
    let (input, weight) = (value(0), value(if node.op_type == "QLinearConv" { 3 } else { 1 }));
    let kernel = shapes
        .find(weight, |sizes| sizes.iter().copied().collect::<Option<Vec<_>>>())
        .ok_or_else(|| unknown(weight))?;
    let &[out_channels, group_channels, kernel_h, kernel_w] = &kernel[..] else {
        return Err(match kernel.len() {
            axes @ 3.. => OnnxError::Axes {
                node: name,
                axes: axes - 2,
            },
            _ => wrong("the weight"),
        });
    };
    let [height, width] = shapes
        .find(input, |sizes| match sizes[..] {
            [_, _, Some(height), Some(width)] => Some([height, width]),
            _ => None,
        })
        .ok_or_else(|| unknown(input))?;

    let attribute = |wanted: &str| node.attribute.iter().find(|attribute| attribute.name == wanted);
    let sizes = |wanted: &str| -> Result<Option<Vec<usize>>, OnnxError> {
        let Some(attribute) = attribute(wanted) else {
            return Ok(None);
        };
        let sizes: Result<_, _> = attribute.ints.iter().map(|&size| usize::try_from(size)).collect();
        sizes.map(Some).map_err(|_| wrong(wanted))
    };
    let pair = |wanted: &str| match sizes(wanted)?.as_deref() {
        None => Ok([1; 2]),
        Some(&[down, across]) => Ok([down, across]),
        Some(_) => Err(wrong(wanted)),
    };
    let groups = attribute("group").map_or(Ok(1), |group| usize::try_from(group.i));
    let groups = groups.map_err(|_| wrong("group"))?;
    let mut layer = ConvLayer {
        in_channels: group_channels.saturating_mul(groups),
        input: [height, width],
        kernel: [kernel_h, kernel_w],
        stride: pair("strides")?,
        padding: Padding::default(),
        dilation: pair("dilations")?,
        groups,
        out_channels,
        name: name.clone(),
    };
    let automatic = attribute("auto_pad").map_or(&b""[..], |automatic| &automatic.s);
    layer.padding = match (automatic, sizes("pads")?.as_deref()) {
        (b"" | b"NOTSET", None) | (b"VALID", _) => Padding::default(),
        (b"" | b"NOTSET", Some(&[top, left, bottom, right])) => [top, bottom, left, right].into(),
        (b"SAME_UPPER", _) => same(&layer, |total| total / 2),
        (b"SAME_LOWER", _) => same(&layer, |total| total.div_ceil(2)),
        (b"" | b"NOTSET", _) => return Err(wrong("pads")),
        _ => return Err(wrong("auto_pad")),
    };
    layer.validate(Accounting::ExactGeometry)?;
    let channels = shapes.find(input, |sizes| sizes.get(1).copied().flatten());
    if channels.is_some_and(|channels| channels != layer.in_channels) {
        return Err(wrong("the number of input channels"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use tract_onnx::pb::{AttributeProto, OperatorSetIdProto, tensor_proto::DataType};

    fn ints(name: &str, ints: &[i64]) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            r#type: 7,
            ints: ints.to_vec(),
            ..AttributeProto::default()
        }
    }

    fn text(name: &str, text: &str) -> AttributeProto {
        AttributeProto {
            name: name.to_owned(),
            r#type: 3,
            s: text.into(),
            ..AttributeProto::default()
        }
    }

    fn node(operator: &str, inputs: &[&str], output: &str, attribute: Vec<AttributeProto>) -> NodeProto {
        NodeProto {
            op_type: operator.to_owned(),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.to_owned()],
            attribute,
            ..NodeProto::default()
        }
    }

    /// A tensor without its data.
    fn tensor(name: &str, dims: &[i64]) -> TensorProto {
        TensorProto {
            name: name.to_owned(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            ..TensorProto::default()
        }
    }

    fn shape(name: &str, sizes: &[i64]) -> TensorProto {
        TensorProto {
            data_type: DataType::Int64 as i32,
            int64_data: sizes.to_vec(),
            ..tensor(name, &[sizes.len() as i64])
        }
    }

    /// A graph from `x` of this shape, 0 where it is open, to what its last node computes.
    fn model(x: &[i64], initializer: Vec<TensorProto>, node: Vec<NodeProto>) -> ModelProto {
        let mut input = placeholder("x".to_owned(), &tensor("x", x));
        stated(&mut input)
            .unwrap()
            .iter_mut()
            .filter(|dimension| size(dimension).is_none())
            .for_each(|dimension| dimension.value = Some(dimension::Value::DimParam("n".to_owned())));
        let output = node.last().map(|node| ValueInfoProto {
            name: node.output.first().cloned().unwrap_or_default(),
            ..ValueInfoProto::default()
        });
        ModelProto {
            opset_import: vec![OperatorSetIdProto {
                version: 17,
                ..OperatorSetIdProto::default()
            }],
            graph: Some(GraphProto {
                input: vec![input],
                output: output.into_iter().collect(),
                initializer,
                node,
                ..GraphProto::default()
            }),
            ..ModelProto::default()
        }
    }

    fn refused(model: ModelProto, input_size: Option<[usize; 2]>) -> String {
        from_model("x", model, input_size).unwrap_err().to_string()
    }

    #[test]
    fn padding_may_be_left_to_onnx() {
        // The last of four outputs in steps of 2 begins at cell 6: a kernel of 3 needs 9 cells and one of 2 needs 8,
        // where there are 7.
        for (kernel, automatic, expected) in [
            (3, "SAME_UPPER", [1, 1, 1, 1]),
            (2, "SAME_UPPER", [0, 1, 0, 1]),
            (2, "SAME_LOWER", [1, 0, 1, 0]),
            (3, "VALID", [0; 4]),
            (3, "NOTSET", [0; 4]),
        ] {
            let attributes = vec![text("auto_pad", automatic), ints("strides", &[2, 2])];
            let model = model(
                &[1, 3, 7, 7],
                vec![tensor("w", &[8, 3, kernel, kernel])],
                vec![node("Conv", &["x", "w"], "y", attributes)],
            );
            let layer = &from_model("x", model, None).unwrap().network.layers[0];
            assert_eq!(layer.padding, expected.into(), "{automatic}");
            let same = automatic.starts_with("SAME");
            assert_eq!(
                layer.output(Accounting::ExactGeometry),
                if same { [4, 4] } else { [3, 3] }
            );
        }
    }

    #[test]
    fn open_sizes_are_said_and_open_batches_are_one() {
        let open = || {
            model(
                &[0, 3, 0, 0],
                vec![tensor("w", &[8, 3, 3, 3])],
                vec![node("Conv", &["x", "w"], "y", vec![])],
            )
        };
        assert!(refused(open(), None).contains("input `x` open: give them with --input-size"));
        let layer = &from_model("x", open(), Some([20, 30])).unwrap().network.layers[0];
        assert_eq!(layer.input, [20, 30]);
    }

    #[test]
    fn quantised_convolutions_are_mapped() {
        let scales = ["xs", "xz", "ws", "wz", "ys", "yz"];
        let mut initializer: Vec<_> = scales.map(|name| tensor(name, &[])).into();
        initializer.push(tensor("w", &[8, 3, 3, 3]));
        let inputs = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz"];
        let model = model(
            &[1, 3, 9, 9],
            initializer,
            vec![node("QLinearConv", &inputs, "y", vec![])],
        );
        let layer = &from_model("x", model, None).unwrap().network.layers[0];
        assert_eq!((layer.in_channels, layer.out_channels), (3, 8));
    }

    #[test]
    fn a_convolution_that_inference_does_not_reach_is_named_with_what_stopped_it() {
        let past = |operator: &str| {
            let mut before = node(operator, &["x"], "r", vec![]);
            before.name = "riddle".to_owned();
            model(
                &[1, 3, 8, 8],
                vec![tensor("w", &[8, 3, 3, 3])],
                vec![
                    before,
                    node("Relu", &["r"], "s", vec![]),
                    node("Conv", &["s", "w"], "y", vec![]),
                ],
            )
        };
        let said = refused(past("Riddle"), None);
        assert!(
            said.contains("convolution `y` works on could not be inferred past `riddle` (Riddle)"),
            "{said}"
        );
        // What the file states counts where inference stops.
        let mut stated = past("Riddle");
        let info = placeholder("s".to_owned(), &tensor("s", &[1, 3, 8, 8]));
        stated.graph.as_mut().unwrap().value_info.push(info);
        assert_eq!(
            from_model("x", stated, None).unwrap().network.layers[0].input,
            [8, 8]
        );
    }

    #[test]
    fn convolutions_that_cannot_be_mapped_are_refused_by_name() {
        let line = model(
            &[1, 3, 8],
            vec![tensor("w", &[8, 3, 3])],
            vec![node("Conv", &["x", "w"], "y", vec![])],
        );
        assert!(refused(line, None).contains("`y` is a convolution over 1 axes"));

        let within = GraphProto {
            node: vec![node("Conv", &["x", "w"], "y", vec![])],
            ..GraphProto::default()
        };
        let branch = AttributeProto {
            name: "then_branch".to_owned(),
            g: Some(within),
            ..AttributeProto::default()
        };
        let model = model(&[1, 3, 8, 8], vec![], vec![node("If", &["x"], "z", vec![branch])]);
        assert!(refused(model, None).contains("`y` is inside `z`"));
    }

    #[test]
    fn hostile_numbers_are_refused_before_anything_is_allocated() {
        let convolution = |weight: &[i64], attributes| {
            let convolution = node("Conv", &["x", "w"], "y", attributes);
            model(&[1, 3, 8, 8], vec![tensor("w", weight)], vec![convolution])
        };
        for (model, says) in [
            (convolution(&[8, 3, -3, 3], vec![]), "are out of range"),
            (convolution(&[i64::MAX; 4], vec![]), "are out of range"),
            (convolution(&[1 << 31, 3, 1, 1], vec![]), "`y`"),
            (convolution(&[8, 0, 3, 3], vec![]), "`y`"),
            (
                convolution(&[8, 3, 3, 3], vec![ints("pads", &[-1; 4])]),
                "node y (Conv)",
            ),
            (convolution(&[8, 3, 3, 3], vec![ints("strides", &[0; 2])]), "`y`"),
            (
                convolution(&[8, 3, 3, 3], vec![ints("dilations", &[i64::MAX; 2])]),
                "`y`",
            ),
        ] {
            let said = refused(model, None);
            assert!(said.contains(says), "{said}");
        }
        // A shape of 2^41 axes fills the memory of any machine.
        for (operator, inputs) in [("Reshape", &["x", "sizes"][..]), ("ConstantOfShape", &["sizes"])] {
            let nodes = vec![
                node("Flatten", &["list"], "flat", vec![]),
                node("Squeeze", &["flat", "axis"], "sizes", vec![]),
                node(operator, inputs, "many", vec![]),
                node("Conv", &["many", "w"], "y", vec![]),
            ];
            let mut list = tensor("list", &[1, 1 << 31, 1 << 10]);
            list.data_type = DataType::Int64 as i32;
            let weights = vec![list, shape("axis", &[0]), tensor("w", &[8, 3, 3, 3])];
            let said = refused(model(&[1, 3, 8, 8], weights, nodes), None);
            assert!(said.contains("past `many`"), "{said}");
        }
        // What an operator panics on is left unknown.
        let nodes = vec![
            node("Range", &["from", "to", "step"], "panics", vec![]),
            node("Conv", &["x", "w"], "y", vec![]),
        ];
        let mut weights: Vec<_> = [("from", 0), ("to", 1 << 45), ("step", 0)]
            .map(|(name, number)| shape(name, &[number]))
            .into();
        weights.iter_mut().for_each(|number| number.dims.clear());
        weights.push(tensor("w", &[8, 3, 3, 3]));
        let import = from_model("x", model(&[1, 3, 8, 8], weights, nodes), None).unwrap();
        assert_eq!(import.network.layers.len(), 1);
        // So do constants that a few bytes make.
        for (operator, sizes) in [
            ("ConstantOfShape", vec![1 << 40, 1 << 20]),
            ("ConstantLike", vec![]),
        ] {
            let fill = node(operator, &["sizes"], "filled", vec![ints("shape", &[1 << 60])]);
            let mut fills = vec![fill, node("Conv", &["x", "w"], "y", vec![])];
            if operator == "ConstantLike" {
                fills[0].input.clear();
            }
            let weights = vec![shape("sizes", &sizes), tensor("w", &[8, 3, 3, 3])];
            let import = from_model("x", model(&[1, 3, 8, 8], weights, fills), None).unwrap();
            assert_eq!(import.network.layers.len(), 1);
        }
    }

    #[test]
    fn graphs_of_too_many_nodes_are_refused() {
        let nodes = vec![NodeProto::default(); MAX_PARTS];
        let said = refused(model(&[1, 3, 8, 8], vec![], nodes), None);
        assert!(said.contains("more than 100000 nodes"), "{said}");
    }

    #[test]
    fn long_files_do_not_exhaust_the_stack() {
        let names: Vec<String> = (0..20_000).map(|n| format!("v{n}")).collect();
        let mut nodes = vec![node("Relu", &["x"], &names[0], vec![])];
        nodes.extend(
            names
                .windows(2)
                .map(|pair| node("Relu", &[&pair[0]], &pair[1], vec![])),
        );
        nodes.push(node("Conv", &[&names[names.len() - 1], "w"], "y", vec![]));
        let model = model(&[1, 3, 8, 8], vec![tensor("w", &[8, 3, 3, 3])], nodes);
        assert_eq!(from_model("x", model, None).unwrap().network.layers.len(), 1);
    }
}
