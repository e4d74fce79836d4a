//! What stands around every request: its id, the gate, the clock on its body, the headers of every answer, and what is
//! counted and logged once the answer's last byte is handed over.
//!
//! It stands in front of the application and not inside it, so that what is answered at once costs no more than it must. It
//! knows no route but by its name in the metrics, and no storage.

mod body;
mod client;

pub use body::Pace;

use crate::{
    auth::{Access, Auth, Verdict},
    config::Network,
    framing::{Announced, Turn, Turns},
    http::RequestId,
    log::ACCESS,
    metrics::{Sample, Shard, route_index},
    wire::Outlet,
};
use actix_http::{HttpMessage, Payload, Request, RequestHead, Response};
use actix_web::{
    Error, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Service, ServiceFactory, ServiceResponse},
    http::{
        Method, Uri,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
};
use body::Intake;
use bytes::Bytes;
use futures_util::future::{Either, LocalBoxFuture};
use oci::{ErrorCode, ErrorEnvelope, RawRoute};
use std::{
    borrow::Cow,
    cell::Cell,
    fmt,
    future::{Ready, ready},
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

/// The header that carries a request's id, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// On the answer to a push whose subject was indexed.
const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// The status of a request whose client went away before the answer began; nginx counts them so too.
const CLIENT_GONE: u16 = 499;

/// The paths that need no password: what an orchestrator asks.
const OPEN_PATHS: &[&str] = &["/livez", "/readyz"];

/// Answers requests for which nothing is to be waited for.
pub type AtOnce = Rc<dyn Fn(&RequestHead) -> Option<HttpResponse>>;

/// What every worker's edge is made of.
#[derive(Clone)]
pub struct Edge {
    /// Asked before the service, so that the most frequent requests are answered without its detours.
    pub at_once: AtOnce,
    /// The gate; everybody may do everything without.
    pub auth: Option<Arc<Auth>>,
    /// Headers of every answer.
    pub headers: Rc<Vec<(HeaderName, HeaderValue)>>,
    /// How fast a client must send a body.
    pub pace: Pace,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Rc<[Network]>,
    /// Whether each request gets a line.
    pub access_log: bool,
    /// This worker's counters.
    pub counters: Option<Arc<Shard>>,
    /// Makes ids that no other worker makes.
    pub ids: Rc<Ids>,
}

/// Numbers requests: a random half, and a count.
#[derive(Debug)]
pub struct Ids {
    worker: u32,
    next: Cell<u32>,
}

impl Ids {
    /// Ids of one worker.
    pub fn new() -> Ids {
        Ids {
            worker: rand::random(),
            next: Cell::new(0),
        }
    }

    fn next(&self) -> HeaderValue {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let bits = u64::from(self.worker) << 32 | u64::from(count);
        let digits: [u8; 16] = std::array::from_fn(|n| DIGITS[(bits >> (60 - 4 * n)) as usize & 15]);
        HeaderValue::from_maybe_shared(Bytes::copy_from_slice(&digits))
            .unwrap_or(HeaderValue::from_static("-"))
    }
}

impl Default for Ids {
    fn default() -> Ids {
        Ids::new()
    }
}

/// An id that a client or a proxy gave, if it can be logged as it is.
fn given_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(&REQUEST_ID)?;
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    ((1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain)).then_some(id)
}

/// The body that a request's head announces, as the library has understood it.
fn announced(request: &mut Request) -> Announced {
    if matches!(request.payload(), Payload::None) {
        return Announced::Bytes(0);
    }
    let headers = request.headers();
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Announced::Chunks;
    }
    // With these the library takes all that comes for the body, whatever its length is said to be.
    if headers.contains_key(header::UPGRADE) {
        return Announced::Unknown;
    }
    let length = headers.get(header::CONTENT_LENGTH);
    length
        .and_then(|length| length.to_str().ok()?.trim().parse().ok())
        .filter(|length| *length > 0)
        .map_or(Announced::Unknown, Announced::Bytes)
}

/// An application with an [`Edge`] around it: the service of a server's worker.
pub struct Edged<F> {
    edge: Rc<Edge>,
    application: F,
}

impl Edge {
    /// Stands around an application.
    pub fn around<F>(self, application: F) -> Edged<F> {
        Edged {
            edge: Rc::new(self),
            application,
        }
    }
}

impl<F> ServiceFactory<Request> for Edged<F>
where
    F: ServiceFactory<Request, Config = (), Response = ServiceResponse, Error = Error>,
    F::Future: 'static,
    F::Service: 'static,
{
    type Response = Response<Observed>;
    type Error = Error;
    type Config = ();
    type Service = EdgeService<F::Service>;
    type InitError = F::InitError;
    type Future = LocalBoxFuture<'static, Result<Self::Service, Self::InitError>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let edge = Rc::clone(&self.edge);
        let made = self.application.new_service(());
        Box::pin(async move {
            Ok(EdgeService {
                application: Rc::new(made.await?),
                edge,
            })
        })
    }
}

