//! What an operator computes of constants, by tract. Its limits are those of `infer.rs`; how much is computed is for the caller to
//! count.

use std::sync::Arc;

use tract_onnx::{
    Onnx,
    model::ParsingContext,
    pb::{ModelProto, NodeProto},
    tract_hir::internal::{InferenceModel, InferenceOp, IntoArcTensor, IntoTValue, TVec, Tensor},
};

use super::infer::{Folding, built};
use crate::panics::attempt;

/// The operators that are computed. The time of each is that of its numbers, but for products of matrices. tract takes a `Range` that
/// descends for a short one.
const COMPUTED: [&str; 59] = [
    "Abs",
    "Add",
    "And",
    "Cast",
    "Ceil",
    "Clip",
    "Concat",
    "ConstantOfShape",
    "Cos",
    "Div",
    "Equal",
    "Erf",
    "Exp",
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
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pad",
    "Pow",
    "Reciprocal",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Round",
    "ScatterElements",
    "ScatterND",
    "Sigmoid",
    "Sign",
    "Sin",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
    "Unsqueeze",
];

/// Whether what an operator computes of constants is computed here.
pub(super) fn is_computed(operator: &str) -> bool {
    operator == "Where" || COMPUTED.contains(&operator)
}

/// An operator that was built for its inputs, and what it reads.
pub(super) struct Fold {
    operator: Box<dyn InferenceOp>,
    inputs: TVec<Arc<Tensor>>,
    /// How many numbers it computes.
    pub results: usize,
}

impl Fold {
    /// Builds a node's operator for constants, those of the inputs that are there. `None` where tract does not know what it results in.
    pub fn of(opset: i64, node: &NodeProto, inputs: Vec<Arc<Tensor>>) -> Option<Self> {
        let inputs: TVec<Arc<Tensor>> = inputs.into_iter().collect();
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
        let (operator, shapes) = folding.shapes_of(&inputs, node.output.len())?;
        let count = |shape: &Vec<usize>| shape.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        let results = shapes.iter().map(count).sum::<Option<usize>>()?;
        Some(Self {
            operator,
            inputs,
            results,
        })
    }

    /// How many numbers are read, and products computed of them.
    pub fn work(&self, node: &NodeProto) -> usize {
        let read: usize = self.inputs.iter().map(|input| input.len()).sum();
        match (
            &*node.op_type,
            self.inputs.first().and_then(|input| input.shape().last()),
        ) {
            // Some products take the time in which a number is copied.
            ("MatMul", Some(inner)) => read.saturating_add(self.results.saturating_mul(*inner) / 16),
            _ => read,
        }
    }

    /// What it computes.
    pub fn run(self) -> Option<Vec<Arc<Tensor>>> {
        let inputs = self.inputs.into_iter().map(IntoTValue::into_tvalue);
        let inputs = inputs.collect();
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
