use std::path::PathBuf;

/// What can go wrong with a packed network. Each message is a sentence a person can act on.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum PackedError {
    /// A file that cannot be read or written.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file that holds no packed network, or a damaged one.
    #[error("this is no packed network that can be used: {0}")]
    File(String),
    /// A file of a later layout.
    #[error(
        "the file has version {found} of the layout, and this build reads version {known}: update vwc-sdk, or export the network again"
    )]
    Version {
        /// The file's.
        found: u32,
        /// The one that is read here.
        known: u32,
    },
    /// A step of a network that cannot be computed.
    #[error("step `{step}`: {reason}")]
    Step {
        /// Its name.
        step: String,
        /// What is wrong.
        reason: String,
    },
    /// A network that cannot be packed.
    #[error("cannot pack {network}: {reason}")]
    Network {
        /// The network.
        network: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// A picture that cannot be read.
    #[error("{}: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}

impl PackedError {
    pub(crate) fn io(path: impl Into<PathBuf>, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, action, source }
    }

    pub(super) fn step(step: &str, reason: impl Into<String>) -> Self {
        Self::Step {
            step: step.into(),
            reason: reason.into(),
        }
    }
}
