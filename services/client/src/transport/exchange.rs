//! One request and the head of its answer.

use super::{
    Body, Request, Response, Transport, header,
    retry::{Again, Failure},
};
use crate::{
    Asked, Error,
    error::{Phase, clean},
    har::{Begun, Recorded, Recording},
};
use awc::{
    ClientRequest, SendClientRequest,
    error::{ConnectError, SendRequestError},
};
use futures_util::StreamExt;
use std::{cell::Cell, rc::Rc, time::Duration};
use tokio::time::{Instant, timeout_at};

/// What the request's body tells the watch over its progress.
#[derive(Clone, Copy)]
struct Sent {
    /// When a piece was last taken.
    last: Instant,
    /// Whether all of it was taken.
    complete: bool,
}

impl Transport {
    /// Sends a request once, and records it.
    pub(super) async fn exchange(&self, request: &Request, body: Body) -> Result<Response, Failure> {
        let started = Instant::now();
        let recording = self.begin_recording(request, &body);
        let answer = self.answer(request, body, started).await;
        let took = started.elapsed();
        match answer {
            Ok(answer) => {
                let status = answer.status();
                log::debug!("{} {} {took:.1?}", request.asked(), status.as_u16());
                log_headers(&answer);
                if let Some(recording) = &recording {
                    let reason = status.canonical_reason().unwrap_or_default();
                    recording.answered(status.as_u16(), reason, header_pairs(answer.headers()), took);
                }
                Ok(Response::new(request, answer, recording, self.timeouts()))
            }
            Err(failure) => {
                log::debug!("{} after {took:.1?}", failure.error);
                if let Some(recording) = recording {
                    recording.failed(&failure.error.to_string(), took);
                }
                Err(failure)
            }
        }
    }

    fn begin_recording(&self, request: &Request, body: &Body) -> Option<Recording> {
        let recorder = self.setup.recorder.as_ref()?;
        let mime = header_of(request, &header::CONTENT_TYPE).unwrap_or_default();
        let kept = match body {
            Body::Empty => Recorded::Nothing,
            Body::Bytes(bytes) if request.secret || mime == oci::media_type::OCTET_STREAM => {
                Recorded::Size(i64::try_from(bytes.len()).unwrap_or(-1))
            }
            Body::Bytes(bytes) => Recorded::Text(mime, bytes),
            Body::Stream(length, _) => Recorded::Size(i64::try_from(*length).unwrap_or(-1)),
        };
        let headers = request.headers.iter();
        Some(recorder.begin(Begun {
            method: request.method.as_str(),
            url: request.url.as_str(),
            registry: &request.registry,
            headers: headers.map(|(n, v)| (n.to_string(), v.clone())).collect(),
            body: kept,
        }))
    }

    async fn answer(
        &self,
        request: &Request,
        body: Body,
        started: Instant,
    ) -> Result<awc::ClientResponse, Failure> {
        let sent = Rc::new(Cell::new(Sent {
            last: started,
            complete: true,
        }));
        let mut sending = start(self.prepared(request), body, &sent);
        let timeouts = self.timeouts();
        loop {
            let Sent { last, complete } = sent.get();
            let (phase, limit) = match complete {
                true => (Phase::FirstByte, timeouts.first_byte),
                false => (Phase::Idle, timeouts.idle),
            };
            match timeout_at(last + limit, &mut sending).await {
                Ok(answer) => return answer.map_err(|e| classify(e, request, &timeouts.connect)),
                Err(_) if sent.get().last + limit > Instant::now() => {}
                Err(_) => return Err(Failure::timed_out(request.asked(), phase, limit)),
            }
        }
    }

    fn prepared(&self, request: &Request) -> ClientRequest {
        let client = self.client(request.insecure);
        let mut prepared = client
            .request(request.method.clone(), request.url.as_str())
            .no_decompress()
            .insert_header((header::USER_AGENT, USER_AGENT));
        for (name, value) in &request.headers {
            prepared = prepared.append_header((name.clone(), value.as_str()));
        }
        prepared
    }
}

/// Told to every registry.
const USER_AGENT: &str = concat!("referrers-lab/", env!("CARGO_PKG_VERSION"));

fn start(prepared: ClientRequest, body: Body, sent: &Rc<Cell<Sent>>) -> SendClientRequest {
    match body {
        Body::Empty => prepared.send_body(bytes::Bytes::new()),
        Body::Bytes(bytes) => prepared.send_body(bytes),
        Body::Stream(length, stream) => {
            sent.set(Sent {
                last: sent.get().last,
                complete: false,
            });
            let (watch, end) = (Rc::clone(sent), Rc::clone(sent));
            let mark = |cell: &Cell<Sent>, complete| {
                cell.set(Sent {
                    last: Instant::now(),
                    complete,
                });
            };
            let watched = stream.inspect(move |_| mark(&watch, false)).chain(
                futures_util::stream::once(async move { mark(&end, true) }).filter_map(|()| async { None }),
            );
            prepared.send_body(actix_http::body::SizedStream::new(
                length,
                Box::pin(watched.map(boxed)),
            ))
        }
    }
}

