//! A constant of a cost model, with what it is and where it stands.

use serde::{Deserialize, Serialize};

use super::CostError;
use super::unit::{Dimension, Unit};

/// A number of a cost model, as its file has it: `{ value = 1.667, unit = "pJ", node = 32, source = "..." }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constant {
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: Unit,
    /// The technology node that it holds for, in nm; none where it depends on no node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<f64>,
    /// Where the number stands.
    pub source: String,
}

impl Constant {
    /// The number in the unit that sums are in. `name`: where the constant stands in its file.
    pub(super) fn of(&self, dimension: Dimension, name: &str) -> Result<f64, CostError> {
        let refuse = |expected: String| CostError::Constant {
            name: name.to_owned(),
            found: format!("{} {}", self.value, self.unit),
            expected,
        };
        if self.unit.dimension() != dimension {
            return Err(refuse(dimension.to_string()));
        }
        if !self.value.is_finite() {
            return Err(refuse("a number".to_owned()));
        }
        // Coefficients of regressions may be below zero, quantities may not.
        if dimension != Dimension::Number && self.value < 0.0 {
            return Err(refuse("zero or more".to_owned()));
        }
        if self.source.trim().is_empty() {
            return Err(refuse("a `source`".to_owned()));
        }
        Ok(self.value * self.unit.factor())
    }
}
