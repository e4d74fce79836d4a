//! Manifests: what the view says is what a plain reading of the JSON says, and reading it again says the same.

use crate::grammar::check_error;
use oci::{Descriptor, ManifestKind, ManifestView, media_type};
use serde_json::Value;

/// A `Content-Type` on the first line (none if it is empty), and a body.
pub fn check(input: &[u8]) {
    let end = input.iter().position(|b| *b == b'\n').unwrap_or(0);
    let content_type = std::str::from_utf8(&input[..end]).ok().filter(|t| !t.is_empty());
    let body = input.get(end + 1..).unwrap_or_default();
    match ManifestView::parse(content_type, body) {
        Ok(view) => sound(&view, content_type, body),
        Err(error) => check_error(&error),
    }
}

fn sound(view: &ManifestView, content_type: Option<&str>, body: &[u8]) {
    let text_of_it = std::str::from_utf8(body).expect("what was read is UTF-8");
    // A number beyond every range in a field that the view passes over: it is stored as it came, and others may read it.
    let Ok(json) = serde_json::from_str::<Value>(text_of_it) else {
        return;
    };
    assert!(json.is_object());
    let own = view.kind.media_type();
    assert_eq!(
        ManifestView::parse(Some(own), body).as_ref(),
        Ok(view),
        "as {own}"
    );
    assert_eq!(ManifestKind::from_media_type(own), Some(view.kind));
    for stated in [content_type.map(media_type::essence), text(&json, "mediaType")] {
        if let Some(stated) = stated.filter(|t| !t.is_empty() && t != media_type::JSON) {
            assert_eq!(stated, own);
        }
    }
    let blobs = match view.kind {
        ManifestKind::Artifact => "blobs",
        _ => "layers",
    };
    assert_eq!(digests(&view.blobs), digests_in(&json[blobs]));
    assert_eq!(digests(&view.manifests), digests_in(&json["manifests"]));
    assert!(
        view.blobs.is_empty() || view.manifests.is_empty(),
        "two things at once"
    );
    for (field, read, has_place) in [
        ("config", &view.config, view.kind.is_image()),
        ("refers", &view.refers, true),
        ("subject", &view.subject, true),
    ] {
        let there = digests_in_one(if has_place { &json[field] } else { &Value::Null });
        assert_eq!(digests(read.as_slice()), there, "{field} of {:?}", view.kind);
    }
    subjects(view);
    listed(view, body);
}

fn subjects(view: &ManifestView) {
    let subjects = view.subjects();
    assert_eq!(
        subjects.is_empty(),
        view.refers.is_none() && view.subject.is_none()
    );
    if let [one, two] = subjects[..] {
        assert_ne!(one.digest, two.digest);
    }
}

/// The descriptor that stands in lists of referrers survives them.
fn listed(view: &ManifestView, body: &[u8]) {
    let digest = oci::Digest::sha256(body);
    let descriptor = view.referrer_descriptor(view.kind.media_type(), digest, body.len() as u64);
    let text = serde_json::to_string(&descriptor).expect("JSON");
    let again: Descriptor = serde_json::from_str(&text).expect("a descriptor");
    assert_eq!(again, descriptor);
    assert_eq!(descriptor.artifact_type.as_deref(), view.listed_artifact_type());
}

fn text(json: &Value, key: &str) -> Option<String> {
    json[key].as_str().map(str::to_owned)
}

fn digests(descriptors: &[Descriptor]) -> Vec<String> {
    descriptors.iter().map(|d| d.digest.to_string()).collect()
}

fn digests_in(list: &Value) -> Vec<String> {
    let entries = list.as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().filter_map(|entry| text(entry, "digest")).collect()
}

fn digests_in_one(descriptor: &Value) -> Vec<String> {
    text(descriptor, "digest").into_iter().collect()
}
