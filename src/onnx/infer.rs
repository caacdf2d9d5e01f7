//! Shape inference by tract, of graphs that cannot be trusted and with operators that tract does not know.

use std::{
    cell::Cell,
    collections::HashMap,
    panic::{self, AssertUnwindSafe},
    sync::{LazyLock, Once},
};

use tract_onnx::{
    model::{OnnxOpRegister, ParsingContext},
    pb::{AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, type_proto},
    tract_hir::{internal::*, ops::unimpl::UnimplementedOp},
};

use super::{
    operators::{ALIKE, plain},
    shapes::{Sizes, stated},
    tensors::stand_in,
};

/// The most elements of a constant that is worked out while shapes are inferred.
const MAX_FOLDED: usize = 1 << 16;

/// The longest list that is looked into: one of sizes makes a shape with as many axes.
const MAX_LIST: usize = 1 << 22;

/// The attributes that name an element type.
const TYPE_ATTRIBUTES: [&str; 2] = ["dtype", "to"];

/// tract's operators.
static REGISTER: LazyLock<OnnxOpRegister> = LazyLock::new(|| tract_onnx::onnx().op_register);

/// The shape of every value whose rank is known, or `None` where tract cannot read the graph.
pub(super) fn infer(model: &ModelProto) -> Option<HashMap<String, Sizes>> {
    let graph = model.graph.as_ref()?;
    quietly(|| infer_with_tract(model, graph).ok()).flatten()
}

fn infer_with_tract(model: &ModelProto, graph: &GraphProto) -> TractResult<HashMap<String, Sizes>> {
    let mut onnx = tract_onnx::onnx().with_ignore_value_info(true);
    for builder in onnx.op_register.0.values_mut() {
        *builder = build;
    }
    onnx.op_register
        .insert(ALIKE, |_, _| Ok((Box::new(Alike), vec![])));
    let parsed = onnx.parse(&for_tract(model, graph), None)?;
    let mut inference = parsed.model;
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
fn for_tract(model: &ModelProto, graph: &GraphProto) -> ModelProto {
    ModelProto {
        opset_import: model.opset_import.clone(),
        graph: Some(GraphProto {
            node: graph.node.iter().map(node_for_tract).collect(),
            initializer: graph.initializer.clone(),
            input: graph.input.iter().filter_map(input_for_tract).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
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
        plain.operator.clone_into(&mut for_tract.op_type);
        for_tract.input = plain.inputs;
        let kept = (node.attribute.iter()).filter(|attribute| !plain.without.contains(&&*attribute.name));
        for_tract.attribute = kept.map(attribute_for_tract).collect();
    }
    // tract counts the inputs of some operators to see which of them are there.
    while for_tract.input.last().is_some_and(String::is_empty) {
        for_tract.input.pop();
    }
    for_tract
}

fn attribute_for_tract(attribute: &AttributeProto) -> AttributeProto {
    let mut attribute = attribute.clone();
    if TYPE_ATTRIBUTES.contains(&&*attribute.name) {
        attribute.i = i32::try_from(attribute.i).map_or(attribute.i, |of| stand_in(of).into());
    }
    attribute
}

type Built = (Box<dyn InferenceOp>, Vec<String>);

/// Builds a node's operator, or one that leaves everything open where tract does not get that far.
fn build(context: &ParsingContext, node: &NodeProto) -> TractResult<Built> {
    let build = REGISTER.0.get(&node.op_type);
    let built = build.and_then(|build| quietly(|| build(context, node))?.ok());
    let (operator, closures) =
        built.unwrap_or_else(|| (UnimplementedOp::new(node.output.len(), "", "").into(), vec![]));
    Ok((Box::new(Folding(operator)), closures))
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
