//! `vwc-sdk export`: a trained network as one file, for this crate's packed inference, PyTorch or ONNX Runtime.

mod format;
mod notes;

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum as _};

pub use format::ExportFormat;

use crate::cli::choice::choice;
use crate::cli::graph::onnx_of;
use crate::cli::kind::{NetworkKind, with_network};
use crate::cli::networks::JobNetwork;
use crate::cli::opened::{AsRun, FileArgs};
use crate::cli::pictures::TestPictureArgs;
use crate::data::check_names;
use crate::models::{Network, NetworkConfig as _};
use crate::packed::{Model, PackedError, compare, freeze};
use crate::pytorch::{TorchNames as _, Weights, save_safetensors};
use crate::train::{Evaluation, RunConfig, RunDir};
use crate::{DeviceName, Error, files};

/// Write a trained network as one file: packed bits, ONNX, or safetensors that a PyTorch module of the same structure
/// loads.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXPORT, mut_arg("draw_seed", |arg| arg.requires("check")), mut_group("SourceArgs", |group| group.requires("check")))]
pub struct ExportArgs {
    /// Folder of a trained network, as runs/cifar10_resnet20/original; or an ONNX file of a quantised one
    #[arg(value_name = "RUN|FILE")]
    pub run: PathBuf,

    /// The file to write; unless --format says what, its name ends in .vwcp, .onnx or .safetensors (PyTorch's weights)
    pub file: PathBuf,

    /// What a file does not say.
    #[command(flatten)]
    pub network: FileArgs,

    /// Take the files of the run as they are, though they have changed since it wrote them: after an edit by hand
    #[arg(long)]
    pub accept_changes: bool,

    /// What to write [default: by the name of the file]
    #[arg(long, value_enum)]
    pub format: Option<ExportFormat>,

    /// Which weights PyTorch is given [default: latent]
    #[arg(long, value_parser = choice::<Weights>())]
    pub weights: Option<Weights>,

    /// Names of the classes, in their order, with commas between them [default: those that the network was trained on,
    /// numbers where they had no names]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub classes: Vec<String>,

    /// Before a packed network is written, compare its classes with the trained network's on so many test pictures, drawn
    /// from each class by its share; on all that there are, if there are fewer
    #[arg(long, value_name = "PICTURES", value_parser = clap::value_parser!(u32).range(1..))]
    pub check: Option<u32>,

    /// Pictures for --check.
    #[command(flatten)]
    pub data: TestPictureArgs,
}

const EXPORT: &str = "\
Examples:
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.vwcp
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.vwcp --check 10000
  vwc-sdk run rcp1.vwcp frog.jpg
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.onnx
  vwc-sdk export runs/resnet18/original w8a8.onnx --format qdq
  vwc-sdk export runs/svhn_cnn8/original cnn8.onnx --format qonnx
  vwc-sdk export runs/cifar10_resnet20/rcp1 rcp1.safetensors
  python3 -c 'from safetensors.torch import load_file; model.load_state_dict(load_file(\"rcp1.safetensors\"))'";

/// Why `export` failed after its arguments were accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The trained network.
    #[error(transparent)]
    Run(#[from] Error),
    /// Packing it, or writing the file.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// A name that does not say what to write.
    #[error("{}: expected a name that ends in .vwcp, .onnx or .safetensors, or --format", .0.display())]
    Name(PathBuf),
    /// A name of another format than the one that is written.
    #[error("{}: its name ends as another format does, and it would be written as {written}: choose another name", file.display())]
    Ending {
        /// The file.
        file: PathBuf,
        /// Its format.
        written: String,
    },
    /// A flag for another format than the one that is written.
    #[error("{flag} is for --format {fits}, and {} is written as {written}: leave it out", file.display())]
    Format {
        /// The flag.
        flag: &'static str,
        /// The formats it is for.
        fits: &'static str,
        /// The file.
        file: PathBuf,
        /// Its format.
        written: String,
    },
    /// What is exported itself, or a file of it.
    #[error("{}: it is what is exported, or a file of that run: choose another name", .0.display())]
    OwnFile(PathBuf),
    /// A class that cannot be called so.
    #[error("--classes: {0}")]
    Class(String),
    /// `--check` found another class than the trained network's.
    #[error(
        "the packed network gives {different} of {total} test pictures another class than the trained one; the first is \
         number {first}: {packed}, expected {trained}. Nothing was written"
    )]
    Different {
        /// So many pictures.
        different: usize,
        /// Of so many.
        total: usize,
        /// The first of them, from 0.
        first: usize,
        /// Its class, from 0, by the packed network.
        packed: usize,
        /// By the trained network.
        trained: usize,
    },
}

