//! What the user reads: results as tables for a terminal, and as rows for other programs.
//!
//! Every table goes through one function here, so that they all look alike.

use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns, style::HorizontalLine, themes::Theme},
};

use crate::text;

mod cost;
mod latex;
mod layers;
mod networks;
mod plan;
pub mod plot;
mod sweep;

pub use cost::{
    CostRow, Costed, area, cost_compare_tables, cost_fields, cost_header, cost_rows, cost_table, energy,
    energy_delay, flips, time,
};
pub use layers::{LayerRow, layer_rows, layer_table};
pub use networks::{NetworkRow, network_table};
pub use plan::{plan_csv, plan_csv_with_costs, plan_table};
pub use sweep::{
    SweepRow, compare_table, front_csv, front_table, sweep_csv, sweep_csv_with_costs, sweep_notes,
    sweep_reasons, sweep_rows, sweep_table, sweep_table_with_costs, with_costs,
};

/// What a table is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Look {
    /// A terminal.
    Terminal,
    /// A Markdown page.
    Markdown,
    /// A paper in LaTeX, with the package booktabs.
    Latex,
}

impl Look {
    /// What a cell shows of `text`: one line, which cannot end the cell.
    fn cell(self, text: &str) -> String {
        let line = text::line(text);
        match self {
            Self::Terminal => line,
            Self::Markdown => line.replace('\\', r"\\").replace('|', r"\|"),
            Self::Latex => latex::escaped(&line),
        }
    }

    /// What stands below a table, a line for each of `lines`, with a line break in front. In LaTeX it is a comment.
    pub(crate) fn notes(self, lines: impl IntoIterator<Item = String>) -> String {
        let start = match self {
            Self::Terminal => "\n",
            Self::Markdown => "\n* ",
            Self::Latex => "\n% ",
        };
        let lines = lines
            .into_iter()
            .map(|line| format!("{start}{}", text::line(&line)));
        let lines: String = lines.collect();
        // A line right below would belong to a Markdown table.
        if self == Self::Markdown && !lines.is_empty() {
            format!("\n{lines}")
        } else {
            lines
        }
    }
}

/// A table under a header row: the first column to the left, as names read; the others to the right, as
/// numbers do. `totals` is set apart by a rule. Every row is as long as `header`. Cells may hold names from files: what
/// a terminal would act on is written out.
pub(crate) fn table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    totals: Option<Vec<String>>,
) -> String {
    styled_table(header, rows, totals, Look::Terminal)
}

/// As [`table`], for any reader.
pub(crate) fn styled_table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    totals: Option<Vec<String>>,
    look: Look,
) -> String {
    if look == Look::Latex {
        let cells = |row: Vec<String>| row.iter().map(|cell| look.cell(cell)).collect();
        let header = header.iter().map(|name| look.cell(name)).collect();
        return latex::tabular(header, rows.into_iter().map(cells), totals.map(cells));
    }
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    for row in rows {
        builder.push_record(row.iter().map(|cell| look.cell(cell)));
    }
    let mut theme = match look {
        Look::Markdown => Theme::from_style(Style::markdown()),
        _ => Theme::from_style(Style::psql()),
    };
    if let Some(totals) = totals {
        let rule = HorizontalLine::new('-').intersection('+');
        if look == Look::Terminal {
            theme.insert_horizontal_line(builder.count_records(), rule);
        }
        builder.push_record(totals);
    }
    let mut table = builder.build();
    table.with(theme).modify(Columns::new(1..), Alignment::right());
    table.to_string()
}

/// A header and records as CSV (RFC 4180), each line ended by a line feed. Fields may hold names from files: what a
/// terminal would act on is written out.
pub(crate) fn csv_text(header: &[&str], records: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(header).expect("memory takes it");
    for record in records {
        let fields = record.iter().map(|field| text::line(field));
        csv.write_record(fields).expect("memory takes it");
    }
    let bytes = csv.into_inner().expect("memory takes it");
    String::from_utf8(bytes).expect("fields are UTF-8")
}
