//! Weights from PyTorch and to PyTorch: the networks of VWC-SDK under the names that its scripts give their parameters.
//!
//! [`StateDict::read`] takes a file that `torch.save` wrote or a safetensors file, and [`StateDict::load_into`] puts its
//! weights into one of the [`models`](crate::models). [`save_safetensors`] writes a file that a PyTorch module of the same
//! structure loads, latent weights or those that are computed with.
//!
//! | network | ours | PyTorch's |
//! |---|---|---|
//! | CNN-8 | `convs.0` ... `convs.6` | `layers.0`, `3`, `6`, `10`, `13`, `16`, `20` |
//! | | `norms.0` ... `norms.4` | `layers.4`, `7`, `11`, `14`, `17` |
//! | | `linear` | `fc` |
//! | ResNet-20 | `conv`, `norm` | `conv1`, `bn1` (none as published in full precision) |
//! | | `blocks.N.conv0`, `norm0`, `conv1`, `norm1` | `layerS.B.conv0`, `bn0`, `conv1`, `bn1` (stage S from 1, block B from 0) |
//! | | `blocks.N.shortcut.conv`, `norm` | `layerS.0.shortcut.0`, `.1` |
//! | | `last_norm` (pre-activation only) | `bn` |
//! | | `linear` | `linear` |
//! | VGG-13 | `convs.0` ... `convs.9` | `conv1` ... `conv10` |
//! | | `hidden.0`, `hidden.1`, `linear` | `fc1`, `fc2`, `classifier` |
//!
//! A batch norm's `gamma` and `beta` are PyTorch's `weight` and `bias`; a linear weight is transposed. On the way in
//! `bn_dict.<bits>` between a batch norm and its vectors is understood, which VWC-SDK's scripts put there, counters of
//! batches (`num_batches_tracked`) are left out, and so are the batch norms and the PReLU that those scripts create for
//! VGG-13 and never use. Everything may lie behind a prefix, as in `{"state_dict": ...}` or `module.`.
//!
//! # Which files are taken
//!
//! The first bytes of a file decide what it is. Its name may end in `.pt`, `.pth`, `.pth.tar`, `.th`, `.ckpt`, `.bin`,
//! `.safetensors` or anything else.
//!
//! * Taken are `state_dict`s, checkpoints that hold one, and whole modules, in today's format of `torch.save` and in that
//!   of before PyTorch 1.6: what PyTorch's own loader takes with `weights_only=True`, and whole modules.
//! * The network's tensors have to be floats of 16, 32 or 64 bits, bfloat16 among them, and finite; a variance must not be
//!   negative. They become floats of 32 bits.
//! * What a file holds beside the network is not looked at: an optimiser, a scheduler, counters, states of random number
//!   generators, masks, a loss that is NaN, tensors of other kinds (sparse, quantised, nested, complex, floats of 8 bits),
//!   and objects of any class. A tensor of the network of such a kind is refused by its name.
//! * Refused are TorchScript, which is a program, and tar archives.
//!
//! Nothing in a pickle is ever run. The reader makes tensors, dictionaries, lists and plain values; it imports no class and
//! calls no function. A call that it does not know gives an object without attributes.
//!
//! Of a tensor the numbers in memory are read, with the sign of a negated view. A subclass of `torch.Tensor` that computes
//! others from them is not known here.
//!
//! In full precision, [`StateDict::fit`] tells by the tensors whether a file holds the twin of a quantised network or what
//! those scripts call by its name, [`FullPrecision`](crate::models::FullPrecision).
//!
//! ```
//! use burn::tensor::Device;
//! use vwc_sdk::data::PictureSpec;
//! use vwc_sdk::models::{NetworkConfig, Vgg13Config};
//! use vwc_sdk::pytorch::{StateDict, Weights, save_safetensors};
//!
//! # fn main() -> Result<(), vwc_sdk::Error> {
//! # let dir = std::env::temp_dir().join("vwc-sdk-doc");
//! # std::fs::create_dir_all(&dir).unwrap();
//! let config = Vgg13Config::new().with_widths([4; 10]).with_hidden([4, 4]);
//! let path = dir.join("vgg13.safetensors");
//! let network = config.init(&Device::default());
//! let input = PictureSpec::new([32, 32], ('a'..='j').map(String::from));
//! save_safetensors(&network, &input, &path, Weights::Latent)?;
//!
//! let file = StateDict::read(&path)?;
//! let network = file.load_into(config.init(&Device::default()))?;
//! assert_eq!(file.input()?, Some(input));
//! # let _ = network;
//! # Ok(())
//! # }
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use safetensors::{Dtype, tensor::TensorView};
use serde::de::DeserializeOwned;

