//! Holds a list of references against the manifests that it lists: what `consumer lint` tells and `producer repair` mends.

use client::{Manifest, Store};
use oci::{Descriptor, Digest, ManifestView};
use serde::Serialize;
use std::collections::HashSet;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", rename_all = "kebab-case")]
pub enum Problem {
    /// Its digest stands in the list before.
    Duplicate,
    /// Its manifest is not there: it was deleted, or never complete.
    Unreachable,
    /// Its manifest is about another one.
    Foreign {
        /// What the manifest refers to.
        refers_to: Digest,
    },
    /// Its manifest does not say what it is about, so only this list knows.
    NoSubject,
    /// Its manifest cannot be read.
    UnreadableManifest {
        /// Why.
        why: String,
    },
    /// It is not a descriptor.
    UnreadableEntry {
        /// Why.
        why: String,
    },
    /// A field differs from what the manifest says.
    Wrong {
        /// `mediaType`, `size`, `artifactType` or `annotations`.
        field: &'static str,
        /// What the entry says; empty if it says nothing.
        listed: String,
        /// What the manifest says.
        expected: String,
    },
    /// The digest tag has it, the referrers API has not.
    NotIndexed,
    /// A layout has it, but not under the digest tag, where other tools look.
    NotTagged,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Problem::Duplicate => f.write_str("duplicate entry"),
            Problem::Unreachable => f.write_str("stale entry: its manifest is not there"),
            Problem::Foreign { refers_to } => write!(f, "foreign entry: its manifest refers to {refers_to}"),
            Problem::NoSubject => f.write_str("its manifest names no subject"),
            Problem::UnreadableManifest { why } => write!(f, "its manifest cannot be read: {why}"),
            Problem::UnreadableEntry { why } => write!(f, "the entry cannot be read: {why}"),
            Problem::Wrong {
                field,
                listed,
                expected,
            } if listed.is_empty() => {
                write!(f, "missing {field}: expected {expected}")
            }
            Problem::Wrong {
                field,
                listed,
                expected,
            } => {
                write!(f, "wrong {field} {listed}: expected {expected}")
            }
            Problem::NotIndexed => f.write_str("listed by the digest tag but not by the referrers API"),
            Problem::NotTagged => f.write_str("refers to the image but is not listed by the digest tag"),
        }
    }
}

/// An entry and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspected {
    /// The entry, as listed.
    pub entry: Descriptor,
    /// Nothing, if it is as it should be.
    pub problems: Vec<Problem>,
    /// The entry as it should be, where its manifest could be read; what the manifest does not know is kept.
    pub corrected: Option<Descriptor>,
}

/// Reads the manifest of each entry and compares.
///
/// # Errors
/// Every failure of a request but a manifest that is not there, or is not what its digest says.
pub async fn inspect(
    store: &Store,
    subject: &Digest,
    entries: &[Descriptor],
) -> client::Result<Vec<Inspected>> {
    let mut seen = HashSet::new();
    let mut inspected = Vec::with_capacity(entries.len());
    for entry in entries {
        if !seen.insert(entry.digest) {
            inspected.push(Inspected {
                entry: entry.clone(),
                problems: vec![Problem::Duplicate],
                corrected: None,
            });
            continue;
        }
        let unreadable = |why: String| Inspected {
            entry: entry.clone(),
            problems: vec![Problem::UnreadableManifest { why }],
            corrected: None,
        };
        inspected.push(match store.try_get_manifest(&entry.digest.into()).await {
            Ok(Some(manifest)) => match manifest.view() {
                Ok(view) => compare(entry, &manifest, &view, subject),
                Err(error) => unreadable(error.to_string()),
            },
            Ok(None) => Inspected {
                entry: entry.clone(),
                problems: vec![Problem::Unreachable],
                corrected: None,
            },
            Err(error) if is_bad_content(&error) => unreadable(error.to_string()),
            Err(error) => return Err(error),
        });
    }
    Ok(inspected)
}

/// Whether an error is about one manifest, rather than about the place that has it.
fn is_bad_content(error: &client::Error) -> bool {
    use client::Error;
    matches!(
        error,
        Error::BadManifest { .. }
            | Error::DigestMismatch { .. }
            | Error::TooLarge { .. }
            | Error::WrongContentType { .. }
            | Error::Unreadable { .. }
            | Error::LayoutDigest { .. }
    )
}

