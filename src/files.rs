use std::path::{Path, PathBuf};
use std::{fs, io};

/// Has `write` fill a file under another name beside `path`, which then becomes that of `path`: whoever reads `path` finds
/// what was there before or all of the new. Where something fails, no trace is left.
pub(crate) fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    if path.exists() && !path.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "what is there is no file").into());
    }
    let temporary = beside(path)?;
    let written = write(&temporary).and_then(|()| Ok(fs::rename(&temporary, path)?));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name();
    let name = name.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it names no file"))?;
    Ok(path.with_file_name(format!("writing-{}", name.to_string_lossy())))
}

/// [`replace`] by these bytes.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, |to| fs::write(to, bytes))
}