use crate::Error;
use crate::data::PictureSpec;
use crate::files;
use crate::graph::Node;
use crate::models::{Network, NetworkConfig, check_input};
use crate::module::Parameters;
use crate::text;

mod file;
mod names;
mod pickle;

pub use names::{TorchLayout, TorchName, TorchNames};

use file::{Contents, Kind, MAX_BEYOND_FILE, Numbers, Source, Stored};

/// Where a file of ours keeps the name of its network, its structure, and which weights it holds.
const NETWORK: &str = "vwc-sdk.network";
const STRUCTURE: &str = "vwc-sdk.structure";
const WEIGHTS: &str = "vwc-sdk.weights";
/// The most tensors that an error names.
const MOST_NAMED: usize = 20;
/// Where it keeps what the network reads and tells apart.
pub(crate) const INPUT: &str = "vwc-sdk.input";

/// Which weights [`save_safetensors`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weights {
    /// Those that training moves, for a network that quantises them itself
    Latent,
    /// Those that are computed with, for a network of plain layers
    Quantized,
}

impl Weights {
    fn name(self) -> &'static str {
        match self {
            Self::Latent => "latent",
            Self::Quantized => "quantized",
        }
    }
}

/// The tensors of a PyTorch file, by PyTorch's names. Their numbers are read when they are loaded.
#[derive(Clone, Debug)]
pub struct StateDict {
    path: PathBuf,
    source: Source,
    tensors: BTreeMap<String, Stored>,
    metadata: HashMap<String, String>,
}

