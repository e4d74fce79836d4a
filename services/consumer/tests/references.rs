//! Where each generation of consumer finds references, and what it says of them.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use testkit::image::{push_blob, push_manifest};
use testkit::{FaultServer, Image, Registry, Reply, Tool};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn consumer(generation: &str) -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_consumer")).generation(generation)
}

fn misc() -> Value {
    json!({"annotations": {"org.opencontainers.artifact.type": "misc"}})
}

fn digests(index: &Value) -> Vec<&str> {
    let entries = index["manifests"].as_array().expect("a list");
    entries
        .iter()
        .map(|entry| entry["digest"].as_str().expect("a digest"))
        .collect()
}

#[test]
fn references_are_found_by_the_api_and_no_tag_is_asked_for() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let (digest, _) = image.refer_by_image(&registry, b"hello world\n", misc());
    let tool = consumer("intermediate");
    let name = format!("{}/app:latest", registry.host());
    let ran = tool.run(&["--har", "out.har", "refs", &name]).expect(0);
    assert_eq!(digests(&ran.json()), [digest.to_string()]);
    let har = std::fs::read_to_string(tool.folder().join("out.har")).expect("a recording");
    assert!(har.contains("referrers") && !har.contains("manifests/sha256-"));
    let long = tool.run(&["refs", "--long", &name]).expect(0).text();
    assert!(
        long.contains("referrers API (_oci/artifacts/referrers)"),
        "{long}"
    );
}

#[test]
fn references_are_found_by_digest_tag_where_the_api_is_missing() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (digest, size) = image.refer_by_image(&registry, b"hello world\n", misc());
    let entry = json!({"mediaType": IMAGE, "size": size, "digest": digest, "x-note": 1});
    image.put_digest_tag(&registry, std::slice::from_ref(&entry));
    let name = format!("{}/app:latest", registry.host());
    for generation in ["intermediate", "complete"] {
        let ran = consumer(generation).run(&["refs", &name]).expect(0);
        assert_eq!(ran.json()["manifests"], json!([entry]), "every field is kept");
        let preferred = ran.stderr.contains("would have been preferred");
        assert_eq!(preferred, generation == "complete", "{}", ran.stderr);
        let long = consumer(generation).run(&["refs", "-l", &name]).expect(0).text();
        assert!(long.contains("digest tag sha256-"), "{long}");
    }
}

#[test]
fn references_are_found_by_tag_prefix_where_there_is_no_digest_tag() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let tag = format!("{}.sig", oci::digest_tag::of(&image.index));
    let config = push_blob(&registry, "app", b"{}");
    let layer = push_blob(&registry, "app", b"signature");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config},
        "layers": [{"mediaType": "application/vnd.dev.cosign.simplesigning.v1+json", "size": 9, "digest": layer}]
    });
    let digest = push_manifest(&registry, "app", Some(&tag), IMAGE, &manifest.to_string());
    let name = format!("{}/app:latest", registry.host());
    let ran = consumer("intermediate").run(&["refs", &name]).expect(0);
    assert_eq!(digests(&ran.json()), [digest.to_string()]);
    let long = consumer("intermediate")
        .run(&["refs", "--long", &name])
        .expect(0)
        .text();
    assert!(long.contains(&format!("tag prefix {tag}")), "{long}");
}

#[test]
fn nothing_to_find_is_an_empty_list_and_no_failure() {
    for registry in [Registry::current(), Registry::complete()] {
        Image::push(&registry, "app");
        let name = format!("{}/app:latest", registry.host());
        for generation in ["intermediate", "complete"] {
            let ran = consumer(generation).run(&["refs", &name]).expect(0);
            assert_eq!(ran.json()["manifests"], json!([]));
            consumer(generation).run(&["artifact", "list", &name]).expect(0);
            consumer(generation).run(&["artifact", "get", &name]).expect(3);
        }
    }
}

#[test]
fn the_current_consumer_knows_no_references() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    image.refer_by_image(&registry, b"x", json!({}));
    let name = format!("{}/app:latest", registry.host());
    for line in [
        vec!["refs", &name],
        vec!["artifact", "list", &name],
        vec!["artifact", "get", &name],
        vec!["tree", &name],
        vec!["lint", &name],
    ] {
        let ran = consumer("current").run(&line).expect(4);
        assert!(
            ran.stderr.contains("does not know of references"),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.text(), "");
    }
    consumer("current").run(&["pull", &name]).expect(0);
}

