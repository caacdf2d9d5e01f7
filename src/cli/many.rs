//! The networks of `vwc-sdk compare` and `vwc-sdk sweep`: some, or all presets.

use std::collections::HashSet;

use clap::Args;

use super::{
    map::MapError,
    network::NetworkArg,
    options::{InputArgs, WhatIfArgs},
};
use crate::{graph::presets, mapping::Network};

/// The networks.
#[derive(Debug, Clone, Args)]
pub struct NetworksArgs {
    /// Networks, or ONNX files or layer lists, as `map` takes them; all presets if none is given.
    #[arg(value_name = "NETWORK|FILE")]
    pub networks: Vec<NetworkArg>,

    /// What the networks' files leave open.
    #[command(flatten)]
    pub input: InputArgs,

    /// Other networks than these.
    #[command(flatten)]
    pub what_if: WhatIfArgs,
}

impl NetworksArgs {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        match self.networks.len() {
            0 => presets::names().len(),
            given => given,
        }
    }

    /// The networks that were named, or all presets.
    ///
    /// # Errors
    ///
    /// Those of reading them; [`MapError::SameName`] where two are called alike.
    pub(super) fn load(&self) -> Result<Vec<Network>, MapError> {
        let Self {
            networks,
            input,
            what_if,
        } = self;
        if networks.is_empty() {
            let all = presets::names().into_iter().map(presets::network);
            return Ok(all
                .map(|network| what_if.network(network?))
                .collect::<Result<_, _>>()?);
        }
        let load = |network: &NetworkArg| Ok(what_if.network(network.load(*input)?)?);
        let networks: Vec<Network> = networks.iter().map(load).collect::<Result<_, MapError>>()?;
        let mut names = HashSet::new();
        match networks.iter().find(|network| !names.insert(&network.name)) {
            Some(twice) => Err(MapError::SameName {
                name: twice.name.clone(),
            }),
            None => Ok(networks),
        }
    }
}
