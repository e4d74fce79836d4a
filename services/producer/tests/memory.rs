//! Memory stays flat with blob size: a blob goes through the tool and is never held by it.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Algorithm, Descriptor, Hasher, media_type};
use serde_json::json;
use std::{
    process::Command,
    time::{Duration, Instant},
};
use testkit::{
    FaultServer, Reply, Tool,
    fault::{Gate, noise},
    tool::peak_resident_kib,
};

/// The length of the blob: made by one server as it is sent, hashed by the other as it comes, and kept by nobody.
const BLOB_BYTES: u64 = 512 * 1024 * 1024;
/// The same of the test that is run by hand, where there is time for it.
const LARGE_BLOB_BYTES: u64 = 10 * 1024 * 1024 * 1024;
/// What is written to a disk on the way.
const KEPT_BLOB_BYTES: u64 = 256 * 1024 * 1024;
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
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", blob.size).into_bytes(),
            blob.size,
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

/// A layer of noise.
fn layer(length: u64) -> Descriptor {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    noise(length).for_each(|piece| hasher.update(&piece));
    Descriptor::new(media_type::OCI_LAYER, hasher.finish(), length)
}

#[test]
fn a_copy_of_half_a_gibibyte_stays_within_64_mebibytes() {
    assert_stays_flat(BLOB_BYTES, "512.0 MiB");
}

#[test]
#[ignore = "takes minutes: cargo test --release -p producer --test memory -- --ignored --nocapture"]
fn a_copy_of_ten_gibibytes_stays_within_64_mebibytes() {
    assert_stays_flat(LARGE_BLOB_BYTES, "10.0 GiB");
}

/// Copies a layer of noise from one server to another, and measures when all of it has gone through.
#[track_caller]
fn assert_stays_flat(length: u64, told: &str) {
    let began = Instant::now();
    let blob = layer(length);
    let gate = Gate::default();
    let (from, to) = (source(blob.clone()), sink(&gate));
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
    let peak = peak_resident_kib(child.id()).expect("it runs");
    gate.open();
    let ran = testkit::Ran::from(child.wait_with_output().expect("it ends")).expect(0);
    println!(
        "{told} in {:.0} s: at most {peak} KiB resident",
        began.elapsed().as_secs_f64()
    );
    assert!(ran.stderr.contains(told), "{}", ran.stderr);
    let uploads = to.requests();
    let large = uploads
        .iter()
        .find(|seen| seen.method == "PATCH")
        .expect("an upload");
    assert_eq!((large.body_length, large.body_digest), (length, blob.digest));
    assert!(peak < MAX_RESIDENT_KIB, "{peak} KiB");
}

#[test]
fn memory_stays_flat_through_a_layout_an_archive_and_an_attachment_too() {
    let gate = Gate::default();
    gate.open();
    let (from, to) = (source(layer(KEPT_BLOB_BYTES)), sink(&gate));
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("intermediate");
    let within = |line: &str| {
        let (ran, peak) = tool.line_measured(line);
        ran.expect(0);
        println!("{line}: at most {peak} KiB resident");
        assert!(0 < peak && peak < MAX_RESIDENT_KIB, "{line}: {peak} KiB");
    };
    let (from, to) = (from.host(), to.host());
    within(&format!("copy {from}/app:latest oci:kept:latest"));
    within(&format!("copy oci:kept:latest {to}/app:latest"));
    let packed = Command::new("tar")
        .args(["-cf", "kept.tar", "-C", "kept", "."])
        .current_dir(tool.folder())
        .status();
    assert!(packed.is_ok_and(|status| status.success()), "tar packs");
    within(&format!("copy oci-archive:kept.tar:latest {to}/app:latest"));
    let registry = testkit::Registry::current();
    testkit::Image::push(&registry, "app");
    within(&format!(
        "attach kept.tar application/x-tar misc {}/app:latest",
        registry.host()
    ));
}