#[test]
fn the_intermediate_consumer_lists_an_artifact_manifest_but_cannot_parse_it() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let digest = image.refer_by_artifact(&registry, b"hello world\n", misc());
    let name = format!("{}/app:latest", registry.host());
    let listed = consumer("intermediate").run(&["refs", &name]).expect(0);
    assert_eq!(digests(&listed.json()), [digest.to_string()]);
    assert!(listed.stderr.contains("cannot parse"), "{}", listed.stderr);
    let direct = format!("{}/app@{digest}", registry.host());
    for reference in [&name, &direct] {
        let ran = consumer("intermediate")
            .run(&["artifact", "get", reference])
            .expect(4);
        assert!(
            ran.stderr.contains("cannot parse") && ran.stderr.contains(ARTIFACT),
            "{}",
            ran.stderr
        );
        assert_eq!(ran.text(), "");
        let ran = consumer("complete")
            .run(&["artifact", "get", reference])
            .expect(0);
        assert_eq!(ran.stdout, b"hello world\n");
    }
}

#[test]
fn filters_work_by_media_type_by_word_and_by_annotation() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let word = image.refer_by_artifact(&registry, b"1", misc());
    let typed = image.refer_by_artifact(&registry, b"2", json!({"artifactType": "application/x.y"}));
    let name = format!("{}/app:latest", registry.host());
    let list = |filter: &[&str]| {
        let line = [&["refs", &name], filter].concat();
        let index = consumer("complete").run(&line).expect(0).json();
        digests(&index).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&["--filter-artifact-type", "misc"]), [word.to_string()]);
    assert_eq!(
        list(&["--filter-artifact-type", "application/x.y"]),
        [typed.to_string()]
    );
    let annotation = "org.opencontainers.artifact.type=misc";
    assert_eq!(list(&["--filter-annotation", annotation]), [word.to_string()]);
    assert_eq!(
        list(&["--filter-artifact-type", "application/none"]),
        Vec::<String>::new()
    );
    let several = consumer("complete").run(&["artifact", "get", &name]).expect(2);
    assert!(
        several.stderr.contains("--filter-artifact-type"),
        "{}",
        several.stderr
    );
    let one = consumer("complete")
        .run(&["artifact", "get", &name, "--filter-artifact-type", "misc"])
        .expect(0);
    assert_eq!(one.stdout, b"1");
}

