//! OCI distribution-spec, "Push": a test for each MUST and SHOULD that concerns a registry, manifests with a subject aside.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Algorithm, Descriptor, Digest, media_type, routes::query_value};
use registry::config::Required;
use serde_json::json;
use testkit::{
    Registry, content,
    http::{Request, Response},
};

const OCTETS: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Begins an upload session.
fn begin(registry: &Registry, name: &str) -> Response {
    registry
        .request("POST", &format!("/v2/{name}/blobs/uploads/"), &[], b"")
        .expect(202)
}

/// The target that finishes the session at `location`.
fn finishing(location: &str, digest: impl ToString) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={}", query_value(&digest.to_string()))
}

/// Sends one chunk with its range.
fn chunk(registry: &Registry, location: &str, start: usize, bytes: &[u8]) -> Response {
    let range = format!("{start}-{}", start + bytes.len() - 1);
    registry.request("PATCH", location, &[OCTETS, ("Content-Range", &range)], bytes)
}

/// That the blob can be pulled from where the answer says.
#[track_caller]
fn assert_pullable(registry: &Registry, created: &Response, content: &[u8]) {
    assert_eq!(created.status, 201, "{created:?}");
    let pulled = registry.get(&created.location()).expect(200);
    assert!(pulled.body == content);
}

#[test]
fn post_then_put_must_answer_202_with_a_location_and_then_201_with_a_pullable_location() {
    Registry::each(|registry| {
        for content in [&b"content"[..], b"", &vec![9; 700_000]] {
            let location = begin(registry, "a").location();
            let digest = Digest::sha256(content);
            let created = registry.request("PUT", &finishing(&location, digest), &[OCTETS], content);
            assert_pullable(registry, &created, content);
            assert_eq!(
                created.header("docker-content-digest"),
                Some(digest.to_string().as_str())
            );
        }
    });
}

#[test]
fn the_location_must_contain_a_unique_session_id() {
    Registry::each(|registry| {
        let first = begin(registry, "a");
        let second = begin(registry, "a");
        assert_ne!(first.location(), second.location());
        let id = first.header("docker-upload-uuid").expect("an id");
        assert!(first.location().contains(id));
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{id} is not a UUID");
    });
}

#[test]
fn a_single_post_is_answered_201_with_a_pullable_location() {
    Registry::each(|registry| {
        let created = registry.push_blob_as("a", b"content", &Digest::sha256(b"content").to_string());
        assert_pullable(registry, &created, b"content");
    });
}

#[test]
fn a_body_without_a_length_is_taken_in_every_way() {
    Registry::each(|registry| {
        let content = vec![5; 300_000];
        let digest = Digest::sha256(&content);
        let post = format!("/v2/a/blobs/uploads/?digest={digest}");
        let created = Request::new("POST", &post)
            .body(&content)
            .chunked(10_000)
            .send(registry.address());
        assert_pullable(registry, &created, &content);
        let put = finishing(&begin(registry, "b").location(), digest);
        let created = Request::new("PUT", &put)
            .body(&content)
            .chunked(1_000_000)
            .send(registry.address());
        assert_pullable(registry, &created, &content);
        let location = begin(registry, "c").location();
        let patched = Request::new("PATCH", &location)
            .body(&content)
            .chunked(70_000)
            .send(registry.address())
            .expect(202);
        assert_eq!(patched.header("range"), Some("0-299999"));
        let created = registry.request("PUT", &finishing(&patched.location(), digest), &[], b"");
        assert_pullable(registry, &created, &content);
    });
}

#[test]
fn a_digest_that_does_not_match_the_content_is_400_and_stores_nothing() {
    Registry::each(|registry| {
        let wrong = Digest::sha256(b"other");
        assert_eq!(
            registry
                .push_blob_as("a", b"content", &wrong.to_string())
                .expect(400)
                .error_code(),
            "DIGEST_INVALID"
        );
        let location = begin(registry, "a").location();
        let refused = registry
            .request("PUT", &finishing(&location, wrong), &[OCTETS], b"content")
            .expect(400);
        assert_eq!(refused.error_code(), "DIGEST_INVALID");
        for digest in [wrong, Digest::sha256(b"content")] {
            registry.get(&format!("/v2/a/blobs/{digest}")).expect(404);
        }
    });
}

