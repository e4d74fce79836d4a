//! Our tools beside the others': what one of them writes, the other one finds.

use crate::{
    clients::{COSIGN, Client, DOCKER, ORAS, SKOPEOS, Sandbox, consumer, producer},
    fixtures::layout,
    places::{Place, digest_tag, digests, text},
};
use registry::config::Config;

/// Makes a registry.
type Open = fn() -> Place;

/// The producers that push references, each with the registries that take them.
const REFERENCES: [(&str, Open); 3] = [
    ("intermediate", Place::current),
    ("intermediate", Place::complete),
    ("complete", Place::complete),
];

/// An image of two platforms, pushed by our producer. Gives the digest of its index.
fn pushed_by_ours(sandbox: &Sandbox, place: &Place, reference: &str) -> String {
    let made = layout(sandbox, "layout", "pushed by ours");
    let host = place.host();
    sandbox.run(
        producer("intermediate"),
        format!("copy oci:layout:latest {host}/{reference}"),
    );
    made.index
}

/// A file attached by oras. Gives the digest of the manifest.
fn attached_by_oras(sandbox: &Sandbox, place: &Place, artifact_type: &str, reference: &str) -> String {
    let host = place.host();
    let command = format!(
        "attach --plain-http --artifact-type {artifact_type} --format json {host}/{reference} hello.txt:text/plain"
    );
    text(&sandbox.json(ORAS, &command)["digest"])
}

/// A file attached by our producer. Gives the digest of the manifest.
fn attached_by_ours(sandbox: &Sandbox, place: &Place, generation: &'static str, reference: &str) -> String {
    let host = place.host();
    let command = format!(
        "attach hello.txt text/plain application/vnd.example.misc.v1 {host}/{reference} --output json"
    );
    text(&sandbox.json(producer(generation), &command)["manifest"]["digest"])
}

/// What oras discovers, as JSON.
fn discovered(sandbox: &Sandbox, place: &Place, reference: &str) -> serde_json::Value {
    sandbox.json(
        ORAS,
        format!("discover --plain-http --format json {}/{reference}", place.host()),
    )
}

/// The digests of the references that our consumer finds.
fn found(sandbox: &Sandbox, place: &Place, generation: &'static str, reference: &str) -> Vec<String> {
    digests(&sandbox.json(consumer(generation), format!("refs {}/{reference}", place.host())))
}

#[test]
fn images_of_every_client_are_pulled_and_copied_by_our_tools_with_their_digest() {
    for place in Place::both() {
        let elsewhere = Place::complete();
        let mut sandbox = Sandbox::at(&place);
        let host = place.host();
        layout(&sandbox, "layout", &format!("pushed to {host}"));
        let mut images = Vec::new();
        if ORAS.is_there() {
            sandbox.run(
                ORAS,
                format!("copy --from-oci-layout --to-plain-http layout:latest {host}/by/oras:v1"),
            );
            images.push("by/oras:v1");
        }
        for (skopeo, image) in SKOPEOS.into_iter().zip(["by/skopeo:v1", "by/skopeo:v2"]) {
            if skopeo.is_there() {
                sandbox.run(
                    skopeo,
                    format!("copy --all --dest-tls-verify=false oci:layout:latest docker://{host}/{image}"),
                );
                images.push(image);
            }
        }
        if DOCKER.is_there() && ORAS.is_there() {
            for image in ["by/oras:v1", "by/docker:v1"] {
                sandbox.will_leave_in_docker(&format!("{host}/{image}"));
            }
            sandbox.run(DOCKER, format!("pull {host}/by/oras:v1"));
            sandbox.run(DOCKER, format!("tag {host}/by/oras:v1 {host}/by/docker:v1"));
            sandbox.run(DOCKER, format!("push {host}/by/docker:v1"));
            images.push("by/docker:v1");
        }

        for image in images {
            sandbox.run(
                consumer("current"),
                format!("pull --platform linux/amd64 {host}/{image}"),
            );
            let copied = sandbox.json(
                producer("current"),
                format!("copy --output json {host}/{image} {}/{image}", elsewhere.host()),
            );
            let (name, tag) = image.split_once(':').expect("a tag");
            let digest = |place: &Place| {
                let accept = [("Accept", "*/*")];
                let path = format!("/v2/{name}/manifests/{tag}");
                let response = place.registry.request("HEAD", &path, &accept, b"").expect(200);
                response
                    .header("docker-content-digest")
                    .expect("a digest")
                    .to_owned()
            };
            assert_eq!(digest(&elsewhere), digest(&place), "{image}: {copied}");
        }
    }
}

