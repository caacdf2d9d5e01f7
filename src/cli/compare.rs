//! `vwc-sdk compare` and `vwc-sdk sweep`: many methods, networks and arrays beside each other.

use std::{collections::HashSet, path::PathBuf};

use clap::Args;
use rayon::prelude::*;

use super::choice::choice;
use super::costs::{CostArgs, points_costed, say_infeasible};
use super::{
    map::MapError,
    network::NetworkArg,
    notes::note_shared_cells,
    options::{Format, InputArgs, MappingArgs, WhatIfArgs, plot_path},
};
use crate::{
    cost::CostModel,
    graph::presets,
    mapping::{MappingConfig, Method, Network, PimArray, Plan, SweepPoint, Widths, sweep},
    report::{
        Costed, compare_table, cost_compare_tables, cost_header,
        plot::{CyclesPanel, MAX_PANELS, cycles_by_method},
        sweep_csv_with_costs, sweep_notes, sweep_reasons, sweep_rows, sweep_table_with_costs, with_costs,
    },
    text,
};

/// Set methods beside each other: the cycles of networks on arrays, a column for each method.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// Networks, or ONNX files or layer lists, as `map` takes them; all presets if none is given.
    #[arg(value_name = "NETWORK|FILE")]
    pub networks: Vec<NetworkArg>,

    /// What the networks' files leave open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Other networks than these.
    #[command(flatten)]
    pub what_if: WhatIfArgs,

    /// Sizes of the arrays in cells, with commas between them.
    #[arg(long, value_name = "ROWSxCOLS", value_delimiter = ',', required = true)]
    pub array: Vec<PimArray>,

    /// Methods, with commas between them [default: all].
    #[arg(long, value_parser = choice::<Method>(), value_delimiter = ',')]
    pub method: Vec<Method>,

    /// Everything else that decides a mapping.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What it costs.
    #[command(flatten)]
    pub costs: CostArgs,

    /// What to print. JSON and CSV hold everything that `sweep` prints.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw the cycles of each layer by method, a panel for each network and array, 12 at most: a file whose name
    /// ends in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,
}

const COMPARE_EXAMPLES: &str = "\
Example:
  All methods on VGG-13, and a picture of its layers:
    vwc-sdk compare vgg13 --array 128x128,256x256,512x512 --plot vgg13.svg";

/// Map networks with methods onto arrays of many sizes, in parallel: a line for each, with all costs.
#[derive(Debug, Clone, Args)]
#[command(after_help = SWEEP_EXAMPLES)]
pub struct SweepArgs {
    /// Networks, or ONNX files or layer lists, as `map` takes them; all presets if none is given.
    #[arg(value_name = "NETWORK|FILE")]
    pub networks: Vec<NetworkArg>,

    /// What the networks' files leave open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Other networks than these.
    #[command(flatten)]
    pub what_if: WhatIfArgs,

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

const SWEEP_EXAMPLES: &str = "\
Example:
  Every preset on sixteen arrays, for a spreadsheet:
    vwc-sdk sweep --rows 64,128,256,512 --cols 64,128,256,512 --method vw-sdk,best --format csv";

fn or_presets(
    networks: &[NetworkArg],
    input: InputArgs,
    what_if: WhatIfArgs,
) -> Result<Vec<Network>, MapError> {
    if networks.is_empty() {
        let all = presets::names().into_iter().map(presets::network);
        return Ok(all
            .map(|network| what_if.network(network?))
            .collect::<Result<_, _>>()?);
    }
    let load = |network: &NetworkArg| Ok(what_if.network(network.load(input)?)?);
    let networks: Vec<Network> = networks.iter().map(load).collect::<Result<_, MapError>>()?;
    let mut names = HashSet::new();
    match networks.iter().find(|network| !names.insert(&network.name)) {
        Some(twice) => Err(MapError::SameName {
            name: twice.name.clone(),
        }),
        None => Ok(networks),
    }
}

/// Prints the comparison.
///
/// # Errors
///
/// [`MapError`]; what cannot be mapped is no error but an empty place in the table, with the reason below.
pub fn compare(args: &CompareArgs) -> Result<(), MapError> {
    if args.plot.is_some() {
        let networks = match args.networks.len() {
            0 => presets::names().len(),
            given => given,
        };
        let panels = networks.saturating_mul(args.array.len());
        if panels > MAX_PANELS {
            return Err(MapError::Panels { panels });
        }
    }
    let models = args.costs.models()?;
    let networks = or_presets(&args.networks, args.input, args.what_if)?;
    let methods = if args.method.is_empty() {
        Method::ALL.to_vec()
    } else {
        args.method.clone()
    };
    let configs: Vec<_> = args
        .array
        .iter()
        .map(|&array| args.mapping.config(array))
        .collect();
    note_shared_cells(configs.iter().copied());
    if let Some(path) = &args.plot {
        cycles_by_method(path, &panels(&networks, &methods, &configs))?;
    }
    let points = sweep(
        &networks,
        &methods,
        &configs.iter().map(|config| config.array).collect::<Vec<_>>(),
        // An array is required, so there is a first.
        &configs[0],
    );
    let costs = points_costed(&points, &configs[0], &args.costs.config(), &models);
    let text = match args.format {
        Format::Json => json(&points, &costs),
        Format::Csv => csv(&points, &models, &costs),
        Format::Table | Format::Markdown | Format::Latex => {
            let look = args.format.look();
            let tables = by_case(&points, &costs)
                .into_iter()
                .map(|(title, methods, costs)| cost_compare_tables(&title, &methods, &costs, look));
            let bounds = window_bounds(&networks, &configs);
            compare_table(&points, &bounds, look) + "\n" + &tables.collect::<String>()
        }
    };
    Ok(super::print(&text)?)
}

/// For each network and array, in the order of a sweep, the cycles that no mapping by windows goes below. What cannot be mapped has none; the
/// reason stands with the methods.
fn window_bounds(networks: &[Network], configs: &[MappingConfig]) -> Vec<Option<u64>> {
    let cases: Vec<_> = networks
        .iter()
        .flat_map(|network| configs.iter().map(move |config| (network, config)))
        .collect();
    let bound = |(network, config): (&Network, &MappingConfig)| network.window_bound(config).ok();
    cases.into_par_iter().map(bound).collect()
}

/// For each network and array that some methods map: its title, these methods, and what they cost by each model.
type ComparedCosts<'a> = (String, Vec<String>, Vec<Vec<Costed<'a>>>);

