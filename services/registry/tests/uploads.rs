//! Upload sessions over real sockets: every way to push a blob, and every way in which that can go wrong.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Algorithm, Digest};
use registry::{
    domain::{Collect, Limits},
    storage::{Durability, filesystem::Filesystem},
};
use std::{
    io::Write,
    net::{Shutdown, TcpStream},
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use support::{Request, Response, Server, current};

const CONTENT: &[u8] = b"0123456789abcdefghij";

fn begin(server: &Server, query: &str) -> String {
    let begun = server.send(Request::new("POST", &format!("/v2/a/blobs/uploads/{query}")));
    assert_eq!((begun.status, begun.header("range")), (202, Some("0-0")));
    begun.header("location").unwrap().to_owned()
}

fn patch(server: &Server, session: &str, range: Option<&str>, body: &[u8]) -> Response {
    let mut request = Request::new("PATCH", session).body(body);
    if let Some(range) = range {
        request = request.header("Content-Range", range);
    }
    server.send(request)
}

fn put(server: &Server, session: &str, digest: &Digest, body: &[u8]) -> Response {
    server.send(Request::new("PUT", &format!("{session}?digest={digest}")).body(body))
}

fn assert_stored(server: &Server, digest: &Digest, content: &[u8]) {
    let pulled = server.get(&format!("/v2/a/blobs/{digest}"));
    assert_eq!((pulled.status, pulled.body == content), (200, true));
    assert_eq!(
        pulled.header("docker-content-digest"),
        Some(digest.to_string().as_str())
    );
}

/// Files below `_uploads`: sessions that are open.
fn sessions_left(root: &Path) -> usize {
    std::fs::read_dir(root.join("repositories/a/_uploads")).map_or(0, |entries| entries.count())
}

#[test]
fn each_of_the_four_ways_stores_the_blob_and_leaves_no_session() {
    for content in [CONTENT.to_vec(), Vec::new(), vec![7; 3_000_000]] {
        let server = Server::start(current());
        let digest = Digest::sha256(&content);
        let single = server
            .send(Request::new("POST", &format!("/v2/a/blobs/uploads/?digest={digest}")).body(&content));
        assert_eq!(
            (single.status, single.header("location")),
            (201, Some(format!("/v2/a/blobs/{digest}").as_str()))
        );
        assert_stored(&server, &digest, &content);
        server.send(Request::new("DELETE", &format!("/v2/a/blobs/{digest}")));

        assert_eq!(put(&server, &begin(&server, ""), &digest, &content).status, 201);
        assert_stored(&server, &digest, &content);
        server.send(Request::new("DELETE", &format!("/v2/a/blobs/{digest}")));

        let session = begin(&server, "");
        let streamed = server.send(Request::new("PATCH", &session).body(&content).chunked());
        assert_eq!(streamed.status, 202);
        assert_eq!(
            put(&server, streamed.header("location").unwrap(), &digest, b"").status,
            201
        );
        assert_stored(&server, &digest, &content);
        assert_eq!(sessions_left(server.folder.as_ref().unwrap().path()), 0);
    }
}

#[test]
fn chunks_go_in_order_and_the_last_may_come_with_either_request() {
    let server = Server::start(current());
    let digest = Digest::sha256(CONTENT);
    for last_in_put in [false, true] {
        let session = begin(&server, "");
        let first = patch(&server, &session, Some("0-9"), &CONTENT[..10]);
        assert_eq!((first.status, first.header("range")), (202, Some("0-9")));
        let closed = if last_in_put {
            let request = Request::new("PUT", &format!("{session}?digest={digest}"));
            server.send(request.header("Content-Range", "10-19").body(&CONTENT[10..]))
        } else {
            assert_eq!(
                patch(&server, &session, Some("10-19"), &CONTENT[10..]).header("range"),
                Some("0-19")
            );
            put(&server, &session, &digest, b"")
        };
        assert_eq!(closed.status, 201, "{}", closed.text());
        assert_stored(&server, &digest, CONTENT);
    }
}

#[test]
fn a_chunk_out_of_order_is_refused_and_the_session_goes_on() {
    let server = Server::start(current());
    let digest = Digest::sha256(CONTENT);
    let session = begin(&server, "");
    assert_eq!(
        patch(&server, &session, Some("10-19"), &CONTENT[10..]).status,
        416
    );
    patch(&server, &session, Some("0-9"), &CONTENT[..10]);
    for range in ["0-9", "11-19", "20-29"] {
        let refused = patch(&server, &session, Some(range), &CONTENT[10..]);
        assert_eq!(
            (refused.status, refused.header("range")),
            (416, Some("0-9")),
            "{range}"
        );
        assert_eq!(refused.header("location"), Some(session.as_str()));
    }
    let late = Request::new("PUT", &format!("{session}?digest={digest}")).header("Content-Range", "12-19");
    assert_eq!(server.send(late.body(&CONTENT[12..])).status, 416);
    let status = server.get(&session);
    assert_eq!((status.status, status.header("range")), (204, Some("0-9")));
    assert_eq!(
        patch(&server, &session, Some("10-19"), &CONTENT[10..]).status,
        202
    );
    assert_eq!(put(&server, &session, &digest, b"").status, 201);
    assert_stored(&server, &digest, CONTENT);
}

#[test]
fn a_chunk_of_another_length_than_its_range_is_undone() {
    let server = Server::start(current());
    let session = begin(&server, "");
    patch(&server, &session, Some("0-9"), &CONTENT[..10]);
    for range in ["10-12", "10-40"] {
        let refused = patch(&server, &session, Some(range), &CONTENT[10..]);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "SIZE_INVALID"),
            "{range}"
        );
    }
    for malformed in ["x", "10", "19-10", "-5"] {
        assert_eq!(
            patch(&server, &session, Some(malformed), &CONTENT[10..]).status,
            400,
            "{malformed}"
        );
    }
    assert_eq!(server.get(&session).header("range"), Some("0-9"));
    assert_eq!(
        put(&server, &session, &Digest::sha256(&CONTENT[..10]), b"").status,
        201
    );
}

