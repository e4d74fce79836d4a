//! Docker itself: its daemon takes any registry of 127.0.0.0/8, with any certificate or without TLS.

use crate::{
    clients::{DOCKER, ORAS, Sandbox},
    fixtures::layout,
    places::{PASSWORD, Place, USER, text},
};
use registry::config::Config;

/// Has oras bring a fixture to the place, as Docker reads no layouts, and gives the digest of its index.
fn bring(sandbox: &Sandbox, place: &Place, reference: &str, content: &str) -> String {
    let made = layout(sandbox, "layout", content);
    let (to, host) = (place.if_plain("--to-plain-http"), place.host());
    sandbox.run(
        ORAS,
        format!("copy --from-oci-layout {to} layout:latest {host}/{reference}"),
    );
    made.index
}

#[test]
fn docker_pulls_an_index_and_pushes_an_image() {
    needs!(DOCKER);
    needs!(ORAS);
    for place in Place::all() {
        let mut sandbox = Sandbox::at(&place);
        let host = place.host();
        let digest = bring(
            &sandbox,
            &place,
            "docker/image:v1",
            &format!("pulled from {host}"),
        );
        let image = format!("{host}/docker/image:v1");
        let pushed = format!("{host}/docker/pushed:v1");
        sandbox.will_leave_in_docker(&image);

        let said = sandbox.run(DOCKER, format!("pull {image}"));
        assert!(said.contains(&digest), "{said}");
        sandbox.run(DOCKER, format!("tag {image} {pushed}"));
        sandbox.will_leave_in_docker(&pushed);
        sandbox.run(DOCKER, format!("push {pushed}"));
        // Away and back again, so that the layer's bytes come over the wire.
        sandbox.run(DOCKER, format!("rmi {image} {pushed}"));
        sandbox.run(DOCKER, format!("pull {pushed}"));

        let plain = place.if_plain("--plain-http");
        let manifest = sandbox.json(ORAS, format!("manifest fetch {plain} {pushed}"));
        assert_eq!(
            text(&manifest["mediaType"]),
            "application/vnd.docker.distribution.manifest.v2+json"
        );
    }
}

#[test]
fn docker_pulls_by_digest() {
    needs!(DOCKER);
    needs!(ORAS);
    for place in Place::all() {
        let mut sandbox = Sandbox::at(&place);
        let host = place.host();
        let digest = bring(
            &sandbox,
            &place,
            "docker/digest:v1",
            &format!("by digest from {host}"),
        );
        let image = format!("{host}/docker/digest@{digest}");
        sandbox.will_leave_in_docker(&image);

        sandbox.run(DOCKER, format!("pull {image}"));
        let missing = sandbox.fails(DOCKER, format!("pull {host}/docker/digest:missing"));
        assert!(missing.contains("manifest unknown"), "{missing}");
    }
}

#[test]
fn docker_pushes_a_manifest_list() {
    needs!(DOCKER);
    needs!(ORAS);
    // Without TLS alone: `docker manifest push` speaks plain http to 127.0.0.0/8, whatever it finds there.
    for place in Place::both() {
        let sandbox = Sandbox::at(&place);
        let host = place.host();
        let made = layout(&sandbox, "layout", "a list by docker");
        sandbox.run(
            ORAS,
            format!("copy --from-oci-layout --to-plain-http layout:latest {host}/docker/list:oci"),
        );
        let [amd64, arm64] = made.images;
        // Its lists take images in Docker's format only, so these are put into that first.
        for (name, digest) in [("amd64", amd64), ("arm64", arm64)] {
            let manifest = sandbox.run(
                ORAS,
                format!("manifest fetch --plain-http {host}/docker/list@{digest}"),
            );
            let manifest = manifest
                .replace(
                    "application/vnd.oci.image.manifest.v1+json",
                    "application/vnd.docker.distribution.manifest.v2+json",
                )
                .replace(
                    "application/vnd.oci.image.config.v1+json",
                    "application/vnd.docker.container.image.v1+json",
                )
                .replace(
                    "application/vnd.oci.image.layer.v1.tar",
                    "application/vnd.docker.image.rootfs.diff.tar",
                );
            sandbox.file("manifest.json", &manifest);
            sandbox.run(
                ORAS,
                format!("manifest push --plain-http {host}/docker/list:{name} manifest.json"),
            );
        }

        sandbox.run(DOCKER, format!("manifest create --insecure {host}/docker/list:v1 {host}/docker/list:amd64 {host}/docker/list:arm64"));
        sandbox.run(
            DOCKER,
            format!("manifest push --purge --insecure {host}/docker/list:v1"),
        );

        let list = sandbox.json(
            DOCKER,
            format!("manifest inspect --insecure {host}/docker/list:v1"),
        );
        assert_eq!(
            text(&list["mediaType"]),
            "application/vnd.docker.distribution.manifest.list.v2+json"
        );
        assert_eq!(list["manifests"][1]["platform"]["architecture"], "arm64");
    }
}

#[test]
fn docker_logs_in_with_the_right_password_only() {
    needs!(DOCKER);
    let place = Place::secured(Config::current());
    let sandbox = Sandbox::new();
    let host = place.host();

    // Where https does not lead to the end, the daemon tries http, and tells of that alone.
    sandbox.fails(DOCKER, format!("pull {host}/private:v1"));
    sandbox.fails(DOCKER, format!("login {host} --username {USER} --password wrong"));
    sandbox.run(
        DOCKER,
        format!("login {host} --username {USER} --password {PASSWORD}"),
    );
    let missing = sandbox.fails(DOCKER, format!("pull {host}/private:v1"));
    assert!(
        missing.contains("manifest unknown") || missing.contains("not found"),
        "{missing}"
    );
}
