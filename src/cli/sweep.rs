//! `vwc-sdk sweep`: networks with methods on arrays of many sizes, a line for each.

use clap::Args;

use super::choice::choice;
use super::costs::{CostArgs, points_costed, say_infeasible};
use super::{
    compare::{csv, json},
    many::NetworksArgs,
    map::MapError,
    notes::note_shared_cells,
    options::{Format, MappingArgs},
};
use crate::{
    mapping::{MappingConfig, Method, PimArray, sweep},
    report::{cost_header, sweep_table_with_costs},
};

/// Map networks with methods onto arrays of many sizes, in parallel: a line for each, with all costs.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct SweepArgs {
    /// The networks.
    #[command(flatten)]
    pub networks: NetworksArgs,

    /// Rows of the arrays, with commas between them.
    #[arg(long, value_name = "ROWS", value_delimiter = ',', required = true)]
    pub rows: Vec<usize>,

    /// Columns of the arrays; each number of rows is taken with each number of columns.
    #[arg(long, value_name = "COLS", value_delimiter = ',', required = true)]
    pub cols: Vec<usize>,

    /// Methods, with commas between them.
    #[arg(long, value_parser = choice::<Method>(), value_delimiter = ',', default_value = "vw-sdk")]
    pub method: Vec<Method>,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What it costs.
    #[command(flatten)]
    pub costs: CostArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const EXAMPLES: &str = "\
Example:
  Every preset on sixteen arrays, for a spreadsheet:
    vwc-sdk sweep --rows 64,128,256,512 --cols 64,128,256,512 --method vw-sdk,best --format csv";

/// Prints the sweep.
///
/// # Errors
///
/// [`MapError::Mapping`] where a number of rows or columns is out of range, [`MapError::Output`].
pub fn run(args: &SweepArgs) -> Result<(), MapError> {
    let models = args.costs.models()?;
    let networks = args.networks.load()?;
    let sizes = args
        .rows
        .iter()
        .flat_map(|&rows| args.cols.iter().map(move |&cols| PimArray::new(rows, cols)));
    let arrays = sizes
        .map(|array| array.map(|array| array.with_cell_bits(args.mapping.cell_bits)))
        .collect::<Result<Vec<_>, _>>()?;
    // Both lists hold something, so there is an array.
    let config = args.mapping.config(arrays[0]);
    note_shared_cells(arrays.iter().map(|&array| MappingConfig { array, ..config }));
    let points = sweep(&networks, &args.method, &arrays, &config);
    let costs = points_costed(&points, &config, &args.costs.config(), &models);
    let text = match args.format {
        Format::Json => json(&points, &costs),
        Format::Csv => csv(&points, &models, &costs),
        Format::Table | Format::Markdown | Format::Latex => {
            say_infeasible(&costs);
            sweep_table_with_costs(&points, &cost_header(&models, false), &costs, args.format.look()) + "\n"
        }
    };
    Ok(super::print(&text)?)
}
