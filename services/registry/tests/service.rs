//! The service over real sockets: pushing, pulling, listing, deleting, mounting, referrers, discovery.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Algorithm, Digest, media_type};
use serde_json::json;
use support::{Request, Server, complete, current, index};

#[test]
fn an_image_comes_back_byte_for_byte_by_tag_and_by_digest() {
    for server in [Server::start(current()), Server::in_memory(current())] {
        let (digest, body) = server.push_image("a/b", "v1", b"layer");
        for reference in [
            "v1".to_owned(),
            digest.to_string(),
            digest.to_string().replace(':', "%3A"),
        ] {
            let path = format!("/v2/a/b/manifests/{reference}");
            for response in [server.get(&path), server.send(Request::new("HEAD", &path))] {
                assert_eq!(response.status, 200, "{reference}");
                assert_eq!(response.header("content-type"), Some(media_type::OCI_MANIFEST));
                assert_eq!(
                    response.header("docker-content-digest"),
                    Some(digest.to_string().as_str())
                );
                assert_eq!(response.header("etag"), Some(format!("\"{digest}\"").as_str()));
                assert_eq!(
                    response.header("content-length"),
                    Some(body.len().to_string().as_str())
                );
                assert_eq!(
                    response.header("docker-distribution-api-version"),
                    Some("registry/2.0")
                );
            }
            assert_eq!(server.get(&path).text(), body);
        }
    }
}

#[test]
fn a_blob_comes_back_whole_and_in_ranges() {
    let server = Server::start(current());
    let content: Vec<u8> = (0..700_000u32).map(|n| (n % 251) as u8).collect();
    let digest = server.push_blob("a", &content);
    let path = format!("/v2/a/blobs/{digest}");
    let whole = server.get(&path);
    assert_eq!((whole.status, &whole.body), (200, &content));
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));
    let head = server.send(Request::new("HEAD", &path));
    assert_eq!(head.header("content-length"), Some("700000"));
    for (range, start, end) in [
        ("bytes=0-9", 0, 10),
        ("bytes=600000-", 600_000, 700_000),
        ("bytes=-5", 699_995, 700_000),
    ] {
        let part = server.send(Request::new("GET", &path).header("Range", range));
        assert_eq!(
            (part.status, &part.body[..]),
            (206, &content[start..end]),
            "{range}"
        );
        let expected = format!("bytes {start}-{}/700000", end - 1);
        assert_eq!(part.header("content-range"), Some(expected.as_str()));
    }
    let outside = server.send(Request::new("GET", &path).header("Range", "bytes=700000-"));
    assert_eq!(
        (outside.status, outside.header("content-range")),
        (416, Some("bytes */700000"))
    );
    let known = server.send(Request::new("GET", &path).header("If-None-Match", format!("\"{digest}\"")));
    assert_eq!((known.status, known.body.len()), (304, 0));
}

#[test]
fn a_blob_belongs_to_its_repository_until_it_is_mounted_elsewhere() {
    let server = Server::start(current());
    let digest = server.push_blob("a", b"shared");
    assert_eq!(server.get(&format!("/v2/b/blobs/{digest}")).status, 404);
    let mount = |name: &str, query: &str| {
        server.send(Request::new(
            "POST",
            &format!("/v2/{name}/blobs/uploads/?mount={digest}{query}"),
        ))
    };
    assert_eq!(mount("b", "&from=nowhere").status, 202);
    assert_eq!(mount("b", "&from=a").status, 201);
    assert_eq!(mount("c", "").status, 201);
    for name in ["b", "c"] {
        assert_eq!(server.get(&format!("/v2/{name}/blobs/{digest}")).text(), "shared");
    }
    let deleted = server.send(Request::new("DELETE", &format!("/v2/a/blobs/{digest}")));
    assert_eq!(deleted.status, 202);
    assert_eq!(server.get(&format!("/v2/a/blobs/{digest}")).status, 404);
    assert_eq!(server.get(&format!("/v2/b/blobs/{digest}")).status, 200);
}

