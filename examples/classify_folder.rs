//! Classifies the pictures of a folder with a packed network. No Burn, no threads: this is all that a program needs that
//! brings a trained network along.
//!
//! ```text
//! vwc-sdk export runs/svhn_cnn8/original digits.vwcp
//! cargo run --release --no-default-features --features packed --example classify_folder -- digits.vwcp pictures/
//! ```

use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use vwc_sdk::packed::{Model, Session, probabilities};

fn main() -> ExitCode {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [model, folder] = &args[..] else {
        eprintln!("usage: classify_folder MODEL FOLDER");
        return ExitCode::from(2);
    };
    match classify(model, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn classify(model: &Path, folder: &Path) -> Result<(), Box<dyn Error>> {
    let model = Model::open(model).map_err(|error| format!("{}: {error}", model.display()))?;
    let mut session = Session::new(&model);
    for path in pictures(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let picture = model.read_picture(&path)?;
        let shares = probabilities(session.logits(&picture));
        let best = (0..shares.len())
            .max_by(|&a, &b| shares[a].total_cmp(&shares[b]))
            .expect("a network has classes");
        let (class, share) = (&model.classes()[best], shares[best]);
        match writeln!(io::stdout(), "{}\t{class}\t{share:.3}", path.display()) {
            // Whoever reads has seen enough, as `head` has.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

/// The png and jpg files of a folder, sorted.
fn pictures(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let ending = path
            .extension()
            .and_then(|ending| ending.to_str())
            .unwrap_or_default();
        if ["png", "jpg", "jpeg"].contains(&ending.to_ascii_lowercase().as_str()) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
