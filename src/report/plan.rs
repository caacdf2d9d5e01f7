//! A network on an array, as a table and as CSV.

use super::{Look, cost_fields, cost_header, csv_text, layers, styled_table};
use crate::cost::{CostModel, Counts, PlanCosts};
use crate::mapping::{ConvLayer, Fallback, Mapping, MappingConfig, Plan};

/// What the plan's table shows besides the layer table's columns.
const MORE: [&str; 5] = ["window bound", "gap", "arrays", "cells", "used %"];

/// The plan as a table: a row a layer, then the totals. Windows are written width x height in input cells;
/// `window bound` is the cycles that no mapping by windows goes below ([`window_bound`](crate::mapping::window_bound)), `gap` is cycles over it,
/// `cells` those written once, `used` the part of the array's bits at work. Layers that no window fits are named below.
#[must_use]
pub fn plan_table(plan: &Plan, look: Look) -> String {
    let header = [&layers::HEADER[..], &MORE].concat();
    let bounds = plan.window_bounds();
    let mapped = || plan.network.layers.iter().zip(&plan.mappings);
    let rows = mapped().zip(&bounds).map(|((layer, mapping), &bound)| {
        let mut cells = layers::cells(layer, mapping);
        cells.extend([
            bound.to_string(),
            format!("{:.2}", mapping.gap(bound)),
            mapping.arrays.to_string(),
            mapping.cells_written.to_string(),
            format!("{:.1}", 100.0 * mapping.utilisation(&plan.config)),
        ]);
        cells
    });
    let total = plan.totals();
    let bound = bounds.iter().copied().fold(0, u64::saturating_add);
    let mut totals = vec![String::new(); header.len()];
    totals[0] = "total".to_owned();
    totals[3] = total.params.to_string();
    totals[8] = total.cycles.to_string();
    totals[9] = total.lower_bound.to_string();
    totals[10] = bound.to_string();
    totals[11] = format!("{:.2}", total.cycles as f64 / bound.max(1) as f64);
    totals[12] = total.arrays.to_string();
    totals[13] = total.cells_written.to_string();
    totals[14] = format!("{:.1}", 100.0 * total.utilisation);
    let table = styled_table(&header, rows, Some(totals), look);
    let notes = mapped().filter_map(|(layer, mapping)| match &mapping.fallback {
        Some(why @ Fallback::Infeasible { .. }) => Some(format!("{}: {why}", layer.name)),
        _ => None,
    });
    table + &look.notes(notes)
}

/// A layer of a plan.
struct Row<'a> {
    layer: &'a ConvLayer,
    mapping: &'a Mapping,
    config: &'a MappingConfig,
    window_bound: u64,
}

