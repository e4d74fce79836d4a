//! `WWW-Authenticate`: what was read is written and read back the same, and nothing is there that the header does not say.

use crate::grammar::header;
use oci::headers::{Challenge, etag_matches};

/// Any header.
pub fn check(input: &[u8]) {
    let Some(text) = header(input) else { return };
    let challenges = Challenge::parse_all(text);
    let mut length = 0;
    for challenge in &challenges {
        assert!(!challenge.scheme.is_empty(), "{text:?}");
        assert_eq!(challenge.scheme, challenge.scheme.to_ascii_lowercase());
        length += challenge.scheme.len();
        for (key, value) in &challenge.parameters {
            assert!(!key.is_empty() && *key == key.to_ascii_lowercase(), "{text:?}");
            assert!(challenge.get(key).is_some());
            length += key.len() + value.len();
        }
    }
    assert!(
        length <= text.len(),
        "{text:?} has less than was read: {challenges:?}"
    );
    let written: Vec<String> = challenges.iter().map(Challenge::to_string).collect();
    let written = written.join(", ");
    assert_eq!(
        Challenge::parse_all(&written),
        challenges,
        "{text:?} is written {written:?}"
    );
    entity_tags(text);
}

/// A list of entity tags names each of its members, weak or strong.
fn entity_tags(text: &str) {
    if text.contains([',', '"']) || text != text.trim() || text.is_empty() {
        let _ = etag_matches(text, "\"x\"");
        return;
    }
    let tag = format!("\"{text}\"");
    for list in [
        tag.clone(),
        format!("\"other\", {tag}"),
        format!("W/{tag}"),
        "*".to_owned(),
    ] {
        assert!(etag_matches(&list, &tag), "{list}");
    }
    assert!(!etag_matches("\"\", W/\"\"", &tag));
}
