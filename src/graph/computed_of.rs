//! The parameters of a file of which constants are computed: what a network holds of them is a result, and training does not change it.

use serde::{Deserialize, Serialize};

use super::Constant;

/// The parameters of the file that a graph was read from of which numbers of the graph are computed: a scale that is the exponential of a
/// parameter, a weight that another one is divided by, the learned bound of a clamp. These numbers stay what they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ComputedOf {
    /// Those that the graph does not compute with themselves, as the file has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Constant>,
    /// Those that it computes with, too, so that training changes them and not the numbers that were computed of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trained: Vec<String>,
    /// Those of which it has nothing but results: weights that are trained were computed of them, or they are not finite.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}

impl ComputedOf {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.trained.is_empty() && self.lost.is_empty()
    }
}