#[test]
fn formats_print_the_index_its_fields_and_the_shortcuts() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let digest = image.refer_by_artifact(&registry, b"1", misc()).to_string();
    let name = format!("{}/app:latest", registry.host());
    let list = |format: &str| consumer("complete").run(&["artifact", "list", &name, "--format", format]);
    let index = list("{{ jsonPretty .Manifest}}").expect(0);
    assert_eq!(digests(&index.json()), [digest.as_str()]);
    assert!(
        index.text().starts_with("{\n  \"schemaVersion\": 2,"),
        "{}",
        index.text()
    );
    let whole = list("{{json .}}").expect(0).json();
    assert_eq!(
        whole["subject"],
        format!("{}/app@{}", registry.host(), image.index)
    );
    let fields = list("{{range .Descriptors}}{{.Digest}} {{.Size}}{{\"\\n\"}}{{end}}")
        .expect(0)
        .text();
    assert!(fields.starts_with(&format!("{digest} ")), "{fields}");
    assert_eq!(digests(&list("body").expect(0).json()), [digest.as_str()]);
    let (raw, headers) = (list("raw").expect(0).text(), list("headers").expect(0).text());
    assert!(raw.starts_with("HTTP 200\n"), "{raw}");
    assert!(
        headers.contains("content-type: application/vnd.oci.image.index.v1+json\n"),
        "{headers}"
    );
    assert!(headers.contains("content-length: "), "{headers}");
    let body = list("body").expect(0).text();
    assert!(raw.ends_with(&format!("\n\n{body}")), "{raw}");
    let wrong = list("{{ env \"HOME\" }}").expect(2);
    assert!(
        wrong.stderr.contains("function \"env\" is not supported"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn an_answer_that_is_no_index_is_told_and_counts_as_missing() {
    let image = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let server = FaultServer::start(move |request| {
        let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
        match request.path.as_str() {
            path if path.contains("referrers") => {
                Reply::new(200, &[("Content-Type", "text/html")], "<html>welcome</html>")
            }
            "/v2/app/manifests/latest" if request.method == "HEAD" => Reply::head(200, &headers, image.len()),
            "/v2/app/manifests/latest" => Reply::new(200, &headers, image),
            "/v2/app/tags/list" => Reply::new(200, &[("Content-Type", "application/json")], r#"{"tags":[]}"#),
            _ => Reply::new(404, &[], ""),
        }
    });
    let ran = consumer("complete")
        .run(&["refs", &format!("{}/app:latest", server.host())])
        .expect(0);
    assert_eq!(ran.json()["manifests"], json!([]));
    assert!(
        ran.stderr.contains("warning:") && ran.stderr.contains("counts as missing"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_failing_api_is_reported_and_nothing_else_is_asked() {
    let server = FaultServer::start(|request| match request.path.contains("referrers") {
        true => Reply::new(500, &[], "oops"),
        false => Reply::new(404, &[], ""),
    });
    let subject = oci::Digest::sha256(b"subject");
    let ran = consumer("intermediate")
        .run(&["refs", &format!("{}/app@{subject}", server.host())])
        .expect(1);
    assert!(ran.stderr.contains("500"), "{}", ran.stderr);
    assert!(
        server.lines().iter().all(|line| line.contains("referrers")),
        "{:?}",
        server.lines()
    );
}

#[test]
fn a_tree_shows_references_of_references() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let near = image.refer_by_artifact(&registry, b"near", misc());
    let far = image.refer_by_artifact(
        &registry,
        b"far",
        json!({"artifactType": "application/x.signature", "refers": {"mediaType": ARTIFACT, "size": 1, "digest": near}}),
    );
    let name = format!("{}/app:latest", registry.host());
    let text = consumer("complete").run(&["tree", &name]).expect(0).text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1].starts_with(&image.index.to_string()), "{text}");
    assert!(lines[2].starts_with(&format!("└── {near}  misc")), "{text}");
    assert!(
        lines[3].starts_with(&format!("    └── {far}  application/x.signature")),
        "{text}"
    );
    let tree = consumer("complete")
        .run(&["tree", "--output", "json", &name])
        .expect(0)
        .json();
    assert_eq!(
        tree["referrers"][0]["referrers"][0]["descriptor"]["digest"],
        far.to_string()
    );
}

#[test]
fn lint_names_each_problem_of_a_digest_tag_and_passes_a_right_one() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (good, size) = image.refer_by_image(&registry, b"good", misc());
    let entry = json!({"mediaType": IMAGE, "size": size, "digest": good});
    let (gone, gone_size) = image.refer_by_image(&registry, b"gone", misc());
    let stale = json!({"mediaType": IMAGE, "size": gone_size, "digest": gone});
    image.put_digest_tag(&registry, &[entry.clone(), entry.clone(), stale]);
    registry
        .request("DELETE", &format!("/v2/app/manifests/{gone}"), &[], b"")
        .expect(202);
    let name = format!("{}/app:latest", registry.host());
    let ran = consumer("intermediate").run(&["lint", &name]).expect(1);
    for part in [
        "missing artifactType",
        "missing annotations",
        "duplicate entry",
        "stale entry",
    ] {
        assert!(ran.text().contains(part), "{part}: {}", ran.text());
    }
    assert!(ran.stderr.contains("4 problems found"), "{}", ran.stderr);
    let mut right = entry;
    right["artifactType"] = json!("application/vnd.oci.image.config.v1+json");
    right["annotations"] = misc()["annotations"].clone();
    image.put_digest_tag(&registry, &[right]);
    let ran = consumer("intermediate").run(&["lint", &name]).expect(0);
    assert_eq!(ran.text(), "");
}

#[test]
fn lint_tells_wrong_fields_foreign_entries_and_manifests_without_a_subject_apart() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let (misc_one, misc_size) = image.refer_by_image(&registry, b"misc", misc());
    let (foreign, foreign_size) = {
        let mut elsewhere = Image::push(&registry, "other");
        elsewhere.repository = "app".to_owned();
        elsewhere.refer_by_image(&registry, b"foreign", json!({}))
    };
    let typed = "application/vnd.oci.image.config.v1+json";
    let entry = |digest: &oci::Digest, size: u64| json!({"mediaType": IMAGE, "size": size, "digest": digest, "artifactType": typed});
    let mut wrong = entry(&misc_one, misc_size);
    wrong["artifactType"] = json!("application/other");
    wrong["annotations"] = json!({"org.opencontainers.artifact.type": "other"});
    // One platform's image: a manifest like any other, but about nothing.
    let image_size = registry
        .get(&format!("/v2/app/manifests/{}", image.manifests[0]))
        .expect(200)
        .body
        .len() as u64;
    let silent = entry(&image.manifests[0], image_size);
    image.put_digest_tag(&registry, &[wrong, entry(&foreign, foreign_size), silent]);
    let name = format!("{}/app:latest", registry.host());
    let ran = consumer("complete").run(&["lint", &name]).expect(1);
    let told = ran.text();
    for (digest, part) in [
        (
            misc_one,
            format!("wrong artifactType application/other: expected {typed}"),
        ),
        (misc_one, "wrong annotations".to_owned()),
        (
            foreign,
            "foreign entry: its manifest refers to sha256:".to_owned(),
        ),
        (image.manifests[0], "its manifest names no subject".to_owned()),
    ] {
        let tag = oci::digest_tag::of(&image.index);
        let line = format!("digest tag {tag}: {digest}: {part}");
        assert!(told.lines().any(|told| told.starts_with(&line)), "{line}: {told}");
    }
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn lint_holds_the_answer_of_the_api_against_the_manifests_too() {
    let subject = oci::Digest::sha256(b"subject");
    let about = |subject: &oci::Digest, kind: &str| {
        json!({"schemaVersion": 2, "mediaType": ARTIFACT, "artifactType": kind, "blobs": [],
            "refers": {"mediaType": INDEX, "size": 7, "digest": subject}, "annotations": {"k": kind}})
        .to_string()
    };
    let kinds = [
        "a/right", "a/typed", "a/bare", "a/large", "a/twice", "a/spoilt", "a/gone",
    ];
    let foreign = about(&oci::Digest::sha256(b"another"), "a/foreign");
    let manifests: Vec<String> = kinds
        .iter()
        .map(|kind| about(&subject, kind))
        .chain([foreign])
        .collect();
    let entry = |kind: &str| {
        let manifest = manifests
            .iter()
            .find(|manifest| manifest.contains(kind))
            .expect(kind);
        let mut entry = json!(oci::Descriptor::of(ARTIFACT, manifest.as_bytes()));
        entry["artifactType"] = json!(kind);
        entry["annotations"] = json!({"k": kind});
        entry
    };
    let with = |kind: &str, field: &str, value: Value| {
        let mut entry = entry(kind);
        entry[field] = value;
        entry
    };
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [
        entry("a/right"),
        with("a/typed", "artifactType", json!("a/other")),
        with("a/bare", "annotations", Value::Null),
        with("a/large", "size", json!(1)),
        entry("a/twice"),
        entry("a/twice"),
        entry("a/spoilt"),
        entry("a/gone"),
        entry("a/foreign"),
    ]})
    .to_string();
    let served = manifests.clone();
    let server = FaultServer::start(move |request| {
        let wanted = |body: &&String| {
            request
                .path
                .ends_with(&oci::Digest::sha256(body.as_bytes()).to_string())
        };
        match request.path.as_str() {
            path if path.contains("referrers") => Reply::new(200, &[("Content-Type", INDEX)], &list),
            _ => match served.iter().find(wanted) {
                Some(body) if body.contains("a/gone") => Reply::new(404, &[], ""),
                Some(body) if body.contains("a/spoilt") => {
                    Reply::new(200, &[("Content-Type", ARTIFACT)], "{}")
                }
                Some(body) => Reply::new(200, &[("Content-Type", ARTIFACT)], body),
                None => Reply::new(404, &[], ""),
            },
        }
    });
    let name = format!("{}/app@{subject}", server.host());
    let ran = consumer("complete").run(&["lint", &name]).expect(1);
    let told = ran.text();
    for (kind, part) in [
        ("a/typed", "wrong artifactType a/other: expected a/typed"),
        ("a/bare", "missing annotations: expected {\"k\":\"a/bare\"}"),
        ("a/large", "wrong size 1: expected "),
        ("a/twice", "duplicate entry"),
        ("a/spoilt", "its manifest cannot be read: "),
        ("a/gone", "stale entry: its manifest is not there"),
        ("a/foreign", "foreign entry: its manifest refers to "),
    ] {
        let digest = entry(kind)["digest"].as_str().expect("a digest").to_owned();
        let line = format!("referrers API: {digest}: {part}");
        assert!(told.lines().any(|told| told.starts_with(&line)), "{line}: {told}");
    }
    assert_eq!(told.lines().count(), 7, "{told}");
    assert!(
        ran.stderr.contains("9 entries checked in referrers API"),
        "{}",
        ran.stderr
    );
}