#[test]
fn what_oras_attached_is_found_and_read_by_our_consumers() {
    needs!(ORAS);
    for place in Place::both() {
        let sandbox = Sandbox::at(&place);
        let host = place.host();
        pushed_by_ours(&sandbox, &place, "app:v1");
        let sbom = attached_by_oras(&sandbox, &place, "application/example.sbom", "app:v1");
        let signature = attached_by_oras(&sandbox, &place, "application/example.signature", "app:v1");
        let mut both = vec![sbom.clone(), signature];
        both.sort();

        for generation in ["intermediate", "complete"] {
            assert_eq!(found(&sandbox, &place, generation, "app:v1"), both);
            let one = sandbox.json(
                consumer(generation),
                format!("refs --filter-artifact-type application/example.sbom {host}/app:v1"),
            );
            assert_eq!(digests(&one), [sbom.as_str()]);
            let content = sandbox.run(
                consumer(generation),
                format!("artifact get {host}/app:v1 --filter-artifact-type application/example.sbom"),
            );
            assert_eq!(content, "hello world\n");
        }
        let from = if place.serves_referrers() { "API" } else { "tag" };
        let long = sandbox.run(consumer("intermediate"), format!("refs --long {host}/app:v1"));
        assert!(long.contains(from), "{long}");
        assert!(
            sandbox
                .run(consumer("intermediate"), format!("lint {host}/app:v1"))
                .is_ascii()
        );
    }
}

#[test]
fn what_our_producers_attached_is_discovered_by_oras() {
    needs!(ORAS);
    for (generation, place) in REFERENCES {
        let place = place();
        let sandbox = Sandbox::at(&place);
        pushed_by_ours(&sandbox, &place, "app:v1");

        let attached = attached_by_ours(&sandbox, &place, generation, "app:v1");

        let index = discovered(&sandbox, &place, "app:v1");
        assert_eq!(digests(&index), [attached]);
        let entry = &index["manifests"][0];
        assert_eq!(
            text(&entry["artifactType"]),
            "application/vnd.example.misc.v1",
            "{generation}: {entry}"
        );
        assert_eq!(
            text(&entry["annotations"]["org.opencontainers.artifact.type"]),
            "application/vnd.example.misc.v1"
        );
    }
}

#[test]
fn oras_pulls_the_content_of_what_our_producers_attached() {
    needs!(ORAS);
    for (generation, place) in REFERENCES {
        let place = place();
        let sandbox = Sandbox::at(&place);
        let host = place.host();
        pushed_by_ours(&sandbox, &place, "app:v1");
        let command = format!(
            "attach hello.txt text/plain application/vnd.example.misc.v1 {host}/app:v1 --file-title --output json"
        );
        let attached = text(&sandbox.json(producer(generation), &command)["manifest"]["digest"]);

        sandbox.run(
            ORAS,
            format!("pull --plain-http {host}/app@{attached} --output pulled"),
        );

        assert_eq!(sandbox.read("pulled/hello.txt"), "hello world\n");
    }
}

#[test]
fn oras_and_our_producer_attach_to_one_image_and_neither_loses_an_entry_of_the_other() {
    needs!(ORAS);
    for place in Place::both() {
        let sandbox = Sandbox::at(&place);
        let subject = pushed_by_ours(&sandbox, &place, "app:v1");
        let mut attached = vec![
            attached_by_ours(&sandbox, &place, "intermediate", "app:v1"),
            attached_by_oras(&sandbox, &place, "application/example.one", "app:v1"),
        ];
        sandbox.file("hello.txt", "another hello\n");
        attached.push(attached_by_ours(&sandbox, &place, "intermediate", "app:v1"));
        attached.push(attached_by_oras(
            &sandbox,
            &place,
            "application/example.two",
            "app:v1",
        ));
        attached.sort();

        assert_eq!(digests(&discovered(&sandbox, &place, "app:v1")), attached);
        assert_eq!(found(&sandbox, &place, "intermediate", "app:v1"), attached);

        // And each of them takes its own out again.
        let host = place.host();
        let first = attached.remove(0);
        sandbox.run(producer("intermediate"), format!("delete {host}/app@{first}"));
        assert_eq!(digests(&discovered(&sandbox, &place, "app:v1")), attached);
        if !place.serves_referrers() {
            assert_eq!(place.digest_tag("app", &subject), Some(attached));
        }
    }
}

#[test]
fn references_copied_by_our_producer_between_the_generations_are_discovered_by_oras() {
    needs!(ORAS);
    let [current, complete] = Place::both();
    for (from, to) in [(&current, &complete), (&complete, &current)] {
        let sandbox = Sandbox::new();
        let name = if from.serves_referrers() {
            "from-complete"
        } else {
            "from-current"
        };
        pushed_by_ours(&sandbox, from, &format!("{name}:v1"));
        let sbom = attached_by_oras(&sandbox, from, "application/example.sbom", &format!("{name}:v1"));
        let of_sbom = attached_by_oras(
            &sandbox,
            from,
            "application/example.signature",
            &format!("{name}@{sbom}"),
        );

        let (source, destination) = (from.host(), to.host());
        sandbox.run(
            producer("intermediate"),
            format!("copy --referrers {source}/{name}:v1 {destination}/{name}:v1"),
        );

        assert_eq!(
            digests(&discovered(&sandbox, to, &format!("{name}:v1"))),
            [sbom.as_str()]
        );
        assert_eq!(
            digests(&discovered(&sandbox, to, &format!("{name}@{sbom}"))),
            [of_sbom]
        );
    }
}

