//! A list of layers as it is read: what JSON and CSV have in common, and what is refused in both.

use std::collections::HashMap;

use serde::Deserialize;

use super::MAX_LAYERS;
use crate::{
    mapping::{Accounting, ConvLayer, MappingError, Network, Padding, Tie},
    text,
};

/// A layer as a file gives it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub name: String,
    pub input: Pair,
    pub kernel: Pair,
    #[serde(default = "one")]
    pub stride: Pair,
    #[serde(default)]
    pub padding: Padding,
    #[serde(default = "one")]
    pub dilation: Pair,
    #[serde(default = "one_group")]
    pub groups: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    #[serde(default)]
    pub tie: Option<Tie>,
}

/// One number for both axes, or height and width.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(
    untagged,
    expecting = "expected a whole number from 0 up, or [height, width] of two"
)]
pub(super) enum Pair {
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

pub(super) fn one() -> Pair {
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

/// Both say which widths may change.
const CHAIN_AND_TIES: &str = "`chain` is true: both say which widths may change, so give one of the two";

/// The layers read so far. Each is checked when it is added, so that an error belongs to its line.
#[derive(Debug, Default)]
pub(super) struct List {
    layers: Vec<ConvLayer>,
    /// One for each layer, or none at all.
    ties: Vec<Tie>,
    /// For each name the number of its layer, from 1.
    names: HashMap<String, usize>,
    /// Whether each layer takes what the one before it produces, and nothing else.
    chain: bool,
}

impl List {
    /// Adds a layer.
    ///
    /// # Errors
    ///
    /// What is wrong with the layer, or with it among those before it.
    pub fn push(&mut self, mut entry: Entry) -> Result<(), String> {
        // Blanks around a name are not seen, so they tell no layers apart.
        entry.name = entry.name.trim().to_owned();
        if self.layers.len() == MAX_LAYERS {
            return Err(format!("it lists more than {MAX_LAYERS} layers"));
        }
        let number = self.layers.len() + 1;
        if entry.name.is_empty() {
            return Err(format!("layer {number} has no name: give it one"));
        }
        if let Some(unfit) = text::unfit(&entry.name) {
            return Err(format!("the name of layer {number} {unfit}: give it another"));
        }
        if let Some(first) = self.names.insert(entry.name.clone(), number) {
            return Err(format!(
                "layer {number} is called `{}`, as layer {first} is: give each a name of its own",
                entry.name
            ));
        }
        match (entry.tie, !self.ties.is_empty()) {
            (Some(_), _) if self.chain => {
                return Err(format!(
                    "layer `{}` has a `tie`, and {CHAIN_AND_TIES}",
                    entry.name
                ));
            }
            (Some(tie), tied) if tied || number == 1 => self.ties.push(tie),
            (Some(_), _) => {
                return Err(format!(
                    "layer `{}` has a `tie`, and the layers before it have none: give each layer one, or none",
                    entry.name
                ));
            }
            (None, true) => {
                return Err(format!(
                    "layer `{}` has no `tie`, and the layers before it have one: give each layer one, or none",
                    entry.name
                ));
            }
            (None, false) => {}
        }
        let layer = ConvLayer::from(entry);
        layer
            .validate(Accounting::ExactGeometry)
            .map_err(|error| error.to_string())?;
        self.layers.push(layer);
        Ok(())
    }

    /// Says whether the layers are a chain, before or after they are added.
    ///
    /// # Errors
    ///
    /// Where they would be, and have ties.
    pub fn set_chain(&mut self, chain: bool) -> Result<(), String> {
        if chain && !self.ties.is_empty() {
            return Err(format!("the layers have a `tie`, and {CHAIN_AND_TIES}"));
        }
        self.chain = chain;
        Ok(())
    }

    /// The network of this name.
    ///
    /// # Errors
    ///
    /// Where there are no layers, and where the name cannot stand in a table.
    pub fn network(self, name: String) -> Result<Network, String> {
        if self.layers.is_empty() {
            return Err("it lists no layers".to_owned());
        }
        if let Some(unfit) = text::unfit(&name) {
            return Err(format!("the name of the network {unfit}: give it another"));
        }
        let network = if self.chain {
            Network::chain(name, self.layers)
        } else {
            Network::tied(name, self.layers, self.ties)
        };
        let makes = |width: usize| network.ties.iter().any(|tie| tie.output == Some(width));
        for (layer, tie) in network.layers.iter().zip(&network.ties) {
            if let Some(width) = tie.input.filter(|&width| !makes(width)) {
                return Err(format!(
                    "layer `{}` reads the free width {width}, which no layer makes: give the width that makes it, or null for \
                     channels that may not change, as those of pictures",
                    layer.name
                ));
            }
        }
        // A chain or ties that contradict the widths are known now, and not only where widths are searched. Grouped layers
        // have widths that are not searched, and can be mapped.
        if !network.ties.is_empty()
            && let Err(error @ MappingError::Ties { .. }) = network.widths()
        {
            return Err(error.to_string());
        }
        Ok(network)
    }
}
