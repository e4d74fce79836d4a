//! Lists of tags and of repositories.

use super::{Answer, Request, blocking, pieces, request};
use crate::domain::Page;
use actix_web::{HttpResponse, http::header};
use oci::{Route, routes::query_value};

/// `GET /v2/<name>/tags/list`
///
/// Source: OCI distribution-spec 1.1, "Listing Tags".
pub(super) async fn tags(request: &Request<'_>, name: &str) -> Answer {
    let name = request::name(name)?;
    let (count, last) = (request.query_count()?, request.query("last").map(str::to_owned));
    let page = match request.registry.known_tags(&name, last.as_deref(), count) {
        Some(page) => page,
        None => {
            let name = name.clone();
            blocking(request.registry, move |r| r.tags(&name, last.as_deref(), count)).await?
        }
    };
    let before = format!("{{\"name\":\"{name}\",\"tags\":");
    Ok(paged(&Route::Tags(name), page, count, before))
}

/// `GET /v2/_catalog`
pub(super) async fn catalog(request: &Request<'_>) -> Answer {
    let (count, last) = (request.query_count()?, request.query("last").map(str::to_owned));
    let page = blocking(request.registry, move |r| r.catalog(last.as_deref(), count)).await?;
    Ok(paged(
        &Route::Catalog,
        page,
        count,
        "{\"repositories\":".to_owned(),
    ))
}

/// A page of names, after the beginning of its JSON object.
fn paged(route: &Route, page: Page, count: Option<usize>, before: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.content_type("application/json");
    if let (Some(next), Some(count)) = (&page.next, count) {
        let link = format!("<{route}?last={}&n={count}>; rel=\"next\"", query_value(next));
        response.insert_header((header::LINK, link));
    }
    response.body(pieces::joined([before.into(), page.json.into(), "}".into()]))
}
