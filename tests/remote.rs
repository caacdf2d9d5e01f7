//! A device that another process lends: it trains as one's own does, and where it goes away nothing saved is lost.
#![cfg(feature = "remote")]

#[path = "common/place.rs"]
mod place;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use place::Place;
use tempfile::TempDir;
use vwc_sdk::data::{Splits, synthetic};
use vwc_sdk::models::Cnn8Config;
use vwc_sdk::selfcheck::{CHECKS, check};
use vwc_sdk::train::{EpochMetrics, FitOptions, Recipe, RunDir, Schedule, fit, initial};
use vwc_sdk::{DeviceName, Error};

const TOKEN: &str = "VWC_SDK_TOKEN";

/// A server, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(args: &str, token: Option<&str>) -> Self {
        Self::of(args, token, |command| {
            command.stderr(Stdio::null());
        })
    }

    fn of(args: &str, token: Option<&str>, set: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vwc-sdk"));
        command
            .arg("serve")
            .args(args.split_whitespace())
            .env_remove(TOKEN);
        if let Some(token) = token {
            command.env(TOKEN, token);
        }
        set(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line
            .trim()
            .rsplit_once(" on ")
            .unwrap_or_else(|| panic!("{line}"))
            .1
            .to_owned();
        Self { child, address }
    }

    fn device(&self, index: usize) -> DeviceName {
        format!("remote:{}/{index}", self.address).parse().unwrap()
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vwc_sdk() -> Place {
    Place::of(env!("CARGO_BIN_EXE_vwc-sdk").into())
}

/// Tests that train take turns: the CPU draws its random numbers from one place in a process.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn trained(config: &Cnn8Config, name: &DeviceName) -> Result<Vec<EpochMetrics>, Error> {
    let dir = TempDir::new().unwrap();
    let device = name.init()?;
    let network = initial(config, 3, &device)?;
    let (train, test) = (synthetic::digits(96, 1), synthetic::digits(40, 2));
    let splits = Splits::carve("synthetic digits", train, test, 0.2, 0).unwrap();
    let recipe = Recipe::new(2, Schedule::MultiStep(vec![2])).with_batch_size(32);
    let run = RunDir::new(dir.path().join("run"));
    let options = FitOptions::new(&splits, &recipe, run, std::slice::from_ref(&device));
    fit(network, options)?;
    RunDir::new(dir.path().join("run")).metrics()
}

fn cnn8() -> Cnn8Config {
    Cnn8Config::new()
        .with_widths([4, 4, 4, 6, 6, 6, 12])
        .with_dropout(0.0)
}

#[test]
fn a_lent_device_trains_step_for_step_as_ones_own() {
    let _turn = TURN.lock();
    let server = Server::start("--bind 127.0.0.1:0 --devices 2", None);
    for what in &CHECKS {
        let verdict = check(what, &server.device(0)).unwrap();
        assert!(verdict.is_good(), "{}: {verdict:?}", what.name);
    }
    let own = DeviceName::default();
    for (config, tolerance) in [(cnn8().with_quantized(false), 1e-3), (cnn8(), 0.05)] {
        let expected = trained(&config, &own).unwrap();
        // Either of the two that are lent.
        for index in [0, 1] {
            let found = trained(&config, &server.device(index)).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                let far = (found.train_loss - expected.train_loss).abs() / expected.train_loss;
                assert!(far <= tolerance, "{index}: {found:?}, expected {expected:?}");
            }
        }
    }
    let error = server.device(0).init_many(2).unwrap_err().to_string();
    assert!(error.contains("cannot train together"), "{error}");
}

