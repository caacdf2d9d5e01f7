//! Taking known files out of a tar.gz archive that is not trusted.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::EntryType;

use super::error::{DataError, io_error};
use crate::text;

/// More than this is not inflated, whatever the archive says: 256 MiB. CIFAR-10 has 184 million bytes.
const MAX_INFLATED: u64 = 256 << 20;

/// A file to take.
pub struct Member {
    /// Where it lies in the archive, with `/` between names.
    pub path: String,
    /// The most bytes it may have.
    pub limit: u64,
}

/// Writes the `members` of `archive` to the folder `dest`, each under its own name, and passes over other files.
///
/// They are unpacked beside `dest`, which is filled when all are there.
///
/// # Errors
///
/// [`DataError::Archive`] for an entry with an absolute path, one that climbs out with `..`, a link or a device, and for
/// a member over its limit or given twice; [`DataError::Damaged`] where the archive cannot be inflated, goes on for too
/// long or lacks a member; [`DataError::Io`]. Nothing is left of what was unpacked till then.
pub fn unpack(archive: &Path, members: &[Member], dest: &Path) -> Result<(), DataError> {
    let parent = dest.parent().unwrap_or(Path::new("."));
    let name = dest.file_name().expect("a folder").to_string_lossy();
    // A name of its own for each process: two may unpack at once.
    let temporary = parent.join(format!("unpacking-{}-{name}", std::process::id()));
    fs::create_dir_all(&temporary).map_err(io_error(&temporary, "create"))?;
    let result = extract(archive, members, &temporary).and_then(|()| {
        fs::create_dir_all(dest).map_err(io_error(dest, "create"))?;
        for member in members {
            let to = dest.join(file_name(member));
            fs::rename(temporary.join(file_name(member)), &to).map_err(io_error(&to, "rename"))?;
        }
        Ok(())
    });
    // Failing to tidy up is not worth another error.
    let _ = fs::remove_dir_all(&temporary);
    result
}

fn file_name(member: &Member) -> &str {
    member.path.rsplit('/').next().expect("at least one part")
}

fn extract(archive: &Path, members: &[Member], to: &Path) -> Result<(), DataError> {
    let damaged = |reason: String| DataError::Damaged {
        path: archive.into(),
        reason,
    };
    // The reader of archives names entries, which may be called anything.
    let broken = |error: io::Error| damaged(text::line(&format!("it cannot be unpacked ({error})")));
    let refuse = |entry: &Path, reason: &str| DataError::Archive {
        path: archive.into(),
        entry: text::line(&entry.display().to_string()),
        reason: reason.into(),
    };

    let file = File::open(archive).map_err(io_error(archive, "open"))?;
    let inflated = MultiGzDecoder::new(BufReader::new(file)).take(MAX_INFLATED);
    let mut tar = tar::Archive::new(inflated);
    let mut missing: BTreeSet<&str> = members.iter().map(|member| member.path.as_str()).collect();
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.into_owned();
        let parts: Option<PathBuf> = path
            .components()
            .filter(|part| *part != Component::CurDir)
            .map(|part| matches!(part, Component::Normal(_)).then_some(part))
            .collect();
        let Some(parts) = parts else {
            return Err(refuse(&path, "its path leads out of the folder"));
        };
        match entry.header().entry_type() {
            EntryType::Regular => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            _ => return Err(refuse(&path, "it is a link or a device")),
        }
        let Some(member) = members.iter().find(|member| parts == Path::new(&member.path)) else {
            continue;
        };
        if !missing.remove(member.path.as_str()) {
            return Err(refuse(&path, "it is there twice"));
        }
        if entry.size() > member.limit {
            let reason = format!("it has {} bytes, more than {}", entry.size(), member.limit);
            return Err(refuse(&path, &reason));
        }
        let file = to.join(file_name(member));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if bytes.len() as u64 != entry.size() {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        fs::write(&file, bytes).map_err(io_error(&file, "write"))?;
    }
    // What follows the last entry is read for the checksum at its end.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(broken)?;
    match missing.first() {
        None => Ok(()),
        Some(member) => Err(damaged(format!("it does not hold `{member}`"))),
    }
}
