//! Copies with the references, between registries of every mix of generations, and through a layout.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use serde_json::{Value, json};
use testkit::{FaultServer, Image, Registry, Reply, Tool};

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

/// A registry with one empty index as its image, a list of references, and whatever else is asked of it.
fn listing(list: &Value, other: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> FaultServer {
    let index = |entries: &Value| json!({"schemaVersion": 2, "mediaType": oci::media_type::OCI_INDEX, "manifests": entries});
    let (image, list) = (index(&json!([])).to_string(), index(list).to_string());
    FaultServer::start(move |request| {
        let headers = [("Content-Type", oci::media_type::OCI_INDEX)];
        match (other(&request.path), request.path.as_str()) {
            (Some(reply), _) => reply,
            (None, path) if path.contains("referrers") => Reply::new(404, &[], ""),
            (None, path) if path.contains("/manifests/sha256-") => Reply::new(200, &headers, &list),
            (None, path) if path.ends_with("/latest") => Reply::new(200, &headers, &image),
            (None, _) => Reply::new(404, &[], ""),
        }
    })
}

#[test]
fn a_reference_that_cannot_be_copied_is_told_and_the_others_are_copied() {
    let strange = b"{\"strange\":true}";
    let gone = oci::Descriptor::of(oci::media_type::OCI_MANIFEST, b"gone");
    let unknown = oci::Descriptor::of("application/vnd.example.strange+json", strange);
    let (name, list) = (
        unknown.digest.to_string(),
        json!([gone, unknown, {"size": "none"}]),
    );
    let from = listing(&list, move |path| {
        path.ends_with(&name).then(|| {
            Reply::new(
                200,
                &[("Content-Type", "application/vnd.example.strange+json")],
                strange,
            )
        })
    });
    let line = format!(
        "--quiet copy --output json --referrers {}/app:latest oci:out:latest",
        from.host()
    );
    let ran = producer().line(&line).expect(0);
    for part in [
        format!("{} is listed as a reference to", gone.digest),
        format!("reference {} is of the unknown type", unknown.digest),
        "entry 2 cannot be read".to_owned(),
    ] {
        assert!(ran.stderr.contains(&part), "{part}: {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches("warning: ").count(), 3, "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["warnings"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["referrers"], json!([]));
}

#[test]
fn an_answer_that_is_no_index_is_told_once_by_a_copy_whichever_side_gave_it() {
    let html = |path: &str| {
        let asked = path.contains("referrers");
        asked.then(|| Reply::new(200, &[("Content-Type", "text/html")], "<html>welcome</html>"))
    };
    let from = listing(&json!([]), html);
    let to = Registry::current();
    let line = format!(
        "copy --referrers {}/app:latest {}/app:latest",
        from.host(),
        to.host()
    );
    let ran = producer().line(&line).expect(0);
    let told = "warning: http://127.0.0.1";
    assert_eq!(ran.stderr.matches(told).count(), 1, "{}", ran.stderr);
    assert!(
        ran.stderr
            .contains("an HTML page; the referrers API counts as missing"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_pause_that_a_registry_demands_is_told_unless_quiet() {
    for (options, told) in [("", true), ("--quiet", false)] {
        let tries = std::sync::atomic::AtomicU32::new(0);
        let from = listing(&json!([]), move |path| {
            let first =
                path.ends_with("/latest") && tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
            first.then(|| Reply::new(429, &[("Retry-After", "1")], ""))
        });
        let line = format!("{options} copy {}/app:latest oci:out:latest", from.host());
        let ran = producer().line(&line).expect(0);
        let line = "/v2/app/manifests/latest: 429; trying again in 1 s";
        assert_eq!(ran.stderr.contains(line), told, "{}", ran.stderr);
    }
}
