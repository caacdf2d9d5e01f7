//! The commands: one file each. Everything they do is in the library; here are flags, files and tables.

#[cfg(feature = "train")]
pub mod bits;
pub mod chip;
pub mod choice;
pub mod compare;
pub mod costs;
#[cfg(feature = "train")]
pub mod devices;
#[cfg(feature = "train")]
pub mod evaluate;
#[cfg(feature = "train")]
pub mod export;
pub mod front;
#[cfg(feature = "train")]
pub mod graph;
#[cfg(feature = "train")]
pub mod import;
#[cfg(feature = "train")]
pub mod job;
#[cfg(feature = "train")]
pub mod kind;
pub mod many;
pub mod map;
pub mod network;
#[cfg(feature = "train")]
pub mod networks;
pub mod notes;
#[cfg(feature = "train")]
pub mod opened;
pub mod options;
#[cfg(feature = "train")]
pub mod pictures;
#[cfg(feature = "train")]
pub mod quantize;
#[cfg(feature = "packed")]
pub mod run;
#[cfg(feature = "remote")]
pub mod serve;
#[cfg(feature = "train")]
mod signals;
pub mod simulate;
pub mod sweep;
#[cfg(feature = "train")]
pub mod train;
#[cfg(feature = "train")]
pub mod unquantized;

use std::io::{self, Write};
use std::process::ExitCode;

/// Writes `text` to standard output. A reader that stops early is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// The setting of a run: what a flag gives, else what the run had, else what is usual. A flag that changes what the run had
/// is said on standard error.
#[cfg(feature = "train")]
fn said<T: PartialEq + std::fmt::Display>(flag: &str, given: Option<T>, kept: Option<T>, usual: T) -> T {
    match (given, kept) {
        (Some(given), Some(kept)) if given != kept => {
            say!("{flag} is {given}, and was {kept} where the network comes from");
            given
        }
        (Some(chosen), _) | (None, Some(chosen)) => chosen,
        (None, None) => usual,
    }
}

/// Takes the files of a run as they are, and says which have changed since it wrote them.
#[cfg(feature = "train")]
fn accept_changes(dir: &crate::train::RunDir) -> Result<(), crate::Error> {
    for path in dir.accept_changes()? {
        say!(
            "{}: it has changed since the run wrote it, and is taken as it is",
            path.display()
        );
    }
    Ok(())
}

/// Refuses a `--directory` that holds something: what is there would stand as though it were the new network's.
#[cfg(feature = "train")]
fn new_folder(dir: &std::path::Path) -> Result<(), crate::Error> {
    if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(crate::Error::Recipe(format!(
            "--directory {}: it holds something already; choose a new folder",
            dir.display()
        )));
    }
    // Before what takes long is done for it.
    let there = dir.ancestors().find(|above| above.exists());
    let there = there.unwrap_or(std::path::Path::new("."));
    tempfile::tempfile_in(there)
        .map(drop)
        .map_err(crate::Error::io(dir, "create the folder"))
}

/// What a `main` returns: 0, or 1 and the error on standard error. (Wrong usage has ended with 2 before.)
pub fn exit_code(result: Result<(), impl std::fmt::Display>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends the program as [`exit_code`] does, from any thread.
#[cfg(feature = "remote")]
fn fail(error: crate::Error) {
    let _ = exit_code(Err(error));
    std::process::exit(1)
}
