//! Which network it is that a command works on: those that can be trained, and what a run folder holds.

use std::path::Path;

use crate::data::PictureSpec;
use crate::graph::Graph;
use crate::models::{Cnn8Config, GraphNetConfig, Network as _, NetworkConfig, ResNet20Config, Vgg13Config};
use crate::train::{RunDir, run_network};
use crate::{DeviceName, Error};

/// A network of this crate, or one that a graph describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// CNN-8, published on SVHN.
    Cnn8,
    /// ResNet-20, published on CIFAR-10.
    ResNet20,
    /// VGG-13, for CIFAR-10.
    Vgg13,
    /// One made of a graph: from an ONNX file, or known by its name.
    Graph,
}

impl NetworkKind {
    /// The network called `name` in a run's configuration, [`NetworkConfig::NAME`].
    pub fn named(name: &str) -> Option<Self> {
        match name {
            Cnn8Config::NAME => Some(Self::Cnn8),
            ResNet20Config::NAME => Some(Self::ResNet20),
            Vgg13Config::NAME => Some(Self::Vgg13),
            GraphNetConfig::NAME => Some(Self::Graph),
            _ => None,
        }
    }

    /// The network that was trained in the run folder `dir`.
    ///
    /// # Errors
    ///
    /// [`Error::NoModel`] where nothing was, [`Error::Checkpoint`] where it is none of ours.
    pub fn of_run(dir: &Path) -> Result<Self, Error> {
        let name = run_network(dir)?;
        Self::named(&name).ok_or_else(|| Error::Checkpoint {
            path: dir.join("config.json"),
            reason: format!(
                "this is a run of {name}, expected one of {}, {}, {} or a {}",
                Cnn8Config::NAME,
                ResNet20Config::NAME,
                Vgg13Config::NAME,
                GraphNetConfig::NAME
            ),
        })
    }
}

/// Runs `$body` with `$config` standing for the configuration of the network of this [`NetworkKind`].
macro_rules! with_network {
    ($kind:expr, $config:ident => $body:expr) => {
        match $kind {
            $crate::cli::kind::NetworkKind::Graph => {
                type $config = $crate::models::GraphNetConfig;
                $body
            }
            own => $crate::cli::kind::with_own_network!(own, $config => $body, unreachable!("it is matched above")),
        }
    };
}
pub(crate) use with_network;

/// As [`with_network`], of this crate's own networks; another one is `$other`.
macro_rules! with_own_network {
    ($kind:expr, $config:ident => $body:expr, $other:expr) => {
        match $kind {
            $crate::cli::kind::NetworkKind::Cnn8 => {
                type $config = $crate::models::Cnn8Config;
                $body
            }
            $crate::cli::kind::NetworkKind::ResNet20 => {
                type $config = $crate::models::ResNet20Config;
                $body
            }
            $crate::cli::kind::NetworkKind::Vgg13 => {
                type $config = $crate::models::Vgg13Config;
                $body
            }
            $crate::cli::kind::NetworkKind::Graph => $other,
        }
    };
}
pub(crate) use with_own_network;

/// What a trained network computes, and what is known of it besides.
pub(crate) struct RunGraph {
    pub graph: Graph,
    pub name: String,
    /// Its bits.
    pub precision: String,
    /// What it reads, of a trained network.
    pub input: Option<PictureSpec>,
}

/// The trained network in `dir`.
pub(crate) fn graph_of_run(dir: &Path) -> Result<RunGraph, Error> {
    with_network!(NetworkKind::of_run(dir)?, C => {
        let (network, run) = RunDir::new(dir).load::<C>(&DeviceName::default().init()?)?;
        Ok(RunGraph {
            graph: network.graph()?,
            name: run.structure.name(),
            precision: run.structure.precision(),
            input: Some(run.input),
        })
    })
}
