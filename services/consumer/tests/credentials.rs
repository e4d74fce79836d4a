//! Credentials from helper programs, as `docker login` sets them up.

#![cfg(unix)]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Digest, media_type};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use testkit::{FaultServer, Reply, Tool};

/// Speaks the protocol of credential helpers: `get`, the host on standard input, JSON on standard output.
const HELPER: &str = r#"#!/bin/sh
read -r host
echo "$1 $host" >> "$HOME/asked"
case "$host" in
  @HOST@) echo '{"ServerURL":"@HOST@","Username":"user","Secret":"hunter2"}' ;;
  *) echo "credentials not found in native keychain"; exit 1 ;;
esac
"#;

/// Lets in who says `user:hunter2`, and nobody else.
fn guarded() -> FaultServer {
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}).to_string();
    FaultServer::start(move |seen| match seen.header("Authorization") {
        Some("Basic dXNlcjpodW50ZXIy") => Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], &index),
        _ => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""),
    })
}

/// A consumer with a helper called `lab` on its PATH, that knows the password of one host.
fn tool(known: &str, config: &Value) -> Tool {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let programs = tool.folder().join("programs");
    std::fs::create_dir_all(tool.folder().join("docker")).expect("a folder");
    std::fs::create_dir_all(&programs).expect("a folder");
    tool.write("docker/config.json", config.to_string());
    let helper = programs.join("docker-credential-lab");
    std::fs::write(&helper, HELPER.replace("@HOST@", known)).expect("a helper");
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let path = std::env::var("PATH").unwrap_or_default();
    tool.env("PATH", &format!("{}:{path}", programs.display()))
}

#[test]
fn helpers_are_asked_for_credentials_whether_for_one_registry_or_for_all() {
    let server = guarded();
    let (host, subject) = (server.host(), Digest::sha256(b"subject"));
    for config in [
        json!({"credHelpers": {host.as_str(): "lab"}}),
        json!({"credsStore": "lab"}),
    ] {
        let tool = tool(&host, &config);
        let ran = tool
            .run(&[
                "--har",
                "out.har",
                "-v=trace",
                "refs",
                &format!("{host}/app@{subject}"),
            ])
            .expect(0);
        assert_eq!(ran.json()["manifests"], json!([]));
        let asked = std::fs::read_to_string(tool.folder().join("asked")).expect("it was asked");
        assert_eq!(asked.lines().next(), Some(format!("get {host}").as_str()));
        let har = std::fs::read_to_string(tool.folder().join("out.har")).expect("a recording");
        for secret in ["hunter2", "dXNlcjpodW50ZXIy"] {
            assert!(!har.contains(secret) && !ran.stderr.contains(secret), "{secret}");
        }
    }
}

#[test]
fn a_helper_without_credentials_for_the_registry_means_nobody() {
    let server = guarded();
    let name = format!("{}/app@{}", server.host(), Digest::sha256(b"subject"));
    let tool = tool("other.example", &json!({"credsStore": "lab"}));
    let ran = tool.run(&["refs", &name]).expect(6);
    assert!(ran.stderr.contains("docker login"), "{}", ran.stderr);
    assert!(tool.folder().join("asked").exists());
}
