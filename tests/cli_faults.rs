//! What surrounds a program goes wrong: readers that leave, signals, damaged and missing files, disks that are full, two writers,
//! clocks that run backwards. Nothing that was whole is lost, and no damage passes for a result.
#![cfg(all(feature = "train", unix))]

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

#[path = "common/place.rs"]
mod place;

use place::{Place, copy, wait_for};

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

const SMALL: &str = "--network resnet20 --widths 3,4,5 --pictures 40 --batch_size 18 --directory r";

/// A place with a trained network of two epochs, pruned twice.
fn pruned() -> Place {
    let place = vwc_sdk();
    place.data(&format!("train {SMALL} --total_epochs 2"));
    place.data("prune --directory r --ratio 0.3 --f 2 --budget 100 --total_epochs 1");
    assert!(place.path("r/ratio2/model.bpk").is_file());
    place
}

#[test]
fn a_training_outlives_whoever_reads_what_it_says() {
    // A reader that leaves after the first bytes, and a device that takes none.
    let place = vwc_sdk();
    let mut child = place
        .command(&format!("train {SMALL} --total_epochs 3"))
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_exact(&mut [0; 5]).unwrap();
    drop(stderr);
    assert!(child.wait().unwrap().success());
    assert!(place.path("r/results.json").is_file());

    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let place = vwc_sdk();
    let mut command = place.command(&format!("train {SMALL} --total_epochs 1"));
    assert!(
        command
            .stderr(full())
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    // A result that cannot be printed is an error, and is on the disk all the same.
    let place = vwc_sdk();
    let mut command = place.command(&format!("train {SMALL} --total_epochs 1"));
    let output = command.stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output: cannot write"));
    assert!(place.path("r/results.json").is_file());
}

fn send(child: &Child, signal: &str) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn signals_that_were_ignored_stay_ignored() {
    for (signal, name) in [("-HUP", "HUP"), ("-INT", "INT"), ("-TERM", "TERM")] {
        let place = vwc_sdk();
        let program = env!("CARGO_BIN_EXE_vwc-sdk");
        let start = |setup: &str| {
            let mut command = Command::new("sh");
            place::hear_signals(&mut command);
            let line = format!("{setup} exec {program} train {SMALL} --total_epochs 4");
            command
                .args(["-c", &line])
                .current_dir(place.dir())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut child = start(&format!("trap '' {name};"));
        wait_for(&place.path("r/original/metrics.csv"));
        send(&child, signal);
        send(&child, signal);
        assert!(child.wait().unwrap().success(), "{name}");
        // Otherwise it stops, and goes on when it is told to.
        fs::remove_dir_all(place.path("r")).unwrap();
        let mut child = start("");
        wait_for(&place.path("r/original/metrics.csv"));
        send(&child, signal);
        let stopped = child.wait().unwrap();
        if !stopped.success() {
            assert_eq!(stopped.code(), Some(1), "{name}");
        }
        place.data(&format!("train {SMALL} --total_epochs 4 --resume"));
    }
}

/// A terminal of 40 rows and 120 columns: the end where a person sits, and that where programs write.
#[cfg(target_os = "linux")]
fn terminal() -> (File, File) {
    use std::os::fd::FromRawFd;

    let size = libc::winsize {
        ws_row: 40,
        ws_col: 120,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut person, mut programs) = (-1, -1);
    // SAFETY: the call writes the two numbers, reads the size and takes no name and no modes. Then nobody else has the two files.
    unsafe {
        let opened = libc::openpty(
            &mut person,
            &mut programs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        );
        assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
        // A program that is started elsewhere meanwhile would keep the terminal open.
        libc::fcntl(person, libc::F_SETFD, libc::FD_CLOEXEC);
        libc::fcntl(programs, libc::F_SETFD, libc::FD_CLOEXEC);
        (File::from_raw_fd(person), File::from_raw_fd(programs))
    }
}

/// Where a terminal is closed with the dashboard on it, programs that write there find an error, and get a signal that may be
/// ignored.
#[test]
#[cfg(target_os = "linux")]
fn a_training_outlives_its_terminal() {
    use std::os::unix::process::CommandExt;

    const EPOCHS: usize = 12;
    let train = format!("train {SMALL} --total_epochs {EPOCHS}");
    let results = |place: &Place| fs::read_to_string(place.path("r/results.json")).unwrap();
    let whole = vwc_sdk();
    whole.data(&train);
    let mut stopped = 0;
    for ignored in [false, true] {
        // From before the first picture to the middle of the training.
        for wait in [0, 20, 60, 120, 250] {
            let what = format!("ignored {ignored}, closed after {wait} ms");
            let place = vwc_sdk();
            let (mut person, programs) = terminal();
            let end = || Stdio::from(programs.try_clone().unwrap());
            let mut command = place.command(&train);
            command.stdin(end()).stdout(end()).stderr(end());
            let attend = move || {
                // SAFETY: the calls are safe between fork and exec, and standard input is the terminal.
                unsafe {
                    libc::setsid();
                    libc::ioctl(0, libc::TIOCSCTTY, 0);
                    if ignored {
                        libc::signal(libc::SIGHUP, libc::SIG_IGN);
                    }
                }
                Ok(())
            };
            // SAFETY: see above; nothing else is done there.
            unsafe { command.pre_exec(attend) };
            let mut child = command.spawn().unwrap();
            drop((command, programs));
            // The dashboard takes the whole screen first.
            let mut shown = Vec::new();
            while !shown.windows(8).any(|bytes| bytes == b"\x1b[?1049h") {
                let mut piece = [0; 4096];
                let read = person.read(&mut piece).expect(&what);
                shown.extend_from_slice(&piece[..read]);
            }
            std::thread::sleep(Duration::from_millis(wait));
            drop(person);
            let ended = child.wait().unwrap();
            // No signal ends it, and so no panic within a panic. A result that cannot be printed is an error, too.
            assert_eq!(ended.code(), Some(1), "{what}: {ended}");
            let finished = place.path("r/results.json").is_file();
            assert!(finished || !ignored, "{what}");
            stopped += usize::from(!finished);
            place.data(&format!("{train} --resume"));
            assert_eq!(results(&place), results(&whole), "{what}");
        }
    }
    assert!(
        stopped > 0,
        "every training was over before its terminal was closed"
    );
}

/// The readers of a run, each with a network that is there.
const READERS: [&str; 5] = [
    "test --directory r",
    "prune --directory r --ratio 0.3 --f 1 --budget 100 --total_epochs 1",
    "evaluate r/original --array 64x64 --pictures 10",
    "export r/original x.vwcp",
    "export r/original x.safetensors",
];

#[test]
fn damage_is_noticed_by_every_reader() {
    let whole = pruned();
    let place = vwc_sdk();
    let restore = || {
        let _ = fs::remove_dir_all(place.path("r"));
        copy(&whole.path("r"), &place.path("r"));
    };
    let refused = |what: &str, file: &str| {
        for reader in READERS {
            let error = place.refused(reader, 1);
            assert!(error.contains(file), "{what}, {reader}: {error}");
            assert!(!place.path("x.vwcp").exists() && !place.path("x.safetensors").exists());
        }
    };
    // Single bits of the network, from its first byte to its last.
    let model = fs::read(whole.path("r/original/model.bpk")).unwrap();
    for n in 0..24 {
        restore();
        let mut bytes = model.clone();
        let at = (bytes.len() - 1) * n / 23;
        bytes[at] ^= 1 << (n % 8);
        fs::write(place.path("r/original/model.bpk"), bytes).unwrap();
        refused(&format!("byte {at}"), "model.bpk");
    }
    // Digits of the configuration.
    let config = fs::read_to_string(whole.path("r/original/config.json")).unwrap();
    let digits: Vec<usize> = (config.char_indices())
        .filter(|(_, char)| char.is_ascii_digit())
        .map(|(at, _)| at)
        .collect();
    for &at in digits.iter().step_by(digits.len().div_ceil(24)) {
        restore();
        let mut bytes = config.clone().into_bytes();
        bytes[at] = b'0' + (bytes[at] - b'0' + 1) % 10;
        fs::write(place.path("r/original/config.json"), bytes).unwrap();
        refused(&format!("digit {at}"), "config.json");
    }
    // The files of another run, and none.
    restore();
    fs::copy(
        place.path("r/ratio1/model.bpk"),
        place.path("r/original/model.bpk"),
    )
    .unwrap();
    refused("another network", "model.bpk");
    restore();
    fs::remove_file(place.path("r/original/manifest.json")).unwrap();
    refused("no manifest", "manifest.json");
    fs::write(place.path("r/original/manifest.json"), "{").unwrap();
    refused("half a manifest", "manifest.json");
    // What was measured chooses the best epoch and the accuracy to keep.
    restore();
    let metrics = place.path("r/original/metrics.csv");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, text.replacen("synthetic", "real", 1)).unwrap();
    for reader in &READERS[..2] {
        let error = place.refused(reader, 1);
        assert!(
            error.contains("metrics.csv") && error.contains("--accept-changes"),
            "{error}"
        );
    }
    // Whoever edits a file and knows why says so, once.
    let output = place.run("test --directory r --accept-changes");
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    assert!(
        talk.contains("metrics.csv: it has changed since the run wrote it"),
        "{talk}"
    );
    place.data("test --directory r");

    // A round that has lost its network is missed.
    restore();
    fs::remove_file(place.path("r/ratio1/model.bpk")).unwrap();
    let error = place.refused("test --directory r", 1);
    assert!(
        error.contains("ratio1") && error.contains("model.bpk is missing"),
        "{error}"
    );
    // The last one, cut off, is left out aloud.
    restore();
    fs::remove_file(place.path("r/ratio2/model.bpk")).unwrap();
    let output = place.run("test --directory r");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("r/ratio2 is not complete: left out"));
}

