//! A chip of so many arrays: which windows each layer has, and how many copies, for all layers together.
//!
//! With weights stationary all arrays of a network work at once, so that what counts is not the sum of cycles but how many arrays there are. A layer
//! that is laid out with a window takes `a` arrays and `n` steps, one for each window; with `d` copies of it `a d` arrays and
//! `ceil(n / d)` steps. A larger window takes more arrays and fewer steps, and so do more copies, so that both are one decision:
//!
//! ```text
//! need_l(t) = min over windows of a ceil(n / t)          arrays with which layer l takes t steps
//! ```
//!
//! * `layer` what a layer may be: its windows, and steps against arrays; `plan` the exact plans, for pictures in a stream and for one picture
//! * `rule` plans by plainer rules
//!
//! ```
//! use vwc_sdk::chip::{Goal, LayerChoices, Windows, plan};
//! use vwc_sdk::graph::presets;
//! use vwc_sdk::mapping::{Accounting, MappingConfig, MappingError, PimArray};
//!
//! let config = MappingConfig::new(PimArray::new(512, 512)?).with_accounting(Accounting::AsPublished);
//! let of = |layer| LayerChoices::of(layer, Windows::Elements, &config);
//! let layers: Vec<LayerChoices> = presets::network("vgg13")?.layers.iter().map(of).collect::<Result<_, _>>()?;
//! let chip = plan(&layers, 128, Goal::Throughput, 0, None).unwrap();
//! assert_eq!(chip.interval(), 691);
//! # Ok::<(), MappingError>(())
//! ```

mod layer;
mod plan;
mod rule;

pub use layer::{LayerChoices, Windows};
pub use plan::{ChipError, ChipPlan, Goal, MAX_ARRAYS, Part, PlannedLayer, plan};
pub use rule::Rule;
