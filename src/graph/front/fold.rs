//! What a forward pass computes of its parameters alone, computed: by Burn's interpreter of recorded operations, on the CPU.

use std::collections::HashSet;

use burn::backend::Flex;
use burn::tensor::TensorData;
use burn_ir::{HandleKind, IrVisitorMut, OperationIr, TensorId, TensorIr, TensorStatus};
use burn_router::{CustomOpRegistry, TensorInterpreter};

use crate::module::Trace;
use crate::panics::attempt;

/// The tensors that no input changes.
pub(super) struct Constants {
    interpreter: TensorInterpreter<Flex>,
    known: HashSet<TensorId>,
}

impl Constants {
    pub fn new(trace: &Trace) -> Self {
        let mut interpreter = TensorInterpreter::with_custom_ops(Default::default(), operations());
        for (&id, data) in &trace.values {
            interpreter.register_tensor_data_id(id, data.clone());
        }
        Self {
            interpreter,
            known: trace.values.keys().copied().collect(),
        }
    }

    pub fn is(&self, tensor: &TensorIr) -> bool {
        self.known.contains(&tensor.id)
    }

    /// Computes an operation that reads constants alone.
    pub fn compute(&mut self, operation: &OperationIr) -> Result<(), String> {
        let mut operation = operation.clone();
        // Whatever is read may be read again.
        operation.visit_mut(&mut Kept);
        let results: Vec<TensorId> = operation.outputs().map(|out| out.id).collect();
        attempt(|| self.interpreter.register_op(operation))?;
        self.known.extend(results);
        Ok(())
    }

    /// The numbers of a constant.
    pub fn read(&mut self, tensor: &TensorIr) -> Result<TensorData, String> {
        let mut tensor = tensor.clone();
        tensor.status = TensorStatus::ReadOnly;
        attempt(|| match self.interpreter.get_tensor(&tensor) {
            HandleKind::Float(tensor) | HandleKind::Int(tensor) | HandleKind::Bool(tensor) => {
                Ok(tensor.into_data())
            }
            HandleKind::Quantized(_) => Err("it holds Burn's quantised numbers".to_owned()),
        })?
    }
}

struct Kept;

impl IrVisitorMut for Kept {
    fn visit_tensor_mut(&mut self, tensor: &mut TensorIr) {
        if tensor.status == TensorStatus::ReadWrite {
            tensor.status = TensorStatus::ReadOnly;
        }
    }
}

/// This crate's own operations that are recorded on weights.
fn operations() -> CustomOpRegistry<Flex> {
    #[allow(unused_mut)]
    let mut registry = CustomOpRegistry::new();
    #[cfg(feature = "flex")]
    registry.register(
        crate::module::recorded::QUANTIZE_WEIGHT,
        |handles, operation, _| {
            let weight = handles.get_float_tensor::<Flex>(&operation.inputs[0]);
            let levels = match operation.scalars[0].elem::<u64>() {
                0 => None,
                levels => Some(levels as u32),
            };
            let quantized =
                crate::kernels::quantized(weight, levels, crate::quant::composed::SMALLEST_PEAK as f32);
            handles.register_float_tensor::<Flex>(&operation.outputs[0].id, quantized);
        },
    );
    registry
}
