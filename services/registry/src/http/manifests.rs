//! Manifests over HTTP.

use super::{Answer, ApiError, Request, blocking, body, names, pieces, request, small_change, value};
use crate::domain::{Error, Manifest, ManifestPush};
use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use oci::{ManifestRef, RepositoryName, Route, Tag};

/// The most tags that one push by digest may set.
///
/// Source: OCI distribution-spec main, "Pushing Manifests": at least 10.
const MAX_TAGS: usize = 100;

/// `GET` and `HEAD /v2/<name>/manifests/<reference>`
///
/// Source: OCI distribution-spec 1.1, "Pulling manifests".
pub(super) async fn get(request: &Request<'_>, name: &str, reference: &str) -> Answer {
    let (name, reference) = existing(name, reference)?;
    let manifest = blocking(request.registry, move |r| r.manifest(&name, &reference)).await?;
    Ok(manifest_response(request, &manifest))
}

/// The answer to `GET` and `HEAD` of a manifest, if it is in memory.
pub(super) fn known(request: &Request<'_>, name: &str, reference: &str) -> Option<HttpResponse> {
    let (name, reference) = existing(name, reference).ok()?;
    let manifest = request.registry.known_manifest(&name, &reference)?;
    Some(manifest_response(request, &manifest))
}

/// A manifest's headers, made once: checking that a text may be a header costs more than all else in an answer.
#[derive(Clone)]
struct Headers {
    digest: HeaderValue,
    entity_tag: HeaderValue,
    media_type: HeaderValue,
}

impl Headers {
    fn of(manifest: &Manifest) -> Headers {
        manifest.kept.get_or(|| Headers {
            digest: value(manifest.digest_text.clone()),
            entity_tag: value(format!("\"{}\"", manifest.digest)),
            media_type: HeaderValue::from_maybe_shared(manifest.media_type.clone())
                .unwrap_or(HeaderValue::from_static(oci::media_type::OCTET_STREAM)),
        })
    }
}

fn manifest_response(request: &Request<'_>, manifest: &Manifest) -> HttpResponse {
    let ready = Headers::of(manifest);
    let mut response = if request.has_already(ready.entity_tag.as_bytes()) {
        HttpResponse::NotModified().finish()
    } else {
        let mut response = HttpResponse::with_body(StatusCode::OK, pieces::body(manifest.body.clone()));
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, ready.media_type);
        response
    };
    let headers = response.headers_mut();
    headers.insert(names::CONTENT_DIGEST, ready.digest);
    headers.insert(header::ETAG, ready.entity_tag);
    response
}

/// The parts of a path to a manifest that should be there. What is not a tag cannot be there.
fn existing(name: &str, reference: &str) -> Result<(RepositoryName, ManifestRef), ApiError> {
    let name = request::name(name)?;
    match request::reference(reference) {
        Err(ApiError::Name(error)) => Err(ApiError::NoSuchTag(error)),
        other => Ok((name, other?)),
    }
}

/// `PUT /v2/<name>/manifests/<reference>`
///
/// Source: OCI distribution-spec main, "Pushing Manifests".
pub(super) async fn put(request: &Request<'_>, name: &str, reference: &str, payload: web::Payload) -> Answer {
    let name = request::name(name)?;
    let reference = request::reference(reference)?;
    let tags = tags(request)?;
    let limit = request.registry.limits().max_manifest_bytes;
    let body = body::collect(request, payload, limit)
        .await?
        .ok_or(Error::ManifestTooLarge { limit })?;
    let _turn = body.turn().await;
    let push = ManifestPush {
        name: name.clone(),
        reference,
        tags: tags.clone(),
        content_type: request.header(&header::CONTENT_TYPE).map(without_parameters),
        body: body.bytes.clone(),
        expect: request.expect(),
    };
    let len = push.body.len();
    let pushed = small_change(request.registry, len, move |r| r.push_manifest(push)).await?;
    let mut response = HttpResponse::Created();
    response
        .insert_header((
            header::LOCATION,
            Route::Manifest(name, pushed.digest.into()).to_string(),
        ))
        .insert_header((names::CONTENT_DIGEST, pushed.digest.to_string()))
        .insert_header((header::ETAG, format!("\"{}\"", pushed.digest)));
    for subject in &pushed.subjects {
        response.append_header((names::OCI_SUBJECT, subject.to_string()));
    }
    for tag in &tags {
        response.append_header((names::OCI_TAG, tag.as_str()));
    }
    Ok(response.finish())
}

/// The tags in the query of a push.
fn tags(request: &Request<'_>) -> Result<Vec<Tag>, ApiError> {
    let count = request.query_all("tag").count();
    if count > MAX_TAGS {
        return Err(ApiError::TooManyTags {
            count,
            limit: MAX_TAGS,
        });
    }
    request
        .query_all("tag")
        .map(|text| Ok(Tag::parse(text)?))
        .collect()
}

/// A media type as it was written, but for its parameters.
fn without_parameters(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// `DELETE /v2/<name>/manifests/<reference>`
///
/// Source: OCI distribution-spec 1.1, "Deleting tags" and "Deleting Manifests".
pub(super) async fn delete(request: &Request<'_>, name: &str, reference: &str) -> Answer {
    let (name, reference) = existing(name, reference)?;
    let expect = request.expect();
    blocking(request.registry, move |r| match &reference {
        ManifestRef::Tag(tag) => r.delete_tag(&name, tag, &expect),
        ManifestRef::Digest(digest) => r.delete_manifest(&name, digest),
    })
    .await?;
    Ok(HttpResponse::Accepted().finish())
}
