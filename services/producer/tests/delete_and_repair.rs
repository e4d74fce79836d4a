//! Deleting references and mending digest tags.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use testkit::{FaultServer, Image, Registry, Reply, Tool};

fn producer() -> Tool {
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("intermediate");
    tool.write("hello.txt", "hello world\n");
    tool
}

fn entry(digest: &oci::Digest, size: u64, more: Value) -> Value {
    let mut entry = json!({"mediaType": oci::media_type::OCI_MANIFEST, "size": size, "digest": digest});
    for (key, value) in more.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    entry
}

const TYPED: &str = "application/vnd.oci.image.config.v1+json";

#[test]
fn a_deleted_reference_is_taken_out_of_the_digest_tag_and_an_empty_one_goes() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let tool = producer();
    let attach = |content: &str| {
        let line = ["artifact", "put", "--refers", &name];
        tool.run_with_input(&line, content.as_bytes())
            .expect(0)
            .text()
            .trim()
            .to_owned()
    };
    let (first, second) = (attach("1"), attach("2"));
    let repository = format!("{}/app", registry.host());
    tool.run(&["delete", &format!("{repository}@{first}")]).expect(0);
    let entries = image.digest_tag(&registry).expect("a digest tag");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["digest"], second);
    assert_eq!(registry.get(&format!("/v2/app/manifests/{first}")).status, 404);
    tool.run(&["delete", &format!("{repository}@{second}")]).expect(0);
    assert_eq!(image.digest_tag(&registry), None);
    registry.get("/v2/app/manifests/latest").expect(200);
}

#[test]
fn deleting_with_referrers_takes_references_of_references_too() {
    for registry in [Registry::current(), Registry::complete()] {
        let image = Image::push(&registry, "app");
        let repository = format!("{}/app", registry.host());
        let tool = producer();
        let refer_to = |subject: &str| {
            let line = ["artifact", "put", "--refers", subject];
            tool.run_with_input(&line, subject.as_bytes())
                .expect(0)
                .text()
                .trim()
                .to_owned()
        };
        let near = refer_to(&format!("{repository}:latest"));
        let far = refer_to(&format!("{repository}@{near}"));
        let ran = tool
            .run(&[
                "--output",
                "json",
                "delete",
                "--referrers",
                &format!("{repository}:latest"),
            ])
            .expect(0);
        let order = json!([far, near, image.index.to_string()]);
        assert_eq!(ran.json()["manifests"], order, "those furthest away first");
        for digest in [far, near, image.index.to_string()] {
            assert_eq!(registry.get(&format!("/v2/app/manifests/{digest}")).status, 404);
        }
        assert_eq!(image.digest_tag(&registry), None);
    }
}

#[test]
fn deleting_a_tag_leaves_its_manifest() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    producer()
        .run(&["delete", &format!("{}/app:latest", registry.host())])
        .expect(0);
    assert_eq!(registry.get("/v2/app/manifests/latest").status, 404);
    registry
        .get(&format!("/v2/app/manifests/{}", image.index))
        .expect(200);
}

#[test]
fn deleting_with_referrers_tells_an_answer_that_is_no_index() {
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let server = FaultServer::start(move |request| match request.method.as_str() {
        "DELETE" => Reply::new(202, &[], ""),
        _ if request.path.contains("referrers") => {
            Reply::new(200, &[("Content-Type", "text/html")], "<html>")
        }
        _ if request.path.contains("/manifests/sha256-") => Reply::new(404, &[], ""),
        "HEAD" => Reply::head(200, &[("Content-Type", oci::media_type::OCI_INDEX)], index.len()),
        _ => Reply::new(200, &[("Content-Type", oci::media_type::OCI_INDEX)], index),
    });
    let ran = producer()
        .run(&["delete", "--referrers", &format!("{}/app:latest", server.host())])
        .expect(0);
    assert!(
        ran.stderr
            .contains("an HTML page; the referrers API counts as missing"),
        "{}",
        ran.stderr
    );
}

#[test]
fn deleting_what_is_not_there_is_told() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let missing = format!("{}/app@{}", registry.host(), oci::Digest::sha256(b"missing"));
    producer().run(&["delete", &missing]).expect(3);
    producer()
        .run(&["delete", &format!("{}/app:missing", registry.host())])
        .expect(3);
    registry
        .get(&format!("/v2/app/manifests/{}", image.index))
        .expect(200);
}

/// A digest tag with everything wrong that real ones have, and the one right reference.
fn broken(registry: &Registry) -> (Image, oci::Digest, u64) {
    let image = Image::push(registry, "app");
    let annotations = json!({"annotations": {"k": "v"}});
    let (good, size) = image.refer_by_image(registry, b"good", annotations);
    let other = Image::push(registry, "app2");
    let (foreign, foreign_size) = {
        let mut elsewhere = other.clone();
        elsewhere.repository = "app".to_owned();
        elsewhere.refer_by_image(registry, b"foreign", json!({}))
    };
    let (gone, gone_size) = image.refer_by_image(registry, b"gone", json!({}));
    image.put_digest_tag(
        registry,
        &[
            entry(&good, size, json!({"x-kept": true})),
            entry(&good, size, json!({})),
            entry(&gone, gone_size, json!({"artifactType": TYPED})),
            entry(&foreign, foreign_size, json!({"artifactType": TYPED})),
        ],
    );
    registry
        .request("DELETE", &format!("/v2/app/manifests/{gone}"), &[], b"")
        .expect(202);
    (image, good, size)
}

