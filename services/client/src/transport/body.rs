//! An answer: its status, its headers, and a body that is read within limits.

use super::{Request, header};
use crate::{
    Answer, Asked, Error, Result, Timeouts,
    error::{Phase, clean},
    har::{Recorded, Recording},
    redact,
    repository::ByteStream,
};
use awc::http::Version;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

/// How much of an error's body is read, in bytes.
const MAX_ERROR_BODY_BYTES: usize = 64 * 1024;

/// An answer whose body has not been read.
pub(crate) struct Response {
    at: Asked,
    url: Url,
    raw: awc::ClientResponse,
    recording: Option<Recording>,
    timeouts: Timeouts,
    secret: bool,
    head: bool,
}

impl Response {
    pub(super) fn new(
        request: &Request,
        raw: awc::ClientResponse,
        recording: Option<Recording>,
        timeouts: Timeouts,
    ) -> Response {
        Response {
            at: request.asked(),
            url: request.url.clone(),
            raw,
            recording,
            timeouts,
            secret: request.secret,
            head: request.method == super::Method::HEAD,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.raw.status().as_u16()
    }

    /// What was asked, for errors.
    pub(crate) fn at(&self) -> Asked {
        self.at.clone()
    }

    /// The URL that answered.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// A header's value, if it is text.
    pub(crate) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.raw.headers().get(name)?.to_str().ok()
    }

    /// A header that the table of names in `http` does not have.
    pub(crate) fn header_named(&self, name: &str) -> Option<&str> {
        self.raw.headers().get(name)?.to_str().ok()
    }

    /// Every value of a header.
    pub(crate) fn headers(&self, name: &header::HeaderName) -> Vec<String> {
        let values = self.raw.headers().get_all(name);
        values
            .filter_map(|value| value.to_str().ok())
            .map(str::to_owned)
            .collect()
    }

    /// All headers as texts.
    pub(crate) fn header_pairs(&self) -> Vec<(String, String)> {
        super::exchange::header_pairs(self.raw.headers())
    }

    /// The media type without parameters, in lower case; empty if there is none.
    pub(crate) fn media_type(&self) -> String {
        oci::media_type::essence(self.header(&header::CONTENT_TYPE).unwrap_or_default())
    }

    /// `Content-Length`.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// An answer that should have a body, without its length and not in chunks: HTTP/1.1 lets the connection's end tell, but
    /// then a broken connection looks the same, and `awc` reads nothing at all.
    fn lacks_length(&self) -> Option<Error> {
        let told = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let lacks = self.raw.version() == Version::HTTP_11
            && !self.head
            && self.status() == 200
            && !told.iter().any(|name| self.raw.headers().contains_key(name));
        lacks.then(|| Error::Protocol {
            at: Box::new(self.at.clone()),
            what: "the answer has no length: it has neither Content-Length nor Transfer-Encoding: chunked"
                .to_owned(),
        })
    }

    /// Reads the body whole.
    ///
    /// # Errors
    /// `TooLarge` above the limit, without reading on; `WrongLength` if it ends early; `Protocol` for an answer without a
    /// length; `TimedOut`.
    pub(crate) async fn document(mut self, limit: usize, what: &'static str) -> Result<Bytes> {
        let started = Instant::now();
        let read = self.read_whole(limit, what, started).await;
        self.record_document(&read, started);
        read
    }

    async fn read_whole(&mut self, limit: usize, what: &'static str, started: Instant) -> Result<Bytes> {
        let too_large = |at: &Asked| Error::TooLarge {
            at: Box::new(at.clone()),
            limit: limit as u64,
            what,
        };
        let expected = self.content_length();
        if self.head {
            return Ok(Bytes::new());
        }
        if let Some(error) = self.lacks_length() {
            return Err(error);
        }
        if expected.is_some_and(|length| length > limit as u64) {
            return Err(too_large(&self.at));
        }
        let deadline = started + self.timeouts.document;
        let mut body = BytesMut::new();
        loop {
            let next = timeout(self.timeouts.idle, self.raw.next());
            let piece = match timeout_at(deadline, next).await {
                Ok(Ok(Some(piece))) => piece.map_err(|e| broken(&self.at, &e.to_string()))?,
                Ok(Ok(None)) => break,
                Ok(Err(_)) => return Err(timed_out(&self.at, Phase::Idle, self.timeouts.idle)),
                Err(_) => return Err(timed_out(&self.at, Phase::Whole, self.timeouts.document)),
            };
            if body.len() + piece.len() > limit {
                return Err(too_large(&self.at));
            }
            body.extend_from_slice(&piece);
        }
        // A connection that closes within a body looks like its end here.
        match expected {
            Some(expected) if expected != body.len() as u64 => Err(Error::WrongLength {
                at: Box::new(self.at.clone()),
                expected,
                received: body.len() as u64,
            }),
            _ => Ok(body.freeze()),
        }
    }

