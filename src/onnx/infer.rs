//! Shape inference by tract, of graphs that cannot be trusted and with operators that tract does not know.
//!
//! tract keeps no limit of its own. Four rules keep its time and memory small, whatever the file:
//!
//! * A size is an integer or unknown. Where tract makes an expression of it, such as that of an addition whose sizes
//!   do not broadcast, the expression is dropped: it would double with each addition behind it.
//! * Values are worked out by the operators that compute shapes, and only where few numbers go in and come out.
//! * No tensor has more than [`MAX_AXES`] axes, and no attribute or list of axes names another axis.
//! * Every step of inference is counted, by the size of the shapes and values that it looks at. All steps of a file
//!   together may cost [`MAX_WORK`].

use std::{
    collections::HashMap,
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tract_onnx::{
    model::{OnnxOpRegister, ParsingContext},
    pb::{
        AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto,
        tensor_proto::DataType, type_proto,
    },
    tract_hir::{internal::*, ops::unimpl::UnimplementedOp},
};

use super::{
    OnnxError, malformed,
    operators::{ALIKE, plain},
    shapes::{Sizes, stated},
    tensors::{MAX_AXES, stand_in},
};
use crate::panics::attempt;

/// What all steps of inference may cost together: some seconds. A chain of a thousand residual blocks costs less than a
/// tenth.
pub(super) const MAX_WORK: u64 = 300_000_000;

/// What a step costs besides the square of the axes and values that it looks at.
const STEP: u64 = 1000;

/// The most elements, of all inputs or of an output, with which a value is worked out while shapes are inferred.
const MAX_FOLDED: usize = 1 << 10;

/// The operators whose values are worked out: those that compute shapes. Others, such as a pool with a window of any
/// size, can take any time on a few numbers. `Range` is not among them: tract takes one that descends for a short one.
pub(super) const FOLDED: [&str; 46] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArgMin",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherElements",
    "GatherND",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Reshape",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Sign",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
];

/// The operators for which tract makes a tensor of as many axes as a list is long.
const RANK_FROM_LENGTH: [&str; 4] = ["ConstantOfShape", "Pad", "Shape", "Tile"];

/// The longest list of one or two numbers for each axis.
const MAX_LIST: usize = 2 * MAX_AXES;

/// The longest list in an attribute, such as one of the sizes of parts.
const MAX_ATTRIBUTE: usize = 128;

/// The attributes that name axes or count them.
const AXES_ATTRIBUTES: [&str; 6] = ["axes", "axis", "batch_axis", "batch_dims", "perm", "time_axis"];

/// The attributes that name an element type.
const TYPE_ATTRIBUTES: [&str; 2] = ["dtype", "to"];

/// tract's operators.
static REGISTER: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// Shapes by the name of the value.
type Inferred = HashMap<String, Sizes>;

/// The shape of every value whose rank is known.
pub(super) fn infer(model: &ModelProto, graph: &GraphProto) -> Result<Inferred, OnnxError> {
    infer_within(MAX_WORK, model, graph).map(|(inferred, _)| inferred)
}

/// The shapes, and what is left of the `work` that inference may take.
pub(super) fn infer_within(
    work: u64,
    model: &ModelProto,
    graph: &GraphProto,
) -> Result<(Inferred, u64), OnnxError> {
    let left = Arc::new(AtomicU64::new(work));
    let inferred = attempt(|| infer_with_tract(model, graph, &left).ok())
        .ok()
        .flatten();
    let left = left.load(Relaxed);
    if left == 0 {
        return Err(OnnxError::TooMuchWork);
    }
    let inferred =
        inferred.ok_or_else(|| malformed("no shape could be inferred, as its graph contradicts itself"))?;
    Ok((inferred, left))
}

