//! What bounds upload sessions: how many one client may have open, and the purging of those that nobody goes on with.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::Digest;
use registry::{
    Config,
    config::{Anonymous, Auth, Htpasswd},
};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};
use testkit::{
    Registry,
    http::{Request, Response, request},
};

/// "right", hashed with the least cost.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuuFmEfrkTQnczNzw475xE2VhDrK1uwJiC";

/// A registry that lets a client have two sessions.
fn strict(change: impl FnOnce(&mut Config)) -> Registry {
    let mut config = Config::current();
    config.http.limits.clientuploads = 2;
    change(&mut config);
    Registry::start(config)
}

fn begin(registry: &Registry, forwarded_for: &str) -> Response {
    Request::new("POST", "/v2/a/blobs/uploads/")
        .header("X-Forwarded-For", forwarded_for)
        .send(registry.address())
}

#[test]
fn a_client_that_has_too_many_sessions_open_is_told_so_until_one_ends() {
    let registry = strict(|_| {});
    let first = begin(&registry, "").expect(202).location();
    let second = begin(&registry, "").expect(202).location();
    let refused = begin(&registry, "").expect(429);
    assert_eq!(refused.error_code(), "TOOMANYREQUESTS");
    assert!(
        refused
            .text()
            .contains("address 127.0.0.1 has 2 upload sessions open"),
        "{}",
        refused.text()
    );
    // One that is pushed with a single request would be a third one, too.
    let (content, digest) = (b"content", Digest::sha256(b"content"));
    let whole = format!("/v2/a/blobs/uploads/?digest={digest}");
    registry.request("POST", &whole, &[], content).expect(429);
    // A session that has received something counts like any other.
    registry.request("PATCH", &first, &[], b"content").expect(202);
    begin(&registry, "").expect(429);
    registry
        .request("PUT", &format!("{first}?digest={digest}"), &[], b"")
        .expect(201);
    let third = begin(&registry, "").expect(202).location();
    begin(&registry, "").expect(429);
    for session in [second, third] {
        registry.request("DELETE", &session, &[], b"").expect(204);
    }
    for _ in 0..5 {
        registry.request("POST", &whole, &[], content).expect(201);
        let wrong = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"other"));
        registry.request("POST", &wrong, &[], content).expect(400);
    }
    begin(&registry, "").expect(202);
    begin(&registry, "").expect(202);
}

