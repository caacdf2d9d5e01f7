//! What a mapped network takes by a model, layer by layer.

use serde::Serialize;

use super::{Cost, CostConfig, CostError, CostModel, Counts};
use crate::mapping::Plan;

/// What a network on arrays takes by one model, with what that depends on.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlanCosts {
    /// The model.
    pub model: String,
    /// What the costs depend on besides.
    #[serde(flatten)]
    pub config: CostConfig,
    /// Bits of the converters, those that lose nothing where none were set.
    pub converter_bits: u32,
    /// Pulses of an activation.
    pub pulses: u64,
    /// How often each thing happens in all layers.
    pub counts: Counts,
    /// What all layers take; nothing where the model has no such converters.
    pub total: Option<Cost>,
    /// Why it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub infeasible: Option<String>,
    /// How often each thing happens in each layer, in the order of the plan.
    pub layer_counts: Vec<Counts>,
    /// What each layer takes, in the order of the plan; nothing where the model has no such converters.
    pub layers: Vec<Cost>,
}

impl PlanCosts {
    /// Of a plan by a model.
    #[must_use]
    pub fn of(plan: &Plan, config: &CostConfig, model: &CostModel) -> Self {
        let cost = |counts: &Counts| Cost::of(counts, &plan.config, config, model);
        let each = plan.network.layers.iter().zip(&plan.mappings);
        let layer_counts: Vec<Counts> = each
            .map(|(layer, mapping)| Counts::of(layer, mapping, &plan.config, config))
            .collect();
        let layers: Result<Vec<Cost>, CostError> = layer_counts.iter().map(cost).collect();
        let counts = Counts::of_totals(&plan.totals(), &plan.config, config);
        let total = cost(&counts);
        Self {
            model: model.name().to_owned(),
            config: *config,
            converter_bits: config.converter_bits(&plan.config),
            pulses: config.pulses(),
            counts,
            layer_counts,
            infeasible: total.as_ref().err().map(ToString::to_string),
            total: total.ok(),
            layers: layers.unwrap_or_default(),
        }
    }
}
