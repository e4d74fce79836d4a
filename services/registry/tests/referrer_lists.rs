//! Lists of referrers: pages, digest tags of old clients, and stores that were written without an index.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use oci::{Digest, digest_tag, headers::next_link, media_type};
use std::collections::BTreeSet;
use support::{Request, Server, complete, current, index};

fn digests(server: &Server, path: &str) -> (Vec<String>, Option<String>) {
    let listed = server.get(path);
    assert_eq!(listed.status, 200, "{}", listed.text());
    let manifests = listed.json()["manifests"].as_array().unwrap().clone();
    let digests = manifests
        .iter()
        .map(|m| m["digest"].as_str().unwrap().to_owned())
        .collect();
    (
        digests,
        listed
            .header("link")
            .map(|link| next_link(link).unwrap().to_owned()),
    )
}

fn listed(server: &Server, subject: &Digest) -> BTreeSet<String> {
    let (listed, next) = digests(server, &format!("/v2/a/referrers/{subject}"));
    assert_eq!(next, None);
    let set: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(set.len(), listed.len(), "no referrer is listed twice");
    set
}

fn texts(digests: &[Digest]) -> BTreeSet<String> {
    digests.iter().map(Digest::to_string).collect()
}

#[test]
fn pages_yield_each_referrer_once_while_others_are_added() {
    let server = Server::start(complete());
    let subject = Digest::sha256(b"not here yet");
    let before: Vec<Digest> = (0..20u8)
        .map(|n| server.attach("a", "subject", &subject, &[n], "x"))
        .collect();
    let mut seen = Vec::new();
    let mut path = format!("/v2/a/referrers/{subject}?n=3");
    for round in 0.. {
        let (page, next) = digests(&server, &path);
        assert!(page.len() <= 3);
        seen.extend(page);
        server.attach("a", "subject", &subject, &[100 + round], "later");
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    let unique: BTreeSet<String> = seen.iter().cloned().collect();
    assert_eq!(unique.len(), seen.len(), "no referrer is in two pages");
    assert!(
        texts(&before).is_subset(&unique),
        "every one that was there all the time is in a page"
    );
}

#[test]
fn a_page_never_exceeds_the_size_of_a_manifest() {
    let server = Server::start(complete());
    let subject = Digest::sha256(b"subject");
    let note = "n".repeat(1_000_000);
    let all: Vec<Digest> = (0..6u8)
        .map(|n| server.attach("a", "subject", &subject, &[n], &note))
        .collect();
    let mut seen = Vec::new();
    let mut path = Some(format!(
        "/v2/a/_oci/artifacts/referrers?digest={subject}&artifactType={}",
        media_type::OCI_CONFIG
    ));
    while let Some(next) = path {
        let page = server.get(&next);
        assert!(page.body.len() <= oci::MAX_MANIFEST_BYTES, "{}", page.body.len());
        assert_eq!(page.header("oci-filters-applied"), Some("artifactType"));
        seen.extend(
            page.json()["manifests"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["digest"].as_str().unwrap().to_owned()),
        );
        path = page
            .header("link")
            .map(|link| next_link(link).unwrap().to_owned());
    }
    assert_eq!(seen.len(), 6);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), texts(&all));
}

#[test]
fn what_an_old_client_lists_by_digest_tag_is_in_the_answers_while_the_tag_is_there() {
    let server = Server::start(complete());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let own = server.attach("a", "subject", &subject, b"own", "1");
    let (bare, _) = server.push_image("a", "bare", b"bare");
    let (other, _) = server.push_image("a", "other", b"other");
    let tag = digest_tag::of(&subject);
    assert_eq!(listed(&server, &subject), texts(&[own]));
    server.push_manifest("a", tag.as_str(), media_type::OCI_INDEX, &index(&[own, bare]));
    assert_eq!(listed(&server, &subject), texts(&[own, bare]));
    server.push_manifest(
        "a",
        tag.as_str(),
        media_type::OCI_INDEX,
        &index(&[own, bare, other]),
    );
    assert_eq!(listed(&server, &subject), texts(&[own, bare, other]));
    server.send(Request::new("DELETE", &format!("/v2/a/manifests/{bare}")));
    assert_eq!(listed(&server, &subject), texts(&[own, other]));
    server.push_image("a", "bare", b"bare");
    assert_eq!(listed(&server, &subject), texts(&[own, bare, other]));
    server.send(Request::new("DELETE", &format!("/v2/a/manifests/{tag}")));
    assert_eq!(listed(&server, &subject), texts(&[own]));
}

#[test]
fn a_store_that_current_wrote_is_indexed_by_complete_and_going_back_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on_folder(folder.path(), current());
    let (subject, _) = server.push_image("a", "v", b"layer");
    let refers = server.attach("a", "refers", &subject, b"one", "1");
    let by_subject = server.attach("a", "subject", &subject, b"two", "2");
    let (bare, _) = server.push_image("a", "bare", b"bare");
    server.push_manifest(
        "a",
        digest_tag::of(&subject).as_str(),
        media_type::OCI_INDEX,
        &index(&[refers, bare]),
    );
    assert!(server.registry.indexed().is_none());
    drop(server);

    let server = Server::on_folder(folder.path(), complete());
    let indexed = *server.registry.indexed().expect("an upgrade");
    assert_eq!(
        (
            indexed.manifests,
            indexed.by_field,
            indexed.digest_tags,
            indexed.by_digest_tag
        ),
        (5, 2, 1, 2)
    );
    assert_eq!(listed(&server, &subject), texts(&[refers, by_subject, bare]));
    let later = server.attach("a", "subject", &subject, b"three", "3");
    drop(server);

    let server = Server::on_folder(folder.path(), complete());
    assert!(
        server.registry.indexed().is_none(),
        "a complete index is not made again"
    );
    assert_eq!(
        listed(&server, &subject),
        texts(&[refers, by_subject, bare, later])
    );
    drop(server);

    let server = Server::on_folder(folder.path(), current());
    assert_eq!(server.get(&format!("/v2/a/manifests/{later}")).status, 200);
    server.send(Request::new("DELETE", &format!("/v2/a/manifests/{by_subject}")));
    let unread = server.attach("a", "subject", &subject, b"four", "4");
    drop(server);

    let server = Server::on_folder(folder.path(), complete());
    let indexed = server.registry.indexed().expect("another upgrade");
    assert_eq!((indexed.by_field, indexed.stale), (3, 0));
    assert_eq!(listed(&server, &subject), texts(&[refers, bare, later, unread]));
}
