//! `vwc-sdk chip`: windows and copies of all layers on a chip of so many arrays.

use std::{io, path::PathBuf};

use clap::Args;
use serde::Serialize;
use thiserror::Error;

use super::choice::choice;
use super::notes::note_shared_cells;
use super::{
    network::{NetworkArg, NetworkError},
    options::{Format, InputArgs, MappingArgs, WhatIfArgs, plot_path},
};
use crate::{
    chip::{ChipError, ChipPlan, Goal, LayerChoices, Rule, Windows, plan},
    mapping::{MappingError, PimArray},
    report::{
        Look, csv_text,
        plot::{self, PlotError},
        styled_table,
    },
    text,
};

/// Plan a chip of so many arrays: which window each layer has, and how many copies, for all layers together.
///
/// With weights stationary all arrays work at once: a layer takes a step for each window that its copies do not compute together. The plan is the best
/// one there is, for pictures in a stream or for one picture. A network that does not fit is cut into parts that are loaded in turn.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ChipArgs {
    /// Network, ONNX file, layer list, or folder of a trained network, as `map` takes it.
    #[arg(value_name = "NETWORK|FILE")]
    pub network: NetworkArg,

    /// What the network's file leaves open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Another network than this one.
    #[command(flatten)]
    pub what_if: WhatIfArgs,

    /// Size of an array in cells.
    #[arg(long, value_name = "ROWSxCOLS")]
    pub array: PimArray,

    /// Arrays of the chip.
    #[arg(long, value_name = "N")]
    pub arrays: u64,

    /// What counts.
    #[arg(long, value_parser = choice::<Goal>(), default_value = "throughput")]
    pub goal: Goal,

    /// The windows that layers may have.
    #[arg(long, value_parser = choice::<Windows>(), default_value = "elements")]
    pub windows: Windows,

    /// Steps that writing the arrays takes where the network is loaded in parts [default: the rows of an array].
    #[arg(long, value_name = "STEPS")]
    pub write_steps: Option<u64>,

    /// Numbers that the buffer behind a layer takes in a step [default: no limit].
    #[arg(long, value_name = "NUMBERS", value_parser = clap::value_parser!(u64).range(1..))]
    pub bandwidth: Option<u64>,

    /// Draw when each layer works and which arrays it has; the name ends in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,

    /// Everything else that decides how a layer is laid out.
    #[command(flatten)]
    pub mapping: MappingArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

const EXAMPLES: &str = "\
Examples:
  VGG-13 on 128 arrays, pictures in a stream:
    vwc-sdk chip vgg13 --array 512x512 --arrays 128

  One picture of ResNet-20 on a chip that is too small for it:
    vwc-sdk chip resnet20 --array 256x256 --arrays 8 --goal latency";

/// Why `chip` failed after its arguments were accepted.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChipCommandError {
    /// The network's file could not be read, or holds none.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A layer does not fit the array.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// There is no such plan.
    #[error("{flag}: {0}", flag = flag_of(.0))]
    Chip(#[from] ChipError),
    /// The picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The result could not be written.
    #[error("could not write the result: {0}")]
    Output(#[from] io::Error),
}

/// The flag that an error is about.
fn flag_of(error: &ChipError) -> &'static str {
    match error {
        ChipError::WriteSteps { .. } => "--write-steps",
        _ => "--arrays",
    }
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Printed<'a> {
    network: &'a str,
    array: String,
    windows: Windows,
    interval: u64,
    latency: u64,
    used: u64,
    #[serde(flatten)]
    plan: &'a ChipPlan,
    rules: Vec<ByRule>,
}

/// What a rule comes to.
#[derive(Serialize)]
struct ByRule {
    rule: Rule,
    interval: Option<u64>,
    latency: Option<u64>,
    used: Option<u64>,
    infeasible: Option<String>,
}

