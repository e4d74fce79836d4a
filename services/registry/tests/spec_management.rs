//! OCI distribution-spec, "Content Management", and "Error Codes": a test for each MUST and SHOULD that concerns a registry.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Descriptor, Digest, ErrorCode, media_type};
use registry::Config;
use serde_json::json;
use testkit::{Registry, content};

fn delete(registry: &Registry, path: &str) -> testkit::http::Response {
    registry.request("DELETE", path, &[], b"")
}

#[test]
fn a_deleted_tag_must_be_202_and_is_404_then_while_its_manifest_stays() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        registry
            .put_manifest("a", "v2", &image.media_type, &image.body)
            .expect(201);
        delete(registry, "/v2/a/manifests/v1").expect(202);
        registry.get("/v2/a/manifests/v1").expect(404);
        registry.get("/v2/a/manifests/v2").expect(200);
        registry
            .get(&format!("/v2/a/manifests/{}", image.digest))
            .expect(200);
        assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!(["v2"]));
        delete(registry, "/v2/a/manifests/v1").expect(404);
    });
}

#[test]
fn a_deleted_manifest_must_be_202_and_is_404_then_as_is_every_tag_to_it() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        registry
            .put_manifest("a", "v2", &image.media_type, &image.body)
            .expect(201);
        let path = format!("/v2/a/manifests/{}", image.digest);
        delete(registry, &path).expect(202);
        for gone in [path.as_str(), "/v2/a/manifests/v1", "/v2/a/manifests/v2"] {
            assert_eq!(
                registry.get(gone).expect(404).error_code(),
                "MANIFEST_UNKNOWN",
                "{gone}"
            );
        }
        assert_eq!(
            registry.get("/v2/a/tags/list").expect(200).json()["tags"],
            json!([])
        );
        delete(registry, &path).expect(404);
    });
}

#[test]
fn a_delete_in_a_repository_that_does_not_exist_must_be_404() {
    Registry::each(|registry| {
        let digest = registry.push_image("a", "v1", b"layer").digest;
        for path in [
            format!("/v2/nowhere/manifests/{digest}"),
            "/v2/nowhere/manifests/v1".to_owned(),
            format!("/v2/nowhere/blobs/{digest}"),
        ] {
            delete(registry, &path).expect(404);
        }
    });
}

#[test]
fn a_deleted_blob_must_be_202_and_is_404_at_once_in_its_repository_alone() {
    Registry::each(|registry| {
        let digest = registry.push_blob("a", b"content");
        registry.push_blob("b", b"content");
        delete(registry, &format!("/v2/a/blobs/{digest}")).expect(202);
        registry.get(&format!("/v2/a/blobs/{digest}")).expect(404);
        registry
            .request("HEAD", &format!("/v2/a/blobs/{digest}"), &[], b"")
            .expect(404);
        registry.get(&format!("/v2/b/blobs/{digest}")).expect(200);
        delete(registry, &format!("/v2/a/blobs/{digest}")).expect(404);
        registry.push_blob("a", b"content");
        registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
    });
}

#[test]
fn where_deletion_is_disabled_it_must_be_400_or_405_and_nothing_goes() {
    for mut config in [Config::current(), Config::complete()] {
        config.storage.delete.enabled = false;
        let registry = Registry::start(config);
        let image = registry.push_image("a", "v1", b"layer");
        let blob = Digest::sha256(b"layer");
        for path in [
            "/v2/a/manifests/v1".to_owned(),
            format!("/v2/a/manifests/{}", image.digest),
            format!("/v2/a/blobs/{blob}"),
        ] {
            assert_eq!(delete(&registry, &path).expect(405).error_code(), "UNSUPPORTED");
            registry.get(&path).expect(200);
        }
    }
}

#[test]
fn a_read_only_registry_takes_nothing_and_serves_what_is_there() {
    let mut registry = Registry::complete();
    let image = registry.push_image("a", "v1", b"layer");
    let mut config = registry.config().clone();
    config.storage.maintenance.readonly.enabled = true;
    registry.restart_as(config);
    registry.get("/v2/a/manifests/v1").expect(200);
    registry
        .put_manifest("a", "v2", &image.media_type, &image.body)
        .expect(405);
    registry
        .request("POST", "/v2/a/blobs/uploads/", &[], b"")
        .expect(405);
    delete(&registry, "/v2/a/manifests/v1").expect(405);
    registry.get("/v2/a/manifests/v1").expect(200);
}

