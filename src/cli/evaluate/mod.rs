//! `vwc-sdk evaluate`: the accuracy of a trained network on simulated arrays.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use burn::data::dataset::Dataset;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::choice::choice;
use crate::cli::{
    costs::models,
    kind::{NetworkKind, with_network},
    networks::JobNetwork,
    opened::{AsRun, FileArgs},
    options::{Format, adc_bits, plot_path, share, zero_or_more},
    pictures::TestPictureArgs,
};
use crate::cost::{CostError, CostModel};
use crate::crossbar::Device;
use crate::graph::{Graph, Node, Op};
use crate::mapping::{MappingConfig, Method, PimArray};
use crate::models::Network as _;
use crate::report::{csv_text, plot::PlotError, styled_table};
use crate::simulate::SimulatedNetwork;
use crate::train::{RunDir, evaluate, evaluate_with};
use crate::{DeviceName, Error};

mod cells;
mod curve;
mod rows;

use cells::CellEnergy;
use rows::{HEADER, Row};

/// Classify test pictures with a trained network whose quantised convolutions run on simulated arrays.
///
/// The first line of the table is the network as it was trained, without an array. Every following line is an array:
/// each number of converter bits with each variation. Where converters are exact and cells do not vary, the accuracy is
/// the network's own. Convolutions that read no codes, or codes below zero, are computed exactly beside the array, which is said, and
/// so is the classifier. Pictures are read as the
/// network was trained: normalised in the same way, with classes matched by name. The interval holds the accuracy on all
/// pictures of the kind with a confidence of 95 %.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct EvaluateArgs {
    /// Folder of a trained network, as runs/svhn_cnn8/rcp1, or an ONNX file of a quantised one
    #[arg(value_name = "RUN|FILE")]
    pub run: PathBuf,

    /// What a file does not say.
    #[command(flatten)]
    pub file: FileArgs,

    /// Take the files of the run as they are, though they have changed since it wrote them: after an edit by hand
    #[arg(long)]
    pub accept_changes: bool,

    /// Size of the arrays in cells.
    #[arg(long, value_name = "ROWSxCOLS")]
    pub array: PimArray,

    /// Bits of a weight that one cell holds.
    #[arg(long, value_name = "BITS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub cell_bits: u32,

    /// How the weights are laid out on the arrays.
    #[arg(long, value_parser = choice::<Method>(), default_value_t)]
    pub method: Method,

    /// Bits of the analogue-to-digital converters, the sign among them, with commas between them; 0 for exact ones.
    #[arg(
        long,
        value_name = "BITS",
        value_delimiter = ',',
        default_value = "0",
        value_parser = adc_bits,
        allow_negative_numbers = true,
        help_heading = "Faults"
    )]
    pub adc_bits: Vec<u32>,

    /// Standard deviations of a cell's conductance, as a part of what was programmed, with commas between them.
    #[arg(
        long,
        value_name = "PART",
        value_delimiter = ',',
        default_value = "0",
        value_parser = zero_or_more,
        allow_negative_numbers = true,
        help_heading = "Faults"
    )]
    pub variation: Vec<f64>,

    /// Part of the cells that conduct nothing.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true, help_heading = "Faults")]
    pub stuck_off: f64,

    /// Part of the cells that conduct fully.
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = share, allow_negative_numbers = true, help_heading = "Faults")]
    pub stuck_on: f64,

    /// Bits of an input that one pulse carries [default: all].
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=16), help_heading = "Faults")]
    pub pulse_bits: Option<u32>,

    /// What cells take for a picture by these models, by their constant for a cell and by what the cells hold and what drives them: models as `map`
    /// takes them, of which isaac-32 and neurosim-22, -32, -45 and -65 say what a cell conducts.
    #[arg(
        long,
        value_name = "MODEL|FILE",
        value_delimiter = ',',
        help_heading = "Costs"
    )]
    pub cost: Vec<String>,

    /// Seed of variation and stuck cells.
    #[arg(long, default_value_t = 0, help_heading = "Faults")]
    pub seed: u64,

    /// Test pictures to draw, from each class its share; all where there are no more.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Data")]
    pub pictures: u32,

    /// Which.
    #[command(flatten)]
    pub data: TestPictureArgs,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,

    /// Draw accuracy against converter bits, or against variation where the bits are one number: a file whose name ends
    /// in .svg or .png.
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  How many bits the converters need:
    vwc-sdk evaluate runs/svhn_cnn8/original --array 256x512 --adc-bits 0,8,7,6,5,4 --plot adc.svg

  What cells that vary do to the pruned network:
    vwc-sdk evaluate runs/svhn_cnn8/rcp1 --array 256x512 --variation 0,0.1,0.2,0.4";

