//! A component of a cost model as its file has it: the form of its formula, and the constants that the form needs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::unit::Dimension;
use super::{Constant, CostError};

/// The constants of one component.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Section {
    /// The formula; a component whose energy, time and area are constants has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// Converters to choose from by their bits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<BTreeMap<String, Constant>>,
    #[serde(flatten)]
    pub constants: BTreeMap<String, Constant>,
}

/// Reads constants by their names, each once, so that what nothing reads is found.
pub(super) struct Reader<'a> {
    /// Where they stand, for errors: `isaac-32: adc`.
    pub place: String,
    left: BTreeMap<&'a str, &'a Constant>,
}

impl<'a> Reader<'a> {
    pub fn new(place: String, constants: &'a BTreeMap<String, Constant>) -> Self {
        let left = constants.iter().map(|(name, constant)| (name.as_str(), constant));
        Self {
            place,
            left: left.collect(),
        }
    }

    /// A constant that may be missing.
    pub fn option(&mut self, name: &str, dimension: Dimension) -> Result<Option<f64>, CostError> {
        let constant = self.left.remove(name);
        let place = format!("{}.{name}", self.place);
        constant
            .map(|constant| constant.of(dimension, &place))
            .transpose()
    }

    /// A constant that the component needs.
    pub fn get(&mut self, name: &str, dimension: Dimension) -> Result<f64, CostError> {
        self.option(name, dimension)?.ok_or_else(|| CostError::Missing {
            name: format!("{}.{name}", self.place),
            expected: dimension.to_string(),
        })
    }

    /// An area in um2, or in squares of the length of its node.
    pub fn area(&mut self, name: &str) -> Result<Option<f64>, CostError> {
        let Some(constant) = self.left.remove(name) else {
            return Ok(None);
        };
        let place = format!("{}.{name}", self.place);
        if constant.unit.dimension() != Dimension::Squares {
            return constant.of(Dimension::Area, &place).map(Some);
        }
        let node = constant.node.ok_or_else(|| CostError::Missing {
            name: format!("{place}.node"),
            expected: "the node in nm, whose squares the area is in".to_owned(),
        })?;
        let length = node / 1e3;
        Ok(Some(constant.of(Dimension::Squares, &place)? * length * length))
    }

    /// Refuses constants that nothing has read.
    pub fn finish(self) -> Result<(), CostError> {
        match self.left.keys().next() {
            Some(name) => Err(CostError::Unknown {
                name: format!("{}.{name}", self.place),
            }),
            None => Ok(()),
        }
    }
}
