//! Large blobs on their way out: the first time through the process, which hashes them, and from then on from their file by the
//! kernel. A client must not be able to tell the two apart. Over real sockets.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::Digest;
use registry::{
    Config,
    config::{Debug, Listen, Prometheus},
};
use std::{
    fs,
    io::{Read, Write},
    time::Duration,
};
use testkit::{
    Certificate, Registry,
    http::{Connection, Request, Response, request, socket},
};

/// More than any buffer between the two ends takes.
const BYTES: usize = 24 << 20;

fn content() -> Vec<u8> {
    (0..BYTES as u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[3])
        .collect()
}

/// A registry with a large blob that was read once already.
fn with_blob(config: Config) -> (Registry, Vec<u8>, String) {
    let registry = Registry::start(config);
    let content = content();
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    assert!(registry.get(&path).expect(200).body == content);
    (registry, content, path)
}

fn get(path: &str, range: Option<&str>) -> Request {
    let request = Request::new("GET", path);
    match range {
        Some(range) => request.header("Range", range),
        None => request,
    }
}

#[test]
fn what_the_kernel_sends_is_what_was_sent_through_the_process() {
    let (registry, content, path) = with_blob(Config::complete());
    let mut connection = Connection::open(registry.address());
    for _ in 0..2 {
        let answer = connection.exchange(&get(&path, None)).expect(200);
        assert!(answer.body == content);
        assert_eq!(answer.header("content-length"), Some(BYTES.to_string().as_str()));
        assert_eq!(answer.header_all("content-length").len(), 1);
        assert_eq!(answer.header("transfer-encoding"), None);
    }
    let head = connection.exchange(&Request::new("HEAD", &path)).expect(200);
    assert_eq!(head.header("content-length"), Some(BYTES.to_string().as_str()));
    for (range, start, end) in [
        ("bytes=0-", 0, BYTES),
        ("bytes=1-40000", 1, 40_001),
        ("bytes=-100000", BYTES - 100_000, BYTES),
        ("bytes=10000001-20000000", 10_000_001, 20_000_001),
        ("bytes=7-9", 7, 10),
    ] {
        let answer = connection.exchange(&get(&path, Some(range))).expect(206);
        assert!(answer.body == content[start..end], "{range}");
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {start}-{}/{BYTES}", end - 1).as_str())
        );
    }
}

#[test]
fn answers_that_were_asked_for_at_once_come_one_after_the_other() {
    let (registry, content, path) = with_blob(Config::complete());
    let small = format!("/v2/a/blobs/{}", registry.push_blob("a", b"small"));
    let mut connection = Connection::open(registry.address());
    let host = registry.host();
    let asked: Vec<u8> = [
        get(&small, None),
        get(&path, None),
        get(&small, None),
        get(&path, Some("bytes=5-9999999")),
        get("/v2/", None),
    ]
    .iter()
    .flat_map(|request| request.to_bytes(&host))
    .collect();
    connection.write(&asked);
    let mut next = || -> Response { connection.read(false).expect("an answer") };
    assert_eq!(next().text(), "small");
    assert!(next().body == content);
    assert_eq!(next().text(), "small");
    assert!(next().body == content[5..10_000_000]);
    assert_eq!(next().status, 200);
}

#[test]
fn a_client_that_reads_slowly_gets_all_and_holds_nobody_up() {
    let (registry, content, path) = with_blob(Config::complete());
    let mut slow = socket(registry.address());
    slow.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut first = [0; 1000];
    slow.read_exact(&mut first).unwrap();
    // Both workers serve others while this one waits for its reader.
    for _ in 0..8 {
        let answer = Connection::open(registry.address()).exchange(&get(&path, None));
        assert!(answer.expect(200).body == content);
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).unwrap();
    let all = [&first[..], &rest].concat();
    assert!(all.ends_with(&content));
}

#[test]
fn a_client_that_goes_away_leaves_the_registry_well() {
    let (registry, content, path) = with_blob(Config::complete());
    for _ in 0..4 {
        let mut gone = socket(registry.address());
        gone.write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
            .unwrap();
        gone.read_exact(&mut [0; 1000]).unwrap();
    }
    assert!(registry.get(&path).expect(200).body == content);
}

#[test]
fn a_file_that_is_cut_off_while_it_is_sent_ends_the_answer_early_and_is_refused_from_then_on() {
    let (registry, content, path) = with_blob(Config::complete());
    let mut reader = socket(registry.address());
    reader
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .unwrap();
    reader.read_exact(&mut [0; 1000]).unwrap();
    let hex = Digest::sha256(&content).hex();
    let file = registry
        .storage_dir()
        .join("blobs/sha256")
        .join(&hex[..2])
        .join(hex);
    let file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(1 << 20).unwrap();
    let mut rest = Vec::new();
    // The connection ends: with what was on its way, or with a reset that takes it along.
    let _ = reader.read_to_end(&mut rest);
    assert!(rest.len() < BYTES, "{}", rest.len());
    for request in [get(&path, None), get(&path, Some("bytes=0-99999"))] {
        let answer = request.send(registry.address());
        assert_eq!(answer.status, 500, "{}", answer.text());
    }
}

#[test]
fn bytes_that_the_kernel_sends_are_counted() {
    let mut config = Config::complete();
    config.http.debug = Some(Debug {
        addr: Listen::loopback(0),
        prometheus: Prometheus::default(),
    });
    let (registry, _, path) = with_blob(config);
    let sent = || -> u64 {
        let debug = registry.debug_address().expect("a debug server");
        let page = request(debug, "GET", "/metrics", &[], b"").expect(200).text();
        let line = page
            .lines()
            .find(|line| line.starts_with("registry_http_sent_bytes_total "));
        line.expect("the counter")
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap()
    };
    // What was sent is told when an answer is over, which its reader may know first.
    let wait_for = |expected: u64| {
        for _ in 0..500 {
            if sent() == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(sent(), expected);
    };
    wait_for(BYTES as u64);
    let mut connection = Connection::open(registry.address());
    connection.exchange(&get(&path, None)).expect(200);
    connection
        .exchange(&get(&path, Some("bytes=0-999999")))
        .expect(206);
    connection.exchange(&Request::new("HEAD", &path)).expect(200);
    wait_for(2 * BYTES as u64 + 1_000_000);
}

#[test]
fn old_clients_and_clients_that_want_no_more_are_answered_as_well() {
    let (registry, content, path) = with_blob(Config::complete());
    for head in [
        format!("GET {path} HTTP/1.0\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ] {
        let mut connection = Connection::open(registry.address());
        connection.write(head.as_bytes());
        assert!(connection.read_to_end().unwrap().ends_with(&content), "{head}");
    }
}

#[test]
fn over_tls_the_same_bytes_come() {
    let folder = tempfile::tempdir().unwrap();
    let certificate = Certificate::in_folder(folder.path());
    let mut config = Config::complete();
    let mut registry = Registry::start(config.clone());
    let content = content();
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
    config.http.tls = Some(certificate.settings());
    registry.restart_as(config);
    let mut connection = certificate.connect(registry.address()).expect("a connection");
    for _ in 0..2 {
        assert!(connection.exchange(&get(&path, None)).expect(200).body == content);
        let part = connection
            .exchange(&get(&path, Some("bytes=9-9999999")))
            .expect(206);
        assert!(part.body == content[9..10_000_000]);
    }
}
