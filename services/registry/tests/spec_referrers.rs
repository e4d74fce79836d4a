//! OCI distribution-spec, "Pushing Manifests with Subject" and "Listing Referrers", and Proposal E where it says more: a test
//! for each MUST and SHOULD that concerns a registry. The current configuration is tested for not having any of it.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends"
)]

use oci::{Descriptor, Digest, media_type, routes::query_value};
use serde_json::{Value, json};
use testkit::{Registry, content};

/// The one descriptor that is listed.
fn only(registry: &Registry, subject: &Digest) -> Value {
    let list = registry
        .get(&format!("/v2/a/referrers/{subject}"))
        .expect(200)
        .json();
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1), "{list}");
    list["manifests"][0].clone()
}

/// A descriptor of an image that is not there.
fn absent() -> Descriptor {
    Descriptor::of(media_type::OCI_MANIFEST, b"absent")
}

#[test]
fn a_manifest_must_be_accepted_before_its_subject_and_be_listed_then_and_later() {
    Registry::each(|registry| {
        let elsewhere = registry.push_image("elsewhere", "v1", b"subject");
        let referrer =
            registry.push_image_with("a", "", b"signature", json!({"subject": elsewhere.descriptor()}));
        registry
            .get(&format!("/v2/a/manifests/{}", elsewhere.digest))
            .expect(404);
        if registry.config().serves_referrers() {
            assert_eq!(
                registry.referrers("a", &elsewhere.digest),
                [referrer.digest.to_string()]
            );
            registry.push_image("a", "v1", b"subject");
            assert_eq!(
                registry.referrers("a", &elsewhere.digest),
                [referrer.digest.to_string()]
            );
        }
    });
}

#[test]
fn oci_subject_must_be_answered_for_each_kind_of_manifest_by_a_registry_with_the_api_alone() {
    Registry::each(|registry| {
        registry.push_blob("a", b"{}");
        let config = Descriptor::of(media_type::OCI_EMPTY, b"{}");
        for field in ["subject", "refers"] {
            for manifest in [
                content::image_manifest(&config, &[], json!({field: absent()})),
                content::index(&[], json!({field: absent()})),
            ] {
                let body = manifest.to_string();
                let kind = manifest["mediaType"].as_str().unwrap();
                let answer = registry
                    .put_manifest("a", "v1", kind, body.as_bytes())
                    .expect(201);
                let expected = registry
                    .config()
                    .serves_referrers()
                    .then(|| absent().digest.to_string());
                assert_eq!(
                    answer.header("oci-subject"),
                    expected.as_deref(),
                    "{kind} {field}"
                );
            }
        }
        let plain = registry.push_image("a", "", b"layer");
        let answer = registry
            .put_manifest("a", "v2", &plain.media_type, &plain.body)
            .expect(201);
        assert_eq!(answer.header("oci-subject"), None);
    });
}

#[test]
fn a_registry_with_the_api_must_not_answer_404_and_must_answer_an_empty_list() {
    let registry = Registry::complete();
    registry.push_image("a", "v1", b"layer");
    for path in [
        format!("/v2/a/referrers/{}", absent().digest),
        format!("/v2/nowhere/referrers/{}", absent().digest),
        format!(
            "/v2/a/_oci/artifacts/referrers?digest={}",
            query_value(&absent().digest.to_string())
        ),
    ] {
        let answer = registry.get(&path).expect(200);
        assert_eq!(
            answer.header("content-type"),
            Some(media_type::OCI_INDEX),
            "{path}"
        );
        let list = answer.json();
        assert_eq!(
            (&list["schemaVersion"], &list["mediaType"], &list["manifests"]),
            (&json!(2), &json!(media_type::OCI_INDEX), &json!([])),
            "{path}"
        );
    }
}

#[test]
fn a_registry_without_the_api_answers_404_on_both_paths() {
    let registry = Registry::current();
    let subject = registry.push_image("a", "v1", b"layer");
    registry.push_image_with("a", "", b"signature", json!({"subject": subject.descriptor()}));
    registry
        .get(&format!("/v2/a/referrers/{}", subject.digest))
        .expect(404);
    registry
        .get(&format!(
            "/v2/a/_oci/artifacts/referrers?digest={}",
            subject.digest
        ))
        .expect(404);
    registry.get("/v2/_oci/ext/discover").expect(404);
}

