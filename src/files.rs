//! Files that are replaced as a whole: whoever reads one finds what was there before, or all of the new. And files that are
//! read up to a limit.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How the names of files begin that are still being written.
const WRITING: &str = ".vwc-sdk-writing-";

/// How old an unfinished file is at least before another run takes it for one that nobody will finish.
const ABANDONED: Duration = Duration::from_secs(5);

/// How many links in a row are followed.
const MAX_LINKS: usize = 40;

/// The folder that `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a file lies at `path`, or may: a folder that may not be looked into does not tell. Whoever reads the file then is told
/// that permission is missing, and nobody takes for absent what is there.
#[cfg(feature = "train")]
pub(crate) fn may_be_file(path: &Path) -> bool {
    may_be(path, fs::Metadata::is_file)
}

/// As [`may_be_file`], of a folder.
#[cfg(feature = "train")]
pub(crate) fn may_be_folder(path: &Path) -> bool {
    may_be(path, fs::Metadata::is_dir)
}

#[cfg(feature = "train")]
fn may_be(path: &Path, kind: impl FnOnce(&fs::Metadata) -> bool) -> bool {
    match fs::metadata(path) {
        Ok(found) => kind(&found),
        Err(error) => error.kind() == io::ErrorKind::PermissionDenied,
    }
}

/// Has `write` fill a file under another name beside `path`, which then becomes that of `path`. What `path` held stays until the
/// new contents are on the disk, and stays where something fails.
///
/// A link is followed: what it leads to is replaced. A pipe or a device is written to as it is. The temporary name is one that
/// nobody has, and what runs that were killed have left under such names is removed.
///
/// # Errors
///
/// Those of `write`, and where a folder lies at `path`, or its own folder cannot be written to.
pub(crate) fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Err(no_file("a folder is there").into()),
        Ok(found) if !found.is_file() => {
            let folder = tempfile::tempdir()?;
            let whole = folder.path().join("whole");
            write(&whole)?;
            return Ok(stream(path, &fs::read(whole)?)?);
        }
        _ => {}
    }
    let target = followed(path)?;
    let name = target.file_name().ok_or_else(|| no_file("it names no file"))?;
    let folder = folder_of(&target);
    remove_abandoned(folder);
    let mut builder = tempfile::Builder::new();
    let prefix = WRITING.to_owned() + &name.to_string_lossy().chars().take(40).collect::<String>() + "-";
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // As for any new file, less what the process masks; `tempfile` lets nobody else read.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    fault()?;
    let temporary = builder.tempfile_in(folder).map_err(without_path)?;
    // Held until the name is changed, so that nobody takes the file for an abandoned one. Where a file system knows no
    // locks, its age alone tells.
    let _ = temporary.as_file().try_lock();
    fault()?;
    write(temporary.path())?;
    fault()?;
    // `write` may have put another file in the place of ours.
    let written = OpenOptions::new().write(true).open(temporary.path())?;
    if let Ok(found) = fs::metadata(&target) {
        written.set_permissions(found.permissions())?;
    }
    written.sync_all()?;
    fault()?;
    temporary.persist(&target).map_err(|error| error.error)?;
    fault()?;
    sync_folder(folder);
    Ok(())
}

/// Has `fill` fill a folder under another name beside `path`, where nothing or an empty folder is, and gives it that name.
///
/// # Errors
///
/// Those of `fill`, and where the folder beside `path` cannot be made or renamed.
#[cfg(feature = "train")]
pub(crate) fn replace_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), crate::Error>,
) -> Result<(), crate::Error> {
    let failed = |error| crate::Error::io(path, "create the folder")(error);
    let parent = folder_of(path);
    fs::create_dir_all(parent).map_err(failed)?;
    remove_abandoned(parent);
    let mut builder = tempfile::Builder::new();
    builder.prefix(WRITING);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    let folder = builder.tempdir_in(parent).map_err(failed)?;
    let held = File::open(folder.path()).and_then(|held| held.try_lock().map(|()| held).map_err(Into::into));
    fill(folder.path())?;
    sync_folder(folder.path());
    fault().map_err(failed)?;
    fs::rename(folder.path(), path).map_err(failed)?;
    // Under its new name it stays.
    let _ = folder.keep();
    drop(held);
    sync_folder(parent);
    Ok(())
}

/// [`replace`] by these bytes.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::metadata(path) {
        // No need to keep them on a disk first.
        Ok(found) if !found.is_file() && !found.is_dir() => stream(path, bytes),
        _ => replace(path, |to| fs::write(to, bytes)),
    }
}

/// A safetensors file with its header in one order, so that the same network gives the same bytes: the library writes metadata in
/// the order of a hash map, which changes from run to run.
///
/// The layout: the header's length as eight bytes, the header, a JSON object padded with blanks to a multiple of eight, the numbers.
#[cfg(any(feature = "train", feature = "packed"))]
pub(crate) fn with_sorted_header(bytes: Vec<u8>) -> Vec<u8> {
    let (length, rest) = bytes.split_first_chunk::<8>().expect("a safetensors file");
    let (header, numbers) = rest.split_at(u64::from_le_bytes(*length) as usize);
    // Maps of `serde_json` are sorted by their keys.
    let header: std::collections::BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).expect("a header of safetensors is JSON");
    let mut header = serde_json::to_vec(&header).expect("it was JSON before");
    header.resize(header.len().next_multiple_of(8), b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, numbers].concat()
}

