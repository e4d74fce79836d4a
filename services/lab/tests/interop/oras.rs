//! oras: artifacts, attachments and their discovery.

use crate::{
    clients::{ORAS, Sandbox},
    places::{PASSWORD, Place, USER, digests, text},
};
use registry::config::{Anonymous, Config};

/// Keeps the time out of a manifest, so that the same attachment has the same digest on every registry.
const UNDATED: &str = "--annotation org.opencontainers.image.created=2022-06-01T00:00:00Z";

/// What oras says of `--plain-http` for a place.
fn plain(place: &Place) -> &'static str {
    place.if_plain("--plain-http")
}

/// Pushes an artifact of one file under a tag and gives its digest.
fn push(sandbox: &Sandbox, place: &Place, reference: &str) -> String {
    let (plain, host) = (plain(place), place.host());
    sandbox.run(
        ORAS,
        format!("push {plain} {UNDATED} {host}/{reference} hello.txt:text/plain"),
    );
    sandbox
        .run(ORAS, format!("resolve {plain} {host}/{reference}"))
        .trim()
        .to_owned()
}

/// Attaches a file of its own to an image and gives the manifest's digest.
fn attach(sandbox: &Sandbox, place: &Place, artifact_type: &str, reference: &str) -> String {
    let (plain, host) = (plain(place), place.host());
    let file = format!("{}.txt", artifact_type.replace('/', "-"));
    sandbox.file(&file, artifact_type);
    let command = format!(
        "attach {plain} {UNDATED} --artifact-type {artifact_type} --format json {host}/{reference} {file}:text/plain"
    );
    text(&sandbox.json(ORAS, &command)["digest"])
}

/// The digests that `oras discover` lists.
fn discover(sandbox: &Sandbox, place: &Place, options: &str, reference: &str) -> Vec<String> {
    let (plain, host) = (plain(place), place.host());
    digests(&sandbox.json(
        ORAS,
        format!("discover {plain} --format json {options} {host}/{reference}"),
    ))
}

#[test]
fn oras_pushes_pulls_tags_copies_lists_and_deletes() {
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let (plain, host) = (plain(&place), place.host());
        let digest = push(&sandbox, &place, "made/by-oras:v1");

        sandbox.run(ORAS, format!("tag {plain} {host}/made/by-oras:v1 v2"));
        sandbox.run(
            ORAS,
            format!("pull {plain} {host}/made/by-oras:v2 --output pulled"),
        );
        assert_eq!(sandbox.read("pulled/hello.txt"), "hello world\n");

        let (from, to) = (
            place.if_plain("--from-plain-http"),
            place.if_plain("--to-plain-http"),
        );
        sandbox.run(
            ORAS,
            format!("copy {from} {to} {host}/made/by-oras:v1 {host}/copied/by-oras:v1,v3"),
        );
        let copied = sandbox.run(ORAS, format!("resolve {plain} {host}/copied/by-oras:v3"));
        assert_eq!(copied.trim(), digest);

        let repositories = sandbox.run(ORAS, format!("repo ls {plain} {host}"));
        assert_eq!(repositories, "copied/by-oras\nmade/by-oras\n");
        assert_eq!(
            sandbox.run(ORAS, format!("repo tags {plain} {host}/made/by-oras")),
            "v1\nv2\n"
        );

        sandbox.run(
            ORAS,
            format!("manifest delete {plain} --force {host}/made/by-oras:v1"),
        );
        assert_eq!(
            sandbox.run(ORAS, format!("repo tags {plain} {host}/made/by-oras")),
            ""
        );
        sandbox.fails(ORAS, format!("pull {plain} {host}/made/by-oras@{digest}"));
    }
}

#[test]
fn oras_pushes_fetches_and_deletes_single_blobs_and_manifests() {
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let (plain, host) = (plain(&place), place.host());
        let hello = oci::Digest::sha256(b"hello world\n");
        let blob = format!("{host}/single/blob@{hello}");

        sandbox.run(ORAS, format!("blob push {plain} {blob} hello.txt"));
        assert_eq!(
            sandbox.run(ORAS, format!("blob fetch {plain} {blob} --output -")),
            "hello world\n"
        );
        sandbox.run(ORAS, format!("blob delete {plain} --force {blob}"));
        sandbox.fails(ORAS, format!("blob fetch {plain} {blob} --output -"));

        sandbox.file("empty.json", r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"x-unknown":[1, 2]}"#);
        sandbox.run(
            ORAS,
            format!("manifest push {plain} {host}/single/index:v1,v2 empty.json"),
        );
        let fetched = sandbox.run(ORAS, format!("manifest fetch {plain} {host}/single/index:v2"));
        assert_eq!(fetched, sandbox.read("empty.json"));
    }
}