#[test]
fn an_invalid_digest_or_an_unsupported_algorithm_should_be_400() {
    Registry::each(|registry| {
        let upper = Digest::sha256(b"content").to_string().to_uppercase();
        for digest in [
            "",
            "sha256:",
            "sha256:abc",
            "md5:9a0364b9e99bb480dd25e1f0284c8555",
            "content",
            &upper,
            "sha256:../x",
        ] {
            let refused = registry.push_blob_as("a", b"content", digest).expect(400);
            assert_eq!(refused.error_code(), "DIGEST_INVALID", "{digest}");
            let location = begin(registry, "a").location();
            registry
                .request("PUT", &finishing(&location, digest), &[OCTETS], b"content")
                .expect(400);
        }
        let location = begin(registry, "a").location();
        registry
            .request("PUT", &location, &[OCTETS], b"content")
            .expect(400);
        registry
            .request("POST", "/v2/a/blobs/uploads/?digest-algorithm=md5", &[], b"")
            .expect(400);
    });
}

#[test]
fn chunks_must_be_answered_202_with_location_and_the_end_of_the_range() {
    Registry::each(|registry| {
        for last_in_put in [false, true] {
            let content: Vec<u8> = (0..=255).cycle().take(30_000).collect();
            let mut location = begin(registry, "a").location();
            let in_patches = if last_in_put { 20_000 } else { 30_000 };
            for start in (0..in_patches).step_by(10_000) {
                let answer = chunk(registry, &location, start, &content[start..start + 10_000]).expect(202);
                assert_eq!(
                    answer.header("range"),
                    Some(format!("0-{}", start + 9_999).as_str())
                );
                location = answer.location();
            }
            let target = finishing(&location, Digest::sha256(&content));
            let created = if last_in_put {
                let headers = [OCTETS, ("Content-Range", "20000-29999")];
                registry.request("PUT", &target, &headers, &content[20_000..])
            } else {
                registry.request("PUT", &target, &[], b"")
            };
            assert_pullable(registry, &created, &content);
        }
    });
}

#[test]
fn a_streamed_upload_has_one_patch_without_content_range() {
    Registry::each(|registry| {
        let answer = registry
            .request("PATCH", &begin(registry, "a").location(), &[OCTETS], b"streamed")
            .expect(202);
        assert_eq!(answer.header("range"), Some("0-7"));
        let target = finishing(&answer.location(), Digest::sha256(b"streamed"));
        assert_pullable(registry, &registry.request("PUT", &target, &[], b""), b"streamed");
    });
}

#[test]
fn a_chunk_out_of_order_must_be_416_and_the_session_stays_usable() {
    Registry::each(|registry| {
        let location = begin(registry, "a").location();
        // The first chunk's range must begin with 0.
        chunk(registry, &location, 3, b"3456").expect(416);
        let location = chunk(registry, &location, 0, b"012").expect(202).location();
        for (start, bytes) in [(5, &b"56789"[..]), (0, b"012"), (2, b"2345")] {
            chunk(registry, &location, start, bytes).expect(416);
        }
        let status = registry.get(&location).expect(204);
        assert_eq!(status.header("range"), Some("0-2"));
        let location = chunk(registry, &status.location(), 3, b"3456")
            .expect(202)
            .location();
        // The final chunk out of order, in PUT.
        let target = finishing(&location, Digest::sha256(b"0123456789"));
        registry
            .request("PUT", &target, &[OCTETS, ("Content-Range", "8-9")], b"89")
            .expect(416);
        let created = registry.request("PUT", &target, &[OCTETS, ("Content-Range", "7-9")], b"789");
        assert_pullable(registry, &created, b"0123456789");
    });
}

