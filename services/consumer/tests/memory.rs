//! Memory stays flat with the size of what is pulled or got.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Algorithm, Descriptor, Hasher, media_type};
use serde_json::json;
use testkit::{FaultServer, Reply, Tool, fault::noise};

/// The length of the content, made as it is sent.
const BLOB_BYTES: u64 = 256 * 1024 * 1024;
/// What a transfer may take, in KiB: the promise is for blobs of any length.
const MAX_RESIDENT_KIB: u64 = 64 * 1024;

/// A registry with an image that has one layer, and a reference whose content is the same.
fn source() -> (FaultServer, String) {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    noise(BLOB_BYTES).for_each(|piece| hasher.update(&piece));
    let blob = Descriptor::new(media_type::OCI_LAYER, hasher.finish(), BLOB_BYTES);
    let image = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, b"{}"), "layers": [blob]})
    .to_string();
    let artifact = json!({"schemaVersion": 2, "mediaType": media_type::OCI_ARTIFACT, "artifactType": "a/b",
        "blobs": [blob], "refers": Descriptor::of(media_type::OCI_MANIFEST, image.as_bytes())})
    .to_string();
    let digest = oci::Digest::sha256(artifact.as_bytes()).to_string();
    let wanted = digest.clone();
    let server = FaultServer::start(move |request| match request.path.as_str() {
        path if path.ends_with(&blob.digest.to_string()) => Reply::Noise(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {BLOB_BYTES}\r\n\r\n").into_bytes(),
            BLOB_BYTES,
        ),
        path if path.ends_with(&wanted) => {
            Reply::new(200, &[("Content-Type", media_type::OCI_ARTIFACT)], &artifact)
        }
        path if path.contains("/blobs/") => Reply::new(200, &[], "{}"),
        _ => Reply::new(200, &[("Content-Type", media_type::OCI_MANIFEST)], &image),
    });
    (server, digest)
}

#[test]
fn pulling_and_getting_stay_within_64_mebibytes_wherever_the_content_goes() {
    let (server, artifact) = source();
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let host = server.host();
    for line in [
        format!("pull {host}/app:latest"),
        format!("pull --output kept {host}/app:latest"),
        format!("artifact get {host}/app@{artifact}"),
        format!("artifact get --output out {host}/app@{artifact}"),
    ] {
        let (ran, peak) = tool.line_measured(&line);
        ran.expect(0);
        println!("{line}: at most {peak} KiB resident");
        assert!(0 < peak && peak < MAX_RESIDENT_KIB, "{line}: {peak} KiB");
    }
}