/// [`Edge`] around a service.
pub struct EdgeService<S> {
    application: Rc<S>,
    edge: Rc<Edge>,
}

impl<S> Service<Request> for EdgeService<S>
where
    S: Service<Request, Response = ServiceResponse, Error = Error> + 'static,
{
    type Response = Response<Observed>;
    type Error = Error;
    type Future =
        Either<Ready<Result<Self::Response, Error>>, LocalBoxFuture<'static, Result<Self::Response, Error>>>;

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.application.poll_ready(context)
    }

    fn call(&self, mut request: Request) -> Self::Future {
        let edge = &self.edge;
        let id = given_id(request.headers())
            .cloned()
            .unwrap_or_else(|| edge.ids.next());
        let announced = announced(&mut request);
        let turns = request.conn_data::<Rc<Turns>>().cloned();
        let turn = turns.as_ref().map(|turns| turns.begin(announced));
        let intake = Intake::watch(&mut request, edge.pace, turns);
        let mut story = edge.story(&request, &id, intake.clone());
        if edge.auth.is_none()
            && let Some(response) = (edge.at_once)(request.head())
        {
            return Either::Left(ready(Ok(edge.finish(response.into(), id, story, intake, turn))));
        }
        request.extensions_mut().insert(RequestId(id.clone()));
        let (application, edge) = (Rc::clone(&self.application), Rc::clone(edge));
        Either::Right(Box::pin(async move {
            let response: Response<BoxBody> = match edge.gate(&request).await {
                Verdict::Refused => edge.refusal().into(),
                Verdict::Allowed(user) => {
                    edge.tell_client(&request, user.as_ref());
                    if let Some(story) = &mut story {
                        story.user = user;
                    }
                    match edge.auth.as_ref().and_then(|_| (edge.at_once)(request.head())) {
                        Some(response) => response.into(),
                        None => application.call(request).await?.into(),
                    }
                }
            };
            Ok(edge.finish(response, id, story, intake, turn))
        }))
    }
}

impl Edge {
    /// Adds to an answer what every answer has, and sees it through to its last byte.
    fn finish(
        &self,
        mut response: Response<BoxBody>,
        id: HeaderValue,
        mut story: Option<Box<Story>>,
        intake: Option<Intake>,
        turn: Option<Turn>,
    ) -> Response<Observed> {
        self.add_headers(response.headers_mut(), id);
        if let Some(story) = &mut story {
            story.status = response.status().as_u16();
            story.indexed = response.headers().contains_key(OCI_SUBJECT);
        }
        response.map_body(|_, body| Observed {
            body,
            meter: Meter { sent: 0, story },
            _intake: intake,
            _turn: turn,
        })
    }

    async fn gate(&self, request: &Request) -> Verdict {
        let Some(auth) = &self.auth else {
            return Verdict::Allowed(None);
        };
        if OPEN_PATHS.contains(&request.path()) {
            return Verdict::Allowed(None);
        }
        let access = match *request.method() {
            Method::GET | Method::HEAD => Access::Pull,
            _ => Access::Push,
        };
        let header = request.headers().get(header::AUTHORIZATION);
        auth.decide(header.map(HeaderValue::as_bytes), access).await
    }

    /// Tells the service who asks, where it counts what a client begins.
    fn tell_client(&self, request: &Request, user: Option<&Arc<str>>) {
        if request.method() == Method::POST
            && let Some(client) = client::client_of(request, user, &self.proxies)
        {
            request.extensions_mut().insert(client);
        }
    }

    /// 401, which tells nothing of what is behind it.
    fn refusal(&self) -> HttpResponse {
        let code = ErrorCode::Unauthorized;
        let envelope = ErrorEnvelope::of(code, code.spec().message, serde_json::Value::Null);
        let mut response = HttpResponse::Unauthorized();
        if let Some(auth) = &self.auth {
            response.insert_header((header::WWW_AUTHENTICATE, auth.challenge()));
        }
        response
            .insert_header((oci::headers::API_VERSION, "registry/2.0"))
            .json(envelope)
    }

    fn add_headers(&self, headers: &mut HeaderMap, id: HeaderValue) {
        for (name, value) in self.headers.iter() {
            headers.append(name.clone(), value.clone());
        }
        headers.insert(REQUEST_ID, id);
    }

    /// Begins the record of a request, if anybody wants one.
    fn story(&self, request: &Request, id: &HeaderValue, intake: Option<Intake>) -> Option<Box<Story>> {
        if !self.access_log && self.counters.is_none() {
            return None;
        }
        if let Some(counters) = &self.counters {
            counters.begin();
        }
        Some(Box::new(Story {
            id: id.clone(),
            method: request.method().clone(),
            uri: request.uri().clone(),
            remote: request.peer_addr().map(|address| address.ip()),
            user: None,
            status: CLIENT_GONE,
            indexed: false,
            begun: Instant::now(),
            intake,
            outlet: request.conn_data::<Rc<Outlet>>().cloned(),
            access_log: self.access_log,
            counters: self.counters.clone(),
        }))
    }
}

