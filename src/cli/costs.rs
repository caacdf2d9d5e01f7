//! The flags of costs: which models, and what of the converters is chosen.

use std::collections::BTreeSet;

use clap::Args;

use super::options::{Format, at_least_one};
use crate::cost::{Cost, CostConfig, CostError, CostModel, Counts, PlanCosts};
use crate::files;
use crate::formats::plan_json_with_costs;
use crate::mapping::{MAX_BITS, MappingConfig, Plan, SweepPoint};
use crate::report::{Costed, cost_table, plan_csv_with_costs, plan_table};

const BITS: std::ops::RangeInclusive<i64> = 1..=MAX_BITS as i64;

/// What it costs.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Costs")]
pub struct CostArgs {
    /// Energy, latency and area by these models, side by side: isaac-32, zigzag-28, accelergy, neurosim-22, neurosim-32, neurosim-45,
    /// neurosim-65, mnsim, convmapsim; or files whose names end in .toml, whole models or changes of one (docs/costs.md)
    #[arg(long, value_name = "MODEL|FILE", value_delimiter = ',')]
    pub cost: Vec<String>,

    /// Bits of an activation [default: 8]
    #[arg(long, value_name = "BITS", requires = "cost", value_parser = clap::value_parser!(u32).range(BITS))]
    pub activation_bits: Option<u32>,

    /// Bits of an activation that enter at once [default: 1]
    #[arg(long, value_name = "BITS", requires = "cost", value_parser = clap::value_parser!(u32).range(BITS))]
    pub pulse_bits: Option<u32>,

    /// Bits of the converters [default: as many as lose nothing of a column's sum]
    #[arg(long, value_name = "BITS", requires = "cost", value_parser = clap::value_parser!(u32).range(BITS))]
    pub adc_bits: Option<u32>,

    /// Columns that share a converter [default: as the model has it]
    #[arg(long, value_name = "N", requires = "cost", value_parser = at_least_one)]
    pub columns_per_adc: Option<usize>,

    /// Clock of the arrays in MHz: a read takes whole periods of it [default: as long as the model says]
    #[arg(long, value_name = "MHZ", requires = "cost", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clock: Option<u32>,
}

impl CostArgs {
    /// The models.
    ///
    /// # Errors
    ///
    /// Those of [`models`].
    pub fn models(&self) -> Result<Vec<CostModel>, CostError> {
        models(&self.cost)
    }

    /// The choices.
    pub fn config(&self) -> CostConfig {
        CostConfig::new(self.activation_bits.unwrap_or(8))
            .with_pulse_bits(self.pulse_bits.unwrap_or(1))
            .with_adc_bits(self.adc_bits)
            .with_columns_per_adc(self.columns_per_adc)
            .with_clock(self.clock)
    }
}

/// A mapped network as `format` has it, with what it costs by each of the models.
pub fn printed(plan: &Plan, format: Format, cost: &CostConfig, models: &[CostModel]) -> String {
    let of_plan = || -> Vec<PlanCosts> {
        models
            .iter()
            .map(|model| PlanCosts::of(plan, cost, model))
            .collect()
    };
    match format {
        Format::Json => plan_json_with_costs(plan, &of_plan()) + "\n",
        Format::Csv => {
            let costs = of_plan();
            say_no_costs(costs.iter().filter_map(|costs| costs.infeasible.clone()));
            plan_csv_with_costs(plan, models, &costs)
        }
        Format::Table | Format::Markdown | Format::Latex => {
            let table = plan_table(plan, format.look()) + "\n";
            if models.is_empty() {
                return table;
            }
            let counts = Counts::of_totals(&plan.totals(), &plan.config, cost);
            let costs = costed(&counts, &plan.config, cost, models);
            format!("{table}\n{}\n", cost_table(&costs, format.look()))
        }
    }
}

/// What each point of a sweep costs by each of the models; nothing where it cannot be done.
pub fn points_costed<'a>(
    points: &[SweepPoint],
    config: &MappingConfig,
    cost: &CostConfig,
    models: &'a [CostModel],
) -> Vec<Vec<Costed<'a>>> {
    let of = |point: &SweepPoint| {
        let config = MappingConfig {
            array: point.array,
            ..*config
        };
        let totals = point.totals.as_ref().ok()?;
        let counts = Counts::of_totals(totals, &config, cost);
        Some(costed(&counts, &config, cost, models))
    };
    points.iter().map(|point| of(point).unwrap_or_default()).collect()
}

fn costed<'a>(
    counts: &Counts,
    config: &MappingConfig,
    cost: &CostConfig,
    models: &'a [CostModel],
) -> Vec<Costed<'a>> {
    let each = |model: &'a CostModel| (model, Cost::of(counts, config, cost, model));
    models.iter().map(each).collect()
}

/// Says on standard error, each reason once, why models say nothing: where there is no place for it beside the numbers.
pub fn say_infeasible(costs: &[Vec<Costed>]) {
    let errors = costs.iter().flatten().filter_map(|(_, cost)| cost.as_ref().err());
    say_no_costs(errors.map(ToString::to_string));
}

fn say_no_costs(reasons: impl Iterator<Item = String>) {
    for reason in reasons.collect::<BTreeSet<String>>() {
        say!("no costs: {reason}");
    }
}

/// The models of these names and files.
///
/// # Errors
///
/// A name that is none, or a file that is no model.
pub fn models(names: &[String]) -> Result<Vec<CostModel>, CostError> {
    names.iter().map(|name| model(name)).collect()
}

/// The largest file of a model that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

fn model(name: &str) -> Result<CostModel, CostError> {
    if !name.ends_with(".toml") {
        return CostModel::named(name);
    }
    let refuse = |error: String| CostError::File {
        file: name.to_owned(),
        error,
    };
    let bytes = files::read_up_to(name.as_ref(), MAX_BYTES)
        .map_err(|error| refuse(format!("cannot read: {error}")))?
        .ok_or_else(|| refuse(format!("it is longer than the {MAX_BYTES} bytes that are read")))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text".to_owned()))?;
    CostModel::from_toml(name, &text)
}