#[test]
fn a_content_range_that_disagrees_with_the_body_is_refused() {
    Registry::each(|registry| {
        let location = begin(registry, "a").location();
        for range in ["0-9", "0-1", "x", "3-1", "0"] {
            let refused = registry.request("PATCH", &location, &[OCTETS, ("Content-Range", range)], b"0123");
            assert!(matches!(refused.status, 400 | 416), "{range}: {refused:?}");
        }
        let status = registry.get(&location).expect(204);
        chunk(registry, &status.location(), 0, b"0123").expect(202);
    });
}

#[test]
fn the_status_of_a_session_must_be_204_with_location_and_range() {
    Registry::each(|registry| {
        let location = begin(registry, "a").location();
        let status = registry.get(&location).expect(204);
        assert!(status.header("range").is_some() && status.header("location").is_some());
        let location = chunk(registry, &location, 0, b"0123").expect(202).location();
        let status = registry.get(&location).expect(204);
        assert_eq!(status.header("range"), Some("0-3"));
        assert_eq!(status.header("docker-upload-uuid"), begin_id(&location));
    });
}

/// The session id in a location.
fn begin_id(location: &str) -> Option<&str> {
    location.split('?').next()?.rsplit('/').next()
}

#[test]
fn a_session_must_be_closed_with_put_before_the_blob_is_there() {
    Registry::each(|registry| {
        let digest = Digest::sha256(b"0123");
        let location = chunk(registry, &begin(registry, "a").location(), 0, b"0123")
            .expect(202)
            .location();
        registry.get(&format!("/v2/a/blobs/{digest}")).expect(404);
        registry
            .request("PUT", &finishing(&location, digest), &[], b"")
            .expect(201);
        registry.get(&format!("/v2/a/blobs/{digest}")).expect(200);
        // Closed is closed.
        registry.get(&location).expect(404);
        registry
            .request("PUT", &finishing(&location, digest), &[], b"")
            .expect(404);
    });
}

#[test]
fn an_upload_that_broke_off_goes_on_where_it_ended() {
    Registry::each(|registry| {
        let location = begin(registry, "a").location();
        let mut connection = testkit::http::Connection::open(registry.address());
        connection.write(
            format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234").as_bytes(),
        );
        drop(connection);
        let received = wait_for_range(registry, &location);
        let content = b"0123456789";
        let answer = chunk(registry, &location, received, &content[received..]).expect(202);
        let created = registry.request(
            "PUT",
            &finishing(&answer.location(), Digest::sha256(content)),
            &[],
            b"",
        );
        assert_pullable(registry, &created, content);
    });
}

