//! Networks that are none of this crate's: from an ONNX file, or one of the published networks that are known by their names.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Device;

use super::pictures::DataArgs;
use crate::data::{Normalization, PictureSpec, Splits};
use crate::graph::{Graph, Sketch, presets};
use crate::mapping::in_groups;
use crate::models::{GraphNet, GraphNetConfig, NetworkConfig as _};
use crate::module::Parameters;
use crate::train::{Project, initial};
use crate::{DeviceName, Error};

mod as_run;

pub use as_run::{AsRun, FileArgs};

/// A network that was read, in full precision.
#[derive(Debug)]
pub struct Opened {
    /// What it is.
    pub config: GraphNetConfig,
    /// With its weights, where it has some.
    pub graph: Option<Graph>,
    /// Where it comes from.
    pub source: String,
    /// What it reads, where its file says so: one that this program wrote.
    pub input: Option<PictureSpec>,
    /// Whether it is another network than that of the file, so that its weights are random.
    is_other: bool,
}

impl Opened {
    /// The published network called `name`, without weights.
    ///
    /// # Errors
    ///
    /// A name that none has.
    pub fn preset(name: &str) -> Result<Self, Error> {
        let sketch = presets::sketch(name).map_err(|error| Error::Recipe(format!("--network: {error}")))?;
        Ok(Self {
            config: GraphNetConfig::new(name, sketch)?,
            graph: None,
            source: name.into(),
            input: None,
            is_other: false,
        })
    }

    /// The classifier in an ONNX file.
    ///
    /// # Errors
    ///
    /// Those of [`read_onnx`], and a network that is no classifier of pictures.
    pub fn read(path: &Path, input_size: Option<[usize; 2]>) -> Result<Self, Error> {
        let (name, graph, metadata) = read_onnx(path, input_size)?;
        let config = GraphNetConfig::new(&name, Sketch::of(&graph)).map_err(|error| match error {
            Error::Structure { reason, .. } => refused(path, reason),
            error => error,
        })?;
        let input = what_it_reads(&metadata, &config).map_err(|reason| refused(path, reason))?;
        Ok(Self {
            config,
            graph: Some(graph),
            source: path.display().to_string(),
            input,
            is_other: false,
        })
    }

    /// Another network, in so many groups, whose weights are random or from elsewhere: `scratch` says that this is meant.
    ///
    /// # Errors
    ///
    /// A network with weights that should be kept, and one without a convolution that has the channels for it.
    pub fn with_groups(self, groups: usize, scratch: bool) -> Result<Self, Error> {
        if self.graph.is_some() && !scratch {
            return Err(Error::Recipe(format!(
                "--groups {groups}: it is another network than that of {}, whose weights do not fit: give --from-scratch, which begins with random ones, or --start-from with a run of that network",
                self.source
            )));
        }
        Ok(Self {
            config: self.config.with_groups(groups)?,
            source: in_groups(&self.source, groups),
            is_other: true,
            ..self
        })
    }

    /// The layers whose weights are codes: of a file that was quantised.
    pub fn layers_of_codes(&self) -> Vec<String> {
        let nodes = self.graph.iter().flat_map(Graph::nodes);
        nodes
            .filter(|node| node.weight_codes().is_some_and(|codes| codes.are_told()))
            .map(|node| node.name().to_owned())
            .collect()
    }

    /// The pictures that flags ask for, for a network that tells apart as many classes as they have.
    ///
    /// # Errors
    ///
    /// Pictures that cannot be read, and those of another number of classes.
    pub fn pictures(&self, data: &DataArgs) -> Result<Splits, Error> {
        let size = self.config.input();
        let data = self.read_by(data);
        let splits = data.splits::<GraphNetConfig>(None, size, None, 0)?;
        let (found, expected) = (splits.train.classes(), self.config.classes());
        if found != expected {
            return Err(self.other_classes(found));
        }
        let names = splits.train.spec(size).classes;
        if let Some(input) = &self.input
            && input.classes != names
        {
            return Err(Error::Recipe(format!(
                "{}: its classes are {}, and those of the pictures {}: import the file (vwc-sdk import), whose run matches them by name, or \
                 give it pictures of its own classes",
                self.source,
                input.classes.join(", "),
                names.join(", ")
            )));
        }
        if data.normalization.is_none() {
            self.say_normalization(splits.train.normalization());
        }
        Ok(splits)
    }

