//! Headers of the distribution protocol: names, and the ones that need a parser.
//!
//! `Range`, `Content-Range`, `Link` and `WWW-Authenticate` are read here; every parser is total and bounded by its input.

use std::fmt;

/// Digest of the body, on GET and HEAD of manifests and blobs.
pub const DOCKER_CONTENT_DIGEST: &str = "Docker-Content-Digest";
/// `registry/2.0`, on every answer.
pub const API_VERSION: &str = "Docker-Distribution-API-Version";
/// Id of an upload session.
pub const UPLOAD_UUID: &str = "Docker-Upload-UUID";
/// Digest of the subject that was indexed, on a PUT of a referrer.
pub const OCI_SUBJECT: &str = "OCI-Subject";
/// Which filters were applied to a list of referrers.
pub const OCI_FILTERS_APPLIED: &str = "OCI-Filters-Applied";
/// A tag that a PUT by digest set.
pub const OCI_TAG: &str = "OCI-Tag";
/// The smallest chunk that an upload session takes, in bytes.
pub const OCI_CHUNK_MIN_LENGTH: &str = "OCI-Chunk-Min-Length";

/// One range of bytes, both ends included, as a client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `bytes=first-` or `bytes=first-last`
    From(u64, Option<u64>),
    /// `bytes=-count`: the last bytes
    Last(u64),
}

impl ByteRange {
    /// Reads a `Range` header. `None` if it is malformed, of another unit, or of several ranges: RFC 9110 lets a server
    /// answer the whole content then. A range that ends before it begins is read, and lies outside of every content: RFC
    /// 9110 lets a server refuse it (section 14.2), which tells the client more.
    pub fn parse(header: &str) -> Option<ByteRange> {
        let (unit, spec) = header.trim().split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        match (first, last) {
            ("", last) => number(last).map(ByteRange::Last),
            (first, "") => number(first).map(|first| ByteRange::From(first, None)),
            (first, last) => Some(ByteRange::From(number(first)?, Some(number(last)?))),
        }
    }

    /// The first byte and the byte past the last one, of a content of `size` bytes; `None` if it lies outside (416).
    pub fn within(self, size: u64) -> Option<(u64, u64)> {
        let (start, end) = match self {
            ByteRange::From(first, None) => (first, size),
            ByteRange::From(first, Some(last)) => (first, last.saturating_add(1).min(size)),
            ByteRange::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then_some((start, end))
    }
}

/// Reads the `Content-Range` of an upload's chunk, `<start>-<end>` with both ends included, with or without `bytes` before
/// it and a total behind it.
pub fn parse_chunk_range(header: &str) -> Option<(u64, u64)> {
    let text = header.trim();
    let text = text
        .strip_prefix("bytes")
        .map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let text = text.split('/').next()?;
    let (start, end) = text.split_once('-')?;
    let (start, end) = (number(start)?, number(end)?);
    (start <= end).then_some((start, end))
}

/// Digits alone: `u64::from_str` would take a plus sign.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// The target of the first `rel="next"` in a `Link` header.
///
/// Source: RFC 8288; OCI distribution-spec 1.1, "Listing Tags".
pub fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let start = rest.find('<')?;
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        let (parameters, after) = split_unquoted(&rest[end + 1..], ',');
        if is_next(parameters) {
            return Some(target);
        }
        rest = after;
    }
}

/// Whether the first `rel` of a link's parameters says `next`; further ones are ignored (RFC 8288, section 3.3).
fn is_next(parameters: &str) -> bool {
    let mut rest = parameters;
    while !rest.is_empty() {
        let (parameter, after) = split_unquoted(rest, ';');
        rest = after;
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key.trim().eq_ignore_ascii_case("rel") {
            let value = value.trim();
            let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            return quoted
                .unwrap_or(value)
                .replace('\\', "")
                .split_ascii_whitespace()
                .any(|word| word.eq_ignore_ascii_case("next"));
        }
    }
    false
}

/// What stands before the first `separator` that is in no quoted string, and what stands behind it.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            c if c == separator && !quoted => return (&text[..at], &text[at + 1..]),
            _ => {}
        }
    }
    (text, "")
}

/// A challenge of a `WWW-Authenticate` header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// `basic`, `bearer`, …, in lower case.
    pub scheme: String,
    /// Parameters in their order; keys in lower case.
    pub parameters: Vec<(String, String)>,
}

