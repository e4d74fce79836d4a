//! HTTP exchanges: the only user of `awc`.
//!
//! One request is sent and recorded here, again where that is safe. Redirects and credentials are the caller's
//! ([`crate::session`]); `awc` follows none, decompresses nothing, and has no timeouts but those given here.

mod body;
mod dial;
mod exchange;
mod proxy;
mod retry;
mod tls;

pub(crate) use body::Response;
pub use proxy::Proxies;

use crate::{
    Asked, Error, Result, Timeouts, har::Recorder, progress::Progress, redact, repository::ByteStream,
};
use bytes::Bytes;
use retry::Again;
use std::{cell::OnceCell, path::PathBuf, rc::Rc, time::Duration};
use url::Url;

pub(crate) use awc::http::{Method, header};

/// How many connections are open at once, over all registries. A copy needs two for each blob under way.
const MAX_CONNECTIONS: usize = 128;
/// The shortest pause before another try that a person would wonder about.
const NOTICED_PAUSE: Duration = Duration::from_secs(1);
/// Told to every registry.
const USER_AGENT: &str = concat!("referrers-lab/", env!("CARGO_PKG_VERSION"));

/// What a request carries.
pub(crate) enum Body {
    /// Nothing, with a `Content-Length: 0` where the method expects one.
    Empty,
    /// Bytes in memory, which can be sent again.
    Bytes(Bytes),
    /// A stream of this many bytes, which cannot.
    Stream(u64, ByteStream),
}

/// A request to one URL.
pub(crate) struct Request {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Body,
    /// Whether sending it twice does no harm.
    pub repeatable: bool,
    /// The registry's name as written, for the recording.
    pub registry: Rc<str>,
    /// Do not check the certificate.
    pub insecure: bool,
    /// Bodies are secrets: neither of them is recorded.
    pub secret: bool,
}

impl Request {
    /// What it asks, for errors.
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            method: self.method.to_string(),
            url: redact::url(self.url.as_str()),
        }
    }
}

/// How the transport is set up.
pub(crate) struct Setup {
    pub insecure: bool,
    pub ca_certs: Vec<PathBuf>,
    pub timeouts: Timeouts,
    pub attempts: u32,
    pub backoff: Duration,
    pub recorder: Option<Recorder>,
    pub proxies: Rc<Proxies>,
    /// Is told of pauses.
    pub progress: Rc<dyn Progress>,
}

/// Connections, and how requests go over them.
pub(crate) struct Transport {
    setup: Setup,
    extra_roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    /// One for each kind of connection: `awc` keeps connections by host and port alone, and takes all for plain ones.
    plain: OnceCell<awc::Client>,
    checked: OnceCell<awc::Client>,
    unchecked: OnceCell<awc::Client>,
}

impl Transport {
    /// Reads the extra authorities; connects nowhere.
    pub(crate) fn new(setup: Setup) -> Result<Transport> {
        let extra_roots = tls::read_certificates(&setup.ca_certs)?;
        if setup.insecure {
            log::warn!(
                "certificates are not checked (--insecure): anyone on the way can read and change what is sent"
            );
        }
        Ok(Transport {
            setup,
            extra_roots,
            plain: OnceCell::new(),
            checked: OnceCell::new(),
            unchecked: OnceCell::new(),
        })
    }

    /// How long to wait for what.
    pub(crate) fn timeouts(&self) -> Timeouts {
        self.setup.timeouts
    }

    /// How often a request that may be repeated is tried.
    pub(crate) fn attempts(&self) -> u32 {
        self.setup.attempts.max(1)
    }

    /// Waits before try number `attempt + 1`: as long as the registry demanded with that error, else longer each time, with
    /// jitter. `false`, at once, if that would be longer than anybody waits.
    pub(crate) async fn back_off(&self, attempt: u32, error: &Error) -> bool {
        let demanded = error.answer().and_then(|answer| answer.retry_after);
        let Some(pause) = retry::pause_of(demanded, self.setup.backoff, attempt) else {
            return false;
        };
        self.wait(&error.to_string(), pause).await;
        true
    }

    /// Waits before something is tried again, and says so.
    async fn wait(&self, why: &str, pause: Duration) {
        log::warn!("{why}; trying again in {pause:.1?}");
        if pause >= NOTICED_PAUSE {
            self.setup.progress.pausing(why, pause);
        }
        actix_rt::time::sleep(pause).await;
    }

    /// Sends a request, again where the failure is transient and the request may be repeated.
    ///
    /// # Errors
    /// Every failure without an answer. An answer of any status is a success here.
    pub(crate) async fn send(&self, mut request: Request) -> Result<Response> {
        let mut attempt = 1;
        loop {
            let body = match &mut request.body {
                Body::Empty => Body::Empty,
                Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
                Body::Stream(..) => std::mem::replace(&mut request.body, Body::Empty),
            };
            let is_stream = matches!(body, Body::Stream(..));
            let repeatable = request.repeatable && !is_stream;
            let last = attempt >= self.attempts();
            let (pause, why) = match self.exchange(&request, body).await {
                Ok(response) => match retry::pause(&response, self.setup.backoff, attempt) {
                    // What was turned away at the door did nothing yet, so that it may come again.
                    Some(pause) if !last && (repeatable || (response.status() == 429 && !is_stream)) => {
                        let why = format!("{}: {}", response.at(), response.status());
                        response.discard().await;
                        (pause, why)
                    }
                    _ => return Ok(response),
                },
                Err(failure) => {
                    let may = match failure.again {
                        Again::Never => false,
                        Again::Refused => attempt < self.attempts().min(retry::MAX_CONNECTS),
                        Again::Broken => repeatable && !last,
                    };
                    if !may {
                        return Err(with_attempts(failure.error, attempt));
                    }
                    (
                        retry::backoff(self.setup.backoff, attempt),
                        failure.error.to_string(),
                    )
                }
            };
            self.wait(&why, pause).await;
            attempt += 1;
        }
    }

    /// The connections that a request goes over.
    fn client(&self, request: &Request) -> &awc::Client {
        let encrypted = request.url.scheme() == "https";
        match (encrypted, request.insecure || self.setup.insecure) {
            (false, _) => self.plain.get_or_init(|| self.make_client(None)),
            (true, false) => self
                .checked
                .get_or_init(|| self.make_client(Some(tls::checked(&self.extra_roots)))),
            (true, true) => self
                .unchecked
                .get_or_init(|| self.make_client(Some(tls::unchecked()))),
        }
    }

    fn make_client(&self, tls: Option<rustls::ClientConfig>) -> awc::Client {
        let step = self.setup.timeouts.connect;
        let dialer = dial::Dialer {
            tls: tls.map(std::sync::Arc::new),
            proxies: Rc::clone(&self.setup.proxies),
            step,
        };
        let connector = awc::Connector::new()
            .connector(dialer)
            // The dialer's own limit for each of its steps comes first.
            .timeout(step.saturating_mul(dial::STEPS + 1))
            .limit(MAX_CONNECTIONS);
        awc::Client::builder()
            .connector(connector)
            .disable_redirects()
            .disable_timeout()
            .no_default_headers()
            .finish()
    }
}

fn with_attempts(error: Error, tried: u32) -> Error {
    match error {
        Error::Unreachable { at, why, .. } => Error::Unreachable {
            at,
            why,
            attempts: tried,
        },
        other => other,
    }
}
