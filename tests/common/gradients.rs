//! Gradients of a module by the paths of its parameters.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Gradients, Tensor};

/// A gradient: its shape and its numbers.
pub struct Gradient {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

/// Of each parameter of `module` that has one.
pub fn by_path<M: Module>(gradients: Gradients, module: &M) -> BTreeMap<String, Gradient> {
    let mut take = Take {
        gradients: GradientsParams::from_grads(gradients, module),
        path: Vec::new(),
        by_path: BTreeMap::new(),
    };
    module.visit(&mut take);
    take.by_path
}

struct Take {
    gradients: GradientsParams,
    path: Vec<String>,
    by_path: BTreeMap<String, Gradient>,
}

impl ModuleVisitor for Take {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.into());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            let gradient = Gradient {
                shape: gradient.dims().to_vec(),
                values: gradient.into_data().try_into_vec().unwrap(),
            };
            self.by_path.insert(self.path.join("."), gradient);
        }
    }
}
