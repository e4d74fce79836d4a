//! Descriptors: what points from a manifest to other content.

use crate::digest::Digest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Annotations, in the order of their keys.
pub type Annotations = BTreeMap<String, String>;

/// A descriptor. Fields that the specification does not name are kept in `other`.
///
/// Source: OCI image-spec 1.1, descriptor.md.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Media type of the content. Absent texts (seen in old Docker manifests) read as empty.
    #[serde(default)]
    pub media_type: String,
    /// Size of the content in bytes.
    pub size: u64,
    /// Digest of the content.
    pub digest: Digest,
    /// Places to fetch the content from, beside the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub urls: Option<Vec<String>>,
    /// Annotations of this pointer, or in a list of referrers, of the manifest itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Annotations>,
    /// Type of the artifact that the manifest holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Platform, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Everything else, as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor of media type, digest and size alone.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor {
            media_type: media_type.into(),
            size,
            digest,
            urls: None,
            annotations: None,
            artifact_type: None,
            platform: None,
            other: Map::new(),
        }
    }

    /// A descriptor of bytes that are in memory, by their SHA-256 digest.
    pub fn of(media_type: impl Into<String>, content: &[u8]) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(content), content.len() as u64)
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

/// A platform: operating system, architecture and what else selects an image from an index.
///
/// Source: OCI image-spec 1.1, image-index.md.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Platform {
    /// CPU architecture as Go names it, such as `amd64`.
    pub architecture: String,
    /// Operating system as Go names it, such as `linux`.
    pub os: String,
    /// Variant of the CPU, such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Version of the operating system.
    #[serde(default, rename = "os.version", skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    /// Everything else, as it came.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_survive() {
        let text = r#"{"mediaType":"text/plain","size":12,"digest":"sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447","x-note":{"a":[1]}}"#;
        let descriptor: Descriptor = serde_json::from_str(text).expect("a descriptor");
        assert_eq!(serde_json::to_string(&descriptor).expect("JSON"), text);
    }

    #[test]
    fn a_negative_size_is_refused() {
        let text = r#"{"mediaType":"text/plain","size":-1,"digest":"sha256:a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447"}"#;
        assert!(serde_json::from_str::<Descriptor>(text).is_err());
    }
}
