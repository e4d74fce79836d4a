//! `registry healthcheck`: asks the registry of a configuration whether it is ready, from the same machine or container.
//!
//! A scratch image has no curl. One request over a blocking socket is all it takes; over TLS, the server must show the very
//! certificate of the configuration, as its name is rarely that of the loopback.

use crate::{config::Config, tls};
use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

/// How long each step may take. Orchestrators ask every few seconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is read of an answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 4096;

/// Why a registry is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Nobody answers.
    #[error("{address} does not answer: {source}")]
    Unreachable {
        /// Where it was tried.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The answer is not 200.
    #[error("{address} is not ready: {answer}")]
    NotReady {
        /// Who answered.
        address: String,
        /// Status line and body.
        answer: String,
    },
    /// The certificate to expect cannot be read.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

/// Asks `/readyz`.
///
/// # Errors
/// [`Unhealthy`], if anything but 200 comes.
pub fn ask(config: &Config) -> Result<(), Unhealthy> {
    let address = config.http.addr.reachable();
    let unreachable = |source| Unhealthy::Unreachable {
        address: address.clone(),
        source,
    };
    let stream = connect(&address).map_err(unreachable)?;
    let answer = match &config.http.tls {
        None => exchange(stream, &address),
        Some(settings) => {
            let connection = tls::own_client(settings)?;
            exchange(rustls::StreamOwned::new(connection, stream), &address)
        }
    }
    .map_err(unreachable)?;
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    if status.starts_with("HTTP/1.1 200") {
        return Ok(());
    }
    Err(Unhealthy::NotReady {
        address,
        answer: format!("{status} {}", lines.next_back().unwrap_or_default()),
    })
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, host: &str) -> io::Result<String> {
    stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer) {
        // A TLS peer that closes without saying so has still answered.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof || answer.is_empty() => Err(error),
        _ => Ok(String::from_utf8_lossy(&answer).into_owned()),
    }
}