#[test]
fn a_body_that_breaks_off_keeps_what_came_and_the_status_tells_the_truth() {
    let server = Server::start(current());
    let content: Vec<u8> = (0..2_000_000u32).map(|n| (n % 253) as u8).collect();
    let digest = Digest::sha256(&content);
    let session = begin(&server, "");
    let whole = Request::new("PATCH", &session).body(&content).to_bytes();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&whole[..whole.len() - 700_000]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    Response::read(&mut stream, false);
    let range = server.get(&session).header("range").unwrap().to_owned();
    let received = range.strip_prefix("0-").unwrap().parse::<usize>().unwrap() + 1;
    assert!((1..=1_300_000).contains(&received), "{received}");
    assert_eq!(patch(&server, &session, None, &content[received..]).status, 202);
    assert_eq!(put(&server, &session, &digest, b"").status, 201);
    assert_stored(&server, &digest, &content);
}

#[test]
fn a_single_post_that_breaks_off_leaves_nothing() {
    let server = Server::start(current());
    let content = vec![1; 1_000_000];
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(&content));
    let whole = Request::new("POST", &path).body(&content).to_bytes();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(&whole[..whole.len() / 2]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    Response::read(&mut stream, false);
    assert_eq!(sessions_left(server.folder.as_ref().unwrap().path()), 0);
    assert_eq!(server.registry.uploads_under_way(), 0);
}

#[test]
fn content_of_another_digest_is_refused_and_leaves_nothing() {
    let server = Server::start(current());
    let other = Digest::sha256(b"other");
    let single =
        server.send(Request::new("POST", &format!("/v2/a/blobs/uploads/?digest={other}")).body(CONTENT));
    assert_eq!((single.status, single.code().as_str()), (400, "DIGEST_INVALID"));
    let session = begin(&server, "");
    assert_eq!(put(&server, &session, &other, CONTENT).code(), "DIGEST_INVALID");
    assert_eq!(server.get(&session).status, 404);
    assert_eq!(server.get(&format!("/v2/a/blobs/{other}")).status, 404);
    assert_eq!(sessions_left(server.folder.as_ref().unwrap().path()), 0);
    for bad in [
        "",
        "?digest=",
        "?digest=foo",
        "?digest=md5:d41d8cd98f00b204e9800998ecf8427e",
    ] {
        let session = begin(&server, "");
        let refused = server.send(Request::new("PUT", &format!("{session}{bad}")).body(CONTENT));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "DIGEST_INVALID"),
            "{bad}"
        );
    }
}

