//! A small image of two platforms, and manifests that refer to something, pushed by hand over HTTP.

use crate::Registry;
use oci::{Digest, media_type};
use serde_json::{Value, json};

/// An image of linux/amd64 and linux/arm64 in a registry, under the tag `latest`.
#[derive(Clone, Debug)]
pub struct Image {
    /// The repository.
    pub repository: String,
    /// The digest of the index.
    pub index: Digest,
    /// The index's size in bytes.
    pub index_size: u64,
    /// The image manifests: amd64, arm64.
    pub manifests: [Digest; 2],
    /// The layers: amd64, arm64.
    pub layers: [Digest; 2],
}

impl Image {
    /// Pushes the image. What is in it depends on `repository` alone.
    pub fn push(registry: &Registry, repository: &str) -> Image {
        let pushed = ["amd64", "arm64"].map(|architecture| {
            let layer = format!("layer of {repository} for {architecture}\n");
            let layer_digest = push_blob(registry, repository, layer.as_bytes());
            let config = json!({
                "architecture": architecture, "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [layer_digest]}
            })
            .to_string();
            let config_digest = push_blob(registry, repository, config.as_bytes());
            let manifest = json!({
                "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
                "config": {"mediaType": media_type::OCI_CONFIG, "size": config.len(), "digest": config_digest},
                "layers": [{"mediaType": media_type::OCI_LAYER, "size": layer.len(), "digest": layer_digest}]
            })
            .to_string();
            let digest = push_manifest(registry, repository, None, media_type::OCI_MANIFEST, &manifest);
            let entry = json!({
                "mediaType": media_type::OCI_MANIFEST, "size": manifest.len(), "digest": digest,
                "platform": {"architecture": architecture, "os": "linux"}
            });
            (digest, layer_digest, entry)
        });
        let [(amd64, amd64_layer, first), (arm64, arm64_layer, second)] = pushed;
        let index = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [first, second]
        })
        .to_string();
        Image {
            repository: repository.to_owned(),
            index: push_manifest(
                registry,
                repository,
                Some("latest"),
                media_type::OCI_INDEX,
                &index,
            ),
            index_size: index.len() as u64,
            manifests: [amd64, arm64],
            layers: [amd64_layer, arm64_layer],
        }
    }

    /// The descriptor of the index, for `refers` and `subject`.
    pub fn descriptor(&self) -> Value {
        json!({"mediaType": media_type::OCI_INDEX, "size": self.index_size, "digest": self.index})
    }

    /// Pushes an artifact manifest that refers to this image, with one blob.
    pub fn refer_by_artifact(&self, registry: &Registry, content: &[u8], fields: Value) -> Digest {
        let blob = push_blob(registry, &self.repository, content);
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_ARTIFACT, "artifactType": "",
            "blobs": [{"mediaType": "application/octet-stream", "size": content.len(), "digest": blob}],
            "refers": self.descriptor()
        });
        merge(&mut manifest, fields);
        push_manifest(
            registry,
            &self.repository,
            None,
            media_type::OCI_ARTIFACT,
            &manifest.to_string(),
        )
    }

    /// Pushes an image manifest that refers to this image, with one layer; nothing lists it but the registry's own API.
    pub fn refer_by_image(&self, registry: &Registry, content: &[u8], fields: Value) -> (Digest, u64) {
        let blob = push_blob(registry, &self.repository, content);
        let config = push_blob(registry, &self.repository, b"{}");
        let mut manifest = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": media_type::OCI_CONFIG, "size": 2, "digest": config},
            "layers": [{"mediaType": "text/plain", "size": content.len(), "digest": blob}],
            "refers": self.descriptor()
        });
        merge(&mut manifest, fields);
        let body = manifest.to_string();
        let digest = push_manifest(registry, &self.repository, None, media_type::OCI_MANIFEST, &body);
        (digest, body.len() as u64)
    }

    /// Puts an index with these entries under this image's digest tag.
    pub fn put_digest_tag(&self, registry: &Registry, entries: &[Value]) {
        let index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries});
        let tag = oci::digest_tag::of(&self.index);
        push_manifest(
            registry,
            &self.repository,
            Some(tag.as_str()),
            media_type::OCI_INDEX,
            &index.to_string(),
        );
    }

    /// The entries of the index under this image's digest tag; `None` if there is no such tag.
    pub fn digest_tag(&self, registry: &Registry) -> Option<Vec<Value>> {
        let tag = oci::digest_tag::of(&self.index);
        let answer = registry.get(&format!("/v2/{}/manifests/{tag}", self.repository));
        match answer.status {
            404 => None,
            _ => Some(
                answer.expect(200).json()["manifests"]
                    .as_array()
                    .expect("a list")
                    .clone(),
            ),
        }
    }
}

fn merge(manifest: &mut Value, fields: Value) {
    for (key, value) in fields.as_object().into_iter().flatten() {
        manifest[key] = value.clone();
    }
}

/// Uploads a blob whole.
pub fn push_blob(registry: &Registry, repository: &str, content: &[u8]) -> Digest {
    let digest = Digest::sha256(content);
    let path = format!("/v2/{repository}/blobs/uploads/");
    let location = registry.request("POST", &path, &[], b"").expect(202).location();
    let separator = if location.contains('?') { '&' } else { '?' };
    let target = format!("{location}{separator}digest={digest}");
    let headers = [("Content-Type", "application/octet-stream")];
    registry.request("PUT", &target, &headers, content).expect(201);
    digest
}

/// Puts a manifest under a tag, or without one under its digest.
pub fn push_manifest(
    registry: &Registry,
    repository: &str,
    tag: Option<&str>,
    media_type: &str,
    body: &str,
) -> Digest {
    let digest = Digest::sha256(body.as_bytes());
    let reference = tag.map_or_else(|| digest.to_string(), str::to_owned);
    let path = format!("/v2/{repository}/manifests/{reference}");
    let headers = [("Content-Type", media_type)];
    registry
        .request("PUT", &path, &headers, body.as_bytes())
        .expect(201);
    digest
}
