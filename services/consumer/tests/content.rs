//! Pulling images and getting the content of references: verified, whole, and only where it belongs.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use testkit::image::{push_blob, push_manifest};
use testkit::{FaultServer, Image, Registry, Reply, Tool};

const ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

fn consumer(generation: &str) -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_consumer")).generation(generation)
}

/// An artifact with these titled pieces of content, in an image's repository.
fn artifact(registry: &Registry, image: &Image, titles: &[Option<&str>]) -> String {
    let blobs: Vec<Value> = titles
        .iter()
        .enumerate()
        .map(|(n, title)| {
            let content = format!("content {n}\n");
            let digest = push_blob(registry, &image.repository, content.as_bytes());
            let mut blob = json!({"mediaType": "text/plain", "size": content.len(), "digest": digest});
            if let Some(title) = title {
                blob["annotations"] = json!({"org.opencontainers.image.title": title});
            }
            blob
        })
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": ARTIFACT, "artifactType": "application/x.y", "blobs": blobs,
        "refers": image.descriptor()
    });
    let digest = push_manifest(registry, &image.repository, None, ARTIFACT, &manifest.to_string());
    format!("{}/{}@{digest}", registry.host(), image.repository)
}

#[test]
fn a_pull_reads_every_part_of_one_platform_and_asks_for_no_reference() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    image.refer_by_artifact(&registry, b"x", json!({}));
    let tool = consumer("current");
    let name = format!("{}/app:latest", registry.host());
    let ran = tool
        .run(&["--har", "out.har", "pull", "--platform", "linux/arm64", &name])
        .expect(0);
    assert_eq!(ran.text().trim(), image.manifests[1].to_string());
    let har = std::fs::read_to_string(tool.folder().join("out.har")).expect("a recording");
    assert!(har.contains(&image.layers[1].to_string()));
    assert!(
        !har.contains(&format!("blobs/{}", image.layers[0])),
        "only one platform's layers"
    );
    assert!(!har.contains("/referrers") && !har.contains("manifests/sha256-"));
    let missing = tool.run(&["pull", "--platform", "linux/s390x", &name]).expect(3);
    assert!(missing.stderr.contains("linux/amd64"), "{}", missing.stderr);
}

#[test]
fn a_pull_writes_an_oci_layout() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let tool = consumer("current");
    let name = format!("{}/app:latest", registry.host());
    tool.run(&["pull", "--platform", "linux/amd64", "--output", "folder", &name])
        .expect(0);
    let read = |path: String| std::fs::read(tool.folder().join("folder").join(path)).expect("a file");
    let index: Value = serde_json::from_slice(&read("index.json".to_owned())).expect("JSON");
    assert_eq!(index["manifests"][0]["digest"], image.manifests[0].to_string());
    let layer = read(format!("blobs/sha256/{}", image.layers[0].hex()));
    assert_eq!(oci::Digest::sha256(&layer), image.layers[0]);
}

#[test]
fn content_that_is_not_what_its_digest_says_is_never_shown() {
    let (first, second) = (b"first", b"right");
    let blob = |content: &[u8], title: &str| {
        json!({"mediaType": "text/plain", "size": content.len(), "digest": oci::Digest::sha256(content),
            "annotations": {"org.opencontainers.image.title": title}})
    };
    let first_digest = oci::Digest::sha256(first).to_string();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": ARTIFACT, "artifactType": "a/b",
        "blobs": [blob(first, "first"), blob(second, "second")]
    })
    .to_string();
    let artifact = oci::Digest::sha256(manifest.as_bytes());
    let server = FaultServer::start(move |request| {
        let headers = [("Content-Type", ARTIFACT)];
        match request.path.as_str() {
            path if path.ends_with(&first_digest) => Reply::new(200, &[], first),
            path if path.contains("/blobs/") => Reply::new(200, &[], b"wrong"),
            path if path.contains("/manifests/") => Reply::new(200, &headers, &manifest),
            _ => Reply::new(404, &[], ""),
        }
    });
    let tool = consumer("complete");
    let reference = format!("{}/app@{artifact}", server.host());
    let ran = tool
        .run(&["artifact", "get", "--file", "second", &reference])
        .expect(1);
    assert_eq!(ran.text(), "");
    assert!(ran.stderr.contains("wrong content"), "{}", ran.stderr);
    tool.run(&["artifact", "get", "--output", "out", &reference])
        .expect(1);
    let left = std::fs::read_dir(tool.folder().join("out")).map(|folder| folder.count());
    assert_eq!(left.unwrap_or(0), 0, "nothing half-written");
}

