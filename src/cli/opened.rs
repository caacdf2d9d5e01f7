//! Networks that are none of this crate's: from an ONNX file, or one of the published networks that are known by their names.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use burn::tensor::Device;

use super::networks::{JobNetwork, NetworkArgs, NetworkKind};
use super::pictures::DataArgs;
use crate::data::{PictureDataset, Splits};
use crate::graph::{Graph, presets};
use crate::models::{GraphNet, GraphNetConfig, Network as _, NetworkConfig as _};
use crate::module::Parameters;
use crate::quant::Bits;
use crate::train::published::Published as _;
use crate::train::{Project, images, initial};
use crate::{DeviceName, Error};

/// The pictures that steps of activations are measured on.
pub const CALIBRATION: usize = 256;

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
        if path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
        {
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
    /// Which it is, with `args` to make it of: a file is read now.
    ///
    /// # Errors
    ///
    /// A file that cannot be read as a network, and one that is no classifier of pictures.
    pub fn open(&self, mut args: NetworkArgs) -> Result<(NetworkKind, NetworkArgs), Error> {
        let opened = match self {
            Self::Own(kind) => {
                if args.from_scratch || args.input_size.is_some() {
                    return Err(Error::Recipe(
                        "--from-scratch and --input-size are for networks from files: leave them out".into(),
                    ));
                }
                return Ok((*kind, args));
            }
            Self::Preset(name) => {
                let sketch =
                    presets::sketch(name).map_err(|error| Error::Recipe(format!("--network: {error}")))?;
                Opened {
                    config: GraphNetConfig::new(name, sketch)?,
                    graph: None,
                    source: name.clone(),
                }
            }
            Self::File(path) => Opened::read(path, args.input_size)?,
        };
        args.opened = Some(Arc::new(opened));
        Ok((NetworkKind::Graph, args))
    }
}

/// A network that was read, in full precision.
#[derive(Debug)]
pub struct Opened {
    /// What it is.
    pub config: GraphNetConfig,
    /// With its weights, where it has some.
    pub graph: Option<Graph>,
    /// Where it comes from.
    pub source: String,
}

