//! Networks by name or from a file: ONNX, JSON or CSV, with a node or line to point at where something is wrong.

use std::{fs::File, io::Read, path::Path, path::PathBuf, str::FromStr};

use serde::Deserialize;
use thiserror::Error;

use super::options::InputArgs;
use crate::mapping::{Accounting, ConvLayer, MappingError, Network, Padding, Tie, presets};

/// The largest layer list that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The most layers a list may have.
const MAX_LAYERS: usize = 10_000;

/// Why a network could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no such preset.
    #[error("{0} (or give a file whose name ends in .onnx, .json or .csv)")]
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
    /// The file holds no layer list.
    #[error("{path}: {what}")]
    List {
        /// The file.
        path: String,
        /// What is wrong, and in which line or layer.
        what: String,
    },
}

/// A network as a command takes it: the name of a preset, or a file, which is read when the command runs.
#[derive(Debug, Clone)]
pub enum NetworkArg {
    /// A preset.
    Preset(Network),
    /// An ONNX file, whose name ends in `.onnx`, or a layer list, whose name ends in `.json` or `.csv`.
    File(PathBuf),
}

impl FromStr for NetworkArg {
    type Err = NetworkError;

    /// A name without such an ending has to be a preset's.
    fn from_str(name: &str) -> Result<Self, NetworkError> {
        if matches!(&*ending(Path::new(name)), "onnx" | "json" | "csv") {
            return Ok(Self::File(name.into()));
        }
        presets::network(name)
            .map(Self::Preset)
            .map_err(NetworkError::Preset)
    }
}

impl NetworkArg {
    /// The network, read from its file if there is one. What of it is not mapped is said on standard error.
    ///
    /// # Errors
    ///
    /// A [`NetworkError`] that names the file and the node, line or layer.
    pub fn load(&self, input: InputArgs) -> Result<Network, NetworkError> {
        if let Self::File(path) = self
            && ending(path) == "onnx"
        {
            return from_onnx(path, input);
        }
        if input.input_size.is_some() {
            return Err(NetworkError::InputSize {
                network: match self {
                    Self::Preset(network) => network.name.clone(),
                    Self::File(path) => path.display().to_string(),
                },
            });
        }
        let path = match self {
            Self::Preset(network) => return Ok(network.clone()),
            Self::File(path) => path,
        };
        let text = read(path)?;
        let network = match &*ending(path) {
            "json" => from_json(&stem(path), &text),
            _ => from_csv(&stem(path), &text),
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

/// The whole file, if it is not too long.
fn read(path: &Path) -> Result<String, NetworkError> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    match read {
        Err(error) => Err(NetworkError::Read {
            path: path.display().to_string(),
            error,
        }),
        Ok(_) if text.len() as u64 > MAX_BYTES => Err(list(
            path,
            format!("it is longer than the {MAX_BYTES} bytes that a layer list may have"),
        )),
        Ok(_) => Ok(text),
    }
}

#[cfg(not(feature = "onnx"))]
fn from_onnx(path: &Path, _: InputArgs) -> Result<Network, NetworkError> {
    Err(NetworkError::WithoutOnnx {
        path: path.display().to_string(),
    })
}

#[cfg(feature = "onnx")]
fn from_onnx(path: &Path, input: InputArgs) -> Result<Network, NetworkError> {
    use crate::onnx::{OnnxError, import};

    let import = File::open(path)
        .map_err(OnnxError::Read)
        .and_then(|file| import(&stem(path), file, input.input_size))
        .map_err(|error| NetworkError::Onnx {
            path: path.display().to_string(),
            error,
        })?;
    if import.network.layers.len() > MAX_LAYERS {
        return Err(list(path, format!("it has more than {MAX_LAYERS} convolutions")));
    }
    if !import.left_out.is_empty() {
        let nodes = import.left_out.iter();
        let nodes: Vec<_> = nodes
            .map(|(name, operator)| format!("{name} ({operator})"))
            .collect();
        eprintln!("not mapped: {}", nodes.join(", "));
    }
    Ok(import.network)
}

/// A layer as a file gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    input: Pair,
    kernel: Pair,
    #[serde(default = "one")]
    stride: Pair,
    #[serde(default)]
    padding: Padding,
    #[serde(default = "one")]
    dilation: Pair,
    #[serde(default = "one_group")]
    groups: usize,
    in_channels: usize,
    out_channels: usize,
    #[serde(default)]
    tie: Option<Tie>,
}

/// One number for both axes, or height and width.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number from 0 up, or [height, width] of two"
)]
enum Pair {
    Both(usize),
    Each([usize; 2]),
}

impl From<Pair> for [usize; 2] {
    fn from(pair: Pair) -> Self {
        match pair {
            Pair::Both(both) => [both; 2],
            Pair::Each(each) => each,
        }
    }
}

fn one() -> Pair {
    Pair::Both(1)
}

fn one_group() -> usize {
    1
}

