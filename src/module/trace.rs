//! What a module computes, recorded by Burn's device that computes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Tensor, TensorData};
use burn_ir::{ModuleOperationIr, OperationIr, TensorId, TensorIr};

use super::parameters::TWO_OF_ONE_PATH;
use super::recorded::{self, Ours};
use super::values::{Values, id, sealed::Sealed};
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
    pub inputs: Vec<TensorId>,
    pub outputs: Vec<TensorId>,
    /// The numbers of the parameters, and of tensors that `forward` made of numbers.
    pub values: BTreeMap<TensorId, TensorData>,
    /// How operations of this crate, by what they result in, are computed.
    pub ours: HashMap<TensorId, Ours>,
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
    pub fn record<M: Module, I: Values, O: Values>(
        module: &M,
        input: I::Shapes,
        forward: impl Fn(&M, I) -> O,
    ) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Graph { reason };
        let mut sizes = Vec::new();
        I::sizes(&input, &mut sizes);
        for input in &sizes {
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
        }
        let size = input.clone();
        // Draws lazy parameters too, on the device they are meant for.
        let module = module.valid();
        let device = Device::capture();
        let x = I::zeros(&input, &Sealed(Device::default()));
        let mut found = None;
        let captured = attempt(|| {
            device.capture_scope(|scope| {
                let module = module.to_device(&device);
                let mut list = List::default();
                module.visit(&mut list);
                let x = x.on(&device);
                let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
                x.ids(&mut inputs);
                let y = recorded::under_names(|| forward(&module, x));
                y.ids(&mut outputs);
                let complete = scope.complete(inputs.clone(), outputs.clone());
                found = Some((list.parameters, inputs, outputs));
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
        let (parameters, inputs, _) = found.expect("the scope was completed");
        let mut met = HashSet::new();
        if let Some(twice) = parameters.iter().find(|parameter| !met.insert(&parameter.path)) {
            return Err(Error::Parameter {
                path: twice.path.clone(),
                reason: TWO_OF_ONE_PATH.into(),
            });
        }
        // A parameter or an output may have become another name of a tensor.
        let outputs = captured.graph.outputs;
        let mut values = captured.values;
        values.retain(|id, _| !inputs.contains(id));
        let mut ours = HashMap::new();
        let operations = captured.graph.operations.into_iter().map(|operation| {
            let (operation, how) = recorded::as_burn(operation);
            if let (Some(how), Some(out)) = (how, operation.outputs().next()) {
                ours.insert(out.id, how);
            }
            operation
        });
        let operations: Vec<OperationIr> = operations.collect();
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
            inputs,
            outputs,
            values,
            ours,
            origins,
        })
    }

    /// The tensors that `forward` made of numbers, and their bytes.
    pub fn constants(&self) -> impl Iterator<Item = (TensorId, &[u8])> {
        let made = self
            .values
            .iter()
            .filter(|(id, _)| !self.numbers.contains_key(id));
        made.map(|(&id, data)| (id, data.as_bytes()))
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

/// `Module(Attention(..` as "Attention".
pub(crate) fn operation_name(operation: &OperationIr) -> String {
    let debug = format!("{operation:?}");
    let mut words = debug
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty());
    let first = words.next().unwrap_or(&debug);
    // `NumericFloat(F32, Sort(..`: the second word may be a type.
    let name = words.find(|word| word.chars().any(char::is_lowercase));
    name.unwrap_or(first).to_owned()
}
