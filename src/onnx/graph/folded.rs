//! What is computed of constants alone, and is a constant: masks, tables of positions, scales. Files that were not simplified are full
//! of it. Operators that keep the numbers, their names among them, are read as those of values are; others tract computes.

use std::sync::Arc;

use tract_onnx::{pb::NodeProto, tract_hir::internal::Tensor as Numbers};

use super::{
    fixed::Fixed,
    integers::Integers,
    maker::Maker,
    operators::int,
    values::{MAX_SIZES, Made, Size, Sizes, Tensor, Value},
};
use crate::onnx::fold::{Fold, Known, is_computed};

/// The operators that are computed first: those that would make a constant a node of the graph, or truth values integers.
const MAKE_NODES: [&str; 15] = [
    "Clip",
    "Concat",
    "Equal",
    "Flatten",
    "Gather",
    "MatMul",
    "Pad",
    "Pow",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Slice",
    "Softmax",
    "Split",
];

/// What a step counts beside the numbers that it reads.
const STEP: usize = 1 << 13;

/// The operators that result in truth values.
const TRUTHS: [&str; 8] = [
    "And",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Not",
    "Or",
];

impl Maker<'_> {
    /// An operator of ONNX's own, on values of the network or on constants.
    pub(super) fn standard_or_folded(&mut self, node: &NodeProto) -> Made<()> {
        let constants = if is_computed(&node.op_type) {
            self.constants_of(node)
        } else {
            None
        };
        let Some(constants) = constants else {
            return self.standard(node);
        };
        let sizes = constants.iter().all(|value| matches!(value, Value::Sizes(_)));
        // Integers that say shapes are no truth values.
        if (sizes && node.op_type != "Equal") || !MAKE_NODES.contains(&&*node.op_type) {
            let Err(reason) = self.standard(node) else {
                return Ok(());
            };
            return self.fold(node, &constants).unwrap_or(Err(reason));
        }
        match self.fold(node, &constants) {
            Some(done) => done,
            None => self.standard(node),
        }
    }

    /// What a node reads, if that is constants alone, without the size of the batch.
    fn constants_of(&mut self, node: &NodeProto) -> Option<Vec<Value>> {
        let mut constants = Vec::new();
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            let value = self.named(name).ok()?;
            let constant = match &value {
                Value::Held(_) | Value::Fixed(_) | Value::Integers(_) => true,
                Value::Sizes(sizes) => sizes.whole().is_ok(),
                _ => false,
            };
            constants.push(Some(value).filter(|_| constant)?);
        }
        Some(constants).filter(|constants| !constants.is_empty())
    }

    /// Computes a node of constants. `None` where that cannot be done.
    fn fold(&mut self, node: &NodeProto, constants: &[Value]) -> Option<Made<()>> {
        let logical = ["And", "Not", "Or"].contains(&&*node.op_type);
        if logical && !constants.iter().all(|value| matches!(value, Value::Fixed(_))) {
            return None;
        }
        let inputs = constants.iter().map(known).collect::<Option<Vec<Known>>>()?;
        let missing = inputs.iter().any(|known| matches!(known, Known::Shape { .. }));
        let fold = Fold::of(self.opset, node, inputs)?;
        if missing {
            let shapes = fold.shapes.clone();
            return Some(self.shapes_alone(node, constants, shapes));
        }
        if let Err(reason) = self
            .look_at(fold.work(node).saturating_add(STEP))
            .and_then(|()| self.count(fold.results))
        {
            return Some(Err(reason));
        }
        for (n, result) in fold.run()?.iter().enumerate() {
            let name = node.output.get(n).cloned().unwrap_or_default();
            let value = value_of(name, result)?;
            if let Err(reason) = self.give(node, n, value) {
                return Some(Err(reason));
            }
        }
        Some(Ok(()))
    }

    /// Constants of which the shapes alone are known, as the numbers of weights are not looked at.
    fn shapes_alone(&mut self, node: &NodeProto, constants: &[Value], shapes: Vec<Vec<usize>>) -> Made<()> {
        let first = constants.get(usize::from(node.op_type == "Where"));
        let floats = match &*node.op_type {
            "Cast" => int(node, "to", 0) == 1,
            operator if TRUTHS.contains(&operator) => false,
            _ => matches!(first, Some(Value::Held(_))),
        };
        for (n, dims) in shapes.into_iter().enumerate() {
            let value = if floats {
                Value::Held(Tensor {
                    name: node.output.get(n).cloned().unwrap_or_default(),
                    dims,
                    values: None,
                    turned: false,
                    parameter: None,
                })
            } else {
                Value::Fixed(Fixed { dims, numbers: None })
            };
            self.give(node, n, value)?;
        }
        Ok(())
    }
}

/// A constant as tract has it, all integers with 64 bits. `None` of what is not computed with.
fn known(value: &Value) -> Option<Known> {
    let numbers = match value {
        Value::Held(Tensor { dims, values, .. }) => match values {
            Some(values) => Numbers::from_shape(dims, values).ok()?,
            None => {
                let (dims, floats) = (dims.clone(), true);
                return Some(Known::Shape { dims, floats });
            }
        },
        Value::Sizes(sizes) => {
            let whole = sizes.whole().ok()?;
            let dims = if sizes.row { vec![whole.len()] } else { Vec::new() };
            Numbers::from_shape(&dims, &whole).ok()?
        }
        Value::Fixed(Fixed { dims, numbers }) => {
            let (dims, floats) = (dims.clone(), false);
            let shape = Known::Shape { dims, floats };
            return Some(numbers.clone().map_or(shape, Known::Numbers));
        }
        // Those of fewer bits are a quantised network's.
        Value::Integers(Integers {
            kind: 6,
            dims,
            values,
            ..
        }) => {
            let values = values.as_ref()?.iter().map(|&value| value.into());
            Numbers::from_shape(dims, &values.collect::<Vec<i64>>()).ok()?
        }
        _ => return None,
    };
    Some(Known::Numbers(Arc::new(numbers)))
}

/// A constant of tract under a name.
fn value_of(name: String, numbers: &Numbers) -> Option<Value> {
    if numbers.datum_type().is_float() {
        let floats = numbers.cast_to::<f32>().ok()?;
        let floats = floats.try_as_plain_ram().ok()?;
        let dims = numbers.shape().to_vec();
        if numbers.len() == 0 {
            return None;
        }
        return Some(Value::Held(Tensor {
            name,
            dims,
            values: Some(floats.as_slice::<f32>().ok()?.into()),
            turned: false,
            parameter: None,
        }));
    }
    let fixed = Fixed::of_tensor(numbers)?;
    match fixed.whole() {
        Some(whole) if fixed.dims.len() <= 1 && whole.len() <= MAX_SIZES => Some(Value::Sizes(Sizes {
            row: fixed.dims.len() == 1,
            sizes: whole.iter().copied().map(Size::Whole).collect(),
        })),
        _ => Some(Value::Fixed(fixed)),
    }
}