/// The bytes received, once the request that broke off has let go of the session.
fn wait_for_range(registry: &Registry, location: &str) -> usize {
    loop {
        let status = registry.get(location);
        if status.status == 204 {
            let range = status.header("range").expect("a range").to_owned();
            if range != "0-0" {
                assert_eq!(range, "0-4");
                return 5;
            }
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_session_is_cancelled_with_204_and_gone_then() {
    Registry::each(|registry| {
        let location = chunk(registry, &begin(registry, "a").location(), 0, b"0123")
            .expect(202)
            .location();
        registry.request("DELETE", &location, &[], b"").expect(204);
        for method in ["GET", "PATCH", "DELETE"] {
            let answer = registry.request(method, &location, &[], b"").expect(404);
            assert_eq!(answer.error_code(), "BLOB_UPLOAD_UNKNOWN", "{method}");
        }
    });
}

#[test]
fn a_session_belongs_to_its_repository() {
    Registry::each(|registry| {
        let location = begin(registry, "a").location();
        let elsewhere = location.replacen("/v2/a/", "/v2/b/", 1);
        for method in ["GET", "PATCH", "DELETE"] {
            registry.request(method, &elsewhere, &[], b"").expect(404);
        }
        registry.get(&location).expect(204);
    });
}

#[test]
fn a_session_hashes_with_the_algorithm_that_was_told_at_its_beginning() {
    Registry::each(|registry| {
        let begun = registry
            .request("POST", "/v2/a/blobs/uploads/?digest-algorithm=sha512", &[], b"")
            .expect(202);
        let location = chunk(registry, &begun.location(), 0, b"0123")
            .expect(202)
            .location();
        let digest = Digest::of(Algorithm::Sha512, b"0123");
        assert_pullable(
            registry,
            &registry.request("PUT", &finishing(&location, digest), &[], b""),
            b"0123",
        );
        // Told at the end alone, it is right all the same.
        let location = chunk(registry, &begin(registry, "b").location(), 0, b"0123")
            .expect(202)
            .location();
        assert_pullable(
            registry,
            &registry.request("PUT", &finishing(&location, digest), &[], b""),
            b"0123",
        );
    });
}

#[test]
fn a_mount_must_be_201_with_a_pullable_location_and_should_be_202_where_it_is_not_possible() {
    Registry::each(|registry| {
        let digest = registry.push_blob("source", b"content");
        let mount = |name: &str, query: String| {
            registry.request("POST", &format!("/v2/{name}/blobs/uploads/?{query}"), &[], b"")
        };
        assert_pullable(
            registry,
            &mount("a", format!("mount={digest}&from=source")),
            b"content",
        );
        assert_pullable(registry, &mount("b", format!("mount={digest}")), b"content");
        for query in [
            format!("mount={}&from=source", Digest::sha256(b"x")),
            format!("mount={digest}&from=nowhere"),
        ] {
            let begun = mount("c", query).expect(202);
            let target = finishing(&begun.location(), Digest::sha256(b"pushed"));
            assert_pullable(
                registry,
                &registry.request("PUT", &target, &[OCTETS], b"pushed"),
                b"pushed",
            );
        }
    });
}

#[test]
fn a_pushed_manifest_must_be_stored_byte_for_byte_and_answered_201_with_a_pullable_location() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        // Unusual spacing and unknown fields are kept.
        let text = String::from_utf8(image.body.clone()).unwrap();
        let odd = text.replacen('{', "{ \n\t\"x-unknown\" : [1.50, null, \"\\u00e4\"] ,", 1);
        for reference in ["odd".to_owned(), Digest::sha256(odd.as_bytes()).to_string()] {
            let created = registry
                .put_manifest("a", &reference, &image.media_type, odd.as_bytes())
                .expect(201);
            let pulled = registry.get(&created.location()).expect(200);
            assert_eq!(pulled.text(), odd);
            let digest = Digest::sha256(odd.as_bytes()).to_string();
            assert_eq!(created.header("docker-content-digest"), Some(digest.as_str()));
        }
    });
}

#[test]
fn a_manifest_with_an_empty_list_of_blobs_is_taken() {
    Registry::each(|registry| {
        registry.push_blob("a", b"{}");
        let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        registry.push_manifest(
            "a",
            "v1",
            &content::image_manifest(&config, &[], json!({"artifactType": "x/y"})),
        );
        registry.push_manifest("a", "v2", &content::index(&[], json!({})));
    });
}

#[test]
fn the_digest_in_the_path_must_be_that_of_the_manifest() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let other = Digest::sha256(b"other");
        let refused = registry
            .put_manifest("a", &other.to_string(), &image.media_type, &image.body)
            .expect(400);
        assert_eq!(refused.error_code(), "DIGEST_INVALID");
        registry.get(&format!("/v2/a/manifests/{other}")).expect(404);
    });
}

#[test]
fn tags_beside_a_digest_are_set_and_told() {
    Registry::each(|registry| {
        let image = registry.push_image("source", "", b"layer");
        registry.push_image("a", "", b"layer");
        let tags: Vec<String> = (0..10).map(|n| format!("t{n}")).collect();
        let query: Vec<String> = tags.iter().map(|tag| format!("tag={tag}")).collect();
        let reference = format!("{}?{}", image.digest, query.join("&"));
        let created = registry
            .put_manifest("a", &reference, &image.media_type, &image.body)
            .expect(201);
        let told = created.header_all("oci-tag").join(", ");
        let mut told: Vec<&str> = told.split(", ").collect();
        told.sort_unstable();
        assert_eq!(told, tags);
        assert_eq!(registry.get("/v2/a/tags/list").json()["tags"], json!(tags));
        for bad in [".x", "a/b", &"t".repeat(129)] {
            let reference = format!("{}?tag=good&tag={bad}", image.digest);
            registry
                .put_manifest("a", &reference, &image.media_type, &image.body)
                .expect(400);
        }
        registry.get("/v2/a/manifests/good").expect(404);
    });
}

