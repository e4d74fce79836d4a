//! One request and the head of its answer.

use super::{
    Body, Request, Response, Transport, USER_AGENT,
    dial::DialError,
    header,
    proxy::{authority, host_and_port},
    retry::{Again, Failure},
};
use crate::{
    Answer, Asked, Error,
    error::{Phase, clean},
    har::{Begun, Recorded, Recording},
};
use awc::{
    ClientRequest, SendClientRequest,
    error::{ConnectError, SendRequestError},
    http::{Uri, uri},
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
        let mut sending = start(self.prepared(request)?, body, &sent);
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

    fn prepared(&self, request: &Request) -> Result<ClientRequest, Failure> {
        let never = |error| Failure::of(error, Again::Never);
        let url = &request.url;
        let proxy = self.setup.proxies.for_url(url).map_err(never)?;
        // A tunnel is opened by the dialer, and what goes through it knows nothing of the proxy.
        let proxy = proxy.filter(|_| url.scheme() == "http");
        let uri = request_uri(url, proxy.is_some()).map_err(|e| protocol(request.asked(), &e.to_string()))?;
        let (host, port) = (url.host_str().unwrap_or_default(), url.port());
        let mut prepared = self
            .client(request)
            .request(request.method.clone(), uri)
            .no_decompress()
            .insert_header((header::USER_AGENT, USER_AGENT))
            .insert_header((
                header::HOST,
                port.map_or_else(|| host.to_owned(), |p| format!("{host}:{p}")),
            ));
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.as_deref()) {
            prepared = prepared.insert_header((header::PROXY_AUTHORIZATION, authorization));
        }
        for (name, value) in &request.headers {
            prepared = prepared.append_header((name.clone(), value.as_str()));
        }
        Ok(prepared)
    }
}

/// A URL as `awc` gets it: always of http, as the dialer adds TLS, and with its port. Its path is what stands in the request
/// line; a proxy is told the whole URL there.
///
/// Source: RFC 9112, section 3.2.
fn request_uri(url: &url::Url, whole: bool) -> Result<Uri, actix_http::error::HttpError> {
    let (host, port) = host_and_port(url);
    let path = match whole {
        true => &url[..url::Position::AfterQuery],
        false => &url[url::Position::BeforePath..url::Position::AfterQuery],
    };
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(uri::Authority::try_from(authority(&host, port))?);
    parts.path_and_query = Some(uri::PathAndQuery::try_from(path)?);
    Ok(Uri::from_parts(parts)?)
}

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
        ConnectError::Io(error) => match error.downcast::<DialError>() {
            Ok(error) => classify_dial(error, request, connect),
            Err(error) => Failure::of(unreachable_at(at, &error.to_string()), Again::Refused),
        },
        other => Failure::of(unreachable_at(at, &other.to_string()), Again::Never),
    }
}

fn classify_dial(error: DialError, request: &Request, connect: &Duration) -> Failure {
    let at = request.asked();
    match error {
        DialError::TimedOut => Failure::timed_out(at, Phase::Connect, *connect),
        DialError::Unconnected(error) => Failure::of(unreachable_at(at, &error.to_string()), Again::Refused),
        error @ DialError::Unresolved(_) => Failure::of(unreachable_at(at, &error.to_string()), Again::Never),
        DialError::Proxy { proxy, why } => {
            let (at, why) = (Box::new(at), clean(&why));
            Failure::of(Error::Proxy { at, proxy, why }, Again::Never)
        }
        DialError::Tls(why) => {
            let (at, host) = (Box::new(at), request.registry.to_string());
            Failure::of(Error::Tls { at, host, why }, Again::Never)
        }
        error @ DialError::ProxyWantsPassword(_) => {
            let answer = Answer {
                status: 407,
                code: None,
                message: Some(error.to_string()),
                retry_after: None,
            };
            let (at, answer, hint) = (Box::new(at), Box::new(answer), String::new());
            Failure::of(Error::NotAuthorised { at, answer, hint }, Again::Never)
        }
        DialError::Setup(error) => Failure::of(error, Again::Never),
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
