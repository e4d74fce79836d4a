//! One keep-alive connection: send a request, read its answer, insist on what was expected.
//!
//! Bodies of measured answers are counted and dropped, large ones by the kernel itself where it can (`MSG_TRUNC` of Linux), as
//! copying them costs more than sending them costs a good server; only `fetch` keeps them. A connection that the server closes
//! after an answer (as it may) is opened again for the next request, inside the measured time.

use crate::wire::{Chunks, Framing, Head, Request, WireError, header, parse_head};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;

/// Room for a small answer, in bytes; a thousand idle connections must not need much.
const SMALL_READ_BYTES: usize = 16 * 1024;

/// Pieces of a large body that are taken at once, in bytes: system calls do not count beside the rest.
const LARGE_READ_BYTES: usize = 1024 * 1024;

/// How much of a refusal's body is shown, in bytes.
const SHOWN_BYTES: usize = 200;

/// Why an operation of a workload failed. A workload with a failure has no time.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection could not be opened.
    #[error("connecting to {address}: {source}")]
    Connect {
        /// Where to.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("talking to {address}: {source}")]
    Io {
        /// With whom.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The server closed the connection in the middle of an answer.
    #[error("{address} closed the connection before its answer was complete")]
    Closed {
        /// Who.
        address: SocketAddr,
    },
    /// The answer is not HTTP/1.1.
    #[error("{0}")]
    Wire(#[from] WireError),
    /// Another status than the workload expects.
    #[error("{request}: status {got}, expected {expected}: {body}")]
    Status {
        /// Request line.
        request: String,
        /// What the workload expects.
        expected: u16,
        /// What came.
        got: u16,
        /// The start of the answer's body.
        body: String,
    },
    /// Another length than the workload expects.
    #[error("{request}: {got} bytes, expected {expected}")]
    Length {
        /// Request line.
        request: String,
        /// What the workload expects.
        expected: u64,
        /// What came, or was announced.
        got: u64,
    },
    /// The answer has the right form and the wrong content.
    #[error("{request}: {what}")]
    Content {
        /// Request line, or what was asked.
        request: String,
        /// What is wrong.
        what: String,
    },
    /// An operation did not end in time.
    #[error("an operation took more than {} s", .0.as_secs())]
    TimedOut(Duration),
}

/// What a measured answer must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expect {
    /// Status code.
    pub status: u16,
    /// Bytes of the body, or for HEAD the announced length. `None`: any.
    pub bytes: Option<u64>,
}

impl Expect {
    /// This status, with a body of any length.
    pub const fn status(status: u16) -> Expect {
        Expect { status, bytes: None }
    }

    /// 200 and a body of exactly this length.
    pub const fn content(bytes: u64) -> Expect {
        Expect {
            status: 200,
            bytes: Some(bytes),
        }
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Status line and headers.
    pub head: Vec<u8>,
    /// The body, with chunks joined.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// A body to send: `repeats` times `block`, then `tail`. Large bodies need no more memory than one block.
#[derive(Clone, Copy, Debug)]
pub struct Body<'a> {
    /// The repeated part.
    pub block: &'a [u8],
    /// How often it is sent.
    pub repeats: usize,
    /// What comes last.
    pub tail: &'a [u8],
}

impl<'a> Body<'a> {
    /// No body.
    pub const EMPTY: Body<'static> = Body::of(&[]);

    /// These bytes, once.
    pub const fn of(tail: &'a [u8]) -> Body<'a> {
        Body {
            block: &[],
            repeats: 0,
            tail,
        }
    }

    /// How many bytes it has.
    pub const fn len(&self) -> u64 {
        (self.block.len() * self.repeats + self.tail.len()) as u64
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A connection to one server.
#[derive(Debug)]
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// A connection that opens with its first request.
    pub fn new(address: SocketAddr) -> Connection {
        Connection {
            address,
            stream: None,
            buffer: Vec::new(),
            filled: 0,
        }
    }

    /// Opens the connection, if it is not.
    ///
    /// # Errors
    /// `Connect`.
    pub async fn open(&mut self) -> Result<(), Failure> {
        if self.stream.is_some() {
            return Ok(());
        }
        let fail = |source| Failure::Connect {
            address: self.address,
            source,
        };
        let stream = TcpStream::connect(self.address).await.map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        self.stream = Some(stream);
        self.filled = 0;
        Ok(())
    }

    /// Sends a request without body and checks its answer. Returns the length of the answer's body, in bytes.
    ///
    /// # Errors
    /// Any `Failure`; `Status` and `Length` if the answer is another than expected.
    pub async fn expect(&mut self, request: &Request, expect: Expect) -> Result<u64, Failure> {
        self.send(request, &Body::EMPTY).await?;
        let head = self.receive_head().await?;
        if head.status != expect.status {
            let answer = self.finish(request, head).await?;
            return Err(unexpected(request, expect.status, &answer));
        }
        let bytes = match head.framing {
            Framing::Length(bytes) if request.is_head => {
                self.consume(head.bytes, head.closes);
                bytes
            }
            Framing::Length(bytes) => {
                self.drop_body(&head, bytes).await?;
                bytes
            }
            Framing::Chunked | Framing::Unknown => self.finish(request, head).await?.body.len() as u64,
        };
        match expect.bytes {
            Some(expected) if expected != bytes => Err(Failure::Length {
                request: line(request),
                expected,
                got: bytes,
            }),
            _ => Ok(bytes),
        }
    }

    /// Sends a request with a body and reads the whole answer, whatever it is.
    ///
    /// # Errors
    /// `Connect`, `Io`, `Closed`, `Wire`.
    pub async fn fetch(&mut self, request: &Request, body: &Body<'_>) -> Result<Answer, Failure> {
        self.send(request, body).await?;
        let head = self.receive_head().await?;
        self.finish(request, head).await
    }

    /// As [`Connection::fetch`], and insists on the status.
    ///
    /// # Errors
    /// As `fetch`, and `Status`.
    pub async fn fetch_status(
        &mut self,
        request: &Request,
        body: &Body<'_>,
        status: u16,
    ) -> Result<Answer, Failure> {
        let answer = self.fetch(request, body).await?;
        if answer.status == status {
            Ok(answer)
        } else {
            Err(unexpected(request, status, &answer))
        }
    }

    /// As [`Connection::fetch`], and insists on one of these statuses.
    ///
    /// # Errors
    /// As `fetch`, and `Status`, which names the first of them.
    pub async fn fetch_one_of(
        &mut self,
        request: &Request,
        body: &Body<'_>,
        statuses: [u16; 2],
    ) -> Result<Answer, Failure> {
        let answer = self.fetch(request, body).await?;
        match statuses.contains(&answer.status) {
            true => Ok(answer),
            false => Err(unexpected(request, statuses[0], &answer)),
        }
    }

    async fn send(&mut self, request: &Request, body: &Body<'_>) -> Result<(), Failure> {
        self.open().await?;
        let address = self.address;
        let Some(stream) = self.stream.as_mut() else {
            return Err(Failure::Closed { address });
        };
        let sent = async {
            if body.repeats == 0 && !body.tail.is_empty() {
                let whole = [request.head.as_slice(), body.tail].concat();
                return stream.write_all(&whole).await;
            }
            stream.write_all(&request.head).await?;
            for _ in 0..body.repeats {
                stream.write_all(body.block).await?;
            }
            stream.write_all(body.tail).await
        };
        let result = sent.await;
        result.map_err(|source| self.broken(source))
    }

    /// Reads until a final answer's head stands at the start of the buffer; answers of 1xx are passed over.
    async fn receive_head(&mut self) -> Result<Head, Failure> {
        loop {
            match parse_head(&self.buffer[..self.filled]) {
                Ok(Some(head)) if head.status < 200 => self.consume(head.bytes, false),
                Ok(Some(head)) => return Ok(head),
                Ok(None) => {
                    self.read_more().await?;
                }
                Err(error) => {
                    self.stream = None;
                    return Err(error.into());
                }
            }
        }
    }

    /// Reads what is there into the buffer behind what it holds. Returns how many bytes came, at least one.
    async fn read_more(&mut self) -> Result<usize, Failure> {
        if self.buffer.len() < self.filled + SMALL_READ_BYTES {
            self.buffer.resize(2 * self.filled + SMALL_READ_BYTES, 0);
        }
        let address = self.address;
        let Some(stream) = self.stream.as_mut() else {
            return Err(Failure::Closed { address });
        };
        match stream.read(&mut self.buffer[self.filled..]).await {
            Ok(0) => {
                self.stream = None;
                Err(Failure::Closed { address })
            }
            Ok(bytes) => {
                self.filled += bytes;
                Ok(bytes)
            }
            Err(source) => Err(self.broken(source)),
        }
    }

    /// Takes at most so many bytes off the connection without looking at them. Returns how many, at least one.
    #[cfg(target_os = "linux")]
    async fn drop_more(&mut self, most: u64) -> Result<usize, Failure> {
        let address = self.address;
        let Some(stream) = self.stream.as_ref() else {
            return Err(Failure::Closed { address });
        };
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(self.buffer.len());
        let room = &mut self.buffer[..most];
        let drop_what_is_there = || {
            let (_, dropped) = rustix::net::recv(stream, &mut *room, rustix::net::RecvFlags::TRUNC)?;
            Ok(dropped)
        };
        match stream.async_io(Interest::READABLE, drop_what_is_there).await {
            Ok(0) => {
                self.stream = None;
                Err(Failure::Closed { address })
            }
            Ok(bytes) => Ok(bytes),
            Err(source) => Err(self.broken(source)),
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn drop_more(&mut self, _: u64) -> Result<usize, Failure> {
        self.read_more().await
    }

    /// Counts a body of known length off the connection.
    async fn drop_body(&mut self, head: &Head, bytes: u64) -> Result<(), Failure> {
        let buffered = (self.filled - head.bytes) as u64;
        if buffered > bytes {
            return Err(Failure::Content {
                request: self.address.to_string(),
                what: "more bytes came than the answer's Content-Length says".to_owned(),
            });
        }
        let mut left = bytes - buffered;
        self.filled = 0;
        let is_large = left > LARGE_READ_BYTES as u64;
        if is_large && self.buffer.len() < LARGE_READ_BYTES {
            // Zeros that nobody writes to take no memory yet.
            self.buffer = vec![0; LARGE_READ_BYTES];
        }
        while left > 0 {
            let came = if is_large {
                self.drop_more(left).await? as u64
            } else {
                self.read_more().await? as u64
            };
            self.filled = 0;
            left = left.checked_sub(came).ok_or_else(|| Failure::Content {
                request: self.address.to_string(),
                what: "more bytes came than the answer's Content-Length says".to_owned(),
            })?;
        }
        if head.closes {
            self.stream = None;
        }
        Ok(())
    }

    /// Reads the body that belongs to `head` and keeps it.
    async fn finish(&mut self, request: &Request, head: Head) -> Result<Answer, Failure> {
        let mut answer = Answer {
            status: head.status,
            head: self.buffer[..head.bytes].to_vec(),
            body: Vec::new(),
        };
        self.consume(head.bytes, false);
        let has_body = !request.is_head && !matches!(head.status, 204 | 304);
        match head.framing {
            _ if !has_body => {}
            Framing::Length(bytes) => {
                let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
                while self.filled < bytes {
                    self.read_more().await?;
                }
                answer.body = self.buffer[..bytes].to_vec();
                self.consume(bytes, false);
            }
            Framing::Chunked => {
                let mut chunks = Chunks::default();
                loop {
                    let piece = &self.buffer[..self.filled];
                    let used = chunks.take(piece, |range| answer.body.extend(&piece[range]))?;
                    self.consume(used, false);
                    if chunks.is_done() {
                        break;
                    }
                    self.read_more().await?;
                }
            }
            Framing::Unknown => {
                while self.read_more().await.is_ok() {}
                answer.body = self.buffer[..self.filled].to_vec();
                self.filled = 0;
            }
        }
        if head.closes {
            self.stream = None;
        }
        Ok(answer)
    }

    fn consume(&mut self, bytes: usize, closes: bool) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
        if closes {
            self.stream = None;
        }
    }

    fn broken(&mut self, source: io::Error) -> Failure {
        self.stream = None;
        Failure::Io {
            address: self.address,
            source,
        }
    }
}

/// The failure that an answer of another status is.
pub fn unexpected(request: &Request, expected: u16, answer: &Answer) -> Failure {
    let shown = &answer.body[..answer.body.len().min(SHOWN_BYTES)];
    Failure::Status {
        request: line(request),
        expected,
        got: answer.status,
        body: String::from_utf8_lossy(shown).trim().to_owned(),
    }
}

/// Method and path, for messages.
pub fn line(request: &Request) -> String {
    let end = request.head.iter().position(|b| *b == b'\r').unwrap_or(0);
    let line = String::from_utf8_lossy(&request.head[..end]);
    line.trim_end_matches(" HTTP/1.1").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Method;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// A server that gives these answers to the requests of its connections, one a request, and then closes.
    fn scripted(answers: Vec<&'static str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut answers = answers.into_iter().peekable();
            while answers.peek().is_some() {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 1024];
                while let Ok(1..) = stream.read(&mut request) {
                    let Some(answer) = answers.next() else { break };
                    let _ = stream.write_all(answer.as_bytes());
                    if answer.contains("close") {
                        break;
                    }
                }
            }
        });
        address
    }

    fn get() -> Request {
        Request::new(Method::Get, "h", "/v2/", &[], None)
    }

    #[tokio::test]
    async fn an_answer_of_another_status_or_length_is_a_failure() {
        let mut connection = Connection::new(scripted(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok!",
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        ]));
        let expect = Expect::content(2);
        assert_eq!(connection.expect(&get(), expect).await.expect("as expected"), 2);
        let longer = connection.expect(&get(), expect).await.expect_err("too long");
        assert_eq!(longer.to_string(), "GET /v2/: 3 bytes, expected 2");
        let missing = connection
            .expect(&get(), expect)
            .await
            .expect_err("another status");
        assert_eq!(missing.to_string(), "GET /v2/: status 404, expected 200: none");
        assert_eq!(
            connection.expect(&get(), expect).await.expect("chunks counted"),
            2
        );
    }

    #[tokio::test]
    async fn a_connection_closed_after_an_answer_is_opened_again_and_one_closed_within_is_a_failure() {
        let mut connection = Connection::new(scripted(vec![
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok",
        ]));
        connection
            .expect(&get(), Expect::content(2))
            .await
            .expect("the first");
        let cut = connection
            .expect(&get(), Expect::content(9))
            .await
            .expect_err("cut short");
        assert!(matches!(cut, Failure::Closed { .. }), "{cut}");
    }
}
