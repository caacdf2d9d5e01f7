//! `vwc-sdk graph`: what a network computes, as text, as a picture, as a layer list, or as an ONNX file of floats.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::kind::{RunGraph, graph_of_run};
use super::opened::{is_onnx, read_onnx};
use super::options::{input_size, onnx_path, plot_path};
use super::print;
use crate::data::PictureSpec;
use crate::formats::layer_list;
use crate::graph::{OnnxExport, presets};
use crate::models::NetworkConfig;
use crate::report::plot;
use crate::train::RunDir;
use crate::{Error, files, pytorch};

/// Show what a network computes: every operation from its input to its output, with shapes, and which values are
/// codes of few bits.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GraphArgs {
    /// Folder of a trained network, as runs/cifar10_resnet20/original; an ONNX file; or the name of a published network, as resnet18
    #[arg(value_name = "RUN|FILE|NAME")]
    pub run: PathBuf,

    /// Height and width of its pictures, where an ONNX file leaves them open
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = input_size)]
    pub input_size: Option<[usize; 2]>,

    /// What to print
    #[arg(long, value_enum, default_value_t)]
    pub format: GraphFormat,

    /// Draw it from top to bottom, too: a file whose name ends in .svg or .png
    #[arg(long, value_name = "FILE", value_parser = plot_path)]
    pub plot: Option<PathBuf>,

    /// Write it as ONNX in floats, too, each operation as it is here: a file whose name ends in .onnx. Full precision or
    /// quantised, for any runtime, viewer or compiler. `export` writes quantised networks of few bits in integers
    #[arg(long, value_name = "FILE", value_parser = onnx_path)]
    pub onnx: Option<PathBuf>,

    /// Take the files of the run as they are, though they have changed since it wrote them: after an edit by hand
    #[arg(long)]
    pub accept_changes: bool,
}

/// What `graph` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// A line for each operation
    #[default]
    Text,
    /// Its convolutions, and which widths may change and together, as a layer list in JSON that `map`, `front` and the
    /// other commands read
    Layers,
}

const EXAMPLES: &str = "\
A line names an operation, says what it computes, whose results it reads, and the shape of its own, without the batch.
`W2` are weights of 2 bits. `u2: 0 to 3` are values that were clamped and rounded to 2 bits without a sign, `s4` with one.

Two ONNX files can be made of a network. `graph --onnx` writes 32-bit floats: normalised pictures go in, weights are the
quantised values, and activations are clamped and rounded, so codes may differ where a sum lies on the edge between two. It
takes every network, and tools for floats read it. `export RUN FILE.onnx` writes integers: bytes go in, and the codes are those
of packed inference, or fails: it takes networks of fused layers of 1 to 4 bits alone, as CNN-8, ResNet-20 and VGG-13 are.

Examples:
  vwc-sdk graph runs/cifar10_resnet20/rcp1
  vwc-sdk graph runs/cifar10_resnet20/rcp1 --plot rcp1.svg
  vwc-sdk graph runs/cifar10_resnet20/rcp1 --onnx rcp1.onnx
  vwc-sdk graph runs/cifar10_resnet20/rcp1 --format layers > rcp1.json
  vwc-sdk front runs/cifar10_resnet20/rcp1 --array 256x256";

/// Runs `vwc-sdk graph`.
///
/// # Errors
///
/// A folder without a network, and a picture or an ONNX file that cannot be written.
pub fn run(args: &GraphArgs) -> Result<(), Error> {
    let RunGraph {
        graph,
        name,
        precision,
        input,
    } = source(args)?;
    if let Some(path) = &args.plot {
        plot::graph(path, &format!("{name} {precision}"), &graph)?;
        say!("the picture is in {}", path.display());
    }
    if let Some(path) = &args.onnx {
        let Some(input) = input else {
            return Err(Error::Recipe(format!(
                "--onnx: {} is no trained network: give the folder of one",
                args.run.display()
            )));
        };
        let export = onnx_called(&name, &precision, &input);
        let bytes = graph.to_onnx(&export)?;
        files::write(path, &bytes).map_err(Error::io(path, "write"))?;
        say!("{name} {precision} in {}: ONNX in floats", path.display());
    }
    let text = match args.format {
        GraphFormat::Text => graph.to_string(),
        GraphFormat::Layers => layer_list(&graph.mapped(name)),
    };
    print(&text).map_err(Error::io("standard output", "write"))
}

/// The graph of a run, of a file, or of a published network, whose weights have no numbers.
fn source(args: &GraphArgs) -> Result<RunGraph, Error> {
    let precision = String::from("as it is described");
    if is_onnx(&args.run) {
        let (name, graph, _) = read_onnx(&args.run, args.input_size)?;
        return Ok(RunGraph {
            graph,
            name,
            precision,
            input: None,
        });
    }
    if args.input_size.is_some() {
        return Err(Error::Recipe(
            "--input-size is for ONNX files: leave it out".into(),
        ));
    }
    let name = args.run.to_string_lossy();
    if !args.run.is_dir() && !name.contains(std::path::MAIN_SEPARATOR) {
        let sketch = presets::sketch(&name).map_err(|error| {
            Error::Recipe(format!(
                "{error} (or give the folder of a trained network, or a file whose name ends in .onnx)"
            ))
        })?;
        let graph = sketch.graph().clone();
        return Ok(RunGraph {
            graph,
            name: name.into_owned(),
            precision,
            input: None,
        });
    }
    if args.accept_changes {
        super::accept_changes(&RunDir::new(&args.run))?;
    }
    graph_of_run(&args.run)
}

/// What the ONNX file of a trained network says beside the graph.
pub(super) fn onnx_of<C: NetworkConfig>(network: &C, input: &PictureSpec) -> OnnxExport {
    onnx_called(&network.name(), &network.precision(), input)
}

fn onnx_called(name: &str, precision: &str, input: &PictureSpec) -> OnnxExport {
    OnnxExport::new(name)
        .with_inputs(["input"])
        .with_outputs(["logits"])
        .with_metadata("precision", precision)
        .with_metadata(pytorch::INPUT, serde_json::to_string(input).expect("plain data"))
}
