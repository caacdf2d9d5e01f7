//! Files that are read whole, up to a limit: a file may be longer than memory, and a device never ends.

use std::{
    fs::{File, FileType},
    io::{self, Read},
    path::Path,
};

/// The bytes of the file at `path`; nothing where there are more than `limit`. A pipe is read as a file is.
///
/// # Errors
///
/// Where it cannot be read, and where it is a folder or a device.
pub(in crate::cli) fn read(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !is_pipe(kind) {
        let what = if kind.is_dir() { "folder" } else { "device" };
        let why = format!("it is a {what}: give a file");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= limit).then_some(bytes))
}

#[cfg(unix)]
fn is_pipe(kind: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;

    kind.is_fifo() || kind.is_socket()
}

#[cfg(not(unix))]
fn is_pipe(_: FileType) -> bool {
    false
}