#[test]
fn sha512_is_hashed_as_told_or_at_the_end() {
    let server = Server::start(current());
    let digest = Digest::of(Algorithm::Sha512, CONTENT);
    for query in ["", "?digest-algorithm=sha512", "?digest-algorithm=sha256"] {
        let session = begin(&server, query);
        patch(&server, &session, None, &CONTENT[..5]);
        assert_eq!(
            put(&server, &session, &digest, &CONTENT[5..]).status,
            201,
            "{query}"
        );
        assert_stored(&server, &digest, CONTENT);
    }
    let refused = server.send(Request::new("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5"));
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
}

#[test]
fn a_cancelled_session_is_gone() {
    let server = Server::start(current());
    let session = begin(&server, "");
    patch(&server, &session, None, CONTENT);
    assert_eq!(server.send(Request::new("DELETE", &session)).status, 204);
    for request in [
        Request::new("GET", &session),
        Request::new("DELETE", &session),
        Request::new("PATCH", &session),
    ] {
        let gone = server.send(request);
        assert_eq!((gone.status, gone.code().as_str()), (404, "BLOB_UPLOAD_UNKNOWN"));
    }
    assert_eq!(sessions_left(server.folder.as_ref().unwrap().path()), 0);
}

#[test]
fn a_session_belongs_to_its_repository_alone() {
    let server = Server::start(current());
    let session = begin(&server, "");
    let elsewhere = session.replace("/v2/a/", "/v2/b/");
    assert_eq!(server.get(&elsewhere).status, 404);
    assert_eq!(
        put(&server, &elsewhere, &Digest::sha256(CONTENT), CONTENT).status,
        404
    );
    for id in ["..", "%2e%2e", "x", &"a".repeat(5000), "a.sha256"] {
        assert_eq!(
            server.get(&format!("/v2/a/blobs/uploads/{id}")).status,
            404,
            "{id:.10}"
        );
    }
}

#[test]
fn a_session_takes_one_request_at_a_time() {
    let server = Server::start(current());
    let session = begin(&server, "");
    let id = session.rsplit('/').next().unwrap();
    let name = oci::RepositoryName::parse("a").unwrap();
    let mut writing = server.registry.receive(&name, id, None).unwrap();
    writing.write(CONTENT).unwrap();
    let refused = patch(&server, &session, None, b"x");
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (409, "BLOB_UPLOAD_INVALID")
    );
    assert_eq!(server.send(Request::new("DELETE", &session)).status, 409);
    writing.pause();
    assert_eq!(put(&server, &session, &Digest::sha256(CONTENT), b"").status, 201);
}

#[test]
fn an_upload_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), current());
    let session = begin(&server, "");
    patch(&server, &session, Some("0-9"), &CONTENT[..10]);
    drop(server);
    let server = Server::on_folder(folder.path(), current());
    assert_eq!(server.get(&session).header("range"), Some("0-9"));
    assert_eq!(
        patch(&server, &session, Some("10-19"), &CONTENT[10..]).status,
        202
    );
    assert_eq!(put(&server, &session, &Digest::sha256(CONTENT), b"").status, 201);
    assert_stored(&server, &Digest::sha256(CONTENT), CONTENT);
}

#[test]
fn a_session_that_has_received_nothing_is_known_after_a_restart_until_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), current());
    let (used, cancelled) = (begin(&server, ""), begin(&server, "?digest-algorithm=sha512"));
    drop(server);
    let server = Server::on_folder(folder.path(), current());
    assert_eq!(server.get(&used.replace("/v2/a/", "/v2/b/")).status, 404);
    assert_eq!(server.get(&used).header("range"), Some("0-0"));
    assert_eq!(put(&server, &used, &Digest::sha256(CONTENT), CONTENT).status, 201);
    assert_eq!(server.send(Request::new("DELETE", &cancelled)).status, 204);
    for session in [used, cancelled] {
        assert_eq!(server.get(&session).status, 404);
        assert_eq!(
            put(&server, &session, &Digest::sha256(CONTENT), CONTENT).status,
            404
        );
    }
}

