//! Cells as resistors: what a read takes follows from what they hold and what drives them.

use std::collections::BTreeMap;

use super::section::Reader;
use super::unit::Dimension;
use super::{Constant, CostError};
use crate::crossbar::CellWork;

/// A cell that is read: its resistance where it conducts fully and where it conducts least, and the largest pulse.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct CellRead {
    /// In mS, of a cell that conducts fully.
    pub on: f64,
    /// In mS, of a cell that conducts least.
    pub off: f64,
    /// In V.
    pub voltage: f64,
    /// In ns.
    pub time: f64,
}

impl CellRead {
    /// Of the constants that a model has under `read`; none where it has none.
    pub(super) fn new(constants: &BTreeMap<String, Constant>, name: &str) -> Result<Option<Self>, CostError> {
        if constants.is_empty() {
            return Ok(None);
        }
        let mut of = Reader::new(format!("{name}: read"), constants);
        let mut conductance = |name| {
            let resistance = of.get(name, Dimension::Resistance)?;
            if resistance == 0.0 {
                return Err(CostError::Constant {
                    name: format!("{}.{name}", of.place),
                    found: "0".to_owned(),
                    expected: "a resistance above 0".to_owned(),
                });
            }
            Ok(1.0 / resistance)
        };
        let (on, off) = (conductance("on_resistance")?, conductance("off_resistance")?);
        let read = Self {
            on,
            off,
            voltage: of.get("voltage", Dimension::Voltage)?,
            time: of.get("time", Dimension::Time)?,
        };
        of.finish()?;
        Ok(Some(read))
    }

    /// In pJ, the energy of all reads: `t V^2 (2 G_off inputs + (G_on - G_off) levels)`, see [`CellWork`]. The largest pulse is the voltage, and
    /// a smaller one the part of it that its digit is.
    #[must_use]
    pub fn energy(&self, work: &CellWork) -> f64 {
        let siemens = 2.0 * self.off * work.inputs + (self.on - self.off) * work.levels;
        self.time * self.voltage * self.voltage * siemens
    }
}
