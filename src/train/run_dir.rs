//! The folder that a training leaves behind, written and read.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::{Device, Tensor, TensorData};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use super::classifier::CROSS_ENTROPY;
use super::epoch::{self, EpochMetrics};
use super::manifest::{self, CHECKPOINT};
use super::{Recipe, Schedule};
use crate::Error;
use crate::data::{Augment, DataSource, Normalization, PictureSpec, Splits};
use crate::mapping::MappingConfig;
use crate::models::{Network, NetworkConfig, check_input};
use crate::module::Parameters;
use crate::panics::attempt;
use crate::{files, text};

/// Shapes of parameters by their paths.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// The network of the best epoch.
const MODEL: &str = "model.bpk";

/// Columns of `metrics.csv`: the fields of [`EpochMetrics`], in their order, and the data.
const METRICS_HEADER: [&str; 8] = [
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_accuracy",
    "seconds",
    "data",
];

/// What a run was: enough to read its network, to give it the pictures that it reads, and to repeat it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RunConfig<C> {
    /// The network's name.
    pub network: String,
    /// The network's structure.
    pub structure: C,
    /// The parameters that pruning left with other shapes than the structure gives them, by their paths. There are some where the
    /// structure says no widths.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub shapes: BTreeMap<String, Vec<usize>>,
    /// What the network reads and tells apart: size, normalisation and channels of the pictures, names of the classes. Every
    /// reader of the run keeps to it, whatever pictures it is given.
    pub input: PictureSpec,
    /// How it was trained.
    pub recipe: Recipe,
    /// What training made small: the name of a [`Loss`](super::Loss).
    pub loss: String,
    /// Where the pictures came from, in words.
    pub data: String,
    /// Where they can be read from again; `None` where a program put them together, and where the pictures of a network that was
    /// not trained here are not known.
    pub source: Option<DataSource>,
    /// Training, validation and test pictures.
    pub pictures: [usize; 3],
    /// Checksums of the pictures to train on, validation included, and to test with.
    pub checksums: Option<[u32; 2]>,
    /// The share of the training pictures that validation was given.
    pub valid_share: f64,
    /// The seed it was drawn with.
    pub split_seed: u64,
    /// How the training pictures were varied. Runs of before it was saved varied none.
    pub augment: Augment,
    /// The array, accounting and search that it was trained or pruned for, if for any.
    pub mapping: Option<MappingConfig>,
    /// How the network was pruned before, in words; none where it was not.
    pub pruning: Option<String>,
    /// The weights that training started from, in words; none where nobody said them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Version of this crate.
    pub version: String,
}

/// `config.json` as this version and those before wrote it.
#[derive(Deserialize)]
struct Saved<C> {
    network: String,
    structure: C,
    #[serde(default)]
    shapes: Shapes,
    /// Since 0.4.
    input: Option<PictureSpec>,
    /// Until 0.3, instead.
    #[serde(default)]
    classes: Vec<String>,
    /// Until 0.3, instead.
    #[serde(default)]
    normalization: Normalization,
    recipe: Recipe,
    #[serde(default = "cross_entropy")]
    loss: String,
    data: String,
    source: Option<DataSource>,
    pictures: [usize; 3],
    checksums: Option<[u32; 2]>,
    valid_share: f64,
    split_seed: u64,
    #[serde(default)]
    augment: Augment,
    mapping: Option<MappingConfig>,
    pruning: Option<String>,
    start: Option<String>,
    version: String,
}

/// The loss of runs of version 0.6 and earlier.
fn cross_entropy() -> String {
    CROSS_ENTROPY.into()
}

impl<C: NetworkConfig> Saved<C> {
    /// The run, where it says what its network reads.
    fn checked(self) -> Result<RunConfig<C>, String> {
        self.structure
            .validate()
            .map_err(|error| format!("{error}: restore the file, or train again"))?;
        let (size, outputs) = (self.structure.input(), self.structure.classes());
        let legacy = self.input.is_none();
        let input = match self.input {
            Some(input) => input,
            None if self.recipe.epochs == 0 => {
                return Err(format!(
                    "the network was imported by version {}, which did not keep how its pictures are normalised: import \
                     its file again",
                    self.version
                ));
            }
            None if self.classes.is_empty() => {
                PictureSpec::numbered(size, outputs).with_normalization(self.normalization)
            }
            None => PictureSpec::new(size, self.classes).with_normalization(self.normalization),
        };
        input
            .validate(size, outputs)
            .map_err(|reason| format!("its `input` has {reason}: restore the file, or train again"))?;
        let [train, valid, _] = self.pictures;
        let imported = self.recipe.epochs == 0;
        let source = self.source.or_else(|| {
            let words = (legacy && !imported).then_some(&self.data)?;
            DataSource::from_words(words, train.saturating_add(valid))
        });
        Ok(RunConfig {
            network: self.network,
            structure: self.structure,
            shapes: self.shapes,
            input,
            recipe: self.recipe,
            loss: self.loss,
            data: self.data,
            source,
            pictures: self.pictures,
            checksums: self.checksums,
            valid_share: self.valid_share,
            split_seed: self.split_seed,
            augment: self.augment,
            mapping: self.mapping,
            pruning: self.pruning,
            start: self.start,
            version: self.version,
        })
    }
}

