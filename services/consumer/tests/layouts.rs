//! References in OCI layouts: folders, and tar archives of them.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use std::path::Path;
use testkit::{Image, Registry, Tool};

/// A layout with an image and a reference to it, in the tool's folder.
fn layout(tool: &Tool) -> (Image, oci::Digest) {
    let registry = Registry::complete();
    let image = Image::push(&registry, "app");
    let reference = image.refer_by_artifact(&registry, b"hello\n", json!({}));
    let client = client::Client::new(client::Options::default()).expect("a client");
    let location = |text: &str| client::Location::parse(text).expect("a location");
    let from = location(&format!("{}/app:latest", registry.host()));
    let to = location(&format!("oci:{}:latest", tool.folder().join("kept").display()));
    let options = client::CopyOptions {
        referrers: true,
        ..client::CopyOptions::default()
    };
    cli::block_on(client::copy(&client, &from, &to, &options)).expect("copied");
    (image, reference)
}

#[test]
fn references_in_a_layout_are_listed_shown_and_got() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let (image, reference) = layout(&tool);
    let refs = tool.line("refs oci:kept:latest").expect(0).json();
    assert_eq!(refs["manifests"][0]["digest"], reference.to_string());
    let list = tool
        .line("artifact list ocidir://kept:latest -o json")
        .expect(0)
        .json();
    assert_eq!(list["subject"], format!("oci:kept@{}", image.index));
    assert_eq!(list["sources"][0]["from"], "layout");
    let tree = tool.line("tree ./kept").expect(0).text();
    assert!(tree.contains(&format!("└── {reference}")), "{tree}");
    assert_eq!(
        tool.line("artifact get oci:kept:latest").expect(0).text(),
        "hello\n"
    );
    assert_eq!(
        tool.line(&format!("artifact get oci:kept@{reference}"))
            .expect(0)
            .text(),
        "hello\n"
    );
}

#[test]
fn what_a_layout_does_not_have_is_told() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    layout(&tool);
    for (line, code, part) in [
        ("refs oci:kept:other", 3, "latest"),
        (
            "artifact get oci:kept:latest --filter-artifact-type x/y",
            3,
            "no reference",
        ),
        ("tree oci:missing", 3, "there is no such OCI layout"),
        ("tree oci:missing.tar", 3, "missing.tar"),
        ("tree .", 1, "there is no file oci-layout"),
        (
            "artifact list oci:kept:latest --format raw",
            2,
            "a layout gives none",
        ),
    ] {
        let ran = tool.line(line).expect(code);
        assert!(ran.stderr.contains(part), "{line}: {}", ran.stderr);
    }
}

#[test]
fn an_archive_of_docker_save_is_told_from_one_that_is_nothing_at_all() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    tool.write("manifest.json", "[]");
    tool.write("other.json", "[]");
    for (file, part) in [
        ("manifest.json", "it is an archive of `docker save`"),
        ("other.json", "there is no file oci-layout"),
    ] {
        let packed = std::process::Command::new("tar")
            .args(["-cf", "saved.tar", file])
            .current_dir(tool.folder())
            .status();
        assert!(packed.is_ok_and(|status| status.success()), "tar packs");
        let ran = tool.line("pull ./saved.tar").expect(1);
        assert!(ran.stderr.contains(part), "{file}: {}", ran.stderr);
    }
}

