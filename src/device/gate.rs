//! The gate in front of Burn's server: how many may come in, and how much they may say before.
//!
//! Burn's server takes whatever connects, for as long as it likes, and up to 1 GiB from each before it asks for the token. So it
//! listens on a port of its own, and the gate passes on to it what introduces itself: by a request for a session and one short
//! message, within seconds. What an introduced client sends is passed on as it comes.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, copy_buf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};

/// How long an introduction may take.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// How many may be at it at once. When more come, the one that has taken longest has to leave: an honest client is through within
/// milliseconds, so that those who only stay do not keep it out.
const WAITING: usize = 128;
/// The longest header of a request, in bytes. A client of Burn's sends some two hundred.
const HEADER: usize = 8 << 10;
/// The longest first message, in bytes: it holds a version, two numbers and the token.
const FIRST: usize = 64 << 10;
/// How long one that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_millis(500);
/// How much is passed on at once, in bytes.
const PIECE: usize = 64 << 10;
/// How many connections wait in the system until they are taken.
const BACKLOG: i32 = 4096;
/// A client that vanished is noticed after half a minute, as Burn's own server does it.
const KEEPALIVE: TcpKeepalive = {
    let keepalive = TcpKeepalive::new().with_time(Duration::from_secs(10));
    // Elsewhere how often and how long is for the system to say.
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "windows"))]
    let keepalive = keepalive.with_interval(Duration::from_secs(5)).with_retries(4);
    keepalive
};

/// So many lines are said about those that are turned away...
const LINES: u64 = 8;
/// ... in this time; the others are counted.
const WHILE: Duration = Duration::from_secs(10);

/// What is passed on to a server, and what is not.
pub(crate) struct Gate {
    server: SocketAddr,
    sessions: usize,
    free: Arc<Semaphore>,
    /// Where the clients come from, by the address under which the server knows them.
    clients: Mutex<HashMap<SocketAddr, SocketAddr>>,
    said: Said,
}

/// A connection that has not introduced itself.
struct Stranger {
    stream: TcpStream,
    /// Whether the server has answered its request, so that it reads messages and no HTTP any more.
    upgraded: bool,
}

/// One that has, on its way to the server.
struct Session {
    gate: Arc<Gate>,
    server: TcpStream,
    known_as: SocketAddr,
    _one_of: OwnedSemaphorePermit,
}

/// Why a connection is not passed on.
enum Refusal {
    /// It went away.
    Gone,
    /// It asked whether anybody is there, and this is what the server said.
    Answered(Vec<u8>),
    /// A status of HTTP and a code of a WebSocket, of which it is told the one that it understands, and the reason.
    Because(&'static str, u16, String),
}

impl Refusal {
    fn because<T>(status: &'static str, code: u16, reason: impl Into<String>) -> Result<T, Self> {
        Err(Self::Because(status, code, reason.into()))
    }

    fn late() -> Self {
        let reason = format!("it did not introduce itself within {} s", INTRODUCTION.as_secs());
        Self::Because("408 Request Timeout", 1002, reason)
    }

    fn crowded() -> Self {
        let reason = "too many connect at once: try again".to_owned();
        Self::Because("503 Service Unavailable", 1013, reason)
    }
}

impl From<io::Error> for Refusal {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Gate {
    /// A gate to the server that listens on `server`, for `sessions` at a time.
    pub(crate) fn new(server: SocketAddr, sessions: usize) -> Arc<Self> {
        Arc::new(Self {
            server,
            sessions,
            free: Arc::new(Semaphore::new(sessions)),
            clients: Mutex::default(),
            said: Said::default(),
        })
    }

    /// Lets in whoever connects to `listener`, from a thread of its own that ends with the program.
    pub(crate) fn open(self: &Arc<Self>, listener: std::net::TcpListener) -> io::Result<()> {
        SockRef::from(&listener).listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        // One thread for all of them: it only passes on, and is busy where the server's own threads are, too.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let gate = self.clone();
        let work = move || runtime.block_on(gate.receive(listener));
        thread::Builder::new().name("gate".into()).spawn(work).map(drop)
    }

    /// Where the client comes from that the server knows by this address; none where it came round the gate.
    pub(crate) fn client(&self, known_as: SocketAddr) -> Option<SocketAddr> {
        self.clients().get(&known_as).copied()
    }

    /// A writer for the server's log: what clients cause is said as seldom as that they are turned away.
    pub(crate) fn log(self: &Arc<Self>) -> impl Fn() -> Log + Send + Sync + 'static {
        let gate = self.clone();
        move || Log(gate.clone())
    }

