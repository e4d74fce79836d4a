//! OCI distribution-spec, "Pull": a test for each MUST and SHOULD that concerns a registry.
//!
//! "1.1" in a comment means that v1.1.1 says SHOULD or nothing where the main branch says MUST; the stricter text is tested.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Algorithm, Digest, media_type};
use serde_json::json;
use testkit::{Registry, http::Request};

/// Names that match the specification's expression, and some that do not.
const GOOD_NAMES: &[&str] = &[
    "a",
    "0",
    "a/b",
    "a.b",
    "a_b",
    "a__b",
    "a-b",
    "a---b",
    "library/alpine",
    "a/b/c/d/e/f",
    "a1.b2_c3/d",
];
const BAD_NAMES: &[&str] = &[
    "A", "a/B", "a..b", "a___b", "-a", "a-", ".a", "a.", "_a", "a_", "a._b", "a//b", "a/-b", "a/b-",
    "%C3%A4", "a+b", "a:b",
];

#[test]
fn name_must_match_the_regular_expression() {
    Registry::each(|registry| {
        for name in GOOD_NAMES {
            registry.push_image(name, "v1", b"layer");
            registry.get(&format!("/v2/{name}/manifests/v1")).expect(200);
        }
        for name in BAD_NAMES {
            for (method, path) in [
                ("POST", format!("/v2/{name}/blobs/uploads/")),
                ("PUT", format!("/v2/{name}/manifests/v1")),
                ("GET", format!("/v2/{name}/manifests/v1")),
                ("GET", format!("/v2/{name}/tags/list")),
            ] {
                let answer = registry.request(method, &path, &[], b"");
                assert!(matches!(answer.status, 400 | 404), "{method} {path}: {answer:?}");
                assert!(
                    matches!(answer.error_code().as_str(), "NAME_INVALID" | "UNSUPPORTED"),
                    "{path}: {answer:?}"
                );
            }
        }
    });
}

#[test]
fn a_tag_must_be_at_most_128_characters_and_match_the_regular_expression() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let put = |tag: &str| registry.put_manifest("a", tag, &image.media_type, &image.body);
        for tag in ["a", "_", "A", "0", "a.b-c_d", "latest", &"t".repeat(128)] {
            put(tag).expect(201);
        }
        for tag in [".a", "-a", "a+b", "%C3%A4", "a%20b", &"t".repeat(129)] {
            let refused = put(tag).expect(400);
            assert!(
                matches!(refused.error_code().as_str(), "TAG_INVALID" | "MANIFEST_INVALID"),
                "{refused:?}"
            );
        }
    });
}

#[test]
fn the_reference_must_not_be_in_any_other_format_than_digest_or_tag() {
    Registry::each(|registry| {
        registry.push_image("a", "v1", b"layer");
        for reference in [
            "sha256:",
            "sha256:abc",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            ":",
            "sha256:G",
            "v1:x",
            "@v1",
        ] {
            let answer = registry.get(&format!("/v2/a/manifests/{reference}"));
            assert!(matches!(answer.status, 400 | 404), "{reference}: {answer:?}");
        }
    });
}

#[test]
fn a_get_of_an_existing_manifest_must_provide_it_with_200() {
    Registry::each(|registry| {
        let image = registry.push_image("a/b", "v1", b"layer");
        for reference in ["v1".to_owned(), image.digest.to_string()] {
            let answer = registry
                .get(&format!("/v2/a/b/manifests/{reference}"))
                .expect(200);
            assert_eq!(answer.body, image.body, "{reference}");
        }
    });
}

#[test]
fn the_content_type_should_match_what_was_pushed_and_should_not_have_parameters() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let with_parameters = format!("{}; charset=utf-8", image.media_type);
        for (tag, content_type) in [
            ("plain", image.media_type.as_str()),
            ("parameters", &with_parameters),
        ] {
            registry
                .put_manifest("a", tag, content_type, &image.body)
                .expect(201);
            let answer = registry.get(&format!("/v2/a/manifests/{tag}")).expect(200);
            assert_eq!(
                answer.header("content-type"),
                Some(image.media_type.as_str()),
                "{tag}"
            );
        }
    });
}