/// Runs `vwc-sdk export`.
///
/// # Errors
///
/// A folder without a network, one that cannot be packed, and a file that cannot be written.
pub fn run(args: &ExportArgs) -> Result<(), ExportError> {
    let format = match args.format {
        Some(format) => format,
        None => ExportFormat::by_name(&args.file).ok_or_else(|| ExportError::Name(args.file.clone()))?,
    };
    let written = format.to_possible_value().expect("none is hidden");
    let (written, file) = (written.get_name().to_owned(), args.file.clone());
    if !format.fits(&file) {
        return Err(ExportError::Ending { file, written });
    }
    let pytorch = format == ExportFormat::Pytorch;
    let rounds = format.rounds();
    let foreign = [
        ("--check", !pytorch && rounds.is_none(), args.check.is_some()),
        ("--weights", pytorch, args.weights.is_some()),
    ];
    if let Some((flag, ..)) = foreign.into_iter().find(|&(_, fits, given)| given && !fits) {
        let fits = if flag == "--check" {
            "packed, onnx or integers"
        } else {
            "pytorch"
        };
        return Err(ExportError::Format {
            flag,
            fits,
            file,
            written,
        });
    }
    check_names(&args.classes).map_err(ExportError::Class)?;
    if is_of_run(&args.run, &args.file) {
        return Err(ExportError::OwnFile(args.file.clone()));
    }
    if args.accept_changes {
        crate::cli::accept_changes(&RunDir::new(&args.run))?;
    }
    let run = AsRun::of(&args.run, args.network, &args.data.source)?;
    with_network!(NetworkKind::of_run(run.path())?, C => {
        let (network, run) = RunDir::new(run.path()).load::<C>(&DeviceName::default().init()?)?;
        let mut input = run.input.clone();
        if !args.classes.is_empty() {
            input.classes.clone_from(&args.classes);
            let fits = input.validate(run.structure.input(), run.structure.classes());
            fits.map_err(ExportError::Class)?;
            crate::cli::said("--classes", Some(args.classes.join(",")), Some(run.input.classes.join(",")), String::new());
        }
        if pytorch {
            let weights = args.weights.unwrap_or(Weights::Latent);
            save_safetensors(&network, &input, &args.file, weights)?;
            say!(
                "{} {} in {}: {} tensors of floats under PyTorch's names",
                run.structure.name(),
                run.structure.precision(),
                args.file.display(),
                network.torch_names().len()
            );
            C::strange_to_pytorch(&network).iter().for_each(|line| say!("{line}"));
            return Ok(());
        }
        if let Some(rounds) = rounds {
            let graph = network.graph()?;
            let export = rounds(onnx_of(&run.structure, &input));
            let refuse = |error| Error::Recipe(format!("{}: {error}", args.run.display()));
            let bytes = graph.to_onnx(&export).map_err(refuse)?;
            if format == ExportFormat::Qonnx {
                notes::odd_codes(&graph);
            }
            files::write(&args.file, &bytes).map_err(PackedError::io(&args.file, "write"))?;
            say!("{} {} in {}", run.structure.name(), run.structure.precision(), args.file.display());
            return Ok(());
        }
        let model = freeze(&network, &input)?;
        notes::floats_of_codes(&network.graph()?, &model);
        if let Some(wanted) = args.check {
            check::<C>(args, wanted as usize, &network, &run, &model)?;
        }
        let bytes = match format {
            ExportFormat::Packed => model.to_bytes(),
            ExportFormat::Onnx => model.to_onnx()?,
            _ => model.to_safetensors(),
        };
        files::write(&args.file, &bytes).map_err(PackedError::io(&args.file, "write"))?;
        let (kib, f32s) = (bytes.len() as f64 / 1024.0, model.float_size() as f64 / 1024.0);
        say!(
            "{} {} in {}: {kib:.1} KiB; its weights as floats take {f32s:.1}",
            run.structure.name(),
            model.precision(),
            args.file.display()
        );
        Ok(())
    })
}

/// Whether `file` is what is exported, or one of those that make up the run in `run`: an export must not replace it.
fn is_of_run(run: &Path, file: &Path) -> bool {
    if let (Ok(run), Ok(file)) = (std::fs::canonicalize(run), std::fs::canonicalize(file))
        && run == file
    {
        return true;
    }
    let folder = files::folder_of(file);
    let same = std::fs::canonicalize(run)
        .and_then(|run| std::fs::canonicalize(folder).map(|folder| folder.starts_with(run)))
        .unwrap_or(false);
    let ending = file.extension().and_then(|ending| ending.to_str());
    same && matches!(ending, Some("bpk" | "json" | "csv"))
}

/// Compares the classes that the packed network gives to test pictures with those of the trained one.
fn check<C: JobNetwork>(
    args: &ExportArgs,
    wanted: usize,
    network: &C::Network,
    run: &RunConfig<C>,
    model: &Model,
) -> Result<(), ExportError> {
    let test = args.data.draw(C::DATA, run, wanted)?;
    let described = test.describe(args.data.draw_seed);
    let device = DeviceName::default().init()?;
    let compared = compare(network, model, &test.drawn, &run.input, &device)?;
    if let Some([first, packed, trained]) = compared.first {
        return Err(ExportError::Different {
            different: compared.different,
            total: compared.total,
            first,
            packed,
            trained,
        });
    }
    let evaluation = Evaluation {
        correct: compared.right,
        total: compared.total,
    };
    let [low, high] = evaluation.interval();
    say!(
        "the same class as the trained network on all of {described}; {:.2} % are right (95 % interval {low:.1} to {high:.1})",
        evaluation.accuracy()
    );
    Ok(())
}