    fn clients(&self) -> std::sync::MutexGuard<'_, HashMap<SocketAddr, SocketAddr>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn receive(self: Arc<Self>, listener: TcpListener) {
        let gate = self.clone();
        tokio::spawn(async move {
            loop {
                sleep(WHILE).await;
                gate.said.sum_up();
            }
        });
        let places = Arc::new(Semaphore::new(WAITING));
        let mut waiting: VecDeque<oneshot::Sender<()>> = VecDeque::new();
        loop {
            let Ok((stream, from)) = listener.accept().await else {
                // It went away already, or the system is out of something for a moment.
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            waiting.retain(|one| !one.is_closed());
            if places.available_permits() == 0
                && let Some(first) = waiting.pop_front()
            {
                let _ = first.send(());
            }
            let place = places.clone().acquire_owned().await;
            let (hurry, hurried) = oneshot::channel();
            waiting.push_back(hurry);
            tokio::spawn(self.clone().accompany(stream, from, place.ok(), hurried));
        }
    }

    /// A connection from its first byte to its last. Its place among those that wait is free as soon as it is introduced, and
    /// it has to give it up when it is hurried.
    async fn accompany(
        self: Arc<Self>,
        stream: TcpStream,
        from: SocketAddr,
        place: Option<OwnedSemaphorePermit>,
        mut hurried: oneshot::Receiver<()>,
    ) {
        let _ = stream.set_nodelay(true);
        let mut stranger = Stranger {
            stream,
            upgraded: false,
        };
        let introduced = tokio::select! {
            introduced = timeout(INTRODUCTION, self.introduce(&mut stranger, from)) => {
                introduced.unwrap_or_else(|_| Err(Refusal::late()))
            }
            _ = &mut hurried => {
                self.turn_away(&mut stranger, from, Refusal::crowded()).await;
                return;
            }
        };
        match introduced {
            Ok(session) => {
                drop((place, hurried));
                let _ = SockRef::from(&stranger.stream).set_tcp_keepalive(&KEEPALIVE);
                session.pass_on(stranger.stream).await;
            }
            Err(refusal) => {
                let farewell = async {
                    self.turn_away(&mut stranger, from, refusal).await;
                    // Closing on what was not read takes the answer from it.
                    let mut rest = [0; 4096];
                    while let Ok(1..) = stranger.stream.read(&mut rest).await {}
                };
                tokio::select! {
                    _ = timeout(FAREWELL, farewell) => {}
                    _ = &mut hurried => {}
                }
            }
        }
    }

    async fn turn_away(&self, stranger: &mut Stranger, from: SocketAddr, refusal: Refusal) {
        let answer = match refusal {
            Refusal::Gone => return,
            Refusal::Answered(answer) => answer,
            Refusal::Because(status, code, reason) => {
                self.said.say(&format!("refused {from}: {reason}"));
                match stranger.upgraded {
                    true => close_frame(code, &reason),
                    false => format!(
                        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{reason}\n",
                        reason.len() + 1
                    )
                    .into_bytes(),
                }
            }
        };
        // Some hundred bytes, for which every connection has room unless it has been sent much and read nothing.
        let answered = stranger.stream.write_all(&answer);
        if let Ok(Ok(())) = timeout(FAREWELL / 5, answered).await {
            let _ = stranger.stream.shutdown().await;
        }
    }

    async fn introduce(
        self: &Arc<Self>,
        stranger: &mut Stranger,
        from: SocketAddr,
    ) -> Result<Session, Refusal> {
        let mut said = Vec::new();
        let header = header(&mut stranger.stream, &mut said).await?;
        let request = Request::of(&said[..header])?;
        if request.path == "/" && !request.upgrades {
            // Nothing is said for a server that says nothing: a client asks to find that out.
            let answer = timeout(INTRODUCTION / 2, self.ask()).await;
            return Err(match answer {
                Ok(Ok(answer)) => Refusal::Answered(answer),
                _ => Refusal::Gone,
            });
        }
        if request.path != "/session" {
            return Refusal::because(
                "404 Not Found",
                1002,
                "it asked for something else than a session",
            );
        }
        if !request.upgrades {
            let reason = "no WebSocket: this is `vwc-sdk serve`, for --device remote:HOST:PORT";
            return Refusal::because("426 Upgrade Required", 1002, reason);
        }
        if self.free.available_permits() == 0 {
            return Err(self.full());
        }
        let mut server = TcpStream::connect(self.server).await?;
        server.set_nodelay(true)?;
        let known_as = server.local_addr()?;
        server.write_all(&said[..header]).await?;
        let mut answer = Vec::new();
        self::header(&mut server, &mut answer).await?;
        if !answer.starts_with(b"HTTP/1.1 101 ") {
            self.said
                .say(&format!("refused {from}: its handshake is not one"));
            return Err(Refusal::Answered(answer));
        }
        stranger.stream.write_all(&answer).await?;
        stranger.upgraded = true;

        let mut first = said.split_off(header);
        first_message(&mut stranger.stream, &mut first).await?;
        let Ok(one_of) = self.free.clone().try_acquire_owned() else {
            return Err(self.full());
        };
        // Before the server hears of it, and asks.
        self.clients().insert(known_as, from);
        let mut session = Session {
            gate: self.clone(),
            server,
            known_as,
            _one_of: one_of,
        };
        session.server.write_all(&first).await?;
        Ok(session)
    }

