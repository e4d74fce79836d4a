//! What each generation of producer pushes to each generation of registry.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::Value;
use testkit::{FaultServer, Image, Registry, Reply, Tool};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

fn producer(generation: &str) -> Tool {
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation(generation);
    tool.write("hello.txt", "hello world\n");
    tool
}

fn manifest(registry: &Registry, image: &Image, digest: &str) -> (String, Value) {
    let answer = registry
        .get(&format!("/v2/{}/manifests/{digest}", image.repository))
        .expect(200);
    let content_type = answer.header("content-type").expect("a type").to_owned();
    (content_type, answer.json())
}

#[test]
fn the_intermediate_producer_pushes_a_digest_tag_where_the_api_is_missing() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let ran = producer("intermediate")
        .run(&["attach", "hello.txt", "text/plain", "misc", &name])
        .expect(0);
    let entries = image.digest_tag(&registry).expect("a digest tag");
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["digest"], ran.text().trim());
    assert_eq!(entries[0]["mediaType"], IMAGE);
    assert_eq!(
        entries[0]["artifactType"],
        "application/vnd.oci.image.config.v1+json"
    );
    assert_eq!(
        entries[0]["annotations"]["org.opencontainers.artifact.type"],
        "misc"
    );
}

#[test]
fn the_intermediate_producer_pushes_no_digest_tag_where_the_api_is() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let ran = producer("intermediate")
        .run(&[
            "--output",
            "json",
            "attach",
            "hello.txt",
            "text/plain",
            "misc",
            &name,
        ])
        .expect(0);
    assert_eq!(image.digest_tag(&registry), None);
    assert_eq!(ran.json()["listedBy"], "referrers API");
    let listed = registry
        .get(&format!("/v2/app/referrers/{}", image.index))
        .expect(200)
        .json();
    assert_eq!(listed["manifests"][0]["digest"], ran.json()["manifest"]["digest"]);
}

#[test]
fn a_type_that_is_a_media_type_is_listed_as_the_artifact_type() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    producer("intermediate")
        .run(&[
            "attach",
            "hello.txt",
            "text/plain",
            "application/vnd.example.misc.v1",
            &name,
        ])
        .expect(0);
    let entries = image.digest_tag(&registry).expect("a digest tag");
    assert_eq!(entries[0]["artifactType"], "application/vnd.example.misc.v1");
}

#[test]
fn either_command_pushes_the_manifest_of_the_generation() {
    for (generation, media_type) in [("intermediate", IMAGE), ("complete", ARTIFACT)] {
        let registry = Registry::complete();
        let image = Image::push(&registry, "app");
        let name = format!("{}/app:latest", registry.host());
        let tool = producer(generation);
        let attached = tool
            .run(&["attach", "hello.txt", "text/plain", "misc", &name])
            .expect(0);
        let put = tool
            .run_with_input(
                &[
                    "artifact",
                    "put",
                    "--refers",
                    &name,
                    "--artifact-type",
                    "application/x.y",
                ],
                b"more",
            )
            .expect(0);
        for digest in [attached.text(), put.text()] {
            let (content_type, body) = manifest(&registry, &image, digest.trim());
            assert_eq!(content_type, media_type, "{generation}");
            assert_eq!(body["refers"]["digest"], image.index.to_string());
        }
        let listed = registry
            .get(&format!(
                "/v2/app/referrers/{}?artifactType=application/x.y",
                image.index
            ))
            .json();
        assert_eq!(listed["manifests"][0]["digest"], put.text().trim());
    }
}

#[test]
fn the_manifest_media_type_overrides_the_generation() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    for (generation, media_type) in [("intermediate", ARTIFACT), ("complete", IMAGE)] {
        let ran = producer(generation)
            .run_with_input(
                &[
                    "artifact",
                    "put",
                    "--refers",
                    &name,
                    "--manifest-media-type",
                    media_type,
                ],
                b"hello world\n",
            )
            .expect(0);
        assert_eq!(manifest(&registry, &image, ran.text().trim()).0, media_type);
    }
}

#[test]
fn a_rejected_manifest_is_told_with_code_message_and_what_was_left() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let ran = producer("complete")
        .run_with_input(&["artifact", "put", "--refers", &name], b"hello world\n")
        .expect(5);
    for part in [
        "MANIFEST_INVALID",
        "left in the registry",
        "sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447",
    ] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(ran.text(), "");
    assert_eq!(image.digest_tag(&registry), None);
}

