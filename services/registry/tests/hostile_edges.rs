//! Rules of ARCHITECTURE.md, "What is trusted, and what is not", at the registry's edge: what a client writes forges no line
//! of the log and no header of an answer, a request has one length, old versions of TLS are refused, and a failure of ours
//! shows nothing of the machine. Over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::Digest;
use registry::Config;
use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};
use testkit::{
    Certificate, Registry,
    http::{Connection, Request, Response},
};

/// What nobody may find where it does not belong.
const EVIL: &str = "evil";

fn sent(registry: &Registry, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(registry.address());
    connection.write(bytes);
    connection.read(false).expect("an answer")
}

/// Ways to write a line break, and a header or a line behind it.
const BREAKS: &[&str] = &[
    "%0d%0aX-Evil:%20evil",
    "%0aevil",
    "%E2%80%A8evil",
    "%1b%5b2Jevil",
    "%00evil",
    "%22%20evil=%22",
];

#[test]
fn what_a_client_writes_adds_no_header_and_no_control_character_to_an_answer() {
    let registry = Registry::complete();
    let pushed = registry.push_image("a", "v1", b"layer");
    registry.push_image("a", "v2", b"another layer");
    for line_break in BREAKS {
        for (method, target) in [
            ("GET", format!("/v2/a/tags/list?n=1&last={line_break}")),
            ("GET", format!("/v2/{line_break}/tags/list")),
            ("GET", format!("/v2/a/manifests/{line_break}")),
            (
                "GET",
                format!("/v2/a/referrers/{}?artifactType={line_break}&n=1", pushed.digest),
            ),
            ("GET", format!("/v2/_catalog?n=1&last={line_break}")),
            (
                "POST",
                format!("/v2/a/blobs/uploads/?mount={line_break}&from={line_break}"),
            ),
            (
                "POST",
                format!("/v2/a/blobs/uploads/?digest-algorithm={line_break}"),
            ),
            ("PATCH", format!("/v2/a/blobs/uploads/{line_break}")),
            ("PUT", format!("/v2/a/manifests/v3?tag={line_break}")),
        ] {
            let answer = Request::new(method, &target)
                .header("X-Request-ID", line_break)
                .send(registry.address());
            assert!(answer.status < 500, "{method} {target}: {}", answer.status);
            assert_eq!(answer.header("x-evil"), None, "{method} {target}");
            for (name, value) in &answer.headers {
                assert!(
                    value.bytes().all(|b| (0x20..0x7f).contains(&b)),
                    "{name}: {value:?}"
                );
            }
            let text = answer.text();
            assert!(!text.contains(char::is_control), "{method} {target}: {text:?}");
        }
    }
}

#[test]
fn a_media_type_that_holds_a_line_break_or_another_script_is_not_served() {
    let registry = Registry::complete();
    let index = br#"{"schemaVersion":2,"manifests":[]}"#;
    for kind in [
        "text/html",
        "application/vnd.oci.image.index.v1+json\tx",
        "a/b, text/html",
    ] {
        let refused = Request::new("PUT", "/v2/a/manifests/v1")
            .header("Content-Type", kind)
            .body(index)
            .send(registry.address());
        assert_eq!(refused.status, 400, "{kind}: {}", refused.text());
    }
    registry.get("/v2/a/manifests/v1").expect(404);
}

#[test]
fn a_request_whose_length_is_told_twice_is_refused_and_ends_its_connection() {
    let registry = Registry::complete();
    let digest = Digest::sha256(b"hello");
    let target = format!("POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\n");
    let behind = "GET /v2/_catalog HTTP/1.1\r\nHost: x\r\n\r\n";
    for lengths in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
    ] {
        let mut connection = Connection::open(registry.address());
        connection.write(format!("{target}{lengths}\r\nhello{behind}").as_bytes());
        let answers = connection.read_to_end().expect("the end of the connection");
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.starts_with("HTTP/1.1 400 "), "{lengths}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{lengths}: {answers}");
    }
    registry.get(&format!("/v2/a/blobs/{digest}")).expect(404);
}