#[test]
fn there_are_only_so_many_sessions_in_all_whoever_began_them() {
    let registry = strict(|config| {
        config.http.limits.uploads = 2;
        config.http.limits.clientuploads = 0;
        config.http.limits.proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let first = begin(&registry, "203.0.113.1").expect(202).location();
    begin(&registry, "203.0.113.2").expect(202);
    let refused = begin(&registry, "203.0.113.3").expect(429);
    assert_eq!(refused.error_code(), "TOOMANYREQUESTS");
    registry.request("DELETE", &first, &[], b"").expect(204);
    begin(&registry, "203.0.113.3").expect(202);
    begin(&registry, "203.0.113.1").expect(429);
}

#[test]
fn sessions_of_before_a_restart_count_once_somebody_goes_on_with_them() {
    let mut registry = strict(|config| {
        config.http.limits.uploads = 2;
        config.http.limits.clientuploads = 0;
    });
    let sessions: Vec<String> = (0..2)
        .map(|_| begin(&registry, "").expect(202).location())
        .collect();
    for session in &sessions {
        registry.request("PATCH", session, &[], b"some").expect(202);
    }
    registry.restart();
    begin(&registry, "").expect(202);
    registry.request("PATCH", &sessions[0], &[], b" more").expect(202);
    begin(&registry, "").expect(429);
    // What was received is not refused for that.
    registry.request("PATCH", &sessions[1], &[], b" more").expect(202);
}

#[test]
fn clients_behind_a_proxy_are_counted_apart_if_the_proxy_is_known() {
    let behind = strict(|config| config.http.limits.proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    for client in ["203.0.113.1", "203.0.113.2"] {
        begin(&behind, client).expect(202);
        begin(&behind, client).expect(202);
        begin(&behind, client).expect(429);
    }
    let direct = strict(|_| {});
    begin(&direct, "203.0.113.1").expect(202);
    begin(&direct, "203.0.113.2").expect(202);
    begin(&direct, "203.0.113.3").expect(429);
}

#[test]
fn users_are_counted_by_their_name_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("htpasswd");
    std::fs::write(&path, format!("alice:{HASH}\nbob:{HASH}\n")).unwrap();
    let registry = strict(|config| {
        config.auth = Some(Auth {
            htpasswd: Htpasswd {
                realm: "lab".to_owned(),
                path,
                anonymous: Anonymous::None,
            },
        });
    });
    let begin = |name: &str| {
        Request::new("POST", "/v2/a/blobs/uploads/")
            .basic_auth(name, "right")
            .send(registry.address())
    };
    begin("alice").expect(202);
    begin("alice").expect(202);
    let refused = begin("alice").expect(429).text();
    assert!(
        refused.contains("has 2 upload sessions open") && refused.contains("alice"),
        "{refused}"
    );
    begin("bob").expect(202);
}

#[test]
fn no_limit_is_a_limit_of_zero() {
    let registry = strict(|config| config.http.limits.clientuploads = 0);
    for _ in 0..10 {
        begin(&registry, "").expect(202);
    }
}

#[test]
fn a_refused_sender_that_never_stops_is_ended() {
    let registry = strict(|_| {});
    for framing in [
        format!("Content-Length: {}", 1_u64 << 50),
        "Transfer-Encoding: chunked".to_owned(),
    ] {
        let mut sender = testkit::http::socket(registry.address());
        let head = format!("PUT /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n");
        sender.write_all(head.as_bytes()).unwrap();
        // What is sent is a chunk, where chunks are asked for.
        let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        let started = std::time::Instant::now();
        while sender.write_all(piece.as_bytes()).is_ok() {
            assert!(started.elapsed().as_secs() < 60, "{framing} is taken in for ever");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The executable on a folder, purging what is older than nothing.
fn command(root: &Path, more: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_registry"));
    command
        .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
        .env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root)
        .env("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_AGE", "0s")
        .envs(more.iter().copied());
    command
}

/// A registry that was started by command; it is killed when the test ends.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves, gives the address to `use_it`, and then waits for a line of the log.
fn wait_for_line(
    root: &Path,
    more: &[(&str, &str)],
    wanted: &str,
    use_it: impl FnOnce(std::net::SocketAddr),
) -> String {
    let mut child = command(root, more)
        .arg("serve")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let _served = Served(child);
    let mut line = String::new();
    BufReader::new(out).read_line(&mut line).unwrap();
    let address = line.split("://").nth(1).and_then(|rest| rest.split(';').next());
    use_it(address.expect(&line).parse().unwrap());
    let mut log = BufReader::new(err).lines().map_while(Result::ok).take(10_000);
    log.find(|line| line.contains(wanted)).expect(wanted)
}

const DRY: &[(&str, &str)] = &[
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "50ms"),
    ("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_DRYRUN", "true"),
    // Nor may the garbage collection take them along.
    ("REGISTRY_STORAGE_MAINTENANCE_GC_ENABLED", "true"),
    ("REGISTRY_STORAGE_MAINTENANCE_GC_INTERVAL", "10ms"),
];

#[test]
fn a_dry_run_of_purging_tells_what_would_go_with_counts_and_bytes_and_leaves_it() {
    let folder = tempfile::tempdir().unwrap();
    let begun = |address| {
        let session = request(address, "POST", "/v2/a/blobs/uploads/", &[], b"")
            .expect(202)
            .location();
        request(address, "PATCH", &session, &[], b"content").expect(202);
    };
    let total = wait_for_line(folder.path(), DRY, "abandoned uploads with 7 bytes", begun);
    assert!(total.contains("upload purging would remove 1 "), "{total}");
    let each = wait_for_line(folder.path(), DRY, "would remove upload", |_| {});
    assert!(each.contains("… of a, 7 bytes, untouched for 0 hours"), "{each}");
    for (arguments, verb) in [(&["gc", "--dry-run"][..], "would remove"), (&["gc"], "removed")] {
        let said = command(folder.path(), &[]).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(
            said.contains(&format!("{verb} upload ")) && said.contains("… of a, 7 bytes"),
            "{said}"
        );
        assert!(said.contains("1 abandoned uploads with 7 bytes"), "{said}");
    }
    let wet = [("REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING_INTERVAL", "50ms")];
    let gone = wait_for_line(folder.path(), &wet, "upload purging", |address| {
        request(address, "POST", "/v2/a/blobs/uploads/", &[], b"").expect(202);
    });
    assert!(
        gone.contains("upload purging removed 1 abandoned uploads with 0 bytes"),
        "{gone}"
    );
}
