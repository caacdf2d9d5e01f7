//! The checksums of a run's files, in `manifest.json`: every file that a run writes is entered before it appears under its name, and
//! every reader compares it.
//!
//! A bit that a disk turned, a file of another run, or an edit by hand would otherwise load as another network without a word. The
//! checksum is CRC-32: it is there against accidents, not against malice.
//!
//! A run may be cut off at any moment, so a name has up to two checksums: that of the file which is being put in its place, and that
//! of the file which was there before.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::files;

/// The folder of checkpoints.
pub(super) const CHECKPOINT: &str = "checkpoint";

/// What the file is called.
pub(super) const NAME: &str = "manifest.json";

/// The parts of a checkpoint are written by a thread each.
static CHANGING: Mutex<()> = Mutex::new(());

/// A file as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    crc32: u32,
}

impl Sum {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            crc32: crc32fast::hash(bytes),
        }
    }
}

/// For each file, by its path in the run's folder, its checksum, and that of what it replaced.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    files: BTreeMap<String, Vec<Sum>>,
}

fn broken(path: &Path, reason: impl Into<String>) -> Error {
    Error::Checkpoint {
        path: path.into(),
        reason: reason.into(),
    }
}

impl Manifest {
    /// That of the run in `dir`; `None` where there is none.
    fn read(dir: &Path) -> Result<Option<Self>, Error> {
        let path = dir.join(NAME);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                broken(
                    &path,
                    format!("this is no list of a run's files ({error}): {ADVICE}"),
                )
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(path, "read")(error)),
        }
    }

    fn write(&self, dir: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self).expect("checksums are plain data") + "\n";
        files::write(&dir.join(NAME), text.as_bytes())
    }
}

/// What to do about a file that changed.
const ADVICE: &str = "restore it, or take it as it is with `vwc-sdk graph FOLDER --accept-changes`, the folder being that of the file";

/// Has `write` fill the file `name` of the run in `dir`, as [`files::replace`] does, and enters it.
pub(super) fn replace(dir: &Path, name: &str, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    files::replace(&dir.join(name), |to| {
        write(to)?;
        let new = Sum::of(&fs::read(to)?);
        let old = fs::read(dir.join(name)).ok().map(|bytes| Sum::of(&bytes));
        let sums = std::iter::once(new).chain(old.filter(|&old| old != new));
        change(dir, |files| {
            files.insert(name.into(), sums.collect());
        })
    })
}

/// Takes the file `name` out of the list, before it is removed.
pub(super) fn forget(dir: &Path, name: &str) -> io::Result<()> {
    change(dir, |files| {
        files.remove(name);
    })
}

fn change(dir: &Path, change: impl FnOnce(&mut BTreeMap<String, Vec<Sum>>)) -> io::Result<()> {
    let _alone = CHANGING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let mut manifest = match Manifest::read(dir).map_err(io::Error::other)? {
        Some(manifest) => manifest,
        None if dir.join("config.json").exists() => {
            return Err(io::Error::other(format!(
                "{NAME} was removed from the run's folder"
            )));
        }
        None => Manifest::default(),
    };
    change(&mut manifest.files);
    manifest.write(dir)
}

/// The bytes of the file `name` of the run in `dir`, if they are as the run wrote them. A run of version 0.3 or earlier has no
/// manifest: `legacy` says whether this is one.
pub(super) fn read(dir: &Path, name: &str, legacy: bool) -> Result<Vec<u8>, Error> {
    let path = dir.join(name);
    let bytes = fs::read(&path).map_err(Error::io(&path, "read"))?;
    let Some(manifest) = Manifest::read(dir)? else {
        if legacy {
            return Ok(bytes);
        }
        return Err(broken(
            &dir.join(NAME),
            format!("it is missing, so nobody can tell whether the run's files are whole: {ADVICE}"),
        ));
    };
    let Some(sums) = manifest.files.get(name) else {
        return Err(broken(
            &path,
            format!("it is not among the files that {NAME} says the run wrote: {ADVICE}"),
        ));
    };
    if sums.contains(&Sum::of(&bytes)) {
        return Ok(bytes);
    }
    Err(broken(
        &path,
        format!("it is not as the run wrote it (its checksum is another than in {NAME}): {ADVICE}"),
    ))
}

/// Whether the file `name` of the run in `dir` is as the run wrote it.
pub(super) fn check(dir: &Path, name: &str, legacy: bool) -> Result<(), Error> {
    read(dir, name, legacy).map(drop)
}

/// Enters the files of the run in `dir` as they are now.
pub(super) fn accept(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let before = Manifest::read(dir).unwrap_or_default().unwrap_or_default();
    let mut manifest = Manifest::default();
    let mut changed = Vec::new();
    for folder in ["", CHECKPOINT] {
        let entries = match fs::read_dir(dir.join(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io(dir.join(folder), "read")(error)),
        };
        for entry in entries.flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let of_run = ["config.json", "metrics.csv"].contains(&&*file) || file.ends_with(".bpk");
            if !of_run || file.starts_with('.') {
                continue;
            }
            let name = if folder.is_empty() {
                file
            } else {
                format!("{folder}/{file}")
            };
            let bytes = fs::read(entry.path()).map_err(Error::io(entry.path(), "read"))?;
            let sum = Sum::of(&bytes);
            if !before.files.get(&name).is_some_and(|sums| sums.contains(&sum)) {
                changed.push(entry.path());
            }
            manifest.files.insert(name, vec![sum]);
        }
    }
    manifest.write(dir).map_err(Error::io(dir.join(NAME), "write"))?;
    changed.sort();
    Ok(changed)
}
