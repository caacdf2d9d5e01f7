//! Flags that several commands share.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::choice::choice;
use crate::mapping::{
    Accounting, MAX_DIMENSION, MappingConfig, MappingError, Network, PimArray, Search, WidthLimits,
};
use crate::report::Look;

const MAX_BITS: i64 = crate::mapping::MAX_BITS as i64;

/// What decides a mapping besides the network, the array's size and the method.
#[derive(Debug, Clone, Copy, Args)]
pub struct MappingArgs {
    /// Bits of a weight that one cell holds.
    #[arg(long, value_name = "BITS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=MAX_BITS))]
    pub cell_bits: u32,

    /// Bits of one weight; a weight wider than a cell takes several columns.
    #[arg(long, value_name = "BITS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=MAX_BITS))]
    pub weight_bits: u32,

    /// How a layer's outputs are counted: as the network runs, or as the published tables do.
    #[arg(long, value_parser = choice::<Accounting>(), default_value_t)]
    pub accounting: Accounting,

    /// How vw-sdk picks a window; the other methods have nothing to search.
    #[arg(long, value_parser = choice::<Search>(), default_value_t)]
    pub search: Search,
}

impl MappingArgs {
    /// The settings on `array`.
    #[must_use]
    pub fn config(&self, array: PimArray) -> MappingConfig {
        MappingConfig::new(array.with_cell_bits(self.cell_bits))
            .with_weight_bits(self.weight_bits)
            .with_accounting(self.accounting)
            .with_search(self.search)
    }
}

/// What a search of widths has to leave.
#[derive(Debug, Clone, Args)]
pub struct LimitArgs {
    /// Leave the widths that these layers read and make: names, or their beginnings up to a dot, with `*` for anything
    #[arg(long, value_name = "LAYER", value_delimiter = ',')]
    pub hold: Vec<String>,

    /// Keep so many channels of each width that has as many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub minimum: usize,

    /// Keep this part of each width, from 0 to 1
    #[arg(long, value_name = "PART", default_value_t = 0.0, value_parser = share)]
    pub minimum_share: f64,

    /// Narrow to multiples of so many channels
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    pub multiple: usize,
}

impl LimitArgs {
    /// As the library has them.
    pub fn limits(&self) -> WidthLimits {
        let limits = WidthLimits::default()
            .with_minimum(self.minimum)
            .with_share(self.minimum_share)
            .with_multiple(self.multiple);
        self.hold.iter().fold(limits, WidthLimits::with_hold)
    }
}

/// What a network's file leaves open.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct InputArgs {
    /// Height and width of the pictures that enter the network: for an ONNX file that leaves them open, and only
    /// for one.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = input_size)]
    pub input_size: Option<[usize; 2]>,
}

/// Another network than the one that is named.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct WhatIfArgs {
    /// What if every convolution had so many groups: another network, which has to be trained anew. Those whose channels cannot be divided by them stay as
    /// they are, and no width may change.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    pub groups: Option<u32>,
}

impl WhatIfArgs {
    /// The network, or the other one.
    ///
    /// # Errors
    ///
    /// [`MappingError::NoGroups`].
    pub fn network(self, network: Network) -> Result<Network, MappingError> {
        match self.groups {
            None => Ok(network),
            Some(groups) => network.with_groups(groups as usize),
        }
    }
}

pub(crate) fn input_size(text: &str) -> Result<[usize; 2], String> {
    let size = text
        .split_once('x')
        .and_then(|(height, width)| Some([height.parse().ok()?, width.parse().ok()?]));
    size.filter(|size| size.iter().all(|side| (1..=MAX_DIMENSION).contains(side)))
        .ok_or_else(|| {
            format!("expected HEIGHTxWIDTH, such as 224x224, each number from 1 to {MAX_DIMENSION}")
        })
}

/// The name of a picture to draw: checked before any work is done, so that none is lost.
pub(crate) fn plot_path(name: &str) -> Result<PathBuf, String> {
    output_path(name, &["svg", "png"])
}

