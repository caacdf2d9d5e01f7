//! What the constants of layers are called: as in PyTorch, behind the path of their layer (`layer1.0.conv1.weight`).
//!
//! Exporters write equal constants once, under the name of one layer. Vectors, as the zeros that many batch norms begin with, are
//! each layer's own here. A matrix that several layers read is one on purpose, and stays one: widths are tied by it.

use std::collections::HashMap;

use crate::onnx::paths::{LEAVES, is_call_of, is_made_up_constant};

/// The names that were given to constants.
#[derive(Default)]
pub(super) struct Parameters {
    /// For each name that was given, which constant of the file has it.
    given: HashMap<String, String>,
    /// For each matrix of the file its name.
    matrices: HashMap<String, String>,
}

impl Parameters {
    /// What the constant `source` is called where a node of the module `scope` reads it beside a value: the parameter of that name of
    /// this module, where the file has it under the name of another one. `None` where it is its own.
    pub fn of_module(&mut self, scope: &str, source: &str, taken: impl Fn(&str) -> bool) -> Option<String> {
        let (owner, leaf) = source.rsplit_once('.')?;
        // A parameter of an outer module, or of an inner one, may be read here on purpose.
        let inside = |inner: &str, outer: &str| {
            let rest = inner.strip_prefix(outer);
            is_call_of(inner, Some(outer)) || rest.is_some_and(|rest| rest.starts_with('.'))
        };
        if inside(scope, owner) || inside(owner, scope) {
            return None;
        }
        let name = format!("{scope}.{leaf}");
        let other = self.given.get(&name).is_some_and(|given| given != source);
        if other || taken(&name) {
            return None;
        }
        self.given.insert(name.clone(), source.to_owned());
        Some(name)
    }

    /// What the constant `source` is called as the parameter `leaf` of a layer. `stems`: the path of the layer, and a name that no
    /// other layer has. `taken`: whether the file has a constant of a name.
    pub fn name(
        &mut self,
        stems: [&str; 2],
        source: &str,
        leaf: &str,
        matrix: bool,
        taken: impl Fn(&str) -> bool,
    ) -> String {
        let made_up = is_made_up_constant(source);
        // A parameter of the layer that is no usual one keeps its name, too.
        let own = source
            .strip_prefix(stems[0])
            .and_then(|rest| rest.strip_prefix('.'));
        let kept = matrix || own.is_some_and(|own| own == leaf || !LEAVES.contains(&own));
        if kept && !made_up {
            return source.to_owned();
        }
        if let Some(name) = self.matrices.get(source).filter(|_| matrix) {
            return name.clone();
        }
        let mut name = format!("{}.{leaf}", stems[0]);
        let mut number = 0;
        loop {
            let other = self.given.get(&name).is_some_and(|given| given != source);
            if !other && !taken(&name) {
                break;
            }
            number += 1;
            name = format!("{}.{leaf}", stems[1]);
            if number > 1 {
                name = format!("{name}.{number}");
            }
        }
        self.given.insert(name.clone(), source.to_owned());
        if matrix {
            self.matrices.insert(source.to_owned(), name.clone());
        }
        name
    }
}