#[test]
fn a_broken_digest_tag_is_repaired() {
    let registry = Registry::current();
    let (image, good, size) = broken(&registry);
    let name = format!("{}/app:latest", registry.host());
    let ran = producer().run(&["repair", &name]).expect(0);
    for part in [
        "missing artifactType",
        "missing annotations",
        "duplicate",
        "stale",
        "foreign",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let repaired = json!({"x-kept": true, "artifactType": TYPED, "annotations": {"k": "v"}});
    assert_eq!(
        image.digest_tag(&registry),
        Some(vec![entry(&good, size, repaired)])
    );
    let again = producer().run(&["repair", &name]).expect(0);
    assert_eq!(again.text(), "nothing to repair\n");
}

#[test]
fn wrong_types_and_annotations_are_mended_and_what_only_the_list_knows_is_kept() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (digest, size) = image.refer_by_image(&registry, b"misc", json!({"annotations": {"k": "v"}}));
    let wrong = json!({"artifactType": "application/other", "annotations": {"k": "w", "of-the-list": "1"}});
    image.put_digest_tag(&registry, &[entry(&digest, size, wrong)]);
    let name = format!("{}/app:latest", registry.host());
    let ran = producer().run(&["repair", &name]).expect(0);
    for part in [
        "wrong artifactType application/other",
        "wrong annotations",
        "\n~ {",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let right = json!({"artifactType": TYPED, "annotations": {"k": "v", "of-the-list": "1"}});
    assert_eq!(
        image.digest_tag(&registry),
        Some(vec![entry(&digest, size, right)])
    );
}

#[test]
fn a_digest_tag_of_nothing_but_stale_entries_is_pruned_by_a_repair() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (gone, size) = image.refer_by_image(&registry, b"gone", json!({}));
    image.put_digest_tag(&registry, &[entry(&gone, size, json!({}))]);
    let path = format!("/v2/app/manifests/{gone}");
    registry.request("DELETE", &path, &[], b"").expect(202);
    let name = format!("{}/app:latest", registry.host());
    let ran = producer().run(&["repair", &name]).expect(0);
    assert!(ran.text().contains("was empty and is deleted"), "{}", ran.text());
    assert_eq!(image.digest_tag(&registry), None);
    registry.get("/v2/app/manifests/latest").expect(200);
}

#[test]
fn a_dry_run_shows_the_change_and_writes_nothing() {
    let registry = Registry::current();
    let (image, ..) = broken(&registry);
    let before = image.digest_tag(&registry);
    let name = format!("{}/app:latest", registry.host());
    let ran = producer()
        .run(&["--output", "json", "repair", "--dry-run", &name])
        .expect(0);
    assert_eq!(image.digest_tag(&registry), before);
    let report = ran.json();
    assert_eq!(
        (&report["changed"], &report["written"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(report["after"]["manifests"].as_array().map(Vec::len), Some(1));
    assert!(ran.stderr.contains("\n- sha256:"), "{}", ran.stderr);
}

#[test]
fn an_entry_that_a_racing_writer_dropped_can_be_added_again() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (lost, _) = image.refer_by_image(&registry, b"lost", json!({}));
    let name = format!("{}/app:latest", registry.host());
    producer()
        .run(&["repair", &name, "--add", &lost.to_string()])
        .expect(0);
    let entries = image.digest_tag(&registry).expect("a digest tag");
    assert_eq!(entries[0]["digest"], lost.to_string());
    assert_eq!(entries[0]["artifactType"], TYPED);
    let stranger = image.manifests[0].to_string();
    producer().run(&["repair", &name, "--add", &stranger]).expect(3);
}

#[test]
fn a_reference_under_a_tag_of_the_older_form_is_taken_into_the_digest_tag() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    image.put_digest_tag(&registry, &[]);
    let (digest, _) = image.refer_by_image(&registry, b"older", json!({}));
    let body = registry
        .get(&format!("/v2/app/manifests/{digest}"))
        .expect(200)
        .text();
    let tag = format!("{}.older", oci::digest_tag::of(&image.index));
    testkit::image::push_manifest(&registry, "app", Some(&tag), oci::media_type::OCI_MANIFEST, &body);
    let name = format!("{}/app:latest", registry.host());
    producer().run(&["repair", &name]).expect(0);
    let entries = image.digest_tag(&registry).expect("a digest tag");
    assert_eq!(entries[0]["digest"], digest.to_string());
}
