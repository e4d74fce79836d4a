//! Comparing a content with what a scenario file expects of it.

use crate::evidence::Body;
use oci::Digest;
use scenario::{Content, Unknown, Variables, expect::FROM_PATH};
use serde_json::Value;

/// One comparison, not yet attached to a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was compared, such as `/manifests/0/digest`.
    pub what: String,
    /// What is expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether they agree.
    pub holds: bool,
}

impl Comparison {
    /// Compares two texts.
    pub fn of(what: impl Into<String>, expected: impl Into<String>, seen: impl Into<String>) -> Comparison {
        let (expected, seen) = (expected.into(), seen.into());
        Comparison {
            what: what.into(),
            holds: expected == seen,
            expected,
            seen,
        }
    }
}

/// What a content is held against.
pub struct Seen<'a> {
    /// The content; its text is absent where none was recorded.
    pub body: &'a Body,
    /// The path of the request, below the repository, for `digest: from path`.
    pub path: &'a str,
}

/// Compares everything that is expected; one comparison for each.
///
/// # Errors
/// `Unknown` where a variable stands for nothing, because the step that should have told it did not.
pub fn content(
    expected: &Content,
    seen: &Seen<'_>,
    variables: &Variables,
) -> Result<Vec<Comparison>, Unknown> {
    let Content {
        media_type,
        digest,
        is,
        contains,
        lacks,
        json,
        counts,
    } = expected;
    let mut found = Vec::new();
    if let Some(media_type) = media_type {
        let told = seen.body.media_type.as_deref().unwrap_or("(none)");
        found.push(Comparison::of("media type", variables.fill(media_type)?, told));
    }
    let text = seen.body.text.as_deref();
    let shown = || text.map_or("(no text was recorded)".to_owned(), quoted);
    if let Some(digest) = digest {
        found.push(hash(digest, text, seen.path, variables)?);
    }
    if let Some(is) = is {
        let is = variables.fill(is)?;
        let mut comparison = Comparison::of("content", quoted(&is), shown());
        comparison.holds = text == Some(is.as_str());
        found.push(comparison);
    }
    for (part, wanted) in contains
        .iter()
        .map(|p| (p, true))
        .chain(lacks.iter().map(|p| (p, false)))
    {
        let part = variables.fill(part)?;
        found.push(Comparison {
            what: "content".to_owned(),
            expected: format!("{} {}", if wanted { "contains" } else { "lacks" }, quoted(&part)),
            seen: shown(),
            holds: text.is_some_and(|text| text.contains(&part) == wanted),
        });
    }
    if !json.is_empty() || !counts.is_empty() {
        found.extend(document(expected, text, variables)?);
    }
    Ok(found)
}

fn hash(digest: &str, text: Option<&str>, path: &str, variables: &Variables) -> Result<Comparison, Unknown> {
    let expected = match digest {
        FROM_PATH => path.rsplit('/').next().unwrap_or_default().to_owned(),
        other => variables.fill(other)?,
    };
    let seen = text.map_or("(no text was recorded)".to_owned(), |text| {
        let algorithm = Digest::parse(&expected).map_or(oci::Algorithm::Sha256, |digest| digest.algorithm());
        Digest::of(algorithm, text.as_bytes()).to_string()
    });
    Ok(Comparison::of("digest of the bytes", expected, seen))
}

fn document(
    expected: &Content,
    text: Option<&str>,
    variables: &Variables,
) -> Result<Vec<Comparison>, Unknown> {
    let parsed: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
    let Some(parsed) = parsed else {
        let seen = text.map_or("(no text was recorded)".to_owned(), quoted);
        return Ok(vec![Comparison {
            what: "content".to_owned(),
            expected: "JSON".to_owned(),
            seen,
            holds: false,
        }]);
    };
    let mut found = Vec::new();
    for (pointer, count) in &expected.counts {
        let seen = match parsed.pointer(pointer) {
            Some(Value::Array(items)) => items.len().to_string(),
            Some(other) => format!("no array: {other}"),
            None => "(absent)".to_owned(),
        };
        found.push(Comparison::of(
            format!("length of {pointer}"),
            count.to_string(),
            seen,
        ));
    }
    for (pointer, value) in &expected.json {
        let value = variables.fill_json(value)?;
        let seen = parsed.pointer(pointer);
        let mut comparison = Comparison::of(
            pointer,
            value.to_string(),
            seen.map_or("(absent)".to_owned(), Value::to_string),
        );
        comparison.holds = seen == Some(&value);
        found.push(comparison);
    }
    Ok(found)
}

/// A text as it is shown: in quotes, and not longer than can be read.
pub fn quoted(text: &str) -> String {
    const MAX_SHOWN_CHARS: usize = 400;
    if text.chars().count() <= MAX_SHOWN_CHARS {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(MAX_SHOWN_CHARS).collect();
    format!("{start:?}… ({} bytes)", text.len())
}
