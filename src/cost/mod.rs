//! What a mapping costs: latency, energy and area, by published models side by side.
//!
//! A mapping is counted: conversions, cells at work, cells written, inputs fetched. A [`CostModel`] says what each of them takes. Models
//! disagree by orders of magnitude on the same converter, so that an answer means little without its model, and a ranking of
//! methods only where models agree on it.
//!
//! Every constant of a model stands in a TOML file with its unit, its technology node and its source. Nothing is scaled from one node to
//! another. What a model does not speak of is not counted, and is said ([`CostModel::missing`]).
//!
//! * `unit` units, and what they measure; `constant` a number with its unit, node and source
//! * `section` a component as a file has it; `converter` the formulas of converters
//! * `cell` cells as resistors, whose energy follows from what they hold
//! * `model` a model: its file, and files that change it; `total` what a mapping takes by it; `plan` layer by layer

mod cell;
mod constant;
mod converter;
mod error;
mod model;
mod plan;
mod section;
mod total;
mod unit;

pub use cell::CellRead;
pub use constant::Constant;
pub use converter::Conversion;
pub use error::CostError;
pub use model::{CostModel, Inventory};
pub use plan::PlanCosts;
pub use total::{Component, Cost, CostConfig, Counts};
pub use unit::Unit;