#[test]
fn a_server_that_dies_costs_no_more_than_the_epoch() {
    let place = vwc_sdk();
    let mut server = Server::start("--bind 127.0.0.1:0", None);
    let train = format!(
        "train --network cnn8 --widths 4,4,4,6,6,6,12 --pictures 60 --batch_size 18 --total_epochs 6 --directory r --device remote:{}",
        server.address
    );
    let mut child = place
        .command(&train)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Once two epochs are kept, the server goes.
    let metrics = place.path("r/original/metrics.csv");
    let rows = || std::fs::read_to_string(&metrics).map_or(0, |text| text.lines().count().saturating_sub(1));
    let started = Instant::now();
    while rows() < 2 && child.try_wait().unwrap().is_none() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.stop();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let errors: Vec<&str> = stderr
        .lines()
        .filter(|line| line.starts_with("error: "))
        .collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    let device = format!(
        "device remote:{}: its server is gone: start it again",
        server.address
    );
    assert!(
        errors[0].contains(&device) && errors[0].contains("--resume"),
        "{stderr}"
    );
    assert!(!stderr.contains("panicked"), "{stderr}");

    // What was kept is whole, and the rest of the run is made on a server that takes its place.
    let server = Server::start(&format!("--bind {}", server.address), None);
    assert!(train.ends_with(&server.address));
    place.data(&format!("{train} --resume"));
    assert_eq!(rows(), 6);
}

#[test]
fn a_server_that_dies_at_any_moment_is_named_in_one_line() {
    let place = vwc_sdk();
    place.data("train --network cnn8 --widths 4,4,4,6,6,6,12 --pictures 60 --batch_size 18 --total_epochs 1 --directory r");
    for wait in [50, 100, 150, 200, 300, 400, 600] {
        let mut server = Server::start("--bind 127.0.0.1:0", None);
        let device = format!("remote:{}", server.address);
        let mut command = place.command(&format!(
            "prune --directory r --ratio 0.3 --total_epochs 400 --budget 100 --device {device}"
        ));
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        server.stop();
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "after {wait} ms: {stderr}");
        let errors: Vec<&str> = (stderr.lines())
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "after {wait} ms: {stderr}");
        assert!(errors[0].contains(&device), "after {wait} ms: {stderr}");
        assert!(!stderr.contains("panicked"), "after {wait} ms: {stderr}");
    }
}

#[test]
fn a_server_that_refuses_or_is_not_there_is_named() {
    let place = vwc_sdk();
    let train = "train --network cnn8 --pictures 60 --total_epochs 1";
    let error = place.refused(&format!("{train} --device remote:127.0.0.1:1"), 1);
    assert!(
        error.contains("remote:127.0.0.1:1") && error.contains("nobody answers"),
        "{error}"
    );
    let server = Server::start("--bind 127.0.0.1:0", Some("secret"));
    let error = place.refused(&format!("{train} --device remote:{}", server.address), 1);
    assert!(
        error.contains("asks for a token") && error.contains(TOKEN),
        "{error}"
    );
    let wrong = place
        .command(&format!("devices remote:{}", server.address))
        .env(TOKEN, "guess")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&wrong.stderr);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(stderr.contains("another token"), "{stderr}");
    let error = place.refused(&format!("{train} --device remote:no-such-host.invalid:7470"), 1);
    assert!(error.contains("no such address"), "{error}");
    let listed = place
        .command(&format!("devices remote:{}", server.address))
        .env(TOKEN, "secret")
        .output()
        .unwrap();
    assert_eq!(
        listed.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let open = Server::start("--bind 127.0.0.1:0", None);
    let error = place.refused(&format!("{train} --device remote:{}/1", open.address), 1);
    assert!(error.contains("1 device"), "{error}");
    // An address that is taken.
    let error = place.refused(&format!("serve --bind {}", open.address), 1);
    assert!(
        error.contains(&open.address) && error.contains("--bind"),
        "{error}"
    );
    place.refused("serve --bind nowhere", 2);
}

