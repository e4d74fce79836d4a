//! A server that a test scripts: for registries that lie, stall, or stop in the middle.

use oci::{Algorithm, Digest, Hasher};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// How much of a request's body is kept, in bytes. What comes after it is read, counted and hashed, and not kept.
pub const MAX_KEPT_BODY_BYTES: usize = 16 * 1024 * 1024;

/// How long a trickling answer waits between two bytes.
const TRICKLE: Duration = Duration::from_millis(10);

/// A request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Such as `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body, its chunks joined: the first [`MAX_KEPT_BODY_BYTES`] of it.
    pub body: Vec<u8>,
    /// How long the whole body is.
    pub body_length: u64,
    /// What the whole body hashes to.
    pub body_digest: Digest,
}

impl Seen {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Send these bytes, status line and all, then wait for the next request on the connection.
    Bytes(Vec<u8>),
    /// Send these bytes and close, wherever that cuts them.
    BytesThenClose(Vec<u8>),
    /// Close without an answer.
    Close,
    /// Send these bytes, none for no answer at all, and stay silent until the server is dropped.
    BytesThenStall(Vec<u8>),
    /// Send `head`, then `piece` again and again until the client goes away.
    Endless {
        /// Status line and headers.
        head: Vec<u8>,
        /// What the body repeats.
        piece: Vec<u8>,
    },
    /// Send the first bytes, wait for the gate, and send the others.
    Gated {
        /// Before.
        first: Vec<u8>,
        /// Opened by the test.
        gate: Gate,
        /// After.
        rest: Vec<u8>,
    },
    /// Send a head, then a space every few milliseconds until the client goes away.
    Trickle(Vec<u8>),
    /// Send a head, and as its body so many bytes of [`noise`], made as they are sent.
    Noise(Vec<u8>, u64),
}

/// Something that a test opens, once, for whoever waits for it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody pass from now on.
    pub fn open(&self) {
        *self.0.0.lock().expect("no panic") = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let open = self.0.0.lock().expect("no panic");
        drop(self.0.1.wait_while(open, |open| !*open).expect("no panic"));
    }
}

/// Bytes that no compression makes smaller, the same each time, in pieces of 64 KiB.
pub fn noise(length: u64) -> impl Iterator<Item = Vec<u8>> {
    const PIECE_BYTES: u64 = 64 * 1024;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length.div_ceil(PIECE_BYTES)).map(move |n| {
        let size = PIECE_BYTES.min(length - n * PIECE_BYTES);
        let mut piece = Vec::with_capacity(PIECE_BYTES as usize);
        while (piece.len() as u64) < size {
            // xorshift64, by George Marsaglia.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            piece.extend_from_slice(&state.to_le_bytes());
        }
        piece.truncate(size as usize);
        piece
    })
}

impl Reply {
    /// A well-formed answer with its length told.
    pub fn new(status: u16, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let body = body.as_ref();
        let mut bytes = head(status, headers);
        bytes.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
        bytes.extend_from_slice(body);
        Reply::Bytes(bytes)
    }

    /// An answer to HEAD: a length, and no body.
    pub fn head(status: u16, headers: &[(&str, &str)], length: usize) -> Reply {
        let mut bytes = head(status, headers);
        bytes.extend_from_slice(format!("Content-Length: {length}\r\n\r\n").as_bytes());
        Reply::Bytes(bytes)
    }

    /// No answer until the server is dropped.
    pub fn stall() -> Reply {
        Reply::BytesThenStall(Vec::new())
    }

    /// A chunked answer that never ends.
    pub fn endless(status: u16, headers: &[(&str, &str)]) -> Reply {
        let mut head = head(status, headers);
        head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let mut piece = b"10000\r\n".to_vec();
        piece.resize(piece.len() + 0x10000, b'x');
        piece.extend_from_slice(b"\r\n");
        Reply::Endless { head, piece }
    }
}

fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.into_bytes()
}

/// Decides what to do with each request.
type Script = dyn Fn(&Seen) -> Reply + Send + Sync;

/// A scripted server on a free port of 127.0.0.1. Dropping it ends it and every connection.
pub struct FaultServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    script: Box<Script>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<Vec<TcpStream>>,
    stopping: AtomicBool,
}

impl FaultServer {
    /// Starts a server that answers by the script. Each connection has a thread of its own, so a script may block.
    pub fn start(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script: Box::new(script),
            seen: Mutex::default(),
            connections: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        let listener = std::thread::spawn(move || accept(&listener, &accepting));
        FaultServer {
            address,
            shared,
            listener: Some(listener),
        }
    }