/// The error of a body as `awc` wants it.
fn boxed(piece: Result<bytes::Bytes, Error>) -> Result<bytes::Bytes, Box<dyn std::error::Error>> {
    piece.map_err(Into::into)
}

/// Says what a failure of `awc` means.
fn classify(error: SendRequestError, request: &Request, connect: &Duration) -> Failure {
    let at = request.asked();
    match error {
        SendRequestError::Connect(error) => classify_connect(error, request, connect),
        SendRequestError::Send(error) => broken(at, &error.to_string()),
        SendRequestError::Response(error) => match error {
            actix_http::error::ParseError::Io(error) => broken(at, &error.to_string()),
            actix_http::error::ParseError::Incomplete => {
                broken(at, "the connection closed within the answer")
            }
            error => protocol(at, &format!("the answer is not HTTP/1.1: {error}")),
        },
        SendRequestError::Timeout => Failure::timed_out(at, Phase::FirstByte, *connect),
        SendRequestError::Body(error) => match error.downcast::<Error>() {
            // The source of the body failed, and says so itself.
            Ok(error) => Failure::of(*error, Again::Never),
            Err(error) => broken(at, &error.to_string()),
        },
        SendRequestError::Url(error) => protocol(at, &error.to_string()),
        SendRequestError::Http(error) => protocol(at, &error.to_string()),
        other => protocol(at, &other.to_string()),
    }
}

fn classify_connect(error: ConnectError, request: &Request, connect: &Duration) -> Failure {
    let at = request.asked();
    match error {
        ConnectError::Timeout => Failure::timed_out(at, Phase::Connect, *connect),
        ConnectError::Disconnected => broken(at, "the connection closed before an answer"),
        ConnectError::Io(error) => match tls_problem(&error, request) {
            Some(why) => Failure::of(
                Error::Tls {
                    at: Box::new(at),
                    host: request.registry.to_string(),
                    why,
                },
                Again::Never,
            ),
            None => Failure::of(unreachable_at(at, &error.to_string()), Again::Refused),
        },
        ConnectError::Resolver(error) => {
            let why = format!("the host name cannot be resolved: {error}");
            Failure::of(unreachable_at(at, &why), Again::Never)
        }
        other => Failure::of(unreachable_at(at, &other.to_string()), Again::Never),
    }
}

/// Why the TLS handshake failed, if that is what failed.
fn tls_problem(error: &std::io::Error, request: &Request) -> Option<String> {
    if request.url.scheme() != "https" {
        return None;
    }
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    match (inner, error.kind()) {
        (Some(rustls::Error::InvalidMessage(_)), _) => {
            Some("the other side does not speak TLS, it may be a plain http registry".to_owned())
        }
        (Some(inner), _) => Some(inner.to_string()),
        (None, std::io::ErrorKind::InvalidInput) => Some(
            "the host is no name that a certificate could have; IPv6 addresses are not supported with https"
                .to_owned(),
        ),
        (None, std::io::ErrorKind::UnexpectedEof) => Some("the other side closed the handshake".to_owned()),
        (None, _) => None,
    }
}

fn broken(at: Asked, why: &str) -> Failure {
    let why = format!("the connection broke: {why}");
    Failure::of(unreachable_at(at, &why), Again::Broken)
}

fn unreachable_at(at: Asked, why: &str) -> Error {
    Error::Unreachable {
        at: Box::new(at),
        why: clean(why),
        attempts: 1,
    }
}

fn protocol(at: Asked, what: &str) -> Failure {
    let (at, what) = (Box::new(at), clean(what));
    Failure::of(Error::Protocol { at, what }, Again::Never)
}

fn header_of<'a>(request: &'a Request, name: &header::HeaderName) -> Option<&'a str> {
    let mut headers = request.headers.iter();
    headers.find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// Headers as texts; bytes that are no text are replaced.
pub(super) fn header_pairs(headers: &header::HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

fn log_headers(answer: &awc::ClientResponse) {
    if log::log_enabled!(log::Level::Trace) {
        for (name, value) in header_pairs(answer.headers()) {
            log::trace!("  {name}: {}", clean(&crate::redact::header(&name, &value)));
        }
    }
}
