//! Our tools at Debian's docker-registry: open, with a password, and with tokens.

use crate::{
    clients::{Sandbox, consumer, producer},
    debian_registry::{self, DebianRegistry, Door},
    fixtures::layout,
    places::{digest_tag, digests, text},
    token_server::TokenServer,
};
use std::{collections::BTreeSet, time::Instant};

/// How many producers attach at once to one image.
const PRODUCERS: usize = 32;

/// Copies an image in, attaches to it, finds that, copies all of it elsewhere and deletes it.
fn use_all_day(sandbox: &Sandbox, host: &str, ca: &str) {
    let made = layout(sandbox, "layout", "at Debian's");
    let ours = producer("intermediate");
    sandbox.run(ours, format!("copy oci:layout:latest {host}/team/app:v1 {ca}"));
    let report = sandbox.json(
        ours,
        format!("attach hello.txt text/plain misc {host}/team/app:v1 --output json {ca}"),
    );
    let attached = text(&report["manifest"]["digest"]);
    assert_eq!(text(&report["listedBy"]), "digest tag");
    assert_eq!(text(&report["digestTag"]["tag"]), digest_tag(&made.index));

    for generation in ["intermediate", "complete"] {
        let refs = sandbox.json(consumer(generation), format!("refs {host}/team/app:v1 {ca}"));
        assert_eq!(digests(&refs), [attached.as_str()]);
        let content = sandbox.run(
            consumer(generation),
            format!("artifact get {host}/team/app:v1 {ca}"),
        );
        assert_eq!(content, "hello world\n");
    }
    sandbox.run(
        consumer("current"),
        format!("pull --platform linux/arm64 {host}/team/app:v1 {ca}"),
    );

    // Blobs are mounted from the other repository, which wants rights to both.
    sandbox.run(
        ours,
        format!("copy --referrers {host}/team/app:v1 {host}/other/app:v2 {ca}"),
    );
    let refs = sandbox.json(consumer("complete"), format!("refs {host}/other/app:v2 {ca}"));
    assert_eq!(digests(&refs), [attached.as_str()]);

    sandbox.run(ours, format!("delete {host}/other/app@{attached} {ca}"));
    let refs = sandbox.json(consumer("complete"), format!("refs {host}/other/app:v2 {ca}"));
    assert!(digests(&refs).is_empty());
    let refused = sandbox.try_run(
        producer("complete"),
        format!("attach hello.txt text/plain misc {host}/team/app:v1 {ca}"),
    );
    assert_eq!(refused.code(), 5, "{refused}");
}

#[test]
fn copy_attach_refs_and_delete_at_an_open_registry() {
    if debian_registry::is_there() {
        let registry = DebianRegistry::start(&Door::Open);
        use_all_day(&Sandbox::new(), registry.host(), "");
    }
}

#[test]
fn copy_attach_refs_and_delete_with_a_password_over_tls() {
    if !debian_registry::is_there() {
        return;
    }
    let registry = DebianRegistry::start(&Door::Htpasswd);
    let sandbox = Sandbox::new();
    let host = registry.host();
    let ca = format!("--ca-cert {}", registry.certificate().display());
    sandbox.run(
        producer("intermediate"),
        format!("registry set --tls enabled {host}"),
    );

    let untrusted = sandbox.try_run(consumer("complete"), format!("refs {host}/team/app:v1"));
    assert_eq!(untrusted.code(), 7, "{untrusted}");
    let nobody = sandbox.try_run(consumer("complete"), format!("refs {host}/team/app:v1 {ca}"));
    assert_eq!(nobody.code(), 6, "{nobody}");
    sandbox.log_in(host);
    use_all_day(&sandbox, host, &ca);
}

