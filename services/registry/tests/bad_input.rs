//! Bad input: every time a clear 4xx with an error envelope, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Digest, media_type};
use registry::domain::{Verified, Verify};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};
use support::{Request, Server, complete, image};

/// Files that are no records, nor the store's note of how it was written, and what the registry knows of.
fn left_behind(server: &Server) -> Vec<String> {
    let root = server.folder.as_ref().unwrap().path();
    let mut left = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("records") || path.ends_with("unsynced") {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                left.push(path.display().to_string());
            }
        }
    }
    let known = server
        .registry
        .verify(Verify::default(), &mut |damage| panic!("{damage}"))
        .unwrap();
    if known != Verified::default() {
        left.push(format!("{known:?}"));
    }
    left
}

fn assert_refused(server: &Server, request: Request, what: &str) {
    let response = server.send(request);
    assert!(
        (400..500).contains(&response.status),
        "{what}: {} {}",
        response.status,
        response.text()
    );
}

#[test]
fn tricks_in_paths_are_refused_and_leave_nothing() {
    let server = Server::start(complete());
    let long = "a".repeat(300);
    let names = [
        "..", "../a", "a/../b", "a/..%2fb", "%2e%2e/a", "a%2fb", "a%00b", "A", "a//b", "/a", "-a", "a_",
        "_blobs", "a/_tags", &long,
    ];
    let digest = Digest::sha256(b"x");
    for name in names {
        for (method, rest) in [
            ("GET", "tags/list".to_owned()),
            ("GET", "manifests/v".to_owned()),
            ("PUT", "manifests/v".to_owned()),
            ("DELETE", "manifests/v".to_owned()),
            ("GET", format!("blobs/{digest}")),
            ("POST", "blobs/uploads/".to_owned()),
            ("POST", format!("blobs/uploads/?digest={digest}")),
            ("PATCH", "blobs/uploads/1".to_owned()),
            ("GET", format!("referrers/{digest}")),
        ] {
            assert_refused(
                &server,
                Request::new(method, &format!("/v2/{name}/{rest}")).body(b""),
                name,
            );
        }
    }
    for reference in [
        "..",
        ".a",
        "a:b",
        "sha256:abc",
        "sha256:..",
        "%ff",
        "a%2fb",
        &"t".repeat(129),
    ] {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let path = format!("/v2/a/manifests/{reference}");
            assert_refused(&server, Request::new(method, &path).body(b""), reference);
        }
    }
    for path in [
        "/",
        "/v1/",
        "/v2/a",
        "/v2/a/other/b",
        "/v2/a/manifests/",
        "/v2/%2e%2e/%2e%2e/etc/passwd",
    ] {
        assert_refused(&server, Request::new("GET", path), path);
    }
    assert_eq!(left_behind(&server), Vec::<String>::new());
}

#[test]
fn hostile_manifests_are_refused_and_leave_nothing() {
    let server = Server::start(complete());
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let commas = ",".repeat(oci::MAX_MANIFEST_BYTES);
    let huge_number = r#"{"schemaVersion":1e999,"config":{},"layers":[]}"#;
    let duplicate = r#"{"schemaVersion":2,"schemaVersion":2,"manifests":[]}"#;
    let negative = r#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","size":-1,"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}]}"#;
    let bad_subject =
        r#"{"schemaVersion":2,"manifests":[],"subject":{"mediaType":"a/b","size":1,"digest":"foo"}}"#;
    for body in [
        "",
        "{",
        "null",
        "[]",
        "1",
        "\u{0}",
        &deep,
        &commas,
        huge_number,
        duplicate,
        negative,
        bad_subject,
    ] {
        let refused = server.push_manifest("a", "v", media_type::OCI_INDEX, body);
        let what = &body[..body.len().min(60)];
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "MANIFEST_INVALID"),
            "{what}"
        );
        assert!(
            refused.body.len() < 2000,
            "the answer does not quote what is hostile: {}",
            refused.body.len()
        );
    }
    for content_type in [
        "text/plain",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "\u{1}",
        "x",
        &"a".repeat(5000),
    ] {
        let refused = server.push_manifest("a", "v", content_type, r#"{"schemaVersion":2,"manifests":[]}"#);
        assert!(
            (400..500).contains(&refused.status),
            "{content_type:.40}: {}",
            refused.status
        );
    }
    assert_eq!(left_behind(&server), Vec::<String>::new());
}