#[test]
fn files_are_written_under_their_titles_and_untitled_ones_under_their_digests() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let reference = artifact(&registry, &image, &[Some("a.txt"), Some("sub/b.txt"), None]);
    let tool = consumer("complete");
    let ran = tool
        .run(&["artifact", "get", "--output", "out", &reference])
        .expect(0);
    assert_eq!(ran.text().lines().count(), 3);
    let read = |name: &str| std::fs::read_to_string(tool.folder().join("out").join(name)).expect("a file");
    assert_eq!(read("a.txt"), "content 0\n");
    assert_eq!(read("sub/b.txt"), "content 1\n");
    let untitled = oci::Digest::sha256(b"content 2\n");
    assert_eq!(read(&format!("sha256-{}", untitled.hex())), "content 2\n");
}

#[test]
fn a_title_that_leaves_the_folder_is_refused_before_anything_is_written() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    for title in [
        "../evil",
        "/tmp/evil",
        "a/../../evil",
        "..",
        "evil\u{0}",
        "C:\\evil",
        "sub/../../evil",
    ] {
        let reference = artifact(&registry, &image, &[Some("good.txt"), Some(title)]);
        let tool = consumer("complete");
        let ran = tool
            .run(&["artifact", "get", "--output", "out", &reference])
            .expect(1);
        assert!(
            ran.stderr.contains("is refused") && ran.stderr.contains("nothing was written"),
            "{}",
            ran.stderr
        );
        assert!(!tool.folder().join("out").exists(), "{title:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_title_that_passes_through_a_link_is_refused() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let reference = artifact(&registry, &image, &[Some("link/evil")]);
    let tool = consumer("complete");
    let outside = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(tool.folder().join("out")).expect("a folder");
    std::os::unix::fs::symlink(outside.path(), tool.folder().join("out/link")).expect("a link");
    let ran = tool
        .run(&["artifact", "get", "--output", "out", &reference])
        .expect(1);
    assert!(ran.stderr.contains("symbolic link"), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(outside.path()).expect("the folder").count(), 0);
}

#[test]
fn several_pieces_need_a_choice_and_it_says_so() {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let reference = artifact(&registry, &image, &[Some("a"), Some("b")]);
    let tool = consumer("complete");
    let ran = tool.run(&["artifact", "get", &reference]).expect(2);
    assert!(
        ran.stderr.contains("--file") && ran.stderr.contains("--output"),
        "{}",
        ran.stderr
    );
    let ran = tool
        .run(&["artifact", "get", "--file", "b", &reference])
        .expect(0);
    assert_eq!(ran.text(), "content 1\n");
    tool.run(&["artifact", "get", "--file", "c", &reference])
        .expect(3);
    let twice = artifact(&registry, &image, &[Some("same"), Some("same")]);
    let ran = tool
        .run(&["artifact", "get", "--output", "out", &twice])
        .expect(1);
    assert!(ran.stderr.contains("two pieces"), "{}", ran.stderr);
}

#[test]
fn a_wrong_command_line_is_told_and_nothing_is_sent() {
    for (line, part) in [
        ("refs", "IMAGE"),
        ("refs UPPER", "UPPER"),
        ("pull localhost:1/a --platform x", "x"),
        ("artifact list localhost:1/a --format {{", "--format"),
        ("artifact get localhost:1/a --filter-annotation =", "KEY"),
    ] {
        let ran = consumer("complete").line(line).expect(2);
        assert!(ran.stderr.contains(part), "{line}: {}", ran.stderr);
    }
}

#[test]
fn an_image_that_is_not_there_is_not_found() {
    let registry = Registry::complete();
    let name = format!("{}/app:latest", registry.host());
    for line in [
        vec!["pull", &name],
        vec!["refs", &name],
        vec!["artifact", "get", &name],
        vec!["tree", &name],
        vec!["lint", &name],
    ] {
        consumer("complete").run(&line).expect(3);
    }
}