#[test]
fn a_training_is_resumed_from_what_is_whole() {
    let train = format!("train {SMALL} --total_epochs 3");
    let whole = vwc_sdk();
    whole.data(&train);
    let results = |place: &Place| fs::read_to_string(place.path("r/results.json")).unwrap();
    let place = vwc_sdk();
    // As though the training had been cut off after its last epoch.
    let cut_off = || {
        let _ = fs::remove_dir_all(place.path("r"));
        copy(&whole.path("r"), &place.path("r"));
        fs::remove_file(place.path("r/original/model.bpk")).unwrap();
        fs::remove_file(place.path("r/results.json")).unwrap();
    };
    // Each part, damaged at its head and in the middle, falls back to the epoch before.
    for part in ["model", "optim", "scheduler"] {
        for place_in in [0.0, 0.01, 0.5, 0.99] {
            cut_off();
            let path = place.path(&format!("r/original/checkpoint/{part}-3.bpk"));
            let mut bytes = fs::read(&path).unwrap();
            let at = (bytes.len() as f64 * place_in) as usize;
            bytes[at] ^= 4;
            fs::write(&path, bytes).unwrap();
            let output = place.run(&format!("{train} --resume"));
            let talk = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && !talk.contains("panicked"), "{talk}");
            assert!(talk.contains("the checkpoint of epoch 3 is damaged"), "{talk}");
            assert_eq!(results(&place), results(&whole), "{part} at {place_in}");
        }
    }
    // Without its table, a training does not start over what is there.
    for text in [None, Some("")] {
        cut_off();
        let metrics = place.path("r/original/metrics.csv");
        fs::remove_file(&metrics).unwrap();
        if let Some(text) = text {
            fs::write(&metrics, text).unwrap();
        }
        let before = fs::read(place.path("r/original/checkpoint/model-3.bpk")).unwrap();
        let error = place.refused(&format!("{train} --resume"), 1);
        assert!(error.contains("metrics.csv"), "{error}");
        assert_eq!(
            fs::read(place.path("r/original/checkpoint/model-3.bpk")).unwrap(),
            before
        );
    }
    // Without checkpoints it trains again from the start, and says so.
    cut_off();
    fs::remove_dir_all(place.path("r/original/checkpoint")).unwrap();
    let output = place.run(&format!("{train} --resume"));
    let talk = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{talk}");
    assert!(
        talk.contains("no checkpoint of the 3 epochs so far is whole: from the start"),
        "{talk}"
    );
    assert_eq!(results(&place), results(&whole));
    // A clock that was set back, and files from the future, change nothing.
    cut_off();
    for entry in fs::read_dir(place.path("r/original/checkpoint")).unwrap() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(1 << 30))
            .unwrap();
    }
    place.data(&format!("{train} --resume"));
    assert_eq!(results(&place), results(&whole));
}

