//! Weights from PyTorch and to PyTorch: the networks of VWC-SDK under the names that its scripts give their parameters.
//!
//! [`StateDict::read`] takes a `state_dict` that `torch.save` wrote (`.pt`, `.pth`) or a safetensors file, and
//! [`StateDict::load_into`] puts it into one of the [`models`](crate::models). [`save_safetensors`] writes a file that a
//! PyTorch module of the same structure loads, latent weights or those that are computed with.
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
//! save_safetensors(&network, &config, &input, &path, Weights::Latent)?;
//!
//! let file = StateDict::read(&path)?;
//! let network = file.load_into(config.init(&Device::default()))?;
//! assert_eq!(file.input()?, Some(input));
//! # let _ = network;
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::store::burn_pack::Tensor as PackTensor;
use burn::store::{
    ModuleAdapter, ModuleContext, ModuleSnapshot, ModuleStore, PytorchStore, SafetensorsStore, bridge,
};
use burn::tensor::{DType, TensorData};
use clap::ValueEnum;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::data::PictureSpec;
use crate::files;
use crate::models::{Network, NetworkConfig, Parameters, TorchLayout, TorchName};
use crate::pickle;

/// Where a file of ours keeps the name of its network, its structure, and which weights it holds.
const NETWORK: &str = "vwc-sdk.network";
const STRUCTURE: &str = "vwc-sdk.structure";
const WEIGHTS: &str = "vwc-sdk.weights";
/// Where it keeps what the network reads and tells apart.
const INPUT: &str = "vwc-sdk.input";

/// Which weights [`save_safetensors`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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

/// The tensors of a PyTorch file, by PyTorch's names.
#[derive(Clone, Debug)]
pub struct StateDict {
    path: PathBuf,
    tensors: BTreeMap<String, TensorData>,
    metadata: HashMap<String, String>,
}

