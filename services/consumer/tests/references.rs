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
