//! A network on an array, as JSON that loads again.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cost::PlanCosts;
use crate::mapping::{
    ConvLayer, Mapping, MappingConfig, MappingError, Method, Network, Placement, Plan, Tie, Totals,
};
use crate::text;

/// What the JSON form of a plan calls itself. The number changes when a reader of the old form would go wrong;
/// fields may be added without.
pub const SCHEMA: &str = "vwc-sdk/plan/1";

/// The largest JSON text that is read, in bytes.
pub(crate) const MAX_BYTES: usize = 64 << 20;

/// Why a saved plan is refused.
#[derive(Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The text is no plan; the message names the line.
    #[error("this is not a saved mapping: {0}")]
    Json(#[from] serde_json::Error),
    /// The text is longer than any plan.
    #[error("the saved mapping is longer than the {MAX_BYTES} bytes that are read: save fewer layers")]
    TooLong,
    /// The plan has no layers.
    #[error("the saved mapping has no layers: make it again")]
    NoLayers,
    /// A later form of the file, or another file.
    #[error("the saved mapping has the schema `{found}` and this program reads `{SCHEMA}`: make it again")]
    Schema {
        /// What the file says.
        found: String,
    },
    /// A mapping does not belong to its layer.
    #[error(transparent)]
    Mapping(#[from] MappingError),
}

/// The JSON form of a plan.
#[derive(Serialize, Deserialize)]
struct Document<'a> {
    schema: String,
    network: String,
    method: Method,
    #[serde(flatten)]
    config: MappingConfig,
    total: Totals,
    layers: Vec<PlannedLayer>,
    #[serde(default, skip_deserializing, skip_serializing_if = "<[PlanCosts]>::is_empty")]
    costs: Cow<'a, [PlanCosts]>,
}

#[derive(Serialize, Deserialize)]
struct PlannedLayer {
    #[serde(flatten)]
    layer: ConvLayer,
    params: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tie: Option<Tie>,
    #[serde(flatten)]
    mapping: Mapping,
    #[serde(flatten, skip_deserializing)]
    computed: Computed,
}

/// What follows from a layer and its mapping, for whoever reads the file; it is not read back.
#[derive(Default, Serialize)]
struct Computed {
    window_bound: u64,
    gap: f64,
    parallel_cycles: u64,
    utilisation: f64,
}

/// The plan as JSON, for [`plan_from_json`]. `docs/mapping.md` lists the fields.
#[must_use]
pub fn plan_json(plan: &Plan) -> String {
    plan_json_with_costs(plan, &[])
}

/// As [`plan_json`], with what the plan costs by some models, which [`plan_from_json`] passes over.
#[must_use]
pub fn plan_json_with_costs(plan: &Plan, costs: &[PlanCosts]) -> String {
    let network = &plan.network;
    let document = Document {
        schema: SCHEMA.to_owned(),
        network: network.name.clone(),
        method: plan.method,
        config: plan.config,
        total: plan.totals(),
        layers: network
            .layers
            .iter()
            .zip(&plan.mappings)
            .zip(plan.window_bounds())
            .enumerate()
            .map(|(n, ((layer, mapping), window_bound))| PlannedLayer {
                computed: Computed {
                    window_bound,
                    gap: mapping.gap(window_bound),
                    parallel_cycles: mapping.parallel_cycles(),
                    utilisation: mapping.utilisation(&plan.config),
                },
                params: layer.params(),
                layer: layer.clone(),
                tie: network.ties.get(n).copied(),
                mapping: mapping.clone(),
            })
            .collect(),
        costs: Cow::Borrowed(costs),
    };
    text::json(&document)
}

/// The plan that [`plan_json`] wrote. Every mapping is checked against its layer, so that what is read can be
/// run.
///
/// ```
/// use vwc_sdk::formats::{plan_from_json, plan_json};
/// use vwc_sdk::graph::presets::network;
/// use vwc_sdk::mapping::{MappingConfig, Method, PimArray, Plan, Widths};
///
/// let config = MappingConfig::new(PimArray::new(256, 512)?);
/// let plan = Plan::new(&network("cnn8")?, Method::Best, &config, Widths::Keep)?;
/// assert_eq!(plan_from_json(&plan_json(&plan)).unwrap(), plan);
/// # Ok::<(), vwc_sdk::mapping::MappingError>(())
/// ```
///
/// # Errors
///
/// A [`PlanError`] that says what is wrong, and in which line or layer.
pub fn plan_from_json(text: &str) -> Result<Plan, PlanError> {
    if text.len() > MAX_BYTES {
        return Err(PlanError::TooLong);
    }
    let document: Document = serde_json::from_str(text)?;
    if document.schema != SCHEMA {
        return Err(PlanError::Schema {
            found: document.schema,
        });
    }
    if document.layers.is_empty() {
        return Err(PlanError::NoLayers);
    }
    let ties: Option<Vec<Tie>> = document.layers.iter().map(|layer| layer.tie).collect();
    let (layers, mappings): (Vec<_>, Vec<_>) = document
        .layers
        .into_iter()
        .map(|planned| (planned.layer, planned.mapping))
        .unzip();
    for (layer, mapping) in layers.iter().zip(&mappings) {
        Placement::check(layer, mapping, &document.config)?;
    }
    Ok(Plan {
        network: Network::tied(document.network, layers, ties.unwrap_or_default()),
        method: document.method,
        config: document.config,
        mappings,
    })
}