#[test]
fn a_malformed_digest_must_be_400() {
    let registry = Registry::complete();
    for digest in [
        "foo",
        "sha256:abc",
        "sha256:",
        "md5:9a0364b9e99bb480dd25e1f0284c8555",
    ] {
        assert_eq!(
            registry
                .get(&format!("/v2/a/referrers/{digest}"))
                .expect(400)
                .error_code(),
            "DIGEST_INVALID"
        );
        registry
            .get(&format!("/v2/a/_oci/artifacts/referrers?digest={digest}"))
            .expect(400);
    }
    registry.get("/v2/a/_oci/artifacts/referrers").expect(400);
}

#[test]
fn a_subject_with_a_malformed_digest_is_refused_and_breaks_no_list() {
    Registry::each(|registry| {
        let image = registry.push_image("a", "v1", b"layer");
        let mut manifest: Value = serde_json::from_slice(&image.body).unwrap();
        for field in ["refers", "subject"] {
            manifest[field] = json!({"mediaType": media_type::OCI_MANIFEST, "size": 1, "digest": "foo"});
            let refused = registry
                .put_manifest("a", "v2", &image.media_type, manifest.to_string().as_bytes())
                .expect(400);
            assert_eq!(refused.error_code(), "MANIFEST_INVALID");
        }
    });
}

#[test]
fn the_artifact_type_must_be_the_manifest_s_own_else_the_config_s_media_type_and_none_for_an_index() {
    let registry = Registry::complete();
    registry.push_blob("a", b"{}");
    let config = Descriptor::of("application/vnd.example.config", b"{}");
    for (number, manifest, expected) in [
        (
            1,
            content::image_manifest(
                &config,
                &[],
                json!({"artifactType": "application/vnd.example.sbom"}),
            ),
            json!("application/vnd.example.sbom"),
        ),
        (
            2,
            content::image_manifest(&config, &[], json!({})),
            json!("application/vnd.example.config"),
        ),
        (
            3,
            content::image_manifest(&config, &[], json!({"artifactType": ""})),
            json!("application/vnd.example.config"),
        ),
        (
            4,
            content::index(&[], json!({"artifactType": "application/vnd.example.list"})),
            json!("application/vnd.example.list"),
        ),
        (5, content::index(&[], json!({})), Value::Null),
        // An index has no config: there, it is a field like any that is not known.
        (6, content::index(&[], json!({"config": config})), Value::Null),
        (
            7,
            content::artifact_manifest("application/vnd.example.artifact", &[], json!({})),
            json!("application/vnd.example.artifact"),
        ),
    ] {
        let subject = Descriptor::of(media_type::OCI_MANIFEST, format!("subject {number}").as_bytes());
        let mut manifest = manifest;
        manifest["subject"] = json!(subject);
        let pushed = registry.push_manifest("a", "", &manifest);
        let listed = only(&registry, &subject.digest);
        assert_eq!(listed["artifactType"], expected, "{number}");
        assert_eq!(
            listed.as_object().unwrap().contains_key("artifactType"),
            !expected.is_null()
        );
        assert_eq!(
            (&listed["digest"], &listed["size"], &listed["mediaType"]),
            (
                &json!(pushed.digest),
                &json!(pushed.body.len()),
                &json!(pushed.media_type)
            )
        );
    }
}

#[test]
fn the_descriptors_must_include_the_annotations_of_the_manifest() {
    let registry = Registry::complete();
    let annotations = json!({"org.opencontainers.image.created": "2022-01-01T14:42:55Z", "ä": "ö\n\"x\""});
    let extra = json!({"annotations": annotations, "refers": absent()});
    registry.push_image_with("a", "", b"signature", extra);
    assert_eq!(only(&registry, &absent().digest)["annotations"], annotations);
}

#[test]
fn a_referrer_is_listed_exactly_while_its_manifest_exists() {
    let registry = Registry::complete();
    let push = |layer: &[u8]| registry.push_image_with("a", "", layer, json!({"subject": absent()}));
    let (first, second) = (push(b"one"), push(b"two"));
    push(b"one");
    let mut both = [first.digest.to_string(), second.digest.to_string()];
    both.sort_unstable();
    let listed = || {
        let mut listed = registry.referrers("a", &absent().digest);
        listed.sort_unstable();
        listed
    };
    assert_eq!(listed(), both);
    registry
        .request("DELETE", &format!("/v2/a/manifests/{}", first.digest), &[], b"")
        .expect(202);
    assert_eq!(listed(), [second.digest.to_string()]);
    assert_eq!(registry.referrers("b", &absent().digest), [""; 0]);
}

