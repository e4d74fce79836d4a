//! The sequence of requests that faults are put into: every way of changing and of reading a registry.

use crate::lab::{Lab, Step};
use crate::support::{Request, complete, current, image, index};
use oci::{Digest, digest_tag, media_type};

const CONFIG: &[u8] = b"{}";
const LAYERS: [&[u8]; 4] = [b"first layer", b"second layer", b"third layer", b"fourth layer"];

/// Larger than what is read at once, so that it goes through a file and is served in pieces.
pub fn large() -> Vec<u8> {
    (0..300_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

pub fn picture(layer: &[u8], more: &str) -> (Digest, String) {
    let body = image(&Digest::sha256(CONFIG), &Digest::sha256(layer), layer.len(), more);
    (Digest::sha256(body.as_bytes()), body)
}

pub fn first() -> (Digest, String) {
    picture(LAYERS[0], "")
}

pub fn second() -> (Digest, String) {
    picture(LAYERS[1], "")
}

/// Refers to the first image and is pushed to a registry without the referrers API.
pub fn early() -> (Digest, String) {
    picture(LAYERS[2], &refers_to(&first().0))
}

/// Refers to the first image.
pub fn late() -> (Digest, String) {
    picture(LAYERS[3], &refers_to(&first().0))
}

pub fn refers_to(subject: &Digest) -> String {
    format!(
        ",\"subject\":{{\"mediaType\":\"{}\",\"size\":2,\"digest\":\"{subject}\"}}",
        media_type::OCI_MANIFEST
    )
}

pub fn images() -> Vec<(Digest, Vec<Digest>)> {
    [first(), second(), early(), late()]
        .into_iter()
        .zip(LAYERS)
        .map(|((digest, _), layer)| (digest, vec![Digest::sha256(CONFIG), Digest::sha256(layer)]))
        .collect()
}

/// Subjects and what refers to them; the second image is listed under the first one's referrer's… digest tag.
pub fn referrers() -> Vec<(Digest, Digest)> {
    vec![(first().0, early().0), (first().0, late().0)]
}

pub fn tags() -> Vec<String> {
    vec![
        "v".into(),
        "w".into(),
        "x".into(),
        digest_tag::of(&early().0).to_string(),
    ]
}

pub fn list() -> String {
    index(&[late().0])
}

pub fn paths() -> Vec<String> {
    let mut paths = vec!["/v2/_catalog".to_owned()];
    let manifests = images().into_iter().map(|(digest, _)| digest.to_string());
    let index = Digest::sha256(list().as_bytes()).to_string();
    paths.extend(
        manifests
            .chain(tags())
            .chain([index])
            .map(|reference| format!("/v2/a/manifests/{reference}")),
    );
    let large = large();
    for content in LAYERS.iter().copied().chain([CONFIG, large.as_slice()]) {
        for name in ["a", "b"] {
            paths.push(format!("/v2/{name}/blobs/{}", Digest::sha256(content)));
        }
    }
    for subject in [first().0, early().0] {
        paths.push(format!("/v2/a/referrers/{subject}"));
    }
    paths
}

/// What a step is for, and the step.
pub type Named = (&'static str, fn(&mut Lab) -> Step);

/// The sequence.
pub fn steps() -> Vec<Named> {
    vec![
        ("open a registry without referrers", |lab| lab.open(current())),
        ("push a blob in a PUT", |lab| lab.put_blob(CONFIG)),
        ("push a blob in a POST", |lab| lab.post_blob(LAYERS[0])),
        ("push a blob in chunks", |lab| lab.chunk_blob(LAYERS[1])),
        ("push a blob as a stream", |lab| lab.stream_blob(LAYERS[2])),
        ("push a large blob in a PUT", |lab| lab.put_blob(&large())),
        ("push a blob that is there", |lab| lab.chunk_blob(LAYERS[2])),
        ("push another layer", |lab| lab.post_blob(LAYERS[3])),
        ("mount a blob", |lab| lab.mount(LAYERS[0], "&from=a")),
        ("mount a blob from anywhere", |lab| lab.mount(LAYERS[1], "")),
        ("push an image", |lab| {
            lab.put_manifest("v", &first().1, media_type::OCI_MANIFEST, None)
        }),
        ("push a referrer that is not listed", |lab| {
            let (digest, body) = early();
            lab.put_manifest(&digest.to_string(), &body, media_type::OCI_MANIFEST, None)
        }),
        ("open a registry with referrers", |lab| lab.open(complete())),
        ("push a referrer", |lab| {
            let (digest, body) = late();
            lab.put_manifest(&digest.to_string(), &body, media_type::OCI_MANIFEST, None)
        }),
        ("move a tag on a condition", |lab| {
            let condition = first().0;
            lab.put_manifest("v", &second().1, media_type::OCI_MANIFEST, Some(&condition))
        }),
        ("push a digest tag", |lab| {
            let tag = digest_tag::of(&early().0);
            lab.put_manifest(tag.as_str(), &list(), media_type::OCI_INDEX, None)
        }),
        ("set two tags", |lab| {
            let reference = format!("{}?tag=w&tag=x", first().0);
            lab.put_manifest(&reference, &first().1, media_type::OCI_MANIFEST, None)
        }),
        ("open it again", |lab| lab.open(complete())),
        ("read a tag", |lab| lab.get("/v2/a/manifests/v")),
        ("read a manifest's head", |lab| {
            let path = format!("/v2/a/manifests/{}", late().0);
            lab.send(&[200], Request::new("HEAD", &path)).map(|_| ())
        }),
        ("read a small blob", |lab| {
            lab.get(&format!("/v2/a/blobs/{}", Digest::sha256(LAYERS[0])))
        }),
        ("read a blob's head", |lab| {
            let path = format!("/v2/b/blobs/{}", Digest::sha256(LAYERS[1]));
            lab.send(&[200], Request::new("HEAD", &path)).map(|_| ())
        }),
        ("list tags", |lab| lab.get("/v2/a/tags/list")),
        ("list repositories", |lab| lab.get("/v2/_catalog")),
        ("list referrers", |lab| {
            lab.get(&format!("/v2/a/referrers/{}", first().0))
        }),
        ("list referrers of a digest tag", |lab| {
            lab.get(&format!("/v2/a/referrers/{}", early().0))
        }),
        ("delete a tag", |lab| lab.delete("/v2/a/manifests/x")),
        ("delete a referrer", |lab| {
            lab.delete(&format!("/v2/a/manifests/{}", early().0))
        }),
        ("delete an image with its tags", |lab| {
            lab.delete(&format!("/v2/a/manifests/{}", second().0))
        }),
        ("delete a blob", |lab| {
            lab.delete(&format!("/v2/b/blobs/{}", Digest::sha256(LAYERS[1])))
        }),
        ("leave an upload", |lab| {
            let session = lab.begin()?;
            let chunk = Request::new("PATCH", &session).body(b"begun");
            lab.send(&[202], chunk).map(|_| ())
        }),
        ("cancel an upload", |lab| {
            let session = lab.begin()?;
            lab.send(&[202], Request::new("PATCH", &session).body(b"begun"))?;
            lab.send(&[204], Request::new("DELETE", &session)).map(|_| ())
        }),
        ("collect garbage", |lab| lab.collect()),
    ]
}