#[test]
fn each_kind_of_manifest_comes_back_with_its_own_content_type() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let index = registry.push_manifest(
            "a",
            "index",
            &testkit::content::index(&[image.descriptor()], json!({})),
        );
        let mut docker: serde_json::Value = serde_json::from_slice(&image.body).unwrap();
        docker["mediaType"] = media_type::DOCKER_MANIFEST.into();
        let docker = registry.push_manifest("a", "docker", &docker);
        let list = json!({"schemaVersion": 2, "mediaType": media_type::DOCKER_LIST, "manifests": [docker.descriptor()]});
        registry.push_manifest("a", "list", &list);
        for (reference, expected) in [
            (image.digest.to_string(), media_type::OCI_MANIFEST),
            (index.digest.to_string(), media_type::OCI_INDEX),
            ("docker".to_owned(), media_type::DOCKER_MANIFEST),
            ("list".to_owned(), media_type::DOCKER_LIST),
        ] {
            let answer = registry.get(&format!("/v2/a/manifests/{reference}")).expect(200);
            assert_eq!(answer.header("content-type"), Some(expected));
        }
    });
}

#[test]
fn a_pulled_manifest_must_carry_its_digest_in_docker_content_digest() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        for reference in ["v1".to_owned(), image.digest.to_string()] {
            let answer = registry.get(&format!("/v2/a/manifests/{reference}")).expect(200);
            assert_eq!(
                answer.header("docker-content-digest"),
                Some(image.digest.to_string().as_str())
            );
        }
    });
}

#[test]
fn a_manifest_pushed_by_sha512_is_pulled_by_sha512_and_the_header_agrees() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let digest = Digest::of(Algorithm::Sha512, &image.body).to_string();
        let pushed = registry
            .put_manifest("a", &digest, &image.media_type, &image.body)
            .expect(201);
        assert_eq!(pushed.header("docker-content-digest"), Some(digest.as_str()));
        let answer = registry.get(&format!("/v2/a/manifests/{digest}")).expect(200);
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        assert_eq!(answer.body, image.body);
    });
}

#[test]
fn a_manifest_that_is_not_there_must_be_404() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        let absent = Digest::sha256(b"absent");
        for path in [
            "/v2/a/manifests/v2".to_owned(),
            format!("/v2/a/manifests/{absent}"),
            // It is in another repository, which does not count.
            format!("/v2/other/manifests/{}", image.digest),
            "/v2/other/manifests/v1".to_owned(),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = registry.request(method, &path, &[], b"").expect(404);
                let code = answer.error_code();
                assert!(
                    method == "HEAD" || matches!(code.as_str(), "MANIFEST_UNKNOWN" | "NAME_UNKNOWN"),
                    "{path}: {code}"
                );
            }
        }
    });
}

#[test]
fn a_get_of_an_existing_blob_must_provide_it_with_200_and_its_digest() {
    Registry::each(|registry| {
        for content in [&b""[..], b"x", &vec![7; 300_000]] {
            let digest = registry.push_blob("a", content);
            let answer = registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
            assert_eq!(answer.body, content);
            assert_eq!(
                answer.header("docker-content-digest"),
                Some(digest.to_string().as_str())
            );
            assert_eq!(
                answer.header("content-length"),
                Some(content.len().to_string().as_str())
            );
        }
    });
}

#[test]
fn a_blob_pushed_by_sha512_is_served_under_it() {
    Registry::each(|registry| {
        let digest = Digest::of(Algorithm::Sha512, b"content").to_string();
        registry.push_blob_as("a", b"content", &digest).expect(201);
        let answer = registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
        assert_eq!(
            (answer.header("docker-content-digest"), answer.text().as_str()),
            (Some(digest.as_str()), "content")
        );
    });
}

#[test]
fn a_blob_that_is_not_there_must_be_404() {
    Registry::each(|registry| {
        let digest = registry.push_blob("a", b"content");
        for path in [
            format!("/v2/a/blobs/{}", Digest::sha256(b"absent")),
            format!("/v2/other/blobs/{digest}"),
        ] {
            assert_eq!(
                registry.get(&path).expect(404).error_code(),
                "BLOB_UNKNOWN",
                "{path}"
            );
            registry.request("HEAD", &path, &[], b"").expect(404);
        }
    });
}

