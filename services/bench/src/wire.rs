//! HTTP/1.1 as a load generator needs it: requests written once, answers read with as little work as possible.
//!
//! Pure functions over bytes, no I/O. Of an answer's head only the status, the framing and `Connection: close` are
//! read on the fast path; other headers are looked up by name where a workload needs them.

use std::fmt::Write as _;
use std::ops::Range;

/// The longest head of an answer that is accepted, in bytes. Registries send some 500.
pub const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Methods that the workloads use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Read with a body.
    Get,
    /// Read without a body.
    Head,
    /// Store, or finish an upload.
    Put,
    /// Start an upload, or mount.
    Post,
    /// A chunk of an upload.
    Patch,
    /// Remove.
    Delete,
}

impl Method {
    const fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

/// A request's head, ready to be sent, and whether its answer has a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Request line and headers, with the empty line.
    pub head: Vec<u8>,
    /// The answer to a HEAD request has a length but no body.
    pub is_head: bool,
}

impl Request {
    /// Writes a request. `body_bytes` adds `Content-Length`; a method that carries no body leaves it out.
    pub fn new(
        method: Method,
        host: &str,
        path: &str,
        headers: &[(&str, &str)],
        body_bytes: Option<u64>,
    ) -> Request {
        let mut head = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\n", method.name());
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if let Some(bytes) = body_bytes {
            let _ = write!(head, "Content-Length: {bytes}\r\n");
        }
        head.push_str("\r\n");
        Request {
            head: head.into_bytes(),
            is_head: method == Method::Head,
        }
    }
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// This many bytes.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Neither was told: no body for 1xx, 204 and 304, else until the connection closes.
    Unknown,
}

/// What is read of an answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Status code, 100 to 999.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// The server will close the connection after this answer.
    pub closes: bool,
    /// Bytes of the head with its empty line: the body starts here.
    pub bytes: usize,
}

/// Why bytes are not an HTTP/1.1 answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The status line is malformed.
    #[error("the answer does not start with an HTTP/1.1 status line")]
    StatusLine,
    /// No empty line within `MAX_HEAD_BYTES`.
    #[error("the answer's head is longer than {MAX_HEAD_BYTES} bytes")]
    HeadTooLong,
    /// `Content-Length` is not a number.
    #[error("the answer's Content-Length is not a number")]
    ContentLength,
    /// A chunk's size line is malformed.
    #[error("a chunk of the answer has no readable size")]
    ChunkSize,
    /// A chunk is not followed by a line end.
    #[error("a chunk of the answer is longer than its size says")]
    ChunkEnd,
}

/// Reads an answer's head from the start of `bytes`. `None` while more bytes are needed.
///
/// # Errors
/// `WireError` if what is there can never become an answer.
pub fn parse_head(bytes: &[u8]) -> Result<Option<Head>, WireError> {
    let line = b"HTTP/1.1 ";
    let known = bytes.len().min(line.len());
    if bytes[..known] != line[..known] {
        return Err(WireError::StatusLine);
    }
    let Some(end) = find_empty_line(bytes) else {
        let is_too_long = bytes.len() >= MAX_HEAD_BYTES;
        return if is_too_long {
            Err(WireError::HeadTooLong)
        } else {
            Ok(None)
        };
    };
    let head = &bytes[..end];
    let mut read = Head {
        status: status(head)?,
        framing: Framing::Unknown,
        closes: false,
        bytes: end,
    };
    for line in lines(head) {
        match line.first() {
            Some(b'c' | b'C') => {
                if let Some(value) = value_of(line, b"content-length") {
                    read.framing = match read.framing {
                        Framing::Chunked => Framing::Chunked,
                        Framing::Length(_) | Framing::Unknown => Framing::Length(number(value)?),
                    };
                } else if let Some(value) = value_of(line, b"connection") {
                    read.closes = value.eq_ignore_ascii_case(b"close");
                }
            }
            Some(b't' | b'T') if value_of(line, b"transfer-encoding").is_some() => {
                read.framing = Framing::Chunked;
            }
            _ => {}
        }
    }
    Ok(Some(read))
}