impl From<Entry> for ConvLayer {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name,
            input: entry.input.into(),
            kernel: entry.kernel.into(),
            stride: entry.stride.into(),
            padding: entry.padding,
            dilation: entry.dilation.into(),
            groups: entry.groups,
            in_channels: entry.in_channels,
            out_channels: entry.out_channels,
        }
    }
}

/// The JSON form: a list of layers, or an object with a name and a list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: Option<String>,
    /// Whether each layer takes what the one before it produces and nothing else, so that widths may change.
    #[serde(default)]
    chain: bool,
    layers: Vec<Entry>,
}

fn from_json(stem: &str, text: &str) -> Result<Network, String> {
    // Read as what it begins like, so that a mistake is reported where it is and not as neither form.
    let document = if text.trim_start().starts_with('[') {
        serde_json::from_str(text).map(|layers| Document {
            name: None,
            chain: false,
            layers,
        })
    } else {
        serde_json::from_str(text)
    };
    let document = document.map_err(|error| error.to_string())?;
    let name = document.name.unwrap_or_else(|| stem.to_owned());
    checked(name, document.chain, document.layers.into_iter().map(Ok))
}

/// The columns of the CSV form; the first five must be there.
const COLUMNS: [&str; 9] = [
    "name",
    "input",
    "kernel",
    "in_channels",
    "out_channels",
    "stride",
    "padding",
    "dilation",
    "groups",
];

fn from_csv(stem: &str, text: &str) -> Result<Network, String> {
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .comment(Some(b'#'))
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    if let Some(unknown) = header.iter().find(|column| !COLUMNS.contains(column)) {
        return Err(format!(
            "line 1: there is no column `{unknown}`; use {}",
            COLUMNS.join(", ")
        ));
    }
    if let Some(missing) = COLUMNS[..5]
        .iter()
        .find(|&&column| !header.iter().any(|c| c == column))
    {
        return Err(format!("line 1: the column `{missing}` is missing"));
    }
    let entries = reader.records().map(|record| {
        let record = record.map_err(|error| error.to_string())?;
        let line = record.position().map_or(0, csv::Position::line);
        entry(&header, &record).map_err(|what| format!("line {line}: {what}"))
    });
    checked(stem.to_owned(), false, entries)
}

fn entry(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Entry, String> {
    let field = |column: &str| {
        let index = header.iter().position(|name| name == column)?;
        record.get(index).filter(|text| !text.is_empty())
    };
    let number = |column: &str, text: &str| {
        text.trim()
            .parse::<usize>()
            .map_err(|_| format!("{column} `{text}` is not a whole number"))
    };
    let numbers = |column: &str, text: &str| {
        text.split('x')
            .map(|part| number(column, part))
            .collect::<Result<Vec<_>, _>>()
    };
    let required = |column: &str| field(column).ok_or_else(|| format!("{column} is empty"));
    let pair = |column: &str, text: &str| match numbers(column, text)?[..] {
        [both] => Ok(Pair::Both(both)),
        [height, width] => Ok(Pair::Each([height, width])),
        _ => Err(format!("{column} `{text}` must be one number, or height x width")),
    };
    let optional = |column: &str| field(column).map_or(Ok(one()), |text| pair(column, text));
    let padding = field("padding").map_or(
        Ok(Padding::default()),
        |text| match numbers("padding", text)?[..] {
            [all] => Ok(all.into()),
            [vertical, horizontal] => Ok([vertical, horizontal].into()),
            [top, bottom, left, right] => Ok([top, bottom, left, right].into()),
            _ => Err(format!(
                "padding `{text}` must be one number, vertical x horizontal, or top x bottom x left x right"
            )),
        },
    );
    Ok(Entry {
        name: required("name")?.to_owned(),
        input: pair("input", required("input")?)?,
        kernel: pair("kernel", required("kernel")?)?,
        stride: optional("stride")?,
        padding: padding?,
        dilation: optional("dilation")?,
        groups: field("groups").map_or(Ok(1), |text| number("groups", text))?,
        in_channels: number("in_channels", required("in_channels")?)?,
        out_channels: number("out_channels", required("out_channels")?)?,
        tie: None,
    })
}

/// The network, if there are layers, not too many, and each can be mapped as it runs.
fn checked(
    name: String,
    chain: bool,
    entries: impl Iterator<Item = Result<Entry, String>>,
) -> Result<Network, String> {
    let mut layers: Vec<ConvLayer> = Vec::new();
    let mut ties = Vec::new();
    for entry in entries {
        let entry = entry?;
        if layers.len() == MAX_LAYERS {
            return Err(format!("it lists more than {MAX_LAYERS} layers"));
        }
        ties.push(entry.tie);
        let layer = ConvLayer::from(entry);
        layer
            .validate(Accounting::ExactGeometry)
            .map_err(|error| error.to_string())?;
        layers.push(layer);
    }
    if layers.is_empty() {
        return Err("it lists no layers".to_owned());
    }
    Ok(match ties.into_iter().collect::<Option<Vec<Tie>>>() {
        Some(ties) => Network::tied(name, layers, ties),
        None if chain => Network::chain(name, layers),
        None => Network::fixed(name, layers),
    })
}
