//! HTTP/1.1 by hand over a blocking socket, so that a test says and sees exactly what is on the wire.
//!
//! Nothing is followed, decoded or retried, except that a chunked answer's pieces are joined.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// How long a test waits for a peer that does nothing before it fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends one request on a connection of its own and reads the answer.
///
/// `Host`, `Connection: close` and, for a body, `Content-Length` are added unless `headers` have them.
///
/// # Panics
/// If no well-formed answer comes.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut request = Request::new(method, path).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send(address)
}

/// A request to be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
    chunk_size: Option<usize>,
}

impl Request {
    /// A request of this method and target (path and query), which are sent as they are.
    pub fn new(method: &str, target: &str) -> Request {
        Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: None,
            chunk_size: None,
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Request {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds `Authorization: Basic …`.
    pub fn basic_auth(self, name: &str, password: &str) -> Request {
        let credentials = base64(format!("{name}:{password}").as_bytes());
        self.header("Authorization", &format!("Basic {credentials}"))
    }

    /// Sets the body; an empty one is no body.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Request {
        self.body = Some(body.as_ref().to_vec()).filter(|body| !body.is_empty());
        self
    }

    /// Sends the body with `Transfer-Encoding: chunked` in pieces of so many bytes.
    pub fn chunked(mut self, chunk_size: usize) -> Request {
        self.chunk_size = Some(chunk_size);
        self
    }

    /// Sends it on a connection of its own and reads the answer.
    ///
    /// # Panics
    /// If no well-formed answer comes.
    pub fn send(&self, address: SocketAddr) -> Response {
        let mut connection = Connection::open(address);
        let mut request = self.clone();
        if !request.has("connection") {
            request = request.header("Connection", "close");
        }
        connection.exchange(&request)
    }

    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }

    /// The bytes on the wire.
    pub fn to_bytes(&self, host: &str) -> Vec<u8> {
        let mut bytes = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line =
            |name: &str, value: &str| bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        if !self.has("host") {
            line("Host", host);
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        let body = self.body.as_deref().unwrap_or_default();
        // A body's absence is told where a server would otherwise wait for one.
        let tells_length = self.body.is_some() || matches!(self.method.as_str(), "PUT" | "POST" | "PATCH");
        match self.chunk_size {
            Some(_) => line("Transfer-Encoding", "chunked"),
            None if tells_length && !self.has("content-length") && !self.has("transfer-encoding") => {
                line("Content-Length", &body.len().to_string());
            }
            None => {}
        }
        bytes.extend_from_slice(b"\r\n");
        match self.chunk_size {
            Some(size) => {
                for chunk in body.chunks(size) {
                    bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
            }
            None => bytes.extend_from_slice(body),
        }
        bytes
    }
}

/// A connection that may carry several requests, or something that is no request at all.
pub struct Connection {
    host: String,
    stream: BufReader<Box<dyn Stream>>,
}

/// What a connection runs over: a plain socket, or one under TLS.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Connection {
        Connection::over(socket(address), &address.to_string())
    }

    /// Goes on over a stream that is there already; `host` is what requests name.
    pub fn over(stream: impl Stream + 'static, host: &str) -> Connection {
        Connection {
            host: host.to_owned(),
            stream: BufReader::new(Box::new(stream)),
        }
    }

    /// Writes bytes as they are. A peer that has closed is no failure here: its answer is what counts.
    pub fn write(&mut self, bytes: &[u8]) {
        let _ = self.try_write(bytes);
    }

