//! Blobs over HTTP.

use super::{Answer, ApiError, Request, blocking, names, pieces, pieces::Pieces, request, value};
use crate::{
    domain::{Blob, Error},
    storage::Content,
    wire::FilePart,
};
use actix_web::{
    HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
};
use bytes::Bytes;
use oci::{Digest, headers::ByteRange, media_type};
use std::{
    convert::Infallible,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

/// From this size on, a part of a file is sent by the kernel. Below it, what that takes costs more than a copy.
const FILE_PART_BYTES: u64 = 32 * 1024;

/// A body that has a length and no bytes: the answer to a HEAD.
struct LengthOnly(u64);

impl MessageBody for LengthOnly {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}

/// The answer to `GET` and `HEAD` of a blob, if all that it takes is in memory.
pub(super) fn known(request: &Request<'_>, name: &str, digest: &str) -> Option<Answer> {
    let (name, digest) = (request::name(name).ok()?, request::digest(digest).ok()?);
    match request.registry.known_blob(&name, &digest)? {
        Blob { size, .. } if request.method() == Method::HEAD => Some(Ok(length_of(&digest, size))),
        Blob {
            bytes: Some(bytes), ..
        } => Some(answer(request, &digest, Content::Memory(bytes))),
        Blob { bytes: None, .. } => None,
    }
}

/// `HEAD /v2/<name>/blobs/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Checking if content exists in the registry".
pub(super) async fn head(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    let (name, digest) = (request::name(name)?, request::digest(digest)?);
    let unknown = Error::BlobUnknown {
        name: name.clone(),
        digest,
    };
    let size = blocking(request.registry, move |r| r.blob_size(&name, &digest))
        .await?
        .ok_or(unknown)?;
    Ok(length_of(&digest, size))
}

fn length_of(digest: &Digest, size: u64) -> HttpResponse {
    response(StatusCode::OK, Texts::of(digest), BoxBody::new(LengthOnly(size)))
}

/// `GET /v2/<name>/blobs/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Pulling blobs"; RFC 9110, section 14.
pub(super) async fn get(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    let (name, digest) = (request::name(name)?, request::digest(digest)?);
    let range = wanted_range(request, &Texts::of(&digest).entity_tag);
    let content = blocking(request.registry, move |r| {
        let content = r.open_blob(&name, &digest)?;
        if is_a_part(range, content.len()) && matches!(content, Content::File(..)) {
            r.require_whole(&digest, &content)?;
        }
        Ok(content)
    })
    .await?;
    answer(request, &digest, content)
}

/// Whether a range leaves out some of the bytes; then nobody could tell from what is sent whether they are right.
fn is_a_part(range: Option<ByteRange>, size: u64) -> bool {
    range
        .and_then(|range| range.within(size))
        .is_some_and(|part| part != (0, size))
}

fn answer(request: &Request<'_>, digest: &Digest, content: Content) -> Answer {
    let texts = Texts::of(digest);
    if request.has_already(&texts.entity_tag) {
        let mut response = HttpResponse::NotModified().finish();
        texts.put(&mut response);
        return Ok(response);
    }
    let size = content.len();
    let Some(range) = wanted_range(request, &texts.entity_tag) else {
        return Ok(response_of(request, StatusCode::OK, digest, content, 0..size));
    };
    let (start, end) = range.within(size).ok_or(ApiError::RangeOutside { size })?;
    let status = StatusCode::PARTIAL_CONTENT;
    let mut response = response_of(request, status, digest, content, start..end);
    let range = value(format!("bytes {start}-{}/{size}", end - 1));
    response.headers_mut().insert(header::CONTENT_RANGE, range);
    Ok(response)
}

/// A digest as its two headers spell it.
struct Texts {
    digest: Bytes,
    entity_tag: Bytes,
}

impl Texts {
    fn of(digest: &Digest) -> Texts {
        let (algorithm, hex) = (digest.algorithm().name(), digest.hex());
        let entity_tag = Bytes::from(["\"", algorithm, ":", &hex, "\""].concat());
        Texts {
            digest: entity_tag.slice(1..entity_tag.len() - 1),
            entity_tag,
        }
    }

    fn put(self, response: &mut HttpResponse) {
        let headers = response.headers_mut();
        headers.insert(names::CONTENT_DIGEST, value(self.digest));
        headers.insert(header::ETAG, value(self.entity_tag));
    }
}

/// An answer that brings a blob or a part of it.
fn response(status: StatusCode, texts: Texts, body: BoxBody) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, body);
    texts.put(&mut response);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(media_type::OCTET_STREAM),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    response
}

/// The range asked for. With `If-Range`, only while the client has a part of the same content.
fn wanted_range(request: &Request<'_>, entity_tag: &[u8]) -> Option<ByteRange> {
    let range = ByteRange::parse(request.header(&header::RANGE)?)?;
    match request.header(&header::IF_RANGE) {
        Some(tag) if tag.trim().as_bytes() != entity_tag => None,
        _ => Some(range),
    }
}

/// An answer that brings a part of a content.
fn response_of(
    request: &Request<'_>,
    status: StatusCode,
    digest: &Digest,
    content: Content,
    part: Range<u64>,
) -> HttpResponse {
    let (texts, len) = (Texts::of(digest), part.end - part.start);
    // The kernel looks at no digest.
    let is_for_kernel = len >= FILE_PART_BYTES
        && matches!(content, Content::File(..))
        && request.registry.is_known_whole(digest, &content);
    match (content, request.outlet().filter(|_| is_for_kernel)) {
        (Content::File(file, _), Some(outlet)) => {
            let body = FilePart::new(outlet, file, part.start, part.end);
            let mut response = response(status, texts, BoxBody::new(body));
            // For the server it is a body of unknown length, so it leaves the header to us.
            response.head_mut().no_chunking(true);
            response.headers_mut().insert(header::CONTENT_LENGTH, len.into());
            response
        }
        (content, _) => response(status, texts, body_of(request, digest, content, part)),
    }
}

/// A part of a content as a body that goes through this process.
fn body_of(request: &Request<'_>, digest: &Digest, content: Content, part: Range<u64>) -> BoxBody {
    match content {
        Content::Memory(bytes) => {
            // Both ends are within the content, which is in memory.
            let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            pieces::body(bytes.slice(position(part.start)..position(part.end)))
        }
        Content::File(..) => {
            let pieces = Pieces::new(request.registry, *digest, content, part.start, part.end);
            BoxBody::new(pieces)
        }
    }
}

/// `DELETE /v2/<name>/blobs/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Deleting Blobs".
pub(super) async fn delete(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    let (name, digest) = (request::name(name)?, request::digest(digest)?);
    blocking(request.registry, move |r| r.delete_blob(&name, &digest)).await?;
    Ok(HttpResponse::Accepted().finish())
}