#[test]
fn a_head_without_an_end_is_refused() {
    let registry = Registry::complete();
    let long = "a".repeat(300 * 1024);
    let answer = sent(
        &registry,
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n").as_bytes(),
    );
    assert!((400..500).contains(&answer.status), "{}", answer.status);
    let many = "X-Many: a\r\n".repeat(2000);
    let answer = sent(
        &registry,
        format!("GET /v2/ HTTP/1.1\r\nHost: x\r\n{many}\r\n").as_bytes(),
    );
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

#[test]
fn a_body_is_taken_as_it_came_whatever_its_encoding_claims() {
    let registry = Registry::complete();
    // An empty gzip member: unpacked it would be nothing.
    let gzip = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let digest = Digest::sha256(&gzip);
    Request::new("POST", &format!("/v2/a/blobs/uploads/?digest={digest}"))
        .header("Content-Encoding", "gzip")
        .body(gzip)
        .send(registry.address())
        .expect(201);
    let answer = Request::new("GET", &format!("/v2/a/blobs/{digest}"))
        .header("Accept-Encoding", "gzip, br, zstd")
        .send(registry.address())
        .expect(200);
    assert_eq!(
        (answer.header("content-encoding"), &answer.body[..]),
        (None, &gzip[..])
    );
}

#[test]
fn tls_is_spoken_in_versions_1_2_and_1_3_and_none_below() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::in_folder(folder.path());
    let mut config = Config::current();
    config.http.tls = Some(certificate.settings());
    let registry = Registry::start(config);
    for version in [[3, 0], [3, 1], [3, 2]] {
        let mut connection = Connection::open(registry.address());
        connection.write(&client_hello(version));
        let answer = connection.read_to_end().expect("the end of the connection");
        // An alert that is fatal: 70 is protocol_version, 40 handshake_failure.
        assert!(
            matches!(answer[..], [21, 3, _, 0, 2, 2, 70 | 40]),
            "TLS {version:?}: {answer:?}"
        );
    }
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let mut connection = certificate
            .connect_by(registry.address(), &[version])
            .unwrap_or_else(|reason| panic!("{version:?}: {reason}"));
        connection.exchange(&Request::new("GET", "/v2/")).expect(200);
    }
}

/// The first message of a client that knows nothing newer than this version.
fn client_hello(version: [u8; 2]) -> Vec<u8> {
    let mut hello = version.to_vec();
    hello.extend([7; 32]);
    // No session, one cipher suite (RSA with AES-128-CBC and SHA), no compression.
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

#[test]
fn a_failure_of_ours_shows_nothing_of_the_machine() {
    let registry = Registry::complete();
    let content = [b'c'; 20_000];
    let digest = registry.push_blob("a", &content);
    // Damaged: a folder where the content's file should be.
    let hex = digest.hex();
    let file = registry
        .storage_dir()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(&hex);
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    let answer = registry.get(&format!("/v2/a/blobs/{digest}"));
    assert_eq!(answer.status, 500, "{}", answer.text());
    assert_eq!(
        answer.json(),
        serde_json::json!({"errors": [{"code": "UNKNOWN", "message": "unknown error"}]})
    );
}

/// The executable, as an operator starts it.
struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    fn start(file: &std::path::Path) -> Served {
        let mut child = Command::new(env!("CARGO_BIN_EXE_registry"))
            .arg("serve")
            .arg(file)
            .env("REGISTRY_HTTP_ADDR", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let told = child.stdout.take().unwrap();
        BufReader::new(told).read_line(&mut line).unwrap();
        let address = line
            .split("://")
            .nth(1)
            .and_then(|rest| rest.split(';').next()?.parse().ok());
        let address = address.unwrap_or_else(|| {
            let _ = child.kill();
            panic!("no address in {line:?}")
        });
        Served { child, address }
    }

    /// Ends it, and reads what it logged.
    fn log(mut self) -> String {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        self.child.wait().unwrap();
        log
    }
}

#[test]
fn what_a_client_writes_forges_no_line_of_the_log() {
    for formatter in ["text", "json"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("registry.yaml");
        let settings =
            format!("version: 0.1\nlog: {{formatter: {formatter}}}\nstorage: {{inmemory: {{}}}}\n");
        std::fs::write(&file, settings).unwrap();
        let served = Served::start(&file);
        for line_break in BREAKS {
            Request::new("GET", &format!("/v2/{line_break}/tags/list"))
                .header("X-Request-ID", &format!("x\t{EVIL} {line_break}"))
                .header("User-Agent", &format!("x\t{EVIL}"))
                .basic_auth(&format!("x\n{EVIL}"), EVIL)
                .send(served.address);
        }
        let log = served.log();
        assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
        let of_requests: Vec<&str> = log.lines().filter(|line| line.contains("/tags/list")).collect();
        assert_eq!(of_requests.len(), BREAKS.len(), "{log}");
        for line in log.lines() {
            let begins_as_ours = line.starts_with("{\"time\":\"20") || line.starts_with("20");
            assert!(begins_as_ours, "{line:?} in {log}");
            assert!(!line.contains(EVIL) || line.contains("/tags/list"), "{line:?}");
        }
    }
}