#[test]
fn copy_attach_refs_and_delete_with_tokens() {
    if !debian_registry::is_there() {
        return;
    }
    let tokens = TokenServer::start();
    let registry = DebianRegistry::start(&tokens.door());
    let sandbox = Sandbox::new();
    let host = registry.host();

    let nobody = sandbox.try_run(consumer("complete"), format!("refs {host}/team/app:v1"));
    assert_eq!(nobody.code(), 6, "{nobody}");
    sandbox.log_in(host);
    use_all_day(&sandbox, host, "");

    let asked: BTreeSet<String> = tokens.scopes().into_iter().flatten().collect();
    for scope in ["repository:team/app:pull", "repository:team/app:pull,push"] {
        assert!(asked.contains(scope), "{asked:?}");
    }
    let mounting = ["repository:other/app:pull,push", "repository:team/app:pull"];
    let is_both = |scopes: &Vec<String>| {
        mounting
            .iter()
            .all(|scope| scopes.iter().any(|asked| asked == scope))
    };
    assert!(
        tokens.scopes().iter().any(is_both),
        "to mount: {:?}",
        tokens.scopes()
    );
}

#[test]
fn a_token_is_asked_for_once_and_used_for_every_request_it_is_good_for() {
    if !debian_registry::is_there() {
        return;
    }
    let tokens = TokenServer::start();
    let registry = DebianRegistry::start(&tokens.door());
    let sandbox = Sandbox::new();
    let host = registry.host();
    sandbox.log_in(host);
    layout(&sandbox, "layout", "with few tokens");
    sandbox.run(
        producer("intermediate"),
        format!("copy oci:layout:latest {host}/team/app:v1"),
    );
    let before = tokens.scopes().len();

    sandbox.run(
        consumer("current"),
        format!("pull --platform linux/amd64 {host}/team/app:v1"),
    );

    let asked = tokens.scopes();
    assert_eq!(
        asked[before..],
        [["repository:team/app:pull"]],
        "an index, a manifest and two blobs for one token"
    );
}

#[test]
fn a_token_that_the_registry_does_not_take_any_more_is_asked_for_again() {
    if !debian_registry::is_there() {
        return;
    }
    let tokens = TokenServer::stale_at_first(1);
    let registry = DebianRegistry::start(&tokens.door());
    let sandbox = Sandbox::new();
    sandbox.log_in(registry.host());
    layout(&sandbox, "layout", "with a stale token");

    let copy = format!("copy oci:layout:latest {}/team/app:v1", registry.host());
    sandbox.run(producer("intermediate"), copy);

    assert!(tokens.scopes().len() > 1);
}

#[test]
fn a_large_attachment_arrives_whole_over_a_network_that_breaks() {
    if !debian_registry::is_there() {
        return;
    }
    let registry = DebianRegistry::start(&Door::Open);
    let sandbox = Sandbox::new();
    layout(&sandbox, "layout", "with something large");
    sandbox.run(
        producer("intermediate"),
        format!("copy oci:layout:latest {}/team/app:v1", registry.host()),
    );
    let content: String = (0..600_000).map(|n: u32| format!("{n:07}")).collect();
    sandbox.file("large.txt", &content);
    let target = registry.host().parse().expect("an address");
    let broken = |times| testkit::Relay::breaking(target, times, 1024 * 1024);

    let (up, down) = (broken(2), broken(2));
    sandbox.run(
        producer("intermediate"),
        format!("attach large.txt text/plain misc {}/team/app:v1", up.host()),
    );
    let got = sandbox.run(
        consumer("complete"),
        format!("artifact get {}/team/app:v1", down.host()),
    );

    assert!(got == content, "{} bytes of {}", got.len(), content.len());
    assert_eq!((up.left(), down.left()), (0, 0), "the network did break");
}