#[test]
fn an_image_in_a_layout_or_an_archive_of_it_is_pulled() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("current");
    let (image, _) = layout(&tool);
    let packed = std::process::Command::new("tar")
        .args(["-cf", "kept.tar", "-C", "kept", "."])
        .current_dir(tool.folder())
        .status();
    assert!(packed.is_ok_and(|status| status.success()), "tar packs");
    for place in [
        "oci:kept:latest",
        "ocidir://kept:latest",
        "./kept",
        "oci-archive:kept.tar:latest",
    ] {
        let ran = tool
            .line(&format!("pull --platform linux/amd64 {place}"))
            .expect(0);
        assert!(ran.stderr.contains("blobs verified"), "{place}: {}", ran.stderr);
        let ran = tool
            .line(&format!("pull --platform linux/s390x {place}"))
            .expect(3);
        assert!(
            ran.stderr.contains("no image for platform linux/s390x"),
            "{place}: {}",
            ran.stderr
        );
    }
    let pulled = tool
        .line("pull --platform linux/amd64 --output pulled oci:kept:latest")
        .expect(0)
        .text();
    assert_eq!(
        pulled,
        tool.line("pull --platform linux/amd64 ./pulled").expect(0).text()
    );
    assert_ne!(
        pulled.trim(),
        image.index.to_string(),
        "one platform of the index"
    );
    let ran = tool.line("pull oci:kept:other").expect(3);
    assert!(ran.stderr.contains("there is: latest"), "{}", ran.stderr);
}

#[test]
fn a_blob_of_a_layout_that_was_changed_is_told() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let (_, reference) = layout(&tool);
    let content = oci::Digest::sha256(b"hello\n");
    std::fs::write(blob(&tool, &content), "hellO\n").expect("a file");
    let ran = tool.line("artifact get oci:kept:latest").expect(1);
    assert_eq!(ran.text(), "", "nothing that is wrong is shown");
    assert!(ran.stderr.contains(&content.to_string()), "{}", ran.stderr);
    std::fs::write(blob(&tool, &reference), "{}").expect("a file");
    let ran = tool.line("lint oci:kept:latest").expect(1);
    assert!(ran.text().contains("cannot be read"), "{}", ran.text());
}

fn blob(tool: &Tool, digest: &oci::Digest) -> std::path::PathBuf {
    tool.folder().join("kept/blobs/sha256").join(digest.hex())
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

#[test]
fn lint_checks_the_digest_tag_of_a_layout() {
    let tool = Tool::new(env!("CARGO_BIN_EXE_consumer")).generation("complete");
    let (image, reference) = layout(&tool);
    let ran = tool.line("lint oci:kept:latest").expect(0);
    assert!(
        ran.stderr.contains("1 entry checked in digest tag sha256-"),
        "{}",
        ran.stderr
    );

    // Another writer forgot the entry, and lists the reference among the images.
    let index_path = tool.folder().join("kept/index.json");
    let before = read(&index_path);
    let mut index = before.clone();
    let empty =
        json!({"schemaVersion": 2, "mediaType": oci::media_type::OCI_INDEX, "manifests": []}).to_string();
    let descriptor = oci::Descriptor::of(oci::media_type::OCI_INDEX, empty.as_bytes());
    std::fs::write(blob(&tool, &descriptor.digest), &empty).expect("a file");
    let entries = index["manifests"].as_array_mut().expect("a list");
    let tag = oci::digest_tag::of(&image.index).to_string();
    for entry in entries.iter_mut() {
        if entry["annotations"]["org.opencontainers.image.ref.name"] == tag.as_str() {
            entry["digest"] = json!(descriptor.digest);
            entry["size"] = json!(descriptor.size);
        }
    }
    let size = std::fs::metadata(blob(&tool, &reference)).expect("a file").len();
    entries.push(json!({"mediaType": oci::media_type::OCI_ARTIFACT, "digest": reference, "size": size}));
    std::fs::write(&index_path, index.to_string()).expect("a file");
    let ran = tool.line("lint oci:kept:latest").expect(1);
    assert!(
        ran.text().contains(&format!(
            "{reference}: refers to the image but is not listed by the digest tag"
        )),
        "{}",
        ran.text()
    );

    std::fs::write(&index_path, before.to_string()).expect("a file");
    std::fs::remove_file(blob(&tool, &reference)).expect("removed");
    let ran = tool.line("lint oci:kept:latest").expect(1);
    assert!(
        ran.text().contains(&format!("{reference}: stale entry")),
        "{}",
        ran.text()
    );
}
