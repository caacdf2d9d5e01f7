//! The float parameters of a module, by their paths: taken out, and put into a module again.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Int, Tensor, TensorData};

use crate::Error;

/// What is wrong with a module that was written by hand and names two of its parts alike: what is read of one would be put into
/// the other.
pub(super) const TWO_OF_ONE_PATH: &str = "two parameters of the module have this path: have its `visit` and `map` enter each part under a name of its own";

/// The float parameters of a module by their paths, running statistics included: taken out, looked at or changed, and
/// put back, into another module of the same structure if need be.
#[derive(Clone, Debug, Default)]
pub struct Parameters {
    tensors: BTreeMap<String, TensorData>,
}

impl Parameters {
    /// Those of `module`.
    pub fn of<M: Module>(module: &M) -> Self {
        let mut take = Take::default();
        // A batch norm that has just trained holds its newest statistics back until then.
        module.valid().visit(&mut take);
        take.parameters
    }

    /// The shapes of `module`'s parameters by their paths. Weights that nobody has asked for are not made, so the widths of
    /// the module take no memory.
    pub(crate) fn shapes<M: Module>(module: &M) -> BTreeMap<String, Vec<usize>> {
        let mut shapes = Shapes::default();
        module.visit(&mut shapes);
        shapes.shapes
    }

    /// The parameter at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where there is none.
    pub fn get(&self, path: &str) -> Result<&TensorData, Error> {
        self.tensors.get(path).ok_or_else(|| Self::unknown(path))
    }

    /// The error of a network that has no parameter at `path`.
    pub(crate) fn unknown(path: &str) -> Error {
        Error::Parameter {
            path: path.into(),
            reason: "the network has no parameter of this name".into(),
        }
    }

    /// The elements of the parameter at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where there is none, or where they are not 32-bit floats.
    pub fn values(&self, path: &str) -> Result<&[f32], Error> {
        self.get(path)?
            .as_slice::<f32>()
            .map_err(|error| Error::Parameter {
                path: path.into(),
                reason: format!("expected 32-bit floats: {error:?}"),
            })
    }

    /// Puts `data` at `path`.
    pub fn insert(&mut self, path: impl Into<String>, data: TensorData) {
        self.tensors.insert(path.into(), data);
    }

    /// Paths and parameters, sorted by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &TensorData)> {
        self.tensors.iter().map(|(path, data)| (path.as_str(), data))
    }

    /// The CRC-32 of all paths and numbers, which tells networks apart in few digits.
    pub(crate) fn checksum(&self) -> u32 {
        let mut sum = crc32fast::Hasher::new();
        for (path, data) in self.iter() {
            sum.update(path.as_bytes());
            data.iter::<f32>()
                .for_each(|number| sum.update(&number.to_le_bytes()));
        }
        sum.finalize()
    }

    /// The first parameter that holds something other than a finite number.
    pub fn not_finite(&self) -> Option<&str> {
        self.iter()
            .find(|(_, data)| {
                let values = data.as_slice::<f32>().unwrap_or_default();
                values.iter().any(|value| !value.is_finite())
            })
            .map(|(path, _)| path)
    }

    /// `module` with these values, on the device it is on.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where a parameter of the module is missing here or has another shape, and where two have one path.
    pub fn put_into<M: Module>(self, module: M) -> Result<M, Error> {
        self.put(module, false)
    }

    /// As [`put_into`](Self::put_into), whatever the shapes were.
    ///
    /// # Errors
    ///
    /// [`Error::Parameter`] where a parameter of the module is missing here.
    pub(crate) fn put_resized<M: Module>(self, module: M) -> Result<M, Error> {
        self.put(module, true)
    }

    fn put<M: Module>(self, module: M, resize: bool) -> Result<M, Error> {
        let mut put = Put {
            resize,
            parameters: self,
            path: Vec::new(),
            met: BTreeSet::new(),
            misfit: None,
        };
        let module = module.map(&mut put);
        match put.misfit {
            Some((path, reason)) => Err(Error::Parameter { path, reason }),
            None => Ok(module),
        }
    }
}

#[derive(Default)]
struct Take {
    path: Vec<String>,
    parameters: Parameters,
}

impl ModuleVisitor for Take {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.parameters
            .insert(self.path.join("."), param.val().into_data());
    }
}

#[derive(Default)]
struct Shapes {
    path: Vec<String>,
    shapes: BTreeMap<String, Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.shapes
            .insert(self.path.join("."), param.lazy_shape().to_vec());
    }
}

struct Put {
    resize: bool,
    parameters: Parameters,
    path: Vec<String>,
    /// Paths met so far.
    met: BTreeSet<String>,
    misfit: Option<(String, String)>,
}

impl ModuleMapper for Put {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let reason = match self.parameters.tensors.remove(&path) {
            _ if !self.met.insert(path.clone()) => TWO_OF_ONE_PATH.into(),
            Some(data) if *data.shape() == param.shape() || self.resize => {
                return param.map(|old| {
                    let (device, grad) = (old.device(), old.is_require_grad());
                    Tensor::from_data(data, &device).set_require_grad(grad)
                });
            }
            Some(data) => {
                let [found, expected] = [data.shape(), &param.shape()].map(|shape| shape.to_vec());
                format!(
                    "it is {found:?}, and {expected:?} in the module that is to take it: make that of the same widths"
                )
            }
            None => "there is no value for it".into(),
        };
        self.misfit.get_or_insert((path, reason));
        param
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        param
    }
}
