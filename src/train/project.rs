//! The folder of a project: the run of the network that was trained first, those of the rounds in which it was pruned, and the
//! results that they led to.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use super::{RunDir, WidthChoice};
use crate::{Error, files};

/// What a job leaves beside its runs.
const RESULTS: &str = "results.json";

/// The most rounds. No network has so many channels to spare.
pub(crate) const MAX_ROUNDS: usize = 1000;

/// What a training that is at work holds locked.
const LOCK: &str = ".lock";

/// Folder of the network that was trained first.
pub(crate) const ORIGINAL: &str = "original";

/// What the folders of rounds are called, by what chose their widths: the array, a ratio, or the front.
pub(crate) const ROUNDS: [&str; 3] = ["rcp", "ratio", "front"];

/// What round `round` is called, 0 being the network that was trained first.
pub(crate) fn round_name(choice: &WidthChoice, round: usize) -> String {
    match round {
        0 => ORIGINAL.into(),
        round => choice.name(round),
    }
}

/// A folder that holds one network and the rounds it was pruned in: `original`, `rcp1`, `rcp2`, ..., or `ratio1`, or `front1`, each a
/// [`RunDir`], and `results.json`. `vwc-sdk prune`, `test` and `job` work on such folders.
#[derive(Clone, Debug)]
pub struct Project {
    directory: PathBuf,
}

impl Project {
    /// The project in the folder `directory`, which need not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Every run that is there.
    pub fn runs(&self) -> Vec<RunDir> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let folders = entries.map(|entry| entry.path());
        let runs = folders.filter(|path| files::may_be_file(&path.join("config.json")));
        runs.map(RunDir::new).collect()
    }

    /// The run of the network that was trained first.
    pub fn original(&self) -> RunDir {
        RunDir::new(self.directory.join(ORIGINAL))
    }

    /// The run of round `round`, 0 being the network that was trained first.
    pub fn round(&self, choice: &WidthChoice, round: usize) -> RunDir {
        RunDir::new(self.directory.join(round_name(choice, round).to_lowercase()))
    }

    /// Whether there is a first round of this kind, one of [`ROUNDS`].
    pub(crate) fn holds(&self, kind: &str) -> bool {
        self.directory.join(format!("{kind}1")).is_dir()
    }

    /// Writes what was found out, as JSON: [`Results::to_json`](super::Results::to_json).
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where it cannot be written; what was there is left as it was then.
    pub fn write_results(&self, json: &str) -> Result<(), Error> {
        let path = self.directory.join(RESULTS);
        files::write(&path, json.as_bytes()).map_err(Error::io(&path, "write"))
    }

    /// Makes the folder, and keeps other trainings out of it for as long as the result lives.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] where another training is at work there, and [`Error::Io`] where the folder cannot be written to.
    pub fn lock(&self) -> Result<File, Error> {
        let directory = &self.directory;
        fs::create_dir_all(directory).map_err(Error::io(directory, "create the folder"))?;
        let path = directory.join(LOCK);
        // Not through a link: what it leads to is somebody else's.
        if fs::symlink_metadata(&path).is_ok_and(|found| !found.is_file()) {
            return Err(Error::Recipe(format!(
                "{}: expected a file that this program makes, and something else is there: remove it",
                path.display()
            )));
        }
        let mut options = File::options();
        let file = options
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::io(&path, "create"))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Err(Error::Recipe(format!(
                "--directory {}: another training is at work there: wait for its end, or choose another folder",
                directory.display()
            ))),
            // Where a file system knows no locks, trainings are told apart by whoever starts them.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    /// Moves the runs from round `first` on, and the results they led to, into a folder `earlier-N` of their own,
    /// which is returned: rounds of an earlier original are no rounds of the next. The folder has to be there.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where they cannot be moved; they all stay then.
    pub fn retire(&self, first: usize) -> Result<Option<PathBuf>, Error> {
        let directory = &self.directory;
        let entries = fs::read_dir(directory).map_err(Error::io(directory, "read"))?;
        let stale: Vec<_> = entries
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|entry| {
                let entry = entry.to_string_lossy();
                let number = ROUNDS.iter().find_map(|prefix| entry.strip_prefix(prefix));
                let round = match number {
                    Some(number) => number.parse().ok(),
                    None => (entry == ORIGINAL).then_some(0),
                };
                entry == RESULTS || round.is_some_and(|round: usize| round >= first)
            })
            .collect();
        // Results alone are no reason: the new ones hold all that the old ones say.
        if stale.iter().all(|entry| entry == RESULTS) {
            return Ok(None);
        }
        let earlier = (1..)
            .map(|n| directory.join(format!("earlier-{n}")))
            .find(|path| !path.exists())
            .expect("some number is free");
        fs::create_dir(&earlier).map_err(Error::io(&earlier, "create the folder"))?;
        for (n, name) in stale.iter().enumerate() {
            fs::rename(directory.join(name), earlier.join(name)).map_err(|error| {
                // All of it or nothing: half a run moved aside would be neither.
                for name in &stale[..n] {
                    let _ = fs::rename(earlier.join(name), directory.join(name));
                }
                let _ = fs::remove_dir(&earlier);
                Error::io(directory.join(name), "move the earlier run aside")(error)
            })?;
        }
        Ok(Some(earlier))
    }
}
