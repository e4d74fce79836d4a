//! Conditional requests: entity tags on reading, compare-and-swap on tags.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Digest, media_type};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::{Request, Response, Server, current, index};

fn put(server: &Server, tag: &str, body: &str, header: &str, value: &str) -> Response {
    let request = Request::new("PUT", &format!("/v2/a/manifests/{tag}"))
        .header("Content-Type", media_type::OCI_INDEX)
        .header(header, value);
    server.send(request.body(body.as_bytes()))
}

#[test]
fn a_client_that_has_the_manifest_is_told_so() {
    let server = Server::start(current());
    let (digest, body) = server.push_image("a", "v", b"layer");
    for (header, status) in [
        (format!("\"{digest}\""), 304),
        (format!("\"x\", W/\"{digest}\""), 304),
        ("*".to_owned(), 304),
        ("\"x\"".to_owned(), 200),
    ] {
        let response = server.send(Request::new("GET", "/v2/a/manifests/v").header("If-None-Match", &header));
        assert_eq!(response.status, status, "{header}");
        assert_eq!(response.body.len(), if status == 200 { body.len() } else { 0 });
        assert_eq!(response.header("etag"), Some(format!("\"{digest}\"").as_str()));
    }
}

#[test]
fn a_tag_moves_only_if_it_is_what_the_writer_expects() {
    let server = Server::start(current());
    let (child, _) = server.push_image("a", "v", b"layer");
    let (empty, full) = (index(&[]), index(&[child]));
    let etag = |body: &str| format!("\"{}\"", Digest::sha256(body.as_bytes()));
    assert_eq!(put(&server, "t", &empty, "If-Match", "*").status, 412);
    assert_eq!(put(&server, "t", &empty, "If-Match", &etag(&empty)).status, 412);
    assert_eq!(put(&server, "t", &empty, "If-None-Match", "*").status, 201);
    let lost = put(&server, "t", &full, "If-None-Match", "*");
    assert_eq!((lost.status, lost.code().as_str()), (412, "PRECONDITION_FAILED"));
    assert_eq!(put(&server, "t", &full, "If-Match", &etag(&full)).status, 412);
    assert_eq!(server.get("/v2/a/manifests/t").text(), empty);
    assert_eq!(put(&server, "t", &full, "If-Match", &etag(&empty)).status, 201);
    assert_eq!(server.get("/v2/a/manifests/t").text(), full);
    let delete = |header: &str, value: &str| {
        server
            .send(Request::new("DELETE", "/v2/a/manifests/t").header(header, value))
            .status
    };
    assert_eq!(delete("If-Match", &etag(&empty)), 412);
    assert_eq!(delete("If-None-Match", "*"), 412);
    assert_eq!(
        server.get("/v2/a/manifests/t").text(),
        full,
        "what was lost changes nothing"
    );
    assert_eq!(delete("If-Match", &etag(&full)), 202);
    assert_eq!(delete("If-Match", "*"), 412);
    assert_eq!(delete("If-None-Match", "*"), 404);
}

#[test]
fn of_writers_who_race_for_a_tag_each_round_has_one_winner() {
    let server = Server::start(current());
    server.push_image("a", "v", b"layer");
    let bodies: Vec<String> = (0..8)
        .map(|n| {
            index(&[]).replace(
                "\"manifests\":",
                &format!("\"annotations\":{{\"n\":\"{n}\"}},\"manifests\":"),
            )
        })
        .collect();
    for round in 0..10 {
        let won = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for body in &bodies {
                let (server, won) = (&server, &won);
                scope.spawn(move || {
                    let response = put(server, &format!("t{round}"), body, "If-None-Match", "*");
                    match response.status {
                        201 => won.fetch_add(1, Ordering::Relaxed),
                        412 => 0,
                        other => panic!("{other}: {}", response.text()),
                    };
                });
            }
        });
        assert_eq!(won.load(Ordering::Relaxed), 1, "round {round}");
    }
}
