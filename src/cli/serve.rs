//! `vwc-sdk serve`: this machine's devices for programs elsewhere.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use burn::server::{
    AuthorizationRequest, ClientId, PeerAuthorizer, RemoteServer, TokenAuthorizer, WebSocketTransport,
};
use clap::Args;

use crate::device::TOKEN_VARIABLE;
use crate::device::gate::{Gate, reserve};
use crate::{DeviceName, Error};

/// Lend this machine's device to trainings that run elsewhere with --device remote:HOST:PORT.
///
/// Whoever reaches the port can compute on the device, fill its memory and read what is sent, none of it encrypted. So it
/// is open to this machine alone unless --bind says otherwise. Across a network, tunnel it (ssh -L 7470:127.0.0.1:7470), or
/// set the environment variable VWC_SDK_TOKEN to the same secret on both sides, which keeps strangers from computing but
/// not from listening. Ctrl-C ends it.
///
/// A connection has to ask for a session and introduce itself within 5 s, in 72 KiB. Others are refused, with the reason, and with at
/// most eight lines here in ten seconds and a count of the rest: so strangers take little memory and keep nobody out, however
/// many they are. Who is let in is trusted, and may fill the memory. Where that must not take the machine down, set a limit
/// before (ulimit -v 16777216, in KiB): beyond it the server ends, and trainings go on with --resume on the next.
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

    /// How many sessions there may be at once; each program that computes here has one for each device. More are refused
    /// until one ends
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub max_connections: u32,
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
    let sessions = args.max_connections as usize;
    reserve(sessions).map_err(Error::Recipe)?;
    let name = args.device.found()?;
    let devices = name.init_many(args.devices as usize)?;
    let listener = TcpListener::bind(args.bind).map_err(|error| {
        refuse(format!(
            "cannot be listened on ({error}): choose another with --bind"
        ))
    })?;
    let address = listener.local_addr().map_err(|error| refuse(error.to_string()))?;
    let token = std::env::var(TOKEN_VARIABLE).ok();
    let authorizer = token.as_deref().map(TokenAuthorizer::new).transpose();
    let authorizer = authorizer.map_err(|_| {
        refuse(format!(
            "{TOKEN_VARIABLE} is set and empty: give it a secret, or unset it"
        ))
    })?;
    let inner = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| refuse(error.to_string()))?;
    let gate = Gate::new(
        inner.local_addr().map_err(|error| refuse(error.to_string()))?,
        sessions,
    );
    let at_gate = gate.clone();
    let server = RemoteServer::new(devices).with_authorizer(move |request: AuthorizationRequest<'_>| {
        let client = match request.client {
            ClientId::WebSocket(known_as) => at_gate.client(known_as),
            _ => None,
        };
        // A program of this machine that finds the inner port is not counted there, and so does not compute either.
        let client = client.ok_or("it did not come through the gate")?;
        match &authorizer {
            Some(authorizer) => {
                (authorizer.authorize(request)).map_err(|_| format!("{client} has another token"))
            }
            None => Ok(()),
        }
    });
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
        .with_writer(gate.log())
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN);
    let _ = log.try_init();
    gate.open(listener).map_err(|error| refuse(error.to_string()))?;
    // The line that a program waits for.
    super::print(&format!("serving {name} on {address}\n")).map_err(Error::io("standard output", "write"))?;
    let served = server.serve(WebSocketTransport::from_listener(inner));
    served.map_err(|error| refuse(error.to_string()))
}
