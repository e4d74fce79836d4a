//! cosign with a key of its own and no transparency log: signatures under tags, and as references of OCI 1.1.

use crate::{
    clients::{COSIGN, ORAS, Sandbox},
    fixtures::layout,
    places::{Place, digest_tag},
};

/// An image at the place, and a key pair in the working folder. Gives the image by its digest, and that digest.
fn image_and_keys(sandbox: &Sandbox, place: &Place) -> (String, String) {
    let made = layout(sandbox, "layout", "signed by cosign");
    let (to, host) = (place.if_plain("--to-plain-http"), place.host());
    sandbox.run(
        ORAS,
        format!("copy --from-oci-layout {to} layout:latest {host}/signed:v1"),
    );
    sandbox.run(COSIGN, "generate-key-pair");
    (format!("{host}/signed@{}", made.index), made.index)
}

fn plain(place: &Place) -> &'static str {
    place.if_plain("--allow-http-registry")
}

#[test]
fn cosign_signs_attests_verifies_and_cleans_up() {
    needs!(COSIGN);
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let (image, digest) = image_and_keys(&sandbox, &place);
        let plain = plain(&place);
        let verify = format!("verify {plain} --key cosign.pub --insecure-ignore-tlog=true {image}");
        sandbox.fails(COSIGN, &verify);

        sandbox.run(
            COSIGN,
            format!("sign {plain} --yes --key cosign.key --tlog-upload=false {image}"),
        );
        let verified = sandbox.json(COSIGN, &verify);
        assert_eq!(
            verified[0]["critical"]["image"]["docker-manifest-digest"],
            serde_json::json!(digest)
        );

        sandbox.file("predicate.json", r#"{"made": "here"}"#);
        sandbox.run(
            COSIGN,
            format!(
                "attest {plain} --yes --key cosign.key --tlog-upload=false --predicate predicate.json {image}"
            ),
        );
        sandbox.run(
            COSIGN,
            format!("verify-attestation {plain} --key cosign.pub --insecure-ignore-tlog=true {image}"),
        );

        let tree = sandbox.run(COSIGN, format!("tree {plain} {image}"));
        let tag = digest_tag(&digest);
        for suffix in ["sig", "att"] {
            assert!(tree.contains(&format!("{tag}.{suffix}")), "{tree}");
        }
        sandbox.run(COSIGN, format!("clean {plain} --force {image}"));
        sandbox.fails(COSIGN, &verify);
    }
}

#[test]
fn cosign_keeps_signatures_as_references_by_the_api_on_complete_and_by_a_digest_tag_on_current() {
    needs!(COSIGN);
    needs!(ORAS);
    for place in Place::all() {
        let sandbox = Sandbox::at(&place);
        let (image, digest) = image_and_keys(&sandbox, &place);
        let plain = plain(&place);
        let experimental = [("COSIGN_EXPERIMENTAL", "1")];

        let sign = format!(
            "sign {plain} --yes --key cosign.key --tlog-upload=false --registry-referrers-mode=oci-1-1 {image}"
        );
        sandbox.try_run_with(COSIGN, &sign, &experimental).succeeded();
        let verify = format!(
            "verify {plain} --key cosign.pub --insecure-ignore-tlog=true --experimental-oci11=true {image}"
        );
        sandbox.try_run_with(COSIGN, &verify, &experimental).succeeded();

        let tag = digest_tag(&digest);
        assert!(
            !place.tags("signed").contains(&format!("{tag}.sig")),
            "{:?}",
            place.tags("signed")
        );
        let (by_api, by_tag) = (
            place.referrers("signed", &digest),
            place.digest_tag("signed", &digest),
        );
        if place.serves_referrers() {
            assert_eq!(by_api.map(|list| list.len()), Some(1));
            assert_eq!(by_tag, None);
        } else {
            assert_eq!(by_tag.map(|list| list.len()), Some(1));
        }
    }
}