/// Why `evaluate` failed after its arguments were accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The network, the pictures or the array.
    #[error(transparent)]
    Run(#[from] Error),
    /// The picture could not be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// A cost model that is none.
    #[error(transparent)]
    Cost(#[from] CostError),
    /// The result could not be written.
    #[error("could not write the result: {0}")]
    Output(#[from] std::io::Error),
}

/// Evaluates the network with every setting and prints the results.
///
/// # Errors
///
/// An [`EvaluateError`] that says what cannot be read or run.
pub fn run(args: &EvaluateArgs) -> Result<(), EvaluateError> {
    let models = models(&args.cost)?;
    let run = AsRun::of(&args.run, args.file, &args.data.source)?;
    with_network!(NetworkKind::of_run(run.path())?, C => run_network::<C>(args, run.path(), &models))
}

fn run_network<C: JobNetwork>(
    args: &EvaluateArgs,
    run: &Path,
    models: &[CostModel],
) -> Result<(), EvaluateError> {
    let device = DeviceName::default().init()?;
    if args.accept_changes {
        crate::cli::accept_changes(&RunDir::new(run))?;
    }
    let (network, run) = RunDir::new(run).load::<C>(&device)?;
    let wanted = args.pictures as usize;
    let test = args.data.draw(C::DATA, &run, wanted)?;
    let (described, pictures) = (test.describe(args.data.draw_seed), test.drawn);
    let config = MappingConfig::new(args.array.with_cell_bits(args.cell_bits));
    let settings: Vec<(u32, f64)> = args
        .adc_bits
        .iter()
        .flat_map(|&bits| args.variation.iter().map(move |&variation| (bits, variation)))
        .collect();

    let graph = network.graph()?;
    let own = evaluate(&network, &pictures, &device)?;
    let mut rows = vec![Row {
        adc_bits: None,
        variation: None,
        accuracy: own.accuracy(),
        interval: own.interval(),
        evaluation: own,
        clipped: 0.0,
        cell_energy: Vec::new(),
    }];
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} arrays, {eta} left")
        .expect("a template that is right once is right always");
    let bar = ProgressBar::new(settings.len() as u64).with_style(style);
    bar.set_message(format!("{} pictures", pictures.len()));
    for (adc_bits, variation) in settings {
        let faults = Device {
            pulse_bits: args.pulse_bits.unwrap_or(u32::MAX),
            adc_bits,
            variation,
            stuck_off: args.stuck_off,
            stuck_on: args.stuck_on,
            seed: args.seed,
            ..Device::ideal(1)
        };
        let mut simulated = SimulatedNetwork::new(&graph, &device, args.method, &config, &faults)?;
        if rows.len() == 1 {
            say_beside(&graph, &simulated);
        }
        let evaluation = evaluate_with(&pictures, run.structure.input(), &device, |images| {
            simulated.forward(images)
        })?;
        rows.push(Row {
            adc_bits: Some(adc_bits),
            variation: Some(variation),
            accuracy: evaluation.accuracy(),
            interval: evaluation.interval(),
            evaluation,
            clipped: simulated.clipped(),
            cell_energy: CellEnergy::of(&simulated, pictures.len(), models),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    say!(
        "{} {}, {described}; {} on {}",
        run.structure.name(),
        run.structure.precision(),
        args.method,
        args.array
    );
    let text = match args.format {
        Format::Json => serde_json::to_string_pretty(&rows).expect("no number is infinite") + "\n",
        Format::Csv => {
            let costs: Vec<String> = cells::heads(models).collect();
            let heads: Vec<&str> = HEADER
                .into_iter()
                .chain(costs.iter().map(String::as_str))
                .collect();
            let row = |row| {
                let mut columns = rows::cells(row);
                columns.extend(cells::columns(&row.cell_energy, models.len()));
                columns
            };
            csv_text(&heads, rows.iter().map(row))
        }
        Format::Table | Format::Markdown | Format::Latex => {
            let look = args.format.look();
            let table = styled_table(&HEADER, rows.iter().map(rows::cells), None, look) + "\n";
            match models {
                [] => table,
                _ => format!("{table}\n{}\n", cells::table(&rows, look)),
            }
        }
    };
    // The table first: it took longer, and a picture that cannot be drawn must not cost it.
    crate::cli::print(&text)?;
    if let Some(path) = &args.plot {
        curve::plot(args, path, &rows)?;
    }
    Ok(())
}

/// Says which convolutions are computed without faults, as arrays do not take what they read: values below zero, or no codes.
fn say_beside(graph: &Graph, simulated: &SimulatedNetwork) {
    let on: HashSet<&str> = simulated.on_arrays().collect();
    let convolutions = graph
        .nodes()
        .iter()
        .filter(|node| matches!(node.op(), Op::Conv(_)));
    let beside: Vec<&str> = convolutions
        .map(Node::name)
        .filter(|name| !on.contains(name))
        .collect();
    if !beside.is_empty() {
        say!(
            "{} convolutions are on arrays; computed exactly beside them, as they read values below zero or no codes: {}",
            on.len(),
            beside.join(", ")
        );
    }
}