impl StateDict {
    /// Opens a file of `torch.save` or a safetensors file, whatever its name ends in, and lists its tensors. The
    /// [module](self) says which are taken.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be read, and [`Error::StateDict`] for a file of another kind, and one that is cut short
    /// or damaged.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let contents = Contents::read(path).map_err(Error::io(path, "open"))?;
        let mut contents = contents.map_err(|reason| refused(path, &reason))?;
        (contents.tensors).retain(|name, _| !name.ends_with("num_batches_tracked"));
        Ok(Self {
            path: path.into(),
            source: contents.source,
            tensors: contents.tensors,
            metadata: contents.metadata,
        })
    }

    /// The network that a file written by [`save_safetensors`] says it holds, [`NetworkConfig::NAME`].
    pub fn network(&self) -> Option<&str> {
        self.metadata.get(NETWORK).map(String::as_str)
    }

    /// Whether it was written by [`save_safetensors`] with [`Weights::Quantized`]: a network that quantises its weights
    /// would quantise them twice.
    pub fn is_quantized(&self) -> bool {
        self.metadata
            .get(WEIGHTS)
            .is_some_and(|weights| weights == Weights::Quantized.name())
    }

    /// The weight bits for which it holds batch norms behind `bn_dict`; none where they lie plainly.
    pub fn norm_bits(&self) -> BTreeSet<&str> {
        self.tensors.keys().filter_map(|name| bits_of(name)).collect()
    }

    /// The structure that a file written by [`save_safetensors`] says it has.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] where what stands there is not the structure of a `C`.
    pub fn structure<C: NetworkConfig + DeserializeOwned>(&self) -> Result<Option<C>, Error> {
        let Some(text) = self
            .metadata
            .get(STRUCTURE)
            .filter(|_| self.network() == Some(C::NAME))
        else {
            return Ok(None);
        };
        let config: C = serde_json::from_str(text).map_err(|error| {
            self.refuse(format!(
                "its metadata is not the structure of {}: {error}",
                C::NAME
            ))
        })?;
        config.validate()?;
        Ok(Some(config))
    }

    /// What the network of a file written by [`save_safetensors`] reads and tells apart. Files of version 0.3 or earlier, and of
    /// others, do not say.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] where what stands there is no [`PictureSpec`].
    pub fn input(&self) -> Result<Option<PictureSpec>, Error> {
        let text = self.metadata.get(INPUT);
        text.map(|text| serde_json::from_str(text))
            .transpose()
            .map_err(|error| self.refuse(format!("its metadata is not what a network reads: {error}")))
    }

    /// `config` as wide as the file's tensors are, pruned or not, with their classes.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] where the tensors that tell are missing, or say what no such network has.
    pub fn fit<C: NetworkConfig>(&self, config: &C) -> Result<C, Error>
    where
        C::Network: TorchNames,
    {
        let network = config.init(&Default::default());
        let own = Parameters::shapes(&network);
        let names = network.torch_names();
        let found = self.by_name(&names)?;
        // The convolution whose tensor was looked for in vain.
        let missing = RefCell::new(None);
        let shape = |path: &str| {
            let name = names.iter().find(|name| name.path == path)?;
            let tensor = found.get(&name.torch);
            let usable = tensor.filter(|tensor| tensor.kind.floats().is_some());
            if usable.is_none() && own.get(path).is_some_and(|shape| shape.len() == 4) {
                let mut missing = missing.borrow_mut();
                missing.get_or_insert_with(|| match tensor {
                    Some(tensor) => unusable(&name.torch, &tensor.kind),
                    None => format!(
                        "it holds no tensor {} ({path} of {}), so the widths of its layers are not known: is it that network?",
                        name.torch,
                        C::NAME
                    ),
                });
            }
            Some(name.shape_here(&usable?.shape, own.get(path)?))
        };
        let fitted = config.fitted(&shape);
        if let Some(reason) = missing.into_inner() {
            return Err(self.refuse(reason));
        }
        (fitted.validate()).map_err(|error| self.refuse(error.to_string()))?;
        Ok(fitted)
    }

    /// `network` with the weights of the file.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] lists by PyTorch's names what is missing in the file, what is left over and what has another
    /// shape; and it names a tensor of the network that holds no floats, NaN, infinity or a negative variance, or that is
    /// damaged. It refuses tensors that take 64 MiB of memory more than the file is long, too. Nothing is loaded then.
    /// [`Error::Parameter`] where `network` lacks one of its own [`TorchNames::torch_names`].
    pub fn load_into<N: TorchNames>(&self, network: N) -> Result<N, Error> {
        let names = network.torch_names();
        let mut found = self.by_name(&names)?;
        let shapes = Parameters::shapes(&network);
        let mut fitting = Vec::new();
        let mut problems = Vec::new();
        let mut missing = Vec::new();
        for name in &names {
            let Some(tensor) = found.remove(&name.torch) else {
                missing.push(name.torch.clone());
                continue;
            };
            let expected = shapes.get(&name.path).cloned();
            let own = expected.ok_or_else(|| Parameters::unknown(&name.path))?;
            let expected = name.shape_there(&own);
            if tensor.kind.floats().is_none() {
                problems.push(unusable(&name.torch, &tensor.kind));
                continue;
            }
            if tensor.shape != expected {
                problems.push(format!(
                    "{} is {}, expected {}",
                    name.torch,
                    shape(&tensor.shape),
                    shape(&expected)
                ));
                continue;
            }
            fitting.push((name, tensor, own));
        }
        let list = |what: &str, names: Vec<String>| {
            let more = names.len().saturating_sub(MOST_NAMED);
            let named = names[..names.len() - more].join(", ");
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            (!names.is_empty()).then(|| format!("{what} {named}{more}"))
        };
        problems.extend(list("missing:", missing));
        let left_over = found.into_iter().filter(|(_, tensor)| !tensor.is_counter());
        problems.extend(list("left over:", left_over.map(|(name, _)| name).collect()));
        if !problems.is_empty() {
            return Err(self.refuse(format!(
                "it does not hold the weights of this network; give the structure it was trained with ({})",
                problems.join("; ")
            )));
        }
        // Only now, and of a size that is known: a small file may declare tensors of any size.
        let declared = fitting.iter().map(|(_, tensor, _)| tensor.bytes());
        let declared = declared.fold(0, u64::saturating_add);
        if declared > self.source.length.saturating_add(MAX_BEYOND_FILE) {
            return Err(self.refuse(format!(
                "its tensors take {declared} bytes of memory, and it has {} itself, so most of them repeat a few numbers: \
                 save each as a tensor of its own, with clone()",
                self.source.length
            )));
        }
        let mut numbers = Numbers::of(&self.source, fitting.iter().map(|(_, tensor, _)| *tensor));
        let mut parameters = Parameters::of(&network);
        for (name, tensor, own) in fitting {
            let data = numbers.read(tensor);
            let data = data.map_err(|reason| self.refuse(format!("tensor {}: {reason}", name.torch)))?;
            self.check(&name.torch, &data)?;
            parameters.insert(name.path.clone(), name.laid_out(data, own));
        }
        parameters.put_into(network)
    }

    /// Refuses numbers that no trained network has.
    fn check(&self, name: &str, data: &TensorData) -> Result<(), Error> {
        let values = data.as_slice::<f32>().expect("they are 32-bit floats by now");
        if values.iter().any(|value| !value.is_finite()) {
            return Err(self.refuse(format!(
                "tensor {name} holds NaN or infinity: the training that wrote it has diverged"
            )));
        }
        if name.ends_with("running_var") && values.iter().any(|&value| value < 0.0) {
            return Err(self.refuse(format!(
                "tensor {name} holds a variance below 0, which there is not: save the network's state_dict() again"
            )));
        }
        Ok(())
    }

    /// The tensors by the names in `names`: without prefix, without `bn_dict`, and without what the original's scripts
    /// create and never use.
    fn by_name(&self, names: &[TorchName]) -> Result<BTreeMap<String, &Stored>, Error> {
        let expected: BTreeSet<&str> = names.iter().map(|name| name.torch.as_str()).collect();
        let prefix = self.prefix(&expected)?;
        let unused = |name: &str| {
            let leaf = name.split('.').next().unwrap_or_default();
            expected.contains("classifier.weight") && (leaf == "prelu" || leaf.starts_with("bn"))
        };
        let mut bits = BTreeSet::new();
        let mut found = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let Some(name) = name.strip_prefix(prefix) else {
                continue;
            };
            let plain = without_bn_dict(name);
            let is_expected = expected.contains(plain.as_str());
            if is_expected {
                bits.extend(bits_of(name));
            } else if unused(&plain) {
                continue;
            }
            if found.insert(plain.clone(), tensor).is_some() && is_expected && bits.len() <= 1 {
                return Err(self.refuse(format!(
                    "it holds {plain} within `bn_dict` and beside it: save the one that the network computes with"
                )));
            }
        }
        if bits.len() > 1 {
            let bits: Vec<&str> = bits.into_iter().collect();
            return Err(self.refuse(format!(
                "it holds batch norms of several bit widths ({}): save those of one alone",
                bits.join(", ")
            )));
        }
        Ok(found)
    }

    /// What stands in front of the network's names.
    fn prefix(&self, expected: &BTreeSet<&str>) -> Result<&str, Error> {
        let longest = expected.iter().map(|name| name.len()).max().unwrap_or_default();
        // Under each prefix, which of the names there are, and whether one of them is of floats: masks may be called as the
        // weights that they are of.
        let mut under: BTreeMap<&str, (BTreeSet<&str>, bool)> = BTreeMap::new();
        for (name, tensor) in &self.tensors {
            let cut = name.find("bn_dict.").unwrap_or(name.len());
            let dots = name[..cut].match_indices('.').map(|(at, _)| at + 1).rev();
            for at in dots.chain([0]) {
                // No name is longer, with a bit width in it or without.
                if cut - at > longest {
                    break;
                }
                if let Some(known) = expected.get(without_bn_dict(&name[at..]).as_str()) {
                    let (names, floats) = under.entry(&name[..at]).or_default();
                    names.insert(known);
                    *floats |= tensor.kind.floats().is_some();
                }
            }
        }
        under.retain(|_, (_, floats)| *floats);
        let most = under
            .values()
            .map(|(names, _)| names.len())
            .max()
            .unwrap_or_default();
        // A network that lacks a tensor beside one that lacks none may be the one that was meant.
        let nearly = |names: usize| 10 * names > 9 * expected.len();
        let networks: Vec<&str> = (under.iter())
            .filter(|(_, (names, _))| nearly(names.len()))
            .map(|(prefix, _)| *prefix)
            .collect();
        if networks.len() > 1 {
            let named = |prefix: &&str| format!("`{}`", prefix.trim_end_matches('.'));
            let named: Vec<String> = networks.iter().take(MOST_NAMED).map(named).collect();
            return Err(self.refuse(format!(
                "it holds the network more than once, under {}: save one state_dict() alone",
                named.join(" and ")
            )));
        }
        let likely = (under.iter()).filter(|(_, (names, _))| names.len() == most);
        let prefix = likely
            .map(|(prefix, _)| *prefix)
            .min_by_key(|prefix| prefix.len());
        Ok(prefix.unwrap_or_default())
    }

    fn refuse(&self, reason: String) -> Error {
        refused(&self.path, &reason)
    }
}