#[test]
fn sessions_that_rested_too_long_are_purged_and_others_stay() {
    let server = Server::start(current());
    let session = begin(&server, "");
    let filled = begin(&server, "");
    patch(&server, &filled, None, CONTENT);
    let purge = |now, dry_run| {
        let mut told = Vec::new();
        let how = Collect {
            dry_run,
            uploads: true,
            now,
        };
        let purged = server
            .registry
            .purge_uploads(how, &mut |upload| told.push(upload.id.clone()))
            .unwrap();
        assert_eq!(told.len(), purged.uploads);
        (purged.uploads, purged.bytes)
    };
    assert_eq!(purge(SystemTime::now(), false), (0, 0));
    let later = SystemTime::now() + server.registry.limits().upload_age + Duration::from_secs(1);
    assert_eq!(purge(later, true), (2, 20));
    for session in [&session, &filled] {
        assert_eq!(server.get(session).status, 204);
    }
    assert_eq!(purge(later, false), (2, 20));
    for session in [&session, &filled] {
        assert_eq!(server.get(session).status, 404);
    }
}

/// Files below a folder's `_uploads` that this process has open.
fn open_sessions(root: &Path) -> usize {
    let folder = root.join("repositories/a/_uploads");
    let descriptors = std::fs::read_dir("/proc/self/fd").unwrap();
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|path| path.starts_with(&folder))
        .count()
}

#[test]
fn what_was_sent_before_a_pause_counts_wherever_the_session_then_goes() {
    let server = Server::start(current());
    let pausing = |session: &str, method: &str, query: &str, announced: usize| {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!(
            "{method} {session}{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {announced}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&CONTENT[..10]).unwrap();
        let started = std::time::Instant::now();
        while server.get(session).header("range") != Some("0-9") {
            assert!(started.elapsed() < Duration::from_secs(20), "not all is written");
            std::thread::sleep(Duration::from_millis(5));
        }
        stream
    };
    // Another algorithm than it was begun with reads it again.
    for digest in [Digest::sha256(CONTENT), Digest::of(Algorithm::Sha512, CONTENT)] {
        let session = begin(&server, "");
        let mut stream = pausing(&session, "PUT", &format!("?digest={digest}"), 20);
        stream.write_all(&CONTENT[10..]).unwrap();
        assert_eq!(Response::read(&mut stream, false).status, 201);
        assert_stored(&server, &digest, CONTENT);
    }
    // Given up without a word, it goes on where it was.
    let session = begin(&server, "");
    drop(pausing(&session, "PATCH", "", 20));
    let started = std::time::Instant::now();
    while patch(&server, &session, Some("10-19"), &CONTENT[10..]).status == 409 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "the session stays busy"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(put(&server, &session, &Digest::sha256(CONTENT), b"").status, 201);
    assert_eq!(sessions_left(server.folder.as_ref().unwrap().path()), 0);
}

#[test]
fn senders_that_pause_take_no_thread_from_others_however_many_they_are() {
    const SLOW: usize = 40;
    // A piece and a part of one, or a piece alone.
    let sent = |n: usize| 512 * 1024 + n % 2 * 75_000;
    let folder = tempfile::tempdir().unwrap();
    let storage = Arc::new(Filesystem::open(folder.path(), Durability::None).unwrap());
    let server = Server::with_file_threads(storage, current(), Limits::default(), 2);
    let mut slow: Vec<(String, Vec<u8>, TcpStream)> = (0..SLOW)
        .map(|n| {
            let content = vec![u8::try_from(n).unwrap(); sent(n) + 1];
            let session = begin(&server, "");
            let mut stream = TcpStream::connect(server.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let head = format!(
                "PUT {session}?digest={} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                Digest::sha256(&content),
                content.len()
            );
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&content[..sent(n)]).unwrap();
            (session, content, stream)
        })
        .collect();
    for (session, content, _) in &slow {
        let all = format!("0-{}", content.len() - 2);
        let started = std::time::Instant::now();
        while server.get(session).header("range") != Some(all.as_str()) {
            assert!(started.elapsed() < Duration::from_secs(20), "not all is written");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // All that they sent is in storage: neither memory nor a file is held for any of them.
    let started = std::time::Instant::now();
    while open_sessions(folder.path()) > 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "files stay open");
        std::thread::sleep(Duration::from_millis(5));
    }
    let digest = server.push_blob("a", &vec![200; 1_000_000]);
    assert_stored(&server, &digest, &vec![200; 1_000_000]);
    for (_, content, stream) in &mut slow {
        stream.write_all(&content[content.len() - 1..]).unwrap();
        assert_eq!(Response::read(stream, false).status, 201);
        assert_stored(&server, &Digest::sha256(content), content);
    }
    assert_eq!(sessions_left(folder.path()), 0);
}
