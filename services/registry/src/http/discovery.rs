//! What the registry says of itself: `/v2/` and its extensions.

use super::{Answer, ApiError, Request};
use actix_web::HttpResponse;
use oci::RawRoute;
use serde_json::{Value, json};

/// `GET /v2/`
///
/// Source: OCI distribution-spec 1.1, "Determining Support".
pub(super) fn base() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body("{}")
}

/// The extensions of the registry, or of one repository.
pub(super) fn extensions(request: &Request<'_>, route: RawRoute<'_>) -> Answer {
    let capabilities = request.registry.capabilities();
    if !capabilities.extension_discovery {
        return Err(ApiError::NoRoute);
    }
    let in_repository = match route {
        RawRoute::DiscoverIn(name) => {
            super::request::name(name)?;
            true
        }
        _ => false,
    };
    let mut extensions = vec![extension(
        "_oci/ext",
        "https://github.com/opencontainers/distribution-spec/blob/main/extensions/_oci.md",
        "lists the extensions of this registry",
        &["_oci/ext/discover"],
    )];
    if capabilities.referrers && in_repository {
        extensions.push(extension(
            "_oci/artifacts",
            "https://github.com/opencontainers/wg-reference-types/blob/main/docs/proposals/PROPOSAL_E.md",
            "lists the manifests that refer to a manifest",
            &["_oci/artifacts/referrers"],
        ));
    }
    Ok(HttpResponse::Ok().json(json!({ "extensions": extensions })))
}

fn extension(name: &str, url: &str, description: &str, endpoints: &[&str]) -> Value {
    json!({"name": name, "url": url, "description": description, "endpoints": endpoints})
}