impl<C: NetworkConfig> RunConfig<C> {
    /// A network of this structure and of these shapes, with random weights.
    pub(super) fn made(&self, device: &Device) -> Result<C::Network, String> {
        let network = self.structure.init(device);
        if self.shapes.is_empty() {
            return Ok(network);
        }
        let mut parameters = Parameters::default();
        let mut shapes = Parameters::shapes(&network);
        for (path, shape) in &self.shapes {
            let refuse = |reason: String| format!("its `shapes` say of {path} {shape:?}, {reason}");
            let whole = shapes
                .get_mut(path)
                .ok_or_else(|| refuse("and the network has no such parameter".into()))?;
            let fits = shape.len() == whole.len()
                && shape
                    .iter()
                    .zip(&*whole)
                    .all(|(size, most)| (1..=*most).contains(size));
            if !fits {
                return Err(refuse(format!("expected at most {whole:?}")));
            }
            whole.clone_from(shape);
        }
        for (path, shape) in shapes {
            let zeros = vec![0.0f32; shape.iter().product()];
            parameters.insert(path, TensorData::new(zeros, shape));
        }
        let mut network = parameters
            .put_resized(network)
            .map_err(|error| error.to_string())?;
        network.refit();
        Ok(network)
    }
}

/// Refuses a network that its configuration does not make: one that was changed since, whose changes a run would lose. And one that
/// does not give a number for each class, or holds what is no number.
pub(super) fn check_made<N: Network>(
    network: &N,
    run: &RunConfig<N::Config>,
    device: &Device,
) -> Result<(), Error> {
    let refuse = |reason: String| Error::Structure {
        network: network.config().name(),
        reason: text::line(&reason),
    };
    // Dropout is at work on devices that compute gradients.
    let device = &device.clone().inner();
    let parameters = Parameters::of(network);
    if let Some(parameter) = parameters.not_finite() {
        return Err(refuse(format!(
            "{parameter} holds NaN or infinity: train it anew"
        )));
    }
    const ADVICE: &str = "a run keeps its configuration and its parameters alone: have `NetworkConfig::init` make all else, a \
                          quantiser of its weights for instance";
    let [height, width] = run.structure.input();
    let count = 2 * 3 * height * width;
    let noise: Vec<f32> = (0..count)
        .map(|n| ((n * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let logits = |network: &N| {
        let images = Tensor::from_data(TensorData::new(noise.clone(), [2, 3, height, width]), device);
        attempt(|| network.forward(images).into_data()).map_err(|reason| {
            refuse(format!(
                "its forward pass of a picture of {height}x{width} fails: {reason}"
            ))
        })
    };
    let own = logits(&network.valid())?;
    let classes = run.structure.classes();
    if own.shape()[..] != [2, classes] {
        return Err(refuse(format!(
            "it gives {:?} numbers for two pictures, expected one for each of the {classes} classes that `NetworkConfig::classes` says",
            own.shape().to_vec()
        )));
    }
    let made = run
        .made(device)
        .and_then(|made| parameters.put_into(made).map_err(|error| error.to_string()));
    let made = made.map_err(|error| {
        refuse(format!(
            "its configuration makes another network ({error}); {ADVICE}"
        ))
    })?;
    let other = logits(&made)?;
    let (own, other): (Vec<f32>, Vec<f32>) = (own.iter::<f32>().collect(), other.iter::<f32>().collect());
    let largest = own.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if own
        .iter()
        .zip(&other)
        .any(|(own, other)| (own - other).abs() > 1e-4 * largest)
    {
        return Err(refuse(format!(
            "its configuration makes a network that computes otherwise with the same parameters; {ADVICE}"
        )));
    }
    Ok(())
}

/// The parameters of `network` that have other shapes than `structure` gives them.
pub(super) fn other_shapes<N: Network>(network: &N, structure: &N::Config, device: &Device) -> Shapes {
    let whole = Parameters::shapes(&structure.init(device));
    let mut shapes = Parameters::shapes(network);
    shapes.retain(|path, shape| whole.get(path) != Some(shape));
    shapes
}

impl<C> RunConfig<C> {
    /// Whether the network was not trained here but read from a file, or made of another by quantising it.
    pub fn is_imported(&self) -> bool {
        self.recipe.epochs == 0
    }

    /// Whether it says which pictures were divided how: those that the network was trained on or, where it was quantised without
    /// training, those that it was given.
    pub fn knows_pictures(&self) -> bool {
        self.pictures != [0; 3]
    }

    /// The pictures in words, as [`Splits`] describes itself, or the file that the network was read from.
    pub fn data(&self) -> String {
        if self.is_imported() {
            return self.data.clone();
        }
        let [train, valid, test] = self.pictures;
        format!(
            "{} ({train} training, {valid} validation, {test} test pictures, split by seed {})",
            self.data, self.split_seed
        )
    }

    /// Whether `splits` are the pictures that the network was trained on, divided in the same way. They may lie in another
    /// folder: contents are compared, by their checksums. A run of version 0.3 or earlier has none, so names and numbers
    /// are.
    pub fn is_trained_on(&self, splits: &Splits) -> bool {
        let same = match self.checksums {
            Some(checksums) => checksums == splits.checksums,
            None => self.data == splits.source || self.source == splits.origin,
        };
        same && self.pictures == splits.counts() && self.split_seed == splits.seed
    }
}

/// The folder one training leaves behind.
///
/// | file | what it holds |
/// |---|---|
/// | `config.json` | [`RunConfig`] |
/// | `metrics.csv` | one [`EpochMetrics`] an epoch, and where the pictures came from |
/// | `model.bpk` | the network of the best epoch, in Burn's format; there once training is complete |
/// | `run.log` | what was said on the way |
/// | `checkpoint/` | the last two epochs and the best, to resume from |
/// | `manifest.json` | the checksums of all of these but the log |
///
/// Every file but the log is written under another name and then renamed, so that a run which is cut off leaves whole
/// files. Every reader compares the checksums: a file that changed since the run wrote it is refused, and
/// [`accept_changes`](RunDir::accept_changes) takes it as it is. Runs of version 0.3 and earlier have no checksums.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// The run in the folder `path`, which need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether training came to its end here. Where that cannot be told, because permission to look is missing, it is taken to
    /// have: whoever loads the network is told so.
    pub fn is_complete(&self) -> bool {
        files::may_be_file(&self.model())
    }

    /// Enters the files as they are now into the list of checksums, and returns those that have changed since the run wrote
    /// them: for whoever edited them and knows why.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where a file cannot be read or the list not written.
    pub fn accept_changes(&self) -> Result<Vec<PathBuf>, Error> {
        manifest::accept(&self.path)
    }

    /// Makes the folder. One that holds a run already is moved aside, to `<path>.1` or the next free number, and its
    /// new name is returned.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the folder cannot be made or written to.
    pub fn create(&self) -> Result<Option<PathBuf>, Error> {
        let moved = move_aside(&self.path)?;
        fs::create_dir_all(self.checkpoint()).map_err(Error::io(&self.path, "create the folder"))?;
        Ok(moved)
    }

    /// The configuration of the run.
    ///
    /// # Errors
    ///
    /// [`Error::NoModel`] where there is none, [`Error::Checkpoint`] where it is not one of a `C`.
    pub fn config<C: NetworkConfig>(&self) -> Result<RunConfig<C>, Error> {
        let path = self.path.join("config.json");
        // Before the structure, which differs from network to network.
        let network = run_network(&self.path)?;
        if network != C::NAME {
            return Err(Error::Checkpoint {
                path,
                reason: format!("this is a run of {}, expected {}", text::line(&network), C::NAME),
            });
        }
        let bytes = manifest::read(&self.path, "config.json", is_legacy(&self.path)?)?;
        let saved: Saved<C> = from_json(&path, &bytes)?;
        saved.checked().map_err(|reason| Error::Checkpoint {
            path,
            reason: text::line(&reason),
        })
    }

    /// The best network and its configuration.
    ///
    /// # Errors
    ///
    /// As [`RunDir::config`]; [`Error::Checkpoint`] where the weights do not fit the structure.
    pub fn load<C: NetworkConfig>(&self, device: &Device) -> Result<(C::Network, RunConfig<C>), Error> {
        let config = self.config::<C>()?;
        let path = self.model();
        if !exists(&path)? {
            return Err(Error::NoModel {
                dir: self.path.clone(),
                reason: "model.bpk is missing: training has not come to its end".into(),
            });
        }
        self.check(MODEL)?;
        let record = load_record(&path)?;
        let network = config.made(device).map_err(|reason| Error::Checkpoint {
            path: self.path.join("config.json"),
            reason: text::line(&format!("{reason}: restore the file")),
        })?;
        let network = apply(network, record, &path)?;
        if let Some(parameter) = Parameters::of(&network).not_finite() {
            return Err(Error::Checkpoint {
                path,
                reason: format!("{parameter} holds NaN or infinity: train again, or restore the file"),
            });
        }
        Ok((network, config))
    }

    /// One row an epoch, in order.
    ///
    /// # Errors
    ///
    /// A file that is not what [`RunDir`] writes. No file is an empty history.
    pub fn metrics(&self) -> Result<Vec<EpochMetrics>, Error> {
        let path = self.path.join("metrics.csv");
        if !exists(&path)? {
            return Ok(Vec::new());
        }
        let bytes = manifest::read(&self.path, "metrics.csv", is_legacy(&self.path)?)?;
        csv::Reader::from_reader(&bytes[..])
            .deserialize()
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Checkpoint {
                path,
                reason: text::line(&format!("this is no table of epochs: {error}")),
            })
    }

    /// The epoch whose network was kept: highest validation accuracy, the earliest of equals.
    ///
    /// # Errors
    ///
    /// As [`RunDir::metrics`]; [`Error::Checkpoint`] where no epoch has an accuracy.
    pub fn best(&self) -> Result<EpochMetrics, Error> {
        epoch::best(&self.metrics()?)
            .copied()
            .ok_or_else(|| Error::Checkpoint {
                path: self.path.join("metrics.csv"),
                reason:
                    "it holds no validation accuracy of the saved network: train again, or restore the file"
                        .into(),
            })
    }

    /// Keeps a network that was not trained here but came from `source`, a file, as though it were the best of a run.
    /// `input`: what it reads, as it was trained. An earlier run is moved aside as by [`RunDir::create`], whose result is
    /// returned.
    ///
    /// # Errors
    ///
    /// Those of [`RunDir::create`], an `input` that does not fit the network, and a file that cannot be written.
    pub fn import<N: Network>(
        &self,
        network: &N,
        input: &PictureSpec,
        source: &str,
    ) -> Result<Option<PathBuf>, Error> {
        self.keep(network, input, source, None)
    }

    /// As [`import`](Self::import), for a network that was made of another with `pictures`, which are kept as those of a training are:
    /// commands that read the run look at them where no flag says otherwise.
    ///
    /// # Errors
    ///
    /// Those of [`import`](Self::import).
    pub fn import_with<N: Network>(
        &self,
        network: &N,
        pictures: &Splits,
        source: &str,
    ) -> Result<Option<PathBuf>, Error> {
        let input = pictures.train.spec(network.structure().input());
        self.keep(network, &input, source, Some(pictures))
    }

    fn keep<N: Network>(
        &self,
        network: &N,
        input: &PictureSpec,
        source: &str,
        pictures: Option<&Splits>,
    ) -> Result<Option<PathBuf>, Error> {
        let structure = network.structure();
        check_input(&structure, input)?;
        let device = network.devices().into_iter().next().unwrap_or_default();
        let run = RunConfig {
            network: N::Config::NAME.into(),
            shapes: other_shapes(network, &structure, &device),
            structure,
            loss: CROSS_ENTROPY.into(),
            input: input.clone(),
            recipe: Recipe::new(0, Schedule::MultiStep(Vec::new())),
            data: source.into(),
            source: pictures.and_then(|splits| splits.origin.clone()),
            pictures: pictures.map_or([0; 3], Splits::counts),
            checksums: pictures.map(|splits| splits.checksums),
            valid_share: pictures.map_or(0.0, |splits| splits.valid_share),
            split_seed: pictures.map_or(0, |splits| splits.seed),
            augment: pictures.map_or(Augment::none(), |splits| splits.augment),
            mapping: None,
            pruning: None,
            start: None,
            version: env!("CARGO_PKG_VERSION").into(),
        };
        check_made(network, &run, &device)?;
        let moved = self.create()?;
        self.save_config(&run)?;
        self.save_model(network.clone().into_record())?;
        Ok(moved)
    }

    pub(super) fn save_config<C: Serialize>(&self, config: &RunConfig<C>) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(config).expect("a configuration is plain data");
        self.write("config.json", format!("{text}\n").as_bytes())
    }

    /// The table has a last column that [`EpochMetrics`] has not: where the pictures came from.
    pub(super) fn save_metrics(&self, metrics: &[EpochMetrics], data: &str) -> Result<(), Error> {
        let mut csv = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(Vec::new());
        csv.write_record(METRICS_HEADER).expect("memory takes it");
        for row in metrics {
            csv.serialize((row, data)).expect("memory takes it");
        }
        let bytes = csv.into_inner().expect("memory takes it");
        self.write("metrics.csv", &bytes)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        manifest::replace(&self.path, name, |to| fs::write(to, bytes))
            .map_err(Error::io(self.path.join(name), "write"))
    }

    /// Enters the files of a run of version 0.3 or earlier, which is gone on with by this one.
    pub(super) fn adopt(&self) -> Result<(), Error> {
        if is_legacy(&self.path)? {
            self.accept_changes()?;
        }
        Ok(())
    }

    /// Whether the file `name` is as the run wrote it.
    pub(super) fn check(&self, name: &str) -> Result<(), Error> {
        manifest::check(&self.path, name, is_legacy(&self.path)?)
    }

    pub(super) fn save_model(&self, record: ModuleRecord) -> Result<(), Error> {
        manifest::replace(&self.path, MODEL, |to| record.save(to).map_err(io::Error::other))
            .map_err(Error::io(self.model(), "write"))
    }

    /// Adds a line to `run.log`. A log that cannot be written is no reason to stop a training.
    pub(super) fn log(&self, line: &str) {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path.join("run.log"));
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{line}");
        }
    }

    fn model(&self) -> PathBuf {
        self.path.join(MODEL)
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }
}