#[test]
fn outputs_go_where_they_are_sent() {
    let place = vwc_sdk();
    place.data(&format!("train {SMALL} --total_epochs 1"));
    place.data("export r/original r.vwcp");
    let whole = fs::read(place.path("r.vwcp")).unwrap();
    // To a pipe, through a link, beside a user's own file.
    let output = place.run("export r/original /dev/stdout --format packed");
    assert!(output.status.success() && output.stdout == whole);
    assert!(!fs::metadata("/dev/stdout").unwrap().is_dir());
    std::os::unix::fs::symlink("r.vwcp", place.path("link.vwcp")).unwrap();
    fs::write(place.path("r.vwcp"), "old").unwrap();
    fs::write(place.path("writing-link.vwcp"), "a user's own").unwrap();
    place.data("export r/original link.vwcp");
    assert_eq!(fs::read(place.path("r.vwcp")).unwrap(), whole);
    assert!(
        fs::symlink_metadata(place.path("link.vwcp"))
            .unwrap()
            .is_symlink()
    );
    assert_eq!(
        fs::read(place.path("writing-link.vwcp")).unwrap(),
        b"a user's own"
    );
    // Two at once: one of them last, both whole.
    let children: Vec<Child> = (0..6)
        .map(|_| {
            place
                .command("export r/original both.vwcp")
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(fs::read(place.path("both.vwcp")).unwrap(), whole);
    // Not over the run's own files.
    let error = place.refused("export r/original r/original/model.bpk --format packed", 1);
    assert!(error.contains("a file of that run"), "{error}");
    // Not under the name of something else.
    for (name, format) in [
        ("x.vwcp", "qonnx"),
        ("x.onnx", "packed"),
        ("x.safetensors", "onnx"),
    ] {
        let error = place.refused(&format!("export r/original {name} --format {format}"), 1);
        assert!(error.contains(name) && error.contains(format), "{error}");
        assert!(!place.path(name).exists());
    }
    // Something else in the place of the lock, which is left as it is.
    fs::remove_file(place.path("r/.lock")).unwrap();
    fs::write(place.path("precious.txt"), "precious").unwrap();
    std::os::unix::fs::symlink("../precious.txt", place.path("r/.lock")).unwrap();
    let error = place.refused(&format!("train {SMALL} --total_epochs 1"), 1);
    assert!(error.contains(".lock"), "{error}");
    assert_eq!(fs::read(place.path("precious.txt")).unwrap(), b"precious");
    fs::remove_file(place.path("r/.lock")).unwrap();
    assert!(
        Command::new("mkfifo")
            .arg(place.path("r/.lock"))
            .status()
            .unwrap()
            .success()
    );
    let error = place.refused(&format!("train {SMALL} --total_epochs 1"), 1);
    assert!(error.contains(".lock"), "{error}");
}

#[test]
fn numbers_have_limits() {
    let place = vwc_sdk();
    place.data(&format!("train {SMALL} --total_epochs 1"));
    for huge in ["18446744073709551615", "1000000000000"] {
        for flags in [
            format!("prune --directory r --round {huge}"),
            format!("prune --directory r --f {huge}"),
            format!("test --directory r --round {huge}"),
            format!("train {SMALL} --total-epochs {huge}"),
            format!("train {SMALL} --batch-size {huge}"),
            format!("evaluate r/original --array 64x64 --pictures {huge}"),
            format!("export r/original x.vwcp --check {huge}"),
        ] {
            place.refused(&flags, 2);
        }
    }
    // As many pictures as there are, however many are asked for.
    place.data("evaluate r/original --array 64x64 --pictures 100000000");
    place.data("export r/original x.vwcp --check 100000000");
}

#[test]
fn metadata_is_not_believed() {
    let place = vwc_sdk();
    place.data("train --network cnn8 --widths 4,4,4,4,4,4,4 --pictures 40 --batch_size 18 --directory c --total_epochs 1");
    place.data("export c/original c.safetensors");
    let bytes = fs::read(place.path("c.safetensors")).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, numbers) = bytes[8..].split_at(length);
    let header = std::str::from_utf8(header).unwrap();
    for (from, to) in [
        (r#"\"classes\":10,"#, r#"\"classes\":9007199254740993,"#),
        (r#"\"classes\":10,"#, r#"\"classes\":18446744073709551615,"#),
        (r#"\"classes\":10,"#, r#"\"classes\":60000,"#),
        (
            r#"\"widths\":[4,4,4,4,4,4,4]"#,
            r#"\"widths\":[8192,8192,8192,8192,8192,8192,8192]"#,
        ),
        (r#"\"std\":[0.5"#, r#"\"std\":[0.0"#),
        (r#"\"size\":[40,40]"#, r#"\"size\":[4000000,4]"#),
    ] {
        assert!(header.contains(from), "{from} is not in {header}");
        let mut other = header.replacen(from, to, 1).into_bytes();
        other.resize(other.len().next_multiple_of(8), b' ');
        let file = [&(other.len() as u64).to_le_bytes()[..], &other, numbers].concat();
        fs::write(place.path("odd.safetensors"), file).unwrap();
        let error = place.refused("import odd.safetensors --directory x", 1);
        assert!(!error.contains("panicked"), "{error}");
        assert!(!place.path("x").exists());
    }
}

#[test]
fn files_that_are_removed_in_the_middle_are_missed() {
    for file in ["config.json", "manifest.json", ""] {
        let place = vwc_sdk();
        let mut child = place
            .command(&format!("train {SMALL} --total_epochs 20"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_for(&place.path("r/original/metrics.csv"));
        if file.is_empty() {
            fs::rename(place.path("r/original"), place.path("gone")).unwrap();
        } else {
            fs::remove_file(place.path("r/original").join(file)).unwrap();
        }
        let mut talk = String::new();
        child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
        let ended = child.wait().unwrap();
        assert!(!talk.contains("panicked"), "{file}: {talk}");
        if ended.success() {
            // It was removed while a new one was being put in its place: nothing is missing.
            place.data("test --directory r");
            continue;
        }
        assert_eq!(ended.code(), Some(1), "{file}: {talk}");
        let error = talk.lines().find(|line| line.starts_with("error: ")).unwrap();
        assert!(error.contains("r/original"), "{file}: {error}");
    }
}
