use std::collections::HashMap;

use burn::backend::Capture;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use burn_ir::{OperationIr, TensorId};

use crate::Error;
use crate::device::attempt;
use crate::models::Parameters;

/// What a module computes, operation by operation, and which tensors its parameters are.
pub(super) struct Trace {
    pub operations: Vec<OperationIr>,
    /// In the order of the module's fields.
    pub parameters: Vec<Parameter>,
    pub output: TensorId,
}

pub(super) struct Parameter {
    pub path: String,
    pub id: TensorId,
    pub shape: Vec<usize>,
}

impl Trace {
    /// Records what `forward` does with `module` and an input of this shape, without computing it.
    pub fn record<M: Module, const D: usize, const E: usize>(
        module: &M,
        input: [usize; D],
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Graph { reason };
        // Lazy parameters are drawn before, on the device they are meant for.
        let _ = Parameters::of(module);
        let device = Device::capture();
        let x = Tensor::<D>::zeros(input, &Device::default());
        let mut found = None;
        let captured = attempt(|| {
            device.capture_scope(|scope| {
                let module = module.valid().to_device(&device);
                let mut list = List::default();
                module.visit(&mut list);
                let x = x.to_device(&device);
                let (input, y) = (id(x.clone()), forward(&module, x));
                let output = id(y.clone());
                let complete = scope.complete([input], [output]);
                found = Some((list.parameters, output));
                complete
            })
        });
        let captured = captured
            .map_err(|reason| refuse(format!("its forward pass cannot be recorded: {reason}")))?
            .map_err(|error| refuse(format!("its forward pass cannot be recorded: {error}")))?;
        let (parameters, output) = found.expect("the scope was completed");
        Ok(Self {
            operations: captured.graph.operations,
            parameters,
            output,
        })
    }

    /// The parameters by the tensors that they are.
    pub fn by_id(&self) -> HashMap<TensorId, usize> {
        let ids = self.parameters.iter().enumerate();
        ids.map(|(n, parameter)| (parameter.id, n)).collect()
    }
}

fn id<const D: usize>(tensor: Tensor<D>) -> TensorId {
    let tensor = tensor.try_into_primitive::<Capture>();
    tensor.expect("it is on the device that records").id()
}

#[derive(Default)]
struct List {
    path: Vec<String>,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.parameters.push(Parameter {
            path: self.path.join("."),
            shape: tensor.dims().to_vec(),
            id: id(tensor),
        });
    }
}
