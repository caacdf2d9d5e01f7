//! Files of the mapper: layer lists and saved plans to write and read.

#[doc(hidden)]
pub mod layers;
mod plan;

pub use layers::layer_list;

pub(crate) use plan::MAX_BYTES as MAX_PLAN_BYTES;
pub use plan::{PlanError, SCHEMA, plan_from_json, plan_json, plan_json_with_costs};
