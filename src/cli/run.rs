//! `vwc-sdk run`: the classes of pictures, by a packed network.

use std::io;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Map, json};

use crate::packed::{Model, PackedError, Session, probabilities};
use crate::report::table;
use crate::text;

/// Classify pictures with a packed network.
///
/// Prints the likeliest class of each picture and its probability, and the next likeliest behind. Pictures are resized
/// to what the network reads.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// A packed network: what `vwc-sdk export` writes.
    #[arg(value_name = "MODEL")]
    pub model: PathBuf,

    /// Pictures: png, jpg, webp, bmp, ppm or pgm, turned upright as their EXIF orientation says.
    #[arg(value_name = "PICTURE", required = true)]
    pub pictures: Vec<PathBuf>,

    /// What to print; JSON has the probabilities of all classes.
    #[arg(long, value_enum, default_value_t)]
    pub format: RunFormat,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk export runs/svhn_cnn8/rcp1 digits.vwcp
  vwc-sdk run digits.vwcp house.jpg
  vwc-sdk run digits.vwcp *.png --format json";

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum RunFormat {
    /// A table for a terminal.
    #[default]
    Table,
    /// A list of objects.
    Json,
}

/// Why `run` failed after its arguments were accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The network's file.
    #[error("{}: {source}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: PackedError,
    },
    /// A picture, or the file itself.
    #[error(transparent)]
    Packed(#[from] PackedError),
    /// The result could not be written.
    #[error("could not write the result: {0}")]
    Output(#[from] io::Error),
}

/// Classifies the pictures and prints the results.
///
/// # Errors
///
/// A [`RunError`] that names the file which cannot be used.
pub fn run(args: &RunArgs) -> Result<(), RunError> {
    let model = Model::open(&args.model).map_err(|error| match error {
        PackedError::Io { .. } => RunError::Packed(error),
        source => RunError::Model {
            path: args.model.clone(),
            source,
        },
    })?;
    let mut session = Session::new(&model);
    let classes = model.classes();
    let mut results = Vec::with_capacity(args.pictures.len());
    for path in &args.pictures {
        let picture = model.read_picture(path)?;
        let shares = probabilities(session.logits(&picture));
        if shares.iter().any(|share| !share.is_finite()) {
            return Err(RunError::Model {
                path: args.model.clone(),
                source: PackedError::File(format!(
                    "it computes no numbers for {}: its weights are out of range, export the network again",
                    path.display()
                )),
            });
        }
        let mut order: Vec<usize> = (0..classes.len()).collect();
        order.sort_by(|&a, &b| shares[b].total_cmp(&shares[a]));
        results.push((path.display().to_string(), shares, order));
    }
    say!("{} {}, {}", model.network(), model.precision(), session.machine());
    let text = match args.format {
        RunFormat::Table => {
            let rows = results.iter().map(|(path, shares, order)| {
                let behind = order.iter().skip(1).take(2);
                let behind: Vec<String> = behind
                    .map(|&class| format!("{} {:.1}", classes[class], 100.0 * shares[class]))
                    .collect();
                vec![
                    path.clone(),
                    classes[order[0]].clone(),
                    format!("{:.1}", 100.0 * shares[order[0]]),
                    behind.join(", "),
                ]
            });
            table(&["picture", "class", "%", "behind it, %"], rows, None) + "\n"
        }
        RunFormat::Json => {
            let results: Vec<_> = (results.iter())
                .map(|(path, shares, order)| {
                    let shares: Map<_, _> = (classes.iter().zip(shares))
                        .map(|(class, &share)| (class.clone(), json!(share)))
                        .collect();
                    json!({ "picture": path, "class": classes[order[0]], "probabilities": shares })
                })
                .collect();
            text::json(&results) + "\n"
        }
    };
    super::print(&text)?;
    Ok(())
}
