//! Disks and permissions: a file system that really is full, writes that the system cuts short, readers that are slow, files and
//! folders that may not be read or written, a folder that is removed while it is written to. The faults of `tests/cli_kills.rs` are
//! the program's own; these are the system's.
#![cfg(all(feature = "train", target_os = "linux"))]

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

#[path = "common/place.rs"]
mod place;

use place::{Place, wait_for};

fn program() -> PathBuf {
    env!("CARGO_BIN_EXE_vwc-sdk").into()
}

fn train(folder: &str) -> String {
    format!(
        "train --network resnet20 --widths 3,4,5 --pictures 40 --batch_size 18 --total_epochs 2 --directory {folder}"
    )
}

fn results(place: &Place, folder: &str) -> String {
    fs::read_to_string(place.path(folder).join("results.json")).unwrap()
}

/// The one error of a run that failed.
#[track_caller]
fn error(output: &Output, what: &str) -> String {
    let talk = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {talk}");
    assert!(!talk.contains("panicked"), "{what}: {talk}");
    let errors: Vec<_> = talk.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{what}: {talk}");
    errors[0].to_owned()
}

/// What a run that was cut off left of files that it had begun.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path
                .file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(".vwc-sdk-writing-")
            {
                found.push(path);
            } else if path.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// A file system in memory. It is mounted for this thread and the programs that it starts alone, so that nothing of it stays
/// whatever becomes of the test.
struct Disk(PathBuf);

