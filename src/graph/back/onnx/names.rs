//! Names for the values and operators of an ONNX file: no two values have the same, and no two operators.

use std::collections::{HashMap, HashSet};

use crate::graph::ir::Constant;

/// The names that are given.
#[derive(Default)]
pub(super) struct Names {
    taken: HashSet<String>,
    /// For each wanted name, the last number behind it.
    last: HashMap<String, usize>,
    /// The constants that are in the file, by the names that they wanted.
    constants: HashMap<String, Vec<(Constant, String)>>,
}

impl Names {
    /// Takes a name as it is. False where it is taken.
    pub fn take(&mut self, name: &str) -> bool {
        self.taken.insert(name.to_owned())
    }

    /// `wanted`, or where that is taken `wanted.2`, `wanted.3` and so on.
    pub fn new_name(&mut self, wanted: &str) -> String {
        if self.take(wanted) {
            return wanted.to_owned();
        }
        let last = self.last.entry(wanted.to_owned()).or_insert(1);
        loop {
            *last += 1;
            let name = format!("{wanted}.{last}");
            if self.taken.insert(name.clone()) {
                return name;
            }
        }
    }

    /// The name of a constant, and whether it is not in the file yet. A layer that is computed twice has its weights there once.
    pub fn constant(&mut self, wanted: &str, constant: &Constant) -> (String, bool) {
        let known = self.constants.get(wanted).into_iter().flatten();
        if let Some((_, name)) = known.into_iter().find(|(known, _)| known == constant) {
            return (name.clone(), false);
        }
        let name = self.new_name(wanted);
        let known = self.constants.entry(wanted.to_owned()).or_default();
        known.push((constant.clone(), name.clone()));
        (name, true)
    }
}