/// As [`plot_path`], of an ONNX file.
#[cfg(feature = "train")]
pub(crate) fn onnx_path(name: &str) -> Result<PathBuf, String> {
    output_path(name, &["onnx"])
}

/// As [`plot_path`], of a table.
#[cfg(feature = "train")]
pub(crate) fn csv_path(name: &str) -> Result<PathBuf, String> {
    output_path(name, &["csv"])
}

/// The name of a file to write, with one of these endings, in a folder that is there.
fn output_path(name: &str, endings: &[&str]) -> Result<PathBuf, String> {
    let path = PathBuf::from(name);
    let ending = path.extension().and_then(|ending| ending.to_str());
    if !ending.is_some_and(|ending| endings.contains(&ending.to_ascii_lowercase().as_str())) {
        let endings: Vec<String> = endings.iter().map(|ending| format!(".{ending}")).collect();
        return Err(format!("its name must end in {}", endings.join(" or ")));
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => match std::fs::metadata(folder) {
            Ok(found) if found.is_dir() => Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Err(format!("{}: {error}", folder.display()))
            }
            _ => Err(format!("there is no folder {}", folder.display())),
        },
        _ => Ok(path),
    }
}

/// Bits of a converter.
pub(crate) fn adc_bits(text: &str) -> Result<u32, String> {
    let bits = text
        .parse()
        .ok()
        .filter(|&bits| bits == 0 || (2..=32).contains(&bits));
    bits.ok_or_else(|| "expected 0 for exact converters, or 2 to 32 bits".to_owned())
}

/// A share of a whole, neither nothing nor all.
#[cfg(feature = "train")]
pub(crate) fn inner_share(text: &str) -> Result<f64, String> {
    number(
        text,
        |share| share > 0.0 && share < 1.0,
        "a share between 0 and 1",
    )
}

/// A share.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    number(text, |share| (0.0..=1.0).contains(&share), "a part from 0 to 1")
}

fn number(text: &str, fits: impl Fn(f64) -> bool, expected: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|&number| fits(number));
    number.ok_or_else(|| format!("expected {expected}"))
}

/// A part of a whole, that leaves something.
#[cfg(feature = "train")]
pub(crate) fn part(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..1.0).contains(&x), "a part from 0 to below 1")
}

/// A number that is not negative: a budget, a standard deviation.
pub(crate) fn zero_or_more(text: &str) -> Result<f64, String> {
    number(text, |x| x.is_finite() && x >= 0.0, "a number from 0 up")
}

/// The largest count that any flag takes.
const MAX_COUNT: usize = 10_000_000;

/// A count.
pub(crate) fn at_least_one(text: &str) -> Result<usize, String> {
    let number = text
        .parse()
        .ok()
        .filter(|number| (1..=MAX_COUNT).contains(number));
    number.ok_or_else(|| format!("expected a whole number from 1 up, to {MAX_COUNT} at most"))
}

/// The number of a round.
#[cfg(feature = "train")]
pub(crate) fn up_to_max_rounds(text: &str) -> Result<usize, String> {
    use crate::train::MAX_ROUNDS;

    let number = text.parse().ok().filter(|&number| number <= MAX_ROUNDS);
    number.ok_or_else(|| format!("expected a whole number from 0 to {MAX_ROUNDS}"))
}

/// A number above zero.
#[cfg(feature = "train")]
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    number(text, |x| x.is_finite() && x > 0.0, "a number above 0")
}

/// How the result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A table to read, with totals where there are any.
    #[default]
    Table,
    /// JSON, whose fields docs/mapping.md lists.
    Json,
    /// A header and one record a line, without totals.
    Csv,
    /// The table for a Markdown page.
    Markdown,
    /// The table for a paper in LaTeX, with the package booktabs.
    Latex,
}

impl Format {
    /// The look of its tables.
    #[must_use]
    pub fn look(self) -> Look {
        match self {
            Self::Markdown => Look::Markdown,
            Self::Latex => Look::Latex,
            _ => Look::Terminal,
        }
    }
}
