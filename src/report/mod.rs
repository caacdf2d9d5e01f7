//! What the user reads: results as tables for a terminal, and as rows for other programs.
//!
//! Every table goes through one function here, so that they all look alike.

use tabled::{
    builder::Builder,
    settings::{Alignment, Style, object::Columns, style::HorizontalLine, themes::Theme},
};

mod layers;
mod networks;

pub use layers::{LayerRow, layer_csv, layer_rows, layer_table};
pub use networks::{NetworkRow, network_table};

/// A table under a header row: the first column to the left, as names read; the others to the right, as
/// numbers do. `totals` is set apart by a rule. Every row is as long as `header`.
pub(crate) fn table(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
    totals: Option<Vec<String>>,
) -> String {
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    for row in rows {
        builder.push_record(row);
    }
    let mut theme = Theme::from_style(Style::psql());
    if let Some(totals) = totals {
        let rule = HorizontalLine::new('-').intersection('+');
        theme.insert_horizontal_line(builder.count_records(), rule);
        builder.push_record(totals);
    }
    let mut table = builder.build();
    table.with(theme).modify(Columns::new(1..), Alignment::right());
    table.to_string()
}
