//! Devices that another process lends: how one is reached, and whether it still answers.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use burn::remote::{ConnectError, RemoteHost};
use burn::tensor::Device;

use super::{DeviceKind, DeviceName, TOKEN_VARIABLE};
use crate::Error;

/// How long a server may say nothing. Burn tries for 16 s to reach one that is only starting.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked.
const PAUSE: Duration = Duration::from_secs(5);
/// How long it has to answer once.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a server that is full or crowded is asked again.
const ROOM: Duration = Duration::from_secs(10);
/// What Burn makes of a server that is full.
const FULL: &str = "503 Service Unavailable";

/// The device `name`, lent at `address`.
pub(super) fn connect(name: &DeviceName, address: &str) -> Result<Device, Error> {
    let refuse = |reason: String| {
        Err(Error::Device {
            device: name.to_string(),
            reason,
        })
    };
    if let Err(error) = address.to_socket_addrs() {
        return refuse(format!(
            "there is no such address ({error}): check the host's name"
        ));
    }
    let token = std::env::var(TOKEN_VARIABLE).ok();
    let mut host = RemoteHost::websocket(&format!("ws://{address}"));
    if let Some(token) = &token {
        host = host.with_credential(token.clone());
    }
    // Burn waits for ever for a server that takes a connection and says nothing.
    let (sender, receiver) = channel();
    let index = name.index();
    thread::spawn(move || {
        let asked = Instant::now();
        loop {
            let device = Device::remote_options(&host).device_index(index).init();
            // It is full, or had to let this go for others before it was heard.
            let again = match &device {
                Err(ConnectError::Unreachable { reason }) => reason.contains(FULL),
                Err(ConnectError::Handshake { .. }) => true,
                _ => false,
            };
            if !again || asked.elapsed() > ROOM {
                let _ = sender.send(device);
                return;
            }
            thread::sleep(ROOM / 20);
        }
    });
    let error = match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(device)) => return Ok(device),
        Ok(Err(error)) => error,
        Err(RecvTimeoutError::Timeout) => {
            return refuse(format!(
                "something takes connections there and says nothing for {} s: is it `vwc-sdk serve`, and is it running?",
                PATIENCE.as_secs()
            ));
        }
        Err(RecvTimeoutError::Disconnected) => return refuse("the connection broke off: try again".into()),
    };
    refuse(match error {
        ConnectError::Unreachable { reason } if reason.starts_with("nothing answered") => {
            let port = address.rsplit(':').next().unwrap_or_default();
            format!(
                "nobody answers there: start `vwc-sdk serve` on that machine, with --bind one of its addresses and port {port}"
            )
        }
        ConnectError::Unreachable { reason } if reason.contains(FULL) => {
            "the server has as many connections as it takes: wait until one ends, or start it with a larger --max-connections"
                .into()
        }
        ConnectError::Unreachable { reason } | ConnectError::Handshake { reason } => {
            format!(
                "what answers there is no `vwc-sdk serve` of this version ({reason}): check host and port"
            )
        }
        ConnectError::Unauthorized => match token {
            None => {
                format!("the server asks for a token: put the one it was started with into {TOKEN_VARIABLE}")
            }
            Some(_) => {
                format!("the server has another token than the one in {TOKEN_VARIABLE}: put its own there")
            }
        },
        error => error.to_string(),
    })
}

impl DeviceName {
    /// Has `lost` called, from a thread of its own, once a device that another process lends does not answer any more, which
    /// a computation waits for without end: a server that is stopped, or that a network lost. The thread ends with that, and
    /// with the program; a device of this machine needs none.
    pub(crate) fn watch(&self, lost: impl FnOnce(Error) + Send + 'static) {
        let DeviceKind::Remote(address) = self.kind.clone() else {
            return;
        };
        let device = self.to_string();
        thread::spawn(move || {
            // Burn itself sees a server that dies: so it is left the time to.
            let mut silent = Duration::ZERO;
            while silent < PATIENCE {
                let asked = Instant::now();
                let answered = answers(&address);
                thread::sleep(PAUSE);
                // A question counts for no more than it may take: this program may have been stopped meanwhile.
                silent = match answered {
                    true => Duration::ZERO,
                    false => silent + asked.elapsed().min(ANSWER + PAUSE),
                };
            }
            lost(Error::Device {
                device,
                reason: format!(
                    "it has said nothing for {} s: is its server running?",
                    PATIENCE.as_secs()
                ),
            });
        });
    }
}

/// Whether the server says anything at all, if only that there is no such page.
pub(super) fn answers(address: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let address = address
            .to_socket_addrs()?
            .next()
            .ok_or(std::io::ErrorKind::NotFound)?;
        let mut stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        Ok(stream.read(&mut [0])? > 0)
    };
    ask().unwrap_or(false)
}
