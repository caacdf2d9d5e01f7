//! The crate's error, which takes in those of its modules.

use std::path::PathBuf;

use crate::crossbar::CrossbarError;
use crate::formats::PlanError;
use crate::mapping::MappingError;
use crate::report::plot::PlotError;

/// Prints errors as their sentences where Rust asks for their debug form: what `fn main() -> Result<(), Error>` and `unwrap`
/// show is for a person, too.
macro_rules! debug_as_sentence {
    ($($error:ty),+ $(,)?) => {$(
        impl std::fmt::Debug for $error {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    )+};
}
debug_as_sentence!(
    Error,
    crate::graph::GraphError,
    MappingError,
    CrossbarError,
    PlanError,
    PlotError
);
#[cfg(feature = "onnx")]
debug_as_sentence!(crate::onnx::OnnxError);
#[cfg(feature = "packed")]
debug_as_sentence!(crate::packed::PackedError);
#[cfg(feature = "train")]
debug_as_sentence!(crate::quant::BitsError, crate::data::DataError);

/// What can go wrong between a data file and a pruned network on an array. Each message is a sentence a person can act on.
///
/// A module that knows fewer errors has an enum of its own, and `?` turns each into this one.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A bit width that does not exist.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Bits(#[from] crate::quant::BitsError),
    /// A layer or array that cannot be mapped.
    #[error(transparent)]
    Mapping(#[from] MappingError),
    /// A mapping that cannot be run on a simulated array.
    #[error(transparent)]
    Array(#[from] CrossbarError),
    /// A saved plan that cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Nodes that make no graph, or a network of which none can be made.
    #[error(transparent)]
    Network(#[from] crate::graph::GraphError),
    /// A picture that cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// An ONNX file whose layers cannot be used.
    #[cfg(feature = "onnx")]
    #[error(transparent)]
    Onnx(#[from] crate::onnx::OnnxError),
    /// A data file that cannot be used.
    #[cfg(feature = "train")]
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// A network that cannot be packed, or a packed one that cannot be used.
    #[cfg(feature = "packed")]
    #[error(transparent)]
    Packed(#[from] crate::packed::PackedError),
    /// A device that is not in this build.
    #[error(
        "the device '{device}' is not compiled in: build with `--features {device}`, or choose one of: {available}"
    )]
    DeviceNotCompiledIn {
        /// The device asked for.
        device: &'static str,
        /// Those that are compiled in.
        available: String,
    },
    /// A name that no device has.
    #[error("there is no device '{name}': expected {expected}")]
    DeviceName {
        /// The name.
        name: String,
        /// What is understood.
        expected: String,
    },
    /// A device that is not there, or does not work.
    #[error("device {device}: {reason}")]
    Device {
        /// The device asked for.
        device: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// An address that cannot be served on.
    #[error("--bind {address}: {reason}")]
    Serve {
        /// The address.
        address: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// Widths that do not describe the network.
    #[error("{network} takes {expected} widths, each at least 1, found {found:?}")]
    Widths {
        /// The network.
        network: &'static str,
        /// How many widths it takes.
        expected: usize,
        /// Those given.
        found: Vec<usize>,
    },
    /// A structure that no network can have.
    #[error("{network}: {reason}")]
    Structure {
        /// The network.
        network: String,
        /// What is out of its range.
        reason: String,
    },
    /// A width that pruning cannot reach.
    #[error(
        "cannot prune {layer} from {channels} to {wanted} channels: between 1 and {channels} have to remain"
    )]
    PruneWidth {
        /// The layer.
        layer: String,
        /// The channels it has.
        channels: usize,
        /// The channels asked for.
        wanted: usize,
    },
    /// A parameter of a network that is not what was expected.
    #[error("{path}: {reason}")]
    Parameter {
        /// The parameter's path.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// A module whose forward pass cannot be followed.
    #[error("the module cannot be followed: {reason}")]
    Graph {
        /// Which operation stands in the way, and what to do.
        reason: String,
    },
    /// A PyTorch file whose weights cannot be used.
    #[error("{}: {reason}", path.display())]
    StateDict {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A ranking that a group of channels gives no grounds for.
    #[error("the channels of {group} cannot be ranked by {ranking}: {reason}")]
    Ranking {
        /// The group.
        group: String,
        /// The ranking asked for.
        ranking: &'static str,
        /// Why not, and what to do.
        reason: String,
    },
    /// A recipe that cannot be followed.
    #[error("{0}")]
    Recipe(String),
    /// A layer that cannot be run on a simulated array.
    #[error("layer `{layer}` on the simulated array: {source}")]
    Crossbar {
        /// The layer.
        layer: String,
        /// Why.
        source: CrossbarError,
    },
    /// A network that cannot be simulated.
    #[error("{0}")]
    Simulation(String),
    /// A run folder in which nothing was trained.
    #[error("{}: no trained network here ({reason}): train one, for a round prune one, or name the folder of another", dir.display())]
    NoModel {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A saved network or checkpoint that is not the one asked for.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
    },
    /// A file or folder that cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Training was stopped by Ctrl-C.
    #[error("{}: stopped; {epoch} epochs are saved: the same command with `--resume` goes on", dir.display())]
    Interrupted {
        /// The run folder.
        dir: PathBuf,
        /// The last epoch that is complete; 0 where none is.
        epoch: usize,
    },
    /// A training whose numbers left the range of floats.
    #[error("{}: training diverged: in epoch {epoch} {what} is no number any more; start again with a smaller learning rate than {learning_rate:?} (--lr), or with less of --weight-decay where that is given", dir.display())]
    Diverged {
        /// The run folder.
        dir: PathBuf,
        /// The epoch, from 1.
        epoch: usize,
        /// What is NaN or infinite.
        what: &'static str,
        /// The learning rate at its start.
        learning_rate: f64,
    },
    /// Training failed inside Burn.
    #[error("{}: training failed: {reason}; what was saved is whole, and `--resume` goes on from there", dir.display())]
    Training {
        /// The run folder.
        dir: PathBuf,
        /// What failed.
        reason: String,
    },
}

#[cfg(feature = "train")]
impl Error {
    /// An [`Error::Io`] of doing `action` to `path`.
    pub(crate) fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }

    /// Whether permission is missing: what was asked for may be there, and whole.
    pub(crate) fn is_denied(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stands for `fn main() -> Result<(), Error>`, whose error Rust prints in its debug form.
    #[test]
    fn a_main_prints_the_sentence() {
        let error = Error::from("12".parse::<crate::mapping::PimArray>().unwrap_err());
        assert_eq!(format!("{error:?}"), error.to_string());
        assert!(error.to_string().contains("256x512"), "{error}");
    }
}