#[test]
fn tags_are_listed_in_order_and_in_pages() {
    let server = Server::start(current());
    for tag in ["b", "B", "a", "10", "9", "_x"] {
        server.push_image("a", tag, b"layer");
    }
    assert_eq!(
        server.get("/v2/a/tags/list").json(),
        json!({"name": "a", "tags": ["10", "9", "B", "_x", "a", "b"]})
    );
    server.push_image("a", "c", b"layer");
    let first = server.get("/v2/a/tags/list?n=3");
    assert_eq!(first.json()["tags"], json!(["10", "9", "B"]));
    let next = oci::headers::next_link(first.header("link").unwrap()).unwrap();
    let second = server.get(next);
    assert_eq!(second.json()["tags"], json!(["_x", "a", "b"]));
    let third = server.get(oci::headers::next_link(second.header("link").unwrap()).unwrap());
    assert_eq!(
        (third.json()["tags"].clone(), third.header("link")),
        (json!(["c"]), None)
    );
    let none = server.get("/v2/a/tags/list?n=0");
    assert_eq!(
        (none.json()["tags"].clone(), none.header("link")),
        (json!([]), None)
    );
    for bad in ["x", "-1", "", "99999999999999999999999"] {
        let refused = server.get(&format!("/v2/a/tags/list?n={bad}"));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (400, "PAGINATION_NUMBER_INVALID"),
            "{bad}"
        );
    }
    assert_eq!(server.get("/v2/unknown/tags/list").code(), "NAME_UNKNOWN");
    server.push_image("z/y", "v", b"layer");
    assert_eq!(
        server.get("/v2/_catalog").json(),
        json!({"repositories": ["a", "z/y"]})
    );
    assert_eq!(
        server.get("/v2/_catalog?n=1").header("link"),
        Some("</v2/_catalog?last=a&n=1>; rel=\"next\"")
    );
}

#[test]
fn deleting_a_tag_keeps_the_manifest_and_deleting_the_manifest_takes_all_its_tags() {
    let server = Server::start(current());
    let (digest, _) = server.push_image("a", "one", b"layer");
    server.push_image("a", "two", b"layer");
    server.push_image("a", "three", b"layer");
    let delete = |reference: &str| {
        server
            .send(Request::new("DELETE", &format!("/v2/a/manifests/{reference}")))
            .status
    };
    assert_eq!(delete("one"), 202);
    assert_eq!(delete("one"), 404);
    assert_eq!(server.get(&format!("/v2/a/manifests/{digest}")).status, 200);
    assert_eq!(delete(&digest.to_string()), 202);
    for reference in ["two", "three", &digest.to_string()] {
        assert_eq!(
            server.get(&format!("/v2/a/manifests/{reference}")).status,
            404,
            "{reference}"
        );
    }
    assert_eq!(server.get("/v2/a/tags/list").json()["tags"], json!([]));
}

#[test]
fn every_missing_content_of_a_manifest_is_named() {
    let server = Server::start(current());
    let config = server.push_blob("a", b"{}");
    let absent = Digest::sha256(b"absent");
    let body = support::image(&config, &absent, 6, "");
    let refused = server.push_manifest("a", "v", media_type::OCI_MANIFEST, &body);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (404, "MANIFEST_BLOB_UNKNOWN")
    );
    let children = [Digest::sha256(b"x"), Digest::sha256(b"y")];
    let refused = server.push_manifest("a", "v", media_type::OCI_INDEX, &index(&children));
    let text = refused.text();
    assert!(
        children.iter().all(|child| text.contains(&child.to_string())),
        "{text}"
    );
    assert_eq!(server.get("/v2/a/manifests/v").status, 404);
}

