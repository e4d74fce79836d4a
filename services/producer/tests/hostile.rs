//! Copies from registries that lie: a clear error with its code, in bounded time and memory, and nothing half-written.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

use oci::{Descriptor, Digest, media_type};
use serde_json::{Value, json};
use std::path::Path;
use testkit::{FaultServer, Registry, Reply, Tool, fault::Seen};

const INDEX: (&str, &str) = ("Content-Type", media_type::OCI_INDEX);
const MANIFEST: (&str, &str) = ("Content-Type", media_type::OCI_MANIFEST);
const LAYER: &[u8] = b"hello world\n";
/// What one run may take: memory in MiB, and seconds.
const WITHIN: (u64, u64) = (256, 60);

fn image() -> String {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, b"{}"),
        "layers": [Descriptor::of(media_type::OCI_LAYER, LAYER)]})
    .to_string()
}

fn index_of(entries: &[Descriptor]) -> String {
    json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries}).to_string()
}

/// An honest registry with one image, but for what the lie answers.
fn lying(lie: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> FaultServer {
    let manifest = image();
    let (config, layer) = (
        Digest::sha256(b"{}").to_string(),
        Digest::sha256(LAYER).to_string(),
    );
    FaultServer::start(move |seen| match (lie(seen), seen.path.as_str()) {
        (Some(reply), _) => reply,
        (None, path) if path.ends_with(&config) => Reply::new(200, &[], "{}"),
        (None, path) if path.ends_with(&layer) => Reply::new(200, &[], LAYER),
        (None, path) if path.contains("/manifests/sha256-") => Reply::new(404, &[], ""),
        (None, path) if path.contains("/manifests/") => Reply::new(200, &[MANIFEST], &manifest),
        (None, _) => Reply::new(404, &[], ""),
    })
}

fn about_the_layer(reply: impl Fn() -> Reply + Send + Sync + 'static) -> FaultServer {
    let layer = Digest::sha256(LAYER).to_string();
    lying(move |seen| seen.path.contains(&layer).then(&reply))
}

fn about_the_manifest(reply: impl Fn() -> Reply + Send + Sync + 'static) -> FaultServer {
    lying(move |seen| seen.path.contains("/manifests/").then(&reply))
}

fn about_the_list(reply: impl Fn(&str) -> Reply + Send + Sync + 'static) -> FaultServer {
    lying(move |seen| seen.path.contains("/referrers").then(|| reply(&seen.path)))
}

/// An index in an index, and so on: more of them than anybody needs.
fn deep() -> FaultServer {
    let mut bodies = vec![image()];
    for _ in 0..20 {
        let inner = bodies.last().expect("one").as_bytes();
        let kind = if bodies.len() == 1 {
            media_type::OCI_MANIFEST
        } else {
            media_type::OCI_INDEX
        };
        bodies.push(index_of(&[Descriptor::of(kind, inner)]));
    }
    lying(move |seen| {
        let wanted = |body: &&String| seen.path.ends_with(&Digest::sha256(body.as_bytes()).to_string());
        let outermost = seen.path.ends_with("/latest").then(|| bodies.last()).flatten();
        let body = outermost.or_else(|| bodies[1..].iter().find(wanted))?;
        Some(Reply::new(200, &[INDEX], body))
    })
}

/// An index of thirty manifests as large as manifests may be.
fn heavy() -> FaultServer {
    let child = |n: usize| {
        let mut manifest: Value = serde_json::from_str(&image()).expect("JSON");
        manifest["annotations"] = json!({ "n": n.to_string(), "x": "x".repeat(4_000_000) });
        manifest.to_string()
    };
    let entry = |n| Descriptor::of(media_type::OCI_MANIFEST, child(n).as_bytes());
    let entries: Vec<Descriptor> = (0..30).map(entry).collect();
    let index = index_of(&entries);
    lying(move |seen| {
        if seen.path.ends_with("/latest") {
            return Some(Reply::new(200, &[INDEX], &index));
        }
        let wanted = |entry: &Descriptor| seen.path.ends_with(&entry.digest.to_string());
        let n = entries.iter().position(wanted)?;
        Some(Reply::new(200, &[MANIFEST], child(n)))
    })
}

/// A list of which each page has one large entry, and another page after it.
fn endless_pages() -> FaultServer {
    about_the_list(|path| {
        let n: u32 = path.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &n.to_be_bytes());
        entry.annotations = Some([("x".to_owned(), "x".repeat(1_000_000))].into());
        let link = format!("</v2/app/referrers?n={}>; rel=\"next\"", n + 1);
        Reply::new(200, &[INDEX, ("Link", &link)], index_of(&[entry]))
    })
}

