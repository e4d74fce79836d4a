//! Uploads over HTTP: the four ways to push a blob, their status, and their cancelling.

use super::{Answer, ApiError, Request, blocking, names, receive, receive::Then, request, small_change};
use crate::domain::{Mounted, Registry, UploadStatus};
use actix_web::{HttpResponse, HttpResponseBuilder, http::header, web};
use oci::{Algorithm, Digest, DigestError, RepositoryName, Route, headers::parse_chunk_range};

/// `POST /v2/<name>/blobs/uploads/`: mounts a blob, or receives it whole, or begins a session.
///
/// Source: OCI distribution-spec main, "Pushing blobs" and "Mounting a blob from another repository".
pub(super) async fn begin(request: &Request<'_>, name: &str, payload: web::Payload) -> Answer {
    let name = request::name(name)?;
    let algorithm = algorithm(request)?;
    if let Some(digest) = request.query_digest("mount")? {
        let from = request
            .query("from")
            .filter(|from| !from.is_empty())
            .map(request::name)
            .transpose()?;
        let to = name.clone();
        let mount = move |r: &Registry| r.mount_blob(&to, &digest, from.as_ref());
        let mounted = small_change(request.registry, 0, mount).await?;
        return match mounted {
            Mounted::Yes => Ok(created(name, digest)),
            Mounted::No => begin_session(request, name, algorithm),
        };
    }
    match request.query_digest("digest")? {
        Some(digest) => {
            let (to, client) = (name.clone(), request.client());
            let open = move |r: &Registry| r.receive_once(&to, digest.algorithm(), client);
            let then = Then::Finish(digest, request.content_length());
            receive::receive(request, payload, open, true, then).await?;
            Ok(created(name, digest))
        }
        None => begin_session(request, name, algorithm),
    }
}

fn algorithm(request: &Request<'_>) -> Result<Option<Algorithm>, ApiError> {
    request
        .query("digest-algorithm")
        .map(|text| {
            Algorithm::from_name(text).ok_or_else(|| {
                ApiError::Digest(DigestError::UnsupportedAlgorithm {
                    algorithm: text.chars().take(40).collect(),
                })
            })
        })
        .transpose()
}

/// Beginning a session touches nothing but memory.
fn begin_session(request: &Request<'_>, name: RepositoryName, algorithm: Option<Algorithm>) -> Answer {
    let status = request
        .registry
        .begin_upload(&name, algorithm, request.client())?;
    Ok(session(HttpResponse::Accepted(), name, &status))
}

/// `GET <session>`: how far it is.
pub(super) async fn status(request: &Request<'_>, name: &str, id: &str) -> Answer {
    let (name, id) = (request::name(name)?, id.to_owned());
    let of = name.clone();
    let status = blocking(request.registry, move |r| r.upload_status(&of, &id)).await?;
    Ok(session(HttpResponse::NoContent(), name, &status))
}

/// `PATCH <session>`: a chunk, or a stream without `Content-Range`.
pub(super) async fn chunk(request: &Request<'_>, name: &str, id: &str, payload: web::Payload) -> Answer {
    let name = request::name(name)?;
    let range = chunk_range(request)?;
    let open = opener(&name, id, range);
    let then = Then::Pause(stated_length(request, range));
    let status = receive::receive(request, payload, open, false, then).await?;
    Ok(session(HttpResponse::Accepted(), name, &status))
}

/// `PUT <session>?digest=<digest>`: the last chunk, if any, and the end.
pub(super) async fn finish(request: &Request<'_>, name: &str, id: &str, payload: web::Payload) -> Answer {
    let name = request::name(name)?;
    let digest = request.query_digest("digest")?.ok_or(ApiError::DigestMissing)?;
    let range = chunk_range(request)?;
    let open = opener(&name, id, range);
    let is_new = request.registry.is_new_upload(&name, id);
    let then = Then::Finish(digest, stated_length(request, range));
    receive::receive(request, payload, open, is_new, then).await?;
    Ok(created(name, digest))
}

fn opener(
    name: &RepositoryName,
    id: &str,
    range: Option<(u64, u64)>,
) -> impl FnOnce(&Registry) -> crate::domain::Result<crate::domain::Receiving> + Send + 'static {
    let (name, id) = (name.clone(), id.to_owned());
    move |r| r.receive(&name, &id, range.map(|(start, _)| start))
}

/// The range of a chunk. An empty body has none, whatever its header says: some clients close with `0-0` or `<n>-<n-1>`.
fn chunk_range(request: &Request<'_>) -> Result<Option<(u64, u64)>, ApiError> {
    let Some(text) = request.header(&header::CONTENT_RANGE) else {
        return Ok(None);
    };
    match parse_chunk_range(text) {
        Some(range) => Ok(Some(range)),
        None if request.content_length() == Some(0) => Ok(None),
        None => Err(ApiError::BadContentRange {
            text: text.chars().take(80).collect(),
        }),
    }
}

/// How many bytes the body should have, by its range or its length.
fn stated_length(request: &Request<'_>, range: Option<(u64, u64)>) -> Option<u64> {
    match range {
        Some((start, end)) => Some((end - start).saturating_add(1)),
        None => request.content_length(),
    }
}

/// `DELETE <session>`: it and its bytes go.
///
/// Source: OCI distribution-spec main, "Cancel a blob upload".
pub(super) async fn cancel(request: &Request<'_>, name: &str, id: &str) -> Answer {
    let (name, id) = (request::name(name)?, id.to_owned());
    blocking(request.registry, move |r| r.cancel_upload(&name, &id)).await?;
    Ok(HttpResponse::NoContent().finish())
}

fn created(name: RepositoryName, digest: Digest) -> HttpResponse {
    HttpResponse::Created()
        .insert_header((header::LOCATION, Route::Blob(name, digest).to_string()))
        .insert_header((names::CONTENT_DIGEST, digest.to_string()))
        .finish()
}

fn session(mut response: HttpResponseBuilder, name: RepositoryName, status: &UploadStatus) -> HttpResponse {
    let location = Route::Upload(name, status.id.clone()).to_string();
    session_headers(&mut response, &location, &status.id, status.received);
    response.finish()
}

/// Where a session is and how far. `Range` has both ends included, so that nothing received looks like one byte; clients of
/// this protocol know a beginning by that.
pub(super) fn session_headers(response: &mut HttpResponseBuilder, location: &str, id: &str, received: u64) {
    response
        .insert_header((header::LOCATION, location))
        .insert_header((header::RANGE, format!("0-{}", received.saturating_sub(1))))
        .insert_header((names::UPLOAD_UUID, id));
}
