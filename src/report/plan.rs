//! A network on an array, as a table.

use super::{Look, layers, styled_table};
use crate::mapping::{Fallback, Plan};
use crate::text;

/// What the plan's table shows besides the layer table's columns.
const MORE: [&str; 4] = ["gap", "arrays", "cells", "used %"];

/// The plan as a table: a row a layer, then the totals. Windows are written width x height in input cells;
/// `gap` is cycles over the bound, `cells` those written once, `used` the part of the array's bits at work.
/// Layers that no window fits are named below.
#[must_use]
pub fn plan_table(plan: &Plan, look: Look) -> String {
    let header = [&layers::HEADER[..], &MORE].concat();
    let mapped = || plan.network.layers.iter().zip(&plan.mappings);
    let rows = mapped().map(|(layer, mapping)| {
        let mut cells = layers::cells(layer, mapping);
        cells.extend([
            format!("{:.2}", mapping.gap()),
            mapping.arrays.to_string(),
            mapping.cells_written.to_string(),
            format!("{:.1}", 100.0 * mapping.utilisation(&plan.config)),
        ]);
        cells
    });
    let total = plan.totals();
    let mut totals = vec![String::new(); header.len()];
    totals[0] = "total".to_owned();
    totals[3] = total.params.to_string();
    totals[8] = total.cycles.to_string();
    totals[9] = total.lower_bound.to_string();
    totals[10] = format!("{:.2}", total.cycles as f64 / total.lower_bound.max(1) as f64);
    totals[11] = total.arrays.to_string();
    totals[12] = total.cells_written.to_string();
    totals[13] = format!("{:.1}", 100.0 * total.utilisation);
    let mut table = styled_table(&header, rows, Some(totals), look);
    for (layer, mapping) in mapped() {
        if let Some(why @ Fallback::Infeasible { .. }) = &mapping.fallback {
            table += &format!("\n{}: {why}", text::line(&layer.name));
        }
    }
    table
}