impl Disk {
    /// One of so many KiB at `path`, or why there can be none.
    fn mounted(path: PathBuf, kib: usize) -> Result<Self, std::io::Error> {
        fs::create_dir(&path).unwrap();
        let done = |code| match code {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        };
        let at = CString::new(path.as_os_str().as_bytes()).unwrap();
        let options = CString::new(format!("size={kib}k")).unwrap();
        let (none, none_data) = (std::ptr::null(), std::ptr::null());
        // SAFETY: the calls read strings that live until they return, and null where they read nothing.
        unsafe {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let private = libc::MS_REC | libc::MS_PRIVATE;
            done(libc::mount(none, c"/".as_ptr(), none, private, none_data))?;
            let kind = c"tmpfs".as_ptr();
            done(libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()))?;
        }
        Ok(Self(path))
    }

    /// Fills it up to the last `kib` KiB.
    fn leave(&self, kib: usize) {
        let full = self.0.join("filler");
        let _ = fs::remove_file(&full);
        let mut filler = fs::File::create(full).unwrap();
        // The system may give back what was removed only after a while.
        let mut quiet = 0;
        while quiet < 5 {
            let more = self.free().saturating_sub(kib << 10);
            filler.write_all(&vec![0; more]).unwrap();
            quiet = if more == 0 { quiet + 1 } else { 0 };
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The bytes that are free.
    fn free(&self) -> usize {
        let at = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: the call fills the structure, of plain numbers, and reads a string that lives until it returns.
        let found = unsafe {
            let mut found: libc::statvfs = std::mem::zeroed();
            assert_eq!(libc::statvfs(at.as_ptr(), &mut found), 0);
            found
        };
        found.f_bavail as usize * found.f_frsize as usize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let at = CString::new(self.0.as_os_str().as_bytes()).unwrap();
        // SAFETY: the call reads a string that lives until it returns.
        unsafe { libc::umount2(at.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_disk_that_is_full_costs_nothing_that_was_whole() {
    let place = Place::of(program());
    let disk = match Disk::mounted(place.path("disk"), 4096) {
        Ok(disk) => disk,
        Err(error) => return eprintln!("passed over: no file system can be mounted here: {error}"),
    };
    place.data(&train("whole"));
    place.data("export whole/original x.safetensors");

    // Exports of some 20 to 30 KiB, over nothing and over a file that is there.
    for file in ["x.vwcp", "x.onnx", "x.safetensors"] {
        let at = disk.0.join(file);
        for before in [None, Some("what was there")] {
            disk.leave(64);
            before.iter().for_each(|text| fs::write(&at, text).unwrap());
            disk.leave(8);
            let output = place.run(&format!("export whole/original disk/{file}"));
            let error = error(&output, file);
            assert!(error.contains(file) && error.contains("No space left"), "{error}");
            assert_eq!(fs::read_to_string(&at).ok().as_deref(), before, "{file}");
            assert_eq!(unfinished(&disk.0), Vec::<PathBuf>::new());
        }
        disk.leave(512);
        place.data(&format!("export whole/original disk/{file}"));
        fs::remove_file(&at).unwrap();
    }
    // An import.
    for kib in [0, 4, 16, 40] {
        disk.leave(kib);
        let output = place.run("import x.safetensors --directory disk/back");
        let error = error(&output, &format!("import into {kib} KiB"));
        assert!(error.contains("No space left"), "{error}");
        assert!(!disk.0.join("back").exists(), "{kib} KiB");
        assert_eq!(unfinished(&disk.0), Vec::<PathBuf>::new());
    }
    disk.leave(1024);
    place.data("import x.safetensors --directory disk/back");

    // A training that comes to an end wherever it may be, and goes on when there is space.
    let expected = results(&place, "whole");
    let mut with_epochs = 0;
    for kib in [0, 8, 40, 100, 170, 240, 300] {
        let _ = fs::remove_dir_all(disk.0.join("r"));
        disk.leave(kib);
        let output = place.run(&train("disk/r"));
        let error = error(&output, &format!("train into {kib} KiB"));
        assert!(error.contains("No space left"), "{kib} KiB: {error}");
        with_epochs += usize::from(disk.0.join("r/original/metrics.csv").exists());
        disk.leave(2048);
        place.data(&(train("disk/r") + " --resume"));
        assert_eq!(results(&place, "disk/r"), expected, "{kib} KiB");
        place.data("test --directory disk/r");
    }
    assert!(with_epochs >= 2, "{with_epochs} were cut off after an epoch");
}

/// Runs `args` with files of at most `bytes`: a write across that length is short, and the next fails.
fn with_short_writes(place: &Place, bytes: u64, ignored: bool, args: &str) -> Output {
    let mut command = place.command(args);
    let limit = move || {
        let limit = libc::rlimit {
            rlim_cur: bytes,
            rlim_max: bytes,
        };
        // SAFETY: both calls are safe between fork and exec, and read what lives until they return.
        unsafe {
            libc::setrlimit(libc::RLIMIT_FSIZE, &limit);
            libc::signal(libc::SIGXFSZ, if ignored { libc::SIG_IGN } else { libc::SIG_DFL });
        }
        Ok(())
    };
    // SAFETY: see above; nothing else is done there.
    unsafe { command.pre_exec(limit) };
    command.output().unwrap()
}

#[test]
fn writes_that_are_cut_short_leave_no_part_of_a_file() {
    let place = Place::of(program());
    place.data(&train("whole"));
    for file in ["x.vwcp", "x.onnx", "x.safetensors"] {
        place.data(&format!("export whole/original {file}"));
        let whole = fs::read(place.path(file)).unwrap();
        let length = whole.len() as u64;
        for limit in [1, 4096, length - 1] {
            // Over what is there, which stays.
            let output = with_short_writes(&place, limit, true, &format!("export whole/original {file}"));
            let error = error(&output, file);
            assert!(
                error.contains(file) && error.contains("File too large"),
                "{limit}: {error}"
            );
            assert_eq!(fs::read(place.path(file)).unwrap(), whole, "{file} at {limit}");
        }
        fs::remove_file(place.path(file)).unwrap();
        // Killed in the middle of a write, as who does not ignore the signal is.
        let output = with_short_writes(
            &place,
            length - 1,
            false,
            &format!("export whole/original {file}"),
        );
        assert_eq!(output.status.signal(), Some(libc::SIGXFSZ));
        assert!(!place.path(file).exists());
        let output = with_short_writes(&place, length, true, &format!("export whole/original {file}"));
        assert!(output.status.success());
        assert_eq!(fs::read(place.path(file)).unwrap(), whole);
    }
    // Trainings: the smallest file that does not fit, and a checkpoint.
    for (limit, ignored) in [(100, true), (3000, true), (50_000, true), (50_000, false)] {
        let _ = fs::remove_dir_all(place.path("r"));
        let output = with_short_writes(&place, limit, ignored, &train("r"));
        if ignored {
            let error = error(&output, "train");
            assert!(error.contains("File too large"), "{limit}: {error}");
        } else {
            assert_eq!(output.status.signal(), Some(libc::SIGXFSZ));
        }
        place.data(&(train("r") + " --resume"));
        assert_eq!(results(&place, "r"), results(&place, "whole"), "{limit}");
        place.data("test --directory r");
    }
}

#[test]
fn a_reader_that_is_slow_gets_all_of_it() {
    let place = Place::of(program());
    place.data(&train("r"));
    place.data("export r/original x.vwcp");
    let whole = fs::read(place.path("x.vwcp")).unwrap();
    let map = "map resnet20 --array 64x64 --format json";
    for (args, expected) in [
        ("export r/original /dev/stdout --format packed", whole),
        (map, place.data(map).into_bytes()),
    ] {
        assert!(
            expected.len() > 8192,
            "{args}: more than a pipe of one page holds"
        );
        let (mut pipe, end) = std::io::pipe().unwrap();
        // SAFETY: the call reads numbers alone.
        let size = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
        assert!(size >= 4096, "the pipe holds {size} bytes");
        let mut child = place
            .command(args)
            .stdout(end)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (mut found, mut piece) = (Vec::<u8>::new(), [0; 61]);
        loop {
            match pipe.read(&mut piece).unwrap() {
                0 => break,
                read => found.extend(&piece[..read]),
            }
            if found.len() % 7 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        assert!(child.wait().unwrap().success(), "{args}");
        assert!(
            found == expected,
            "{args}: {} of {} bytes",
            found.len(),
            expected.len()
        );
    }
}

#[test]
fn a_run_that_is_removed_while_it_is_trained_ends_with_one_error() {
    let place = Place::of(program());
    let args = train("r").replace("--total_epochs 2", "--total_epochs 200");
    let child = place
        .command(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&place.path("r/original/metrics.csv"));
    // While files are written there, a removal may have to be begun again.
    while place.path("r").exists() {
        let _ = fs::remove_dir_all(place.path("r"));
    }
    let output = child.wait_with_output().unwrap();
    let error = error(&output, "removed");
    assert!(error.contains("r/original"), "{error}");
    assert!(output.stdout.is_empty());
    // Nothing stands in the way of the next.
    place.data(&train("r"));
}

/// What takes place in a folder `r` of which something may not be read or written: the command, and what its error names.
const DENIED: [(&str, u32, &str, &str); 22] = [
    ("r", 0, "test --directory r", "r/original/config.json"),
    (
        "r",
        0,
        "evaluate r/original --array 64x64 --pictures 10",
        "r/original/config.json",
    ),
    ("r", 0, "export r/original x.vwcp", "r/original/config.json"),
    ("r", 0, "TRAIN", "r/.lock"),
    ("r", 0o555, "TRAIN", "r/earlier-1"),
    ("r", 0o333, "TRAIN", "r: "),
    ("r", 0o555, "PRUNE", "r/earlier-1"),
    ("r/original", 0, "test --directory r", "r/original/config.json"),
    ("r/original", 0, "TRAIN --resume", "r/original/config.json"),
    ("r/original", 0o444, "TRAIN --resume", "r/original/config.json"),
    ("r/original", 0, "TRAIN", "r/original"),
    (
        "r/original",
        0o444,
        "export r/original x.vwcp",
        "r/original/config.json",
    ),
    ("r/original/config.json", 0, "TRAIN --resume", "config.json"),
    (
        "r/original/manifest.json",
        0,
        "test --directory r",
        "manifest.json",
    ),
    ("r/original/metrics.csv", 0, "TRAIN --resume", "metrics.csv"),
    ("r/original/model.bpk", 0, "export r/original x.vwcp", "model.bpk"),
    ("r/original/model.bpk", 0, "TRAIN --resume", "model.bpk"),
    ("r/ratio1", 0, "test --directory r", "r/ratio1"),
    ("r/ratio1", 0o444, "test --directory r", "r/ratio1"),
    ("r/ratio1", 0, "PRUNE --resume", "r/ratio1"),
    ("r/ratio1/model.bpk", 0, "PRUNE --resume", "r/ratio1/model.bpk"),
    ("r/.lock", 0, "PRUNE", "r/.lock"),
];

/// Everything below a folder, with its contents, as root or its owner sees it.
fn contents(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path.clone());
                found.push((path, None));
            } else if !path.ends_with("run.log") {
                let bytes = fs::read(&path).unwrap();
                found.push((path, Some(bytes)));
            }
        }
    }
    found.sort();
    found
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The error of `args`, which says that permission is missing and nothing else.
#[track_caller]
fn denied(place: &Place, args: &str, names: &str) -> String {
    let error = place.refused(args, 1);
    assert!(error.contains("Permission denied"), "{args}: {error}");
    assert!(error.contains(names), "{args}: {names} is not named in: {error}");
    for wrong in [
        "missing",
        "train again",
        "damaged",
        "no saved network",
        "holds no",
    ] {
        assert!(!error.contains(wrong), "{args}: {error}");
    }
    error
}

#[test]
fn what_may_not_be_read_or_written_is_not_taken_for_missing_or_damaged() {
    let prune = "prune --directory r --ratio 0.3 --f 1 --budget 100 --total_epochs 1";
    let place = Place::of_nobody(&program());
    place.data(&train("r"));
    place.data(prune);
    fs::rename(place.path("r"), place.path("kept")).unwrap();
    // Copied by the one who owns it, so that it is theirs.
    let restore = || {
        let copied = place.shell("rm -rf r && cp -a kept r");
        assert!(
            copied.status.success(),
            "{}",
            String::from_utf8_lossy(&copied.stderr)
        );
    };
    for (path, bits, args, names) in DENIED {
        restore();
        let args = args.replace("TRAIN", &train("r")).replace("PRUNE", prune);
        let before = contents(&place.path("r"));
        let usual = fs::metadata(place.path(path)).unwrap().permissions();
        mode(&place.path(path), bits);
        let talk = place.run(&args);
        let talk = String::from_utf8_lossy(&talk.stderr).into_owned();
        assert!(
            !talk.contains("from the start") && !talk.contains("left out"),
            "{path}: {talk}"
        );
        denied(&place, &args, names);
        fs::set_permissions(place.path(path), usual).unwrap();
        assert!(
            contents(&place.path("r")) == before,
            "{path}, {args}: something has changed"
        );
        assert!(!place.path("x.vwcp").exists());
    }
    // A training that was cut off, whose checkpoints may not be read: it does not begin again over them.
    for path in ["checkpoint", "checkpoint/model-2.bpk", "checkpoint/optim-2.bpk"] {
        for bits in [0, 0o222] {
            restore();
            fs::remove_file(place.path("r/original/model.bpk")).unwrap();
            let usual = fs::metadata(place.path("r/original").join(path))
                .unwrap()
                .permissions();
            mode(&place.path("r/original").join(path), bits);
            denied(&place, &(train("r") + " --resume"), "checkpoint");
            fs::set_permissions(place.path("r/original").join(path), usual).unwrap();
            place.data(&(train("r") + " --resume"));
            place.data("test --directory r");
        }
    }
    restore();

    // Outputs into a folder that may not be written to.
    place.data("export r/original x.safetensors");
    place.shell("mkdir closed");
    mode(&place.path("closed"), 0o555);
    for (args, names) in [
        ("export r/original closed/x.vwcp", "closed/x.vwcp"),
        ("export r/original closed/x.safetensors", "closed/x.safetensors"),
        ("export r/original closed/x.onnx", "closed/x.onnx"),
        ("import x.safetensors --directory closed/r", "closed/r"),
        ("map cnn8 --array 64x64 --plot closed/plan.svg", "closed/plan.svg"),
        (&train("closed/r"), "closed/r"),
    ] {
        denied(&place, args, names);
        assert_eq!(fs::read_dir(place.path("closed")).unwrap().count(), 0, "{args}");
    }
    // Inputs that may not be read.
    place.data("export r/original x.vwcp");
    place.data("export r/original x.onnx");
    fs::write(place.path("layers.json"), "[]").unwrap();
    for (file, args) in [
        ("x.safetensors", "import x.safetensors --directory new"),
        ("x.vwcp", "run x.vwcp x.png"),
        ("layers.json", "map layers.json --array 64x64"),
    ] {
        mode(&place.path(file), 0);
        denied(&place, args, file);
    }
}

#[test]
fn data_that_may_not_be_read_is_not_taken_for_absent() {
    let place = Place::of_nobody(&program());
    let small = "--pictures 40 --batch_size 18 --total_epochs 1 --directory r";
    for folder in ["datasets/svhn", "pets/train/cat", "pets/test/cat", "cifar"] {
        assert!(place.shell(&format!("mkdir -p {folder}")).status.success());
    }
    // The embedded digits stand in for data that is not there, and for no other.
    mode(&place.path("datasets/svhn"), 0);
    denied(
        &place,
        "train --network cnn8 --batch_size 18 --total_epochs 1 --directory r",
        "datasets/svhn",
    );
    mode(&place.path("datasets/svhn"), 0o755);
    mode(&place.path("cifar"), 0);
    for data in ["svhn", "cifar10", "folder"] {
        denied(
            &place,
            &format!(
                "train --network cnn8 --data {data} --data-dir cifar --batch_size 18 --total_epochs 1 --directory r"
            ),
            "cifar",
        );
    }
    for (closed, bits) in [
        ("pets", 0),
        ("pets", 0o444),
        ("pets/train", 0),
        ("pets/train/cat", 0),
        ("pets/train/cat", 0o444),
        ("pets/train/cat/1.png", 0),
    ] {
        // A picture of one pixel, as a portable anymap.
        fs::write(place.path("pets/train/cat/1.png"), "P3 1 1 255 0 0 0").unwrap();
        fs::write(place.path("pets/test/cat/1.png"), "P3 1 1 255 0 0 0").unwrap();
        mode(&place.path(closed), bits);
        denied(
            &place,
            "train --network cnn8 --data folder --data-dir pets --batch_size 18 --total_epochs 1 --directory r",
            closed,
        );
        mode(&place.path(closed), 0o755);
    }
    // What is not there is still drawn.
    fs::remove_dir(place.path("datasets/svhn")).unwrap();
    place.data(&format!("train --network cnn8 --widths 4,4,4,4,4,4,4 {small}"));
}
