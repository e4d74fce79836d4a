//! Asking a registry, and seeing its answer as it is.

use client::{Client, Options, Settings, Timeouts};
use futures_util::future::LocalBoxFuture;
use std::time::{Duration, Instant};

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The URL that was asked.
    pub url: String,
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type` without parameters.
    pub media_type: Option<String>,
    /// `Docker-Content-Digest`.
    pub digest: Option<String>,
    /// `Content-Length`.
    pub size: Option<u64>,
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

/// Asks by the client library, which knows where registries are, speaks TLS and has credentials.
pub struct ClientAsk {
    client: Client,
}

/// How long no answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

impl ClientAsk {
    /// One that goes where the client configuration leads. It asks once: whether a registry answers now is the question.
    ///
    /// # Errors
    /// Where the client cannot be made.
    pub fn new(settings: Settings) -> client::Result<ClientAsk> {
        let timeouts = Timeouts {
            connect: PATIENCE,
            first_byte: PATIENCE,
            idle: PATIENCE,
            document: PATIENCE,
        };
        let options = Options {
            settings,
            attempts: 1,
            timeouts,
            ..Options::default()
        };
        Ok(ClientAsk {
            client: Client::new(options)?,
        })
    }

    async fn look(&self, registry: &str, method: &str, path: &str) -> client::Result<Answer> {
        let begun = Instant::now();
        let seen = self.client.registry(registry)?.look(method, path).await?;
        Ok(Answer {
            url: seen.url,
            status: seen.status,
            media_type: seen.media_type,
            digest: seen.digest,
            size: seen.size,
            body: seen.body.to_vec(),
            time: begun.elapsed(),
        })
    }
}

impl Ask for ClientAsk {
    fn ask<'a>(
        &'a self,
        registry: &'a str,
        method: &'a str,
        path: &'a str,
    ) -> LocalBoxFuture<'a, Result<Answer, AskError>> {
        Box::pin(async move {
            self.look(registry, method, path).await.map_err(|error| AskError {
                registry: registry.to_owned(),
                method: method.to_owned(),
                path: path.to_owned(),
                why: error.to_string(),
            })
        })
    }
}
