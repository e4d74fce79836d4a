//! Transfers that break, registries that are busy.

use crate::{assert_error, client, options, repository, run, tag};
use bytes::Bytes;
use client::{
    Client, ExitCode, Options,
    progress::{BlobOutcome, Progress},
};
use oci::{Descriptor, Digest, media_type};
use std::{
    cell::RefCell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use testkit::{FaultServer, Registry, Reply};

/// 3 MiB that are not all the same.
fn content() -> Vec<u8> {
    (0..3 * 1024 * 1024u32).map(|n| (n / 7 % 251) as u8).collect()
}

fn head(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Scripted\r\n{headers}\r\n").into_bytes()
}

#[test]
fn a_broken_download_goes_on_where_it_stopped() {
    let content = content();
    let blob = Descriptor::of("x/y", &content);
    let served = content.clone();
    let server = FaultServer::start(move |seen| {
        let start = seen.header("Range").map_or(0, |range| {
            range
                .trim_start_matches("bytes=")
                .trim_end_matches('-')
                .parse()
                .expect("a number")
        });
        let rest = &served[start..];
        let mut bytes = match start {
            0 => head(200, &format!("Content-Length: {}\r\n", rest.len())),
            _ => head(
                206,
                &format!(
                    "Content-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n",
                    rest.len(),
                    served.len() - 1,
                    served.len()
                ),
            ),
        };
        bytes.extend_from_slice(&rest[..rest.len().min(1_000_000)]);
        Reply::BytesThenClose(bytes)
    });
    run(async {
        let got = repository(&server.host(), "a/b")
            .get_blob_bytes(&blob, u64::MAX)
            .await
            .expect("all of it");
        assert!(got == content);
    });
    assert_eq!(server.requests().len(), 4, "{:?}", server.lines());
}

#[test]
fn a_server_without_ranges_is_read_again_and_skipped() {
    let content = content();
    let blob = Descriptor::of("x/y", &content);
    let served = content.clone();
    let tries = AtomicU32::new(0);
    let server = FaultServer::start(move |_| {
        let mut bytes = head(200, &format!("Content-Length: {}\r\n", served.len()));
        let enough = if tries.fetch_add(1, Ordering::SeqCst) == 0 {
            500_000
        } else {
            served.len()
        };
        bytes.extend_from_slice(&served[..enough]);
        Reply::BytesThenClose(bytes)
    });
    run(async {
        let got = repository(&server.host(), "a/b")
            .get_blob_bytes(&blob, u64::MAX)
            .await
            .expect("all of it");
        assert!(got == content);
    });
}

#[test]
fn a_broken_upload_goes_on_where_it_stopped() {
    let content = content();
    let blob = Descriptor::of("x/y", &content);
    let total = content.len();
    let server = FaultServer::start(move |seen| {
        let location = ("Location", "/v2/a/b/blobs/uploads/1?state=x");
        match (seen.method.as_str(), seen.header("Content-Range")) {
            ("HEAD", _) => Reply::head(404, &[], 0),
            ("POST", _) => Reply::new(202, &[location], ""),
            // The first PATCH arrives for its first million bytes.
            ("PATCH", None) => Reply::Close,
            ("GET", _) => Reply::new(204, &[location, ("Range", "0-999999")], ""),
            ("PATCH", Some(range)) => {
                assert_eq!(range, format!("1000000-{}", total - 1));
                assert_eq!(seen.body.len(), total - 1_000_000);
                Reply::new(202, &[location], "")
            }
            ("PUT", _) => Reply::new(201, &[], ""),
            other => panic!("{other:?}"),
        }
    });
    run(async {
        let repository = repository(&server.host(), "a/b");
        repository
            .put_blob(&blob, &Bytes::from(content))
            .await
            .expect("uploaded");
    });
    let lines = server.lines();
    let put = lines.last().expect("a PUT");
    assert!(
        put.starts_with("PUT /v2/a/b/blobs/uploads/1?state=x&digest=sha256%3A"),
        "{put}"
    );
}

#[test]
fn blobs_of_every_size_arrive_at_a_registry() {
    let registry = Registry::current();
    run(async {
        let repository = repository(&registry.host(), "a/b");
        for size in [0, 1, 1024 * 1024, 3 * 1024 * 1024] {
            let content = Bytes::from(content()).slice(..size);
            let blob = Descriptor::of("x/y", &content);
            repository.put_blob(&blob, &content).await.expect("uploaded");
            let got = repository
                .get_blob_bytes(&blob, u64::MAX)
                .await
                .expect("downloaded");
            assert!(got == content, "{size} bytes");
        }
    });
}

#[test]
fn a_source_with_wrong_bytes_is_not_uploaded() {
    let registry = Registry::current();
    run(async {
        let repository = repository(&registry.host(), "a/b");
        let large = Bytes::from(content());
        for wrong in [Bytes::from_static(b"wrong"), large] {
            let blob = Descriptor::new("x/y", Digest::sha256(b"right"), wrong.len() as u64);
            let error = repository.put_blob(&blob, &wrong).await.expect_err("wrong bytes");
            assert_error(&error, ExitCode::Failed, &[&blob.digest.to_string()]);
            assert_eq!(repository.head_blob(&blob.digest).await.expect("asked"), None);
        }
    });
}

#[test]
fn busy_answers_are_tried_again_and_retry_after_is_honoured() {
    let tries = AtomicU32::new(0);
    let server = FaultServer::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::new(429, &[("Retry-After", "0")], ""),
        1 => Reply::new(503, &[], ""),
        2 => Reply::Close,
        _ => Reply::new(
            200,
            &[("Content-Type", media_type::OCI_INDEX)],
            r#"{"schemaVersion":2,"manifests":[]}"#,
        ),
    });
    run(async {
        let manifest = repository(&server.host(), "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect("at last");
        assert_eq!(manifest.media_type, media_type::OCI_INDEX);
    });
    assert_eq!(server.requests().len(), 4);
}