    fn full(&self) -> Refusal {
        let reason = format!(
            "all {} sessions are taken: wait, or start the server with a larger --max-connections",
            self.sessions
        );
        Refusal::Because("503 Service Unavailable", 1013, reason)
    }

    /// What the server says to one who asks whether it is there.
    async fn ask(&self) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(self.server).await?;
        server.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        server.take(HEADER as u64).read_to_end(&mut answer).await?;
        Ok(answer)
    }
}

impl Session {
    /// Until the server has nothing more to say: then the client is not waited for.
    async fn pass_on(mut self, mut client: TcpStream) {
        let (from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = self.server.split();
        let up = async {
            let _ = copy_buf(&mut BufReader::with_capacity(PIECE, from_client), &mut to_server).await;
            // It has left, or will say no more. The server takes leave in its own time.
            let _ = to_server.shutdown().await;
            std::future::pending::<()>().await;
        };
        let down = async {
            let _ = copy_buf(&mut BufReader::with_capacity(PIECE, from_server), &mut to_client).await;
            let _ = to_client.shutdown().await;
        };
        tokio::select! {
            () = up => {}
            () = down => {}
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.gate.clients().remove(&self.known_as);
    }
}

/// Reads until `said` holds the header of a request or of an answer, and returns how long that is.
async fn header(stream: &mut TcpStream, said: &mut Vec<u8>) -> Result<usize, Refusal> {
    const STARTS: [&[u8]; 2] = [b"GET ", b"HTTP/1."];
    loop {
        more(stream, said).await?;
        let is_http = |start: &&[u8]| said.iter().zip(*start).all(|(said, start)| said == start);
        if !STARTS.iter().any(is_http) {
            return Refusal::because("400 Bad Request", 1002, "what it sends is no request");
        }
        let end = said.windows(4).position(|end| end == b"\r\n\r\n");
        match end {
            Some(end) if end + 4 <= HEADER => return Ok(end + 4),
            None if said.len() <= HEADER => {}
            _ => {
                let reason = format!("its header is longer than {HEADER} bytes");
                return Refusal::because("431 Request Header Fields Too Large", 1009, reason);
            }
        }
    }
}

/// Reads until `said` holds a whole first message, which a client of Burn's sends in one frame.
async fn first_message(stream: &mut TcpStream, said: &mut Vec<u8>) -> Result<(), Refusal> {
    loop {
        match first_length(said)? {
            Some(length) if said.len() >= length => return Ok(()),
            _ => more(stream, said).await?,
        }
    }
}

/// How long the frame is that `said` begins with, as soon as that can be told.
fn first_length(said: &[u8]) -> Result<Option<usize>, Refusal> {
    // A whole message of bytes, masked, as every client has to.
    const WHOLE_BINARY: u8 = 0x82;
    const MASKED: u8 = 0x80;
    let other = said.first().is_some_and(|&kind| kind != WHOLE_BINARY);
    if other || said.get(1).is_some_and(|&length| length & MASKED == 0) {
        return Refusal::because(
            "400 Bad Request",
            1002,
            "its first message is not that of a client of Burn's",
        );
    }
    let Some(&short) = said.get(1) else {
        return Ok(None);
    };
    let digits = match short & !MASKED {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(long) = said.get(2..2 + digits) else {
        return Ok(None);
    };
    let length = match digits {
        0 => u64::from(short & !MASKED),
        _ => long.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
    };
    if length > FIRST as u64 {
        let reason = format!("its first message is {length} bytes long, more than {FIRST}");
        return Refusal::because("400 Bad Request", 1009, reason);
    }
    Ok(Some(2 + digits + 4 + length as usize))
}

async fn more(stream: &mut TcpStream, said: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut piece = [0; 2048];
    match stream.read(&mut piece).await? {
        0 => Err(Refusal::Gone),
        read => {
            said.extend_from_slice(&piece[..read]);
            Ok(())
        }
    }
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    // A control frame holds no more than 125 bytes, two of them the code.
    let reason = &reason.as_bytes()[..reason.len().min(123)];
    let length = 2 + reason.len() as u8;
    [&[0x88, length][..], &code.to_be_bytes(), reason].concat()
}

/// What is asked for.
struct Request<'a> {
    path: &'a str,
    upgrades: bool,
}

impl<'a> Request<'a> {
    fn of(header: &'a [u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(header).unwrap_or_default();
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (Some("GET"), Some(path), Some("HTTP/1.0" | "HTTP/1.1"), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Refusal::because("400 Bad Request", 1002, "what it sends is no request");
        };
        let upgrades = lines
            .filter_map(|line| line.split_once(':'))
            .any(|(name, value)| {
                name.eq_ignore_ascii_case("upgrade") && value.trim().eq_ignore_ascii_case("websocket")
            });
        Ok(Self { path, upgrades })
    }
}

/// Says lines, but no flood of them.
#[derive(Default)]
struct Said(Mutex<(u64, u64)>);

impl Said {
    fn say(&self, line: &str) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, kept) = &mut *counted;
        if *said == LINES {
            *kept += 1;
            return;
        }
        *said += 1;
        drop(counted);
        say!("{line}");
    }