#[test]
fn more_tags_than_are_taken_are_414_and_none_is_set() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let query: Vec<String> = (0..1_000).map(|n| format!("tag=t{n}")).collect();
        let reference = format!("{}?{}", image.digest, query.join("&"));
        registry
            .put_manifest("a", &reference, &image.media_type, &image.body)
            .expect(414);
        assert_eq!(
            registry.get("/v2/a/tags/list").expect(200).json()["tags"],
            json!([])
        );
    });
}

#[test]
fn missing_content_must_be_manifest_blob_unknown_naming_each() {
    Registry::each(|registry| {
        registry.push_blob("a", b"{}");
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let layers = [
            Descriptor::of(media_type::OCI_LAYER, b"one"),
            Descriptor::of(media_type::OCI_LAYER, b"two"),
        ];
        let image = content::image_manifest(&config, &layers, json!({}));
        let index = content::index(&layers, json!({}));
        for (media_type, manifest) in [(media_type::OCI_MANIFEST, image), (media_type::OCI_INDEX, index)] {
            let refused = registry.put_manifest("a", "v1", media_type, manifest.to_string().as_bytes());
            assert_eq!(
                (refused.status / 100, refused.error_code().as_str()),
                (4, "MANIFEST_BLOB_UNKNOWN"),
                "{refused:?}"
            );
            for layer in &layers {
                assert!(refused.text().contains(&layer.digest.to_string()), "{refused:?}");
            }
            assert!(
                !refused.text().contains(&config.digest.to_string()),
                "{refused:?}"
            );
            registry.get("/v2/a/manifests/v1").expect(404);
        }
    });
}

#[test]
fn thousands_of_missing_contents_are_all_named_in_an_answer_no_larger_than_the_manifest() {
    Registry::each(|registry| {
        let missing: Vec<Descriptor> = (0..5000)
            .map(|n: u32| Descriptor::of(media_type::OCI_MANIFEST, &n.to_le_bytes()))
            .collect();
        let index = content::index(&missing, json!({})).to_string();
        let refused = registry
            .put_manifest("a", "v1", media_type::OCI_INDEX, index.as_bytes())
            .expect(404);
        assert!(refused.body.len() < index.len(), "{}", refused.body.len());
        let text = refused.text();
        for descriptor in &missing {
            assert!(
                text.contains(&descriptor.digest.to_string()),
                "{}",
                descriptor.digest
            );
        }
        for error in refused.json()["errors"].as_array().unwrap() {
            assert_eq!(error["code"], "MANIFEST_BLOB_UNKNOWN");
        }
    });
}

#[test]
fn non_distributable_layers_with_urls_need_not_exist() {
    Registry::each(|registry| {
        registry.push_blob("a", b"{}");
        let config = Descriptor::of(media_type::OCI_CONFIG, b"{}");
        let urls = Some(vec!["https://example.com/layer".to_owned()]);
        for (kind, urls, status) in [
            (
                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                &urls,
                201,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                &urls,
                201,
            ),
            (
                "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
                &None,
                404,
            ),
            (media_type::OCI_LAYER, &urls, 404),
        ] {
            let mut layer = Descriptor::of(kind, b"foreign");
            layer.urls.clone_from(urls);
            let manifest = content::image_manifest(&config, &[layer], json!({})).to_string();
            registry
                .put_manifest("a", "v1", media_type::OCI_MANIFEST, manifest.as_bytes())
                .expect(status);
        }
    });
}

