//! A network of a graph in the main job: trained from the weights of its file, in few bits if flags say so.

use std::path::{Path, PathBuf};

use burn::tensor::Device;

use super::{JobNetwork, NetworkArgs, RANDOM, started_from};
use crate::Error;
use crate::cli::opened::Opened;
use crate::data::{PictureDataset, Splits};
use crate::models::{GraphNet, GraphNetConfig, Network as _, NetworkConfig as _, QuantPlan};
use crate::module::Parameters;
use crate::quant::{Bits, Observer};
use crate::train::images_in;
use crate::train::published::Published as _;

/// Bits of a network that is to have none.
pub const NO_BITS: &str = "--q 0: a network in full precision has no bits: leave out --wb and --ab, or --q 0";

/// The pictures that steps of activations are measured on.
pub const CALIBRATION: usize = 256;

/// `network` quantised as `plan` says, which is printed, its steps measured on these pictures.
///
/// # Errors
///
/// A network that is quantised already or has nothing to quantise, a picture that cannot be read, and a layer that reads no range.
pub fn quantized(
    network: GraphNet,
    plan: QuantPlan,
    observer: Observer,
    pictures: &PictureDataset,
    device: &Device,
) -> Result<GraphNet, Error> {
    let size = network.config().input();
    let batches = images_in(pictures, size, network.config().largest_value(), device)?;
    let network = network.quantized_by(plan)?;
    let config = network.config();
    let planned = config.quantized_layers().into_iter();
    planned
        .chain(config.quantized_joins())
        .for_each(|layer| say!("{layer}"));
    for [conv, norm] in config.folded_norms() {
        say!("{norm}: a batch norm that is folded into the weights of {conv}");
    }
    network.calibrated(&batches, observer)
}

/// The first of some names, and how many there are.
pub(crate) fn listed(names: &[String]) -> String {
    let first: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0..=3 => first.join(", "),
        more => format!("{} and {} more", first.join(", "), more - 3),
    }
}

impl NetworkArgs {
    fn opened(&self) -> &Opened {
        self.opened.as_deref().expect("a network of a graph was opened")
    }

    /// The bits that the flags ask for, of a network that is in full precision unless they say otherwise.
    fn asked_bits(&self) -> Result<Option<[Bits; 2]>, Error> {
        match (self.q, self.wb, self.ab) {
            (Some(0), None, None) | (None, None, None) => Ok(None),
            (Some(0), ..) => Err(Error::Recipe(NO_BITS.into())),
            (_, None, None) => Err(Error::Recipe(
                "--q 1: say how many bits with --wb and --ab".into(),
            )),
            (_, weights, activations) => {
                let bits = [weights, activations].map(|bits| bits.unwrap_or(Bits::FULL));
                Ok((bits != [Bits::FULL; 2]).then_some(bits))
            }
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
        match (args.asked_bits()?, args.plan.given()) {
            (None, None) => Ok(config),
            (None, Some(flag)) if args.q == Some(0) => Err(Error::Recipe(format!(
                "{flag}: --q 0 trains the network in full precision: leave out one of them"
            ))),
            (None, Some(flag)) if args.plan.ends.is_none() && args.plan.layer_bits.is_none() => Err(
                Error::Recipe(format!("{flag}: say how many bits with --wb and --ab")),
            ),
            (bits, _) => args.plan.applied_to(config, bits.unwrap_or([Bits::FULL; 2])),
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
        let name = name.trim_start_matches('.');
        Path::new(Self::DIRECTORY).join(if name.is_empty() { "network" } else { name })
    }

    fn start(
        &self,
        args: &NetworkArgs,
        from: Option<&Path>,
        seed: u64,
        splits: &Splits,
        device: &Device,
    ) -> Result<(GraphNet, String), Error> {
        let opened = args.opened();
        let weights = match (&opened.graph, args.from_scratch) {
            _ if from.is_some() => String::new(),
            (Some(graph), false) => {
                say!("training starts from the weights of {}", opened.source);
                let whole = Parameters::of(&GraphNet::of(graph, &self.name(), device)?);
                format!("the weights of its file, CRC-32 {:08x}", whole.checksum())
            }
            _ => {
                say!("training starts from {RANDOM}");
                RANDOM.to_owned()
            }
        };
        let coded = opened.layers_of_codes();
        if self.bits().is_none() && !args.from_scratch && !coded.is_empty() {
            say!(
                "weights are codes in {}, of {}: they are trained in full precision, and values stay in their codes; give --wb to train weights in \
                 codes",
                opened.source,
                listed(&coded)
            );
        }
        let network = opened.network(args.from_scratch, self.classes(), seed, device)?;
        if let Some(found) = network
            .not_in_file()
            .filter(|found| !found.trained_alone.is_empty())
        {
            say!(
                "{}: parameters that are trained, while numbers that {} computes of them stay what they are: the PyTorch model would compute those \
                 anew, and give other logits",
                listed(&found.trained_alone),
                opened.source
            );
        }
        let (network, weights) = started_from::<Self>(from, network, weights)?;
        let Some(plan) = self.plan() else {
            return Ok((network, weights));
        };
        let pictures = splits.train.sample(CALIBRATION, seed);
        let network = quantized(network, plan.clone(), args.plan.observer(), &pictures, device)?;
        Ok((network, weights + &args.plan.observed()))
    }

    fn with_widths(&self, _: &[usize]) -> Result<Self, Error> {
        Err(Error::Recipe(
            "--widths: it is for the networks of this crate: leave it out".into(),
        ))
    }

    fn strange_to_pytorch(network: &GraphNet) -> Vec<String> {
        let Some(found) = network.not_in_file() else {
            return Vec::new();
        };
        // Whether the rest of the file is what the PyTorch model needs.
        let whole = found.unnamed.is_empty() && found.copies.is_empty() && found.trained_alone.is_empty();
        let loads = if whole {
            ": load the file with strict=False into a model that has the weights that it was exported with"
        } else {
            ""
        };
        let lines = [
            (
                found.trained_alone,
                "parameters that are trained here, while numbers that were computed of them in the file stay what they were: the PyTorch model \
                 computes those anew, and gives other logits"
                    .to_owned(),
            ),
            (
                found.copies,
                "parameters that are one constant with others in the file, and are trained each by itself: a PyTorch model in which they are tied \
                 loads the file, with strict=False where it has one name for them, and computes something else"
                    .to_owned(),
            ),
            (
                found.unnamed,
                "parameters without a name in the file, called by their layers: where batch norms were folded into them, or they were \
                 computed of others, the PyTorch model does not load the file. Do not use strict=False then: export the model as docs/onnx.md says"
                    .to_owned(),
            ),
            (
                found.computed,
                format!("the file computed them of parameters of the PyTorch model, which has no such names, and they are not trained{loads}"),
            ),
            (
                found.lost,
                format!("parameters of the file that are missing here, as the network has nothing but what was computed of them{loads}"),
            ),
        ];
        let lines = lines.into_iter().filter(|(names, _)| !names.is_empty());
        lines
            .map(|(names, what)| format!("{}: {what}", listed(&names)))
            .collect()
    }

    fn plan(&self) -> Option<&QuantPlan> {
        self.plan()
    }

    fn widths_in_words(&self) -> String {
        let layers = self.sketch().mapped(&self.name()).layers;
        format!("{} convolutions", layers.len())
    }
}
