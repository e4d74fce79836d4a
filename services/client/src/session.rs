//! A request to a registry: its credentials, its redirects, and the answer as a success or a fact.

use crate::{
    Asked, Error, Result,
    auth::{Auth, For, Scopes},
    client::Inner,
    settings::Endpoint,
    transport::{Body, Method, Request, Response, header},
};
use oci::headers::Challenge;
use std::rc::Rc;
use url::Url;

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 8;
/// How often a 401 is answered: once with what the challenge asks for, once more with a fresh token.
const MAX_CHALLENGES: usize = 2;

/// A registry as requests see it.
#[derive(Clone)]
pub(crate) struct Session {
    pub inner: Rc<Inner>,
    /// The name as written.
    pub name: Rc<str>,
    pub endpoint: Endpoint,
}

/// A request, before credentials.
pub(crate) struct Ask {
    pub method: Method,
    pub url: Url,
    pub headers: Vec<(header::HeaderName, String)>,
    pub body: Body,
    pub scopes: Scopes,
    pub repeatable: bool,
}

impl Ask {
    /// A request without a body that may be repeated.
    pub(crate) fn new(method: Method, url: Url, scopes: Scopes) -> Ask {
        Ask {
            method,
            url,
            headers: Vec::new(),
            body: Body::Empty,
            scopes,
            repeatable: true,
        }
    }

    pub(crate) fn header(mut self, name: header::HeaderName, value: impl Into<String>) -> Ask {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn body(mut self, body: Body) -> Ask {
        self.body = body;
        self
    }

    /// Sending it twice would do harm.
    pub(crate) fn once(mut self) -> Ask {
        self.repeatable = false;
        self
    }
}

impl Session {
    /// The URL of a path of the registry.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.endpoint.base.clone();
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        url.set_path(path);
        url.set_query(query);
        url
    }

    fn whom(&self) -> For<'_> {
        For {
            transport: &self.inner.transport,
            registry: &self.name,
            endpoint: &self.endpoint,
        }
    }

    fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    /// Whether a URL is the registry's own, so that its credentials may go there.
    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.base.origin()
    }

    /// Sends a request with what credentials it needs, and follows redirects of GET and HEAD.
    ///
    /// # Errors
    /// Every failure without an answer, a 401, and redirects that lead nowhere. Other statuses are the caller's.
    pub(crate) async fn send(&self, ask: Ask) -> Result<Response> {
        let (method, headers) = (ask.method.clone(), ask.headers.clone());
        let follows = method == Method::GET || method == Method::HEAD;
        let mut response = self.authorised(ask).await?;
        let mut seen = vec![response.url().clone()];
        while follows && matches!(response.status(), 301 | 302 | 303 | 307 | 308) {
            let target = self.redirect_target(&response, &seen)?;
            seen.push(target.clone());
            response.discard().await;
            let mut next = Ask::new(method.clone(), target.clone(), Scopes::new());
            next.headers.clone_from(&headers);
            response = match self.is_own(&target) {
                true => self.authorised(next).await?,
                false => self.plain(next).await?,
            };
        }
        Ok(response)
    }

    fn redirect_target(&self, response: &Response, seen: &[Url]) -> Result<Url> {
        let bad = |why: String| Error::BadRedirect {
            at: Box::new(response.at()),
            why,
        };
        let target = response.location()?;
        let shown = crate::redact::url(target.as_str());
        if seen.contains(&target) {
            return Err(bad(format!("in a loop, back to {shown}")));
        }
        if seen.len() > MAX_REDIRECTS {
            return Err(bad(format!("more than {MAX_REDIRECTS} times, lastly to {shown}")));
        }
        if self.endpoint.base.scheme() == "https" && target.scheme() != "https" {
            return Err(bad(format!("from https to plain http: {shown}")));
        }
        Ok(target)
    }

    /// Sends a request elsewhere, without credentials.
    async fn plain(&self, ask: Ask) -> Result<Response> {
        self.inner.transport.send(self.request(ask, None, false)).await
    }

    async fn authorised(&self, ask: Ask) -> Result<Response> {
        if !self.is_own(&ask.url) {
            return self.plain(ask).await;
        }
        let at = Asked {
            method: ask.method.to_string(),
            url: crate::redact::url(ask.url.as_str()),
        };
        let mut scopes = ask.scopes.clone();
        let mut sent = self.auth().header(&self.whom(), &scopes, &at).await?;
        let mut spare = ask.spare();
        let insecure = self.endpoint.insecure;
        let mut response = self
            .inner
            .transport
            .send(self.request(ask, sent.as_deref(), insecure))
            .await?;
        for _ in 0..MAX_CHALLENGES {
            if response.status() != 401 {
                return Ok(response);
            }
            let challenges: Vec<Challenge> = response
                .headers(&header::WWW_AUTHENTICATE)
                .iter()
                .flat_map(|value| Challenge::parse_all(value))
                .collect();
            let worth_it = self
                .auth()
                .challenged(&self.whom(), &mut scopes, &challenges, sent.as_deref());
            let Some(again) = spare.take().filter(|_| worth_it) else {
                break;
            };
            sent = match self.auth().header(&self.whom(), &scopes, &at).await? {
                Some(header) => Some(header),
                None => break,
            };
            response.discard().await;
            spare = again.spare();
            response = self
                .inner
                .transport
                .send(self.request(again, sent.as_deref(), insecure))
                .await?;
        }
        match response.status() {
            401 => Err(response.into_error("it").await),
            _ => Ok(response),
        }
    }

    fn request(&self, ask: Ask, authorization: Option<&str>, insecure: bool) -> Request {
        let mut headers = ask.headers;
        if let Some(value) = authorization {
            headers.push((header::AUTHORIZATION, value.to_owned()));
        }
        Request {
            method: ask.method,
            url: ask.url,
            headers,
            body: ask.body,
            repeatable: ask.repeatable,
            registry: Rc::clone(&self.name),
            insecure,
            secret: false,
        }
    }
}

impl Ask {
    /// The same request again, unless its body is a stream.
    fn spare(&self) -> Option<Ask> {
        let body = match &self.body {
            Body::Empty => Body::Empty,
            Body::Bytes(bytes) => Body::Bytes(bytes.clone()),
            Body::Stream(..) => return None,
        };
        Some(Ask {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            body,
            scopes: self.scopes.clone(),
            repeatable: self.repeatable,
        })
    }
}