impl Challenge {
    /// A parameter's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, v)| v.as_str())
    }

    /// Reads every challenge of a header, as far as it is well formed.
    ///
    /// Source: RFC 9110, section 11.6.1.
    pub fn parse_all(header: &str) -> Vec<Challenge> {
        let mut challenges: Vec<Challenge> = Vec::new();
        let mut rest = header;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let (word, after) = split_token(rest);
            if word.is_empty() {
                return challenges;
            }
            match after.trim_start().strip_prefix('=') {
                Some(value) if !challenges.is_empty() => {
                    let Some((value, after)) = split_value(value.trim_start()) else {
                        return challenges;
                    };
                    if let Some(challenge) = challenges.last_mut() {
                        challenge.parameters.push((word.to_ascii_lowercase(), value));
                    }
                    rest = after;
                }
                Some(_) => return challenges,
                None => {
                    challenges.push(Challenge {
                        scheme: word.to_ascii_lowercase(),
                        parameters: Vec::new(),
                    });
                    rest = after;
                }
            }
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheme)?;
        for (n, (key, value)) in self.parameters.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            write!(f, "{} {key}=\"{value}\"", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn split_token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

/// A quoted string or a token, and what follows it; `None` if a quote is not closed.
fn split_value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = split_token(text);
        return Some((token.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            _ => value.push(c),
        }
    }
    None
}

/// Whether an `If-Match` or `If-None-Match` header names this entity tag; `*` names every one.
///
/// `etag` is the tag with its quotes. Weak tags compare by their text.
pub fn etag_matches(header: &str, etag: &str) -> bool {
    header
        .split(',')
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_cut_to_the_content() {
        for (header, size, expected) in [
            ("bytes=0-", 10, Some((0, 10))),
            ("bytes=2-4", 10, Some((2, 5))),
            ("bytes=2-400", 10, Some((2, 10))),
            ("bytes=-3", 10, Some((7, 10))),
            ("bytes=-30", 10, Some((0, 10))),
            ("bytes=10-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=4-2", 10, None),
            ("bytes=1-0", 10, None),
            ("bytes=0-18446744073709551615", 10, Some((0, 10))),
        ] {
            let range = ByteRange::parse(header).expect(header);
            assert_eq!(range.within(size), expected, "{header}");
        }
        for bad in [
            "",
            "bytes",
            "bytes=",
            "bytes=a-b",
            "items=0-1",
            "bytes=0-1,3-4",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(ByteRange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn chunk_ranges_are_read_in_the_forms_that_clients_send() {
        for good in ["0-9", "bytes 0-9/10", "bytes=0-9", "0-9/*"] {
            assert_eq!(parse_chunk_range(good), Some((0, 9)), "{good}");
        }
        for bad in ["", "-9", "9-0", "0", "a-b", "0--9"] {
            assert_eq!(parse_chunk_range(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(
            next_link("</v2/a/tags/list?n=2&last=b>; rel=\"next\""),
            Some("/v2/a/tags/list?n=2&last=b")
        );
        assert_eq!(next_link("<a>; rel=\"prev\", <b,c>; rel=next"), Some("b,c"));
        assert_eq!(next_link("<a>; rel=\"last next\""), Some("a"));
        for none in ["", "<a>", "<a>; rel=\"prev\"", "a; rel=next", "<a"] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }

    #[test]
    fn what_stands_in_the_quotes_of_a_link_is_no_link_and_no_parameter() {
        for (header, target) in [
            ("<a>; title=\"<b>; rel=next\", <c>; rel=\"next\"", Some("c")),
            ("<a>; title=\"x; rel=next\"", None),
            ("<a>; title=\"\\\", rel=x\"; rel=next", Some("a")),
            ("<a>; rel=prev; rel=next", None),
        ] {
            assert_eq!(next_link(header), target, "{header}");
        }
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let header =
            "Bearer realm=\"https://ghcr.io/token\",service=\"ghcr.io\",scope=\"repository:a/b:pull,push\"";
        let challenges = Challenge::parse_all(header);
        assert_eq!(challenges.len(), 1);
        assert_eq!(challenges[0].get("scope"), Some("repository:a/b:pull,push"));
        let both = Challenge::parse_all("Basic realm=\"x \\\"y\\\"\", Bearer realm=z");
        assert_eq!(
            (both[0].get("realm"), both[1].scheme.as_str()),
            (Some("x \"y\""), "bearer")
        );
        assert_eq!(Challenge::parse_all("Basic")[0].scheme, "basic");
    }

    #[test]
    fn a_challenge_that_is_written_is_read_back_whatever_its_values_are() {
        let challenges = Challenge::parse_all(r#"Basic realm="a \\ \"b\", c=d", Bearer realm=z"#);
        assert_eq!(challenges[0].get("realm"), Some(r#"a \ "b", c=d"#));
        let written: Vec<String> = challenges.iter().map(Challenge::to_string).collect();
        assert_eq!(Challenge::parse_all(&written.join(", ")), challenges);
    }

    #[test]
    fn entity_tags_are_compared_as_a_list() {
        assert!(etag_matches("\"a\", W/\"b\"", "\"b\""));
        assert!(etag_matches("*", "\"b\""));
        assert!(!etag_matches("\"a\"", "\"b\""));
    }

    proptest! {
        #[test]
        fn no_header_makes_a_parser_panic(text in "\\PC{0,64}") {
            let _ = ByteRange::parse(&text);
            let _ = parse_chunk_range(&text);
            let _ = Challenge::parse_all(&text);
            if let Some(target) = next_link(&text) {
                prop_assert!(text.contains(target));
            }
        }
    }
}