fn compare(entry: &Descriptor, manifest: &Manifest, view: &ManifestView, subject: &Digest) -> Inspected {
    let truth = view.referrer_descriptor(&manifest.media_type, entry.digest, manifest.bytes.len() as u64);
    let mut corrected = entry.clone();
    corrected.media_type.clone_from(&truth.media_type);
    corrected.size = truth.size;
    corrected.artifact_type.clone_from(&truth.artifact_type);
    if let Some(annotations) = &truth.annotations {
        let kept = corrected.annotations.get_or_insert_default();
        kept.extend(annotations.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
    let shown = |descriptor: &Descriptor| {
        let annotations = descriptor.annotations.clone().unwrap_or_default();
        let annotations = match annotations.is_empty() {
            true => String::new(),
            false => serde_json::to_string(&annotations).unwrap_or_default(),
        };
        [
            ("mediaType", descriptor.media_type.clone()),
            ("size", descriptor.size.to_string()),
            (
                "artifactType",
                descriptor.artifact_type.clone().unwrap_or_default(),
            ),
            ("annotations", annotations),
        ]
    };
    let mut problems: Vec<Problem> = shown(entry)
        .into_iter()
        .zip(shown(&corrected))
        .filter(|(listed, expected)| listed != expected)
        .map(|((field, listed), (_, expected))| Problem::Wrong {
            field,
            listed,
            expected,
        })
        .collect();
    let subjects = view.subjects();
    match subjects.first() {
        None => problems.push(Problem::NoSubject),
        Some(other) if subjects.iter().all(|s| s.digest != *subject) => problems.push(Problem::Foreign {
            refers_to: other.digest,
        }),
        Some(_) => {}
    }
    Inspected {
        entry: entry.clone(),
        problems,
        corrected: Some(corrected),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(entry: serde_json::Value, manifest: serde_json::Value) -> Vec<Problem> {
        let manifest = Manifest::new(oci::media_type::OCI_ARTIFACT, manifest.to_string());
        let mut whole = json!({
            "mediaType": oci::media_type::OCI_ARTIFACT, "digest": manifest.digest, "size": manifest.bytes.len(),
            "artifactType": "a/b", "annotations": {"k": "v"}
        });
        for (key, value) in entry.as_object().expect("an object") {
            whole[key] = value.clone();
        }
        let entry: Descriptor = serde_json::from_value(whole).expect("a descriptor");
        let view = manifest.view().expect("a manifest");
        let inspected = compare(&entry, &manifest, &view, &Digest::sha256(b"subject"));
        let again = compare(
            &inspected.corrected.expect("a correction"),
            &manifest,
            &view,
            &Digest::sha256(b"subject"),
        );
        assert!(
            !again.problems.iter().any(|p| matches!(p, Problem::Wrong { .. })),
            "{again:?}"
        );
        inspected.problems
    }

    fn manifest(subject: &[u8]) -> serde_json::Value {
        json!({
            "schemaVersion": 2, "mediaType": oci::media_type::OCI_ARTIFACT, "artifactType": "a/b", "blobs": [],
            "refers": {"mediaType": oci::media_type::OCI_INDEX, "size": 7, "digest": Digest::sha256(subject)},
            "annotations": {"k": "v"}
        })
    }

    #[test]
    fn an_entry_that_says_what_its_manifest_says_has_no_problem() {
        assert_eq!(problems(json!({}), manifest(b"subject")), []);
        let more = json!({"annotations": {"k": "v", "of-the-index": "1"}});
        assert_eq!(problems(more, manifest(b"subject")), []);
    }

    #[test]
    fn each_wrong_field_is_named_with_what_was_expected() {
        for (entry, field, listed, expected) in [
            (json!({"artifactType": null}), "artifactType", "", "a/b"),
            (json!({"artifactType": "x/y"}), "artifactType", "x/y", "a/b"),
            (json!({"annotations": null}), "annotations", "", "{\"k\":\"v\"}"),
            (
                json!({"annotations": {"k": "w"}}),
                "annotations",
                "{\"k\":\"w\"}",
                "{\"k\":\"v\"}",
            ),
            (
                json!({"mediaType": "x/y"}),
                "mediaType",
                "x/y",
                oci::media_type::OCI_ARTIFACT,
            ),
        ] {
            let wrong = Problem::Wrong {
                field,
                listed: listed.to_owned(),
                expected: expected.to_owned(),
            };
            assert_eq!(problems(entry, manifest(b"subject")), [wrong]);
        }
    }

    #[test]
    fn a_manifest_about_another_subject_is_foreign() {
        let refers_to = Digest::sha256(b"other");
        assert_eq!(
            problems(json!({}), manifest(b"other")),
            [Problem::Foreign { refers_to }]
        );
        let mut silent = manifest(b"x");
        silent.as_object_mut().expect("an object").remove("refers");
        assert_eq!(problems(json!({}), silent), [Problem::NoSubject]);
    }
}
