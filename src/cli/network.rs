//! Networks by name, from a file (ONNX, JSON or CSV), or from the folder of a trained network. An error in a file names the node or
//! the line.

#[cfg(feature = "onnx")]
use std::fs::File;
use std::{path::Path, path::PathBuf, str::FromStr};

use thiserror::Error;

use super::options::InputArgs;
use crate::files;
#[cfg(feature = "onnx")]
use crate::formats::layers::MAX_LAYERS;
use crate::formats::layers::{MAX_BYTES, csv_list, json_list};
use crate::graph::presets;
use crate::mapping::{MappingError, Network};

/// Why a network could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no such preset.
    #[error(
        "{0} (or give a file whose name ends in .onnx, .json or .csv, or the folder of a trained network)"
    )]
    Preset(MappingError),
    /// The file could not be read.
    #[error("could not read {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The ONNX file cannot be imported.
    #[cfg(feature = "onnx")]
    #[error("{path}: {error}")]
    Onnx {
        /// The file.
        path: String,
        /// Why.
        error: crate::onnx::OnnxError,
    },
    /// The free widths of the ONNX file cannot be told.
    #[cfg(feature = "onnx")]
    #[error(
        "{path}: its widths cannot be told: {reason}: give a layer list that says which are free, or map it as it is \
         (map --channels keep)"
    )]
    Widths {
        /// The file.
        path: String,
        /// Why, and of which node.
        reason: String,
    },
    /// This build cannot read ONNX.
    #[cfg(not(feature = "onnx"))]
    #[error("{path}: this vwc-sdk was built without ONNX: build it with `--features onnx`")]
    WithoutOnnx {
        /// The file.
        path: String,
    },
    /// An input size for a network that has its own.
    #[error("--input-size is for ONNX files: leave it out, as {network} states its own sizes")]
    InputSize {
        /// The network.
        network: String,
    },
    /// Linear layers of what lists its layers itself.
    #[error(
        "--linear is for ONNX files and trained networks: leave it out, as {network} lists its layers itself"
    )]
    Linear {
        /// The network.
        network: String,
    },
    /// The folder holds no trained network that can be used.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Run(crate::Error),
    /// This build cannot read trained networks.
    #[cfg(not(feature = "train"))]
    #[error(
        "{path}: this is a folder, and this vwc-sdk was built without training: build it with its default features"
    )]
    WithoutRuns {
        /// The folder.
        path: String,
    },
    /// The file holds no layer list.
    #[error("{path}: {what}")]
    List {
        /// The file.
        path: String,
        /// What is wrong, and in which line or layer.
        what: String,
    },
}

/// A network as a command takes it: the name of a preset, or a file or folder, which is read when the command runs.
#[derive(Debug, Clone)]
pub enum NetworkArg {
    /// A preset.
    Preset(Network),
    /// An ONNX file, whose name ends in `.onnx`, or a layer list, whose name ends in `.json` or `.csv`.
    File(PathBuf),
    /// The folder of a trained network.
    Run(PathBuf),
}

impl FromStr for NetworkArg {
    type Err = NetworkError;

    /// A name without such an ending has to be a preset's, or that of a folder.
    fn from_str(name: &str) -> Result<Self, NetworkError> {
        if matches!(&*ending(Path::new(name)), "onnx" | "json" | "csv") {
            return Ok(Self::File(name.into()));
        }
        match presets::network(name) {
            Err(_) if Path::new(name).is_dir() => Ok(Self::Run(name.into())),
            preset => preset.map(Self::Preset).map_err(NetworkError::Preset),
        }
    }
}

impl NetworkArg {
    /// The network, read from its file if there is one. What of it is not mapped is said on standard error.
    ///
    /// # Errors
    ///
    /// A [`NetworkError`] that names the file and the node, line or layer.
    pub fn load(&self, input: InputArgs) -> Result<Network, NetworkError> {
        self.load_for(input, false, false)
    }

    /// As [`NetworkArg::load`], with linear layers as convolutions of 1x1 where `linear`.
    ///
    /// # Errors
    ///
    /// As [`NetworkArg::load`], and [`NetworkError::Linear`] of a preset or a layer list.
    pub fn load_layers(&self, input: InputArgs, linear: bool) -> Result<Network, NetworkError> {
        self.load_for(input, false, linear)
    }

    /// As [`NetworkArg::load`], for a search of widths.
    ///
    /// # Errors
    ///
    /// As [`NetworkArg::load`], and a [`NetworkError`] that names the node of an ONNX file past which its free widths cannot be
    /// told.
    pub fn load_free(&self, input: InputArgs) -> Result<Network, NetworkError> {
        self.load_for(input, true, false)
    }