#[test]
fn the_current_producer_copies_and_never_refers() {
    let registry = Registry::complete();
    Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let copy = format!("{}/copy:latest", registry.host());
    let tool = producer("current");
    for line in [
        vec!["attach", "hello.txt", "text/plain", "misc", &name],
        vec!["artifact", "put", "--refers", &name, "--file", "hello.txt"],
        vec!["copy", "--referrers", &name, &copy],
    ] {
        let ran = tool.run(&line).expect(4);
        assert!(ran.stderr.contains("never pushes references"), "{}", ran.stderr);
    }
    assert_eq!(registry.get("/v2/copy/tags/list").status, 404);
    tool.run(&["copy", &name, &copy]).expect(0);
    registry.get("/v2/copy/manifests/latest").expect(200);
}

/// A registry that has an image, and answers the referrers API as it likes.
fn with_api_answer(answer: fn() -> Reply) -> FaultServer {
    let manifest =
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    FaultServer::start(move |request| {
        let headers = [("Content-Type", "application/vnd.oci.image.index.v1+json")];
        match request.method.as_str() {
            _ if request.path.contains("referrers") => answer(),
            "HEAD" if request.path.ends_with("/manifests/latest") => {
                Reply::head(200, &headers, manifest.len())
            }
            "GET" if request.path.ends_with("/manifests/latest") => Reply::new(200, &headers, manifest),
            "GET" if request.path == "/v2/" => Reply::new(200, &[], "{}"),
            _ => Reply::new(404, &[], ""),
        }
    })
}

#[test]
fn a_failing_api_is_no_missing_api_and_nothing_is_written() {
    for (answer, code) in [
        ((|| Reply::new(500, &[], "oops")) as fn() -> Reply, 1),
        (|| Reply::new(403, &[], "no"), 6),
        (|| Reply::new(400, &[], "no"), 5),
    ] {
        let server = with_api_answer(answer);
        let name = format!("{}/app:latest", server.host());
        let ran = producer("intermediate")
            .run(&["attach", "hello.txt", "text/plain", "misc", &name])
            .expect(code);
        assert!(ran.stderr.contains("nothing was written"), "{}", ran.stderr);
        let written: Vec<String> = server
            .lines()
            .into_iter()
            .filter(|line| !line.starts_with("GET") && !line.starts_with("HEAD"))
            .collect();
        assert_eq!(written, Vec::<String>::new());
    }
}

#[test]
fn a_digest_tag_that_holds_an_image_is_not_overwritten_and_nothing_is_written() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let arm = registry
        .get(&format!("/v2/app/manifests/{}", image.manifests[1]))
        .text();
    let tag = oci::digest_tag::of(&image.index);
    testkit::image::push_manifest(&registry, "app", Some(tag.as_str()), IMAGE, &arm);
    let name = format!("{}/app:latest", registry.host());
    let ran = producer("intermediate")
        .run(&["attach", "hello.txt", "text/plain", "misc", &name])
        .expect(1);
    for part in [tag.as_str(), IMAGE, "nothing was written"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert_eq!(registry.get(&format!("/v2/app/manifests/{tag}")).text(), arm);
    let blob = oci::Digest::sha256(b"hello world\n");
    assert_eq!(registry.get(&format!("/v2/app/blobs/{blob}")).status, 404);
}

#[test]
fn an_image_that_is_not_there_cannot_be_referred_to() {
    let registry = Registry::complete();
    let name = format!("{}/nothing:latest", registry.host());
    let ran = producer("intermediate")
        .run(&["attach", "hello.txt", "text/plain", "misc", &name])
        .expect(3);
    assert!(ran.stderr.contains("nothing was written"), "{}", ran.stderr);
}

#[test]
fn the_same_attachment_again_changes_nothing() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let tool = producer("intermediate");
    let line = ["attach", "hello.txt", "text/plain", "misc", &name];
    let first = tool.run(&line).expect(0);
    let second = tool.run(&line).expect(0);
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(image.digest_tag(&registry).map(|entries| entries.len()), Some(1));
}

#[test]
fn the_generation_is_told_by_option_variable_or_name() {
    let registry = Registry::current();
    Image::push(&registry, "app");
    let name = format!("{}/app:latest", registry.host());
    let line = ["artifact", "put", "--refers", &name, "--file", "hello.txt"];
    let named = tempfile::tempdir().expect("a folder");
    let path = named.path().join("complete-producer");
    std::fs::copy(env!("CARGO_BIN_EXE_producer"), &path).expect("a copy");
    let tool = Tool::new(&path);
    tool.write("hello.txt", "hello world\n");
    tool.run(&line).expect(5);
    let tool = tool.env("GENERATION", "intermediate");
    tool.run(&line).expect(0);
    tool.run(&[&["--generation", "complete"], &line[..]].concat())
        .expect(5);
    let wrong = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("modern");
    let ran = wrong.run(&["copy", "a", "b"]).expect(2);
    assert!(ran.stderr.contains("\"modern\""), "{}", ran.stderr);
}