/// The name of the network that was trained in the folder `dir`.
///
/// # Errors
///
/// [`Error::NoModel`] where there is none, [`Error::Checkpoint`] where the configuration cannot be read.
pub fn run_network(dir: &Path) -> Result<String, Error> {
    #[derive(Deserialize)]
    struct Named {
        network: String,
    }
    Ok(peek::<Named>(dir)?.network)
}

/// Whether the run in `dir` is one of version 0.3 or earlier, which entered no checksums, nor what its network reads.
fn is_legacy(dir: &Path) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Since04 {
        input: Option<IgnoredAny>,
    }
    // Without a configuration there is no run whose files could have been entered.
    Ok(!exists(&dir.join("config.json"))? || peek::<Since04>(dir)?.input.is_none())
}

/// A part of the configuration of the run in `dir`, before its checksum is compared: which network and version it is decides how the
/// rest is read.
fn peek<T: DeserializeOwned>(dir: &Path) -> Result<T, Error> {
    let path = dir.join("config.json");
    if !exists(&path)? {
        return Err(Error::NoModel {
            dir: dir.into(),
            reason: "config.json is missing".into(),
        });
    }
    let bytes = fs::read(&path).map_err(Error::io(&path, "read"))?;
    from_json(&path, &bytes)
}

/// Whether there is a file at `path`. A folder that may not be looked into is an error, and no file that is missing.
pub(super) fn exists(path: &Path) -> Result<bool, Error> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file()),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(Error::io(path, "read")(error)),
    }
}