fn infer_with_tract(model: &ModelProto, graph: &GraphProto, left: &Arc<AtomicU64>) -> TractResult<Inferred> {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    for builder in onnx.op_register.0.values_mut() {
        *builder = build;
    }
    onnx.op_register
        .insert(ALIKE, |_, _| Ok((Box::new(Alike), vec![])));
    let parsed = onnx.parse(&for_tract(model, graph), None)?;
    let mut inference = parsed.model;
    for node in inference.nodes_mut() {
        if let Some(folding) = node.op_as_mut::<Folding>() {
            folding.left = left.clone();
        }
    }
    // An error is that of one node; what is known of the others counts.
    let _ = inference.analyse(true);
    // Where an operator stopped inference, it goes on from the shapes that the file states.
    let mut changed = false;
    for (name, sizes) in stated(graph) {
        let Some(&outlet) = parsed.outlets_by_name.get(name) else {
            continue;
        };
        let fact = inference.outlet_fact(outlet)?;
        let dims = sizes
            .iter()
            .map(|size| size.map_or(DimFact::default(), |size| size.to_dim().into()));
        let unified = fact.shape.unify(&ShapeFactoid::closed(dims.collect()));
        if let Some(shape) = unified.ok().filter(|shape| *shape != fact.shape) {
            let fact = fact.clone().with_shape(shape);
            inference.set_outlet_fact(outlet, fact)?;
            changed = true;
        }
    }
    if changed {
        let _ = inference.analyse(true);
    }
    let shapes = parsed.outlets_by_name.into_iter().filter_map(|(name, outlet)| {
        let shape = &inference.outlet_fact(outlet).ok()?.shape;
        let sizes = shape.dims().map(|dim| dim.concretize()?.to_usize().ok());
        (!shape.is_open()).then(|| (name, sizes.collect()))
    });
    Ok(shapes.collect())
}