/// What is known of one request, told when it is dropped: with the answer's end, or with the connection's.
struct Story {
    id: HeaderValue,
    method: Method,
    uri: Uri,
    remote: Option<IpAddr>,
    user: Option<Arc<str>>,
    status: u16,
    indexed: bool,
    begun: Instant,
    intake: Option<Intake>,
    outlet: Option<Rc<Outlet>>,
    access_log: bool,
    counters: Option<Arc<Shard>>,
}

impl Story {
    /// Tells of the request, of whose answer so many bytes were handed to the server.
    fn tell(&self, sent: u64) {
        // What went past the server is behind the byte that stood for it.
        let sent = sent + self.outlet.as_deref().map_or(0, Outlet::take_sent);
        let duration = self.begun.elapsed();
        let received = self.intake.as_ref().map_or(0, Intake::received);
        // The answer to HEAD has a length and no bytes.
        let sent = if self.method == Method::HEAD { 0 } else { sent };
        if let Some(counters) = &self.counters {
            counters.end(Sample {
                route: route_index(self.uri.path()),
                method: self.method.as_str(),
                status: self.status,
                duration,
                received,
                sent,
                indexed: self.indexed,
            });
        }
        if self.access_log {
            // A probe comes every second and says nothing new as long as it is answered well.
            let probe = self.status == 200 && OPEN_PATHS.contains(&self.uri.path());
            log::log!(
                target: ACCESS,
                if probe { log::Level::Debug } else { log::Level::Info },
                method = self.method.as_str(),
                path = shown(self.uri.path()).as_ref(),
                status = self.status,
                bytes = sent,
                received = received,
                duration_ms = (duration.as_secs_f64() * 1e6).round() / 1e3,
                id = self.id.to_str().unwrap_or("-"),
                remote:% = Remote(self.remote),
                user = self.user.as_deref().unwrap_or("-");
                "request"
            );
        }
    }
}

/// A path as the log shows it: who has the whole id of an upload session can write to it.
fn shown(path: &str) -> Cow<'_, str> {
    const SHOWN: usize = 8;
    let secret = match RawRoute::parse(path) {
        Some(RawRoute::Upload(_, id)) => id.get(SHOWN..).unwrap_or(""),
        _ => "",
    };
    match path.strip_suffix(secret) {
        Some(open) if !secret.is_empty() => Cow::Owned(format!("{open}…")),
        _ => Cow::Borrowed(path),
    }
}

/// An address, or a dash for a peer without one.
struct Remote(Option<IpAddr>);

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("-"),
        }
    }
}

/// An answer's body that counts what is handed over of it.
pub struct Observed {
    body: BoxBody,
    meter: Meter,
    /// Kept to the answer's end, see [`Intake`].
    _intake: Option<Intake>,
    /// Likewise.
    _turn: Option<Turn>,
}

/// Counts bytes, and tells the story at the end of them.
struct Meter {
    sent: u64,
    story: Option<Box<Story>>,
}

impl MessageBody for Observed {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let piece = Pin::new(&mut self.body).poll_next(context);
        if let Poll::Ready(Some(Ok(bytes))) = &piece {
            self.meter.sent += bytes.len() as u64;
        }
        piece
    }

    fn try_into_bytes(self) -> Result<Bytes, Observed> {
        let Observed {
            body,
            mut meter,
            _intake,
            _turn,
        } = self;
        match body.try_into_bytes() {
            Ok(bytes) => {
                meter.sent += bytes.len() as u64;
                Ok(bytes)
            }
            Err(body) => Err(Observed {
                body,
                meter,
                _intake,
                _turn,
            }),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(story) = self.story.take() {
            story.tell(self.sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn the_log_shows_no_more_of_an_upload_session_than_tells_it_from_others() {
        let id = "0123abcd-5678-49ab-8def-0123456789ab";
        for (path, expected) in [
            (
                format!("/v2/a/b/blobs/uploads/{id}"),
                "/v2/a/b/blobs/uploads/0123abcd…",
            ),
            ("/v2/a/blobs/uploads/".to_owned(), "/v2/a/blobs/uploads/"),
            ("/v2/a/blobs/uploads/x".to_owned(), "/v2/a/blobs/uploads/x"),
            ("/v2/a/manifests/latest".to_owned(), "/v2/a/manifests/latest"),
            (
                "/v2/a/blobs/uploads/äöüäöü".to_owned(),
                "/v2/a/blobs/uploads/äöüä…",
            ),
            ("/livez".to_owned(), "/livez"),
        ] {
            assert_eq!(shown(&path), expected);
        }
    }
}
