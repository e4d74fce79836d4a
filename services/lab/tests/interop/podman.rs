//! podman 4.3 and 5: images pulled into its own storage, pushed from it, and manifest lists.

use crate::{
    clients::{Client, PODMANS, Sandbox},
    fixtures::layout,
    places::{PASSWORD, Place, USER},
};
use registry::config::Config;

/// Runs a test with each podman that is there.
fn with_each(test: impl Fn(Client)) {
    for podman in PODMANS {
        if podman.is_there() {
            test(podman);
        }
    }
}

/// The options that keep podman's storage in the sandbox, and out of the machine's.
fn storage(sandbox: &Sandbox) -> String {
    let folder = sandbox.folder().display();
    format!(
        "--root {folder}/storage --runroot {folder}/run/storage --tmpdir {folder}/run/libpod --storage-driver vfs"
    )
}

/// Pushes the layout of a fixture with whichever client can.
fn push_layout(sandbox: &Sandbox, podman: Client, place: &Place, name: &str) {
    let (storage, host, plain) = (
        storage(sandbox),
        place.host(),
        place.if_plain("--tls-verify=false"),
    );
    sandbox.run(podman, format!("{storage} pull --quiet oci:layout:latest"));
    let id = sandbox.run(podman, format!("{storage} images --quiet"));
    sandbox.run(
        podman,
        format!("{storage} push {plain} {} {host}/{name}", id.trim()),
    );
    sandbox.run(podman, format!("{storage} rmi --all --force"));
}

#[test]
fn podman_pushes_pulls_and_lists_tags() {
    with_each(|podman| {
        for place in Place::all() {
            let sandbox = Sandbox::at(&place);
            layout(&sandbox, "layout", "by podman");
            let (storage, host, plain) = (
                storage(&sandbox),
                place.host(),
                place.if_plain("--tls-verify=false"),
            );

            push_layout(&sandbox, podman, &place, "podman/image:v1");
            sandbox.run(
                podman,
                format!("{storage} pull --quiet {plain} {host}/podman/image:v1"),
            );
            sandbox.run(
                podman,
                format!(
                    "{storage} push --format v2s2 {plain} {host}/podman/image:v1 {host}/podman/image:docker"
                ),
            );

            let table = sandbox.run(
                podman,
                format!("{storage} search --list-tags {plain} {host}/podman/image"),
            );
            let tags: Vec<_> = table
                .lines()
                .skip(1)
                .filter_map(|line| line.split_whitespace().last())
                .collect();
            assert_eq!(tags, ["docker", "v1"]);
            sandbox.run(podman, format!("{storage} rmi --all --force"));
            sandbox.run(
                podman,
                format!("{storage} pull --quiet {plain} {host}/podman/image:docker"),
            );
        }
    });
}

#[test]
fn podman_pushes_a_manifest_list() {
    with_each(|podman| {
        for place in Place::all() {
            let sandbox = Sandbox::at(&place);
            layout(&sandbox, "layout", "a list by podman");
            let (storage, host, plain) = (
                storage(&sandbox),
                place.host(),
                place.if_plain("--tls-verify=false"),
            );
            push_layout(&sandbox, podman, &place, "podman/one:v1");

            sandbox.run(podman, format!("{storage} manifest create the-list"));
            sandbox.run(
                podman,
                format!("{storage} manifest add {plain} the-list docker://{host}/podman/one:v1"),
            );
            sandbox.run(
                podman,
                format!("{storage} manifest push --all {plain} the-list docker://{host}/podman/list:v1"),
            );

            let list = place.get("/v2/podman/list/manifests/v1").expect(200).json();
            assert_eq!(list["manifests"][0]["platform"]["architecture"], "amd64");
        }
    });
}

#[test]
fn podman_logs_in_with_the_right_password_only() {
    with_each(|podman| {
        let place = Place::secured(Config::complete());
        let mut sandbox = Sandbox::new();
        sandbox.trust(place.certificate().expect("TLS"));
        let (storage, host) = (storage(&sandbox), place.host());
        layout(&sandbox, "layout", "by podman");
        sandbox.run(podman, format!("{storage} pull --quiet oci:layout:latest"));
        let id = sandbox.run(podman, format!("{storage} images --quiet"));
        let push = format!("{storage} push {} {host}/private:v1", id.trim());

        sandbox.fails(podman, &push);
        sandbox.fails(
            podman,
            format!("{storage} login {host} --username {USER} --password wrong"),
        );
        sandbox.run(
            podman,
            format!("{storage} login {host} --username {USER} --password {PASSWORD}"),
        );
        sandbox.run(podman, &push);
    });
}