    /// As [`NetworkArg::load_free`], with linear layers as convolutions of 1x1 where `linear`.
    ///
    /// # Errors
    ///
    /// As [`NetworkArg::load_free`], and [`NetworkError::Linear`] of a preset or a layer list.
    pub fn load_free_layers(&self, input: InputArgs, linear: bool) -> Result<Network, NetworkError> {
        self.load_for(input, true, linear)
    }

    fn load_for(&self, input: InputArgs, search: bool, linear: bool) -> Result<Network, NetworkError> {
        if let Self::File(path) = self
            && ending(path) == "onnx"
        {
            return from_onnx(path, input, search, linear);
        }
        let called = || match self {
            Self::Preset(network) => network.name.clone(),
            Self::File(path) | Self::Run(path) => path.display().to_string(),
        };
        if input.input_size.is_some() {
            return Err(NetworkError::InputSize { network: called() });
        }
        if linear && !matches!(self, Self::Run(_)) {
            return Err(NetworkError::Linear { network: called() });
        }
        let path = match self {
            Self::Preset(network) => return Ok(network.clone()),
            Self::Run(path) => return from_run(path, linear),
            Self::File(path) => path,
        };
        let bytes = files::read_up_to(path, MAX_BYTES).map_err(|error| NetworkError::Read {
            path: path.display().to_string(),
            error,
        })?;
        let long = || format!("it is longer than the {MAX_BYTES} bytes that a layer list may have");
        let network = match (bytes.ok_or_else(long), &*ending(path)) {
            (Ok(bytes), "json") => json_list(&stem(path), &bytes),
            (Ok(bytes), _) => csv_list(&stem(path), &bytes),
            (Err(long), _) => Err(long),
        };
        network.map_err(|what| list(path, what))
    }
}

fn ending(path: &Path) -> String {
    let ending = path.extension().unwrap_or_default();
    ending.to_string_lossy().to_ascii_lowercase()
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn list(path: &Path, what: String) -> NetworkError {
    NetworkError::List {
        path: path.display().to_string(),
        what,
    }
}

#[cfg(not(feature = "train"))]
fn from_run(path: &Path, _: bool) -> Result<Network, NetworkError> {
    Err(NetworkError::WithoutRuns {
        path: path.display().to_string(),
    })
}

#[cfg(feature = "train")]
fn from_run(path: &Path, linear: bool) -> Result<Network, NetworkError> {
    use super::kind::graph_of_run;
    use crate::graph::Op;

    let run = graph_of_run(path).map_err(NetworkError::Run)?;
    let (graph, name, precision) = (run.graph, run.name, run.precision);
    if precision.starts_with('W') && !precision.starts_with("W1A") {
        say!(
            "{name} was trained as {precision}; its weights count as --weight-bits says, which is 1 by default"
        );
    }
    let left_out = graph.nodes().iter().filter_map(|node| {
        let what = match node.op() {
            Op::Linear(_) if !linear => "linear layer",
            Op::ConvTranspose(_) => "transposed convolution",
            _ => return None,
        };
        Some((node.name(), what))
    });
    say_left_out(left_out);
    if linear {
        return Ok(graph.mapped_with_linear(name));
    }
    Ok(graph.mapped(name))
}

#[cfg(not(feature = "onnx"))]
fn from_onnx(path: &Path, _: InputArgs, _: bool, _: bool) -> Result<Network, NetworkError> {
    Err(NetworkError::WithoutOnnx {
        path: path.display().to_string(),
    })
}

#[cfg(feature = "onnx")]
fn from_onnx(path: &Path, input: InputArgs, search: bool, linear: bool) -> Result<Network, NetworkError> {
    use crate::onnx::{OnnxError, import, import_with_linear};

    let import = if linear { import_with_linear } else { import };
    let import = File::open(path)
        .map_err(OnnxError::Read)
        .and_then(|file| import(&stem(path), file, input.input_size))
        .map_err(|error| NetworkError::Onnx {
            path: path.display().to_string(),
            error,
        })?;
    if import.network.layers.len() > MAX_LAYERS {
        return Err(list(path, format!("it has more than {MAX_LAYERS} layers")));
    }
    if let Some(reason) = import.widths_unknown.filter(|_| search) {
        return Err(NetworkError::Widths {
            path: path.display().to_string(),
            reason,
        });
    }
    say_left_out(
        import
            .left_out
            .iter()
            .map(|(name, operator)| (&**name, &**operator)),
    );
    Ok(import.network)
}

/// What of a network is not mapped, by name, and what it is.
#[cfg(any(feature = "onnx", feature = "train"))]
fn say_left_out<'a>(layers: impl Iterator<Item = (&'a str, &'a str)>) {
    let layers: Vec<String> = layers.map(|(name, what)| format!("{name} ({what})")).collect();
    if !layers.is_empty() {
        say!("not mapped: {}", layers.join(", "));
    }
}
