//! Many networks, methods and arrays beside each other, and the front of one network.

use serde::Serialize;

use super::{CostRow, Costed, Look, cost_fields, cost_rows, styled_table};
use crate::mapping::{Method, SweepPoint, Totals, pareto::ParetoPoint};

/// One line of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SweepRow {
    /// Name of the network.
    pub network: String,
    /// The array, as `ROWSxCOLS`.
    pub array: String,
    /// The method.
    pub method: Method,
    /// What it takes; nothing where it cannot be done.
    pub total: Option<Totals>,
    /// Why it cannot be done.
    pub infeasible: Option<String>,
    /// What it costs, by each model that was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub costs: Vec<CostRow>,
}

/// The points as rows.
#[must_use]
pub fn sweep_rows(points: &[SweepPoint]) -> Vec<SweepRow> {
    points
        .iter()
        .map(|point| SweepRow {
            network: point.network.clone(),
            array: point.array.to_string(),
            method: point.method,
            total: point.totals.as_ref().ok().copied(),
            infeasible: point.totals.as_ref().err().map(ToString::to_string),
            costs: Vec::new(),
        })
        .collect()
}

/// The rows with what each costs: of `costs` one list for each row, empty where there are none.
#[must_use]
pub fn with_costs(rows: Vec<SweepRow>, costs: &[Vec<Costed>]) -> Vec<SweepRow> {
    let both = rows.into_iter().zip(costs);
    both.map(|(row, costs)| SweepRow {
        costs: cost_rows(costs),
        ..row
    })
    .collect()
}

const HEADER: [&str; 12] = [
    "network",
    "array",
    "method",
    "params",
    "cycles",
    "lower_bound",
    "arrays",
    "cells_written",
    "dac_conversions",
    "adc_conversions",
    "input_traffic",
    "utilisation",
];

fn cells(row: SweepRow) -> Vec<String> {
    let mut cells = vec![row.network, row.array, row.method.to_string()];
    match row.total {
        Some(total) => {
            let counts = [
                total.params,
                total.cycles,
                total.lower_bound,
                total.arrays,
                total.cells_written,
                total.dac_conversions,
                total.adc_conversions,
                total.input_traffic,
            ];
            cells.extend(counts.map(|count| count.to_string()));
            cells.push(format!("{:.4}", total.utilisation));
        }
        None => cells.resize(HEADER.len(), String::new()),
    }
    cells
}

/// One row for each point; empty where it cannot be done, with the reasons below.
#[must_use]
pub fn sweep_table(points: &[SweepPoint], look: Look) -> String {
    sweep_table_with_costs(points, &[], &[], look)
}

/// As [`sweep_table`], with costs: one list for each point, as `header` ([`cost_header`](super::cost_header)) calls the columns.
#[must_use]
pub fn sweep_table_with_costs(
    points: &[SweepPoint],
    header: &[String],
    costs: &[Vec<Costed>],
    look: Look,
) -> String {
    let names = names(header);
    let text = styled_table(&names, records(points, names.len(), costs, false), None, look);
    text + &reasons(points, look)
}

/// The columns of counts, and those of costs.
fn names(header: &[String]) -> Vec<&str> {
    HEADER
        .into_iter()
        .chain(header.iter().map(String::as_str))
        .collect()
}

/// The counts of each point, and its costs.
fn records(
    points: &[SweepPoint],
    columns: usize,
    costs: &[Vec<Costed>],
    csv: bool,
) -> impl Iterator<Item = Vec<String>> {
    let rows = sweep_rows(points).into_iter().map(cells).enumerate();
    rows.map(move |(n, mut record)| {
        record.extend(
            costs
                .get(n)
                .map(|costs| {
                    cost_fields(
                        costs.iter().map(|(model, cost)| (*model, cost.as_ref().ok())),
                        csv,
                    )
                })
                .unwrap_or_default(),
        );
        record.resize(columns, String::new());
        record
    })
}

/// As CSV: a header and one record for each point, empty where it cannot be done; [`sweep_reasons`] says why.
#[must_use]
pub fn sweep_csv(points: &[SweepPoint]) -> String {
    sweep_csv_with_costs(points, &[], &[])
}

/// As [`sweep_csv`], with costs as [`sweep_table_with_costs`] takes them.
#[must_use]
pub fn sweep_csv_with_costs(points: &[SweepPoint], header: &[String], costs: &[Vec<Costed>]) -> String {
    let names = names(header);
    super::csv_text(&names, records(points, names.len(), costs, true))
}

