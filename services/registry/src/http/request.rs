//! What a request says, parsed once: its path, its query, its conditions.

use super::ApiError;
use crate::{
    domain::{Client, Expect, Registry},
    wire::Outlet,
};
use actix_web::{
    HttpMessage, HttpRequest,
    dev::RequestHead,
    http::{
        Method,
        header::{self, HeaderValue},
    },
};
use oci::{Digest, ManifestRef, RepositoryName, routes};
use std::{borrow::Cow, rc::Rc};

/// The request's number in the log, put into the request's extensions by whoever logs requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub HeaderValue);

/// The path of a request, percent-decoded.
///
/// # Errors
/// `BadPath` if it is not UTF-8 or hides a slash or a NUL behind an escape: whoever decides about access by the path must
/// read the same path as whoever answers.
pub fn path_of(raw: &str) -> Result<Cow<'_, str>, ApiError> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let hides = |escape: &str| {
        raw.as_bytes()
            .windows(3)
            .any(|w| w.eq_ignore_ascii_case(escape.as_bytes()))
    };
    if hides("%2f") || hides("%5c") || hides("%00") {
        return Err(ApiError::BadPath);
    }
    percent_encoding::percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| ApiError::BadPath)
}

/// A request to the registry.
pub(super) struct Request<'a> {
    head: &'a RequestHead,
    /// What the application knows of the request beside its head; nothing where it is answered before.
    http: Option<&'a HttpRequest>,
    path: Cow<'a, str>,
    query: Vec<(String, String)>,
    pub(super) registry: &'a Registry,
}

impl<'a> Request<'a> {
    /// A request that has come to the application.
    pub(super) fn read(http: &'a HttpRequest, registry: &'a Registry) -> Result<Request<'a>, ApiError> {
        let mut request = Request::read_head(http.head(), registry)?;
        request.http = Some(http);
        Ok(request)
    }

    /// A request of which nothing but its head is known.
    pub(super) fn read_head(head: &'a RequestHead, registry: &'a Registry) -> Result<Request<'a>, ApiError> {
        let query = match head.uri.query() {
            None => Vec::new(),
            Some(query) => routes::query_pairs(query).ok_or(ApiError::BadQuery)?,
        };
        Ok(Request {
            head,
            http: None,
            path: path_of(head.uri.path())?,
            query,
            registry,
        })
    }

    pub(super) fn path(&self) -> Cow<'a, str> {
        self.path.clone()
    }

    pub(super) fn method(&self) -> &'a Method {
        &self.head.method
    }

    /// The first value of a query parameter.
    pub(super) fn query(&self, key: &str) -> Option<&str> {
        self.query_all(key).next()
    }

    /// Every value of a query parameter.
    pub(super) fn query_all<'s>(&'s self, key: &str) -> impl Iterator<Item = &'s str> {
        self.query
            .iter()
            .filter(move |(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// A query parameter that is a digest.
    pub(super) fn query_digest(&self, key: &str) -> Result<Option<Digest>, ApiError> {
        Ok(self.query(key).map(Digest::parse).transpose()?)
    }

    /// The query parameter `n`: how many entries the client wants.
    pub(super) fn query_count(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.query("n") else {
            return Ok(None);
        };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(n) if digits => Ok(Some(n)),
            _ => Err(ApiError::BadCount {
                text: text.chars().take(40).collect(),
            }),
        }
    }

    /// A header's text; `None` if it is absent or not ASCII.
    pub(super) fn header(&self, name: &header::HeaderName) -> Option<&str> {
        self.head.headers().get(name)?.to_str().ok()
    }

    /// Whom the request is counted for, if whoever stands in front of the service has told.
    pub(super) fn client(&self) -> Option<Client> {
        self.http?.extensions().get::<Client>().cloned()
    }

    /// Where the answer may leave a part of a file to be sent, if its connection can.
    pub(super) fn outlet(&self) -> Option<Rc<Outlet>> {
        self.http?.conn_data::<Rc<Outlet>>().cloned()
    }

    /// The announced length of the body.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(&header::CONTENT_LENGTH)?.trim().parse().ok()
    }

    /// Whether `If-None-Match` names this entity tag, so that the client has the content already.
    pub(super) fn has_already(&self, entity_tag: &[u8]) -> bool {
        let named = self.header(&header::IF_NONE_MATCH);
        let tag = std::str::from_utf8(entity_tag);
        matches!((named, tag), (Some(named), Ok(tag)) if oci::headers::etag_matches(named, tag))
    }

    /// What `If-Match` and `If-None-Match` demand of a tag that is to be changed.
    pub(super) fn expect(&self) -> Expect {
        if let Some(text) = self.header(&header::IF_MATCH) {
            return match text.trim() {
                "*" => Expect::Present,
                text => Expect::OneOf(entity_digests(text)),
            };
        }
        match self.header(&header::IF_NONE_MATCH).map(str::trim) {
            None => Expect::Anything,
            Some("*") => Expect::Absent,
            Some(text) => Expect::NoneOf(entity_digests(text)),
        }
    }
}

/// The digests in a list of entity tags. What is none of ours matches nothing. Weak tags never match strongly (RFC 9110,
/// section 8.8.3.2), but ours are all strong, so that a weak form of them is from a proxy and means the same.
fn entity_digests(list: &str) -> Vec<Digest> {
    list.split(',')
        .map(str::trim)
        .map(|tag| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"'))
        .filter_map(|text| Digest::parse(text).ok())
        .collect()
}

/// A repository's name in a path.
pub(super) fn name(text: &str) -> Result<RepositoryName, ApiError> {
    Ok(RepositoryName::parse(text)?)
}

/// A tag or digest in the path of a manifest.
pub(super) fn reference(text: &str) -> Result<ManifestRef, ApiError> {
    Ok(ManifestRef::parse(text)?)
}

/// A digest in a path.
pub(super) fn digest(text: &str) -> Result<Digest, ApiError> {
    Ok(Digest::parse(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_unless_it_hides_something() {
        assert_eq!(
            path_of("/v2/a/manifests/sha256%3Aab").expect("a path"),
            "/v2/a/manifests/sha256:ab"
        );
        for bad in [
            "/v2/a%2fb/tags/list",
            "/v2/a%2Fb",
            "/v2/%00",
            "/v2/a%5Cb",
            "/v2/%ff",
        ] {
            assert!(matches!(path_of(bad), Err(ApiError::BadPath)), "{bad}");
        }
    }

    #[test]
    fn entity_tags_are_read_as_digests() {
        let (a, b) = (Digest::sha256(b"a"), Digest::sha256(b"b"));
        assert_eq!(entity_digests(&format!("\"{a}\", W/\"{b}\", \"x\"")), [a, b]);
    }
}