/// The value of the first header of this name (in lower case) in an answer's head.
pub fn header<'a>(head: &'a [u8], name: &str) -> Option<&'a str> {
    let value = lines(head).find_map(|line| value_of(line, name.as_bytes()))?;
    std::str::from_utf8(value).ok()
}

/// The position behind the first empty line.
fn find_empty_line(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|b| *b == b'\r') {
        let start = from + at;
        if bytes[start..].starts_with(b"\r\n\r\n") {
            return Some(start + 4);
        }
        from = start + 1;
    }
    None
}

fn status(head: &[u8]) -> Result<u16, WireError> {
    match head.get(9..13) {
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ' | b'\r']) => {
            let digit = |d: &u8| u16::from(*d - b'0');
            Ok(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        _ => Err(WireError::StatusLine),
    }
}

/// The header lines of a head, without their ends.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    head.split(|b| *b == b'\n')
        .skip(1)
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> Result<u64, WireError> {
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(digits).map_err(|_| WireError::ContentLength)?;
    let value = text.parse().map_err(|_| WireError::ContentLength)?;
    if is_number {
        Ok(value)
    } else {
        Err(WireError::ContentLength)
    }
}

/// Reads a chunked body that comes in pieces.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    state: ChunkState,
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ChunkState {
    /// In the line that tells the next chunk's size.
    #[default]
    Size,
    /// This many bytes of a chunk are still to come.
    Data(u64),
    /// In the line end behind a chunk.
    DataEnd,
    /// In the trailer, which ends with an empty line.
    Trailer,
    Done,
}

impl Chunks {
    /// Takes in the next bytes; gives those ranges of them that are content to `content`. Returns how many bytes were
    /// used: fewer than given only when the body is complete.
    ///
    /// # Errors
    /// `ChunkSize`, `ChunkEnd`.
    pub fn take(&mut self, bytes: &[u8], mut content: impl FnMut(Range<usize>)) -> Result<usize, WireError> {
        let mut at = 0;
        while at < bytes.len() && self.state != ChunkState::Done {
            if let ChunkState::Data(left) = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                content(at..at + here);
                at += here;
                let left = left - here as u64;
                self.state = if left == 0 {
                    ChunkState::DataEnd
                } else {
                    ChunkState::Data(left)
                };
                continue;
            }
            let byte = bytes[at];
            at += 1;
            if byte != b'\n' {
                if self.line.len() >= MAX_HEAD_BYTES {
                    return Err(WireError::ChunkSize);
                }
                self.line.push(byte);
                continue;
            }
            self.end_line()?;
        }
        Ok(at)
    }

    /// Whether the whole body was taken in.
    pub fn is_done(&self) -> bool {
        self.state == ChunkState::Done
    }

    fn end_line(&mut self) -> Result<(), WireError> {
        let line = std::mem::take(&mut self.line);
        let line = line.trim_ascii();
        self.state = match self.state {
            ChunkState::Size => match chunk_size(line)? {
                0 => ChunkState::Trailer,
                size => ChunkState::Data(size),
            },
            ChunkState::DataEnd if line.is_empty() => ChunkState::Size,
            ChunkState::DataEnd => return Err(WireError::ChunkEnd),
            ChunkState::Trailer if line.is_empty() => ChunkState::Done,
            state @ (ChunkState::Trailer | ChunkState::Data(_) | ChunkState::Done) => state,
        };
        Ok(())
    }
}