fn by_case<'a>(points: &[SweepPoint], costs: &[Vec<Costed<'a>>]) -> Vec<ComparedCosts<'a>> {
    let mut cases: Vec<ComparedCosts> = Vec::new();
    for (point, costs) in points.iter().zip(costs).filter(|(_, costs)| !costs.is_empty()) {
        let title = format!("{} on {}", point.network, point.array);
        let (method, costs) = (point.method.to_string(), costs.clone());
        match cases.iter_mut().find(|(known, ..)| *known == title) {
            Some((_, methods, of_methods)) => {
                methods.push(method);
                of_methods.push(costs);
            }
            None => cases.push((title, vec![method], vec![costs])),
        }
    }
    cases
}

/// A panel for each network and array that some method maps. What is not drawn is said on standard error.
fn panels(networks: &[Network], methods: &[Method], configs: &[MappingConfig]) -> Vec<CyclesPanel> {
    let mut panels = Vec::new();
    for (network, config) in networks
        .iter()
        .flat_map(|network| configs.iter().map(move |config| (network, config)))
    {
        let name = format!("{} on {}", network.name, config.array);
        let mut panel = CyclesPanel {
            title: format!("{name}: computing cycles of each layer"),
            layers: network.layers.iter().map(|layer| layer.name.clone()).collect(),
            methods: Vec::new(),
            cycles: Vec::new(),
        };
        for &method in methods {
            match Plan::new(network, method, config, Widths::of(method)) {
                Ok(plan) => {
                    panel.methods.push(method);
                    let cycles = plan.mappings.iter().map(|mapping| mapping.cycles);
                    panel.cycles.push(cycles.collect());
                }
                Err(error) => say!("not drawn: {name}, {method}: {error}"),
            }
        }
        if !panel.methods.is_empty() {
            panels.push(panel);
        }
    }
    panels
}

/// Prints the sweep.
///
/// # Errors
///
/// [`MapError::Mapping`] where a number of rows or columns is out of range, [`MapError::Output`].
pub fn run_sweep(args: &SweepArgs) -> Result<(), MapError> {
    let models = args.costs.models()?;
    let networks = or_presets(&args.networks, args.input, args.what_if)?;
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

/// The points as CSV. It has no place for the reason why one cannot be done, which is said on standard error.
fn csv(points: &[SweepPoint], models: &[CostModel], costs: &[Vec<Costed>]) -> String {
    for reason in sweep_reasons(points) {
        say!("not mapped: {reason}");
    }
    for note in sweep_notes(points) {
        say!("note: {note}");
    }
    say_infeasible(costs);
    sweep_csv_with_costs(points, &cost_header(models, true), costs)
}

fn json(points: &[SweepPoint], costs: &[Vec<Costed>]) -> String {
    text::json(&with_costs(sweep_rows(points), costs)) + "\n"
}
