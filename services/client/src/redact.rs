//! Takes secrets out of what is logged, recorded or put into an error.

use oci::routes;

/// What stands in the place of a secret.
pub(crate) const REMOVED: &str = "[removed]";

/// Headers whose values are secrets, in lower case.
const SECRET_HEADERS: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "authentication-info",
    "x-registry-auth",
];

/// Parts of query keys whose values are secrets, in lower case: tokens, and the signatures of pre-signed URLs.
const SECRET_QUERY_KEYS: &[&str] = &[
    "token",
    "password",
    "secret",
    "signature",
    "credential",
    "sig",
    "policy",
    "key-pair-id",
    "api_key",
    "apikey",
];

/// Whether a header's value is a secret.
pub(crate) fn is_secret_header(name: &str) -> bool {
    SECRET_HEADERS
        .iter()
        .any(|secret| name.eq_ignore_ascii_case(secret))
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_QUERY_KEYS.iter().any(|secret| match *secret {
        // Short ones only as the whole key, or they would hide half of all queries.
        "sig" | "policy" => key == *secret,
        _ => key.contains(secret),
    })
}

/// A header's value as it may be shown.
pub(crate) fn header(name: &str, value: &str) -> String {
    if is_secret_header(name) {
        REMOVED.to_owned()
    } else if name.eq_ignore_ascii_case("location") || name.eq_ignore_ascii_case("link") {
        url(value)
    } else {
        value.to_owned()
    }
}

/// A URL as it may be shown: no user information, and no secret values in its query.
pub(crate) fn url(text: &str) -> String {
    let (before, query) = match text.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (text, None),
    };
    let mut shown = without_user(before);
    let Some(query) = query else { return shown };
    for (n, pair) in query.split('&').enumerate() {
        shown.push(if n == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((key, _)) if is_secret_key(key) => {
                shown.push_str(key);
                shown.push('=');
                shown.push_str(&routes::query_value(REMOVED));
            }
            _ => shown.push_str(pair),
        }
    }
    shown
}

fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_urls_lose_their_signatures_and_nothing_else() {
        assert_eq!(
            url("https://u:p@s.example/b?X-Amz-Date=1&X-Amz-Signature=abc&X-Amz-Security-Token=t&sig=z&n=2"),
            "https://s.example/b?X-Amz-Date=1&X-Amz-Signature=%5Bremoved%5D&X-Amz-Security-Token=%5Bremoved%5D&sig=%5Bremoved%5D&n=2"
        );
        let plain = "http://localhost:5001/v2/a/blobs/uploads/1?_state=x&digest=sha256%3Aab";
        assert_eq!(url(plain), plain);
    }

    #[test]
    fn secret_headers_are_hidden_whatever_their_case() {
        assert_eq!(header("AUTHORIZATION", "Basic abc"), REMOVED);
        assert_eq!(header("accept", "x/y"), "x/y");
        assert_eq!(
            header("Location", "https://a/?token=1"),
            "https://a/?token=%5Bremoved%5D"
        );
    }
}
