//! Media types of manifests, configurations and layers, and how a `Content-Type` header is compared with them.

/// OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Proposal E's artifact manifest, dropped before OCI 1.1.
pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";
/// Docker image manifest, version 2 schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker manifest list.
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Docker image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// The empty JSON object `{}`, as a descriptor of OCI 1.1 names it.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// OCI layer, gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, uncompressed.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Bytes of no stated kind.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// JSON.
pub const JSON: &str = "application/json";

/// The media type of a `Content-Type` or `Accept` entry: what stands before any parameter, in lower case.
///
/// ```
/// assert_eq!(oci::media_type::essence("Text/HTML; charset=utf-8"), "text/html");
/// ```
pub fn essence(header: &str) -> String {
    header
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Whether the text is `type/subtype` as RFC 6838, section 4.2 writes it.
pub fn is_valid(text: &str) -> bool {
    let part = |part: &str| {
        (1..=127).contains(&part.len())
            && part.starts_with(|c: char| c.is_ascii_alphanumeric())
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    text.split_once('/')
        .is_some_and(|(kind, sub)| part(kind) && part(sub))
}

/// Whether a layer of this media type may stay out of a registry, to be fetched from its `urls`.
///
/// Source: OCI image-spec 1.1, layer.md "Non-Distributable Layers"; Docker's foreign layers.
pub fn is_non_distributable(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
        || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.diff.tar")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_two_parts() {
        for good in [OCI_MANIFEST, "text/plain", "application/vnd.x-y+json"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in [
            "",
            "text",
            "text/",
            "/plain",
            "text/pl ain",
            "a/b/c",
            "text/plain; charset=utf-8",
        ] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn foreign_layers_are_known_in_every_compression() {
        assert!(is_non_distributable(
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
        ));
        assert!(is_non_distributable(
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        ));
        assert!(!is_non_distributable(OCI_LAYER_GZIP));
    }
}
