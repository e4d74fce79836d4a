//! The referrers API and the digest tag, against the lab's registries.

use crate::{assert_error, client, options, repository, repository_of, run, tag};
use client::{
    Client, ExitCode, Options,
    digest_tag::{self, Change},
    referrers::{ApiAnswer, ApiPath, Support},
};
use futures_util::future::join_all;
use oci::{Descriptor, Digest, media_type};
use serde_json::json;
use testkit::{FaultServer, Image, Registry, Reply};

/// The descriptor of a manifest, which need not exist.
fn entry(n: usize) -> Descriptor {
    Descriptor::of(media_type::OCI_MANIFEST, format!("referrer {n}").as_bytes())
}

/// The descriptors of manifests that were pushed: a registry wants what an index lists to be there.
fn pushed(registry: &Registry, count: usize) -> Vec<Descriptor> {
    let push = |n: usize| {
        let manifest = registry.push_image("a/b", "", format!("referrer {n}").as_bytes());
        Descriptor::new(
            media_type::OCI_MANIFEST,
            manifest.digest,
            manifest.body.len() as u64,
        )
    };
    (0..count).map(push).collect()
}

#[test]
fn the_api_is_found_or_missing_and_remembered() {
    let (complete, current) = (Registry::complete(), Registry::current());
    let image = Image::push(&complete, "a/b");
    let referrer = image.refer_by_artifact(&complete, b"sbom", json!({"artifactType": "t/sbom"}));
    let folder = tempfile::tempdir().expect("a folder");
    let har = folder.path().join("x.har");
    run(async {
        let client = Client::new(Options {
            har: Some(har.clone()),
            ..options()
        })
        .expect("a client");
        let complete = repository_of(&client, &complete.host(), "a/b");
        match complete
            .referrers(&image.index, Some("t/sbom"))
            .await
            .expect("an answer")
        {
            ApiAnswer::Listed(listing) => {
                assert_eq!(listing.path, ApiPath::Artifacts);
                assert_eq!(listing.entries.len(), 1);
                assert_eq!(listing.entries[0].digest, referrer);
                assert!(listing.filter_applied);
                assert_eq!(listing.index["manifests"][0]["digest"], json!(referrer));
            }
            other => panic!("{other:?}"),
        }
        let Ok(ApiAnswer::Listed(none)) = complete.referrers(&image.index, Some("t/other")).await else {
            panic!()
        };
        assert!(none.entries.is_empty());
        let current = repository_of(&client, &current.host(), "a/b");
        for _ in 0..3 {
            assert_eq!(
                current.referrers_support(&image.index).await.expect("an answer"),
                Support::Missing
            );
            assert_eq!(
                current.referrers(&image.index, None).await.expect("an answer"),
                ApiAnswer::Missing
            );
        }
    });
    let recorded = std::fs::read_to_string(&har).expect("a file");
    let document: serde_json::Value = serde_json::from_str(&recorded).expect("JSON");
    let entries = document["log"]["entries"].as_array().expect("entries");
    let missing = entries
        .iter()
        .filter(|e| e["comment"] == json!(current.host()))
        .count();
    assert_eq!(missing, 2, "one probe of two paths: {recorded}");
}

#[test]
fn a_digest_tag_is_made_extended_and_pruned() {
    let registry = Registry::current();
    let subject = Image::push(&registry, "a/b").index;
    let entries = pushed(&registry, 2);
    run(async {
        let repository = repository(&registry.host(), "a/b");
        assert_eq!(digest_tag::read(&repository, &subject).await.expect("read"), None);
        for n in [0, 1, 0] {
            digest_tag::change(
                &repository,
                &subject,
                &[Change::Append(entries[n].clone())],
                false,
            )
            .await
            .expect("changed");
        }
        let index = digest_tag::read(&repository, &subject)
            .await
            .expect("read")
            .expect("an index");
        assert_eq!(index.entries, entries);
        let changes = [
            Change::Remove(entries[0].digest),
            Change::Remove(entries[1].digest),
        ];
        let written = digest_tag::change(&repository, &subject, &changes, true)
            .await
            .expect("changed");
        assert!(written.pruned && written.conditional, "{written:?}");
        assert_eq!(digest_tag::read(&repository, &subject).await.expect("read"), None);
        assert_eq!(repository.tags().await.expect("tags"), ["latest"]);
    });
}

#[test]
fn thirty_two_writers_at_once_are_all_listed_on_the_current_registry() {
    let registry = Registry::current();
    let subject = Image::push(&registry, "a/b").index;
    let entries = pushed(&registry, 32);
    run(async {
        // A client each, as processes would have.
        let writers = entries.iter().map(|entry| {
            let repository = repository(&registry.host(), "a/b");
            async move {
                let changes = [Change::Append(entry.clone())];
                digest_tag::change(&repository, &subject, &changes, false)
                    .await
                    .expect("written")
            }
        });
        let written = join_all(writers).await;
        assert!(
            written.iter().all(|w| w.conditional || w.attempts == 0),
            "{written:?}"
        );
        let repository = repository(&registry.host(), "a/b");
        let index = digest_tag::read(&repository, &subject)
            .await
            .expect("read")
            .expect("an index");
        let mut listed: Vec<Digest> = index.entries.iter().map(|e| e.digest).collect();
        let mut expected: Vec<Digest> = entries.iter().map(|e| e.digest).collect();
        listed.sort();
        expected.sort();
        assert_eq!(listed, expected);
    });
}