impl Opened {
    /// The network in an ONNX file, called as the file is.
    ///
    /// # Errors
    ///
    /// [`Error::Structure`], which names the file.
    #[cfg(feature = "onnx")]
    pub fn read(path: &Path, input_size: Option<[usize; 2]>) -> Result<Self, Error> {
        let refuse = |reason: String| Error::Structure {
            network: path.display().to_string(),
            reason,
        };
        let graph =
            crate::onnx::import_graph_from(path, input_size).map_err(|error| refuse(error.to_string()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let config =
            GraphNetConfig::new(&name, crate::graph::Sketch::of(&graph)).map_err(|error| match error {
                Error::Structure { reason, .. } => refuse(reason),
                error => error,
            })?;
        Ok(Self {
            config,
            graph: Some(graph),
            source: path.display().to_string(),
        })
    }

    /// This build reads no ONNX.
    ///
    /// # Errors
    ///
    /// Always.
    #[cfg(not(feature = "onnx"))]
    pub fn read(path: &Path, _: Option<[usize; 2]>) -> Result<Self, Error> {
        Err(Error::Structure {
            network: path.display().to_string(),
            reason: "this vwc-sdk was built without ONNX: build it with `--features onnx`".into(),
        })
    }

    /// The pictures that flags ask for, for a network that tells apart as many classes as they have.
    ///
    /// # Errors
    ///
    /// Pictures that cannot be read, and those of another number of classes.
    pub fn pictures(&self, data: &DataArgs) -> Result<Splits, Error> {
        let size = self.config.input();
        let splits = data.splits::<GraphNetConfig>(None, size, None, 0)?;
        let (found, expected) = (splits.train.classes(), self.config.classes());
        if found != expected {
            return Err(Error::Recipe(format!(
                "{}: it tells {expected} classes apart, and the pictures have {found}: give it pictures of its own classes, or train it \
                 for these (vwc-sdk train --network {})",
                self.source, self.source
            )));
        }
        if data.normalization.is_none() {
            say!(
                "pictures are normalised by {}: if the network was trained with other numbers, say them with --normalization",
                splits.train.normalization()
            );
        }
        Ok(splits)
    }

    /// Keeps the network in `project` as though it had been trained there, unless it is there already.
    ///
    /// # Errors
    ///
    /// A folder that holds another network, and those of [`pictures`](Self::pictures).
    pub fn keep(&self, data: &DataArgs, project: &Project) -> Result<(), Error> {
        let device = DeviceName::default().init()?;
        let network = self.network(false, self.config.classes(), 0, &device)?;
        let dir = project.original();
        if dir.path().join("config.json").exists() {
            let (kept, run) = dir.load::<GraphNetConfig>(&device)?;
            let same = run.structure == self.config && same_numbers(&kept, &network);
            return if same {
                Ok(())
            } else {
                Err(Error::Recipe(format!(
                    "{}: it holds another network than {}, or one that was trained since: leave out --network to go on with it, or choose \
                     another --directory",
                    project.path().display(),
                    self.source
                )))
            };
        }
        let splits = self.pictures(data)?;
        let input = splits.train.spec(self.config.input());
        dir.import(&network, &input, &format!("imported from {}", self.source))?;
        say!("{}: kept in {}", self.source, dir.path().display());
        Ok(())
    }

    /// The network with its weights on `device`, else with random ones that follow from `seed`, for so many classes.
    ///
    /// # Errors
    ///
    /// A network that cannot tell so many classes apart.
    pub fn network(
        &self,
        scratch: bool,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Result<GraphNet, Error> {
        let network = match &self.graph {
            Some(graph) if !scratch => {
                device.seed(seed);
                GraphNet::of(graph, &self.config.name(), device)?
            }
            _ => initial(&self.config, seed, device)?,
        };
        if classes == self.config.classes() {
            return Ok(network);
        }
        Ok(network.with_classes(classes)?.0)
    }
}

fn same_numbers(a: &GraphNet, b: &GraphNet) -> bool {
    let [a, b] = [a, b].map(Parameters::of);
    a.iter().eq(b.iter())
}

/// `network` with weights and activations of so many bits, its steps measured on these pictures.
///
/// # Errors
///
/// A network that is quantised already or has nothing to quantise, and a picture that cannot be read.
pub fn quantized(
    network: GraphNet,
    [weights, activations]: [Bits; 2],
    pictures: &PictureDataset,
    device: &Device,
) -> Result<GraphNet, Error> {
    let size = network.config().input();
    let batches = images(pictures, size, device)?;
    Ok(network.quantized(weights, activations)?.calibrated(&batches))
}

impl NetworkArgs {
    fn opened(&self) -> &Opened {
        self.opened.as_deref().expect("a network of a graph was opened")
    }

    /// The bits that the flags ask for, of a network that is in full precision unless they say otherwise.
    fn asked_bits(&self) -> Result<Option<[Bits; 2]>, Error> {
        match (self.q, self.wb, self.ab) {
            (Some(0), None, None) | (None, None, None) => Ok(None),
            (Some(0), ..) => Err(Error::Recipe(
                "--q 0: a network in full precision has no bits: leave out --wb and --ab, or --q 0".into(),
            )),
            (_, None, None) => Err(Error::Recipe(
                "--q 1: say how many bits with --wb and --ab".into(),
            )),
            (_, weights, activations) => Ok(Some(
                [weights, activations].map(|bits| bits.unwrap_or(Bits::FULL)),
            )),
        }
    }
}

impl JobNetwork for GraphNetConfig {
    fn from_args(args: &NetworkArgs, classes: usize, _embedded: bool) -> Result<Self, Error> {
        let flag = if args.widths.is_some() {
            Some("--widths")
        } else if args.order.is_some() {
            Some("--order")
        } else {
            args.full_precision.map(|_| "--full-precision")
        };
        if let Some(flag) = flag {
            return Err(Error::Recipe(format!(
                "{flag}: it is for the networks of this crate: leave it out"
            )));
        }
        let opened = args.opened();
        let mut config = opened.config.clone();
        let before = config.classes();
        if classes != before {
            let (other, layer) = config.with_classes(classes)?;
            say!(
                "{}: the pictures have {classes} classes, and the network {before}: its last layer, `{layer}`, is replaced by a new one",
                opened.source
            );
            config = other;
        }
        match args.asked_bits()? {
            None => Ok(config),
            Some([weights, activations]) => config.with_bits(weights, activations),
        }
    }

    fn input_size(args: &NetworkArgs) -> Result<[usize; 2], Error> {
        Ok(args.opened().config.input())
    }

    fn directory(args: &NetworkArgs) -> PathBuf {
        let Some(opened) = &args.opened else {
            return Self::DIRECTORY.into();
        };
        // A name from a file may hold anything.
        let plain = |c: char| {
            if c.is_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        };
        let name: String = opened.config.name().chars().map(plain).collect();
        Path::new(Self::DIRECTORY).join(name.trim_start_matches('.'))
    }

    fn start(
        &self,
        args: &NetworkArgs,
        seed: u64,
        splits: &Splits,
        device: &Device,
    ) -> Result<GraphNet, Error> {
        let opened = args.opened();
        match (&opened.graph, args.from_scratch) {
            (Some(_), false) => say!("training starts from the weights of {}", opened.source),
            _ => say!("training starts from random weights"),
        }
        let network = opened.network(args.from_scratch, self.classes(), seed, device)?;
        match self.bits() {
            None => Ok(network),
            Some(bits) => quantized(network, bits, &splits.train.sample(CALIBRATION, seed), device),
        }
    }

    fn with_widths(&self, _: &[usize]) -> Result<Self, Error> {
        Err(Error::Recipe(
            "--widths: it is for the networks of this crate: leave it out".into(),
        ))
    }

    fn widths_in_words(&self) -> String {
        let layers = self.sketch().mapped(&self.name()).layers;
        format!("{} convolutions", layers.len())
    }
}
