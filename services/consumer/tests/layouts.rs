//! References in OCI layouts: folders, and tar archives of them.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::json;
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
        ("tree oci:missing", 1, "oci-layout"),
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
