//! The referrers API, on both of its paths.

use super::{Answer, ApiError, Request, blocking, names, pieces, request};
use crate::domain::{MAX_PAGE_BYTES, ReferrerQuery};
use actix_web::{HttpResponse, http::header};
use oci::{Digest, Route, manifest::ANNOTATION_FILTERS_APPLIED, media_type, routes::query_value};

/// `GET /v2/<name>/referrers/<digest>`
///
/// Source: OCI distribution-spec 1.1, "Listing Referrers".
pub(super) async fn standard(request: &Request<'_>, name: &str, digest: &str) -> Answer {
    require_api(request)?;
    let (name, subject) = (request::name(name)?, request::digest(digest)?);
    list(
        request,
        Route::Referrers(name.clone(), subject),
        query(request, name, subject)?,
    )
    .await
}

/// `GET /v2/<name>/_oci/artifacts/referrers?digest=<digest>`
///
/// Source: Proposal E, "Referrers API".
pub(super) async fn proposed(request: &Request<'_>, name: &str) -> Answer {
    require_api(request)?;
    let name = request::name(name)?;
    let subject = request.query_digest("digest")?.ok_or(ApiError::DigestMissing)?;
    let route = Route::ArtifactReferrers(name.clone(), subject);
    list(request, route, query(request, name, subject)?).await
}

fn require_api(request: &Request<'_>) -> Result<(), ApiError> {
    if request.registry.capabilities().referrers {
        Ok(())
    } else {
        Err(ApiError::NoReferrers)
    }
}

fn query(
    request: &Request<'_>,
    name: oci::RepositoryName,
    subject: Digest,
) -> Result<ReferrerQuery, ApiError> {
    Ok(ReferrerQuery {
        name,
        subject,
        // A media type has no spaces: one there is a plus sign that the client did not escape.
        artifact_type: request
            .query("artifactType")
            .filter(|t| !t.is_empty())
            .map(|t| t.replace(' ', "+")),
        last: request.query_digest("last")?,
        max_bytes: MAX_PAGE_BYTES,
        max_count: request.query_count()?.filter(|n| *n > 0),
    })
}

async fn list(request: &Request<'_>, route: Route, query: ReferrerQuery) -> Answer {
    let filter = query.artifact_type.clone();
    let count = query.max_count;
    let page = match request.registry.known_referrers(&query) {
        Some(page) => page,
        None => blocking(request.registry, move |r| r.referrers(&query)).await?,
    };
    let mut response = HttpResponse::Ok();
    response.content_type(media_type::OCI_INDEX);
    let mut annotations = String::new();
    if filter.is_some() {
        response.insert_header((names::OCI_FILTERS_APPLIED, "artifactType"));
        annotations = format!(",\"annotations\":{{\"{ANNOTATION_FILTERS_APPLIED}\":\"artifactType\"}}");
    }
    if let Some(next) = page.next {
        response.insert_header((header::LINK, next_link(&route, filter.as_deref(), count, &next)));
    }
    let before = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"{}\",\"manifests\":[",
        media_type::OCI_INDEX
    );
    let after = format!("]{annotations}}}");
    Ok(response.body(pieces::joined([before.into(), page.json, after.into()])))
}

fn next_link(route: &Route, filter: Option<&str>, count: Option<usize>, next: &Digest) -> String {
    let mut target = route.to_string();
    let mut add = |key: &str, value: &str| {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(key);
        target.push('=');
        target.push_str(&query_value(value));
    };
    if let Some(filter) = filter {
        add("artifactType", filter);
    }
    if let Some(count) = count {
        add("n", &count.to_string());
    }
    add("last", &next.to_string());
    format!("<{target}>; rel=\"next\"")
}