#[test]
fn a_manifest_above_the_limit_is_refused_with_or_without_a_length() {
    let server = Server::start(complete());
    let padded = |len: usize| {
        let body = r#"{"schemaVersion":2,"manifests":[],"padding":""}"#;
        body.replace("\"\"}", &format!("\"{}\"}}", "x".repeat(len - body.len())))
    };
    let largest = padded(oci::MAX_MANIFEST_BYTES);
    assert_eq!(
        server
            .push_manifest("a", "v", media_type::OCI_INDEX, &largest)
            .status,
        201
    );
    assert_eq!(
        server.get("/v2/a/manifests/v").body.len(),
        oci::MAX_MANIFEST_BYTES
    );
    let larger = padded(oci::MAX_MANIFEST_BYTES + 1);
    for chunked in [false, true] {
        let mut request =
            Request::new("PUT", "/v2/a/manifests/w").header("Content-Type", media_type::OCI_INDEX);
        request = request.body(larger.as_bytes());
        if chunked {
            request = request.chunked();
        }
        let refused = server.send(request);
        assert_eq!((refused.status, refused.code().as_str()), (413, "SIZE_INVALID"));
    }
    assert_eq!(server.get("/v2/a/manifests/w").status, 404);
}

#[test]
fn a_manifest_that_breaks_off_leaves_nothing() {
    let server = Server::start(complete());
    let whole = Request::new("PUT", "/v2/a/manifests/v")
        .header("Content-Type", media_type::OCI_INDEX)
        .body(support::index(&[]).as_bytes())
        .to_bytes();
    for cut in [1, 20, 60] {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&whole[..whole.len() - cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // An answer, or none: nobody is left to read one.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(left_behind(&server), Vec::<String>::new());
}

#[test]
fn header_and_body_of_a_manifest_must_agree() {
    let server = Server::start(complete());
    let (config, layer) = (server.push_blob("a", b"{}"), server.push_blob("a", b"layer"));
    let body = image(&config, &layer, 5, "");
    let refused = server.push_manifest("a", "v", media_type::DOCKER_MANIFEST, &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "MANIFEST_INVALID")
    );
    let with_parameter = format!("{}; charset=utf-8", media_type::OCI_MANIFEST);
    assert_eq!(server.push_manifest("a", "v", &with_parameter, &body).status, 201);
    assert_eq!(
        server.get("/v2/a/manifests/v").header("content-type"),
        Some(media_type::OCI_MANIFEST)
    );
}

#[test]
fn more_tags_than_one_request_may_set_are_refused() {
    let server = Server::start(complete());
    let body = support::index(&[]);
    let digest = Digest::sha256(body.as_bytes());
    let put = |tags: usize| {
        let query: Vec<String> = (0..tags).map(|n| format!("tag=t{n}")).collect();
        let request = Request::new("PUT", &format!("/v2/a/manifests/{digest}?{}", query.join("&")));
        server
            .send(
                request
                    .header("Content-Type", media_type::OCI_INDEX)
                    .body(body.as_bytes()),
            )
            .status
    };
    assert_eq!(put(5000), 414);
    assert_eq!(server.get("/v2/a/tags/list").status, 404);
    assert_eq!(put(100), 201);
    let bad = Request::new("PUT", &format!("/v2/a/manifests/{digest}?tag=.x")).body(body.as_bytes());
    assert_eq!(server.send(bad).code(), "TAG_INVALID");
}

#[test]
fn a_method_that_a_path_does_not_have_is_told_which_it_has() {
    let server = Server::start(complete());
    for (method, path, allowed) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("POST", "/v2/a/manifests/v", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/v2/a/blobs/uploads/", "POST"),
    ] {
        let refused = server.send(Request::new(method, path).body(b""));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (405, "UNSUPPORTED"),
            "{path}"
        );
        assert_eq!(refused.header("allow"), Some(allowed));
    }
}