/// Gives what is at `path` the first free name of `<path>.1`, `<path>.2`, ..., and returns it.
fn move_aside(path: &Path) -> Result<Option<PathBuf>, Error> {
    match fs::read_dir(path).map(|mut entries| entries.next()) {
        Ok(None) => return Ok(None),
        Ok(Some(_)) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // What may not be looked into may hold a run.
        Err(error) => return Err(Error::io(path, "read")(error)),
    }
    let name = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let free = (1..)
        .map(name)
        .find(|path| !path.exists())
        .expect("some number is free");
    fs::rename(path, &free).map_err(Error::io(path, "move the earlier run aside"))?;
    Ok(Some(free))
}

pub(super) fn load_record(path: &Path) -> Result<ModuleRecord, Error> {
    ModuleRecord::load(path).map_err(|error| Error::Checkpoint {
        path: path.into(),
        reason: text::line(&format!(
            "this is no saved network ({}): train again, or restore the file",
            innermost(&error)
        )),
    })
}

/// What went wrong first: the errors around it say the same in other words.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

pub(super) fn apply<M: Module>(module: M, record: ModuleRecord, path: &Path) -> Result<M, Error> {
    // Burn panics at a weight that the file has as whole numbers.
    let loaded = attempt(|| module.try_load_record(record));
    let loaded = loaded.and_then(|loaded| loaded.map_err(|error| error.to_string()));
    loaded.map_err(|error| Error::Checkpoint {
        path: path.into(),
        reason: text::line(&format!(
            "the weights are not those of the network that config.json describes ({error})"
        )),
    })
}

fn from_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| Error::Checkpoint {
        path: path.into(),
        reason: text::line(&format!("this is no configuration of a run: {error}")),
    })
}