/// Names of tensors are anything, and so is what stands in metadata.
fn refused(path: &Path, reason: &str) -> Error {
    Error::StateDict {
        path: path.into(),
        reason: text::line(reason),
    }
}

/// Writes `network` as safetensors under PyTorch's names, all in 32-bit floats. Its name, its
/// structure and what it reads, `input`, go into the metadata, so that [`StateDict::structure`] and [`StateDict::input`]
/// need no flags.
///
/// ```python
/// from safetensors.torch import load_file
/// model.load_state_dict(load_file("resnet20.safetensors"))
/// ```
///
/// # Errors
///
/// [`Error::Structure`] where `input` does not fit the network, and where quantised weights are asked of one that
/// [folds batch norms](crate::models::NetworkConfig::folds_norms) into them; [`Error::Io`] where the file cannot be written; what was there
/// is left as it was then.
pub fn save_safetensors<N: TorchNames>(
    network: &N,
    input: &PictureSpec,
    path: &Path,
    weights: Weights,
) -> Result<(), Error> {
    let config = network.structure();
    check_input(&config, input)?;
    if weights == Weights::Quantized && config.folds_norms() {
        return Err(Error::Structure {
            network: config.name(),
            reason: "its batch norms are folded into its quantised weights, and a PyTorch model would apply them twice: write latent weights, \
                     or ONNX"
                .into(),
        });
    }
    let parameters = match weights {
        Weights::Latent => Parameters::of(network),
        Weights::Quantized => Parameters::of(&quantized(network.clone())?),
    };
    let tensors = network.torch_names().into_iter().map(|name| {
        let data = parameters.get(&name.path)?.clone();
        let shape = name.shape_there(data.shape());
        Ok((name.torch.clone(), name.laid_out(data, shape)))
    });
    let tensors = tensors.collect::<Result<Vec<(String, TensorData)>, Error>>()?;
    let structure = serde_json::to_string(&config).expect("a configuration is plain data");
    let input = serde_json::to_string(input).expect("a specification is plain data");
    let metadata = [
        (NETWORK, N::Config::NAME.to_owned()),
        (STRUCTURE, structure),
        (INPUT, input),
        (WEIGHTS, weights.name().to_owned()),
    ];
    let metadata = metadata.map(|(key, text)| (key.to_owned(), text)).into();
    let failed = |error: &dyn Display| Error::StateDict {
        path: path.into(),
        reason: format!("it cannot be written: {error}"),
    };
    let views = tensors.iter().map(|(name, data)| {
        let view = TensorView::new(Dtype::F32, data.shape().to_vec(), data.as_bytes());
        Ok((name, view.map_err(|error| failed(&error))?))
    });
    let views = views.collect::<Result<Vec<_>, Error>>()?;
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| failed(&error))?;
    files::write(path, &files::with_sorted_header(bytes)).map_err(Error::io(path, "write"))
}

/// The network with the weights that it computes with in the place of its latent ones.
fn quantized<N: Network>(network: N) -> Result<N, Error> {
    let graph = network.graph()?;
    let mut parameters = Parameters::of(&network);
    for weight in graph.nodes().iter().filter_map(Node::weight) {
        if let Some(path) = weight.name() {
            let data = TensorData::new(weight.values().to_vec(), weight.shape().to_vec());
            parameters.insert(path, data);
        }
    }
    parameters.put_into(network)
}

/// Why a tensor cannot be one of the network's.
fn unusable(name: &str, kind: &Kind) -> String {
    format!("{name} is {kind}, expected floats of 16, 32 or 64 bits")
}

/// The 2 of `layer1.0.bn0.bn_dict.2.weight`.
fn bits_of(name: &str) -> Option<&str> {
    name.split_once("bn_dict.")?.1.split('.').next()
}

/// `layer1.0.bn0.bn_dict.2.weight` as `layer1.0.bn0.weight`.
fn without_bn_dict(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(at) = parts.iter().position(|&part| part == "bn_dict") {
        parts.drain(at..(at + 2).min(parts.len()));
    }
    parts.join(".")
}

/// `[16, 3, 3, 3]` as "16x3x3x3".
fn shape(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