/// Waited for half a minute each, and side by side.
#[test]
#[cfg(unix)]
fn a_server_that_says_nothing_is_not_waited_for_without_end() {
    let place = vwc_sdk();
    // One that takes connections and is no server of ours.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let child = |args: &str| {
        let mut command = place.command(args);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let waiting = child(&format!("devices remote:{silent}"));

    // One that is stopped in the middle of a training.
    let server = Server::start("--bind 127.0.0.1:0", None);
    let training = child(&format!(
        "train --network cnn8 --widths 4,4,4,6,6,6,12 --pictures 200 --batch_size 18 --total_epochs 2000 --directory r \
         --device remote:{}",
        server.address
    ));
    let started = Instant::now();
    let metrics = place.path("r/original/metrics.csv");
    while !metrics.is_file() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let stop = Command::new("kill")
        .args(["-STOP", &server.child.id().to_string()])
        .status();
    assert!(stop.unwrap().success());

    for (child, said) in [
        (waiting, "says nothing for 30 s"),
        (training, "it has said nothing for 30 s"),
    ] {
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
        assert!(started.elapsed() < Duration::from_secs(120));
    }
}

/// Connections that mean no good, by the thousand and of every kind.
#[cfg(target_os = "linux")]
mod hostile {
    use std::fs::File;
    use std::io::{ErrorKind, Read, Write};
    use std::net::TcpStream;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// By how much the server's memory may grow at most, in MiB, from what it takes once a client has trained on it.
    const GROWTH: u64 = 64;
    /// The files that it may open: fewer than there are connections.
    const FILES: u64 = 1024;