/// oras follows `subject` alone. Without it, it takes a reference for an image of its own and misses the real one.
#[test]
fn what_our_producers_attached_with_a_subject_too_is_copied_by_oras_and_listed_there() {
    needs!(ORAS);
    for (generation, open) in REFERENCES {
        let (from, to) = (Place::complete(), open());
        let sandbox = Sandbox::new();
        let (source, destination) = (from.host(), to.host());
        pushed_by_ours(&sandbox, &from, "app:v1");
        let command = format!("attach --subject hello.txt text/plain misc {source}/app:v1 --output json");
        let attached = text(&sandbox.json(producer(generation), command)["manifest"]["digest"]);

        sandbox.run(
            ORAS,
            format!(
                "copy --recursive --from-plain-http --to-plain-http {source}/app:v1 {destination}/app:v1"
            ),
        );

        assert_eq!(digests(&discovered(&sandbox, &to, "app:v1")), [attached.as_str()]);
        assert_eq!(found(&sandbox, &to, "complete", "app:v1"), [attached.as_str()]);
    }
}

#[test]
fn signatures_of_cosign_are_found_by_the_prefix_of_their_tag_on_current() {
    needs!(COSIGN);
    let place = Place::current();
    let sandbox = Sandbox::at(&place);
    let host = place.host();
    let subject = pushed_by_ours(&sandbox, &place, "app:v1");
    sandbox.run(COSIGN, "generate-key-pair");
    sandbox.run(
        COSIGN,
        format!("sign --allow-http-registry --yes --key cosign.key --tlog-upload=false {host}/app@{subject}"),
    );

    for generation in ["intermediate", "complete"] {
        let listed = sandbox.run(consumer(generation), format!("refs --long {host}/app:v1"));
        assert!(
            listed.contains(&format!("{}.sig", digest_tag(&subject))),
            "{listed}"
        );
        assert_eq!(found(&sandbox, &place, generation, "app:v1").len(), 1);
    }
}

#[test]
fn signatures_that_cosign_made_references_are_found_by_our_consumers() {
    needs!(COSIGN);
    for place in Place::both() {
        let sandbox = Sandbox::at(&place);
        let host = place.host();
        let subject = pushed_by_ours(&sandbox, &place, "app:v1");
        sandbox.run(COSIGN, "generate-key-pair");
        let sign = format!(
            "sign --allow-http-registry --yes --key cosign.key --tlog-upload=false --registry-referrers-mode=oci-1-1 {host}/app@{subject}"
        );
        sandbox
            .try_run_with(COSIGN, &sign, &[("COSIGN_EXPERIMENTAL", "1")])
            .succeeded();

        for generation in ["intermediate", "complete"] {
            let index = sandbox.json(consumer(generation), format!("refs {host}/app:v1"));
            assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1), "{index}");
            assert_eq!(
                text(&index["manifests"][0]["artifactType"]),
                "application/vnd.dev.cosign.artifact.sig.v1+json"
            );
        }
    }
}

#[test]
fn a_signature_of_cosign_goes_with_a_copy_of_our_producer_and_holds_at_the_other_end() {
    needs!(COSIGN);
    let [current, complete] = Place::both();
    let sandbox = Sandbox::new();
    let (from, to) = (current.host(), complete.host());
    let subject = pushed_by_ours(&sandbox, &current, "app:v1");
    sandbox.run(COSIGN, "generate-key-pair");
    sandbox.run(
        COSIGN,
        format!("sign --allow-http-registry --yes --key cosign.key --tlog-upload=false {from}/app@{subject}"),
    );

    sandbox.run(
        producer("intermediate"),
        format!("copy --digest-tags {from}/app:v1 {to}/app:v1"),
    );

    sandbox.run(
        COSIGN,
        format!(
            "verify --allow-http-registry --key cosign.pub --insecure-ignore-tlog=true {to}/app@{subject}"
        ),
    );
}