#[test]
fn a_busy_registry_is_given_up_in_the_end() {
    for (status, code, tries) in [
        (429, ExitCode::Refused, 5),
        (503, ExitCode::Unreachable, 5),
        (500, ExitCode::Failed, 1),
    ] {
        let server = FaultServer::start(move |_| Reply::new(status, &[], "not now"));
        let error = run(async {
            repository(&server.host(), "a/b")
                .get_manifest(&tag("latest"))
                .await
                .expect_err("busy")
        });
        assert_error(
            &error,
            code,
            &["GET", "/v2/a/b/manifests/latest", &status.to_string(), "not now"],
        );
        assert_eq!(server.requests().len(), tries, "{status}");
    }
    // Nobody waits for an hour.
    let server = FaultServer::start(|_| Reply::new(429, &[("Retry-After", "3600")], ""));
    let error = run(async {
        repository(&server.host(), "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect_err("busy")
    });
    assert_error(&error, ExitCode::Refused, &["429"]);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_registry_that_is_down_is_told_with_method_and_url() {
    let host = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.local_addr().expect("an address").to_string()
    };
    let error = run(async {
        repository(&host, "a/b")
            .get_manifest(&tag("latest"))
            .await
            .expect_err("down")
    });
    assert_error(&error, ExitCode::Unreachable, &["GET", &host, "tried 3 times"]);
}

#[test]
fn a_registry_that_falls_silent_is_left() {
    let quick = Options {
        timeouts: client::Timeouts {
            first_byte: Duration::from_millis(200),
            idle: Duration::from_millis(200),
            ..client::Timeouts::default()
        },
        ..options()
    };
    let stalls: [fn() -> Reply; 2] = [Reply::stall, || {
        Reply::BytesThenStall(head(
            200,
            &format!(
                "Content-Type: {}\r\nContent-Length: 100\r\n",
                media_type::OCI_INDEX
            ),
        ))
    }];
    for stall in stalls {
        let server = FaultServer::start(move |_| stall());
        let client = Client::new(quick.clone()).expect("a client");
        let error = run(async {
            let repository = crate::repository_of(&client, &server.host(), "a/b");
            repository
                .get_manifest(&tag("latest"))
                .await
                .expect_err("silence")
        });
        assert_error(&error, ExitCode::Unreachable, &["timed out", "200ms"]);
    }
}

#[test]
fn a_registry_at_an_ipv6_address_is_reached() {
    let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else {
        println!("skipped: no IPv6 here");
        return;
    };
    let host = listener.local_addr().expect("an address").to_string();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 1024];
        let read = stream.read(&mut request).expect("a request");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .expect("answered");
        String::from_utf8_lossy(&request[..read]).into_owned()
    });
    run(async {
        let client = client();
        client
            .registry(&host)
            .expect("a registry")
            .ping()
            .await
            .expect("reached");
    });
    let request = server.join().expect("served").to_lowercase();
    assert!(request.contains(&format!("host: {host}")), "{request}");
}

#[test]
fn connections_are_used_again() {
    let connections = Arc::new(AtomicU32::new(0));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            let mut stream = stream.expect("a client");
            let mut request = [0; 1024];
            while stream.read(&mut request).is_ok_and(|read| read > 0) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                stream.write_all(answer).expect("answered");
            }
        }
    });
    run(async {
        let client = client();
        let registry = client.registry(&host).expect("a registry");
        for _ in 0..3 {
            registry.ping().await.expect("a registry");
        }
    });
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

/// Writes down what it is told.
#[derive(Default)]
struct Notes(RefCell<Vec<String>>);

impl Progress for Notes {
    fn blob_started(&self, descriptor: &Descriptor) {
        self.0.borrow_mut().push(format!("started {}", descriptor.size));
    }

    fn blob_moved(&self, _digest: &Digest, position: u64) {
        self.0.borrow_mut().push(format!("at {position}"));
    }

    fn blob_done(&self, _descriptor: &Descriptor, outcome: BlobOutcome) {
        self.0.borrow_mut().push(format!("{outcome:?}"));
    }
}

#[test]
fn an_observer_is_told_of_each_blob() {
    let registry = Registry::current();
    let notes = Rc::new(Notes::default());
    let options = Options {
        progress: Rc::clone(&notes) as Rc<dyn Progress>,
        ..options()
    };
    run(async {
        let client = Client::new(options).expect("a client");
        let repository = crate::repository_of(&client, &registry.host(), "a/b");
        let content = Bytes::from_static(b"hello world\n");
        let blob = Descriptor::of("text/plain", &content);
        for _ in 0..2 {
            repository.put_blob(&blob, &content).await.expect("uploaded");
        }
    });
    assert_eq!(*notes.0.borrow(), ["started 12", "at 12", "Copied", "Present"]);
}
