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
use testkit::{FaultServer, Registry, Relay, Reply};

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

/// The requests of a recording that have this method and header, with the header's value.
fn recorded(har: &std::path::Path, method: &str, header: &str) -> Vec<String> {
    let text = std::fs::read(har).expect("a recording");
    let document: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    let requests = document["log"]["entries"].as_array().expect("entries").iter();
    requests
        .map(|entry| &entry["request"])
        .filter(|request| request["method"] == method)
        .flat_map(|request| request["headers"].as_array().expect("headers"))
        .filter(|pair| {
            pair["name"]
                .as_str()
                .is_some_and(|name| name.eq_ignore_ascii_case(header))
        })
        .map(|pair| pair["value"].as_str().expect("a text").to_owned())
        .collect()
}

#[test]
fn over_a_network_that_breaks_uploads_and_downloads_go_on_at_a_registry_where_they_stopped() {
    let registry = Registry::current();
    let content = Bytes::from(content());
    let blob = Descriptor::of("x/y", &content);
    let folder = tempfile::tempdir().expect("a folder");
    for (n, up) in [true, false].into_iter().enumerate() {
        // Each connection that breaks carries a MiB, so there is something to go on from.
        let network = Relay::breaking(registry.address(), 2, 1024 * 1024);
        let har = folder.path().join(format!("{n}.har"));
        let options = Options {
            har: Some(har.clone()),
            ..options()
        };
        run(async {
            let client = Client::new(options).expect("a client");
            let repository = crate::repository_of(&client, &network.host(), "a/b");
            match up {
                true => {
                    let outcome = repository.put_blob(&blob, &content).await.expect("uploaded");
                    assert_eq!(outcome, BlobOutcome::Copied);
                }
                false => {
                    let got = repository
                        .get_blob_bytes(&blob, u64::MAX)
                        .await
                        .expect("downloaded");
                    assert!(got == content);
                }
            }
            client.finish().expect("a recording");
        });
        let resumed = match up {
            true => recorded(&har, "PATCH", "Content-Range"),
            false => recorded(&har, "GET", "Range"),
        };
        assert_eq!(resumed.len(), 2, "gone on once for each break: {resumed:?}");
        assert!(
            resumed
                .iter()
                .all(|range| !range.trim_start_matches("bytes=").starts_with("0-")),
            "{resumed:?}"
        );
    }
    run(async {
        let repository = repository(&registry.host(), "a/b");
        let got = repository
            .get_blob_bytes(&blob, u64::MAX)
            .await
            .expect("downloaded");
        assert!(got == content, "whole at the registry");
    });
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
fn each_status_of_a_busy_registry_is_tried_again() {
    for status in [429, 502, 503, 504] {
        let tries = AtomicU32::new(0);
        let server = FaultServer::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(status, &[], ""),
            _ => Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], "{}"),
        });
        run(async {
            let repository = repository(&server.host(), "a/b");
            repository.get_manifest(&tag("latest")).await.expect("at last");
        });
        assert_eq!(server.requests().len(), 2, "{status}");
    }
}

#[test]
fn the_pause_that_a_registry_demands_is_kept_for_requests_and_for_uploads() {
    let second = Duration::from_secs(1);
    let tries = AtomicU32::new(0);
    let demanding = Reply::new(429, &[("Retry-After", "1")], "");
    let reply = demanding.clone();
    let server = FaultServer::start(move |_| match tries.fetch_add(1, Ordering::SeqCst) {
        0 => reply.clone(),
        _ => Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], "{}"),
    });
    let began = std::time::Instant::now();
    run(async {
        let repository = repository(&server.host(), "a/b");
        repository.get_manifest(&tag("latest")).await.expect("at last");
    });
    assert!(began.elapsed() >= second, "{:?}", began.elapsed());

    // A stream cannot be sent again as it is: the upload pauses, asks how far it got, and goes on.
    let content = content();
    let blob = Descriptor::of("x/y", &content);
    let tries = AtomicU32::new(0);
    let server = FaultServer::start(move |seen| {
        let location = ("Location", "/v2/a/b/blobs/uploads/1");
        match seen.method.as_str() {
            "HEAD" => Reply::head(404, &[], 0),
            "GET" => Reply::new(204, &[location, ("Range", "0-0")], ""),
            "PATCH" if tries.fetch_add(1, Ordering::SeqCst) == 0 => demanding.clone(),
            "PUT" => Reply::new(201, &[], ""),
            _ => Reply::new(202, &[location], ""),
        }
    });
    let began = std::time::Instant::now();
    run(async {
        let repository = repository(&server.host(), "a/b");
        repository
            .put_blob(&blob, &Bytes::from(content))
            .await
            .expect("uploaded");
    });
    assert!(began.elapsed() >= second, "{:?}", began.elapsed());
}

#[test]
fn what_may_have_been_done_already_is_not_sent_again_unless_it_was_turned_away() {
    for (status, tries) in [(503, 1), (429, 2)] {
        let asked = AtomicU32::new(0);
        let server = FaultServer::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::new(status, &[], "not now"),
            _ => Reply::new(202, &[], ""),
        });
        let deleted = run(async {
            let repository = repository(&server.host(), "a/b");
            repository.delete_manifest(&tag("old")).await
        });
        assert_eq!(deleted.is_ok(), status == 429, "{deleted:?}");
        assert_eq!(server.requests().len(), tries, "{status}");
    }
    let server = FaultServer::start(|_| Reply::Close);
    let error = run(async {
        let repository = repository(&server.host(), "a/b");
        repository
            .delete_manifest(&tag("old"))
            .await
            .expect_err("no answer")
    });
    assert_error(&error, ExitCode::Unreachable, &["DELETE"]);
    assert_eq!(server.requests().len(), 1);
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
    assert_error(&error, ExitCode::Refused, &["429", "try again in 3600 s"]);
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
fn a_document_that_trickles_in_is_not_waited_for_for_ever() {
    let patient = Options {
        timeouts: client::Timeouts {
            document: Duration::from_millis(500),
            ..options().timeouts
        },
        ..options()
    };
    let headers = format!(
        "Content-Type: {}\r\nContent-Length: 1000000\r\n",
        media_type::OCI_INDEX
    );
    let server = FaultServer::start(move |_| Reply::Trickle(head(200, &headers)));
    let error = run(async {
        let client = Client::new(patient).expect("a client");
        let repository = crate::repository_of(&client, &server.host(), "a/b");
        repository
            .get_manifest(&tag("latest"))
            .await
            .expect_err("it never ends")
    });
    assert_error(
        &error,
        ExitCode::Unreachable,
        &["before the answer was complete", "500ms"],
    );
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
