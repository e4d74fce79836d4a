//! The paths of a registry: one table read by the registry and written by the client.
//!
//! A path is split without copying; names and digests in it are checked by whoever acts on them, because each has an error
//! code of its own.

use crate::{Digest, ManifestRef, RepositoryName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;

/// A path as it came, split but not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawRoute<'a> {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover`
    Discover,
    /// `/v2/<name>/_oci/ext/discover`
    DiscoverIn(&'a str),
    /// `/v2/<name>/tags/list`
    Tags(&'a str),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(&'a str, &'a str),
    /// `/v2/<name>/blobs/<digest>`
    Blob(&'a str, &'a str),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(&'a str),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(&'a str, &'a str),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(&'a str, &'a str),
    /// `/v2/<name>/_oci/artifacts/referrers`, the digest in the query
    ArtifactReferrers(&'a str),
}

impl<'a> RawRoute<'a> {
    /// Splits a path, already percent-decoded, without its query; `None` if no route has that shape.
    ///
    /// The name may hold slashes, so the path is read from its end.
    pub fn parse(path: &'a str) -> Option<RawRoute<'a>> {
        let rest = path.strip_prefix("/v2")?;
        if rest.is_empty() || rest == "/" {
            return Some(RawRoute::Base);
        }
        let rest = rest.strip_prefix('/')?;
        match rest {
            "_catalog" => return Some(RawRoute::Catalog),
            "_oci/ext/discover" => return Some(RawRoute::Discover),
            _ => {}
        }
        for (suffix, route) in SUFFIXES {
            if let Some(name) = rest.strip_suffix(suffix).filter(|name| !name.is_empty()) {
                return Some(route(name));
            }
        }
        let (before, last) = rest.rsplit_once('/')?;
        if last.is_empty() {
            return None;
        }
        for (infix, route) in INFIXES {
            if let Some(name) = before.strip_suffix(infix).filter(|name| !name.is_empty()) {
                return Some(route(name, last));
            }
        }
        None
    }
}

/// How to make a route of a name.
type NameAlone = for<'a> fn(&'a str) -> RawRoute<'a>;

/// How to make a route of a name and what follows it.
type NameAndLast = for<'a> fn(&'a str, &'a str) -> RawRoute<'a>;

/// Routes that end in a fixed text.
const SUFFIXES: &[(&str, NameAlone)] = &[
    ("/tags/list", |name| RawRoute::Tags(name)),
    ("/blobs/uploads/", |name| RawRoute::Uploads(name)),
    ("/blobs/uploads", |name| RawRoute::Uploads(name)),
    ("/_oci/artifacts/referrers", |name| {
        RawRoute::ArtifactReferrers(name)
    }),
    ("/_oci/ext/discover", |name| RawRoute::DiscoverIn(name)),
];

/// Routes that end in one variable part.
const INFIXES: &[(&str, NameAndLast)] = &[
    ("/manifests", |name, last| RawRoute::Manifest(name, last)),
    ("/blobs/uploads", |name, last| RawRoute::Upload(name, last)),
    ("/blobs", |name, last| RawRoute::Blob(name, last)),
    ("/referrers", |name, last| RawRoute::Referrers(name, last)),
];

/// A route with its parts checked, to write a path from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/_oci/ext/discover`
    Discover,
    /// `/v2/<name>/_oci/ext/discover`
    DiscoverIn(RepositoryName),
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, ManifestRef),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, Digest),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, Digest),
    /// `/v2/<name>/_oci/artifacts/referrers?digest=<digest>`
    ArtifactReferrers(RepositoryName, Digest),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Route::Base => f.write_str("/v2/"),
            Route::Catalog => f.write_str("/v2/_catalog"),
            Route::Discover => f.write_str("/v2/_oci/ext/discover"),
            Route::DiscoverIn(name) => write!(f, "/v2/{name}/_oci/ext/discover"),
            Route::Tags(name) => write!(f, "/v2/{name}/tags/list"),
            Route::Manifest(name, reference) => write!(f, "/v2/{name}/manifests/{reference}"),
            Route::Blob(name, digest) => write!(f, "/v2/{name}/blobs/{digest}"),
            Route::Uploads(name) => write!(f, "/v2/{name}/blobs/uploads/"),
            Route::Upload(name, id) => write!(f, "/v2/{name}/blobs/uploads/{}", query_value(id)),
            Route::Referrers(name, digest) => write!(f, "/v2/{name}/referrers/{digest}"),
            Route::ArtifactReferrers(name, digest) => {
                write!(
                    f,
                    "/v2/{name}/_oci/artifacts/referrers?digest={}",
                    query_value(&digest.to_string())
                )
            }
        }
    }
}

/// What may stand in a query value as it is: RFC 3986's unreserved characters.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes a query value.
///
/// ```
/// assert_eq!(oci::routes::query_value("sha256:a+b"), "sha256%3Aa%2Bb");
/// ```
pub fn query_value(text: &str) -> String {
    utf8_percent_encode(text, QUERY_VALUE).to_string()
}

/// Decodes the pairs of a query, in order; `+` means a space. `None` if a value is not UTF-8.
pub fn query_pairs(query: &str) -> Option<Vec<(String, String)>> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .ok()
            .map(|t| t.into_owned())
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(key)?, decode(value)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_reads_back_what_it_wrote() {
        let name = RepositoryName::parse("a/manifests/blobs/b").expect("a name");
        let digest = Digest::sha256(b"x");
        let text = digest.to_string();
        let n = name.as_str();
        for (route, raw) in [
            (Route::Base, RawRoute::Base),
            (Route::Catalog, RawRoute::Catalog),
            (Route::Discover, RawRoute::Discover),
            (Route::DiscoverIn(name.clone()), RawRoute::DiscoverIn(n)),
            (Route::Tags(name.clone()), RawRoute::Tags(n)),
            (
                Route::Manifest(name.clone(), digest.into()),
                RawRoute::Manifest(n, &text),
            ),
            (Route::Blob(name.clone(), digest), RawRoute::Blob(n, &text)),
            (Route::Uploads(name.clone()), RawRoute::Uploads(n)),
            (
                Route::Upload(name.clone(), "u-1".into()),
                RawRoute::Upload(n, "u-1"),
            ),
            (
                Route::Referrers(name.clone(), digest),
                RawRoute::Referrers(n, &text),
            ),
            (
                Route::ArtifactReferrers(name.clone(), digest),
                RawRoute::ArtifactReferrers(n),
            ),
        ] {
            let written = route.to_string();
            let path = written.split('?').next().expect("a path");
            assert_eq!(RawRoute::parse(path), Some(raw), "{written}");
        }
    }

    #[test]
    fn what_has_no_route_is_none() {
        for path in [
            "",
            "/",
            "/v1/",
            "/v2x",
            "/v2/a",
            "/v2//manifests/",
            "/v2/a/manifests/",
            "/v2/manifests/x",
            "/v2/a/other/x",
            "/v2/a/tags/other",
        ] {
            assert_eq!(RawRoute::parse(path), None, "{path}");
        }
    }

    #[test]
    fn query_values_survive_encoding() {
        let value = "a b+c&d=é/:%";
        let query = format!("last={}&n=3&flag", query_value(value));
        let pairs = query_pairs(&query).expect("UTF-8");
        assert_eq!(pairs[0], ("last".to_owned(), value.to_owned()));
        assert_eq!(pairs[2], ("flag".to_owned(), String::new()));
        assert_eq!(query_pairs("a=%ff"), None);
    }
}
