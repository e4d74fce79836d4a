//! Asking a registry, and seeing its answer as it is.

use futures_util::future::LocalBoxFuture;
use std::time::Duration;

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The URL that was asked.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// In the order received.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// How long it took.
    pub time: Duration,
}

/// No answer came.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} at {registry}: {why}")]
pub struct AskError {
    /// The registry, as references write it.
    pub registry: String,
    /// `GET`, …
    pub method: String,
    /// The path with its query.
    pub path: String,
    /// What happened instead.
    pub why: String,
}

/// Asks registries by their names.
pub trait Ask {
    /// One request, sent once, and its answer as it is.
    ///
    /// # Errors
    /// [`AskError`] if no answer comes. A status is never an error.
    fn ask<'a>(
        &'a self,
        registry: &'a str,
        method: &'a str,
        path: &'a str,
    ) -> LocalBoxFuture<'a, Result<Answer, AskError>>;
}

/// Asks by plain HTTP, one connection a request, at the addresses of a client configuration.
pub struct ClientAsk {
    settings: client::Settings,
}

impl ClientAsk {
    /// # Errors
    /// None yet.
    pub fn new(settings: client::Settings) -> client::Result<ClientAsk> {
        Ok(ClientAsk { settings })
    }
}

impl Ask for ClientAsk {
    fn ask<'a>(
        &'a self,
        registry: &'a str,
        method: &'a str,
        path: &'a str,
    ) -> LocalBoxFuture<'a, Result<Answer, AskError>> {
        let host = self
            .settings
            .registries
            .get(registry)
            .and_then(|set| set.hostname.clone())
            .unwrap_or_else(|| registry.to_owned());
        Box::pin(async move {
            plain(&host, method, path).await.map_err(|error| AskError {
                registry: registry.to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                why: error.to_string(),
            })
        })
    }
}

async fn plain(host: &str, method: &str, path: &str) -> std::io::Result<Answer> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let begun = std::time::Instant::now();
    let mut stream = tokio::net::TcpStream::connect(host).await?;
    let request = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let bad = || std::io::Error::other("no HTTP answer");
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").ok_or_else(bad)?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1))
        .and_then(|s| s.parse().ok())
        .ok_or_else(bad)?;
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(k, v)| (k.trim().to_owned(), v.trim().to_owned()))
        .collect();
    Ok(Answer {
        url: format!("http://{host}{path}"),
        status,
        headers,
        body: bytes[end + 4..].to_vec(),
        time: begun.elapsed(),
    })
}