    fn sum_up(&self) {
        let (_, kept) = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if kept > 0 {
            say!("and {kept} more in the last {} s", WHILE.as_secs());
        }
    }
}

/// See [`Gate::log`].
pub(crate) struct Log(Arc<Gate>);

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.said.say(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sees to it that the program may open as many files as `sessions` take, or says how many it may.
#[cfg(unix)]
pub(crate) fn reserve(sessions: usize) -> Result<(), String> {
    // Each takes one from the client, one to the server and one at the server; some more for the device and the program.
    let needed = (3 * (sessions + WAITING) + 128) as libc::rlim_t;
    // SAFETY: a limit of zeros is a valid one, and the calls read and write nothing else.
    let allowed = unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) != 0 || limit.rlim_cur >= needed {
            return Ok(());
        }
        if limit.rlim_max >= needed {
            limit.rlim_cur = needed;
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
            return Ok(());
        }
        limit.rlim_max
    };
    Err(format!(
        "--max-connections {sessions} takes up to {needed} open files, and this program may open {allowed} (ulimit -Hn): \
         take fewer connections"
    ))
}

#[cfg(not(unix))]
pub(crate) fn reserve(_: usize) -> Result<(), String> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_is_as_long_as_it_says() {
        let length = |said: &[u8]| first_length(said).ok();
        for begun in [
            &[][..],
            &[0x82],
            &[0x82, 0xfe, 1],
            &[0x82, 0xff, 0, 0, 0, 0, 0, 0, 1],
        ] {
            assert_eq!(length(begun), Some(None), "{begun:?}");
        }
        assert_eq!(length(&[0x82, 0x80 | 5]), Some(Some(11)));
        assert_eq!(length(&[0x82, 0xfe, 1, 2]), Some(Some(8 + 258)));
        assert_eq!(
            length(&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0]),
            Some(Some(14 + 65536))
        );
        for refused in [
            &[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 1][..],
            &[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
            // Unmasked, a part of a message, a text, a ping.
            &[0x82, 5],
            &[0x02],
            &[0x81],
            &[0x89],
        ] {
            assert!(length(refused).is_none(), "{refused:?}");
        }
    }

    #[test]
    fn a_request_is_one_of_http() {
        let of = |text: &str| {
            Request::of(text.as_bytes())
                .ok()
                .map(|r| (r.path.to_owned(), r.upgrades))
        };
        let session = "GET /session HTTP/1.1\r\nHost: x\r\nupgrade:  WebSocket\r\n\r\n";
        assert_eq!(of(session), Some(("/session".into(), true)));
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Some(("/".into(), false)));
        for no in ["GET /", "GET / HTTP/2\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", ""] {
            assert_eq!(of(no), None, "{no}");
        }
    }

    #[test]
    fn a_close_frame_fits() {
        let frame = close_frame(1013, &"x".repeat(500));
        assert_eq!((frame.len(), frame[1]), (127, 125));
    }
}
