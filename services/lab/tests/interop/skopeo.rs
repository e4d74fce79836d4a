//! skopeo 1.9 and 1.18: images in, out and across, in both formats.

use crate::{
    clients::{Client, SKOPEOS, Sandbox},
    fixtures::layout,
    places::{PASSWORD, Place, USER, text},
};
use registry::config::Config;

fn plain(place: &Place) -> &'static str {
    place.if_plain("--tls-verify=false")
}

/// Runs a test with each skopeo that is there.
fn with_each(test: impl Fn(Client)) {
    for skopeo in SKOPEOS {
        if skopeo.is_there() {
            test(skopeo);
        }
    }
}

#[test]
fn skopeo_copies_every_platform_in_and_out_with_every_digest_kept() {
    with_each(|skopeo| {
        for place in Place::all() {
            let sandbox = Sandbox::at(&place);
            let made = layout(&sandbox, "layout", "by skopeo");
            let (from, to) = (
                place.if_plain("--src-tls-verify=false"),
                place.if_plain("--dest-tls-verify=false"),
            );
            let image = format!("docker://{}/skopeo/image:latest", place.host());

            sandbox.run(
                skopeo,
                format!("copy --all --preserve-digests {to} oci:layout:latest {image}"),
            );
            sandbox.run(
                skopeo,
                format!("copy --all --preserve-digests {from} {image} oci:back:latest"),
            );

            let blobs = |layout: &str| {
                let folder =
                    std::fs::read_dir(sandbox.work().join(layout).join("blobs/sha256")).expect("blobs");
                let mut names: Vec<_> = folder.map(|file| file.expect("a blob").file_name()).collect();
                names.sort();
                names
            };
            assert_eq!(blobs("back"), blobs("layout"));
            assert!(sandbox.read("back/index.json").contains(&made.index));
        }
    });
}

#[test]
fn skopeo_inspects_lists_tags_copies_across_repositories_and_deletes() {
    with_each(|skopeo| {
        for place in Place::all() {
            let sandbox = Sandbox::at(&place);
            let made = layout(&sandbox, "layout", "by skopeo");
            let plain = plain(&place);
            let (from, to) = (
                place.if_plain("--src-tls-verify=false"),
                place.if_plain("--dest-tls-verify=false"),
            );
            let registry = format!("docker://{}", place.host());
            sandbox.run(
                skopeo,
                format!("copy --all --preserve-digests {to} oci:layout:latest {registry}/one:latest"),
            );

            sandbox.run(
                skopeo,
                format!(
                    "copy --all --preserve-digests {from} {to} {registry}/one:latest {registry}/two:latest"
                ),
            );
            sandbox.run(
                skopeo,
                format!("copy {from} {to} --format v2s2 {registry}/one:latest {registry}/two:docker"),
            );
            let inspected = sandbox.json(skopeo, format!("inspect {plain} {registry}/two:latest"));
            assert_eq!(inspected["Digest"], serde_json::json!(made.index));
            assert_eq!(inspected["RepoTags"], serde_json::json!(["docker", "latest"]));
            let docker = sandbox.json(skopeo, format!("inspect --raw {plain} {registry}/two:docker"));
            assert_eq!(
                text(&docker["mediaType"]),
                "application/vnd.docker.distribution.manifest.v2+json"
            );

            sandbox.run(skopeo, format!("delete {plain} {registry}/two:docker"));
            let tags = sandbox.json(skopeo, format!("list-tags {plain} {registry}/two"));
            assert_eq!(tags["Tags"], serde_json::json!(["latest"]));
            sandbox.fails(skopeo, format!("inspect {plain} {registry}/two:docker"));
        }
    });
}

#[test]
fn skopeo_logs_in_with_the_right_password_only() {
    with_each(|skopeo| {
        let place = Place::secured(Config::current());
        let mut sandbox = Sandbox::new();
        sandbox.trust(place.certificate().expect("TLS"));
        let host = place.host();
        layout(&sandbox, "layout", "by skopeo");
        let push = format!("copy --all oci:layout:latest docker://{host}/private:v1");

        sandbox.fails(skopeo, &push);
        sandbox.fails(skopeo, format!("login {host} --username {USER} --password wrong"));
        sandbox.run(
            skopeo,
            format!("login {host} --username {USER} --password {PASSWORD}"),
        );
        sandbox.run(skopeo, &push);
        sandbox.run(skopeo, format!("logout {host}"));
        sandbox.fails(skopeo, &push);
    });
}
