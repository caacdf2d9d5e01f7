//! `--network`: a network by its name, or one from a file.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::NetworkArgs;
use crate::Error;
use crate::cli::kind::NetworkKind;
use crate::cli::opened::{Opened, is_onnx};
use crate::graph::presets;

/// A network as a command that trains takes it.
#[derive(Clone, Debug)]
pub enum NetworkFlag {
    /// One of this crate's.
    Own(NetworkKind),
    /// A published one, without weights.
    Preset(String),
    /// An ONNX file.
    File(PathBuf),
}

impl FromStr for NetworkFlag {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "cnn8" => return Ok(Self::Own(NetworkKind::Cnn8)),
            "resnet20" => return Ok(Self::Own(NetworkKind::ResNet20)),
            "vgg13" => return Ok(Self::Own(NetworkKind::Vgg13)),
            _ => {}
        }
        let path = Path::new(name);
        if is_onnx(path) {
            return Ok(Self::File(path.into()));
        }
        match presets::sketch(name) {
            Ok(_) => Ok(Self::Preset(name.into())),
            Err(error) => Err(format!("{error} (or give a file whose name ends in .onnx)")),
        }
    }
}

/// A network of this crate by its name.
///
/// # Errors
///
/// Another name, and those that there are.
pub fn own_network(name: &str) -> Result<NetworkKind, String> {
    match name.parse()? {
        NetworkFlag::Own(kind) => Ok(kind),
        _ => Err("expected cnn8, resnet20 or vgg13".into()),
    }
}

impl NetworkFlag {
    /// Which it is, with `args` to make it of: a file is read now. Where training starts from the weights of a run, the file's are not needed.
    ///
    /// # Errors
    ///
    /// A file that cannot be read as a network, and one that is no classifier of pictures.
    pub fn open(
        &self,
        mut args: NetworkArgs,
        starts_from_run: bool,
    ) -> Result<(NetworkKind, NetworkArgs), Error> {
        let opened = match self {
            Self::Own(_) if args.from_scratch || args.input_size.is_some() => {
                return Err(Error::Recipe(
                    "--from-scratch and --input-size are for networks from files: leave them out".into(),
                ));
            }
            Self::Own(kind) if args.groups.is_some() => match kind {
                NetworkKind::Cnn8 => Opened::preset("cnn8")?,
                NetworkKind::ResNet20 => Opened::preset("resnet20")?,
                _ => {
                    return Err(Error::Recipe(
                        "--groups: this VGG-13 cannot have them: give it as an ONNX file, with --from-scratch".into(),
                    ));
                }
            },
            Self::Own(kind) => return Ok((*kind, args)),
            Self::Preset(name) => {
                if args.input_size.is_some() {
                    return Err(Error::Recipe(format!(
                        "--input-size: it is for ONNX files, and {name} has its own: leave it out"
                    )));
                }
                Opened::preset(name)?
            }
            Self::File(path) => Opened::read(path, args.input_size)?,
        };
        let opened = match args.groups {
            None => opened,
            Some(groups) => opened.with_groups(groups as usize, args.from_scratch || starts_from_run)?,
        };
        args.opened = Some(Arc::new(opened));
        Ok((NetworkKind::Graph, args))
    }
}