fn chunk_size(line: &[u8]) -> Result<u64, WireError> {
    let digits = line.split(|b| *b == b';').next().unwrap_or(line).trim_ascii();
    let is_hex = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).map_err(|_| WireError::ChunkSize)?;
    let size = u64::from_str_radix(text, 16).map_err(|_| WireError::ChunkSize)?;
    if is_hex {
        Ok(size)
    } else {
        Err(WireError::ChunkSize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_is_read_by_status_framing_and_close() {
        type Row = (&'static str, Result<Option<(u16, Framing, bool)>, WireError>);
        let table: &[Row] = &[
            ("", Ok(None)),
            ("HTTP/1.1 20", Ok(None)),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", Ok(None)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                Ok(Some((200, Framing::Length(5), false))),
            ),
            ("HTTP/1.1 204\r\n\r\n", Ok(Some((204, Framing::Unknown, false)))),
            (
                "HTTP/1.1 404 Not Found\r\ncontent-length:0\r\nconnection: Close\r\n\r\n",
                Ok(Some((404, Framing::Length(0), true))),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n",
                Ok(Some((200, Framing::Chunked, false))),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 7\r\n\r\n",
                Ok(Some((200, Framing::Chunked, false))),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n",
                Ok(Some((200, Framing::Unknown, false))),
            ),
            ("HTTP/1.0 200 OK\r\n\r\n", Err(WireError::StatusLine)),
            ("HTTP/1.1 2x0 OK\r\n\r\n", Err(WireError::StatusLine)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                Err(WireError::ContentLength),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
                Err(WireError::ContentLength),
            ),
            ("\x16\x03\x01", Err(WireError::StatusLine)),
        ];
        for (text, expected) in table {
            let read = parse_head(text.as_bytes()).map(|head| head.map(|h| (h.status, h.framing, h.closes)));
            assert_eq!(read, *expected, "{text:?}");
        }
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_limit() {
        let mut head = b"HTTP/1.1 200 OK\r\nX: ".to_vec();
        head.resize(MAX_HEAD_BYTES, b'a');
        assert_eq!(parse_head(&head), Err(WireError::HeadTooLong));
    }

    #[test]
    fn a_header_is_found_by_its_name_in_any_case() {
        let head = b"HTTP/1.1 202 Accepted\r\nLOCATION:  /v2/a \r\nRange: 0-0\r\n\r\n";
        assert_eq!(header(head, "location"), Some("/v2/a"));
        assert_eq!(header(head, "range"), Some("0-0"));
        assert_eq!(header(head, "link"), None);
    }

    #[test]
    fn a_chunked_body_that_lies_about_its_sizes_is_refused() {
        for (text, error) in [
            ("x\r\n", WireError::ChunkSize),
            ("+5\r\nhello\r\n", WireError::ChunkSize),
            ("\r\n", WireError::ChunkSize),
            ("2\r\nhello\r\n", WireError::ChunkEnd),
        ] {
            let result = Chunks::default().take(text.as_bytes(), |_| {});
            assert_eq!(result, Err(error), "{text:?}");
        }
    }

    #[test]
    fn a_request_is_written_as_rfc_9112_has_it() {
        let request = Request::new(Method::Put, "a:1", "/v2/", &[("Accept", "*/*")], Some(3));
        let text = "PUT /v2/ HTTP/1.1\r\nHost: a:1\r\nAccept: */*\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(request.head, text.as_bytes());
        assert!(!request.is_head);
    }

    proptest! {
        #[test]
        fn a_chunked_body_reads_the_same_however_it_is_cut(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cut in 1usize..20,
        ) {
            let mut body = Vec::new();
            for part in &parts {
                body.extend(format!("{:x};ext=1\r\n", part.len()).bytes());
                body.extend(part);
                body.extend(b"\r\n");
            }
            body.extend(b"0\r\nTrailer: x\r\n\r\n");
            let sent = body.len();
            body.extend(b"HTTP");
            let (mut chunks, mut content, mut used) = (Chunks::default(), Vec::<u8>::new(), 0);
            for piece in body.chunks(cut) {
                used += chunks.take(piece, |range| content.extend(&piece[range])).expect("well-formed");
            }
            prop_assert!(chunks.is_done());
            prop_assert_eq!(used, sent);
            prop_assert_eq!(content, parts.concat());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut answer = b"HTTP/1.1 200 OK\r\n".to_vec();
            answer.extend(&bytes);
            let _ = parse_head(&bytes);
            let _ = parse_head(&answer);
            let _ = Chunks::default().take(&bytes, |_| {});
        }
    }
}
