//! `vwc-sdk serve`: this machine's devices for programs elsewhere.

use std::net::{SocketAddr, TcpListener};

use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};
use clap::Args;

use crate::device::TOKEN_VARIABLE;
use crate::{DeviceName, Error};

/// Lend this machine's device to trainings that run elsewhere with --device remote:HOST:PORT.
///
/// Whoever reaches the port can compute on the device, fill its memory and read what is sent, none of it encrypted. So it
/// is open to this machine alone unless --bind says otherwise. Across a network, tunnel it (ssh -L 7470:127.0.0.1:7470), or
/// set the environment variable VWC_SDK_TOKEN to the same secret on both sides, which keeps strangers from computing but
/// not from listening. Ctrl-C ends it.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// Device to lend
    #[arg(long, value_name = "DEVICE", default_value_t)]
    pub device: DeviceName,

    /// How many, counted from that one; a CPU can be lent as though it were several
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub devices: u32,

    /// Address and port to listen on; port 0 takes any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:7470")]
    pub bind: SocketAddr,
}

const EXAMPLES: &str = "\
Examples:
  vwc-sdk serve --device cuda
  vwc-sdk train --network cnn8 --device remote:127.0.0.1:7470";

/// Serves until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// A device that cannot be used, and an address that cannot be listened on.
pub fn run(args: &ServeArgs) -> Result<(), Error> {
    let refuse = |reason: String| Error::Serve {
        address: args.bind.to_string(),
        reason,
    };
    let name = args.device.found()?;
    let devices = name.init_many(args.devices as usize)?;
    let listener = TcpListener::bind(args.bind).map_err(|error| {
        refuse(format!(
            "cannot be listened on ({error}): choose another with --bind"
        ))
    })?;
    let address = listener.local_addr().map_err(|error| refuse(error.to_string()))?;
    let mut server = RemoteServer::new(devices);
    let token = std::env::var(TOKEN_VARIABLE).ok();
    if let Some(token) = &token {
        let authorizer = TokenAuthorizer::new(token.as_str());
        server = server.with_authorizer(authorizer.map_err(|_| {
            refuse(format!(
                "{TOKEN_VARIABLE} is set and empty: give it a secret, or unset it"
            ))
        })?);
    }
    let whoever = match address.ip().is_loopback() {
        true => "open to this machine alone: every program that runs here",
        false => "open to the network: whoever reaches it",
    };
    let compute = match token {
        Some(_) => "",
        None => "compute on this device and ",
    };
    say!("{address} is {whoever} can {compute}read what is sent, for nothing is encrypted");
    // Otherwise Burn's server writes its log to standard output.
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    let _ = log.try_init();
    // The line that a program waits for.
    super::print(&format!("serving {name} on {address}\n")).map_err(Error::io("standard output", "write"))?;
    let served = server.serve(WebSocketTransport::from_listener(listener));
    served.map_err(|error| refuse(error.to_string()))
}