/// A field of the CSV: its name, and what stands there.
type Field = (&'static str, fn(&Row) -> String);

const FIELDS: [Field; 42] = [
    ("name", |row| row.layer.name.clone()),
    ("in_channels", |row| row.layer.in_channels.to_string()),
    ("out_channels", |row| row.layer.out_channels.to_string()),
    ("params", |row| row.layer.params().to_string()),
    ("method", |row| row.mapping.method.to_string()),
    ("window_width", |row| row.mapping.window.width.to_string()),
    ("window_height", |row| row.mapping.window.height.to_string()),
    ("w", |row| row.mapping.w.to_string()),
    ("h", |row| row.mapping.h.to_string()),
    ("in_tile", |row| layers::tile(row.mapping.in_tile)),
    ("out_tile", |row| layers::tile(row.mapping.out_tile)),
    ("n_windows", |row| row.mapping.n_windows.to_string()),
    ("row_cycles", |row| row.mapping.row_cycles.to_string()),
    ("col_cycles", |row| row.mapping.col_cycles.to_string()),
    ("cycles", |row| row.mapping.cycles.to_string()),
    ("lower_bound", |row| row.mapping.lower_bound.to_string()),
    ("group_cycles", |row| row.mapping.group_cycles.to_string()),
    ("arrays", |row| row.mapping.arrays.to_string()),
    ("cells_written", |row| row.mapping.cells_written.to_string()),
    ("dac_conversions", |row| row.mapping.dac_conversions.to_string()),
    ("adc_conversions", |row| row.mapping.adc_conversions.to_string()),
    ("input_traffic", |row| row.mapping.input_traffic.to_string()),
    ("weights_driven", |row| row.mapping.weights_driven.to_string()),
    ("parallel_cycles", |row| row.mapping.parallel_cycles().to_string()),
    ("window_bound", |row| row.window_bound.to_string()),
    ("gap", |row| row.mapping.gap(row.window_bound).to_string()),
    ("utilisation", |row| {
        row.mapping.utilisation(row.config).to_string()
    }),
    ("input_height", |row| row.layer.input[0].to_string()),
    ("input_width", |row| row.layer.input[1].to_string()),
    ("kernel_height", |row| row.layer.kernel[0].to_string()),
    ("kernel_width", |row| row.layer.kernel[1].to_string()),
    ("stride_height", |row| row.layer.stride[0].to_string()),
    ("stride_width", |row| row.layer.stride[1].to_string()),
    ("dilation_height", |row| row.layer.dilation[0].to_string()),
    ("dilation_width", |row| row.layer.dilation[1].to_string()),
    ("padding_top", |row| row.layer.padding.top.to_string()),
    ("padding_bottom", |row| row.layer.padding.bottom.to_string()),
    ("padding_left", |row| row.layer.padding.left.to_string()),
    ("padding_right", |row| row.layer.padding.right.to_string()),
    ("groups", |row| row.layer.groups.to_string()),
    ("outputs", |row| {
        row.layer.outputs(row.config.accounting).to_string()
    }),
    ("fallback", |row| {
        let fallback = row.mapping.fallback.as_ref();
        fallback.map(ToString::to_string).unwrap_or_default()
    }),
];

/// The layers of a plan as CSV (RFC 4180): a header, one record a layer, no totals, each line ended by a line feed. It holds what the layer is and
/// all that was counted, in the names of the JSON form. `in_tile` and `out_tile` are `<1` where not one whole channel is on the array at once.
#[must_use]
pub fn plan_csv(plan: &Plan) -> String {
    plan_csv_with_costs(plan, &[], &[])
}

/// As [`plan_csv`], with what each layer takes by each of `models`: first how often each thing happens, pulses counted ([`Counts`]), then the columns
/// that [`cost_header`] names. Of `costs` there is one for each model.
#[must_use]
pub fn plan_csv_with_costs(plan: &Plan, models: &[CostModel], costs: &[PlanCosts]) -> String {
    let mut header: Vec<String> = FIELDS.iter().map(|(name, _)| (*name).to_owned()).collect();
    if !costs.is_empty() {
        header.extend(COUNTS.iter().map(|(name, _)| format!("counts {name}")));
        header.extend(["pulses", "converter_bits"].map(str::to_owned));
    }
    header.extend(cost_header(models, true));
    let mapped = plan.network.layers.iter().zip(&plan.mappings);
    let bounds = plan.window_bounds();
    let records = mapped
        .zip(bounds)
        .enumerate()
        .map(|(n, ((layer, mapping), window_bound))| {
            let row = Row {
                layer,
                mapping,
                config: &plan.config,
                window_bound,
            };
            let mut record: Vec<String> = FIELDS.iter().map(|(_, of)| of(&row)).collect();
            if let Some(cost) = costs.first() {
                // Counts depend on the choices alone, which all models share.
                record.extend(COUNTS.iter().map(|(_, of)| of(&cost.layer_counts[n]).to_string()));
                record.extend([cost.pulses.to_string(), cost.converter_bits.to_string()]);
            }
            let each = models.iter().zip(costs);
            record.extend(cost_fields(
                each.map(|(model, cost)| (model, cost.layers.get(n))),
                true,
            ));
            record
        });
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    csv_text(&names, records.collect::<Vec<_>>())
}

/// A count that costs are made of.
type Count = (&'static str, fn(&Counts) -> u64);

const COUNTS: [Count; 9] = [
    ("adc_conversions", |counts| counts.adc_conversions),
    ("dac_conversions", |counts| counts.dac_conversions),
    ("cells", |counts| counts.cells),
    ("reads", |counts| counts.reads),
    ("parallel_reads", |counts| counts.parallel_reads),
    ("input_bits", |counts| counts.input_bits),
    ("output_bits", |counts| counts.output_bits),
    ("cells_written", |counts| counts.cells_written),
    ("arrays", |counts| counts.arrays),
];
