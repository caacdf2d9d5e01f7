//! Fetching one file over HTTP, so that a broken connection costs nothing but the rest of the file.
//!
//! The bytes land in `<file>.part`, which a later call continues. Only when all have arrived and their checksum is the
//! promised one does the file get its name, so a file under its own name is always whole. The checksum also makes up
//! for a connection that is not encrypted: the server of SVHN speaks plain HTTP. Over HTTPS, the certificates of Mozilla's
//! list are trusted, or those in the file that the environment variable `SSL_CERT_FILE` names, as behind a proxy that
//! has one of its own.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::error::{DataError, io_error};

/// How long to wait for a connection, and for the next bytes on it.
const PATIENCE: Duration = Duration::from_secs(60);
const BUFFER: usize = 64 * 1024;

/// Downloads `url` to `dest`, unless `dest` is there already with the MD5 checksum `md5` (hexadecimal).
///
/// An unfinished download is continued from where it stopped, if the server can do that. With `progress`, a bar on
/// standard error shows bytes, speed and remaining time, provided that standard error is a terminal. Directories on
/// the way to `dest` are created.
///
/// # Errors
///
/// [`DataError::Network`] when the connection fails, or the server's certificate is not to be trusted: what has arrived is
/// kept, and the next call continues from there. [`DataError::Certificates`] when `SSL_CERT_FILE` names no file of
/// certificates; empty, it counts as unset. [`DataError::HttpStatus`] when the server has no such file. [`DataError::Checksum`] when another file arrived: it is
/// removed, and a file that was at `dest` before stays untouched. [`DataError::Busy`] when another process is
/// downloading to `dest`. [`DataError::Io`] when a file cannot be read or written.
pub fn fetch(url: &str, dest: &Path, md5: &str, progress: bool) -> Result<(), DataError> {
    if dest.is_file() && checksum(dest)?.eq_ignore_ascii_case(md5) {
        return Ok(());
    }
    if let Some(dir) = dest.parent() {
        fs::create_dir_all(dir).map_err(io_error(dir, "create"))?;
    }
    let path = part_path(dest);
    let mut part = OpenOptions::new()
        .append(true)
        .create(true)
        .open(&path)
        .map_err(io_error(&path, "open"))?;
    // Held until `part` is closed: two downloads writing to one file would spoil it. Some network file systems have no
    // locks; there the checksum still catches the mixture.
    if let Err(TryLockError::WouldBlock) = part.try_lock() {
        return Err(DataError::Busy { path });
    }

    let download = Download {
        url,
        dest,
        path: &path,
        progress,
    };
    if let Err(error) = download.finish(&mut part) {
        // Nothing worth continuing: leave no trace. Failing at that is not worth another error.
        if part.metadata().is_ok_and(|m| m.len() == 0) {
            let _ = fs::remove_file(&path);
        }
        return Err(error);
    }
    part.sync_all().map_err(io_error(&path, "write"))?;

    let found = checksum(&path)?;
    if !found.eq_ignore_ascii_case(md5) {
        fs::remove_file(&path).map_err(io_error(&path, "remove"))?;
        return Err(DataError::Checksum {
            url: url.into(),
            path: dest.to_path_buf(),
            expected: md5.to_ascii_lowercase(),
            found,
        });
    }
    fs::rename(&path, dest).map_err(io_error(&path, "rename"))
}

/// Whose certificates are taken of a server that has one.
fn trusted(url: &str) -> Result<RootCerts, DataError> {
    let named = std::env::var_os("SSL_CERT_FILE");
    let Some(path) = named.filter(|name| !name.is_empty() && url.starts_with("https:")) else {
        return Ok(RootCerts::WebPki);
    };
    let path = PathBuf::from(path);
    let refuse = |reason: String| {
        let path = path.clone();
        DataError::Certificates { path, reason }
    };
    let pem = fs::read(&path).map_err(|error| refuse(format!("it cannot be read ({error})")))?;
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    };
    let certificates: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate".into()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// Where the unfinished download of `dest` is kept.
fn part_path(dest: &Path) -> PathBuf {
    let mut path = dest.as_os_str().to_owned();
    path.push(".part");
    path.into()
}