    const UPGRADE: &str = "GET /session HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                           Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// Lets a process that `command` starts, or this one, open so many files.
    fn files(limit: u64) -> std::io::Result<()> {
        let limit = libc::rlimit {
            rlim_cur: limit,
            rlim_max: limit,
        };
        // SAFETY: the call reads the limit, which is there, and may be made between fork and exec.
        match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    impl Server {
        fn with_log(args: &str, log: &Path) -> Self {
            let log = File::create(log).unwrap();
            Self::of(args, Some("secret"), |command| {
                command.stderr(log);
                // SAFETY: see `files`.
                unsafe { command.pre_exec(|| files(FILES)) };
            })
        }

        /// A line of what Linux says of the process, in MiB.
        fn memory(&self, name: &str) -> u64 {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            let number = line.split_whitespace().nth(1).unwrap();
            number.parse::<u64>().unwrap() / 1024
        }

        fn open_files(&self) -> usize {
            std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
                .unwrap()
                .count()
        }

        fn connect(&self) -> TcpStream {
            let stream = TcpStream::connect(&self.address).unwrap();
            for set in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
                set(&stream, Some(Duration::from_secs(10))).unwrap();
            }
            stream
        }

        /// A connection that asks for a session as a client does, and is given one.
        fn upgraded(&self) -> Option<TcpStream> {
            let mut stream = self.connect();
            stream.write_all(UPGRADE.as_bytes()).ok()?;
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).ok()?;
                answer.push(byte[0]);
            }
            answer.starts_with(b"HTTP/1.1 101 ").then_some(stream)
        }
    }

    /// All that a connection says to the end; none where it was cut off before it could be read.
    fn answer(mut stream: TcpStream) -> Option<String> {
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => Some(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => None,
            Err(error) => panic!("a connection is neither answered nor closed: {error}"),
        }
    }

    fn frame(kind: u8, declared: u64, bytes: &[u8]) -> Vec<u8> {
        [&[kind, 0xff][..], &declared.to_be_bytes(), &[0; 4], bytes].concat()
    }

    /// Bytes without any meaning.
    fn garbage(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    /// Sends `bytes` on `count` connections, one after another, and has every one answered with `status`, but for those that had to
    /// leave because there were too many.
    fn refused(server: &Server, count: usize, what: &str, status: &str, bytes: impl Fn(u64) -> Vec<u8>) {
        let mut told = 0;
        for n in 0..count {
            let mut stream = server.connect();
            // It may have been turned away before it has said all.
            let _ = stream.write_all(&bytes(n as u64));
            match answer(stream) {
                Some(answer) if answer.starts_with(status) => told += 1,
                Some(answer) => assert!(answer.contains("too many connect at once"), "{what}: {answer}"),
                None => {}
            }
        }
        assert!(told > count / 2, "{what}: {told} of {count} were told why");
    }

    /// As [`refused`], of connections that were given a session and send a first message of `bytes`.
    fn closed(server: &Server, count: usize, what: &str, said: &str, bytes: impl Fn(u64) -> Vec<u8>) {
        let (mut told, mut asked) = (0, 0);
        for n in 0..count {
            let Some(mut stream) = server.upgraded() else {
                continue;
            };
            asked += 1;
            let _ = stream.write_all(&bytes(n as u64));
            match answer(stream) {
                Some(answer) if answer.contains(said) => told += 1,
                Some(answer) => assert!(answer.contains("too many connect at once"), "{what}: {answer}"),
                None => {}
            }
        }
        assert!(
            asked > count / 2 && told > asked / 2,
            "{what}: {told} of {asked} of {count}"
        );
    }

    #[test]
    fn a_thousand_hostile_connections_take_little_memory_and_keep_nobody_out() {
        // SAFETY: a limit of zeros is a valid one, and the call writes to nothing else.
        let most = unsafe {
            let mut limit: libc::rlimit = std::mem::zeroed();
            libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
            limit.rlim_max
        };
        assert!(
            most >= 4096,
            "the test opens 2200 connections, and may open {most} files"
        );
        files(most).unwrap();

        let place = vwc_sdk();
        let log = place.path("log");
        let server = Server::with_log("--bind 127.0.0.1:0", &log);
        let train = format!(
            "train --network cnn8 --widths 4,4,4,6,6,6,12 --pictures 60 --batch_size 18 --total_epochs 2 --device remote:{}",
            server.address
        );
        // What an honest client computes, to the last digit.
        let honest = |directory: &str| {
            let mut command = place.command(&format!("{train} --directory {directory}"));
            let output = command.env(TOKEN, "secret").output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{directory}: {stderr}");
            std::fs::read_to_string(place.path(directory).join("results.json")).unwrap()
        };
        let before = honest("before");
        let memory = server.memory("VmRSS");
        eprintln!("before: {memory} MiB, {} files", server.open_files());

        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let held = scope.spawn(|| {
                // More than may wait, and more than there are files.
                let mut held: Vec<TcpStream> = (0..1000).map(|_| server.connect()).collect();
                held.extend((0..1000).map(|_| {
                    let mut stream = server.connect();
                    let _ = stream.write_all(b"GET /session HTTP/1.1\r\nHost: x\r\nUpgr");
                    stream
                }));
                held.extend((0..200).filter_map(|_| server.upgraded()));
                held
            });
            let others = [
                scope.spawn(|| {
                    let header = [UPGRADE.trim_end(), "\r\nX: ", &"x".repeat(1 << 20)].concat();
                    refused(&server, 100, "a huge header", "HTTP/1.1 431 ", |_| {
                        header.clone().into_bytes()
                    });
                    refused(&server, 300, "garbage", "HTTP/1.1 400 ", |n| garbage(n, 20_000));
                    refused(&server, 100, "another path", "HTTP/1.1 404 ", |_| {
                        UPGRADE.replace("/session", "/data").into_bytes()
                    });
                    refused(&server, 100, "no WebSocket", "HTTP/1.1 426 ", |_| {
                        b"GET /session HTTP/1.1\r\n\r\n".to_vec()
                    });
                }),
                scope.spawn(|| {
                    for _ in 0..3000 {
                        let stream = server.connect();
                        let reset = libc::linger {
                            l_onoff: 1,
                            l_linger: 0,
                        };
                        // SAFETY: the option is of that type, and the call reads it.
                        let set = unsafe {
                            libc::setsockopt(
                                std::os::fd::AsRawFd::as_raw_fd(&stream),
                                libc::SOL_SOCKET,
                                libc::SO_LINGER,
                                (&raw const reset).cast(),
                                size_of::<libc::linger>() as u32,
                            )
                        };
                        assert_eq!(set, 0);
                    }
                }),
                scope.spawn(|| {
                    closed(&server, 200, "2^63 bytes", "9223372036854775808 bytes", |_| {
                        frame(0x82, 1 << 63, b"")
                    });
                    closed(&server, 100, "1 GiB", "1073741824 bytes", |n| {
                        frame(0x82, 1 << 30, &garbage(n, 4 << 20))
                    });
                    closed(&server, 200, "no message of Burn's", "InitRefused", |n| {
                        frame(0x82, 1000, &garbage(n, 1000))
                    });
                    closed(&server, 200, "pings", "is not that of a client", |_| {
                        frame(0x89, 100, &[0; 100]).repeat(100)
                    });
                }),
            ];
            let during = scope.spawn(|| {
                let (mut rounds, started) = (0, Instant::now());
                // Not for ever, where another part of the test fails.
                let is_over = || over.load(Ordering::Relaxed) || started.elapsed() > Duration::from_secs(30);
                while rounds == 0 || !is_over() {
                    assert_eq!(honest(&format!("during{rounds}")), before);
                    rounds += 1;
                }
                rounds
            });
            let held = held.join().unwrap();
            for other in others {
                other.join().unwrap();
            }
            eprintln!(
                "{} silent ones held: {} MiB, {} files",
                held.len(),
                server.memory("VmRSS"),
                server.open_files()
            );
            over.store(true, Ordering::Relaxed);
            let rounds = during.join().unwrap();
            // All that were held are told to go, the last of them when their time is over.
            let answers: Vec<String> = held.into_iter().filter_map(answer).collect();
            let told = |what: &str| answers.iter().filter(|answer| answer.contains(what)).count();
            let (crowded, late) = (told("too many connect at once"), told("did not introduce itself"));
            eprintln!(
                "trained {rounds} times meanwhile; of those held {crowded} had to leave, {late} were late"
            );
            assert_eq!(crowded + late, answers.len());
            assert!(crowded >= 1000 && late >= 1, "{crowded} and {late}");
        });
        assert_eq!(honest("after"), before);

        let (now, peak) = (server.memory("VmRSS"), server.memory("VmHWM"));
        eprintln!(
            "after: {now} MiB, at most {peak} MiB, {} files",
            server.open_files()
        );
        assert!(peak <= memory + GROWTH, "{peak} MiB, and {memory} before");
        assert!(server.open_files() < 100, "{}", server.open_files());
        // The others are counted every ten seconds.
        let asked = Instant::now();
        let log = loop {
            let log = std::fs::read_to_string(&log).unwrap();
            if log.contains(" more in the last 10 s") || asked.elapsed() > Duration::from_secs(20) {
                break log;
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        eprintln!("{log}");
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.contains("refused 127.0.0.1:") && log.contains(" more in the last 10 s"));
        assert!(log.lines().count() < 60, "{log}");
    }

    #[test]
    fn a_server_with_no_room_says_so_and_has_some_again() {
        let place = vwc_sdk();
        let mut server = Server::start("--bind 127.0.0.1:0 --max-connections 1", None);
        let mut training = place
            .command(&format!(
                "train --network cnn8 --widths 4,4,4,6,6,6,12 --pictures 60 --batch_size 18 --total_epochs 100000 \
                 --directory r --device remote:{}",
                server.address
            ))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        place::wait_for(&place.path("r/original/metrics.csv"));
        let devices = format!("devices remote:{}", server.address);
        let output = place.run(&devices);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains("--max-connections"), "{stderr}");
        // A client that dies leaves its room to the next.
        training.kill().unwrap();
        training.wait().unwrap();
        place.data(&devices);
        server.stop();
        // As many as the system has files for.
        let mut command = place.command("serve --bind 127.0.0.1:0 --max-connections 4096");
        // SAFETY: see `files`.
        unsafe { command.pre_exec(|| files(FILES)) };
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains("error: ") && stderr.contains("open files"),
            "{stderr}"
        );
        for number in ["0", "-1", "4097", "many"] {
            place.refused(&format!("serve --max-connections={number}"), 2);
        }
    }
}
