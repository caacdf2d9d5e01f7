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
use vwc_sdk::device::{CHECKS, check};
use vwc_sdk::models::Cnn8Config;
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
        let mut command = Command::new(env!("CARGO_BIN_EXE_vwc-sdk"));
        command
            .arg("serve")
            .args(args.split_whitespace())
            .env_remove(TOKEN);
        if let Some(token) = token {
            command.env(TOKEN, token);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
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
    fit(network, config, options)?;
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