/// Prints the plan.
///
/// # Errors
///
/// [`ChipCommandError`].
pub fn run(args: &ChipArgs) -> Result<(), ChipCommandError> {
    let network = args.what_if.network(args.network.load(args.input)?)?;
    let config = args.mapping.config(args.array);
    note_shared_cells([config]);
    let layers = |windows| -> Result<Vec<LayerChoices>, MappingError> {
        let of = |layer| LayerChoices::of(layer, windows, &config);
        network.layers.iter().map(of).collect()
    };
    let choices = layers(args.windows)?;
    let write_steps = args.write_steps.unwrap_or(config.array.rows as u64);
    let found = plan(&choices, args.arrays, args.goal, write_steps, args.bandwidth)?;
    if let Some(path) = &args.plot {
        let title = format!("{} on {} arrays of {}", network.name, args.arrays, args.array);
        plot::chip(path, &title, &found)?;
    }
    let by_rule = |rule: Rule| Ok(by_rule(rule, &layers(rule.windows())?, args.arrays));
    let rules: Result<Vec<ByRule>, MappingError> = Rule::ALL.into_iter().map(by_rule).collect();
    let rules = rules?;
    let text = match args.format {
        Format::Json => {
            let printed = Printed {
                network: &network.name,
                array: args.array.to_string(),
                windows: args.windows,
                interval: found.interval(),
                latency: found.latency(),
                used: found.used(),
                plan: &found,
                rules,
            };
            text::json(&printed) + "\n"
        }
        Format::Csv => csv_text(&HEADER, records(&found)),
        Format::Table | Format::Markdown | Format::Latex => {
            tables(&network.name, &found, &rules, args.format.look())
        }
    };
    Ok(super::print(&text)?)
}

fn by_rule(rule: Rule, layers: &[LayerChoices], arrays: u64) -> ByRule {
    let plan = rule.plan(layers, arrays);
    let of = |read: fn(&ChipPlan) -> u64| plan.as_ref().ok().map(read);
    ByRule {
        rule,
        interval: of(ChipPlan::interval),
        latency: of(ChipPlan::latency),
        used: of(ChipPlan::used),
        infeasible: plan.as_ref().err().map(ToString::to_string),
    }
}

const HEADER: [&str; 8] = ["part", "layer", "w", "h", "windows", "copies", "arrays", "steps"];

fn records(plan: &ChipPlan) -> Vec<Vec<String>> {
    let parts = plan.parts.iter().enumerate();
    let rows = parts.flat_map(|(n, part)| {
        part.layers.iter().map(move |layer| {
            let numbers = [
                layer.choice.w as u64,
                layer.choice.h as u64,
                layer.choice.windows,
                layer.copies,
                layer.arrays(),
                layer.steps,
            ];
            let mut row = vec![(n + 1).to_string(), layer.name.clone()];
            row.extend(numbers.map(|number| number.to_string()));
            row
        })
    });
    rows.collect()
}

fn tables(name: &str, plan: &ChipPlan, rules: &[ByRule], look: Look) -> String {
    let layers = styled_table(&HEADER, records(plan), None, look);
    let mut rows = vec![summary(
        "this plan",
        Some(plan.interval()),
        Some(plan.latency()),
        Some(plan.used()),
    )];
    rows.extend(
        rules
            .iter()
            .map(|by| summary(&by.rule.to_string(), by.interval, by.latency, by.used)),
    );
    let title = format!("{name} on {} arrays", plan.arrays);
    let header = [title.as_str(), "steps a picture", "steps of one", "arrays used"];
    let mut notes = Vec::new();
    if let [first, _, ..] = &plan.parts[..] {
        notes.push(format!(
            "the network does not fit: {} parts are loaded in turn for each picture, each in {} steps",
            plan.parts.len(),
            first.write_steps
        ));
    }
    let infeasible = |by: &ByRule| Some(format!("{}: {}", by.rule, by.infeasible.as_ref()?));
    notes.extend(rules.iter().filter_map(infeasible));
    let rules = styled_table(&header, rows, None, look);
    format!("{layers}\n\n{rules}{}\n", look.notes(notes))
}

fn summary(name: &str, interval: Option<u64>, latency: Option<u64>, used: Option<u64>) -> Vec<String> {
    let shown = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    vec![name.to_owned(), shown(interval), shown(latency), shown(used)]
}
