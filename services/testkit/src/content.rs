//! Pushing small images the plain way, and saying where things are. Manifests are made of text, as a client's would be.

use crate::{Registry, http::Response};
use oci::{Descriptor, Digest, media_type};
use serde_json::{Value, json};

/// A manifest that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Their SHA-256 digest.
    pub digest: Digest,
    /// The media type that it was pushed with.
    pub media_type: String,
}

impl Pushed {
    /// The descriptor to refer to it by.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&*self.media_type, self.digest, self.body.len() as u64)
    }
}

/// An image manifest over these blobs, with more fields from `extra`.
pub fn image_manifest(config: &Descriptor, layers: &[Descriptor], extra: Value) -> Value {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": config,
        "layers": layers,
    });
    merge(&mut manifest, extra);
    manifest
}

/// An image index over these manifests, with more fields from `extra`.
pub fn index(manifests: &[Descriptor], extra: Value) -> Value {
    let mut index = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests});
    merge(&mut index, extra);
    index
}

/// Proposal E's artifact manifest over these blobs, with more fields from `extra`.
pub fn artifact_manifest(artifact_type: &str, blobs: &[Descriptor], extra: Value) -> Value {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_ARTIFACT,
        "artifactType": artifact_type,
        "blobs": blobs,
    });
    merge(&mut manifest, extra);
    manifest
}

fn merge(manifest: &mut Value, extra: Value) {
    if let (Value::Object(manifest), Value::Object(extra)) = (manifest, extra) {
        manifest.extend(extra);
    }
}

impl Registry {
    /// Pushes a blob with one request.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn push_blob(&self, name: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        self.push_blob_as(name, content, &digest.to_string()).expect(201);
        digest
    }

    /// Sends a blob with one request, under whatever digest.
    pub fn push_blob_as(&self, name: &str, content: &[u8], digest: &str) -> Response {
        let path = format!(
            "/v2/{name}/blobs/uploads/?digest={}",
            oci::routes::query_value(digest)
        );
        self.request(
            "POST",
            &path,
            &[("Content-Type", media_type::OCTET_STREAM)],
            content,
        )
    }

    /// Sends a manifest under a tag or digest.
    pub fn put_manifest(&self, name: &str, reference: &str, media_type: &str, body: &[u8]) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        self.request("PUT", &path, &[("Content-Type", media_type)], body)
    }

    /// Pushes a manifest under a tag, or under its digest if the tag is empty, with the media type that stands in it.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn push_manifest(&self, name: &str, tag: &str, manifest: &Value) -> Pushed {
        let body = serde_json::to_vec(manifest).expect("JSON");
        let digest = Digest::sha256(&body);
        let media_type = manifest["mediaType"].as_str().expect("a mediaType").to_owned();
        let reference = if tag.is_empty() {
            digest.to_string()
        } else {
            tag.to_owned()
        };
        self.put_manifest(name, &reference, &media_type, &body)
            .expect(201);
        Pushed {
            body,
            digest,
            media_type,
        }
    }

    /// Pushes an image of one layer. Its digest depends on the layer alone.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn push_image(&self, name: &str, tag: &str, layer: &[u8]) -> Pushed {
        self.push_image_with(name, tag, layer, json!({}))
    }

    /// Pushes an image of one layer whose manifest has more fields: `subject`, `refers`, `annotations`, `artifactType`.
    ///
    /// # Panics
    /// If it is refused.
    #[track_caller]
    pub fn push_image_with(&self, name: &str, tag: &str, layer: &[u8], extra: Value) -> Pushed {
        let config = b"{}";
        self.push_blob(name, config);
        self.push_blob(name, layer);
        let config = Descriptor::of(media_type::OCI_CONFIG, config);
        let layer = Descriptor::of(media_type::OCI_LAYER, layer);
        self.push_manifest(name, tag, &image_manifest(&config, &[layer], extra))
    }

    /// The digests that the referrers API lists, in its order, over all pages.
    ///
    /// # Panics
    /// If the API does not answer 200, or a page repeats.
    #[track_caller]
    pub fn referrers(&self, name: &str, subject: &Digest) -> Vec<String> {
        let mut digests = Vec::new();
        let mut next = Some(format!("/v2/{name}/referrers/{subject}"));
        while let Some(path) = next {
            let page = self.get(&path).expect(200);
            for descriptor in page.json()["manifests"].as_array().expect("a list") {
                digests.push(descriptor["digest"].as_str().expect("a digest").to_owned());
            }
            next = page
                .header("link")
                .and_then(oci::headers::next_link)
                .map(str::to_owned);
            assert_ne!(next.as_deref(), Some(path.as_str()), "the page leads to itself");
        }
        digests
    }
}