impl StateDict {
    /// Reads a `.pt`, `.pth` or `.safetensors` file.
    ///
    /// Nothing in a pickle is ever run: tensors and plain values are taken out of it. One that looks up anything but what
    /// those are made of is refused, even where the result is dropped: what is meant to run code, and a whole module that
    /// was saved instead of its `state_dict`, which names classes of its own.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] for a file of another kind, one that is cut short or damaged, a pickle that wants to run
    /// code, and a tensor that holds something else than finite numbers, or a variance below 0, by name.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::StateDict {
            path: path.into(),
            reason,
        };
        std::fs::File::open(path).map_err(Error::io(path, "open"))?;
        let ending = path
            .extension()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let (found, metadata) = match &*ending {
            "pt" | "pth" => {
                let damaged = |error: &dyn std::fmt::Display| {
                    refuse(format!(
                        "this is no PyTorch file that can be read ({error}): save the network's state_dict() with torch.save"
                    ))
                };
                let names = pickle::names(path).map_err(|error| damaged(&error))?;
                if let Some(name) = names.into_iter().find(|name| !harmless(name)) {
                    return Err(refuse(format!(
                        "it asks for `{name}`, and a state_dict asks for nothing but tensors: it may be meant to run code, so \
                         it is not read; save the network's state_dict() with torch.save"
                    )));
                }
                // Indices of layers without parameters count too, as in PyTorch.
                let mut store = PytorchStore::from_file(path).map_indices_contiguous(false);
                let tensors = store.get_all_tensors().map_err(|error| damaged(&error))?;
                (tensors.clone(), HashMap::new())
            }
            "safetensors" => {
                let damaged = |error: &dyn std::fmt::Display| {
                    refuse(format!("this is no safetensors file that can be read ({error})"))
                };
                let mut store = SafetensorsStore::from_file(path);
                let tensors = store.get_all_tensors().map_err(|error| damaged(&error))?.clone();
                (tensors, metadata(path).map_err(|error| damaged(&error))?)
            }
            _ => {
                return Err(refuse(
                    "expected a file whose name ends in .pt, .pth or .safetensors".into(),
                ));
            }
        };
        let mut tensors = BTreeMap::new();
        for (name, tensor) in found {
            if name.ends_with("num_batches_tracked") {
                continue;
            }
            let data =
                bridge::into_data(tensor).map_err(|error| refuse(format!("tensor {name}: {error}")))?;
            if !matches!(data.dtype(), DType::F64 | DType::F32 | DType::F16 | DType::BF16) {
                return Err(refuse(format!(
                    "tensor {name} holds {:?}, expected floats",
                    data.dtype()
                )));
            }
            let data = data.convert::<f32>();
            let values = data.as_slice::<f32>().expect("they are 32-bit floats by now");
            if values.iter().any(|value| !value.is_finite()) {
                return Err(refuse(format!(
                    "tensor {name} holds NaN or infinity: the training that wrote it has diverged"
                )));
            }
            if name.ends_with("running_var") && values.iter().any(|&value| value < 0.0) {
                return Err(refuse(format!(
                    "tensor {name} holds a variance below 0, which there is not: save the network's state_dict() again"
                )));
            }
            tensors.insert(name, data);
        }
        Ok(Self {
            path: path.into(),
            tensors,
            metadata,
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
        (self.tensors.keys())
            .filter_map(|name| name.split_once("bn_dict.")?.1.split('.').next())
            .collect()
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
        // Before anything of that size is made: the tensors take as much memory as the file, and what they are said to be
        // may take any.
        let fitted = self.fit(&config)?;
        if fitted != config {
            return Err(self.refuse(format!(
                "its metadata says widths {:?} and {} classes, its tensors are those of {:?} and {}: export it again",
                config.widths(),
                config.classes(),
                fitted.widths(),
                fitted.classes()
            )));
        }
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
    pub fn fit<C: NetworkConfig>(&self, config: &C) -> Result<C, Error> {
        // Of one channel a layer, for the names alone.
        let smallest = config.resized(&vec![1; config.widths().len()])?;
        let network = smallest.init(&Default::default());
        let names = network.torch_names();
        let found = self.by_name(&names)?;
        let shape = |path: &str| {
            let name = names.iter().find(|name| name.path == path)?;
            found.get(&name.torch).map(|data| data.shape().to_vec())
        };
        let groups = network.channel_groups();
        let widths = groups.iter().map(|group| {
            let path = &group.ranked_by[0].path;
            let filters = shape(path).and_then(|shape| shape.first().copied());
            filters.ok_or_else(|| {
                let name = names.iter().find(|name| name.path == *path);
                self.refuse(format!(
                    "it holds no tensor {} ({} of {}), so the widths of its layers are not known: is it that network?",
                    name.map_or(path, |name| &name.torch),
                    group.name,
                    C::NAME
                ))
            })
        });
        let widths = widths.collect::<Result<Vec<_>, _>>()?;
        let fitted = config.fitted(&shape).resized(&widths);
        fitted.map_err(|error| self.refuse(error.to_string()))
    }

    /// `network` with the weights of the file.
    ///
    /// # Errors
    ///
    /// [`Error::StateDict`] lists by PyTorch's names what is missing in the file, what is left over and what has another
    /// shape. Nothing is loaded then.
    pub fn load_into<N: Network>(&self, network: N) -> Result<N, Error> {
        let names = network.torch_names();
        let mut found = self.by_name(&names)?;
        let mut parameters = Parameters::of(&network);
        let mut problems = Vec::new();
        let mut missing = Vec::new();
        for name in &names {
            let Some(data) = found.remove(&name.torch) else {
                missing.push(name.torch.clone());
                continue;
            };
            let mut expected = parameters.get(&name.path)?.shape().to_vec();
            if name.layout == TorchLayout::Transposed {
                expected.reverse();
            }
            if data.shape().to_vec() != expected {
                problems.push(format!(
                    "{} is {}, expected {}",
                    name.torch,
                    shape(&data.shape().to_vec()),
                    shape(&expected)
                ));
                continue;
            }
            let data = match name.layout {
                TorchLayout::Transposed => transposed(data),
                TorchLayout::Same => data.clone(),
            };
            parameters.insert(name.path.clone(), data);
        }
        let list = |what: &str, names: Vec<String>| {
            (!names.is_empty()).then(|| format!("{what} {}", names.join(", ")))
        };
        problems.extend(list("missing:", missing));
        problems.extend(list("left over:", found.into_keys().collect()));
        if !problems.is_empty() {
            return Err(self.refuse(format!(
                "it does not hold the weights of this network; give the structure it was trained with ({})",
                problems.join("; ")
            )));
        }
        parameters.put_into(network)
    }

    /// The tensors by the names in `names`: without prefix, without `bn_dict`, and without what the original's scripts
    /// create and never use.
    fn by_name(&self, names: &[TorchName]) -> Result<BTreeMap<String, &TensorData>, Error> {
        let bits = self.norm_bits();
        if bits.len() > 1 {
            let bits: Vec<&str> = bits.into_iter().collect();
            return Err(self.refuse(format!(
                "it holds batch norms of several bit widths ({}): save those of one alone",
                bits.join(", ")
            )));
        }
        let plain: Vec<(String, &TensorData)> = (self.tensors.iter())
            .map(|(name, data)| (without_bn_dict(name), data))
            .collect();
        let expected: BTreeSet<&str> = names.iter().map(|name| name.torch.as_str()).collect();
        // What stands in front of one of the names, and of how many.
        let first = &names[0].torch;
        let mut prefixes: BTreeMap<&str, usize> = (plain.iter())
            .filter_map(|(name, _)| name.strip_suffix(first.as_str()))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            .map(|prefix| (prefix, 0))
            .collect();
        for (prefix, count) in &mut prefixes {
            let of_network = |name: &str| {
                name.strip_prefix(prefix)
                    .is_some_and(|name| expected.contains(name))
            };
            *count = plain.iter().filter(|(name, _)| of_network(name)).count();
        }
        let most = prefixes.values().copied().max().unwrap_or_default();
        let likely: Vec<&str> = (prefixes.iter())
            .filter(|(_, count)| **count == most)
            .map(|(prefix, _)| *prefix)
            .collect();
        if likely.len() > 1 && most == expected.len() {
            return Err(
                self.refuse("it holds the network more than once: save one state_dict() alone".into())
            );
        }
        let prefix = likely
            .into_iter()
            .min_by_key(|prefix| prefix.len())
            .unwrap_or_default();
        let unused = |name: &str| {
            let leaf = name.split('.').next().unwrap_or_default();
            expected.contains("classifier.weight") && (leaf == "prelu" || leaf.starts_with("bn"))
        };
        Ok(plain
            .iter()
            .filter_map(|(name, data)| Some((name.strip_prefix(prefix)?.to_owned(), *data)))
            .filter(|(name, _)| expected.contains(name.as_str()) || !unused(name))
            .collect())
    }

    fn refuse(&self, reason: String) -> Error {
        Error::StateDict {
            path: self.path.clone(),
            reason,
        }
    }
}

/// Writes `network`, which `config` describes, as safetensors under PyTorch's names, all in 32-bit floats. Its name, its
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
/// [`Error::Structure`] where `input` does not fit the network; [`Error::Io`] where the file cannot be written; what was there
/// is left as it was then.
pub fn save_safetensors<C: NetworkConfig>(
    network: &C::Network,
    config: &C,
    input: &PictureSpec,
    path: &Path,
    weights: Weights,
) -> Result<(), Error> {
    input
        .validate(C::INPUT, config.classes())
        .map_err(|reason| Error::Structure {
            network: C::NAME,
            reason,
        })?;
    let names = network.torch_names();
    let network = match weights {
        Weights::Latent => network.clone(),
        Weights::Quantized => quantized(network.clone())?,
    };
    let structure = serde_json::to_string(config).expect("a configuration is plain data");
    let input = serde_json::to_string(input).expect("a specification is plain data");
    let mut store = SafetensorsStore::from_bytes(None)
        .metadata(NETWORK, C::NAME)
        .metadata(STRUCTURE, structure)
        .metadata(INPUT, input)
        .metadata(WEIGHTS, weights.name())
        .with_full_paths(names.iter().map(|name| name.torch.clone()))
        .with_to_adapter(ToTorch(
            names.into_iter().map(|name| (name.path.clone(), name)).collect(),
        ));
    let bytes = network.save_into(&mut store).and_then(|()| store.get_bytes());
    let bytes = bytes.map_err(|error| Error::StateDict {
        path: path.into(),
        reason: format!("it cannot be written: {error}"),
    })?;
    files::write(path, &files::with_sorted_header(bytes.to_vec())).map_err(Error::io(path, "write"))
}

/// The network with the weights that it computes with in the place of its latent ones.
fn quantized<N: Network>(network: N) -> Result<N, Error> {
    let mut parameters = Parameters::of(&network);
    for (path, weight) in network.quantized_weights() {
        parameters.insert(path, weight);
    }
    parameters.put_into(network)
}

/// Renames, and turns linear weights.
#[derive(Clone, Debug)]
struct ToTorch(HashMap<String, TorchName>);

impl ModuleAdapter for ToTorch {
    fn adapt(&self, mut tensor: PackTensor, _context: ModuleContext<'_>) -> PackTensor {
        let Some(TorchName { torch, layout, .. }) = self.0.get(&tensor.name) else {
            return tensor;
        };
        match layout {
            TorchLayout::Transposed => {
                let (dtype, mut shape) = (tensor.dtype, tensor.shape.clone());
                shape.reverse();
                bridge::map_data(tensor, torch.clone(), dtype, shape, |data| transposed(&data))
            }
            TorchLayout::Same => {
                tensor.name = torch.clone();
                tensor
            }
        }
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}

/// What a `state_dict` and what people save beside it is made of.
const HARMLESS: [&str; 20] = [
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.set",
    "__builtin__.set",
    "collections.OrderedDict",
    "collections.defaultdict",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "torch.Size",
    "torch.device",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch._tensor._rebuild_from_type_v2",
    "torch.nn.parameter.Parameter",
    "torch.storage.UntypedStorage",
];

/// PyTorch's types of numbers.
const DTYPES: [&str; 14] = [
    "bfloat16",
    "bool",
    "complex64",
    "complex128",
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "qint8",
    "quint8",
];

/// The names above, `torch.float32` and `torch.FloatStorage`.
fn harmless(name: &str) -> bool {
    let own = name.strip_prefix("torch.").is_some_and(|name| {
        let storage = name.strip_suffix("Storage");
        DTYPES.contains(&name)
            || storage.is_some_and(|kind| kind.chars().all(|char| char.is_ascii_alphabetic()))
    });
    own || HARMLESS.contains(&name)
}

fn metadata(path: &Path) -> Result<HashMap<String, String>, Box<dyn std::error::Error>> {
    let bytes = std::fs::read(path)?;
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes)?;
    Ok(metadata.metadata().clone().unwrap_or_default())
}

/// `layer1.0.bn0.bn_dict.2.weight` as `layer1.0.bn0.weight`.
fn without_bn_dict(name: &str) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(at) = parts.iter().position(|&part| part == "bn_dict") {
        parts.drain(at..(at + 2).min(parts.len()));
    }
    parts.join(".")
}

/// A matrix with rows and columns exchanged.
fn transposed(data: &TensorData) -> TensorData {
    let (rows, columns) = (data.shape()[0], data.shape()[1]);
    let values = data.as_slice::<f32>().expect("they are 32-bit floats");
    let turned: Vec<f32> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| values[row * columns + column]))
        .collect();
    TensorData::new(turned, [columns, rows])
}

/// `[16, 3, 3, 3]` as "16x3x3x3".
fn shape(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
