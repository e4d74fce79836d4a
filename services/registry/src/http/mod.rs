//! The registry over HTTP: one table of routes, typed parts, and one place that answers errors. It knows no storage.
//!
//! There is one service for all paths, because a repository's name may hold slashes: [`oci::RawRoute`] reads a path from its
//! end. What is in memory is answered at once on the worker; everything else goes to the blocking pool.

mod blobs;
mod body;
mod discovery;
mod error;
mod gather;
mod lists;
mod manifests;
mod pieces;
mod receive;
mod referrers;
mod request;
mod uploads;

pub use error::ApiError;
pub use request::{RequestId, path_of};

use crate::domain::{self, Registry};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::RequestHead,
    http::{
        Method,
        header::{HeaderName, HeaderValue},
    },
    web,
};
use oci::RawRoute;
use request::Request;

/// Adds the registry's service to an application. It answers every path that no other service of the application takes.
///
/// The application holds a `web::Data<Registry>`. Who may do what is decided in front of it.
pub fn configure(config: &mut web::ServiceConfig) {
    config.default_service(web::to(serve));
}

/// The answer to a request for a manifest or a blob that is in memory: most of what a registry is asked. It takes no turn in the
/// queue of tasks, and the application need not look for a service. `None` where anything is to be waited for, or refused.
pub fn at_once(head: &RequestHead, registry: &Registry) -> Option<HttpResponse> {
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    let request = Request::read_head(head, registry).ok()?;
    let path = request.path();
    let mut response = match RawRoute::parse(&path)? {
        RawRoute::Manifest(name, reference) => manifests::known(&request, name, reference)?,
        RawRoute::Blob(name, digest) => blobs::known(&request, name, digest)?.ok()?,
        _ => return None,
    };
    response.headers_mut().insert(API_VERSION, REGISTRY_2_0);
    Some(response)
}

async fn serve(http: HttpRequest, registry: web::Data<Registry>, payload: web::Payload) -> HttpResponse {
    let answered = match Request::read(&http, registry.get_ref()) {
        Ok(request) => answer(request, payload).await,
        Err(error) => Err(error),
    };
    let mut response = answered.unwrap_or_else(|error| error.respond(&http));
    response.headers_mut().insert(API_VERSION, REGISTRY_2_0);
    response
}

const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
const REGISTRY_2_0: HeaderValue = HeaderValue::from_static("registry/2.0");

/// The result of answering a request.
type Answer = Result<HttpResponse, ApiError>;

/// The table of routes.
async fn answer(request: Request<'_>, payload: web::Payload) -> Answer {
    let path = request.path();
    let route = RawRoute::parse(&path).ok_or(ApiError::NoRoute)?;
    let method = request.method();
    match (route, method) {
        (RawRoute::Base, &Method::GET | &Method::HEAD) => Ok(discovery::base()),
        (RawRoute::Catalog, &Method::GET | &Method::HEAD) => lists::catalog(&request).await,
        (RawRoute::Discover | RawRoute::DiscoverIn(_), &Method::GET | &Method::HEAD) => {
            discovery::extensions(&request, route)
        }
        (RawRoute::Tags(name), &Method::GET | &Method::HEAD) => lists::tags(&request, name).await,
        (RawRoute::Manifest(name, reference), &Method::GET | &Method::HEAD) => {
            manifests::get(&request, name, reference).await
        }
        (RawRoute::Manifest(name, reference), &Method::PUT) => {
            manifests::put(&request, name, reference, payload).await
        }
        (RawRoute::Manifest(name, reference), &Method::DELETE) => {
            manifests::delete(&request, name, reference).await
        }
        (RawRoute::Blob(name, digest), &Method::GET) => blobs::get(&request, name, digest).await,
        (RawRoute::Blob(name, digest), &Method::HEAD) => blobs::head(&request, name, digest).await,
        (RawRoute::Blob(name, digest), &Method::DELETE) => blobs::delete(&request, name, digest).await,
        (RawRoute::Uploads(name), &Method::POST) => uploads::begin(&request, name, payload).await,
        (RawRoute::Upload(name, id), &Method::GET | &Method::HEAD) => {
            uploads::status(&request, name, id).await
        }
        (RawRoute::Upload(name, id), &Method::PATCH) => uploads::chunk(&request, name, id, payload).await,
        (RawRoute::Upload(name, id), &Method::PUT) => uploads::finish(&request, name, id, payload).await,
        (RawRoute::Upload(name, id), &Method::DELETE) => uploads::cancel(&request, name, id).await,
        (RawRoute::Referrers(name, digest), &Method::GET | &Method::HEAD) => {
            referrers::standard(&request, name, digest).await
        }
        (RawRoute::ArtifactReferrers(name), &Method::GET | &Method::HEAD) => {
            referrers::proposed(&request, name).await
        }
        (route, _) => Err(ApiError::MethodNotAllowed {
            allowed: allowed(route),
        }),
    }
}