#[test]
fn a_filter_that_is_applied_must_be_told_by_header_and_is_told_by_annotation() {
    let registry = Registry::complete();
    let push = |layer: &[u8], kind: &str| {
        registry.push_image_with("a", "", layer, json!({"subject": absent(), "artifactType": kind}))
    };
    let (sbom, _signature) = (
        push(b"sbom", "application/vnd.example.sbom.v1+json"),
        push(b"signature", "text/x"),
    );
    let digest = absent().digest;
    for path in [
        format!("/v2/a/referrers/{digest}?artifactType=application/vnd.example.sbom.v1%2Bjson"),
        format!(
            "/v2/a/_oci/artifacts/referrers?digest={digest}&artifactType=application/vnd.example.sbom.v1%2Bjson"
        ),
    ] {
        let answer = registry.get(&path).expect(200);
        assert_eq!(
            answer.header("oci-filters-applied"),
            Some("artifactType"),
            "{path}"
        );
        let list = answer.json();
        assert_eq!(
            list["annotations"]["org.opencontainers.references.filtersApplied"],
            "artifactType"
        );
        assert_eq!(
            (
                list["manifests"].as_array().unwrap().len(),
                &list["manifests"][0]["digest"]
            ),
            (1, &json!(sbom.digest))
        );
    }
    let none = registry
        .get(&format!("/v2/a/referrers/{digest}?artifactType=x/y"))
        .expect(200);
    assert_eq!(
        (
            none.json()["manifests"].clone(),
            none.header("oci-filters-applied")
        ),
        (json!([]), Some("artifactType"))
    );
    assert_eq!(
        registry
            .get(&format!("/v2/a/referrers/{digest}"))
            .header("oci-filters-applied"),
        None
    );
}

#[test]
fn a_list_that_does_not_fit_one_manifest_must_have_a_link_to_the_rest_and_each_referrer_once() {
    let registry = Registry::complete();
    let filler = "x".repeat(100_000);
    let mut pushed: Vec<String> = (0..60)
        .map(|n| {
            let extra = json!({"subject": absent(), "annotations": {"n": n.to_string(), "filler": filler}});
            registry
                .push_image_with("a", "", b"layer", extra)
                .digest
                .to_string()
        })
        .collect();
    let first = registry
        .get(&format!("/v2/a/referrers/{}", absent().digest))
        .expect(200);
    assert!(
        first.body.len() <= oci::MAX_MANIFEST_BYTES,
        "{}",
        first.body.len()
    );
    assert!(first.header("link").expect("a link").contains("rel=\"next\""));
    let mut listed = registry.referrers("a", &absent().digest);
    listed.sort_unstable();
    pushed.sort_unstable();
    assert_eq!(listed, pushed);
}

#[test]
fn the_artifact_manifest_is_accepted_by_complete_and_refused_as_invalid_by_current() {
    Registry::each(|registry| {
        registry.push_blob("a", b"hello world\n");
        let blob = Descriptor::of(media_type::OCTET_STREAM, b"hello world\n");
        let manifest = content::artifact_manifest("", &[blob], json!({"refers": absent()})).to_string();
        let answer = registry.put_manifest("a", "v1", media_type::OCI_ARTIFACT, manifest.as_bytes());
        if registry.config().serves_referrers() {
            answer.expect(201);
            assert_eq!(
                only(registry, &absent().digest)["mediaType"],
                media_type::OCI_ARTIFACT
            );
        } else {
            assert_eq!(answer.expect(400).error_code(), "MANIFEST_INVALID");
        }
    });
}

#[test]
fn the_current_registry_keeps_refers_and_subject_unread() {
    let registry = Registry::current();
    let extra = json!({"refers": absent(), "subject": absent(), "x-unknown": [1, 2]});
    let image = registry.push_image_with("a", "v1", b"layer", extra);
    assert_eq!(registry.get("/v2/a/manifests/v1").expect(200).body, image.body);
}

#[test]
fn extensions_are_discovered_with_their_endpoints() {
    let registry = Registry::complete();
    registry.push_image("a", "v1", b"layer");
    for (path, expected) in [
        ("/v2/_oci/ext/discover", "_oci/ext/discover"),
        ("/v2/a/_oci/ext/discover", "referrers"),
    ] {
        let answer = registry.get(path).expect(200);
        let extensions = answer.json()["extensions"].as_array().expect("a list").clone();
        assert!(
            !extensions.is_empty() && answer.text().contains(expected),
            "{path}: {}",
            answer.text()
        );
        for extension in extensions {
            for field in ["name", "url", "description"] {
                assert!(
                    extension[field].as_str().is_some_and(|text| !text.is_empty()),
                    "{extension}"
                );
            }
            assert!(extension["endpoints"].is_array());
        }
    }
}

