//! Lists of references that do not end: told in bounded time and memory.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Descriptor, Digest, media_type};
use serde_json::json;
use testkit::{FaultServer, Reply, Tool};

fn index_of(entries: &[Descriptor]) -> Reply {
    let index =
        json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries}).to_string();
    Reply::new(200, &[("Content-Type", media_type::OCI_INDEX)], index)
}

/// A registry that answers every question for references by what is made of the subject.
fn listing(list: impl Fn(&str) -> Vec<Descriptor> + Send + Sync + 'static) -> FaultServer {
    FaultServer::start(move |seen| match seen.path.split_once("/referrers/") {
        Some((_, subject)) => index_of(&list(subject)),
        None if seen.path.contains("referrers") => Reply::new(404, &[], ""),
        None => index_of(&[]),
    })
}

#[test]
fn a_tree_that_grows_with_every_answer_is_ended() {
    let deeper = listing(|subject| vec![Descriptor::of(media_type::OCI_MANIFEST, subject.as_bytes())]);
    let wide = listing(|_| {
        let entry = |n: u32| Descriptor::of(media_type::OCI_MANIFEST, &n.to_be_bytes());
        (0..20_001).map(entry).collect()
    });
    let around = listing(|subject| {
        let digest = Digest::parse(subject).expect("a digest");
        vec![Descriptor::new(media_type::OCI_MANIFEST, digest, 1)]
    });
    for (server, code, told) in [
        (&deeper, 1, "more than 32 deep"),
        (&wide, 1, "more than 20000 references"),
        (&around, 0, ""),
    ] {
        let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("intermediate");
        let ran = tool
            .line_within(&format!("tree {}/app:latest", server.host()), 256, 60)
            .expect(code);
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    assert!(wide.requests().len() < 10, "{}", wide.requests().len());
}