    /// The flags for pictures, which are read as the file says where no flag says otherwise.
    pub fn read_by(&self, data: &DataArgs) -> DataArgs {
        let kept = self.input.as_ref().map(|input| input.normalization);
        DataArgs {
            normalization: data.normalization.or(kept),
            ..data.clone()
        }
    }

    fn other_classes(&self, found: usize) -> Error {
        Error::Recipe(format!(
            "{}: it tells {} classes apart, and the pictures have {found}: give it pictures of its own classes, or train it for these \
             (vwc-sdk train --network {})",
            self.source,
            self.config.classes(),
            self.source
        ))
    }

    fn say_normalization(&self, taken: Normalization) {
        say!(
            "pictures are normalised by {taken}: if {} was trained with other numbers, say them with --normalization",
            self.source
        );
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
            let other = data
                .normalization
                .filter(|asked| *asked != run.input.normalization);
            return if let (true, Some(asked)) = (same, other) {
                Err(Error::Recipe(format!(
                    "--normalization {asked}: {} keeps {} with pictures normalised by {}: choose another --directory, or remove that",
                    project.path().display(),
                    self.source,
                    run.input.normalization
                )))
            } else if same {
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
        let drawn = || initial(&self.config, seed, device);
        let network = match &self.graph {
            None => drawn()?,
            Some(graph) => {
                device.seed(seed);
                let network = GraphNet::of(graph, &self.config.name(), device)?;
                if scratch || self.is_other {
                    network.with_weights_of(drawn()?)?
                } else {
                    network
                }
            }
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

/// Whether a name is that of an ONNX file.
pub fn is_onnx(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("onnx"))
}

/// What a file says beside its network, by keys.
pub type Metadata = BTreeMap<String, String>;

/// The network in an ONNX file, called as the file is, with what it computes, and the file's metadata.
///
/// # Errors
///
/// [`Error::Structure`], which names the file: one that is no network, and in a build without ONNX any.
pub fn read_onnx(path: &Path, input_size: Option<[usize; 2]>) -> Result<(String, Graph, Metadata), Error> {
    #[cfg(feature = "onnx")]
    let read = crate::onnx::import_file(path, input_size).map_err(|error| error.to_string());
    #[cfg(not(feature = "onnx"))]
    let read = Err(format!(
        "this vwc-sdk was built without ONNX{}: build it with `--features onnx`",
        input_size.map_or("", |_| ", so that --input-size means nothing")
    ));
    let (graph, metadata) = read.map_err(|reason| refused(path, reason))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    Ok((name.into_owned(), graph, metadata))
}

/// What a network reads, where the metadata of its file says so.
fn what_it_reads(metadata: &Metadata, config: &GraphNetConfig) -> Result<Option<PictureSpec>, String> {
    let Some(text) = metadata.get(crate::pytorch::INPUT) else {
        return Ok(None);
    };
    let input: PictureSpec = serde_json::from_str(text).map_err(|error| {
        format!(
            "its metadata `{}` does not describe pictures: {error}: remove it",
            crate::pytorch::INPUT
        )
    })?;
    match input.validate(config.input(), config.classes()) {
        Ok(()) => Ok(Some(input)),
        Err(reason) => Err(format!(
            "its metadata `{}` is of another network: {reason}: remove it",
            crate::pytorch::INPUT
        )),
    }
}

fn refused(path: &Path, reason: String) -> Error {
    Error::Structure {
        network: path.display().to_string(),
        reason,
    }
}
