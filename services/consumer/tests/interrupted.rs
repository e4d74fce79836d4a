//! Ctrl-C in the middle: the command ends at once, and nothing half-written stays.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::json;
use std::process::Command;
use testkit::{FaultServer, Reply, Tool};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

#[test]
fn an_interrupted_get_ends_at_once_and_leaves_no_file() {
    let content = b"content that never comes whole";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": ARTIFACT, "artifactType": "a/b",
        "blobs": [{"mediaType": "text/plain", "size": content.len(), "digest": oci::Digest::sha256(content)}]
    })
    .to_string();
    let digest = oci::Digest::sha256(manifest.as_bytes());
    let (asked, wait) = std::sync::mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let server = FaultServer::start(move |request| match request.path.as_str() {
        path if path.contains("/blobs/") => {
            let _ = asked.lock().expect("a lock").send(());
            Reply::BytesThenStall(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\nhalf", content.len()).into(),
            )
        }
        path if path.contains("/manifests/") => Reply::new(200, &[("Content-Type", ARTIFACT)], &manifest),
        _ => Reply::new(404, &[], ""),
    });
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let reference = format!("{}/app@{digest}", server.host());
    let child = tool
        .command(&["artifact", "get", "--output", "out", &reference])
        .spawn()
        .expect("the tool runs");
    wait.recv().expect("the blob is asked for");
    let sent = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    let left = std::fs::read_dir(tool.folder().join("out")).map(|folder| folder.count());
    assert_eq!(left.unwrap_or(0), 0);
}