    /// Writes bytes as they are.
    ///
    /// # Errors
    /// The socket's, such as that the peer has closed it.
    pub fn try_write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes).and_then(|()| stream.flush())
    }

    /// Sends a request and reads the answer.
    ///
    /// # Panics
    /// If no well-formed answer comes.
    pub fn exchange(&mut self, request: &Request) -> Response {
        self.write(&request.to_bytes(&self.host));
        self.read(request.method == "HEAD")
            .unwrap_or_else(|reason| panic!("{} {}: {reason}", request.method, request.target))
    }

    /// Reads an answer; `to_head` if it has no body whatever its headers say. Interim answers (100) are passed over.
    ///
    /// # Errors
    /// What is wrong with it, such as a connection that was closed before it.
    pub fn read(&mut self, to_head: bool) -> Result<Response, String> {
        loop {
            let mut response = self.read_head()?;
            if response.status / 100 == 1 {
                continue;
            }
            if !to_head && !matches!(response.status, 204 | 304) {
                response.body = self.read_body(&response)?;
            }
            return Ok(response);
        }
    }

    /// Reads the head of an interim answer (100), which shows that the request is being worked on.
    ///
    /// # Errors
    /// What came instead.
    pub fn read_interim(&mut self) -> Result<(), String> {
        match self.read_head()?.status {
            100..200 => Ok(()),
            other => Err(format!("{other} is not an interim answer")),
        }
    }

    /// Reads until the peer closes.
    ///
    /// # Errors
    /// The socket's, such as a peer that stays silent for too long.
    pub fn read_to_end(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_head(&mut self) -> Result<Response, String> {
        let line = self.line()?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .ok_or_else(|| format!("{line:?} is not a status line"))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(Response {
                    status,
                    headers,
                    body: Vec::new(),
                });
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| format!("{line:?} is not a header"))?;
            headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_body(&mut self, head: &Response) -> Result<Vec<u8>, String> {
        if head
            .header("transfer-encoding")
            .is_some_and(|v| v.eq_ignore_ascii_case("chunked"))
        {
            return self.read_chunks();
        }
        let Some(length) = head.header("content-length") else {
            return self.read_to_end().map_err(|e| e.to_string());
        };
        let length: usize = length
            .parse()
            .map_err(|_| format!("{length:?} is not a length"))?;
        let mut body = vec![0; length];
        self.stream
            .read_exact(&mut body)
            .map_err(|e| format!("the body ends before its {length} bytes: {e}"))?;
        Ok(body)
    }

    fn read_chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| format!("{line:?} is not the size of a chunk"))?;
            let start = body.len();
            body.resize(start + size, 0);
            self.stream
                .read_exact(&mut body[start..])
                .map_err(|e| format!("a chunk ends early: {e}"))?;
            if !self.line()?.is_empty() {
                return Err("a chunk is longer than it says".to_owned());
            }
            if size == 0 {
                return Ok(body);
            }
        }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = Vec::new();
        self.stream
            .read_until(b'\n', &mut line)
            .map_err(|e| e.to_string())?;
        if line.pop() != Some(b'\n') {
            return Err("the connection was closed before the answer was complete".to_owned());
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        String::from_utf8(line).map_err(|e| e.to_string())
    }
}

/// A connected socket that gives up after a while.
///
/// # Panics
/// If nobody listens there.
pub fn socket(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

/// An answer, or its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers in their order, as they were written.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
    }

    /// Every header of this name.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.map(|(_, v)| v.as_str()).collect()
    }

    /// The body as text; what is not UTF-8 is shown as such.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text()))
    }

    /// The code of the first error in an OCI envelope; empty if there is none.
    pub fn error_code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        json["errors"][0]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// Itself, if the status is the expected one.
    ///
    /// # Panics
    /// With the whole answer, if it is another.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// `Location`, as a target for the next request to the same server.
    ///
    /// # Panics
    /// If there is none.
    pub fn location(&self) -> String {
        let location = self
            .header("location")
            .unwrap_or_else(|| panic!("no Location: {self:?}"));
        match location.split_once("://") {
            Some((_, rest)) => format!("/{}", rest.split_once('/').map_or("", |(_, path)| path)),
            None => location.to_owned(),
        }
    }
}

/// Base64 with padding.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, n| {
            (bits << 8) | u32::from(*chunk.get(n).unwrap_or(&0))
        });
        for n in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * n)) as usize & 63] as char;
            text.push(if n <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_padded() {
        assert_eq!(base64(b"user:pass"), "dXNlcjpwYXNz");
        assert_eq!(
            (base64(b"a"), base64(b"ab"), base64(b"")),
            ("YQ==".into(), "YWI=".into(), String::new())
        );
    }
}