#[test]
fn a_large_blob_survives_the_way_through_oras() {
    needs!(ORAS);
    let place = Place::complete();
    let sandbox = Sandbox::at(&place);
    let host = place.host();
    let line = "sixteen bytes a\n";
    sandbox.file("large.bin", &line.repeat((24 << 20) / line.len()));

    sandbox.run(ORAS, format!("push --plain-http {host}/large:v1 large.bin"));
    sandbox.run(ORAS, format!("pull --plain-http {host}/large:v1 --output pulled"));

    assert!(sandbox.read("pulled/large.bin") == sandbox.read("large.bin"));
}

#[test]
fn oras_attaches_by_the_api_on_complete_and_by_a_digest_tag_on_current() {
    needs!(ORAS);
    let mut listed = Vec::new();
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let subject = push(&sandbox, &place, "signed:v1");
        let mut attached = vec![
            attach(&sandbox, &place, "application/example.sbom", "signed:v1"),
            attach(&sandbox, &place, "application/example.signature", "signed:v1"),
        ];
        attached.sort();

        assert_eq!(discover(&sandbox, &place, "", "signed:v1"), attached);
        let one = discover(
            &sandbox,
            &place,
            "--artifact-type application/example.sbom",
            "signed:v1",
        );
        assert_eq!(one.len(), 1);
        // What the registry holds, asked without oras.
        if place.serves_referrers() {
            assert_eq!(place.referrers("signed", &subject), Some(attached.clone()));
            assert_eq!(place.digest_tag("signed", &subject), None);
            assert_eq!(place.tags("signed"), ["v1"]);
        } else {
            assert_eq!(place.referrers("signed", &subject), None);
            assert_eq!(place.digest_tag("signed", &subject), Some(attached.clone()));
        }
        listed.push(attached);
    }
    for other in &listed[1..] {
        assert_eq!(
            &listed[0], other,
            "the same commands list the same referrers everywhere"
        );
    }
}

#[test]
fn oras_discovers_what_refers_to_a_reference() {
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        push(&sandbox, &place, "signed:v1");
        let sbom = attach(&sandbox, &place, "application/example.sbom", "signed:v1");
        let signature = attach(
            &sandbox,
            &place,
            "application/example.signature",
            &format!("signed@{sbom}"),
        );

        let (plain, host) = (plain(&place), place.host());
        let tree = sandbox.run(ORAS, format!("discover {plain} --format tree {host}/signed:v1"));

        let lines: Vec<_> = tree
            .lines()
            .map(|line| line.trim_start_matches(['│', '├', '└', '─', ' ']))
            .collect();
        assert_eq!(
            lines[1..],
            [
                "application/example.sbom",
                &sbom,
                "application/example.signature",
                &signature
            ]
        );
    }
}

#[test]
fn a_referrer_that_oras_deletes_is_no_longer_discovered() {
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let subject = push(&sandbox, &place, "signed:v1");
        let sbom = attach(&sandbox, &place, "application/example.sbom", "signed:v1");
        let signature = attach(&sandbox, &place, "application/example.signature", "signed:v1");

        let (plain, host) = (plain(&place), place.host());
        sandbox.run(
            ORAS,
            format!("manifest delete {plain} --force {host}/signed@{sbom}"),
        );

        assert_eq!(discover(&sandbox, &place, "", "signed:v1"), [signature.as_str()]);
        let held = place
            .referrers("signed", &subject)
            .or_else(|| place.digest_tag("signed", &subject));
        assert_eq!(held, Some(vec![signature]));
    }
}

#[test]
fn oras_copies_an_image_with_its_references_between_the_generations() {
    needs!(ORAS);
    let [current, complete, secured_current, secured_complete] = Place::all();
    for (from, to) in [
        (&current, &complete),
        (&complete, &current),
        (&current, &secured_complete),
        (&complete, &secured_current),
    ] {
        let sandbox = Sandbox::at(to);
        let name = if from.serves_referrers() {
            "from-complete"
        } else {
            "from-current"
        };
        let subject = push(&sandbox, from, &format!("{name}:v1"));
        let sbom = attach(&sandbox, from, "application/example.sbom", &format!("{name}:v1"));

        let (source, destination) = (from.host(), to.host());
        let to_plain = to.if_plain("--to-plain-http");
        sandbox.run(
            ORAS,
            format!(
                "copy --recursive --from-plain-http {to_plain} {source}/{name}:v1 {destination}/{name}:v1"
            ),
        );

        assert_eq!(discover(&sandbox, to, "", &format!("{name}:v1")), [sbom.as_str()]);
        assert_eq!(to.referrers(name, &subject).is_some(), to.serves_referrers());
        assert_eq!(to.digest_tag(name, &subject).is_some(), !to.serves_referrers());
    }
}

