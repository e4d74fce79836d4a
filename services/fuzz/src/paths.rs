//! Paths and queries: what decides about access and what answers read the same path, and routes agree with expressions.

use crate::grammar::whole;
use oci::{Digest, ManifestRef, RawRoute, RepositoryName, Route, routes};
use regex_lite::Regex;
use registry::http::path_of;
use std::sync::LazyLock;

/// Any text as a path and as a query.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(decoded) = path_of(text) {
        decoding(text, &decoded);
        routing(&decoded);
    }
    routing(text);
    queries(text);
}

/// No escape may add to a path what divides or ends it.
fn decoding(raw: &str, decoded: &str) {
    for divides in ['/', '\\', '\0'] {
        assert_eq!(
            decoded.matches(divides).count(),
            raw.matches(divides).count(),
            "{raw:?} hides {divides:?}"
        );
    }
    if !raw.contains('%') {
        assert_eq!(decoded, raw);
    }
}

/// How to make the route of what an expression found.
type Make = fn(String, String) -> Named;

/// A route with its parts, owned.
type Named = (&'static str, String, String);

/// The endpoints of distribution-spec 1.1, "Endpoints", and of the extensions, those with longer endings first.
static ENDPOINTS: LazyLock<Vec<(Regex, Make)>> = LazyLock::new(|| {
    let table: [(&str, Make); 11] = [
        ("/v2/?", |_, _| ("base", String::new(), String::new())),
        ("/v2/_catalog", |_, _| ("catalog", String::new(), String::new())),
        ("/v2/_oci/ext/discover", |_, _| {
            ("discover", String::new(), String::new())
        }),
        ("/v2/(.+)/tags/list()", |name, _| ("tags", name, String::new())),
        ("/v2/(.+)/blobs/uploads()/?", |name, _| {
            ("uploads", name, String::new())
        }),
        ("/v2/(.+)/_oci/artifacts/referrers()", |name, _| {
            ("proposed", name, String::new())
        }),
        ("/v2/(.+)/_oci/ext/discover()", |name, _| {
            ("discover-in", name, String::new())
        }),
        ("/v2/(.+)/manifests/([^/]+)", |name, last| {
            ("manifest", name, last)
        }),
        ("/v2/(.+)/blobs/uploads/([^/]+)", |name, last| {
            ("upload", name, last)
        }),
        ("/v2/(.+)/blobs/([^/]+)", |name, last| ("blob", name, last)),
        ("/v2/(.+)/referrers/([^/]+)", |name, last| {
            ("referrers", name, last)
        }),
    ];
    table
        .into_iter()
        .map(|(expression, make)| (whole(&format!("(?s:{expression})")), make))
        .collect()
});

fn routing(path: &str) {
    let route = RawRoute::parse(path);
    let expected = ENDPOINTS.iter().find_map(|(expression, make)| {
        let parts = expression.captures(path)?;
        let part = |n| parts.get(n).map_or(String::new(), |p| p.as_str().to_owned());
        Some(make(part(1), part(2)))
    });
    assert_eq!(route.map(named), expected, "{path:?}");
    if let Some(written) = route.and_then(checked) {
        let written = written.to_string();
        let again = written.split('?').next().unwrap_or_default();
        assert_eq!(RawRoute::parse(again), route, "{path:?} is written {written:?}");
    }
}

fn named(route: RawRoute<'_>) -> Named {
    let (kind, name, last) = match route {
        RawRoute::Base => ("base", "", ""),
        RawRoute::Catalog => ("catalog", "", ""),
        RawRoute::Discover => ("discover", "", ""),
        RawRoute::DiscoverIn(name) => ("discover-in", name, ""),
        RawRoute::Tags(name) => ("tags", name, ""),
        RawRoute::Uploads(name) => ("uploads", name, ""),
        RawRoute::ArtifactReferrers(name) => ("proposed", name, ""),
        RawRoute::Manifest(name, last) => ("manifest", name, last),
        RawRoute::Upload(name, last) => ("upload", name, last),
        RawRoute::Blob(name, last) => ("blob", name, last),
        RawRoute::Referrers(name, last) => ("referrers", name, last),
    };
    (kind, name.to_owned(), last.to_owned())
}

/// The route that would be written, if its parts are what they should be.
fn checked(route: RawRoute<'_>) -> Option<Route> {
    let name = |text| RepositoryName::parse(text).ok();
    let digest = |text| Digest::parse(text).ok();
    Some(match route {
        RawRoute::Base => Route::Base,
        RawRoute::Catalog => Route::Catalog,
        RawRoute::Discover => Route::Discover,
        RawRoute::DiscoverIn(of) => Route::DiscoverIn(name(of)?),
        RawRoute::Tags(of) => Route::Tags(name(of)?),
        RawRoute::Uploads(of) => Route::Uploads(name(of)?),
        RawRoute::Manifest(of, last) => Route::Manifest(name(of)?, ManifestRef::parse(last).ok()?),
        RawRoute::Blob(of, last) => Route::Blob(name(of)?, digest(last)?),
        RawRoute::Referrers(of, last) => Route::Referrers(name(of)?, digest(last)?),
        RawRoute::Upload(..) | RawRoute::ArtifactReferrers(_) => return None,
    })
}

/// Any two texts survive being written into a query.
fn queries(text: &str) {
    let _ = routes::query_pairs(text);
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    let (key, value) = (key.to_owned(), value.to_owned());
    let query = format!(
        "{}={}&n=1",
        routes::query_value(&key),
        routes::query_value(&value)
    );
    let last = ("n".to_owned(), "1".to_owned());
    assert_eq!(
        routes::query_pairs(&query),
        Some(vec![(key, value), last]),
        "{query}"
    );
}
