//! How a registry is reached: by https unless it is near or set otherwise, with its certificate checked, and with secrets
//! that only it gets to see.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Digest, media_type};
use serde_json::json;
use testkit::{Certificate, FaultServer, Image, Registry, Reply, Tool, fault::Seen};

/// A host that no resolver knows: only a proxy can lead there.
const ELSEWHERE: &str = "registry.invalid";
/// `user:hunter2`
const PASSWORD: &str = "dXNlcjpodW50ZXIy";

fn consumer() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete")
}

fn empty_index() -> Reply {
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []});
    Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], index.to_string())
}

/// Stands for every host: what a tool asks of others goes there first.
fn everywhere(script: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> (FaultServer, Tool) {
    let proxy = FaultServer::start(script);
    let url = proxy.url();
    let tool = consumer().env("HTTP_PROXY", &url).env("HTTPS_PROXY", &url);
    (proxy, tool)
}

/// Leaves a password in the tool's Docker configuration, as `docker login` does.
fn log_in(tool: &Tool, host: &str) {
    std::fs::create_dir_all(tool.folder().join("docker")).expect("a folder");
    let config = json!({"auths": {host: {"auth": PASSWORD}}});
    tool.write("docker/config.json", config.to_string());
}

fn refs(host: &str) -> String {
    format!("refs {host}/app@{}", Digest::sha256(b"subject"))
}

#[test]
fn a_registry_elsewhere_is_asked_by_https_unless_plain_http_is_asked_for() {
    let (proxy, tool) = everywhere(|seen| match seen.method.as_str() {
        "CONNECT" => Reply::new(403, &[], "no tunnels here"),
        _ => empty_index(),
    });
    tool.line(&refs(ELSEWHERE)).expect(7);
    assert_eq!(proxy.lines(), ["CONNECT registry.invalid:443"]);
    let ran = tool.line(&format!("--plain-http {}", refs(ELSEWHERE))).expect(0);
    assert_eq!(ran.json()["manifests"], json!([]));
    let asked = proxy.lines().pop().expect("a request");
    assert!(
        asked.starts_with("GET http://registry.invalid/v2/app/"),
        "{asked}"
    );
    // The same, kept for every later command.
    tool.line(&format!("registry set --tls disabled {ELSEWHERE}"))
        .expect(0);
    tool.line(&refs(ELSEWHERE)).expect(0);
}

#[test]
fn a_password_goes_over_plain_http_to_a_public_host_only_if_that_was_set_for_it() {
    let (proxy, tool) = everywhere(|seen| match seen.header("Authorization") {
        Some(_) => empty_index(),
        None => Reply::new(401, &[("WWW-Authenticate", "Basic realm=\"r\"")], ""),
    });
    log_in(&tool, ELSEWHERE);
    let ran = tool.line(&format!("--plain-http {}", refs(ELSEWHERE))).expect(6);
    for part in [
        "credentials for registry.invalid are not sent",
        "registry set --tls disabled registry.invalid",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(
        proxy
            .requests()
            .iter()
            .all(|seen| seen.header("Authorization").is_none())
    );
    tool.line(&format!("registry set --tls disabled {ELSEWHERE}"))
        .expect(0);
    tool.line(&refs(ELSEWHERE)).expect(0);
}

#[test]
fn a_certificate_is_checked_unless_that_is_given_up_which_is_told_every_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = Certificate::in_folder(folder.path());
    let mut registry = Registry::complete();
    Image::push(&registry, "app");
    let mut config = registry.config().clone();
    config.http.tls = Some(certificate.settings());
    registry.restart_as(config);
    let (host, tool) = (registry.host(), consumer());
    let refs = format!("refs {host}/app:latest");
    let warning = "warning: --insecure: certificates are not checked";

    tool.line(&format!("registry set --tls enabled {host}")).expect(0);
    let refused = tool.line(&refs).expect(7);
    assert!(
        refused.stderr.contains("TLS failed") && refused.stderr.contains("--ca-cert"),
        "{}",
        refused.stderr
    );
    let authority = certificate.certificate.display();
    let trusted = tool.line(&format!("--ca-cert {authority} {refs}")).expect(0);
    assert!(!trusted.stderr.contains("warning"), "{}", trusted.stderr);
    for line in [format!("--insecure {refs}"), format!("--quiet --insecure {refs}")] {
        let ran = tool.line(&line).expect(0);
        assert_eq!(ran.stderr.matches(warning).count(), 1, "{line}: {}", ran.stderr);
    }

    tool.line(&format!("registry set --tls insecure {host}"))
        .expect(0);
    tool.line(&refs).expect(0);
}

#[test]
fn neither_password_nor_token_is_in_a_log_or_a_recording() {
    let server = FaultServer::start(|seen| {
        let host = seen.header("Host").expect("a host");
        match seen.header("Authorization") {
            Some(basic) if basic.ends_with(PASSWORD) && seen.path.starts_with("/token?") => {
                Reply::new(200, &[], r#"{"token":"t0p-s3cr3t","expires_in":300}"#)
            }
            Some("Bearer t0p-s3cr3t") if seen.path.contains("moved") => empty_index(),
            Some("Bearer t0p-s3cr3t") => {
                let target = format!("http://{host}/v2/moved?X-Amz-Signature=s1gned");
                Reply::new(
                    307,
                    &[("Location", &target), ("Set-Cookie", "session=c00kie")],
                    "",
                )
            }
            _ => {
                let challenge = format!(
                    "Bearer realm=\"http://{host}/token\",service=\"s\",scope=\"repository:app:pull\""
                );
                Reply::new(401, &[("WWW-Authenticate", &challenge)], "")
            }
        }
    });
    let tool = consumer();
    log_in(&tool, &server.host());
    let ran = tool
        .line(&format!("--har out.har -v=trace {}", refs(&server.host())))
        .expect(0);
    let har = std::fs::read_to_string(tool.folder().join("out.har")).expect("a recording");
    for secret in [PASSWORD, "hunter2", "t0p-s3cr3t", "s1gned", "c00kie"] {
        assert!(
            !ran.stderr.contains(secret),
            "{secret} in the log: {}",
            ran.stderr
        );
        assert!(!har.contains(secret), "{secret} in the recording: {har}");
    }
    assert!(
        ran.stderr.contains("/token?") && har.contains("[removed]"),
        "{}",
        ran.stderr
    );
}
