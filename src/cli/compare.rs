//! `vwc-sdk compare`: methods beside each other, on many networks and arrays.

use std::path::PathBuf;

use clap::Args;
use rayon::prelude::*;

use super::choice::choice;
use super::costs::{CostArgs, points_costed, say_infeasible};
use super::{
    many::NetworksArgs,
    map::MapError,
    notes::note_shared_cells,
    options::{Format, MappingArgs, plot_path},
};
use crate::{
    cost::{Component, Cost, CostModel},
    mapping::{MappingConfig, Method, Network, PimArray, Plan, SweepPoint, Widths, sweep},
    report::{
        Costed, compare_table, cost_compare_tables, cost_header,
        plot::{CyclesPanel, EnergyPanel, MAX_PANELS, cycles_by_method, energy_by_component},
        sweep_csv_with_costs, sweep_notes, sweep_reasons, sweep_rows, with_costs,
    },
    text,
};

/// Set methods beside each other: the cycles of networks on arrays, a column for each method.
#[derive(Debug, Clone, Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// The networks.
    #[command(flatten)]
    pub networks: NetworksArgs,

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

    /// Draw the energy of each method by component, a panel for each network, array and model, 12 at most: a file whose name ends in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path, requires = "cost")]
    pub plot_energy: Option<PathBuf>,
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  All methods on VGG-13, and a picture of its layers:
    vwc-sdk compare vgg13 --array 128x128,256x256,512x512 --plot vgg13.svg

  What three methods take on CNN-8 by two models, and a picture of where the energy goes:
    vwc-sdk compare cnn8 --array 256x512 --method im2col,vw-sdk,best --adc-bits 8 --cost isaac-32,zigzag-28 \\
      --plot-energy cnn8.svg";

/// Prints the comparison.
///
/// # Errors
///
/// [`MapError`]; what cannot be mapped is no error but an empty place in the table, with the reason below.
pub fn compare(args: &CompareArgs) -> Result<(), MapError> {
    let cases = args.networks.count().saturating_mul(args.array.len());
    let of_plot = args.plot.iter().map(|_| cases);
    let of_energy = args
        .plot_energy
        .iter()
        .map(|_| cases.saturating_mul(args.costs.cost.len()));
    if let Some(panels) = of_plot.chain(of_energy).find(|&panels| panels > MAX_PANELS) {
        return Err(MapError::Panels { panels });
    }
    let models = args.costs.models()?;
    let networks = args.networks.load()?;
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
    let cases = by_case(&points, &costs);
    if let Some(path) = &args.plot_energy {
        energy_by_component(path, &energies(&cases))?;
    }
    let text = match args.format {
        Format::Json => json(&points, &costs),
        Format::Csv => csv(&points, &models, &costs),
        Format::Table | Format::Markdown | Format::Latex => {
            let look = args.format.look();
            let tables = cases
                .iter()
                .map(|(title, methods, costs)| cost_compare_tables(title, methods, costs, look));
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

/// A panel for each network and array that some method maps, by each model that says something of them.
fn energies(cases: &[ComparedCosts]) -> Vec<EnergyPanel> {
    let mut panels = Vec::new();
    for (title, methods, costs) in cases {
        for n in 0..costs.first().map_or(0, Vec::len) {
            let (model, _) = &costs[0][n];
            let known: Result<Vec<&Cost>, _> = costs.iter().map(|costs| costs[n].1.as_ref()).collect();
            let costs = match known {
                Ok(costs) => costs,
                Err(error) => {
                    say!("not drawn: {title}, {}: {error}", model.name());
                    continue;
                }
            };
            let of = |part: Component| {
                let energies = costs.iter().map(|cost| cost.energy.get(&part).copied());
                Some((part, energies.collect::<Option<Vec<f64>>>()?))
            };
            panels.push(EnergyPanel {
                title: format!("{title}, {}", model.name()),
                methods: methods.clone(),
                components: Component::ALL.into_iter().filter_map(of).collect(),
            });
        }
    }
    panels
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

/// The points as CSV. It has no place for the reason why one cannot be done, which is said on standard error.
pub(super) fn csv(points: &[SweepPoint], models: &[CostModel], costs: &[Vec<Costed>]) -> String {
    for reason in sweep_reasons(points) {
        say!("not mapped: {reason}");
    }
    for note in sweep_notes(points) {
        say!("note: {note}");
    }
    say_infeasible(costs);
    sweep_csv_with_costs(points, &cost_header(models, true), costs)
}

/// The points as JSON.
pub(super) fn json(points: &[SweepPoint], costs: &[Vec<Costed>]) -> String {
    text::json(&with_costs(sweep_rows(points), costs)) + "\n"
}