#[test]
fn what_oras_attached_on_current_is_in_the_api_after_an_upgrade_and_back_under_the_tag_after_a_downgrade() {
    needs!(ORAS);
    let sandbox = Sandbox::new();
    let storage = sandbox.folder().join("storage");
    // One after the other, as a storage takes one registry at a time.
    let start = |config: fn() -> Config| Place::on_storage(config(), &storage);

    let current = start(Config::current);
    let subject = push(&sandbox, &current, "signed:v1");
    let before = attach(&sandbox, &current, "application/example.sbom", "signed:v1");
    drop(current);

    let complete = start(Config::complete);
    let by_api = "--distribution-spec v1.1-referrers-api";
    let listed = discover(&sandbox, &complete, by_api, "signed:v1");
    assert_eq!(listed, [before.as_str()]);
    let after = attach(&sandbox, &complete, "application/example.signature", "signed:v1");
    let mut both = vec![before.clone(), after];
    both.sort();
    assert_eq!(discover(&sandbox, &complete, "", "signed:v1"), both);
    drop(complete);

    let current = start(Config::current);
    assert_eq!(discover(&sandbox, &current, "", "signed:v1"), [before.as_str()]);
    assert_eq!(current.digest_tag("signed", &subject), Some(vec![before]));
    drop(current);

    let complete = start(Config::complete);
    let listed = discover(&sandbox, &complete, "", "signed:v1");
    assert_eq!(listed, both, "nothing is lost on the way");
}

#[test]
fn a_digest_tag_that_oras_pushes_to_complete_shows_in_the_api() {
    needs!(ORAS);
    let place = Place::complete();
    let sandbox = Sandbox::at(&place);
    let host = place.host();
    let subject = push(&sandbox, &place, "signed:v1");
    sandbox.file("old.txt", "old");

    sandbox.run(
        ORAS,
        format!(
            "attach --plain-http --distribution-spec v1.1-referrers-tag --artifact-type application/example.old {host}/signed:v1 old.txt"
        ),
    );

    let by_tag = discover(
        &sandbox,
        &place,
        "--distribution-spec v1.1-referrers-tag",
        "signed:v1",
    );
    assert_eq!(by_tag.len(), 1);
    assert_eq!(place.referrers("signed", &subject), Some(by_tag));
}

#[test]
fn oras_logs_in_with_the_right_password_only() {
    needs!(ORAS);
    let place = Place::secured(Config::complete());
    let mut sandbox = Sandbox::new();
    sandbox.trust(place.certificate().expect("TLS"));
    let host = place.host();

    sandbox.fails(ORAS, format!("push {host}/private:v1 hello.txt"));
    sandbox.fails(ORAS, format!("login {host} --username {USER} --password wrong"));
    sandbox.fails(ORAS, format!("push {host}/private:v1 hello.txt"));
    sandbox.run(
        ORAS,
        format!("login {host} --username {USER} --password {PASSWORD}"),
    );
    sandbox.run(ORAS, format!("push {host}/private:v1 hello.txt"));
    sandbox.run(ORAS, format!("logout {host}"));
    sandbox.fails(ORAS, format!("pull {host}/private:v1"));
}

#[test]
fn everybody_pulls_and_discovers_and_nobody_pushes_where_pulling_is_free() {
    needs!(ORAS);
    let place = Place::with_password(Config::complete(), Anonymous::Pull);
    let owner = Sandbox::at(&place);
    push(&owner, &place, "free:v1");
    let attached = attach(&owner, &place, "application/example.sbom", "free:v1");
    let mut nobody = Sandbox::new();
    nobody.trust(place.certificate().expect("TLS"));
    let host = place.host();

    nobody.run(ORAS, format!("pull {host}/free:v1"));
    assert_eq!(discover(&nobody, &place, "", "free:v1"), [attached]);
    for refused in [
        format!("push {host}/free:v2 hello.txt"),
        format!("tag {host}/free:v1 v2"),
        format!("manifest delete --force {host}/free:v1"),
    ] {
        nobody.fails(ORAS, refused);
    }
}