#[test]
fn none_of_32_producers_attaching_at_once_is_told_done_and_not_listed_in_the_end() {
    if !debian_registry::is_there() {
        return;
    }
    let registry = DebianRegistry::start(&Door::Open);
    let sandbox = Sandbox::new();
    let host = registry.host();
    let made = layout(&sandbox, "layout", "wanted by many");
    sandbox.run(
        producer("intermediate"),
        format!("copy oci:layout:latest {host}/team/app:v1"),
    );
    for n in 0..PRODUCERS {
        sandbox.file(&format!("{n}.txt"), &format!("attachment {n}\n"));
    }

    let began = Instant::now();
    let ended: Vec<_> = std::thread::scope(|scope| {
        let attach = |n: usize| {
            let command = format!("attach {n}.txt text/plain misc {host}/team/app:v1 --output json");
            let sandbox = &sandbox;
            scope.spawn(move || sandbox.try_run(producer("intermediate"), &command))
        };
        let running: Vec<_> = (0..PRODUCERS).map(attach).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect()
    });

    let path = format!("/v2/team/app/manifests/{}", digest_tag(&made.index));
    let listed: BTreeSet<_> = digests(&registry.get(&path).expect(200).json())
        .into_iter()
        .collect();
    let (mut done, mut attempts, mut gave_up) = (0, Vec::new(), Vec::new());
    for end in ended {
        if end.code() != 0 {
            gave_up.push(end);
            continue;
        }
        let report = end.json();
        let digest = text(&report["manifest"]["digest"]);
        assert!(
            listed.contains(&digest),
            "reported as done, and not listed: {digest}"
        );
        let tag = &report["digestTag"];
        assert_eq!(tag["conditional"], false, "distribution knows no conditions");
        attempts.push(tag["attempts"].as_u64().expect("a number"));
        done += 1;
    }
    println!(
        "{done} of {PRODUCERS} done in {:.1} s, {} listed; {} attempts in all, at most {:?} of one",
        began.elapsed().as_secs_f64(),
        listed.len(),
        attempts.iter().sum::<u64>(),
        attempts.iter().max(),
    );
    for end in &gave_up {
        println!("gave up: {end}");
        let honest = end.code() == 8 || end.to_string().contains("the registry failed: 500");
        assert!(honest, "{end}");
    }
    assert!(done > 0, "somebody is first");
}

/// Images and references that others wrote there, and ours that they find.
mod with_others {
    use super::*;
    use crate::clients::{COSIGN, ORAS};

    #[test]
    fn oras_cosign_and_our_tools_find_each_others_references() {
        if !debian_registry::is_there() || !ORAS.is_there() || !COSIGN.is_there() {
            return;
        }
        let registry = DebianRegistry::start(&Door::Open);
        let sandbox = Sandbox::new();
        let host = registry.host();
        let made = layout(&sandbox, "layout", "for all of them");
        sandbox.run(
            ORAS,
            format!("copy --from-oci-layout --to-plain-http layout:latest {host}/team/app:v1"),
        );
        let theirs = format!(
            "attach --plain-http --artifact-type application/example.sbom --format json {host}/team/app:v1 hello.txt:text/plain"
        );
        let ours = format!(
            "attach hello.txt text/plain application/vnd.example.misc.v1 {host}/team/app:v1 --output json"
        );
        let mut both = vec![
            text(&sandbox.json(ORAS, &theirs)["digest"]),
            text(&sandbox.json(producer("intermediate"), &ours)["manifest"]["digest"]),
        ];
        both.sort();

        assert_eq!(
            digests(&sandbox.json(
                ORAS,
                format!("discover --plain-http --format json {host}/team/app:v1")
            )),
            both
        );
        assert_eq!(
            digests(&sandbox.json(consumer("complete"), format!("refs {host}/team/app:v1"))),
            both
        );

        sandbox.run(COSIGN, "generate-key-pair");
        sandbox.run(
            COSIGN,
            format!(
                "sign --allow-http-registry --yes --key cosign.key --tlog-upload=false {host}/team/app@{}",
                made.index
            ),
        );
        sandbox.run(
            producer("intermediate"),
            format!("copy --referrers --digest-tags {host}/team/app:v1 {host}/copied/app:v1"),
        );
        sandbox.run(COSIGN, format!("verify --allow-http-registry --key cosign.pub --insecure-ignore-tlog=true {host}/copied/app@{}", made.index));
        assert_eq!(
            digests(&sandbox.json(
                ORAS,
                format!("discover --plain-http --format json {host}/copied/app:v1")
            )),
            both
        );
    }
}