#[test]
fn referrers_are_listed_on_both_paths_and_with_both_fields() {
    let server = Server::start(complete());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let standard = format!("/v2/a/referrers/{subject}");
    let empty = server.get(&standard);
    assert_eq!(
        empty.json(),
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []})
    );
    let first = server.attach("a", "refers", &subject, b"one", "1");
    let second = server.attach("a", "subject", &subject, b"two", "2");
    for path in [
        standard.clone(),
        format!("/v2/a/_oci/artifacts/referrers?digest={subject}"),
    ] {
        let listed = server.get(&path);
        assert_eq!(
            (listed.status, listed.header("content-type")),
            (200, Some(media_type::OCI_INDEX))
        );
        let manifests = listed.json()["manifests"].as_array().unwrap().clone();
        let mut digests: Vec<String> = manifests
            .iter()
            .map(|m| m["digest"].as_str().unwrap().to_owned())
            .collect();
        let mut expected = vec![first.to_string(), second.to_string()];
        digests.sort();
        expected.sort();
        assert_eq!(digests, expected, "{path}");
        assert!(
            manifests
                .iter()
                .all(|m| m["artifactType"] == media_type::OCI_CONFIG && m["annotations"]["note"].is_string())
        );
    }
    let filtered = server.get(&format!("{standard}?artifactType=application/none"));
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(filtered.json()["manifests"], json!([]));
    assert_eq!(
        filtered.json()["annotations"]["org.opencontainers.references.filtersApplied"],
        "artifactType"
    );
    server.send(Request::new("DELETE", &format!("/v2/a/manifests/{first}")));
    assert_eq!(
        server.get(&standard).json()["manifests"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(server.get("/v2/a/referrers/foo").status, 400);
    assert_eq!(
        server.get(&format!("/v2/unknown/referrers/{subject}")).json()["manifests"],
        json!([])
    );
}

#[test]
fn a_registry_without_referrers_has_neither_path_and_refuses_artifact_manifests() {
    let server = Server::start(current());
    let (subject, _) = server.push_image("a", "v", b"layer");
    server.attach("a", "refers", &subject, b"one", "1");
    for path in [
        format!("/v2/a/referrers/{subject}"),
        format!("/v2/a/_oci/artifacts/referrers?digest={subject}"),
    ] {
        let response = server.get(&path);
        assert_eq!(
            (response.status, response.code().as_str()),
            (404, "UNSUPPORTED"),
            "{path}"
        );
    }
    assert_eq!(server.get("/v2/_oci/ext/discover").status, 404);
    let artifact =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[]}"#;
    let refused = server.push_manifest("a", "art", media_type::OCI_ARTIFACT, artifact);
    assert_eq!(
        (refused.status, refused.code().as_str()),
        (400, "MANIFEST_INVALID")
    );
    let complete = Server::start(complete());
    assert_eq!(
        complete
            .push_manifest("a", "art", media_type::OCI_ARTIFACT, artifact)
            .status,
        201
    );
    assert_eq!(
        complete.get("/v2/a/_oci/ext/discover").json()["extensions"][1]["endpoints"],
        json!(["_oci/artifacts/referrers"])
    );
}

#[test]
fn a_push_by_digest_sets_the_tags_of_its_query() {
    let server = Server::start(complete());
    let (_, body) = server.push_image("a", "v", b"layer");
    let digest = Digest::of(Algorithm::Sha512, body.as_bytes());
    let path = format!("/v2/a/manifests/{digest}?tag=x&tag=y");
    let pushed = server.send(
        Request::new("PUT", &path)
            .header("Content-Type", media_type::OCI_MANIFEST)
            .body(body.as_bytes()),
    );
    assert_eq!(pushed.status, 201, "{}", pushed.text());
    let told: Vec<&str> = pushed
        .headers
        .iter()
        .filter(|(n, _)| n == "oci-tag")
        .map(|(_, v)| v.as_str())
        .collect();
    assert_eq!(told, ["x", "y"]);
    let pulled = server.get("/v2/a/manifests/y");
    assert_eq!(
        pulled.header("docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    let wrong = format!("/v2/a/manifests/{}", Digest::sha256(b"other"));
    let refused = server.send(
        Request::new("PUT", &wrong)
            .header("Content-Type", media_type::OCI_MANIFEST)
            .body(body.as_bytes()),
    );
    assert_eq!((refused.status, refused.code().as_str()), (400, "DIGEST_INVALID"));
}
