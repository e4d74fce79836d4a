//! Memory stays flat with blob size: a blob goes through the tool and is never held by it.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Algorithm, Descriptor, Digest, Hasher, media_type};
use serde_json::json;
use std::time::Duration;
use testkit::{
    FaultServer, Reply, Tool,
    fault::{Gate, noise},
};

/// The length of the blob: made by one server as it is sent, hashed by the other as it comes, and kept by nobody.
const BLOB_BYTES: u64 = 512 * 1024 * 1024;
/// What a transfer may take, in KiB: the promise is for blobs of any length.
const MAX_RESIDENT_KIB: u64 = 64 * 1024;

fn source(blob: Descriptor) -> FaultServer {
    let manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, b"{}"), "layers": [blob]})
    .to_string();
    FaultServer::start(move |request| match request.path.as_str() {
        "/v2/app/manifests/latest" => {
            Reply::new(200, &[("Content-Type", media_type::OCI_MANIFEST)], &manifest)
        }
        path if path.ends_with(&blob.digest.to_string()) => Reply::Noise(
            format!("HTTP/1.1 200 OK\r\nContent-Length: {BLOB_BYTES}\r\n\r\n").into_bytes(),
            BLOB_BYTES,
        ),
        path if path.contains("/blobs/") => Reply::new(200, &[], "{}"),
        _ => Reply::new(404, &[], ""),
    })
}

/// Takes every upload; the answer to a manifest waits for the gate, when all blobs have gone through.
fn sink(gate: &Gate) -> FaultServer {
    let gate = gate.clone();
    FaultServer::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::head(404, &[], 0),
        "POST" | "PATCH" => Reply::new(202, &[("Location", "/v2/app/blobs/uploads/1")], ""),
        "PUT" if request.path.contains("/manifests/") => Reply::Gated {
            first: Vec::new(),
            gate: gate.clone(),
            rest: b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n".to_vec(),
        },
        "PUT" => Reply::new(201, &[], ""),
        _ => Reply::new(404, &[], ""),
    })
}

/// The most memory that a process had so far, in KiB.
fn peak_resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a figure");
    let figure = line.split_whitespace().nth(1).expect("a figure");
    figure.parse().expect("a number")
}

#[test]
fn a_copy_of_half_a_gibibyte_stays_within_64_mebibytes() {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    noise(BLOB_BYTES).for_each(|piece| hasher.update(&piece));
    let digest: Digest = hasher.finish();
    let gate = Gate::default();
    let (from, to) = (
        source(Descriptor::new(media_type::OCI_LAYER, digest, BLOB_BYTES)),
        sink(&gate),
    );
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("current");
    let names = (
        format!("{}/app:latest", from.host()),
        format!("{}/app:latest", to.host()),
    );
    let mut child = tool
        .command(&["copy", &names.0, &names.1])
        .spawn()
        .expect("started");
    let is_manifest = |line: &String| line.starts_with("PUT /v2/app/manifests/");
    while !to.lines().iter().any(is_manifest) {
        assert_eq!(
            child.try_wait().expect("a child"),
            None,
            "it ended before the manifest was sent"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let peak = peak_resident_kib(child.id());
    gate.open();
    let ran = testkit::Ran::from(child.wait_with_output().expect("it ends")).expect(0);
    assert!(ran.stderr.contains("512.0 MiB"), "{}", ran.stderr);
    let uploads = to.requests();
    let large = uploads
        .iter()
        .find(|seen| seen.method == "PATCH")
        .expect("an upload");
    assert_eq!((large.body_length, large.body_digest), (BLOB_BYTES, digest));
    assert!(peak < MAX_RESIDENT_KIB, "{peak} KiB");
}
