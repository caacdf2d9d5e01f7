//! A network in full precision that is to be quantised, and pictures for it, as `quantize` and `bits` take them.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::Args;

use super::kind::NetworkKind;
use super::networks::graph_net::listed;
use super::opened::{Opened, is_onnx};
use super::pictures::DataArgs;
use crate::data::Splits;
use crate::models::{GraphNet, GraphNetConfig, NetworkConfig as _};
use crate::train::{RunConfig, RunDir};
use crate::{DeviceName, Error};

/// Flags for the network and its pictures.
#[derive(Args, Clone, Debug)]
pub struct UnquantizedArgs {
    /// An ONNX file with its weights, or the folder of a network that was made of one and is in full precision, as
    /// runs/resnet18/original
    #[arg(value_name = "FILE|RUN")]
    pub network: PathBuf,

    /// Seed that pictures are drawn with
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub seed: u64,

    /// Height and width of its pictures, where the file leaves them open
    #[arg(long, value_name = "HEIGHTxWIDTH", value_parser = super::options::input_size)]
    pub input_size: Option<[usize; 2]>,

    /// The pictures.
    #[command(flatten)]
    pub data: DataArgs,

    /// Device to compute on, as for `vwc-sdk train`
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,
}

/// A network in full precision, and pictures for it.
pub(super) struct Source {
    pub network: GraphNet,
    pub splits: Splits,
    /// The layers whose weights are codes already.
    pub coded: Vec<String>,
}

/// Why layers whose weights are codes are not rounded.
pub(super) fn already_codes(network: &Path, layers: &[String]) -> Error {
    Error::Recipe(format!(
        "{}: weights are codes already, and would be rounded once more, of {}: give the file in full precision, or leave such layers as they are, \
         in a file for --layer-bits with a line like `{},32,32`",
        network.display(),
        listed(layers),
        layers.first().map_or("", String::as_str)
    ))
}

impl UnquantizedArgs {
    /// What the flags name.
    ///
    /// # Errors
    ///
    /// A network or pictures that cannot be read or do not fit.
    pub(super) fn open(&self, device: &Device) -> Result<Source, Error> {
        let Self {
            network: path,
            input_size,
            data,
            ..
        } = self;
        let input_size = *input_size;
        if is_onnx(path) {
            let opened = Opened::read(path, input_size)?;
            let coded = opened.layers_of_codes();
            let splits = opened.pictures(data)?;
            let network = opened.network(false, opened.config.classes(), 0, device)?;
            return Ok(Source {
                network,
                splits,
                coded,
            });
        }
        if input_size.is_some() {
            return Err(Error::Recipe(
                "--input-size: it is for ONNX files: leave it out".into(),
            ));
        }
        if NetworkKind::of_run(path)? != NetworkKind::Graph {
            return Err(Error::Recipe(format!(
                "{}: it holds a network of this crate, which is trained in few bits from the start: `vwc-sdk train --wb --ab`",
                path.display()
            )));
        }
        let (network, run): (GraphNet, RunConfig<GraphNetConfig>) = RunDir::new(path).load(device)?;
        let size = run.structure.input();
        let splits = data.splits(None, size, Some(&run), run.split_seed)?;
        let coded = Vec::new();
        Ok(Source {
            network,
            splits,
            coded,
        })
    }
}