    /// `127.0.0.1:PORT`, as it stands in a reference.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request so far, in the order in which they were complete.
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("no panic in a script").clone()
    }

    /// `METHOD path` of every request so far.
    pub fn lines(&self) -> Vec<String> {
        let line = |seen: &Seen| format!("{} {}", seen.method, seen.path);
        self.requests().iter().map(line).collect()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        if let Ok(connections) = self.shared.connections.lock() {
            for connection in connections.iter() {
                let _ = connection.shutdown(Shutdown::Both);
            }
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    for stream in listener.incoming() {
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        if let (Ok(copy), Ok(mut connections)) = (stream.try_clone(), shared.connections.lock()) {
            connections.push(copy);
        }
        let shared = Arc::clone(shared);
        threads.push(std::thread::spawn(move || {
            // A client that goes away is part of the play.
            let _ = converse(stream, &shared);
        }));
    }
}

/// Answers the requests of one connection until either side closes it.
fn converse(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(seen) = read_request(&mut reader, &mut writer)? {
        if let Ok(mut all) = shared.seen.lock() {
            all.push(seen.clone());
        }
        match (shared.script)(&seen) {
            Reply::Bytes(bytes) => writer.write_all(&bytes)?,
            Reply::BytesThenClose(bytes) => {
                writer.write_all(&bytes)?;
                return writer.shutdown(Shutdown::Both);
            }
            Reply::Close => return writer.shutdown(Shutdown::Both),
            Reply::BytesThenStall(bytes) => {
                writer.write_all(&bytes)?;
                // Ends when the client goes away or the server is dropped.
                return std::io::copy(&mut reader, &mut std::io::sink()).map(|_| ());
            }
            Reply::Endless { head, piece } => {
                writer.write_all(&head)?;
                loop {
                    writer.write_all(&piece)?;
                }
            }
            Reply::Gated { first, gate, rest } => {
                writer.write_all(&first)?;
                gate.wait();
                writer.write_all(&rest)?;
            }
            Reply::Trickle(head) => {
                writer.write_all(&head)?;
                loop {
                    writer.write_all(b" ")?;
                    std::thread::sleep(TRICKLE);
                }
            }
            Reply::Noise(head, length) => {
                writer.write_all(&head)?;
                for piece in noise(length) {
                    writer.write_all(&piece)?;
                }
            }
        }
    }
    Ok(())
}

/// Reads a request; `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead, writer: &mut impl Write) -> std::io::Result<Option<Seen>> {
    let Some(first) = read_line(reader)? else {
        return Ok(None);
    };
    let mut words = first.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    let mut seen = Seen {
        method: word(),
        path: word(),
        headers: Vec::new(),
        body: Vec::new(),
        body_length: 0,
        body_digest: Digest::sha256(b""),
    };
    let mut body = Body::default();
    while let Some(line) = read_line(reader)?.filter(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':') {
            seen.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    if seen.header("expect").is_some() {
        writer.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    if seen.header("transfer-encoding").is_some() {
        while let Some(line) = read_line(reader)? {
            let size = u64::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            body.read(&mut reader.take(size))?;
            read_line(reader)?;
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = seen.header("content-length") {
        let length = length.parse().map_err(std::io::Error::other)?;
        body.read(&mut reader.take(length))?;
    }
    seen.body_length = body.length;
    seen.body_digest = body.hasher.finish();
    seen.body = body.kept;
    Ok(Some(seen))
}

/// A body that is being read.
struct Body {
    kept: Vec<u8>,
    length: u64,
    hasher: Hasher,
}

impl Default for Body {
    fn default() -> Body {
        Body {
            kept: Vec::new(),
            length: 0,
            hasher: Hasher::new(Algorithm::Sha256),
        }
    }
}

impl Body {
    fn read(&mut self, from: &mut impl Read) -> std::io::Result<()> {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            let piece = &piece[..count];
            self.length += count as u64;
            self.hasher.update(piece);
            let left = MAX_KEPT_BODY_BYTES - self.kept.len();
            self.kept.extend_from_slice(&piece[..count.min(left)]);
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let read = reader.read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Connection, Request};

    #[test]
    fn a_script_sees_the_request_and_decides_the_answer() {
        let server = FaultServer::start(|seen| Reply::new(418, &[("X-Path", &seen.path)], &seen.body));
        let mut connection = Connection::open(server.address());
        for body in ["one", "two"] {
            let answer = connection.exchange(&Request::new("PUT", "/a?b=c").body(body).chunked(2));
            assert_eq!((answer.status, answer.text().as_str()), (418, body));
            assert_eq!(answer.header("x-path"), Some("/a?b=c"));
        }
        assert_eq!(server.lines(), ["PUT /a?b=c", "PUT /a?b=c"]);
    }

    #[test]
    fn a_connection_can_be_closed_without_an_answer() {
        let server = FaultServer::start(|_| Reply::Close);
        let mut connection = Connection::open(server.address());
        connection.write(b"GET / HTTP/1.1\r\n\r\n");
        assert!(connection.read(false).is_err());
    }

    #[test]
    fn a_stalled_connection_ends_with_the_server() {
        let server = FaultServer::start(|_| Reply::stall());
        let mut connection = Connection::open(server.address());
        connection.write(b"GET / HTTP/1.1\r\n\r\n");
        while server.requests().is_empty() {
            std::thread::yield_now();
        }
        drop(server);
        assert_eq!(connection.read_to_end().expect("the end"), b"");
    }
}
