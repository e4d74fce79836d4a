//! Reading the recordings that the tools leave: what of HAR 1.2 the judge needs.
//!
//! The recording is the `client` crate's; this is a view of it that knows nothing of how it was made, so that the judge reads
//! what stands in the file.

use serde::Deserialize;
use std::io;
use std::path::{Path, PathBuf};

/// A HAR file.
#[derive(Debug, Deserialize)]
pub struct Har {
    /// Its one member.
    pub log: Log,
}

/// The exchanges, oldest first.
#[derive(Debug, Deserialize)]
pub struct Log {
    /// One an exchange.
    pub entries: Vec<Entry>,
}

/// One exchange.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// RFC 3339.
    #[serde(default)]
    pub started_date_time: String,
    /// Milliseconds.
    #[serde(default)]
    pub time: f64,
    /// What was sent.
    pub request: Request,
    /// What came back.
    pub response: Response,
    /// The registry, as references write it.
    #[serde(default)]
    pub comment: String,
}

/// What was sent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// `GET`, …
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// In the order sent.
    pub headers: Vec<Header>,
    /// The body, if there was one.
    pub post_data: Option<PostData>,
}

/// A request's body.
#[derive(Debug, Deserialize)]
pub struct PostData {
    /// Absent for what is no text.
    pub text: Option<String>,
}

/// What came back. The status is 0 where nothing did.
#[derive(Debug, Deserialize)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// In the order received.
    pub headers: Vec<Header>,
    /// The body.
    pub content: ResponseContent,
}

/// A response's body.
#[derive(Debug, Deserialize)]
pub struct ResponseContent {
    /// Bytes; -1 if unknown.
    #[serde(default)]
    pub size: i64,
    /// Absent for what is no text.
    pub text: Option<String>,
    /// `base64`, where the text is not the body itself.
    pub encoding: Option<String>,
}

/// A header.
#[derive(Debug, Deserialize)]
pub struct Header {
    /// In whatever case.
    pub name: String,
    /// As sent.
    pub value: String,
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum HarError {
    /// It is not there, or cannot be read.
    #[error("the recording {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not a HAR file.
    #[error("the recording {} is malformed: {source}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
}

/// Reads a file.
///
/// # Errors
/// [`HarError`] if it is missing or malformed: no exchange is ever taken for granted.
pub fn read(path: &Path) -> Result<Vec<Entry>, HarError> {
    let text = std::fs::read(path).map_err(|source| HarError::Io {
        path: path.to_owned(),
        source,
    })?;
    let har: Har = serde_json::from_slice(&text).map_err(|source| HarError::Malformed {
        path: path.to_owned(),
        source,
    })?;
    Ok(har.log.entries)
}

/// The first header of that name.
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))
        .map(|header| header.value.as_str())
}