#[test]
fn on_enabling_the_api_what_is_there_must_be_listed_by_field_and_by_digest_tag() {
    let mut registry = Registry::current();
    let subject = registry.push_image("a", "v1", b"subject");
    let by_field = registry.push_image_with("a", "", b"one", json!({"refers": subject.descriptor()}));
    let by_tag = registry.push_image("a", "", b"two");
    let digest_tag = subject.digest.to_string().replace(':', "-");
    registry.push_manifest(
        "a",
        &digest_tag,
        &content::index(&[by_tag.descriptor()], json!({})),
    );
    let mut expected = [by_field.digest.to_string(), by_tag.digest.to_string()];
    expected.sort_unstable();
    for _ in 0..2 {
        registry.restart_as(registry::Config::complete());
        let mut listed = registry.referrers("a", &subject.digest);
        listed.sort_unstable();
        assert_eq!(listed, expected);
        // And back: nothing is lost.
        registry.restart_as(registry::Config::current());
        registry.get(&format!("/v2/a/manifests/{digest_tag}")).expect(200);
        registry
            .get(&format!("/v2/a/manifests/{}", by_field.digest))
            .expect(200);
    }
}

#[test]
fn a_referrer_whose_descriptor_does_not_fit_one_manifest_is_listed_all_the_same_in_a_page_that_does() {
    let registry = Registry::complete();
    // All but the annotation is as short as it may be: the page has more around the descriptor.
    let filled = |size: usize| {
        let bare =
            json!({"schemaVersion": 2, "manifests": [], "subject": absent(), "annotations": {"n": ""}})
                .to_string();
        let filler = "x".repeat(size - bare.len());
        bare.replace("\"n\":\"\"", &format!("\"n\":\"{filler}\""))
    };
    let small = registry.push_image_with("a", "", b"layer", json!({"subject": absent()}));
    let mut pushed = vec![small.digest.to_string()];
    for size in [oci::MAX_MANIFEST_BYTES, oci::MAX_MANIFEST_BYTES - 700] {
        let body = filled(size);
        assert_eq!(body.len(), size);
        let answer = registry.put_manifest("a", &format!("v{size}"), media_type::OCI_INDEX, body.as_bytes());
        answer.expect(201);
        pushed.push(Digest::sha256(body.as_bytes()).to_string());
    }
    let mut next = Some(format!("/v2/a/referrers/{}", absent().digest));
    let mut listed = Vec::new();
    while let Some(path) = next {
        let page = registry.get(&path).expect(200);
        assert!(page.body.len() <= oci::MAX_MANIFEST_BYTES, "{}", page.body.len());
        let list = page.json();
        listed.extend(
            list["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["digest"].as_str().unwrap().to_owned()),
        );
        next = page
            .header("link")
            .map(|link| oci::headers::next_link(link).unwrap().to_owned());
    }
    listed.sort_unstable();
    pushed.sort_unstable();
    assert_eq!(listed, pushed);
}

#[test]
fn a_digest_tag_of_a_sha512_subject_is_cut_to_64_digits_and_shows_in_the_answers() {
    let registry = Registry::complete();
    let image = registry.push_image("a", "", b"subject");
    let subject = Digest::of(oci::Algorithm::Sha512, &image.body);
    registry
        .put_manifest("a", &subject.to_string(), &image.media_type, &image.body)
        .expect(201);
    let by_field = registry.push_image_with(
        "a",
        "",
        b"one",
        json!({"subject": Descriptor::new(media_type::OCI_MANIFEST, subject, image.body.len() as u64)}),
    );
    let by_tag = registry.push_image("a", "", b"two");
    let digest_tag = format!("sha512-{}", &subject.hex()[..64]);
    registry.push_manifest(
        "a",
        &digest_tag,
        &content::index(&[by_tag.descriptor()], json!({})),
    );
    let mut expected = [by_field.digest.to_string(), by_tag.digest.to_string()];
    expected.sort_unstable();
    let mut listed = registry.referrers("a", &subject);
    listed.sort_unstable();
    assert_eq!(listed, expected);
}

#[test]
fn a_read_only_registry_lists_what_a_store_without_an_index_has() {
    let mut registry = Registry::current();
    let subject = registry.push_image("a", "v1", b"subject");
    let by_field = registry.push_image_with("a", "", b"one", json!({"refers": subject.descriptor()}));
    let mut read_only = registry::Config::complete();
    read_only.storage.maintenance.readonly.enabled = true;
    registry.restart_as(read_only);
    assert_eq!(
        registry.referrers("a", &subject.digest),
        [by_field.digest.to_string()]
    );
    registry.restart_as(registry::Config::complete());
    assert_eq!(
        registry.referrers("a", &subject.digest),
        [by_field.digest.to_string()]
    );
}