/// A row for each network and array, a column of cycles for each method, and how many times fewer cycles the
/// last method takes than `vw-sdk`, where both are there. The points are in the order of
/// [`sweep`](crate::mapping::sweep); of `bounds` there is one for each network and array, in that order too: the cycles that no mapping by windows of
/// the whole network goes below ([`window_bound`](crate::mapping::window_bound)), where there are any.
#[must_use]
pub fn compare_table(points: &[SweepPoint], bounds: &[Option<u64>], look: Look) -> String {
    let mut methods: Vec<Method> = Vec::new();
    let mut cases: Vec<(&str, String)> = Vec::new();
    for point in points {
        if !methods.contains(&point.method) {
            methods.push(point.method);
        }
        let case = (point.network.as_str(), point.array.to_string());
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let last = methods.last().copied().filter(|&method| method != Method::VwSdk);
    let gain = last.filter(|_| methods.contains(&Method::VwSdk));
    let names: Vec<String> = methods.iter().map(ToString::to_string).collect();
    let gain_name = gain.map(|method| format!("{method} gains"));
    let mut header = vec!["network", "array", "window bound"];
    header.extend(names.iter().map(String::as_str));
    header.extend(gain_name.as_deref());
    let rows = cases.iter().enumerate().map(|(n, (network, array))| {
        let total = |method: Method| {
            points
                .iter()
                .find(|p| p.network == *network && p.array.to_string() == *array && p.method == method)
                .and_then(|point| point.totals.as_ref().ok())
        };
        let empty = || "-".to_owned();
        let bound = bounds.get(n).copied().flatten();
        let mut cells = vec![
            (*network).to_owned(),
            array.clone(),
            bound.map_or_else(empty, |bound| bound.to_string()),
        ];
        cells.extend(
            methods
                .iter()
                .map(|&method| total(method).map_or_else(empty, |total| total.cycles.to_string())),
        );
        if let Some(method) = gain {
            let ratio = total(Method::VwSdk)
                .zip(total(method))
                .map(|(before, after)| before.cycles as f64 / after.cycles as f64);
            cells.push(ratio.map_or_else(empty, |ratio| format!("{ratio:.2}x")));
        }
        cells
    });
    let text = styled_table(&header, rows, None, look);
    text + &reasons(points, look)
}

/// Why some points cannot be done, each reason once: network, method and error.
#[must_use]
pub fn sweep_reasons(points: &[SweepPoint]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for point in points {
        if let Err(error) = &point.totals {
            let line = format!("{}, {}: {error}", point.network, point.method);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// The layers whose channels the rounds left against their rule, a line for each point that has such layers.
#[must_use]
pub fn sweep_notes(points: &[SweepPoint]) -> Vec<String> {
    let kept = points.iter().filter(|point| !point.kept.is_empty());
    let line = |point: &SweepPoint| {
        let layers: Vec<&str> = point.kept.iter().map(|kept| kept.layer.as_str()).collect();
        format!(
            "{} on {}, {}: widths that the rounds narrow no further, though their rule does: those at {}",
            point.network,
            point.array,
            point.method,
            layers.join(", ")
        )
    };
    kept.map(line).collect()
}

/// The reasons and notes as lines below a table.
fn reasons(points: &[SweepPoint], look: Look) -> String {
    let mut lines = sweep_reasons(points);
    lines.extend(sweep_notes(points));
    look.notes(lines)
}

const FRONT_HEADER: [&str; 4] = ["channels", "cycles", "speed-up", "widths"];

fn front_rows(front: &[ParetoPoint]) -> impl Iterator<Item = Vec<String>> {
    let most = front.first().map_or(0, |point| point.cycles);
    front.iter().map(move |point| {
        let widths: Vec<_> = point.widths.iter().map(ToString::to_string).collect();
        vec![
            point.channels.to_string(),
            point.cycles.to_string(),
            format!("{:.2}", most as f64 / point.cycles as f64),
            widths.join(" "),
        ]
    })
}

/// The front of a network, from the most channels down, with the speed-up over its first point.
#[must_use]
pub fn front_table(front: &[ParetoPoint], look: Look) -> String {
    styled_table(&FRONT_HEADER, front_rows(front), None, look)
}

/// The front as CSV.
#[must_use]
pub fn front_csv(front: &[ParetoPoint]) -> String {
    super::csv_text(&FRONT_HEADER, front_rows(front))
}
