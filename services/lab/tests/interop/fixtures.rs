//! Small images that every client accepts, as OCI layouts.

use crate::clients::Sandbox;
use serde_json::{Value, json};
use std::{fs, path::Path};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Digests of what a layout holds.
pub struct Layout {
    /// The index that the tag `latest` leads to.
    pub index: String,
    /// The images of the index: amd64, arm64.
    pub images: [String; 2],
}

/// Writes a layout with an index of two platforms into the sandbox's working folder.
///
/// `content` makes it like no other: the Docker daemon knows layers again that another test brought.
pub fn layout(sandbox: &Sandbox, name: &str, content: &str) -> Layout {
    let folder = sandbox.work().join(name);
    fs::create_dir_all(folder.join("blobs/sha256")).expect("folders");
    let amd64 = image(&folder, "amd64", content);
    let arm64 = image(&folder, "arm64", content);
    let entries = [(&amd64, "amd64"), (&arm64, "arm64")].map(|(image, architecture)| {
        let mut entry = image.clone();
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let index = put_json(
        &folder,
        INDEX,
        &json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}),
    );
    let mut tagged = index.clone();
    tagged["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
    let list = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [tagged]});
    fs::write(folder.join("index.json"), list.to_string()).expect("a file");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    Layout {
        index: digest(&index),
        images: [digest(&amd64), digest(&arm64)],
    }
}

/// An image for one platform: its descriptor.
fn image(folder: &Path, architecture: &str, content: &str) -> Value {
    let content = format!("{content}, {architecture}\n");
    let layer = put(
        folder,
        "application/vnd.oci.image.layer.v1.tar",
        &archive("hello.txt", content.as_bytes()),
    );
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/hello"]},
        "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
    });
    let config = put_json(folder, "application/vnd.oci.image.config.v1+json", &config);
    let manifest = json!({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [layer]});
    put_json(folder, IMAGE, &manifest)
}

/// A tar archive with one file in it.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, content).expect("an entry");
    archive.into_inner().expect("an archive")
}

fn put_json(folder: &Path, media_type: &str, value: &Value) -> Value {
    put(folder, media_type, value.to_string().as_bytes())
}

/// Writes a blob and gives its descriptor.
fn put(folder: &Path, media_type: &str, bytes: &[u8]) -> Value {
    let digest = oci::Digest::sha256(bytes).to_string();
    let path = folder.join("blobs").join(digest.replace(':', "/"));
    fs::write(path, bytes).expect("a blob");
    json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
}

fn digest(descriptor: &Value) -> String {
    crate::places::text(&descriptor["digest"])
}