#[test]
fn a_refusal_has_the_envelope_with_a_code_of_the_specification_a_message_and_a_detail_that_names_what_it_is_about()
 {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        let absent = Digest::sha256(b"absent");
        let absent_text = absent.to_string();
        let sparse =
            content::image_manifest(&Descriptor::of(media_type::OCI_CONFIG, b"absent"), &[], json!({}))
                .to_string();
        let put =
            |reference: &str, body: &[u8]| registry.put_manifest("a", reference, &image.media_type, body);
        let session = registry
            .request("POST", "/v2/a/blobs/uploads/", &[], b"")
            .expect(202)
            .location();
        let chunk = |range: &str| registry.request("PATCH", &session, &[("Content-Range", range)], b"0123");
        let layer = format!("/v2/a/blobs/{}", Digest::sha256(b"layer"));
        let on_tag = [
            ("If-None-Match", "*"),
            ("Content-Type", image.media_type.as_str()),
        ];
        for (answer, status, code, named) in [
            (
                registry.get(&format!("/v2/a/blobs/{absent}")),
                404,
                ErrorCode::BlobUnknown,
                absent_text.as_str(),
            ),
            (
                registry.get("/v2/a/blobs/uploads/nothing"),
                404,
                ErrorCode::BlobUploadUnknown,
                "nothing",
            ),
            (chunk("x-y"), 400, ErrorCode::BlobUploadInvalid, "x-y"),
            (chunk("7-10"), 416, ErrorCode::BlobUploadInvalid, "7"),
            (chunk("0-8"), 400, ErrorCode::SizeInvalid, "9"),
            (
                registry.push_blob_as("a", b"x", "sha256:x"),
                400,
                ErrorCode::DigestInvalid,
                "sha256:x",
            ),
            (
                registry.push_blob_as("a", b"x", "md5:9a0364b9e99bb480dd25e1f0284c8555"),
                400,
                ErrorCode::DigestInvalid,
                "md5",
            ),
            (
                registry.push_blob_as("a", b"x", &absent_text),
                400,
                ErrorCode::DigestInvalid,
                &absent_text,
            ),
            (
                registry.request("PUT", &session, &[], b""),
                400,
                ErrorCode::DigestInvalid,
                "digest",
            ),
            (
                registry.get(&format!("/v2/a/manifests/{absent}")),
                404,
                ErrorCode::ManifestUnknown,
                &absent_text,
            ),
            (put("v2", b"{"), 400, ErrorCode::ManifestInvalid, "line 1"),
            (
                put("v2", br#"{"schemaVersion":2,"layers":[]}"#),
                400,
                ErrorCode::ManifestInvalid,
                "config",
            ),
            (
                put("v2", sparse.as_bytes()),
                404,
                ErrorCode::ManifestBlobUnknown,
                &absent_text,
            ),
            (put(".v2", &image.body), 400, ErrorCode::TagInvalid, ".v2"),
            (
                put("v2", &vec![b' '; oci::MAX_MANIFEST_BYTES + 1]),
                413,
                ErrorCode::SizeInvalid,
                "4194304",
            ),
            (
                registry.request("PUT", "/v2/a/manifests/v1", &on_tag, &image.body),
                412,
                ErrorCode::PreconditionFailed,
                "v1",
            ),
            (
                registry.request("GET", &layer, &[("Range", "bytes=5-")], b""),
                416,
                ErrorCode::RangeInvalid,
                "5",
            ),
            (
                registry.get("/v2/nowhere/tags/list"),
                404,
                ErrorCode::NameUnknown,
                "nowhere",
            ),
            (
                registry.get("/v2/A/tags/list"),
                400,
                ErrorCode::NameInvalid,
                "\"A\"",
            ),
            (
                registry.get("/v2/a%2fb/tags/list"),
                400,
                ErrorCode::NameInvalid,
                "/v2/a%2fb/tags/list",
            ),
            (
                registry.get("/v2/a/tags/list?n=many"),
                400,
                ErrorCode::PaginationNumberInvalid,
                "many",
            ),
            (
                registry.request("POST", "/v2/a/manifests/v1", &[], b""),
                405,
                ErrorCode::Unsupported,
                "PUT",
            ),
            (
                registry.get("/v2/a/nothing"),
                404,
                ErrorCode::Unsupported,
                "/v2/a/nothing",
            ),
        ] {
            let answer = answer.expect(status);
            assert_eq!(answer.error_code(), code.name(), "{}", answer.text());
            assert_eq!(answer.header("content-type"), Some("application/json"));
            let error = answer.json()["errors"][0].clone();
            let message = error["message"].as_str().expect("a message");
            assert!(message.len() > 10, "{message}");
            assert!(
                error["detail"].to_string().contains(named),
                "{named} in the detail of {}",
                answer.text()
            );
        }
    });
}

#[test]
fn an_answer_of_429_should_include_retry_after() {
    let mut config = Config::current();
    config.http.limits.clientuploads = 1;
    let registry = Registry::start(config);
    let begin = || registry.request("POST", "/v2/a/blobs/uploads/", &[], b"");
    begin().expect(202);
    let refused = begin().expect(429);
    assert_eq!(refused.error_code(), "TOOMANYREQUESTS");
    let seconds = refused.header("retry-after").expect("when to come back");
    assert!(seconds.parse::<u32>().is_ok_and(|n| n > 0), "{seconds}");
}
