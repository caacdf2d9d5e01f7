//! An ONNX file where a command takes the folder of a trained network.

use std::path::{Path, PathBuf};

use clap::Args;
use tempfile::TempDir;

use super::{Opened, is_onnx};
use crate::cli::options::input_size;
use crate::cli::pictures::SourceArgs;
use crate::data::{Normalization, PictureSpec};
use crate::models::NetworkConfig as _;
use crate::train::{ORIGINAL, RunDir};
use crate::{DeviceName, Error};

/// The run of a network that a command takes: a folder, or an ONNX file, which becomes one for as long as the result lives.
pub struct AsRun {
    folder: Option<TempDir>,
    path: PathBuf,
}

impl AsRun {
    /// The folder `path`; or the network in the file `path`, which reads pictures as `pictures` and `normalization` say.
    ///
    /// # Errors
    ///
    /// A file that is no network, pictures of another number of classes, and a `normalization` for a folder.
    pub fn of(path: &Path, file: FileArgs, pictures: &SourceArgs) -> Result<Self, Error> {
        if !is_onnx(path) {
            return match file {
                FileArgs {
                    normalization: None,
                    input_size: None,
                } => Ok(Self {
                    folder: None,
                    path: path.into(),
                }),
                _ => Err(Error::Recipe(format!(
                    "--normalization and --input-size are for ONNX files: leave them out, as the run in {} knows both",
                    path.display()
                ))),
            };
        }
        let opened = Opened::read(path, file.input_size)?;
        let size = opened.config.input();
        let mut spec = match pictures.test_spec(size)? {
            Some(spec) if spec.classes.len() == opened.config.classes() => spec,
            Some(spec) => return Err(opened.other_classes(spec.classes.len())),
            None => PictureSpec::numbered(size, opened.config.classes()),
        };
        // Pictures are matched by the names of the file's classes, where it has some.
        if let Some(input) = &opened.input {
            spec = input.clone();
        } else if file.normalization.is_none() {
            opened.say_normalization(spec.normalization);
        }
        if let Some(normalization) = file.normalization {
            spec.normalization = normalization;
        }
        let folder = tempfile::tempdir().map_err(Error::io(&std::env::temp_dir(), "make a folder in"))?;
        let run = folder.path().join(ORIGINAL);
        let network = opened.network(false, opened.config.classes(), 0, &DeviceName::default().init()?)?;
        RunDir::new(&run).import(&network, &spec, &format!("imported from {}", opened.source))?;
        Ok(Self {
            path: run,
            folder: Some(folder),
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        let _ = &self.folder;
        &self.path
    }
}

/// What the file of a network does not say.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct FileArgs {
    /// Of an ONNX file, what the bytes of the pictures became in training: half (-1 to 1), cifar10, imagenet, or three means and three
    /// deviations, R,G,B/R,G,B [default: as the data set has it]
    #[arg(long, value_name = "NORMALIZATION", help_heading = "Network")]
    pub normalization: Option<Normalization>,

    /// Height and width of its pictures, where an ONNX file leaves them open
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = input_size, help_heading = "Network")]
    pub input_size: Option<[usize; 2]>,
}