#[test]
fn unknown_entries_and_fields_survive_a_change() {
    let registry = Registry::current();
    let subject = Image::push(&registry, "a/b").index;
    let entries = pushed(&registry, 2);
    let before = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "x-of": {"another": "tool"},
        "manifests": [{"x-note": [1], "mediaType": entries[0].media_type, "size": entries[0].size, "digest": entries[0].digest}],
        "annotations": {"kept": "yes"}
    });
    let digest_tag = oci::digest_tag::of(&subject).to_string();
    let put = registry.put_manifest(
        "a/b",
        &digest_tag,
        media_type::OCI_INDEX,
        before.to_string().as_bytes(),
    );
    put.expect(201);
    run(async {
        let repository = repository(&registry.host(), "a/b");
        digest_tag::change(
            &repository,
            &subject,
            &[Change::Append(entries[1].clone())],
            false,
        )
        .await
        .expect("changed");
        let index = digest_tag::read(&repository, &subject)
            .await
            .expect("read")
            .expect("an index");
        let mut after = before.clone();
        after["manifests"]
            .as_array_mut()
            .expect("a list")
            .push(json!(entries[1]));
        assert_eq!(index.document.to_string(), after.to_string());
    });
}

#[test]
fn a_digest_tag_that_holds_an_image_is_not_overwritten() {
    let registry = Registry::current();
    let subject = Image::push(&registry, "a/b").index;
    let digest_tag = oci::digest_tag::of(&subject).to_string();
    let image = registry.push_image("a/b", &digest_tag, b"not an index");
    run(async {
        let repository = repository(&registry.host(), "a/b");
        let error = digest_tag::change(&repository, &subject, &[Change::Append(entry(0))], false)
            .await
            .expect_err("not an index");
        assert_error(&error, ExitCode::Failed, &[&digest_tag, media_type::OCI_MANIFEST]);
        let kept = repository.get_manifest(&tag(&digest_tag)).await.expect("kept");
        assert_eq!(kept.digest, image.digest);
    });
}

#[test]
fn tags_with_the_prefix_are_found() {
    let registry = Registry::current();
    let subject = Image::push(&registry, "a/b").index;
    let old = format!("{}.att", oci::digest_tag::of(&subject));
    registry.push_image("a/b", &old, b"attestation");
    run(async {
        let repository = repository(&registry.host(), "a/b");
        let found = digest_tag::prefixed(&repository, &subject).await.expect("listed");
        assert_eq!(found.iter().map(|t| t.as_str()).collect::<Vec<_>>(), [old]);
        let unknown = crate::repository(&registry.host(), "no/such");
        assert!(
            digest_tag::prefixed(&unknown, &subject)
                .await
                .expect("listed")
                .is_empty()
        );
    });
}

#[test]
fn an_entry_that_never_holds_on_a_registry_without_conditions_is_told_and_ends() {
    // Whatever is put there, the tag has what somebody else wrote.
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry(1)]}).to_string();
    let server = FaultServer::start(move |seen| match seen.method.as_str() {
        "GET" => Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], &index),
        _ => Reply::new(201, &[], ""),
    });
    let error = run(async {
        let repository = repository_of(&client(), &server.host(), "a/b");
        let changes = [Change::Append(entry(0))];
        digest_tag::change(&repository, &Digest::sha256(b"x"), &changes, false)
            .await
            .expect_err("it never holds")
    });
    assert_error(
        &error,
        ExitCode::Conflict,
        &[
            "64 attempts",
            "does not hold this change",
            "what others wrote is untouched",
        ],
    );
    let puts = server.requests().into_iter().filter(|seen| seen.method == "PUT");
    for put in puts {
        let written: serde_json::Value = serde_json::from_slice(&put.body).expect("JSON");
        assert_eq!(
            written["manifests"],
            json!([entry(1), entry(0)]),
            "the other entry is kept each time"
        );
    }
}

#[test]
fn a_writer_that_always_loses_says_so_and_ends() {
    // The tag exists, every condition fails.
    let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}).to_string();
    let server = FaultServer::start(move |seen| match seen.method.as_str() {
        "GET" => Reply::new(
            200,
            &[("Content-Type", media_type::OCI_INDEX), ("ETag", "\"x\"")],
            &index,
        ),
        _ => Reply::new(412, &[], ""),
    });
    run(async {
        let repository = repository_of(&client(), &server.host(), "a/b");
        let error = digest_tag::change(
            &repository,
            &Digest::sha256(b"x"),
            &[Change::Append(entry(0))],
            false,
        )
        .await
        .expect_err("a conflict");
        assert_error(
            &error,
            ExitCode::Conflict,
            &["sha256-", "64 attempts", "does not hold this change"],
        );
    });
}