#[test]
fn the_body_s_media_type_and_the_content_type_must_agree() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let refused = registry
            .put_manifest("a", "v1", media_type::OCI_INDEX, &image.body)
            .expect(400);
        assert_eq!(refused.error_code(), "MANIFEST_INVALID");
    });
}

#[test]
fn a_manifest_of_four_megabytes_is_taken_and_a_larger_one_is_413() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "", b"layer");
        let padded = |size: usize| {
            let mut body = image.body.clone();
            body.resize(size, b' ');
            body
        };
        let limit = oci::MAX_MANIFEST_BYTES;
        registry
            .put_manifest("a", "large", &image.media_type, &padded(limit))
            .expect(201);
        assert_eq!(
            registry.get("/v2/a/manifests/large").expect(200).body.len(),
            limit
        );
        let refused = registry
            .put_manifest("a", "larger", &image.media_type, &padded(limit + 1))
            .expect(413);
        assert_eq!(refused.error_code(), "SIZE_INVALID");
        // Without a length, it is seen on the way.
        let chunked = Request::new("PUT", "/v2/a/manifests/larger")
            .header("Content-Type", &image.media_type)
            .body(padded(limit + 1))
            .chunked(100_000)
            .send(registry.address());
        chunked.expect(413);
        registry.get("/v2/a/manifests/larger").expect(404);
    });
}

#[test]
fn sparse_content_is_taken_where_the_configuration_allows_it() {
    let mut config = registry::Config::complete();
    config.validation.disabled = true;
    let registry = Registry::start(config);
    let missing = Descriptor::of(media_type::OCI_LAYER, b"missing");
    registry.push_manifest(
        "a",
        "image",
        &content::image_manifest(&missing, std::slice::from_ref(&missing), json!({})),
    );
    registry.push_manifest("a", "index", &content::index(&[missing], json!({})));
}

#[test]
fn images_and_indexes_may_be_sparse_each_for_itself() {
    let missing = Descriptor::of(media_type::OCI_LAYER, b"missing");
    let image = content::image_manifest(&missing, std::slice::from_ref(&missing), json!({}));
    let index = content::index(std::slice::from_ref(&missing), json!({}));
    for (of_images, of_indexes) in [
        (Required::None, Required::All),
        (Required::All, Required::None),
        (Required::None, Required::None),
    ] {
        let mut config = registry::Config::current();
        config.validation.manifests.images.blobs = of_images;
        config.validation.manifests.indexes.platforms = of_indexes;
        let registry = Registry::start(config);
        for (kind, manifest, required) in [
            (media_type::OCI_MANIFEST, &image, of_images),
            (media_type::OCI_INDEX, &index, of_indexes),
        ] {
            let answer = registry.put_manifest("a", "v1", kind, manifest.to_string().as_bytes());
            match required {
                Required::None => answer.expect(201),
                Required::All => answer.expect(404),
            };
        }
    }
}

#[test]
fn the_limit_of_manifests_is_what_the_configuration_says() {
    for limit in [1000, 6 << 20] {
        let mut config = registry::Config::current();
        config.http.limits.manifest = registry::config::ByteCount(limit as u64);
        let mut registry = Registry::start(config);
        let padded = |size: usize| {
            let mut body = content::index(&[], json!({})).to_string().into_bytes();
            body.resize(size, b' ');
            body
        };
        let put =
            |tag: &str, size: usize| registry.put_manifest("a", tag, media_type::OCI_INDEX, &padded(size));
        put("largest", limit).expect(201);
        put("larger", limit + 1).expect(413);
        // What was accepted once is served under another limit, too.
        registry.restart_as(registry::Config::current());
        assert_eq!(
            registry.get("/v2/a/manifests/largest").expect(200).body.len(),
            limit
        );
    }
}

#[test]
fn the_same_content_pushed_twice_at_once_is_there_once() {
    Registry::each(|registry| {
        let content = vec![3; 400_000];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| registry.push_blob("a", &content));
            }
        });
        let digest = Digest::sha256(&content);
        assert!(registry.get(&format!("/v2/a/blobs/{digest}")).expect(200).body == content);
    });
}
