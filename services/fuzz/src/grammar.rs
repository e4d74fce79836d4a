//! The specifications' regular expressions, letter by letter, and what every error message must be like.

use regex_lite::Regex;
use std::{fmt::Display, sync::LazyLock};

/// `digest` of image-spec 1.1, descriptor.md, "Digests".
pub static DIGEST: LazyLock<Regex> =
    LazyLock::new(|| whole(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+"));

/// A digest of a registered algorithm, by the same document.
pub static REGISTERED_DIGEST: LazyLock<Regex> = LazyLock::new(|| whole(REGISTERED));

/// `<name>` of distribution-spec 1.1, "Pulling manifests".
pub static NAME: LazyLock<Regex> = LazyLock::new(|| whole(NAME_TEXT));

/// `<reference>` as a tag, ibidem.
pub static TAG: LazyLock<Regex> = LazyLock::new(|| whole(TAG_TEXT));

/// A whole reference as Docker's grammar has it (distribution/reference, "reference"), with registered digests.
pub static REFERENCE: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
    let host = format!(r"(?:{label}(?:\.{label})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?");
    whole(&format!(
        "(?:(?P<host>{host})/)?(?P<path>{NAME_TEXT})(?::(?P<tag>{TAG_TEXT}))?(?:@(?P<digest>{REGISTERED}))?"
    ))
});

const REGISTERED: &str = "(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})";
const NAME_TEXT: &str = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*";
const TAG_TEXT: &str = "[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}";

/// An expression that must match the whole text.
pub fn whole(expression: &str) -> Regex {
    Regex::new(&format!("^(?:{expression})$")).expect("a regular expression")
}

/// Whether these bytes can be the value of a header: HTTP libraries give nothing else to a parser.
pub fn header(input: &[u8]) -> Option<&str> {
    let visible = |b: &u8| (0x20..0x7f).contains(b) || *b == b'\t';
    let text = std::str::from_utf8(input).ok()?;
    input.iter().all(visible).then_some(text)
}

/// Errors go to terminals and logs, and quote what somebody else wrote: no line may be longer than a screen or two, and no
/// character may control the terminal or forge a line.
pub fn check_error(error: &impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty(), "an error says nothing");
    assert!(text.len() < 8000, "an error of {} bytes", text.len());
    assert!(
        !text.chars().any(|c| c.is_control()),
        "an error with control characters: {text:?}"
    );
}

/// As [`check_error`], for the messages of YAML's parsers: they quote the file over several lines.
pub fn check_message(error: &impl Display) {
    let text = error.to_string();
    assert!(!text.is_empty(), "an error says nothing");
    assert!(
        !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'),
        "an error with control characters: {text:?}"
    );
}
