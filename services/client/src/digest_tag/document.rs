//! The document under a digest tag: read, and what changes make of it. No requests.

use crate::{Error, Manifest, Result, error::clean};
use oci::{Descriptor, Digest, ManifestKind, Tag, media_type};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fmt;

/// The index under a digest tag, as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct TagIndex {
    /// The tag.
    pub tag: Tag,
    /// The index's own digest.
    pub digest: Digest,
    /// The whole document, every field kept in its order.
    pub document: Value,
    /// Its entries that can be read, in their order.
    pub entries: Vec<Descriptor>,
    /// The entries that cannot be read as descriptors: position and reason. They stay as they are.
    pub unreadable: Vec<(usize, String)>,
}

/// What to change in a digest tag's index.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Add this entry, if none has its digest.
    Append(Descriptor),
    /// Take out every entry with this digest.
    Remove(Digest),
    /// Put this entry in the place of the (first) one with its digest and drop its duplicates; add it if there is none. For repairs.
    Replace(Descriptor),
}

impl TagIndex {
    /// Reads the manifest under a digest tag; `place` is the repository or layout that has it, for errors.
    ///
    /// # Errors
    /// `NotADigestTag` if it is no image index.
    pub(crate) fn parse(place: &impl fmt::Display, tag: &Tag, manifest: &Manifest) -> Result<TagIndex> {
        let wrong = |found: String| Error::NotADigestTag {
            repository: place.to_string(),
            tag: tag.to_string(),
            found,
        };
        if manifest.kind() != Some(ManifestKind::Index) {
            return Err(wrong(format!(
                "a manifest of type {}",
                clean(&manifest.media_type)
            )));
        }
        let document: Value =
            serde_json::from_slice(&manifest.bytes).map_err(|e| wrong(format!("broken JSON: {e}")))?;
        let listed = match document.get("manifests") {
            Some(Value::Array(listed)) => listed.as_slice(),
            Some(Value::Null) | None if document.is_object() => &[],
            _ => return Err(wrong("an index whose manifests are no list".to_owned())),
        };
        let (mut entries, mut unreadable) = (Vec::new(), Vec::new());
        for (position, entry) in listed.iter().enumerate() {
            match Descriptor::deserialize(entry) {
                Ok(entry) => entries.push(entry),
                Err(e) => unreadable.push((position, clean(&e.to_string()))),
            }
        }
        Ok(TagIndex {
            tag: tag.clone(),
            digest: manifest.digest,
            document,
            entries,
            unreadable,
        })
    }
}

/// What [`super::change`] would make of a document (`None`: an absent tag); pure, for dry runs. The result equals the input if
/// nothing changes.
pub fn preview(document: Option<&Value>, changes: &[Change]) -> Value {
    let mut next = document
        .cloned()
        .unwrap_or_else(|| json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}));
    let mut entries = match next.get("manifests") {
        Some(Value::Array(entries)) => entries.clone(),
        _ => Vec::new(),
    };
    let before = entries.clone();
    for change in changes {
        apply(&mut entries, change);
    }
    // A list that is null stays so until there is something to put into it.
    if entries != before
        && let Value::Object(fields) = &mut next
    {
        fields.insert("manifests".to_owned(), Value::Array(entries));
    }
    next
}

fn apply(entries: &mut Vec<Value>, change: &Change) {
    let has = |entry: &Value, digest: &Digest| {
        entry.get("digest").and_then(Value::as_str) == Some(&digest.to_string())
    };
    match change {
        Change::Append(descriptor) => {
            if !entries.iter().any(|entry| has(entry, &descriptor.digest)) {
                entries.push(json!(descriptor));
            }
        }
        Change::Remove(digest) => entries.retain(|entry| !has(entry, digest)),
        Change::Replace(descriptor) => {
            let place = entries.iter().position(|entry| has(entry, &descriptor.digest));
            entries.retain(|entry| !has(entry, &descriptor.digest));
            entries.insert(place.unwrap_or(entries.len()), json!(descriptor));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Descriptor {
        Descriptor::of(media_type::OCI_MANIFEST, text.as_bytes())
    }

    #[test]
    fn an_appended_entry_leaves_the_others_as_they_are() {
        let text = r#"{"x-first":[1.5],"schemaVersion":2,"manifests":[{"zeta":1,"digest":"not one","alpha":2}],"annotations":{"b":"1","a":"2"}}"#;
        let before: Value = serde_json::from_str(text).expect("JSON");
        let after = preview(Some(&before), &[Change::Append(entry("a"))]).to_string();
        let (start, end) = text.split_at(text.find("}],\"annotations\"").expect("a place") + 1);
        assert!(after.starts_with(start) && after.ends_with(end), "{after}");
        let again: Value = serde_json::from_str(&after).expect("JSON");
        assert_eq!(preview(Some(&again), &[Change::Append(entry("a"))]), again);
    }

    #[test]
    fn an_absent_tag_becomes_an_index_with_a_list() {
        let made = preview(None, &[Change::Append(entry("a"))]).to_string();
        assert!(made.starts_with(r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"mediaType""#), "{made}");
        let null = json!({"schemaVersion": 2, "manifests": null});
        assert_eq!(
            preview(Some(&null), &[Change::Remove(Digest::sha256(b"a"))]),
            null
        );
    }

    #[test]
    fn removing_takes_duplicates_and_replacing_keeps_the_place() {
        let full = preview(None, &[Change::Append(entry("a")), Change::Append(entry("b"))]);
        let mut mended = entry("a");
        mended.artifact_type = Some("t/x".to_owned());
        let replaced = preview(Some(&full), &[Change::Replace(mended.clone())]);
        assert_eq!(replaced["manifests"][0], json!(mended));
        let twice = json!({"manifests": [full["manifests"][0], full["manifests"][1], full["manifests"][0]]});
        let removed = preview(Some(&twice), &[Change::Remove(entry("a").digest)]);
        assert_eq!(removed["manifests"], json!([full["manifests"][1]]));
    }
}
