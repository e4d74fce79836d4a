//! `PUT manifests/${digest-tag}`: which requests an expectation is about.
//!
//! A method (or `any`) and a path below `/v2/<repository>/`, in which `*` stands for anything. The query is not compared.
//! `referrers-api` in place of a path means the referrers API on either of its paths.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The methods that a registry knows, and `any`.
const METHODS: [&str; 7] = ["GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "any"];

/// The word for both paths of the referrers API.
pub const REFERRERS_API: &str = "referrers-api";

/// The paths of the referrers API below `/v2/<repository>/`: OCI distribution 1.1's, and the working group's for testing.
const REFERRERS_PATHS: [&str; 2] = ["referrers/*", "_oci/artifacts/referrers"];

/// A method and a path pattern, as written in the file; variables in it are filled later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestPattern {
    /// `GET`, …, or `any`.
    pub method: String,
    /// The path below `/v2/<repository>/`, or `referrers-api`.
    pub path: String,
}

/// A text that is no request pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} names no request: expected a method ({}) and a path below /v2/<repository>/, such as \"GET tags/list\" or \"any {REFERRERS_API}\"", METHODS.join(", "))]
pub struct NotARequest {
    /// What was written.
    pub text: String,
}

impl RequestPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`NotARequest`] if the method is unknown, or no path follows.
    pub fn parse(text: &str) -> Result<RequestPattern, NotARequest> {
        let wrong = || NotARequest {
            text: text.to_owned(),
        };
        let (method, path) = text.split_once(' ').ok_or_else(wrong)?;
        let sound = METHODS.contains(&method)
            && !path.is_empty()
            && !path.starts_with('/')
            && !path.contains(char::is_whitespace);
        sound
            .then(|| RequestPattern {
                method: method.to_owned(),
                path: path.to_owned(),
            })
            .ok_or_else(wrong)
    }

    /// Whether a request with this method, and this path below `/v2/<repository>/` without its query, is meant.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        (self.method == "any" || self.method == method)
            && self.paths().iter().any(|pattern| glob(pattern, path))
    }

    /// The path patterns that it stands for: one, or both of the referrers API.
    pub fn paths(&self) -> Vec<&str> {
        match self.path.as_str() {
            REFERRERS_API => REFERRERS_PATHS.to_vec(),
            path => vec![path],
        }
    }
}

/// What a step is to remember: something of the last answer to such a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Which requests.
    pub request: RequestPattern,
    /// The text at this JSON pointer of the answer; without it, the digest that a successful answer names.
    pub pointer: Option<String>,
}

impl Remembered {
    /// Reads `METHOD PATH`, or `METHOD PATH POINTER`.
    ///
    /// # Errors
    /// [`NotARequest`] if it is neither.
    pub fn parse(text: &str) -> Result<Remembered, NotARequest> {
        let (request, pointer) = match text.rsplit_once(' ') {
            Some((request, pointer)) if pointer.starts_with('/') => (request, Some(pointer.to_owned())),
            _ => (text, None),
        };
        Ok(Remembered {
            request: RequestPattern::parse(request)?,
            pointer,
        })
    }
}

impl fmt::Display for Remembered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pointer {
            Some(pointer) => write!(f, "{} {pointer}", self.request),
            None => write!(f, "{}", self.request),
        }
    }
}

impl Serialize for Remembered {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Remembered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Remembered, D::Error> {
        let text = String::deserialize(deserializer)?;
        Remembered::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Whether `text` has the shape of `pattern`, in which `*` stands for any characters, or none.
///
/// The first place that fits is taken for each part between stars: that is right as long as a star takes anything, and costs
/// one look at the text where trying every place would cost a time without end.
fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

impl fmt::Display for RequestPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

impl Serialize for RequestPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RequestPattern, D::Error> {
        let text = String::deserialize(deserializer)?;
        RequestPattern::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_the_requests_that_it_describes() {
        for (pattern, method, path, meant) in [
            ("GET tags/list", "GET", "tags/list", true),
            ("GET tags/list", "HEAD", "tags/list", false),
            ("any manifests/sha256-*", "HEAD", "manifests/sha256-00", true),
            ("any manifests/sha256-*", "HEAD", "manifests/sha256:00", false),
            ("any manifests/*", "GET", "blobs/sha256:00", false),
            ("PUT *", "PUT", "manifests/latest", true),
            ("GET a*c*e", "GET", "abcde", true),
            ("GET a*c*e", "GET", "abcd", false),
            ("GET *ab*b", "GET", "aabb", true),
            ("GET a*a", "GET", "a", false),
            ("GET **", "GET", "", true),
            ("GET referrers-api", "GET", "referrers/sha256:00", true),
            ("GET referrers-api", "GET", "_oci/artifacts/referrers", true),
            ("GET referrers-api", "GET", "manifests/referrers", false),
        ] {
            let parsed = RequestPattern::parse(pattern).expect(pattern);
            assert_eq!(parsed.matches(method, path), meant, "{pattern}: {method} {path}");
        }
    }

    #[test]
    fn many_stars_do_not_take_a_time_without_end() {
        let pattern = RequestPattern::parse(&format!("GET {}b", "*a".repeat(40))).expect("a pattern");
        assert!(!pattern.matches("GET", &"a".repeat(200)));
    }

    #[test]
    fn what_is_remembered_is_a_digest_or_the_text_at_a_pointer() {
        for (text, request, pointer) in [
            ("PUT manifests/latest", "PUT manifests/latest", None),
            (
                "PUT manifests/* /errors/0/message",
                "PUT manifests/*",
                Some("/errors/0/message"),
            ),
        ] {
            let remembered = Remembered::parse(text).expect(text);
            assert_eq!(
                (
                    remembered.request.to_string().as_str(),
                    remembered.pointer.as_deref()
                ),
                (request, pointer)
            );
            assert_eq!(remembered.to_string(), text);
        }
        assert!(Remembered::parse("PUT /errors").is_err());
    }

    #[test]
    fn what_names_no_request_is_refused() {
        for text in [
            "",
            "GET",
            "GET ",
            "FETCH tags/list",
            "get tags/list",
            "GET /v2/",
            "GET tags/list twice",
        ] {
            let error = RequestPattern::parse(text).expect_err(text).to_string();
            assert!(error.contains("names no request"), "{error}");
        }
    }
}