/// Each lie, the exit code, and what its error says.
fn lies() -> Vec<(FaultServer, i32, &'static str)> {
    let of_100_mib = 100 * 1024 * 1024;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: {of_100_mib}\r\n\r\n",
        MANIFEST.1
    );
    vec![
        (
            about_the_layer(|| Reply::new(200, &[], "Hello world\n")),
            1,
            "wrong content",
        ),
        (
            about_the_layer(|| Reply::new(200, &[], "hello")),
            1,
            "expected 12 bytes",
        ),
        (
            about_the_layer(|| Reply::new(200, &[], "hello world, and more\n")),
            1,
            "expected 12 bytes",
        ),
        (
            about_the_layer(|| Reply::endless(200, &[])),
            1,
            "expected 12 bytes",
        ),
        (
            about_the_layer(|| {
                Reply::BytesThenClose(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello".to_vec())
            }),
            1,
            "expected 12 bytes, received 5",
        ),
        (
            about_the_layer(|| Reply::new(302, &[("Location", "?again")], "")),
            1,
            "in a loop",
        ),
        (about_the_layer(|| Reply::new(404, &[], "")), 3, "not found"),
        (
            about_the_manifest(move || Reply::Noise(head.clone().into_bytes(), of_100_mib)),
            1,
            "larger than 4194304",
        ),
        (
            about_the_manifest(|| Reply::endless(200, &[MANIFEST])),
            1,
            "larger than 4194304",
        ),
        (
            about_the_manifest(|| Reply::new(200, &[MANIFEST], b"{\"schemaVersion\":2,\"\xff\":1}")),
            1,
            "not valid JSON",
        ),
        (
            about_the_manifest(|| Reply::Endless {
                head: b"HTTP/1.1 200 OK\r\n".to_vec(),
                piece: b"X-More: and more\r\n".to_vec(),
            }),
            1,
            "not HTTP",
        ),
        (deep(), 1, "levels deep"),
        (heavy(), 1, "67108864 bytes"),
        (endless_pages(), 1, "more than 33554432 bytes"),
        (
            about_the_list(|path| {
                Reply::new(
                    200,
                    &[INDEX, ("Link", &format!("<{path}>; rel=\"next\""))],
                    index_of(&[]),
                )
            }),
            1,
            "back to",
        ),
        (
            lying(|seen| {
                let image = image();
                seen.path
                    .contains("/manifests/sha256-")
                    .then(|| Reply::new(200, &[MANIFEST], image))
            }),
            1,
            "not an index of references",
        ),
    ]
}

/// No tag leads anywhere, and every blob is whole.
fn assert_nothing_half_written(layout: &Path, what: &str) {
    let Ok(index) = std::fs::read_to_string(layout.join("index.json")) else {
        return;
    };
    assert!(!index.contains("latest"), "{what}: {index}");
    for blob in std::fs::read_dir(layout.join("blobs/sha256")).expect("a folder") {
        let path = blob.expect("a file").path();
        let content = std::fs::read(&path).expect("a file");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(Digest::sha256(&content).hex(), name, "{what}");
    }
}

#[test]
fn each_lie_is_told_within_bounds_and_nothing_half_written_is_left() {
    for (server, code, told) in lies() {
        let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("intermediate");
        let to = Registry::current();
        for place in ["oci:out:latest".to_owned(), format!("{}/out:latest", to.host())] {
            let line = format!("copy --referrers {}/app:latest {place}", server.host());
            let ran = tool.line_within(&line, WITHIN.0, WITHIN.1).expect(code);
            assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
            assert!(
                ran.stderr.len() < 2_000,
                "{told}: a message of {} bytes",
                ran.stderr.len()
            );
            assert_eq!(ran.text(), "", "{told}");
        }
        assert_nothing_half_written(&tool.folder().join("out"), told);
        let tags = to.get("/v2/out/tags/list");
        assert!(
            tags.status == 404 || tags.json()["tags"] == json!([]),
            "{told}: {}",
            tags.text()
        );
    }
}

#[test]
fn a_copy_to_a_layout_that_fails_or_is_interrupted_leaves_no_part_of_a_blob() {
    let (asked, wait) = std::sync::mpsc::channel();
    let asked = std::sync::Mutex::new(asked);
    let layer = Digest::sha256(LAYER).to_string();
    let server = lying(move |seen| {
        seen.path.ends_with(&layer).then(|| {
            let _ = asked.lock().expect("a lock").send(());
            Reply::BytesThenStall(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello".to_vec())
        })
    });
    let tool = Tool::new(env!("CARGO_BIN_EXE_producer")).generation("current");
    let name = format!("{}/app:latest", server.host());
    let child = tool
        .command(&["copy", &name, "oci:out:latest"])
        .spawn()
        .expect("the tool runs");
    wait.recv().expect("the layer is asked for");
    let sent = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(130));
    assert_nothing_half_written(&tool.folder().join("out"), "interrupted");
}
