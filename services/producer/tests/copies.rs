//! Copies with the references, between registries of every mix of generations, and through a layout.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use testkit::{Image, Registry, Tool};

fn producer() -> Tool {
    Tool::new(env!("CARGO_BIN_EXE_producer")).generation("intermediate")
}

/// The digests that a registry lists for an image: by its API, else under the digest tag.
fn listed(registry: &Registry, image: &Image) -> Vec<String> {
    let answer = registry.get(&format!("/v2/{}/referrers/{}", image.repository, image.index));
    let entries = match answer.status {
        404 => image.digest_tag(registry).unwrap_or_default(),
        _ => answer.expect(200).json()["manifests"]
            .as_array()
            .expect("a list")
            .clone(),
    };
    let digest = |entry: &Value| entry["digest"].as_str().expect("a digest").to_owned();
    entries.iter().map(digest).collect()
}

fn attached(tool: &Tool, registry: &Registry, image: &Image) -> String {
    let name = format!("{}/{}:latest", registry.host(), image.repository);
    let ran = tool.run_with_input(&["artifact", "put", "--refers", &name], b"hello world\n");
    ran.expect(0).text().trim().to_owned()
}

#[test]
fn references_follow_the_image_whatever_the_generations_of_the_registries() {
    for source in [Registry::current(), Registry::complete()] {
        for destination in [Registry::current(), Registry::complete()] {
            let (tool, image) = (producer(), Image::push(&source, "app"));
            let reference = attached(&tool, &source, &image);
            let (from, to) = (
                format!("{}/app:latest", source.host()),
                format!("{}/app:latest", destination.host()),
            );
            let ran = tool
                .run(&["--output", "json", "copy", "--referrers", &from, &to])
                .expect(0);
            assert_eq!(ran.json()["root"]["digest"], json!(image.index));
            assert_eq!(listed(&destination, &image), [reference]);
        }
    }
}

#[test]
fn references_survive_a_layout_on_the_way() {
    let (source, destination) = (Registry::complete(), Registry::current());
    let (tool, image) = (producer(), Image::push(&source, "app"));
    let reference = attached(&tool, &source, &image);
    let (from, to) = (
        format!("{}/app:latest", source.host()),
        format!("{}/app:latest", destination.host()),
    );
    tool.run(&["copy", "--referrers", &from, "oci:folder:latest"])
        .expect(0);
    tool.run(&["image", "copy", "--referrers", "ocidir://folder:latest", &to])
        .expect(0);
    assert_eq!(listed(&destination, &image), [reference]);
}

#[test]
fn one_platform_can_be_copied_alone() {
    let registry = Registry::current();
    let image = Image::push(&registry, "app");
    let host = registry.host();
    let ran = producer()
        .line(&format!(
            "copy --platform linux/arm64 {host}/app:latest {host}/arm:latest"
        ))
        .expect(0);
    assert_eq!(ran.text().trim(), image.manifests[1].to_string());
    let copied = registry.get("/v2/arm/manifests/latest").expect(200);
    assert_eq!(oci::Digest::sha256(&copied.body), image.manifests[1]);
    let absent = format!("/v2/arm/manifests/{}", image.manifests[0]);
    assert_eq!(registry.get(&absent).status, 404);
}