/// One download on its way.
struct Download<'a> {
    url: &'a str,
    dest: &'a Path,
    path: &'a Path,
    progress: bool,
}

impl Download<'_> {
    /// Brings `part` to its end, from where it is or, if the server will not continue it, from the start.
    fn finish(&self, part: &mut File) -> Result<(), DataError> {
        if !self.run(part, true)? {
            self.run(part, false)?;
        }
        Ok(())
    }

    /// Asks the server once and writes what it sends to `part`; with `resume`, only for what is missing there.
    ///
    /// Answers `false` if the server cannot continue what is there, so that it has to be fetched from the start.
    fn run(&self, part: &mut File, resume: bool) -> Result<bool, DataError> {
        let write_error = || io_error(self.path, "write");
        let length = part.metadata().map_err(io_error(self.path, "read"))?.len();
        let mut start = if resume { length } else { 0 };

        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .tls_config(TlsConfig::builder().root_certs(trusted(self.url)?).build())
            .build()
            .into();
        let mut request = agent.get(self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let mut response = request.call().map_err(|e| self.network_error(&e))?;
        let range = content_range(response.headers());
        match response.status() {
            StatusCode::OK => start = 0,
            StatusCode::PARTIAL_CONTENT if start > 0 => match range {
                (first, _) if first == Some(start) => {}
                _ => return Ok(false),
            },
            // Everything has arrived already, and only the rename is missing.
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 && range.1 == Some(start) => {
                return Ok(true);
            }
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => return Ok(false),
            status => {
                return Err(DataError::HttpStatus {
                    url: self.url.into(),
                    status: status.as_u16(),
                    path: self.dest.to_path_buf(),
                });
            }
        }
        if start == 0 {
            part.set_len(0).map_err(write_error())?;
        }

        let body = response.body_mut();
        let bar = self.bar(start, body.content_length().map(|rest| start + rest));
        let mut body = body.as_reader();
        let mut buffer = vec![0; BUFFER];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    part.write_all(&buffer[..read]).map_err(write_error())?;
                    bar.inc(read as u64);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => {
                    bar.abandon();
                    return Err(self.network_error(&e));
                }
            }
        }
        bar.finish();
        Ok(true)
    }

    /// A progress bar that has come to `start`, of `total` bytes if the server says how many there are.
    fn bar(&self, start: u64, total: Option<u64>) -> ProgressBar {
        let template = match total {
            Some(_) => "{msg} [{wide_bar}] {bytes}/{total_bytes} at {bytes_per_sec}, {eta} left",
            None => "{msg} {spinner} {bytes} at {bytes_per_sec}",
        };
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        // Standard error as a target draws nothing where that is no terminal.
        let target = if self.progress {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let name = self.dest.file_name().unwrap_or_default().to_string_lossy();
        let bar = ProgressBar::with_draw_target(total, target)
            .with_style(style.progress_chars("=> "))
            .with_message(name.into_owned())
            .with_position(start);
        bar.reset_eta();
        bar
    }

    fn network_error(&self, reason: &dyn std::fmt::Display) -> DataError {
        DataError::Network {
            url: self.url.into(),
            reason: reason.to_string(),
        }
    }
}

/// The first byte sent and the size of the whole file, as far as the server tells: both from `bytes 5-9/10`, only the
/// size from `bytes */10`.
fn content_range(headers: &HeaderMap) -> (Option<u64>, Option<u64>) {
    let parse = || {
        let value = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
        let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
        let first = range.split_once('-').map_or(range, |(first, _)| first);
        Some((first.parse().ok(), total.parse().ok()))
    };
    parse().unwrap_or_default()
}

/// The MD5 checksum of a file, in lower-case hexadecimal.
fn checksum(path: &Path) -> Result<String, DataError> {
    let mut file = File::open(path).map_err(io_error(path, "open"))?;
    let mut digest = Md5::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digest.update(&buffer[..read]),
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(io_error(path, "read")(e)),
        }
    }
    Ok(digest.finalize().iter().map(|b| format!("{b:02x}")).collect())
}