/// The model with nothing in it but what tract can read: its operators, under one domain, and its types.
///
/// Constants become nodes: tract compares every other constant with all before it.
fn for_tract(model: &ModelProto, graph: &GraphProto) -> ModelProto {
    let constants = graph.initializer.iter().map(constant_for_tract);
    ModelProto {
        opset_import: model.opset_import.clone(),
        graph: Some(GraphProto {
            node: constants.chain(graph.node.iter().map(node_for_tract)).collect(),
            input: graph.input.iter().filter_map(input_for_tract).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

fn constant_for_tract(tensor: &TensorProto) -> NodeProto {
    NodeProto {
        op_type: "Constant".to_owned(),
        output: vec![tensor.name.clone()],
        attribute: vec![AttributeProto {
            name: "value".to_owned(),
            r#type: 4,
            t: Some(with_small_integers(tensor.clone())),
            ..AttributeProto::default()
        }],
        ..NodeProto::default()
    }
}

/// An input that is no tensor is left out: tract then takes its value as unknown.
fn input_for_tract(input: &ValueInfoProto) -> Option<ValueInfoProto> {
    let mut input = input.clone();
    let type_proto::Value::TensorType(tensor) = input.r#type.as_mut()?.value.as_mut()?;
    tensor.elem_type = stand_in(tensor.elem_type);
    Some(input)
}

fn node_for_tract(node: &NodeProto) -> NodeProto {
    let mut for_tract = NodeProto {
        name: node.name.clone(),
        input: node.input.clone(),
        output: node.output.clone(),
        ..NodeProto::default()
    };
    // tract does not know an operator without a name, and leaves what it computes open.
    let plain =
        plain(node).filter(|plain| plain.operator == ALIKE || REGISTER.0.contains_key(plain.operator));
    if let Some(plain) = plain {
        let kept = (node.attribute.iter()).filter(|attribute| !plain.without.contains(&&*attribute.name));
        if kept.clone().all(is_within_limits) {
            plain.operator.clone_into(&mut for_tract.op_type);
            for_tract.attribute = kept.map(attribute_for_tract).collect();
            for_tract.input = plain.inputs;
        }
    }
    // tract counts the inputs of some operators to see which of them are there.
    while for_tract.input.last().is_some_and(String::is_empty) {
        for_tract.input.pop();
    }
    for_tract
}

/// A constant with the integers of 64 bits that 32 bits do not hold as the nearest that they do. No size is as large: such a number
/// says "to the end", and tract takes it for -1 where it was computed from another one.
fn with_small_integers(mut tensor: TensorProto) -> TensorProto {
    if tensor.data_type == DataType::Int64 as i32 {
        tensor
            .int64_data
            .iter_mut()
            .for_each(|number| *number = small(*number));
        for number in tensor.raw_data.chunks_exact_mut(8) {
            let before = i64::from_le_bytes(number.try_into().expect("eight bytes"));
            number.copy_from_slice(&small(before).to_le_bytes());
        }
    }
    tensor
}

fn small(number: i64) -> i64 {
    number.clamp(i32::MIN.into(), i32::MAX.into())
}

/// Whether an attribute lists a few numbers at most and names no axis that a tensor cannot have.
fn is_within_limits(attribute: &AttributeProto) -> bool {
    let lengths = [
        attribute.ints.len(),
        attribute.floats.len(),
        attribute.strings.len(),
    ];
    lengths.iter().all(|&length| length <= MAX_ATTRIBUTE)
        && (!AXES_ATTRIBUTES.contains(&&*attribute.name)
            || attribute.ints.iter().chain([&attribute.i]).all(is_axis))
}

fn is_axis(axis: &i64) -> bool {
    axis.unsigned_abs() <= MAX_AXES as u64
}

fn attribute_for_tract(attribute: &AttributeProto) -> AttributeProto {
    let mut attribute = attribute.clone();
    attribute.t = attribute.t.map(with_small_integers);
    if attribute.name == "value_ints" {
        attribute
            .ints
            .iter_mut()
            .for_each(|number| *number = small(*number));
    }
    if TYPE_ATTRIBUTES.contains(&&*attribute.name) {
        attribute.i = i32::try_from(attribute.i).map_or(attribute.i, |of| stand_in(of).into());
    }
    attribute
}

/// A node's operator, as `fold.rs` computes it. `None` where tract does not know it, or its attributes are out of range.
pub(super) fn built(context: &ParsingContext, node: &NodeProto) -> Option<Folding> {
    let node = node_for_tract(node);
    REGISTER.0.get(&node.op_type)?;
    let (folding, closures) = folding(context, &node);
    closures.is_empty().then_some(folding)
}

/// An operator with the shapes of its results.
type Operator = (Box<dyn InferenceOp>, Vec<Vec<usize>>);

type Built = (Box<dyn InferenceOp>, Vec<String>);

/// Builds a node's operator, or one that leaves everything open where tract does not get that far.
fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let (folding, closures) = folding(context, node);
    Ok((Box::new(folding), closures))
}

fn folding(context: &ParsingContext, node: &NodeProto) -> (Folding, Vec<String>) {
    let build = REGISTER.0.get(&node.op_type);
    let built = build.and_then(|build| attempt(|| build(context, node)).ok()?.ok());
    let (operator, closures) =
        built.unwrap_or_else(|| (UnimplementedOp::new(node.output.len(), "", "").into(), vec![]));
    let folding = Folding {
        operator,
        folds: FOLDED.contains(&&*node.op_type),
        rank_from_length: RANK_FROM_LENGTH.contains(&&*node.op_type),
        least_rank: match &*node.op_type {
            "DFT" | "GatherND" => 1,
            "GridSample" => 2,
            _ => 0,
        },
        axes_input: axes_input(node),
        left: Arc::default(),
    };
    (folding, closures)
}

/// Which of a node's inputs, of those that are there, names axes.
fn axes_input(node: &NodeProto) -> Option<usize> {
    let place = match &*node.op_type {
        "Pad" | "Slice" => 3,
        "Squeeze" | "Unsqueeze" => 1,
        operator if operator.starts_with("Reduce") => 1,
        _ => return None,
    };
    let before = node.input.get(..place)?;
    Some(before.iter().filter(|input| !input.is_empty()).count())
}

/// An operator that keeps the shape of its first input; see [`ALIKE`]. It is never worked out on constants, as what it
/// stands for changes them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Alike;

impl Op for Alike {
    fn name(&self) -> StaticName {
        ALIKE.into()
    }

    not_a_typed_op!();
}

impl EvalOp for Alike {
    not_out_of_plan!();
}

impl InferenceRulesOp for Alike {
    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        let ([like, types @ ..], [output]) = (inputs, outputs) else {
            bail!("an input and one output were expected");
        };
        if let [of, ..] = types {
            solver.equals(&of.datum_type, &output.datum_type)?;
        }
        solver.equals(&like.shape, &output.shape)
    }

    as_op!();
}

/// An operator that keeps to the limits of this module, and whose panics are errors.
#[derive(Debug, Clone)]
pub(super) struct Folding {
    operator: Box<dyn InferenceOp>,
    /// Whether it is worked out on constants.
    folds: bool,
    /// Whether the length of a list says the rank of a tensor.
    rank_from_length: bool,
    /// The rank from which on its rules hold: below, tract counts the axes up to 2^64.
    least_rank: i64,
    /// Which of its inputs names axes.
    axes_input: Option<usize>,
    /// What the steps to come may cost, those of all operators together.
    left: Arc<AtomicU64>,
}

impl PartialEq for Folding {
    fn eq(&self, _: &Self) -> bool {
        false
    }
}

impl Eq for Folding {}

impl Op for Folding {
    fn name(&self) -> StaticName {
        self.operator.name()
    }

    not_a_typed_op!();
}

impl EvalOp for Folding {
    not_out_of_plan!();
}

const PANICKED: &str = "the operator panicked";

type Facts = (TVec<InferenceFact>, TVec<InferenceFact>, TVec<InferenceFact>);

impl Folding {
    /// Counts a step that looks at `size` axes and elements, or fails where no more steps are left.
    fn count(&self, size: usize) -> TractResult<()> {
        // Rules compare axes with each other, so that the square counts.
        let cost = (size as u64).saturating_pow(2).saturating_add(STEP);
        let left = self.left.load(Relaxed).saturating_sub(cost);
        self.left.store(left, Relaxed);
        ensure!(left > 0, "inference took more than {MAX_WORK}");
        Ok(())
    }

    fn refuse_axes(&self, inputs: &[&InferenceFact], outputs: &[&InferenceFact]) -> TractResult<()> {
        let is_long = |fact: &&InferenceFact| {
            let sizes = fact.shape.as_concrete_finite().ok().flatten();
            sizes.is_some_and(|sizes| matches!(sizes[..], [length] if length > MAX_LIST))
        };
        if self.rank_from_length && inputs.iter().chain(outputs).any(is_long) {
            bail!("a list is longer than {MAX_LIST}");
        }
        let rank = |fact: &&InferenceFact| fact.shape.rank().concretize();
        if inputs
            .iter()
            .chain(outputs)
            .filter_map(rank)
            .any(|rank| rank < self.least_rank)
        {
            bail!("a tensor has less than {} axes", self.least_rank);
        }
        let axes = self
            .axes_input
            .and_then(|axes| inputs.get(axes)?.value.concretize());
        if let Some(axes) = axes {
            let axes = axes.cast_to::<i64>()?;
            ensure!(
                axes.try_as_plain_ram()?.as_slice::<i64>()?.iter().all(is_axis),
                "an axis is out of range"
            );
        }
        Ok(())
    }

    fn can_fold(&self, (inputs, outputs, _): &Facts) -> bool {
        let going_in = inputs.iter().map(elements).sum::<Option<usize>>();
        let coming_out = |fact: &InferenceFact| {
            let sizes = fact.shape.as_concrete_finite().ok().flatten()?;
            sizes
                .iter()
                .try_fold(1, |product: usize, &n| product.checked_mul(n))
        };
        let is_small = |elements: Option<usize>| elements.is_some_and(|elements| elements <= MAX_FOLDED);
        self.folds && is_small(going_in) && outputs.iter().map(coming_out).all(is_small)
    }
}

/// How many axes and known elements there are.
fn size(facts: &[&InferenceFact]) -> usize {
    let size = |fact: &&InferenceFact| fact.shape.dims().count() + elements(fact).unwrap_or(0);
    facts.iter().map(size).sum()
}

/// How many elements a value has, if it is known.
fn elements(fact: &InferenceFact) -> Option<usize> {
    fact.value.concretize().map(|value| value.len())
}

/// Drops what is no number from a fact: it may be an expression, which grows with each step.
fn drop_expressions(fact: &mut InferenceFact) {
    let is_number = |dim: &TDim| dim.to_i64().is_ok_and(|dim| dim >= 0);
    let dims = fact.shape.dims().map(|dim| {
        let number = dim.concretize().filter(is_number);
        number.map_or(DimFact::default(), DimFact::from)
    });
    let dims = dims.collect();
    fact.shape = if fact.shape.is_open() {
        ShapeFactoid::open(dims)
    } else {
        ShapeFactoid::closed(dims)
    };
    let is_symbolic = |value: &Tensor| {
        let numbers = value
            .try_as_plain_ram()
            .and_then(|value| value.as_slice::<TDim>());
        numbers.is_ok_and(|numbers| numbers.iter().any(|number| number.to_i64().is_err()))
    };
    if fact.value.concretize().is_some_and(|value| is_symbolic(&value)) {
        fact.value = ValueFact::default();
    }
}

impl Folding {
    /// The operator itself with the shapes of its results, where what is known of its inputs says all of them.
    pub fn shapes_of(mut self, known: &[InferenceFact], results: usize) -> Option<Operator> {
        let open = vec![InferenceFact::default(); results];
        let (inputs, outputs): (TVec<_>, TVec<_>) = (known.iter().collect(), open.iter().collect());
        self.refuse_axes(&inputs, &outputs).ok()?;
        let (_, found, _) = self.infer_facts(inputs, outputs, TVec::new()).ok()?;
        let sizes = |fact: &InferenceFact| Some(fact.shape.as_concrete_finite().ok()??.to_vec());
        let shapes = found.iter().map(sizes).collect::<Option<Vec<Vec<usize>>>>()?;
        let few = shapes.iter().all(|shape| shape.len() <= MAX_AXES);
        few.then_some((self.operator, shapes))
    }
}

impl InferenceOp for Folding {
    fn infer(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        self.count(size(&inputs) + size(&outputs) + size(&observed))?;
        self.refuse_axes(&inputs, &outputs)?;
        let mut facts = self.infer_facts(inputs.clone(), outputs.clone(), observed.clone())?;
        if self.can_fold(&facts) {
            facts = attempt(|| self.operator.infer(inputs, outputs, observed))
                .unwrap_or_else(|_| bail!(PANICKED))?;
        }
        for fact in facts.0.iter_mut().chain(&mut facts.1).chain(&mut facts.2) {
            ensure!(
                fact.shape.dims().count() <= MAX_AXES,
                "a tensor has more than {MAX_AXES} axes"
            );
            drop_expressions(fact);
        }
        Ok(facts)
    }

    fn observe_outlets(&self, model: &InferenceModel, node: &InferenceNode) -> TractResult<Vec<OutletId>> {
        self.operator.observe_outlets(model, node)
    }

    fn infer_facts(
        &mut self,
        inputs: TVec<&InferenceFact>,
        outputs: TVec<&InferenceFact>,
        observed: TVec<&InferenceFact>,
    ) -> TractResult<Facts> {
        attempt(|| self.operator.infer_facts(inputs, outputs, observed)).unwrap_or_else(|_| bail!(PANICKED))
    }

    fn nboutputs(&self) -> TractResult<usize> {
        self.operator.nboutputs()
    }

    as_op!();
}
