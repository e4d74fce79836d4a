//! Blobs over HTTP.

use super::{Answer, ApiError, Request, blocking, body::Pieces, names, request, value};
use crate::domain::{Blob, Error};
use crate::storage::Content;
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    body::{BodySize, MessageBody},
    http::header,
};
use bytes::Bytes;
use oci::{Digest, headers::ByteRange, media_type};
use std::{
    convert::Infallible,
    ops::Range,
    pin::Pin,
    task::{Context, Poll},
};

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

/// `HEAD /v2/<name>/blobs/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Checking if content exists in the registry".
pub(super) async fn head(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    let (name, digest) = (request::name(name)?, request::digest(digest)?);
    let size = match request.registry.known_blob(&name, &digest) {
        Some(Blob { size, .. }) => size,
        None => {
            let unknown = Error::BlobUnknown {
                name: name.clone(),
                digest,
            };
            blocking(request.registry, move |r| r.blob_size(&name, &digest))
                .await?
                .ok_or(unknown)?
        }
    };
    let mut response = HttpResponse::Ok();
    blob_headers(&mut response, &digest);
    Ok(response.body(LengthOnly(size)))
}

/// `GET /v2/<name>/blobs/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Pulling blobs"; RFC 9110, section 14.
pub(super) async fn get(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    let (name, digest) = (request::name(name)?, request::digest(digest)?);
    let content = match request.registry.known_blob(&name, &digest) {
        Some(Blob {
            bytes: Some(bytes), ..
        }) => Content::Memory(bytes),
        Some(Blob { bytes: None, .. }) | None => {
            blocking(request.registry, move |r| r.open_blob(&name, &digest)).await?
        }
    };
    let entity_tag = format!("\"{digest}\"");
    if request.has_already(entity_tag.as_bytes()) {
        let mut response = HttpResponse::NotModified();
        return Ok(response
            .insert_header((header::ETAG, entity_tag))
            .insert_header((names::CONTENT_DIGEST, digest.to_string()))
            .finish());
    }
    let size = content.len();
    let Some(range) = wanted_range(request, &entity_tag) else {
        let mut response = HttpResponse::Ok();
        blob_headers(&mut response, &digest);
        return Ok(send(request, response, &digest, content, 0..size));
    };
    let (start, end) = range.within(size).ok_or(ApiError::RangeOutside { size })?;
    let mut response = HttpResponse::PartialContent();
    blob_headers(&mut response, &digest);
    response.insert_header((header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1)));
    Ok(send(request, response, &digest, content, start..end))
}

/// The range asked for. With `If-Range`, only while the client has a part of the same content.
fn wanted_range(request: &Request<'_>, entity_tag: &str) -> Option<ByteRange> {
    let range = ByteRange::parse(request.header(&header::RANGE)?)?;
    match request.header(&header::IF_RANGE) {
        Some(tag) if tag.trim() != entity_tag => None,
        _ => Some(range),
    }
}

fn blob_headers(response: &mut HttpResponseBuilder, digest: &Digest) {
    let text = Bytes::from(format!("\"{digest}\""));
    response
        .insert_header((header::CONTENT_TYPE, media_type::OCTET_STREAM))
        .insert_header((header::ACCEPT_RANGES, "bytes"))
        .insert_header((names::CONTENT_DIGEST, value(text.slice(1..text.len() - 1))))
        .insert_header((header::ETAG, value(text)));
}

fn send(
    request: &Request<'_>,
    mut response: HttpResponseBuilder,
    digest: &Digest,
    content: Content,
    part: Range<u64>,
) -> HttpResponse {
    match content {
        Content::Memory(bytes) => {
            // Both ends are within the content, which is in memory.
            let position = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            response.body(bytes.slice(position(part.start)..position(part.end)))
        }
        Content::File(..) => response.body(Pieces::new(
            request.registry,
            *digest,
            content,
            part.start,
            part.end,
        )),
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