#[test]
fn a_registry_should_support_ranges_of_blobs() {
    Registry::each(|registry| {
        let content: Vec<u8> = (0..=255).cycle().take(1000).collect();
        let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
        for (range, status, bytes, content_range) in [
            ("bytes=0-0", 206, &content[..1], Some("bytes 0-0/1000")),
            ("bytes=10-19", 206, &content[10..20], Some("bytes 10-19/1000")),
            ("bytes=990-", 206, &content[990..], Some("bytes 990-999/1000")),
            ("bytes=990-5000", 206, &content[990..], Some("bytes 990-999/1000")),
            ("bytes=-10", 206, &content[990..], Some("bytes 990-999/1000")),
            // RFC 9110, section 14.2: what cannot be understood is ignored.
            ("lines=1-2", 200, &content[..], None),
        ] {
            let answer = registry
                .request("GET", &path, &[("Range", range)], b"")
                .expect(status);
            assert_eq!(
                (&answer.body[..], answer.header("content-range")),
                (bytes, content_range),
                "{range}"
            );
        }
        // RFC 9110, section 13.1.5: a range only of what the client has a part of.
        let entity_tag = registry
            .get(&path)
            .header("etag")
            .expect("an entity tag")
            .to_owned();
        for (of, status) in [(entity_tag.as_str(), 206), ("\"another\"", 200)] {
            let headers = [("Range", "bytes=0-0"), ("If-Range", of)];
            registry.request("GET", &path, &headers, b"").expect(status);
        }
        let ends_before_it_begins = registry.request("GET", &path, &[("Range", "bytes=9-3")], b"");
        ends_before_it_begins.expect(416);
        let outside = registry
            .request("GET", &path, &[("Range", "bytes=1000-")], b"")
            .expect(416);
        assert_eq!(outside.header("content-range"), Some("bytes */1000"));
    });
}

#[test]
fn an_interrupted_pull_is_completed_with_a_range() {
    Registry::each(|registry| {
        let content: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        let path = format!("/v2/a/blobs/{}", registry.push_blob("a", &content));
        let mut whole = registry
            .request("GET", &path, &[("Range", "bytes=0-499999")], b"")
            .expect(206)
            .body;
        whole.extend(
            registry
                .request("GET", &path, &[("Range", "bytes=500000-")], b"")
                .expect(206)
                .body,
        );
        assert!(whole == content);
    });
}

#[test]
fn a_head_of_existing_content_must_be_200_with_digest_and_size_and_no_body() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        let blob = registry.push_blob("a", &vec![1; 100_000]);
        for (path, digest, size) in [
            ("/v2/a/manifests/v1".to_owned(), image.digest, image.body.len()),
            (
                format!("/v2/a/manifests/{}", image.digest),
                image.digest,
                image.body.len(),
            ),
            (format!("/v2/a/blobs/{blob}"), blob, 100_000),
        ] {
            // On one connection, a body that should not be there would be read as the next answer.
            let mut connection = testkit::http::Connection::open(registry.address());
            for _ in 0..2 {
                let answer = connection.exchange(&Request::new("HEAD", &path)).expect(200);
                assert_eq!(
                    answer.header("docker-content-digest"),
                    Some(digest.to_string().as_str()),
                    "{path}"
                );
                assert_eq!(
                    answer.header("content-length"),
                    Some(size.to_string().as_str()),
                    "{path}"
                );
            }
        }
    });
}

#[test]
fn the_base_path_answers_200_to_show_that_the_specification_is_implemented() {
    Registry::each(|registry| {
        for path in ["/v2/", "/v2"] {
            registry.get(path).expect(200);
        }
        registry.get("/v1/").expect(404);
    });
}

#[test]
fn a_head_should_be_answered_as_a_get_without_its_body_wherever_there_is_a_get() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        registry.push_image("a", "v2", b"layer");
        let layer = Digest::sha256(b"layer");
        let session = registry
            .request("POST", "/v2/a/blobs/uploads/", &[], b"")
            .expect(202)
            .location();
        for path in [
            "/v2/",
            "/v2/_catalog",
            "/v2/_catalog?n=1",
            "/v2/a/tags/list",
            "/v2/a/tags/list?n=1",
            "/v2/nowhere/tags/list",
            "/v2/a/manifests/v1",
            "/v2/a/manifests/nothing",
            &format!("/v2/a/manifests/{}", image.digest),
            &format!("/v2/a/blobs/{layer}"),
            &format!("/v2/b/blobs/{layer}"),
            &format!("/v2/a/referrers/{}", image.digest),
            &format!("/v2/a/_oci/artifacts/referrers?digest={}", image.digest),
            "/v2/_oci/ext/discover",
            "/v2/a/_oci/ext/discover",
            &session,
            "/livez",
            "/readyz",
        ] {
            // On one connection: a body that should not be there would be read as the next answer.
            let mut connection = testkit::http::Connection::open(registry.address());
            let head = connection.exchange(&Request::new("HEAD", path));
            let get = connection.exchange(&Request::new("GET", path));
            assert_eq!(head.status, get.status, "{path}");
            assert!(head.body.is_empty(), "{path}");
            for header in [
                "content-type",
                "content-length",
                "docker-content-digest",
                "etag",
                "link",
                "location",
                "range",
            ] {
                assert_eq!(head.header(header), get.header(header), "{header} of {path}");
            }
        }
    });
}