/// The methods of a route, as an `Allow` header lists them.
fn allowed(route: RawRoute<'_>) -> &'static str {
    match route {
        RawRoute::Base
        | RawRoute::Catalog
        | RawRoute::Discover
        | RawRoute::DiscoverIn(_)
        | RawRoute::Tags(_)
        | RawRoute::Referrers(..)
        | RawRoute::ArtifactReferrers(_) => "GET, HEAD",
        RawRoute::Manifest(..) => "GET, HEAD, PUT, DELETE",
        RawRoute::Blob(..) => "GET, HEAD, DELETE",
        RawRoute::Uploads(_) => "POST",
        RawRoute::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    }
}

/// Runs what blocks on the blocking pool.
async fn blocking<T: Send + 'static>(
    registry: &Registry,
    work: impl FnOnce(&Registry) -> domain::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    let registry = registry.clone();
    match web::block(move || work(&registry)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ApiError::Stopping),
    }
}

/// Does what takes a look-up and a commit of this many bytes: at once where the storage is quick, else as [`blocking`]. To hand
/// little work to another thread and back costs more than the work.
async fn small_change<T: Send + 'static>(
    registry: &Registry,
    bytes: usize,
    work: impl FnOnce(&Registry) -> domain::Result<T> + Send + 'static,
) -> Result<T, ApiError> {
    /// More than this takes longer to copy than to hand over.
    const MOST: usize = 64 * 1024;

    if bytes <= MOST && registry.is_quick() {
        return Ok(work(registry)?);
    }
    blocking(registry, work).await
}

/// A header value of our own making, which is always valid; digests, sizes, paths.
fn value(text: impl Into<bytes::Bytes>) -> HeaderValue {
    HeaderValue::from_maybe_shared(text.into()).unwrap_or(HeaderValue::from_static(""))
}

/// Names of the headers that are not in the `http` crate.
mod names {
    use super::HeaderName;

    pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
    pub(super) const UPLOAD_UUID: HeaderName = HeaderName::from_static("docker-upload-uuid");
    pub(super) const OCI_SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
    pub(super) const OCI_TAG: HeaderName = HeaderName::from_static("oci-tag");
    pub(super) const OCI_FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
}

#[cfg(test)]
mod tests {
    use super::{API_VERSION, names};
    use oci::headers;

    #[test]
    fn header_names_are_those_of_the_vocabulary() {
        for (ours, shared) in [
            (API_VERSION, headers::API_VERSION),
            (names::CONTENT_DIGEST, headers::DOCKER_CONTENT_DIGEST),
            (names::UPLOAD_UUID, headers::UPLOAD_UUID),
            (names::OCI_SUBJECT, headers::OCI_SUBJECT),
            (names::OCI_TAG, headers::OCI_TAG),
            (names::OCI_FILTERS_APPLIED, headers::OCI_FILTERS_APPLIED),
        ] {
            assert_eq!(ours.as_str(), shared.to_ascii_lowercase());
        }
    }
}