#[test]
fn what_our_producer_copied_is_pulled_by_skopeo_and_docker() {
    for place in Place::both() {
        let mut sandbox = Sandbox::at(&place);
        let host = place.host();
        let made = layout(&sandbox, "layout", &format!("by ours, for {host}"));
        sandbox.run(
            producer("intermediate"),
            format!("copy oci:layout:latest {host}/by/ours:v1"),
        );
        for skopeo in SKOPEOS.into_iter().filter(|skopeo| Client::is_there(*skopeo)) {
            let inspected = sandbox.json(
                skopeo,
                format!("inspect --tls-verify=false docker://{host}/by/ours:v1"),
            );
            assert_eq!(text(&inspected["Digest"]), made.index);
        }
        if DOCKER.is_there() {
            sandbox.will_leave_in_docker(&format!("{host}/by/ours:v1"));
            sandbox.run(DOCKER, format!("pull {host}/by/ours:v1"));
        }
    }
}

#[test]
fn layouts_of_skopeo_are_read_by_our_tools_and_ours_by_skopeo() {
    for skopeo in SKOPEOS.into_iter().filter(|skopeo| Client::is_there(*skopeo)) {
        let place = Place::current();
        let (sandbox, host) = (Sandbox::at(&place), place.host());
        layout(&sandbox, "layout", "in layouts");
        sandbox.run(skopeo, "copy --all oci:layout:latest oci:theirs:v1");
        sandbox.run(skopeo, "copy --all oci:layout:latest oci-archive:theirs.tar:v1");
        // skopeo may compress layers on the way, so that the digest is its own.
        let raw = sandbox.run(skopeo, "inspect --raw oci:theirs:v1");
        let theirs = oci::Digest::sha256(raw.as_bytes()).to_string();
        for (n, from) in [
            "oci:theirs:v1",
            "ocidir://theirs:v1",
            "oci-archive:theirs.tar:v1",
            "./theirs.tar:v1",
        ]
        .into_iter()
        .enumerate()
        {
            let copied = sandbox.run(producer("current"), format!("copy {from} {host}/app:v{n}"));
            assert_eq!(copied.trim(), theirs, "{from}");
        }

        sandbox.run(producer("current"), format!("copy {host}/app:v0 oci:ours:v1"));
        assert_eq!(sandbox.run(skopeo, "inspect --raw oci:ours:v1"), raw);
        sandbox.run(
            skopeo,
            format!("copy --all --dest-tls-verify=false oci:ours:v1 docker://{host}/back:v1"),
        );
        let back = sandbox.json(
            skopeo,
            format!("inspect --tls-verify=false docker://{host}/back:v1"),
        );
        assert_eq!(text(&back["Digest"]), theirs);
    }
}

#[test]
fn references_in_layouts_of_oras_are_found_by_our_tools_and_ours_by_oras() {
    needs!(ORAS);
    for place in Place::both() {
        let (sandbox, host) = (Sandbox::at(&place), place.host());
        layout(&sandbox, "theirs", "with references in it");
        let attach = "attach --oci-layout --artifact-type application/example.sbom --format json theirs:latest hello.txt:text/plain";
        let attached = text(&sandbox.json(ORAS, attach)["digest"]);
        let found = sandbox.json(consumer("complete"), "refs oci:theirs:latest");
        assert_eq!(digests(&found), [attached.as_str()]);
        assert_eq!(
            sandbox.run(consumer("complete"), "artifact get oci:theirs:latest"),
            "hello world\n"
        );

        sandbox.run(
            producer("intermediate"),
            format!("copy --referrers oci:theirs:latest {host}/app:v1"),
        );
        assert_eq!(
            digests(&discovered(&sandbox, &place, "app:v1")),
            [attached.as_str()]
        );
        sandbox.run(
            producer("intermediate"),
            format!("copy --referrers {host}/app:v1 oci:ours:v1"),
        );
        let discovered = sandbox.json(ORAS, "discover --oci-layout --format json ours:v1");
        assert_eq!(digests(&discovered), [attached]);
    }
}

#[test]
fn our_tools_work_with_tls_and_a_password_and_say_what_is_missing() {
    for config in [Config::current(), Config::complete()] {
        let place = Place::secured(config);
        let mut sandbox = Sandbox::new();
        let host = place.host();
        layout(&sandbox, "layout", "pushed with a password");
        let copy = format!(
            "copy oci:layout:latest {host}/private/app:v1 --ca-cert {}",
            place.certificate().expect("TLS").display()
        );
        sandbox.run(
            producer("intermediate"),
            format!("registry set --tls enabled {host}"),
        );

        assert_eq!(
            sandbox.try_run(producer("intermediate"), &copy).code(),
            6,
            "not authorised"
        );
        sandbox.log_in(&host);
        sandbox.run(producer("intermediate"), &copy);
        sandbox.trust(place.certificate().expect("TLS"));
        let attached = attached_by_ours(&sandbox, &place, "intermediate", "private/app:v1");
        assert_eq!(found(&sandbox, &place, "complete", "private/app:v1"), [attached]);
    }
}