/// The bytes of the file at `path`; nothing where there are more than `limit`: a file may be longer than
/// memory, and a device never ends. A pipe is read as a file is.
///
/// # Errors
///
/// Where it cannot be read, and where it is a folder or a device.
pub(crate) fn read_up_to(path: &Path, limit: u64) -> io::Result<Option<Vec<u8>>> {
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

/// A point at which tests have something go wrong: they set `VWC_SDK_KILL_AT=7` to have the program killed at the seventh point,
/// and `VWC_SDK_FAIL_AT=7` to have the system refuse from there on, as a disk does that is full.
///
/// Every step of writing a file has such points before and behind it, so that a test can try them all.
fn fault() -> io::Result<()> {
    static POINTS: AtomicUsize = AtomicUsize::new(0);
    static SET: OnceLock<[Option<usize>; 2]> = OnceLock::new();
    let [kill_at, fail_at] = SET.get_or_init(|| {
        ["VWC_SDK_KILL_AT", "VWC_SDK_FAIL_AT"].map(|name| std::env::var(name).ok()?.parse().ok())
    });
    if kill_at.is_none() && fail_at.is_none() {
        return Ok(());
    }
    let point = POINTS.fetch_add(1, Ordering::Relaxed) + 1;
    if *kill_at == Some(point) {
        // No destructor runs, and nothing is tidied up.
        std::process::abort();
    }
    match fail_at {
        Some(at) if point >= *at => Err(io::ErrorKind::StorageFull.into()),
        _ => Ok(()),
    }
}

/// Writes to a pipe or a device, which nothing can replace.
fn stream(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(bytes)?;
    file.flush()
}

/// What the system says, without the temporary name that `tempfile` puts behind it.
fn without_path(error: io::Error) -> io::Error {
    let text = error.to_string();
    let reason = text.split(" at path \"").next().unwrap_or_default();
    io::Error::new(error.kind(), reason)
}

fn no_file(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

/// Where `path` leads to, if it is a link: to a file, or to a place where there is none yet.
fn followed(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(to) => {
                path = path.parent().unwrap_or(Path::new("")).join(to);
            }
            Err(_) => return Ok(path),
        }
    }
    Err(no_file("it is a link that leads in a circle"))
}

/// Removes what runs that were killed in the middle of writing have left in `folder`. Failing to is no reason to write nothing.
fn remove_abandoned(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with(WRITING) {
            continue;
        }
        let path = entry.path();
        // Not a link: nobody here makes one of that name.
        let old = fs::symlink_metadata(&path).is_ok_and(|found| {
            let age = found.modified().ok().and_then(|time| time.elapsed().ok());
            let of_ours = found.is_file() || found.is_dir();
            of_ours && age.is_some_and(|age| age >= ABANDONED)
        });
        if old && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
    }
}

/// Has the folder's entries written to the disk, so that the new name outlasts a power cut. Not every system can.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_and_a_users_own_names_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("o.vwcp");
        fs::write(dir.path().join("writing-o.vwcp"), "a user's own").unwrap();
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let failed = replace(&path, |to| {
            fs::write(to, "half")?;
            Err::<(), _>(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(
            fs::read(dir.path().join("writing-o.vwcp")).unwrap(),
            b"a user's own"
        );
        assert_eq!(names(dir.path()), ["o.vwcp", "writing-o.vwcp"]);
        assert!(write(dir.path(), b"x").is_err());
        let long = dir.path().join("x".repeat(250));
        write(&long, b"long").unwrap();
        assert_eq!(fs::read(long).unwrap(), b"long");
    }

    #[test]
    #[cfg(unix)]
    fn links_are_followed_and_pipes_written_to() {
        use std::os::unix::fs::{PermissionsExt, symlink};

        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("elsewhere")).unwrap();
        fs::write(at("elsewhere/target"), "old").unwrap();
        fs::set_permissions(at("elsewhere/target"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("elsewhere/target", at("link")).unwrap();
        symlink("link", at("twice")).unwrap();
        symlink("elsewhere/new", at("dangling")).unwrap();
        symlink("circle", at("circle")).unwrap();
        write(&at("twice"), b"new").unwrap();
        write(&at("dangling"), b"made").unwrap();
        assert!(write(&at("circle"), b"x").is_err());
        assert_eq!(fs::read(at("elsewhere/target")).unwrap(), b"new");
        assert_eq!(fs::read(at("elsewhere/new")).unwrap(), b"made");
        let mode = fs::metadata(at("elsewhere/target")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(fs::symlink_metadata(at("twice")).unwrap().is_symlink());

        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.unwrap().success());
        for closure in [false, true] {
            let (pipe, bytes) = (at("pipe"), b"through".as_slice());
            let reader = std::thread::spawn({
                let pipe = pipe.clone();
                move || fs::read(pipe).unwrap()
            });
            if closure {
                replace(&pipe, |to| fs::write(to, bytes)).unwrap();
            } else {
                write(&pipe, bytes).unwrap();
            }
            assert_eq!(reader.join().unwrap(), bytes);
        }
        write(Path::new("/dev/null"), b"gone").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn what_killed_runs_left_is_removed_and_what_others_write_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let old = |name: &str| {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - 2 * ABANDONED)
                .unwrap();
            file
        };
        old(".vwc-sdk-writing-killed");
        let held = old(".vwc-sdk-writing-held");
        held.lock().unwrap();
        File::create(dir.path().join(".vwc-sdk-writing-young")).unwrap();
        old("writing-o.vwcp");
        write(&dir.path().join("file"), b"x").unwrap();
        assert_eq!(
            names(dir.path()),
            [
                ".vwc-sdk-writing-held",
                ".vwc-sdk-writing-young",
                "file",
                "writing-o.vwcp"
            ]
        );
    }

    #[test]
    fn many_write_one_file_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::thread::scope(|scope| {
            for n in 0..8u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write(path, &[n; 10_000]).unwrap();
                    }
                });
            }
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 10_000 && bytes.iter().all(|&byte| byte == bytes[0]));
        assert_eq!(names(dir.path()), ["file"]);
    }
}
