//! What a module computes, recorded by Burn's device that computes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use burn::backend::Capture;
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor};
use burn_ir::{ModuleOperationIr, OperationIr, TensorId, TensorIr};

use crate::Error;
use crate::panics::attempt;

/// What Burn calls the place of parameters that stand beside a weight.
pub(crate) const REPARAMETERIZATION: &str = "Reparameterization";

/// The most numbers of an input: they are kept in memory.
const MOST_NUMBERS: usize = 1 << 28;

/// What a module computes, operation by operation, and which tensors its parameters are.
#[derive(Clone, Debug)]
pub(crate) struct Trace {
    pub operations: Vec<OperationIr>,
    /// In the order of the module's fields.
    pub parameters: Vec<Parameter>,
    pub output: TensorId,
    /// The bytes of tensors that `forward` made of numbers.
    pub constants: BTreeMap<TensorId, Vec<u8>>,
    /// Where each parameter stands in the list.
    numbers: HashMap<TensorId, usize>,
    /// What a tensor was computed from, the largest operand: behind a quantised weight, the latent one.
    origins: HashMap<TensorId, TensorId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Parameter {
    pub path: String,
    pub id: TensorId,
    pub shape: Vec<usize>,
    /// Whether it stands beside a weight, in a reparameterization: a learned step, an adapter.
    pub beside: bool,
}

impl Trace {
    /// Records what `forward` does with `module` and an input of this shape, without computing it.
    pub fn record<M: Module, const D: usize, const E: usize>(
        module: &M,
        input: [usize; D],
        forward: impl Fn(&M, Tensor<D>) -> Tensor<E>,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Graph { reason };
        let numbers = input.iter().try_fold(1usize, |all, &size| all.checked_mul(size));
        match numbers {
            Some(0) => {
                return Err(refuse(format!(
                    "an input of {input:?} holds nothing: expected sizes of 1 and more"
                )));
            }
            Some(numbers) if numbers <= MOST_NUMBERS => {}
            _ => {
                return Err(refuse(format!(
                    "an input of {input:?} is larger than any network's: give a smaller one"
                )));
            }
        }
        let size = input;
        // Draws lazy parameters too, on the device they are meant for.
        let module = module.valid();
        let device = Device::capture();
        let x = Tensor::<D>::zeros(input, &Device::default());
        let mut found = None;
        let captured = attempt(|| {
            device.capture_scope(|scope| {
                let module = module.to_device(&device);
                let mut list = List::default();
                module.visit(&mut list);
                let x = x.to_device(&device);
                let (input, y) = (id(x.clone()), forward(&module, x));
                let output = id(y.clone());
                let complete = scope.complete([input], [output]);
                found = Some((list.parameters, input, output));
                complete
            })
        });
        let not_recorded = |reason: &dyn fmt::Display| {
            refuse(format!(
                "its forward pass cannot be recorded: {reason}: expected a `forward` that takes an input of {size:?}, makes \
                 its tensors on the input's device, and decides nothing by what they hold"
            ))
        };
        let captured = captured
            .map_err(|reason| not_recorded(&reason.trim_end_matches(['.', ' '])))?
            .map_err(|error| not_recorded(&error))?;
        let (parameters, input, output) = found.expect("the scope was completed");
        let of_module: HashSet<TensorId> = parameters.iter().map(|it| it.id).chain([input]).collect();
        let constants = captured.values.into_iter();
        let constants = constants.filter(|(id, _)| !of_module.contains(id));
        let constants = constants
            .map(|(id, data)| (id, data.as_bytes().to_vec()))
            .collect();
        let operations = captured.graph.operations;
        let mut origins = HashMap::new();
        let beside: HashSet<TensorId> = (parameters.iter().filter(|it| it.beside))
            .map(|it| it.id)
            .collect();
        for operation in &operations {
            // A scale is smaller than its weight, and an adapter may be as large.
            let origin = |input: &TensorIr| origins.get(&input.id).copied().unwrap_or(input.id);
            let largest = (operation.inputs())
                .max_by_key(|input| (!beside.contains(&origin(input)), input.shape.num_elements()));
            if let Some(input) = largest {
                let from = origins.get(&input.id).copied().unwrap_or(input.id);
                origins.extend(operation.outputs().map(|out| (out.id, from)));
            }
        }
        let numbers = parameters.iter().enumerate();
        Ok(Self {
            operations,
            numbers: numbers.map(|(n, parameter)| (parameter.id, n)).collect(),
            parameters,
            constants,
            output,
            origins,
        })
    }

    /// The parameter that a tensor is.
    pub fn number(&self, id: TensorId) -> Option<usize> {
        self.numbers.get(&id).copied()
    }

    /// The parameter that a tensor is, or was before it was quantised.
    pub fn parameter(&self, id: TensorId) -> Option<usize> {
        let origin = self.origins.get(&id).unwrap_or(&id);
        self.numbers.get(origin).copied()
    }
}

fn id<const D: usize>(tensor: Tensor<D>) -> TensorId {
    let tensor = tensor.try_into_primitive::<Capture>();
    tensor.expect("it is on the device that records").id()
}

#[derive(Default)]
struct List {
    path: Vec<String>,
    /// Above 0 within what stands beside a weight.
    beside: usize,
    parameters: Vec<Parameter>,
}

impl ModuleVisitor for List {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.beside += usize::from(container == REPARAMETERIZATION);
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.beside -= usize::from(container == REPARAMETERIZATION);
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        self.parameters.push(Parameter {
            path: self.path.join("."),
            shape: tensor.dims().to_vec(),
            id: id(tensor),
            beside: self.beside > 0,
        });
    }
}

/// A convolution of any number of dimensions.
pub(crate) struct Convolution<'a> {
    pub x: &'a TensorIr,
    pub weight: &'a TensorIr,
    pub bias: Option<&'a TensorIr>,
    pub groups: usize,
    pub out: &'a TensorIr,
    /// The weight is `[inputs, outputs of a group, ...]` then, else `[outputs, inputs of a group, ...]`.
    pub transposed: bool,
}

impl<'a> Convolution<'a> {
    /// Whether each group reads one channel.
    pub fn depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.x.shape[1]
    }

    /// The dimension of the weight that counts the channels which come out, and for a depthwise one those that go in too.
    pub fn output_dim(&self) -> usize {
        usize::from(self.transposed && !self.depthwise())
    }

    pub fn of(operation: &'a OperationIr) -> Option<Self> {
        use ModuleOperationIr as M;
        macro_rules! convolution {
            ($op:ident, $transposed:literal) => {
                Some(Self {
                    x: &$op.x,
                    weight: &$op.weight,
                    bias: $op.bias.as_ref(),
                    groups: $op.options.groups,
                    out: &$op.out,
                    transposed: $transposed,
                })
            };
        }
        let OperationIr::Module(op) = operation else {
            return None;
        };
        match op {
            M::Conv1d(op) => convolution!(op, false),
            M::Conv2d(op) => convolution!(op, false),
            M::Conv3d(op) => convolution!(op, false),
            M::ConvTranspose1d(op) => convolution!(op, true),
            M::ConvTranspose2d(op) => convolution!(op, true),
            M::ConvTranspose3d(op) => convolution!(op, true),
            _ => None,
        }
    }
}