    fn record_document(&self, read: &Result<Bytes>, started: Instant) {
        let Some(recording) = &self.recording else { return };
        match read {
            Ok(body) => {
                let mime = self.header(&header::CONTENT_TYPE).unwrap_or_default();
                let kept = match self.secret {
                    true => Recorded::Size(i64::try_from(body.len()).unwrap_or(-1)),
                    false => Recorded::Text(mime, body),
                };
                recording.body(kept, started.elapsed());
            }
            Err(error) => recording.failed(&error.to_string(), started.elapsed()),
        }
    }

    /// The body as a stream of pieces; it ends in an error if it breaks, stalls or ends before its `Content-Length`.
    pub(crate) fn into_stream(self) -> ByteStream {
        let state = Reading {
            expected: self.content_length(),
            received: 0,
            started: Instant::now(),
            response: self,
        };
        Box::pin(futures_util::stream::unfold(Some(state), |state| async move {
            let mut state = state?;
            match state.next().await {
                Some(Ok(piece)) => Some((Ok(piece), Some(state))),
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        }))
    }

    /// Reads what is left, so that the connection can be used again, unless it is much.
    pub(crate) async fn discard(self) {
        // Whatever goes wrong here only costs the connection.
        let _ = self.document(MAX_ERROR_BODY_BYTES, "an error").await;
    }

    /// The answer as a fact about what went wrong. `what` names the thing that was asked for.
    pub(crate) async fn into_error(self, what: &str) -> Error {
        let (at, status) = (self.at(), self.status());
        Error::of_answer(at, self.into_answer(status).await, what)
    }

    async fn into_answer(self, status: u16) -> Answer {
        let retry_after = super::retry::demanded(&self);
        // A body that cannot be read leaves the status to tell.
        let body = self
            .document(MAX_ERROR_BODY_BYTES, "an error")
            .await
            .unwrap_or_default();
        Answer {
            retry_after,
            ..Answer::read(status, &body)
        }
    }

    /// A success that is not one of those expected here.
    pub(crate) async fn unexpected(self, expected: &'static str) -> Error {
        let (at, status) = (Box::new(self.at()), self.status());
        if status >= 400 {
            return self.into_error("it").await;
        }
        let answer = Box::new(self.into_answer(status).await);
        Error::UnexpectedStatus { at, answer, expected }
    }

    /// A header that must be a URL, made absolute.
    pub(crate) fn location(&self) -> Result<Url> {
        let protocol = |what: String| Error::Protocol {
            at: Box::new(self.at()),
            what,
        };
        let text = self
            .header(&header::LOCATION)
            .ok_or_else(|| protocol("the answer has no Location header".to_owned()))?;
        let url = self.url.join(text).map_err(|e| {
            protocol(format!(
                "the Location {:?} is no URL: {e}",
                clean(&redact::url(text))
            ))
        })?;
        match (url.scheme(), url.has_host()) {
            ("http" | "https", true) => Ok(url),
            _ => Err(protocol(format!(
                "the Location {:?} is no http URL",
                clean(&redact::url(text))
            ))),
        }
    }
}

struct Reading {
    response: Response,
    expected: Option<u64>,
    received: u64,
    started: Instant,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        let at = &self.response.at;
        let idle = self.response.timeouts.idle;
        let result = match timeout(idle, self.response.raw.next()).await {
            Err(_) => Some(Err(timed_out(at, Phase::Idle, idle))),
            Ok(Some(Ok(piece))) => {
                self.received += piece.len() as u64;
                return Some(Ok(piece));
            }
            Ok(Some(Err(error))) => Some(Err(broken(at, &error.to_string()))),
            Ok(None) => match self.expected {
                Some(expected) if expected != self.received => Some(Err(Error::WrongLength {
                    at: Box::new(at.clone()),
                    expected,
                    received: self.received,
                })),
                None if self.received == 0 => self.response.lacks_length().map(Err),
                _ => None,
            },
        };
        if let Some(recording) = &self.response.recording {
            recording.body(
                Recorded::Size(i64::try_from(self.received).unwrap_or(-1)),
                self.started.elapsed(),
            );
            if let Some(Err(error)) = &result {
                recording.failed(&error.to_string(), self.started.elapsed());
            }
        }
        result
    }
}

fn timed_out(at: &Asked, phase: Phase, after: std::time::Duration) -> Error {
    Error::TimedOut {
        at: Box::new(at.clone()),
        phase,
        after,
    }
}

fn broken(at: &Asked, why: &str) -> Error {
    Error::Unreachable {
        at: Box::new(at.clone()),
        why: format!("the connection broke: {}", clean(why)),
        attempts: 1,
    }
}
