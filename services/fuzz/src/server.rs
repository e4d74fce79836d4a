//! A registry on the memory store, asked as its server asks it: what memory answers at once never comes to the service.
//!
//! What a reader is answered at once, the service must answer, too. And a second registry, which is opened on the same store at that
//! moment and so remembers nothing, must answer as the first: memory is never other than what is stored.

use actix_http::Request;
use actix_web::{
    App, HttpResponse,
    body::{BodySize, MessageBody, to_bytes},
    dev::{Service, ServiceResponse},
    http::{
        Method, Uri,
        header::{HeaderMap, HeaderName, HeaderValue},
    },
    test::{TestRequest, init_service},
    web::{Bytes, Data},
};
use oci::RawRoute;
use registry::{
    domain::{Capabilities, Limits, Registry},
    http,
    storage::{Storage, memory::Memory},
};
use serde_json::Value;
use std::sync::Arc;

/// The registry's service.
pub trait Application: Service<Request, Response = ServiceResponse, Error = actix_web::Error> {}

impl<S: Service<Request, Response = ServiceResponse, Error = actix_web::Error>> Application for S {}

/// A registry with its service, and its store.
pub struct Server<S> {
    /// The registry.
    pub registry: Registry,
    application: S,
    store: Arc<dyn Storage>,
}

/// What a server hands on.
pub struct Asked {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// In their order.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

impl Asked {
    /// A `GET` with nothing beside it.
    pub fn get(target: &str) -> Asked {
        Asked {
            method: Method::GET,
            uri: target.parse().expect("a target"),
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    fn request(&self) -> Request {
        let mut request = TestRequest::default()
            .method(self.method.clone())
            .uri(&self.uri.to_string());
        for header in &self.headers {
            request = request.append_header(header.clone());
        }
        request.set_payload(self.body.clone()).to_request()
    }

    /// Whether all of the answer is to be found in the store. The size of a session is known to its registry alone.
    fn is_of_what_is_stored(&self) -> bool {
        let is_session = http::path_of(self.uri.path())
            .is_ok_and(|path| matches!(RawRoute::parse(&path), Some(RawRoute::Upload(..))));
        matches!(self.method, Method::GET | Method::HEAD) && !is_session
    }
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names and values in ASCII order.
    headers: Vec<(String, String)>,
    /// What `Content-Length` is made of.
    size: BodySize,
    /// The body; to a `HEAD`, it is not sent.
    pub body: Bytes,
}

impl Answer {
    async fn read(response: HttpResponse) -> Answer {
        let size = response.body().size();
        Answer {
            status: response.status().as_u16(),
            headers: texts(response.headers()),
            size,
            body: to_bytes(response.into_body()).await.expect("a whole body"),
        }
    }

    /// The first value of a header, whose name is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The body.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.to_str().expect("text in a header").to_owned();
    let mut texts: Vec<_> = headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), text(value)))
        .collect();
    // Stable: values of one name keep their order.
    texts.sort_by(|(one, _), (other, _)| one.cmp(other));
    texts
}

/// Opens a registry on a store that is empty.
pub async fn open(can: Capabilities, limits: Limits) -> Server<impl Application> {
    let store: Arc<dyn Storage> = Arc::new(Memory::new());
    let registry = Registry::open(Arc::clone(&store), can, limits).expect("a registry");
    Server {
        application: application(registry.clone()).await,
        registry,
        store,
    }
}

async fn application(registry: Registry) -> impl Application {
    init_service(
        App::new()
            .app_data(Data::new(registry))
            .configure(http::configure),
    )
    .await
}

impl<S: Application> Server<S> {
    /// Answers a request.
    pub async fn ask(&self, asked: &Asked) -> Answer {
        let request = asked.request();
        let at_once = match http::at_once(request.head(), &self.registry) {
            Some(response) => Some(Answer::read(response).await),
            None => None,
        };
        let answer = call(&self.application, request).await;
        let said = || format!("{} {} {:?}", asked.method, asked.uri, asked.headers);
        if let Some(at_once) = at_once {
            assert_eq!(at_once, answer, "at once, and by the service: {}", said());
        }
        if asked.is_of_what_is_stored() {
            let afresh = call(&application(self.afresh()).await, asked.request()).await;
            assert_eq!(answer, afresh, "remembered, and stored: {}", said());
        }
        answer
    }

    /// The same registry, but for what it remembers.
    fn afresh(&self) -> Registry {
        let (can, limits) = (self.registry.capabilities(), self.registry.limits());
        Registry::open(Arc::clone(&self.store), can.clone(), limits.clone()).expect("a registry")
    }

    /// The answer to a `GET`.
    pub async fn get(&self, target: &str) -> Answer {
        self.ask(&Asked::get(target)).await
    }
}

async fn call(application: &impl Application, request: Request) -> Answer {
    let answered = application.call(request).await;
    Answer::read(answered.expect("the service answers errors itself").into()).await
}