#[test]
fn lint_says_so_where_there_is_nothing_to_check() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let ran = consumer("complete")
        .run(&["lint", &format!("{}/app:latest", registry.host())])
        .expect(0);
    assert!(
        ran.stderr
            .starts_with("nothing to check: the registry has neither"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_digest_tag_that_holds_an_image_is_told_and_is_no_list() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let arm = registry
        .get(&format!("/v2/app/manifests/{}", image.manifests[1]))
        .text();
    let tag = oci::digest_tag::of(&image.index);
    push_manifest(&registry, "app", Some(tag.as_str()), IMAGE, &arm);
    let name = format!("{}/app:latest", registry.host());
    for command in ["refs", "tree", "lint"] {
        let ran = consumer("complete").run(&[command, &name]).expect(1);
        assert!(
            ran.stderr.contains("is not an index of references but"),
            "{command}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains(IMAGE) && ran.text().is_empty(),
            "{command}: {}",
            ran.stderr
        );
    }
}

#[test]
fn raw_and_body_show_the_answer_that_has_the_list_before_our_filters() {
    let (registry, none) = (Registry::current(), Registry::current());
    let image = Image::push(&registry, "app");
    Image::push(&none, "app");
    let entry = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 2,
        "digest": oci::Digest::sha256(b"{}"), "artifactType": "a/b"});
    let index =
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry], "x-note": true}).to_string();
    let tag = oci::digest_tag::of(&image.index).to_string();
    push_blob(&registry, "app", b"{}");
    push_manifest(&registry, "app", Some(&tag), INDEX, &index);
    let list = |registry: &Registry| {
        let name = format!("{}/app:latest", registry.host());
        consumer("intermediate").run(&[
            "artifact",
            "list",
            "--format",
            "body",
            "--filter-artifact-type",
            "x/y",
            &name,
        ])
    };
    assert_eq!(list(&registry).expect(0).text(), index);
    let nothing = list(&none).expect(3);
    assert!(
        nothing.stderr.contains("there is none to show"),
        "{}",
        nothing.stderr
    );
}

