//! `Link`: on every well-formed header the parser agrees with a slow one that follows RFC 8288, section 3.

use crate::grammar::header;
use oci::headers::next_link;
use regex_lite::Regex;
use std::sync::LazyLock;

/// One link with its parameters, and what ends it.
static LINK: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(
        r"^[ \t,]*<(?P<target>[^<>]*)>(?P<parameters>(?:[ \t]*;[ \t]*{PARAMETER})*)[ \t]*(?:,|$)"
    ))
    .expect("a regular expression")
});

/// One parameter.
static ONE: LazyLock<Regex> = LazyLock::new(|| Regex::new(PARAMETER).expect("a regular expression"));

const PARAMETER: &str = r#"(?P<key>[!#$%&'*+.^_`|~0-9a-zA-Z-]+)(?:[ \t]*=[ \t]*(?:(?P<token>[!#$%&'*+.^_`|~0-9a-zA-Z-]+)|"(?P<quoted>(?:[^"\\]|\\.)*)"))?"#;

/// Any header, and any text as the target of a header that we write.
pub fn check(input: &[u8]) {
    let Some(text) = header(input) else { return };
    let found = next_link(text);
    if let Some(target) = found {
        assert!(text.contains(&format!("<{target}>")), "{text:?}: {target:?}");
    }
    if let Some(expected) = next_by_expression(text) {
        assert_eq!(found, expected, "{text:?}");
    }
    if !text.contains(['<', '>']) {
        let written = format!("<?last=first>; rel=\"prev\", <{text}>; rel=\"next\"");
        assert_eq!(next_link(&written), Some(text));
    }
}

/// The next link of a well-formed header; `None` if it is malformed.
fn next_by_expression(text: &str) -> Option<Option<&str>> {
    let mut rest = text;
    while !rest.trim_matches([' ', '\t', ',']).is_empty() {
        let link = LINK.captures(rest)?;
        if is_next(&link["parameters"]) {
            return Some(link.name("target").map(|target| target.as_str()));
        }
        rest = &rest[link.get(0)?.end()..];
    }
    Some(None)
}

/// Whether the first `rel` says `next`: further ones are ignored (RFC 8288, section 3.3).
fn is_next(parameters: &str) -> bool {
    let relation = ONE
        .captures_iter(parameters)
        .find(|parameter| parameter["key"].eq_ignore_ascii_case("rel"));
    relation.is_some_and(|relation| {
        let value = relation.name("token").or(relation.name("quoted"));
        let value = value.map_or(String::new(), |value| value.as_str().replace('\\', ""));
        value
            .split([' ', '\t'])
            .any(|word| word.eq_ignore_ascii_case("next"))
    })
}
