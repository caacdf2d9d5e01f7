//! Flags that several commands share.

use clap::{Args, ValueEnum};

use crate::mapping::{Accounting, MAX_DIMENSION, MappingConfig, PimArray, Search};
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
    #[arg(long, value_enum, default_value_t)]
    pub accounting: Accounting,

    /// How vw-sdk picks a window; the other methods have nothing to search.
    #[arg(long, value_enum, default_value_t)]
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

/// What a network's file leaves open.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct InputArgs {
    /// Height and width of the pictures that enter the network: for an ONNX file that leaves them open, and only
    /// for one.
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = size)]
    pub input_size: Option<[usize; 2]>,
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let size = text
        .split_once('x')
        .and_then(|(height, width)| Some([height.parse().ok()?, width.parse().ok()?]));
    size.filter(|size| size.iter().all(|side| (1..=MAX_DIMENSION).contains(side)))
        .ok_or_else(|| {
            format!("expected HEIGHTxWIDTH, such as 224x224, each number from 1 to {MAX_DIMENSION}")
        })
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
}

impl Format {
    /// The look of its tables.
    #[must_use]
    pub fn look(self) -> Look {
        match self {
            Self::Markdown => Look::Markdown,
            _ => Look::Terminal,
        }
    }
}