#[test]
fn raw_body_and_headers_show_every_page_of_a_list() {
    let subject = oci::Digest::sha256(b"subject");
    let page = |kind: &str| {
        let entry = json!({"mediaType": IMAGE, "size": 2, "digest": oci::Digest::sha256(kind.as_bytes()), "artifactType": kind});
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).to_string()
    };
    let (first, second) = (page("a/1"), page("a/2"));
    let pages = [first.clone(), second.clone()];
    let server = FaultServer::start(move |request| {
        let headers = [
            ("Content-Type", INDEX),
            ("Link", "</v2/app/further>; rel=\"next\""),
            ("X-Page", "1"),
        ];
        match request.path.as_str() {
            "/v2/app/further" => Reply::new(200, &[("Content-Type", INDEX), ("X-Page", "2")], &pages[1]),
            path if path.contains("/referrers/") => Reply::new(200, &headers, &pages[0]),
            _ => Reply::new(404, &[], ""),
        }
    });
    let show = |format: &str| {
        let name = format!("{}/app@{subject}", server.host());
        let ran = consumer("intermediate").run(&["artifact", "list", "--format", format, &name]);
        ran.expect(0).text()
    };
    let both = consumer("intermediate").run(&["refs", &format!("{}/app@{subject}", server.host())]);
    let expected = ["a/1", "a/2"].map(|kind| oci::Digest::sha256(kind.as_bytes()).to_string());
    assert_eq!(
        digests(&both.expect(0).json()),
        expected,
        "the list is followed to its end"
    );
    assert_eq!(show("body"), format!("{first}\n{second}"));
    let raw = show("raw");
    let parts: Vec<&str> = raw.split("HTTP 200\n").collect();
    assert_eq!(parts.len(), 3, "{raw}");
    assert!(
        parts[1].contains("x-page: 1") && parts[1].ends_with(&format!("\n\n{first}\n\n")),
        "{raw}"
    );
    assert!(
        parts[2].contains("x-page: 2") && parts[2].ends_with(&format!("\n\n{second}")),
        "{raw}"
    );
    let headers = show("headers");
    assert!(
        headers.contains("x-page: 1") && headers.contains("x-page: 2") && !headers.contains("a/1"),
        "{headers}"
    );
}
