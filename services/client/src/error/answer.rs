//! What was asked, what came back, and where time ran out: the context that errors carry.

use oci::ErrorEnvelope;
use std::{fmt, time::Duration};

/// The request that an error is about. The URL has its secrets taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The whole URL.
    pub url: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// What a registry said with a status that is not a success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The first code of the error envelope, such as `MANIFEST_INVALID`; none if the body was no envelope.
    pub code: Option<String>,
    /// The first message of the envelope, or the beginning of a text body.
    pub message: Option<String>,
    /// How long it asked to be left alone, by `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl Answer {
    /// Reads an answer's body: an envelope, else the beginning of a text.
    pub fn read(status: u16, body: &[u8]) -> Answer {
        let nonempty = |text: &str| Some(clean(text)).filter(|text| !text.is_empty());
        match ErrorEnvelope::parse(body) {
            Some(envelope) => Answer {
                status,
                code: envelope.errors.first().and_then(|e| nonempty(&e.code)),
                message: envelope.errors.first().and_then(|e| nonempty(&e.message)),
                retry_after: None,
            },
            None => Answer {
                status,
                code: None,
                message: std::str::from_utf8(body).ok().and_then(nonempty),
                retry_after: None,
            },
        }
    }
}

/// When to try again, for a message: as the registry said, else vaguely.
pub(super) fn when(answer: &Answer) -> String {
    match answer.retry_after {
        Some(wait) => format!("in {} s", wait.as_secs()),
        None => "later".to_owned(),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        match (&self.code, &self.message) {
            (Some(code), Some(message)) => write!(f, " {code}: {message}"),
            (Some(code), None) => write!(f, " {code}"),
            (None, Some(message)) => write!(f, " ({message})"),
            (None, None) => Ok(()),
        }
    }
}

/// Where in an exchange time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Resolving the name, connecting, TLS.
    Connect,
    /// Sending the request and waiting for the answer's first byte.
    FirstByte,
    /// Between two pieces of a body.
    Idle,
    /// Reading a document, all in all.
    Whole,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Connect => "while connecting",
            Phase::FirstByte => "while waiting for an answer",
            Phase::Idle => "while waiting for more of the body",
            Phase::Whole => "before the answer was complete",
        })
    }
}

/// How much of a text from elsewhere a message quotes, in characters.
const MAX_QUOTED_CHARS: usize = 300;

/// A text from elsewhere, fit to be printed: one line, no control characters, a bounded length.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::new();
    for (n, c) in text.trim().chars().enumerate() {
        if n == MAX_QUOTED_CHARS {
            cleaned.push('…');
            break;
        }
        cleaned.push(if c.is_control() { ' ' } else { c });
    }
    cleaned
}
