//! What an operator computes of constants, by tract. Its limits are those of `infer.rs`; how much is computed is for the caller to
//! count.

use std::sync::Arc;

use tract_onnx::{
    Onnx,
    model::ParsingContext,
    pb::{ModelProto, NodeProto},
    tract_hir::internal::{
        DatumType, InferenceFact, InferenceModel, InferenceOp, IntoArcTensor, IntoTValue, TVec, Tensor,
    },
};

use super::infer::{FOLDED, Folding, built};
use super::operators::attribute;
use crate::panics::attempt;

/// The operators that are computed beside those that shapes depend on. The time of each is that of its numbers, but for products of
/// matrices. tract takes a `Range` that descends for a short one.
const COMPUTED: [&str; 16] = [
    "Cos",
    "Erf",
    "Exp",
    "Log",
    "MatMul",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceL2",
    "ReduceMean",
    "Relu",
    "Sigmoid",
    "Sin",
    "Softmax",
    "Tanh",
    "Where",
];

/// Those of them that result in places are not computed.
const PLACES: [&str; 2] = ["ArgMax", "ArgMin"];

/// Whether a `Pad` puts zeros around all dimensions. What else it may put there is left out of the operator that was built, as it does
/// not change the shape.
fn pads_with_zeros(node: &NodeProto) -> bool {
    let mode = attribute(node, "mode");
    let given = node.input.get(2..).unwrap_or_default();
    mode.is_none_or(|mode| mode.s == b"constant")
        && attribute(node, "value").is_none_or(|value| value.f == 0.0)
        && given.iter().all(String::is_empty)
}

/// Whether what an operator computes of constants is computed here.
pub(super) fn is_computed(operator: &str) -> bool {
    COMPUTED.contains(&operator) || (FOLDED.contains(&operator) && !PLACES.contains(&operator))
}

/// What is known of an input.
pub(super) enum Known {
    Numbers(Arc<Tensor>),
    /// Of floats, or of integers, the dimensions alone.
    Shape {
        dims: Vec<usize>,
        floats: bool,
    },
}

impl Known {
    fn fact(&self) -> Option<InferenceFact> {
        match self {
            Self::Numbers(numbers) => InferenceFact::try_from(numbers.clone()).ok(),
            Self::Shape { dims, floats } => {
                let kind = if *floats { DatumType::F32 } else { DatumType::I64 };
                Some(InferenceFact::dt_shape(kind, dims))
            }
        }
    }
}

/// An operator that was built for its inputs, and what it reads.
pub(super) struct Fold {
    operator: Box<dyn InferenceOp>,
    inputs: Vec<Known>,
    /// The dimensions of what it computes.
    pub shapes: Vec<Vec<usize>>,
    /// How many numbers that are.
    pub results: usize,
}

impl Fold {
    /// Builds a node's operator for constants, those of the inputs that are there. `None` where tract does not know what it results in.
    pub fn of(opset: i64, node: &NodeProto, inputs: Vec<Known>) -> Option<Self> {
        if node.op_type == "Pad" && !pads_with_zeros(node) {
            return None;
        }
        let folding = attempt(|| {
            let (framework, model) = (Onnx::default(), ModelProto::default());
            let context = ParsingContext {
                onnx_operator_set_version: opset,
                framework: &framework,
                model: &model,
                parent_graphs: Vec::new(),
                model_dir: None,
                template: InferenceModel::default(),
            };
            built(&context, node)
        });
        let folding: Folding = folding.ok()??;
        let facts = inputs.iter().map(Known::fact).collect::<Option<Vec<_>>>()?;
        let (operator, shapes) = folding.shapes_of(&facts, node.output.len())?;
        let count = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let results = shapes.iter().map(count).sum::<Option<usize>>()?;
        Some(Self {
            operator,
            inputs,
            shapes,
            results,
        })
    }

    /// How many numbers are read, and products computed of them.
    pub fn work(&self, node: &NodeProto) -> usize {
        let dims = |known: &Known| match known {
            Known::Numbers(numbers) => numbers.shape().to_vec(),
            Known::Shape { dims, .. } => dims.clone(),
        };
        let count = |dims: Vec<usize>| dims.into_iter().fold(1, usize::saturating_mul);
        let read = self
            .inputs
            .iter()
            .map(dims)
            .map(count)
            .fold(0, usize::saturating_add);
        let inner = self
            .inputs
            .first()
            .map(dims)
            .and_then(|dims| dims.last().copied());
        match (&*node.op_type, inner) {
            // Some products take the time in which a number is copied.
            ("MatMul", Some(inner)) => read.saturating_add(self.results.saturating_mul(inner) / 16),
            _ => read,
        }
    }

    /// What it computes. `None` where numbers are missing.
    pub fn run(self) -> Option<Vec<Arc<Tensor>>> {
        let inputs = self.inputs.into_iter().map(|known| match known {
            Known::Numbers(numbers) => Some(numbers.into_tvalue()),
            Known::Shape { .. } => None,
        });
        let inputs = inputs.collect::<Option<TVec<_>>>()?;
        let results = attempt(|| self.operator.eval_out_of_plan(inputs).ok().flatten());
        let results = results.ok()??;
        let results: Vec<Arc<Tensor>> = results
            .into_iter()
            .map(|result| result.into_arc_tensor())
            .collect();
        let count: usize = results.iter().map(|result| result.len()).sum();
        (count == self.results).then_some(results)
    }
}
